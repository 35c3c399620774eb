/* SPDX-License-Identifier: Apache-2.0
 *
 * region_bits.c: products by weights of 2, 4 and 8 bits, with everything elementwise after them.
 *
 *     y[.., m, n] = f(sum over k of A[.., m, k] * (B[n, k] - zero[n, block]) * scale[n, block], bias[n], ...)
 *
 * The weights stay packed in memory (ir/bits.h). A unit of work is a panel of 64 columns by some rows:
 *
 *     for each tile of columns
 *         for each chunk of k             unpack it to floats, in a buffer in the nearest cache
 *             for each tile of rows       sums += A[rows, chunk] * buffer
 *         epilogue
 *
 * so that weights are unpacked once for all rows of a unit. Unpacked weights are those of DequantizeLinear,
 * and a sum runs over k in ascending order: the same bits as the product by the dequantised matrix, for any
 * number of rows and threads. Levels with dot products of bytes do without floats: region_bits_dot.c.
 */
#include "codegen/llvm/region_bits.h"

#define WORK 400000 /* multiply-adds worth a task of their own */
#define READ_ROWS                                                                                       \
    4            /* multiply-adds that take as long as reading and unpacking the number of B they share \
                  */
#define CHUNK 64 /* most k that are unpacked at once: whole words */
#define MOST_ROWS 12
#define MOST_VECTORS 4
#define UNIT 0x1p23
#define UNIT_BITS 0x4b000000

/* The buffers of a unit stay below 32 KiB: sums of its rows, and unpacked weights of a stretch. */
int64_t tm_bits_stretch(const tm_bits_form *form) {
    return form->bits == 8 || form->step > TM_BITS_STEP / 2 ? TM_BITS_STEP : TM_BITS_STEP / 2;
}

int64_t tm_bits_unit_rows(const tm_bits_form *form) {
    return form->bits == 8 ? 96 : tm_bits_stretch(form) == TM_BITS_STEP ? 48 : 80;
}

LLVMValueRef tm_bits_address(tm_region *r, LLVMValueRef base, LLVMValueRef bytes) {
    return LLVMBuildInBoundsGEP2(r->e->builder, r->e->i8, base, &bytes, 1, "");
}

LLVMValueRef tm_bits_scale(tm_region *r, const tm_bits_product *p, LLVMValueRef at, LLVMValueRef column) {
    return tm_load_vector(r, TAMIS_TYPE_FLOAT, tm_bits_address(r, p->panel, at), column);
}

LLVMValueRef tm_bits_zero(tm_region *r, const tm_bits_product *p, LLVMValueRef at, LLVMValueRef column) {
    if (p->form.head == TM_BITS_PANEL * (int64_t)sizeof(float))
        return tm_splat_f32(r, p->zero_point);
    at = tm_add(r, at, tm_int(r, TM_BITS_PANEL * (int64_t)sizeof(float)));
    if (p->form.float_zeros)
        return tm_load_vector(r, TAMIS_TYPE_FLOAT, tm_bits_address(r, p->panel, at), column);
    LLVMValueRef bytes = tm_load_vector(r, TAMIS_TYPE_UINT8, tm_bits_address(r, p->panel, at), column);
    return LLVMBuildUIToFP(r->e->builder, bytes, tm_vector_type(r, TAMIS_TYPE_FLOAT), "");
}

LLVMValueRef tm_bits_words(tm_region *r, const tm_bits_product *p, LLVMValueRef at, LLVMValueRef column) {
    return tm_load_vector(r, TAMIS_TYPE_INT32, tm_bits_address(r, p->panel, at), column);
}

static void set_up(tm_region *r, tm_contract *c) {
    c->product = r->body->first;
    c->a = tm_region_input_number(r->body, c->product->inputs[0]);
    c->b = tm_region_input_number(r->body, c->product->inputs[1]);
    c->products = 1;
    c->set_up = set_up;
    c->matrices = tm_int(r, 1);
    const tm_value *a = r->node->inputs[c->a];
    const tm_constant *weights = r->node->inputs[c->b]->constant;
    c->m = tm_operand_product(r, c->a, 0, a->rank - 1);
    c->n = tm_int(r, weights->dims[0]);
    c->k = tm_int(r, weights->dims[1]);
}

