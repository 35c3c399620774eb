/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis inspect MODEL.onnx|OUT.so: what is in it. Of a model: inputs, outputs, nodes by op (those of
 * subgraphs too), bytes of weights, what has no kernel. Of an artifact: the fields of its header. With
 * --schedule how its loops are cut, and nothing else: those of an artifact stand in its manifest; with
 * --compress what is in the weights of a model, with --size what the bytes are of an artifact, or of what a
 * model would be compiled to. The first two
 * are built as one JSON tree, which --json prints as it is and which is printed as text otherwise.
 */
#include "tools/inspect.h"

#include "codegen/codegen.h"
#include "codegen/llvm/schedule.h"
#include "compiler/internal.h"
#include "ir/evaluate.h"
#include "ir/infer.h"
#include "passes/passes.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {"none", "tensor", "sequence", "optional", "map"};

static json_object *ports_json(const tool_port *ports, int count) {
    json_object *list = json_object_new_array();
    for (int i = 0; i < count; i++) {
        json_object *item = json_object_new_object();
        json_object *dims = json_object_new_array();
        json_object_object_add(item, "name", json_object_new_string(ports[i].name));
        const tm_datum *form = &ports[i].form;
        json_object_object_add(item, "kind", json_object_new_string(kind_names[form->kind]));
        if (form->kind != TAMIS_KIND_TENSOR)
            json_object_object_add(item, "item", json_object_new_string(kind_names[form->item]));
        if (form->key != TAMIS_TYPE_UNDEFINED)
            json_object_object_add(item, "key", json_object_new_string(tm_type_text(form->key)));
        json_object_object_add(item, "type", json_object_new_string(tm_type_text(form->type)));
        for (int d = 0; d < ports[i].rank; d++)
            json_object_array_add(dims, json_object_new_string(ports[i].dims[d]));
        if (ports[i].rank >= 0)
            json_object_object_add(item, "dims", dims);
        else
            json_object_put(dims);
        json_object_array_add(list, item);
    }
    return list;
}

/* ---- models ---- */

typedef struct model_facts {
    int64_t op_counts[TM_OP_COUNT];
    int64_t nodes, weights_bytes;
    json_object *unsupported;
} model_facts;

static void count_graph(tool *tool, const tm_graph *graph, model_facts *facts) {
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        facts->op_counts[node->op]++;
        facts->nodes++;
        if (!tm_kernel_exists(node)) {
            const char *text = tm_arena_format(&tool->arena, "%s '%s' (%s)", tm_op_get(node->op)->name,
                                               node->name != NULL ? node->name : "", tm_kernel_symbol(node));
            json_object_array_add(facts->unsupported, json_object_new_string(text));
        }
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            count_graph(tool, tm_node_subgraph(node, i), facts);
    }
}

typedef struct op_count {
    const char *name;
    int64_t count;
} op_count;

static int by_count(const void *a, const void *b) {
    const op_count *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : strcmp(x->name, y->name);
}

static json_object *ops_json(const model_facts *facts) {
    op_count ops[TM_OP_COUNT];
    size_t count = 0;
    for (int op = 0; op < TM_OP_COUNT; op++)
        if (facts->op_counts[op] > 0)
            ops[count++] = (op_count){tm_op_get((tm_op)op)->name, facts->op_counts[op]};
    qsort(ops, count, sizeof *ops, by_count);
    json_object *object = json_object_new_object();
    for (size_t i = 0; i < count; i++)
        json_object_object_add(object, ops[i].name, json_object_new_int64(ops[i].count));
    return object;
}

static tm_code inspect_model(tool *tool, const char *path, tool_compile *compile, json_object *root) {
    tm_model *model;
    TM_TRY(tool_import(tool, path, compile, &model));
    TM_TRY(tm_infer(model));
    model_facts *facts = TM_NEW(&tool->arena, model_facts);
    facts->unsupported = json_object_new_array();
    count_graph(tool, model->main, facts);
    for (size_t i = 0; i < model->values.count; i++)
        if (tm_value_is_constant(model->values.items[i]))
            facts->weights_bytes += model->values.items[i]->constant->bytes;
    const tm_graph *graph = model->main;
    json_object_object_add(root, "file", json_object_new_string(path));
    json_object_object_add(root, "inputs",
                           ports_json(tool_model_ports(tool, graph->inputs.items, graph->inputs.count),
                                      (int)graph->inputs.count));
    json_object_object_add(root, "outputs",
                           ports_json(tool_model_ports(tool, graph->outputs.items, graph->outputs.count),
                                      (int)graph->outputs.count));
    json_object_object_add(root, "weights_bytes", json_object_new_int64(facts->weights_bytes));
    json_object_object_add(root, "nodes", json_object_new_int64(facts->nodes));
    json_object_object_add(root, "ops", ops_json(facts));
    json_object_object_add(root, "unsupported", facts->unsupported);
    return TM_OK;
}

/* ---- artifacts ---- */

