/* SPDX-License-Identifier: Apache-2.0
 *
 * export_node.c: one node of the IR as NodeProto.
 *
 * The IR has ONNX's own forms, so name, inputs, outputs and attributes are written as they stand. What
 * differs:
 *
 *     views without a target  Reshape(%x)                 ->  Reshape(%x, target of the result's dims)
 *     Squeeze without axes    its result may keep dims    ->  Squeeze(%x, axes)
 *     Optional                {dtype, item, rank}         ->  {type = optional(tensor(float))}
 *     RegexFullMatch          {pattern, program}          ->  {pattern}
 *     StringSplit             one output                  ->  two, as the schema wants
 *
 * Ops that only tamis has, or whose form here is not that of ONNX Runtime, are refused, all in one go.
 */
#include "frontend/exporter.h"

#include <string.h>

/* ---- attributes ---- */

static Onnx__AttributeProto *add_attribute(tm_arena *arena, Onnx__NodeProto *node, const char *name,
                                           int32_t type) {
    enum { MOST = 40 }; /* more than any op has */
    if (node->attribute == NULL)
        node->attribute = tm_arena_alloc_array(arena, MOST, sizeof *node->attribute);
    Onnx__AttributeProto *attribute = TM_NEW(arena, Onnx__AttributeProto);
    onnx__attribute_proto__init(attribute);
    attribute->name = tm_arena_string(arena, name);
    attribute->has_type = 1;
    attribute->type = type;
    node->attribute[node->n_attribute++] = attribute;
    return attribute;
}

/* AttributeProto.AttributeType */
enum {
    TYPE_FLOAT = 1,
    TYPE_INT = 2,
    TYPE_STRING = 3,
    TYPE_TENSOR = 4,
    TYPE_GRAPH = 5,
    TYPE_FLOATS = 6,
    TYPE_INTS = 7,
    TYPE_STRINGS = 8,
    TYPE_TYPE = 13
};

void tm_export_attribute_int(tm_arena *arena, Onnx__NodeProto *node, const char *name, int64_t value) {
    Onnx__AttributeProto *attribute = add_attribute(arena, node, name, TYPE_INT);
    attribute->has_i = 1;
    attribute->i = value;
}

static ProtobufCBinaryData bytes_of(const char *text, size_t size) {
    return (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)text};
}

static void fill_list(tm_arena *arena, const tm_attribute *from, tm_attribute_kind kind,
                      Onnx__AttributeProto *to) {
    size_t count = (size_t)from->count;
    if (kind == TM_ATTRIBUTE_INTS) {
        to->n_ints = count;
        to->ints = tm_arena_copy(arena, from->ints, count * sizeof *to->ints);
    } else if (kind == TM_ATTRIBUTE_FLOATS) {
        to->n_floats = count;
        to->floats = TM_NEW_ARRAY(arena, float, count);
        for (size_t i = 0; i < count; i++)
            to->floats[i] = (float)from->floats[i];
    } else {
        to->n_strings = count;
        to->strings = TM_NEW_ARRAY(arena, ProtobufCBinaryData, count);
        for (size_t i = 0; i < count; i++)
            to->strings[i] = bytes_of(from->strings[i], strlen(from->strings[i]));
    }
}

