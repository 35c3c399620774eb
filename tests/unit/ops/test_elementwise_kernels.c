/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of elementwise kernels against their naive meaning: types by ranks 0 to 6, dims of 0 and 1, and
 * random broadcasting. Elements are small integers, so that every type holds inputs and results exactly; what
 * happens at the ends of the types has its own cases.
 */
#include "tests/unit/ops/kernel_test.h"

#include <math.h>

enum { MAX_RANK = 6 };

static const tamis_type numeric[] = {TAMIS_TYPE_FLOAT,    TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                     TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_INT8,   TAMIS_TYPE_INT16,
                                     TAMIS_TYPE_INT32,    TAMIS_TYPE_INT64,  TAMIS_TYPE_UINT8,
                                     TAMIS_TYPE_UINT16,   TAMIS_TYPE_UINT32, TAMIS_TYPE_UINT64};
enum { NUMERIC = sizeof numeric / sizeof *numeric };

static double number_at(const tm_constant *c, int64_t i) {
    double x = NAN;
    assert_true(tm_constant_double(c, i, &x));
    return x;
}

/* Runs one op on constants; NULL when it fails. */
static const tm_constant *run_op(kernel_test *t, tm_op op, int count, const tm_constant *const *inputs) {
    const tm_constant *y[2] = {NULL, NULL};
    return run_node(t, new_node(t, op, 1, count, inputs), y) == TM_OK ? y[0] : NULL;
}
static const tm_constant *cast(kernel_test *t, const tm_constant *x, tamis_type type) {
    const tm_constant *y = NULL;
    tm_node *node = new_node(t, TM_OP_Cast, 1, 1, &x);
    tm_node_set_int(node, "to", type);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    return y;
}
static const tm_constant *tensor_of(kernel_test *t, tamis_type type, int rank, const int64_t *dims,
                                    const double *values) {
    return cast(t, tm_constant_create(&t->arena, TAMIS_TYPE_DOUBLE, rank, dims, values), type);
}
/* Integers low..high as elements of the type. */
static const tm_constant *small_tensor(kernel_test *t, tamis_type type, int rank, const int64_t *dims,
                                       int64_t low, int64_t high) {
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= dims[i];
    double *values = tm_arena_alloc(&t->arena, (size_t)count * sizeof *values + 8);
    for (int64_t i = 0; i < count; i++)
        values[i] = (double)random_int(t, low, high);
    int64_t *copy = TM_NEW_ARRAY(&t->arena, int64_t, MAX_RANK);
    memcpy(copy, dims, sizeof *dims * (size_t)rank);
    return tensor_of(t, type, rank, copy, values);
}

/* Dims of inputs that broadcast to `dims`: axes dropped in front, others set to 1. */
static int narrow(kernel_test *t, int rank, const int64_t *dims, int64_t *out) {
    int dropped = (int)random_int(t, 0, rank);
    for (int i = dropped; i < rank; i++)
        out[i - dropped] = random_int(t, 0, 2) == 0 ? 1 : dims[i];
    return rank - dropped;
}
static int64_t index_in(const tm_constant *x, int rank, const int64_t *index) {
    int64_t at = 0;
    for (int i = 0; i < x->rank; i++)
        at = at * x->dims[i] + (x->dims[i] == 1 ? 0 : index[i + rank - x->rank]);
    return at;
}

typedef struct binary {
    tm_op op;
    double (*meaning)(double a, double b);
    int64_t low, high; /* of the second input */
    bool only_floats, to_bool;
} binary;

static double add(double a, double b) {
    return a + b;
}
static double subtract(double a, double b) {
    return a - b;
}
static double multiply(double a, double b) {
    return a * b;
}
static double divide(double a, double b) {
    return a / b;
}
static double remainder_floor(double a, double b) {
    return a - b * floor(a / b);
}
static double prelu(double a, double b) {
    return a < 0 ? a * b : a;
}
static double equal(double a, double b) {
    return a == b;
}
static double greater(double a, double b) {
    return a > b;
}
static double greater_equal(double a, double b) {
    return a >= b;
}
static double less(double a, double b) {
    return a < b;
}
static double less_equal(double a, double b) {
    return a <= b;
}

