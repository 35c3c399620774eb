/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the dim algebra: canonical forms, ranges, overflow, text, substitution; and random
 * expressions, where the simplified dim must have the value of the tree as written, and must come back
 * as the same pointer from its text.
 */
#include "ir/dim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static tm_arena arena;
static tm_dims *dims;

static int set_up(void **state) {
    (void)state;
    tm_arena_init(&arena);
    dims = tm_dims_create(&arena);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tm_arena_deinit(&arena);
    return 0;
}

static tm_dim parse(const char *text) {
    const char *error = NULL;
    tm_dim dim = tm_dim_parse(dims, text, &error);
    if (dim == NULL)
        fail_msg("%s: %s", text, error);
    return dim;
}

static const char *print(tm_dim dim) {
    tm_text text;
    tm_text_init(&text, &arena);
    tm_dim_print(dim, &text);
    return tm_text_get(&text);
}

static void check(const char *text, const char *want) {
    tm_dim dim = parse(text);
    assert_string_equal(print(dim), want);
    assert_ptr_equal(parse(want), dim);
}

static void polynomials_are_canonical(void **state) {
    (void)state;
    check("batch * 2 + batch - batch + seq*0 + 3", "2*batch + 3");
    check("(seq + 1) * 2 + batch*seq - seq", "batch*seq + seq + 2");
    check("3 + b + a", "a + b + 3");
    check("(a + b)*(a - b)", "a*a - b*b");
    check("a*b*c - c*b*a", "0");
    check("-a - 1", "-a - 1");
    check("-(a - b)", "-a + b");
    check("0*a", "0");
    check("\"12*s18\" + 1 + \"a\\\"b\"", "\"12*s18\" + \"a\\\"b\" + 1");
    assert_ptr_equal(parse("2*seq + 1 - batch"), parse("1 + seq - batch + seq"));
}

static void large_products_stay_opaque_and_round_trip(void **state) {
    (void)state;
    tm_dim big = parse("(a + b + c + d + e)*(f + g + h + i)");
    assert_string_equal(print(big), "mul(a + b + c + d + e, f + g + h + i)");
    assert_ptr_equal(parse(print(big)), big);
    tm_dim more = tm_dim_mul(dims, big, parse("3*a"));
    assert_ptr_equal(parse(print(more)), more);
    assert_ptr_equal(tm_dim_mul(dims, parse("f + g + h + i"), parse("e + d + c + b + a")), big);
}

static void divisions(void **state) {
    (void)state;
    check("floordiv(4*n + 6, 4)", "n + 1");
    check("floordiv(n*8, n)", "8");
    check("floordiv(b*s*768, b*12)", "64*s");
    check("floordiv(b*s*768, b*s*12*64)", "1");
    check("floordiv(6*n + 3, 4)", "floordiv(3*n + 1, 2)");
    check("floordiv(4*n + 2*m + 5, 4)", "n + floordiv(m, 2) + 1");
    check("floordiv(n - 1, 2) + 1", "floordiv(n + 1, 2)");
    check("floordiv(floordiv(n - 1, 2), 2) + 1", "floordiv(n + 3, 4)");
    check("truncdiv(n, 2)", "floordiv(n, 2)");
    check("-truncdiv(-n, 2)", "floordiv(n, 2)");
    check("truncdiv(n - m, 2)", "truncdiv(-m + n, 2)");
    check("-floordiv(-n, 16)", "floordiv(n + 15, 16)");
    check("floordiv(a*a - b*b, a + b)", "a - b");
    check("floordiv(n, 0)", "floordiv(n, 0)");
    check("floordiv(-7, 2)", "-4");
    check("truncdiv(-7, 2)", "-3");
    check("floordiv(n, -4)", "-floordiv(n + 3, 4)");
    check("floormod(n*8, n)", "0");
    check("floormod(4*n + 5, 4)", "1");
    check("floormod(6*n, 4)", "2*floormod(n, 2)");
    check("floormod(-7, 3)", "2");
    assert_ptr_equal(tm_dim_ceildiv(dims, parse("n"), parse("16")), parse("floordiv(n + 15, 16)"));
}

