/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c: the words of --prune.
 *
 *     zeros        budget,keep=head        flops:0.5,ridge=0.01        latency:1.8x,multiple=32
 */
#include "compress/compress.h"

#include "quantize/words.h"

#include <string.h>

void tm_compress_options_init(tm_compress_options *options) {
    *options = (tm_compress_options){
        .goal = TM_PRUNE_ZEROS, .repair = true, .blocks = true, .ridge = 0.01, .multiple = 16, .block = 4};
    tm_quantize_options_init(&options->measures);
}

/* Their bits are those of tm_prune_goal. */
static const struct {
    const char *name, *unit;
    tm_prune_goal goal;
    double low, high;
    const char *range;
} goals[] = {{"zeros", NULL, TM_PRUNE_ZEROS, 0, 0, ""},
             {"budget", NULL, TM_PRUNE_BUDGET, 0, 0, ""},
             {"flops:", "", TM_PRUNE_FLOPS, 0.01, 1, "0.01..1, the share that stays"},
             {"latency:", "x", TM_PRUNE_LATENCY, 1, 100, "1x..100x, times as fast"},
             {"sparse:", "", TM_PRUNE_SPARSE, 0.01, 0.99, "0.01..0.99, the share of zeros"},
             {"random:", "", TM_PRUNE_RANDOM, 0.01, 1, "0.01..1, the chance to stay"}};
static const char *const goal_names[] = {"zeros", "budget", "flops", "latency", "sparse", "random"};
enum { GOALS = sizeof goals / sizeof *goals };

static tm_code take_goal(tm_diagnostics *diagnostics, const char *word, tm_compress_options *o) {
    for (int i = 0; i < GOALS; i++) {
        size_t size = strlen(goals[i].name);
        if (goals[i].unit == NULL ? strcmp(word, goals[i].name) != 0
                                  : strncmp(word, goals[i].name, size) != 0)
            continue;
        o->goal = goals[i].goal;
        o->low_rank = o->goal == TM_PRUNE_SPARSE; /* products are looked at as a whole */
        if (goals[i].unit == NULL ||
            tm_number_parse(word + size, goals[i].unit, goals[i].low, goals[i].high, &o->amount))
            return TM_OK;
        return tm_report(diagnostics, TM_E_USAGE, NULL, NULL, "--prune: '%s': the amount is %s", word,
                         goals[i].range);
    }
    return tm_report(diagnostics, TM_E_USAGE, NULL,
                     "zeros, budget, flops:0.5, latency:1.8x, sparse:0.8 or random:0.5",
                     "--prune: '%s' is no goal", word);
}

tm_code tm_compress_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                          tm_compress_options *out) {
    const unsigned sparse = 1u << TM_PRUNE_SPARSE, random = 1u << TM_PRUNE_RANDOM,
                   slices = 1u << TM_PRUNE_BUDGET | 1u << TM_PRUNE_FLOPS | 1u << TM_PRUNE_LATENCY,
                   measured = slices | sparse;
    int pattern = -1;
    int64_t threads = out->measures.threads, seed = 0;
    tm_parts keep = {0};
    tm_word words[] = {
        {.name = "lowrank", .kind = TM_WORD_FLAG, .to = &out->low_rank, .forms = slices},
        {.name = "noblocks", .kind = TM_WORD_CLEAR, .to = &out->blocks, .forms = slices},
        {.name = "norepair", .kind = TM_WORD_CLEAR, .to = &out->repair, .forms = slices},
        {.name = "ridge", .kind = TM_WORD_NUMBER, .to = &out->ridge, .high = 1000, .forms = measured},
        {.name = "multiple",
         .kind = TM_WORD_POWER,
         .to = &out->multiple,
         .low = 1,
         .high = 1024,
         .forms = slices},
        {.name = "pattern", .kind = TM_WORD_CHOICE, .to = &pattern, .choices = "1x1|4x1", .forms = sparse},
        {.name = "keep", .kind = TM_WORD_PARTS, .to = &keep, .forms = measured},
        {.name = "seed", .kind = TM_WORD_COUNT, .to = &seed, .high = 1e9, .forms = random},
        {.name = "sweep",
         .kind = TM_WORD_COUNT,
         .to = &out->measures.sweep_samples,
         .high = 1e9,
         .forms = slices},
        {.name = "samples",
         .kind = TM_WORD_COUNT,
         .to = &out->measures.most_samples,
         .low = 1,
         .high = 1e9,
         .forms = measured},
        {.name = "threads", .kind = TM_WORD_COUNT, .to = &threads, .high = 256, .forms = measured}};
    size_t size = strcspn(text, ",");
    TM_TRY(take_goal(diagnostics, tm_arena_string_n(arena, text, size), out));
    const tm_word_table table = {"--prune",  words, sizeof words / sizeof *words,
                                 goal_names, GOALS, (int)out->goal};
    TM_TRY(tm_words_parse(arena, diagnostics, text[size] == ',' ? text + size + 1 : NULL, &table));
    if (pattern >= 0)
        out->block = pattern == 0 ? 1 : 4;
    out->seed = (uint64_t)seed;
    out->measures.threads = (int)threads;
    out->keep = keep.list.items;
    out->keep_count = keep.list.count;
    return TM_OK;
}
