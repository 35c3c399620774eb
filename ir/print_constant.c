/* SPDX-License-Identifier: Apache-2.0
 *
 * print_constant.c: types, constants, attributes and numbers in the text form.
 *
 * A small constant is a readable list when reading the list gives the same bytes, else it is hex:
 *
 *     const %axes: i64[2] = {0, -1}
 *     const %eps: f32[] = {1e-05}
 *     const %w: f32[300] = hex"0000803f..."
 *     const %odd: f32[1] = hex"0100c07f"          a NaN with a payload
 *
 * Numbers print in the shortest decimal form that reads back as the same value, so that texts stay
 * easy to write by hand and to compare.
 */
#include "ir/dim_internal.h"
#include "ir/text_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

/* The host program may have set a locale with another decimal point. */
static void use_point(char *text) {
    for (; *text != 0; text++)
        if (*text == ',')
            *text = '.';
}

void tm_print_double(double value, bool single, tm_text *out) {
    char digits[64];
    uint64_t bits, quiet;
    double plain = (double)NAN;
    memcpy(&bits, &value, sizeof bits);
    memcpy(&quiet, &plain, sizeof quiet);
    if (isnan(value)) {
        if (bits == quiet)
            tm_text_add(out, "nan");
        else
            tm_text_add(out, "nan(%llu)", (unsigned long long)bits);
        return;
    }
    if (isinf(value)) {
        tm_text_add(out, "%s", value < 0 ? "-inf" : "inf");
        return;
    }
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        double again = strtod(digits, NULL);
        if (again == value || (single && (float)again == (float)value))
            break;
    }
    use_point(digits);
    tm_text_add(out, "%s", digits);
}

/* ---- types ---- */

static void print_dims(const tm_value *value, tm_text *out) {
    tm_text_add(out, "[");
    if (value->rank < 0)
        tm_text_add(out, "*");
    for (int i = 0; i < value->rank; i++) {
        tm_text_add(out, "%s", i > 0 ? ", " : "");
        if (value->dims[i] == NULL)
            tm_text_add(out, "?");
        else
            tm_dim_print(value->dims[i], out);
    }
    tm_text_add(out, "]");
}

static void print_kind(tamis_kind kind, tamis_type key, tm_text *out) {
    static const char *const kinds[] = {[TAMIS_KIND_NONE] = "none ",
                                        [TAMIS_KIND_TENSOR] = "",
                                        [TAMIS_KIND_SEQUENCE] = "sequence ",
                                        [TAMIS_KIND_OPTIONAL] = "optional "};
    if (kind == TAMIS_KIND_MAP)
        tm_text_add(out, "map(%s) ", tm_type_text(key));
    else
        tm_text_add(out, "%s", kinds[kind]);
}

static void print_form(const tm_value *value, tm_text *out) {
    print_kind(value->kind, value->key, out);
    if (value->item != TAMIS_KIND_NONE)
        print_kind(value->item, value->key, out);
    tm_text_add(out, "%s", tm_type_text(value->type));
}

const char *tm_value_form_text(tm_arena *arena, const tm_value *value) {
    tm_text text;
    tm_text_init(&text, arena);
    print_form(value, &text);
    return tm_text_get(&text);
}

void tm_print_type(const tm_value *value, tm_text *out) {
    print_form(value, out);
    print_dims(value, out);
}

void tm_print_constant_type(const tm_constant *constant, tm_text *out) {
    tm_text_add(out, "%s[", tm_type_text(constant->type));
    for (int i = 0; i < constant->rank; i++)
        tm_text_add(out, "%s%lld", i > 0 ? ", " : "", (long long)constant->dims[i]);
    tm_text_add(out, "]");
}

/* ---- constants ---- */

static bool lists_as_int(const tm_constant *constant) {
    const uint8_t *bytes = constant->data;
    if (constant->type == TAMIS_TYPE_BOOL) {
        for (int64_t i = 0; i < constant->bytes; i++)
            if (bytes[i] > 1)
                return false;
        return true;
    }
    if (tm_type_bits(constant->type) < 8 &&
        tm_constant_count(constant) * tm_type_bits(constant->type) % 8 != 0)
        return false; /* unused bits of the last byte could be set */
    return tm_type_is_integer(constant->type) && constant->type != TAMIS_TYPE_UINT64;
}

static bool lists_as_float(tm_arena *arena, const tm_constant *constant) {
    int64_t count = tm_constant_count(constant), bytes = tm_type_bits(constant->type) / 8;
    if (!tm_type_is_float(constant->type) || bytes < 1)
        return false;
    const tm_constant *quiet = tm_constant_create_scalar(arena, constant->type, (double)NAN);
    for (int64_t i = 0; i < count; i++) {
        double value;
        if (!tm_constant_double(constant, i, &value))
            return false;
        if (isnan(value) && memcmp((const char *)constant->data + i * bytes, quiet->data, (size_t)bytes) != 0)
            return false;
    }
    return true;
}

