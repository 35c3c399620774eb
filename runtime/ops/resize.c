/* SPDX-License-Identifier: Apache-2.0
 *
 * resize.c: the Resize kernels. resize_plan.c says which input positions make an output position.
 *
 * Interpolation is separable: one pass for each axis that changes, over [outer, in, inner] to
 * [outer, out, inner]. Rows of `inner` elements are contiguous, so all passes but one over the last axis
 * run along vectors. When growing, that scalar pass goes first, while there is little data. Passes
 * compute in float or double; other types are converted at both ends. A complex tensor is a real one with
 * a last axis of 2. The axes before the first one that changes (batch, channels) are cut among threads.
 *
 * Nearest copies elements by table, whatever their type; strings go no other way.
 */
#include "runtime/ops/resize.h"

enum { SLOTS = 8 };

typedef struct conversion {
    void (*load)(const void *from, int64_t at, int64_t count, void *to);
    void (*store)(const void *from, int64_t count, void *to, int64_t at);
    int bytes;   /* of an element */
    bool wide;   /* computes in double */
    bool direct; /* stored as it is computed */
    int parts;   /* numbers in an element: 2 of a complex one */
} conversion;

/* ---- passes ---- */

#define PASS(A)                                                                                             \
    static void pass_##A(const A *from, A *to, const tm_resize_axis *axis, int64_t outer, int64_t inner) {  \
        const A *weights = axis->weights;                                                                   \
        const int64_t *index = axis->index, taps = axis->taps;                                              \
        for (int64_t o = 0; o < outer; o++, from += axis->in * inner) {                                     \
            for (int64_t j = 0; j < axis->out; j++, to += inner) {                                          \
                const int64_t *at = index + j * taps;                                                       \
                const A *w = weights + j * taps;                                                            \
                if (inner == 1) {                                                                           \
                    A sum = w[0] * from[at[0]];                                                             \
                    for (int64_t k = 1; k < taps; k++)                                                      \
                        sum += w[k] * from[at[k]];                                                          \
                    to[0] = sum;                                                                            \
                    continue;                                                                               \
                }                                                                                           \
                const A *a = from + at[0] * inner, *b = from + at[1] * inner;                               \
                for (int64_t i = 0; i < inner; i++)                                                         \
                    to[i] = w[0] * a[i] + w[1] * b[i];                                                      \
                for (int64_t k = 2; k < taps; k++) {                                                        \
                    const A *more = from + at[k] * inner;                                                   \
                    for (int64_t i = 0; i < inner; i++)                                                     \
                        to[i] += w[k] * more[i];                                                            \
                }                                                                                           \
            }                                                                                               \
        }                                                                                                   \
    }                                                                                                       \
    static void extrapolate_##A(A *to, const tm_resize_axis *axis, int64_t outer, int64_t inner, A value) { \
        for (int64_t row = 0; row < outer * axis->out; row++)                                               \
            if (axis->outside[row % axis->out])                                                             \
                for (int64_t i = 0; i < inner; i++)                                                         \
                    to[row * inner + i] = value;                                                            \
    }
PASS(float)
PASS(double)

typedef struct job {
    const tm_resize_plan *plan;
    const tamis_tensor *x, *y;
    const conversion *as;
    int64_t slab_in, slab_out; /* elements of the input and the output for one outer index */
    int64_t room;              /* elements of a buffer */
    int64_t slot_slabs;
    char *buffers;
} job;

static void run_pass(const job *job, const tm_resize_axis *axis, const void *from, void *to,
                     const int64_t *dims) {
    const int32_t rank = job->x->rank;
    const int64_t outer = tm_product(dims, job->plan->axes[0].axis, axis->axis);
    const int64_t inner = tm_product(dims, axis->axis + 1, rank) * job->as->parts;
    const double value = job->plan->attributes->extrapolation_value;
    if (job->as->wide) {
        pass_double(from, to, axis, outer, inner);
        if (job->plan->crop)
            extrapolate_double(to, axis, outer, inner, value);
    } else {
        pass_float(from, to, axis, outer, inner);
        if (job->plan->crop)
            extrapolate_float(to, axis, outer, inner, (float)value);
    }
}

static int32_t interpolate_slabs(void *arg, int64_t begin, int64_t end) {
    const job *job = arg;
    const tm_resize_plan *plan = job->plan;
    const int64_t bytes = job->as->wide ? 8 : 4, count = plan->count;
    char *first = job->buffers + begin / job->slot_slabs * 2 * job->room * bytes,
         *second = first + job->room * bytes;
    const bool growing = plan->axes[count - 1].out >= plan->axes[count - 1].in;
    for (int64_t slab = begin; slab < end; slab++) {
        int64_t dims[TAMIS_MAX_RANK];
        for (int32_t i = 0; i < job->x->rank; i++)
            dims[i] = job->x->dims[i];
        const void *from = (const char *)job->x->data + slab * job->slab_in * bytes;
        if (!job->as->direct) {
            job->as->load(job->x->data, slab * job->slab_in, job->slab_in, first);
            from = first;
        }
        for (int64_t k = 0; k < count; k++) {
            const tm_resize_axis *axis = &plan->axes[growing ? count - 1 - k : k];
            void *to = from == first ? second : first;
            if (job->as->direct && k == count - 1)
                to = (char *)job->y->data + slab * job->slab_out * bytes;
            run_pass(job, axis, from, to, dims);
            dims[axis->axis] = axis->out;
            from = to;
        }
        if (!job->as->direct)
            job->as->store(from, job->slab_out, job->y->data, slab * job->slab_out);
    }
    return 0;
}

