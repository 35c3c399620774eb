/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_map.c: inference of what makes and reads maps (ai.onnx.ml), and of CategoryMapper.
 *
 * The type of a map's keys follows from which of two attributes is given, integers or strings:
 *
 *     %m: sequence map(string) f32[] = ai.onnx.ml.ZipMap(%scores: f32[n, 3]) {classlabels_strings = ["a",
 * "b", "c"]} %y: f32[1, 3] = ai.onnx.ml.DictVectorizer(%x: map(string) f32[]) {string_vocabulary = ["a", "b",
 * "c"]}
 */
#include "ir/infer.h"

#include <string.h>

static int64_t list_length(const tm_node *node, const char *name) {
    const tm_attribute *attribute = tm_node_attribute(node, name);
    return attribute->present ? attribute->count : 0;
}

/* Exactly one of the lists is given: its length, and the type of its entries. */
static tm_code either_list(tm_node *node, const char *ints, const char *strings, tamis_type *out_type,
                           int64_t *out_count) {
    int64_t int_count = list_length(node, ints), string_count = list_length(node, strings);
    if ((int_count > 0) == (string_count > 0))
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "give either %s or %s", ints, strings);
    *out_type = int_count > 0 ? TAMIS_TYPE_INT64 : TAMIS_TYPE_STRING;
    *out_count = int_count + string_count;
    return TM_OK;
}

/* A map has each key once. */
static tm_code need_distinct(tm_infer_context *context, tm_node *node, const char *name) {
    const tm_attribute *list = tm_node_attribute(node, name);
    tm_map seen;
    tm_map_init(&seen, context->arena);
    for (int64_t i = 0; list->present && i < list->count; i++) {
        const char *key = list->strings != NULL
                              ? list->strings[i]
                              : tm_arena_format(context->arena, "%lld", (long long)list->ints[i]);
        if (tm_map_has(&seen, key))
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s has '%s' twice", name, key);
        tm_map_set(&seen, key, NULL);
    }
    return TM_OK;
}

tm_code tm_infer_ml_zip_map(tm_infer_context *context, tm_node *node) {
    tamis_type key = TAMIS_TYPE_UNDEFINED;
    int64_t count = 0;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, (const tamis_type[]){TAMIS_TYPE_FLOAT, TAMIS_TYPE_UNDEFINED}));
    TM_TRY(either_list(node, "classlabels_int64s", "classlabels_strings", &key, &count));
    TM_TRY(need_distinct(context, node, "classlabels_int64s"));
    TM_TRY(need_distinct(context, node, "classlabels_strings"));
    const tm_value *x = node->inputs[0];
    if (x->rank < 1 || x->rank > 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has rank %d, expected 1 or 2", x->rank);
    TM_TRY(tm_infer_equal(context, node, x->dims[x->rank - 1], tm_infer_const(context, count),
                          "columns and class labels"));
    tm_value *y = tm_infer_output(node, 0);
    if (y == NULL)
        return tm_infer_fail(node, TM_E_ARITY, "the output is missing");
    tm_value_set_handle(y, TAMIS_KIND_SEQUENCE, TAMIS_TYPE_FLOAT, 0, NULL);
    y->item = TAMIS_KIND_MAP;
    y->key = key;
    return TM_OK;
}

/* Input 0 is a map of scalars with such keys. */
static tm_code need_map(tm_infer_context *context, tm_node *node, tamis_type key, const tamis_type *values) {
    const tm_value *x = tm_infer_input(node, 0);
    if (x == NULL)
        return tm_infer_fail(node, TM_E_ARITY, "input 0 is missing");
    if (x->kind != TAMIS_KIND_MAP || x->key != key)
        return tm_infer_fail(node, TM_E_TYPE, "input 0, '%s', is %s, not a map with keys of %s", x->name,
                             tm_value_form_text(context->arena, x), tm_type_text(key));
    if (x->rank > 0)
        return tm_infer_fail(node, TM_E_SHAPE, "the values of '%s' have %d dims, scalars are needed", x->name,
                             x->rank);
    return tm_infer_need_type(node, 0, values);
}

tm_code tm_infer_ml_dict_vectorizer(tm_infer_context *context, tm_node *node) {
    static const tamis_type values[] = {TAMIS_TYPE_INT64, TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE,
                                        TAMIS_TYPE_STRING, TAMIS_TYPE_UNDEFINED};
    tamis_type key = TAMIS_TYPE_UNDEFINED;
    int64_t count = 0;
    TM_TRY(either_list(node, "int64_vocabulary", "string_vocabulary", &key, &count));
    TM_TRY(need_map(context, node, key, values));
    if (key == node->inputs[0]->type)
        return tm_infer_fail(node, TM_E_TYPE, "maps from %s to the same type are not taken",
                             tm_type_text(key));
    tm_dim dims[2] = {tm_infer_const(context, 1), tm_infer_const(context, count)};
    tm_infer_set(node, 0, node->inputs[0]->type, 2, dims);
    return TM_OK;
}

tm_code tm_infer_ml_cast_map(tm_infer_context *context, tm_node *node) {
    static const struct {
        const char *name;
        tamis_type type;
    } targets[] = {
        {"TO_FLOAT", TAMIS_TYPE_FLOAT}, {"TO_INT64", TAMIS_TYPE_INT64}, {"TO_STRING", TAMIS_TYPE_STRING}};
    const char *to = tm_node_string(node, "cast_to"), *form = tm_node_string(node, "map_form");
    tamis_type type = TAMIS_TYPE_UNDEFINED;
    TM_TRY(need_map(context, node, TAMIS_TYPE_INT64,
                    (const tamis_type[]){TAMIS_TYPE_STRING, TAMIS_TYPE_FLOAT, TAMIS_TYPE_UNDEFINED}));
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (strcmp(to, targets[i].name) == 0)
            type = targets[i].type;
    if (type == TAMIS_TYPE_UNDEFINED)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "cast_to is '%s', not TO_FLOAT, TO_INT64 or TO_STRING",
                             to);
    bool sparse = strcmp(form, "SPARSE") == 0;
    if (!sparse && strcmp(form, "DENSE") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "map_form is '%s', neither DENSE nor SPARSE", form);
    int64_t columns = tm_node_int(node, "max_map");
    if (sparse && columns < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "max_map is %lld, at least 1 is needed",
                             (long long)columns);
    tm_dim dims[2] = {tm_infer_const(context, 1), sparse ? tm_infer_const(context, columns)
                                                         : tm_infer_free(context, node, 0, 1, NULL)};
    tm_infer_set(node, 0, type, 2, dims);
    return TM_OK;
}

tm_code tm_infer_ml_category_mapper(tm_infer_context *context, tm_node *node) {
    (void)context;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(
        node, 0, (const tamis_type[]){TAMIS_TYPE_INT64, TAMIS_TYPE_STRING, TAMIS_TYPE_UNDEFINED}));
    int64_t count = list_length(node, "cats_int64s");
    if (count < 1 || count != list_length(node, "cats_strings"))
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "cats_int64s and cats_strings are missing or differ in length");
    const tm_value *x = node->inputs[0];
    tm_infer_set_like(node, 0, x->type == TAMIS_TYPE_INT64 ? TAMIS_TYPE_STRING : TAMIS_TYPE_INT64, x);
    return TM_OK;
}
