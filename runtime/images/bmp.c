/* SPDX-License-Identifier: Apache-2.0
 *
 * bmp.c: Windows bitmaps: 1, 2, 4 and 8 bits with a palette, 16, 24 and 32 bits, run lengths of 4 and 8 bits.
 *
 * Rows stand from the bottom up unless the height is negative, each padded to four bytes. Pixels of 16 and 32
 * bits are cut by masks, for which there are defaults; transparency is left out.
 */
#include "runtime/images/images.h"

#include <stdlib.h>

enum { RUNS_8 = 1, RUNS_4 = 2, MASKS = 3, MASKS_WITH_ALPHA = 6 };

typedef struct bitmap {
    tm_image_file file;
    int64_t data; /* of the pixels, in the file */
    int64_t width, height;
    bool top_down;
    uint32_t bits, compression;
    const uint8_t *palette;
    uint32_t colours, colour_bytes;
    uint32_t masks[3];
} bitmap;

static bool read_header(bitmap *b) {
    const uint8_t *at = b->file.data + 14;
    if (b->file.size < 26)
        return false;
    const uint32_t header = tm_image_u32(at);
    const bool old = header == 12;
    if ((!old && header < 40) || header > 1024 || b->file.size < 14 + (int64_t)header)
        return false;
    b->data = tm_image_u32(b->file.data + 10);
    b->width = old ? (int64_t)tm_image_u16(at + 4) : (int32_t)tm_image_u32(at + 4);
    b->height = old ? (int64_t)tm_image_u16(at + 6) : (int32_t)tm_image_u32(at + 8);
    b->bits = tm_image_u16(at + (old ? 10 : 14));
    b->compression = old ? 0 : tm_image_u32(at + 16);
    b->top_down = b->height < 0;
    b->height = b->top_down ? -b->height : b->height;
    const bool own_masks = b->compression == MASKS || b->compression == MASKS_WITH_ALPHA;
    int64_t end = 14 + (int64_t)header;
    if (own_masks && (b->file.size < 14 + 52 || (b->bits != 16 && b->bits != 32)))
        return false;
    for (int i = 0; i < 3; i++)
        b->masks[i] = own_masks       ? tm_image_u32(at + 40 + 4 * i)
                      : b->bits == 16 ? 0x1fu << 5 * (2 - i)
                                      : 0xffu << 8 * (2 - i);
    if (own_masks && header == 40)
        end += 12;
    b->palette = b->file.data + end;
    b->colour_bytes = old ? 3 : 4;
    b->colours = old || b->bits > 8 ? 0 : tm_image_u32(at + 32);
    if (b->colours == 0 && b->bits <= 8)
        b->colours = 1u << b->bits;
    return b->bits > 8 || (b->colours <= 256 && b->file.size - end >= (int64_t)b->colours * b->colour_bytes);
}

static uint8_t *row_of(const bitmap *b, tm_image *out, int64_t y) {
    return out->pixels + (b->top_down ? y : b->height - 1 - y) * b->width * 3;
}

static void set_colour(const bitmap *b, uint8_t *pixel, uint32_t index) {
    if (index >= b->colours)
        return;
    const uint8_t *colour = b->palette + (int64_t)index * b->colour_bytes;
    pixel[0] = colour[2];
    pixel[1] = colour[1];
    pixel[2] = colour[0];
}

/* The bits under a mask, stretched to 0..255. */
static uint8_t under_mask(uint32_t value, uint32_t mask) {
    if (mask == 0)
        return 0;
    const int shift = __builtin_ctz(mask);
    const uint64_t most = mask >> shift;
    return (uint8_t)(((value & mask) >> shift) * (uint64_t)255 / most);
}

static void read_row(const bitmap *b, const uint8_t *row, uint8_t *to) {
    for (int64_t x = 0; x < b->width; x++, to += 3) {
        if (b->bits <= 8) {
            const int64_t bit = x * b->bits;
            set_colour(b, to, row[bit / 8] >> (8 - b->bits - bit % 8) & ((1u << b->bits) - 1));
        } else if (b->bits == 24) {
            to[0] = row[3 * x + 2];
            to[1] = row[3 * x + 1];
            to[2] = row[3 * x];
        } else {
            const uint32_t value = b->bits == 16 ? tm_image_u16(row + 2 * x) : tm_image_u32(row + 4 * x);
            for (int i = 0; i < 3; i++)
                to[i] = under_mask(value, b->masks[i]);
        }
    }
}

static int32_t read_rows(const bitmap *b, tm_image *out) {
    const int64_t stride = (b->width * b->bits + 31) / 32 * 4;
    if (b->data > b->file.size || (b->file.size - b->data) / stride < b->height)
        return TM_RUN_VALUE;
    for (int64_t y = 0; y < b->height; y++)
        read_row(b, b->file.data + b->data + y * stride, row_of(b, out, y));
    return 0;
}

static void put_run(const bitmap *b, tm_image *out, int64_t *x, int64_t y, uint32_t index) {
    if (*x < b->width && y < b->height)
        set_colour(b, row_of(b, out, y) + *x * 3, index);
    *x += 1;
}

/* Pairs of bytes: a count and an index (two of 4 bits, in turn), or 0 and what to do: 0 ends the row, 1 the
 * image, 2 moves, more are so many pixels as they are. */
static int32_t read_runs(const bitmap *b, tm_image *out) {
    const uint8_t *at = b->file.data + b->data, *end = b->file.data + b->file.size;
    const bool four = b->compression == RUNS_4;
    int64_t x = 0, y = 0;
    if (b->bits != (four ? 4u : 8u) || b->data > b->file.size)
        return TM_RUN_VALUE;
    while (end - at >= 2) {
        const uint32_t count = at[0], what = at[1];
        at += 2;
        if (count > 0) {
            for (uint32_t i = 0; i < count; i++)
                put_run(b, out, &x, y, four ? what >> (i % 2 == 0 ? 4 : 0) & 15 : what);
        } else if (what == 0) {
            x = 0;
            y++;
        } else if (what == 1) {
            return 0;
        } else if (what == 2) {
            if (end - at < 2)
                return TM_RUN_VALUE;
            x += at[0];
            y += at[1];
            at += 2;
        } else {
            const int64_t bytes = four ? (what + 1) / 2 : what;
            if (end - at < bytes)
                return TM_RUN_VALUE;
            for (uint32_t i = 0; i < what; i++)
                put_run(b, out, &x, y, four ? at[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15u : at[i]);
            at += (bytes + 1) / 2 * 2;
            at = at > end ? end : at;
        }
    }
    return TM_RUN_VALUE;
}

int32_t tm_image_read_bmp(tm_image_file file, tm_image *out) {
    bitmap b = {.file = file};
    if (!read_header(&b))
        return TM_RUN_VALUE;
    const bool runs = b.compression == RUNS_8 || b.compression == RUNS_4;
    const bool known = b.bits == 1 || b.bits == 2 || b.bits == 4 || b.bits == 8 || b.bits == 16 ||
                       b.bits == 24 || b.bits == 32;
    if (!known ||
        (b.compression != 0 && !runs && b.compression != MASKS && b.compression != MASKS_WITH_ALPHA))
        return TM_RUN_VALUE;
    /* Runs may make much of few bytes; rows may not. */
    if (!runs && (b.width < 1 || b.width > file.size * 8 || b.height > file.size))
        return TM_RUN_VALUE;
    int32_t code = tm_image_create(out, b.width, b.height);
    return code != 0 ? code : runs ? read_runs(&b, out) : read_rows(&b, out);
}
