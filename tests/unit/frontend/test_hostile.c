/* SPDX-License-Identifier: Apache-2.0
 *
 * Hostile bytes: whatever they are, import returns a code with a diagnostic, quickly and in bounded
 * memory. Run under the address sanitizer these tests also see every read past the end.
 */
#include "tests/unit/frontend/kit.h"

#include <setjmp.h>

static tm_code import_bytes(kit *k, const void *bytes, size_t size) {
    return tm_import_memory(&k->arena, &k->diagnostics, "hostile.onnx", bytes, size, &k->options, &k->result);
}

/* A code always comes with a diagnostic, and success with none of an error. */
static void import_copy(const uint8_t *bytes, size_t size) {
    kit k;
    kit_init(&k, 17);
    uint8_t *copy = test_malloc(size + 1); /* exactly as long as said */
    memcpy(copy, bytes, size);
    k.options.limits.memory_bytes = 64 << 20;
    k.options.limits.tensor_bytes = 1 << 20;
    tm_code code = import_bytes(&k, copy, size);
    assert_true(code == TM_OK || k.diagnostics.list.count != 0);
    kit_deinit(&k);
    test_free(copy);
}

static void make_model(kit *k) {
    kit_init(k, 11);
    k->graph->name = kit_text(k, "sample");
    kit_input(k, k->graph, "x", TAMIS_TYPE_FLOAT, "batch,3,?");
    kit_input(k, k->graph, "c", TAMIS_TYPE_BOOL, "");
    kit_floats(k, k->graph, "w", 3, (float[]){1, 2, 3});
    Onnx__TensorProto *typed = kit_tensor(k, "t", TAMIS_TYPE_INT64, 1, (int64_t[]){2});
    typed->n_int64_data = 2;
    typed->int64_data = tm_arena_copy(&k->arena, (int64_t[]){300, -1}, 16);
    KIT_ADD(k, k->graph, initializer, typed);
    kit_int(k, kit_node(k, k->graph, "Softmax", "x", "s"), "axis", 1);
    kit_float(k, kit_node(k, k->graph, "LeakyRelu", "s", "l"), "alpha", 0.5f);
    Onnx__NodeProto *node = kit_node(k, k->graph, "If", "c", "y");
    Onnx__GraphProto *branch = kit_body(k, "branch");
    kit_node(k, branch, "Relu", "l", "r");
    kit_output(k, branch, "r");
    kit_graph(k, node, "then_branch", branch);
    kit_graph(k, node, "else_branch", branch);
    kit_output(k, k->graph, "y")->type = kit_type(k, TAMIS_TYPE_FLOAT, "a,b,c");
    kit_output(k, k->graph, "t");
    kit_pack(k);
}

static void cut_at_every_byte(void **state) {
    (void)state;
    kit k;
    make_model(&k);
    assert_int_equal(import_bytes(&k, k.bytes, k.size), TM_OK);
    for (size_t size = 0; size < k.size; size++)
        import_copy(k.bytes, size);
    kit_deinit(&k);
}

static void random_changes(void **state) {
    (void)state;
    kit k;
    make_model(&k);
    uint64_t seed = 88172645463325252u;
    uint8_t *bytes = tm_arena_alloc(&k.arena, k.size);
    for (int round = 0; round < 4000; round++) {
        memcpy(bytes, k.bytes, k.size);
        for (int change = 0; change <= round % 4; change++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes[seed % k.size] = (uint8_t)(seed >> 32);
        }
        import_copy(bytes, k.size);
    }
    kit_deinit(&k);
}

static void expect(const char *bytes, size_t size, tm_code code, const char *text) {
    kit k;
    kit_init(&k, 17);
    assert_int_equal(import_bytes(&k, bytes, size), code);
    if (strstr(kit_message(&k), text) == NULL)
        fail_msg("'%s' is not in '%s'", text, kit_message(&k));
    kit_deinit(&k);
}

#define EXPECT(bytes, code, text) expect(bytes, sizeof(bytes) - 1, code, text)

static void wire_format(void **state) {
    (void)state;
    EXPECT("", TM_E_BAD_MODEL, "no graph");
    EXPECT("\x0b\x0c", TM_E_BAD_PROTOBUF, "wire type");          /* a group */
    EXPECT("\x0e", TM_E_BAD_PROTOBUF, "wire type");              /* wire type 6 */
    EXPECT("\x00", TM_E_BAD_PROTOBUF, "number is out of range"); /* field 0 */
    EXPECT("\x08\x80", TM_E_BAD_PROTOBUF, "cut short");          /* varint without end */
    EXPECT("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", TM_E_BAD_PROTOBUF, "longer than 64 bits");
    EXPECT("\x3a\x05\x0a", TM_E_BAD_PROTOBUF, "longer than the message");
    EXPECT("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", TM_E_BAD_PROTOBUF, "longer than the message");
    EXPECT("\x38\x01", TM_E_BAD_PROTOBUF, "wrong wire type"); /* graph as a number */
    EXPECT("\x3a\x00\x3a\x00", TM_E_BAD_PROTOBUF, "occurs twice");
    EXPECT("\x3a\x05\x12\x03"
           "a\0b",
           TM_E_BAD_PROTOBUF, "NUL");
}

