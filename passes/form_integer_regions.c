/* SPDX-License-Identifier: Apache-2.0
 *
 * form_integer_regions.c: products of bytes by constant weights, with what follows them.
 *
 *     %x: s8 = QuantizeLinear(%h, s, z)            %t: u8 = Region(%h) {kind = "pack": QuantizeLinear to u8}
 *     %i: i32 = MatMulInteger(%x, %W: u8, z, w)    %y = Region(%t, %W, ..) {kind = "tiles":
 *     Cast, Mul, Add bias, QuantizeLinear     ->       MatMulInteger(%t, %W), Sub .., Cast, Mul, Add, .. }
 *
 * Tiles (ir/tiles.h) hold an unsigned left and a signed right factor, the one form that all units multiply.
 * With a' = a + d, d = 128 for a signed left side, and v = W or W - 128:
 *
 *     sum (a - z) (W - w) = sum a' v - (z + d) sum v + (K z - sum a) w'        w' = w or w - 128
 *
 * of which all but the first is constant where z is known and w' is zero, as it mostly is; else a number for
 * each row comes to it, from the product of its tiles and a column of ones. The zero points are nodes of the
 * region's body, so that its code knows nothing of them. A QuantizeLinear that makes %x for products alone is
 * done where they are packed.
 */
#include "passes/passes.h"
#include "passes/region_products.h"

#include "ir/evaluate.h"
#include "ir/infer.h"
#include "ir/tiles.h"
#include "passes/match.h"
#include "passes/rewrite.h"
#include "passes/window_form.h"

#include <float.h>
#include <string.h>

/* A left factor, its tiles, and the sums of its rows where a product wants them. */
typedef struct packed {
    const tm_value *x;
    tm_value *tiles, *sums;
} packed;

typedef struct state {
    tm_pass_context *context;
    TM_VECTOR(packed) known;
    TM_VECTOR(const tm_constant *) ones;
    TM_VECTOR(tm_node *) found;      /* products */
    TM_VECTOR(tm_node *) quantizers; /* of the whole model */
    TM_VECTOR(tm_node *) dynamic;    /* quantisers that find their scale */
} state;

static bool is_candidate(const tm_node *node) {
    if (node->op != TM_OP_MatMulInteger)
        return false;
    const tm_value *x = node->inputs[0], *w = node->inputs[1];
    const tm_value *x_zero = tm_infer_input(node, 2), *w_zero = tm_infer_input(node, 3);
    return x->rank >= 2 && !tm_value_is_constant(x) && tm_value_is_constant(w) && w->rank == 2 &&
           w->constant->panel == 0 && w->constant->dims[0] > 0 && w->constant->dims[1] > 0 &&
           tm_match_is_single(x_zero) &&
           (w_zero == NULL || (tm_value_is_constant(w_zero) && w_zero->rank <= 1));
}

static tm_code binary(tm_node *before, tm_op op, tm_value *a, tm_value *b, tm_node **out) {
    tm_value *inputs[2] = {a, b}, *value;
    TM_TRY(tm_match_make(before, op, 2, inputs, &value));
    *out = value->producer;
    return TM_OK;
}

static tm_value *number_of(tm_graph *graph, tamis_type type, double value) {
    return tm_value_create_constant(graph, NULL, tm_constant_create_scalar(graph->model->arena, type, value));
}

static int64_t element(const tm_value *value, int64_t i) {
    int64_t result = 0;
    if (value != NULL)
        (void)tm_constant_int(value->constant, tm_constant_count(value->constant) > 1 ? i : 0, &result);
    return result;
}

/* ---- the left side ---- */

/* The node that makes x, when it can be the pack: one scale, and a zero point that can be moved by 128. */
static tm_node *quantizer_of(const tm_value *x) {
    tm_node *node = x->producer;
    if (node == NULL || node->op != TM_OP_QuantizeLinear || !tm_region_can_hold(node) ||
        !tm_match_is_single(node->inputs[1]) || node->inputs[0]->rank != x->rank)
        return NULL;
    const tm_value *zero = tm_infer_input(node, 2);
    if (!tm_match_is_single(zero))
        return NULL;
    return x->type == TAMIS_TYPE_UINT8 || zero == NULL || tm_value_is_constant(zero) ? node : NULL;
}

