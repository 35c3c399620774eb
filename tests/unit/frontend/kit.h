/* SPDX-License-Identifier: Apache-2.0
 *
 * kit.h: builds ONNX models in memory for the tests of the frontend.
 *
 *     kit k;
 *     kit_init(&k, 17);
 *     kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "batch,4");
 *     kit_node(&k, k.graph, "Relu", "x", "y");
 *     kit_output(&k, k.graph, "y");
 *     assert_int_equal(kit_import(&k), TM_OK);
 *     assert_string_equal(kit_ops(&k, k.result->main), "Relu");
 *     kit_deinit(&k);
 *
 * Lists of names are one text with commas; an empty part is an omitted value. Dims are numbers, names, or
 * "?" for neither. All memory is the kit's arena.
 */
#ifndef TM_TESTS_FRONTEND_KIT_H
#define TM_TESTS_FRONTEND_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frontend/import.h"
#include "onnx.pb-c.h"

#include <stdio.h>
#include <string.h>

typedef struct kit {
    tm_arena arena;
    tm_diagnostics diagnostics;
    tm_import_options options;
    Onnx__ModelProto *model;
    Onnx__GraphProto *graph;
    tm_model *result;
    uint8_t *bytes; /* packed by kit_pack */
    size_t size;
} kit;

#define KIT_MAKER(type, init)                    \
    static inline type *kit_new_##init(kit *k) { \
        type *message = TM_NEW(&k->arena, type); \
        onnx__##init##__init(message);           \
        return message;                          \
    }
KIT_MAKER(Onnx__ModelProto, model_proto)
KIT_MAKER(Onnx__GraphProto, graph_proto)
KIT_MAKER(Onnx__NodeProto, node_proto)
KIT_MAKER(Onnx__AttributeProto, attribute_proto)
KIT_MAKER(Onnx__TensorProto, tensor_proto)
KIT_MAKER(Onnx__SparseTensorProto, sparse_tensor_proto)
KIT_MAKER(Onnx__ValueInfoProto, value_info_proto)
KIT_MAKER(Onnx__TypeProto, type_proto)
KIT_MAKER(Onnx__TypeProto__Tensor, type_proto__tensor)
KIT_MAKER(Onnx__TypeProto__Sequence, type_proto__sequence)
KIT_MAKER(Onnx__TensorShapeProto, tensor_shape_proto)
KIT_MAKER(Onnx__TensorShapeProto__Dimension, tensor_shape_proto__dimension)
KIT_MAKER(Onnx__OperatorSetIdProto, operator_set_id_proto)
KIT_MAKER(Onnx__FunctionProto, function_proto)
KIT_MAKER(Onnx__StringStringEntryProto, string_string_entry_proto)

