/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_cut.c: takes classes of slices out of a model.
 *
 * Constants become smaller; so do the results, once inference has run again. What nodes say of sizes in
 * numbers is said anew:
 *
 *     group of a convolution, num_groups of a norm         by the channels that stay
 *     sizes of a Split, starts and ends of a Slice         by the slices that stay in each part
 *     indices of a Gather                                  by the new positions
 *     the dims of a view                                   12 * batch -> 8 * batch
 *     the target of an Expand, the dims of a fill          the element of the axis
 *
 * A Shape of what was cut goes on saying the old numbers, since what reads it may count with them:
 *
 *     %s = Shape(%x)      ->      %t = Shape(%x)      %s = Where({false, false, true}, {0, 0, 768}, %t)
 */
#include "compress/slices.h"

#include "ir/infer.h"
#include "passes/match.h"

#include <string.h>

typedef struct cutter {
    const tm_slices *s;
    const bool *gone;
    tm_model *model;
} cutter;

static bool stays(const tm_slices *s, const bool *gone, int32_t slice) {
    return !gone[tm_slices_class(s, slice)];
}

int64_t tm_slices_kept(const tm_slices *s, const bool *gone, const tm_value *value, int axis) {
    int32_t first = tm_slices_first(s, value, axis);
    int64_t n = tm_slices_count(s, value, axis), kept = 0;
    for (int64_t i = 0; i < n; i++)
        kept += stays(s, gone, first + (int32_t)i);
    return kept;
}

void tm_slices_spare(const tm_slices *s, bool *gone) {
    gone[0] = false;
    for (int32_t from = 1; from < s->slice_count;) {
        int32_t to = from;
        bool any = false;
        for (; to < s->slice_count && s->axis_of[to] == s->axis_of[from]; to++)
            any = any || stays(s, gone, to);
        if (!any)
            gone[tm_slices_class(s, from)] = false;
        from = to;
    }
}

static bool is_cut(const cutter *c, const tm_value *value, int axis) {
    return tm_slices_kept(c->s, c->gone, value, axis) < tm_slices_count(c->s, value, axis);
}

static bool is_cut_anywhere(const cutter *c, const tm_value *value) {
    for (int k = 0; k < value->rank; k++)
        if (is_cut(c, value, k))
            return true;
    return false;
}

/* Slices before `at` that stay. */
static int64_t place_of(const cutter *c, const tm_value *value, int axis, int64_t at) {
    int32_t first = tm_slices_first(c->s, value, axis);
    int64_t place = 0;
    for (int64_t i = 0; i < at; i++)
        place += stays(c->s, c->gone, first + (int32_t)i);
    return place;
}

static tm_value *list_of(const cutter *c, const int64_t *values, int64_t count) {
    return tm_value_create_constant(c->model->main, NULL,
                                    tm_constant_create_i64(c->model->arena, 1, &count, values));
}

/* ---- what nodes say of sizes ---- */

/* `value`, integers, with some elements replaced; made before `before`. */
static tm_value *patched(const cutter *c, tm_node *before, tm_value *value, const bool *mask,
                         const int64_t *numbers, int64_t count) {
    tm_arena *arena = c->model->arena;
    int64_t *list = TM_NEW_ARRAY(arena, int64_t, count + 1);
    bool known = tm_value_is_constant(value);
    for (int64_t i = 0; i < count; i++) {
        if (known && !mask[i])
            known = tm_constant_int(value->constant, i, &list[i]);
        if (mask[i])
            list[i] = numbers[i];
    }
    tm_value *replacements = list_of(c, list, count);
    if (known)
        return replacements;
    uint8_t *bits = TM_NEW_ARRAY(arena, uint8_t, count + 1);
    for (int64_t i = 0; i < count; i++)
        bits[i] = mask[i];
    const int64_t *dims = tm_arena_copy(arena, &count, sizeof count);
    tm_value *where = tm_value_create_constant(c->model->main, NULL,
                                               tm_constant_create(arena, TAMIS_TYPE_BOOL, 1, dims, bits));
    tm_node *node = tm_node_create(c->model->main, before, TM_OP_Where, NULL, 3,
                                   (tm_value *[]){where, replacements, value});
    return tm_node_add_output(node, NULL);
}

/* Operand `index` tells the dims of the result. */
static void cut_target(const cutter *c, tm_node *node, int index) {
    const tm_value *y = node->outputs[0];
    bool mask[TAMIS_MAX_RANK] = {0};
    int64_t numbers[TAMIS_MAX_RANK] = {0};
    for (int k = 0; k < y->rank; k++) {
        mask[k] = is_cut(c, y, k);
        numbers[k] = tm_slices_kept(c->s, c->gone, y, k);
    }
    /* a target may have fewer elements than the result has axes */
    int64_t count = node->inputs[index]->rank == 1 && tm_dim_is_constant(node->inputs[index]->dims[0])
                        ? node->inputs[index]->dims[0]->constant
                        : y->rank;
    if (is_cut_anywhere(c, y))
        tm_node_set_input(
            node, index,
            patched(c, node, node->inputs[index], mask + y->rank - count, numbers + y->rank - count, count));
}

