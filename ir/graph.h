/* SPDX-License-Identifier: Apache-2.0
 *
 * graph.h: models, graphs, nodes and values.
 *
 * A graph is a list of nodes in execution order over SSA values. A subgraph (body of If, Loop, Scan)
 * is a graph whose nodes may also read values of the graphs around it. All of it lives in the model's
 * arena; removing a node unlinks it. Uses are kept up to date by the functions below, so never write
 * node->inputs directly.
 *
 *     main(x: f32[batch, 4]) {
 *       %2: f32[batch, 4] = Add(%x, %c)
 *       %y: f32[4, batch] = Transpose(%2) {perm = [1, 0]}
 *       return %y
 *     }
 */
#ifndef TM_IR_GRAPH_H
#define TM_IR_GRAPH_H

#include "base/base.h"
#include "base/mapping.h"
#include "ir/dim.h"
#include "ir/op.h"
#include "tamis/artifact.h"

typedef struct tm_model tm_model;
typedef struct tm_graph tm_graph;
typedef struct tm_node tm_node;
typedef struct tm_value tm_value;

/* ---- element types ---- */
const char *tm_type_text(tamis_type type);   /* "f32" */
const char *tm_type_suffix(tamis_type type); /* "f32", "str": in kernel symbols */
tamis_type tm_type_parse(const char *text);  /* UNDEFINED: none */
int tm_type_bits(tamis_type type);           /* of one packed element; 128 for string */
bool tm_type_is_float(tamis_type type);      /* f16, bf16, f32, f64, float8, float4 */
bool tm_type_is_integer(tamis_type type);    /* signed and unsigned, not bool */
bool tm_type_is_signed(tamis_type type);
/* Are there values of that kind with such items? A sequence or an optional of maps, but no deeper nesting. */
bool tm_form_exists(tamis_kind kind, tamis_kind item);
/* Bytes of `count` packed elements; false on overflow. */
TM_MUST_USE bool tm_type_size(tamis_type type, int64_t count, int64_t *out_bytes);

/* ---- constants ---- */

/* A constant that may be replaced when the artifact is loaded (docs/slots.md). While the passes run it is an
 * input of the main graph, so nobody reads its elements; where products read it, a constant has `slot`. */
typedef struct tm_weight_slot {
    tm_value *value;
    const struct tm_constant *initial;
    int number;
} tm_weight_slot;

typedef struct tm_constant { /* dense, row-major; strings: tamis_string records */
    tamis_type type;
    int rank;
    const int64_t *dims;
    const void *data;  /* borrowed from the mapped file or the arena; aligned to the element's size */
    int64_t bytes;
    /* Not 0 (TM_PANEL_COLUMNS at most) for f32 weights that the weights section holds packed: columns of a
     * panel. `data` and `bytes` are unpacked. A matrix [K, N] has N columns of K rows. Weights of a
     * convolution [M, C, kernel...] have M columns in `panel_groups` groups with panels of their own; their
     * rows are C*kernel, channels next to each other or as they stand. In a panel row stands after row; the
     * last panel of a group is filled up with zeros. Matrices that are stored as bfloat16, rounded when they
     * are written, are tiles (ir/tiles.h). */
    int panel;
    tamis_type stored;        /* of a matrix: what the weights section holds */
    int panel_groups;         /* of a convolution */
    bool panel_channels_last; /* rows [kernel..., C], else [C, kernel...] */
    /* not NULL: weights [N, K] of few bits, packed with their scales (ir/bits.h) */
    const struct tm_bits *bits;
    const struct tm_sparse *sparse; /* not NULL: tiles of bytes without their zeros (ir/sparse.h) */
    /* not NULL: the elements are those of a slot, or of its transpose; they may change */
    const tm_weight_slot *slot;
    bool slot_turned;
} tm_constant;
#define TM_PANEL_COLUMNS 64
/* The packed form: `groups` times as many panels as `columns` need, of `rows` rows each. */
typedef struct tm_panels {
    int64_t groups, columns, rows;
} tm_panels;
tm_panels tm_constant_panels(const tm_constant *constant);
int64_t tm_constant_stored_bytes(const tm_constant *constant); /* in the weights section */
int64_t tm_constant_count(const tm_constant *constant);
tm_constant *tm_constant_create(tm_arena *arena, tamis_type type, int rank, const int64_t *dims,
                                const void *data); /* data is borrowed */
tm_constant *tm_constant_create_i64(tm_arena *arena, int rank, const int64_t *dims,
                                    const int64_t *values);                             /* copies */
tm_constant *tm_constant_create_scalar(tm_arena *arena, tamis_type type, double value); /* rank 0 */
/* Element i of an integer or bool constant; false for other types. */
bool tm_constant_int(const tm_constant *constant, int64_t i, int64_t *out_value);
/* Element i of any real numeric type as double (f16, bf16, float8, sub-byte too). */
bool tm_constant_double(const tm_constant *constant, int64_t i, double *out_value);

