/* SPDX-License-Identifier: Apache-2.0
 *
 * index.c: Compress, NonZero and NonMaxSuppression: kernels whose output has as many rows as they find.
 * They count first, then ask for memory (tm_output), then write.
 */
#include "runtime/ops/move.h"
#include "runtime/ops/order.h"

TM_BODY compress(tm_run *run, const tm_call *call, int bits) {
    const tamis_tensor *x = tm_in(run, call, 0), *condition = tm_in(run, call, 1);
    const tm_attrs_Compress *a = tm_attributes(call);
    const uint8_t *keep = condition->data;
    const bool flat = a->axis == INT64_MIN;
    const int32_t rank = flat ? 1 : x->rank,
                  axis = flat ? 0 : (int32_t)(a->axis + (a->axis < 0 ? x->rank : 0));
    const int64_t length = flat ? tm_count(x) : x->dims[axis];
    const int64_t inner = flat ? 1 : tm_product(x->dims, axis + 1, x->rank);
    const int64_t outer = flat ? 1 : tm_product(x->dims, 0, axis);
    const int64_t given = condition->dims[0] < length ? condition->dims[0] : length;
    int64_t dims[TAMIS_MAX_RANK], found = 0, at = 0;
    for (int64_t i = 0; i < given; i++)
        found += keep[i] != 0;
    for (int32_t i = 0; i < rank; i++)
        dims[i] = i == axis ? found : x->dims[i];
    int32_t code = tm_output(run, call, 0, rank, dims);
    if (code != 0)
        return code;
    const tamis_tensor *y = tm_out(run, call, 0);
    tm_clear_tail(y, bits);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < given; i++)
            if (keep[i])
                tm_copy_elements(y->data, at++ * inner, x->data, (o * length + i) * inner, inner, bits);
    return 0;
}
#define COMPRESS(width, bits)                                         \
    int32_t tm_k_Compress_##width(tm_run *run, const tm_call *call) { \
        return compress(run, call, bits);                             \
    }
TM_EACH_WIDTH(COMPRESS)

/* Is element i not 0? `mask` leaves out a float's sign. A string is something unless it is empty. */
static inline bool is_set(const void *data, int64_t i, int bytes, uint64_t mask) {
    switch (bytes) {
    case sizeof(tamis_string):
        return ((const tamis_string *)data)[i].size != 0;
    case 1:
        return (((const uint8_t *)data)[i] & mask) != 0;
    case 2:
        return (((const uint16_t *)data)[i] & mask) != 0;
    case 4:
        return (((const uint32_t *)data)[i] & mask) != 0;
    default:
        return (((const uint64_t *)data)[i] & mask) != 0;
    }
}

TM_BODY non_zero(tm_run *run, const tm_call *call, const void *data, int bytes, uint64_t mask) {
    const tamis_tensor *x = tm_in(run, call, 0);
    const int64_t count = tm_count(x);
    const int32_t rank = x->rank > 0 ? x->rank : 1;
    int64_t dims[2] = {rank, 0}, position[TAMIS_MAX_RANK] = {0}, at = 0;
    for (int64_t i = 0; i < count; i++)
        dims[1] += is_set(data, i, bytes, mask);
    int32_t code = tm_output(run, call, 0, 2, dims);
    if (code != 0)
        return code;
    int64_t *y = tm_out(run, call, 0)->data;
    for (int64_t i = 0; i < count; i++) {
        if (is_set(data, i, bytes, mask)) {
            for (int32_t d = 0; d < rank; d++)
                y[d * dims[1] + at] = position[d];
            at++;
        }
        for (int32_t d = x->rank - 1; d >= 0 && ++position[d] == x->dims[d]; d--)
            position[d] = 0;
    }
    return 0;
}
#define NON_ZERO(s, S, mask)                                     \
    int32_t tm_k_NonZero_##s(tm_run *run, const tm_call *call) { \
        const void *data = tm_in(run, call, 0)->data;            \
        return non_zero(run, call, data, (int)sizeof(S), mask);  \
    }
#define NON_ZERO_INTEGER(s, S, C) NON_ZERO(s, S, UINT64_MAX)
TM_FOR_INTEGER_TYPES(NON_ZERO_INTEGER)
TM_FOR_BOOL_TYPE(NON_ZERO_INTEGER)
NON_ZERO(f32, float, 0x7fffffff)
NON_ZERO(f64, double, 0x7fffffffffffffff)
NON_ZERO(f16, uint16_t, 0x7fff)
NON_ZERO(bf16, uint16_t, 0x7fff)

NON_ZERO(str, tamis_string, 0)

/* A complex number is 0 when both of its parts are: they become bytes first. */
#define NON_ZERO_COMPLEX(s, F)                                              \
    int32_t tm_k_NonZero_##s(tm_run *run, const tm_call *call) {            \
        const tamis_tensor *x = tm_in(run, call, 0);                        \
        const F *parts = x->data;                                           \
        const int64_t count = tm_count(x), bytes = count + TAMIS_ALIGNMENT; \
        uint8_t *flags = tm_scratch(run, call, bytes);                      \
        if (flags == NULL)                                                  \
            return run->code;                                               \
        for (int64_t i = 0; i < count; i++)                                 \
            flags[i] = parts[2 * i] != 0 || parts[2 * i + 1] != 0;          \
        int32_t code = non_zero(run, call, flags, 1, UINT64_MAX);           \
        tm_unscratch(run, flags, bytes);                                    \
        return code;                                                        \
    }
