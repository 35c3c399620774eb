/* SPDX-License-Identifier: Apache-2.0
 *
 * artifact.h: where compiler and artifact meet. The compiler emits these structures and calls,
 * the C kernels and the runtime read them. It is standalone (C11, no other header of tamis but
 * types.def and failures.def) and versioned: any change of layout or meaning raises TAMIS_ABI_VERSION.
 *
 * How a compiled model is laid out
 *
 *   A model is a list of values (tensors, sequences, optionals, maps) and a driver function. All values
 *   have a number; the *frame* `run->values` holds one tamis_tensor for each. The driver calls
 *   kernels one after the other,
 *
 *       code = tm_k_Add_f32(run, &call_17);       a library kernel: C, from the target's archive
 *       code = tm_region_3(run, &call_18);        a generated region: same signature
 *
 *   and a *call record* (constant data) names the values that a call reads and writes and holds the
 *   attributes. So a kernel needs no other argument, equal regions share code, and the evaluator of
 *   the compiler calls the very same kernels by making the same records.
 *
 *   All dims of all values live in one int64 table, `run->dims`; tamis_tensor.dims points into it.
 *   prepare() computes every dim that depends on input dims only, checks them, and sizes the
 *   workspace; execute() runs. Dims that depend on data are stored when their op has run; memory
 *   for such values comes from tm_reserve(), which keeps its buffers from run to run.
 *
 * Thread safety: a tm_run belongs to one thread at a time; the code and constants are shared.
 */
#ifndef TAMIS_ARTIFACT_H
#define TAMIS_ARTIFACT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TAMIS_ABI_VERSION 6u
#define TAMIS_MAGIC 0x31534d54u /* "TMS1" */
#define TAMIS_MAX_RANK 16       /* import refuses more */
#define TAMIS_ALIGNMENT 64      /* of workspace, constants, and buffers that tamis allocates */

/* Element types, numbered as ONNX's TensorProto.DataType. */
typedef enum tamis_type {
    TAMIS_TYPE_UNDEFINED = 0,
#define TM_TYPE(number, name, text, suffix, bits) TAMIS_TYPE_##name = number,
#include "types.def"
#undef TM_TYPE
    TAMIS_TYPE_COUNT = 27
} tamis_type;

typedef enum tamis_kind {
    TAMIS_KIND_NONE = 0,
    TAMIS_KIND_TENSOR = 1,
    TAMIS_KIND_SEQUENCE = 2,
    TAMIS_KIND_OPTIONAL = 3,
    TAMIS_KIND_MAP = 4
} tamis_kind;

/* An element of a string tensor. Bytes are borrowed: from the caller, the constants, or the run's
 * arena (valid until the next execute()). Not NUL-terminated. */
typedef struct tamis_string {
    const char *data;
    int64_t size;
} tamis_string;

/* One value. Dense, row-major, contiguous. Sub-byte elements are packed, low bits first.
 * For sequences, optionals and maps `data` is a tm_sequence (see runtime/sequence.h); NULL = empty. What they
 * hold:
 *
 *     value                        kind      item      key     type
 *     tensor(float)                TENSOR    NONE      0       FLOAT
 *     seq(tensor(float))           SEQUENCE  TENSOR    0       FLOAT
 *     seq(map(int64, float))       SEQUENCE  MAP       INT64   FLOAT
 *     optional(tensor(float))      OPTIONAL  TENSOR    0       FLOAT
 *     optional(seq(tensor(float))) OPTIONAL  SEQUENCE  0       FLOAT
 *     map(string, float)           MAP       TENSOR    STRING  FLOAT
 */
typedef struct tamis_tensor {
    void *data;
    int64_t *dims;
    int32_t rank; /* -1: not known before the value is made (sequences and their like) */
    uint8_t type; /* tamis_type; of the innermost tensors for sequences and their like */
    uint8_t kind; /* tamis_kind */
    uint8_t item; /* tamis_kind of the items */
    uint8_t key;  /* tamis_type of the keys of a map, or of the maps in a sequence */
} tamis_tensor;

/* Failures of compiled code; 0 is success. tm_run.detail holds the two numbers that the text in failures.def
 * speaks of; tm_run.node is the number of the node, for INPUT_RANK, INPUT_TYPE and INPUT_DIM of the input. */
typedef enum tm_run_code {
    TM_RUN_OK = 0,
#define TM_FAILURE(number, name, text) TM_RUN_##name = number,
#include "failures.def"
#undef TM_FAILURE
    TM_RUN_CODE_COUNT
} tm_run_code;

typedef struct tm_run tm_run;

/* Pixels of a decoded image: bytes red, green, blue; blue, green, red; or one byte of luminance. */
typedef enum tamis_pixels { TAMIS_PIXELS_RGB = 0, TAMIS_PIXELS_BGR = 1, TAMIS_PIXELS_GRAY = 2 } tamis_pixels;

