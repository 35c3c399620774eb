/* SPDX-License-Identifier: Apache-2.0
 *
 * region_vector.c: vectors of `lanes` elements: loads and stores under a mask, reductions, math.
 *
 * exp, tanh and the like are runtime/math/vector_math.c, the same polynomials as in the C kernels, linked as
 * bitcode of the level and inlined.
 */
#include "codegen/llvm/region.h"

#include "ir/tiles.h"

#include <llvm-c/BitReader.h>
#include <llvm-c/Linker.h>
#include <stdlib.h>
#include <string.h>

LLVMTypeRef tm_element_type(tm_region *r, tamis_type type) {
    tm_emit *e = r->e;
    switch (tm_type_bits(type)) {
    case 64:
        return type == TAMIS_TYPE_DOUBLE ? LLVMDoubleTypeInContext(e->context) : e->i64;
    case 32:
        return type == TAMIS_TYPE_FLOAT ? e->f32 : e->i32;
    case 16:
        return e->i16;
    default:
        return e->i8;
    }
}

LLVMTypeRef tm_vector_type(tm_region *r, tamis_type type) {
    return LLVMVectorType(type == TAMIS_TYPE_BOOL ? r->e->i1 : tm_element_type(r, type), (unsigned)r->lanes);
}

LLVMValueRef tm_splat(tm_region *r, LLVMValueRef scalar) {
    LLVMTypeRef type = LLVMVectorType(LLVMTypeOf(scalar), (unsigned)r->lanes);
    LLVMValueRef one =
        LLVMBuildInsertElement(r->e->builder, LLVMGetPoison(type), scalar, tm_emit_i32(r->e, 0), "");
    LLVMTypeRef mask = LLVMVectorType(r->e->i32, (unsigned)r->lanes);
    return LLVMBuildShuffleVector(r->e->builder, one, LLVMGetPoison(type), LLVMConstNull(mask), "");
}

LLVMValueRef tm_splat_f32(tm_region *r, double value) {
    return tm_splat(r, LLVMConstReal(r->e->f32, value));
}

LLVMValueRef tm_intrinsic(tm_region *r, const char *name, LLVMTypeRef type, LLVMValueRef *arguments,
                          unsigned count) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(r->e->module, id, &type, 1);
    return LLVMBuildCall2(r->e->builder, LLVMIntrinsicGetType(r->e->context, id, &type, 1), function,
                          arguments, count, "");
}

LLVMValueRef tm_plain_intrinsic(tm_region *r, const char *name, LLVMValueRef *arguments, unsigned count) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(r->e->module, id, NULL, 0);
    return LLVMBuildCall2(r->e->builder, LLVMIntrinsicGetType(r->e->context, id, NULL, 0), function,
                          arguments, count, "");
}

LLVMValueRef tm_tail_mask(tm_region *r, LLVMValueRef count) {
    if (LLVMIsConstant(count) && LLVMConstIntGetSExtValue(count) >= r->lanes)
        return NULL;
    LLVMValueRef lane[64];
    for (int i = 0; i < r->lanes; i++)
        lane[i] = tm_emit_i32(r->e, i);
    LLVMValueRef most = tm_min(r, count, tm_int(r, r->lanes));
    LLVMValueRef limit = tm_splat(r, LLVMBuildTrunc(r->e->builder, most, r->e->i32, ""));
    return LLVMBuildICmp(r->e->builder, LLVMIntSLT, LLVMConstVector(lane, (unsigned)r->lanes), limit, "");
}

static LLVMValueRef address(tm_region *r, tamis_type type, LLVMValueRef data, LLVMValueRef index) {
    return LLVMBuildInBoundsGEP2(r->e->builder, tm_element_type(r, type), data, &index, 1, "");
}

/* llvm.masked.load and its kin are overloaded on the vector and the pointer, or vector of pointers. */
static LLVMValueRef masked(tm_region *r, const char *name, LLVMTypeRef vector, LLVMTypeRef pointer,
                           LLVMValueRef *arguments) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMTypeRef types[2] = {vector, pointer};
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(r->e->module, id, types, 2);
    return LLVMBuildCall2(r->e->builder, LLVMIntrinsicGetType(r->e->context, id, types, 2), function,
                          arguments, 4, "");
}

static unsigned element_bytes(tamis_type type) {
    return (unsigned)(tm_type_bits(type) / 8);
}

