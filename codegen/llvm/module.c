/* SPDX-License-Identifier: Apache-2.0
 *
 * module.c: one LLVM module per model: set-up, passes, output.
 *
 * The driver is cold straight-line code, compiled for the target's lowest level; only regions are compiled
 * for several levels. Nothing in the module depends on pointers, paths or time, so the same model gives the
 * same bytes.
 */
#include "codegen/llvm/region.h"
#include "codegen/llvm/library.h"
#include "codegen/llvm/objects.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
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

static tm_code llvm_error(tm_emit *e, const char *what, char *message) {
    tm_code code = tm_report(e->diagnostics, TM_E_LLVM, NULL, "please report this with the model", "%s: %s",
                             what, message != NULL ? message : "");
    LLVMDisposeMessage(message);
    return code;
}

static void set_function_attributes(tm_emit *e) {
    const tm_level *level = &e->options->target.levels[0];
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    for (LLVMValueRef f = LLVMGetFirstFunction(e->module); f != NULL; f = LLVMGetNextFunction(f)) {
        if (LLVMIsDeclaration(f))
            continue;
        LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex,
                                LLVMCreateEnumAttribute(e->context, nounwind, 0));
        if (LLVMGetStringAttributeAtIndex(f, LLVMAttributeFunctionIndex, "target-cpu", 10) != NULL)
            continue;
        LLVMAddTargetDependentFunctionAttr(f, "target-cpu", level->cpu);
        LLVMAddTargetDependentFunctionAttr(f, "target-features", level->features);
    }
}

static tm_code build(tm_emit *e, uint64_t weights_hash) {
    tm_emit_index_create(e);
    TM_TRY(tm_emit_regions(e));
    tm_emit_profile(e);
    tm_emit_prepare(e);
    TM_TRY(tm_emit_execute(e));
    TM_TRY(tm_emit_tables(e, weights_hash));
    if (e->options->emit != TM_EMIT_SO) /* a shared object is run by the runtime library */
        tm_emit_entry(e);
    TM_TRY(tm_link_math(e));
    set_function_attributes(e);
    return TM_OK;
}

static tm_code optimize(tm_emit *e, LLVMTargetMachineRef machine) {
#ifndef NDEBUG
    char *message = NULL;
    if (LLVMVerifyModule(e->module, LLVMReturnStatusAction, &message))
        return llvm_error(e, "the module is not valid", message);
    LLVMDisposeMessage(message);
#endif
    const char *pipeline =
        e->options->level == 0
            ? "always-inline"
            : "always-inline,function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg),globaldce";
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(e->module, pipeline, machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (error == NULL)
        return TM_OK;
    char *text = LLVMGetErrorMessage(error);
    tm_code code = tm_report(e->diagnostics, TM_E_LLVM, NULL, NULL, "passes: %s", text);
    LLVMDisposeErrorMessage(text);
    return code;
}

static tm_code write_text(tm_emit *e, LLVMTargetMachineRef machine, const char *path) {
    char *message = NULL;
    bool failed = e->options->emit == TM_EMIT_LLVM
                      ? LLVMPrintModuleToFile(e->module, path, &message)
                      : LLVMTargetMachineEmitToFile(machine, e->module, (char *)(uintptr_t)path,
                                                    LLVMAssemblyFile, &message);
    return failed ? llvm_error(e, "emission", message) : TM_OK;
}

static void ignore_diagnostic(LLVMDiagnosticInfoRef info, void *context) {
    (void)info;
    (void)context;
}

typedef struct holder { /* what must go when the arena goes, should memory run out in between */
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMTargetMachineRef machine;
} holder;

static void dispose(void *argument) {
    holder *h = argument;
    if (h->builder != NULL)
        LLVMDisposeBuilder(h->builder);
    if (h->module != NULL)
        LLVMDisposeModule(h->module);
    if (h->machine != NULL)
        LLVMDisposeTargetMachine(h->machine);
    if (h->context != NULL)
        LLVMContextDispose(h->context);
    *h = (holder){0};
}

tm_code tm_emit_module(tm_model *model, const tm_plan *plan, const tm_codegen_options *options,
                       uint64_t weights_hash, const char *path, int *out_objects) {
    const char *missing = tm_llvm_load();
    if (missing != NULL)
        return tm_report(model->diagnostics, TM_E_LLVM, NULL,
                         "install the LLVM that this tamis was built with", "cannot load %s", missing);
    pthread_once(&targets_once, initialize_targets);
    tm_emit e = {.arena = model->arena,
                 .diagnostics = model->diagnostics,
                 .model = model,
                 .plan = plan,
                 .options = options};
    holder *h = TM_NEW(e.arena, holder);
    tm_arena_on_destroy(e.arena, dispose, h);
    h->context = e.context = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(e.context, ignore_diagnostic, NULL);
    LLVMContextSetDiscardValueNames(e.context, 0);
    h->module = e.module = LLVMModuleCreateWithNameInContext(options->name, e.context);
    LLVMSetSourceFileName(e.module, options->name, strlen(options->name));
    h->builder = e.builder = LLVMCreateBuilderInContext(e.context);
    char *message = NULL;
    h->machine = tm_create_machine(&options->target, options->level, &message);
    if (h->machine == NULL)
        return llvm_error(&e, options->target.target->triple, message);
    LLVMSetTarget(e.module, options->target.target->triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(h->machine);
    LLVMSetModuleDataLayout(e.module, layout);
    LLVMDisposeTargetData(layout);
    e.i1 = LLVMInt1TypeInContext(e.context);
    e.i8 = LLVMInt8TypeInContext(e.context);
    e.i16 = LLVMInt16TypeInContext(e.context);
    e.i32 = LLVMInt32TypeInContext(e.context);
    e.i64 = LLVMInt64TypeInContext(e.context);
    e.f32 = LLVMFloatTypeInContext(e.context);
    e.ptr = LLVMPointerTypeInContext(e.context, 0);
    e.void_type = LLVMVoidTypeInContext(e.context);
    e.kernel_type = LLVMFunctionType(e.i32, (LLVMTypeRef[]){e.ptr, e.ptr}, 2, 0);
    tm_code code = build(&e, weights_hash);
    if (code == TM_OK)
        code = optimize(&e, h->machine);
    if (code == TM_OK && (options->emit == TM_EMIT_ASM || options->emit == TM_EMIT_LLVM))
        code = write_text(&e, h->machine, path);
    else if (code == TM_OK) {
        *out_objects = tm_write_objects(e.module, h->machine, options, e.arena, path, &message);
        if (*out_objects == 0)
            code = llvm_error(&e, "emission", message);
    }
    dispose(h);
    return code;
}
