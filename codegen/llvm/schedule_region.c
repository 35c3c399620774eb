/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule_region.c: regions as far as their schedules depend on them, the cost model's choice for each kind,
 * and the look-up in a table of measured ones; see schedule.h.
 *
 * A signature names what a choice depends on, with a `?` for sizes that are known when it runs:
 *
 *     contract ?x384x1536 p48 *3          m, k, n; columns of a panel of constant weights; products of one A
 *     tiles ?x384x1536 bf16               the same in bfloat16, or in bytes (u8)
 *     attention 12x?x?x64 mask            heads, queries, keys, size of a head
 *     convolution 28x28x64 3x3x64/2 p32   rows, columns, filters; kernel, channels, stride; panel
 *
 * so that an entry of a table holds for every model in which such a region occurs. What follows a product is
 * not part of it: that changes its time, but hardly which of two schedules is the faster one.
 */
#include "codegen/llvm/schedule.h"

#include "ir/ops/window.h"
#include "ir/tiles.h"

#include <stdio.h>
#include <string.h>

#define ATTENTION_UNIT 32 /* TM_ATTENTION_QUERIES of region_attention.h */
#define TILES_UNIT_KIB 1024
#define WIDE_DEPTH 64 /* k from which on wider tiles gain more than the epilogue takes */

/* ---- signatures ---- */

static const tm_value *outer(const tm_node *region, const tm_value *inner) {
    const tm_graph *body = tm_node_graph(region, "body");
    for (size_t i = 0; i < body->inputs.count; i++)
        if (body->inputs.items[i] == inner)
            return region->inputs[i];
    return inner;
}

static void add(tm_scheduled *s, const char *text) {
    size_t used = strlen(s->signature);
    snprintf(s->signature + used, sizeof(s->signature) - used, "%s", text);
}

/* "x64"; "x?" where it is not known. */
static void add_size(tm_scheduled *s, const char *before, int64_t size) {
    char text[32];
    snprintf(text, sizeof(text), size >= 0 ? "%s%lld" : "%s?", before, (long long)size);
    add(s, text);
}

static int64_t known(tm_dim dim) {
    return dim->kind == TM_DIM_CONST ? dim->constant : -1;
}

static void of_product(const tm_node *region, tm_scheduled *s) {
    s->shape = tm_product_shape_of(region);
    const int64_t sizes[3] = {s->shape.m, s->shape.k, s->shape.n};
    for (int i = 0; i < 3; i++)
        add_size(s, i == 0 ? " " : "x", sizes[i] > 0 ? sizes[i] : -1);
    if (s->shape.panel > 0 && !s->units)
        add_size(s, " p", s->shape.panel);
    if (s->units) {
        s->factors = outer(region, tm_outer_factor(tm_region_product(region)->inputs[0]))->type;
        add(s, s->factors == TAMIS_TYPE_UINT8 ? " u8" : " bf16");
    }
    if (tm_region_product_count(region) > 1)
        add_size(s, " *", tm_region_product_count(region));
}

static int64_t heads(const tm_node *node, const tm_value *value, const char *attribute) {
    return value->rank == 4 ? known(value->dims[1]) : tm_node_int(node, attribute);
}

static void of_attention(const tm_node *region, tm_scheduled *s) {
    const tm_node *node = tm_node_graph(region, "body")->first;
    const tm_value *q = outer(region, node->inputs[0]), *k = outer(region, node->inputs[1]),
                   *v = outer(region, node->inputs[2]);
    int64_t q_heads = heads(node, q, "q_num_heads"), kv_heads = heads(node, k, "kv_num_heads");
    s->queries = known(q->dims[q->rank - 2]);
    s->keys = known(k->dims[k->rank - 2]);
    s->size = q->rank == 4 ? known(q->dims[3]) : known(q->dims[2]) / q_heads;
    s->value_size = v->rank == 4 ? known(v->dims[3]) : known(v->dims[2]) / kv_heads;
    add_size(s, " ", q_heads);
    if (kv_heads != q_heads)
        add_size(s, "/", kv_heads);
    add_size(s, "x", s->queries);
    add_size(s, "x", s->keys);
    add_size(s, "x", s->size);
    if (s->value_size != s->size)
        add_size(s, "+", s->value_size);
    if (node->input_count > 3 && node->inputs[3] != NULL)
        add(s, " mask");
    if (tm_node_int(node, "is_causal") != 0)
        add(s, " causal");
}

