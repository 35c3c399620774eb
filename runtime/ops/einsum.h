/* SPDX-License-Identifier: Apache-2.0
 *
 * einsum.h: an equation as labels. Each axis of each term gets a label number: letters are 0..51, the dims
 * of `...` are 52.. counted from the right. So "...ij,jk->...ik" is no special case: terms are lists of
 * labels.
 */
#ifndef TM_OPS_EINSUM_H
#define TM_OPS_EINSUM_H

#include "runtime/kernel.h"

#define TM_LABELS (52 + TAMIS_MAX_RANK)

/* One operand or result: labels in order, and for each label its stride (0 where it is not present). */
typedef struct tm_einsum_term {
    const void *data;
    int32_t rank;
    uint8_t labels[TAMIS_MAX_RANK];
    int64_t stride[TM_LABELS];
    bool has[TM_LABELS];
} tm_einsum_term;

typedef struct tm_einsum {
    int64_t size[TM_LABELS];
    uint8_t output[TAMIS_MAX_RANK];
    int32_t output_rank;
    int32_t position; /* reading */
    bool dots;
    int32_t dots_count;
    int32_t uses[TM_LABELS];
} tm_einsum;

/* Reads the term of the next input and adds its dims to `size`. */
int32_t tm_einsum_input(tm_run *run, const tm_call *call, tm_einsum *equation, int input,
                        tm_einsum_term *out);
/* Reads (or makes) the output term. */
void tm_einsum_output(const tm_call *call, tm_einsum *equation);
/* Will a later input or the output look at the label? `next` is the first input not consumed yet. */
bool tm_einsum_needs(const tm_call *call, const tm_einsum *equation, int next, int label);

/* A list of labels to step through, the last one fastest. */
typedef struct tm_label_list {
    int32_t count;
    uint8_t labels[TM_LABELS];
    int64_t total; /* product of the sizes */
} tm_label_list;

void tm_label_add(tm_label_list *list, const tm_einsum *equation, int label);

#endif
