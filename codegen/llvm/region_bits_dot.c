/* SPDX-License-Identifier: Apache-2.0
 *
 * region_bits_dot.c: products by packed weights on CPUs that multiply four bytes in each lane.
 *
 * The rows of A come as three digits of 8 bits (ir/bits.h), and a shift and a mask make four weights of each
 * word a factor, of which all digits and all rows of a tile make use:
 *
 *     for each stretch of k, 128 or 256
 *         for each tile of rows and columns
 *             for each step                      digits of one power of two, in one block
 *                 for each line of the panel     sums of d2, d1, d0  += dot(digits[row], weights)     in
 * int32, exact total += (65536 s2 + 256 s1 + s0) * power * scale[n]
 *
 * That is three instructions for 64 multiply-adds where floats need four and unpacking, so memory is what a
 * row alone waits for, and many rows are faster than by floats. The zero point, or the middle of all weights,
 * is part of where the sums start; what other zero points differ from that is subtracted with the sum of the
 * step. Each row is computed as if it were alone, so its bits do not depend on the number of rows, on units
 * or on threads.
 */
#include "codegen/llvm/region_bits.h"

#include <string.h>

#define MOST_ROWS 4
#define MOST_VECTORS 4
#define DIGITS 3
#define AHEAD (32 * TM_BITS_LINE)
#define LINE_BYTES 64 /* of the cache */

static bool is_x86(const tm_region *r) {
    return strncmp(r->level->name, "x86", 3) == 0;
}

/* A number is rounded where infinities and NaN would spread otherwise, which strict math does not allow. */
bool tm_bits_has_dot(const tm_region *r) {
    bool lanes = is_x86(r) ? r->lanes == 16 : r->lanes == 4;
    return (r->level->units & TM_UNIT_BYTES) != 0 && lanes && r->fast;
}

/* sum += the dot products of four bytes of each lane. The units of Arm multiply signed bytes only. */
static LLVMValueRef add_dot(tm_region *r, LLVMValueRef sum, LLVMValueRef weights, LLVMValueRef digits) {
    if (is_x86(r))
        return tm_plain_intrinsic(r, "llvm.x86.avx512.vpdpbusd.512", (LLVMValueRef[]){sum, weights, digits},
                                  3);
    LLVMTypeRef bytes = LLVMVectorType(r->e->i8, 16);
    LLVMValueRef arguments[3] = {sum, LLVMBuildBitCast(r->e->builder, weights, bytes, ""),
                                 LLVMBuildBitCast(r->e->builder, digits, bytes, "")};
    LLVMTypeRef types[2] = {LLVMTypeOf(sum), bytes};
    unsigned id = LLVMLookupIntrinsicID("llvm.aarch64.neon.sdot", strlen("llvm.aarch64.neon.sdot"));
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(r->e->module, id, types, 2);
    return LLVMBuildCall2(r->e->builder, LLVMIntrinsicGetType(r->e->context, id, types, 2), function,
                          arguments, 3, "");
}

/* Bytes of 8 bits are multiplied as signed ones there: they are less by their centre from the start. */
static bool are_lowered(const tm_region *r, const tm_bits_product *p) {
    return !is_x86(r) && p->form.bits == 8;
}

typedef struct tile {
    int rows, vectors;
    int bits;                       /* of the words that it reads: 8 where they were unpacked before */
    LLVMValueRef unpacked;          /* those, from the stretch's first k on, or NULL */
    LLVMValueRef column;            /* within the panel */
    LLVMValueRef digits[MOST_ROWS]; /* records of the rows */
    LLVMValueRef total[MOST_ROWS][MOST_VECTORS], sums[DIGITS][MOST_ROWS][MOST_VECTORS]; /* slots */
    LLVMValueRef scale[MOST_VECTORS], zero[MOST_VECTORS];                               /* of the block */
} tile;

