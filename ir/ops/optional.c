/* SPDX-License-Identifier: Apache-2.0
 *
 * optional.c: inference of optionals.
 *
 * An optional carries the type and dims of what it holds, as a sequence does (ir/ops/sequence.c), also where
 * it holds nothing; an empty one has rank -1 unless its type attribute says more, and takes the rank
 * of the other side where control flow joins the two:
 *
 *     %o: optional f32[n] = If(%c) { then: Optional(%x: f32[n])    else: Optional() {dtype = 1} }
 *
 * Whether there is an element is known where the maker of the optional is, and always for a value that is
 * none; so an If on it keeps only one of its branches.
 */
#include "ir/ops/control_flow.h"

/* What the attributes say that an optional without input could hold. */
static tm_code infer_empty(tm_infer_context *context, tm_node *node, tm_value *optional) {
    int64_t type = tm_node_int(node, "dtype"), item = tm_node_int(node, "item");
    int64_t rank = tm_node_int(node, "rank");
    tm_dim dims[TAMIS_MAX_RANK];
    bool known = type > TAMIS_TYPE_UNDEFINED && type < TAMIS_TYPE_COUNT;
    if (!known || (item != TAMIS_KIND_TENSOR && item != TAMIS_KIND_SEQUENCE) || rank < -1 ||
        rank > TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "an Optional without input needs a type: a tensor or a sequence of tensors");
    for (int i = 0; i < (int)rank; i++)
        dims[i] = tm_infer_free_of(context, optional, i, NULL);
    tm_value_set_handle(optional, TAMIS_KIND_OPTIONAL, (tamis_type)type, (int)rank, dims);
    optional->item = (tamis_kind)item;
    return TM_OK;
}

static tm_code need_output(tm_node *node) {
    if (tm_infer_output(node, 0) == NULL)
        return tm_infer_fail(node, TM_E_ARITY, "the output is missing");
    return TM_OK;
}

tm_code tm_infer_optional(tm_infer_context *context, tm_node *node) {
    TM_TRY(need_output(node));
    const tm_value *x = tm_infer_input(node, 0);
    tm_value *optional = node->outputs[0];
    if (x == NULL)
        return infer_empty(context, node, optional);
    bool flat = x->kind == TAMIS_KIND_TENSOR || x->item == TAMIS_KIND_TENSOR;
    if (!flat || !tm_form_exists(TAMIS_KIND_OPTIONAL, x->kind))
        return tm_infer_fail(node, TM_E_TYPE, "there are no optionals of %s",
                             tm_value_form_text(context->arena, x));
    if (tm_node_has_attribute(node, "dtype") &&
        (tm_node_int(node, "dtype") != (int64_t)x->type || tm_node_int(node, "item") != (int64_t)x->kind))
        return tm_infer_fail(node, TM_E_TYPE, "the attribute type is not the type of input '%s', %s", x->name,
                             tm_value_form_text(context->arena, x));
    tm_value_set_handle(optional, TAMIS_KIND_OPTIONAL, x->type, x->rank, x->dims);
    optional->item = x->kind;
    optional->key = x->key;
    return TM_OK;
}

/* What an Optional in the same graph made it of; NULL: not known, or nothing. */
static const tm_value *known_element(const tm_value *optional) {
    const tm_node *maker = optional->producer;
    return maker != NULL && maker->op == TM_OP_Optional ? tm_infer_input(maker, 0) : NULL;
}

tm_code tm_infer_optional_get_element(tm_infer_context *context, tm_node *node) {
    TM_TRY(need_output(node));
    const tm_value *x = tm_infer_input(node, 0);
    if (x == NULL)
        return tm_infer_fail(node, TM_E_ARITY, "input 0 is missing");
    const tm_value *element = x->kind == TAMIS_KIND_OPTIONAL ? known_element(x) : x;
    if (element == NULL)
        return tm_infer_item(context, node, x);
    tm_value_set_form(node->outputs[0], element, element->rank, element->dims);
    if (element->elements != NULL)
        tm_infer_set_elements(context, node, 0, element->elements, element->element_count);
    return TM_OK;
}

tm_code tm_infer_optional_has_element(tm_infer_context *context, tm_node *node) {
    const tm_value *x = tm_infer_input(node, 0);
    const tm_node *maker = x != NULL ? x->producer : NULL;
    tm_infer_set(node, 0, TAMIS_TYPE_BOOL, 0, NULL);
    bool made = maker != NULL && maker->op == TM_OP_Optional;
    if (x != NULL && x->kind == TAMIS_KIND_OPTIONAL && !made)
        return TM_OK;
    bool has = x != NULL && (x->kind != TAMIS_KIND_OPTIONAL || tm_infer_input(maker, 0) != NULL);
    tm_dim answer = tm_infer_const(context, has);
    tm_infer_set_elements(context, node, 0, &answer, 1);
    return TM_OK;
}
