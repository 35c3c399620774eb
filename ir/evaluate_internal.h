/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate_internal.h: what the files of the evaluator share.
 *
 *   evaluate_heap.c     the host of kernels: memory that goes away with the evaluation
 *   evaluate_parallel.c its threads
 *   evaluate_node.c     one node with constant inputs
 *   evaluate_model.c    a machine: frame, symbols, the walk over a graph's nodes
 *   evaluate_control.c  If, Loop and Scan on that machine
 */
#ifndef TM_IR_EVALUATE_INTERNAL_H
#define TM_IR_EVALUATE_INTERNAL_H

#include "ir/evaluate.h"

#include <pthread.h>

/* ---- heap ---- */
typedef struct tm_heap_block tm_heap_block;
typedef struct tm_heap {
    tm_heap_block *first;
    pthread_mutex_t lock;
    tamis_host host;
    const tamis_host *images; /* decodes them, or NULL */
} tm_heap;
/* When the arena is destroyed, so is what the heap still holds. */
tm_heap *tm_heap_create(tm_arena *arena, const tamis_host *images);
void tm_heap_clear(tm_heap *heap); /* releases all blocks */

/* evaluate_parallel.c: the host's parallel_for. */
int32_t tm_evaluate_parallel(void *user, int64_t count, int64_t grain,
                             int32_t (*body)(void *argument, int64_t begin, int64_t end), void *argument);

/* Files E_EVALUATE at the node with the run's failure in words. */
tm_code tm_report_run(tm_model *model, const tm_node *node, const tm_run *run);

/* A copy of a tensor (or sequence, or strings) in the arena. */
tamis_tensor tm_tensor_copy(tm_arena *arena, const tamis_tensor *tensor);

/* ---- machine ---- */
typedef struct tm_machine_plan tm_machine_plan;
typedef struct tm_step {
    tm_node *node;
    tm_kernel kernel; /* NULL: a view, or control flow */
    tm_call *call;    /* NULL: not prepared yet */
    const tm_constraint *const *constraints;
    size_t constraint_count;
    tm_machine_plan *bodies[2]; /* by number of the subgraph; made when first run */
} tm_step;

struct tm_machine_plan {
    tm_graph *graph;
    tm_step *steps;
    int64_t count;
};

typedef struct tm_machine {
    tm_model *model;
    tm_arena *arena;
    tm_heap *heap;
    tm_run run;                        /* values are numbered by id; number k has buffers 2k and 2k + 1 */
    int64_t *symbols;                  /* by symbol number */
    tm_symbol **bound;                 /* all bound symbols, grouped by value */
    int32_t *bound_from;               /* by value id: its group in `bound`; one more entry at the end */
    const tm_constraint **constraints; /* sorted by node */
    size_t constraint_count;
} tm_machine;

tm_machine_plan *tm_machine_plan_create(tm_machine *machine, tm_graph *graph);
/* The plan of subgraph `number` of the step's node. */
tm_machine_plan *tm_step_body(tm_machine *machine, tm_step *step, int number);
/* Runs all nodes; the graph's inputs are set. Failures are filed. */
TM_MUST_USE tm_code tm_machine_plan_run(tm_machine *machine, tm_machine_plan *plan);
/* The symbols that the value binds get their values. */
void tm_machine_bind(tm_machine *machine, const tm_value *value);
/* Sets the dims of the value from their expressions. */
TM_MUST_USE int32_t tm_machine_set_dims(tm_machine *machine, const tm_value *value);
/* Control flow; sets the node's outputs. */
TM_MUST_USE tm_code tm_machine_if(tm_machine *machine, tm_step *step);
TM_MUST_USE tm_code tm_machine_loop(tm_machine *machine, tm_step *step);
TM_MUST_USE tm_code tm_machine_scan(tm_machine *machine, tm_step *step);
/* A region means what its body does. */
TM_MUST_USE tm_code tm_machine_region(tm_machine *machine, tm_step *step);
/* Files the failure of the run at the node and returns its code; TM_OK for code 0. */
TM_MUST_USE tm_code tm_machine_check(tm_machine *machine, const tm_node *node, int32_t code);

#endif
