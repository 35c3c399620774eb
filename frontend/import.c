/* SPDX-License-Identifier: Apache-2.0
 *
 * import.c: the doors of the frontend, and what concerns a model as a whole.
 *
 *     bytes -> tm_load_message -> ModelProto -> tm_import_main -> tm_model
 *
 * protobuf-c's structures and the tables of the importer live in a scratch arena that is freed before
 * the model is handed out; only constants and the graph stay. Unsupported nodes are counted while the
 * import runs and reported at its end: one diagnostic for each op, with the first place and how often
 * it occurs.
 */
#include "frontend/draft.h"

#include <string.h>

enum {
    NEWEST_ONNX = 28,
    NEWEST_ML = 5,
    DEEPEST =
        500 /* graphs; reading them recurses, so no flag may raise the limit beyond what the stack holds */
};

void tm_import_options_init(tm_import_options *options) {
    *options = (tm_import_options){.limits = {.depth = 64,
                                              .nodes = 4 << 20,
                                              .initializers = 1 << 20,
                                              .file_bytes = (int64_t)1 << 40,
                                              .tensor_bytes = (int64_t)1 << 36,
                                              .memory_bytes = (int64_t)1 << 30,
                                              .name_bytes = 1 << 16}};
}

/* ---- operator sets ---- */

const char *tm_domain_canonical(const char *domain) {
    return domain == NULL || strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

int64_t tm_opset_version(const tm_opsets *opsets, const char *domain) {
    for (size_t i = 0; i < opsets->count; i++)
        if (strcmp(opsets->items[i].domain, domain) == 0)
            return opsets->items[i].version;
    return -1;
}

static tm_code check_version(tm_importer *importer, const char *domain, int64_t version) {
    tm_place place = {.file = importer->model->file, .node_index = -1};
    int64_t newest = domain[0] == 0 ? NEWEST_ONNX : strcmp(domain, "ai.onnx.ml") == 0 ? NEWEST_ML : INT64_MAX;
    if (version > newest)
        return tm_report(
            importer->diagnostics, TM_E_UNSUPPORTED_OPSET, &place, "export the model for an older opset",
            "the model uses version %lld of operator set '%s'; this tamis knows versions up to %lld",
            (long long)version, domain[0] == 0 ? "ai.onnx" : domain, (long long)newest);
    if (version < 1)
        return tm_report(importer->diagnostics, TM_E_BAD_MODEL, &place, NULL,
                         "version %lld of operator set '%s' does not exist", (long long)version,
                         domain[0] == 0 ? "ai.onnx" : domain);
    return TM_OK;
}

tm_code tm_read_opsets(tm_importer *importer, Onnx__OperatorSetIdProto *const *list, size_t count,
                       const tm_opsets *outer, tm_opsets *out_opsets) {
    size_t outer_count = outer != NULL ? outer->count : 0;
    out_opsets->items = TM_NEW_ARRAY(importer->scratch, tm_opset, count + outer_count + 1);
    out_opsets->count = 0;
    for (size_t i = 0; i < count; i++) {
        const char *domain = tm_domain_canonical(list[i]->domain);
        TM_TRY(check_version(importer, domain, list[i]->version));
        if (tm_opset_version(out_opsets, domain) < 0)
            out_opsets->items[out_opsets->count++] = (tm_opset){domain, list[i]->version};
    }
    for (size_t i = 0; i < outer_count; i++)
        if (tm_opset_version(out_opsets, outer->items[i].domain) < 0)
            out_opsets->items[out_opsets->count++] = outer->items[i];
    /* Before IR version 3 there was one operator set and no field for it. */
    if (outer == NULL && count == 0 && importer->proto->ir_version < 3)
        out_opsets->items[out_opsets->count++] = (tm_opset){"", 1};
    return TM_OK;
}

/* ---- models ---- */

static tm_code report_unsupported(const tm_importer *importer) {
    for (size_t i = 0; i < importer->unsupported.count; i++) {
        const tm_unsupported *entry = importer->unsupported.entries[i].value;
        const char *times = entry->count == 1
                                ? ""
                                : tm_arena_format(importer->scratch, " (%lld nodes, this is the first)",
                                                  (long long)entry->count);
        (void)tm_report(importer->diagnostics, TM_E_UNSUPPORTED_OP, &entry->first, NULL,
                        "operator %s is not supported%s", entry->name, times);
    }
    return importer->unsupported.count != 0 ? TM_E_UNSUPPORTED_OP : importer->refused;
}

static tm_code import_model(tm_importer *importer) {
    tm_place place = {.file = importer->model->file, .node_index = -1};
    if (importer->proto->graph == NULL)
        return tm_report(importer->diagnostics, TM_E_BAD_MODEL, &place, "is the file an ONNX model?",
                         "the model has no graph");
    TM_TRY(tm_functions_index(importer));
    TM_TRY(tm_import_main(importer, importer->proto->graph));
    importer->whole = true;
    return report_unsupported(importer);
}

static tm_code import_bytes(tm_arena *arena, tm_diagnostics *diagnostics, const char *name,
                            const uint8_t *bytes, size_t size, const tm_import_options *options,
                            const char *folder, bool mapped, tm_model **out_model) {
    tm_import_options bounded = *options;
    if (bounded.limits.depth > DEEPEST)
        bounded.limits.depth = DEEPEST;
    tm_importer importer = {
        .arena = arena, .scratch = tm_scratch_create(arena), .diagnostics = diagnostics, .options = &bounded};
    tm_loaded loaded;
    *out_model = NULL;
    tm_code code = tm_load_message(importer.scratch, diagnostics, name, &onnx__model_proto__descriptor, bytes,
                                   size, &bounded.limits, &loaded);
    if (code == TM_OK) {
        importer.proto = (const Onnx__ModelProto *)(const void *)loaded.message;
        importer.model = tm_model_create(arena, diagnostics, name);
        importer.model->source = bytes;
        importer.model->source_bytes = size;
        if (mapped)
            tm_mappings_add(arena, importer.model->mappings, bytes, size);
        importer.reader = (tm_tensor_reader){.arena = arena,
                                             .diagnostics = diagnostics,
                                             .options = &bounded,
                                             .loaded = &loaded,
                                             .folder = folder,
                                             .mappings = importer.model->mappings};
        tm_map_init(&importer.reader.external, importer.scratch);
        tm_map_init(&importer.functions, importer.scratch);
        tm_map_init(&importer.main_names, importer.scratch);
        tm_map_init(&importer.unsupported, importer.scratch);
        code = import_model(&importer);
        *out_model = importer.whole ? importer.model : NULL;
        tm_mappings_release(importer.model->mappings);
    }
    tm_scratch_release(importer.scratch);
    return code;
}

tm_code tm_import_file(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                       const tm_import_options *options, tm_model **out_model) {
    const uint8_t *bytes;
    size_t size;
    TM_TRY(tm_load_map(arena, diagnostics, path, &bytes, &size));
    const char *slash = strrchr(path, '/');
    const char *folder = options->external_folder;
    if (folder == NULL)
        folder = slash == NULL ? "." : tm_arena_string_n(arena, path, (size_t)(slash - path) + 1);
    return import_bytes(arena, diagnostics, path, bytes, size, options, folder, true, out_model);
}

tm_code tm_import_memory(tm_arena *arena, tm_diagnostics *diagnostics, const char *name, const void *data,
                         size_t bytes, const tm_import_options *options, tm_model **out_model) {
    return import_bytes(arena, diagnostics, name, data, bytes, options, options->external_folder, false,
                        out_model);
}
