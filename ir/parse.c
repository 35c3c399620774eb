/* SPDX-License-Identifier: Apache-2.0
 *
 * parse.c: the text form of a model back into a model (grammar in docs/ir.md).
 *
 * Recursive descent over one token of look-ahead; only graphs in graphs recurse, with a limit. Names are
 * unique in the whole text, so one map finds every value, and whether it is in scope follows from the
 * graph that defines it:
 *
 *     %y: f32[] = If(%c) {then_branch = g() {      ; inside, %x of main is in scope,
 *       return %x                                  ; %y is not: it is defined when the node ends
 *     }, ...}
 *
 * Symbols that values bind are declared in the header, before those values: they wait in a list until
 * the text is read. Everything wrong is filed as E_TEXT with line, column, and what was expected there;
 * no input may crash the parser. Rules beyond the syntax (arity, types) are left to inference and the
 * verifier.
 */
#include "ir/dim_internal.h"
#include "ir/slot.h"
#include "ir/text_internal.h"

#include <string.h>

/* ---- values ---- */

typedef struct parsed_output {
    const char *name; /* NULL: omitted */
    int64_t line, column;
    bool typed;
    tm_parsed_type type;
} parsed_output;

static void set_type(tm_value *value, const tm_parsed_type *type) {
    if (type->rank >= 0)
        tm_value_set_tensor(value, type->type, type->rank, type->dims);
    value->kind = type->kind;
    value->item = type->item;
    value->type = type->type;
    value->key = type->key;
    value->rank = type->rank;
}

static tm_code check_new(tm_parser *p, const char *name, int64_t line, int64_t column) {
    if (tm_map_has(&p->values, name))
        return tm_parse_error(p, line, column, "value '%s' is defined twice", name);
    return TM_OK;
}

static tm_code parse_definition(tm_parser *p, parsed_output *out) {
    *out = (parsed_output){.line = p->token.line, .column = p->token.column};
    if (tm_parse_is_name(p, "_")) {
        tm_lexer_next(p);
        return TM_OK;
    }
    if (p->token.kind != TM_TOKEN_VALUE)
        return tm_parse_fail(p, "a value: %name");
    out->name = p->token.text;
    tm_lexer_next(p);
    out->typed = tm_parse_accept(p, ":");
    return out->typed ? tm_parse_type(p, &out->type) : TM_OK;
}

static tm_code parse_reference(tm_parser *p, const tm_graph *graph, bool omittable, tm_value **out) {
    *out = NULL;
    if (omittable && tm_parse_is_name(p, "_")) {
        tm_lexer_next(p);
        return TM_OK;
    }
    if (p->token.kind != TM_TOKEN_VALUE)
        return tm_parse_fail(p, omittable ? "a value: %name, or _" : "a value: %name");
    tm_value *value = tm_map_get(&p->values, p->token.text);
    if (value == NULL)
        return tm_parse_error(p, p->token.line, p->token.column, "value '%s' is not defined before",
                              p->token.text);
    if (!tm_graph_contains(value->graph, graph))
        return tm_parse_error(p, p->token.line, p->token.column, "value '%s' is not in scope", p->token.text);
    *out = value;
    tm_lexer_next(p);
    return TM_OK;
}

/* ---- nodes ---- */

static tm_code parse_op(tm_parser *p, tm_op *out) {
    if (p->token.kind != TM_TOKEN_NAME)
        return tm_parse_fail(p, "an operator");
    const char *name = p->token.text, *dot = strrchr(name, '.');
    *out = TM_OP_INVALID;
    for (int domain = TM_DOMAIN_ONNX; domain <= TM_DOMAIN_TAMIS; domain++) {
        const char *prefix = tm_domain_name((tm_domain)domain);
        size_t bytes = dot == NULL ? 0 : (size_t)(dot - name);
        if (strlen(prefix) == bytes && memcmp(prefix, name, bytes) == 0)
            *out = tm_op_find((tm_domain)domain, dot == NULL ? name : dot + 1);
    }
    if (*out == TM_OP_INVALID)
        return tm_parse_error(p, p->token.line, p->token.column, "unknown operator '%s'", name);
    tm_lexer_next(p);
    return TM_OK;
}

