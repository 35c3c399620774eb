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
 *     unit: 64 rows by 64 columns; the columns follow each other, so that short rows of A stay near for all
 *       chunk: 96 words of k, whose part of A (24 KiB) stays in the nearest cache beside the sums
 *         columns, two by two: their list; sums wait in a buffer [column][row] for the next chunk
 *       the buffer goes through the epilogue (region_sparse_finish.c), or is turned to [row][column] first
 *
 * The two columns of a list are multiplied together where there are registers for the sums of both; else one
 * after the other. The instructions are those of dense products (tm_word_form); sums of integers have one
 * answer in any order.
 */
#include "codegen/llvm/region_sparse.h"

#include "codegen/llvm/region_tiles.h"
#include "codegen/llvm/transpose.h"

#define WORK ((int64_t)1 << 19) /* multiply-adds, of zeros too, worth a task of their own */
#define MOST_SUMS 8             /* vectors of sums at once */
#define SIGNS ((int64_t)0x80808080)
#define LINE TM_SPARSE_LINE
#define AHEAD 8192     /* bytes of the stream */
#define AHEAD_LINES 4  /* of caches, fetched at the end of a list */
#define TURNED_ROWS 16 /* that go through the epilogue at once */

typedef struct sparse {
    tm_contract shared;
    const tm_word_form *form;
    int together;             /* columns that are multiplied at once */
    LLVMValueRef group_bytes; /* of A */
    LLVMValueRef chunks;
    LLVMValueRef column; /* first of the panel */
    int start;           /* what is taken off the sums of each column, as an input; see shared.start */
    LLVMValueRef sums;   /* on the stack: [64 columns][64 rows] */
    LLVMValueRef turned; /* likewise: [16 rows][64 columns]; NULL where rows stay in the lanes */
} sparse;

#define B (r->e->builder)

static void set_up(tm_region *r, sparse *s) {
    tm_contract_set_up(r, &s->shared);
    LLVMValueRef steps = tm_ceildiv(r, s->shared.k, tm_tile_depth(TAMIS_TYPE_UINT8));
    s->group_bytes = tm_mul(r, steps, tm_int(r, TM_SPARSE_ROWS * TM_TILE_BYTES));
    s->chunks = tm_ceildiv(r, s->shared.k, TM_SPARSE_GROUP * TM_SPARSE_CHUNK);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    sparse s = {0};
    set_up(r, &s);
    LLVMValueRef panels = tm_ceildiv(r, s.shared.n, TM_SPARSE_PANEL);
    LLVMValueRef groups = tm_ceildiv(r, s.shared.m, TM_SPARSE_ROWS);
    *out_units = tm_mul(r, tm_mul(r, panels, groups), tm_int(r, s.shared.products));
    LLVMValueRef work = tm_mul(r, tm_min(r, s.shared.m, tm_int(r, TM_SPARSE_ROWS)), s.shared.k);
    work = tm_max(r, tm_mul(r, work, tm_int(r, TM_SPARSE_PANEL)), tm_int(r, 1));
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

/* Columns of a list from number `which` on, and vectors of rows that have their sums in registers. */
typedef struct columns {
    LLVMValueRef which;
    int vectors;
    LLVMValueRef sums[TM_SPARSE_PAIR]; /* where those of the columns wait */
    LLVMValueRef slots[TM_SPARSE_PAIR][MOST_SUMS];
    LLVMValueRef shifts[TM_SPARSE_PAIR]; /* products of -128; only of signed left factors */
} columns;

/* Adds the products of a column's word and weights, which stand in the record at `at`. */
static void add_record(tm_region *r, const sparse *s, LLVMValueRef at, LLVMValueRef lines, const columns *c,
                       int column) {
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_INT32);
    LLVMValueRef which = tm_add(r, c->which, tm_int(r, column));
    LLVMValueRef weights = tm_tiles_address(r, at, tm_mul(r, which, tm_int(r, TM_SPARSE_GROUP)));
    LLVMValueRef right[TM_WORD_MOST_PARTS] = {tm_splat(r, load(r, r->e->i32, weights, 1))};
    LLVMValueRef numbers = tm_tiles_address(r, at, tm_int(r, TM_SPARSE_PAIR * TM_SPARSE_GROUP));
    LLVMValueRef number = load_byte(r, tm_tiles_address(r, numbers, which));
    LLVMValueRef line = tm_tiles_address(r, lines, tm_mul(r, number, tm_int(r, LINE)));
    if (s->form->split != NULL)
        s->form->split(r, right[0], false, right);
    for (int v = 0; v < c->vectors; v++)
        add_word(r, s->form, load(r, vector, tm_tiles_address(r, line, tm_int(r, 4 * v * r->lanes)), 16),
                 right, c->slots[column][v]);
    if (s->form->signed_left) {
        LLVMValueRef sum = LLVMBuildLoad2(B, vector, c->shifts[column], "");
        LLVMBuildStore(B, s->form->add(r, sum, tm_splat(r, tm_emit_i32(r->e, SIGNS)), right[0]),
                       c->shifts[column]);
    }
}

