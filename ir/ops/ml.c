/* SPDX-License-Identifier: Apache-2.0
 *
 * ml.c: inference of classical machine learning (ai.onnx.ml).
 *
 *   ml_row      a model that reads rows of features [N, C] (or one row [C]) and gives rows of scores:
 *               trees, linear models, support vectors. Classifiers give the label of each row first.
 *   ml_float    functions of single elements or rows that keep dims: Imputer, Normalizer, Scaler, Binarizer
 *   ml_feature  look-ups and rearrangements of features
 */
#include "ir/infer.h"

static const tamis_type row_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE,  TAMIS_TYPE_INT64,
                                       TAMIS_TYPE_INT32, TAMIS_TYPE_FLOAT16, 0};

static int64_t list_length(const tm_node *node, const char *name) {
    const tm_attribute *attribute = tm_node_attribute(node, name);
    return attribute->present ? attribute->count : 0;
}

static int64_t tensor_length(const tm_node *node, const char *name) {
    const tm_attribute *attribute = tm_node_attribute(node, name);
    return attribute->present && attribute->tensor != NULL ? tm_constant_count(attribute->tensor) : 0;
}

/* ---- rows ---- */

typedef struct row_shape {
    tm_dim rows, features;
} row_shape;

static tm_code need_rows(tm_infer_context *context, tm_node *node, row_shape *out) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, row_types));
    const tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 1 || x->rank > 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has rank %d, expected 1 or 2", x->rank);
    out->rows = x->rank == 2 ? x->dims[0] : tm_infer_const(context, 1);
    out->features = x->dims[x->rank - 1];
    return TM_OK;
}

/* Labels (input 0 of the pair of lists decides their type) and scores. */
static tm_code set_classes(tm_infer_context *context, tm_node *node, const row_shape *shape, const char *ints,
                           const char *strings, int64_t columns) {
    int64_t int_labels = list_length(node, ints), string_labels = list_length(node, strings);
    if ((int_labels > 0) == (string_labels > 0))
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "give either %s or %s", ints, strings);
    tm_dim dims[2] = {shape->rows,
                      tm_infer_const(context, columns > 0 ? columns : int_labels + string_labels)};
    tm_infer_set(node, 0, int_labels > 0 ? TAMIS_TYPE_INT64 : TAMIS_TYPE_STRING, 1, dims);
    tm_infer_set(node, 1, TAMIS_TYPE_FLOAT, 2, dims);
    return TM_OK;
}

static tm_code set_targets(tm_infer_context *context, tm_node *node, const row_shape *shape, tamis_type type,
                           int64_t targets) {
    if (targets < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "the number of targets is missing or below 1");
    tm_dim dims[2] = {shape->rows, tm_infer_const(context, targets)};
    tm_infer_set(node, 0, type, 2, dims);
    return TM_OK;
}

/* Lists that run in parallel over the nodes (or leaves) of a tree ensemble must have one length. */
static tm_code same_lengths(tm_node *node, const char *first, const char *const *others, int count) {
    for (int i = 0; i < count; i++) {
        int64_t length = list_length(node, others[i]);
        if (length != list_length(node, first))
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s and %s differ in length", first, others[i]);
    }
    return TM_OK;
}

/* The list or, with the suffix _as_tensor, the tensor. */
static int64_t either_length(const tm_node *node, const char *list, const char *tensor) {
    return tm_node_has_attribute(node, tensor) ? tensor_length(node, tensor) : list_length(node, list);
}

static tm_code check_missing(tm_node *node, int64_t nodes) {
    int64_t count = list_length(node, "nodes_missing_value_tracks_true");
    if (count != 0 && count != nodes)
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "nodes_missing_value_tracks_true has not one entry for each node");
    return TM_OK;
}

static tm_code check_old_trees(tm_node *node, const char *leaf_id, const char *leaf_node,
                               const char *leaf_tree, int64_t weights) {
    static const char *const node_lists[] = {"nodes_truenodeids", "nodes_featureids", "nodes_modes",
                                             "nodes_nodeids", "nodes_treeids"};
    const char *const leaf_lists[] = {leaf_node, leaf_tree};
    int64_t nodes = list_length(node, "nodes_falsenodeids");
    TM_TRY(same_lengths(node, "nodes_falsenodeids", node_lists, 5));
    TM_TRY(check_missing(node, nodes));
    if (either_length(node, "nodes_values", "nodes_values_as_tensor") != nodes)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "nodes_values has not one entry for each node");
    if (weights != list_length(node, leaf_id) || nodes >= INT32_MAX / 4 || weights >= INT32_MAX / 4)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s has not one weight for each entry", leaf_id);
    return same_lengths(node, leaf_id, leaf_lists, 2);
}

