/* SPDX-License-Identifier: Apache-2.0
 *
 * layer.h: what the files of the quantiser share: loaded models and their layers, what is known of each
 * (plans), and what was seen of their inputs (observations).
 */
#ifndef TM_QUANTIZE_LAYER_H
#define TM_QUANTIZE_LAYER_H

#include "quantize/quantize.h"
#include "quantize/scale.h"
#include "tamis/runtime.h"

#include <string.h>

/* A product or convolution by constant weights, or a Gather from a constant table. */
typedef struct tm_layer {
    tm_node *node;
    const char *name;
    tm_value *x, *w, *bias; /* bias: a constant, or NULL. x of a table: NULL */
    int channel_axis;       /* of w: along the columns of the product */
    int sum_axis;           /* of w, if the weights are a matrix; else -1: all other axes are summed over */
    int64_t k, n;           /* terms of a sum, columns */
    int observed;           /* index of x among the observed values; -1: of a table */
    const char *unfit;      /* why it cannot be quantised, or NULL */
} tm_layer;

typedef TM_VECTOR(tm_layer) tm_layers;

enum { TM_ATTENTION_QUERIES, TM_ATTENTION_KEYS, TM_ATTENTION_VALUES, TM_ATTENTION_OPERANDS };

/* Two products of computed matrices, MatMul(softmax(.. MatMul(q, k^T) ..), v). */
typedef struct tm_attention {
    tm_node *scores, *mix; /* the products */
    const char *name;
    int observed[TM_ATTENTION_OPERANDS]; /* q, k^T and v among the observed values */
    const char *unfit;                   /* why it cannot be quantised, or NULL */
} tm_attention;

/* A model in its own arena (`arena` of the quantiser for the result). */
typedef struct tm_loaded {
    tm_model *model;
    tm_layers layers;
    TM_VECTOR(tm_attention) attentions; /* empty unless the options ask for them */
    TM_VECTOR(tm_value *) observed;     /* the distinct inputs of layers, and operands of attentions */
} tm_loaded;

#define TM_QUANTIZE_FORMS 4

typedef struct tm_layer_plan {
    bool quantize;
    tm_quantize_form form; /* the options', or, under a budget, one that harms less */
    bool has_rows;         /* its input's last axis is what is summed over: no convolution, no table */
    bool is_table;
    const char *reason;
    tm_quantized weights; /* values NULL: not made yet */
    tm_quantized eight;   /* of 8 bits where `weights` are of 4 and a budget may ask for more; likewise */
    tm_constant *bias;    /* in place of the layer's; NULL: as it is */
} tm_layer_plan;

/* What its form calls for. */
static inline const tm_quantized *tm_plan_weights(const tm_layer_plan *plan) {
    return plan->form == TM_QUANTIZE_INT8_WEIGHTS && plan->eight.values != NULL ? &plan->eight
                                                                                : &plan->weights;
}

typedef struct tm_attention_plan {
    bool quantize;
    const char *reason;
} tm_attention_plan;

/* Nanoseconds of a call; 0: not known. */
typedef struct tm_layer_cost {
    double in_float, in_form[TM_QUANTIZE_FORMS];
} tm_layer_cost;

typedef struct tm_observation {
    const char *name; /* of the first layer or attention that reads it, for messages */
    tm_range range;
    tm_histogram histogram;
    float *channel_most; /* largest |x| of each index of the last axis (NULL: rank 0 or too many) */
    double *channel_sum; /* sum of x, likewise */
    int64_t channels;
    int64_t rows; /* positions of all samples */
    int rank;     /* of the last sample, and its dims */
    int64_t dims[TAMIS_MAX_RANK];
    tm_linear linear; /* chosen scale and zero point */
} tm_observation;

typedef struct tm_quantizer {
    tm_arena *arena;
    tm_diagnostics *diagnostics;
    const char *path, *folder;
    const tamis_compile_options *compile;
    const tm_quantize_options *options;
    const tm_samples *samples;
    tm_layer_plan *plans;         /* by layer */
    tm_layer_cost *costs;         /* by layer */
    tm_attention_plan *attention_plans;
    tm_observation *observations; /* by observed value */
    float **factors;              /* by observed value, along its channels, or NULL; NULL: none at all */
    int layer_count, attention_count, observed_count;
    int64_t sample_count;
    int64_t narrow_saving; /* bytes, see narrow.c */
    int builds; /* so far: names of temporary artifacts */
} tm_quantizer;

