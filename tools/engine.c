/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a model for the verbs, whatever it is: a compiled artifact is loaded, an .onnx or .ir file is compiled
 * into a temporary artifact first, and with `evaluate` the model is imported and the evaluator runs it.
 * All give the same tool_value inputs and outputs.
 */
#include "tools/tool.h"

#include "ir/evaluate.h"
#include "ir/infer.h"
#include "runtime/sequence.h"

#include <string.h>

bool tool_is_artifact(const char *path) {
    char start[4] = {0};
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return false;
    size_t got = fread(start, 1, sizeof start, file);
    fclose(file);
    return got == sizeof start && memcmp(start, "\177ELF", 4) == 0;
}

static tm_code runtime_failed(tool *tool, const char *file, const tamis_error *error) {
    return tool_report(tool, (tm_code)error->code, file, NULL, "%s", error->message);
}

tm_code tool_compile_to(tool *tool, const char *model, const char *output, tool_compile *compile,
                        const char **out_log) {
    tamis_result *result = NULL;
    const tamis_compile_options *options = tool_compile_get(compile);
    int code;
    if (strcmp(model, "-") == 0) {
        char *data;
        size_t bytes;
        TM_TRY(tool_read_file(tool, model, &data, &bytes));
        code = tamis_compile_memory(data, bytes, output, options, &result);
    } else {
        code = tamis_compile_file(model, output, options, &result);
    }
    if (result == NULL)
        return tool_report(tool, code != 0 ? (tm_code)code : TM_E_OUT_OF_MEMORY, model, NULL,
                           "compilation failed");
    if (out_log != NULL)
        *out_log = tm_arena_string(&tool->arena, tamis_result_log(result));
    fputs(tamis_result_warnings(result), stderr);
    if (code != 0) {
        tool->compiler_text = tm_arena_string(&tool->arena, tamis_result_text(result));
        tool->compiler_code = (tm_code)code;
    }
    tamis_result_destroy(result);
    return (tm_code)code;
}

tool_port *tool_model_ports(tool *tool, tm_value *const *values, size_t count) {
    tool_port *ports = TM_NEW_ARRAY(&tool->arena, tool_port, count > 0 ? count : 1);
    for (size_t i = 0; i < count; i++) {
        const tm_value *value = values[i];
        const char **dims = TM_NEW_ARRAY(&tool->arena, const char *, value->rank > 0 ? value->rank : 1);
        for (int d = 0; d < value->rank; d++) {
            tm_text text;
            tm_text_init(&text, &tool->arena);
            if (value->dims[d]->low == value->dims[d]->high) /* pinned */
                tm_text_add(&text, "%lld", (long long)value->dims[d]->low);
            else
                tm_dim_print(value->dims[d], &text);
            dims[d] = tm_text_get(&text);
        }
        ports[i] =
            (tool_port){value->name,
                        {.kind = value->kind, .item = value->item, .type = value->type, .key = value->key},
                        value->rank,
                        dims};
    }
    return ports;
}

tool_port *tool_artifact_ports(tool *tool, const tamis_port *from, int32_t count) {
    tool_port *ports = TM_NEW_ARRAY(&tool->arena, tool_port, count > 0 ? count : 1);
    for (int32_t i = 0; i < count; i++)
        ports[i] = (tool_port){from[i].name,
                               {.kind = (tamis_kind)from[i].kind,
                                .item = (tamis_kind)from[i].item,
                                .type = (tamis_type)from[i].type,
                                .key = (tamis_type)from[i].key},
                               from[i].rank,
                               from[i].dim_texts};
    return ports;
}

static tm_code create_evaluator(tool_engine *engine, const char *path, tool_compile *compile) {
    TM_TRY(tool_import(engine->tool, path, compile, &engine->model));
    TM_TRY(tm_infer(engine->model));
    const tm_graph *graph = engine->model->main;
    engine->input_count = (int)graph->inputs.count;
    engine->output_count = (int)graph->outputs.count;
    engine->inputs = tool_model_ports(engine->tool, graph->inputs.items, graph->inputs.count);
    engine->outputs = tool_model_ports(engine->tool, graph->outputs.items, graph->outputs.count);
    return TM_OK;
}

