/* SPDX-License-Identifier: Apache-2.0
 *
 * contract.h: --prune, --quantize and --storage=auto, two of them or all, under one --budget.
 */
#ifndef TM_TOOLS_CONTRACT_H
#define TM_TOOLS_CONTRACT_H

#include "tools/compress.h"

/* Are there two of them? */
bool tool_contract_wanted(const tool_compress *options, const tool_quantize *others);
/* Do the options fit together? E_USAGE filed. */
TM_MUST_USE tm_code tool_contract_check(tool *tool, const tool_compress *options,
                                        const tool_quantize *others);
/* The changed model, imported; it is compiled with *out_options. The report is written, and a summary printed
 * on stderr. */
TM_MUST_USE tm_code tool_contract_model(tool *tool, const char *path, tool_compile *compile,
                                        const tool_compress *options, const tool_quantize *others,
                                        tm_model **out_model, tamis_compile_options *out_options);

#endif
