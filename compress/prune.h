/* SPDX-License-Identifier: Apache-2.0
 *
 * prune.h: what the files of structured pruning share.
 *
 * An axis here is a set of axes that are cut alike: the 1536 channels of a layer wherever they stand. Its
 * readers are the products and convolutions by constant weights that sum over it. A model that is loaded
 * again has the same slices, sinks, axes and readers, in the same order, since all of it is deterministic.
 */
#ifndef TM_COMPRESS_PRUNE_H
#define TM_COMPRESS_PRUNE_H

#include "compiler/internal.h"
#include "compress/compress.h"
#include "compress/slices.h"
#include "quantize/choose.h"
#include "quantize/layer.h"

/* A product [rows, k] [k, n] whose right side is constant. */
typedef struct tm_prune_reader {
    int sink, axis;
    int observed; /* number of its input among the observed values */
    int stream;   /* of what its result is added to; -1: none */
    int64_t k, n;
    int64_t taps;      /* terms of a channel: of a convolution the size of its kernel, else 1 */
    int32_t *class_of; /* by channel */
    int block;         /* the branch that it is part of: axis; -1: none */
    bool has_bias;
    float *left, *right; /* of a rank: all of [k, rank] and [rank, n], the most important first */
    double *mean_output; /* [n], with the bias; NULL: not known */
    double energy; /* mean square of its outputs, summed over columns; about their mean if it has a bias */
} tm_prune_reader;

typedef struct tm_prune_axis {
    const char *name; /* of its first reader */
    int32_t axis_class;
    int64_t channels; /* of a slice */
    int32_t *classes; /* those that may go, then in the order in which they do */
    int count;
    double pinned; /* slices besides */
    double *
        errors; /* by number of classes that are gone: share of the readers' energy that is lost; count + 1 */
    int gone;   /* chosen */
    int planned; /* the same while `gone` is another */
    bool is_block; /* a branch of a residual stream, of one slice: that of reader `reader` */
    bool is_rank;  /* the rank of the weights of reader `reader`: low_rank.c */
    int reader;
    bool unfit; /* has no moments: stays */
    /* about half of it, alone */
    int probe;          /* classes gone */
    double harm;        /* of the model's outputs: square error over square; negative: not measured */
    double time_per_flops; /* share of a call's time that goes for a share of the flops; 0: not measured */
    double use;         /* of the budget; negative: not measured */
} tm_prune_axis;

/* The readers' weights once the chosen classes are gone, by reader. */
typedef struct tm_prune_repair {
    double **matrices; /* [kept k, n]; NULL: as it was cut */
    int64_t *rows;     /* kept k */
    double **shifts;   /* [n], added to the bias; NULL: none */
    double *errors;    /* share of the energy that is lost all the same; negative: not known */
} tm_prune_repair;

/* What a product or convolution costs: flops times the shares of axes that stay. */
#define TM_PRUNE_FACTORS 6
typedef struct tm_prune_cost {
    double flops;
    int32_t value; /* id of the result */
    int axes[TM_PRUNE_FACTORS], count;
} tm_prune_cost;

/* A choice that was measured. */
typedef struct tm_prune_attempt {
    double share; /* of flops that was asked for */
    int *gone;    /* by axis */
    double use, ns_before, ns;
    tm_divergence d, held_out;
} tm_prune_attempt;

struct tm_pruner {
    tm_quantizer q; /* samples, sessions */
    const tm_compress_options *options;
    TM_VECTOR(tm_prune_axis) axes;
    TM_VECTOR(tm_prune_reader) readers;
    TM_VECTOR(tm_prune_cost) costs;
    TM_VECTOR(int32_t) observed; /* ids of values: what readers read, and are added to */
    tm_prune_repair probes;      /* of each axis alone, by its readers */
    tm_build whole, observing; /* the whole model; the same with the observed values; session NULL: not yet */
    int first_observed;        /* output */
    tm_quantize_options one_thread; /* for what is timed */
    int32_t slice_count;
    double flops; /* of the whole */
    tm_arena last_arena;
    tm_prune_repair last; /* of the last choice that was tried; matrices NULL: none was */
    const int *last_gone; /* by axis */
    double room;          /* share of the budget that may be used */
    bool prepared;        /* axes are found and measured alone */
    TM_VECTOR(struct tm_prune_attempt) attempts; /* all that were measured */
};

