/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the movement kernels against the naive meaning, with random dims (0 included), ranks 0 to 6, all
 * widths of elements. Most of the ops move along each axis by itself: output position i of an axis comes
 * from input position list[i], or is filled. So one check serves them all, and each op says its lists.
 */
#include "tests/unit/ops/kernel_test.h"

enum { MAX_RANK = 6, MAX_LENGTH = 64, FILLED = -1 };

typedef struct lists {
    int rank;
    int64_t dims[MAX_RANK];    /* of the input */
    int64_t lengths[MAX_RANK]; /* of the output */
    int64_t at[MAX_RANK][MAX_LENGTH];
} lists;

static void random_dims(kernel_test *t, lists *l, int least_rank, int64_t least) {
    l->rank = (int)random_int(t, least_rank, MAX_RANK);
    for (int d = 0; d < l->rank; d++) {
        l->dims[d] = random_int(t, 0, 9) == 0 ? least
                                              : random_int(t, 1,
                                                           l->rank > 4   ? 3
                                                           : l->rank > 2 ? 6
                                                                         : 19);
        l->lengths[d] = l->dims[d];
        for (int64_t i = 0; i < l->dims[d]; i++)
            l->at[d][i] = i;
    }
}

static void check_lists(const lists *l, const tm_constant *x, const tm_constant *y, element_bits fill) {
    int64_t index[MAX_RANK] = {0}, from[MAX_RANK], at = 0;
    assert_int_equal(y->rank, l->rank);
    for (int d = 0; d < l->rank; d++)
        assert_int_equal(y->dims[d], l->lengths[d]);
    if (tm_constant_count(y) == 0)
        return;
    do {
        bool filled = false;
        for (int d = 0; d < l->rank; d++) {
            from[d] = l->at[d][index[d]];
            filled = filled || from[d] == FILLED;
        }
        const element_bits want = filled ? fill : bits_of(x, flat_index(l->rank, l->dims, from));
        assert_true(same_bits(bits_of(y, at++), want));
    } while (next_index(l->rank, l->lengths, index));
}

/* Each test is called for every width, many times. */
typedef void (*trial)(kernel_test *t, tamis_type type);
static void repeat(trial function, int times) {
    for (int k = 0; k < WIDTH_TYPES * times; k++) {
        kernel_test t;
        kernel_test_init(&t, (uint64_t)k + 1);
        function(&t, width_types[k % WIDTH_TYPES]);
        kernel_test_deinit(&t);
    }
}
static const element_bits zero = {0, 0};

static int64_t random_bound(kernel_test *t, int64_t dim) {
    const int64_t extremes[] = {INT64_MIN, INT64_MAX, 0, -1, dim, -dim};
    return random_int(t, 0, 2) == 0 ? extremes[random_int(t, 0, 5)] : random_int(t, -dim - 2, dim + 2);
}

static void slice_trial(kernel_test *t, tamis_type type) {
    lists l;
    random_dims(t, &l, 0, 0);
    int64_t starts[MAX_RANK], ends[MAX_RANK], axes[MAX_RANK], steps[MAX_RANK], count = 0;
    for (int d = 0; d < l.rank; d++) {
        if (random_int(t, 0, 2) == 0)
            continue;
        const int64_t n = l.dims[d], step = random_int(t, 0, 1) ? random_int(t, 1, 3) : -random_int(t, 1, 3);
        starts[count] = random_bound(t, n);
        ends[count] = random_bound(t, n);
        axes[count] = random_int(t, 0, 1) ? d : d - l.rank;
        steps[count] = random_int(t, 0, 19) == 0 ? (step < 0 ? INT64_MIN : INT64_MAX) : step;
        int64_t i = starts[count] < 0 ? starts[count] + n : starts[count],
                end = ends[count] < 0 ? ends[count] + n : ends[count];
        i = step > 0 ? (i < 0 ? 0 : i > n ? n : i) : (i < 0 ? 0 : i > n - 1 ? n - 1 : i);
        end = step > 0 ? (end < 0 ? 0 : end > n ? n : end) : (end < -1 ? -1 : end > n - 1 ? n - 1 : end);
        l.lengths[d] = 0;
        for (; n > 0 && (step > 0 ? i < end : i > end); i += step) {
            l.at[d][l.lengths[d]++] = i;
            if (steps[count] != step)
                break;
        }
        count++;
    }
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *y = NULL;
    const tm_constant *inputs[] = {x, int_list(t, count, starts), int_list(t, count, ends),
                                   int_list(t, count, axes), int_list(t, count, steps)};
    assert_int_equal(run_node(t, new_node(t, TM_OP_Slice, 1, 5, inputs), &y), TM_OK);
    check_lists(&l, x, y, zero);
}

