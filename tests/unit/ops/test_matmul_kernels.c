/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of matrix products against their naive meaning: MatMul, Gemm, MatMulInteger, QLinearMatMul, Einsum.
 * Sizes go past the edges of tiles, panels and thin forms, and include 0.
 */
#include "tests/unit/ops/float_test.h"

static int64_t random_size(kernel_test *t) {
    static const int64_t sizes[] = {0, 1, 1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 33, 40, 70};
    return sizes[random_int(t, 0, 14)];
}

static void matmul_trial(kernel_test *t, int k) {
    const tamis_type type = wide_types[k % WIDE_TYPES];
    const int64_t m = random_size(t), n = random_size(t), inner = k % 5 == 0 ? 300 : random_size(t);
    const int64_t batch = random_int(t, 1, 3);
    int64_t a_dims[] = {batch, m, inner}, b_dims[] = {random_int(t, 0, 1) ? batch : 1, inner, n};
    const int a_rank = (int)random_int(t, 2, 3), b_rank = (int)random_int(t, 2, 3);
    const tm_constant *a = random_numbers(t, type, a_rank, a_dims + 3 - a_rank);
    const tm_constant *b = random_numbers(t, type, b_rank, b_dims + 3 - b_rank);
    const tm_constant *inputs[] = {a, b};
    const tm_constant *y = answer(t, new_node(t, TM_OP_MatMul, 1, 2, inputs));
    const int64_t count = a_rank == 3 || (b_rank == 3 && b_dims[0] > 1) ? batch : 1;
    assert_int_equal(tm_constant_count(y), count * m * n);
    for (int64_t i = 0; i < count * m * n; i++) {
        const int64_t at = i / (m * n), row = i / n % m, column = i % n;
        const int64_t from_a = a_rank == 3 ? at * m * inner : 0,
                      from_b = b_rank == 3 && b_dims[0] > 1 ? at * inner * n : 0;
        double want = 0, size = 0;
        for (int64_t j = 0; j < inner; j++) {
            const double term = number(a, from_a + row * inner + j) * number(b, from_b + j * n + column);
            want += term;
            size += fabs(term);
        }
        if (!tm_type_is_float(type))
            assert_int_equal((int64_t)number(y, i), (int64_t)want);
        else
            assert_near(y, i, want, size, (double)inner);
    }
}
TRIALS(matmul, 400)

/* A row of the answer must not depend, in any bit, on how many rows there are. */
static void rows_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k % FLOAT_TYPES];
    int64_t inner = random_int(t, 1, 200), n = random_size(t), m = random_int(t, 2, 20), one = 1;
    const tm_constant *a = random_numbers(t, type, 2, (int64_t[]){m, inner});
    const tm_constant *b = random_numbers(t, type, 2, (int64_t[]){inner, n});
    const tm_constant *inputs[] = {a, b};
    const tm_constant *all = answer(t, new_node(t, TM_OP_MatMul, 1, 2, inputs));
    const int64_t width = tm_type_bits(type) / 8;
    const tm_constant *first = tm_constant_create(&t->arena, type, 2, (int64_t[]){one, inner},
                                                  (const char *)a->data + (m - 1) * inner * width);
    const tm_constant *last_inputs[] = {first, b};
    const tm_constant *last = answer(t, new_node(t, TM_OP_MatMul, 1, 2, last_inputs));
    if (n > 0)
        assert_memory_equal((const char *)all->data + (m - 1) * n * width, last->data, (size_t)(n * width));
}
TRIALS(rows, 80)

static void gemm_trial(kernel_test *t, int k) {
    const tamis_type type = wide_types[k % WIDE_TYPES];
    const bool turn_a = random_int(t, 0, 1), turn_b = random_int(t, 0, 1), real = tm_type_is_float(type);
    const int64_t m = random_size(t), n = random_size(t), inner = random_size(t);
    const int c_rank = (int)random_int(t, -1, 2);
    const int64_t c_dims[] = {random_int(t, 0, 1) ? m : 1, random_int(t, 0, 1) ? n : 1};
    const tm_constant *a = random_numbers(t, type, 2, (int64_t[]){turn_a ? inner : m, turn_a ? m : inner});
    const tm_constant *b = random_numbers(t, type, 2, (int64_t[]){turn_b ? n : inner, turn_b ? inner : n});
    const tm_constant *c = c_rank < 0 ? NULL : random_numbers(t, type, c_rank, c_dims + 2 - c_rank);
    const tm_constant *inputs[] = {a, b, c};
    tm_node *node = new_node(t, TM_OP_Gemm, 1, c == NULL ? 2 : 3, inputs);
    const double alpha = k % 3 == 0 && real ? 0.5 : 1, beta = k % 4 == 0 && real ? 2 : 1;
    tm_node_set_int(node, "transA", turn_a);
    tm_node_set_int(node, "transB", turn_b);
    tm_node_set_float(node, "alpha", alpha);
    tm_node_set_float(node, "beta", beta);
    const tm_constant *y = answer(t, node);
    assert_int_equal(tm_constant_count(y), m * n);
    for (int64_t i = 0; i < m * n; i++) {
        const int64_t row = i / n, column = i % n;
        double want = 0, size = 0;
        for (int64_t j = 0; j < inner; j++) {
            const double term = number(a, turn_a ? j * m + row : row * inner + j) *
                                number(b, turn_b ? column * inner + j : j * n + column) * alpha;
            want += term;
            size += fabs(term);
        }
        if (c != NULL) {
            const int64_t columns = c_rank > 0 ? c_dims[1] : 1, rows = c_rank > 1 ? c_dims[0] : 1;
            const double term =
                number(c, (rows == 1 ? 0 : row * columns) + (columns == 1 ? 0 : column)) * beta;
            want += term;
            size += fabs(term);
        }
        if (!real)
            assert_int_equal((int32_t)(int64_t)number(y, i), (int32_t)(int64_t)want);
        else
            assert_near(y, i, want, size, (double)inner);
    }
}
TRIALS(gemm, 400)