/* ---- attributes ---- */
typedef struct tm_attribute {
    bool present; /* set in the model; else the row's default holds, if any */
    int64_t i;
    double f;
    const char *s;     /* string */
    int64_t s_size;
    const int64_t *ints;
    const double *floats;
    const char *const *strings;
    int64_t count;     /* of a list */
    const tm_constant *tensor;
    tm_graph *graph;
} tm_attribute;

/* ---- values ---- */
typedef struct tm_use {
    tm_node *node; /* NULL: the value is output `index` of graph `graph` */
    tm_graph *graph;
    int index;
} tm_use;

struct tm_value {
    int32_t id;         /* unique in the model */
    const char *name;   /* as in the file; unique after import */
    tamis_kind kind;
    tamis_kind item;    /* of the items of a sequence, optional or map; NONE for tensors */
    tamis_type type;    /* of the elements; of the innermost tensors for sequences and their like */
    tamis_type key;     /* of the keys of a map, or of the maps in a sequence or optional */
    int rank;           /* -1: unknown */
    int declared_rank;  /* what the model says of a node's output or a body's input, -1: nothing. A hint: the
                           last resort of inference */
    tm_dim *dims; /* rank entries; for sequences and their like the dims of an innermost tensor (FREE where
                     they vary) */
    tm_node *producer;  /* NULL: graph input or constant */
    int output_index;
    tm_graph *graph;    /* where it is defined; NULL once its node was removed */
    const tm_constant *constant; /* not NULL: a constant */
    const tm_weight_slot *slot;  /* not NULL: an input of the main graph that is a slot */
    tm_dim *elements; /* known elements of a small integer or bool tensor (flat), or NULL; an entry is never
                         NULL */
    int64_t element_count;
    bool open_rank; /* in the first inference: there may be fewer leading dims of 1, see ir/ops/open_rank.c */
    TM_VECTOR(tm_use) uses;
    /* LOAD and FREE symbols that it binds, so that inference finds them again */
    TM_VECTOR(tm_symbol *) symbols;
};

/* ---- nodes ---- */
struct tm_node {
    tm_op op;
    const char *name;
    tm_graph *graph;
    tm_node *previous, *next;
    tm_value **inputs; /* NULL entries: omitted */
    int input_count;
    tm_value **outputs; /* NULL entries: omitted */
    int output_count;
    tm_attribute *attributes; /* one for each of the op's row */
    int64_t file_index;       /* index of the node in its graph in the file, or -1 */
    const char *file_path;    /* "main/If_3.then_branch" for messages */
    void *region;             /* op Region: the name of its function, set by codegen */
};

struct tm_graph {
    tm_model *model;
    const char *name;
    tm_graph *outer;   /* NULL: the main graph */
    tm_node *owner;    /* the control flow node that holds it */
    TM_VECTOR(tm_value *) inputs;
    TM_VECTOR(tm_value *) outputs;
    tm_node *first, *last;
    int64_t node_count;
};

/* A pair of dims that must be equal when the model runs, found by inference at `node`. */
typedef struct tm_constraint {
    tm_node *node;
    tm_dim a, b;
} tm_constraint;

struct tm_model {
    tm_arena *arena;
    tm_diagnostics *diagnostics;
    tm_dims *dims;
    const char *file; /* for messages */
    /* whose decode_image evaluations use; NULL: none, so that folding depends on the file only */
    const tamis_host *host;
    const void *source; /* the bytes that it was imported from, borrowed; NULL: made otherwise */
    size_t source_bytes;
    tm_mappings *mappings; /* files that constants point into; what reads many constants notes it there */
    tm_graph *main;
    int32_t value_count; /* ids given out */
    TM_VECTOR(tm_value *) values; /* by id */
    TM_VECTOR(tm_constraint) constraints;
    TM_VECTOR(tm_weight_slot *) slots;
    tm_map names; /* of values, given out: what tm_value_create makes unique */
};

tm_model *tm_model_create(tm_arena *arena, tm_diagnostics *diagnostics, const char *file);
tm_graph *tm_graph_create(tm_model *model, const char *name, tm_graph *outer);

/* New values. `name` NULL: a fresh one. Names are made unique (suffix .1, .2...). */
tm_value *tm_value_create(tm_graph *graph, const char *name);
tm_value *tm_value_create_constant(tm_graph *graph, const char *name,
                                   const tm_constant *constant); /* sets type, dims, elements */
