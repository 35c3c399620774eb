/* SPDX-License-Identifier: Apache-2.0
 *
 * Random inputs for `verify` and `bench`: seeded, so that two runs see the same (elements:
 * compiler/random.c). Symbolic dims get the size that --size names, or the common one; so do dims in which
 * the items of a sequence may differ.
 */
#include "tools/tool.h"

#include "compiler/internal.h"

#include <stdlib.h>
#include <string.h>

static tool_value random_tensor(tool *tool, tamis_type type, int rank, const int64_t *dims, uint64_t *seed) {
    int64_t count = 1, bytes = 0;
    for (int i = 0; i < rank; i++)
        count *= dims[i];
    if (!tm_type_size(type, count, &bytes))
        bytes = 0;
    void *data = tm_arena_alloc(&tool->arena, (size_t)bytes + 16);
    if (type == TAMIS_TYPE_STRING)
        for (int64_t i = 0; i < count; i++)
            ((tamis_string *)data)[i] = (tamis_string){"abcd", (int64_t)(tm_random_next(seed) & 3) + 1};
    else
        tm_random_fill(type, data, count, seed);
    int64_t *copy = tm_arena_copy(&tool->arena, dims, sizeof(int64_t) * (size_t)(rank > 0 ? rank : 1));
    return tool_value_of(tm_constant_create(&tool->arena, type, rank, copy, data));
}

/* The keys 0, 1, 2 or "0", "1", "2". */
static tool_value make_keys(tool *tool, tamis_type type) {
    static const int64_t count = 3;
    size_t size = (size_t)tm_type_bits(type) / 8;
    uint8_t *data = tm_arena_alloc(&tool->arena, (size_t)count * size);
    for (int64_t i = 0; i < count; i++) {
        if (type == TAMIS_TYPE_STRING)
            ((tamis_string *)(void *)data)[i] = (tamis_string){&"012"[i], 1};
        else
            memcpy(data + (size_t)i * size, &i, size);
    }
    return tool_value_of(tm_constant_create(&tool->arena, type, 1, &count, data));
}

/* A value of the form: sequences have two items, optionals one, maps three entries. `dims` are those of the
 * tensors in it. */
static tool_value random_value(tool *tool, const tm_datum *form, int rank, const int64_t *dims,
                               uint64_t *seed) {
    if (form->kind == TAMIS_KIND_TENSOR)
        return random_tensor(tool, form->type, rank, dims, seed);
    tool_value value = *form, *items = TM_NEW_ARRAY(&tool->arena, tool_value, 2);
    value.count = form->kind == TAMIS_KIND_OPTIONAL ? 1 : 2;
    value.items = items;
    if (form->kind == TAMIS_KIND_MAP) {
        int64_t stacked[TAMIS_MAX_RANK + 1] = {3};
        for (int d = 0; d < rank; d++)
            stacked[d + 1] = dims[d];
        items[0] = make_keys(tool, form->key);
        items[1] = random_tensor(tool, form->type, rank + 1, stacked, seed);
        return value;
    }
    tm_datum item = {.kind = form->item, .type = form->type, .key = form->key};
    if (item.kind != TAMIS_KIND_TENSOR)
        item.item = TAMIS_KIND_TENSOR;
    for (int64_t i = 0; i < value.count; i++)
        items[i] = random_value(tool, &item, rank, dims, seed);
    return value;
}

tm_code tool_sizes_add(tool *tool, tool_sizes *sizes, const char *text) {
    tamis_dim_fact fact = {0};
    const char *equals = strrchr(text, '=');
    if (equals == NULL)
        return tool_parse_integer(tool, "--size", text, 0, INT32_MAX, &sizes->fallback);
    fact.name = tm_arena_string_n(&tool->arena, text, (size_t)(equals - text));
    TM_TRY(tool_parse_integer(tool, "--size", equals + 1, 0, INT32_MAX, &fact.low));
    tm_push(&tool->arena, &sizes->list, fact);
    return TM_OK;
}

static int64_t size_of_dim(const tool_sizes *sizes, const char *text) {
    char *end;
    long long constant = strtoll(text, &end, 10);
    if (end != text && *end == 0)
        return constant;
    for (size_t i = 0; i < sizes->list.count; i++)
        if (strcmp(sizes->list.items[i].name, text) == 0)
            return sizes->list.items[i].low;
    return sizes->fallback;
}

/* A size for a dim that no input has is a slip of the pen. */
static tm_code check_sizes(const tool_engine *engine, const tool_sizes *sizes) {
    for (size_t i = 0; i < sizes->list.count; i++) {
        const char *name = sizes->list.items[i].name;
        bool found = false;
        for (int p = 0; p < engine->input_count; p++)
            for (int d = 0; d < engine->inputs[p].rank; d++)
                found |= strcmp(engine->inputs[p].dims[d], name) == 0;
        if (!found)
            return tool_report(engine->tool, TM_E_USAGE, NULL, "see the dims with: tamis inspect",
                               "--size: no input has a dim named '%s'", name);
    }
    return TM_OK;
}

tm_code tool_make_inputs(tool_engine *engine, const char *path, const tool_sizes *sizes, uint64_t seed,
                         tool_value *out_values) {
    tool *tool = engine->tool;
    TM_TRY(check_sizes(engine, sizes));
    bool *have = TM_NEW_ARRAY(&tool->arena, bool, engine->input_count + 1);
    if (path != NULL)
        TM_TRY(tool_values_read(tool, path, "input", engine->inputs, engine->input_count, out_values, have));
    for (int i = 0; i < engine->input_count; i++) {
        const tool_port *port = &engine->inputs[i];
        if (have[i])
            continue;
        bool absent = tool_value_absent(port, &out_values[i]);
        if (path != NULL && !absent)
            return tool_report(tool, TM_E_BAD_DATA, path, NULL, "no data for input %d '%s'", i, port->name);
        int rank = port->rank < 0 && (port->form.kind == TAMIS_KIND_MAP || port->form.item == TAMIS_KIND_MAP)
                       ? 0 /* the values of maps are scalars, where nothing else is declared */
                       : port->rank;
        if (path != NULL || rank < 0)
            continue; /* an empty one: of what rank its items may be is not known */
        int64_t dims[TAMIS_MAX_RANK];
        for (int d = 0; d < rank; d++)
            dims[d] = size_of_dim(sizes, port->dims[d]);
        out_values[i] = random_value(tool, &port->form, rank, dims, &seed);
    }
    return TM_OK;
}
