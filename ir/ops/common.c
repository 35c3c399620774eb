/* SPDX-License-Identifier: Apache-2.0
 *
 * common.c: the helpers of infer functions.
 *
 * Symbols are found again, never made twice: a FREE symbol is known by (value, axis), a LOAD symbol by
 * (value, element), and each value lists the ones it binds. When inference runs again after a
 * pass, NonZero's "nz" is the same symbol as before, and everything computed from it compares equal.
 *
 * tm_infer_element on a small tensor makes the symbols of all its elements at once and keeps them in
 * value->elements, so that of two readers of one shape tensor
 *
 *     %y = Reshape(%x, %shape)      %n = Gather(%shape, 0)
 *
 * both speak of the same symbols. Of a large tensor only the elements asked for get one.
 */
#include "ir/infer.h"

#include <string.h>

#define ELEMENTS_AT_ONCE 64

tm_value *tm_infer_input(const tm_node *node, int i) {
    return i >= 0 && i < node->input_count ? node->inputs[i] : NULL;
}

tm_value *tm_infer_output(const tm_node *node, int i) {
    return i >= 0 && i < node->output_count ? node->outputs[i] : NULL;
}

void tm_infer_set(tm_node *node, int output, tamis_type type, int rank, const tm_dim *dims) {
    tm_value *value = tm_infer_output(node, output);
    if (value == NULL)
        return;
    tm_value_set_tensor(value, type, rank, dims);
    value->elements = NULL;
    value->element_count = 0;
}

void tm_infer_set_like(tm_node *node, int output, tamis_type type, const tm_value *like) {
    tm_infer_set(node, output, type, like->rank, like->dims);
}

void tm_infer_set_elements(tm_infer_context *context, tm_node *node, int output, const tm_dim *elements,
                           int64_t count) {
    tm_value *value = tm_infer_output(node, output);
    if (value == NULL || count > TM_MAX_ELEMENTS || count < 0)
        return;
    value->elements = TM_NEW_ARRAY(context->arena, tm_dim, count > 0 ? count : 1);
    value->element_count = count;
    if (count > 0)
        memcpy(value->elements, elements, (size_t)count * sizeof *elements);
}

/* ---- symbols ---- */

static tm_symbol *find_symbol(const tm_value *value, tm_symbol_origin origin, int64_t index) {
    for (size_t i = 0; i < value->symbols.count; i++) {
        tm_symbol *symbol = value->symbols.items[i];
        if (symbol->origin == origin && symbol->index == index)
            return symbol;
    }
    return NULL;
}

/* An element lies in the range of its type. */
static void narrow_to_type(tm_symbol *symbol, tamis_type type) {
    int bits = type == TAMIS_TYPE_BOOL ? 1 : tm_type_bits(type);
    if (bits >= 64)
        return;
    if (tm_type_is_signed(type))
        tm_symbol_set_range(symbol, -((int64_t)1 << (bits - 1)), ((int64_t)1 << (bits - 1)) - 1);
    else
        tm_symbol_set_range(symbol, 0, ((int64_t)1 << bits) - 1);
}

static tm_dim bound_symbol(tm_infer_context *context, tm_value *value, tm_symbol_origin origin, int64_t index,
                           const char *name) {
    tm_symbol *symbol = find_symbol(value, origin, index);
    if (symbol != NULL)
        return tm_dim_of_symbol(context->dims, symbol);
    tm_dim dim = tm_dim_fresh(context->dims, name, origin, value, index);
    if (origin == TM_SYMBOL_LOAD)
        narrow_to_type(dim->symbol, value->type);
    tm_push(context->arena, &value->symbols, dim->symbol);
    return dim;
}

tm_dim tm_infer_free_of(tm_infer_context *context, tm_value *value, int axis, const char *name) {
    return bound_symbol(context, value, TM_SYMBOL_FREE, axis, name != NULL ? name : value->name);
}

tm_dim tm_infer_free(tm_infer_context *context, tm_node *node, int output, int axis, const char *name) {
    tm_value *value = tm_infer_output(node, output);
    if (value == NULL)
        return tm_dim_fresh(context->dims, name != NULL ? name : "free", TM_SYMBOL_FREE, NULL, axis);
    return tm_infer_free_of(context, value, axis, name);
}

tm_dim tm_infer_const(tm_infer_context *context, int64_t value) {
    return tm_dim_constant(context->dims, value);
}

/* ---- elements ---- */

static bool constant_count(const tm_value *value, int64_t *out_count) {
    int64_t count = 1;
    for (int i = 0; i < value->rank; i++)
        if (!tm_dim_is_constant(value->dims[i]) || !tm_mul_i64(count, value->dims[i]->constant, &count))
            return false;
    *out_count = count;
    return value->rank >= 0;
}

static tm_dim load_symbol(tm_infer_context *context, tm_value *value, int64_t i) {
    return bound_symbol(context, value, TM_SYMBOL_LOAD, i, value->name);
}

