/* SPDX-License-Identifier: Apache-2.0
 *
 * MatMulNBits: a product by the transpose of packed weights, which are unpacked piece by piece where they are
 * used.
 *
 *     y[m, n] = sum over k of a[m, k] * (b[n, k] - zero[n, k / block]) * scale[n, k / block]  (+ bias[n])
 *
 * The weights are read as the bits that the file has and unpacked in pieces on the stack, each rounded as
 * DequantizeLinear rounds it. With few rows of A, as when a language model makes one token after the other,
 * reading and unpacking is most of the work: each piece of a row of B is unpacked once and multiplied with
 * the same piece of the rows of A, by dot products, since rows of B are contiguous along the sum. With more
 * rows the product of product.h pays, whose panels are unpacked when they are packed. The bits of a result
 * depend on which of the two it is, but not on the number of threads.
 */
#include "runtime/attributes_microsoft.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/product.h"

#define LANES 16
#define FEW_ROWS 8
#define TILE_ROWS 2
#define TILE_COLUMNS 4
#define PIECE 1024 /* elements of a row that are unpacked at once: the tile's pieces are 16 KiB of stack */
#define PANEL_COLUMNS ((int)(TM_PANEL_BYTES / sizeof(float)))
#define TURN 64 /* elements of each row that are turned into a panel at once: 8 KiB of stack at most */

typedef struct packed {
    const tamis_tensor *a, *scale, *zero, *bias, *y;
    const uint8_t *data;
    int64_t m, n, k, block, blocks, row_bytes;
    int32_t bits, sign; /* sign: the sign bit of signed elements, or 0 */
} packed;

/* (element - zero) * scale for `count` elements of one block, from a byte on. An element with its sign bit
 * turned over is that much larger than its value. */
static void unpack_bytes(const packed *p, const uint8_t *from, float zero, float scale, int64_t count,
                         float *to) {
    int32_t sign = p->sign;
    float less = zero + (float)sign;
    if (p->bits == 8) {
        TM_ROW_LOOP for (int64_t i = 0; i < count; i++) to[i] = ((float)(from[i] ^ sign) - less) * scale;
        return;
    }
    int64_t whole = count * p->bits / 8;
    if (p->bits == 4) {
        TM_ROW_LOOP for (int64_t i = 0; i < whole; i++) {
            to[2 * i] = ((float)((from[i] & 15) ^ sign) - less) * scale;
            to[2 * i + 1] = ((float)((from[i] >> 4) ^ sign) - less) * scale;
        }
        return;
    }
    TM_ROW_LOOP for (int64_t i = 0; i < whole; i++) {
        to[4 * i] = ((float)((from[i] & 3) ^ sign) - less) * scale;
        to[4 * i + 1] = ((float)((from[i] >> 2 & 3) ^ sign) - less) * scale;
        to[4 * i + 2] = ((float)((from[i] >> 4 & 3) ^ sign) - less) * scale;
        to[4 * i + 3] = ((float)((from[i] >> 6) ^ sign) - less) * scale;
    }
}

static inline float scale_at(const packed *p, int64_t i) {
    const void *data = p->scale->data;
    return p->scale->type == TAMIS_TYPE_FLOAT     ? tm_get_f32(data, i)
           : p->scale->type == TAMIS_TYPE_FLOAT16 ? tm_get_f16(data, i)
                                                  : tm_get_bf16(data, i);
}

/* Zero points are floats, or packed as the weights are, without gaps between rows. */
static inline float zero_at(const packed *p, int64_t i) {
    if (p->zero == NULL)
        return 0;
    if (p->zero->type == TAMIS_TYPE_FLOAT)
        return tm_get_f32(p->zero->data, i);
    int32_t shift = (int32_t)(i * p->bits % 8), mask = (1 << p->bits) - 1;
    int32_t element = ((const uint8_t *)p->zero->data)[i * p->bits / 8] >> shift & mask;
    return (float)((element ^ p->sign) - p->sign);
}

/* Elements k0.. of row n; k0 is at a byte. */
static void unpack(const packed *p, int64_t n, int64_t k0, int64_t count, float *to) {
    const uint8_t *row = p->data + n * p->row_bytes;
    for (int64_t k = k0; k < k0 + count;) {
        int64_t block = k / p->block, end = (block + 1) * p->block;
        end = end < k0 + count ? end : k0 + count;
        float scale = scale_at(p, n * p->blocks + block), zero = zero_at(p, n * p->blocks + block);
        unpack_bytes(p, row + k * p->bits / 8, zero, scale, end - k, to + (k - k0));
        k = end;
    }
}

/* ---- tiles ---- */

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline __attribute__((always_inline)) float fold(const vector *v) {
    float lanes[LANES];
    __builtin_memcpy(lanes, v, sizeof lanes);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

/* sums[r][c] += a piece of row r of A times row c of the unpacked piece. */
static inline __attribute__((always_inline)) void tile(int rows, const float *a, int64_t a_row,
                                                       const float *piece, int64_t count, float *sums,
                                                       int64_t sums_row) {
#pragma clang fp contract(fast)
    vector sum[TILE_ROWS][TILE_COLUMNS];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < TILE_COLUMNS; c++)
            sum[r][c] = (vector){0};
    int64_t whole = count - count % LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int r = 0; r < rows; r++) {
            vector left = *(const loose *)(a + r * a_row + i);
            for (int c = 0; c < TILE_COLUMNS; c++)
                sum[r][c] += left * *(const loose *)(piece + c * PIECE + i);
        }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < TILE_COLUMNS; c++) {
            float total = fold(&sum[r][c]);
            for (int64_t i = whole; i < count; i++)
                total += a[r * a_row + i] * piece[c * PIECE + i];
            sums[r * sums_row + c] += total;
        }
}

