/* SPDX-License-Identifier: Apache-2.0
 *
 * region_sparse.c: MatMulInteger by a constant matrix that is mostly zero, with everything elementwise after
 * it.
 *
 *     y[.., m, n] = f(sum over k of A[.., m, k] * B[k, n], bias[n], residual[.., m, n], ...)
 *
 *     body: %s = MatMulInteger(%a: u8 turned, %b: s8 sparse), f
 *
 * Which k a column has differs from column to column, so the lanes of a vector are rows: a list of B
 * (ir/sparse.h) gives four weights and their number, the weights are repeated in all lanes and multiply that
 * word of as many rows as have their sums in registers along the list.
 *
 *     unit: 32 columns, rows whose A stays in the second-level cache
 *       group: 128 rows; fewer at the end
 *         chunk: 64 words of k, whose part of A (32 KiB) stays in the nearest cache
 *           column: its list; sums wait in a buffer [column][row] for the next chunk
 *         the buffer is turned to [row][column], and goes through the epilogue
 *
 * The instructions are those of dense products (tm_word_form); sums of integers have one answer in any order.
 */
#include "codegen/llvm/region_tiles.h"
#include "codegen/llvm/transpose.h"

#include "ir/sparse.h"

#define UNIT_BYTES (512 << 10)  /* of A */
#define WORK ((int64_t)1 << 19) /* multiply-adds, of zeros too, worth a task of their own */
#define MOST_VECTORS 8          /* of sums at once */
#define SIGNS ((int64_t)0x80808080)
#define LINE (TM_SPARSE_ROWS * 4) /* bytes of a word of a group */
#define TURNED_ROWS 32            /* that go through the epilogue at once */

typedef struct sparse {
    tm_contract shared;
    const tm_word_form *form;
    LLVMValueRef group_bytes; /* of A */
    LLVMValueRef chunks;
    LLVMValueRef sums, turned; /* stack buffers: [32 columns][128 rows], [32 rows][32 columns] */
} sparse;

#define B (r->e->builder)

static void set_up(tm_region *r, sparse *s) {
    tm_contract_set_up(r, &s->shared);
    LLVMValueRef steps = tm_ceildiv(r, s->shared.k, tm_tile_depth(TAMIS_TYPE_UINT8));
    s->group_bytes = tm_mul(r, steps, tm_int(r, TM_SPARSE_ROWS * TM_TILE_BYTES));
    s->chunks = tm_ceildiv(r, s->shared.k, TM_SPARSE_GROUP * TM_SPARSE_CHUNK);
}

/* Rows of a unit. */
static LLVMValueRef unit_rows(tm_region *r, const sparse *s) {
    LLVMValueRef bytes = tm_max(r, s->group_bytes, tm_int(r, 1));
    LLVMValueRef groups = tm_max(r, LLVMBuildUDiv(B, tm_int(r, UNIT_BYTES), bytes, ""), tm_int(r, 1));
    return tm_mul(r, groups, tm_int(r, TM_SPARSE_ROWS));
}

static LLVMValueRef row_blocks(tm_region *r, const sparse *s, LLVMValueRef rows) {
    LLVMValueRef last = tm_sub(r, rows, tm_int(r, 1));
    return LLVMBuildUDiv(B, tm_add(r, s->shared.m, last), rows, "");
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    sparse s = {0};
    set_up(r, &s);
    LLVMValueRef rows = unit_rows(r, &s), panels = tm_ceildiv(r, s.shared.n, TM_TILE_PANEL);
    *out_units = tm_mul(r, tm_mul(r, panels, row_blocks(r, &s, rows)), tm_int(r, s.shared.products));
    LLVMValueRef work = tm_mul(r, tm_min(r, s.shared.m, rows), s.shared.k);
    work = tm_max(r, tm_mul(r, work, tm_int(r, TM_TILE_PANEL)), tm_int(r, 1));
    *out_grain = tm_add(r, LLVMBuildUDiv(B, tm_int(r, WORK), work, ""), tm_int(r, 1));
    return TM_OK;
}

