/* SPDX-License-Identifier: Apache-2.0
 *
 * contract.h: what all generators of a product share: its operands and its epilogue.
 *
 *     y[.., m, n] = f(sum over k of A[.., m, k] * B[k, n], bias[n], residual[.., m, n], ...)
 *
 * A generator makes the sums of a tile, f32 or of bytes i32, in a buffer, row after row, and hands the buffer
 * to tm_contract_finish(), which emits everything elementwise behind the product for them and stores the
 * outputs. Leading dims of A are one: m counts all its rows.
 *
 * A region may hold several products of one A, equal but for their other operands (the queries, keys and
 * values of attention). The body has them one after the other; code is made for the first, and
 * tm_contract_select() puts the operands of another in its place.
 */
#ifndef TM_CODEGEN_LLVM_CONTRACT_H
#define TM_CODEGEN_LLVM_CONTRACT_H

#include "codegen/llvm/region.h"
#include "codegen/llvm/schedule.h"

#define TM_MOST_PRODUCTS 4

typedef struct tm_contract {
    const tm_node *product;   /* the node of the body whose result the sums are */
    const tm_node *start;     /* NULL, or one behind it, see tm_contract_start: the sums are its result */
    int a, b;                 /* the product's operands, as inputs of the region */
    tm_product_shape shape;   /* what is known of m, n and k */
    LLVMValueRef matrices;    /* products side by side, i64; 1 where one B is for all rows of A */
    LLVMValueRef m, k, n;     /* sizes of one, i64 */
    int products;             /* of one A, in this region */
    LLVMValueRef which;       /* the one at hand, i64; NULL: there is only one */
    LLVMValueRef *all;        /* pointers of the region's operands; not in the count of units */
    LLVMValueRef *data;       /* the same, where those of the first product are those of the one at hand */
    LLVMValueRef *numbers;    /* inputs of one element, in all lanes; NULL, or NULL where there are others */
    tm_ranges ranges;         /* of the task at hand */
    LLVMValueRef row, column; /* of the current point of the epilogue */
    /* Finds product and sizes, in each function that needs them; NULL: tm_contract_set_up. */
    void (*set_up)(tm_region *r, struct tm_contract *c);
    LLVMValueRef finish;   /* the epilogue's function, once it was needed */
    int64_t finish_stride; /* the form of tiles that it is for */
    int finish_columns;
} tm_contract;

/* Sums that wait for the epilogue. */
typedef struct tm_contract_tile {
    LLVMValueRef sums;   /* [rows][stride], 64-byte aligned */
    int64_t stride;      /* columns from row to row */
    LLVMValueRef row;    /* of y, where the tile starts, counted through all matrices */
    LLVMValueRef rows;   /* how many */
    LLVMValueRef column; /* of y */
    int columns;         /* a multiple of lanes; those from `end` on are not stored */
    LLVMValueRef end;    /* NULL: n */
    bool end_is_whole;   /* `end` is a multiple of lanes behind `column`, or not before n */
} tm_contract_tile;

/* The schedules of a region at the levels of the target: what tells its code apart beside body and dims. */
void tm_contract_add_key(const tm_emit *e, const tm_node *region, tm_text *text);
/* Number of the matrix of operand a or b that takes part in product `number`. */
LLVMValueRef tm_contract_matrix(tm_region *r, int operand, LLVMValueRef number);
/* Finds the product and its sizes. Also for the count of units. */
void tm_contract_set_up(tm_region *r, tm_contract *c);
/* A node that takes an integer for each column off the product, which has no other reader: sums may start
 * with minus these instead. NULL: there is none. *out_operand: the integers, as an input of the region. */
const tm_node *tm_contract_start(const tm_region *r, const tm_contract *c, int *out_operand);
/* Loads the operands' pointers and makes `c` the source of the body's inputs. */
void tm_contract_begin(tm_region *r, tm_contract *c);
/* Reads inputs of one element once, in front of all loops: LLVM does not know that what those store is
 * elsewhere. */
void tm_contract_load_numbers(tm_region *r, tm_contract *c);
/* From here on the operands are those of product `which`. */
void tm_contract_select(tm_region *r, tm_contract *c, LLVMValueRef which);
/* For a region with one output: what the body makes of a vector of sums up to `value`, at c->row and
 * c->column under the mask of `r`; and the output's store. Operands are read once for many vectors when all
 * are computed before the first is stored. */
LLVMValueRef tm_contract_compute(tm_region *r, tm_contract *c, LLVMValueRef sum, const tm_value *value);
void tm_contract_store_result(tm_region *r, tm_contract *c, LLVMValueRef result);
/* Brings the lines near that the epilogue of a tile will read and store: `rows` from `row` on, counted
 * through all matrices. Operands of a single row are near anyway. */
void tm_contract_fetch(tm_region *r, const tm_contract *c, LLVMValueRef row, int rows, LLVMValueRef column,
                       int columns);
/* Is the epilogue short enough to stand behind each vector of a tile? */
bool tm_contract_is_light(const tm_region *r);
/* Rows of the tile through the epilogue to the outputs, by a call of a function made for it. */
void tm_contract_finish(tm_region *r, tm_contract *c, const tm_contract_tile *tile);

#endif
