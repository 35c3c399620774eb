/* SPDX-License-Identifier: Apache-2.0
 *
 * objects.h: from modules to object files, by several threads.
 */
#ifndef TM_CODEGEN_LLVM_OBJECTS_H
#define TM_CODEGEN_LLVM_OBJECTS_H

#include "codegen/codegen.h"

#include <llvm-c/TargetMachine.h>

/* NULL: *out_message says why, to be disposed of by LLVMDisposeMessage. Thread-safe. */
LLVMTargetMachineRef tm_create_machine(const tm_target_choice *target, int level, char **out_message);

/* The passes before instructions are chosen. False: *out_message says why. */
bool tm_optimize_module(LLVMModuleRef module, LLVMTargetMachineRef machine, int level, char **out_message);

typedef struct tm_objects tm_objects;

/* The objects of a model, at tm_object_path(path, 0) and on. It is gone with the arena at the latest. */
tm_objects *tm_objects_create(tm_arena *arena, const tm_codegen_options *options, const char *path);
/* Takes the module and its context, of which no other module may be, and makes an object of them some time.
 */
void tm_objects_add(tm_objects *objects, LLVMContextRef context, LLVMModuleRef module);
/* Waits for all of them. How many there are; 0: it failed, *out_message says why. */
int tm_objects_finish(tm_objects *objects, char **out_message);

#endif
