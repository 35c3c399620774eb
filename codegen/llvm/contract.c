/* SPDX-License-Identifier: Apache-2.0
 *
 * contract.c: operands and epilogue of products; see contract.h.
 *
 * The epilogue is one loop over the rows and vectors of a tile, in a function of its own, called while the
 * sums are in the nearest cache. It is emitted once however many shapes of tiles a generator has. Were it
 * inside of the tile's loops, LLVM would load the constants of its polynomials in front of all of them and
 * spill the tile's sums instead: a Gelu more than doubles the time of the product then.
 */
#include "codegen/llvm/contract.h"

#include "ir/tiles.h"

#define MOST_LIGHT_NODES 9 /* the product's own among them */
#define LINE 16            /* floats of a cache line */

void tm_contract_add_key(const tm_emit *e, const tm_node *region, tm_text *text) {
    tm_scheduled scheduled = tm_scheduled_of(region);
    if (scheduled.shape.panel == 0 && !scheduled.units)
        tm_text_add(text, " k%lld", (long long)scheduled.shape.k);
    for (int i = 0; i < e->options->target.level_count; i++) {
        tm_schedule schedule =
            tm_schedule_get(e->options->schedules, &e->options->target.levels[i], &scheduled);
        tm_text_add(text, " ");
        tm_schedule_print(&schedule, text);
    }
}

void tm_contract_set_up(tm_region *r, tm_contract *c) {
    c->product = tm_region_product(r->node);
    c->shape = tm_product_shape_of(r->node);
    c->products = tm_region_product_count(r->node);
    c->a = tm_region_input_number(r->body, tm_outer_factor(c->product->inputs[0]));
    c->b = tm_region_input_number(r->body, tm_outer_factor(c->product->inputs[1]));
    const tm_value *a = r->node->inputs[c->a], *b = r->node->inputs[c->b];
    bool shared = tm_product_is_shared(b);
    int out = r->node->input_count; /* has the product's dims */
    c->matrices = shared ? tm_int(r, 1) : tm_operand_product(r, out, 0, r->node->outputs[0]->rank - 2);
    c->m = tm_operand_product(r, c->a, shared ? 0 : a->rank - 2, a->rank - 1);
    c->n = tm_operand_dim(r, c->b, b->rank - 1);
    /* With packed weights not a constant: layers of other depth share the code. */
    c->k = c->shape.panel > 0 ? tm_operand_dim_loaded(r, c->a, a->rank - 1)
                              : tm_operand_dim(r, c->a, a->rank - 1);
}

/* The first of a value's leading dims that walks, as an axis of `out`; -1: the value repeats over all.
 * `count` of the last dims are not looked at. */
static int first_walking(const tm_value *value, const tm_value *out, int count) {
    for (int i = 0; i + count < value->rank; i++)
        if (!tm_dim_is(value->dims[i], 1))
            return out->rank - value->rank + i;
    return -1;
}

/* `number` counts all leading dims of `out`; the same without those before `axis`. */
static LLVMValueRef within(tm_region *r, const tm_value *out, int axis, int count, LLVMValueRef number) {
    for (int i = 0; i < axis; i++)
        if (!tm_dim_is(out->dims[i], 1))
            return LLVMBuildURem(r->e->builder, number,
                                 tm_operand_product(r, r->node->input_count, axis, out->rank - count), "");
    return number;
}

/* Does the value walk along all leading dims of `out` from `axis` on? */
static bool walks_on(const tm_value *value, const tm_value *out, int axis) {
    for (int i = axis; i + 2 < out->rank; i++)
        if (tm_dim_is(value->dims[i - (out->rank - value->rank)], 1) && !tm_dim_is(out->dims[i], 1))
            return false;
    return true;
}

LLVMValueRef tm_contract_matrix(tm_region *r, int operand, LLVMValueRef number) {
    const tm_value *out = r->node->outputs[0], *value = r->node->inputs[operand];
    int axis = first_walking(value, out, 2);
    if (axis < 0)
        return tm_int(r, 0);
    if (walks_on(value, out, axis))
        return within(r, out, axis, 2, number);
    LLVMValueRef index = tm_int(r, 0), stride = tm_int(r, 1);
    for (int i = out->rank - 3; i >= axis; i--) {
        LLVMValueRef dim = tm_operand_dim(r, r->node->input_count, i);
        LLVMValueRef outer = LLVMBuildUDiv(r->e->builder, number, dim, "");
        if (!tm_dim_is(value->dims[i - (out->rank - value->rank)], 1)) {
            index = tm_add(r, index, tm_mul(r, tm_sub(r, number, tm_mul(r, outer, dim)), stride));
            stride = tm_mul(r, stride, dim);
        }
        number = outer;
    }
    return index;
}

