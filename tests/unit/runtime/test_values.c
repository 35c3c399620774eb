/* SPDX-License-Identifier: Apache-2.0
 *
 * Inputs and outputs that are no tensors, on an artifact written by hand whose outputs are its inputs:
 *
 *     main(%m: sequence map(string) f32[], %o: optional sequence f32[?, 2]) { return %m, %o }
 *
 * How a caller describes such values, what is checked, and what comes back.
 */
#include "runtime/runtime_internal.h"
#include "runtime/support.h"
#include "tamis/runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { MAPS, OPTIONAL, VALUE_COUNT = 4 };

#define MAPS_INFO                                                                              \
    .rank = -1, .type = TAMIS_TYPE_FLOAT, .kind = TAMIS_KIND_SEQUENCE, .item = TAMIS_KIND_MAP, \
    .key = TAMIS_TYPE_STRING
#define OPTIONAL_INFO \
    .rank = -1, .type = TAMIS_TYPE_FLOAT, .kind = TAMIS_KIND_OPTIONAL, .item = TAMIS_KIND_SEQUENCE

static const tm_value_info infos[VALUE_COUNT] = {
    {MAPS_INFO, .argument = 0, .storage = TM_STORAGE_INPUT},
    {OPTIONAL_INFO, .argument = 1, .storage = TM_STORAGE_INPUT},
    {MAPS_INFO, .storage = TM_STORAGE_NONE},
    {OPTIONAL_INFO, .storage = TM_STORAGE_NONE},
};
static const int64_t item_dims[] = {-1, 2};
static const char *const item_texts[] = {"?", "2"};

static const tamis_port inputs[] = {{.name = "m",
                                     .value = 0,
                                     .type = TAMIS_TYPE_FLOAT,
                                     .kind = TAMIS_KIND_SEQUENCE,
                                     .item = TAMIS_KIND_MAP,
                                     .key = TAMIS_TYPE_STRING},
                                    {.name = "o",
                                     .value = 1,
                                     .rank = 2,
                                     .type = TAMIS_TYPE_FLOAT,
                                     .kind = TAMIS_KIND_OPTIONAL,
                                     .item = TAMIS_KIND_SEQUENCE,
                                     .dims = item_dims,
                                     .dim_texts = item_texts}};

static int32_t cpu_level(void) {
    return 0;
}

static int32_t prepare(tm_run *run) {
    run->workspace_bytes = 0;
    return 0;
}

static int32_t execute(tm_run *run) {
    run->values[2].data = run->values[0].data;
    run->values[3].data = run->values[1].data;
    return 0;
}

typedef struct fixture {
    tamis_port outputs[2];
    tamis_artifact artifact;
    tamis_model *model;
    tamis_session *session;
    tamis_error error;
} fixture;

static int setup(void **state) {
    static fixture f;
    static const int64_t no_dims[1];
    static const char *const levels[] = {"any"};
    memset(&f, 0, sizeof f);
    for (int i = 0; i < 2; i++) {
        f.outputs[i] = inputs[i];
        f.outputs[i].value = i + 2;
        f.outputs[i].late = 1;
    }
    f.artifact = (tamis_artifact){.magic = TAMIS_MAGIC,
                                  .abi_version = TAMIS_ABI_VERSION,
                                  .struct_bytes = sizeof(tamis_artifact),
                                  .level_count = 1,
                                  .name = "values",
                                  .producer = "by hand",
                                  .target = "any",
                                  .levels = levels,
                                  .input_count = 2,
                                  .output_count = 2,
                                  .inputs = inputs,
                                  .outputs = f.outputs,
                                  .value_count = VALUE_COUNT,
                                  .value_infos = infos,
                                  .dims_template = no_dims,
                                  .node_names = "",
                                  .cpu_level = cpu_level,
                                  .prepare = prepare,
                                  .execute = execute};
    *state = &f;
    return tamis_model_create(&f.artifact, &f.model, &f.error) != 0 ||
           tamis_session_create(f.model, NULL, &f.session, &f.error) != 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    tamis_session_destroy(f->session);
    tamis_model_destroy(f->model);
    return 0;
}

