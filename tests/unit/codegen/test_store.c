/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of coded weights below the command: what the coder writes is what the artifact's decoder reads, for
 * elements of every size and for streams that make carries run; forms are found only where each bit follows
 * from them.
 */
#include "codegen/store.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/arena_fixture.h"

static uint64_t seed = 1;

static uint64_t draw(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x9e3779b97f4a7c15u >> 11;
}

static void collect(const tm_pieces *pieces, uint8_t **to) {
    for (size_t i = 0; i < pieces->list.count; i++) {
        size_t bytes;
        const uint8_t *data = tm_pieces_get(pieces, i, &bytes);
        memcpy(*to, data, bytes);
        *to += bytes;
    }
}

/* What an artifact with the records would hold. */
static tamis_artifact artifact_of(tm_coder *coder, uint32_t records, int64_t weights_bytes) {
    tm_coder_end(coder);
    tm_stored_header header = {.records = records,
                               .raw_bytes = (uint64_t)coder->raw.bytes,
                               .stream_bytes = (uint64_t)coder->stream.bytes};
    size_t bytes = (size_t)(coder->raw.bytes + coder->stream.bytes);
    uint8_t *blob = tm_arena_alloc(&arena, sizeof header + bytes + 8), *to = blob + sizeof header;
    collect(&coder->raw, &to);
    collect(&coder->stream, &to);
    header.check = tm_stored_check(&header);
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = 0;
        memcpy(&word, blob + sizeof header + i, bytes - i < 8 ? bytes - i : 8);
        header.check = tm_stored_mix(header.check, word);
    }
    memcpy(blob, &header, sizeof header);
    return (tamis_artifact){
        .weights = blob, .stored_bytes = (int64_t)(sizeof header + bytes), .weights_bytes = weights_bytes};
}

static void begin_record(tm_coder *coder, tm_stored_form form, int64_t gap, const tm_stored_values *v) {
    tm_coder_number(coder, form);
    tm_coder_number(coder, gap);
    tm_coder_number(coder, v->count);
    tm_coder_number(coder, v->size);
}

static tm_stored_values values(const void *data, tamis_type type, int64_t count, int size, int64_t columns) {
    return (tm_stored_values){.data = data,
                              .type = type,
                              .count = count,
                              .size = size,
                              .columns = columns,
                              .rows = count / columns,
                              .is_table = true};
}

/* Codes each as it stands and compares. */
static void check_plain(const tm_stored_values *list, size_t count) {
    tm_coder *coder = TM_NEW(&arena, tm_coder);
    int64_t total = 0;
    tm_coder_init(coder, &arena);
    for (size_t i = 0; i < count; i++) {
        tm_form plain = {.form = TM_STORED_PLAIN};
        begin_record(coder, TM_STORED_PLAIN, (int64_t)(i % 3), &list[i]);
        tm_form_put(coder, &list[i], &plain);
        total += (int64_t)(i % 3) + list[i].count * list[i].size;
    }
    tamis_artifact artifact = artifact_of(coder, (uint32_t)count, total);
    uint8_t *found = tm_arena_alloc(&arena, (size_t)total + 1), *at = found;
    assert_int_equal(tm_unpack(&artifact, found), 0);
    for (size_t i = 0; i < count; i++) {
        at += i % 3;
        assert_memory_equal(at, list[i].data, (size_t)(list[i].count * list[i].size));
        at += list[i].count * list[i].size;
    }
}

static void elements_of_all_sizes(void **state) {
    (void)state;
    tm_stored_values list[48];
    size_t count = 0;
    static const tamis_type types[] = {TAMIS_TYPE_UINT8, TAMIS_TYPE_FLOAT16, TAMIS_TYPE_FLOAT,
                                       TAMIS_TYPE_DOUBLE};
    for (int kind = 0; kind < 3; kind++)
        for (int log = 0; log < 4; log++)
            for (int64_t n = 1; n < 4000; n = n * 7 + 1) {
                uint8_t *data = tm_arena_alloc(&arena, (size_t)n << log);
                for (int64_t i = 0; i < n << log; i++) /* noise; few zeros; many zeros */
                    data[i] = kind == 0                            ? (uint8_t)draw()
                              : draw() % (kind == 1 ? 3 : 20) == 0 ? (uint8_t)draw()
                                                                   : 0;
                list[count++] = values(data, types[log], n, 1 << log, n > 10 ? 7 : 1);
                if (count == 48) {
                    check_plain(list, count);
                    count = 0;
                }
            }
    if (count > 0)
        check_plain(list, count);
}

/* Values whose share is nearly all keep `low` near the top for long. */
static void carries(void **state) {
    (void)state;
    for (int round = 0; round < 40; round++) {
        int64_t n = 3000;
        uint8_t *data = tm_arena_alloc(&arena, (size_t)n);
        memset(data, round % 2 == 0 ? 0xff : 0x0f, (size_t)n);
        for (int64_t i = 0; i < round * 3; i++)
            data[draw() % (uint64_t)n] = (uint8_t)draw();
        tm_stored_values v = values(data, TAMIS_TYPE_UINT8, n, 1, 50);
        check_plain(&v, 1);
    }
}

