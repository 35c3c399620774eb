/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line, in clang's manner: `-o FILE`, `-O2`, `--dim N=1` or `--dim=N=1`, names of files
 * anywhere, `--` before names that start with a dash.
 *
 * A verb gives a table of its options and asks for one after the other:
 *
 *     while ((id = tool_arguments_next(&arguments)) > 0)
 *         switch (id) { ... arguments.value ... }
 *
 * The options of compilation are one macro (TOOL_COMPILE_OPTIONS) and one function here, so that
 * `run`, `check`, `verify`, `bench` and `opt` take what `compile` takes.
 */
#include "tools/tool.h"

#include "compiler/internal.h"
#include "ir/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void tool_arguments_init(tool_arguments *arguments, tool *tool, int argc, char **argv,
                         const tool_option *options) {
    *arguments = (tool_arguments){.tool = tool, .argc = argc, .argv = argv, .options = options};
}

/* Does `text` call the option? Sets *out_value to what follows the name, NULL when nothing does. */
static bool matches(const tool_option *option, const char *text, const char **out_value) {
    size_t size = strlen(option->name);
    if (strncmp(text, option->name, size) != 0)
        return false;
    const char *rest = text + size;
    *out_value = NULL;
    if (*rest == 0)
        return true;
    if (option->form == TOOL_FLAG)
        return false;
    bool is_short = option->name[1] != '-' && size == 2;
    if (*rest == '=' && !is_short) {
        *out_value = rest + 1;
        return true;
    }
    *out_value = rest;
    return is_short;
}

int tool_arguments_next(tool_arguments *arguments) {
    tool *tool = arguments->tool;
    while (arguments->at < arguments->argc) {
        const char *text = arguments->argv[arguments->at++];
        if (arguments->plain || text[0] != '-' || text[1] == 0) {
            tm_push(&tool->arena, &arguments->names, text);
            continue;
        }
        if (strcmp(text, "--") == 0) {
            arguments->plain = true;
            continue;
        }
        for (const tool_option *option = arguments->options; option->name != NULL; option++) {
            if (!matches(option, text, &arguments->value))
                continue;
            if (option->form != TOOL_FLAG && option->form != TOOL_MAYBE && arguments->value == NULL) {
                if (option->form == TOOL_JOINED || arguments->at >= arguments->argc) {
                    tool_report(tool, TM_E_USAGE, NULL, NULL, "option '%s' needs a value", text);
                    return -1;
                }
                arguments->value = arguments->argv[arguments->at++];
            }
            return option->id;
        }
        tool_report(tool, TM_E_USAGE, NULL, tm_arena_format(&tool->arena, "tamis help %s", tool->verb),
                    "unknown option '%s'", text);
        return -1;
    }
    return 0;
}

tm_code tool_arguments_single(const tool_arguments *arguments, const char *what, const char *hint) {
    if (arguments->names.count == 1) {
        tool_reads(arguments->tool, arguments->names.items[0]);
        return TM_OK;
    }
    return tool_report(arguments->tool, TM_E_USAGE, NULL, hint, "%s is needed, not %zu", what,
                       arguments->names.count);
}

tm_code tool_parse_integer(tool *tool, const char *what, const char *text, int64_t low, int64_t high,
                           int64_t *out) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != 0 || errno != 0)
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "%s: '%s' is not an integer", what, text);
    if (value < low || value > high)
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "%s: %lld is not between %lld and %lld", what, value,
                           (long long)low, (long long)high);
    *out = value;
    return TM_OK;
}

tm_code tool_parse_number(tool *tool, const char *what, const char *text, double *out) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != 0)
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "%s: '%s' is not a number", what, text);
    *out = value;
    return TM_OK;
}

tm_code tool_parse_tolerance(tool *tool, const char *what, const char *text, double *out) {
    TM_TRY(tool_parse_number(tool, what, text, out));
    if (!(*out >= 0.0) || isinf(*out))
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "%s: '%s' is not a finite number of 0 or more", what,
                           text);
    return TM_OK;
}

