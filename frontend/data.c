/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c: files with a value: TensorProto, SequenceProto, OptionalProto, MapProto.
 *
 * A message does not say which of them it is, so the reader says what it expects: the type of the input or
 * output that the value is for. A map's values stand in the file as a sequence of tensors; here they are one
 * tensor, stacked along a new axis 0:
 *
 *     MapProto {string_keys: a, b   values: [1.5], [2.5]}   ->   keys string[2] {a, b}, values f32[2]
 * {1.5, 2.5}
 */
#include "frontend/tensor.h"

#include <string.h>

typedef struct reader {
    tm_tensor_reader tensors;
    tm_place place;
    const tm_datum *expected;
} reader;

/* The form of the items of a value. */
static tm_datum item_form(const tm_datum *value) {
    tm_datum item = {.kind = value->item, .type = value->type, .key = value->key};
    if (item.kind != TAMIS_KIND_TENSOR)
        item.item = TAMIS_KIND_TENSOR;
    return item;
}

static tm_code wrong(const reader *r, const char *what) {
    return tm_report(r->tensors.diagnostics, TM_E_BAD_DATA, &r->place, NULL, "%s", what);
}

static tm_code read_tensor(reader *r, const Onnx__TensorProto *proto, tm_datum *out) {
    const tm_constant *tensor = NULL;
    TM_TRY(tm_read_tensor(&r->tensors, proto, &r->place, &tensor));
    *out = (tm_datum){.kind = TAMIS_KIND_TENSOR, .type = tensor->type, .tensor = tensor};
    return TM_OK;
}

/* ---- maps ---- */

static tm_code read_keys(reader *r, const Onnx__MapProto *proto, tamis_type type, tm_datum *out) {
    tm_arena *arena = r->tensors.arena;
    bool is_text = type == TAMIS_TYPE_STRING;
    int64_t count = (int64_t)(is_text ? proto->n_string_keys : proto->n_keys);
    if (proto->has_key_type && proto->key_type != (int32_t)type)
        return wrong(r, tm_arena_format(arena, "the map's keys are %s where %s is expected",
                                        tm_type_text((tamis_type)proto->key_type), tm_type_text(type)));
    size_t size = (size_t)tm_type_bits(type) / 8;
    uint8_t *data = tm_arena_alloc(arena, (size_t)count * size + 1);
    for (int64_t i = 0; i < count; i++) {
        if (is_text) {
            const ProtobufCBinaryData *text = &proto->string_keys[i];
            ((tamis_string *)(void *)data)[i] = (tamis_string){
                tm_arena_string_n(arena, (const char *)text->data, text->len), (int64_t)text->len};
            continue;
        }
        int64_t key = 0;
        memcpy(data + (size_t)i * size, &proto->keys[i], size);
        tm_constant one = {.type = type, .data = data + (size_t)i * size, .bytes = (int64_t)size};
        if (!tm_constant_int(&one, 0, &key) || key != proto->keys[i])
            return wrong(r, tm_arena_format(arena, "the map's key %lld does not fit into %s",
                                            (long long)proto->keys[i], tm_type_text(type)));
    }
    int64_t *dims = tm_arena_copy(arena, &count, sizeof count);
    *out = (tm_datum){.kind = TAMIS_KIND_TENSOR,
                      .type = type,
                      .tensor = tm_constant_create(arena, type, 1, dims, data)};
    return TM_OK;
}

static bool same_dims(const tm_constant *a, const tm_constant *b) {
    bool same = a->type == b->type && a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->dims[i] == b->dims[i];
    return same;
}

/* The values, one tensor each, as one tensor. */
static tm_code stack(reader *r, const Onnx__SequenceProto *proto, tamis_type type, int64_t count,
                     tm_datum *out) {
    tm_arena *arena = r->tensors.arena;
    const tm_constant *first = NULL;
    uint8_t *data = NULL;
    int64_t dims[TAMIS_MAX_RANK] = {count}, bytes = 0, total = 0;
    int rank = 1;
    if ((int64_t)(proto != NULL ? proto->n_tensor_values : 0) != count)
        return wrong(r, "the map has not as many values, all of them tensors, as keys");
    for (int64_t i = 0; i < count; i++) {
        const tm_constant *value = NULL;
        TM_TRY(tm_read_tensor(&r->tensors, proto->tensor_values[i], &r->place, &value));
        if (first == NULL) {
            first = value;
            rank = value->rank + 1;
            bytes = value->bytes;
            if (rank > TAMIS_MAX_RANK || tm_type_bits(value->type) < 8 || !tm_mul_i64(bytes, count, &total))
                return wrong(r, "the map's values are of a type or size that is not read");
            for (int d = 1; d < rank; d++)
                dims[d] = value->dims[d - 1];
            data = tm_arena_alloc(arena, (size_t)total + 1);
        }
        if (!same_dims(value, first))
            return wrong(r, "the map's values differ in type or dims");
        if (bytes > 0)
            memcpy(data + i * bytes, value->data, (size_t)bytes);
    }
    type = first != NULL ? first->type : type;
    int64_t *kept = tm_arena_copy(arena, dims, sizeof dims);
    *out = (tm_datum){.kind = TAMIS_KIND_TENSOR,
                      .type = type,
                      .tensor = tm_constant_create(arena, type, rank, kept, data)};
    return TM_OK;
}

