/* SPDX-License-Identifier: Apache-2.0
 *
 * samples.c: calibration samples, see samples.h.
 *
 * Files are mapped and read from front to back; pages that have been read are given back, and deflated arrays
 * are inflated as far as a sample needs, so memory stays that of one sample however many there are.
 *
 * Whether an array has samples along its first axis follows from the model's input: one axis more than the
 * input has: yes. As many, and the input's first dim is symbolic: a row is a sample. As many, and that dim is
 * a number: so many rows are a sample.
 */
#include "tools/samples.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define MOST_HEADER 65536

/* The array of one input. */
typedef struct stream {
    const char *name; /* "calib.npz:x" */
    const char *data; /* of the file or entry */
    void *mapping;    /* of a file of its own, or NULL */
    size_t bytes, packed, at;
    bool deflated;
    z_stream inflater;
    bool inflating;
    bool has_checksum; /* of an archive's entry */
    uint32_t checksum;
    uLong sum; /* of the bytes that were read, so many: */
    size_t summed;
    int rank; /* of a sample */
    int64_t dims[TAMIS_MAX_RANK];
    int64_t samples, sample_bytes, read;
    tamis_type type;
    char *buffer;
} stream;

typedef struct source {
    tool *tool;
    const tool_port *ports;
    int port_count;
    TM_VECTOR(const char *) items; /* files and folders */
    size_t item;
    bool open, single; /* of the item: a folder of values that is one sample */
    stream *streams;
    tamis_tensor *tensors;
    void *mapping; /* of an archive */
    size_t mapping_bytes;
    struct tool part; /* memory of what a folder holds, or of names of an archive */
    bool part_open;
    const char *name;
    int64_t index; /* of the sample in the item */
} source;

static tm_code map(tool *tool, const char *path, void **out_data, size_t *out_bytes) {
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    tool_reads(tool, path);
    if (file < 0)
        return tool_report(tool, TM_E_OPEN_INPUT, path, NULL, "%s", strerror(errno));
    void *data = MAP_FAILED;
    bool empty = fstat(file, &status) == 0 && status.st_size == 0;
    if (!empty)
        data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (data == MAP_FAILED)
        return tool_report(tool, TM_E_BAD_DATA, path, NULL,
                           empty ? "the file is empty" : "the file cannot be mapped");
    *out_data = data;
    *out_bytes = (size_t)status.st_size;
    return TM_OK;
}

/* ---- one array ---- */

static bool take_bytes(stream *s, char *to, size_t bytes) {
    if (!s->deflated) {
        if (bytes > s->bytes - s->at)
            return false;
        memcpy(to, s->data + s->at, bytes);
        s->at += bytes;
        return true;
    }
    if (!s->inflating) {
        s->inflater = (z_stream){0};
        s->inflating = inflateInit2(&s->inflater, -MAX_WBITS) == Z_OK;
    }
    while (bytes > 0 && s->inflating) {
        size_t give = s->packed - s->at < 1u << 30 ? s->packed - s->at : 1u << 30;
        size_t want = bytes < 1u << 30 ? bytes : 1u << 30;
        s->inflater.next_in = (Bytef *)(uintptr_t)(s->data + s->at);
        s->inflater.avail_in = (uInt)give;
        s->inflater.next_out = (Bytef *)to;
        s->inflater.avail_out = (uInt)want;
        int status = inflate(&s->inflater, Z_NO_FLUSH);
        size_t made = want - s->inflater.avail_out;
        s->at += give - s->inflater.avail_in;
        to += made;
        bytes -= made;
        if (status != Z_OK && bytes > 0)
            return false;
    }
    return bytes == 0;
}

/* False: there are no more bytes, or, behind the last one, they are not those that were stored. */
static bool read_bytes(stream *s, char *to, size_t bytes) {
    if (!take_bytes(s, to, bytes))
        return false;
    if (!s->has_checksum)
        return true;
    s->sum = crc32_z(s->sum, (const Bytef *)to, bytes);
    s->summed += bytes;
    return s->summed < s->bytes || s->sum == s->checksum;
}

static bool is_damaged(const stream *s) {
    return s->has_checksum && s->summed == s->bytes && s->sum != s->checksum;
}

static void stop(stream *s) {
    if (s->inflating)
        inflateEnd(&s->inflater);
    if (s->mapping != NULL)
        munmap(s->mapping, s->bytes);
    *s = (stream){0};
}

