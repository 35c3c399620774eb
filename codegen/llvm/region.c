/* SPDX-License-Identifier: Apache-2.0
 *
 * region.c: the functions of a region: sharing, levels, counting and the body's frame.
 *
 * Regions with equal bodies, types and dims are one function: the key is the body's text with values numbered
 * in order and dims as constants or "the k-th distinct expression", because generated code reads other dims
 * from the frame. Twelve equal layers are emitted once.
 */
#include "codegen/llvm/contract.h"

#include "ir/bits.h"
#include "ir/sparse.h"
#include "ir/text.h"
#include "ir/tiles.h"

#include <string.h>

static const tm_region_kind *const kinds[] = {&tm_region_kind_map,
                                              &tm_region_kind_row,
                                              &tm_region_kind_contract,
                                              &tm_region_kind_attention,
                                              &tm_region_kind_scan,
                                              &tm_region_kind_convolution,
                                              &tm_region_kind_window,
                                              &tm_region_kind_bottleneck,
                                              &tm_region_kind_pack,
                                              &tm_region_kind_tiles,
                                              &tm_region_kind_attention_tiles,
                                              &tm_region_kind_bits,
                                              &tm_region_kind_attention_bytes,
                                              &tm_region_kind_turn,
                                              &tm_region_kind_sparse};

/* ---- key ---- */

typedef struct key {
    tm_text text;
    bool product; /* of kind contract or tiles */
    TM_VECTOR(tm_dim) dims;
    TM_VECTOR(const tm_value *) values;
} key;

/* The depth of a product is read at run time, so it does not tell regions apart (the schedule does). */
static bool is_depth(const tm_value *value, int axis) {
    for (size_t i = 0; i < value->uses.count; i++) {
        const tm_node *node = value->uses.items[i].node;
        if (node != NULL && node->op == TM_OP_MatMul &&
            axis == (node->inputs[0] == value ? value->rank - 1 : 0))
            return true;
        if (node != NULL && node->op == TM_OP_Cast && is_depth(node->outputs[0], axis)) /* before a product */
            return true;
    }
    return false;
}

static void add_type(key *k, const tm_value *value) {
    tm_text_add(&k->text, "%s[", tm_type_text(value->type));
    for (int i = 0; i < value->rank; i++) {
        if (k->product && value->dims[i]->kind == TM_DIM_CONST && is_depth(value, i)) {
            tm_text_add(&k->text, "depth,");
            continue;
        }
        if (value->dims[i]->kind == TM_DIM_CONST) {
            tm_text_add(&k->text, "%lld,", (long long)value->dims[i]->constant);
            continue;
        }
        size_t n = 0;
        while (n < k->dims.count && k->dims.items[n] != value->dims[i])
            n++;
        if (n == k->dims.count)
            tm_push(k->text.arena, &k->dims, value->dims[i]);
        tm_text_add(&k->text, "?%zu,", n);
    }
    tm_text_add(&k->text, "]");
}

/* Scales and zero points that are packed with their weights: code reads them there. */
static bool is_packed_parameter(const tm_value *value) {
    const tm_use *use = value->uses.count > 0 ? &value->uses.items[0] : NULL;
    return use != NULL && use->node != NULL && use->node->op == TM_OP_MatMulNBits && use->index >= 2;
}

/* How weights of few bits are packed, beside their type and dims. */
static void add_bits(key *k, const tm_constant *constant) {
    const struct tm_bits *bits = constant->bits;
    if (bits != NULL)
        tm_text_add(&k->text, "z%d,%d", bits->zero != NULL ? (int)bits->zero->type : 0, bits->zero_point);
}

static size_t value_number(key *k, const tm_value *value) {
    size_t n = 0;
    while (n < k->values.count && k->values.items[n] != value)
        n++;
    if (n == k->values.count) {
        tm_push(k->text.arena, &k->values, value);
        add_type(k, value);
        if (value->constant != NULL && !is_packed_parameter(value))
            for (int64_t b = 0; b < value->constant->bytes; b++)
                tm_text_add(&k->text, "%02x", ((const uint8_t *)value->constant->data)[b]);
    }
    return n;
}

