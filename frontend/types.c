/* SPDX-License-Identifier: Apache-2.0
 *
 * types.c: declared types of values.
 *
 * Types of the main graph's inputs are facts. A dim is a number, a name, or neither:
 *
 *     x: f32["batch", 4, "12*s18", -1]   ->   x: f32[batch, 4, `12*s18`, `x.3`]
 *
 * Names are opaque, whatever text an exporter puts there: equal names are one symbol, and different
 * names may well be equal when the model runs. A dim with neither, or with a negative number, gets a
 * symbol of its own; that is done after all inputs have been read, so that it cannot take a name that
 * the file uses.
 *
 * All other declared types are hints that inference overwrites. Their dims are dropped; their rank is kept
 * beside, for results whose rank nothing in the graph tells (ir/ops/shape_list.h).
 */
#include "frontend/importer.h"

static tm_code check_element_type(tm_importer *importer, int32_t type, const tm_place *place) {
    if (type > 0 && type < TAMIS_TYPE_COUNT)
        return TM_OK;
    return tm_report(importer->diagnostics, TM_E_UNSUPPORTED_TYPE, place, NULL, "unknown element type %d",
                     (int)type);
}

static tm_dim import_dim(tm_importer *importer, tm_value *value, int axis,
                         const Onnx__TensorShapeProto__Dimension *dim) {
    tm_dims *dims = importer->model->dims;
    if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && dim->dim_value >= 0)
        return tm_dim_constant(dims, dim->dim_value);
    if (dim->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM || dim->dim_param[0] == 0)
        return NULL;
    tm_dim named = tm_dim_input(dims, dim->dim_param);
    if (named->kind == TM_DIM_SYMBOL && named->symbol->value == NULL) {
        named->symbol->value = value;
        named->symbol->index = axis;
    }
    return named;
}

static tm_code import_tensor_type(tm_importer *importer, tm_value *value, const Onnx__TypeProto__Tensor *type,
                                  const tm_place *place) {
    TM_TRY(check_element_type(importer, type->elem_type, place));
    value->type = (tamis_type)type->elem_type;
    if (type->shape == NULL)
        return TM_OK;
    size_t rank = type->shape->n_dim;
    if (rank > TAMIS_MAX_RANK)
        return tm_report(importer->diagnostics, TM_E_UNSUPPORTED_FORM, place, NULL,
                         "input '%s' has %zu dims; at most %d are supported", value->name, rank,
                         TAMIS_MAX_RANK);
    value->rank = (int)rank;
    value->dims = TM_NEW_ARRAY(importer->arena, tm_dim, rank + 1);
    for (size_t i = 0; i < rank; i++) {
        if (value->kind == TAMIS_KIND_TENSOR)
            value->dims[i] = import_dim(importer, value, (int)i, type->shape->dim[i]);
        else if (type->shape->dim[i]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
                 type->shape->dim[i]->dim_value >= 0)
            value->dims[i] = tm_dim_constant(importer->model->dims, type->shape->dim[i]->dim_value);
    }
    return TM_OK;
}

