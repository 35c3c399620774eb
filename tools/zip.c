/* SPDX-License-Identifier: Apache-2.0
 *
 * NumPy's .npz files are zip archives of .npy files. Reads stored and deflated entries through the
 * central directory (zip64 sizes included); writes stored ones. zlib does inflation and checksums.
 */
#include "tools/tool.h"

#include <string.h>
#include <zlib.h>

static uint64_t little(const char *data, int bytes) {
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | (unsigned char)data[i];
    return value;
}

static tm_code damaged(tool *tool, const char *file, const char *what) {
    return tool_report(tool, TM_E_BAD_DATA, file, NULL, "not a valid zip file: %s", what);
}

/* The end record stands in the last 64 KiB. NULL: none. */
static const char *find_end(const char *data, size_t bytes) {
    if (bytes < 22)
        return NULL;
    size_t low = bytes > 22 + 65535 ? bytes - 22 - 65535 : 0;
    for (size_t at = bytes - 22 + 1; at-- > low;)
        if (memcmp(data + at, "PK\5\6", 4) == 0)
            return data + at;
    return NULL;
}

static tm_code inflate_entry(tool *tool, const char *file, const char *data, size_t bytes, size_t size,
                             const char **out) {
    if (size > (size_t)INT32_MAX * 1024 || size / 1100 > bytes + 1)
        return damaged(tool, file, "an entry claims more than deflate can give");
    char *memory = tm_arena_alloc(&tool->arena, size + 1);
    z_stream stream = {0};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return damaged(tool, file, "cannot inflate");
    size_t given = 0, made = 0;
    int status = Z_OK;
    while (status == Z_OK) {
        size_t give = bytes - given < 1u << 30 ? bytes - given : 1u << 30;
        size_t want = size - made < 1u << 30 ? size - made : 1u << 30;
        stream.next_in = (Bytef *)(uintptr_t)(data + given);
        stream.avail_in = (uInt)give;
        stream.next_out = (Bytef *)memory + made;
        stream.avail_out = (uInt)want;
        status = inflate(&stream, Z_NO_FLUSH);
        given += give - stream.avail_in;
        made += want - stream.avail_out;
    }
    inflateEnd(&stream);
    if (made != size || (status != Z_STREAM_END && size > 0))
        return damaged(tool, file, "an entry is cut short");
    *out = memory;
    return TM_OK;
}

/* Sizes of ffffffff stand in the zip64 field (id 1), in the order size, packed, offset. */
static void read_zip64(const char *extra, size_t bytes, uint64_t *fields[3]) {
    while (bytes >= 4) {
        size_t id = (size_t)little(extra, 2), size = (size_t)little(extra + 2, 2);
        if (size > bytes - 4)
            return;
        if (id == 1) {
            const char *at = extra + 4;
            for (int i = 0; i < 3; i++)
                if (*fields[i] == 0xffffffffu && at + 8 <= extra + 4 + size) {
                    *fields[i] = little(at, 8);
                    at += 8;
                }
            return;
        }
        extra += 4 + size;
        bytes -= 4 + size;
    }
}

static tm_code read_entry(tool *tool, const char *file, const char *data, size_t bytes, const char *record,
                          size_t left, tool_zip_entry *out, size_t *out_record_bytes) {
    if (left < 46 || memcmp(record, "PK\1\2", 4) != 0)
        return damaged(tool, file, "the directory is cut short");
    uint64_t method = little(record + 10, 2), packed = little(record + 20, 4), size = little(record + 24, 4);
    size_t name_bytes = (size_t)little(record + 28, 2), extra_bytes = (size_t)little(record + 30, 2);
    uint64_t offset = little(record + 42, 4);
    *out_record_bytes = 46 + name_bytes + extra_bytes + (size_t)little(record + 32, 2);
    if (*out_record_bytes > left)
        return damaged(tool, file, "the directory is cut short");
    read_zip64(record + 46 + name_bytes, extra_bytes, (uint64_t *[3]){&size, &packed, &offset});
    if (offset > bytes || bytes - offset < 30 || memcmp(data + offset, "PK\3\4", 4) != 0)
        return damaged(tool, file, "an entry lies outside of the file");
    uint64_t start = offset + 30 + little(data + offset + 26, 2) + little(data + offset + 28, 2);
    if (start > bytes || packed > bytes - start)
        return damaged(tool, file, "an entry lies outside of the file");
    if (method != 8 && (method != 0 || packed != size))
        return damaged(tool, file, "an entry is neither stored nor deflated");
    *out = (tool_zip_entry){.name = tm_arena_string_n(&tool->arena, record + 46, name_bytes),
                            .data = data + start,
                            .bytes = (size_t)size,
                            .packed = (size_t)packed,
                            .checksum = (uint32_t)little(record + 16, 4),
                            .deflated = method == 8};
    return TM_OK;
}

