/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c: the words of --prune.
 *
 *     zeros        budget,keep=head        flops:0.5,ridge=0.01        latency:1.8x,multiple=32
 */
#include "compress/compress.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void tm_compress_options_init(tm_compress_options *options) {
    *options = (tm_compress_options){
        .goal = TM_PRUNE_ZEROS, .repair = true, .blocks = true, .ridge = 0.01, .multiple = 16, .block = 4};
    tm_quantize_options_init(&options->measures);
}

/* A number, with `unit` behind it or not. */
static bool parse_number(const char *text, const char *unit, double low, double high, double *out) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || errno != 0 || (*end != 0 && strcmp(end, unit) != 0) ||
        !(value >= low && value <= high))
        return false;
    *out = value;
    return true;
}

static bool take_goal(const char *word, tm_compress_options *o) {
    const struct {
        const char *name, *unit;
        tm_prune_goal goal;
        double low, high;
    } goals[] = {{"flops:", "", TM_PRUNE_FLOPS, 0.01, 1},
                 {"latency:", "x", TM_PRUNE_LATENCY, 1, 100},
                 {"sparse:", "", TM_PRUNE_SPARSE, 0.01, 0.99},
                 {"random:", "", TM_PRUNE_RANDOM, 0.01, 1}};
    if (strcmp(word, "zeros") == 0 || strcmp(word, "budget") == 0) {
        o->goal = *word == 'z' ? TM_PRUNE_ZEROS : TM_PRUNE_BUDGET;
        return true;
    }
    for (size_t i = 0; i < sizeof goals / sizeof *goals; i++) {
        size_t size = strlen(goals[i].name);
        if (strncmp(word, goals[i].name, size) == 0) {
            o->goal = goals[i].goal;
            o->low_rank = o->goal == TM_PRUNE_SPARSE; /* products are looked at as a whole */
            return parse_number(word + size, goals[i].unit, goals[i].low, goals[i].high, &o->amount);
        }
    }
    return false;
}

typedef TM_VECTOR(const char *) names;

static bool take_word(tm_arena *arena, const char *word, names *keep, tm_compress_options *o) {
    const char *equals = strchr(word, '=');
    double value = 0;
    if (equals == NULL) {
        bool repair = strcmp(word, "norepair") == 0, blocks = strcmp(word, "noblocks") == 0;
        if (strcmp(word, "lowrank") == 0)
            return o->low_rank = true;
        o->repair = o->repair && !repair;
        o->blocks = o->blocks && !blocks;
        return repair || blocks;
    }
    const char *name = tm_arena_string_n(arena, word, (size_t)(equals - word)), *text = equals + 1;
    if (strcmp(name, "keep") == 0 && *text != 0) {
        tm_push(arena, keep, text);
    } else if (strcmp(name, "ridge") == 0 && parse_number(text, "", 0, 1e3, &value)) {
        o->ridge = value;
    } else if (strcmp(name, "multiple") == 0 && parse_number(text, "", 1, 1024, &value)) {
        o->multiple = (int64_t)value;
    } else if (strcmp(name, "pattern") == 0 && (strcmp(text, "1x1") == 0 || strcmp(text, "4x1") == 0)) {
        o->block = text[0] == '4' ? 4 : 1;
    } else if (strcmp(name, "seed") == 0 && parse_number(text, "", 0, 1e9, &value)) {
        o->seed = (uint64_t)value;
    } else if (strcmp(name, "sweep") == 0 && parse_number(text, "", 0, 1e9, &value)) {
        o->measures.sweep_samples = (int64_t)value;
    } else if (strcmp(name, "samples") == 0 && parse_number(text, "", 1, 1e9, &value)) {
        o->measures.most_samples = (int64_t)value;
    } else if (strcmp(name, "threads") == 0 && parse_number(text, "", 0, 256, &value)) {
        o->measures.threads = (int)value;
    } else {
        return false;
    }
    return true;
}

tm_code tm_compress_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                          tm_compress_options *out) {
    names keep = {0};
    for (const char *at = text; at != NULL;) {
        size_t size = strcspn(at, ",");
        const char *word = tm_arena_string_n(arena, at, size);
        if (at == text ? !take_goal(word, out) : !take_word(arena, word, &keep, out))
            return tm_report(
                diagnostics, TM_E_USAGE, NULL,
                "zeros, budget, flops:0.5, latency:1.8x or sparse:0.8, then lowrank, noblocks, norepair, ridge=X, multiple=N, pattern=4x1|1x1, "
                "keep=PART, sweep=N, samples=N, threads=N",
                "--prune: '%s' is no %s, or its value does not fit", word, at == text ? "goal" : "option");
        at = at[size] == ',' ? at + size + 1 : NULL;
    }
    out->keep = keep.items;
    out->keep_count = keep.count;
    return TM_OK;
}