/* " 28x28x64 3x3x64/2": output, channels last; kernel and channels; stride. */
static void add_window(const tm_node *region, const tm_node *node, tm_scheduled *s) {
    const tm_value *y = node->outputs[0];
    bool convolution = node->op == TM_OP_Conv;
    int axes = y->rank - 2;
    if (!convolution)
        add(s, node->op == TM_OP_MaxPool ? " max" : " mean");
    for (int i = 0; i < axes; i++)
        add_size(s, i == 0 ? " " : "x", known(y->dims[2 + i]));
    add_size(s, "x", known(y->dims[1]));
    const tm_value *weights = convolution ? outer(region, node->inputs[1]) : NULL;
    for (int i = 0; i < axes; i++) {
        s->taps = convolution ? known(weights->dims[2 + i]) : tm_window_item(node, "kernel_shape", i, 1);
        add_size(s, i == 0 ? " " : "x", s->taps);
    }
    if (convolution)
        add_size(s, "x", known(weights->dims[1]));
    if (tm_window_item(node, "strides", axes - 1, 1) != 1)
        add_size(s, "/", tm_window_item(node, "strides", axes - 1, 1));
    if (convolution && weights->constant != NULL && s->shape.panel == 0) {
        s->shape.panel = weights->constant->panel;
        add_size(s, " p", s->shape.panel);
    }
}

static void of_windows(const tm_node *region, tm_scheduled *s) {
    for (const tm_node *n = tm_node_graph(region, "body")->first; n != NULL; n = n->next)
        if (n->op == TM_OP_Conv || n->op == TM_OP_MaxPool || n->op == TM_OP_AveragePool)
            add_window(region, n, s);
}

tm_scheduled tm_scheduled_of(const tm_node *region) {
    tm_scheduled s = {.queries = -1, .keys = -1};
    const char *kind = tm_node_string(region, "kind");
    static const struct {
        const char *kind;
        void (*describe)(const tm_node *, tm_scheduled *);
        bool units;
    } kinds[] = {{"contract", of_product, false},    {"tiles", of_product, true},
                 {"attention", of_attention, false}, {"attention_tiles", of_attention, true},
                 {"convolution", of_windows, false}, {"bottleneck", of_windows, false},
                 {"window", of_windows, false}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].kind, kind) == 0) {
            s.kind = kinds[i].kind;
            add(&s, kind);
            s.units = kinds[i].units;
            kinds[i].describe(region, &s);
            return s;
        }
    return s;
}

const char *tm_scheduled_level(const tm_scheduled *region, const tm_level *level) {
    return region->units ? level->suffix : level->folder;
}

/* ---- the cost model's choices ---- */

/* Queries side by side, where their buffers fit; the rest follows from that in region_attention_schedule.c.
 */
static tm_schedule choose_attention(const tm_level *level, const tm_scheduled *a) {
    int64_t half = ATTENTION_UNIT / 2, queries = a->queries >= 0 ? a->queries : ATTENTION_UNIT;
    int64_t padded = (queries + half - 1) / half * half;
    /* Vectors that are hardly filled cost more than loads that are shared by two save. */
    bool two = queries > half && (padded % ATTENTION_UNIT == 0 || padded >= 8 * half);
    int64_t wide = tm_level_lanes(level) >= 16 && two ? ATTENTION_UNIT : half;
    wide = queries < wide ? queries : wide;
    return (tm_schedule){.queries = wide > 0 ? (int)wide : 1};
}

/* Positions that a tile of so many vectors has registers for. */
static int convolution_rows(const tm_level *level, int vectors) {
    if (tm_level_has_few_registers(level))
        return vectors == 1 ? 12 : 6;
    if (level->scalable)
        return vectors == 1 ? 12 : vectors == 2 ? 8 : vectors == 3 ? 6 : 5;
    switch (level->vector_bits) {
    case 512:
        return vectors <= 2 ? 14 : vectors == 3 ? 9 : 6;
    case 128:
        return vectors <= 2 ? 12 : 6;
    default:
        return 4;
    }
}