static void cut_groups(const cutter *c, tm_node *node) {
    const tm_value *x = node->inputs[0], *w = node->inputs[1];
    int64_t groups = tm_node_int(node, "group"), kept = tm_slices_kept(c->s, c->gone, x, 1);
    if (groups <= 1 || !is_cut(c, x, 1) || (w->rank > 1 && is_cut(c, w, node->op == TM_OP_Conv)))
        return;
    if (node->op == TM_OP_ConvTranspose && is_cut(c, w, 0) && tm_slices_count(c->s, w, 0) > groups) {
        int32_t first = tm_slices_first(c->s, w, 0);
        int64_t inputs = tm_slices_count(c->s, w, 0) / groups;
        for (int64_t i = 0; i < inputs; i++) /* the same channels of all groups: their number stays */
            if (stays(c->s, c->gone, first + (int32_t)i) != stays(c->s, c->gone, first))
                return;
    }
    tm_node_set_int(node, "group", kept / (tm_slices_count(c->s, x, 1) / groups));
}

static void cut_norm(const cutter *c, tm_node *node) {
    const tm_value *x = node->inputs[0];
    int64_t groups = tm_node_int(node, "num_groups"), n = tm_slices_count(c->s, x, 1);
    if (n > 0 && is_cut(c, x, 1))
        tm_node_set_int(node, "num_groups", groups * tm_slices_kept(c->s, c->gone, x, 1) / n);
}

static int axis_of(const tm_node *node, int rank) {
    int64_t axis = tm_node_int(node, "axis");
    return (int)(axis < 0 ? axis + rank : axis);
}

static void cut_split(const cutter *c, tm_node *node) {
    int axis = axis_of(node, node->inputs[0]->rank);
    if (!is_cut(c, node->inputs[0], axis))
        return;
    int64_t *sizes = TM_NEW_ARRAY(c->model->arena, int64_t, node->output_count);
    for (int i = 0; i < node->output_count; i++) {
        const tm_value *part = node->outputs[i];
        sizes[i] = tm_slices_first(c->s, part, axis) != 0 ? tm_slices_kept(c->s, c->gone, part, axis)
                                                          : part->dims[axis]->constant;
    }
    node->attributes[tm_op_attribute_index(TM_OP_Split, "num_outputs")] = (tm_attribute){.present = false};
    tm_node_set_input(node, 1, list_of(c, sizes, node->output_count));
}

static void cut_slice(const cutter *c, tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    int64_t starts[TAMIS_MAX_RANK], ends[TAMIS_MAX_RANK], axes[TAMIS_MAX_RANK];
    bool mask[TAMIS_MAX_RANK] = {0}, any = false;
    int count = 0;
    if (!is_cut_anywhere(c, x) || !tm_match_ints(node->inputs[1], starts, &count))
        return; /* only axes that are kept whole were cut */
    bool have_axes = node->input_count > 3 && node->inputs[3] != NULL;
    if (have_axes && !tm_match_ints(node->inputs[3], axes, &count))
        return;
    for (int i = 0; i < count; i++) {
        int axis = have_axes ? (int)(axes[i] + (axes[i] < 0 ? x->rank : 0)) : i;
        if (!is_cut(c, x, axis))
            continue;
        int64_t n = x->dims[axis]->constant, from = starts[i] + (starts[i] < 0 ? n : 0);
        from = from < 0 ? 0 : from > n ? n : from;
        mask[i] = any = true;
        starts[i] = place_of(c, x, axis, from);
        ends[i] = place_of(c, x, axis, from + y->dims[axis]->constant);
    }
    if (!any)
        return;
    tm_node_set_input(node, 1, patched(c, node, node->inputs[1], mask, starts, count));
    tm_node_set_input(node, 2, patched(c, node, node->inputs[2], mask, ends, count));
}

static void cut_gather(const cutter *c, tm_node *node) {
    const tm_value *x = node->inputs[0], *indices = node->inputs[1];
    int axis = axis_of(node, x->rank);
    if (!is_cut(c, x, axis) || indices->constant == NULL)
        return;
    int64_t n = tm_slices_count(c->s, x, axis), count = tm_constant_count(indices->constant), kept = 0;
    int64_t *list = TM_NEW_ARRAY(c->model->arena, int64_t, count + 1);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = 0;
        (void)tm_constant_int(indices->constant, i, &at);
        at += at < 0 ? n : 0;
        if (at < 0 || at >= n || stays(c->s, c->gone, tm_slices_first(c->s, x, axis) + (int32_t)at))
            list[kept++] = at < 0 || at >= n ? at : place_of(c, x, axis, at);
    }
    tm_value *value = tm_value_create_constant(
        c->model->main, NULL, tm_constant_create_i64(c->model->arena, indices->rank, &kept, list));
    tm_node_set_input(node, 1, value);
}

