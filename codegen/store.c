/* SPDX-License-Identifier: Apache-2.0
 *
 * store.c: all constants of a plan, coded; see store.h.
 *
 * Constants are taken one at a time, laid out as the weights section would hold them, so the memory needed
 * besides what is written is a few times the largest of them. Rounding (--storage) is done to that copy.
 */
#include "codegen/store.h"

#include "codegen/plan.h"
#include "ir/sparse.h"
#include "ir/tiles.h"

#include <math.h>
#include <string.h>

/* What an element of the stored form is: tiles hold the narrow type, packed types are bytes. */
static void set_type(const tm_constant *constant, tm_stored_values *out) {
    out->type =
        tm_type_is_tiled(constant->stored) && constant->panel != 0 ? constant->stored : constant->type;
    int bits = tm_type_bits(out->type);
    out->size = bits / 8;
    if (bits < 8 || bits > 64 || constant->bits != NULL || constant->sparse != NULL) {
        out->type = TAMIS_TYPE_UINT8;
        out->size = 1;
    }
}

static void set_columns(const tm_constant *constant, tm_stored_values *out) {
    if (constant->bits != NULL) { /* lines of words (ir/bits.h) */
        out->columns = 4;
        out->rows = out->count / 4;
        return;
    }
    if (constant->sparse != NULL) {
        out->columns = TM_SPARSE_RECORD;
        out->columns = out->count % out->columns == 0 ? out->columns : 1;
        out->rows = out->count / out->columns;
        return;
    }
    if (constant->panel != 0) {
        tm_panels panels = tm_constant_panels(constant);
        bool tiled = tm_type_is_tiled(constant->stored);
        out->columns = tiled ? TM_TILE_BYTES / out->size : constant->panel;
        out->rows = tiled ? 1 : panels.rows;
        return;
    }
    out->is_table = true;
    out->columns = constant->rank > 0 ? constant->dims[constant->rank - 1] : 1;
    if (constant->rank > 2 && out->columns < 16) /* filters of a convolution */
        for (int i = constant->rank - 2; i > 0; i--)
            out->columns *= constant->dims[i];
    out->columns = out->columns < 1 || out->count % out->columns != 0 ? 1 : out->columns;
    out->rows = out->count / out->columns;
}

bool tm_plan_values(const tm_plan *plan, size_t entry, tm_arena *arena, tm_stored_values *out) {
    const tm_plan_value *value = &plan->values.items[entry];
    if (value->storage != TM_STORAGE_CONSTANT || value->shares)
        return false;
    const tm_constant *constant = value->constant;
    int64_t bytes = tm_constant_stored_bytes(constant);
    *out = (tm_stored_values){0};
    set_type(constant, out);
    out->count = bytes / out->size;
    uint8_t *data = tm_arena_alloc(arena, (size_t)bytes + 8);
    tm_lay_out_constant(constant, data);
    tm_mappings_note_read(plan->model->mappings, (size_t)bytes);
    out->data = data;
    set_columns(constant, out);
    return bytes > 0;
}

/* Half of the largest float16 step below its smallest normal number is lost without harm where the rest is
 * far larger; numbers beyond its range are not. */
static bool round_to_half(float *values, int64_t count) {
    float largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
    if (!(largest <= 65504) || (largest > 0 && largest < 0x1p-10f))
        return false;
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(_Float16)values[i];
    return true;
}

static bool round_to_brain(float *values, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        if ((bits & 0x7fffffffu) >= 0x7f7f8000u) /* infinite, NaN, or would become so */
            return false;
    }
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        bits = (bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u;
        memcpy(&values[i], &bits, 4);
    }
    return true;
}

static bool round_to_steps(float step, float *values, int64_t count) {
    float largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
    if (!(step > 0) || !(largest / step < 32767))
        return false;
    for (int64_t i = 0; i < count; i++)
        values[i] = rintf(values[i] / step) * step + 0.0f;
    return true;
}

bool tm_storage_round(tm_storage_kind kind, float step, float *values, int64_t count) {
    switch (kind) {
    case TM_STORAGE_EXACT:
        return true;
    case TM_STORAGE_FLOAT16:
        return round_to_half(values, count);
    case TM_STORAGE_BFLOAT16:
        return round_to_brain(values, count);
    case TM_STORAGE_STEPS:
        return round_to_steps(step, values, count);
    }
    return false;
}

