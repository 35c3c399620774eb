/* SPDX-License-Identifier: Apache-2.0
 *
 * call.c: call records, the constant data that tells a kernel what to work on.
 *
 *     tm_call | values[n_in + n_out], padded to 8 | tm_attrs_OP: 8 bytes a field | items of list attributes
 *
 * Offsets of lists count from the start of the attributes, so a record has no pointers: the emitted artifact
 * holds it as plain bytes, without relocations, and the evaluator passes the very same bytes. A list
 * of strings is written strings first, then the tm_list array that names them, so nothing is patched
 * afterwards.
 */
#include "ir/evaluate.h"

#include <string.h>

typedef struct writer {
    tm_text tail;  /* items of lists; begins at `start` from the attributes */
    int32_t start; /* bytes of the fields */
    tm_arena *arena;
} writer;

static void align_tail(writer *w) {
    static const char zeros[8];
    size_t rest = ((size_t)w->start + w->tail.size) % 8;
    if (rest != 0)
        tm_text_add_bytes(&w->tail, zeros, 8 - rest);
}

static tm_list add_items(writer *w, const void *items, int64_t count, size_t item_bytes) {
    if (item_bytes > 1)
        align_tail(w);
    tm_list list = {w->start + (int32_t)w->tail.size, (int32_t)count};
    if (count > 0)
        tm_text_add_bytes(&w->tail, items, (size_t)count * item_bytes);
    return list;
}

static tm_list add_strings(writer *w, const char *const *strings, int64_t count) {
    tm_list *lists = TM_NEW_ARRAY(w->arena, tm_list, count > 0 ? count : 1);
    for (int64_t i = 0; i < count; i++)
        lists[i] = add_items(w, strings[i], (int64_t)strlen(strings[i]), 1);
    return add_items(w, lists, count, sizeof *lists);
}

/* Elements of a string tensor become tm_list records, as in a list of strings. */
static tm_list add_tensor(writer *w, const tm_constant *tensor) {
    tm_tensor_attribute header = {.type = tensor->type, .rank = tensor->rank};
    for (int i = 0; i < tensor->rank; i++)
        header.dims[i] = tensor->dims[i];
    const void *data = tensor->data;
    int64_t bytes = tensor->bytes;
    if (tensor->type == TAMIS_TYPE_STRING) {
        int64_t count = tm_constant_count(tensor);
        const tamis_string *strings = tensor->data;
        tm_list *lists = TM_NEW_ARRAY(w->arena, tm_list, count > 0 ? count : 1);
        for (int64_t i = 0; i < count; i++)
            lists[i] = add_items(w, strings[i].data, strings[i].size, 1);
        data = lists;
        bytes = count * (int64_t)sizeof *lists;
    }
    tm_list list = add_items(w, &header, 1, sizeof header);
    if (bytes > 0)
        tm_text_add_bytes(&w->tail, data, (size_t)bytes);
    return list;
}

static tm_list list_field(writer *w, const tm_attribute_spec *spec, const tm_attribute *attribute) {
    if (spec->kind == TM_ATTRIBUTE_STRING && (attribute->present || spec->has_default)) {
        const char *text = attribute->present ? attribute->s : spec->string_default;
        int64_t size =
            attribute->present && attribute->s_size > 0 ? attribute->s_size : (int64_t)strlen(text);
        return add_items(w, text, size, 1);
    }
    if (!attribute->present)
        return (tm_list){0, 0};
    switch (spec->kind) {
    case TM_ATTRIBUTE_INTS:
        return add_items(w, attribute->ints, attribute->count, sizeof *attribute->ints);
    case TM_ATTRIBUTE_FLOATS:
        return add_items(w, attribute->floats, attribute->count, sizeof *attribute->floats);
    case TM_ATTRIBUTE_STRINGS:
        return add_strings(w, attribute->strings, attribute->count);
    case TM_ATTRIBUTE_TENSOR:
        return add_tensor(w, attribute->tensor);
    default:
        return (tm_list){0, 0};
    }
}

/* Field by field, in the order of the row. */
static void write_fields(writer *w, const tm_node *node, uint64_t *fields) {
    const tm_op_info *info = tm_op_get(node->op);
    int count = 0;
    for (int i = 0; i < info->attribute_count; i++) {
        const tm_attribute_spec *spec = &info->attributes[i];
        const tm_attribute *attribute = &node->attributes[i];
        int64_t integer = attribute->present ? attribute->i : spec->int_default;
        double real = attribute->present ? attribute->f : spec->float_default;
        if (spec->kind == TM_ATTRIBUTE_GRAPH)
            continue;
        if (spec->kind == TM_ATTRIBUTE_INT) {
            memcpy(&fields[count++], &integer, sizeof integer);
        } else if (spec->kind == TM_ATTRIBUTE_FLOAT) {
            memcpy(&fields[count++], &real, sizeof real);
        } else {
            tm_list list = list_field(w, spec, attribute);
            memcpy(&fields[count++], &list, sizeof list);
        }
    }
}

static int field_count(const tm_op_info *info) {
    int count = 1; /* end_ */
    for (int i = 0; i < info->attribute_count; i++)
        count += info->attributes[i].kind != TM_ATTRIBUTE_GRAPH;
    return count;
}

tm_call *tm_call_create(tm_arena *arena, const tm_node *node, int32_t node_number, const int32_t *values,
                        size_t *out_bytes) {
    int fields_count = field_count(tm_op_get(node->op));
    uint64_t *fields = TM_NEW_ARRAY(arena, uint64_t, fields_count);
    writer w = {.start = fields_count * 8, .arena = arena};
    tm_text_init(&w.tail, arena);
    write_fields(&w, node, fields);
    align_tail(&w);

    int value_count = node->input_count + node->output_count;
    size_t head = (sizeof(tm_call) + (size_t)value_count * sizeof(int32_t) + 7) & ~(size_t)7;
    size_t bytes = head + (size_t)w.start + w.tail.size;
    tm_call *call = tm_arena_alloc(arena, bytes);
    call->node = node_number;
    call->n_in = (uint16_t)node->input_count;
    call->n_out = (uint16_t)node->output_count;
    call->attributes = (int32_t)head;
    if (value_count > 0)
        memcpy(call->values, values, (size_t)value_count * sizeof(int32_t));
    memcpy((char *)call + head, fields, (size_t)w.start);
    if (w.tail.size > 0)
        memcpy((char *)call + head + w.start, w.tail.data, w.tail.size);
    *out_bytes = bytes;
    return call;
}
