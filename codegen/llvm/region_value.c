/* SPDX-License-Identifier: Apache-2.0
 *
 * region_value.c: elementwise ops on vectors: the value of a body node at the current point.
 *
 * tm_region_value() walks from a value to the body's inputs, each node once per point. A table maps ops to
 * emitters; the passes form regions of these ops only. NaN and infinities come out as in the C kernels, and
 * so does -0, but for maximum and minimum with a number unless math is strict.
 */
#include "codegen/llvm/region.h"

#include "ir/tiles.h"

#include <math.h>
#include <string.h>

typedef LLVMValueRef (*emitter)(tm_region *r, const tm_node *node, LLVMValueRef *x);

LLVMValueRef *tm_region_point_table(const tm_region *r) {
    return TM_NEW_ARRAY(r->e->arena, LLVMValueRef, r->id_count + 1);
}

void tm_region_new_point(tm_region *r) {
    memset(r->point, 0, (size_t)r->id_count * sizeof(*r->point));
}

void tm_region_set(tm_region *r, const tm_value *value, LLVMValueRef vector) {
    r->point[value->id - r->first_id] = vector;
}

#define B (r->e->builder)

static bool is_float(LLVMValueRef x) {
    LLVMTypeKind kind = LLVMGetTypeKind(LLVMGetElementType(LLVMTypeOf(x)));
    return kind == LLVMFloatTypeKind || kind == LLVMDoubleTypeKind;
}

static LLVMValueRef contract(tm_region *r, LLVMValueRef instruction) {
    if (r->fast && LLVMIsAInstruction(instruction) && LLVMCanValueUseFastMathFlags(instruction))
        LLVMSetFastMathFlags(instruction, LLVMFastMathAllowContract);
    return instruction;
}

static LLVMValueRef add2(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return is_float(a) ? contract(r, LLVMBuildFAdd(B, a, b, "")) : LLVMBuildAdd(B, a, b, "");
}
static LLVMValueRef sub2(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return is_float(a) ? contract(r, LLVMBuildFSub(B, a, b, "")) : LLVMBuildSub(B, a, b, "");
}
static LLVMValueRef mul2(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return is_float(a) ? contract(r, LLVMBuildFMul(B, a, b, "")) : LLVMBuildMul(B, a, b, "");
}
/* A number in all lanes that is known when the code is made, other than NaN. */
static bool is_number(LLVMValueRef x) {
    LLVMBool loses;
    LLVMValueRef one = LLVMIsConstant(x) ? LLVMGetAggregateElement(x, 0) : NULL;
    if (one == NULL || LLVMIsAConstantFP(one) == NULL)
        return false;
    double value = LLVMConstRealGetDouble(one, &loses);
    return value == value;
}

/* Maximum and minimum hand NaN on: (a > b or a is NaN) ? a : b. With a number it is one instruction of x86-64
 * when the sign of a zero may come from either operand: (b > a) ? b : a. */
static LLVMValueRef pick(tm_region *r, LLVMValueRef a, LLVMValueRef b, bool max) {
    if (r->fast && is_float(a) && is_number(b))
        return LLVMBuildSelect(B, LLVMBuildFCmp(B, max ? LLVMRealOGT : LLVMRealOLT, b, a, ""), b, a, "");
    if (!is_float(a)) {
        LLVMValueRef c = LLVMBuildICmp(B, max ? LLVMIntSGT : LLVMIntSLT, a, b, "");
        return LLVMBuildSelect(B, c, a, b, "");
    }
    LLVMValueRef better = LLVMBuildFCmp(B, max ? LLVMRealOGT : LLVMRealOLT, a, b, "");
    LLVMValueRef nan = LLVMBuildFCmp(B, LLVMRealUNO, a, a, "");
    return LLVMBuildSelect(B, LLVMBuildOr(B, better, nan, ""), a, b, "");
}

static LLVMValueRef constant(tm_region *r, LLVMValueRef like, double value) {
    LLVMTypeRef type = LLVMGetElementType(LLVMTypeOf(like));
    return tm_splat(r, is_float(like) ? LLVMConstReal(type, value)
                                      : LLVMConstInt(type, (unsigned long long)(int64_t)value, 1));
}

