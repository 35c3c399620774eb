/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_schedule.c: the shapes of the loops of attention.
 *
 * What is wanted: two vectors of queries at once, so that each number of K that is spread over the lanes is
 * used twice; Q turned round, a tile of scores and some columns of V in the first cache; and all buffers on a
 * stack of 32 KiB:
 *
 *     head size, AVX-512     queries     keys in a tile      Q is turned
 *     up to 48               32          128                 once
 *     up to 128              32          64                  once
 *     up to 256, no mask     32          64                  in parts, for each tile
 *     up to 256              16          64                  once
 *
 * A unit is 32 queries that go through all keys. When K and V do not stay in the second cache meanwhile, it
 * is 128 queries: a tile of keys is used by all of them, 32 after 32, before the next one is read, for which
 * Q is turned again. That is so for long sequences, and early where heads lie side by side in rows: of rows
 * that are a multiple of 4 KiB apart, the 512 bytes of a head share an eighth of the cache's sets.
 *
 * Of a number of queries that is known at run time only, 16 or fewer that are left take loops of one vector.
 */
#include "codegen/llvm/region_attention.h"
#include "codegen/llvm/schedule.h"

#define COLUMNS 8    /* of V at once, at most */
#define FEW 8        /* keys at once, where they are not known to be whole blocks */
#define STACK 28672  /* bytes of the buffers */
#define NEAR 1572864 /* bytes of the second cache for K and V */
#define APART 1024   /* bytes: tiles of rows of such a spacing do not stay in the first cache */
#define PART 64      /* keys, and columns of Q at most, when Q is turned for each tile */
#define GROUPS 4     /* of queries that use a tile of keys after each other */
#define USUAL 256    /* keys, where they are not known */

/* The value of a length that is known, else `unknown`. */
static int64_t known(LLVMValueRef length, int64_t unknown) {
    return LLVMIsConstant(length) ? LLVMConstIntGetSExtValue(length) : unknown;
}

/* A size of blocks up to `most` that divides the whole if it can be, so that nothing is left over. */
static int block_of(int64_t whole, int most) {
    for (int block = most; block >= 4; block--)
        if (whole % block == 0)
            return block;
    return whole < most ? (int)whole : most;
}

/* Bytes of the cache that rows of this distance keep from others, for each of their bytes: their largest
 * power of two. */
static int64_t spacing(const tm_region *r, const tm_attention *a, int i) {
    int64_t bytes = tm_attention_row_stride(r, a, i) * 4;
    return bytes & -bytes;
}

int tm_attention_groups(const tm_region *r, const tm_attention *a) {
    int64_t keys = known(a->keys, USUAL), queries = known(a->queries, USUAL);
    bool near = keys < NEAR / (spacing(r, a, 1) + spacing(r, a, 2));
    return near || queries <= TM_ATTENTION_QUERIES ? 1 : GROUPS;
}

/* Vectors of columns of V in groups of three and two. */
static void group_columns(const tm_region *r, tm_attention *a) {
    int vectors = (int)(a->value_size + r->lanes - 1) / r->lanes, rest = vectors % 3;
    a->twos = rest == 0 ? 0 : 3 - rest;
    a->threes = (vectors - 2 * a->twos) / 3;
}

static bool fits(const tm_region *r, const tm_attention *a) {
    int64_t turned = (int64_t)a->chunk * a->width * 4,
            packed = a->packs ? tm_attention_packed_bytes(r, a) : 0;
    int64_t rows = (a->rows > 0 ? 1 : a->value_size) + a->tile + TM_ATTENTION_KEYS;
    /* By tiles, Q is turned again when packed columns are not needed any more. */
    int64_t both = !a->by_tiles ? turned + packed : turned > packed ? turned : packed;
    return both + rows * a->width * 4 + (int64_t)a->tile * 8 <= STACK;
}

/* Queries at once, up to `wide`. */
static void set_width(const tm_region *r, tm_attention *a, int64_t wide) {
    a->vectors = (int)(wide > 0 ? (wide + r->lanes - 1) / r->lanes : 1);
    if (a->vectors * r->lanes < 8) /* squares of 8 by 8 are turned */
        a->vectors = 8 / r->lanes;
    a->vectors = a->vectors > TM_ATTENTION_VECTORS ? TM_ATTENTION_VECTORS : a->vectors;
    a->width = a->vectors * r->lanes;
}

/* All queries of a unit use a tile before the next one; Q is turned in parts. */
static bool fits_by_tiles(const tm_region *r, tm_attention *a) {
    int64_t parts = (a->size + PART - 1) / PART;
    a->by_tiles = true;
    a->chunk = (int)((a->size + 8 * parts - 1) / (8 * parts) * 8);
    a->tile = PART;
    group_columns(r, a);
    return a->rows > 0 && (parts == 1 || a->inputs[3] < 0) && fits(r, a);
}

static bool fits_at_once(const tm_region *r, tm_attention *a) {
    a->by_tiles = false;
    a->chunk = (int)a->size;
    a->tile = (a->size + a->value_size + 128) * a->width * 4 <= STACK ? 128 : 64;
    group_columns(r, a);
    return fits(r, a);
}

static void fit_buffers(const tm_region *r, tm_attention *a, int64_t wide) {
    bool far = !a->near && tm_attention_groups(r, a) > 1;
    for (;; wide /= 2) {
        set_width(r, a, wide);
        bool apart = a->rows > 0 && a->width >= 2 * a->rows && spacing(r, a, 2) >= APART;
        for (int packs = apart; packs >= 0; packs--) {
            a->packs = packs != 0;
            if ((far && fits_by_tiles(r, a)) || fits_at_once(r, a))
                return;
        }
        a->packs = apart;
        if (a->vectors == 2 && !a->near && fits_by_tiles(r, a))
            return;
        a->packs = false;
        if (fits_at_once(r, a) || wide <= 8)
            return;
    }
}

/* Accumulators of scores are 8 or 16: enough to hide the latency of multiply and add, and few enough to stay
 * in registers. */
static void choose(tm_region *r, tm_attention *a, int64_t wide) {
    int64_t keys = known(a->keys, INT64_MAX /* odd */);
    a->rows = tm_attention_rows_at_once(r, a);
    fit_buffers(r, a, wide);
    int accumulators = r->level->vector_registers >= 32 ? 16 : 8;
    a->block = accumulators / a->vectors;
    if (a->block > FEW &&
        keys % a->block != 0) /* their rows have addresses of their own, which need registers too */
        a->block = FEW;
    a->columns = block_of(a->value_size, a->block < COLUMNS ? a->block : COLUMNS);
    a->fused = a->rows == 0 && a->value_size * a->vectors <= accumulators;
    a->single = keys >= 1 && keys <= a->tile && !a->by_tiles;
    if (a->single) {
        a->tile = (int)keys;
        a->block = block_of(keys, a->block);
    }
    a->whole = a->tile % a->block == 0 && keys % a->block == 0;
}

void tm_attention_schedule(tm_region *r, tm_attention *a) {
    choose(r, a, tm_schedule_of(r->e->options, r->level, r->node).queries);
}

bool tm_attention_narrow(tm_region *r, const tm_attention *a, tm_attention *out) {
    if (LLVMIsConstant(a->queries) || a->width <= TM_ATTENTION_QUERIES / 2)
        return false;
    *out = *a;
    out->near = true;
    choose(r, out, TM_ATTENTION_QUERIES / 2);
    return true;
}
