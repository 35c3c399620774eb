/* SPDX-License-Identifier: Apache-2.0
 *
 * store_form.c: which form a constant takes, and how it is written.
 *
 * Forms that say everything in a few numbers (ranges, sines) are taken when they hold. Of the others the one
 * that takes least, as the coder measures it. What each writes is read by the function of the same name in
 * runtime/support_unpack.c.
 */
#include "codegen/store.h"

#include <string.h>

static bool is_float(tamis_type type) {
    return type == TAMIS_TYPE_FLOAT || type == TAMIS_TYPE_DOUBLE || type == TAMIS_TYPE_FLOAT16 ||
           type == TAMIS_TYPE_BFLOAT16;
}

static tm_elements plain_elements(const tm_stored_values *v) {
    return (tm_elements){v->data, v->count, v->columns, v->size, is_float(v->type)};
}
static tm_elements narrow_elements(const tm_stored_values *v, const tm_form *f) {
    return (tm_elements){f->narrow, v->count, v->columns, 2, true};
}
static tm_elements palette_elements(const tm_stored_values *v, const tm_form *f) {
    return (tm_elements){f->indices, v->count, v->columns, 1, false};
}
static tm_elements linear_elements(const tm_stored_values *v, const tm_form *f) {
    return (tm_elements){f->integers, v->count, v->columns, f->integer_size, false};
}

/* float32 values that float16 or bfloat16 has exactly. */
static bool find_narrow(tm_arena *arena, const tm_stored_values *v, tm_form *out) {
    const float *data = v->data;
    bool half = true, brain = true;
    if (v->type != TAMIS_TYPE_FLOAT || v->count < 2)
        return false;
    for (int64_t i = 0; i < v->count && (half || brain); i++) {
        uint32_t bits;
        memcpy(&bits, &data[i], 4);
        float back = (float)(_Float16)data[i];
        half = half && memcmp(&back, &data[i], 4) == 0;
        brain = brain && (bits & 0xffff) == 0;
    }
    if (!half && !brain)
        return false;
    uint16_t *narrow = TM_NEW_ARRAY(arena, uint16_t, v->count);
    for (int64_t i = 0; i < v->count; i++) {
        uint32_t bits;
        memcpy(&bits, &data[i], 4);
        _Float16 value = (_Float16)data[i];
        if (brain)
            narrow[i] = (uint16_t)(bits >> 16);
        else
            memcpy(&narrow[i], &value, 2);
    }
    *out = (tm_form){.form = TM_STORED_WIDEN, .brain = brain, .narrow = narrow};
    return true;
}

static void take(tm_form *best, const tm_form *form, double bytes) {
    if (bytes < best->bytes) {
        *best = *form;
        best->bytes = bytes;
    }
}

tm_form tm_form_find(tm_arena *arena, const tm_coder *coder, const tm_stored_values *v) {
    tm_form form, best = {.form = TM_STORED_PLAIN};
    if (tm_form_find_range(v, &form))
        return form;
    tm_elements elements = plain_elements(v);
    best.bytes = tm_coder_cost(coder, &elements);
    if (find_narrow(arena, v, &form)) {
        elements = narrow_elements(v, &form);
        take(&best, &form, tm_coder_cost(coder, &elements));
    }
    if (tm_form_find_palette(arena, v, &form)) {
        elements = palette_elements(v, &form);
        int64_t chunks = (v->count + form.chunk - 1) / form.chunk;
        take(&best, &form, tm_coder_cost(coder, &elements) + (double)(chunks * form.entries * v->size) + 4);
    }
    if (tm_form_find_linear(arena, v, &form)) {
        elements = linear_elements(v, &form);
        take(&best, &form,
             tm_coder_cost(coder, &elements) + (double)form.scale_count * (form.narrow_scales ? 2 : 4) + 6);
    }
    if (tm_form_find_sines(arena, v, 127, &form)) {
        double bytes = 8 * (double)form.frequency_count + 8;
        elements = (tm_elements){form.rest, v->count, v->columns, 1, false};
        take(&best, &form, bytes + (form.rest != NULL ? tm_coder_cost(coder, &elements) : 0));
    }
    return best;
}

static void put_elements(tm_coder *coder, tm_elements elements) {
    tm_coder_elements(coder, &elements);
}

static void put_linear(tm_coder *coder, const tm_stored_values *v, const tm_form *f) {
    tm_coder_number(coder, f->integer_size);
    tm_coder_number(coder, f->narrow_scales);
    tm_coder_number(coder, f->scale_count);
    tm_coder_number(coder, f->scale_count == 1 ? v->columns : f->columns);
    tm_coder_number(coder, f->rows);
    tm_coder_number(coder, f->block);
    for (int64_t i = 0; i < f->scale_count; i++) {
        _Float16 narrow = (_Float16)f->scales[i];
        if (f->narrow_scales)
            tm_coder_raw(coder, &narrow, 2);
        else
            tm_coder_raw(coder, &f->scales[i], 4);
    }
    tm_elements elements = linear_elements(v, f);
    elements.columns = f->scale_count == 1 ? v->columns : f->columns;
    put_elements(coder, elements);
}

static void put_sines(tm_coder *coder, const tm_stored_values *v, const tm_form *f) {
    tm_coder_number(coder, f->columns);
    tm_coder_number(coder, f->rows);
    tm_coder_number(coder, f->kind);
    tm_coder_number(coder, f->single);
    tm_coder_number(coder, f->rounding);
    tm_coder_number(coder, f->rest != NULL);
    tm_coder_raw(coder, f->frequencies, 8 * (size_t)f->frequency_count);
    if (f->rest != NULL)
        put_elements(coder, (tm_elements){f->rest, v->count, f->columns, 1, false});
}

void tm_form_put(tm_coder *coder, const tm_stored_values *v, const tm_form *f) {
    switch (f->form) {
    case TM_STORED_PLAIN:
        tm_coder_number(coder, v->columns);
        put_elements(coder, plain_elements(v));
        return;
    case TM_STORED_WIDEN:
        tm_coder_number(coder, f->brain);
        tm_coder_number(coder, v->columns);
        put_elements(coder, narrow_elements(v, f));
        return;
    case TM_STORED_PALETTE:
        tm_coder_number(coder, v->size);
        tm_coder_number(coder, f->entries);
        tm_coder_number(coder, f->chunk);
        tm_coder_number(coder, v->columns);
        tm_coder_raw(coder, f->table, (size_t)((v->count + f->chunk - 1) / f->chunk * f->entries * v->size));
        put_elements(coder, palette_elements(v, f));
        return;
    case TM_STORED_LINEAR:
        put_linear(coder, v, f);
        return;
    case TM_STORED_RANGE:
        tm_coder_number(coder, v->size);
        tm_coder_number(coder, f->single);
        tm_coder_number(coder, f->start);
        tm_coder_number(coder, f->step);
        tm_coder_number(coder, f->inner);
        tm_coder_number(coder, f->length);
        return;
    case TM_STORED_SINES:
        put_sines(coder, v, f);
        return;
    }
}
