/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the inference of values that are no tensors: small models as text, and what the output %y is,
 * written "type | elements", or the code of the failure.
 */
#include "ir/text_internal.h"
#include "tests/unit/ops/infer_test.h"

typedef struct example {
    const char *inputs, *body, *want;
} example;

#define NONE "%n = Optional() {dtype = 1} "

static const example examples[] = {
    /* Optional */
    {"%x: f32[b, 4]", "%y = Optional(%x)", "optional f32[b, 4]"},
    {"%x: sequence f32[b, 4]", "%y = Optional(%x)", "optional sequence f32[b, 4]"},
    {"%x: map(i64) f32[]", "%y = Optional(%x)", "optional map(i64) f32[]"},
    {"", "%y = Optional() {dtype = 7}", "optional i64[*]"},
    {"", "%y = Optional() {dtype = 7, item = 2, rank = 0}", "optional sequence i64[]"},
    {"", "%y = Optional()", "E110"},
    {"", "%y = Optional() {dtype = 99}", "E110"},
    {"", "%y = Optional() {dtype = 1, item = 3}", "E110"},
    {"", "%y = Optional() {dtype = 1, rank = 17}", "E110"},
    {"%x: f32[2]", "%y = Optional(%x) {dtype = 1}", "optional f32[2]"},
    {"%x: f32[2]", "%y = Optional(%x) {dtype = 7}", "E112"},
    {"%x: optional f32[2]", "%y = Optional(%x)", "E112"},
    {"%x: sequence map(i64) f32[]", "%y = Optional(%x)", "E112"},
    /* OptionalHasElement */
    {"%x: optional f32[b]", "%y = OptionalHasElement(%x)", "bool[]"},
    {"%x: f32[b]", "%y = OptionalHasElement(%x)", "bool[] | 1"},
    {"%x: sequence f32[b]", "%y = OptionalHasElement(%x)", "bool[] | 1"},
    {"", "%y = OptionalHasElement()", "bool[] | 0"},
    {"", "%y = OptionalHasElement(_)", "bool[] | 0"},
    {"", NONE "%y = OptionalHasElement(%n)", "bool[] | 0"},
    {"%x: f32[b]", "%o = Optional(%x) %y = OptionalHasElement(%o)", "bool[] | 1"},
    /* OptionalGetElement */
    {"%x: optional f32[3, 4]", "%y = OptionalGetElement(%x)", "f32[3, 4]"},
    {"%x: optional f32[*]", "%y = OptionalGetElement(%x)", "E203"},
    {"%x: optional sequence f32[*]", "%y = OptionalGetElement(%x)", "sequence f32[*]"},
    {"%x: optional map(string) f64[]", "%y = OptionalGetElement(%x)", "map(string) f64[]"},
    {"%x: f32[b, 4]", "%y = OptionalGetElement(%x)", "f32[b, 4]"},
    {"%x: f32[b, 4]", "%s = Shape(%x) %o = Optional(%s) %y = OptionalGetElement(%o)", "i64[2] | b, 4"},
    {"", "%y = OptionalGetElement(_)", "E109"},
    /* Sequences of maps */
    {"%x: sequence map(i64) f32[], %i: i64[]", "%y = SequenceAt(%x, %i)", "map(i64) f32[]"},
    {"%x: sequence map(i64) f32[]", "%y = SequenceErase(%x)", "sequence map(i64) f32[]"},
    {"%x: sequence map(i64) f32[]", "%y = ConcatFromSequence(%x) {axis = 0}", "E112"},
    {"%x: sequence map(i64) f32[], %z: f32[]", "%y = SequenceInsert(%x, %z)", "E112"},
    {"%x: map(i64) f32[]", "%y = SequenceLength(%x)", "E112"},
    {"%x: map(i64) f32[]", "%y = Neg(%x)", "E112"},
    /* Maps */
    {"%x: f32[b, 2]", "%y = ai.onnx.ml.ZipMap(%x) {classlabels_int64s = [4, 2]}", "sequence map(i64) f32[]"},
    {"%x: f32[2]", "%y = ai.onnx.ml.ZipMap(%x) {classlabels_strings = [\"a\", \"b\"]}",
     "sequence map(string) f32[]"},
    {"%x: f32[b, 3]", "%y = ai.onnx.ml.ZipMap(%x) {classlabels_int64s = [4, 2]}", "E111"},
    {"%x: f32[b, 2]", "%y = ai.onnx.ml.ZipMap(%x) {classlabels_int64s = [4, 4]}", "E110"},
    {"%x: f64[b, 2]", "%y = ai.onnx.ml.ZipMap(%x) {classlabels_int64s = [4, 2]}", "E112"},
    {"%x: f32[1, b, 2]", "%y = ai.onnx.ml.ZipMap(%x) {classlabels_int64s = [4, 2]}", "E111"},
    {"%x: map(string) i64[]", "%y = ai.onnx.ml.DictVectorizer(%x) {string_vocabulary = [\"a\", \"b\"]}",
     "i64[1, 2]"},
    {"%x: map(i64) i64[]", "%y = ai.onnx.ml.DictVectorizer(%x) {int64_vocabulary = [1]}", "E112"},
    {"%x: map(i64) f32[]",
     "%y = ai.onnx.ml.CastMap(%x) {cast_to = \"TO_STRING\", map_form = \"SPARSE\", max_map = 3}",
     "string[1, 3]"},
    {"%x: map(i64) f32[]", "%y = ai.onnx.ml.CastMap(%x) {map_form = \"SPARSE\", max_map = 0}", "E110"},
    {"%x: map(i32) f32[]", "%y = ai.onnx.ml.CastMap(%x)", "E112"},
    {"%x: string[b, 2]", "%y = ai.onnx.ml.CategoryMapper(%x) {cats_int64s = [1], cats_strings = [\"a\"]}",
     "i64[b, 2]"},
    {"%x: i64[b]", "%y = ai.onnx.ml.CategoryMapper(%x) {cats_int64s = [1], cats_strings = [\"a\"]}",
     "string[b]"},
    /* Control flow */
    {"%c: bool[], %x: f32[b, 4]",
     "%y = If(%c) {else_branch = e() { " NONE
     "return %n }, then_branch = t() { %o = Optional(%x) return %o }}",
     "optional f32[b, 4]"},
    {"%c: bool[], %x: f32[b, 4]",
     "%y = If(%c) {else_branch = e() { return %x }, then_branch = t() { %o = Optional(%x) return %o }}",
     "E112"},
    {"%n: i64[], %x: f32[b], %o: optional f32[b]",
     "%y = Loop(%n, _, %o) {body = l(%i, %c, %s) { return %c, %x }}", "f32[b]"},
    {"%n: i64[], %x: f32[b], %o: optional i64[b]",
     "%y = Loop(%n, _, %o) {body = l(%i, %c, %s) { return %c, %x }}", "E112"},
};

static void describe(tm_model *model, tm_text *text) {
    tm_print_type(model->main->outputs.items[0], text);
    infer_add_elements(model->main->outputs.items[0], text);
}

static int differs(const example *e) {
    return infer_differs(e->want, describe, "main(%s) {\n%s\nreturn %%y\n}\n", e->inputs, e->body);
}

static void types_are_as_written(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
        wrong += differs(&examples[i]);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(types_are_as_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
