/* SPDX-License-Identifier: Apache-2.0
 *
 * op.c: the records of the op table.
 *
 * Each row of ir/ops.def becomes a constant array of attribute specs and one tm_op_info that points
 * to it, by expanding the file twice:
 *
 *     TM_OP(Gather, ..., TM_I(axis, 0))  ->  static const tm_attribute_spec specs_Gather[] = {{"axis", ...},
 * {0}}; [TM_OP_Gather] = {"Gather", ..., specs_Gather, 1}
 *
 * Names are found by comparing lengths first, in a byte table of their own that fits in a few cache
 * lines: the rows stand in the order of their topics, so they are not sorted, and a search by halves
 * would need a second list to keep in step.
 */
#include "ir/op.h"
#include "ir/infer.h"

#include <string.h>

#define TM_I(attribute, value) {#attribute, TM_ATTRIBUTE_INT, (value) != TM_NO_DEFAULT, value, 0, NULL},
#define TM_F(attribute, value) {#attribute, TM_ATTRIBUTE_FLOAT, (value) == (value), 0, (float)(value), NULL},
#define TM_S(attribute, value) \
    {#attribute, TM_ATTRIBUTE_STRING, _Generic((value), char *: true, default: false), 0, 0, value},
#define TM_IS(attribute) {#attribute, TM_ATTRIBUTE_INTS, false, 0, 0, NULL},
#define TM_FS(attribute) {#attribute, TM_ATTRIBUTE_FLOATS, false, 0, 0, NULL},
#define TM_SS(attribute) {#attribute, TM_ATTRIBUTE_STRINGS, false, 0, 0, NULL},
#define TM_T(attribute) {#attribute, TM_ATTRIBUTE_TENSOR, false, 0, 0, NULL},
#define TM_G(attribute) {#attribute, TM_ATTRIBUTE_GRAPH, false, 0, 0, NULL},
#define TM_NONE
#define TM_OP(name, domain, since, in_min, in_max, out_min, out_max, key, traits, exactness, infer, \
              attributes)                                                                           \
    static const tm_attribute_spec specs_##name[] = {attributes{0}};
#include "ir/ops.def"
#undef TM_OP

#define TM_EXACT {TM_CLASS_EXACT, 0}
#define TM_ULP(count) {TM_CLASS_ULP, count}
#define TM_SUM {TM_CLASS_SUM, 0}
#define TM_RANDOM_VALUES {TM_CLASS_RANDOM, 0}
#define TM_OP(name, domain, since, in_min, in_max, out_min, out_max, key, traits, exactness, infer, \
              attributes)                                                                           \
    [TM_OP_##name] = {#name,                                                                        \
                      TM_DOMAIN_##domain,                                                           \
                      since,                                                                        \
                      in_min,                                                                       \
                      in_max,                                                                       \
                      out_min,                                                                      \
                      out_max,                                                                      \
                      key,                                                                          \
                      traits,                                                                       \
                      exactness,                                                                    \
                      tm_infer_##infer,                                                             \
                      specs_##name,                                                                 \
                      (int)(sizeof(specs_##name) / sizeof(specs_##name[0])) - 1},
static const tm_op_info records[TM_OP_COUNT] = {
    [TM_OP_INVALID] = {"?", TM_DOMAIN_ONNX, 0, 0, TM_MANY, 0, TM_MANY, "", TM_NO_TRAITS, TM_EXACT, NULL, NULL,
                       0},
#include "ir/ops.def"
};
#undef TM_OP

static const uint8_t name_lengths[TM_OP_COUNT] = {
#define TM_OP(name, ...) [TM_OP_##name] = sizeof(#name) - 1,
#include "ir/ops.def"
#undef TM_OP
};

const char *tm_domain_name(tm_domain domain) {
    switch (domain) {
    case TM_DOMAIN_ML:
        return "ai.onnx.ml";
    case TM_DOMAIN_MS:
        return "com.microsoft";
    case TM_DOMAIN_TAMIS:
        return "tamis";
    case TM_DOMAIN_ONNX:
        break;
    }
    return "";
}

const tm_op_info *tm_op_get(tm_op op) {
    return &records[op > TM_OP_INVALID && op < TM_OP_COUNT ? op : TM_OP_INVALID];
}

tm_op tm_op_find(tm_domain domain, const char *name) {
    size_t length = strlen(name);
    for (int op = TM_OP_INVALID + 1; op < TM_OP_COUNT; op++)
        if (name_lengths[op] == length && records[op].domain == domain &&
            memcmp(records[op].name, name, length) == 0)
            return (tm_op)op;
    return TM_OP_INVALID;
}

int tm_op_attribute_index(tm_op op, const char *name) {
    const tm_op_info *info = tm_op_get(op);
    for (int i = 0; i < info->attribute_count; i++)
        if (strcmp(info->attributes[i].name, name) == 0)
            return i;
    return -1;
}
