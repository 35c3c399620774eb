/* SPDX-License-Identifier: Apache-2.0
 *
 * What one core of this machine can do at most: products a second in vectors and, where there are any, in
 * matrix units, and bytes a second from each cache and from memory.
 *
 *     peaks wall|cpu         all of them, as JSON, by that clock
 *     peaks --serve wall|cpu reads a name a line ("f32") and answers with one measurement of about 10 ms
 *
 * A kernel is judged by its share of these, and since a machine changes its clock with its load, the two must
 * be measured close together: hence --serve, by which the benchmark asks for a peak in each of its rounds.
 * Products count two operations (multiply, add). Bytes are read, not written, by sums over an array that fits
 * the cache in question, with as many independent sums as hide the latency.
 *
 * Vector types are those of GCC and Clang, so the same text serves every CPU for which it is compiled with
 * -march=native.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif
enum { LANES = VECTOR_BYTES / 4, CHAINS = 12 };
typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

static clockid_t clock_id = CLOCK_MONOTONIC;

static double now(void) {
    struct timespec time;
    clock_gettime(clock_id, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Values are kept from the optimiser's knowledge, and results in use. */
#define KEEP(value) __asm__ volatile("" : "+x"(value))
#ifndef __x86_64__
#undef KEEP
#define KEEP(value) __asm__ volatile("" : "+w"(value))
#endif

/* Each work function does about `amount` units and returns how many exactly. */
typedef double (*work)(double amount, void *data, size_t bytes);

static double multiply_add(double amount, void *data, size_t bytes) {
    (void)data;
    (void)bytes;
    vector sum[CHAINS], x = {0}, y = {0};
    KEEP(x);
    KEEP(y);
    memset(sum, 0, sizeof sum);
    const double unit = (double)(2 * LANES * CHAINS);
    int64_t count = (int64_t)(amount / unit) + 1;
    for (int64_t i = 0; i < count; i++)
#pragma GCC unroll 12
        for (int chain = 0; chain < CHAINS; chain++)
            sum[chain] = sum[chain] * x + y;
    for (int chain = 0; chain < CHAINS; chain++)
        KEEP(sum[chain]);
    return (double)count * unit;
}

static double read_bytes(double amount, void *data, size_t bytes) {
    const vector *array = data;
    size_t vectors = bytes / VECTOR_BYTES / 8 * 8;
    int64_t passes = (int64_t)(amount / (double)(vectors * VECTOR_BYTES)) + 1;
    vector sum[8];
    memset(sum, 0, sizeof sum);
    for (int64_t pass = 0; pass < passes; pass++) {
        for (size_t i = 0; i < vectors; i += 8)
#pragma GCC unroll 8
            for (int chain = 0; chain < 8; chain++)
                sum[chain] += array[i + (size_t)chain];
        __asm__ volatile("" ::: "memory");
    }
    for (int chain = 0; chain < 8; chain++)
        KEEP(sum[chain]);
    return (double)passes * (double)(vectors * VECTOR_BYTES);
}

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__)
#define HAS_AMX 1
#include <immintrin.h>
#include <sys/syscall.h>

/* Eight tiles of 16 rows of 64 bytes; Linux gives a process the tiles only when it asks. */
static int start_amx(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) != 0)
        return 0;
    uint8_t shape[64] __attribute__((aligned(64))) = {1};
    for (int tile = 0; tile < 8; tile++) {
        shape[16 + 2 * tile] = 64;
        shape[48 + tile] = 16;
    }
    _tile_loadconfig(shape);
    return 1;
}