tm_dim tm_infer_element(tm_infer_context *context, tm_value *value, int64_t i) {
    int64_t constant = 0;
    int64_t count = 0;
    if (value->elements != NULL && i < value->element_count)
        return value->elements[i];
    if (value->constant != NULL && i < tm_constant_count(value->constant) &&
        tm_constant_int(value->constant, i, &constant))
        return tm_dim_constant(context->dims, constant);
    if (value->elements != NULL || !constant_count(value, &count) || count > ELEMENTS_AT_ONCE || i >= count)
        return load_symbol(context, value, i);
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count);
    for (int64_t k = 0; k < count; k++)
        elements[k] = load_symbol(context, value, k);
    value->elements = elements;
    value->element_count = count;
    return elements[i];
}

bool tm_infer_known_elements(tm_infer_context *context, tm_value *value, const tm_dim **out_elements,
                             int64_t *out_count) {
    (void)context;
    if (value == NULL || value->elements == NULL)
        return false;
    *out_elements = value->elements;
    *out_count = value->element_count;
    return true;
}

bool tm_infer_constant_elements(tm_infer_context *context, tm_value *value, int64_t *out, int64_t capacity,
                                int64_t *out_count) {
    const tm_dim *elements = NULL;
    int64_t count = 0;
    if (!tm_infer_known_elements(context, value, &elements, &count) || count > capacity)
        return false;
    for (int64_t i = 0; i < count; i++) {
        if (!tm_dim_is_constant(elements[i]))
            return false;
        out[i] = elements[i]->constant;
    }
    *out_count = count;
    return true;
}

/* ---- declared ranks ---- */

#define DECLARED_STEPS 64 /* uses to look at */

static int rank_of_uses(const tm_value *value, int *steps);

/* Rank of the node's result where it must be that of input `index`: every other operand has a lower one. */
static int rank_through(const tm_node *node, int index, int *steps) {
    const bool like = node->op == TM_OP_CastLike; /* input 1 gives no more than its type */
    if (!(tm_op_has(node->op, TM_ELEMENTWISE) || node->op == TM_OP_Identity) || node->outputs[0] == NULL ||
        (like && index > 0))
        return -1;
    int rank = node->outputs[0]->declared_rank;
    if (rank < 0)
        rank = rank_of_uses(node->outputs[0], steps);
    for (int i = 0; i < node->input_count && !like; i++) {
        const tm_value *other = node->inputs[i];
        if (other != NULL && other != node->inputs[index] && (other->rank < 0 || other->rank >= rank))
            return -1;
    }
    return rank;
}

static int rank_of_uses(const tm_value *value, int *steps) {
    int rank = -1;
    for (size_t i = 0; i < value->uses.count && rank < 0 && *steps > 0; i++) {
        --*steps;
        if (value->uses.items[i].node != NULL)
            rank = rank_through(value->uses.items[i].node, value->uses.items[i].index, steps);
    }
    return rank;
}

int tm_infer_declared_rank(const tm_value *value) {
    int steps = DECLARED_STEPS;
    return value->declared_rank >= 0 ? value->declared_rank : rank_of_uses(value, &steps);
}

/* ---- checks ---- */

tm_code tm_infer_fail(tm_node *node, tm_code code, const char *format, ...) {
    tm_model *model = node->graph->model;
    tm_place place = tm_node_place(node);
    va_list arguments;
    va_start(arguments, format);
    const char *message = tm_arena_format_v(model->arena, format, arguments);
    va_end(arguments);
    return tm_report(model->diagnostics, code, &place, NULL, "%s", message);
}

static const char *dim_text(tm_infer_context *context, tm_dim dim) {
    tm_text text;
    tm_text_init(&text, context->arena);
    tm_dim_print(dim, &text);
    return tm_text_get(&text);
}

tm_code tm_infer_equal(tm_infer_context *context, tm_node *node, tm_dim a, tm_dim b, const char *what) {
    tm_model *model = context->model;
    if (tm_dim_same(a, b))
        return TM_OK;
    if (tm_dim_differ(context->dims, a, b)) {
        tm_place place = tm_node_place(node);
        return tm_report_mismatch(model->diagnostics, TM_E_SHAPE, &place, NULL, dim_text(context, a),
                                  dim_text(context, b), "%s: the dims differ", what);
    }
    /* Pairs with a late dim are looked for at the node only, whose own stand last: there may be many. */
    bool late = a->late || b->late;
    for (size_t i = model->constraints.count; i-- > 0;) {
        const tm_constraint *known = &model->constraints.items[i];
        if (late && known->node != node)
            break;
        if ((known->a == a && known->b == b) || (known->a == b && known->b == a))
            return TM_OK;
    }
    tm_push(context->arena, &model->constraints, (tm_constraint){node, a, b});
    return TM_OK;
}