static void order_and_choice(void **state) {
    (void)state;
    check("max(n - 1, n)", "n");
    check("min(n, n + 4)", "n");
    check("max(0, n)", "n");
    check("min(9223372036854775807, n)", "n");
    check("min(max(min(max(n, 0), m), 0), m)", "min(m, n)");
    check("min(min(c, a), min(b, a))", "min(a, min(b, c))");
    check("max(min(a, b), a)", "a");
    check("equal(n, -1)", "0");
    check("equal(n, n + 1)", "0");
    check("equal(m + n, n + m)", "1");
    check("equal(n, m)", "equal(m, n)");
    check("less(n, n + 1)", "1");
    check("less(n, n)", "0");
    check("less(n, m)", "less(n, m)");
    check("select(equal(n, -1), 5, m)", "m");
    check("select(equal(n, m), m, n)", "n");
    check("select(less(n, m), 1, 0)", "less(n, m)");
    check("select(n, a, a)", "a");
    check("select(equal(b, 0), b*n + b, b)", "b");
    check("select(equal(b, 0), n, b)", "select(equal(b, 0), n, b)");
}

static void broadcasting(void **state) {
    (void)state;
    check("broadcast(a, a)", "a");
    check("broadcast(a, 1)", "a");
    check("broadcast(1, a)", "a");
    check("broadcast(a, 4)", "4");
    check("broadcast(0, a)", "0");
    check("broadcast(b, broadcast(a, b))", "broadcast(a, b)");
    check("broadcast(a + 2, b)", "a + 2");
    assert_null(tm_dim_broadcast(dims, parse("3"), parse("4")));
    assert_null(tm_dim_broadcast(dims, parse("a + 2"), parse("a + 3")));
}

static void facts(void **state) {
    (void)state;
    tm_dim seq = tm_dim_input(dims, "seq");
    tm_symbol_set_range(tm_dims_find_symbol(dims, "seq"), 1, 512);
    assert_string_equal(print(parse("max(seq, 1)")), "seq");
    assert_string_equal(print(parse("min(seq + 1, 513)")), "seq + 1");
    assert_string_equal(print(parse("floordiv(seq, 513)")), "0");
    assert_string_equal(print(parse("floormod(seq, 1000)")), "seq");
    assert_true(tm_dim_differ(dims, seq, parse("0")));
    assert_false(tm_dim_differ(dims, seq, parse("7")));
    tm_dim sum = parse("batch*seq + batch");
    tm_dim_input(dims, "batch");
    tm_symbol_set_range(tm_dims_find_symbol(dims, "batch"), 2, 2);
    assert_ptr_equal(tm_dim_input(dims, "batch"), tm_dim_constant(dims, 2));
    assert_string_equal(print(tm_dim_substitute(dims, sum, NULL, NULL)), "2*seq + 2");
}

static tm_dim double_it(void *context, tm_symbol *symbol) {
    (void)context;
    return strcmp(symbol->name, "n") == 0 ? parse("2*k") : NULL;
}

static void symbols(void **state) {
    (void)state;
    tm_dim load = tm_dim_fresh(dims, "n", TM_SYMBOL_LOAD, NULL, 3);
    tm_dim other = tm_dim_fresh(dims, "n", TM_SYMBOL_FREE, NULL, 0);
    assert_string_equal(print(load), "n");
    assert_string_equal(print(other), "n.1");
    assert_string_equal(print(tm_dim_fresh(dims, "n", TM_SYMBOL_FREE, NULL, 0)), "n.2");
    assert_true(load->late);
    assert_true(tm_dim_add(dims, load, parse("m"))->late);
    assert_false(parse("m + 1")->late);
    assert_int_equal(load->low, INT64_MIN);
    assert_int_equal(other->low, 0);
    assert_string_equal(print(parse("max(n, 0)")), "max(n, 0)");
    assert_string_equal(print(tm_dim_substitute(dims, parse("floordiv(n + m, 2)"), double_it, NULL)),
                        "k + floordiv(m, 2)");
    assert_int_equal(tm_dims_symbol_count(dims), 5);
    assert_string_equal(tm_dims_symbol_at(dims, 0)->name, "n");
}

