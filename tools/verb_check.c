/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis check DIR...: runs ONNX backend-test folders through the compiled path and says, a line a folder,
 *
 *     pass         test_add
 *     FAIL         test_acos  set 0 output 0 'y': 3 of 60 wrong, ...
 *     unsupported  test_foo   main:node 0:Foo: error E0200: ...
 *     crash        test_bar   signal Segmentation fault
 *
 * and a summary. A DIR without model.onnx is searched for folders that have one.
 */
#include "tools/check.h"

#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

typedef TM_VECTOR(check_case) case_list;

static tm_code find_cases(tool *tool, const char *path, const char *name, const char *filter, int depth,
                          case_list *out) {
    if (tool_exists(tm_arena_format(&tool->arena, "%s/model.onnx", path))) {
        if (filter == NULL || strstr(name, filter) != NULL)
            tm_push(&tool->arena, out, (check_case){.path = path, .name = name});
        return TM_OK;
    }
    const char **names;
    size_t count = 0;
    TM_TRY(tool_list_folder(tool, path, &names, &count));
    for (size_t i = 0; i < count && depth < 8; i++) {
        const char *inner = tm_arena_format(&tool->arena, "%s/%s", path, names[i]);
        const char *inner_name =
            depth == 0 ? names[i] : tm_arena_format(&tool->arena, "%s/%s", name, names[i]);
        if (tool_is_folder(inner))
            TM_TRY(find_cases(tool, inner, inner_name, filter, depth + 1, out));
    }
    return TM_OK;
}

typedef struct report_context {
    bool json, quiet;
    json_object *list;
    int64_t counts[CHECK_STATUS_COUNT];
} report_context;

static void report_case(void *argument, check_case *done) {
    report_context *context = argument;
    context->counts[done->status]++;
    if (context->json) {
        json_object *item = json_object_new_object();
        json_object_object_add(item, "name", json_object_new_string(done->name));
        json_object_object_add(item, "status", json_object_new_string(check_status_text(done->status)));
        json_object_object_add(item, "detail", json_object_new_string(done->detail));
        json_object_object_add(item, "seconds", json_object_new_double(done->seconds));
        json_object_array_add(context->list, item);
    } else if (!context->quiet || done->status != CHECK_PASS) {
        printf("%-11s  %s%s%s\n", check_status_text(done->status), done->name,
               done->detail[0] != 0 ? "  " : "", done->detail);
        fflush(stdout);
    }
}

static void print_summary(const report_context *context, size_t total) {
    if (!context->json) {
        printf("%zu cases:", total);
        for (int s = 0; s < CHECK_STATUS_COUNT; s++)
            printf("%s %lld %s", s > 0 ? "," : "", (long long)context->counts[s],
                   check_status_text((check_status)s));
        printf("\n");
        return;
    }
    json_object *root = json_object_new_object();
    json_object *summary = json_object_new_object();
    for (int s = 0; s < CHECK_STATUS_COUNT; s++)
        json_object_object_add(summary, check_status_text((check_status)s),
                               json_object_new_int64(context->counts[s]));
    json_object_object_add(root, "cases", context->list);
    json_object_object_add(root, "summary", summary);
    puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(root);
}

enum { JOBS = 1, TIMEOUT, RTOL, ATOL, JSON, EVALUATE, STATIC, FILTER, QUIET, THREADS, OUTPUTS };

static const tool_option options_table[] = {{"--jobs", TOOL_VALUE, JOBS},
                                            {"-j", TOOL_VALUE, JOBS},
                                            {"--timeout", TOOL_VALUE, TIMEOUT},
                                            {"--rtol", TOOL_VALUE, RTOL},
                                            {"--atol", TOOL_VALUE, ATOL},
                                            {"--json", TOOL_FLAG, JSON},
                                            {"--evaluate", TOOL_FLAG, EVALUATE},
                                            {"--static", TOOL_FLAG, STATIC},
                                            {"--filter", TOOL_VALUE, FILTER},
                                            {"--quiet", TOOL_FLAG, QUIET},
                                            {"-q", TOOL_FLAG, QUIET},
                                            {"--threads", TOOL_VALUE, THREADS},
                                            {"--outputs", TOOL_VALUE, OUTPUTS},
                                            TOOL_COMPILE_OPTIONS,
                                            {NULL, TOOL_FLAG, 0}};

static tm_code take_option(tool *tool, int id, const char *value, check_options *options,
                           report_context *context, const char **filter) {
    int64_t number = 0;
    switch (id) {
    case JOBS:
        return tool_parse_integer(tool, "--jobs", value, 1, 1024, &options->jobs);
    case TIMEOUT:
        return tool_parse_integer(tool, "--timeout", value, 1, 1000000, &options->timeout);
    case RTOL:
        options->has_rtol = true;
        return tool_parse_tolerance(tool, "--rtol", value, &options->tolerance.rtol);
    case ATOL:
        options->has_atol = true;
        return tool_parse_tolerance(tool, "--atol", value, &options->tolerance.atol);
    case JSON:
        context->json = true;
        return TM_OK;
    case EVALUATE:
        options->evaluate = true;
        return TM_OK;
    case STATIC:
        options->pin_dims = true;
        return TM_OK;
    case FILTER:
        *filter = value;
        return TM_OK;
    case OUTPUTS:
        options->outputs = value;
        return TM_OK;
    case QUIET:
        context->quiet = true;
        return TM_OK;
    case THREADS:
        TM_TRY(tool_parse_integer(tool, "--threads", value, 1, 256, &number));
        options->threads = (int)number;
        return TM_OK;
    default:
        return tool_compile_option(tool, options->compile, id, value);
    }
}

int tool_check_main(tool *tool, int argc, char **argv) {
    tool_compile compile;
    tool_compile_init(&compile);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    check_options options = {.jobs = cpus > 0 ? cpus : 1, .timeout = 300, .threads = 1, .compile = &compile};
    report_context context = {.list = json_object_new_array()};
    const char *filter = NULL;
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0)
        if (take_option(tool, id, arguments.value, &options, &context, &filter) != TM_OK)
            return tool_fail(tool);
    if (id < 0)
        return tool_fail(tool);
    options.strict = compile.options.strict_math;
    case_list cases = {0};
    for (size_t i = 0; i < arguments.names.count; i++) {
        const char *path = arguments.names.items[i];
        size_t size = strlen(path);
        while (size > 1 && path[size - 1] == '/')
            size--;
        path = tm_arena_string_n(&tool->arena, path, size);
        if (find_cases(tool, path, tool_base_name(path), filter, 0, &cases) != TM_OK)
            return tool_fail(tool);
    }
    if (cases.count == 0) {
        tool_report(tool, TM_E_USAGE, NULL, "tamis help check", "no folder with a model.onnx was given");
        return tool_fail(tool);
    }
    if (check_run_all(tool, cases.items, cases.count, &options, report_case, &context) != TM_OK)
        return tool_fail(tool);
    print_summary(&context, cases.count);
    if (!context.json)
        json_object_put(context.list);
    if (context.counts[CHECK_FAIL] + context.counts[CHECK_CRASH] > 0)
        return tm_code_exit(TM_E_DIFFERENCE);
    return context.counts[CHECK_UNSUPPORTED] > 0 ? tm_code_exit(TM_E_UNSUPPORTED_OP) : 0;
}
