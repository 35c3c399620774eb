/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.c: an iterative walk over protobuf bytes that nothing trusts yet.
 *
 * protobuf-c recurses once per nested message and allocates per field, so 30 KB of nested types
 * exhaust its stack and 4 MB of empty nodes become half a gigabyte. The scanner goes first, with an
 * explicit stack. It checks the wire format against protobuf-c's own descriptors of onnx.proto,
 * counts, and adds up what protobuf-c would allocate, all against the limits.
 *
 * On the way it writes a skeleton: the same message without unknown fields and without the elements
 * of tensors. Those become chunks, places in the scanned bytes:
 *
 *     TensorProto { dims: 2, data_type: 1, raw_data: <8 bytes at 105> }
 *  -> TensorProto { dims: 2, data_type: 1, chunk_first: 7, chunk_count: 1 },  chunk 7 = bytes 105..113
 *
 * So protobuf-c sees a message whose size does not depend on the weights, and weights stay where the
 * mapped file has them. Cutting changes the lengths of all enclosing messages; therefore a length in
 * the skeleton is a varint padded to five bytes, patched when its message ends.
 */
#include "frontend/scan.h"

#include "onnx.pb-c.h"

#include <limits.h>
#include <string.h>

enum {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
    LENGTH_BYTES = 5, /* of a padded length */
    ITEM_HEAP = 96,   /* what protobuf-c keeps for one field while it unpacks, generously */
    FIELD_CHUNK_FIRST = 1001,
    FIELD_CHUNK_COUNT = 1002
};

typedef struct frame {
    const ProtobufCMessageDescriptor *descriptor;
    size_t end;             /* in the input */
    size_t length_position; /* of its length in the skeleton */
    size_t first_chunk;
    uint64_t seen;  /* singular message fields, by index in the descriptor */
    int64_t graphs; /* GraphProtos around it, itself included */
} frame;

typedef struct scanner {
    tm_arena *arena;
    tm_diagnostics *diagnostics;
    const char *file;
    const tm_import_limits *limits;
    const uint8_t *bytes;
    size_t position;
    TM_VECTOR(frame) stack;
    TM_VECTOR(uint8_t) skeleton;
    TM_VECTOR(tm_chunk) chunks;
    int64_t nodes, initializers;
    int64_t heap;
} scanner;

bool tm_read_varint(const uint8_t *bytes, size_t end, size_t *position, uint64_t *out_value) {
    uint64_t value = 0;
    size_t at = *position;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (at >= end)
            return false;
        uint8_t byte = bytes[at++];
        if (shift == 63 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *position = at;
            *out_value = value;
            return true;
        }
    }
    return false;
}

static tm_code damaged(scanner *s, const char *what) {
    tm_place place = {.file = s->file, .node_index = -1};
    return tm_report(s->diagnostics, TM_E_BAD_PROTOBUF, &place,
                     "the file is cut short, damaged, or not an ONNX file; fetch or export it again",
                     "byte %zu: %s", s->position, what);
}

static tm_code over_limit(scanner *s, const char *flag, int64_t limit, const char *what) {
    tm_place place = {.file = s->file, .node_index = -1};
    const char *hint = tm_arena_format(s->arena, "if the file is trusted, raise the limit with %s=N", flag);
    return tm_report(s->diagnostics, TM_E_LIMIT, &place, hint, "byte %zu: %s (limit %lld)", s->position, what,
                     (long long)limit);
}

/* ---- skeleton ---- */

static void skeleton_add(scanner *s, const void *data, size_t bytes) {
    while (s->skeleton.capacity - s->skeleton.count < bytes)
        s->skeleton.items =
            tm_vector_grow(s->arena, s->skeleton.items, s->skeleton.count, &s->skeleton.capacity, 1);
    if (bytes != 0)
        memcpy(s->skeleton.items + s->skeleton.count, data, bytes);
    s->skeleton.count += bytes;
}