static tm_schedule choose_convolution(const tm_level *level, const tm_scheduled *c) {
    int all = c->shape.panel / tm_level_lanes(level);
    int most = tm_level_has_few_registers(level) ? 2 : level->vector_bits > 0 ? 4 : 1;
    tm_schedule s = {.vectors = all > 1 ? all : 1};
    while (s.vectors > most || all % s.vectors != 0)
        s.vectors--;
    s.rows = convolution_rows(level, s.vectors);
    return s;
}

static tm_schedule choose_window(const tm_level *level, const tm_scheduled *w) {
    int64_t terms = TM_WINDOW_TERMS / (w->taps > 1 ? w->taps : 1);
    int registers = tm_level_has_few_registers(level) ? 8 : level->vector_bits == 0 ? 4 : 14;
    return (tm_schedule){.rows = (int)(terms < 4 ? 4 : terms < registers ? terms : registers), .vectors = 1};
}

/* Vectors that a word of four bytes, or two bfloat16, is taken apart into; region_tiles_vector.c. */
static int parts_of_word(const tm_level *level, const tm_scheduled *region) {
    return region->factors != TAMIS_TYPE_UINT8 || strncmp(level->name, "x86", 3) == 0 ? 2 : 4;
}

bool tm_tiles_words_are_whole(const tm_level *level, const tm_scheduled *region) {
    int lanes = tm_level_lanes(level);
    if (region->factors == TAMIS_TYPE_UINT8)
        return (level->units & TM_UNIT_BYTES) != 0;
    return (level->units & TM_UNIT_DOT) != 0 && lanes == 16;
}

bool tm_tiles_may_be_wide(const tm_level *level, const tm_scheduled *region) {
    return region->factors == TAMIS_TYPE_UINT8 && tm_tiles_words_are_whole(level, region) &&
           (level->units & TM_UNIT_TILES) == 0 && tm_level_lanes(level) == 16 && region->shape.n > 0 &&
           region->shape.n % 48 == 0 && region->shape.k >= WIDE_DEPTH;
}

bool tm_tiles_fill_bands(const tm_schedule *schedule) {
    int rest = TM_TILE_ROWS % schedule->rows;
    return rest == 0 ? schedule->rows % schedule->small_rows == 0 : rest == schedule->small_rows;
}

/* Sums, a vector for each part of B, and some for A. On matrix units the tile is what they hold; where a word
 * is one operand, tiles of 4, 8, or 6, 6 and 4 rows fill the bands of A. Few columns take fewer vectors;
 * three take a word of A and a line of B for fewer instructions beside the products than two, which tells
 * where another thread of the core takes its turns. */
static tm_schedule choose_tiles(const tm_level *level, const tm_scheduled *region) {
    tm_schedule s = {.rows = 32, .vectors = 2, .unit_kib = TILES_UNIT_KIB};
    if ((level->units & TM_UNIT_TILES) != 0)
        return s;
    int lanes = tm_level_lanes(level);
    s.vectors = (lanes == 16 ? 32 : 16) / lanes;
    while (region->shape.n > 0 && s.vectors % 2 == 0 && region->shape.n <= s.vectors / 2 * lanes)
        s.vectors /= 2;
    int rows = (level->vector_registers - parts_of_word(level, region) * s.vectors - 2) / s.vectors;
    s.rows = rows > TM_TILES_MOST_ROWS ? TM_TILES_MOST_ROWS : rows;
    if (tm_tiles_words_are_whole(level, region))
        s.rows = lanes == 4 ? 4 : lanes == 8 ? 6 : 8;
    if (tm_tiles_may_be_wide(level, region))
        s.vectors = 3;
    s.small_rows = s.rows >= 6 ? 4 : 2;
    s.single_rows = true;
    return s;
}

