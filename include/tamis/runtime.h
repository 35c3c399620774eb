/* SPDX-License-Identifier: Apache-2.0
 *
 * runtime.h: loads artifacts and runs them (libtamis_runtime: no LLVM, no protobuf).
 *
 *     tamis_model *model;
 *     tamis_error error;
 *     if (tamis_model_load("t2.so", &model, &error) != 0) { puts(error.message); return 1; }
 *     tamis_session *session;
 *     tamis_session_create(model, NULL, &session, &error);
 *     tamis_session_set_input(session, 0, TAMIS_TYPE_FLOAT, 3, (int64_t[]){1, 100, 2}, x, &error);
 *     tamis_session_run(session, &error);
 *     const tamis_tensor *y = tamis_session_output(session, 0);
 *
 * A model (code and constants) may be shared by threads; a session belongs to one thread at a time.
 */
#ifndef TAMIS_RUNTIME_H
#define TAMIS_RUNTIME_H

#include "tamis/artifact.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tamis_model tamis_model;
typedef struct tamis_session tamis_session;
typedef struct tamis_adapter tamis_adapter;

typedef struct tamis_error {
    int code;           /* as in `tamis explain` (400 artifact, 401 CPU, 402 run, 1 memory, 10 open) */
    char message[1024]; /* NUL-terminated, with expected/found/hint lines */
} tamis_error;

typedef struct tamis_session_options {
    const tamis_host *host; /* NULL: tamis_default_host() */
    int threads;            /* of the default host's pool: 0 = as many as the process may use */
    int strict_math;        /* 1: keep subnormals */
    uint64_t seed;          /* of random ops */
} tamis_session_options;
void tamis_session_options_init(tamis_session_options *options);

/* The default host: malloc'ed aligned memory and a pool of threads that sleeps when idle, counts
 * CPUs by affinity and cgroup, is safe after fork, and gives the same cuts for any thread count. */
const tamis_host *tamis_default_host(void);
/* Sets the number of threads of the default pool (0: automatic). Not while a session runs. */
void tamis_set_threads(int threads);

int tamis_model_load(const char *path, tamis_model **out_model, tamis_error *out_error);
/* An artifact linked into the program: `tamis_model_create(tamis_artifact_t2(), ...)`. */
int tamis_model_create(const tamis_artifact *artifact, tamis_model **out_model, tamis_error *out_error);
void tamis_model_destroy(tamis_model *model);
const tamis_artifact *tamis_model_artifact(const tamis_model *model); /* ports, names, manifest */
int tamis_model_find_input(const tamis_model *model, const char *name);  /* -1: none */
int tamis_model_find_output(const tamis_model *model, const char *name);

int tamis_session_create(tamis_model *model, const tamis_session_options *options,
                         tamis_session **out_session, tamis_error *out_error);
void tamis_session_destroy(tamis_session *session);

/* ---- slots: weights that are replaced without compiling again (docs/slots.md) ----
 *
 * Slots are the constants that `tamis compile --slot` named: artifact->weight_slots has names, types and
 * dims. An adapter has weights for some or all of them; a session with an adapter runs with these, and with
 * the artifact's own for the rest. Sessions of one model may have different adapters, or share one; changing
 * is a matter of pointers.
 *
 *     tamis_adapter *french;
 *     tamis_adapter_create(model, &french, &error);
 *     int slot = tamis_model_find_slot(model, "q.lora_A");
 *     tamis_adapter_set(french, slot, TAMIS_TYPE_FLOAT, 2, dims, data, &error);
 *     tamis_session_set_adapter(session, french, &error);
 */
int tamis_model_find_slot(const tamis_model *model, const char *name); /* -1: none */
int tamis_adapter_create(const tamis_model *model, tamis_adapter **out_adapter, tamis_error *out_error);
/* After the sessions that have it, or have been given another; before the model. */
void tamis_adapter_destroy(tamis_adapter *adapter);
/* Copies the weights, as the artifact's code reads them; type and dims must be the slot's (error 402, nothing
 * is changed). Memory is asked for when a slot is set for the first time; where there is none, the adapter is
 * as it was (error 1). `data` NULL: the artifact's own again, and the memory is free; type and dims must fit
 * then too. Not while a session with this adapter runs; sessions that have it see the change in their next
 * run. */