bool tm_read_form(const Onnx__TypeProto *type, tm_form *out) {
    *out = (tm_form){.kind = TAMIS_KIND_NONE};
    for (tamis_kind *kind = &out->kind;; kind = &out->item) {
        const Onnx__TypeProto *inner = NULL;
        switch (type != NULL ? (int)type->value_case : (int)ONNX__TYPE_PROTO__VALUE__NOT_SET) {
        case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE:
            *kind = TAMIS_KIND_TENSOR;
            out->tensor = type->tensor_type;
            break;
        case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
            *kind = TAMIS_KIND_SEQUENCE;
            inner = type->sequence_type->elem_type;
            break;
        case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
            *kind = TAMIS_KIND_OPTIONAL;
            inner = type->optional_type->elem_type;
            break;
        case ONNX__TYPE_PROTO__VALUE_MAP_TYPE:
            *kind = TAMIS_KIND_MAP;
            out->key = (tamis_type)type->map_type->key_type;
            inner = type->map_type->value_type;
            break;
        default:
            return false;
        }
        if (inner == NULL)
            break;
        type = inner;
        if (kind != &out->kind) { /* the second level: only a tensor may be in it */
            if (*kind == TAMIS_KIND_OPTIONAL || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
                return false;
            out->tensor = type->tensor_type;
            break;
        }
    }
    bool maps = out->kind == TAMIS_KIND_MAP || out->item == TAMIS_KIND_MAP;
    if (out->tensor == NULL || !tm_form_exists(out->kind, out->item) ||
        (maps && !tm_type_is_integer(out->key) && out->key != TAMIS_TYPE_STRING))
        return false;
    out->type = (tamis_type)out->tensor->elem_type;
    return true;
}

tm_code tm_import_input_type(tm_importer *importer, tm_value *value, const Onnx__TypeProto *type,
                             const tm_place *place) {
    tm_form form;
    if (type == NULL)
        return tm_report(importer->diagnostics, TM_E_BAD_MODEL, place, NULL, "input '%s' has no type",
                         value->name);
    if (!tm_read_form(type, &form))
        return tm_report(importer->diagnostics, TM_E_UNSUPPORTED_TYPE, place, NULL,
                         "input '%s' is neither a tensor nor a sequence, map or optional of tensors, nor a "
                         "sequence of maps or an optional of a sequence",
                         value->name);
    value->kind = form.kind;
    value->item = form.item;
    value->key = form.key;
    return import_tensor_type(importer, value, form.tensor, place);
}

void tm_import_open_dims(tm_importer *importer) {
    tm_dims *dims = importer->model->dims;
    tm_graph *graph = importer->model->main;
    for (size_t k = 0; k < graph->inputs.count; k++) {
        tm_value *value = graph->inputs.items[k];
        for (int i = 0; i < value->rank; i++) {
            if (value->dims[i] != NULL)
                continue;
            const char *name = tm_arena_format(importer->scratch, "%s.%d", value->name, i);
            if (value->kind != TAMIS_KIND_TENSOR) {
                value->dims[i] = tm_dim_fresh(dims, name, TM_SYMBOL_FREE, value, i);
                continue;
            }
            for (int suffix = 1; tm_dims_find_symbol(dims, name) != NULL; suffix++)
                name = tm_arena_format(importer->scratch, "%s.%d.%d", value->name, i, suffix);
            value->dims[i] = tm_dim_input(dims, name);
            if (value->dims[i]->kind == TM_DIM_SYMBOL) {
                value->dims[i]->symbol->value = value;
                value->dims[i]->symbol->index = i;
            }
        }
    }
}

tamis_type tm_hint_type(const Onnx__TypeProto *type) {
    tm_form form;
    bool known = tm_read_form(type, &form) && form.type > 0 && (int)form.type < TAMIS_TYPE_COUNT;
    return known ? form.type : TAMIS_TYPE_UNDEFINED;
}

int tm_hint_rank(const Onnx__TypeProto *type) {
    tm_form form;
    if (!tm_read_form(type, &form) || form.tensor->shape == NULL ||
        form.tensor->shape->n_dim > TAMIS_MAX_RANK)
        return -1;
    return (int)form.tensor->shape->n_dim;
}

void tm_import_hint(tm_importer *importer, tm_value *value, const Onnx__TypeProto *type) {
    tm_form form;
    if (tm_hint_type(type) == TAMIS_TYPE_UNDEFINED || !tm_read_form(type, &form))
        return;
    value->kind = form.kind;
    value->item = form.item;
    value->type = form.type;
    value->key = form.key;
    int rank = tm_hint_rank(type);
    if (rank < 0)
        return;
    value->rank = rank;
    value->dims = TM_NEW_ARRAY(importer->arena, tm_dim, rank + 1);
    for (int i = 0; i < rank; i++)
        value->dims[i] = tm_dim_constant(importer->model->dims, -1);
}