static void add_attribute(key *k, const tm_attribute_spec *spec, const tm_attribute *a) {
    if (!a->present)
        return;
    tm_text_add(&k->text, " %s=%lld,%a,", spec->name, (long long)a->i, a->f);
    if (a->s != NULL)
        tm_text_add_escaped(&k->text, a->s, (size_t)a->s_size);
    for (int64_t i = 0; i < a->count && a->ints != NULL; i++)
        tm_text_add(&k->text, "%lld,", (long long)a->ints[i]);
    for (int64_t i = 0; i < a->count && a->floats != NULL; i++)
        tm_text_add(&k->text, "%a,", a->floats[i]);
}

static void add_graph(key *k, const tm_graph *graph) {
    for (size_t i = 0; i < graph->inputs.count; i++)
        tm_text_add(&k->text, "(%zu)", value_number(k, graph->inputs.items[i]));
    for (const tm_node *n = graph->first; n != NULL; n = n->next) {
        tm_text_add(&k->text, ";%d", (int)n->op);
        const tm_op_info *info = tm_op_get(n->op);
        for (int i = 0; i < info->attribute_count; i++)
            add_attribute(k, &info->attributes[i], &n->attributes[i]);
        for (int i = 0; i < n->input_count; i++)
            tm_text_add(&k->text, " %zd",
                        n->inputs[i] == NULL ? (ssize_t)-1 : (ssize_t)value_number(k, n->inputs[i]));
        for (int i = 0; i < n->output_count; i++)
            tm_text_add(&k->text, " >%zd",
                        n->outputs[i] == NULL ? (ssize_t)-1 : (ssize_t)value_number(k, n->outputs[i]));
        for (int i = 0; i < tm_node_subgraph_count(n); i++) {
            tm_text_add(&k->text, "{");
            add_graph(k, tm_node_subgraph(n, i));
            tm_text_add(&k->text, "}");
        }
    }
    for (size_t i = 0; i < graph->outputs.count; i++)
        tm_text_add(&k->text, "!%zu", value_number(k, graph->outputs.items[i]));
}

static const char *make_key(tm_emit *e, const tm_node *node) {
    key k = {0};
    tm_text_init(&k.text, e->arena);
    k.product = strcmp(tm_node_string(node, "kind"), "contract") == 0 ||
                strcmp(tm_node_string(node, "kind"), "tiles") == 0;
    tm_text_add(&k.text, "%s ", tm_node_string(node, "kind"));
    for (int i = 0; i < node->input_count; i++)
        if (tm_value_is_constant(node->inputs[i])) {
            tm_text_add(&k.text, "c%dp%dt%d", i, node->inputs[i]->constant->panel,
                        (int)node->inputs[i]->constant->stored);
            add_bits(&k, node->inputs[i]->constant);
        }
    for (int i = 0; i < node->output_count; i++)
        if (tm_value_is_tiled(node->outputs[i]))
            tm_text_add(&k.text, tm_value_is_turned(node->outputs[i]) ? "u%d" : "t%d", i);
    add_graph(&k, tm_node_graph(node, "body"));
    for (const tm_node *n = tm_node_graph(node, "body")->first; n != NULL; n = n->next)
        if (tm_region_is_coarse(node, n))
            tm_text_add(&k.text, "~%d",
                        n->outputs[0]->id - tm_node_graph(node, "body")->first->outputs[0]->id);
    if (k.product)
        tm_contract_add_key(e, node, &k.text);
    return tm_text_get(&k.text);
}

/* ---- functions ---- */

static void level_attributes(tm_region *r, LLVMValueRef function) {
    LLVMAddTargetDependentFunctionAttr(function, "target-cpu", r->level->cpu);
    LLVMAddTargetDependentFunctionAttr(function, "target-features", r->level->features);
    if (r->level->vector_bits >= 512)
        LLVMAddTargetDependentFunctionAttr(function, "prefer-vector-width", "512");
    if (r->level->scalable) { /* in units of 128 bits: from, to */
        uint64_t parts = (uint64_t)r->level->vector_bits / 128;
        unsigned kind = LLVMGetEnumAttributeKindForName("vscale_range", 12);
        LLVMAddAttributeAtIndex(function, LLVMAttributeFunctionIndex,
                                LLVMCreateEnumAttribute(r->e->context, kind, parts << 32 | parts));
    }
    LLVMSetLinkage(function, LLVMInternalLinkage);
}

static LLVMValueRef begin_function(tm_region *r, const char *name, LLVMTypeRef type) {
    tm_emit *e = r->e;
    LLVMValueRef function = LLVMAddFunction(e->module, name, type);
    level_attributes(r, function);
    r->function = e->function = function;
    LLVMPositionBuilderAtEnd(e->builder, tm_emit_block(e, "entry"));
    r->point = tm_region_point_table(r);
    r->mask = NULL;
    (void)tm_emit_line(e, r->body->first);
    return function;
}

