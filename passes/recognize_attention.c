/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_attention.c: two products with a softmax between them become one Attention node.
 *
 *     %s = MatMul(%q, %kt)                 %kt: K with its last two dims swapped
 *     %t = Mul(%s, 0.125)
 *     %m = Add(%t, %mask)           ->     %y = Attention(%q, %k, %v, %mask) {scale = 0.125}
 *     %p = Softmax(%m)
 *     %y = MatMul(%p, %v)
 *
 * Factors may stand on Q, on K before or after its transpose, on the scores, on any of them at once, as Mul
 * or Div. Masks and position biases are sums; several become one sum. Where(condition, scores, fill) is a
 * mask too: of bool if the fill is minus infinity, which is what Attention does with it. A finite fill of
 * -1e4 or beyond becomes the sum with -2^127, which swallows the score: exp of what is filled is 0, and a row
 * that is filled throughout is uniform, both as before. (It would not be so if all scores that a row sees
 * were below the fill, which stands for less than any score can be.) Smaller fills are left alone.
 * What is added to the scores beside such a fill must be far smaller, and lost in the fill's rounding where
 * it comes behind it: Where(causal, scores, -1e4) + padding, of 0 and -1e4, is left alone, since a row
 * without keys shares its weight among padding and future.
 *
 * A factor for each head, [heads, 1, 1], is put on Q. A soft cap, c * tanh(scores / c), is an attribute.
 *
 * Exporters guard the softmax of fully masked rows: Where(IsNaN(p), 0, p). With a mask of finite numbers no
 * row is NaN, and the guard goes. Else it moves behind the product, to where it costs little:
 *
 *     %none = Equal(ReduceMax(%mask), -inf);  %y = Where(%none, 0, Attention(%q, %k, %v, %mask))
 *
 * For NaN or infinity in Q, K or V all this is not the same: with --math=strict only masks that are known to
 * be finite sums are taken.
 *
 * Products of 2, 3 or 5 and more dims are seen as 4 by views. One head of K and V for all heads of Q is a
 * group.
 *
 * Pairs of quantisers on scores and probabilities are looked through, as attention rounds neither to the
 * model's steps; not with --math=strict. Those on Q, K and V stay where all three and the probabilities have
 * one of bytes: then attention computes in integers (form_attention_regions). Else they go too.
 *
 * Nobody else may read scores or probabilities: who does, wants the big matrix that this avoids. For
 * float32 and float64. Not bit-exact: factors are applied at another place and sums taken in another order.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/match_attention.h"
#include "passes/match_range.h"
#include "passes/pair.h"
#include "passes/rewrite.h"

#include <math.h>


/* ---- masks ---- */

/* A mask for products of `rank` dims as one of 2 to 4 dims; see has_mask_view. */
static void view_mask(tm_node *before, int rank, tm_value **mask) {
    tm_dims *dims = before->graph->model->dims;
    const tm_value *m = *mask;
    tm_dim one = tm_dim_constant(dims, 1), four[4] = {one, one, one, one};
    int behind = rank == 3 ? 2 : 3; /* the dims that stay as they are */
    if (m->rank >= 2 && m->rank < (rank == 3 ? 3 : 5))
        return;
    int lead = m->rank > behind ? m->rank - behind : 0;
    four[0] = tm_dim_product(dims, m->dims, lead);
    for (int i = lead; i < m->rank; i++)
        four[4 - m->rank + i] = m->dims[i];
    *mask = tm_match_view(before, *mask, 4, four);
}

static tm_value *number(tm_node *before, tamis_type type, double value) {
    tm_graph *graph = before->graph;
    return tm_value_create_constant(graph, NULL, tm_constant_create_scalar(graph->model->arena, type, value));
}

/* The part as something to add. */
static tm_code make_addend(tm_node *before, tamis_type type, const tm_mask_part *part, tm_value **out) {
    *out = part->value;
    if (part->is_condition) {
        tm_value *zero = number(before, type, 0);
        tm_value *fill = number(before, type, isinf(part->fill) ? part->fill : -TM_ATTENTION_SWALLOWING);
        tm_value *inputs[3] = {part->value, part->keep ? zero : fill, part->keep ? fill : zero};
        return tm_match_make(before, TM_OP_Where, 3, inputs, out);
    }
    double factor = part->subtracted ? -part->scale : part->scale;
    if (factor == 1)
        return TM_OK;
    tm_value *inputs[2] = {part->value, number(before, type, factor)};
    return tm_match_make(before, TM_OP_Mul, 2, inputs, out);
}

