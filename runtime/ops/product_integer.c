/* SPDX-License-Identifier: Apache-2.0
 *
 * The exact matrix product of 8-bit integers; see product_integer.h. The loops are those of product.inc.
 */
#include "runtime/ops/product_integer.h"
#include "runtime/math/math.h"
#include "runtime/ops/real.h"

#define LANES 16
#define VECTORS (TM_PANEL_BYTES / 64)

typedef int32_t vector __attribute__((vector_size(64)));
typedef int32_t loose __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t loose_pair __attribute__((aligned(2), may_alias));

/* sum += a.low*b.low + a.high*b.high in each lane */
static inline __attribute__((always_inline)) void add_pairs(vector *sum, const vector *a, const vector *b) {
#if defined(__AVX512BW__)
    typedef short words __attribute__((vector_size(64)));
    *sum += (vector)__builtin_ia32_pmaddwd512((words)*a, (words)*b);
#elif defined(__AVX2__)
    typedef short words __attribute__((vector_size(32)));
    typedef int32_t half __attribute__((vector_size(32)));
    for (int i = 0; i < 2; i++)
        ((half *)sum)[i] += (half)__builtin_ia32_pmaddwd256(((const words *)a)[i], ((const words *)b)[i]);
#else
    *sum += ((*a << 16) >> 16) * ((*b << 16) >> 16) + (*a >> 16) * (*b >> 16);
#endif
}

