/* SPDX-License-Identifier: Apache-2.0
 *
 * types.c: the element types, as expansions of include/tamis/types.def.
 *
 * Sub-byte elements are packed from the low bits on, so sizes are counted in bits and rounded up to
 * bytes: five u4 elements take three bytes. Everything that asks "how many bytes" goes through
 * tm_type_size, which also catches the overflow that a hostile file would like to see.
 */
#include "ir/graph.h"

#include <string.h>

const char *tm_type_text(tamis_type type) {
    switch ((int)type) {
#define TM_TYPE(number, name, text, suffix, bits) \
    case number:                                  \
        return text;
#include "tamis/types.def"
#undef TM_TYPE
    default:
        return "?";
    }
}

const char *tm_type_suffix(tamis_type type) {
    switch ((int)type) {
#define TM_TYPE(number, name, text, suffix, bits) \
    case number:                                  \
        return #suffix;
#include "tamis/types.def"
#undef TM_TYPE
    default:
        return "none";
    }
}

tamis_type tm_type_parse(const char *text) {
#define TM_TYPE(number, name, spelling, suffix, bits) \
    if (strcmp(text, spelling) == 0)                  \
        return TAMIS_TYPE_##name;
#include "tamis/types.def"
#undef TM_TYPE
    return TAMIS_TYPE_UNDEFINED;
}

int tm_type_bits(tamis_type type) {
    switch ((int)type) {
#define TM_TYPE(number, name, text, suffix, bits) \
    case number:                                  \
        return bits;
#include "tamis/types.def"
#undef TM_TYPE
    default:
        return 0;
    }
}

bool tm_type_is_float(tamis_type type) {
    switch ((int)type) {
    case TAMIS_TYPE_FLOAT:
    case TAMIS_TYPE_DOUBLE:
    case TAMIS_TYPE_FLOAT16:
    case TAMIS_TYPE_BFLOAT16:
    case TAMIS_TYPE_FLOAT8E4M3FN:
    case TAMIS_TYPE_FLOAT8E4M3FNUZ:
    case TAMIS_TYPE_FLOAT8E5M2:
    case TAMIS_TYPE_FLOAT8E5M2FNUZ:
    case TAMIS_TYPE_FLOAT8E8M0:
    case TAMIS_TYPE_FLOAT4E2M1:
        return true;
    default:
        return false;
    }
}

bool tm_type_is_signed(tamis_type type) {
    switch ((int)type) {
    case TAMIS_TYPE_INT2:
    case TAMIS_TYPE_INT4:
    case TAMIS_TYPE_INT8:
    case TAMIS_TYPE_INT16:
    case TAMIS_TYPE_INT32:
    case TAMIS_TYPE_INT64:
        return true;
    default:
        return tm_type_is_float(type) && type != TAMIS_TYPE_FLOAT8E8M0;
    }
}

bool tm_type_is_integer(tamis_type type) {
    switch ((int)type) {
    case TAMIS_TYPE_UINT2:
    case TAMIS_TYPE_UINT4:
    case TAMIS_TYPE_UINT8:
    case TAMIS_TYPE_UINT16:
    case TAMIS_TYPE_UINT32:
    case TAMIS_TYPE_UINT64:
        return true;
    default:
        return tm_type_is_signed(type) && !tm_type_is_float(type);
    }
}

bool tm_type_size(tamis_type type, int64_t count, int64_t *out_bytes) {
    int64_t bits = 0;
    if (count < 0 || !tm_mul_i64(count, tm_type_bits(type), &bits) || bits > INT64_MAX - 7)
        return false;
    *out_bytes = (bits + 7) / 8;
    return true;
}

bool tm_form_exists(tamis_kind kind, tamis_kind item) {
    switch (kind) {
    case TAMIS_KIND_NONE:
    case TAMIS_KIND_TENSOR:
        return item == TAMIS_KIND_NONE;
    case TAMIS_KIND_SEQUENCE:
        return item == TAMIS_KIND_TENSOR || item == TAMIS_KIND_MAP;
    case TAMIS_KIND_OPTIONAL:
        return item == TAMIS_KIND_TENSOR || item == TAMIS_KIND_MAP || item == TAMIS_KIND_SEQUENCE;
    case TAMIS_KIND_MAP:
        return item == TAMIS_KIND_TENSOR;
    }
    return false;
}