LLVMValueRef tm_load_vector(tm_region *r, tamis_type type, LLVMValueRef data, LLVMValueRef index) {
    LLVMTypeRef vector = LLVMVectorType(tm_element_type(r, type), (unsigned)r->lanes);
    LLVMValueRef at = address(r, type, data, index), value;
    if (r->mask == NULL) {
        value = LLVMBuildLoad2(r->e->builder, vector, at, "");
        LLVMSetAlignment(value, element_bytes(type));
    } else {
        LLVMValueRef arguments[4] = {at, tm_emit_i32(r->e, element_bytes(type)), r->mask,
                                     LLVMConstNull(vector)};
        value = masked(r, "llvm.masked.load", vector, r->e->ptr, arguments);
    }
    return type == TAMIS_TYPE_BOOL ? LLVMBuildICmp(r->e->builder, LLVMIntNE, value, LLVMConstNull(vector), "")
                                   : value;
}

void tm_store_vector(tm_region *r, tamis_type type, LLVMValueRef value, LLVMValueRef data,
                     LLVMValueRef index) {
    LLVMTypeRef vector = LLVMVectorType(tm_element_type(r, type), (unsigned)r->lanes);
    LLVMValueRef at = address(r, type, data, index);
    if (type == TAMIS_TYPE_BOOL)
        value = LLVMBuildZExt(r->e->builder, value, vector, "");
    if (r->mask == NULL) {
        LLVMSetAlignment(LLVMBuildStore(r->e->builder, value, at), element_bytes(type));
        return;
    }
    LLVMValueRef arguments[4] = {value, at, tm_emit_i32(r->e, element_bytes(type)), r->mask};
    masked(r, "llvm.masked.store", vector, r->e->ptr, arguments);
}

LLVMValueRef tm_tiled_index(tm_region *r, tamis_type type, LLVMValueRef row, LLVMValueRef column,
                            LLVMValueRef columns) {
    LLVMBuilderRef b = r->e->builder;
    int64_t depth = tm_tile_depth(type);
    columns = tm_mul(r, tm_ceildiv(r, columns, depth), tm_int(r, depth));
    LLVMValueRef band = LLVMBuildAnd(b, row, tm_int(r, -TM_TILE_ROWS), "");
    LLVMValueRef line = LLVMBuildAnd(b, row, tm_int(r, TM_TILE_ROWS - 1), "");
    LLVMValueRef step = LLVMBuildAnd(b, column, tm_int(r, -depth), "");
    LLVMValueRef within = LLVMBuildAnd(b, column, tm_int(r, depth - 1), "");
    LLVMValueRef tile = tm_add(r, tm_mul(r, band, columns), tm_mul(r, step, tm_int(r, TM_TILE_ROWS)));
    return tm_add(r, tile, tm_add(r, tm_mul(r, line, tm_int(r, depth)), within));
}

LLVMValueRef tm_load_splat(tm_region *r, tamis_type type, LLVMValueRef data, LLVMValueRef index) {
    LLVMValueRef scalar =
        LLVMBuildLoad2(r->e->builder, tm_element_type(r, type), address(r, type, data, index), "");
    if (type == TAMIS_TYPE_BOOL)
        scalar = LLVMBuildICmp(r->e->builder, LLVMIntNE, scalar, LLVMConstNull(r->e->i8), "");
    return tm_splat(r, scalar);
}

/* Into the second cache: the first one is full of what is in use. */
void tm_prefetch(tm_region *r, LLVMValueRef data, LLVMValueRef index) {
    LLVMValueRef arguments[4] = {address(r, TAMIS_TYPE_FLOAT, data, index), tm_emit_i32(r->e, 0),
                                 tm_emit_i32(r->e, 2), tm_emit_i32(r->e, 1)};
    (void)tm_intrinsic(r, "llvm.prefetch", r->e->ptr, arguments, 4);
}

LLVMValueRef tm_slot(tm_region *r, LLVMValueRef value) {
    LLVMValueRef slot = tm_region_alloca(r, LLVMTypeOf(value), 1, 64);
    LLVMBuildStore(r->e->builder, value, slot);
    return slot;
}

LLVMValueRef tm_held(tm_region *r, LLVMValueRef slot) {
    return LLVMBuildLoad2(r->e->builder, tm_vector_type(r, TAMIS_TYPE_FLOAT), slot, "");
}

LLVMValueRef tm_fma(tm_region *r, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
    return tm_intrinsic(r, "llvm.fma", LLVMTypeOf(c), (LLVMValueRef[]){a, b, c}, 3);
}

LLVMValueRef tm_from_bf16(tm_region *r, LLVMValueRef x) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef bits = LLVMVectorType(r->e->i32, (unsigned)r->lanes);
    LLVMValueRef high =
        LLVMBuildShl(b, LLVMBuildZExt(b, x, bits, ""), tm_splat(r, tm_emit_i32(r->e, 16)), "");
    return LLVMBuildBitCast(b, high, tm_vector_type(r, TAMIS_TYPE_FLOAT), "");
}