static inline __attribute__((always_inline)) void tile(int rows, int64_t depth, const int16_t *a,
                                                       int64_t a_row, const int16_t *panel, int32_t *c,
                                                       int64_t c_row, bool add) {
    vector sum[TM_TILE_ROWS][VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++)
            sum[r][v] = add ? *(const loose *)(c + r * c_row + v * LANES) : (vector){0};
#pragma clang loop unroll(disable)
    for (int64_t p = 0; p < depth; p++) {
        vector right[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            right[v] = *(const loose *)(const void *)(panel + (p * VECTORS + v) * 2 * LANES);
        for (int r = 0; r < rows; r++) {
            vector left = *(const loose_pair *)(const void *)(a + r * a_row + 2 * p) - (vector){0};
            for (int v = 0; v < VECTORS; v++)
                add_pairs(&sum[r][v], &left, &right[v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++)
            *(loose *)(c + r * c_row + v * LANES) = sum[r][v];
}

static TM_WIDE void full_tile(int64_t rows, int64_t depth, const int16_t *a, int64_t a_row,
                              const int16_t *panel, int32_t *c, int64_t c_row, bool add) {
    switch (rows) {
#define ROWS(r)                                         \
    case r:                                             \
        tile(r, depth, a, a_row, panel, c, c_row, add); \
        return;
        ROWS(1)
        ROWS(2)
        ROWS(3)
        ROWS(4)
        ROWS(5)
        ROWS(6)
#if TM_TILE_ROWS == 8
        ROWS(7)
        ROWS(8)
#endif
#undef ROWS
    default:
        return;
    }
}

static void tile_of(int64_t rows, int64_t width, int64_t depth, const int16_t *a, int64_t a_row,
                    const int16_t *panel, int32_t *c, int64_t c_row, bool add) {
    if (width == TM_PAIR_COLUMNS) {
        full_tile(rows, depth, a, a_row, panel, c, c_row, add);
        return;
    }
    int32_t whole[TM_TILE_ROWS * TM_PAIR_COLUMNS];
    for (int r = 0; r < rows; r++)
        for (int64_t j = 0; j < TM_PAIR_COLUMNS; j++)
            whole[r * TM_PAIR_COLUMNS + j] = add && j < width ? c[r * c_row + j] : 0;
    full_tile(rows, depth, a, a_row, panel, whole, TM_PAIR_COLUMNS, true);
    for (int r = 0; r < rows; r++)
        for (int64_t j = 0; j < width; j++)
            c[r * c_row + j] = whole[r * TM_PAIR_COLUMNS + j];
}

typedef struct work {
    const tm_product_i16 *product;
    void (*locate)(const void *context, int64_t batch, tm_product_i16 *product);
    const void *context;
    int64_t rows, row_blocks, panels;
} work;

static int32_t run_blocks(void *arg, int64_t begin, int64_t end) {
    const work *job = arg;
    _Alignas(64) int16_t panel[TM_PANEL_DEPTH * TM_PAIR_COLUMNS * 2];
    for (int64_t t = begin; t < end; t++) {
        tm_product_i16 p = *job->product;
        if (job->locate != NULL)
            job->locate(job->context, t / job->panels / job->row_blocks, &p);
        int64_t n = t % job->panels * TM_PAIR_COLUMNS, m0 = t / job->panels % job->row_blocks * job->rows;
        int64_t m1 = m0 + job->rows < p.m ? m0 + job->rows : p.m;
        int64_t width = p.n - n < TM_PAIR_COLUMNS ? p.n - n : TM_PAIR_COLUMNS;
        for (int64_t p0 = 0; p0 < p.pairs || p0 == 0; p0 += TM_PANEL_DEPTH) {
            int64_t depth = p.pairs - p0 < TM_PANEL_DEPTH ? p.pairs - p0 : TM_PANEL_DEPTH;
            p.pack(&p, p0, depth, n, width, panel);
            for (int64_t m = m0; m < m1; m += TM_TILE_ROWS)
                tile_of(m1 - m < TM_TILE_ROWS ? m1 - m : TM_TILE_ROWS, width, depth,
                        p.a + (m * p.pairs + p0) * 2, 2 * p.pairs, panel, p.c + m * p.n + n, p.n, p0 > 0);
        }
    }
    return 0;
}

int32_t tm_product_run_i16(tm_run *run, const tm_product_i16 *product, int64_t batches,
                           void (*locate)(const void *context, int64_t batch, tm_product_i16 *product),
                           const void *context) {
    if (product->m == 0 || product->n == 0)
        return 0;
    work job = {product, locate, context, TM_TILE_ROWS * 64, 0, 0};
    job.row_blocks = (product->m + job.rows - 1) / job.rows;
    job.panels = (product->n + TM_PAIR_COLUMNS - 1) / TM_PAIR_COLUMNS;
    int64_t rows = product->m < job.rows ? product->m : job.rows;
    int64_t grain = 65536 / (rows * TM_PAIR_COLUMNS * (product->pairs + 1)) + 1;
    return tm_parallel(run, batches * job.row_blocks * job.panels, grain, run_blocks, &job);
}

int32_t tm_zero_point(const tamis_tensor *zero, int64_t i) {
    if (zero == NULL)
        return 0;
    return (int32_t)tm_integer_get(zero, tm_count(zero) == 1 ? 0 : i);
}

bool tm_parameter_fits(const tamis_tensor *parameter, int64_t count, int64_t all) {
    int64_t have = parameter != NULL ? tm_count(parameter) : 1;
    return have == 1 || ((have == count || have == all) && have > 0) || (have == 0 && all == 0);
}

void tm_widen_rows(const tamis_tensor *a, int64_t offset, int64_t rows, int64_t k, const tamis_tensor *zero,
                   int64_t first, int64_t period, int16_t *to) {
    int64_t even = (k + 1) / 2 * 2;
    for (int64_t r = 0; r < rows; r++) {
        int16_t point = (int16_t)tm_zero_point(zero, period > 0 ? (first + r) % period : 0);
        int16_t *row = to + r * even;
        if (a->type == TAMIS_TYPE_INT8)
            for (int64_t i = 0; i < k; i++)
                row[i] = (int16_t)(((const int8_t *)a->data)[offset + r * k + i] - point);
        else
            for (int64_t i = 0; i < k; i++)
                row[i] = (int16_t)(((const uint8_t *)a->data)[offset + r * k + i] - point);
        if (even > k)
            row[k] = 0;
    }
}

void tm_requantise(const int32_t *sums, int64_t count, const float *scale, int64_t scale_step, int32_t zero,
                   int32_t type, void *to) {
    int32_t low = type == TAMIS_TYPE_INT8 ? INT8_MIN : 0,
            high = type == TAMIS_TYPE_INT8 ? INT8_MAX : UINT8_MAX;
    float least = (float)(low - zero), most = (float)(high - zero);
    uint8_t *bytes = to;
    for (int64_t i = 0; i < count; i++) {
        float value = tm_round_even_f32((float)sums[i] * scale[i * scale_step]);
        value = value < least ? least : value;
        value = value > most ? most : value;
        bytes[i] = (uint8_t)((int32_t)value + zero);
    }
}
