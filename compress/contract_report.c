/* SPDX-License-Identifier: Apache-2.0
 *
 * contract_report.c: what a contract did, as JSON: all trials with their stages, and of the chosen one the
 * reports that its parts make alone.
 */
#include "compress/contract.h"
#include "compress/json.h"

static json_object *of_stage(tm_stage stage, const tm_stage_report *s) {
    json_object *to = json_object_new_object();
    const tm_divergence *d = &s->d;
    tm_json_text(to, "name", tm_stage_name(stage));
    tm_json_number(to, "kl", d->kl, d->rows > 0);
    tm_json_number(to, "flips", d->flips, d->rows > 0);
    tm_json_number(to, "cosine", d->cosine, d->rows > 0);
    tm_json_number(to, "max_error", d->max_error, d->rows > 0);
    tm_json_number(to, "accuracy", (double)d->right / (double)d->labelled, d->labelled > 0);
    tm_json_number(to, "log_loss", d->log_loss, d->labelled > 0);
    tm_json_number(to, "held_out_kl", s->held_out.kl, s->held_out.rows > 0);
    tm_json_number(to, "held_out_flips", s->held_out.flips, s->held_out.rows > 0);
    tm_json_number(to, "held_out_cosine", s->held_out.cosine, s->held_out.rows > 0);
    tm_json_number(to, "budget_used", s->use, true);
    tm_json_number(to, "bytes", s->bytes, s->bytes > 0);
    tm_json_number(to, "ns", s->ns, s->ns > 0);
    return to;
}

static json_object *of_trial(const tm_contract_trial *trial) {
    json_object *to = json_object_new_object(), *stages = json_object_new_array();
    for (int i = 0; i < TM_STAGES; i++)
        if (trial->stages[i].made)
            json_object_array_add(stages, of_stage((tm_stage)i, &trial->stages[i]));
    tm_json_number(to, "prune_room", trial->room, trial->stages[TM_STAGE_PRUNE].made);
    tm_json_number(to, "quantize_room", trial->quantize_room, true);
    tm_json_number(to, "flops", trial->flops, trial->flops > 0);
    tm_json_number(to, "ns_before", trial->ns_before, trial->ns_before > 0);
    json_object_object_add(to, "within_budget", json_object_new_boolean(trial->fits));
    json_object_object_add(to, "goal_reached", json_object_new_boolean(trial->reaches));
    json_object_object_add(to, "stages", stages);
    return to;
}

static json_object *of_storage(const tm_storage_report *s) {
    json_object *to = json_object_new_object();
    tm_json_count(to, "constants", s->places);
    tm_json_count(to, "rounded", s->rounded);
    tm_json_number(to, "bits", s->bits, s->rounded > 0);
    tm_json_number(to, "exact_bytes", s->exact_bytes, true);
    tm_json_number(to, "bytes", s->bytes, true);
    tm_json_number(to, "seconds", s->seconds, true);
    return to;
}

/* The part's own report, which is a text. */
static void add_report(json_object *to, const char *name, const tm_text *text) {
    json_object_object_add(to, name, json_tokener_parse(tm_text_get(text)));
}

void tm_contract_report_json(const tm_contract_report *r, tm_text *out) {
    json_object *to = json_object_new_object(), *trials = json_object_new_array();
    const tm_contract_trial *chosen = &r->trials.items[r->chosen];
    tm_text part;
    tm_json_text(to, "model", r->model);
    tm_json_text(to, "goal", r->goal);
    tm_json_text(to, "budget", r->budget);
    tm_json_text(to, "refused", r->refused);
    tm_json_number(to, "seconds", r->seconds, true);
    json_object_object_add(to, "chosen", json_object_new_int(r->chosen));
    for (size_t i = 0; i < r->trials.count; i++)
        json_object_array_add(trials, of_trial(&r->trials.items[i]));
    json_object_object_add(to, "trials", trials);
    if (chosen->stages[TM_STAGE_PRUNE].made) {
        tm_text_init(&part, out->arena);
        tm_compress_report_json(&r->prune, &part);
        add_report(to, "prune", &part);
    }
    if (chosen->stages[TM_STAGE_QUANTIZE].made) {
        tm_text_init(&part, out->arena);
        tm_quantize_report_json(&r->quantize, &part);
        add_report(to, "quantize", &part);
    }
    if (chosen->stages[TM_STAGE_STORAGE].made)
        json_object_object_add(to, "storage", of_storage(&r->storage));
    tm_json_print(to, out);
}
