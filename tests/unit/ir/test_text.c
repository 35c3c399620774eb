/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the text form: a model made by hand with every construct survives print and parse, print is
 * stable, odd floats keep their bits, and no mutilated text crashes the parser.
 */
#include "ir/text.h"
#include "tests/unit/arena_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *print(const tm_model *model, unsigned flags) {
    tm_text text;
    tm_text_init(&text, &arena);
    tm_print_model(model, flags, &text);
    return tm_text_get(&text);
}

static tm_model *parse(const char *text) {
    tm_model *model = NULL;
    if (tm_parse_model(&arena, &diagnostics, "test.ir", text, strlen(text), &model) != TM_OK) {
        tm_text message;
        tm_text_init(&message, &arena);
        tm_diagnostic_print(&diagnostics.list.items[diagnostics.list.count - 1], &message);
        fail_msg("%s\n%s", tm_text_get(&message), text);
    }
    return model;
}

static const char everything[] =
    "; a comment\n"
    "dim batch = 1..512\n"
    "dim \"12*s\" = 4..4\n"
    "dim found : free %nz[1]\n"
    "dim k : load %\"odd name\"[2] = -1..9223372036854775807\n"
    "\nmain(%x: f32[batch, 2*seq + 1], %c: bool[], %\"odd name\": i64[3], %s: sequence f16[?, 4], %m: "
    "map(string) f32[], %ms: sequence map(i64) f64[], %os: optional sequence f32[*], %o: optional ?[*]) {\n"
    "  const %scalar: f32[] = {1e-05}\n"
    "  const %list: i64[2, 2] = {0, -1, 9223372036854775807, -9223372036854775808}\n"
    "  const %bools: bool[3] = {1, 0, 1}\n"
    "  const %halfs: f16[4] = {0.5, -0, inf, nan}\n"
    "  const %raw: f32[1] = hex\"0100c07f\"\n"
    "  const %texts: string[2] = {\"a\\\"b\\x00\", \"\"}\n"
    "  const %nibbles: u4[4] = {1, 2, 15, 0}\n"
    "  const %none: f32[0, 3] = {}\n"
    "  const %big: u8[66] = hex\""
    "0001020304050607080910111213141516171819202122232425262728293031"
    "32333435363738394041424344454647484950515253545556575859606162636400\"\n"
    "  %nz: i64[2, found] = NonZero(%x) \"layer/NonZero\" @3 in \"main\"\n"
    "  %e = Clip(%x, _, %scalar)\n"
    "  %r: f32[k, floordiv(batch + 1, 2)] = Reshape(%x, %\"odd name\") {allowzero = 1}\n"
    "  %a: f32[*], _, %b: ?[2] = LSTM(%x, %x, %x) {activation_alpha = [0.5, -inf, nan(9221120237041090561)], "
    "activations = [\"Tanh\", \"a,b\"], clip = 0.1, hidden_size = 4}\n"
    "  %l: f32[] = ai.onnx.ml.LabelEncoder(%x) {keys_int64s = [], values_tensor = f32[2] {1, 2.5}}\n"
    "  %y: f32[batch, 2*seq + 1] = If(%c) {\n"
    "    else_branch = \"else branch\"() {\n"
    "      const %z: f32[1] = {0}\n"
    "      %inner: f32[batch, 2*seq + 1] = Add(%x, %z)\n"
    "      return %inner\n"
    "    },\n"
    "    then_branch = g() {\n"
    "      return %x\n"
    "    }\n"
    "  }\n"
    "  %all: i64[] = SequenceConstruct(%list, %bools, %halfs, %raw, %texts, %nibbles, %none, %big)\n"
    "  return %y, %all, %nz, %y\n"
    "}\n";

static void everything_round_trips(void **state) {
    (void)state;
    tm_model *model = parse(everything);
    const char *once = print(model, 0);
    assert_string_equal(print(parse(once), 0), once);
    /* A pinned dim becomes its constant, and its symbol is then no longer mentioned. */
    assert_null(strstr(once, "12*s"));
    assert_string_equal(strstr(once, "dim found"), strstr(everything, "dim found"));
    tm_symbol *found = tm_dims_find_symbol(model->dims, "found");
    assert_string_equal(found->value->name, "nz");
    assert_int_equal(found->origin, TM_SYMBOL_FREE);
    assert_int_equal(found->value->symbols.count, 1);
    tm_symbol *seq = tm_dims_find_symbol(model->dims, "seq");
    assert_null(seq->value);
    assert_string_equal(tm_dims_find_symbol(model->dims, "batch")->value->name, "x");
    assert_true(tm_dims_find_symbol(model->dims, "k")->low == -1);
    assert_int_equal(model->main->node_count, 7);
}

