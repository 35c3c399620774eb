/* SPDX-License-Identifier: Apache-2.0
 *
 * prune.h: what the files of structured pruning share.
 */
#ifndef TM_COMPRESS_PRUNE_H
#define TM_COMPRESS_PRUNE_H

#include "compiler/internal.h"
#include "compress/compress.h"
#include "compress/slices.h"
#include "quantize/choose.h"
#include "quantize/layer.h"

typedef struct tm_pruner {
    tm_quantizer q; /* samples, sessions */
    const tm_compress_options *options;
} tm_pruner;

/* The model as the quantiser loads it, without zero slices (*out_zeros classes); views say no targets. */
TM_MUST_USE tm_code tm_prune_load(const tm_pruner *p, tm_arena *arena, tm_loaded *out, int64_t *out_zeros);

#endif
