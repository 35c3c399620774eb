/* SPDX-License-Identifier: Apache-2.0
 *
 * export.c: values to serialised TensorProto, SequenceProto, OptionalProto and MapProto, for results in
 * files.
 *
 * Elements go to raw_data, strings to string_data; the values of a map become a tensor each. The message is
 * built on the caller's arena and packed into one buffer there; protobuf-c's pack functions neither allocate
 * nor fail.
 */
#include "frontend/exporter.h"
#include "frontend/import.h"

void tm_export_tensor(tm_arena *arena, const char *name, const tm_constant *constant,
                      Onnx__TensorProto *out) {
    onnx__tensor_proto__init(out);
    out->name = name != NULL ? tm_arena_string(arena, name) : NULL;
    out->has_data_type = 1;
    out->data_type = (int32_t)constant->type;
    out->n_dims = (size_t)constant->rank;
    out->dims = tm_arena_copy(arena, constant->dims, out->n_dims * sizeof *out->dims);
    if (constant->type != TAMIS_TYPE_STRING) {
        out->has_raw_data = 1;
        out->raw_data = (ProtobufCBinaryData){(size_t)constant->bytes, (uint8_t *)(uintptr_t)constant->data};
        return;
    }
    const tamis_string *strings = constant->data;
    out->n_string_data = (size_t)tm_constant_count(constant);
    out->string_data = TM_NEW_ARRAY(arena, ProtobufCBinaryData, out->n_string_data);
    for (size_t i = 0; i < out->n_string_data; i++)
        out->string_data[i] =
            (ProtobufCBinaryData){(size_t)strings[i].size, (uint8_t *)(uintptr_t)strings[i].data};
}

/* SequenceProto.DataType and OptionalProto.DataType */
enum { DATA_TENSOR = 1, DATA_SEQUENCE = 3, DATA_MAP = 4 };

static int32_t data_type(tamis_kind kind) {
    return kind == TAMIS_KIND_SEQUENCE ? DATA_SEQUENCE : kind == TAMIS_KIND_MAP ? DATA_MAP : DATA_TENSOR;
}

static Onnx__TensorProto *new_tensor(tm_arena *arena, const tm_constant *constant) {
    Onnx__TensorProto *tensor = TM_NEW(arena, Onnx__TensorProto);
    tm_export_tensor(arena, NULL, constant, tensor);
    return tensor;
}

/* Entry i of the values of a map. */
static const tm_constant *entry_of(tm_arena *arena, const tm_constant *values, int64_t i) {
    int64_t bytes = values->dims[0] > 0 ? values->bytes / values->dims[0] : 0;
    return tm_constant_create(arena, values->type, values->rank - 1, values->dims + 1,
                              (const char *)values->data + i * bytes);
}

static Onnx__MapProto *new_map(tm_arena *arena, const tm_datum *datum) {
    Onnx__MapProto *map = TM_NEW(arena, Onnx__MapProto);
    Onnx__SequenceProto *values = TM_NEW(arena, Onnx__SequenceProto);
    onnx__map_proto__init(map);
    onnx__sequence_proto__init(values);
    map->has_key_type = 1;
    map->key_type = (int32_t)datum->key;
    map->values = values;
    values->has_elem_type = 1;
    values->elem_type = DATA_TENSOR;
    if (datum->count < 2)
        return map;
    const tm_constant *keys = datum->items[0].tensor;
    size_t count = (size_t)tm_constant_count(keys);
    values->n_tensor_values = count;
    values->tensor_values = tm_arena_alloc_array(arena, count, sizeof *values->tensor_values);
    if (keys->type == TAMIS_TYPE_STRING) {
        map->n_string_keys = count;
        map->string_keys = TM_NEW_ARRAY(arena, ProtobufCBinaryData, count + 1);
    } else {
        map->n_keys = count;
        map->keys = TM_NEW_ARRAY(arena, int64_t, count + 1);
    }
    for (size_t i = 0; i < count; i++) {
        const tamis_string *text = keys->data;
        if (keys->type == TAMIS_TYPE_STRING)
            map->string_keys[i] =
                (ProtobufCBinaryData){(size_t)text[i].size, (uint8_t *)(uintptr_t)text[i].data};
        else
            (void)tm_constant_int(keys, (int64_t)i, &map->keys[i]);
        values->tensor_values[i] = new_tensor(arena, entry_of(arena, datum->items[1].tensor, (int64_t)i));
    }
    return map;
}

static Onnx__SequenceProto *new_sequence(tm_arena *arena, const tm_datum *datum) {
    Onnx__SequenceProto *sequence = TM_NEW(arena, Onnx__SequenceProto);
    size_t count = (size_t)datum->count;
    onnx__sequence_proto__init(sequence);
    sequence->has_elem_type = 1;
    sequence->elem_type = data_type(datum->item);
    if (datum->item == TAMIS_KIND_MAP) {
        sequence->n_map_values = count;
        sequence->map_values = tm_arena_alloc_array(arena, count, sizeof *sequence->map_values);
    } else {
        sequence->n_tensor_values = count;
        sequence->tensor_values = tm_arena_alloc_array(arena, count, sizeof *sequence->tensor_values);
    }
    for (size_t i = 0; i < count; i++) {
        if (datum->item == TAMIS_KIND_MAP)
            sequence->map_values[i] = new_map(arena, &datum->items[i]);
        else
            sequence->tensor_values[i] = new_tensor(arena, datum->items[i].tensor);
    }
    return sequence;
}

static Onnx__OptionalProto *new_optional(tm_arena *arena, const tm_datum *datum) {
    Onnx__OptionalProto *optional = TM_NEW(arena, Onnx__OptionalProto);
    onnx__optional_proto__init(optional);
    optional->has_elem_type = 1;
    optional->elem_type = data_type(datum->item);
    if (datum->count == 0)
        return optional;
    const tm_datum *element = &datum->items[0];
    if (element->kind == TAMIS_KIND_SEQUENCE)
        optional->sequence_value = new_sequence(arena, element);
    else if (element->kind == TAMIS_KIND_MAP)
        optional->map_value = new_map(arena, element);
    else
        optional->tensor_value = new_tensor(arena, element->tensor);
    return optional;
}

void tm_export_datum(tm_arena *arena, const char *name, const tm_datum *datum, void **out_data,
                     size_t *out_bytes) {
    const ProtobufCMessage *message = NULL;
    char *own_name = name != NULL ? tm_arena_string(arena, name) : NULL;
    if (datum->kind == TAMIS_KIND_SEQUENCE) {
        Onnx__SequenceProto *sequence = new_sequence(arena, datum);
        sequence->name = own_name;
        message = &sequence->base;
    } else if (datum->kind == TAMIS_KIND_OPTIONAL) {
        Onnx__OptionalProto *optional = new_optional(arena, datum);
        optional->name = own_name;
        message = &optional->base;
    } else if (datum->kind == TAMIS_KIND_MAP) {
        Onnx__MapProto *map = new_map(arena, datum);
        map->name = own_name;
        message = &map->base;
    } else {
        Onnx__TensorProto *tensor = new_tensor(arena, datum->tensor);
        tensor->name = own_name;
        message = &tensor->base;
    }
    *out_bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *data = tm_arena_alloc(arena, *out_bytes);
    protobuf_c_message_pack(message, data);
    *out_data = data;
}