static tm_constant *random_bytes(kernel_test *t, bool is_signed, int rank, const int64_t *dims) {
    return random_tensor(t, is_signed ? TAMIS_TYPE_INT8 : TAMIS_TYPE_UINT8, rank, dims);
}

static int64_t exact_sum(const tm_constant *a, const tm_constant *b, const tm_constant *a_zero,
                         const tm_constant *b_zero, int64_t n, int64_t inner, int64_t row, int64_t column) {
    const double za = a_zero == NULL ? 0 : number(a_zero, tm_constant_count(a_zero) == 1 ? 0 : row);
    const double zb = b_zero == NULL ? 0 : number(b_zero, tm_constant_count(b_zero) == 1 ? 0 : column);
    double sum = 0;
    for (int64_t j = 0; j < inner; j++)
        sum += (number(a, row * inner + j) - za) * (number(b, j * n + column) - zb);
    return (int64_t)sum;
}

static void integers_trial(kernel_test *t, int k) {
    const int64_t m = random_size(t), n = random_size(t), inner = random_size(t);
    const bool sa = k & 1, sb = k & 2;
    const tm_constant *a = random_bytes(t, sa, 2, (int64_t[]){m, inner});
    const tm_constant *b = random_bytes(t, sb, 2, (int64_t[]){inner, n});
    const tm_constant *za =
        k % 3 == 0 ? NULL : random_bytes(t, sa, 1, (int64_t[]){k % 3 == 1 || m == 0 ? 1 : m});
    const tm_constant *zb =
        k % 5 == 0 ? NULL : random_bytes(t, sb, 1, (int64_t[]){k % 5 < 3 || n == 0 ? 1 : n});
    const tm_constant *inputs[] = {a, b, za, zb};
    const tm_constant *y = answer(t, new_node(t, TM_OP_MatMulInteger, 1, 4, inputs));
    for (int64_t i = 0; i < m * n; i++)
        assert_int_equal(((const int32_t *)y->data)[i], exact_sum(a, b, za, zb, n, inner, i / n, i % n));
}
TRIALS(integers, 150)

static void quantised_trial(kernel_test *t, int k) {
    const int64_t m = random_size(t), n = random_size(t), inner = random_size(t), one = 1;
    const bool sa = k & 1, sb = k & 2, sy = k & 4;
    const float scales[] = {0.02f, 0.03125f, 0.7f};
    const tm_constant *a = random_bytes(t, sa, 2, (int64_t[]){m, inner});
    const tm_constant *b = random_bytes(t, sb, 2, (int64_t[]){inner, n});
    const tm_constant *za = random_bytes(t, sa, 0, &one), *zb = random_bytes(t, sb, 1, &one);
    const tm_constant *zy = random_bytes(t, sy, 0, &one);
    const tm_constant *s[3];
    for (int i = 0; i < 3; i++)
        s[i] = tm_constant_create(&t->arena, TAMIS_TYPE_FLOAT, 0, NULL,
                                  tm_arena_copy(&t->arena, &scales[i], sizeof scales[i]));
    const tm_constant *inputs[] = {a, s[0], za, b, s[1], zb, s[2], zy};
    const tm_constant *y = answer(t, new_node(t, TM_OP_QLinearMatMul, 1, 8, inputs));
    const float scale = scales[0] * scales[1] / scales[2];
    for (int64_t i = 0; i < m * n; i++) {
        const float sum = (float)exact_sum(a, b, za, zb, n, inner, i / n, i % n);
        double want = (double)rintf(sum * scale) + number(zy, 0);
        want = fmin(fmax(want, sy ? -128 : 0), sy ? 127 : 255);
        assert_int_equal((int64_t)number(y, i), (int64_t)want);
    }
}
TRIALS(quantised, 100)

