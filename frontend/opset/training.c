/* SPDX-License-Identifier: Apache-2.0
 *
 * training.c: the optimisers of ai.onnx.preview.training, Adagrad, Adam and Momentum, as the formulas that
 * the standard gives for them.
 *
 *     V', X' = Momentum(R, T, X, G, V)     ->     g = norm_coefficient*X + G   b = T > 0 ? beta : 1
 *                                                 V' = alpha*V + b*g   X' = X - R*V'
 *
 * Written out they become one pass over each tensor, as all elementwise chains do. One node may serve many
 * tensors: its inputs are first all X, then all G and so on, and each tensor is on its own. R and T are
 * scalars; what follows from them alone is computed once, in double, since 1 - beta^T loses all digits of a
 * float when beta is close to 1.
 */
#include "frontend/opset/write_out.h"
#include "frontend/opset/opset.h"

#include <string.h>

typedef struct optimiser {
    tm_draft *draft;
    tm_value *rate, *count; /* R and T as scalars of double */
    size_t tensors;
    size_t tensor; /* the one at hand */
    tm_value *x;
} optimiser;

static tm_value *number(tm_draft *draft, double value) {
    return tm_draft_constant(draft,
                             tm_constant_create_scalar(draft->importer->arena, TAMIS_TYPE_DOUBLE, value));
}

/* `factor` (a number, in the type of the tensor) times x. */
static tm_value *times(const optimiser *o, double factor, tm_value *x) {
    return tm_write_binary(o->draft, TM_OP_Mul, tm_write_number(o->draft, factor, o->x), x);
}

static tm_value *in_own_type(const optimiser *o, tm_value *scalar) {
    return tm_write_binary(o->draft, TM_OP_CastLike, scalar, o->x);
}

/* Input number `group` of the tensor at hand: X, G, ... */
static tm_value *input_of(const optimiser *o, size_t group) {
    return o->draft->inputs.items[2 + group * o->tensors + o->tensor];
}

static tm_value *scalar_in_double(tm_draft *draft, size_t index) {
    tm_value *scalar = tm_draft_constant_ints(draft, NULL, 0);
    tm_value *x = tm_write_binary(draft, TM_OP_Reshape, draft->inputs.items[index], scalar);
    return tm_write_cast(draft, x, TAMIS_TYPE_DOUBLE);
}

/* For ops that read `groups` values of each tensor and write one less. */
static tm_code init(optimiser *o, tm_draft *draft, size_t groups) {
    size_t count = draft->inputs.count;
    *o = (optimiser){.draft = draft, .tensors = count > 2 ? (count - 2) / groups : 0};
    for (size_t i = 0; i < count; i++)
        if (draft->inputs.items[i] == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "input %zu is missing", i);
    if (o->tensors == 0 || count != 2 + o->tensors * groups ||
        draft->outputs.count > o->tensors * (groups - 1))
        return tm_draft_fail(draft, TM_E_ARITY,
                             "%s has %zu inputs and %zu outputs for each tensor, after two more", draft->op,
                             groups, groups - 1);
    o->rate = scalar_in_double(draft, 0);
    o->count = scalar_in_double(draft, 1);
    return TM_OK;
}

/* G + norm_coefficient*X */
static tm_value *regularised(optimiser *o) {
    double norm = tm_draft_float(o->draft, "norm_coefficient", 0);
    o->x = input_of(o, 0);
    return norm == 0 ? input_of(o, 1) : tm_write_add(o->draft, times(o, norm, o->x), input_of(o, 1));
}

/* Output number `group` of the tensor at hand. */
static tm_code give(const optimiser *o, size_t group, tm_op op, tm_value *a, tm_value *b,
                    tm_value **out_value) {
    tm_node *node;
    size_t index = group * o->tensors + o->tensor;
    TM_TRY(tm_opset_emit_output(o->draft, index, op, 2, (tm_value *[]){a, b}, &node));
    *out_value = node->outputs[0];
    return TM_OK;
}

/* T > 0 ? yes : no */
static tm_value *when_counted(const optimiser *o, tm_value *yes, tm_value *no) {
    tm_value *test = tm_write_binary(o->draft, TM_OP_Greater, o->count, number(o->draft, 0));
    return tm_write_where(o->draft, test, yes, no);
}

/* ---- Momentum ---- */

