/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis verify MODEL: compiled code against the evaluator, which runs the model node by node with the
 * C kernels and without any pass. The two share no optimisation, so where they differ, one is wrong; with
 * --disable and --opt-bisect-limit the rewrite that did it is found.
 */
#include "tools/tool.h"

#include <string.h>

enum { INPUTS = 1, SIZE, SEED, RUNS, RTOL, ATOL, THREADS };

static const tool_option options_table[] = {
    {"--inputs", TOOL_VALUE, INPUTS},   {"--size", TOOL_VALUE, SIZE}, {"--seed", TOOL_VALUE, SEED},
    {"--runs", TOOL_VALUE, RUNS},       {"--rtol", TOOL_VALUE, RTOL}, {"--atol", TOOL_VALUE, ATOL},
    {"--threads", TOOL_VALUE, THREADS}, TOOL_COMPILE_OPTIONS,         {NULL, TOOL_FLAG, 0}};

typedef struct verify_options {
    const char *inputs;
    tool_sizes sizes;
    int64_t seed, runs, threads;
    tool_tolerance tolerance;
} verify_options;

static tm_code take_option(tool *tool, int id, const char *value, verify_options *options,
                           tool_compile *compile) {
    switch (id) {
    case INPUTS:
        options->inputs = value;
        return TM_OK;
    case SIZE:
        return tool_sizes_add(tool, &options->sizes, value);
    case SEED:
        return tool_parse_integer(tool, "--seed", value, 0, INT64_MAX, &options->seed);
    case RUNS:
        return tool_parse_integer(tool, "--runs", value, 1, 1000000, &options->runs);
    case RTOL:
        return tool_parse_tolerance(tool, "--rtol", value, &options->tolerance.rtol);
    case ATOL:
        return tool_parse_tolerance(tool, "--atol", value, &options->tolerance.atol);
    case THREADS:
        return tool_parse_integer(tool, "--threads", value, 1, 256, &options->threads);
    default:
        return tool_compile_option(tool, compile, id, value);
    }
}

static tm_code compare_once(tool_engine *compiled, tool_engine *evaluator, const verify_options *options,
                            int64_t run, bool *out_same) {
    tool *tool = compiled->tool;
    tool_value *inputs = TM_NEW_ARRAY(&tool->arena, tool_value, compiled->input_count + 1);
    tool_value *found = TM_NEW_ARRAY(&tool->arena, tool_value, compiled->output_count + 1);
    tool_value *expected = TM_NEW_ARRAY(&tool->arena, tool_value, compiled->output_count + 1);
    TM_TRY(tool_make_inputs(compiled, options->inputs, &options->sizes, (uint64_t)(options->seed + run),
                            inputs));
    TM_TRY(tool_engine_run(evaluator, inputs, expected));
    TM_TRY(tool_engine_run(compiled, inputs, found));
    for (int i = 0; i < compiled->output_count; i++) {
        tool_difference difference;
        bool same = tool_compare(&found[i], &expected[i], &options->tolerance, &difference);
        if (!same)
            *out_same = false;
        printf("%s  run %lld  output %d '%s'  max abs %.3g", same ? "same  " : "DIFFER", (long long)run, i,
               compiled->outputs[i].name, difference.max_absolute);
        if (!same)
            printf("  %lld of %lld wrong; %s", (long long)difference.wrong, (long long)difference.total,
                   difference.first);
        printf("\n");
    }
    return TM_OK;
}

static tm_code verify(tool *tool, const char *path, tool_compile *compile, const verify_options *options,
                      bool *out_same) {
    tool_engine compiled, evaluator;
    tool_engine_options engine = {.threads = (int)options->threads, .strict = compile->options.strict_math};
    *out_same = true;
    if (tool_is_artifact(path))
        return tool_report(tool, TM_E_USAGE, path, "give the model",
                           "an artifact does not hold the model it was made from");
    TM_TRY(tool_engine_create(tool, path, compile, &engine, &compiled));
    engine.evaluate = true;
    tm_code code = tool_engine_create(tool, path, compile, &engine, &evaluator);
    for (int64_t run = 0; run < options->runs && code == TM_OK; run++)
        code = compare_once(&compiled, &evaluator, options, run, out_same);
    tool_engine_destroy(&compiled);
    return code;
}

int tool_verify_main(tool *tool, int argc, char **argv) {
    tool_compile compile;
    tool_compile_init(&compile);
    verify_options options = {.sizes = {.fallback = 4}, .runs = 1, .tolerance = {.rtol = 1e-3, .atol = 1e-5}};
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0)
        if (take_option(tool, id, arguments.value, &options, &compile) != TM_OK)
            return tool_fail(tool);
    if (id < 0)
        return tool_fail(tool);
    if (tool_arguments_single(&arguments, "one model", "tamis help verify") != TM_OK)
        return tool_fail(tool);
    options.tolerance.of_largest = tool_precision_tolerance(&compile.options);
    bool same;
    if (verify(tool, arguments.names.items[0], &compile, &options, &same) != TM_OK)
        return tool_fail(tool);
    return same ? 0 : tm_code_exit(TM_E_DIFFERENCE);
}
