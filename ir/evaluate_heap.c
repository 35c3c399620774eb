/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate_heap.c: the host of the evaluator's kernels, and texts of their failures.
 *
 * Kernels ask their host for memory. Blocks come from malloc, aligned, each behind a header that chains
 * it into its heap:
 *
 *     | previous, next | ... 64 bytes | the kernel's memory
 *
 * so an evaluation gives back everything at once, and when the compiler runs out of memory in the middle of
 * one and jumps to its recovery point, the arena does. Large blocks are mapped, so that they go back to the
 * system and leave no holes between blocks of the arena. Kernels may ask from several threads.
 */
#include "ir/evaluate_internal.h"
#include "runtime/failure_text.h"
#include "runtime/sequence.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LARGE ((size_t)1 << 20)

struct tm_heap_block {
    tm_heap_block *previous, *next;
    size_t mapped; /* 0: from malloc */
};

static tm_heap_block *new_block(size_t bytes) {
    if (bytes < LARGE)
        return aligned_alloc(TAMIS_ALIGNMENT, bytes);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

static void free_block(tm_heap_block *block) {
    if (block->mapped > 0)
        munmap(block, block->mapped);
    else
        free(block);
}

static void clear_registered(void *heap) {
    tm_heap_clear(heap);
}

static void *heap_allocate(void *user, size_t bytes) {
    tm_heap *heap = user;
    size_t whole = 0;
    if (!tm_add_size(bytes, 2 * TAMIS_ALIGNMENT - 1, &whole))
        return NULL;
    whole &= ~(size_t)(TAMIS_ALIGNMENT - 1);
    tm_heap_block *block = new_block(whole);
    if (block == NULL)
        return NULL;
    block->mapped = whole >= LARGE ? whole : 0;
    pthread_mutex_lock(&heap->lock);
    block->previous = NULL;
    block->next = heap->first;
    if (heap->first != NULL)
        heap->first->previous = block;
    heap->first = block;
    pthread_mutex_unlock(&heap->lock);
    return (char *)block + TAMIS_ALIGNMENT;
}

static void heap_release(void *user, void *memory, size_t bytes) {
    tm_heap *heap = user;
    (void)bytes;
    if (memory == NULL)
        return;
    tm_heap_block *block = (tm_heap_block *)(void *)((char *)memory - TAMIS_ALIGNMENT);
    pthread_mutex_lock(&heap->lock);
    *(block->previous != NULL ? &block->previous->next : &heap->first) = block->next;
    if (block->next != NULL)
        block->next->previous = block->previous;
    pthread_mutex_unlock(&heap->lock);
    free_block(block);
}

static int32_t decode_image(void *user, const void *file, int64_t bytes, tamis_pixels pixels,
                            void *(*give)(void *context, int64_t height, int64_t width), void *context) {
    const tamis_host *host = ((const tm_heap *)user)->images;
    return host->decode_image(host->user, file, bytes, pixels, give, context);
}

tm_heap *tm_heap_create(tm_arena *arena, const tamis_host *images) {
    tm_heap *heap = TM_NEW(arena, tm_heap);
    bool decodes = images != NULL && images->decode_image != NULL;
    pthread_mutex_init(&heap->lock, NULL);
    tm_arena_on_destroy(arena, clear_registered, heap);
    heap->images = images;
    heap->host =
        (tamis_host){heap, heap_allocate, heap_release, tm_evaluate_parallel, decodes ? decode_image : NULL};
    return heap;
}

void tm_heap_clear(tm_heap *heap) {
    while (heap->first != NULL) {
        tm_heap_block *block = heap->first;
        heap->first = block->next;
        free_block(block);
    }
}

tm_code tm_report_run(tm_model *model, const tm_node *node, const tm_run *run) {
    tm_place place = {.file = model->file, .path = "main", .node_index = -1};
    if (node != NULL)
        place = tm_node_place(node);
    bool missing = run->code == TM_RUN_UNSUPPORTED || run->code == TM_RUN_TYPES;
    char text[256];
    tm_failure_text(run->code, run->detail[0], run->detail[1], text, sizeof text);
    tm_code code = missing ? TM_E_UNSUPPORTED_FORM : TM_E_EVALUATE;
    return tm_report(model->diagnostics, code, &place, NULL, "%s", text);
}

/* ---- copies into the arena ---- */

static void *copy_strings(tm_arena *arena, const tamis_string *strings, int64_t count) {
    tamis_string *copies = TM_NEW_ARRAY(arena, tamis_string, count > 0 ? count : 1);
    for (int64_t i = 0; i < count; i++) {
        copies[i].size = strings[i].size;
        copies[i].data =
            tm_arena_string_n(arena, strings[i].data != NULL ? strings[i].data : "", (size_t)strings[i].size);
    }
    return copies;
}

/* Values nest three deep at most: an optional of a sequence of tensors, a sequence of maps. */
tamis_tensor tm_tensor_copy(tm_arena *arena, const tamis_tensor *tensor) {
    tamis_tensor copy = *tensor;
    if (tensor->kind != TAMIS_KIND_TENSOR) {
        const tm_sequence *from = tensor->data;
        if (from == NULL)
            return copy;
        tm_sequence *to = tm_arena_alloc(arena, sizeof *to + (size_t)from->count * sizeof *to->items);
        to->count = from->count;
        for (int64_t i = 0; i < from->count; i++)
            to->items[i] = tm_tensor_copy(arena, &from->items[i]);
        copy.data = to;
        return copy;
    }
    int64_t count = 1;
    int64_t bytes = 0;
    copy.dims = TM_NEW_ARRAY(arena, int64_t, tensor->rank > 0 ? tensor->rank : 1);
    for (int i = 0; i < tensor->rank; i++) {
        copy.dims[i] = tensor->dims[i];
        count *= tensor->dims[i];
    }
    if (tensor->type == TAMIS_TYPE_STRING) {
        copy.data = copy_strings(arena, tensor->data, count);
        return copy;
    }
    if (!tm_type_size((tamis_type)tensor->type, count, &bytes))
        bytes = 0;
    copy.data = tm_arena_alloc(arena, bytes > 0 ? (size_t)bytes : 1);
    if (bytes > 0)
        memcpy(copy.data, tensor->data, (size_t)bytes);
    return copy;
}
