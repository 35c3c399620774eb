/* SPDX-License-Identifier: Apache-2.0
 *
 * Dims and activation functions of recurrent ops from their inputs and attributes; see recurrent.h.
 */
#include "runtime/ops/recurrent.h"

static const struct {
    const char *name;
    tm_activation kind;
    bool takes_alpha, takes_beta;
    double alpha, beta; /* used when the lists have no more */
} functions[] = {
    {"Relu", TM_ACTIVATION_RELU, false, false, 0, 0},
    {"Tanh", TM_ACTIVATION_TANH, false, false, 0, 0},
    {"Sigmoid", TM_ACTIVATION_SIGMOID, false, false, 0, 0},
    {"Affine", TM_ACTIVATION_AFFINE, true, true, 1, 0},
    {"LeakyRelu", TM_ACTIVATION_LEAKY_RELU, true, false, 0.01, 0},
    {"ThresholdedRelu", TM_ACTIVATION_THRESHOLDED_RELU, true, false, 1, 0},
    {"ScaledTanh", TM_ACTIVATION_SCALED_TANH, true, true, 1, 1},
    {"HardSigmoid", TM_ACTIVATION_HARD_SIGMOID, true, true, 0.2, 0.5},
    {"Elu", TM_ACTIVATION_ELU, true, false, 1, 0},
    {"Softsign", TM_ACTIVATION_SOFTSIGN, false, false, 0, 0},
    {"Softplus", TM_ACTIVATION_SOFTPLUS, false, false, 0, 0},
};

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Names are compared without regard to case, as other runtimes do. */
static bool is_name(const char *chars, int32_t count, const char *name) {
    int32_t i = 0;
    for (; i < count && name[i] != 0; i++)
        if (lower(chars[i]) != lower(name[i]))
            return false;
    return i == count && name[i] == 0;
}

/* Alphas and betas are consumed in order by the functions that take one. */
static bool read_functions(const void *a, const tm_recurrent_attributes *lists, tm_recurrent *out,
                           int count) {
    int32_t alphas = 0, betas = 0;
    const tm_list *names = tm_strings(a, lists->activations);
    for (int32_t i = 0; i < lists->activations.count && i < out->directions * count; i++) {
        bool found = false;
        for (size_t f = 0; f < sizeof functions / sizeof functions[0] && !found; f++) {
            if (!is_name(tm_chars(a, names[i]), names[i].count, functions[f].name))
                continue;
            found = true;
            tm_gate_function *to = &out->functions[i / count][i % count];
            *to = (tm_gate_function){functions[f].kind, functions[f].alpha, functions[f].beta};
            if (functions[f].takes_alpha && alphas < lists->alpha.count)
                to->alpha = tm_floats(a, lists->alpha)[alphas++];
            if (functions[f].takes_beta && betas < lists->beta.count)
                to->beta = tm_floats(a, lists->beta)[betas++];
        }
        if (!found)
            return false;
    }
    return true;
}

int32_t tm_recurrent_init(tm_run *run, const tm_call *call, tm_recurrent *out,
                          const tm_recurrent_attributes *attributes, int64_t gates,
                          const tm_activation *usual, int count) {
    const void *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *w = tm_in(run, call, 1), *r = tm_in(run, call, 2);
    const tamis_tensor *lengths = tm_in(run, call, 4);
    out->batch_first = attributes->layout != 0;
    out->steps = x->dims[out->batch_first ? 1 : 0];
    out->batch = x->dims[out->batch_first ? 0 : 1];
    out->input = x->dims[2];
    out->hidden = r->dims[2];
    out->directions = w->dims[0];
    out->gates = gates;
    out->rounds_state = false;
    out->reversed = tm_is(a, attributes->direction, "reverse");
    out->clip = attributes->clip == attributes->clip ? attributes->clip : 0;
    out->lengths = lengths != NULL ? lengths->data : NULL;
    if (w->dims[1] != gates * out->hidden || r->dims[1] != gates * out->hidden)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, w->dims[1], gates * out->hidden);
    if (w->dims[2] != out->input)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, w->dims[2], out->input);
    if (out->directions > 2)
        return tm_fail(run, call, TM_RUN_COUNT_RANGE, out->directions, 2);
    for (int64_t b = 0; out->lengths != NULL && b < out->batch; b++)
        if (out->lengths[b] < 0 || out->lengths[b] > out->steps)
            return tm_fail(run, call, TM_RUN_COUNT_RANGE, out->lengths[b], out->steps);
    for (int d = 0; d < 2; d++)
        for (int i = 0; i < count; i++)
            out->functions[d][i] = (tm_gate_function){usual[i], 0, 0};
    if (!read_functions(a, attributes, out, count))
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, attributes->activations.count, count);
    return 0;
}
