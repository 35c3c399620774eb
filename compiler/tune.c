/* SPDX-License-Identifier: Apache-2.0
 *
 * tune.c: the search for the schedules of a model on this machine.
 *
 * Level by level, lowest first: the model is compiled as the cost model chooses, then with the first
 * alternative of every region at once, the second, and so on; each is timed against the first artifact region
 * by region, so that one pair of artifacts measures an alternative of all regions. The fastest of each region
 * go together into one more artifact, and what is faster in that one, by more than noise, is kept. Then the
 * same from there: an alternative changes one or two members of a schedule, and two rounds reach
 * combinations.
 *
 * Alternatives give the same answers to the bit. One that did not would be passed over, with a warning.
 */
#include "compiler/tune.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEARCHES 2 /* from the best so far */

void tamis_tune_options_init(tamis_tune_options *options) {
    *options = (tamis_tune_options){.other_size = 4, .seconds = 0.25};
}

static void say(const tm_tune *t, const char *line) {
    if (t->tune->progress != NULL)
        t->tune->progress(t->tune->user, line);
}

static void remove_folder(void *argument) {
    const char *folder = argument;
    DIR *list = opendir(folder);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;)
        unlinkat(dirfd(list), entry->d_name, 0);
    if (list != NULL)
        closedir(list);
    rmdir(folder);
}

static tm_code make_folder(tm_tune *t) {
    const char *base = getenv("TMPDIR");
    char *folder =
        tm_arena_format(t->arena, "%s/tamis-tune-XXXXXX", base != NULL && base[0] != 0 ? base : "/tmp");
    if (mkdtemp(folder) == NULL)
        return tm_report(t->diagnostics, TM_E_CREATE_OUTPUT, NULL,
                         "set TMPDIR to a folder that can be written", "cannot create %s: %s", folder,
                         strerror(errno));
    tm_arena_on_destroy(t->arena, remove_folder, folder);
    t->folder = folder;
    return TM_OK;
}

static const char *text_of(tm_tune *t, const tm_schedule *schedule) {
    tm_text text;
    tm_text_init(&text, t->arena);
    tm_schedule_print(schedule, &text);
    return tm_text_get(&text);
}

/* The schedules of all regions: those given, or the best so far where `schedules` is NULL. */
static tm_schedule_table *table_of(tm_tune *t, const tm_schedule *schedules) {
    tm_schedule_table *table = TM_NEW(t->arena, tm_schedule_table);
    table->items = TM_NEW_ARRAY(t->arena, tm_schedule_entry, t->regions.count + 1);
    for (size_t i = 0; i < t->regions.count; i++) {
        const tm_tuned *r = &t->regions.items[i];
        table->items[table->count++] =
            (tm_schedule_entry){.region = r->region->signature,
                                .level = r->level,
                                .schedule = text_of(t, schedules != NULL ? &schedules[i] : &r->schedule)};
    }
    return table;
}

/* Compiles with these schedules and compares with `a`. */
static tm_code compare_with(tm_tune *t, tm_tune_artifact *a, const tm_schedule *schedules, tm_tune_times *out,
                            bool *out_same) {
    tm_tune_artifact *b = TM_NEW(t->arena, tm_tune_artifact);
    TM_TRY(tm_tune_compile(t, table_of(t, schedules), b));
    TM_TRY(tm_tune_load(b));
    tm_code code = tm_tune_compare(t, a, b, out, out_same);
    tm_tune_unload(b);
    return code;
}

typedef struct search {
    size_t first; /* regions before it were done at lower levels */
    tm_schedule (*alternatives)[TM_MOST_ALTERNATIVES];
    int *counts;
    tm_schedule *trial, *best; /* by region */
    double *ratios;            /* of `best` to the artifact that is compared with */
    tm_tune_times *times;
} search;

/* Alternative number i of all regions at once; false: no region has that many. */
static bool set_trial(tm_tune *t, search *s, int i) {
    bool any = false;
    for (size_t k = 0; k < t->regions.count; k++) {
        bool has = k >= s->first && i < s->counts[k];
        s->trial[k] = has ? s->alternatives[k][i] : t->regions.items[k].schedule;
        any |= has;
    }
    return any;
}

/* Of region k. Is it the fastest so far? */
static bool take_trial(tm_tune *t, search *s, size_t k) {
    tm_tuned *r = &t->regions.items[k];
    tm_schedule_trial trial = {text_of(t, &s->trial[k]), s->times[k].ratio * r->share};
    tm_push(t->arena, &r->trials, trial);
    if (!s->times[k].faster || s->times[k].ratio >= s->ratios[k])
        return false;
    s->ratios[k] = s->times[k].ratio;
    s->best[k] = s->trial[k];
    return true;
}

