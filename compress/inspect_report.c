/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_report.c: what was found, as text and as JSON; inspect_html.c makes a page of it.
 *
 * The text has a line for each tensor of 256 bytes and more, with what is remarkable about it below, and then
 * the forecast for the whole model. JSON has all tensors and all figures; what was not computed is null.
 */
#include "compress/inspect.h"
#include "compress/json.h"

#include <math.h>
#include <string.h>

#define SMALL 256 /* bytes: not in the text */

/* ---- text ---- */

static void add_name(tm_text *out, const char *name) {
    tm_text_add_escaped(out, name, strlen(name));
}

static void add_dims(tm_text *out, const tm_constant *c) {
    tm_text_add(out, " %s[", tm_type_text(c->type));
    for (int i = 0; i < c->rank; i++)
        tm_text_add(out, "%s%lld", i > 0 ? "," : "", (long long)c->dims[i]);
    tm_text_add(out, "]");
}

static void add_findings(const tm_tensor_report *t, tm_text *out) {
    if (t->same_as != NULL) {
        tm_text_add(out, "      copy: %s as ", t->relation);
        add_name(out, t->same_as);
        tm_text_add(out, "\n");
    }
    if (t->generated != NULL)
        tm_text_add(out, "      generated: %s; largest error %.3g\n", t->generated, t->generated_error);
    else if (t->stored_as != NULL)
        tm_text_add(out, "      values: %s\n", t->stored_as);
    if (t->zero_rows + t->zero_columns > 0)
        tm_text_add(out, "      zero slices: %lld of %lld rows, %lld of %lld columns\n",
                    (long long)t->zero_rows, (long long)t->rows, (long long)t->zero_columns,
                    (long long)t->columns);
    if (t->pattern != NULL)
        tm_text_add(out, "      zeros: %s\n", t->pattern);
    if (10 * t->zeros >= 3 * t->count && t->zeros < t->count && fmax(t->blocks_4x1, t->blocks_1x4) > 0.5)
        tm_text_add(out, "      zeros: %.0f %% in blocks of 4x1, %.0f %% of 1x4\n", 100 * t->blocks_4x1,
                    100 * t->blocks_1x4);
    if (t->rank >= 0 && t->rank < (t->rows < t->columns ? t->rows : t->columns))
        tm_text_add(out, "      rank: %lld of %lld: a product of two factors\n", (long long)t->rank,
                    (long long)(t->rows < t->columns ? t->rows : t->columns));
    if (t->claim != NULL)
        tm_text_add(out, "      stored: %s\n", t->claim);
}

static void add_tensor(const tm_tensor_report *t, tm_text *out) {
    tm_text_add(out, "  ");
    add_name(out, t->name);
    add_dims(out, t->constant);
    if (t->reader != NULL) {
        tm_text_add(out, " for ");
        add_name(out, t->reader);
    }
    tm_text_add(out, "\n      %lld bytes; zeros %.1f %%; ", (long long)t->bytes,
                t->count > 0 ? 100 * (double)t->zeros / (double)t->count : 0);
    tm_text_add(out, t->distinct > 65536 ? "more than 65536 values" : "%lld values", (long long)t->distinct);
    tm_text_add(out, "; %.4g to %.4g, rms %.3g, largest %.1f rms", t->least, t->most, t->rms, t->outlier);
    if (t->outliers > 0)
        tm_text_add(out, " (%lld beyond 6)", (long long)t->outliers);
    tm_text_add(out, "\n      bits: %.2f word", t->word_bits);
    if (t->exponent_bits >= 0)
        tm_text_add(out, ", %.2f exponent", t->exponent_bits);
    if (t->int8_bits >= 0)
        tm_text_add(out, ", %.2f as int8", t->int8_bits);
    if (t->rank_99 >= 0)
        tm_text_add(out, "; singular values for 99 %% %lld, 99.9 %% %lld%s", (long long)t->rank_99,
                    (long long)t->rank_999, t->sketched ? " (sketched)" : "");
    tm_text_add(out, "; coded %.0f bytes\n", t->forecast[TM_FORECAST_CODED]);
    add_findings(t, out);
}

static void add_foldable(const tm_foldable_report *f, tm_text *out) {
    tm_text_add(out, "  ");
    add_name(out, f->output);
    tm_text_add(out, ": %lld nodes (%s), constants of %lld bytes", (long long)f->nodes, f->ops,
                (long long)f->bytes_in);
    if (f->bytes_out >= 0)
        tm_text_add(out, " make one of %lld", (long long)f->bytes_out);
    tm_text_add(out, f->adapter ? "; an adapter: a weight and a product of two factors\n" : "\n");
}

