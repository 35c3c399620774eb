/* SPDX-License-Identifier: Apache-2.0
 *
 * transpose.h: words of 4 bytes, columns to rows.
 */
#ifndef TM_CODEGEN_LLVM_TRANSPOSE_H
#define TM_CODEGEN_LLVM_TRANSPOSE_H

#include "codegen/llvm/region.h"

#define TM_TRANSPOSE_ROWS 4

/* Reads 4 words of each of `lanes` columns, which are `from_stride` bytes apart, and writes them as 4 rows of
 * `lanes` words, `to_stride` bytes apart. */
void tm_transpose(tm_region *r, LLVMValueRef from, int64_t from_stride, LLVMValueRef to, int64_t to_stride);

#endif