/* Types nested 10,000 deep are 30 to 60 KB; a recursive reader dies on them. */
static void nested_types(void **state) {
    (void)state;
    enum { LEVELS = 10000 };
    static uint8_t bytes[LEVELS * 8];
    size_t at = sizeof bytes;
    size_t length = 0;
    /* From inside out: TypeProto { optional_type(9): Optional { elem_type(1): TypeProto ... } } */
    for (int level = 0; level < LEVELS; level++) {
        uint8_t tag = level % 2 == 0 ? 0x0a : 0x4a;
        uint8_t prefix[4] = {tag, (uint8_t)(length | 0x80), (uint8_t)(length >> 7 | 0x80),
                             (uint8_t)(length >> 14)};
        at -= sizeof prefix;
        memcpy(bytes + at, prefix, sizeof prefix);
        length += sizeof prefix;
    }
    kit k;
    kit_init(&k, 17);
    tm_text text;
    tm_text_init(&text, &k.arena);
    size_t type = length + 4;
    size_t info = type + 4;
    uint8_t head[12] = {
        0x3a, (uint8_t)(info | 0x80),   (uint8_t)(info >> 7 | 0x80),   (uint8_t)(info >> 14),
        0x5a, (uint8_t)(type | 0x80),   (uint8_t)(type >> 7 | 0x80),   (uint8_t)(type >> 14),
        0x12, (uint8_t)(length | 0x80), (uint8_t)(length >> 7 | 0x80), (uint8_t)(length >> 14)};
    tm_text_add_bytes(&text, head, sizeof head);
    tm_text_add_bytes(&text, bytes + at, length);
    assert_int_equal(import_bytes(&k, text.data, text.size), TM_E_LIMIT);
    assert_non_null(strstr(kit_message(&k), "nested too deep"));
    assert_non_null(strstr(k.diagnostics.list.items[0].hint, "--limit-depth"));
    kit_deinit(&k);
}

/* 4 MB of empty nodes: two bytes each in the file, hundreds in memory. */
static void amplification(void **state) {
    (void)state;
    enum { NODES = 2 << 20 };
    kit k;
    kit_init(&k, 17);
    size_t inner = (size_t)NODES * 2;
    uint8_t *bytes = tm_arena_alloc(&k.arena, inner + 6);
    uint8_t head[6] = {0x3a,
                       (uint8_t)(inner | 0x80),
                       (uint8_t)(inner >> 7 | 0x80),
                       (uint8_t)(inner >> 14 | 0x80),
                       (uint8_t)(inner >> 21 | 0x80),
                       0};
    memcpy(bytes, head, sizeof head);
    for (size_t i = 0; i < NODES; i++)
        bytes[6 + 2 * i] = 0x0a;
    k.options.limits.memory_bytes = 100 << 20;
    assert_int_equal(import_bytes(&k, bytes, inner + 6), TM_E_LIMIT);
    assert_non_null(strstr(k.diagnostics.list.items[0].hint, "--limit-memory-bytes"));
    k.options.limits.memory_bytes = (int64_t)4 << 30;
    k.options.limits.nodes = 1000;
    k.diagnostics.list.count = 0;
    assert_int_equal(import_bytes(&k, bytes, inner + 6), TM_E_LIMIT);
    assert_non_null(strstr(k.diagnostics.list.items[0].hint, "--limit-nodes"));
    kit_deinit(&k);
}

static void other_limits(void **state) {
    (void)state;
    static const struct {
        size_t offset;
        const char *flag;
    } cases[] = {
        {offsetof(tm_import_limits, initializers), "--limit-initializers"},
        {offsetof(tm_import_limits, file_bytes), "--limit-file-bytes"},
        {offsetof(tm_import_limits, tensor_bytes), "--limit-tensor-bytes"},
        {offsetof(tm_import_limits, memory_bytes), "--limit-memory-bytes"},
        {offsetof(tm_import_limits, name_bytes), "--limit-name-bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kit k;
        make_model(&k);
        int64_t one = 1;
        memcpy((char *)&k.options.limits + cases[i].offset, &one, sizeof one);
        assert_int_equal(import_bytes(&k, k.bytes, k.size), TM_E_LIMIT);
        assert_non_null(strstr(k.diagnostics.list.items[0].hint, cases[i].flag));
        kit_deinit(&k);
    }
}

/* Every allocation fails once: import must jump to the recovery point and leave nothing behind. */
static void failing_allocations(void **state) {
    (void)state;
    kit k;
    make_model(&k);
    static size_t limit; /* static: survives the jump */
    static bool done;
    done = false;
    for (limit = 256; !done; limit += 512) {
        tm_arena arena;
        tm_diagnostics diagnostics;
        tm_model *model = NULL;
        tm_arena_init(&arena);
        arena.limit = limit;
        if (setjmp(arena.recovery) != 0) {
            tm_arena_deinit(&arena);
            continue;
        }
        arena.has_recovery = true;
        tm_diagnostics_init(&diagnostics, &arena);
        done = tm_import_memory(&arena, &diagnostics, "m.onnx", k.bytes, k.size, &k.options, &model) == TM_OK;
        assert_true(done);
        tm_arena_deinit(&arena);
    }
    kit_deinit(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_at_every_byte),   cmocka_unit_test(random_changes),
        cmocka_unit_test(wire_format),         cmocka_unit_test(nested_types),
        cmocka_unit_test(amplification),       cmocka_unit_test(other_limits),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
