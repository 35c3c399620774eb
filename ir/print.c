/* SPDX-License-Identifier: Apache-2.0
 *
 * print.c: the text form of models, graphs and nodes (grammar in docs/ir.md).
 *
 *     dim batch = 1..512
 *     dim found : free %nz[1]
 *
 *     main(%x: f32[batch, 4]) {
 *       const %c: f32[4] = {1, 2, 3, 4}
 *       %sum: f32[batch, 4] = Add(%x, %c) "layer/Add"
 *       return %sum
 *     }
 *
 * The header lists the symbols that the text speaks of and that a reader could not make from it: those with
 * a range of their own, and those that a value binds. So the graph is printed first and the
 * symbols it mentions are collected on the way. Constants stand at the head of the graph that defines
 * them, in the order of their ids; unused ones mean nothing and are left out. Slots stand before them.
 */
#include "ir/dim_internal.h"
#include "ir/text_internal.h"

#include <string.h>

void tm_print_indent(int indent, tm_text *out) {
    for (int i = 0; i < indent; i++)
        tm_text_add(out, "  ");
}

static bool is_bare_name(const char *name) {
    const char *c = name;
    for (; *c != 0; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '_';
        bool other = (*c >= '0' && *c <= '9') || *c == '.';
        if (!letter && (!other || c == name))
            return false;
    }
    return c != name;
}

void tm_print_name(const char *name, tm_text *out) {
    if (is_bare_name(name)) {
        tm_text_add(out, "%s", name);
        return;
    }
    tm_text_add(out, "\"");
    tm_text_add_escaped(out, name, strlen(name));
    tm_text_add(out, "\"");
}

/* After the percent sign a name may also start with a digit and hold slashes and hyphens. */
static void print_reference(const tm_value *value, tm_text *out) {
    if (value == NULL) {
        tm_text_add(out, "_");
        return;
    }
    const char *c = value->name;
    while ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_' ||
           *c == '.' || *c == '/' || *c == '-')
        c++;
    if (*c == 0 && c != value->name) {
        tm_text_add(out, "%%%s", value->name);
        return;
    }
    tm_text_add(out, "%%\"");
    tm_text_add_escaped(out, value->name, strlen(value->name));
    tm_text_add(out, "\"");
}

static void print_typed(const tm_value *value, tm_text *out) {
    print_reference(value, out);
    if (value == NULL ||
        (value->kind == TAMIS_KIND_TENSOR && value->type == TAMIS_TYPE_UNDEFINED && value->rank < 0))
        return;
    tm_text_add(out, ": ");
    tm_print_type(value, out);
}

static void print_node(const tm_node *node, unsigned flags, int indent, tm_text *out) {
    const tm_op_info *info = tm_op_get(node->op);
    const char *domain = tm_domain_name(info->domain);
    for (int i = 0; i < node->output_count; i++) {
        tm_text_add(out, "%s", i > 0 ? ", " : "");
        print_typed(node->outputs[i], out);
    }
    tm_text_add(out, "%s%s%s%s(", node->output_count > 0 ? " = " : "", domain, domain[0] != 0 ? "." : "",
                info->name);
    for (int i = 0; i < node->input_count; i++) {
        tm_text_add(out, "%s", i > 0 ? ", " : "");
        print_reference(node->inputs[i], out);
    }
    tm_text_add(out, ")");
    tm_print_attributes(node, flags, indent, out);
    if (node->name != NULL && node->name[0] != 0) {
        tm_text_add(out, " \"");
        tm_text_add_escaped(out, node->name, strlen(node->name));
        tm_text_add(out, "\"");
    }
    if (node->file_index >= 0)
        tm_text_add(out, " @%lld", (long long)node->file_index);
    if (node->file_path != NULL) {
        tm_text_add(out, " in \"");
        tm_text_add_escaped(out, node->file_path, strlen(node->file_path));
        tm_text_add(out, "\"");
    }
}

void tm_print_node(const tm_node *node, unsigned flags, tm_text *out) {
    print_node(node, flags, 0, out);
}

/* "const %c: f32[4, 3] = {...} of %w turned" */
static void print_constant(const char *word, const tm_value *value, const tm_constant *constant,
                           unsigned flags, int indent, tm_text *out) {
    tm_print_indent(indent, out);
    tm_text_add(out, "%s ", word);
    print_reference(value, out);
    tm_text_add(out, ": ");
    tm_print_constant_type(constant, out);
    tm_text_add(out, " = ");
    tm_print_data(constant, flags, out);
    if (constant->slot != NULL) {
        tm_text_add(out, " of ");
        print_reference(constant->slot->value, out);
        tm_text_add(out, "%s", constant->slot_turned ? " turned" : "");
    }
    tm_text_add(out, "\n");
}