tm_code tm_infer_axis(tm_node *node, int64_t axis, int rank, int *out_axis) {
    if (axis < -(int64_t)rank || axis >= rank)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "axis %lld is out of range for %d dims", (long long)axis,
                             rank);
    *out_axis = (int)(axis < 0 ? axis + rank : axis);
    return TM_OK;
}

/* A broadcast that was decided (5 against s is 5) still demands of each operand to be that or 1: kernels do
 * not look. One that was not decided fails by itself when it is evaluated. */
static tm_code demand_broadcast(tm_infer_context *context, tm_node *node, tm_value *const *values, int count,
                                int rank, int axis, tm_dim result) {
    if (result->kind == TM_DIM_BROADCAST)
        return TM_OK;
    for (int i = 0; i < count; i++) {
        int own = axis - (rank - values[i]->rank);
        if (own < 0 || values[i]->dims[own] == result || tm_dim_is(values[i]->dims[own], 1))
            continue;
        tm_dim dim = values[i]->dims[own];
        tm_dim one = tm_dim_equal(context->dims, dim, tm_dim_constant(context->dims, 1));
        tm_dim met = tm_dim_select(context->dims, one, result, dim);
        TM_TRY(tm_infer_equal(context, node, met, result, "broadcast"));
    }
    return TM_OK;
}

tm_code tm_infer_broadcast_dims(tm_infer_context *context, tm_node *node, tm_value *const *values, int count,
                                int *out_rank, tm_dim *out_dims) {
    int rank = 0;
    for (int i = 0; i < count; i++)
        if (values[i]->rank > rank)
            rank = values[i]->rank;
    if (rank > TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM, "%d dims are more than %d", rank, TAMIS_MAX_RANK);
    for (int axis = 0; axis < rank; axis++) {
        tm_dim result = tm_dim_constant(context->dims, 1);
        for (int i = 0; i < count; i++) {
            int own = axis - (rank - values[i]->rank);
            if (own < 0)
                continue;
            tm_dim next = tm_dim_broadcast(context->dims, result, values[i]->dims[own]);
            if (next == NULL) {
                tm_place place = tm_node_place(node);
                return tm_report_mismatch(context->model->diagnostics, TM_E_SHAPE, &place, NULL,
                                          dim_text(context, result), dim_text(context, values[i]->dims[own]),
                                          "the dims of '%s' do not broadcast at axis %d", values[i]->name,
                                          axis);
            }
            result = next;
        }
        out_dims[axis] = result;
        TM_TRY(demand_broadcast(context, node, values, count, rank, axis, result));
    }
    *out_rank = rank;
    return TM_OK;
}

tm_code tm_infer_need(tm_node *node, int input, int rank_or_minus_one) {
    const tm_value *value = tm_infer_input(node, input);
    if (value == NULL)
        return tm_infer_fail(node, TM_E_ARITY, "input %d is missing", input);
    if (value->kind != TAMIS_KIND_TENSOR)
        return tm_infer_fail(node, TM_E_TYPE, "input %d, '%s', is not a tensor", input, value->name);
    if (value->rank < 0)
        return tm_infer_fail(node, TM_E_UNKNOWN_RANK, "the rank of input %d, '%s', is not known", input,
                             value->name);
    if (rank_or_minus_one >= 0 && value->rank != rank_or_minus_one)
        return tm_infer_fail(node, TM_E_SHAPE, "input %d, '%s', has %d dims where %d are needed", input,
                             value->name, value->rank, rank_or_minus_one);
    return TM_OK;
}

tm_code tm_infer_need_one(tm_infer_context *context, tm_node *node, int input, const char *what) {
    TM_TRY(tm_infer_need(node, input, -1));
    const tm_value *value = tm_infer_input(node, input);
    return tm_infer_equal(context, node, tm_dim_product(context->dims, value->dims, value->rank),
                          tm_infer_const(context, 1), what);
}

tm_code tm_infer_need_type(tm_node *node, int input, const tamis_type *allowed) {
    const tm_value *value = tm_infer_input(node, input);
    if (value == NULL || allowed == NULL)
        return TM_OK;
    for (; *allowed != TAMIS_TYPE_UNDEFINED; allowed++)
        if (*allowed == value->type)
            return TM_OK;
    return tm_infer_fail(node, TM_E_TYPE, "%s does not take %s as input %d, '%s'", tm_op_get(node->op)->name,
                         tm_type_text(value->type), input, value->name);
}

tm_code tm_infer_same_type(tm_node *node, int input_a, int input_b) {
    const tm_value *a = tm_infer_input(node, input_a);
    const tm_value *b = tm_infer_input(node, input_b);
    if (a == NULL || b == NULL || a->type == b->type)
        return TM_OK;
    return tm_infer_fail(node, TM_E_TYPE, "inputs %d and %d have different types, %s and %s", input_a,
                         input_b, tm_type_text(a->type), tm_type_text(b->type));
}