static tm_code infer_trees(tm_infer_context *context, tm_node *node, const row_shape *shape) {
    static const char *const node_lists[] = {"nodes_truenodeids", "nodes_falseleafs", "nodes_trueleafs",
                                             "nodes_falsenodeids"};
    TM_TRY(same_lengths(node, "nodes_featureids", node_lists, 4));
    int64_t nodes = list_length(node, "nodes_featureids");
    TM_TRY(check_missing(node, nodes));
    const tm_attribute *modes = tm_node_attribute(node, "nodes_modes");
    if (modes->present && modes->tensor->type != TAMIS_TYPE_UINT8)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "nodes_modes is not u8");
    if (nodes != tensor_length(node, "nodes_splits") || nodes != tensor_length(node, "nodes_modes"))
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "nodes_splits, nodes_modes and nodes_featureids differ in length");
    if (list_length(node, "leaf_targetids") != tensor_length(node, "leaf_weights"))
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "leaf_weights and leaf_targetids differ in length");
    return set_targets(context, node, shape, tm_infer_input(node, 0)->type, tm_node_int(node, "n_targets"));
}

static tm_code infer_svm_classifier(tm_infer_context *context, tm_node *node, const row_shape *shape) {
    int64_t classes = list_length(node, "classlabels_ints") + list_length(node, "classlabels_strings");
    int64_t supports = list_length(node, "vectors_per_class");
    int64_t pairs = classes * (classes - 1) / 2;
    if (supports == 0 || list_length(node, "prob_a") > 0)
        return set_classes(context, node, shape, "classlabels_ints", "classlabels_strings", classes);
    return set_classes(context, node, shape, "classlabels_ints", "classlabels_strings",
                       classes <= 2 ? classes : pairs);
}

tm_code tm_infer_ml_row(tm_infer_context *context, tm_node *node) {
    row_shape shape;
    TM_TRY(need_rows(context, node, &shape));
    switch (node->op) {
    case TM_OP_TreeEnsemble:
        return infer_trees(context, node, &shape);
    case TM_OP_TreeEnsembleRegressor:
        TM_TRY(check_old_trees(node, "target_ids", "target_nodeids", "target_treeids",
                               either_length(node, "target_weights", "target_weights_as_tensor")));
        return set_targets(context, node, &shape, TAMIS_TYPE_FLOAT, tm_node_int(node, "n_targets"));
    case TM_OP_TreeEnsembleClassifier:
        TM_TRY(check_old_trees(node, "class_ids", "class_nodeids", "class_treeids",
                               either_length(node, "class_weights", "class_weights_as_tensor")));
        return set_classes(context, node, &shape, "classlabels_int64s", "classlabels_strings", 0);
    case TM_OP_LinearRegressor:
        return set_targets(context, node, &shape, TAMIS_TYPE_FLOAT, tm_node_int(node, "targets"));
    case TM_OP_LinearClassifier:
        return set_classes(context, node, &shape, "classlabels_ints", "classlabels_strings", 0);
    case TM_OP_SVMRegressor:
        return set_targets(context, node, &shape, TAMIS_TYPE_FLOAT, 1);
    default:
        return infer_svm_classifier(context, node, &shape);
    }
}

/* ---- elements ---- */

tm_code tm_infer_ml_float(tm_infer_context *context, tm_node *node) {
    (void)context;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, row_types));
    tm_value *x = tm_infer_input(node, 0);
    bool keeps_type = node->op == TM_OP_Imputer || node->op == TM_OP_Binarizer;
    tm_infer_set_like(node, 0, keeps_type ? x->type : TAMIS_TYPE_FLOAT, x);
    return TM_OK;
}

/* ---- features ---- */

static tm_code infer_extractor(tm_infer_context *context, tm_node *node) {
    tm_dim dims[TAMIS_MAX_RANK];
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, 1, -1));
    const tm_value *x = tm_infer_input(node, 0), *indices = tm_infer_input(node, 1);
    if (x->rank < 1)
        return tm_infer_fail(node, TM_E_SHAPE, "the data has no axis to pick from");
    int rank = x->rank == 1 ? 2 : x->rank;
    dims[0] = tm_infer_const(context, 1);
    for (int i = 0; i < x->rank - 1; i++)
        dims[i] = x->dims[i];
    dims[rank - 1] = tm_dim_product(context->dims, indices->dims, indices->rank);
    tm_infer_set(node, 0, x->type, rank, dims);
    return TM_OK;
}

