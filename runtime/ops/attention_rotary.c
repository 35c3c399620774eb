/* SPDX-License-Identifier: Apache-2.0
 *
 * RotaryEmbedding: pairs of elements of each head turn by an angle that depends on the position.
 *
 *     (x1, x2) -> (cos*x1 - sin*x2, sin*x1 + cos*x2)
 *
 * Pairs are neighbours (interleaved) or the two halves of the first rotary_embedding_dim elements;
 * elements after those stay. Cosines and sines come as tables, by position id or one row for each token.
 */
#include "runtime/ops/element.h"

typedef struct rotary {
    const void *x, *cosines, *sines;
    void *y;
    const int64_t *ids;
    int64_t batch, heads, length, size, rotated;
    bool packed, interleaved;
} rotary;

#define X(s, S, C)                                                                                       \
    static int32_t turn_##s(void *arg, int64_t begin, int64_t end) {                                     \
        const rotary *job = arg;                                                                         \
        int64_t half = job->rotated / 2, step = job->interleaved ? 2 : 1,                                \
                apart = job->interleaved ? 1 : half;                                                     \
        for (int64_t t = begin; t < end; t++) { /* t: batch, head, row as they lie in memory */          \
            int64_t row = job->packed ? t / job->heads % job->length : t % job->length;                  \
            int64_t token = t / (job->heads * job->length) * job->length + row;                          \
            int64_t angle = (job->ids != NULL ? job->ids[token] : token) * half;                         \
            const S *restrict x = (const S *)job->x + t * job->size;                                     \
            S *restrict y = (S *)job->y + t * job->size;                                                 \
            const S *cosines = (const S *)job->cosines + angle, *sines = (const S *)job->sines + angle;  \
            for (int64_t i = 0; i < half; i++) {                                                         \
                C x1 = tm_load_##s(x[i * step]), x2 = tm_load_##s(x[i * step + apart]);                  \
                C c = tm_load_##s(cosines[i]), d = tm_load_##s(sines[i]);                                \
                y[i * step] = tm_store_##s(c * x1 - d * x2);                                             \
                y[i * step + apart] = tm_store_##s(d * x1 + c * x2);                                     \
            }                                                                                            \
            for (int64_t i = 2 * half; i < job->size; i++)                                               \
                y[i] = x[i];                                                                             \
        }                                                                                                \
        return 0;                                                                                        \
    }                                                                                                    \
    TM_KERNEL(RotaryEmbedding, s) {                                                                      \
        rotary job;                                                                                      \
        int32_t code = rotary_init(run, call, &job);                                                     \
        if (code != 0)                                                                                   \
            return code;                                                                                 \
        return tm_parallel(run, job.batch * job.heads * job.length, 4096 / (job.size + 1) + 1, turn_##s, \
                           &job);                                                                        \
    }

static int32_t rotary_init(tm_run *run, const tm_call *call, rotary *out) {
    const tm_attrs_RotaryEmbedding *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *cosines = tm_in(run, call, 1), *sines = tm_in(run, call, 2);
    const tamis_tensor *ids = tm_in(run, call, 3);
    out->packed = x->rank == 3;
    if (out->packed && a->num_heads < 1)
        return tm_fail(run, call, TM_RUN_TOO_SMALL, a->num_heads, 1);
    out->x = x->data;
    out->y = tm_out(run, call, 0)->data;
    out->cosines = cosines->data;
    out->sines = sines->data;
    out->ids = ids != NULL ? ids->data : NULL;
    out->batch = x->dims[0];
    out->heads = out->packed ? a->num_heads : x->dims[1];
    out->length = out->packed ? x->dims[1] : x->dims[2];
    out->size = out->packed ? x->dims[2] / out->heads : x->dims[3];
    out->rotated = a->rotary_embedding_dim != 0 ? a->rotary_embedding_dim : out->size;
    out->interleaved = a->interleaved != 0;
    if (out->packed && x->dims[2] % out->heads != 0)
        return tm_fail(run, call, TM_RUN_NOT_MULTIPLE, x->dims[2], out->heads);
    if (out->rotated < 0 || out->rotated > out->size)
        return tm_fail(run, call, TM_RUN_COUNT_RANGE, out->rotated, out->size);
    int64_t half = out->rotated / 2, tokens = out->batch * out->length;
    if (cosines->dims[cosines->rank - 1] != half || tm_count(cosines) != tm_count(sines))
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, cosines->dims[cosines->rank - 1], half);
    int64_t rows = half > 0 ? tm_count(cosines) / half : tokens;
    if (ids == NULL && rows != tokens)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, rows, tokens);
    if (ids != NULL && tm_count(ids) != tokens)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, tm_count(ids), tokens);
    for (int64_t i = 0; ids != NULL && i < tokens; i++)
        if (out->ids[i] < 0 || out->ids[i] >= rows)
            return tm_fail(run, call, TM_RUN_POSITION_RANGE, out->ids[i], rows);
    return 0;
}

TM_FOR_FLOAT_TYPES(X)
#undef X
