/* SPDX-License-Identifier: Apache-2.0
 *
 * The `tamis` command: finds the verb, runs it, turns errors into messages and an exit code.
 *
 * The only place of the project that prints errors and ends the process. Running out of memory anywhere
 * below comes back here by the arena's recovery point.
 */
#include "tools/tool.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

tm_code tool_report(tool *tool, tm_code code, const char *file, const char *hint, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *message = tm_arena_format_v(&tool->arena, format, arguments);
    va_end(arguments);
    tm_place place = {.file = file, .node_index = -1};
    return tm_report(&tool->diagnostics, code, &place, hint, "%s", message);
}

int tool_fail(tool *tool) {
    tm_text text;
    tm_text_init(&text, &tool->arena);
    int exit_code = 0;
    for (size_t i = 0; i < tool->diagnostics.list.count; i++) {
        const tm_diagnostic *diagnostic = &tool->diagnostics.list.items[i];
        if (diagnostic->place.file == NULL)
            tm_text_add(&text, "tamis: ");
        tm_diagnostic_print(diagnostic, &text);
        if (exit_code == 0)
            exit_code = tm_code_exit(diagnostic->code);
    }
    if (tool->compiler_text != NULL) {
        fputs(tool->compiler_text, stderr);
        exit_code = exit_code != 0 ? exit_code : tm_code_exit(tool->compiler_code);
    }
    if (exit_code == 0) {
        exit_code = tm_code_exit(TM_E_INTERNAL);
        tm_text_add(&text, "tamis: error E%04d: %s: a failure without a message\n", TM_E_INTERNAL,
                    tm_code_title(TM_E_INTERNAL));
    }
    fputs(tm_text_get(&text), stderr);
    tool->diagnostics.list.count = 0;
    return exit_code;
}

static const tool_verb *find_verb(const char *name) {
    for (const tool_verb *verb = tool_verbs; verb->name != NULL; verb++)
        if (strcmp(verb->name, name) == 0)
            return verb;
    return NULL;
}

static int print_help(const char *name) {
    const tool_verb *verb = name != NULL ? find_verb(name) : NULL;
    if (verb != NULL) {
        fputs(verb->help, stdout);
        return 0;
    }
    printf("tamis %s: compiles ONNX models to native code\n\n", TAMIS_VERSION);
    for (verb = tool_verbs; verb->name != NULL; verb++)
        printf("  tamis %-8s  %s\n", verb->name, verb->summary);
    printf("  tamis %-8s  %s\n\n", "help", "this list; `tamis help VERB` for one verb");
    puts("Exit codes: 0 ok, 1 a difference was found, 2 usage, 65 bad model or data,\n"
         "66 cannot open input, 69 unsupported, 70 internal error,\n"
         "73 cannot create output, 74 I/O error.");
    return 0;
}

static int run_verb(tool *tool, const tool_verb *verb, int argc, char **argv) {
    tool->verb = verb->name;
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_help(verb->name);
    return verb->run(tool, argc, argv);
}

int main(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        if (argc > 2 && find_verb(argv[2]) == NULL) {
            fprintf(stderr, "tamis: error E%04d: unknown verb '%s'\n    hint: tamis help\n", TM_E_USAGE,
                    argv[2]);
            return tm_code_exit(TM_E_USAGE);
        }
        print_help(argc > 2 ? argv[2] : NULL);
        return argc < 2 ? tm_code_exit(TM_E_USAGE) : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("tamis %s\n", TAMIS_VERSION);
        return 0;
    }
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is a failed write, with a message, like a full disk */
    tool_interrupt_init();
    static tool tool; /* static: survives the jump with its members as they are */
    tm_arena_init(&tool.arena);
    tm_diagnostics_init(&tool.diagnostics, &tool.arena);
    const tool_verb *verb = find_verb(argv[1]);
    int exit_code;
    tool.arena.has_recovery = true;
    if (setjmp(tool.arena.recovery) != 0) {
        fprintf(stderr, "tamis: error E%04d: %s\n", TM_E_OUT_OF_MEMORY, tm_code_title(TM_E_OUT_OF_MEMORY));
        exit_code = tm_code_exit(TM_E_OUT_OF_MEMORY);
    } else if (verb == NULL) {
        tool_report(&tool, TM_E_USAGE, NULL, "tamis help", "unknown verb '%s'", argv[1]);
        exit_code = tool_fail(&tool);
    } else {
        exit_code = run_verb(&tool, verb, argc - 2, argv + 2);
    }
    if (fflush(stdout) != 0 && exit_code == 0)
        exit_code = tm_code_exit(TM_E_IO);
    tm_arena_deinit(&tool.arena);
    return exit_code;
}
