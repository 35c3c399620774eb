/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_forecast.c: what a tensor would take in other forms.
 *
 * Coded sizes are those that the coder of the artifact measures (codegen/coder.h), on the values as they
 * would be. Packing for products and records of a few bytes are left out, and so is what other tensors'
 * statistics save. The palettes are of evenly spaced quantiles: k-means makes them better, not smaller.
 */
#include "compress/inspect.h"

#include "codegen/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[TM_FORECAST_COUNT] = {
    "coded",   "float16",        "int8",          "int8, coded",
    "int4",    "palette of 256", "palette of 16", "without zero slices",
    "low rank"};
static const char *const keys[TM_FORECAST_COUNT] = {"coded",      "float16",   "int8",   "int8_coded", "int4",
                                                    "palette256", "palette16", "slices", "low_rank"};

const char *tm_forecast_name(tm_forecast forecast) {
    return names[forecast];
}
const char *tm_forecast_key(tm_forecast forecast) {
    return keys[forecast];
}

static tm_stored_values values_of(const tm_constant *c, const tm_inspected *x) {
    int bits = tm_type_bits(c->type);
    bool bytes = bits < 8 || bits > 64;
    tm_stored_values v = {.data = c->data,
                          .type = bytes ? TAMIS_TYPE_UINT8 : c->type,
                          .count = bytes ? c->bytes : x->count,
                          .size = bytes ? 1 : bits / 8,
                          .columns =
                              !bytes && c->rank > 0 && c->dims[c->rank - 1] > 0 ? c->dims[c->rank - 1] : 1,
                          .is_table = true};
    v.rows = v.count / v.columns;
    return v;
}

static const char *describe(tm_arena *arena, const tm_form *f) {
    switch (f->form) {
    case TM_STORED_WIDEN:
        return f->brain ? "bfloat16 numbers" : "float16 numbers";
    case TM_STORED_PALETTE:
        return tm_arena_format(arena, "a palette of %lld values", (long long)f->entries);
    case TM_STORED_LINEAR:
        return tm_arena_format(arena, "integers (int%d) times %lld scale%s", 8 * f->integer_size,
                               (long long)f->scale_count, f->scale_count == 1 ? "" : "s");
    default:
        return NULL;
    }
}

static double coded(const tm_coder *coder, const void *data, int64_t count, int64_t columns, int size,
                    bool turn) {
    tm_elements elements = {data, count, columns, size, turn};
    return tm_coder_cost(coder, &elements);
}

static double half_bytes(tm_arena *scratch, const tm_coder *coder, const tm_inspected *x, int64_t columns) {
    _Float16 *half = TM_NEW_ARRAY(scratch, _Float16, x->count);
    for (int64_t i = 0; i < x->count; i++)
        half[i] = (_Float16)x->data[i];
    return coded(coder, half, x->count, columns, 2, true);
}

static int by_value(const void *a, const void *b) {
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Bytes of numbers of the nearest of `entries` quantiles of a part of the elements. */
static double palette_bytes(tm_arena *scratch, const tm_coder *coder, const tm_inspected *x, int64_t columns,
                            int entries) {
    int64_t part = x->count < 16384 ? x->count : 16384, step = x->count / part;
    float *sample = TM_NEW_ARRAY(scratch, float, part);
    uint8_t *numbers = tm_arena_alloc(scratch, (size_t)part);
    for (int64_t i = 0; i < part; i++)
        sample[i] = x->data[i * step];
    float *sorted = tm_arena_copy(scratch, sample, (size_t)part * sizeof *sample);
    qsort(sorted, (size_t)part, sizeof *sorted, by_value);
    for (int64_t i = 0; i < part; i++) {
        int low = 0, high = entries - 1;
        while (low < high) {
            int middle = (low + high) / 2;
            if (sample[i] <= sorted[(int64_t)(middle + 1) * (part - 1) / entries])
                high = middle;
            else
                low = middle + 1;
        }
        numbers[i] = (uint8_t)low;
    }
    double cost = coded(coder, numbers, part, columns, 1, false) / (double)part;
    return fmin(cost, entries == 16 ? 0.5 : 1) * (double)x->count + 4.0 * entries;
}

static double shape_bytes(const tm_tensor_report *out) {
    int64_t rows = out->rows - out->zero_rows, columns = out->columns - out->zero_columns;
    double element = (double)out->bytes / (double)out->count;
    return out->zero_rows + out->zero_columns > 0 ? element * (double)rows * (double)columns : -1;
}

void tm_inspect_forecast(tm_arena *arena, tm_arena *scratch, const tm_inspected *x, tm_tensor_report *out) {
    tm_coder *coder = TM_NEW(scratch, tm_coder);
    tm_stored_values v = values_of(out->constant, x);
    for (int i = 0; i < TM_FORECAST_COUNT; i++)
        out->forecast[i] = -1;
    tm_coder_init(coder, scratch);
    if (v.count == 0)
        return;
    tm_form form = tm_form_find(scratch, coder, &v);
    out->forecast[TM_FORECAST_CODED] = fmin(form.bytes, (double)out->bytes);
    out->stored_as = describe(arena, &form);
    if (out->constant->type != TAMIS_TYPE_FLOAT || x->count < 16 || out->not_finite > 0)
        return;
    double scales = 4 * (double)x->columns;
    out->forecast[TM_FORECAST_FLOAT16] =
        fmax(fabs(out->least), fabs(out->most)) < 65504 ? half_bytes(scratch, coder, x, v.columns) : -1;
    out->forecast[TM_FORECAST_INT8] = (double)x->count + scales;
    out->forecast[TM_FORECAST_INT8_CODED] = (double)x->count * fmin(out->int8_bits + 0.05, 8) / 8 + scales;
    if (x->rows >= 16)
        out->forecast[TM_FORECAST_INT4] =
            (double)x->count / 2 + 5 * (double)((x->rows + 63) / 64) * (double)x->columns;
    out->forecast[TM_FORECAST_PALETTE256] = palette_bytes(scratch, coder, x, v.columns, 256);
    out->forecast[TM_FORECAST_PALETTE16] = palette_bytes(scratch, coder, x, v.columns, 16);
    out->forecast[TM_FORECAST_SLICES] = shape_bytes(out);
    double factors = 4 * (double)out->rank_999 * (double)(out->rows + out->columns);
    if (out->rank_999 >= 0 && factors < (double)out->bytes)
        out->forecast[TM_FORECAST_RANK] = factors;
}