static void numbers(void **state) {
    (void)state;
    static const int64_t list[] = {0,   1,    -1,        63,        64,        -64,
                                   -65, 8191, INT32_MAX, INT64_MAX, INT64_MIN, 1ll << 40};
    tm_coder *coder = TM_NEW(&arena, tm_coder);
    tm_stored_values v = values(NULL, TAMIS_TYPE_INT64, 1, 8, 1);
    size_t count = sizeof list / sizeof *list;
    tm_coder_init(coder, &arena);
    for (size_t i = 0; i < count; i++) {
        tm_form range = {.form = TM_STORED_RANGE, .start = list[i], .inner = 1, .length = 1};
        begin_record(coder, TM_STORED_RANGE, 0, &v);
        tm_form_put(coder, &v, &range);
    }
    tamis_artifact artifact = artifact_of(coder, (uint32_t)count, (int64_t)sizeof list);
    int64_t found[sizeof list / sizeof *list];
    assert_int_equal(tm_unpack(&artifact, found), 0);
    assert_memory_equal(found, list, sizeof list);
}

static void damage(void **state) {
    (void)state;
    tm_coder *coder = TM_NEW(&arena, tm_coder);
    float data[100];
    for (int i = 0; i < 100; i++)
        data[i] = (float)(int64_t)(draw() % 1000) * 0.37f;
    tm_stored_values v = values(data, TAMIS_TYPE_FLOAT, 100, 4, 10);
    tm_coder_init(coder, &arena);
    tm_form plain = {.form = TM_STORED_PLAIN};
    begin_record(coder, TM_STORED_PLAIN, 0, &v);
    tm_form_put(coder, &v, &plain);
    tamis_artifact artifact = artifact_of(coder, 1, 400);
    float found[100];
    for (int64_t i = 0; i < artifact.stored_bytes; i++) {
        if (i >= 12 && i < 16) /* reserved */
            continue;
        ((uint8_t *)(uintptr_t)artifact.weights)[i] ^= 16;
        assert_int_equal(tm_unpack(&artifact, found), TM_RUN_DAMAGED);
        ((uint8_t *)(uintptr_t)artifact.weights)[i] ^= 16;
    }
    artifact.stored_bytes--;
    assert_int_equal(tm_unpack(&artifact, found), TM_RUN_DAMAGED);
    artifact.stored_bytes++;
    assert_int_equal(tm_unpack(&artifact, found), 0);
    assert_memory_equal(found, data, sizeof data);
}

static void rounding(void **state) {
    (void)state;
    float x[] = {1.0f / 3, -2.5f, 1e-9f, 60000};
    assert_true(tm_storage_round(TM_STORAGE_FLOAT16, 0, x, 4));
    assert_true(x[0] == (float)(_Float16)(1.0f / 3) && x[1] == -2.5f && x[2] == 0 && x[3] == 60000);
    float large[] = {1, 70000}, tiny[] = {1e-6f, 1e-5f}, brain[] = {1.0039062f, INFINITY};
    assert_false(tm_storage_round(TM_STORAGE_FLOAT16, 0, large, 2));
    assert_false(tm_storage_round(TM_STORAGE_FLOAT16, 0, tiny, 2));
    assert_false(tm_storage_round(TM_STORAGE_BFLOAT16, 0, brain, 2));
    assert_true(large[1] == 70000 && tiny[0] == 1e-6f && isinf(brain[1]));
    float steps[] = {0.9f, -0.26f, 0.1f};
    assert_true(tm_storage_round(TM_STORAGE_STEPS, 0.25f, steps, 3));
    assert_true(steps[0] == 1 && steps[1] == -0.25f && steps[2] == 0 && !signbit(steps[2]));
    assert_false(tm_storage_round(TM_STORAGE_STEPS, 1e-8f, steps, 3)); /* more than int16 holds */
}

/* Every scale from 1 to all of its integers; one element that is a bit off spoils it. */
static void integers_times_scales(void **state) {
    (void)state;
    float data[64];
    tm_form form;
    for (int round = 0; round < 200; round++) {
        float scale = (float)(1e-3 + (double)(draw() % 100000) * 1e-5);
        int most = 3 + (int)(draw() % 125);
        for (int i = 0; i < 64; i++)
            data[i] = (float)((int64_t)(draw() % (uint64_t)(2 * most + 1)) - most) * scale;
        data[5] = (float)most * scale;
        tm_stored_values v = values(data, TAMIS_TYPE_FLOAT, 64, 4, 64);
        assert_true(tm_form_find_linear(&arena, &v, &form));
        for (int i = 0; i < 64; i++) {
            float made = (float)((const int8_t *)form.integers)[i] * form.scales[0];
            assert_memory_equal(&made, &data[i], 4);
        }
    }
    data[7] = nextafterf(data[7] + 0.001f, 1);
    data[9] = nextafterf(data[9], 1);
    tm_stored_values v = values(data, TAMIS_TYPE_FLOAT, 64, 4, 64);
    assert_false(tm_form_find_linear(&arena, &v, &form));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(elements_of_all_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(carries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rounding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(integers_times_scales, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
