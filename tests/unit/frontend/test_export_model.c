/* SPDX-License-Identifier: Apache-2.0
 *
 * Models written as ONNX: what stands in the file, and that reading it gives the same model.
 *
 * Each model is given as text of the IR, written to a file in a folder of the test, and looked at as protobuf
 * has it or as the importer reads it again.
 */
#include "tests/unit/frontend/kit.h"

#include "frontend/export.h"
#include "ir/infer.h"
#include "ir/text.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct bench {
    tm_arena arena;
    tm_diagnostics diagnostics;
    tm_export_options options;
    char folder[64];
    const char *path;
    tm_model *model;
    Onnx__ModelProto *proto; /* of what was written */
} bench;

static void bench_init(bench *b) {
    memset(b, 0, sizeof *b);
    tm_arena_init(&b->arena);
    tm_diagnostics_init(&b->diagnostics, &b->arena);
    tm_export_options_init(&b->options);
    strcpy(b->folder, "/tmp/tamis-export-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    b->path = tm_arena_format(&b->arena, "%s/out.onnx", b->folder);
}

static void bench_deinit(bench *b) {
    if (b->proto != NULL)
        onnx__model_proto__free_unpacked(b->proto, NULL);
    unlink(b->path);
    unlink(tm_arena_format(&b->arena, "%s.data", b->path));
    assert_int_equal(rmdir(b->folder), 0); /* nothing else was left there */
    tm_arena_deinit(&b->arena);
}

static tm_model *parse(bench *b, const char *text) {
    tm_model *model = NULL;
    assert_int_equal(tm_parse_model(&b->arena, &b->diagnostics, "test.ir", text, strlen(text), &model),
                     TM_OK);
    assert_int_equal(tm_infer(model), TM_OK);
    return model;
}

static tm_code write_model(bench *b, const char *text) {
    b->model = parse(b, text);
    return tm_export_model(b->model, &b->options, b->path);
}

static void read_file(bench *b, const char *path, uint8_t **out_data, size_t *out_size) {
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    *out_size = (size_t)status.st_size;
    *out_data = tm_arena_alloc(&b->arena, *out_size);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(*out_data, 1, *out_size, file), *out_size);
    fclose(file);
}

static Onnx__GraphProto *written(bench *b, const char *text) {
    uint8_t *data;
    size_t size;
    assert_int_equal(write_model(b, text), TM_OK);
    read_file(b, b->path, &data, &size);
    b->proto = onnx__model_proto__unpack(NULL, size, data);
    assert_non_null(b->proto);
    return b->proto->graph;
}

static const char *text_of(bench *b, const tm_model *model) {
    tm_text text;
    tm_text_init(&text, &b->arena);
    tm_print_model(model, 0, &text);
    return tm_text_get(&text);
}

/* Without the places of nodes in the file. */
static const char *text_without_places(bench *b, const tm_model *model) {
    char *text = tm_arena_string(&b->arena, text_of(b, model));
    for (char *place = strstr(text, " @"); place != NULL; place = strstr(place, " @"))
        memmove(place, place + strcspn(place, "\n"), strlen(place + strcspn(place, "\n")) + 1);
    return text;
}

/* The model reads back as it was. */
static void round_trip(const char *text) {
    bench b;
    bench_init(&b);
    tm_import_options options;
    tm_import_options_init(&options);
    assert_int_equal(write_model(&b, text), TM_OK);
    tm_model *again = NULL;
    assert_int_equal(tm_import_file(&b.arena, &b.diagnostics, b.path, &options, &again), TM_OK);
    assert_int_equal(tm_infer(again), TM_OK);
    assert_string_equal(text_without_places(&b, again), text_of(&b, b.model));
    bench_deinit(&b);
}

static void attributes_of_all_kinds(void **state) {
    (void)state;
    round_trip(
        "main(%x: f32[batch, 8], %q: f32[2, 3, 4], %w: f32[1, 16, 4], %s: i64[1]) {\n"
        "  const %k: f32[] = {3}\n"
        "  %a = Transpose(%x) {perm = [1, 0]}\n"
        "  %b = LeakyRelu(%x) {alpha = 0.25}\n"
        "  %c = Gelu(%b) {approximate = \"tanh\"}\n"
        "  %d = ai.onnx.ml.Scaler(%c) {offset = [0.5, -1, inf], scale = []}\n"
        "  %e = ConstantOfShape(%s) {value = bf16[1] {2.5}}\n"
        "  %f, _, %g = LSTM(%q, %w, %w) {activations = [\"Tanh\", \"Tanh\", \"Tanh\"], hidden_size = 4}\n"
        "  %h = Clip(%x, _, %k)\n"
        "  return %a, %d, %e, %g, %h\n"
        "}\n");
}

