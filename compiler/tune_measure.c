/* SPDX-License-Identifier: Apache-2.0
 *
 * tune_measure.c: compiles, loads and times artifacts for tune.c.
 *
 * Two artifacts run in turns, A B A B, on the same inputs, and each region has a ratio of its times for each
 * round: what slows the machine down for a while slows both. The median of the ratios decides, and only when
 * it is clear: a region is faster when three quarters of all rounds say so and the median by more than 2 %.
 */
#include "compiler/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LEAST_ROUNDS 7
#define MOST_ROUNDS 101
#define LEAST_GAIN 0.02

/* Of this thread, which does all the work: what other processes take does not count. */
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* ---- artifacts ---- */

static int number_of_region(tm_tune *t, const tm_scheduled *region, const tm_level *level) {
    if (region == NULL)
        return -1;
    const char *name = tm_scheduled_level(region, level);
    for (size_t i = 0; i < t->regions.count; i++)
        if (strcmp(t->regions.items[i].region->signature, region->signature) == 0 &&
            strcmp(t->regions.items[i].level, name) == 0)
            return (int)i;
    tm_tuned made = {region, name, tm_schedule_default(level, region), 1, {0}};
    tm_push(t->arena, &t->regions, made);
    return (int)t->regions.count - 1;
}

tm_code tm_tune_compile(tm_tune *t, tm_schedule_table *table, tm_tune_artifact *out) {
    tm_schedule_steps steps = {.arena = t->arena};
    tm_schedule_table none = {0};
    tm_tuning tuning = {.schedules = table != NULL ? table : &none, .steps = &steps};
    tamis_result *result = NULL;
    *out = (tm_tune_artifact){.owner = t,
                              .path = tm_arena_format(t->arena, "%s/%d.so", t->folder, t->artifacts++)};
    int code = tm_compile(t->source, out->path, t->options, &tuning, &result);
    for (size_t i = 0; code != 0 && result != NULL && i < result->diagnostics.list.count; i++) {
        const tm_diagnostic *d = &result->diagnostics.list.items[i];
        tm_report_mismatch(t->diagnostics, d->code, &d->place, d->hint, d->expected, d->found, "%s",
                           d->message);
    }
    tamis_result_destroy(result);
    if (code != 0)
        return (tm_code)code;
    out->step_count = steps.list.count;
    out->region_of_step = TM_NEW_ARRAY(t->arena, int, steps.list.count + 1);
    for (size_t i = 0; i < steps.list.count; i++)
        out->region_of_step[i] = number_of_region(t, steps.list.items[i], &tuning.target.levels[0]);
    return TM_OK;
}

static void take_step(void *user, const tamis_step *step, int32_t finished, int64_t flops, int64_t bytes) {
    tm_tune_artifact *a = user;
    (void)flops;
    (void)bytes;
    int region = (size_t)step->number < a->step_count ? a->region_of_step[step->number] : -1;
    if (region < 0)
        return;
    if (!finished)
        a->begin = now();
    else
        a->seconds[region] += now() - a->begin;
}

static tm_code failed(const tm_tune_artifact *a, const tamis_error *error) {
    return tm_report(a->owner->diagnostics, (tm_code)error->code, NULL, NULL, "--tune: %s", error->message);
}

static int64_t size_of_dim(const tamis_tune_options *tune, const char *text) {
    char *end;
    long long constant = strtoll(text, &end, 10);
    if (end != text && *end == 0)
        return constant;
    for (size_t i = 0; i < tune->size_count; i++)
        if (strcmp(tune->sizes[i].name, text) == 0)
            return tune->sizes[i].low;
    return tune->other_size;
}

/* A size for a dim that no input has is a slip of the pen. */
static tm_code check_sizes(tm_tune *t, const tamis_artifact *artifact) {
    for (size_t i = 0; i < t->tune->size_count; i++) {
        bool found = false;
        for (int p = 0; p < artifact->input_count; p++)
            for (int d = 0; d < artifact->inputs[p].rank; d++)
                found |= strcmp(artifact->inputs[p].dim_texts[d], t->tune->sizes[i].name) == 0;
        if (!found)
            return tm_report(t->diagnostics, TM_E_USAGE, NULL, "`tamis inspect` lists the dims of the inputs",
                             "--size: no input has a dim named '%s'", t->tune->sizes[i].name);
    }
    return TM_OK;
}

/* A random tensor for each input, the same for all artifacts. */
static tm_code bind_inputs(tm_tune_artifact *a) {
    tm_tune *t = a->owner;
    const tamis_artifact *artifact = t->runtime.model_artifact(a->model);
    TM_TRY(check_sizes(t, artifact));
    uint64_t seed = 0;
    tamis_error error;
    for (int i = 0; i < artifact->input_count; i++) {
        const tamis_port *port = &artifact->inputs[i];
        int64_t dims[TAMIS_MAX_RANK], count = 1, bytes = 0;
        for (int d = 0; d < port->rank; d++) {
            dims[d] = size_of_dim(t->tune, port->dim_texts[d]);
            if (!tm_mul_i64(count, dims[d], &count))
                count = INT64_MAX;
        }
        if (port->kind != TAMIS_KIND_TENSOR || port->type == TAMIS_TYPE_STRING || port->rank < 0)
            return tm_report(t->diagnostics, TM_E_UNSUPPORTED_FORM, NULL, NULL,
                             "--tune: input '%s' is no tensor of numbers of known rank", port->name);
        if (!tm_type_size((tamis_type)port->type, count, &bytes) || bytes > INT64_MAX - 64)
            return tm_report(t->diagnostics, TM_E_USAGE, NULL, "name the sizes of dims: --size NAME=N",
                             "--tune: input '%s' is too large", port->name);
        void *data = tm_arena_alloc(t->arena, (size_t)bytes + 64);
        tm_random_fill((tamis_type)port->type, data, count, &seed);
        if (t->runtime.set_input(a->session, i, (tamis_type)port->type, port->rank, dims, data, &error) != 0)
            return failed(a, &error);
    }
    return TM_OK;
}