const tm_node *tm_contract_start(const tm_region *r, const tm_contract *c, int *out_operand) {
    const tm_value *sum = c->product->outputs[0], *out = r->node->outputs[0];
    const tm_node *node = sum->uses.count == 1 ? sum->uses.items[0].node : NULL;
    if (node == NULL || node->op != TM_OP_Sub || node->inputs[0] != sum || sum->type != TAMIS_TYPE_INT32)
        return NULL;
    *out_operand = tm_region_input_number(r->body, node->inputs[1]);
    const tm_value *taken = *out_operand >= 0 ? r->node->inputs[*out_operand] : NULL;
    bool row = taken != NULL && taken->rank > 0 &&
               tm_dim_same(taken->dims[taken->rank - 1], out->dims[out->rank - 1]);
    for (int i = 0; row && i + 1 < taken->rank; i++)
        row = tm_dim_is(taken->dims[i], 1);
    return row ? node : NULL;
}

/* Operands of the epilogue walk along the last of the leading dims (all of them, some, or none) and repeat
 * over the first: bias[n], positions[seq, n] under [batch, seq, n], a full residual. Rows then count modulo a
 * period. */
static LLVMValueRef epilogue_index(tm_region *r, const tm_contract *c, const tm_value *value,
                                   bool *out_walks) {
    const tm_value *out = c->product->outputs[0];
    *out_walks = value->rank > 0 && !tm_dim_is(value->dims[value->rank - 1], 1);
    LLVMValueRef index = *out_walks ? c->column : tm_int(r, 0);
    int axis = first_walking(value, out, 1);
    if (axis < 0)
        return index;
    LLVMValueRef row = within(r, out, axis, 1, c->row);
    return tm_add(r, index, *out_walks ? tm_mul(r, row, c->n) : row);
}

static LLVMValueRef load(tm_region *r, int input) {
    const tm_contract *c = r->kind;
    const tm_value *value = r->node->inputs[input];
    bool walks;
    if (c->numbers != NULL && c->numbers[input] != NULL)
        return c->numbers[input];
    LLVMValueRef index = epilogue_index(r, c, value, &walks);
    return walks ? tm_load_vector(r, value->type, c->data[input], index)
                 : tm_load_splat(r, value->type, c->data[input], index);
}

void tm_contract_begin(tm_region *r, tm_contract *c) {
    r->kind = c;
    r->load = load;
    int operands = r->node->input_count + r->node->output_count;
    c->all = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, operands);
    for (int o = 0; o < operands; o++)
        c->all[o] = tm_operand_data(r, o);
    c->data = tm_arena_copy(r->e->arena, c->all, (size_t)operands * sizeof(*c->all));
}

/* The node of product `which` that stands for a node of the first one. */
static const tm_node *counterpart(const tm_region *r, const tm_contract *c, const tm_node *node, int which) {
    int count = 0, number = 0;
    const tm_node *found = r->body->first;
    for (const tm_node *n = r->body->first; n != NULL; n = n->next, count++)
        number = n == node ? count : number;
    for (int i = 0; i < number + which * (count / c->products); i++)
        found = found->next;
    return found;
}

/* Replaces the pointer of an operand of the first product by that of product `which`. */
static void select_operand(tm_region *r, tm_contract *c, int first, const int *others) {
    LLVMValueRef data = c->all[first];
    for (int p = 1; p < c->products; p++) {
        LLVMValueRef is = LLVMBuildICmp(r->e->builder, LLVMIntEQ, c->which, tm_int(r, p), "");
        if (others[p] != first)
            data = LLVMBuildSelect(r->e->builder, is, c->all[others[p]], data, "");
    }
    c->data[first] = data;
}