static tm_code parse_inputs(tm_parser *p, tm_graph *graph, tm_op op, tm_node **out_node) {
    TM_VECTOR(tm_value *) inputs = {0};
    TM_TRY(tm_parse_expect(p, "("));
    while (!tm_parse_is(p, ")")) {
        tm_value *value = NULL;
        if (inputs.count > 0)
            TM_TRY(tm_parse_expect(p, ","));
        TM_TRY(parse_reference(p, graph, true, &value));
        tm_push(p->arena, &inputs, value);
    }
    tm_lexer_next(p);
    *out_node = tm_node_create(graph, NULL, op, NULL, (int)inputs.count, inputs.items);
    return TM_OK;
}

/* The optional ends of a node: "name" @index in "path". */
static tm_code parse_origin(tm_parser *p, tm_node *node) {
    if (p->token.kind == TM_TOKEN_STRING)
        TM_TRY(tm_parse_string(p, &node->name, NULL));
    if (tm_parse_accept(p, "@")) {
        TM_TRY(tm_parse_int(p, &node->file_index));
        if (node->file_index < 0)
            return tm_parse_fail(p, "an index that is not negative before");
    }
    if (tm_parse_is_name(p, "in")) {
        tm_lexer_next(p);
        TM_TRY(tm_parse_string(p, &node->file_path, NULL));
    }
    return TM_OK;
}

static tm_code parse_node(tm_parser *p, tm_graph *graph) {
    TM_VECTOR(parsed_output) outputs = {0};
    bool assigns = p->token.kind == TM_TOKEN_VALUE || tm_parse_is_name(p, "_");
    while (assigns) {
        parsed_output output;
        TM_TRY(parse_definition(p, &output));
        tm_push(p->arena, &outputs, output);
        if (!tm_parse_accept(p, ","))
            break;
    }
    if (assigns)
        TM_TRY(tm_parse_expect(p, "="));
    tm_op op = TM_OP_INVALID;
    tm_node *node = NULL;
    TM_TRY(parse_op(p, &op));
    TM_TRY(parse_inputs(p, graph, op, &node));
    TM_TRY(tm_parse_attributes(p, node));
    TM_TRY(parse_origin(p, node));
    for (size_t i = 0; i < outputs.count; i++) {
        const parsed_output *output = &outputs.items[i];
        if (output->name == NULL) {
            tm_node_add_omitted_output(node);
            continue;
        }
        TM_TRY(check_new(p, output->name, output->line, output->column));
        tm_value *value = tm_node_add_output(node, output->name);
        if (output->typed)
            set_type(value, &output->type);
        value->declared_rank = value->rank;
        tm_map_set(&p->values, value->name, value);
    }
    return TM_OK;
}

/* "of %w", "of %w turned": the elements are those of a slot, or of its transpose. */
static tm_code parse_slot_of(tm_parser *p, const tm_weight_slot **out_slot, bool *out_turned) {
    *out_slot = NULL;
    *out_turned = false;
    if (!tm_parse_is_name(p, "of"))
        return TM_OK;
    tm_lexer_next(p);
    const tm_value *value = p->token.kind == TM_TOKEN_VALUE ? tm_map_get(&p->values, p->token.text) : NULL;
    if (value == NULL || value->slot == NULL)
        return tm_parse_fail(p, "a slot: %name");
    *out_slot = value->slot;
    tm_lexer_next(p);
    *out_turned = tm_parse_is_name(p, "turned");
    if (*out_turned)
        tm_lexer_next(p);
    return TM_OK;
}

