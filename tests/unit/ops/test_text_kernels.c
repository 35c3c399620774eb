/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of RegexFullMatch with programs that no compiler made, of strings that are not UTF-8, and of what
 * inference refuses. tests/differential/test_text.py compares answers.
 */
#include "frontend/regex.h"
#include "tests/unit/ops/kernel_test.h"

static const tm_constant *texts(kernel_test *t, int64_t count, const char *const *items) {
    tamis_string *strings = TM_NEW_ARRAY(&t->arena, tamis_string, count);
    for (int64_t i = 0; i < count; i++)
        strings[i] = (tamis_string){items[i], (int64_t)strlen(items[i])};
    return tm_constant_create(&t->arena, TAMIS_TYPE_STRING, 1, tm_arena_copy(&t->arena, &count, sizeof count),
                              strings);
}

static tm_node *match_node(kernel_test *t, const tm_constant *x, const int64_t *program, int64_t count) {
    tm_node *node = new_node(t, TM_OP_RegexFullMatch, 1, 1, &x);
    tm_node_set_string(node, "pattern", "?");
    tm_node_set_ints(node, "program", program, count);
    return node;
}

static const char *const pattern = "(?i)a(b|[c-e]{2,3}\\b)*|^$|.*z";

/* A number outside of the program is found, one inside of it only changes what matches: nothing is read
 * elsewhere. */
static void damaged_programs_do_no_harm(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    static const char *const subjects[] = {"", "abc", "acd", "az\xff\xc3", "\xe6\x97\xa5z"};
    const tm_constant *x = texts(&t, 5, subjects);
    const int64_t *program;
    int64_t count, refused = 0;
    assert_null(tm_regex_compile(&t.arena, pattern, strlen(pattern), &program, &count));
    for (int trial = 0; trial < 2000; trial++) {
        static const int64_t wild[] = {-1, 0, 1, 2, 3, 4, INT64_MAX, INT64_MIN, INT32_MAX};
        int64_t *damaged = tm_arena_copy(&t.arena, program, (size_t)count * sizeof *program);
        int64_t size = trial % 7 == 0 ? random_int(&t, 0, count) : count;
        for (int64_t i = random_int(&t, 1, 3); i > 0; i--)
            damaged[random_int(&t, 0, count - 1)] =
                trial % 2 ? wild[random_int(&t, 0, 8)] : random_int(&t, 0, count);
        const tm_constant *y = NULL;
        refused += run_node(&t, match_node(&t, x, damaged, size), &y) != TM_OK;
    }
    assert_in_range(refused, 100, 1999);
    kernel_test_deinit(&t);
}

static void no_program_is_refused(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 2);
    const tm_constant *x = texts(&t, 1, (const char *const[]){"a"}), *y = NULL;
    tm_node *node = new_node(&t, TM_OP_RegexFullMatch, 1, 1, &x);
    assert_int_equal(run_node(&t, node, &y), TM_E_ATTRIBUTE);
    kernel_test_deinit(&t);
}

static bool same_text(const tm_constant *c, int64_t i, const char *want) {
    tamis_string text = ((const tamis_string *)c->data)[i];
    return text.size == (int64_t)strlen(want) && memcmp(text.data, want, strlen(want)) == 0;
}

/* Bytes that are no character equal nothing and stay as they are. */
static void broken_characters_pass(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 3);
    static const char *const words[] = {"a\xc3", "\x80\xc3\xa4",
                                        "\xed\xa0\x80"
                                        "b",
                                        "\xf5\x80\x80\x80"
                                        "c",
                                        "\xc1\x81"};
    const tm_constant *x = texts(&t, 5, words), *y = NULL;
    tm_node *node = new_node(&t, TM_OP_StringNormalizer, 1, 1, &x);
    tm_node_set_string(node, "case_change_action", "UPPER");
    assert_int_equal(run_node(&t, node, &y), TM_OK);
    static const char *const wanted[] = {"A\xc3", "\x80\xc3\x84",
                                         "\xed\xa0\x80"
                                         "B",
                                         "\xf5\x80\x80\x80"
                                         "C",
                                         "\xc1\x81"};
    for (int i = 0; i < 5; i++)
        assert_true(same_text(y, i, wanted[i]));
    kernel_test_deinit(&t);
}

static tm_code infer(kernel_test *t, tm_op op, tamis_type type, int rank, const int64_t *dims,
                     const char *attribute, const char *value) {
    const tm_constant *x = random_tensor(t, type, rank, dims);
    if (type == TAMIS_TYPE_STRING)
        memset((void *)(uintptr_t)x->data, 0, (size_t)tm_constant_count(x) * sizeof(tamis_string));
    tm_node *node = new_node(t, op, 1, 1, &x);
    if (attribute != NULL)
        tm_node_set_string(node, attribute, value);
    return tm_infer_node(t->model, node);
}

