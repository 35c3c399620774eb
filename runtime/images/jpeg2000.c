/* SPDX-License-Identifier: Apache-2.0
 *
 * jpeg2000.c: JPEG 2000 by OpenJPEG, as a JP2 file or a bare codestream.
 *
 * Components may have their own resolution, number of bits and sign: a pixel takes the sample above it,
 * shifted to 8 bits. One or two components are gray, more are red, green, blue, or, when the file says so,
 * luminance and two colour differences.
 */
#include "runtime/images/images.h"

#ifdef TM_HAVE_JPEG2000
#include <string.h>

#include <openjpeg.h>

typedef struct source {
    tm_image_file file;
    int64_t at;
} source;

static OPJ_SIZE_T take(void *to, OPJ_SIZE_T bytes, void *context) {
    source *s = context;
    const int64_t left = s->file.size - s->at, count = (int64_t)bytes < left ? (int64_t)bytes : left;
    if (count <= 0)
        return (OPJ_SIZE_T)-1;
    memcpy(to, s->file.data + s->at, (size_t)count);
    s->at += count;
    return (OPJ_SIZE_T)count;
}

static OPJ_OFF_T skip(OPJ_OFF_T bytes, void *context) {
    source *s = context;
    const int64_t left = s->file.size - s->at;
    if (bytes < 0)
        return -1;
    s->at += bytes < left ? bytes : left;
    return bytes < left ? bytes : left;
}

static OPJ_BOOL seek(OPJ_OFF_T at, void *context) {
    source *s = context;
    if (at < 0 || at > s->file.size)
        return OPJ_FALSE;
    s->at = at;
    return OPJ_TRUE;
}

/* The sample of a component for a pixel, in 0..255. */
static int sample_of(const opj_image_comp_t *c, int64_t x, int64_t y) {
    const int64_t column = x / c->dx < c->w ? x / c->dx : c->w - 1,
                  row = y / c->dy < c->h ? y / c->dy : c->h - 1;
    int64_t value = c->data[row * c->w + column];
    value += c->sgnd ? (int64_t)1 << (c->prec - 1) : 0;
    value = c->prec > 8 ? value >> (c->prec - 8) : value * 255 / (((int64_t)1 << c->prec) - 1);
    return (int)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static uint8_t clamped(double v) {
    return (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : v + 0.5);
}

static void to_rgb(const int *s, bool differences, uint8_t *to) {
    if (differences) {
        to[0] = clamped(s[0] + 1.402 * (s[2] - 128));
        to[1] = clamped(s[0] - 0.344136 * (s[1] - 128) - 0.714136 * (s[2] - 128));
        to[2] = clamped(s[0] + 1.772 * (s[1] - 128));
        return;
    }
    for (int i = 0; i < 3; i++)
        to[i] = (uint8_t)s[i];
}

static bool is_sound(const opj_image_t *image) {
    for (OPJ_UINT32 i = 0; i < image->numcomps; i++) {
        const opj_image_comp_t *c = &image->comps[i];
        if (c->data == NULL || c->w == 0 || c->h == 0 || c->dx == 0 || c->dy == 0 || c->prec < 1 ||
            c->prec > 31)
            return false;
    }
    return image->numcomps > 0;
}

static int32_t read_pixels(const opj_image_t *image, tm_image *out) {
    if (!is_sound(image))
        return TM_RUN_VALUE;
    const int components = image->numcomps >= 3 ? 3 : 1;
    const bool differences = components == 3 && image->color_space == OPJ_CLRSPC_SYCC;
    for (int64_t y = 0; y < out->height; y++)
        for (int64_t x = 0; x < out->width; x++) {
            int samples[3];
            for (int i = 0; i < 3; i++)
                samples[i] = i < components ? sample_of(&image->comps[i], x, y) : samples[0];
            to_rgb(samples, differences, out->pixels + (y * out->width + x) * 3);
        }
    return 0;
}

static int32_t read_stream(opj_codec_t *codec, opj_stream_t *stream, tm_image *out) {
    opj_dparameters_t parameters;
    opj_image_t *image = NULL;
    int32_t code = TM_RUN_VALUE;
    opj_set_default_decoder_parameters(&parameters);
    if (opj_setup_decoder(codec, &parameters) && opj_decoder_set_strict_mode(codec, OPJ_TRUE) &&
        opj_read_header(stream, codec, &image) && image->x1 > image->x0 && image->y1 > image->y0) {
        code = tm_image_create(out, (int64_t)image->x1 - image->x0, (int64_t)image->y1 - image->y0);
        if (code == 0)
            code = opj_decode(codec, stream, image) && opj_end_decompress(codec, stream)
                       ? read_pixels(image, out)
                       : TM_RUN_VALUE;
    }
    opj_image_destroy(image);
    return code;
}

int32_t tm_image_read_jpeg2000(tm_image_file file, tm_image *out) {
    source s = {file, 0};
    opj_codec_t *codec = opj_create_decompress(file.data[0] == 0 ? OPJ_CODEC_JP2 : OPJ_CODEC_J2K);
    opj_stream_t *stream = opj_stream_create(65536, OPJ_TRUE);
    int32_t code = TM_RUN_MEMORY;
    if (codec != NULL && stream != NULL) {
        opj_stream_set_user_data(stream, &s, NULL);
        opj_stream_set_user_data_length(stream, (OPJ_UINT64)file.size);
        opj_stream_set_read_function(stream, take);
        opj_stream_set_skip_function(stream, skip);
        opj_stream_set_seek_function(stream, seek);
        code = read_stream(codec, stream, out);
    }
    opj_stream_destroy(stream);
    opj_destroy_codec(codec);
    return code;
}
#else
int32_t tm_image_read_jpeg2000(tm_image_file file, tm_image *out) {
    (void)file;
    (void)out;
    return TM_RUN_IMAGE;
}
#endif
