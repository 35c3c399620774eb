/* SPDX-License-Identifier: Apache-2.0
 *
 * plan.h: where every value lives while a model runs.
 *
 * The plan numbers the values that compiled code touches (the frame), gives each a storage class, and
 * lets values whose lifetimes do not meet share memory. Sizes may be symbolic: a slot's size is the
 * maximum of its members' size expressions, and prepare() turns the sizes into offsets.
 */
#ifndef TM_CODEGEN_PLAN_H
#define TM_CODEGEN_PLAN_H

#include "ir/graph.h"

typedef struct tm_plan_value {
    tm_value *value;
    tm_storage storage;
    int64_t argument; /* see tm_storage */
    int32_t dims_offset;
    int32_t root;       /* frame number of the value whose memory it has (itself, unless a view) */
    bool late;          /* some dim is known only while running, or a handle */
    const tm_constant *constant; /* of storage CONSTANT: what stands there */
    bool shares;        /* a constant that stands where an equal one does */
    bool unfixed;       /* its data pointer changes while running */
    int64_t begin, end; /* lifetime in positions, inclusive */
} tm_plan_value;

typedef struct tm_plan_slot {
    TM_VECTOR(int32_t) members; /* frame numbers */
    int64_t hint;               /* bytes, under example dims */
} tm_plan_slot;

/* A file of weights, which several artifacts share. */
typedef struct tm_shared_weights {
    const char *name;
    uint64_t id;   /* the chain over its index */
    int64_t count; /* entries of that */
} tm_shared_weights;

typedef struct tm_plan {
    tm_model *model;
    tm_arena *arena;
    TM_VECTOR(tm_plan_value) values;
    int32_t *frame; /* value id -> frame number, or -1 */
    TM_VECTOR(tm_plan_slot) slots;
    int32_t buffer_count;
    int32_t dims_count;    /* dims of values, then symbols, then slot offsets */
    int32_t symbol_dims;   /* first entry of the symbols */
    int32_t slot_dims;     /* first entry of the slot offsets */
    bool *symbol_used;     /* by symbol number */
    int64_t weights_bytes; /* constants, with padding */
    const struct tm_coded *coded; /* store.h: what the artifact has in their place, or NULL */
    const tm_shared_weights *shared; /* the file that has them, or NULL */
    bool allocates;
} tm_plan;

/* Makes outputs distinct values with memory of their own (adds Copy nodes): call before inference and plan.
 */
TM_MUST_USE tm_code tm_plan_prepare_outputs(tm_model *model);
TM_MUST_USE tm_code tm_plan_create(tm_model *model, tm_plan **out_plan);
static inline int32_t tm_plan_frame(const tm_plan *plan, const tm_value *value) {
    return value == NULL ? -1 : plan->frame[value->id];
}
/* Bytes of weights in the artifact. */
int64_t tm_plan_stored_bytes(const tm_plan *plan);
/* The symbols of the input dims, in the order in which they first stand: arguments of the typed functions. */
tm_symbol **tm_plan_input_symbols(const tm_plan *plan, size_t *out_count);
/* Is any dim late, or is it a handle? */
bool tm_value_is_late(const tm_value *value);
/* The value whose bytes a view shows (follows TM_VIEW nodes), or the value itself. */
tm_value *tm_value_root(tm_value *value);
/* May a region's output lie where its input with this root does, given that nothing reads that afterwards? */
bool tm_plan_may_reuse(const tm_value *output, const tm_value *root);

#endif
