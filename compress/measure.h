/* SPDX-License-Identifier: Apache-2.0
 *
 * measure.h: answers of a model on samples, kept, and how far those of a changed one are from them: of all
 * outputs that are float32 tensors.
 */
#ifndef TM_COMPRESS_MEASURE_H
#define TM_COMPRESS_MEASURE_H

#include "quantize/layer.h"

typedef struct tm_sample_answers {
    int outputs;
    TM_VECTOR(float *) list; /* by sample and output; NULL: no floats */
} tm_sample_answers;

/* Runs all samples (options' most_samples of them) and keeps the answers; sets q->sample_count. */
TM_MUST_USE tm_code tm_sample_answers_keep(tm_quantizer *q, tm_build *build, tm_sample_answers *out);
/* Runs the samples (at most `most` of those that were kept; 0: all) and compares. */
TM_MUST_USE tm_code tm_sample_answers_compare(tm_quantizer *q, tm_build *build,
                                              const tm_sample_answers *answers, int64_t most,
                                              tm_divergence *out);

/* Adds the least time of several calls of each build on a sample; calls alternate, so that what else the
 * machine does hits both. */
TM_MUST_USE tm_code tm_time_builds(tm_quantizer *q, tm_build *builds[2], const tamis_tensor *inputs,
                                   double *io_ns);

#endif