/* A table that is made anew exactly costs less than any rounded one. */
static bool is_generated(tm_arena *arena, const tm_stored_values *values) {
    tm_form form;
    return tm_form_find_range(values, &form) || tm_form_find_sines(arena, values, 2, &form);
}

static tm_stored_form code_one(tm_coder *coder, const tm_storage_options *options, int64_t place, int64_t gap,
                               const tm_stored_values *values, tm_arena *scratch) {
    float step = options->kind == TM_STORAGE_STEPS && place < options->step_count ? options->steps[place] : 0;
    if (options->kind != TM_STORAGE_EXACT && values->type == TAMIS_TYPE_FLOAT &&
        !is_generated(scratch, values))
        (void)tm_storage_round(options->kind, step, (float *)(uintptr_t)values->data, values->count);
    tm_form form = tm_form_find(scratch, coder, values);
    tm_coder_number(coder, form.form);
    tm_coder_number(coder, gap);
    tm_coder_number(coder, values->count);
    tm_coder_number(coder, values->size);
    tm_form_put(coder, values, &form);
    return form.form;
}

static uint64_t add_check(uint64_t hash, const tm_pieces *pieces, uint8_t *tail, size_t *tail_bytes) {
    for (size_t i = 0; i < pieces->list.count; i++) {
        size_t bytes;
        const uint8_t *data = tm_pieces_get(pieces, i, &bytes);
        for (size_t k = 0; k < bytes; k++) {
            tail[(*tail_bytes)++] = data[k];
            if (*tail_bytes < 8)
                continue;
            uint64_t word;
            memcpy(&word, tail, 8);
            hash = tm_stored_mix(hash, word);
            *tail_bytes = 0;
        }
    }
    return hash;
}

static void finish(tm_coded *coded, tm_coder *coder, uint32_t records) {
    uint8_t tail[8] = {0};
    size_t tail_bytes = 0;
    tm_coder_end(coder);
    coded->raw = coder->raw;
    coded->stream = coder->stream;
    coded->header = (tm_stored_header){.records = records,
                                       .raw_bytes = (uint64_t)coder->raw.bytes,
                                       .stream_bytes = (uint64_t)coder->stream.bytes};
    uint64_t hash = tm_stored_check(&coded->header);
    hash = add_check(hash, &coded->raw, tail, &tail_bytes);
    hash = add_check(hash, &coded->stream, tail, &tail_bytes);
    if (tail_bytes > 0) {
        uint64_t word = 0;
        memcpy(&word, tail, tail_bytes);
        hash = tm_stored_mix(hash, word);
    }
    coded->header.check = hash;
    coded->bytes = (int64_t)sizeof coded->header + coder->raw.bytes + coder->stream.bytes;
}

static void end_scratch(void *scratch) {
    tm_arena_deinit(scratch);
}

/* An arena that goes with the plan's at the latest, and runs out of memory where that does. */
static tm_arena *begin_scratch(tm_arena *arena) {
    tm_arena *scratch = TM_NEW(arena, tm_arena);
    tm_arena_init(scratch);
    tm_arena_on_destroy(arena, end_scratch, scratch);
    return scratch;
}

static void clear_scratch(tm_arena *scratch, const tm_arena *arena) {
    tm_arena_deinit(scratch);
    memcpy(scratch->recovery, arena->recovery, sizeof scratch->recovery);
    scratch->has_recovery = arena->has_recovery;
}

void tm_plan_code(tm_plan *plan, const tm_storage_options *options) {
    tm_coder *coder = TM_NEW(plan->arena, tm_coder);
    tm_coded *coded = TM_NEW(plan->arena, tm_coded);
    tm_arena *scratch = begin_scratch(plan->arena);
    tm_coder_init(coder, plan->arena);
    uint32_t records = 0;
    int64_t at = 0;
    for (size_t i = 0; i < plan->values.count; i++) {
        tm_stored_values values;
        clear_scratch(scratch, plan->arena);
        if (!tm_plan_values(plan, i, scratch, &values))
            continue;
        int64_t gap = plan->values.items[i].argument - at;
        coded->has_sines |= code_one(coder, options, records++, gap, &values, scratch) == TM_STORED_SINES;
        at = plan->values.items[i].argument + values.count * values.size;
    }
    tm_arena_deinit(scratch);
    finish(coded, coder, records);
    plan->coded = coded;
}
