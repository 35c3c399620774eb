/* SPDX-License-Identifier: Apache-2.0
 *
 * shape.c: Shape, Size, ConstantOfShape, EyeLike, Range, OneHot: kernels that write tensors from dims
 * and scalars.
 *
 * Range, for example: start 3, limit 9, delta 3 gives ceil((9 - 3) / 3) = 2 elements, 3 and 6. Each element
 * is start + i*delta and not a running sum, so that it does not depend on the elements before.
 */
#include "runtime/ops/move.h"

int32_t tm_k_Shape(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    const tm_attrs_Shape *a = tm_attributes(call);
    int64_t start = a->start + (a->start < 0 ? x->rank : 0);
    start = start < 0 ? 0 : start > x->rank ? x->rank : start;
    const int64_t count = tm_count(y);
    for (int64_t i = 0; i < count; i++)
        ((int64_t *)y->data)[i] = x->dims[start + i];
    return 0;
}

int32_t tm_k_Size(tm_run *run, const tm_call *call) {
    *(int64_t *)tm_out(run, call, 0)->data = tm_count(tm_in(run, call, 0));
    return 0;
}

int32_t tm_k_ConstantOfShape(tm_run *run, const tm_call *call) {
    const tamis_tensor *y = tm_out(run, call, 0);
    const tm_attrs_ConstantOfShape *a = tm_attributes(call);
    static const tm_w16 zero = {0, 0};
    const void *value = &zero;
    if (tm_has(a->value))
        value = (const tm_tensor_attribute *)(const void *)tm_chars(a, a->value) + 1;
    tm_fill_elements(y->data, value, tm_count(y), tm_type_width(y->type));
    return 0;
}

/* The number 1 in a type; false where EyeLike is not defined. */
static bool one_of_type(int32_t type, uint64_t *out) {
    switch (type) {
    case TAMIS_TYPE_FLOAT:
        *out = 0x3f800000;
        return true;
    case TAMIS_TYPE_DOUBLE:
        *out = 0x3ff0000000000000;
        return true;
    case TAMIS_TYPE_FLOAT16:
        *out = 0x3c00;
        return true;
    case TAMIS_TYPE_BFLOAT16:
        *out = 0x3f80;
        return true;
    case TAMIS_TYPE_UINT8:
    case TAMIS_TYPE_INT8:
    case TAMIS_TYPE_UINT16:
    case TAMIS_TYPE_INT16:
    case TAMIS_TYPE_UINT32:
    case TAMIS_TYPE_INT32:
    case TAMIS_TYPE_UINT64:
    case TAMIS_TYPE_INT64:
    case TAMIS_TYPE_BOOL:
        *out = 1;
        return true;
    default:
        return false;
    }
}

int32_t tm_k_EyeLike(tm_run *run, const tm_call *call) {
    const tamis_tensor *y = tm_out(run, call, 0);
    const tm_attrs_EyeLike *a = tm_attributes(call);
    const int64_t rows = y->dims[0], columns = y->dims[1], bytes = tm_element_bytes(y->type);
    uint64_t one = 0;
    if (!one_of_type(y->type, &one))
        return tm_fail(run, call, TM_RUN_TYPE, y->type, 0);
    memset(y->data, 0, (size_t)(rows * columns * bytes));
    if (a->k <= -rows || a->k >= columns)
        return 0;
    const int64_t first = a->k < 0 ? -a->k : 0;
    for (int64_t row = first; row < rows && row + a->k < columns; row++)
        memcpy((char *)y->data + (row * columns + row + a->k) * bytes, &one,
               (size_t)bytes); /* little-endian */
    return 0;
}

static int64_t float_range_length(double distance, double delta) {
    const double steps = distance / delta;
    if (!(steps > 0))
        return 0;
    if (steps >= 0x1p62)
        return -1;
    const int64_t whole = (int64_t)steps;
    return whole + ((double)whole < steps);
}