static void overflow_is_kept_for_run_time(void **state) {
    (void)state;
    int64_t value;
    const char *texts[] = {"9223372036854775807 + 1", "4611686018427387904*n*4", "-9223372036854775808 - 1",
                           "floordiv(-9223372036854775808, -1)", "-9223372036854775808*n + 2"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tm_dim dim = parse(texts[i]);
        assert_ptr_equal(parse(print(dim)), dim);
        int64_t at[1] = {2};
        assert_false(tm_dim_evaluate(dim, at, &value));
    }
    assert_string_equal(print(parse("n - 9223372036854775807 - 1")), "n + -9223372036854775808");
    assert_int_equal(parse("n*9223372036854775807")->high, INT64_MAX);
}

static void bad_text_is_refused(void **state) {
    (void)state;
    const char *texts[] = {"",
                           "a +",
                           "(a",
                           "floordiv(a)",
                           "nothing(a, b)",
                           "\"abc",
                           "a b",
                           "broadcast(2, 3)",
                           "*a",
                           "9223372036854775808",
                           "\"\\q\"",
                           "select(a, b)",
                           "\"\\x00\""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *error = NULL;
        assert_null(tm_dim_parse(dims, texts[i], &error));
        assert_non_null(error);
    }
    static char deep[20001];
    memset(deep, '(', sizeof deep - 1);
    assert_null(tm_dim_parse(dims, deep, NULL));
    memset(deep, '-', sizeof deep - 1);
    assert_null(tm_dim_parse(dims, deep, NULL));
}

static void deep_expressions_neither_recurse_nor_explode(void **state) {
    (void)state;
    tm_dim dim = parse("n");
    for (int i = 0; i < 20000; i++)
        dim = tm_dim_max(dims, tm_dim_floormod(dims, tm_dim_add(dims, dim, parse("n")), parse("97")),
                         tm_dim_truncdiv(dims, parse("k - 5"), tm_dim_add(dims, dim, parse("2"))));
    int64_t values[8] = {3, 4, 0, 0, 0, 0, 0, 0}, value;
    assert_true(tm_dim_evaluate(dim, values, &value));
    assert_string_equal(print(dim), "...");
    assert_non_null(tm_dim_substitute(dims, dim, double_it, NULL));
}

/* ---- random expressions ---- */

