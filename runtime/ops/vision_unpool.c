/* SPDX-License-Identifier: Apache-2.0
 *
 * vision_unpool.c: MaxUnpool and Col2Im: both spread the elements of a small tensor over an image of
 * zeros. MaxUnpool by the indices that MaxPool recorded, Col2Im by adding each column of a sliding
 * block back to where it was taken from.
 */
#include "runtime/ops/move.h"

/* Indices count in the image that MaxPool saw; with output_shape that image is the output's corner. */
TM_BODY max_unpool(tm_run *run, const tm_call *call, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *indices = tm_in(run, call, 1), *y = tm_out(run, call, 0);
    const tm_attrs_MaxUnpool *a = tm_attributes(call);
    const int32_t spatial = x->rank - 2;
    const int64_t *kernel = tm_ints(a, a->kernel_shape);
    int64_t dims[TAMIS_MAX_RANK];
    bool fits = true;
    for (int32_t i = 0; i < x->rank; i++) {
        const int32_t k = i - 2;
        dims[i] = x->dims[i];
        if (k < 0)
            continue;
        const int64_t stride = tm_has(a->strides) ? tm_ints(a, a->strides)[k] : 1;
        const int64_t pads = tm_has(a->pads) ? tm_ints(a, a->pads)[k] + tm_ints(a, a->pads)[k + spatial] : 0;
        dims[i] = (x->dims[i] - 1) * stride - pads + kernel[k];
        fits = fits && dims[i] <= y->dims[i];
    }
    const int64_t count = tm_count(x), room = tm_count(y), image = tm_product(dims, 0, x->rank);
    const bool whole = image == room || !fits;
    memset(y->data, 0, (size_t)(room * (bits / 8)));
    for (int64_t i = 0; i < count; i++) {
        int64_t at = tm_index_at(indices, i), bound = whole ? room : image;
        if (at < 0 || at >= bound)
            return tm_fail(run, call, TM_RUN_POSITION_RANGE, at, bound);
        if (!whole) {
            int64_t stride = 1, moved = 0;
            for (int32_t d = x->rank - 1; d >= 0; d--) {
                moved += at % dims[d] * stride;
                at /= dims[d];
                stride *= y->dims[d];
            }
            at = moved;
        }
        tm_copy_elements(y->data, at, x->data, i, 1, bits);
    }
    return 0;
}
#define MAX_UNPOOL(s, S, C)                                        \
    int32_t tm_k_MaxUnpool_##s(tm_run *run, const tm_call *call) { \
        return max_unpool(run, call, 8 * (int)sizeof(S));          \
    }
TM_FOR_FLOAT_TYPES(MAX_UNPOOL)

/* ---- Col2Im ---- */

typedef struct columns {
    const tamis_tensor *x, *y;
    int32_t axes;
    int64_t image, block;           /* elements */
    int64_t sides[TAMIS_MAX_RANK];  /* of the block */
    int64_t counts[TAMIS_MAX_RANK]; /* positions of the block */
    int64_t strides[TAMIS_MAX_RANK], dilations[TAMIS_MAX_RANK], pads[TAMIS_MAX_RANK];
} columns;

/* Where element `offset` of the block at position `position` stands in the image; -1: in the frame. */
static int64_t image_element(const columns *c, int64_t offset, int64_t position) {
    int64_t at = 0, stride = 1;
    for (int32_t i = c->axes - 1; i >= 0; i--) {
        const int64_t along =
            position % c->counts[i] * c->strides[i] - c->pads[i] + offset % c->sides[i] * c->dilations[i];
        if (along < 0 || along >= c->y->dims[2 + i])
            return -1;
        at += along * stride;
        stride *= c->y->dims[2 + i];
        position /= c->counts[i];
        offset /= c->sides[i];
    }
    return at;
}

typedef void (*add_function)(const columns *c, int64_t image);

static int32_t col2im(tm_run *run, const tm_call *call, add_function add) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0), *block = tm_in(run, call, 2);
    const tm_attrs_Col2Im *a = tm_attributes(call);
    columns c = {.x = x, .y = y, .axes = y->rank - 2, .image = tm_product(y->dims, 2, y->rank), .block = 1};
    int64_t positions = 1;
    for (int32_t i = 0; i < c.axes; i++) {
        c.sides[i] = tm_index_at(block, i);
        c.strides[i] = tm_has(a->strides) ? tm_ints(a, a->strides)[i] : 1;
        c.dilations[i] = tm_has(a->dilations) ? tm_ints(a, a->dilations)[i] : 1;
        c.pads[i] = tm_has(a->pads) ? tm_ints(a, a->pads)[i] : 0;
        const int64_t end = tm_has(a->pads) ? tm_ints(a, a->pads)[i + c.axes] : 0;
        const int64_t room = y->dims[2 + i] + c.pads[i] + end - c.dilations[i] * (c.sides[i] - 1) - 1;
        c.counts[i] = room < 0 ? 0 : room / c.strides[i] + 1;
        c.block *= c.sides[i];
        positions *= c.counts[i];
    }
    if (positions != x->dims[2])
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, positions, x->dims[2]);
    if (c.block * y->dims[1] != x->dims[1])
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, c.block * y->dims[1], x->dims[1]);
    memset(y->data, 0, (size_t)tm_type_bytes(y->type, tm_count(y)));
    for (int64_t image = 0; image < y->dims[0] * y->dims[1]; image++)
        add(&c, image);
    return 0;
}

/* An element has `parts` numbers. */
#define COL2IM(s, S, C, parts, name, sum)                                                    \
    static void add_##name(const columns *c, int64_t image) {                                \
        const int64_t positions = c->x->dims[2];                                             \
        const S *x = (const S *)c->x->data + image * c->block * positions * parts;           \
        S *y = (S *)c->y->data + image * c->image * parts;                                   \
        for (int64_t offset = 0; offset < c->block; offset++)                                \
            for (int64_t position = 0; position < positions; position++) {                   \
                const int64_t at = image_element(c, offset, position);                       \
                if (at < 0)                                                                  \
                    continue;                                                                \
                for (int k = 0; k < parts; k++) {                                            \
                    S *to = y + at * parts + k;                                              \
                    const C a = tm_load_##s(*to);                                            \
                    const C b = tm_load_##s(x[(offset * positions + position) * parts + k]); \
                    *to = tm_store_##s((C)(sum));                                            \
                }                                                                            \
            }                                                                                \
    }                                                                                        \
    int32_t tm_k_Col2Im_##name(tm_run *run, const tm_call *call) {                           \
        return col2im(run, call, add_##name);                                                \
    }
#define COL2IM_FLOAT(s, S, C) COL2IM(s, S, C, 1, s, a + b)
#define COL2IM_INTEGER(s, S, C) COL2IM(s, S, C, 1, s, (uint64_t)a + (uint64_t)b)
TM_FOR_FLOAT_TYPES(COL2IM_FLOAT)
TM_FOR_INTEGER_TYPES(COL2IM_INTEGER)
COL2IM(bool, uint8_t, uint8_t, 1, bool, a | b)
COL2IM(f32, float, float, 2, c64, a + b)
COL2IM(f64, double, double, 2, c128, a + b)
