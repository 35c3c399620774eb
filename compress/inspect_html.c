/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_html.c: what was found, as a page of its own, without anything from elsewhere.
 *
 * A bar for each form that the whole model could take, against what it takes now; below it a row for each
 * tensor, in the model's order, with the forecast in bytes and what was found in words.
 */
#include "compress/inspect.h"

#include <string.h>

static void add_escaped(tm_text *out, const char *text) {
    for (const char *c = text != NULL ? text : "-"; *c != 0; c++)
        if (*c == '&' || *c == '<' || *c == '>')
            tm_text_add(out, "&#%d;", *c);
        else
            tm_text_add(out, "%c", *c);
}

static void add_note(tm_text *out, const char *what, const char *text, const char *more) {
    if (text == NULL)
        return;
    tm_text_add(out, "%s ", what);
    add_escaped(out, text);
    if (more != NULL) {
        tm_text_add(out, " as ");
        add_escaped(out, more);
    }
    tm_text_add(out, "<br>");
}

static void add_tensor(const tm_tensor_report *t, tm_text *out) {
    tm_text_add(out, "<tr><td>");
    add_escaped(out, t->name);
    tm_text_add(out, "<br><small>");
    add_escaped(out, t->reader);
    tm_text_add(out, "</small></td><td>%s", tm_type_text(t->constant->type));
    for (int i = 0; i < t->constant->rank; i++)
        tm_text_add(out, " %s%lld", i > 0 ? "&times; " : "", (long long)t->constant->dims[i]);
    tm_text_add(out, "</td><td class=n>%lld</td><td class=n>%.1f %%</td><td class=n>%s%lld</td>",
                (long long)t->bytes, t->count > 0 ? 100 * (double)t->zeros / (double)t->count : 0,
                t->distinct > 65536 ? "&gt; " : "", (long long)(t->distinct > 65536 ? 65536 : t->distinct));
    tm_text_add(out, "<td class=n>%.2f</td>", t->word_bits);
    tm_text_add(out, t->exponent_bits >= 0 ? "<td class=n>%.2f</td>" : "<td class=n>-</td>",
                t->exponent_bits);
    tm_text_add(out, t->int8_bits >= 0 ? "<td class=n>%.2f</td>" : "<td class=n>-</td>", t->int8_bits);
    tm_text_add(out, "<td class=n>%.1f</td>", t->outlier);
    tm_text_add(out, t->rank_999 >= 0 ? "<td class=n>%lld / %lld</td>" : "<td class=n>-</td>",
                (long long)t->rank_99, (long long)t->rank_999);
    for (int f = 0; f < TM_FORECAST_COUNT; f++)
        tm_text_add(out, t->forecast[f] >= 0 ? "<td class=n>%.0f</td>" : "<td class=n>-</td>",
                    t->forecast[f]);
    tm_text_add(out, "<td>");
    add_note(out, "copy:", t->relation, t->same_as);
    add_note(out, "generated:", t->generated, NULL);
    add_note(out, "values:", t->generated == NULL ? t->stored_as : NULL, NULL);
    add_note(out, "zeros:", t->pattern, NULL);
    if (t->zero_rows + t->zero_columns > 0)
        tm_text_add(out, "zero slices: %lld rows, %lld columns<br>", (long long)t->zero_rows,
                    (long long)t->zero_columns);
    add_note(out, "stored:", t->claim, NULL);
    tm_text_add(out, "</td></tr>\n");
}

static void add_forecast(const tm_inspect_report *r, tm_text *out) {
    tm_text_add(out, "<table>\n<tr><th>form</th><th>bytes</th><th></th></tr>\n");
    tm_text_add(
        out,
        "<tr><td>as it is</td><td class=n>%lld</td><td><div class=b style=\"width:300px\"></div></td></tr>\n",
        (long long)r->bytes);
    for (int f = 0; f < TM_FORECAST_COUNT; f++)
        tm_text_add(
            out,
            "<tr><td>%s</td><td class=n>%.0f</td><td><div class=b style=\"width:%.0fpx\"></div></td></tr>\n",
            tm_forecast_name((tm_forecast)f), r->forecast[f],
            r->bytes > 0 ? 300 * r->forecast[f] / (double)r->bytes : 0);
    tm_text_add(out, "</table>\n");
}

void tm_inspect_html(const tm_inspect_report *r, tm_text *out) {
    static const char *const heads[] = {
        "tensor",    "type",          "bytes",     "zeros",         "values",
        "word bits", "exponent bits", "int8 bits", "largest / rms", "rank 99 / 99.9 %"};
    tm_text_add(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>Weights of ");
    add_escaped(out, r->model);
    tm_text_add(
        out,
        "</title><style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}"
        "td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}"
        ".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
        ".b{background:#06c;height:10px}small{color:#888}</style></head><body>\n<h1>Weights of ");
    add_escaped(out, r->model);
    tm_text_add(
        out,
        "</h1>\n<p>Constants of %lld bytes: %lld of zeros, %lld of copies, %lld that formulas make.</p>\n",
        (long long)r->bytes, (long long)r->zero_bytes, (long long)r->duplicate_bytes,
        (long long)r->generated_bytes);
    add_forecast(r, out);
    tm_text_add(out, "<table>\n<tr>");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        tm_text_add(out, "<th>%s</th>", heads[i]);
    for (int f = 0; f < TM_FORECAST_COUNT; f++)
        tm_text_add(out, "<th>%s</th>", tm_forecast_name((tm_forecast)f));
    tm_text_add(out, "<th>found</th></tr>\n");
    for (size_t i = 0; i < r->tensors.count; i++)
        add_tensor(&r->tensors.items[i], out);
    tm_text_add(out, "</table>\n");
    for (size_t i = 0; i < r->foldable.count; i++) {
        const tm_foldable_report *f = &r->foldable.items[i];
        tm_text_add(out, "<p>Computed of constants: ");
        add_escaped(out, f->output);
        tm_text_add(out, " by %lld nodes (%s)%s</p>\n", (long long)f->nodes, f->ops,
                    f->adapter ? ": an adapter" : "");
    }
    tm_text_add(out, "</body></html>\n");
}