/* Dims that are known in the model stay known to what reads them. */
static void cut_shape(const cutter *c, tm_node *node) {
    const tm_value *x = node->inputs[0];
    tm_value *y = node->outputs[0];
    bool mask[TAMIS_MAX_RANK] = {0}, any = false;
    int64_t numbers[TAMIS_MAX_RANK] = {0}, start = tm_node_int(node, "start"), count = y->dims[0]->constant;
    start += start < 0 ? x->rank : 0;
    start = start < 0 ? 0 : start;
    for (int64_t i = 0; i < count; i++) {
        tm_dim dim = x->dims[start + i];
        mask[i] = is_cut(c, x, (int)(start + i)) && tm_dim_is_constant(dim);
        numbers[i] = mask[i] ? dim->constant : 0;
        any = any || mask[i];
    }
    if (!any)
        return;
    tm_value *old = patched(c, node->next, y, mask, numbers, count);
    tm_value_replace(y, old);
    tm_node_set_input(old->producer, 2, y);
}

/* A view without its target has the dims of its result. */
static void cut_view(const cutter *c, const tm_node *node) {
    tm_value *y = node->outputs[0];
    tm_dim dims[TAMIS_MAX_RANK];
    tm_dims *all = c->model->dims;
    for (int k = 0; k < y->rank; k++) {
        dims[k] = y->dims[k];
        if (is_cut(c, y, k))
            dims[k] = tm_dim_mul(
                all, tm_dim_floordiv(all, dims[k], tm_dim_constant(all, tm_slices_count(c->s, y, k))),
                tm_dim_constant(all, tm_slices_kept(c->s, c->gone, y, k)));
    }
    tm_value_set_tensor(y, y->type, y->rank, dims);
}

static void cut_node(const cutter *c, tm_node *node) {
    switch (node->op) {
    case TM_OP_Conv:
    case TM_OP_ConvTranspose:
        cut_groups(c, node);
        break;
    case TM_OP_GroupNormalization:
        cut_norm(c, node);
        break;
    case TM_OP_Split:
        cut_split(c, node);
        break;
    case TM_OP_Slice:
        cut_slice(c, node);
        break;
    case TM_OP_Gather:
        cut_gather(c, node);
        break;
    case TM_OP_Expand:
        cut_target(c, node, 1);
        break;
    case TM_OP_ConstantOfShape:
        cut_target(c, node, 0);
        break;
    case TM_OP_Shape:
        cut_shape(c, node);
        break;
    default:
        break;
    }
}

/* ---- constants ---- */

/* Copies the kept part of a constant, axis after axis. */
static char *copy_kept(const cutter *c, const tm_value *value, const tm_constant *from, int axis,
                       const char *data, int64_t bytes, char *to) {
    if (axis == from->rank) {
        memcpy(to, data, (size_t)bytes);
        return to + bytes;
    }
    int64_t n = from->dims[axis], inner = bytes;
    int32_t first = tm_slices_first(c->s, value, axis);
    bool rest = false;
    for (int k = axis + 1; k < from->rank; k++) {
        inner *= from->dims[k];
        rest = rest || is_cut(c, value, k);
    }
    for (int64_t i = 0; i < n; i++, data += inner) {
        if (first != 0 && !stays(c->s, c->gone, first + (int32_t)i))
            continue;
        if (rest) {
            to = copy_kept(c, value, from, axis + 1, data, bytes, to);
        } else {
            memcpy(to, data, (size_t)inner);
            to += inner;
        }
    }
    return to;
}

static void cut_constant(const cutter *c, tm_value *value) {
    const tm_constant *old = value->constant;
    int64_t dims[TAMIS_MAX_RANK], bytes = tm_type_bits(old->type) / 8, total = bytes;
    for (int k = 0; k < old->rank; k++) {
        dims[k] =
            tm_slices_first(c->s, value, k) != 0 ? tm_slices_kept(c->s, c->gone, value, k) : old->dims[k];
        total *= dims[k];
    }
    char *data = tm_arena_alloc_array(c->model->arena, (size_t)total + 1, 1);
    copy_kept(c, value, old, 0, old->data, bytes, data);
    const int64_t *kept = tm_arena_copy(c->model->arena, dims, sizeof(int64_t) * (size_t)old->rank);
    tm_value_replace(value, tm_value_create_constant(
                                c->model->main, value->name,
                                tm_constant_create(c->model->arena, old->type, old->rank, kept, data)));
}

tm_code tm_slices_cut(const tm_slices *s, const bool *gone) {
    cutter c = {.s = s, .gone = gone, .model = s->model};
    for (tm_node *node = s->model->main->first, *next; node != NULL; node = next) {
        next = node->next;
        cut_node(&c, node);
    }
    for (int32_t i = 0; i < s->value_count; i++) {
        tm_value *value = s->model->values.items[i];
        if (s->first[value->id] != NULL && value->constant != NULL && is_cut_anywhere(&c, value))
            cut_constant(&c, value);
    }
    for (tm_node *node = s->model->main->first; node != NULL; node = node->next)
        if (tm_op_has(node->op, TM_VIEW) && node->op != TM_OP_Flatten && node->input_count == 1 &&
            is_cut_anywhere(&c, node->outputs[0]))
            cut_view(&c, node);
    return tm_infer(s->model);
}
