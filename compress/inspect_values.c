/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_values.c: zeros, ranges, distinct values, entropies of a tensor.
 *
 * Zeros and exponents are counted over all elements, one pass. Entropies of whole words need a table of what
 * was seen, so they are of 65536 elements at most, spread over the tensor; they cannot be more than 16 bits
 * then. What int8 would leave is measured with a scale for each column, as the quantiser has them.
 */
#include "compress/inspect.h"

#include "codegen/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE 65536

static double entropy(const int64_t *counts, size_t size) {
    double total = 0, bits = 0;
    for (size_t i = 0; i < size; i++)
        total += (double)counts[i];
    for (size_t i = 0; i < size; i++)
        if (counts[i] > 0)
            bits -= (double)counts[i] / total * log2((double)counts[i] / total);
    return bits;
}

static int by_bits(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return (x > y) - (x < y);
}

/* Entropy of the words of a part of the elements. */
static double word_entropy(tm_arena *scratch, const tm_constant *c, int64_t count, int size) {
    int64_t part = count < SAMPLE ? count : SAMPLE, step = count / part, runs = 0;
    uint64_t *words = TM_NEW_ARRAY(scratch, uint64_t, part);
    double bits = 0;
    for (int64_t i = 0; i < part; i++)
        memcpy(&words[i], (const char *)c->data + i * step * size, (size_t)size);
    qsort(words, (size_t)part, 8, by_bits);
    for (int64_t i = 0; i < part; i++) {
        runs++;
        if (i + 1 < part && words[i + 1] == words[i])
            continue;
        bits -= (double)runs / (double)part * log2((double)runs / (double)part);
        runs = 0;
    }
    return bits;
}

static void count_values(const tm_inspected *x, tm_tensor_report *out, int64_t *exponents) {
    double squares = 0;
    float least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < x->count; i++) {
        float value = x->data[i];
        uint32_t bits;
        memcpy(&bits, &value, 4);
        exponents[bits >> 23 & 255]++;
        if ((bits & 0x7f800000u) == 0x7f800000u) {
            out->not_finite++;
            continue;
        }
        out->zeros += value == 0;
        least = value < least ? value : least;
        most = value > most ? value : most;
        squares += (double)value * (double)value;
    }
    int64_t finite = x->count - out->not_finite;
    out->subnormal = exponents[0] - out->zeros;
    out->least = finite > 0 ? (double)least : 0;
    out->most = finite > 0 ? (double)most : 0;
    out->rms = finite > 0 ? sqrt(squares / (double)finite) : 0;
}

static void count_outliers(const tm_inspected *x, tm_tensor_report *out) {
    double largest = fmax(fabs(out->least), fabs(out->most));
    out->outlier = out->rms > 0 ? largest / out->rms : 0;
    if (out->outlier <= 6)
        return;
    float limit = (float)(6 * out->rms);
    for (int64_t i = 0; i < x->count; i++)
        out->outliers += fabsf(x->data[i]) > limit && fabsf(x->data[i]) < INFINITY;
}

/* Rows and columns that tell enough of a matrix: each column whole, but only some. */
static double int8_entropy(const tm_inspected *x) {
    int64_t counts[256] = {0}, step = x->count / (16 * SAMPLE) + 1;
    for (int64_t c = 0; c < x->columns; c += step) {
        float largest = 0;
        for (int64_t r = 0; r < x->rows; r++) {
            float value = fabsf(x->data[r * x->row_step + c * x->column_step]);
            largest = value > largest && value < INFINITY ? value : largest;
        }
        for (int64_t r = 0; r < x->rows; r++) {
            float value = x->data[r * x->row_step + c * x->column_step];
            int rounded = largest > 0 && fabsf(value) < INFINITY ? (int)rintf(value / largest * 127) : 0;
            counts[rounded + 128]++;
        }
    }
    return entropy(counts, 256);
}

void tm_inspect_statistics(tm_arena *scratch, const tm_inspected *x, tm_tensor_report *out) {
    const tm_constant *c = out->constant;
    int64_t exponents[256] = {0};
    int size = tm_type_bits(c->type) / 8;
    out->exponent_bits = -1;
    if (x->count == 0)
        return;
    count_values(x, out, exponents);
    count_outliers(x, out);
    if (size == 1 || size == 2 || size == 4 || size == 8) {
        out->word_bits = word_entropy(scratch, c, x->count, size);
        out->distinct = tm_count_distinct(scratch, c->data, x->count, size, SAMPLE);
    } else {
        out->distinct = tm_count_distinct(scratch, x->data, x->count, 4, SAMPLE);
        out->word_bits = tm_type_bits(c->type);
    }
    if (c->type == TAMIS_TYPE_FLOAT)
        out->exponent_bits = entropy(exponents, 256);
    out->int8_bits = tm_type_is_float(c->type) ? int8_entropy(x) : -1;
}
