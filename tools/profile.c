/* SPDX-License-Identifier: Apache-2.0
 *
 * profile.c: collects what an artifact that was compiled with --profile tells of its steps, and reports it.
 *
 * Times are kept run by run, and the median over the runs is reported: a step that is interrupted in one
 * run does not look slow. Flops and bytes are told by the artifact, from the dims of the run.
 */
#include "tools/profile.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

double tool_profile_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static tool_profile_row *row_of(tool_profile *profile, const tamis_step *step) {
    while (profile->rows.count <= (size_t)step->number)
        tm_push(&profile->tool->arena, &profile->rows, (tool_profile_row){0});
    tool_profile_row *row = &profile->rows.items[step->number];
    row->step = step;
    return row;
}

static void take_step(void *user, const tamis_step *step, int32_t finished, int64_t flops, int64_t bytes) {
    tool_profile *profile = user;
    if (!finished) {
        tm_push(&profile->tool->arena, &profile->events, (tool_profile_event){.step = step});
        profile->events.items[profile->events.count - 1].begin = tool_profile_now();
        return;
    }
    double end = tool_profile_now();
    tool_profile_event *event = &profile->events.items[profile->events.count - 1];
    event->end = end;
    event->flops = flops;
    event->bytes = bytes;
    tool_profile_row *row = row_of(profile, step);
    while (row->seconds.count < profile->runs)
        tm_push(&profile->tool->arena, &row->seconds, 0.0);
    row->seconds.items[profile->runs - 1] += end - event->begin;
    row->calls++;
    row->flops += flops;
    row->bytes += bytes;
}

tm_code tool_profile_init(tool_profile *profile, tool_engine *engine, int threads) {
    *profile = (tool_profile){.tool = engine->tool, .threads = threads, .peak = tool_peak_flops()};
    profile->profiler = (tamis_profiler){.user = profile, .step = take_step};
    tamis_error error;
    if (tamis_model_set_profiler(engine->loaded, &profile->profiler, &error) != 0)
        return tool_report(engine->tool, (tm_code)error.code, NULL, NULL, "%s", error.message);
    return TM_OK;
}

void tool_profile_begin(tool_profile *profile) {
    profile->runs++;
    profile->events.count = 0;
    for (size_t i = 0; i < profile->rows.count; i++) {
        tool_profile_row *row = &profile->rows.items[i];
        row->calls = row->flops = row->bytes = 0;
    }
}

/* ---- reports ---- */

typedef struct line {
    const tool_profile_row *row;
    double seconds;
} line;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int slowest_first(const void *a, const void *b) {
    const line *x = a, *y = b;
    if (x->seconds != y->seconds)
        return x->seconds < y->seconds ? 1 : -1;
    return (x->row->step->number > y->row->step->number) - (x->row->step->number < y->row->step->number);
}

static line *lines_of(tool_profile *profile, size_t *out_count, double *out_total) {
    line *lines = TM_NEW_ARRAY(&profile->tool->arena, line, profile->rows.count + 1);
    *out_count = 0;
    *out_total = 0;
    for (size_t i = 0; i < profile->rows.count; i++) {
        tool_profile_row *row = &profile->rows.items[i];
        if (row->step == NULL)
            continue;
        while (row->seconds.count < profile->runs)
            tm_push(&profile->tool->arena, &row->seconds, 0.0);
        double *sorted =
            tm_arena_copy(&profile->tool->arena, row->seconds.items, row->seconds.count * sizeof(double));
        qsort(sorted, row->seconds.count, sizeof(double), by_value);
        lines[*out_count] = (line){row, sorted[row->seconds.count / 2]};
        *out_total += lines[(*out_count)++].seconds;
    }
    qsort(lines, *out_count, sizeof(line), slowest_first);
    return lines;
}

static double per_second(int64_t amount, double seconds) {
    return seconds > 0 ? (double)amount / seconds : 0;
}

/* A step is called by its first node: the product, the norm or the like that the others were merged into. */
static const char *title(const tamis_step *step) {
    return step->source_count > 0 ? step->sources[0] : step->function;
}

/* Measured before and after the runs: a machine that was busy once looks slower than it is. */
static double peak_of(tool_profile *profile) {
    double again = tool_peak_flops();
    profile->peak = again > profile->peak ? again : profile->peak;
    return profile->peak * profile->threads;
}