LLVMValueRef tm_region_function(tm_region *r, const char *name, LLVMTypeRef type) {
    LLVMValueRef function = begin_function(r, name, type), argument = LLVMGetParam(function, 0);
    r->run = tm_emit_load(r->e, r->e->ptr, argument, 0);
    r->call = tm_emit_load(r->e, r->e->ptr, argument, 8);
    return function;
}

static tm_code emit_body(tm_region *r, const tm_region_kind *kind, const char *name) {
    tm_emit *e = r->e;
    LLVMTypeRef type = LLVMFunctionType(e->i32, (LLVMTypeRef[]){e->ptr, e->i64, e->i64}, 3, 0);
    LLVMValueRef body = tm_region_function(r, name, type);
    TM_TRY(kind->body(r, LLVMGetParam(body, 1), LLVMGetParam(body, 2)));
    LLVMBuildRet(e->builder, tm_emit_i32(e, 0));
    return TM_OK;
}

/* Counts the units, picks the level's body, runs it. */
static tm_code emit_entry(tm_region *r, const tm_region_kind *kind, const char *name, LLVMValueRef *bodies,
                          int count) {
    tm_emit *e = r->e;
    LLVMValueRef function = begin_function(r, name, e->kernel_type), units, grain;
    LLVMSetLinkage(function, LLVMExternalLinkage); /* the driver calls it from another module */
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    tm_emit_mark_cold(e, function);
    r->run = LLVMGetParam(function, 0);
    r->call = LLVMGetParam(function, 1);
    TM_TRY(kind->count(r, &units, &grain));
    tm_ranges_clear(r);
    LLVMValueRef level = tm_emit_load(e, e->i32, r->run, TM_OFFSET(level)), body = bodies[0];
    for (int i = 1; i < count; i++) {
        LLVMValueRef reached = LLVMBuildICmp(e->builder, LLVMIntSGE, level, tm_emit_i32(e, i), "");
        body = LLVMBuildSelect(e->builder, reached, bodies[i], body, "");
    }
    LLVMBuildRet(e->builder, tm_emit_call(e, "tm_region_parallel", e->i32,
                                          (LLVMValueRef[]){r->run, r->call, units, grain, body}, 5));
    return TM_OK;
}

static void widen(const tm_value *value, int32_t *low, int32_t *high) {
    if (value == NULL)
        return;
    *low = value->id < *low ? value->id : *low;
    *high = value->id > *high ? value->id : *high;
}

/* The range of ids of all values that a body names; they were made together, so it is narrow. */
static void find_ids(const tm_graph *body, int32_t *low, int32_t *high) {
    for (size_t i = 0; i < body->inputs.count; i++)
        widen(body->inputs.items[i], low, high);
    for (size_t i = 0; i < body->outputs.count; i++)
        widen(body->outputs.items[i], low, high);
    for (const tm_node *node = body->first; node != NULL; node = node->next) {
        for (int i = 0; i < node->input_count; i++)
            widen(node->inputs[i], low, high);
        for (int i = 0; i < node->output_count; i++)
            widen(node->outputs[i], low, high);
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            find_ids(tm_node_subgraph(node, i), low, high);
    }
}

/* The lowest level whose code is that for level i: they differ only in what the region does not use. */
static int shared_level(const tm_emit *e, const tm_node *node, int i) {
    const tm_level *levels = e->options->target.levels;
    unsigned units = tm_region_units(node);
    int j = 0;
    while (((levels[j].units ^ levels[i].units) & units) != 0 ||
           levels[j].vector_bits != levels[i].vector_bits)
        j++;
    return j;
}