static void skeleton_varint(scanner *s, uint64_t value) {
    uint8_t buffer[10];
    size_t count = 0;
    do {
        buffer[count] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        value >>= 7;
        count++;
    } while (value != 0);
    skeleton_add(s, buffer, count);
}

static void skeleton_tag(scanner *s, uint32_t field, unsigned wire) {
    skeleton_varint(s, (uint64_t)field << 3 | wire);
}

static void skeleton_patch_length(scanner *s, size_t position) {
    size_t length = s->skeleton.count - position - LENGTH_BYTES;
    for (size_t i = 0; i < LENGTH_BYTES; i++) {
        unsigned more = i + 1 < LENGTH_BYTES ? 0x80 : 0;
        s->skeleton.items[position + i] = (uint8_t)((length >> (7 * i) & 0x7f) | more);
    }
}

/* ---- values ---- */

static unsigned wire_of(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return WIRE_FIXED32;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return WIRE_FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

/* Steps over one value of a wire type; [*out_offset, *out_offset + *out_bytes) is its content. */
static tm_code read_value(scanner *s, unsigned wire, size_t end, size_t *out_offset, size_t *out_bytes) {
    uint64_t value = 0;
    size_t start = s->position;
    switch (wire) {
    case WIRE_VARINT:
        if (!tm_read_varint(s->bytes, end, &s->position, &value))
            return damaged(s, "a number is cut short or longer than 64 bits");
        *out_offset = start;
        *out_bytes = s->position - start;
        return TM_OK;
    case WIRE_FIXED32:
    case WIRE_FIXED64:
        *out_offset = start;
        *out_bytes = wire == WIRE_FIXED32 ? 4 : 8;
        break;
    case WIRE_BYTES:
        if (!tm_read_varint(s->bytes, end, &s->position, &value))
            return damaged(s, "a length is cut short or longer than 64 bits");
        if (value > end - s->position)
            return damaged(s, "a field is longer than the message around it");
        *out_offset = s->position;
        *out_bytes = (size_t)value;
        break;
    default:
        return damaged(s, "a field has a wire type that ONNX does not use");
    }
    if (*out_bytes > end - *out_offset)
        return damaged(s, "a number is cut short");
    s->position = *out_offset + *out_bytes;
    return TM_OK;
}

/* Are `bytes` a list of whole values of the wire type? */
static tm_code check_packed(scanner *s, unsigned wire, size_t offset, size_t bytes, size_t *out_count) {
    if (wire != WIRE_VARINT) {
        size_t size = wire == WIRE_FIXED32 ? 4 : 8;
        if (bytes % size != 0)
            return damaged(s, "a packed list ends inside of a number");
        *out_count = bytes / size;
        return TM_OK;
    }
    size_t count = 0;
    for (size_t at = offset; at < offset + bytes; count++) {
        uint64_t value;
        if (!tm_read_varint(s->bytes, offset + bytes, &at, &value))
            return damaged(s, "a packed list has a number that is cut short or longer than 64 bits");
    }
    *out_count = count;
    return TM_OK;
}

/* ---- fields ---- */

static bool is_payload(const frame *f, const ProtobufCFieldDescriptor *field) {
    if (f->descriptor != &onnx__tensor_proto__descriptor)
        return false;
    switch (field->id) {
    case 4:
    case 5:
    case 6:
    case 7:
    case 9:
    case 10:
    case 11:
        return true;
    default:
        return false;
    }
}

static tm_code charge(scanner *s, size_t bytes) {
    int64_t total;
    if (bytes > (size_t)INT64_MAX || !tm_add_i64(s->heap, (int64_t)bytes, &total))
        total = INT64_MAX;
    s->heap = total;
    int64_t limit = s->limits->memory_bytes;
    if (total > limit || s->skeleton.count > (size_t)limit - (size_t)total || s->skeleton.count > INT_MAX / 2)
        return over_limit(s, "--limit-memory-bytes", limit, "reading this file would take too much memory");
    return TM_OK;
}

/* Elements of a tensor: noted, not copied. */
static tm_code cut_payload(scanner *s, frame *f, const ProtobufCFieldDescriptor *field, unsigned wire,
                           size_t tag_position) {
    size_t offset, bytes, count;
    unsigned want = wire_of(field->type);
    TM_TRY(read_value(s, wire, f->end, &offset, &bytes));
    tm_chunk chunk = {TM_CHUNK_RUN, field->id, tag_position, s->position - tag_position};
    if (field->id == 9) {
        chunk = (tm_chunk){TM_CHUNK_BYTES, field->id, offset, bytes};
        if (wire != WIRE_BYTES)
            return damaged(s, "raw_data is not a byte string");
    } else if (wire == WIRE_BYTES && want != WIRE_BYTES) {
        chunk = (tm_chunk){TM_CHUNK_PACKED, field->id, offset, bytes};
        TM_TRY(check_packed(s, want, offset, bytes, &count));
    } else if (wire != want) {
        return damaged(s, "a list of elements has the wrong wire type");
    }
    if (bytes > (size_t)s->limits->tensor_bytes)
        return over_limit(s, "--limit-tensor-bytes", s->limits->tensor_bytes, "a tensor is too large");
    if (chunk.kind == TM_CHUNK_RUN && s->chunks.count > f->first_chunk) {
        tm_chunk *last = &s->chunks.items[s->chunks.count - 1];
        if (last->kind == TM_CHUNK_RUN && last->field == chunk.field &&
            last->offset + last->bytes == chunk.offset) {
            last->bytes += chunk.bytes;
            return TM_OK;
        }
    }
    tm_push(s->arena, &s->chunks, chunk);
    return charge(s, 2 * sizeof(tm_chunk));
}

static tm_code count_message(scanner *s, const frame *parent, const ProtobufCFieldDescriptor *field) {
    if (field->descriptor == &onnx__node_proto__descriptor && ++s->nodes > s->limits->nodes)
        return over_limit(s, "--limit-nodes", s->limits->nodes, "too many nodes");
    if (parent->descriptor == &onnx__graph_proto__descriptor && (field->id == 5 || field->id == 15) &&
        ++s->initializers > s->limits->initializers)
        return over_limit(s, "--limit-initializers", s->limits->initializers, "too many initializers");
    return TM_OK;
}

static tm_code enter_message(scanner *s, const ProtobufCFieldDescriptor *field, size_t end) {
    frame *parent = &s->stack.items[s->stack.count - 1];
    size_t index = (size_t)(field - parent->descriptor->fields);
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        if (parent->seen >> index & 1)
            return damaged(s, "a field that may occur once occurs twice in its message");
        parent->seen |= (uint64_t)1 << index;
    }
    TM_TRY(count_message(s, parent, field));
    frame child = {.descriptor = field->descriptor,
                   .end = end,
                   .first_chunk = s->chunks.count,
                   .graphs = parent->graphs};
    if (child.descriptor == &onnx__graph_proto__descriptor && ++child.graphs > s->limits->depth + 1)
        return over_limit(s, "--limit-depth", s->limits->depth, "graphs are nested too deep");
    /* A graph in an attribute of a node of a graph: three messages for each level. */
    if (s->stack.count > 3 * (size_t)s->limits->depth + 16)
        return over_limit(s, "--limit-depth", s->limits->depth, "messages are nested too deep");
    skeleton_tag(s, field->id, WIRE_BYTES);
    child.length_position = s->skeleton.count;
    skeleton_add(s, "\0\0\0\0\0", LENGTH_BYTES);
    tm_push(s->arena, &s->stack, child);
    return charge(s, ITEM_HEAP + sizeof(void *) + child.descriptor->sizeof_message);
}

