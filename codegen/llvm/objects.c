/* SPDX-License-Identifier: Apache-2.0
 *
 * objects.c: machine code of a module, by several threads.
 *
 *     40,000 instructions  ->  bitcode  ->  thread 1: functions 1, 4, 6, ...  ->  module
 *                                           thread 2: functions 2, 3, 5, ...  ->  module.1
 *
 * Choosing instructions and registers takes four fifths of the time of compilation, and LLVM does it in one thread
 * a context. So each thread reads the whole module into a context of its own, forgets the bodies of functions that
 * others write, and the linker joins the objects. Functions are shared out by size, the largest first to the lightest
 * object. The number of objects follows from the module and not from the machine, so the same model gives the same
 * bytes everywhere.
 */
#include "codegen/llvm/objects.h"

#include <llvm-c/BitReader.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define OBJECT_INSTRUCTIONS 2500 /* worth an object of their own */
#define MOST_OBJECTS 4

LLVMTargetMachineRef tm_create_machine(const tm_target_choice *target, int level, char **out_message) {
    LLVMTargetRef found;
    if (LLVMGetTargetFromTriple(target->target->triple, &found, out_message))
        return NULL;
    LLVMTargetMachineOptionsRef options = LLVMCreateTargetMachineOptions();
    LLVMTargetMachineOptionsSetCPU(options, target->levels[0].cpu);
    LLVMTargetMachineOptionsSetFeatures(options, target->levels[0].features);
    if (target->target->abi != NULL)
        LLVMTargetMachineOptionsSetABI(options, target->target->abi);
    LLVMTargetMachineOptionsSetCodeGenOptLevel(options,
                                               level == 0 ? LLVMCodeGenLevelNone : LLVMCodeGenLevelDefault);
    LLVMTargetMachineOptionsSetRelocMode(options, LLVMRelocPIC);
    LLVMTargetMachineRef machine = LLVMCreateTargetMachineWithOptions(found, target->target->triple, options);
    LLVMDisposeTargetMachineOptions(options);
    return machine;
}

/* ---- which function goes where ---- */

typedef struct function {
    LLVMValueRef value;
    int64_t size; /* instructions */
    int order, object;
} function;

static int64_t count_instructions(LLVMValueRef f) {
    int64_t count = 0;
    for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b != NULL; b = LLVMGetNextBasicBlock(b))
        for (LLVMValueRef i = LLVMGetFirstInstruction(b); i != NULL; i = LLVMGetNextInstruction(i))
            count++;
    return count;
}

static int by_size(const void *x, const void *y) {
    const function *a = x, *b = y;
    if (a->size != b->size)
        return a->size < b->size ? 1 : -1;
    return a->order - b->order;
}

static int by_order(const void *x, const void *y) {
    const function *a = x, *b = y;
    return a->order - b->order;
}

/* The defined functions in the order of the module, with the object of each. */
static function *share_out(LLVMModuleRef module, tm_arena *arena, int *out_count, int *out_objects) {
    int count = 0;
    int64_t total = 0, load[MOST_OBJECTS] = {0};
    for (LLVMValueRef f = LLVMGetFirstFunction(module); f != NULL; f = LLVMGetNextFunction(f))
        count += !LLVMIsDeclaration(f);
    function *functions = TM_NEW_ARRAY(arena, function, count + 1);
    int at = 0;
    for (LLVMValueRef f = LLVMGetFirstFunction(module); f != NULL; f = LLVMGetNextFunction(f))
        if (!LLVMIsDeclaration(f)) {
            functions[at] = (function){.value = f, .size = count_instructions(f), .order = at};
            total += functions[at++].size;
        }
    int64_t objects = total / OBJECT_INSTRUCTIONS;
    *out_objects = (int)(objects < 1 ? 1 : objects > MOST_OBJECTS ? MOST_OBJECTS : objects);
    *out_count = count;
    qsort(functions, (size_t)count, sizeof(function), by_size);
    for (int i = 0; i < count; i++) {
        int lightest = 0;
        for (int k = 1; k < *out_objects; k++)
            if (load[k] < load[lightest])
                lightest = k;
        functions[i].object = lightest;
        load[lightest] += functions[i].size;
    }
    qsort(functions, (size_t)count, sizeof(function), by_order);
    return functions;
}

