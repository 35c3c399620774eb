/* SPDX-License-Identifier: Apache-2.0
 *
 * Adapters: weights in the place of slots, laid out once as compiled code reads them.
 *
 * A slot may be read in several places, each with a form of its own (tm_slot_form): as it is given, as panels
 * of a product, as panels of its transpose. tamis_adapter_set makes all of them; a session's run only gets
 * the pointers. So a product by a slot is as fast as by any constant, and adapters are exchanged from run to
 * run at no cost.
 */
#include "runtime/runtime_internal.h"

#include <stdlib.h>
#include <string.h>

int tamis_adapter_create(const tamis_model *model, tamis_adapter **out_adapter, tamis_error *out_error) {
    size_t bytes = sizeof(tamis_adapter) + (size_t)model->artifact->slot_form_count * sizeof(void *);
    tamis_adapter *adapter = calloc(1, bytes);
    *out_adapter = adapter;
    if (adapter == NULL)
        return tm_host_fail(out_error, TM_HOST_OUT_OF_MEMORY, "out of memory: %zu bytes for an adapter",
                            bytes);
    adapter->model = model;
    return 0;
}

void tamis_adapter_destroy(tamis_adapter *adapter) {
    if (adapter == NULL)
        return;
    for (int32_t i = 0; i < adapter->model->artifact->slot_form_count; i++)
        free(adapter->forms[i]);
    free(adapter);
}

/* See tm_slot_form. */
static void lay_out(const tm_slot_form *form, const void *data, void *memory) {
    const float *from = data;
    float *to = memory;
    if (form->panel == 0) {
        memcpy(memory, data, (size_t)form->bytes);
        return;
    }
    for (int64_t group = 0; group < form->groups; group++)
        for (int64_t first = 0; first < form->columns; first += form->panel)
            for (int64_t outer = 0; outer < form->outer; outer++)
                for (int64_t inner = 0; inner < form->inner; inner++)
                    for (int64_t column = first; column < first + form->panel; column++)
                        *to++ = column < form->columns
                                    ? from[group * form->group_step + outer * form->outer_step +
                                           inner * form->inner_step + column * form->column_step]
                                    : 0;
}

static int wrong(const tamis_port *port, int slot, const char *what, int type, int rank, const int64_t *dims,
                 tamis_error *error) {
    char expected[256], found[256];
    tm_host_print_shape(expected, sizeof expected, port->type, port->rank, port->dims, port->dim_texts);
    tm_host_print_shape(found, sizeof found, type, rank, dims, NULL);
    return tm_host_fail(error, TM_HOST_RUN,
                        "weights for slot %d '%s' have the wrong %s\n    expected %s\n    found    %s", slot,
                        port->name, what, expected, found);
}

static int check(const tamis_artifact *artifact, int slot, int type, int rank, const int64_t *dims,
                 tamis_error *error) {
    if (slot < 0 || slot >= artifact->weight_slot_count)
        return tm_host_fail(error, TM_HOST_USAGE,
                            "there is no slot %d: the model has %d\n    hint: compile with --slot=NAME", slot,
                            artifact->weight_slot_count);
    const tamis_port *port = &artifact->weight_slots[slot];
    if (type != port->type)
        return wrong(port, slot, "type", type, rank, dims, error);
    if (rank != port->rank)
        return wrong(port, slot, "rank", type, rank, dims, error);
    for (int i = 0; i < rank; i++)
        if (dims[i] != port->dims[i])
            return wrong(port, slot, "dims", type, rank, dims, error);
    return 0;
}

/* Memory for the forms of the slot; those of a slot that was set have theirs already. */
static bool make_room(tamis_adapter *adapter, int slot) {
    const tamis_artifact *artifact = adapter->model->artifact;
    bool made = true;
    int32_t count = artifact->slot_form_count, i;
    for (i = 0; i < count && made; i++) {
        const tm_slot_form *form = &artifact->slot_forms[i];
        if (form->slot != slot || adapter->forms[i] != NULL)
            continue;
        size_t bytes = ((size_t)form->bytes + TAMIS_ALIGNMENT) & ~(size_t)(TAMIS_ALIGNMENT - 1);
        adapter->forms[i] = aligned_alloc(TAMIS_ALIGNMENT, bytes);
        made = adapter->forms[i] != NULL;
    }
    return made;
}

static void release(tamis_adapter *adapter, int slot) {
    const tamis_artifact *artifact = adapter->model->artifact;
    for (int32_t i = 0; i < artifact->slot_form_count; i++)
        if (artifact->slot_forms[i].slot == slot) {
            free(adapter->forms[i]);
            adapter->forms[i] = NULL;
        }
}

int tamis_adapter_set(tamis_adapter *adapter, int slot, tamis_type type, int rank, const int64_t *dims,
                      const void *data, tamis_error *out_error) {
    const tamis_artifact *artifact = adapter->model->artifact;
    int code = check(artifact, slot, type, rank, dims, out_error);
    if (code != 0)
        return code;
    adapter->version++;
    if (data == NULL) {
        release(adapter, slot);
        return 0;
    }
    if (!make_room(adapter, slot)) {
        release(adapter, slot); /* which was not set: one that is has memory for all forms */
        return tm_host_fail(out_error, TM_HOST_OUT_OF_MEMORY, "out of memory for weights of slot %d '%s'",
                            slot, artifact->weight_slots[slot].name);
    }
    for (int32_t i = 0; i < artifact->slot_form_count; i++)
        if (artifact->slot_forms[i].slot == slot)
            lay_out(&artifact->slot_forms[i], data, adapter->forms[i]);
    return 0;
}

int tamis_session_set_adapter(tamis_session *session, const tamis_adapter *adapter, tamis_error *out_error) {
    if (adapter != NULL && adapter->model != session->model)
        return tm_host_fail(
            out_error, TM_HOST_USAGE,
            "the adapter was made for another model\n    hint: make one for each loaded model");
    if (adapter == NULL && session->adapter == NULL)
        return 0;
    session->adapter = adapter;
    session->bound = false;
    return 0;
}