static tm_code export_attribute(tm_exporter *exporter, const tm_attribute_spec *spec,
                                const tm_attribute *from, Onnx__NodeProto *node) {
    static const int32_t types[] = {
        [TM_ATTRIBUTE_INT] = TYPE_INT,       [TM_ATTRIBUTE_FLOAT] = TYPE_FLOAT,
        [TM_ATTRIBUTE_STRING] = TYPE_STRING, [TM_ATTRIBUTE_INTS] = TYPE_INTS,
        [TM_ATTRIBUTE_FLOATS] = TYPE_FLOATS, [TM_ATTRIBUTE_STRINGS] = TYPE_STRINGS,
        [TM_ATTRIBUTE_TENSOR] = TYPE_TENSOR, [TM_ATTRIBUTE_GRAPH] = TYPE_GRAPH};
    tm_arena *arena = exporter->scratch;
    Onnx__AttributeProto *to = add_attribute(arena, node, spec->name, types[spec->kind]);
    switch (spec->kind) {
    case TM_ATTRIBUTE_INT:
        to->has_i = 1;
        to->i = from->i;
        return TM_OK;
    case TM_ATTRIBUTE_FLOAT:
        to->has_f = 1;
        to->f = (float)from->f;
        return TM_OK;
    case TM_ATTRIBUTE_STRING:
        to->has_s = 1;
        to->s = bytes_of(from->s, (size_t)from->s_size);
        return TM_OK;
    case TM_ATTRIBUTE_TENSOR:
        to->t = TM_NEW(arena, Onnx__TensorProto);
        tm_export_tensor(arena, NULL, from->tensor, to->t);
        return TM_OK;
    case TM_ATTRIBUTE_GRAPH:
        return tm_export_graph_proto(exporter, from->graph, &to->g);
    default:
        fill_list(arena, from, spec->kind, to);
        return TM_OK;
    }
}

/* ---- forms that differ ---- */

static tm_code refuse(tm_exporter *exporter, const tm_node *node, const char *why) {
    tm_place place = tm_node_place(node);
    exporter->refused = tm_report(exporter->model->diagnostics, TM_E_UNSUPPORTED_FORM, &place, NULL,
                                  "%s cannot be written as ONNX: %s", tm_op_get(node->op)->name, why);
    return TM_OK; /* go on to find more */
}

static bool is_bare_view(const tm_node *node) {
    const tm_value *x = node->input_count > 0 ? node->inputs[0] : NULL;
    const tm_value *y = node->output_count > 0 ? node->outputs[0] : NULL;
    return (node->op == TM_OP_Reshape || node->op == TM_OP_Unsqueeze || node->op == TM_OP_Squeeze) &&
           (node->input_count < 2 || node->inputs[1] == NULL) && x != NULL && x->rank >= 0 && y != NULL &&
           y->rank >= 0;
}

/* Axes that Squeeze takes from x to have y: those of the dims known as 1, when that is what it did. */
static bool squeezed_axes(const tm_value *x, const tm_value *y, int64_t *axes, int *out_count) {
    int kept = 0;
    *out_count = 0;
    for (int i = 0; i < x->rank; i++)
        if (tm_dim_is(x->dims[i], 1))
            axes[(*out_count)++] = i;
        else if (kept >= y->rank || x->dims[i] != y->dims[kept++])
            return false;
    return kept == y->rank;
}

static tm_code export_view(tm_exporter *exporter, const tm_node *node, Onnx__NodeProto *to) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    int64_t axes[TAMIS_MAX_RANK];
    int count;
    bool zero = false;
    to->n_input = 2;
    if (node->op == TM_OP_Squeeze && squeezed_axes(x, y, axes, &count)) {
        to->input[1] = tm_export_list(exporter, axes, count);
        return TM_OK;
    }
    to->op_type = tm_arena_string(exporter->scratch, "Reshape");
    to->input[1] = tm_export_target(exporter, x, y, &zero);
    if (to->input[1] == NULL)
        return refuse(exporter, node, "a dim of its result is known only inside of another node");
    if (zero)
        tm_export_attribute_int(exporter->scratch, to, "allowzero", 1);
    if (y->declared_rank < 0)
        tm_export_declare(exporter, y);
    return TM_OK;
}

/* What an empty optional could hold. */
static void export_optional_type(tm_exporter *exporter, const tm_node *node, Onnx__NodeProto *to) {
    const tm_value *value = node->outputs[0];
    if (node->input_count > 0 && node->inputs[0] != NULL)
        return;
    tm_arena *arena = exporter->scratch;
    Onnx__TensorShapeProto *shape = tm_export_open_shape(arena, (int)tm_node_int(node, "rank"));
    Onnx__TypeProto *type =
        tm_export_form(arena, TAMIS_KIND_OPTIONAL, value->item, value->type, value->key, shape);
    if (type != NULL)
        add_attribute(arena, to, "type", TYPE_TYPE)->tp = type->optional_type->elem_type;
}

