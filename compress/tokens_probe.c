/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens_probe.c: has padding an influence? Both models answer numbers made up for a few sequences of unequal
 * lengths, in the evaluator: the whole one with words at padding too, the packed one with none. Where the
 * mask hides padding, answers at real tokens differ by rounding only.
 *
 * Sizes are small where the model leaves them open. Integers that look rows of a table up stay within it;
 * others are 0 or 1, as kinds of segments are.
 */
#include "compress/tokens_internal.h"

#include "compiler/internal.h"
#include "ir/evaluate.h"
#include "quantize/choose.h"

#define SEQUENCES 3
#define LENGTH 6
#define OTHERS 4

static void set_symbol(tm_dim dim, int64_t value, int64_t *symbols) {
    if (dim->kind != TM_DIM_SYMBOL)
        return;
    const tm_symbol *s = dim->symbol;
    symbols[s->number] = value < s->low ? s->low : value > s->high ? s->high : value;
}

static int64_t table_rows(const tm_value *input) {
    for (size_t i = 0; i < input->uses.count; i++) {
        const tm_node *user = input->uses.items[i].node;
        if (user != NULL && user->op == TM_OP_Gather && user->inputs[1] == input &&
            tm_value_is_constant(user->inputs[0]) && tm_node_int(user, "axis") == 0)
            return user->inputs[0]->constant->dims[0];
    }
    return 2;
}

static bool set_number(tamis_type type, void *data, int64_t i, double value) {
    switch (type) {
    case TAMIS_TYPE_FLOAT:
        ((float *)data)[i] = (float)value;
        return true;
    case TAMIS_TYPE_DOUBLE:
        ((double *)data)[i] = value;
        return true;
    case TAMIS_TYPE_INT64:
        ((int64_t *)data)[i] = (int64_t)value;
        return true;
    case TAMIS_TYPE_INT32:
        ((int32_t *)data)[i] = (int32_t)value;
        return true;
    case TAMIS_TYPE_INT8:
    case TAMIS_TYPE_UINT8:
    case TAMIS_TYPE_BOOL:
        ((uint8_t *)data)[i] = (uint8_t)value;
        return true;
    default:
        return false;
    }
}

static bool fill(tm_arena *arena, const tm_tokens_place *place, const tm_value *input, const int64_t *symbols,
                 uint64_t *seed, tamis_tensor *out) {
    int64_t count = 1, bytes, range = table_rows(input);
    const bool reals = tm_type_is_float(input->type);
    if (input->kind != TAMIS_KIND_TENSOR)
        return false;
    *out = (tamis_tensor){.rank = input->rank, .type = (uint8_t)input->type, .kind = TAMIS_KIND_TENSOR};
    out->dims = TM_NEW_ARRAY(arena, int64_t, input->rank + 1);
    for (int i = 0; i < input->rank; i++) {
        if (!tm_dim_evaluate(input->dims[i], symbols, &out->dims[i]))
            return false;
        count *= out->dims[i];
    }
    if (!tm_type_size(input->type, count, &bytes))
        return false;
    out->data = tm_arena_alloc(arena, (size_t)bytes + 1);
    for (int64_t i = 0; i < count; i++) {
        uint64_t random = tm_random_next(seed) >> 11;
        double number =
            reals ? (double)random * 0x1p-52 - 1 : (double)(random % (uint64_t)(range > 0 ? range : 1));
        if (input == place->mask) {
            int64_t length = out->dims[1], sequence = i / length,
                    kept[] = {(length + 1) / 2, length, (length + 2) / 3};
            number = i % length < kept[sequence % 3];
        }
        if (!set_number(input->type, out->data, i, number))
            return false;
    }
    return true;
}

static void compare(const tm_tokens_place *place, const tm_model *plain, const tamis_tensor *mask,
                    const tamis_tensor *expected, const tamis_tensor *found, tm_arena *scratch,
                    tm_divergence *out, const char **out_failed, tm_arena *arena) {
    for (size_t i = 0; i < plain->main->outputs.count; i++) {
        const tm_value *output = plain->main->outputs.items[i];
        tm_divergence d = {0};
        bool same = true;
        tm_tokens_compare(place, output, mask, &expected[i], &found[i], scratch, &d, &same);
        tm_divergence_finish(&d);
        if (d.rows > 0 && !(d.max_error < out->max_error))
            *out = d;
        if (!same || !tm_tokens_is_rounding(&d))
            *out_failed = tm_arena_format(
                arena,
                "padding has an influence: answers at real tokens differ by up to %.3g of %.3g in '%s'",
                d.max_error, d.rms, output->name);
    }
}

tm_code tm_tokens_probe(const tm_quantizer *q, tm_model *plain, tm_model *ours, const tm_tokens_place *place,
                        tm_divergence *out, const char **out_failed) {
    tm_graph *graph = plain->main;
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(q, &scratch);
    int64_t *symbols = TM_NEW_ARRAY(&scratch, int64_t, tm_dims_symbol_count(plain->dims) + 1);
    tamis_tensor *inputs = TM_NEW_ARRAY(&scratch, tamis_tensor, graph->inputs.count + 1), *mask = NULL,
                 *expected = TM_NEW_ARRAY(&scratch, tamis_tensor, graph->outputs.count + 1),
                 *found = TM_NEW_ARRAY(&scratch, tamis_tensor, graph->outputs.count + 1);
    uint64_t seed = 1;
    bool filled = true;
    for (size_t i = 0; i < tm_dims_symbol_count(plain->dims); i++)
        symbols[i] = OTHERS;
    set_symbol(place->mask->dims[0], SEQUENCES, symbols);
    set_symbol(place->batch, SEQUENCES, symbols);
    set_symbol(place->length, LENGTH, symbols);
    for (size_t i = 0; i < graph->inputs.count && filled; i++) {
        filled = fill(&scratch, place, graph->inputs.items[i], symbols, &seed, &inputs[i]);
        if (graph->inputs.items[i] == place->mask)
            mask = &inputs[i];
    }
    *out = (tm_divergence){0};
    const size_t filed = q->diagnostics->list.count;
    tm_code code = TM_E_EVALUATE;
    if (filled && mask != NULL)
        code = tm_evaluate_model(plain, &scratch, inputs, expected);
    if (code == TM_OK)
        code = tm_evaluate_model(ours, &scratch, inputs, found);
    if (code == TM_OK)
        compare(place, plain, mask, expected, found, &scratch, out, out_failed, q->arena);
    else
        *out_failed = "the model does not run on numbers made up, so it cannot be tried without samples";
    q->diagnostics->list.count = filed; /* what keeps the numbers made up from running is no error */
    tm_arena_deinit(&scratch);
    return TM_OK;
}