/* What the sums of a column of the panel start with. */
static LLVMValueRef start_of(tm_region *r, const sparse *s, LLVMValueRef own) {
    if (s->shared.start == NULL)
        return LLVMConstNull(tm_vector_type(r, TAMIS_TYPE_INT32));
    LLVMValueRef column = tm_min(r, tm_add(r, s->column, own), tm_sub(r, s->shared.n, tm_int(r, 1)));
    LLVMValueRef taken = tm_load_splat(r, TAMIS_TYPE_INT32, s->shared.data[s->start], column);
    return LLVMBuildNeg(B, taken, "");
}

/* The sums of a column so far, in registers; `first`: there are none yet but `start`. */
static void take_sums(tm_region *r, const sparse *s, columns *c, int column, LLVMValueRef first,
                      LLVMValueRef start) {
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_INT32);
    for (int v = 0; v < c->vectors; v++) {
        c->slots[column][v] = tm_region_alloca(r, vector, 1, 64);
        LLVMValueRef at = tm_tiles_address(r, c->sums[column], tm_int(r, 4 * v * r->lanes));
        LLVMBuildStore(B, LLVMBuildSelect(B, first, start, load(r, vector, at, 16), ""), c->slots[column][v]);
    }
    if (s->form->signed_left) {
        c->shifts[column] = tm_region_alloca(r, vector, 1, 64);
        LLVMBuildStore(B, LLVMConstNull(vector), c->shifts[column]);
    }
}

static void put_sums(tm_region *r, const sparse *s, const columns *c, int column) {
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_INT32);
    for (int v = 0; v < c->vectors; v++) {
        LLVMValueRef sum = LLVMBuildLoad2(B, vector, c->slots[column][v], "");
        if (s->form->signed_left)
            sum = LLVMBuildSub(B, sum, LLVMBuildLoad2(B, vector, c->shifts[column], ""), "");
        LLVMValueRef at = tm_tiles_address(r, c->sums[column], tm_int(r, 4 * v * r->lanes));
        LLVMSetAlignment(LLVMBuildStore(B, sum, at), 16);
    }
}

/* Columns of the list at *cursor, as many as go together, for some vectors of rows; their sums stand at
 * `sums` for column 0. */
static void add_columns(tm_region *r, const sparse *s, LLVMValueRef cursor, LLVMValueRef lines, columns *c,
                        LLVMValueRef sums, LLVMValueRef first) {
    LLVMValueRef list = LLVMBuildLoad2(B, r->e->ptr, cursor, "");
    LLVMValueRef records = tm_tiles_address(r, list, tm_int(r, TM_SPARSE_HEAD));
    LLVMValueRef bytes = tm_mul(r, load_byte(r, list), tm_int(r, TM_SPARSE_RECORD));
    LLVMValueRef heads = tm_tiles_address(r, list, tm_add(r, c->which, tm_int(r, 1)));
    for (int column = 0; column < s->together; column++) {
        LLVMValueRef own = load_byte(r, tm_tiles_address(r, heads, tm_int(r, column)));
        c->sums[column] = tm_tiles_address(r, sums, tm_mul(r, own, tm_int(r, LINE)));
        take_sums(r, s, c, column, first, start_of(r, s, own));
    }
    tm_loop record = tm_loop_begin(r, tm_int(r, 0), bytes, TM_SPARSE_RECORD);
    LLVMValueRef at = tm_tiles_address(r, records, record.index);
    for (int column = 0; column < s->together; column++)
        add_record(r, s, at, lines, c, column);
    tm_loop_end(r, &record);
    for (int column = 0; column < s->together; column++)
        put_sums(r, s, c, column);
}