/* A constant or a slot, of the main graph. */
static tm_code parse_const(tm_parser *p, tm_graph *graph, bool is_slot) {
    const tm_constant *constant = NULL;
    const tm_weight_slot *slot = NULL;
    bool turned = false;
    tm_lexer_next(p);
    if (p->token.kind != TM_TOKEN_VALUE)
        return tm_parse_fail(p, "a value: %name");
    const char *name = p->token.text;
    TM_TRY(check_new(p, name, p->token.line, p->token.column));
    tm_lexer_next(p);
    TM_TRY(tm_parse_expect(p, ":"));
    TM_TRY(tm_parse_constant(p, &constant));
    if (!is_slot)
        TM_TRY(parse_slot_of(p, &slot, &turned));
    if (slot != NULL && (constant->type != slot->initial->type ||
                         tm_constant_count(constant) != tm_constant_count(slot->initial)))
        return tm_parse_fail(p, "a slot of that type and number of elements");
    if (slot != NULL)
        constant = tm_slot_layout(p->arena, slot, constant, turned);
    tm_value *value = tm_value_create_constant(graph, name, constant);
    tm_map_set(&p->values, value->name, value);
    if (is_slot)
        tm_slot_create(p->model, value);
    return TM_OK;
}

/* ---- graphs ---- */

static void bind_input_symbols(const tm_graph *graph, tm_value *value) {
    for (int i = 0; graph->outer == NULL && i < value->rank; i++) {
        tm_symbol *symbol = value->dims[i] != NULL ? value->dims[i]->symbol : NULL;
        if (symbol != NULL && symbol->origin == TM_SYMBOL_INPUT && symbol->value == NULL) {
            symbol->value = value;
            symbol->index = i;
        }
    }
}

static tm_code parse_graph_inputs(tm_parser *p, tm_graph *graph) {
    TM_TRY(tm_parse_expect(p, "("));
    while (!tm_parse_is(p, ")")) {
        parsed_output input;
        if (graph->inputs.count > 0)
            TM_TRY(tm_parse_expect(p, ","));
        if (p->token.kind != TM_TOKEN_VALUE)
            return tm_parse_fail(p, "an input: %name, or ')'");
        TM_TRY(parse_definition(p, &input));
        TM_TRY(check_new(p, input.name, input.line, input.column));
        tm_value *value = tm_value_create(graph, input.name);
        if (input.typed)
            set_type(value, &input.type);
        tm_graph_add_input(graph, value);
        tm_map_set(&p->values, value->name, value);
        bind_input_symbols(graph, value);
    }
    tm_lexer_next(p);
    return TM_OK;
}

static tm_code parse_return(tm_parser *p, tm_graph *graph) {
    tm_lexer_next(p);
    while (!tm_parse_is(p, "}")) {
        tm_value *value = NULL;
        if (graph->outputs.count > 0)
            TM_TRY(tm_parse_expect(p, ","));
        TM_TRY(parse_reference(p, graph, false, &value));
        tm_graph_add_output(graph, value);
    }
    tm_lexer_next(p);
    return TM_OK;
}

static tm_code parse_body(tm_parser *p, tm_graph *graph) {
    TM_TRY(parse_graph_inputs(p, graph));
    TM_TRY(tm_parse_expect(p, "{"));
    while (!tm_parse_is_name(p, "return")) {
        bool slot = graph->outer == NULL && tm_parse_is_name(p, "slot");
        if (slot || tm_parse_is_name(p, "const"))
            TM_TRY(parse_const(p, graph, slot));
        else if (p->token.kind == TM_TOKEN_NAME || p->token.kind == TM_TOKEN_VALUE)
            TM_TRY(parse_node(p, graph));
        else
            return tm_parse_fail(p, "a node, a constant, or return");
    }
    return parse_return(p, graph);
}

tm_code tm_parse_graph(tm_parser *p, tm_graph *outer, tm_node *owner, tm_graph **out) {
    const char *name = NULL;
    if (p->depth == TM_PARSE_DEPTH)
        return tm_parse_error(p, p->token.line, p->token.column, "graphs are nested more than %d deep",
                              TM_PARSE_DEPTH);
    TM_TRY(tm_parse_string(p, &name, NULL));
    tm_graph *graph = outer == NULL ? p->model->main : tm_graph_create(p->model, name, outer);
    graph->name = name;
    graph->owner = owner;
    p->depth++;
    TM_TRY(parse_body(p, graph));
    p->depth--;
    *out = graph;
    return TM_OK;
}

