/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_choose.c: how much of each axis goes.
 *
 * First each axis is cut alone to about half, repaired, compiled, compared and timed. That gives the harm to
 * the model's outputs per loss of the layer's, and the time per multiplication that is really saved there.
 * Then, step by step, the axis goes down that saves the most time per harm, until the goal is reached;
 * channels in steps of the kernels' tile. What the last step cut too much is given back where it harms most.
 * The result is repaired and measured as a whole, with all samples.
 *
 *     flops      the steps count multiplications and time, until both are down
 *     latency    they count time
 *     budget     the deepest cut, found by halving, that the budget allows
 *
 * A goal that is over the budget is refused with what was measured, and the deepest cut within the budget
 * takes its place; that may be none.
 */
#include "compress/prune.h"

#include <math.h>

#define LOOK_AHEAD 6
#define WIDE 4 /* tiles of an axis, at least */
#define MOST_TURNS 5
#define LATENCY_TURNS 3
#define CLOSE 0.98   /* what is measured once may be measured so much slower again */
#define CLEARLY 0.97 /* faster than noise */
#define PACE 0.92   /* of the speed that the flops promise */
#define DEEPER 0.75 /* flops that are left for the sake of time, at least, of those that were asked for */
#define WORTH 4     /* times the price for flops is what time alone may cost */

static bool has_budget(const tm_quantize_options *o) {
    return !isnan(o->most_kl) || !isnan(o->most_flips) || !isnan(o->least_cosine);
}

/* ---- steps ---- */

/* How many classes are gone one step further; -1: it is the last. */
static int next_step(const tm_pruner *p, const tm_prune_axis *axis, int gone) {
    int left = axis->count - gone, step = 1;
    if (axis->is_rank)
        return axis->unfit ? -1 : tm_low_rank_next(p, axis, gone);
    if (axis->is_block)
        return gone == 0 && p->readers.items[axis->reader].mean_output != NULL ? 1 : -1;
    while (axis->channels == 1 && step < p->options->multiple && step * WIDE <= axis->count)
        step *= 2;
    while (step >= left && step > 1)
        step /= 2;
    int next = left % step != 0 ? left - left % step : left - step;
    return axis->unfit || next < 1 ? -1 : axis->count - next;
}

static double share_of(const tm_pruner *p, const tm_prune_axis *axis, int gone) {
    if (axis->is_rank)
        return tm_low_rank_share(p, axis, gone);
    double all = axis->pinned + axis->count;
    return (all - gone) / all;
}

/* Flops of a product now, and the share of them that goes when an axis goes on. */
static double cost_now(const tm_pruner *p, const tm_prune_cost *cost) {
    double flops = cost->flops;
    for (int i = 0; i < cost->count; i++)
        flops *= share_of(p, &p->axes.items[cost->axes[i]], p->axes.items[cost->axes[i]].gone);
    return flops;
}

static double flops_now(const tm_pruner *p) {
    double flops = 0;
    for (size_t i = 0; i < p->costs.count; i++)
        flops += cost_now(p, &p->costs.items[i]);
    return flops;
}

static double saved_by(const tm_pruner *p, int number, int gone) {
    const tm_prune_axis *axis = &p->axes.items[number];
    double saved = 0;
    for (size_t i = 0; i < p->costs.count; i++)
        for (int k = 0; k < p->costs.items[i].count; k++)
            if (p->costs.items[i].axes[k] == number)
                saved += cost_now(p, &p->costs.items[i]) *
                         (1 - share_of(p, axis, gone) / share_of(p, axis, axis->gone));
    return saved;
}

/* Harm to the outputs, as far as it is known: else the layer's loss. */
static double harm_of(const tm_prune_axis *axis, int gone) {
    double at_probe = axis->probe > 0 ? axis->errors[axis->probe] : 0;
    double scale = axis->harm >= 0 && at_probe > 0 ? axis->harm / at_probe : 1;
    return axis->errors[gone] * scale;
}

/* Shares of the whole model that may be left; 1: as much as there is. */
typedef struct target {
    double flops, time;
} target;

static double time_for(const tm_prune_axis *axis) {
    return axis->time_per_flops > 0 ? axis->time_per_flops : 1;
}

/* The share of a call's time that is left, if it goes with the flops of an axis as it did for that axis
 * alone. Branches that are gone come first, since nothing within them saves more. */
