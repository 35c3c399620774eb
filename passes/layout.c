/* SPDX-License-Identifier: Apache-2.0
 *
 * layout.c: values and their twins with channels last; see layout.h.
 *
 * The nodes that were replaced stay until the walk is over, because later nodes are still found by what they
 * read. Then, from the last one to the first: what nobody reads goes, and what somebody reads as it was
 * becomes a Transpose of its twin.
 */
#include "passes/layout.h"

#include "ir/infer.h"
#include "passes/match.h"
#include "passes/rewrite.h"
#include "passes/slots.h"

#include <string.h>

void tm_layout_begin(tm_layout *layout, tm_pass_context *context) {
    tm_model *model = context->model;
    *layout = (tm_layout){.context = context, .model = model, .twin_count = model->value_count};
    layout->twins = TM_NEW_ARRAY(model->arena, tm_value *, model->value_count + 1);
}

int tm_layout_axis(int axis, int rank) {
    return axis == 0 ? 0 : axis == 1 ? rank - 1 : axis - 1;
}

static void last_permutation(int rank, int64_t *perm) {
    for (int i = 0; i < rank; i++)
        perm[tm_layout_axis(i, rank)] = i;
}

static void first_permutation(int rank, int64_t *perm) {
    for (int i = 0; i < rank; i++)
        perm[i] = tm_layout_axis(i, rank);
}

static bool is_transpose(const tm_node *node, void (*permutation)(int, int64_t *)) {
    int64_t perm[TAMIS_MAX_RANK], wanted[TAMIS_MAX_RANK];
    if (node == NULL || node->op != TM_OP_Transpose || node->inputs[0]->rank < 3)
        return false;
    tm_rewrite_permutation(node, perm);
    permutation(node->inputs[0]->rank, wanted);
    return memcmp(perm, wanted, (size_t)node->inputs[0]->rank * sizeof(*perm)) == 0;
}

bool tm_layout_is_to_last(const tm_node *transpose) {
    return is_transpose(transpose, last_permutation);
}

bool tm_layout_is_to_first(const tm_node *transpose) {
    return is_transpose(transpose, first_permutation);
}

bool tm_layout_is_point(const tm_value *value) {
    for (int i = 2; i < value->rank; i++)
        if (!tm_dim_is(value->dims[i], 1))
            return false;
    return true;
}

tm_value *tm_layout_twin(const tm_layout *layout, const tm_value *value) {
    if (value == NULL || value->id >= layout->twin_count)
        return NULL;
    if (layout->twins[value->id] != NULL)
        return layout->twins[value->id];
    if (value->rank >= 3 && tm_layout_is_to_first(value->producer))
        return value->producer->inputs[0];
    return NULL;
}

void tm_layout_set_twin(tm_layout *layout, const tm_value *value, tm_value *twin) {
    layout->twins[value->id] = twin;
}

static tm_code permute(tm_node *before, tm_value *value, bool point, const int64_t *perm,
                       tm_value **out_value) {
    if (!point)
        return tm_match_make_transpose(before, value, perm, out_value);
    tm_dim dims[TAMIS_MAX_RANK];
    for (int i = 0; i < value->rank; i++)
        dims[i] = value->dims[perm[i]];
    *out_value = tm_match_view(before, value, value->rank, dims);
    return TM_OK;
}

tm_code tm_layout_to_last(tm_node *before, tm_value *value, tm_value **out_value) {
    int64_t perm[TAMIS_MAX_RANK];
    last_permutation(value->rank, perm);
    return permute(before, value, tm_layout_is_point(value), perm, out_value);
}

tm_code tm_layout_to_first(tm_node *before, tm_value *value, tm_value **out_value) {
    int64_t perm[TAMIS_MAX_RANK];
    bool point = true;
    first_permutation(value->rank, perm);
    for (int i = 1; i + 1 < value->rank; i++)
        point = point && tm_dim_is(value->dims[i], 1);
    return permute(before, value, point, perm, out_value);
}

tm_code tm_layout_need_twin(tm_layout *layout, tm_node *before, tm_value *value, tm_value **out_twin) {
    *out_twin = tm_layout_twin(layout, value);
    if (*out_twin != NULL)
        return TM_OK;
    if (value->constant != NULL) {
        int64_t perm[TAMIS_MAX_RANK];
        last_permutation(value->rank, perm);
        *out_twin = tm_layout_transposed_constant(before->graph, value->constant, perm);
    } else {
        TM_TRY(tm_layout_to_last(before, value, out_twin));
    }
    /* A value of an outer graph may be read by other bodies, which do not see a twin made here. */
    if (value->id < layout->twin_count && value->graph == before->graph)
        tm_layout_set_twin(layout, value, *out_twin);
    return TM_OK;
}

tm_value *tm_layout_transposed_constant(tm_graph *graph, const tm_constant *constant, const int64_t *perm) {
    tm_arena *arena = graph->model->arena;
    int rank = constant->rank;
    int64_t dims[TAMIS_MAX_RANK], strides[TAMIS_MAX_RANK], at[TAMIS_MAX_RANK] = {0}, stride = 1, from = 0;
    int64_t old[TAMIS_MAX_RANK], count = tm_constant_count(constant);
    for (int i = rank - 1; i >= 0; i--) {
        old[i] = stride;
        stride *= constant->dims[i];
    }
    for (int i = 0; i < rank; i++) {
        dims[i] = constant->dims[perm[i]];
        strides[i] = old[perm[i]];
    }
    size_t size = count > 0 ? (size_t)(constant->bytes / count) : 1;
    char *data = tm_arena_alloc_array(arena, (size_t)count + 1, size);
    for (int64_t i = 0; i < count; i++) {
        memcpy(data + (size_t)i * size, (const char *)constant->data + (size_t)from * size, size);
        for (int axis = rank - 1; axis >= 0; axis--) {
            from += strides[axis];
            if (++at[axis] < dims[axis])
                break;
            from -= strides[axis] * dims[axis];
            at[axis] = 0;
        }
    }
    const tm_constant *transposed = tm_constant_create(arena, constant->type, rank, dims, data);
    if (constant->slot != NULL) /* a matrix: bind_slots makes constants for products and convolutions only */
        return tm_slot_constant(graph, constant->slot, transposed, !constant->slot_turned);
    return tm_value_create_constant(graph, NULL, transposed);
}

/* ---- the end of the walk ---- */

/* Readers of the old output read a Transpose of its twin. */
static tm_code restore(tm_layout *layout, tm_node *node, tm_value *output) {
    tm_value *twin = layout->twins[output->id], *back;
    if (twin == NULL || tm_value_unused(output))
        return TM_OK;
    TM_TRY(tm_layout_to_first(node, twin, &back));
    if (!tm_rewrite_can_replace(output, back))
        TM_TRY(tm_match_make(node, TM_OP_Identity, 1, &back, &back));
    tm_rewrite_replace(output, back);
    return TM_OK;
}

tm_code tm_layout_end(tm_layout *layout) {
    for (size_t i = layout->replaced.count; i-- > 0;) {
        tm_node *node = layout->replaced.items[i];
        bool unused = true;
        for (int k = 0; k < node->output_count; k++) {
            if (node->outputs[k] == NULL)
                continue;
            TM_TRY(restore(layout, node, node->outputs[k]));
            unused = unused && tm_value_unused(node->outputs[k]);
        }
        if (unused)
            tm_node_remove(node);
    }
    return TM_OK;
}