static void add_hash(tool *tool, json_object *root, const char *name, uint64_t hash) {
    json_object_object_add(
        root, name,
        json_object_new_string(tm_arena_format(&tool->arena, "%016llx", (unsigned long long)hash)));
}

static tm_code inspect_artifact(tool *tool, const char *path, json_object *root) {
    tamis_model *loaded;
    tamis_error error;
    if (tamis_model_load(path, &loaded, &error) != 0)
        return tool_report(tool, (tm_code)error.code, NULL, NULL, "%s", error.message);
    const tamis_artifact *a = tamis_model_artifact(loaded);
    json_object *levels = json_object_new_array();
    for (uint32_t i = 0; i < a->level_count; i++)
        json_object_array_add(levels, json_object_new_string(a->levels[i]));
    json_object_object_add(root, "file", json_object_new_string(path));
    json_object_object_add(root, "name", json_object_new_string(a->name));
    json_object_object_add(root, "producer", json_object_new_string(a->producer));
    json_object_object_add(root, "abi_version", json_object_new_int64(a->abi_version));
    json_object_object_add(root, "target", json_object_new_string(a->target));
    json_object_object_add(root, "levels", levels);
    json_object_object_add(root, "cpu_level", json_object_new_string(a->levels[a->cpu_level()]));
    json_object_object_add(root, "inputs",
                           ports_json(tool_artifact_ports(tool, a->inputs, a->input_count), a->input_count));
    json_object_object_add(
        root, "outputs", ports_json(tool_artifact_ports(tool, a->outputs, a->output_count), a->output_count));
    if (a->weight_slot_count > 0)
        json_object_object_add(root, "slots",
                               ports_json(tool_artifact_ports(tool, a->weight_slots, a->weight_slot_count),
                                          a->weight_slot_count));
    json_object_object_add(root, "values", json_object_new_int64(a->value_count));
    json_object_object_add(root, "calls", json_object_new_int64(a->node_count));
    json_object_object_add(root, "allocates", json_object_new_boolean(a->allocates != 0));
    json_object_object_add(root, "weights_bytes", json_object_new_int64(a->weights_bytes));
    json_object_object_add(root, "stored_bytes", json_object_new_int64(a->stored_bytes));
    if (a->weights_file != NULL)
        json_object_object_add(root, "weights_file", json_object_new_string(a->weights_file));
    add_hash(tool, root, "weights_hash", a->weights_hash);
    add_hash(tool, root, "model_hash", a->model_hash);
    json_object *manifest = a->manifest != NULL ? json_tokener_parse(a->manifest) : NULL;
    if (manifest != NULL)
        json_object_object_add(root, "manifest", manifest);
    tamis_model_destroy(loaded);
    return TM_OK;
}

/* ---- schedules ---- */

/* As JSON, of a model as it would be compiled. */
static tm_code model_schedules(tool *tool, const char *path, tool_compile *compile, const char **out_json) {
    tm_model *model;
    tm_target_choice target;
    TM_TRY(tool_import(tool, path, compile, &model));
    const tamis_compile_options *given = tool_compile_get(compile);
    tm_pass_options options = {.level = given->level,
                               .strict_math = given->strict_math,
                               .without_integers = given->without_integers,
                               .factors = given->precision == TAMIS_PRECISION_BF16 ? TAMIS_TYPE_BFLOAT16
                                                                                   : TAMIS_TYPE_UNDEFINED,
                               .disabled = given->disabled_passes,
                               .disabled_count = given->disabled_pass_count,
                               .bisect_limit = given->bisect_limit,
                               .print_after = given->print_after};
    tm_text text;
    tm_text_init(&text, &tool->arena);
    TM_TRY(tm_passes_run(model, &options, &text));
    TM_TRY(tm_target_choose(&tool->diagnostics, given->target, given->cpu, tm_graph_units(model->main),
                            &target));
    tm_text_init(&text, &tool->arena);
    tm_schedule_table table, *measured = NULL;
    tm_text warnings;
    tm_text_init(&warnings, &tool->arena);
    if (given->schedules != NULL) {
        TM_TRY(tm_schedules_read(&tool->arena, &tool->diagnostics, given->schedules, target.target, &table,
                                 &warnings));
        measured = &table;
    }
    tm_schedule_list(model, &target, measured, &text);
    if (measured != NULL)
        tm_schedules_warn(measured, given->schedules, &target, &warnings);
    fputs(tm_text_get(&warnings), stderr);
    *out_json = tm_text_get(&text);
    return TM_OK;
}

static tm_code inspect_schedules(tool *tool, const char *path, tool_compile *compile, json_object *root) {
    json_object *list = NULL;
    if (tool_is_artifact(path)) {
        json_object *facts = json_object_new_object(), *manifest = NULL;
        tm_code code = inspect_artifact(tool, path, facts);
        if (json_object_object_get_ex(facts, "manifest", &manifest))
            list = json_object_get(json_object_object_get(manifest, "schedules"));
        json_object_put(facts);
        TM_TRY(code);
    } else {
        const char *json;
        TM_TRY(model_schedules(tool, path, compile, &json));
        list = json_tokener_parse(json);
    }
    json_object_object_add(root, "schedules", list);
    return TM_OK;
}