static const binary binaries[] = {
    {TM_OP_Add, add, 0, 9, false, false},
    {TM_OP_Sub, subtract, 0, 0, false, false},
    {TM_OP_Mul, multiply, 0, 9, false, false},
    {TM_OP_Div, divide, 1, 1, false, false},
    {TM_OP_Div, divide, 1, 2, true, false},
    {TM_OP_Mod, remainder_floor, 1, 5, false, false},
    {TM_OP_Pow, pow, 0, 2, true, false},
    {TM_OP_PRelu, prelu, 0, 3, true, false},
    {TM_OP_Max, fmax, 0, 9, false, false},
    {TM_OP_Min, fmin, 0, 9, false, false},
    {TM_OP_Equal, equal, 0, 9, false, true},
    {TM_OP_Greater, greater, 0, 9, false, true},
    {TM_OP_Less, less, 0, 9, false, true},
    {TM_OP_GreaterOrEqual, greater_equal, 0, 9, false, true},
    {TM_OP_LessOrEqual, less_equal, 0, 9, false, true},
};

static void binary_trial(const binary *b, tamis_type type, int trial) {
    kernel_test t;
    kernel_test_init(&t, (uint64_t)trial * 31 + (uint64_t)type);
    int64_t dims[MAX_RANK], a_dims[MAX_RANK], b_dims[MAX_RANK], index[MAX_RANK] = {0}, at = 0;
    int rank = trial % (MAX_RANK + 1);
    for (int i = 0; i < rank; i++)
        dims[i] = random_int(&t, 0, 9) == 0 ? 0 : random_int(&t, 1, 4);
    memcpy(a_dims, dims, sizeof dims);
    int a_rank = rank, b_rank = narrow(&t, rank, dims, b_dims);
    bool swap = trial % 2 == 1; /* either side may be the wide one */
    bool floats = tm_type_is_float(type);
    const tm_constant *wide =
        small_tensor(&t, type, a_rank, a_dims, swap && b->low > 0 ? b->low : 0, swap ? b->high : 9);
    const tm_constant *slim = small_tensor(&t, type, b_rank, b_dims, swap ? 0 : b->low, swap ? 9 : b->high);
    const tm_constant *inputs[] = {swap ? slim : wide, swap ? wide : slim}, *y;
    if (!b->only_floats || floats) {
        y = run_op(&t, b->op, 2, inputs);
        assert_non_null(y);
        assert_int_equal(y->type, b->to_bool ? TAMIS_TYPE_BOOL : type);
        if (tm_constant_count(y) > 0)
            do {
                double want = b->meaning(number_at(inputs[0], index_in(inputs[0], rank, index)),
                                         number_at(inputs[1], index_in(inputs[1], rank, index)));
                assert_true(number_at(y, at++) == want);
            } while (next_index(rank, dims, index));
    }
    kernel_test_deinit(&t);
}

static void binaries_broadcast(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof binaries / sizeof *binaries; i++)
        for (int type = 0; type < NUMERIC; type++)
            for (int trial = 0; trial < 21; trial++)
                binary_trial(&binaries[i], numeric[type], trial);
}

