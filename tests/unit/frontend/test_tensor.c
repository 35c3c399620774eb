/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors: every way to hold elements, external data, sparse tensors, and export.
 *
 * Tensors are packed by protobuf-c and read back through tm_import_tensor; external data are files in a
 * temporary folder, with links that try to lead out of it.
 */
#include "tests/unit/frontend/kit.h"

#include <stdlib.h>
#include <unistd.h>

static tm_code read_tensor(kit *k, const Onnx__TensorProto *tensor, const tm_constant **out) {
    size_t bytes = onnx__tensor_proto__get_packed_size(tensor);
    uint8_t *data = tm_arena_alloc(&k->arena, bytes);
    onnx__tensor_proto__pack(tensor, data);
    return tm_import_tensor(&k->arena, &k->diagnostics, "t.pb", data, bytes, out);
}

static void expect_doubles(const tm_constant *constant, size_t count, const double *values) {
    assert_int_equal(tm_constant_count(constant), count);
    for (size_t i = 0; i < count; i++) {
        double value;
        assert_true(tm_constant_double(constant, (int64_t)i, &value));
        assert_true(value == values[i]);
    }
}

static void raw_data(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    const tm_constant *c;
    Onnx__TensorProto *t = kit_tensor(&k, "w", TAMIS_TYPE_INT16, 2, (int64_t[]){1, 2});
    kit_raw(&k, t, 4, (int16_t[]){-5, 300});
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    expect_doubles(c, 2, (double[]){-5, 300});
    t->raw_data.len = 3;
    assert_int_equal(read_tensor(&k, t, &c), TM_E_BAD_TENSOR);
    assert_string_equal(k.diagnostics.list.items[0].place.tensor, "w");
    kit_deinit(&k);
}

static void bool_bytes_become_0_and_1(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    const tm_constant *c;
    Onnx__TensorProto *t = kit_tensor(&k, NULL, TAMIS_TYPE_BOOL, 1, (int64_t[]){3});
    kit_raw(&k, t, 3, (uint8_t[]){0, 255, 1});
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    assert_memory_equal(c->data, ((uint8_t[]){0, 1, 1}), 3);
    kit_deinit(&k);
}

/* All types that live in int32_data, the sub-byte ones as bytes of several elements. */
static void int32_data(void **state) {
    (void)state;
    static const struct {
        tamis_type type;
        int64_t count;
        size_t values;
        int32_t value[2];
        double want[4];
    } cases[] = {
        {TAMIS_TYPE_INT32, 2, 2, {-7, 8}, {-7, 8}},
        {TAMIS_TYPE_INT16, 2, 2, {-7, 8}, {-7, 8}},
        {TAMIS_TYPE_INT8, 2, 2, {-128, 127}, {-128, 127}},
        {TAMIS_TYPE_UINT16, 2, 2, {65535, 1}, {65535, 1}},
        {TAMIS_TYPE_UINT8, 2, 2, {255, 0}, {255, 0}},
        {TAMIS_TYPE_BOOL, 2, 2, {1, 0}, {1, 0}},
        {TAMIS_TYPE_FLOAT16, 2, 2, {0x3c00, 0xc000}, {1, -2}},
        {TAMIS_TYPE_BFLOAT16, 2, 2, {0x3f80, 0xc000}, {1, -2}},
        {TAMIS_TYPE_FLOAT8E4M3FN, 2, 2, {0x38, 0xb8}, {1, -1}},
        {TAMIS_TYPE_UINT4, 3, 2, {0xf1, 0x02}, {1, 15, 2}},
        {TAMIS_TYPE_INT4, 3, 2, {0xf1, 0x02}, {1, -1, 2}},
        {TAMIS_TYPE_INT2, 4, 1, {0xe4}, {0, 1, -2, -1}},
        {TAMIS_TYPE_FLOAT4E2M1, 2, 1, {0xa2}, {1, -1}},
    };
    kit k;
    kit_init(&k, 17);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tm_constant *c;
        Onnx__TensorProto *t = kit_tensor(&k, NULL, cases[i].type, 1, &cases[i].count);
        t->n_int32_data = cases[i].values;
        t->int32_data = (int32_t *)(uintptr_t)cases[i].value;
        assert_int_equal(read_tensor(&k, t, &c), TM_OK);
        expect_doubles(c, (size_t)cases[i].count, cases[i].want);
    }
    kit_deinit(&k);
}

