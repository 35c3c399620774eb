/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_bits.c: MatMulNBits and GatherBlockQuantized, whose weights are 2, 4 or 8 bits wide in blocks.
 *
 * The files hold such weights as bytes. ONNX's own packed types have the same layout, low bits first, so the
 * bytes of a constant become a constant of type u2 or u4 without being copied, and the rest is standard:
 *
 *     MatMulNBits(a, b, s, z) {N, K, block_size}
 *       ->   w = DequantizeLinear(b as u4[N, blocks, block], s[N, blocks, 1], z[N, blocks, 1])
 *            Gemm(a, Reshape(w, [N, K])) {transB}
 *
 * The weights stay packed in the artifact: fold_constants leaves alone what unpacks them. Bytes that are no
 * constant are unpacked by shifts when the model runs. Zero points may be floats, or indices (g_idx) may name
 * a block for each position; then (w - z) * s is written out. float16 and bfloat16 are computed in float32
 * and rounded once.
 */
#include "frontend/opset/steps.h"

#include <string.h>

#define LARGEST ((int64_t)1 << 30) /* N, K and block_size: products of them stay within 64 bits */

/* ---- packed bytes ---- */

static tamis_type packed_type(int64_t bits) {
    return bits == 2 ? TAMIS_TYPE_UINT2 : bits == 4 ? TAMIS_TYPE_UINT4 : TAMIS_TYPE_UINT8;
}

static tm_code check_bits(tm_draft *draft, int64_t bits) {
    if (bits == 2 || bits == 4 || bits == 8)
        return TM_OK;
    return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "%s with bits = %lld; quantise to 2, 4 or 8 bits",
                         draft->op, (long long)bits);
}

/* Packed weights in the file are bytes. */
static tm_code need_bytes(tm_draft *draft, size_t index, const char *what) {
    tamis_type type = tm_draft_type(draft, draft->inputs.items[index]);
    if (type == TAMIS_TYPE_UINT8 || type == TAMIS_TYPE_UNDEFINED)
        return TM_OK;
    return tm_draft_fail(draft, TM_E_TYPE, "%s is %s where packed u8 is needed", what, tm_type_text(type));
}

/* The first `columns` elements, which are there, of each of `rows` rows of packed bytes, as a constant with
 * these dims. */
static tm_value *constant_of_bytes(tm_draft *draft, const tm_constant *bytes, int64_t bits, int64_t rows,
                                   int64_t columns, int rank, const int64_t *dims) {
    tm_arena *arena = draft->importer->arena;
    const uint8_t *from = bytes->data;
    int64_t row_bytes = rows > 0 ? bytes->bytes / rows : 0, per_byte = 8 / bits;
    const int64_t *own = tm_arena_copy(arena, dims, (size_t)rank * sizeof *dims);
    if (row_bytes * per_byte != columns) {
        uint8_t *to = tm_arena_alloc(arena, (size_t)((rows * columns + per_byte - 1) / per_byte) + 1);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t i = 0; i < columns; i++) {
                int64_t at = row * columns + i;
                int value = from[row * row_bytes + i / per_byte] >> i % per_byte * bits & ((1 << bits) - 1);
                to[at / per_byte] = (uint8_t)(to[at / per_byte] | value << at % per_byte * bits);
            }
        from = to;
    }
    return tm_draft_constant(draft, tm_constant_create(arena, packed_type(bits), rank, own, from));
}

/* u8[..., n] as u8[..., n * 8/bits], one element a byte. */
static tm_value *unpack(tm_draft *draft, tm_value *bytes, int64_t bits, int rank) {
    static const int64_t last = -1;
    if (bits == 8)
        return bytes;
    tm_value *parts[4], *mask = tm_write_scalar(draft, TAMIS_TYPE_UINT8, (double)((1 << bits) - 1));
    for (int64_t i = 0; i < 8 / bits; i++) {
        tm_value *shift = tm_write_scalar(draft, TAMIS_TYPE_UINT8, (double)(i * bits));
        tm_node *shifted = tm_draft_emit_node(draft, TM_OP_BitShift, 2, (tm_value *[]){bytes, shift});
        tm_node_set_string(shifted, "direction", "RIGHT");
        tm_value *part =
            tm_write_binary(draft, TM_OP_BitwiseAnd, tm_draft_add_output(draft, shifted), mask);
        parts[i] = tm_write_listed(draft, TM_OP_Unsqueeze, part, &last, 1);
    }
    int64_t dims[TAMIS_MAX_RANK] = {0};
    dims[rank - 1] = -1;
    tm_value *all = tm_write_concat(draft, -1, (int)(8 / bits), parts);
    return tm_write_listed(draft, TM_OP_Reshape, all, dims, rank);
}

