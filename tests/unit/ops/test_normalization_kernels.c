/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of softmaxes and normalisations against their formulas in double, over types, axes and dims of 0.
 */
#include "tests/unit/ops/float_test.h"

static void softmax_trial(kernel_test *t, int k) {
    static const tm_op ops[] = {TM_OP_Softmax, TM_OP_LogSoftmax, TM_OP_Hardmax};
    const tm_op op = ops[k % 3];
    const tamis_type type = float_types[k / 3 % FLOAT_TYPES];
    const int64_t dims[] = {random_int(t, 0, 3), random_int(t, 0, 200), k % 2 ? 1 : random_int(t, 0, 150)};
    const tm_constant *x = random_numbers(t, type, 3, dims);
    tm_node *node = new_node(t, op, 1, 1, &x);
    tm_node_set_int(node, "axis", 1);
    const tm_constant *y = answer(t, node);
    for (int64_t row = 0; row < dims[0] * dims[2]; row++) {
        const int64_t from = row / dims[2] * dims[1] * dims[2] + row % dims[2];
        double largest = -INFINITY, sum = 0;
        int64_t first = 0;
        for (int64_t i = 0; i < dims[1]; i++)
            if (number(x, from + i * dims[2]) > largest) {
                largest = number(x, from + i * dims[2]);
                first = i;
            }
        for (int64_t i = 0; i < dims[1]; i++)
            sum += exp(number(x, from + i * dims[2]) - largest);
        for (int64_t i = 0; i < dims[1]; i++) {
            const double v = number(x, from + i * dims[2]) - largest;
            const double want = op == TM_OP_Softmax      ? exp(v) / sum
                                : op == TM_OP_LogSoftmax ? v - log(sum)
                                                         : i == first;
            assert_near(y, from + i * dims[2], want, fabs(want) + (op == TM_OP_LogSoftmax), (double)dims[1]);
        }
    }
}
TRIALS(softmax, 180)

static const tm_constant *floats(kernel_test *t, int64_t count, const float *values) {
    return tm_constant_create(&t->arena, TAMIS_TYPE_FLOAT, 1, tm_arena_copy(&t->arena, &count, sizeof count),
                              values);
}

static void softmax_of_extremes(void **state) {
    (void)state;
    static const float rows[][3] = {
        {-INFINITY, -INFINITY, -INFINITY}, {3e38f, 3e38f, -3e38f}, {-INFINITY, 0, 0}};
    static const double want[][3] = {{NAN, NAN, NAN}, {0.5, 0.5, 0}, {0, 0.5, 0.5}};
    for (int r = 0; r < 3; r++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        const tm_constant *x = floats(&t, 3, rows[r]), *y = answer(&t, new_node(&t, TM_OP_Softmax, 1, 1, &x));
        for (int i = 0; i < 3; i++)
            assert_true(isnan(want[r][i]) ? isnan(number(y, i)) : number(y, i) == want[r][i]);
        kernel_test_deinit(&t);
    }
}

typedef struct moments {
    double mean, variance;
} moments;

/* Of `count` runs of `length` elements, `step` apart. */
static moments moments_of(const tm_constant *x, int64_t from, int64_t count, int64_t length, int64_t step) {
    moments m = {0, 0};
    const double n = (double)(count * length);
    for (int64_t i = 0; i < count * length; i++)
        m.mean += number(x, from + i / length * step + i % length) / n;
    for (int64_t i = 0; i < count * length; i++) {
        const double gap = number(x, from + i / length * step + i % length) - m.mean;
        m.variance += gap * gap / n;
    }
    return m;
}

enum { EPSILON_BITS = 7 }; /* 2^-7: large, so that small variances do not magnify roundings */

static void layer_trial(kernel_test *t, int k) {
    const bool rms = k & 1, with_bias = !rms && random_int(t, 0, 1), odd = k % 5 == 0;
    const tamis_type type = float_types[k / 2 % FLOAT_TYPES];
    const int64_t dims[] = {random_int(t, 0, 4), random_int(t, 1, 5), random_int(t, 1, 90)};
    const int axis = odd ? 1 : (int)random_int(t, 0, 2);
    const int rank = odd ? 1 : 3 - axis;
    const tm_constant *x = random_numbers(t, type, 3, dims), *out[3] = {NULL};
    const tm_constant *scale = random_numbers(t, type, rank, dims + 3 - rank);
    const tm_constant *bias = random_numbers(t, type, rank, dims + 3 - rank), *inputs[] = {x, scale, bias};
    tm_node *node = new_node(t, rms ? TM_OP_RMSNormalization : TM_OP_LayerNormalization, rms ? 1 : 3,
                             with_bias ? 3 : 2, inputs);
    const double epsilon = ldexp(1, -EPSILON_BITS);
    tm_node_set_int(node, "axis", axis - (k % 3 == 0 ? 3 : 0));
    tm_node_set_float(node, "epsilon", epsilon);
    assert_int_equal(run_node(t, node, out), TM_OK);
    const int64_t n = product_of(dims, axis, 3), rows = product_of(dims, 0, axis),
                  params = tm_constant_count(scale);
    for (int64_t i = 0; i < (n == 0 ? 0 : rows * n); i++) {
        moments m = moments_of(x, i / n * n, 1, n, n);
        if (rms)
            m = (moments){0, m.variance + m.mean * m.mean};
        const double inverse = 1 / sqrt(m.variance + epsilon), factor = number(scale, i % params);
        const double shift = with_bias ? number(bias, i % params) : 0;
        assert_near(out[0], i, (number(x, i) - m.mean) * inverse * factor + shift, (1 + inverse) * 4,
                    (double)n);
        if (!rms) {
            assert_near(out[1], i / n, m.mean, 1, (double)n);
            assert_near(out[2], i / n, inverse, inverse * inverse * inverse, (double)n);
        }
    }
}
TRIALS(layer, 120)