/* Is operand i a product that only this node reads? */
static bool is_own_product(const tm_region *r, const tm_node *n, const LLVMValueRef *x, int i) {
    const tm_node *mul = n->inputs[i]->producer;
    return r->fast && is_float(x[i]) && mul != NULL && mul->op == TM_OP_Mul &&
           tm_value_single_user(n->inputs[i]) == n && LLVMIsAInstruction(x[i]) != NULL &&
           LLVMGetInstructionOpcode(x[i]) == LLVMFMul;
}

/* A product and its sum are rounded once. Left to the optimizer, that happened in the vectors of a body and
 * not in those of its edge, of which it takes single lanes: then bits would depend on the level. */
static LLVMValueRef sum(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    for (int i = 0; i < 2; i++)
        if (is_own_product(r, n, x, i))
            return tm_fma(r, LLVMGetOperand(x[i], 0), LLVMGetOperand(x[i], 1), x[1 - i]);
    return add2(r, x[0], x[1]);
}

static LLVMValueRef difference(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    if (is_own_product(r, n, x, 0))
        return tm_fma(r, LLVMGetOperand(x[0], 0), LLVMGetOperand(x[0], 1), LLVMBuildFNeg(B, x[1], ""));
    if (is_own_product(r, n, x, 1))
        return tm_fma(r, LLVMBuildFNeg(B, LLVMGetOperand(x[1], 0), ""), LLVMGetOperand(x[1], 1), x[0]);
    return sub2(r, x[0], x[1]);
}

/* The emitter of an op that is one expression of its operands x. */
#define EMITTER(name, result)                                                   \
    static LLVMValueRef name(tm_region *r, const tm_node *n, LLVMValueRef *x) { \
        (void)r;                                                                \
        (void)n;                                                                \
        return result;                                                          \
    }

EMITTER(e_sub, difference(r, n, x))
EMITTER(e_mul, mul2(r, x[0], x[1]))
EMITTER(e_div, LLVMBuildFDiv(B, x[0], x[1], ""))

static LLVMValueRef fold(tm_region *r, const tm_node *n, LLVMValueRef *x, bool max) {
    LLVMValueRef value = x[0];
    for (int i = 1; i < n->input_count; i++)
        value = pick(r, value, x[i], max);
    return value;
}
EMITTER(e_max, fold(r, n, x, true))
EMITTER(e_min, fold(r, n, x, false))

EMITTER(e_neg, is_float(x[0]) ? LLVMBuildFNeg(B, x[0], "") : LLVMBuildNeg(B, x[0], ""))
static LLVMValueRef unary(tm_region *r, const char *name, LLVMValueRef x) {
    return tm_intrinsic(r, name, LLVMTypeOf(x), &x, 1);
}
EMITTER(e_abs, is_float(x[0]) ? unary(r, "llvm.fabs", x[0]) : pick(r, x[0], LLVMBuildNeg(B, x[0], ""), true))

/* The function, or its coarse form where that is enough. */
static LLVMValueRef function(tm_region *r, const tm_node *n, const char *name, LLVMValueRef x) {
    bool coarse = r->fast && tm_region_is_coarse(r->node, n);
    return tm_math(r, coarse ? tm_arena_format(r->e->arena, "%s_coarse", name) : name, x);
}

EMITTER(e_sqrt, unary(r, "llvm.sqrt", x[0]))
EMITTER(e_floor, unary(r, "llvm.floor", x[0]))
EMITTER(e_ceil, unary(r, "llvm.ceil", x[0]))
EMITTER(e_reciprocal, LLVMBuildFDiv(B, constant(r, x[0], 1), x[0], ""))
EMITTER(e_relu, pick(r, x[0], constant(r, x[0], 0), true))
EMITTER(e_identity, x[0])
EMITTER(e_exp, function(r, n, "exp", x[0]))
EMITTER(e_log, tm_math(r, "log", x[0]))
EMITTER(e_tanh, function(r, n, "tanh", x[0]))
EMITTER(e_erf, tm_math(r, "erf", x[0]))
EMITTER(e_sin, tm_math(r, "sin", x[0]))
EMITTER(e_cos, tm_math(r, "cos", x[0]))
EMITTER(e_sigmoid, function(r, n, "sigmoid", x[0]))

