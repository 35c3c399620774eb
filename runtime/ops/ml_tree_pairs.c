/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_tree_pairs.c: TreeEnsembleRegressor and TreeEnsembleClassifier, whose nodes are named by pairs (tree,
 * node).
 *
 * A hash table from pairs to indices is built first; children, leaves' weights and roots (nodes that are no
 * node's child) become indices with it, and the walk of ml_tree.c does the rest.
 *
 * A classifier of two classes whose weights all belong to class 0 has one score s, which is class 1's: class
 * 0 gets 1 - s if all weights are positive (a probability), else -s. Exporters of boosted trees write that.
 */
#include "runtime/ops/ml_tree.h"

/* The attributes that both ops have. */
typedef struct pair_lists {
    tm_list tree_ids, node_ids, true_ids, false_ids, modes, missing, leaf_trees, leaf_nodes, leaf_targets;
} pair_lists;

typedef struct pair_table {
    const int64_t *tree_ids, *node_ids;
    int32_t *slots; /* index + 1, or 0 */
    uint64_t mask;
} pair_table;

static int32_t *find_slot(const pair_table *table, int64_t tree, int64_t node) {
    uint64_t hash = ((uint64_t)tree * 0x9e3779b97f4a7c15u + (uint64_t)node) * 0xbf58476d1ce4e5b9u;
    for (uint64_t i = hash >> 32;; i++) {
        int32_t *slot = &table->slots[i & table->mask];
        if (*slot == 0 || (table->tree_ids[*slot - 1] == tree && table->node_ids[*slot - 1] == node))
            return slot;
    }
}

static uint8_t mode_of(const void *attributes, tm_list name) {
    static const char names[6][12] = {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE",
                                      "BRANCH_GT",  "BRANCH_EQ", "BRANCH_NEQ"};
    for (uint8_t i = 0; i < 6 && name.count > 4; i++) /* half of all nodes are a LEAF */
        if (tm_is(attributes, name, names[i]))
            return i;
    return TM_LEAF;
}

typedef struct builder {
    tm_trees trees;
    pair_table table;
    int32_t *first_weight; /* of nodes, -1: none */
    uint8_t *is_child;
    double *scores;
    uint8_t *seen;
    void *memory;
    int64_t bytes;
} builder;

static uint64_t table_size(int64_t nodes) {
    uint64_t size = 8;
    while (size < 2 * (uint64_t)nodes)
        size *= 2;
    return size;
}

static bool allocate(tm_run *run, const tm_call *call, builder *b) {
    tm_trees *t = &b->trees;
    uint64_t slots = table_size(t->node_count);
    b->bytes = t->target_count * 9 + 16 + (int64_t)slots * 4 + t->node_count * 18 + t->weight_count * 4;
    b->memory = tm_scratch(run, call, b->bytes);
    if (b->memory == NULL)
        return false;
    memset(b->memory, 0, (size_t)b->bytes);
    b->scores = b->memory;
    b->table.slots = (int32_t *)(b->scores + t->target_count);
    b->table.mask = slots - 1;
    t->yes = b->table.slots + slots;
    t->no = t->yes + t->node_count;
    t->roots = t->no + t->node_count;
    b->first_weight = t->roots + t->node_count;
    t->next_weight = b->first_weight + t->node_count;
    t->modes = (uint8_t *)(t->next_weight + t->weight_count);
    b->is_child = t->modes + t->node_count;
    b->seen = b->is_child + t->node_count;
    return true;
}

/* The child's index, or ~ of its first weight when it is a leaf. */
static int32_t child_of(builder *b, int64_t tree, int64_t node) {
    int32_t index = *find_slot(&b->table, tree, node) - 1;
    if (index < 0)
        return INT32_MAX;
    b->is_child[index] = 1;
    if (b->trees.modes[index] != TM_LEAF)
        return index;
    return b->first_weight[index] >= 0 ? ~b->first_weight[index] : ~INT32_MAX;
}

