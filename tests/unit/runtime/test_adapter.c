/* SPDX-License-Identifier: Apache-2.0
 *
 * Adapters on an artifact written by hand, with one slot f32[3, 2] that is read in three forms: as it is, as
 * panels of two columns of its transpose, and as a convolution's weights in two groups, channels last.
 * execute() copies what it reads to the output.
 */
#include "runtime/runtime_internal.h"
#include "tamis/runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PLAIN, TURNED, GROUPS, OUTPUT, VALUE_COUNT };
enum { PLAIN_COUNT = 6, TURNED_COUNT = 8, GROUPS_COUNT = 8, ALL = PLAIN_COUNT + TURNED_COUNT + GROUPS_COUNT };

static const tm_value_info infos[VALUE_COUNT] = {
    [PLAIN] =
        {.argument = 0, .dims_offset = 0, .rank = 2, .type = 1, .kind = 1, .storage = TM_STORAGE_CONSTANT},
    [TURNED] =
        {.argument = 64, .dims_offset = 0, .rank = 2, .type = 1, .kind = 1, .storage = TM_STORAGE_CONSTANT},
    [GROUPS] =
        {.argument = 128, .dims_offset = 0, .rank = 2, .type = 1, .kind = 1, .storage = TM_STORAGE_CONSTANT},
    [OUTPUT] = {
        .argument = 0, .dims_offset = 2, .rank = 1, .type = 1, .kind = 1, .storage = TM_STORAGE_OUTPUT}};
static const int64_t dims_template[] = {3, 2, ALL};
static _Alignas(TAMIS_ALIGNMENT) const float own[48] = {[0] = -1, [16] = -2, [32] = -3};
static const int64_t slot_dims[] = {3, 2}, output_dims[] = {ALL};
static const char *const slot_texts[] = {"3", "2"}, *const output_texts[] = {"22"}, *const levels[] = {"any"};
static const tamis_port slots[] = {
    {.name = "w", .value = -1, .rank = 2, .type = 1, .kind = 1, .dims = slot_dims, .dim_texts = slot_texts}};
static const tamis_port outputs[] = {{.name = "y",
                                      .value = OUTPUT,
                                      .rank = 1,
                                      .type = 1,
                                      .kind = 1,
                                      .dims = output_dims,
                                      .dim_texts = output_texts}};
static const tm_slot_form forms[] = {
    {.slot = 0, .value = PLAIN, .bytes = PLAIN_COUNT * 4},
    /* [2, 3]: rows 0, 1 of columns 0, 1; then of column 2 and none */
    {.slot = 0,
     .value = TURNED,
     .bytes = TURNED_COUNT * 4,
     .groups = 1,
     .columns = 3,
     .outer = 1,
     .inner = 2,
     .column_step = 2,
     .inner_step = 1,
     .panel = 2},
    /* [2, 1, 3] as two groups of a filter with a channel of three taps, cut to two of them */
    {.slot = 0,
     .value = GROUPS,
     .bytes = GROUPS_COUNT * 4,
     .groups = 2,
     .columns = 1,
     .outer = 2,
     .inner = 1,
     .group_step = 3,
     .column_step = 3,
     .outer_step = 1,
     .inner_step = 2,
     .panel = 2}};

static int32_t any_level(void) {
    return 0;
}

static int32_t prepare(tm_run *run) {
    run->workspace_bytes = 0;
    return 0;
}

static int32_t execute(tm_run *run) {
    float *y = run->values[OUTPUT].data;
    memcpy(y, run->values[PLAIN].data, PLAIN_COUNT * 4);
    memcpy(y + PLAIN_COUNT, run->values[TURNED].data, TURNED_COUNT * 4);
    memcpy(y + PLAIN_COUNT + TURNED_COUNT, run->values[GROUPS].data, GROUPS_COUNT * 4);
    return 0;
}

static const tamis_artifact artifact = {.magic = TAMIS_MAGIC,
                                        .abi_version = TAMIS_ABI_VERSION,
                                        .struct_bytes = sizeof(tamis_artifact),
                                        .level_count = 1,
                                        .name = "slots",
                                        .producer = "by hand",
                                        .target = "any",
                                        .levels = levels,
                                        .output_count = 1,
                                        .outputs = outputs,
                                        .value_count = VALUE_COUNT,
                                        .dims_count = 3,
                                        .slot_dims = 3,
                                        .value_infos = infos,
                                        .dims_template = dims_template,
                                        .node_names = "",
                                        .weights = (const uint8_t *)own,
                                        .weights_bytes = sizeof own,
                                        .stored_bytes = sizeof own,
                                        .cpu_level = any_level,
                                        .prepare = prepare,
                                        .execute = execute,
                                        .weight_slot_count = 1,
                                        .slot_form_count = 3,
                                        .weight_slots = slots,
                                        .slot_forms = forms};

