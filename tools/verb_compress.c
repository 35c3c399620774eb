/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis compress MODEL -o OUT: the compressed model as a model: what compile --prune would compile.
 */
#include "tools/contract.h"

#include "compiler/internal.h"
#include "ir/infer.h"

static const tool_option options_table[] = {TOOL_MODEL_OUTPUT_OPTIONS,
                                            TOOL_COMPRESS_OPTIONS,
                                            TOOL_QUANTIZE_OPTIONS,
                                            TOOL_COMPILE_OPTIONS,
                                            {NULL, TOOL_FLAG, 0}};

static tm_code change(tool *tool, const char *path, tool_compile *compile, const tool_compress *compress,
                      const tool_quantize *others, tm_model **out_model) {
    tamis_compile_options options;
    if (!tool_contract_wanted(compress, others))
        return tool_compress_model(tool, path, compile, compress, others, out_model);
    TM_TRY(tool_contract_model(tool, path, compile, compress, others, out_model, &options));
    TM_TRY(tm_apply_dim_facts(*out_model, options.dims, options.dim_count));
    return tm_infer(*out_model);
}

int tool_compress_main(tool *tool, int argc, char **argv) {
    tool_compile compile;
    tool_compile_init(&compile);
    tool_compress compress = {0};
    tool_quantize others = {0};
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    tool_model_output to = {0};
    tm_model *model;
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0) {
        if (!tool_model_output_option(&to, id, arguments.value) &&
            !tool_compress_option(&compress, id, arguments.value) &&
            !tool_quantize_option(&others, id, arguments.value) &&
            tool_compile_option(tool, &compile, id, arguments.value) != TM_OK)
            return tool_fail(tool);
    }
    if (compress.prune == NULL && compress.palette == NULL && compress.tokens == NULL)
        compress.prune = "zeros";
    if (id < 0 ||
        tool_arguments_single(&arguments, "one model", "tamis compress MODEL.onnx -o OUT.onnx") != TM_OK ||
        tool_model_output_check(tool, &to) != TM_OK ||
        tool_compile_of_artifacts(tool, &compile, "a model that is written has none") != TM_OK ||
        change(tool, arguments.names.items[0], &compile, &compress, &others, &model) != TM_OK ||
        tool_model_output_write(tool, &to, model) != TM_OK)
        return tool_fail(tool);
    return 0;
}
