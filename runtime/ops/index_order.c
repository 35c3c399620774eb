/* SPDX-License-Identifier: Apache-2.0
 *
 * index_order.c: TopK and Unique.
 *
 * TopK keeps the k best of a row in a heap whose root is the worst of them; a new element that beats the
 * root replaces it. Then the heap is emptied from the worst to the best. Elements are keys (order.h), and
 * of equal keys the lower index is better, so the answer does not depend on the heap's shape.
 *
 * Unique sorts positions by value, stably, so that the first of a group of equals is its first
 * occurrence. With an axis, what is compared are whole slices.
 */
#include "runtime/ops/move.h"
#include "runtime/ops/order.h"

TM_KEYS_ALL
TM_KEYS(bool, (uint64_t))

typedef struct entry {
    uint64_t key; /* greater is better */
    int64_t index;
} entry;

static inline bool better(entry a, entry b) {
    return a.key > b.key || (a.key == b.key && a.index < b.index);
}

/* Puts `item` at the root of a heap of `count` entries and lets it sink: children are better. */
static void sink(entry *heap, int64_t count, int64_t at, entry item) {
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && better(heap[child], heap[child + 1]))
            child++;
        if (!better(item, heap[child]))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = item;
}

static void select_best(const uint64_t *keys, int64_t count, entry *heap, int64_t k) {
    for (int64_t i = 0; i < k; i++)
        heap[i] = (entry){keys[i], i};
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sink(heap, k, i, heap[i]);
    for (int64_t i = k; i < count; i++)
        if (keys[i] > heap[0].key)
            sink(heap, k, 0, (entry){keys[i], i});
    for (int64_t left = k - 1; left > 0; left--) {
        const entry worst = heap[0], last = heap[left];
        sink(heap, left, 0, last);
        heap[left] = worst;
    }
}

typedef struct topk_job {
    const tamis_tensor *x, *values, *indices;
    tm_key_loader load;
    int bytes;
    int64_t length, k, inner, slot_rows;
    bool largest;
    char *scratch;
    int64_t slot_bytes;
} topk_job;

static int32_t topk_rows(void *arg, int64_t begin, int64_t end) {
    const topk_job *job = arg;
    uint64_t *keys = (uint64_t *)(void *)(job->scratch + begin / job->slot_rows * job->slot_bytes);
    entry *heap = (entry *)(void *)(keys + job->length);
    for (int64_t row = begin; row < end; row++) {
        const int64_t from = row / job->inner * job->length * job->inner + row % job->inner;
        const int64_t to = row / job->inner * job->k * job->inner + row % job->inner;
        job->load(job->x->data, from, job->inner, job->length, keys);
        if (!job->largest)
            for (int64_t i = 0; i < job->length; i++)
                keys[i] = ~keys[i];
        select_best(keys, job->length, heap, job->k);
        for (int64_t i = 0; i < job->k; i++) {
            if (job->values != NULL)
                tm_copy_elements(job->values->data, to + i * job->inner, job->x->data,
                                 from + heap[i].index * job->inner, 1, job->bytes * 8);
            if (job->indices != NULL)
                ((int64_t *)job->indices->data)[to + i * job->inner] = heap[i].index;
        }
    }
    return 0;
}

