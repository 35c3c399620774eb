/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the inference of shape and movement ops: small models as text, and what dims and elements
 * come out. "dims | elements" for each output, separated by ";".
 */
#include "tests/unit/ops/infer_test.h"

typedef struct example {
    const char *inputs;
    const char *body;
    const char *outputs; /* names */
    const char *want;    /* or the code of the failure, as "E111" */
} example;

static const example examples[] = {
    /* Reshape */
    {"%x: f32[batch, seq, 768]", "const %s: i64[4] = {0, -1, 12, 64} %y: f32[*] = Reshape(%x, %s)", "%y",
     "batch, seq, 12, 64"},
    {"%x: f32[batch, seq, 12, 64]", "const %s: i64[3] = {0, 0, -1} %y: f32[*] = Reshape(%x, %s)", "%y",
     "batch, seq, 768"},
    {"%x: f32[batch, 4]",
     "%a: i64[*] = Shape(%x) {end = 1} const %m: i64[1] = {-1} %s: i64[*] = Concat(%a, %m) {axis = 0} %y: "
     "f32[*] = Reshape(%x, %s)",
     "%y", "batch, 4"},
    {"%x: f32[2, 3, 4]", "const %s: i64[2] = {-1, 8} %y: f32[*] = Reshape(%x, %s)", "%y", "3, 8"},
    {"%x: f32[2, 3, 4]", "const %s: i64[2] = {5, 5} %y: f32[*] = Reshape(%x, %s)", "%y", "E111"},
    {"%x: f32[2, 3]", "const %s: i64[2] = {-1, -1} %y: f32[*] = Reshape(%x, %s)", "%y", "E111"},
    {"%x: f32[0, 3]", "const %s: i64[2] = {3, 0} %y: f32[*] = Reshape(%x, %s) {allowzero = 1}", "%y", "3, 0"},
    {"%x: f32[0, 3]", "const %s: i64[2] = {0, -1} %y: f32[*] = Reshape(%x, %s)", "%y", "0, 3"},
    {"%x: f32[b, 2]", "const %s: i64[0] = {} %y: f32[*] = Reshape(%x, %s)", "%y", ""},
    /* Flatten, Squeeze, Unsqueeze */
    {"%x: f32[b, 2, 3, n]", "%y: f32[*] = Flatten(%x) {axis = 2} %z: f32[*] = Flatten(%x) {axis = -4}",
     "%y, %z", "2*b, 3*n; 1, 6*b*n"},
    {"%x: f32[b, 1, 3, 1]", "const %a: i64[1] = {-1} %y: f32[*] = Squeeze(%x, %a)", "%y", "b, 1, 3"},
    {"%x: f32[2, 1, 3, 1]", "%y: f32[*] = Squeeze(%x)", "%y", "2, 3"},
    {"%x: f32[b, 1]", "%y: f32[*] = Squeeze(%x)", "%y", "b"},
    {"%x: f32[b, 2]", "%y: f32[*] = Squeeze(%x)", "%y", "E203"},
    {"%x: f32[b, 2]", "const %a: i64[1] = {1} %y: f32[*] = Squeeze(%x, %a)", "%y", "E111"},
    {"%x: f32[b, n]", "const %a: i64[2] = {-1, 0} %y: f32[*] = Unsqueeze(%x, %a)", "%y", "1, b, n, 1"},
    {"%x: f32[b, n]", "const %a: i64[2] = {0, -4} %y: f32[*] = Unsqueeze(%x, %a)", "%y", "E110"},
    /* What is one number has one element */
    {"%x: f32[b, n]", "const %k: i64[0] = {} %y: f32[*] = Trilu(%x, %k)", "%y", "E111"},
    {"%x: f32[b, n], %k: i64[k]", "%y: f32[*] = Trilu(%x, %k)", "%y", "b, n"},
    {"%x: f32[b, n]", "const %k: i64[1] = {1} %y: f32[*] = Trilu(%x, %k)", "%y", "b, n"},
    {"%x: f32[3], %v: f32[0]", "const %p: i64[2] = {1, 1} %y: f32[*] = Pad(%x, %p, %v)", "%y", "E111"},
    {"%x: f32[3], %r: f32[2]", "%y: f32[*], %m: bool[*] = Dropout(%x, %r)", "%y", "E111"},
    {"%b: f32[1, n, 4], %s: f32[1, 2, n], %m: i64[0]", "%y: i64[*] = NonMaxSuppression(%b, %s, %m)", "%y",
     "E111"},
    {"%x: f32[3], %p: i64[0]", "%s: f32[*] = SequenceConstruct(%x) %y: f32[*] = SequenceAt(%s, %p)", "%y",
     "E111"},
    /* Shape and its arithmetic */
    {"%x: f32[b, n, 3]", "%y: i64[*] = Shape(%x) %z: i64[*] = Size(%x)", "%y, %z", "3 | b, n, 3; | 3*b*n"},
    {"%x: f32[b, n, 3]", "%y: i64[*] = Shape(%x) {start = -2} %z: i64[*] = Shape(%x) {end = -5}", "%y, %z",
     "2 | n, 3; 0 |"},
    {"%x: f32[b, n]",
     "%s: i64[*] = Shape(%x) const %i: i64[] = {-1} %g: i64[*] = Gather(%s, %i) const %a: i64[1] = {0} %u: "
     "i64[*] = Unsqueeze(%g, %a)",
     "%g, %u", "| n; 1 | n"},
    {"%x: f32[b, n, 5]",
     "%s: i64[*] = Shape(%x) const %f: i64[1] = {2} const %e: i64[1] = {-4} const %a: i64[1] = {0} const %t: "
     "i64[1] = {-1} "
     "%y: i64[*] = Slice(%s, %f, %e, %a, %t)",
     "%y", "3 | 5, n, b"},
    {"%x: f32[b, n, 5]", "%s: i64[*] = Shape(%x) const %l: i64[2] = {1, 2} %y, %z: i64[*] = Split(%s, %l)",
     "%y, %z", "1 | b; 2 | n, 5"},
    {"%x: f32[b, n]", "%s: i64[*] = Shape(%x) const %r: i64[1] = {2} %y: i64[*] = Tile(%s, %r)", "%y",
     "4 | b, n, b, n"},
    {"%n: i64[]", "const %a: i64[] = {0} const %d: i64[] = {2} %y: i64[*] = Range(%a, %n, %d)", "%y",
     "max(floordiv(n + 1, 2), 0)"},
    {"%x: f32[b]",
     "const %a: i64[] = {3} const %n: i64[] = {-4} const %d: i64[] = {-3} %y: i64[*] = Range(%a, %n, %d)",
     "%y", "3 | 3, 0, -3"},
    {"%x: f32[n]",
     "const %a: f32[] = {0} %s: i64[*] = Size(%x) %l: f32[*] = Cast(%s) {to = 1} const %d: f32[] = {1} %y: "
     "f32[*] = Range(%a, %l, %d)",
     "%y", "n"},
    {"%x: f32[b]", "const %s: i64[2] = {2, 1} %y: i64[*] = ConstantOfShape(%s) {value = i64[1] {7}}", "%y",
     "2, 1 | 7, 7"},
    {"%x: f32[b]", "const %v: i64[2] = {4, 5} const %s: i64[2] = {2, 1} %y: i64[*] = Expand(%v, %s)", "%y",
     "2, 2 | 4, 5, 4, 5"},
    /* Slice of symbolic dims */
    {"%x: f32[n]",
     "const %f: i64[1] = {1} const %e: i64[1] = {9223372036854775807} %y: f32[*] = Slice(%x, %f, %e)", "%y",
     "max(n - 1, 0)"},
    {"%x: f32[n]",
     "const %f: i64[1] = {-3} const %e: i64[1] = {9223372036854775807} %y: f32[*] = Slice(%x, %f, %e)", "%y",
     "min(n, 3)"},
    {"%x: f32[n]", "const %f: i64[1] = {0} const %e: i64[1] = {-1} %y: f32[*] = Slice(%x, %f, %e)", "%y",
     "max(n - 1, 0)"},
    {"%x: f32[n]",
     "const %f: i64[1] = {-1} const %e: i64[1] = {-9223372036854775808} const %a: i64[1] = {0} const %t: "
     "i64[1] = {-1} "
     "%y: f32[*] = Slice(%x, %f, %e, %a, %t)",
     "%y", "n"},
    {"%x: f32[n]",
     "const %f: i64[1] = {0} const %e: i64[1] = {9223372036854775807} const %a: i64[1] = {0} const %t: "
     "i64[1] = {9223372036854775807} %y: f32[*] = Slice(%x, %f, %e, %a, %t)",
     "%y", "floordiv(n + 4611686018427387903, 4611686018427387904)"},
    {"%x: f32[10]",
     "const %f: i64[1] = {8} const %e: i64[1] = {2} const %a: i64[1] = {0} const %t: i64[1] = {-3} %y: "
     "f32[*] = Slice(%x, %f, %e, %a, %t)",
     "%y", "2"},
    {"%x: f32[4]",
     "const %f: i64[1] = {0} const %e: i64[1] = {1} const %a: i64[1] = {1} %y: f32[*] = Slice(%x, %f, %e, "
     "%a)",
     "%y", "E110"},
    /* Others */
    {"%x: f32[b, 3*h]", "%p, %q, %r: f32[*] = Split(%x) {axis = 1, num_outputs = 3}", "%p, %q, %r",
     "b, h; b, h; b, h"},
    {"%x: f32[7]", "%p, %q, %r: f32[*] = Split(%x) {num_outputs = 3}", "%p, %q, %r", "3; 3; 1"},
    {"%x: f32[7]", "const %l: i64[2] = {3, 3} %p, %q: f32[*] = Split(%x, %l)", "%p, %q", "E111"},
    {"%x: f32[b, n], %y: f32[b, 4]", "%z: f32[*] = Concat(%x, %y) {axis = -1}", "%z", "b, n + 4"},
    {"%x: f32[b, 2], %y: f32[3, 4]", "%z: f32[*] = Concat(%x, %y) {axis = 1}", "%z", "3, 6"},
    {"%x: f32[1, 2], %y: f32[3, 4]", "%z: f32[*] = Concat(%x, %y) {axis = 1}", "%z", "E111"},
    {"%x: f32[b, 2, n]", "%z: f32[*] = Transpose(%x) {perm = [2, 0, 1]} %w: f32[*] = Transpose(%x)", "%z, %w",
     "n, b, 2; n, 2, b"},
    {"%x: f32[b, 2]", "%z: f32[*] = Transpose(%x) {perm = [0, 0]}", "%z", "E110"},
    {"%x: f32[b, 1]", "const %s: i64[3] = {5, 1, 4} %y: f32[*] = Expand(%x, %s)", "%y", "5, b, 4"},
    {"%x: f32[2, b, 1]", "const %s: i64[2] = {1, 4} %y: f32[*] = Expand(%x, %s)", "%y", "2, b, 4"},
    {"%x: f32[3, 1]", "const %s: i64[2] = {2, 1} %y: f32[*] = Expand(%x, %s)", "%y", "E111"},
    {"%x: f32[b, n]", "const %p: i64[2] = {1, -2} const %a: i64[1] = {-1} %y: f32[*] = Pad(%x, %p, _, %a)",
     "%y", "b, n - 1"},
    {"%x: f32[b, 12, h, w]", "%y: f32[*] = DepthToSpace(%x) {blocksize = 2}", "%y", "b, 3, 2*h, 2*w"},
    {"%x: f32[b, c, 4, 6]", "%y: f32[*] = SpaceToDepth(%x) {blocksize = 2}", "%y", "b, 4*c, 2, 3"},
    {"%x: f32[b, n, 4], %i: i64[2, m]", "%y: f32[*] = Gather(%x, %i) {axis = 1}", "%y", "b, 2, m, 4"},
    {"%x: f32[b, n, 4], %i: i64[b, 5, 1]", "%y: f32[*] = GatherND(%x, %i) {batch_dims = 1}", "%y", "b, 5, 4"},
    {"%x: f32[b, n, 4], %i: i64[5, 4]", "%y: f32[*] = GatherND(%x, %i)", "%y", "E111"},
    {"%x: f32[b, n]", "const %k: i64[1] = {1} %y, %z: f32[*] = TopK(%x, %k)", "%y, %z", "b, 1; b, 1"},
    {"%x: f32[b, 3, h, w]", "const %s: f32[4] = {1, 1, 2, 0.5} %y: f32[*] = Resize(%x, _, %s)", "%y",
     "b, 3, 2*h, floordiv(w, 2)"},
    {"%x: f32[1, 3, 10, 10]", "const %s: f32[2] = {0.6, 1.25} %y: f32[*] = Resize(%x, _, %s) {axes = [2, 3]}",
     "%y", "1, 3, 6, 12"},
    {"%x: f32[b, 3, h, w]", "%s: i64[*] = Shape(%x) %y: f32[*] = Resize(%x, _, _, %s)", "%y", "b, 3, h, w"},
    {"%x: f32[1, 1, 4, 6]",
     "const %s: i64[2] = {2, 2} %y: f32[*] = Resize(%x, _, _, %s) {axes = [2, 3], keep_aspect_ratio_policy = "
     "\"not_smaller\"}",
     "%y", "1, 1, 2, 3"},
    {"%x: f32[b, 2, 3, 3], %i: i64[b, 2, 3, 3]",
     "%y: f32[*] = MaxUnpool(%x, %i) {kernel_shape = [2, 2], strides = [2, 2]}", "%y", "b, 2, 6, 6"},
    {"%x: f32[b, 12, 4]",
     "const %s: i64[2] = {3, 4} const %k: i64[2] = {2, 3} %y: f32[*] = Col2Im(%x, %s, %k)", "%y",
     "b, 2, 3, 4"},
};

