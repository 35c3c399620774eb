/* SPDX-License-Identifier: Apache-2.0
 *
 * MatMul and Gemm on the matrix product of product.h.
 *
 * MatMul sees its operands as batches of matrices: dims in front of the last two broadcast, which is a
 * walk over batch numbers with stride 0 along broadcast dims. When B is one matrix, all rows of A are one
 * tall matrix. float16 and bfloat16 operands are converted (A as a whole, B panel by panel), the product
 * is summed in float, and the answer is rounded once.
 */
#include "runtime/ops/element.h"
#include "runtime/ops/product.h"

/* Batch dims of the output with the strides (in matrices) of both operands. */
typedef struct batches {
    int32_t rank;
    int64_t dims[TAMIS_MAX_RANK];
    int64_t a_stride[TAMIS_MAX_RANK], b_stride[TAMIS_MAX_RANK];
    int64_t a_matrix, b_matrix, c_matrix; /* elements of one */
    int64_t b_bytes;                      /* of an element of B */
} batches;

static void offsets(const batches *list, int64_t batch, int64_t *out_a, int64_t *out_b) {
    int64_t a = 0, b = 0;
    for (int32_t i = list->rank - 1; i >= 0; i--) {
        int64_t at = batch % list->dims[i];
        batch /= list->dims[i];
        a += at * list->a_stride[i];
        b += at * list->b_stride[i];
    }
    *out_a = a * list->a_matrix;
    *out_b = b * list->b_matrix;
}

#define X(s)                                                                              \
    static void locate_##s(const void *context, int64_t batch, tm_product_##s *product) { \
        const batches *list = context;                                                    \
        int64_t a, b;                                                                     \
        offsets(list, batch, &a, &b);                                                     \
        product->a += a;                                                                  \
        product->b = (const char *)product->b + b * list->b_bytes;                        \
        product->c += batch * list->c_matrix;                                             \
    }
X(f32)
X(f64)
X(u32)
X(u64)
#undef X

/* Fills strides of one operand; returns the number of its batch dims. */
static void operand_strides(const tamis_tensor *t, const batches *list, int64_t *strides) {
    int32_t own = t->rank > 2 ? t->rank - 2 : 0;
    int64_t step = 1;
    for (int32_t i = 1; i <= list->rank; i++) {
        int64_t dim = i <= own ? t->dims[own - i] : 1;
        strides[list->rank - i] = dim == 1 ? 0 : step;
        step *= dim;
    }
}

typedef struct shape {
    int64_t m, n, k, count;
    batches list;
} shape;

static int32_t matmul_shape(tm_run *run, const tm_call *call, const tamis_tensor *a, const tamis_tensor *b,
                            shape *out) {
    out->k = a->dims[a->rank - 1];
    out->m = a->rank > 1 ? a->dims[a->rank - 2] : 1;
    out->n = b->rank > 1 ? b->dims[b->rank - 1] : 1;
    int64_t inner = b->rank > 1 ? b->dims[b->rank - 2] : b->dims[0];
    if (inner != out->k)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, out->k, inner);
    batches *list = &out->list;
    list->rank = (a->rank > b->rank ? a->rank : b->rank) - 2;
    if (list->rank < 0)
        list->rank = 0;
    out->count = 1;
    for (int32_t i = 1; i <= list->rank; i++) {
        int64_t left = i <= a->rank - 2 ? a->dims[a->rank - 2 - i] : 1;
        int64_t right = i <= b->rank - 2 ? b->dims[b->rank - 2 - i] : 1;
        if (left != right && left != 1 && right != 1)
            return tm_fail(run, call, TM_RUN_DIM_MISMATCH, left, right);
        list->dims[list->rank - i] = left == 1 ? right : left;
        out->count *= left == 1 ? right : left;
    }
    operand_strides(a, list, list->a_stride);
    operand_strides(b, list, list->b_stride);
    if (tm_product(b->dims, 0, b->rank - 2) == 1 &&
        a->rank >= 2) { /* one B: the rows of all A are one matrix */
        out->m *= out->count;
        out->count = 1;
        list->rank = 0;
    }
    list->a_matrix = out->m * out->k;
    list->b_matrix = out->k * out->n;
    list->c_matrix = out->m * out->n;
    return 0;
}

