/* SPDX-License-Identifier: Apache-2.0
 *
 * Values other than tensors at the border of a model. A caller describes one by records: a list is a
 * tamis_tensor whose data are the records of its items and whose only dim is their number,
 *
 *     tamis_tensor items[2] = {...};
 *     tamis_tensor value = {.data = items, .dims = (int64_t[]){2}, .rank = 1, .kind = TAMIS_KIND_SEQUENCE};
 *
 * Inside, a list is a tm_sequence (runtime/sequence.h). So the session checks the description against the
 * port and makes lists of it in one block of its own, records and dims; the data of the tensors stay
 * where the caller has them.
 */
#include "runtime/runtime_internal.h"

#include <string.h>

/* What a part of the value has to be. */
typedef struct form {
    int kind, item;
} form;

static form item_form(form of) {
    return (form){of.item, of.item == TAMIS_KIND_TENSOR ? TAMIS_KIND_NONE : TAMIS_KIND_TENSOR};
}

/* A record that says no kind is a tensor. */
static int kind_of(const tamis_tensor *given) {
    return given->kind == TAMIS_KIND_NONE ? TAMIS_KIND_TENSOR : given->kind;
}

static int64_t item_count(const tamis_tensor *given) {
    return given->rank == 1 && given->dims != NULL ? given->dims[0] : -1;
}

static const tamis_tensor *item_at(const tamis_tensor *given, int64_t i) {
    return (const tamis_tensor *)given->data + i;
}

/* ---- checks ---- */

typedef struct checker {
    const tamis_session *session;
    int input;
    tamis_error *error;
} checker;

static int wrong(const checker *c, const char *what, const char *expected, const char *found) {
    const tamis_port *port = &c->session->model->artifact->inputs[c->input];
    return tm_host_fail(c->error, TM_HOST_RUN, "input %d '%s': %s\n    expected %s\n    found    %s",
                        c->input, port->name, what, expected, found);
}

/* A tensor in the value; `dims` (count `rank`, -1: any) are what the port declares. */
static int check_tensor(const checker *c, const tamis_tensor *given, int type, int rank, const int64_t *dims,
                        const char *const *texts) {
    char expected[256], found[256];
    if (given->rank < 0 || given->rank > TAMIS_MAX_RANK || (given->rank > 0 && given->dims == NULL))
        return wrong(c, "a tensor has a bad rank", "0 to 16 dims", "another number, or no dims");
    bool fits = given->type == type && (rank < 0 || rank == given->rank);
    for (int i = 0; i < given->rank; i++)
        fits = fits && given->dims[i] >= 0 && (rank < 0 || dims[i] < 0 || dims[i] == given->dims[i]);
    int64_t bytes = tm_host_type_bytes(given->type, tm_host_count(given->rank, given->dims));
    if (!fits || bytes < 0) {
        tm_host_print_shape(expected, sizeof expected, type, rank, dims, texts);
        tm_host_print_shape(found, sizeof found, given->type, given->rank, given->dims, NULL);
        return wrong(c, "a tensor in it has the wrong type or dims", expected, found);
    }
    if (given->data == NULL && bytes > 0)
        return wrong(c, "a tensor has no data", "a pointer", "NULL");
    return 0;
}

static int check_map(const checker *c, const tamis_tensor *given) {
    const tamis_port *port = &c->session->model->artifact->inputs[c->input];
    int64_t count = item_count(given);
    if (count == 0)
        return 0;
    if (count != 2 || given->data == NULL || kind_of(item_at(given, 0)) != TAMIS_KIND_TENSOR ||
        kind_of(item_at(given, 1)) != TAMIS_KIND_TENSOR)
        return wrong(c, "a map is not given as keys and values", "two tensors", "other items");
    const tamis_tensor *keys = item_at(given, 0), *values = item_at(given, 1);
    int code = check_tensor(c, keys, port->key, 1, (const int64_t[]){-1}, (const char *const[]){"n"});
    int64_t dims[TAMIS_MAX_RANK];
    const char *texts[TAMIS_MAX_RANK] = {"n"};
    int rank = port->rank < 0 ? -1 : port->rank + 1;
    if (code != 0)
        return code;
    if (rank > TAMIS_MAX_RANK || values->rank < 1)
        return wrong(c, "the values of a map have a bad rank", "one tensor [n, ...]", "another");
    dims[0] = keys->dims[0];
    for (int i = 1; i < rank; i++) {
        dims[i] = port->dims[i - 1];
        texts[i] = port->dim_texts[i - 1];
    }
    code = check_tensor(c, values, port->type, rank, dims, texts);
    if (code == 0 && (values->dims == NULL || values->dims[0] != keys->dims[0]))
        return wrong(c, "a map has not as many values as keys", "one for each", "another number");
    return code;
}

