/* SPDX-License-Identifier: Apache-2.0
 *
 * forms.c: single ops whose attributes changed name, type, default or meaning.
 *
 * Where a default changed, the old one is written out; where a meaning changed, the attribute of today
 * that has it is set. So Upsample is a Resize with {coordinate_transformation_mode: asymmetric,
 * nearest_mode: floor}, for that is how its output positions were counted.
 */
#include "frontend/opset/opset.h"

#include <string.h>

/* The target type was a word: "FLOAT", "INT64". */
tm_code tm_opset_cast(tm_draft *draft) {
    static const struct {
        const char *name;
        int number;
    } types[] = {
#define TM_TYPE(number, name, text, suffix, bits) {#name, number},
#include "tamis/types.def"
#undef TM_TYPE
    };
    const char *to = tm_draft_string(draft, "to", NULL);
    if (to == NULL)
        return TM_OK;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, to) == 0) {
            tm_draft_set_int(draft, "to", types[i].number);
            return TM_OK;
        }
    return tm_draft_fail(draft, TM_E_ATTRIBUTE, "'to' names no element type");
}

/* Tile-1(x, tiles, axis) repeats along one axis, with numbers of the type of x; today's has a number for
 * each axis: Where(Equal(<0, 1, 2>, axis), tiles, 1). */
tm_code tm_opset_tile(tm_draft *draft) {
    if (tm_draft_input(draft, 2) == NULL)
        return TM_OK;
    int rank;
    TM_TRY(tm_draft_rank(draft, draft->inputs.items[0], &rank));
    tm_value *numbers[2];
    int64_t positions[TAMIS_MAX_RANK], all = -1;
    for (int k = 0; k < 2; k++) {
        tm_node *cast = tm_draft_emit_node(draft, TM_OP_Cast, 1, &draft->inputs.items[k + 1]);
        tm_node_set_int(cast, "to", TAMIS_TYPE_INT64);
        tm_value *list = tm_draft_constant_ints(draft, &all, 1);
        numbers[k] =
            tm_draft_emit(draft, TM_OP_Reshape, 2, (tm_value *[]){tm_draft_add_output(draft, cast), list});
    }
    for (int i = 0; i < rank; i++)
        positions[i] = i;
    tm_value *every = tm_draft_constant_ints(draft, positions, rank);
    tm_value *here = tm_draft_emit(draft, TM_OP_Equal, 2, (tm_value *[]){every, numbers[1]});
    tm_value *once = tm_draft_constant_int(draft, 1);
    tm_value *repeats = tm_draft_emit(draft, TM_OP_Where, 3, (tm_value *[]){here, numbers[0], once});
    tm_draft_set_inputs(draft, 2, (tm_value *[]){draft->inputs.items[0], repeats});
    return TM_OK;
}

/* OneHot-9 has no places for negative indices; today they count from the end, so they move behind it. */
tm_code tm_opset_one_hot(tm_draft *draft) {
    tm_value *indices = draft->inputs.items[0], *depth = tm_draft_input(draft, 1), *zero;
    if (depth == NULL)
        return TM_OK;
    TM_TRY(tm_draft_constant_like(draft, 0, indices, &zero));
    tm_value *below = tm_draft_emit(draft, TM_OP_Less, 2, (tm_value *[]){indices, zero});
    tm_value *scalar = tm_draft_constant_ints(draft, NULL, 0);
    tm_value *flat = tm_draft_emit(draft, TM_OP_Reshape, 2, (tm_value *[]){depth, scalar});
    tm_value *behind = tm_draft_emit(draft, TM_OP_CastLike, 2, (tm_value *[]){flat, indices});
    tm_draft_set_input(draft, 0,
                       tm_draft_emit(draft, TM_OP_Where, 3, (tm_value *[]){below, behind, indices}));
    return TM_OK;
}

tm_code tm_opset_concat(tm_draft *draft) {
    tm_draft_set_int(draft, "axis", tm_draft_int(draft, "axis", 1));
    return TM_OK;
}

tm_code tm_opset_scatter(tm_draft *draft) {
    draft->op = "ScatterElements";
    return TM_OK;
}

/* The constants had fewer digits. */
tm_code tm_opset_selu(tm_draft *draft) {
    tm_draft_set_float(draft, "alpha", tm_draft_float(draft, "alpha", 1.6732));
    tm_draft_set_float(draft, "gamma", tm_draft_float(draft, "gamma", 1.0507));
    return TM_OK;
}