/* What loading a model has found. */
typedef struct tm_load_counts {
    int64_t bytes;  /* of constants, before */
    int64_t merged; /* adapters */
    int64_t zeros;  /* classes of slices */
} tm_load_counts;

/* A loaded model and its slices. */
typedef struct tm_pruned {
    tm_arena arena;
    tm_loaded loaded;
    tm_slices slices;
    tm_load_counts counts;
} tm_pruned;

/* The model as the quantiser loads it, without zero slices, adapters merged; views say no targets. */
TM_MUST_USE tm_code tm_prune_load(const tm_pruner *p, tm_arena *arena, tm_loaded *out,
                                  tm_load_counts *out_counts);
/* The same in an arena of its own, analysed. Destroy it also after a failure. */
TM_MUST_USE tm_code tm_pruned_create(const tm_pruner *p, tm_pruned *out);
void tm_pruned_destroy(tm_pruned *pruned);

/* ---- low_rank_merge.c ---- */
/* Merges adapters into the products beside them; how many. */
int64_t tm_low_rank_merge(tm_model *model);

/* ---- low_rank.c ---- */
/* Makes an axis of the rank of a reader that was just added. */
void tm_low_rank_add(tm_pruner *p, int reader, const tm_node *node);
/* Its factors and errors; `h`: damped moments, all of them; `w`: the weights. */
void tm_low_rank_order(tm_pruner *p, tm_arena *scratch, tm_prune_axis *axis, double *h, const double *w);
/* The share of the reader's flops that is left, and the next step down (-1: none). */
double tm_low_rank_share(const tm_pruner *p, const tm_prune_axis *axis, int gone);
int tm_low_rank_next(const tm_pruner *p, const tm_prune_axis *axis, int gone);
/* Two thin products in place of one, where a rank is cut. */
TM_MUST_USE tm_code tm_low_rank_apply(const tm_pruner *p, const tm_pruned *pruned);

/* ---- prune_axes.c ---- */
/* Fills axes, readers and costs. `sizes`: the inputs of a sample. */
void tm_prune_find_axes(tm_pruner *p, const tm_pruned *pruned, const tamis_tensor *inputs);
/* Do the options say that what has this name stays? */
bool tm_prune_keeps(const tm_compress_options *options, const char *name);
/* Which classes are gone under the axes' choices: by class. */
bool *tm_prune_gone(const tm_pruner *p, tm_arena *arena, const tm_slices *s);
/* Products' and convolutions' multiplications and additions, for inputs of these sizes. */
double tm_prune_flops(const tm_model *model, tm_arena *scratch, const tamis_tensor *inputs);
/* The reader's weights as [k, n] doubles; writes them back into a node's operand. */
double *tm_prune_matrix(tm_arena *arena, const tm_node *node, int64_t k, int64_t n);
void tm_prune_set_matrix(tm_node *node, const double *matrix, int64_t k, int64_t n);
/* The bias that is added to the product: input *out_index of *out_node; NULL: none that is constant. */
tm_value *tm_prune_bias(tm_node *node, tm_node **out_node, int *out_index);

/* ---- prune_blocks.c ---- */
/* Adds the branches of residual streams as axes, after the others are known. */
void tm_prune_find_blocks(tm_pruner *p, const tm_pruned *pruned);
/* Is the reader part of a branch that goes? */
bool tm_prune_is_gone(const tm_pruner *p, const tm_prune_reader *reader);
/* Puts the means of the branches that go in their places. */
void tm_prune_drop_blocks(const tm_pruner *p, const tm_pruned *pruned);

/* ---- prune_moments.c ---- */

/* Second moments of what a reader reads, about the mean if it has a bias: means over rows. */
typedef struct tm_moments {
    int64_t rows;
    double *h;    /* [k, k], the upper triangle; NULL: not asked for */
    double *mean; /* [k] */
} tm_moments;
/* Runs the samples through the whole model, for readers with wanted[i]. */
/* Rows [*out_rows, k] of a reader's input: the tensor itself or a copy. */
const float *tm_prune_rows(tm_arena *scratch, const tm_node *node, const tamis_tensor *x, int64_t k,
                           int64_t *out_rows);