/* Sum, Mean, Max of three inputs, with different inputs being the narrow ones; rows longer than a block. */
static void many_inputs(void **state) {
    (void)state;
    static const int64_t shapes[][3][3] = {{{2, 3, 5000}, {1, 1, 5000}, {2, 3, 1}},
                                           {{1, 1, 1}, {4, 1, 7}, {1, 6, 7}},
                                           {{3, 1, 2}, {1, 0, 2}, {1, 1, 1}}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int type = 0; type < NUMERIC; type++) {
            kernel_test t;
            kernel_test_init(&t, s + 1);
            const tm_constant *inputs[3];
            for (int k = 0; k < 3; k++)
                inputs[k] = small_tensor(&t, numeric[type], 3, shapes[s][k], 0, 9);
            const tm_constant *largest = run_op(&t, TM_OP_Max, 3, inputs), *sum = NULL, *mean = NULL;
            assert_non_null(largest);
            if (tm_type_is_float(numeric[type])) {
                sum = run_op(&t, TM_OP_Sum, 3, inputs);
                mean = run_op(&t, TM_OP_Mean, 1, inputs);
                assert_true(sum != NULL && mean != NULL);
            }
            int64_t index[3] = {0}, at = 0;
            if (tm_constant_count(largest) > 0)
                do {
                    double v[3];
                    for (int k = 0; k < 3; k++)
                        v[k] = number_at(inputs[k], index_in(inputs[k], 3, index));
                    assert_true(number_at(largest, at) == fmax(v[0], fmax(v[1], v[2])));
                    assert_true(sum == NULL || number_at(sum, at) == v[0] + v[1] + v[2]);
                    at++;
                } while (next_index(3, largest->dims, index));
            kernel_test_deinit(&t);
        }
}

static void where_moves_all_widths(void **state) {
    (void)state;
    for (int k = 0; k < WIDTH_TYPES * 6; k++) {
        kernel_test t;
        kernel_test_init(&t, (uint64_t)k);
        int64_t dims[3] = {3, 2, 7}, slim[3][3] = {{3, 2, 7}, {3, 1, 7}, {1, 1, 1}}, index[3] = {0}, at = 0;
        const tamis_type type = width_types[k % WIDTH_TYPES];
        const int turn = k / WIDTH_TYPES;
        const tm_constant *inputs[3] = {small_tensor(&t, TAMIS_TYPE_BOOL, 3, slim[turn % 3], 0, 1),
                                        random_tensor(&t, type, 3, slim[(turn + 1) % 3]),
                                        random_tensor(&t, type, 3, slim[(turn + 2) % 3])};
        const tm_constant *y = run_op(&t, TM_OP_Where, 3, inputs);
        assert_non_null(y);
        do {
            int pick = number_at(inputs[0], index_in(inputs[0], 3, index)) != 0 ? 1 : 2;
            assert_true(same_bits(bits_of(y, at++), bits_of(inputs[pick], index_in(inputs[pick], 3, index))));
        } while (next_index(3, dims, index));
        kernel_test_deinit(&t);
    }
}

/* ---- the ends of the types ---- */

typedef struct edge {
    tm_op op;
    tamis_type type;
    double a, b, want; /* b NaN: a unary op */
    const char *attribute;
    int64_t value;
} edge;

static const edge edges[] = {
    {TM_OP_Add, TAMIS_TYPE_INT8, 100, 100, -56, NULL, 0},
    {TM_OP_Sub, TAMIS_TYPE_UINT8, 1, 2, 255, NULL, 0},
    {TM_OP_Mul, TAMIS_TYPE_UINT16, 65535, 65535, 1, NULL, 0},
    {TM_OP_Div, TAMIS_TYPE_INT32, -7, 2, -3, NULL, 0},
    {TM_OP_Div, TAMIS_TYPE_INT32, -2147483648.0, -1, -2147483648.0, NULL, 0},
    {TM_OP_Mod, TAMIS_TYPE_INT32, -7, 3, 2, NULL, 0},
    {TM_OP_Mod, TAMIS_TYPE_INT32, 7, -3, -2, NULL, 0},
    {TM_OP_Mod, TAMIS_TYPE_INT32, -7, 3, -1, "fmod", 1},
    {TM_OP_Mod, TAMIS_TYPE_FLOAT, -7.5, 2, -1.5, "fmod", 1},
    {TM_OP_Mod, TAMIS_TYPE_INT8, -128, -1, 0, NULL, 0},
    {TM_OP_Pow, TAMIS_TYPE_INT32, -3, 3, -27, NULL, 0},
    {TM_OP_Pow, TAMIS_TYPE_INT32, 2, -1, 0, NULL, 0},
    {TM_OP_Neg, TAMIS_TYPE_INT8, -128, NAN, -128, NULL, 0},
    {TM_OP_Abs, TAMIS_TYPE_INT16, -32768, NAN, -32768, NULL, 0},
    {TM_OP_Sign, TAMIS_TYPE_INT64, -9, NAN, -1, NULL, 0},
    {TM_OP_Round, TAMIS_TYPE_FLOAT, 2.5, NAN, 2, NULL, 0},
    {TM_OP_Round, TAMIS_TYPE_FLOAT16, -1.5, NAN, -2, NULL, 0},
    {TM_OP_BitwiseNot, TAMIS_TYPE_UINT8, 1, NAN, 254, NULL, 0},
    {TM_OP_Relu, TAMIS_TYPE_INT32, -5, NAN, 0, NULL, 0},
};