static void rows_without_elements_have_no_mean(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    for (int k = 0; k < FLOAT_TYPES; k++) {
        const int64_t dims[] = {40, 0};
        const tm_constant *inputs[] = {random_numbers(&t, float_types[k], 2, dims),
                                       random_numbers(&t, float_types[k], 1, dims + 1)},
                          *out[3] = {NULL};
        assert_int_equal(run_node(&t, new_node(&t, TM_OP_LayerNormalization, 3, 2, inputs), out), TM_OK);
        for (int64_t i = 0; i < 40; i++)
            assert_true(isnan(number(out[1], i)) && isnan(number(out[2], i)));
    }
    kernel_test_deinit(&t);
}

/* Instance, group and batch normalisation: x[n][channels][space]. */
static void channels_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k / 4 % FLOAT_TYPES];
    const int64_t groups = k % 4 == 1 ? 2 : 1, channels = 4, space = random_int(t, 1, 50),
                  samples = random_int(t, 1, 3);
    const tm_constant *x = random_numbers(t, type, 4, (int64_t[]){samples, channels, space, 1}),
                      *out[3] = {NULL};
    const tm_constant *scale = random_numbers(t, type, 1, &channels),
                      *bias = random_numbers(t, type, 1, &channels);
    tm_constant *mean = random_numbers(t, TAMIS_TYPE_FLOAT, 1, &channels),
                *variance = random_numbers(t, TAMIS_TYPE_FLOAT, 1, &channels);
    float *positive = tm_arena_copy(&t->arena, variance->data, (size_t)variance->bytes);
    for (int c = 0; c < channels; c++)
        positive[c] = fabsf(positive[c]) + 1;
    variance->data = positive;
    const tm_constant *inputs[] = {x, scale, bias, mean, variance};
    static const tm_op ops[] = {TM_OP_InstanceNormalization, TM_OP_GroupNormalization,
                                TM_OP_BatchNormalization, TM_OP_BatchNormalization};
    const bool batch = k % 4 >= 2, training = k % 4 == 3;
    tm_node *node = new_node(t, ops[k % 4], training ? 3 : 1, batch ? 5 : 3, inputs);
    const double epsilon = ldexp(1, -EPSILON_BITS), momentum = 0.75;
    tm_node_set_float(node, "epsilon", epsilon);
    if (k % 4 == 1)
        tm_node_set_int(node, "num_groups", groups);
    if (training) {
        tm_node_set_int(node, "training_mode", 1);
        tm_node_set_float(node, "momentum", momentum);
    }
    assert_int_equal(run_node(t, node, out), TM_OK);
    for (int64_t i = 0; i < samples * channels * space; i++) {
        const int64_t plane = i / space, c = plane % channels, row = channels / groups * space;
        moments m = training     ? moments_of(x, c * space, samples, space, channels * space)
                    : batch      ? (moments){number(mean, c), number(variance, c)}
                    : groups > 1 ? moments_of(x, i / row * row, 1, row, row)
                                 : moments_of(x, plane * space, 1, space, space);
        const double inverse = 1 / sqrt(m.variance + epsilon);
        assert_near(out[0], i, (number(x, i) - m.mean) * inverse * number(scale, c) + number(bias, c),
                    (1 + inverse) * 4, (double)(samples * channels * space));
        if (training) {
            assert_near(out[1], c, number(mean, c) * momentum + m.mean * (1 - momentum), 2,
                        (double)(samples * space));
            assert_near(out[2], c, number(variance, c) * momentum + m.variance * (1 - momentum), 4,
                        (double)(samples * space));
        }
    }
}
TRIALS(channels, 64)