static void begin(tm_region *r, tm_bits_product *p) {
    set_up(r, &p->shared);
    const tm_constant *weights = r->node->inputs[p->shared.b]->constant;
    p->form = tm_bits_form_of(weights);
    p->zero_point = weights->bits->zero_point;
    p->centre = tm_bits_centre(weights->bits, p->form.bits);
    p->digits = -1;
    for (int i = 0; i < r->node->input_count; i++)
        if (r->node->inputs[i]->producer != NULL && r->node->inputs[i]->producer->op == TM_OP_Digits)
            p->digits = i;
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    tm_bits_product p = {0};
    begin(r, &p);
    LLVMValueRef m = p.shared.m;
    *out_units = tm_mul(r, tm_int(r, p.form.panels), tm_ceildiv(r, m, tm_bits_unit_rows(&p.form)));
    LLVMValueRef rows = tm_max(r, tm_min(r, m, tm_int(r, tm_bits_unit_rows(&p.form))), tm_int(r, READ_ROWS));
    LLVMValueRef work = tm_mul(r, rows, tm_int(r, p.form.k * TM_BITS_PANEL));
    *out_grain = tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, WORK), work, ""), tm_int(r, 1));
    return TM_OK;
}

/* ---- floats ---- */

typedef struct shape {
    int rows[3], vectors,
        columns; /* tiles of so many rows: as many of the first as there are, then the next */
    int64_t chunk,
        part; /* k of a chunk: of some whole blocks, or of a part of one; of a part with one scale */
} shape;

/* Numbers of rows that divide those of a unit, and leave few single ones. */
static shape choose(const tm_region *r, const tm_bits_form *form) {
    const tm_level *level = r->level;
    shape s = {.rows = {4, 2, 1}, .vectors = 2};
    if (level->vector_bits == 0) {
        s.vectors = 1;
    } else if (level->vector_bits == 128) {
        s.vectors = tm_level_has_few_registers(level) ? 2 : 4;
    } else if (tm_level_has_few_registers(level)) {
        s.rows[0] = 6;
    } else {
        s.rows[0] = level->scalable ? 8 : MOST_ROWS;
        s.rows[1] = 4;
    }
    s.columns = s.vectors * r->lanes;
    for (s.part = CHUNK; form->block < form->k && form->block % s.part != 0;)
        s.part -= 16;
    s.chunk = s.part == form->block ? CHUNK / s.part * s.part : s.part;
    return s;
}

/* `count` k, whose lines stand at `at` and whose block at `head`, to the buffer, from line `first` on. An
 * element below the exponent of 2^23 is a float that is so much larger. */
static void unpack(tm_region *r, const tm_bits_product *p, const shape *s, LLVMValueRef head, LLVMValueRef at,
                   LLVMValueRef first, LLVMValueRef count, LLVMValueRef column) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef floats = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef scale[MOST_VECTORS], zero[MOST_VECTORS];
    int per_word = 32 / p->form.bits;
    for (int v = 0; v < s->vectors; v++) {
        LLVMValueRef own = tm_add(r, column, tm_int(r, (int64_t)v * r->lanes));
        scale[v] = tm_bits_scale(r, p, head, own);
        zero[v] = tm_bits_zero(r, p, head, own);
        if (!p->form.float_zeros) /* exact */
            zero[v] = LLVMBuildFAdd(b, zero[v], tm_splat_f32(r, UNIT), "");
    }
    LLVMValueRef exponent = tm_splat(r, tm_emit_i32(r->e, UNIT_BITS));
    LLVMValueRef mask = tm_splat(r, tm_emit_i32(r->e, (1 << p->form.bits) - 1));
    tm_loop line = tm_loop_begin(r, tm_int(r, 0), tm_ceildiv(r, count, per_word), 1);
    LLVMValueRef from = tm_add(r, at, tm_mul(r, line.index, tm_int(r, TM_BITS_LINE)));
    LLVMValueRef to = tm_mul(r, line.index, tm_int(r, (int64_t)per_word * s->columns));
    to = tm_add(r, to, tm_mul(r, first, tm_int(r, s->columns)));
    for (int v = 0; v < s->vectors; v++) {
        LLVMValueRef words = tm_bits_words(r, p, from, tm_add(r, column, tm_int(r, (int64_t)v * r->lanes)));
        for (int i = 0; i < per_word; i++) {
            LLVMValueRef shift = tm_splat(r, tm_emit_i32(r->e, i % 4 * 8 + i / 4 * p->form.bits));
            LLVMValueRef q = LLVMBuildAnd(b, LLVMBuildLShr(b, words, shift, ""), mask, "");
            q = LLVMBuildBitCast(b, LLVMBuildOr(b, q, exponent, ""), floats, "");
            if (p->form.float_zeros)
                q = LLVMBuildFSub(b, q, tm_splat_f32(r, UNIT), "");
            q = LLVMBuildFSub(b, q, zero[v], "");
            LLVMValueRef place = tm_add(r, to, tm_int(r, (int64_t)i * s->columns + (int64_t)v * r->lanes));
            tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMBuildFMul(b, q, scale[v], ""), p->weights, place);
        }
    }
    tm_loop_end(r, &line);
}

