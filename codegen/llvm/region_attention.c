/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention.c: scaled dot-product attention in one tile loop.
 *
 *     Y[b, h, q, :] = sum over k of softmax_k(scale * Q[b, h, q, :] . K[b, h, k, :] + mask[b, h, q, k]) V[b,
 * h, k, :]
 *
 * The lanes of all vectors are queries. A unit is one head and up to 32 queries, taken `width` at a time:
 * their rows of Q are turned once (support_attention.c), and then nothing is: numbers of K and V are read
 * where they lie and spread over the lanes,
 *
 *     score[key][lanes]  = sum over d of K[key][d] * turned Q[d][lanes]      `block` keys in registers
 *     weight[key][lanes] = exp(score - shift)
 *     mixed[d][lanes]   += V[key][d] * weight[key][lanes]                    `columns` of V in registers
 *
 * so maxima and sums of the softmax are per lane, no head size leaves lanes empty, and tails exist only
 * beyond the last query. Where a head has whole vectors of columns of V, these are in the lanes of the second
 * product instead (region_attention_mix.c). Keys come in tiles, with an online softmax between them
 * (region_attention_softmax.c), so no buffer grows with the square of the length.
 *
 * A single query has a loop of its own (region_attention_one.c).
 *
 * Inputs: Q, K, V [batch, heads, length, size] or [batch, length, heads * size], optional mask (bool or f32,
 * broadcast). Queries of one group share the K and V head.
 */
#include "codegen/llvm/region_attention.h"

#include <math.h>
#include <string.h>

#define QUERIES TM_ATTENTION_QUERIES
#define BLOCK TM_ATTENTION_KEYS
#define HIDDEN -0x1p29 /* what a mask adds to a key that is not to be seen, or less */

static const tm_value *operand(const tm_region *r, const tm_attention *a, int i) {
    return r->node->inputs[a->inputs[i]];
}

static int64_t head_count(const tm_attention *a, const tm_value *value, const char *attribute) {
    return value->rank == 4 ? value->dims[1]->constant : tm_node_int(a->node, attribute);
}

void tm_attention_set_up(tm_region *r, tm_attention *a) {
    a->node = r->body->last;
    while (a->node->op != TM_OP_Attention) /* its result is quantised */
        a->node = a->node->previous;
    for (int i = 0; i < 4; i++) {
        const tm_value *value = i < a->node->input_count ? a->node->inputs[i] : NULL;
        if (value != NULL && value->producer != NULL) /* DequantizeLinear */
            value = value->producer->inputs[0];
        a->inputs[i] = value != NULL ? tm_region_input_number(r->body, value) : -1;
    }
    const tm_value *q = operand(r, a, 0), *v = operand(r, a, 2);
    a->heads = head_count(a, q, "q_num_heads");
    a->kv_heads = head_count(a, operand(r, a, 1), "kv_num_heads");
    a->size = q->rank == 4 ? q->dims[3]->constant : q->dims[2]->constant / a->heads;
    a->value_size = v->rank == 4 ? v->dims[3]->constant : v->dims[2]->constant / a->kv_heads;
    a->causal = tm_node_int(a->node, "is_causal") != 0;
    double scale = tm_node_float(a->node, "scale");
    a->scale = isnan(scale) ? 1 / sqrt((double)a->size) : scale;
    a->queries = tm_operand_dim(r, a->inputs[0], q->rank - 2);
    a->keys = tm_operand_dim(r, a->inputs[1], operand(r, a, 1)->rank - 2);
}

static void set_up(tm_region *r, tm_attention *a) {
    tm_attention_set_up(r, a);
    tm_attention_schedule(r, a);
}

/* Both layouts have the length before last: [b, h, length, size], [b, length, h * size]. */
int64_t tm_attention_row_stride(const tm_region *r, const tm_attention *a, int i) {
    int64_t size = i < 2 ? a->size : a->value_size, heads = i == 1 || i == 2 ? a->kv_heads : a->heads;
    int rank = i == 3 ? r->node->outputs[0]->rank : operand(r, a, i)->rank;
    return rank == 4 ? size : heads * size;
}

