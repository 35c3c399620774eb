/* SPDX-License-Identifier: Apache-2.0
 *
 * scatter.c: ScatterElements, ScatterND, TensorScatter.
 *
 * Both scatters find targets first and apply updates then: the positions of a block of updates go into
 * a small table, and a typed function adds, multiplies or compares the block into the output,
 *
 *     for k in block:  output[at[k] .. at[k] + run) op= updates[k*run ..]
 *
 * with run = 1 for ScatterElements and the length of a slice for ScatterND. Without a reduction the
 * width alone matters. Among bools, add and max are "or", mul and min "and", as in NumPy. Updates are
 * applied in order on one thread: several may hit one element.
 */
#include "runtime/ops/move.h"

enum { BLOCK = 256 };
enum reduction { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MAX, REDUCE_MIN };

typedef struct block {
    void *y;
    const void *updates;
    int64_t from; /* first element of the block in the updates */
    int64_t count, run;
    int64_t at[BLOCK];
} block;
typedef void (*apply_function)(const block *b, enum reduction reduction);

#define EACH(s, C, expression)                               \
    for (int64_t k = 0; k < b->count; k++)                   \
        for (int64_t j = 0; j < b->run; j++) {               \
            const C old = tm_load_##s(y[b->at[k] + j]);      \
            const C new = tm_load_##s(u[k * b->run + j]);    \
            y[b->at[k] + j] = tm_store_##s((C)(expression)); \
        }                                                    \
    break
#define APPLY(s, S, C, sum, product)                                  \
    static void apply_##s(const block *b, enum reduction reduction) { \
        S *y = b->y;                                                  \
        const S *u = (const S *)b->updates + b->from;                 \
        switch (reduction) {                                          \
        case REDUCE_ADD:                                              \
            EACH(s, C, sum);                                          \
        case REDUCE_MUL:                                              \
            EACH(s, C, product);                                      \
        case REDUCE_MAX:                                              \
            EACH(s, C, new > old || new != new ? new : old);          \
        case REDUCE_MIN:                                              \
            EACH(s, C, new < old || new != new ? new : old);          \
        default:                                                      \
            break;                                                    \
        }                                                             \
    }
#define APPLY_FLOAT(s, S, C) APPLY(s, S, C, old + new, old * new)
#define APPLY_INTEGER(s, S, C) APPLY(s, S, C, (uint64_t)old + (uint64_t)new, (uint64_t)old * (uint64_t)new)
TM_FOR_FLOAT_TYPES(APPLY_FLOAT)
TM_FOR_INTEGER_TYPES(APPLY_INTEGER)

APPLY(bool, uint8_t, uint8_t, old | new, old &new)

/* Inference lets no max and min come here: complex numbers have no order. */
#define APPLY_COMPLEX(s, F)                                                 \
    static void apply_##s(const block *b, enum reduction reduction) {       \
        F *y = b->y;                                                        \
        const F *u = (const F *)b->updates + 2 * b->from;                   \
        for (int64_t k = 0; k < b->count; k++)                              \
            for (int64_t j = 0; j < b->run; j++) {                          \
                F *to = y + 2 * (b->at[k] + j);                             \
                const F *by = u + 2 * (k * b->run + j), real = to[0];       \
                const bool add = reduction == REDUCE_ADD;                   \
                to[0] = add ? real + by[0] : real * by[0] - to[1] * by[1];  \
                to[1] = add ? to[1] + by[1] : real * by[1] + to[1] * by[0]; \
            }                                                               \
    }
APPLY_COMPLEX(c64, float)
APPLY_COMPLEX(c128, double)

static enum reduction reduction_of(const void *attributes, tm_list name) {
    return tm_is(attributes, name, "add")   ? REDUCE_ADD
           : tm_is(attributes, name, "mul") ? REDUCE_MUL
           : tm_is(attributes, name, "max") ? REDUCE_MAX
           : tm_is(attributes, name, "min") ? REDUCE_MIN
                                            : REDUCE_NONE;
}

