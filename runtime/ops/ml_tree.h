/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_tree.h: a tree ensemble as its evaluation wants it: arrays over nodes and leaves, with
 * indices instead of (tree, node) pairs. Both forms of ONNX are brought into it, see ml_tree.c.
 */
#ifndef TM_OPS_ML_TREE_H
#define TM_OPS_ML_TREE_H

#include "runtime/ops/ml_common.h"

enum {
    TM_BRANCH_LEQ,
    TM_BRANCH_LT,
    TM_BRANCH_GTE,
    TM_BRANCH_GT,
    TM_BRANCH_EQ,
    TM_BRANCH_NEQ,
    TM_BRANCH_MEMBER,
    TM_LEAF
};
enum { TM_AVERAGE, TM_SUM_OF, TM_MIN_OF, TM_MAX_OF };

/* A child is a node, or the weights from ~child on. */
typedef struct tm_trees {
    int64_t node_count, root_count, weight_count, target_count;
    uint8_t *modes; /* of nodes */
    const int64_t *features;
    const int64_t *missing; /* missing values go the true way; NULL: none */
    tm_reals splits;
    int32_t *yes, *no;      /* children */
    int32_t *roots;         /* nodes, or ~weight for a tree that is a leaf */
    int32_t *next_weight;   /* the leaf's next weight, or -1 */
    const int64_t *targets; /* of weights */
    tm_reals weights;
    tm_reals members; /* sets of BRANCH_MEMBER, each ended by NaN */
    int32_t *member_starts;
    int32_t aggregate;
} tm_trees;

/* Adds a row's leaves into scores[target_count], which come in set to 0; seen[t] tells that a leaf did.
 * Returns 0 or the code of what does not fit. */
int32_t tm_trees_evaluate(const tm_trees *trees, const tm_rows *rows, int64_t row, double *scores,
                          uint8_t *seen);

#endif
