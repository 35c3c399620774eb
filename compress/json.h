/* SPDX-License-Identifier: Apache-2.0
 *
 * json.h: reports as JSON. What is not known, or is no number, is null, so that a reader cannot take it for
 * zero.
 */
#ifndef TM_COMPRESS_JSON_H
#define TM_COMPRESS_JSON_H

#include "base/base.h"

#include <json-c/json.h>

void tm_json_number(json_object *to, const char *name, double value, bool known);
void tm_json_count(json_object *to, const char *name, int64_t value);
void tm_json_known_count(json_object *to, const char *name, int64_t value, bool known);
void tm_json_text(json_object *to, const char *name, const char *text); /* NULL: not known */
/* Adds the object to the text, in lines, and frees it. */
void tm_json_print(json_object *object, tm_text *out);

#endif
