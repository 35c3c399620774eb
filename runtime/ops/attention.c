/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention: softmax(scale * Q K^T, softcapped and masked) V for each head.
 *
 * Queries are taken QUERIES at a time: their scores against all keys are one small matrix that stays
 * in cache from the first product to the second. Memory is that of SLOTS such blocks, whatever the length.
 * Keys and values are read where they are, unless they follow a cache or are float16: then they are first
 * joined and converted; the joined ones are the outputs present_key and present_value.
 *
 * Heads lie apart (4 dims) or packed in rows (3 dims); both are strides here. Query head h uses key head
 * h / (heads / key heads). Key j is visible to query i unless the mask, causality (j > past + i;
 * without a past, valid keys - queries + i) or the number of valid keys (nonpad_kv_seqlen) says no. A query
 * that sees nothing gives NaN, as the formula does.
 */
#include "runtime/math/math.h"
#include "runtime/ops/fold.h"
#include "runtime/ops/product.h"
#include "runtime/ops/real.h"

#define QUERIES 32
#define SLOTS 16

typedef struct attention attention;
struct attention {
    int64_t batch, heads, group, length, total, past, size, value_size;
    double scale, softcap;
    bool causal, packed;
    const void *q;
    const void *keys, *values; /* as T */
    int64_t key_batch, key_head, key_row, value_batch, value_head, value_row;
    const int64_t *lengths;
    const tamis_tensor *mask;
    double (*mask_value)(const tamis_tensor *mask, int64_t i);
    int64_t mask_stride[4], mask_count;
    int64_t score_mode;
    const tamis_tensor *score_output, *y; /* score_output may be NULL */
    void *scratch;
    int64_t slots, slot_elements;
    void (*load_queries)(const attention *job, int64_t batch, int64_t head, int64_t row0, int64_t rows,
                         void *to);
    void (*store_rows)(const attention *job, int64_t batch, int64_t head, int64_t row0, int64_t rows,
                       const void *from);
};

/* Output 3, when this is the stage it asks for. */
static void put_scores(const attention *job, int64_t mode, int64_t batch, int64_t head, int64_t row0,
                       int64_t rows, const void *scores, size_t width) {
    if (job->score_output == NULL || job->score_mode != mode)
        return;
    int64_t at = ((batch * job->heads + head) * job->length + row0) * job->total;
    for (int64_t i = 0; i < rows * job->total; i++)
        tm_real_set(job->score_output, at + i,
                    width == sizeof(float) ? (double)((const float *)scores)[i]
                                           : ((const double *)scores)[i]);
}

static double bool_mask(const tamis_tensor *mask, int64_t i) {
    return ((const uint8_t *)mask->data)[i] != 0 ? 0 : -tm_inf_f64();
}
static double float_mask(const tamis_tensor *mask, int64_t i) {
    return (double)((const float *)mask->data)[i];
}

#define T float
#define N f32
#include "runtime/ops/attention.inc"

#define T double
#define N f64
#include "runtime/ops/attention.inc"

/* Offset and row stride of head `head` in a tensor of rows of `size` elements. */
static int64_t query_offset(const attention *job, int64_t batch, int64_t head, int64_t row, int64_t size,
                            int64_t *step) {
    *step = job->packed ? job->heads * size : size;
    if (job->packed)
        return (batch * job->length + row) * *step + head * size;
    return ((batch * job->heads + head) * job->length + row) * size;
}

