/* SPDX-License-Identifier: Apache-2.0
 *
 * The default host: aligned memory, and a pool of threads for parallel_for.
 *
 * parallel_for(count, grain) cuts 0..count at multiples of `grain` into one piece a thread, always the
 * same way for the same number of threads; the caller takes the first piece, workers the others:
 *
 *     count 100, grain 16, 3 threads:   caller 0..48   worker 1 48..80   worker 2 80..100
 *
 * Workers sleep on a futex between jobs; after a job they look for the next one for some hundred
 * microseconds first, since a model's loops follow each other closely. The caller posts a job by one
 * store and a wake, and waits for the count of running workers to fall to zero. No lock is held: when the
 * pool is taken by another session, or the call comes from inside a body, the loop runs inline.
 *
 * fork: a child has no workers. A handler of pthread_atfork brings its pool to the state of no
 * threads, and the next parallel_for starts new ones. (Pools that keep their state hang there.)
 *
 * Why not OpenMP: its runtime spins, hangs after fork, and counts the machine's CPUs, not the cgroup's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/runtime_internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_THREADS 256
#define SPINS 400 /* about 10 to 20 microseconds */
/* Some 200 microseconds more: the loops of a model follow each other within that, and waking takes longer
 * than many of them. Whoever waits on the CPU of the one that it waits for lets it run. */
#define YIELDS 500
#define STACK_BYTES ((size_t)1 << 20)

typedef struct job {
    int32_t (*body)(void *arg, int64_t begin, int64_t end);
    void *arg;
    int64_t count, grain;
    int32_t pieces;
    uint64_t float_mode;
    int32_t codes[MAX_THREADS];
} job;

static struct pool {
    atomic_flag taken;        /* one job at a time */
    _Atomic uint32_t posted;  /* futex: number of jobs posted so far */
    _Atomic uint32_t running; /* futex: workers that have not finished the job */
    _Atomic uint32_t posted_sleepers,
        running_sleepers; /* threads in futex_wait: nobody there, no system call */
    int32_t workers;        /* started; worker w has piece w */
    _Atomic int32_t wanted; /* threads asked for by tamis_set_threads, 0 automatic */
    int32_t automatic;      /* CPUs of the process, 0: not counted yet */
    bool watches_fork;
    uint32_t seen_at_start[MAX_THREADS];
    job job;
} pool = {.taken = ATOMIC_FLAG_INIT};

static _Thread_local bool inside_body;

/* ---- CPUs of this process ---- */

/* CPUs that a cgroup's cpu.max grants ("200000 100000" is 2), 0 when unlimited. */
static int quota_of(const char *folder) {
    char path[PATH_MAX];
    long long quota, period;
    int cpus = 0;
    if ((size_t)snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", folder) >= sizeof path)
        return 0;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0)
        cpus = (int)((quota + period - 1) / period);
    fclose(file);
    return cpus;
}

/* The least quota of the process's cgroup (version 2) and the groups above it, 0 when unlimited. */
static int cgroup_cpus(void) {
    char line[PATH_MAX], folder[PATH_MAX] = "";
    int least = 0;
    FILE *file = fopen("/proc/self/cgroup", "r");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "0::/", 4) == 0)
            snprintf(folder, sizeof folder, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    fclose(file);
    for (;;) {
        int cpus = quota_of(folder);
        if (cpus > 0 && (least == 0 || cpus < least))
            least = cpus;
        char *slash = strrchr(folder, '/');
        if (slash == NULL)
            return least;
        *slash = 0;
    }
}

static int count_cpus(void) {
    int cpus = 1;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cpus = CPU_COUNT(&set);
    else if (sysconf(_SC_NPROCESSORS_ONLN) > 0)
        cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int quota = cgroup_cpus();
    if (quota > 0 && quota < cpus)
        cpus = quota;
    return cpus < 1 ? 1 : cpus > MAX_THREADS ? MAX_THREADS : cpus;
}

/* ---- waiting ---- */

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns the word's new value once it is not `value`. The order of the stores (sleepers, then the word is
 * read; the word, then sleepers are read in wake) makes sure that one side sees the other. */
static uint32_t wait_while(_Atomic uint32_t *word, _Atomic uint32_t *sleepers, uint32_t value) {
    for (int i = 0; i < SPINS; i++) {
        uint32_t now = atomic_load_explicit(word, memory_order_acquire);
        if (now != value)
            return now;
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        uint32_t now = atomic_load_explicit(word, memory_order_acquire);
        if (now != value)
            return now;
        sched_yield();
    }
    for (;;) {
        atomic_fetch_add(sleepers, 1);
        uint32_t now = atomic_load(word);
        if (now == value)
            futex_wait(word, value);
        atomic_fetch_sub(sleepers, 1);
        now = atomic_load(word);
        if (now != value)
            return now;
    }
}

static void wake(_Atomic uint32_t *word, _Atomic uint32_t *sleepers) {
    if (atomic_load(sleepers) > 0)
        futex_wake(word, INT_MAX);
}

/* ---- jobs ---- */

/* Piece i of n: whole grains, spread evenly, the first pieces one grain larger. */
static void cut(const job *job, int32_t piece, int64_t *out_begin, int64_t *out_end) {
    int64_t grains = (job->count - 1) / job->grain + 1;
    int64_t each = grains / job->pieces, extra = grains % job->pieces;
    int64_t first = piece * each + (piece < extra ? piece : extra);
    int64_t last = first + each + (piece < extra ? 1 : 0);
    *out_begin = first * job->grain;
    *out_end = last * job->grain < job->count ? last * job->grain : job->count;
}

