/* SPDX-License-Identifier: Apache-2.0
 *
 * library.h: LLVM is loaded when the first model is compiled, not when the program starts.
 *
 * `tamis run ARTIFACT` must start in milliseconds and work without LLVM installed, yet it is the same
 * program as `tamis compile`. So libLLVM is no link-time dependency: the build generates a forwarder
 * for each LLVM function that these sources call (cmake/LlvmForward.cmake), a jump through a table
 * which tm_llvm_load fills. Calls look and cost as usual.
 */
#ifndef TM_CODEGEN_LLVM_LIBRARY_H
#define TM_CODEGEN_LLVM_LIBRARY_H

#include "base/base.h"

/* Loads LLVM, once per process; safe from several threads. Must be called before any function of LLVM.
 * NULL, or what is missing (static text). */
TM_MUST_USE const char *tm_llvm_load(void);

#endif