tm_schedule tm_schedule_default(const tm_level *level, const tm_scheduled *region) {
    bool matrix_units = region->units && (level->units & TM_UNIT_TILES) != 0;
    if (strcmp(region->kind, "contract") == 0)
        return tm_schedule_choose(level, &region->shape);
    if (strcmp(region->kind, "tiles") == 0)
        return choose_tiles(level, region);
    if (strcmp(region->kind, "window") == 0)
        return choose_window(level, region);
    if (strcmp(region->kind, "convolution") == 0 || strcmp(region->kind, "bottleneck") == 0)
        return choose_convolution(level, region);
    if (matrix_units)
        return (tm_schedule){.queries = 128, .keys = region->size > 64 || region->value_size > 64 ? 32 : 64};
    return choose_attention(level, region);
}

/* ---- tables ---- */

tm_schedule tm_schedule_get(tm_schedule_table *table, const tm_level *level, const tm_scheduled *region) {
    tm_schedule chosen = tm_schedule_default(level, region), found;
    const char *name = tm_scheduled_level(region, level);
    for (size_t i = 0; table != NULL && i < table->count; i++) {
        tm_schedule_entry *e = &table->items[i];
        if (strcmp(e->region, region->signature) != 0 || strcmp(e->level, name) != 0)
            continue;
        e->used = true;
        e->refused = !tm_schedule_parse(e->schedule, &found);
        found.units = chosen.units;
        e->refused = e->refused || !tm_schedule_is_allowed(level, region, &found);
        return e->refused ? chosen : found;
    }
    return chosen;
}

tm_schedule tm_schedule_of(const tm_codegen_options *options, const tm_level *level, const tm_node *region) {
    tm_scheduled s = tm_scheduled_of(region);
    return tm_schedule_get(options->schedules, level, &s);
}

/* ---- the list of a model's schedules ---- */

typedef struct entry {
    const char *region, *schedules;
    int count;
} entry;

typedef struct list {
    tm_arena *arena;
    const tm_target_choice *target;
    tm_schedule_table *table;
    TM_VECTOR(entry) entries;
} list;

static void add_region(list *l, const tm_node *region) {
    tm_scheduled scheduled = tm_scheduled_of(region);
    if (scheduled.kind == NULL)
        return;
    tm_text schedules;
    tm_text_init(&schedules, l->arena);
    for (int i = 0; i < l->target->level_count; i++) {
        const tm_level *level = &l->target->levels[i];
        const char *name = tm_scheduled_level(&scheduled, level);
        int same = 0;
        while (strcmp(tm_scheduled_level(&scheduled, &l->target->levels[same]), name) != 0)
            same++;
        if (same < i)
            continue;
        tm_schedule schedule = tm_schedule_get(l->table, level, &scheduled);
        tm_text_add(&schedules, " %s ", name);
        tm_schedule_print(&schedule, &schedules);
    }
    entry made = {tm_arena_string(l->arena, scheduled.signature), tm_text_get(&schedules), 1};
    for (size_t i = 0; i < l->entries.count; i++)
        if (strcmp(l->entries.items[i].region, made.region) == 0 &&
            strcmp(l->entries.items[i].schedules, made.schedules) == 0) {
            l->entries.items[i].count++;
            return;
        }
    tm_push(l->arena, &l->entries, made);
}

static void add_graph(list *l, const tm_graph *graph) {
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        if (node->op == TM_OP_Region) {
            add_region(l, node);
            continue;
        }
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            add_graph(l, tm_node_subgraph(node, i));
    }
}

void tm_schedule_list(const tm_model *model, const tm_target_choice *target, tm_schedule_table *table,
                      tm_text *text) {
    list l = {.arena = model->arena, .target = target, .table = table};
    add_graph(&l, model->main);
    tm_text_add(text, "[");
    for (size_t i = 0; i < l.entries.count; i++) {
        const entry *e = &l.entries.items[i];
        tm_text_add(text, "%s\"%s", i > 0 ? ", " : "", e->region);
        if (e->count > 1)
            tm_text_add(text, " x%d", e->count);
        tm_text_add(text, "%s\"", e->schedules);
    }
    tm_text_add(text, "]");
}
