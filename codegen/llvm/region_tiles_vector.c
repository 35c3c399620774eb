/* SPDX-License-Identifier: Apache-2.0
 *
 * region_tiles_vector.c: a unit of a product of narrow types on vectors.
 *
 * Sums of a few rows by 16, 32 or 48 columns stay in registers while k runs. A word of A holds two or four k
 * of a row and is repeated in all lanes, a line of B holds the same k of neighbouring columns. How the
 * products of two words go into a sum is a row of data, tm_word_form, the first whose unit the level has:
 *
 *     bf16   AVX512_BF16: one instruction
 *     bf16   all others: two fused multiplications and additions of halves widened to float32; a bfloat16 is
 *            the upper half of a float32, so that is a shift or a mask
 *     bytes  AVX512_VNNI, AVX_VNNI: one instruction, unsigned by signed, without saturation
 *     bytes  i8mm: the same in vectors of 4; dotprod: signed by signed, with the left bytes less 128, and the
 *            columns' sums times 128 made beside them and put back
 *     bytes  other x86-64: even and odd bytes widened to 16 bits, two products of pairs (vpmaddwd), which fit
 *            in 32 bits; never the instruction for pairs of bytes, which saturates
 *     bytes  all others: four bytes widened to 32 bits
 *
 * Where words are taken apart, the rows' part of A, some steps of K at a time, is first copied to a buffer on
 * the stack, widened: each word of A is used for all lanes, so widening it there costs a lane's share. Rows
 * come in three counts, most first, and each sums its k in one order, so that the answer does not depend on
 * the count. Integers have one answer anyway, so few sums of them are split into sets that take turns. The
 * sums of a band wait for the epilogue.
 */
#include "codegen/llvm/region_tiles.h"

#include "ir/tiles.h"

#include <string.h>

#define MOST_ROWS TM_TILES_MOST_ROWS
#define MOST_VECTORS 4
#define LEAST_SUMS 8 /* that hide the time of an instruction */
#define SETS 4       /* most; they divide WORDS. As many words follow each other without a jump */
#define MOST_SUMS (SETS * LEAST_SUMS)
#define SIGNS ((int64_t)0x80808080)
#define CHUNK 8                   /* steps of K that are copied at once */
#define WORDS (TM_TILE_BYTES / 4) /* of a line */
#define PAIR (2 * TM_TILE_BYTES)  /* of lines, which are fetched at once */
#define PAIRS TM_TILE_ROWS        /* of a step of a panel */
#define FETCHED_ROWS 2            /* of the result, in a step */

typedef struct shape {
    const tm_word_form *form;
    tamis_type sum; /* float32 or int32 */
    int rows[3];    /* at once, descending */
    int columns;    /* at once */
    bool direct;    /* A is read where it stands */
} shape;

#define B (r->e->builder)

/* More than the columns of a panel at once: tiles of two panels side by side. */
static bool is_wide(const shape *s) {
    return s->columns > TM_TILE_PANEL;
}

/* Columns of a line of the buffer of sums. */
static int line_columns(const shape *s) {
    return is_wide(s) ? s->columns : TM_TILE_PANEL;
}

static LLVMValueRef number(tm_region *r, int64_t value) {
    return tm_splat(r, tm_emit_i32(r->e, value));
}

static void split_halves(tm_region *r, LLVMValueRef words, bool left, LLVMValueRef *out_parts) {
    (void)left;
    LLVMTypeRef floats = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    out_parts[0] = LLVMBuildBitCast(B, LLVMBuildShl(B, words, number(r, 16), ""), floats, "");
    out_parts[1] =
        LLVMBuildBitCast(B, LLVMBuildAnd(B, words, number(r, (int64_t)0xffff0000), ""), floats, "");
}

static LLVMValueRef add_product(tm_region *r, LLVMValueRef sum, LLVMValueRef left, LLVMValueRef right) {
    return tm_fma(r, left, right, sum);
}

