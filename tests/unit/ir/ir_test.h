/* SPDX-License-Identifier: Apache-2.0
 *
 * ir_test.h: building small models by hand in tests: an arena and a model for each test, values by
 * types and dim texts, nodes in a line.
 *
 *     tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
 *     tm_value *y = node1(model->main, TM_OP_Add, "y", x, x);
 */
#ifndef TM_TESTS_UNIT_IR_TEST_H
#define TM_TESTS_UNIT_IR_TEST_H

#include "ir/evaluate.h"
#include "ir/infer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static tm_arena arena;
static tm_diagnostics diagnostics;
static tm_model *model;

static int set_up(void **state) {
    (void)state;
    tm_arena_init(&arena);
    diagnostics = (tm_diagnostics){0};
    tm_diagnostics_init(&diagnostics, &arena);
    model = tm_model_create(&arena, &diagnostics, "test.ir");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tm_arena_deinit(&arena);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline const char *messages(void) {
    tm_text text;
    tm_text_init(&text, &arena);
    for (size_t i = 0; i < diagnostics.list.count; i++)
        tm_diagnostic_print(&diagnostics.list.items[i], &text);
    return tm_text_get(&text);
}

#define assert_ok(expression)                            \
    do {                                                 \
        tm_code assert_code = (expression);              \
        if (assert_code != TM_OK)                        \
            fail_msg("%d: %s", assert_code, messages()); \
    } while (0)

/* Dims as texts, ended by NULL. */
static inline int parse_dims(const char *const *texts, tm_dim *out) {
    int rank = 0;
    for (; texts[rank] != NULL; rank++) {
        const char *error = NULL;
        out[rank] = tm_dim_parse(model->dims, texts[rank], &error);
        assert_non_null(out[rank]);
    }
    return rank;
}

static inline tm_value *typed_input(tm_graph *graph, const char *name, tamis_type type,
                                    const char *const *texts) {
    tm_dim dims[TAMIS_MAX_RANK];
    tm_value *value = tm_value_create(graph, name);
    int rank = parse_dims(texts, dims);
    tm_value_set_tensor(value, type, rank, dims);
    tm_graph_add_input(graph, value);
    return value;
}
#define input(name, type, ...) typed_input(model->main, name, type, (const char *const[]){__VA_ARGS__, NULL})
#define scalar_input(name, type) typed_input(model->main, name, type, (const char *const[]){NULL})

static inline tm_value *constant_i64(tm_graph *graph, int rank, int64_t count, const int64_t *values) {
    return tm_value_create_constant(graph, NULL, tm_constant_create_i64(&arena, rank, &count, values));
}
static inline tm_value *scalar(tm_graph *graph, tamis_type type, double value) {
    return tm_value_create_constant(graph, NULL, tm_constant_create_scalar(&arena, type, value));
}

static inline tm_value *make_node(tm_graph *graph, tm_op op, const char *name, int count,
                                  tm_value *const *inputs) {
    tm_node *node = tm_node_create(graph, NULL, op, name, count, inputs);
    return tm_node_add_output(node, name);
}
#define node1(graph, op, name, ...)                                                             \
    make_node(graph, op, name, (int)(sizeof((tm_value *[]){__VA_ARGS__}) / sizeof(tm_value *)), \
              (tm_value *[]){__VA_ARGS__})

/* "f32[n, 4]", "i64[]", "seq f32[s, 4]", "seq f32?" */
static inline const char *type_of(const tm_value *value) {
    tm_text text;
    tm_text_init(&text, &arena);
    tm_text_add(&text, "%s%s", value->kind == TAMIS_KIND_SEQUENCE ? "seq " : "", tm_type_text(value->type));
    tm_text_add(&text, value->rank < 0 ? "?" : "[");
    for (int i = 0; i < value->rank; i++) {
        tm_text_add(&text, i > 0 ? ", " : "");
        tm_dim_print(value->dims[i], &text);
    }
    tm_text_add(&text, value->rank < 0 ? "" : "]");
    return tm_text_get(&text);
}

#endif