static int check_value(const checker *c, const tamis_tensor *given, form expected) {
    static const char *const kinds[] = {"nothing", "a tensor", "a sequence", "an optional", "a map"};
    const tamis_port *port = &c->session->model->artifact->inputs[c->input];
    int kind = kind_of(given);
    if (kind != expected.kind)
        return wrong(c, "the value is of another kind", kinds[expected.kind],
                     kind <= TAMIS_KIND_MAP ? kinds[kind] : "?");
    if (kind == TAMIS_KIND_TENSOR)
        return check_tensor(c, given, port->type, port->rank, port->dims, port->dim_texts);
    if (kind == TAMIS_KIND_MAP)
        return check_map(c, given);
    int64_t count = item_count(given);
    if (count < 0 || (count > 0 && given->data == NULL) || (kind == TAMIS_KIND_OPTIONAL && count > 1))
        return wrong(c, "a list has a bad number of items or no data",
                     kind == TAMIS_KIND_OPTIONAL ? "0 or 1" : "0 or more", "another number");
    int code = 0;
    for (int64_t i = 0; i < count && code == 0; i++)
        code = check_value(c, item_at(given, i), item_form(expected));
    return code;
}

/* ---- copies ---- */

static size_t bytes_of(const tamis_tensor *given) {
    size_t bytes = sizeof(tm_sequence);
    if (kind_of(given) == TAMIS_KIND_TENSOR)
        return (size_t)given->rank * sizeof(int64_t);
    for (int64_t i = 0; i < item_count(given); i++)
        bytes += sizeof(tamis_tensor) + bytes_of(item_at(given, i));
    return bytes;
}

/* Makes the value of `given` with what it needs at *at, which moves on. */
static tamis_tensor place(const tamis_tensor *given, const tamis_port *port, form expected, char **at) {
    tamis_tensor value = {
        .rank = -1, .type = port->type, .kind = (uint8_t)expected.kind, .item = (uint8_t)expected.item};
    if (expected.kind == TAMIS_KIND_TENSOR) {
        value = *given;
        value.kind = TAMIS_KIND_TENSOR;
        value.dims = (int64_t *)(void *)*at;
        for (int32_t i = 0; i < given->rank; i++)
            value.dims[i] = given->dims[i];
        *at += (size_t)given->rank * sizeof(int64_t);
        return value;
    }
    const int64_t count = item_count(given);
    const bool maps = expected.kind == TAMIS_KIND_MAP || expected.item == TAMIS_KIND_MAP;
    value.key = maps ? port->key : 0;
    if (count == 0 && expected.kind != TAMIS_KIND_SEQUENCE)
        return value; /* no data: an optional without element, a map without entries */
    tm_sequence *list = (tm_sequence *)(void *)*at;
    *at += sizeof *list + (size_t)count * sizeof(tamis_tensor);
    list->count = count;
    for (int64_t i = 0; i < count; i++)
        list->items[i] = place(item_at(given, i), port, item_form(expected), at);
    value.data = list;
    return value;
}

/* Makes the input's block at least `bytes` large. */
static bool reserve_block(tamis_session *session, tm_bound_input *bound, size_t bytes) {
    if (bound->block != NULL && bound->block_bytes >= bytes)
        return true;
    if (bound->block != NULL)
        session->host.release(session->host.user, bound->block, bound->block_bytes);
    bound->block = session->host.allocate(session->host.user, bytes);
    bound->block_bytes = bound->block != NULL ? bytes : 0;
    return bound->block != NULL;
}

int tm_host_bind_value(tamis_session *session, int input, const tamis_tensor *given, tamis_error *error) {
    tm_bound_input *bound = &session->inputs[input];
    const tamis_port *port = &session->model->artifact->inputs[input];
    const form expected = {port->kind, port->item};
    const checker c = {session, input, error};
    int code = check_value(&c, given, expected);
    if (code != 0)
        return code;
    size_t bytes = bytes_of(given);
    if (!reserve_block(session, bound, bytes))
        return tm_host_fail(error, TM_HOST_OUT_OF_MEMORY, "out of memory: %zu bytes for input %d", bytes,
                            input);
    char *at = bound->block;
    session->run.values[port->value].data = place(given, port, expected, &at).data;
    return 0;
}

void tm_host_release_values(tamis_session *session) {
    for (int32_t i = 0; i < session->model->artifact->input_count; i++)
        if (session->inputs[i].block != NULL)
            session->host.release(session->host.user, session->inputs[i].block,
                                  session->inputs[i].block_bytes);
}

/* ---- results ---- */

const tamis_tensor *tamis_tensor_items(const tamis_tensor *value, int64_t *out_count) {
    *out_count = 0;
    if (value == NULL || value->kind == TAMIS_KIND_TENSOR || value->data == NULL)
        return NULL;
    const tm_sequence *sequence = value->data;
    *out_count = sequence->count;
    return sequence->items;
}

const tamis_tensor *tamis_session_output_sequence(const tamis_session *session, int output,
                                                  int64_t *out_count) {
    return tamis_tensor_items(tamis_session_output(session, output), out_count);
}
