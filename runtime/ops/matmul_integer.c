/* SPDX-License-Identifier: Apache-2.0
 *
 * MatMulInteger and QLinearMatMul: (A - zero of A) * (B - zero of B), exactly, in int32; the latter then
 * scales the sums in float, rounds half to even and saturates.
 *
 * Zero points (and scales) are one for the tensor, one for each row of A, or one for each column of B, with
 * or without the batch dims in front.
 */
#include "runtime/ops/product_integer.h"
#include "runtime/ops/real.h"

typedef struct job {
    const tamis_tensor *a, *b, *a_zero, *b_zero;
    int64_t m, n, k, count;
    int32_t rank; /* batch dims */
    int64_t dims[TAMIS_MAX_RANK], a_stride[TAMIS_MAX_RANK], b_stride[TAMIS_MAX_RANK];
    const int16_t *wide; /* all of A */
} job;

/* What the product of one batch needs to know of B. */
typedef struct columns {
    const job *job;
    int64_t batch; /* of B */
} columns;

static int32_t job_init(tm_run *run, const tm_call *call, job *out) {
    const tamis_tensor *a = out->a, *b = out->b;
    out->k = a->dims[a->rank - 1];
    out->m = a->rank > 1 ? a->dims[a->rank - 2] : 1;
    out->n = b->rank > 1 ? b->dims[b->rank - 1] : 1;
    int64_t inner = b->rank > 1 ? b->dims[b->rank - 2] : b->dims[0];
    if (inner != out->k)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, out->k, inner);
    out->rank = (a->rank > b->rank ? a->rank : b->rank) - 2;
    out->rank = out->rank < 0 ? 0 : out->rank;
    out->count = 1;
    int64_t a_step = 1, b_step = 1;
    for (int32_t i = 1; i <= out->rank; i++) {
        int64_t left = i <= a->rank - 2 ? a->dims[a->rank - 2 - i] : 1;
        int64_t right = i <= b->rank - 2 ? b->dims[b->rank - 2 - i] : 1;
        if (left != right && left != 1 && right != 1)
            return tm_fail(run, call, TM_RUN_DIM_MISMATCH, left, right);
        out->dims[out->rank - i] = left == 1 ? right : left;
        out->a_stride[out->rank - i] = left == 1 ? 0 : a_step;
        out->b_stride[out->rank - i] = right == 1 ? 0 : b_step;
        a_step *= left;
        b_step *= right;
        out->count *= out->dims[out->rank - i];
    }
    int64_t rows = tm_product(a->dims, 0, a->rank - 1), columns = b_step * out->n;
    if (!tm_parameter_fits(out->a_zero, out->m, rows))
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, tm_count(out->a_zero), out->m);
    if (!tm_parameter_fits(out->b_zero, out->n, columns))
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, tm_count(out->b_zero), out->n);
    return 0;
}

static int32_t column_zero(const job *j, int64_t batch, int64_t column) {
    if (j->b_zero == NULL || j->b_zero->rank < 2)
        return tm_zero_point(j->b_zero, column);
    return tm_zero_point(j->b_zero, (batch * j->n + column) % tm_count(j->b_zero));
}

static void pack(const tm_product_i16 *p, int64_t p0, int64_t depth, int64_t n0, int64_t width,
                 int16_t *panel) {
    const columns *of = p->context;
    const job *j = of->job;
    int32_t zero[TM_PAIR_COLUMNS];
    for (int64_t c = 0; c < width; c++)
        zero[c] = column_zero(j, of->batch, n0 + c);
    for (int64_t row = 0; row < 2 * depth; row++) {
        int64_t k = 2 * p0 + row, from = (of->batch * j->k + k) * j->n + n0;
        int16_t *to = panel + row / 2 * 2 * TM_PAIR_COLUMNS + row % 2;
        int64_t filled = k < j->k ? width : 0;
        if (j->b->type == TAMIS_TYPE_INT8)
            for (int64_t c = 0; c < filled; c++)
                to[2 * c] = (int16_t)(((const int8_t *)j->b->data)[from + c] - zero[c]);
        else
            for (int64_t c = 0; c < filled; c++)
                to[2 * c] = (int16_t)(((const uint8_t *)j->b->data)[from + c] - zero[c]);
        for (int64_t c = filled; c < TM_PAIR_COLUMNS; c++)
            to[2 * c] = 0;
    }
}

/* All batches, one after the other; each is cut into parallel blocks. `sums` has m*n elements a batch. */
static int32_t multiply(tm_run *run, const job *j, int32_t *sums) {
    int64_t even = (j->k + 1) / 2 * 2;
    for (int64_t batch = 0; batch < j->count; batch++) {
        int64_t rest = batch, a = 0;
        columns of = {j, 0};
        for (int32_t i = j->rank - 1; i >= 0; i--) {
            a += rest % j->dims[i] * j->a_stride[i];
            of.batch += rest % j->dims[i] * j->b_stride[i];
            rest /= j->dims[i];
        }
        tm_product_i16 p = {
            j->m, j->n, even / 2, j->wide + a * j->m * even, j->b->data, sums + batch * j->m * j->n,
            pack, &of};
        int32_t code = tm_product_run_i16(run, &p, 1, NULL, NULL);
        if (code != 0)
            return code;
    }
    return 0;
}