static tamis_tensor list(int kind, const tamis_tensor *items, int64_t *count) {
    return (tamis_tensor){.data = (void *)(uintptr_t)items, .dims = count, .rank = 1, .kind = (uint8_t)kind};
}

static tamis_tensor tensor(int type, const void *data, int rank, int64_t *dims) {
    return (tamis_tensor){
        .data = (void *)(uintptr_t)data, .dims = dims, .rank = rank, .type = (uint8_t)type};
}

static int64_t zero = 0, one = 1, two = 2, three = 3;
static const tamis_string names[] = {{"a", 1}, {"bc", 2}};
static const float numbers[] = {1, 2, 3, 4, 5, 6};

static void values_come_back(void **state) {
    fixture *f = *state;
    int64_t entries = 2, dims[2] = {3, 2}, count = 0;
    tamis_tensor map[2] = {tensor(TAMIS_TYPE_STRING, names, 1, &entries),
                           tensor(TAMIS_TYPE_FLOAT, numbers, 1, &entries)};
    tamis_tensor maps[2] = {list(TAMIS_KIND_MAP, map, &two), list(TAMIS_KIND_MAP, NULL, &zero)};
    tamis_tensor value = list(TAMIS_KIND_SEQUENCE, maps, &two);
    tamis_tensor item = tensor(TAMIS_TYPE_FLOAT, numbers, 2, dims);
    assert_int_equal(tamis_session_set_input_value(f->session, 0, &value, &f->error), 0);
    assert_int_equal(tamis_session_set_input_optional_sequence(f->session, 1, &item, 1, &f->error), 0);
    entries = dims[0] = 77; /* dims and records were copied */
    memset(map, 0, sizeof map);
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);

    const tamis_tensor *rows = tamis_tensor_items(tamis_session_output(f->session, 0), &count);
    assert_int_equal(count, 2);
    assert_int_equal(rows[0].kind, TAMIS_KIND_MAP);
    assert_int_equal(rows[0].key, TAMIS_TYPE_STRING);
    const tamis_tensor *parts = tamis_tensor_items(&rows[0], &count);
    assert_int_equal(count, 2);
    assert_int_equal(parts[0].dims[0], 2);
    assert_ptr_equal(parts[0].data, names); /* elements were not */
    assert_ptr_equal(parts[1].data, numbers);
    assert_null(tamis_tensor_items(&rows[1], &count));
    assert_int_equal(count, 0);

    const tamis_tensor *element = tamis_tensor_items(tamis_session_output(f->session, 1), &count);
    assert_int_equal(count, 1);
    assert_int_equal(element->kind, TAMIS_KIND_SEQUENCE);
    const tamis_tensor *found = tamis_tensor_items(element, &count);
    assert_int_equal(count, 1);
    assert_int_equal(found->dims[0], 3);
}