static LLVMValueRef add_bf16_dot(tm_region *r, LLVMValueRef sum, LLVMValueRef left, LLVMValueRef right) {
    LLVMTypeRef halves = LLVMVectorType(LLVMBFloatTypeInContext(r->e->context), 32);
    return tm_plain_intrinsic(
        r, "llvm.x86.avx512bf16.dpbf16ps.512",
        (LLVMValueRef[]){sum, LLVMBuildBitCast(B, left, halves, ""), LLVMBuildBitCast(B, right, halves, "")},
        3);
}

static LLVMValueRef add_byte_dot(tm_region *r, LLVMValueRef sum, LLVMValueRef left, LLVMValueRef right) {
    const char *name = r->lanes == 16 ? "llvm.x86.avx512.vpdpbusd.512" : "llvm.x86.avx512.vpdpbusd.256";
    return tm_plain_intrinsic(r, name, (LLVMValueRef[]){sum, left, right}, 3);
}

/* Bytes 0 and 2 of each word, then 1 and 3, as 16-bit numbers. */
static void split_pairs(tm_region *r, LLVMValueRef words, bool left, LLVMValueRef *out_parts) {
    LLVMTypeRef pairs = LLVMVectorType(r->e->i16, 2 * (unsigned)r->lanes),
                whole = tm_vector_type(r, TAMIS_TYPE_INT32);
    LLVMValueRef lane[128], x = LLVMBuildBitCast(B, words, pairs, "");
    for (int i = 0; i < 2 * r->lanes; i++)
        lane[i] = LLVMConstInt(r->e->i16, 8, 0);
    LLVMValueRef eight = LLVMConstVector(lane, 2 * (unsigned)r->lanes), high = LLVMBuildShl(B, x, eight, "");
    LLVMOpcode shift = left ? LLVMLShr : LLVMAShr;
    out_parts[0] = LLVMBuildBitCast(B, LLVMBuildBinOp(B, shift, high, eight, ""), whole, "");
    out_parts[1] = LLVMBuildBitCast(B, LLVMBuildBinOp(B, shift, x, eight, ""), whole, "");
}

static LLVMValueRef add_pairs(tm_region *r, LLVMValueRef sum, LLVMValueRef left, LLVMValueRef right) {
    LLVMTypeRef pairs = LLVMVectorType(r->e->i16, 2 * (unsigned)r->lanes);
    const char *name = r->lanes == 16 ? "llvm.x86.avx512.pmaddw.d.512" : "llvm.x86.avx2.pmadd.wd";
    LLVMValueRef operands[2] = {LLVMBuildBitCast(B, left, pairs, ""), LLVMBuildBitCast(B, right, pairs, "")};
    return LLVMBuildAdd(B, sum, tm_plain_intrinsic(r, name, operands, 2), "");
}

static void split_bytes(tm_region *r, LLVMValueRef words, bool left, LLVMValueRef *out_parts) {
    for (int i = 0; i < 4; i++) {
        LLVMValueRef high = LLVMBuildShl(B, words, number(r, 24 - 8 * i), "");
        out_parts[i] = LLVMBuildBinOp(B, left ? LLVMLShr : LLVMAShr, high, number(r, 24), "");
    }
}

static LLVMValueRef add_bytes(tm_region *r, LLVMValueRef sum, LLVMValueRef left, LLVMValueRef right) {
    return LLVMBuildAdd(B, sum, LLVMBuildMul(B, left, right, ""), "");
}

/* The dot products of NEON. */
static LLVMValueRef add_neon_dot(tm_region *r, const char *name, LLVMValueRef sum, LLVMValueRef left,
                                 LLVMValueRef right) {
    LLVMTypeRef bytes = LLVMVectorType(r->e->i8, 16), types[2] = {LLVMTypeOf(sum), bytes};
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef operands[3] = {sum, LLVMBuildBitCast(B, left, bytes, ""),
                                LLVMBuildBitCast(B, right, bytes, "")};
    return LLVMBuildCall2(B, LLVMIntrinsicGetType(r->e->context, id, types, 2),
                          LLVMGetIntrinsicDeclaration(r->e->module, id, types, 2), operands, 3, "");
}

