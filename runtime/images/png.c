/* SPDX-License-Identifier: Apache-2.0
 *
 * png.c: PNG by libpng: palettes, grays and 16 bits become red, green, blue of 8 bits; transparency is left
 * out, and so is what the file says of gamma.
 */
#include "runtime/images/images.h"

#ifdef TM_HAVE_PNG
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

typedef struct source {
    tm_image_file file;
    int64_t at;
} source;

static void take(png_structp state, png_bytep to, size_t bytes) {
    source *s = png_get_io_ptr(state);
    if (bytes > (size_t)(s->file.size - s->at))
        png_error(state, "end of file");
    memcpy(to, s->file.data + s->at, bytes);
    s->at += (int64_t)bytes;
}

static void leave(png_structp state, png_const_charp text) {
    (void)text;
    png_longjmp(state, 1);
}

static void ignore(png_structp state, png_const_charp text) {
    (void)state;
    (void)text;
}

static int32_t read_rows(png_structp state, png_infop info, tm_image *out) {
    png_set_user_limits(state, 0x7fffffff, 0x7fffffff);
    png_read_info(state, info);
    png_set_expand(state);
    png_set_scale_16(state);
    png_set_strip_alpha(state);
    png_set_gray_to_rgb(state);
    const int passes = png_set_interlace_handling(state);
    png_read_update_info(state, info);
    const int32_t code =
        tm_image_create(out, png_get_image_width(state, info), png_get_image_height(state, info));
    if (code != 0)
        return code;
    if (png_get_rowbytes(state, info) != (size_t)out->width * 3)
        return TM_RUN_VALUE;
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < out->height; y++)
            png_read_row(state, out->pixels + y * out->width * 3, NULL);
    png_read_end(state, NULL);
    return 0;
}

int32_t tm_image_read_png(tm_image_file file, tm_image *out) {
    source s = {file, 0};
    png_structp state = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, leave, ignore);
    png_infop info = state != NULL ? png_create_info_struct(state) : NULL;
    volatile int32_t code = info != NULL ? TM_RUN_VALUE : TM_RUN_MEMORY;
    if (info != NULL && setjmp(png_jmpbuf(state)) == 0) {
        png_set_read_fn(state, &s, take);
        code = read_rows(state, info, out);
    }
    png_destroy_read_struct(&state, &info, NULL);
    return code;
}
#else
int32_t tm_image_read_png(tm_image_file file, tm_image *out) {
    (void)file;
    (void)out;
    return TM_RUN_IMAGE;
}
#endif
