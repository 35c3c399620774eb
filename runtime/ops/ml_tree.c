/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_tree.c: TreeEnsemble, and the walk through trees that the older ops share.
 *
 * Indices come from the file, so each is checked where it is used, and a walk ends after as many steps as
 * there are nodes: a damaged model fails instead of reading elsewhere or walking in circles.
 */
#include "runtime/ops/ml_tree.h"

static bool is_member(const tm_trees *trees, int32_t node, double x) {
    for (int64_t i = trees->member_starts[node]; i < trees->members.count; i++) {
        double member = tm_reals_get(&trees->members, i);
        if (member != member)
            return false;
        if (member == x)
            return true;
    }
    return false;
}

static bool goes_true(const tm_trees *trees, int32_t node, double x) {
    double split = tm_reals_get(&trees->splits, node);
    if (x != x && trees->missing != NULL && trees->missing[node] != 0)
        return true;
    if (trees->modes[node] == TM_BRANCH_LEQ) /* nearly all: a jump through a table would be slower */
        return x <= split;
    switch (trees->modes[node]) {
    case TM_BRANCH_LT:
        return x < split;
    case TM_BRANCH_GTE:
        return x >= split;
    case TM_BRANCH_GT:
        return x > split;
    case TM_BRANCH_EQ:
        return x == split;
    case TM_BRANCH_NEQ:
        return x != split;
    default:
        return is_member(trees, node, x);
    }
}

static void add_weight(const tm_trees *trees, int64_t weight, double *scores, uint8_t *seen) {
    int64_t target = trees->targets[weight];
    double value = tm_reals_get(&trees->weights, weight);
    if (trees->aggregate == TM_MIN_OF || trees->aggregate == TM_MAX_OF) {
        bool better = trees->aggregate == TM_MIN_OF ? value < scores[target] : value > scores[target];
        scores[target] = seen[target] == 0 || better ? value : scores[target];
    } else {
        scores[target] += value;
    }
    seen[target] = 1;
}

int32_t tm_trees_evaluate(const tm_trees *trees, const tm_rows *rows, int64_t row, double *scores,
                          uint8_t *seen) {
    const float *floats = rows->x->type == TAMIS_TYPE_FLOAT ? (const float *)rows->x->data : NULL;
    for (int64_t r = 0; r < trees->root_count; r++) {
        int32_t at = trees->roots[r];
        for (int64_t steps = 0; at >= 0; steps++) {
            if (at >= trees->node_count || steps > trees->node_count)
                return TM_RUN_TREE;
            int64_t feature = trees->features[at];
            if (feature < 0 || feature >= rows->features)
                return TM_RUN_TREE;
            feature += row * rows->features;
            double x = floats != NULL ? (double)floats[feature] : tm_real_get(rows->x, feature);
            at = goes_true(trees, at, x) ? trees->yes[at] : trees->no[at];
        }
        for (int64_t weight = ~at; weight >= 0; weight = trees->next_weight[weight]) {
            if (weight >= trees->weight_count)
                break; /* a leaf without weights */
            if (trees->targets[weight] < 0 || trees->targets[weight] >= trees->target_count)
                return TM_RUN_TREE;
            add_weight(trees, weight, scores, seen);
        }
    }
    if (trees->aggregate == TM_AVERAGE && trees->root_count > 0)
        for (int64_t t = 0; t < trees->target_count; t++)
            scores[t] /= (double)trees->root_count;
    return 0;
}

/* ---- TreeEnsemble: nodes and leaves have their own indices already ---- */

static int32_t child(int64_t leaf, int64_t id) {
    int32_t index = id < 0 || id > INT32_MAX - 1 ? INT32_MAX - 1 : (int32_t)id; /* out of range stays so */
    return leaf != 0 ? ~index : index;
}

static void set_member_starts(tm_trees *trees) {
    int64_t at = 0;
    for (int64_t i = 0; i < trees->node_count; i++) {
        trees->member_starts[i] = (int32_t)at;
        if (trees->modes[i] != TM_BRANCH_MEMBER)
            continue;
        while (at < trees->members.count) {
            double member = tm_reals_get(&trees->members, at++);
            if (member != member)
                break;
        }
    }
}