typedef struct fixture {
    tamis_model *model;
    tamis_session *session;
    tamis_adapter *adapter;
    tamis_error error;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    return f == NULL || tamis_model_create(&artifact, &f->model, &f->error) != 0 ||
           tamis_session_create(f->model, NULL, &f->session, &f->error) != 0 ||
           tamis_adapter_create(f->model, &f->adapter, &f->error) != 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    tamis_session_destroy(f->session);
    tamis_adapter_destroy(f->adapter);
    tamis_model_destroy(f->model);
    free(f);
    return 0;
}

static const float *answer(fixture *f, tamis_session *session) {
    assert_int_equal(tamis_session_run(session, &f->error), 0);
    return tamis_session_output(session, 0)->data;
}

static int set(fixture *f, const float *data) {
    return tamis_adapter_set(f->adapter, 0, TAMIS_TYPE_FLOAT, 2, slot_dims, data, &f->error);
}

static void lays_out_all_forms(void **state) {
    fixture *f = *state;
    float w[6] = {1, 2, 3, 4, 5, 6};
    static const float expected[ALL] = {1, 2, 3, 4, 5, 6,       /* as it is */
                                        1, 3, 2, 4, 5, 0, 6, 0, /* panels of the transpose */
                                        1, 0, 2, 0, 4, 0, 5, 0};
    assert_int_equal(set(f, w), 0);
    memset(w, 0, sizeof w); /* it was copied */
    assert_int_equal(tamis_session_set_adapter(f->session, f->adapter, &f->error), 0);
    assert_memory_equal(answer(f, f->session), expected, sizeof expected);
}

static void sessions_keep_what_they_have(void **state) {
    fixture *f = *state;
    tamis_session *other;
    static const float w[6] = {7, 8, 9, 10, 11, 12}, v[6] = {5};
    assert_int_equal(tamis_session_create(f->model, NULL, &other, &f->error), 0);
    assert_true(answer(f, f->session)[0] == -1);
    assert_int_equal(tamis_session_set_adapter(f->session, f->adapter, &f->error), 0);
    assert_true(answer(f, f->session)[0] == -1); /* nothing is set */
    assert_int_equal(set(f, w), 0);
    assert_true(answer(f, f->session)[0] == 7 && answer(f, other)[0] == -1);
    assert_int_equal(set(f, v), 0);
    assert_true(answer(f, f->session)[0] == 5);
    assert_int_equal(set(f, NULL), 0);
    assert_true(answer(f, f->session)[0] == -1 && answer(f, f->session)[PLAIN_COUNT] == -2);
    assert_int_equal(set(f, w), 0);
    assert_int_equal(tamis_session_set_adapter(f->session, NULL, &f->error), 0);
    assert_true(answer(f, f->session)[0] == -1);
    tamis_session_destroy(other);
}

static void refuses_what_does_not_fit(void **state) {
    fixture *f = *state;
    static const float w[8] = {1};
    const int64_t wide[] = {3, 3};
    assert_int_equal(tamis_model_find_slot(f->model, "w"), 0);
    assert_int_equal(tamis_model_find_slot(f->model, "v"), -1);
    assert_int_equal(set(f, w), 0);
    assert_int_equal(tamis_adapter_set(f->adapter, 1, TAMIS_TYPE_FLOAT, 2, slot_dims, w, &f->error),
                     TM_HOST_USAGE);
    assert_non_null(strstr(f->error.message, "no slot 1"));
    assert_int_equal(tamis_adapter_set(f->adapter, -1, TAMIS_TYPE_FLOAT, 2, slot_dims, w, NULL),
                     TM_HOST_USAGE);
    assert_int_equal(tamis_adapter_set(f->adapter, 0, TAMIS_TYPE_DOUBLE, 2, slot_dims, w, &f->error),
                     TM_HOST_RUN);
    assert_non_null(strstr(f->error.message, "slot 0 'w' have the wrong type"));
    assert_int_equal(tamis_adapter_set(f->adapter, 0, TAMIS_TYPE_FLOAT, 1, slot_dims, w, &f->error),
                     TM_HOST_RUN);
    assert_int_equal(tamis_adapter_set(f->adapter, 0, TAMIS_TYPE_FLOAT, 2, wide, w, &f->error), TM_HOST_RUN);
    assert_non_null(strstr(f->error.message, "expected f32[3, 2]"));
    assert_int_equal(tamis_session_set_adapter(f->session, f->adapter, &f->error), 0);
    assert_true(answer(f, f->session)[0] == 1); /* as before */
    tamis_model *second;
    tamis_adapter *foreign;
    assert_int_equal(tamis_model_create(&artifact, &second, &f->error), 0);
    assert_int_equal(tamis_adapter_create(second, &foreign, &f->error), 0);
    assert_int_equal(tamis_session_set_adapter(f->session, foreign, &f->error), TM_HOST_USAGE);
    assert_true(answer(f, f->session)[0] == 1);
    tamis_adapter_destroy(foreign);
    tamis_adapter_destroy(NULL);
    tamis_model_destroy(second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lays_out_all_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_keep_what_they_have, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_does_not_fit, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
