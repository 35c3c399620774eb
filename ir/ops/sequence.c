/* SPDX-License-Identifier: Apache-2.0
 *
 * sequence.c: inference of sequences.
 *
 * A sequence value carries the type and dims of an element. A dim in which elements may differ is a FREE
 * symbol bound to the sequence itself; it stands for "varies" and has no value at run time. Taking an element
 * out gives such a dim a FREE symbol of its own, bound when the tensor has been made:
 *
 *     %s: seq(f32[s, 4]) = SequenceConstruct(%a: f32[2, 4], %b: f32[3, 4])
 *     %t: f32[t, 4]      = SequenceAt(%s, %i)
 *
 * An empty sequence has rank -1 until something is put into it. Where the maker of the sequence and the
 * position are known, the element is known exactly.
 */
#include "ir/ops/control_flow.h"

static tm_dim find_varying(void *context, tm_symbol *symbol) {
    if (symbol->origin == TM_SYMBOL_FREE && symbol->value != NULL && symbol->value->kind != TAMIS_KIND_TENSOR)
        *(bool *)context = true;
    return NULL;
}

bool tm_dim_varies(tm_infer_context *context, tm_dim dim) {
    bool found = false;
    if (dim->late)
        (void)tm_dim_substitute(context->dims, dim, find_varying, &found);
    return found;
}

static tm_code need_sequence(tm_node *node, int input) {
    const tm_value *value = tm_infer_input(node, input);
    if (value == NULL)
        return tm_infer_fail(node, TM_E_ARITY, "input %d is missing", input);
    if (value->kind != TAMIS_KIND_SEQUENCE)
        return tm_infer_fail(node, TM_E_TYPE, "input %d, '%s', is not a sequence", input, value->name);
    return TM_OK;
}

static tm_code need_tensors(tm_node *node, int input) {
    TM_TRY(need_sequence(node, input));
    const tm_value *value = node->inputs[input];
    if (value->item != TAMIS_KIND_TENSOR)
        return tm_infer_fail(node, TM_E_TYPE, "input %d, '%s', is not a sequence of tensors", input,
                             value->name);
    return TM_OK;
}

/* Adds the tensor's dims to those of the elements so far (rank -1: none yet; differing ranks: unknown). */
static void join_element(tm_infer_context *context, tm_value *sequence, int *rank, tm_dim *dims,
                         const tm_value *item, bool first) {
    if (*rank < 0 && first) {
        *rank = item->rank;
        for (int i = 0; i < item->rank; i++)
            dims[i] = item->dims[i];
    } else if (*rank != item->rank) {
        *rank = -1;
    }
    for (int i = 0; i < *rank; i++)
        if (dims[i] != item->dims[i])
            dims[i] = tm_infer_free_of(context, sequence, i, NULL);
}

static tm_code infer_construct(tm_infer_context *context, tm_node *node) {
    tm_value *sequence = node->outputs[0];
    tm_dim dims[TAMIS_MAX_RANK];
    int rank = -1;
    for (int i = 0; i < node->input_count; i++) {
        TM_TRY(tm_infer_need(node, i, -1));
        TM_TRY(tm_infer_same_type(node, 0, i));
        join_element(context, sequence, &rank, dims, node->inputs[i], i == 0);
    }
    tm_value_set_handle(sequence, TAMIS_KIND_SEQUENCE, node->inputs[0]->type, rank, dims);
    return TM_OK;
}

/* The position in input i, which may be omitted. */
static tm_code need_position(tm_infer_context *context, tm_node *node, int input) {
    if (tm_infer_input(node, input) == NULL)
        return TM_OK;
    return tm_infer_need_one(context, node, input, "a position must have one element");
}

static tm_code infer_insert(tm_infer_context *context, tm_node *node) {
    TM_TRY(need_tensors(node, 0));
    TM_TRY(tm_infer_need(node, 1, -1));
    TM_TRY(tm_infer_same_type(node, 0, 1));
    TM_TRY(need_position(context, node, 2));
    const tm_value *from = node->inputs[0];
    tm_dim dims[TAMIS_MAX_RANK];
    int rank = from->rank;
    for (int i = 0; i < rank; i++)
        dims[i] = from->dims[i];
    join_element(context, node->outputs[0], &rank, dims, node->inputs[1], from->rank < 0);
    tm_value_set_handle(node->outputs[0], TAMIS_KIND_SEQUENCE, from->type, rank, dims);
    return TM_OK;
}