static void constants_of_all_types(void **state) {
    (void)state;
    round_trip(
        "main() {\n"
        "  const %scalar: f32[] = {1e-05}\n"
        "  const %empty: i64[0] = {}\n"
        "  const %ints: i8[3] = {-128, 0, 127}\n"
        "  const %wide: u64[1] = hex\"ffffffffffffffff\"\n"
        "  const %bools: bool[2] = {1, 0}\n"
        "  const %halfs: f16[3] = {65504, -inf, nan}\n"
        "  const %tiny: f8e4m3fn[2] = {448, 0.001953125}\n"
        "  const %nibbles: i4[3] = {-8, 7, 1}\n"
        "  const %pairs: u2[5] = {0, 1, 2, 3, 1}\n"
        "  const %fours: f4e2m1[2] = hex\"97\"\n"
        "  const %complex: c64[1] = hex\"0000803f00000040\"\n"
        "  const %texts: string[3] = {\"plain\", \"line\\nbreak\", \"\\x00\\xff\"}\n"
        "  return %scalar, %empty, %ints, %wide, %bools, %halfs, %tiny, %nibbles, %pairs, %fours, %complex, "
        "%texts\n"
        "}\n");
}

static void bodies_with_captured_values(void **state) {
    (void)state;
    round_trip("main(%n: i64[], %go: bool[], %x: f32[4]) {\n"
               "  const %one: f32[1] = {1}\n"
               "  %y, %all = Loop(%n, %go, %x) {\n"
               "    body = \"body of the loop\"(%i: i64[], %more: bool[], %state: f32[4]) {\n"
               "      %next = Add(%state, %one)\n"
               "      %picked = If(%more) {\n"
               "        else_branch = e() {\n"
               "          %less = Sub(%next, %x)\n"
               "          return %less\n"
               "        },\n"
               "        then_branch = t() {\n"
               "          const %two: f32[1] = {2}\n"
               "          %scaled = Mul(%next, %two)\n"
               "          return %scaled\n"
               "        }\n"
               "      }\n"
               "      %again = And(%more, %more)\n"
               "      return %again, %picked, %next\n"
               "    }\n"
               "  }\n"
               "  return %y, %all\n"
               "}\n");
}

static void sequences_optionals_and_maps(void **state) {
    (void)state;
    round_trip("main(%x: f32[n, 2], %s: sequence f32[3, 2], %o: optional f32[2], %m: map(string) f32[]) {\n"
               "  %t = SequenceInsert(%s, %x)\n"
               "  %none = Optional() {dtype = 7, item = 1, rank = 1}\n"
               "  %some = OptionalHasElement(%o)\n"
               "  %list = ai.onnx.ml.DictVectorizer(%m) {string_vocabulary = [\"a\", \"b\"]}\n"
               "  %maps = ai.onnx.ml.ZipMap(%x) {classlabels_int64s = [3, 4]}\n"
               "  return %t, %none, %some, %list, %maps\n"
               "}\n");
}

static void names_stay_exact(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    const Onnx__GraphProto *graph = written(&b, "main(%\"in::x:0\": f32[\"12*s18\", n, 3]) {\n"
                                                "  %\"a\\nb\\x01\" = Relu(%\"in::x:0\")\n"
                                                "  %\"{\\\"y\\\"}\" = Exp(%\"a\\nb\\x01\")\n"
                                                "  return %\"{\\\"y\\\"}\"\n"
                                                "}\n");
    assert_string_equal(graph->input[0]->name, "in::x:0");
    assert_string_equal(graph->node[0]->output[0], "a\nb\x01");
    assert_string_equal(graph->output[0]->name, "{\"y\"}");
    const Onnx__TensorShapeProto *shape = graph->output[0]->type->tensor_type->shape;
    assert_string_equal(shape->dim[0]->dim_param, "12*s18");
    assert_string_equal(shape->dim[1]->dim_param, "n");
    assert_int_equal(shape->dim[2]->dim_value, 3);
    assert_string_equal(b.proto->producer_name, "tamis");
    bench_deinit(&b);
}

static void formulas_are_unknown_dims(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    const Onnx__GraphProto *graph = written(&b, "main(%x: f32[n]) {\n"
                                                "  %y = Concat(%x, %x) {axis = 0}\n"
                                                "  return %y\n"
                                                "}\n");
    assert_int_equal(graph->output[0]->type->tensor_type->shape->dim[0]->value_case,
                     ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE__NOT_SET);
    bench_deinit(&b);
}

