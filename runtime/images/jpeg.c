/* SPDX-License-Identifier: Apache-2.0
 *
 * jpeg.c: JPEG by libjpeg-turbo, whose chroma upsampling and transform are what the standard asks for.
 *
 * The library reports errors by leaving through a function of ours, which jumps; warnings that the data end
 * or are damaged make the image damaged too. Four colours are taken as Adobe stores them, inverted.
 */
#include "runtime/images/images.h"

#ifdef TM_HAVE_JPEG
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

typedef struct decoder {
    struct jpeg_decompress_struct state;
    struct jpeg_error_mgr errors;
    jmp_buf recovery;
    uint8_t *row; /* of four colours */
} decoder;

static void leave(j_common_ptr state) {
    decoder *d = state->client_data;
    longjmp(d->recovery, 1);
}

static void note(j_common_ptr state, int level) {
    const int code = state->err->msg_code;
    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE))
        leave(state);
}

static void read_four(const uint8_t *row, int64_t width, bool inverted, uint8_t *to) {
    for (int64_t x = 0; x < width; x++)
        for (int i = 0; i < 3; i++) {
            const unsigned ink = row[4 * x + i], black = row[4 * x + 3];
            const unsigned light = inverted ? ink * black : (255 - ink) * (255 - black);
            to[3 * x + i] = (uint8_t)((light + 127) / 255);
        }
}

static int32_t read_rows(decoder *d, tm_image_file file, tm_image *out) {
    struct jpeg_decompress_struct *state = &d->state;
    jpeg_mem_src(state, file.data, (unsigned long)file.size);
    jpeg_read_header(state, TRUE);
    const bool four = state->num_components == 4;
    state->out_color_space = four ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(state);
    const int32_t code = tm_image_create(out, state->output_width, state->output_height);
    if (code != 0)
        return code;
    if (four && (d->row = malloc((size_t)out->width * 4)) == NULL)
        return TM_RUN_MEMORY;
    while (state->output_scanline < state->output_height) {
        uint8_t *to = out->pixels + (int64_t)state->output_scanline * out->width * 3;
        JSAMPROW row = four ? d->row : to;
        if (jpeg_read_scanlines(state, &row, 1) == 1 && four)
            read_four(d->row, out->width, state->saw_Adobe_marker, to);
    }
    jpeg_finish_decompress(state);
    return 0;
}

int32_t tm_image_read_jpeg(tm_image_file file, tm_image *out) {
    decoder *d = calloc(1, sizeof *d);
    if (d == NULL)
        return TM_RUN_MEMORY;
    d->state.err = jpeg_std_error(&d->errors);
    d->errors.error_exit = leave;
    d->errors.emit_message = note;
    d->state.client_data = d;
    int32_t code = TM_RUN_VALUE;
    if (setjmp(d->recovery) == 0) {
        jpeg_create_decompress(&d->state);
        code = read_rows(d, file, out);
    }
    jpeg_destroy_decompress(&d->state);
    free(d->row);
    free(d);
    return code;
}
#else
int32_t tm_image_read_jpeg(tm_image_file file, tm_image *out) {
    (void)file;
    (void)out;
    return TM_RUN_IMAGE;
}
#endif
