/* SPDX-License-Identifier: Apache-2.0
 *
 * external.c: tensors whose bytes are in a file beside the model.
 *
 *     external_data { location: "weights/block_0.bin", offset: 4096, length: 65536 }
 *
 * A model must not be able to read the machine's other files, so a location is taken apart and opened
 * one component after the other from the model's folder, each without following links: no "..", no
 * absolute path, only regular files. Looking at the path as text first and opening it afterwards would
 * leave a gap in which a component can become a link.
 *
 * Some stores keep all big files in one folder and link to them. For those, --allow-links=FOLDER
 * names that folder: the location is resolved, must lie beneath the folder, and is then opened
 * from there in the same way, without links.
 *
 * A file is mapped once and stays mapped for as long as the arena lives; offset and length are checked
 * against its size before anything is read.
 */
#include "frontend/tensor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static tm_code refuse(tm_tensor_reader *reader, const tm_place *place, const char *hint, const char *location,
                      const char *what) {
    tm_text name;
    tm_text_init(&name, reader->arena);
    tm_text_add_escaped(&name, location, strlen(location));
    return tm_report(reader->diagnostics, TM_E_EXTERNAL_DATA, place, hint, "external data \"%s\": %s",
                     tm_text_get(&name), what);
}

/* Opens `path`, relative and without links, beneath `folder`. On failure -1 with *out_why. */
static int open_beneath(tm_arena *arena, const char *folder, const char *path, const char **out_why) {
    int at = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0) {
        *out_why = "the folder of the model cannot be opened";
        return -1;
    }
    char *copy = tm_arena_string(arena, path);
    char *rest = NULL;
    char *component = strtok_r(copy, "/", &rest);
    *out_why = "the location is empty";
    while (component != NULL) {
        char *next = strtok_r(NULL, "/", &rest);
        int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (next != NULL ? O_DIRECTORY : 0);
        int opened = -1;
        if (strcmp(component, "..") == 0)
            *out_why = "the location leads out of the model's folder (\"..\")";
        else if ((opened = openat(at, component, flags)) < 0)
            *out_why = errno == ELOOP || errno == ENOTDIR ? "a part of the location is a link or not a folder"
                                                          : strerror(errno);
        close(at);
        if (opened < 0)
            return -1;
        at = opened;
        component = next;
        if (component == NULL)
            return at;
    }
    close(at);
    return -1;
}

static void free_string(void *string) {
    free(string); /* from realpath() */
}

static char *resolve(tm_arena *arena, const char *path) {
    char *resolved = realpath(path, NULL);
    if (resolved != NULL)
        tm_arena_on_destroy(arena, free_string, resolved);
    return resolved;
}

/* Opens what the location leads to through links, if that is beneath allow_links_in. */
static int open_through_links(tm_tensor_reader *reader, const char *location, const char **out_why) {
    const char *allowed = resolve(reader->arena, reader->options->allow_links_in);
    const char *target =
        resolve(reader->arena, tm_arena_format(reader->arena, "%s/%s", reader->folder, location));
    if (allowed == NULL || target == NULL) {
        *out_why = strerror(errno);
        return -1;
    }
    size_t length = strlen(allowed);
    if (strncmp(target, allowed, length) != 0 || (target[length] != '/' && strcmp(allowed, "/") != 0)) {
        *out_why = "a link leads out of the folder that --allow-links names";
        return -1;
    }
    return open_beneath(reader->arena, allowed, target + length, out_why);
}

static tm_code open_external(tm_tensor_reader *reader, const tm_place *place, const char *location,
                             tm_external_file **out_file) {
    static const char hint[] = "keep the data in a plain file beneath the model's folder; "
                               "--allow-links=FOLDER permits links into FOLDER";
    if (reader->folder == NULL)
        return refuse(reader, place, "compile from a file, or name the folder of the data", location,
                      "there is no folder to look in");
    if (location[0] == '/')
        return refuse(reader, place, hint, location, "the location is an absolute path");
    const char *why = NULL;
    tm_external_file *file = TM_NEW(reader->arena, tm_external_file);
    tm_file *opened = tm_file_create(reader->arena);
    int descriptor = open_beneath(reader->arena, reader->folder, location, &why);
    if (descriptor < 0 && reader->options->allow_links_in != NULL && strstr(location, "..") == NULL)
        descriptor = open_through_links(reader, location, &why);
    if (descriptor < 0)
        return refuse(reader, place, hint, location, why);
    opened->descriptor = descriptor;
    struct stat status;
    if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode))
        return refuse(reader, place, hint, location, "not a regular file");
    file->size = (size_t)status.st_size;
    if (!tm_file_map(opened, file->size, &file->bytes))
        return refuse(reader, place, NULL, location, strerror(errno));
    tm_mappings_add(reader->arena, reader->mappings, file->bytes, file->size);
    tm_map_set(&reader->external, location, file);
    *out_file = file;
    return TM_OK;
}

static bool parse_number(const char *text, size_t *out_value) {
    size_t value = 0;
    if (*text == 0)
        return false;
    for (; *text != 0; text++) {
        if (*text < '0' || *text > '9' || !tm_mul_size(value, 10, &value) ||
            !tm_add_size(value, (size_t)(*text - '0'), &value))
            return false;
    }
    *out_value = value;
    return true;
}

tm_code tm_read_external(tm_tensor_reader *reader, const Onnx__TensorProto *tensor, const tm_place *place,
                         size_t need, const uint8_t **out_bytes) {
    const char *location = "";
    size_t offset = 0;
    size_t length = need;
    for (size_t i = 0; i < tensor->n_external_data; i++) {
        const char *key = tensor->external_data[i]->key;
        const char *value = tensor->external_data[i]->value;
        if (key == NULL || value == NULL)
            continue;
        if (strcmp(key, "location") == 0)
            location = value;
        else if ((strcmp(key, "offset") == 0 && !parse_number(value, &offset)) ||
                 (strcmp(key, "length") == 0 && !parse_number(value, &length)))
            return refuse(reader, place, NULL, location, "offset or length is not a number");
    }
    tm_external_file *file = tm_map_get(&reader->external, location);
    if (file == NULL)
        TM_TRY(open_external(reader, place, location, &file));
    if (length != need)
        return tm_report_mismatch(reader->diagnostics, TM_E_EXTERNAL_DATA, place, NULL,
                                  tm_arena_format(reader->arena, "%zu bytes", need),
                                  tm_arena_format(reader->arena, "%zu bytes", length),
                                  "the external data's length does not fit the tensor's type and dims");
    if (offset > file->size || need > file->size - offset)
        return tm_report_mismatch(reader->diagnostics, TM_E_EXTERNAL_DATA, place,
                                  "the data file is cut short",
                                  tm_arena_format(reader->arena, "%zu bytes at %zu", need, offset),
                                  tm_arena_format(reader->arena, "a file of %zu bytes", file->size),
                                  "the external data end before the tensor does");
    *out_bytes = file->bytes + offset;
    return TM_OK;
}