static double time_now(tm_pruner *p) {
    double time = 1;
    for (size_t i = 0; i < p->axes.count; i++) {
        p->axes.items[i].planned = p->axes.items[i].gone;
        p->axes.items[i].gone = 0;
    }
    for (int turn = 0; turn < 2; turn++)
        for (size_t i = 0; i < p->axes.count; i++) {
            tm_prune_axis *axis = &p->axes.items[i];
            if (axis->is_block != (turn == 0) || axis->planned == 0)
                continue;
            time -= saved_by(p, (int)i, axis->planned) / p->flops * time_for(axis);
            axis->gone = axis->planned;
        }
    return time;
}

/* How far steps may go for the sake of time alone. */
typedef struct limit {
    double flops; /* that are left, at least */
    double price; /* harm for a share of time, at most */
} limit;

/* The best next step: its axis; -1: there is none. What counts as saved is what is still asked for. */
static int best_step(const tm_pruner *p, bool flops, bool time, limit limit, int *out_gone) {
    int best = -1;
    double best_ratio = INFINITY, now = flops_now(p);
    for (size_t i = 0; i < p->axes.count; i++) {
        const tm_prune_axis *axis = &p->axes.items[i];
        int gone = axis->gone;
        for (int ahead = 0; ahead < LOOK_AHEAD; ahead++) {
            gone = next_step(p, axis, gone);
            if (gone < 0)
                break;
            double fewer = saved_by(p, (int)i, gone);
            double saved = fewer / p->flops * ((flops ? 1 : 0) + (time ? time_for(axis) : 0));
            double ratio = (harm_of(axis, gone) - harm_of(axis, axis->gone)) / fmax(saved, 1e-30);
            if (!flops && now - fewer < limit.flops * p->flops)
                break;
            if (!flops && ratio > limit.price)
                continue;
            if (saved > 0 && ratio < best_ratio) {
                best_ratio = ratio;
                best = (int)i;
                *out_gone = next_step(p, axis, axis->gone);
            }
        }
    }
    return best;
}

/* How many classes are gone one step before; -1: none are. */
static int step_before(const tm_pruner *p, const tm_prune_axis *axis) {
    int before = -1;
    for (int gone = 0; gone >= 0 && gone < axis->gone; gone = next_step(p, axis, gone))
        before = gone;
    return before;
}

/* The last steps may have gone further than was asked, by a whole branch. Takes steps back, the most harmful
 * for what they save first, while no more is left than may be. */
static void go_back(tm_pruner *p, target most) {
    for (;;) {
        tm_prune_axis *best = NULL;
        double best_ratio = 0, flops_before = flops_now(p) / p->flops, time_before = time_now(p);
        int best_gone = 0;
        for (size_t i = 0; i < p->axes.count; i++) {
            tm_prune_axis *axis = &p->axes.items[i];
            int gone = axis->gone, before = step_before(p, axis);
            if (before < 0)
                continue;
            double harm = harm_of(axis, gone) - harm_of(axis, before);
            axis->gone = before;
            double flops = flops_now(p) / p->flops, time = time_now(p);
            axis->gone = gone;
            double ratio = harm / fmax(flops - flops_before + time - time_before, 1e-30);
            if (flops > flops_before && flops <= most.flops && time <= most.time && ratio > best_ratio) {
                best_ratio = ratio;
                best = axis;
                best_gone = before;
            }
        }
        if (best == NULL)
            return;
        best->gone = best_gone;
    }
}

static double total_harm(const tm_pruner *p) {
    double harm = 0;
    for (size_t i = 0; i < p->axes.count; i++)
        if (p->axes.items[i].gone > 0)
            harm += harm_of(&p->axes.items[i], p->axes.items[i].gone);
    return harm;
}

/* Goes down from the whole model until no more than these shares is left, or nothing more can go. Where time
 * follows from other flops than those that go first, steps go on for its sake, down to `least` of the flops,
 * at a few times the price that was paid so far (at any, if flops were not asked for); what they make
 * needless comes back. */