static LLVMValueRef e_leaky_relu(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    LLVMValueRef negative = LLVMBuildFCmp(B, LLVMRealOLT, x[0], constant(r, x[0], 0), "");
    return LLVMBuildSelect(B, negative, mul2(r, x[0], constant(r, x[0], tm_node_float(n, "alpha"))), x[0],
                           "");
}

static LLVMValueRef e_swish(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    double alpha = tm_node_float(n, "alpha");
    LLVMValueRef scaled = alpha == 1 ? x[0] : mul2(r, x[0], constant(r, x[0], alpha));
    return mul2(r, x[0], function(r, n, "sigmoid", scaled));
}

static LLVMValueRef e_hard_sigmoid(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    LLVMValueRef y = add2(r, mul2(r, x[0], constant(r, x[0], tm_node_float(n, "alpha"))),
                          constant(r, x[0], tm_node_float(n, "beta")));
    return pick(r, pick(r, y, constant(r, y, 0), true), constant(r, y, 1), false);
}

/* x max(0, min(1, x / 6 + 1/2)) */
static LLVMValueRef e_hard_swish(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    (void)n;
    LLVMValueRef y = add2(r, mul2(r, x[0], constant(r, x[0], (double)(1 / 6.0f))), constant(r, x[0], 0.5));
    return mul2(r, x[0], pick(r, pick(r, y, constant(r, y, 0), true), constant(r, y, 1), false));
}

static LLVMValueRef e_prelu(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    (void)n;
    LLVMValueRef negative = LLVMBuildFCmp(B, LLVMRealOLT, x[0], constant(r, x[0], 0), "");
    return LLVMBuildSelect(B, negative, mul2(r, x[0], x[1]), x[0], "");
}

static LLVMValueRef e_gelu(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    if (strcmp(tm_node_string(n, "approximate"), "tanh") != 0)
        return function(r, n, "gelu", x[0]);
    if (r->fast && tm_region_is_coarse(r->node, n))
        return tm_math(r, "gelu_tanh_coarse", x[0]);
    LLVMValueRef cube = mul2(r, mul2(r, x[0], x[0]), x[0]);
    LLVMValueRef inner = add2(r, x[0], mul2(r, cube, constant(r, x[0], 0.044715)));
    inner = tm_math(r, "tanh", mul2(r, inner, constant(r, x[0], 0.7978845608028654)));
    return mul2(r, mul2(r, x[0], constant(r, x[0], 0.5)), add2(r, inner, constant(r, x[0], 1)));
}

/* A missing bound is the lowest or the largest number. */
static LLVMValueRef e_clip(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    const double largest = 0x1.fffffep127;
    LLVMValueRef low = n->input_count > 1 && x[1] != NULL ? x[1] : constant(r, x[0], -largest);
    LLVMValueRef high = n->input_count > 2 && x[2] != NULL ? x[2] : constant(r, x[0], largest);
    return pick(r, pick(r, x[0], low, true), high, false);
}

/* Only with a constant exponent of this short list; passes/region_build.c lets no other in. */
static LLVMValueRef e_pow(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    double power = 0;
    (void)tm_constant_double(n->inputs[1]->constant, 0, &power);
    if (power == 2)
        return mul2(r, x[0], x[0]);
    if (power == 3)
        return mul2(r, mul2(r, x[0], x[0]), x[0]);
    LLVMValueRef root = unary(r, "llvm.sqrt", x[0]);
    return power == 0.5 ? root : LLVMBuildFDiv(B, constant(r, root, 1), root, "");
}

EMITTER(e_where, LLVMBuildSelect(B, x[0], x[1], x[2], ""))

static LLVMValueRef compare(tm_region *r, LLVMRealPredicate f, LLVMIntPredicate i, LLVMValueRef *x) {
    return is_float(x[0]) ? LLVMBuildFCmp(B, f, x[0], x[1], "") : LLVMBuildICmp(B, i, x[0], x[1], "");
}
EMITTER(e_equal, compare(r, LLVMRealOEQ, LLVMIntEQ, x))
EMITTER(e_less, compare(r, LLVMRealOLT, LLVMIntSLT, x))
EMITTER(e_less_equal, compare(r, LLVMRealOLE, LLVMIntSLE, x))
EMITTER(e_greater, compare(r, LLVMRealOGT, LLVMIntSGT, x))
EMITTER(e_greater_equal, compare(r, LLVMRealOGE, LLVMIntSGE, x))
EMITTER(e_not, LLVMBuildNot(B, x[0], ""))
EMITTER(e_and, LLVMBuildAnd(B, x[0], x[1], ""))
EMITTER(e_or, LLVMBuildOr(B, x[0], x[1], ""))
EMITTER(e_is_nan, LLVMBuildFCmp(B, LLVMRealUNO, x[0], x[0], ""))