/* Windows that make x become a part of its pack. */
static tm_node *windows_of(const tm_value *x, const tm_node *before) {
    tm_node *node = x->producer;
    return node != NULL && node->op == TM_OP_Windows && node->graph == before->graph ? node : NULL;
}

/* Appends the nodes that make unsigned bytes of x. */
static tm_code unsigned_bytes(tm_node *before, tm_value *x, tm_node **nodes, int *count) {
    tm_graph *graph = before->graph;
    const tm_node *windows = windows_of(x, before);
    if (windows != NULL) {
        tm_node *copy = tm_node_create(graph, before, TM_OP_Windows, windows->name, windows->input_count,
                                       windows->inputs);
        for (int i = 0; i < tm_op_get(TM_OP_Windows)->attribute_count; i++)
            copy->attributes[i] = windows->attributes[i];
        tm_value_set_tensor(tm_node_add_output(copy, NULL), x->type, x->rank, x->dims);
        nodes[(*count)++] = copy;
        x = copy->outputs[0];
        if (x->type == TAMIS_TYPE_UINT8)
            return TM_OK;
    }
    tm_node *quantizer = quantizer_of(x);
    if (quantizer != NULL) {
        tm_value *inputs[3] = {quantizer->inputs[0], quantizer->inputs[1], tm_infer_input(quantizer, 2)};
        tm_node *factor = inputs[0]->producer;
        if (factor != NULL && factor->op == TM_OP_Mul && factor->graph == graph &&
            tm_match_is_single(factor->inputs[1]) && factor->inputs[0]->rank == x->rank) {
            TM_TRY(binary(before, TM_OP_Mul, factor->inputs[0], factor->inputs[1], &nodes[*count]));
            inputs[0] = nodes[(*count)++]->outputs[0];
        }
        if (x->type == TAMIS_TYPE_INT8)
            inputs[2] = number_of(graph, TAMIS_TYPE_UINT8, (double)(element(inputs[2], 0) + 128));
        nodes[*count] =
            tm_node_create(graph, before, TM_OP_QuantizeLinear, NULL, inputs[2] != NULL ? 3 : 2, inputs);
        tm_value_set_tensor(tm_node_add_output(nodes[(*count)++], NULL), TAMIS_TYPE_UINT8, x->rank, x->dims);
        return TM_OK;
    }
    if (x->type == TAMIS_TYPE_UINT8) {
        nodes[*count] = tm_node_create(graph, before, TM_OP_Identity, NULL, 1, &x);
        tm_value_set_tensor(tm_node_add_output(nodes[(*count)++], NULL), x->type, x->rank, x->dims);
        return TM_OK;
    }
    nodes[(*count)++] = tm_match_make_cast(before, x, TAMIS_TYPE_INT32)->producer;
    TM_TRY(binary(before, TM_OP_Add, nodes[*count - 1]->outputs[0], number_of(graph, TAMIS_TYPE_INT32, 128),
                  &nodes[*count]));
    nodes[*count + 1] = tm_match_make_cast(before, nodes[*count]->outputs[0], TAMIS_TYPE_UINT8)->producer;
    *count += 2;
    return TM_OK;
}

static packed *find_packed(const state *s, const tm_node *product) {
    for (size_t i = 0; i < s->known.count; i++)
        if (s->known.items[i].x == product->inputs[0] &&
            tm_graph_contains(s->known.items[i].tiles->graph, product->graph))
            return &s->known.items[i];
    return NULL;
}

static tm_code make_tiles(state *s, tm_node *product) {
    tm_value *x = product->inputs[0];
    tm_node *nodes[4], *region;
    int count = 0;
    if (find_packed(s, product) != NULL)
        return TM_OK;
    TM_TRY(unsigned_bytes(product, x, nodes, &count));
    TM_TRY(tm_region_build(s->context->model, "pack", nodes, count, &region));
    packed entry = {x, region->outputs[0], NULL};
    tm_push(s->context->model->arena, &s->known, entry);
    return TM_OK;
}

