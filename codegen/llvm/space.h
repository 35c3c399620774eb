/* SPDX-License-Identifier: Apache-2.0
 *
 * space.h: where the windows of a convolution or pool in a region's body lie, for the generators of both.
 *
 *     body(%x: f32[n, h, w, c], %k: f32[m, c, 3, 3]) {
 *       %t = Transpose(%x) {perm = [0, 3, 1, 2]}         ; missing when the region reads channels first
 *       %c = Conv(%t, %k)
 *       %y: f32[n, p, q, m] = Transpose(%c) {perm = [0, 2, 3, 1]}
 *       return %y
 *     }
 *
 * Outputs lie channels last; so does the input when it is transposed in the body. Before that it may be
 * multiplied by a gate [n, 1, 1, c], as behind squeeze and excite. The pass that forms such regions leaves
 * explicit pads and up to TM_SPACE_AXES spatial axes.
 */
#ifndef TM_CODEGEN_LLVM_SPACE_H
#define TM_CODEGEN_LLVM_SPACE_H

#include "codegen/llvm/contract.h"

#define TM_SPACE_AXES 3

typedef struct tm_space {
    const tm_node *window;  /* Conv, MaxPool or AveragePool */
    const tm_node *product; /* the Transpose behind it: the sums, channels last */
    int x;                  /* the data, as input of the region; -1: made in the body */
    int gate; /* factors of x for the channels of each sample, as input of the region; -1: none */
    bool channels_last;
    int axes;
    int64_t kernel[TM_SPACE_AXES], stride[TM_SPACE_AXES], dilation[TM_SPACE_AXES], head[TM_SPACE_AXES];
    LLVMValueRef samples, channels;                     /* of the output, i64 */
    LLVMValueRef in[TM_SPACE_AXES], out[TM_SPACE_AXES]; /* i64 */
    /* Elements of x from one position, channel or sample to the next. */
    LLVMValueRef step[TM_SPACE_AXES], channel_step, sample_step;
} tm_space;

/* The first or the last convolution or pool of the body. */
const tm_node *tm_space_window(const tm_region *r, bool last);
/* For this node. Dims of values inside of the body are known, or those of the region's output. Also for the
 * count of units. */
void tm_space_set_up(tm_region *r, tm_space *space, const tm_node *window);

/* Sizes when code is made. */
static inline int64_t tm_at_least(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static inline int64_t tm_at_most(int64_t a, int64_t b) {
    return a < b ? a : b;
}
/* The largest part of `count` that cuts it evenly in parts of at most `most`. */
static inline int64_t tm_even_part(int64_t count, int64_t most) {
    int64_t parts = (count + most - 1) / most;
    return parts > 0 ? (count + parts - 1) / parts : most;
}

/* For tm_contract: the region's last convolution or pool. */
void tm_space_set_up_contract(tm_region *r, tm_contract *c);

#endif