tm_code tm_opset_momentum(tm_draft *draft) {
    static const char *const needed[] = {"alpha", "beta", "norm_coefficient", "mode"};
    optimiser o;
    TM_TRY(init(&o, draft, 3));
    for (int i = 0; i < 4; i++)
        if (!tm_draft_has(draft, needed[i]))
            return tm_draft_fail(draft, TM_E_ATTRIBUTE, "the attribute '%s' is missing", needed[i]);
    const char *mode = tm_draft_string(draft, "mode", "");
    bool nesterov = strcmp(mode, "nesterov") == 0;
    if (!nesterov && strcmp(mode, "standard") != 0)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "mode is neither standard nor nesterov");
    double alpha = tm_draft_float(draft, "alpha", 0);
    tm_value *beta = when_counted(&o, number(draft, tm_draft_float(draft, "beta", 0)), number(draft, 1));
    for (o.tensor = 0; o.tensor < o.tensors; o.tensor++) {
        tm_value *g, *old, *v, *step, *x;
        g = regularised(&o);
        old = times(&o, alpha, input_of(&o, 2));
        TM_TRY(
            give(&o, 1, TM_OP_Add, old, tm_write_binary(draft, TM_OP_Mul, in_own_type(&o, beta), g), &v));
        step = v;
        if (nesterov) {
            step = tm_write_add(draft, g, times(&o, alpha, v));
        }
        step = tm_write_binary(draft, TM_OP_Mul, in_own_type(&o, o.rate), step);
        TM_TRY(give(&o, 0, TM_OP_Sub, o.x, step, &x));
    }
    return TM_OK;
}

/* ---- Adagrad ---- */

/* numerator / (Sqrt(h) + epsilon) */
static tm_value *over_root(const optimiser *o, tm_value *numerator, tm_value *h) {
    tm_draft *draft = o->draft;
    tm_value *epsilon = tm_write_number(draft, tm_draft_float(draft, "epsilon", (double)1e-6f), o->x);
    tm_value *root = tm_write_add(draft, tm_write_unary(draft, TM_OP_Sqrt, h), epsilon);
    return tm_write_binary(draft, TM_OP_Div, numerator, root);
}

tm_code tm_opset_adagrad(tm_draft *draft) {
    optimiser o;
    TM_TRY(init(&o, draft, 3));
    tm_value *decay = number(draft, tm_draft_float(draft, "decay_factor", 0));
    tm_value *slower = tm_write_binary(draft, TM_OP_Add, number(draft, 1),
                                         tm_write_binary(draft, TM_OP_Mul, o.count, decay));
    tm_value *rate = tm_write_binary(draft, TM_OP_Div, o.rate, slower);
    for (o.tensor = 0; o.tensor < o.tensors; o.tensor++) {
        tm_value *g, *h, *step, *x;
        g = regularised(&o);
        TM_TRY(give(&o, 1, TM_OP_Add, input_of(&o, 2), tm_write_binary(draft, TM_OP_Mul, g, g), &h));
        step = over_root(&o, tm_write_binary(draft, TM_OP_Mul, in_own_type(&o, rate), g), h);
        TM_TRY(give(&o, 0, TM_OP_Sub, o.x, step, &x));
    }
    return TM_OK;
}

/* ---- Adam ---- */

/* factor*old + (1 - factor)*new as output `group` */
static tm_code give_average(const optimiser *o, size_t group, double factor, tm_value *old, tm_value *new,
                            tm_value **out_value) {
    return give(o, group, TM_OP_Add, times(o, factor, old), times(o, 1 - factor, new), out_value);
}

/* T > 0 ? R * Sqrt(1 - beta^T) / (1 - alpha^T) : R */
static tm_value *adjusted_rate(const optimiser *o, double alpha, double beta) {
    tm_draft *draft = o->draft;
    tm_value *one = number(draft, 1);
    tm_value *a = tm_write_binary(draft, TM_OP_Sub, one,
                                    tm_write_binary(draft, TM_OP_Pow, number(draft, alpha), o->count));
    tm_value *b = tm_write_binary(draft, TM_OP_Sub, one,
                                    tm_write_binary(draft, TM_OP_Pow, number(draft, beta), o->count));
    tm_value *rate = tm_write_binary(draft, TM_OP_Mul, o->rate, tm_write_unary(draft, TM_OP_Sqrt, b));
    return when_counted(o, tm_write_binary(draft, TM_OP_Div, rate, a), o->rate);
}

tm_code tm_opset_adam(tm_draft *draft) {
    optimiser o;
    TM_TRY(init(&o, draft, 4));
    double alpha = tm_draft_float(draft, "alpha", (double)0.9f),
           beta = tm_draft_float(draft, "beta", (double)0.999f);
    double post = tm_draft_float(draft, "norm_coefficient_post", 0);
    tm_value *rate = adjusted_rate(&o, alpha, beta);
    for (o.tensor = 0; o.tensor < o.tensors; o.tensor++) {
        tm_value *g, *v, *h, *step, *x;
        g = regularised(&o);
        TM_TRY(give_average(&o, 1, alpha, input_of(&o, 2), g, &v));
        TM_TRY(give_average(&o, 2, beta, input_of(&o, 3), tm_write_binary(draft, TM_OP_Mul, g, g), &h));
        step = over_root(&o, tm_write_binary(draft, TM_OP_Mul, in_own_type(&o, rate), v), h);
        if (post == 0) {
            TM_TRY(give(&o, 0, TM_OP_Sub, o.x, step, &x));
            continue;
        }
        tm_value *keep = tm_write_number(draft, 1 - post, o.x);
        TM_TRY(give(&o, 0, TM_OP_Mul, tm_write_binary(draft, TM_OP_Sub, o.x, step), keep, &x));
    }
    return TM_OK;
}
