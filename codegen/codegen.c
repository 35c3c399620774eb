/* SPDX-License-Identifier: Apache-2.0
 *
 * codegen.c: the steps from model to artifact, and the care for files.
 *
 * Intermediate objects live in a temporary folder; the output is written beside its final place under another
 * name and moved there when it is whole, so a failure leaves nothing and replaces nothing.
 */
#include "codegen/codegen.h"
#include "codegen/lines.h"
#include "codegen/plan.h"

#include "ir/infer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct files {
    const char *folder; /* NULL: nothing there to remove */
    const char *module, *weights, *partial, *header, *partial_header, *lines, *partial_lines, *partial_map;
} files;

/* The folder with all that is in it, and what was not published. Also runs when memory gives out. */
static void remove_files(void *argument) {
    files *f = argument;
    if (f->folder == NULL)
        return;
    int folder = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = folder >= 0 ? fdopendir(folder) : NULL;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;)
        unlinkat(folder, entry->d_name, 0);
    if (list != NULL)
        closedir(list);
    else if (folder >= 0)
        close(folder);
    rmdir(f->folder);
    unlink(f->partial);
    unlink(f->partial_header);
    unlink(f->partial_lines);
    if (f->partial_map != NULL)
        unlink(f->partial_map);
    f->folder = NULL;
}

static const char *header_path(tm_arena *arena, const char *output) {
    const char *slash = strrchr(output, '/');
    const char *dot = strrchr(output, '.');
    int stem = dot != NULL && (slash == NULL || dot > slash) ? (int)(dot - output) : (int)strlen(output);
    return tm_arena_format(arena, "%.*s.h", stem, output);
}

static tm_code open_files(tm_model *model, const char *name, const char *output, const char *map, files *f) {
    const char *base = getenv("TMPDIR");
    char *folder =
        tm_arena_format(model->arena, "%s/tamis-XXXXXX", base != NULL && base[0] != 0 ? base : "/tmp");
    f->partial = tm_arena_format(model->arena, "%s.%d.part", output, (int)getpid());
    f->header = header_path(model->arena, output);
    f->partial_header = tm_arena_format(model->arena, "%s.%d.part", f->header, (int)getpid());
    const char *slash = strrchr(output, '/');
    int folder_size = slash != NULL ? (int)(slash + 1 - output) : 0;
    f->lines = tm_arena_format(model->arena, "%.*s%s.nodes", folder_size, output, name);
    f->partial_lines = tm_arena_format(model->arena, "%s.%d.part", f->lines, (int)getpid());
    f->partial_map = map != NULL ? tm_arena_format(model->arena, "%s.%d.part", map, (int)getpid()) : NULL;
    tm_arena_on_destroy(model->arena, remove_files, f);
    if (mkdtemp(folder) == NULL)
        return tm_report(model->diagnostics, TM_E_CREATE_OUTPUT, NULL,
                         "set TMPDIR to a folder that can be written", "cannot create %s: %s", folder,
                         strerror(errno));
    f->folder = folder;
    struct stat status;
    if (stat(output, &status) == 0 && !S_ISREG(status.st_mode)) /* a device must not become a file */
        return tm_report(model->diagnostics, TM_E_CREATE_OUTPUT, NULL, NULL,
                         "cannot create %s: it is there and no regular file", output);
    f->module = tm_arena_format(model->arena, "%s/module.o", folder);
    f->weights = tm_arena_format(model->arena, "%s/weights.o", folder);
    FILE *partial = fopen(f->partial, "wb");
    if (partial == NULL)
        return tm_report(model->diagnostics, TM_E_CREATE_OUTPUT, NULL, NULL, "cannot create %s: %s", output,
                         strerror(errno));
    fclose(partial);
    unlink(f->partial);
    return TM_OK;
}

static tm_code publish(tm_model *model, const char *partial, const char *output) {
    if (rename(partial, output) == 0)
        return TM_OK;
    return tm_report(model->diagnostics, TM_E_CREATE_OUTPUT, NULL, NULL, "cannot create %s: %s", output,
                     strerror(errno));
}

static tm_code write_artifact(tm_model *model, const tm_codegen_options *options, const files *f,
                              const char *output) {
    tm_plan *plan;
    TM_TRY(tm_plan_prepare_outputs(model));
    TM_TRY(tm_plan_create(model, &plan));
    if (options->storage.coded && plan->weights_bytes > 0)
        tm_plan_code(plan, &options->storage);
    bool text = options->emit == TM_EMIT_ASM || options->emit == TM_EMIT_LLVM;
    const char *symbol = tm_arena_format(model->arena, "tamis_weights_%s", options->name);
    uint64_t hash = 0, ignored;
    if (options->weights_file != NULL)
        TM_TRY(tm_share_weights(plan, options->weights_file, output, &hash));
    bool hollow = options->emit == TM_EMIT_SO && tm_plan_stored_bytes(plan) >= TM_LARGE_WEIGHTS;
    TM_TRY(tm_write_weights(plan, options->target.target, symbol, hollow, f->weights,
                            options->weights_file != NULL ? &ignored : &hash));
    int objects = 0;
    const tm_lines *lines = options->symbols ? tm_lines_create(model) : NULL;
    TM_TRY(tm_emit_module(model, plan, options, hash, lines, text ? f->partial : f->module, &objects));
    if (!text)
        TM_TRY(tm_link(model, options, f->module, objects, f->weights, hollow, f->partial_map, f->partial));
    if (options->emit == TM_EMIT_SO && options->small && !options->symbols)
        TM_TRY(tm_strip_headers(model, f->partial));
    if (hollow)
        TM_TRY(tm_fill_weights(plan, f->partial));
    if (options->emit == TM_EMIT_OBJ || options->emit == TM_EMIT_LIB) {
        TM_TRY(tm_write_header(plan, options, f->partial_header));
        TM_TRY(publish(model, f->partial_header, f->header));
    }
    if (lines != NULL) {
        TM_TRY(tm_lines_write(lines, model, f->partial_lines));
        TM_TRY(publish(model, f->partial_lines, f->lines));
    }
    if (!text && options->map != NULL)
        TM_TRY(publish(model, f->partial_map, options->map));
    return publish(model, f->partial, output);
}

tm_code tm_codegen(tm_model *model, const tm_codegen_options *options, const char *output) {
    files *f = TM_NEW(model->arena, files);
    tm_code code = open_files(model, options->name, output, options->map, f);
    if (code == TM_OK)
        code = write_artifact(model, options, f, output);
    remove_files(f);
    return code;
}
