/* SPDX-License-Identifier: Apache-2.0
 *
 * export_graph.c: graphs as GraphProto.
 *
 * Names are unique in the whole model, so a body reads values of the graphs around it by their names and
 * shadows nothing. A constant becomes an initializer of its graph when the first node reads it; those that
 * nothing reads are left out. ONNX Runtime wants the outputs of a body to be values that its nodes make, each
 * of them once; of an input that a body returns, it may give other numbers:
 *
 *     then_branch { return %x }         ->   then_branch { %x.out = Identity(%x)  return %x.out }
 */
#include "frontend/exporter.h"

char *tm_export_fresh_name(tm_exporter *exporter, const char *wish) {
    char *name = tm_arena_string(exporter->scratch, wish);
    for (int suffix = 1; tm_map_has(&exporter->model->names, name) || tm_map_has(&exporter->fresh, name);
         suffix++)
        name = tm_arena_format(exporter->scratch, "%s.%d", wish, suffix);
    tm_map_set(&exporter->fresh, name, NULL);
    return name;
}

Onnx__NodeProto *tm_export_emit(tm_exporter *exporter, const char *op, size_t input_count,
                                char *const *inputs, char *output) {
    tm_arena *arena = exporter->scratch;
    Onnx__NodeProto *node = TM_NEW(arena, Onnx__NodeProto);
    onnx__node_proto__init(node);
    node->op_type = tm_arena_string(arena, op);
    node->n_input = input_count;
    node->input = tm_arena_copy(arena, inputs, input_count * sizeof *inputs);
    node->n_output = 1;
    node->output = tm_arena_copy(arena, &output, sizeof output);
    tm_push(arena, &exporter->graph->nodes, node);
    return node;
}

static void add_initializer(tm_exporter *exporter, tm_export_graph *graph, const char *name,
                            const tm_constant *constant) {
    Onnx__TensorProto *tensor = TM_NEW(exporter->scratch, Onnx__TensorProto);
    tm_export_tensor(exporter->scratch, name, constant, tensor);
    tm_push(exporter->scratch, &graph->initializers, tensor);
    tm_push(exporter->scratch, &exporter->tensors, tensor);
}

char *tm_export_list(tm_exporter *exporter, const int64_t *values, int64_t count) {
    char *name = tm_export_fresh_name(exporter, "dims");
    add_initializer(exporter, exporter->graph, name,
                    tm_constant_create_i64(exporter->scratch, 1, &count, values));
    return name;
}

char *tm_export_read(tm_exporter *exporter, const tm_value *value) {
    if (value == NULL)
        return tm_arena_string(exporter->scratch, "");
    if (value->constant != NULL && !exporter->written[value->id]) {
        tm_export_graph *graph = exporter->graph;
        while (graph->graph != value->graph && graph->outer != NULL)
            graph = graph->outer;
        exporter->written[value->id] = true;
        add_initializer(exporter, graph, value->name, value->constant);
    }
    return tm_arena_string(exporter->scratch, value->name);
}

static Onnx__ValueInfoProto *new_info(tm_arena *arena, const char *name, const tm_value *value,
                                      bool with_dims) {
    Onnx__ValueInfoProto *info = TM_NEW(arena, Onnx__ValueInfoProto);
    onnx__value_info_proto__init(info);
    info->name = tm_arena_string(arena, name);
    info->type = tm_export_type(arena, value, with_dims);
    return info;
}

void tm_export_declare(tm_exporter *exporter, const tm_value *value) {
    for (size_t k = 0; k < value->uses.count; k++) /* outputs of a graph have their types anyway */
        if (value->uses.items[k].node == NULL)
            return;
    tm_push(exporter->scratch, &exporter->graph->infos,
            new_info(exporter->scratch, value->name, value, true));
}

/* Does a branch of an If give output i another rank than the If has? Nodes as they are written need not show
 * which of the branches counts. */
static bool branch_ranks_differ(const tm_node *node, int i) {
    static const char *const branches[] = {"then_branch", "else_branch"};
    if (node->op != TM_OP_If)
        return false;
    for (int k = 0; k < 2; k++)
        if (tm_node_graph(node, branches[k])->outputs.items[i]->rank != node->outputs[i]->rank)
            return true;
    return false;
}

/* Types that the file declared for inner values stay: they may be all that tells a rank. */
static void add_declared_types(tm_exporter *exporter, const tm_node *node) {
    for (int i = 0; i < node->output_count; i++) {
        const tm_value *value = node->outputs[i];
        if (value != NULL && value->type != TAMIS_TYPE_UNDEFINED &&
            (value->declared_rank >= 0 || branch_ranks_differ(node, i)))
            tm_export_declare(exporter, value);
    }
}

static bool is_before(const tm_graph *graph, size_t index) {
    for (size_t i = 0; i < index; i++)
        if (graph->outputs.items[i] == graph->outputs.items[index])
            return true;
    return false;
}

static char *export_output(tm_exporter *exporter, const tm_graph *graph, size_t index) {
    const tm_value *value = graph->outputs.items[index];
    char *name = tm_export_read(exporter, value);
    bool is_made_here = value->graph == graph && value->producer != NULL;
    if (graph->outer == NULL || (is_made_here && !is_before(graph, index)))
        return name;
    char *copy = tm_export_fresh_name(exporter, tm_arena_format(exporter->scratch, "%s.out", name));
    tm_export_emit(exporter, "Identity", 1, &name, copy);
    return copy;
}

static void fill_inputs_outputs(tm_exporter *exporter, const tm_graph *graph, Onnx__GraphProto *to) {
    tm_arena *arena = exporter->scratch;
    bool main = graph->outer ==
                NULL; /* dims of a body may differ from turn to turn, or hold in no branch that runs */
    to->n_input = graph->inputs.count;
    to->input = tm_arena_alloc_array(arena, to->n_input, sizeof *to->input);
    for (size_t i = 0; i < to->n_input; i++)
        to->input[i] = new_info(arena, graph->inputs.items[i]->name, graph->inputs.items[i], main);
    to->n_output = graph->outputs.count;
    to->output = tm_arena_alloc_array(arena, to->n_output, sizeof *to->output);
    for (size_t i = 0; i < to->n_output; i++)
        to->output[i] = new_info(arena, export_output(exporter, graph, i), graph->outputs.items[i], main);
}

tm_code tm_export_graph_proto(tm_exporter *exporter, const tm_graph *graph, Onnx__GraphProto **out_proto) {
    tm_arena *arena = exporter->scratch;
    tm_export_graph *here = TM_NEW(arena, tm_export_graph);
    here->outer = exporter->graph;
    here->graph = graph;
    tm_map_init(&here->dims, arena);
    exporter->graph = here;
    Onnx__GraphProto *to = TM_NEW(arena, Onnx__GraphProto);
    onnx__graph_proto__init(to);
    to->name = tm_arena_string(arena, graph->name != NULL && graph->name[0] != 0 ? graph->name : "graph");
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        TM_TRY(tm_export_node(exporter, node));
        add_declared_types(exporter, node);
    }
    fill_inputs_outputs(exporter, graph, to);
    to->n_node = here->nodes.count;
    to->node = here->nodes.items;
    to->n_initializer = here->initializers.count;
    to->initializer = here->initializers.items;
    to->n_value_info = here->infos.count;
    to->value_info = here->infos.items;
    exporter->graph = here->outer;
    *out_proto = to;
    return TM_OK;
}