static void out_of_range(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    const tm_constant *c;
    Onnx__TensorProto *t = kit_tensor(&k, NULL, TAMIS_TYPE_UINT8, 1, (int64_t[]){1});
    t->n_int32_data = 1;
    t->int32_data = (int32_t[]){256};
    assert_int_equal(read_tensor(&k, t, &c), TM_E_BAD_TENSOR);
    t->int32_data = (int32_t[]){-1};
    assert_int_equal(read_tensor(&k, t, &c), TM_E_BAD_TENSOR);
    kit_deinit(&k);
}

static void other_lists(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    const tm_constant *c;
    Onnx__TensorProto *t = kit_tensor(&k, NULL, TAMIS_TYPE_FLOAT, 1, (int64_t[]){2});
    t->n_float_data = 2;
    t->float_data = (float[]){1.5f, -2};
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    expect_doubles(c, 2, (double[]){1.5, -2});
    t->data_type = TAMIS_TYPE_COMPLEX64;
    t->dims[0] = 1;
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    assert_memory_equal(c->data, ((float[]){1.5f, -2}), 8);

    t = kit_tensor(&k, NULL, TAMIS_TYPE_DOUBLE, 1, (int64_t[]){2});
    t->n_double_data = 2;
    t->double_data = (double[]){0.1, 1e300};
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    expect_doubles(c, 2, (double[]){0.1, 1e300});

    t = kit_tensor(&k, NULL, TAMIS_TYPE_INT64, 1, (int64_t[]){2});
    t->n_int64_data = 2;
    t->int64_data = (int64_t[]){INT64_MIN, 7};
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    assert_memory_equal(c->data, ((int64_t[]){INT64_MIN, 7}), 16);

    t = kit_tensor(&k, NULL, TAMIS_TYPE_UINT32, 1, (int64_t[]){1});
    t->n_uint64_data = 1;
    t->uint64_data = (uint64_t[]){UINT32_MAX};
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    assert_memory_equal(c->data, ((uint32_t[]){UINT32_MAX}), 4);
    t->uint64_data[0]++;
    assert_int_equal(read_tensor(&k, t, &c), TM_E_BAD_TENSOR);
    kit_deinit(&k);
}

static void strings(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    const tm_constant *c;
    Onnx__TensorProto *t = kit_tensor(&k, NULL, TAMIS_TYPE_STRING, 1, (int64_t[]){2});
    ProtobufCBinaryData parts[2] = {{3, (uint8_t *)(uintptr_t)"a\0b"}, {0, NULL}};
    t->n_string_data = 2;
    t->string_data = parts;
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    const tamis_string *text = c->data;
    assert_int_equal(text[0].size, 3);
    assert_memory_equal(text[0].data, "a\0b", 3);
    assert_int_equal(text[1].size, 0);
    void *data;
    size_t bytes;
    const tm_datum datum = {.kind = TAMIS_KIND_TENSOR, .type = c->type, .tensor = c};
    tm_export_datum(&k.arena, "s", &datum, &data, &bytes);
    assert_int_equal(tm_import_tensor(&k.arena, &k.diagnostics, "s.pb", data, bytes, &c), TM_OK);
    assert_memory_equal(((const tamis_string *)c->data)[0].data, "a\0b", 3);
    kit_deinit(&k);
}