/* `numbers`: a mask to compute with, not one of bool. */
static tm_code make_mask(tm_node *before, const tm_attention_form *a, bool numbers, tm_value **out) {
    *out = NULL;
    if (!numbers && a->part_count == 1 && a->parts[0].is_condition && isinf(a->parts[0].fill)) {
        *out = a->parts[0].value;
        return a->parts[0].keep ? TM_OK : tm_match_make(before, TM_OP_Not, 1, &a->parts[0].value, out);
    }
    for (int i = 0; i < a->part_count; i++) {
        tm_value *addend, *sum[2] = {*out, NULL};
        TM_TRY(make_addend(before, a->scores->type, &a->parts[i], &addend));
        sum[1] = addend;
        if (sum[0] == NULL)
            *out = addend;
        else
            TM_TRY(tm_match_make(before, TM_OP_Add, 2, sum, out));
    }
    return TM_OK;
}

/* The mask with the keys of the scores, which it has or repeats over when the model runs. Their number is
 * asked of what V is made of, so that V's heads can be repeated where they are read. */
static tm_code widen_mask(tm_node *before, const tm_attention_form *a, tm_value **mask) {
    tm_dim number = a->scores->dims[a->scores->rank - 1], dims[TAMIS_MAX_RANK];
    tm_value *source = a->v;
    for (const tm_node *node = source->producer;
         node != NULL && (tm_op_has(node->op, TM_VIEW) || node->op == TM_OP_Expand) &&
         tm_attention_axis(node->inputs[0], number) >= 0;
         node = source->producer)
        source = node->inputs[0];
    int axis = tm_attention_axis(source, number);
    tm_node *shape = tm_node_create(before->graph, before, TM_OP_Shape, NULL, 1, &source);
    tm_node_set_int(shape, "start", axis);
    tm_node_set_int(shape, "end", axis + 1);
    tm_value *keys = tm_node_add_output(shape, NULL), *wide;
    TM_TRY(tm_infer_node(before->graph->model, shape));
    TM_TRY(tm_match_make(before, TM_OP_Expand, 2, (tm_value *[]){*mask, keys}, &wide));
    for (int i = 0; i < wide->rank; i++)
        dims[i] = i + 1 < wide->rank ? wide->dims[i] : number;
    *mask = tm_match_view(before, wide, wide->rank, dims);
    return TM_OK;
}

/* ---- operands ---- */

static void take_factors(const tm_match *match, tm_value **value, double *scale) {
    double number;
    tm_value *x;
    for (;;) {
        tm_match own = {.graph = match->graph};
        if (tm_match_with_number(&own, *value, TM_OP_Mul, &x, &number) != NULL)
            *scale *= number;
        else if (tm_match_with_number(&own, *value, TM_OP_Div, &x, &number) != NULL)
            *scale /= number;
        else
            return;
        *value = x;
    }
}

/* Takes the factors of what the operand is made of, `*real`, which stands before its pair if it has one: then
 * the pair's scale is divided by them, *pair_factor, which may round otherwise. */
static void take_outer_factors(const tm_match *match, tm_attention_form *a, const tm_value *operand,
                               tm_value **real, double *pair_factor) {
    double found = 1;
    bool pair = tm_pair_before(operand) != NULL;
    if (*real == operand)
        *real = tm_pair_inside(*real);
    tm_value *x = *real;
    take_factors(match, &x, &found);
    if (pair && !(a->skips_pairs && found > 0))
        return;
    *real = x;
    a->scale *= found;
    *pair_factor *= pair ? found : 1;
}

/* Transpose(x, perm) with the last two dims of the result swapped: x if that is it. */
static tm_code swap_result(tm_node *before, const tm_node *transpose, tm_value **out) {
    tm_value *x = transpose->inputs[0];
    int64_t perm[TAMIS_MAX_RANK];
    bool identity = true;
    tm_rewrite_permutation(transpose, perm);
    int64_t last = perm[x->rank - 1];
    perm[x->rank - 1] = perm[x->rank - 2];
    perm[x->rank - 2] = last;
    for (int i = 0; i < x->rank; i++)
        identity = identity && perm[i] == i;
    *out = x;
    return identity ? TM_OK : tm_match_make_transpose(before, x, perm, out);
}

/* K from K with its last two dims swapped. The transpose may stand between views that
 * merge the leading dims. */
static tm_code untranspose(tm_node *before, tm_value *kt, tm_value **out) {
    const tm_node *node = kt->producer, *inner = NULL;
    if (node != NULL && node->op == TM_OP_Transpose)
        return swap_result(before, node, out);
    if (node != NULL && tm_op_has(node->op, TM_VIEW) && node->inputs[0]->rank >= 2)
        inner = node->inputs[0]->producer;
    int rank = kt->rank;
    if (inner != NULL && inner->op == TM_OP_Transpose &&
        tm_match_same_dims(inner->outputs[0], inner->outputs[0]->rank - 2, kt, rank - 2, 2)) {
        tm_dim dims[TAMIS_MAX_RANK];
        for (int i = 0; i < rank; i++)
            dims[i] = kt->dims[i];
        dims[rank - 1] = kt->dims[rank - 2];
        dims[rank - 2] = kt->dims[rank - 1];
        TM_TRY(swap_result(before, inner, out));
        *out = tm_match_view(before, *out, rank, dims);
        return TM_OK;
    }
    int64_t perm[TAMIS_MAX_RANK];
    for (int i = 0; i < rank; i++)
        perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    return tm_match_make_transpose(before, kt, perm, out);
}

