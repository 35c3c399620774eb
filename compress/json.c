/* SPDX-License-Identifier: Apache-2.0
 *
 * json.c: the members that reports are made of; see json.h.
 */
#include "compress/json.h"

#include <math.h>

void tm_json_number(json_object *to, const char *name, double value, bool known) {
    json_object_object_add(to, name, known && isfinite(value) ? json_object_new_double(value) : NULL);
}

void tm_json_count(json_object *to, const char *name, int64_t value) {
    json_object_object_add(to, name, json_object_new_int64(value));
}

void tm_json_known_count(json_object *to, const char *name, int64_t value, bool known) {
    json_object_object_add(to, name, known ? json_object_new_int64(value) : NULL);
}

void tm_json_text(json_object *to, const char *name, const char *text) {
    json_object_object_add(to, name, text != NULL ? json_object_new_string(text) : NULL);
}

void tm_json_print(json_object *object, tm_text *out) {
    tm_text_add(
        out, "%s\n",
        json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(object);
}
