/* SPDX-License-Identifier: Apache-2.0
 *
 * random_dropout.c: Dropout. Inference (training_mode absent or false, or ratio 0) copies and sets the mask
 * to true. In training, elements are dropped with probability ratio and the others scaled by 1/(1 - ratio).
 *
 * With a seed, the official suite's answers are those of NumPy's RandomState(seed).uniform(): the Mersenne
 * twister MT19937, 53 bits of two draws. It is sequential, so this part does not run in parallel.
 * Without a seed the draws are those of random.h.
 */
#include "runtime/ops/random.h"

#include "runtime/ops/cast_any.h"

#define WORDS 624
#define SHIFT 397
#define BLOCK 256

typedef struct twister {
    uint32_t words[WORDS];
    int32_t next;
} twister;

static void twister_seed(twister *t, uint32_t seed) {
    t->words[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++)
        t->words[i] = 1812433253u * (t->words[i - 1] ^ t->words[i - 1] >> 30) + i;
    t->next = WORDS;
}

static uint32_t twister_draw(twister *t) {
    if (t->next == WORDS) {
        for (int i = 0; i < WORDS; i++) {
            uint32_t y = (t->words[i] & 0x80000000u) | (t->words[(i + 1) % WORDS] & 0x7fffffffu);
            t->words[i] = t->words[(i + SHIFT) % WORDS] ^ y >> 1 ^ ((y & 1) != 0 ? 0x9908b0dfu : 0);
        }
        t->next = 0;
    }
    uint32_t y = t->words[t->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

static double twister_uniform(twister *t) {
    uint32_t high = twister_draw(t) >> 5, low = twister_draw(t) >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
}

typedef struct source {
    twister seeded;
    bool has_seed;
    uint64_t key;
} source;

/* Whether elements at..at+count stay. */
static void draw_mask(source *from, double ratio, int64_t at, int64_t count, uint8_t *mask) {
    for (int64_t i = 0; i < count; i++) {
        double u = from->has_seed ? twister_uniform(&from->seeded) : tm_random_uniform(from->key, at + i);
        mask[i] = u >= ratio;
    }
}

typedef void (*scale_function)(const void *x, void *y, int64_t at, int64_t count, const uint8_t *mask,
                               double scale);

static double read_ratio(const tm_run *run, const tm_call *call) {
    const tamis_tensor *ratio = tm_in(run, call, 1);
    tm_wide wide;
    return ratio != NULL && tm_wide_read(&wide, ratio->type, ratio->data, 0, 1) && wide.is_float
               ? wide.floats[0]
               : 0.5;
}

static int32_t dropout(tm_run *run, const tm_call *call, scale_function scale) {
    const tm_attrs_Dropout *attributes = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *training = tm_in(run, call, 2);
    tamis_tensor *y = tm_out(run, call, 0), *kept = tm_out(run, call, 1);
    int64_t total = tm_count(x);
    double ratio = read_ratio(run, call);
    if (training == NULL || !tm_get_bool(training->data, 0) || ratio == 0) {
        memmove(y->data, x->data, (size_t)tm_type_bytes(x->type, total));
        if (kept != NULL)
            memset(kept->data, 1, (size_t)total);
        return 0;
    }
    source from = {.has_seed = attributes->seed != INT64_MIN};
    if (from.has_seed)
        twister_seed(&from.seeded, (uint32_t)attributes->seed);
    else
        from.key = tm_random_next_key(run);
    uint8_t mask[BLOCK];
    for (int64_t at = 0; at < total; at += BLOCK) {
        int64_t count = total - at < BLOCK ? total - at : BLOCK;
        draw_mask(&from, ratio, at, count, mask);
        scale(x->data, y->data, at, count, mask, 1.0 / (1.0 - ratio));
        if (kept != NULL)
            memcpy((uint8_t *)kept->data + at, mask, (size_t)count);
    }
    return 0;
}

#define DROPOUT(s, S, C)                                                                          \
    static void scale_##s(const void *x, void *y, int64_t at, int64_t count, const uint8_t *mask, \
                          double scale) {                                                         \
        for (int64_t i = 0; i < count; i++)                                                       \
            tm_set_##s(y, at + i, mask[i] != 0 ? tm_get_##s(x, at + i) * (C)scale : (C)0);        \
    }                                                                                             \
    int32_t tm_k_Dropout_##s(tm_run *run, const tm_call *call) {                                  \
        return dropout(run, call, scale_##s);                                                     \
    }
TM_FOR_FLOAT_TYPES(DROPOUT)
DROPOUT(f8e4m3fn, uint8_t, float)
DROPOUT(f8e4m3fnuz, uint8_t, float)
DROPOUT(f8e5m2, uint8_t, float)
DROPOUT(f8e5m2fnuz, uint8_t, float)
