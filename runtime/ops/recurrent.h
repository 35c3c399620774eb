/* SPDX-License-Identifier: Apache-2.0
 *
 * recurrent.h: what LSTM, GRU and RNN share: dims and strides of a call, and activation functions.
 *
 * The inputs of all steps are multiplied with W at once; a step then adds H * R^T, with R^T turned once
 * for each direction, and finishes its gates. Samples that have ended (sequence_lens) keep their
 * state, and their outputs are 0. A reversed direction reads sample b at len(b) - 1 - step.
 */
#ifndef TM_OPS_RECURRENT_H
#define TM_OPS_RECURRENT_H

#include "runtime/kernel.h"

typedef enum tm_activation {
    TM_ACTIVATION_RELU,
    TM_ACTIVATION_TANH,
    TM_ACTIVATION_SIGMOID,
    TM_ACTIVATION_AFFINE,
    TM_ACTIVATION_LEAKY_RELU,
    TM_ACTIVATION_THRESHOLDED_RELU,
    TM_ACTIVATION_SCALED_TANH,
    TM_ACTIVATION_HARD_SIGMOID,
    TM_ACTIVATION_ELU,
    TM_ACTIVATION_SOFTSIGN,
    TM_ACTIVATION_SOFTPLUS
} tm_activation;

typedef struct tm_gate_function {
    tm_activation kind;
    double alpha, beta;
} tm_gate_function;

#define TM_GATE_FUNCTIONS 3 /* of one direction */

/* The attributes that the three ops have in common. */
typedef struct tm_recurrent_attributes {
    tm_list alpha, beta, activations, direction;
    double clip;
    int64_t layout;
} tm_recurrent_attributes;

typedef struct tm_recurrent {
    int64_t steps, batch, input, hidden, directions, gates;
    bool batch_first, reversed; /* the only direction is backward */
    bool rounds_state;          /* to 8 bits before each product with R */
    double clip;                /* 0: none */
    const int32_t *lengths;     /* or NULL */
    tm_gate_function functions[2][TM_GATE_FUNCTIONS];
} tm_recurrent;

/* `usual`: the default functions of one direction, `count` of them. */
int32_t tm_recurrent_init(tm_run *run, const tm_call *call, tm_recurrent *out,
                          const tm_recurrent_attributes *attributes, int64_t gates,
                          const tm_activation *usual, int count);

/* Row of X and of the product with W for a sample at a time. */
static inline int64_t tm_recurrent_row(const tm_recurrent *r, int64_t time, int64_t sample) {
    return r->batch_first ? sample * r->steps + time : time * r->batch + sample;
}
/* Element offset in Y. */
static inline int64_t tm_recurrent_output(const tm_recurrent *r, int64_t time, int64_t direction,
                                          int64_t sample) {
    int64_t row = r->batch_first ? (sample * r->steps + time) * r->directions + direction
                                 : (time * r->directions + direction) * r->batch + sample;
    return row * r->hidden;
}
/* Element offset in initial and final states. */
static inline int64_t tm_recurrent_state(const tm_recurrent *r, int64_t direction, int64_t sample) {
    return (r->batch_first ? sample * r->directions + direction : direction * r->batch + sample) * r->hidden;
}

#endif