static LLVMValueRef column_of(tm_region *r, const tile *t, int v) {
    return tm_add(r, t->column, tm_int(r, (int64_t)v * r->lanes));
}

static bool has_zeros(const tm_bits_product *p) {
    return p->form.head > TM_BITS_PANEL * (int64_t)sizeof(float);
}

/* Are there zero points other than the centre? */
static bool has_shift(const tm_bits_product *p) {
    return has_zeros(p) || p->zero_point != p->centre;
}

static LLVMValueRef head_f32(tm_region *r, LLVMValueRef record, int64_t at) {
    return tm_splat(r, tm_emit_load(r->e, r->e->f32, record, at));
}

static void start_sums(tm_region *r, const tm_bits_product *p, tile *t, LLVMValueRef *records) {
    for (int d = 0; d < DIGITS; d++)
        for (int i = 0; i < t->rows; i++) {
            LLVMValueRef start = tm_emit_i32(r->e, TM_DIGITS_ZERO);
            if (!are_lowered(r, p))
                start = tm_emit_load(r->e, r->e->i32, records[i], TM_DIGITS_START + 4 * d);
            for (int v = 0; v < t->vectors; v++)
                LLVMBuildStore(r->e->builder, tm_splat(r, start), t->sums[d][i][v]);
        }
}

static LLVMValueRef held_words(tm_region *r, LLVMValueRef slot) {
    return LLVMBuildLoad2(r->e->builder, tm_vector_type(r, TAMIS_TYPE_INT32), slot, "");
}

/* Four weights of each word, part `part` of it, as bytes. */
static LLVMValueRef take_part(tm_region *r, int bits, LLVMValueRef words, int part) {
    LLVMBuilderRef b = r->e->builder;
    if (bits == 8)
        return words;
    LLVMValueRef shift = tm_splat(r, tm_emit_i32(r->e, part * bits));
    LLVMValueRef mask = tm_splat(r, tm_emit_i32(r->e, bits == 4 ? 0x0f0f0f0f : 0x03030303));
    return LLVMBuildAnd(b, LLVMBuildLShr(b, words, shift, ""), mask, "");
}

/* One line, at `at`, whose words start at k `at_k` of the step. */
static void add_line(tm_region *r, const tm_bits_product *p, tile *t, LLVMValueRef *records, LLVMValueRef at,
                     LLVMValueRef at_k) {
    LLVMBuilderRef b = r->e->builder;
    int64_t room = tm_digits_room(p->form.k, p->form.step);
    LLVMValueRef words[MOST_VECTORS], factors[MOST_VECTORS];
    LLVMValueRef from = tm_bits_address(r, t->unpacked != NULL ? t->unpacked : p->panel, at);
    for (int v = 0; v < t->vectors; v++)
        words[v] = tm_load_vector(r, TAMIS_TYPE_INT32, from, column_of(r, t, v));
    LLVMValueRef signs = tm_splat(r, LLVMConstInt(r->e->i32, 0x80808080u, 0));
    for (int part = 0; part < 8 / t->bits; part++) {
        for (int v = 0; v < t->vectors; v++) {
            factors[v] = take_part(r, t->bits, words[v], part);
            if (are_lowered(r, p))
                factors[v] = LLVMBuildXor(b, words[v], signs, "");
        }
        for (int i = 0; i < t->rows; i++)
            for (int d = 0; d < DIGITS; d++) {
                LLVMValueRef place = tm_add(r, at_k, tm_int(r, TM_DIGITS_HEAD + d * room + 4 * part));
                LLVMValueRef four =
                    tm_load_splat(r, TAMIS_TYPE_INT32, tm_bits_address(r, records[i], place), tm_int(r, 0));
                for (int v = 0; v < t->vectors; v++) {
                    LLVMValueRef slot = t->sums[d][i][v];
                    LLVMBuildStore(b, add_dot(r, held_words(r, slot), factors[v], four), slot);
                }
            }
    }
}