#define SYMBOLS 4
static uint64_t seed;
static uint32_t draw(uint32_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

typedef struct outcome {
    tm_dim dim;
    bool ok;
    int64_t value;
} outcome;

static int64_t floor_division(int64_t a, int64_t b) {
    int64_t quotient = a / b;
    return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

static outcome combine(int operation, outcome a, outcome b, outcome c) {
    outcome r = {NULL, a.ok && b.ok, 0};
    int64_t x = a.value, y = b.value;
    bool divides = r.ok && y != 0;
    switch (operation) {
    case 0:
        return (outcome){tm_dim_add(dims, a.dim, b.dim), r.ok, x + y};
    case 1:
        return (outcome){tm_dim_sub(dims, a.dim, b.dim), r.ok, x - y};
    case 2:
        return (outcome){tm_dim_mul(dims, a.dim, b.dim), r.ok && llabs(x) < 1000000 && llabs(y) < 1000000,
                         x * y};
    case 3:
        return (outcome){tm_dim_floordiv(dims, a.dim, b.dim), divides, divides ? floor_division(x, y) : 0};
    case 4:
        return (outcome){tm_dim_truncdiv(dims, a.dim, b.dim), divides, divides ? x / y : 0};
    case 5:
        return (outcome){tm_dim_floormod(dims, a.dim, b.dim), divides,
                         divides ? x - y * floor_division(x, y) : 0};
    case 6:
        return (outcome){tm_dim_min(dims, a.dim, b.dim), r.ok, x < y ? x : y};
    case 7:
        return (outcome){tm_dim_max(dims, a.dim, b.dim), r.ok, x > y ? x : y};
    case 8:
        return (outcome){tm_dim_equal(dims, a.dim, b.dim), r.ok, x == y};
    case 9:
        return (outcome){tm_dim_less(dims, a.dim, b.dim), r.ok, x < y};
    case 10:
        return (outcome){tm_dim_ceildiv(dims, a.dim, b.dim), divides, divides ? -floor_division(-x, y) : 0};
    case 11:
        r.dim = tm_dim_select(dims, c.dim, a.dim, b.dim);
        r.ok = c.ok && (c.value != 0 ? a.ok : b.ok);
        r.value = c.value != 0 ? x : y;
        return r;
    default:
        r.dim = tm_dim_broadcast(dims, a.dim, b.dim);
        if (r.dim == NULL) {
            assert_true(!r.ok || (x != y && x != 1 && y != 1));
            return a;
        }
        return (outcome){r.dim, r.ok && (x == y || x == 1 || y == 1), x == 1 ? y : x};
    }
}

static outcome random_tree(int depth, const int64_t *values) {
    static const char *const names[SYMBOLS] = {"a", "b", "load", "pos"};
    if (depth == 0 || draw(8) == 0) {
        uint32_t which = draw(SYMBOLS + 3);
        if (which < SYMBOLS)
            return (outcome){tm_dim_of_symbol(dims, tm_dims_find_symbol(dims, names[which])), true,
                             values[which]};
        int64_t constant = (int64_t)draw(which == SYMBOLS ? 70 : 5) - 2;
        return (outcome){tm_dim_constant(dims, constant), true, constant};
    }
    outcome a = random_tree(depth - 1, values), b = random_tree(depth - 1, values),
            c = random_tree(1, values);
    return combine((int)draw(13), a, b, c);
}

static tm_dims *new_table(void) {
    dims = tm_dims_create(&arena);
    tm_dim_input(dims, "a");
    tm_dim_input(dims, "b");
    tm_dim_fresh(dims, "load", TM_SYMBOL_LOAD, NULL, 0);
    tm_symbol_set_range(tm_dim_input(dims, "pos")->symbol, 1, 64);
    return dims;
}

static void random_expressions_keep_their_value(void **state) {
    (void)state;
    for (uint64_t round = 0; round < 2000; round++) {
        seed = round;
        tm_dims *first = new_table();
        int64_t values[SYMBOLS] = {draw(9), draw(40), (int64_t)draw(30) - 15, 1 + draw(64)};
        outcome r = random_tree(4, values);
        int64_t value = 0;
        const char *text = print(r.dim);
        if (r.ok && llabs(r.value) < 1000000000) {
            if (!tm_dim_evaluate(r.dim, values, &value) || value != r.value)
                fail_msg("round %llu: %s is %lld, not %lld", (unsigned long long)round, text,
                         (long long)value, (long long)r.value);
            assert_true(value >= r.dim->low && value <= r.dim->high);
        }
        const char *error;
        tm_dim again = tm_dim_parse(first, text, &error);
        if (again != r.dim)
            fail_msg("round %llu: %s comes back as %s", (unsigned long long)round, text,
                     again == NULL ? error : print(again));
        new_table();
        assert_string_equal(print(parse(text)), text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(polynomials_are_canonical, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_products_stay_opaque_and_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(divisions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(order_and_choice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(broadcasting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(facts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(symbols, set_up, tear_down),
        cmocka_unit_test_setup_teardown(overflow_is_kept_for_run_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_text_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deep_expressions_neither_recurse_nor_explode, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_expressions_keep_their_value, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