static void a_model_made_by_hand_prints(void **state) {
    (void)state;
    tm_model *model = tm_model_create(&arena, &diagnostics, NULL);
    tm_dim batch = tm_dim_input(model->dims, "batch"), dims[2] = {batch, tm_dim_constant(model->dims, 4)};
    tm_value *x = tm_value_create(model->main, "/in:0");
    tm_value_set_tensor(x, TAMIS_TYPE_FLOAT, 2, dims);
    tm_graph_add_input(model->main, x);
    tm_value *half = tm_value_create_constant(model->main, "half",
                                              tm_constant_create_scalar(&arena, TAMIS_TYPE_FLOAT, 0.1));
    tm_value_create_constant(model->main, "unused", half->constant);
    tm_value *inputs[2] = {x, half};
    tm_node *node = tm_node_create(model->main, NULL, TM_OP_Mul, "m", 2, inputs);
    tm_value *y = tm_node_add_output(node, "y");
    tm_value_set_tensor(y, TAMIS_TYPE_FLOAT, 2, dims);
    tm_graph_add_output(model->main, y);
    const char *want = "main(%\"/in:0\": f32[batch, 4]) {\n"
                       "  const %half: f32[] = {0.1}\n"
                       "  %y: f32[batch, 4] = Mul(%\"/in:0\", %half) \"m\"\n"
                       "  return %y\n"
                       "}\n";
    assert_string_equal(print(model, 0), want);
    assert_string_equal(print(parse(want), 0), want);
    tm_text text;
    tm_text_init(&text, &arena);
    tm_print_node(node, 0, &text);
    assert_string_equal(tm_text_get(&text), "%y: f32[batch, 4] = Mul(%\"/in:0\", %half) \"m\"");
}

static void large_constants_can_be_left_out(void **state) {
    (void)state;
    tm_model *model = parse("main() {\n  const %c: i64[17] = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17}\n"
                            "  return %c\n}\n");
    const char *elided = print(model, TM_PRINT_ELIDE);
    assert_non_null(strstr(elided, "const %c: i64[17] = ...\n"));
    tm_model *again = NULL;
    assert_int_equal(tm_parse_model(&arena, &diagnostics, NULL, elided, strlen(elided), &again), TM_E_TEXT);
}

static uint32_t random_state;
static uint32_t draw(uint32_t below) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

static void floats_keep_their_bits(void **state) {
    (void)state;
    for (uint32_t round = 0; round < 400; round++) {
        random_state = round;
        static const tamis_type types[] = {
            TAMIS_TYPE_FLOAT,        TAMIS_TYPE_DOUBLE,         TAMIS_TYPE_FLOAT16,    TAMIS_TYPE_BFLOAT16,
            TAMIS_TYPE_FLOAT8E4M3FN, TAMIS_TYPE_FLOAT8E5M2FNUZ, TAMIS_TYPE_FLOAT8E8M0, TAMIS_TYPE_INT16,
            TAMIS_TYPE_UINT64,       TAMIS_TYPE_INT4,           TAMIS_TYPE_COMPLEX64,  TAMIS_TYPE_FLOAT4E2M1};
        tamis_type type = types[round % (sizeof types / sizeof *types)];
        int64_t dims[1] = {1 + draw(3)};
        uint8_t *data = tm_arena_alloc(&arena, 64);
        for (int i = 0; i < 64; i++)
            data[i] = (uint8_t)draw(256);
        tm_model *model = tm_model_create(&arena, &diagnostics, NULL);
        const tm_constant *constant = tm_constant_create(&arena, type, 1, dims, data);
        tm_graph_add_output(model->main, tm_value_create_constant(model->main, "c", constant));
        const char *text = print(model, 0);
        const tm_constant *again = parse(text)->main->outputs.items[0]->constant;
        assert_int_equal(again->type, type);
        assert_int_equal(again->bytes, constant->bytes);
        if (memcmp(again->data, data, (size_t)again->bytes) != 0)
            fail_msg("%s", text);
    }
}

static void mutilated_text_is_refused_or_parsed(void **state) {
    (void)state;
    static const char bytes[] = "%\"{}[](),:=.@?*-;\n\\ 0129ax_\x00\xff\x80";
    size_t size = sizeof everything - 1;
    for (uint32_t round = 0; round < 3000; round++) {
        tm_arena own;
        tm_diagnostics own_diagnostics;
        random_state = round;
        tm_arena_init(&own);
        tm_diagnostics_init(&own_diagnostics, &own);
        char *text = tm_arena_copy(&own, everything, size);
        for (uint32_t i = 0; i <= round % 4; i++)
            text[draw((uint32_t)size)] = bytes[draw(sizeof bytes - 1)];
        char *exact = malloc(size); /* the end of the text is the end of the block */
        assert_non_null(exact);
        size_t length = round % 3 == 0 ? draw((uint32_t)size) : size;
        memcpy(exact + size - length, text, length);
        tm_model *model = NULL;
        tm_code code = tm_parse_model(&own, &own_diagnostics, NULL, exact + size - length, length, &model);
        assert_true(code == TM_OK ? model != NULL : code == TM_E_TEXT && own_diagnostics.list.count == 1);
        if (code == TM_OK) {
            tm_text out;
            tm_text_init(&out, &own);
            tm_print_model(model, 0, &out);
        }
        free(exact);
        tm_arena_deinit(&own);
    }
}

static void deep_nesting_is_refused(void **state) {
    (void)state;
    tm_text text;
    tm_text_init(&text, &arena);
    tm_text_add(&text, "main(%%c: bool[]) {");
    for (int i = 0; i < 5000; i++)
        tm_text_add(&text, "%%y%d = If(%%c) {then_branch = g() {", i);
    tm_model *model = NULL;
    assert_int_equal(tm_parse_model(&arena, &diagnostics, NULL, tm_text_get(&text), text.size, &model),
                     TM_E_TEXT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_round_trips, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_model_made_by_hand_prints, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_constants_can_be_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(floats_keep_their_bits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mutilated_text_is_refused_or_parsed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deep_nesting_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
