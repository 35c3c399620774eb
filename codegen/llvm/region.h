/* SPDX-License-Identifier: Apache-2.0
 *
 * region.h: the loop-nest builder: what all kinds of regions share.
 *
 * A region becomes one function, the kernel that the driver calls, and for each level a function with the
 * loops:
 *
 *     i32 tm_region_K_KIND(run, call)              counts the work units, picks the level's body by
 *                                                  run->level, and runs it, in parallel when there are many
 *     i32 tm_region_K_KIND_LEVEL(arg, begin, end)  the loops for units begin..end; arg holds run and call
 *
 * A kind whose units differ between levels picks their number by run->level too. Inside the loops, values
 * of the body graph are vectors of `lanes` elements at the current point (tm_region_value); inputs are
 * loaded by the kind's callback.
 */
#ifndef TM_CODEGEN_LLVM_REGION_H
#define TM_CODEGEN_LLVM_REGION_H

#include "codegen/llvm/emit.h"

typedef struct tm_region tm_region;

/* Loads body input `input` at the current point: a vector of `lanes` elements (bool: of i1). */
typedef LLVMValueRef (*tm_region_load)(tm_region *r, int input);

struct tm_region {
    tm_emit *e;
    tm_node *node;
    tm_graph *body;
    const tm_level *level;
    int lanes;
    LLVMValueRef function, run, call;
    tm_region_load load;
    void *kind;          /* the kind's own state */
    LLVMValueRef mask;   /* <lanes x i1> of the current point, or NULL: all lanes */
    LLVMValueRef *point; /* values of the body at the current point, by value id from first_id on */
    int32_t first_id, id_count; /* of the values that the body names */
    bool fast;           /* may contract multiply and add */
};

/* One kind of loops. */
typedef struct tm_region_kind {
    const char *name;
    /* Number of independent units of work, and how many are worth a task (both i64). r->level is the lowest
     * one. */
    tm_code (*count)(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain);
    /* Loops over units begin..end. */
    tm_code (*body)(tm_region *r, LLVMValueRef begin, LLVMValueRef end);
} tm_region_kind;

extern const tm_region_kind tm_region_kind_map;
extern const tm_region_kind tm_region_kind_row;
extern const tm_region_kind tm_region_kind_contract;
extern const tm_region_kind tm_region_kind_bits;
extern const tm_region_kind tm_region_kind_attention;
extern const tm_region_kind tm_region_kind_scan;
extern const tm_region_kind tm_region_kind_convolution;
extern const tm_region_kind tm_region_kind_window;
extern const tm_region_kind tm_region_kind_bottleneck;
extern const tm_region_kind tm_region_kind_pack;
extern const tm_region_kind tm_region_kind_tiles;
extern const tm_region_kind tm_region_kind_turn;
extern const tm_region_kind tm_region_kind_sparse;
extern const tm_region_kind tm_region_kind_attention_tiles;
extern const tm_region_kind tm_region_kind_attention_bytes;

/* Starts another function of the region's level, whose first parameter is that of its body: run and call. */
LLVMValueRef tm_region_function(tm_region *r, const char *name, LLVMTypeRef type);

/* Emits the functions of all regions of the model; node->region becomes the dispatcher's name. */
TM_MUST_USE tm_code tm_emit_regions(tm_emit *e);
/* After all functions: links the vector math that was called, from the level's bitcode. */
TM_MUST_USE tm_code tm_link_math(tm_emit *e);

