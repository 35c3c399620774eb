/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule_file.c: measured schedules in a file of JSON, which lies beside the model:
 *
 *     {"format": "tamis schedules 1", "target": "x86_64-linux-gnu", "cpu": "...", "sizes": {"sequence": 128},
 *      "schedules": [{"region": "contract ?x384x1536 p48", "level": "v4", "schedule": "9x3+4+1 u4 ...",
 *                     "default": "8x3+4+1 u4 ...", "default_us": 812.5, "schedule_us": 770.1, "tried":
 * {...}}]}
 *
 * A compilation reads region, level and schedule; the rest is for those who look at it. What the file says
 * of regions that are not there, or of code that cannot be made, is passed over with a warning; a file that
 * is none of this form is an error.
 */
#include "compiler/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FORMAT "tamis schedules 1"
#define MOST_BYTES (16 << 20)
#define LONGEST 256  /* bytes of a text */
#define MOST_NAMED 4 /* in a warning */

/* ---- writing ---- */

static void put_json(void *object) {
    json_object_put(object);
}

/* The CPU's name, for the reader: lines of another CPU may not be the best ones here. */
static json_object *cpu_name(void) {
    char line[256];
    json_object *name = NULL;
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && name == NULL && fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strstr(line, ": ");
        line[strcspn(line, "\n")] = 0;
        if (colon != NULL && strncmp(line, "model name", 10) == 0)
            name = json_object_new_string(colon + 2);
    }
    if (file != NULL)
        fclose(file);
    return name != NULL ? name : json_object_new_string("unknown");
}

static json_object *decimal(tm_arena *arena, double value, int places) {
    return json_object_new_double_s(value, tm_arena_format(arena, "%.*f", places, value));
}

static json_object *record_json(tm_arena *arena, const tm_schedule_record *record) {
    json_object *item = json_object_new_object(), *tried = json_object_new_object();
    json_object_object_add(item, "region", json_object_new_string(record->region));
    json_object_object_add(item, "level", json_object_new_string(record->level));
    json_object_object_add(item, "schedule", json_object_new_string(record->schedule));
    json_object_object_add(item, "default", json_object_new_string(record->chosen_by_default));
    json_object_object_add(item, "schedule_us", decimal(arena, record->seconds * 1e6, 2));
    json_object_object_add(item, "default_us", decimal(arena, record->default_seconds * 1e6, 2));
    for (size_t i = 0; i < record->trial_count; i++)
        json_object_object_add(tried, record->trials[i].schedule, decimal(arena, record->trials[i].ratio, 3));
    json_object_object_add(item, "tried", tried);
    return item;
}

tm_code tm_schedules_write(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                           const tm_target *target, const tamis_dim_fact *sizes, size_t size_count,
                           const tm_schedule_record *records, size_t count) {
    json_object *root = json_object_new_object(), *list = json_object_new_array(),
                *of_dims = json_object_new_object();
    tm_arena_on_destroy(arena, put_json, root);
    json_object_object_add(root, "format", json_object_new_string(FORMAT));
    json_object_object_add(root, "target", json_object_new_string(target->triple));
    json_object_object_add(root, "cpu", cpu_name());
    for (size_t i = 0; i < size_count; i++)
        json_object_object_add(of_dims, sizes[i].name, json_object_new_int64(sizes[i].low));
    json_object_object_add(root, "sizes", of_dims);
    json_object_object_add(root, "schedules", list);
    for (size_t i = 0; i < count; i++)
        json_object_array_add(list, record_json(arena, &records[i]));
    tm_text text;
    tm_text_init(&text, arena);
    tm_text_add(
        &text, "%s\n",
        json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    return tm_write_text(diagnostics, path, &text);
}

/* ---- reading ---- */

static tm_code bad(tm_diagnostics *diagnostics, const char *path, const char *what) {
    return tm_report(diagnostics, TM_E_BAD_SCHEDULES, &(tm_place){.file = path, .node_index = -1},
                     "measure again with `tamis compile --tune`, or compile without --schedules", "%s", what);
}

static tm_code read_text(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, tm_text *text) {
    const tm_place place = {.file = path, .node_index = -1};
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return tm_report(diagnostics, TM_E_OPEN_INPUT, &place, NULL, "cannot open the file of schedules: %s",
                         strerror(errno));
    char *part = tm_arena_alloc(arena, 65536);
    for (size_t got; (got = fread(part, 1, 65536, file)) > 0 && text->size <= MOST_BYTES;)
        tm_text_add_bytes(text, part, got);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed)
        return tm_report(diagnostics, TM_E_IO, &place, NULL, "reading failed");
    return text->size > MOST_BYTES ? bad(diagnostics, path, "the file is longer than 16 MiB") : TM_OK;
}

/* A member that is a text; NULL: there is none. */
static const char *text_of(tm_arena *arena, json_object *object, const char *name) {
    json_object *member = NULL;
    if (!json_object_object_get_ex(object, name, &member) || !json_object_is_type(member, json_type_string))
        return NULL;
    return tm_arena_string(arena, json_object_get_string(member));
}

