/* SPDX-License-Identifier: Apache-2.0
 *
 * region_tiles_vector.c: a unit of a product of bfloat16 on vectors.
 *
 * Sums of a few rows by 16 or 32 columns stay in registers while k runs. A word of A holds two k of a row and
 * is repeated in all lanes, a line of B holds the same two k of neighbouring columns; both products go into
 * one sum:
 *
 *     AVX512_BF16      one instruction
 *     all others       two fused multiplications and additions of halves widened to float32; a bfloat16 is
 * the upper half of a float32, so that is a shift or a mask
 *
 * The rows' part of A, some steps of K at a time, is copied to a buffer on the stack first, widened where
 * that is needed: each word of A is used for all lanes, so widening it there costs a lane's share. Rows come
 * in three counts, most first, and each sums its k in one order, so that the answer does not depend on the
 * count.
 */
#include "codegen/llvm/region_tiles.h"

#include "ir/tiles.h"

#define MOST_ROWS TM_TILES_MOST_ROWS
#define MOST_VECTORS 4
#define CHUNK 8                   /* steps of K that are copied at once */
#define WORDS (TM_TILE_BYTES / 4) /* of a line */

typedef struct shape {
    int rows[3]; /* at once, descending */
    int columns; /* at once */
    int words;   /* of a line in the buffer */
    bool dot;
} shape;

static shape choose(const tm_region *r) {
    tm_schedule schedule = tm_schedule_of(r->e->options, r->level, r->node);
    shape s = {.rows = {schedule.rows, schedule.small_rows, 1},
               .columns = schedule.vectors * r->lanes,
               .dot = (r->level->units & TM_UNIT_DOT) != 0 && r->lanes == 16};
    s.words = s.dot ? WORDS : 2 * WORDS;
    return s;
}

void tm_tiles_vector_begin(tm_region *r, tm_tiles *t) {
    t->sums = tm_region_alloca(r, r->e->f32, (int64_t)MOST_ROWS * TM_TILE_PANEL, 64);
    t->copy = tm_region_alloca(r, r->e->f32, (int64_t)MOST_ROWS * CHUNK * 2 * WORDS, 64);
}

static LLVMValueRef low_half(tm_region *r, LLVMValueRef words) {
    LLVMValueRef sixteen = tm_splat(r, tm_emit_i32(r->e, 16));
    return LLVMBuildBitCast(r->e->builder, LLVMBuildShl(r->e->builder, words, sixteen, ""),
                            tm_vector_type(r, TAMIS_TYPE_FLOAT), "");
}

static LLVMValueRef high_half(tm_region *r, LLVMValueRef words) {
    LLVMValueRef mask = tm_splat(r, tm_emit_i32(r->e, (int64_t)0xffff0000));
    return LLVMBuildBitCast(r->e->builder, LLVMBuildAnd(r->e->builder, words, mask, ""),
                            tm_vector_type(r, TAMIS_TYPE_FLOAT), "");
}

static LLVMValueRef dot_instruction(tm_region *r, LLVMValueRef sum, LLVMValueRef a, LLVMValueRef b) {
    LLVMTypeRef halves = LLVMVectorType(LLVMBFloatTypeInContext(r->e->context), 32);
    return tm_plain_intrinsic(r, "llvm.x86.avx512bf16.dpbf16ps.512",
                              (LLVMValueRef[]){sum, LLVMBuildBitCast(r->e->builder, a, halves, ""),
                                               LLVMBuildBitCast(r->e->builder, b, halves, "")},
                              3);
}

/* Where a row's line of a step stands in A. */
static LLVMValueRef line_of(tm_region *r, const tm_tiles *t, LLVMValueRef row, LLVMValueRef step) {
    LLVMValueRef line = LLVMBuildAnd(r->e->builder, row, tm_int(r, TM_TILE_ROWS - 1), "");
    LLVMValueRef bytes =
        tm_add(r, tm_mul(r, step, tm_int(r, TM_TILE_TOTAL)), tm_mul(r, line, tm_int(r, TM_TILE_BYTES)));
    return tm_tiles_address(r, tm_tiles_band(r, t, row), bytes);
}

