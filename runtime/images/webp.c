/* SPDX-License-Identifier: Apache-2.0
 *
 * webp.c: WebP by libwebp; transparency is left out.
 */
#include "runtime/images/images.h"

#ifdef TM_HAVE_WEBP
#include <webp/decode.h>

int32_t tm_image_read_webp(tm_image_file file, tm_image *out) {
    int width = 0, height = 0;
    if (WebPGetInfo(file.data, (size_t)file.size, &width, &height) == 0)
        return TM_RUN_VALUE;
    const int32_t code = tm_image_create(out, width, height);
    if (code != 0)
        return code;
    const uint8_t *done = WebPDecodeRGBInto(file.data, (size_t)file.size, out->pixels,
                                            (size_t)(out->width * out->height * 3), width * 3);
    return done != NULL ? 0 : TM_RUN_VALUE;
}
#else
int32_t tm_image_read_webp(tm_image_file file, tm_image *out) {
    (void)file;
    (void)out;
    return TM_RUN_IMAGE;
}
#endif
