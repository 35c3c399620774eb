/* SPDX-License-Identifier: Apache-2.0
 *
 * region_sparse_finish.c: everything elementwise behind a sparse product of which bytes are left, done while
 * the rows are in the lanes, as the sums come.
 *
 *     sums[column][row] -> f -> bytes, of 4 columns side by side: words[column / 4][row]
 *
 * That is the form in which sparse products read a left factor (ir/sparse.h), so between two of them nothing
 * is turned. For other readers the words are, a quarter of what the sums would be. What each column has of
 * its own, scales and biases, is one number for all lanes.
 */
#include "codegen/llvm/region_sparse.h"

#include "codegen/llvm/region_tiles.h"
#include "codegen/llvm/transpose.h"

#define B (r->e->builder)
#define MOST_VECTORS 2
#define MOST_POINTS (MOST_VECTORS * TM_SPARSE_GROUP)
#define WORDS (TM_SPARSE_PANEL / TM_SPARSE_GROUP) /* of a panel */

typedef struct finish {
    tm_contract *c;
    LLVMValueRef row, column; /* of the current point */
} finish;

/* A vector of rows of a column. */
typedef struct point {
    LLVMValueRef *values; /* of the body, by their number */
    LLVMValueRef row, column;
    LLVMValueRef bytes; /* what comes out */
} point;

static void at_point(tm_region *r, finish *f, const point *p) {
    r->point = p->values;
    f->row = p->row;
    f->column = p->column;
}

static LLVMValueRef load(tm_region *r, int input) {
    const finish *f = r->kind;
    const tm_contract *c = f->c;
    const tm_value *value = r->node->inputs[input];
    if (c->numbers[input] != NULL)
        return c->numbers[input];
    if (!tm_dim_is(value->dims[value->rank - 1], 1)) { /* for each column; some points are beyond the last */
        LLVMValueRef last = tm_sub(r, c->n, tm_int(r, 1));
        return tm_load_splat(r, value->type, c->data[input], tm_min(r, f->column, last));
    }
    r->mask = tm_tail_mask(r, tm_sub(r, c->m, f->row));
    LLVMValueRef vector = tm_load_vector(r, value->type, c->data[input], f->row);
    r->mask = NULL;
    return vector;
}

/* All points take each step of the body before any takes the next: one point would wait for itself at each
 * step, and a processor does not look far enough ahead to find the next one. */
static void take_steps(tm_region *r, finish *f, point *points, int count) {
    const tm_node *last = r->body->outputs.items[0]->producer;
    for (const tm_node *node = r->body->first; node != last; node = node->next)
        for (int p = 0; p < count && node != f->c->product && node != f->c->start; p++) {
            at_point(r, f, &points[p]);
            (void)tm_region_value(r, node->outputs[0]);
        }
    for (int p = 0; p < count; p++) {
        at_point(r, f, &points[p]);
        points[p].bytes = tm_region_low_bytes(r, r->body->outputs.items[0]);
    }
}

/* The low bytes of 4 points side by side. */
static LLVMValueRef join(tm_region *r, const point *points) {
    LLVMValueRef words = NULL, low = tm_splat(r, tm_emit_i32(r->e, 0xff));
    for (int i = 0; i < TM_SPARSE_GROUP; i++) {
        LLVMValueRef byte = LLVMBuildAnd(B, points[i].bytes, low, "");
        byte = LLVMBuildShl(B, byte, tm_splat(r, tm_emit_i32(r->e, 8 * i)), "");
        words = words != NULL ? LLVMBuildOr(B, words, byte, "") : byte;
    }
    return words;
}

