/* SPDX-License-Identifier: Apache-2.0
 *
 * module.c: the LLVM modules of a model: set-up, contents, output.
 *
 * One has the driver and the tables, the others have the regions (region.c); as text all is one module. The
 * driver is cold straight-line code, compiled for the target's lowest level; only regions are compiled for
 * several levels. Nothing in a module depends on pointers, paths or time, so the same model gives the same
 * bytes.
 */
#include "codegen/llvm/region.h"
#include "codegen/llvm/library.h"
#include "codegen/llvm/objects.h"

#include <llvm-c/Target.h>
#include <pthread.h>
#include <string.h>

static void initialize_targets(void) {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    LLVMInitializeRISCVTargetInfo();
    LLVMInitializeRISCVTarget();
    LLVMInitializeRISCVTargetMC();
    LLVMInitializeRISCVAsmPrinter();
}

static pthread_once_t targets_once = PTHREAD_ONCE_INIT;

static void *load(void *missing) {
    *(const char **)missing = tm_llvm_load();
    if (*(const char **)missing == NULL)
        pthread_once(&targets_once, initialize_targets);
    return NULL;
}

typedef struct loader {
    pthread_t thread;
    const char *missing;
} loader;

static void join_loader(void *argument) {
    pthread_join(((loader *)argument)->thread, NULL);
}

void tm_codegen_begin(tm_arena *arena) {
    loader *l = TM_NEW(arena, loader);
    if (pthread_create(&l->thread, NULL, load, &l->missing) == 0)
        tm_arena_on_destroy(arena, join_loader, l);
}

static tm_code llvm_error(tm_emit *e, const char *what, char *message) {
    tm_code code = tm_report(e->diagnostics, TM_E_LLVM, NULL, "please report this with the model", "%s: %s",
                             what, message != NULL ? message : "");
    LLVMDisposeMessage(message);
    return code;
}

#define LARGEST_FRAME "32768" /* bytes; a host may run us on a thread with a small stack */

static void set_function_attributes(tm_emit *e) {
    const tm_level *level = &e->options->target.levels[0];
    unsigned optsize = LLVMGetEnumAttributeKindForName("optsize", 7);
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    for (LLVMValueRef f = LLVMGetFirstFunction(e->module); f != NULL; f = LLVMGetNextFunction(f)) {
        if (LLVMIsDeclaration(f))
            continue;
        LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex,
                                LLVMCreateEnumAttribute(e->context, nounwind, 0));
        if (e->options->small)
            LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex,
                                    LLVMCreateEnumAttribute(e->context, optsize, 0));
#ifndef NDEBUG
        /* What is above is an error: note_frame() in objects.c. */
        LLVMAddTargetDependentFunctionAttr(f, "warn-stack-size", LARGEST_FRAME);
#endif
        if (LLVMGetStringAttributeAtIndex(f, LLVMAttributeFunctionIndex, "target-cpu", 10) != NULL)
            continue;
        LLVMAddTargetDependentFunctionAttr(f, "target-cpu", level->cpu);
        LLVMAddTargetDependentFunctionAttr(f, "target-features", level->features);
    }
}

static void ignore_diagnostic(LLVMDiagnosticInfoRef info, void *context) {
    (void)info;
    (void)context;
}

struct tm_emit_held { /* what must go when the arena goes, should memory run out in between */
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMDIBuilderRef debug;
};

static void dispose(void *argument) {
    tm_emit_held *held = argument;
    if (held->builder != NULL)
        LLVMDisposeBuilder(held->builder);
    if (held->debug != NULL)
        LLVMDisposeDIBuilder(held->debug);
    if (held->module != NULL)
        LLVMDisposeModule(held->module);
    if (held->context != NULL)
        LLVMContextDispose(held->context);
    *held = (tm_emit_held){0};
}

void tm_emit_open_module(tm_emit *e) {
    e->held = TM_NEW(e->arena, tm_emit_held);
    tm_arena_on_destroy(e->arena, dispose, e->held);
    e->held->context = e->context = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(e->context, ignore_diagnostic, NULL);
    LLVMContextSetDiscardValueNames(e->context, e->objects != NULL);
    e->held->module = e->module = LLVMModuleCreateWithNameInContext(e->options->name, e->context);
    LLVMSetSourceFileName(e->module, e->options->name, strlen(e->options->name));
    LLVMSetTarget(e->module, e->options->target.target->triple);
    LLVMSetDataLayout(e->module, e->data_layout);
    e->held->builder = e->builder = LLVMCreateBuilderInContext(e->context);
    e->i1 = LLVMInt1TypeInContext(e->context);
    e->i8 = LLVMInt8TypeInContext(e->context);
    e->i16 = LLVMInt16TypeInContext(e->context);
    e->i32 = LLVMInt32TypeInContext(e->context);
    e->i64 = LLVMInt64TypeInContext(e->context);
    e->f32 = LLVMFloatTypeInContext(e->context);
    e->ptr = LLVMPointerTypeInContext(e->context, 0);
    e->void_type = LLVMVoidTypeInContext(e->context);
    e->kernel_type = LLVMFunctionType(e->i32, (LLVMTypeRef[]){e->ptr, e->ptr}, 2, 0);
    tm_emit_lines_begin(e);
    e->held->debug = e->debug.builder;
}

