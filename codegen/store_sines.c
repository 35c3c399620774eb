/* SPDX-License-Identifier: Apache-2.0
 *
 * store_sines.c: tables of sines and cosines, as transformers have for positions.
 *
 *     table[row, column] = sin or cos((first + row) * base^(-j / count))
 *
 * Row 1 says whether it may be one: its first angle is 1. Then the usual bases (10000 and its like) are
 * tried, and the table is made anew as exporters do: in doubles, or rounded to float32 with the angles too.
 * The first rows refuse nearly all; what is left is compared whole. Sines of other libraries may be a bit or
 * two away: that is kept in a byte for each element.
 *
 * Tables of float16 and bfloat16, and float32 that were rounded to those (the quantiser does so beside its
 * weights), are compared after the same rounding, and the byte counts the places of the narrow type.
 *
 * Elements so near to the middle of two floats that another sine of double precision might round them the
 * other way are no such table: the artifact's own sine need not have the bits of ours.
 */
#include "codegen/store.h"

#include <math.h>
#include <string.h>

typedef struct table {
    const float *data;
    int64_t rows, columns;
} table;

static double at(const table *t, int64_t row, int64_t column) {
    return (double)t->data[row * t->columns + column];
}

/* The column with the sine, or the cosine, of frequency j; -1: the layout has none. */
static int64_t column_of(const table *t, int kind, int64_t j, int cosine) {
    for (int64_t c = 0; c < t->columns; c++) {
        int is_cosine;
        if (tm_stored_sines_column(kind, t->columns, c, &is_cosine) == j && is_cosine == cosine)
            return c;
    }
    return -1;
}

/* The angle from row to row of frequency j, as far as the first rows tell: 0 .. pi. */
static double step_of(const table *t, int kind, int64_t j) {
    int64_t sine = column_of(t, kind, j, 0), cosine = column_of(t, kind, j, 1);
    if (sine >= 0 && cosine >= 0)
        return fabs(atan2(at(t, 1, sine) * at(t, 0, cosine) - at(t, 1, cosine) * at(t, 0, sine),
                          at(t, 1, cosine) * at(t, 0, cosine) + at(t, 1, sine) * at(t, 0, sine)));
    double low =
        sine >= 0 ? asin(fmin(fmax(at(t, 0, sine), -1), 1)) : acos(fmin(fmax(at(t, 0, cosine), -1), 1));
    double high =
        sine >= 0 ? asin(fmin(fmax(at(t, 1, sine), -1), 1)) : acos(fmin(fmax(at(t, 1, cosine), -1), 1));
    return high - low;
}

static const double usual_bases[] = {100,    500,    1000,   5000,   10000,   20000,   50000,   100000,
                                     150000, 160000, 250000, 500000, 1000000, 5000000, 8000000, 10000000};
#define BASES (int)(sizeof usual_bases / sizeof *usual_bases)

/* A table that may be the one. */
typedef struct guess {
    int kind, rounding; /* of enum tm_stored_rounding, without TM_STORED_WIDENED */
    bool single;
    int64_t count;
    double base, divisor; /* frequency j: base^(-j / divisor) */
    double *frequencies;
} guess;

/* The bits of x as an element, which it is exactly or is rounded to. */
static uint32_t bits_of(const guess *g, float x) {
    uint32_t bits = 0;
    if (g->rounding == TM_STORED_FLOAT16) {
        _Float16 half = (_Float16)x;
        memcpy(&bits, &half, sizeof half);
        return bits;
    }
    if (g->rounding == TM_STORED_BFLOAT16)
        (void)tm_storage_round(TM_STORAGE_BFLOAT16, 0, &x, 1);
    memcpy(&bits, &x, sizeof x);
    return g->rounding == TM_STORED_BFLOAT16 ? bits >> 16 : bits;
}

/* Would a sine that is a few last places of a double away round to another element? */
static bool is_undecided(const guess *g, double x) {
    double low = x - fabs(x) * 0x1p-49, high = x + fabs(x) * 0x1p-49;
    return bits_of(g, (float)low) != bits_of(g, (float)high);
}

/* What is to be added to the bits, which count away from zero; more than a byte holds where signs differ. */
static int64_t difference(const guess *g, float found, float expected) {
    return signbit(found) != signbit(expected) ? INT32_MAX
                                               : (int64_t)bits_of(g, found) - (int64_t)bits_of(g, expected);
}

/* What makes each element of the table; false: some are further away than `most`, or undecided. */
static bool compare(const table *t, const guess *g, int most, int8_t *rest, bool *out_exact) {
    *out_exact = true;
    for (int64_t row = 0; row < t->rows; row++)
        for (int64_t c = 0; c < t->columns; c++) {
            int cosine;
            double f = g->frequencies[tm_stored_sines_column(g->kind, t->columns, c, &cosine)];
            double angle = g->single ? (double)((float)row * (float)f) : (double)row * f;
            double made = cosine != 0 ? cos(angle) : sin(angle);
            int64_t d = difference(g, t->data[row * t->columns + c], (float)made);
            if (d > most || d < -most || is_undecided(g, made))
                return false;
            rest[row * t->columns + c] = (int8_t)d;
            *out_exact = *out_exact && d == 0;
        }
    return true;
}