/* What the host provides. All members but decode_image must be set (see tamis_default_host()). */
typedef struct tamis_host {
    void *user;
    /* Memory aligned to TAMIS_ALIGNMENT, or NULL. */
    void *(*allocate)(void *user, size_t bytes);
    void (*release)(void *user, void *memory, size_t bytes);
    /* Calls body(arg, begin, end) on disjoint ranges that cover 0..count, on any threads, and returns
     * when all are done: the code of the lowest range that failed, else 0. Ranges are cut at
     * multiples of `grain`. */
    int32_t (*parallel_for)(void *user, int64_t count, int64_t grain,
                            int32_t (*body)(void *arg, int64_t begin, int64_t end), void *arg);
    /* NULL: the host decodes no images. Decodes the bytes of an image file: calls give(context, height,
     * width) once for memory of height*width pixels, and fills it row by row. Returns 0; TM_RUN_VALUE when
     * the bytes are not an image, or damaged; TM_RUN_IMAGE when its format has no decoder here; TM_RUN_MEMORY
     * when memory ran out, or give() returned NULL. */
    int32_t (*decode_image)(void *user, const void *file, int64_t bytes, tamis_pixels pixels,
                            void *(*give)(void *context, int64_t height, int64_t width), void *context);
} tamis_host;

/* A buffer that grows and is kept from run to run. */
typedef struct tm_buffer {
    void *data;
    int64_t bytes;
} tm_buffer;

struct tm_arena_chunk;

/* One execution context: the record that every kernel gets. Generated code knows this layout. */
struct tm_run {
    tamis_tensor *values;
    int64_t *dims;         /* dims of all values; then the symbols */
    const uint8_t *weights; /* as kernels read them: unpacked */
    uint8_t *workspace;
    tm_buffer *buffers;
    const tamis_host *host;
    const int32_t *value_buffers; /* value number -> buffer number, or -1 */
    int64_t workspace_bytes;      /* set by prepare() */
    int32_t level;                /* index of the level chosen for this CPU */
    int32_t flags;                /* TM_RUN_STRICT: keep subnormals, IEEE order */
    int32_t code;                 /* failure: code, node, detail */
    int32_t node;
    int64_t detail[2];
    struct tm_arena_chunk *arena; /* memory of sequences and strings, reset by each execute() */
    uint64_t random_state;
    const void *const
        *slots; /* NULL, or for each of the artifact's slot_forms what stands in its place, or NULL */
};

#define TM_RUN_STRICT 1

/* A call record: values[0..n_in) are read, values[n_in..n_in+n_out) written; -1 is an omitted one.
 * Attributes stand at `attributes` bytes from the record's start, laid out as the op's struct
 * tm_attrs_OP (8 bytes a field, in the order of the op's row in ir/ops.def). */
typedef struct tm_call {
    int32_t node; /* for messages */
    uint16_t n_in;
    uint16_t n_out;
    int32_t attributes;
    int32_t reserved;
#ifdef __GNUC__
    __extension__ int32_t values[]; /* C++ has it as an extension */
#else
    int32_t values[];
#endif
} tm_call;

/* A list attribute: `count` items at `offset` bytes from the start of the attributes. Items are int64,
 * double, bytes (strings are lists of bytes; a list of strings is a list of tm_list), or one
 * tm_tensor_attribute. offset 0: the attribute is absent and has no default. */
typedef struct tm_list {
    int32_t offset;
    int32_t count;
} tm_list;

typedef struct tm_tensor_attribute {
    int64_t type;
    int64_t rank;
    int64_t dims[TAMIS_MAX_RANK];
    /* then the elements, 8-byte aligned (strings: a tm_list each, as in a list of strings) */
} tm_tensor_attribute;

typedef int32_t (*tm_kernel)(tm_run *run, const tm_call *call);

/* Description of an input or output. */
typedef struct tamis_port {
    const char *name;
    int32_t value; /* number in the frame */
    int32_t rank;  /* of the innermost tensors for sequences and their like; -1 there: not known */
    uint8_t type;
    uint8_t kind;
    uint8_t late; /* output whose dims are known only after execute(); its data belong to the run */
    uint8_t item; /* as in tamis_tensor */
    uint8_t key;
    uint8_t
        sliced; /* dim 0 counts samples, which may be computed slice by slice: all outputs have it, or none */
    uint8_t reserved[2];
    const int64_t *dims;          /* a constant, or -1 */
    const char *const *dim_texts; /* the expressions: "batch", "2*seq+1", "100"; "?" where items may differ */
} tamis_port;

