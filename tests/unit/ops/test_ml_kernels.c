/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of classical machine learning where the official suite has no case: trees named by pairs, linear
 * models, support vectors, label tables; with answers worked out by hand, and damaged trees, which must fail.
 */
#include "tests/unit/ops/kernel_test.h"

#include <math.h>

static double number_at(const tm_constant *c, int64_t i) {
    double x = NAN;
    assert_true(tm_constant_double(c, i, &x));
    return x;
}
static bool near(double a, double b) {
    return fabs(a - b) <= ldexp(fabs(b), -20);
}
static const tm_constant *floats(kernel_test *t, int rank, const int64_t *dims, const float *values) {
    return tm_constant_create(&t->arena, TAMIS_TYPE_FLOAT, rank, dims, values);
}

#define INTS(node, name, ...)                                    \
    tm_node_set_ints(node, name, (const int64_t[]){__VA_ARGS__}, \
                     (int64_t)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))
#define FLOATS(node, name, ...)                                   \
    tm_node_set_floats(node, name, (const double[]){__VA_ARGS__}, \
                       (int64_t)(sizeof((const double[]){__VA_ARGS__}) / sizeof(double)))
#define STRINGS(node, name, ...)                                        \
    tm_node_set_strings(node, name, (const char *const[]){__VA_ARGS__}, \
                        (int64_t)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

/* Tree 0: x0 <= 1 ? (x1 < 5 ? A : B) : C. Tree 1 is a leaf. `third` is the false child of node 0. */
static void set_trees(tm_node *node, int64_t third) {
    INTS(node, "nodes_treeids", 0, 0, 0, 0, 0, 1);
    INTS(node, "nodes_nodeids", 0, 1, 2, 3, 4, 0);
    INTS(node, "nodes_featureids", 0, 1, 0, 0, 0, 0);
    FLOATS(node, "nodes_values", 1, 5, 0, 0, 0, 0);
    STRINGS(node, "nodes_modes", "BRANCH_LEQ", "BRANCH_LT", "LEAF", "LEAF", "LEAF", "LEAF");
    INTS(node, "nodes_truenodeids", 1, 2, 0, 0, 0, 0);
    INTS(node, "nodes_falsenodeids", third, 3, 0, 0, 0, 0);
}

static const int64_t three_rows[] = {3, 2};
static const float rows[] = {1, 4, 0, 5, 2, 0}; /* leaves A, B, C */

static void tree_regressor(void **state) {
    (void)state;
    static const char *const aggregates[] = {"SUM", "AVERAGE", "MIN", "MAX"};
    static const double want[][3] = {{11, 12, 7}, {5.5, 6, 3.5}, {1, 2, -3}, {10, 10, 10}};
    for (int k = 0; k < 4; k++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        const tm_constant *x = floats(&t, 2, three_rows, rows), *y = NULL;
        tm_node *node = new_node(&t, TM_OP_TreeEnsembleRegressor, 1, 1, &x);
        set_trees(node, 4);
        INTS(node, "target_treeids", 0, 0, 0, 1);
        INTS(node, "target_nodeids", 2, 3, 4, 0);
        INTS(node, "target_ids", 0, 0, 0, 0);
        FLOATS(node, "target_weights", 1, 2, -3, 10);
        tm_node_set_int(node, "n_targets", 1);
        tm_node_set_string(node, "aggregate_function", aggregates[k]);
        assert_int_equal(run_node(&t, node, &y), TM_OK);
        for (int i = 0; i < 3; i++)
            assert_true(number_at(y, i) == want[k][i]);
        kernel_test_deinit(&t);
    }
}

/* Node 1 is its own child; child 9 does not exist; feature 7 neither. */
static void damaged_trees_fail(void **state) {
    (void)state;
    static const int64_t third[] = {4, 9, 4}, feature[] = {0, 0, 7};
    for (int k = 0; k < 3; k++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        const tm_constant *x = floats(&t, 2, three_rows, rows), *y = NULL;
        tm_node *node = new_node(&t, TM_OP_TreeEnsembleRegressor, 1, 1, &x);
        set_trees(node, third[k]);
        INTS(node, "nodes_featureids", feature[k], 1, 0, 0, 0, 0);
        if (k == 0)
            INTS(node, "nodes_truenodeids", 1, 1, 0, 0, 0, 0);
        INTS(node, "target_treeids", 0);
        INTS(node, "target_nodeids", 2);
        INTS(node, "target_ids", 0);
        FLOATS(node, "target_weights", 1);
        tm_node_set_int(node, "n_targets", 1);
        assert_int_equal(run_node(&t, node, &y), TM_E_EVALUATE);
        kernel_test_deinit(&t);
    }
}

/* One score for two classes: a probability when no weight is negative. */
static void tree_classifier(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    const tm_constant *x = floats(&t, 2, three_rows, rows), *y[2] = {NULL, NULL};
    tm_node *node = new_node(&t, TM_OP_TreeEnsembleClassifier, 2, 1, &x);
    set_trees(node, 4);
    INTS(node, "class_treeids", 0, 0, 0);
    INTS(node, "class_nodeids", 2, 3, 4);
    INTS(node, "class_ids", 0, 0, 0);
    FLOATS(node, "class_weights", 0.25, 0.75, 0.5);
    STRINGS(node, "classlabels_strings", "no", "yes");
    assert_int_equal(run_node(&t, node, y), TM_OK);
    static const double want[] = {0.75, 0.25, 0.25, 0.75, 0.5, 0.5};
    const tamis_string *labels = y[0]->data;
    for (int i = 0; i < 6; i++)
        assert_true(number_at(y[1], i) == want[i]);
    assert_true(labels[0].size == 2 && labels[1].size == 3 && labels[2].size == 2);
    kernel_test_deinit(&t);
}

static void linear_models(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    const tm_constant *x = floats(&t, 2, three_rows, rows), *y[2] = {NULL, NULL};
    tm_node *node = new_node(&t, TM_OP_LinearClassifier, 2, 1, &x);
    FLOATS(node, "coefficients", 1, 0, 0, 1, 1, 1);
    FLOATS(node, "intercepts", 0, 0, -3);
    INTS(node, "classlabels_ints", 10, 20, 30);
    tm_node_set_string(node, "post_transform", "SOFTMAX");
    assert_int_equal(run_node(&t, node, y), TM_OK);
    static const double want[] = {20, 20, 10};
    for (int i = 0; i < 3; i++) {
        double a = rows[2 * i], b = rows[2 * i + 1], sum = exp(a) + exp(b) + exp(a + b - 3);
        assert_true(number_at(y[0], i) == want[i] && near(number_at(y[1], 3 * i), exp(a) / sum));
    }
    node = new_node(&t, TM_OP_SVMRegressor, 1, 1, &x);
    FLOATS(node, "coefficients", 2, -1);
    FLOATS(node, "support_vectors", 1, 4, 0, 0);
    FLOATS(node, "kernel_params", 0.5, 0, 0);
    FLOATS(node, "rho", 0.25);
    tm_node_set_string(node, "kernel_type", "RBF");
    tm_node_set_int(node, "n_supports", 2);
    assert_int_equal(run_node(&t, node, y), TM_OK);
    assert_true(near(number_at(y[0], 0), 2 - exp(-8.5) + 0.25));
    kernel_test_deinit(&t);
}

/* d = x0 - x1 + 1/2 decides between two classes; its probability is that of the logistic function. */
static void svm_classifier(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    const tm_constant *x = floats(&t, 2, three_rows, rows), *y[2] = {NULL, NULL};
    tm_node *node = new_node(&t, TM_OP_SVMClassifier, 2, 1, &x);
    FLOATS(node, "coefficients", 1, -1);
    FLOATS(node, "support_vectors", 1, 0, 0, 1);
    INTS(node, "vectors_per_class", 1, 1);
    FLOATS(node, "rho", 0.5);
    FLOATS(node, "prob_a", -1);
    FLOATS(node, "prob_b", 0);
    INTS(node, "classlabels_ints", 3, 4);
    assert_int_equal(run_node(&t, node, y), TM_OK);
    static const double labels[] = {4, 4, 3};
    for (int i = 0; i < 3; i++) {
        double d = (double)rows[2 * i] - (double)rows[2 * i + 1] + 0.5;
        assert_true(number_at(y[0], i) == labels[i]);
        assert_true(fabs(number_at(y[1], 2 * i) - 1 / (1 + exp(-d))) <
                    ldexp(1, -6)); /* the coupling stops early */
    }
    kernel_test_deinit(&t);
}

static void label_tables(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    static const float keys[] = {NAN, 1, -0.0f, 7};
    static const int64_t dims[] = {4};
    const tm_constant *x = floats(&t, 1, dims, keys), *y = NULL;
    tm_node *node = new_node(&t, TM_OP_LabelEncoder, 1, 1, &x);
    FLOATS(node, "keys_floats", NAN, 1, 0);
    INTS(node, "values_int64s", 5, 6, 7);
    tm_node_set_int(node, "default_int64", -9);
    assert_int_equal(run_node(&t, node, &y), TM_OK);
    static const double want[] = {5, 6, 7, -9};
    for (int i = 0; i < 4; i++)
        assert_true(number_at(y, i) == want[i]);
    kernel_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_regressor),  cmocka_unit_test(damaged_trees_fail),
        cmocka_unit_test(tree_classifier), cmocka_unit_test(linear_models),
        cmocka_unit_test(svm_classifier),  cmocka_unit_test(label_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