/* ---- load.c ---- */
/* Imports the file into the arena and finds its layers. */
TM_MUST_USE tm_code tm_quantize_load(const tm_quantizer *q, tm_arena *arena, tm_loaded *out);

/* Gives back an arena with a model, to the system too. */
void tm_quantize_unload(tm_arena *arena);

/* The layers of a model that is there; load.c. */
void tm_quantize_find_layers(tm_arena *arena, tm_loaded *loaded);

/* Of an option: is each part in the name of a layer or an attention? E_USAGE filed. */
TM_MUST_USE tm_code tm_layers_check_keep(const tm_quantizer *q, const tm_loaded *loaded, const char *option,
                                         const char *const *parts, size_t count);

/* A second arena that runs out of memory where the quantiser's does. */
static inline void tm_quantize_borrow_recovery(const tm_quantizer *q, tm_arena *arena) {
    memcpy(arena->recovery, q->arena->recovery, sizeof arena->recovery);
    arena->has_recovery = q->arena->has_recovery;
}

/* The index of a value among the observed ones, which it joins. */
int tm_quantize_observe(tm_arena *arena, tm_loaded *loaded, tm_value *x);

/* ---- attention.c ---- */
void tm_quantize_find_attentions(const tm_quantizer *q, tm_arena *arena, tm_loaded *loaded);
/* Of an option: does this layer or attention stay float? */
bool tm_is_kept(const tm_quantizer *q, const char *name);

/* ---- session.c ---- */
typedef struct tm_build {
    tamis_model *model;
    tamis_session *session;
    const char *path;
} tm_build;
/* Compiles the model for this machine and loads it; its arena may go then. */
TM_MUST_USE tm_code tm_build_create(tm_quantizer *q, tm_model *model, tm_build *out);
void tm_build_destroy(tm_build *build);
TM_MUST_USE tm_code tm_build_run(tm_quantizer *q, tm_build *build, const tamis_tensor *inputs);

/* ---- calibrate.c ---- */
/* A build with the observed values as outputs from *out_first on. */
TM_MUST_USE tm_code tm_build_observing(tm_quantizer *q, tm_build *out, int *out_first);
/* Runs the build on each sample (at most `most`, 0: all; spread over all once their number is known) and
 * hands it on. */
TM_MUST_USE tm_code tm_each_sample(tm_quantizer *q, int64_t most, tm_build *build,
                                   tm_code (*use)(tm_quantizer *, tm_build *, int64_t, void *),
                                   void *argument);
/* Runs the float model on the samples; fills the observations and their linear forms. */
TM_MUST_USE tm_code tm_calibrate(tm_quantizer *q);

/* ---- weights.c ---- */
/* Quantises the weights of all layers that are not kept. */
TM_MUST_USE tm_code tm_quantize_weights(tm_quantizer *q, const tm_loaded *loaded);
/* After all rounding is done. */
void tm_correct_biases(tm_quantizer *q, const tm_loaded *loaded);
/* The matrix of a layer's weights as [k, n] floats, sums along the first axis. */
float *tm_layer_matrix(tm_arena *arena, const tm_layer *layer);

/* ---- smooth.c ---- */
void tm_smooth_choose(tm_quantizer *q, const tm_loaded *loaded);
/* Changes a loaded model by the factors, and finds its layers anew. */
TM_MUST_USE tm_code tm_smooth_apply(const tm_quantizer *q, tm_arena *arena, tm_loaded *loaded);

/* ---- bias.c ---- */
/* Plans a bias that takes back what the rounding of the weights does to the mean. */
void tm_correct_bias(tm_quantizer *q, const tm_layer *layer, const float *matrix, tm_arena *scratch,
                     tm_layer_plan *plan);

/* ---- narrow.c ---- */
/* Constants beside the weights as float16, in a model whose layers are rewritten. */
TM_MUST_USE tm_code tm_narrow_constants(tm_loaded *loaded);
/* The bytes that it saves, of a model as it was loaded. */
int64_t tm_narrow_saving(const tm_quantizer *q, const tm_loaded *loaded);

/* ---- rewrite.c ---- */
/* Changes the loaded model as the plans of the layers that are quantised say. */
TM_MUST_USE tm_code tm_quantize_rewrite(const tm_quantizer *q, tm_loaded *loaded);

#endif
