/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens_rows.c: index arithmetic of packed tokens: which rows are real, and where each goes back to.
 *
 *     mask     1 1 0 0 0 | 1 1 1 1 0         places   0 1 1 1 1 | 2 3 4 5 5
 *     rows     0 1 5 6 7 8                   position 0 1 0 1 2 3       sequence 0 0 1 1 1 1
 *
 * The first token of the batch counts as real in any case: so there is a row that padding before the first
 * real token can stand for, and a batch of padding alone needs no second path.
 */
#include "compress/tokens_internal.h"

#include "ir/infer.h"
#include "passes/match.h"

tm_value *tm_tokens_integers(tm_graph *graph, int64_t count, const int64_t *elements) {
    return tm_value_create_constant(graph, NULL,
                                    tm_constant_create_i64(graph->model->arena, 1, &count, elements));
}

tm_value *tm_tokens_scalar(tm_graph *graph, tamis_type type, double value) {
    return tm_value_create_constant(graph, NULL, tm_constant_create_scalar(graph->model->arena, type, value));
}

tm_code tm_tokens_shape(tm_node *before, tm_value *value, int64_t start, int64_t end, tm_value **out) {
    tm_node *node = tm_node_create(before->graph, before, TM_OP_Shape, NULL, 1, &value);
    tm_node_set_int(node, "start", start);
    tm_node_set_int(node, "end", end);
    *out = tm_node_add_output(node, NULL);
    return tm_infer_node(before->graph->model, node);
}

static tm_code gather(tm_node *before, tm_value *data, tm_value *indices, tm_value **out) {
    return tm_match_make_pair(before, TM_OP_Gather, data, indices, out);
}

/* The mask as bool[batch, length]. */
static tm_code make_real(tm_node *before, const tm_tokens_place *place, tm_value **out) {
    *out = place->mask;
    if (place->mask->type != TAMIS_TYPE_BOOL)
        *out = tm_match_make_cast(before, place->mask, TAMIS_TYPE_BOOL);
    if (place->mask->dims[0] == place->batch)
        return TM_OK;
    tm_value *target;
    TM_TRY(tm_tokens_shape(before, place->batched, 0, 2, &target));
    TM_TRY(tm_match_make_pair(before, TM_OP_Expand, *out, target, out));
    *out = tm_match_view(before, *out, 2, (tm_dim[]){place->batch, place->length});
    return TM_OK;
}

tm_code tm_token_rows_make(tm_node *before, const tm_tokens_place *place, tm_token_rows *out) {
    tm_graph *graph = before->graph;
    tm_value *size, *all, *first, *flat, *number, *length,
        *zero = tm_tokens_scalar(graph, TAMIS_TYPE_INT64, 0),
        *one = tm_tokens_scalar(graph, TAMIS_TYPE_INT64, 1);
    *out = (tm_token_rows){.place = place};
    TM_TRY(make_real(before, place, &out->real));
    flat = tm_match_view(before, out->real, 1, &place->flat);
    TM_TRY(tm_match_make(before, TM_OP_Size, 1, &flat, &size));
    TM_TRY(tm_match_make(before, TM_OP_Range, 3, (tm_value *[]){zero, size, one}, &all));
    TM_TRY(tm_match_make_pair(before, TM_OP_Less, all, one, &first));
    first = tm_match_view(before, first, 1, &place->flat);
    TM_TRY(tm_match_make_pair(before, TM_OP_Or, flat, first, &flat));
    TM_TRY(tm_match_make(before, TM_OP_NonZero, 1, &flat, &out->rows));
    out->count = out->rows->dims[1];
    out->rows = tm_match_view(before, out->rows, 1, &out->count);
    TM_TRY(tm_match_make_pair(before, TM_OP_CumSum, tm_match_make_cast(before, flat, TAMIS_TYPE_INT64), zero,
                              &number));
    TM_TRY(tm_match_make_pair(before, TM_OP_Sub, number, one, &out->places));
    TM_TRY(tm_tokens_shape(before, place->batched, 1, 2, &length));
    TM_TRY(tm_match_make_pair(before, TM_OP_Mod, out->rows, length, &out->position));
    TM_TRY(tm_match_make_pair(before, TM_OP_Div, out->rows, length, &out->sequence));
    return TM_OK;
}

tm_code tm_token_rows_pack(tm_node *before, const tm_token_rows *rows, tm_value *value, tm_value **out) {
    tm_dim dims[TAMIS_MAX_RANK] = {rows->place->flat};
    int lead = tm_tokens_lead(rows->place, value);
    for (int i = lead; i < value->rank; i++)
        dims[i - lead + 1] = value->dims[i];
    return gather(before, tm_match_view(before, value, value->rank - lead + 1, dims), rows->rows, out);
}

tm_code tm_token_rows_unpack(tm_node *before, const tm_token_rows *rows, tm_value *packed,
                             const tm_value *like, bool filled, tm_value **out) {
    tm_graph *graph = before->graph;
    int lead = tm_tokens_lead(rows->place, like);
    tm_dim one = tm_dim_constant(graph->model->dims, 1), dims[TAMIS_MAX_RANK];
    tm_value *places = tm_match_view(before, rows->places, lead, like->dims);
    TM_TRY(gather(before, packed, places, out));
    if (filled)
        return TM_OK;
    for (int i = 0; i < like->rank; i++)
        dims[i] = i < lead ? like->dims[i] : one;
    tm_value *zero = tm_tokens_scalar(graph, like->type, 0);
    tm_value *choice[] = {tm_match_view(before, rows->real, like->rank, dims), *out, zero};
    return tm_match_make(before, TM_OP_Where, 3, choice, out);
}

tm_code tm_token_rows_operand(tm_node *before, const tm_token_rows *rows, tm_value *value, int rank, int lead,
                              tm_value **out) {
    tm_dim dims[TAMIS_MAX_RANK];
    *out = value;
    if (value->rank <= rank - lead || (lead == 1 && tm_dim_is(value->dims[0], 1)))
        return TM_OK;
    *out = NULL;
    if (value->rank == rank && tm_tokens_lead(rows->place, value) == lead)
        return tm_token_rows_pack(before, rows, value, out);
    if (lead != 2)
        return TM_OK;
    const int own = value->rank - (rank - 2); /* dims that it has of batch and length: 1 or 2 */
    bool batches = own == 2 && !tm_dim_is(value->dims[0], 1);
    tm_dim length = value->dims[own - 1];
    for (int i = own; i < value->rank; i++)
        dims[i - own + 1] = value->dims[i];
    dims[0] = batches ? value->dims[0] : length;
    if (batches && (value->dims[0] != rows->place->batch || !tm_dim_is(length, 1)))
        return TM_OK;
    tm_value *view = tm_match_view(before, value, rank - 1, dims);
    if (!batches && tm_dim_is(length, 1)) {
        *out = view;
        return TM_OK;
    }
    return gather(before, view, batches ? rows->sequence : rows->position, out);
}
