/* SPDX-License-Identifier: Apache-2.0
 *
 * report.c: what the quantiser did, as JSON; report_html.c makes a page of the same record.
 *
 * Figures that were not measured are null, so that a reader cannot take them for zero.
 */
#include "quantize/quantize.h"

#include <math.h>

static void add_text(tm_text *out, const char *name, const char *text) {
    tm_text_add(out, "\"%s\": ", name);
    if (text == NULL) {
        tm_text_add(out, "null");
        return;
    }
    tm_text_add(out, "\"");
    for (const char *c = text; *c != 0; c++)
        if (*c == '"' || *c == '\\')
            tm_text_add(out, "\\%c", *c);
        else if ((unsigned char)*c < 32)
            tm_text_add(out, "\\u%04x", (unsigned)*c);
        else
            tm_text_add(out, "%c", *c);
    tm_text_add(out, "\"");
}

static void add_number(tm_text *out, const char *name, double value, bool known) {
    if (known && isfinite(value))
        tm_text_add(out, "\"%s\": %.9g", name, value);
    else
        tm_text_add(out, "\"%s\": null", name);
}

static void add_divergence(tm_text *out, const char *name, const tm_divergence *d) {
    bool known = d->rows > 0;
    tm_text_add(out, "\"%s\": ", name);
    if (!known) {
        tm_text_add(out, "null");
        return;
    }
    tm_text_add(out, "{\"rows\": %lld, ", (long long)d->rows);
    const struct {
        const char *name;
        double value;
    } figures[] = {{"kl", d->kl},
                   {"flips", d->flips},
                   {"cosine", d->cosine},
                   {"max_error", d->max_error},
                   {"rms_error", d->rms_error},
                   {"rms", d->rms}};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        add_number(out, figures[i].name, figures[i].value, true);
        tm_text_add(out, ", ");
    }
    double labelled = (double)d->labelled;
    add_number(out, "accuracy_float", (double)d->right_float / labelled, d->labelled > 0);
    tm_text_add(out, ", ");
    add_number(out, "accuracy", (double)d->right / labelled, d->labelled > 0);
    tm_text_add(out, ", ");
    add_number(out, "log_loss_float", d->log_loss_float, d->labelled > 0);
    tm_text_add(out, ", ");
    add_number(out, "log_loss", d->log_loss, d->labelled > 0);
    tm_text_add(out, "}");
}

/* Of an attention. */
static void add_operands(tm_text *out, const tm_operand_report *operands) {
    static const char *const names[] = {"queries", "keys", "values"};
    for (int i = 0; i < 3; i++)
        tm_text_add(out, ", \"%s\": {\"low\": %.9g, \"high\": %.9g, \"scale\": %.9g, \"zero_point\": %lld}",
                    names[i], operands[i].low, operands[i].high, operands[i].scale,
                    (long long)operands[i].zero);
}

static void add_layer(tm_text *out, const tm_layer_report *l) {
    bool seen = l->low < l->high;
    tm_text_add(out, "    {");
    add_text(out, "name", l->name);
    tm_text_add(out, ", ");
    add_text(out, "op", l->op);
    tm_text_add(out, ", \"k\": %lld, \"n\": %lld, \"quantized\": %s, ", (long long)l->k, (long long)l->n,
                l->quantized ? "true" : "false");
    add_text(out, "form", l->form);
    tm_text_add(out, ", ");
    add_text(out, "reason", l->reason);
    tm_text_add(out, ", \"float_bytes\": %lld, \"bytes\": %lld, ", (long long)l->float_bytes,
                (long long)l->bytes);
    const struct {
        const char *name;
        double value;
        bool known;
    } figures[] = {{"float_ns", l->float_ns, l->float_ns > 0},
                   {"ns", l->ns, l->ns > 0},
                   {"weight_error", l->weight_error, l->operands == NULL},
                   {"low", l->low, seen},
                   {"high", l->high, seen},
                   {"scale", l->scale, l->scale > 0},
                   {"zero_point", (double)l->zero, l->scale > 0},
                   {"outlier", l->outlier, seen},
                   {"subnormal", l->subnormal, seen}};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        add_number(out, figures[i].name, figures[i].value, figures[i].known);
        tm_text_add(out, ", ");
    }
    add_divergence(out, "alone", &l->alone);
    if (l->operands != NULL)
        add_operands(out, l->operands);
    tm_text_add(out, "}");
}

void tm_quantize_report_json(const tm_quantize_report *report, tm_text *out) {
    tm_text_add(out, "{\n  ");
    add_text(out, "model", report->model);
    tm_text_add(out, ", ");
    add_text(out, "form", report->form);
    tm_text_add(out, ",\n  \"samples\": %lld, \"float_bytes\": %lld, \"bytes\": %lld, \"seconds\": %.3g,\n  ",
                (long long)report->samples, (long long)report->float_bytes, (long long)report->bytes,
                report->seconds);
    add_number(out, "float_ns", report->float_ns, report->float_ns > 0);
    tm_text_add(out, ", ");
    add_number(out, "ns", report->ns, report->ns > 0);
    tm_text_add(out, ", ");
    add_text(out, "speed", report->speed);
    tm_text_add(out, ",\n  ");
    add_divergence(out, "divergence", &report->whole);
    tm_text_add(out, ",\n  ");
    add_text(out, "budget", report->budget);
    tm_text_add(out, ",\n  ");
    add_text(out, "unchecked", report->unchecked);
    tm_text_add(out, ",\n  \"layers\": [\n");
    for (size_t i = 0; i < report->layers.count; i++) {
        add_layer(out, &report->layers.items[i]);
        tm_text_add(out, i + 1 < report->layers.count ? ",\n" : "\n");
    }
    tm_text_add(out, "  ]\n}\n");
}
