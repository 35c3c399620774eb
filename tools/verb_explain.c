/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis explain E0200: the long text of an error; without an argument, the list. All from base/errors.def.
 */
#include "tools/tool.h"

#include <stdlib.h>
#include <string.h>

/* Breaks the text at blanks into lines of up to 88 characters. */
static void print_wrapped(const char *text) {
    while (*text != 0) {
        size_t size = strlen(text);
        size_t line = size < 88 ? size : 88;
        while (line < size && line > 0 && text[line] != ' ')
            line--;
        if (line == 0)
            line = size;
        printf("  %.*s\n", (int)line, text);
        text += line;
        while (*text == ' ')
            text++;
    }
}

int tool_explain_main(tool *tool, int argc, char **argv) {
    if (argc == 0)
        for (tm_code code = tm_code_next(TM_OK); code != TM_OK; code = tm_code_next(code))
            printf("E%04d  exit %2d  %s\n", code, tm_code_exit(code), tm_code_title(code));
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i][0] == 'E' || argv[i][0] == 'e' ? argv[i] + 1 : argv[i];
        int wanted = atoi(text);
        tm_code code = tm_code_next(TM_OK);
        while (code != TM_OK && (int)code != wanted)
            code = tm_code_next(code);
        if (code == TM_OK) {
            tool_report(tool, TM_E_USAGE, NULL, "tamis explain lists them", "there is no error '%s'",
                        argv[i]);
            return tool_fail(tool);
        }
        printf("E%04d: %s (exit code %d)\n\n", code, tm_code_title(code), tm_code_exit(code));
        print_wrapped(tm_code_text(code));
    }
    return 0;
}
