/* SPDX-License-Identifier: Apache-2.0
 *
 * parse_constant.c: types, constants and attributes of the text form.
 *
 *     f32[batch, 2*seq + 1]     sequence i64[*]     f32[2] {0.5, inf}     u8[4] hex"00ff7f01"
 *
 * A dim in brackets is handed to the dim parser, which takes the longest expression; the lexer goes on
 * behind it. How an attribute's value is written follows from its kind in the op's row, so `1` may stand
 * for a float. The size of a constant is checked against the text that is there before memory is taken
 * for it.
 */
#include "ir/dim_internal.h"
#include "ir/text_internal.h"

#include <string.h>

/* ---- types ---- */

static tm_code parse_dim(tm_parser *p, tm_dim *out) {
    const char *error = NULL;
    size_t used = 0;
    *out = NULL;
    if (tm_parse_accept(p, "?"))
        return TM_OK;
    if (p->token.kind == TM_TOKEN_END || p->token.kind == TM_TOKEN_BAD)
        return tm_parse_fail(p, "a dim");
    const char *start = p->token.start;
    *out = tm_dim_parse_part(p->model->dims, start, (size_t)(p->end - start), &used, &error);
    if (*out == NULL)
        return tm_parse_error(p, p->token.line, p->token.column + (int64_t)used, "%s", error);
    tm_lexer_skip(p, used);
    return TM_OK;
}

static tm_code parse_dims(tm_parser *p, tm_parsed_type *out) {
    TM_TRY(tm_parse_expect(p, "["));
    out->rank = 0;
    if (tm_parse_accept(p, "*")) {
        out->rank = -1;
        return tm_parse_expect(p, "]");
    }
    while (!tm_parse_is(p, "]")) {
        if (out->rank > 0)
            TM_TRY(tm_parse_expect(p, ","));
        if (out->rank == TAMIS_MAX_RANK)
            return tm_parse_error(p, p->token.line, p->token.column, "more than %d dims", TAMIS_MAX_RANK);
        TM_TRY(parse_dim(p, &out->dims[out->rank]));
        out->rank++;
    }
    tm_lexer_next(p);
    return TM_OK;
}

/* "sequence", "optional", "map(i64)"; TENSOR where none of them stands here. */
static tm_code parse_kind(tm_parser *p, tamis_kind *out_kind, tamis_type *out_key) {
    static const struct {
        const char *name;
        tamis_kind kind;
    } kinds[] = {{"sequence", TAMIS_KIND_SEQUENCE},
                 {"optional", TAMIS_KIND_OPTIONAL},
                 {"map", TAMIS_KIND_MAP},
                 {"none", TAMIS_KIND_NONE}};
    *out_kind = TAMIS_KIND_TENSOR;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (tm_parse_is_name(p, kinds[i].name)) {
            *out_kind = kinds[i].kind;
            tm_lexer_next(p);
            break;
        }
    if (*out_kind != TAMIS_KIND_MAP)
        return TM_OK;
    TM_TRY(tm_parse_expect(p, "("));
    *out_key = p->token.kind == TM_TOKEN_NAME ? tm_type_parse(p->token.text) : TAMIS_TYPE_UNDEFINED;
    if (!tm_type_is_integer(*out_key) && *out_key != TAMIS_TYPE_STRING)
        return tm_parse_fail(p, "a type of keys: i64, string, ...");
    tm_lexer_next(p);
    return tm_parse_expect(p, ")");
}

tm_code tm_parse_type(tm_parser *p, tm_parsed_type *out) {
    *out = (tm_parsed_type){.type = TAMIS_TYPE_UNDEFINED, .key = TAMIS_TYPE_UNDEFINED};
    TM_TRY(parse_kind(p, &out->kind, &out->key));
    int64_t line = p->token.line, column = p->token.column;
    if (out->kind == TAMIS_KIND_MAP)
        out->item = TAMIS_KIND_TENSOR;
    else if (out->kind == TAMIS_KIND_SEQUENCE || out->kind == TAMIS_KIND_OPTIONAL)
        TM_TRY(parse_kind(p, &out->item, &out->key));
    if (!tm_form_exists(out->kind, out->item))
        return tm_parse_error(p, line, column, "there are no values nested like this");
    if (!tm_parse_accept(p, "?")) {
        out->type = p->token.kind == TM_TOKEN_NAME ? tm_type_parse(p->token.text) : TAMIS_TYPE_UNDEFINED;
        if (out->type == TAMIS_TYPE_UNDEFINED)
            return tm_parse_fail(p, "a type: f32, i64, ...");
        tm_lexer_next(p);
    }
    return parse_dims(p, out);
}