/* Appends to a repeated field: KIT_ADD(k, graph, node, pointer). */
#define KIT_ADD(k, message, field, item)                                                                     \
    do {                                                                                                     \
        void *grown = tm_arena_alloc_array(&(k)->arena, (message)->n_##field + 1, sizeof *(message)->field); \
        if ((message)->n_##field != 0)                                                                       \
            memcpy(grown, (message)->field, (message)->n_##field * sizeof *(message)->field);                \
        (message)->field = grown;                                                                            \
        (message)->field[(message)->n_##field++] = (item);                                                   \
    } while (0)

static inline char *kit_text(kit *k, const char *text) {
    return tm_arena_string(&k->arena, text);
}

static inline void kit_opset(kit *k, const char *domain, int64_t version) {
    Onnx__OperatorSetIdProto *opset = kit_new_operator_set_id_proto(k);
    opset->domain = kit_text(k, domain);
    opset->has_version = 1;
    opset->version = version;
    KIT_ADD(k, k->model, opset_import, opset);
}

static inline void kit_init(kit *k, int64_t opset) {
    memset(k, 0, sizeof *k);
    tm_arena_init(&k->arena);
    tm_diagnostics_init(&k->diagnostics, &k->arena);
    tm_import_options_init(&k->options);
    k->model = kit_new_model_proto(k);
    k->model->has_ir_version = 1;
    k->model->ir_version = 10;
    k->graph = kit_new_graph_proto(k);
    k->graph->name = kit_text(k, "g");
    k->model->graph = k->graph;
    kit_opset(k, "", opset);
}

static inline void kit_deinit(kit *k) {
    tm_arena_deinit(&k->arena);
}

static inline char **kit_split(kit *k, const char *list, size_t *out_count) {
    size_t count = 0;
    char **names = tm_arena_alloc_array(&k->arena, strlen(list) + 1, sizeof *names);
    while (list[0] != 0 || count != 0) {
        size_t length = strcspn(list, ",");
        names[count++] = tm_arena_string_n(&k->arena, list, length);
        if (list[length] == 0)
            break;
        list += length + 1;
    }
    *out_count = count;
    return names;
}

/* A node; a dot in the op separates the domain: "com.microsoft.Gelu". */
static inline Onnx__NodeProto *kit_make_node(kit *k, const char *op, const char *inputs,
                                             const char *outputs) {
    Onnx__NodeProto *node = kit_new_node_proto(k);
    const char *dot = strrchr(op, '.');
    node->op_type = kit_text(k, dot != NULL ? dot + 1 : op);
    if (dot != NULL)
        node->domain = tm_arena_string_n(&k->arena, op, (size_t)(dot - op));
    node->input = kit_split(k, inputs, &node->n_input);
    node->output = kit_split(k, outputs, &node->n_output);
    return node;
}

static inline Onnx__NodeProto *kit_node(kit *k, Onnx__GraphProto *graph, const char *op, const char *inputs,
                                        const char *outputs) {
    Onnx__NodeProto *node = kit_make_node(k, op, inputs, outputs);
    KIT_ADD(k, graph, node, node);
    return node;
}

/* ---- attributes ---- */
static inline Onnx__AttributeProto *kit_attribute(kit *k, Onnx__NodeProto *node, const char *name,
                                                  int32_t type) {
    Onnx__AttributeProto *attribute = kit_new_attribute_proto(k);
    attribute->name = kit_text(k, name);
    attribute->has_type = 1;
    attribute->type = type;
    if (node != NULL)
        KIT_ADD(k, node, attribute, attribute);
    return attribute;
}

static inline void kit_int(kit *k, Onnx__NodeProto *node, const char *name, int64_t value) {
    Onnx__AttributeProto *attribute = kit_attribute(k, node, name, 2);
    attribute->has_i = 1;
    attribute->i = value;
}

static inline void kit_float(kit *k, Onnx__NodeProto *node, const char *name, float value) {
    Onnx__AttributeProto *attribute = kit_attribute(k, node, name, 1);
    attribute->has_f = 1;
    attribute->f = value;
}

static inline void kit_string(kit *k, Onnx__NodeProto *node, const char *name, const char *value) {
    Onnx__AttributeProto *attribute = kit_attribute(k, node, name, 3);
    attribute->has_s = 1;
    attribute->s = (ProtobufCBinaryData){strlen(value), (uint8_t *)kit_text(k, value)};
}

static inline void kit_ints(kit *k, Onnx__NodeProto *node, const char *name, size_t count,
                            const int64_t *values) {
    Onnx__AttributeProto *attribute = kit_attribute(k, node, name, 7);
    attribute->n_ints = count;
    attribute->ints = tm_arena_copy(&k->arena, values, count * sizeof *values);
}

static inline void kit_graph(kit *k, Onnx__NodeProto *node, const char *name, Onnx__GraphProto *graph) {
    kit_attribute(k, node, name, 5)->g = graph;
}

static inline void kit_reference(kit *k, Onnx__NodeProto *node, const char *name, int32_t type,
                                 const char *of) {
    kit_attribute(k, node, name, type)->ref_attr_name = kit_text(k, of);
}

/* ---- tensors, types ---- */
static inline Onnx__TensorProto *kit_tensor(kit *k, const char *name, tamis_type type, size_t rank,
                                            const int64_t *dims) {
    Onnx__TensorProto *tensor = kit_new_tensor_proto(k);
    tensor->name = name != NULL ? kit_text(k, name) : NULL;
    tensor->has_data_type = 1;
    tensor->data_type = (int32_t)type;
    tensor->n_dims = rank;
    tensor->dims = tm_arena_copy(&k->arena, dims, rank * sizeof *dims);
    return tensor;
}

static inline void kit_raw(kit *k, Onnx__TensorProto *tensor, size_t bytes, const void *data) {
    tensor->has_raw_data = 1;
    tensor->raw_data = (ProtobufCBinaryData){bytes, tm_arena_copy(&k->arena, data, bytes)};
}

/* A float initializer of rank 1. */
static inline void kit_floats(kit *k, Onnx__GraphProto *graph, const char *name, size_t count,
                              const float *values) {
    Onnx__TensorProto *tensor = kit_tensor(k, name, TAMIS_TYPE_FLOAT, 1, (int64_t[]){(int64_t)count});
    kit_raw(k, tensor, count * sizeof *values, values);
    KIT_ADD(k, graph, initializer, tensor);
}

static inline Onnx__TypeProto *kit_type(kit *k, tamis_type type, const char *dims) {
    Onnx__TypeProto *proto = kit_new_type_proto(k);
    proto->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    proto->tensor_type = kit_new_type_proto__tensor(k);
    proto->tensor_type->has_elem_type = 1;
    proto->tensor_type->elem_type = (int32_t)type;
    proto->tensor_type->shape = kit_new_tensor_shape_proto(k);
    size_t count;
    char **parts = kit_split(k, dims, &count);
    for (size_t i = 0; i < count; i++) {
        Onnx__TensorShapeProto__Dimension *dim = kit_new_tensor_shape_proto__dimension(k);
        long long number;
        char rest;
        if (sscanf(parts[i], "%lld%c", &number, &rest) == 1) {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = number;
        } else if (strcmp(parts[i], "?") != 0) {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dim->dim_param = parts[i];
        }
        KIT_ADD(k, proto->tensor_type->shape, dim, dim);
    }
    return proto;
}

static inline Onnx__ValueInfoProto *kit_input(kit *k, Onnx__GraphProto *graph, const char *name,
                                              tamis_type type, const char *dims) {
    Onnx__ValueInfoProto *info = kit_new_value_info_proto(k);
    info->name = kit_text(k, name);
    info->type = kit_type(k, type, dims);
    KIT_ADD(k, graph, input, info);
    return info;
}

static inline Onnx__ValueInfoProto *kit_output(kit *k, Onnx__GraphProto *graph, const char *name) {
    Onnx__ValueInfoProto *info = kit_new_value_info_proto(k);
    info->name = kit_text(k, name);
    KIT_ADD(k, graph, output, info);
    return info;
}

static inline Onnx__GraphProto *kit_body(kit *k, const char *name) {
    Onnx__GraphProto *graph = kit_new_graph_proto(k);
    graph->name = kit_text(k, name);
    return graph;
}

/* ---- results ---- */
static inline void kit_pack(kit *k) {
    k->size = onnx__model_proto__get_packed_size(k->model);
    k->bytes = tm_arena_alloc(&k->arena, k->size);
    onnx__model_proto__pack(k->model, k->bytes);
}

static inline tm_code kit_import(kit *k) {
    kit_pack(k);
    return tm_import_memory(&k->arena, &k->diagnostics, "test.onnx", k->bytes, k->size, &k->options,
                            &k->result);
}

/* "Unsqueeze Add": the ops in order. */
static inline const char *kit_ops(kit *k, const tm_graph *graph) {
    tm_text text;
    tm_text_init(&text, &k->arena);
    for (const tm_node *node = graph->first; node != NULL; node = node->next)
        tm_text_add(&text, "%s%s", node->previous != NULL ? " " : "", tm_op_get(node->op)->name);
    return tm_text_get(&text);
}

/* Message of the first diagnostic. */
static inline const char *kit_message(const kit *k) {
    return k->diagnostics.list.count != 0 ? k->diagnostics.list.items[0].message : "";
}

/* Element i of an input that must be an integer constant. */
static inline int64_t kit_input_int(const tm_node *node, int input, int64_t i) {
    int64_t value = 0;
    assert_true(input < node->input_count && tm_value_is_constant(node->inputs[input]));
    assert_true(tm_constant_int(node->inputs[input]->constant, i, &value));
    return value;
}

#endif