static uint64_t checksum_of(const char *data, size_t bytes) {
    uLong sum = crc32(0, NULL, 0);
    for (size_t at = 0; at < bytes; at += 1u << 30)
        sum = crc32(sum, (const Bytef *)data + at, (uInt)(bytes - at < 1u << 30 ? bytes - at : 1u << 30));
    return sum;
}

tm_code tool_zip_unpack(tool *tool, const char *file, tool_zip_entry *entry) {
    if (entry->deflated)
        TM_TRY(inflate_entry(tool, file, entry->data, entry->packed, entry->bytes, &entry->data));
    entry->deflated = false;
    if (checksum_of(entry->data, entry->bytes) == entry->checksum)
        return TM_OK;
    return damaged(tool, file, tm_arena_format(&tool->arena, "the checksum of '%s' is another", entry->name));
}

tm_code tool_zip_parse(tool *tool, const char *file, const char *data, size_t bytes,
                       tool_zip_entry **out_entries, size_t *out_count) {
    const char *end = find_end(data, bytes);
    if (end == NULL)
        return bytes > 6 && memcmp(data, "\x93NUMPY", 6) == 0
                   ? tool_report(tool, TM_E_BAD_DATA, file, "-i NAME=FILE.npy",
                                 "is one array; an .npz names its inputs")
                   : damaged(tool, file, "no end record");
    size_t count = (size_t)little(end + 10, 2);
    uint64_t at = little(end + 16, 4);
    if (at > bytes || count == 0xffff)
        return damaged(tool, file, "the directory lies outside of the file");
    TM_VECTOR(tool_zip_entry) entries = {0};
    for (size_t i = 0; i < count; i++) {
        tool_zip_entry entry = {0};
        size_t record_bytes = 0;
        TM_TRY(read_entry(tool, file, data, bytes, data + at, bytes - (size_t)at, &entry, &record_bytes));
        tm_push(&tool->arena, &entries, entry);
        at += record_bytes;
    }
    *out_entries = entries.items;
    *out_count = entries.count;
    return TM_OK;
}

static void put(tm_text *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++, value >>= 8) {
        char byte = (char)(value & 0xff);
        tm_text_add_bytes(out, &byte, 1);
    }
}

/* The fields that local header and directory record have in common. */
static void put_common(tm_text *out, const tool_zip_entry *entry, uint64_t checksum) {
    put(out, 20, 2);    /* version to read it */
    put(out, 0x800, 2); /* the name is UTF-8 */
    put(out, 0, 2);     /* stored */
    put(out, 0, 2);     /* time and date: 1980-01-01, so that the same values give the same bytes */
    put(out, 0x21, 2);
    put(out, checksum, 4);
    put(out, entry->bytes, 4);
    put(out, entry->bytes, 4);
    put(out, strlen(entry->name), 2);
    put(out, 0, 2);
}

tm_code tool_zip_print(tool *tool, const char *file, const tool_zip_entry *entries, size_t count,
                       tm_text *out) {
    tm_text directory;
    tm_text_init(&directory, &tool->arena);
    for (size_t i = 0; i < count; i++) {
        uint64_t offset = out->size;
        if (entries[i].bytes > 0xfffffffeu || offset > 0xfffffffeu - entries[i].bytes)
            return tool_report(tool, TM_E_IO, file, "write to a folder instead",
                               ".npz files above 4 GiB are not written");
        uint64_t checksum = checksum_of(entries[i].data, entries[i].bytes);
        tm_text_add_bytes(out, "PK\3\4", 4);
        put_common(out, &entries[i], checksum);
        tm_text_add_bytes(out, entries[i].name, strlen(entries[i].name));
        tm_text_add_bytes(out, entries[i].data, entries[i].bytes);
        tm_text_add_bytes(&directory, "PK\1\2", 4);
        put(&directory, 20, 2);
        put_common(&directory, &entries[i], checksum);
        put(&directory, 0, 10); /* comment, disk, attributes */
        put(&directory, offset, 4);
        tm_text_add_bytes(&directory, entries[i].name, strlen(entries[i].name));
    }
    uint64_t start = out->size;
    tm_text_add_bytes(out, directory.data != NULL ? directory.data : "", directory.size);
    tm_text_add_bytes(out, "PK\5\6", 4);
    put(out, 0, 4);
    put(out, count, 2);
    put(out, count, 2);
    put(out, directory.size, 4);
    put(out, start, 4);
    put(out, 0, 2);
    return TM_OK;
}