LLVMValueRef tm_attention_row(tm_region *r, const tm_attention *a, int i, LLVMValueRef row) {
    int64_t size = i < 2 ? a->size : a->value_size;
    bool of_keys = i == 1 || i == 2;
    int64_t heads = of_keys ? a->kv_heads : a->heads;
    LLVMValueRef length = of_keys ? a->keys : a->queries, head = of_keys ? a->kv_head : a->head;
    int rank = i == 3 ? r->node->outputs[0]->rank : operand(r, a, i)->rank;
    if (rank == 4) {
        LLVMValueRef plane = tm_add(r, tm_mul(r, a->batch, tm_int(r, heads)), head);
        return tm_mul(r, tm_add(r, tm_mul(r, plane, length), row), tm_int(r, size));
    }
    LLVMValueRef line = tm_add(r, tm_mul(r, a->batch, length), row);
    return tm_mul(r, tm_add(r, tm_mul(r, line, tm_int(r, heads)), head), tm_int(r, size));
}

/* Vector j of row `row` in a buffer whose rows are `width` floats. */
static LLVMValueRef place(tm_region *r, const tm_attention *a, LLVMValueRef row, int j) {
    return tm_add(r, tm_mul(r, row, tm_int(r, a->width)), tm_int(r, (int64_t)j * r->lanes));
}

LLVMValueRef tm_attention_get(tm_region *r, const tm_attention *a, LLVMValueRef buffer, LLVMValueRef row,
                              int j) {
    return tm_load_vector(r, TAMIS_TYPE_FLOAT, buffer, place(r, a, row, j));
}

void tm_attention_put(tm_region *r, const tm_attention *a, LLVMValueRef value, LLVMValueRef buffer,
                      LLVMValueRef row, int j) {
    tm_store_vector(r, TAMIS_TYPE_FLOAT, value, buffer, place(r, a, row, j));
}

/* A loop that runs twice if it has to. With fast math a tile is left out when its mask is HIDDEN or less for
 * all queries at hand, as exporters fill it with -1e9 or the lowest number: beside any other key these weigh
 * nothing. A query that sees no other key, however, sees all of these alike; when there is one, all is done
 * again without leaving tiles out. */
typedef struct attempts {
    tm_loop loop;
    LLVMBasicBlockRef after;
    LLVMValueRef wanted; /* slot: another one is */
} attempts;

static attempts begin_attempts(tm_region *r, tm_attention *a) {
    LLVMBuilderRef b = r->e->builder;
    attempts t = {0};
    a->least = LLVMConstReal(r->e->f32, a->single ? NAN : -INFINITY);
    if (!r->fast || a->single || a->inputs[3] < 0 || operand(r, a, 3)->type != TAMIS_TYPE_FLOAT)
        return t;
    t.wanted = tm_region_alloca(r, r->e->i1, 1, 1);
    a->skipped = tm_region_alloca(r, r->e->i1, 1, 1);
    LLVMBuildStore(b, LLVMConstInt(r->e->i1, 1, 0), t.wanted);
    t.loop = tm_loop_begin(r, tm_int(r, 0), tm_int(r, 2), 1);
    t.after = tm_if_begin(r, LLVMBuildLoad2(b, r->e->i1, t.wanted, ""));
    LLVMValueRef again = LLVMBuildICmp(b, LLVMIntNE, t.loop.index, tm_int(r, 0), "");
    a->least = LLVMBuildSelect(b, again, a->least, LLVMConstReal(r->e->f32, HIDDEN), "");
    LLVMBuildStore(b, LLVMConstInt(r->e->i1, 0, 0), a->skipped);
    LLVMBuildStore(b, LLVMConstInt(r->e->i1, 0, 0), t.wanted);
    return t;
}

/* Is there one among the queries at hand that saw no other key? */
static void check_attempt(tm_region *r, const tm_attention *a, const attempts *t) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef bits = LLVMIntTypeInContext(r->e->context, (unsigned)r->lanes);
    if (t->wanted == NULL)
        return;
    LLVMValueRef any = LLVMBuildLoad2(b, r->e->i1, t->wanted, "");
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef none =
            LLVMBuildFCmp(b, LLVMRealULE, tm_held(r, a->maximum[j]), tm_splat_f32(r, HIDDEN / 2), "");
        none = LLVMBuildICmp(b, LLVMIntNE, LLVMBuildBitCast(b, none, bits, ""), LLVMConstNull(bits), "");
        any = LLVMBuildOr(b, any, LLVMBuildAnd(b, none, LLVMBuildLoad2(b, r->e->i1, a->skipped, ""), ""), "");
    }
    LLVMBuildStore(b, any, t->wanted);
}