void tm_contract_select(tm_region *r, tm_contract *c, LLVMValueRef which) {
    c->which = which;
    int count = 0, others[TM_MOST_PRODUCTS];
    for (const tm_node *n = r->body->first; n != NULL; n = n->next)
        count++;
    const tm_node *node = r->body->first;
    for (int i = 0; i < count / c->products; i++, node = node->next)
        for (int k = 0; k < node->input_count; k++) {
            int first = node->inputs[k] != NULL ? tm_region_input_number(r->body, node->inputs[k]) : -1;
            for (int p = 1; p < c->products && first >= 0; p++)
                others[p] = tm_region_input_number(r->body, counterpart(r, c, node, p)->inputs[k]);
            if (first >= 0)
                select_operand(r, c, first, others);
        }
    for (int p = 1; p < c->products; p++)
        others[p] = r->node->input_count + p;
    select_operand(r, c, r->node->input_count, others);
}

LLVMValueRef tm_contract_compute(tm_region *r, tm_contract *c, LLVMValueRef sum, const tm_value *value) {
    tm_region_new_point(r);
    tm_region_set(r, c->product->outputs[0], sum);
    return tm_region_value(r, value);
}

static void store(tm_region *r, tm_contract *c, int output, LLVMValueRef value) {
    tamis_type type = r->node->outputs[output]->type;
    LLVMValueRef index = tm_value_is_tiled(r->node->outputs[output])
                             ? tm_tiled_index(r, type, c->row, c->column, c->n)
                             : tm_add(r, tm_mul(r, c->row, c->n), c->column);
    tm_store_vector(r, type, value, c->data[r->node->input_count + output], index);
}

void tm_contract_store_result(tm_region *r, tm_contract *c, LLVMValueRef result) {
    store(r, c, 0, result);
}

/* Has the operand a float for each element of the product? */
static bool is_full(const tm_region *r, const tm_contract *c, int operand) {
    const tm_value *out = r->node->outputs[0];
    const tm_value *value = operand < r->node->input_count ? r->node->inputs[operand] : out;
    if (operand == c->a || operand == c->b || value->type != TAMIS_TYPE_FLOAT || value->rank != out->rank)
        return false;
    for (int i = 0; i < out->rank; i++)
        if (value->dims[i] != out->dims[i])
            return false;
    return !tm_value_is_tiled(value);
}

void tm_contract_fetch(tm_region *r, const tm_contract *c, LLVMValueRef row, int rows, LLVMValueRef column,
                       int columns) {
    tm_loop loop = tm_loop_begin(r, tm_int(r, 0), tm_int(r, rows), 1);
    LLVMValueRef first = tm_add(r, tm_mul(r, tm_add(r, row, loop.index), c->n), column);
    for (int o = 0; o <= r->node->input_count; o++)
        for (int i = 0; i < columns && is_full(r, c, o); i += LINE)
            tm_prefetch(r, c->data[o], tm_add(r, first, tm_int(r, i)));
    tm_loop_end(r, &loop);
}

bool tm_contract_is_light(const tm_region *r) {
    int nodes = 0;
    for (const tm_node *n = r->body->first; n != NULL; n = n->next, nodes++)
        if (n->op == TM_OP_Gelu || n->op == TM_OP_Swish || n->op == TM_OP_Sigmoid || n->op == TM_OP_Tanh ||
            n->op == TM_OP_Erf || n->op == TM_OP_Exp || n->op == TM_OP_Log || n->op == TM_OP_Sin ||
            n->op == TM_OP_Cos)
            return false;
    return nodes <= MOST_LIGHT_NODES && r->node->output_count == 1;
}

static void finish_vector(tm_region *r, tm_contract *c, const tm_contract_tile *tile, LLVMValueRef tile_row,
                          LLVMValueRef offset) {
    tm_region_new_point(r);
    c->column = tm_add(r, tile->column, offset);
    bool whole = (tile->end == NULL || tile->end_is_whole) && LLVMIsConstant(c->n) &&
                 LLVMConstIntGetSExtValue(c->n) % r->lanes == 0;
    r->mask = NULL;
    LLVMValueRef at = tm_add(r, tm_mul(r, tile_row, tm_int(r, tile->stride)), offset);
    LLVMValueRef sum = tm_load_vector(r, c->product->outputs[0]->type, tile->sums, at);
    r->mask = whole ? NULL : tm_tail_mask(r, tm_sub(r, tile->end != NULL ? tile->end : c->n, c->column));
    tm_region_set(r, (c->start != NULL ? c->start : c->product)->outputs[0], sum);
    for (int o = 0; o < (c->products > 1 ? 1 : r->node->output_count); o++)
        if (tm_region_is_range(r, o))
            tm_ranges_add(r, &c->ranges, o);
        else
            store(r, c, o, tm_region_value(r, r->body->outputs.items[o]));
}

