/* SPDX-License-Identifier: Apache-2.0
 *
 * op.h: the op table at run time of the compiler: ir/ops.def as an array of records.
 */
#ifndef TM_IR_OP_H
#define TM_IR_OP_H

#include "base/base.h"

#define TM_MANY 0x7fffffff
#define TM_NO_DEFAULT INT64_MIN           /* of an int attribute: absent and without default */
#define TM_NO_DEFAULT_F __builtin_nan("") /* of a float attribute */

typedef enum tm_op {
    TM_OP_INVALID = 0,
#define TM_OP(name, ...) TM_OP_##name,
#include "ir/ops.def"
#undef TM_OP
    TM_OP_COUNT
} tm_op;

enum { /* traits */
    TM_NO_TRAITS = 0,
    TM_ELEMENTWISE = 1,
    TM_COMMUTATIVE = 2,
    TM_VIEW = 4,
    TM_MOVE = 8,
    TM_DYNAMIC = 16,
    TM_RANDOM = 32,
    TM_CONTROL = 64,
    TM_HANDLE = 128
};

typedef enum tm_domain { TM_DOMAIN_ONNX, TM_DOMAIN_ML, TM_DOMAIN_MS, TM_DOMAIN_TAMIS } tm_domain;
const char *tm_domain_name(tm_domain domain); /* "", "ai.onnx.ml", "com.microsoft"... */

typedef enum tm_attribute_kind {
    TM_ATTRIBUTE_INT,
    TM_ATTRIBUTE_FLOAT,
    TM_ATTRIBUTE_STRING,
    TM_ATTRIBUTE_INTS,
    TM_ATTRIBUTE_FLOATS,
    TM_ATTRIBUTE_STRINGS,
    TM_ATTRIBUTE_TENSOR,
    TM_ATTRIBUTE_GRAPH
} tm_attribute_kind;

typedef struct tm_attribute_spec {
    const char *name;
    tm_attribute_kind kind;
    bool has_default; /* lists, tensors, graphs: false */
    int64_t int_default;
    double float_default;
    const char *string_default;
} tm_attribute_spec;

/* How far an answer may stand from the exact one. */
typedef enum tm_exactness_class {
    TM_CLASS_EXACT,
    TM_CLASS_ULP,
    TM_CLASS_SUM,
    TM_CLASS_RANDOM
} tm_exactness_class;
typedef struct tm_exactness {
    tm_exactness_class class;
    int ulp;
} tm_exactness;

struct tm_infer_context;
struct tm_node;

typedef struct tm_op_info {
    const char *name;   /* as in ONNX: "Add" */
    tm_domain domain;
    int since;
    int inputs_min, inputs_max, outputs_min, outputs_max;
    const char *kernel_key;
    unsigned traits;
    tm_exactness exactness;
    tm_code (*infer)(struct tm_infer_context *context, struct tm_node *node);
    const tm_attribute_spec *attributes;
    int attribute_count;
} tm_op_info;

const tm_op_info *tm_op_get(tm_op op); /* never NULL; the INVALID record has name "?" */
tm_op tm_op_find(tm_domain domain, const char *name); /* TM_OP_INVALID: none */
int tm_op_attribute_index(tm_op op, const char *name); /* -1: none */
static inline bool tm_op_has(tm_op op, unsigned traits) { return (tm_op_get(op)->traits & traits) != 0; }

#endif
