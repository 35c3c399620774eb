/* SPDX-License-Identifier: Apache-2.0
 *
 * inputs.c: attributes that later opsets turned into inputs.
 *
 *     ReduceMean-13(x) {axes: [1]}   ->   ReduceMean(x, <1>)
 *
 * The inputs are constants, so passes and inference see the same facts as before.
 */
#include "frontend/opset/opset.h"

/* The list attribute `name` becomes input `index`; absent: the input stays as it is. */
static void move_list(tm_draft *draft, const char *name, size_t index) {
    const int64_t *values;
    int64_t count;
    if (tm_draft_ints(draft, name, &values, &count)) {
        tm_draft_set_input(draft, index, tm_draft_constant_ints(draft, values, count));
        tm_draft_remove(draft, name);
    }
}

tm_code tm_opset_reshape(tm_draft *draft) {
    move_list(draft, "shape", 1);
    return TM_OK;
}

tm_code tm_opset_axes(tm_draft *draft) {
    move_list(draft, "axes", 1);
    return TM_OK;
}

/* A number that becomes a scalar input of the type of input 0. */
static tm_code move_scalar(tm_draft *draft, const char *name, size_t index) {
    const tm_draft_attribute *attribute = tm_draft_find(draft, name);
    if (attribute == NULL || attribute->kind != TM_ATTRIBUTE_FLOAT)
        return TM_OK;
    tm_value *value;
    TM_TRY(tm_draft_constant_like(draft, attribute->value.f, draft->inputs.items[0], &value));
    tm_draft_set_input(draft, index, value);
    tm_draft_remove(draft, name);
    return TM_OK;
}

tm_code tm_opset_clip(tm_draft *draft) {
    TM_TRY(move_scalar(draft, "min", 1));
    return move_scalar(draft, "max", 2);
}

tm_code tm_opset_slice(tm_draft *draft) {
    move_list(draft, "starts", 1);
    move_list(draft, "ends", 2);
    move_list(draft, "axes", 3);
    return TM_OK;
}

tm_code tm_opset_pad(tm_draft *draft) {
    move_list(draft, "paddings", 1);
    move_list(draft, "pads", 1);
    return move_scalar(draft, "value", 2);
}

/* Without sizes, all parts are equal and as many as there are outputs. */
tm_code tm_opset_split(tm_draft *draft) {
    move_list(draft, "split", 1);
    if (draft->version == 1 && tm_draft_input(draft, 1) != NULL) { /* numbers of the type of the data */
        tm_node *cast = tm_draft_emit_node(draft, TM_OP_Cast, 1, &draft->inputs.items[1]);
        tm_node_set_int(cast, "to", TAMIS_TYPE_INT64);
        tm_draft_set_input(draft, 1, tm_draft_add_output(draft, cast));
    }
    if (tm_draft_input(draft, 1) == NULL)
        tm_draft_set_int(draft, "num_outputs", (int64_t)draft->outputs.count);
    return TM_OK;
}

tm_code tm_opset_topk(tm_draft *draft) {
    if (!tm_draft_has(draft, "k"))
        return TM_OK;
    int64_t k = tm_draft_int(draft, "k", 0);
    tm_draft_set_input(draft, 1, tm_draft_constant_ints(draft, &k, 1));
    tm_draft_remove(draft, "k");
    return TM_OK;
}

/* The default was axis 1; now it is -2. */
tm_code tm_opset_dft(tm_draft *draft) {
    tm_draft_set_input(draft, 2, tm_draft_constant_int(draft, tm_draft_int(draft, "axis", 1)));
    tm_draft_remove(draft, "axis");
    return TM_OK;
}
