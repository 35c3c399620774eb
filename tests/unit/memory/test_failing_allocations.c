/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory gives out at the first allocation, at the second, and so on until there is enough: each time the
 * outcome is a clean error, nothing leaks (the address sanitizer looks), and no file is left behind.
 *
 * Two hooks. The linker sends the calls of malloc and its family in our libraries here (--wrap, see
 * cmake/Tests.cmake), and call number `fail_at` returns NULL. The compiler's arenas make few such calls, so
 * layers are also run with a limit on the arena that grows in small steps.
 */
#include "codegen/codegen.h"
#include "compiler/internal.h"
#include "frontend/import.h"
#include "passes/passes.h"
#include "tamis/compiler.h"
#include "tamis/runtime.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL TM_SOURCE_DIR "/examples/t2/t2.onnx"

/* ---- the hook ---- */

static long calls, fail_at; /* fail_at 0: none fails */

static bool fails(void) {
    return fail_at > 0 && ++calls == fail_at;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

void *__wrap_malloc(size_t bytes) {
    return fails() ? NULL : __real_malloc(bytes);
}
void *__wrap_calloc(size_t count, size_t bytes) {
    return fails() ? NULL : __real_calloc(count, bytes);
}
void *__wrap_realloc(void *memory, size_t bytes) {
    return fails() ? NULL : __real_realloc(memory, bytes);
}
void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return fails() ? NULL : __real_aligned_alloc(alignment, bytes);
}

static void arm(long n) {
    calls = 0;
    fail_at = n;
}

/* Every number at first, then larger steps: the hostile build makes many allocations. */
static long next(long n) {
    return n + 1 + n / 16;
}

/* ---- files ---- */

typedef struct place {
    char folder[64], temporary[96], output[96];
} place;

static int setup(void **state) {
    static place p;
    p = (place){.folder = "/tmp/tamis-test-XXXXXX"};
    if (mkdtemp(p.folder) == NULL)
        return -1;
    snprintf(p.temporary, sizeof p.temporary, "%s/tmp", p.folder);
    snprintf(p.output, sizeof p.output, "%s/model.so", p.folder);
    char command[128];
    snprintf(command, sizeof command, "mkdir %s", p.temporary);
    *state = &p;
    return system(command) != 0 || setenv("TMPDIR", p.temporary, 1) != 0;
}

static int teardown(void **state) {
    const place *p = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", p->folder);
    return system(command) != 0;
}

static int entries(const char *folder) {
    DIR *list = opendir(folder);
    int count = 0;
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(list);
    return count;
}

/* Only the folder for temporary files, and the output if there should be one. */
static void assert_clean(const place *p, bool has_output) {
    assert_int_equal(entries(p->temporary), 0);
    assert_int_equal(entries(p->folder), has_output ? 2 : 1);
    assert_int_equal(access(p->output, R_OK), has_output ? 0 : -1);
}

/* ---- the public call ---- */

static void compile_whole(const place *p, tamis_emit emit, const char *output) {
    tamis_compile_options options;
    tamis_compile_options_init(&options);
    options.emit = emit;
    options.name = "model";
    int code = -1, failures = 0;
    for (long n = 1; code != 0; n = next(n)) {
        tamis_result *result = NULL;
        arm(n);
        code = tamis_compile_file(MODEL, output, &options, &result);
        arm(0);
        if (code != 0) {
            failures++;
            assert_int_equal(code, TM_E_OUT_OF_MEMORY);
            if (result != NULL)
                assert_non_null(strstr(tamis_result_text(result), "out of memory"));
            assert_clean(p, false);
        }
        tamis_result_destroy(result);
    }
    assert_true(failures >= 3);
}

static void compile_call(void **state) {
    const place *p = *state;
    compile_whole(p, TAMIS_EMIT_SO, p->output);
    assert_clean(p, true);
    unlink(p->output);
    compile_whole(p, TAMIS_EMIT_IR, p->output);
    assert_clean(p, true);
    unlink(p->output);
}

/* ---- the layers ---- */

enum stage { IMPORT, PASSES, CODEGEN };