static LLVMValueRef e_cast(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    tamis_type from = n->inputs[0]->type, to = n->outputs[0]->type;
    LLVMTypeRef type = tm_vector_type(r, to);
    if (from == to)
        return x[0];
    if (to == TAMIS_TYPE_BFLOAT16)
        return tm_to_bf16(r, x[0]);
    if (from == TAMIS_TYPE_BFLOAT16)
        return tm_from_bf16(r, x[0]);
    if (to == TAMIS_TYPE_BOOL)
        return is_float(x[0]) ? LLVMBuildFCmp(B, LLVMRealUNE, x[0], constant(r, x[0], 0), "")
                              : LLVMBuildICmp(B, LLVMIntNE, x[0], LLVMConstNull(LLVMTypeOf(x[0])), "");
    if (from == TAMIS_TYPE_BOOL || from == TAMIS_TYPE_UINT8)
        return tm_type_is_float(to) ? LLVMBuildUIToFP(B, x[0], type, "") : LLVMBuildZExt(B, x[0], type, "");
    if (tm_type_is_float(to))
        return LLVMBuildSIToFP(B, x[0], type, "");
    return tm_type_bits(from) < tm_type_bits(to) ? LLVMBuildSExt(B, x[0], type, "")
                                                 : LLVMBuildTrunc(B, x[0], type, "");
}

static LLVMValueRef widen(tm_region *r, tamis_type from, LLVMValueRef x) {
    LLVMTypeRef words = tm_vector_type(r, TAMIS_TYPE_INT32);
    return from == TAMIS_TYPE_UINT8  ? LLVMBuildZExt(B, x, words, "")
           : from == TAMIS_TYPE_INT8 ? LLVMBuildSExt(B, x, words, "")
                                     : x;
}

static LLVMValueRef to_float(tm_region *r, LLVMValueRef integer) {
    return LLVMBuildSIToFP(B, integer, tm_vector_type(r, TAMIS_TYPE_FLOAT), "");
}

static LLVMValueRef zero_point(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    return n->input_count > 2 && x[2] != NULL ? widen(r, n->inputs[2]->type, x[2]) : NULL;
}

/* The product that a value of float32 is, in a quantiser that divides by one: its factors. Behind products of
 * matrices multiplication and rounding are one instruction then, where math is not strict. */
static bool find_factors(tm_region *r, const tm_node *n, LLVMValueRef *out_factors) {
    const tm_node *maker = n->inputs[0]->producer;
    const tm_value *scale = n->inputs[1];
    double one = 0;
    if (!r->fast || tm_body_product(r->body) == NULL || maker == NULL || maker->op != TM_OP_Mul ||
        n->inputs[0]->type != TAMIS_TYPE_FLOAT || scale->constant == NULL ||
        tm_constant_count(scale->constant) != 1 || !tm_constant_double(scale->constant, 0, &one) || one != 1)
        return false;
    for (int i = 0; i < 2; i++)
        out_factors[i] = tm_region_value(r, maker->inputs[i]);
    return true;
}

#define SHIFT 0x1.8p23 /* what is added to it is rounded to even, and the whole number is in the low bits */

/* What a quantiser makes of x, less its zero point, rounded, plus SHIFT: the quotient, which is a division as
 * in runtime/ops/quantize.c, between the bounds of the type. NaN becomes the lowest number. Sums with SHIFT
 * keep the order of numbers, and bounds are whole numbers, so rounding may come first. `zero`: NULL or the
 * zero point. */