/* ---- constants ---- */

typedef struct constant_parser {
    tamis_type type;
    int bits;
    uint8_t *data;
} constant_parser;

static bool fits(tamis_type type, int bits, int64_t value) {
    if (type == TAMIS_TYPE_BOOL)
        return value == 0 || value == 1;
    if (!tm_type_is_signed(type))
        return value >= 0 && (bits >= 63 || value >> bits == 0);
    return bits == 64 || (value >> (bits - 1) == 0 || value >> (bits - 1) == -1);
}

static tm_code parse_integer_element(tm_parser *p, const constant_parser *c, int64_t i) {
    int64_t value = 0, line = p->token.line, column = p->token.column;
    TM_TRY(tm_parse_int(p, &value));
    if (!fits(c->type, c->bits, value))
        return tm_parse_error(p, line, column, "%lld does not fit into %s", (long long)value,
                              tm_type_text(c->type));
    if (c->bits < 8) {
        int per_byte = 8 / c->bits;
        unsigned code = (unsigned)value & ((1u << c->bits) - 1);
        c->data[i / per_byte] = (uint8_t)(c->data[i / per_byte] | code << (int)(i % per_byte) * c->bits);
    } else {
        memcpy(c->data + i * (c->bits / 8), &value, (size_t)c->bits / 8);
    }
    return TM_OK;
}

static tm_code parse_element(tm_parser *p, const constant_parser *c, int64_t i) {
    if (c->type == TAMIS_TYPE_STRING) {
        const char *text = NULL;
        size_t size = 0;
        if (p->token.kind != TM_TOKEN_STRING)
            return tm_parse_fail(p, "a string");
        TM_TRY(tm_parse_string(p, &text, &size));
        ((tamis_string *)(void *)c->data)[i] = (tamis_string){text, (int64_t)size};
        return TM_OK;
    }
    if (tm_type_is_integer(c->type) || c->type == TAMIS_TYPE_BOOL)
        return parse_integer_element(p, c, i);
    double value = 0;
    if (!tm_type_is_float(c->type) || c->bits < 8)
        return tm_parse_fail(p, "hex bytes for this type");
    TM_TRY(tm_parse_double(p, &value));
    const tm_constant *scalar = tm_constant_create_scalar(p->arena, c->type, value);
    memcpy(c->data + i * (c->bits / 8), scalar->data, (size_t)c->bits / 8);
    return TM_OK;
}

