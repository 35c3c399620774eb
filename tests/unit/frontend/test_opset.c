/* SPDX-License-Identifier: Apache-2.0
 *
 * Older and foreign forms of ops come out in the form of the op's row.
 *
 * Each test imports one node in the form of some opset and compares the ops that come out, in order, and
 * the constants that attributes became.
 */
#include "tests/unit/frontend/kit.h"

/* One node from x (f32[2,3,4]) and further inputs to y. */
static Onnx__NodeProto *start(kit *k, int64_t opset, const char *op, const char *inputs,
                              const char *outputs) {
    kit_init(k, opset);
    kit_opset(k, "com.microsoft", 1);
    kit_input(k, k->graph, "x", TAMIS_TYPE_FLOAT, "2,3,4");
    kit_output(k, k->graph, "y");
    return kit_node(k, k->graph, op, inputs, outputs);
}

static tm_node *finish(kit *k, const char *ops) {
    if (kit_import(k) != TM_OK)
        fail_msg("%s", kit_message(k));
    assert_string_equal(kit_ops(k, k->result->main), ops);
    return k->result->main->last;
}

static void expect_ints(const tm_node *node, int input, int64_t count, const int64_t *values) {
    assert_int_equal(tm_constant_count(node->inputs[input]->constant), count);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(kit_input_int(node, input, i), values[i]);
}

static double scalar(const tm_node *node, int input) {
    double value = 0;
    assert_true(tm_value_is_constant(node->inputs[input]));
    assert_int_equal(node->inputs[input]->rank, 0);
    assert_true(tm_constant_double(node->inputs[input]->constant, 0, &value));
    return value;
}

static void broadcast_along_axis(void **state) {
    (void)state;
    kit k;
    Onnx__NodeProto *node = start(&k, 6, "Add", "x,b", "y");
    kit_input(&k, k.graph, "b", TAMIS_TYPE_FLOAT, "2,3");
    kit_int(&k, node, "broadcast", 1);
    kit_int(&k, node, "axis", 0);
    tm_node *add = finish(&k, "Unsqueeze Add");
    expect_ints(add->previous, 1, 1, (int64_t[]){2});
    kit_deinit(&k);
}

static void broadcast_needs_inference(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 6);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2,3,4");
    kit_input(&k, k.graph, "b", TAMIS_TYPE_FLOAT, "3");
    kit_int(&k, kit_node(&k, k.graph, "Flatten", "x", "f"), "axis", 2);
    Onnx__NodeProto *node = kit_node(&k, k.graph, "Mul", "x,b", "y");
    kit_int(&k, node, "broadcast", 1);
    kit_int(&k, node, "axis", -2);
    kit_output(&k, k.graph, "y");
    expect_ints(finish(&k, "Flatten Unsqueeze Mul")->previous, 1, 1, (int64_t[]){1});
    kit_deinit(&k);
}

static void broadcast_at_the_right(void **state) {
    (void)state;
    kit k;
    Onnx__NodeProto *node = start(&k, 6, "Sub", "x,b", "y");
    kit_input(&k, k.graph, "b", TAMIS_TYPE_FLOAT, "4");
    kit_int(&k, node, "broadcast", 1);
    kit_ints(&k, node, "consumed_inputs", 1, (int64_t[]){0});
    finish(&k, "Sub");
    kit_deinit(&k);
}

static void prelu_slope_of_channels(void **state) {
    (void)state;
    kit k;
    start(&k, 6, "PRelu", "x,s", "y");
    kit_floats(&k, k.graph, "s", 3, (float[]){1, 2, 3});
    expect_ints(finish(&k, "Unsqueeze PRelu")->previous, 1, 1, (int64_t[]){1});
    kit_deinit(&k);
}

