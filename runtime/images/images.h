/* SPDX-License-Identifier: Apache-2.0
 *
 * images.h: libtamis_images, which decodes the image files that ImageDecoder reads.
 *
 * A library of its own, so that only programs that decode images load the decoders: libjpeg, libpng,
 * libtiff, libwebp and OpenJPEG, whichever were there when it was built. BMP and PNM are read here.
 *
 *     bytes --first bytes tell the format--> its reader --> rows of red, green, blue --> rows as asked for
 *
 * A file is not trusted: readers check what they read against the file's size, dims against TM_IMAGE_PIXELS
 * before memory is taken, and take a file that ends too early for damaged.
 */
#ifndef TM_IMAGES_H
#define TM_IMAGES_H

#include "tamis/artifact.h"

#include <stdbool.h>

#define TM_IMAGE_PIXELS ((int64_t)1 << 28)

/* The function that the library exports as tamis_images_decode: decode_image of tamis_host without its user.
 */
typedef int32_t tm_images_decode(const void *file, int64_t bytes, tamis_pixels pixels,
                                 void *(*give)(void *context, int64_t height, int64_t width), void *context);
tm_images_decode tamis_images_decode;

typedef struct tm_image_file {
    const uint8_t *data;
    int64_t size;
} tm_image_file;

/* A decoded image: 3 bytes a pixel, from malloc. */
typedef struct tm_image {
    int64_t width, height;
    uint8_t *pixels;
} tm_image;

/* Memory for the dims; TM_RUN_VALUE for dims that no image has. */
int32_t tm_image_create(tm_image *image, int64_t width, int64_t height);

/* A reader fills *out, whose memory the caller frees, also when it fails. */
typedef int32_t tm_image_reader(tm_image_file file, tm_image *out);
tm_image_reader tm_image_read_bmp, tm_image_read_pnm, tm_image_read_jpeg, tm_image_read_jpeg2000,
    tm_image_read_png, tm_image_read_tiff, tm_image_read_webp;

static inline uint32_t tm_image_u16(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}
static inline uint32_t tm_image_u32(const uint8_t *at) {
    return tm_image_u16(at) | tm_image_u16(at + 2) << 16;
}

#endif
