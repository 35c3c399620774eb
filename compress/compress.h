/* SPDX-License-Identifier: Apache-2.0
 *
 * compress.h: compression after training. Pruning takes whole slices (heads, channels) out of a model, so
 * that what is left is an ordinary smaller model.
 *
 *     %h = MatMul(%x, %up)        up:   f32[384, 1536]  ->  f32[384, 704]
 *     %g = Gelu(%h + %b)          b:    f32[1536]       ->  f32[704]
 *     %y = MatMul(%g, %down)      down: f32[1536, 384]  ->  f32[704, 384]
 *
 * The way: load as the quantiser does, find which slices go together (slices.h), take out those that are
 * zero, measure what the others carry on the samples, choose under the budget, make up for what was lost by
 * least squares, measure the whole, write.
 */
#ifndef TM_COMPRESS_COMPRESS_H
#define TM_COMPRESS_COMPRESS_H

#include "quantize/quantize.h"

typedef enum tm_prune_goal {
    TM_PRUNE_ZEROS,   /* only what adds nothing; needs no samples */
    TM_PRUNE_BUDGET,  /* as much as the budget allows */
    TM_PRUNE_FLOPS,   /* a share of the multiplications and additions stays */
    TM_PRUNE_LATENCY, /* so many times faster */
    TM_PRUNE_SPARSE,  /* a share of the weights of each product becomes zero */
    TM_PRUNE_RANDOM   /* a share of each axis' slices, at random: for tests of what comes after */
} tm_prune_goal;

typedef struct tm_compress_options {
    tm_prune_goal goal;
    double amount;           /* share that stays; times as fast; share of zeros */
    int64_t block;           /* of TM_PRUNE_SPARSE: terms of a column that are zero together, 1 or 4 */
    bool blocks;             /* whole branches of residual streams may go */
    bool low_rank;           /* instead of slices: products by two thin matrices */
    bool repair;             /* least squares for what reads the slices that stay */
    double ridge;            /* added to the moments' diagonal, as a share of its mean */
    int64_t multiple;        /* channels stay in multiples of it, the kernels' tiles */
    const char *const *keep; /* parts of names of layers whose slices stay */
    size_t keep_count;
    uint64_t seed;                /* of TM_PRUNE_RANDOM */
    tm_quantize_options measures; /* budget, samples, threads */
} tm_compress_options;

void tm_compress_options_init(tm_compress_options *options);
/* "flops:0.5,multiple=32,keep=head": the goal, then options. E_USAGE filed when it is none. */
TM_MUST_USE tm_code tm_compress_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                                      tm_compress_options *out);

/* An axis whose slices were looked at: the heads of a layer, the channels between two products. */
typedef struct tm_axis_report {
    const char *name; /* of the layer that reads it */
    const char *kind; /* "heads", "channels", "block": a whole branch of a residual stream, "rank" */
    int64_t slices, kept;
    int64_t channels; /* of a slice: a head's width, 1 of a channel */
    double error;     /* of that layer's output: share of the mean square that was lost, after repair */
    double harm;      /* use of the budget with half of this axis alone; negative: not measured */
} tm_axis_report;

typedef struct tm_compress_report {
    const char *model;
    int64_t samples;
    int64_t zeros;               /* classes of slices that were taken out because they add nothing */
    int64_t merged;              /* adapters (LoRA) that are part of the weights now */
    int64_t bytes_before, bytes; /* of all constants */
    double flops_before, flops;  /* of products and convolutions on a sample; 0: not counted */
    double ns_before, ns;        /* of a call on a sample, one thread; 0: not measured */
    double seconds;
    double sparsity; /* share of zeros in the weights of products; 0: was not asked for */
    tm_divergence whole;    /* on all samples */
    tm_divergence held_out; /* on those alone that the repair did not see; rows 0: it saw all */
    bool budget_met;
    const char *budget;    /* in words; NULL: none was given */
    const char *refused;   /* why the goal was not reached, with the figures; NULL: it was */
    const char *unchecked; /* what could not be checked, or NULL */
    TM_VECTOR(tm_axis_report) axes;
} tm_compress_report;

/* Compresses the model of a file into *out_model, which lives in `arena`. `samples` may be NULL if the goal
 * needs none. `folder` is for temporary files. */
TM_MUST_USE tm_code tm_compress(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                const char *folder, const tamis_compile_options *compile,
                                const tm_compress_options *options, const tm_samples *samples,
                                tm_model **out_model, tm_compress_report *out_report);

/* The same in parts, for those who try less and less of the budget: what was measured once is not again. The
 * pruner lives in the arena, which also closes it; reports live there, too. */
typedef struct tm_pruner tm_pruner;
TM_MUST_USE tm_code tm_compressor_open(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                       const char *folder, const tamis_compile_options *compile,
                                       const tm_compress_options *options, const tm_samples *samples,
                                       tm_pruner **out);
/* The goal, or the deepest cut that uses at most this share of the budget (0: only zeros go); the model is in
 * `arena`. */
TM_MUST_USE tm_code tm_compressor_make(tm_pruner *p, double room, tm_arena *arena, tm_model **out_model,
                                       tm_compress_report *out_report);
void tm_compressor_close(tm_pruner *p);

void tm_compress_report_json(const tm_compress_report *report, tm_text *out);

#endif