#define X(s, S, C)                                                                                       \
    static void load_##s(const attention *job, int64_t batch, int64_t head, int64_t row0, int64_t rows,  \
                         void *to) {                                                                     \
        int64_t step, from = query_offset(job, batch, head, row0, job->size, &step);                     \
        C scale = (C)job->scale;                                                                         \
        for (int64_t r = 0; r < rows; r++)                                                               \
            for (int64_t i = 0; i < job->size; i++)                                                      \
                ((C *)to)[r * job->size + i] =                                                           \
                    tm_load_##s(((const S *)job->q)[from + r * step + i]) * scale;                       \
    }                                                                                                    \
    static void store_##s(const attention *job, int64_t batch, int64_t head, int64_t row0, int64_t rows, \
                          const void *from) {                                                            \
        int64_t step, to = query_offset(job, batch, head, row0, job->value_size, &step);                 \
        for (int64_t r = 0; r < rows; r++)                                                               \
            for (int64_t i = 0; i < job->value_size; i++)                                                \
                ((S *)job->y->data)[to + r * step + i] =                                                 \
                    tm_store_##s(((const C *)from)[r * job->value_size + i]);                            \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X

/* Keys or values: new ones [batch, heads, length, size] or packed, and the cache in front of them. */
typedef struct entries {
    const tamis_tensor *past, *fresh, *present; /* past and present may be NULL */
    int64_t batch, heads, past_length, length, size;
    bool packed;
    bool wide;    /* computed in double */
    void *joined; /* [batch, heads, past + length, size] as T; NULL: read `fresh` as it is */
} entries;

static void entries_init(entries *out, const tamis_tensor *past, const tamis_tensor *fresh,
                         const tamis_tensor *present, int64_t heads) {
    out->packed = fresh->rank == 3;
    out->past = past;
    out->fresh = fresh;
    out->present = present;
    out->batch = fresh->dims[0];
    out->heads = out->packed ? heads : fresh->dims[1];
    out->length = out->packed ? fresh->dims[1] : fresh->dims[2];
    out->size = out->packed ? fresh->dims[2] / out->heads : fresh->dims[3];
    out->past_length = past != NULL ? past->dims[2] : 0;
}

/* Writes row after row to the present and, converted, to `joined`. */
static int32_t join_rows(void *arg, int64_t begin, int64_t end) {
    const entries *e = arg;
    int64_t total = e->past_length + e->length;
    for (int64_t t = begin; t < end; t++) {
        int64_t row = t % total, head = t / total % e->heads, batch = t / total / e->heads;
        const tamis_tensor *from = row < e->past_length ? e->past : e->fresh;
        int64_t at = (batch * e->heads + head) * e->past_length + row;
        if (row >= e->past_length)
            at = e->packed ? (batch * e->length + row - e->past_length) * e->heads + head
                           : (batch * e->heads + head) * e->length + row - e->past_length;
        if (e->present != NULL) {
            int64_t width = tm_element_bytes(from->type) * e->size;
            memcpy((char *)e->present->data + t * width, (const char *)from->data + at * width,
                   (size_t)width);
        }
        if (e->joined == NULL || (e->present != NULL && e->joined == e->present->data))
            continue;
        for (int64_t i = 0; i < e->size; i++) {
            double value = tm_real_get(from, at * e->size + i);
            if (e->wide)
                ((double *)e->joined)[t * e->size + i] = value;
            else
                ((float *)e->joined)[t * e->size + i] = (float)value;
        }
    }
    return 0;
}

static bool needs_join(const entries *e) {
    return e->past != NULL || e->fresh->type != (e->wide ? TAMIS_TYPE_DOUBLE : TAMIS_TYPE_FLOAT);
}

static int64_t joined_count(const entries *e) {
    bool direct = e->present != NULL && e->present->type == (e->wide ? TAMIS_TYPE_DOUBLE : TAMIS_TYPE_FLOAT);
    return needs_join(e) && !direct ? e->batch * e->heads * (e->past_length + e->length) * e->size : 0;
}

/* Joins where needed; gives the data to read and its strides. */
static int32_t join(tm_run *run, entries *e, void *memory, const void **out_data, int64_t *batch,
                    int64_t *head, int64_t *row) {
    int64_t total = e->past_length + e->length;
    e->joined = !needs_join(e) ? NULL : joined_count(e) > 0 || e->present == NULL ? memory : e->present->data;
    if (e->joined != NULL || e->present != NULL) {
        int64_t rows = e->batch * e->heads * total;
        int32_t code = tm_parallel(run, rows, 4096 / (e->size + 1) + 1, join_rows, e);
        if (code != 0)
            return code;
    }
    bool packed = e->packed && e->joined == NULL;
    *out_data = e->joined != NULL ? e->joined : e->fresh->data;
    *row = packed ? e->heads * e->size : e->size;
    *head = packed ? e->size : total * e->size;
    *batch = e->heads * total * e->size;
    return 0;
}

static int32_t mask_init(tm_run *run, const tm_call *call, attention *job, const tamis_tensor *mask) {
    job->mask = mask;
    if (mask == NULL)
        return 0;
    job->mask_value = mask->type == TAMIS_TYPE_BOOL    ? bool_mask
                      : mask->type == TAMIS_TYPE_FLOAT ? float_mask
                                                       : tm_real_get;
    int64_t full[4] = {job->batch, job->heads, job->length, job->total}, step = 1;
    for (int32_t d = 3; d >= 0; d--) {
        int32_t own = d - 4 + mask->rank;
        int64_t dim = own >= 0 ? mask->dims[own] : 1;
        if (dim != 1 && dim != full[d] && !(d == 3 && dim < full[d]))
            return tm_fail(run, call, TM_RUN_DIM_MISMATCH, dim, full[d]);
        job->mask_stride[d] = dim == 1 ? 0 : step;
        step *= dim;
        if (d == 3)
            job->mask_count = dim == 1 ? full[3] : dim;
    }
    return 0;
}

static int32_t run_attention(tm_run *run, const tm_call *call, attention *job, entries *keys, entries *values,
                             size_t width) {
    job->slots = SLOTS;
    job->slot_elements = QUERIES * (job->size + job->total + job->value_size);
    int64_t key_count = joined_count(keys), value_count = joined_count(values);
    int64_t bytes =
        (job->slots * job->slot_elements + key_count + value_count) * (int64_t)width + TAMIS_ALIGNMENT;
    char *memory = tm_scratch(run, call, bytes);
    if (memory == NULL)
        return run->code;
    job->scratch = memory + (key_count + value_count) * (int64_t)width;
    int32_t code = join(run, keys, memory, &job->keys, &job->key_batch, &job->key_head, &job->key_row);
    if (code == 0)
        code = join(run, values, memory + key_count * (int64_t)width, &job->values, &job->value_batch,
                    &job->value_head, &job->value_row);
    if (code == 0)
        code = tm_parallel(run, job->slots, 1, width == sizeof(float) ? slots_f32 : slots_f64, job);
    tm_unscratch(run, memory, bytes);
    return code;
}

static int32_t attend(tm_run *run, const tm_call *call, attention *job, size_t width) {
    const tm_attrs_Attention *a = tm_attributes(call);
    const tamis_tensor *q = tm_in(run, call, 0), *lengths = tm_in(run, call, 6);
    entries keys = {.wide = width == sizeof(double)}, values = {.wide = width == sizeof(double)};
    entries_init(&keys, tm_in(run, call, 4), tm_in(run, call, 1), tm_out(run, call, 1), a->kv_num_heads);
    entries_init(&values, tm_in(run, call, 5), tm_in(run, call, 2), tm_out(run, call, 2), a->kv_num_heads);
    job->packed = q->rank == 3;
    job->q = q->data;
    job->batch = q->dims[0];
    job->heads = job->packed ? a->q_num_heads : q->dims[1];
    job->length = job->packed ? q->dims[1] : q->dims[2];
    job->size = job->packed ? q->dims[2] / job->heads : q->dims[3];
    job->value_size = values.size;
    job->past = keys.past_length;
    job->total = keys.past_length + keys.length;
    if (keys.heads < 1 || job->heads % keys.heads != 0)
        return tm_fail(run, call, TM_RUN_NOT_MULTIPLE, job->heads, keys.heads);
    if (keys.size != job->size || values.past_length + values.length != job->total)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, keys.size, job->size);
    job->group = job->heads / keys.heads;
    job->scale = a->scale == a->scale ? a->scale : 1 / tm_sqrt_f64((double)job->size);
    job->softcap = a->softcap;
    job->causal = a->is_causal != 0;
    job->lengths = lengths != NULL ? lengths->data : NULL;
    job->score_output = tm_out(run, call, 3);
    job->score_mode = a->qk_matmul_output_mode;
    job->y = tm_out(run, call, 0);
    int32_t code = mask_init(run, call, job, tm_in(run, call, 3));
    return code != 0 ? code : run_attention(run, call, job, &keys, &values, width);
}

#define X(s, S, C)                                                           \
    TM_KERNEL(Attention, s) {                                                \
        attention job = {.load_queries = load_##s, .store_rows = store_##s}; \
        return attend(run, call, &job, sizeof(C));                           \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