/* ---- MatMulNBits ---- */

typedef struct product {
    int64_t n, k, block, blocks, bits;
    tamis_type type; /* of A and of the scales */
} product;

static tm_code read_product(tm_draft *draft, product *out) {
    *out = (product){.n = tm_draft_int(draft, "N", 0),
                     .k = tm_draft_int(draft, "K", 0),
                     .block = tm_draft_int(draft, "block_size", 0),
                     .bits = tm_draft_int(draft, "bits", 4)};
    TM_TRY(check_bits(draft, out->bits));
    if (out->n < 1 || out->k < 1 || out->block < 16 || (out->block & (out->block - 1)) != 0 ||
        out->n > LARGEST || out->k > LARGEST || out->block > LARGEST)
        return tm_draft_fail(
            draft, TM_E_ATTRIBUTE,
            "MatMulNBits needs N and K above 0 and a block_size that is a power of 2 from 16 on");
    out->blocks = (out->k + out->block - 1) / out->block;
    if (tm_draft_int(draft, "weight_prepacked", 0) != 0)
        return tm_draft_fail(
            draft, TM_E_UNSUPPORTED_FORM,
            "weights packed for a GPU (weight_prepacked); export them with weight_prepacked = 0");
    out->type = tm_draft_type(draft, draft->inputs.items[2]);
    return need_bytes(draft, 1, "B");
}

static tm_code check_count(tm_draft *draft, const tm_value *value, int64_t count, const char *what) {
    if (!tm_value_is_constant(value) || tm_constant_count(value->constant) == count)
        return TM_OK;
    return tm_draft_fail(draft, TM_E_SHAPE, "%s has %lld elements where N, K and block_size ask for %lld",
                         what, (long long)tm_constant_count(value->constant), (long long)count);
}

/* Rows of packed bytes as [n, columns of a row...]: [n, blocks, block] or [n, blocks, 1]. */
static tm_code packed_rows(tm_draft *draft, const product *p, tm_value *bytes, int64_t depth,
                           const char *what, tm_value **out_value) {
    int64_t dims[3] = {p->n, p->blocks, depth};
    int64_t row_bytes = (p->blocks * p->bits * depth + 7) / 8, columns = p->blocks * depth;
    TM_TRY(check_count(draft, bytes, p->n * row_bytes, what));
    if (tm_value_is_constant(bytes)) {
        *out_value = constant_of_bytes(draft, bytes->constant, p->bits, p->n, columns, 3, dims);
        return TM_OK;
    }
    int64_t flat[2] = {p->n, row_bytes};
    tm_value *unpacked = unpack(draft, tm_write_listed(draft, TM_OP_Reshape, bytes, flat, 2), p->bits, 2);
    if (row_bytes * 8 / p->bits != columns) {
        tm_value *inputs[4] = {unpacked, tm_draft_constant_ints(draft, (int64_t[]){0}, 1),
                               tm_draft_constant_ints(draft, &columns, 1),
                               tm_draft_constant_ints(draft, (int64_t[]){1}, 1)};
        unpacked = tm_draft_emit(draft, TM_OP_Slice, 4, inputs);
    }
    *out_value = tm_write_listed(draft, TM_OP_Reshape, unpacked, dims, 3);
    return TM_OK;
}

/* [n, blocks, depth] as [n, k]. */
static tm_value *matrix(tm_draft *draft, const product *p, tm_value *value) {
    int64_t all = p->blocks * p->block;
    value = tm_write_listed(draft, TM_OP_Reshape, value, (int64_t[]){p->n, all}, 2);
    if (all == p->k)
        return value;
    tm_value *inputs[4] = {value, tm_draft_constant_ints(draft, (int64_t[]){0}, 1),
                           tm_draft_constant_ints(draft, &p->k, 1),
                           tm_draft_constant_ints(draft, (int64_t[]){1}, 1)};
    return tm_draft_emit(draft, TM_OP_Slice, 4, inputs);
}

