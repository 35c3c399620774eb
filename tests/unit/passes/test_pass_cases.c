/* SPDX-License-Identifier: Apache-2.0
 *
 * The cases of tests/passes/PASS: what the pass makes of NAME.ir must be NAME.want.ir (TAMIS_UPDATE=1
 * rewrites it), and both must give the same bits for the same random inputs: most passes move, drop or
 * share work and change no number. Those listed in `rounding` put one op in the place of several: their
 * numbers may differ by what the op table allows the ops of both models, taken together.
 */
#include "ir/evaluate.h"
#include "ir/infer.h"
#include "ir/text.h"
#include "passes/passes.h"
#include "tests/unit/cases.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>

#include <cmocka.h>

#define FOLDER "tests/passes"
#define SIZE 3 /* of symbolic dims, where their range allows it */

static const tm_pass_options options = {.level = 3, .bisect_limit = -1, .verify = true};

/* Passes that do nothing without --precision=bf16, and change no number of the evaluator with it. Cases named
 * written.ir and the like are of models that become ONNX files again. */
static tm_pass_options options_for(const char *pass, const char *name) {
    tm_pass_options own = options;
    own.onnx_forms = strncmp(name, "written", 7) == 0;
    if (strcmp(pass, "tile_attention_regions") == 0)
        own.factors = TAMIS_TYPE_BFLOAT16;
    own.without_integers =
        strcmp(pass, "expand_quantized_operators") == 0 || strcmp(pass, "drop_quantizers") == 0;
    return own;
}

static tm_model *parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *path) {
    const char *text = case_read(arena, path);
    tm_model *model = NULL;
    if (text == NULL || tm_parse_model(arena, diagnostics, path, text, strlen(text), &model) != TM_OK)
        return NULL;
    return model;
}

/* ---- numbers ---- */

static uint32_t random_state;
static uint32_t draw(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static void fill(tamis_tensor *tensor, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        float real = (float)draw() / (float)(1 << 23) - 1.0f;
        int64_t whole = draw() % 3;
        if (tensor->type == TAMIS_TYPE_FLOAT)
            memcpy((char *)tensor->data + i * 4, &real, 4);
        else if (tensor->type == TAMIS_TYPE_INT64)
            memcpy((char *)tensor->data + i * 8, &whole, 8);
        else if (tensor->type == TAMIS_TYPE_BOOL)
            ((uint8_t *)tensor->data)[i] = whole != 0;
    }
}

/* Random inputs for the model; false when it has inputs that this cannot make. */
static bool make_inputs(tm_arena *arena, const tm_model *model, tamis_tensor *out) {
    size_t count = tm_dims_symbol_count(model->dims);
    int64_t *symbols = TM_NEW_ARRAY(arena, int64_t, count + 1);
    for (size_t i = 0; i < count; i++) {
        const tm_symbol *symbol = tm_dims_symbol_at(model->dims, i);
        symbols[i] = symbol->low > SIZE ? symbol->low : symbol->high < SIZE ? symbol->high : SIZE;
    }
    for (size_t i = 0; i < model->main->inputs.count; i++) {
        const tm_value *input = model->main->inputs.items[i];
        int64_t elements = 1, bytes = 0;
        if (input->kind != TAMIS_KIND_TENSOR)
            return false;
        out[i] = (tamis_tensor){.rank = input->rank, .type = (uint8_t)input->type, .kind = TAMIS_KIND_TENSOR};
        out[i].dims = TM_NEW_ARRAY(arena, int64_t, TAMIS_MAX_RANK);
        for (int k = 0; k < input->rank; k++) {
            if (!tm_dim_evaluate(input->dims[k], symbols, &out[i].dims[k]))
                return false;
            elements *= out[i].dims[k];
        }
        if (!tm_type_size(input->type, elements, &bytes))
            return false;
        out[i].data = tm_arena_alloc(arena, (size_t)bytes + 64);
        if (input->slot != NULL)
            memcpy(out[i].data, input->slot->initial->data, (size_t)bytes);
        else
            fill(&out[i], elements);
    }
    return true;
}

static bool same_tensor(const tamis_tensor *a, const tamis_tensor *b) {
    int64_t count = 1, bytes = 0;
    if (a->rank != b->rank || a->type != b->type || a->kind != b->kind)
        return false;
    if (a->kind != TAMIS_KIND_TENSOR)
        return true;
    for (int i = 0; i < a->rank; i++) {
        if (a->dims[i] != b->dims[i])
            return false;
        count *= a->dims[i];
    }
    return tm_type_size((tamis_type)a->type, count, &bytes) &&
           (bytes == 0 || memcmp(a->data, b->data, (size_t)bytes) == 0);
}

static const char *const rounding[] = {
    "recognize_layer_normalization", "recognize_rms_normalization", "recognize_gelu", "recognize_swish",
    "recognize_softmax", "recognize_attention", "recognize_attention_heads", "gemm_to_matmul",
    "convolution_to_matmul", "channels_last", "fold_batch_normalization", "merge_numbers",
    "recognize_packed_products", "merge_branches", "subpixel_convolutions", "turn_row_products",
    "recognize_integer_products", "recognize_quantized_factors", "expand_quantized_operators",
};