static int32_t do_piece(job *job, int32_t piece) {
    int64_t begin, end;
    cut(job, piece, &begin, &end);
    return begin < end ? job->body(job->arg, begin, end) : 0;
}

static void *worker_main(void *argument) {
    int32_t number = (int32_t)(intptr_t)argument;
    uint32_t seen = pool.seen_at_start[number];
    inside_body = true; /* whatever a body calls runs inline */
    for (;;) {
        seen = wait_while(&pool.posted, &pool.posted_sleepers, seen);
        if (number < pool.job.pieces) {
            tm_float_mode_set(pool.job.float_mode);
            pool.job.codes[number] = do_piece(&pool.job, number);
        }
        if (atomic_fetch_sub(&pool.running, 1) == 1)
            wake(&pool.running, &pool.running_sleepers);
    }
    return NULL;
}

static void forget_workers(void) {
    pool.workers = 0;
    atomic_store(&pool.posted, 0);
    atomic_store(&pool.running, 0);
    atomic_store(&pool.posted_sleepers, 0);
    atomic_store(&pool.running_sleepers, 0);
    atomic_flag_clear(&pool.taken);
    inside_body = false;
}

/* Starts workers up to `threads` - 1, as many as the system gives. The pool is taken. */
static void start_workers(int32_t threads) {
    if (pool.workers >= threads - 1)
        return;
    if (!pool.watches_fork)
        pool.watches_fork = pthread_atfork(NULL, NULL, forget_workers) == 0;
    sigset_t all, old;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the program's threads' business */
    while (pool.workers < threads - 1) {
        pthread_t thread;
        int32_t number = pool.workers + 1;
        pool.seen_at_start[number] = atomic_load(&pool.posted);
        if (pthread_create(&thread, &attributes, worker_main, (void *)(intptr_t)number) != 0)
            break;
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
}

static int32_t threads_for(const int *limit, int64_t grains) {
    if (pool.automatic == 0)
        pool.automatic = count_cpus();
    int32_t wanted = pool.wanted;
    int32_t threads = wanted > 0 ? wanted : pool.automatic;
    if (limit != NULL && *limit > 0)
        threads = *limit < MAX_THREADS ? *limit : MAX_THREADS;
    return threads < grains ? threads : (int32_t)grains;
}

/* The pool is taken: runs the job on `pieces` threads. */
static int32_t run_job(int32_t pieces) {
    pool.job.pieces = pieces;
    pool.job.float_mode = tm_float_mode_get();
    memset(pool.job.codes, 0, sizeof(int32_t) * (size_t)pieces);
    atomic_store(&pool.running, (uint32_t)pool.workers);
    atomic_fetch_add(&pool.posted, 1);
    wake(&pool.posted, &pool.posted_sleepers);
    pool.job.codes[0] = do_piece(&pool.job, 0);
    for (;;) {
        uint32_t left = atomic_load_explicit(&pool.running, memory_order_acquire);
        if (left == 0)
            break;
        wait_while(&pool.running, &pool.running_sleepers, left);
    }
    for (int32_t i = 0; i < pieces; i++)
        if (pool.job.codes[i] != 0)
            return pool.job.codes[i];
    return 0;
}

static int32_t pool_parallel_for(void *user, int64_t count, int64_t grain,
                                 int32_t (*body)(void *arg, int64_t begin, int64_t end), void *arg) {
    if (count <= 0)
        return 0;
    if (grain < 1)
        grain = 1;
    int64_t grains = (count - 1) / grain + 1;
    if (grains == 1 || inside_body || atomic_flag_test_and_set_explicit(&pool.taken, memory_order_acquire))
        return body(arg, 0, count);
    int32_t code, threads = threads_for(user, grains);
    start_workers(threads);
    if (threads > pool.workers + 1)
        threads = pool.workers + 1;
    inside_body = true;
    if (threads == 1) {
        atomic_flag_clear_explicit(&pool.taken, memory_order_release);
        code = body(arg, 0, count);
        inside_body = false;
        return code;
    }
    pool.job.body = body;
    pool.job.arg = arg;
    pool.job.count = count;
    pool.job.grain = grain;
    code = run_job(threads);
    inside_body = false;
    atomic_flag_clear_explicit(&pool.taken, memory_order_release);
    return code;
}

/* ---- memory ---- */

static void *pool_allocate(void *user, size_t bytes) {
    (void)user;
    if (bytes > SIZE_MAX - TAMIS_ALIGNMENT)
        return NULL;
    size_t rounded = (bytes + TAMIS_ALIGNMENT - 1) & ~(size_t)(TAMIS_ALIGNMENT - 1);
    return aligned_alloc(TAMIS_ALIGNMENT, rounded > 0 ? rounded : TAMIS_ALIGNMENT);
}

static void pool_release(void *user, void *memory, size_t bytes) {
    (void)user;
    (void)bytes;
    free(memory);
}

const tamis_host *tamis_default_host(void) {
    static const tamis_host host = {NULL, pool_allocate, pool_release, pool_parallel_for,
                                    tm_host_decode_image};
    return &host;
}

void tamis_set_threads(int threads) {
    pool.wanted = threads < 0 ? 0 : threads > MAX_THREADS ? MAX_THREADS : threads;
}