/* Lines of `rows` rows for steps first..last to the buffer: even k, then odd k of each, or the words. */
static void copy_rows(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef row, int rows,
                      LLVMValueRef first, LLVMValueRef last) {
    tm_loop i = tm_loop_begin(r, tm_int(r, 0), tm_int(r, rows), 1);
    LLVMValueRef own = tm_add(r, row, i.index);
    tm_loop step = tm_loop_begin(r, first, last, 1);
    LLVMValueRef from = line_of(r, t, own, step.index);
    LLVMValueRef to = tm_mul(r, tm_add(r, tm_mul(r, i.index, tm_int(r, CHUNK)), tm_sub(r, step.index, first)),
                             tm_int(r, s->words));
    for (int word = 0; word < WORDS; word += r->lanes) {
        LLVMValueRef words = tm_load_vector(r, TAMIS_TYPE_INT32, from, tm_int(r, word));
        LLVMValueRef at = tm_add(r, to, tm_int(r, word));
        if (s->dot) {
            tm_store_vector(r, TAMIS_TYPE_INT32, words, t->copy, at);
            continue;
        }
        tm_store_vector(r, TAMIS_TYPE_FLOAT, low_half(r, words), t->copy, at);
        tm_store_vector(r, TAMIS_TYPE_FLOAT, high_half(r, words), t->copy, tm_add(r, at, tm_int(r, WORDS)));
    }
    tm_loop_end(r, &step);
    tm_loop_end(r, &i);
}

/* Brings the same line of the next step into the first cache. */
static void prefetch_line(tm_region *r, LLVMValueRef line, int64_t at) {
    LLVMValueRef next = tm_tiles_address(r, line, tm_int(r, 4 * at + 2 * TM_TILE_TOTAL));
    LLVMValueRef arguments[4] = {next, tm_emit_i32(r->e, 0), tm_emit_i32(r->e, 3), tm_emit_i32(r->e, 1)};
    (void)tm_intrinsic(r, "llvm.prefetch", r->e->ptr, arguments, 4);
}

/* Adds the products of two k to all sums. `word` is the number of the word in the rows' first line. */
static void add_pair(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef word, LLVMValueRef line,
                     int rows, LLVMValueRef sums[MOST_ROWS][MOST_VECTORS]) {
    LLVMBuilderRef b = r->e->builder;
    int vectors = s->columns / r->lanes;
    LLVMValueRef columns[MOST_VECTORS], low[MOST_VECTORS], high[MOST_VECTORS];
    for (int v = 0; v < vectors; v++) {
        int64_t column = (int64_t)v * r->lanes;
        int64_t at = column / TM_TILE_ROWS * (TM_TILE_TOTAL / 4) + column % TM_TILE_ROWS;
        columns[v] = tm_load_vector(r, TAMIS_TYPE_INT32, line, tm_int(r, at));
        if (column % TM_TILE_ROWS == 0)
            prefetch_line(r, line, at);
        low[v] = s->dot ? NULL : low_half(r, columns[v]);
        high[v] = s->dot ? NULL : high_half(r, columns[v]);
    }
    for (int i = 0; i < rows; i++) {
        LLVMValueRef at = tm_add(r, word, tm_int(r, (int64_t)i * CHUNK * s->words));
        tamis_type type = s->dot ? TAMIS_TYPE_INT32 : TAMIS_TYPE_FLOAT;
        LLVMValueRef even = tm_load_splat(r, type, t->copy, at), odd = NULL;
        if (!s->dot)
            odd = tm_load_splat(r, type, t->copy, tm_add(r, at, tm_int(r, WORDS)));
        for (int v = 0; v < vectors; v++) {
            LLVMValueRef sum = LLVMBuildLoad2(b, tm_vector_type(r, TAMIS_TYPE_FLOAT), sums[i][v], "");
            sum = s->dot ? dot_instruction(r, sum, even, columns[v])
                         : tm_fma(r, odd, high[v], tm_fma(r, even, low[v], sum));
            LLVMBuildStore(b, sum, sums[i][v]);
        }
    }
}

/* The sums of rows row..row + rows - 1, known at compile time, by `columns` columns from `column` of the
 * panel on. */
