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

/* The list of column `c` of a panel in a chunk; returns what stands behind it. */
static uint8_t *put_list(const tm_constant *constant, int64_t first, int64_t panel, int c, uint8_t *to) {
    int64_t end = groups_of_column(constant), column = panel * TM_TILE_PANEL + c;
    uint8_t *head = to;
    end = end < first + TM_SPARSE_CHUNK ? end : first + TM_SPARSE_CHUNK;
    head[0] = 0;
    head[1] = (uint8_t)c;
    to += TM_SPARSE_HEAD;
    for (int64_t group = first; group < end && column < constant->dims[1]; group++)
        if (read_group(constant, group, column, to)) {
            to[TM_SPARSE_GROUP] = (uint8_t)(group - first);
            to += TM_SPARSE_RECORD;
            head[0]++;
        }
    return to;
}

/* The lists of a panel in a chunk, short ones first; returns what stands behind them. */
static uint8_t *put_lists(const tm_constant *constant, int64_t first, int64_t panel, uint8_t *to) {
    uint8_t
        list[TM_SPARSE_HEAD + (TM_SPARSE_CHUNK + 1) * TM_SPARSE_RECORD]; /* one is tried behind the last */
    int count[TM_TILE_PANEL], largest = 0;
    for (int c = 0; c < TM_TILE_PANEL; c++) {
        (void)put_list(constant, first, panel, c, list);
        count[c] = list[0];
        largest = count[c] > largest ? count[c] : largest;
    }
    for (int size = 0; size <= largest; size++)
        for (int c = 0; c < TM_TILE_PANEL; c++)
            if (count[c] == size)
                to = put_list(constant, first, panel, c, to);
    return to;
}

const tm_sparse *tm_sparse_pack(tm_arena *arena, const tm_constant *constant) {
    int64_t panels = (constant->dims[1] + TM_TILE_PANEL - 1) / TM_TILE_PANEL;
    int64_t groups = groups_of_column(constant), chunks = (groups + TM_SPARSE_CHUNK - 1) / TM_SPARSE_CHUNK;
    int64_t bytes = panels * (TM_SPARSE_PLACE + chunks * TM_TILE_PANEL * TM_SPARSE_HEAD) +
                    tm_sparse_filled_groups(constant) * TM_SPARSE_RECORD;
    uint8_t *data = tm_arena_alloc(arena, (size_t)bytes + TM_SPARSE_RECORD); /* a list is tried at its end */
    uint8_t *to = data + panels * TM_SPARSE_PLACE;
    for (int64_t panel = 0; panel < panels; panel++) {
        int64_t place = to - data;
        memcpy(data + panel * TM_SPARSE_PLACE, &place, sizeof(place));
        for (int64_t first = 0; first < groups; first += TM_SPARSE_CHUNK)
            to = put_lists(constant, first, panel, to);
    }
    tm_sparse *sparse = tm_arena_alloc(arena, sizeof(*sparse));
    *sparse = (tm_sparse){.data = data, .bytes = bytes};
    return sparse;
}