static void apply_block(block *b, enum reduction reduction, apply_function apply, int bits) {
    if (reduction == REDUCE_NONE) {
        for (int64_t k = 0; k < b->count; k++)
            tm_copy_elements(b->y, b->at[k], b->updates, b->from + k * b->run, b->run, bits);
    } else {
        apply(b, reduction);
    }
    b->from += b->count * b->run;
    b->count = 0;
}

/* The output starts as a copy of the data, unless they share memory. */
static void copy_data(const tamis_tensor *x, const tamis_tensor *y) {
    if (x->data != y->data && tm_count(x) > 0)
        memcpy(y->data, x->data, (size_t)tm_type_bytes(x->type, tm_count(x)));
}

TM_BODY scatter_elements(tm_run *run, const tm_call *call, int bits, apply_function apply) {
    const tamis_tensor *x = tm_in(run, call, 0), *indices = tm_in(run, call, 1),
                       *updates = tm_in(run, call, 2);
    const tamis_tensor *y = tm_out(run, call, 0);
    const tm_attrs_ScatterElements *a = tm_attributes(call);
    const enum reduction reduction = reduction_of(a, a->reduction);
    const int64_t count = tm_count(indices);
    if (reduction != REDUCE_NONE && apply == NULL)
        return tm_fail(run, call, TM_RUN_TYPE, x->type, 0);
    copy_data(x, y);
    if (count == 0 || x->rank == 0)
        return 0;
    const int32_t axis = (int32_t)(a->axis + (a->axis < 0 ? x->rank : 0));
    for (int32_t i = 0; i < x->rank; i++)
        if (i != axis && indices->dims[i] > x->dims[i])
            return tm_fail(run, call, TM_RUN_DIM_MISMATCH, indices->dims[i], x->dims[i]);
    int32_t code = tm_check_indices(run, call, indices, x->dims[axis]);
    if (code != 0)
        return code;
    int64_t strides[TAMIS_MAX_RANK], position[TAMIS_MAX_RANK] = {0}, base = 0;
    tm_dense_strides(x->rank, x->dims, strides);
    const int64_t step = strides[axis];
    strides[axis] = 0;
    block b = {.y = y->data, .updates = updates->data, .run = 1};
    for (int64_t i = 0; i < count; i++) {
        const int64_t index = tm_index_at(indices, i);
        b.at[b.count++] = base + (index + (index < 0 ? x->dims[axis] : 0)) * step;
        if (b.count == BLOCK || i == count - 1)
            apply_block(&b, reduction, apply, bits);
        for (int32_t d = x->rank - 1; d >= 0; d--) {
            base += strides[d];
            if (++position[d] < indices->dims[d])
                break;
            base -= strides[d] * indices->dims[d];
            position[d] = 0;
        }
    }
    return 0;
}

TM_BODY scatter_nd(tm_run *run, const tm_call *call, int bits, apply_function apply) {
    const tamis_tensor *x = tm_in(run, call, 0), *indices = tm_in(run, call, 1),
                       *updates = tm_in(run, call, 2);
    const tamis_tensor *y = tm_out(run, call, 0);
    const tm_attrs_ScatterND *a = tm_attributes(call);
    const enum reduction reduction = reduction_of(a, a->reduction);
    const int32_t depth = (int32_t)indices->dims[indices->rank - 1];
    const int64_t count = tm_product(indices->dims, 0, indices->rank - 1);
    if (reduction != REDUCE_NONE && apply == NULL)
        return tm_fail(run, call, TM_RUN_TYPE, x->type, 0);
    copy_data(x, y);
    block b = {.y = y->data, .updates = updates->data, .run = tm_product(x->dims, depth, x->rank)};
    int64_t strides[TAMIS_MAX_RANK];
    tm_dense_strides(x->rank, x->dims, strides);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0;
        for (int32_t k = 0; k < depth; k++) {
            const int64_t index = tm_index_at(indices, i * depth + k), bound = x->dims[k];
            if (index < -bound || index >= bound)
                return tm_fail(run, call, TM_RUN_INDEX_RANGE, index, bound);
            at += (index + (index < 0 ? bound : 0)) * strides[k];
        }
        b.at[b.count++] = at;
        if (b.count == BLOCK || i == count - 1)
            apply_block(&b, reduction, apply, bits);
    }
    return 0;
}