static void print_constants(const tm_graph *graph, unsigned flags, int indent, tm_text *out) {
    const tm_model *model = graph->model;
    for (size_t i = 0; graph->outer == NULL && i < model->slots.count; i++) {
        const tm_weight_slot *slot = model->slots.items[i];
        print_constant("slot", slot->value, slot->initial, flags, indent, out);
    }
    for (size_t i = 0; i < model->values.count; i++) {
        const tm_value *value = model->values.items[i];
        if (value->graph == graph && value->constant != NULL && value->uses.count > 0)
            print_constant("const", value, value->constant, flags, indent, out);
    }
}

/* Slots are inputs too, but stand with the constants, as they have elements. */
static void print_inputs(const tm_graph *graph, tm_text *out) {
    bool any = false;
    for (size_t i = 0; i < graph->inputs.count; i++) {
        if (graph->inputs.items[i]->slot != NULL)
            continue;
        tm_text_add(out, "%s", any ? ", " : "");
        print_typed(graph->inputs.items[i], out);
        any = true;
    }
}

void tm_print_graph(const tm_graph *graph, unsigned flags, int indent, tm_text *out) {
    tm_print_name(graph->name, out);
    tm_text_add(out, "(");
    print_inputs(graph, out);
    tm_text_add(out, ") {\n");
    print_constants(graph, flags, indent + 1, out);
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        tm_print_indent(indent + 1, out);
        print_node(node, flags, indent + 1, out);
        tm_text_add(out, "\n");
    }
    tm_print_indent(indent + 1, out);
    tm_text_add(out, "return");
    for (size_t i = 0; i < graph->outputs.count; i++) {
        tm_text_add(out, "%s", i > 0 ? ", " : " ");
        print_reference(graph->outputs.items[i], out);
    }
    tm_text_add(out, "\n");
    tm_print_indent(indent, out);
    tm_text_add(out, "}");
}

/* ---- the header ---- */

static void mark_value(const tm_value *value, bool *mentioned) {
    for (int i = 0; value != NULL && i < value->rank; i++)
        if (value->dims[i] != NULL)
            tm_dim_mark_symbols(value->dims[i], mentioned);
}

static void mark_graph(const tm_graph *graph, bool *mentioned) {
    for (size_t i = 0; i < graph->inputs.count; i++)
        mark_value(graph->inputs.items[i], mentioned);
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < node->output_count; i++)
            mark_value(node->outputs[i], mentioned);
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            mark_graph(tm_node_subgraph(node, i), mentioned);
    }
}

static bool print_symbol(const tm_symbol *symbol, tm_text *out) {
    int64_t low = symbol->origin == TM_SYMBOL_LOAD ? INT64_MIN : 0;
    bool ranged = symbol->low != low || symbol->high != INT64_MAX;
    if (symbol->origin == TM_SYMBOL_INPUT && !ranged)
        return false;
    tm_text_add(out, "dim ");
    tm_dim_print_name(symbol->name, out);
    if (symbol->origin != TM_SYMBOL_INPUT) {
        tm_text_add(out, " : %s", symbol->origin == TM_SYMBOL_LOAD ? "load" : "free");
        if (symbol->value != NULL && symbol->value->graph != NULL) {
            tm_text_add(out, " ");
            print_reference(symbol->value, out);
            tm_text_add(out, "[%lld]", (long long)symbol->index);
        }
    }
    if (ranged)
        tm_text_add(out, " = %lld..%lld", (long long)symbol->low, (long long)symbol->high);
    tm_text_add(out, "\n");
    return true;
}

void tm_print_model(const tm_model *model, unsigned flags, tm_text *out) {
    size_t count = tm_dims_symbol_count(model->dims);
    bool *mentioned = TM_NEW_ARRAY(model->arena, bool, count + 1);
    mark_graph(model->main, mentioned);
    bool any = false;
    for (size_t i = 0; i < count; i++)
        if (mentioned[i])
            any = print_symbol(tm_dims_symbol_at(model->dims, i), out) || any;
    if (any)
        tm_text_add(out, "\n");
    tm_print_graph(model->main, flags, 0, out);
    tm_text_add(out, "\n");
}