/* Also at the end of the arena, where something failed. */
static void unload(void *argument) {
    tm_tune_artifact *a = argument;
    const tamis_tune_runtime *runtime = &a->owner->runtime;
    runtime->session_destroy(a->session);
    runtime->model_destroy(a->model);
    a->session = NULL;
    a->model = NULL;
    unlink(a->path);
}

void tm_tune_unload(tm_tune_artifact *a) {
    unload(a);
}

tm_code tm_tune_load(tm_tune_artifact *a) {
    const tamis_tune_runtime *runtime = &a->owner->runtime;
    tamis_error error;
    tamis_session_options options;
    a->seconds = TM_NEW_ARRAY(a->owner->arena, double, a->owner->regions.count + 1);
    tm_arena_on_destroy(a->owner->arena, unload, a);
    if (runtime->model_load(a->path, &a->model, &error) != 0) {
        a->model = NULL;
        return error.code == TM_E_CPU ? TM_E_CPU : failed(a, &error);
    }
    runtime->session_options_init(&options);
    options.threads = 1;
    options.strict_math = a->owner->options->strict_math;
    if (runtime->session_create(a->model, &options, &a->session, &error) != 0) {
        a->session = NULL;
        return failed(a, &error);
    }
    a->profiler = (tamis_profiler){.user = a, .step = take_step};
    if (runtime->set_profiler(a->model, &a->profiler, &error) != 0)
        return failed(a, &error);
    return bind_inputs(a);
}

/* ---- times ---- */

static tm_code run(tm_tune_artifact *a, double *out_seconds) {
    tamis_error error;
    memset(a->seconds, 0, a->owner->regions.count * sizeof(double));
    double start = now();
    if (a->owner->runtime.run(a->session, &error) != 0)
        return failed(a, &error);
    *out_seconds = now() - start;
    return TM_OK;
}

static bool same_answers(const tm_tune_artifact *a, const tm_tune_artifact *b) {
    const tamis_tune_runtime *runtime = &a->owner->runtime;
    int count = runtime->model_artifact(a->model)->output_count;
    for (int i = 0; i < count; i++) {
        const tamis_tensor *x = runtime->output(a->session, i), *y = runtime->output(b->session, i);
        int64_t elements = 1, bytes = 0;
        if (x->kind != TAMIS_KIND_TENSOR || x->type == TAMIS_TYPE_STRING)
            continue;
        if (x->rank != y->rank ||
            (x->rank > 0 && memcmp(x->dims, y->dims, sizeof(int64_t) * (size_t)x->rank) != 0))
            return false;
        for (int d = 0; d < x->rank; d++)
            elements *= x->dims[d];
        if (tm_type_size((tamis_type)x->type, elements, &bytes) && bytes > 0 &&
            memcmp(x->data, y->data, (size_t)bytes) != 0)
            return false;
    }
    return true;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof(double), by_size);
    return values[count / 2];
}

bool tm_tune_is_faster(double *ratios, size_t rounds, double *out_median) {
    *out_median = median(ratios, rounds);
    return *out_median < 1 - LEAST_GAIN && ratios[rounds * 3 / 4] < 1;
}

tm_code tm_tune_compare(tm_tune *t, tm_tune_artifact *a, tm_tune_artifact *b, tm_tune_times *out,
                        bool *out_same) {
    double once[2], again[2];
    for (int i = 0; i < 2; i++) { /* the first one touches all memory */
        TM_TRY(run(a, i == 0 ? &once[0] : &again[0]));
        TM_TRY(run(b, i == 0 ? &once[1] : &again[1]));
    }
    *out_same = same_answers(a, b);
    double wanted = t->tune->seconds / (again[0] + again[1] + 1e-9);
    size_t rounds = wanted < LEAST_ROUNDS  ? LEAST_ROUNDS
                    : wanted > MOST_ROUNDS ? MOST_ROUNDS
                                           : (size_t)wanted;
    size_t regions = t->regions.count;
    double *times = TM_NEW_ARRAY(t->arena, double, 3 * rounds * regions + 1);
    for (size_t i = 0; i < rounds; i++) {
        TM_TRY(run(a, &once[0]));
        TM_TRY(run(b, &once[1]));
        for (size_t k = 0; k < regions; k++) {
            double *of_region = times + 3 * rounds * k;
            of_region[i] = a->seconds[k];
            of_region[rounds + i] = b->seconds[k];
            of_region[2 * rounds + i] = a->seconds[k] > 0 ? b->seconds[k] / a->seconds[k] : 1;
        }
    }
    for (size_t k = 0; k < regions; k++) {
        double *of_region = times + 3 * rounds * k;
        out[k].a = median(of_region, rounds);
        out[k].b = median(of_region + rounds, rounds);
        out[k].faster = tm_tune_is_faster(of_region + 2 * rounds, rounds, &out[k].ratio);
    }
    return TM_OK;
}