static void tile_trial(kernel_test *t, tamis_type type) {
    lists l;
    random_dims(t, &l, 0, 0);
    int64_t repeats[MAX_RANK];
    for (int d = 0; d < l.rank; d++) {
        repeats[d] = random_int(t, 0, 9) == 0 ? 0 : random_int(t, 1, 3);
        l.lengths[d] = l.dims[d] * repeats[d];
        for (int64_t i = 0; i < l.lengths[d]; i++)
            l.at[d][i] = i % l.dims[d];
    }
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *y = NULL;
    const tm_constant *inputs[] = {x, int_list(t, l.rank, repeats)};
    assert_int_equal(run_node(t, new_node(t, TM_OP_Tile, 1, 2, inputs), &y), TM_OK);
    check_lists(&l, x, y, zero);
}

static void expand_trial(kernel_test *t, tamis_type type) {
    lists l;
    random_dims(t, &l, 0, 0);
    for (int d = 0; d < l.rank; d++) {
        if (random_int(t, 0, 1))
            continue;
        l.lengths[d] = l.dims[d];
        l.dims[d] = 1;
        for (int64_t i = 0; i < l.lengths[d]; i++)
            l.at[d][i] = 0;
    }
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *y = NULL;
    const tm_constant *inputs[] = {x, int_list(t, l.rank, l.lengths)};
    assert_int_equal(run_node(t, new_node(t, TM_OP_Expand, 1, 2, inputs), &y), TM_OK);
    check_lists(&l, x, y, zero);
}

/* The element that stands at position i outside of 0..n-1, found by walking. */
static int64_t walk(const char *mode, int64_t i, int64_t n) {
    int64_t at = 0, step = 1;
    if (strcmp(mode, "edge") == 0)
        return i < 0 ? 0 : i >= n ? n - 1 : i;
    if (strcmp(mode, "wrap") == 0) {
        while (i < 0)
            i += n;
        return i % n;
    }
    for (int64_t k = 0; k < (i < 0 ? -i : i) && n > 1; k++) {
        step = at == n - 1 ? -1 : at == 0 ? 1 : step;
        at += step;
    }
    return at;
}

static void pad_trial(kernel_test *t, tamis_type type) {
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    const char *mode = modes[random_int(t, 0, 3)];
    const bool constant = strcmp(mode, "constant") == 0;
    lists l;
    random_dims(t, &l, 0, constant ? 0 : 1);
    int64_t pads[2 * MAX_RANK];
    for (int d = 0; d < l.rank; d++) {
        const int64_t n = l.dims[d];
        int64_t begin =
            random_int(t, 0, 3) == 0 ? -random_int(t, 0, (n - !constant) / 2) : random_int(t, 0, 3);
        int64_t end = random_int(t, 0, 3) == 0 ? -random_int(t, 0, (n - !constant) / 2) : random_int(t, 0, 3);
        pads[d] = begin;
        pads[l.rank + d] = end;
        const int64_t crop = begin < 0 ? -begin : 0, kept = n - crop + (end < 0 ? end : 0);
        l.lengths[d] = n + begin + end;
        for (int64_t i = 0; i < l.lengths[d]; i++) {
            const int64_t p = i - (begin > 0 ? begin : 0);
            l.at[d][i] = p >= 0 && p < kept ? crop + p : constant ? FILLED : crop + walk(mode, p, kept);
        }
    }
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *y = NULL;
    const tm_constant *value = constant && random_int(t, 0, 1) ? random_tensor(t, type, 0, l.dims) : NULL;
    const tm_constant *inputs[] = {x, int_list(t, 2 * l.rank, pads), value};
    tm_node *node = new_node(t, TM_OP_Pad, 1, value != NULL ? 3 : 2, inputs);
    tm_node_set_string(node, "mode", mode);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    check_lists(&l, x, y, value != NULL ? bits_of(value, 0) : zero);
}

