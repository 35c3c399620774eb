/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected against found, with the rule of NumPy's assert_allclose, which the official runner uses:
 *
 *     |found - expected| <= atol + rtol * |expected|        NaN equals NaN, infinities their like
 *
 * and with --precision, which rounds what is summed, + 1/32 of the largest |expected| of the tensor;
 *
 * for floats of every width (compared as double) and complex numbers (by magnitude); integers, bools and
 * strings exactly. Kind, type, rank and dims must agree; maps may have their entries in any order.
 */
#include "tools/tool.h"

#include <math.h>
#include <string.h>

static void note(tool_difference *out, const char *format, ...) TM_PRINTF(2, 3);
static void note(tool_difference *out, const char *format, ...) {
    if (out->first[0] != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(out->first, sizeof out->first, format, arguments);
    va_end(arguments);
}

static void print_index(const tm_constant *constant, int64_t i, char *out, size_t bytes) {
    int64_t index[TAMIS_MAX_RANK];
    for (int d = constant->rank - 1; d >= 0; d--) {
        index[d] = i % constant->dims[d];
        i /= constant->dims[d];
    }
    size_t used = (size_t)snprintf(out, bytes, "[");
    for (int d = 0; d < constant->rank && used < bytes; d++)
        used += (size_t)snprintf(out + used, bytes - used, d > 0 ? ", %lld" : "%lld", (long long)index[d]);
    if (used < bytes)
        snprintf(out + used, bytes - used, "]");
}

static void wrong_number(tool_difference *out, const tm_constant *expected, int64_t i, double found,
                         double wanted, double distance) {
    char place[96];
    out->wrong++;
    double relative = wanted != 0 ? distance / fabs(wanted) : INFINITY;
    if (distance > out->max_absolute || isnan(distance))
        out->max_absolute = distance;
    if (relative > out->max_relative)
        out->max_relative = relative;
    print_index(expected, i, place, sizeof place);
    note(out, "%s: found %.9g, expected %.9g", place, found, wanted);
}

double tool_precision_tolerance(const tamis_compile_options *options) {
    return options->precision == TAMIS_PRECISION_BF16 ? 0.03125 : 0;
}

/* The tolerance with the share of the largest magnitude as a number. */
static tool_tolerance for_tensor(const tm_constant *expected, const tool_tolerance *tolerance) {
    tool_tolerance own = *tolerance;
    double largest = 0, x = 0;
    for (int64_t i = 0; tolerance->of_largest > 0 && i < tm_constant_count(expected); i++)
        if (tm_constant_double(expected, i, &x) && isfinite(x))
            largest = fmax(largest, fabs(x));
    own.atol += tolerance->of_largest * largest;
    return own;
}

static void compare_float(const tm_constant *found, const tm_constant *expected, int64_t i,
                          const tool_tolerance *tolerance, tool_difference *out) {
    double a = 0, b = 0;
    if (!tm_constant_double(found, i, &a) || !tm_constant_double(expected, i, &b)) {
        out->wrong++;
        note(out, "%s elements cannot be compared", tm_type_text(expected->type));
        return;
    }
    if (a == b || (isnan(a) && isnan(b)))
        return;
    double distance = fabs(a - b);
    if (isfinite(a) && isfinite(b) && distance <= tolerance->atol + tolerance->rtol * fabs(b)) {
        out->max_absolute = fmax(out->max_absolute, distance);
        return;
    }
    wrong_number(out, expected, i, a, b, distance);
}

static void compare_complex(const tm_constant *found, const tm_constant *expected, int64_t i,
                            const tool_tolerance *tolerance, tool_difference *out) {
    double a[2], b[2];
    for (int k = 0; k < 2; k++) {
        bool single = expected->type == TAMIS_TYPE_COMPLEX64;
        a[k] = single ? (double)((const float *)found->data)[2 * i + k]
                      : ((const double *)found->data)[2 * i + k];
        b[k] = single ? (double)((const float *)expected->data)[2 * i + k]
                      : ((const double *)expected->data)[2 * i + k];
    }
    double distance = hypot(a[0] - b[0], a[1] - b[1]);
    bool same =
        (a[0] == b[0] || (isnan(a[0]) && isnan(b[0]))) && (a[1] == b[1] || (isnan(a[1]) && isnan(b[1])));
    if (!same && !(distance <= tolerance->atol + tolerance->rtol * hypot(b[0], b[1])))
        wrong_number(out, expected, i, a[0], b[0], distance);
}

static void compare_exact(const tm_constant *found, const tm_constant *expected, int64_t i,
                          tool_difference *out) {
    char place[96];
    if (expected->type == TAMIS_TYPE_STRING) {
        const tamis_string *a = (const tamis_string *)found->data + i,
                           *b = (const tamis_string *)expected->data + i;
        if (a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, (size_t)a->size) == 0))
            return;
        out->wrong++;
        print_index(expected, i, place, sizeof place);
        note(out, "%s: found '%.*s', expected '%.*s'", place, a->size < 24 ? (int)a->size : 24, a->data,
             b->size < 24 ? (int)b->size : 24, b->data);
        return;
    }
    int64_t a = 0, b = 0;
    if (tm_constant_int(found, i, &a) && tm_constant_int(expected, i, &b) && a == b)
        return;
    out->wrong++;
    out->max_absolute = fmax(out->max_absolute, fabs((double)a - (double)b));
    print_index(expected, i, place, sizeof place);
    note(out, "%s: found %lld, expected %lld", place, (long long)a, (long long)b);
}