/* Moves *cursor behind its list, and brings what stands further on into the second cache: the weights of a
 * model come from far, and there is little to do between two reads of them. */
static void next_list(tm_region *r, LLVMValueRef cursor) {
    LLVMValueRef list = LLVMBuildLoad2(B, r->e->ptr, cursor, "");
    LLVMValueRef bytes = tm_mul(r, load_byte(r, list), tm_int(r, TM_SPARSE_RECORD));
    list = tm_tiles_address(r, list, tm_add(r, bytes, tm_int(r, TM_SPARSE_HEAD)));
    LLVMBuildStore(B, list, cursor);
    for (int line = 0; line < AHEAD_LINES; line++)
        tm_prefetch(r, tm_tiles_address(r, list, tm_int(r, AHEAD + line * TM_TILE_BYTES)), tm_int(r, 0));
}

/* The sums of a panel by `rows` rows, whose A is at `left`, to the buffer, some vectors of rows at a time. */
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
    tm_loop list = tm_loop_begin(r, tm_int(r, 0), tm_int(r, TM_SPARSE_PANEL / TM_SPARSE_PAIR), 1);
    tm_loop which = tm_loop_begin(r, tm_int(r, 0), tm_int(r, TM_SPARSE_PAIR), s->together);
    columns c = {.which = s->together == TM_SPARSE_PAIR ? tm_int(r, 0) : which.index, .vectors = vectors};
    add_columns(r, s, cursor, lines, &c, sums, first);
    tm_loop_end(r, &which);
    next_list(r, cursor);
    tm_loop_end(r, &list);
    tm_loop_end(r, &chunk);
    tm_loop_end(r, &row);
}

static int most_vectors(const tm_region *r, const sparse *s) {
    int sums = MOST_SUMS / s->together, rows = TM_SPARSE_ROWS / r->lanes;
    return sums < rows ? sums : rows;
}

/* With the fewest vectors that hold all rows, of those that fill whole tiles; else with the most. */
static void some_rows(tm_region *r, const sparse *s, LLVMValueRef stream, LLVMValueRef left,
                      LLVMValueRef rows) {
    LLVMBasicBlockRef after = tm_emit_block(r->e, "multiplied");
    int most = most_vectors(r, s);
    for (int vectors = TM_TILE_ROWS / r->lanes; vectors < most; vectors *= 2) {
        LLVMBasicBlockRef fits = tm_emit_block(r->e, "rows"), more = tm_emit_block(r->e, "more");
        LLVMBuildCondBr(B, tm_less(r, tm_int(r, (int64_t)vectors * r->lanes), rows), more, fits);
        LLVMPositionBuilderAtEnd(B, fits);
        multiply(r, s, stream, left, vectors, rows);
        LLVMBuildBr(B, after);
        LLVMPositionBuilderAtEnd(B, more);
    }
    multiply(r, s, stream, left, most, rows);
    LLVMBuildBr(B, after);
    LLVMPositionBuilderAtEnd(B, after);
}

