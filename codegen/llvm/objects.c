/* SPDX-License-Identifier: Apache-2.0
 *
 * objects.c: machine code of the modules of a model, by several threads.
 *
 *     regions 0 to 4  ->  module 0, handed over while region 5 is emitted  ->  thread 1  ->  module
 *     regions 5 to 6  ->  module 1                                        ->  thread 2  ->  module.1
 *     driver, tables  ->  module 2                                        ->  thread 1  ->  module.2
 *
 * Choosing instructions and registers takes four fifths of the time of compilation, and LLVM does it in one
 * thread a context. So a model is several modules from the start, each in a context of its own, and the
 * linker joins the objects. To emit one module and to part it afterwards would mean that each thread reads
 * all of it. How regions are shared out follows from the model and not from the machine (region.c), so the
 * same model gives the same bytes everywhere.
 *
 * Cold functions, those of the driver and of what is called once for a whole region, are not worth the best
 * instructions: LLVM picks theirs quickly, in a third of the time, and the code is no larger.
 */
#include "codegen/llvm/objects.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define MOST_THREADS 8

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

bool tm_optimize_module(LLVMModuleRef module, LLVMTargetMachineRef machine, int level, char **out_message) {
#ifndef NDEBUG
    if (LLVMVerifyModule(module, LLVMReturnStatusAction, out_message))
        return false;
    LLVMDisposeMessage(*out_message);
    *out_message = NULL;
#endif
    const char *pipeline =
        level == 0
            ? "always-inline"
            : "always-inline,function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg),globaldce";
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(module, pipeline, machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (error == NULL)
        return true;
    char *text = LLVMGetErrorMessage(error);
    *out_message = LLVMCreateMessage(text);
    LLVMDisposeErrorMessage(text);
    return false;
}

/* ---- one object ---- */

typedef struct object {
    struct object *next;
    LLVMContextRef context; /* NULL: done */
    LLVMModuleRef module;
    const char *path;
    bool failed;
    char *message;
} object;

static void forget(object *o) {
    if (o->context == NULL)
        return;
    LLVMDisposeModule(o->module);
    LLVMContextDispose(o->context);
    o->context = NULL;
}

/* After the passes, which make cold functions smaller and would leave out those that are marked. */
static void compile_cold_functions_fast(const object *o) {
    unsigned cold = LLVMGetEnumAttributeKindForName("cold", 4);
    unsigned kinds[] = {LLVMGetEnumAttributeKindForName("optnone", 7),
                        LLVMGetEnumAttributeKindForName("noinline", 8)};
    for (LLVMValueRef f = LLVMGetFirstFunction(o->module); f != NULL; f = LLVMGetNextFunction(f)) {
        if (LLVMIsDeclaration(f) || LLVMGetEnumAttributeAtIndex(f, LLVMAttributeFunctionIndex, cold) == NULL)
            continue;
        for (int i = 0; i < 2; i++)
            LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex,
                                    LLVMCreateEnumAttribute(o->context, kinds[i], 0));
    }
}

/* Keeps the first message about a frame that is larger than its function allows. */
static void note_frame(LLVMDiagnosticInfoRef info, void *argument) {
    char **frame = argument;
    char *text = LLVMGetDiagInfoDescription(info);
    if (*frame == NULL && strstr(text, "stack frame size") != NULL)
        *frame = text;
    else
        LLVMDisposeMessage(text);
}

/* Has it failed? A frame that is too large is a failure with a message. */
static bool emit(LLVMTargetMachineRef machine, LLVMModuleRef module, const char *path, char **out_message) {
    char *frame = NULL;
    LLVMContextRef context = LLVMGetModuleContext(module);
    LLVMDiagnosticHandler before = LLVMContextGetDiagnosticHandler(context);
    void *argument = LLVMContextGetDiagnosticContext(context);
    LLVMContextSetDiagnosticHandler(context, note_frame, &frame);
    bool failed =
        LLVMTargetMachineEmitToFile(machine, module, (char *)(uintptr_t)path, LLVMObjectFile, out_message);
    LLVMContextSetDiagnosticHandler(context, before, argument);
    if (frame == NULL)
        return failed;
    if (failed)
        LLVMDisposeMessage(*out_message);
    *out_message = frame;
    return true;
}