/* Widens A into `wide`, which has one row of `even` elements for each row of A. */
static void widen(job *j, int16_t *wide) {
    int64_t rows = tm_product(j->a->dims, 0, j->a->rank - 1);
    int64_t period = j->a_zero != NULL && j->a_zero->rank > 0 ? tm_count(j->a_zero) : 1;
    tm_widen_rows(j->a, 0, rows, j->k, j->a_zero, 0, period, wide);
    j->wide = wide;
}

static int64_t wide_bytes(const job *j) {
    return tm_product(j->a->dims, 0, j->a->rank - 1) * ((j->k + 1) / 2 * 2) * (int64_t)sizeof(int16_t) +
           TAMIS_ALIGNMENT;
}

int32_t tm_k_MatMulInteger(tm_run *run, const tm_call *call) {
    job j = {.a = tm_in(run, call, 0),
             .b = tm_in(run, call, 1),
             .a_zero = tm_in(run, call, 2),
             .b_zero = tm_in(run, call, 3)};
    int32_t code = job_init(run, call, &j);
    if (code != 0)
        return code;
    int64_t bytes = wide_bytes(&j);
    int16_t *wide = tm_scratch(run, call, bytes);
    if (wide == NULL)
        return run->code;
    widen(&j, wide);
    code = multiply(run, &j, tm_out(run, call, 0)->data);
    tm_unscratch(run, wide, bytes);
    return code;
}

typedef struct ending {
    const job *job;
    const int32_t *sums;
    const tamis_tensor *a_scale, *b_scale, *y_scale, *y_zero, *y;
} ending;

static float scale_of(const tamis_tensor *scale, int64_t i) {
    return (float)tm_real_get(scale, i % tm_count(scale));
}

static int32_t requantise_rows(void *arg, int64_t begin, int64_t end) {
    const ending *e = arg;
    int64_t n = e->job->n;
    int32_t zero = tm_zero_point(e->y_zero, 0);
    bool each = tm_count(e->b_scale) > 1;
    for (int64_t row = begin; row < end; row++) {
        float left = scale_of(e->a_scale, row), out = (float)tm_real_get(e->y_scale, 0);
        for (int64_t c0 = 0; c0 < n; c0 += TM_PAIR_COLUMNS) {
            int64_t width = n - c0 < TM_PAIR_COLUMNS ? n - c0 : TM_PAIR_COLUMNS;
            float scales[TM_PAIR_COLUMNS];
            int64_t matrix = e->b_scale->rank > 1 ? row / e->job->m * n : 0;
            for (int64_t c = 0; c < (each ? width : 1); c++)
                scales[c] = left * scale_of(e->b_scale, matrix + c0 + c) / out;
            tm_requantise(e->sums + row * n + c0, width, scales, each ? 1 : 0, zero, e->y->type,
                          (uint8_t *)e->y->data + row * n + c0);
        }
    }
    return 0;
}

int32_t tm_k_QLinearMatMul(tm_run *run, const tm_call *call) {
    job j = {.a = tm_in(run, call, 0),
             .b = tm_in(run, call, 3),
             .a_zero = tm_in(run, call, 2),
             .b_zero = tm_in(run, call, 5)};
    int32_t code = job_init(run, call, &j);
    if (code != 0)
        return code;
    const tamis_tensor *a_scale = tm_in(run, call, 1), *b_scale = tm_in(run, call, 4);
    const tamis_tensor *y_scale = tm_in(run, call, 6), *y_zero = tm_in(run, call, 7);
    if (!tm_parameter_fits(a_scale, j.m, j.count * j.m) ||
        !tm_parameter_fits(b_scale, j.n, tm_count(j.b) / (j.k > 0 ? j.k : 1)))
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, tm_count(a_scale), tm_count(b_scale));
    if (tm_count(y_scale) != 1 || tm_count(y_zero) != 1)
        return tm_fail(run, call, TM_RUN_LIST_LENGTH,
                       tm_count(y_scale) != 1 ? tm_count(y_scale) : tm_count(y_zero), 1);
    int64_t rows = j.count * j.m, sum_bytes = rows * j.n * (int64_t)sizeof(int32_t) + TAMIS_ALIGNMENT;
    int64_t bytes = sum_bytes + wide_bytes(&j);
    char *memory = tm_scratch(run, call, bytes);
    if (memory == NULL)
        return run->code;
    int32_t *sums = (int32_t *)(void *)memory;
    widen(&j, (int16_t *)(void *)(memory + sum_bytes));
    code = multiply(run, &j, sums);
    ending e = {&j,
                sums,
                tm_in(run, call, 1),
                tm_in(run, call, 4),
                tm_in(run, call, 6),
                tm_in(run, call, 7),
                tm_out(run, call, 0)};
    if (code == 0)
        code = tm_parallel(run, rows, 16384 / (j.n + 1) + 1, requantise_rows, &e);
    tm_unscratch(run, memory, bytes);
    return code;
}