static LLVMValueRef add_mixed_dot(tm_region *r, LLVMValueRef sum, LLVMValueRef left, LLVMValueRef right) {
    return add_neon_dot(r, "llvm.aarch64.neon.usdot", sum, left, right);
}

static LLVMValueRef add_signed_dot(tm_region *r, LLVMValueRef sum, LLVMValueRef left, LLVMValueRef right) {
    return add_neon_dot(r, "llvm.aarch64.neon.sdot", sum, left, right);
}

static const tm_word_form word_forms[] = {
    {.type = TAMIS_TYPE_BFLOAT16,
     .units = TM_UNIT_DOT,
     .lanes = 16,
     .x86 = true,
     .parts = 1,
     .element = TAMIS_TYPE_INT32,
     .add = add_bf16_dot},
    {.type = TAMIS_TYPE_BFLOAT16,
     .parts = 2,
     .element = TAMIS_TYPE_FLOAT,
     .split = split_halves,
     .add = add_product},
    {.type = TAMIS_TYPE_UINT8,
     .units = TM_UNIT_BYTES,
     .lanes = 16,
     .x86 = true,
     .parts = 1,
     .element = TAMIS_TYPE_INT32,
     .add = add_byte_dot},
    {.type = TAMIS_TYPE_UINT8,
     .units = TM_UNIT_BYTES,
     .lanes = 8,
     .x86 = true,
     .parts = 1,
     .element = TAMIS_TYPE_INT32,
     .add = add_byte_dot},
    {.type = TAMIS_TYPE_UINT8,
     .x86 = true,
     .parts = 2,
     .element = TAMIS_TYPE_INT32,
     .split = split_pairs,
     .add = add_pairs},
    {.type = TAMIS_TYPE_UINT8,
     .units = TM_UNIT_BYTES | TM_UNIT_MIXED,
     .lanes = 4,
     .parts = 1,
     .element = TAMIS_TYPE_INT32,
     .add = add_mixed_dot},
    {.type = TAMIS_TYPE_UINT8,
     .units = TM_UNIT_BYTES,
     .lanes = 4,
     .signed_left = true,
     .parts = 1,
     .element = TAMIS_TYPE_INT32,
     .add = add_signed_dot},
    {.type = TAMIS_TYPE_UINT8,
     .parts = 4,
     .element = TAMIS_TYPE_INT32,
     .split = split_bytes,
     .add = add_bytes},
};

const tm_word_form *tm_word_form_of(const tm_region *r, tamis_type type) {
    bool x86 = strncmp(r->level->name, "x86", 3) == 0;
    const tm_word_form *form = word_forms;
    while (form->type != type || (r->level->units & form->units) != form->units ||
           (form->lanes != 0 && form->lanes != r->lanes) || (form->x86 && !x86))
        form++;
    return form;
}

tm_byte_dot tm_byte_dot_of(const tm_region *r, bool *out_signed) {
    const tm_word_form *form = tm_word_form_of(r, TAMIS_TYPE_UINT8);
    *out_signed = form->signed_left;
    return form->parts == 1 ? form->add : NULL;
}

/* Where words are whole, A is read where it is: a tile never crosses the border of a band. */
static shape choose(const tm_region *r, const tm_tiles *t) {
    tm_schedule schedule = tm_schedule_of(r->e->options, r->level, r->node);
    shape s = {.form = tm_word_form_of(r, t->form->type),
               .rows = {schedule.rows, schedule.small_rows, 1},
               .columns = schedule.vectors * r->lanes,
               .sum = t->shared.product->outputs[0]->type};
    s.direct = s.form->parts == 1 && tm_tiles_fill_bands(&schedule);
    return s;
}

static int words_of_line(const shape *s) {
    return s->form->parts * WORDS;
}

/* Rows whose sums wait for the epilogue together: about a band. More would store faster than the caches take
 * it. */
static int group_rows(const shape *s) {
    return s->direct ? TM_TILE_ROWS : TM_TILE_ROWS / s->rows[0] * s->rows[0];
}

