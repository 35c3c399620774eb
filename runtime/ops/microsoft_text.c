/* SPDX-License-Identifier: Apache-2.0
 *
 * MurmurHash3 and NGramRepeatBlock.
 *
 * MurmurHash3 is the public function MurmurHash3_x86_32 over the bytes of each element, or of each string.
 * Its integers are little-endian, as elements are in memory on all targets.
 *
 * NGramRepeatBlock forbids the tokens that would repeat an n-gram: where the last n - 1 tokens stood before,
 * the token that followed them gets the score -inf.
 *
 *     tokens 5 6 7 5 6, n = 3:   5 6 was followed by 7   ->   scores[7] = -inf
 */
#include "runtime/attributes_microsoft.h"
#include "runtime/math/math.h"
#include "runtime/ops/element.h"

static uint32_t rotate(uint32_t x, int by) {
    return x << by | x >> (32 - by);
}

static uint32_t scramble(uint32_t word) {
    return rotate(word * 0xcc9e2d51u, 15) * 0x1b873593u;
}

static uint32_t hash(const uint8_t *bytes, int64_t size, uint32_t seed) {
    uint32_t h = seed;
    int64_t whole = size / 4 * 4;
    for (int64_t i = 0; i < whole; i += 4) {
        uint32_t word;
        memcpy(&word, bytes + i, 4);
        h = rotate(h ^ scramble(word), 13) * 5 + 0xe6546b64u;
    }
    uint32_t tail = 0;
    for (int64_t i = size - 1; i >= whole; i--)
        tail = tail << 8 | bytes[i];
    if (size > whole)
        h ^= scramble(tail);
    h ^= (uint32_t)size;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

typedef struct hashing {
    const tamis_tensor *x;
    uint32_t *y;
    uint32_t seed;
} hashing;

static int32_t hash_range(void *arg, int64_t begin, int64_t end) {
    const hashing *job = arg;
    int64_t size = tm_element_bytes(job->x->type);
    for (int64_t i = begin; i < end; i++) {
        if (job->x->type == TAMIS_TYPE_STRING) {
            const tamis_string *s = (const tamis_string *)job->x->data + i;
            job->y[i] = hash((const uint8_t *)s->data, s->size, job->seed);
        } else {
            job->y[i] = hash((const uint8_t *)job->x->data + i * size, size, job->seed);
        }
    }
    return 0;
}

int32_t tm_k_ms_MurmurHash3(tm_run *run, const tm_call *call) {
    const tm_attrs_MurmurHash3 *a = tm_attributes(call);
    hashing job = {tm_in(run, call, 0), tm_out(run, call, 0)->data, (uint32_t)a->seed};
    return tm_parallel(run, tm_count(job.x), 4096, hash_range, &job);
}

/* ---- NGramRepeatBlock ---- */

int32_t tm_k_ms_NGramRepeatBlock(tm_run *run, const tm_call *call) {
    const tm_attrs_NGramRepeatBlock *a = tm_attributes(call);
    const tamis_tensor *ids = tm_in(run, call, 0), *scores = tm_in(run, call, 1);
    int64_t batch = ids->dims[0], length = ids->dims[1], words = scores->dims[1], n = a->ngram_size;
    float *out = tm_out(run, call, 0)->data;
    if (tm_count(scores) > 0)
        memcpy(out, scores->data, (size_t)tm_count(scores) * sizeof *out);
    for (int64_t b = 0; b < batch && n <= length; b++) {
        const int64_t *tokens = (const int64_t *)ids->data + b * length, *last = tokens + length - (n - 1);
        for (int64_t i = 0; i + n <= length; i++) {
            bool same = true;
            for (int64_t k = 0; k < n - 1 && same; k++)
                same = tokens[i + k] == last[k];
            if (!same)
                continue;
            int64_t token = tokens[i + n - 1];
            if (token < 0 || token >= words)
                return tm_fail(run, call, TM_RUN_INDEX_RANGE, token, words);
            out[b * words + token] = -tm_inf_f32();
        }
    }
    return 0;
}