#define FLOAT_RANGE(s, S, C)                                                                  \
    int32_t tm_k_Range_##s(tm_run *run, const tm_call *call) {                                \
        const tm_attrs_Range *a = tm_attributes(call);                                        \
        const C start = tm_get_##s(tm_in(run, call, 0)->data, 0),                             \
                limit = tm_get_##s(tm_in(run, call, 1)->data, 0);                             \
        const C delta = tm_get_##s(tm_in(run, call, 2)->data, 0);                             \
        if (!(delta < 0 || delta > 0))                                                        \
            return tm_fail(run, call, TM_RUN_STEP_ZERO, 0, 0);                                \
        if (start - start != 0 || limit - limit != 0 || delta - delta != 0) /* not finite */  \
            return tm_fail(run, call, TM_RUN_DIM_UNKNOWN, 0, 0);                              \
        const int64_t length = float_range_length((double)(C)(limit - start), (double)delta); \
        if (length < 0)                                                                       \
            return tm_fail(run, call, TM_RUN_DIM_OVERFLOW, length, 0);                        \
        int32_t code = tm_output(run, call, 0, 1, &length);                                   \
        if (code != 0)                                                                        \
            return code;                                                                      \
        S *y = tm_out(run, call, 0)->data;                                                    \
        const bool narrow = sizeof(S) == 2 && a->stash_type != TAMIS_TYPE_FLOAT;              \
        for (int64_t i = 0; i < length; i++) {                                                \
            C step = (C)i * delta;                                                            \
            y[i] = tm_store_##s(start + (narrow ? tm_load_##s(tm_store_##s(step)) : step));   \
        }                                                                                     \
        return 0;                                                                             \
    }
TM_FOR_FLOAT_TYPES(FLOAT_RANGE)

#define INTEGER_RANGE(s, S, C)                                            \
    int32_t tm_k_Range_##s(tm_run *run, const tm_call *call) {            \
        const int64_t start = *(const S *)tm_in(run, call, 0)->data,      \
                      limit = *(const S *)tm_in(run, call, 1)->data;      \
        const int64_t delta = *(const S *)tm_in(run, call, 2)->data;      \
        int64_t distance, length = 0;                                     \
        if (delta == 0)                                                   \
            return tm_fail(run, call, TM_RUN_STEP_ZERO, 0, 2);            \
        if (__builtin_sub_overflow(limit, start, &distance))              \
            return tm_fail(run, call, TM_RUN_DIM_OVERFLOW, limit, start); \
        if ((distance > 0 && delta > 0) || (distance < 0 && delta < 0))   \
            length = (distance - (delta > 0 ? 1 : -1)) / delta + 1;       \
        int32_t code = tm_output(run, call, 0, 1, &length);               \
        if (code != 0)                                                    \
            return code;                                                  \
        S *y = tm_out(run, call, 0)->data;                                \
        for (int64_t i = 0; i < length; i++)                              \
            y[i] = (S)((uint64_t)start + (uint64_t)i * (uint64_t)delta);  \
        return 0;                                                         \
    }
INTEGER_RANGE(i16, int16_t, int16_t)
INTEGER_RANGE(i32, int32_t, int32_t)
INTEGER_RANGE(i64, int64_t, int64_t)

/* Element i of a numeric tensor as an index; fractions are cut off. */
static int64_t number_at(const tamis_tensor *t, int64_t i) {
    switch (t->type) {
#define NUMBER(s, S, C)  \
    case tm_type_of_##s: \
        return (int64_t)tm_get_##s(t->data, i);
        TM_FOR_NUMERIC_TYPES(NUMBER)
#undef NUMBER
    default:
        return -1;
    }
}

int32_t tm_k_OneHot(tm_run *run, const tm_call *call) {
    const tamis_tensor *indices = tm_in(run, call, 0), *values = tm_in(run, call, 2);
    const tm_attrs_OneHot *a = tm_attributes(call);
    const int32_t rank = indices->rank + 1, axis = (int32_t)(a->axis + (a->axis < 0 ? rank : 0));
    const int64_t depth = number_at(tm_in(run, call, 1), 0);
    int64_t dims[TAMIS_MAX_RANK];
    for (int32_t i = 0; i < rank; i++)
        dims[i] = i < axis ? indices->dims[i] : i > axis ? indices->dims[i - 1] : depth;
    if (depth < 0)
        return tm_fail(run, call, TM_RUN_TOO_SMALL, depth, 0);
    int32_t code = tm_output(run, call, 0, rank, dims);
    if (code != 0)
        return code;
    const tamis_tensor *y = tm_out(run, call, 0);
    const int bits = tm_type_width(y->type);
    const int64_t behind = tm_product(dims, axis + 1, rank), count = tm_count(indices);
    tm_fill_elements(y->data, values->data, tm_count(y), bits);
    for (int64_t i = 0; i < count; i++) {
        int64_t index = number_at(indices, i);
        index += index < 0 ? depth : 0;
        if (index >= 0 && index < depth)
            tm_copy_elements(y->data, (i / behind * depth + index) * behind + i % behind, values->data, 1, 1,
                             bits);
    }
    return 0;
}
