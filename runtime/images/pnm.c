/* SPDX-License-Identifier: Apache-2.0
 *
 * pnm.c: the portable formats: bits (P1, P4), grays (P2, P5), colours (P3, P6), as text or as bytes.
 *
 *     P3 2 1 255  255 0 0  0 0 255         # a red pixel and a blue one
 *
 * Samples are stretched from 0..largest to 0..255; those above 255 take two bytes, the high one first.
 */
#include "runtime/images/images.h"

typedef struct reader {
    tm_image_file file;
    int64_t at;
} reader;

static bool is_space(uint8_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip(reader *r) {
    while (r->at < r->file.size && (is_space(r->file.data[r->at]) || r->file.data[r->at] == '#')) {
        if (r->file.data[r->at] == '#')
            while (r->at < r->file.size && r->file.data[r->at] != '\n')
                r->at++;
        else
            r->at++;
    }
}

/* A number in decimal, of `digits` digits at most; -1: none. */
static int64_t number(reader *r, int digits) {
    int64_t value = -1;
    skip(r);
    for (int n = 0; n < digits && r->at < r->file.size; n++, r->at++) {
        const uint8_t c = r->file.data[r->at];
        if (c < '0' || c > '9')
            break;
        value = (value < 0 ? 0 : value) * 10 + (c - '0');
    }
    return value;
}

typedef struct samples {
    reader r;
    bool text, bits;
    int64_t largest;
    int bit; /* of the byte at r.at */
} samples;

/* The next sample; -1: the file ends. */
static int64_t next(samples *s) {
    if (s->text)
        return number(&s->r, s->bits ? 1 : 9);
    const int64_t bytes = s->largest > 255 ? 2 : 1;
    if (s->r.file.size - s->r.at < bytes)
        return -1;
    const uint8_t *at = s->r.file.data + s->r.at;
    if (s->bits) {
        const int64_t bit = at[0] >> (7 - s->bit) & 1;
        s->bit = (s->bit + 1) % 8;
        s->r.at += s->bit == 0;
        return bit;
    }
    s->r.at += bytes;
    return bytes == 2 ? at[0] * 256 + at[1] : at[0];
}

static int32_t read_pixels(samples *s, int channels, tm_image *out) {
    uint8_t *to = out->pixels;
    for (int64_t y = 0; y < out->height; y++) {
        for (int64_t i = 0; i < out->width * channels; i++) {
            const int64_t value = next(s);
            if (value < 0 || value > s->largest)
                return TM_RUN_VALUE;
            const uint8_t byte =
                (uint8_t)(s->bits ? 255 * (1 - value) : (value * 255 + s->largest / 2) / s->largest);
            for (int k = 0; k < 3 / channels; k++) /* a gray three times */
                *to++ = byte;
        }
        if (s->bit != 0) { /* a row begins in a byte of its own */
            s->bit = 0;
            s->r.at++;
        }
    }
    return 0;
}

int32_t tm_image_read_pnm(tm_image_file file, tm_image *out) {
    const int kind = file.data[1] - '0';
    samples s = {.r = {file, 2}, .text = kind <= 3, .bits = kind == 1 || kind == 4, .largest = 1};
    const int64_t width = number(&s.r, 9), height = number(&s.r, 9);
    const int channels = kind % 3 == 0 ? 3 : 1;
    if (!s.bits)
        s.largest = number(&s.r, 5);
    if (s.largest < 1 || s.largest > 65535 || width < 1 || height < 1)
        return TM_RUN_VALUE;
    s.r.at += s.text ? 0 : 1;
    /* Even bits take a byte for eight. */
    if (width > (file.size - s.r.at) * 8 / height)
        return TM_RUN_VALUE;
    const int32_t code = tm_image_create(out, width, height);
    return code != 0 ? code : read_pixels(&s, channels, out);
}
