/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the inference of MoE and QMoE: operands that fit give the input's dims, others the code of the
 * failure.
 */
#include "tests/unit/ops/infer_test.h"

typedef struct example {
    const char *layers, *attributes, *want;
} example;

/* x: f32[b, s, 8], r: f32[b*s, 4] and, for QMoE, weights of 4 bits. */
static const example plain[] = {
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 6]", "%v, _, %w", "b, s, 8"},
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 6], %c: f32[4, 6]", "%v, %c, %w", "b, s, 8"},
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 6], %c: f32[4, 6]", "%v, %c, %w, _, %v", "b, s, 8"},
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 6], %c: f32[6]", "%v, %c, %w", "E111"},
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 5]", "%v, _, %w", "E111"},
    {"%v: f32[3, 6, 8], %w: f32[4, 8, 6]", "%v, _, %w", "E111"},
    {"%v: f16[4, 6, 8], %w: f32[4, 8, 6]", "%v, _, %w", "E112"},
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 6]", "%v, _, %w) {k = 0", "E110"},
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 6]", "%v, _, %w) {activation_type = \"tanh\"", "E110"},
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 6]", "%v, _, %w) {use_sparse_mixer = 1", "E202"},
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 6]", "%v, _, %w) {activation_type = \"swiglu\"", "E202"},
    {"%v: f32[4, 12, 8], %w: f32[4, 8, 6]", "%v, _, %w) {activation_type = \"swiglu\", swiglu_fusion = 1",
     "b, s, 8"},
    {"%v: f32[4, 6, 8], %w: f32[4, 8, 6]", "%v, _, %w) {activation_type = \"swiglu\", swiglu_fusion = 1",
     "E111"},
};

static const example quantized[] = {
    {"%v: u8[4, 6, 4], %w: u8[4, 8, 3], %c: f32[4, 6], %d: f32[4, 8]", "%v, %c, _, %w, %d", "b, s, 8"},
    {"%v: u8[4, 6, 4], %w: u8[4, 8, 3], %c: f32[4, 6, 2], %d: f32[4, 8, 2]",
     "%v, %c, _, %w, %d) {block_size = 4", "b, s, 8"},
    {"%v: u8[4, 6, 8], %w: u8[4, 8, 3], %c: f32[4, 6], %d: f32[4, 8]",
     "%v, %c, _, %w, %d) {fc1_expert_weight_bits = 8", "b, s, 8"},
    {"%v: u8[4, 6, 4], %w: u8[4, 8, 3], %c: f32[4, 6, 2], %d: f32[4, 8]", "%v, %c, _, %w, %d", "E111"},
    {"%v: u8[4, 6, 4], %w: u8[4, 8, 3], %c: f32[4, 6], %d: f32[4, 8]", "%v, _, _, %w, %d", "E109"},
    {"%v: u8[4, 6, 3], %w: u8[4, 8, 3], %c: f32[4, 6], %d: f32[4, 8]",
     "%v, %c, _, %w, %d) {expert_weight_bits = 3", "E202"},
    {"%v: u8[4, 6, 4], %w: u8[4, 8, 3], %c: f32[4, 6], %d: f32[4, 8]",
     "%v, %c, _, %w, %d) {quant_type = \"fp4\"", "E202"},
};

static void describe(tm_model *model, tm_text *text) {
    infer_add_dims(model->main->outputs.items[0], text);
}

static int differs(const char *op, const example *e) {
    const char *close = strchr(e->attributes, '{') != NULL ? "}" : ")";
    return infer_differs(e->want, describe,
                         "main(%%x: f32[b, s, 8], %%r: f32[b*s, 4], %s) {\n"
                         "%%y: f32[*] = com.microsoft.%s(%%x, %%r, %s%s\nreturn %%y\n}\n",
                         e->layers, op, e->attributes, close);
}

static void check(const char *op, const example *list, size_t count) {
    int wrong = 0;
    for (size_t i = 0; i < count; i++)
        wrong += differs(op, &list[i]);
    assert_int_equal(wrong, 0);
}

static void operands_of_moe(void **state) {
    (void)state;
    check("MoE", plain, sizeof plain / sizeof *plain);
}
static void operands_of_qmoe(void **state) {
    (void)state;
    check("QMoE", quantized, sizeof quantized / sizeof *quantized);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(operands_of_moe), cmocka_unit_test(operands_of_qmoe)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