TM_BODY topk(tm_run *run, const tm_call *call, tm_key_loader load, int bytes) {
    enum { SLOTS = 8 };
    const tamis_tensor *x = tm_in(run, call, 0);
    const tm_attrs_TopK *a = tm_attributes(call);
    const int32_t axis = (int32_t)(a->axis + (a->axis < 0 ? x->rank : 0));
    topk_job job = {.x = x,
                    .values = tm_out(run, call, 0),
                    .indices = tm_out(run, call, 1),
                    .load = load,
                    .bytes = bytes};
    job.length = x->dims[axis];
    job.k = tm_index_at(tm_in(run, call, 1), 0);
    job.inner = tm_product(x->dims, axis + 1, x->rank);
    job.largest = a->largest != 0;
    if (job.k < 0 || job.k > job.length)
        return tm_fail(run, call, TM_RUN_COUNT_RANGE, job.k, job.length);
    const int64_t rows = tm_product(x->dims, 0, axis) * job.inner;
    if (rows == 0 || job.k == 0)
        return 0;
    const int64_t slots = rows * job.length < 16384 ? 1 : rows < SLOTS ? rows : SLOTS;
    job.slot_rows = (rows + slots - 1) / slots;
    job.slot_bytes = job.length * (int64_t)sizeof(uint64_t) + job.k * (int64_t)sizeof(entry);
    job.scratch = tm_scratch(run, call, slots * job.slot_bytes);
    if (job.scratch == NULL)
        return run->code;
    int32_t code = tm_parallel(run, rows, job.slot_rows, topk_rows, &job);
    tm_unscratch(run, job.scratch, slots * job.slot_bytes);
    return code;
}
#define TOPK(s, S, C)                                         \
    int32_t tm_k_TopK_##s(tm_run *run, const tm_call *call) { \
        return topk(run, call, keys_##s, (int)sizeof(S));     \
    }
TM_FOR_NUMERIC_TYPES(TOPK)

/* ---- Unique ---- */

/* Slices along an axis: element e of slice i is at (e / inner * length + i) * inner + e % inner. */
typedef struct slices {
    const uint64_t *keys;
    int parts; /* keys of an element: 2 of a complex one, which compares by its real part first */
    const tamis_string *strings; /* instead of keys */
    int64_t length, inner, size;
} slices;

static int compare_strings(tamis_string a, tamis_string b) {
    for (int64_t i = 0; i < a.size && i < b.size; i++)
        if (a.data[i] != b.data[i])
            return (uint8_t)a.data[i] < (uint8_t)b.data[i] ? -1 : 1;
    return a.size == b.size ? 0 : a.size < b.size ? -1 : 1;
}

static int compare_slices(const slices *s, int64_t a, int64_t b) {
    for (int64_t e = 0; e < s->size; e++) {
        const int64_t base = e / s->inner * s->length * s->inner + e % s->inner;
        const int64_t at_a = base + a * s->inner, at_b = base + b * s->inner;
        if (s->strings != NULL) {
            const int order = compare_strings(s->strings[at_a], s->strings[at_b]);
            if (order != 0)
                return order;
            continue;
        }
        for (int k = 0; k < s->parts; k++) {
            const uint64_t key_a = s->keys[at_a * s->parts + k], key_b = s->keys[at_b * s->parts + k];
            if (key_a != key_b)
                return key_a > key_b ? 1 : -1;
        }
    }
    return 0;
}

static bool slice_before(const void *context, int64_t a, int64_t b) {
    return compare_slices(context, a, b) < 0;
}

/* Groups in sorted order: groups[i] of slice i, first[g] the slice that stands for group g. */
static int64_t find_groups(const slices *s, int64_t *order, int64_t *spare, int64_t *groups, int64_t *first) {
    int64_t found = 0;
    for (int64_t i = 0; i < s->length; i++)
        order[i] = i;
    tm_stable_sort(order, spare, s->length, slice_before, s);
    for (int64_t i = 0; i < s->length; i++) {
        if (i == 0 || compare_slices(s, order[i - 1], order[i]) != 0)
            first[found++] = order[i];
        groups[order[i]] = found - 1;
    }
    return found;
}

/* Numbers the groups by first occurrence instead. */
static void by_occurrence(int64_t length, int64_t found, int64_t *spare, int64_t *groups, int64_t *first) {
    for (int64_t g = 0; g < found; g++)
        spare[g] = -1;
    int64_t next = 0;
    for (int64_t i = 0; i < length; i++) {
        const int64_t group = groups[i];
        if (spare[group] < 0) {
            first[next] = i;
            spare[group] = next++;
        }
        groups[i] = spare[group];
    }
}

