/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens_compare.c: answers of two models where tokens are real.
 *
 * An element counts unless one of its indices says padding: of an axis as long as sequences behind one of the
 * batch, [batch, length, 384] or [batch, heads, length, length], or of an axis of all tokens.
 */
#include "compress/tokens_internal.h"

#include "quantize/choose.h"

#include <math.h>
#include <string.h>

#define MOST_DIFFERENCE 1e-3 /* of the root of the answers' mean square */

bool tm_tokens_is_rounding(const tm_divergence *divergence) {
    return divergence->rows == 0 || divergence->max_error <= MOST_DIFFERENCE * divergence->rms;
}

static bool is_real(const tamis_tensor *mask, int64_t i) {
    switch (mask->type) {
    case TAMIS_TYPE_FLOAT:
        return ((const float *)mask->data)[i] != 0;
    case TAMIS_TYPE_DOUBLE:
        return ((const double *)mask->data)[i] != 0;
    case TAMIS_TYPE_INT64:
        return ((const int64_t *)mask->data)[i] != 0;
    case TAMIS_TYPE_INT32:
        return ((const int32_t *)mask->data)[i] != 0;
    default: /* bytes and bool, as tm_tokens_find says */
        return ((const uint8_t *)mask->data)[i] != 0;
    }
}

int64_t tm_tokens_count(const tamis_tensor *mask, int64_t *out_all) {
    int64_t real = 0;
    *out_all = mask->dims[0] * mask->dims[1];
    for (int64_t i = 0; i < *out_all; i++)
        real += is_real(mask, i);
    return real;
}

/* A divergence has no place for others: they are equal, or the answers are others. */
static bool are_finite(const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

typedef struct walker {
    const tamis_tensor *mask;
    int rank;
    int64_t dims[TAMIS_MAX_RANK];
    bool counts[TAMIS_MAX_RANK]; /* the axis counts tokens of a sequence */
    bool flat;                   /* axis 0 counts all tokens */
} walker;

static bool counts(const walker *w, const int64_t *index) {
    if (w->mask == NULL)
        return true;
    const int64_t length = w->mask->dims[1];
    if (w->flat)
        return is_real(w->mask, w->mask->dims[0] == 1 ? index[0] % length : index[0]);
    for (int axis = 1; axis < w->rank; axis++) {
        int64_t sequence = w->mask->dims[0] == 1 ? 0 : index[0];
        if (w->counts[axis] && !is_real(w->mask, sequence * length + index[axis]))
            return false;
    }
    return true;
}

static walker begin(const tm_tokens_place *place, const tm_value *value, const tamis_tensor *mask,
                    const tamis_tensor *tensor) {
    walker w = {.mask = place != NULL ? mask : NULL, .rank = tensor->rank};
    memcpy(w.dims, tensor->dims, (size_t)tensor->rank * sizeof *w.dims);
    if (place == NULL || value->rank != tensor->rank)
        return w;
    w.flat = tm_tokens_lead(place, value) == 1;
    for (int i = 1; i < w.rank && value->dims[0] == place->batch; i++)
        w.counts[i] = value->dims[i] == place->length && tensor->dims[i] == mask->dims[1];
    return w;
}

/* Has `found` an element for each of `expected`, of the same type? Else they are others, and not read. */
static bool are_alike(const tamis_tensor *expected, const tamis_tensor *found) {
    if (found->kind != TAMIS_KIND_TENSOR || found->type != expected->type || found->rank != expected->rank)
        return false;
    for (int i = 0; i < expected->rank; i++)
        if (found->dims[i] != expected->dims[i])
            return false;
    return true;
}

void tm_tokens_compare(const tm_tokens_place *place, const tm_value *value, const tamis_tensor *mask,
                       const tamis_tensor *expected, const tamis_tensor *found, tm_arena *scratch,
                       tm_divergence *divergence, bool *out_same) {
    const size_t size = (size_t)tm_type_bits(expected->type) / 8;
    if (expected->kind != TAMIS_KIND_TENSOR || expected->type == TAMIS_TYPE_STRING || size == 0)
        return;
    if (!are_alike(expected, found)) {
        *out_same = false;
        return;
    }
    walker w = begin(place, value, mask, expected);
    int64_t rows = 1, width = w.rank > 0 ? w.dims[w.rank - 1] : 1, index[TAMIS_MAX_RANK] = {0};
    for (int i = 0; i + 1 < w.rank; i++)
        rows *= w.dims[i];
    char *a = tm_arena_alloc(scratch, (size_t)width * size + 1),
         *b = tm_arena_alloc(scratch, (size_t)width * size + 1);
    for (int64_t row = 0; row < rows; row++) {
        int64_t rest = row, real = 0;
        for (int axis = w.rank - 2; axis >= 0; rest /= w.dims[axis--])
            index[axis] = rest % w.dims[axis];
        for (int64_t i = 0; i < width; i++) {
            if (w.rank > 0)
                index[w.rank - 1] = i;
            if (!counts(&w, index))
                continue;
            memcpy(a + (size_t)real * size, (const char *)expected->data + (size_t)(row * width + i) * size,
                   size);
            memcpy(b + (size_t)real * size, (const char *)found->data + (size_t)(row * width + i) * size,
                   size);
            real++;
        }
        const bool numbers = expected->type == TAMIS_TYPE_FLOAT && real > 0 &&
                             are_finite((const float *)(const void *)a, real) &&
                             are_finite((const float *)(const void *)b, real);
        if (numbers)
            tm_divergence_add(divergence, (const float *)(const void *)a, (const float *)(const void *)b, 1,
                              real);
        else if (memcmp(a, b, (size_t)real * size) != 0)
            *out_same = false;
    }
}