static void fill(guess *g) {
    for (int64_t j = 0; j < g->count; j++) {
        double f = pow(g->base, -(double)j / g->divisor);
        g->frequencies[j] = g->single ? (double)(float)f : f;
    }
}

/* All frequencies that it may have. */
static bool try_kind(tm_arena *arena, const table *t, guess g, int most, tm_form *out) {
    const table start = {t->data, t->rows < 2 ? t->rows : 2, t->columns};
    g.count = tm_stored_sines_frequencies(g.kind, t->columns);
    double first = step_of(t, g.kind, 0);
    if (g.count < 2 || !(first > 0.99 && first < 1.01))
        return false;
    int8_t *rest = tm_arena_alloc(arena, (size_t)(t->rows * t->columns));
    g.frequencies = TM_NEW_ARRAY(arena, double, g.count);
    for (int way = 0; way < 4 * BASES; way++) {
        bool exact;
        g.single = way % 2 != 0;
        g.divisor = (double)(way / 2 % 2 != 0 && g.count > 2 ? g.count - 1 : g.count);
        g.base = usual_bases[way / 4];
        fill(&g);
        if (!compare(&start, &g, most, rest, &exact) || !compare(t, &g, most, rest, &exact))
            continue;
        *out = (tm_form){.form = TM_STORED_SINES,
                         .columns = t->columns,
                         .rows = t->rows,
                         .kind = g.kind,
                         .rounding = g.rounding,
                         .single = g.single,
                         .frequencies = g.frequencies,
                         .frequency_count = g.count,
                         .rest = exact ? NULL : rest};
        return true;
    }
    return false;
}

static bool try_rounding(tm_arena *arena, const table *t, int rounding, int most, tm_form *out) {
    for (int kind = 0; kind < TM_STORED_SINES_COUNT; kind++)
        if (try_kind(arena, t, (guess){.kind = kind, .rounding = rounding}, most, out))
            return true;
    return false;
}

static bool is_float16(const table *t) {
    for (int64_t i = 0; i < t->rows * t->columns; i++)
        if ((float)(_Float16)t->data[i] != t->data[i])
            return false;
    return true;
}

static bool is_bfloat16(const table *t) {
    for (int64_t i = 0; i < t->rows * t->columns; i++) {
        uint32_t bits;
        memcpy(&bits, &t->data[i], sizeof bits);
        if ((bits & 0xffff) != 0)
            return false;
    }
    return true;
}

/* Its elements as float32; NULL: they are of no such type. */
static const float *widened(tm_arena *arena, const tm_stored_values *v) {
    const uint16_t *from = v->data;
    if (v->type == TAMIS_TYPE_FLOAT)
        return v->data;
    if (v->type != TAMIS_TYPE_FLOAT16 && v->type != TAMIS_TYPE_BFLOAT16)
        return NULL;
    float *to = TM_NEW_ARRAY(arena, float, v->count);
    for (int64_t i = 0; i < v->count; i++) {
        uint32_t bits = (uint32_t)from[i] << 16;
        _Float16 half;
        memcpy(&half, &from[i], sizeof half);
        to[i] = (float)half;
        if (v->type == TAMIS_TYPE_BFLOAT16)
            memcpy(&to[i], &bits, sizeof bits);
    }
    return to;
}

#define MOST_NARROW 2 /* places of a narrow type, where one is much */

bool tm_form_find_sines(tm_arena *arena, const tm_stored_values *v, int most_ulps, tm_form *out) {
    if (!v->is_table || v->columns < 4 || v->count < 2 * v->columns || v->count % v->columns != 0)
        return false;
    const table t = {widened(arena, v), v->count / v->columns, v->columns};
    int narrow = most_ulps < MOST_NARROW ? most_ulps : MOST_NARROW;
    if (t.data == NULL)
        return false;
    for (int64_t i = 0; i < 2 * v->columns; i++)
        if (!(fabsf(t.data[i]) <= 1))
            return false;
    if (v->type == TAMIS_TYPE_FLOAT && try_rounding(arena, &t, TM_STORED_FLOAT32, most_ulps, out))
        return true;
    if (!(v->type != TAMIS_TYPE_BFLOAT16 && is_float16(&t) &&
          try_rounding(arena, &t, TM_STORED_FLOAT16, narrow, out)) &&
        !(v->type != TAMIS_TYPE_FLOAT16 && is_bfloat16(&t) &&
          try_rounding(arena, &t, TM_STORED_BFLOAT16, narrow, out)))
        return false;
    out->rounding |= v->type == TAMIS_TYPE_FLOAT ? TM_STORED_WIDENED : 0;
    return true;
}
