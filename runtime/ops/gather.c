/* SPDX-License-Identifier: Apache-2.0
 *
 * gather.c: Gather, GatherElements, GatherND.
 *
 * All indices are checked before anything is copied, so that the message names the first bad one no
 * matter how the work is cut. Gather and GatherND then copy rows (an embedding table: one memcpy for
 * each token), with typed loops where a row is a single element.
 */
#include "runtime/ops/move.h"

#define PARALLEL_BYTES 32768

typedef struct rows {
    const void *from;
    void *to;
    const tamis_tensor *indices;
    int64_t inner; /* elements of a row */
    int bits;
    int64_t count;  /* Gather: indices; GatherND: rows of a batch */
    int64_t length; /* Gather: of the axis */
    int32_t depth;  /* GatherND: indices of a row */
    int64_t batch;  /* elements of a batch of the data */
    int64_t dims[TAMIS_MAX_RANK], strides[TAMIS_MAX_RANK];
} rows;

/* Packed elements move in whole bytes where rows are whole bytes. */
static void pack_rows(rows *r) {
    if (r->bits < 8 && r->inner * r->bits % 8 == 0) {
        r->inner = r->inner * r->bits / 8;
        r->bits = 8;
    }
}

static int64_t grain_of(const rows *r) {
    if (r->bits < 8)
        return INT64_MAX; /* rows share bytes */
    const int64_t bytes = r->inner * r->bits / 8;
    return bytes == 0 || bytes >= PARALLEL_BYTES ? 1 : PARALLEL_BYTES / bytes;
}

static int32_t gather_rows(void *arg, int64_t begin, int64_t end) {
    const rows *r = arg;
    int64_t k = begin % r->count, base = begin / r->count * r->length;
#define ROWS(copy)                                                       \
    for (int64_t row = begin; row < end; row++) {                        \
        const int64_t index = tm_index_at(r->indices, k);                \
        const int64_t from = base + index + (index < 0 ? r->length : 0); \
        copy;                                                            \
        if (++k == r->count) {                                           \
            k = 0;                                                       \
            base += r->length;                                           \
        }                                                                \
    }                                                                    \
    return 0
    if (r->inner == 1) {
        switch (r->bits) {
        case 8:
            ROWS(((uint8_t *)r->to)[row] = ((const uint8_t *)r->from)[from]);
        case 16:
            ROWS(((uint16_t *)r->to)[row] = ((const uint16_t *)r->from)[from]);
        case 32:
            ROWS(((uint32_t *)r->to)[row] = ((const uint32_t *)r->from)[from]);
        case 64:
            ROWS(((uint64_t *)r->to)[row] = ((const uint64_t *)r->from)[from]);
        default:
            break;
        }
    }
    ROWS(tm_copy_elements(r->to, row * r->inner, r->from, from * r->inner, r->inner, r->bits));
#undef ROWS
}

TM_BODY gather(tm_run *run, const tm_call *call, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *indices = tm_in(run, call, 1), *y = tm_out(run, call, 0);
    const tm_attrs_Gather *a = tm_attributes(call);
    const int32_t axis = (int32_t)(a->axis + (a->axis < 0 ? x->rank : 0));
    rows r = {.from = x->data, .to = y->data, .indices = indices, .bits = bits};
    r.inner = tm_product(x->dims, axis + 1, x->rank);
    r.count = tm_count(indices);
    r.length = x->dims[axis];
    int32_t code = tm_check_indices(run, call, indices, r.length);
    if (code != 0 || r.inner == 0)
        return code;
    tm_clear_tail(y, bits);
    pack_rows(&r);
    return tm_parallel(run, tm_product(x->dims, 0, axis) * r.count, grain_of(&r), gather_rows, &r);
}

static inline int64_t gather_nd_source(const rows *r, int64_t row) {
    int64_t at = row / r->count * r->batch;
    for (int32_t k = 0; k < r->depth; k++) {
        const int64_t index = tm_index_at(r->indices, row * r->depth + k);
        at += (index + (index < 0 ? r->dims[k] : 0)) * r->strides[k];
    }
    return at;
}

static int32_t gather_nd_rows(void *arg, int64_t begin, int64_t end) {
    const rows *r = arg;
    for (int64_t row = begin; row < end; row++)
        tm_copy_elements(r->to, row * r->inner, r->from, gather_nd_source(r, row), r->inner, r->bits);
    return 0;
}

