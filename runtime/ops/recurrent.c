/* SPDX-License-Identifier: Apache-2.0
 *
 * LSTM, GRU and RNN for all float types, and ONNX Runtime's DynamicQuantizeLSTM for float. The steps are in
 * recurrent.inc, for float and double; float16 and bfloat16 operands are converted to float as a whole and
 * the outputs are rounded once.
 */
#include "runtime/ops/recurrent.h"
#include "runtime/attributes_microsoft.h"
#include "runtime/math/math.h"
#include "runtime/ops/element.h"
#include "runtime/ops/product.h"

#define T float
#define N f32
#include "runtime/ops/recurrent.inc"

#define T double
#define N f64
#include "runtime/ops/recurrent.inc"

#define LSTM_SHAPE(name, op, rounds)                                                                   \
    static int32_t name(tm_run *run, const tm_call *call, tm_recurrent *out, bool *out_option) {       \
        const tm_attrs_##op *a = tm_attributes(call);                                                  \
        static const tm_activation usual[] = {TM_ACTIVATION_SIGMOID, TM_ACTIVATION_TANH,               \
                                              TM_ACTIVATION_TANH};                                     \
        tm_recurrent_attributes common = {                                                             \
            a->activation_alpha, a->activation_beta, a->activations, a->direction, a->clip, a->layout}; \
        *out_option = a->input_forget != 0;                                                            \
        int32_t code = tm_recurrent_init(run, call, out, &common, 4, usual, 3);                        \
        out->rounds_state = rounds;                                                                    \
        return code;                                                                                   \
    }
LSTM_SHAPE(lstm_shape, LSTM, false)
LSTM_SHAPE(dynamic_lstm_shape, DynamicQuantizeLSTM, true)

static int32_t gru_shape(tm_run *run, const tm_call *call, tm_recurrent *out, bool *out_option) {
    const tm_attrs_GRU *a = tm_attributes(call);
    static const tm_activation usual[] = {TM_ACTIVATION_SIGMOID, TM_ACTIVATION_TANH};
    tm_recurrent_attributes common = {
        a->activation_alpha, a->activation_beta, a->activations, a->direction, a->clip, a->layout};
    *out_option = a->linear_before_reset != 0;
    return tm_recurrent_init(run, call, out, &common, 3, usual, 2);
}

static int32_t rnn_shape(tm_run *run, const tm_call *call, tm_recurrent *out, bool *out_option) {
    const tm_attrs_RNN *a = tm_attributes(call);
    static const tm_activation usual[] = {TM_ACTIVATION_TANH};
    tm_recurrent_attributes common = {
        a->activation_alpha, a->activation_beta, a->activations, a->direction, a->clip, a->layout};
    *out_option = false;
    return tm_recurrent_init(run, call, out, &common, 1, usual, 1);
}

static void *data_of(const tamis_tensor *t) {
    return t != NULL ? t->data : NULL;
}

typedef int32_t (*shape_function)(tm_run *, const tm_call *, tm_recurrent *, bool *);

#define X(s, T)                                                                         \
    static int32_t plain_##s(tm_run *run, const tm_call *call, shape_function shape) {  \
        tm_recurrent r;                                                                 \
        bool option;                                                                    \
        int32_t code = shape(run, call, &r, &option);                                   \
        if (code != 0)                                                                  \
            return code;                                                                \
        int64_t bytes = scratch_##s(&r) * (int64_t)sizeof(T) + TAMIS_ALIGNMENT;         \
        T *memory = tm_scratch(run, call, bytes);                                       \
        if (memory == NULL)                                                             \
            return run->code;                                                           \
        data_##s data = {data_of(tm_in(run, call, 0)),  data_of(tm_in(run, call, 1)),   \
                         data_of(tm_in(run, call, 2)),  data_of(tm_in(run, call, 3)),   \
                         data_of(tm_in(run, call, 5)),  data_of(tm_in(run, call, 6)),   \
                         data_of(tm_in(run, call, 7)),  data_of(tm_out(run, call, 0)),  \
                         data_of(tm_out(run, call, 1)), data_of(tm_out(run, call, 2))}; \
        code = run_##s(run, &r, &data, option, memory);                                 \
        tm_unscratch(run, memory, bytes);                                               \
        return code;                                                                    \
    }                                                                                   \
    TM_KERNEL(LSTM, s) {                                                                \
        return plain_##s(run, call, lstm_shape);                                        \
    }                                                                                   \
    TM_KERNEL(GRU, s) {                                                                 \
        return plain_##s(run, call, gru_shape);                                         \
    }                                                                                   \
    TM_KERNEL(RNN, s) {                                                                 \
        return plain_##s(run, call, rnn_shape);                                         \
    }
X(f32, float)
X(f64, double)
#undef X

TM_KERNEL(ms_DynamicQuantizeLSTM, f32) {
    return plain_f32(run, call, dynamic_lstm_shape);
}

static int64_t count_of(const tamis_tensor *t) {
    return t != NULL ? tm_count(t) : 0;
}

#define OPERANDS 10 /* x w r b h0 c0 p, then y h c */

#define X(s, S, C)                                                                       \
    static int32_t half_##s(tm_run *run, const tm_call *call, shape_function shape) {    \
        static const int inputs[] = {0, 1, 2, 3, 5, 6, 7};                               \
        tm_recurrent r;                                                                  \
        bool option;                                                                     \
        int32_t code = shape(run, call, &r, &option);                                    \
        if (code != 0)                                                                   \
            return code;                                                                 \
        const tamis_tensor *tensors[OPERANDS];                                           \
        int64_t total = scratch_f32(&r);                                                 \
        for (int i = 0; i < OPERANDS; i++) {                                             \
            tensors[i] = i < 7 ? tm_in(run, call, inputs[i]) : tm_out(run, call, i - 7); \
            total += count_of(tensors[i]);                                               \
        }                                                                                \
        int64_t bytes = total * (int64_t)sizeof(float) + TAMIS_ALIGNMENT;                \
        float *memory = tm_scratch(run, call, bytes), *parts[OPERANDS];                  \
        if (memory == NULL)                                                              \
            return run->code;                                                            \
        float *next = memory;                                                            \
        for (int i = 0; i < OPERANDS; i++) {                                             \
            parts[i] = tensors[i] != NULL ? next : NULL;                                 \
            for (int64_t j = 0; i < 7 && j < count_of(tensors[i]); j++)                  \
                next[j] = tm_load_##s(((const S *)tensors[i]->data)[j]);                 \
            next += count_of(tensors[i]);                                                \
        }                                                                                \
        data_f32 data = {parts[0], parts[1], parts[2], parts[3], parts[4],               \
                         parts[5], parts[6], parts[7], parts[8], parts[9]};              \
        code = run_f32(run, &r, &data, option, next);                                    \
        for (int i = 7; i < OPERANDS; i++)                                               \
            for (int64_t j = 0; j < count_of(tensors[i]); j++)                           \
                ((S *)tensors[i]->data)[j] = tm_store_##s(parts[i][j]);                  \
        tm_unscratch(run, memory, bytes);                                                \
        return code;                                                                     \
    }                                                                                    \
    TM_KERNEL(LSTM, s) {                                                                 \
        return half_##s(run, call, lstm_shape);                                          \
    }                                                                                    \
    TM_KERNEL(GRU, s) {                                                                  \
        return half_##s(run, call, gru_shape);                                           \
    }                                                                                    \
    TM_KERNEL(RNN, s) {                                                                  \
        return half_##s(run, call, rnn_shape);                                           \
    }
TM_FOR_HALF_TYPES(X)
#undef X