static void write_object(object *o, const tm_codegen_options *options) {
    LLVMTargetMachineRef machine = tm_create_machine(&options->target, options->level, &o->message);
    o->failed = machine == NULL || !tm_optimize_module(o->module, machine, options->level, &o->message);
    if (!o->failed) {
        if (!options->small)
            compile_cold_functions_fast(o);
        o->failed = emit(machine, o->module, o->path, &o->message);
    }
    if (machine != NULL)
        LLVMDisposeTargetMachine(machine);
    forget(o);
}

/* ---- all of them ---- */

struct tm_objects {
    tm_arena *arena;
    const tm_codegen_options *options;
    const char *path;
    pthread_mutex_t lock;
    pthread_cond_t more;
    object *first, *last;
    object *waiting; /* the first that no thread has taken */
    int count;
    bool complete; /* no more will come */
    pthread_t threads[MOST_THREADS];
    int thread_count, most_threads;
};

/* Until all are taken and none is to come. */
static void *work(void *argument) {
    tm_objects *objects = argument;
    pthread_mutex_lock(&objects->lock);
    for (;;) {
        while (objects->waiting == NULL && !objects->complete)
            pthread_cond_wait(&objects->more, &objects->lock);
        object *taken = objects->waiting;
        if (taken == NULL)
            break;
        objects->waiting = taken->next;
        pthread_mutex_unlock(&objects->lock);
        write_object(taken, objects->options);
        pthread_mutex_lock(&objects->lock);
    }
    pthread_mutex_unlock(&objects->lock);
    return NULL;
}

/* With `abandon` what no thread has taken is left undone. */
static void stop(tm_objects *objects, bool abandon) {
    pthread_mutex_lock(&objects->lock);
    objects->complete = true;
    if (abandon)
        objects->waiting = NULL;
    pthread_cond_broadcast(&objects->more);
    pthread_mutex_unlock(&objects->lock);
    if (!abandon)
        work(objects);
    for (int i = 0; i < objects->thread_count; i++)
        pthread_join(objects->threads[i], NULL);
    objects->thread_count = 0;
}

/* Also runs when memory gives out. */
static void destroy(void *argument) {
    tm_objects *objects = argument;
    stop(objects, true);
    for (object *o = objects->first; o != NULL; o = o->next) {
        forget(o);
        LLVMDisposeMessage(o->message);
    }
    pthread_cond_destroy(&objects->more);
    pthread_mutex_destroy(&objects->lock);
}

tm_objects *tm_objects_create(tm_arena *arena, const tm_codegen_options *options, const char *path) {
    tm_objects *objects = TM_NEW(arena, tm_objects);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    *objects = (tm_objects){.arena = arena, .options = options, .path = path};
    objects->most_threads =
        processors > MOST_THREADS ? MOST_THREADS : (int)processors - 1; /* and the caller's */
    pthread_mutex_init(&objects->lock, NULL);
    pthread_cond_init(&objects->more, NULL);
    tm_arena_on_destroy(arena, destroy, objects);
    return objects;
}

void tm_objects_add(tm_objects *objects, LLVMContextRef context, LLVMModuleRef module) {
    object *o = TM_NEW(objects->arena, object);
    *o = (object){.context = context,
                  .module = module,
                  .path = tm_object_path(objects->arena, objects->path, objects->count)};
    pthread_mutex_lock(&objects->lock);
    if (objects->last != NULL)
        objects->last->next = o;
    else
        objects->first = o;
    objects->last = o;
    if (objects->waiting == NULL)
        objects->waiting = o;
    objects->count++;
    pthread_cond_signal(&objects->more);
    pthread_mutex_unlock(&objects->lock);
    if (objects->thread_count < objects->most_threads && objects->thread_count < objects->count &&
        pthread_create(&objects->threads[objects->thread_count], NULL, work, objects) == 0)
        objects->thread_count++;
}

int tm_objects_finish(tm_objects *objects, char **out_message) {
    stop(objects, false);
    for (object *o = objects->first; o != NULL; o = o->next)
        if (o->failed) {
            *out_message = o->message;
            o->message = NULL;
            return 0;
        }
    return objects->count;
}