/* The constant times a number. */
static tm_code scaled(tm_node *before, tm_value *constant, double by, tm_value **out) {
    tm_node *product;
    const tm_constant *folded[1];
    TM_TRY(binary(before, TM_OP_Mul, constant, number_of(before->graph, TAMIS_TYPE_FLOAT, by), &product));
    TM_TRY(tm_evaluate_node(before->graph->model, product, false, folded));
    *out = tm_value_create_constant(before->graph, NULL, folded[0]);
    tm_node_remove(product);
    return TM_OK;
}

/* The same with a scale for each row, found when the model runs. */
static tm_code multiply_rows(tm_node *quantizer) {
    tm_value *inverse, *product;
    TM_TRY(tm_match_make(quantizer, TM_OP_Reciprocal, 1, &quantizer->inputs[1], &inverse));
    TM_TRY(tm_match_make_pair(quantizer, TM_OP_Mul, quantizer->inputs[0], inverse, &product));
    tm_node_set_input(quantizer, 0, product);
    tm_node_set_input(quantizer, 1, number_of(quantizer->graph, TAMIS_TYPE_FLOAT, 1));
    tm_node_set_int(quantizer, "block_size", 0);
    return TM_OK;
}

/* Quantising divides, and vectors divide slowly: x / s becomes x * (1 / s), which may round a tie otherwise.
 * Where x is itself the product with a constant, that takes the factor. */
static tm_code multiply(tm_node *quantizer) {
    tm_value *scale = quantizer->inputs[1];
    double number = 0, inverse = 0;
    if (tm_region_can_hold(quantizer) && tm_match_is_row_scale(quantizer) && scale->constant == NULL &&
        tm_infer_input(quantizer, 2) == NULL)
        return multiply_rows(quantizer);
    if (!tm_region_can_hold(quantizer) || !tm_region_is_scalar(scale) ||
        !tm_constant_double(scale->constant, 0, &number) || number == 1)
        return TM_OK;
    inverse = (double)(float)(1 / number);
    if (!(inverse > 0 && inverse < FLT_MAX))
        return TM_OK;
    tm_value *x = quantizer->inputs[0], *factor;
    tm_node *product = x->producer;
    if (product != NULL && product->op == TM_OP_Mul && tm_value_is_constant(product->inputs[1]) &&
        tm_value_single_user(x) == quantizer && product->graph == quantizer->graph) {
        TM_TRY(scaled(product, product->inputs[1], inverse, &factor));
        tm_node_set_input(product, 1, factor);
    } else {
        factor = number_of(quantizer->graph, TAMIS_TYPE_FLOAT, inverse);
        TM_TRY(binary(quantizer, TM_OP_Mul, x, factor, &product));
    }
    tm_node_set_input(quantizer, 0, product->outputs[0]);
    tm_node_set_input(quantizer, 1, number_of(quantizer->graph, TAMIS_TYPE_FLOAT, 1));
    return TM_OK;
}

/* What a DynamicQuantizeLinear makes is quantised where products pack it, or in a loop of its own:
 *
 *     %q, %s, %z = DynamicQuantizeLinear(%x)   ->   %s, %z, %i = tamis.DynamicScale(%x)
 *                                                   %q = QuantizeLinear(Mul(%x, %i), 1, %z)
 */
static tm_code split_dynamic(tm_node *dynamic) {
    for (int i = 0; i < dynamic->output_count; i++)
        if (dynamic->outputs[i] != NULL && tm_rewrite_is_output(dynamic->outputs[i]))
            return TM_OK;
    tm_node *scale =
        tm_node_create(dynamic->graph, dynamic, TM_OP_DynamicScale, dynamic->name, 1, dynamic->inputs);
    scale->file_index = dynamic->file_index;
    scale->file_path = dynamic->file_path;
    for (int i = 0; i < 3; i++)
        (void)tm_node_add_output(scale, NULL);
    TM_TRY(tm_infer_node(dynamic->graph->model, scale));
    tm_value *inputs[3] = {NULL, number_of(dynamic->graph, TAMIS_TYPE_FLOAT, 1), scale->outputs[1]}, *bytes;
    TM_TRY(tm_match_make_pair(dynamic, TM_OP_Mul, dynamic->inputs[0], scale->outputs[2], &inputs[0]));
    TM_TRY(tm_match_make(dynamic, TM_OP_QuantizeLinear, 3, inputs, &bytes));
    if (dynamic->outputs[0] != NULL)
        tm_rewrite_replace(dynamic->outputs[0], bytes);
    for (int i = 1; i < dynamic->output_count; i++)
        if (dynamic->outputs[i] != NULL)
            tm_rewrite_replace(dynamic->outputs[i], scale->outputs[i - 1]);
    tm_node_remove(dynamic);
    return TM_OK;
}