static TM_WIDE void one_row(const float *a, const float *piece, int64_t count, float *sums) {
    tile(1, a, 0, piece, count, sums, 0);
}

static TM_WIDE void two_rows(const float *a, int64_t a_row, const float *piece, int64_t count, float *sums,
                             int64_t sums_row) {
    tile(TILE_ROWS, a, a_row, piece, count, sums, sums_row);
}

/* All rows of A by the rows n..n+width of B. */
static void columns(const packed *p, int64_t n, int64_t width) {
    _Alignas(64) float piece[TILE_COLUMNS * PIECE];
    const float *a = p->a->data, *bias = p->bias != NULL ? p->bias->data : NULL;
    float *y = p->y->data;
    for (int64_t k = 0; k < p->k; k += PIECE) {
        int64_t count = p->k - k < PIECE ? p->k - k : PIECE;
        for (int64_t c = 0; c < TILE_COLUMNS; c++)
            if (c < width)
                unpack(p, n + c, k, count, piece + c * PIECE);
            else
                memset(piece + c * PIECE, 0, (size_t)count * sizeof(float));
        for (int64_t m = 0; m < p->m; m += TILE_ROWS) {
            int64_t rows = p->m - m < TILE_ROWS ? 1 : TILE_ROWS;
            float sums[TILE_ROWS * TILE_COLUMNS] = {0};
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < width; c++)
                    sums[r * TILE_COLUMNS + c] = k > 0          ? y[(m + r) * p->n + n + c]
                                                 : bias != NULL ? bias[n + c]
                                                                : 0;
            if (rows == TILE_ROWS)
                two_rows(a + m * p->k + k, p->k, piece, count, sums, TILE_COLUMNS);
            else
                one_row(a + m * p->k + k, piece, count, sums);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < width; c++)
                    y[(m + r) * p->n + n + c] = sums[r * TILE_COLUMNS + c];
        }
    }
}

static int32_t tiles(void *arg, int64_t begin, int64_t end) {
    const packed *p = arg;
    for (int64_t t = begin; t < end; t++) {
        int64_t n = t * TILE_COLUMNS;
        columns(p, n, p->n - n < TILE_COLUMNS ? p->n - n : TILE_COLUMNS);
    }
    return 0;
}

/* ---- panels ---- */

/* A panel of the transpose: pieces of rows of B, turned. */
static void pack(const tm_product_f32 *product, int64_t k0, int64_t depth, int64_t n0, int64_t width,
                 float *panel) {
    float rows[PANEL_COLUMNS * TURN];
    tm_product_f32 unpacked = {.b = rows, .b_row = 1, .b_column = TURN};
    for (int64_t k = 0; k < depth; k += TURN) {
        int64_t count = depth - k < TURN ? depth - k : TURN;
        for (int64_t c = 0; c < width; c++)
            unpack(product->context, n0 + c, k0 + k, count, rows + c * TURN);
        tm_product_pack_f32(&unpacked, 0, count, 0, width, panel + k * PANEL_COLUMNS);
    }
}

static int32_t many_rows(tm_run *run, const packed *p) {
    float *y = p->y->data;
    for (int64_t i = 0; p->bias != NULL && i < p->m * p->n; i += p->n)
        memcpy(y + i, p->bias->data, (size_t)p->n * sizeof(float));
    tm_product_f32 product = {.m = p->m,
                              .n = p->n,
                              .k = p->k,
                              .a = p->a->data,
                              .a_row = p->k,
                              .a_column = 1,
                              .c = y,
                              .c_row = p->n,
                              .accumulate = p->bias != NULL,
                              .pack = pack,
                              .context = p};
    return tm_product_run_f32(run, &product, 1, NULL, NULL);
}

int32_t tm_k_ms_MatMulNBits_f32(tm_run *run, const tm_call *call) {
    const tm_attrs_MatMulNBits *attributes = tm_attributes(call);
    const tamis_tensor *a = tm_in(run, call, 0), *b = tm_in(run, call, 1);
    packed p = {.a = a,
                .scale = tm_in(run, call, 2),
                .zero = tm_in(run, call, 3),
                .bias = tm_in(run, call, 5),
                .y = tm_out(run, call, 0),
                .data = b->data,
                .n = b->dims[0],
                .k = b->dims[1],
                .block = attributes->block_size};
    p.m = tm_product(a->dims, 0, a->rank - 1);
    p.blocks = (p.k + p.block - 1) / p.block;
    bool narrow = b->type == TAMIS_TYPE_UINT2 || b->type == TAMIS_TYPE_INT2;
    p.bits = b->type == TAMIS_TYPE_UINT8 || b->type == TAMIS_TYPE_INT8 ? 8 : narrow ? 2 : 4;
    bool is_signed = b->type == TAMIS_TYPE_INT8 || b->type == TAMIS_TYPE_INT4 || b->type == TAMIS_TYPE_INT2;
    p.sign = is_signed ? 1 << (p.bits - 1) : 0;
    p.row_bytes = p.k * p.bits / 8;
    if (a->dims[a->rank - 1] != p.k || tm_count(p.scale) != p.n * p.blocks)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, a->dims[a->rank - 1], p.k);
    if (p.m == 0 || p.n == 0)
        return 0;
    if (p.m > FEW_ROWS)
        return many_rows(run, &p);
    int64_t count = (p.n + TILE_COLUMNS - 1) / TILE_COLUMNS;
    return tm_parallel(run, count, 65536 / (TILE_COLUMNS * p.m * (p.k + 1)) + 1, tiles, &p);
}