/* Words of 4 columns for some vectors of rows. `sums`: of the first column. */
static void make_words(tm_region *r, finish *f, LLVMValueRef sums, LLVMValueRef column, LLVMValueRef row,
                       int vectors, LLVMValueRef to) {
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_INT32);
    LLVMValueRef *before = r->point;
    point points[MOST_POINTS];
    int count = vectors * TM_SPARSE_GROUP;
    for (int p = 0; p < count; p++) {
        int i = p % TM_SPARSE_GROUP, v = p / TM_SPARSE_GROUP;
        points[p] = (point){.values = tm_region_point_table(r),
                            .row = tm_add(r, row, tm_int(r, v * r->lanes)),
                            .column = tm_add(r, column, tm_int(r, i))};
        LLVMValueRef at = tm_tiles_address(r, sums, tm_int(r, i * TM_SPARSE_LINE + 4 * v * r->lanes));
        LLVMValueRef sum = LLVMBuildLoad2(B, vector, at, "");
        LLVMSetAlignment(sum, 16);
        at_point(r, f, &points[p]);
        tm_region_set(r, (f->c->start != NULL ? f->c->start : f->c->product)->outputs[0], sum);
    }
    take_steps(r, f, points, count);
    r->point = before;
    for (int v = 0; v < vectors; v++) {
        LLVMValueRef words = join(r, points + v * TM_SPARSE_GROUP);
        LLVMSetAlignment(LLVMBuildStore(B, words, tm_tiles_address(r, to, tm_int(r, 4 * v * r->lanes))), 16);
    }
}

/* Of all columns that there are; a word takes no more room than the sums of its first column, so the words
 * may stand in their place. */
static void make_all_words(tm_region *r, finish *f, const tm_sparse_tile *tile, LLVMValueRef to) {
    LLVMValueRef columns = tm_min(r, tm_sub(r, f->c->n, tile->column), tm_int(r, TM_SPARSE_PANEL));
    tm_loop word = tm_loop_begin(r, tm_int(r, 0), tm_ceildiv(r, columns, TM_SPARSE_GROUP), 1);
    LLVMValueRef line = tm_tiles_address(r, to, tm_mul(r, word.index, tm_int(r, TM_SPARSE_LINE)));
    LLVMValueRef column = tm_mul(r, word.index, tm_int(r, TM_SPARSE_GROUP));
    LLVMValueRef sums = tm_tiles_address(r, tile->sums, tm_mul(r, column, tm_int(r, TM_SPARSE_LINE)));
    int vectors = r->lanes == 16 ? MOST_VECTORS : 1; /* vectors of 16 come with 32 registers */
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), tile->rows, (int64_t)vectors * r->lanes);
    LLVMValueRef bytes = tm_mul(r, row.index, tm_int(r, 4));
    make_words(r, f, tm_tiles_address(r, sums, bytes), tm_add(r, tile->column, column),
               tm_add(r, tile->row, row.index), vectors, tm_tiles_address(r, line, bytes));
    tm_loop_end(r, &row);
    tm_loop_end(r, &word);
}

/* Where the words of the panel stand in a turned output. */
static LLVMValueRef turned_line(tm_region *r, const tm_contract *c, const tm_sparse_tile *tile) {
    LLVMValueRef steps = tm_ceildiv(r, c->n, TM_TILE_BYTES);
    LLVMValueRef group = LLVMBuildUDiv(B, tile->row, tm_int(r, TM_SPARSE_ROWS), "");
    LLVMValueRef at = tm_mul(r, group, tm_mul(r, steps, tm_int(r, TM_SPARSE_ROWS * TM_TILE_BYTES)));
    at = tm_add(r, at, tm_mul(r, tile->column, tm_int(r, TM_SPARSE_ROWS)));
    return tm_tiles_address(r, c->data[r->node->input_count], at);
}

/* A row of bytes of the panel to the output. */
static void store_row(tm_region *r, const tm_contract *c, LLVMValueRef bytes, LLVMValueRef row,
                      LLVMValueRef column) {
    const tm_value *out = r->node->outputs[0];
    LLVMValueRef index = tm_value_is_tiled(out) ? tm_tiled_index(r, out->type, row, column, c->n)
                                                : tm_add(r, tm_mul(r, row, c->n), column);
    LLVMValueRef columns = tm_min(r, tm_sub(r, c->n, column), tm_int(r, TM_SPARSE_PANEL));
    LLVMValueRef to = c->data[r->node->input_count];
    LLVMBasicBlockRef whole = tm_emit_block(r->e, "whole"), part = tm_emit_block(r->e, "part"),
                      after = tm_emit_block(r->e, "stored");
    LLVMBuildCondBr(B, tm_less(r, columns, tm_int(r, TM_SPARSE_PANEL)), part, whole);
    LLVMPositionBuilderAtEnd(B, whole);
    LLVMBuildMemCpy(B, tm_tiles_address(r, to, index), 1, bytes, 16, tm_int(r, TM_SPARSE_PANEL));
    LLVMBuildBr(B, after);
    LLVMPositionBuilderAtEnd(B, part);
    tm_loop vector = tm_loop_begin(r, tm_int(r, 0), columns, r->lanes);
    LLVMValueRef some = tm_load_vector(r, TAMIS_TYPE_UINT8, bytes, vector.index);
    r->mask = tm_tail_mask(r, tm_sub(r, columns, vector.index));
    tm_store_vector(r, TAMIS_TYPE_UINT8, some, to, tm_add(r, index, vector.index));
    r->mask = NULL;
    tm_loop_end(r, &vector);
    LLVMBuildBr(B, after);
    LLVMPositionBuilderAtEnd(B, after);
}