static tm_code read_map(reader *r, const Onnx__MapProto *proto, const tm_datum *form, tm_datum *out) {
    tm_datum *both = TM_NEW_ARRAY(r->tensors.arena, tm_datum, 2);
    TM_TRY(read_keys(r, proto, form->key, &both[0]));
    TM_TRY(stack(r, proto->values, form->type, both[0].tensor->dims[0], &both[1]));
    *out = *form;
    out->type = both[1].type;
    out->count = 2;
    out->items = both;
    return TM_OK;
}

/* ---- sequences and optionals ---- */

static tm_code read_sequence(reader *r, const Onnx__SequenceProto *proto, const tm_datum *form,
                             tm_datum *out) {
    bool maps = form->item == TAMIS_KIND_MAP;
    const tm_datum item = item_form(form);
    size_t count = maps ? proto->n_map_values : proto->n_tensor_values;
    if (proto->n_sequence_values != 0 || (maps ? proto->n_tensor_values : proto->n_map_values) != 0)
        return wrong(r, maps ? "the sequence holds other values than maps"
                             : "the sequence holds other values than tensors");
    tm_datum *items = TM_NEW_ARRAY(r->tensors.arena, tm_datum, count + 1);
    for (size_t i = 0; i < count; i++)
        TM_TRY(maps ? read_map(r, proto->map_values[i], &item, &items[i])
                    : read_tensor(r, proto->tensor_values[i], &items[i]));
    *out = *form;
    out->type = count > 0 ? items[0].type : form->type;
    out->count = (int64_t)count;
    out->items = items;
    return TM_OK;
}

static tm_code read_optional(reader *r, const Onnx__OptionalProto *proto, const tm_datum *form,
                             tm_datum *out) {
    tm_datum *element = TM_NEW(r->tensors.arena, tm_datum);
    const tm_datum item = item_form(form);
    *out = *form;
    if (proto->tensor_value == NULL && proto->sequence_value == NULL && proto->map_value == NULL &&
        proto->optional_value == NULL)
        return TM_OK;
    if (form->item == TAMIS_KIND_TENSOR && proto->tensor_value != NULL)
        TM_TRY(read_tensor(r, proto->tensor_value, element));
    else if (form->item == TAMIS_KIND_SEQUENCE && proto->sequence_value != NULL)
        TM_TRY(read_sequence(r, proto->sequence_value, &item, element));
    else if (form->item == TAMIS_KIND_MAP && proto->map_value != NULL)
        TM_TRY(read_map(r, proto->map_value, &item, element));
    else
        return wrong(r, "the optional holds a value of another kind than the model's");
    out->type = element->type;
    out->count = 1;
    out->items = element;
    return TM_OK;
}

/* ---- the doors ---- */

static const ProtobufCMessageDescriptor *message_of(tamis_kind kind) {
    switch (kind) {
    case TAMIS_KIND_SEQUENCE:
        return &onnx__sequence_proto__descriptor;
    case TAMIS_KIND_OPTIONAL:
        return &onnx__optional_proto__descriptor;
    case TAMIS_KIND_MAP:
        return &onnx__map_proto__descriptor;
    default:
        return &onnx__tensor_proto__descriptor;
    }
}

static tm_code read_message(reader *r, void *message, tm_datum *out) {
    switch (r->expected->kind) {
    case TAMIS_KIND_SEQUENCE:
        return read_sequence(r, message, r->expected, out);
    case TAMIS_KIND_OPTIONAL:
        return read_optional(r, message, r->expected, out);
    case TAMIS_KIND_MAP:
        return read_map(r, message, r->expected, out);
    default:
        return read_tensor(r, message, out);
    }
}

tm_code tm_import_datum(tm_arena *arena, tm_diagnostics *diagnostics, const char *name,
                        const tm_datum *expected, const void *data, size_t bytes, tm_datum *out_datum) {
    tm_arena *scratch = tm_scratch_create(arena);
    tm_import_options options;
    tm_loaded loaded;
    tm_datum form = {
        .kind = expected->kind, .item = expected->item, .type = expected->type, .key = expected->key};
    tm_import_options_init(&options);
    reader r = {
        .tensors = {.arena = arena,
                    .diagnostics = diagnostics,
                    .options = &options,
                    .loaded = &loaded,
                    .mappings = TM_NEW(scratch, tm_mappings)},
        .place = {.file = name, .node_index = -1},
        .expected = &form};
    r.tensors.mappings->full = true; /* a file is not worth it */
    tm_map_init(&r.tensors.external, scratch);
    tm_code code = tm_load_message(scratch, diagnostics, name, message_of(form.kind), data, bytes,
                                   &options.limits, &loaded);
    if (code == TM_OK)
        code = read_message(&r, loaded.message, out_datum);
    tm_scratch_release(scratch);
    return code;
}

tm_code tm_import_tensor(tm_arena *arena, tm_diagnostics *diagnostics, const char *name, const void *data,
                         size_t bytes, const tm_constant **out_constant) {
    const tm_datum expected = {.kind = TAMIS_KIND_TENSOR};
    tm_datum datum = expected;
    tm_code code = tm_import_datum(arena, diagnostics, name, &expected, data, bytes, &datum);
    *out_constant = datum.tensor;
    return code;
}