static void gather_trial(kernel_test *t, tamis_type type) {
    lists l;
    random_dims(t, &l, 1, 0);
    const int axis = (int)random_int(t, 0, l.rank - 1);
    int64_t indices[MAX_LENGTH], count = l.dims[axis] == 0 ? 0 : random_int(t, 0, 20);
    l.lengths[axis] = count;
    for (int64_t i = 0; i < count; i++) {
        l.at[axis][i] = random_int(t, 0, l.dims[axis] - 1);
        indices[i] = l.at[axis][i] - (random_int(t, 0, 1) ? l.dims[axis] : 0);
    }
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *y = NULL;
    const tm_constant *inputs[] = {x, int_list(t, count, indices)};
    tm_node *node = new_node(t, TM_OP_Gather, 1, 2, inputs);
    tm_node_set_int(node, "axis", axis);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    check_lists(&l, x, y, zero);
    const int64_t bad = l.dims[axis];
    inputs[1] = int_list(t, 1, &bad);
    node = new_node(t, TM_OP_Gather, 1, 2, inputs);
    tm_node_set_int(node, "axis", axis);
    assert_int_equal(run_node(t, node, &y), TM_E_EVALUATE);
}

static void compress_trial(kernel_test *t, tamis_type type) {
    lists l;
    random_dims(t, &l, 1, 0);
    const int axis = (int)random_int(t, 0, l.rank - 1);
    const int64_t given = random_int(t, 0, l.dims[axis] + 2);
    tm_constant *condition = random_tensor(t, TAMIS_TYPE_BOOL, 1, &given);
    uint8_t *keep = tm_arena_copy(&t->arena, condition->data, (size_t)given + 1);
    condition->data = keep;
    l.lengths[axis] = 0;
    for (int64_t i = 0; i < given; i++) {
        keep[i] &= 1;
        if (keep[i] && i < l.dims[axis])
            l.at[axis][l.lengths[axis]++] = i;
    }
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *y = NULL;
    const tm_constant *inputs[] = {x, condition};
    tm_node *node = new_node(t, TM_OP_Compress, 1, 2, inputs);
    tm_node_set_int(node, "axis", axis - l.rank);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    check_lists(&l, x, y, zero);
}

/* Split gives the parts, Concat of them the whole again. */
static void split_trial(kernel_test *t, tamis_type type) {
    enum { PARTS = 3 };
    lists l;
    random_dims(t, &l, 1, 0);
    const int axis = (int)random_int(t, 0, l.rank - 1);
    const int64_t n = l.dims[axis], first = random_int(t, 0, n), second = random_int(t, 0, n - first);
    const int64_t lengths[PARTS] = {first, second, n - first - second};
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *parts[PARTS] = {NULL}, *whole = NULL;
    const tm_constant *inputs[] = {x, int_list(t, PARTS, lengths)};
    tm_node *node = new_node(t, TM_OP_Split, PARTS, 2, inputs);
    tm_node_set_int(node, "axis", axis);
    assert_int_equal(run_node(t, node, parts), TM_OK);
    for (int64_t k = 0, at = 0; k < PARTS; at += lengths[k++]) {
        lists part = l;
        part.lengths[axis] = lengths[k];
        for (int64_t i = 0; i < lengths[k]; i++)
            part.at[axis][i] = at + i;
        check_lists(&part, x, parts[k], zero);
    }
    node = new_node(t, TM_OP_Concat, 1, PARTS, parts);
    tm_node_set_int(node, "axis", axis - l.rank);
    assert_int_equal(run_node(t, node, &whole), TM_OK);
    check_lists(&l, x, whole, zero);
}

static void transpose_trial(kernel_test *t, tamis_type type) {
    lists l;
    random_dims(t, &l, 0, 0);
    int64_t perm[MAX_RANK], dims[MAX_RANK], index[MAX_RANK] = {0}, from[MAX_RANK], at = 0;
    if (l.rank == 2 && random_int(t, 0, 1)) { /* large enough for tiles */
        l.dims[0] = random_int(t, 30, 70);
        l.dims[1] = random_int(t, 30, 70);
    } else if (l.rank == 2 && random_int(t, 0, 1)) { /* colours of pixels */
        l.dims[0] = random_int(t, 2, 4);
        l.dims[1] = random_int(t, 100, 300);
    }
    for (int d = 0; d < l.rank; d++) {
        const int64_t k = random_int(t, 0, d);
        perm[d] = perm[k];
        perm[k] = d;
    }
    for (int d = 0; d < l.rank; d++)
        dims[d] = l.dims[perm[d]];
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *y = NULL;
    tm_node *node = new_node(t, TM_OP_Transpose, 1, 1, &x);
    tm_node_set_ints(node, "perm", perm, l.rank);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    if (tm_constant_count(x) == 0)
        return;
    do {
        for (int d = 0; d < l.rank; d++)
            from[perm[d]] = index[d];
        assert_true(same_bits(bits_of(y, at++), bits_of(x, flat_index(l.rank, l.dims, from))));
    } while (next_index(l.rank, dims, index));
}

