/* SPDX-License-Identifier: Apache-2.0
 *
 * movement.c: Transpose, Slice, Split, Concat, Expand, Tile, DepthToSpace, SpaceToDepth: moves that
 * differ in their strides only. For example Slice of x[10] by 8:2:-3 reads offset 8 with stride -3.
 *
 * Each op has one body that takes the mover of its width; see move.h.
 */
#include "runtime/ops/move.h"

TM_BODY transpose(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    const tm_attrs_Transpose *a = tm_attributes(call);
    int64_t strides[TAMIS_MAX_RANK];
    tm_move move;
    tm_move_init(&move, x->data, y->data, y->rank, y->dims);
    tm_dense_strides(x->rank, x->dims, strides);
    for (int32_t i = 0; i < y->rank; i++)
        move.from_strides[i] = strides[tm_has(a->perm) ? tm_ints(a, a->perm)[i] : y->rank - 1 - i];
    tm_clear_tail(y, bits);
    return mover(run, &move);
}

static int64_t clamp(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

TM_BODY slice(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    const tamis_tensor *starts = tm_in(run, call, 1), *axes = tm_in(run, call, 3),
                       *steps = tm_in(run, call, 4);
    int64_t strides[TAMIS_MAX_RANK];
    tm_move move;
    tm_move_init(&move, x->data, y->data, y->rank, y->dims);
    tm_dense_strides(x->rank, x->dims, strides);
    for (int32_t i = 0; i < x->rank; i++)
        move.from_strides[i] = strides[i];
    const int64_t count = tm_count(starts);
    for (int64_t i = 0; i < count; i++) {
        const int64_t given = axes != NULL ? tm_index_at(axes, i) : i,
                      axis = given + (given < 0 ? x->rank : 0);
        if (axis < 0 || axis >= x->rank)
            return tm_fail(run, call, TM_RUN_AXIS_RANGE, given, x->rank);
        const int64_t step = steps != NULL ? tm_index_at(steps, i) : 1, dim = x->dims[axis];
        if (step == 0)
            return tm_fail(run, call, TM_RUN_STEP_ZERO, step, i);
        int64_t start = tm_index_at(starts, i);
        start = clamp(start < 0 ? start + dim : start, 0, step < 0 ? dim - 1 : dim);
        move.from_offset += start * strides[axis];
        move.from_strides[axis] *= clamp(step, -dim - 1, dim + 1); /* longer steps take one element */
    }
    tm_clear_tail(y, bits);
    return mover(run, &move);
}

TM_BODY split(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *lengths = tm_in(run, call, 1);
    const tm_attrs_Split *a = tm_attributes(call);
    const int32_t axis = (int32_t)(a->axis + (a->axis < 0 ? x->rank : 0));
    const int64_t inner = tm_product(x->dims, axis + 1, x->rank);
    const int64_t chunk = (x->dims[axis] + call->n_out - 1) / call->n_out;
    int64_t at = 0;
    for (int k = 0; k < call->n_out; k++) {
        const tamis_tensor *y = tm_out(run, call, k);
        if (y == NULL) { /* an omitted part */
            at += lengths != NULL ? tm_index_at(lengths, k) : chunk;
            continue;
        }
        if (y->dims[axis] < 0 || y->dims[axis] > x->dims[axis] - at)
            return tm_fail(run, call, TM_RUN_SPLIT_SUM, at + y->dims[axis], x->dims[axis]);
        tm_move move;
        tm_move_init(&move, x->data, y->data, y->rank, y->dims);
        for (int32_t i = 0, end = axis; i < end; i++)
            move.from_strides[i] = tm_product(x->dims, i + 1, x->rank);
        move.from_offset = at * inner;
        tm_clear_tail(y, bits);
        int32_t code = mover(run, &move);
        if (code != 0)
            return code;
        at += y->dims[axis];
    }
    return 0;
}

TM_BODY concat(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    const tamis_tensor *y = tm_out(run, call, 0);
    const tm_attrs_Concat *a = tm_attributes(call);
    const int32_t axis = (int32_t)(a->axis + (a->axis < 0 ? y->rank : 0));
    const int64_t inner = tm_product(y->dims, axis + 1, y->rank);
    int64_t at = 0;
    tm_clear_tail(y, bits);
    for (int k = 0; k < call->n_in; k++) {
        const tamis_tensor *x = tm_in(run, call, k);
        for (int32_t i = 0; i < y->rank; i++)
            if (i != axis && x->dims[i] != y->dims[i])
                return tm_fail(run, call, TM_RUN_DIM_MISMATCH, x->dims[i], y->dims[i]);
        tm_move move;
        tm_move_init(&move, x->data, y->data, x->rank, x->dims);
        for (int32_t i = 0, end = axis; i < end; i++)
            move.to_strides[i] = tm_product(y->dims, i + 1, y->rank);
        move.to_offset = at * inner;
        int32_t code = mover(run, &move);
        if (code != 0)
            return code;
        at += x->dims[axis];
    }
    return 0;
}

TM_BODY expand(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    int64_t strides[TAMIS_MAX_RANK];
    tm_move move;
    tm_move_init(&move, x->data, y->data, y->rank, y->dims);
    tm_dense_strides(x->rank, x->dims, strides);
    for (int32_t i = 0; i < y->rank; i++) {
        const int32_t axis = i - (y->rank - x->rank);
        move.from_strides[i] = axis < 0 || x->dims[axis] == 1 ? 0 : strides[axis];
    }
    tm_clear_tail(y, bits);
    return mover(run, &move);
}

TM_BODY tile(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0), *repeats = tm_in(run, call, 1);
    int64_t dims[TM_MOVE_RANK];
    for (int32_t i = 0; i < x->rank; i++) {
        dims[2 * i] = tm_index_at(repeats, i);
        dims[2 * i + 1] = x->dims[i];
    }
    tm_move move;
    tm_move_init(&move, x->data, y->data, 2 * x->rank, dims);
    int64_t stride = 1;
    for (int32_t i = x->rank - 1; i >= 0; i--) {
        move.from_strides[2 * i] = 0;
        move.from_strides[2 * i + 1] = stride;
        stride *= x->dims[i];
    }
    tm_clear_tail(y, bits);
    return mover(run, &move);
}

