/* SPDX-License-Identifier: Apache-2.0
 *
 * constant.c: constants and their elements as int64 or double.
 *
 * All small floats are one record: bits of exponent and fraction, bias, and which codes are special.
 * Decoding follows from that record; encoding a scalar into one of eight bits or fewer is a search over
 * its codes, so no rounding rule can differ from the decoder. For example float8e4m3fn is
 * {4, 3, 7}, whose only special code is 0x7f (NaN).
 *
 * Bulk conversion is the kernels' work; here single elements are read by inference and passes.
 */
#include "ir/graph.h"
#include "ir/bits.h"
#include "ir/sparse.h"
#include "ir/tiles.h"

#include <math.h>
#include <string.h>

typedef enum specials {
    SPECIAL_NONE,
    SPECIAL_IEEE,      /* the highest exponent: infinities and NaN */
    SPECIAL_ALL_ONES,  /* the all-ones magnitude is NaN; no infinity */
    SPECIAL_MINUS_ZERO /* the code of -0 is NaN; no infinity */
} specials;

typedef struct float_format {
    int exponent_bits, fraction_bits, bias;
    specials special;
} float_format;

static bool find_format(tamis_type type, float_format *out) {
    switch ((int)type) {
    case TAMIS_TYPE_FLOAT16:
        *out = (float_format){5, 10, 15, SPECIAL_IEEE};
        return true;
    case TAMIS_TYPE_BFLOAT16:
        *out = (float_format){8, 7, 127, SPECIAL_IEEE};
        return true;
    case TAMIS_TYPE_FLOAT8E4M3FN:
        *out = (float_format){4, 3, 7, SPECIAL_ALL_ONES};
        return true;
    case TAMIS_TYPE_FLOAT8E4M3FNUZ:
        *out = (float_format){4, 3, 8, SPECIAL_MINUS_ZERO};
        return true;
    case TAMIS_TYPE_FLOAT8E5M2:
        *out = (float_format){5, 2, 15, SPECIAL_IEEE};
        return true;
    case TAMIS_TYPE_FLOAT8E5M2FNUZ:
        *out = (float_format){5, 2, 16, SPECIAL_MINUS_ZERO};
        return true;
    case TAMIS_TYPE_FLOAT4E2M1:
        *out = (float_format){2, 1, 1, SPECIAL_NONE};
        return true;
    default:
        return false;
    }
}

static double decode_float(float_format format, unsigned code) {
    unsigned fraction_ones = (1u << format.fraction_bits) - 1;
    unsigned exponent_ones = (1u << format.exponent_bits) - 1;
    unsigned sign = code >> (format.fraction_bits + format.exponent_bits) & 1;
    unsigned exponent = code >> format.fraction_bits & exponent_ones;
    unsigned fraction = code & fraction_ones;
    double magnitude = 0;
    if (format.special == SPECIAL_IEEE && exponent == exponent_ones)
        magnitude = fraction != 0 ? (double)NAN : (double)INFINITY;
    else if (format.special == SPECIAL_ALL_ONES && exponent == exponent_ones && fraction == fraction_ones)
        magnitude = (double)NAN;
    else if (format.special == SPECIAL_MINUS_ZERO && sign == 1 && exponent == 0 && fraction == 0)
        return (double)NAN;
    else if (exponent == 0)
        magnitude = ldexp((double)fraction, 1 - format.bias - format.fraction_bits);
    else
        magnitude = ldexp((double)(fraction | (fraction_ones + 1)),
                          (int)exponent - format.bias - format.fraction_bits);
    return sign != 0 ? -magnitude : magnitude;
}

static double decode_e8m0(unsigned code) {
    return code == 0xff ? (double)NAN : ldexp(1.0, (int)code - 127);
}

/* The sub-byte code at element i: low bits of a byte come first. */
static unsigned packed_code(const void *data, int bits, int64_t i) {
    int per_byte = 8 / bits;
    unsigned byte = ((const uint8_t *)data)[i / per_byte];
    return byte >> (i % per_byte * bits) & ((1u << bits) - 1);
}

static int64_t sign_extend(unsigned code, int bits) {
    return (int64_t)((code ^ (1u << (bits - 1)))) - ((int64_t)1 << (bits - 1));
}

