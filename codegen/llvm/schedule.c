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

#include <string.h>

#define SHALLOW 256      /* k below this is one block */
#define WAY 4096         /* bytes: 64 sets of 64 bytes */
#define COPY 64          /* divides WAY / 2 */
#define SUMS_BYTES 24576 /* of the buffer of sums */
#define UNITS 8          /* enough to share among some threads evenly */
#define UNROLLED 128     /* multiply-adds of a tile's loop without rounds */

/* Rows of a tile of 1, 2, 3 and 4 vectors. */
static const int rows_512[] = {16, 14, 8, 6}, rows_256[] = {10, 6, 4, 0}, rows_128[] = {16, 12, 8, 6};

static void choose_vectors(tm_schedule *s, const tm_level *level, const tm_product_shape *shape, int lanes) {
    const int *rows = level->vector_bits == 512 ? rows_512 : level->vector_bits == 256 ? rows_256 : rows_128;
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
    if (k > 0 && k * 4 % (WAY / 2) == 0 && most > 8)
        s.copy = COPY;
    /* More would not fit in the registers that hold addresses. */
    if (k > 0 && k % 4 == 0 && s.copy == 0)
        s.unroll = vectors == 4 ? 2 : 4;
    return s;
}

void tm_schedule_print(const tm_schedule *s, tm_text *text) {
    tm_text_add(text, "%dx%d", s->rows, s->vectors);
    if (s->small_rows > 0)
        tm_text_add(text, "+%d", s->small_rows);
    if (s->single_rows)
        tm_text_add(text, "+1");
    tm_text_add(text, " u%d %dx%d", s->unroll, s->block_rows, s->columns);
    if (s->depth > 0)
        tm_text_add(text, " d%d", s->depth);
    if (s->copy > 0)
        tm_text_add(text, " c%d", s->copy);
}

/* ---- the products of a model ---- */

const tm_node *tm_region_product(const tm_node *region) {
    const tm_node *found = tm_node_graph(region, "body")->first;
    while (found != NULL && found->op != TM_OP_MatMul)
        found = found->next;
    return found;
}

int tm_region_product_count(const tm_node *region) {
    int count = 0;
    for (const tm_node *node = tm_node_graph(region, "body")->first; node != NULL; node = node->next)
        count += node->op == TM_OP_MatMul;
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

typedef struct entry {
    const char *product, *schedules;
    int count;
} entry;

typedef struct list {
    tm_arena *arena;
    const tm_target_choice *target;
    TM_VECTOR(entry) entries;
} list;

static void add_region(list *l, const tm_node *region) {
    tm_product_shape shape = tm_product_shape_of(region);
    const int64_t sizes[3] = {shape.m, shape.k, shape.n};
    tm_text product, schedules;
    tm_text_init(&product, l->arena);
    tm_text_init(&schedules, l->arena);
    for (int i = 0; i < 3; i++)
        tm_text_add(&product, sizes[i] > 0 ? "%s%lld" : "%s?", i > 0 ? "x" : "", (long long)sizes[i]);
    for (int i = 0; i < l->target->level_count; i++) {
        tm_schedule schedule = tm_schedule_choose(&l->target->levels[i], &shape);
        tm_text_add(&schedules, " %s ", l->target->levels[i].folder);
        tm_schedule_print(&schedule, &schedules);
    }
    entry made = {tm_text_get(&product), tm_text_get(&schedules), tm_region_product_count(region)};
    for (size_t i = 0; i < l->entries.count; i++)
        if (strcmp(l->entries.items[i].product, made.product) == 0 &&
            strcmp(l->entries.items[i].schedules, made.schedules) == 0) {
            l->entries.items[i].count += made.count;
            return;
        }
    tm_push(l->arena, &l->entries, made);
}

static void add_graph(list *l, const tm_graph *graph) {
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        if (node->op == TM_OP_Region) {
            if (strcmp(tm_node_string(node, "kind"), "contract") == 0)
                add_region(l, node);
            continue;
        }
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            add_graph(l, tm_node_subgraph(node, i));
    }
}

void tm_schedule_list(const tm_model *model, const tm_target_choice *target, tm_text *text) {
    list l = {.arena = model->arena, .target = target};
    add_graph(&l, model->main);
    tm_text_add(text, "[");
    for (size_t i = 0; i < l.entries.count; i++) {
        const entry *e = &l.entries.items[i];
        tm_text_add(text, "%s\"%s", i > 0 ? ", " : "", e->product);
        if (e->count > 1)
            tm_text_add(text, " *%d", e->count);
        tm_text_add(text, "%s\"", e->schedules);
    }
    tm_text_add(text, "]");
}
