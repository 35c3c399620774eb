/* SPDX-License-Identifier: Apache-2.0
 *
 * random.c: RandomNormal, RandomUniform, their -Like forms, Bernoulli, Multinomial.
 *
 * Element i uses draw i of the op's stream (normal: draws 2i and 2i + 1, by the transform of Box and Muller;
 * the second number it could give is not used, so that each element stands alone). ONNX does not fix
 * the generator; see random.h for this one.
 */
#include "runtime/ops/random.h"

#include "runtime/ops/cast_any.h"

#define GRAIN 4096

typedef struct job {
    const tamis_tensor *in, *out;
    uint64_t key;
    double a, b; /* mean and scale, low and span */
    double (*draw)(const struct job *work, int64_t i);
} job;

static double draw_normal(const job *work, int64_t i) {
    double u = 1.0 - tm_random_uniform(work->key, 2 * i); /* above 0 */
    double angle = 0x1.921fb54442d18p+2 * tm_random_uniform(work->key, 2 * i + 1);
    return work->a + work->b * tm_sqrt_f64(-2.0 * tm_log_f64(u)) * tm_cos_f64(angle);
}

static double draw_uniform(const job *work, int64_t i) {
    return work->a + work->b * tm_random_uniform(work->key, i);
}

static int32_t fill_range(void *argument, int64_t begin, int64_t end) {
    const job *work = argument;
    tm_wide wide = {.is_float = true};
    tm_cast_rules rules = {true, TM_E8M0_UP};
    for (int64_t at = begin; at < end; at += TM_WIDE_BLOCK) {
        int64_t count = end - at < TM_WIDE_BLOCK ? end - at : TM_WIDE_BLOCK;
        for (int64_t i = 0; i < count; i++)
            wide.floats[i] = work->draw(work, at + i);
        if (!tm_wide_write(&wide, work->out->type, work->out->data, at, count, rules))
            return TM_RUN_UNSUPPORTED;
    }
    return 0;
}

static int32_t fill(tm_run *run, const tm_call *call, double seed, double a, double b,
                    double (*draw)(const job *work, int64_t i)) {
    job work = {NULL, tm_out(run, call, 0), tm_random_key(run, seed), a, b, draw};
    int32_t code = tm_parallel(run, tm_count(work.out), GRAIN, fill_range, &work);
    return code == 0 ? 0 : tm_fail(run, call, TM_RUN_TYPE, work.out->type, 0);
}

int32_t tm_k_RandomNormal(tm_run *run, const tm_call *call) {
    const tm_attrs_RandomNormal *attributes = tm_attributes(call);
    return fill(run, call, attributes->seed, attributes->mean, attributes->scale, draw_normal);
}

int32_t tm_k_RandomNormalLike(tm_run *run, const tm_call *call) {
    const tm_attrs_RandomNormalLike *attributes = tm_attributes(call);
    return fill(run, call, attributes->seed, attributes->mean, attributes->scale, draw_normal);
}

int32_t tm_k_RandomUniform(tm_run *run, const tm_call *call) {
    const tm_attrs_RandomUniform *attributes = tm_attributes(call);
    return fill(run, call, attributes->seed, attributes->low, attributes->high - attributes->low,
                draw_uniform);
}

int32_t tm_k_RandomUniformLike(tm_run *run, const tm_call *call) {
    const tm_attrs_RandomUniformLike *attributes = tm_attributes(call);
    return fill(run, call, attributes->seed, attributes->low, attributes->high - attributes->low,
                draw_uniform);
}

/* ---- Bernoulli: 1 with the probability that the input states ---- */

static int32_t bernoulli_range(void *argument, int64_t begin, int64_t end) {
    const job *work = argument;
    tm_wide wide;
    tm_cast_rules rules = {true, TM_E8M0_UP};
    for (int64_t at = begin; at < end; at += TM_WIDE_BLOCK) {
        int64_t count = end - at < TM_WIDE_BLOCK ? end - at : TM_WIDE_BLOCK;
        if (!tm_wide_read(&wide, work->in->type, work->in->data, at, count) || !wide.is_float)
            return TM_RUN_UNSUPPORTED;
        for (int64_t i = 0; i < count; i++)
            wide.floats[i] = tm_random_uniform(work->key, at + i) < wide.floats[i] ? 1.0 : 0.0;
        if (!tm_wide_write(&wide, work->out->type, work->out->data, at, count, rules))
            return TM_RUN_UNSUPPORTED;
    }
    return 0;
}

int32_t tm_k_Bernoulli(tm_run *run, const tm_call *call) {
    const tm_attrs_Bernoulli *attributes = tm_attributes(call);
    job work = {tm_in(run, call, 0), tm_out(run, call, 0), tm_random_key(run, attributes->seed), 0, 0, NULL};
    int32_t code = tm_parallel(run, tm_count(work.out), GRAIN, bernoulli_range, &work);
    return code == 0 ? 0 : tm_fail(run, call, TM_RUN_TYPES, work.in->type, work.out->type);
}

/* ---- Multinomial: classes by their unnormalised log probabilities ---- */

static double log_probability(const tamis_tensor *x, int64_t i) {
    switch (x->type) {
    case TAMIS_TYPE_DOUBLE:
        return tm_get_f64(x->data, i);
    case TAMIS_TYPE_FLOAT16:
        return (double)tm_get_f16(x->data, i);
    case TAMIS_TYPE_BFLOAT16:
        return (double)tm_get_bf16(x->data, i);
    default:
        return (double)tm_get_f32(x->data, i);
    }
}

/* The class whose part of the cumulative sum contains `point`. */
static int64_t pick_class(const tamis_tensor *x, int64_t row, int64_t classes, double largest, double point) {
    for (int64_t c = 0; c < classes - 1; c++) {
        point -= tm_exp_f64(log_probability(x, row * classes + c) - largest);
        if (point < 0)
            return c;
    }
    return classes - 1;
}

int32_t tm_k_Multinomial(tm_run *run, const tm_call *call) {
    const tm_attrs_Multinomial *attributes = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    uint64_t key = tm_random_key(run, attributes->seed);
    int64_t classes = x->dims[1], samples = y->dims[1];
    if (classes == 0 && tm_count(y) > 0)
        return tm_fail(run, call, TM_RUN_NO_ELEMENTS, tm_count(y), 0);
    for (int64_t row = 0; row < x->dims[0]; row++) {
        double largest = -tm_inf_f64(), total = 0;
        for (int64_t c = 0; c < classes; c++)
            largest = tm_max_f64(largest, log_probability(x, row * classes + c));
        for (int64_t c = 0; c < classes; c++)
            total += tm_exp_f64(log_probability(x, row * classes + c) - largest);
        for (int64_t i = row * samples; i < (row + 1) * samples; i++) {
            int64_t picked = pick_class(x, row, classes, largest, total * tm_random_uniform(key, i));
            if (y->type == TAMIS_TYPE_INT64)
                tm_set_i64(y->data, i, picked);
            else
                tm_set_i32(y->data, i, (int32_t)picked);
        }
    }
    return 0;
}
