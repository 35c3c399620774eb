/* SPDX-License-Identifier: Apache-2.0
 *
 * status.c: what an error number means.
 *
 * base/errors.def has one row per error; this file expands it into a table, so that a new error is
 * one new row and nothing else:
 *
 *     TM_ERROR(111, SHAPE, 65, "shapes do not fit", "The dims of ...")
 *     tm_code_title(TM_E_SHAPE) -> "shapes do not fit"      tm_code_exit(TM_E_SHAPE) -> 65
 *
 * Numbers have gaps (they are never reused), hence a search instead of an index. The list is short
 * and errors are rare.
 */
#include "base/base.h"

typedef struct error_row {
    tm_code code;
    int exit_code;
    const char *title;
    const char *text;
} error_row;

static const error_row error_rows[] = {
#define TM_ERROR(number, name, exit_code, title, text) {TM_E_##name, exit_code, title, text},
#include "base/errors.def"
#undef TM_ERROR
};

enum { ERROR_COUNT = sizeof error_rows / sizeof error_rows[0] };

static const error_row *find_row(tm_code code) {
    for (int i = 0; i < ERROR_COUNT; i++)
        if (error_rows[i].code == code)
            return &error_rows[i];
    return NULL;
}

const char *tm_code_title(tm_code code) {
    const error_row *row = find_row(code);
    return row != NULL ? row->title : code == TM_OK ? "ok" : "unknown error";
}

const char *tm_code_text(tm_code code) {
    const error_row *row = find_row(code);
    return row != NULL ? row->text : "";
}

int tm_code_exit(tm_code code) {
    const error_row *row = find_row(code);
    return row != NULL ? row->exit_code : code == TM_OK ? 0 : tm_code_exit(TM_E_INTERNAL);
}

tm_code tm_code_next(tm_code code) {
    if (code == TM_OK)
        return error_rows[0].code;
    const error_row *row = find_row(code);
    return row == NULL || row == &error_rows[ERROR_COUNT - 1] ? TM_OK : row[1].code;
}
