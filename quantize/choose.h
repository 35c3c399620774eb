/* SPDX-License-Identifier: Apache-2.0
 *
 * choose.h: which layers are quantised, and the figures that say so.
 */
#ifndef TM_QUANTIZE_CHOOSE_H
#define TM_QUANTIZE_CHOOSE_H

#include "quantize/layer.h"

/* What is known of the layers before any is chosen, their times included. */
TM_MUST_USE tm_code tm_describe_layers(tm_quantizer *q, const tm_loaded *loaded, tm_quantize_report *report);
/* Measures, chooses under the budget, fills the rest of the report. */
TM_MUST_USE tm_code tm_choose(tm_quantizer *q, tm_quantize_report *report);
/* The forms of a layer that may be chosen, the options' first. Returns their number. */
int tm_forms_of(const tm_quantizer *q, int layer, tm_quantize_form out[TM_QUANTIZE_FORMS]);
bool tm_has_budget(const tm_quantize_options *options);

/* Does the choice go by times: measured, or estimated for another machine? */
bool tm_goes_by_time(const tm_quantizer *q);

/* ---- compare.c ---- */
/* Compiles the model as planned (`plain`: in float). */
TM_MUST_USE tm_code tm_build_planned(tm_quantizer *q, tm_build *out, int *out_outputs, bool plain);

/* Compiles the model whose answers count, in float. */
TM_MUST_USE tm_code tm_build_reference(tm_quantizer *q, tm_build *out, int *out_outputs);

/* The answers of this model in float, which layers are measured by, on some of the samples. */
typedef struct tm_answers {
    int outputs; /* of the model */
    int64_t most, samples, bytes;
    TM_VECTOR(float *) list; /* for each sample and output; NULL: no floats */
} tm_answers;
TM_MUST_USE tm_code tm_answers_keep(tm_quantizer *q, int64_t most, tm_answers *out);
/* The planned model against them. */
TM_MUST_USE tm_code tm_compare_kept(tm_quantizer *q, const tm_answers *kept, tm_divergence *out);
/* Adds the float outputs of a sample that has run in both builds; labels are those of the first output. */
void tm_divergence_add_builds(const tm_quantizer *q, tm_divergence *d, const tm_build *plain,
                              const tm_build *ours);
/* The labels of rows of the first float output, which come behind those that were added. */
void tm_divergence_add_labels(const tm_quantizer *q, tm_divergence *d, const float *expected,
                              const float *found, int64_t rows, int64_t width);
/* The planned model against float on all samples. */
TM_MUST_USE tm_code tm_compare_all(tm_quantizer *q, tm_divergence *out);

/* ---- divergence.c ---- */
/* Adds rows of `width` numbers. Sums stay in the record until tm_divergence_finish makes means of them. */
void tm_divergence_add(tm_divergence *d, const float *expected, const float *found, int64_t rows,
                       int64_t width);
/* A row of both with its class; not counted as a row. A label that is no class counts as wrong. */
void tm_divergence_add_label(tm_divergence *d, const float *expected, const float *found, int64_t width,
                             int64_t label);
void tm_divergence_finish(tm_divergence *d);
/* How much of the budget is used: 1 is all of it; 0 without a budget. */
double tm_budget_use(const tm_quantize_options *options, const tm_divergence *d);
/* The same for means that lie a standard error further from float: what other samples may well show. */
double tm_budget_use_elsewhere(const tm_quantize_options *options, const tm_divergence *d);

/* ---- attention.c ---- */
/* Entries of the report for the attentions, behind those of the layers; plans all that fit. */
void tm_describe_attentions(tm_quantizer *q, const tm_loaded *loaded, tm_quantize_report *report);
/* Which of them are quantised, the layers being chosen without any. `kept`: NULL, or answers to measure each
 * alone by. *out_changed is set where some are. */
TM_MUST_USE tm_code tm_choose_attentions(tm_quantizer *q, const tm_answers *kept, tm_quantize_report *report,
                                         bool *out_changed);

/* ---- knapsack.c ---- */
/* Takes items, each in one of `ways` ways, of the largest total gain whose weights together do not exceed
 * `capacity`; gains and weights [count, ways]. Weights count in thousandths of it, rounded up. Ways of no
 * gain are not taken. *out_taken: the way of each item, or -1. */
void tm_knapsack(tm_arena *arena, int count, int ways, const double *gains, const double *weights,
                 double capacity, int8_t *out_taken);

/* ---- cost.c ---- */
/* Time of this thread on a processor: what other programs take does not count. */
double tm_thread_ns(void);
/* Of the clock on the wall, in seconds from some time on. */
double tm_wall_seconds(void);
/* On this machine, which is the target? */
bool tm_times_are_measured(const tm_quantizer *q);
/* Fills q->costs: of each layer in float and in the forms that may be chosen. */
TM_MUST_USE tm_code tm_measure_layers(tm_quantizer *q, const tm_loaded *loaded);

/* ---- speed.c ---- */
/* Times the whole model, and takes back what makes it slower than float. *out_changed: something was. */
TM_MUST_USE tm_code tm_hold_speed(tm_quantizer *q, tm_quantize_report *report, bool *out_changed);
/* Is the whole model slower with the attentions that are planned than without any? */
TM_MUST_USE tm_code tm_time_attentions(tm_quantizer *q, tm_quantize_report *report, bool *out_slower);

#endif
