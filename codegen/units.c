/* SPDX-License-Identifier: Apache-2.0
 *
 * units.c: which units for products of narrow types a model's regions use.
 *
 * A region that uses none has the same code on levels that differ in units only; a model that uses none has
 * no code for such levels.
 */
#include "codegen/codegen.h"

#include <string.h>

static unsigned units_of_type(const tm_value *value) {
    return value != NULL && value->type == TAMIS_TYPE_BFLOAT16 ? TM_UNIT_DOT | TM_UNIT_TILES : 0;
}

unsigned tm_region_units(const tm_node *region) {
    const tm_graph *body = tm_node_graph(region, "body");
    const char *kind = tm_node_string(region, "kind");
    unsigned units = strcmp(kind, "attention_tiles") == 0   ? TM_UNIT_TILES
                     : strcmp(kind, "attention_bytes") == 0 ? TM_UNIT_BYTES | TM_UNIT_MIXED
                                                            : 0;
    unsigned matrix = strcmp(kind, "sparse") == 0 ? 0 : TM_UNIT_TILES;
    for (size_t i = 0; i < body->inputs.count; i++)
        units |= units_of_type(body->inputs.items[i]);
    for (const tm_node *node = body->first; node != NULL; node = node->next) {
        units |= node->op == TM_OP_MatMulInteger ? TM_UNIT_BYTES | TM_UNIT_MIXED | matrix : 0;
        units |= node->op == TM_OP_MatMulNBits ? TM_UNIT_BYTES : 0;
        for (int i = 0; i < node->output_count; i++)
            units |= units_of_type(node->outputs[i]);
    }
    return units;
}

unsigned tm_graph_units(const tm_graph *graph) {
    unsigned units = 0;
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        if (node->op == TM_OP_Region) {
            units |= tm_region_units(node);
            continue;
        }
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            units |= tm_graph_units(tm_node_subgraph(node, i));
    }
    return units;
}