/* The dims of a product as batch, heads, rows, columns. */
static tm_value *view_operand(tm_node *before, tm_value *x) {
    tm_dims *dims = before->graph->model->dims;
    tm_dim one = tm_dim_constant(dims, 1), four[4] = {one, one, x->dims[x->rank - 2], x->dims[x->rank - 1]};
    if (x->rank == 3)
        four[0] = x->dims[0];
    if (x->rank >= 4) {
        four[0] = tm_dim_product(dims, x->dims, x->rank - 3);
        four[1] = x->dims[x->rank - 3];
    }
    return tm_match_view(before, x, 4, four);
}

/* ---- the rewrite ---- */

/* Rows of `y` that see nothing are zero. */
static tm_code guard_rows(tm_node *before, tm_value *mask, tm_value **y) {
    static const int64_t one_dim = 1, last = -1;
    tm_model *model = before->graph->model;
    tm_dim dims[4];
    tm_value *axes = tm_value_create_constant(before->graph, NULL,
                                              tm_constant_create_i64(model->arena, 1, &one_dim, &last));
    tm_value *top, *none;
    TM_TRY(tm_match_make(before, TM_OP_ReduceMax, 2, (tm_value *[]){mask, axes}, &top));
    tm_value *pair[2] = {top, number(before, mask->type, -INFINITY)};
    TM_TRY(tm_match_make(before, TM_OP_Equal, 2, pair, &none));
    for (int i = 0; i < 4; i++)
        dims[i] = i < 4 - none->rank ? tm_dim_constant(model->dims, 1) : none->dims[i - 4 + none->rank];
    none = tm_match_view(before, none, 4, dims);
    tm_value *choice[3] = {none, number(before, (*y)->type, 0), *y};
    return tm_match_make(before, TM_OP_Where, 3, choice, y);
}

/* Pairs on Q, K and V are of use together. */
static void drop_pairs(tm_attention_form *a) {
    tm_value **operands[] = {&a->q, &a->kt, &a->v};
    bool stay = a->quantized && a->head_factor == NULL && tm_pair_is_of_bytes(a->q) &&
                tm_pair_is_of_bytes(a->kt) && tm_pair_is_of_bytes(a->v);
    for (int i = 0; !stay && i < 3; i++)
        *operands[i] = tm_pair_inside(*operands[i]);
}

static tm_code build(tm_node *root, tm_attention_form *a, bool guarded) {
    const tm_match match = {.graph = root->graph};
    tm_value *inputs[4], *result;
    int rank = a->scores->rank;
    if (a->skips_pairs)
        drop_pairs(a);
    tm_value *real[] = {a->q, a->kt, tm_pair_inside(a->v)};
    double factors[] = {1, 1, 1}; /* that stood before a pair */
    take_outer_factors(&match, a, a->q, &real[0], &factors[0]);
    take_outer_factors(&match, a, a->kt, &real[1], &factors[1]);
    TM_TRY(untranspose(root, real[1], &real[1]));
    take_outer_factors(&match, a, a->kt, &real[1], &factors[1]);
    TM_TRY(make_mask(root, a, guarded, &inputs[3]));
    if (inputs[3] != NULL && a->keys != NULL)
        TM_TRY(widen_mask(root, a, &inputs[3]));
    if (inputs[3] != NULL)
        view_mask(root, rank, &inputs[3]);
    if (a->head_factor != NULL)
        TM_TRY(tm_match_make(root, TM_OP_Mul, 2, (tm_value *[]){real[0], a->head_factor}, &real[0]));
    const tm_value *operands[] = {a->q, a->kt, a->v};
    for (int i = 0; i < 3; i++)
        TM_TRY(tm_pair_around(root, operands[i], factors[i], view_operand(root, real[i]), &inputs[i]));
    tm_node *node =
        tm_node_create(root->graph, root, TM_OP_Attention, NULL, inputs[3] != NULL ? 4 : 3, inputs);
    tm_node_set_float(node, "scale", a->scale);
    if (a->softcap != 0)
        tm_node_set_float(node, "softcap", a->softcap);
    if (rank == 4 && !guarded) {
        tm_match_replace(root, node);
        return TM_OK;
    }
    result = tm_node_add_output(node, NULL);
    TM_TRY(tm_infer_node(root->graph->model, node));
    if (guarded)
        TM_TRY(guard_rows(root, inputs[3], &result));
    tm_match_replace(root, rank == 4 ? result->producer
                                     : tm_node_create(root->graph, root, TM_OP_Reshape, NULL, 1, &result));
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    tm_attention_form found;
    if (!tm_attention_find(node, context->options->strict_math, &found) || !tm_pass_allow(context))
        return TM_OK;
    return build(node, &found, found.guarded && !tm_attention_masks_are_finite(&found));
}

tm_code tm_pass_recognize_attention(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
