/* SPDX-License-Identifier: Apache-2.0
 *
 * cast.c: inference of Cast, CastLike, BitCast and Identity.
 *
 * Elements pass from integers and bools to integers. Between, exporters compute on floats:
 *
 *     %f = Cast(%n) {to = f32}    %h = Mul(%f, 0.5)    %d = Floor(%h)    %i = Cast(%d) {to = i64}
 *
 * Float values carry no elements; instead a Cast from float to integer looks back through such a chain,
 * where each value is a fraction element/denominator with an integer denominator: sums, products and
 * quotients with constants that are integers or dyadic fractions keep it one, Floor and Ceil make
 * it whole. Anything else ends the look back, and the elements are loaded at run time.
 */
#include "ir/infer.h"

#define MAX_CHAIN 16
#define MAX_DENOMINATOR (1 << 16)

typedef struct fraction {
    tm_dim over;
    int64_t under; /* above 0 */
} fraction;

static bool is_whole_type(tamis_type type) {
    return tm_type_is_integer(type) || type == TAMIS_TYPE_BOOL;
}

/* The only element of a float constant, as numerator and denominator. */
static bool constant_fraction(const tm_value *value, int64_t *out_over, int64_t *out_under) {
    double x;
    if (value == NULL || value->constant == NULL || tm_constant_count(value->constant) != 1 ||
        !tm_constant_double(value->constant, 0, &x))
        return false;
    int64_t under = 1;
    while (x != (double)(int64_t)x) {
        if (!(x > -1e6 && x < 1e6) || under >= MAX_DENOMINATOR)
            return false;
        x *= 2;
        under *= 2;
    }
    if (!(x > -1e6 && x < 1e6))
        return false;
    *out_over = (int64_t)x;
    *out_under = under;
    return true;
}

/* value * over / under */
static bool scale(tm_infer_context *context, fraction *value, int64_t over, int64_t under) {
    if (over < 0) {
        over = -over;
        value->over = tm_dim_mul(context->dims, value->over, tm_infer_const(context, -1));
    }
    if (under > MAX_DENOMINATOR / value->under)
        return false;
    value->over = tm_dim_mul(context->dims, value->over, tm_infer_const(context, over));
    value->under *= under;
    return true;
}

static bool add_constant(tm_infer_context *context, fraction *value, int64_t over, int64_t under, int sign) {
    if (under != 1)
        return false;
    value->over = tm_dim_add(context->dims, value->over, tm_infer_const(context, sign * over * value->under));
    return true;
}

/* Which input continues the chain; the other one of a binary op is a constant. */
static int chain_input(const tm_node *node) {
    bool commutes = node->op == TM_OP_Mul || node->op == TM_OP_Add;
    return node->input_count == 2 && commutes && tm_value_is_constant(node->inputs[0]) ? 1 : 0;
}

/* A binary op of the chain's value and a constant. */
static bool apply_binary(tm_infer_context *context, const tm_node *node, fraction *value) {
    int64_t over, under;
    if (!constant_fraction(node->inputs[1 - chain_input(node)], &over, &under))
        return false;
    switch (node->op) {
    case TM_OP_Mul:
        return scale(context, value, over, under);
    case TM_OP_Div:
        return over > 0 && scale(context, value, under, over);
    case TM_OP_Add:
        return add_constant(context, value, over, under, 1);
    case TM_OP_Sub:
        return add_constant(context, value, over, under, -1);
    default:
        return false;
    }
}

static bool apply(tm_infer_context *context, const tm_node *node, fraction *value) {
    tm_dim under = tm_infer_const(context, value->under);
    switch (node->op) {
    case TM_OP_Floor:
        *value = (fraction){tm_dim_floordiv(context->dims, value->over, under), 1};
        return true;
    case TM_OP_Ceil:
        *value = (fraction){tm_dim_ceildiv(context->dims, value->over, under), 1};
        return true;
    case TM_OP_Identity:
    case TM_OP_Cast:
        return true;
    default:
        return node->input_count == 2 && apply_binary(context, node, value);
    }
}

/* Looks back from a float value to an integer one with known elements; fills `nodes`, the nearest first. */
static bool look_back(tm_infer_context *context, tm_value *value, const tm_node **nodes, int *out_count,
                      const tm_dim **out_elements, int64_t *out_element_count) {
    for (int count = 0; count < MAX_CHAIN; count++) {
        if (is_whole_type(value->type)) {
            *out_count = count;
            return tm_infer_known_elements(context, value, out_elements, out_element_count);
        }
        const tm_node *node = value->producer;
        bool exact = value->type == TAMIS_TYPE_FLOAT || value->type == TAMIS_TYPE_DOUBLE;
        if (node == NULL || !exact || node->input_count < 1 || node->input_count > 2)
            return false;
        int next = chain_input(node);
        const tm_value *beside = tm_infer_input(node, 1 - next);
        if (node->inputs[next] == NULL || node->inputs[next]->rank < 0 ||
            (beside != NULL && beside->rank > node->inputs[next]->rank)) /* it would widen the chain */
            return false;
        nodes[count] = node;
        value = node->inputs[next];
    }
    return false;
}