static void descend(tm_pruner *p, target most, double least) {
    int gone = 0;
    for (size_t i = 0; i < p->axes.count; i++)
        p->axes.items[i].gone = 0;
    for (;;) {
        double left = flops_now(p) / p->flops, time = time_now(p);
        bool flops = left > most.flops, slow = time > most.time;
        bool free = flops || most.flops >= 1;
        limit limit = {least, free ? INFINITY : WORTH * total_harm(p) / fmax(1 - time, 1e-3)};
        int axis = slow ? best_step(p, false, true, limit, &gone) : -1;
        if (axis < 0 && flops)
            axis = best_step(p, true, true, limit, &gone);
        if (axis < 0) {
            most.flops = fmax(most.flops, left);
            most.time = most.time >= 1 ? INFINITY : fmax(most.time, time);
            break;
        }
        p->axes.items[axis].gone = gone;
    }
    go_back(p, most);
}

/* ---- each axis alone ---- */

static int probe_of(const tm_pruner *p, const tm_prune_axis *axis) {
    int gone = 0;
    if (axis->is_block)
        return 1;
    while (axis->is_rank ? tm_low_rank_share(p, axis, gone) > 0.55 : gone < axis->count / 2) {
        int next = next_step(p, axis, gone);
        if (next < 0)
            break;
        gone = next;
    }
    return gone;
}

static tm_code probe(tm_pruner *p, int number) {
    tm_prune_axis *axis = &p->axes.items[number];
    tm_prune_repair repair;
    tm_arena scratch;
    tm_divergence d;
    double before = 0, after = 0;
    if (axis->unfit || axis->probe == 0 ||
        (axis->is_block && p->readers.items[axis->reader].mean_output == NULL))
        return TM_OK;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    tm_prune_repair_init(p, &scratch, &repair);
    for (size_t r = 0; r < p->readers.count; r++)
        if (p->readers.items[r].axis == number && !axis->is_block) {
            repair.matrices[r] = p->probes.matrices[r];
            repair.shifts[r] = p->probes.shifts[r];
        }
    for (size_t i = 0; i < p->axes.count; i++)
        p->axes.items[i].gone = (int)i == number ? axis->probe : 0;
    tm_code code = tm_prune_measure(p, &repair, p->q.options->sweep_samples, &d, NULL, &before, &after);
    if (code == TM_OK && d.rows > 0) {
        double saved = 1 - flops_now(p) / p->flops, time = 1 - after / before;
        axis->harm = d.rms > 0 ? d.rms_error * d.rms_error / (d.rms * d.rms) : d.rms_error;
        axis->use = has_budget(p->q.options) ? tm_budget_use(p->q.options, &d) : -1;
        axis->time_per_flops = saved > 0 ? fmin(fmax(time / saved, 0.25), 4) : 1;
    }
    tm_arena_deinit(&scratch);
    return code;
}

/* ---- the whole ---- */

static void keep_choice(const tm_pruner *p, int *gone) {
    for (size_t i = 0; i < p->axes.count; i++)
        gone[i] = p->axes.items[i].gone;
}

/* Is that what the axes say now? */
static bool is_chosen(const tm_pruner *p, const tm_prune_attempt *a) {
    for (size_t i = 0; i < p->axes.count; i++)
        if (a->gone[i] != p->axes.items[i].gone)
            return false;
    return true;
}

/* What the axes say now, repaired and measured; `share`: of the flops, as it was asked for. */
static tm_code try_choice(tm_pruner *p, double share, tm_prune_attempt *out) {
    for (size_t i = 0; i < p->attempts.count; i++)
        if (is_chosen(p, &p->attempts.items[i])) {
            *out = p->attempts.items[i];
            out->share = share;
            return TM_OK;
        }
    *out = (tm_prune_attempt){.share = share};
    out->gone = TM_NEW_ARRAY(p->q.arena, int, p->axes.count + 1);
    keep_choice(p, out->gone);
    tm_prune_forget(p);
    tm_arena_init(&p->last_arena);
    tm_quantize_borrow_recovery(&p->q, &p->last_arena);
    p->last_gone = out->gone;
    TM_TRY(tm_prune_find_repair(p, &p->last_arena, &p->last));
    TM_TRY(tm_prune_measure(p, &p->last, 0, &out->d, &out->held_out, &out->ns_before, &out->ns));
    out->use = tm_prune_use(p->q.options, &out->d, &out->held_out);
    tm_push(p->q.arena, &p->attempts, *out);
    return TM_OK;
}

