/* SPDX-License-Identifier: Apache-2.0
 *
 * movement_window.c: Pad, CenterCropPad, Trilu, ReverseSequence.
 *
 * Pad places the input in the output (negative pads crop it first), then makes the frame axis by
 * axis, the last axis first, each time over the whole extent of the axes done before:
 *
 *     . . . .      . . . .      r r r r
 *     . a b .  ->  y a b y  ->  y a b y
 *     . . . .      . . . .      s s s s
 *
 * so that reflect, edge and wrap are copies within the output, and the corners come right by
 * themselves. Constant frames are fills of the same slabs.
 */
#include "runtime/ops/move.h"

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP };

/* Which element 0..length-1 stands at position i outside of it. */
static int64_t frame_source(enum pad_mode mode, int64_t i, int64_t length) {
    if (mode == PAD_EDGE || length == 1)
        return i < 0 || mode != PAD_EDGE ? 0 : length - 1;
    const int64_t period = mode == PAD_WRAP ? length : 2 * (length - 1);
    i %= period;
    i += i < 0 ? period : 0;
    return i < length ? i : period - i;
}

typedef struct frame {
    tm_run *run;
    const tamis_tensor *y;
    tm_mover mover;
    enum pad_mode mode;
    const void *value;               /* of a constant frame */
    int64_t begin[TAMIS_MAX_RANK];   /* where the input stands in the output */
    int64_t length[TAMIS_MAX_RANK];  /* and how much of it */
    int64_t strides[TAMIS_MAX_RANK]; /* of the output */
} frame;

/* Positions from..to-1 of `axis`: within the input for the axes before, whole for those behind. */
static int32_t frame_slab(const frame *f, int32_t axis, int64_t from, int64_t to) {
    tm_move move = {.from = f->value, .to = f->y->data, .rank = f->y->rank};
    for (int32_t i = 0; i < move.rank; i++) {
        move.dims[i] = i < axis ? f->length[i] : f->y->dims[i];
        move.to_strides[i] = f->strides[i];
        move.to_offset += i < axis ? f->begin[i] * f->strides[i] : 0;
    }
    if (f->mode == PAD_CONSTANT) {
        move.dims[axis] = to - from;
        move.to_offset += from * f->strides[axis];
        return f->mover(f->run, &move);
    }
    const int64_t start = move.to_offset;
    move.from = f->y->data;
    move.dims[axis] = 1;
    for (int32_t i = 0; i < move.rank; i++)
        move.from_strides[i] = f->strides[i];
    for (int64_t i = from; i < to; i++) {
        const int64_t source = f->begin[axis] + frame_source(f->mode, i - f->begin[axis], f->length[axis]);
        move.to_offset = start + i * f->strides[axis];
        move.from_offset = start + source * f->strides[axis];
        int32_t code = f->mover(f->run, &move);
        if (code != 0)
            return code;
    }
    return 0;
}

/* Copies the window of x that starts at `crop` to f->begin, then frames it. */
TM_BODY place_and_frame(frame *f, const tm_call *call, const tamis_tensor *x, const int64_t *crop, int bits) {
    const tamis_tensor *y = f->y;
    int64_t strides[TAMIS_MAX_RANK];
    tm_move move;
    tm_move_init(&move, x->data, y->data, y->rank, f->length);
    tm_dense_strides(x->rank, x->dims, strides);
    tm_dense_strides(y->rank, y->dims, f->strides);
    for (int32_t i = 0; i < y->rank; i++) {
        move.from_strides[i] = strides[i];
        move.to_strides[i] = f->strides[i];
        move.from_offset += crop[i] * strides[i];
        move.to_offset += f->begin[i] * f->strides[i];
        if (f->mode != PAD_CONSTANT && f->length[i] == 0 && y->dims[i] > 0)
            return tm_fail(f->run, call, TM_RUN_NO_ELEMENTS, y->dims[i], 0);
    }
    tm_clear_tail(y, bits);
    int32_t code = f->mover(f->run, &move);
    for (int32_t axis = y->rank - 1; axis >= 0 && code == 0; axis--) {
        const int64_t begin = f->begin[axis], end = begin + f->length[axis];
        code = frame_slab(f, axis, 0, begin);
        if (code == 0)
            code = frame_slab(f, axis, end, y->dims[axis]);
    }
    return code;
}

TM_BODY pad(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    static const tm_w16 zero = {0, 0};
    const tamis_tensor *x = tm_in(run, call, 0), *pads = tm_in(run, call, 1), *value = tm_in(run, call, 2);
    const tamis_tensor *axes = tm_in(run, call, 3);
    const tm_attrs_Pad *a = tm_attributes(call);
    frame f = {
        .run = run, .y = tm_out(run, call, 0), .mover = mover, .value = value != NULL ? value->data : &zero};
    f.mode = tm_is(a, a->mode, "reflect") ? PAD_REFLECT
             : tm_is(a, a->mode, "edge")  ? PAD_EDGE
             : tm_is(a, a->mode, "wrap")  ? PAD_WRAP
                                          : PAD_CONSTANT;
    int64_t crop[TAMIS_MAX_RANK] = {0};
    for (int32_t i = 0; i < x->rank; i++)
        f.length[i] = x->dims[i];
    const int64_t count = axes != NULL ? tm_count(axes) : x->rank;
    for (int64_t i = 0; i < count; i++) {
        const int64_t given = axes != NULL ? tm_index_at(axes, i) : i,
                      axis = given + (given < 0 ? x->rank : 0);
        if (axis < 0 || axis >= x->rank)
            return tm_fail(run, call, TM_RUN_AXIS_RANGE, given, x->rank);
        const int64_t begin = tm_index_at(pads, i), end = tm_index_at(pads, i + count);
        crop[axis] = begin < 0 ? -begin : 0;
        f.begin[axis] = begin > 0 ? begin : 0;
        f.length[axis] = x->dims[axis] - crop[axis] + (end < 0 ? end : 0);
        if (f.length[axis] < 0)
            return tm_fail(run, call, TM_RUN_DIM_NEGATIVE, f.length[axis], axis);
    }
    return place_and_frame(&f, call, x, crop, bits);
}