/* ---- one object ---- */

typedef struct object {
    const tm_codegen_options *options;
    const function *functions;
    LLVMMemoryBufferRef bitcode;
    const char *path;
    int number;
    pthread_t thread;
    bool started, failed;
    char *message;
} object;

static bool forget_others(const object *o, LLVMModuleRef module, LLVMTargetMachineRef machine) {
    int at = 0;
    for (LLVMValueRef f = LLVMGetFirstFunction(module); f != NULL; f = LLVMGetNextFunction(f))
        if (!LLVMIsDeclaration(f) && o->functions[at++].object != o->number)
            LLVMSetLinkage(f, LLVMAvailableExternallyLinkage);
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(module, "elim-avail-extern,globaldce", machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (error != NULL)
        LLVMConsumeError(error);
    return error == NULL;
}

static void ignore_diagnostic(LLVMDiagnosticInfoRef info, void *context) {
    (void)info;
    (void)context;
}

static void *write_object(void *argument) {
    object *o = argument;
    LLVMContextRef context = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(context, ignore_diagnostic, NULL);
    LLVMModuleRef module = NULL;
    LLVMTargetMachineRef machine = tm_create_machine(&o->options->target, o->options->level, &o->message);
    o->failed = machine == NULL || LLVMParseBitcodeInContext2(context, o->bitcode, &module) ||
                !forget_others(o, module, machine) ||
                LLVMTargetMachineEmitToFile(machine, module, (char *)(uintptr_t)o->path, LLVMObjectFile,
                                            &o->message);
    if (module != NULL)
        LLVMDisposeModule(module);
    if (machine != NULL)
        LLVMDisposeTargetMachine(machine);
    LLVMContextDispose(context);
    return NULL;
}

/* Functions are seen by the other objects, and by nothing outside of the artifact. Names of constants stay local: an
 * object has a copy of those that it uses. */
static void make_visible(const function *functions, int count) {
    for (int i = 0; i < count; i++)
        if (LLVMGetLinkage(functions[i].value) != LLVMExternalLinkage) {
            LLVMSetLinkage(functions[i].value, LLVMExternalLinkage);
            LLVMSetVisibility(functions[i].value, LLVMHiddenVisibility);
        }
}

int tm_write_objects(LLVMModuleRef module, LLVMTargetMachineRef machine, const tm_codegen_options *options,
                     tm_arena *arena, const char *path, char **out_message) {
    int count, objects;
    *out_message = NULL;
    function *functions = share_out(module, arena, &count, &objects);
    if (objects == 1)
        return !LLVMTargetMachineEmitToFile(machine, module, (char *)(uintptr_t)path, LLVMObjectFile,
                                            out_message);
    object parts[MOST_OBJECTS]; /* with all their memory, before a thread can be left behind by a lack of it */
    for (int i = 0; i < objects; i++)
        parts[i] = (object){.options = options,
                            .functions = functions,
                            .path = tm_object_path(arena, path, i),
                            .number = i};
    make_visible(functions, count);
    LLVMMemoryBufferRef bitcode = LLVMWriteBitcodeToMemoryBuffer(module);
    for (int i = 0; i < objects; i++) {
        parts[i].bitcode = bitcode;
        parts[i].started =
            i > 0 && pthread_create(&parts[i].thread, NULL, write_object, &parts[i]) == 0;
    }
    for (int i = 0; i < objects; i++)
        if (!parts[i].started)
            write_object(&parts[i]);
    bool failed = false;
    for (int i = 0; i < objects; i++) {
        if (parts[i].started)
            pthread_join(parts[i].thread, NULL);
        failed = failed || parts[i].failed;
        if (*out_message == NULL)
            *out_message = parts[i].message;
        else
            LLVMDisposeMessage(parts[i].message);
    }
    LLVMDisposeMemoryBuffer(bitcode);
    return failed ? 0 : objects;
}
