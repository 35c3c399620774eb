/* SPDX-License-Identifier: Apache-2.0
 *
 * NumPy's .npy format: "\x93NUMPY", a version, a Python dict as text, then the elements.
 *
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
 *
 * Types that NumPy lacks are stored as it stores them: bfloat16 and float8 as records of 2 and 1 bytes
 * (V2, V1; or as u2, u1), 4- and 2-bit integers as one int8 or uint8 each. The reader is told the
 * type that is expected, and so knows what is meant. Strings are U (UCS-4) or S (bytes).
 */
#include "tools/tool.h"

#include <stdlib.h>
#include <string.h>

typedef struct header {
    char kind;     /* b i u f c V U S */
    int64_t bytes; /* of an item; U: characters */
    bool fortran;
    int rank;
    int64_t dims[TAMIS_MAX_RANK];
    size_t data_at;
} header;

static tm_code damaged(tool *tool, const char *file, const char *what) {
    return tool_report(tool, TM_E_BAD_DATA, file, NULL, "not a valid .npy file: %s", what);
}

/* The text after "'key':", with blanks skipped; NULL when there is none. */
static const char *find_key(const char *text, const char *key) {
    const char *at = strstr(text, key);
    if (at == NULL)
        return NULL;
    at = strchr(at, ':');
    if (at == NULL)
        return NULL;
    at++;
    while (*at == ' ')
        at++;
    return at;
}

static tm_code parse_shape(tool *tool, const char *file, const char *at, header *out) {
    if (at == NULL || *at != '(')
        return damaged(tool, file, "no shape");
    at++;
    for (;;) {
        while (*at == ' ' || *at == ',')
            at++;
        if (*at == ')')
            return TM_OK;
        char *end;
        long long dim = strtoll(at, &end, 10);
        if (end == at || dim < 0 || out->rank == TAMIS_MAX_RANK)
            return damaged(tool, file, "bad shape");
        out->dims[out->rank++] = dim;
        at = *end == 'L' ? end + 1 : end;
    }
}

static tm_code parse_header(tool *tool, const char *file, const char *data, size_t bytes, header *out) {
    *out = (header){0};
    if (bytes < 12 || memcmp(data, "\x93NUMPY", 6) != 0)
        return damaged(tool, file, "no NumPy header");
    const unsigned char *u = (const unsigned char *)data;
    size_t start = u[6] >= 2 ? 12 : 10;
    size_t size = u[6] >= 2 ? (size_t)u[8] | (size_t)u[9] << 8 | (size_t)u[10] << 16 | (size_t)u[11] << 24
                            : (size_t)u[8] | (size_t)u[9] << 8;
    if (size > bytes - start)
        return damaged(tool, file, "header is cut short");
    const char *text = tm_arena_string_n(&tool->arena, data + start, size);
    const char *descr = find_key(text, "'descr'");
    const char *order = find_key(text, "'fortran_order'");
    if (descr != NULL && *descr == '[')
        return tool_report(tool, TM_E_BAD_DATA, file, "save an array for each field",
                           "the array is of records (a structured dtype)");
    if (descr == NULL || *descr != '\'' || descr[1] == 0 || order == NULL)
        return damaged(tool, file, "no descr or fortran_order");
    if (descr[1] == '>')
        return damaged(tool, file, "big-endian data");
    const char *kind = descr + (strchr("<|=", descr[1]) != NULL ? 2 : 1);
    if (*kind == 'O')
        return tool_report(tool, TM_E_BAD_DATA, file,
                           "numpy.save(FILE, array.astype(numpy.float32)), or another dtype",
                           "the array holds Python objects (dtype object), not numbers");
    out->kind = *kind == '?' ? 'b' : *kind;
    out->bytes = *kind == '?' ? 1 : strtoll(kind + 1, NULL, 10);
    out->fortran = strncmp(order, "True", 4) == 0;
    out->data_at = start + size;
    if (out->bytes < 0 || out->bytes > 1 << 24)
        return damaged(tool, file, "bad item size");
    return parse_shape(tool, file, find_key(text, "'shape'"), out);
}