static void finish_rows(tm_region *r, tm_contract *c, const tm_contract_tile *tile) {
    LLVMValueRef end = tile->end != NULL ? tile->end : c->n;
    LLVMValueRef columns = tm_min(r, tm_int(r, tile->columns), tm_sub(r, end, tile->column));
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), tile->rows, 1);
    c->row = tm_add(r, tile->row, row.index);
    tm_loop vector = tm_loop_begin(r, tm_int(r, 0), columns, r->lanes);
    finish_vector(r, c, tile, row.index, vector.index);
    r->mask = NULL;
    tm_loop_end(r, &vector);
    tm_loop_end(r, &row);
}

void tm_contract_load_numbers(tm_region *r, tm_contract *c) {
    c->numbers = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, r->node->input_count);
    for (int i = 0; i < r->node->input_count; i++) {
        const tm_value *value = r->node->inputs[i];
        if (i != c->a && i != c->b && tm_region_is_number(value))
            c->numbers[i] = tm_load_splat(r, value->type, c->data[i], tm_int(r, 0));
    }
}

/* void finish(ptr run_and_call, ptr sums, i64 row, i64 rows, i64 column, i64 end[, i64 which or ptr ranges]).
 */
static void emit_finish(tm_region *r, tm_contract *c, const tm_contract_tile *tile, LLVMTypeRef type) {
    tm_emit *e = r->e;
    tm_region outer = *r;
    tm_contract inner = *c;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->builder);
    size_t length;
    const char *body = LLVMGetValueName2(r->function, &length);
    c->finish = tm_region_function(r, tm_arena_format(e->arena, "%.*s_finish", (int)length, body), type);
    c->finish_stride = tile->stride;
    c->finish_columns = tile->columns;
    if (inner.set_up != NULL)
        inner.set_up(r, &inner);
    else
        tm_contract_set_up(r, &inner);
    tm_contract_begin(r, &inner);
    if (c->products > 1)
        tm_contract_select(r, &inner, LLVMGetParam(c->finish, 6));
    tm_ranges task = {c->ranges.slots != NULL ? LLVMGetParam(c->finish, 6) : NULL};
    inner.ranges = tm_ranges_begin(r);
    if (task.slots != NULL)
        tm_ranges_copy(r, &task, &inner.ranges);
    tm_contract_load_numbers(r, &inner);
    tm_contract_tile own = {.sums = LLVMGetParam(c->finish, 1),
                            .stride = tile->stride,
                            .row = LLVMGetParam(c->finish, 2),
                            .rows = LLVMGetParam(c->finish, 3),
                            .column = LLVMGetParam(c->finish, 4),
                            .columns = tile->columns,
                            .end = tile->end != NULL ? LLVMGetParam(c->finish, 5) : NULL,
                            .end_is_whole = tile->end_is_whole};
    finish_rows(r, &inner, &own);
    if (task.slots != NULL)
        tm_ranges_copy(r, &inner.ranges, &task);
    LLVMBuildRetVoid(e->builder);
    *r = outer;
    e->function = r->function;
    LLVMPositionBuilderAtEnd(e->builder, here);
}

void tm_contract_finish(tm_region *r, tm_contract *c, const tm_contract_tile *tile) {
    tm_emit *e = r->e;
    LLVMValueRef last = c->ranges.slots != NULL ? c->ranges.slots : c->which;
    unsigned count = last != NULL ? 7 : 6;
    LLVMTypeRef types[7] = {
        e->ptr, e->ptr, e->i64, e->i64, e->i64, e->i64, last != NULL ? LLVMTypeOf(last) : NULL};
    LLVMTypeRef type = LLVMFunctionType(e->void_type, types, count, 0);
    if (c->finish == NULL || c->finish_stride != tile->stride || c->finish_columns != tile->columns)
        emit_finish(r, c, tile, type);
    LLVMBuildCall2(e->builder, type, c->finish,
                   (LLVMValueRef[]){LLVMGetParam(r->function, 0), tile->sums, tile->row, tile->rows,
                                    tile->column, tile->end != NULL ? tile->end : c->n, last},
                   count, "");
}
