/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of LSTM, GRU and RNN against their equations in double: directions, layouts, lengths, initial states,
 * peepholes, clip and the two options.
 */
#include "tests/unit/ops/float_test.h"

typedef struct network {
    tm_op op;
    int64_t steps, batch, input, hidden, directions, gates;
    bool batch_first, backward, option;
    double clip;
    const tm_constant *x, *w, *r, *b, *lengths, *h0, *c0, *p;
} network;

static double limited(const network *n, double v) {
    return n->clip > 0 ? fmin(fmax(v, -n->clip), n->clip) : v;
}
static double sigmoid(const network *n, double v) {
    return 1 / (1 + exp(-limited(n, v)));
}
static double or_zero(const tm_constant *c, int64_t i) {
    return c != NULL ? number(c, i) : 0;
}
static int64_t state_at(const network *n, int64_t d, int64_t sample) {
    return (n->batch_first ? sample * n->directions + d : d * n->batch + sample) * n->hidden;
}

/* Row `row` of the products with W and its bias, or with R and its bias. */
static double product_w(const network *n, int64_t d, int64_t row, int64_t time, int64_t sample) {
    const int64_t rows = n->gates * n->hidden;
    const int64_t from = (n->batch_first ? sample * n->steps + time : time * n->batch + sample) * n->input;
    double sum = or_zero(n->b, d * 2 * rows + row);
    for (int64_t i = 0; i < n->input; i++)
        sum += number(n->w, (d * rows + row) * n->input + i) * number(n->x, from + i);
    return sum;
}
static double product_r(const network *n, int64_t d, int64_t row, const double *h) {
    const int64_t rows = n->gates * n->hidden;
    double sum = or_zero(n->b, (d * 2 + 1) * rows + row);
    for (int64_t i = 0; i < n->hidden; i++)
        sum += number(n->r, (d * rows + row) * n->hidden + i) * h[i];
    return sum;
}

enum { HIDDEN = 6 };

static void step(const network *n, int64_t d, int64_t time, int64_t sample, double *h, double *c) {
    const int64_t hidden = n->hidden;
    double old[HIDDEN], gated[HIDDEN];
    memcpy(old, h, sizeof old);
    for (int64_t i = 0; i < hidden && n->op == TM_OP_GRU; i++)
        gated[i] =
            sigmoid(n, product_w(n, d, hidden + i, time, sample) + product_r(n, d, hidden + i, old)) * old[i];
    for (int64_t i = 0; i < hidden; i++) {
#define GATE(g) (product_w(n, d, (g) * hidden + i, time, sample) + product_r(n, d, (g) * hidden + i, old))
        if (n->op == TM_OP_RNN) {
            h[i] = tanh(limited(n, GATE(0)));
        } else if (n->op == TM_OP_GRU) {
            const double update = sigmoid(n, GATE(0)), reset = sigmoid(n, GATE(1));
            const double in = product_w(n, d, 2 * hidden + i, time, sample);
            const double back = n->option ? reset * product_r(n, d, 2 * hidden + i, old)
                                          : product_r(n, d, 2 * hidden + i, gated);
            h[i] = (1 - update) * tanh(limited(n, in + back)) + update * old[i];
        } else {
            const int64_t peep = d * 3 * hidden + i;
            const double in = sigmoid(n, GATE(0) + or_zero(n->p, peep) * c[i]);
            const double forget =
                n->option ? 1 - in : sigmoid(n, GATE(2) + or_zero(n->p, peep + 2 * hidden) * c[i]);
            c[i] = forget * c[i] + in * tanh(limited(n, GATE(3)));
            h[i] = sigmoid(n, GATE(1) + or_zero(n->p, peep + hidden) * c[i]) * tanh(c[i]);
        }
#undef GATE
    }
}

static void check(const network *n, const tm_constant *const *out, int64_t d, int64_t sample) {
    double h[HIDDEN], c[HIDDEN];
    for (int64_t i = 0; i < n->hidden; i++) {
        h[i] = or_zero(n->h0, state_at(n, d, sample) + i);
        c[i] = or_zero(n->c0, state_at(n, d, sample) + i);
    }
    const int64_t length = n->lengths != NULL ? (int64_t)number(n->lengths, sample) : n->steps;
    const double terms = (double)(8 * n->steps * (n->input + n->hidden));
    for (int64_t s = 0; s < n->steps; s++) {
        const int64_t time = s < length && (d == 1 || n->backward) ? length - 1 - s : s;
        const int64_t at = n->batch_first ? (sample * n->steps + time) * n->directions + d
                                          : (time * n->directions + d) * n->batch + sample;
        if (s < length)
            step(n, d, time, sample, h, c);
        for (int64_t i = 0; i < n->hidden; i++)
            assert_near(out[0], at * n->hidden + i, s < length ? h[i] : 0, 4, terms);
    }
    for (int64_t i = 0; i < n->hidden; i++) {
        assert_near(out[1], state_at(n, d, sample) + i, h[i], 4, terms);
        if (n->op == TM_OP_LSTM)
            assert_near(out[2], state_at(n, d, sample) + i, c[i], 16, terms);
    }
}