static tm_code parse_list(tm_parser *p, const constant_parser *c, int64_t count) {
    TM_TRY(tm_parse_expect(p, "{"));
    for (int64_t i = 0; i < count; i++) {
        if (i > 0)
            TM_TRY(tm_parse_expect(p, ","));
        TM_TRY(parse_element(p, c, i));
    }
    return tm_parse_expect(p, "}");
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static tm_code parse_hex(tm_parser *p, const constant_parser *c, int64_t bytes) {
    tm_lexer_next(p);
    if (p->token.kind != TM_TOKEN_STRING)
        return tm_parse_fail(p, "hex digits in quotes");
    if (c->type == TAMIS_TYPE_STRING)
        return tm_parse_fail(p, "a list of strings");
    if (p->token.text_size != 2 * (size_t)bytes)
        return tm_parse_error(p, p->token.line, p->token.column,
                              "the constant has %lld bytes, the text %zu hex digits", (long long)bytes,
                              p->token.text_size);
    for (int64_t i = 0; i < bytes; i++) {
        int high = hex_digit(p->token.text[2 * i]), low = hex_digit(p->token.text[2 * i + 1]);
        if (high < 0 || low < 0)
            return tm_parse_error(p, p->token.line, p->token.column, "invalid hex digit");
        c->data[i] = (uint8_t)(high * 16 + low);
    }
    tm_lexer_next(p);
    return TM_OK;
}

static tm_code parse_data(tm_parser *p, const tm_parsed_type *type, const tm_constant **out) {
    int64_t dims[TAMIS_MAX_RANK] = {0}, count = 1, bytes = 0;
    int64_t line = p->token.line, column = p->token.column;
    bool valid = type->kind == TAMIS_KIND_TENSOR && type->type != TAMIS_TYPE_UNDEFINED && type->rank >= 0;
    for (int i = 0; valid && i < type->rank; i++) {
        valid = type->dims[i] != NULL && tm_dim_is_constant(type->dims[i]) && type->dims[i]->constant >= 0;
        dims[i] = valid ? type->dims[i]->constant : 0;
        valid = valid && tm_mul_i64(count, dims[i], &count);
    }
    if (!valid || !tm_type_size(type->type, count, &bytes))
        return tm_parse_error(p, line, column, "a constant needs a tensor type with constant dims");
    if (tm_parse_is(p, "..."))
        return tm_parse_error(p, line, column, "the data were left out when this text was printed");
    if (count > p->end - p->token.start)
        return tm_parse_error(p, line, column, "the text has fewer elements than the constant");
    constant_parser c = {type->type, tm_type_bits(type->type), tm_arena_alloc(p->arena, (size_t)bytes)};
    if (tm_parse_is_name(p, "hex"))
        TM_TRY(parse_hex(p, &c, bytes));
    else
        TM_TRY(parse_list(p, &c, count));
    *out = tm_constant_create(p->arena, type->type, type->rank, dims, c.data);
    return TM_OK;
}

tm_code tm_parse_constant(tm_parser *p, const tm_constant **out) {
    tm_parsed_type type;
    TM_TRY(tm_parse_type(p, &type));
    (void)tm_parse_accept(p, "=");
    return parse_data(p, &type, out);
}

/* ---- attributes ---- */

static tm_code parse_attribute_list(tm_parser *p, tm_attribute_kind kind, tm_attribute *out) {
    TM_VECTOR(int64_t) ints = {0};
    TM_VECTOR(double) floats = {0};
    TM_VECTOR(const char *) strings = {0};
    TM_TRY(tm_parse_expect(p, "["));
    for (; !tm_parse_is(p, "]"); out->count++) {
        int64_t i = 0;
        double f = 0;
        const char *s = NULL;
        if (out->count > 0)
            TM_TRY(tm_parse_expect(p, ","));
        if (kind == TM_ATTRIBUTE_INTS) {
            TM_TRY(tm_parse_int(p, &i));
            tm_push(p->arena, &ints, i);
        } else if (kind == TM_ATTRIBUTE_FLOATS) {
            TM_TRY(tm_parse_double(p, &f));
            tm_push(p->arena, &floats, f);
        } else {
            TM_TRY(tm_parse_string(p, &s, NULL));
            tm_push(p->arena, &strings, s);
        }
    }
    out->ints = ints.items;
    out->floats = floats.items;
    out->strings = strings.items;
    tm_lexer_next(p);
    return TM_OK;
}

static tm_code parse_attribute_value(tm_parser *p, tm_node *node, tm_attribute_kind kind, tm_attribute *out) {
    size_t size = 0;
    switch (kind) {
    case TM_ATTRIBUTE_INT:
        return tm_parse_int(p, &out->i);
    case TM_ATTRIBUTE_FLOAT:
        return tm_parse_double(p, &out->f);
    case TM_ATTRIBUTE_STRING:
        TM_TRY(tm_parse_string(p, &out->s, &size));
        out->s_size = (int64_t)size;
        return TM_OK;
    case TM_ATTRIBUTE_INTS:
    case TM_ATTRIBUTE_FLOATS:
    case TM_ATTRIBUTE_STRINGS:
        return parse_attribute_list(p, kind, out);
    case TM_ATTRIBUTE_TENSOR:
        return tm_parse_constant(p, &out->tensor);
    case TM_ATTRIBUTE_GRAPH:
        return tm_parse_graph(p, node->graph, node, &out->graph);
    }
    return tm_parse_fail(p, "an attribute");
}

tm_code tm_parse_attributes(tm_parser *p, tm_node *node) {
    const tm_op_info *info = tm_op_get(node->op);
    if (!tm_parse_accept(p, "{"))
        return TM_OK;
    for (bool first = true; !tm_parse_is(p, "}"); first = false) {
        if (!first)
            TM_TRY(tm_parse_expect(p, ","));
        if (p->token.kind != TM_TOKEN_NAME)
            return tm_parse_fail(p, "an attribute's name, or '}'");
        int index = tm_op_attribute_index(node->op, p->token.text);
        if (index < 0)
            return tm_parse_error(p, p->token.line, p->token.column, "%s has no attribute '%s'", info->name,
                                  p->token.text);
        if (node->attributes[index].present)
            return tm_parse_error(p, p->token.line, p->token.column, "attribute '%s' is given twice",
                                  p->token.text);
        tm_lexer_next(p);
        TM_TRY(tm_parse_expect(p, "="));
        tm_attribute attribute = {.present = true};
        TM_TRY(parse_attribute_value(p, node, info->attributes[index].kind, &attribute));
        node->attributes[index] = attribute;
    }
    tm_lexer_next(p);
    return TM_OK;
}