/* ---- text ---- */

/* Names come from foreign files: control bytes would move the cursor of a terminal. */
static const char *printable(tool *tool, json_object *item) {
    const char *raw = json_object_get_string(item);
    tm_text text;
    tm_text_init(&text, &tool->arena);
    tm_text_add_escaped(&text, raw, strlen(raw));
    return tm_text_get(&text);
}

/* "sequence of ", "map from i64 to "; nothing for tensors. */
static void print_kind(json_object *port, const char *member) {
    json_object *kind = json_object_object_get(port, member);
    const char *text = kind != NULL ? json_object_get_string(kind) : "tensor";
    if (strcmp(text, "map") == 0)
        printf("map from %s to ", json_object_get_string(json_object_object_get(port, "key")));
    else if (strcmp(text, "tensor") != 0)
        printf("%s of ", text);
}

static void print_port(tool *tool, json_object *port) {
    json_object *dims = json_object_object_get(port, "dims");
    printf("  %s: ", printable(tool, json_object_object_get(port, "name")));
    print_kind(port, "kind");
    print_kind(port, "item");
    printf("%s", json_object_get_string(json_object_object_get(port, "type")));
    if (dims == NULL) {
        printf("\n");
        return;
    }
    printf("[");
    for (size_t i = 0; i < json_object_array_length(dims); i++)
        printf("%s%s", i > 0 ? ", " : "", json_object_get_string(json_object_array_get_idx(dims, i)));
    printf("]\n");
}

static void print_text(tool *tool, json_object *root) {
    json_object_object_foreach(root, key, value) {
        if (json_object_is_type(value, json_type_array)) {
            printf("%s:%s\n", key, json_object_array_length(value) == 0 ? " none" : "");
            for (size_t i = 0; i < json_object_array_length(value); i++) {
                json_object *item = json_object_array_get_idx(value, i);
                if (json_object_is_type(item, json_type_object))
                    print_port(tool, item);
                else
                    printf("  %s\n", printable(tool, item));
            }
        } else if (json_object_is_type(value, json_type_object)) {
            printf("%s:\n", key);
            json_object_object_foreach(value, name, item)
                printf("  %-28s %s\n", name, json_object_get_string(item));
        } else {
            printf("%s: %s\n", key, json_object_get_string(value));
        }
    }
}

int tool_inspect_main(tool *tool, int argc, char **argv) {
    enum { JSON = 1, SCHEDULE, COMPRESS, HTML, SIZE };
    static const tool_option options_table[] = {{"--json", TOOL_FLAG, JSON},
                                                {"--schedule", TOOL_FLAG, SCHEDULE},
                                                {"--compress", TOOL_FLAG, COMPRESS},
                                                {"--html", TOOL_VALUE, HTML},
                                                {"--size", TOOL_FLAG, SIZE},
                                                TOOL_COMPILE_OPTIONS,
                                                {NULL, TOOL_FLAG, 0}};
    tool_compile compile;
    tool_compile_init(&compile);
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    bool json = false, schedule = false, compress = false, size = false;
    const char *html = NULL;
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0) {
        if (id == JSON)
            json = true;
        else if (id == SCHEDULE)
            schedule = true;
        else if (id == COMPRESS)
            compress = true;
        else if (id == HTML)
            html = arguments.value;
        else if (id == SIZE)
            size = true;
        else if (tool_compile_option(tool, &compile, id, arguments.value) != TM_OK)
            return tool_fail(tool);
    }
    if (id < 0)
        return tool_fail(tool);
    if (tool_arguments_single(&arguments, "one model or artifact", "tamis help inspect") != TM_OK)
        return tool_fail(tool);
    const char *path = arguments.names.items[0];
    if (html != NULL && !compress) {
        (void)tool_report(tool, TM_E_USAGE, NULL, "tamis inspect --compress MODEL.onnx --html FILE",
                          "--html: only --compress makes a page");
        return tool_fail(tool);
    }
    if (compile.options.map != NULL && !size) {
        (void)tool_report(tool, TM_E_USAGE, NULL, "tamis inspect --size --map=FILE ARTIFACT",
                          "--map: only --size reads one");
        return tool_fail(tool);
    }
    if (compress || size)
        return (compress ? tool_inspect_weights(tool, path, &compile, json, html)
                         : tool_inspect_size(tool, path, &compile, json)) == TM_OK
                   ? 0
                   : tool_fail(tool);
    json_object *root = json_object_new_object();
    tm_code code = schedule                 ? inspect_schedules(tool, path, &compile, root)
                   : tool_is_artifact(path) ? inspect_artifact(tool, path, root)
                                            : inspect_model(tool, path, &compile, root);
    if (code == TM_OK && json)
        puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    else if (code == TM_OK)
        print_text(tool, root);
    json_object_put(root);
    return code == TM_OK ? 0 : tool_fail(tool);
}