static int64_t opset_of(const char *text) {
    bench b;
    bench_init(&b);
    written(&b, text);
    int64_t version = b.proto->opset_import[0]->version;
    assert_string_equal(b.proto->opset_import[0]->domain, "");
    assert_true(b.proto->ir_version >= (version >= 25 ? 13 : version == 24 ? 12 : version == 23 ? 11 : 10));
    bench_deinit(&b);
    return version;
}

static void lowest_opset_with_the_forms(void **state) {
    (void)state;
    assert_int_equal(opset_of("main(%x: f32[2]) {\n %y = Relu(%x)\n return %y\n}\n"), 21);
    assert_int_equal(opset_of("main(%x: f32[2]) {\n %y = Sin(%x)\n return %y\n}\n"), 21);
    assert_int_equal(opset_of("main(%x: bf16[2]) {\n %y = Sin(%x)\n return %y\n}\n"), 22);
    assert_int_equal(opset_of("main(%x: bf16[2]) {\n %y = Exp(%x)\n return %y\n}\n"), 21);
    assert_int_equal(opset_of("main(%x: f32[2]) {\n %y = Swish(%x)\n return %y\n}\n"), 24);
    assert_int_equal(opset_of("main(%x: u2[2]) {\n %y = Identity(%x)\n return %y\n}\n"), 25);
    assert_int_equal(
        opset_of("main(%x: f32[2]) {\n %y = Cast(%x) {to = 1, round_mode = \"up\"}\n return %y\n}\n"), 21);
    assert_int_equal(
        opset_of("main(%x: f32[2]) {\n %y = Cast(%x) {to = 24, round_mode = \"down\"}\n return %y\n}\n"), 24);
    assert_int_equal(
        opset_of("main(%a: f32[], %b: f32[], %c: f32[]) {\n %y = Range(%a, %b, %c)\n return %y\n}\n"), 21);
    assert_int_equal(
        opset_of("main(%a: f16[], %b: f16[], %c: f16[]) {\n %y = Range(%a, %b, %c)\n return %y\n}\n"), 27);
    assert_int_equal(
        opset_of(
            "main(%x: f32[1, 1, 5, 5]) {\n %y = MaxPool(%x) {ceil_mode = 1, kernel_shape = [2, 2]}\n return %y\n}\n"),
        22);
}

static void domains_that_are_used(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    written(&b, "main(%x: f32[2, 2]) {\n"
                "  %a = ai.onnx.ml.Normalizer(%x)\n"
                "  %b = com.microsoft.Inverse(%a)\n"
                "  return %b\n"
                "}\n");
    assert_int_equal(b.proto->n_opset_import, 3);
    assert_string_equal(b.proto->opset_import[1]->domain, "ai.onnx.ml");
    assert_string_equal(b.proto->opset_import[2]->domain, "com.microsoft");
    assert_string_equal(b.proto->graph->node[1]->domain, "com.microsoft");
    bench_deinit(&b);
}

/* The target of the first Reshape, as a constant. */
static void target_is(const char *text, size_t count, const int64_t *expected) {
    bench b;
    bench_init(&b);
    const Onnx__GraphProto *graph = written(&b, text);
    assert_string_equal(graph->node[graph->n_node - 1]->op_type, "Reshape");
    for (size_t i = 0; i < graph->n_initializer; i++)
        if (strcmp(graph->initializer[i]->name, graph->node[graph->n_node - 1]->input[1]) == 0) {
            assert_int_equal(graph->initializer[i]->raw_data.len, count * sizeof *expected);
            assert_memory_equal(graph->initializer[i]->raw_data.data, expected, count * sizeof *expected);
            bench_deinit(&b);
            return;
        }
    fail_msg("the target is no constant");
}

static void views_get_targets(void **state) {
    (void)state;
    target_is("main(%x: f32[batch, seq, 768]) {\n %y: f32[batch, seq, 12, 64] = Reshape(%x)\n return %y\n}\n",
              4, (int64_t[]){0, 0, 12, 64});
    target_is("main(%x: f32[batch, seq, 8]) {\n %y: f32[batch*seq, 8] = Reshape(%x)\n return %y\n}\n", 2,
              (int64_t[]){-1, 8});
    target_is("main(%x: f32[2, 3]) {\n %y: f32[6] = Reshape(%x)\n return %y\n}\n", 1, (int64_t[]){6});
    target_is("main(%x: f32[n, 0]) {\n %y: f32[0, 5] = Reshape(%x)\n return %y\n}\n", 2, (int64_t[]){0, 5});
    target_is("main(%x: f32[1]) {\n %y: f32[] = Reshape(%x)\n return %y\n}\n", 0, (int64_t[]){0});
}

