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
 * one and jumps to its recovery point, the arena does. parallel_for is a plain call: the oracle needs no
 * speed, and one range is one of the cuts a host may choose.
 */
#include "ir/evaluate_internal.h"
#include "runtime/sequence.h"

#include <stdlib.h>
#include <string.h>

struct tm_heap_block {
    tm_heap_block *previous, *next;
};

static void clear_registered(void *heap) {
    tm_heap_clear(heap);
}

static void *heap_allocate(void *user, size_t bytes) {
    tm_heap *heap = user;
    size_t whole = 0;
    if (!heap->registered) {
        heap->registered = true;
        tm_arena_on_destroy(heap->arena, clear_registered, heap);
    }
    if (!tm_add_size(bytes, 2 * TAMIS_ALIGNMENT - 1, &whole))
        return NULL;
    tm_heap_block *block = aligned_alloc(TAMIS_ALIGNMENT, whole & ~(size_t)(TAMIS_ALIGNMENT - 1));
    if (block == NULL)
        return NULL;
    block->previous = NULL;
    block->next = heap->first;
    if (heap->first != NULL)
        heap->first->previous = block;
    heap->first = block;
    return (char *)block + TAMIS_ALIGNMENT;
}

static void heap_release(void *user, void *memory, size_t bytes) {
    tm_heap *heap = user;
    (void)bytes;
    if (memory == NULL)
        return;
    tm_heap_block *block = (tm_heap_block *)(void *)((char *)memory - TAMIS_ALIGNMENT);
    *(block->previous != NULL ? &block->previous->next : &heap->first) = block->next;
    if (block->next != NULL)
        block->next->previous = block->previous;
    free(block);
}

static int32_t call_serially(void *user, int64_t count, int64_t grain,
                             int32_t (*body)(void *argument, int64_t begin, int64_t end), void *argument) {
    (void)user;
    (void)grain;
    return body(argument, 0, count);
}

static int32_t decode_image(void *user, const void *file, int64_t bytes, tamis_pixels pixels,
                            void *(*give)(void *context, int64_t height, int64_t width), void *context) {
    const tamis_host *host = ((const tm_heap *)user)->images;
    return host->decode_image(host->user, file, bytes, pixels, give, context);
}

tm_heap *tm_heap_create(tm_arena *arena, const tamis_host *images) {
    tm_heap *heap = TM_NEW(arena, tm_heap);
    bool decodes = images != NULL && images->decode_image != NULL;
    heap->arena = arena;
    heap->images = images;
    heap->host =
        (tamis_host){heap, heap_allocate, heap_release, call_serially, decodes ? decode_image : NULL};
    return heap;
}

void tm_heap_clear(tm_heap *heap) {
    while (heap->first != NULL) {
        tm_heap_block *block = heap->first;
        heap->first = block->next;
        free(block);
    }
}

static const char *failure_text(tm_arena *arena, const tm_run *run) {
    long long a = (long long)run->detail[0];
    long long b = (long long)run->detail[1];
    switch ((tm_run_code)run->code) {
    case TM_RUN_INPUT_RANK:
        return tm_arena_format(arena, "an input has %lld dims where %lld are declared", b, a);
    case TM_RUN_INPUT_TYPE:
        return tm_arena_format(arena, "an input has type %s where %s is declared",
                               tm_type_text((tamis_type)b), tm_type_text((tamis_type)a));
    case TM_RUN_INPUT_DIM:
        return tm_arena_format(arena, "a dim of an input is %lld where %lld is needed", b, a);
    case TM_RUN_DIM_RANGE:
        return tm_arena_format(arena, "a dim is out of range (%lld, %lld)", a, b);
    case TM_RUN_DIM_MISMATCH:
        return tm_arena_format(arena, "dims that must agree are %lld and %lld", a, b);
    case TM_RUN_INDEX_RANGE:
        return tm_arena_format(arena, "index %lld is out of range for %lld", a, b);
    case TM_RUN_MEMORY:
        return tm_arena_format(arena, "no memory for %lld bytes", a);
    case TM_RUN_VALUE:
        return tm_arena_format(arena, "the value %lld is not allowed (bound %lld)", a, b);
    case TM_RUN_DIVIDE:
        return tm_arena_format(arena, "integer division by zero at element %lld", a);
    case TM_RUN_EMPTY:
        return "the optional has no element";
    case TM_RUN_SEQUENCE:
        return tm_arena_format(arena, "position %lld is outside of a sequence of %lld", a, b);
    case TM_RUN_IMAGE:
        return "nothing here decodes images of this format";
    default:
        return tm_arena_format(arena, "the kernel does not do this combination (%lld, %lld)", a, b);
    }
}

tm_code tm_report_run(tm_model *model, const tm_node *node, const tm_run *run) {
    tm_place place = {.file = model->file, .path = "main", .node_index = -1};
    if (node != NULL)
        place = tm_node_place(node);
    tm_code code = run->code == TM_RUN_UNSUPPORTED ? TM_E_UNSUPPORTED_FORM : TM_E_EVALUATE;
    return tm_report(model->diagnostics, code, &place, NULL, "%s", failure_text(model->arena, run));
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
