/* SPDX-License-Identifier: Apache-2.0
 *
 * LinearAttention: for each head a state S[key size, value size] that each token updates and each query
 * reads.
 *
 *     decay   S = exp(g) * S            (rules gated, gated_delta; g for the head or for each row of S)
 *     delta   v = beta * (v - S^T k)    (rules delta, gated_delta)
 *     write   S = S + k v^T
 *     read    out = scale * S^T q       for each query head of the group
 *
 * The columns of S do not depend on each other, so a task is COLUMNS columns of one head, with all
 * tokens in order. The state is kept in float.
 */
#include "runtime/math/math.h"
#include "runtime/ops/real.h"

#define COLUMNS 64

typedef struct linear {
    const tamis_tensor *q, *k, *v, *past, *decay, *beta;
    tamis_tensor *out, *present;
    float *state; /* [batch, heads, key size, value size] */
    int64_t batch, heads, group, length, key_size, value_size, pieces;
    float scale;
    bool decay_rows, beta_heads;
} linear;

typedef struct task {
    int64_t batch, head, column, width;
    float *state; /* rows of value_size elements; the task's columns */
} task;

static void decay_state(const linear *job, const task *t, int64_t token) {
    int64_t rows = job->decay_rows ? job->key_size : 1, at = (token * job->heads + t->head) * rows;
    float factor = 1;
    for (int64_t d = 0; d < job->key_size; d++) {
        if (d == 0 || job->decay_rows)
            factor = tm_exp_f32((float)tm_real_get(job->decay, at + d));
        float *row = t->state + d * job->value_size;
        for (int64_t j = 0; j < t->width; j++)
            row[j] *= factor;
    }
}

/* One token, for the type of query, key, value and output. */
#define X(s, S, C)                                                                                           \
    static void token_##s(const linear *job, const task *t, int64_t token) {                                 \
        const S *k = (const S *)job->k->data + (token * job->heads + t->head) * job->key_size;               \
        const S *v = (const S *)job->v->data + (token * job->heads + t->head) * job->value_size + t->column; \
        float write[COLUMNS], read[COLUMNS];                                                                 \
        if (job->decay != NULL)                                                                              \
            decay_state(job, t, token);                                                                      \
        for (int64_t j = 0; j < t->width; j++) {                                                             \
            write[j] = (float)tm_load_##s(v[j]);                                                             \
            read[j] = 0;                                                                                     \
        }                                                                                                    \
        if (job->beta != NULL) {                                                                             \
            float beta =                                                                                     \
                (float)tm_real_get(job->beta, job->beta_heads ? token * job->heads + t->head : token);       \
            for (int64_t d = 0; d < job->key_size; d++)                                                      \
                for (int64_t j = 0; j < t->width; j++)                                                       \
                    read[j] += (float)tm_load_##s(k[d]) * t->state[d * job->value_size + j];                 \
            for (int64_t j = 0; j < t->width; j++)                                                           \
                write[j] = beta * (write[j] - read[j]);                                                      \
        }                                                                                                    \
        for (int64_t d = 0; d < job->key_size; d++)                                                          \
            for (int64_t j = 0; j < t->width; j++)                                                           \
                t->state[d * job->value_size + j] += (float)tm_load_##s(k[d]) * write[j];                    \
        for (int64_t g = 0; g < job->group; g++) {                                                           \
            int64_t head = token * job->heads * job->group + t->head * job->group + g;                       \
            const S *q = (const S *)job->q->data + head * job->key_size;                                     \
            S *out = (S *)job->out->data + head * job->value_size + t->column;                               \
            for (int64_t j = 0; j < t->width; j++)                                                           \
                read[j] = 0;                                                                                 \
            for (int64_t d = 0; d < job->key_size; d++)                                                      \
                for (int64_t j = 0; j < t->width; j++)                                                       \
                    read[j] += (float)tm_load_##s(q[d]) * t->state[d * job->value_size + j];                 \
            for (int64_t j = 0; j < t->width; j++)                                                           \
                out[j] = tm_store_##s((C)(job->scale * read[j]));                                            \
        }                                                                                                    \
    }