/* A times B, where `turn` is for the transpose of what is stored. */
#define PRODUCT(x, turn_a, turn_b, A, B, C)                   \
    {.m = (x).m,                                                 \
     .n = (x).n,                                                 \
     .k = (x).k,                                                 \
     .a = (A),                                                   \
     .a_row = (turn_a) ? 1 : (x).k,                              \
     .a_column = (turn_a) ? (x).m : 1,                           \
     .b = (B),                                                   \
     .b_row = (turn_b) ? 1 : (x).n,                              \
     .b_column = (turn_b) ? (x).k : 1,                           \
     .c = (C),                                                   \
     .c_row = (x).n}

/* ---- what Gemm does to the product: alpha*A*B + beta*C ---- */
typedef struct ending {
    double alpha, beta;
    int64_t columns;
    void *y;
    const void *c; /* NULL: none */
    int64_t c_row, c_column;
} ending;

static int32_t gemm_shape(tm_run *run, const tm_call *call, shape *x, ending *end) {
    const tm_attrs_Gemm *attributes = tm_attributes(call);
    const tamis_tensor *a = tm_in(run, call, 0), *b = tm_in(run, call, 1), *c = tm_in(run, call, 2);
    bool turn_a = attributes->transA != 0, turn_b = attributes->transB != 0;
    x->m = a->dims[turn_a];
    x->k = a->dims[!turn_a];
    x->n = b->dims[!turn_b];
    x->count = 1;
    x->list.rank = 0;
    x->list.a_matrix = x->list.b_matrix = x->list.c_matrix = x->list.b_bytes = 0;
    if (b->dims[turn_b] != x->k)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, x->k, b->dims[turn_b]);
    *end = (ending){attributes->alpha, attributes->beta, x->n, tm_out(run, call, 0)->data, NULL, 0, 0};
    if (c == NULL)
        return 0;
    int64_t columns = c->rank > 0 ? c->dims[c->rank - 1] : 1, rows = c->rank > 1 ? c->dims[0] : 1;
    if (columns != 1 && columns != x->n)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, columns, x->n);
    if (rows != 1 && rows != x->m)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, rows, x->m);
    end->c = c->data;
    end->c_column = columns == 1 ? 0 : 1;
    end->c_row = rows == 1 ? 0 : columns;
    return 0;
}

/* P: the type of the product; C: the type of alpha and beta. */
#define ENDING(s, S, P, C, from)                                                     \
    static int32_t finish_##s(void *arg, int64_t begin, int64_t finish) {            \
        const ending *end = arg;                                                     \
        C alpha = (C)end->alpha, beta = (C)end->beta;                                \
        for (int64_t i = begin; i < finish; i++) {                                   \
            P *y = (P *)end->y + i * end->columns;                                   \
            const S *c = end->c != NULL ? (const S *)end->c + i * end->c_row : NULL; \
            if (alpha != 1)                                                          \
                for (int64_t j = 0; j < end->columns; j++)                           \
                    y[j] = (P)((C)y[j] * alpha);                                     \
            if (end->c != NULL && beta == 1 && end->c_column == 1)                   \
                for (int64_t j = 0; j < end->columns; j++)                           \
                    y[j] = (P)(y[j] + from(c[j]));                                   \
            else if (end->c != NULL && beta != 0)                                    \
                for (int64_t j = 0; j < end->columns; j++)                           \
                    y[j] = (P)(y[j] + (P)((C)from(c[j * end->c_column]) * beta));    \
        }                                                                            \
        return 0;                                                                    \
    }
#define PLAIN(x) (x)
ENDING(f32, float, float, float, PLAIN)
ENDING(f64, double, double, double, PLAIN)
ENDING(i32, int32_t, int32_t, double, PLAIN)
ENDING(u32, uint32_t, uint32_t, double, PLAIN)
ENDING(i64, int64_t, int64_t, double, PLAIN)
ENDING(u64, uint64_t, uint64_t, double, PLAIN)
ENDING(f16, uint16_t, float, float, tm_load_f16)
ENDING(bf16, uint16_t, float, float, tm_load_bf16)
#undef PLAIN
#undef ENDING

static int64_t row_grain(int64_t columns) {
    return 16384 / (columns + 1) + 1;
}

/* ---- the kernels ---- */