int64_t tm_constant_count(const tm_constant *constant) {
    int64_t count = 1;
    for (int i = 0; i < constant->rank; i++)
        if (!tm_mul_i64(count, constant->dims[i], &count))
            return 0;
    return count;
}

tm_constant *tm_constant_create(tm_arena *arena, tamis_type type, int rank, const int64_t *dims,
                                const void *data) {
    tm_constant *constant = TM_NEW(arena, tm_constant);
    constant->type = type;
    constant->rank = rank;
    constant->dims = rank > 0 ? tm_arena_copy(arena, dims, (size_t)rank * sizeof *dims) : NULL;
    constant->data = data;
    if (!tm_type_size(type, tm_constant_count(constant), &constant->bytes))
        constant->bytes = 0;
    return constant;
}

tm_constant *tm_constant_create_i64(tm_arena *arena, int rank, const int64_t *dims, const int64_t *values) {
    tm_constant *constant = tm_constant_create(arena, TAMIS_TYPE_INT64, rank, dims, NULL);
    constant->data = tm_arena_copy(arena, values, (size_t)constant->bytes);
    return constant;
}

/* f16 and bf16: rounds to nearest even at the step of the value's binade. */
static unsigned encode_half(float_format format, double value) {
    unsigned sign = signbit(value) ? 1u << (format.exponent_bits + format.fraction_bits) : 0;
    unsigned infinity = ((1u << format.exponent_bits) - 1) << format.fraction_bits;
    double magnitude = fabs(value);
    if (isnan(value))
        return infinity | (1u << (format.fraction_bits - 1));
    if (isinf(magnitude))
        return sign | infinity;
    if (magnitude == 0)
        return sign;
    int exponent = 0;
    frexp(magnitude, &exponent);
    exponent = exponent - 1 < 1 - format.bias ? 1 - format.bias : exponent - 1;
    double steps = nearbyint(ldexp(magnitude, format.fraction_bits - exponent));
    double code = ldexp((double)(exponent + format.bias - 1), format.fraction_bits) + steps;
    return sign | (code >= infinity ? infinity : (unsigned)code);
}

static unsigned encode_small(tamis_type type, float_format format, double value) {
    unsigned codes = 1u << tm_type_bits(type);
    unsigned best = 0;
    double best_distance = (double)INFINITY;
    for (unsigned code = 0; code < codes; code++) {
        double candidate = type == TAMIS_TYPE_FLOAT8E8M0 ? decode_e8m0(code) : decode_float(format, code);
        if (isnan(value) && isnan(candidate))
            return code;
        double distance = candidate == value ? 0 : fabs(candidate - value);
        if (distance < best_distance || (distance == best_distance && (code & 1) == 0 && (best & 1) == 1)) {
            best = code;
            best_distance = distance;
        }
    }
    return best;
}

static void encode(tamis_type type, double value, void *out) {
    float_format format = {0};
    switch ((int)type) {
    case TAMIS_TYPE_DOUBLE:
    case TAMIS_TYPE_COMPLEX128: /* the imaginary part stays 0 */
        memcpy(out, &value, sizeof value);
        return;
    case TAMIS_TYPE_FLOAT:
    case TAMIS_TYPE_COMPLEX64: {
        float single = (float)value;
        memcpy(out, &single, sizeof single);
        return;
    }
    case TAMIS_TYPE_BOOL:
        *(uint8_t *)out = value != 0;
        return;
    case TAMIS_TYPE_UINT64: {
        uint64_t integer = (uint64_t)value;
        memcpy(out, &integer, sizeof integer);
        return;
    }
    case TAMIS_TYPE_STRING:
        return;
    default:
        break;
    }
    uint64_t code = 0;
    if (tm_type_is_integer(type))
        code = (uint64_t)(int64_t)value;
    else if (find_format(type, &format) && tm_type_bits(type) == 16)
        code = encode_half(format, value);
    else
        code = encode_small(type, format, value);
    int bits = tm_type_bits(type);
    if (bits < 8)
        code &= (1u << bits) - 1;
    memcpy(out, &code, (size_t)(bits + 7) / 8); /* the host is little-endian on every supported target */
}