static tm_code try_all(tm_tune *t, search *s, tm_tune_artifact *a, const char *level, tm_text *warnings) {
    for (int i = 0; i < TM_MOST_ALTERNATIVES && set_trial(t, s, i); i++) {
        bool same;
        int faster = 0;
        TM_TRY(compare_with(t, a, s->trial, s->times, &same));
        if (!same) {
            tm_text_add(warnings,
                        "warning: --tune: alternative %d at %s gives another answer and is passed over\n",
                        i + 1, level);
            continue;
        }
        for (size_t k = s->first; k < t->regions.count; k++)
            faster += i < s->counts[k] && take_trial(t, s, k);
        say(t, tm_arena_format(t->arena, "%s: alternative %d: faster for %d of %zu regions", level, i + 1,
                               faster, t->regions.count - s->first));
    }
    return TM_OK;
}

/* Keeps of the best schedules those that are faster together too. *out_kept: how many. */
static tm_code keep_best(tm_tune *t, search *s, tm_tune_artifact *a, int *out_kept) {
    bool any = false, same;
    *out_kept = 0;
    for (size_t k = s->first; k < t->regions.count; k++)
        any |= s->ratios[k] < 1;
    if (!any)
        return TM_OK;
    TM_TRY(compare_with(t, a, s->best, s->times, &same));
    for (size_t k = s->first; k < t->regions.count && same; k++)
        if (s->ratios[k] < 1 && s->times[k].faster) {
            t->regions.items[k].schedule = s->best[k];
            t->regions.items[k].share *= s->times[k].ratio;
            ++*out_kept;
        }
    return TM_OK;
}

static search *new_search(tm_tune *t, size_t first, const tm_level *level) {
    size_t count = t->regions.count + 1;
    search *s = TM_NEW(t->arena, search);
    *s = (search){first,
                  tm_arena_alloc_array(t->arena, count, sizeof(*s->alternatives)),
                  TM_NEW_ARRAY(t->arena, int, count),
                  TM_NEW_ARRAY(t->arena, tm_schedule, count),
                  TM_NEW_ARRAY(t->arena, tm_schedule, count),
                  TM_NEW_ARRAY(t->arena, double, count),
                  TM_NEW_ARRAY(t->arena, tm_tune_times, count)};
    for (size_t k = 0; k < t->regions.count; k++) {
        const tm_tuned *r = &t->regions.items[k];
        s->best[k] = r->schedule;
        s->ratios[k] = 1;
        if (k >= first)
            s->counts[k] = tm_schedule_alternatives(level, r->region, &r->schedule, s->alternatives[k]);
    }
    return s;
}

typedef struct records {
    TM_VECTOR(tm_schedule_record) list;
} records;

/* Times the defaults against what was kept once more, for the file; what is no faster any more is dropped. */
static tm_code record_level(tm_tune *t, size_t first, const tm_level *level, tm_tune_artifact *defaults,
                            records *out) {
    tm_tune_times *times = TM_NEW_ARRAY(t->arena, tm_tune_times, t->regions.count + 1);
    bool same = false;
    if (t->regions.count > first)
        TM_TRY(compare_with(t, defaults, NULL, times, &same));
    for (size_t k = first; k < t->regions.count; k++) {
        tm_tuned *r = &t->regions.items[k];
        tm_schedule chosen = tm_schedule_default(level, r->region);
        bool kept = same && times[k].faster && !tm_schedule_equal(&chosen, &r->schedule);
        if (!kept)
            r->schedule = chosen;
        tm_schedule_record record = {.region = r->region->signature,
                                     .level = r->level,
                                     .schedule = text_of(t, &r->schedule),
                                     .chosen_by_default = text_of(t, &chosen),
                                     .trials = r->trials.items,
                                     .trial_count = r->trials.count,
                                     .default_seconds = times[k].a,
                                     .seconds = kept ? times[k].b : times[k].a};
        tm_push(t->arena, &out->list, record);
    }
    return TM_OK;
}

