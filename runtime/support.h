/* SPDX-License-Identifier: Apache-2.0
 *
 * support.h: the part of the runtime that stands inside every artifact, as driver functions and
 * hosts see it (kernels see runtime/kernel.h). All of it works on a tm_run and never allocates
 * but through run->host.
 */
#ifndef TM_RUNTIME_SUPPORT_H
#define TM_RUNTIME_SUPPORT_H

#include "tamis/artifact.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* ---- for hosts ---- */

/* Bytes of the memory block that tm_run_init lays a context out in (frame, dims, buffer table). */
int64_t tm_run_bytes(const tamis_artifact *artifact);
/* Lays out a context in `memory` (tm_run_bytes, aligned to TAMIS_ALIGNMENT): frame entries with rank,
 * type and dims pointers, dims from the template, empty buffers. The tm_run itself is the caller's. */
void tm_run_init(tm_run *run, const tamis_artifact *artifact, void *memory, const tamis_host *host);
/* Gives back buffers and arena. */
void tm_run_deinit(tm_run *run, const tamis_artifact *artifact);
/* After prepare(), with inputs and outputs bound and run->workspace set: gives every value of fixed
 * storage its data pointer. */
void tm_run_bind(tm_run *run, const tamis_artifact *artifact);
/* Forgets the arena's content (handles of the last run); keeps its memory. */
void tm_arena_reset(tm_run *run);
void tm_arena_destroy(tm_run *run);

/* prepare() for the dims in the frame's inputs, and whether the batch is to be run in slices: *out_length
 * samples each (0: as a whole). workspace_bytes is then what a slice takes, with its context. Returns 0 or a
 * tm_run_code. */
int32_t tm_slices_prepare(tm_run *run, const tamis_artifact *artifact, int64_t *out_length);
/* execute() of such a batch: inputs and outputs of the run are bound, and its workspace. `serial`: on this
 * thread. */
int32_t tm_slices_execute(tm_run *run, const tamis_artifact *artifact, int64_t length, int32_t serial);

/* The typed entry functions of generated headers: one call from arrays to answers. `memory` holds
 * tm_direct_bytes(artifact, dims); `dims` are all dims of all inputs, one after the other; `weights` is where
 * unpack() wrote, NULL: they are not coded. Returns 0 or a tm_run_code. Runs on the calling thread. */
int64_t tm_direct_bytes(const tamis_artifact *artifact, const int64_t *dims);
int32_t tm_direct_run(const tamis_artifact *artifact, const int64_t *dims, const void *const *inputs,
                      void *const *outputs, void *memory, const void *weights);

/* ---- for drivers (emitted code) ---- */

/* Fails when a != b; returns 0 or the code. `node` is for the message. */
int32_t tm_check_equal(tm_run *run, int32_t node, int64_t a, int64_t b);
/* The same for the numbers of elements of a view and of what it shows. */
int32_t tm_check_elements(tm_run *run, int32_t node, int64_t from, int64_t to);
/* A dim of an input outside of its declared range, or not what the expression says. `input` is its number. */
int32_t tm_check_range(tm_run *run, int32_t input, int64_t given, int64_t low, int64_t high);
int32_t tm_check_input_dim(tm_run *run, int32_t input, int64_t expected, int64_t given);
int32_t tm_check_dims(tm_run *run, int32_t node, int32_t overflow);
/* Did they? Not 0 if so. The failure is forgotten: for values of bodies, which may never be made. Only where
 * nothing failed before. */
