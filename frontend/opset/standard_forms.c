/* SPDX-License-Identifier: Apache-2.0
 *
 * standard_forms.c: newer forms of the standard that older ops express.
 *
 *     SwiGLU(a, b) {alpha}        ->   Mul(Swish(a) {alpha}, b)
 *     SpaceToDepth(x) {mode: CRD} ->   SpaceToDepth(x), then channels [block, c] transposed to [c, block]
 */
#include "frontend/opset/opset.h"
#include "frontend/opset/write_out.h"

#include <string.h>

tm_code tm_opset_swiglu(tm_draft *draft) {
    tm_value *gate = tm_draft_input(draft, 0), *linear = tm_draft_input(draft, 1);
    if (gate == NULL || linear == NULL || draft->inputs.count != 2)
        return tm_draft_fail(draft, TM_E_ARITY, "a gate and a linear input are needed");
    tm_node *swish = tm_draft_emit_node(draft, TM_OP_Swish, 1, &gate);
    tm_node_set_float(swish, "alpha", tm_draft_float(draft, "alpha", 1));
    tm_draft_remove(draft, "alpha");
    gate = tm_draft_add_output(draft, swish);
    tm_draft_set_inputs(draft, 2, (tm_value *[]){gate, linear});
    draft->op = "Mul";
    return TM_OK;
}

/* The row's order of channels is DCR: place in the block first, then the channel. */
tm_code tm_opset_space_to_depth(tm_draft *draft) {
    const char *mode = tm_draft_string(draft, "mode", "DCR");
    const bool channels_first = strcmp(mode, "CRD") == 0;
    if (!channels_first && strcmp(mode, "DCR") != 0)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "mode is neither DCR nor CRD");
    tm_draft_remove(draft, "mode");
    const int64_t block = tm_draft_int(draft, "blocksize", 0);
    tm_value *x = tm_draft_input(draft, 0);
    if (!channels_first || x == NULL || block < 1 || block > INT16_MAX)
        return TM_OK;
    tm_node *node = tm_draft_emit_node(draft, TM_OP_SpaceToDepth, 1, &x);
    TM_TRY(tm_draft_give_attributes(draft, node));
    tm_value *y = tm_draft_add_output(draft, node);
    tm_value *batch = tm_write_dims(draft, x, 0, 1), *channels = tm_write_dims(draft, x, 1, 1);
    tm_value *places = tm_draft_constant_ints(draft, (int64_t[]){block * block}, 1);
    tm_value *rest = tm_write_dims(draft, y, 2, 2);
    tm_value *apart = tm_write_concat(draft, 0, 4, (tm_value *[]){batch, places, channels, rest});
    tm_value *turned = tm_write_transpose(draft, tm_write_reshape_to(draft, y, apart), 5,
                                          (int64_t[]){0, 2, 1, 3, 4});
    return tm_write_bind(draft, 0, tm_write_reshape_to(draft, turned, tm_write_dims(draft, y, 0, 4)));
}
