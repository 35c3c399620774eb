/* SPDX-License-Identifier: Apache-2.0
 *
 * profile.h: what an artifact tells while it runs, when it was compiled with --profile.
 *
 * Such an artifact is a shared object with one more function, `tamis_set_profiler`. While a profiler is set,
 * the driver calls it before and after each step, a call of a library kernel or a generated region.
 * Artifacts that are compiled without --profile have none of this.
 *
 *     static void step(void *user, const tamis_step *step, int32_t finished, int64_t flops, int64_t bytes) {
 *         if (!finished) start = now(); else add(user, step->number, now() - start, flops, bytes);
 *     }
 *     tamis_profiler profiler = {.user = &table, .step = step};
 *     tamis_model_set_profiler(model, &profiler, &error);
 *
 * A step within a loop is told each time it runs. Calls come from the thread that runs the session.
 */
#ifndef TAMIS_PROFILE_H
#define TAMIS_PROFILE_H

#include "artifact.h"
#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tamis_step {
    int32_t number;               /* 0, 1, 2... in the order of the code */
    int32_t source_count;         /* nodes of the model that the step computes */
    const char *kind; /* the operator ("Gather"), or the kind of a region ("contract"; docs/design.md) */
    const char *function;         /* symbol of what is called; equal layers share one */
    const char *const *sources;   /* "MatMul /layer.0/query/MatMul", in the order of computation */
} tamis_step;

typedef struct tamis_profiler {
    void *user;
    /* finished 0: the step begins, flops and bytes are 0. finished 1: it has ended. flops: floating
     * operations as a textbook counts them, a multiply-add as two; bytes: of the tensors that it must read
     * and write, each once. Both from the dims of this run. */
    void (*step)(void *user, const tamis_step *step, int32_t finished, int64_t flops, int64_t bytes);
} tamis_profiler;

typedef void (*tamis_set_profiler_function)(const tamis_profiler *profiler);

/* For all sessions of the artifact; NULL ends it. Not while a session runs; the callback must not call the
 * runtime. The profiler and what its `user` points at are borrowed until then; steps stay valid as long as
 * the model. Returns 0, or a code with *out_error filled (which may be NULL): for an artifact that was not
 * compiled with --profile. */
int tamis_model_set_profiler(tamis_model *model, const tamis_profiler *profiler, tamis_error *out_error);

#ifdef __cplusplus
}
#endif
#endif