int32_t tm_forgive_dims(tm_run *run, int32_t overflow);
/* Is dim number `axis` of what the node makes negative? */
int32_t tm_check_dim(tm_run *run, int32_t node, int32_t axis, int64_t dim);
/* Records a failure of kind `code` at `node`. */
int32_t tm_driver_fail(tm_run *run, int32_t node, int32_t code, int64_t a, int64_t b);
/* The broadcast of two dims; a mismatch is recorded (look at run->code). */
int64_t tm_broadcast_dim(tm_run *run, int64_t a, int64_t b);
int64_t tm_floordiv_dim(tm_run *run, int64_t a, int64_t b);
int64_t tm_truncdiv_dim(tm_run *run, int64_t a, int64_t b);
int64_t tm_floormod_dim(tm_run *run, int64_t a, int64_t b);
/* Element i of an integer or bool value; 0 past the end, which lists of unknown length have
 * (ir/ops/shape_list.h). */
int64_t tm_load_element(const tm_run *run, int32_t value, int64_t i);
/* Memory for a value with a buffer, by its dims as stored, or of so many bytes. */
int32_t tm_reserve_value(tm_run *run, int32_t node, int32_t value);
int32_t tm_reserve_bytes(tm_run *run, int32_t node, int32_t value, int64_t bytes);
/* values[to] = values[from]: dims, and a copy of the data (the pointer, for handles). */
int32_t tm_copy_value(tm_run *run, int32_t node, int32_t to, int32_t from);
/* Loop-carried values: pairs (to, from); all copies are made before any is visible, so that bodies may
 * swap values. Each `to` has two buffers, value_buffers[to] and the next one. */
int32_t tm_carry(tm_run *run, int32_t node, const int32_t *pairs, int32_t count);
/* Scan outputs of a Loop: begin, append one iteration's value, (length is dims[0]). The buffer doubles. */
void tm_scan_begin(tm_run *run, int32_t to);
int32_t tm_scan_append(tm_run *run, int32_t node, int32_t to, int32_t from);
/* Slice `index` along `axis` of `from` into `to` (rank one less): a view for axis 0, else a copy. */
int32_t tm_scan_slice(tm_run *run, int32_t node, int32_t to, int32_t from, int32_t axis, int64_t index);
/* Writes `from` at `index` of `length` along `axis` of `to`; the first call (index irrelevant) of a run sets
 * dims. */
int32_t tm_scan_store(tm_run *run, int32_t node, int32_t to, int32_t from, int32_t axis, int64_t index,
                      int64_t length, int32_t first);

/* Units 0..count of a region, in even tasks of about `grain`, cut anywhere. body's argument points to {run,
 * call}. */
int32_t tm_region_parallel(tm_run *run, const tm_call *call, int64_t count, int64_t grain,
                           int32_t (*body)(void *arg, int64_t begin, int64_t end));

/* ---- for attention regions (support_attention.c) ---- */

/* to[c][lane] = scale * from[lane][c] for `width` lanes, of which those from `rows` on repeat the last row.
 */
void tm_attention_turn(const float *from, int64_t stride, int64_t rows, int64_t columns, float *to,
                       int64_t width, float scale);
/* to[r][c] = from[c][r]: the way back. */
void tm_attention_return(const float *from, int64_t width, int64_t rows, int64_t columns, float *to,
                         int64_t stride);
/* The same for less than TM_ATTENTION_FEW columns. */
#define TM_ATTENTION_FEW 8
void tm_attention_turn_few(const float *from, int64_t stride, int64_t rows, int64_t columns, float *to,
                           int64_t width, float scale);
void tm_attention_return_few(const float *from, int64_t width, int64_t rows, int64_t columns, float *to,
                             int64_t stride);
/* to[key][lane] = what the mask adds to the score, and -inf in `padding` rows behind. 0, and nothing written:
 * no number of the mask is more than `least` (NaN: all are). */
int32_t tm_attention_mask_f32(const float *mask, int64_t query_stride, int64_t key_stride, int64_t rows,
                              int64_t keys, float *to, int64_t width, int64_t padding, float least);
int32_t tm_attention_mask_bool(const uint8_t *mask, int64_t query_stride, int64_t key_stride, int64_t rows,
                               int64_t keys, float *to, int64_t width, int64_t padding, float least);

#if defined(__cplusplus)
}
#endif
#endif
