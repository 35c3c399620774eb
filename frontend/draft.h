/* SPDX-License-Identifier: Apache-2.0
 *
 * draft.h: a node on its way from the file into the graph.
 *
 * A draft has the op, inputs, output names and attributes as the file has them. The functions of
 * frontend/opset/ change it until it has the form of the op's row in ir/ops.def:
 *
 *     Clip-6(x) {min: 0.0, max: 6.0}   ->   Clip(x, <0.0>, <6.0>)
 *
 * They may also build helper nodes before it (tm_draft_emit), or build everything themselves and bind
 * the outputs (tm_draft_bind).
 */
#ifndef TM_FRONTEND_DRAFT_H
#define TM_FRONTEND_DRAFT_H

#include "frontend/importer.h"

typedef struct tm_draft_attribute {
    const char *name;
    tm_attribute_kind kind;
    tm_attribute value;            /* lists and strings live in the scratch arena */
    const Onnx__GraphProto *graph; /* kind GRAPH */
    tm_scope *scope;               /* in which the graph was written */
    const Onnx__TypeProto *type; /* not NULL: a type, which no row of ir/ops.def has; `kind` means nothing */
} tm_draft_attribute;

typedef struct tm_draft {
    tm_importer *importer;
    tm_scope *scope;
    const Onnx__NodeProto *proto;
    const char *op;
    const char *domain;
    int64_t version;                 /* of the domain's operator set */
    TM_VECTOR(tm_value *) inputs;    /* NULL: omitted */
    TM_VECTOR(const char *) outputs; /* NULL: omitted */
    TM_VECTOR(tm_draft_attribute) attributes;
    tm_place place;
    bool finished; /* all outputs are bound: no node is built */
} tm_draft;

/* ---- attributes ---- */
tm_draft_attribute *tm_draft_find(const tm_draft *draft, const char *name); /* NULL: absent */
bool tm_draft_has(const tm_draft *draft, const char *name);
int64_t tm_draft_int(const tm_draft *draft, const char *name, int64_t otherwise);
double tm_draft_float(const tm_draft *draft, const char *name, double otherwise);
const char *tm_draft_string(const tm_draft *draft, const char *name, const char *otherwise);
/* A list of ints; false when absent. */
bool tm_draft_ints(const tm_draft *draft, const char *name, const int64_t **out_values, int64_t *out_count);
void tm_draft_remove(tm_draft *draft, const char *name);
void tm_draft_rename(tm_draft *draft, const char *name, const char *new_name);
void tm_draft_clear_attributes(tm_draft *draft);
void tm_draft_set_int(tm_draft *draft, const char *name, int64_t value);
void tm_draft_set_float(tm_draft *draft, const char *name, double value);
void tm_draft_set_string(tm_draft *draft, const char *name, const char *value);
void tm_draft_set_ints(tm_draft *draft, const char *name, const int64_t *values, int64_t count);

/* ---- inputs and helper nodes ---- */
tm_value *tm_draft_input(const tm_draft *draft, size_t index);           /* NULL: omitted */
void tm_draft_set_input(tm_draft *draft, size_t index, tm_value *value); /* fills gaps with omitted ones */
void tm_draft_set_inputs(tm_draft *draft, size_t count, tm_value *const *values);
/* A name for an added value, which takes none of the file's. */
const char *tm_draft_added_name(const tm_draft *draft);
/* A constant value named after the node's first output. */
tm_value *tm_draft_constant(tm_draft *draft, const tm_constant *constant);
tm_value *tm_draft_constant_ints(tm_draft *draft, const int64_t *values, int64_t count); /* rank 1 */
tm_value *tm_draft_constant_int(tm_draft *draft, int64_t value);                         /* rank 0 */
/* A scalar of the type of `like`. */
TM_MUST_USE tm_code tm_draft_constant_like(tm_draft *draft, double value, tm_value *like,
                                           tm_value **out_value);
/* A helper node before the draft's with one output. */
tm_node *tm_draft_emit_node(tm_draft *draft, tm_op op, int count, tm_value *const *inputs);
/* One more output of a helper node, under a name that the file does not use. */
tm_value *tm_draft_add_output(tm_draft *draft, tm_node *node);
tm_value *tm_draft_emit(tm_draft *draft, tm_op op, int count, tm_value *const *inputs);
/* Output `index` of the file's node is this value; no node is built of the draft then. */
TM_MUST_USE tm_code tm_draft_bind(tm_draft *draft, size_t index, tm_value *value);
bool tm_draft_has_output(const tm_draft *draft, size_t index);

/* ---- facts ---- */
/* Infers as far as needed. Files a diagnostic (or fails quietly after an unsupported op) when the rank
 * or the type cannot be told. */
TM_MUST_USE tm_code tm_draft_rank(tm_draft *draft, tm_value *value, int *out_rank);
bool tm_draft_known_rank(tm_draft *draft, tm_value *value, int *out_rank);
tamis_type tm_draft_type(tm_draft *draft, tm_value *value); /* UNDEFINED: not known */

/* ---- failures ---- */
tm_code tm_draft_fail(tm_draft *draft, tm_code code, const char *format, ...) TM_PRINTF(3, 4);

/* ---- frontend/opset/table.c ---- */
/* Brings the draft into the form of the op's row. */
TM_MUST_USE tm_code tm_normalise(tm_draft *draft);

/* ---- frontend/attribute.c ---- */
TM_MUST_USE tm_code tm_draft_read_attributes(tm_draft *draft);

/* ---- frontend/function.c ---- */
const Onnx__FunctionProto *tm_function_find(const tm_importer *importer, const Onnx__NodeProto *node);
TM_MUST_USE tm_code tm_functions_index(tm_importer *importer);
TM_MUST_USE tm_code tm_inline_function(tm_draft *draft, const Onnx__FunctionProto *function);

/* ---- frontend/build.c ---- */
/* Builds the node, or poisoned outputs for an op that is not supported. */
TM_MUST_USE tm_code tm_draft_build(tm_draft *draft);
/* A helper node gets the draft's attributes, none of them a graph, if its row has them all. */
TM_MUST_USE tm_code tm_draft_give_attributes(tm_draft *draft, tm_node *node);
/* Notes an unsupported op and binds the outputs to values of no type, so that import can go on. */
TM_MUST_USE tm_code tm_draft_poison(tm_draft *draft);

#endif
