/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_zeros.c: slices that add nothing to any sum.
 *
 * A class goes when in every sum over its slices one side is zero: what makes the channel (a column of
 * weights and its bias are zero, and so is everything up to the sum), or what reads it (a row of weights is
 * zero). What it leaves out is 0 * x, so answers are equal but for the order of sums (and for x = infinity,
 * where 0 * x is NaN). Taking channels out may leave others without a reader, so it goes on until nothing is
 * found.
 */
#include "compress/slices.h"

#include "passes/passes.h"

#include <string.h>

int64_t tm_slices_mark_zeros(const tm_slices *s, bool *gone) {
    int64_t count = 0;
    bool *needed = TM_NEW_ARRAY(s->arena, bool, s->slice_count);
    for (int32_t i = 0; i < s->slice_count; i++)
        gone[i] = false;
    for (size_t k = 0; k < s->sinks.count; k++) {
        const tm_sink *sink = &s->sinks.items[k];
        int32_t x = tm_slices_first(s, sink->x, sink->x_axis);
        int32_t w = sink->w != NULL ? tm_slices_first(s, sink->w, sink->w_axis) : 0;
        for (int64_t i = 0; i < sink->x_count; i++) {
            int32_t class = tm_slices_class(s, x + (int32_t)i);
            bool zero = s->zero[x + i] || (w != 0 && s->zero[w + i % sink->w_count]);
            gone[class] = true;
            needed[class] = needed[class] || !zero;
        }
    }
    for (int32_t i = 0; i < s->slice_count; i++)
        gone[i] = gone[i] && !needed[i];
    tm_slices_spare(s, gone);
    for (int32_t i = 1; i < s->slice_count; i++)
        count += gone[i];
    return count;
}

static tm_code turn(tm_model *model, int64_t *out_count) {
    tm_arena scratch;
    tm_slices slices;
    tm_arena_init(&scratch);
    memcpy(scratch.recovery, model->arena->recovery, sizeof scratch.recovery);
    scratch.has_recovery = model->arena->has_recovery;
    tm_code code = tm_slices_find(&scratch, model, &slices);
    bool *gone = TM_NEW_ARRAY(&scratch, bool, slices.slice_count);
    *out_count = code == TM_OK ? tm_slices_mark_zeros(&slices, gone) : 0;
    if (*out_count > 0)
        code = tm_slices_cut(&slices, gone);
    tm_arena_deinit(&scratch);
    return code;
}

tm_code tm_prune_zeros(tm_model *model, int64_t *out_count) {
    int64_t found = 1;
    *out_count = 0;
    while (found > 0) {
        TM_TRY(turn(model, &found));
        *out_count += found;
    }
    tm_pass_options passes = {.level = 2, .bisect_limit = -1};
    return tm_passes_run_one(model, "dead_code", &passes);
}