static void link(builder *b, const void *attributes, const pair_lists *lists) {
    tm_trees *t = &b->trees;
    b->table.tree_ids = tm_ints(attributes, lists->tree_ids);
    b->table.node_ids = tm_ints(attributes, lists->node_ids);
    for (int64_t i = 0; i < t->node_count; i++) {
        t->modes[i] = mode_of(attributes, tm_strings(attributes, lists->modes)[i]);
        b->first_weight[i] = -1;
        int32_t *slot = find_slot(&b->table, b->table.tree_ids[i], b->table.node_ids[i]);
        if (*slot == 0)
            *slot = (int32_t)i + 1;
    }
    for (int64_t i = t->weight_count - 1; i >= 0;
         i--) { /* from the last, so that each leaf's list is in order */
        int32_t leaf = *find_slot(&b->table, tm_ints(attributes, lists->leaf_trees)[i],
                                  tm_ints(attributes, lists->leaf_nodes)[i]) -
                       1;
        t->next_weight[i] = leaf >= 0 ? b->first_weight[leaf] : -1;
        if (leaf >= 0)
            b->first_weight[leaf] = (int32_t)i;
    }
    for (int64_t i = 0; i < t->node_count; i++) {
        if (t->modes[i] == TM_LEAF)
            continue;
        t->yes[i] = child_of(b, b->table.tree_ids[i], tm_ints(attributes, lists->true_ids)[i]);
        t->no[i] = child_of(b, b->table.tree_ids[i], tm_ints(attributes, lists->false_ids)[i]);
    }
    for (int64_t i = 0; i < t->node_count; i++) {
        if (b->is_child[i] != 0)
            continue;
        bool leaf = t->modes[i] == TM_LEAF;
        int32_t weight = b->first_weight[i] >= 0 ? b->first_weight[i] : INT32_MAX;
        t->roots[t->root_count++] = leaf ? ~weight : (int32_t)i;
    }
}

static bool build(tm_run *run, const tm_call *call, builder *b, const void *attributes,
                  const pair_lists *lists) {
    b->trees.node_count = lists->node_ids.count;
    b->trees.weight_count = lists->leaf_targets.count;
    b->trees.features = NULL;
    b->trees.missing = tm_has(lists->missing) ? tm_ints(attributes, lists->missing) : NULL;
    b->trees.targets = tm_ints(attributes, lists->leaf_targets);
    if (!allocate(run, call, b))
        return false;
    link(b, attributes, lists);
    return true;
}

static int32_t evaluate(tm_run *run, const tm_call *call, builder *b, const tm_rows *rows, int64_t row) {
    memset(b->scores, 0, (size_t)b->trees.target_count * sizeof(double));
    memset(b->seen, 0, (size_t)b->trees.target_count);
    int32_t code = tm_trees_evaluate(&b->trees, rows, row, b->scores, b->seen);
    return code == 0 ? 0 : tm_fail(run, call, (tm_run_code)code, row, rows->features);
}

int32_t tm_k_ml_TreeEnsembleRegressor(tm_run *run, const tm_call *call) {
    const tm_attrs_TreeEnsembleRegressor *a = tm_attributes(call);
    pair_lists lists = {a->nodes_treeids,      a->nodes_nodeids,  a->nodes_truenodeids,
                        a->nodes_falsenodeids, a->nodes_modes,    a->nodes_missing_value_tracks_true,
                        a->target_treeids,     a->target_nodeids, a->target_ids};
    tm_reals base = tm_reals_of(a, a->base_values, a->base_values_as_tensor);
    tm_post_transform transform = tm_post_transform_of(a, a->post_transform);
    tm_rows rows = tm_rows_of(tm_in(run, call, 0));
    builder b = {.trees = {.target_count = a->n_targets,
                           .splits = tm_reals_of(a, a->nodes_values, a->nodes_values_as_tensor),
                           .weights = tm_reals_of(a, a->target_weights, a->target_weights_as_tensor),
                           .aggregate = tm_is(a, a->aggregate_function, "AVERAGE") ? TM_AVERAGE
                                        : tm_is(a, a->aggregate_function, "MIN")   ? TM_MIN_OF
                                        : tm_is(a, a->aggregate_function, "MAX")   ? TM_MAX_OF
                                                                                   : TM_SUM_OF}};
    if (!build(run, call, &b, a, &lists))
        return TM_RUN_MEMORY;
    b.trees.features = tm_ints(a, a->nodes_featureids);
    int32_t code = 0;
    float *y = tm_out(run, call, 0)->data;
    for (int64_t row = 0; row < rows.count && code == 0; row++) {
        code = evaluate(run, call, &b, &rows, row);
        for (int64_t t = 0; t < a->n_targets; t++)
            b.scores[t] += t < base.count ? tm_reals_get(&base, t) : 0.0;
        tm_post_transform_apply(b.scores, a->n_targets, transform);
        for (int64_t t = 0; t < a->n_targets; t++)
            y[row * a->n_targets + t] = (float)b.scores[t];
    }
    tm_unscratch(run, b.memory, b.bytes);
    return code;
}

