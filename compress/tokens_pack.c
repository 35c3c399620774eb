/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens_pack.c: the rewrite to packed tokens, see tokens.h.
 *
 * A walk in the graph's order makes twins of values whose first dims count tokens: the same rows, of real
 * tokens only. It begins where rows are looked up in a table or multiplied by weights, and goes on through
 * what treats each row alone: elementwise operators, products by matrices that all tokens share, norms,
 * reductions and moves within a row. Behind the walk, what has a twin and is still read by others (Transpose
 * of heads, attention, pools over tokens, outputs, bodies) is made of the twin again:
 *
 *     %y: f32[batch, length, 8] = Add(%x, %b)         %y' = Add(%x', %b)
 *     %t = Transpose(%y) {perm = [1, 0, 2]}     ->    %y = Where(%real, Gather(%y', %places), 0)
 *                                                     %t = Transpose(%y) {perm = [1, 0, 2]}
 *
 * Zero at padding is what a pool behind a product with the mask must see. Queries, keys and values of
 * attention may see anything, which saves a pass over each.
 */
#include "compress/tokens_internal.h"

#include "ir/infer.h"
#include "passes/match.h"
#include "passes/rewrite.h"

typedef struct packer {
    tm_model *model;
    const tm_tokens_place *place;
    tm_token_rows rows;
    bool started;
    tm_value **twins; /* by id, of values that were there before the walk */
    int32_t twin_count;
    TM_VECTOR(tm_node *) replaced;
    tm_tokens_report *report;
} packer;

static tm_value *twin_of(const packer *p, const tm_value *value) {
    return value != NULL && value->id < p->twin_count ? p->twins[value->id] : NULL;
}

static int lead_of(const packer *p, const tm_value *value) {
    return value != NULL && value->kind == TAMIS_KIND_TENSOR ? tm_tokens_lead(p->place, value) : 0;
}

static tm_code start(packer *p, tm_node *before) {
    if (p->started)
        return TM_OK;
    p->started = true;
    return tm_token_rows_make(before, p->place, &p->rows);
}

/* The twin, made before `before` if there is none. */
static tm_code need_twin(packer *p, tm_node *before, tm_value *value, tm_value **out) {
    *out = twin_of(p, value);
    if (*out != NULL)
        return TM_OK;
    TM_TRY(start(p, before));
    TM_TRY(tm_token_rows_pack(before, &p->rows, value, out));
    if (value->id < p->twin_count)
        p->twins[value->id] = *out;
    return TM_OK;
}

/* `copy` of `node`, without outputs yet, takes its place. */
static tm_code finish(packer *p, tm_node *node, tm_node *copy) {
    copy->file_index = node->file_index;
    copy->file_path = node->file_path;
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            p->twins[node->outputs[i]->id] = tm_node_add_output(copy, NULL);
        else
            tm_node_add_omitted_output(copy);
    tm_push(p->model->arena, &p->replaced, node);
    p->report->nodes++;
    return tm_infer_node(p->model, copy);
}

static tm_node *copy_of(tm_node *node, tm_value *const *inputs) {
    return tm_rewrite_copy(node->graph, node, node, node->input_count, inputs);
}

/* An axis behind the tokens, as one of the twin; -1: it is not. */
static int inner_axis(int64_t axis, int rank, int lead) {
    axis += axis < 0 ? rank : 0;
    return axis >= lead && axis < rank ? (int)axis - lead + 1 : -1;
}

/* ---- rules: each sets *out_done if it made twins of what the node makes ---- */

static bool lead_is(const packer *p, const tm_node *node, int lead) {
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL && lead_of(p, node->outputs[i]) != lead)
            return false;
    return lead > 0;
}

static tm_code pack_elementwise(packer *p, tm_node *node, bool *out_done) {
    const tm_value *y = node->outputs[0];
    const int lead = lead_of(p, y);
    tm_value *inputs[TAMIS_MAX_RANK];
    if (lead == 0 || node->input_count > TAMIS_MAX_RANK)
        return TM_OK;
    for (int i = 0; i < node->input_count; i++) {
        tm_value *x = node->inputs[i];
        inputs[i] = twin_of(p, x);
        if (x == NULL)
            continue;
        if (inputs[i] != NULL && (x->rank != y->rank || lead_of(p, x) != lead))
            return TM_OK;
        if (inputs[i] == NULL)
            TM_TRY(tm_token_rows_operand(node, &p->rows, x, y->rank, lead, &inputs[i]));
        if (inputs[i] == NULL)
            return TM_OK;
    }
    *out_done = true;
    return finish(p, node, copy_of(node, inputs));
}

static tm_code pack_view(packer *p, tm_node *node, bool *out_done) {
    tm_value *x = twin_of(p, node->inputs[0]), *y = node->outputs[0];
    const int lead = lead_of(p, y);
    tm_dim dims[TAMIS_MAX_RANK] = {p->rows.count};
    if (lead == 0)
        return TM_OK;
    for (int i = lead; i < y->rank; i++)
        dims[i - lead + 1] = y->dims[i];
    p->twins[y->id] = tm_match_view(node, x, y->rank - lead + 1, dims);
    tm_push(p->model->arena, &p->replaced, node);
    *out_done = true;
    return TM_OK;
}

static tm_code pack_transpose(packer *p, tm_node *node, bool *out_done) {
    const int rank = node->inputs[0]->rank, lead = lead_of(p, node->inputs[0]);
    int64_t perm[TAMIS_MAX_RANK], ours[TAMIS_MAX_RANK] = {0};
    tm_rewrite_permutation(node, perm);
    for (int i = 0; i < lead; i++)
        if (perm[i] != i)
            return TM_OK;
    for (int i = lead; i < rank; i++)
        ours[i - lead + 1] = perm[i] - lead + 1;
    tm_value *x = twin_of(p, node->inputs[0]);
    tm_node *copy = copy_of(node, &x);
    tm_node_set_ints(copy, "perm", ours, rank - lead + 1);
    *out_done = true;
    return finish(p, node, copy);
}

/* Rows by a matrix that all tokens share. Those by constant weights are worth packing their input for. */
static tm_code pack_product(packer *p, tm_node *node, bool *out_done) {
    tm_value *x = node->inputs[0], *w = node->inputs[1], *inputs[3] = {NULL};
    const int lead = lead_of(p, x);
    bool gemm = node->op == TM_OP_Gemm;
    if (lead == 0 || x->rank <= lead || w->rank > 2 || twin_of(p, w) != NULL || !lead_is(p, node, lead) ||
        (twin_of(p, x) == NULL && w->constant == NULL) || (gemm && tm_node_int(node, "transA") != 0))
        return TM_OK;
    TM_TRY(start(p, node));
    inputs[1] = w;
    if (gemm && node->input_count > 2 && node->inputs[2] != NULL) {
        inputs[2] = twin_of(p, node->inputs[2]);
        if (inputs[2] == NULL)
            TM_TRY(tm_token_rows_operand(node, &p->rows, node->inputs[2], 2, lead, &inputs[2]));
        if (inputs[2] == NULL)
            return TM_OK;
    }
    TM_TRY(need_twin(p, node, x, &inputs[0]));
    p->report->packed += w->constant != NULL;
    *out_done = true;
    return finish(p, node, copy_of(node, inputs));
}

/* Rows of a table. */
static tm_code pack_lookup(packer *p, tm_node *node, bool *out_done) {
    tm_value *inputs[2] = {node->inputs[0], NULL};
    if (node->inputs[0]->rank < 1 || !lead_is(p, node, lead_of(p, node->inputs[1])))
        return TM_OK;
    TM_TRY(need_twin(p, node, node->inputs[1], &inputs[1]));
    *out_done = true;
    return finish(p, node, copy_of(node, inputs));
}

/* Norms and other operators along one axis of a row, or from one on; further inputs lie behind it. */
static tm_code pack_along_axis(packer *p, tm_node *node, bool *out_done) {
    const tm_value *x = node->inputs[0];
    const int lead = lead_of(p, x), axis = inner_axis(tm_node_int(node, "axis"), x->rank, lead);
    tm_value *inputs[3] = {twin_of(p, node->inputs[0])};
    if (axis < 0 || !lead_is(p, node, lead) || node->input_count > 3)
        return TM_OK;
    for (int i = 1; i < node->input_count; i++) {
        inputs[i] = node->inputs[i];
        if (inputs[i] != NULL &&
            (twin_of(p, inputs[i]) != NULL || (node->op != TM_OP_Gather && inputs[i]->rank > x->rank - lead)))
            return TM_OK;
    }
    tm_node *copy = copy_of(node, inputs);
    tm_node_set_int(copy, "axis", axis);
    *out_done = true;
    return finish(p, node, copy);
}

static tm_code pack_concat(packer *p, tm_node *node, bool *out_done) {
    const tm_value *y = node->outputs[0];
    const int lead = lead_of(p, y), axis = inner_axis(tm_node_int(node, "axis"), y->rank, lead);
    if (axis < 0 || lead == 0)
        return TM_OK;
    for (int i = 0; i < node->input_count; i++)
        if (lead_of(p, node->inputs[i]) != lead)
            return TM_OK;
    tm_value **inputs = TM_NEW_ARRAY(p->model->arena, tm_value *, node->input_count);
    for (int i = 0; i < node->input_count; i++)
        TM_TRY(need_twin(p, node, node->inputs[i], &inputs[i]));
    tm_node *copy = copy_of(node, inputs);
    tm_node_set_int(copy, "axis", axis);
    *out_done = true;
    return finish(p, node, copy);
}

/* Reductions and Slice: axes are an input. */
static tm_code pack_by_axes(packer *p, tm_node *node, int axes_input, bool *out_done) {
    const tm_value *x = node->inputs[0];
    const int lead = lead_of(p, x);
    int64_t axes[TAMIS_MAX_RANK];
    int count;
    tm_value *inputs[5] = {twin_of(p, node->inputs[0])};
    if (node->input_count <= axes_input || node->inputs[axes_input] == NULL ||
        !tm_match_ints(node->inputs[axes_input], axes, &count) || count == 0 || !lead_is(p, node, lead))
        return TM_OK;
    for (int i = 0; i < count; i++)
        if ((axes[i] = inner_axis(axes[i], x->rank, lead)) < 0)
            return TM_OK;
    for (int i = 1; i < node->input_count; i++)
        inputs[i] = node->inputs[i];
    inputs[axes_input] = tm_tokens_integers(node->graph, count, axes);
    *out_done = true;
    return finish(p, node, copy_of(node, inputs));
}

/* The shape of a value with a twin is put together, so that nobody makes the value for it. */
static tm_code pack_shape(packer *p, tm_node *node) {
    tm_value *x = node->inputs[0], *parts[2], *whole;
    const int lead = lead_of(p, x);
    int64_t from = tm_node_int(node, "start"), to = tm_node_int(node, "end");
    tm_value *tokens = lead == 2 ? p->place->batched : p->rows.places;
    TM_TRY(tm_tokens_shape(node, tokens, 0, lead, &parts[0]));
    TM_TRY(tm_tokens_shape(node, twin_of(p, x), 1, INT64_MAX, &parts[1]));
    tm_node *concat = tm_node_create(node->graph, node, TM_OP_Concat, NULL, 2, parts);
    tm_node_set_int(concat, "axis", 0);
    whole = tm_node_add_output(concat, NULL);
    TM_TRY(tm_infer_node(p->model, concat));
    tm_value *bounds[3] = {whole};
    to = to == TM_NO_DEFAULT ? INT64_MAX : to;
    bounds[1] = tm_tokens_integers(node->graph, 1, &from);
    bounds[2] = tm_tokens_integers(node->graph, 1, &to);
    if (from != 0 || to != INT64_MAX)
        TM_TRY(tm_match_make(node, TM_OP_Slice, 3, bounds, &whole));
    if (tm_rewrite_can_replace(node->outputs[0], whole)) {
        tm_rewrite_replace(node->outputs[0], whole);
        tm_node_remove(node);
    }
    return TM_OK;
}

/* ---- the walk ---- */

static bool is_product(const tm_node *node) {
    return (node->op == TM_OP_MatMul || node->op == TM_OP_Gemm) && tm_value_is_constant(node->inputs[1]) &&
           !tm_value_is_constant(node->inputs[0]);
}

static tm_code pack_node(packer *p, tm_node *node, bool *out_done) {
    bool begun = false;
    for (int i = 0; i < node->input_count; i++)
        begun = begun || twin_of(p, node->inputs[i]) != NULL;
    if (node->op == TM_OP_MatMul || node->op == TM_OP_Gemm)
        return pack_product(p, node, out_done);
    if (node->op == TM_OP_Gather && tm_node_int(node, "axis") == 0 && twin_of(p, node->inputs[0]) == NULL)
        return tm_value_is_constant(node->inputs[0]) ? pack_lookup(p, node, out_done) : TM_OK;
    if (!begun || tm_op_has(node->op, TM_RANDOM))
        return TM_OK;
    if (tm_op_has(node->op, TM_ELEMENTWISE))
        return pack_elementwise(p, node, out_done);
    if (node->op == TM_OP_Concat)
        return pack_concat(p, node, out_done);
    if (twin_of(p, node->inputs[0]) == NULL)
        return TM_OK;
    if (tm_op_has(node->op, TM_VIEW))
        return pack_view(p, node, out_done);
    switch (node->op) {
    case TM_OP_Transpose:
        return pack_transpose(p, node, out_done);
    case TM_OP_LayerNormalization:
    case TM_OP_RMSNormalization:
    case TM_OP_LpNormalization:
    case TM_OP_Softmax:
    case TM_OP_LogSoftmax:
    case TM_OP_Hardmax:
    case TM_OP_ArgMax:
    case TM_OP_ArgMin:
    case TM_OP_Split:
    case TM_OP_Gather:
        return pack_along_axis(p, node, out_done);
    case TM_OP_ReduceSum:
    case TM_OP_ReduceMean:
    case TM_OP_ReduceMax:
    case TM_OP_ReduceMin:
    case TM_OP_ReduceProd:
    case TM_OP_ReduceL1:
    case TM_OP_ReduceL2:
    case TM_OP_ReduceLogSum:
    case TM_OP_ReduceLogSumExp:
    case TM_OP_ReduceSumSquare:
        return pack_by_axes(p, node, 1, out_done);
    case TM_OP_Slice:
        return pack_by_axes(p, node, 3, out_done);
    case TM_OP_Shape:
        return pack_shape(p, node);
    default:
        return TM_OK;
    }
}

/* Is the value only read by products of computed matrices and attention, through moves and factors? */
static bool feeds_attention(const tm_value *value, int depth) {
    for (size_t i = 0; i < value->uses.count; i++) {
        const tm_node *user = value->uses.items[i].node;
        if (user == NULL || depth == 0)
            return false;
        bool product = user->op == TM_OP_MatMul && user->inputs[0]->constant == NULL &&
                       user->inputs[1]->constant == NULL;
        bool factor = (user->op == TM_OP_Mul || user->op == TM_OP_Div) &&
                      tm_value_is_constant(user->inputs[user->inputs[0] == value ? 1 : 0]);
        if (product || user->op == TM_OP_Attention)
            continue;
        if (!(factor || tm_op_has(user->op, TM_VIEW) || user->op == TM_OP_Transpose) ||
            !feeds_attention(user->outputs[0], depth - 1))
            return false;
    }
    return true;
}

/* What is still read of a node with twins, made of them; then the node goes. */
static tm_code retire(packer *p, tm_node *node) {
    for (int i = 0; i < node->output_count; i++) {
        tm_value *value = node->outputs[i], *made;
        if (value == NULL || value->uses.count == 0)
            continue;
        TM_TRY(
            tm_token_rows_unpack(node, &p->rows, twin_of(p, value), value, feeds_attention(value, 8), &made));
        tm_rewrite_replace(value, made);
    }
    tm_node_remove(node);
    return TM_OK;
}

tm_code tm_tokens_pack(tm_model *model, const tm_tokens_place *place, tm_tokens_report *report) {
    packer p = {.model = model, .place = place, .twin_count = model->value_count, .report = report};
    p.twins = TM_NEW_ARRAY(model->arena, tm_value *, p.twin_count);
    report->nodes = report->products = report->packed = 0;
    for (tm_node *node = model->main->first, *next; node != NULL; node = next) {
        bool done = false;
        next = node->next;
        report->products += is_product(node);
        TM_TRY(pack_node(&p, node, &done));
    }
    for (size_t i = p.replaced.count; i > 0; i--)
        TM_TRY(retire(&p, p.replaced.items[i - 1]));
    return TM_OK;
}