static void equations_trial(kernel_test *t, int k) {
    static const tm_op ops[] = {TM_OP_LSTM, TM_OP_GRU, TM_OP_RNN};
    const tamis_type type = float_types[k / 3 % FLOAT_TYPES];
    network n = {.op = ops[k % 3],
                 .steps = random_int(t, 1, 5),
                 .batch = random_int(t, 1, 3),
                 .input = random_int(t, 1, 9),
                 .hidden = random_int(t, 1, HIDDEN),
                 .directions = random_int(t, 1, 2),
                 .batch_first = random_int(t, 0, 1),
                 .option = random_int(t, 0, 1)};
    n.gates = n.op == TM_OP_LSTM ? 4 : n.op == TM_OP_GRU ? 3 : 1;
    n.backward = n.directions == 1 && random_int(t, 0, 1);
    n.clip = random_int(t, 0, 2) == 0 ? 0.5 : 0;
    const int64_t rows = n.gates * n.hidden, d = n.directions;
    const int64_t first = n.batch_first ? n.batch : n.steps, second = n.batch_first ? n.steps : n.batch;
    const int64_t state[] = {n.batch_first ? n.batch : d, n.batch_first ? d : n.batch, n.hidden};
    n.x = random_numbers(t, type, 3, (int64_t[]){first, second, n.input});
    n.w = random_numbers(t, type, 3, (int64_t[]){d, rows, n.input});
    n.r = random_numbers(t, type, 3, (int64_t[]){d, rows, n.hidden});
    n.b = random_int(t, 0, 1) ? random_numbers(t, type, 2, (int64_t[]){d, 2 * rows}) : NULL;
    n.h0 = random_int(t, 0, 1) ? random_numbers(t, type, 3, state) : NULL;
    if (random_int(t, 0, 1)) {
        tm_constant *lengths = random_numbers(t, TAMIS_TYPE_INT32, 1, &n.batch);
        int32_t *values = tm_arena_copy(&t->arena, lengths->data, (size_t)lengths->bytes);
        for (int64_t i = 0; i < n.batch; i++)
            values[i] = (int32_t)random_int(t, 0, n.steps);
        lengths->data = values;
        n.lengths = lengths;
    }
    if (n.op == TM_OP_LSTM && random_int(t, 0, 1)) {
        n.c0 = random_numbers(t, type, 3, state);
        n.p = random_numbers(t, type, 2, (int64_t[]){d, 3 * n.hidden});
    }
    const tm_constant *inputs[] = {n.x, n.w, n.r, n.b, n.lengths, n.h0, n.c0, n.p}, *out[3] = {NULL};
    const bool lstm = n.op == TM_OP_LSTM;
    tm_node *node = new_node(t, n.op, lstm ? 3 : 2, lstm ? 8 : 6, inputs);
    tm_node_set_int(node, "hidden_size", n.hidden);
    tm_node_set_int(node, "layout", n.batch_first);
    tm_node_set_string(node, "direction", d == 2 ? "bidirectional" : n.backward ? "reverse" : "forward");
    if (n.clip > 0)
        tm_node_set_float(node, "clip", n.clip);
    if (lstm)
        tm_node_set_int(node, "input_forget", n.option);
    else if (n.op == TM_OP_GRU)
        tm_node_set_int(node, "linear_before_reset", n.option);
    assert_int_equal(run_node(t, node, out), TM_OK);
    for (int64_t i = 0; i < d * n.batch; i++)
        check(&n, out, i / n.batch, i % n.batch);
}
TRIALS(equations, 240)

static void activations_are_read(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 7);
    const int64_t dims[] = {1, 1, 4}, square[] = {1, 4, 4};
    const tm_constant *x = random_numbers(&t, TAMIS_TYPE_FLOAT, 3, dims),
                      *w = random_numbers(&t, TAMIS_TYPE_FLOAT, 3, square);
    const tm_constant *r = random_numbers(&t, TAMIS_TYPE_FLOAT, 3, square), *inputs[] = {x, w, r};
    tm_node *node = new_node(&t, TM_OP_RNN, 1, 3, inputs);
    tm_node_set_strings(node, "activations", (const char *const[]){"Affine"}, 1);
    tm_node_set_floats(node, "activation_alpha", (double[]){2}, 1);
    tm_node_set_floats(node, "activation_beta", (double[]){0.5}, 1);
    const tm_constant *y = answer(&t, node);
    for (int64_t i = 0; i < 4; i++) {
        double sum = 0;
        for (int64_t j = 0; j < 4; j++)
            sum += number(w, i * 4 + j) * number(x, j);
        assert_near(y, i, 2 * sum + 0.5, 8, 8);
    }
    kernel_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equations), cmocka_unit_test(activations_are_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