static tm_code infer_vectorizer(tm_infer_context *context, tm_node *node) {
    tm_dim rows = NULL, width = tm_infer_const(context, 0);
    const tm_attribute *sizes = tm_node_attribute(node, "inputdimensions");
    for (int i = 0; i < node->input_count; i++) {
        TM_TRY(tm_infer_need(node, i, -1));
        TM_TRY(tm_infer_need_type(node, i, row_types));
        const tm_value *x = tm_infer_input(node, i);
        if (x->rank < 1 || x->rank > 2)
            return tm_infer_fail(node, TM_E_SHAPE, "input %d has rank %d, expected 1 or 2", i, x->rank);
        tm_dim own = x->rank == 2 ? x->dims[0] : tm_infer_const(context, 1);
        if (rows == NULL)
            rows = own;
        TM_TRY(tm_infer_equal(context, node, rows, own, "rows"));
        bool given = sizes->present && i < sizes->count;
        tm_dim columns = given ? tm_infer_const(context, sizes->ints[i]) : x->dims[x->rank - 1];
        if (given && sizes->ints[i] < 0)
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "inputdimensions has a negative entry");
        width = tm_dim_add(context->dims, width, columns);
    }
    tm_dim dims[2] = {rows, width};
    tm_infer_set(node, 0, TAMIS_TYPE_FLOAT, 2, dims);
    return TM_OK;
}

static tm_code infer_label_encoder(tm_infer_context *context, tm_node *node) {
    static const char *const keys[] = {"keys_floats", "keys_int64s", "keys_strings"};
    static const char *const values[] = {"values_floats", "values_int64s", "values_strings"};
    static const tamis_type types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_INT64, TAMIS_TYPE_STRING};
    tamis_type key = TAMIS_TYPE_UNDEFINED, value = TAMIS_TYPE_UNDEFINED;
    int64_t key_count = tensor_length(node, "keys_tensor"),
            value_count = tensor_length(node, "values_tensor");
    (void)context;
    TM_TRY(tm_infer_need(node, 0, -1));
    if (tm_node_has_attribute(node, "keys_tensor"))
        key = tm_node_attribute(node, "keys_tensor")->tensor->type;
    if (tm_node_has_attribute(node, "values_tensor"))
        value = tm_node_attribute(node, "values_tensor")->tensor->type;
    for (int i = 0; i < 3; i++) {
        if (key == TAMIS_TYPE_UNDEFINED && tm_node_has_attribute(node, keys[i])) {
            key = types[i];
            key_count = list_length(node, keys[i]);
        }
        if (value == TAMIS_TYPE_UNDEFINED && tm_node_has_attribute(node, values[i])) {
            value = types[i];
            value_count = list_length(node, values[i]);
        }
    }
    tm_value *x = tm_infer_input(node, 0);
    if (key == TAMIS_TYPE_UNDEFINED || value == TAMIS_TYPE_UNDEFINED || key_count != value_count)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "keys and values are missing or differ in length");
    if (key != x->type)
        return tm_infer_fail(node, TM_E_TYPE, "the keys are %s, the input %s", tm_type_text(key),
                             tm_type_text(x->type));
    tm_infer_set_like(node, 0, value, x);
    return TM_OK;
}

static tm_code infer_one_hot_encoder(tm_infer_context *context, tm_node *node) {
    tm_dim dims[TAMIS_MAX_RANK];
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *x = tm_infer_input(node, 0);
    int64_t categories = list_length(node, x->type == TAMIS_TYPE_STRING ? "cats_strings" : "cats_int64s");
    if (categories < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "no categories for an input of %s", tm_type_text(x->type));
    if (x->rank >= TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_SHAPE, "the result's rank is above %d", TAMIS_MAX_RANK);
    for (int i = 0; i < x->rank; i++)
        dims[i] = x->dims[i];
    dims[x->rank] = tm_infer_const(context, categories);
    tm_infer_set(node, 0, TAMIS_TYPE_FLOAT, x->rank + 1, dims);
    return TM_OK;
}

tm_code tm_infer_ml_feature(tm_infer_context *context, tm_node *node) {
    switch (node->op) {
    case TM_OP_ArrayFeatureExtractor:
        return infer_extractor(context, node);
    case TM_OP_FeatureVectorizer:
        return infer_vectorizer(context, node);
    case TM_OP_LabelEncoder:
        return infer_label_encoder(context, node);
    default:
        return infer_one_hot_encoder(context, node);
    }
}
