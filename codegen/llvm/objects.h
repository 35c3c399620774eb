/* SPDX-License-Identifier: Apache-2.0
 *
 * objects.h: from a finished module to object files.
 */
#ifndef TM_CODEGEN_LLVM_OBJECTS_H
#define TM_CODEGEN_LLVM_OBJECTS_H

#include "codegen/codegen.h"

#include <llvm-c/TargetMachine.h>

/* NULL: *out_message says why, to be disposed of by LLVMDisposeMessage. Thread-safe. */
LLVMTargetMachineRef tm_create_machine(const tm_target_choice *target, int level, char **out_message);

/* Writes the module as one object at `path` or several: the others at tm_object_path. Changes the module. How many they
 * are depends on the module only. 0: it failed, *out_message says why. */
int tm_write_objects(LLVMModuleRef module, LLVMTargetMachineRef machine, const tm_codegen_options *options,
                     tm_arena *arena, const char *path, char **out_message);

#endif