/* Numbers that are taken off all sums of a column are what they start with, where vectors are whole. */
static void find_start(tm_region *r, tm_tiles *t, const shape *s) {
    LLVMValueRef n = t->shared.n;
    bool whole = LLVMIsConstant(n) && LLVMConstIntGetSExtValue(n) % s->columns == 0;
    if (s->sum == TAMIS_TYPE_INT32 && whole)
        t->shared.start = tm_contract_start(r, &t->shared, &t->start);
}

void tm_tiles_vector_begin(tm_region *r, tm_tiles *t) {
    shape s = choose(r, t);
    find_start(r, t, &s);
    t->sums = tm_region_alloca(r, r->e->f32, (int64_t)group_rows(&s) * line_columns(&s), 64);
    t->copy =
        s.direct ? NULL : tm_region_alloca(r, r->e->f32, (int64_t)s.rows[0] * CHUNK * words_of_line(&s), 64);
}

/* Where a row's line of a step stands in A. */
static LLVMValueRef line_of(tm_region *r, const tm_tiles *t, LLVMValueRef row, LLVMValueRef step) {
    LLVMValueRef line = LLVMBuildAnd(r->e->builder, row, tm_int(r, TM_TILE_ROWS - 1), "");
    LLVMValueRef bytes =
        tm_add(r, tm_mul(r, step, tm_int(r, TM_TILE_TOTAL)), tm_mul(r, line, tm_int(r, TM_TILE_BYTES)));
    return tm_tiles_address(r, tm_tiles_band(r, t, row), bytes);
}