/* ---- Einsum: every label counts up in the naive form ---- */
static const struct {
    const char *equation;
    int inputs;
    const char *terms[3];
    const char *output;
} equations[] = {
    {"ij,jk->ik", 2, {"ij", "jk"}, "ik"},
    {"ij->ji", 1, {"ij"}, "ji"},
    {"ii->i", 1, {"ii"}, "i"},
    {"ij->", 1, {"ij"}, ""},
    {"bhwc,hkc->bhwk", 2, {"bhwc", "hkc"}, "bhwk"},
    {"bij,bjk->bik", 2, {"bij", "bjk"}, "bik"},
    {"i,j->ij", 2, {"i", "j"}, "ij"},
    {"ij,ij->", 2, {"ij", "ij"}, ""},
    {"bqhd,bkhd->bhqk", 2, {"bqhd", "bkhd"}, "bhqk"},
    {"ij,jk,kl->il", 3, {"ij", "jk", "kl"}, "il"},
    {"iij,jk->k", 2, {"iij", "jk"}, "k"},
    {"ba,ca", 2, {"ba", "ca"}, "bc"},
    {"ab,cd->db", 2, {"ab", "cd"}, "db"},
    {"a b , b -> a", 2, {"ab", "b"}, "a"},
};
enum { EQUATIONS = sizeof equations / sizeof equations[0] };

static int64_t term_offset(const char *term, const int64_t *sizes, const int64_t *at) {
    int64_t offset = 0;
    for (; *term != 0; term++)
        offset = offset * sizes[*term - 'a'] + at[*term - 'a'];
    return offset;
}

static void einsum_trial(kernel_test *t, int k) {
    const int e = k % EQUATIONS;
    const tamis_type type = wide_types[k / EQUATIONS % WIDE_TYPES];
    int64_t sizes[26], at[26] = {0}, used[26], count = 0;
    const tm_constant *inputs[3];
    char labels[27] = "";
    for (int i = 0; i < 26; i++)
        sizes[i] = random_int(t, 0, 24) == 0 ? 0 : random_int(t, 1, 6);
    for (int i = 0; i < equations[e].inputs; i++) {
        const char *term = equations[e].terms[i];
        int64_t dims[8];
        for (int d = 0; term[d] != 0; d++) {
            dims[d] = sizes[term[d] - 'a'];
            if (strchr(labels, term[d]) == NULL) {
                labels[count] = term[d];
                used[count++] = dims[d];
                labels[count] = 0;
            }
        }
        inputs[i] = random_numbers(t, type, (int)strlen(term), dims);
    }
    tm_node *node = new_node(t, TM_OP_Einsum, 1, equations[e].inputs, inputs);
    tm_node_set_string(node, "equation", equations[e].equation);
    const tm_constant *y = answer(t, node);
    const int64_t outputs = tm_constant_count(y);
    double *want = TM_NEW_ARRAY(&t->arena, double, outputs + 1),
           *size = TM_NEW_ARRAY(&t->arena, double, outputs + 1);
    int64_t index[26] = {0};
    for (int64_t left = product_of(used, 0, (int)count); left > 0; left--) {
        double term = 1;
        for (int i = 0; i < count; i++)
            at[labels[i] - 'a'] = index[i];
        for (int i = 0; i < equations[e].inputs; i++)
            term *= number(inputs[i], term_offset(equations[e].terms[i], sizes, at));
        want[term_offset(equations[e].output, sizes, at)] += term;
        size[term_offset(equations[e].output, sizes, at)] += fabs(term);
        next_index((int)count, used, index);
    }
    for (int64_t i = 0; i < outputs; i++) {
        if (tm_type_is_float(type))
            assert_near(y, i, want[i], size[i], 400);
        else
            assert_int_equal((int64_t)number(y, i), (int64_t)want[i]);
    }
}
TRIALS(einsum, 8 * EQUATIONS * 3)

static void einsum_broadcasts_dots(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 3);
    const tm_constant *a = random_numbers(&t, TAMIS_TYPE_INT32, 4, (int64_t[]){2, 1, 3, 4});
    const tm_constant *b = random_numbers(&t, TAMIS_TYPE_INT32, 3, (int64_t[]){5, 4, 2}), *inputs[] = {a, b};
    tm_node *node = new_node(&t, TM_OP_Einsum, 1, 2, inputs);
    tm_node_set_string(node, "equation", "...ij,...jk->...ik");
    const tm_constant *y = answer(&t, node);
    assert_int_equal(y->rank, 4);
    for (int64_t i = 0; i < 2 * 5 * 3 * 2; i++) {
        const int64_t n = i / 30, o = i / 6 % 5, row = i / 2 % 3, column = i % 2;
        double want = 0;
        for (int64_t j = 0; j < 4; j++)
            want += number(a, (n * 3 + row) * 4 + j) * number(b, (o * 4 + j) * 2 + column);
        assert_int_equal((int64_t)number(y, i), (int64_t)want);
    }
    kernel_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul),
        cmocka_unit_test(rows),
        cmocka_unit_test(gemm),
        cmocka_unit_test(integers),
        cmocka_unit_test(quantised),
        cmocka_unit_test(einsum),
        cmocka_unit_test(einsum_broadcasts_dots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
