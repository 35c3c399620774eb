/* SPDX-License-Identifier: Apache-2.0
 *
 * half_quadratic.c: scale and zero point of a block of 4-bit weights with the least sum of |error|^0.7, which
 * lets few weights be far off so that the many are near. Needs no data.
 *
 * That norm has no formula for its least; half-quadratic splitting takes turns between two steps that have:
 *
 *     e = shrink(x - s (q - z))         the errors that are let be: large ones nearly whole, small ones not
 *     s, z = line through (q, x - e)    least squares; z becomes whole, and s once more by it
 *
 * Errors count in steps, so that the turns do not depend on the size of the weights. It begins at the least
 * square error; of all turns the best by the norm is kept.
 */
#include "quantize/scale.h"

#include <math.h>

#define NORM 0.7f
#define TURNS 12

static float integer_of(float x, float scale, float zero) {
    return fminf(fmaxf(nearbyintf(x / scale) + zero, 0), 15);
}

/* Large errors less a little, small ones nothing. */
static float shrunk(float error, float scale, float weight) {
    float steps = fmaxf(fabsf(error) / scale, 1e-6f);
    float left = fmaxf(fabsf(error) - scale * powf(steps, NORM - 1) / weight, 0);
    return copysignf(left, error);
}

typedef struct line {
    float q, x, qq, qx; /* sums */
} line;

/* The norm of the errors at that scale and zero point; *sums has what the next are fitted to. */
static float look(const float *x, int64_t rows, float scale, float zero, float weight, line *sums) {
    float norm = 0;
    *sums = (line){0};
    for (int64_t i = 0; i < rows; i++) {
        float q = integer_of(x[i], scale, zero), error = x[i] - scale * (q - zero);
        float target = x[i] - shrunk(error, scale, weight);
        norm += powf(fabsf(error), NORM);
        sums->q += q;
        sums->x += target;
        sums->qq += q * q;
        sums->qx += q * target;
    }
    return norm;
}

/* Least squares; where the integers are all one, all stays. */
static void fit_line(const line *s, float rows, float *scale, float *zero) {
    float spread = s->qq - s->q * s->q / rows;
    float slope = spread > 0 ? (s->qx - s->q * s->x / rows) / spread : 0;
    if (slope < *scale / 2)
        slope = *scale;
    *zero = fminf(fmaxf(nearbyintf((s->q - s->x / slope) / rows), 0), 15);
    float dot = s->qx - *zero * s->x, squares = s->qq - 2 * *zero * s->q + rows * *zero * *zero;
    if (dot > 0 && squares > 0)
        *scale = dot / squares;
}

void tm_fit_block_half_quadratic(const float *x, int64_t rows, int64_t stride, float *out_scale,
                                 float *out_zero) {
    float block[256], best = INFINITY, weight = 4;
    tm_fit_block(x, rows, stride, out_scale, out_zero);
    float scale = *out_scale, zero = *out_zero;
    for (int64_t i = 0; i < rows; i++)
        block[i] = x[i * stride];
    for (int turn = 0; turn < TURNS; turn++, weight *= 1.05f) {
        line sums;
        scale = tm_scale_stored(scale);
        float norm = look(block, rows, scale, zero, weight, &sums);
        if (norm < best) {
            best = norm;
            *out_scale = scale;
            *out_zero = zero;
        }
        fit_line(&sums, (float)rows, &scale, &zero);
    }
}