/* Upsample and Resize-10: output i reads input floor(i / scale), or between its neighbours. */
tm_code tm_opset_upsample(tm_draft *draft) {
    const tm_draft_attribute *list = tm_draft_find(draft, "scales");
    tm_value *scales = tm_draft_input(draft, 1);
    if (draft->version < 7) {
        double values[4] = {1.0, 1.0, tm_draft_float(draft, "height_scale", 1.0),
                            tm_draft_float(draft, "width_scale", 1.0)};
        scales = tm_opset_floats(draft, values, 4);
    } else if (list != NULL && list->kind == TM_ATTRIBUTE_FLOATS) {
        scales = tm_opset_floats(draft, list->value.floats, list->value.count);
    }
    if (scales == NULL)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "the scales are missing");
    const char *mode = tm_draft_string(draft, "mode", "nearest");
    tm_draft_clear_attributes(draft);
    tm_draft_set_string(draft, "mode", strcmp(mode, "bilinear") == 0 ? "linear" : mode);
    tm_draft_set_string(draft, "coordinate_transformation_mode", "asymmetric");
    tm_draft_set_string(draft, "nearest_mode", "floor");
    tm_value *x = draft->inputs.items[0];
    tm_draft_set_inputs(draft, 3, (tm_value *[]){x, NULL, scales});
    draft->op = "Resize";
    return TM_OK;
}

tm_code tm_opset_grid_sample(tm_draft *draft) {
    const char *mode = tm_draft_string(draft, "mode", "bilinear");
    if (strcmp(mode, "bilinear") == 0)
        tm_draft_set_string(draft, "mode", "linear");
    else if (strcmp(mode, "bicubic") == 0)
        tm_draft_set_string(draft, "mode", "cubic");
    return TM_OK;
}

tm_code tm_opset_roi_align(tm_draft *draft) {
    tm_draft_set_string(draft, "coordinate_transformation_mode", "output_half_pixel");
    return TM_OK;
}

/* output_sequence said whether output 0 is wanted; today that is whether it has a name. The default of
 * GRU-1's direction was misspelt in the standard. */
tm_code tm_opset_recurrent(tm_draft *draft) {
    tm_draft_remove(draft, "output_sequence");
    if (strcmp(tm_draft_string(draft, "direction", ""), "foward") == 0)
        tm_draft_set_string(draft, "direction", "forward");
    return TM_OK;
}

/* The type of an empty optional, in numbers. */
tm_code tm_opset_optional(tm_draft *draft) {
    const tm_draft_attribute *attribute = tm_draft_find(draft, "type");
    tm_form form;
    if (tm_draft_has(draft, "dtype") || tm_draft_has(draft, "item") || tm_draft_has(draft, "rank"))
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "Optional has no attribute but 'type'");
    if (attribute == NULL)
        return TM_OK;
    if (attribute->type == NULL)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "attribute 'type' is not a type");
    if (!tm_read_form(attribute->type, &form) || form.kind == TAMIS_KIND_OPTIONAL ||
        form.kind == TAMIS_KIND_MAP || form.item == TAMIS_KIND_MAP)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_TYPE,
                             "an optional is of a tensor or of a sequence of tensors");
    int rank = tm_hint_rank(attribute->type);
    tm_draft_remove(draft, "type");
    tm_draft_set_int(draft, "dtype", (int64_t)form.type);
    tm_draft_set_int(draft, "item", (int64_t)form.kind);
    tm_draft_set_int(draft, "rank", rank);
    return TM_OK;
}

/* One list of words served both directions; the position of a word is its number. */
tm_code tm_opset_label_encoder(tm_draft *draft) {
    const tm_draft_attribute *classes = tm_draft_find(draft, "classes_strings");
    if (classes == NULL || classes->kind != TM_ATTRIBUTE_STRINGS)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "classes_strings is missing");
    int64_t count = classes->value.count;
    int64_t *numbers = TM_NEW_ARRAY(draft->importer->scratch, int64_t, count);
    for (int64_t i = 0; i < count; i++)
        numbers[i] = i;
    tamis_type type = tm_draft_type(draft, draft->inputs.items[0]);
    if (type != TAMIS_TYPE_STRING && type != TAMIS_TYPE_INT64)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "the type of LabelEncoder's input is not known");
    tm_draft_rename(draft, "classes_strings", type == TAMIS_TYPE_STRING ? "keys_strings" : "values_strings");
    tm_draft_set_ints(draft, type == TAMIS_TYPE_STRING ? "values_int64s" : "keys_int64s", numbers, count);
    return TM_OK;
}
