/* SPDX-License-Identifier: Apache-2.0
 *
 * tune.h: measures on this machine how the loops of a model are best cut, and writes that to a file which
 * tamis_compile_options.schedules names in later compilations.
 *
 *     static const tamis_tune_runtime runtime = TAMIS_TUNE_RUNTIME;
 *     tamis_tune_options tune;
 *     tamis_tune_options_init(&tune);
 *     tune.runtime = &runtime;
 *     tamis_tune_file("model.onnx", "model.tune.json", &options, &tune, &result);
 *     options.schedules = "model.tune.json";
 *     tamis_compile_file("model.onnx", "model.so", &options, &result);
 *
 * The compiler library does not contain the runtime, so a program that tunes is linked with both and lends
 * the one to the other. No schedule changes an answer. A file that was measured once makes compilations that
 * are reproducible to the byte; two measurements may differ.
 */
#ifndef TAMIS_TUNE_H
#define TAMIS_TUNE_H

#include "compiler.h"
#include "profile.h"
#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tamis_tune_runtime {
    int (*model_load)(const char *path, tamis_model **out_model, tamis_error *out_error);
    void (*model_destroy)(tamis_model *model);
    const tamis_artifact *(*model_artifact)(const tamis_model *model);
    int (*set_profiler)(tamis_model *model, const tamis_profiler *profiler, tamis_error *out_error);
    void (*session_options_init)(tamis_session_options *options);
    int (*session_create)(tamis_model *model, const tamis_session_options *options,
                          tamis_session **out_session, tamis_error *out_error);
    void (*session_destroy)(tamis_session *session);
    int (*set_input)(tamis_session *session, int input, tamis_type type, int rank, const int64_t *dims,
                     const void *data, tamis_error *out_error);
    int (*run)(tamis_session *session, tamis_error *out_error);
    const tamis_tensor *(*output)(const tamis_session *session, int output);
} tamis_tune_runtime;

#define TAMIS_TUNE_RUNTIME                                                                               \
    {tamis_model_load,     tamis_model_destroy,     tamis_model_artifact,  tamis_model_set_profiler,     \
     tamis_session_options_init, tamis_session_create, tamis_session_destroy, tamis_session_set_input,   \
     tamis_session_run,    tamis_session_output}

typedef struct tamis_tune_options {
    const tamis_tune_runtime *runtime;
    const tamis_dim_fact *sizes; /* that symbolic dims have while it is measured: `low` counts */
    size_t size_count;
    int64_t other_size;          /* of dims that are not named; 4 */
    double seconds;              /* of comparing two artifacts; 0.25 */
    void (*progress)(void *user, const char *line); /* or NULL */
    void *user;
} tamis_tune_options;

void tamis_tune_options_init(tamis_tune_options *options);

/* Like tamis_compile_file: 0 or an error number, a result, and `file` whole or not at all. Of the levels that
 * the options ask for, those are measured that this machine has; the result's warnings name the others.
 * Inputs are random tensors. */
int tamis_tune_file(const char *model, const char *file, const tamis_compile_options *options,
                    const tamis_tune_options *tune, tamis_result **out_result);
int tamis_tune_memory(const void *model, size_t bytes, const char *file, const tamis_compile_options *options,
                      const tamis_tune_options *tune, tamis_result **out_result);

#ifdef __cplusplus
}
#endif
#endif
