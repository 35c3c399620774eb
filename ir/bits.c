/* SPDX-License-Identifier: Apache-2.0
 *
 * bits.c: packing of weights of few bits; see bits.h.
 */
#include "ir/bits.h"

#include <string.h>

#define LEAST_BLOCK 16
#define ROOM 16 /* rows of digits are filled up to this: the k of a word of 2 bits */

bool tm_bits_can_pack(int64_t k, int64_t block) {
    if (block >= k)
        return true;
    return block >= LEAST_BLOCK && block % LEAST_BLOCK == 0 &&
           (block <= TM_BITS_STEP || block % TM_BITS_STEP == 0);
}

int64_t tm_bits_step(int64_t k, int64_t block) {
    return block < k && block < TM_BITS_STEP ? block : TM_BITS_STEP;
}

/* Sums of 256 bytes by digits stay below 2^22 when bytes are taken from the middle of their range. */
int tm_bits_centre(const struct tm_bits *bits, int width) {
    return width == 8 || bits->zero != NULL ? 1 << (width - 1) : bits->zero_point;
}

int64_t tm_digits_room(int64_t k, int64_t step) {
    int64_t most = k < step ? k : step;
    return (most + ROOM - 1) / ROOM * ROOM;
}

int64_t tm_digits_record(int64_t k, int64_t step) {
    return TM_DIGITS_HEAD + 3 * tm_digits_room(k, step);
}

static int64_t lines_of(int64_t k, int bits) {
    return (k * bits + 31) / 32;
}

tm_bits_form tm_bits_form_of(const tm_constant *constant) {
    const struct tm_bits *b = constant->bits;
    tm_bits_form form = {
        .bits = tm_type_bits(constant->type), .n = constant->dims[0], .k = constant->dims[1]};
    form.block = b->block < form.k ? b->block : form.k;
    form.blocks = (form.k + form.block - 1) / form.block;
    form.step = tm_bits_step(form.k, form.block);
    form.steps = (form.k + form.step - 1) / form.step;
    form.float_zeros = b->zero != NULL && b->zero->type == TAMIS_TYPE_FLOAT;
    int64_t zero_bytes = form.float_zeros ? (int64_t)sizeof(float) : b->zero != NULL;
    form.head = TM_BITS_PANEL * ((int64_t)sizeof(float) + zero_bytes);
    form.block_bytes = form.head + TM_BITS_LINE * lines_of(form.block, form.bits);
    int64_t last = form.k - (form.blocks - 1) * form.block;
    form.panel_bytes =
        (form.blocks - 1) * form.block_bytes + form.head + TM_BITS_LINE * lines_of(last, form.bits);
    form.panels = (form.n + TM_BITS_PANEL - 1) / TM_BITS_PANEL;
    return form;
}

static int element(const tm_constant *constant, int bits, int64_t i) {
    int value = ((const uint8_t *)constant->data)[i * bits / 8] >> i * bits % 8 & ((1 << bits) - 1);
    return tm_type_is_signed(constant->type) ? value ^ 1 << (bits - 1) : value;
}

static void put_head(const tm_constant *constant, const tm_bits_form *form, int64_t first, int64_t columns,
                     int64_t block, uint8_t *to) {
    const struct tm_bits *b = constant->bits;
    memset(to, 0, (size_t)form->head);
    for (int64_t c = 0; c < columns; c++) {
        int64_t at = (first + c) * form->blocks + block;
        double scale = 0;
        (void)tm_constant_double(b->scale, at, &scale);
        float narrow = (float)scale;
        memcpy(to + c * (int64_t)sizeof narrow, &narrow, sizeof narrow);
        uint8_t *zeros = to + TM_BITS_PANEL * sizeof(float);
        if (form->float_zeros) {
            float zero = ((const float *)b->zero->data)[at] +
                         (float)(tm_type_is_signed(constant->type) ? 1 << (form->bits - 1) : 0);
            memcpy(zeros + c * (int64_t)sizeof zero, &zero, sizeof zero);
        } else if (b->zero != NULL) {
            zeros[c] = (uint8_t)element(b->zero, form->bits, at);
        }
    }
}

int64_t tm_bits_pack(const tm_constant *constant, const tm_bits_form *form, int64_t panel, int64_t step,
                     uint8_t *to) {
    int64_t first = panel * TM_BITS_PANEL, k0 = step * form->step, bytes = 0;
    int64_t columns = form->n - first < TM_BITS_PANEL ? form->n - first : TM_BITS_PANEL;
    int64_t count = form->k - k0 < form->step ? form->k - k0 : form->step;
    if (k0 % form->block == 0) {
        put_head(constant, form, first, columns, k0 / form->block, to);
        bytes = form->head;
    }
    int bits = form->bits, per_word = 32 / bits;
    uint8_t *lines = to + bytes;
    bytes += TM_BITS_LINE * lines_of(count, bits);
    memset(lines, 0, (size_t)(to + bytes - lines));
    for (int64_t c = 0; c < columns; c++)
        for (int64_t i = 0; i < count; i++) {
            int value = element(constant, bits, (first + c) * form->k + k0 + i);
            int64_t within = i % per_word;
            lines[i / per_word * TM_BITS_LINE + c * 4 + within % 4] |= (uint8_t)(value << within / 4 * bits);
        }
    return bytes;
}