static void add_result(tm_text *text, const tm_value *value) {
    infer_add_dims(value, text);
    if (value->elements == NULL)
        return;
    tm_text_add(text, value->rank == 0 ? "|" : " |");
    for (int64_t i = 0; i < value->element_count; i++) {
        tm_text_add(text, "%s", i == 0 ? " " : ", ");
        tm_dim_print(value->elements[i], text);
    }
}

static void describe(tm_model *model, tm_text *text) {
    for (size_t i = 0; i < model->main->outputs.count; i++) {
        tm_text_add(text, "%s", i == 0 ? "" : "; ");
        add_result(text, model->main->outputs.items[i]);
    }
}

static int differs(const example *e) {
    return infer_differs(e->want, describe, "main(%s) {\n%s\nreturn %s\n}\n", e->inputs, e->body, e->outputs);
}

static void dims_and_elements_are_as_written(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
        wrong += differs(&examples[i]);
    assert_int_equal(wrong, 0);
}

/* The rank is known, the axes are data: dims select among the input's, and evaluate to the right ones. */
static int64_t dim_value(tm_model *model, tm_dim dim, int64_t axis_value) {
    int64_t symbols[64] = {0}, value = -1;
    for (size_t i = 0; i < tm_dims_symbol_count(model->dims); i++)
        symbols[i] = axis_value;
    assert_true(tm_dim_evaluate(dim, symbols, &value));
    return value;
}

