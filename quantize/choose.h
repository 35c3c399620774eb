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
/* Adds the float outputs of a sample that has run in both builds; labels are those of the first output. */
void tm_divergence_add_builds(const tm_quantizer *q, tm_divergence *d, const tm_build *plain, const tm_build *ours);

/* ---- divergence.c ---- */
/* Adds rows of `width` numbers. Sums stay in the record until tm_divergence_finish makes means of them. */
void tm_divergence_add(tm_divergence *d, const float *expected, const float *found, int64_t rows,
                       int64_t width);
void tm_divergence_finish(tm_divergence *d);
/* How much of the budget is used: 1 is all of it; 0 without a budget. */
double tm_budget_use(const tm_quantize_options *options, const tm_divergence *d);

/* ---- knapsack.c ---- */
/* Takes items of the largest total gain whose weights together do not exceed `capacity`. Weights count in
 * thousandths of it, rounded up. Items of no gain are not taken. */
void tm_knapsack(tm_arena *arena, int count, const double *gains, const double *weights, double capacity,
                 bool *out_taken);

/* ---- cost.c ---- */
/* Fills float_ns and ns of each layer. */
TM_MUST_USE tm_code tm_measure_layers(tm_quantizer *q, const tm_loaded *loaded, tm_quantize_report *report);

#endif