/* All weights belong to one class; *out_positive: none is negative. */
static bool single_class(const tm_trees *trees, bool *out_positive) {
    *out_positive = true;
    for (int64_t i = 0; i < trees->weight_count; i++) {
        if (trees->targets[i] != trees->targets[0])
            return false;
        *out_positive = *out_positive && tm_reals_get(&trees->weights, i) >= 0;
    }
    return trees->weight_count > 0 && trees->targets[0] >= 0 && trees->targets[0] < trees->target_count;
}

/* Base values and transform; returns the label's number. */
static int64_t finish_scores(builder *b, const tm_reals *base, tm_post_transform transform, bool single,
                             bool positive) {
    int64_t best = 0, classes = b->trees.target_count;
    if (single && b->trees.targets[0] == 0) {
        double score = b->scores[0] + (base->count > 0 ? tm_reals_get(base, base->count - 1) : 0.0);
        tm_post_transform_pair(score, positive, transform, b->scores);
        return positive ? score > 0.5 : score > 0.0;
    }
    for (int64_t k = 0; k < classes; k++)
        b->scores[k] += k < base->count ? tm_reals_get(base, k) : 0.0;
    for (int64_t k = 1; k < classes; k++)
        best = b->scores[k] > b->scores[best] ? k : best;
    if (single)
        best = positive ? b->scores[1] > 0.5 : b->scores[1] > 0.0;
    tm_post_transform_apply(b->scores, classes, transform);
    return best;
}

int32_t tm_k_ml_TreeEnsembleClassifier(tm_run *run, const tm_call *call) {
    const tm_attrs_TreeEnsembleClassifier *a = tm_attributes(call);
    pair_lists lists = {a->nodes_treeids,      a->nodes_nodeids, a->nodes_truenodeids,
                        a->nodes_falsenodeids, a->nodes_modes,   a->nodes_missing_value_tracks_true,
                        a->class_treeids,      a->class_nodeids, a->class_ids};
    tm_reals base = tm_reals_of(a, a->base_values, a->base_values_as_tensor);
    tm_post_transform transform = tm_post_transform_of(a, a->post_transform);
    tm_rows rows = tm_rows_of(tm_in(run, call, 0));
    int64_t classes = tm_out(run, call, 1)->dims[1];
    builder b = {.trees = {.target_count = classes,
                           .splits = tm_reals_of(a, a->nodes_values, a->nodes_values_as_tensor),
                           .weights = tm_reals_of(a, a->class_weights, a->class_weights_as_tensor),
                           .aggregate = TM_SUM_OF}};
    if (!build(run, call, &b, a, &lists))
        return TM_RUN_MEMORY;
    b.trees.features = tm_ints(a, a->nodes_featureids);
    bool positive, single = classes == 2 && single_class(&b.trees, &positive);
    int32_t code = 0;
    float *y = tm_out(run, call, 1)->data;
    for (int64_t row = 0; row < rows.count && code == 0; row++) {
        code = evaluate(run, call, &b, &rows, row);
        int64_t best = code == 0 ? finish_scores(&b, &base, transform, single, positive) : 0;
        tm_set_label(tm_out(run, call, 0), row, a, a->classlabels_int64s, a->classlabels_strings, best);
        for (int64_t k = 0; k < classes; k++)
            y[row * classes + k] = (float)b.scores[k];
    }
    tm_unscratch(run, b.memory, b.bytes);
    return code;
}