/* How a value of the frame gets its memory. */
typedef enum tm_storage {
    TM_STORAGE_NONE = 0,      /* handle, or not stored */
    TM_STORAGE_INPUT = 1,     /* argument: input number */
    TM_STORAGE_OUTPUT = 2,    /* argument: output number */
    TM_STORAGE_CONSTANT = 3,  /* argument: byte offset in the unpacked weights */
    TM_STORAGE_WORKSPACE = 4, /* argument: number of the slot, its offset in dims[slot_dims + slot] */
    TM_STORAGE_BUFFER = 5,    /* argument: buffer number; grown by tm_reserve */
    TM_STORAGE_ALIAS = 6      /* argument: the value whose memory it shares (lower storage first) */
} tm_storage;

typedef struct tm_value_info {
    int64_t argument;
    int32_t dims_offset; /* into run->dims */
    int16_t rank;
    uint8_t type;
    uint8_t kind;
    int32_t storage;
    uint8_t item;
    uint8_t key;
    uint16_t reserved;
} tm_value_info;

/* A place where a run reads a slot, a constant that can be replaced when the model is loaded: as the caller
 * gives it (panel 0), or rearranged, elements of float32, in panels of columns for products:
 *
 *     for each group, for each panel of `panel` columns, for each outer, for each inner: the panel's columns,
 *     element group * group_step + outer * outer_step + inner * inner_step + column * column_step
 *
 * with zeros where the last panel has more columns than the group. */
typedef struct tm_slot_form {
    int32_t slot;
    int32_t value; /* number in the frame */
    int64_t bytes; /* as it is read */
    int64_t groups, columns, outer, inner;
    int64_t group_step, column_step, outer_step, inner_step;
    int64_t panel;
} tm_slot_form;

/* What an artifact exports: `const tamis_artifact *tamis_artifact_NAME(void)`, and for a shared object
 * also under the fixed name tamis_artifact(). Everything in it is constant. */
typedef struct tamis_artifact {
    uint32_t magic;
    uint32_t abi_version;
    uint32_t struct_bytes; /* sizeof(tamis_artifact), checked */
    uint32_t level_count;
    const char *name;
    const char *producer; /* "tamis 0.1.0" */
    const char *target;   /* "x86_64-linux-gnu" */
    const char *const *levels;
    int32_t input_count;
    int32_t output_count;
    const tamis_port *inputs;
    const tamis_port *outputs;
    int32_t value_count;
    int32_t buffer_count;
    int32_t dims_count; /* entries of run->dims */
    int32_t slot_count;
    int32_t slot_dims; /* entry of run->dims where the workspace offsets start */
    int32_t allocates; /* 1: a run may allocate (data-dependent dims) */
    int32_t node_count;
    int32_t flags; /* TM_RUN_STRICT: compiled with --math=strict, so runs keep subnormals */
    const tm_value_info *value_infos;
    const int64_t *dims_template;
    const char *node_names; /* for messages: node_count strings one after the other, each with its NUL */
    const uint8_t *weights; /* stored_bytes of them, see unpack */
    int64_t weights_bytes;  /* unpacked */
    int64_t stored_bytes;
    uint64_t weights_hash; /* xxh3-64 of what is stored */
    uint64_t model_hash;   /* xxh3-64 of the model's bytes and the options */
    const char *manifest;  /* JSON */
    int32_t (*cpu_level)(void); /* best level this CPU has, or -1 */
    int32_t (*prepare)(tm_run *run); /* input entries of the frame have dims; computes the rest */
    int32_t (*execute)(tm_run *run);
    /* NULL: the weights stand as a run reads them. Else they are coded (stored.h), and this writes what a run
     * reads, weights_bytes, to memory aligned to TAMIS_ALIGNMENT, once for all runs. Returns 0 or
     * TM_RUN_DAMAGED. */
    int32_t (*unpack)(const struct tamis_artifact *artifact, void *memory);
    int32_t weight_slot_count; /* constants that an adapter may replace (runtime.h) */
    int32_t slot_form_count;
    const tamis_port *weight_slots; /* without a number in the frame */
    const tm_slot_form *slot_forms;
    /* NULL, or the file, in the artifact's folder, that has the weights instead of `weights`, from its start
     * on: other artifacts may share it. It begins with a tm_weights_file; the chain over the first entries of
     * its index is weights_file_id (tm_weights_chain in stored.h). */
    const char *weights_file;
    uint64_t weights_file_id;
    int64_t weights_file_count;
} tamis_artifact;

#define TM_WEIGHTS_FILE_MAGIC 0x46574d54u /* "TMWF" */
#define TM_WEIGHTS_FILE_VERSION 1u
typedef struct tm_weights_file {
    uint32_t magic;
    uint32_t version;
    int64_t bytes; /* of the file up to its index */
    int64_t count; /* entries of the index */
    uint8_t reserved[40];
} tm_weights_file;

/* The index: the constants in the order in which they were added. */
typedef struct tm_weights_entry {
    int64_t offset, bytes;
    uint64_t hash; /* xxh3-64 */
} tm_weights_entry;

typedef const tamis_artifact *(*tamis_artifact_function)(void);

#ifdef __cplusplus
}
#endif
#endif
