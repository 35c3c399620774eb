/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c: models of the quantiser, compiled and loaded in this process, as calibration and measurements
 * need them: speed matters there, since they run on all samples, and what is measured should be the code that
 * will run.
 *
 * A child process compiles, so that neither LLVM nor the compiler's memory stays in this one, which may
 * observe large models for long. Its diagnostics come back through a pipe.
 *
 * They are compiled for this machine, whatever the result is for; integer answers are the same on all. The
 * artifact's file goes once it is loaded: its memory stays mapped.
 */
#include "quantize/layer.h"

#include "compiler/internal.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child; never returns. */
static _Noreturn void compile_apart(tm_quantizer *q, tm_model *model, const char *path,
                                    const tamis_compile_options *options, int pipe) {
    size_t before = q->diagnostics->list.count;
    tm_text log, warnings, text;
    if (setjmp(q->arena->recovery) != 0)
        _exit(TM_E_OUT_OF_MEMORY & 255);
    q->arena->has_recovery = true;
    tm_quantize_borrow_recovery(q, model->arena);
    tm_text_init(&log, model->arena);
    tm_text_init(&text, model->arena);
    tm_text_init(&warnings, model->arena);
    tm_code code = tm_compile_model(model, path, options, NULL, &log, &warnings);
    for (size_t i = before; i < q->diagnostics->list.count; i++)
        tm_diagnostic_print(&q->diagnostics->list.items[i], &text);
    const char *at = tm_text_get(&text);
    for (size_t left = text.size; left > 0;) {
        ssize_t done = write(pipe, at, left);
        if (done <= 0)
            break;
        at += done;
        left -= (size_t)done;
    }
    _exit(code == TM_OK ? 0 : 1);
}

static tm_code compile(tm_quantizer *q, tm_model *model, const char *path,
                       const tamis_compile_options *options) {
    int ends[2], status = 0;
    if (pipe(ends) != 0)
        return tm_report(q->diagnostics, TM_E_IO, NULL, NULL, "a pipe to the compiler: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        compile_apart(q, model, path, options, ends[1]);
    }
    close(ends[1]);
    tm_text text;
    tm_text_init(&text, model->arena);
    char buffer[1024];
    for (ssize_t got; child > 0 && (got = read(ends[0], buffer, sizeof buffer)) != 0;) {
        if (got < 0 && errno != EINTR)
            break;
        tm_text_add_bytes(&text, buffer, got > 0 ? (size_t)got : 0);
    }
    close(ends[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return TM_OK;
    return tm_report(q->diagnostics, child > 0 && WIFEXITED(status) ? TM_E_INTERNAL : TM_E_OUT_OF_MEMORY,
                     NULL, NULL, "compiling the model to observe failed\n%s", tm_text_get(&text));
}

tm_code tm_build_create(tm_quantizer *q, tm_model *model, tm_build *out) {
    tamis_compile_options options;
    tamis_compile_options_init(&options);
    options.name = "model";
    options.strict_math = q->compile->strict_math;
    *out = (tm_build){.path = tm_arena_format(q->arena, "%s/build-%d.so", q->folder, q->builds++)};
    TM_TRY(compile(q, model, out->path, &options));
    tamis_error error;
    tamis_session_options session;
    tamis_session_options_init(&session);
    session.threads = q->options->threads;
    session.strict_math = q->compile->strict_math;
    bool failed = tamis_model_load(out->path, &out->model, &error) != 0 ||
                  tamis_session_create(out->model, &session, &out->session, &error) != 0;
    unlink(out->path);
    if (!failed)
        return TM_OK;
    tm_build_destroy(out);
    return tm_report(q->diagnostics, (tm_code)error.code, NULL, NULL, "the model to observe: %s",
                     error.message);
}

void tm_build_destroy(tm_build *build) {
    tamis_session_destroy(build->session);
    tamis_model_destroy(build->model);
    *build = (tm_build){0};
}

tm_code tm_build_run(tm_quantizer *q, tm_build *build, const tamis_tensor *inputs) {
    tamis_error error;
    const tamis_artifact *artifact = tamis_model_artifact(build->model);
    for (int i = 0; i < artifact->input_count; i++)
        if (tamis_session_set_input_value(build->session, i, &inputs[i], &error) != 0)
            goto failed;
    if (tamis_session_run(build->session, &error) == 0)
        return TM_OK;
failed:
    return tm_report(q->diagnostics, TM_E_BAD_DATA, NULL, "a sample has the inputs of the model", "%s: %s",
                     q->samples->name(q->samples->self), error.message);
}