/* ---- options of compilation ---- */

void tool_compile_init(tool_compile *compile) {
    *compile = (tool_compile){0};
    tamis_compile_options_init(&compile->options);
}

/* NAME=VALUE or NAME=LOW..HIGH */
static tm_code add_dim(tool *tool, tool_compile *compile, const char *text) {
    const char *equals = strrchr(text, '=');
    if (equals == NULL || equals == text)
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "--dim: '%s' is not NAME=VALUE or NAME=LOW..HIGH",
                           text);
    tamis_dim_fact fact = {.name = tm_arena_string_n(&tool->arena, text, (size_t)(equals - text))};
    const char *dots = strstr(equals, "..");
    const char *low = equals + 1;
    if (dots != NULL)
        low = tm_arena_string_n(&tool->arena, equals + 1, (size_t)(dots - equals - 1));
    TM_TRY(tool_parse_integer(tool, "--dim", low, 0, INT64_MAX, &fact.low));
    fact.high = fact.low;
    if (dots != NULL)
        TM_TRY(tool_parse_integer(tool, "--dim", dots + 2, 0, INT64_MAX, &fact.high));
    if (fact.high < fact.low)
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "--dim: the range '%s' is empty", equals + 1);
    tm_push(&tool->arena, &compile->dims, fact);
    return TM_OK;
}

static tm_code set_limit(tool *tool, tamis_compile_options *options, int number, const char *value) {
    int64_t *const limits[] = {&options->limit_depth,        &options->limit_nodes,
                               &options->limit_initializers, &options->limit_file_bytes,
                               &options->limit_tensor_bytes, &options->limit_memory_bytes,
                               &options->limit_name_bytes};
    return tool_parse_integer(tool, "limit", value, 1, INT64_MAX, limits[number]);
}

static tm_code set_storage(tool *tool, tool_compile *compile, const char *value) {
    static const char *const names[] = {"exact", "float16", "bfloat16"};
    for (int i = 0; i < 3; i++)
        if (strcmp(value, names[i]) == 0) {
            compile->options.storage = (tamis_storage)i;
            return TM_OK;
        }
    compile->choose_storage = strcmp(value, "auto") == 0;
    if (compile->choose_storage && strcmp(tool->verb, "compile") != 0)
        return tool_report(tool, TM_E_USAGE, NULL, "tamis compile --storage=auto",
                           "--storage=auto is of artifacts: it measures before it compiles");
    if (compile->choose_storage)
        return TM_OK;
    return tool_report(tool, TM_E_USAGE, NULL, NULL,
                       "--storage is exact, float16, bfloat16 or auto, not '%s'", value);
}

static tm_code set_level(tool *tool, tamis_compile_options *options, const char *value) {
    int64_t number = 2;
    options->small = strcmp(value, "s") == 0;
    if (!options->small)
        TM_TRY(tool_parse_integer(tool, "-O", value, 0, 3, &number));
    options->level = (int)number;
    return TM_OK;
}

/* One of two words; *out_second: is it the second? */
static tm_code set_word(tool *tool, const char *option, const char *value, const char *first,
                        const char *second, bool *out_second) {
    *out_second = strcmp(value, second) == 0;
    if (*out_second || strcmp(value, first) == 0)
        return TM_OK;
    return tool_report(tool, TM_E_USAGE, NULL, NULL, "%s is %s or %s, not '%s'", option, first, second,
                       value);
}

/* Where the text of an option goes that is taken as it is; NULL: another option. */
static const char **text_of(tamis_compile_options *options, int number) {
    return number == 1    ? &options->target
           : number == 2  ? &options->cpu
           : number == 8  ? &options->print_after
           : number == 9  ? &options->external_folder
           : number == 10 ? &options->allow_links_in
           : number == 20 ? &options->schedules
           : number == 24 ? &options->weights_file
           : number == 26 ? &options->map
                          : NULL;
}

