/* SPDX-License-Identifier: Apache-2.0
 *
 * region_contract.c: MatMul by a constant matrix, with everything elementwise after it.
 *
 *     y[.., m, n] = f(sum over k of A[.., m, k] * B[k, n], bias[n], residual[.., m, n], ...)
 *
 * B was packed when it was written: panels of 32 columns, in each panel row after row, so the inner loop
 * reads it in one stream. A tile of `rows` x `vectors` accumulators stays in registers while k runs; the
 * finished tile goes through a small stack buffer to the epilogue, which is emitted once per tile shape and
 * not once per accumulator. A unit of work is one panel times a block of rows.
 */
#include "codegen/llvm/contract.h"

#define BLOCK_ROWS 84 /* a multiple of every tile's rows */
#define SHALLOW 256   /* depth */
#define WORK 400000   /* multiply-adds worth a task of their own */

typedef struct contract {
    tm_contract shared;
    int rows, vectors;  /* register tile */
    LLVMValueRef panel; /* first column of the current tile, i64 */
    LLVMValueRef tile;  /* stack buffer rows x panel width */
} contract;

bool tm_region_shallow(const tm_value *a) {
    tm_dim depth = a->dims[a->rank - 1];
    return depth->kind == TM_DIM_CONST && depth->constant < SHALLOW;
}

static void set_up(tm_region *r, contract *c) {
    tm_contract_set_up(r, &c->shared);
    switch (r->level->vector_bits) {
    case 512:
        c->rows = 14, c->vectors = 2;
        break;
    case 256:
        c->rows = 6, c->vectors = 2;
        break;
    case 128:
        c->rows = 6, c->vectors = 4;
        break;
    default:
        c->rows = 4, c->vectors = 1;
        break;
    }
    if (c->vectors * r->lanes > c->shared.width)
        c->vectors = c->shared.width / r->lanes;
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    contract c = {0};
    set_up(r, &c);
    *out_units = tm_mul(r, tm_ceildiv(r, c.shared.n, c.shared.width), tm_ceildiv(r, c.shared.m, BLOCK_ROWS));
    LLVMValueRef rows = tm_min(r, c.shared.m, tm_int(r, BLOCK_ROWS));
    LLVMValueRef work =
        tm_max(r, tm_mul(r, tm_mul(r, rows, c.shared.k), tm_int(r, c.shared.width)), tm_int(r, 1));
    *out_grain = tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, WORK), work, ""), tm_int(r, 1));
    return TM_OK;
}

/* sum[i][v] += A[row + i][k] * B[k][columns of v] for all k, rows known at compile time. */
static void tile(tm_region *r, contract *c, LLVMValueRef row, int rows, LLVMValueRef panel_data) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef sums[16][4];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < c->vectors; v++) {
            sums[i][v] = tm_region_alloca(r, vector, 1, 64);
            LLVMBuildStore(b, LLVMConstNull(vector), sums[i][v]);
        }
    /* A full tile has enough independent sums to hide latency; small ones need several k at once. */
    const tm_value *a_value = r->node->inputs[c->shared.a];
    tm_dim depth = a_value->dims[a_value->rank - 1];
    int unroll = rows < 6 && depth->kind == TM_DIM_CONST && depth->constant % 2 == 0 ? 2 : 1;
    LLVMValueRef a_rows[16];
    for (int i = 0; i < rows; i++) {
        LLVMValueRef index = tm_mul(r, tm_add(r, row, tm_int(r, i)), c->shared.k);
        a_rows[i] = LLVMBuildInBoundsGEP2(b, r->e->f32, c->shared.data[c->shared.a], &index, 1, "");
    }
    tm_loop loop = tm_loop_begin(r, tm_int(r, 0), c->shared.k, unroll);
    for (int u = 0; u < unroll; u++) {
        LLVMValueRef k = tm_add(r, loop.index, tm_int(r, u)), columns[4];
        for (int v = 0; v < c->vectors; v++)
            columns[v] = tm_load_vector(
                r, TAMIS_TYPE_FLOAT, panel_data,
                tm_add(r, tm_mul(r, k, tm_int(r, c->shared.width)), tm_int(r, (int64_t)v * r->lanes)));
        for (int i = 0; i < rows; i++) {
            LLVMValueRef a = tm_load_splat(r, TAMIS_TYPE_FLOAT, a_rows[i], k);
            for (int v = 0; v < c->vectors; v++) {
                LLVMValueRef sum = LLVMBuildLoad2(b, vector, sums[i][v], "");
                LLVMBuildStore(b, tm_fma(r, a, columns[v], sum), sums[i][v]);
            }
        }
    }
    tm_loop_end(r, &loop);
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < c->vectors; v++)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMBuildLoad2(b, vector, sums[i][v], ""), c->tile,
                            tm_int(r, (int64_t)i * c->shared.width + (int64_t)v * r->lanes));
}

