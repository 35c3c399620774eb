/* SPDX-License-Identifier: Apache-2.0
 *
 * convolution_deformed.c: DeformConv: a convolution whose kernel positions are moved by offsets that are
 * data.
 *
 *     y[m, o] = B[m] + sum over c, k of W[m, c, k] * mask[k, o] * x[c, o*stride - head + k*dilation +
 * offset[k, o]]
 *
 * x between its elements is linear along each axis, and 0 outside. A moved position is the same for all
 * channels of an offset group, so its taps (2 for each axis: where they lie and how much they weigh) are
 * found once and all channels read them, into the rows of a matrix of columns; what remains is a matrix
 * product. The matrix is made for a tile of output positions at a time, so that it stays in the cache,
 * whatever the size of the image. The work is in convolution_deformed.inc.
 */
#include "runtime/ops/convolution.h"
#include "runtime/ops/element.h"
#include "runtime/ops/product.h"

enum {
    MAX_TAPS = 64,             /* at a time: those of 6 axes */
    TILE_ELEMENTS = 256 * 1024 /* of the matrix of columns */
};

typedef struct deformation {
    tm_convolution convolution;
    const tamis_tensor *x, *offset, *mask, *bias, *y; /* mask and bias may be NULL */
    int64_t offset_groups;
    int64_t sample;       /* of the tile */
    int64_t first, width; /* its output positions */
    int64_t room;         /* a row of columns and of sums */
    void *columns, *sums; /* of the type that one computes in */
    const void *weights;
} deformation;

/* Position number `number` among `dims`. */
static void position_of(int32_t axes, const int64_t *dims, int64_t number, int64_t *at) {
    for (int32_t i = axes - 1; i >= 0; i--) {
        at[i] = number % dims[i];
        number /= dims[i];
    }
}

static int32_t deformation_init(tm_run *run, const tm_call *call, deformation *d) {
    const tm_attrs_DeformConv *a = tm_attributes(call);
    *d = (deformation){.x = tm_in(run, call, 0),
                       .offset = tm_in(run, call, 2),
                       .bias = tm_in(run, call, 3),
                       .mask = tm_in(run, call, 4),
                       .y = tm_out(run, call, 0),
                       .offset_groups = a->offset_group};
    const tm_window_lists lists = {{0, 0}, a->dilations, a->pads, a->strides};
    int32_t code =
        tm_convolution_init(run, call, &d->convolution, d->x, tm_in(run, call, 1), d->y, a->group, lists);
    if (code == 0 && d->x->dims[1] % a->offset_group != 0)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, d->x->dims[1], a->offset_group);
    const int64_t rows = d->x->dims[1] * d->convolution.window.kernel_count;
    d->room = TILE_ELEMENTS / (rows + 1) < 64 ? 64 : TILE_ELEMENTS / (rows + 1);
    if (d->room > d->convolution.window.out_count)
        d->room = d->convolution.window.out_count;
    return code;
}

#define N f32
#include "runtime/ops/convolution_deformed.inc"
#define N f64
#include "runtime/ops/convolution_deformed.inc"
#define N f16
#include "runtime/ops/convolution_deformed.inc"
#define N bf16
#include "runtime/ops/convolution_deformed.inc"