static int32_t unique_outputs(tm_run *run, const tm_call *call, const slices *s, int32_t axis, int64_t found,
                              const int64_t *groups, const int64_t *first, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0);
    int64_t dims[TAMIS_MAX_RANK];
    for (int32_t i = 0; i < x->rank; i++)
        dims[i] = i == axis ? found : x->dims[i];
    const bool flat = axis < 0;
    int32_t code = tm_output(run, call, 0, flat ? 1 : x->rank, flat ? &found : dims);
    for (int k = 1; k < 4 && code == 0; k++)
        if (tm_out(run, call, k) != NULL)
            code = tm_output(run, call, k, 1, k == 2 ? &s->length : &found);
    if (code != 0)
        return code;
    const tamis_tensor *y = tm_out(run, call, 0), *indices = tm_out(run, call, 1);
    const tamis_tensor *inverse = tm_out(run, call, 2), *counts = tm_out(run, call, 3);
    for (int64_t e = 0; e < s->size; e += s->inner)
        for (int64_t g = 0; g < found; g++)
            tm_copy_elements(y->data, (e / s->inner * found + g) * s->inner, x->data,
                             (e / s->inner * s->length + first[g]) * s->inner, s->inner, bits);
    if (indices != NULL && found > 0)
        memcpy(indices->data, first, (size_t)found * sizeof *first);
    if (inverse != NULL && s->length > 0)
        memcpy(inverse->data, groups, (size_t)s->length * sizeof *groups);
    if (counts != NULL) {
        for (int64_t g = 0; g < found; g++)
            ((int64_t *)counts->data)[g] = 0;
        for (int64_t i = 0; i < s->length; i++)
            ((int64_t *)counts->data)[groups[i]]++;
    }
    return 0;
}

TM_BODY unique(tm_run *run, const tm_call *call, tm_key_loader load, int parts, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0);
    const tm_attrs_Unique *a = tm_attributes(call);
    const bool flat = a->axis == INT64_MIN;
    const int32_t axis = flat ? -1 : (int32_t)(a->axis + (a->axis < 0 ? x->rank : 0));
    const int64_t count = tm_count(x);
    slices s = {.strings = load == NULL ? x->data : NULL, .parts = parts};
    s.length = flat ? count : x->dims[axis];
    s.inner = flat ? 1 : tm_product(x->dims, axis + 1, x->rank);
    s.size = flat ? 1 : tm_product(x->dims, 0, axis) * s.inner;
    const int64_t bytes = (count * parts + 4 * s.length + 1) * (int64_t)sizeof(int64_t);
    int64_t *order = tm_scratch(run, call, bytes);
    if (order == NULL)
        return run->code;
    int64_t *spare = order + s.length, *groups = spare + s.length, *first = groups + s.length;
    uint64_t *keys = (uint64_t *)(first + s.length);
    if (load != NULL)
        load(x->data, 0, 1, count * parts, keys);
    s.keys = keys;
    const int64_t found = find_groups(&s, order, spare, groups, first);
    if (a->sorted == 0)
        by_occurrence(s.length, found, spare, groups, first);
    int32_t code = unique_outputs(run, call, &s, axis, found, groups, first, bits);
    tm_unscratch(run, order, bytes);
    return code;
}
#define UNIQUE(s, S, C)                                            \
    int32_t tm_k_Unique_##s(tm_run *run, const tm_call *call) {    \
        return unique(run, call, keys_##s, 1, 8 * (int)sizeof(S)); \
    }
TM_FOR_NUMERIC_TYPES(UNIQUE)
TM_FOR_BOOL_TYPE(UNIQUE)
int32_t tm_k_Unique_str(tm_run *run, const tm_call *call) {
    return unique(run, call, NULL, 1, 128);
}
int32_t tm_k_Unique_c64(tm_run *run, const tm_call *call) {
    return unique(run, call, keys_f32, 2, 64);
}
int32_t tm_k_Unique_c128(tm_run *run, const tm_call *call) {
    return unique(run, call, keys_f64, 2, 128);
}
