/* SPDX-License-Identifier: Apache-2.0
 *
 * quantize.h: the quantiser. It changes a model's IR to the QDQ form that any exporter might have written, so
 * what makes integer products of it is what imports quantised files.
 *
 *     %y = MatMul(%x, %w)     ->     %q: u8 = QuantizeLinear(%x, s, z)      %v: s8 const
 *                                    %x' = DequantizeLinear(%q, s, z)       %w' = DequantizeLinear(%v, r)
 *                                    %y = MatMul(%x', %w')
 *
 * The way: load (import and the passes that uncover weights), observe what flows into the layers on the
 * samples, choose scales, quantise the weights, measure the harm of each layer alone, choose, write. A model
 * is loaded anew from its file for each step that changes it; layer i is the same in all, since all of it is
 * deterministic.
 */
#ifndef TM_QUANTIZE_QUANTIZE_H
#define TM_QUANTIZE_QUANTIZE_H

#include "ir/graph.h"
#include "tamis/compiler.h"

typedef enum tm_quantize_form {
    TM_QUANTIZE_INT8,         /* weights and activations, scales of activations from samples */
    TM_QUANTIZE_INT8_DYNAMIC, /* weights; activations by a scale for each row, found when the model runs */
    TM_QUANTIZE_INT8_WEIGHTS, /* weights only */
    TM_QUANTIZE_INT4          /* weights only, in blocks */
} tm_quantize_form;

typedef enum tm_observer_kind {
    TM_OBSERVER_MINMAX,
    TM_OBSERVER_PERCENTILE,
    TM_OBSERVER_ENTROPY, /* least KL divergence of the histogram */
    TM_OBSERVER_MSE      /* least square error of the histogram */
} tm_observer_kind;

/* A model file, and how it is read. */
typedef struct tm_reference {
    const char *path;
    const tamis_compile_options *compile;
} tm_reference;

typedef struct tm_quantize_options {
    tm_quantize_form form;
    tm_observer_kind observer;
    double percentile;       /* of values kept */
    int64_t block;           /* rows of a column that share a scale: int4 */
    bool signed_input;       /* activations as int8 about zero instead of uint8 */
    bool gptq;               /* rounding that knows the inputs' second moments */
    bool plain_rounding;     /* to nearest; int4 without the search for zero points and scales */
    bool half_quadratic;     /* int4: blocks by half_quadratic.c */
    bool bias_correction;    /* the mean error of a layer's outputs goes into its bias */
    bool equalize;           /* scales between two layers that cancel out */
    double smooth;           /* 0: no; else the share of outliers that moves from activations to weights */
    bool always;             /* layers that are slower quantised, too */
    bool attention;          /* the two products of attention as well: of int8 with static scales */
    bool tables;             /* tables that Gather reads as well */
    int table_bits;          /* 8 or 4; 0: as the form says */
    const char *const *keep; /* parts of names of layers that stay float */
    size_t keep_count;
    double most_kl, most_flips, least_cosine; /* budget; NaN: none */
    int64_t sweep_samples;                    /* for the sensitivity of each layer; 0: none is measured */
    int64_t most_samples;                     /* of calibration; 0: all */
    int threads;
    const tm_reference *reference; /* the model whose answers count; NULL: the one that is changed */
} tm_quantize_options;

void tm_quantize_options_init(tm_quantize_options *options);
/* "int8,observer=mse,keep=head": the form, then options. E_USAGE filed when it is none. */
TM_MUST_USE tm_code tm_quantize_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                                      tm_quantize_options *out);
/* "kl:1.5e-3,flips:2.5%,cosine:0.999" */
TM_MUST_USE tm_code tm_quantize_parse_budget(tm_diagnostics *diagnostics, const char *text,
                                             tm_quantize_options *options);

/* Where samples come from, one at a time. */
typedef struct tm_samples {
    void *self;
    tm_code (*rewind)(void *self);
    /* The inputs of the next sample, in the model's order, valid until the next call; *out_inputs is NULL at
     * the end. What is wrong with a sample is filed by the source. */
    tm_code (*next)(void *self, const tamis_tensor **out_inputs);
    const char *(*name)(void *self); /* of the sample that `next` gave: "x.npy[12]" */
    /* integers, one for each row of the first output in the order of the samples; NULL: none */
    const tm_constant *labels;
} tm_samples;

/* Figures of a whole model against float, or of one layer. */
typedef struct tm_divergence {
    int64_t rows;  /* that were compared; 0: nothing was measured */
    double kl;     /* mean over the rows of KL(softmax of float || softmax of ours); of the rows if they are
                      probabilities */
    double flips;  /* share of rows whose largest element is another one */
    double cosine; /* mean over the rows */
    double kl_error, cosine_error; /* standard errors of these means */
    double max_error;                     /* largest |difference| */
    double rms_error, rms;                /* of differences, of the float answers */
    int64_t labelled, right_float, right; /* rows with labels, and those classified as labelled */
    double log_loss_float, log_loss;      /* mean of -log p(label) over rows with labels, p as for kl */
} tm_divergence;

/* What was seen of an operand, and its scale. */
typedef struct tm_operand_report {
    double low, high, scale;
    int64_t zero;
} tm_operand_report;

/* A layer, or, behind all layers, an attention: that has `operands`, queries, keys and values, and neither
 * weights nor an input of its own. */
typedef struct tm_layer_report {
    const char *name, *op;
    int64_t k, n;               /* terms of a sum; columns */
    int64_t float_bytes, bytes; /* of weights and scales */
    const char *form;           /* "int8, static" ..; of layers that stay float: "float" */
    double float_ns, ns;        /* of a call on a sample's rows: measured or estimated; 0: not known */
    double weight_error;        /* root of the mean square error over that of the weights */
    double low, high, scale;    /* of the input; 0: not observed */
    int64_t zero;
    double outlier;      /* largest |input| over the root of the mean square; 0: not observed */
    double subnormal;    /* share of inputs so small that they become zero */
    tm_divergence alone; /* with this layer quantised alone */
    const tm_operand_report *operands; /* 3, or NULL */
    bool quantized;
    const char *reason; /* of the decision */
} tm_layer_report;

typedef struct tm_quantize_report {
    const char *model, *form;
    int64_t samples;
    int64_t float_bytes, bytes; /* of all constants */
    double seconds;
    double float_ns, ns; /* of a call of the whole model on one thread; 0: not measured */
    const char *speed;   /* what was done for it, in words, or NULL */
    tm_divergence whole;
    bool budget_met;
    const char *budget;    /* in words: met, or missed by how much; NULL: none was given */
    const char *unchecked; /* what could not be checked, or NULL */
    TM_VECTOR(tm_layer_report) layers;
} tm_quantize_report;

/* Quantises the model of a file into *out_model, which lives in `arena`. `samples` may be NULL: then the form
 * must be one that needs none. `folder` is for temporary files. */
TM_MUST_USE tm_code tm_quantize(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                const char *folder, const tamis_compile_options *compile,
                                const tm_quantize_options *options, const tm_samples *samples,
                                tm_model **out_model, tm_quantize_report *out_report);

void tm_quantize_report_json(const tm_quantize_report *report, tm_text *out);
void tm_quantize_report_html(const tm_quantize_report *report, tm_text *out);

#endif