static void leave_message(scanner *s) {
    frame f = s->stack.items[--s->stack.count];
    if (f.descriptor == &onnx__tensor_proto__descriptor && s->chunks.count > f.first_chunk) {
        skeleton_tag(s, FIELD_CHUNK_FIRST, WIRE_VARINT);
        skeleton_varint(s, f.first_chunk);
        skeleton_tag(s, FIELD_CHUNK_COUNT, WIRE_VARINT);
        skeleton_varint(s, s->chunks.count - f.first_chunk);
    }
    if (s->stack.count > 0)
        skeleton_patch_length(s, f.length_position);
}

static tm_code check_string(scanner *s, size_t offset, size_t bytes) {
    if (bytes > (size_t)s->limits->name_bytes)
        return over_limit(s, "--limit-name-bytes", s->limits->name_bytes, "a name is too long");
    if (bytes != 0 && memchr(s->bytes + offset, 0, bytes) != NULL)
        return damaged(s, "a name has a NUL byte");
    return TM_OK;
}

/* A known field that stays in the skeleton. */
static tm_code keep_field(scanner *s, const frame *f, const ProtobufCFieldDescriptor *field, unsigned wire) {
    size_t offset, bytes;
    size_t count = 1;
    unsigned want = wire_of(field->type);
    TM_TRY(read_value(s, wire, f->end, &offset, &bytes));
    if (wire == WIRE_BYTES && want != WIRE_BYTES && field->label == PROTOBUF_C_LABEL_REPEATED)
        TM_TRY(check_packed(s, want, offset, bytes, &count));
    else if (wire != want)
        return damaged(s, tm_arena_format(s->arena, "field %s has the wrong wire type", field->name));
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        s->position = offset;
        return enter_message(s, field, offset + bytes);
    }
    if (field->type == PROTOBUF_C_TYPE_STRING)
        TM_TRY(check_string(s, offset, bytes));
    skeleton_tag(s, field->id, wire);
    if (wire == WIRE_BYTES)
        skeleton_varint(s, bytes);
    skeleton_add(s, s->bytes + offset, bytes);
    size_t content = want == WIRE_BYTES ? bytes + 2 * sizeof(void *) : 0;
    size_t items;
    if (!tm_mul_size(count, 8, &items) || !tm_add_size(items, content, &items))
        items = SIZE_MAX / 2;
    return charge(s, items + ITEM_HEAP);
}