/* Gives the pages back that have been read. */
static void forget(const stream *s) {
    uintptr_t from = ((uintptr_t)s->data + 4095) & ~(uintptr_t)4095;
    uintptr_t to = ((uintptr_t)s->data + s->at) & ~(uintptr_t)4095;
    if (to > from)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

/* The model's dim d as a number; -1: it is symbolic. */
static int64_t fixed_dim(const tool_port *port, int d) {
    char *end;
    long long value = strtoll(port->dims[d], &end, 10);
    return *end == 0 && end != port->dims[d] ? value : -1;
}

static const char *shape_text(tm_arena *arena, tamis_type type, int rank, const int64_t *dims) {
    tm_text text;
    tm_text_init(&text, arena);
    tm_text_add(&text, "%s[", tm_type_text(type));
    for (int i = 0; i < rank; i++)
        tm_text_add(&text, i > 0 ? ", %lld" : "%lld", (long long)dims[i]);
    tm_text_add(&text, "]");
    return tm_text_get(&text);
}

static const char *port_text(tm_arena *arena, const tool_port *port) {
    tm_text text;
    tm_text_init(&text, arena);
    tm_text_add(&text, "%s[", tm_type_text(port->form.type));
    for (int i = 0; i < port->rank; i++)
        tm_text_add(&text, i > 0 ? ", %s" : "%s", port->dims[i]);
    tm_text_add(&text, "], or with one axis more for the samples");
    return tm_text_get(&text);
}

/* How an array is cut into samples. False: it does not fit the input. */
static bool cut(stream *s, const tool_port *port, const tool_npy *header) {
    int extra = header->rank - port->rank;
    if (header->type != port->form.type || (extra != 0 && extra != 1) || header->fortran)
        return false;
    int64_t rows = header->rank > 0 ? header->dims[0] : 1, fixed = port->rank > 0 ? fixed_dim(port, 0) : 1;
    int64_t each = extra == 1 || port->rank == 0 ? 1 : fixed > 0 ? fixed : 1;
    s->rank = port->rank;
    for (int d = 0; d < port->rank; d++) {
        s->dims[d] = header->dims[d + extra];
        if (d == 0 && extra == 0)
            s->dims[d] = each;
        if (fixed_dim(port, d) >= 0 && s->dims[d] != fixed_dim(port, d))
            return false;
    }
    s->samples = extra == 1 ? rows : rows / each;
    s->sample_bytes = header->item;
    for (int d = 0; d < port->rank; d++)
        if (!tm_mul_i64(s->sample_bytes, s->dims[d], &s->sample_bytes))
            return false;
    return extra == 1 || rows % each == 0;
}

static tm_code start(source *from, stream *s, const tool_port *port) {
    tool *tool = from->tool, *part = &from->part;
    char *header = tm_arena_alloc(&part->arena, MOST_HEADER);
    size_t have = s->bytes < 12 ? s->bytes : 12, rest;
    s->at = 0;
    s->read = 0;
    if (!read_bytes(s, header, have))
        return tool_report(tool, TM_E_BAD_DATA, s->name, NULL, "the array is cut short");
    rest = tool_npy_header_bytes(header, have);
    if (rest < have || rest > MOST_HEADER || !read_bytes(s, header + have, rest - have))
        return tool_report(tool, TM_E_BAD_DATA, s->name, "save it by numpy.save", "no NumPy array");
    tool_npy npy;
    TM_TRY(tool_npy_header(tool, s->name, header, rest, &npy));
    if (!cut(s, port, &npy)) {
        tm_place place = {.file = s->name, .node_index = -1};
        return tm_report_mismatch(&tool->diagnostics, TM_E_BAD_DATA, &place,
                                  npy.fortran ? "numpy.ascontiguousarray puts its elements in order"
                                              : "astype and reshape bring it to the input's form",
                                  port_text(&tool->arena, port),
                                  shape_text(&tool->arena, npy.type, npy.rank, npy.dims),
                                  "the array does not fit the input '%s'", port->name);
    }
    s->type = npy.type;
    s->buffer = tm_arena_alloc(&part->arena, (size_t)s->sample_bytes + 64);
    return TM_OK;
}

static bool find_not_number(const stream *s, int64_t *out_at) {
    for (int64_t i = 0; s->type == TAMIS_TYPE_FLOAT && i < s->sample_bytes / 4; i++)
        if (!isfinite(((const float *)s->buffer)[i])) {
            *out_at = i;
            return true;
        }
    return false;
}

static tm_code read_sample(source *from, stream *s, tamis_tensor *out) {
    if (s->read == 0 || s->samples > 1) {
        int64_t at;
        if (!read_bytes(s, s->buffer, (size_t)s->sample_bytes))
            return tool_report(from->tool, TM_E_BAD_DATA, s->name, NULL,
                               is_damaged(s) ? "the array is damaged, by its checksum after sample %lld"
                                             : "sample %lld is cut short",
                               (long long)s->read);
        if (find_not_number(s, &at))
            return tool_report(from->tool, TM_E_BAD_DATA, s->name, "leave such samples out",
                               "element %lld of sample %lld is NaN or infinite", (long long)at,
                               (long long)s->read);
        s->read++;
        forget(s);
    }
    *out = (tamis_tensor){.data = s->buffer,
                          .dims = s->dims,
                          .rank = s->rank,
                          .type = (uint8_t)s->type,
                          .kind = TAMIS_KIND_TENSOR};
    return TM_OK;
}

/* ---- items ---- */

static void close_item(source *from) {
    for (int i = 0; i < from->port_count; i++)
        stop(&from->streams[i]);
    if (from->mapping != NULL)
        munmap(from->mapping, from->mapping_bytes);
    from->mapping = NULL;
    if (from->part_open)
        tm_arena_deinit(&from->part.arena);
    from->part_open = from->open = from->single = false;
}

static void begin_part(source *from) {
    from->part = (struct tool){.verb = from->tool->verb};
    tm_arena_init(&from->part.arena);
    memcpy(from->part.arena.recovery, from->tool->arena.recovery, sizeof from->part.arena.recovery);
    from->part.arena.has_recovery = from->tool->arena.has_recovery;
    tm_diagnostics_init(&from->part.diagnostics, &from->tool->arena);
    from->part_open = true;
}

/* What was filed about a part is the command's, and so is what was read. */
static tm_code hand_on(source *from, tm_code code) {
    tool_reads_too(from->tool, &from->part);
    for (size_t i = 0; i < from->part.diagnostics.list.count; i++)
        tm_push(&from->tool->arena, &from->tool->diagnostics.list, from->part.diagnostics.list.items[i]);
    from->part.diagnostics.list.count = 0;
    return code;
}

static tm_code open_array(source *from, const char *path, int i) {
    stream *s = &from->streams[i];
    *s = (stream){.name = path};
    TM_TRY(map(from->tool, path, &s->mapping, &s->bytes));
    s->data = s->mapping;
    return start(from, s, &from->ports[i]);
}

static tm_code open_npy(source *from, const char *path) {
    if (from->port_count != 1)
        return tool_report(from->tool, TM_E_BAD_DATA, path,
                           "an .npz with an array for each input, named as the inputs",
                           "the model has %d inputs: one array is not enough", from->port_count);
    return open_array(from, path, 0);
}

static const char *array_of(source *from, const char *path, int i) {
    return tm_arena_format(&from->tool->arena, "%s/%s.npy", path, from->ports[i].name);
}

/* A folder with an array NAME.npy for each input. */
static tm_code open_arrays(source *from, const char *path) {
    for (int i = 0; i < from->port_count; i++)
        TM_TRY(open_array(from, array_of(from, path, i), i));
    return TM_OK;
}

static tm_code open_npz(source *from, const char *path) {
    tool_zip_entry *entries;
    size_t count;
    TM_TRY(map(from->tool, path, &from->mapping, &from->mapping_bytes));
    TM_TRY(hand_on(from,
                   tool_zip_parse(&from->part, path, from->mapping, from->mapping_bytes, &entries, &count)));
    for (int i = 0; i < from->port_count; i++) {
        const char *wanted = tm_arena_format(&from->part.arena, "%s.npy", from->ports[i].name);
        size_t k = 0;
        while (k < count && strcmp(entries[k].name, wanted) != 0)
            k++;
        if (k == count)
            return tool_report(from->tool, TM_E_BAD_DATA, path, "`tamis inspect` lists the model's inputs",
                               "the archive has no array '%s'", from->ports[i].name);
        from->streams[i] = (stream){.name = tm_arena_format(&from->tool->arena, "%s:%s", path, wanted),
                                    .data = entries[k].data,
                                    .bytes = entries[k].bytes,
                                    .packed = entries[k].packed,
                                    .deflated = entries[k].deflated,
                                    .has_checksum = true,
                                    .checksum = entries[k].checksum};
        TM_TRY(start(from, &from->streams[i], &from->ports[i]));
    }
    return TM_OK;
}

/* A folder with a file for each input. */
static tm_code open_folder(source *from, const char *path) {
    tool *part = &from->part;
    tool_value *values = TM_NEW_ARRAY(&part->arena, tool_value, from->port_count + 1);
    bool *have = TM_NEW_ARRAY(&part->arena, bool, from->port_count + 1);
    TM_TRY(hand_on(from, tool_values_read(part, path, "input", from->ports, from->port_count, values, have)));
    for (int i = 0; i < from->port_count; i++) {
        if (!have[i] && !tool_value_absent(&from->ports[i], &values[i]))
            return tool_report(from->tool, TM_E_BAD_DATA, path, "input_N.pb, NAME.npy or NAME.pb",
                               "there is no file for the input '%s'", from->ports[i].name);
        from->tensors[i] = tool_value_given(part, &values[i]);
    }
    from->single = true;
    return TM_OK;
}

static tm_code open_item(source *from) {
    const char *path = from->items.items[from->item];
    from->index = 0;
    begin_part(from);
    from->open = true;
    if (tool_is_folder(path))
        return tool_exists(array_of(from, path, 0)) ? open_arrays(from, path) : open_folder(from, path);
    if (tool_ends_with(path, ".npz"))
        return open_npz(from, path);
    return open_npy(from, path);
}

static int64_t samples_of(const source *from) {
    int64_t most = from->single ? 1 : 0;
    for (int i = 0; i < from->port_count && !from->single; i++)
        most = from->streams[i].samples > most ? from->streams[i].samples : most;
    return most;
}

static tm_code check_counts(const source *from) {
    int64_t most = samples_of(from);
    for (int i = 0; i < from->port_count && !from->single; i++)
        if (from->streams[i].samples != most && from->streams[i].samples != 1)
            return tool_report(from->tool, TM_E_BAD_DATA, from->streams[i].name, NULL,
                               "%lld samples, where another input has %lld",
                               (long long)from->streams[i].samples, (long long)most);
    return TM_OK;
}

static tm_code samples_rewind(void *self) {
    source *from = self;
    close_item(from);
    from->item = 0;
    return TM_OK;
}

static tm_code samples_next(void *self, const tamis_tensor **out_inputs) {
    source *from = self;
    *out_inputs = NULL;
    while (!from->open || from->index >= samples_of(from)) {
        if (from->open) {
            close_item(from);
            from->item++;
        }
        if (from->item >= from->items.count)
            return TM_OK;
        TM_TRY(open_item(from));
        TM_TRY(check_counts(from));
    }
    for (int i = 0; i < from->port_count && !from->single; i++)
        TM_TRY(read_sample(from, &from->streams[i], &from->tensors[i]));
    from->index++;
    *out_inputs = from->tensors;
    return TM_OK;
}

static const char *samples_name(void *self) {
    source *from = self;
    const char *path = from->item < from->items.count ? from->items.items[from->item] : "samples";
    from->name = from->single
                     ? path
                     : tm_arena_format(&from->tool->arena, "%s[%lld]", path, (long long)from->index - 1);
    return from->name;
}

static void samples_close(void *self) {
    close_item(self);
}

/* Does the folder hold the inputs of one sample? */
static bool is_one_sample(source *from, const char *path) {
    tool *tool = from->tool;
    return tool_exists(tm_arena_format(&tool->arena, "%s/input_0.pb", path)) ||
           tool_exists(tm_arena_format(&tool->arena, "%s/%s.pb", path, from->ports[0].name)) ||
           tool_exists(tm_arena_format(&tool->arena, "%s/%s.npy", path, from->ports[0].name));
}

static tm_code list_items(source *from, const char *path) {
    tool *tool = from->tool;
    const char **names;
    size_t count;
    if (!tool_exists(path))
        return tool_report(tool, TM_E_OPEN_INPUT, path, NULL, "there is no such file or folder");
    if (!tool_is_folder(path)) {
        if (!tool_ends_with(path, ".npy") && !tool_ends_with(path, ".npz"))
            return tool_report(tool, TM_E_BAD_DATA, path, ".npy, .npz, or a folder of those or of input_N.pb",
                               "no form of samples that is known");
        tm_push(&tool->arena, &from->items, path);
        return TM_OK;
    }
    if (is_one_sample(from, path)) {
        tm_push(&tool->arena, &from->items, path);
        return TM_OK;
    }
    TM_TRY(tool_list_folder(tool, path, &names, &count));
    for (size_t i = 0; i < count; i++) {
        const char *item = tm_arena_format(&tool->arena, "%s/%s", path, names[i]);
        if (tool_ends_with(item, ".npy") || tool_ends_with(item, ".npz") ||
            (tool_is_folder(item) && is_one_sample(from, item)))
            tm_push(&tool->arena, &from->items, item);
    }
    if (from->items.count == 0)
        return tool_report(tool, TM_E_BAD_DATA, path, ".npy or .npz files, or folders with input_N.pb",
                           "there are no samples in the folder");
    return TM_OK;
}

tm_code tool_samples_open(tool *tool, const char *path, const tool_port *ports, int count,
                          tm_samples *out_samples) {
    source *from = TM_NEW(&tool->arena, source);
    from->tool = tool;
    from->ports = ports;
    from->port_count = count;
    from->streams = TM_NEW_ARRAY(&tool->arena, stream, count + 1);
    from->tensors = TM_NEW_ARRAY(&tool->arena, tamis_tensor, count + 1);
    if (count == 0)
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "--calib: the model has no inputs");
    tm_arena_on_destroy(&tool->arena, samples_close, from);
    TM_TRY(list_items(from, path));
    *out_samples =
        (tm_samples){.self = from, .rewind = samples_rewind, .next = samples_next, .name = samples_name};
    return TM_OK;
}