static void compare_tensor(const tm_constant *found, const tm_constant *expected,
                           const tool_tolerance *tolerance, tool_difference *out) {
    bool same = found->type == expected->type && found->rank == expected->rank;
    for (int d = 0; same && d < expected->rank; d++)
        same = found->dims[d] == expected->dims[d];
    if (!same) {
        char texts[2][64] = {"", ""};
        const tm_constant *const both[2] = {found, expected};
        for (int k = 0; k < 2; k++) {
            size_t used = (size_t)snprintf(texts[k], sizeof texts[k], "%s[", tm_type_text(both[k]->type));
            for (int d = 0; d < both[k]->rank && used < sizeof texts[k] - 24; d++)
                used += (size_t)snprintf(texts[k] + used, sizeof texts[k] - used, d > 0 ? ", %lld" : "%lld",
                                         (long long)both[k]->dims[d]);
            snprintf(texts[k] + used, sizeof texts[k] - used, "]");
        }
        out->wrong++;
        out->total++;
        note(out, "found %s, expected %s", texts[0], texts[1]);
        return;
    }
    int64_t count = tm_constant_count(expected);
    tool_tolerance own = for_tensor(expected, tolerance);
    tolerance = &own;
    out->total += count;
    for (int64_t i = 0; i < count; i++) {
        if (expected->type == TAMIS_TYPE_COMPLEX64 || expected->type == TAMIS_TYPE_COMPLEX128)
            compare_complex(found, expected, i, tolerance, out);
        else if (tm_type_is_float(expected->type))
            compare_float(found, expected, i, tolerance, out);
        else
            compare_exact(found, expected, i, out);
    }
}

/* The entry of the map whose key is the key at `i` of `keys`, or -1. */
static int64_t find_key(const tm_constant *keys, const tm_constant *wanted, int64_t i) {
    const tamis_string *text = keys->data, *wanted_text = wanted->data;
    for (int64_t k = 0; k < tm_constant_count(keys); k++) {
        int64_t a = 0, b = 0;
        bool same = keys->type != TAMIS_TYPE_STRING && tm_constant_int(keys, k, &a) &&
                    tm_constant_int(wanted, i, &b) && a == b;
        if (keys->type == TAMIS_TYPE_STRING)
            same = text[k].size == wanted_text[i].size &&
                   memcmp(text[k].data, wanted_text[i].data, (size_t)text[k].size) == 0;
        if (same)
            return k;
    }
    return -1;
}

/* Maps are equal when they have the same entries, in any order. */
static void compare_map(const tool_value *found, const tool_value *expected, const tool_tolerance *tolerance,
                        tool_difference *out) {
    static const int64_t no_dims[1];
    static const tm_constant none = {.rank = 1, .dims = no_dims};
    const tm_constant *keys[2], *values[2];
    const tool_value *const both[2] = {found, expected};
    for (int k = 0; k < 2; k++) {
        keys[k] = both[k]->count == 2 ? both[k]->items[0].tensor : &none;
        values[k] = both[k]->count == 2 ? both[k]->items[1].tensor : &none;
    }
    int64_t count = tm_constant_count(keys[1]);
    if (tm_constant_count(keys[0]) != count || (count > 0 && keys[0]->type != keys[1]->type)) {
        out->wrong++;
        note(out, "found a map of %lld %s, expected one of %lld %s", (long long)tm_constant_count(keys[0]),
             tm_type_text(found->key), (long long)count, tm_type_text(expected->key));
        return;
    }
    for (int64_t i = 0; i < count && out->first[0] == 0; i++) {
        int64_t k = find_key(keys[0], keys[1], i);
        if (k < 0) {
            out->wrong++;
            note(out, "key %lld of the expected map is missing", (long long)i);
            return;
        }
        tm_constant entries[2];
        for (int s = 0; s < 2; s++) {
            entries[s] = *values[s];
            entries[s].bytes = values[s]->bytes / count;
            entries[s].data = (const char *)values[s]->data + (s == 0 ? k : i) * entries[s].bytes;
            entries[s].rank = values[s]->rank - 1;
            entries[s].dims = values[s]->dims + 1;
        }
        compare_tensor(&entries[0], &entries[1], tolerance, out);
    }
}

static void compare_value(const tool_value *found, const tool_value *expected,
                          const tool_tolerance *tolerance, tool_difference *out) {
    if (found->kind != expected->kind ||
        (found->kind != TAMIS_KIND_TENSOR && found->item != expected->item)) {
        out->wrong++;
        note(out, "found a value of kind %d, expected %d", (int)found->kind, (int)expected->kind);
    } else if (expected->kind == TAMIS_KIND_TENSOR) {
        compare_tensor(found->tensor, expected->tensor, tolerance, out);
    } else if (expected->kind == TAMIS_KIND_MAP) {
        compare_map(found, expected, tolerance, out);
    } else if (found->count != expected->count) {
        out->wrong++;
        note(out, "found %lld items, expected %lld", (long long)found->count, (long long)expected->count);
    } else {
        for (int64_t i = 0; i < expected->count && out->first[0] == 0; i++)
            compare_value(&found->items[i], &expected->items[i], tolerance, out);
    }
}

bool tool_compare(const tool_value *found, const tool_value *expected, const tool_tolerance *tolerance,
                  tool_difference *out) {
    *out = (tool_difference){0};
    compare_value(found, expected, tolerance, out);
    return out->wrong == 0;
}
