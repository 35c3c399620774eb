/* SPDX-License-Identifier: Apache-2.0
 *
 * export_model.c: a model as a file.
 *
 *     tm_model -> Onnx__ModelProto, whose tensors point at the constants -> OUTPUT.part -> OUTPUT
 *
 * Packing streams: protobuf-c hands over piece by piece, and elements go from the mapped source to the file.
 * No more is in memory than the graph. A model that protobuf's readers could not take, because it is 2 GiB or
 * larger, or for which it is asked, has its larger tensors in OUTPUT.data, each at the start of a page, so
 * that they can be mapped.
 *
 * Both files are made under other names and renamed when they are whole, the data first. So a reader never
 * sees a half-written one, and a model may be written over the file that it was read from: the old one stays
 * mapped.
 */
#include "frontend/exporter.h"
#include "frontend/load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, PIECE = 1 << 20, EXTERNAL = 1 /* TensorProto.DataLocation */ };

void tm_export_options_init(tm_export_options *options) {
    *options = (tm_export_options){.inline_bytes = INT32_MAX};
}

/* ---- files ---- */

typedef struct output_file {
    ProtobufCBuffer buffer;
    const char *path, *partial;
    FILE *file;   /* NULL: not open */
    bool created; /* `partial` is there */
    int error;    /* of the first write that failed */
    size_t written;
    tm_mappings *mappings; /* of the model */
} output_file;

static void discard(void *argument) {
    output_file *out = argument;
    if (out->file != NULL)
        fclose(out->file);
    if (out->created)
        unlink(out->partial);
    out->file = NULL;
    out->created = false;
}

static void append(ProtobufCBuffer *buffer, size_t bytes, const uint8_t *data) {
    output_file *out = (output_file *)(void *)buffer;
    for (size_t at = 0; at < bytes && out->error == 0; at += PIECE) {
        size_t size = bytes - at < PIECE ? bytes - at : PIECE;
        if (fwrite(data + at, 1, size, out->file) != size)
            out->error = errno != 0 ? errno : EIO;
        tm_mappings_note_read(out->mappings, size);
    }
    out->written += bytes;
}

static tm_code cannot_create(const tm_exporter *exporter, const output_file *out) {
    tm_place place = {.file = out->path, .node_index = -1};
    return tm_report(exporter->model->diagnostics, TM_E_CREATE_OUTPUT, &place, NULL, "cannot create: %s",
                     strerror(errno));
}

static tm_code create(const tm_exporter *exporter, const char *path, output_file **out_file) {
    tm_arena *arena = exporter->scratch;
    output_file *out = TM_NEW(arena, output_file);
    out->buffer.append = append;
    out->mappings = exporter->model->mappings;
    out->path = path;
    out->partial = tm_arena_format(arena, "%s.%d.part", path, (int)getpid());
    tm_arena_on_destroy(arena, discard, out);
    struct stat status;
    tm_place place = {.file = path, .node_index = -1};
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) /* a device must not become a file */
        return tm_report(exporter->model->diagnostics, TM_E_CREATE_OUTPUT, &place, NULL,
                         "cannot create: it is there and no regular file");
    unlink(out->partial); /* of a process that was killed */
    out->file = fopen(out->partial, "wbx");
    if (out->file == NULL)
        return cannot_create(exporter, out);
    out->created = true;
    *out_file = out;
    return TM_OK;
}

static tm_code finish(const tm_exporter *exporter, output_file *out) {
    tm_place place = {.file = out->path, .node_index = -1};
    FILE *file = out->file;
    out->file = NULL;
    if (fclose(file) != 0 && out->error == 0)
        out->error = errno;
    return out->error == 0 ? TM_OK
                           : tm_report(exporter->model->diagnostics, TM_E_IO, &place, NULL,
                                       "writing failed: %s", strerror(out->error));
}

static tm_code publish(const tm_exporter *exporter, output_file *out) {
    if (rename(out->partial, out->path) != 0)
        return cannot_create(exporter, out);
    out->created = false;
    return TM_OK;
}

/* ---- external data ---- */

static Onnx__StringStringEntryProto *entry(tm_arena *arena, const char *key, const char *value) {
    Onnx__StringStringEntryProto *out = TM_NEW(arena, Onnx__StringStringEntryProto);
    onnx__string_string_entry_proto__init(out);
    out->key = tm_arena_string(arena, key);
    out->value = tm_arena_string(arena, value);
    return out;
}

