/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of Windows against its naive meaning: what each window sees, in runs filled up to whole steps, with
 * the zero point outside of the image, for 1 to 3 axes; and of its inference.
 */
#include "ir/ops/windows.h"
#include "tests/unit/ops/kernel_test.h"

enum { AXES = 3 };

typedef struct geometry {
    int axes;
    int64_t in[AXES], kernel[AXES], stride[AXES], dilation[AXES], pads[2 * AXES], channels;
} geometry;

static geometry random_geometry(kernel_test *t) {
    geometry g = {.axes = (int)random_int(t, 1, AXES), .channels = random_int(t, 1, 20)};
    for (int i = 0; i < g.axes; i++) {
        g.kernel[i] = random_int(t, 1, 4);
        g.stride[i] = random_int(t, 1, 3);
        g.dilation[i] = random_int(t, 1, 2);
        g.pads[i] = random_int(t, 0, 3);
        g.pads[g.axes + i] = random_int(t, 0, 3);
        int64_t extent = (g.kernel[i] - 1) * g.dilation[i] + 1 - g.pads[i] - g.pads[g.axes + i];
        g.in[i] = random_int(t, extent > 1 ? extent : 1, 9);
    }
    return g;
}

static void set_geometry(tm_node *node, const geometry *g) {
    tm_node_set_ints(node, "strides", g->stride, g->axes);
    tm_node_set_ints(node, "dilations", g->dilation, g->axes);
    tm_node_set_ints(node, "kernel_shape", g->kernel, g->axes);
    tm_node_set_ints(node, "pads", g->pads, 2 * g->axes);
}

/* Takes `index` apart into a position along each axis. */
static void position_of(int64_t index, int axes, const int64_t *sizes, int64_t *out) {
    for (int i = axes - 1; i >= 0; i--) {
        out[i] = index % sizes[i];
        index /= sizes[i];
    }
}

/* The byte of channel c at tap `tap` of the window at output position `position`. */
static uint8_t seen(const geometry *g, const tm_constant *x, int64_t sample, const int64_t *out,
                    int64_t position, int64_t tap, int64_t c, uint8_t zero) {
    int64_t o[AXES], k[AXES], at = sample;
    position_of(position, g->axes, out, o);
    position_of(tap, g->axes, g->kernel, k);
    for (int i = 0; i < g->axes; i++) {
        int64_t p = o[i] * g->stride[i] + k[i] * g->dilation[i] - g->pads[i];
        if (p < 0 || p >= g->in[i])
            return zero;
        at = at * g->in[i] + p;
    }
    return ((const uint8_t *)x->data)[at * g->channels + c];
}

static void check_rows(const geometry *g, const tm_constant *x, const tm_constant *y, uint8_t zero) {
    const uint8_t *bytes = y->data;
    tm_windows_runs runs = tm_windows_runs_of(g->kernel, g->axes, g->dilation[g->axes - 1], g->channels);
    int64_t positions = 1, row = runs.count * runs.bytes;
    for (int i = 0; i < g->axes; i++)
        positions *= y->dims[1 + i];
    assert_int_equal(runs.bytes % TM_WINDOWS_ALIGNMENT, 0);
    assert_int_equal(y->dims[1 + g->axes], row);
    for (int64_t at = 0; at < y->dims[0] * positions; at++)
        for (int64_t i = 0; i < row; i++) {
            int64_t within = i % runs.bytes, tap = i / runs.bytes * runs.taps + within / g->channels;
            uint8_t want = within < runs.taps * g->channels
                               ? seen(g, x, at / positions, y->dims + 1, at % positions, tap,
                                      within % g->channels, zero)
                               : zero;
            assert_int_equal(bytes[at * row + i], want);
        }
}

static void rows(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        kernel_test t;
        kernel_test_init(&t, seed);
        geometry g = random_geometry(&t);
        tamis_type type = seed % 2 == 0 ? TAMIS_TYPE_UINT8 : TAMIS_TYPE_INT8;
        int64_t dims[AXES + 2] = {random_int(&t, 0, 3)};
        memcpy(dims + 1, g.in, (size_t)g.axes * sizeof *dims);
        dims[g.axes + 1] = g.channels;
        const tm_constant *inputs[2] = {random_tensor(&t, type, g.axes + 2, dims)}, *y = NULL;
        bool zero = seed % 3 != 0;
        if (zero)
            inputs[1] = random_tensor(&t, type, 0, NULL);
        tm_node *node = new_node(&t, TM_OP_Windows, 1, zero ? 2 : 1, inputs);
        set_geometry(node, &g);
        assert_int_equal(run_node(&t, node, &y), TM_OK);
        check_rows(&g, inputs[0], y, zero ? *(const uint8_t *)inputs[1]->data : 0);
        kernel_test_deinit(&t);
    }
}

/* Taps side by side are one run; with a dilation along the last axis each is one. */
static void runs(void **state) {
    (void)state;
    const int64_t kernel[] = {3, 3};
    tm_windows_runs together = tm_windows_runs_of(kernel, 2, 1, 3),
                    apart = tm_windows_runs_of(kernel, 2, 2, 3);
    assert_int_equal(together.count, 3);
    assert_int_equal(together.taps, 3);
    assert_int_equal(together.bytes, 16);
    assert_int_equal(apart.count, 9);
    assert_int_equal(apart.taps, 1);
    assert_int_equal(apart.bytes, 16);
}

static void refused(void **state) {
    (void)state;
    const int64_t image[] = {1, 4, 4, 2}, kernel[] = {3, 3}, wrong[] = {3}, large[] = {9, 3}, none[] = {0, 1};
    struct {
        tamis_type type, zero;
        const int64_t *kernel, *strides;
        int count;
        tm_code code;
    } cases[] = {
        {TAMIS_TYPE_FLOAT, TAMIS_TYPE_FLOAT, kernel, NULL, 2, TM_E_TYPE},
        {TAMIS_TYPE_UINT8, TAMIS_TYPE_INT8, kernel, NULL, 2, TM_E_TYPE},
        {TAMIS_TYPE_UINT8, TAMIS_TYPE_UINT8, wrong, NULL, 1, TM_E_ATTRIBUTE},
        {TAMIS_TYPE_UINT8, TAMIS_TYPE_UINT8, NULL, NULL, 0, TM_E_ATTRIBUTE},
        {TAMIS_TYPE_UINT8, TAMIS_TYPE_UINT8, large, NULL, 2, TM_E_SHAPE},
        {TAMIS_TYPE_UINT8, TAMIS_TYPE_UINT8, kernel, none, 2, TM_E_ATTRIBUTE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kernel_test t;
        kernel_test_init(&t, i);
        const tm_constant *inputs[2] = {random_tensor(&t, cases[i].type, 4, image),
                                        random_tensor(&t, cases[i].zero, 0, NULL)};
        tm_node *node = new_node(&t, TM_OP_Windows, 1, 2, inputs);
        if (cases[i].kernel != NULL)
            tm_node_set_ints(node, "kernel_shape", cases[i].kernel, cases[i].count);
        if (cases[i].strides != NULL)
            tm_node_set_ints(node, "strides", cases[i].strides, 2);
        assert_int_equal(tm_infer_node(t.model, node), cases[i].code);
        kernel_test_deinit(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows), cmocka_unit_test(runs),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
