/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_other.c: inference of ONNX Runtime's operators on matrices, images and text that have kernels of
 * their own: Inverse, CropAndResize, MurmurHash3, NGramRepeatBlock. CropAndResize has a crop for each box,
 * whose dims are the elements of a tensor:
 *
 *     x [n, c, h, w], boxes [m, 4], image of each box [m], size [2]   ->   [m, c, size[0], size[1]]
 */
#include "ir/infer.h"

#include <string.h>

static const tamis_type real_types[] = {TAMIS_TYPE_FLOAT16, TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_FLOAT,
                                        TAMIS_TYPE_DOUBLE, 0};
static const tamis_type int32_only[] = {TAMIS_TYPE_INT32, 0};

tm_code tm_infer_inverse(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, real_types));
    const tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims; a matrix is needed", x->rank);
    TM_TRY(tm_infer_equal(context, node, x->dims[x->rank - 1], x->dims[x->rank - 2],
                          "rows and columns of the matrix"));
    tm_infer_set_like(node, 0, x->type, x);
    return TM_OK;
}

tm_code tm_infer_crop_and_resize(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, 4));
    TM_TRY(tm_infer_need(node, 1, 2));
    TM_TRY(tm_infer_need(node, 2, 1));
    TM_TRY(tm_infer_need(node, 3, 1));
    TM_TRY(tm_infer_need_type(node, 0, real_types));
    TM_TRY(tm_infer_same_type(node, 0, 1));
    TM_TRY(tm_infer_need_type(node, 2, int32_only));
    TM_TRY(tm_infer_need_type(node, 3, int32_only));
    const char *mode = tm_node_string(node, "mode");
    if (strcmp(mode, "bilinear") != 0 && strcmp(mode, "nearest") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "mode is neither bilinear nor nearest");
    const tm_value *x = tm_infer_input(node, 0), *boxes = tm_infer_input(node, 1);
    tm_value *images = tm_infer_input(node, 2), *size = tm_infer_input(node, 3);
    TM_TRY(tm_infer_equal(context, node, boxes->dims[1], tm_infer_const(context, 4), "numbers of a box"));
    TM_TRY(tm_infer_equal(context, node, images->dims[0], boxes->dims[0], "boxes and images of boxes"));
    TM_TRY(tm_infer_equal(context, node, size->dims[0], tm_infer_const(context, 2), "dims of a crop"));
    tm_dim out[4] = {boxes->dims[0], x->dims[1], tm_infer_element(context, size, 0),
                     tm_infer_element(context, size, 1)};
    tm_infer_set(node, 0, x->type, 4, out);
    return TM_OK;
}

tm_code tm_infer_murmur_hash(tm_infer_context *context, tm_node *node) {
    static const tamis_type hashed[] = {
        TAMIS_TYPE_UINT32, TAMIS_TYPE_INT32,  TAMIS_TYPE_UINT64, TAMIS_TYPE_INT64,
        TAMIS_TYPE_FLOAT,  TAMIS_TYPE_DOUBLE, TAMIS_TYPE_STRING, 0};
    (void)context;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, hashed));
    tm_infer_set_like(node, 0, tm_node_int(node, "positive") != 0 ? TAMIS_TYPE_UINT32 : TAMIS_TYPE_INT32,
                      tm_infer_input(node, 0));
    return TM_OK;
}

tm_code tm_infer_ngram_repeat_block(tm_infer_context *context, tm_node *node) {
    static const tamis_type int64_only[] = {TAMIS_TYPE_INT64, 0}, float_only[] = {TAMIS_TYPE_FLOAT, 0};
    TM_TRY(tm_infer_need(node, 0, 2));
    TM_TRY(tm_infer_need(node, 1, 2));
    TM_TRY(tm_infer_need_type(node, 0, int64_only));
    TM_TRY(tm_infer_need_type(node, 1, float_only));
    if (tm_node_int(node, "ngram_size") < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "ngram_size must be given and above 0");
    const tm_value *ids = tm_infer_input(node, 0), *scores = tm_infer_input(node, 1);
    TM_TRY(tm_infer_equal(context, node, ids->dims[0], scores->dims[0], "batches of tokens and scores"));
    tm_infer_set_like(node, 0, scores->type, scores);
    return TM_OK;
}