tm_constant *tm_constant_create_scalar(tm_arena *arena, tamis_type type, double value) {
    void *data = tm_arena_alloc(arena, 16);
    encode(type, value, data);
    return tm_constant_create(arena, type, 0, NULL, data);
}

bool tm_constant_int(const tm_constant *constant, int64_t i, int64_t *out_value) {
    const void *data = constant->data;
    int bits = tm_type_bits(constant->type);
    switch ((int)constant->type) {
    case TAMIS_TYPE_BOOL:
        *out_value = ((const uint8_t *)data)[i] != 0;
        return true;
    case TAMIS_TYPE_UINT8:
        *out_value = ((const uint8_t *)data)[i];
        return true;
    case TAMIS_TYPE_INT8:
        *out_value = ((const int8_t *)data)[i];
        return true;
    case TAMIS_TYPE_UINT16:
        *out_value = ((const uint16_t *)data)[i];
        return true;
    case TAMIS_TYPE_INT16:
        *out_value = ((const int16_t *)data)[i];
        return true;
    case TAMIS_TYPE_UINT32:
        *out_value = ((const uint32_t *)data)[i];
        return true;
    case TAMIS_TYPE_INT32:
        *out_value = ((const int32_t *)data)[i];
        return true;
    case TAMIS_TYPE_INT64:
    case TAMIS_TYPE_UINT64:
        *out_value = ((const int64_t *)data)[i];
        return true;
    case TAMIS_TYPE_UINT2:
    case TAMIS_TYPE_UINT4:
        *out_value = packed_code(data, bits, i);
        return true;
    case TAMIS_TYPE_INT2:
    case TAMIS_TYPE_INT4:
        *out_value = sign_extend(packed_code(data, bits, i), bits);
        return true;
    default:
        return false;
    }
}

bool tm_constant_double(const tm_constant *constant, int64_t i, double *out_value) {
    const void *data = constant->data;
    float_format format = {0};
    int64_t integer = 0;
    int bits = tm_type_bits(constant->type);
    switch ((int)constant->type) {
    case TAMIS_TYPE_FLOAT:
        *out_value = (double)((const float *)data)[i];
        return true;
    case TAMIS_TYPE_DOUBLE:
        *out_value = ((const double *)data)[i];
        return true;
    case TAMIS_TYPE_UINT64:
        *out_value = (double)((const uint64_t *)data)[i];
        return true;
    case TAMIS_TYPE_FLOAT8E8M0:
        *out_value = decode_e8m0(((const uint8_t *)data)[i]);
        return true;
    default:
        break;
    }
    if (find_format(constant->type, &format)) {
        unsigned code = bits == 16  ? ((const uint16_t *)data)[i]
                        : bits == 8 ? ((const uint8_t *)data)[i]
                                    : packed_code(data, bits, i);
        *out_value = decode_float(format, code);
        return true;
    }
    if (!tm_constant_int(constant, i, &integer))
        return false;
    *out_value = (double)integer;
    return true;
}

tm_panels tm_constant_panels(const tm_constant *constant) {
    if (constant->rank == 2)
        return (tm_panels){.groups = 1, .columns = constant->dims[1], .rows = constant->dims[0]};
    tm_panels panels = {.groups = constant->panel_groups,
                        .columns = constant->dims[0] / constant->panel_groups,
                        .rows = 1};
    for (int i = 1; i < constant->rank; i++)
        panels.rows *= constant->dims[i];
    return panels;
}

int64_t tm_constant_stored_bytes(const tm_constant *constant) {
    if (constant->bits != NULL) {
        tm_bits_form form = tm_bits_form_of(constant);
        return form.panels * form.panel_bytes;
    }
    if (constant->sparse != NULL)
        return constant->sparse->bytes;
    if (constant->panel == 0)
        return constant->bytes;
    tm_panels panels = tm_constant_panels(constant);
    int64_t count = (panels.columns + constant->panel - 1) / constant->panel;
    if (tm_type_is_tiled(constant->stored))
        return count * tm_tile_steps(constant->stored, panels.rows) * 2 * TM_TILE_TOTAL;
    return panels.groups * count * constant->panel * panels.rows * (int64_t)sizeof(float);
}