#define NUMERIC_KERNELS(s, S, C)                                           \
    int32_t tm_k_ScatterElements_##s(tm_run *run, const tm_call *call) {   \
        return scatter_elements(run, call, 8 * (int)sizeof(S), apply_##s); \
    }                                                                      \
    int32_t tm_k_ScatterND_##s(tm_run *run, const tm_call *call) {         \
        return scatter_nd(run, call, 8 * (int)sizeof(S), apply_##s);       \
    }
TM_FOR_NUMERIC_TYPES(NUMERIC_KERNELS)
TM_FOR_BOOL_TYPE(NUMERIC_KERNELS)
NUMERIC_KERNELS(c64, uint64_t, )
NUMERIC_KERNELS(c128, tm_w16, )

#define OTHER_KERNELS(s, bits)                                           \
    int32_t tm_k_ScatterElements_##s(tm_run *run, const tm_call *call) { \
        return scatter_elements(run, call, bits, NULL);                  \
    }                                                                    \
    int32_t tm_k_ScatterND_##s(tm_run *run, const tm_call *call) {       \
        return scatter_nd(run, call, bits, NULL);                        \
    }
OTHER_KERNELS(str, 128)
OTHER_KERNELS(f8e4m3fn, 8)
OTHER_KERNELS(f8e4m3fnuz, 8)
OTHER_KERNELS(f8e5m2, 8)
OTHER_KERNELS(f8e5m2fnuz, 8)
OTHER_KERNELS(f8e8m0, 8)
OTHER_KERNELS(u4, 4)
OTHER_KERNELS(i4, 4)
OTHER_KERNELS(f4e2m1, 4)
OTHER_KERNELS(u2, 2)
OTHER_KERNELS(i2, 2)

/* Rows of one sample go behind what its cache holds; a circular cache wraps around. */
TM_BODY tensor_scatter(tm_run *run, const tm_call *call, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *update = tm_in(run, call, 1), *starts = tm_in(run, call, 2);
    const tamis_tensor *y = tm_out(run, call, 0);
    const tm_attrs_TensorScatter *a = tm_attributes(call);
    const bool circular = tm_is(a, a->mode, "circular");
    const int32_t axis = (int32_t)(a->axis + (a->axis < 0 ? x->rank : 0));
    const int64_t inner = tm_product(x->dims, axis + 1, x->rank), length = x->dims[axis],
                  rows = update->dims[axis];
    const int64_t prefixes = tm_product(x->dims, 0, axis), per_sample = tm_product(x->dims, 1, axis);
    copy_data(x, y);
    if (rows == 0 || inner == 0)
        return 0;
    for (int64_t prefix = 0; prefix < prefixes; prefix++) {
        int64_t start = starts != NULL ? tm_index_at(starts, prefix / per_sample) : 0;
        if (rows > length || (!circular && (start < 0 || start > length - rows)))
            return tm_fail(run, call, TM_RUN_START_RANGE, start, length - rows);
        start = start % length + (start % length < 0 ? length : 0);
        const int64_t first = rows < length - start ? rows : length - start;
        tm_copy_elements(y->data, (prefix * length + start) * inner, update->data, prefix * rows * inner,
                         first * inner, bits);
        tm_copy_elements(y->data, prefix * length * inner, update->data, (prefix * rows + first) * inner,
                         (rows - first) * inner, bits);
    }
    return 0;
}

#define WIDTH_KERNELS(width, bits)                                         \
    int32_t tm_k_TensorScatter_##width(tm_run *run, const tm_call *call) { \
        return tensor_scatter(run, call, bits);                            \
    }
TM_EACH_WIDTH(WIDTH_KERNELS)