static bool is_float(tamis_type type) {
    return type == TAMIS_TYPE_FLOAT || type == TAMIS_TYPE_FLOAT16 || type == TAMIS_TYPE_BFLOAT16;
}

/* Zero points as [n, blocks, 1]: of the packed type, or floats. */
static tm_code zero_points(tm_draft *draft, const product *p, tm_value **out_value) {
    tm_value *zero = tm_draft_input(draft, 3);
    int64_t dims[3] = {p->n, p->blocks, 1};
    if (zero != NULL && is_float(tm_draft_type(draft, zero))) {
        TM_TRY(check_count(draft, zero, p->n * p->blocks, "zero_points"));
        *out_value = tm_write_listed(draft, TM_OP_Reshape, zero, dims, 3);
        return TM_OK;
    }
    if (zero != NULL) {
        TM_TRY(need_bytes(draft, 3, "zero_points"));
        return packed_rows(draft, p, zero, 1, "zero_points", out_value);
    }
    tm_value *middle = tm_write_scalar(
        draft, tm_value_is_constant(draft->inputs.items[1]) ? packed_type(p->bits) : TAMIS_TYPE_UINT8,
        (double)(1 << (p->bits - 1)));
    *out_value = tm_write_listed(draft, TM_OP_Expand, middle, dims, 3);
    return TM_OK;
}

/* A block for each position, unless it is the one that the position stands in anyway. */
static tm_value *block_indices(const tm_draft *draft, const product *p) {
    tm_value *indices = tm_draft_input(draft, 4);
    if (!tm_value_is_constant(indices))
        return indices;
    for (int64_t i = 0, block; i < tm_constant_count(indices->constant); i++)
        if (!tm_constant_int(indices->constant, i, &block) || block != i / p->block)
            return indices;
    return NULL;
}

/* The weights [n, k] in float32. */
static tm_code weights(tm_draft *draft, const product *p, tm_value **out_value) {
    tm_value *packed, *zero, *scale = draft->inputs.items[2], *indices = block_indices(draft, p);
    TM_TRY(check_count(draft, scale, p->n * p->blocks, "scales"));
    scale = tm_write_listed(draft, TM_OP_Reshape, scale, (int64_t[]){p->n, p->blocks, 1}, 3);
    TM_TRY(packed_rows(draft, p, draft->inputs.items[1], p->block, "B", &packed));
    TM_TRY(zero_points(draft, p, &zero));
    bool float_zero = tm_draft_input(draft, 3) != NULL && is_float(tm_draft_input(draft, 3)->type);
    if (!float_zero && indices == NULL) {
        tm_node *node =
            tm_draft_emit_node(draft, TM_OP_DequantizeLinear, 3, (tm_value *[]){packed, scale, zero});
        tm_node_set_int(node, "axis", 2);
        tm_node_set_int(node, "block_size", p->block);
        tm_node_set_int(node, "output_dtype", TAMIS_TYPE_FLOAT);
        *out_value = matrix(draft, p, tm_draft_add_output(draft, node));
        return TM_OK;
    }
    tm_value *wide = tm_write_cast(draft, packed, TAMIS_TYPE_FLOAT);
    zero = tm_write_cast(draft, zero, TAMIS_TYPE_FLOAT);
    scale = tm_write_cast(draft, scale, TAMIS_TYPE_FLOAT);
    if (indices == NULL) {
        wide = tm_write_binary(draft, TM_OP_Sub, wide, zero);
        *out_value = matrix(draft, p, tm_write_binary(draft, TM_OP_Mul, wide, scale));
        return TM_OK;
    }
    TM_TRY(check_count(draft, indices, p->k, "g_idx"));
    int64_t flat[2] = {p->n, p->blocks};
    zero = tm_write_gather(draft, tm_write_listed(draft, TM_OP_Reshape, zero, flat, 2), indices, 1);
    scale = tm_write_gather(draft, tm_write_listed(draft, TM_OP_Reshape, scale, flat, 2), indices, 1);
    wide = tm_write_binary(draft, TM_OP_Sub, matrix(draft, p, wide), zero);
    *out_value = tm_write_binary(draft, TM_OP_Mul, wide, scale);
    return TM_OK;
}

