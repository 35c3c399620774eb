/* SPDX-License-Identifier: Apache-2.0
 *
 * report_html.c: the report as a page of its own, without anything from elsewhere.
 *
 * Layers stand in a table in the model's order, with a bar for the harm that each does alone, on a
 * logarithmic scale from 1e-8 to 1. The figures are those of report.c; what was not measured is a dash.
 */
#include "quantize/quantize.h"

#include <math.h>

static void add_escaped(tm_text *out, const char *text) {
    for (const char *c = text != NULL ? text : "-"; *c != 0; c++)
        switch (*c) {
        case '&':
            tm_text_add(out, "&amp;");
            break;
        case '<':
            tm_text_add(out, "&lt;");
            break;
        case '>':
            tm_text_add(out, "&gt;");
            break;
        default:
            tm_text_add_bytes(out, c, 1);
        }
}

static void add_cell(tm_text *out, const char *format, double value, bool known) {
    tm_text_add(out, "<td class=n>");
    if (!known)
        tm_text_add(out, "-");
    else if (format[0] == 'i')
        tm_text_add(out, "%.0f", value);
    else if (format[0] == '%')
        tm_text_add(out, "%.2f %%", value * 100);
    else
        tm_text_add(out, "%.3g", value);
    tm_text_add(out, "</td>");
}

static void add_row(tm_text *out, const char *name, const char *value) {
    tm_text_add(out, "<tr><th>%s</th><td>", name);
    add_escaped(out, value);
    tm_text_add(out, "</td></tr>\n");
}

static void add_summary(const tm_quantize_report *r, tm_text *out) {
    const tm_divergence *d = &r->whole;
    tm_text_add(out, "<table class=s>\n");
    add_row(out, "Form", r->form);
    tm_text_add(out, "<tr><th>Constants</th><td>%lld &rarr; %lld bytes (%.2fx smaller)</td></tr>\n",
                (long long)r->float_bytes, (long long)r->bytes,
                r->bytes > 0 ? (double)r->float_bytes / (double)r->bytes : 0);
    if (d->rows > 0)
        tm_text_add(
            out,
            "<tr><th>Against float</th><td>%lld samples, %lld rows: KL %.3g, flips %.2f %%, cosine %.6f, "
            "largest error %.3g, error %.3g of %.3g (root of mean square)</td></tr>\n",
            (long long)r->samples, (long long)d->rows, d->kl, d->flips * 100, d->cosine, d->max_error,
            d->rms_error, d->rms);
    if (d->labelled > 0)
        tm_text_add(
            out,
            "<tr><th>With labels</th><td>%lld rows: %.2f %% right, in float %.2f %%; log-loss %.4f, in "
            "float %.4f</td></tr>\n",
            (long long)d->labelled, 100 * (double)d->right / (double)d->labelled,
            100 * (double)d->right_float / (double)d->labelled, d->log_loss, d->log_loss_float);
    if (r->ns > 0)
        tm_text_add(out, "<tr><th>A call</th><td>%.1f &micro;s, in float %.1f &micro;s</td></tr>\n",
                    r->ns / 1e3, r->float_ns / 1e3);
    if (r->speed != NULL)
        add_row(out, "For speed", r->speed);
    if (r->budget != NULL)
        add_row(out, "Budget", r->budget);
    if (r->unchecked != NULL)
        add_row(out, "Not checked", r->unchecked);
    tm_text_add(out, "</table>\n");
}

static void add_layer(const tm_layer_report *l, tm_text *out) {
    bool seen = l->low < l->high, measured = l->alone.rows > 0;
    double bar = measured ? fmin(fmax(log10(fmax(l->alone.kl, 1e-8)) + 8, 0) / 8, 1) * 100 : 0;
    tm_text_add(out, "<tr class=%s><td>", l->quantized ? "q" : "f");
    add_escaped(out, l->name);
    tm_text_add(out, "</td><td>%s</td><td class=n>%lld x %lld</td><td>%s</td>", l->op, (long long)l->k,
                (long long)l->n, l->form);
    add_cell(out, "i", (double)l->float_bytes, true);
    add_cell(out, "i", (double)l->bytes, true);
    add_cell(out, "g", l->float_ns / 1e3, l->float_ns > 0);
    add_cell(out, "g", l->ns / 1e3, l->ns > 0);
    add_cell(out, "%", l->weight_error, l->operands == NULL);
    add_cell(out, "g", l->low, seen);
    add_cell(out, "g", l->high, seen);
    add_cell(out, "g", l->scale, l->scale > 0);
    add_cell(out, "g", l->outlier, seen);
    add_cell(out, "%", l->subnormal, seen);
    add_cell(out, "g", l->alone.kl, measured);
    add_cell(out, "%", l->alone.flips, measured);
    tm_text_add(out, "<td><div class=b style=\"width:%.0fpx\"></div></td><td>", bar);
    add_escaped(out, l->reason);
    for (int i = 0; l->operands != NULL && i < 3; i++)
        tm_text_add(out, "%s %.3g .. %.3g", i == 0 ? "; Q" : i == 1 ? ", K" : ", V", l->operands[i].low,
                    l->operands[i].high);
    tm_text_add(out, "</td></tr>\n");
}

void tm_quantize_report_html(const tm_quantize_report *report, tm_text *out) {
    static const char *const heads[] = {
        "layer",    "op",           "k x n", "form", "bytes, float", "bytes",   "&micro;s, float",
        "&micro;s", "weight error", "low",   "high", "scale",        "outlier", "subnormal",
        "KL alone", "flips alone",  "",      "decision"};
    tm_text_add(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>Quantisation of ");
    add_escaped(out, report->model);
    tm_text_add(
        out,
        "</title><style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}"
        "td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:left;white-space:nowrap}"
        ".n{text-align:right;font-variant-numeric:tabular-nums}.f{color:#888}"
        ".b{background:#c60;height:10px}</style></head><body>\n<h1>Quantisation of ");
    add_escaped(out, report->model);
    tm_text_add(out, "</h1>\n");
    add_summary(report, out);
    tm_text_add(out, "<table>\n<tr>");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        tm_text_add(out, "<th>%s</th>", heads[i]);
    tm_text_add(out, "</tr>\n");
    for (size_t i = 0; i < report->layers.count; i++)
        add_layer(&report->layers.items[i], out);
    tm_text_add(
        out,
        "</table>\n<p>Times are of the layer alone on one thread. The outlier is the largest input over the "
        "root of the mean square. Subnormal: the share of inputs below the smallest normal number. KL and "
        "flips alone: of the model with that layer quantised and no other.</p>\n</body></html>\n");
}
