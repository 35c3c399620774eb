/* SPDX-License-Identifier: Apache-2.0
 *
 * narrow.c: what a quantised model has left of float32 (biases, norms, position codes) in half the bytes:
 * constants of float16 and a Cast, which engines fold when they load the file.
 *
 *     %b: f32[384] const     ->     %h: f16[384] const     %b' = Cast(%h)
 *     %i: i64[512] const     ->     %s: i16[512] const     %i' = Cast(%s)
 *
 * It costs eleven bits of precision against the eight or four of the weights beside them. Weights of layers
 * that stay float keep their bits: they do so for the sake of the answers. So do scales, which rewrite.c has
 * in fewer bytes already, and numbers that float16 has no room for. Integers are tables of positions and the
 * like: they lose nothing. What is made has numbers for names, which would take more room than some of it.
 */
#include "quantize/layer.h"

#include "codegen/store.h"
#include "ir/infer.h"

static bool is_weights(const tm_loaded *loaded, const tm_value *value) {
    for (size_t i = 0; i < loaded->layers.count; i++)
        if (loaded->layers.items[i].w == value)
            return true;
    return false;
}

/* Do nodes read it, and is none a quantiser, or of floats a table's reader? */
static bool is_plainly_read(const tm_value *value) {
    bool is_float = value->type == TAMIS_TYPE_FLOAT;
    for (size_t i = 0; i < value->uses.count; i++) {
        const tm_node *node = value->uses.items[i].node;
        if (node == NULL || node->op == TM_OP_DequantizeLinear || node->op == TM_OP_QuantizeLinear ||
            (is_float && node->op == TM_OP_Gather))
            return false;
    }
    return value->uses.count > 0;
}

static uint16_t *halves(tm_arena *arena, const float *data, int64_t count) {
    float *values = tm_arena_copy(arena, data, sizeof *values * (size_t)count);
    if (!tm_storage_round(TM_STORAGE_FLOAT16, 0, values, count))
        return NULL;
    uint16_t *out = TM_NEW_ARRAY(arena, uint16_t, count);
    for (int64_t i = 0; i < count; i++) {
        _Float16 half = (_Float16)values[i];
        memcpy(&out[i], &half, sizeof half);
    }
    return out;
}

static uint16_t *shorts(tm_arena *arena, const int64_t *data, int64_t count) {
    uint16_t *out = TM_NEW_ARRAY(arena, uint16_t, count);
    for (int64_t i = 0; i < count; i++) {
        if (data[i] < INT16_MIN || data[i] > INT16_MAX)
            return NULL;
        out[i] = (uint16_t)data[i];
    }
    return out;
}

/* Its elements in two bytes each, or NULL: it stays as it is. */
static uint16_t *narrowed(tm_arena *arena, const tm_loaded *loaded, const tm_value *value) {
    const tm_constant *constant = value->constant;
    if (constant == NULL || value->graph != loaded->model->main)
        return NULL;
    int64_t count = tm_constant_count(constant);
    if (count < TM_SCALE_FEW || !is_plainly_read(value) || is_weights(loaded, value))
        return NULL;
    return constant->type == TAMIS_TYPE_FLOAT   ? halves(arena, constant->data, count)
           : constant->type == TAMIS_TYPE_INT64 ? shorts(arena, constant->data, count)
                                                : NULL;
}

int64_t tm_narrow_saving(const tm_quantizer *q, const tm_loaded *loaded) {
    int64_t saving = 0;
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(q, &scratch);
    for (size_t i = 0; i < loaded->model->values.count; i++)
        if (narrowed(&scratch, loaded, loaded->model->values.items[i]) != NULL) {
            const tm_constant *constant = loaded->model->values.items[i]->constant;
            saving += constant->bytes - 2 * tm_constant_count(constant);
        }
    tm_arena_deinit(&scratch);
    return saving;
}

static tm_code replace(tm_model *model, tm_value *value, const uint16_t *data) {
    bool is_float = value->type == TAMIS_TYPE_FLOAT;
    tm_value *stored = tm_value_create_constant(
        model->main, NULL,
        tm_constant_create(model->arena, is_float ? TAMIS_TYPE_FLOAT16 : TAMIS_TYPE_INT16, value->rank,
                           value->constant->dims, data));
    tm_node *cast = tm_node_create(model->main, model->main->first, TM_OP_Cast, NULL, 1, &stored);
    tm_node_set_int(cast, "to", value->type);
    tm_node_add_output(cast, NULL);
    TM_TRY(tm_infer_node(model, cast));
    tm_value_replace(value, cast->outputs[0]);
    return TM_OK;
}

tm_code tm_narrow_constants(tm_loaded *loaded) {
    tm_model *model = loaded->model;
    size_t count = model->values.count; /* those that are made here follow */
    for (size_t i = 0; i < count; i++) {
        const uint16_t *data = narrowed(model->arena, loaded, model->values.items[i]);
        if (data != NULL)
            TM_TRY(replace(model, model->values.items[i], data));
    }
    return TM_OK;
}