void tm_emit_mark_cold(const tm_emit *e, LLVMValueRef function) {
    unsigned cold = LLVMGetEnumAttributeKindForName("cold", 4);
    LLVMAddAttributeAtIndex(function, LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->context, cold, 0));
}

tm_code tm_emit_complete_module(tm_emit *e) {
    tm_emit_lines_end(e);
    TM_TRY(tm_link_math(e));
    set_function_attributes(e);
    if (e->objects == NULL)
        return TM_OK;
    LLVMDisposeBuilder(e->held->builder); /* a thread may have the context at once */
    e->held->builder = NULL;
    if (e->held->debug != NULL)
        LLVMDisposeDIBuilder(e->held->debug);
    e->held->debug = NULL;
    tm_objects_add(e->objects, e->held->context, e->held->module);
    *e->held = (tm_emit_held){0};
    return TM_OK;
}

static void mark_cold(tm_emit *e) {
    for (LLVMValueRef f = LLVMGetFirstFunction(e->module); f != NULL; f = LLVMGetNextFunction(f))
        if (!LLVMIsDeclaration(f) &&
            LLVMGetStringAttributeAtIndex(f, LLVMAttributeFunctionIndex, "target-cpu", 10) == NULL)
            tm_emit_mark_cold(e, f);
}

static tm_code build(tm_emit *e, uint64_t weights_hash) {
    tm_emit_index_create(e);
    TM_TRY(tm_emit_regions(e));
    tm_emit_profile(e);
    tm_emit_prepare(e);
    TM_TRY(tm_emit_execute(e));
    tm_emit_line_number(e, 0);
    TM_TRY(tm_emit_tables(e, weights_hash));
    if (e->options->emit != TM_EMIT_SO) /* a shared object is run by the runtime library */
        tm_emit_entry(e);
    mark_cold(e);
    return tm_emit_complete_module(e);
}

static tm_code write_text(tm_emit *e, LLVMTargetMachineRef machine, const char *path) {
    char *message = NULL;
    bool failed = !tm_optimize_module(e->module, machine, e->options->level, &message);
    if (!failed)
        failed = e->options->emit == TM_EMIT_LLVM
                     ? LLVMPrintModuleToFile(e->module, path, &message)
                     : LLVMTargetMachineEmitToFile(machine, e->module, (char *)(uintptr_t)path,
                                                   LLVMAssemblyFile, &message);
    return failed ? llvm_error(e, "emission", message) : TM_OK;
}

static void dispose_machine(void *machine) {
    LLVMDisposeTargetMachine(machine);
}

tm_code tm_emit_module(tm_model *model, const tm_plan *plan, const tm_codegen_options *options,
                       uint64_t weights_hash, const struct tm_lines *lines, const char *path,
                       int *out_objects) {
    const char *missing;
    (void)load(&missing);
    if (missing != NULL)
        return tm_report(model->diagnostics, TM_E_LLVM, NULL,
                         "install the LLVM that this tamis was built with", "cannot load %s", missing);
    tm_emit e = {.arena = model->arena,
                 .diagnostics = model->diagnostics,
                 .model = model,
                 .plan = plan,
                 .options = options,
                 .lines = lines};
    char *message = NULL;
    LLVMTargetMachineRef machine = tm_create_machine(&options->target, options->level, &message);
    if (machine == NULL)
        return llvm_error(&e, options->target.target->triple, message);
    tm_arena_on_destroy(e.arena, dispose_machine, machine);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    char *data_layout = LLVMCopyStringRepOfTargetData(layout);
    e.data_layout = tm_arena_string(e.arena, data_layout);
    LLVMDisposeMessage(data_layout);
    LLVMDisposeTargetData(layout);
    bool text = options->emit == TM_EMIT_ASM || options->emit == TM_EMIT_LLVM;
    if (!text)
        e.objects = tm_objects_create(e.arena, options, path);
    tm_emit_open_module(&e);
    TM_TRY(build(&e, weights_hash));
    if (text)
        return write_text(&e, machine, path);
    *out_objects = tm_objects_finish(e.objects, &message);
    return *out_objects > 0 ? TM_OK : llvm_error(&e, "emission", message);
}