TM_BODY gather_nd(tm_run *run, const tm_call *call, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *indices = tm_in(run, call, 1), *y = tm_out(run, call, 0);
    const tm_attrs_GatherND *a = tm_attributes(call);
    const int32_t batch = (int32_t)a->batch_dims, last = indices->rank - 1;
    rows r = {.from = x->data,
              .to = y->data,
              .indices = indices,
              .bits = bits,
              .depth = (int32_t)indices->dims[last]};
    r.inner = tm_product(x->dims, batch + r.depth, x->rank);
    r.batch = tm_product(x->dims, batch, x->rank);
    r.count = tm_product(indices->dims, batch, last);
    const int64_t all = tm_product(indices->dims, 0, last);
    for (int64_t row = 0; row < all; row++)
        for (int32_t k = 0; k < r.depth; k++) {
            const int64_t index = tm_index_at(indices, row * r.depth + k), bound = x->dims[batch + k];
            if (index < -bound || index >= bound)
                return tm_fail(run, call, TM_RUN_INDEX_RANGE, index, bound);
        }
    if (r.inner == 0 || all == 0)
        return 0;
    tm_clear_tail(y, bits);
    const int64_t unpacked = r.inner;
    pack_rows(&r);
    for (int32_t k = 0; k < r.depth; k++) {
        r.dims[k] = x->dims[batch + k];
        r.strides[k] = tm_product(x->dims, batch + k + 1, batch + r.depth) * r.inner;
    }
    r.batch = r.batch / unpacked * r.inner;
    return tm_parallel(run, all, grain_of(&r), gather_nd_rows, &r);
}

typedef struct elements {
    const tamis_tensor *x, *indices, *y;
    int32_t axis;
    int bits;
    int64_t strides[TAMIS_MAX_RANK]; /* of x */
} elements;

/* Rows of the last dim of the output. */
static int32_t gather_element_rows(void *arg, int64_t begin, int64_t end) {
    const elements *e = arg;
    const int32_t last = e->y->rank - 1;
    const int64_t columns = e->y->dims[last], length = e->x->dims[e->axis], step = e->strides[e->axis];
    const int64_t along = e->axis == last ? 0 : 1;
    for (int64_t row = begin; row < end; row++) {
        int64_t base = 0, rest = row;
        for (int32_t i = last - 1; i >= 0; i--) {
            base += i == e->axis ? 0 : rest % e->y->dims[i] * e->strides[i];
            rest /= e->y->dims[i];
        }
        for (int64_t j = 0; j < columns; j++) {
            int64_t index = tm_index_at(e->indices, row * columns + j);
            index += index < 0 ? length : 0;
            const int64_t from = base + index * step + j * along, to = row * columns + j;
#define ELEMENT(T) ((T *)e->y->data)[to] = ((const T *)e->x->data)[from]
            switch (e->bits) {
            case 8:
                ELEMENT(uint8_t);
                break;
            case 16:
                ELEMENT(uint16_t);
                break;
            case 32:
                ELEMENT(uint32_t);
                break;
            case 64:
                ELEMENT(uint64_t);
                break;
            default:
                tm_copy_elements(e->y->data, to, e->x->data, from, 1, e->bits);
            }
#undef ELEMENT
        }
    }
    return 0;
}

TM_BODY gather_elements(tm_run *run, const tm_call *call, int bits) {
    const tm_attrs_GatherElements *a = tm_attributes(call);
    elements e = {
        .x = tm_in(run, call, 0), .indices = tm_in(run, call, 1), .y = tm_out(run, call, 0), .bits = bits};
    if (e.y->rank == 0 || tm_count(e.y) == 0)
        return 0;
    e.axis = (int32_t)(a->axis + (a->axis < 0 ? e.x->rank : 0));
    for (int32_t i = 0; i < e.x->rank; i++)
        if (i != e.axis && e.y->dims[i] > e.x->dims[i])
            return tm_fail(run, call, TM_RUN_DIM_MISMATCH, e.y->dims[i], e.x->dims[i]);
    int32_t code = tm_check_indices(run, call, e.indices, e.x->dims[e.axis]);
    if (code != 0)
        return code;
    tm_clear_tail(e.y, bits);
    tm_dense_strides(e.x->rank, e.x->dims, e.strides);
    const int64_t columns = e.y->dims[e.y->rank - 1];
    const int64_t grain = bits < 8 ? INT64_MAX : columns >= 8192 ? 1 : 8192 / columns;
    return tm_parallel(run, tm_count(e.y) / columns, grain, gather_element_rows, &e);
}

#define KERNELS(width, bits)                                                \
    int32_t tm_k_Gather_##width(tm_run *run, const tm_call *call) {         \
        return gather(run, call, bits);                                     \
    }                                                                       \
    int32_t tm_k_GatherND_##width(tm_run *run, const tm_call *call) {       \
        return gather_nd(run, call, bits);                                  \
    }                                                                       \
    int32_t tm_k_GatherElements_##width(tm_run *run, const tm_call *call) { \
        return gather_elements(run, call, bits);                            \
    }
TM_EACH_WIDTH(KERNELS)