static tm_code load(tool_engine *engine, const char *path, const tool_engine_options *options) {
    tamis_error error;
    if (tamis_model_load(path, &engine->loaded, &error) != 0)
        return runtime_failed(engine->tool, NULL, &error);
    tamis_session_options session;
    tamis_session_options_init(&session);
    session.threads = options->threads;
    session.strict_math = options->strict;
    session.seed = options->seed;
    if (tamis_session_create(engine->loaded, &session, &engine->session, &error) != 0)
        return runtime_failed(engine->tool, NULL, &error);
    const tamis_artifact *artifact = tamis_model_artifact(engine->loaded);
    engine->input_count = artifact->input_count;
    engine->output_count = artifact->output_count;
    engine->inputs = tool_artifact_ports(engine->tool, artifact->inputs, artifact->input_count);
    engine->outputs = tool_artifact_ports(engine->tool, artifact->outputs, artifact->output_count);
    return TM_OK;
}

tm_code tool_engine_create(tool *tool, const char *path, tool_compile *compile,
                           const tool_engine_options *options, tool_engine *out_engine) {
    *out_engine = (tool_engine){.tool = tool};
    bool artifact = tool_is_artifact(path);
    const char *option = options->evaluate                       ? "--evaluate"
                         : compile->dims.count > 0               ? "--dim"
                         : compile->slots.count > 0              ? "--slot"
                         : compile->options.weights_file != NULL ? "--weights-file"
                                                                 : NULL;
    if (artifact && option != NULL)
        return tool_report(tool, TM_E_USAGE, NULL, "give the model that it was compiled from",
                           "%s: '%s' is compiled already", option, path);
    if (options->evaluate)
        TM_TRY(tool_compile_of_artifacts(tool, compile, "the evaluator makes none"));
    if (options->evaluate)
        return create_evaluator(out_engine, path, compile);
    if (artifact)
        return load(out_engine, path, options);
    const char *folder;
    TM_TRY(tool_temporary_folder(tool, &folder));
    const char *output = tm_arena_format(&tool->arena, "%s/model.so", folder);
    compile->options.emit = TAMIS_EMIT_SO;
    TM_TRY(tool_compile_to(tool, path, output, compile, NULL));
    return load(out_engine, output, options);
}

void tool_engine_destroy(tool_engine *engine) {
    tamis_session_destroy(engine->session);
    tamis_adapter_destroy(engine->adapter);
    tamis_model_destroy(engine->loaded);
}

/* ---- values in and out ---- */

static tamis_tensor to_tensor(const tool_value *value) {
    tamis_tensor tensor = {.rank = -1,
                           .type = (uint8_t)value->type,
                           .kind = (uint8_t)value->kind,
                           .item = (uint8_t)value->item,
                           .key = (uint8_t)value->key};
    if (value->kind != TAMIS_KIND_TENSOR)
        return tensor;
    tensor.data = (void *)(uintptr_t)value->tensor->data; /* inputs are only read */
    tensor.dims = (int64_t *)(uintptr_t)value->tensor->dims;
    tensor.rank = value->tensor->rank;
    return tensor;
}

/* As callers of the runtime describe a value: a list is an array of items. */
tamis_tensor tool_value_given(tool *tool, const tool_value *value) {
    tamis_tensor given = to_tensor(value);
    if (value->kind == TAMIS_KIND_TENSOR)
        return given;
    tamis_tensor *items = TM_NEW_ARRAY(&tool->arena, tamis_tensor, value->count + 1);
    for (int64_t i = 0; i < value->count; i++)
        items[i] = tool_value_given(tool, &value->items[i]);
    given.data = items;
    given.dims = tm_arena_copy(&tool->arena, &value->count, sizeof value->count);
    given.rank = 1;
    return given;
}