static void wrong_counts(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    const tm_constant *c;
    Onnx__TensorProto *t = kit_tensor(&k, NULL, TAMIS_TYPE_INT64, 1, (int64_t[]){2});
    assert_int_equal(read_tensor(&k, t, &c), TM_E_BAD_TENSOR);
    t->int64_data = (int64_t[]){1, 2, 3};
    t->n_int64_data = 1;
    assert_int_equal(read_tensor(&k, t, &c), TM_E_BAD_TENSOR);
    t->n_int64_data = 3;
    assert_int_equal(read_tensor(&k, t, &c), TM_E_BAD_TENSOR);
    t->n_int64_data = 2;
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    t->dims[0] = -2;
    assert_int_equal(read_tensor(&k, t, &c), TM_E_BAD_TENSOR);
    t->dims[0] = INT64_MAX;
    assert_int_equal(read_tensor(&k, t, &c), TM_E_LIMIT);
    t->dims[0] = 0;
    t->n_int64_data = 0;
    assert_int_equal(read_tensor(&k, t, &c), TM_OK);
    assert_int_equal(tm_constant_count(c), 0);
    kit_deinit(&k);
}

static void sparse_initializer(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    Onnx__SparseTensorProto *s = kit_new_sparse_tensor_proto(&k);
    s->values = kit_tensor(&k, "s", TAMIS_TYPE_FLOAT, 1, (int64_t[]){2});
    kit_raw(&k, s->values, 8, (float[]){7, 8});
    s->indices = kit_tensor(&k, NULL, TAMIS_TYPE_INT64, 2, (int64_t[]){2, 2});
    kit_raw(&k, s->indices, 32, (int64_t[]){0, 1, 1, 2});
    s->n_dims = 2;
    s->dims = (int64_t[]){2, 3};
    KIT_ADD(&k, k.graph, sparse_initializer, s);
    kit_output(&k, k.graph, "s");
    assert_int_equal(kit_import(&k), TM_OK);
    expect_doubles(k.result->main->outputs.items[0]->constant, 6, (double[]){0, 7, 0, 0, 0, 8});
    s->dims[1] = 2;
    assert_int_equal(kit_import(&k), TM_E_BAD_TENSOR);
    kit_deinit(&k);
}

/* Writes the value and reads it again as a value of its own form. */
static tm_datum round_trip(kit *k, const tm_datum *datum) {
    void *data;
    size_t bytes;
    tm_datum back;
    tm_export_datum(&k->arena, "d", datum, &data, &bytes);
    assert_int_equal(tm_import_datum(&k->arena, &k->diagnostics, "d.pb", datum, data, bytes, &back), TM_OK);
    assert_int_equal(back.kind, datum->kind);
    assert_int_equal(back.count, datum->count);
    return back;
}

static tm_datum of_tensor(const tm_constant *tensor) {
    return (tm_datum){.kind = TAMIS_KIND_TENSOR, .type = tensor->type, .tensor = tensor};
}

static void sequence_and_optional_round_trip(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    const tm_datum items[2] = {of_tensor(tm_constant_create_scalar(&k.arena, TAMIS_TYPE_FLOAT, 1.5)),
                               of_tensor(tm_constant_create_scalar(&k.arena, TAMIS_TYPE_FLOAT, 3))};
    tm_datum sequence = {TAMIS_KIND_SEQUENCE, TAMIS_KIND_TENSOR, TAMIS_TYPE_FLOAT, 0, NULL, 2, items};
    tm_datum back = round_trip(&k, &sequence);
    expect_doubles(back.items[0].tensor, 1, (double[]){1.5});
    expect_doubles(back.items[1].tensor, 1, (double[]){3});
    tm_datum optional = {TAMIS_KIND_OPTIONAL, TAMIS_KIND_SEQUENCE, TAMIS_TYPE_FLOAT, 0, NULL, 1, &sequence};
    back = round_trip(&k, &optional);
    expect_doubles(back.items[0].items[1].tensor, 1, (double[]){3});
    optional.item = TAMIS_KIND_TENSOR;
    optional.items = items;
    back = round_trip(&k, &optional);
    expect_doubles(back.items[0].tensor, 1, (double[]){1.5});
    optional.count = 0;
    (void)round_trip(&k, &optional);
    /* A sequence where the optional is of tensors. */
    void *data;
    size_t bytes;
    tm_datum other = {TAMIS_KIND_OPTIONAL, TAMIS_KIND_SEQUENCE, TAMIS_TYPE_FLOAT, 0, NULL, 1, &sequence};
    tm_export_datum(&k.arena, "o", &other, &data, &bytes);
    assert_int_equal(tm_import_datum(&k.arena, &k.diagnostics, "o.pb", &optional, data, bytes, &back),
                     TM_E_BAD_DATA);
    kit_deinit(&k);
}

