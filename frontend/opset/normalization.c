/* SPDX-License-Identifier: Apache-2.0
 *
 * normalization.c: Softmax before 13, GroupNormalization before 21, Dropout before 12.
 *
 * Softmax used to flatten its input to a matrix at `axis`, so with an axis in the middle it sums over
 * all dims from there on:
 *
 *     Softmax-11(x[2,3,4]) {axis: 1}   ->   Reshape(Softmax(Flatten(x, 1), -1), Shape(x))
 *
 * and is the same as today's when axis is the last. Models are compiled for inference, so flags
 * of training are dropped where they only concern values that inference does not make.
 */
#include "frontend/opset/opset.h"

tm_code tm_opset_softmax(tm_draft *draft) {
    tm_value *x = draft->inputs.items[0];
    int64_t axis = tm_draft_int(draft, "axis", 1);
    int rank;
    bool known = tm_draft_known_rank(draft, x, &rank);
    bool last = axis == -1 || (known && axis == rank - 1);
    if (last) {
        tm_draft_set_int(draft, "axis", -1);
        return TM_OK;
    }
    tm_node *flat = tm_draft_emit_node(draft, TM_OP_Flatten, 1, &x);
    tm_node_set_int(flat, "axis", axis);
    tm_value *matrix = tm_draft_add_output(draft, flat);
    tm_op op = tm_op_find(TM_DOMAIN_ONNX, draft->op);
    tm_node *rows = tm_draft_emit_node(draft, op, 1, &matrix);
    tm_node_set_int(rows, "axis", -1);
    tm_value *shape = tm_draft_emit(draft, TM_OP_Shape, 1, &x);
    tm_draft_clear_attributes(draft);
    tm_draft_set_inputs(draft, 2, (tm_value *[]){tm_draft_add_output(draft, rows), shape});
    draft->op = "Reshape";
    return TM_OK;
}

/* scale and bias of one number for each group become one for each channel. */
static tm_value *spread(tm_draft *draft, tm_value *groups, tm_value *shape) {
    tm_value *column = tm_opset_unsqueeze_after(draft, groups, 1, 1);
    tm_value *rows = tm_draft_emit(draft, TM_OP_Expand, 2, (tm_value *[]){column, shape});
    int64_t all = -1;
    return tm_draft_emit(draft, TM_OP_Reshape, 2,
                         (tm_value *[]){rows, tm_draft_constant_ints(draft, &all, 1)});
}

tm_code tm_opset_group_normalization(tm_draft *draft) {
    int64_t groups = tm_draft_int(draft, "num_groups", 0);
    if (groups < 1 || tm_draft_input(draft, 1) == NULL || tm_draft_input(draft, 2) == NULL)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "GroupNormalization needs scale, bias and num_groups");
    tm_node *shape = tm_draft_emit_node(draft, TM_OP_Shape, 1, draft->inputs.items);
    tm_node_set_int(shape, "start", 1);
    tm_node_set_int(shape, "end", 2);
    tm_value *channels = tm_draft_add_output(draft, shape);
    tm_value *count = tm_draft_constant_ints(draft, &groups, 1);
    tm_value *each = tm_draft_emit(draft, TM_OP_Div, 2, (tm_value *[]){channels, count});
    tm_node *concat = tm_draft_emit_node(draft, TM_OP_Concat, 2, (tm_value *[]){count, each});
    tm_node_set_int(concat, "axis", 0);
    tm_value *wide = tm_draft_add_output(draft, concat);
    tm_draft_set_input(draft, 1, spread(draft, draft->inputs.items[1], wide));
    tm_draft_set_input(draft, 2, spread(draft, draft->inputs.items[2], wide));
    return TM_OK;
}

tm_code tm_opset_dropout(tm_draft *draft) {
    tm_draft_remove(draft, "ratio");
    tm_draft_remove(draft, "is_test");
    if (draft->version >= 10 || !tm_draft_has_output(draft, 1) || !tm_draft_has_output(draft, 0))
        return TM_OK;
    tm_value *x = draft->inputs.items[0]; /* the mask had the type of the data */
    tm_node *node;
    TM_TRY(tm_opset_emit_output(draft, 0, TM_OP_Dropout, 1, &x, &node));
    tm_value *mask = tm_draft_add_output(draft, node);
    return tm_opset_emit_output(draft, 1, TM_OP_CastLike, 2, (tm_value *[]){mask, x}, &node);
}
