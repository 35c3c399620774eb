/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes, axes and starts whose number only the run tells: models as text, what they are run with, and the
 * dims that must come out; "E203" where inference must refuse, "E..." where the run must.
 */
#include "ir/evaluate.h"
#include "ir/infer.h"
#include "ir/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LISTS ", %s: i64[k], %t: i64[m]) { "

typedef struct example {
    const char *text;
    const char *x, *s, *t; /* dims of %x, elements of the lists */
    const char *want;
} example;

static const example examples[] = {
    /* The declared rank decides, and a wrong one stops the run */
    {"main(%x: f32[a, b]" LISTS "%y: f32[1, 1, 1] = Reshape(%x, %s) return %y }", "2 6", "2 -1 3", "",
     "2 2 3"},
    {"main(%x: f32[a, b]" LISTS "%y: f32[1, 1, 1] = Reshape(%x, %s) return %y }", "2 6", "3 4", "", "E"},
    {"main(%x: f32[a, b]" LISTS "%y: f32[*] = Reshape(%x, %s) return %y }", "2 6", "3 4", "", "E203"},
    {"main(%x: f32[a, b]" LISTS "%z: f32[*] = Reshape(%x, %s) %u = Neg(%z) %y: f32[1] = Sqrt(%u) return %y }",
     "2 3", "6", "", "6"},
    {"main(%x: f32[a, b]" LISTS "%z: f32[*] = Reshape(%x, %s) %y: f32[1, 1] = Add(%z, %x) return %y }", "2 3",
     "2 3", "", "E203"}, /* %z may have any rank up to 2 */
    {"main(%x: f32[a, b]" LISTS "%y: f32[1, 1, 1] = ConstantOfShape(%s) return %y }", "1 1", "3 1 2", "",
     "3 1 2"},
    {"main(%x: f32[a, b]" LISTS "%y: f32[1, 1, 1] = Expand(%x, %s) return %y }", "2 1", "4 1 3", "", "4 2 3"},
    {"main(%x: f32[a, b]" LISTS "%y: f32[1, 1] = Expand(%x, %s) return %y }", "2 1", "3", "", "2 3"},
    {"main(%x: f32[a, b]" LISTS "%y: f32[1, 1] = Expand(%x, %s) return %y }", "2 1", "", "", "2 1"},
    {"main(%x: f32[a, b]" LISTS "%y: f32[1, 1] = Expand(%x, %s) return %y }", "2 1", "1 2 3", "", "E"},
    {"main(%x: f32[a, b]" LISTS "%y: f32[1, 1, 1, 1] = Unsqueeze(%x, %s) return %y }", "2 3", "-1 0", "",
     "1 2 3 1"},
    {"main(%x: f32[a, b]" LISTS "%y: f32[1, 1, 1, 1] = Unsqueeze(%x, %s) return %y }", "2 3", "0", "", "E"},
    {"main(%x: f32[a, b, c]" LISTS "%y: f32[1] = Squeeze(%x, %s) return %y }", "1 3 1", "-1 0", "", "3"},
    {"main(%x: f32[a, b, c]" LISTS "%y: f32[1] = Squeeze(%x, %s) return %y }", "1 3 1", "0", "", "E"},
    {"main(%x: f32[a, b, c]" LISTS "%y: f32[1] = Squeeze(%x, %s) return %y }", "1 3 1", "0 0", "", "E"},
    {"main(%x: f32[a, b, c]" LISTS "%z: f32[*] = Squeeze(%x) %y: f32[1, 1] = Neg(%z) return %y }", "2 1 3",
     "", "", "2 3"},
    {"main(%x: f32[a, b, c]" LISTS "%z: f32[*] = Squeeze(%x) %y: f32[1, 1] = Neg(%z) return %y }", "2 3 1",
     "", "", "2 3"},
    {"main(%x: f32[a, b, c]" LISTS "%z: f32[*] = Squeeze(%x) %y: f32[1, 1] = Neg(%z) return %y }", "1 3 1",
     "", "", "E"},
    {"main(%x: f32[a, b, c]" LISTS "%y: f32[*] = Squeeze(%x) return %y }", "1 3 1", "", "", "E203"},
    {"main(%x: f32[a, b, c], %s: i64[n, d], %t: i64[m]) { %y: f32[1, 1] = GatherND(%x, %s) return %y }",
     "2 3 4", "0 1 1 2", "", "2 4"},
    /* The number decides no rank */
    {"main(%x: f32[a, b]" LISTS "%y = Tile(%x, %s) return %y }", "2 3", "2 1", "", "4 3"},
    {"main(%x: f32[a, b]" LISTS "%y = Tile(%x, %s) return %y }", "2 3", "2", "", "E"},
    {"main(%x: f32[a, b]" LISTS "%y = ReduceSum(%x, %s) return %y }", "2 3", "-1", "", "2 1"},
    {"main(%x: f32[a, b]" LISTS "%y = ReduceSum(%x, %s) return %y }", "2 3", "", "", "1 1"},
    {"main(%x: f32[a, b]" LISTS "%y = ReduceSum(%x, %s) {noop_with_empty_axes = 1} return %y }", "2 3", "",
     "", "2 3"},
    {"main(%x: f32[a, b]" LISTS "%y = ReduceSum(%x, %s) return %y }", "2 3", "0 1 0", "", "E"},
    {"main(%x: f32[a, b, c]" LISTS "%y: f32[1] = ReduceSum(%x, %s) {keepdims = 0} return %y }", "2 3 4",
     "0 -1", "", "3"},
    {"main(%x: f32[a, b, c]" LISTS "%y: f32[] = ReduceSum(%x, %s) {keepdims = 0} return %y }", "2 3 4", "",
     "", ""},
    {"main(%x: f32[a, b, c]" LISTS "%y: f32[1] = ReduceSum(%x, %s) {keepdims = 0} return %y }", "2 3 4",
     "1 1", "", "E"},
    {"main(%x: f32[a, b]" LISTS "%y = Slice(%x, %s, %t) return %y }", "4 5", "1", "3", "2 5"},
    {"main(%x: f32[a, b]" LISTS "%y = Slice(%x, %s, %t) return %y }", "4 5", "1 0", "3", "E"},
    {"main(%x: f32[a, b]" LISTS "const %c: i64[1] = {1} %y = Slice(%x, %s, %t, %c) return %y }", "4 5", "-2",
     "9", "4 2"},
    {"main(%x: f32[a, b]" LISTS "%y = Slice(%x, %s, %s, %t) return %y }", "4 5", "2 3", "1 0", "0 0"},
    {"main(%x: f32[a, b]" LISTS "%y = Pad(%x, %s) return %y }", "2 3", "1 0 0 2", "", "3 5"},
    {"main(%x: f32[a, b]" LISTS "%y = Pad(%x, %s) return %y }", "2 3", "1 0", "", "E"},
    {"main(%x: f32[a, b]" LISTS "%y = Pad(%x, %s, _, %t) return %y }", "2 3", "1 4", "-1", "2 8"},
    {"main(%x: f32[a, b]" LISTS "%y = Pad(%x, %s, _, %t) return %y }", "2 3", "1 2 3 4", "1 0", "8 7"},
    {"main(%x: f32[a, b]" LISTS "%y = Pad(%x, %s, _, %t) return %y }", "2 3", "1 2 3 4", "1", "E"},
    {"main(%x: f32[a, b]" LISTS "%y = CenterCropPad(%x, %s) return %y }", "2 3", "4 1", "", "4 1"},
};

