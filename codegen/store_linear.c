/* SPDX-License-Identifier: Apache-2.0
 *
 * store_linear.c: constants that are integers times scales, as what was once quantised is.
 *
 *     0.25 -0.75 1.5    ->    scale 0.25, integers 1 -3 6
 *
 * A scale holds for all elements, for each column, or for each column and block of rows. If the largest
 * element of those that share a scale is m scales, then the scale is near largest / m; m is tried from 1 on,
 * so that the largest scale is found, and most are refused by the next element. A float32 product was
 * rounded, so the scale is looked for among the neighbours of that quotient, and a candidate counts only if
 * all products have the very bits of the elements.
 */
#include "codegen/store.h"

#include <math.h>
#include <string.h>

#define MOST_INTEGER 255 /* of int8 minus a zero point; of uint8 */
#define WIDE_INTEGER 32767
#define NEIGHBOURS 2 /* of a quotient, to each side */

typedef struct column {
    const float *data;
    int64_t count, stride;
} column;

static bool fits(const column *c, float scale, int most) {
    for (int64_t i = 0; i < c->count; i++) {
        float x = c->data[i * c->stride], q = rintf(x / scale);
        if (!(fabsf(q) <= (float)most))
            return false;
        float product = q * scale;
        if (memcmp(&product, &x, 4) != 0)
            return false;
    }
    return true;
}

/* Is x a multiple, give or take what rounding of both does? */
static bool nearly(float x, float scale) {
    double q = (double)x / (double)scale, n = nearbyint(q);
    return fabs(q - n) <= 1e-6 * fmax(fabs(q), 1);
}

/* A scale with all elements as products by integers up to `most`; 0: all elements are zero; NaN: there is
 * none. */
static float scale_of(const column *c, int most) {
    float largest = 0;
    for (int64_t i = 0; i < c->count; i++) {
        float x = c->data[i * c->stride];
        if (!(fabsf(x) < (float)INFINITY) || (x == 0 && signbit(x)))
            return NAN;
        largest = fabsf(x) > largest ? fabsf(x) : largest;
    }
    if (largest == 0)
        return 0;
    int64_t probes = c->count < 16 ? c->count : 16;
    for (int m = 1; m <= most; m++) {
        float scale = largest / (float)m;
        bool likely = scale > 1e-30f;
        for (int64_t i = 0; i < probes && likely; i++)
            likely = nearly(c->data[i * (c->count / probes) * c->stride], scale);
        if (!likely)
            continue;
        float candidate = scale;
        for (int k = 0; k < NEIGHBOURS; k++)
            candidate = nextafterf(candidate, 0);
        for (int k = 0; k <= 2 * NEIGHBOURS; k++, candidate = nextafterf(candidate, (float)INFINITY))
            if (fits(c, candidate, most))
                return candidate;
    }
    return NAN;
}

static void round_integers(tm_arena *arena, const tm_stored_values *v, tm_form *f) {
    const float *data = v->data;
    int16_t *wide = TM_NEW_ARRAY(arena, int16_t, v->count);
    bool is_wide = false;
    f->narrow_scales = true;
    for (int64_t i = 0; i < f->scale_count; i++)
        f->narrow_scales = f->narrow_scales && (float)(_Float16)f->scales[i] == f->scales[i];
    for (int64_t i = 0; i < v->count; i++) {
        int64_t at = f->scale_count == 1 ? 0 : tm_stored_scale(i, f->columns, f->rows, f->block);
        wide[i] = f->scales[at] == 0 ? 0 : (int16_t)rintf(data[i] / f->scales[at]);
        is_wide |= wide[i] < -128 || wide[i] > 127;
    }
    f->integers = wide;
    f->integer_size = is_wide ? 2 : 1;
    if (!is_wide) {
        int8_t *narrow = tm_arena_alloc(arena, (size_t)v->count);
        for (int64_t i = 0; i < v->count; i++)
            narrow[i] = (int8_t)wide[i];
        f->integers = narrow;
    }
}

/* A scale for each column and block of rows. */
static bool find(tm_arena *arena, const tm_stored_values *v, int64_t columns, int64_t rows, int64_t block,
                 tm_form *out) {
    int64_t groups = v->count / (columns * rows), blocks = (rows + block - 1) / block;
    float *scales = TM_NEW_ARRAY(arena, float, groups *blocks *columns);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t c = 0; c < columns; c++) {
                int64_t first = (g * rows + b * block) * columns + c, left = rows - b * block;
                column part = {(const float *)v->data + first, left < block ? left : block, columns};
                float scale = scale_of(&part, MOST_INTEGER);
                if (isnan(scale))
                    return false;
                scales[(g * blocks + b) * columns + c] = scale;
            }
    *out = (tm_form){.form = TM_STORED_LINEAR,
                     .scale_count = groups * blocks * columns,
                     .columns = columns,
                     .rows = rows,
                     .block = block,
                     .scales = scales};
    round_integers(arena, v, out);
    return true;
}

static bool find_one(tm_arena *arena, const tm_stored_values *v, tm_form *out) {
    column all = {v->data, v->count, 1};
    float scale = scale_of(&all, WIDE_INTEGER);
    if (isnan(scale) || scale == 0)
        return false;
    *out = (tm_form){.form = TM_STORED_LINEAR,
                     .scale_count = 1,
                     .columns = v->count,
                     .rows = 1,
                     .block = 1,
                     .scales = tm_arena_copy(arena, &scale, sizeof scale)};
    round_integers(arena, v, out);
    return true;
}

bool tm_form_find_linear(tm_arena *arena, const tm_stored_values *v, tm_form *out) {
    if (v->type != TAMIS_TYPE_FLOAT || v->count < 8)
        return false;
    if (find_one(arena, v, out))
        return true;
    if (v->columns < 1 || v->rows < 1 || v->count % (v->columns * v->rows) != 0)
        return false;
    if (v->rows >= 4 && find(arena, v, v->columns, v->rows, v->rows, out))
        return true;
    if (v->is_table && v->columns >= 4) { /* rows of a table, filters of a convolution */
        if (find(arena, v, 1, v->columns, v->columns, out))
            return true;
        for (int64_t block = 256; block >= 16; block /= 2)
            if (block < v->columns && find(arena, v, 1, v->columns, block, out))
                return true;
    }
    for (int64_t block = 256; block >= 16; block /= 2)
        if (block < v->rows && find(arena, v, v->columns, v->rows, block, out))
            return true;
    return false;
}