static void formulas_become_nodes(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    const Onnx__GraphProto *graph =
        written(&b, "main(%x: f32[batch, seq, 4]) {\n %y: f32[batch, 4*seq] = Reshape(%x)\n return %y\n}\n");
    static const char *const ops[] = {"Shape", "Shape", "Mul", "Concat", "Reshape"};
    assert_int_equal(graph->n_node, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(graph->node[i]->op_type, ops[i]);
    assert_string_equal(graph->node[4]->attribute[0]->name, "allowzero");
    bench_deinit(&b);
}

static void squeeze_says_its_axes(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    const Onnx__GraphProto *graph =
        written(&b, "main(%x: f32[1, n, 1]) {\n %y = Squeeze(%x)\n return %y\n}\n");
    assert_string_equal(graph->node[0]->op_type, "Squeeze");
    assert_memory_equal(graph->initializer[0]->raw_data.data, ((int64_t[]){0, 2}), 2 * sizeof(int64_t));
    bench_deinit(&b);
}

static void outputs_of_bodies_are_their_own(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    const Onnx__GraphProto *graph = written(&b, "main(%c: bool[], %x: f32[4]) {\n"
                                                "  %y, %z = If(%c) {\n"
                                                "    else_branch = e() {\n"
                                                "      return %x, %x\n"
                                                "    },\n"
                                                "    then_branch = t() {\n"
                                                "      %a = Exp(%x)\n"
                                                "      return %a, %a\n"
                                                "    }\n"
                                                "  }\n"
                                                "  return %y, %z\n"
                                                "}\n");
    const Onnx__GraphProto *otherwise = graph->node[0]->attribute[0]->g,
                           *then = graph->node[0]->attribute[1]->g;
    assert_int_equal(otherwise->n_node, 2);
    assert_string_equal(otherwise->output[0]->name, "x.out");
    assert_string_equal(otherwise->output[1]->name, "x.out.1");
    assert_int_equal(then->n_node, 2);
    assert_string_equal(then->output[0]->name, "a");
    assert_string_equal(then->output[1]->name, "a.out");
    bench_deinit(&b);
}

/* Of branches of two ranks the one counts that squeezes; what is written in place of Squeeze does not show
 * it. */
static void ranks_of_branches_that_differ_are_declared(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    const Onnx__GraphProto *graph = written(&b, "main(%c: bool[], %x: f32[n, m, 8]) {\n"
                                                "  %y = If(%c) {\n"
                                                "    else_branch = e() {\n"
                                                "      %a = Exp(%x)\n"
                                                "      return %a\n"
                                                "    },\n"
                                                "    then_branch = t() {\n"
                                                "      %s: f32[n, 8] = Squeeze(%x)\n"
                                                "      return %s\n"
                                                "    }\n"
                                                "  }\n"
                                                "  %z = Neg(%y)\n"
                                                "  return %z\n"
                                                "}\n");
    assert_string_equal(graph->node[0]->attribute[1]->g->node[0]->op_type, "Reshape");
    assert_int_equal(graph->n_value_info, 1);
    assert_string_equal(graph->value_info[0]->name, "y");
    assert_int_equal(graph->value_info[0]->type->tensor_type->shape->n_dim, 2);
    tm_import_options options;
    tm_import_options_init(&options);
    tm_model *again = NULL;
    assert_int_equal(tm_import_file(&b.arena, &b.diagnostics, b.path, &options, &again), TM_OK);
    assert_int_equal(tm_infer(again), TM_OK);
    assert_int_equal(again->main->outputs.items[0]->rank, 2);
    bench_deinit(&b);
}

static void own_ops_are_refused_together(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    assert_int_equal(write_model(&b, "main(%x: f32[4]) {\n"
                                     "  %a = tamis.Copy(%x)\n"
                                     "  %b = tamis.Copy(%a)\n"
                                     "  return %b\n"
                                     "}\n"),
                     TM_E_UNSUPPORTED_FORM);
    assert_int_equal(b.diagnostics.list.count, 2);
    assert_non_null(strstr(b.diagnostics.list.items[0].message, "Copy cannot be written as ONNX"));
    assert_int_equal(access(b.path, F_OK), -1);
    bench_deinit(&b);
}

/* With two constants of more than a page. */
static tm_model *large_model(bench *b) {
    tm_model *model = parse(b, "main(%x: f32[1]) {\n"
                               "  const %small: f32[1] = {1}\n"
                               "  %y = Add(%x, %small)\n"
                               "  return %y\n"
                               "}\n");
    for (int i = 0; i < 2; i++) {
        float *data = TM_NEW_ARRAY(&b->arena, float, 2000);
        for (int k = 0; k < 2000; k++)
            data[k] = (float)(k + i);
        tm_constant *constant = tm_constant_create(&b->arena, TAMIS_TYPE_FLOAT, 1, &(int64_t){2000}, data);
        tm_graph_add_output(model->main, tm_value_create_constant(model->main, "w", constant));
    }
    return model;
}

static void check_external(bench *b) {
    uint8_t *data, *weights;
    size_t size, weights_size;
    assert_int_equal(tm_export_model(large_model(b), &b->options, b->path), TM_OK);
    read_file(b, b->path, &data, &size);
    read_file(b, tm_arena_format(&b->arena, "%s.data", b->path), &weights, &weights_size);
    b->proto = onnx__model_proto__unpack(NULL, size, data);
    const Onnx__TensorProto *small = b->proto->graph->initializer[0], *last = b->proto->graph->initializer[2];
    assert_true(small->has_raw_data);
    assert_false(last->has_raw_data);
    assert_string_equal(last->external_data[0]->value, "out.onnx.data");
    assert_string_equal(last->external_data[1]->value, "8192");
    assert_string_equal(last->external_data[2]->value, "8000");
    assert_int_equal(weights_size, 8192 + 8000);
    float first = 0;
    memcpy(&first, weights + 8192, sizeof first);
    assert_true(first == 1.0f);
    tm_import_options options;
    tm_import_options_init(&options);
    tm_model *again = NULL;
    assert_int_equal(tm_import_file(&b->arena, &b->diagnostics, b->path, &options, &again), TM_OK);
}

static void external_data_when_asked_for(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    b.options.external_data = true;
    check_external(&b);
    bench_deinit(&b);
}

static void external_data_of_large_models(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    b.options.inline_bytes = 10000;
    check_external(&b);
    bench_deinit(&b);
}

static void graph_that_no_file_can_hold(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    b.options.inline_bytes = 50;
    assert_int_equal(write_model(&b, "main(%x: f32[1]) {\n %y = Exp(%x)\n return %y\n}\n"), TM_E_LIMIT);
    bench_deinit(&b);
}

static void places_that_cannot_be_written(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    static const char text[] = "main(%x: f32[1]) {\n %y = Exp(%x)\n return %y\n}\n";
    const char *folder = b.path;
    b.path = "/proc/none/out.onnx";
    assert_int_equal(write_model(&b, text), TM_E_CREATE_OUTPUT);
    b.path = b.folder;
    assert_int_equal(write_model(&b, text), TM_E_CREATE_OUTPUT);
    b.path = "/dev/null";
    assert_int_equal(write_model(&b, text), TM_E_CREATE_OUTPUT);
    b.path = folder;
    bench_deinit(&b);
}

static void same_bytes_each_time(void **state) {
    (void)state;
    bench b;
    bench_init(&b);
    uint8_t *first, *second;
    size_t first_size, second_size;
    assert_int_equal(tm_export_model(large_model(&b), &b.options, b.path), TM_OK);
    read_file(&b, b.path, &first, &first_size);
    assert_int_equal(tm_export_model(large_model(&b), &b.options, b.path), TM_OK);
    read_file(&b, b.path, &second, &second_size);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    bench_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_of_all_kinds),
        cmocka_unit_test(constants_of_all_types),
        cmocka_unit_test(bodies_with_captured_values),
        cmocka_unit_test(sequences_optionals_and_maps),
        cmocka_unit_test(names_stay_exact),
        cmocka_unit_test(formulas_are_unknown_dims),
        cmocka_unit_test(lowest_opset_with_the_forms),
        cmocka_unit_test(domains_that_are_used),
        cmocka_unit_test(views_get_targets),
        cmocka_unit_test(formulas_become_nodes),
        cmocka_unit_test(squeeze_says_its_axes),
        cmocka_unit_test(outputs_of_bodies_are_their_own),
        cmocka_unit_test(ranks_of_branches_that_differ_are_declared),
        cmocka_unit_test(own_ops_are_refused_together),
        cmocka_unit_test(external_data_when_asked_for),
        cmocka_unit_test(external_data_of_large_models),
        cmocka_unit_test(graph_that_no_file_can_hold),
        cmocka_unit_test(places_that_cannot_be_written),
        cmocka_unit_test(same_bytes_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