static int read_numbers(const char *text, int64_t *out) {
    int count = 0;
    for (char *end = NULL; *text != 0; text = end)
        out[count++] = strtoll(text, &end, 10);
    return count;
}

static void print_dims(const tamis_tensor *tensor, tm_text *out) {
    for (int i = 0; i < tensor->rank; i++)
        tm_text_add(out, "%s%lld", i > 0 ? " " : "", (long long)tensor->dims[i]);
}

/* A list of four elements for a matrix is one of two rows. */
static tamis_tensor list_tensor(const tm_value *value, const char *text, int64_t *data, int64_t *dims) {
    int count = read_numbers(text, data);
    dims[0] = value->rank == 2 ? 2 : count;
    dims[1] = count / 2;
    return (tamis_tensor){
        .data = data, .dims = dims, .rank = value->rank, .type = TAMIS_TYPE_INT64, .kind = TAMIS_KIND_TENSOR};
}

static const char *result(tm_arena *arena, tm_diagnostics *diagnostics, const example *e) {
    tm_model *model = NULL;
    static const float zeros[128];
    int64_t x[8], numbers[2][8], dims[2][2];
    tamis_tensor output;
    tm_text text;
    if (tm_parse_model(arena, diagnostics, "test", e->text, strlen(e->text), &model) != TM_OK)
        return "does not parse";
    tm_code code = tm_infer(model);
    if (code != TM_OK)
        return tm_arena_format(arena, "E%d", (int)code);
    const tamis_tensor inputs[] = {{.data = (void *)(uintptr_t)zeros,
                                    .dims = x,
                                    .rank = read_numbers(e->x, x),
                                    .type = TAMIS_TYPE_FLOAT,
                                    .kind = TAMIS_KIND_TENSOR},
                                   list_tensor(model->main->inputs.items[1], e->s, numbers[0], dims[0]),
                                   list_tensor(model->main->inputs.items[2], e->t, numbers[1], dims[1])};
    if (tm_evaluate_model(model, arena, inputs, &output) != TM_OK)
        return "E";
    tm_text_init(&text, arena);
    print_dims(&output, &text);
    return tm_text_get(&text);
}

static void lists_of_unknown_length(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        tm_arena arena;
        tm_diagnostics diagnostics;
        tm_arena_init(&arena);
        tm_diagnostics_init(&diagnostics, &arena);
        const char *found = result(&arena, &diagnostics, &examples[i]);
        if (strcmp(found, examples[i].want) != 0)
            fail_msg("%s\n with %s; %s; %s: '%s', not '%s'", examples[i].text, examples[i].x, examples[i].s,
                     examples[i].t, found, examples[i].want);
        tm_arena_deinit(&arena);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {cmocka_unit_test(lists_of_unknown_length)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