/* As kernels have it: a list is a tm_sequence. */
static tamis_tensor to_handle(tool *tool, const tool_value *value) {
    tamis_tensor handle = to_tensor(value);
    if (value->kind == TAMIS_KIND_TENSOR || (value->kind == TAMIS_KIND_OPTIONAL && value->count == 0))
        return handle;
    tm_sequence *list =
        tm_arena_alloc(&tool->arena, sizeof *list + sizeof(tamis_tensor) * (size_t)value->count);
    list->count = value->count;
    for (int64_t i = 0; i < value->count; i++)
        list->items[i] = to_handle(tool, &value->items[i]);
    handle.data = list;
    return handle;
}

static void to_value(tool *tool, const tamis_tensor *tensor, tool_value *out) {
    int64_t count = 0;
    *out = (tool_value){.kind = (tamis_kind)tensor->kind,
                        .item = (tamis_kind)tensor->item,
                        .type = (tamis_type)tensor->type,
                        .key = (tamis_type)tensor->key};
    if (tensor->kind == TAMIS_KIND_TENSOR) {
        out->tensor = tm_constant_create(&tool->arena, out->type, tensor->rank, tensor->dims, tensor->data);
        return;
    }
    const tamis_tensor *from = tamis_tensor_items(tensor, &count);
    tool_value *items = TM_NEW_ARRAY(&tool->arena, tool_value, count + 1);
    for (int64_t i = 0; i < count; i++)
        to_value(tool, &from[i], &items[i]);
    out->count = count;
    out->items = items;
}

tm_code tool_engine_bind(tool_engine *engine, const tool_value *inputs) {
    tool *tool = engine->tool;
    tamis_error error;
    for (int i = 0; i < engine->input_count; i++) {
        tamis_tensor given = tool_value_given(tool, &inputs[i]);
        if (tamis_session_set_input_value(engine->session, i, &given, &error) != 0)
            return runtime_failed(tool, NULL, &error);
    }
    return TM_OK;
}

tm_code tool_engine_set_slot(tool_engine *engine, int slot, const tool_value *value, const char *file) {
    tamis_error error;
    tamis_tensor given = to_tensor(value);
    if ((engine->adapter == NULL && tamis_adapter_create(engine->loaded, &engine->adapter, &error) != 0) ||
        tamis_adapter_set(engine->adapter, slot, (tamis_type)given.type, given.rank, given.dims, given.data,
                          &error) != 0 ||
        tamis_session_set_adapter(engine->session, engine->adapter, &error) != 0)
        return runtime_failed(engine->tool, file, &error);
    return TM_OK;
}

static tm_code evaluate(tool_engine *engine, const tool_value *inputs, tool_value *out_outputs) {
    tool *tool = engine->tool;
    tamis_tensor *tensors = TM_NEW_ARRAY(&tool->arena, tamis_tensor, engine->input_count + 1);
    for (int i = 0; i < engine->input_count; i++)
        tensors[i] = to_handle(tool, &inputs[i]);
    tamis_tensor *results = TM_NEW_ARRAY(&tool->arena, tamis_tensor, engine->output_count + 1);
    engine->model->host = tamis_default_host();
    TM_TRY(tm_evaluate_model(engine->model, &tool->arena, tensors, results));
    for (int i = 0; i < engine->output_count; i++)
        to_value(tool, &results[i], &out_outputs[i]);
    return TM_OK;
}

tm_code tool_engine_run(tool_engine *engine, const tool_value *inputs, tool_value *out_outputs) {
    if (engine->model != NULL)
        return evaluate(engine, inputs, out_outputs);
    tamis_error error;
    TM_TRY(tool_engine_bind(engine, inputs));
    if (tamis_session_run(engine->session, &error) != 0)
        return runtime_failed(engine->tool, NULL, &error);
    for (int i = 0; i < engine->output_count; i++)
        to_value(engine->tool, tamis_session_output(engine->session, i), &out_outputs[i]);
    return TM_OK;
}