#define AMX_WORK(name, product, depth)                                                                       \
    static double name(double amount, void *data, size_t bytes) {                                            \
        (void)data;                                                                                          \
        (void)bytes;                                                                                         \
        const double unit = 4 * 2.0 * 16 * 16 * depth;                                                       \
        int64_t count = (int64_t)(amount / unit) + 1;                                                        \
        _tile_zero(0), _tile_zero(1), _tile_zero(2), _tile_zero(3);                                          \
        _tile_zero(4), _tile_zero(5), _tile_zero(6), _tile_zero(7);                                          \
        for (int64_t i = 0; i < count; i++) {                                                                \
            product(0, 4, 6);                                                                                \
            product(1, 4, 7);                                                                                \
            product(2, 5, 6);                                                                                \
            product(3, 5, 7);                                                                                \
        }                                                                                                    \
        return (double)count * unit;                                                                         \
    }
AMX_WORK(amx_bf16, _tile_dpbf16ps, 32)
AMX_WORK(amx_int8, _tile_dpbssd, 64)
#endif

typedef struct peak {
    const char *name, *unit;
    work run;
    size_t bytes; /* of the array that is read */
} peak;

static double measure(const peak *p, void *data, double seconds, int tries) {
    double amount = 1e6, best = 0;
    for (double elapsed = 0; elapsed < seconds / 4; amount *= 2) {
        double start = now();
        p->run(amount, data, p->bytes);
        elapsed = now() - start;
    }
    for (int i = 0; i < tries; i++) {
        double start = now(), done = p->run(amount * 2, data, p->bytes);
        double rate = done / (now() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

static size_t cache_bytes(int name, size_t otherwise) {
    long bytes = sysconf(name);
    return bytes > 0 ? (size_t)bytes : otherwise;
}

static int list_peaks(peak *peaks) {
    size_t l1 = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 << 10);
    size_t l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 512 << 10);
    size_t l3 = cache_bytes(_SC_LEVEL3_CACHE_SIZE, 8 << 20);
    size_t memory = 4 * l3 < (size_t)1 << 30 ? 4 * l3 : (size_t)1 << 30;
    size_t third = l3 / 4 > 3 * l2 ? l3 / 4 : 3 * l2;
    const peak vectors[] = {{"f32", "flops", multiply_add, 0},
                            {"l1", "bytes", read_bytes, l1 / 2},
                            {"l2", "bytes", read_bytes, l2 / 2},
                            {"l3", "bytes", read_bytes, third < (size_t)24 << 20 ? third : (size_t)24 << 20},
                            {"dram", "bytes", read_bytes, memory}};
    int count = (int)(sizeof vectors / sizeof *vectors);
    memcpy(peaks, vectors, sizeof vectors);
#ifdef HAS_AMX
    if (start_amx()) {
        peaks[count++] = (peak){"bf16", "flops", amx_bf16, 0};
        peaks[count++] = (peak){"int8", "flops", amx_int8, 0};
    }
#endif
    return count;
}

static int serve(const peak *peaks, int count, void *data) {
    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        double rate = 0;
        for (int i = 0; i < count; i++)
            if (strcmp(line, peaks[i].name) == 0)
                rate = measure(&peaks[i], data, 4e-3, 1);
        printf("%.6g\n", rate);
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    peak peaks[8];
    int count = list_peaks(peaks);
    size_t most = 0;
    for (int i = 0; i < count; i++)
        most = peaks[i].bytes > most ? peaks[i].bytes : most;
    most = (most + 4095) / 4096 * 4096;
    void *data = aligned_alloc(4096, most);
    if (data == NULL)
        return 1;
    memset(data, 0, most); /* pages of its own: an untouched one is the kernel's single page of zeros */
    if (argc > 1 && strcmp(argv[argc - 1], "cpu") == 0)
        clock_id = CLOCK_PROCESS_CPUTIME_ID;
    if (argc > 1 && strcmp(argv[1], "--serve") == 0)
        return serve(peaks, count, data);
    for (int i = 0; i < count; i++)
        printf("%s\"%s\": {\"%s_per_second\": %.6g, \"array_bytes\": %zu}", i == 0 ? "{" : ", ",
               peaks[i].name, peaks[i].unit, measure(&peaks[i], data, 20e-3, 7), peaks[i].bytes);
    puts("}");
    free(data);
    return 0;
}
