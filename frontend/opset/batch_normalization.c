/* SPDX-License-Identifier: Apache-2.0
 *
 * batch_normalization.c: BatchNormalization before 14.
 *
 * Whether it trained was told by is_test (1 to 6) and by the presence of outputs 1 to 4: running mean
 * and variance, and those of the batch. Exporters list these outputs though nothing reads them, so only
 * outputs that are read make it train. The batch's own mean and variance are what the running ones
 * become with a momentum of 0:
 *
 *     y, m, v, sm, sv = BatchNormalization-9(x, s, b, mean, var)
 *       ->   y, m, v = BatchNormalization(x, s, b, mean, var) {training_mode: 1}
 *            _, sm, sv = BatchNormalization(x, s, b, mean, var) {training_mode: 1, momentum: 0}
 *
 * spatial = 0 (1 to 8) had a mean for each element of an item instead of each channel: that is
 * normalisation of the items flattened to rows, whose elements are the channels.
 */
#include "frontend/opset/opset.h"

enum { INPUTS = 5, OUTPUTS = 5 };

static bool is_read(const tm_draft *draft, size_t index) {
    return tm_draft_has_output(draft, index) && tm_name_is_read(draft->importer, draft->outputs.items[index]);
}

static bool trains(const tm_draft *draft) {
    if (draft->version < 7 && tm_draft_int(draft, "is_test", 0) != 0)
        return false;
    bool read = false;
    for (size_t k = 1; k < OUTPUTS; k++)
        read = read || is_read(draft, k);
    return read;
}

/* Output `index` of the draft is this value, under the dims of `like` when there is one. */
static tm_code give(tm_draft *draft, size_t index, tm_value *value, tm_value *like) {
    tm_node *node;
    if (!tm_draft_has_output(draft, index))
        return TM_OK;
    if (like == NULL)
        return tm_opset_emit_output(draft, index, TM_OP_Identity, 1, &value, &node);
    tm_value *shape = tm_draft_emit(draft, TM_OP_Shape, 1, &like);
    return tm_opset_emit_output(draft, index, TM_OP_Reshape, 2, (tm_value *[]){value, shape}, &node);
}

static tm_node *normalise(tm_draft *draft, tm_value *const *inputs, bool training, double momentum) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_BatchNormalization, INPUTS, inputs);
    tm_node_set_float(node, "epsilon", tm_draft_float(draft, "epsilon", 1e-5));
    tm_node_set_float(node, "momentum", momentum);
    tm_node_set_int(node, "training_mode", training);
    for (int k = 0; k < (training ? 3 : 1); k++)
        (void)tm_draft_add_output(draft, node);
    return node;
}

tm_code tm_opset_batch_normalization(tm_draft *draft) {
    bool spatial = tm_draft_int(draft, "spatial", 1) != 0, training = trains(draft);
    tm_draft_remove(draft, "spatial");
    tm_draft_remove(draft, "is_test");
    if (draft->inputs.count != INPUTS)
        return tm_draft_fail(draft, TM_E_ARITY, "BatchNormalization needs 5 inputs");
    if (spatial && !training) {
        draft->outputs.count = 1;
        return TM_OK;
    }
    tm_value *inputs[INPUTS];
    for (size_t i = 0; i < INPUTS; i++) {
        tm_value *given = draft->inputs.items[i];
        if (given == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "input %zu may not be omitted", i);
        int64_t all = -1;
        if (spatial)
            inputs[i] = given;
        else if (i == 0)
            inputs[i] = tm_draft_emit(draft, TM_OP_Flatten, 1, &given);
        else
            inputs[i] = tm_draft_emit(draft, TM_OP_Reshape, 2,
                                      (tm_value *[]){given, tm_draft_constant_ints(draft, &all, 1)});
    }
    tm_node *now = normalise(draft, inputs, training, tm_draft_float(draft, "momentum", 0.9));
    TM_TRY(give(draft, 0, now->outputs[0], spatial ? NULL : draft->inputs.items[0]));
    if (!training)
        return TM_OK;
    tm_node *batch = normalise(draft, inputs, true, 0.0);
    for (size_t k = 1; k < OUTPUTS; k++) {
        tm_value *value = k < 3 ? now->outputs[k] : batch->outputs[k - 2];
        TM_TRY(give(draft, k, value, spatial ? NULL : draft->inputs.items[k < 3 ? k + 2 : k]));
    }
    return TM_OK;
}
