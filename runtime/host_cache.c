/* SPDX-License-Identifier: Apache-2.0
 *
 * What a session hands to compiled code as its host: the real one behind a small store of freed blocks.
 *
 * Some kernels take scratch memory and give it back in each call. Blocks of megabytes come from
 * the system by mmap and go back by munmap, so every run would pay for fresh pages, and a run with known dims
 * would not be free of allocations. Here a released block waits for the next request of its size class:
 *
 *     run 1   allocate 300 KB -> host          release -> store
 *     run 2   allocate 300 KB -> store         release -> store
 *
 * Sizes are rounded up to quarters of powers of two, so that release() finds a block's true size from the
 * size that was asked for. The store is guarded by a flag that nobody waits for: bodies of parallel loops
 * that meet there go to the host.
 */
#include "runtime/runtime_internal.h"

/* 64, 80, 96, 112, 128, 160, ...: a quarter of a power of two at most is wasted. */
static size_t size_class(size_t bytes) {
    if (bytes <= TAMIS_ALIGNMENT)
        return TAMIS_ALIGNMENT;
    size_t step = (size_t)1 << (61 - __builtin_clzl(bytes - 1));
    if (bytes > SIZE_MAX - step)
        return bytes;
    return (bytes + step - 1) / step * step;
}

static void *cached_allocate(void *user, size_t bytes) {
    tm_host_store *store = user;
    size_t size = size_class(bytes);
    void *memory = NULL;
    if (!atomic_flag_test_and_set_explicit(&store->busy, memory_order_acquire)) {
        for (int i = store->count - 1; i >= 0 && memory == NULL; i--)
            if (store->blocks[i].bytes == size) {
                memory = store->blocks[i].memory;
                store->blocks[i] = store->blocks[--store->count];
            }
        atomic_flag_clear_explicit(&store->busy, memory_order_release);
    }
    return memory != NULL ? memory : store->host.allocate(store->host.user, size);
}

static void cached_release(void *user, void *memory, size_t bytes) {
    tm_host_store *store = user;
    tm_host_block out = {memory, size_class(bytes)};
    if (memory == NULL)
        return;
    if (!atomic_flag_test_and_set_explicit(&store->busy, memory_order_acquire)) {
        if (store->count < TM_HOST_STORE_BLOCKS) {
            store->blocks[store->count++] = out;
            out.memory = NULL;
        } else { /* the one that was not wanted for longest makes room */
            tm_host_block oldest = store->blocks[store->next];
            store->blocks[store->next] = out;
            store->next = (store->next + 1) % TM_HOST_STORE_BLOCKS;
            out = oldest;
        }
        atomic_flag_clear_explicit(&store->busy, memory_order_release);
    }
    if (out.memory != NULL)
        store->host.release(store->host.user, out.memory, out.bytes);
}

static int32_t cached_parallel_for(void *user, int64_t count, int64_t grain,
                                   int32_t (*body)(void *arg, int64_t begin, int64_t end), void *arg) {
    const tm_host_store *store = user;
    return store->host.parallel_for(store->host.user, count, grain, body, arg);
}

static int32_t cached_decode_image(void *user, const void *file, int64_t bytes, tamis_pixels pixels,
                                   void *(*give)(void *context, int64_t height, int64_t width),
                                   void *context) {
    const tm_host_store *store = user;
    return store->host.decode_image(store->host.user, file, bytes, pixels, give, context);
}

void tm_host_store_init(tm_host_store *store, const tamis_host *host, tamis_host *out_cached) {
    store->host = *host;
    atomic_flag_clear(&store->busy);
    *out_cached = (tamis_host){store, cached_allocate, cached_release, cached_parallel_for,
                               host->decode_image != NULL ? cached_decode_image : NULL};
}

void tm_host_store_deinit(tm_host_store *store) {
    for (int i = 0; i < store->count; i++)
        store->host.release(store->host.user, store->blocks[i].memory, store->blocks[i].bytes);
    store->count = 0;
}