/* ---- zero points ---- */

static tm_value *constant_i32(tm_node *before, int64_t count, const int32_t *values) {
    tm_constant *c = tm_constant_create(before->graph->model->arena, TAMIS_TYPE_INT32, 1, &count, values);
    return tm_value_create_constant(before->graph, NULL, c);
}

/* Of the weights' columns: sum v and w'. Returns whether any w' is not 0. */
static bool measure_columns(tm_arena *arena, const tm_value *weights, const tm_value *zero,
                            int32_t **out_sums, int32_t **out_zeros) {
    const tm_constant *w = weights->constant;
    int64_t rows = w->dims[0], columns = w->dims[1];
    int shift = w->type == TAMIS_TYPE_UINT8 ? 128 : 0;
    int32_t *sums = TM_NEW_ARRAY(arena, int32_t, columns), *zeros = TM_NEW_ARRAY(arena, int32_t, columns);
    const uint8_t *bytes = w->data;
    bool any = false;
    for (int64_t k = 0; k < rows; k++)
        for (int64_t n = 0; n < columns; n++)
            sums[n] += (int8_t)(bytes[k * columns + n] ^ shift);
    for (int64_t n = 0; n < columns; n++) {
        zeros[n] = (int32_t)element(zero, n) - shift;
        any = any || zeros[n] != 0;
    }
    *out_sums = sums;
    *out_zeros = zeros;
    return any;
}

/* A product and what takes its zero points off. */
typedef struct chain {
    tm_chain own;
    tm_node *after; /* the product as it was: new nodes stand before it */
} chain;

static tm_code append(chain *c, tm_op op, tm_value *a, tm_value *b) {
    TM_TRY(binary(c->after, op, a, b, &c->own.nodes[c->own.count]));
    c->own.count++;
    return TM_OK;
}

static tm_value *last(const tm_chain *c) {
    return c->nodes[c->count - 1]->outputs[0];
}

/* Takes z and d off; `product` is the integer product as it was. */
static tm_code take_left_zero(tm_node *product, const int32_t *sums, const int32_t *zeros, chain *c) {
    tm_arena *arena = product->graph->model->arena;
    tm_value *x = product->inputs[0], *zero = tm_infer_input(product, 2);
    int64_t depth = product->inputs[1]->constant->dims[0], columns = product->inputs[1]->constant->dims[1];
    int32_t *by_zero = TM_NEW_ARRAY(arena, int32_t, columns), *rest = TM_NEW_ARRAY(arena, int32_t, columns);
    bool known = zero == NULL || tm_value_is_constant(zero), needed = false;
    int64_t z = known ? element(zero, 0) : 0, shift = x->type == TAMIS_TYPE_INT8 ? 128 : 0;
    for (int64_t n = 0; n < columns; n++) {
        by_zero[n] = (int32_t)(sums[n] - depth * zeros[n]);
        rest[n] = (int32_t)(shift * sums[n] + z * by_zero[n]);
        needed = needed || rest[n] != 0;
    }
    if (needed)
        TM_TRY(append(c, TM_OP_Sub, last(&c->own), constant_i32(product, columns, rest)));
    if (known)
        return TM_OK;
    tm_node *part;
    tm_value *wide = tm_match_make_cast(product, tm_match_view(product, zero, 0, NULL), TAMIS_TYPE_INT32);
    TM_TRY(binary(product, TM_OP_Mul, constant_i32(product, columns, by_zero), wide, &part));
    return append(c, TM_OP_Sub, last(&c->own), part->outputs[0]);
}