static LLVMValueRef shifted_up(tm_region *r, const tm_node *n, LLVMValueRef *x, LLVMValueRef zero) {
    bool is_signed = n->outputs[0]->type == TAMIS_TYPE_INT8;
    LLVMValueRef low = constant(r, x[0], SHIFT + (is_signed ? -128 : 0));
    LLVMValueRef high = constant(r, x[0], SHIFT + (is_signed ? 127 : 255));
    if (zero != NULL) {
        LLVMValueRef shift = to_float(r, zero);
        low = LLVMBuildFSub(B, low, shift, "");
        high = LLVMBuildFSub(B, high, shift, "");
    }
    LLVMValueRef factors[2], up = constant(r, x[0], SHIFT);
    LLVMValueRef y = find_factors(r, n, factors) ? tm_fma(r, factors[0], factors[1], up)
                                                 : LLVMBuildFAdd(B, LLVMBuildFDiv(B, x[0], x[1], ""), up, "");
    y = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOGT, y, low, ""), y, low, "");
    return LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOLT, y, high, ""), y, high, "");
}

/* The low byte of each word is that of the answer. */
static LLVMValueRef quantized_words(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    LLVMTypeRef words = tm_vector_type(r, TAMIS_TYPE_INT32);
    LLVMValueRef zero = zero_point(r, n, x), y = shifted_up(r, n, x, zero);
    y = LLVMBuildBitCast(B, y, words, "");
    return zero != NULL ? LLVMBuildAdd(B, y, zero, "") : y;
}

static LLVMValueRef e_quantize(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    return LLVMBuildTrunc(B, quantized_words(r, n, x), tm_vector_type(r, n->outputs[0]->type), "");
}

/* What is dequantised, but for the scale. What a quantiser in the body makes does not go through bytes, and
 * the zero point that both have is neither added nor taken off. */
static LLVMValueRef unscaled(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    const tm_node *quantizer = n->inputs[0]->producer;
    LLVMValueRef y, zero = zero_point(r, n, x), added = NULL;
    if (quantizer != NULL && quantizer->op == TM_OP_QuantizeLinear) {
        LLVMValueRef inputs[3] = {NULL};
        for (int i = 0; i < quantizer->input_count; i++)
            inputs[i] = tm_region_value(r, quantizer->inputs[i]);
        added = zero_point(r, quantizer, inputs);
        y = shifted_up(r, quantizer, inputs, added);
        y = LLVMBuildFSub(B, y, constant(r, y, SHIFT), "");
        bool same = added != NULL && zero != NULL && quantizer->inputs[2] == n->inputs[2];
        if (added != NULL && !same)
            y = LLVMBuildFAdd(B, y, to_float(r, added), "");
        if (zero != NULL && !same)
            y = LLVMBuildFSub(B, y, to_float(r, zero), "");
    } else {
        y = widen(r, n->inputs[0]->type, x[0]);
        if (zero != NULL)
            y = LLVMBuildSub(B, y, zero, "");
        y = to_float(r, y);
    }
    return y;
}

EMITTER(e_dequantize, LLVMBuildFMul(B, unscaled(r, n, x), x[1], ""))

/* The scale of one that is dequantised is multiplied by and the other one added at once, where math is not
 * strict. */
static LLVMValueRef e_add(tm_region *r, const tm_node *n, LLVMValueRef *x) {
    for (int i = 0; i < 2 && r->fast; i++) {
        const tm_node *maker = n->inputs[i]->producer;
        if (maker == NULL || maker->op != TM_OP_DequantizeLinear || n->inputs[i]->type != TAMIS_TYPE_FLOAT)
            continue;
        LLVMValueRef own[3] = {NULL};
        for (int k = 0; k < maker->input_count; k++)
            own[k] = tm_region_value(r, maker->inputs[k]);
        return tm_fma(r, unscaled(r, maker, own), own[1], x[1 - i]);
    }
    return sum(r, n, x);
}

