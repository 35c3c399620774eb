/* SPDX-License-Identifier: Apache-2.0
 *
 * importer.h: what the files of the importer share.
 *
 * A model is imported graph by graph. Each graph or function body has a scope: its names, the operator
 * sets that hold in it, and the graph in which its nodes are built. Each node of the file becomes a
 * draft (frontend/draft.h), is brought into the IR's form of its op, and is then built.
 */
#ifndef TM_FRONTEND_IMPORTER_H
#define TM_FRONTEND_IMPORTER_H

#include "frontend/tensor.h"

typedef struct tm_opset {
    const char *domain; /* "" for ONNX */
    int64_t version;
} tm_opset;

typedef struct tm_opsets {
    tm_opset *items;
    size_t count;
} tm_opsets;

struct tm_draft_attribute;

/* A call of a model-local function that is being inlined. */
typedef struct tm_frame {
    struct tm_frame *caller;
    const Onnx__FunctionProto *function;
    const struct tm_draft_attribute *attributes; /* of the call, resolved */
    size_t attribute_count;
    tm_place place; /* of the call */
} tm_frame;

typedef struct tm_scope {
    struct tm_scope *outer; /* where unknown names are looked up; NULL for the main graph and functions */
    tm_map names;           /* -> tm_value *; NULL: an omitted input of a function */
    tm_map wishes;          /* results of a function: name in the body -> name at the call */
    tm_map hints;           /* -> Onnx__TypeProto *, declared types of values made here */
    tm_graph *graph;
    tm_frame *frame; /* innermost call, or NULL */
    tm_opsets opsets;
    const char *path; /* "main/If_3.then_branch" */
    int64_t depth;    /* graphs and calls around it */
} tm_scope;

typedef struct tm_unsupported {
    const char *name; /* "com.microsoft.Foo" */
    int64_t count;
    tm_place first;
} tm_unsupported;

typedef struct tm_importer {
    tm_arena *arena;   /* the model's */
    tm_arena *scratch; /* freed when the import is done */
    tm_diagnostics *diagnostics;
    const tm_import_options *options;
    tm_model *model;
    tm_tensor_reader reader;
    const Onnx__ModelProto *proto;
    tm_map functions;   /* "domain:name:overload" -> Onnx__FunctionProto * */
    tm_map main_names;  /* names defined in the main graph: no inner value may take one */
    tm_map unsupported; /* -> tm_unsupported * */
    tm_code refused;    /* first E_UNSUPPORTED_FORM or the like; import goes on to find more */
    bool whole;         /* all nodes were read */
    int64_t node_count; /* built so far */
    tm_node *inferred;  /* last node of the main graph with inferred types, see tm_draft_rank */
    bool inference_failed;
    tm_map read_names; /* see tm_name_is_read */
    bool reads_are_known;
} tm_importer;

/* ---- import.c ---- */
/* The version of a domain, -1 when it is not imported. */
int64_t tm_opset_version(const tm_opsets *opsets, const char *domain);
const char *tm_domain_canonical(const char *domain); /* "ai.onnx" and NULL -> "" */
TM_MUST_USE tm_code tm_read_opsets(tm_importer *importer, Onnx__OperatorSetIdProto *const *list, size_t count,
                                   const tm_opsets *outer, tm_opsets *out_opsets);

/* ---- types.c ---- */
/* What a TypeProto says: optional(seq(tensor(float))) is OPTIONAL of SEQUENCE of FLOAT. */
typedef struct tm_form {
    tamis_kind kind, item;
    tamis_type type, key;
    const Onnx__TypeProto__Tensor *tensor; /* the innermost; its shape may be missing */
} tm_form;
/* False: there are no values of the type here. The element type is not checked. */
bool tm_read_form(const Onnx__TypeProto *type, tm_form *out);
TM_MUST_USE tm_code tm_import_input_type(tm_importer *importer, tm_value *value, const Onnx__TypeProto *type,
                                         const tm_place *place);
/* Names the dims that the inputs leave open: "x.0". */
void tm_import_open_dims(tm_importer *importer);
/* Form and rank that the file declares, for a value that inference has not seen. */
void tm_import_hint(tm_importer *importer, tm_value *value, const Onnx__TypeProto *type);
tamis_type tm_hint_type(const Onnx__TypeProto *type); /* UNDEFINED: not declared */
int tm_hint_rank(const Onnx__TypeProto *type);        /* -1: not declared */

/* ---- scope.c ---- */
void tm_scope_init(tm_importer *importer, tm_scope *scope, tm_scope *outer, tm_graph *graph,
                   const char *path);
/* False: not defined. */
bool tm_scope_find(const tm_scope *scope, const char *name, tm_value **out_value);
TM_MUST_USE tm_code tm_scope_define(tm_importer *importer, tm_scope *scope, const char *name, tm_value *value,
                                    const tm_place *place);
/* The name that a value defined here under `name` should get in the model. */
const char *tm_scope_wish(tm_importer *importer, const tm_scope *scope, const char *name);
const Onnx__TypeProto *tm_scope_hint(const tm_scope *scope, const char *name);

/* ---- graph.c ---- */
TM_MUST_USE tm_code tm_import_main(tm_importer *importer, const Onnx__GraphProto *proto);
/* A body: its inputs and outputs stand in the new graph. */
TM_MUST_USE tm_code tm_import_body(tm_importer *importer, tm_scope *outer, const Onnx__GraphProto *proto,
                                   const char *path, const tm_place *place, tm_graph **out_graph);
/* The same in parts, for bodies whose inputs and outputs are not the file's (SequenceMap). */
TM_MUST_USE tm_code tm_open_body(tm_importer *importer, tm_scope *outer, const Onnx__GraphProto *proto,
                                 const char *path, const tm_place *place, tm_scope **out_scope);
TM_MUST_USE tm_code tm_import_body_nodes(tm_importer *importer, tm_scope *scope,
                                         const Onnx__GraphProto *proto);
/* The nodes of a body put into `graph`, with values for its inputs; gives those of its outputs. */
TM_MUST_USE tm_code tm_inline_body(tm_importer *importer, tm_scope *outer, tm_graph *graph,
                                   const Onnx__GraphProto *proto, const char *path, const tm_place *place,
                                   tm_value *const *inputs, tm_value **out_outputs);
TM_MUST_USE tm_code tm_import_nodes(tm_importer *importer, tm_scope *scope, Onnx__NodeProto *const *nodes,
                                    size_t count);

/* ---- sort.c ---- */
/* An order of the nodes in which each follows what it reads; the file's where possible. */
TM_MUST_USE tm_code tm_sort_nodes(tm_importer *importer, const tm_scope *scope, Onnx__NodeProto *const *nodes,
                                  size_t count, size_t **out_order);

/* ---- reads.c ---- */
/* False: no node reads the name and no graph gives it back. */
bool tm_name_is_read(tm_importer *importer, const char *name);

/* ---- node.c ---- */
TM_MUST_USE tm_code tm_import_node(tm_importer *importer, tm_scope *scope, const Onnx__NodeProto *proto,
                                   size_t index);

#endif
