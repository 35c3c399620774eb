/* SPDX-License-Identifier: Apache-2.0
 *
 * tiff.c: the first image of a TIFF file, by libtiff's conversion to red, green, blue and transparency,
 * which knows all of its layouts. The library's messages are dropped.
 */
#include "runtime/images/images.h"

#ifdef TM_HAVE_TIFF
#include <stdlib.h>
#include <string.h>

#include <tiffio.h>

typedef struct source {
    tm_image_file file;
    int64_t at;
} source;

static tmsize_t take(thandle_t handle, void *to, tmsize_t bytes) {
    source *s = handle;
    const int64_t left = s->at < s->file.size ? s->file.size - s->at : 0;
    const int64_t count = bytes < left ? bytes : left;
    if (count > 0)
        memcpy(to, s->file.data + s->at, (size_t)count);
    s->at += count;
    return (tmsize_t)count;
}

static tmsize_t refuse(thandle_t handle, void *from, tmsize_t bytes) {
    (void)handle;
    (void)from;
    (void)bytes;
    return 0;
}

static toff_t move(thandle_t handle, toff_t offset, int from) {
    source *s = handle;
    const int64_t base = from == SEEK_CUR ? s->at : from == SEEK_END ? s->file.size : 0;
    const int64_t at = base + (int64_t)offset;
    if (at < 0 || (int64_t)offset > INT64_MAX / 2)
        return (toff_t)-1;
    s->at = at;
    return (toff_t)at;
}

static int finish(thandle_t handle) {
    (void)handle;
    return 0;
}

static toff_t size_of(thandle_t handle) {
    return (toff_t)((source *)handle)->file.size;
}

static int silent(TIFF *tiff, void *context, const char *module, const char *format, va_list arguments) {
    (void)tiff;
    (void)context;
    (void)module;
    (void)format;
    (void)arguments;
    return 1; /* no other handler */
}

static int32_t read_image(TIFF *tiff, tm_image *out) {
    uint32_t width = 0, height = 0;
    if (TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width) != 1 ||
        TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height) != 1)
        return TM_RUN_VALUE;
    const int32_t code = tm_image_create(out, width, height);
    if (code != 0)
        return code;
    const int64_t count = out->width * out->height;
    uint32_t *whole = calloc((size_t)count, 4);
    if (whole == NULL)
        return TM_RUN_MEMORY;
    const bool read = TIFFReadRGBAImageOriented(tiff, width, height, whole, ORIENTATION_TOPLEFT, 1) == 1;
    for (int64_t i = 0; i < count && read; i++) {
        out->pixels[3 * i] = (uint8_t)TIFFGetR(whole[i]);
        out->pixels[3 * i + 1] = (uint8_t)TIFFGetG(whole[i]);
        out->pixels[3 * i + 2] = (uint8_t)TIFFGetB(whole[i]);
    }
    free(whole);
    return read ? 0 : TM_RUN_VALUE;
}

int32_t tm_image_read_tiff(tm_image_file file, tm_image *out) {
    source s = {file, 0};
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (options == NULL)
        return TM_RUN_MEMORY;
    TIFFOpenOptionsSetErrorHandlerExtR(options, silent, NULL);
    TIFFOpenOptionsSetWarningHandlerExtR(options, silent, NULL);
    TIFF *tiff =
        TIFFClientOpenExt("image", "rm", &s, take, refuse, move, finish, size_of, NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    const int32_t code = tiff != NULL ? read_image(tiff, out) : TM_RUN_VALUE;
    if (tiff != NULL)
        TIFFClose(tiff);
    return code;
}
#else
int32_t tm_image_read_tiff(tm_image_file file, tm_image *out) {
    (void)file;
    (void)out;
    return TM_RUN_IMAGE;
}
#endif
