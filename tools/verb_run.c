/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis run OUT.so|MODEL.onnx: inputs from files, outputs to files or, in short, to stdout.
 *
 *     tamis run t2.so --inputs test_data_set_0 --outputs answers        input_N.pb, output_N.pb
 *     tamis run t2.onnx -i x=x.npy -o y=-                                the values of y as text
 *     tamis run m.so -i x=x.npy --set q.lora_A=french.npy                weights in the place of a slot
 */
#include "tools/tool.h"

#include <string.h>

enum { INPUTS = 1, OUTPUTS, INPUT, OUTPUT, SET, THREADS, EVALUATE, SEED, LIMIT };

static const tool_option options_table[] = {{"--inputs", TOOL_VALUE, INPUTS},
                                            {"--outputs", TOOL_VALUE, OUTPUTS},
                                            {"-i", TOOL_VALUE, INPUT},
                                            {"-o", TOOL_VALUE, OUTPUT},
                                            {"--set", TOOL_VALUE, SET},
                                            {"--threads", TOOL_VALUE, THREADS},
                                            {"--evaluate", TOOL_FLAG, EVALUATE},
                                            {"--seed", TOOL_VALUE, SEED},
                                            {"--print", TOOL_VALUE, LIMIT},
                                            TOOL_COMPILE_OPTIONS,
                                            {NULL, TOOL_FLAG, 0}};

typedef struct named_file {
    const char *name, *path;
} named_file;
typedef TM_VECTOR(named_file) file_list;

typedef struct run_options {
    const char *inputs, *outputs;
    file_list input_files, output_files, slot_files;
    tool_engine_options engine;
    int64_t limit;
} run_options;

static tm_code add_file(tool *tool, file_list *list, const char *option, const char *text) {
    const char *equals = strrchr(text, '=');
    if (equals == NULL || equals == text || equals[1] == 0)
        return tool_report(tool, TM_E_USAGE, NULL, tm_arena_format(&tool->arena, "%s NAME=FILE", option),
                           "%s: '%s' names no %s", option, text,
                           equals == NULL || equals == text ? "value and its file" : "file");
    tm_push(&tool->arena, list,
            (named_file){tm_arena_string_n(&tool->arena, text, (size_t)(equals - text)), equals + 1});
    return TM_OK;
}

static tm_code take_option(tool *tool, int id, const char *value, run_options *options,
                           tool_compile *compile) {
    int64_t number = 0;
    switch (id) {
    case INPUTS:
        options->inputs = value;
        return TM_OK;
    case OUTPUTS:
        options->outputs = value;
        return TM_OK;
    case INPUT:
        return add_file(tool, &options->input_files, "-i", value);
    case OUTPUT:
        return add_file(tool, &options->output_files, "-o", value);
    case SET:
        return add_file(tool, &options->slot_files, "--set", value);
    case EVALUATE:
        options->engine.evaluate = true;
        return TM_OK;
    case LIMIT:
        return tool_parse_integer(tool, "--print", value, 0, INT64_MAX, &options->limit);
    case SEED:
        TM_TRY(tool_parse_integer(tool, "--seed", value, 0, INT64_MAX, &number));
        options->engine.seed = (uint64_t)number;
        return TM_OK;
    case THREADS:
        TM_TRY(tool_parse_integer(tool, "--threads", value, 1, 256, &number));
        options->engine.threads = (int)number;
        return TM_OK;
    default:
        return tool_compile_option(tool, compile, id, value);
    }
}

static int find_port(const tool_port *ports, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(ports[i].name, name) == 0)
            return i;
    return -1;
}

static tm_code read_inputs(tool *tool, const tool_engine *engine, const run_options *options,
                           tool_value *inputs) {
    bool *have = TM_NEW_ARRAY(&tool->arena, bool, engine->input_count + 1);
    if (options->inputs != NULL)
        TM_TRY(tool_values_read(tool, options->inputs, "input", engine->inputs, engine->input_count, inputs,
                                have));
    for (size_t i = 0; i < options->input_files.count; i++) {
        const named_file *file = &options->input_files.items[i];
        int port = find_port(engine->inputs, engine->input_count, file->name);
        if (port < 0)
            return tool_report(tool, TM_E_USAGE, NULL, "tamis inspect lists the inputs",
                               "the model has no input '%s'", file->name);
        TM_TRY(tool_value_read(tool, file->path, &engine->inputs[port], &inputs[port]));
        have[port] = true;
    }
    for (int i = 0; i < engine->input_count; i++) {
        if (!have[i] && !tool_value_absent(&engine->inputs[i], &inputs[i]))
            return tool_report(tool, TM_E_USAGE, NULL, "--inputs DIR|FILE.npz or -i NAME=FILE",
                               "no data for input %d '%s'", i, engine->inputs[i].name);
    }
    return TM_OK;
}

