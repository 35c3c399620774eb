/* SPDX-License-Identifier: Apache-2.0
 *
 * region_pack.h: packs that gather the windows of a convolution.
 */
#ifndef TM_CODEGEN_LLVM_REGION_PACK_H
#define TM_CODEGEN_LLVM_REGION_PACK_H

#include "codegen/llvm/region.h"

bool tm_pack_is_windows(const tm_region *r);
/* As in tm_region_kind. */
void tm_pack_windows_count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain);
void tm_pack_windows_body(tm_region *r, LLVMValueRef begin, LLVMValueRef end);

#endif