static tm_code emit_region(tm_emit *e, tm_node *node, const char *name) {
    const tm_region_kind *kind = NULL;
    const char *wanted = tm_node_string(node, "kind");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i]->name, wanted) == 0)
            kind = kinds[i];
    if (kind == NULL)
        return tm_report(e->diagnostics, TM_E_INTERNAL, NULL, NULL, "no region kind '%s'", wanted);
    LLVMValueRef bodies[TM_MOST_LEVELS] = {NULL};
    int32_t low = INT32_MAX, high = -1;
    find_ids(tm_node_graph(node, "body"), &low, &high);
    int count = e->options->target.level_count;
    tm_region r;
    for (int i = count - 1; i >= 0; i--) { /* ends at the lowest level, which the entry is compiled for */
        if (shared_level(e, node, i) != i)
            continue;
        r = (tm_region){.e = e,
                        .node = node,
                        .body = tm_node_graph(node, "body"),
                        .level = &e->options->target.levels[i],
                        .first_id = high < 0 ? 0 : low,
                        .id_count = high < 0 ? 0 : high - low + 1,
                        .fast = !e->options->strict_math};
        r.lanes = tm_level_lanes(r.level);
        const char *level_name = tm_arena_format(e->arena, "%s_%s", name, r.level->suffix);
        TM_TRY(emit_body(&r, kind, level_name));
        bodies[i] = LLVMGetNamedFunction(e->module, level_name);
    }
    for (int i = 0; i < count; i++)
        bodies[i] = bodies[shared_level(e, node, i)];
    return emit_entry(&r, kind, name, bodies, count);
}

/* With -g each region has functions of its own, named after its first node: what `perf report` shows. In a
 * map functions that regions share are named after the first of these. */
static const char *region_name(tm_emit *e, const tm_node *node, size_t number) {
    const tm_node *first = tm_node_graph(node, "body")->first;
    const char *name = tm_arena_format(e->arena, "tm_region_%zu_%s", number, tm_node_string(node, "kind"));
    bool named = e->options->symbols || e->options->map != NULL;
    if (!named || first == NULL || first->name == NULL)
        return name;
    return tm_arena_format(e->arena, "%s %s %s", name, tm_op_get(first->op)->name, first->name);
}

/* ---- modules ---- */

/* Instructions, before LLVM's passes, from which on a module is full. Fewer would not be worth its context.
 */
#define MODULE_INSTRUCTIONS 4000

typedef struct modules {
    tm_emit *driver;
    tm_emit open; /* what regions are emitted into */
    bool is_open;
    int64_t size;         /* instructions in it */
    LLVMValueRef counted; /* its last function that is part of that */
    tm_map known;
} modules;

static int64_t count_instructions(LLVMValueRef f) {
    int64_t count = 0;
    for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b != NULL; b = LLVMGetNextBasicBlock(b))
        for (LLVMValueRef i = LLVMGetFirstInstruction(b); i != NULL; i = LLVMGetNextInstruction(i))
            count++;
    return count;
}

static void open_module(modules *m) {
    if (m->driver->objects == NULL || m->is_open)
        return;
    m->open = *m->driver;
    tm_emit_open_module(&m->open);
    m->is_open = true;
    m->size = 0;
    m->counted = NULL;
}

static tm_code complete_module(modules *m) {
    if (!m->is_open)
        return TM_OK;
    m->is_open = false;
    return tm_emit_complete_module(&m->open);
}

static tm_code emit_into_module(modules *m, tm_node *node, const char *name) {
    open_module(m);
    if (!m->is_open)
        return emit_region(m->driver, node, name);
    TM_TRY(emit_region(&m->open, node, name));
    LLVMValueRef last = LLVMGetLastFunction(m->open.module);
    for (LLVMValueRef f = last; f != m->counted; f = LLVMGetPreviousFunction(f))
        m->size += count_instructions(f);
    m->counted = last;
    return m->size < MODULE_INSTRUCTIONS ? TM_OK : complete_module(m);
}

static tm_code emit_graph_regions(modules *m, tm_graph *graph) {
    tm_emit *e = m->driver;
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        if (node->op != TM_OP_Region) {
            for (int i = 0; i < tm_node_subgraph_count(node); i++)
                TM_TRY(emit_graph_regions(m, tm_node_subgraph(node, i)));
            continue;
        }
        const char *k = make_key(e, node);
        if (e->options->symbols)
            k = tm_arena_format(e->arena, "%s %zu", k, m->known.count);
        const char *name = tm_map_get(&m->known, k);
        if (name == NULL) {
            name = region_name(e, node, m->known.count);
            tm_map_set(&m->known, k, (void *)(uintptr_t)name); /* a map has one type for all values */
            TM_TRY(emit_into_module(m, node, name));
        }
        node->region = (void *)(uintptr_t)name;
    }
    return TM_OK;
}

tm_code tm_emit_regions(tm_emit *e) {
    modules m = {.driver = e};
    tm_map_init(&m.known, e->arena);
    TM_TRY(emit_graph_regions(&m, e->model->main));
    return complete_module(&m);
}
