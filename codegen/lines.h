/* SPDX-License-Identifier: Apache-2.0
 *
 * lines.h: the list of a model's nodes that is the source text of its code for debuggers and profilers.
 */
#ifndef TM_CODEGEN_LINES_H
#define TM_CODEGEN_LINES_H

#include "base/base.h"
#include "ir/graph.h"

typedef struct tm_lines tm_lines;

/* The model must not change any more. */
const tm_lines *tm_lines_create(const tm_model *model);
/* The line of a node, from 1 on; NULL and nodes that are not in the model: 0, for no line. */
unsigned tm_line_of(const tm_lines *lines, const tm_node *node);
TM_MUST_USE tm_code tm_lines_write(const tm_lines *lines, tm_model *model, const char *path);

#endif