#define X(s, T, P)                                                                                        \
    TM_KERNEL(MatMul, s) {                                                                                \
        const tamis_tensor *a = tm_in(run, call, 0), *b = tm_in(run, call, 1);                            \
        shape x;                                                                                          \
        int32_t code = matmul_shape(run, call, a, b, &x);                                                 \
        if (code != 0)                                                                                    \
            return code;                                                                                  \
        x.list.b_bytes = sizeof(T);                                                                       \
        tm_product_##P p = PRODUCT(x, false, false, a->data, b->data, tm_out(run, call, 0)->data);     \
        return tm_product_run_##P(run, &p, x.count, locate_##P, &x.list);                                 \
    }                                                                                                     \
    TM_KERNEL(Gemm, s) {                                                                                  \
        const tm_attrs_Gemm *attributes = tm_attributes(call);                                            \
        const tamis_tensor *a = tm_in(run, call, 0), *b = tm_in(run, call, 1);                            \
        shape x;                                                                                          \
        ending end;                                                                                       \
        int32_t code = gemm_shape(run, call, &x, &end);                                                   \
        if (code != 0)                                                                                    \
            return code;                                                                                  \
        bool turn_a = attributes->transA != 0, turn_b = attributes->transB != 0;                          \
        tm_product_##P p = PRODUCT(x, turn_a, turn_b, a->data, b->data, end.y);                        \
        code = tm_product_run_##P(run, &p, 1, NULL, NULL);                                                \
        if (code != 0 || (end.alpha == 1 && end.c == NULL))                                               \
            return code;                                                                                  \
        return tm_parallel(run, x.m, row_grain(x.n), finish_##s, &end);                                   \
    }
X(f32, float, f32)
X(f64, double, f64)
X(i32, uint32_t, u32)
X(u32, uint32_t, u32)
X(i64, uint64_t, u64)
X(u64, uint64_t, u64)
#undef X

/* Half-width floats are widened: A before the product, B when it is packed; the sum is rounded at the end. */
#define X(s, S, C)                                                                                        \
    static int32_t product_##s(tm_run *run, const tm_call *call, tm_product_f32 *p, shape *x,             \
                               ending *end) {                                                             \
        const tamis_tensor *a = tm_in(run, call, 0);                                                      \
        S *y = tm_out(run, call, 0)->data;                                                                \
        int64_t a_count = tm_count(a), c_count = tm_count(tm_out(run, call, 0));                          \
        int64_t bytes = (a_count + c_count) * (int64_t)sizeof(float);                                     \
        float *wide = tm_scratch(run, call, bytes);                                                       \
        if (wide == NULL)                                                                                 \
            return run->code;                                                                             \
        for (int64_t i = 0; i < a_count; i++)                                                             \
            wide[i] = tm_load_##s(((const S *)a->data)[i]);                                               \
        p->a = wide;                                                                                      \
        p->c = wide + a_count;                                                                            \
        p->pack = tm_product_pack_##s;                                                                    \
        x->list.b_bytes = sizeof(S);                                                                      \
        int32_t code = tm_product_run_f32(run, p, x->count, locate_f32, &x->list);                        \
        if (code == 0 && end != NULL) {                                                                   \
            end->y = p->c;                                                                                \
            code = tm_parallel(run, x->m, row_grain(x->n), finish_##s, end);                              \
        }                                                                                                 \
        for (int64_t i = 0; i < c_count; i++)                                                             \
            y[i] = tm_store_##s(wide[a_count + i]);                                                       \
        tm_unscratch(run, wide, bytes);                                                                   \
        return code;                                                                                      \
    }                                                                                                     \
    TM_KERNEL(MatMul, s) {                                                                                \
        const tamis_tensor *a = tm_in(run, call, 0), *b = tm_in(run, call, 1);                            \
        shape x;                                                                                          \
        int32_t code = matmul_shape(run, call, a, b, &x);                                                 \
        if (code != 0)                                                                                    \
            return code;                                                                                  \
        tm_product_f32 p = PRODUCT(x, false, false, NULL, b->data, NULL);                            \
        return product_##s(run, call, &p, &x, NULL);                                                      \
    }                                                                                                     \
    TM_KERNEL(Gemm, s) {                                                                                  \
        const tm_attrs_Gemm *attributes = tm_attributes(call);                                            \
        shape x;                                                                                          \
        ending end;                                                                                       \
        int32_t code = gemm_shape(run, call, &x, &end);                                                   \
        if (code != 0)                                                                                    \
            return code;                                                                                  \
        tm_product_f32 p = PRODUCT(x, attributes->transA != 0, attributes->transB != 0, NULL,        \
                                   tm_in(run, call, 1)->data, NULL);                                      \
        return product_##s(run, call, &p, &x, &end);                                                      \
    }
TM_FOR_HALF_TYPES(X)
#undef X