static void end_attempts(tm_region *r, attempts *t) {
    if (t->wanted == NULL)
        return;
    tm_if_end(r, t->after);
    tm_loop_end(r, &t->loop);
}

void tm_attention_choose_queries(tm_region *r, tm_attention *a, LLVMValueRef part) {
    LLVMBuilderRef b = r->e->builder;
    a->query = tm_add(r, a->first_query, part);
    a->lanes = tm_min(r, tm_int(r, a->width), tm_sub(r, a->query_count, part));
    LLVMValueRef last = tm_sub(r, tm_add(r, a->query, a->lanes), tm_int(r, 1));
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef lane[64];
        for (int i = 0; i < r->lanes; i++)
            lane[i] = LLVMBuildTrunc(
                b, tm_min(r, tm_add(r, a->query, tm_int(r, (int64_t)j * r->lanes + i)), last), r->e->i32, "");
        LLVMValueRef numbers = LLVMGetPoison(LLVMVectorType(r->e->i32, (unsigned)r->lanes));
        for (int i = 0; a->causal && i < r->lanes; i++)
            numbers = LLVMBuildInsertElement(b, numbers, lane[i], tm_emit_i32(r->e, i), "");
        a->number[j] = numbers;
    }
}

/* They saw no key yet. */
static void begin_queries(tm_region *r, tm_attention *a) {
    for (int j = 0; j < a->vectors; j++) {
        a->maximum[j] = tm_slot(r, tm_splat_f32(r, -INFINITY));
        a->sum[j] = tm_slot(r, tm_splat_f32(r, 0));
        for (int64_t d = 0; a->fused && d < a->value_size; d++)
            a->sums[d][j] = tm_slot(r, tm_splat_f32(r, 0));
    }
}

/* The answers so far: nothing. */
static void clear(tm_region *r, const tm_attention *a) {
    if (a->fused || a->single)
        return;
    if (a->rows > 0) {
        tm_attention_clear_rows(r, a);
        return;
    }
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->value_size), 1);
    for (int j = 0; j < a->vectors; j++)
        tm_attention_put(r, a, tm_splat_f32(r, 0), a->mixed, d.index, j);
    tm_loop_end(r, &d);
}

static int64_t unit_queries(const tm_region *r, const tm_attention *a) {
    return (int64_t)QUERIES * tm_attention_groups(r, a);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    tm_attention a = {0};
    set_up(r, &a);
    LLVMValueRef batch = tm_operand_dim(r, a.inputs[0], 0);
    int64_t queries = unit_queries(r, &a);
    LLVMValueRef shared = tm_attention_shared_heads(r, &a);
    LLVMValueRef planes = LLVMBuildUDiv(r->e->builder, tm_int(r, a.heads), shared, "");
    *out_units = tm_mul(r, tm_mul(r, batch, planes), tm_ceildiv(r, a.queries, queries));
    LLVMValueRef work = tm_mul(r, a.keys, tm_int(r, (a.size + a.value_size + 16) * queries));
    work = tm_max(r, tm_mul(r, work, shared), tm_int(r, 1));
    *out_grain = tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, 400000), work, ""), tm_int(r, 1));
    return TM_OK;
}

/* Keys behind the last one that the queries at hand may see. */
static LLVMValueRef end_of_keys(tm_region *r, const tm_attention *a) {
    return a->causal ? tm_min(r, a->keys, tm_add(r, a->query, a->lanes)) : a->keys;
}

/* The queries at hand and all keys, a tile at a time. */
static void all_keys(tm_region *r, tm_attention *a) {
    LLVMValueRef end = end_of_keys(r, a);
    clear(r, a);
    if (a->single) {
        tm_attention_tile(r, a, tm_int(r, 0), end);
        return;
    }
    tm_loop keys = tm_loop_begin(r, tm_int(r, 0), end, a->tile);
    tm_attention_tile(r, a, keys.index, end);
    tm_loop_end(r, &keys);
}

/* Queries of a unit from number `part` on. */
static void some_queries(tm_region *r, tm_attention *a, LLVMValueRef part) {
    tm_attention_choose_queries(r, a, part);
    tm_attention_turn_columns(r, a, 0);
    for (int d = 0; a->size <= TM_ATTENTION_UNROLLED && d < a->size; d++)
        for (int j = 0; j < a->vectors; j++)
            a->q[d][j] = tm_attention_get(r, a, a->turned, tm_int(r, d), j);
    attempts t = begin_attempts(r, a);
    begin_queries(r, a);
    all_keys(r, a);
    check_attempt(r, a, &t);
    end_attempts(r, &t);
    tm_attention_finish(r, a);
}

