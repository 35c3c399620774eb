/* SPDX-License-Identifier: Apache-2.0
 *
 * storage.h: options that change how weights are kept: --storage=auto, --palette.
 */
#ifndef TM_TOOLS_STORAGE_H
#define TM_TOOLS_STORAGE_H

#include "tools/compress.h"

/* Do the options fit together with --storage=auto or --palette? E_USAGE filed. */
TM_MUST_USE tm_code tool_storage_check(tool *tool, const tool_compress *options, const tool_quantize *others);
/* --storage=auto: chooses what the constants are rounded to, under the budget; the options have it then. */
TM_MUST_USE tm_code tool_choose_storage(tool *tool, const char *path, tool_compile *compile,
                                        const tool_quantize *others);
/* --palette: the model with palettes, which is to be coded then; a summary is printed on stderr. */
TM_MUST_USE tm_code tool_palette_model(tool *tool, const char *path, tool_compile *compile,
                                       const tool_compress *options, const tool_quantize *others,
                                       tm_model **out_model);

#endif
