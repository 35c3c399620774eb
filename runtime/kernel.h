/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel.h: what a library kernel sees. A kernel is
 *
 *     int32_t tm_k_OP_KEY(tm_run *run, const tm_call *call)
 *
 * with KEY from the op's row in ir/ops.def ("T0" -> tm_k_Add_f32, "W0" -> tm_k_Transpose_w4,
 * "T0O0" -> tm_k_Cast_f32_i64, "" -> tm_k_NonZero). It reads tm_in(), writes tm_out(), takes its
 * attributes as `const tm_attrs_OP *a = tm_attributes(call)`, and returns 0 or tm_fail(...).
 *
 * Dims: output dims are already set and memory is there, unless the row has TM_DYNAMIC: then the
 * kernel calls tm_output(run, call, k, rank, dims), which stores the dims and gives memory.
 * Freestanding C11: no libc but memcpy, memmove, memset; math comes from runtime/math/. No statics.
 */
#ifndef TAMIS_KERNEL_H
#define TAMIS_KERNEL_H

#include "tamis/artifact.h"

#include <stdbool.h>

/* struct tm_attrs_OP for the standard ops; those of other domains are in runtime/attributes_DOMAIN.h. */
#define TM_ATTRIBUTE_ROWS "ir/rows/onnx.def"
#include "runtime/attribute_structs.h"
#define TM_ATTRIBUTE_ROWS "ir/rows/tamis.def"
#include "runtime/attribute_structs.h"

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int byte, size_t bytes);

static inline tamis_tensor *tm_in(const tm_run *run, const tm_call *call, int i) {
    return i < call->n_in && call->values[i] >= 0 ? &run->values[call->values[i]] : NULL;
}
static inline tamis_tensor *tm_out(const tm_run *run, const tm_call *call, int i) {
    return i < call->n_out && call->values[call->n_in + i] >= 0 ? &run->values[call->values[call->n_in + i]]
                                                                : NULL;
}
static inline const void *tm_attributes(const tm_call *call) {
    return (const char *)call + call->attributes;
}
static inline bool tm_has(tm_list list) { return list.offset != 0; }
static inline const int64_t *tm_ints(const void *attributes, tm_list list) {
    return (const int64_t *)(const void *)((const char *)attributes + list.offset);
}
static inline const double *tm_floats(const void *attributes, tm_list list) {
    return (const double *)(const void *)((const char *)attributes + list.offset);
}
static inline const char *tm_chars(const void *attributes, tm_list list) {
    return (const char *)attributes + list.offset;
}
static inline const tm_list *tm_strings(const void *attributes, tm_list list) {
    return (const tm_list *)(const void *)((const char *)attributes + list.offset);
}
/* Is the string attribute equal to the literal? */
static inline bool tm_is(const void *attributes, tm_list list, const char *literal) {
    const char *chars = tm_chars(attributes, list);
    int32_t i = 0;
    for (; i < list.count && literal[i] != 0; i++)
        if (chars[i] != literal[i])
            return false;
    return i == list.count && literal[i] == 0;
}

static inline int64_t tm_count(const tamis_tensor *t) {
    int64_t n = 1;
    for (int32_t i = 0; i < t->rank; i++)
        n *= t->dims[i];
    return n;
}
static inline int64_t tm_product(const int64_t *dims, int32_t from, int32_t to) {
    int64_t n = 1;
    for (int32_t i = from; i < to; i++)
        n *= dims[i];
    return n;
}

/* Records a failure (the first one stays) and returns its code. */
static inline int32_t tm_fail(tm_run *run, const tm_call *call, tm_run_code code, int64_t a, int64_t b) {
    if (run->code == 0) {
        run->code = code;
        run->node = call->node;
        run->detail[0] = a;
        run->detail[1] = b;
    }
    return code;
}

/* Runs body over 0..count in parallel; see tamis_host.parallel_for. The body must not call tm_fail
 * from several ranges with different meanings: return a code and let the caller record it. */
static inline int32_t tm_parallel(tm_run *run, int64_t count, int64_t grain,
                                  int32_t (*body)(void *arg, int64_t begin, int64_t end), void *arg) {
    if (count <= grain)
        return count > 0 ? body(arg, 0, count) : 0;
    return run->host->parallel_for(run->host->user, count, grain, body, arg);
}

/* ---- runtime/support.c: part of every artifact ---- */

/* Bytes of `count` packed elements. */
int64_t tm_type_bytes(int32_t type, int64_t count);
/* Memory for a value that has a buffer; the old content is lost. */
int32_t tm_reserve(tm_run *run, const tm_call *call, int32_t value, int64_t bytes);
/* For TM_DYNAMIC ops: sets rank and dims of output k and gives it memory. */
int32_t tm_output(tm_run *run, const tm_call *call, int k, int32_t rank, const int64_t *dims);
/* Memory that lives until the next execute(); for scratch, use tm_scratch. NULL: failed, recorded. */
void *tm_arena(tm_run *run, const tm_call *call, int64_t bytes);
/* Scratch memory of a kernel: tm_scratch then tm_unscratch in the same call. Comes from the host;
 * kernels that run often should rather work in place or on the stack (up to 16 KiB). */
void *tm_scratch(tm_run *run, const tm_call *call, int64_t bytes);
void tm_unscratch(tm_run *run, void *memory, int64_t bytes);

#endif