static void add_ranks(const char *what, const int64_t *ranks, int64_t count, tm_text *out) {
    int64_t least = ranks[0], most = ranks[0];
    for (int64_t i = 1; i < count; i++) {
        least = ranks[i] < least ? ranks[i] : least;
        most = ranks[i] > most ? ranks[i] : most;
    }
    tm_text_add(out, ", %s %lld to %lld", what, (long long)least, (long long)most);
}

static void add_axis(const tm_axis_inspection *a, tm_text *out) {
    int64_t weakest = 0;
    for (int64_t i = 1; i < a->slices; i++)
        weakest = a->energy[i] < a->energy[weakest] ? i : weakest;
    tm_text_add(out, "  ");
    add_name(out, a->name);
    if (a->rank == NULL) {
        tm_text_add(out, ": %lld channels; the %lld weakest hold 1 %% of the energy, %lld hold 10 %%\n",
                    (long long)a->slices, (long long)a->weak_1, (long long)a->weak_10);
        return;
    }
    tm_text_add(out, ": %lld heads of %lld; the weakest is %lld with %.1f %% of the energy; ranks for 99 %%",
                (long long)a->slices, (long long)a->width, (long long)weakest,
                a->total > 0 ? 100 * a->energy[weakest] / a->total : 0);
    add_ranks("values and output", a->rank, a->slices, out);
    add_ranks("queries and keys", a->scores_rank, a->slices, out);
    tm_text_add(out, "\n");
}

void tm_inspect_text(const tm_inspect_report *r, tm_text *out) {
    size_t small = 0;
    tm_text_add(out, "tensors:\n");
    for (size_t i = 0; i < r->tensors.count; i++)
        if (r->tensors.items[i].bytes >= SMALL)
            add_tensor(&r->tensors.items[i], out);
        else
            small++;
    tm_text_add(out, "  and %zu of less than %d bytes\n", small, SMALL);
    if (r->foldable.count > 0)
        tm_text_add(out, "constants that are computed in the graph:\n");
    for (size_t i = 0; i < r->foldable.count; i++)
        add_foldable(&r->foldable.items[i], out);
    if (r->axes.count > 0)
        tm_text_add(out, "heads and channels, by their weights alone:\n");
    for (size_t i = 0; i < r->axes.count; i++)
        add_axis(&r->axes.items[i], out);
    tm_text_add(
        out,
        "constants: %lld bytes, of which zeros %lld, copies of others %lld, made by formulas %lld; file: %lld\n",
        (long long)r->bytes, (long long)r->zero_bytes, (long long)r->duplicate_bytes,
        (long long)r->generated_bytes, (long long)r->file_bytes);
    tm_text_add(
        out, "forecast, in bytes (copies once, formulas made anew; what a form is not for stays coded):\n");
    for (int f = 0; f < TM_FORECAST_COUNT; f++)
        tm_text_add(out, "  %-20s %12.0f  %5.1f %%\n", tm_forecast_name((tm_forecast)f), r->forecast[f],
                    r->bytes > 0 ? 100 * r->forecast[f] / (double)r->bytes : 0);
    if (r->no_spectrum != NULL)
        tm_text_add(out, "no ranks: %s\n", r->no_spectrum);
}

/* ---- JSON ---- */

static json_object *forecast_json(const double *forecast) {
    json_object *to = json_object_new_object();
    for (int f = 0; f < TM_FORECAST_COUNT; f++)
        tm_json_known_count(to, tm_forecast_key((tm_forecast)f), (int64_t)forecast[f], forecast[f] >= 0);
    return to;
}