/* All queries of a unit, `width` at a time; few that are left in their own way, if there is one. */
static void unit(tm_region *r, tm_attention *a, tm_attention *narrow) {
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    if (narrow == NULL) {
        some_queries(r, a, part.index);
        tm_loop_end(r, &part);
        return;
    }
    LLVMValueRef few = tm_less(r, tm_sub(r, a->query_count, part.index), tm_int(r, narrow->width + 1));
    LLVMBasicBlockRef after = tm_if_begin(r, few);
    some_queries(r, narrow, part.index);
    tm_if_end(r, after);
    after = tm_if_begin(r, LLVMBuildNot(r->e->builder, few, ""));
    some_queries(r, a, part.index);
    tm_if_end(r, after);
    tm_loop_end(r, &part);
}

/* Maxima and sums of the queries at hand, from number `part` of the unit on, back to where they wait. */
static void leave_queries(tm_region *r, const tm_attention *a, LLVMValueRef part) {
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef at = tm_add(r, part, tm_int(r, (int64_t)j * r->lanes));
        tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_held(r, a->maximum[j]), a->maxima, at);
        tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_held(r, a->sum[j]), a->totals, at);
    }
}

static void resume_queries(tm_region *r, tm_attention *a, LLVMValueRef part) {
    tm_attention_choose_queries(r, a, part);
    begin_queries(r, a);
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef at = tm_add(r, part, tm_int(r, (int64_t)j * r->lanes));
        LLVMBuildStore(r->e->builder, tm_load_vector(r, TAMIS_TYPE_FLOAT, a->maxima, at), a->maximum[j]);
        LLVMBuildStore(r->e->builder, tm_load_vector(r, TAMIS_TYPE_FLOAT, a->totals, at), a->sum[j]);
    }
}

/* The same with all queries of the unit going through a tile of keys before the next one. */
static void all_keys_by_tiles(tm_region *r, tm_attention *a) {
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    tm_attention_choose_queries(r, a, part.index);
    begin_queries(r, a);
    clear(r, a);
    leave_queries(r, a, part.index);
    tm_loop_end(r, &part);
    a->query = a->first_query;
    a->lanes = a->query_count;
    tm_loop keys = tm_loop_begin(r, tm_int(r, 0), end_of_keys(r, a), a->tile);
    part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    resume_queries(r, a, part.index);
    LLVMValueRef end = end_of_keys(r, a);
    LLVMBasicBlockRef seen = a->causal ? tm_if_begin(r, tm_less(r, keys.index, end)) : NULL;
    tm_attention_tile(r, a, keys.index, end);
    leave_queries(r, a, part.index);
    if (seen != NULL)
        tm_if_end(r, seen);
    tm_loop_end(r, &part);
    tm_loop_end(r, &keys);
}

static void unit_by_tiles(tm_region *r, tm_attention *a) {
    a->maxima = tm_region_alloca(r, r->e->f32, unit_queries(r, a), 64);
    a->totals = tm_region_alloca(r, r->e->f32, unit_queries(r, a), 64);
    attempts t = begin_attempts(r, a);
    all_keys_by_tiles(r, a);
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    resume_queries(r, a, part.index);
    check_attempt(r, a, &t);
    tm_loop_end(r, &part);
    end_attempts(r, &t);
    part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    resume_queries(r, a, part.index);
    tm_attention_finish(r, a);
    tm_loop_end(r, &part);
}

/* Gives the buffers their places behind each other, from `base` on; their bytes. */
static int64_t place_buffers(tm_region *r, tm_attention *a, LLVMValueRef base) {
    int64_t turned = (int64_t)a->chunk * a->width * 4,
            packed = a->packs ? tm_attention_packed_bytes(r, a) : 0;
    bool shared = a->by_tiles && packed > 0; /* Q is turned again when packed columns are not read any more */
    struct {
        LLVMValueRef *buffer;
        int64_t bytes;
    } all[] = {{&a->turned, shared && packed > turned ? packed : turned},
               {&a->packed, shared ? 0 : packed},
               {&a->scores, (int64_t)(a->tile + BLOCK) * a->width * 4},
               {&a->factors, a->rows > 0 ? a->width * 4 : 0},
               {&a->mixed, a->rows > 0 ? 0 : a->value_size * a->width * 4},
               {&a->list, (int64_t)a->tile * 8}};
    int64_t bytes = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        LLVMValueRef at = tm_int(r, bytes);
        if (base != NULL)
            *all[i].buffer = LLVMBuildInBoundsGEP2(r->e->builder, r->e->i8, base, &at, 1, "");
        bytes += (all[i].bytes + 63) / 64 * 64;
    }
    if (shared)
        a->packed = a->turned;
    return bytes;
}