static void lp_and_lrn_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k / 2 % FLOAT_TYPES];
    const int64_t dims[] = {random_int(t, 0, 2), random_int(t, 1, 9), random_int(t, 1, 150)},
                  size = random_int(t, 1, 5);
    const tm_constant *x = random_numbers(t, type, 3, dims);
    const bool lrn = k & 1;
    const int64_t p = random_int(t, 1, 2);
    tm_node *node = new_node(t, lrn ? TM_OP_LRN : TM_OP_LpNormalization, 1, 1, &x);
    if (lrn)
        tm_node_set_int(node, "size", size);
    else
        tm_node_set_int(node, "axis", 1);
    if (!lrn)
        tm_node_set_int(node, "p", p);
    const tm_constant *y = answer(t, node);
    for (int64_t i = 0; i < product_of(dims, 0, 3); i++) {
        const int64_t c = i / dims[2] % dims[1], base = i - c * dims[2];
        double sum = 0;
        for (int64_t j = 0; j < dims[1]; j++) {
            const double v = number(x, base + j * dims[2]);
            if (!lrn || (j >= c - (size - 1) / 2 && j <= c + size / 2))
                sum += lrn || p == 2 ? v * v : fabs(v);
        }
        const double norm = lrn      ? pow(1 + (double)0.0001f / (double)size * sum, 0.75)
                            : p == 2 ? sqrt(sum)
                                     : sum;
        assert_near(y, i, norm == 0 ? 0 : number(x, i) / norm, 1, (double)dims[1]);
    }
}
TRIALS(lp_and_lrn, 64)

static void mean_variance_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k % 2]; /* a small deviation magnifies roundings of x itself */
    const int64_t dims[] = {2, 3, 4, random_int(t, 2, 40)};
    const tm_constant *x = random_numbers(t, type, 4, dims),
                      *y = answer(t, new_node(t, TM_OP_MeanVarianceNormalization, 1, 1, &x));
    for (int64_t i = 0; i < product_of(dims, 0, 4); i++) {
        const int64_t c = i / (4 * dims[3]) % 3;
        moments m = moments_of(x, c * 4 * dims[3], 2, 4 * dims[3], 12 * dims[3]);
        assert_near(y, i, (number(x, i) - m.mean) / (sqrt(m.variance) + 1e-9), 4 / sqrt(m.variance),
                    8 * (double)dims[3]);
    }
}
TRIALS(mean_variance, 20)

/* Losses: [samples, classes, space], with class numbers to ignore. */
static void loss_trial(kernel_test *t, int k) {
    static const char *const reductions[] = {"mean", "sum", "none"};
    const tamis_type type = float_types[k % FLOAT_TYPES];
    const bool softmax = random_int(t, 0, 1), weighted = random_int(t, 0, 1);
    const int64_t samples = random_int(t, 1, 4), classes = random_int(t, 2, 5), space = random_int(t, 1, 6);
    const tm_constant *x = random_numbers(t, type, 3, (int64_t[]){samples, classes, space});
    tm_constant *labels = random_numbers(t, TAMIS_TYPE_INT64, 2, (int64_t[]){samples, space});
    int64_t *values = tm_arena_copy(&t->arena, labels->data, (size_t)labels->bytes);
    for (int64_t i = 0; i < samples * space; i++)
        values[i] = i == 0 ? 0 : random_int(t, -1, classes - 1);
    labels->data = values;
    tm_constant *weights = random_numbers(t, type, 1, &classes);
    void *positive = tm_arena_copy(&t->arena, weights->data, (size_t)weights->bytes);
    for (int64_t c = 0; c < classes; c++)
        set_number(positive, type, c, fabs(number(weights, c)) + 1);
    weights->data = positive;
    const tm_constant *inputs[] = {x, labels, weighted ? weights : NULL};
    tm_node *node =
        new_node(t, softmax ? TM_OP_SoftmaxCrossEntropyLoss : TM_OP_NegativeLogLikelihoodLoss, 1, 3, inputs);
    const char *reduction = reductions[k / FLOAT_TYPES % 3];
    tm_node_set_string(node, "reduction", reduction);
    tm_node_set_int(node, "ignore_index", -1);
    const tm_constant *y = answer(t, node);
    double total = 0, weight_total = 0;
    for (int64_t i = 0; i < samples * space; i++) {
        const int64_t at = i / space * classes * space + i % space;
        double sum = 0, weight = values[i] < 0 ? 0 : weighted ? number(weights, values[i]) : 1;
        for (int64_t c = 0; c < classes; c++)
            sum += exp(number(x, at + c * space));
        const double score = values[i] < 0 ? 0 : number(x, at + values[i] * space);
        const double loss = -(score - (softmax ? log(sum) : 0)) * weight;
        if (reduction[0] == 'n')
            assert_near(y, i, loss, 1, 8);
        total += loss;
        weight_total += weight;
    }
    if (reduction[0] != 'n')
        assert_near(y, 0, reduction[0] == 'm' ? total / weight_total : total, 8, (double)(samples * space));
}
TRIALS(loss, 96)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax),    cmocka_unit_test(softmax_of_extremes),
        cmocka_unit_test(layer),      cmocka_unit_test(channels),
        cmocka_unit_test(lp_and_lrn), cmocka_unit_test(mean_variance),
        cmocka_unit_test(loss),       cmocka_unit_test(rows_without_elements_have_no_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