void tm_prune_forget(tm_pruner *p) {
    if (p->last_gone != NULL)
        tm_arena_deinit(&p->last_arena);
    p->last_gone = NULL;
}

/* The repair of the choice: the last one that was tried, or made anew. */
static tm_code repair_chosen(tm_pruner *p, tm_prune_repair *out) {
    bool last = p->last_gone != NULL;
    for (size_t i = 0; i < p->axes.count; i++)
        last = last && p->last_gone[i] == p->axes.items[i].gone;
    *out = p->last;
    return last ? TM_OK : tm_prune_find_repair(p, p->q.arena, out);
}

/* The deepest cut within the budget, between what is too deep and nothing. */
static tm_code search_budget(tm_pruner *p, double too_deep, tm_prune_attempt *best, bool *out_found) {
    double low = too_deep, high = 1;
    for (size_t i = 0; i < p->attempts.count; i++) /* what is known already */
        if (p->attempts.items[i].use > p->room && p->attempts.items[i].share < high)
            low = fmax(low, p->attempts.items[i].share);
    for (int turn = 0; turn < MOST_TURNS; turn++) {
        tm_prune_attempt next;
        descend(p, (target){(low + high) / 2, 1}, 0);
        TM_TRY(try_choice(p, (low + high) / 2, &next));
        bool any = false;
        for (size_t i = 0; i < p->axes.count; i++)
            any = any || next.gone[i] > 0;
        if (next.use > p->room) {
            low = next.share;
            continue;
        }
        high = next.share;
        if (any) {
            *best = next;
            *out_found = true;
        }
    }
    return TM_OK;
}

/* A choice that is as fast as it is asked to be, or else the fastest that was found. Predicted times are
 * sums, and real ones are not: so what was chosen is compiled and timed, with weights that nobody repaired,
 * and more is asked for by what is missing. The first choice goes by flops, if there is a share of them to
 * reach. A later one has to be faster by more than noise. */
static tm_code aim(tm_pruner *p, target most, double least) {
    double time = most.flops < 1 ? 1 : most.time, best = INFINITY, before, after;
    int *gone = TM_NEW_ARRAY(p->q.arena, int, p->axes.count + 1);
    for (int turn = 0; turn <= MOST_TURNS; turn++) {
        descend(p, (target){most.flops, time}, least);
        TM_TRY(tm_prune_measure(p, NULL, 1, NULL, NULL, &before, &after));
        if (after < best * before * CLEARLY) {
            best = after / before;
            keep_choice(p, gone);
        }
        if (after <= before * most.time * CLOSE || time_now(p) > time)
            break;
        time = fmin(fmin(time, time_now(p)) * fmin(most.time * CLOSE * before / after, 0.98), most.time);
    }
    for (size_t i = 0; i < p->axes.count; i++)
        p->axes.items[i].gone = gone[i];
    return TM_OK;
}

/* Flops are asked for because they take time. So of the cuts that leave no more of them, one is looked for
 * that is about as much faster; it may leave some less. */
static tm_code reach_flops(tm_pruner *p, tm_prune_attempt *out) {
    double share = p->options->amount;
    bool timed = false;
    for (size_t i = 0; i < p->axes.count; i++)
        timed = timed || p->axes.items[i].time_per_flops > 0;
    if (timed && share < 1)
        TM_TRY(aim(p, (target){share, fmin(share / PACE, 1)}, share * DEEPER));
    else
        descend(p, (target){share, 1}, share);
    return try_choice(p, share, out);
}

static tm_code reach_latency(tm_pruner *p, tm_prune_attempt *best) {
    double time = 1 / p->options->amount;
    for (int turn = 0; turn < LATENCY_TURNS; turn++) {
        tm_prune_attempt next;
        TM_TRY(aim(p, (target){1, time}, 0));
        TM_TRY(try_choice(p, flops_now(p) / p->flops, &next));
        double taken = next.ns / next.ns_before;
        if (turn == 0 || taken < best->ns / best->ns_before)
            *best = next;
        if (taken * p->options->amount <= 1)
            break;
        time *= fmin(0.98, 1 / (taken * p->options->amount));
    }
    return TM_OK;
}

