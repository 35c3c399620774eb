/* SPDX-License-Identifier: Apache-2.0
 *
 * link.c: joins module, weights and kernels by ld.lld.
 *
 * The archive of the target's lowest level gives the kernels: the linker takes the members and sections that
 * are used and drops the rest. Nothing else of the target is needed: the few functions of the C library
 * (memcpy and the like) stay undefined and are found in the process that loads the artifact.
 */
#include "codegen/codegen.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Runs a program (found by PATH) with its output in `log`; the exit status, or -1. */
static int run(const char *const *arguments, const char *log) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t child;
    int error =
        posix_spawnp(&child, arguments[0], &actions, NULL, (char *const *)(uintptr_t)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        return -1;
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static const char *read_log(tm_arena *arena, const char *log) {
    char *text = tm_arena_alloc(arena, 4096);
    FILE *file = fopen(log, "r");
    size_t bytes = file != NULL ? fread(text, 1, 4095, file) : 0;
    if (file != NULL)
        fclose(file);
    text[bytes] = 0;
    return text;
}

/* Tries the versioned name of the tool first: that is what the Debian package installs. */
static tm_code run_tool(tm_model *model, const char **arguments, const char *versioned, const char *plain,
                        const char *log) {
    arguments[0] = versioned;
    int status = run(arguments, log);
    if (status == -1 || status == 127) {
        arguments[0] = plain;
        status = run(arguments, log);
    }
    if (status == 0)
        return TM_OK;
    if (status == -1 || status == 127)
        return tm_report(model->diagnostics, TM_E_LINK, NULL,
                         "install the package lld-19 (and llvm-19 for objects)",
                         "neither %s nor %s can be started", versioned, plain);
    return tm_report(model->diagnostics, TM_E_LINK, NULL, NULL, "%s failed: %s", arguments[0],
                     read_log(model->arena, log));
}

/* Gives the hollow weights a read-only segment of their own, which no other section shares. It is the last:
 * code and tables lie within the 2 GiB that their references reach, and only an address of 64 bits leads to
 * the weights. */
static const char layout[] =
    "PHDRS { h PT_PHDR FLAGS(4) PHDRS; r PT_LOAD FILEHDR PHDRS FLAGS(4);\n"
    "  x PT_LOAD FLAGS(5); d PT_LOAD FLAGS(6); w PT_LOAD FLAGS(4); dyn PT_DYNAMIC FLAGS(6);\n"
    "  stack PT_GNU_STACK FLAGS(6); relro PT_GNU_RELRO FLAGS(4); }\n"
    "SECTIONS {\n"
    "  . = SIZEOF_HEADERS;\n"
    "  .dynsym : { *(.dynsym) } :r\n  .gnu.hash : { *(.gnu.hash) } :r\n  .dynstr : { *(.dynstr) } :r\n"
    "  .rela.dyn : { *(.rela.dyn) } :r\n  .rela.plt : { *(.rela.plt) } :r\n"
    "  .rodata : { *(.rodata .rodata.*) } :r\n"
    "  . = ALIGN(CONSTANT(MAXPAGESIZE)) + (. & (CONSTANT(MAXPAGESIZE) - 1));\n"
    "  .text : { *(.text .text.*) } :x\n  .plt : { *(.plt) } :x\n"
    "  . = ALIGN(CONSTANT(MAXPAGESIZE)) + (. & (CONSTANT(MAXPAGESIZE) - 1));\n"
    "  .data.rel.ro : { *(.data.rel.ro .data.rel.ro.*) } :d :relro\n"
    "  .dynamic : { *(.dynamic) } :d :dyn :relro\n"
    "  .got : { *(.got) } :d :relro\n  .got.plt : { *(.got.plt) } :d :relro\n"
    "  . = ALIGN(CONSTANT(MAXPAGESIZE));\n"
    "  .data : { *(.data .data.*) } :d\n  .bss : { *(.bss .bss.*) } :d\n"
    "  . = ALIGN(CONSTANT(MAXPAGESIZE));\n  .tamis.weights (NOLOAD) : { *(.tamis.weights) } :w\n}\n";

static tm_code write_layout(tm_model *model, const char *path) {
    FILE *file = fopen(path, "wb");
    bool failed = file == NULL || fputs(layout, file) < 0;
    if (file != NULL)
        failed |= fclose(file) != 0;
    return failed ? tm_report(model->diagnostics, TM_E_CREATE_OUTPUT, NULL, NULL, "cannot write %s: %s", path,
                              strerror(errno))
                  : TM_OK;
}

const char *tm_object_path(tm_arena *arena, const char *module, int number) {
    return number == 0 ? module : tm_arena_format(arena, "%s.%d", module, number);
}

/* What is linked: the objects of the module, the archive, the weights. */
typedef struct parts {
    const char *module, *archive, *weights;
    const char *map; /* an argument, or NULL: none is wanted */
    int objects;
} parts;

/* `count` arguments, then the parts, then what of `more` is not NULL. */
static const char **join(tm_arena *arena, const char *const *arguments, size_t count, const parts *p,
                         const char *const *more) {
    const char **all = TM_NEW_ARRAY(arena, const char *, count + (size_t)p->objects + 8);
    size_t at = 0;
    while (at < count) {
        all[at] = arguments[at];
        at++;
    }
    for (int i = 0; i < p->objects; i++)
        all[at++] = tm_object_path(arena, p->module, i);
    all[at++] = p->archive;
    all[at++] = p->weights;
    if (p->map != NULL)
        all[at++] = p->map;
    while (more != NULL && *more != NULL)
        all[at++] = *more++;
    return all;
}

static tm_code link_shared(tm_model *model, const tm_codegen_options *options, const parts *p, bool hollow,
                           const char *log, const char *output) {
    const char *script = tm_arena_format(model->arena, "%s.ld", p->module);
    const char *soname = tm_arena_format(model->arena, "%s.so", options->name);
    const char *arguments[] = {NULL,
                               "-shared",
                               "-O2",
                               "--threads=1", /* starting more takes longer than what they would do */
                               "--gc-sections",
                               options->symbols ? "--discard-none" : "--strip-all",
                               "--build-id=none",
                               "--hash-style=gnu",
                               options->symbols ? "--icf=none" : "--icf=all",
                               "-z",
                               "noseparate-code",
                               "-z",
                               "now",
                               "-z",
                               "noexecstack",
                               "--unresolved-symbols=ignore-all",
                               "-soname",
                               soname,
                               "-o",
                               output};
    const char *const with_layout[] = {"-T", script, NULL};
    if (hollow)
        TM_TRY(write_layout(model, script));
    const char **all = join(model->arena, arguments, sizeof(arguments) / sizeof(arguments[0]), p,
                            hollow ? with_layout : NULL);
    tm_code code = run_tool(model, all, "ld.lld-19", "ld.lld", log);
    if (hollow)
        unlink(script);
    return code;
}

static tm_code link_object(tm_model *model, const tm_codegen_options *options, const parts *p,
                           const char *log, const char *output) {
    const char *joined = tm_arena_format(model->arena, "%s.joined", p->module);
    const char *keep = tm_arena_format(model->arena, "--keep-global-symbol=%s_run", options->name);
    const char *keep_bytes =
        tm_arena_format(model->arena, "--keep-global-symbol=%s_workspace_bytes", options->name);
    const char *keep_artifact =
        tm_arena_format(model->arena, "--keep-global-symbol=tamis_artifact_%s", options->name);
    const char *keep_unpack = tm_arena_format(model->arena, "--keep-global-symbol=%s_unpack", options->name);
    const char *root = tm_arena_format(model->arena, "tamis_artifact_%s", options->name);
    const char *run_root = tm_arena_format(model->arena, "%s_run", options->name);
    const char *bytes_root = tm_arena_format(model->arena, "%s_workspace_bytes", options->name);
    const char *unpack_root = tm_arena_format(model->arena, "%s_unpack", options->name);
    const char *arguments[] = {NULL,     "-r",  "--gc-sections", "-e", root,        "-u",
                               run_root, "-u",  bytes_root,      "-u", unpack_root, "--build-id=none",
                               "-o",     joined};
    const char **all = join(model->arena, arguments, sizeof(arguments) / sizeof(arguments[0]), p, NULL);
    tm_code code = run_tool(model, all, "ld.lld-19", "ld.lld", log);
    if (code == TM_OK) {
        const char *localize[] = {NULL, keep, keep_bytes, keep_unpack, keep_artifact, joined, output, NULL};
        code = run_tool(model, localize, "llvm-objcopy-19", "llvm-objcopy", log);
    }
    unlink(joined);
    return code;
}

tm_code tm_link(tm_model *model, const tm_codegen_options *options, const char *module, int objects,
                const char *weights, bool hollow, const char *map, const char *output) {
    const tm_target_choice *target = &options->target;
    const char *archive = tm_arena_format(model->arena, "%s/%s/%s/libkernels.a", options->data_folder,
                                          target->target->triple, target->levels[0].folder);
    if (access(archive, R_OK) != 0)
        return tm_report(model->diagnostics, TM_E_UNSUPPORTED_TARGET, NULL,
                         "this tamis was built without the target's kernels", "no kernel archive %s",
                         archive);
    const char *log = tm_arena_format(model->arena, "%s.log", module);
    parts p = {.module = module,
               .objects = objects,
               .archive = archive,
               .weights = weights,
               .map = map != NULL ? tm_arena_format(model->arena, "-Map=%s", map) : NULL};
    tm_code code;
    if (options->emit == TM_EMIT_SO)
        code = link_shared(model, options, &p, hollow, log, output);
    else if (options->emit == TM_EMIT_OBJ)
        code = link_object(model, options, &p, log, output);
    else {
        const char *object = tm_arena_format(model->arena, "%s.%s.o", module, options->name);
        code = link_object(model, options, &p, log, object);
        if (code == TM_OK) {
            const char *arguments[] = {NULL, "rcsD", output, object, NULL};
            code = run_tool(model, arguments, "llvm-ar-19", "llvm-ar", log);
        }
        unlink(object);
    }
    unlink(log);
    return code;
}