static tamis_type own_type(const header *h) {
    static const struct {
        char kind;
        int bytes;
        tamis_type type;
    } types[] = {{'b', 1, TAMIS_TYPE_BOOL},      {'i', 1, TAMIS_TYPE_INT8},       {'i', 2, TAMIS_TYPE_INT16},
                 {'i', 4, TAMIS_TYPE_INT32},     {'i', 8, TAMIS_TYPE_INT64},      {'u', 1, TAMIS_TYPE_UINT8},
                 {'u', 2, TAMIS_TYPE_UINT16},    {'u', 4, TAMIS_TYPE_UINT32},     {'u', 8, TAMIS_TYPE_UINT64},
                 {'f', 2, TAMIS_TYPE_FLOAT16},   {'f', 4, TAMIS_TYPE_FLOAT},      {'f', 8, TAMIS_TYPE_DOUBLE},
                 {'c', 8, TAMIS_TYPE_COMPLEX64}, {'c', 16, TAMIS_TYPE_COMPLEX128}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].kind == h->kind && types[i].bytes == h->bytes)
            return types[i].type;
    return h->kind == 'U' || h->kind == 'S' ? TAMIS_TYPE_STRING : TAMIS_TYPE_UNDEFINED;
}

/* May a file of this header hold the type that NumPy does not have? */
static bool stands_for(const header *h, tamis_type type) {
    int bits = tm_type_bits(type);
    if (bits < 8)
        return h->bytes == 1 && (h->kind == 'i' || h->kind == 'u' || h->kind == 'V');
    bool foreign = type == TAMIS_TYPE_BFLOAT16 || (tm_type_is_float(type) && bits == 8);
    return foreign && h->bytes == bits / 8 && (h->kind == 'V' || h->kind == 'u');
}

/* Fortran order to row-major: item i of the result is read at the mirrored strides. */
static const char *to_row_major(tool *tool, const header *h, const char *data, int64_t count, size_t item) {
    char *out = tm_arena_alloc(&tool->arena, (size_t)count * item + 1);
    int64_t index[TAMIS_MAX_RANK] = {0};
    for (int64_t i = 0; i < count; i++) {
        int64_t from = 0;
        for (int d = h->rank - 1; d >= 0; d--)
            from = from * h->dims[d] + index[d];
        memcpy(out + (size_t)i * item, data + (size_t)from * item, item);
        for (int d = h->rank - 1; d >= 0 && ++index[d] == h->dims[d]; d--)
            index[d] = 0;
    }
    return out;
}

static void add_utf8(tm_text *text, uint32_t c) {
    char bytes[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3f));
    bytes[0] = (char)(n == 1 ? c : n == 2 ? 0xc0 | c : n == 3 ? 0xe0 | c : 0xf0 | c);
    tm_text_add_bytes(text, bytes, n);
}

static const void *to_strings(tool *tool, const header *h, const char *data, int64_t count) {
    tamis_string *strings = TM_NEW_ARRAY(&tool->arena, tamis_string, count > 0 ? count : 1);
    for (int64_t i = 0; i < count; i++) {
        tm_text text;
        tm_text_init(&text, &tool->arena);
        for (int64_t k = 0; k < h->bytes; k++) {
            uint32_t c;
            if (h->kind == 'U')
                memcpy(&c, data + (i * h->bytes + k) * 4, 4);
            else
                c = (unsigned char)data[i * h->bytes + k];
            if (c == 0)
                break;
            if (h->kind == 'U')
                add_utf8(&text, c);
            else
                tm_text_add_bytes(&text, data + i * h->bytes + k, 1);
        }
        strings[i] = (tamis_string){tm_text_get(&text), (int64_t)text.size};
    }
    return strings;
}

static const void *pack_bits(tool *tool, const char *data, int64_t count, int bits) {
    uint8_t *out = tm_arena_alloc(&tool->arena, (size_t)count + 1);
    int each = 8 / bits;
    for (int64_t i = 0; i < count; i++)
        out[i / each] |= (uint8_t)(((unsigned)data[i] & ((1u << bits) - 1)) << (i % each * bits));
    return out;
}