/* A column of ones, packed; all that are as long share their data. */
static tm_value *ones(state *s, tm_graph *graph, int64_t count) {
    tm_arena *arena = s->context->model->arena;
    const tm_constant *found = NULL;
    for (size_t i = 0; i < s->ones.count; i++)
        if (s->ones.items[i]->dims[0] == count)
            found = s->ones.items[i];
    if (found == NULL) {
        int8_t *data = TM_NEW_ARRAY(arena, int8_t, count);
        memset(data, 1, (size_t)count);
        found = tm_constant_create(arena, TAMIS_TYPE_INT8, 2, (const int64_t[2]){count, 1}, data);
        tm_push(arena, &s->ones, found);
    }
    return tm_region_tile_weights(graph, tm_value_create_constant(graph, NULL, found), TAMIS_TYPE_INT8);
}

/* The sum of each row of the left factor, once for all products by it: the product of its tiles and of ones
 * costs as much as 32 columns, and the bytes need not be stored in another way. */
static tm_code sum_rows(state *s, tm_node *product, packed *left) {
    tm_value *x = product->inputs[0];
    const int64_t depth = product->inputs[1]->constant->dims[0], shift = x->type == TAMIS_TYPE_INT8 ? 128 : 0;
    tm_node *nodes[2], *region;
    if (left->sums != NULL)
        return TM_OK;
    tm_value *factors[2] = {left->tiles, ones(s, product->graph, depth)};
    nodes[0] = tm_node_create(product->graph, product, TM_OP_MatMulInteger, NULL, 2, factors);
    tm_dim dims[TAMIS_MAX_RANK];
    memcpy(dims, x->dims, (size_t)x->rank * sizeof(*dims));
    dims[x->rank - 1] = tm_dim_constant(s->context->model->dims, 1);
    tm_value_set_tensor(tm_node_add_output(nodes[0], NULL), TAMIS_TYPE_INT32, x->rank, dims);
    if (shift != 0)
        TM_TRY(binary(product, TM_OP_Sub, nodes[0]->outputs[0],
                      number_of(product->graph, TAMIS_TYPE_INT32, (double)(shift * depth)), &nodes[1]));
    TM_TRY(tm_region_build(s->context->model, "tiles", nodes, shift != 0 ? 2 : 1, &region));
    left->sums = region->outputs[0];
    return TM_OK;
}

/* Takes sum a * w' off. Where w' is one number,
 * each row has one, which is multiplied outside of the region. */
static tm_code take_right_zeros(state *s, tm_node *product, packed *left, const int32_t *zeros, chain *c) {
    int64_t columns = product->inputs[1]->constant->dims[1];
    tm_value *sums = last(&c->own), *part;
    bool one = true;
    for (int64_t n = 1; n < columns; n++)
        one = one && zeros[n] == zeros[0];
    TM_TRY(sum_rows(s, product, left));
    if (one) {
        TM_TRY(tm_match_make_pair(product, TM_OP_Mul, left->sums, constant_i32(product, 1, zeros), &part));
        return append(c, TM_OP_Sub, sums, part);
    }
    TM_TRY(append(c, TM_OP_Mul, left->sums, constant_i32(product, columns, zeros)));
    return append(c, TM_OP_Sub, sums, last(&c->own));
}

/* The quantiser that a pack has replaced, and its multiplication. */
static void remove_unused(const tm_value *x) {
    for (int i = 0; i < 2; i++) {
        tm_node *node = x->producer;
        if (node == NULL || !tm_value_unused(x) ||
            (node->op != TM_OP_QuantizeLinear && node->op != TM_OP_Mul && node->op != TM_OP_Windows))
            return;
        x = node->inputs[0];
        tm_node_remove(node);
    }
}

/* A depthwise convolution reads bytes: what makes floats of them for it stays out. */
static int without_widening(const tm_chain *c) {
    const tm_node *reader = tm_value_single_user(last(c));
    tm_node *bytes[2];
    int count = reader != NULL && reader->op == TM_OP_Transpose ? tm_window_form_bytes(reader, bytes) : 0;
    return count > 0 && c->count > count && c->nodes[c->count - count] == bytes[0] ? c->count - count
                                                                                   : c->count;
}

