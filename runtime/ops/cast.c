/* SPDX-License-Identifier: Apache-2.0
 *
 * cast.c: Cast and CastLike between the common types: floats of 16 bits and more, whole bytes of integers,
 * bool; and BitCast.
 *
 * Integers to narrower integers lose their high bits. Floats to integers round towards zero; what is out
 * of range, where ONNX leaves the result open, becomes the nearest end of the range, and NaN 0, on every
 * CPU. To bool, everything but zero is true. CastLike is a second name of the same code: its attributes
 * are the beginning of Cast's.
 */
#include "runtime/ops/elementwise.h"

/* The float to be narrowed to f16 or bf16: a double is rounded so that the second rounding is the only one.
 */
#define NARROW(a) _Generic((a), double: tm_f64_to_f32_odd((double)(a)), default: (float)(a))

#define FROM f32
#define FROM_FLOAT 1
#include "runtime/ops/cast.inc"
#define FROM f64
#define FROM_FLOAT 1
#include "runtime/ops/cast.inc"
#define FROM f16
#define FROM_FLOAT 1
#include "runtime/ops/cast.inc"
#define FROM bf16
#define FROM_FLOAT 1
#include "runtime/ops/cast.inc"
#define FROM i8
#define FROM_FLOAT 0
#include "runtime/ops/cast.inc"
#define FROM i16
#define FROM_FLOAT 0
#include "runtime/ops/cast.inc"
#define FROM i32
#define FROM_FLOAT 0
#include "runtime/ops/cast.inc"
#define FROM i64
#define FROM_FLOAT 0
#include "runtime/ops/cast.inc"
#define FROM u8
#define FROM_FLOAT 0
#include "runtime/ops/cast.inc"
#define FROM u16
#define FROM_FLOAT 0
#include "runtime/ops/cast.inc"
#define FROM u32
#define FROM_FLOAT 0
#include "runtime/ops/cast.inc"
#define FROM u64
#define FROM_FLOAT 0
#include "runtime/ops/cast.inc"
#define FROM bool
#define FROM_FLOAT 0
#include "runtime/ops/cast.inc"

int32_t tm_k_BitCast(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    memmove(tm_out(run, call, 0)->data, x->data, (size_t)tm_type_bytes(x->type, tm_count(x)));
    return 0;
}
