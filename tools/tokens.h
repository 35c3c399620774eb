/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens.h: --tokens, see compress/tokens.h.
 */
#ifndef TM_TOOLS_TOKENS_H
#define TM_TOOLS_TOKENS_H

#include "tools/compress.h"

TM_MUST_USE tm_code tool_tokens_check(tool *tool, const tool_compress *options, const tool_quantize *others);
TM_MUST_USE tm_code tool_tokens_model(tool *tool, const char *path, tool_compile *compile,
                                      const tool_compress *options, const tool_quantize *others,
                                      tm_model **out_model);

#endif