static void store_rows(tm_region *r, const tm_contract *c, const tm_sparse_tile *tile) {
    LLVMValueRef lines = tm_region_alloca(r, r->e->i8, TM_TRANSPOSE_ROWS * TM_SPARSE_PANEL, 64);
    tm_loop some = tm_loop_begin(r, tm_int(r, 0), tile->rows, TM_TRANSPOSE_ROWS);
    LLVMValueRef words = tm_tiles_address(r, tile->sums, tm_mul(r, some.index, tm_int(r, 4)));
    for (int word = 0; word < WORDS; word += r->lanes)
        tm_transpose(r, tm_tiles_address(r, words, tm_int(r, word * TM_SPARSE_LINE)), TM_SPARSE_LINE,
                     tm_tiles_address(r, lines, tm_int(r, 4 * word)), TM_SPARSE_PANEL);
    LLVMValueRef left = tm_min(r, tm_sub(r, tile->rows, some.index), tm_int(r, TM_TRANSPOSE_ROWS));
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), left, 1);
    store_row(r, c, tm_tiles_address(r, lines, tm_mul(r, row.index, tm_int(r, TM_SPARSE_PANEL))),
              tm_add(r, tile->row, tm_add(r, some.index, row.index)), tile->column);
    tm_loop_end(r, &row);
    tm_loop_end(r, &some);
}

/* void finish(ptr run_and_call, ptr sums, i64 row, i64 rows, i64 column, i64 which). */
static void emit_finish(tm_region *r, tm_contract *c, LLVMTypeRef type) {
    tm_emit *e = r->e;
    tm_region outer = *r;
    tm_contract inner = *c;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->builder);
    c->finish = tm_region_function(r, "tm_finish", type);
    tm_contract_set_up(r, &inner);
    tm_contract_begin(r, &inner);
    if (c->products > 1)
        tm_contract_select(r, &inner, LLVMGetParam(c->finish, 5));
    tm_contract_load_numbers(r, &inner);
    finish f = {.c = &inner};
    r->kind = &f;
    r->load = load;
    tm_sparse_tile tile = {.sums = LLVMGetParam(c->finish, 1),
                           .row = LLVMGetParam(c->finish, 2),
                           .rows = LLVMGetParam(c->finish, 3),
                           .column = LLVMGetParam(c->finish, 4)};
    bool turned = tm_value_is_turned(r->node->outputs[0]);
    make_all_words(r, &f, &tile, turned ? turned_line(r, &inner, &tile) : tile.sums);
    if (!turned)
        store_rows(r, &inner, &tile);
    LLVMBuildRetVoid(e->builder);
    *r = outer;
    e->function = r->function;
    LLVMPositionBuilderAtEnd(e->builder, here);
}

void tm_sparse_finish(tm_region *r, tm_contract *c, const tm_sparse_tile *tile) {
    tm_emit *e = r->e;
    LLVMTypeRef types[6] = {e->ptr, e->ptr, e->i64, e->i64, e->i64, e->i64};
    LLVMTypeRef type = LLVMFunctionType(e->void_type, types, 6, 0);
    if (c->finish == NULL)
        emit_finish(r, c, type);
    LLVMValueRef which = c->which != NULL ? c->which : tm_int(r, 0);
    LLVMBuildCall2(B, type, c->finish,
                   (LLVMValueRef[]){LLVMGetParam(r->function, 0), tile->sums, tile->row, tile->rows,
                                    tile->column, which},
                   6, "");
}