/* ---- the header ---- */

static tm_code parse_binding(tm_parser *p, const char *name, tm_symbol **out) {
    bool load = tm_parse_is_name(p, "load");
    if (!load && !tm_parse_is_name(p, "free"))
        return tm_parse_fail(p, "load or free");
    tm_lexer_next(p);
    tm_symbol *symbol =
        tm_dim_fresh(p->model->dims, name, load ? TM_SYMBOL_LOAD : TM_SYMBOL_FREE, NULL, 0)->symbol;
    *out = symbol;
    if (p->token.kind != TM_TOKEN_VALUE)
        return TM_OK;
    tm_push(p->arena, &p->pending,
            (tm_pending_symbol){symbol, p->token.text, p->token.line, p->token.column});
    tm_lexer_next(p);
    TM_TRY(tm_parse_expect(p, "["));
    TM_TRY(tm_parse_int(p, &symbol->index));
    if (symbol->index < 0 || (!load && symbol->index >= TAMIS_MAX_RANK))
        return tm_parse_fail(p, "an index in range before");
    return tm_parse_expect(p, "]");
}

static tm_code parse_symbol(tm_parser *p) {
    const char *name = NULL;
    tm_lexer_next(p);
    int64_t line = p->token.line, column = p->token.column;
    TM_TRY(tm_parse_string(p, &name, NULL));
    if (tm_dims_find_symbol(p->model->dims, name) != NULL)
        return tm_parse_error(p, line, column, "dim '%s' is declared twice", name);
    tm_symbol *symbol = NULL;
    if (tm_parse_accept(p, ":"))
        TM_TRY(parse_binding(p, name, &symbol));
    else
        symbol = tm_dim_input(p->model->dims, name)->symbol;
    if (!tm_parse_accept(p, "="))
        return TM_OK;
    int64_t low = 0, high = INT64_MAX;
    line = p->token.line;
    column = p->token.column;
    TM_TRY(tm_parse_int(p, &low));
    if (!tm_parse_accept(p, ".."))
        high = low;
    else if (p->token.kind == TM_TOKEN_NUMBER)
        TM_TRY(tm_parse_int(p, &high));
    if (low > high || (symbol->origin != TM_SYMBOL_LOAD && low < 0))
        return tm_parse_error(p, line, column, "dim '%s' has an empty or negative range", name);
    tm_symbol_set_range(symbol, low, high);
    return TM_OK;
}

static tm_code bind_pending(tm_parser *p) {
    for (size_t i = 0; i < p->pending.count; i++) {
        const tm_pending_symbol *pending = &p->pending.items[i];
        tm_value *value = tm_map_get(&p->values, pending->value);
        if (value == NULL)
            return tm_parse_error(p, pending->line, pending->column, "value '%s' is not defined",
                                  pending->value);
        pending->symbol->value = value;
        tm_push(p->arena, &value->symbols, pending->symbol);
    }
    return TM_OK;
}

tm_code tm_parse_model(tm_arena *arena, tm_diagnostics *diagnostics, const char *file, const char *text,
                       size_t bytes, tm_model **out_model) {
    tm_parser parser = {.arena = arena, .diagnostics = diagnostics, .file = file};
    tm_graph *main = NULL;
    parser.model = tm_model_create(arena, diagnostics, file);
    tm_map_init(&parser.values, arena);
    tm_lexer_start(&parser, text, bytes);
    while (tm_parse_is_name(&parser, "dim") && (parser.at == parser.end || *parser.at != '('))
        TM_TRY(parse_symbol(&parser));
    TM_TRY(tm_parse_graph(&parser, NULL, NULL, &main));
    if (parser.token.kind != TM_TOKEN_END)
        return tm_parse_fail(&parser, "the end of the text");
    TM_TRY(bind_pending(&parser));
    *out_model = parser.model;
    return TM_OK;
}