static int32_t interpolate(tm_run *run, const tm_call *call, const tm_resize_plan *plan,
                           const conversion *as) {
    job job = {.plan = plan, .x = tm_in(run, call, 0), .y = tm_out(run, call, 0), .as = as};
    const int32_t first = plan->axes[0].axis;
    const int64_t outer = tm_product(job.x->dims, 0, first);
    job.slab_in = tm_product(job.x->dims, first, job.x->rank) * as->parts;
    job.slab_out = tm_product(job.y->dims, first, job.y->rank) * as->parts;
    job.room = as->parts;
    for (int32_t i = first; i < job.x->rank; i++) /* enough for any order of passes */
        job.room *= job.x->dims[i] > job.y->dims[i] ? job.x->dims[i] : job.y->dims[i];
    const int64_t slots = outer * job.room < 16384 ? 1 : outer < SLOTS ? outer : SLOTS;
    const int64_t bytes = slots * 2 * job.room * (as->wide ? 8 : 4);
    job.slot_slabs = (outer + slots - 1) / slots;
    job.buffers = tm_scratch(run, call, bytes);
    if (job.buffers == NULL)
        return run->code;
    int32_t code = tm_parallel(run, outer, job.slot_slabs, interpolate_slabs, &job);
    tm_unscratch(run, job.buffers, bytes);
    return code;
}

/* ---- nearest ---- */

typedef struct nearest_job {
    const tm_resize_plan *plan;
    const tamis_tensor *x, *y;
    int bytes;
    int64_t inner;  /* elements behind the last axis that changes */
    tm_w16 outside; /* the extrapolation value, as stored */
    int64_t strides[TAMIS_MAX_RANK];
    const tm_resize_axis *by_axis[TAMIS_MAX_RANK];
} nearest_job;

static void nearest_row(const nearest_job *job, const tm_resize_axis *axis, int64_t base, int64_t row) {
    const void *x = job->x->data;
    void *y = job->y->data;
    const int64_t *index = axis->index, to = row * axis->out;
#define ROW(T)                                              \
    for (int64_t j = 0; j < axis->out; j++)                 \
        ((T *)y)[to + j] = ((const T *)x)[base + index[j]]; \
    return
    if (job->inner == 1) {
        switch (job->bytes) {
        case 1:
            ROW(uint8_t);
        case 2:
            ROW(uint16_t);
        case 4:
            ROW(uint32_t);
        case 8:
            ROW(uint64_t);
        default:
            ROW(tm_w16);
        }
    }
#undef ROW
    for (int64_t j = 0; j < axis->out; j++)
        tm_copy_elements(y, (to + j) * job->inner, x, base + index[j] * job->inner, job->inner,
                         8 * job->bytes);
}

static int32_t nearest_rows(void *arg, int64_t begin, int64_t end) {
    const nearest_job *job = arg;
    const tm_resize_plan *plan = job->plan;
    const tm_resize_axis *last = &plan->axes[plan->count - 1];
    for (int64_t row = begin; row < end; row++) {
        int64_t base = 0, rest = row;
        bool outside = false;
        for (int32_t i = last->axis - 1; i >= 0; i--) {
            const int64_t at = rest % job->y->dims[i];
            const tm_resize_axis *axis = job->by_axis[i];
            rest /= job->y->dims[i];
            base += (axis != NULL ? axis->index[at] : at) * job->strides[i];
            outside = outside || (axis != NULL && axis->outside[at]);
        }
        nearest_row(job, last, base, row);
        if (!plan->crop)
            continue;
        for (int64_t j = 0; j < last->out; j++)
            if (outside || last->outside[j])
                tm_fill_elements((char *)job->y->data + (row * last->out + j) * job->inner * job->bytes,
                                 &job->outside, job->inner, 8 * job->bytes);
    }
    return 0;
}

static int32_t nearest(tm_run *run, const tm_call *call, const tm_resize_plan *plan, const conversion *as) {
    nearest_job job = {.plan = plan, .x = tm_in(run, call, 0), .y = tm_out(run, call, 0), .bytes = as->bytes};
    const tm_resize_axis *last = &plan->axes[plan->count - 1];
    const double wide[2] = {plan->attributes->extrapolation_value, 0};
    const float narrow[2] = {(float)wide[0], 0};
    as->store(as->wide ? (const void *)wide : (const void *)narrow, as->parts, &job.outside, 0);
    job.inner = tm_product(job.x->dims, last->axis + 1, job.x->rank);
    tm_dense_strides(job.x->rank, job.x->dims, job.strides);
    for (int32_t i = 0; i < plan->count; i++)
        job.by_axis[plan->axes[i].axis] = &plan->axes[i];
    const int64_t row_bytes = last->out * job.inner * job.bytes;
    return tm_parallel(run, tm_product(job.y->dims, 0, last->axis),
                       row_bytes >= 32768 ? 1 : 32768 / row_bytes, nearest_rows, &job);
}

