/* SPDX-License-Identifier: Apache-2.0
 *
 * exporter.h: what the files of the exporter share.
 *
 * The messages of protobuf-c are built on a scratch arena, graph by graph; their names are the model's, and
 * their tensors' bytes stay where the constants have them. Then they are packed, part by part, into the file.
 */
#ifndef TM_FRONTEND_EXPORTER_H
#define TM_FRONTEND_EXPORTER_H

#include "frontend/export.h"

#include "onnx.pb-c.h"

/* A graph that is being written. */
typedef struct tm_export_graph {
    struct tm_export_graph *outer;
    const tm_graph *graph;
    TM_VECTOR(Onnx__NodeProto *) nodes;
    TM_VECTOR(Onnx__TensorProto *) initializers;
    TM_VECTOR(Onnx__ValueInfoProto *) infos;
    tm_map dims; /* number of a dim -> name of the i64[1] that holds it */
} tm_export_graph;

typedef struct tm_exporter {
    tm_arena *scratch;
    const tm_model *model;
    const tm_export_options *options;
    tm_export_graph *graph;                 /* innermost */
    bool *written;                          /* by id: constants that have become initializers */
    tm_map fresh;                           /* names made here */
    tm_map node_names; /* given out, with the next suffix to try */
    int64_t versions[TM_DOMAIN_TAMIS];      /* of each domain; 0: not used */
    TM_VECTOR(Onnx__TensorProto *) tensors; /* all initializers */
    tm_code refused;
} tm_exporter;

/* ---- export.c ---- */
void tm_export_tensor(tm_arena *arena, const char *name, const tm_constant *constant, Onnx__TensorProto *out);

/* ---- export_graph.c ---- */
TM_MUST_USE tm_code tm_export_graph_proto(tm_exporter *exporter, const tm_graph *graph,
                                          Onnx__GraphProto **out_proto);
/* The name of a value that is about to be read; a constant becomes an initializer of its graph. NULL: "". */
char *tm_export_read(tm_exporter *exporter, const tm_value *value);
char *tm_export_fresh_name(tm_exporter *exporter, const char *wish);
/* The type of a value, with dims, for readers whose inference does not find it. */
void tm_export_declare(tm_exporter *exporter, const tm_value *value);
/* A new node of the innermost graph, without attributes. */
Onnx__NodeProto *tm_export_emit(tm_exporter *exporter, const char *op, size_t input_count,
                                char *const *inputs, char *output);
/* An initializer of the innermost graph: integers of one dim. */
char *tm_export_list(tm_exporter *exporter, const int64_t *values, int64_t count);

/* ---- export_type.c ---- */
/* NULL: not known. Without dims: the rank stays. */
Onnx__TypeProto *tm_export_type(tm_arena *arena, const tm_value *value, bool with_dims);
Onnx__TypeProto *tm_export_form(tm_arena *arena, tamis_kind kind, tamis_kind item, tamis_type type,
                                tamis_type key, Onnx__TensorShapeProto *shape);
Onnx__TensorShapeProto *tm_export_open_shape(tm_arena *arena, int rank); /* NULL: rank < 0 */

/* ---- export_node.c ---- */
TM_MUST_USE tm_code tm_export_node(tm_exporter *exporter, const tm_node *node);
void tm_export_attribute_int(tm_arena *arena, Onnx__NodeProto *node, const char *name, int64_t value);

/* ---- export_dims.c ---- */
/* The dims of a value as the target of a Reshape of `source`: the name of an i64[rank]. NULL: there is a dim
 * that nothing in scope tells. *out_zero: dims of 0 are meant as such. */
char *tm_export_target(tm_exporter *exporter, const tm_value *source, const tm_value *result, bool *out_zero);

/* ---- export_version.c ---- */
/* Raises the versions of the exporter to what the node needs. */
void tm_export_need_version(tm_exporter *exporter, const tm_node *node);
/* The IR version that opsets and types of the model belong to. */
int64_t tm_export_ir_version(const tm_exporter *exporter);
/* False: the attribute says what its absence says, and opset 21 does not have it. */
bool tm_export_keeps_attribute(const tm_node *node, int index);

#endif
