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
#include "codegen/llvm/region.h"

#include <string.h>

#define BLOCK_ROWS 84 /* a multiple of every tile's rows */
#define SHALLOW 256   /* depth */
#define WORK 400000   /* multiply-adds worth a task of their own */

typedef struct contract {
    const tm_node *matmul; /* in the body */
    int a, b;              /* inputs of the region */
    int rows, vectors;     /* register tile */
    int width;             /* columns of a panel */
    LLVMValueRef *data;
    LLVMValueRef m, k, n;     /* sizes, i64 */
    LLVMValueRef panel;       /* first column of the current tile, i64 */
    LLVMValueRef row, column; /* of the current point */
    LLVMValueRef tile;        /* stack buffer rows x c->width */
} contract;

bool tm_region_shallow(const tm_value *a) {
    tm_dim depth = a->dims[a->rank - 1];
    return depth->kind == TM_DIM_CONST && depth->constant < SHALLOW;
}

static int input_number(const tm_region *r, const tm_value *value) {
    for (size_t i = 0; i < r->body->inputs.count; i++)
        if (r->body->inputs.items[i] == value)
            return (int)i;
    return -1;
}

static void set_up(tm_region *r, contract *c) {
    for (const tm_node *n = r->body->first; n != NULL; n = n->next)
        if (n->op == TM_OP_MatMul)
            c->matmul = n;
    c->a = input_number(r, c->matmul->inputs[0]);
    c->b = input_number(r, c->matmul->inputs[1]);
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
    int rank = r->node->inputs[c->a]->rank;
    c->m = tm_operand_product(r, c->a, 0, rank - 1);
    c->k =
        tm_operand_dim_loaded(r, c->a, rank - 1); /* not a constant: layers of other depth share the code */
    c->n = tm_operand_dim(r, c->b, 1);
    c->width = r->node->inputs[c->b]->constant->panel;
    if (c->vectors * r->lanes > c->width)
        c->vectors = c->width / r->lanes;
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    contract c = {0};
    set_up(r, &c);
    *out_units = tm_mul(r, tm_ceildiv(r, c.n, c.width), tm_ceildiv(r, c.m, BLOCK_ROWS));
    LLVMValueRef rows = tm_min(r, c.m, tm_int(r, BLOCK_ROWS));
    LLVMValueRef work = tm_max(r, tm_mul(r, tm_mul(r, rows, c.k), tm_int(r, c.width)), tm_int(r, 1));
    *out_grain = tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, WORK), work, ""), tm_int(r, 1));
    return TM_OK;
}

/* Operands of the epilogue walk along the last of the leading dims (all of them, some, or none) and repeat
 * over the first: bias[n], positions[seq, n] under [batch, seq, n], a full residual. Rows then count modulo a
 * period. */
static LLVMValueRef epilogue_index(tm_region *r, const contract *c, const tm_value *value, bool *out_walks) {
    const tm_value *out = c->matmul->outputs[0];
    bool columns = value->rank > 0 && !tm_dim_is(value->dims[value->rank - 1], 1);
    int first = 0; /* of the value's leading dims that walks */
    while (first + 1 < value->rank && tm_dim_is(value->dims[first], 1))
        first++;
    *out_walks = columns;
    LLVMValueRef index = columns ? c->column : tm_int(r, 0);
    if (first + 1 >= value->rank)
        return index;
    LLVMValueRef row = c->row;
    int axis = out->rank - value->rank + first;
    bool whole = true; /* only unit dims stand before it */
    for (int i = 0; i < axis; i++)
        whole = whole && tm_dim_is(out->dims[i], 1);
    if (!whole)
        row = LLVMBuildURem(r->e->builder, row,
                            tm_operand_product(r, r->node->input_count, axis, out->rank - 1), "");
    return tm_add(r, index, columns ? tm_mul(r, row, c->n) : row);
}

static LLVMValueRef load(tm_region *r, int input) {
    contract *c = r->kind;
    const tm_value *value = r->node->inputs[input];
    bool walks;
    LLVMValueRef index = epilogue_index(r, c, value, &walks);
    return walks ? tm_load_vector(r, value->type, c->data[input], index)
                 : tm_load_splat(r, value->type, c->data[input], index);
}

