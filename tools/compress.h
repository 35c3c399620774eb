/* SPDX-License-Identifier: Apache-2.0
 *
 * compress.h: the options of compression, which `compile` and `compress` take alike, beside those that the
 * quantiser has too: --calib, --labels, --report, --budget.
 */
#ifndef TM_TOOLS_COMPRESS_H
#define TM_TOOLS_COMPRESS_H

#include "compress/compress.h"
#include "tools/quantize.h"

enum { TOOL_COMPRESS_FIRST = 2100 };
#define TOOL_COMPRESS_OPTIONS                                                                         \
    {"--prune", TOOL_VALUE, TOOL_COMPRESS_FIRST}, {"--palette", TOOL_VALUE, TOOL_COMPRESS_FIRST + 1}, \
        {"--tokens", TOOL_VALUE, TOOL_COMPRESS_FIRST + 2}

typedef struct tool_compress {
    const char *prune;    /* NULL: the model stays as it is */
    const char *palette;  /* likewise */
    const char *tokens;   /* likewise */
    bool chooses_storage; /* --storage=auto was given */
} tool_compress;

/* Takes the option if it is one of these. */
bool tool_compress_option(tool_compress *options, int id, const char *value);
/* Do the options fit together? E_USAGE filed. */
TM_MUST_USE tm_code tool_compress_check(tool *tool, const tool_compress *options,
                                        const tool_quantize *others);
/* The compressed model; the report is written, and a summary printed on stderr. */
TM_MUST_USE tm_code tool_compress_model(tool *tool, const char *path, tool_compile *compile,
                                        const tool_compress *options, const tool_quantize *others,
                                        tm_model **out_model);

#endif