size_t tool_npy_header_bytes(const char *data, size_t bytes) {
    const unsigned char *u = (const unsigned char *)data;
    if (bytes < 12 || memcmp(data, "\x93NUMPY", 6) != 0)
        return 0;
    return u[6] >= 2 ? 12 + ((size_t)u[8] | (size_t)u[9] << 8 | (size_t)u[10] << 16 | (size_t)u[11] << 24)
                     : 10 + ((size_t)u[8] | (size_t)u[9] << 8);
}

tm_code tool_npy_header(tool *tool, const char *file, const char *data, size_t bytes, tool_npy *out) {
    header h;
    TM_TRY(parse_header(tool, file, data, bytes, &h));
    *out =
        (tool_npy){.type = own_type(&h), .rank = h.rank, .fortran = h.fortran && h.rank > 1, .item = h.bytes};
    memcpy(out->dims, h.dims, sizeof h.dims);
    return TM_OK;
}

tm_code tool_npy_parse(tool *tool, const char *file, tamis_type type, const char *data, size_t bytes,
                       const tm_constant **out) {
    header h;
    TM_TRY(parse_header(tool, file, data, bytes, &h));
    tamis_type own = own_type(&h);
    if (type != TAMIS_TYPE_UNDEFINED && own != type && !stands_for(&h, type)) {
        tm_place place = {.file = file, .node_index = -1};
        return tm_report_mismatch(&tool->diagnostics, TM_E_BAD_DATA, &place, NULL, tm_type_text(type),
                                  own != TAMIS_TYPE_UNDEFINED ? tm_type_text(own) : "another type",
                                  "wrong element type");
    }
    if (type == TAMIS_TYPE_UNDEFINED)
        type = own;
    if (type == TAMIS_TYPE_UNDEFINED)
        return damaged(tool, file, "an element type that ONNX does not have");
    int64_t count = 1, total;
    for (int i = 0; i < h.rank; i++)
        if (!tm_mul_i64(count, h.dims[i], &count))
            return damaged(tool, file, "shape is too large");
    size_t item = (size_t)h.bytes * (h.kind == 'U' ? 4 : 1);
    if (!tm_mul_i64(count, (int64_t)item, &total) || (size_t)total > bytes - h.data_at)
        return damaged(tool, file, "data are cut short");
    if (item == 0 &&
        (size_t)count > bytes) /* strings of no characters: memory must stay near the file's size */
        return damaged(tool, file, "more elements than bytes");
    const char *elements = data + h.data_at;
    if (h.fortran && h.rank > 1)
        elements = to_row_major(tool, &h, elements, count, item);
    const void *final = elements;
    if (type == TAMIS_TYPE_STRING)
        final = to_strings(tool, &h, elements, count);
    else if (tm_type_bits(type) < 8)
        final = pack_bits(tool, elements, count, tm_type_bits(type));
    else if ((uintptr_t)elements % 16 != 0)
        final = tm_arena_copy(&tool->arena, elements, (size_t)total);
    int64_t *dims = TM_NEW_ARRAY(&tool->arena, int64_t, TAMIS_MAX_RANK);
    memcpy(dims, h.dims, sizeof h.dims);
    *out = tm_constant_create(&tool->arena, type, h.rank, dims, final);
    return TM_OK;
}

/* ---- writing ---- */

static const char *descr_of(tamis_type type) {
    switch (type) {
    case TAMIS_TYPE_FLOAT:
        return "<f4";
    case TAMIS_TYPE_DOUBLE:
        return "<f8";
    case TAMIS_TYPE_FLOAT16:
        return "<f2";
    case TAMIS_TYPE_BOOL:
        return "|b1";
    case TAMIS_TYPE_INT8:
    case TAMIS_TYPE_INT4:
    case TAMIS_TYPE_INT2:
        return "|i1";
    case TAMIS_TYPE_UINT8:
    case TAMIS_TYPE_UINT4:
    case TAMIS_TYPE_UINT2:
    case TAMIS_TYPE_FLOAT4E2M1:
        return "|u1";
    case TAMIS_TYPE_INT16:
        return "<i2";
    case TAMIS_TYPE_UINT16:
        return "<u2";
    case TAMIS_TYPE_INT32:
        return "<i4";
    case TAMIS_TYPE_UINT32:
        return "<u4";
    case TAMIS_TYPE_INT64:
        return "<i8";
    case TAMIS_TYPE_UINT64:
        return "<u8";
    case TAMIS_TYPE_COMPLEX64:
        return "<c8";
    case TAMIS_TYPE_COMPLEX128:
        return "<c16";
    case TAMIS_TYPE_BFLOAT16:
        return "<V2";
    default:
        return "|V1";
    }
}

