/* SPDX-License-Identifier: Apache-2.0
 *
 * observe.c: ranges and histograms of what flows, and how much of a range to keep; see scale.h.
 *
 * Two walks over the samples: the first finds the range, the second counts into bins of equal width over it,
 * so that memory does not grow with the samples. The clip searches try limits of the magnitude, shares of the
 * largest one, and judge each by the histogram alone:
 *
 *     mse       sum over the bins of count * (x - rounded x)^2
 *     entropy   KL divergence of the bins, with what is cut off put into the outermost ones, from the bins
 * that share a step of the quantised range, levelled out
 *
 * NaN and infinities are counted apart, and neither widen the range nor fall into a bin.
 */
#include "quantize/scale.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define SHARES 100 /* tried: 1/SHARES ... 1 */

void tm_range_add(tm_range *range, const float *data, int64_t count) {
    float low = range->low, high = range->high;
    double squares = 0;
    int64_t tiny = 0, not_finite = 0;
    for (int64_t i = 0; i < count; i++) {
        float x = data[i];
        if (!isfinite(x)) {
            not_finite++;
            continue;
        }
        low = x < low ? x : low;
        high = x > high ? x : high;
        squares += (double)x * (double)x;
        tiny += x != 0 && fabsf(x) < FLT_MIN;
    }
    range->low = low;
    range->high = high;
    range->squares += squares;
    range->tiny += tiny;
    range->not_finite += not_finite;
    range->count += count - not_finite;
}

void tm_histogram_init(tm_histogram *histogram, tm_arena *arena, const tm_range *range) {
    double width = ((double)range->high - (double)range->low) / TM_HISTOGRAM_BINS;
    *histogram =
        (tm_histogram){range->low, width > 0 ? width : 1, TM_NEW_ARRAY(arena, double, TM_HISTOGRAM_BINS)};
}

static int bin_of(const tm_histogram *histogram, double x) {
    double at = (x - histogram->low) / histogram->width;
    return at <= 0 ? 0 : at >= TM_HISTOGRAM_BINS ? TM_HISTOGRAM_BINS - 1 : (int)at;
}

void tm_histogram_add(tm_histogram *histogram, const float *data, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (isfinite(data[i]))
            histogram->counts[bin_of(histogram, data[i])]++;
}

static double middle(const tm_histogram *histogram, int bin) {
    return histogram->low + (bin + 0.5) * histogram->width;
}

void tm_clip(const tm_range *range, double share, double *out_low, double *out_high) {
    double limit = share * fmax(-(double)range->low, (double)range->high);
    *out_low = fmax((double)range->low, -limit);
    *out_high = fmin((double)range->high, limit);
}

double tm_clip_percentile(const tm_histogram *histogram, const tm_range *range, double percentile) {
    double total = 0;
    for (int b = 0; b < TM_HISTOGRAM_BINS; b++)
        total += histogram->counts[b];
    for (int s = 1; s < SHARES * 10; s++) {
        double share = s / (SHARES * 10.0), kept = 0, low, high;
        tm_clip(range, share, &low, &high);
        for (int b = 0; b < TM_HISTOGRAM_BINS; b++) {
            double x = middle(histogram, b);
            kept += x >= low && x <= high ? histogram->counts[b] : 0;
        }
        if (kept >= total * percentile / 100)
            return share;
    }
    return 1;
}

double tm_clip_mse(const tm_histogram *histogram, const tm_range *range) {
    double best = INFINITY, best_share = 1;
    for (int s = SHARES; s > 0; s--) {
        double share = (double)s / SHARES, error = 0, low, high;
        tm_clip(range, share, &low, &high);
        tm_linear linear = tm_linear_of(low, high, false);
        double step = linear.scale;
        for (int b = 0; b < TM_HISTOGRAM_BINS && error < best; b++) {
            if (histogram->counts[b] == 0)
                continue;
            double x = middle(histogram, b), d = x - (double)tm_linear_round(&linear, (float)x);
            /* Inside of the range the errors of a bin are even over a step where steps are narrower than
             * bins. */
            bool inside = x > low && x < high;
            error += histogram->counts[b] * (inside && step <= histogram->width ? step * step / 12 : d * d);
        }
        if (error < best) {
            best = error;
            best_share = share;
        }
    }
    return best_share;
}

/* P: the bins of [first, last] with what lies outside of them in the outermost; Q: the same without, levelled
 * out over each of 256 steps, empty bins staying empty. KL(P || Q) of the two, both scaled to a sum of 1. */
static double divergence(const tm_histogram *histogram, int first, int last, double *p, double *q) {
    int count = last - first + 1;
    double total_p = 0, total_q = 0, sum = 0;
    memcpy(p, histogram->counts + first, sizeof(double) * (size_t)count);
    for (int b = 0; b < first; b++)
        p[0] += histogram->counts[b];
    for (int b = last + 1; b < TM_HISTOGRAM_BINS; b++)
        p[count - 1] += histogram->counts[b];
    for (int step = 0; step < 256; step++) {
        int from = (int)((int64_t)step * count / 256), to = (int)((int64_t)(step + 1) * count / 256);
        double held = 0;
        int filled = 0;
        for (int b = from; b < to; b++) {
            held += histogram->counts[first + b];
            filled += histogram->counts[first + b] > 0;
        }
        for (int b = from; b < to; b++)
            q[b] = histogram->counts[first + b] > 0 ? held / filled : 0;
    }
    for (int b = 0; b < count; b++) {
        total_p += p[b];
        total_q += q[b];
    }
    for (int b = 0; b < count; b++)
        if (p[b] > 0)
            sum += p[b] / total_p * log(p[b] / total_p / fmax(q[b] / fmax(total_q, DBL_MIN), 1e-12));
    return sum;
}

double tm_clip_entropy(tm_arena *arena, const tm_histogram *histogram, const tm_range *range) {
    double *p = TM_NEW_ARRAY(arena, double, 2 * TM_HISTOGRAM_BINS), best = INFINITY, best_share = 1;
    for (int s = SHARES; s > 0; s--) {
        double share = (double)s / SHARES, low, high;
        tm_clip(range, share, &low, &high);
        int first = bin_of(histogram, low + histogram->width / 2);
        int last = bin_of(histogram, high - histogram->width / 2);
        if (last - first + 1 < 256)
            break;
        double d = divergence(histogram, first, last, p, p + TM_HISTOGRAM_BINS);
        if (d < best) {
            best = d;
            best_share = share;
        }
    }
    return best_share;
}

tm_linear tm_linear_of(double low, double high, bool is_signed) {
    low = fmin(low, 0);
    high = fmax(high, 0);
    tm_linear linear = {.is_signed = is_signed};
    double scale = is_signed ? fmax(-low, high) / 127 : (high - low) / 255;
    /* The scale is a float; one whose inverse is infinite would make every quotient so. */
    linear.scale = (float)fmax(scale, 1e-30);
    if (!is_signed) {
        double zero = nearbyint(-low / (double)linear.scale);
        linear.zero = (int)fmin(fmax(zero, 0), 255);
    }
    return linear;
}

float tm_linear_round(const tm_linear *linear, float x) {
    float low = linear->is_signed ? -128.0f : 0.0f, high = linear->is_signed ? 127.0f : 255.0f;
    float at = nearbyintf(x / linear->scale) + (float)linear->zero;
    at = at < low ? low : at > high ? high : at;
    return (at - (float)linear->zero) * linear->scale;
}