static void inference_refuses(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 4);
    static const int64_t dims[] = {1, 3}, two[] = {2, 3}, three[] = {1, 1, 3};
    const tm_op normalizer = TM_OP_StringNormalizer;
    assert_int_equal(infer(&t, normalizer, TAMIS_TYPE_STRING, 2, dims, NULL, NULL), TM_OK);
    assert_int_equal(infer(&t, normalizer, TAMIS_TYPE_STRING, 2, two, NULL, NULL), TM_E_SHAPE);
    assert_int_equal(infer(&t, normalizer, TAMIS_TYPE_STRING, 3, three, NULL, NULL), TM_E_SHAPE);
    assert_int_equal(infer(&t, normalizer, TAMIS_TYPE_FLOAT, 2, dims, NULL, NULL), TM_E_TYPE);
    assert_int_equal(infer(&t, normalizer, TAMIS_TYPE_STRING, 2, dims, "case_change_action", "TITLE"),
                     TM_E_ATTRIBUTE);
    assert_int_equal(infer(&t, TM_OP_StringSplit, TAMIS_TYPE_INT64, 2, dims, NULL, NULL), TM_E_TYPE);
    assert_int_equal(infer(&t, TM_OP_ImageDecoder, TAMIS_TYPE_UINT8, 1, dims, "pixel_format", "CMYK"),
                     TM_E_ATTRIBUTE);
    assert_int_equal(infer(&t, TM_OP_ImageDecoder, TAMIS_TYPE_UINT8, 2, dims, NULL, NULL), TM_E_SHAPE);
    assert_int_equal(infer(&t, TM_OP_ImageDecoder, TAMIS_TYPE_INT8, 1, dims, NULL, NULL), TM_E_TYPE);
    kernel_test_deinit(&t);
}

/* ---- ImageDecoder and its host ---- */

/* "Decodes" a file of one byte: 0 is an image of 2 by 3, whose pixels tell the pixel format; others are the
 * code. */
static int32_t decode_byte(void *user, const void *file, int64_t bytes, tamis_pixels pixels,
                           void *(*give)(void *context, int64_t height, int64_t width), void *context) {
    *(int64_t *)user += bytes;
    const uint8_t code = *(const uint8_t *)file;
    if (code != 0)
        return code;
    void *to = give(context, 2, 3);
    if (to == NULL)
        return TM_RUN_MEMORY;
    memset(to, 7 + (int)pixels, pixels == TAMIS_PIXELS_GRAY ? 6 : 18);
    return 0;
}

static tm_code decode(kernel_test *t, uint8_t byte, const char *format, const tm_constant **out) {
    static const int64_t one = 1;
    const tm_constant *x =
        tm_constant_create(&t->arena, TAMIS_TYPE_UINT8, 1, &one, tm_arena_copy(&t->arena, &byte, 1));
    tm_node *node = new_node(t, TM_OP_ImageDecoder, 1, 1, &x);
    tm_node_set_string(node, "pixel_format", format);
    return run_node(t, node, out);
}

static void images_come_from_the_host(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 5);
    int64_t read = 0;
    const tamis_host host = {.user = &read, .decode_image = decode_byte};
    const tm_constant *y = NULL;
    static const char *const formats[] = {"RGB", "BGR", "Grayscale"};
    assert_int_equal(decode(&t, 0, "RGB", &y), TM_E_EVALUATE); /* without a host */
    t.model->host = &host;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(decode(&t, 0, formats[i], &y), TM_OK);
        const int64_t channels = i == 2 ? 1 : 3;
        assert_int_equal(y->dims[0], 2);
        assert_int_equal(y->dims[1], 3);
        assert_int_equal(y->dims[2], channels);
        for (int64_t k = 0; k < 6 * channels; k++)
            assert_int_equal(((const uint8_t *)y->data)[k], 7 + i);
        assert_int_equal(decode(&t, TM_RUN_VALUE, formats[i], &y), TM_OK); /* no image: an empty one */
        assert_int_equal(y->dims[0], 0);
        assert_int_equal(y->dims[1], 0);
        assert_int_equal(y->dims[2], channels);
    }
    assert_int_equal(decode(&t, TM_RUN_IMAGE, "RGB", &y), TM_E_EVALUATE);
    assert_int_equal(decode(&t, TM_RUN_MEMORY, "RGB", &y), TM_E_EVALUATE);
    assert_int_equal(read, 8);
    kernel_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_programs_do_no_harm), cmocka_unit_test(no_program_is_refused),
        cmocka_unit_test(broken_characters_pass),      cmocka_unit_test(inference_refuses),
        cmocka_unit_test(images_come_from_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