/* A weight with a dim of 0 stands for a product that is left out: the bias alone, or zeros. */
static tm_code left_out(tm_draft *draft, const product *p) {
    tm_value *a = draft->inputs.items[0], *y = tm_draft_input(draft, 5);
    if (y == NULL)
        TM_TRY(tm_draft_constant_like(draft, 0, a, &y));
    tm_value *dims[2] = {tm_write_dims(draft, a, 0, -1), tm_draft_constant_ints(draft, &p->n, 1)};
    tm_value *shape = tm_write_concat(draft, 0, 2, dims);
    return tm_write_bind(draft, 0, tm_write_binary(draft, TM_OP_Expand, y, shape));
}

tm_code tm_opset_matmul_nbits(tm_draft *draft) {
    product p;
    TM_TRY(tm_write_need(draft, 3));
    TM_TRY(read_product(draft, &p));
    tm_value *a = draft->inputs.items[0], *bias = tm_draft_input(draft, 5), *w;
    if (tm_value_is_constant(draft->inputs.items[1]) &&
        tm_constant_count(draft->inputs.items[1]->constant) == 0)
        return left_out(draft, &p);
    TM_TRY(weights(draft, &p, &w));
    int64_t rows[2] = {-1, p.k}, end[1] = {p.n};
    bool half = p.type == TAMIS_TYPE_FLOAT16 || p.type == TAMIS_TYPE_BFLOAT16;
    tm_value *x = half ? tm_write_cast(draft, a, TAMIS_TYPE_FLOAT) : a;
    tm_value *flat = tm_write_listed(draft, TM_OP_Reshape, x, rows, 2);
    tm_value *inputs[3] = {flat, w, NULL};
    if (bias != NULL)
        inputs[2] = half ? tm_write_cast(draft, bias, TAMIS_TYPE_FLOAT) : bias;
    tm_node *gemm = tm_draft_emit_node(draft, TM_OP_Gemm, bias != NULL ? 3 : 2, inputs);
    tm_node_set_int(gemm, "transB", 1);
    tm_value *dims[2] = {tm_write_dims(draft, a, 0, -1), tm_draft_constant_ints(draft, end, 1)};
    tm_value *y = tm_draft_add_output(draft, gemm);
    y = half ? tm_write_cast(draft, y, p.type) : y;
    tm_value *shape = tm_write_concat(draft, 0, 2, dims);
    tm_node *reshape = tm_draft_emit_node(draft, TM_OP_Reshape, 2, (tm_value *[]){y, shape});
    tm_node_set_int(reshape, "allowzero", 1); /* rows may be none */
    return tm_write_bind(draft, 0, tm_draft_add_output(draft, reshape));
}

/* ---- GatherBlockQuantized ---- */

typedef struct table {
    tm_value *data, *scale, *zero; /* zero: NULL or as the data */
    int rank, gather, quantize;    /* axes */
    int64_t bits, block;
    bool bytes; /* the data are packed bytes that are no constant */
} table;

static int64_t known_dim(const tm_value *value, int axis) {
    return value->rank > axis && value->dims != NULL && tm_dim_is_constant(value->dims[axis])
               ? value->dims[axis]->constant
               : -1;
}

/* Packed bytes [..., m] of a constant as [..., columns] of the packed type. */
static tm_value *typed(tm_draft *draft, const tm_value *bytes, int64_t bits, int64_t columns) {
    const tm_constant *c = bytes->constant;
    int64_t dims[TAMIS_MAX_RANK], rows = 1;
    for (int i = 0; i < c->rank; i++)
        rows *= i + 1 < c->rank ? c->dims[i] : 1;
    memcpy(dims, c->dims, (size_t)c->rank * sizeof *dims);
    dims[c->rank - 1] = columns;
    return constant_of_bytes(draft, c, bits, rows, columns, c->rank, dims);
}