static tm_code tune_level(tm_tune *t, const tm_level *level, records *out, tm_text *warnings) {
    size_t first = t->regions.count;
    tm_tune_artifact *defaults = TM_NEW(t->arena, tm_tune_artifact), *a = defaults;
    TM_TRY(tm_tune_compile(t, table_of(t, NULL), defaults));
    tm_code loaded = tm_tune_load(defaults);
    if (loaded != TM_OK) {
        t->regions.count = first;
        return loaded;
    }
    for (int i = 0; i < SEARCHES && t->regions.count > first; i++) {
        int kept;
        search *s = new_search(t, first, level);
        TM_TRY(try_all(t, s, a, level->name, warnings));
        TM_TRY(keep_best(t, s, a, &kept));
        say(t, tm_arena_format(t->arena, "%s: %d of %zu regions have a faster schedule%s", level->name, kept,
                               t->regions.count - first, i == 0 ? "" : " still"));
        if (kept == 0)
            break;
        if (i + 1 < SEARCHES) {
            a = TM_NEW(t->arena, tm_tune_artifact);
            TM_TRY(tm_tune_compile(t, table_of(t, NULL), a));
            TM_TRY(tm_tune_load(a));
        }
    }
    TM_TRY(record_level(t, first, level, defaults, out));
    if (a != defaults)
        tm_tune_unload(a);
    tm_tune_unload(defaults);
    return TM_OK;
}

/* ---- the call ---- */

typedef struct request {
    const tm_source *from;
    const char *file;
    const tamis_compile_options *options;
    const tamis_tune_options *tune;
} request;

/* The levels that the model would be compiled for. */
static tm_code find_levels(const tm_tune *t, const tamis_compile_options *options, tm_target_choice *out) {
    tm_tuning tuning = {0};
    tamis_result *result = NULL;
    tamis_compile_options plain = *options;
    plain.emit = TAMIS_EMIT_SO;
    plain.schedules = NULL;
    int code =
        tm_compile(t->source, tm_arena_format(t->arena, "%s/levels.so", t->folder), &plain, &tuning, &result);
    for (size_t i = 0; code != 0 && result != NULL && i < result->diagnostics.list.count; i++) {
        const tm_diagnostic *d = &result->diagnostics.list.items[i];
        tm_report_mismatch(t->diagnostics, d->code, &d->place, d->hint, d->expected, d->found, "%s",
                           d->message);
    }
    tamis_result_destroy(result);
    *out = tuning.target;
    return (tm_code)code;
}

static tm_code tune(tamis_result *result, void *argument) {
    const request *r = argument;
    tamis_compile_options options = *r->options;
    tm_tune *t = TM_NEW(&result->arena, tm_tune);
    *t = (tm_tune){.arena = &result->arena,
                   .diagnostics = &result->diagnostics,
                   .source = r->from,
                   .options = &options,
                   .tune = r->tune,
                   .runtime = *r->tune->runtime};
    tm_target_choice target;
    records found = {0};
    int measured = 0;
    if (tm_target_find(options.target) != NULL && tm_target_find(options.target) != tm_target_find(NULL))
        return tm_report(t->diagnostics, TM_E_CPU, NULL,
                         "tune on such a machine, and compile with --schedules here",
                         "--tune: this machine does not run artifacts for %s", options.target);
    TM_TRY(make_folder(t));
    TM_TRY(find_levels(t, r->options, &target));
    options.emit = TAMIS_EMIT_SO;
    options.profile = true;
    options.symbols = false;
    options.schedules = NULL;
    options.print_after = NULL;
    for (int i = 0; i < target.level_count; i++) {
        options.cpu = target.levels[i].name;
        tm_code code = tune_level(t, &target.levels[i], &found, &result->warnings);
        if (code == TM_E_CPU && result->diagnostics.list.count == 0)
            tm_text_add(&result->warnings,
                        "warning: --tune: this machine does not run level %s: not measured\n",
                        target.levels[i].name);
        else if (code != TM_OK)
            return code;
        else
            measured++;
    }
    if (measured == 0)
        return tm_report(t->diagnostics, TM_E_CPU, NULL, "`tamis targets` lists the levels",
                         "--tune: this machine runs no level of the artifact");
    return tm_schedules_write(t->arena, t->diagnostics, r->file, target.target, r->tune->sizes,
                              r->tune->size_count, found.list.items, found.list.count);
}

static int tune_any(const tm_source *from, const char *file, const tamis_compile_options *options,
                    const tamis_tune_options *tune_options, tamis_result **out_result) {
    request r = {from, file, options, tune_options};
    return tm_result_make(tune, &r, out_result);
}

int tamis_tune_file(const char *model, const char *file, const tamis_compile_options *options,
                    const tamis_tune_options *tune_options, tamis_result **out_result) {
    return tune_any(&(tm_source){.path = model}, file, options, tune_options, out_result);
}

int tamis_tune_memory(const void *model, size_t bytes, const char *file, const tamis_compile_options *options,
                      const tamis_tune_options *tune_options, tamis_result **out_result) {
    return tune_any(&(tm_source){.data = model, .bytes = bytes}, file, options, tune_options, out_result);
}
