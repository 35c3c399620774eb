/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect.h: the longer parts of `tamis inspect`.
 */
#ifndef TM_TOOLS_INSPECT_H
#define TM_TOOLS_INSPECT_H

#include "tools/tool.h"

/* inspect_weights.c: --compress: what is in the weights of a model; a page in `html` unless that is NULL. */
TM_MUST_USE tm_code tool_inspect_weights(tool *tool, const char *path, tool_compile *compile, bool json,
                                         const char *html);
/* inspect_size.c: --size: what an artifact's bytes are. */
TM_MUST_USE tm_code tool_inspect_size(tool *tool, const char *path, bool json);

#endif