/* total += (65536 s2 + 256 s1 + s0 - shift * sum of the step) * power * scale. The sums are floats as they
 * are, and what they are too large is taken off with the first one, exactly. A power above one goes to the
 * scale, one below to the sum: the sum is a whole number, so neither leaves the range where the result does
 * not. */
static void add_step(tm_region *r, const tm_bits_product *p, tile *t, LLVMValueRef *records) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef floats = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef high = tm_splat_f32(r, 65536), middle = tm_splat_f32(r, 256);
    LLVMValueRef offset = tm_splat_f32(r, -TM_DIGITS_OFFSET * (65536 + 256 + 1));
    for (int i = 0; i < t->rows; i++) {
        LLVMValueRef power = head_f32(r, records[i], 0), sum = head_f32(r, records[i], TM_DIGITS_SUM);
        LLVMValueRef one = tm_splat_f32(r, 1), is_large = LLVMBuildFCmp(b, LLVMRealOGE, power, one, "");
        LLVMValueRef large = LLVMBuildSelect(b, is_large, power, one, "");
        LLVMValueRef small = LLVMBuildSelect(b, is_large, one, power, "");
        for (int v = 0; v < t->vectors; v++) {
            LLVMValueRef s[DIGITS];
            for (int d = 0; d < DIGITS; d++)
                s[d] = LLVMBuildBitCast(b, held_words(r, t->sums[d][i][v]), floats, "");
            LLVMValueRef f = tm_fma(r, s[1], middle, tm_fma(r, s[0], high, offset));
            f = LLVMBuildFAdd(b, s[2], f, "");
            if (has_shift(p))
                f = tm_fma(r, LLVMBuildFNeg(b, t->zero[v], ""), sum, f);
            LLVMValueRef scale = LLVMBuildFMul(b, t->scale[v], large, "");
            f = tm_fma(r, LLVMBuildFMul(b, f, small, ""), scale, tm_held(r, t->total[i][v]));
            LLVMBuildStore(b, f, t->total[i][v]);
        }
    }
}

static void fetch_ahead(tm_region *r, const tm_bits_product *p, LLVMValueRef at, const tile *t) {
    for (int64_t i = 0; t->rows == 1 && i < (int64_t)t->vectors * r->lanes * 4; i += LINE_BYTES)
        tm_prefetch(r, tm_bits_address(r, p->panel, tm_add(r, at, tm_int(r, AHEAD + i))), tm_int(r, 0));
}

/* k of step `step`, a number that is known where all steps are whole. */
static LLVMValueRef step_depth(tm_region *r, const tm_bits_form *form, LLVMValueRef step) {
    if (form->k % form->step == 0)
        return tm_int(r, form->step);
    return tm_min(r, tm_sub(r, tm_int(r, form->k), tm_mul(r, step, tm_int(r, form->step))),
                  tm_int(r, form->step));
}

/* All lines of step `step`, which start at `at`. */
static void add_lines(tm_region *r, const tm_bits_product *p, tile *t, LLVMValueRef step, LLVMValueRef at) {
    const tm_bits_form *form = &p->form;
    int per_word = 32 / t->bits;
    LLVMValueRef records[MOST_ROWS];
    for (int i = 0; i < t->rows; i++)
        records[i] = tm_bits_address(r, t->digits[i],
                                     tm_mul(r, step, tm_int(r, tm_digits_record(form->k, form->step))));
    start_sums(r, p, t, records);
    tm_loop line = tm_loop_begin(r, tm_int(r, 0), tm_ceildiv(r, step_depth(r, form, step), per_word), 1);
    LLVMValueRef here = tm_add(r, at, tm_mul(r, line.index, tm_int(r, TM_BITS_LINE)));
    fetch_ahead(r, p, here, t);
    add_line(r, p, t, records, here, tm_mul(r, line.index, tm_int(r, per_word)));
    tm_loop_end(r, &line);
    add_step(r, p, t, records);
}

