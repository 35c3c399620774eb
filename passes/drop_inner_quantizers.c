/* SPDX-License-Identifier: Apache-2.0
 *
 * drop_inner_quantizers.c: pairs of quantisers inside of a norm, a Gelu or a SiLU that is spelled out go.
 *
 *     d = x - mean(x);  r = sqrt(DQ(Q(mean(DQ(Q(d*d))))) + eps)        r = sqrt(mean(d*d) + eps)
 *     y = DQ(Q(DQ(Q(d / r)) * gamma)) + beta                      ->   y = (d / r) * gamma + beta
 *
 *     y = x * DQ(Q(0.5 * DQ(Q(1 + erf(x / sqrt(2))))))            ->   y = x * (0.5 * (1 + erf(x / sqrt(2))))
 *     y = x * DQ(Q(sigmoid(x)))                                   ->   y = x * sigmoid(x)
 *
 * Quantisers put a pair around each operator, also where several are one in any newer opset. The passes that
 * recognise them see through no pairs; eight loops over memory take the place of one then, and a variance of
 * 8 bits that of one in float32. The answer is nearer to the model's before it was quantised. What goes into
 * the whole, and what comes out of it, stays quantised; where one node reads x with its pair and another
 * without it, all read it without. A pair that may stand for a Relu, as its range starts at zero and its
 * operand's does not, stays.
 *
 * Not bit-exact: what the pairs had rounded is not rounded.
 */
#include "passes/match.h"
#include "passes/pair.h"

static tm_node *maker(const tm_node *reader, int input) {
    tm_node *node = tm_pair_inside(reader->inputs[input])->producer;
    return node != NULL && node->graph == reader->graph ? node : NULL;
}

static bool is_fixed(const tm_value *value) {
    const tm_node *node = value->producer;
    return value->constant != NULL ||
           (node != NULL && node->op == TM_OP_DequantizeLinear && node->inputs[0]->constant != NULL);
}

/* The one that reads the value, or what a pair makes of it: which of its operands is that? */
static tm_node *reader_of(const tm_value *value, int *out_input) {
    tm_node *node = tm_value_single_user(value);
    const tm_graph *graph = value->graph;
    if (node != NULL && node->op == TM_OP_QuantizeLinear &&
        (node = tm_value_single_user(node->outputs[0])) != NULL &&
        tm_pair_before(node->outputs[0]) == value) {
        value = node->outputs[0];
        node = tm_value_single_user(value);
    }
    if (node == NULL || node->graph != graph)
        return NULL;
    *out_input = 0;
    while (*out_input < node->input_count && node->inputs[*out_input] != value)
        (*out_input)++;
    return *out_input < node->input_count ? node : NULL;
}

/* The nodes whose operands lose their pairs, but for one: what a pair makes of x, where all read that. */
typedef struct inside {
    tm_node *nodes[12];
    int count;
    const tm_value *kept;
    bool differs;
} inside;

static void read_x(inside *in, const tm_value *operand) {
    in->differs = in->differs || (in->kept != NULL && in->kept != operand);
    in->kept = operand;
}

static void add(inside *in, tm_node *node) {
    in->nodes[in->count++] = node;
}

static void take_off(tm_pass_context *context, const inside *in) {
    for (int i = 0; i < in->count; i++)
        for (int k = 0; k < in->nodes[i]->input_count; k++) {
            const tm_value *operand = in->nodes[i]->inputs[k];
            tm_value *real = tm_pair_before(operand);
            double high;
            if (real != NULL && !tm_pair_cuts(operand, &high) && (in->differs || operand != in->kept) &&
                tm_pass_allow(context))
                tm_node_set_input(in->nodes[i], k, real);
        }
}

/* ---- norms ---- */

/* The value that is squared: node is d * d or d ^ 2. */
static tm_value *squared_by(const tm_node *node) {
    double exponent;
    if (node == NULL || (node->op != TM_OP_Mul && node->op != TM_OP_Pow))
        return NULL;
    tm_value *d = tm_pair_inside(node->inputs[0]);
    if (node->op == TM_OP_Mul)
        return tm_pair_inside(node->inputs[1]) == d ? d : NULL;
    return tm_match_number(node->inputs[1], &exponent) && exponent == 2 ? d : NULL;
}

/* What sqrt(mean(d * d) + eps) is made of; returns d, or NULL. */
static tm_value *find_deviation(tm_node *root, inside *in) {
    tm_node *sum = maker(root, 0), *mean = sum;
    for (int i = 0; sum != NULL && sum->op == TM_OP_Add && i < 2; i++)
        if (is_fixed(sum->inputs[1 - i]))
            mean = maker(sum, i);
    if (mean == NULL || mean->op != TM_OP_ReduceMean)
        return NULL;
    tm_node *square = maker(mean, 0);
    tm_value *d = squared_by(square);
    add(in, root);
    add(in, mean);
    if (sum != mean)
        add(in, sum);
    if (d == NULL)
        return NULL;
    add(in, square);
    read_x(in, square->inputs[0]);
    read_x(in, square->op == TM_OP_Mul ? square->inputs[1] : square->inputs[0]);
    return d;
}