static LLVMValueRef load(tm_region *r, LLVMTypeRef type, LLVMValueRef at, int alignment) {
    LLVMValueRef value = LLVMBuildLoad2(B, type, at, "");
    LLVMSetAlignment(value, (unsigned)alignment);
    return value;
}

static LLVMValueRef load_byte(tm_region *r, LLVMValueRef at) {
    return LLVMBuildZExt(B, load(r, r->e->i8, at, 1), r->e->i64, "");
}

/* Adds the products of a word of `words` by the four weights, in all lanes of `right`, to a sum. */
static void add_word(tm_region *r, const tm_word_form *form, LLVMValueRef words, LLVMValueRef *right,
                     LLVMValueRef slot) {
    LLVMValueRef left[TM_WORD_MOST_PARTS] = {words};
    LLVMValueRef sum = LLVMBuildLoad2(B, tm_vector_type(r, TAMIS_TYPE_INT32), slot, "");
    if (form->split != NULL)
        form->split(r, words, true, left);
    if (form->signed_left)
        left[0] = LLVMBuildXor(B, words, tm_splat(r, tm_emit_i32(r->e, SIGNS)), "");
    for (int p = 0; p < form->parts; p++)
        sum = form->add(r, sum, left[p], right[p]);
    LLVMBuildStore(B, sum, slot);
}

/* A record of a list: four weights at `at`, and the number of the word that they multiply. `shift`: takes
 * the products of -128. */
static void add_record(tm_region *r, const sparse *s, LLVMValueRef at, LLVMValueRef lines, int vectors,
                       LLVMValueRef *slots, LLVMValueRef shift) {
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_INT32);
    LLVMValueRef right[TM_WORD_MOST_PARTS] = {tm_splat(r, load(r, r->e->i32, at, 1))};
    LLVMValueRef number = load_byte(r, tm_tiles_address(r, at, tm_int(r, TM_SPARSE_GROUP)));
    LLVMValueRef line = tm_tiles_address(r, lines, tm_mul(r, number, tm_int(r, LINE)));
    if (s->form->split != NULL)
        s->form->split(r, right[0], false, right);
    for (int v = 0; v < vectors; v++)
        add_word(r, s->form, load(r, vector, tm_tiles_address(r, line, tm_int(r, 4 * v * r->lanes)), 16),
                 right, slots[v]);
    if (s->form->signed_left) {
        LLVMValueRef sum = LLVMBuildLoad2(B, vector, shift, "");
        LLVMBuildStore(B, s->form->add(r, sum, tm_splat(r, tm_emit_i32(r->e, SIGNS)), right[0]), shift);
    }
}

/* The list at *cursor of one column, for some vectors of rows, added to their sums, which stand at `sums` for
 * column 0, or put there for the first chunk. */