/* One row of the tile buffer through the epilogue to the output. */
static void finish_row(tm_region *r, contract *c, LLVMValueRef tile_row, LLVMValueRef row) {
    c->row = row;
    tm_loop v = tm_loop_begin(r, tm_int(r, 0), tm_int(r, (int64_t)c->vectors * r->lanes), r->lanes);
    {
        tm_region_new_point(r);
        c->column = tm_add(r, c->panel, v.index);
        bool whole = LLVMIsConstant(c->n) && LLVMConstIntGetSExtValue(c->n) % c->width == 0;
        r->mask = NULL;
        LLVMValueRef at = tm_add(r, tm_mul(r, tile_row, tm_int(r, c->width)), v.index);
        LLVMValueRef sum = tm_load_vector(r, TAMIS_TYPE_FLOAT, c->tile, at);
        r->mask = whole ? NULL : tm_tail_mask(r, tm_max(r, tm_sub(r, c->n, c->column), tm_int(r, 0)));
        tm_region_set(r, c->matmul->outputs[0], sum);
        for (int o = 0; o < r->node->output_count; o++) {
            int operand = r->node->input_count + o;
            LLVMValueRef index = tm_add(r, tm_mul(r, c->row, c->n), c->column);
            tm_store_vector(r, r->node->outputs[o]->type, tm_region_value(r, r->body->outputs.items[o]),
                            c->data[operand], index);
        }
    }
    r->mask = NULL;
    tm_loop_end(r, &v);
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
    const tm_value *a_value = r->node->inputs[c->a];
    tm_dim depth = a_value->dims[a_value->rank - 1];
    int unroll = rows < 6 && depth->kind == TM_DIM_CONST && depth->constant % 2 == 0 ? 2 : 1;
    LLVMValueRef a_rows[16];
    for (int i = 0; i < rows; i++) {
        LLVMValueRef index = tm_mul(r, tm_add(r, row, tm_int(r, i)), c->k);
        a_rows[i] = LLVMBuildInBoundsGEP2(b, r->e->f32, c->data[c->a], &index, 1, "");
    }
    tm_loop loop = tm_loop_begin(r, tm_int(r, 0), c->k, unroll);
    for (int u = 0; u < unroll; u++) {
        LLVMValueRef k = tm_add(r, loop.index, tm_int(r, u)), columns[4];
        for (int v = 0; v < c->vectors; v++)
            columns[v] = tm_load_vector(
                r, TAMIS_TYPE_FLOAT, panel_data,
                tm_add(r, tm_mul(r, k, tm_int(r, c->width)), tm_int(r, (int64_t)v * r->lanes)));
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
                            tm_int(r, (int64_t)i * c->width + (int64_t)v * r->lanes));
}

/* All rows from..to against `vectors` vectors of columns: full tiles while they last, then fewer rows. The
 * epilogue stands once behind them, for as many rows as the tile had. */
static void rows(tm_region *r, contract *c, LLVMValueRef from, LLVMValueRef to, LLVMValueRef panel_data) {
    LLVMBuilderRef b = r->e->builder;
    /* A tile of 4 rows pays where the panel is long enough to be worth reading less often. */
    bool four = c->rows > 8 && !tm_region_shallow(r->node->inputs[c->a]);
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
    tm_loop loop = tm_loop_begin(r, tm_int(r, 0), count, 1);
    finish_row(r, c, loop.index, tm_add(r, row, loop.index));
    tm_loop_end(r, &loop);
    LLVMBuildStore(b, tm_add(r, row, count), at);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, done);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    contract c = {0};
    LLVMBuilderRef b = r->e->builder;
    set_up(r, &c);
    r->kind = &c;
    r->load = load;
    int operands = r->node->input_count + r->node->output_count;
    c.data = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, operands);
    for (int o = 0; o < operands; o++)
        c.data[o] = tm_operand_data(r, o);
    c.tile = tm_region_alloca(r, r->e->f32, (int64_t)c.rows * c.width, 64);
    LLVMValueRef blocks = tm_ceildiv(r, c.m, BLOCK_ROWS);
    tm_loop loop = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef panel = LLVMBuildUDiv(b, loop.index, blocks, "");
    LLVMValueRef from = tm_mul(r, tm_sub(r, loop.index, tm_mul(r, panel, blocks)), tm_int(r, BLOCK_ROWS));
    LLVMValueRef to = tm_min(r, tm_add(r, from, tm_int(r, BLOCK_ROWS)), c.m);
    LLVMValueRef panel_offset = tm_mul(r, tm_mul(r, panel, tm_int(r, c.width)), c.k);
    LLVMValueRef first_column = tm_mul(r, panel, tm_int(r, c.width));
    int step = c.vectors * r->lanes;
    tm_loop columns = tm_loop_begin(r, tm_int(r, 0), tm_int(r, c.width), step);
    LLVMValueRef index = tm_add(r, panel_offset, columns.index);
    LLVMValueRef panel_data = LLVMBuildInBoundsGEP2(b, r->e->f32, c.data[c.b], &index, 1, "");
    c.panel = tm_add(r, first_column, columns.index);
    LLVMBasicBlockRef inside = tm_if_begin(r, tm_less(r, c.panel, c.n));
    rows(r, &c, from, to, panel_data);
    tm_if_end(r, inside);
    tm_loop_end(r, &columns);
    tm_loop_end(r, &loop);
    return TM_OK;
}

const tm_region_kind tm_region_kind_contract = {"contract", count, body};
