/* SPDX-License-Identifier: Apache-2.0
 *
 * decode.c: which format a file has, and from red, green, blue to the pixels that were asked for.
 *
 * The first bytes decide; names of files play no part. Luminance is (299 R + 587 G + 114 B) / 1000 (ITU-R
 * 601-2), in 16 bits of fraction and rounded, as the recorded answers of the standard have it.
 */
#include "runtime/images/images.h"

#include <stdlib.h>
#include <string.h>

int32_t tm_image_create(tm_image *image, int64_t width, int64_t height) {
    if (width < 1 || height < 1 || width > TM_IMAGE_PIXELS || height > TM_IMAGE_PIXELS / width)
        return TM_RUN_VALUE;
    image->width = width;
    image->height = height;
    image->pixels = calloc((size_t)(width * height), 3);
    return image->pixels != NULL ? 0 : TM_RUN_MEMORY;
}

static bool begins(tm_image_file file, int64_t at, const char *text, int64_t size) {
    return file.size >= at + size && memcmp(file.data + at, text, (size_t)size) == 0;
}

/* NULL: no format that is known. */
static tm_image_reader *reader_of(tm_image_file file) {
    static const struct {
        const char *text;
        int64_t at, size;
        tm_image_reader *reader;
    } formats[] = {
        {"BM", 0, 2, tm_image_read_bmp},
        {"\xff\xd8\xff", 0, 3, tm_image_read_jpeg},
        {"\x89PNG\r\n\x1a\n", 0, 8, tm_image_read_png},
        {"II*\0", 0, 4, tm_image_read_tiff},
        {"MM\0*", 0, 4, tm_image_read_tiff},
        {"WEBP", 8, 4, tm_image_read_webp},
        {"\0\0\0\x0cjP  \r\n\x87\n", 0, 12, tm_image_read_jpeg2000},
        {"\xff\x4f\xff\x51", 0, 4, tm_image_read_jpeg2000},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (begins(file, formats[i].at, formats[i].text, formats[i].size))
            return formats[i].reader;
    if (file.size > 2 && file.data[0] == 'P' && file.data[1] >= '1' && file.data[1] <= '6')
        return tm_image_read_pnm;
    return NULL;
}

static void convert(const tm_image *image, tamis_pixels pixels, uint8_t *to) {
    const uint8_t *from = image->pixels;
    const int64_t count = image->width * image->height;
    if (pixels == TAMIS_PIXELS_RGB) {
        memcpy(to, from, (size_t)count * 3);
        return;
    }
    for (int64_t i = 0; i < count; i++, from += 3) {
        if (pixels == TAMIS_PIXELS_BGR) {
            to[3 * i] = from[2];
            to[3 * i + 1] = from[1];
            to[3 * i + 2] = from[0];
        } else {
            to[i] = (uint8_t)((from[0] * 19595u + from[1] * 38470u + from[2] * 7471u + 0x8000u) >> 16);
        }
    }
}

int32_t tamis_images_decode(const void *data, int64_t bytes, tamis_pixels pixels,
                            void *(*give)(void *context, int64_t height, int64_t width), void *context) {
    const tm_image_file file = {data, bytes};
    tm_image_reader *reader = reader_of(file);
    tm_image image = {0};
    if (reader == NULL)
        return TM_RUN_VALUE;
    int32_t code = reader(file, &image);
    if (code == 0) {
        void *to = give(context, image.height, image.width);
        if (to != NULL)
            convert(&image, pixels, to);
        else
            code = TM_RUN_MEMORY;
    }
    free(image.pixels);
    return code;
}