static void axes_may_be_data(void **state) {
    (void)state;
    static const char *const source = "main(%x: f32[2, 1, 5], %a: i64[1]) {\n"
                                      "%y: f32[*] = Squeeze(%x, %a)\n%z: f32[*] = Unsqueeze(%x, %a)\n"
                                      "const %one: i64[1] = {1} const %four: i64[1] = {4}\n"
                                      "%w: f32[*] = Slice(%x, %one, %four, %a)\nreturn %y, %z, %w\n}\n";
    tm_arena arena;
    tm_diagnostics diagnostics = {0};
    tm_model *model = NULL;
    tm_arena_init(&arena);
    tm_diagnostics_init(&diagnostics, &arena);
    assert_int_equal(tm_parse_model(&arena, &diagnostics, "axes", source, strlen(source), &model), TM_OK);
    assert_int_equal(tm_infer(model), TM_OK);
    static const int64_t want[][10] = {
        /* axis, Squeeze, Unsqueeze, Slice 1:4 */
        {1, 2, 5, 2, 1, 1, 5, 2, 0, 5},
        {-2, 2, 5, 2, 1, 1, 5, 2, 0, 5},
        {2, 2, 1, 2, 1, 1, 5, 2, 1, 3},
        {0, 1, 5, 1, 2, 1, 5, 1, 1, 5},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        int at = 1;
        for (size_t k = 0; k < 3; k++)
            for (int d = 0; d < model->main->outputs.items[k]->rank; d++, at++)
                assert_int_equal(dim_value(model, model->main->outputs.items[k]->dims[d], want[i][0]),
                                 want[i][at]);
    }
    tm_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dims_and_elements_are_as_written),
        cmocka_unit_test(axes_may_be_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
