/* SPDX-License-Identifier: Apache-2.0
 *
 * sparse.c: finds the groups of weights that are not zero, and packs them; see sparse.h.
 */
#include "ir/sparse.h"

#include <string.h>

/* The 4 weights of a group, signed bytes as tiles hold them; beyond the last row zeros. False: all are zero.
 */
static bool read_group(const tm_constant *constant, int64_t group, int64_t column,
                       uint8_t out[TM_SPARSE_GROUP]) {
    const uint8_t *data = constant->data, flip = constant->type == TAMIS_TYPE_UINT8 ? 0x80 : 0;
    int64_t rows = constant->dims[0], columns = constant->dims[1];
    bool filled = false;
    for (int i = 0; i < TM_SPARSE_GROUP; i++) {
        int64_t row = group * TM_SPARSE_GROUP + i;
        out[i] = row < rows ? data[row * columns + column] ^ flip : 0;
        filled = filled || out[i] != 0;
    }
    return filled;
}

static int64_t groups_of_column(const tm_constant *constant) {
    return (constant->dims[0] + TM_SPARSE_GROUP - 1) / TM_SPARSE_GROUP;
}

int64_t tm_sparse_groups(const tm_constant *constant) {
    return groups_of_column(constant) * constant->dims[1];
}

int64_t tm_sparse_filled_groups(const tm_constant *constant) {
    int64_t filled = 0, groups = groups_of_column(constant);
    uint8_t weights[TM_SPARSE_GROUP];
    for (int64_t group = 0; group < groups; group++)
        for (int64_t column = 0; column < constant->dims[1]; column++)
            filled += read_group(constant, group, column, weights);
    return filled;
}

/* A panel of columns in a chunk of groups; the columns, those with few groups first, and their numbers of
 * groups. */
typedef struct block {
    int64_t panel, first, end; /* groups first..end */
    uint8_t column[TM_SPARSE_PANEL], count[TM_SPARSE_PANEL];
} block;

static bool read_block(const tm_constant *constant, const block *b, int64_t group, int c,
                       uint8_t out[TM_SPARSE_GROUP]) {
    int64_t column = b->panel * TM_SPARSE_PANEL + c;
    return column < constant->dims[1] && read_group(constant, group, column, out);
}

static void sort_columns(const tm_constant *constant, block *b) {
    uint8_t weights[TM_SPARSE_GROUP];
    for (int c = 0; c < TM_SPARSE_PANEL; c++) {
        uint8_t count = 0;
        int at = c;
        for (int64_t group = b->first; group < b->end; group++)
            count = (uint8_t)(count + read_block(constant, b, group, c, weights));
        for (; at > 0 && b->count[at - 1] > count; at--) {
            b->count[at] = b->count[at - 1];
            b->column[at] = b->column[at - 1];
        }
        b->count[at] = count;
        b->column[at] = (uint8_t)c;
    }
}

/* Of the list that starts with column number c of those sorted. */
static int64_t list_bytes(const block *b, int c) {
    return TM_SPARSE_HEAD + b->count[c + TM_SPARSE_PAIR - 1] * TM_SPARSE_RECORD;
}

static void put_list(const tm_constant *constant, const block *b, int c, uint8_t *list) {
    uint8_t weights[TM_SPARSE_GROUP];
    list[0] = b->count[c + TM_SPARSE_PAIR - 1];
    for (int which = 0; which < TM_SPARSE_PAIR; which++) {
        uint8_t *record = list + TM_SPARSE_HEAD;
        list[1 + which] = b->column[c + which];
        for (int64_t group = b->first; group < b->end; group++)
            if (read_block(constant, b, group, b->column[c + which], weights)) {
                memcpy(record + which * TM_SPARSE_GROUP, weights, TM_SPARSE_GROUP);
                record[TM_SPARSE_PAIR * TM_SPARSE_GROUP + which] = (uint8_t)(group - b->first);
                record += TM_SPARSE_RECORD;
            }
    }
}

const tm_sparse *tm_sparse_pack(tm_arena *arena, const tm_constant *constant) {
    int64_t panels = (constant->dims[1] + TM_SPARSE_PANEL - 1) / TM_SPARSE_PANEL;
    int64_t groups = groups_of_column(constant), chunks = (groups + TM_SPARSE_CHUNK - 1) / TM_SPARSE_CHUNK;
    int64_t bytes = panels * TM_SPARSE_PLACE;
    block *blocks = TM_NEW_ARRAY(arena, block, panels * chunks + 1);
    for (int64_t i = 0; i < panels * chunks; i++) {
        block *b = &blocks[i];
        b->panel = i / chunks;
        b->first = i % chunks * TM_SPARSE_CHUNK;
        b->end = b->first + TM_SPARSE_CHUNK < groups ? b->first + TM_SPARSE_CHUNK : groups;
        sort_columns(constant, b);
        for (int c = 0; c < TM_SPARSE_PANEL; c += TM_SPARSE_PAIR)
            bytes += list_bytes(b, c);
    }
    uint8_t *data = tm_arena_alloc(arena, (size_t)bytes), *to = data + panels * TM_SPARSE_PLACE;
    for (int64_t i = 0; i < panels * chunks; i++) {
        int64_t place = to - data;
        if (i % chunks == 0)
            memcpy(data + i / chunks * TM_SPARSE_PLACE, &place, sizeof(place));
        for (int c = 0; c < TM_SPARSE_PANEL; c += TM_SPARSE_PAIR) {
            put_list(constant, &blocks[i], c, to);
            to += list_bytes(&blocks[i], c);
        }
    }
    tm_sparse *sparse = tm_arena_alloc(arena, sizeof(*sparse));
    *sparse = (tm_sparse){.data = data, .bytes = bytes};
    return sparse;
}

/* Is input `number` of the region a factor of one of its products? */
static bool is_factor(const tm_graph *body, int number) {
    for (const tm_node *node = body->first; node != NULL; node = node->next)
        for (int i = 0; i < 2 && node->op == TM_OP_MatMulInteger; i++)
            if (node->inputs[i] == body->inputs.items[number])
                return true;
    return false;
}

/* A number, or one for each column or each row of `out`? */
static bool is_line(const tm_value *value, const tm_value *out) {
    bool columns = true;
    bool rows = value->rank > 0 && value->rank == out->rank && tm_dim_is(value->dims[value->rank - 1], 1);
    for (int i = 0; i + 1 < value->rank; i++) {
        columns = columns && tm_dim_is(value->dims[i], 1);
        rows = rows && value->dims[i] == out->dims[i];
    }
    return columns || rows;
}

bool tm_sparse_keeps_turned(const tm_node *region) {
    const tm_graph *body = tm_node_graph(region, "body");
    int products = 0;
    for (const tm_node *node = body->first; node != NULL; node = node->next)
        products += node->op == TM_OP_MatMulInteger;
    for (int i = 0; i < region->input_count; i++)
        if (!is_factor(body, i) && !is_line(region->inputs[i], region->outputs[0]))
            return false;
    for (int i = 0; i < region->output_count; i++)
        if (region->outputs[i]->type != TAMIS_TYPE_UINT8 && region->outputs[i]->type != TAMIS_TYPE_INT8)
            return false;
    return region->output_count == products;
}