/* The sums of some rows from `first` on, to lines of columns. */
static void turn(tm_region *r, const sparse *s, LLVMValueRef first, LLVMValueRef rows) {
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), rows, TM_TRANSPOSE_ROWS);
    LLVMValueRef from = tm_tiles_address(r, s->sums, tm_mul(r, tm_add(r, first, row.index), tm_int(r, 4)));
    LLVMValueRef to = tm_tiles_address(r, s->turned, tm_mul(r, row.index, tm_int(r, 4 * TM_SPARSE_PANEL)));
    for (int column = 0; column < TM_SPARSE_PANEL; column += r->lanes)
        tm_transpose(r, tm_tiles_address(r, from, tm_int(r, column * LINE)), LINE,
                     tm_tiles_address(r, to, tm_int(r, 4 * column)), 4 * TM_SPARSE_PANEL);
    tm_loop_end(r, &row);
}

/* Rows from `row` on by the panel whose stream is given. */
static void unit_of(tm_region *r, sparse *s, LLVMValueRef row, LLVMValueRef rows, LLVMValueRef left,
                    LLVMValueRef stream) {
    some_rows(r, s, stream, left, rows);
    if (s->turned == NULL) {
        tm_sparse_finish(r, &s->shared, &(tm_sparse_tile){s->sums, row, rows, s->column});
        return;
    }
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), rows, TURNED_ROWS);
    LLVMValueRef now = tm_min(r, tm_sub(r, rows, part.index), tm_int(r, TURNED_ROWS));
    turn(r, s, part.index, now);
    tm_contract_tile tile = {.sums = s->turned,
                             .stride = TM_SPARSE_PANEL,
                             .row = tm_add(r, row, part.index),
                             .rows = now,
                             .column = s->column,
                             .columns = TM_SPARSE_PANEL};
    tm_contract_finish(r, &s->shared, &tile);
    tm_loop_end(r, &part);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    sparse s = {.form = tm_word_form_of(r, TAMIS_TYPE_UINT8)};
    s.together = r->lanes == 16 ? TM_SPARSE_PAIR : 1; /* vectors of 16 come with 32 registers */
    set_up(r, &s);
    tm_contract_begin(r, &s.shared);
    s.shared.start = tm_contract_start(r, &s.shared, &s.start);
    s.shared.ranges = tm_ranges_begin(r);
    s.sums = tm_region_alloca(r, r->e->i32, TM_SPARSE_PANEL * TM_SPARSE_ROWS, 64);
    if (!tm_sparse_keeps_turned(r->node))
        s.turned = tm_region_alloca(r, r->e->i32, TM_SPARSE_PANEL * TURNED_ROWS, 64);
    LLVMValueRef panels = tm_ceildiv(r, s.shared.n, TM_SPARSE_PANEL);
    LLVMValueRef group_units = tm_mul(r, panels, tm_int(r, s.shared.products));
    tm_loop unit = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef group = LLVMBuildUDiv(B, unit.index, group_units, "");
    LLVMValueRef panel = tm_sub(r, unit.index, tm_mul(r, group, group_units));
    if (s.shared.products > 1) {
        LLVMValueRef which = LLVMBuildUDiv(B, panel, panels, "");
        panel = tm_sub(r, panel, tm_mul(r, which, panels));
        tm_contract_select(r, &s.shared, which);
    }
    LLVMValueRef row = tm_mul(r, group, tm_int(r, TM_SPARSE_ROWS));
    LLVMValueRef rows = tm_min(r, tm_sub(r, s.shared.m, row), tm_int(r, TM_SPARSE_ROWS));
    LLVMValueRef left = tm_tiles_address(r, s.shared.data[s.shared.a], tm_mul(r, group, s.group_bytes));
    LLVMValueRef weights = s.shared.data[s.shared.b];
    LLVMValueRef place = tm_tiles_address(r, weights, tm_mul(r, panel, tm_int(r, TM_SPARSE_PLACE)));
    LLVMValueRef stream = tm_tiles_address(r, weights, load(r, r->e->i64, place, 8));
    s.column = tm_mul(r, panel, tm_int(r, TM_SPARSE_PANEL));
    unit_of(r, &s, row, rows, left, stream);
    tm_loop_end(r, &unit);
    tm_ranges_end(r, &s.shared.ranges);
    return TM_OK;
}

const tm_region_kind tm_region_kind_sparse = {"sparse", count, body};