static tm_code write_data(tm_exporter *exporter, const char *path, output_file **out_file) {
    static const uint8_t zeros[PAGE];
    tm_arena *arena = exporter->scratch;
    output_file *out;
    TM_TRY(create(exporter, path, &out));
    const char *slash = strrchr(path, '/');
    const char *location = slash != NULL ? slash + 1 : path;
    for (size_t i = 0; i < exporter->tensors.count; i++) {
        Onnx__TensorProto *tensor = exporter->tensors.items[i];
        if (!tensor->has_raw_data || tensor->raw_data.len < PAGE)
            continue;
        append(&out->buffer, (PAGE - out->written % PAGE) % PAGE, zeros);
        tensor->n_external_data = 3;
        tensor->external_data = tm_arena_alloc_array(arena, 3, sizeof *tensor->external_data);
        tensor->external_data[0] = entry(arena, "location", location);
        tensor->external_data[1] = entry(arena, "offset", tm_arena_format(arena, "%zu", out->written));
        tensor->external_data[2] =
            entry(arena, "length", tm_arena_format(arena, "%zu", tensor->raw_data.len));
        append(&out->buffer, tensor->raw_data.len, tensor->raw_data.data);
        tensor->has_raw_data = 0;
        tensor->has_data_location = 1;
        tensor->data_location = EXTERNAL;
    }
    *out_file = out;
    return finish(exporter, out);
}

/* ---- models ---- */

static void fill_opsets(tm_exporter *exporter, Onnx__ModelProto *proto) {
    tm_arena *arena = exporter->scratch;
    proto->opset_import = tm_arena_alloc_array(arena, TM_DOMAIN_TAMIS, sizeof *proto->opset_import);
    for (int domain = 0; domain < TM_DOMAIN_TAMIS; domain++) {
        if (exporter->versions[domain] == 0)
            continue;
        Onnx__OperatorSetIdProto *opset = TM_NEW(arena, Onnx__OperatorSetIdProto);
        onnx__operator_set_id_proto__init(opset);
        opset->domain = tm_arena_string(arena, tm_domain_name((tm_domain)domain));
        opset->has_version = 1;
        opset->version = exporter->versions[domain];
        proto->opset_import[proto->n_opset_import++] = opset;
    }
}

static tm_code write_files(tm_exporter *exporter, const Onnx__ModelProto *proto, const char *path) {
    output_file *data = NULL, *out;
    TM_TRY(create(exporter, path, &out));
    size_t limit = (size_t)exporter->options->inline_bytes;
    if (exporter->options->external_data || protobuf_c_message_get_packed_size(&proto->base) > limit)
        TM_TRY(write_data(exporter, tm_arena_format(exporter->scratch, "%s.data", path), &data));
    tm_place place = {.file = path, .node_index = -1};
    if (protobuf_c_message_get_packed_size(&proto->base) > limit)
        return tm_report(exporter->model->diagnostics, TM_E_LIMIT, &place, NULL,
                         "the graph alone is larger than an ONNX file can be (%zu bytes)", limit);
    protobuf_c_message_pack_to_buffer(&proto->base, &out->buffer);
    TM_TRY(finish(exporter, out));
    if (data != NULL && data->written > 0)
        TM_TRY(publish(exporter, data));
    return publish(exporter, out);
}

static tm_code export_model(tm_exporter *exporter, const char *path) {
    tm_arena *arena = exporter->scratch;
    Onnx__ModelProto proto;
    onnx__model_proto__init(&proto);
    exporter->versions[TM_DOMAIN_ONNX] =
        21; /* of the nodes that the exporter makes itself, and of models without any */
    tm_map_init(&exporter->fresh, arena);
    tm_map_init(&exporter->node_names, arena);
    exporter->written = TM_NEW_ARRAY(arena, bool, exporter->model->value_count + 1);
    TM_TRY(tm_export_graph_proto(exporter, exporter->model->main, &proto.graph));
    TM_TRY(exporter->refused);
    proto.has_ir_version = 1;
    proto.ir_version = tm_export_ir_version(exporter);
    proto.producer_name = tm_arena_string(arena, "tamis");
    fill_opsets(exporter, &proto);
    return write_files(exporter, &proto, path);
}

tm_code tm_export_model(const tm_model *model, const tm_export_options *options, const char *path) {
    tm_exporter exporter = {.scratch = tm_scratch_create(model->arena), .model = model, .options = options};
    tm_code code = export_model(&exporter, path);
    tm_scratch_release(exporter.scratch);
    return code;
}
