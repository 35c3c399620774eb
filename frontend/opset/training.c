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
#include "frontend/opset/opset.h"

#include <string.h>

typedef struct optimiser {
    tm_draft *draft;
    tm_value *rate, *count; /* R and T as scalars of double */
    size_t tensors;
    size_t tensor; /* the one at hand */
    tm_value *x;
} optimiser;

static tm_value *emit(tm_draft *draft, tm_op op, tm_value *a, tm_value *b) {
    return tm_draft_emit(draft, op, b == NULL ? 1 : 2, (tm_value *[]){a, b});
}

static tm_value *number(tm_draft *draft, double value) {
    return tm_draft_constant(draft,
                             tm_constant_create_scalar(draft->importer->arena, TAMIS_TYPE_DOUBLE, value));
}

/* `factor` (a number, in the type of the tensor) times x. */
static tm_code times(const optimiser *o, double factor, tm_value *x, tm_value **out_value) {
    tm_value *constant;
    TM_TRY(tm_draft_constant_like(o->draft, factor, o->x, &constant));
    *out_value = emit(o->draft, TM_OP_Mul, constant, x);
    return TM_OK;
}

static tm_value *in_own_type(const optimiser *o, tm_value *scalar) {
    return emit(o->draft, TM_OP_CastLike, scalar, o->x);
}

/* Input number `group` of the tensor at hand: X, G, ... */
static tm_value *input_of(const optimiser *o, size_t group) {
    return o->draft->inputs.items[2 + group * o->tensors + o->tensor];
}

static tm_code scalar_in_double(tm_draft *draft, size_t index, tm_value **out_value) {
    tm_value *scalar = tm_draft_constant_ints(draft, NULL, 0);
    tm_value *x = emit(draft, TM_OP_Reshape, draft->inputs.items[index], scalar);
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Cast, 1, &x);
    tm_node_set_int(node, "to", TAMIS_TYPE_DOUBLE);
    *out_value = tm_draft_add_output(draft, node);
    return TM_OK;
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
    TM_TRY(scalar_in_double(draft, 0, &o->rate));
    return scalar_in_double(draft, 1, &o->count);
}

/* G + norm_coefficient*X */
static tm_code regularised(optimiser *o, tm_value **out_value) {
    double norm = tm_draft_float(o->draft, "norm_coefficient", 0);
    o->x = input_of(o, 0);
    *out_value = input_of(o, 1);
    if (norm == 0)
        return TM_OK;
    tm_value *term;
    TM_TRY(times(o, norm, o->x, &term));
    *out_value = emit(o->draft, TM_OP_Add, term, *out_value);
    return TM_OK;
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
    tm_value *test = emit(o->draft, TM_OP_Greater, o->count, number(o->draft, 0));
    return tm_draft_emit(o->draft, TM_OP_Where, 3, (tm_value *[]){test, yes, no});
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
        TM_TRY(regularised(&o, &g));
        TM_TRY(times(&o, alpha, input_of(&o, 2), &old));
        TM_TRY(give(&o, 1, TM_OP_Add, old, emit(draft, TM_OP_Mul, in_own_type(&o, beta), g), &v));
        step = v;
        if (nesterov) {
            TM_TRY(times(&o, alpha, v, &step));
            step = emit(draft, TM_OP_Add, g, step);
        }
        step = emit(draft, TM_OP_Mul, in_own_type(&o, o.rate), step);
        TM_TRY(give(&o, 0, TM_OP_Sub, o.x, step, &x));
    }
    return TM_OK;
}

/* ---- Adagrad ---- */

/* numerator / (Sqrt(h) + epsilon) */
static tm_code over_root(const optimiser *o, tm_value *numerator, tm_value *h, tm_value **out_value) {
    tm_value *epsilon;
    TM_TRY(
        tm_draft_constant_like(o->draft, tm_draft_float(o->draft, "epsilon", (double)1e-6f), o->x, &epsilon));
    tm_value *root = emit(o->draft, TM_OP_Add, emit(o->draft, TM_OP_Sqrt, h, NULL), epsilon);
    *out_value = emit(o->draft, TM_OP_Div, numerator, root);
    return TM_OK;
}

tm_code tm_opset_adagrad(tm_draft *draft) {
    optimiser o;
    TM_TRY(init(&o, draft, 3));
    tm_value *decay = number(draft, tm_draft_float(draft, "decay_factor", 0));
    tm_value *slower = emit(draft, TM_OP_Add, number(draft, 1), emit(draft, TM_OP_Mul, o.count, decay));
    tm_value *rate = emit(draft, TM_OP_Div, o.rate, slower);
    for (o.tensor = 0; o.tensor < o.tensors; o.tensor++) {
        tm_value *g, *h, *step, *x;
        TM_TRY(regularised(&o, &g));
        TM_TRY(give(&o, 1, TM_OP_Add, input_of(&o, 2), emit(draft, TM_OP_Mul, g, g), &h));
        TM_TRY(over_root(&o, emit(draft, TM_OP_Mul, in_own_type(&o, rate), g), h, &step));
        TM_TRY(give(&o, 0, TM_OP_Sub, o.x, step, &x));
    }
    return TM_OK;
}

/* ---- Adam ---- */

/* factor*old + (1 - factor)*new as output `group` */
static tm_code give_average(const optimiser *o, size_t group, double factor, tm_value *old, tm_value *new,
                            tm_value **out_value) {
    TM_TRY(times(o, factor, old, &old));
    TM_TRY(times(o, 1 - factor, new, &new));
    return give(o, group, TM_OP_Add, old, new, out_value);
}

/* T > 0 ? R * Sqrt(1 - beta^T) / (1 - alpha^T) : R */
static tm_value *adjusted_rate(const optimiser *o, double alpha, double beta) {
    tm_draft *draft = o->draft;
    tm_value *one = number(draft, 1);
    tm_value *a = emit(draft, TM_OP_Sub, one, emit(draft, TM_OP_Pow, number(draft, alpha), o->count));
    tm_value *b = emit(draft, TM_OP_Sub, one, emit(draft, TM_OP_Pow, number(draft, beta), o->count));
    tm_value *rate = emit(draft, TM_OP_Mul, o->rate, emit(draft, TM_OP_Sqrt, b, NULL));
    return when_counted(o, emit(draft, TM_OP_Div, rate, a), o->rate);
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
        TM_TRY(regularised(&o, &g));
        TM_TRY(give_average(&o, 1, alpha, input_of(&o, 2), g, &v));
        TM_TRY(give_average(&o, 2, beta, input_of(&o, 3), emit(draft, TM_OP_Mul, g, g), &h));
        TM_TRY(over_root(&o, emit(draft, TM_OP_Mul, in_own_type(&o, rate), v), h, &step));
        if (post == 0) {
            TM_TRY(give(&o, 0, TM_OP_Sub, o.x, step, &x));
            continue;
        }
        tm_value *keep;
        TM_TRY(tm_draft_constant_like(draft, 1 - post, o.x, &keep));
        TM_TRY(give(&o, 0, TM_OP_Mul, emit(draft, TM_OP_Sub, o.x, step), keep, &x));
    }
    return TM_OK;
}