/* "keep", "float" or "faster"; the last is the verb compile's alone. */
static tm_code set_integers(tool *tool, tool_compile *compile, const char *value) {
    bool faster = strcmp(value, "faster") == 0;
    compile->options.without_integers = strcmp(value, "float") == 0;
    compile->choose_integers = faster;
    if (faster && strcmp(tool->verb, "compile") != 0)
        return tool_report(tool, TM_E_USAGE, NULL, "tamis compile --integers=faster",
                           "--integers=faster measures before it compiles");
    if (faster || compile->options.without_integers || strcmp(value, "keep") == 0)
        return TM_OK;
    return tool_report(tool, TM_E_USAGE, NULL, NULL, "--integers is keep, float or faster, not '%s'", value);
}

tm_code tool_compile_option(tool *tool, tool_compile *compile, int id, const char *value) {
    tamis_compile_options *options = &compile->options;
    const char **text = text_of(options, id - TOOL_COMPILE_FIRST);
    bool second;
    if (text != NULL) {
        *text = value;
        return TM_OK;
    }
    switch (id - TOOL_COMPILE_FIRST) {
    case 0:
        return set_level(tool, options, value);
    case 3:
        return add_dim(tool, compile, value);
    case 4:
        return set_word(tool, "--math", value, "fast", "strict", &options->strict_math);
    case 5:
        TM_TRY(set_word(tool, "--precision", value, "f32", "bf16", &second));
        options->precision = second ? TAMIS_PRECISION_BF16 : TAMIS_PRECISION_F32;
        return TM_OK;
    case 6:
        tm_push(&tool->arena, &compile->disabled, value);
        return TM_OK;
    case 7:
        return tool_parse_integer(tool, "--opt-bisect-limit", value, -1, INT64_MAX, &options->bisect_limit);
    case 18:
        options->profile = true;
        return TM_OK;
    case 19:
        options->symbols = true;
        return TM_OK;
    case 21:
        return set_word(tool, "--weights", value, "mapped", "coded", &options->coded_weights);
    case 22:
        return set_storage(tool, compile, value);
    case 23:
        tm_push(&tool->arena, &compile->slots, value);
        return TM_OK;
    case 25:
        return set_integers(tool, compile, value);
    default:
        return set_limit(tool, options, id - TOOL_COMPILE_FIRST - 11, value);
    }
}

tm_code tool_compile_of_artifacts(tool *tool, const tool_compile *compile, const char *what) {
    const char *option = compile->slots.count > 0                ? "--slot"
                         : compile->options.weights_file != NULL ? "--weights-file"
                                                                 : NULL;
    if (option == NULL)
        return TM_OK;
    return tool_report(tool, TM_E_USAGE, NULL, "leave it out, or `tamis compile` to a shared object with it",
                       "%s is of artifacts; %s", option, what);
}

const tamis_compile_options *tool_compile_get(tool_compile *compile) {
    compile->options.dims = compile->dims.items;
    compile->options.dim_count = compile->dims.count;
    compile->options.disabled_passes = compile->disabled.items;
    compile->options.disabled_pass_count = compile->disabled.count;
    compile->options.slots = compile->slots.items;
    compile->options.slot_count = compile->slots.count;
    return &compile->options;
}

tm_code tool_import(tool *tool, const char *path, tool_compile *compile, tm_model **out_model) {
    tm_import_options options;
    tm_import_options_of(&compile->options, &options);
    char *data;
    size_t bytes;
    if (tool_ends_with(path, ".ir")) {
        TM_TRY(tool_read_file(tool, path, &data, &bytes));
        TM_TRY(tm_parse_model(&tool->arena, &tool->diagnostics, path, data, bytes, out_model));
    } else if (strcmp(path, "-") == 0) {
        TM_TRY(tool_read_file(tool, path, &data, &bytes));
        TM_TRY(
            tm_import_memory(&tool->arena, &tool->diagnostics, "<stdin>", data, bytes, &options, out_model));
    } else {
        TM_TRY(tm_import_file(&tool->arena, &tool->diagnostics, path, &options, out_model));
    }
    return tm_apply_dim_facts(*out_model, compile->dims.items, compile->dims.count);
}
