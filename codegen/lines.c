/* SPDX-License-Identifier: Apache-2.0
 *
 * lines.c: one line for each node of the optimised model, in the order in which they run.
 *
 *     Region contract
 *       %h: f32[batch, 3072] = MatMul(%x, %w) "/layer.0/intermediate/dense/MatMul" @17
 *       %g: f32[batch, 3072] = Gelu(%h) "/layer.0/intermediate/act/Mul_1" @25
 *
 * Artifacts compiled with -g name this list as their source and its lines as those of their instructions
 * (llvm/emit_lines.c), so perf and gdb show nodes. A node is printed as in the text form of the IR, with the
 * name and the number that it has in the file. What holds other nodes has a line that names it, and those
 * follow, indented.
 */
#include "codegen/lines.h"

#include "ir/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct row {
    const tm_node *node;
    unsigned line;
} row;

struct tm_lines {
    tm_text text;
    TM_VECTOR(row) rows; /* sorted by address, for the search */
};

static void add_graph(tm_lines *lines, const tm_graph *graph, int indent) {
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        row next = {.node = node, .line = (unsigned)lines->rows.count + 1};
        tm_push(lines->text.arena, &lines->rows, next);
        tm_text_add(&lines->text, "%*s", 2 * indent, "");
        if (tm_node_subgraph_count(node) == 0)
            tm_print_node(node, TM_PRINT_ELIDE, &lines->text);
        else if (node->op == TM_OP_Region)
            tm_text_add(&lines->text, "Region %s", tm_node_string(node, "kind"));
        else
            tm_text_add(&lines->text, "%s %s", tm_op_get(node->op)->name,
                        node->name != NULL ? node->name : "");
        tm_text_add(&lines->text, "\n");
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            add_graph(lines, tm_node_subgraph(node, i), indent + 1);
    }
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = (uintptr_t)((const row *)a)->node, y = (uintptr_t)((const row *)b)->node;
    return (x > y) - (x < y);
}

const tm_lines *tm_lines_create(const tm_model *model) {
    tm_lines *lines = TM_NEW(model->arena, tm_lines);
    tm_text_init(&lines->text, model->arena);
    add_graph(lines, model->main, 0);
    if (lines->rows.count > 0)
        qsort(lines->rows.items, lines->rows.count, sizeof(row), by_address);
    return lines;
}

unsigned tm_line_of(const tm_lines *lines, const tm_node *node) {
    row key = {.node = node};
    if (node == NULL || lines->rows.count == 0)
        return 0;
    const row *found = bsearch(&key, lines->rows.items, lines->rows.count, sizeof(row), by_address);
    return found != NULL ? found->line : 0;
}

tm_code tm_lines_write(const tm_lines *lines, tm_model *model, const char *path) {
    FILE *file = fopen(path, "wb");
    bool failed = file == NULL || fputs(tm_text_get((tm_text *)(uintptr_t)&lines->text), file) < 0;
    if (file != NULL)
        failed |= fclose(file) != 0;
    return failed ? tm_report(model->diagnostics, TM_E_CREATE_OUTPUT, NULL, NULL, "cannot write %s: %s", path,
                              strerror(errno))
                  : TM_OK;
}