/* All rows from..to against `vectors` vectors of columns: full tiles while they last, then fewer rows. The
 * epilogue stands once behind them, for as many rows as the tile had. */
static void rows(tm_region *r, contract *c, LLVMValueRef from, LLVMValueRef to, LLVMValueRef panel_data) {
    LLVMBuilderRef b = r->e->builder;
    /* A tile of 4 rows pays where the panel is long enough to be worth reading less often. */
    bool four = c->rows > 8 && !tm_region_shallow(r->node->inputs[c->shared.a]);
    const int shapes[] = {c->rows, four ? 4 : 1, 1};
    int shape_count = four ? 3 : 2;
    LLVMValueRef at = tm_region_alloca(r, r->e->i64, 1, 8), step = tm_region_alloca(r, r->e->i64, 1, 8);
    LLVMBuildStore(b, from, at);
    LLVMBasicBlockRef head = tm_emit_block(r->e, "head"), done = tm_emit_block(r->e, "done"),
                      finish = tm_emit_block(r->e, "finish");
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, head);
    LLVMValueRef row = LLVMBuildLoad2(b, r->e->i64, at, "");
    LLVMValueRef left = tm_sub(r, to, row);
    for (int i = 0; i < shape_count; i++) {
        LLVMBasicBlockRef yes = tm_emit_block(r->e, "tile"),
                          no = i + 1 < shape_count ? tm_emit_block(r->e, "") : done;
        LLVMBuildCondBr(b, tm_less(r, left, tm_int(r, shapes[i])), no, yes);
        LLVMPositionBuilderAtEnd(b, yes);
        tile(r, c, row, shapes[i], panel_data);
        LLVMBuildStore(b, tm_int(r, shapes[i]), step);
        LLVMBuildBr(b, finish);
        LLVMPositionBuilderAtEnd(b, no);
    }
    LLVMPositionBuilderAtEnd(b, finish);
    LLVMValueRef count = LLVMBuildLoad2(b, r->e->i64, step, "");
    const tm_contract_tile done_tile = {.sums = c->tile,
                                        .stride = c->shared.width,
                                        .row = row,
                                        .rows = count,
                                        .column = c->panel,
                                        .columns = c->vectors * r->lanes};
    tm_contract_finish(r, &c->shared, &done_tile);
    LLVMBuildStore(b, tm_add(r, row, count), at);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, done);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    contract c = {0};
    LLVMBuilderRef b = r->e->builder;
    set_up(r, &c);
    tm_contract_begin(r, &c.shared);
    c.tile = tm_region_alloca(r, r->e->f32, (int64_t)c.rows * c.shared.width, 64);
    LLVMValueRef blocks = tm_ceildiv(r, c.shared.m, BLOCK_ROWS);
    tm_loop loop = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef panel = LLVMBuildUDiv(b, loop.index, blocks, "");
    LLVMValueRef from = tm_mul(r, tm_sub(r, loop.index, tm_mul(r, panel, blocks)), tm_int(r, BLOCK_ROWS));
    LLVMValueRef to = tm_min(r, tm_add(r, from, tm_int(r, BLOCK_ROWS)), c.shared.m);
    LLVMValueRef panel_offset = tm_mul(r, tm_mul(r, panel, tm_int(r, c.shared.width)), c.shared.k);
    LLVMValueRef first_column = tm_mul(r, panel, tm_int(r, c.shared.width));
    int step = c.vectors * r->lanes;
    tm_loop columns = tm_loop_begin(r, tm_int(r, 0), tm_int(r, c.shared.width), step);
    LLVMValueRef index = tm_add(r, panel_offset, columns.index);
    LLVMValueRef panel_data = LLVMBuildInBoundsGEP2(b, r->e->f32, c.shared.data[c.shared.b], &index, 1, "");
    c.panel = tm_add(r, first_column, columns.index);
    LLVMBasicBlockRef inside = tm_if_begin(r, tm_less(r, c.panel, c.shared.n));
    rows(r, &c, from, to, panel_data);
    tm_if_end(r, inside);
    tm_loop_end(r, &columns);
    tm_loop_end(r, &loop);
    return TM_OK;
}

const tm_region_kind tm_region_kind_contract = {"contract", count, body};