/* By hand where no instruction does it: LLVM would call a function for each element. */
LLVMValueRef tm_to_bf16(tm_region *r, LLVMValueRef x) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef halves = tm_vector_type(r, TAMIS_TYPE_BFLOAT16);
    if ((r->level->units & TM_UNIT_DOT) != 0 && r->lanes == 16)
        return LLVMBuildBitCast(b, tm_plain_intrinsic(r, "llvm.x86.avx512bf16.cvtneps2bf16.512", &x, 1),
                                halves, "");
    LLVMTypeRef words = LLVMVectorType(r->e->i32, (unsigned)r->lanes);
    LLVMValueRef sixteen = tm_splat(r, tm_emit_i32(r->e, 16)), bits = LLVMBuildBitCast(b, x, words, "");
    LLVMValueRef high = LLVMBuildLShr(b, bits, sixteen, "");
    LLVMValueRef odd = LLVMBuildAnd(b, high, tm_splat(r, tm_emit_i32(r->e, 1)), "");
    LLVMValueRef up = LLVMBuildAdd(b, odd, tm_splat(r, tm_emit_i32(r->e, 0x7fff)), "");
    LLVMValueRef rounded = LLVMBuildLShr(b, LLVMBuildAdd(b, bits, up, ""), sixteen, "");
    LLVMValueRef quiet = LLVMBuildOr(b, high, tm_splat(r, tm_emit_i32(r->e, 0x40)), "");
    LLVMValueRef is_nan = LLVMBuildFCmp(b, LLVMRealUNO, x, x, "");
    return LLVMBuildTrunc(b, LLVMBuildSelect(b, is_nan, quiet, rounded, ""), halves, "");
}

static LLVMValueRef function_of(tm_region *r, const char *symbol, LLVMTypeRef type) {
    LLVMValueRef function = LLVMGetNamedFunction(r->e->module, symbol);
    return function != NULL ? function : LLVMAddFunction(r->e->module, symbol, type);
}

static LLVMValueRef call_math(tm_region *r, const char *symbol, LLVMValueRef x) {
    tm_emit *e = r->e;
    LLVMTypeRef operand = LLVMTypeOf(x), type = LLVMFunctionType(operand, &operand, 1, 0);
    if (r->level->vector_bits <= e->options->target.target->argument_bits)
        return LLVMBuildCall2(e->builder, type, function_of(r, symbol, type), &x, 1, "");
    type = LLVMFunctionType(e->void_type, (LLVMTypeRef[]){e->ptr, e->ptr}, 2, 0);
    unsigned alignment = (unsigned)r->level->vector_bits / 8;
    LLVMValueRef y = tm_region_alloca(r, operand, 1, alignment);
    LLVMValueRef argument = tm_region_alloca(r, operand, 1, alignment);
    LLVMBuildStore(e->builder, x, argument);
    LLVMBuildCall2(e->builder, type, function_of(r, symbol, type), (LLVMValueRef[]){y, argument}, 2, "");
    return LLVMBuildLoad2(e->builder, operand, y, "");
}

LLVMValueRef tm_math(tm_region *r, const char *name, LLVMValueRef x) {
    if (r->level->vector_bits > 0)
        return call_math(r, tm_arena_format(r->e->arena, "tm_%s_f32x%d", name, r->lanes), x);
    LLVMValueRef result = LLVMGetPoison(LLVMTypeOf(x));
    for (int i = 0; i < r->lanes; i++) {
        LLVMValueRef lane = tm_emit_i32(r->e, i);
        LLVMValueRef y = LLVMBuildExtractElement(r->e->builder, x, lane, "");
        y = call_math(r, tm_arena_format(r->e->arena, "tm_%s_f32x1", name), y);
        result = LLVMBuildInsertElement(r->e->builder, result, y, lane, "");
    }
    return result;
}

LLVMValueRef tm_larger_or_nan(tm_region *r, LLVMValueRef x, LLVMValueRef y) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef wins = LLVMBuildOr(b, LLVMBuildFCmp(b, LLVMRealOGT, x, y, ""),
                                    LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), "");
    return LLVMBuildSelect(b, wins, x, y, "");
}

static LLVMValueRef sum(tm_region *r, LLVMValueRef x, LLVMValueRef y) {
    return LLVMBuildFAdd(r->e->builder, x, y, "");
}

static LLVMValueRef larger(tm_region *r, LLVMValueRef x, LLVMValueRef y) {
    return LLVMBuildSelect(r->e->builder, LLVMBuildFCmp(r->e->builder, LLVMRealOGT, x, y, ""), x, y, "");
}