static tm_code read_entries(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, json_object *list,
                            tm_schedule_table *out) {
    size_t count = json_object_array_length(list);
    *out = (tm_schedule_table){TM_NEW_ARRAY(arena, tm_schedule_entry, count + 1), 0};
    tm_map known;
    tm_map_init(&known, arena);
    for (size_t i = 0; i < count; i++) {
        json_object *item = json_object_array_get_idx(list, i);
        if (!json_object_is_type(item, json_type_object))
            return bad(diagnostics, path, tm_arena_format(arena, "schedule %zu is no object", i));
        tm_schedule_entry e = {.region = text_of(arena, item, "region"),
                               .level = text_of(arena, item, "level"),
                               .schedule = text_of(arena, item, "schedule")};
        if (e.region == NULL || e.level == NULL || e.schedule == NULL)
            return bad(diagnostics, path,
                       tm_arena_format(arena, "schedule %zu lacks a text for \"%s\"", i,
                                       e.region == NULL  ? "region"
                                       : e.level == NULL ? "level"
                                                         : "schedule"));
        if (strlen(e.region) > LONGEST || strlen(e.level) > LONGEST || strlen(e.schedule) > LONGEST)
            return bad(diagnostics, path,
                       tm_arena_format(arena, "a text of schedule %zu is longer than %d bytes", i, LONGEST));
        const char *key = tm_arena_format(arena, "%s\n%s", e.region, e.level);
        const tm_schedule_entry *same = tm_map_get(&known, key);
        if (same != NULL)
            return bad(diagnostics, path,
                       tm_arena_format(arena, "schedules %zu and %zu are for the same region and level",
                                       (size_t)(same - out->items), i));
        out->items[out->count] = e;
        tm_map_set(&known, key, &out->items[out->count++]);
    }
    return TM_OK;
}

static void add_printable(tm_text *text, const char *foreign) {
    tm_text_add_printable(text, foreign, strlen(foreign));
}

tm_code tm_schedules_read(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                          const tm_target *target, tm_schedule_table *out_table, tm_text *warnings) {
    tm_text text;
    tm_text_init(&text, arena);
    TM_TRY(read_text(arena, diagnostics, path, &text));
    json_tokener *tokener = json_tokener_new();
    if (tokener == NULL)
        return tm_report(diagnostics, TM_E_OUT_OF_MEMORY, NULL, NULL, "reading %s", path);
    json_object *root = json_tokener_parse_ex(tokener, tm_text_get(&text), (int)text.size + 1), *list = NULL;
    const char *fault = json_tokener_get_error(tokener) == json_tokener_success
                            ? NULL
                            : json_tokener_error_desc(json_tokener_get_error(tokener));
    size_t end = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    tm_arena_on_destroy(arena, put_json, root);
    if (fault != NULL)
        return bad(diagnostics, path, tm_arena_format(arena, "byte %zu: %s", end, fault));
    end += strspn(tm_text_get(&text) + end, " \t\r\n");
    if (end < text.size)
        return bad(diagnostics, path, tm_arena_format(arena, "byte %zu: something follows the object", end));
    const char *format = json_object_is_type(root, json_type_object) ? text_of(arena, root, "format") : NULL;
    if (format == NULL || strcmp(format, FORMAT) != 0)
        return bad(diagnostics, path, "\"format\" is not \"" FORMAT "\"");
    const char *triple = text_of(arena, root, "target");
    if (triple == NULL || !json_object_object_get_ex(root, "schedules", &list) ||
        !json_object_is_type(list, json_type_array))
        return bad(diagnostics, path, "\"target\" is no text, or \"schedules\" no list");
    TM_TRY(read_entries(arena, diagnostics, path, list, out_table));
    if (strcmp(triple, target->triple) != 0) {
        out_table->count = 0;
        tm_text_add(warnings, "%s: warning: the schedules are for ", path);
        add_printable(warnings, triple);
        tm_text_add(warnings, ", not %s: none is used\n", target->triple);
    }
    return TM_OK;
}

/* ---- warnings ---- */

/* Is it the name of a level in the artifact, or of one of the target that is not? */
static bool is_level(const tm_level *levels, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(levels[i].folder, name) == 0 || strcmp(levels[i].suffix, name) == 0)
            return true;
    return false;
}

static void warn(const tm_schedule_table *table, const char *path, const tm_target_choice *target,
                 bool refused, const char *what, tm_text *warnings) {
    size_t count = 0;
    for (size_t i = 0; i < table->count; i++) {
        const tm_schedule_entry *e = &table->items[i];
        bool other = is_level(target->target->levels, target->target->level_count, e->level) &&
                     !is_level(target->levels, target->level_count, e->level);
        if (other || (refused ? !e->refused : e->used))
            continue;
        if (count == 0)
            tm_text_add(warnings, "%s: warning: %s", path, what);
        if (++count > MOST_NAMED)
            continue;
        tm_text_add(warnings, "%s'", count > 1 ? ", " : " ");
        add_printable(warnings, e->region);
        tm_text_add(warnings, "' at ");
        add_printable(warnings, e->level);
        if (!refused)
            continue;
        tm_text_add(warnings, " as '");
        add_printable(warnings, e->schedule);
        tm_text_add(warnings, "'");
    }
    if (count > MOST_NAMED)
        tm_text_add(warnings, " and %zu more", count - MOST_NAMED);
    if (count > 0)
        tm_text_add(warnings, "\n");
}

void tm_schedules_warn(const tm_schedule_table *table, const char *path, const tm_target_choice *target,
                       tm_text *warnings) {
    warn(table, path, target, false, "no region of the model has the schedule of", warnings);
    warn(table, path, target, true, "such code is not made, the default stands for", warnings);
}