/* sums[row..] += A[row.., k0..] * buffer, for rows known at compile time. */
static void multiply(tm_region *r, const tm_bits_product *p, const shape *s, LLVMValueRef row, int rows,
                     LLVMValueRef k0, LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sums[MOST_ROWS][MOST_VECTORS], place[MOST_ROWS][MOST_VECTORS], a[MOST_ROWS];
    for (int i = 0; i < rows; i++) {
        LLVMValueRef own = tm_add(r, row, tm_int(r, i));
        LLVMValueRef first = tm_mul(r, tm_sub(r, own, p->from), tm_int(r, s->columns));
        a[i] = tm_element(r, p->shared.data[p->shared.a], tm_add(r, tm_mul(r, own, p->shared.k), k0));
        for (int v = 0; v < s->vectors; v++) {
            place[i][v] = tm_add(r, first, tm_int(r, (int64_t)v * r->lanes));
            sums[i][v] = tm_slot(r, tm_load_vector(r, TAMIS_TYPE_FLOAT, p->sums, place[i][v]));
        }
    }
    tm_loop k = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef columns[MOST_VECTORS], line = tm_mul(r, k.index, tm_int(r, s->columns));
    for (int v = 0; v < s->vectors; v++)
        columns[v] = tm_load_vector(r, TAMIS_TYPE_FLOAT, p->weights,
                                    tm_add(r, line, tm_int(r, (int64_t)v * r->lanes)));
    for (int i = 0; i < rows; i++) {
        LLVMValueRef x = tm_load_splat(r, TAMIS_TYPE_FLOAT, a[i], k.index);
        for (int v = 0; v < s->vectors; v++)
            LLVMBuildStore(b, tm_fma(r, x, columns[v], tm_held(r, sums[i][v])), sums[i][v]);
    }
    tm_loop_end(r, &k);
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < s->vectors; v++)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_held(r, sums[i][v]), p->sums, place[i][v]);
}

static void multiply_rows(tm_region *r, const tm_bits_product *p, const shape *s, LLVMValueRef k0,
                          LLVMValueRef count) {
    LLVMValueRef from = p->from;
    for (int i = 0; i < 3; i++) {
        LLVMValueRef left = LLVMBuildURem(r->e->builder, tm_sub(r, p->to, from), tm_int(r, s->rows[i]), "");
        LLVMValueRef whole = tm_sub(r, p->to, left);
        tm_loop tiles = tm_loop_begin(r, from, whole, s->rows[i]);
        multiply(r, p, s, tiles.index, s->rows[i], k0, count);
        tm_loop_end(r, &tiles);
        from = whole;
    }
}

static void clear_sums(tm_region *r, const tm_bits_product *p, const shape *s) {
    LLVMValueRef size = tm_mul(r, tm_sub(r, p->to, p->from), tm_int(r, s->columns));
    tm_loop at = tm_loop_begin(r, tm_int(r, 0), size, r->lanes);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, 0), p->sums, at.index);
    tm_loop_end(r, &at);
}