static void print_element(const tm_constant *constant, int64_t i, bool integer, tm_text *out) {
    if (constant->type == TAMIS_TYPE_STRING) {
        const tamis_string *string = (const tamis_string *)constant->data + i;
        tm_text_add(out, "\"");
        tm_text_add_escaped(out, string->data, (size_t)string->size);
        tm_text_add(out, "\"");
        return;
    }
    int64_t whole = 0;
    double real = 0;
    if (integer && tm_constant_int(constant, i, &whole)) {
        tm_text_add(out, "%lld", (long long)whole);
    } else if (tm_constant_double(constant, i, &real)) {
        if (isnan(real))
            tm_text_add(out, "nan");
        else
            tm_print_double(real, constant->type == TAMIS_TYPE_FLOAT, out);
    }
}

static void print_hex(const tm_constant *constant, tm_text *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = constant->data;
    char chunk[512];
    size_t used = 0;
    tm_text_add(out, "hex\"");
    for (int64_t i = 0; i < constant->bytes; i++) {
        chunk[used++] = digits[bytes[i] >> 4];
        chunk[used++] = digits[bytes[i] & 15];
        if (used == sizeof chunk || i + 1 == constant->bytes) {
            tm_text_add_bytes(out, chunk, used);
            used = 0;
        }
    }
    tm_text_add(out, "\"");
}

void tm_print_data(const tm_constant *constant, unsigned flags, tm_text *out) {
    int64_t count = tm_constant_count(constant);
    if ((flags & TM_PRINT_ELIDE) != 0 && count > TM_PRINT_ELIDED_ABOVE) {
        tm_text_add(out, "...");
        return;
    }
    bool string = constant->type == TAMIS_TYPE_STRING;
    bool integer = !string && count <= TM_PRINT_LISTED && lists_as_int(constant);
    if (!string && !integer && (count > TM_PRINT_LISTED || !lists_as_float(out->arena, constant))) {
        print_hex(constant, out);
        return;
    }
    tm_text_add(out, "{");
    for (int64_t i = 0; i < count; i++) {
        tm_text_add(out, "%s", i > 0 ? ", " : "");
        print_element(constant, i, integer, out);
    }
    tm_text_add(out, "}");
}

/* ---- attributes ---- */

static void print_string(const char *text, size_t bytes, tm_text *out) {
    tm_text_add(out, "\"");
    tm_text_add_escaped(out, text, bytes);
    tm_text_add(out, "\"");
}

static void print_list(const tm_attribute *attribute, tm_attribute_kind kind, tm_text *out) {
    tm_text_add(out, "[");
    for (int64_t i = 0; i < attribute->count; i++) {
        tm_text_add(out, "%s", i > 0 ? ", " : "");
        if (kind == TM_ATTRIBUTE_INTS)
            tm_text_add(out, "%lld", (long long)attribute->ints[i]);
        else if (kind == TM_ATTRIBUTE_FLOATS)
            tm_print_double(attribute->floats[i], false, out);
        else
            print_string(attribute->strings[i], strlen(attribute->strings[i]), out);
    }
    tm_text_add(out, "]");
}

static void print_attribute(const tm_attribute *attribute, tm_attribute_kind kind, unsigned flags, int indent,
                            tm_text *out) {
    switch (kind) {
    case TM_ATTRIBUTE_INT:
        tm_text_add(out, "%lld", (long long)attribute->i);
        break;
    case TM_ATTRIBUTE_FLOAT:
        tm_print_double(attribute->f, false, out);
        break;
    case TM_ATTRIBUTE_STRING:
        print_string(attribute->s, (size_t)attribute->s_size, out);
        break;
    case TM_ATTRIBUTE_INTS:
    case TM_ATTRIBUTE_FLOATS:
    case TM_ATTRIBUTE_STRINGS:
        print_list(attribute, kind, out);
        break;
    case TM_ATTRIBUTE_TENSOR:
        tm_print_constant_type(attribute->tensor, out);
        tm_text_add(out, " ");
        tm_print_data(attribute->tensor, flags, out);
        break;
    case TM_ATTRIBUTE_GRAPH:
        tm_print_graph(attribute->graph, flags, indent, out);
        break;
    }
}

void tm_print_attributes(const tm_node *node, unsigned flags, int indent, tm_text *out) {
    const tm_op_info *info = tm_op_get(node->op);
    bool block = tm_node_subgraph_count(node) > 0, any = false;
    for (int i = 0; i < info->attribute_count; i++) {
        if (!node->attributes[i].present)
            continue;
        tm_text_add(out, any ? "," : " {");
        any = true;
        if (block) {
            tm_text_add(out, "\n");
            tm_print_indent(indent + 1, out);
        } else if (out->data[out->size - 1] == ',') {
            tm_text_add(out, " ");
        }
        tm_text_add(out, "%s = ", info->attributes[i].name);
        print_attribute(&node->attributes[i], info->attributes[i].kind, flags, indent + 1, out);
    }
    if (any && block) {
        tm_text_add(out, "\n");
        tm_print_indent(indent, out);
    }
    if (any)
        tm_text_add(out, "}");
}
