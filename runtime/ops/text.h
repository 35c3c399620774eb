/* SPDX-License-Identifier: Apache-2.0
 *
 * text.h: strings of kernels, as bytes and as UTF-8.
 *
 * Nothing says that a model's strings are good UTF-8. A byte that belongs to no character is read as one of
 * its own, with a number below 0, so that it equals nothing, is no letter and no space, and passes through
 * unchanged.
 */
#ifndef TM_OPS_TEXT_H
#define TM_OPS_TEXT_H

#include "runtime/kernel.h"

static inline bool tm_text_same(tamis_string a, tamis_string b) {
    if (a.size != b.size)
        return false;
    for (int64_t i = 0; i < a.size; i++)
        if (a.data[i] != b.data[i])
            return false;
    return true;
}

/* Does `part` stand at byte `at`? */
static inline bool tm_text_stands(tamis_string text, int64_t at, tamis_string part) {
    return text.size - at >= part.size && tm_text_same((tamis_string){text.data + at, part.size}, part);
}

static inline tamis_string tm_text_of(const void *attributes, tm_list list) {
    return (tamis_string){tm_chars(attributes, list), list.count};
}

/* The character at byte *at, which moves behind it; -1 for a byte that belongs to none. */
static inline int32_t tm_text_next(tamis_string text, int64_t *at) {
    static const int32_t least[] = {0, 0x80, 0x800, 0x10000};
    const uint8_t *bytes = (const uint8_t *)text.data + *at;
    const int64_t left = text.size - *at;
    *at += 1;
    if (bytes[0] < 0x80)
        return bytes[0];
    const int more = bytes[0] >= 0xf0 ? 3 : bytes[0] >= 0xe0 ? 2 : 1;
    if (bytes[0] < 0xc0 || bytes[0] >= 0xf8 || left <= more)
        return -1;
    int32_t code = bytes[0] & (0x3f >> more);
    for (int i = 1; i <= more; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return -1;
        code = code << 6 | (bytes[i] & 0x3f);
    }
    if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return -1;
    *at += more;
    return code;
}

/* Writes a code point; returns its bytes, 4 at most. */
static inline int64_t tm_text_put(char *to, int32_t code) {
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    const int more = code >= 0x10000 ? 3 : code >= 0x800 ? 2 : 1;
    to[0] = (char)((0xff << (7 - more) & 0xff) | code >> 6 * more);
    for (int i = 1; i <= more; i++)
        to[i] = (char)(0x80 | (code >> 6 * (more - i) & 0x3f));
    return more + 1;
}

#endif
