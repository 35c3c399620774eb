/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c: the words of --quantize and --budget.
 *
 *     int8,observer=mse,keep=head,keep=embed         int4,block=128,gptq
 *     kl:1.5e-3,flips:2.5%,cosine:0.999
 */
#include "quantize/quantize.h"

#include "quantize/words.h"

#include <math.h>
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
enum { FORMS = sizeof forms / sizeof *forms };

/* The first word: its end, or NULL where it is no form. */
static const char *take_form(const char *text, tm_quantize_options *o) {
    size_t size = strcspn(text, ",");
    for (int i = 0; i < FORMS; i++)
        if (strlen(forms[i]) == size && strncmp(forms[i], text, size) == 0) {
            o->form = (tm_quantize_form)i;
            return text + size;
        }
    return NULL;
}

/* Words that say the same thing in two ways, or nothing. */
static tm_code check_words(tm_diagnostics *diagnostics, const tm_word_table *table, bool percentile_chosen,
                           const tm_quantize_options *o) {
    const struct {
        bool wrong;
        const char *message, *hint;
    } rules[] = {
        {o->gptq && o->plain_rounding, "nearest and gptq exclude each other",
         "gptq rounds by the inputs' second moments, nearest to the nearest"},
        {o->half_quadratic && (o->gptq || o->plain_rounding), "hqq excludes nearest and gptq",
         "each of them says how weights are rounded"},
        {!o->tables && o->table_bits != 0, "notables and tables= exclude each other", NULL},
        {tm_word_given(table, "percentile") && tm_word_given(table, "observer") && !percentile_chosen,
         "percentile= is of another observer", "observer=percentile,percentile=99.9"},
        {tm_word_given(table, "block") && o->form != TM_QUANTIZE_INT4 && o->table_bits != 4,
         "block= is of 4-bit weights", "int4,block=64, or tables=4,block=64"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].wrong)
            return tm_report(diagnostics, TM_E_USAGE, NULL, rules[i].hint, "--quantize: %s",
                             rules[i].message);
    return TM_OK;
}

tm_code tm_quantize_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                          tm_quantize_options *out) {
    enum { SCALED = 1 << TM_QUANTIZE_INT8 };
    int observer = 0, tables = -1;
    int64_t threads = out->threads;
    tm_parts keep = {0};
    tm_word words[] = {
        {.name = "observer",
         .kind = TM_WORD_CHOICE,
         .to = &observer,
         .forms = SCALED,
         .choices = "minmax|percentile|entropy|mse"},
        {.name = "percentile",
         .kind = TM_WORD_NUMBER,
         .to = &out->percentile,
         .low = 50,
         .high = 100,
         .forms = SCALED},
        {.name = "s8", .kind = TM_WORD_FLAG, .to = &out->signed_input, .forms = SCALED},
        {.name = "block", .kind = TM_WORD_POWER, .to = &out->block, .low = 16, .high = 256},
        {.name = "gptq", .kind = TM_WORD_FLAG, .to = &out->gptq},
        {.name = "nearest", .kind = TM_WORD_FLAG, .to = &out->plain_rounding},
        {.name = "hqq", .kind = TM_WORD_FLAG, .to = &out->half_quadratic, .forms = 1 << TM_QUANTIZE_INT4},
        {.name = "bias", .kind = TM_WORD_FLAG, .to = &out->bias_correction},
        {.name = "smooth", .kind = TM_WORD_NUMBER, .to = &out->smooth, .low = 0, .high = 1},
        {.name = "equalize", .kind = TM_WORD_FLAG, .to = &out->equalize},
        {.name = "keep", .kind = TM_WORD_PARTS, .to = &keep},
        {.name = "always", .kind = TM_WORD_FLAG, .to = &out->always},
        {.name = "attention", .kind = TM_WORD_FLAG, .to = &out->attention, .forms = SCALED},
        {.name = "notables", .kind = TM_WORD_CLEAR, .to = &out->tables},
        {.name = "tables", .kind = TM_WORD_CHOICE, .to = &tables, .choices = "4|8"},
        {.name = "sweep", .kind = TM_WORD_COUNT, .to = &out->sweep_samples, .high = 1e9},
        {.name = "samples", .kind = TM_WORD_COUNT, .to = &out->most_samples, .low = 1, .high = 1e9},
        {.name = "threads", .kind = TM_WORD_COUNT, .to = &threads, .high = 256}};
    const char *rest = take_form(text, out);
    if (rest == NULL)
        return tm_report(diagnostics, TM_E_USAGE, NULL, "int8, int8-dynamic, int8-weights or int4",
                         "--quantize: '%s' begins with no form", text);
    const tm_word_table table = {"--quantize", words, sizeof words / sizeof *words,
                                 forms,        FORMS, (int)out->form};
    TM_TRY(tm_words_parse(arena, diagnostics, *rest == ',' ? rest + 1 : NULL, &table));
    out->table_bits = tables < 0 ? 0 : tables == 0 ? 4 : 8;
    TM_TRY(check_words(diagnostics, &table, observer == TM_OBSERVER_PERCENTILE, out));
    out->observer = tm_word_given(&table, "percentile") ? TM_OBSERVER_PERCENTILE : (tm_observer_kind)observer;
    out->threads = (int)threads;
    out->keep = keep.list.items;
    out->keep_count = keep.list.count;
    return TM_OK;
}

tm_code tm_quantize_parse_budget(tm_diagnostics *diagnostics, const char *text,
                                 tm_quantize_options *options) {
    const struct {
        const char *name;
        double *to, high;
        const char *unit, *range;
    } figures[] = {{"kl", &options->most_kl, INFINITY, "", "a number of 0 or more, without %"},
                   {"flips", &options->most_flips, 1, "%", "0..1, or a share in percent: 0%..100%"},
                   {"cosine", &options->least_cosine, 1, "", "0..1, without %"}};
    for (const char *at = text; at != NULL;) {
        char word[64] = "";
        size_t size = strcspn(at, ",");
        int found = -1;
        memcpy(word, at, size < sizeof word - 1 ? size : sizeof word - 1);
        for (int i = 0; i < 3 && found < 0; i++)
            if (strncmp(word, figures[i].name, strlen(figures[i].name)) == 0 &&
                word[strlen(figures[i].name)] == ':')
                found = i;
        if (found < 0)
            return tm_report(diagnostics, TM_E_USAGE, NULL, "kl:1.5e-3, flips:2.5%, cosine:0.999, or several",
                             "--budget: '%s' is no figure with a limit", word);
        if (!isnan(*figures[found].to))
            return tm_report(diagnostics, TM_E_USAGE, NULL, NULL, "--budget: '%s' is given twice",
                             figures[found].name);
        const char *number = word + strlen(figures[found].name) + 1;
        bool percent = number[strlen(number) - (*number != 0)] == '%';
        if (!tm_number_parse(number, figures[found].unit, 0, figures[found].high * (percent ? 100 : 1),
                             figures[found].to))
            return tm_report(diagnostics, TM_E_USAGE, NULL, NULL, "--budget: '%s': the limit is %s", word,
                             figures[found].range);
        *figures[found].to /= percent ? 100 : 1;
        at = at[size] == ',' ? at + size + 1 : NULL;
    }
    return TM_OK;
}
