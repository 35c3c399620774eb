/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule.c: the choice of schedules for products; see schedule.h.
 *
 * A tile is as large as the registers allow. Of n rows and v vectors, one k costs n broadcasts and v loads
 * for n*v multiply-adds, so tiles near the square are the cheapest: with 32 registers of 512 bits 8 x 3 (11
 * loads for 24 multiply-adds) and 6 x 4, each for panels of its width; 14 x 2 is what a panel of 32 columns
 * leaves. Where m is known, it is shared out evenly: 33 rows are four tiles of 7 and one of 5.
 *
 * Where k is large, B is cut in blocks of `depth` along k. All rows of a unit pass a block before the next
 * one, so that a block comes from memory once and while it is used the next one is fetched; the sums wait in
 * a buffer on the stack. The depths are what measured best on a first cache of 48 KiB and a second one of 2
 * MiB, beside other load. Small k is one block.
 *
 * Rows of A whose distance is a multiple of half the size of a way of the first cache (4 KiB) fall in one or
 * two of its sets, and 14 rows push each other out of 12 ways. They are copied side by side then, some k at a
 * time: the copying goes on beside the multiply-adds. Tiles of fewer rows have room.
 */
#include "codegen/llvm/schedule.h"

#include "ir/tiles.h"

#define SHALLOW 160      /* k below this is one block, and so near that nothing is fetched ahead */
#define WAY 4096         /* bytes: 64 sets of 64 bytes */
#define COPY 64          /* divides WAY / 2 */
#define BLOCK_ROWS 256   /* of a single block: A stays in the second cache */
#define SUMS_BYTES 24576 /* of the buffer of sums */
#define UNITS 8          /* enough to share among some threads evenly */
#define UNROLLED 128     /* multiply-adds of a tile's loop without rounds */

/* Rows of a tile of 1, 2, 3 and 4 vectors. A multiply-add of SVE overwrites an operand, and LLVM copies sums
 * where rounds are merged; those of more rows would wait on the stack. */
static const int rows_512[] = {16, 14, 8, 6}, rows_128[] = {16, 12, 8, 6};
static const int rows_few[] = {10, 6, 4, 0}, rows_scalable[] = {14, 10, 6, 5};

static const int *rows_of(const tm_level *level) {
    if (level->scalable)
        return rows_scalable;
    return level->vector_bits == 512 ? rows_512 : tm_level_has_few_registers(level) ? rows_few : rows_128;
}

static void choose_vectors(tm_schedule *s, const tm_level *level, const tm_product_shape *shape, int lanes) {
    const int *rows = rows_of(level);
    s->vectors = level->vector_bits == 512 ? 3 : level->vector_bits == 256 ? 2 : 4;
    s->rows = 4;
    if (level->vector_bits == 0) {
        s->vectors = 1;
        return;
    }
    if (shape->panel > 0 && level->vector_bits == 512)
        s->vectors = shape->panel / lanes;
    else if (shape->panel > 0 && s->vectors * lanes > shape->panel)
        s->vectors = shape->panel / lanes;
    else if (shape->panel == 0 && shape->n > 0 && shape->n <= 4 * lanes && rows[(shape->n - 1) / lanes] > 0)
        s->vectors = (int)((shape->n - 1) / lanes) + 1;
    s->rows = rows[s->vectors - 1];
}

/* Known rows in tiles as even as can be, and one for the rest; else full ones, smaller ones, single rows. */
static void choose_rows(tm_schedule *s, int64_t m, bool deep) {
    if (m > 0) {
        int64_t tiles = (m + s->rows - 1) / s->rows;
        s->rows = (int)((m + tiles - 1) / tiles);
        s->small_rows = (int)(m % s->rows);
        return;
    }
    s->single_rows = s->rows > 1;
    if (deep)
        s->small_rows = s->rows >= 8 ? 4 : s->rows * s->vectors >= 12 ? 2 : 0;
}

tm_schedule tm_schedule_choose(const tm_level *level, const tm_product_shape *shape) {
    tm_schedule s = {.unroll = 1, .block_rows = 84};
    int lanes = tm_level_lanes(level);
    int64_t k = shape->k;
    bool deep = k == 0 || k >= SHALLOW;
    choose_vectors(&s, level, shape, lanes);
    int vectors = s.vectors, most = s.rows;
    choose_rows(&s, shape->m, deep);
    s.columns = shape->panel > 0 ? shape->panel : 4 * vectors * lanes;
    if (!deep) {
        s.block_rows -= s.block_rows % s.rows;
        s.unroll = s.rows * vectors <= 8 && k % 2 == 0 ? 2 : 1;
        if (shape->panel == 0 && k * s.rows * vectors <= UNROLLED)
            s.unroll = (int)k;
        return s;
    }
    s.units = UNITS;
    s.depth = vectors == 4 || level->vector_bits < 512 ? 128 : vectors == 3 ? 192 : 256;
    s.block_rows = SUMS_BYTES / 4 / (vectors * lanes) / s.rows * s.rows;
    if (k > 0 && k <= s.depth) {
        s.depth = 0;
        s.block_rows = BLOCK_ROWS / s.rows * s.rows;
    }
    if (k > 0 && k * 4 % (WAY / 2) == 0 && most > 8)
        s.copy = COPY;
    /* More would not fit in the registers that hold addresses. */
    if (k > 0 && k % 4 == 0 && s.copy == 0)
        s.unroll = vectors == 4 ? 2 : 4;
    return s;
}

/* ---- the product of a region ---- */

const tm_node *tm_region_product(const tm_node *region) {
    const tm_node *found = tm_node_graph(region, "body")->first;
    while (found != NULL && !tm_op_is_product(found->op))
        found = found->next;
    return found;
}

int tm_region_product_count(const tm_node *region) {
    int count = 0;
    for (const tm_node *node = tm_node_graph(region, "body")->first; node != NULL; node = node->next)
        count += tm_op_is_product(node->op);
    return count;
}

bool tm_product_is_shared(const tm_value *b) {
    for (int i = 0; i + 2 < b->rank; i++)
        if (!tm_dim_is(b->dims[i], 1))
            return false;
    return true;
}

/* Product of dims from..to; 0: not known. */
static int64_t known_product(const tm_value *value, int from, int to) {
    int64_t product = 1;
    for (int i = from; i < to; i++)
        product *= value->dims[i]->kind == TM_DIM_CONST ? value->dims[i]->constant : 0;
    return product;
}

/* The region's input that is an operand of its product. */
static const tm_value *operand(const tm_node *region, int number) {
    const tm_graph *body = tm_node_graph(region, "body");
    const tm_value *inner = tm_outer_factor(tm_region_product(region)->inputs[number]);
    for (size_t i = 0; i < body->inputs.count; i++)
        if (body->inputs.items[i] == inner)
            return region->inputs[i];
    return inner;
}

tm_product_shape tm_product_shape_of(const tm_node *region) {
    const tm_value *a = operand(region, 0), *b = operand(region, 1);
    return (tm_product_shape){.m = known_product(a, tm_product_is_shared(b) ? 0 : a->rank - 2, a->rank - 1),
                              .n = known_product(b, b->rank - 1, b->rank),
                              .k = known_product(b, b->rank - 2, b->rank - 1),
                              .panel = b->constant != NULL ? b->constant->panel : 0};
}
