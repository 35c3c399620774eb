# SPDX-License-Identifier: Apache-2.0
"""Element types and random data.

A tensor is a NumPy array whose dtype is the one that onnx.helper names for its element type (ml_dtypes for what
NumPy lacks), so dtype and element type determine each other. Floats lie in a moderate range unless a graph asks
for special values, so that a difference between two engines means an error and not a large condition number.
"""

import ml_dtypes
import numpy
from onnx import TensorProto, helper

T = TensorProto

F32, F64, F16, BF16 = T.FLOAT, T.DOUBLE, T.FLOAT16, T.BFLOAT16
I8, I16, I32, I64 = T.INT8, T.INT16, T.INT32, T.INT64
U8, U16, U32, U64 = T.UINT8, T.UINT16, T.UINT32, T.UINT64
BOOL, STRING = T.BOOL, T.STRING
C64, C128 = T.COMPLEX64, T.COMPLEX128

FLOATS = (F32, F64, F16, BF16)
SIGNED = (I8, I16, I32, I64)
UNSIGNED = (U8, U16, U32, U64)
INTEGERS = SIGNED + UNSIGNED
NUMBERS = FLOATS + INTEGERS
FLOAT8 = (T.FLOAT8E4M3FN, T.FLOAT8E4M3FNUZ, T.FLOAT8E5M2, T.FLOAT8E5M2FNUZ)
SMALL_INTEGERS = (T.INT4, T.UINT4)
BELOW_A_BYTE = SMALL_INTEGERS + (T.INT2, T.UINT2)
PLAIN = NUMBERS + (BOOL, STRING)

# NumPy arrays of these cannot be handed to ONNX Runtime or come from it; they travel as initializers and
# through a Cast to the type at their right, which is exact.
FOREIGN = {BF16: F32, T.INT4: I8, T.UINT4: U8, **{t: F32 for t in FLOAT8}, T.FLOAT4E2M1: F32, T.FLOAT8E8M0: F32,
           T.INT2: I8, T.UINT2: U8}

DTYPES = {t: numpy.dtype(helper.tensor_dtype_to_np_dtype(t))
          for t in PLAIN + FLOAT8 + (T.INT4, T.UINT4, T.INT2, T.UINT2, T.FLOAT4E2M1, T.FLOAT8E8M0, C64, C128)}
TYPES = {dtype: t for t, dtype in DTYPES.items()}

WORDS = ("a", "ab", "Tamis", "x y", "", "12", "-3.5", "straße", "日本", "A", "b", "on and on", "1e3", "@user a.b@c.de")


def type_of(array):
    if array.dtype.kind in "OUS":
        return STRING
    return TYPES[array.dtype]


def name_of(element_type):
    return TensorProto.DataType.Name(element_type).lower()


def is_float(element_type):
    return element_type in FLOATS or element_type in FLOAT8 or element_type in (T.FLOAT4E2M1, T.FLOAT8E8M0)


def is_integer(element_type):
    return element_type in INTEGERS or element_type in (T.INT4, T.UINT4, T.INT2, T.UINT2)


def epsilon(element_type):
    """The distance of 1 to the next number."""
    if element_type in (C64, F32):
        return float(numpy.finfo(numpy.float32).eps)
    if element_type in (C128, F64):
        return float(numpy.finfo(numpy.float64).eps)
    return float(ml_dtypes.finfo(DTYPES[element_type]).eps)


def integer_range(element_type):
    info = ml_dtypes.iinfo(DTYPES[element_type])
    return int(info.min), int(info.max)


def special_floats(element_type):
    info = ml_dtypes.finfo(DTYPES[element_type])
    values = [numpy.nan, numpy.inf, -numpy.inf, 0.0, -0.0, float(info.max), float(info.min),
              float(info.smallest_normal), float(info.smallest_subnormal), -float(info.smallest_subnormal),
              0.5, 1.5, 2.5, -0.5, -1.5, 1e-6, 88.9, -104.0]
    return numpy.array(values).astype(DTYPES[element_type])


def random_array(random, element_type, shape, low=-3.0, high=3.0, special=0.0):
    """Numbers between low and high (integers: clipped to the type); a share of them special."""
    count = int(numpy.prod(shape, dtype=numpy.int64))
    dtype = DTYPES[element_type]
    if element_type == BOOL:
        flat = random.random(count) < 0.5
    elif element_type == STRING:
        flat = numpy.array([WORDS[i] for i in random.integers(len(WORDS), size=count)], object)
    elif element_type in (C64, C128):
        flat = (random.uniform(low, high, count) + 1j * random.uniform(low, high, count)).astype(dtype)
    elif is_float(element_type):
        numbers = random.uniform(low, high, count)
        if random.random() < 0.3 and high - low >= 2:  # ties, zeros and equal numbers; scales stay above zero
            numbers = numpy.round(numbers * 2) / 2
        flat = numbers.astype(dtype)
        if special > 0 and element_type in FLOATS:
            chosen = random.random(count) < special
            flat[chosen] = random.choice(special_floats(element_type), int(chosen.sum()))
    else:
        least, most = integer_range(element_type)
        first = max(least, int(numpy.floor(low)))
        flat = random.integers(first, max(first, min(most, int(numpy.ceil(high)))) + 1, size=count).astype(dtype)
        if special > 0:
            chosen = random.random(count) < special
            edges = numpy.array([least, most, 0, 1, most - 1], numpy.object_).astype(dtype)
            flat[chosen] = edges[random.integers(len(edges), size=int(chosen.sum()))]
    return flat.reshape(shape)
