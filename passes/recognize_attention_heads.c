/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_attention_heads.c: Attention takes in the copies that split, repeat and merge heads.
 *
 *     groups:   K and V repeated for each head of Q by Expand          ->  fewer heads of K and V
 *     packing:  Q, K and V are Transpose(0, 2, 1, 3) of [batch, length, heads, size], and so is the result
 *                                                        ->  operands and result of 3 dims, heads in rows
 *     fused:    one product for Q, K and V, [batch, length, 3, heads, size] (or heads, 3), transposed to have
 *               the 3 first and taken apart               ->  gathered where it is, then packed
 *
 * Attention reads heads through strides, so what disappears are whole passes over memory:
 *
 *     %q4: f32[b, s, 4, 8] = Reshape(%x)
 *     %q: f32[b, 4, s, 8] = Transpose(%q4) {perm = [0, 2, 1, 3]}      ->      Attention(%x, ...) {q_num_heads
 * = 4}
 *
 * Pairs of quantisers stand in front of the attention then too, as they did.
 *
 * Groups: head h of Q must read head h / group, which is what Expand of a dim behind the heads and a view
 * that merges the two do; Tile along the heads would be h % heads, and is left alone. Packing needs all four;
 * one that stays apart keeps them all apart. Exact: the same numbers are read from other places.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/match_attention.h"
#include "passes/pair.h"
#include "passes/rewrite.h"

#include <string.h>

static bool has_permutation(const tm_node *node, const int64_t *wanted, int rank) {
    int64_t perm[TAMIS_MAX_RANK];
    if (node == NULL || node->op != TM_OP_Transpose || node->inputs[0]->rank != rank)
        return false;
    tm_rewrite_permutation(node, perm);
    return memcmp(perm, wanted, (size_t)rank * sizeof *perm) == 0;
}

/* ---- groups ---- */

/* x, whose dim `axis` repeats each entry `group` times in a row:
 * the value without the repetition, or NULL. */
