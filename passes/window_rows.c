/* SPDX-License-Identifier: Apache-2.0
 *
 * window_rows.c: the two factors of a convolution of bytes; see window_rows.h.
 *
 *     kernel [2, 2] of C channels:   rows of 4 C bytes, tap after tap, in runs that Windows pads to its
 * steps; what it pads meets weights that stand for zero
 */
#include "passes/window_rows.h"

#include "ir/infer.h"
#include "passes/match.h"

#include <string.h>

tm_value *tm_windows_weights(tm_node *node, const tm_windows_runs *runs) {
    tm_arena *arena = node->graph->model->arena;
    const tm_constant *w = node->inputs[1]->constant;
    int64_t filters = w->dims[0], channels = w->dims[1], taps = runs->count * runs->taps;
    int64_t dims[2] = {runs->count * runs->bytes, filters};
    uint8_t *rows = tm_arena_alloc_array(arena, (size_t)(dims[0] * filters), 1);
    const uint8_t *from = w->data;
    memset(rows, w->type == TAMIS_TYPE_UINT8 ? 128 : 0, (size_t)(dims[0] * filters));
    for (int64_t m = 0; m < filters; m++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t tap = 0; tap < taps; tap++) {
                int64_t row = tap / runs->taps * runs->bytes + tap % runs->taps * channels + c;
                rows[row * filters + m] = from[(m * channels + c) * taps + tap];
            }
    return tm_value_create_constant(node->graph, node->inputs[1]->name,
                                    tm_constant_create(arena, w->type, 2, dims, rows));
}

tm_code tm_windows_rows(tm_node *node, tm_value *x, tm_value *zero, const int64_t *pads, tm_value **out) {
    int axes = x->rank - 2;
    tm_value *inputs[2] = {x, zero};
    tm_node *rows =
        tm_node_create(node->graph, node, TM_OP_Windows, node->name, zero != NULL ? 2 : 1, inputs);
    const char *const lists[] = {"strides", "dilations"};
    for (int i = 0; i < 2; i++) {
        const tm_attribute *list = tm_node_attribute(node, lists[i]);
        if (list->present && list->count > 0)
            tm_node_set_ints(rows, lists[i], list->ints, list->count);
    }
    tm_node_set_ints(rows, "kernel_shape", node->inputs[1]->constant->dims + 2, axes);
    tm_node_set_ints(rows, "pads", pads, 2 * (int64_t)axes);
    *out = tm_node_add_output(rows, NULL);
    return tm_infer_node(node->graph->model, rows);
}