NON_ZERO_COMPLEX(c64, float)
NON_ZERO_COMPLEX(c128, double)

/* ---- NonMaxSuppression ---- */

typedef struct box {
    float top, left, bottom, right;
} box;

static float least(float a, float b) {
    return a < b ? a : b;
}
static float greatest(float a, float b) {
    return a > b ? a : b;
}

static box load_box(const float *b, bool center) {
    if (center) /* x, y, width, height */
        return (box){b[1] - b[3] / 2, b[0] - b[2] / 2, b[1] + b[3] / 2, b[0] + b[2] / 2};
    return (box){least(b[0], b[2]), least(b[1], b[3]), greatest(b[0], b[2]), greatest(b[1], b[3])};
}

static bool overlaps(box a, box b, float threshold) {
    const float height = least(a.bottom, b.bottom) - greatest(a.top, b.top);
    const float width = least(a.right, b.right) - greatest(a.left, b.left);
    if (height <= 0 || width <= 0)
        return false;
    const float area_a = (a.bottom - a.top) * (a.right - a.left),
                area_b = (b.bottom - b.top) * (b.right - b.left);
    const float both = height * width, either = area_a + area_b - both;
    return area_a > 0 && area_b > 0 && either > 0 && both / either > threshold;
}

static bool scores_higher(const void *context, int64_t a, int64_t b) {
    const float *scores = context;
    return scores[a] > scores[b];
}

typedef struct suppression {
    int64_t boxes, most;
    float overlap, least_score;
    bool has_least, center;
    int64_t *order, *spare;
} suppression;

/* Greedy: takes the box with the best score, unless one taken before covers it. Returns how many. */
static int64_t suppress(const suppression *s, const float *boxes, const float *scores, int64_t *taken) {
    int64_t candidates = 0, count = 0;
    for (int64_t i = 0; i < s->boxes; i++)
        if (!s->has_least || scores[i] > s->least_score)
            s->order[candidates++] = i;
    tm_stable_sort(s->order, s->spare, candidates, scores_higher, scores);
    for (int64_t i = 0; i < candidates && count < s->most; i++) {
        const box candidate = load_box(boxes + 4 * s->order[i], s->center);
        bool covered = false;
        for (int64_t k = 0; k < count && !covered; k++)
            covered = overlaps(candidate, load_box(boxes + 4 * taken[k], s->center), s->overlap);
        if (!covered)
            taken[count++] = s->order[i];
    }
    return count;
}

int32_t tm_k_NonMaxSuppression(tm_run *run, const tm_call *call) {
    const tamis_tensor *boxes = tm_in(run, call, 0), *scores = tm_in(run, call, 1),
                       *most = tm_in(run, call, 2);
    const tamis_tensor *overlap = tm_in(run, call, 3), *score = tm_in(run, call, 4);
    const tm_attrs_NonMaxSuppression *a = tm_attributes(call);
    const int64_t batches = scores->dims[0], classes = scores->dims[1], groups = batches * classes;
    suppression s = {.boxes = boxes->dims[1], .center = a->center_point_box != 0, .has_least = score != NULL};
    s.most = most != NULL ? tm_index_at(most, 0) : 0;
    s.most = s.most < 0 ? 0 : s.most > s.boxes ? s.boxes : s.most;
    s.overlap = overlap != NULL ? *(const float *)overlap->data : 0;
    s.least_score = score != NULL ? *(const float *)score->data : 0;
    /* two lists for sorting, what each group takes, and how many */
    const int64_t bytes = (2 * s.boxes + groups * (s.most + 1)) * (int64_t)sizeof(int64_t);
    s.order = tm_scratch(run, call, bytes > 0 ? bytes : 1);
    if (s.order == NULL)
        return run->code;
    s.spare = s.order + s.boxes;
    int64_t *counts = s.spare + s.boxes, *taken = counts + groups, dims[2] = {0, 3};
    for (int64_t g = 0; g < groups; g++) {
        counts[g] = suppress(&s, (const float *)boxes->data + g / classes * s.boxes * 4,
                             (const float *)scores->data + g * s.boxes, taken + g * s.most);
        dims[0] += counts[g];
    }
    int32_t code = tm_output(run, call, 0, 2, dims);
    if (code == 0) {
        int64_t *y = tm_out(run, call, 0)->data;
        for (int64_t g = 0; g < groups; g++)
            for (int64_t k = 0; k < counts[g]; k++, y += 3) {
                y[0] = g / classes;
                y[1] = g % classes;
                y[2] = taken[g * s.most + k];
            }
    }
    tm_unscratch(run, s.order, bytes > 0 ? bytes : 1);
    return code;
}