/* The length along the axis of each piece, or NULL when the pieces differ (or may). */
static tm_dim piece_length(tm_infer_context *context, tm_node *node, tm_dim whole) {
    tm_value *split = tm_infer_input(node, 1);
    const tm_dim *elements = NULL;
    int64_t count = 0;
    if (split == NULL)
        return tm_dim_constant(context->dims, 1);
    if (!tm_infer_known_elements(context, split, &elements, &count) || count == 0)
        return NULL;
    for (int64_t i = 1; i < count; i++)
        if (elements[i] != elements[0])
            return NULL;
    if (split->rank == 0 &&
        (elements[0]->low < 1 || !tm_dim_is(tm_dim_floormod(context->dims, whole, elements[0]), 0)))
        return NULL;
    return elements[0];
}

static tm_code infer_split(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *from = node->inputs[0];
    tm_value *sequence = node->outputs[0];
    tm_dim dims[TAMIS_MAX_RANK];
    int axis = 0;
    int rank = 0;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), from->rank, &axis));
    bool drop = tm_infer_input(node, 1) == NULL && tm_node_int(node, "keepdims") == 0;
    for (int i = 0; i < from->rank; i++) {
        if (i == axis && drop)
            continue;
        tm_dim length = i == axis ? piece_length(context, node, from->dims[axis]) : from->dims[i];
        dims[rank] = length != NULL ? length : tm_infer_free_of(context, sequence, rank, NULL);
        rank++;
    }
    tm_value_set_handle(sequence, TAMIS_KIND_SEQUENCE, from->type, rank, dims);
    return TM_OK;
}

tm_code tm_infer_sequence(tm_infer_context *context, tm_node *node) {
    if (tm_infer_output(node, 0) == NULL)
        return tm_infer_fail(node, TM_E_ARITY, "the output is missing");
    switch ((int)node->op) {
    case TM_OP_SequenceConstruct:
        return infer_construct(context, node);
    case TM_OP_SequenceInsert:
        return infer_insert(context, node);
    case TM_OP_SplitToSequence:
        return infer_split(context, node);
    case TM_OP_SequenceErase:
        TM_TRY(need_sequence(node, 0));
        TM_TRY(need_position(context, node, 1));
        tm_value_set_like(node->outputs[0], node->inputs[0]);
        return TM_OK;
    default: {
        int64_t type = tm_node_int(node, "dtype");
        tamis_type element = type == TM_NO_DEFAULT ? TAMIS_TYPE_FLOAT : (tamis_type)type;
        tm_value_set_handle(node->outputs[0], TAMIS_KIND_SEQUENCE, element, -1, NULL);
        return TM_OK;
    }
    }
}

/* The tensor at the position, when the sequence is a list of known tensors and the position is a constant. */
static tm_value *known_item(tm_infer_context *context, const tm_value *sequence, tm_value *position) {
    const tm_node *maker = sequence->producer;
    int64_t index = 0;
    int64_t count = 0;
    if (maker == NULL || maker->op != TM_OP_SequenceConstruct ||
        !tm_infer_constant_elements(context, position, &index, 1, &count) || count != 1)
        return NULL;
    if (index < 0)
        index += maker->input_count;
    return index >= 0 && index < maker->input_count ? maker->inputs[index] : NULL;
}

