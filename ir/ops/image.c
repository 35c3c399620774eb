/* SPDX-License-Identifier: Apache-2.0
 *
 * image.c: inference of ImageDecoder: bytes of a file become [height, width, channels], of which the pixel
 * format tells the last dim and the file the others.
 */
#include "ir/infer.h"

#include <string.h>

tm_code tm_infer_image_decoder(tm_infer_context *context, tm_node *node) {
    static const tamis_type bytes[] = {TAMIS_TYPE_UINT8, 0};
    TM_TRY(tm_infer_need(node, 0, 1));
    TM_TRY(tm_infer_need_type(node, 0, bytes));
    const char *format = tm_node_string(node, "pixel_format");
    bool gray = strcmp(format, "Grayscale") == 0;
    if (!gray && strcmp(format, "RGB") != 0 && strcmp(format, "BGR") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "pixel_format is neither RGB, BGR nor Grayscale");
    tm_dim dims[3] = {tm_infer_free(context, node, 0, 0, "height"),
                      tm_infer_free(context, node, 0, 1, "width"), tm_infer_const(context, gray ? 1 : 3)};
    tm_infer_set(node, 0, TAMIS_TYPE_UINT8, 3, dims);
    return TM_OK;
}