static json_object *tensor_json(const tm_tensor_report *t) {
    json_object *to = json_object_new_object(), *dims = json_object_new_array();
    for (int i = 0; i < t->constant->rank; i++)
        json_object_array_add(dims, json_object_new_int64(t->constant->dims[i]));
    tm_json_text(to, "name", t->name);
    tm_json_text(to, "type", tm_type_text(t->constant->type));
    json_object_object_add(to, "dims", dims);
    tm_json_text(to, "reader", t->reader);
    tm_json_count(to, "bytes", t->bytes);
    tm_json_count(to, "elements", t->count);
    tm_json_count(to, "zeros", t->zeros);
    tm_json_known_count(to, "distinct", t->distinct, t->distinct <= 65536);
    tm_json_count(to, "not_finite", t->not_finite);
    tm_json_count(to, "subnormal", t->subnormal);
    tm_json_number(to, "least", t->least, true);
    tm_json_number(to, "most", t->most, true);
    tm_json_number(to, "rms", t->rms, true);
    tm_json_number(to, "outlier", t->outlier, true);
    tm_json_count(to, "outliers", t->outliers);
    tm_json_number(to, "word_bits", t->word_bits, true);
    tm_json_number(to, "exponent_bits", t->exponent_bits, t->exponent_bits >= 0);
    tm_json_number(to, "int8_bits", t->int8_bits, t->int8_bits >= 0);
    tm_json_count(to, "zero_rows", t->zero_rows);
    tm_json_count(to, "zero_columns", t->zero_columns);
    tm_json_number(to, "blocks_4x1", t->blocks_4x1, true);
    tm_json_number(to, "blocks_1x4", t->blocks_1x4, true);
    tm_json_text(to, "pattern", t->pattern);
    tm_json_known_count(to, "rank", t->rank, t->rank >= 0);
    tm_json_known_count(to, "rank_99", t->rank_99, t->rank_99 >= 0);
    tm_json_known_count(to, "rank_999", t->rank_999, t->rank_999 >= 0);
    json_object_object_add(to, "sketched", json_object_new_boolean(t->sketched));
    tm_json_text(to, "generated", t->generated);
    tm_json_number(to, "generated_error", t->generated_error, t->generated != NULL);
    tm_json_text(to, "values", t->stored_as);
    tm_json_text(to, "same_as", t->same_as);
    tm_json_text(to, "relation", t->relation);
    tm_json_text(to, "stored", t->claim);
    json_object_object_add(to, "forecast", forecast_json(t->forecast));
    return to;
}

static json_object *of_numbers(const double *numbers, const int64_t *counts, int64_t count) {
    json_object *to = numbers != NULL || counts != NULL ? json_object_new_array() : NULL;
    for (int64_t i = 0; i < count && to != NULL; i++)
        json_object_array_add(to, numbers != NULL ? json_object_new_double(numbers[i])
                                                  : json_object_new_int64(counts[i]));
    return to;
}

static json_object *axis_json(const tm_axis_inspection *a) {
    json_object *to = json_object_new_object();
    tm_json_text(to, "name", a->name);
    tm_json_text(to, "kind", a->rank != NULL ? "heads" : "channels");
    tm_json_count(to, "slices", a->slices);
    tm_json_count(to, "width", a->width);
    tm_json_count(to, "weak_1", a->weak_1);
    tm_json_count(to, "weak_10", a->weak_10);
    json_object_object_add(to, "energy", of_numbers(a->energy, NULL, a->slices));
    json_object_object_add(to, "rank_99", of_numbers(NULL, a->rank, a->slices));
    json_object_object_add(to, "scores_energy", of_numbers(a->scores_energy, NULL, a->slices));
    json_object_object_add(to, "scores_rank_99", of_numbers(NULL, a->scores_rank, a->slices));
    return to;
}

void tm_inspect_json(const tm_inspect_report *r, tm_text *out) {
    json_object *root = json_object_new_object(), *tensors = json_object_new_array();
    json_object *axes = json_object_new_array();
    for (size_t i = 0; i < r->axes.count; i++)
        json_object_array_add(axes, axis_json(&r->axes.items[i]));
    json_object *foldable = json_object_new_array();
    tm_json_text(root, "file", r->model);
    tm_json_count(root, "file_bytes", r->file_bytes);
    tm_json_count(root, "bytes", r->bytes);
    tm_json_count(root, "zero_bytes", r->zero_bytes);
    tm_json_count(root, "duplicate_bytes", r->duplicate_bytes);
    tm_json_count(root, "generated_bytes", r->generated_bytes);
    tm_json_number(root, "seconds", r->seconds, true);
    json_object_object_add(root, "forecast", forecast_json(r->forecast));
    for (size_t i = 0; i < r->tensors.count; i++)
        json_object_array_add(tensors, tensor_json(&r->tensors.items[i]));
    for (size_t i = 0; i < r->foldable.count; i++) {
        const tm_foldable_report *f = &r->foldable.items[i];
        json_object *item = json_object_new_object();
        tm_json_text(item, "output", f->output);
        tm_json_text(item, "ops", f->ops);
        tm_json_count(item, "nodes", f->nodes);
        tm_json_count(item, "bytes_in", f->bytes_in);
        tm_json_known_count(item, "bytes_out", f->bytes_out, f->bytes_out >= 0);
        json_object_object_add(item, "adapter", json_object_new_boolean(f->adapter));
        json_object_array_add(foldable, item);
    }
    json_object_object_add(root, "foldable", foldable);
    json_object_object_add(root, "axes", axes);
    json_object_object_add(root, "tensors", tensors);
    tm_json_print(root, out);
}