static tm_code run_stage(enum stage stage, tm_arena *arena, tm_diagnostics *diagnostics, tm_model **model,
                         const char *output) {
    if (stage == IMPORT) {
        tm_import_options options;
        tm_import_options_init(&options);
        return tm_import_file(arena, diagnostics, MODEL, &options, model);
    }
    if (stage == PASSES) {
        tm_pass_options options = {.level = 2, .bisect_limit = -1, .verify = true};
        return tm_passes_run(*model, &options, NULL);
    }
    tm_codegen_options options = {
        .emit = TM_EMIT_SO, .level = 2, .name = "model", .data_folder = tm_data_folder(arena)};
    TM_TRY(tm_target_choose(diagnostics, NULL, NULL, false, &options.target));
    return tm_codegen(*model, &options, output);
}

/* Runs the stages before without a limit, then `stage` with `room` bytes. */
static bool stage_fits(enum stage stage, size_t room, const char *output) {
    static tm_arena arena; /* survives the jump */
    tm_diagnostics diagnostics;
    tm_model *model = NULL;
    tm_arena_init(&arena);
    if (setjmp(arena.recovery) != 0) {
        tm_arena_deinit(&arena);
        return false;
    }
    arena.has_recovery = true;
    tm_diagnostics_init(&diagnostics, &arena);
    for (int s = 0; s <= (int)stage; s++) {
        if (s == (int)stage)
            arena.limit = arena.allocated + room;
        assert_int_equal(run_stage((enum stage)s, &arena, &diagnostics, &model, output), TM_OK);
    }
    tm_arena_deinit(&arena);
    return true;
}

static void layers(void **state) {
    const place *p = *state;
    for (int stage = IMPORT; stage <= CODEGEN; stage++) {
        bool fits = false;
        int failures = 0;
        for (size_t room = 16; !fits; room += 16 + room / 8) {
            fits = stage_fits((enum stage)stage, room, p->output);
            failures += !fits;
            assert_clean(p, fits && stage == CODEGEN);
        }
        assert_true(failures >= 5);
    }
    unlink(p->output);
}

/* ---- the runtime ---- */

static int run_once(tamis_session *session, float *out) {
    static float x[3 * 200]; /* zeros */
    int64_t dims[] = {3, 100, 2};
    tamis_error error;
    int code = tamis_session_set_input(session, 0, TAMIS_TYPE_FLOAT, 3, dims, x, &error);
    if (code == 0)
        code = tamis_session_run(session, &error);
    if (code == 0)
        memcpy(out, tamis_session_output(session, 0)->data, 3 * 14 * sizeof(float));
    else
        assert_non_null(strstr(error.message, "memory"));
    return code;
}

static void runtime(void **state) {
    const place *p = *state;
    tamis_compile_options options;
    tamis_compile_options_init(&options);
    tamis_result *result = NULL;
    assert_int_equal(tamis_compile_file(MODEL, p->output, &options, &result), 0);
    tamis_result_destroy(result);
    float wanted[3 * 14], found[3 * 14];
    bool done = false;
    for (long n = 1; !done; n++) {
        tamis_model *model = NULL;
        tamis_session *session = NULL;
        tamis_error error = {0};
        arm(n);
        int code = tamis_model_load(p->output, &model, &error);
        if (code == 0)
            code = tamis_session_create(model, NULL, &session, &error);
        assert_true(code == 0 || strstr(error.message, "out of memory") != NULL);
        if (code == 0)
            code = run_once(session, found);
        done = code == 0;
        arm(0);
        assert_true(code == 0 || code == TM_E_OUT_OF_MEMORY);
        if (session != NULL) { /* a session that lacked memory once works when there is some again */
            assert_int_equal(run_once(session, wanted), 0);
            if (done)
                assert_memory_equal(found, wanted, sizeof wanted);
        }
        tamis_session_destroy(session);
        tamis_model_destroy(model);
        assert_true(!done || n >= 4);
    }
    unlink(p->output);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compile_call),
        cmocka_unit_test(layers),
        cmocka_unit_test(runtime),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
