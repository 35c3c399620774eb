/* SPDX-License-Identifier: Apache-2.0
 *
 * export_type.c: types of values as TypeProto.
 *
 *     x: f32[batch, 4, 2*batch + 1]   ->   tensor(float) ["batch", 4, ?]
 *
 * A dim of the file is a number, a name or unknown. Names are those of the inputs' symbols. Dims that are
 * formulas, or that data decide, have no name which a reader could rely on: they are unknown.
 */
#include "frontend/exporter.h"

static Onnx__TensorShapeProto__Dimension *new_dim(tm_arena *arena, tm_dim dim) {
    Onnx__TensorShapeProto__Dimension *out = TM_NEW(arena, Onnx__TensorShapeProto__Dimension);
    onnx__tensor_shape_proto__dimension__init(out);
    if (dim != NULL && tm_dim_is_constant(dim) && dim->constant >= 0) {
        out->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        out->dim_value = dim->constant;
    } else if (dim != NULL && dim->kind == TM_DIM_SYMBOL && dim->symbol->origin == TM_SYMBOL_INPUT) {
        out->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        out->dim_param = tm_arena_string(arena, dim->symbol->name);
    }
    return out;
}

static Onnx__TensorShapeProto *new_shape(tm_arena *arena, int rank, const tm_dim *dims) {
    if (rank < 0)
        return NULL;
    Onnx__TensorShapeProto *shape = TM_NEW(arena, Onnx__TensorShapeProto);
    onnx__tensor_shape_proto__init(shape);
    shape->n_dim = (size_t)rank;
    shape->dim = tm_arena_alloc_array(arena, (size_t)rank, sizeof *shape->dim);
    for (int i = 0; i < rank; i++)
        shape->dim[i] = new_dim(arena, dims != NULL ? dims[i] : NULL);
    return shape;
}

Onnx__TensorShapeProto *tm_export_open_shape(tm_arena *arena, int rank) {
    return new_shape(arena, rank, NULL);
}

static Onnx__TypeProto *new_tensor(tm_arena *arena, tamis_type type, Onnx__TensorShapeProto *shape) {
    Onnx__TypeProto *out = TM_NEW(arena, Onnx__TypeProto);
    Onnx__TypeProto__Tensor *tensor = TM_NEW(arena, Onnx__TypeProto__Tensor);
    onnx__type_proto__init(out);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = 1;
    tensor->elem_type = (int32_t)type;
    tensor->shape = shape;
    out->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    out->tensor_type = tensor;
    return out;
}

/* `inner` put into a sequence, optional or map. */
static Onnx__TypeProto *wrap(tm_arena *arena, tamis_kind kind, tamis_type key, Onnx__TypeProto *inner) {
    Onnx__TypeProto *out = TM_NEW(arena, Onnx__TypeProto);
    onnx__type_proto__init(out);
    if (kind == TAMIS_KIND_SEQUENCE) {
        out->value_case = ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
        out->sequence_type = TM_NEW(arena, Onnx__TypeProto__Sequence);
        onnx__type_proto__sequence__init(out->sequence_type);
        out->sequence_type->elem_type = inner;
    } else if (kind == TAMIS_KIND_OPTIONAL) {
        out->value_case = ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE;
        out->optional_type = TM_NEW(arena, Onnx__TypeProto__Optional);
        onnx__type_proto__optional__init(out->optional_type);
        out->optional_type->elem_type = inner;
    } else {
        out->value_case = ONNX__TYPE_PROTO__VALUE_MAP_TYPE;
        out->map_type = TM_NEW(arena, Onnx__TypeProto__Map);
        onnx__type_proto__map__init(out->map_type);
        out->map_type->has_key_type = 1;
        out->map_type->key_type = (int32_t)key;
        out->map_type->value_type = inner;
    }
    return out;
}

Onnx__TypeProto *tm_export_form(tm_arena *arena, tamis_kind kind, tamis_kind item, tamis_type type,
                                tamis_type key, Onnx__TensorShapeProto *shape) {
    if (kind == TAMIS_KIND_NONE || type == TAMIS_TYPE_UNDEFINED)
        return NULL;
    Onnx__TypeProto *out = new_tensor(arena, type, shape);
    if (kind == TAMIS_KIND_TENSOR)
        return out;
    if (kind != TAMIS_KIND_MAP && item != TAMIS_KIND_TENSOR)
        out = wrap(arena, item, key, out);
    return wrap(arena, kind, key, out);
}

Onnx__TypeProto *tm_export_type(tm_arena *arena, const tm_value *value, bool with_dims) {
    return tm_export_form(arena, value->kind, value->item, value->type, value->key,
                          new_shape(arena, value->rank, with_dims ? value->dims : NULL));
}
