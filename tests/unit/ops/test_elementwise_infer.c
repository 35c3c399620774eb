/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the inference of elementwise ops: small models as text, and what the output's dims and known
 * elements are, written "dims | elements", or the code of the failure.
 */
#include "tests/unit/ops/infer_test.h"

typedef struct example {
    const char *inputs, *body, *want;
} example;

#define SHAPE "%s: i64[*] = Shape(%x) "

static const example examples[] = {
    /* Broadcasting */
    {"%x: f32[b, n, 4], %z: f32[n, 1]", "%y: f32[*] = Add(%x, %z)", "b, n, 4"},
    {"%x: f32[1, 3], %z: f32[2, 1, 1]", "%y: f32[*] = Mul(%x, %z)", "2, 1, 3"},
    {"%x: f32[2], %z: f32[3]", "%y: f32[*] = Add(%x, %z)", "E111"},
    {"%x: f32[2], %z: i64[2]", "%y: f32[*] = Add(%x, %z)", "E112"},
    {"%x: f32[2], %z: i64[2]", "%y: f32[*] = Pow(%x, %z)", "2"},
    {"%x: f32[2, 1], %z: f32[3], %w: f32[4, 1, 1]", "%y: f32[*] = Sum(%x, %z, %w)", "4, 2, 3"},
    {"%x: f32[b], %z: f32[b]", "%y: bool[*] = Less(%x, %z)", "b"},
    {"%x: bool[b, 1], %z: f32[n], %w: f32[]", "%y: f32[*] = Where(%x, %z, %w)", "b, n"},
    {"%x: f32[2]", "%y: bool[*] = And(%x, %x)", "E112"},
    {"%x: u8[2]", "%y: u8[*] = BitShift(%x, %x) {direction = \"UP\"}", "E110"},
    /* Arithmetic on known elements */
    {"%x: f32[b, n]", SHAPE "const %c: i64[2] = {2, 3} %y: i64[*] = Mul(%s, %c)", "2 | 2*b, 3*n"},
    {"%x: f32[b, n]", SHAPE "const %c: i64[] = {2} %y: i64[*] = Div(%s, %c)",
     "2 | floordiv(b, 2), floordiv(n, 2)"},
    {"%x: f32[b, 7]", SHAPE "const %c: i64[1] = {3} %y: i64[*] = Mod(%s, %c)", "2 | floormod(b, 3), 1"},
    {"%x: f32[b, 7]", SHAPE "const %c: i64[1] = {0} %y: i64[*] = Div(%s, %c)", "2"},
    {"%x: f32[b, 7]", SHAPE "%y: i64[*] = Neg(%s)", "2 | -b, -7"},
    {"%x: f32[b, 7]", SHAPE "%n: i64[*] = Neg(%s) %y: i64[*] = Abs(%n)", "2 | b, 7"},
    {"%x: f32[b, 7]", SHAPE "const %c: i64[] = {3} const %d: i64[] = {5} %y: i64[*] = Clip(%s, %c, %d)",
     "2 | min(max(b, 3), 5), 5"},
    {"%x: f32[b, 7]", SHAPE "%y: i64[*] = Max(%s, %s, %s)", "2 | b, 7"},
    /* Comparisons and choices */
    {"%x: f32[b, 7]",
     SHAPE "const %m: i64[2] = {-1, -1} const %o: i64[2] = {1, 1} %c: bool[*] = Equal(%s, %m) "
           "%y: i64[*] = Where(%c, %o, %s)",
     "2 | b, 7"},
    {"%x: f32[3, 7]", SHAPE "const %c: i64[] = {5} %y: bool[*] = GreaterOrEqual(%s, %c)", "2 | 0, 1"},
    {"%x: f32[3, 7]", SHAPE "const %c: i64[] = {3} %g: bool[*] = Greater(%s, %c) %y: bool[*] = Not(%g)",
     "2 | 1, 0"},
    {"%x: f32[3, 7]",
     SHAPE "const %c: i64[] = {3} %g: bool[*] = LessOrEqual(%s, %c) %h: bool[*] = Less(%s, %c) "
           "%y: bool[*] = Xor(%g, %h)",
     "2 | 1, 0"},
    /* Casts, and the look back through floats */
    {"%x: f32[b, 7]", SHAPE "%y: i32[*] = Cast(%s) {to = 6}", "2 | b, 7"},
    {"%x: f32[b, 0]", SHAPE "%y: bool[*] = Cast(%s) {to = 9}", "2 | select(equal(b, 0), 0, 1), 0"},
    {"%x: f32[b, 300]", SHAPE "%y: u8[*] = Cast(%s) {to = 2}", "2"},
    {"%x: f32[b, 7]",
     SHAPE "const %c: f32[] = {0.5} %f: f32[*] = Cast(%s) {to = 1} %h: f32[*] = Mul(%f, %c) "
           "%d: f32[*] = Floor(%h) %y: i64[*] = Cast(%d) {to = 7}",
     "2 | floordiv(b, 2), 3"},
    {"%x: f32[b, 7]",
     SHAPE "const %c: f32[] = {2.0} %f: f32[*] = Cast(%s) {to = 1} %h: f32[*] = Div(%f, %c) "
           "%d: f32[*] = Ceil(%h) %y: i64[*] = Cast(%d) {to = 7}",
     "2 | floordiv(b + 1, 2), 4"},
    {"%x: f32[b, 7]",
     SHAPE "const %c: f32[] = {2.0} %f: f32[*] = Cast(%s) {to = 1} %h: f32[*] = Mul(%c, %f) "
           "%y: i64[*] = Cast(%h) {to = 7}",
     "2 | 2*b, 14"},
    {"%x: f32[b, 7]",
     SHAPE "%f: f32[*] = Cast(%s) {to = 1} %q: f32[*] = Sqrt(%f) %y: i64[*] = Cast(%q) {to = 7}", "2"},
    {"%x: f32[b, 7]", SHAPE "%y: i64[*] = Identity(%s)", "2 | b, 7"},
    {"%x: f32[2]", "%y: f64[*] = BitCast(%x) {to = 11}", "E112"},
    {"%x: f32[b]", "%y: i32[*] = BitCast(%x) {to = 6}", "b"},
    /* Quantisation */
    {"%x: f32[b, 8], %c: f32[8]", "%y: u8[*] = QuantizeLinear(%x, %c)", "b, 8"},
    {"%x: f32[b, 8], %c: f32[7]", "%y: u8[*] = QuantizeLinear(%x, %c)", "E111"},
    {"%x: i8[b, 10], %c: f32[b, 3]", "%y: f32[*] = DequantizeLinear(%x, %c) {block_size = 4}", "b, 10"},
    {"%x: i8[b, 10], %c: f32[b, 2]", "%y: f32[*] = DequantizeLinear(%x, %c) {block_size = 4}", "E111"},
    /* Operators of ONNX Runtime on matrices, images and text */
    {"%x: f64[b, 3, n]", "%y: f64[*] = com.microsoft.Inverse(%x)", "b, 3, n"},
    {"%x: f32[2, 3]", "%y: f32[*] = com.microsoft.Inverse(%x)", "E111"},
    {"%x: f32[3]", "%y: f32[*] = com.microsoft.Inverse(%x)", "E111"},
    {"%x: f16[n, c, 5, 5], %c: f16[m, 4], %i: i32[m]",
     "const %s: i32[2] = {7, 8} %y: f16[*] = com.microsoft.CropAndResize(%x, %c, %i, %s)", "m, c, 7, 8"},
    {"%x: f16[n, c, 5, 5], %c: f32[m, 4], %i: i32[m], %s: i32[2]",
     "%y: f16[*] = com.microsoft.CropAndResize(%x, %c, %i, %s)", "E112"},
    {"%x: f32[n, c, 5, 5], %c: f32[m, 5], %i: i32[m], %s: i32[2]",
     "%y: f32[*] = com.microsoft.CropAndResize(%x, %c, %i, %s)", "E111"},
    {"%x: f32[n, c, 5, 5], %c: f32[m, 4], %i: i32[m], %s: i32[2]",
     "%y: f32[*] = com.microsoft.CropAndResize(%x, %c, %i, %s) {mode = \"cubic\"}", "E110"},
    {"%x: string[b, 2]", "%y: u32[*] = com.microsoft.MurmurHash3(%x)", "b, 2"},
    {"%x: u8[b, 2]", "%y: u32[*] = com.microsoft.MurmurHash3(%x)", "E112"},
    {"%x: i64[b, n], %c: f32[b, 9]", "%y: f32[*] = com.microsoft.NGramRepeatBlock(%x, %c) {ngram_size = 2}",
     "b, 9"},
    {"%x: i64[2, n], %c: f32[3, 9]", "%y: f32[*] = com.microsoft.NGramRepeatBlock(%x, %c) {ngram_size = 2}",
     "E111"},
    {"%x: i64[b, n], %c: f32[b, 9]", "%y: f32[*] = com.microsoft.NGramRepeatBlock(%x, %c) {ngram_size = 0}",
     "E110"},
    /* Products by packed weights */
    {"%x: f32[b, t, 40], %q: u4[6, 40], %c: f32[6, 3], %z: u4[6, 3]",
     "%y: f32[*] = com.microsoft.MatMulNBits(%x, %q, %c, %z) {block_size = 16}", "b, t, 6"},
    {"%x: f32[40], %q: i8[6, 40], %c: f16[6, 1]",
     "%y: f32[*] = com.microsoft.MatMulNBits(%x, %q, %c) {block_size = 64}", "6"},
    {"%x: f32[b, 40], %q: u4[6, 40], %c: f32[6, 2]",
     "%y: f32[*] = com.microsoft.MatMulNBits(%x, %q, %c) {block_size = 16}", "E111"},
    {"%x: f32[b, 41], %q: u4[6, 41], %c: f32[6, 3]",
     "%y: f32[*] = com.microsoft.MatMulNBits(%x, %q, %c) {block_size = 16}", "E202"},
    {"%x: f32[b, 40], %q: u4[6, 40], %c: f32[6, 3], %z: i4[6, 3]",
     "%y: f32[*] = com.microsoft.MatMulNBits(%x, %q, %c, %z) {block_size = 16}", "E112"},
    {"%x: f32[b, 40], %q: u4[6, 40], %c: f32[6, 3]", "%y: f32[*] = com.microsoft.MatMulNBits(%x, %q, %c)",
     "E110"},
};

static void describe(tm_model *model, tm_text *text) {
    infer_add_dims(model->main->outputs.items[0], text);
    infer_add_elements(model->main->outputs.items[0], text);
}

static int differs(const example *e) {
    return infer_differs(e->want, describe, "main(%s) {\n%s\nreturn %%y\n}\n", e->inputs, e->body);
}

static void dims_and_elements_are_as_written(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
        wrong += differs(&examples[i]);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(dims_and_elements_are_as_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