/* Output [n, c, h, b, w, b]; the block's channels come first (DCR) or last (CRD) in the input. */
TM_BODY depth_to_space(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    const tm_attrs_DepthToSpace *a = tm_attributes(call);
    const int64_t b = a->blocksize, c = y->dims[1], h = x->dims[2], w = x->dims[3], area = h * w;
    const int64_t dims[6] = {x->dims[0], c, h, b, w, b};
    tm_move move;
    tm_move_init(&move, x->data, y->data, 6, dims);
    const bool blocks_first = tm_is(a, a->mode, "DCR");
    move.from_strides[0] = x->dims[1] * area;
    move.from_strides[1] = blocks_first ? area : b * b * area;
    move.from_strides[2] = w;
    move.from_strides[3] = blocks_first ? b * c * area : b * area;
    move.from_strides[4] = 1;
    move.from_strides[5] = blocks_first ? c * area : area;
    tm_clear_tail(y, bits);
    return mover(run, &move);
}

/* Output [n, b, b, c, h, w] of the input [n, c, h, b, w, b]. */
TM_BODY space_to_depth(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    const tm_attrs_SpaceToDepth *a = tm_attributes(call);
    const int64_t b = a->blocksize, c = x->dims[1], width = x->dims[3], area = x->dims[2] * width;
    const int64_t dims[6] = {x->dims[0], b, b, c, y->dims[2], y->dims[3]};
    tm_move move;
    tm_move_init(&move, x->data, y->data, 6, dims);
    move.from_strides[0] = c * area;
    move.from_strides[1] = width;
    move.from_strides[2] = 1;
    move.from_strides[3] = area;
    move.from_strides[4] = b * width;
    move.from_strides[5] = b;
    tm_clear_tail(y, bits);
    return mover(run, &move);
}

#define KERNELS(width, bits)                                              \
    int32_t tm_k_Transpose_##width(tm_run *run, const tm_call *call) {    \
        return transpose(run, call, tm_move_##width, bits);               \
    }                                                                     \
    int32_t tm_k_Slice_##width(tm_run *run, const tm_call *call) {        \
        return slice(run, call, tm_move_##width, bits);                   \
    }                                                                     \
    int32_t tm_k_Split_##width(tm_run *run, const tm_call *call) {        \
        return split(run, call, tm_move_##width, bits);                   \
    }                                                                     \
    int32_t tm_k_Concat_##width(tm_run *run, const tm_call *call) {       \
        return concat(run, call, tm_move_##width, bits);                  \
    }                                                                     \
    int32_t tm_k_Expand_##width(tm_run *run, const tm_call *call) {       \
        return expand(run, call, tm_move_##width, bits);                  \
    }                                                                     \
    int32_t tm_k_Tile_##width(tm_run *run, const tm_call *call) {         \
        return tile(run, call, tm_move_##width, bits);                    \
    }                                                                     \
    int32_t tm_k_DepthToSpace_##width(tm_run *run, const tm_call *call) { \
        return depth_to_space(run, call, tm_move_##width, bits);          \
    }                                                                     \
    int32_t tm_k_SpaceToDepth_##width(tm_run *run, const tm_call *call) { \
        return space_to_depth(run, call, tm_move_##width, bits);          \
    }
TM_EACH_WIDTH(KERNELS)