static const char *figures(const tm_pruner *p, const tm_prune_attempt *a, double flops) {
    return tm_arena_format(p->q.arena, "%.2f of the flops, %.2f times as fast: %s", flops / p->flops,
                           a->ns > 0 ? a->ns_before / a->ns : 1,
                           tm_prune_figures(p->q.arena, &a->d, &a->held_out));
}

static void take(tm_pruner *p, const tm_prune_attempt *a) {
    for (size_t i = 0; i < p->axes.count; i++)
        p->axes.items[i].gone = a != NULL ? a->gone[i] : 0;
}

static tm_code judge(tm_pruner *p, tm_prune_attempt *reached, tm_compress_report *report) {
    tm_arena *arena = p->q.arena;
    bool budget = has_budget(p->q.options), found = !budget || reached->use <= p->room;
    take(p, reached);
    const char *asked = figures(p, reached, flops_now(p));
    if (!found) {
        tm_prune_attempt deepest = *reached;
        TM_TRY(search_budget(p, reached->share, &deepest, &found));
        *reached = deepest;
        take(p, found ? reached : NULL);
        if (p->options->goal != TM_PRUNE_BUDGET)
            report->refused =
                tm_arena_format(arena, "the goal is over the budget with %s. Within it: %s", asked,
                                found ? figures(p, reached, flops_now(p))
                                      : "nothing but what is zero, so the model stays as it is");
    } else if (p->options->goal == TM_PRUNE_LATENCY &&
               reached->ns * p->options->amount > reached->ns_before) {
        report->refused = tm_arena_format(arena, "the goal was not reached; the best is %s", asked);
    } else if (p->options->goal == TM_PRUNE_FLOPS && flops_now(p) > p->options->amount * p->flops * 1.0001) {
        report->refused = tm_arena_format(arena, "no more can go; the most is %s", asked);
    }
    report->budget_met = found;
    if (budget)
        report->budget = found ? tm_arena_format(arena, "met: %.0f %% of it is used", reached->use * 100)
                               : "met by the model as it was";
    if (found) {
        report->whole = reached->d;
        report->held_out = reached->held_out;
        report->ns_before = reached->ns_before;
        report->ns = reached->ns;
    }
    return TM_OK;
}

static tm_code prepare(tm_pruner *p) {
    if (p->prepared)
        return TM_OK;
    for (size_t i = 0; i < p->axes.count; i++)
        p->axes.items[i].probe = p->axes.items[i].unfit ? 0 : probe_of(p, &p->axes.items[i]);
    TM_TRY(tm_prune_order(p));
    for (size_t i = 0; i < p->axes.count && p->q.options->sweep_samples > 0; i++)
        TM_TRY(probe(p, (int)i));
    p->prepared = true;
    return TM_OK;
}

tm_code tm_prune_choose(tm_pruner *p, tm_prune_repair *repair, tm_compress_report *report) {
    tm_prune_attempt reached;
    TM_TRY(prepare(p));
    if (p->options->goal == TM_PRUNE_LATENCY)
        TM_TRY(reach_latency(p, &reached));
    else if (p->options->goal == TM_PRUNE_FLOPS)
        TM_TRY(reach_flops(p, &reached));
    else {
        descend(p, (target){0.1, 1}, 0);
        TM_TRY(try_choice(p, 0.1, &reached));
    }
    TM_TRY(judge(p, &reached, report));
    report->flops_before = p->flops;
    report->flops = flops_now(p);
    TM_TRY(repair_chosen(p, repair));
    for (size_t i = 0; i < p->axes.count; i++) {
        const tm_prune_axis *axis = &p->axes.items[i];
        if (axis->count == 0)
            continue;
        double error = axis->is_block                          ? -1
                       : axis->is_rank && axis->errors != NULL ? axis->errors[axis->gone]
                                                               : 0;
        for (size_t r = 0; r < p->readers.count; r++)
            if (p->readers.items[r].axis == (int)i)
                error = fmax(error, repair->errors[r]);
        tm_push(p->q.arena, &report->axes,
                (tm_axis_report){.name = axis->name,
                                 .kind = axis->is_block       ? "block"
                                         : axis->is_rank      ? "rank"
                                         : axis->channels > 1 ? "heads"
                                                              : "channels",
                                 .slices = axis->count,
                                 .kept = axis->count - axis->gone,
                                 .channels = axis->channels,
                                 .error = error,
                                 .harm = axis->use});
    }
    return TM_OK;
}