/* Where the lines of step `step` start, in the panel; and its block's head. */
static LLVMValueRef lines_of_step(tm_region *r, const tm_bits_form *form, LLVMValueRef step,
                                  LLVMValueRef *out_head) {
    int64_t in_block = form->block < form->k ? form->block / form->step : form->steps;
    LLVMValueRef block = LLVMBuildUDiv(r->e->builder, step, tm_int(r, in_block), "");
    LLVMValueRef within = tm_sub(r, step, tm_mul(r, block, tm_int(r, in_block)));
    *out_head = tm_mul(r, block, tm_int(r, form->block_bytes));
    int64_t step_bytes = form->step * form->bits / 32 * TM_BITS_LINE;
    return tm_add(r, tm_add(r, *out_head, tm_int(r, form->head)), tm_mul(r, within, tm_int(r, step_bytes)));
}

/* Adds steps from..to of rows row.. by some columns of the panel to the totals of the unit. */
static void multiply(tm_region *r, tm_bits_product *p, LLVMValueRef row, int rows, int vectors,
                     LLVMValueRef column, LLVMValueRef from, LLVMValueRef to) {
    const tm_bits_form *form = &p->form;
    bool unpacked = rows > 1 && form->bits < 8;
    tile t = {.rows = rows, .vectors = vectors, .bits = unpacked ? 8 : form->bits, .column = column};
    t.unpacked = unpacked ? p->weights : NULL;
    int64_t row_bytes = form->steps * tm_digits_record(form->k, form->step);
    LLVMValueRef place[MOST_ROWS][MOST_VECTORS];
    for (int i = 0; i < rows; i++) {
        LLVMValueRef own = tm_add(r, row, tm_int(r, i));
        LLVMValueRef first = tm_mul(r, tm_sub(r, own, p->from), tm_int(r, TM_BITS_PANEL));
        t.digits[i] = tm_bits_address(r, p->shared.data[p->digits], tm_mul(r, own, tm_int(r, row_bytes)));
        for (int v = 0; v < vectors; v++) {
            place[i][v] = tm_add(r, first, column_of(r, &t, v));
            t.total[i][v] = tm_slot(r, tm_load_vector(r, TAMIS_TYPE_FLOAT, p->sums, place[i][v]));
            for (int d = 0; d < DIGITS; d++)
                t.sums[d][i][v] = tm_slot(r, LLVMConstNull(tm_vector_type(r, TAMIS_TYPE_INT32)));
        }
    }
    tm_loop step = tm_loop_begin(r, from, to, 1);
    LLVMValueRef head, at = lines_of_step(r, form, step.index, &head);
    for (int v = 0; v < vectors; v++) {
        t.scale[v] = tm_bits_scale(r, p, head, column_of(r, &t, v));
        t.zero[v] = tm_bits_zero(r, p, head, column_of(r, &t, v));
        t.zero[v] = LLVMBuildFSub(r->e->builder, t.zero[v], tm_splat_f32(r, p->centre), "");
    }
    if (unpacked)
        at = tm_mul(r, tm_sub(r, step.index, from), tm_int(r, form->step / 4 * TM_BITS_LINE));
    add_lines(r, p, &t, step.index, at);
    tm_loop_end(r, &step);
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_held(r, t.total[i][v]), p->sums, place[i][v]);
}