int tamis_adapter_set(tamis_adapter *adapter, int slot, tamis_type type, int rank, const int64_t *dims,
                      const void *data, tamis_error *out_error);
/* The adapter of the next runs, borrowed, which must be of the session's model; NULL: the artifact's own
 * weights. Outputs of earlier runs stay as they are. */
int tamis_session_set_adapter(tamis_session *session, const tamis_adapter *adapter, tamis_error *out_error);

/* Binds an input: data are borrowed until the run is over, dims are copied. */
int tamis_session_set_input(tamis_session *session, int input, tamis_type type, int rank, const int64_t *dims,
                            const void *data, tamis_error *out_error);
/* Binds an input of any kind. A tensor is given as it is (kind NONE counts as TENSOR). A sequence, optional
 * or map is a list: `data` are the tamis_tensor records of its items, `rank` is 1 and `dims[0]` their number.
 * An optional has 0 or 1 item; a map has two, the tensor of its keys [n] and that of its values [n] (or [n,
 * ...]). Lists nest as the input's kind and item say; type, item and key of a list's record are not read.
 *
 *     tamis_tensor map[2] = {{.data = keys, .dims = (int64_t[]){3}, .rank = 1, .type = TAMIS_TYPE_STRING},
 *                            {.data = values, .dims = (int64_t[]){3}, .rank = 1, .type = TAMIS_TYPE_FLOAT}};
 *     tamis_tensor value = {.data = map, .dims = (int64_t[]){2}, .rank = 1, .kind = TAMIS_KIND_MAP};
 *     tamis_session_set_input_value(session, 0, &value, &error);
 *
 * Elements are borrowed until the run is over, records and dims are copied. */
int tamis_session_set_input_value(tamis_session *session, int input, const tamis_tensor *value,
                                  tamis_error *out_error);
/* The same for a sequence of tensors (count of them), or an optional tensor (count 0 or 1). */
int tamis_session_set_input_sequence(tamis_session *session, int input, const tamis_tensor *items,
                                     int64_t count, tamis_error *out_error);
/* The same for an optional that holds a sequence. */
int tamis_session_set_input_optional_sequence(tamis_session *session, int input, const tamis_tensor *items,
                                              int64_t count, tamis_error *out_error);
/* After the inputs are bound: computes all dims; then output dims (unless late) and the workspace size are
 * known. */
int tamis_session_prepare(tamis_session *session, tamis_error *out_error);
int64_t tamis_session_workspace_bytes(const tamis_session *session); /* after prepare */
/* Optional: the caller's workspace (aligned to TAMIS_ALIGNMENT), output memory. Borrowed. */
int tamis_session_set_workspace(tamis_session *session, void *memory, int64_t bytes, tamis_error *out_error);
int tamis_session_set_output(tamis_session *session, int output, void *data, int64_t bytes,
                             tamis_error *out_error);
/* Runs (prepares first when needed). */
int tamis_session_run(tamis_session *session, tamis_error *out_error);
/* The output: valid until the next run or the session's end. Sequences: see tamis_session_output_sequence. */
const tamis_tensor *tamis_session_output(const tamis_session *session, int output);
const tamis_tensor *tamis_session_output_sequence(const tamis_session *session, int output,
                                                  int64_t *out_count);
/* The items of a sequence; the element of an optional (count 0 or 1), which may be a sequence; the two
 * tensors of a map, keys [n] and values [n] in the same order. NULL: none, as in a map without entries. Valid
 * as long as the value. */
const tamis_tensor *tamis_tensor_items(const tamis_tensor *value, int64_t *out_count);

#ifdef __cplusplus
}
#endif
#endif