static tm_code set_slots(tool *tool, tool_engine *engine, const run_options *options) {
    if (engine->loaded == NULL && options->slot_files.count > 0)
        return tool_report(tool, TM_E_USAGE, NULL, "leave --evaluate out, and compile with --slot=NAME",
                           "--set: the evaluator has no slots");
    int32_t count = engine->loaded != NULL ? tamis_model_artifact(engine->loaded)->weight_slot_count : 0;
    tool_port *slots =
        count > 0 ? tool_artifact_ports(tool, tamis_model_artifact(engine->loaded)->weight_slots, count)
                  : NULL;
    for (size_t i = 0; i < options->slot_files.count; i++) {
        const named_file *file = &options->slot_files.items[i];
        int slot = find_port(slots, count, file->name);
        tool_value value;
        if (slot < 0)
            return tool_report(tool, TM_E_USAGE, NULL,
                               "compile with --slot=NAME; tamis inspect lists the slots",
                               "the model has no slot '%s'", file->name);
        TM_TRY(tool_value_read(tool, file->path, &slots[slot], &value));
        TM_TRY(tool_engine_set_slot(engine, slot, &value, file->path));
    }
    return TM_OK;
}

static void print_output(tool *tool, const tool_port *port, const tool_value *value, int64_t limit) {
    tm_text text;
    tm_text_init(&text, &tool->arena);
    tm_text_add_escaped(&text, port->name, strlen(port->name));
    tm_text_add(&text, ": ");
    tool_value_describe(value, &text);
    tm_text_add(&text, "\n");
    tool_value_print(value, limit, &text);
    fputs(tm_text_get(&text), stdout);
}

static tm_code write_outputs(tool *tool, const tool_engine *engine, const run_options *options,
                             const tool_value *outputs) {
    if (options->outputs != NULL)
        TM_TRY(tool_values_write(tool, options->outputs, "output", engine->outputs, engine->output_count,
                                 outputs));
    for (size_t i = 0; i < options->output_files.count; i++) {
        const named_file *file = &options->output_files.items[i];
        int port = find_port(engine->outputs, engine->output_count, file->name);
        if (port < 0)
            return tool_report(tool, TM_E_USAGE, NULL, "tamis inspect lists the outputs",
                               "the model has no output '%s'", file->name);
        if (strcmp(file->path, "-") == 0)
            print_output(tool, &engine->outputs[port], &outputs[port], INT64_MAX);
        else
            TM_TRY(tool_value_write(tool, file->path, file->name, &outputs[port]));
    }
    if (options->outputs == NULL && options->output_files.count == 0)
        for (int i = 0; i < engine->output_count; i++)
            print_output(tool, &engine->outputs[i], &outputs[i], options->limit);
    return TM_OK;
}

static tm_code run(tool *tool, const char *path, tool_compile *compile, const run_options *options) {
    tool_engine engine;
    TM_TRY(tool_engine_create(tool, path, compile, &options->engine, &engine));
    tool_value *inputs = TM_NEW_ARRAY(&tool->arena, tool_value, engine.input_count + 1);
    tool_value *outputs = TM_NEW_ARRAY(&tool->arena, tool_value, engine.output_count + 1);
    tm_code code = set_slots(tool, &engine, options);
    if (code == TM_OK)
        code = read_inputs(tool, &engine, options, inputs);
    if (code == TM_OK)
        code = tool_engine_run(&engine, inputs, outputs);
    if (code == TM_OK)
        code = write_outputs(tool, &engine, options, outputs);
    tool_engine_destroy(&engine);
    return code;
}

int tool_run_main(tool *tool, int argc, char **argv) {
    tool_compile compile;
    tool_compile_init(&compile);
    run_options options = {.limit = 16};
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0)
        if (take_option(tool, id, arguments.value, &options, &compile) != TM_OK)
            return tool_fail(tool);
    if (id < 0)
        return tool_fail(tool);
    if (tool_arguments_single(&arguments, "one model or artifact", "tamis help run") != TM_OK)
        return tool_fail(tool);
    options.engine.strict = compile.options.strict_math;
    return run(tool, arguments.names.items[0], &compile, &options) == TM_OK ? 0 : tool_fail(tool);
}