static tm_code type_table(tm_draft *draft, table *t) {
    int64_t per_byte = 8 / t->bits, columns = known_dim(t->scale, t->rank - 1);
    if (t->gather != 0 || (t->bits < 8 && t->quantize == t->gather))
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "GatherBlockQuantized of bytes gathers on axis 0 and quantises another one");
    if (t->zero != NULL) {
        int rank;
        TM_TRY(need_bytes(draft, 3, "zero_points"));
        TM_TRY(tm_draft_rank(draft, t->zero, &rank));
        int64_t bytes = rank == t->rank ? known_dim(t->zero, rank - 1) : 0;
        if (rank != t->rank || (bytes >= 0 && t->quantize == t->rank - 1 && bytes * per_byte < columns))
            return tm_draft_fail(draft, TM_E_SHAPE, "zero_points have other dims than the scales");
    }
    if (!tm_value_is_constant(t->data) || (t->zero != NULL && !tm_value_is_constant(t->zero))) {
        t->bytes = true;
    } else if (t->bits < 8) {
        t->data = typed(draft, t->data, t->bits, t->data->constant->dims[t->rank - 1] * per_byte);
        if (t->zero != NULL && t->quantize == t->rank - 1 && columns >= 0)
            t->zero = typed(draft, t->zero, t->bits, columns);
        else if (t->zero != NULL)
            t->zero = typed(draft, t->zero, t->bits, t->zero->constant->dims[t->rank - 1] * per_byte);
    }
    return TM_OK;
}

static tm_code read_table(tm_draft *draft, table *t) {
    *t = (table){.data = draft->inputs.items[0],
                 .scale = draft->inputs.items[2],
                 .zero = tm_draft_input(draft, 3),
                 .bits = tm_draft_int(draft, "bits", 4),
                 .block = tm_draft_int(draft, "block_size", 128)};
    TM_TRY(tm_draft_rank(draft, t->data, &t->rank));
    int64_t gather = tm_draft_int(draft, "gather_axis", 0),
            quantize = tm_draft_int(draft, "quantize_axis", 1);
    gather += gather < 0 ? t->rank : 0;
    quantize += quantize < 0 ? t->rank : 0;
    if (gather < 0 || quantize < 0 || gather >= t->rank || quantize >= t->rank)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "gather_axis or quantize_axis is beyond the rank %d",
                             t->rank);
    t->gather = (int)gather;
    t->quantize = (int)quantize;
    tamis_type type = tm_draft_type(draft, t->data);
    bool small_float = tm_type_is_float(type);
    if (t->block == 0 && small_float)
        t->block = known_dim(t->data, t->quantize);
    if (t->block < 1)
        return tm_draft_fail(
            draft, TM_E_ATTRIBUTE,
            "GatherBlockQuantized needs a block_size above 0, or for float8 and float4 data a "
            "quantize_axis whose length is known");
    if (type != TAMIS_TYPE_UINT8)
        return TM_OK;
    TM_TRY(check_bits(draft, t->bits));
    return type_table(draft, t);
}

/* Scales of float data may be 1 along an axis. */
static void spread_scales(tm_draft *draft, table *t) {
    int64_t dims[TAMIS_MAX_RANK];
    bool all = true;
    for (int i = 0; i < t->rank; i++) {
        int64_t dim = known_dim(t->data, i);
        dims[i] = i == t->quantize ? (dim + t->block - 1) / t->block : dim;
        if (dim < 0)
            return;
        all = all && known_dim(t->scale, i) == dims[i];
    }
    if (!all && tm_type_is_float(t->data->type))
        t->scale = tm_write_listed(draft, TM_OP_Expand, t->scale, dims, t->rank);
}

/* Indices outside of -length..length-1 read zeros: they are replaced by 0, and *out_valid says where. */
static tm_value *bounded(tm_draft *draft, tm_value *indices, tm_value *length, tm_value **out_valid) {
    indices = tm_write_cast(draft, indices, TAMIS_TYPE_INT64);
    tm_value *zero = tm_draft_constant_int(draft, 0);
    tm_value *low =
        tm_write_binary(draft, TM_OP_GreaterOrEqual, indices, tm_draft_emit(draft, TM_OP_Neg, 1, &length));
    *out_valid =
        tm_write_binary(draft, TM_OP_And, low, tm_write_binary(draft, TM_OP_Less, indices, length));
    return tm_draft_emit(draft, TM_OP_Where, 3, (tm_value *[]){*out_valid, indices, zero});
}

