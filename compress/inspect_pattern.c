/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_pattern.c: where zeros stand, and tables that a formula makes.
 *
 *     zero rows, zero columns     slices that can be cut out
 *     4x1, 1x4                    share of all zeros that stand in whole blocks of four along a column, a row
 *     n:m                         of each m neighbours, at least m - n are zero: 2:4 and its like
 *
 * A pattern is named only where the tensor has zeros enough for it to be no accident: half of all elements
 * for n:m.
 */
#include "compress/inspect.h"

#include "codegen/store.h"

#include <math.h>
#include <string.h>

static float at(const tm_inspected *x, int64_t row, int64_t column) {
    return x->data[row * x->row_step + column * x->column_step];
}

/* ---- zeros ---- */

static void count_slices(tm_arena *arena, const tm_inspected *x, tm_tensor_report *out) {
    bool *used = TM_NEW_ARRAY(arena, bool, x->columns);
    for (int64_t r = 0; r < x->rows; r++) {
        bool row_used = false;
        for (int64_t c = 0; c < x->columns; c++)
            if (at(x, r, c) != 0)
                used[c] = row_used = true;
        out->zero_rows += !row_used;
    }
    for (int64_t c = 0; c < x->columns; c++)
        out->zero_columns += !used[c];
}

/* Share of the zeros in blocks of four along an axis that are zero as a whole. */
static double blocks(const tm_inspected *x, bool along_rows, int64_t zeros) {
    int64_t outer = along_rows ? x->columns : x->rows, inner = along_rows ? x->rows : x->columns, whole = 0;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i + 4 <= inner; i += 4) {
            int found = 0;
            for (int64_t k = i; k < i + 4; k++)
                found += along_rows ? at(x, k, o) == 0 : at(x, o, k) == 0;
            whole += found == 4;
        }
    return zeros > 0 ? 4 * (double)whole / (double)zeros : 0;
}

/* Are at most `most` of each `of` neighbours along an axis other than zero? */
static bool is_n_of_m(const tm_inspected *x, bool along_rows, int most, int of) {
    int64_t outer = along_rows ? x->columns : x->rows, inner = along_rows ? x->rows : x->columns;
    if (inner % of != 0)
        return false;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i += of) {
            int found = 0;
            for (int64_t k = i; k < i + of; k++)
                found += along_rows ? at(x, k, o) != 0 : at(x, o, k) != 0;
            if (found > most)
                return false;
        }
    return true;
}