static void ends_of_types(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        const edge *e = &edges[i];
        kernel_test t;
        kernel_test_init(&t, 1);
        const tm_constant *inputs[2] = {tensor_of(&t, e->type, 0, NULL, &e->a),
                                        tensor_of(&t, e->type, 0, NULL, &e->b)};
        const tm_constant *y = NULL;
        tm_node *node = new_node(&t, e->op, 1, isnan(e->b) ? 1 : 2, inputs);
        if (e->attribute != NULL)
            tm_node_set_int(node, e->attribute, e->value);
        assert_int_equal(run_node(&t, node, &y), TM_OK);
        if (number_at(y, 0) != e->want)
            fail_msg("edge %zu: %g, expected %g", i, number_at(y, 0), e->want);
        kernel_test_deinit(&t);
    }
}

/* What a shift moves in is 0, or the sign to the right; no count is out of range. */
static void shifts_of_signed_types(void **state) {
    (void)state;
    static const struct {
        tamis_type type;
        const char *direction;
        double a, b, want;
    } shifts[] = {
        {TAMIS_TYPE_INT8, "LEFT", 65, 1, -126},    {TAMIS_TYPE_INT8, "LEFT", -1, 8, 0},
        {TAMIS_TYPE_INT8, "LEFT", 1, -1, 0},       {TAMIS_TYPE_INT8, "RIGHT", -7, 1, -4},
        {TAMIS_TYPE_INT16, "RIGHT", -7, 16, -1},   {TAMIS_TYPE_INT32, "RIGHT", -7, -2, -1},
        {TAMIS_TYPE_INT32, "RIGHT", 7, 40, 0},     {TAMIS_TYPE_INT64, "RIGHT", -8, 2, -2},
        {TAMIS_TYPE_INT64, "LEFT", -3, 40, -3.0 * (1LL << 40)}, {TAMIS_TYPE_UINT8, "RIGHT", 200, 9, 0},
    };
    for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        const tm_constant *inputs[2] = {tensor_of(&t, shifts[i].type, 0, NULL, &shifts[i].a),
                                        tensor_of(&t, shifts[i].type, 0, NULL, &shifts[i].b)};
        const tm_constant *y = NULL;
        tm_node *node = new_node(&t, TM_OP_BitShift, 1, 2, inputs);
        tm_node_set_string(node, "direction", shifts[i].direction);
        assert_int_equal(run_node(&t, node, &y), TM_OK);
        if (number_at(y, 0) != shifts[i].want)
            fail_msg("shift %zu: %g, expected %g", i, number_at(y, 0), shifts[i].want);
        kernel_test_deinit(&t);
    }
}