static void set_arrays(tm_trees *trees, const tm_attrs_TreeEnsemble *a, uint8_t *memory) {
    const tm_list none = {0, 0};
    int32_t *words = (int32_t *)(void *)memory;
    trees->yes = words;
    trees->no = trees->yes + trees->node_count;
    trees->member_starts = trees->no + trees->node_count;
    trees->roots = trees->member_starts + trees->node_count;
    trees->next_weight = trees->roots + trees->root_count;
    trees->modes = (uint8_t *)(trees->next_weight + trees->weight_count);
    tm_reals modes = tm_reals_of(a, none, a->nodes_modes);
    for (int64_t i = 0; i < trees->node_count; i++) {
        trees->modes[i] = ((const uint8_t *)modes.data)[i];
        trees->yes[i] = child(tm_ints(a, a->nodes_trueleafs)[i], tm_ints(a, a->nodes_truenodeids)[i]);
        trees->no[i] = child(tm_ints(a, a->nodes_falseleafs)[i], tm_ints(a, a->nodes_falsenodeids)[i]);
    }
    for (int64_t i = 0; i < trees->root_count; i++)
        trees->roots[i] = child(0, tm_ints(a, a->tree_roots)[i]);
    for (int64_t i = 0; i < trees->weight_count; i++)
        trees->next_weight[i] = -1;
    set_member_starts(trees);
}

static int32_t evaluate_rows(tm_run *run, const tm_call *call, const tm_trees *trees,
                             tm_post_transform transform, double *scores) {
    tm_rows rows = tm_rows_of(tm_in(run, call, 0));
    const tamis_tensor *y = tm_out(run, call, 0);
    uint8_t *seen = (uint8_t *)(scores + trees->target_count);
    for (int64_t row = 0; row < rows.count; row++) {
        memset(scores, 0, (size_t)trees->target_count * (sizeof *scores + 1));
        int32_t code = tm_trees_evaluate(trees, &rows, row, scores, seen);
        if (code != 0)
            return tm_fail(run, call, (tm_run_code)code, row, rows.features);
        tm_post_transform_apply(scores, trees->target_count, transform);
        for (int64_t t = 0; t < trees->target_count; t++)
            tm_real_set(y, row * trees->target_count + t, scores[t]);
    }
    return 0;
}

int32_t tm_k_ml_TreeEnsemble(tm_run *run, const tm_call *call) {
    const tm_attrs_TreeEnsemble *a = tm_attributes(call);
    const tm_list none = {0, 0};
    tm_trees trees = {.node_count = a->nodes_featureids.count,
                      .root_count = a->tree_roots.count,
                      .weight_count = a->leaf_targetids.count,
                      .target_count = a->n_targets,
                      .features = tm_ints(a, a->nodes_featureids),
                      .missing = tm_has(a->nodes_missing_value_tracks_true)
                                     ? tm_ints(a, a->nodes_missing_value_tracks_true)
                                     : NULL,
                      .splits = tm_reals_of(a, none, a->nodes_splits),
                      .targets = tm_ints(a, a->leaf_targetids),
                      .weights = tm_reals_of(a, none, a->leaf_weights),
                      .members = tm_reals_of(a, none, a->membership_values),
                      .aggregate = (int32_t)a->aggregate_function};
    int64_t arrays = trees.node_count * 13 + trees.root_count * 4 + trees.weight_count * 4;
    int64_t bytes = trees.target_count * 9 + 8 + arrays;
    double *scores = tm_scratch(run, call, bytes);
    if (scores == NULL)
        return TM_RUN_MEMORY;
    set_arrays(&trees, a, (uint8_t *)scores + (trees.target_count * 9 + 7) / 8 * 8);
    int32_t code = evaluate_rows(run, call, &trees, (tm_post_transform)a->post_transform, scores);
    tm_unscratch(run, scores, bytes);
    return code;
}
