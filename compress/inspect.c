/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect.c: all constants of a model, one after the other; see inspect.h.
 *
 * Each is looked at as floats, in an arena of its own that goes before the next comes: memory is a few times
 * the largest tensor. A tensor that several nodes read is one tensor.
 */
#include "compress/inspect.h"

#include "quantize/algebra.h"
#include "quantize/choose.h"

#include <math.h>
#include <string.h>

static void end_scratch(void *scratch) {
    tm_arena_deinit(scratch);
}

static const char *reader_of(tm_arena *arena, const tm_value *value) {
    for (size_t i = 0; i < value->uses.count; i++) {
        const tm_node *node = value->uses.items[i].node;
        if (node != NULL)
            return tm_arena_format(arena, "%s '%s'", tm_op_get(node->op)->name,
                                   node->name != NULL ? node->name : "");
    }
    return NULL;
}

/* Rows and columns as a product has them: sums go along the rows. */
static void set_shape(const tm_value *value, tm_inspected *x) {
    const tm_constant *c = value->constant;
    const tm_node *reader = value->uses.count > 0 ? value->uses.items[0].node : NULL;
    bool filters = reader != NULL && reader->op == TM_OP_Conv && c->rank > 2;
    bool turned = reader != NULL && reader->op == TM_OP_Gemm && value->uses.items[0].index == 1 &&
                  tm_node_int(reader, "transB") != 0;
    int64_t last = c->rank > 0 ? c->dims[c->rank - 1] : 1, first = c->rank > 0 ? c->dims[0] : 1;
    x->rows = last > 0 ? x->count / last : 0;
    x->columns = last;
    x->row_step = last;
    x->column_step = 1;
    if (filters || turned) {
        x->columns = first;
        x->rows = first > 0 ? x->count / first : 0;
        x->row_step = 1;
        x->column_step = x->rows;
    }
}

static tm_inspected as_floats(tm_arena *scratch, const tm_value *value) {
    const tm_constant *c = value->constant;
    tm_inspected x = {.count = tm_constant_count(c)};
    set_shape(value, &x);
    if (c->type == TAMIS_TYPE_FLOAT) {
        x.data = c->data;
        return x;
    }
    float *data = TM_NEW_ARRAY(scratch, float, x.count);
    for (int64_t i = 0; i < x.count; i++) {
        double element = 0;
        (void)tm_constant_double(c, i, &element);
        data[i] = (float)element;
    }
    x.data = data;
    return x;
}

/* What the file says against what is there. */
static const char *claim_of(tm_arena *arena, const tm_tensor_report *t) {
    double zeros = (double)t->zeros / (double)t->count;
    if (t->generated != NULL && t->bytes >= 256)
        return tm_arena_format(arena, "%lld bytes of what a formula makes", (long long)t->bytes);
    if (zeros >= 0.4 && t->bytes >= 256)
        return tm_arena_format(arena, "%.0f %% zeros stored as numbers: %lld bytes of %lld", 100 * zeros,
                               (long long)((double)t->bytes * zeros), (long long)t->bytes);
    if (t->stored_as != NULL && t->constant->type == TAMIS_TYPE_FLOAT && t->bytes >= 256)
        return tm_arena_format(arena, "%s stored as float32", t->stored_as);
    return NULL;
}

static void inspect_one(tm_arena *arena, tm_arena *scratch, const tm_value *value, bool spectra,
                        tm_tensor_report *out) {
    const tm_constant *c = value->constant;
    tm_inspected x = as_floats(scratch, value);
    *out = (tm_tensor_report){.constant = c,
                              .name = value->name,
                              .reader = reader_of(arena, value),
                              .count = x.count,
                              .bytes = c->bytes,
                              .rows = x.rows,
                              .columns = x.columns,
                              .rank = -1,
                              .rank_99 = -1,
                              .rank_999 = -1};
    tm_inspect_statistics(scratch, &x, out);
    tm_inspect_patterns(scratch, &x, out);
    tm_inspect_generated(arena, scratch, &x, out);
    if (spectra && tm_type_is_float(c->type) && x.count >= 64)
        tm_inspect_spectrum(scratch, &x, out);
    tm_inspect_forecast(arena, scratch, &x, out);
    out->claim = claim_of(arena, out);
}

static void add_up(tm_inspect_report *report) {
    for (size_t i = 0; i < report->tensors.count; i++) {
        const tm_tensor_report *t = &report->tensors.items[i];
        double exact =
            t->forecast[TM_FORECAST_CODED] >= 0 ? t->forecast[TM_FORECAST_CODED] : (double)t->bytes;
        bool again = t->same_as != NULL && strncmp(t->relation, "same bytes", 10) == 0;
        report->bytes += t->bytes;
        report->zero_bytes +=
            t->count > 0 ? (int64_t)((double)t->bytes * (double)t->zeros / (double)t->count) : 0;
        report->generated_bytes += t->generated != NULL ? t->bytes : 0;
        report->best += again ? 0 : exact;
        for (int f = 0; f < TM_FORECAST_COUNT; f++)
            report->forecast[f] += again                    ? 0
                                   : t->forecast[f] >= 0    ? t->forecast[f]
                                   : f == TM_FORECAST_CODED ? (double)t->bytes
                                                            : exact;
    }
}

void tm_inspect_weights(tm_arena *arena, const tm_model *model, int64_t file_bytes, tm_inspect_report *out) {
    double start = tm_wall_seconds();
    tm_arena *scratch = TM_NEW(arena, tm_arena);
    tm_arena_init(scratch);
    tm_arena_on_destroy(arena, end_scratch, scratch);
    *out =
        (tm_inspect_report){.model = model->file, .file_bytes = file_bytes, .no_spectrum = tm_algebra_load()};
    for (size_t i = 0; i < model->values.count; i++) {
        const tm_value *value = model->values.items[i];
        if (!tm_value_is_constant(value) || value->type == TAMIS_TYPE_STRING || value->uses.count == 0)
            continue;
        tm_tensor_report tensor;
        tm_arena_deinit(scratch);
        memcpy(scratch->recovery, arena->recovery, sizeof scratch->recovery);
        scratch->has_recovery = arena->has_recovery;
        inspect_one(arena, scratch, value, out->no_spectrum == NULL, &tensor);
        tm_push(arena, &out->tensors, tensor);
    }
    tm_arena_deinit(scratch);
    tm_inspect_duplicates(arena, out);
    tm_inspect_foldable(arena, model, out);
    if (out->no_spectrum == NULL)
        tm_inspect_axes(arena, model, out);
    add_up(out);
    out->seconds = tm_wall_seconds() - start;
}