static void integer_division_by_zero_fails(void **state) {
    (void)state;
    static const tm_op ops[] = {TM_OP_Div, TM_OP_Mod};
    for (int i = 0; i < 2; i++)
        for (int type = 0; type < NUMERIC; type++) {
            kernel_test t;
            kernel_test_init(&t, 1);
            static const double values[] = {1, 2, 0};
            static const int64_t dims[] = {3};
            const tm_constant *x = tensor_of(&t, numeric[type], 1, dims, values), *inputs[] = {x, x};
            const tm_constant *y = run_op(&t, ops[i], 2, inputs);
            assert_int_equal(y != NULL, tm_type_is_float(numeric[type]));
            kernel_test_deinit(&t);
        }
}

static void nan_comes_through(void **state) {
    (void)state;
    static const double values[] = {NAN, 1, NAN, 2}, other[] = {1, NAN, NAN, 1};
    static const int64_t dims[] = {4};
    for (int type = 0; type < 4; type++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        const tm_constant *inputs[] = {tensor_of(&t, numeric[type], 1, dims, values),
                                       tensor_of(&t, numeric[type], 1, dims, other)};
        const tm_constant *y[] = {run_op(&t, TM_OP_Max, 2, inputs), run_op(&t, TM_OP_Min, 2, inputs)};
        for (int k = 0; k < 2; k++) {
            assert_true(isnan(number_at(y[k], 0)) && isnan(number_at(y[k], 1)) && isnan(number_at(y[k], 2)));
            assert_true(number_at(y[k], 3) == (k == 0 ? 2 : 1));
        }
        const tm_constant *relu = run_op(&t, TM_OP_Relu, 1, inputs),
                          *is_nan = run_op(&t, TM_OP_IsNaN, 1, inputs);
        assert_true(isnan(number_at(relu, 0)) && number_at(is_nan, 0) == 1 && number_at(is_nan, 1) == 0);
        kernel_test_deinit(&t);
    }
}

/* ---- Cast: all pairs of numeric types hold 0 and 1; floats outside of an integer's range stop at its end
 * ---- */

static void casts(void **state) {
    (void)state;
    static const double values[] = {0, 1, 1, 0, 1};
    static const int64_t dims[] = {5};
    for (int from = 1; from < TAMIS_TYPE_COUNT; from++)
        for (int to = 1; to < TAMIS_TYPE_COUNT; to++) {
            bool skip = from == TAMIS_TYPE_COMPLEX64 || from == TAMIS_TYPE_COMPLEX128 ||
                        from == TAMIS_TYPE_STRING || to == TAMIS_TYPE_COMPLEX64 ||
                        to == TAMIS_TYPE_COMPLEX128 || to == TAMIS_TYPE_STRING ||
                        from == TAMIS_TYPE_FLOAT8E8M0 || to == TAMIS_TYPE_FLOAT8E8M0; /* which has no zero */
            if (skip)
                continue;
            kernel_test t;
            kernel_test_init(&t, 1);
            const tm_constant *y = cast(&t, tensor_of(&t, (tamis_type)from, 1, dims, values), (tamis_type)to);
            for (int i = 0; i < 5; i++)
                assert_true(number_at(y, i) == values[i]);
            kernel_test_deinit(&t);
        }
    static const double far[] = {1e30, -1e30, NAN, 300.9, -1.9};
    kernel_test t;
    kernel_test_init(&t, 1);
    const tm_constant *y = tensor_of(&t, TAMIS_TYPE_INT32, 1, dims, far);
    assert_true(number_at(y, 0) == INT32_MAX && number_at(y, 1) == INT32_MIN && number_at(y, 2) == 0);
    assert_true(number_at(y, 3) == 300 && number_at(y, 4) == -1);
    y = cast(&t, tensor_of(&t, TAMIS_TYPE_INT16, 1, dims, far), TAMIS_TYPE_INT8);
    assert_true(number_at(y, 3) == 44); /* integers lose their high bits */
    kernel_test_deinit(&t);
}