/* The chunk from k on, part by part. */
static void unpack_chunk(tm_region *r, const tm_bits_product *p, const shape *s, LLVMValueRef k,
                         LLVMValueRef count, LLVMValueRef column) {
    LLVMBuilderRef b = r->e->builder;
    const tm_bits_form *form = &p->form;
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), count, s->part);
    LLVMValueRef own = tm_add(r, k, part.index), block = LLVMBuildUDiv(b, own, tm_int(r, form->block), "");
    LLVMValueRef within = tm_sub(r, own, tm_mul(r, block, tm_int(r, form->block)));
    LLVMValueRef head = tm_mul(r, block, tm_int(r, form->block_bytes));
    LLVMValueRef lines = LLVMBuildUDiv(b, within, tm_int(r, 32 / form->bits), "");
    LLVMValueRef at =
        tm_add(r, tm_add(r, head, tm_int(r, form->head)), tm_mul(r, lines, tm_int(r, TM_BITS_LINE)));
    LLVMValueRef left = tm_min(r, tm_sub(r, count, part.index), tm_int(r, s->part));
    unpack(r, p, s, head, at, part.index, left, column);
    tm_loop_end(r, &part);
}

static void float_unit(tm_region *r, tm_bits_product *p) {
    shape s = choose(r, &p->form);
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, TM_BITS_PANEL), s.columns);
    LLVMValueRef first = tm_add(r, p->column, column.index);
    LLVMBasicBlockRef after = tm_if_begin(r, tm_less(r, first, p->shared.n));
    clear_sums(r, p, &s);
    tm_loop k = tm_loop_begin(r, tm_int(r, 0), p->shared.k, s.chunk);
    LLVMValueRef count = tm_min(r, tm_sub(r, p->shared.k, k.index), tm_int(r, s.chunk));
    unpack_chunk(r, p, &s, k.index, count, column.index);
    multiply_rows(r, p, &s, k.index, count);
    tm_loop_end(r, &k);
    tm_contract_tile tile = {.sums = p->sums,
                             .stride = s.columns,
                             .row = p->from,
                             .rows = tm_sub(r, p->to, p->from),
                             .column = first,
                             .columns = s.columns};
    tm_contract_finish(r, &p->shared, &tile);
    tm_if_end(r, after);
    tm_loop_end(r, &column);
}

static void float_begin(tm_region *r, tm_bits_product *p) {
    shape s = choose(r, &p->form);
    p->sums = tm_region_alloca(r, r->e->f32, tm_bits_unit_rows(&p->form) * s.columns, 64);
    p->weights = tm_region_alloca(r, r->e->f32, (int64_t)CHUNK * s.columns, 64);
}

/* ---- units ---- */

static tm_code body(tm_region *r, LLVMValueRef from, LLVMValueRef to) {
    tm_bits_product p = {0};
    begin(r, &p);
    tm_contract_begin(r, &p.shared);
    bool dot = p.digits >= 0 && tm_bits_has_dot(r);
    (dot ? tm_bits_dot_begin : float_begin)(r, &p);
    LLVMValueRef panels = tm_int(r, p.form.panels);
    tm_loop unit = tm_loop_begin(r, from, to, 1);
    LLVMValueRef block = LLVMBuildUDiv(r->e->builder, unit.index, panels, "");
    LLVMValueRef panel = tm_sub(r, unit.index, tm_mul(r, block, panels));
    p.from = tm_mul(r, block, tm_int(r, tm_bits_unit_rows(&p.form)));
    p.to = tm_min(r, tm_add(r, p.from, tm_int(r, tm_bits_unit_rows(&p.form))), p.shared.m);
    p.column = tm_mul(r, panel, tm_int(r, TM_BITS_PANEL));
    p.panel = tm_bits_address(r, p.shared.data[p.shared.b], tm_mul(r, panel, tm_int(r, p.form.panel_bytes)));
    (dot ? tm_bits_dot_unit : float_unit)(r, &p);
    tm_loop_end(r, &unit);
    return TM_OK;
}

const tm_region_kind tm_region_kind_bits = {"bits", count, body};
