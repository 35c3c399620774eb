/* SPDX-License-Identifier: Apache-2.0
 *
 * speed.c: the quantised model is not slower than float, as a whole.
 *
 * Times of layers alone do not tell what quantisers cost between them, nor what float regions they take
 * apart. So the chosen model and the float model run in turns, one thread each, on a sample from the middle
 * of all, and the median of the turns' ratios counts, with what it may be off by: the less the turns agree,
 * the more quantised must gain. Where it is slower, the layers that gained the least alone become float, half
 * of those that are left at a time; at the end all. A second look that takes longer decides before anything
 * is taken back, so that a busy machine does not.
 *
 * Weights alone are made small for room, so forms without integer arithmetic are not timed.
 */
#include "quantize/choose.h"

#include <math.h>
#include <stdlib.h>

#define SLOWER 1.01 /* than float; two percent are promised, and another process has other addresses */
#define MOST_TURNS 25
#define LEAST_NS 1e6 /* of a turn; small models run several times in it */
#define ENOUGH_NS 4e8

static tm_code time_calls(tm_quantizer *q, tm_build *build, const tamis_tensor *inputs, int calls,
                          double *out_ns) {
    double start = tm_thread_ns();
    for (int i = 0; i < calls; i++)
        TM_TRY(tm_build_run(q, build, inputs));
    *out_ns = (tm_thread_ns() - start) / calls;
    return TM_OK;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_size);
    return values[count / 2];
}

typedef struct timing {
    double ours, plain; /* medians */
    double ratio;       /* of the turns, at most: the median and its error */
} timing;

/* Half of the values lie between the quartiles: their distance is 1.35 standard deviations, and a median has
 * 1.25 of these over the root of the count. */
static double at_most(double *values, int count) {
    double middle = median(values, count);
    return middle + (values[count * 3 / 4] - values[count / 4]) / sqrt(count);
}

static tm_code time_in_turns(tm_quantizer *q, tm_build *ours, tm_build *plain, const tamis_tensor *inputs,
                             int turns, timing *out) {
    double a[MOST_TURNS], b[MOST_TURNS], ratios[MOST_TURNS], total = 0, first;
    int count = 0;
    TM_TRY(tm_build_run(q, ours, inputs)); /* pages and caches */
    TM_TRY(tm_build_run(q, plain, inputs));
    TM_TRY(time_calls(q, plain, inputs, 1, &first));
    int calls = (int)fmin(fmax(LEAST_NS / fmax(first, 100), 1), 4000);
    while (count < turns && (count < 3 || total < ENOUGH_NS)) {
        TM_TRY(time_calls(q, ours, inputs, calls, &a[count]));
        TM_TRY(time_calls(q, plain, inputs, calls, &b[count]));
        ratios[count] = a[count] / fmax(b[count], 1);
        total += (a[count] + b[count]) * calls;
        count++;
    }
    *out = (timing){median(a, count), median(b, count), at_most(ratios, count)};
    return TM_OK;
}

/* The sample in the middle; valid until the samples are asked again. */
static tm_code middle_sample(tm_quantizer *q, const tamis_tensor **out) {
    const tm_samples *samples = q->samples;
    TM_TRY(samples->rewind(samples->self));
    for (int64_t i = 0; i <= q->sample_count / 2; i++) {
        const tamis_tensor *inputs;
        TM_TRY(samples->next(samples->self, &inputs));
        if (inputs == NULL)
            break;
        *out = inputs;
    }
    return TM_OK;
}

static tm_code time_planned(tm_quantizer *q, tm_build *plain, const tamis_tensor *inputs, timing *out) {
    tm_build ours;
    int outputs;
    TM_TRY(tm_build_planned(q, &ours, &outputs, false));
    tm_code code = time_in_turns(q, &ours, plain, inputs, MOST_TURNS / 3, out);
    if (code == TM_OK && out->ratio > SLOWER)
        code = time_in_turns(q, &ours, plain, inputs, MOST_TURNS, out);
    tm_build_destroy(&ours);
    return code;
}

static bool multiplies_integers(const tm_quantizer *q, int layer) {
    const tm_layer_plan *plan = &q->plans[layer];
    return plan->quantize && !plan->is_table && plan->form <= TM_QUANTIZE_INT8_DYNAMIC;
}

static double gain_of(const tm_quantizer *q, int layer) {
    const tm_layer_cost *cost = &q->costs[layer];
    return cost->in_float - cost->in_form[q->plans[layer].form];
}

/* Half of the layers that multiply integers, rounded up. Returns how many were left before. */
static int take_back(tm_quantizer *q) {
    int left = 0;
    for (int i = 0; i < q->layer_count; i++)
        left += multiplies_integers(q, i);
    for (int k = 0; k < (left + 1) / 2; k++) {
        int least = -1;
        for (int i = 0; i < q->layer_count; i++)
            if (multiplies_integers(q, i) && (least < 0 || gain_of(q, i) < gain_of(q, least)))
                least = i;
        q->plans[least].quantize = false;
        q->plans[least].reason = "float, since the whole model was slower with it";
    }
    return left;
}

static tm_code hold(tm_quantizer *q, tm_build *plain, const tamis_tensor *inputs, tm_quantize_report *report,
                    bool *out_changed) {
    timing t = {0};
    for (;;) {
        TM_TRY(time_planned(q, plain, inputs, &t));
        report->float_ns = t.plain;
        report->ns = t.ours;
        if (t.ratio <= SLOWER)
            break;
        *out_changed = true;
        if (take_back(q) == 1)
            break;
    }
    int left = 0;
    for (int i = 0; i < q->layer_count; i++)
        left += multiplies_integers(q, i);
    if (*out_changed && left == 0) {
        report->ns = report->float_ns;
        report->speed = "every layer is float: the model was slower with any of them in integers";
    } else if (*out_changed) {
        report->speed = "some layers are float: the model was slower with them in integers";
    }
    return TM_OK;
}

tm_code tm_time_attentions(tm_quantizer *q, tm_quantize_report *report, bool *out_slower) {
    const tm_quantize_options *own = q->options;
    tm_quantize_options options = *own;
    tm_build plain;
    int outputs, count = q->attention_count;
    timing t = {0};
    const tamis_tensor *inputs = NULL;
    options.threads = 1;
    TM_TRY(middle_sample(q, &inputs));
    q->options = &options;
    q->attention_count = 0;
    tm_code code = tm_build_planned(q, &plain, &outputs, false);
    q->attention_count = count;
    if (code == TM_OK) {
        code = time_planned(q, &plain, inputs, &t);
        tm_build_destroy(&plain);
    }
    q->options = own;
    *out_slower = t.ratio > SLOWER;
    if (!*out_slower && report->ns > 0)
        report->ns = t.ours;
    return code;
}

tm_code tm_hold_speed(tm_quantizer *q, tm_quantize_report *report, bool *out_changed) {
    bool any = false;
    tm_quantize_options options = *q->options;
    const tm_quantize_options *own = q->options;
    tm_build plain;
    int outputs;
    const tamis_tensor *inputs = NULL;
    *out_changed = false;
    for (int i = 0; i < q->layer_count; i++)
        any = any || multiplies_integers(q, i);
    if (!any || !tm_goes_by_time(q) || !tm_times_are_measured(q))
        return TM_OK;
    options.threads = 1;
    TM_TRY(middle_sample(q, &inputs));
    q->options = &options;
    tm_code code = tm_build_planned(q, &plain, &outputs, true);
    if (code == TM_OK) {
        code = hold(q, &plain, inputs, report, out_changed);
        tm_build_destroy(&plain);
    }
    q->options = own;
    return code;
}