/* Halves are combined until one lane is left: the same tree on every target of the same width. */
static LLVMValueRef reduce(tm_region *r, LLVMValueRef vector,
                           LLVMValueRef (*combine)(tm_region *, LLVMValueRef, LLVMValueRef)) {
    LLVMBuilderRef b = r->e->builder;
    for (int width = r->lanes / 2; width >= 1; width /= 2) {
        LLVMValueRef low[64], high[64];
        for (int i = 0; i < width; i++) {
            low[i] = tm_emit_i32(r->e, i);
            high[i] = tm_emit_i32(r->e, width + i);
        }
        LLVMValueRef undefined = LLVMGetPoison(LLVMTypeOf(vector));
        LLVMValueRef x =
            LLVMBuildShuffleVector(b, vector, undefined, LLVMConstVector(low, (unsigned)width), "");
        LLVMValueRef y =
            LLVMBuildShuffleVector(b, vector, undefined, LLVMConstVector(high, (unsigned)width), "");
        vector = combine(r, x, y);
    }
    return LLVMBuildExtractElement(b, vector, tm_emit_i32(r->e, 0), "");
}

LLVMValueRef tm_reduce_add(tm_region *r, LLVMValueRef vector) {
    return reduce(r, vector, sum);
}

LLVMValueRef tm_reduce_max(tm_region *r, LLVMValueRef vector) {
    return reduce(r, vector, larger);
}

LLVMValueRef tm_reduce_largest(tm_region *r, LLVMValueRef vector) {
    return reduce(r, vector, tm_larger_or_nan);
}

/* ---- bitcode of the vector math ---- */

static bool wanted(const char *name, int lanes) {
    const char *x = strrchr(name, 'x');
    return strncmp(name, "tm_", 3) == 0 && x != NULL && atoi(x + 1) == lanes;
}

/* Takes from the level's module what the regions called, and what that calls: no other body is even read. */
static tm_code link_level(tm_emit *e, const tm_level *level, int lanes) {
    bool any = false;
    for (LLVMValueRef f = LLVMGetFirstFunction(e->module); f != NULL && !any; f = LLVMGetNextFunction(f)) {
        size_t length;
        any = LLVMIsDeclaration(f) && wanted(LLVMGetValueName2(f, &length), lanes);
    }
    if (!any)
        return TM_OK;
    const char *path = tm_arena_format(e->arena, "%s/%s/%s/vector_math.bc", e->options->data_folder,
                                       e->options->target.target->triple, level->folder);
    LLVMMemoryBufferRef buffer;
    char *message = NULL;
    LLVMModuleRef math;
    if (LLVMCreateMemoryBufferWithContentsOfFile(path, &buffer, &message)) {
        tm_code code = tm_report(e->diagnostics, TM_E_UNSUPPORTED_TARGET, NULL,
                                 "this tamis was built without the target's kernels", "cannot read %s: %s",
                                 path, message);
        LLVMDisposeMessage(message);
        return code;
    }
    if (LLVMGetBitcodeModuleInContext2(e->context, buffer, &math)) { /* takes the buffer, unless it fails */
        LLVMDisposeMemoryBuffer(buffer);
        return tm_report(e->diagnostics, TM_E_LLVM, NULL, NULL, "%s is not bitcode of this LLVM", path);
    }
    TM_VECTOR(const char *) taken = {0};
    for (LLVMValueRef f = LLVMGetFirstFunction(math); f != NULL; f = LLVMGetNextFunction(f)) {
        size_t length;
        const char *name = LLVMGetValueName2(f, &length);
        LLVMValueRef here = LLVMGetNamedFunction(e->module, name);
        if (LLVMIsDeclaration(f))
            continue;
        if (here != NULL && LLVMIsDeclaration(here) && wanted(name, lanes))
            tm_push(e->arena, &taken, tm_arena_string(e->arena, name));
        else
            LLVMSetLinkage(f, LLVMInternalLinkage); /* the linker takes those that are called */
    }
    if (LLVMLinkModules2(e->module, math))
        return tm_report(e->diagnostics, TM_E_LLVM, NULL, NULL, "linking %s failed", path);
    unsigned always = LLVMGetEnumAttributeKindForName("alwaysinline", 12);
    for (size_t i = 0; i < taken.count; i++) {
        LLVMValueRef f = LLVMGetNamedFunction(e->module, taken.items[i]);
        LLVMSetLinkage(f, LLVMInternalLinkage);
        LLVMSetVisibility(f, LLVMDefaultVisibility);
        LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex,
                                LLVMCreateEnumAttribute(e->context, always, 0));
        LLVMAddTargetDependentFunctionAttr(f, "target-cpu", level->cpu);
        LLVMAddTargetDependentFunctionAttr(f, "target-features", level->features);
    }
    return TM_OK;
}

tm_code tm_link_math(tm_emit *e) {
    for (int i = 0; i < e->options->target.level_count; i++) {
        const tm_level *level = &e->options->target.levels[i];
        TM_TRY(link_level(e, level, level->vector_bits > 0 ? level->vector_bits / 32 : 1));
    }
    return TM_OK;
}
