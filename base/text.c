/* SPDX-License-Identifier: Apache-2.0
 *
 * text.c: builds text in an arena, and makes foreign bytes safe to print.
 *
 * Names come from files that nobody vouches for: they hold quotes, newlines, terminal escape
 * sequences, bytes that are not UTF-8. Escaping keeps what is readable and shows the rest:
 *
 *     say "hi"<newline><ESC>[31m   ->   say \"hi\"\n\x1b[31m
 *     Größe                        ->   Größe          (well-formed UTF-8 stays)
 *
 * \xHH stands for exactly one byte and always has two digits, so the IR parser can undo it. Control
 * characters above U+007F (terminals obey those too), surrogates and overlong forms count as bytes
 * to show.
 */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

enum {
#ifdef TM_HOSTILE
    FIRST_CAPACITY = 1
#else
    FIRST_CAPACITY = 64
#endif
};

void tm_text_init(tm_text *text, tm_arena *arena) {
    *text = (tm_text){.arena = arena};
}

/* Room for `bytes` more and the NUL. */
static void reserve(tm_text *text, size_t bytes) {
    size_t wanted;
    if (!tm_add_size(text->size, bytes, &wanted) || !tm_add_size(wanted, 1, &wanted))
        wanted = SIZE_MAX; /* the arena refuses it */
    if (wanted <= text->capacity)
        return;
    size_t capacity = text->capacity == 0 ? FIRST_CAPACITY : text->capacity;
    while (capacity < wanted)
        if (!tm_mul_size(capacity, 2, &capacity))
            capacity = SIZE_MAX;
    char *data = tm_arena_alloc(text->arena, capacity);
    if (text->size != 0)
        memcpy(data, text->data, text->size);
    text->data = data;
    text->capacity = capacity;
}

void tm_text_add(tm_text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    size_t bytes = length < 0 ? SIZE_MAX : (size_t)length;
    reserve(text, bytes);
    va_start(arguments, format);
    vsnprintf(text->data + text->size, bytes + 1, format, arguments);
    va_end(arguments);
    text->size += bytes;
}

void tm_text_add_bytes(tm_text *text, const void *data, size_t bytes) {
    reserve(text, bytes);
    if (bytes != 0)
        memcpy(text->data + text->size, data, bytes);
    text->size += bytes;
    text->data[text->size] = 0;
}

/* Length of the well-formed, printable UTF-8 sequence at `data`, or 0. */
static size_t printable_length(const unsigned char *data, size_t bytes) {
    unsigned first = data[0];
    if (first < 0x80)
        return first >= 0x20 && first != 0x7f;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || length > bytes)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((data[i] & 0xc0) != 0x80)
            return 0;
    unsigned second = data[1];
    bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    bool surrogate = first == 0xed && second >= 0xa0;
    bool too_large = first == 0xf4 && second >= 0x90;
    bool control = first == 0xc2 && second < 0xa0;
    return overlong || surrogate || too_large || control ? 0 : length;
}

void tm_text_add_escaped(tm_text *text, const char *data, size_t bytes) {
    for (size_t i = 0; i < bytes;) {
        char c = data[i];
        size_t length = printable_length((const unsigned char *)data + i, bytes - i);
        if (c == '"' || c == '\\')
            tm_text_add(text, "\\%c", c);
        else if (c == '\n' || c == '\t')
            tm_text_add(text, "\\%c", c == '\n' ? 'n' : 't');
        else if (length != 0)
            tm_text_add_bytes(text, data + i, length);
        else
            tm_text_add(text, "\\x%02x", (unsigned char)c);
        i += length != 0 ? length : 1;
    }
}

void tm_text_add_printable(tm_text *text, const char *data, size_t bytes) {
    for (size_t i = 0; i < bytes;) {
        size_t length = printable_length((const unsigned char *)data + i, bytes - i);
        if (data[i] == '\n')
            tm_text_add(text, "\n    ");
        else if (length != 0)
            tm_text_add_bytes(text, data + i, length);
        else
            tm_text_add(text, "\\x%02x", (unsigned char)data[i]);
        i += length != 0 ? length : 1;
    }
}

const char *tm_text_get(const tm_text *text) {
    return text->data != NULL ? text->data : "";
}
