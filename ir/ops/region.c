/* SPDX-License-Identifier: Apache-2.0
 *
 * region.c: Region, nodes that become one generated function.
 *
 * The body is a graph of its own: its inputs stand for the node's inputs, so it reads no value from outside
 * but scalars it holds as constants. Its meaning is that of its nodes; `kind` says which loops are made for
 * it (map, row, contract, tiles, pack, convolution, window, bottleneck, attention, attention_tiles, scan).
 * Values of bfloat16 that only regions of kind tiles read as their left factor are kept as tiles
 * (ir/tiles.h).
 *
 *     %y: f32[n, 64] = Region(%a, %b) {kind = "map", body = graph body(%x, %z) { ... }}
 */
#include "ir/infer.h"

tm_code tm_infer_region(tm_infer_context *context, tm_node *node) {
    tm_graph *body = tm_node_graph(node, "body");
    if (body == NULL || (int)body->inputs.count != node->input_count ||
        (int)body->outputs.count != node->output_count)
        return tm_infer_fail(node, TM_E_ARITY, "the body's inputs and outputs are not those of the region");
    for (int i = 0; i < node->input_count; i++) {
        TM_TRY(tm_infer_need(node, i, -1));
        const tm_value *outer = node->inputs[i];
        tm_value_set_tensor(body->inputs.items[i], outer->type, outer->rank, outer->dims);
    }
    TM_TRY(tm_infer_graph(context, body));
    for (int i = 0; i < node->output_count; i++)
        tm_infer_set_like(node, i, body->outputs.items[i]->type, body->outputs.items[i]);
    return TM_OK;
}