static tm_value *ungroup(tm_node *before, tm_value *x, int axis, bool make) {
    const tm_node *node = x->producer;
    if (node != NULL && node->op == TM_OP_Expand && node->inputs[0]->rank == x->rank &&
        tm_dim_is(node->inputs[0]->dims[axis], 1) && tm_match_same_dims(node->inputs[0], 0, x, 0, axis) &&
        tm_match_same_dims(node->inputs[0], axis + 1, x, axis + 1, x->rank - axis - 1))
        return node->inputs[0];
    const tm_value *wide = node != NULL && tm_op_has(node->op, TM_VIEW) ? node->inputs[0] : NULL;
    const tm_node *expand = wide != NULL ? wide->producer : NULL;
    if (expand == NULL || expand->op != TM_OP_Expand || wide->rank != x->rank + 1)
        return NULL;
    tm_value *narrow = expand->inputs[0];
    if (narrow->rank != wide->rank || !tm_dim_is(narrow->dims[axis + 1], 1) ||
        !tm_dim_is_constant(wide->dims[axis]) || !tm_dim_is_constant(wide->dims[axis + 1]) ||
        !tm_match_same_dims(narrow, 0, wide, 0, axis + 1) ||
        !tm_match_same_dims(narrow, axis + 2, wide, axis + 2, x->rank - axis - 1) ||
        !tm_match_same_dims(x, 0, wide, 0, axis) ||
        !tm_match_same_dims(x, axis + 1, wide, axis + 2, x->rank - axis - 1))
        return NULL;
    if (!make)
        return narrow;
    tm_dim dims[TAMIS_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        dims[i] = narrow->dims[i <= axis ? i : i + 1];
    return tm_match_view(before, narrow, x->rank, dims);
}

/* The same for an operand of Attention, whose repetition may stand before its transpose. With `make` false
 * only *out_heads is set. */
static tm_code ungroup_operand(tm_node *before, tm_value *x, bool make, tm_dim *out_heads, tm_value **out) {
    const tm_node *transpose = x->producer;
    *out_heads = NULL;
    *out = ungroup(before, x, 1, make);
    if (*out != NULL) {
        *out_heads = (*out)->dims[1];
        return TM_OK;
    }
    if (transpose == NULL || transpose->op != TM_OP_Transpose)
        return TM_OK;
    int64_t perm[TAMIS_MAX_RANK];
    tm_rewrite_permutation(transpose, perm);
    *out = ungroup(before, transpose->inputs[0], (int)perm[1], make);
    if (*out == NULL)
        return TM_OK;
    *out_heads = (*out)->dims[perm[1]];
    return make ? tm_match_make_transpose(before, *out, perm, out) : TM_OK;
}

static tm_code take_groups(tm_pass_context *context, tm_node *node) {
    tm_dim heads[2];
    tm_value *operands[2];
    for (int i = 0; i < 2; i++)
        TM_TRY(ungroup_operand(node, tm_pair_inside(node->inputs[1 + i]), false, &heads[i], &operands[i]));
    tm_dim all = node->inputs[0]->dims[1];
    if (heads[0] == NULL || heads[0] != heads[1] || !tm_dim_is_constant(heads[0]) ||
        !tm_dim_is_constant(all) || heads[0]->constant < 1 || all->constant % heads[0]->constant != 0 ||
        node->inputs[1]->dims[1] != all || node->inputs[2]->dims[1] != all || !tm_pass_allow(context))
        return TM_OK;
    for (int i = 0; i < 2; i++) {
        TM_TRY(ungroup_operand(node, tm_pair_inside(node->inputs[1 + i]), true, &heads[i], &operands[i]));
        TM_TRY(tm_pair_around(node, node->inputs[1 + i], 1, operands[i], &operands[i]));
        tm_node_set_input(node, 1 + i, operands[i]);
    }
    return TM_OK;
}

/* ---- packing ---- */

static const int64_t split_heads[] = {0, 2, 1, 3};
static const int64_t split_fused[2][5] = {{2, 0, 3, 1, 4}, {3, 0, 2, 1, 4}};

static bool sizes_are_known(const tm_value *rows) {
    return tm_dim_is_constant(rows->dims[2]) && tm_dim_is_constant(rows->dims[3]) &&
           rows->dims[2]->constant > 0;
}

/* Entry `*out_index` of the first dim of a value of 5 dims is `x`:
 * that value; NULL: it is not such a part. */
static const tm_value *first_dim_part(const tm_value *x, int64_t *out_index) {
    const tm_node *node = x->producer;
    int64_t axes[TAMIS_MAX_RANK];
    int count;
    if (node != NULL && node->op == TM_OP_Gather) {
        const tm_value *index = node->inputs[1];
        bool single = tm_node_int(node, "axis") == 0 && index->rank == 0 && index->constant != NULL;
        return single && tm_constant_int(index->constant, 0, out_index) ? node->inputs[0] : NULL;
    }
    if (node == NULL || !tm_op_has(node->op, TM_VIEW) || node->inputs[0]->rank != 5 ||
        !tm_dim_is(node->inputs[0]->dims[0], 1) || !tm_match_same_dims(node->inputs[0], 1, x, 0, 4))
        return NULL;
    const tm_value *part = node->inputs[0];
    node = part->producer;
    if (node != NULL && node->op == TM_OP_Split && tm_node_int(node, "axis") == 0) {
        *out_index = part->output_index;
        for (int i = 0; i < part->output_index; i++)
            if (!tm_dim_is(node->outputs[i]->dims[0], 1))
                return NULL;
        return node->inputs[0];
    }
    bool sliced = node != NULL && node->op == TM_OP_Slice && node->input_count >= 4 &&
                  tm_match_ints(node->inputs[3], axes, &count) && count == 1 &&
                  (axes[0] == 0 || axes[0] == -5);
    return sliced && tm_match_ints(node->inputs[1], axes, &count) && (*out_index = axes[0]) >= 0
               ? node->inputs[0]
               : NULL;
}

/* The Transpose that `x`, [batch, heads, length, size], is entry `*out_index` of; out_axis: the dim before
 * it. */
static const tm_node *fused_part(const tm_value *x, int64_t *out_index, int64_t *out_axis) {
    const tm_value *whole = first_dim_part(x, out_index);
    if (whole == NULL || whole->producer == NULL)
        return NULL;
    for (int i = 0; i < 2; i++)
        if (has_permutation(whole->producer, split_fused[i], 5)) {
            *out_axis = split_fused[i][0];
            return whole->producer;
        }
    return NULL;
}

static bool can_pack(const tm_value *x) {
    int64_t index, axis;
    if (!tm_dim_is_constant(x->dims[1]) || !tm_dim_is_constant(x->dims[3]) || x->dims[1]->constant < 1)
        return false;
    return has_permutation(x->producer, split_heads, 4) || fused_part(x, &index, &axis) != NULL;
}

/* [batch, length, heads * size] */
static tm_code pack(tm_node *before, tm_value *x, tm_value **out) {
    tm_dims *dims = before->graph->model->dims;
    int64_t index, axis;
    const tm_node *fused = fused_part(x, &index, &axis);
    if (fused == NULL) {
        *out = x->producer->inputs[0];
    } else {
        tm_value *inputs[2] = {fused->inputs[0], NULL};
        inputs[1] = tm_value_create_constant(
            before->graph, NULL, tm_constant_create_i64(before->graph->model->arena, 0, NULL, &index));
        tm_node *gather = tm_node_create(before->graph, before, TM_OP_Gather, NULL, 2, inputs);
        tm_node_set_int(gather, "axis", axis);
        *out = tm_node_add_output(gather, NULL);
        TM_TRY(tm_infer_node(before->graph->model, gather));
    }
    tm_dim packed[3] = {x->dims[0], x->dims[2], tm_dim_mul(dims, x->dims[1], x->dims[3])};
    *out = tm_match_view(before, *out, 3, packed);
    return TM_OK;
}

/* `user` is Where(none, 0, result), with one condition for each row of all heads, as recognize_attention
 * makes it. */
static tm_node *row_guard(tm_node *user, const tm_node *attention) {
    if (user == NULL || user->op != TM_OP_Where || user->graph != attention->graph ||
        user->inputs[2] != attention->outputs[0] || user->inputs[1]->rank != 0 ||
        user->inputs[0]->rank != 4 || !tm_dim_is(user->inputs[0]->dims[1], 1) ||
        !tm_dim_is(user->inputs[0]->dims[3], 1))
        return NULL;
    return user;
}

static tm_code take_transposes(tm_pass_context *context, tm_node *node) {
    tm_node *guard = row_guard(tm_value_single_user(node->outputs[0]), node);
    tm_node *merge = tm_value_single_user(guard != NULL ? guard->outputs[0] : node->outputs[0]);
    if (merge == NULL || merge->graph != node->graph || !has_permutation(merge, split_heads, 4) ||
        !sizes_are_known(merge->outputs[0]))
        return TM_OK;
    for (int i = 0; i < 3; i++)
        if (!can_pack(tm_pair_inside(node->inputs[i])))
            return TM_OK;
    if (!tm_pass_allow(context))
        return TM_OK;
    tm_value *inputs[4] = {NULL, NULL, NULL, node->input_count > 3 ? node->inputs[3] : NULL}, *result;
    for (int i = 0; i < 3; i++) {
        TM_TRY(pack(merge, tm_pair_inside(node->inputs[i]), &inputs[i]));
        TM_TRY(tm_pair_around(merge, node->inputs[i], 1, inputs[i], &inputs[i]));
    }
    tm_node *packed =
        tm_node_create(node->graph, merge, TM_OP_Attention, NULL, inputs[3] != NULL ? 4 : 3, inputs);
    for (int i = 0; i < tm_op_get(node->op)->attribute_count; i++)
        packed->attributes[i] = node->attributes[i];
    tm_node_set_int(packed, "q_num_heads", node->inputs[0]->dims[1]->constant);
    tm_node_set_int(packed, "kv_num_heads", node->inputs[1]->dims[1]->constant);
    packed->name = node->name;
    packed->file_index = node->file_index;
    packed->file_path = node->file_path;
    result = tm_node_add_output(packed, NULL);
    TM_TRY(tm_infer_node(node->graph->model, packed));
    if (guard != NULL) {
        const tm_value *none = guard->inputs[0];
        tm_value *view = tm_match_view(merge, guard->inputs[0], 3,
                                       (tm_dim[]){none->dims[0], none->dims[2], none->dims[3]});
        TM_TRY(tm_match_make(merge, TM_OP_Where, 3, (tm_value *[]){view, guard->inputs[1], result}, &result));
    }
    tm_match_replace(merge, tm_node_create(node->graph, merge, TM_OP_Reshape, NULL, 1, &result));
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (node->op != TM_OP_Attention || node->inputs[0]->rank != 4 || !tm_attention_is_plain(node))
        return TM_OK;
    TM_TRY(take_groups(context, node));
    return take_transposes(context, node);
}

tm_code tm_pass_recognize_attention_heads(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