TM_BODY center_crop_pad(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    static const tm_w16 zero = {0, 0};
    const tamis_tensor *x = tm_in(run, call, 0);
    frame f = {.run = run, .y = tm_out(run, call, 0), .mover = mover, .mode = PAD_CONSTANT, .value = &zero};
    int64_t crop[TAMIS_MAX_RANK];
    for (int32_t i = 0; i < x->rank; i++) {
        const int64_t in = x->dims[i], out = f.y->dims[i];
        crop[i] = in > out ? (in - out) / 2 : 0;
        f.begin[i] = in < out ? (out - in) / 2 : 0;
        f.length[i] = in < out ? in : out;
    }
    return place_and_frame(&f, call, x, crop, bits);
}

/* Keeps a row's columns from..to-1; the others become 0. */
static void keep_columns(void *to, const void *from, int64_t row, int64_t columns, int64_t first, int64_t end,
                         int bits) {
    if (bits < 8) {
        for (int64_t i = 0; i < columns; i++)
            tm_bits_set(to, row * columns + i, bits,
                        i >= first && i < end ? tm_bits_get(from, row * columns + i, bits) : 0);
        return;
    }
    const int64_t bytes = bits / 8;
    char *out = (char *)to + row * columns * bytes;
    const char *in = (const char *)from + row * columns * bytes;
    memset(out, 0, (size_t)(first * bytes));
    memcpy(out + first * bytes, in + first * bytes, (size_t)((end - first) * bytes));
    memset(out + end * bytes, 0, (size_t)((columns - end) * bytes));
}

TM_BODY trilu(tm_run *run, const tm_call *call, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0), *diagonal = tm_in(run, call, 1);
    const tm_attrs_Trilu *a = tm_attributes(call);
    const int64_t rows = x->dims[x->rank - 2], columns = x->dims[x->rank - 1];
    int64_t k = diagonal != NULL ? tm_index_at(diagonal, 0) : 0;
    k = k < -rows ? -rows : k > columns ? columns : k;
    const int64_t all = columns == 0 ? 0 : tm_count(x) / columns;
    tm_clear_tail(y, bits);
    for (int64_t row = 0; row < all; row++) {
        int64_t edge = row % rows + k + (a->upper ? 0 : 1);
        edge = edge < 0 ? 0 : edge > columns ? columns : edge;
        keep_columns(y->data, x->data, row, columns, a->upper ? edge : 0, a->upper ? columns : edge, bits);
    }
    return 0;
}

TM_BODY reverse_sequence(tm_run *run, const tm_call *call, tm_mover mover, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *lengths = tm_in(run, call, 1), *y = tm_out(run, call, 0);
    const tm_attrs_ReverseSequence *a = tm_attributes(call);
    const int64_t inner = tm_product(x->dims, 2, x->rank), time = x->dims[a->time_axis];
    const int64_t time_stride = a->time_axis == 0 ? x->dims[1] * inner : inner;
    const int64_t batch_stride = a->batch_axis == 0 ? x->dims[1] * inner : inner;
    tm_clear_tail(y, bits);
    for (int64_t b = 0; b < x->dims[a->batch_axis]; b++) {
        const int64_t length = tm_index_at(lengths, b);
        if (length < 0 || length > time)
            return tm_fail(run, call, TM_RUN_COUNT_RANGE, length, time);
        tm_move move = {.from = x->data, .to = y->data, .rank = 2, .dims = {length, inner}};
        move.to_strides[0] = time_stride;
        move.from_strides[0] = -time_stride;
        move.to_strides[1] = move.from_strides[1] = 1;
        move.to_offset = b * batch_stride;
        move.from_offset = move.to_offset + (length - 1) * time_stride;
        int32_t code = mover(run, &move);
        if (code != 0)
            return code;
        move.dims[0] = time - length;
        move.from_strides[0] = time_stride;
        move.to_offset += length * time_stride;
        move.from_offset = move.to_offset;
        code = mover(run, &move);
        if (code != 0)
            return code;
    }
    return 0;
}

#define KERNELS(width, bits)                                                 \
    int32_t tm_k_Pad_##width(tm_run *run, const tm_call *call) {             \
        return pad(run, call, tm_move_##width, bits);                        \
    }                                                                        \
    int32_t tm_k_CenterCropPad_##width(tm_run *run, const tm_call *call) {   \
        return center_crop_pad(run, call, tm_move_##width, bits);            \
    }                                                                        \
    int32_t tm_k_Trilu_##width(tm_run *run, const tm_call *call) {           \
        return trilu(run, call, bits);                                       \
    }                                                                        \
    int32_t tm_k_ReverseSequence_##width(tm_run *run, const tm_call *call) { \
        return reverse_sequence(run, call, tm_move_##width, bits);           \
    }
TM_EACH_WIDTH(KERNELS)
