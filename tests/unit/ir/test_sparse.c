/* SPDX-License-Identifier: Apache-2.0
 *
 * The packed form of weights that are mostly zero: the bytes of small matrices, written out, and of large
 * ones that reading the lists gives the matrix back.
 */
#include "ir/sparse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/arena_fixture.h"

#define LISTS (TM_SPARSE_PANEL / TM_SPARSE_PAIR)

static tm_constant matrix(tamis_type type, int64_t rows, int64_t columns, const void *data) {
    int64_t *dims = tm_arena_copy(&arena, (int64_t[]){rows, columns}, 2 * sizeof(int64_t));
    return (tm_constant){.type = type, .rank = 2, .dims = dims, .data = data};
}

/* 61 columns that do not exist, and one without groups, come in front of those with one group each. */
static void bytes_of_a_small_matrix(void **state) {
    (void)state;
    static const int8_t weights[8][3] = {{0, 1, 0}, {0, 2, 0}, {0, 3, 0}, {0, -4, 0},
                                         {5, 0, 0}, {6, 0, 0}, {7, 0, 0}, {-8, 0, 0}};
    static const uint8_t last[] = {1, 0, 1, 5, 6, 7, 0xf8, 1, 2, 3, 0xfc, 1, 0};
    tm_constant constant = matrix(TAMIS_TYPE_INT8, 8, 3, weights);
    assert_int_equal(tm_sparse_groups(&constant), 6);
    assert_int_equal(tm_sparse_filled_groups(&constant), 2);
    const tm_sparse *sparse = tm_sparse_pack(&arena, &constant);
    assert_int_equal(sparse->bytes, TM_SPARSE_PLACE + (LISTS - 1) * TM_SPARSE_HEAD + sizeof(last));
    int64_t place;
    memcpy(&place, sparse->data, sizeof(place));
    assert_int_equal(place, TM_SPARSE_PLACE);
    static const uint8_t first[] = {0, 2, 3, 0, 4, 5};
    assert_memory_equal(sparse->data + TM_SPARSE_PLACE, first, sizeof(first));
    assert_memory_equal(sparse->data + sparse->bytes - sizeof(last), last, sizeof(last));
}

/* 128 is the zero of unsigned weights; terms beyond the last row are zeros, and so is what the shorter of two
 * columns lacks. */
static void unsigned_weights_and_a_short_column(void **state) {
    (void)state;
    static const uint8_t weights[5][2] = {{128, 129}, {128, 128}, {128, 128}, {128, 128}, {138, 127}};
    static const uint8_t last[] = {2, 0, 1, 10, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 1};
    tm_constant constant = matrix(TAMIS_TYPE_UINT8, 5, 2, weights);
    assert_int_equal(tm_sparse_filled_groups(&constant), 3);
    const tm_sparse *sparse = tm_sparse_pack(&arena, &constant);
    assert_memory_equal(sparse->data + sparse->bytes - sizeof(last), last, sizeof(last));
}

/* Reads all lists back into a matrix of [groups * 4, columns]; returns the end of what was read. */
static const uint8_t *unpack(const tm_sparse *sparse, int64_t groups, int64_t columns, uint8_t *out) {
    const uint8_t *at = sparse->data;
    for (int64_t panel = 0; panel * TM_SPARSE_PANEL < columns; panel++) {
        int64_t place;
        memcpy(&place, sparse->data + panel * TM_SPARSE_PLACE, sizeof(place));
        at = sparse->data + place;
        for (int64_t list = 0; list < (groups + TM_SPARSE_CHUNK - 1) / TM_SPARSE_CHUNK * LISTS; list++) {
            const uint8_t *record = at + TM_SPARSE_HEAD;
            for (int i = 0; i < at[0]; i++, record += TM_SPARSE_RECORD)
                for (int which = 0; which < TM_SPARSE_PAIR; which++) {
                    int64_t column = panel * TM_SPARSE_PANEL + at[1 + which];
                    int64_t group = list / LISTS * TM_SPARSE_CHUNK + record[TM_SPARSE_PAIR * 4 + which];
                    assert_true(group < groups);
                    for (int k = 0; k < 4; k++)
                        if (record[which * 4 + k] != 0) {
                            assert_true(column < columns);
                            out[(group * 4 + k) * columns + column] = record[which * 4 + k];
                        }
                }
            at = record;
        }
    }
    return at;
}

static void lists_give_the_matrix_back(void **state) {
    (void)state;
    static const int64_t sizes[][2] = {{1, 1}, {4, 64}, {384, 65}, {388, 2}, {769, 130}};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        int64_t rows = sizes[s][0], columns = sizes[s][1], groups = (rows + 3) / 4;
        uint8_t *weights = tm_arena_alloc(&arena, (size_t)(groups * 4 * columns));
        uint8_t *back = tm_arena_alloc(&arena, (size_t)(groups * 4 * columns));
        unsigned random = 1;
        for (int64_t i = 0; i < rows * columns; i++) {
            int64_t group = i / columns / 4, column = i % columns;
            random = random * 1103515245 + 12345;
            if ((group * 7 + column * 3) % 5 == 0 || column == 1)
                weights[i] = (uint8_t)(random >> 16);
        }
        tm_constant constant = matrix(TAMIS_TYPE_INT8, rows, columns, weights);
        const tm_sparse *sparse = tm_sparse_pack(&arena, &constant);
        assert_ptr_equal(unpack(sparse, groups, columns, back), sparse->data + sparse->bytes);
        assert_memory_equal(back, weights, (size_t)(groups * 4 * columns));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_of_a_small_matrix, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unsigned_weights_and_a_short_column, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_give_the_matrix_back, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
