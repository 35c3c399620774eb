/* SPDX-License-Identifier: Apache-2.0
 *
 * runtime_internal.h: what the files of libtamis_runtime (host_*.c) share.
 *
 *   host_load.c      an artifact from a file or from the program -> tamis_model
 *   host_session.c   the frame: inputs, prepare, memory, run -> tamis_session
 *   host_adapter.c   weights in the place of slots -> tamis_adapter
 *   host_sequence.c  sequences, optionals and maps as inputs and outputs
 *   host_cache.c     freed blocks kept for the next request
 *   host_pool.c      the default host: memory and threads
 *   host_image.c     its images: a library that is loaded when the first one comes
 *   host_message.c   texts of tamis_error
 *
 * These files are compiled for the host only; they never become part of an artifact.
 */
#ifndef TM_RUNTIME_INTERNAL_H
#define TM_RUNTIME_INTERNAL_H

#include "runtime/sequence.h"
#include "runtime/float_mode.h"
#include "tamis/runtime.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { /* numbers of base/errors.def; the runtime does not include base/ */
       TM_HOST_OUT_OF_MEMORY = 1,
       TM_HOST_USAGE = 3,
       TM_HOST_OPEN = 10,
       TM_HOST_UNSUPPORTED_FORM = 202,
       TM_HOST_ARTIFACT = 400,
       TM_HOST_CPU = 401,
       TM_HOST_RUN = 402
};

struct tamis_model {
    const tamis_artifact *artifact;
    void *library; /* of dlopen, or NULL */
    void *weights; /* made of coded ones, or mapped, or NULL */
    int64_t mapped_bytes; /* of weights that are a file's; else 0 */
    int32_t level; /* index of the level chosen for this CPU */
    bool profiled; /* a profiler is set: it is told of steps by the thread of the run only */
};

struct tamis_adapter {
    const tamis_model *model;
    uint64_t version; /* counts the changes */
    void *forms[];    /* what stands in the place of each of the artifact's slot_forms, or NULL */
};

/* What a session keeps for an input or output. */
typedef struct tm_bound_input {
    bool set;
    void *block; /* lists and dims of an input that is no tensor */
    size_t block_bytes;
} tm_bound_input;

typedef struct tm_bound_output {
    int32_t
        root;    /* the value that is stored in the output's memory (the output may be a view of it), or -1 */
    void *given; /* the caller's memory, or NULL */
    int64_t given_bytes;
    void *own;
    int64_t own_bytes;
} tm_bound_output;

enum { TM_HOST_STORE_BLOCKS = 8 };

typedef struct tm_host_block {
    void *memory;
    size_t bytes;
} tm_host_block;

typedef struct tm_host_store {
    tamis_host host; /* the real one */
    atomic_flag busy;
    int count, next;
    tm_host_block blocks[TM_HOST_STORE_BLOCKS];
} tm_host_store;

/* A host that keeps freed blocks in `store`, which is zeroed and stays where it is. */
void tm_host_store_init(tm_host_store *store, const tamis_host *host, tamis_host *out_cached);
void tm_host_store_deinit(tm_host_store *store);

/* decode_image of the default host. */
int32_t tm_host_decode_image(void *user, const void *file, int64_t bytes, tamis_pixels pixels,
                             void *(*give)(void *context, int64_t height, int64_t width), void *context);

struct tamis_session {
    tm_run run; /* first: kernels get a pointer to it */
    tamis_model *model;
    tamis_host host;   /* for what the session keeps itself */
    tamis_host cached; /* the same through the store: for compiled code */
    tm_host_store store;
    int threads;  /* host.user of the default host: the session's limit, 0 none */
    size_t bytes; /* of this allocation: the session and all its tables */
    tm_bound_input *inputs;
    tm_bound_output *outputs;
    int64_t slice; /* samples that are run at once, 0: all */
    bool prepared; /* dims are computed for the bound inputs */
    bool bound;    /* data pointers of all values are set */
    void *own_workspace;
    int64_t own_workspace_bytes;
    void *given_workspace;
    int64_t given_workspace_bytes;
    const tamis_adapter *adapter; /* or NULL */
    uint64_t adapter_version;     /* that is bound */
};

/* Fills *error (which may be NULL) and returns the code. */
int tm_host_fail(tamis_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The message of a failed prepare() or execute(), from run->code, node and detail. */
int tm_host_fail_run(tamis_error *error, const tamis_session *session);
/* Text of an element type, "f32"; "?" when there is none such. */
const char *tm_host_type_text(int type);
/* "f32[batch, 4]" of a port or "f32[2, 4]" of dims (texts NULL) into `out`. */
void tm_host_print_shape(char *out, size_t out_bytes, int type, int rank, const int64_t *dims,
                         const char *const *texts);
/* Bytes of `count` elements, -1 on overflow. */
int64_t tm_host_type_bytes(int type, int64_t count);
/* Number of elements, -1 when a dim is negative or the product overflows. */
int64_t tm_host_count(int rank, const int64_t *dims);

/* Checks the value that a caller describes, and makes lists of it in the input's block; data are borrowed. */
int tm_host_bind_value(tamis_session *session, int input, const tamis_tensor *given, tamis_error *error);
void tm_host_release_values(tamis_session *session);

#endif