/* Decodes one UTF-8 character; bytes that are none are taken as they are. */
static uint32_t next_character(const char **at, const char *end) {
    const unsigned char *u = (const unsigned char *)*at;
    int more = u[0] >= 0xf0 ? 3 : u[0] >= 0xe0 ? 2 : u[0] >= 0xc0 ? 1 : 0;
    if (end - *at <= more)
        more = 0;
    uint32_t c = more == 3 ? u[0] & 7u : more == 2 ? u[0] & 15u : more == 1 ? u[0] & 31u : u[0];
    for (int i = 1; i <= more; i++)
        c = c << 6 | (u[i] & 0x3fu);
    *at += more + 1;
    return c;
}

static int64_t widest(const tamis_string *strings, int64_t count) {
    int64_t width = 1;
    for (int64_t i = 0; i < count; i++) {
        int64_t characters = 0;
        for (const char *at = strings[i].data, *end = at + strings[i].size; at < end; characters++)
            next_character(&at, end);
        width = characters > width ? characters : width;
    }
    return width;
}

static void print_strings(const tamis_string *strings, int64_t count, int64_t width, tm_text *out) {
    for (int64_t i = 0; i < count; i++) {
        const char *at = strings[i].data, *end = at + strings[i].size;
        for (int64_t k = 0; k < width; k++) {
            uint32_t c = at < end ? next_character(&at, end) : 0;
            tm_text_add_bytes(out, &c, 4);
        }
    }
}

static void print_unpacked(const tm_constant *constant, int64_t count, tm_text *out) {
    int bits = tm_type_bits(constant->type), each = 8 / bits;
    for (int64_t i = 0; i < count; i++) {
        unsigned value =
            ((const uint8_t *)constant->data)[i / each] >> (i % each * bits) & ((1u << bits) - 1);
        if (tm_type_is_signed(constant->type) && tm_type_is_integer(constant->type) && value >> (bits - 1))
            value |= ~0u << bits;
        char byte = (char)value;
        tm_text_add_bytes(out, &byte, 1);
    }
}

void tool_npy_print(tool *tool, const tm_constant *constant, tm_text *out) {
    int64_t count = tm_constant_count(constant);
    int64_t width = constant->type == TAMIS_TYPE_STRING ? widest(constant->data, count) : 0;
    tm_text dict;
    tm_text_init(&dict, &tool->arena);
    if (constant->type == TAMIS_TYPE_STRING)
        tm_text_add(&dict, "{'descr': '<U%lld', 'fortran_order': False, 'shape': (", (long long)width);
    else
        tm_text_add(&dict, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr_of(constant->type));
    for (int i = 0; i < constant->rank; i++)
        tm_text_add(&dict, i + 1 < constant->rank ? "%lld, " : "%lld", (long long)constant->dims[i]);
    tm_text_add(&dict, constant->rank == 1 ? ",), }" : "), }");
    while ((10 + dict.size + 1) % 64 != 0)
        tm_text_add(&dict, " ");
    tm_text_add(&dict, "\n");
    const unsigned char start[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)dict.size, (unsigned char)(dict.size >> 8)};
    tm_text_add_bytes(out, start, sizeof start);
    tm_text_add_bytes(out, dict.data, dict.size);
    if (constant->type == TAMIS_TYPE_STRING)
        print_strings(constant->data, count, width, out);
    else if (tm_type_bits(constant->type) < 8)
        print_unpacked(constant, count, out);
    else
        tm_text_add_bytes(out, constant->data, (size_t)count * (size_t)tm_type_bits(constant->type) / 8);
}