static void casts_of_text(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } pairs[] = {{0.1, "0.1"},       {3, "3.0"},         {-2.5e20, "-2.5e+20"},
                 {1e-5, "1e-05"},    {0.0001, "0.0001"}, {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {5e-324, "5e-324"}, {1e16, "1e+16"},    {123456789012345680.0, "1.2345678901234568e+17"},
                 {INFINITY, "INF"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        const tm_constant *text = tensor_of(&t, TAMIS_TYPE_STRING, 0, NULL, &pairs[i].value);
        const tamis_string *string = text->data;
        assert_int_equal(string->size, strlen(pairs[i].text));
        assert_memory_equal(string->data, pairs[i].text, (size_t)string->size);
        assert_true(number_at(cast(&t, text, TAMIS_TYPE_DOUBLE), 0) == pairs[i].value);
        kernel_test_deinit(&t);
    }
}

/* Text to integers: what 64 bits do not hold fails, narrower types keep the low bits. */
static void integers_of_text(void **state) {
    (void)state;
    static const struct {
        const char *text;
        tamis_type type;
        bool fits;
        int64_t value;
    } rows[] = {{"9223372036854775807", TAMIS_TYPE_INT64, true, INT64_MAX},
                {"9223372036854775808", TAMIS_TYPE_INT64, false, 0},
                {"-9223372036854775808", TAMIS_TYPE_INT64, true, INT64_MIN},
                {"-9223372036854775809", TAMIS_TYPE_INT64, false, 0},
                {"18446744073709551614", TAMIS_TYPE_UINT64, true, -2},
                {"18446744073709551615", TAMIS_TYPE_UINT64, true, -1},
                {"18446744073709551616", TAMIS_TYPE_UINT64, false, 0},
                {"184467440737095516190", TAMIS_TYPE_UINT64, false, 0},
                {"-1", TAMIS_TYPE_UINT64, true, -1},
                {"9223372036854775808", TAMIS_TYPE_INT32, false, 0},
                {"5000000000", TAMIS_TYPE_INT32, true, 705032704},
                {"300", TAMIS_TYPE_INT8, true, 44},
                {"300", TAMIS_TYPE_UINT8, true, 44},
                {"-2.7", TAMIS_TYPE_INT64, true, -2},
                {"-2.7", TAMIS_TYPE_UINT64, true, -2},
                {"1e19", TAMIS_TYPE_UINT8, true, 0},
                {"1e2", TAMIS_TYPE_INT64, true, 100},
                {"1e19", TAMIS_TYPE_INT64, false, 0},
                {"1e400", TAMIS_TYPE_INT64, false, 0},
                {"inf", TAMIS_TYPE_INT64, false, 0},
                {"-infinity", TAMIS_TYPE_UINT8, false, 0},
                {"nan", TAMIS_TYPE_INT8, false, 0},
                {"nan", TAMIS_TYPE_UINT64, false, 0},
                {"0x10", TAMIS_TYPE_INT64, false, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        tamis_string text = {rows[i].text, (int64_t)strlen(rows[i].text)};
        const tm_constant *x = tm_constant_create(&t.arena, TAMIS_TYPE_STRING, 0, NULL, &text);
        const tm_constant *y = NULL;
        tm_node *node = new_node(&t, TM_OP_Cast, 1, 1, &x);
        tm_node_set_int(node, "to", rows[i].type);
        assert_int_equal(run_node(&t, node, &y) == TM_OK, rows[i].fits);
        int64_t value = 0;
        if (rows[i].fits)
            memcpy(&value, y->data, (size_t)tm_type_bits(rows[i].type) / 8);
        assert_true(value == rows[i].value);
        kernel_test_deinit(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binaries_broadcast),
        cmocka_unit_test(many_inputs),
        cmocka_unit_test(where_moves_all_widths),
        cmocka_unit_test(ends_of_types),
        cmocka_unit_test(shifts_of_signed_types),
        cmocka_unit_test(integer_division_by_zero_fails),
        cmocka_unit_test(nan_comes_through),
        cmocka_unit_test(casts),
        cmocka_unit_test(casts_of_text),
        cmocka_unit_test(integers_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