/* d / root, or d * (1 / root). */
static tm_node *find_quotient(const tm_node *root, const tm_value *d, inside *in) {
    int input;
    double one = 0;
    tm_node *node = reader_of(root->outputs[0], &input);
    bool inverse = node != NULL &&
                   (node->op == TM_OP_Reciprocal || (node->op == TM_OP_Div && input == 1 &&
                                                     tm_match_number(node->inputs[0], &one) && one == 1));
    if (inverse) {
        add(in, node);
        node = reader_of(node->outputs[0], &input);
    }
    if (node == NULL || node->op != (inverse ? TM_OP_Mul : TM_OP_Div) || (!inverse && input != 1) ||
        tm_pair_inside(node->inputs[1 - input]) != d)
        return NULL;
    read_x(in, node->inputs[1 - input]);
    add(in, node);
    return node;
}

/* d = x - mean(x): then d is inside. */
static void find_centre(const tm_value *d, inside *in) {
    tm_node *node = d->producer;
    tm_node *mean = node != NULL && node->op == TM_OP_Sub ? maker(node, 1) : NULL;
    if (mean == NULL || mean->op != TM_OP_ReduceMean ||
        tm_pair_inside(mean->inputs[0]) != tm_pair_inside(node->inputs[0]))
        return;
    in->kept = mean->inputs[0];
    in->differs = mean->inputs[0] != node->inputs[0];
    add(in, mean);
    add(in, node);
}

static void find_rows(const tm_node *quotient, inside *in) {
    static const tm_op order[] = {TM_OP_Mul, TM_OP_Add};
    int input;
    for (int i = 0; i < 2; i++) {
        tm_node *node = reader_of(quotient->outputs[0], &input);
        if (node == NULL || node->op != order[i] || !is_fixed(node->inputs[1 - input]))
            continue;
        add(in, node);
        quotient = node;
    }
}

static void drop_in_norm(tm_pass_context *context, tm_node *root) {
    inside in = {.count = 0};
    const tm_value *d = find_deviation(root, &in);
    const tm_node *quotient = d != NULL ? find_quotient(root, d, &in) : NULL;
    if (quotient == NULL)
        return;
    find_centre(d, &in);
    find_rows(quotient, &in);
    take_off(context, &in);
}

/* ---- Gelu ---- */

/* x times a number, or x over one: x. */
static tm_value *scaled_by(const tm_node *node) {
    if (node == NULL || (node->op != TM_OP_Mul && node->op != TM_OP_Div))
        return NULL;
    if (is_fixed(node->inputs[1]))
        return node->inputs[0];
    return node->op == TM_OP_Mul && is_fixed(node->inputs[0]) ? node->inputs[1] : NULL;
}

/* The product that x and a half come to, in any order. */
static bool find_halves(const tm_node *gate, const tm_value *x, inside *in) {
    bool value = false, half = false;
    while (!value || !half) {
        int input;
        tm_node *node = reader_of(gate->outputs[0], &input);
        if (node == NULL || node->op != TM_OP_Mul)
            return value;
        tm_value *other = node->inputs[1 - input], *scaled = scaled_by(maker(node, 1 - input));
        if (is_fixed(other) && !half) {
            half = true;
        } else if (tm_pair_inside(other) == x && !value) {
            read_x(in, other);
            value = true;
        } else if (!value && !half && scaled != NULL && tm_pair_inside(scaled) == x) {
            read_x(in, scaled);
            add(in, maker(node, 1 - input));
            value = half = true;
        } else {
            return value;
        }
        add(in, node);
        gate = node;
    }
    return true;
}

static void drop_in_gelu(tm_pass_context *context, tm_node *erf) {
    inside in = {.nodes = {erf}, .count = 1};
    tm_node *argument = maker(erf, 0);
    tm_value *x = scaled_by(argument);
    int input;
    tm_node *gate = x != NULL ? reader_of(erf->outputs[0], &input) : NULL;
    if (gate == NULL || gate->op != TM_OP_Add || !is_fixed(gate->inputs[1 - input]))
        return;
    add(&in, argument);
    add(&in, gate);
    read_x(&in, x);
    if (find_halves(gate, tm_pair_inside(x), &in))
        take_off(context, &in);
}

/* ---- x * sigmoid(x) ---- */

static void drop_in_swish(tm_pass_context *context, tm_node *sigmoid) {
    inside in = {.nodes = {sigmoid}, .count = 1};
    int input;
    tm_node *mul = reader_of(sigmoid->outputs[0], &input);
    if (mul == NULL || mul->op != TM_OP_Mul ||
        tm_pair_inside(mul->inputs[1 - input]) != tm_pair_inside(sigmoid->inputs[0]))
        return;
    add(&in, mul);
    read_x(&in, sigmoid->inputs[0]);
    read_x(&in, mul->inputs[1 - input]);
    take_off(context, &in);
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (context->options->strict_math)
        return TM_OK;
    if (node->op == TM_OP_Sqrt)
        drop_in_norm(context, node);
    else if (node->op == TM_OP_Erf)
        drop_in_gelu(context, node);
    else if (node->op == TM_OP_Sigmoid)
        drop_in_swish(context, node);
    return TM_OK;
}

tm_code tm_pass_drop_inner_quantizers(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