static void maps_round_trip(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    static const int64_t dims[] = {2};
    static const tamis_string names[] = {{"a", 1}, {"b\0c", 3}};
    static const float numbers[] = {1.5f, -2};
    static const int8_t digits[] = {7, -8};
    const tm_datum by_name[2] = {of_tensor(tm_constant_create(&k.arena, TAMIS_TYPE_STRING, 1, dims, names)),
                                 of_tensor(tm_constant_create(&k.arena, TAMIS_TYPE_FLOAT, 1, dims, numbers))};
    const tm_datum by_digit[2] = {of_tensor(tm_constant_create(&k.arena, TAMIS_TYPE_INT8, 1, dims, digits)),
                                  by_name[1]};
    const tm_datum map = {
        TAMIS_KIND_MAP, TAMIS_KIND_TENSOR, TAMIS_TYPE_FLOAT, TAMIS_TYPE_STRING, NULL, 2, by_name};
    const tm_datum small = {
        TAMIS_KIND_MAP, TAMIS_KIND_TENSOR, TAMIS_TYPE_FLOAT, TAMIS_TYPE_INT8, NULL, 2, by_digit};
    tm_datum back = round_trip(&k, &map);
    assert_memory_equal(((const tamis_string *)back.items[0].tensor->data)[1].data, "b\0c", 3);
    expect_doubles(back.items[1].tensor, 2, (double[]){1.5, -2});
    assert_int_equal(back.items[1].tensor->rank, 1);
    back = round_trip(&k, &small);
    expect_doubles(back.items[0].tensor, 2, (double[]){7, -8});
    const tm_datum maps[2] = {map, map};
    const tm_datum list = {
        TAMIS_KIND_SEQUENCE, TAMIS_KIND_MAP, TAMIS_TYPE_FLOAT, TAMIS_TYPE_STRING, NULL, 2, maps};
    back = round_trip(&k, &list);
    expect_doubles(back.items[1].items[1].tensor, 2, (double[]){1.5, -2});
    /* Keys of another type, and keys without values. */
    void *data;
    size_t bytes;
    tm_export_datum(&k.arena, "m", &map, &data, &bytes);
    assert_int_equal(tm_import_datum(&k.arena, &k.diagnostics, "m.pb", &small, data, bytes, &back),
                     TM_E_BAD_DATA);
    assert_int_equal(tm_import_datum(&k.arena, &k.diagnostics, "m.pb", &map, "\x22\x01k", 3, &back),
                     TM_E_BAD_DATA);
    kit_deinit(&k);
}

/* ---- external data ---- */

typedef struct folder {
    kit k;
    char path[64];
    Onnx__TensorProto *tensor;
} folder;

static const char *beneath(folder *f, const char *name) {
    return tm_arena_format(&f->k.arena, "%s/%s", f->path, name);
}