static __attribute__((noinline)) int32_t resize(tm_run *run, const tm_call *call, const conversion *as) {
    tm_resize_plan plan;
    plan.wide = as->wide;
    int32_t code = tm_resize_prepare(run, call, &plan);
    const tamis_tensor *x = tm_in(run, call, 0);
    if (code == 0)
        code = tm_output(run, call, 0, x->rank, plan.dims);
    const tamis_tensor *y = tm_out(run, call, 0);
    if (code != 0 || tm_count(y) == 0)
        return code;
    if (tm_count(x) == 0)
        return tm_fail(run, call, TM_RUN_NO_ELEMENTS, tm_count(y), 0);
    if (plan.count == 0) {
        memcpy(y->data, x->data, (size_t)(tm_count(x) * as->bytes));
        return 0;
    }
    const int64_t bytes = tm_resize_table_bytes(&plan);
    void *tables = tm_scratch(run, call, bytes);
    if (tables == NULL)
        return run->code;
    tm_resize_tables(&plan, tables);
    code = plan.mode == RESIZE_NEAREST ? nearest(run, call, &plan, as) : interpolate(run, call, &plan, as);
    tm_unscratch(run, tables, bytes);
    return code;
}

/* ---- types ---- */

/* Nearest integer, ties to even, within low..high (as doubles). */
static inline double round_within(double x, double low, double high) {
    x = x < low ? low : x > high ? high : x;
    return x > -0x1p51 && x < 0x1p51 ? (x + 0x1.8p52) - 0x1.8p52 : x;
}

#define CONVERSION(s, S, A, is_wide, is_direct, STORE)                                      \
    static void load_##s(const void *from, int64_t at, int64_t count, void *to) {           \
        for (int64_t i = 0; i < count; i++)                                                 \
            ((A *)to)[i] = (A)tm_get_##s(from, at + i);                                     \
    }                                                                                       \
    static void store_##s(const void *from, int64_t count, void *to, int64_t at) {          \
        for (int64_t i = 0; i < count; i++) {                                               \
            const A value = ((const A *)from)[i];                                           \
            ((S *)to)[at + i] = STORE;                                                      \
        }                                                                                   \
    }                                                                                       \
    int32_t tm_k_Resize_##s(tm_run *run, const tm_call *call) {                             \
        const conversion as = {load_##s, store_##s, (int)sizeof(S), is_wide, is_direct, 1}; \
        return resize(run, call, &as);                                                      \
    }
/* In double, for what falls between two integers must not depend on the rounding of weights. */
#define INTEGER(s, S, low, high) \
    CONVERSION(s, S, double, true, false, (S)round_within(value, (double)low, (double)high))
CONVERSION(f32, float, float, false, true, value)
CONVERSION(f64, double, double, true, true, value)
CONVERSION(f16, uint16_t, float, false, false, tm_store_f16(value))
CONVERSION(bf16, uint16_t, float, false, false, tm_store_bf16(value))
CONVERSION(bool, uint8_t, float, false, false, value != 0)
INTEGER(i8, int8_t, INT8_MIN, INT8_MAX)
INTEGER(u8, uint8_t, 0, UINT8_MAX)
INTEGER(i16, int16_t, INT16_MIN, INT16_MAX)
INTEGER(u16, uint16_t, 0, UINT16_MAX)
INTEGER(i32, int32_t, INT32_MIN, INT32_MAX)
INTEGER(u32, uint32_t, 0, UINT32_MAX)
INTEGER(i64, int64_t, INT64_MIN, 0x7ffffffffffffc00)
INTEGER(u64, uint64_t, 0, 0xfffffffffffff800)

int32_t tm_k_Resize_c64(tm_run *run, const tm_call *call) {
    const conversion as = {load_f32, store_f32, 8, false, true, 2};
    return resize(run, call, &as);
}
int32_t tm_k_Resize_c128(tm_run *run, const tm_call *call) {
    const conversion as = {load_f64, store_f64, 16, true, true, 2};
    return resize(run, call, &as);
}

/* Outside of a crop there is the empty string. */
static void store_empty(const void *from, int64_t count, void *to, int64_t at) {
    (void)from;
    memset((tamis_string *)to + at, 0, (size_t)count * sizeof(tamis_string));
}
int32_t tm_k_Resize_str(tm_run *run, const tm_call *call) {
    const conversion as = {NULL, store_empty, (int)sizeof(tamis_string), false, false, 1};
    return resize(run, call, &as);
}