static void an_optional_may_be_empty_or_hold_nothing(void **state) {
    fixture *f = *state;
    int64_t count = 7;
    tamis_tensor none = list(TAMIS_KIND_OPTIONAL, NULL, &zero), maps = list(TAMIS_KIND_SEQUENCE, NULL, &zero);
    assert_int_equal(tamis_session_set_input_value(f->session, 0, &maps, &f->error), 0);
    assert_int_equal(tamis_session_set_input_value(f->session, 1, &none, &f->error), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
    assert_null(tamis_tensor_items(tamis_session_output(f->session, 1), &count));
    assert_int_equal(count, 0);
    assert_int_equal(tamis_session_set_input_optional_sequence(f->session, 1, NULL, 0, &f->error), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
    const tamis_tensor *element = tamis_tensor_items(tamis_session_output(f->session, 1), &count);
    assert_int_equal(count, 1);
    (void)tamis_tensor_items(element, &count);
    assert_int_equal(count, 0);
}

static void refuse(fixture *f, int input, const tamis_tensor *value, const char *message) {
    assert_int_equal(tamis_session_set_input_value(f->session, input, value, &f->error), TM_HOST_RUN);
    if (strstr(f->error.message, message) == NULL)
        fail_msg("%s", f->error.message);
}

/* A sequence of one map with these keys and values. */
static void refuse_map(fixture *f, tamis_tensor keys, tamis_tensor values, const char *message) {
    tamis_tensor map[2] = {keys, values};
    tamis_tensor row = list(TAMIS_KIND_MAP, map, &two);
    tamis_tensor value = list(TAMIS_KIND_SEQUENCE, &row, &one);
    refuse(f, 0, &value, message);
}

static void what_does_not_fit_is_refused(void **state) {
    fixture *f = *state;
    int64_t wide[2] = {2, 3}, bad[2] = {-1, 2}, minus = -1, many = 2;
    tamis_tensor keys = tensor(TAMIS_TYPE_STRING, names, 1, &two);
    tamis_tensor values = tensor(TAMIS_TYPE_FLOAT, numbers, 1, &two);
    tamis_tensor plain = tensor(TAMIS_TYPE_FLOAT, numbers, 1, &two);
    refuse(f, 0, &plain, "expected a sequence");
    tamis_tensor of_tensors = list(TAMIS_KIND_SEQUENCE, &plain, &one);
    refuse(f, 0, &of_tensors, "expected a map");
    refuse_map(f, tensor(TAMIS_TYPE_INT64, numbers, 1, &two), values, "expected string[n]");
    refuse_map(f, keys, tensor(TAMIS_TYPE_DOUBLE, numbers, 1, &two), "found    f64[2]");
    refuse_map(f, keys, tensor(TAMIS_TYPE_FLOAT, numbers, 1, &three), "found    f32[3]");
    refuse_map(f, keys, tensor(TAMIS_TYPE_FLOAT, numbers, 2, wide), "found    f32[2, 3]");
    refuse_map(f, keys, tensor(TAMIS_TYPE_FLOAT, NULL, 1, &two), "no data");
    refuse_map(f, keys, list(TAMIS_KIND_SEQUENCE, NULL, &zero), "keys and values");

    const struct {
        tamis_tensor item;
        const char *message;
    } items[] = {{tensor(TAMIS_TYPE_FLOAT, numbers, 2, wide), "expected f32[?, 2]"},
                 {tensor(TAMIS_TYPE_FLOAT, numbers, 1, &two), "found    f32[2]"},
                 {tensor(TAMIS_TYPE_FLOAT, numbers, 2, bad), "wrong type or dims"},
                 {tensor(TAMIS_TYPE_FLOAT, numbers, 17, wide), "bad rank"},
                 {list(TAMIS_KIND_SEQUENCE, NULL, &zero), "expected a tensor"}};
    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        tamis_tensor sequence = list(TAMIS_KIND_SEQUENCE, &items[i].item, &one);
        tamis_tensor optional = list(TAMIS_KIND_OPTIONAL, &sequence, &one);
        refuse(f, 1, &optional, items[i].message);
    }
    tamis_tensor two_elements = list(TAMIS_KIND_OPTIONAL, (tamis_tensor[2]){plain, plain}, &many);
    refuse(f, 1, &two_elements, "expected 0 or 1");
    tamis_tensor negative = list(TAMIS_KIND_OPTIONAL, &plain, &minus);
    refuse(f, 1, &negative, "number of items");
    tamis_tensor no_items = list(TAMIS_KIND_SEQUENCE, NULL, &two);
    refuse(f, 0, &no_items, "no data");
    assert_int_equal(tamis_session_set_input_value(f->session, 2, &plain, &f->error), TM_HOST_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(an_optional_may_be_empty_or_hold_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
