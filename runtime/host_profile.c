/* SPDX-License-Identifier: Apache-2.0
 *
 * host_profile.c: hands a profiler to an artifact that was compiled with --profile.
 *
 * The hook is a symbol of its own in such artifacts instead of a member of tm_run, so that all others carry
 * neither a field nor a branch for it. It holds for the whole shared object, which a tool that measures one
 * model can live with.
 */
#include "tamis/profile.h"

#include "runtime/runtime_internal.h"

#include <dlfcn.h>
#include <string.h>

int tamis_model_set_profiler(tamis_model *model, const tamis_profiler *profiler, tamis_error *out_error) {
    void *symbol = model->library != NULL ? dlsym(model->library, "tamis_set_profiler") : NULL;
    if (symbol == NULL)
        return tm_host_fail(out_error, TM_HOST_USAGE,
                            "the artifact has no profile\n    hint: compile it with --profile");
    tamis_set_profiler_function set;
    memcpy(&set, &symbol, sizeof set); /* ISO C has no cast from an object pointer to a function */
    set(profiler);
    model->profiled = profiler != NULL;
    return 0;
}