/* The weights of steps from..to as bytes, for many rows. */
static void unpack(tm_region *r, const tm_bits_product *p, LLVMValueRef from, LLVMValueRef to) {
    const tm_bits_form *form = &p->form;
    int parts = 8 / form->bits;
    tm_loop step = tm_loop_begin(r, from, to, 1);
    LLVMValueRef head, at = lines_of_step(r, form, step.index, &head);
    LLVMValueRef first = tm_mul(r, tm_sub(r, step.index, from), tm_int(r, form->step / 4 * TM_BITS_LINE));
    LLVMValueRef lines = tm_ceildiv(r, step_depth(r, form, step.index), 32 / form->bits);
    tm_loop line = tm_loop_begin(r, tm_int(r, 0), lines, 1);
    LLVMValueRef source =
        tm_bits_address(r, p->panel, tm_add(r, at, tm_mul(r, line.index, tm_int(r, TM_BITS_LINE))));
    LLVMValueRef to_line = tm_bits_address(
        r, p->weights, tm_add(r, first, tm_mul(r, line.index, tm_int(r, parts * TM_BITS_LINE))));
    for (int c = 0; c < TM_BITS_PANEL; c += r->lanes) {
        LLVMValueRef words = tm_load_vector(r, TAMIS_TYPE_INT32, source, tm_int(r, c));
        for (int part = 0; part < parts; part++)
            tm_store_vector(r, TAMIS_TYPE_INT32, take_part(r, form->bits, words, part), to_line,
                            tm_int(r, (int64_t)part * TM_BITS_PANEL + c));
    }
    tm_loop_end(r, &line);
    tm_loop_end(r, &step);
}

void tm_bits_dot_begin(tm_region *r, tm_bits_product *p) {
    if (p->form.bits < 8)
        p->weights = tm_region_alloca(r, r->e->i8, TM_BITS_PANEL * tm_bits_stretch(&p->form), 64);
    p->sums = tm_region_alloca(r, r->e->f32, tm_bits_unit_rows(&p->form) * TM_BITS_PANEL, 64);
}

/* `rows` rows from `first` to `end` at a time, whose number is a multiple. */
static void some_rows(tm_region *r, tm_bits_product *p, int rows, int vectors, LLVMValueRef first,
                      LLVMValueRef end, LLVMValueRef from, LLVMValueRef to) {
    tm_loop row = tm_loop_begin(r, first, end, rows);
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, TM_BITS_PANEL), (int64_t)vectors * r->lanes);
    multiply(r, p, row.index, rows, vectors, column.index, from, to);
    tm_loop_end(r, &column);
    tm_loop_end(r, &row);
}

/* Tiles of rows take their sums of some steps, whose weights stay in the nearest cache, before the next ones;
 * single rows read the panel in one stream. */
void tm_bits_dot_unit(tm_region *r, tm_bits_product *p) {
    LLVMValueRef rows = tm_sub(r, p->to, p->from);
    LLVMValueRef left = LLVMBuildURem(r->e->builder, rows, tm_int(r, MOST_ROWS), "");
    LLVMValueRef whole = tm_sub(r, p->to, left), steps = tm_int(r, p->form.steps);
    tm_loop clear = tm_loop_begin(r, tm_int(r, 0), tm_mul(r, rows, tm_int(r, TM_BITS_PANEL)), r->lanes);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, 0), p->sums, clear.index);
    tm_loop_end(r, &clear);
    int64_t together = tm_bits_stretch(&p->form) / p->form.step;
    LLVMBasicBlockRef after = tm_if_begin(r, tm_less(r, p->from, whole));
    tm_loop from = tm_loop_begin(r, tm_int(r, 0), steps, together);
    LLVMValueRef to = tm_min(r, tm_add(r, from.index, tm_int(r, together)), steps);
    if (p->form.bits < 8)
        unpack(r, p, from.index, to);
    some_rows(r, p, MOST_ROWS, 2, p->from, whole, from.index, to);
    tm_loop_end(r, &from);
    tm_if_end(r, after);
    some_rows(r, p, 1, MOST_VECTORS, whole, p->to, tm_int(r, 0), steps);
    tm_contract_tile done = {.sums = p->sums,
                             .stride = TM_BITS_PANEL,
                             .row = p->from,
                             .rows = rows,
                             .column = p->column,
                             .columns = TM_BITS_PANEL};
    tm_contract_finish(r, &p->shared, &done);
}
