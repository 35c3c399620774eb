/* SPDX-License-Identifier: Apache-2.0
 *
 * amx.h: instructions of AMX for region builders.
 *
 * Tile registers are named by number: nothing but a region's own code uses them, so there is nothing to
 * allocate. All eight are 16 lines of 64 bytes. The configuration is the thread's: a region makes it before
 * its first unit and releases it behind the last, so that the system does not save tiles of threads that have
 * left.
 */
#ifndef TM_CODEGEN_LLVM_AMX_H
#define TM_CODEGEN_LLVM_AMX_H

#include "codegen/llvm/region.h"

void tm_amx_configure(tm_region *r);
void tm_amx_release(tm_region *r);
void tm_amx_zero(tm_region *r, int tile);
/* A tile of memory, line after line. */
void tm_amx_load(tm_region *r, int tile, LLVMValueRef from);
/* Lines `stride` bytes apart. */
void tm_amx_store(tm_region *r, int tile, LLVMValueRef to, int64_t stride);
/* By the intrinsic that multiplies two tiles and adds to a third. */
void tm_amx_multiply(tm_region *r, const char *intrinsic, int sums, int a, int b);

#endif