/* Makes the product on tiles. */
static tm_code multiply_tiles(state *s, tm_node *product, chain *out_chain) {
    tm_model *model = s->context->model;
    tm_value *x = product->inputs[0], *weights = product->inputs[1], *result = product->outputs[0];
    int32_t *sums, *zeros;
    bool right = measure_columns(model->arena, weights, tm_infer_input(product, 3), &sums, &zeros);
    packed *left = find_packed(s, product);
    tm_value *factors[2] = {left->tiles, tm_region_tile_weights(product->graph, weights, TAMIS_TYPE_INT8)};
    chain c = {.after = product};
    tm_node *core = tm_node_create(product->graph, c.after, TM_OP_MatMulInteger, product->name, 2, factors);
    core->file_index = product->file_index;
    core->file_path = product->file_path;
    tm_value_set_tensor(tm_node_add_output(core, NULL), TAMIS_TYPE_INT32, result->rank, result->dims);
    c.own.nodes[c.own.count++] = core;
    TM_TRY(take_left_zero(product, sums, zeros, &c));
    if (right)
        TM_TRY(take_right_zeros(s, product, left, zeros, &c));
    tm_rewrite_replace(result, last(&c.own));
    tm_node_remove(product);
    remove_unused(x);
    *out_chain = c;
    return TM_OK;
}

static tm_chain with_epilogue(const chain *c) {
    tm_chain own = c->own;
    own.count = tm_region_epilogue(own.nodes, own.count, TM_CHAIN_NODES);
    own.count = without_widening(&own);
    return own;
}

/* Does a pack read the result? The region of a single product can take it in (absorb_packs.c). */
static bool is_packed(const tm_chain *c) {
    const tm_value *result = last(c);
    for (size_t u = 0; u < result->uses.count; u++) {
        const tm_node *reader = result->uses.items[u].node;
        if (reader != NULL && reader->op == TM_OP_Region &&
            strcmp(tm_node_string(reader, "kind"), "pack") == 0)
            return true;
    }
    return false;
}

/* A region for the first of the chains that has none, and for those that can be done with it. */
static tm_code form(const state *s, const chain *all, size_t count) {
    tm_chain chains[TM_CHAINS] = {with_epilogue(all)};
    const tm_node *first = all->own.nodes[0];
    int products = 1;
    for (size_t i = 1; i < count && products < TM_CHAINS && !is_packed(&chains[0]); i++) {
        const tm_node *core = all[i].own.nodes[0];
        if (core->outputs[0]->graph == NULL || core->graph != first->graph || !tm_chain_is_near(first, core))
            continue;
        chains[products] = with_epilogue(&all[i]);
        products += tm_chains_are_alike(&chains[0], &chains[products]) && !is_packed(&chains[products]);
    }
    tm_node *region;
    return tm_chains_build(s->context->model, "tiles", chains, products, &region);
}

static void collect(state *s, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            collect(s, tm_node_subgraph(node, i));
        if (is_candidate(node))
            tm_push(s->context->model->arena, &s->found, node);
        if (node->op == TM_OP_QuantizeLinear)
            tm_push(s->context->model->arena, &s->quantizers, node);
        if (node->op == TM_OP_DynamicQuantizeLinear)
            tm_push(s->context->model->arena, &s->dynamic, node);
    }
}

tm_code tm_pass_form_integer_regions(tm_pass_context *context) {
    state s = {.context = context};
    collect(&s, context->model->main);
    if (!context->options->strict_math && s.found.count > 0)
        for (size_t i = 0; i < s.quantizers.count; i++)
            TM_TRY(multiply(s.quantizers.items[i]));
    for (size_t i = 0; i < s.dynamic.count && !context->options->strict_math && s.found.count > 0; i++)
        TM_TRY(split_dynamic(s.dynamic.items[i]));
    size_t allowed = 0;
    while (allowed < s.found.count && tm_pass_allow(context))
        allowed++;
    /* All packs stand before the first region is formed, whose epilogue would take their quantisers. */
    for (size_t i = 0; i < allowed; i++)
        TM_TRY(make_tiles(&s, s.found.items[i]));
    chain *chains = TM_NEW_ARRAY(context->model->arena, chain, allowed);
    for (size_t i = 0; i < allowed; i++)
        TM_TRY(multiply_tiles(&s, s.found.items[i], &chains[i]));
    for (size_t i = 0; i < allowed; i++)
        if (chains[i].own.nodes[0]->outputs[0]->graph != NULL)
            TM_TRY(form(&s, &chains[i], allowed - i));
    return TM_OK;
}
