/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c: the words of --quantize and --budget.
 *
 *     int8,observer=mse,keep=head,keep=embed         int4,block=128,gptq
 *     kl:1.5e-3,flips:2.5%,cosine:0.999
 */
#include "quantize/quantize.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void tm_quantize_options_init(tm_quantize_options *options) {
    *options = (tm_quantize_options){.percentile = 99.99,
                                     .block = 64,
                                     .tables = true,
                                     .most_kl = NAN,
                                     .most_flips = NAN,
                                     .least_cosine = NAN,
                                     .sweep_samples = 32};
}

static const char *const forms[] = {"int8", "int8-dynamic", "int8-weights", "int4"};
static const char *const observers[] = {"minmax", "percentile", "entropy", "mse"};

static int find(const char *const *names, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static bool parse_number(const char *text, double low, double high, double *out) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (*end == '%' && end != text) {
        value /= 100;
        end++;
    }
    if (end == text || *end != 0 || errno != 0 || !(value >= low && value <= high))
        return false;
    *out = value;
    return true;
}

/* The flags of the options that are one. */
static bool *flag(tm_quantize_options *o, const char *word) {
    const struct {
        const char *name;
        bool *to;
    } flags[] = {{"gptq", &o->gptq},         {"nearest", &o->plain_rounding}, {"bias", &o->bias_correction},
                 {"equalize", &o->equalize}, {"s8", &o->signed_input},        {"always", &o->always},
                 {"attention", &o->attention}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(flags[i].name, word) == 0)
            return flags[i].to;
    return NULL;
}

typedef TM_VECTOR(const char *) names;

static bool take_word(tm_arena *arena, const char *word, names *keep, tm_quantize_options *o) {
    double value = 0;
    const char *equals = strchr(word, '=');
    if (equals == NULL) {
        bool *to = flag(o, word);
        if (to != NULL)
            *to = true;
        else if (strcmp(word, "notables") == 0)
            o->tables = false;
        else
            return false;
        return true;
    }
    const char *name = tm_arena_string_n(arena, word, (size_t)(equals - word)), *text = equals + 1;
    if (strcmp(name, "keep") == 0 && *text != 0) {
        tm_push(arena, keep, text);
    } else if (strcmp(name, "observer") == 0) {
        int i = find(observers, 4, text);
        o->observer = (tm_observer_kind)(i < 0 ? 0 : i);
        return i >= 0;
    } else if (strcmp(name, "percentile") == 0 && parse_number(text, 50, 100, &value)) {
        o->percentile = value;
        o->observer = TM_OBSERVER_PERCENTILE;
    } else if (strcmp(name, "block") == 0 && parse_number(text, 16, 256, &value) &&
               ((int64_t)value & ((int64_t)value - 1)) == 0) {
        o->block = (int64_t)value;
    } else if (strcmp(name, "tables") == 0 && (strcmp(text, "4") == 0 || strcmp(text, "8") == 0)) {
        o->table_bits = *text - '0';
    } else if (strcmp(name, "smooth") == 0 && parse_number(text, 0, 1, &value)) {
        o->smooth = value;
    } else if (strcmp(name, "sweep") == 0 && parse_number(text, 0, 1e9, &value)) {
        o->sweep_samples = (int64_t)value;
    } else if (strcmp(name, "threads") == 0 && parse_number(text, 0, 256, &value)) {
        o->threads = (int)value;
    } else if (strcmp(name, "samples") == 0 && parse_number(text, 1, 1e9, &value)) {
        o->most_samples = (int64_t)value;
    } else {
        return false;
    }
    return true;
}

tm_code tm_quantize_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                          tm_quantize_options *out) {
    names keep = {0};
    for (const char *at = text; at != NULL;) {
        size_t size = strcspn(at, ",");
        const char *word = tm_arena_string_n(arena, at, size);
        if (at == text) {
            int form = find(forms, 4, word);
            if (form < 0)
                return tm_report(diagnostics, TM_E_USAGE, NULL, "int8, int8-dynamic, int8-weights or int4",
                                 "--quantize: there is no form '%s'", word);
            out->form = (tm_quantize_form)form;
        } else if (!take_word(arena, word, &keep, out)) {
            return tm_report(
                diagnostics, TM_E_USAGE, NULL,
                "observer=minmax|percentile|entropy|mse, percentile=P, s8, block=16..256 (a power of two), "
                "gptq, nearest, bias, smooth=0..1, equalize, keep=PART, always, attention, notables, tables=4|8, sweep=N, samples=N, threads=N",
                "--quantize: '%s' is no option, or its value does not fit", word);
        }
        at = at[size] == ',' ? at + size + 1 : NULL;
    }
    out->keep = keep.items;
    out->keep_count = keep.count;
    if (out->attention && out->form != TM_QUANTIZE_INT8)
        return tm_report(diagnostics, TM_E_USAGE, NULL, "int8,attention",
                         "--quantize: attention is quantised with static scales alone");
    return TM_OK;
}

tm_code tm_quantize_parse_budget(tm_diagnostics *diagnostics, const char *text,
                                 tm_quantize_options *options) {
    const struct {
        const char *name;
        double *to, high;
    } figures[] = {{"kl:", &options->most_kl, INFINITY},
                   {"flips:", &options->most_flips, 1},
                   {"cosine:", &options->least_cosine, 1}};
    for (const char *at = text; at != NULL;) {
        char word[64] = "";
        size_t size = strcspn(at, ",");
        bool fine = false;
        memcpy(word, at, size < sizeof word - 1 ? size : sizeof word - 1);
        for (int i = 0; i < 3; i++) {
            size_t name = strlen(figures[i].name);
            fine = fine || (strncmp(word, figures[i].name, name) == 0 &&
                            parse_number(word + name, 0, figures[i].high, figures[i].to));
        }
        if (!fine)
            return tm_report(diagnostics, TM_E_USAGE, NULL, "kl:1.5e-3, flips:2.5%, cosine:0.999, or several",
                             "--budget: '%s' is no figure with a limit", word);
        at = at[size] == ',' ? at + size + 1 : NULL;
    }
    return TM_OK;
}
