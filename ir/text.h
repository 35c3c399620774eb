/* SPDX-License-Identifier: Apache-2.0
 *
 * text.h: the IR's text form (grammar in docs/ir.md). parse(print(m)) equals m, print(parse(t)) equals t
 * for text that print made. Large constants print as hex bytes; with TM_PRINT_ELIDE as `...`.
 */
#ifndef TM_IR_TEXT_H
#define TM_IR_TEXT_H

#include "ir/graph.h"

#define TM_PRINT_ELIDE 1 /* constants above 16 elements print as `...`: for reading, cannot be parsed */

void tm_print_model(const tm_model *model, unsigned flags, tm_text *out);
void tm_print_node(const tm_node *node, unsigned flags, tm_text *out);
/* Files E_TEXT with line and column. Types and dims as written; run tm_infer for the rest. */
TM_MUST_USE tm_code tm_parse_model(tm_arena *arena, tm_diagnostics *diagnostics, const char *file,
                                   const char *text, size_t bytes, tm_model **out_model);

#endif