static const char *find_n_of_m(const tm_inspected *x) {
    static const struct {
        int most, of;
        const char *rows, *columns;
    } forms[] = {{1, 4, "1:4 along columns", "1:4 along rows"},
                 {2, 8, "2:8 along columns", "2:8 along rows"},
                 {2, 4, "2:4 along columns", "2:4 along rows"},
                 {4, 8, "4:8 along columns", "4:8 along rows"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (is_n_of_m(x, true, forms[i].most, forms[i].of))
            return forms[i].rows;
        if (is_n_of_m(x, false, forms[i].most, forms[i].of))
            return forms[i].columns;
    }
    return NULL;
}

void tm_inspect_patterns(tm_arena *arena, const tm_inspected *x, tm_tensor_report *out) {
    if (x->rows < 2 || x->columns < 2 || out->zeros == 0 || out->zeros == x->count)
        return;
    count_slices(arena, x, out);
    out->blocks_4x1 = blocks(x, true, out->zeros);
    out->blocks_1x4 = blocks(x, false, out->zeros);
    if (2 * out->zeros >= x->count)
        out->pattern = find_n_of_m(x);
}

/* ---- formulas ---- */

/* One value on one side of a diagonal, another on the other: masks; or on the diagonal alone. */
static const char *find_diagonal(tm_arena *arena, const tm_inspected *x) {
    float low = at(x, x->rows - 1, 0), high = at(x, 0, x->columns - 1), middle = at(x, 0, 0);
    bool triangle = low != high || isnan(low) != isnan(high), diagonal = low == high && middle != low;
    if (x->rows < 2 || x->columns < 2 || x->count < 9 || isnan(low) || isnan(high))
        return NULL;
    int64_t offset = triangle ? 0 : -1; /* columns up to row + offset are low */
    while (triangle && offset < x->columns - 1 && at(x, 0, offset) == low)
        offset++;
    offset--;
    for (int64_t r = 0; r < x->rows && (triangle || diagonal); r++)
        for (int64_t c = 0; c < x->columns; c++) {
            float value = at(x, r, c);
            triangle = triangle && value == (c <= r + offset ? low : high);
            diagonal = diagonal && value == (c == r ? middle : low);
        }
    if (triangle)
        return tm_arena_format(arena, "triangle: %g where column <= row%+lld, else %g", (double)low,
                               (long long)offset, (double)high);
    return diagonal ? tm_arena_format(arena, "diagonal: %g, else %g", (double)middle, (double)low) : NULL;
}

static const char *range_text(tm_arena *arena, const tm_form *f, const tm_tensor_report *out) {
    if (f->step == 0)
        return tm_arena_format(arena, "constant %g", out->most);
    return tm_arena_format(arena, "%lld + %lld * (i / %lld %% %lld)", (long long)f->start, (long long)f->step,
                           (long long)f->inner, (long long)f->length);
}

static const char *sines_text(tm_arena *arena, const tm_form *f) {
    static const char *const kinds[] = {
        "sin and cos in pairs", "sin, then cos",     "cos, then sin", "cos twice", "sin twice", "cos", "sin",
        "cos in equal pairs",   "sin in equal pairs"};
    double last = f->frequencies[f->frequency_count - 1];
    double base = exp(-log(last) * (double)f->frequency_count / (double)(f->frequency_count - 1));
    int rounding = f->rounding & ~TM_STORED_WIDENED;
    return tm_arena_format(
        arena, "%s of row * frequency: %lld frequencies from 1 down to %.6g (base %.6g)%s%s", kinds[f->kind],
        (long long)f->frequency_count, last, base, f->single ? ", angles in float32" : "",
        rounding == TM_STORED_FLOAT16    ? ", rounded to float16"
        : rounding == TM_STORED_BFLOAT16 ? ", rounded to bfloat16"
                                         : "");
}

/* The element without what is to be added to its bits. */
static float without_rest(float x, int rest, int rounding) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (rounding == TM_STORED_FLOAT16) {
        _Float16 half = (_Float16)x;
        uint16_t places;
        memcpy(&places, &half, sizeof half);
        places = (uint16_t)(places - rest);
        memcpy(&half, &places, sizeof half);
        return (float)half;
    }
    bits -= (uint32_t)rest << (rounding == TM_STORED_BFLOAT16 ? 16 : 0);
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The error of leaving it out. */
static double sines_error(const tm_inspected *x, const tm_form *f) {
    double most = 0;
    for (int64_t i = 0; f->rest != NULL && i < x->count; i++) {
        float made = without_rest(x->data[i], f->rest[i], f->rounding & ~TM_STORED_WIDENED);
        most = fmax(most, fabs((double)made - (double)x->data[i]));
    }
    return most;
}

void tm_inspect_generated(tm_arena *arena, tm_arena *scratch, const tm_inspected *x, tm_tensor_report *out) {
    const tm_constant *c = out->constant;
    int bits = tm_type_bits(c->type);
    tm_stored_values values = {.data = c->data,
                               .type = c->type,
                               .count = x->count,
                               .size = bits / 8,
                               .columns = c->rank > 0 ? c->dims[c->rank - 1] : 1,
                               .is_table = true};
    tm_form form;
    if (bits < 8 || bits > 64 || x->count < 2)
        return;
    values.rows = values.columns > 0 ? x->count / values.columns : 0;
    if (tm_form_find_range(&values, &form))
        out->generated = range_text(arena, &form, out);
    else if (tm_form_find_sines(scratch, &values, 127, &form)) {
        out->generated = sines_text(arena, &form);
        out->generated_error = sines_error(x, &form);
    } else {
        out->generated = find_diagonal(arena, x);
    }
}
