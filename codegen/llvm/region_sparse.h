/* SPDX-License-Identifier: Apache-2.0
 *
 * region_sparse.h: the epilogue of sparse products while rows are in lanes.
 */
#ifndef TM_CODEGEN_LLVM_REGION_SPARSE_H
#define TM_CODEGEN_LLVM_REGION_SPARSE_H

#include "codegen/llvm/contract.h"
#include "ir/sparse.h"

#define TM_SPARSE_LINE (TM_SPARSE_ROWS * 4) /* bytes of a word, or of sums of a column */

/* Sums of a panel: [64 columns][64 rows], which the epilogue may overwrite. */
typedef struct tm_sparse_tile {
    LLVMValueRef sums;
    LLVMValueRef row, rows, column; /* the first of y, how many there are */
} tm_sparse_tile;

/* Through the epilogue to the outputs, by a call of a function that is made at the first call and kept in
 * c->finish. Only where tm_sparse_keeps_turned() says so. */
void tm_sparse_finish(tm_region *r, tm_contract *c, const tm_sparse_tile *tile);

#endif
