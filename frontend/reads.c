/* SPDX-License-Identifier: Apache-2.0
 *
 * reads.c: whether anything in the file reads a name.
 *
 * Some old operators work in another way when further outputs are wanted, and exporters list outputs
 * that nobody wants. The set of names that are read anywhere is made once, when it is first asked for:
 * inputs of nodes and outputs of graphs, at all depths and in functions. Scopes are not kept apart, so a
 * name that is read in another graph counts too.
 */
#include "frontend/importer.h"

static void note(tm_importer *importer, const char *name) {
    if (name != NULL && name[0] != 0)
        tm_map_set(&importer->read_names, name, NULL);
}

static void note_graph(tm_importer *importer, const Onnx__GraphProto *graph);

static void note_nodes(tm_importer *importer, Onnx__NodeProto *const *nodes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < nodes[i]->n_input; k++)
            note(importer, nodes[i]->input[k]);
        for (size_t k = 0; k < nodes[i]->n_attribute; k++) {
            const Onnx__AttributeProto *attribute = nodes[i]->attribute[k];
            if (attribute->g != NULL)
                note_graph(importer, attribute->g);
            for (size_t g = 0; g < attribute->n_graphs; g++)
                note_graph(importer, attribute->graphs[g]);
        }
    }
}

static void note_graph(tm_importer *importer, const Onnx__GraphProto *graph) {
    note_nodes(importer, graph->node, graph->n_node);
    for (size_t i = 0; i < graph->n_output; i++)
        note(importer, graph->output[i]->name);
}

bool tm_name_is_read(tm_importer *importer, const char *name) {
    if (!importer->reads_are_known) {
        importer->reads_are_known = true;
        tm_map_init(&importer->read_names, importer->scratch);
        if (importer->proto->graph != NULL)
            note_graph(importer, importer->proto->graph);
        for (size_t i = 0; i < importer->proto->n_functions; i++) {
            const Onnx__FunctionProto *function = importer->proto->functions[i];
            note_nodes(importer, function->node, function->n_node);
            for (size_t k = 0; k < function->n_output; k++)
                note(importer, function->output[k]);
        }
    }
    return tm_map_has(&importer->read_names, name);
}