static void trilu_trial(kernel_test *t, tamis_type type) {
    lists l;
    random_dims(t, &l, 2, 0);
    const int64_t k = random_int(t, 0, 9) == 0 ? INT64_MIN : random_int(t, -7, 7);
    const bool upper = random_int(t, 0, 1);
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *y = NULL;
    const tm_constant *inputs[] = {x, tm_constant_create_i64(&t->arena, 0, NULL, &k)};
    tm_node *node = new_node(t, TM_OP_Trilu, 1, 2, inputs);
    tm_node_set_int(node, "upper", upper);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    int64_t index[MAX_RANK] = {0}, at = 0;
    if (tm_constant_count(x) == 0)
        return;
    do {
        const int64_t diagonal = index[l.rank - 1] - index[l.rank - 2];
        const bool keep = upper ? diagonal >= k : diagonal <= k;
        assert_true(same_bits(bits_of(y, at), keep ? bits_of(x, at) : zero));
        at++;
    } while (next_index(l.rank, l.dims, index));
}

static void reverse_trial(kernel_test *t, tamis_type type) {
    lists l;
    random_dims(t, &l, 2, 1);
    const int time = (int)random_int(t, 0, 1), batch = 1 - time;
    int64_t lengths[MAX_LENGTH], index[MAX_RANK] = {0}, from[MAX_RANK], at = 0;
    for (int64_t i = 0; i < l.dims[batch]; i++)
        lengths[i] = random_int(t, 0, l.dims[time]);
    const tm_constant *x = random_tensor(t, type, l.rank, l.dims), *y = NULL;
    const tm_constant *inputs[] = {x, int_list(t, l.dims[batch], lengths)};
    tm_node *node = new_node(t, TM_OP_ReverseSequence, 1, 2, inputs);
    tm_node_set_int(node, "time_axis", time);
    tm_node_set_int(node, "batch_axis", batch);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    do {
        memcpy(from, index, sizeof from);
        const int64_t length = lengths[index[batch]];
        if (index[time] < length)
            from[time] = length - 1 - index[time];
        assert_true(same_bits(bits_of(y, at++), bits_of(x, flat_index(l.rank, l.dims, from))));
    } while (next_index(l.rank, l.dims, index));
}

/* More parts than a tensor has axes, with lengths of their own and without. */
static void split_makes_many_parts(void **state) {
    (void)state;
    enum { PARTS = 40 };
    kernel_test t;
    kernel_test_init(&t, 1);
    const int64_t count = 2 * PARTS;
    int64_t lengths[PARTS];
    for (int i = 0; i < PARTS; i++)
        lengths[i] = 2;
    const tm_constant *x = random_tensor(&t, TAMIS_TYPE_INT32, 1, &count), *parts[PARTS] = {NULL};
    const tm_constant *inputs[] = {x, int_list(&t, PARTS, lengths)};
    for (int given = 1; given <= 2; given++) {
        assert_int_equal(run_node(&t, new_node(&t, TM_OP_Split, PARTS, given, inputs), parts), TM_OK);
        for (int i = 0; i < PARTS; i++)
            assert_memory_equal(parts[i]->data, (const int32_t *)x->data + 2 * i, 8);
    }
    kernel_test_deinit(&t);
}

#define TRIALS(name, times)                     \
    static void name##_is_exact(void **state) { \
        (void)state;                            \
        repeat(name##_trial, times);            \
    }
TRIALS(slice, 60)
TRIALS(tile, 30)
TRIALS(expand, 30)
TRIALS(pad, 60)
TRIALS(gather, 40)
TRIALS(compress, 20)
TRIALS(split, 30)
TRIALS(transpose, 60)
TRIALS(trilu, 20)
TRIALS(reverse, 20)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slice_is_exact),         cmocka_unit_test(tile_is_exact),
        cmocka_unit_test(expand_is_exact),        cmocka_unit_test(pad_is_exact),
        cmocka_unit_test(gather_is_exact),        cmocka_unit_test(compress_is_exact),
        cmocka_unit_test(split_is_exact),         cmocka_unit_test(transpose_is_exact),
        cmocka_unit_test(trilu_is_exact),         cmocka_unit_test(reverse_is_exact),
        cmocka_unit_test(split_makes_many_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