TM_MUST_USE tm_code tm_prune_collect(tm_pruner *p, tm_arena *arena, const bool *wanted, tm_moments *out);
/* Of so many samples, is this one kept from moments and repair, to judge them by? One of TM_HELD_OUT; of
 * fewer none. */
#define TM_HELD_OUT 5
bool tm_prune_holds_out(int64_t count, int64_t sample);

/* ---- prune_order.c ---- */
/* Fills the lower triangle and adds a share of the mean to the diagonal. */
void tm_prune_damp(double *h, int64_t k, double ridge);
/* h^-1, all of it, of a damped matrix; damped more where it has none in these digits. False: it is no number.
 */
TM_MUST_USE bool tm_prune_invert(tm_arena *scratch, double *h, int64_t k);
/* In which order the classes of each axis go, and what is lost. */
TM_MUST_USE tm_code tm_prune_order(tm_pruner *p);

/* ---- prune_repair.c ---- */
/* What is done with one reader: its node, which classes are gone, the moments of its input. */
typedef void (*tm_prune_visit)(tm_pruner *p, tm_arena *arena, tm_arena *scratch, int number,
                               const tm_node *node, const bool *gone, tm_moments *moments,
                               const void *argument, tm_prune_repair *out);
/* Visits the readers that are taken, as many in one pass over the samples as there is room for moments. */
TM_MUST_USE tm_code tm_prune_each_reader(tm_pruner *p, tm_arena *arena,
                                         bool (*takes)(const tm_pruner *, const tm_prune_reader *),
                                         tm_prune_visit visit, const void *argument, tm_prune_repair *out);
void tm_prune_repair_init(const tm_pruner *p, tm_arena *arena, tm_prune_repair *out);
TM_MUST_USE tm_code tm_prune_find_repair(tm_pruner *p, tm_arena *arena, tm_prune_repair *out);
/* Cuts the model by the choices and sets the repaired weights. */
TM_MUST_USE tm_code tm_prune_apply(const tm_pruner *p, tm_pruned *pruned, const tm_prune_repair *repair);

/* ---- prune_refine.c ---- */
/* Fits repaired weights again, to what the whole model computes where the pruned one has other inputs. */
TM_MUST_USE tm_code tm_prune_refine(tm_pruner *p, tm_prune_repair *io);
/* What the result of a reader is added to, beside its bias; NULL: nothing of the same size. */
tm_value *tm_prune_stream(tm_node *node);

/* ---- prune_choose.c ---- */
/* The repair lives in the arena, or in the pruner until tm_prune_forget. */
TM_MUST_USE tm_code tm_prune_choose(tm_pruner *p, tm_prune_repair *repair, tm_compress_report *report);
void tm_prune_forget(tm_pruner *p);

/* ---- sparse_prune.c ---- */
/* Weights with zeros, as a repair that cuts nothing. */
TM_MUST_USE tm_code tm_sparse_choose(tm_pruner *p, tm_prune_repair *repair, tm_compress_report *report);

/* ---- prune_measure.c ---- */
/* The model under the choices against the whole one: divergence on `most` samples (0: all) and on those of
 * them that were held out, and the time of a call on one thread, a mean over samples; NULL: not asked for. */
TM_MUST_USE tm_code tm_prune_measure(tm_pruner *p, const tm_prune_repair *repair, int64_t most,
                                     tm_divergence *out, tm_divergence *out_held_out, double *out_ns_before,
                                     double *out_ns);
/* The same of two builds, the whole model's first; q->sample_count is known. */
TM_MUST_USE tm_code tm_measure_pair(tm_quantizer *q, tm_build *builds[2], int64_t most, tm_divergence *out,
                                    tm_divergence *out_held_out, double *out_ns_before, double *out_ns);
/* What both use of the budget: it is to hold on all samples, and on those alone that the repair did not see.
 */
double tm_prune_use(const tm_quantize_options *options, const tm_divergence *all,
                    const tm_divergence *held_out);
/* Both in words. */
const char *tm_prune_figures(tm_arena *arena, const tm_divergence *all, const tm_divergence *held_out);

#endif