static void multiply(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef row, int rows,
                     LLVMValueRef panel) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef sums[MOST_ROWS][MOST_VECTORS];
    int vectors = s->columns / r->lanes;
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) {
            sums[i][v] = tm_region_alloca(r, vector, 1, 64);
            LLVMBuildStore(b, LLVMConstNull(vector), sums[i][v]);
        }
    tm_loop chunk = tm_loop_begin(r, tm_int(r, 0), t->steps, CHUNK);
    LLVMValueRef last = tm_min(r, tm_add(r, chunk.index, tm_int(r, CHUNK)), t->steps);
    copy_rows(r, t, s, row, rows, chunk.index, last);
    tm_loop step = tm_loop_begin(r, chunk.index, last, 1);
    LLVMValueRef lines = tm_tiles_address(r, panel, tm_mul(r, step.index, tm_int(r, 2 * TM_TILE_TOTAL)));
    LLVMValueRef first = tm_mul(r, tm_sub(r, step.index, chunk.index), tm_int(r, s->words));
    tm_loop pair = tm_loop_begin(r, tm_int(r, 0), tm_int(r, WORDS), 1);
    add_pair(r, t, s, tm_add(r, first, pair.index),
             tm_tiles_address(r, lines, tm_mul(r, pair.index, tm_int(r, TM_TILE_BYTES))), rows, sums);
    tm_loop_end(r, &pair);
    tm_loop_end(r, &step);
    tm_loop_end(r, &chunk);
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMBuildLoad2(b, vector, sums[i][v], ""), t->sums,
                            tm_int(r, (int64_t)i * TM_TILE_PANEL + (int64_t)v * r->lanes));
}

/* Rows row.. of the unit, as many as the largest count that fits; returns how many were done. */
static LLVMValueRef some_rows(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef row,
                              LLVMValueRef panel, LLVMValueRef done) {
    LLVMBuilderRef b = r->e->builder;
    LLVMBasicBlockRef after = tm_emit_block(r->e, "multiplied");
    LLVMValueRef left = tm_sub(r, t->to, row);
    for (int i = 0; i < 3; i++) {
        LLVMBasicBlockRef fits = tm_emit_block(r->e, "rows"),
                          other = i < 2 ? tm_emit_block(r->e, "fewer") : NULL;
        if (other != NULL)
            LLVMBuildCondBr(b, tm_less(r, left, tm_int(r, s->rows[i])), other, fits);
        else
            LLVMBuildBr(b, fits);
        LLVMPositionBuilderAtEnd(b, fits);
        multiply(r, t, s, row, s->rows[i], panel);
        LLVMBuildStore(b, tm_int(r, s->rows[i]), done);
        LLVMBuildBr(b, after);
        LLVMPositionBuilderAtEnd(b, other != NULL ? other : after);
    }
    return LLVMBuildLoad2(b, r->e->i64, done, "");
}

void tm_tiles_vector_unit(tm_region *r, tm_tiles *t) {
    LLVMBuilderRef b = r->e->builder;
    shape s = choose(r);
    LLVMValueRef at = tm_region_alloca(r, r->e->i64, 1, 8), done = tm_region_alloca(r, r->e->i64, 1, 8);
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, TM_TILE_PANEL), s.columns);
    LLVMValueRef panel =
        tm_tiles_address(r, t->panel, tm_mul(r, column.index, tm_int(r, TM_TILE_TOTAL / TM_TILE_ROWS)));
    LLVMBuildStore(b, t->from, at);
    LLVMBasicBlockRef head = tm_emit_block(r->e, "head"), work = tm_emit_block(r->e, "work"),
                      end = tm_emit_block(r->e, "end");
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, head);
    LLVMValueRef row = LLVMBuildLoad2(b, r->e->i64, at, "");
    LLVMBuildCondBr(b, tm_less(r, row, t->to), work, end);
    LLVMPositionBuilderAtEnd(b, work);
    LLVMValueRef rows = some_rows(r, t, &s, row, panel, done);
    tm_contract_tile tile = {.sums = t->sums,
                             .stride = TM_TILE_PANEL,
                             .row = row,
                             .rows = rows,
                             .column = tm_add(r, t->column, column.index),
                             .columns = s.columns};
    tm_contract_finish(r, &t->shared, &tile);
    LLVMBuildStore(b, tm_add(r, row, rows), at);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, end);
    tm_loop_end(r, &column);
}