static void carry_from_float(tm_infer_context *context, tm_node *node) {
    const tm_node *nodes[MAX_CHAIN];
    int length;
    const tm_dim *known;
    int64_t count;
    if (!look_back(context, node->inputs[0], nodes, &length, &known, &count))
        return;
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count);
    for (int64_t i = 0; i < count; i++) {
        fraction value = {known[i], 1};
        for (int k = length - 1; k >= 0; k--)
            if (!apply(context, nodes[k], &value))
                return;
        elements[i] = tm_dim_truncdiv(context->dims, value.over, tm_infer_const(context, value.under));
    }
    tm_infer_set_elements(context, node, 0, elements, count);
}

/* Constants must fit the new type; symbols are dims, which do. */
static bool fits(tm_dim dim, tamis_type type) {
    int bits = tm_type_bits(type);
    if (bits >= 64)
        return type == TAMIS_TYPE_INT64 || dim->low >= 0;
    int64_t high = tm_type_is_signed(type) ? ((int64_t)1 << (bits - 1)) - 1 : ((int64_t)1 << bits) - 1;
    int64_t low = tm_type_is_signed(type) ? -high - 1 : 0;
    if (bits < 32)
        return dim->low >= low && dim->high <= high;
    return !tm_dim_is_constant(dim) || (dim->constant >= low && dim->constant <= high);
}

static void carry_cast(tm_infer_context *context, tm_node *node, tamis_type to) {
    const tm_dim *known;
    int64_t count;
    tm_value *x = node->inputs[0];
    if (!is_whole_type(to))
        return;
    if (tm_type_is_float(x->type)) {
        if (to == TAMIS_TYPE_INT64 || to == TAMIS_TYPE_INT32)
            carry_from_float(context, node);
        return;
    }
    if (!is_whole_type(x->type) || !tm_infer_known_elements(context, x, &known, &count))
        return;
    tm_dim zero = tm_infer_const(context, 0), one = tm_infer_const(context, 1);
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count);
    for (int64_t i = 0; i < count; i++) {
        bool to_truth = to == TAMIS_TYPE_BOOL && x->type != TAMIS_TYPE_BOOL;
        elements[i] =
            to_truth ? tm_dim_select(context->dims, tm_dim_equal(context->dims, known[i], zero), zero, one)
                     : known[i];
        if (to != TAMIS_TYPE_BOOL && !fits(elements[i], to))
            return;
    }
    tm_infer_set_elements(context, node, 0, elements, count);
}

static bool is_type(int64_t type) {
    return type > TAMIS_TYPE_UNDEFINED && type < TAMIS_TYPE_COUNT;
}

tm_code tm_infer_cast(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *x = tm_infer_input(node, 0);
    if (node->op == TM_OP_CastLike)
        TM_TRY(tm_infer_need(node, 1, -1));
    int64_t to =
        node->op == TM_OP_CastLike ? (int64_t)tm_infer_input(node, 1)->type : tm_node_int(node, "to");
    if (!is_type(to))
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "attribute to is no element type");
    tamis_type type = (tamis_type)to;
    if (node->op == TM_OP_BitCast && tm_type_bits(type) != tm_type_bits(x->type))
        return tm_infer_fail(node, TM_E_TYPE, "BitCast from %s to %s changes the width",
                             tm_type_text(x->type), tm_type_text(type));
    tm_infer_set_like(node, 0, type, x);
    if (node->op != TM_OP_BitCast)
        carry_cast(context, node, type);
    return TM_OK;
}

/* Of any kind of value. */
tm_code tm_infer_identity(tm_infer_context *context, tm_node *node) {
    const tm_dim *known;
    int64_t count;
    tm_value *x = tm_infer_input(node, 0), *y = tm_infer_output(node, 0);
    if (x->kind != TAMIS_KIND_TENSOR) {
        tm_value_set_form(y, x, x->rank, x->dims);
        return TM_OK;
    }
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_infer_set_like(node, 0, x->type, x);
    if (tm_infer_known_elements(context, x, &known, &count))
        tm_infer_set_elements(context, node, 0, known, count);
    return TM_OK;
}