/* Lines of `rows` rows for steps first..last to the buffer, the parts of a line one after the other. */
static void copy_rows(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef row, int rows,
                      LLVMValueRef first, LLVMValueRef last) {
    tm_loop i = tm_loop_begin(r, tm_int(r, 0), tm_int(r, rows), 1);
    LLVMValueRef own = tm_add(r, row, i.index);
    tm_loop step = tm_loop_begin(r, first, last, 1);
    LLVMValueRef from = line_of(r, t, own, step.index);
    LLVMValueRef to = tm_mul(r, tm_add(r, tm_mul(r, i.index, tm_int(r, CHUNK)), tm_sub(r, step.index, first)),
                             tm_int(r, words_of_line(s)));
    for (int word = 0; word < WORDS; word += r->lanes) {
        LLVMValueRef parts[TM_WORD_MOST_PARTS];
        parts[0] = tm_load_vector(r, TAMIS_TYPE_INT32, from, tm_int(r, word));
        if (s->form->split != NULL)
            s->form->split(r, parts[0], true, parts);
        for (int p = 0; p < s->form->parts; p++)
            tm_store_vector(r, s->form->element, parts[p], t->copy,
                            tm_add(r, to, tm_int(r, (int64_t)p * WORDS + word)));
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

/* Rows of A while they are multiplied: where word 0 of the first row's line stands, and the distance of rows.
 */
typedef struct left_rows {
    LLVMValueRef data, word;
    int64_t distance;
    LLVMValueRef first; /* number of the first row */
} left_rows;

/* The columns at hand: where the tile of the first word is that each vector is in. Tiles of one panel are
 * next to each other, and share an address. */
typedef struct right_columns {
    LLVMValueRef tile[MOST_VECTORS];
} right_columns;

/* Adds the products of the words at `left` and of the lines of B, `line` bytes behind where the columns
 * start, to all sums. */
static void add_words(tm_region *r, const shape *s, const left_rows *left, const right_columns *right,
                      LLVMValueRef line, int rows, LLVMValueRef sums[][MOST_VECTORS]) {
    int vectors = s->columns / r->lanes, parts = s->form->parts;
    LLVMValueRef columns[MOST_VECTORS][TM_WORD_MOST_PARTS];
    for (int v = 0; v < vectors; v++) {
        int64_t column = (int64_t)v * r->lanes;
        int64_t at = is_wide(s) ? 0 : column / TM_TILE_ROWS * (TM_TILE_TOTAL / 4) + column % TM_TILE_ROWS;
        LLVMValueRef own = tm_tiles_address(r, right->tile[v], line);
        LLVMValueRef words = tm_load_vector(r, TAMIS_TYPE_INT32, own, tm_int(r, at));
        if (column % TM_TILE_ROWS == 0)
            prefetch_line(r, own, at);
        columns[v][0] = words;
        if (s->form->split != NULL)
            s->form->split(r, words, false, columns[v]);
    }
    for (int i = 0; i < rows; i++)
        for (int p = 0; p < parts; p++) {
            LLVMValueRef at = tm_add(r, left->word, tm_int(r, i * left->distance + (int64_t)p * WORDS));
            LLVMValueRef word = tm_load_splat(r, s->form->element, left->data, at);
            if (s->form->signed_left)
                word = LLVMBuildXor(B, word, number(r, SIGNS), "");
            for (int v = 0; v < vectors; v++) {
                LLVMValueRef sum = LLVMBuildLoad2(B, tm_vector_type(r, s->sum), sums[i][v], "");
                LLVMBuildStore(B, s->form->add(r, sum, word, columns[v][p]), sums[i][v]);
            }
        }
    for (int v = 0; s->form->signed_left && v < vectors; v++) {
        LLVMValueRef sum = LLVMBuildLoad2(B, tm_vector_type(r, s->sum), sums[rows][v], "");
        LLVMBuildStore(B, s->form->add(r, sum, number(r, SIGNS), columns[v][0]), sums[rows][v]);
    }
}

/* The unit's tiles share the lines of the next panel evenly among their steps, and bring them into the second
 * cache: from memory they come too late for the first tile that reads them. A single tile reads the panel as
 * fast as memory gives it. */
static void share_next(tm_region *r, tm_tiles *t, const shape *s) {
    LLVMValueRef rows = tm_int(r, s->rows[0]), last = tm_int(r, s->rows[0] - 1);
    LLVMValueRef tiles = LLVMBuildUDiv(B, tm_add(r, tm_sub(r, t->to, t->from), last), rows, "");
    LLVMValueRef several = tm_less(r, tm_int(r, 1), tiles);
    tiles = tm_mul(r, tiles, tm_ceildiv(r, tm_mul(r, t->panels, tm_int(r, TM_TILE_PANEL)), s->columns));
    LLVMValueRef all = tm_mul(r, t->panels, tm_int(r, PAIRS)); /* of a step of the panels */
    LLVMValueRef pairs =
        LLVMBuildUDiv(B, tm_sub(r, tm_add(r, tiles, all), tm_int(r, 1)), tm_max(r, tiles, tm_int(r, 1)), "");
    t->ahead_bytes = tm_mul(r, LLVMBuildSelect(B, several, pairs, tm_int(r, 0), ""), tm_int(r, PAIR));
    t->ahead = tm_region_alloca(r, r->e->i64, 1, 8);
    LLVMBuildStore(B, tm_int(r, 0), t->ahead);
}

static void fetch_next(tm_region *r, const tm_tiles *t) {
    LLVMValueRef at = LLVMBuildLoad2(B, r->e->i64, t->ahead, "");
    LLVMValueRef end = tm_add(r, at, t->ahead_bytes);
    tm_loop pair = tm_loop_begin(r, at, end, PAIR);
    tm_prefetch(r, tm_tiles_address(r, t->next, pair.index), tm_int(r, 0));
    tm_prefetch(r, tm_tiles_address(r, t->next, pair.index), tm_int(r, WORDS));
    tm_loop_end(r, &pair);
    LLVMBuildStore(B, end, t->ahead);
}

/* Brings what the epilogue reads and stores of the tile's rows near, some rows in each of the first steps:
 * it would wait for lines that are far, and the next tile for it. */
static void fetch_result(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef row, int rows,
                         LLVMValueRef step) {
    LLVMValueRef done = tm_mul(r, step, tm_int(r, FETCHED_ROWS));
    LLVMBasicBlockRef after = tm_if_begin(r, tm_less(r, done, tm_int(r, rows)));
    int some = rows < FETCHED_ROWS ? rows : FETCHED_ROWS;
    tm_contract_fetch(r, &t->shared, tm_add(r, row, done), some, t->fetched, s->columns);
    tm_if_end(r, after);
}

/* Sets of sums that take turns, where so few would wait for each other. Integers have one sum in any order.
 */
static int set_count(const tm_region *r, const shape *s, int rows) {
    int sums = rows * (s->columns / r->lanes), sets = SETS;
    while (sets > 1 && sets * sums > 2 * LEAST_SUMS)
        sets /= 2;
    return s->direct && s->sum == TAMIS_TYPE_INT32 && sums < LEAST_SUMS ? sets : 1;
}

/* Words between two jumps. Of one step that k is known to have, they leave no rest. */
static int words_together(const tm_tiles *t, const shape *s, int sets) {
    if (!s->direct || s->sum != TAMIS_TYPE_INT32)
        return 1;
    int64_t k = t->shared.shape.k, words = k > 0 && k < TM_TILE_BYTES ? (k + 3) / 4 : WORDS;
    int together = SETS;
    while (together > sets && words % together != 0)
        together /= 2;
    return together;
}

/* All words of a step that k has, and up to SETS zeros. */
static void add_step(tm_region *r, const tm_tiles *t, const shape *s, const left_rows *left,
                     LLVMValueRef step, const right_columns *right, int rows,
                     LLVMValueRef sums[][MOST_VECTORS]) {
    fetch_next(r, t);
    fetch_result(r, t, s, left->first, rows, step);
    LLVMValueRef lines = tm_mul(r, step, tm_int(r, 2 * TM_TILE_TOTAL));
    LLVMValueRef rest =
        tm_sub(r, tm_ceildiv(r, t->shared.k, t->form->group), tm_mul(r, step, tm_int(r, WORDS)));
    int sets = set_count(r, s, rows), together = words_together(t, s, sets);
    tm_loop word = tm_loop_begin(r, tm_int(r, 0), tm_min(r, rest, tm_int(r, WORDS)), together);
    for (int i = 0; i < together; i++) {
        int set = i % sets;
        LLVMValueRef own = tm_add(r, word.index, tm_int(r, i));
        left_rows here = *left;
        here.word = tm_add(r, left->word, own);
        add_words(r, s, &here, right, tm_add(r, lines, tm_mul(r, own, tm_int(r, TM_TILE_BYTES))), rows,
                  sums + set * (rows + s->form->signed_left));
    }
    tm_loop_end(r, &word);
}

/* All steps, reading A where it stands. */
static void add_direct(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef row, int rows,
                       const right_columns *right, LLVMValueRef sums[][MOST_VECTORS]) {
    left_rows left = {line_of(r, t, row, tm_int(r, 0)), NULL, WORDS, row};
    tm_loop step = tm_loop_begin(r, tm_int(r, 0), t->steps, 1);
    left.word = tm_mul(r, step.index, tm_int(r, TM_TILE_TOTAL / 4));
    add_step(r, t, s, &left, step.index, right, rows, sums);
    tm_loop_end(r, &step);
}

/* All steps, copying some of A's at a time. */
static void add_copied(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef row, int rows,
                       const right_columns *right, LLVMValueRef sums[][MOST_VECTORS]) {
    tm_loop chunk = tm_loop_begin(r, tm_int(r, 0), t->steps, CHUNK);
    LLVMValueRef last = tm_min(r, tm_add(r, chunk.index, tm_int(r, CHUNK)), t->steps);
    copy_rows(r, t, s, row, rows, chunk.index, last);
    left_rows left = {t->copy, NULL, (int64_t)CHUNK * words_of_line(s), row};
    tm_loop step = tm_loop_begin(r, chunk.index, last, 1);
    left.word = tm_mul(r, tm_sub(r, step.index, chunk.index), tm_int(r, words_of_line(s)));
    add_step(r, t, s, &left, step.index, right, rows, sums);
    tm_loop_end(r, &step);
    tm_loop_end(r, &chunk);
}

/* What the sums of the columns at hand start with. */
static void start_columns(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef *out_starts) {
    LLVMTypeRef vector = tm_vector_type(r, s->sum);
    for (int v = 0; v < s->columns / r->lanes; v++) {
        out_starts[v] = LLVMConstNull(vector);
        if (t->shared.start == NULL)
            continue;
        LLVMValueRef at = tm_add(r, t->fetched, tm_int(r, (int64_t)v * r->lanes));
        LLVMValueRef taken = tm_load_vector(r, s->sum, t->shared.data[t->start], at);
        out_starts[v] = LLVMBuildNeg(B, taken, "");
    }
}

/* The sums of rows row..row + rows - 1, known at compile time, by the columns at hand, to the buffer's lines
 * from `line` on. */
static void multiply(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef row, int rows,
                     const right_columns *right, LLVMValueRef line) {
    LLVMTypeRef vector = tm_vector_type(r, s->sum);
    LLVMValueRef sums[MOST_SUMS][MOST_VECTORS];
    int vectors = s->columns / r->lanes, shifts = s->form->signed_left; /* -128 times the columns' sums */
    int sets = set_count(r, s, rows);
    LLVMValueRef starts[MOST_VECTORS];
    start_columns(r, t, s, starts);
    for (int i = 0; i < sets * (rows + shifts); i++)
        for (int v = 0; v < vectors; v++) {
            sums[i][v] = tm_region_alloca(r, vector, 1, 64);
            LLVMBuildStore(B, i < rows ? starts[v] : LLVMConstNull(vector), sums[i][v]);
        }
    (s->direct ? add_direct : add_copied)(r, t, s, row, rows, right, sums);
    LLVMValueRef at = tm_mul(r, line, tm_int(r, line_columns(s)));
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) {
            LLVMValueRef sum = NULL;
            for (int set = 0; set < sets; set++) {
                LLVMValueRef(*own)[MOST_VECTORS] = sums + set * (rows + shifts);
                LLVMValueRef part = LLVMBuildLoad2(B, vector, own[i][v], "");
                if (shifts)
                    part = LLVMBuildSub(B, part, LLVMBuildLoad2(B, vector, own[rows][v], ""), "");
                sum = sum != NULL ? LLVMBuildAdd(B, sum, part, "") : part;
            }
            tm_store_vector(r, s->sum, sum, t->sums,
                            tm_add(r, at, tm_int(r, (int64_t)i * line_columns(s) + (int64_t)v * r->lanes)));
        }
}

/* Rows row.. of those before `end`, as many as the largest tile has that is not larger than what is left;
 * returns how many were done. Where A is read in place, a tile may be larger: bands have all their lines, and
 * what comes out for rows that do not exist is left alone. */
static LLVMValueRef some_rows(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef row,
                              LLVMValueRef end, const right_columns *right, LLVMValueRef line,
                              LLVMValueRef done) {
    LLVMBuilderRef b = r->e->builder;
    LLVMBasicBlockRef after = tm_emit_block(r->e, "multiplied");
    LLVMValueRef left = tm_sub(r, end, row);
    for (int i = 0; i < 3; i++) {
        LLVMBasicBlockRef fits = tm_emit_block(r->e, "rows"),
                          other = i < 2 ? tm_emit_block(r->e, "fewer") : NULL;
        if (other != NULL) {
            int least = s->direct ? s->rows[i + 1] + 1 : s->rows[i];
            LLVMBuildCondBr(b, tm_less(r, left, tm_int(r, least)), other, fits);
        } else
            LLVMBuildBr(b, fits);
        LLVMPositionBuilderAtEnd(b, fits);
        multiply(r, t, s, row, s->rows[i], right, line);
        LLVMBuildStore(b, tm_min(r, left, tm_int(r, s->rows[i])), done);
        LLVMBuildBr(b, after);
        LLVMPositionBuilderAtEnd(b, other != NULL ? other : after);
    }
    return LLVMBuildLoad2(b, r->e->i64, done, "");
}

int tm_tiles_vector_panels(tm_region *r, const tm_tiles *t) {
    shape s = choose(r, t);
    return is_wide(&s) ? TM_TILES_MOST_PANELS : 1;
}

/* Where the columns from `column` of the unit on stand. There are no tiles behind the last panel: the last
 * one stands in for them, and what comes of it is left alone. */
static right_columns find_columns(tm_region *r, const tm_tiles *t, const shape *s, LLVMValueRef column) {
    right_columns right;
    LLVMValueRef first = LLVMBuildLShr(B, column, tm_int(r, 4), "");
    LLVMValueRef last = tm_sub(r, tm_mul(r, t->panels_left, tm_int(r, 2)), tm_int(r, 1));
    for (int v = 0; v < s->columns / r->lanes; v++) {
        if (!is_wide(s)) {
            right.tile[v] =
                tm_tiles_address(r, t->panel, tm_mul(r, column, tm_int(r, TM_TILE_TOTAL / TM_TILE_ROWS)));
            continue;
        }
        LLVMValueRef tile = tm_min(r, tm_add(r, first, tm_int(r, v)), last);
        LLVMValueRef panel = tm_mul(r, LLVMBuildLShr(B, tile, tm_int(r, 1), ""), t->panel_bytes);
        LLVMValueRef half = tm_mul(r, LLVMBuildAnd(B, tile, tm_int(r, 1), ""), tm_int(r, TM_TILE_TOTAL));
        right.tile[v] = tm_tiles_address(r, t->panel, tm_add(r, panel, half));
    }
    return right;
}

/* All rows of the unit by the columns at hand; `end`: of the unit's columns. */
static void multiply_columns(tm_region *r, tm_tiles *t, const shape *s, const right_columns *right,
                             LLVMValueRef end, LLVMValueRef at, LLVMValueRef done) {
    LLVMBuilderRef b = r->e->builder;
    tm_loop group = tm_loop_begin(r, t->from, t->to, group_rows(s));
    LLVMValueRef end_row = tm_min(r, t->to, tm_add(r, group.index, tm_int(r, group_rows(s))));
    LLVMBuildStore(b, group.index, at);
    LLVMBasicBlockRef head = tm_emit_block(r->e, "head"), work = tm_emit_block(r->e, "work"),
                      behind = tm_emit_block(r->e, "end");
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, head);
    LLVMValueRef row = LLVMBuildLoad2(b, r->e->i64, at, "");
    LLVMBuildCondBr(b, tm_less(r, row, end_row), work, behind);
    LLVMPositionBuilderAtEnd(b, work);
    LLVMValueRef rows = some_rows(r, t, s, row, end_row, right, tm_sub(r, row, group.index), done);
    LLVMBuildStore(b, tm_add(r, row, rows), at);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, behind);
    tm_contract_tile tile = {.sums = t->sums,
                             .stride = line_columns(s),
                             .row = group.index,
                             .rows = tm_sub(r, end_row, group.index),
                             .column = t->fetched,
                             .columns = s->columns,
                             .end = is_wide(s) ? end : NULL,
                             .end_is_whole = true};
    tm_contract_finish(r, &t->shared, &tile);
    tm_loop_end(r, &group);
}

void tm_tiles_vector_unit(tm_region *r, tm_tiles *t) {
    shape s = choose(r, t);
    LLVMValueRef at = tm_region_alloca(r, r->e->i64, 1, 8), done = tm_region_alloca(r, r->e->i64, 1, 8);
    share_next(r, t, &s);
    LLVMValueRef columns =
        tm_min(r, tm_mul(r, t->panels, tm_int(r, TM_TILE_PANEL)), tm_sub(r, t->shared.n, t->column));
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), columns, s.columns);
    right_columns right = find_columns(r, t, &s, column.index);
    t->fetched = tm_add(r, t->column, column.index);
    multiply_columns(r, t, &s, &right, tm_add(r, t->column, columns), at, done);
    tm_loop_end(r, &column);
}