static bool may_round(const char *pass) {
    for (size_t i = 0; i < sizeof rounding / sizeof *rounding; i++)
        if (strcmp(rounding[i], pass) == 0)
            return true;
    return false;
}

/* Units in the last place that the nodes of a graph may be off, a sum counting as many terms as it mostly has
 * here. */
static int graph_ulps(const tm_graph *graph) {
    int ulps = 0;
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        tm_exactness exactness = tm_op_get(node->op)->exactness;
        ulps += exactness.class == TM_CLASS_SUM ? SIZE * SIZE : exactness.ulp;
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            ulps += graph_ulps(tm_node_subgraph(node, i));
    }
    return ulps;
}

static bool close_tensor(const tamis_tensor *a, const tamis_tensor *b, int ulps) {
    int64_t count = 1;
    float largest = 1;
    if (a->rank != b->rank || a->type != b->type || a->kind != b->kind || a->type != TAMIS_TYPE_FLOAT)
        return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->dims[i] != b->dims[i])
            return false;
        count *= a->dims[i];
    }
    const float *x = a->data, *y = b->data;
    for (int64_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(x[i] - y[i]) <= (float)ulps * FLT_EPSILON * largest) && !(isnan(x[i]) && isnan(y[i])))
            return false;
    return true;
}

static bool same_numbers(tm_arena *arena, const char *pass, const char *path, tm_model *after) {
    tm_diagnostics diagnostics;
    tm_diagnostics_init(&diagnostics, arena);
    tm_model *before = parse(arena, &diagnostics, path);
    size_t outputs = before->main->outputs.count;
    tamis_tensor *inputs = TM_NEW_ARRAY(arena, tamis_tensor, before->main->inputs.count + 1);
    tamis_tensor *first = TM_NEW_ARRAY(arena, tamis_tensor, outputs + 1);
    tamis_tensor *second = TM_NEW_ARRAY(arena, tamis_tensor, outputs + 1);
    if (tm_infer(before) != TM_OK || !make_inputs(arena, before, inputs))
        return true;
    /* A model whose random inputs are refused says nothing, and dead code may have been what refused them. */
    if (tm_evaluate_model(before, arena, inputs, first) != TM_OK)
        return true;
    if (tm_evaluate_model(after, arena, inputs, second) != TM_OK) {
        printf("%s: fails after the pass only:\n%s", path, case_diagnostics(arena, after->diagnostics));
        return false;
    }
    for (size_t i = 0; i < outputs; i++)
        if (!same_tensor(&first[i], &second[i]) &&
            !(may_round(pass) &&
              close_tensor(&first[i], &second[i], graph_ulps(before->main) + graph_ulps(after->main)))) {
            printf("%s: output %zu has other numbers after the pass\n", path, i);
            return false;
        }
    return true;
}

/* ---- texts ---- */

static bool check_case(tm_arena *arena, const char *pass, const char *folder, const char *name) {
    tm_diagnostics diagnostics;
    tm_text text;
    tm_diagnostics_init(&diagnostics, arena);
    random_state = 1;
    const char *path = case_path(arena, folder, name);
    tm_model *model = parse(arena, &diagnostics, path);
    tm_pass_options own = options_for(pass, name);
    if (model == NULL || tm_passes_run_one(model, pass, &own) != TM_OK) {
        printf("%s:\n%s", path, case_diagnostics(arena, &diagnostics));
        return false;
    }
    tm_text_init(&text, arena);
    tm_print_model(model, 0, &text);
    const char *stem = case_stem(arena, name, ".ir");
    bool same = case_check(arena, case_path(arena, folder, tm_arena_format(arena, "%s.want.ir", stem)),
                           tm_text_get(&text));
    return same_numbers(arena, pass, path, model) && same;
}

static int check_pass(tm_arena *arena, const char *pass) {
    int failed = 0, count = 0;
    const char *folder = tm_arena_format(arena, FOLDER "/%s", pass);
    for (const char **name = case_list(arena, folder); *name != NULL; name++)
        if (case_ends_with(*name, ".ir") && !case_ends_with(*name, ".want.ir")) {
            failed += !check_case(arena, pass, folder, *name);
            count++;
        }
    if (count < 3)
        printf("pass %s has only %d cases: it needs one that fires, a near miss and an edge\n", pass, count);
    return failed + (count < 3);
}

static void pass_cases(void **state) {
    (void)state;
    tm_arena arena;
    tm_arena_init(&arena);
    int failed = 0;
    const char **folders = case_list(&arena, FOLDER);
    assert_non_null(folders[0]);
    for (; *folders != NULL; folders++)
        failed += check_pass(&arena, *folders);
    tm_arena_deinit(&arena);
    assert_int_equal(failed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pass_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
