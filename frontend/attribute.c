/* SPDX-License-Identifier: Apache-2.0
 *
 * attribute.c: AttributeProto to a draft's attributes.
 *
 * Inside of a function, an attribute may be a reference to one of the call's attributes:
 *
 *     Gemm(x, w) {alpha: @scale}      in a function called with {scale: 2.0}      ->  alpha = 2.0
 *
 * When the call does not give it, the function's default holds, and without one the attribute is
 * absent. A type becomes attributes of other kinds before the node is built (frontend/opset/). Attributes of
 * kinds that no op of the table has (lists of tensors, graphs or types) are an error at the node that has
 * them; the op is unsupported anyway when it needs them.
 */
#include "frontend/draft.h"

#include <string.h>

/* AttributeProto.AttributeType of ONNX. */
enum {
    ONNX_UNDEFINED = 0,
    ONNX_FLOAT = 1,
    ONNX_INT = 2,
    ONNX_STRING = 3,
    ONNX_TENSOR = 4,
    ONNX_GRAPH = 5,
    ONNX_FLOATS = 6,
    ONNX_INTS = 7,
    ONNX_STRINGS = 8,
    ONNX_SPARSE_TENSOR = 11,
    ONNX_TYPE = 13
};

/* Files of IR version 1 have no type; then the field that is there tells it. */
static int32_t type_of(const Onnx__AttributeProto *proto) {
    if (proto->has_type && proto->type != ONNX_UNDEFINED)
        return proto->type;
    if (proto->has_f)
        return ONNX_FLOAT;
    if (proto->has_i)
        return ONNX_INT;
    if (proto->has_s)
        return ONNX_STRING;
    if (proto->t != NULL)
        return ONNX_TENSOR;
    if (proto->g != NULL)
        return ONNX_GRAPH;
    if (proto->n_floats != 0)
        return ONNX_FLOATS;
    if (proto->n_ints != 0)
        return ONNX_INTS;
    if (proto->n_strings != 0)
        return ONNX_STRINGS;
    if (proto->tp != NULL)
        return ONNX_TYPE;
    return proto->sparse_tensor != NULL ? ONNX_SPARSE_TENSOR : ONNX_UNDEFINED;
}

static void decode_list(tm_arena *arena, const Onnx__AttributeProto *proto, int32_t type,
                        tm_draft_attribute *out) {
    if (type == ONNX_FLOATS) {
        double *floats = TM_NEW_ARRAY(arena, double, proto->n_floats);
        for (size_t i = 0; i < proto->n_floats; i++)
            floats[i] = (double)proto->floats[i];
        out->kind = TM_ATTRIBUTE_FLOATS;
        out->value.floats = floats;
        out->value.count = (int64_t)proto->n_floats;
    } else if (type == ONNX_INTS) {
        out->kind = TM_ATTRIBUTE_INTS;
        out->value.ints = tm_arena_copy(arena, proto->ints, proto->n_ints * sizeof *proto->ints);
        out->value.count = (int64_t)proto->n_ints;
    } else {
        const char **strings = tm_arena_alloc_array(arena, proto->n_strings, sizeof *strings);
        for (size_t i = 0; i < proto->n_strings; i++)
            strings[i] =
                tm_arena_string_n(arena, (const char *)proto->strings[i].data, proto->strings[i].len);
        out->kind = TM_ATTRIBUTE_STRINGS;
        out->value.strings = strings;
        out->value.count = (int64_t)proto->n_strings;
    }
}

static tm_code decode(tm_draft *draft, const Onnx__AttributeProto *proto, tm_draft_attribute *out) {
    tm_arena *arena = draft->importer->scratch;
    int32_t type = type_of(proto);
    out->value.present = true;
    switch (type) {
    case ONNX_FLOAT:
        out->kind = TM_ATTRIBUTE_FLOAT;
        out->value.f = (double)proto->f;
        return TM_OK;
    case ONNX_INT:
        out->kind = TM_ATTRIBUTE_INT;
        out->value.i = proto->i;
        return TM_OK;
    case ONNX_STRING:
        out->kind = TM_ATTRIBUTE_STRING;
        out->value.s = tm_arena_string_n(arena, (const char *)proto->s.data, proto->s.len);
        out->value.s_size = (int64_t)proto->s.len;
        return TM_OK;
    case ONNX_TENSOR:
        out->kind = TM_ATTRIBUTE_TENSOR;
        if (proto->t == NULL)
            break;
        return tm_read_tensor(&draft->importer->reader, proto->t, &draft->place, &out->value.tensor);
    case ONNX_SPARSE_TENSOR:
        out->kind = TM_ATTRIBUTE_TENSOR;
        if (proto->sparse_tensor == NULL)
            break;
        return tm_read_sparse(&draft->importer->reader, proto->sparse_tensor, &draft->place,
                              &out->value.tensor);
    case ONNX_GRAPH:
        out->kind = TM_ATTRIBUTE_GRAPH;
        out->graph = proto->g;
        if (proto->g == NULL)
            break;
        return TM_OK;
    case ONNX_TYPE:
        out->type = proto->tp;
        if (proto->tp == NULL)
            break;
        return TM_OK;
    case ONNX_FLOATS:
    case ONNX_INTS:
    case ONNX_STRINGS:
        decode_list(arena, proto, type, out);
        return TM_OK;
    default:
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "attribute '%s' has kind %d, which no operator of tamis takes", out->name,
                             (int)type);
    }
    return tm_draft_fail(draft, TM_E_ATTRIBUTE, "attribute '%s' has no value", out->name);
}

/* What a reference to an attribute of the innermost call stands for; false: absent. */
static tm_code resolve_reference(tm_draft *draft, const Onnx__AttributeProto *proto, tm_draft_attribute *out,
                                 bool *out_present) {
    const tm_frame *frame = draft->scope->frame;
    const char *name = proto->ref_attr_name;
    *out_present = true;
    if (frame == NULL)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE,
                             "attribute '%s' refers to an attribute of a function, but this is not one",
                             out->name);
    for (size_t i = 0; i < frame->attribute_count; i++) {
        if (strcmp(frame->attributes[i].name, name) != 0)
            continue;
        const char *own = out->name;
        *out = frame->attributes[i];
        out->name = own;
        return TM_OK;
    }
    for (size_t i = 0; i < frame->function->n_attribute_proto; i++) {
        const Onnx__AttributeProto *given = frame->function->attribute_proto[i];
        if (given->name != NULL && strcmp(given->name, name) == 0)
            return decode(draft, given, out);
    }
    *out_present = false;
    return TM_OK;
}

tm_code tm_draft_read_attributes(tm_draft *draft) {
    for (size_t i = 0; i < draft->proto->n_attribute; i++) {
        const Onnx__AttributeProto *proto = draft->proto->attribute[i];
        tm_draft_attribute attribute = {.name = proto->name, .scope = draft->scope};
        if (proto->name == NULL || proto->name[0] == 0)
            return tm_draft_fail(draft, TM_E_ATTRIBUTE, "an attribute has no name");
        if (tm_draft_has(draft, proto->name))
            return tm_draft_fail(draft, TM_E_ATTRIBUTE, "attribute '%s' is given twice", proto->name);
        bool present = true;
        if (proto->ref_attr_name != NULL && proto->ref_attr_name[0] != 0)
            TM_TRY(resolve_reference(draft, proto, &attribute, &present));
        else
            TM_TRY(decode(draft, proto, &attribute));
        if (present)
            tm_push(draft->importer->scratch, &draft->attributes, attribute);
    }
    return TM_OK;
}