static void write_file(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void open_folder(folder *f) {
    kit_init(&f->k, 17);
    strcpy(f->path, "/tmp/tamis-external-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    write_file(beneath(f, "data.bin"), (float[]){1, 2, 3, 4}, 16);
    f->k.options.external_folder = f->path;
    f->tensor = kit_tensor(&f->k, "w", TAMIS_TYPE_FLOAT, 1, (int64_t[]){2});
    f->tensor->has_data_location = 1;
    f->tensor->data_location = 1;
    KIT_ADD(&f->k, f->k.graph, initializer, f->tensor);
    kit_output(&f->k, f->k.graph, "w");
}

static void close_folder(folder *f) {
    assert_int_equal(system(tm_arena_format(&f->k.arena, "rm -r '%s'", f->path)), 0);
    kit_deinit(&f->k);
}

static tm_code import_external(folder *f, const char *location, const char *offset, const char *length) {
    const char *values[] = {location, offset, length};
    const char *keys[] = {"location", "offset", "length"};
    f->tensor->n_external_data = 0;
    for (int i = 0; i < 3; i++) {
        if (values[i] == NULL)
            continue;
        Onnx__StringStringEntryProto *entry = kit_new_string_string_entry_proto(&f->k);
        entry->key = kit_text(&f->k, keys[i]);
        entry->value = kit_text(&f->k, values[i]);
        KIT_ADD(&f->k, f->tensor, external_data, entry);
    }
    return kit_import(&f->k);
}

static void external_data(void **state) {
    (void)state;
    folder f;
    open_folder(&f);
    assert_int_equal(import_external(&f, "data.bin", "8", "8"), TM_OK);
    expect_doubles(f.k.result->main->outputs.items[0]->constant, 2, (double[]){3, 4});
    assert_int_equal(import_external(&f, "./data.bin", NULL, NULL), TM_OK);
    expect_doubles(f.k.result->main->outputs.items[0]->constant, 2, (double[]){1, 2});
    assert_int_equal(import_external(&f, "data.bin", "12", NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, "data.bin", "8", "4"), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, "data.bin", "18446744073709551615", NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, "data.bin", "-1", NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, "data.bin", "99999999999999999999", NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, "missing.bin", NULL, NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, "", NULL, NULL), TM_E_EXTERNAL_DATA);
    f.k.options.external_folder = NULL;
    assert_int_equal(import_external(&f, "data.bin", NULL, NULL), TM_E_EXTERNAL_DATA);
    close_folder(&f);
}

static void external_data_stays_beneath_the_folder(void **state) {
    (void)state;
    folder f;
    open_folder(&f);
    const char *inner = beneath(&f, "inner");
    assert_int_equal(system(tm_arena_format(&f.k.arena, "mkdir '%s'", inner)), 0);
    f.k.options.external_folder = inner;
    assert_int_equal(import_external(&f, "../data.bin", NULL, NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, beneath(&f, "data.bin"), NULL, NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, ".", NULL, NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(symlink("../data.bin", beneath(&f, "inner/link.bin")), 0);
    assert_int_equal(symlink("..", beneath(&f, "inner/up")), 0);
    assert_int_equal(import_external(&f, "link.bin", NULL, NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, "up/data.bin", NULL, NULL), TM_E_EXTERNAL_DATA);
    assert_int_equal(import_external(&f, "/dev/zero", NULL, NULL), TM_E_EXTERNAL_DATA);

    f.k.options.allow_links_in = f.path;
    assert_int_equal(import_external(&f, "link.bin", NULL, NULL), TM_OK);
    assert_int_equal(symlink("/etc/passwd", beneath(&f, "inner/secret")), 0);
    assert_int_equal(import_external(&f, "secret", NULL, NULL), TM_E_EXTERNAL_DATA);
    close_folder(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_data),
        cmocka_unit_test(bool_bytes_become_0_and_1),
        cmocka_unit_test(int32_data),
        cmocka_unit_test(out_of_range),
        cmocka_unit_test(other_lists),
        cmocka_unit_test(strings),
        cmocka_unit_test(wrong_counts),
        cmocka_unit_test(sparse_initializer),
        cmocka_unit_test(sequence_and_optional_round_trip),
        cmocka_unit_test(maps_round_trip),
        cmocka_unit_test(external_data),
        cmocka_unit_test(external_data_stays_beneath_the_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