static void lists_become_inputs(void **state) {
    (void)state;
    static const struct {
        const char *op, *attribute;
        int64_t opset;
        int input;
    } cases[] = {
        {"Reshape", "shape", 4, 1},   {"Squeeze", "axes", 1, 1},    {"Unsqueeze", "axes", 12, 1},
        {"ReduceSum", "axes", 12, 1}, {"ReduceMax", "axes", 17, 1}, {"Split", "split", 12, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kit k;
        Onnx__NodeProto *node = start(&k, cases[i].opset, cases[i].op, "x", "y");
        kit_ints(&k, node, cases[i].attribute, 1, (int64_t[]){2});
        expect_ints(finish(&k, cases[i].op), cases[i].input, 1, (int64_t[]){2});
        kit_deinit(&k);
    }
}

static void clip_bounds(void **state) {
    (void)state;
    kit k;
    Onnx__NodeProto *node = start(&k, 6, "Clip", "x", "y");
    kit_float(&k, node, "max", 6.0f);
    tm_node *clip = finish(&k, "Clip");
    assert_null(clip->inputs[1]);
    assert_true(scalar(clip, 2) == 6.0);
    assert_int_equal(clip->inputs[2]->type, TAMIS_TYPE_FLOAT);
    kit_deinit(&k);
}

static void slice_and_pad(void **state) {
    (void)state;
    kit k;
    Onnx__NodeProto *node = start(&k, 9, "Slice", "x", "y");
    kit_ints(&k, node, "starts", 1, (int64_t[]){1});
    kit_ints(&k, node, "ends", 1, (int64_t[]){INT64_MAX});
    tm_node *slice = finish(&k, "Slice");
    assert_int_equal(slice->input_count, 3);
    expect_ints(slice, 2, 1, (int64_t[]){INT64_MAX});
    kit_deinit(&k);
    node = start(&k, 1, "Pad", "x", "y");
    kit_ints(&k, node, "paddings", 6, (int64_t[]){0, 0, 1, 0, 0, 1});
    kit_float(&k, node, "value", 2.0f);
    tm_node *pad = finish(&k, "Pad");
    expect_ints(pad, 1, 6, (int64_t[]){0, 0, 1, 0, 0, 1});
    assert_true(scalar(pad, 2) == 2.0);
    kit_deinit(&k);
}

static void split_into_equal_parts(void **state) {
    (void)state;
    kit k;
    kit_int(&k, start(&k, 13, "Split", "x", "y,z"), "axis", 0);
    assert_int_equal(tm_node_int(finish(&k, "Split"), "num_outputs"), 2);
    kit_deinit(&k);
}

static void softmax_flattens(void **state) {
    (void)state;
    kit k;
    start(&k, 11, "Softmax", "x", "y");
    tm_node *last = finish(&k, "Flatten Softmax Shape Reshape");
    assert_int_equal(tm_node_int(k.result->main->first, "axis"), 1);
    assert_int_equal(tm_node_int(k.result->main->first->next, "axis"), -1);
    assert_string_equal(last->outputs[0]->name, "y");
    kit_deinit(&k);
    kit_int(&k, start(&k, 11, "LogSoftmax", "x", "y"), "axis", 2);
    assert_int_equal(tm_node_int(finish(&k, "LogSoftmax"), "axis"), -1);
    kit_deinit(&k);
    start(&k, 13, "Softmax", "x", "y");
    finish(&k, "Softmax");
    kit_deinit(&k);
}

static void batch_normalization(void **state) {
    (void)state;
    kit k;
    Onnx__NodeProto *node = start(&k, 6, "BatchNormalization", "x,s,s,s,s", "y,,,,");
    kit_floats(&k, k.graph, "s", 3, (float[]){1, 2, 3});
    kit_int(&k, node, "is_test", 1);
    kit_int(&k, node, "spatial", 1);
    assert_int_equal(finish(&k, "BatchNormalization")->output_count, 1);
    node->attribute[1]->i = 0; /* spatial */
    finish(&k, "Flatten Reshape Reshape Reshape Reshape BatchNormalization Shape Reshape");
    kit_deinit(&k);
}

/* Further outputs are listed by many exporters; only when something reads them the node trains. */
static void batch_normalization_that_trains(void **state) {
    (void)state;
    kit k;
    start(&k, 7, "BatchNormalization", "x,s,s,s,s", "y,m,v,sm,sv");
    kit_floats(&k, k.graph, "s", 3, (float[]){1, 2, 3});
    assert_int_equal(tm_node_int(finish(&k, "BatchNormalization"), "training_mode"), 0);
    kit_output(&k, k.graph, "sm");
    finish(&k, "BatchNormalization Identity BatchNormalization Identity Identity Identity Identity");
    kit_deinit(&k);
}

static void group_normalization(void **state) {
    (void)state;
    kit k;
    Onnx__NodeProto *node = start(&k, 18, "GroupNormalization", "x,s,s", "y");
    kit_floats(&k, k.graph, "s", 3, (float[]){1, 2, 3});
    kit_int(&k, node, "num_groups", 3);
    finish(&k, "Shape Div Concat Unsqueeze Expand Reshape Unsqueeze Expand Reshape GroupNormalization");
    kit_deinit(&k);
}

static void dropout(void **state) {
    (void)state;
    kit k;
    kit_float(&k, start(&k, 7, "Dropout", "x", "y,mask"), "ratio", 0.5f);
    kit_output(&k, k.graph, "mask");
    finish(&k, "Dropout CastLike");
    assert_string_equal(k.result->main->outputs.items[1]->name, "mask");
    kit_deinit(&k);
}

static void upsample(void **state) {
    (void)state;
    kit k;
    Onnx__NodeProto *node = start(&k, 9, "Upsample", "x,s", "y");
    kit_floats(&k, k.graph, "s", 3, (float[]){1, 1, 2});
    kit_string(&k, node, "mode", "nearest");
    tm_node *resize = finish(&k, "Resize");
    assert_null(resize->inputs[1]);
    assert_string_equal(tm_node_string(resize, "coordinate_transformation_mode"), "asymmetric");
    assert_string_equal(tm_node_string(resize, "nearest_mode"), "floor");
    kit_deinit(&k);
}

static void single_forms(void **state) {
    (void)state;
    kit k;
    kit_string(&k, start(&k, 1, "Cast", "x", "y"), "to", "INT64");
    assert_int_equal(tm_node_int(finish(&k, "Cast"), "to"), TAMIS_TYPE_INT64);
    kit_deinit(&k);
    start(&k, 1, "Concat", "x,x", "y");
    assert_int_equal(tm_node_int(finish(&k, "Concat"), "axis"), 1);
    kit_deinit(&k);
    start(&k, 10, "Scatter", "x,x,x", "y");
    finish(&k, "ScatterElements");
    kit_deinit(&k);
    kit_int(&k, start(&k, 9, "TopK", "x", "y,z"), "k", 2);
    expect_ints(finish(&k, "TopK"), 1, 1, (int64_t[]){2});
    kit_deinit(&k);
    start(&k, 17, "DFT", "x", "y");
    assert_int_equal(kit_input_int(finish(&k, "DFT"), 2, 0), 1);
    kit_deinit(&k);
    start(&k, 16, "RoiAlign", "x,x,x", "y");
    assert_string_equal(tm_node_string(finish(&k, "RoiAlign"), "coordinate_transformation_mode"),
                        "half_pixel");
    kit_deinit(&k);
    start(&k, 10, "RoiAlign", "x,x,x", "y");
    assert_string_equal(tm_node_string(finish(&k, "RoiAlign"), "coordinate_transformation_mode"),
                        "output_half_pixel");
    kit_deinit(&k);
    kit_string(&k, start(&k, 16, "GridSample", "x,x", "y"), "mode", "bicubic");
    assert_string_equal(tm_node_string(finish(&k, "GridSample"), "mode"), "cubic");
    kit_deinit(&k);
}

static void whole_old_forms(void **state) {
    (void)state;
    kit k;
    kit_float(&k, start(&k, 1, "GlobalLpPool", "x", "y"), "p", 3.0f);
    assert_int_equal(tm_node_int(finish(&k, "GlobalLpPool"), "p"), 3);
    kit_deinit(&k);
    kit_float(&k, start(&k, 1, "GlobalLpPool", "x", "y"), "p", 2.5f);
    finish(&k, "Abs Pow ReduceSum Pow");
    kit_deinit(&k);
    start(&k, 1, "Tile", "x,n,n", "y");
    kit_input(&k, k.graph, "n", TAMIS_TYPE_FLOAT, "");
    finish(&k, "Cast Reshape Cast Reshape Equal Where Tile");
    kit_deinit(&k);
    start(&k, 9, "OneHot", "x,d,v", "y");
    kit_input(&k, k.graph, "d", TAMIS_TYPE_FLOAT, "");
    kit_input(&k, k.graph, "v", TAMIS_TYPE_FLOAT, "2");
    finish(&k, "Less Reshape CastLike Where OneHot");
    kit_deinit(&k);
}

/* Types without kernels of their own go through others; with kernels they stay. */
static void converted_types(void **state) {
    (void)state;
    kit k;
    start(&k, 9, "Erf", "i", "y");
    kit_input(&k, k.graph, "i", TAMIS_TYPE_INT16, "3");
    finish(&k, "Cast Erf Cast");
    kit_deinit(&k);
    start(&k, 9, "Erf", "x", "y");
    finish(&k, "Erf");
    kit_deinit(&k);
    start(&k, 23, "RMSNormalization", "x,s", "y");
    kit_input(&k, k.graph, "s", TAMIS_TYPE_FLOAT16, "4");
    finish(&k, "Cast Cast RMSNormalization Cast");
    kit_deinit(&k);
    start(&k, 21, "QLinearMatMul", "a,s,z,a,s,z,s,z", "y");
    kit_input(&k, k.graph, "a", TAMIS_TYPE_FLOAT8E4M3FN, "3,3");
    kit_input(&k, k.graph, "s", TAMIS_TYPE_FLOAT, "");
    kit_input(&k, k.graph, "z", TAMIS_TYPE_FLOAT8E4M3FN, "");
    finish(&k, "Cast Cast Cast Sub Mul Cast Cast Cast Sub Mul MatMul Cast QuantizeLinear");
    kit_deinit(&k);
}

/* SwiGLU, the other order of SpaceToDepth; a window is a mask, and rows that see no key are zeros. */
static void newer_forms(void **state) {
    (void)state;
    kit k;
    kit_float(&k, start(&k, 28, "SwiGLU", "x,x", "y"), "alpha", 2);
    assert_true(tm_node_float(finish(&k, "Swish Mul")->previous, "alpha") == 2);
    kit_deinit(&k);
    for (int crd = 0; crd < 2; crd++) {
        Onnx__NodeProto *node = start(&k, 28, "SpaceToDepth", "i", "y");
        kit_input(&k, k.graph, "i", TAMIS_TYPE_FLOAT, "1,2,4,4");
        kit_int(&k, node, "blocksize", 2);
        kit_string(&k, node, "mode", crd ? "CRD" : "DCR");
        finish(&k, crd ? "SpaceToDepth Shape Shape Shape Concat Reshape Transpose Shape Reshape Identity"
                       : "SpaceToDepth");
        kit_deinit(&k);
    }
    for (int windowed = 0; windowed < 2; windowed++) {
        Onnx__NodeProto *node = start(&k, 25, "Attention", "q,q,q", "y");
        kit_input(&k, k.graph, "q", TAMIS_TYPE_FLOAT, "1,2,3,4");
        kit_int(&k, node, "left_window_size", windowed ? 2 : -1);
        finish(&k, windowed
                       ? "Shape Shape Squeeze Range Unsqueeze Squeeze Range Add GreaterOrEqual ReduceMax "
                         "Expand Attention Where Identity"
                       : "Attention");
        kit_deinit(&k);
    }
    kit_int(&k, start(&k, 25, "Attention", "x,x,x", "y"), "left_window_size", -2);
    assert_int_equal(kit_import(&k), TM_E_ATTRIBUTE);
    kit_deinit(&k);
    kit_int(&k, start(&k, 24, "Attention", "x,x,x", "y"), "left_window_size", 2);
    assert_int_equal(kit_import(&k), TM_E_ATTRIBUTE);
    kit_deinit(&k);
}

static void microsoft(void **state) {
    (void)state;
    kit k;
    start(&k, 17, "com.microsoft.FastGelu", "x,x", "y");
    assert_string_equal(tm_node_string(finish(&k, "Add Gelu"), "approximate"), "tanh");
    kit_deinit(&k);
    Onnx__NodeProto *node = start(&k, 17, "com.microsoft.FusedMatMul", "x,x", "y");
    kit_int(&k, node, "transB", 1);
    kit_float(&k, node, "alpha", 0.5f);
    finish(&k, "Transpose MatMul Mul");
    kit_deinit(&k);
    kit_int(&k, start(&k, 17, "com.microsoft.FusedMatMul", "x,x", "y"), "transBatchA", 1);
    assert_int_equal(tm_node_attribute(finish(&k, "Transpose MatMul")->previous, "perm")->ints[0], 1);
    kit_deinit(&k);
    start(&k, 17, "com.microsoft.SkipLayerNormalization", "x,x,g,g", "y,,,sum");
    kit_floats(&k, k.graph, "g", 4, (float[]){1, 2, 3, 4});
    kit_output(&k, k.graph, "sum");
    finish(&k, "Add LayerNormalization");
    kit_deinit(&k);
    start(&k, 17, "com.microsoft.DynamicQuantizeMatMul", "x,b,s,,c", "y");
    kit_input(&k, k.graph, "b", TAMIS_TYPE_INT8, "4,5");
    kit_floats(&k, k.graph, "s", 1, (float[]){1});
    kit_floats(&k, k.graph, "c", 5, (float[]){1, 2, 3, 4, 5});
    finish(&k, "DynamicQuantizeLinear MatMulInteger Mul Cast Mul Add Identity");
    kit_deinit(&k);
}

/* In a branch, ranks follow from the values around it; what is wrong in one is not told twice. */
static void rank_in_a_branch(void **state) {
    (void)state;
    for (int wrong = 0; wrong < 2; wrong++) {
        kit k;
        Onnx__NodeProto *node = start(&k, 17, "If", "c", "y");
        kit_input(&k, k.graph, "c", TAMIS_TYPE_BOOL, "");
        Onnx__GraphProto *yes = kit_body(&k, "yes"), *no = kit_body(&k, "no");
        if (wrong)
            kit_int(&k, kit_node(&k, yes, "Concat", "x,c", "r"), "axis", 0);
        else
            kit_node(&k, yes, "Relu", "x", "r");
        kit_int(&k, kit_node(&k, yes, "com.microsoft.FusedMatMul", "x,r", "z"), "transB", 1);
        kit_output(&k, yes, "z");
        kit_node(&k, no, "Neg", "x", "z");
        kit_output(&k, no, "z");
        kit_graph(&k, node, "then_branch", yes);
        kit_graph(&k, node, "else_branch", no);
        assert_int_equal(kit_import(&k), wrong ? TM_E_UNKNOWN_RANK : TM_OK);
        assert_int_equal(k.diagnostics.list.count, wrong);
        if (!wrong)
            assert_string_equal(kit_ops(&k, tm_node_graph(k.result->main->last, "then_branch")),
                                "Relu Transpose MatMul");
        kit_deinit(&k);
    }
}

/* Attention operators end in ONNX's; heads that lie in rows stay there. */
static void microsoft_attention(void **state) {
    (void)state;
    kit k;
    kit_int(&k, start(&k, 17, "com.microsoft.MultiHeadAttention", "x,x,x", "y"), "num_heads", 2);
    tm_node *attention = finish(&k, "Shape Attention Identity")->previous;
    assert_int_equal(tm_node_int(attention, "q_num_heads"), 2);
    assert_ptr_equal(attention->inputs[0], k.result->main->inputs.items[0]);
    kit_deinit(&k);
    Onnx__NodeProto *node = start(&k, 17, "com.microsoft.MultiHeadAttention", "x,x,x,,m", "y");
    kit_input(&k, k.graph, "m", TAMIS_TYPE_INT32, "2,3");
    kit_int(&k, node, "num_heads", 2);
    kit_int(&k, node, "unidirectional", 1);
    assert_int_equal(
        tm_node_int(finish(&k, "Shape Greater Shape Concat Reshape Where Attention Identity")->previous,
                    "is_causal"),
        1);
    kit_deinit(&k);
    start(&k, 17, "com.microsoft.RotaryEmbedding", "x,p,c,c", "y");
    kit_input(&k, k.graph, "p", TAMIS_TYPE_INT64, "2,3");
    kit_input(&k, k.graph, "c", TAMIS_TYPE_FLOAT, "9,1");
    assert_int_equal(tm_node_int(finish(&k, "RotaryEmbedding"), "num_heads"), 2);
    kit_deinit(&k);
    start(&k, 17, "com.microsoft.MultiHeadAttention", "x,x,x", "y");
    assert_int_equal(kit_import(&k), TM_E_ATTRIBUTE);
    kit_deinit(&k);
}

static void sequence_map(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    Onnx__ValueInfoProto *input = kit_input(&k, k.graph, "s", TAMIS_TYPE_FLOAT, "?");
    Onnx__TypeProto *sequence = kit_new_type_proto(&k);
    sequence->value_case = ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
    sequence->sequence_type = kit_new_type_proto__sequence(&k);
    sequence->sequence_type->elem_type = input->type;
    input->type = sequence;
    kit_input(&k, k.graph, "t", TAMIS_TYPE_FLOAT, "1");
    Onnx__GraphProto *body = kit_body(&k, "b");
    kit_input(&k, body, "item", TAMIS_TYPE_FLOAT, "?");
    kit_input(&k, body, "other", TAMIS_TYPE_FLOAT, "1");
    kit_node(&k, body, "Add", "item,other", "r");
    kit_output(&k, body, "r")->type = kit_type(&k, TAMIS_TYPE_FLOAT, "?");
    kit_graph(&k, kit_node(&k, k.graph, "SequenceMap", "s,t", "y"), "body", body);
    kit_output(&k, k.graph, "y");
    tm_node *loop = finish(&k, "SequenceLength SequenceEmpty Loop");
    assert_string_equal(kit_ops(&k, tm_node_graph(loop, "body")), "SequenceAt Add SequenceInsert");
    assert_ptr_equal(tm_node_graph(loop, "body")->first->next->inputs[1], k.result->main->inputs.items[1]);
    kit_deinit(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broadcast_along_axis),
        cmocka_unit_test(broadcast_needs_inference),
        cmocka_unit_test(broadcast_at_the_right),
        cmocka_unit_test(prelu_slope_of_channels),
        cmocka_unit_test(lists_become_inputs),
        cmocka_unit_test(clip_bounds),
        cmocka_unit_test(slice_and_pad),
        cmocka_unit_test(split_into_equal_parts),
        cmocka_unit_test(softmax_flattens),
        cmocka_unit_test(batch_normalization),
        cmocka_unit_test(batch_normalization_that_trains),
        cmocka_unit_test(whole_old_forms),
        cmocka_unit_test(converted_types),
        cmocka_unit_test(group_normalization),
        cmocka_unit_test(dropout),
        cmocka_unit_test(upsample),
        cmocka_unit_test(single_forms),
        cmocka_unit_test(newer_forms),
        cmocka_unit_test(microsoft),
        cmocka_unit_test(microsoft_attention),
        cmocka_unit_test(rank_in_a_branch),
        cmocka_unit_test(sequence_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
