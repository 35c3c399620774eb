/* SPDX-License-Identifier: Apache-2.0
 *
 * store_sines.c: tables of sines and cosines, as transformers have for positions.
 *
 *     table[row, column] = sin or cos((first + row) * base^(-j / count))
 *
 * Row 1 (or the first rows) says the frequencies: the angle between the sine and the cosine of a column, or
 * an arc of one of them. Their logarithms lie on a line if it is such a table; its slope gives the base,
 * which is rounded to the nearest usual one (10000 and its like), and the frequencies are made anew from
 * that, as exporters do: in doubles, or rounded to float32 with the angles too. Then the whole table is
 * compared. Sines of other libraries may be a bit or two away: that is kept in a byte for each element.
 *
 * Elements so near to the middle of two floats that another sine of double precision might round them the
 * other way are no such table: the artifact's own sine need not have the bits of ours.
 */
#include "codegen/store.h"

#include <math.h>
#include <string.h>

#define MOST_LAYOUT TM_STORED_SINES_COUNT

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

/* base^(-j / divisor) */
typedef struct line {
    double base;
    double divisor;
} line;

static double usual_base(double base) {
    static const double usual[] = {100,    1000,   5000,   10000,   20000,   50000,   100000,   150000,
                                   160000, 250000, 500000, 1000000, 5000000, 8000000, 10000000, 500};
    double best = 0;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (fabs(log(base / usual[i])) < 0.02)
            best = usual[i];
    return best;
}

/* The line through the logarithms of the first frequencies, for `count` or count - 1 steps in all. */
static bool fit(const table *t, int kind, int64_t count, bool one_less, line *out) {
    int64_t last = count / 4 < 1 ? 1 : count / 4;
    double divisor = (double)(one_less ? count - 1 : count), f0 = step_of(t, kind, 0),
           f1 = step_of(t, kind, last);
    if (!(f0 > 0.99) || !(f0 < 1.01) || !(f1 > 0) || !(f1 < f0))
        return false;
    out->base = usual_base(exp(-log(f1) * divisor / (double)last));
    out->divisor = divisor;
    return out->base > 0;
}

/* Bits of floats as integers in the order of their values. */
static int64_t ordered(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    return bits < 0 ? -(int64_t)(bits & 0x7fffffff) : bits;
}

/* Would a sine that is a few last places of a double away round to another float? */
static bool is_undecided(double x) {
    double low = x - fabs(x) * 0x1p-49, high = x + fabs(x) * 0x1p-49;
    return (float)low != (float)high;
}

static int32_t difference(float found, float expected) {
    int64_t d = ordered(found) - ordered(expected);
    return d > 127 || d < -127 || signbit(found) != signbit(expected) ? INT32_MAX : (int32_t)d;
}

typedef struct guess {
    int kind;
    bool single;
    int64_t first, count;
    double *frequencies;
} guess;

/* What is to be added to the bits of each element; false: some are further away than `most`, or undecided. */
static bool compare(const table *t, const guess *g, int most, int8_t *rest, bool *out_exact) {
    *out_exact = true;
    for (int64_t row = 0; row < t->rows; row++)
        for (int64_t c = 0; c < t->columns; c++) {
            int cosine;
            double f = g->frequencies[tm_stored_sines_column(g->kind, t->columns, c, &cosine)];
            double position = (double)(g->first + row);
            double angle = g->single ? (double)((float)position * (float)f) : position * f;
            double made = cosine != 0 ? cos(angle) : sin(angle);
            float x = t->data[row * t->columns + c];
            int32_t d = difference(x, (float)made);
            if (d > most || d < -most || is_undecided(made))
                return false;
            rest[row * t->columns + c] = (int8_t)(x < 0 ? -d : d); /* in bits, which count away from zero */
            *out_exact = *out_exact && d == 0;
        }
    return true;
}

static void fill(guess *g, const line *l) {
    for (int64_t j = 0; j < g->count; j++) {
        double f = pow(l->base, -(double)j / l->divisor);
        g->frequencies[j] = g->single ? (double)(float)f : f;
    }
}

static bool try_kind(tm_arena *arena, const table *t, int kind, int most, tm_form *out) {
    guess g = {.kind = kind, .count = tm_stored_sines_frequencies(kind, t->columns)};
    line l;
    int8_t *rest = tm_arena_alloc(arena, (size_t)(t->rows * t->columns));
    g.frequencies = TM_NEW_ARRAY(arena, double, g.count);
    for (int way = 0; way < 4; way++) {
        bool exact;
        g.single = way % 2 != 0;
        if (!fit(t, kind, g.count, way >= 2, &l))
            continue;
        fill(&g, &l);
        table start = {t->data, t->rows < 2 ? t->rows : 2, t->columns};
        if (!compare(&start, &g, most, rest, &exact) || !compare(t, &g, most, rest, &exact))
            continue;
        *out = (tm_form){.form = TM_STORED_SINES,
                         .columns = t->columns,
                         .rows = t->rows,
                         .kind = kind,
                         .single = g.single,
                         .first = g.first,
                         .frequencies = g.frequencies,
                         .frequency_count = g.count,
                         .rest = exact ? NULL : rest};
        return true;
    }
    return false;
}

bool tm_form_find_sines(tm_arena *arena, const tm_stored_values *v, int most_ulps, tm_form *out) {
    if (v->type != TAMIS_TYPE_FLOAT || !v->is_table || v->columns < 4 || v->count < 2 * v->columns)
        return false;
    table t = {v->data, v->count / v->columns, v->columns};
    if (t.rows * t.columns != v->count)
        return false;
    for (int64_t i = 0; i < 2 * v->columns; i++)
        if (!(fabsf(t.data[i]) <= 1))
            return false;
    for (int kind = 0; kind < MOST_LAYOUT; kind++)
        if (try_kind(arena, &t, kind, most_ulps, out))
            return true;
    return false;
}