tm_code tm_infer_item(tm_infer_context *context, tm_node *node, const tm_value *from) {
    tm_value *item = tm_infer_output(node, 0);
    tm_dim dims[TAMIS_MAX_RANK];
    if (from->item != TAMIS_KIND_TENSOR) {
        tm_value_set_handle(item, from->item, from->type, from->rank, from->dims);
        item->key = from->key;
        return TM_OK;
    }
    if (from->rank < 0)
        return tm_infer_fail(node, TM_E_UNKNOWN_RANK, "the rank of what %s '%s' holds is not known",
                             from->kind == TAMIS_KIND_OPTIONAL ? "optional" : "sequence", from->name);
    for (int i = 0; i < from->rank; i++)
        dims[i] =
            tm_dim_varies(context, from->dims[i]) ? tm_infer_free(context, node, 0, i, NULL) : from->dims[i];
    tm_infer_set(node, 0, from->type, from->rank, dims);
    return TM_OK;
}

static tm_code infer_at(tm_infer_context *context, tm_node *node) {
    const tm_value *sequence = node->inputs[0];
    TM_TRY(tm_infer_need_one(context, node, 1, "a position must have one element"));
    const tm_value *item = known_item(context, sequence, node->inputs[1]);
    if (item != NULL) {
        tm_infer_set_like(node, 0, item->type, item);
        if (item->elements != NULL)
            tm_infer_set_elements(context, node, 0, item->elements, item->element_count);
        return TM_OK;
    }
    return tm_infer_item(context, node, sequence);
}

/* Length of the joined axis: known when all pieces are. */
static tm_dim joined_length(tm_infer_context *context, const tm_value *sequence, int axis, bool new_axis) {
    const tm_node *maker = sequence->producer;
    tm_dim length = tm_dim_constant(context->dims, 0);
    if (maker == NULL || maker->op != TM_OP_SequenceConstruct)
        return NULL;
    if (new_axis)
        return tm_dim_constant(context->dims, maker->input_count);
    for (int i = 0; i < maker->input_count; i++)
        length = tm_dim_add(context->dims, length, maker->inputs[i]->dims[axis]);
    return length;
}

static tm_code infer_concat(tm_infer_context *context, tm_node *node) {
    const tm_value *sequence = node->inputs[0];
    bool new_axis = tm_node_int(node, "new_axis") != 0;
    tm_dim dims[TAMIS_MAX_RANK];
    int axis = 0;
    if (sequence->rank < 0)
        return tm_infer_fail(node, TM_E_UNKNOWN_RANK,
                             "the rank of the elements of sequence '%s' is not known", sequence->name);
    int rank = sequence->rank + (new_axis ? 1 : 0);
    if (rank > TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM, "%d dims are more than %d", rank, TAMIS_MAX_RANK);
    if (!tm_node_has_attribute(node, "axis"))
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "attribute axis is missing");
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), rank, &axis));
    for (int i = 0, k = 0; i < rank; i++) {
        if (i == axis) {
            dims[i] = joined_length(context, sequence, axis, new_axis);
            k += !new_axis;
        } else {
            tm_dim dim = sequence->dims[k++];
            dims[i] = tm_dim_varies(context, dim) ? NULL : dim;
        }
        if (dims[i] == NULL)
            dims[i] = tm_infer_free(context, node, 0, i, NULL);
    }
    tm_infer_set(node, 0, sequence->type, rank, dims);
    return TM_OK;
}

tm_code tm_infer_from_sequence(tm_infer_context *context, tm_node *node) {
    if (tm_infer_output(node, 0) == NULL)
        return tm_infer_fail(node, TM_E_ARITY, "the output is missing");
    if (node->op == TM_OP_ConcatFromSequence) {
        TM_TRY(need_tensors(node, 0));
        return infer_concat(context, node);
    }
    TM_TRY(need_sequence(node, 0));
    return infer_at(context, node);
}

tm_code tm_infer_sequence_length(tm_infer_context *context, tm_node *node) {
    TM_TRY(need_sequence(node, 0));
    const tm_node *maker = node->inputs[0]->producer;
    tm_infer_set(node, 0, TAMIS_TYPE_INT64, 0, NULL);
    if (maker != NULL && (maker->op == TM_OP_SequenceConstruct || maker->op == TM_OP_SequenceEmpty)) {
        tm_dim length = tm_dim_constant(context->dims, maker->input_count);
        tm_infer_set_elements(context, node, 0, &length, 1);
    }
    return TM_OK;
}