/* The heads of the unit, one after the other. */
static void heads(tm_region *r, tm_attention *a, LLVMValueRef shared) {
    tm_attention narrow;
    bool has_narrow = tm_attention_narrow(r, a, &narrow);
    int64_t bytes = place_buffers(r, a, NULL), own = has_narrow ? place_buffers(r, &narrow, NULL) : 0;
    LLVMValueRef base = tm_region_alloca(r, r->e->i8, bytes > own ? bytes : own, 64);
    place_buffers(r, a, base);
    tm_loop head = tm_loop_begin(r, a->head, tm_add(r, a->head, shared), 1);
    tm_attention of_head = *a;
    of_head.head = head.index;
    tm_attention_set_mask(r, &of_head);
    if (has_narrow) {
        tm_attention_narrow(r, &of_head, &narrow);
        place_buffers(r, &narrow, base);
    }
    if (!of_head.by_tiles) {
        unit(r, &of_head, has_narrow ? &narrow : NULL);
        tm_loop_end(r, &head);
        return;
    }
    LLVMValueRef many = tm_less(r, tm_int(r, has_narrow ? narrow.width : 0), a->query_count);
    LLVMBasicBlockRef after = tm_if_begin(r, many);
    unit_by_tiles(r, &of_head);
    tm_if_end(r, after);
    if (has_narrow) {
        after = tm_if_begin(r, LLVMBuildNot(r->e->builder, many, ""));
        unit(r, &narrow, NULL);
        tm_if_end(r, after);
    }
    tm_loop_end(r, &head);
}

/* The unit at hand: the heads from the current one on that share K and V. */
static void heads_together(tm_region *r, tm_attention *a, LLVMValueRef shared) {
    LLVMValueRef is_one = tm_attention_is_one(r, a);
    int64_t known = is_one == NULL ? 0 : LLVMIsConstant(is_one) ? 1 : -1;
    LLVMBasicBlockRef after = NULL;
    if (known == -1)
        after = tm_if_begin(r, is_one);
    if (known != 0)
        tm_attention_one(r, a);
    if (known == -1) {
        tm_if_end(r, after);
        after = tm_if_begin(r, LLVMBuildNot(r->e->builder, is_one, ""));
    }
    if (known != 1)
        heads(r, a, shared);
    if (known == -1)
        tm_if_end(r, after);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    tm_attention a = {0};
    LLVMBuilderRef b = r->e->builder;
    set_up(r, &a);
    for (int i = 0; i < 4; i++)
        a.data[i] = a.inputs[i] >= 0 ? tm_operand_data(r, a.inputs[i]) : NULL;
    a.out = tm_operand_data(r, r->node->input_count);
    int64_t queries = unit_queries(r, &a);
    LLVMValueRef shared = tm_attention_shared_heads(r, &a);
    LLVMValueRef blocks = tm_ceildiv(r, a.queries, queries);
    tm_loop units = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef plane = LLVMBuildUDiv(b, units.index, blocks, "");
    a.first_query = tm_mul(r, tm_sub(r, units.index, tm_mul(r, plane, blocks)), tm_int(r, queries));
    a.query_count = tm_min(r, tm_int(r, queries), tm_sub(r, a.queries, a.first_query));
    LLVMValueRef planes = LLVMBuildUDiv(b, tm_int(r, a.heads), shared, "");
    a.batch = LLVMBuildUDiv(b, plane, planes, "");
    a.head = tm_mul(r, tm_sub(r, plane, tm_mul(r, a.batch, planes)), shared);
    a.kv_head = LLVMBuildUDiv(b, a.head, tm_int(r, a.heads / a.kv_heads), "");
    heads_together(r, &a, shared);
    tm_loop_end(r, &units);
    return TM_OK;
}

const tm_region_kind tm_region_kind_attention = {"attention", count, body};