/* Attributes of the row that ONNX does not have. */
static bool is_internal(const tm_node *node, const char *attribute) {
    return node->op == TM_OP_Optional ||
           (node->op == TM_OP_RegexFullMatch && strcmp(attribute, "program") == 0);
}

/* ---- nodes ---- */

static tm_code export_attributes(tm_exporter *exporter, const tm_node *node, Onnx__NodeProto *to) {
    const tm_op_info *info = tm_op_get(node->op);
    for (int i = 0; i < info->attribute_count; i++)
        if (node->attributes[i].present && tm_export_keeps_attribute(node, i) &&
            !is_internal(node, info->attributes[i].name))
            TM_TRY(export_attribute(exporter, &info->attributes[i], &node->attributes[i], to));
    if (node->op == TM_OP_Optional)
        export_optional_type(exporter, node, to);
    return TM_OK;
}

static void export_operands(tm_exporter *exporter, const tm_node *node, Onnx__NodeProto *to) {
    tm_arena *arena = exporter->scratch;
    to->n_input = (size_t)node->input_count;
    to->input = tm_arena_alloc_array(arena, to->n_input + 1, sizeof *to->input);
    for (int i = 0; i < node->input_count; i++)
        to->input[i] = tm_export_read(exporter, node->inputs[i]);
    to->n_output = (size_t)node->output_count;
    to->output = tm_arena_alloc_array(arena, to->n_output + 1, sizeof *to->output);
    for (int i = 0; i < node->output_count; i++)
        to->output[i] = tm_arena_string(arena, node->outputs[i] != NULL ? node->outputs[i]->name : "");
    if (node->op == TM_OP_StringSplit && node->output_count == 1)
        to->output[to->n_output++] = tm_export_fresh_name(exporter, "count");
}

/* Several nodes may come of one of the source and have its name; ONNX Runtime takes each name once. */
static char *unique_name(tm_exporter *exporter, const char *wish) {
    char *name = tm_arena_string(exporter->scratch, wish);
    uintptr_t suffix = (uintptr_t)tm_map_get(&exporter->node_names, wish);
    while (tm_map_has(&exporter->node_names, name))
        name = tm_arena_format(exporter->scratch, "%s.%zu", wish, (size_t)++suffix);
    tm_map_set(&exporter->node_names, name, NULL);
    tm_map_set(&exporter->node_names, wish, (void *)suffix);
    return name;
}

tm_code tm_export_node(tm_exporter *exporter, const tm_node *node) {
    const tm_op_info *info = tm_op_get(node->op);
    tm_arena *arena = exporter->scratch;
    if (info->domain == TM_DOMAIN_TAMIS)
        return refuse(exporter, node, "it is an operator of tamis alone");
    if (node->op == TM_OP_MatMulNBits || node->op == TM_OP_DynamicQuantizeLSTM)
        return refuse(exporter, node, "its weights have another form here than in com.microsoft");
    tm_export_need_version(exporter, node);
    Onnx__NodeProto *to = TM_NEW(arena, Onnx__NodeProto);
    onnx__node_proto__init(to);
    if (node->name != NULL && node->name[0] != 0)
        to->name = unique_name(exporter, node->name);
    to->op_type = tm_arena_string(arena, info->name);
    if (info->domain != TM_DOMAIN_ONNX)
        to->domain = tm_arena_string(arena, tm_domain_name(info->domain));
    export_operands(exporter, node, to);
    if (is_bare_view(node))
        TM_TRY(export_view(exporter, node, to));
    else
        TM_TRY(export_attributes(exporter, node, to));
    tm_push(arena, &exporter->graph->nodes, to);
    return TM_OK;
}
