/* SPDX-License-Identifier: Apache-2.0
 *
 * calibrate.c: runs the float model on the samples and watches what flows into its layers.
 *
 * The model is compiled with the observed values as outputs besides its own, so the samples run at full
 * speed. One sample is in memory at a time. The first walk finds ranges and the largest magnitude of each
 * channel; a second one, for observers that look at histograms, counts.
 */
#include "quantize/layer.h"

#include <math.h>
#include <string.h>

#define MOST_CHANNELS 65536

/* Of each index of the last axis. */
static void watch_channels(tm_observation *o, tm_arena *arena, const tamis_tensor *x) {
    const float *data = x->data;
    int64_t channels = x->rank > 0 ? x->dims[x->rank - 1] : 0, count = 1;
    for (int i = 0; i < x->rank; i++)
        count *= x->dims[i];
    if (channels == 0 || channels > MOST_CHANNELS || (o->channel_most != NULL && o->channels != channels))
        return;
    if (o->channel_most == NULL) {
        o->channels = channels;
        o->channel_most = TM_NEW_ARRAY(arena, float, channels);
        o->channel_sum = TM_NEW_ARRAY(arena, double, channels);
    }
    o->rows += count / channels;
    for (int64_t i = 0; i < count; i += channels)
        for (int64_t c = 0; c < channels; c++) {
            float size = fabsf(data[i + c]);
            o->channel_most[c] = size > o->channel_most[c] ? size : o->channel_most[c];
            o->channel_sum[c] += (double)data[i + c];
        }
}

static int64_t count_of(const tamis_tensor *x) {
    int64_t count = 1;
    for (int i = 0; i < x->rank; i++)
        count *= x->dims[i];
    return count;
}

static tm_code watch(tm_quantizer *q, int i, const tamis_tensor *x, bool histograms) {
    tm_observation *o = &q->observations[i];
    if (histograms) {
        tm_histogram_add(&o->histogram, x->data, count_of(x));
        return TM_OK;
    }
    int64_t before = o->range.not_finite;
    o->rank = x->rank;
    memcpy(o->dims, x->dims, sizeof(int64_t) * (size_t)x->rank);
    tm_range_add(&o->range, x->data, count_of(x));
    watch_channels(o, q->arena, x);
    return o->range.not_finite == before
               ? TM_OK
               : tm_report(q->diagnostics, TM_E_BAD_DATA, NULL, "calibrate with samples that are all numbers",
                           "%s makes NaN or infinity at the input of layer '%s'",
                           q->samples->name(q->samples->self), o->name);
}

/* Rows of the first float output, to which labels belong. */
static int64_t labelled_rows(const tm_build *build) {
    const int outputs = tamis_model_artifact(build->model)->output_count;
    for (int i = 0; i < outputs; i++) {
        const tamis_tensor *t = tamis_session_output(build->session, i);
        if (t->kind == TAMIS_KIND_TENSOR && t->type == TAMIS_TYPE_FLOAT)
            return t->rank > 0 && t->dims[t->rank - 1] > 0 ? count_of(t) / t->dims[t->rank - 1] : 1;
    }
    return 0;
}

static tm_code check_labels(const tm_quantizer *q, int64_t rows) {
    int64_t count = q->samples->labels != NULL ? tm_constant_count(q->samples->labels) : rows;
    return count == rows ? TM_OK
                         : tm_report(q->diagnostics, TM_E_BAD_DATA, NULL,
                                     "an integer for each row of the first output, over all samples",
                                     "--labels: %lld labels, but the samples give %lld rows",
                                     (long long)count, (long long)rows);
}

tm_code tm_each_sample(tm_quantizer *q, int64_t most, tm_build *build,
                       tm_code (*use)(tm_quantizer *, tm_build *, int64_t, void *), void *argument) {
    const tm_samples *samples = q->samples;
    const tamis_tensor *inputs;
    int64_t step = most > 0 && q->sample_count > most ? q->sample_count / most : 1, rows = 0;
    TM_TRY(samples->rewind(samples->self));
    for (int64_t at = 0, count = 0; most <= 0 || count < most; at++) {
        TM_TRY(samples->next(samples->self, &inputs));
        if (inputs == NULL)
            break;
        if (at % step != 0)
            continue;
        TM_TRY(tm_build_run(q, build, inputs));
        TM_TRY(use(q, build, count++, argument));
        rows += labelled_rows(build);
    }
    return most > 0 ? TM_OK : check_labels(q, rows);
}

typedef struct walk {
    int first; /* output of the first observed value */
    bool histograms;
    int64_t samples;
} walk;

static tm_code watch_all(tm_quantizer *q, tm_build *build, int64_t sample, void *argument) {
    walk *w = argument;
    w->samples = sample + 1;
    for (int i = 0; i < q->observed_count; i++)
        TM_TRY(watch(q, i, tamis_session_output(build->session, w->first + i), w->histograms));
    return TM_OK;
}

tm_code tm_build_observing(tm_quantizer *q, tm_build *out, int *out_first) {
    tm_arena arena; /* the model's: what is known of it is in the artifact */
    tm_arena_init(&arena);
    tm_quantize_borrow_recovery(q, &arena);
    tm_loaded loaded;
    tm_code code = tm_quantize_load(q, &arena, &loaded);
    if (code == TM_OK) {
        *out_first = (int)loaded.model->main->outputs.count;
        for (size_t i = 0; i < loaded.observed.count; i++)
            tm_graph_add_output(loaded.model->main, loaded.observed.items[i]);
        code = tm_build_create(q, loaded.model, out);
    }
    tm_quantize_unload(&arena);
    return code;
}

static double share_to_keep(tm_quantizer *q, const tm_observation *o) {
    switch (q->options->observer) {
    case TM_OBSERVER_PERCENTILE:
        return tm_clip_percentile(&o->histogram, &o->range, q->options->percentile);
    case TM_OBSERVER_ENTROPY:
        return tm_clip_entropy(q->arena, &o->histogram, &o->range);
    case TM_OBSERVER_MSE:
        return tm_clip_mse(&o->histogram, &o->range);
    default:
        return 1;
    }
}

static tm_code walk_samples(tm_quantizer *q, tm_build *build, int first) {
    walk w = {.first = first};
    TM_TRY(tm_each_sample(q, q->options->most_samples, build, watch_all, &w));
    q->sample_count = w.samples;
    if (w.samples == 0)
        return tm_report(q->diagnostics, TM_E_BAD_DATA, NULL, "--calib=DIR or FILE with samples",
                         "there is no sample to calibrate with");
    if (q->options->observer == TM_OBSERVER_MINMAX)
        return TM_OK;
    for (int i = 0; i < q->observed_count; i++)
        tm_histogram_init(&q->observations[i].histogram, q->arena, &q->observations[i].range);
    w.histograms = true;
    return tm_each_sample(q, q->options->most_samples, build, watch_all, &w);
}

tm_code tm_calibrate(tm_quantizer *q) {
    tm_build build;
    int first = 0;
    TM_TRY(tm_build_observing(q, &build, &first));
    tm_code code = walk_samples(q, &build, first);
    tm_build_destroy(&build);
    TM_TRY(code);
    for (int i = 0; i < q->observed_count; i++) {
        tm_observation *o = &q->observations[i];
        double low, high;
        tm_clip(&o->range, share_to_keep(q, o), &low, &high);
        o->linear = tm_linear_of(low, high, q->options->signed_input);
    }
    return TM_OK;
}
