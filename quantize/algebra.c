/* SPDX-License-Identifier: Apache-2.0
 *
 * algebra.c: OpenBLAS behind the few calls that the quantiser makes; see algebra.h.
 *
 * LAPACK counts columns first: its lower triangle of a symmetric matrix is the upper one of ours. So from the
 * upper triangle of h, in place:
 *
 *     dpotrf "L", dpotri "L"      h^-1, its upper triangle
 *     dpotrf "L"                  columns first: h^-1 = L L^T, which is rows first: h^-1 = U^T U
 */
#include "quantize/algebra.h"

#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef void factor_function(const char *triangle, const int *n, double *a, const int *lda, int *info);

typedef void eigen_function(const char *job, const char *triangle, const int *n, double *a, const int *lda,
                            double *values, double *work, const int *work_size, int *integers,
                            const int *integer_size, int *info);
typedef void pair_function(const int *type, const char *job, const char *triangle, const int *n, double *a,
                           const int *lda, double *b, const int *ldb, double *values, double *work,
                           const int *work_size, int *integers, const int *integer_size, int *info);

static struct {
    __typeof__(cblas_ssyrk) *ssyrk;
    __typeof__(cblas_sgemm) *sgemm;
    __typeof__(cblas_dgemm) *dgemm;
    __typeof__(cblas_dsyrk) *dsyrk;
    factor_function *dpotrf, *dpotri;
    eigen_function *dsyevd;
    pair_function *dsygvd;
    const char *missing;
} library;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void) {
    void *handle = dlopen(TM_OPENBLAS, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        library.missing = "OpenBLAS (" TM_OPENBLAS ") cannot be loaded";
        return;
    }
    *(void **)&library.ssyrk = dlsym(handle, "cblas_ssyrk");
    *(void **)&library.sgemm = dlsym(handle, "cblas_sgemm");
    *(void **)&library.dgemm = dlsym(handle, "cblas_dgemm");
    *(void **)&library.dpotrf = dlsym(handle, "dpotrf_");
    *(void **)&library.dpotri = dlsym(handle, "dpotri_");
    *(void **)&library.dsyrk = dlsym(handle, "cblas_dsyrk");
    *(void **)&library.dsyevd = dlsym(handle, "dsyevd_");
    *(void **)&library.dsygvd = dlsym(handle, "dsygvd_");
    if (library.dsyevd == NULL || library.dsygvd == NULL || library.ssyrk == NULL || library.sgemm == NULL ||
        library.dgemm == NULL || library.dsyrk == NULL || library.dpotrf == NULL || library.dpotri == NULL)
        library.missing = "OpenBLAS (" TM_OPENBLAS ") lacks BLAS or LAPACK";
}

const char *tm_algebra_load(void) {
    pthread_once(&once, load);
    return library.missing;
}

void tm_algebra_add_moments(float *h, const float *x, int64_t rows, int64_t k) {
    library.ssyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)k, (int)rows, 1, x, (int)k, 1, h, (int)k);
}

bool tm_algebra_inverse_factor(double *h, int64_t k) {
    int n = (int)k, info = 0;
    library.dpotrf("L", &n, h, &n, &info);
    if (info == 0)
        library.dpotri("L", &n, h, &n, &info);
    if (info == 0)
        library.dpotrf("L", &n, h, &n, &info);
    return info == 0;
}

void tm_algebra_subtract_product(float *c, const float *a, const float *b, int64_t m, int64_t n, int64_t r,
                                 int64_t a_step) {
    library.sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)r, -1, a, (int)a_step, b,
                  (int)n, 1, c, (int)n);
}

bool tm_algebra_invert(double *h, int64_t k) {
    int n = (int)k, info = 0;
    library.dpotrf("L", &n, h, &n, &info);
    if (info == 0)
        library.dpotri("L", &n, h, &n, &info);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < i; j++)
            h[i * k + j] = h[j * k + i];
    return info == 0;
}

void tm_algebra_multiply(double *c, int64_t c_step, const double *a, int64_t a_step, const double *b,
                         int64_t b_step, int64_t m, int64_t n, int64_t r, double scale, double keep) {
    library.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)r, scale, a, (int)a_step, b,
                  (int)b_step, keep, c, (int)c_step);
}

void tm_algebra_add_rows(float *c, const float *a, const float *b, int64_t m, int64_t n, int64_t r,
                         bool turned) {
    library.sgemm(CblasRowMajor, turned ? CblasTrans : CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)r, 1,
                  a, (int)(turned ? m : r), b, (int)n, 1, c, (int)n);
}

bool tm_algebra_eigen(tm_arena *scratch, double *a, double *b, int64_t k, double *out_values) {
    const int n = (int)k, second = 2, query = -1;
    double wanted = 0;
    int integers_wanted = 0, info = 0;
    if (b == NULL)
        library.dsyevd("V", "L", &n, a, &n, out_values, &wanted, &query, &integers_wanted, &query, &info);
    else
        library.dsygvd(&second, "V", "L", &n, a, &n, b, &n, out_values, &wanted, &query, &integers_wanted,
                       &query, &info);
    int size = (int)wanted + 1;
    double *work = TM_NEW_ARRAY(scratch, double, size);
    int *integers = TM_NEW_ARRAY(scratch, int, integers_wanted + 1);
    if (b == NULL)
        library.dsyevd("V", "L", &n, a, &n, out_values, work, &size, integers, &integers_wanted, &info);
    else
        library.dsygvd(&second, "V", "L", &n, a, &n, b, &n, out_values, work, &size, integers,
                       &integers_wanted, &info);
    return info == 0;
}

bool tm_algebra_energies(const float *x, int64_t rows, int64_t k, double *gram, double *out_energies) {
    enum { PART = 64 }; /* rows that are widened at once */
    int n = (int)k, info = 0, work_count, integer_count;
    double best_work;
    int best_integers, ask = -1;
    library.dsyevd("N", "L", &n, gram, &n, out_energies, &best_work, &ask, &best_integers, &ask, &info);
    work_count = (int)best_work > PART * n ? (int)best_work : PART * n;
    integer_count = best_integers;
    double *work = malloc((size_t)work_count * sizeof *work);
    int *integers = malloc((size_t)(integer_count > 0 ? integer_count : 1) * sizeof *integers);
    bool fine = info == 0 && work != NULL && integers != NULL;
    memset(gram, 0, (size_t)(k * k) * sizeof *gram);
    for (int64_t first = 0; first < rows && fine; first += PART) {
        int64_t part = rows - first < PART ? rows - first : PART;
        for (int64_t i = 0; i < part * k; i++)
            work[i] = (double)x[first * k + i];
        library.dsyrk(CblasRowMajor, CblasUpper, CblasTrans, n, (int)part, 1, work, n, 1, gram, n);
    }
    if (fine)
        library.dsyevd("N", "L", &n, gram, &n, out_energies, work, &work_count, integers, &integer_count,
                       &info);
    free(work);
    free(integers);
    return fine && info == 0;
}