/* The position of a block for each index. */
static tm_value *blocks_of(tm_draft *draft, tm_value *indices, tm_value *length, int64_t block) {
    tm_value *zero = tm_draft_constant_int(draft, 0);
    tm_value *inputs[3] = {tm_write_binary(draft, TM_OP_Less, indices, zero),
                           tm_write_binary(draft, TM_OP_Add, indices, length), indices};
    tm_value *positive = tm_draft_emit(draft, TM_OP_Where, 3, inputs);
    return tm_write_binary(draft, TM_OP_Div, positive, tm_draft_constant_int(draft, block));
}

/* Zero points of the gathered rows: given, or the middle of unsigned bytes. */
static tm_code gathered_zero(tm_draft *draft, const table *t, tm_value *indices, tm_value *scale,
                             tm_value **out_value) {
    *out_value = NULL;
    if (t->zero != NULL) {
        tm_value *zero = tm_write_gather(draft, t->zero, indices, t->gather);
        if (!t->bytes || t->bits == 8) {
            *out_value = zero;
            return TM_OK;
        }
        int rank;
        TM_TRY(tm_draft_rank(draft, indices, &rank));
        rank += t->rank - 1;
        zero = unpack(draft, zero, t->bits, rank);
        tm_value *inputs[4] = {zero, tm_draft_constant_ints(draft, (int64_t[]){0}, 1),
                               tm_write_dims(draft, scale, rank - 1, 1),
                               tm_draft_constant_ints(draft, (int64_t[]){rank - 1}, 1)};
        *out_value = tm_draft_emit(draft, TM_OP_Slice, 4, inputs);
    } else if (draft->inputs.items[0]->type == TAMIS_TYPE_UINT8) {
        tamis_type type = t->bytes ? TAMIS_TYPE_UINT8 : packed_type(t->bits);
        tm_value *middle = tm_write_scalar(draft, type, (double)(1 << (t->bits - 1)));
        *out_value =
            tm_write_binary(draft, TM_OP_Expand, middle, tm_draft_emit(draft, TM_OP_Shape, 1, &scale));
    }
    return TM_OK;
}

tm_code tm_opset_gather_block_quantized(tm_draft *draft) {
    table t;
    int index_rank;
    TM_TRY(tm_write_need(draft, 3));
    TM_TRY(read_table(draft, &t));
    TM_TRY(tm_draft_rank(draft, draft->inputs.items[1], &index_rank));
    spread_scales(draft, &t);
    tm_value *sizes = tm_write_dims(draft, t.data, t.gather, 1), *valid;
    tm_value *length = tm_write_listed(draft, TM_OP_Reshape, sizes, NULL, 0);
    tm_value *indices = bounded(draft, draft->inputs.items[1], length, &valid);
    tm_value *data = tm_write_gather(draft, t.data, indices, t.gather);
    int rank = index_rank + t.rank - 1, axis = t.quantize - (t.quantize > t.gather) * (1 - index_rank);
    if (t.bytes)
        data = unpack(draft, data, t.bits, rank);
    bool along = t.quantize == t.gather; /* then each gathered slice has scales of its own */
    tm_value *places = along ? blocks_of(draft, indices, length, t.block) : indices, *zero;
    tm_value *scale = tm_write_gather(draft, t.scale, places, t.gather);
    TM_TRY(gathered_zero(draft, &t, places, scale, &zero));
    tm_node *node = tm_draft_emit_node(draft, TM_OP_DequantizeLinear, zero != NULL ? 3 : 2,
                                       (tm_value *[]){data, scale, zero});
    if (rank > 0) {
        tm_node_set_int(node, "axis", along ? 0 : axis);
        tm_node_set_int(node, "block_size", along ? 1 : t.block);
    }
    tm_value *y = tm_draft_add_output(draft, node), *nothing;
    if (t.rank - 1 - t.gather > 0)
        valid = tm_opset_unsqueeze_after(draft, valid, index_rank, t.rank - 1 - t.gather);
    TM_TRY(tm_draft_constant_like(draft, 0, t.scale, &nothing));
    return tm_write_bind(draft, 0, tm_draft_emit(draft, TM_OP_Where, 3, (tm_value *[]){valid, y, nothing}));
}
