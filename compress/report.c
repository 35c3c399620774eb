/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c: what a compression did, as JSON. Figures that were not measured are null, so that a reader cannot
 * take them for zero.
 */
#include "compress/compress.h"

#include <json-c/json.h>
#include <math.h>

static void add_number(json_object *to, const char *name, double value, bool known) {
    json_object_object_add(to, name, known && isfinite(value) ? json_object_new_double(value) : NULL);
}

static void add_count(json_object *to, const char *name, int64_t value) {
    json_object_object_add(to, name, json_object_new_int64(value));
}

static void add_text(json_object *to, const char *name, const char *text) {
    json_object_object_add(to, name, text != NULL ? json_object_new_string(text) : NULL);
}

static json_object *of_divergence(const tm_divergence *d) {
    if (d->rows == 0)
        return NULL;
    json_object *to = json_object_new_object();
    add_count(to, "rows", d->rows);
    add_number(to, "kl", d->kl, true);
    add_number(to, "flips", d->flips, true);
    add_number(to, "cosine", d->cosine, true);
    add_number(to, "max_error", d->max_error, true);
    add_number(to, "rms_error", d->rms_error, true);
    add_number(to, "rms", d->rms, true);
    add_number(to, "accuracy_before", (double)d->right_float / (double)d->labelled, d->labelled > 0);
    add_number(to, "accuracy", (double)d->right / (double)d->labelled, d->labelled > 0);
    return to;
}

static json_object *of_axis(const tm_axis_report *axis) {
    json_object *to = json_object_new_object();
    add_text(to, "name", axis->name);
    add_text(to, "kind", axis->kind);
    add_count(to, "slices", axis->slices);
    add_count(to, "kept", axis->kept);
    add_count(to, "channels", axis->channels);
    add_number(to, "error", axis->error, axis->error >= 0);
    add_number(to, "harm", axis->harm, axis->harm >= 0);
    return to;
}

void tm_compress_report_json(const tm_compress_report *r, tm_text *out) {
    json_object *to = json_object_new_object(), *axes = json_object_new_array();
    add_text(to, "model", r->model);
    add_count(to, "samples", r->samples);
    add_count(to, "zero_slices", r->zeros);
    add_count(to, "merged_adapters", r->merged);
    add_count(to, "bytes_before", r->bytes_before);
    add_count(to, "bytes", r->bytes);
    add_number(to, "flops_before", r->flops_before, r->flops_before > 0);
    add_number(to, "flops", r->flops, r->flops > 0);
    add_number(to, "ns_before", r->ns_before, r->ns_before > 0);
    add_number(to, "ns", r->ns, r->ns > 0);
    add_number(to, "sparsity", r->sparsity, r->sparsity > 0);
    add_number(to, "seconds", r->seconds, true);
    json_object_object_add(to, "divergence", of_divergence(&r->whole));
    json_object_object_add(to, "held_out", of_divergence(&r->held_out));
    add_text(to, "budget", r->budget);
    add_text(to, "refused", r->refused);
    add_text(to, "unchecked", r->unchecked);
    for (size_t i = 0; i < r->axes.count; i++)
        json_object_array_add(axes, of_axis(&r->axes.items[i]));
    json_object_object_add(to, "axes", axes);
    tm_text_add(out, "%s\n", json_object_to_json_string_ext(to, JSON_C_TO_STRING_PRETTY));
    json_object_put(to);
}
