/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c: what a compression did, as JSON. Figures that were not measured are null, so that a reader cannot
 * take them for zero.
 */
#include "compress/compress.h"
#include "compress/json.h"

static json_object *of_divergence(const tm_divergence *d) {
    if (d->rows == 0)
        return NULL;
    json_object *to = json_object_new_object();
    tm_json_count(to, "rows", d->rows);
    tm_json_number(to, "kl", d->kl, true);
    tm_json_number(to, "flips", d->flips, true);
    tm_json_number(to, "cosine", d->cosine, true);
    tm_json_number(to, "max_error", d->max_error, true);
    tm_json_number(to, "rms_error", d->rms_error, true);
    tm_json_number(to, "rms", d->rms, true);
    tm_json_number(to, "accuracy_before", (double)d->right_float / (double)d->labelled, d->labelled > 0);
    tm_json_number(to, "accuracy", (double)d->right / (double)d->labelled, d->labelled > 0);
    return to;
}

static json_object *of_axis(const tm_axis_report *axis) {
    json_object *to = json_object_new_object();
    tm_json_text(to, "name", axis->name);
    tm_json_text(to, "kind", axis->kind);
    tm_json_count(to, "slices", axis->slices);
    tm_json_count(to, "kept", axis->kept);
    tm_json_count(to, "channels", axis->channels);
    tm_json_number(to, "error", axis->error, axis->error >= 0);
    tm_json_number(to, "harm", axis->harm, axis->harm >= 0);
    return to;
}

void tm_compress_report_json(const tm_compress_report *r, tm_text *out) {
    json_object *to = json_object_new_object(), *axes = json_object_new_array();
    tm_json_text(to, "model", r->model);
    tm_json_count(to, "samples", r->samples);
    tm_json_count(to, "zero_slices", r->zeros);
    tm_json_count(to, "merged_adapters", r->merged);
    tm_json_count(to, "bytes_before", r->bytes_before);
    tm_json_count(to, "bytes", r->bytes);
    tm_json_number(to, "flops_before", r->flops_before, r->flops_before > 0);
    tm_json_number(to, "flops", r->flops, r->flops > 0);
    tm_json_number(to, "ns_before", r->ns_before, r->ns_before > 0);
    tm_json_number(to, "ns", r->ns, r->ns > 0);
    tm_json_number(to, "sparsity", r->sparsity, r->sparsity > 0);
    tm_json_number(to, "seconds", r->seconds, true);
    json_object_object_add(to, "divergence", of_divergence(&r->whole));
    json_object_object_add(to, "held_out", of_divergence(&r->held_out));
    tm_json_text(to, "budget", r->budget);
    tm_json_text(to, "refused", r->refused);
    tm_json_text(to, "unchecked", r->unchecked);
    for (size_t i = 0; i < r->axes.count; i++)
        json_object_array_add(axes, of_axis(&r->axes.items[i]));
    json_object_object_add(to, "axes", axes);
    tm_json_print(to, out);
}