static void add_list(tm_region *r, const sparse *s, LLVMValueRef cursor, LLVMValueRef lines, int vectors,
                     LLVMValueRef sums, LLVMValueRef first) {
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_INT32);
    LLVMValueRef slots[MOST_VECTORS], zero = LLVMConstNull(vector), shift = NULL;
    LLVMValueRef list = LLVMBuildLoad2(B, r->e->ptr, cursor, "");
    LLVMValueRef column = load_byte(r, tm_tiles_address(r, list, tm_int(r, 1)));
    LLVMValueRef records = tm_tiles_address(r, list, tm_int(r, TM_SPARSE_HEAD));
    LLVMValueRef bytes = tm_mul(r, load_byte(r, list), tm_int(r, TM_SPARSE_RECORD));
    sums = tm_tiles_address(r, sums, tm_mul(r, column, tm_int(r, LINE)));
    for (int v = 0; v < vectors; v++) {
        slots[v] = tm_region_alloca(r, vector, 1, 64);
        LLVMValueRef sum = load(r, vector, tm_tiles_address(r, sums, tm_int(r, 4 * v * r->lanes)), 16);
        LLVMBuildStore(B, LLVMBuildSelect(B, first, zero, sum, ""), slots[v]);
    }
    if (s->form->signed_left) {
        shift = tm_region_alloca(r, vector, 1, 64);
        LLVMBuildStore(B, zero, shift);
    }
    tm_loop record = tm_loop_begin(r, tm_int(r, 0), bytes, TM_SPARSE_RECORD);
    add_record(r, s, tm_tiles_address(r, records, record.index), lines, vectors, slots, shift);
    tm_loop_end(r, &record);
    LLVMBuildStore(B, tm_tiles_address(r, records, bytes), cursor);
    for (int v = 0; v < vectors; v++) {
        LLVMValueRef sum = LLVMBuildLoad2(B, vector, slots[v], "");
        if (shift != NULL)
            sum = LLVMBuildSub(B, sum, LLVMBuildLoad2(B, vector, shift, ""), "");
        LLVMSetAlignment(LLVMBuildStore(B, sum, tm_tiles_address(r, sums, tm_int(r, 4 * v * r->lanes))), 16);
    }
}

/* The sums of 32 columns by `rows` rows of a group, whose A is at `left`, to the buffer, some vectors of rows
 * at a time. */
static void multiply(tm_region *r, const sparse *s, LLVMValueRef stream, LLVMValueRef left, int vectors,
                     LLVMValueRef rows) {
    LLVMValueRef cursor = tm_region_alloca(r, r->e->ptr, 1, 8);
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), rows, (int64_t)vectors * r->lanes);
    LLVMValueRef at = tm_mul(r, row.index, tm_int(r, 4)), sums = tm_tiles_address(r, s->sums, at);
    LLVMBuildStore(B, stream, cursor);
    tm_loop chunk = tm_loop_begin(r, tm_int(r, 0), s->chunks, 1);
    LLVMValueRef first = LLVMBuildICmp(B, LLVMIntEQ, chunk.index, tm_int(r, 0), "");
    LLVMValueRef lines = tm_mul(r, chunk.index, tm_int(r, TM_SPARSE_CHUNK * LINE));
    lines = tm_tiles_address(r, tm_tiles_address(r, left, at), lines);
    tm_loop list = tm_loop_begin(r, tm_int(r, 0), tm_int(r, TM_TILE_PANEL), 1);
    add_list(r, s, cursor, lines, vectors, sums, first);
    tm_loop_end(r, &list);
    tm_loop_end(r, &chunk);
    tm_loop_end(r, &row);
}

/* With the fewest vectors that hold all rows, of those that fill whole tiles; else with the most. */
static void some_rows(tm_region *r, const sparse *s, LLVMValueRef stream, LLVMValueRef left,
                      LLVMValueRef rows) {
    LLVMBasicBlockRef after = tm_emit_block(r->e, "multiplied");
    for (int vectors = TM_TILE_ROWS / r->lanes; vectors < MOST_VECTORS; vectors *= 2) {
        LLVMBasicBlockRef fits = tm_emit_block(r->e, "rows"), more = tm_emit_block(r->e, "more");
        LLVMBuildCondBr(B, tm_less(r, tm_int(r, (int64_t)vectors * r->lanes), rows), more, fits);
        LLVMPositionBuilderAtEnd(B, fits);
        multiply(r, s, stream, left, vectors, rows);
        LLVMBuildBr(B, after);
        LLVMPositionBuilderAtEnd(B, more);
    }
    multiply(r, s, stream, left, MOST_VECTORS, rows);
    LLVMBuildBr(B, after);
    LLVMPositionBuilderAtEnd(B, after);
}

