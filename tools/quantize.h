/* SPDX-License-Identifier: Apache-2.0
 *
 * quantize.h: the options of quantisation, which `compile` and `quantize` take alike.
 */
#ifndef TM_TOOLS_QUANTIZE_H
#define TM_TOOLS_QUANTIZE_H

#include "quantize/quantize.h"
#include "tools/tool.h"

enum { TOOL_QUANTIZE_FIRST = 2000 };
#define TOOL_QUANTIZE_OPTIONS                                                                          \
    {"--quantize", TOOL_VALUE, TOOL_QUANTIZE_FIRST}, {"--calib", TOOL_VALUE, TOOL_QUANTIZE_FIRST + 1}, \
        {"--labels", TOOL_VALUE, TOOL_QUANTIZE_FIRST + 2},                                             \
        {"--report", TOOL_VALUE, TOOL_QUANTIZE_FIRST + 3}, {"--budget", TOOL_VALUE, TOOL_QUANTIZE_FIRST + 4}

typedef struct tool_quantize {
    const char *form; /* NULL: the model stays as it is */
    const char *calib, *labels, *report, *budget;
} tool_quantize;

/* Takes the option if it is one of these. */
bool tool_quantize_option(tool_quantize *options, int id, const char *value);
/* Are there options that mean nothing without --quantize? E_USAGE filed. */
TM_MUST_USE tm_code tool_quantize_check(tool *tool, const tool_quantize *options);
/* Do the options that say how to measure fit together? E_USAGE filed. */
TM_MUST_USE tm_code tool_measures_check(tool *tool, const tool_quantize *options);
/* What --calib and --labels name, for the model. */
TM_MUST_USE tm_code tool_measures_open(tool *tool, const char *path, tool_compile *compile,
                                       const tool_quantize *options, tm_samples *out_samples);
/* The quantised model; the report is written, and a summary printed on stderr. */
TM_MUST_USE tm_code tool_quantize_model(tool *tool, const char *path, tool_compile *compile,
                                        const tool_quantize *options, tm_model **out_model);

/* ---- model_output.c ---- */

typedef struct tool_model_output {
    const char *path;
    const char *emit; /* "onnx" or "ir"; NULL: by the name */
    bool external_data;
} tool_model_output;
enum { TOOL_MODEL_OUTPUT_FIRST = 2200 };
#define TOOL_MODEL_OUTPUT_OPTIONS                                                                     \
    {"-o", TOOL_VALUE, TOOL_MODEL_OUTPUT_FIRST}, {"--emit", TOOL_VALUE, TOOL_MODEL_OUTPUT_FIRST + 1}, \
        {"--external-data", TOOL_FLAG, TOOL_MODEL_OUTPUT_FIRST + 2}
/* Takes the option if it is one of these. */
bool tool_model_output_option(tool_model_output *to, int id, const char *value);
/* Is it said what to make, and can it be written? */
TM_MUST_USE tm_code tool_model_output_check(tool *tool, tool_model_output *to);
TM_MUST_USE tm_code tool_model_output_write(tool *tool, const tool_model_output *to, const tm_model *model);

#endif