/* ---- loops ---- */
typedef struct tm_loop {
    LLVMBasicBlockRef head, exit;
    LLVMValueRef index, step;
} tm_loop;
tm_loop tm_loop_begin(tm_region *r, LLVMValueRef from, LLVMValueRef to, int64_t step); /* body follows */
void tm_loop_end(tm_region *r, tm_loop *loop);
/* if (condition) { ... } */
LLVMBasicBlockRef tm_if_begin(tm_region *r, LLVMValueRef condition);
void tm_if_end(tm_region *r, LLVMBasicBlockRef after);
/* Elements worth a task of their own: waking a thread costs as much as some ten thousand. */
#define TM_TASK_ELEMENTS 65536
/* How many units of `elements` elements are worth a task. */
LLVMValueRef tm_region_grain(tm_region *r, LLVMValueRef elements);
/* A slot on the stack, in the entry block. */
LLVMValueRef tm_region_alloca(tm_region *r, LLVMTypeRef type, int64_t count, unsigned alignment);

/* ---- integers ---- */
LLVMValueRef tm_int(tm_region *r, int64_t value); /* i64 */
LLVMValueRef tm_add(tm_region *r, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef tm_sub(tm_region *r, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef tm_mul(tm_region *r, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef tm_min(tm_region *r, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef tm_max(tm_region *r, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef tm_ceildiv(tm_region *r, LLVMValueRef a, int64_t b);
LLVMValueRef tm_less(tm_region *r, LLVMValueRef a, LLVMValueRef b);
/* *index becomes the quotient; returns the rest. */
LLVMValueRef tm_divide(tm_region *r, LLVMValueRef *index, LLVMValueRef by);
/* Address of an f32; may be outside of the data as long as it is not read. */
LLVMValueRef tm_element(tm_region *r, LLVMValueRef data, LLVMValueRef index);

/* The number when it is known at compile time, else -1. */
int64_t tm_known(LLVMValueRef value);

/* The same number or pointer, of which LLVM does not see what it is made of. Addresses of a tile that start
 * from one are cheap to compile: else all loops around have a part in each of them, and strength reduction
 * weighs all ways to compute them. */
LLVMValueRef tm_opaque(tm_region *r, LLVMValueRef value);

/* ---- the region's operands: input i, or output i counted after the inputs ---- */
/* The input that a value of the body is; -1: it is none. */
int tm_region_input_number(const tm_graph *body, const tm_value *value);
/* Has the value one element? Generators read such inputs once, in front of their loops: LLVM does not know
 * that what the loops store lies elsewhere. */
bool tm_region_is_number(const tm_value *value);
LLVMValueRef tm_operand_data(tm_region *r, int operand);          /* pointer */
LLVMValueRef tm_operand_dim(tm_region *r, int operand, int axis); /* i64: constant or read from the frame */
LLVMValueRef tm_operand_dim_loaded(tm_region *r, int operand,
                                   int axis); /* read from the frame, also if constant */
/* Product of dims from..to. */
LLVMValueRef tm_operand_product(tm_region *r, int operand, int from, int to);

/* ---- vectors ---- */
LLVMTypeRef tm_vector_type(tm_region *r, tamis_type type);  /* <lanes x T>; bool: <lanes x i1> */
LLVMTypeRef tm_element_type(tm_region *r, tamis_type type); /* in memory: bool is i8 */
LLVMValueRef tm_splat(tm_region *r, LLVMValueRef scalar);
LLVMValueRef tm_splat_f32(tm_region *r, double value);
/* Mask of the lanes below `count` (i64); NULL when count >= lanes is known at compile time. */
LLVMValueRef tm_tail_mask(tm_region *r, LLVMValueRef count);
/* Contiguous load or store of `lanes` elements at data[index], under r->mask. */
LLVMValueRef tm_load_vector(tm_region *r, tamis_type type, LLVMValueRef data, LLVMValueRef index);
void tm_store_vector(tm_region *r, tamis_type type, LLVMValueRef value, LLVMValueRef data,
                     LLVMValueRef index);
/* Where the element stands in a tiled value of that type and many columns (ir/tiles.h), in elements; `lanes`
 * columns from a multiple of lanes on are neighbours. */
LLVMValueRef tm_tiled_index(tm_region *r, tamis_type type, LLVMValueRef row, LLVMValueRef column,
                            LLVMValueRef columns);
/* One element, in all lanes. */
LLVMValueRef tm_load_splat(tm_region *r, tamis_type type, LLVMValueRef data, LLVMValueRef index);
/* Brings the line of the f32 at data[index] near the processor, some time before it is read. */
void tm_prefetch(tm_region *r, LLVMValueRef data, LLVMValueRef index);
/* f32 to bf16 (i16), to nearest even, and back. */
LLVMValueRef tm_to_bf16(tm_region *r, LLVMValueRef x);
LLVMValueRef tm_from_bf16(tm_region *r, LLVMValueRef x);
/* A vector on the stack, which LLVM keeps in a register, with this value; the vector that is there now. */
LLVMValueRef tm_slot(tm_region *r, LLVMValueRef value);
LLVMValueRef tm_held(tm_region *r, LLVMValueRef slot);
LLVMValueRef tm_fma(tm_region *r, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
LLVMValueRef tm_intrinsic(tm_region *r, const char *name, LLVMTypeRef type, LLVMValueRef *arguments,
                          unsigned count);
/* An intrinsic that is not overloaded. */
LLVMValueRef tm_plain_intrinsic(tm_region *r, const char *name, LLVMValueRef *arguments, unsigned count);
/* tm_<name>_f32x<lanes>: "exp", "weight" (exp of what is not above 0, with softer bounds), "tanh", "erf",
 * "gelu", "log", "sigmoid", "sin", "cos", and "exp_coarse", "tanh_coarse", "gelu_coarse", "gelu_tanh_coarse",
 * "sigmoid_coarse". */
LLVMValueRef tm_math(tm_region *r, const char *name, LLVMValueRef x);
/* Sum or maximum over lanes, in a fixed order; a scalar f32. The maximum may pass a NaN over. */
LLVMValueRef tm_reduce_add(tm_region *r, LLVMValueRef vector);
LLVMValueRef tm_reduce_max(tm_region *r, LLVMValueRef vector);
/* The same where a NaN is the largest. */
LLVMValueRef tm_reduce_largest(tm_region *r, LLVMValueRef vector);
LLVMValueRef tm_larger_or_nan(tm_region *r, LLVMValueRef x, LLVMValueRef y);

/* ---- values ---- */
/* A table for tm_region.point. */
LLVMValueRef *tm_region_point_table(const tm_region *r);
/* Forgets the values of the last point. */
void tm_region_new_point(tm_region *r);
/* The body's value at the current point. */
LLVMValueRef tm_region_value(tm_region *r, const tm_value *value);
/* Of a value of bytes: words, of which the low byte is the value and the others are of no meaning. */
LLVMValueRef tm_region_low_bytes(tm_region *r, const tm_value *value);
/* Does a function of the body, a node of it, need the precision of a byte only? */
bool tm_region_is_coarse(const tm_node *region, const tm_node *node);
/* ---- ranges: outputs ReduceMin and ReduceMax of all elements of a value ---- */
typedef struct tm_ranges {
    LLVMValueRef slots; /* vectors, by output; NULL: the region has no such output */
} tm_ranges;
bool tm_region_is_range(const tm_region *r, int output);
/* In the entry. */
void tm_ranges_clear(tm_region *r);
/* At the start and the end of a task, in the body's function. */
tm_ranges tm_ranges_begin(tm_region *r);
void tm_ranges_end(tm_region *r, const tm_ranges *ranges);
/* A function that the body calls has slots of its own, which stay in registers. */
void tm_ranges_copy(tm_region *r, const tm_ranges *from, const tm_ranges *to);
/* Takes in the value that the output is of, at the current point. */
void tm_ranges_add(tm_region *r, const tm_ranges *ranges, int output);

/* Gives a value of the body (a reduction's result, an accumulator) at the current point. */
void tm_region_set(tm_region *r, const tm_value *value, LLVMValueRef vector);

#endif