void tool_profile_print(tool_profile *profile, tm_text *out) {
    size_t count;
    double total, peak = peak_of(profile);
    line *lines = lines_of(profile, &count, &total);
    tm_text_add(out, "peak_gflops %.1f\nsteps_us %.2f\n\n", peak * 1e-9, total * 1e6);
    tm_text_add(out, "   time us  share    Gflop/s  of peak     GB/s  calls  kind             nodes\n");
    for (size_t i = 0; i < count; i++) {
        const tool_profile_row *row = lines[i].row;
        double flops = per_second(row->flops, lines[i].seconds);
        const char *name = title(row->step);
        tm_text_add(out, "%10.2f %5.1f %% %10.2f %6.1f %% %8.2f %6lld  %-15s  ", lines[i].seconds * 1e6,
                    total > 0 ? 100 * lines[i].seconds / total : 0, flops * 1e-9, 100 * flops / peak,
                    per_second(row->bytes, lines[i].seconds) * 1e-9, (long long)row->calls, row->step->kind);
        tm_text_add_escaped(out, name, strlen(name));
        if (row->step->source_count > 1)
            tm_text_add(out, " and %d more", (int)row->step->source_count - 1);
        tm_text_add(out, "\n");
    }
}

static void add_sources(json_object *object, const tamis_step *step) {
    json_object *sources = json_object_new_array();
    for (int32_t i = 0; i < step->source_count; i++)
        json_object_array_add(sources, json_object_new_string(step->sources[i]));
    json_object_object_add(object, "sources", sources);
    json_object_object_add(object, "function", json_object_new_string(step->function));
}

json_object *tool_profile_json(tool_profile *profile) {
    size_t count;
    double total, peak = peak_of(profile);
    line *lines = lines_of(profile, &count, &total);
    json_object *root = json_object_new_object(), *steps = json_object_new_array();
    json_object_object_add(root, "peak_flops_per_second", json_object_new_double(peak));
    json_object_object_add(root, "runs", json_object_new_int64((int64_t)profile->runs));
    json_object_object_add(root, "seconds", json_object_new_double(total));
    json_object_object_add(root, "steps", steps);
    for (size_t i = 0; i < count; i++) {
        const tool_profile_row *row = lines[i].row;
        json_object *step = json_object_new_object();
        json_object_object_add(step, "step", json_object_new_int(row->step->number));
        json_object_object_add(step, "kind", json_object_new_string(row->step->kind));
        json_object_object_add(step, "seconds", json_object_new_double(lines[i].seconds));
        json_object_object_add(step, "calls", json_object_new_int64(row->calls));
        json_object_object_add(step, "flops", json_object_new_int64(row->flops));
        json_object_object_add(step, "bytes", json_object_new_int64(row->bytes));
        json_object_object_add(
            step, "share_of_peak",
            json_object_new_double(per_second(row->flops, lines[i].seconds) / peak));
        add_sources(step, row->step);
        json_object_array_add(steps, step);
    }
    return root;
}

tm_code tool_profile_write_trace(tool_profile *profile, const char *path) {
    json_object *root = json_object_new_object(), *events = json_object_new_array();
    json_object_object_add(root, "displayTimeUnit", json_object_new_string("ns"));
    json_object_object_add(root, "traceEvents", events);
    for (size_t i = 0; i < profile->events.count; i++) {
        const tool_profile_event *from = &profile->events.items[i];
        json_object *event = json_object_new_object(), *arguments = json_object_new_object();
        json_object_object_add(event, "name", json_object_new_string(title(from->step)));
        json_object_object_add(event, "cat", json_object_new_string(from->step->kind));
        json_object_object_add(event, "ph", json_object_new_string("X"));
        json_object_object_add(
            event, "ts", json_object_new_double((from->begin - profile->events.items[0].begin) * 1e6));
        json_object_object_add(event, "dur", json_object_new_double((from->end - from->begin) * 1e6));
        json_object_object_add(event, "pid", json_object_new_int(1));
        json_object_object_add(event, "tid", json_object_new_int(1));
        json_object_object_add(arguments, "flops", json_object_new_int64(from->flops));
        json_object_object_add(arguments, "bytes", json_object_new_int64(from->bytes));
        add_sources(arguments, from->step);
        json_object_object_add(event, "args", arguments);
        json_object_array_add(events, event);
    }
    size_t bytes;
    const char *text = json_object_to_json_string_length(root, JSON_C_TO_STRING_PLAIN, &bytes);
    tm_code code = tool_write_file(profile->tool, path, text, bytes);
    json_object_put(root);
    return code;
}