void tm_value_set_tensor(tm_value *value, tamis_type type, int rank, const tm_dim *dims); /* copies dims */
/* A sequence or optional of tensors; rank -1: that of an element is not known. */
void tm_value_set_handle(tm_value *value, tamis_kind kind, tamis_type type, int rank, const tm_dim *dims);
/* Kind, item, type and key as `from` has them; no known elements. */
void tm_value_set_form(tm_value *value, const tm_value *from, int rank, const tm_dim *dims);
bool tm_value_same_form(const tm_value *a, const tm_value *b); /* the same kind, item, type and key */
const char *tm_value_form_text(tm_arena *arena, const tm_value *value); /* "sequence map(i64) f32" */
void tm_graph_add_input(tm_graph *graph, tm_value *value);
void tm_graph_add_output(tm_graph *graph, tm_value *value);
void tm_graph_set_output(tm_graph *graph, int index, tm_value *value);
void tm_graph_clear_outputs(tm_graph *graph);

/* New node before `before` (NULL: at the end). Inputs may hold NULL. Outputs are made by
 * tm_node_add_output or given with tm_node_set_output. Attributes all absent. */
tm_node *tm_node_create(tm_graph *graph, tm_node *before, tm_op op, const char *name, int input_count,
                        tm_value *const *inputs);
tm_value *tm_node_add_output(tm_node *node, const char *name); /* appends a new value */
void tm_node_add_omitted_output(tm_node *node);
/* Makes `value` (or NULL) output `index`, taking it from its old producer; index == output_count appends. */
void tm_node_set_output(tm_node *node, int index, tm_value *value);
void tm_node_set_input(tm_node *node, int index, tm_value *value); /* index == input_count appends */
void tm_node_trim_inputs(tm_node *node, int count); /* drops inputs from `count` on */
void tm_node_move_before(tm_node *node, tm_node *before); /* same graph */
/* Moves a node of a body out to the graph of `before`; what it reads must be in scope there. */
void tm_node_adopt(tm_node *node, tm_node *before);
void tm_node_remove(tm_node *node); /* its outputs must be unused; drops its uses, and its subgraphs' */
/* All uses of `from` (nodes, graph outputs) read `to` instead. */
void tm_value_replace(tm_value *from, tm_value *to);
static inline bool tm_value_unused(const tm_value *value) { return value->uses.count == 0; }
/* The only node that reads the value, once, not being a graph output; else NULL. */
tm_node *tm_value_single_user(const tm_value *value);
static inline bool tm_value_is_constant(const tm_value *value) {
    return value != NULL && value->constant != NULL;
}

/* Attributes: by index in the row, or by name (name must be in the row). Getters give the default
 * when absent. */
int64_t tm_node_int(const tm_node *node, const char *name); /* TM_NO_DEFAULT when absent without default */
double tm_node_float(const tm_node *node, const char *name);     /* NaN when absent without default */
const char *tm_node_string(const tm_node *node, const char *name); /* NULL when absent without default */
const tm_attribute *tm_node_attribute(const tm_node *node,
                                      const char *name);           /* the record; look at present */
bool tm_node_has_attribute(const tm_node *node, const char *name); /* present in the model */
tm_graph *tm_node_graph(const tm_node *node, const char *name);  /* NULL: absent */
void tm_node_set_int(tm_node *node, const char *name, int64_t value);
void tm_node_set_float(tm_node *node, const char *name, double value);
void tm_node_set_string(tm_node *node, const char *name, const char *value);
void tm_node_set_ints(tm_node *node, const char *name, const int64_t *values, int64_t count); /* copies */
void tm_node_set_floats(tm_node *node, const char *name, const double *values, int64_t count);
void tm_node_set_strings(tm_node *node, const char *name, const char *const *values, int64_t count);
void tm_node_set_tensor(tm_node *node, const char *name, const tm_constant *value);
void tm_node_set_graph(tm_node *node, const char *name, tm_graph *graph); /* sets graph->owner */

/* Scan: where scan input or output k, a value of this rank, has its scanned axis by the list attribute;
 * whether it runs backwards by the list of directions. */
int tm_scan_axis(const tm_node *scan, const char *list, int k, int rank);
bool tm_scan_backwards(const tm_node *scan, const char *list, int k);

/* Graphs held by a node, in the row's order. */
int tm_node_subgraph_count(const tm_node *node);
tm_graph *tm_node_subgraph(const tm_node *node, int i);
/* Is `inner` the graph or inside it? */
bool tm_graph_contains(const tm_graph *graph, const tm_graph *inner);

/* Where a node stands, for messages. */
tm_place tm_node_place(const tm_node *node);
/* The same as one phrase, for run-time messages:
 * "main node 3: Add '/layer/Add'", "Gather (node 12 of main)". */
const char *tm_node_text(tm_arena *arena, const tm_node *node);

/* Rules that hold between passes: every input defined before use and in scope, arity and attributes as
 * in the row, uses exact, types and ranks known, names unique. Files TM_E_VERIFY and returns it. */
TM_MUST_USE tm_code tm_verify(const tm_model *model);

#endif