static const emitter emitters[TM_OP_COUNT] = {
    [TM_OP_Add] = e_add,
    [TM_OP_Sub] = e_sub,
    [TM_OP_Mul] = e_mul,
    [TM_OP_Div] = e_div,
    [TM_OP_Max] = e_max,
    [TM_OP_Min] = e_min,
    [TM_OP_Neg] = e_neg,
    [TM_OP_Abs] = e_abs,
    [TM_OP_Sqrt] = e_sqrt,
    [TM_OP_Floor] = e_floor,
    [TM_OP_Ceil] = e_ceil,
    [TM_OP_Reciprocal] = e_reciprocal,
    [TM_OP_Relu] = e_relu,
    [TM_OP_Identity] = e_identity,
    [TM_OP_Exp] = e_exp,
    [TM_OP_Log] = e_log,
    [TM_OP_Tanh] = e_tanh,
    [TM_OP_Erf] = e_erf,
    [TM_OP_Sin] = e_sin,
    [TM_OP_Cos] = e_cos,
    [TM_OP_Sigmoid] = e_sigmoid,
    [TM_OP_LeakyRelu] = e_leaky_relu,
    [TM_OP_Swish] = e_swish,
    [TM_OP_HardSigmoid] = e_hard_sigmoid,
    [TM_OP_HardSwish] = e_hard_swish,
    [TM_OP_PRelu] = e_prelu,
    [TM_OP_Gelu] = e_gelu,
    [TM_OP_Clip] = e_clip,
    [TM_OP_Pow] = e_pow,
    [TM_OP_Where] = e_where,
    [TM_OP_Equal] = e_equal,
    [TM_OP_Less] = e_less,
    [TM_OP_LessOrEqual] = e_less_equal,
    [TM_OP_Greater] = e_greater,
    [TM_OP_GreaterOrEqual] = e_greater_equal,
    [TM_OP_Not] = e_not,
    [TM_OP_And] = e_and,
    [TM_OP_Or] = e_or,
    [TM_OP_IsNaN] = e_is_nan,
    [TM_OP_Cast] = e_cast,
    [TM_OP_QuantizeLinear] = e_quantize,
    [TM_OP_DequantizeLinear] = e_dequantize,
};

bool tm_region_is_number(const tm_value *value) {
    for (int i = 0; i < value->rank; i++)
        if (!tm_dim_is(value->dims[i], 1))
            return false;
    return value->kind == TAMIS_KIND_TENSOR;
}

static LLVMValueRef constant_value(tm_region *r, const tm_value *value) {
    double real = 0;
    int64_t integer = 0;
    LLVMTypeRef type = tm_element_type(r, value->type);
    if (tm_type_is_float(value->type)) {
        (void)tm_constant_double(value->constant, 0, &real);
        return tm_splat(r, LLVMConstReal(type, real));
    }
    (void)tm_constant_int(value->constant, 0, &integer);
    return tm_splat(
        r, LLVMConstInt(value->type == TAMIS_TYPE_BOOL ? r->e->i1 : type, (unsigned long long)integer, 1));
}

LLVMValueRef tm_region_value(tm_region *r, const tm_value *value) {
    if (value == NULL)
        return NULL;
    if (r->point[value->id - r->first_id] != NULL)
        return r->point[value->id - r->first_id];
    LLVMValueRef result = NULL;
    if (value->constant != NULL)
        result = constant_value(r, value);
    for (size_t i = 0; i < r->body->inputs.count && result == NULL; i++)
        if (r->body->inputs.items[i] == value)
            result = r->load(r, (int)i);
    if (result == NULL) {
        const tm_node *node = value->producer;
        LLVMValueRef x[64];
        for (int i = 0; i < node->input_count; i++)
            x[i] = tm_region_value(r, node->inputs[i]);
        unsigned line = tm_emit_line(r->e, node);
        result = emitters[node->op](r, node, x);
        tm_emit_line_number(r->e, line);
    }
    r->point[value->id - r->first_id] = result;
    return result;
}

LLVMValueRef tm_region_low_bytes(tm_region *r, const tm_value *value) {
    const tm_node *node = value->producer;
    if (node == NULL || node->op != TM_OP_QuantizeLinear)
        return LLVMBuildZExt(B, tm_region_value(r, value), tm_vector_type(r, TAMIS_TYPE_INT32), "");
    LLVMValueRef x[3] = {NULL};
    for (int i = 0; i < node->input_count; i++)
        x[i] = tm_region_value(r, node->inputs[i]);
    unsigned line = tm_emit_line(r->e, node);
    LLVMValueRef words = quantized_words(r, node, x);
    tm_emit_line_number(r->e, line);
    return words;
}