static tm_code scan_field(scanner *s) {
    frame *f = &s->stack.items[s->stack.count - 1];
    size_t tag_position = s->position;
    uint64_t tag;
    if (!tm_read_varint(s->bytes, f->end, &s->position, &tag))
        return damaged(s, "a field's number is cut short");
    uint64_t number = tag >> 3;
    unsigned wire = (unsigned)(tag & 7);
    if (number == 0 || number >= 1u << 29)
        return damaged(s, "a field's number is out of range");
    const ProtobufCFieldDescriptor *field = NULL;
    if (number < FIELD_CHUNK_FIRST)
        field = protobuf_c_message_descriptor_get_field(f->descriptor, (unsigned)number);
    if (field == NULL) {
        size_t offset, bytes;
        return read_value(s, wire, f->end, &offset, &bytes);
    }
    if (is_payload(f, field))
        return cut_payload(s, f, field, wire, tag_position);
    return keep_field(s, f, field, wire);
}

tm_code tm_scan(tm_arena *arena, tm_diagnostics *diagnostics, const char *file,
                const ProtobufCMessageDescriptor *root, const uint8_t *bytes, size_t size,
                const tm_import_limits *limits, tm_scan_result *out_result) {
    scanner s = {.arena = arena, .diagnostics = diagnostics, .file = file, .limits = limits, .bytes = bytes};
    frame first = {.descriptor = root, .end = size};
    if (size > (size_t)limits->file_bytes)
        return over_limit(&s, "--limit-file-bytes", limits->file_bytes, "the file is too large");
    tm_push(arena, &s.stack, first);
    while (s.stack.count > 0) {
        if (s.position == s.stack.items[s.stack.count - 1].end)
            leave_message(&s);
        else
            TM_TRY(scan_field(&s));
    }
    *out_result = (tm_scan_result){s.skeleton.items, s.skeleton.count, s.chunks.items, s.chunks.count};
    return TM_OK;
}