X(f32, float, float)
X(f16, uint16_t, float)
X(bf16, uint16_t, float)
#undef X

static int32_t run_tasks(const linear *job, int64_t begin, int64_t end,
                         void (*token)(const linear *, const task *, int64_t)) {
    for (int64_t i = begin; i < end; i++) {
        task t = {i / job->pieces / job->heads, i / job->pieces % job->heads, i % job->pieces * COLUMNS,
                  COLUMNS, NULL};
        if (t.width > job->value_size - t.column)
            t.width = job->value_size - t.column;
        int64_t start = (t.batch * job->heads + t.head) * job->key_size * job->value_size + t.column;
        t.state = job->state + start;
        for (int64_t d = 0; d < job->key_size; d++)
            for (int64_t j = 0; j < t.width; j++)
                t.state[d * job->value_size + j] =
                    job->past != NULL ? (float)tm_real_get(job->past, start + d * job->value_size + j) : 0;
        for (int64_t n = 0; n < job->length; n++)
            token(job, &t, t.batch * job->length + n);
        for (int64_t d = 0; d < job->key_size && job->present != NULL; d++)
            for (int64_t j = 0; j < t.width; j++)
                tm_real_set(job->present, start + d * job->value_size + j,
                            (double)t.state[d * job->value_size + j]);
    }
    return 0;
}

static int32_t linear_run(tm_run *run, const tm_call *call, int32_t (*body)(void *, int64_t, int64_t)) {
    const tm_attrs_LinearAttention *a = tm_attributes(call);
    linear job = {.q = tm_in(run, call, 0),
                  .k = tm_in(run, call, 1),
                  .v = tm_in(run, call, 2),
                  .past = tm_in(run, call, 3),
                  .decay = tm_in(run, call, 4),
                  .beta = tm_in(run, call, 5),
                  .out = tm_out(run, call, 0),
                  .present = tm_out(run, call, 1)};
    job.batch = job.q->dims[0];
    job.length = job.q->dims[1];
    job.heads = a->kv_num_heads;
    job.group = a->q_num_heads / a->kv_num_heads;
    job.key_size = job.k->dims[2] / job.heads;
    job.value_size = job.v->dims[2] / job.heads;
    job.pieces = (job.value_size + COLUMNS - 1) / COLUMNS;
    job.scale = a->scale != 0 ? (float)a->scale : 1 / tm_sqrt_f32((float)job.key_size);
    if (job.q->dims[2] != job.key_size * a->q_num_heads)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, job.q->dims[2], job.key_size * a->q_num_heads);
    if (job.decay != NULL) {
        job.decay_rows = job.decay->dims[2] != job.heads;
        if (job.decay_rows && job.decay->dims[2] != job.heads * job.key_size)
            return tm_fail(run, call, TM_RUN_DIM_MISMATCH, job.decay->dims[2], job.heads);
    }
    if (job.beta != NULL) {
        job.beta_heads = job.beta->dims[2] == job.heads;
        if (!job.beta_heads && job.beta->dims[2] != 1)
            return tm_fail(run, call, TM_RUN_DIM_MISMATCH, job.beta->dims[2], job.heads);
    }
    int64_t bytes =
        job.batch * job.heads * job.key_size * job.value_size * (int64_t)sizeof(float) + TAMIS_ALIGNMENT;
    job.state = tm_scratch(run, call, bytes);
    if (job.state == NULL)
        return run->code;
    int32_t code = tm_parallel(run, job.batch * job.heads * job.pieces, 1, body, &job);
    tm_unscratch(run, job.state, bytes);
    return code;
}

#define X(s)                                                          \
    static int32_t tasks_##s(void *arg, int64_t begin, int64_t end) { \
        return run_tasks(arg, begin, end, token_##s);                 \
    }                                                                 \
    TM_KERNEL(LinearAttention, s) {                                   \
        return linear_run(run, call, tasks_##s);                      \
    }
X(f32)
X(f16)
X(bf16)
#undef X
