/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of LSTM, GRU and RNN, and of ONNX Runtime's DynamicQuantizeLSTM.
 *
 *     X[seq, batch, input]  W[directions, gates*hidden, input]  R[directions, gates*hidden, hidden]
 *     Y[seq, directions, batch, hidden]  Y_h, Y_c[directions, batch, hidden]
 *
 * With layout 1, batch comes first everywhere.
 */
#include "ir/infer.h"

#include <string.h>

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                         TAMIS_TYPE_BFLOAT16, 0};
static const tamis_type float_only[] = {TAMIS_TYPE_FLOAT, 0};

/* Input i, when given, must have these dims. */
static tm_code check_input(tm_infer_context *context, tm_node *node, int input, int rank, const tm_dim *dims,
                           const char *what) {
    tm_value *value = tm_infer_input(node, input);
    if (value == NULL)
        return TM_OK;
    TM_TRY(tm_infer_need(node, input, rank));
    TM_TRY(tm_infer_same_type(node, 0, input));
    for (int i = 0; i < rank; i++)
        TM_TRY(tm_infer_equal(context, node, value->dims[i], dims[i], what));
    return TM_OK;
}

static tm_code check_direction(tm_node *node, int64_t *out_directions) {
    const char *direction = tm_node_string(node, "direction");
    bool both = strcmp(direction, "bidirectional") == 0;
    if (!both && strcmp(direction, "forward") != 0 && strcmp(direction, "reverse") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "direction is neither forward, reverse nor bidirectional");
    *out_directions = both ? 2 : 1;
    return TM_OK;
}

tm_code tm_infer_recurrent(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    bool dynamic = node->op == TM_OP_DynamicQuantizeLSTM, lstm = dynamic || node->op == TM_OP_LSTM;
    TM_TRY(tm_infer_need_type(node, 0, dynamic ? float_only : float_types));
    for (int i = 0; i < 3; i++)
        TM_TRY(tm_infer_need(node, i, 3));
    tm_value *x = tm_infer_input(node, 0), *r = tm_infer_input(node, 2);
    int64_t direction_count;
    TM_TRY(check_direction(node, &direction_count));
    bool first = tm_node_int(node, "layout") != 0;
    tm_dim directions = tm_infer_const(context, direction_count);
    tm_dim gates = tm_infer_const(context, lstm ? 4 : node->op == TM_OP_GRU ? 3 : 1);
    tm_dim seq = x->dims[first ? 1 : 0], batch = x->dims[first ? 0 : 1], hidden = r->dims[2];
    int64_t stated = tm_node_int(node, "hidden_size");
    if (stated != TM_NO_DEFAULT)
        TM_TRY(tm_infer_equal(context, node, hidden, tm_infer_const(context, stated),
                              "hidden_size and weights"));
    tm_dim rows = tm_dim_mul(dims, gates, hidden);
    tm_dim state[3] = {first ? batch : directions, first ? directions : batch, hidden};
    TM_TRY(check_input(context, node, 1, 3, (tm_dim[]){directions, rows, x->dims[2]}, "dims of W"));
    TM_TRY(check_input(context, node, 2, 3, (tm_dim[]){directions, rows, hidden}, "dims of R"));
    tm_dim biases = tm_dim_mul(dims, rows, tm_infer_const(context, 2));
    TM_TRY(check_input(context, node, 3, 2, (tm_dim[]){directions, biases}, "dims of B"));
    TM_TRY(check_input(context, node, 5, 3, state, "dims of initial_h"));
    if (lstm) {
        tm_dim peepholes = tm_dim_mul(dims, hidden, tm_infer_const(context, 3));
        TM_TRY(check_input(context, node, 6, 3, state, "dims of initial_c"));
        TM_TRY(check_input(context, node, 7, 2, (tm_dim[]){directions, peepholes}, "dims of P"));
    }
    tm_value *lengths = tm_infer_input(node, 4);
    if (lengths != NULL) {
        TM_TRY(tm_infer_need(node, 4, 1));
        TM_TRY(tm_infer_need_type(node, 4, (tamis_type[]){TAMIS_TYPE_INT32, 0}));
        TM_TRY(tm_infer_equal(context, node, lengths->dims[0], batch, "sequence_lens and batch"));
    }
    tm_dim sequence[4] = {first ? batch : seq, first ? seq : directions, first ? directions : batch, hidden};
    tm_infer_set(node, 0, x->type, 4, sequence);
    tm_infer_set(node, 1, x->type, 3, state);
    if (lstm)
        tm_infer_set(node, 2, x->type, 3, state);
    return TM_OK;
}
