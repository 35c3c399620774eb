/* SPDX-License-Identifier: Apache-2.0
 *
 * divergence.c: how far answers stand from those of float.
 *
 * A row, the last axis of an output, is taken as scores of classes: if its elements are probabilities they
 * are compared as they are, else their softmax is. KL(p || q) = sum p log(p / q), with q bounded from below
 * by 1e-12, so that one class of no probability does not make it infinite.
 */
#include "quantize/choose.h"

#include <math.h>

#define LEAST 1e-12

static bool are_probabilities(const float *row, int64_t width) {
    double sum = 0;
    for (int64_t i = 0; i < width; i++) {
        if (!(row[i] >= 0))
            return false;
        sum += (double)row[i];
    }
    return fabs(sum - 1) < 1e-3;
}

/* log of the sum of exponentials. */
static double log_sum(const float *row, int64_t width) {
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < width; i++)
        most = fmax(most, (double)row[i]);
    for (int64_t i = 0; i < width; i++)
        sum += exp((double)row[i] - most);
    return most + log(sum);
}

static double row_kl(const float *expected, const float *found, int64_t width) {
    double kl = 0;
    if (are_probabilities(expected, width)) {
        for (int64_t i = 0; i < width; i++)
            if (expected[i] > 0)
                kl += (double)expected[i] * log((double)expected[i] / fmax((double)found[i], LEAST));
        return kl;
    }
    double a = log_sum(expected, width), b = log_sum(found, width);
    for (int64_t i = 0; i < width; i++) {
        double log_p = (double)expected[i] - a;
        kl += exp(log_p) * (log_p - fmax((double)found[i] - b, log(LEAST)));
    }
    return kl;
}

static int64_t largest(const float *row, int64_t width) {
    int64_t best = 0;
    for (int64_t i = 1; i < width; i++)
        best = row[i] > row[best] ? i : best;
    return best;
}

void tm_divergence_add(tm_divergence *d, const float *expected, const float *found, int64_t rows,
                       int64_t width) {
    for (int64_t r = 0; r < rows && width > 0; r++, expected += width, found += width) {
        double dot = 0, a = 0, b = 0;
        for (int64_t i = 0; i < width; i++) {
            double x = (double)expected[i], y = (double)found[i];
            dot += x * y;
            a += x * x;
            b += y * y;
            d->max_error = fmax(d->max_error, fabs(x - y));
            d->rms_error += (x - y) * (x - y) / (double)width;
        }
        d->rms += a / (double)width;
        double cosine = a > 0 && b > 0 ? dot / sqrt(a * b) : a == b,
               kl = fmax(row_kl(expected, found, width), 0);
        d->cosine += cosine;
        d->cosine_error += (1 - cosine) * (1 - cosine);
        d->kl += kl;
        d->kl_error += kl * kl;
        d->flips += largest(expected, width) != largest(found, width);
        d->rows++;
    }
}

/* -log of the probability of the class. */
static double log_loss(const float *row, int64_t width, int64_t label) {
    if (label < 0 || label >= width)
        return -log(LEAST);
    if (are_probabilities(row, width))
        return -log(fmax((double)row[label], LEAST));
    return fmin(log_sum(row, width) - (double)row[label], -log(LEAST));
}

void tm_divergence_add_label(tm_divergence *d, const float *expected, const float *found, int64_t width,
                             int64_t label) {
    if (width == 0)
        return;
    d->labelled++;
    d->right_float += largest(expected, width) == label;
    d->right += largest(found, width) == label;
    d->log_loss_float += log_loss(expected, width, label);
    d->log_loss += log_loss(found, width, label);
}

void tm_divergence_finish(tm_divergence *d) {
    if (d->labelled > 0) {
        d->log_loss_float /= (double)d->labelled;
        d->log_loss /= (double)d->labelled;
    }
    if (d->rows == 0)
        return;
    double rows = (double)d->rows;
    d->kl /= rows;
    d->flips /= rows;
    d->cosine /= rows;
    d->kl_error = sqrt(fmax(d->kl_error / rows - d->kl * d->kl, 0) / rows);
    d->cosine_error = sqrt(fmax(d->cosine_error / rows - (1 - d->cosine) * (1 - d->cosine), 0) / rows);
    d->rms = sqrt(d->rms / rows);
    d->rms_error = sqrt(d->rms_error / rows);
}

static double budget_use(const tm_quantize_options *options, const tm_divergence *d, double errors) {
    double use = 0;
    if (!isnan(options->most_kl))
        use = fmax(use, (d->kl + errors * d->kl_error) / fmax(options->most_kl, LEAST));
    if (!isnan(options->most_flips)) {
        double error = d->rows > 0 ? sqrt(d->flips * (1 - d->flips) / (double)d->rows) : 0;
        use = fmax(use, (d->flips + errors * error) / fmax(options->most_flips, LEAST));
    }
    if (!isnan(options->least_cosine))
        use = fmax(use, (1 - d->cosine + errors * d->cosine_error) / fmax(1 - options->least_cosine, LEAST));
    return use;
}

double tm_budget_use(const tm_quantize_options *options, const tm_divergence *d) {
    return budget_use(options, d, 0);
}

double tm_budget_use_elsewhere(const tm_quantize_options *options, const tm_divergence *d) {
    return budget_use(options, d, 1);
}