/* The sums of some rows from `first` on, to lines of columns. */
static void turn(tm_region *r, const sparse *s, LLVMValueRef first, LLVMValueRef rows) {
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), rows, TM_TRANSPOSE_ROWS);
    LLVMValueRef from = tm_tiles_address(r, s->sums, tm_mul(r, tm_add(r, first, row.index), tm_int(r, 4)));
    LLVMValueRef to = tm_tiles_address(r, s->turned, tm_mul(r, row.index, tm_int(r, 4 * TM_TILE_PANEL)));
    for (int column = 0; column < TM_TILE_PANEL; column += r->lanes)
        tm_transpose(r, tm_tiles_address(r, from, tm_int(r, column * LINE)), LINE,
                     tm_tiles_address(r, to, tm_int(r, 4 * column)), 4 * TM_TILE_PANEL);
    tm_loop_end(r, &row);
}

/* Rows from..to by the panel whose stream is given. */
static void unit_of(tm_region *r, sparse *s, LLVMValueRef from, LLVMValueRef to, LLVMValueRef column,
                    LLVMValueRef stream) {
    tm_loop group = tm_loop_begin(r, from, to, TM_SPARSE_ROWS);
    LLVMValueRef rows = tm_min(r, tm_sub(r, to, group.index), tm_int(r, TM_SPARSE_ROWS));
    LLVMValueRef number = LLVMBuildUDiv(B, group.index, tm_int(r, TM_SPARSE_ROWS), "");
    LLVMValueRef left = tm_tiles_address(r, s->shared.data[s->shared.a], tm_mul(r, number, s->group_bytes));
    some_rows(r, s, stream, left, rows);
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), rows, TURNED_ROWS);
    LLVMValueRef now = tm_min(r, tm_sub(r, rows, part.index), tm_int(r, TURNED_ROWS));
    turn(r, s, part.index, now);
    tm_contract_tile tile = {.sums = s->turned,
                             .stride = TM_TILE_PANEL,
                             .row = tm_add(r, group.index, part.index),
                             .rows = now,
                             .column = column,
                             .columns = TM_TILE_PANEL};
    tm_contract_finish(r, &s->shared, &tile);
    tm_loop_end(r, &part);
    tm_loop_end(r, &group);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    sparse s = {.form = tm_word_form_of(r, TAMIS_TYPE_UINT8)};
    set_up(r, &s);
    tm_contract_begin(r, &s.shared);
    s.shared.ranges = tm_ranges_begin(r);
    s.sums = tm_region_alloca(r, r->e->i32, TM_TILE_PANEL * TM_SPARSE_ROWS, 64);
    s.turned = tm_region_alloca(r, r->e->i32, TM_TILE_PANEL * TURNED_ROWS, 64);
    LLVMValueRef panels = tm_ceildiv(r, s.shared.n, TM_TILE_PANEL), rows = unit_rows(r, &s);
    LLVMValueRef row_units = tm_mul(r, panels, tm_int(r, s.shared.products));
    tm_loop unit = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef block = LLVMBuildUDiv(B, unit.index, row_units, "");
    LLVMValueRef panel = tm_sub(r, unit.index, tm_mul(r, block, row_units));
    if (s.shared.products > 1) {
        LLVMValueRef which = LLVMBuildUDiv(B, panel, panels, "");
        panel = tm_sub(r, panel, tm_mul(r, which, panels));
        tm_contract_select(r, &s.shared, which);
    }
    LLVMValueRef from = tm_mul(r, block, rows), to = tm_min(r, tm_add(r, from, rows), s.shared.m);
    LLVMValueRef weights = s.shared.data[s.shared.b];
    LLVMValueRef place = tm_tiles_address(r, weights, tm_mul(r, panel, tm_int(r, TM_SPARSE_PLACE)));
    LLVMValueRef stream = tm_tiles_address(r, weights, load(r, r->e->i64, place, 8));
    unit_of(r, &s, from, to, tm_mul(r, panel, tm_int(r, TM_TILE_PANEL)), stream);
    tm_loop_end(r, &unit);
    tm_ranges_end(r, &s.shared.ranges);
    return TM_OK;
}

const tm_region_kind tm_region_kind_sparse = {"sparse", count, body};
