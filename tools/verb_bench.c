/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis bench MODEL|OUT.so: latency of one call, after a warm-up, over as many calls as fit in --seconds:
 * minimum, median, 90th and 99th percentile, with load time and memory. Minimum and median differ much on a
 * busy machine; compare medians of alternating runs. With --profile also of each step: profile.c.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tools/profile.h"

#include <stdlib.h>
#include <string.h>

enum { INPUTS = 1, SIZE, SEED, SECONDS, THREADS, JSON, TRACE };

static const tool_option options_table[] = {{"--inputs", TOOL_VALUE, INPUTS},
                                            {"--size", TOOL_VALUE, SIZE},
                                            {"--seed", TOOL_VALUE, SEED},
                                            {"--seconds", TOOL_VALUE, SECONDS},
                                            {"--threads", TOOL_VALUE, THREADS},
                                            {"--json", TOOL_FLAG, JSON},
                                            {"--trace", TOOL_VALUE, TRACE},
                                            TOOL_COMPILE_OPTIONS,
                                            {NULL, TOOL_FLAG, 0}};

typedef struct bench_options {
    const char *inputs, *trace;
    tool_sizes sizes;
    int64_t seed, threads;
    double seconds;
    bool json;
} bench_options;

typedef struct figures {
    double create; /* seconds to compile (for a model) and load */
    double minimum, median, p90, p99;
    size_t calls;
    int64_t workspace, weights;
} figures;

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* profile: NULL, or what takes the steps. */
static tm_code measure(tool_engine *engine, const tool_value *inputs, double seconds, tool_profile *profile,
                       figures *out) {
    tool *tool = engine->tool;
    TM_VECTOR(double) times = {0};
    tamis_error error;
    TM_TRY(tool_engine_bind(engine, inputs));
    double now = tool_profile_now(), end = now + seconds * 1.1, warm = now + seconds * 0.1;
    for (double start = now; start < end || times.count < 3; start = tool_profile_now()) {
        if (profile != NULL)
            tool_profile_begin(profile);
        if (tamis_session_run(engine->session, &error) != 0)
            return tool_report(tool, (tm_code)error.code, NULL, NULL, "%s", error.message);
        double stop = tool_profile_now();
        if (stop > warm)
            tm_push(&tool->arena, &times, stop - start);
    }
    qsort(times.items, times.count, sizeof(double), by_size);
    out->calls = times.count;
    out->minimum = times.items[0];
    out->median = times.items[times.count / 2];
    out->p90 = times.items[times.count * 9 / 10];
    out->p99 = times.items[times.count * 99 / 100];
    out->workspace = tamis_session_workspace_bytes(engine->session);
    out->weights = tamis_model_artifact(engine->loaded)->weights_bytes;
    return TM_OK;
}

static void print_figures(const figures *f, bool is_artifact, bool json, tool_profile *profile) {
    const char *created = is_artifact ? "load_ms" : "compile_and_load_ms";
    if (!json) {
        printf("%s %.3f\ncalls %zu\nmin_us %.2f\nmedian_us %.2f\np90_us %.2f\np99_us %.2f\nworkspace_bytes "
               "%lld\nweights_bytes %lld\n",
               created, f->create * 1e3, f->calls, f->minimum * 1e6, f->median * 1e6, f->p90 * 1e6,
               f->p99 * 1e6, (long long)f->workspace, (long long)f->weights);
        if (profile != NULL) {
            tm_text text;
            tm_text_init(&text, &profile->tool->arena);
            tool_profile_print(profile, &text);
            fputs(tm_text_get(&text), stdout);
        }
        return;
    }
    json_object *root = json_object_new_object();
    json_object_object_add(root, created, json_object_new_double(f->create * 1e3));
    json_object_object_add(root, "calls", json_object_new_int64((int64_t)f->calls));
    json_object_object_add(root, "min_us", json_object_new_double(f->minimum * 1e6));
    json_object_object_add(root, "median_us", json_object_new_double(f->median * 1e6));
    json_object_object_add(root, "p90_us", json_object_new_double(f->p90 * 1e6));
    json_object_object_add(root, "p99_us", json_object_new_double(f->p99 * 1e6));
    json_object_object_add(root, "workspace_bytes", json_object_new_int64(f->workspace));
    json_object_object_add(root, "weights_bytes", json_object_new_int64(f->weights));
    if (profile != NULL)
        json_object_object_add(root, "profile", tool_profile_json(profile));
    puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
    json_object_put(root);
}

static tm_code bench(tool *tool, const char *path, tool_compile *compile, const bench_options *options) {
    tool_engine engine;
    tool_engine_options engine_options = {.threads = (int)options->threads,
                                          .strict = compile->options.strict_math};
    figures f = {0};
    tool_profile recorded, *profile = NULL;
    if (options->trace != NULL) {
        compile->options.profile = true;
        TM_TRY(tool_can_create(tool, options->trace));
    }
    double start = tool_profile_now();
    TM_TRY(tool_engine_create(tool, path, compile, &engine_options, &engine));
    f.create = tool_profile_now() - start;
    tool_value *inputs = TM_NEW_ARRAY(&tool->arena, tool_value, engine.input_count + 1);
    tm_code code =
        tool_make_inputs(&engine, options->inputs, &options->sizes, (uint64_t)options->seed, inputs);
    if (code == TM_OK && compile->options.profile) {
        profile = &recorded;
        code = tool_profile_init(profile, &engine, options->threads > 0 ? (int)options->threads : 1);
    }
    if (code == TM_OK)
        code = measure(&engine, inputs, options->seconds, profile, &f);
    if (code == TM_OK && options->trace != NULL)
        code = tool_profile_write_trace(profile, options->trace);
    if (code == TM_OK)
        print_figures(&f, tool_is_artifact(path), options->json, profile);
    tool_engine_destroy(&engine); /* last: the records of the steps stand in the artifact */
    return code;
}

static tm_code take_option(tool *tool, int id, const char *value, bench_options *options,
                           tool_compile *compile) {
    switch (id) {
    case INPUTS:
        options->inputs = value;
        return TM_OK;
    case SIZE:
        return tool_sizes_add(tool, &options->sizes, value);
    case SEED:
        return tool_parse_integer(tool, "--seed", value, 0, INT64_MAX, &options->seed);
    case SECONDS:
        return tool_parse_tolerance(tool, "--seconds", value, &options->seconds);
    case THREADS:
        return tool_parse_integer(tool, "--threads", value, 1, 256, &options->threads);
    case TRACE:
        options->trace = value;
        return TM_OK;
    case JSON:
        options->json = true;
        return TM_OK;
    default:
        return tool_compile_option(tool, compile, id, value);
    }
}

int tool_bench_main(tool *tool, int argc, char **argv) {
    tool_compile compile;
    tool_compile_init(&compile);
    bench_options options = {.sizes = {.fallback = 4}, .seconds = 2, .threads = 1};
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0)
        if (take_option(tool, id, arguments.value, &options, &compile) != TM_OK)
            return tool_fail(tool);
    if (id < 0)
        return tool_fail(tool);
    if (tool_arguments_single(&arguments, "one model or artifact", "tamis help bench") != TM_OK)
        return tool_fail(tool);
    return bench(tool, arguments.names.items[0], &compile, &options) == TM_OK ? 0 : tool_fail(tool);
}
