/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of convolutions and pools against their naive meaning, for 1 to 3 spatial axes with groups, strides,
 * dilations, paddings of all kinds, and dims of 0. Dims come from inference.
 */
#include "tests/unit/ops/float_test.h"

enum { AXES = 3 };

/* A random window that fits, and how output positions see input positions. */
typedef struct geometry {
    int axes;
    int64_t in[AXES], kernel[AXES], stride[AXES], dilation[AXES], pads[2 * AXES];
    const char *auto_pad;
    bool ceil_mode;
} geometry;

static geometry random_geometry(kernel_test *t, bool pool) {
    static const char *const paddings[] = {"NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    geometry g = {.axes = (int)random_int(t, 1, AXES), .auto_pad = paddings[random_int(t, 0, 5)]};
    g.ceil_mode = pool && random_int(t, 0, 1);
    for (int i = 0; i < g.axes; i++) {
        g.kernel[i] = random_int(t, 1, 3);
        g.stride[i] = random_int(t, 1, 3);
        g.dilation[i] = random_int(t, 1, 2);
        const int64_t extent = (g.kernel[i] - 1) * g.dilation[i] + 1;
        for (int side = 0; side < 2; side++) /* pools must see data from every window */
            g.pads[side * g.axes + i] =
                strcmp(g.auto_pad, "NOTSET") != 0 ? 0 : random_int(t, 0, (extent - 1) / (pool ? 2 : 1));
        g.in[i] = random_int(t, extent, g.axes == 1 ? 60 : 9);
    }
    return g;
}

static void set_geometry(tm_node *node, const geometry *g) {
    tm_node_set_string(node, "auto_pad", g->auto_pad);
    tm_node_set_ints(node, "strides", g->stride, g->axes);
    tm_node_set_ints(node, "dilations", g->dilation, g->axes);
    tm_node_set_ints(node, "kernel_shape", g->kernel, g->axes);
    if (strcmp(g->auto_pad, "NOTSET") == 0)
        tm_node_set_ints(node, "pads", g->pads, 2 * g->axes);
}

/* Padding in front along axis i, given the number of outputs. */
static int64_t head_of(const geometry *g, int i, int64_t out) {
    if (strncmp(g->auto_pad, "SAME", 4) != 0)
        return g->pads[i];
    int64_t need = (out - 1) * g->stride[i] + (g->kernel[i] - 1) * g->dilation[i] + 1 - g->in[i];
    need = need < 0 ? 0 : need;
    return strcmp(g->auto_pad, "SAME_UPPER") == 0 ? need / 2 : (need + 1) / 2;
}

/* Offset in the plane of what output position `o` sees at kernel position `k`, or -1 for padding. */
static int64_t seen(const geometry *g, const int64_t *out, const int64_t *o, const int64_t *k) {
    int64_t offset = 0;
    for (int i = 0; i < g->axes; i++) {
        const int64_t at = o[i] * g->stride[i] + k[i] * g->dilation[i] - head_of(g, i, out[i]);
        if (at < 0 || at >= g->in[i])
            return -1;
        offset = offset * g->in[i] + at;
    }
    return offset;
}

static const tm_constant *with_space(kernel_test *t, tamis_type type, int64_t a, int64_t b, int axes,
                                     const int64_t *space) {
    int64_t dims[AXES + 2] = {a, b};
    memcpy(dims + 2, space, (size_t)axes * sizeof *space);
    return random_numbers(t, type, axes + 2, dims);
}

typedef struct sum {
    double value, size, terms;
} sum;

/* One output of a convolution. `shift_x` and `shift_w` are zero points. */
static sum convolved(const geometry *g, const tm_constant *x, const tm_constant *w, int64_t groups,
                     const int64_t *out, int64_t sample, int64_t filter, const int64_t *o, double shift_x,
                     double shift_w) {
    const int64_t channels = w->dims[1], kernel = product_of(g->kernel, 0, g->axes),
                  space = product_of(g->in, 0, g->axes);
    const int64_t group = filter / (w->dims[0] / groups);
    sum s = {0, 0, 0};
    for (int64_t c = 0; c < channels; c++) {
        int64_t k[AXES] = {0};
        for (int64_t i = 0; i < kernel; i++, next_index(g->axes, g->kernel, k)) {
            const int64_t at = seen(g, out, o, k);
            if (at < 0)
                continue;
            const double term =
                (number(x, ((sample * groups + group) * channels + c) * space + at) - shift_x) *
                (number(w, (filter * channels + c) * kernel + i) - shift_w);
            s.value += term;
            s.size += fabs(term);
            s.terms++;
        }
    }
    return s;
}

static void conv_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k % FLOAT_TYPES];
    const geometry g = random_geometry(t, false);
    const int64_t groups = random_int(t, 1, 3), channels = random_int(t, 1, 3),
                  filters = groups * random_int(t, 1, 7);
    const int64_t samples = random_int(t, 0, 2);
    const tm_constant *x = with_space(t, type, samples, channels * groups, g.axes, g.in);
    const tm_constant *w = with_space(t, type, filters, channels, g.axes, g.kernel);
    const tm_constant *inputs[] = {x, w, random_int(t, 0, 1) ? random_numbers(t, type, 1, &filters) : NULL};
    tm_node *node = new_node(t, TM_OP_Conv, 1, 3, inputs);
    set_geometry(node, &g);
    tm_node_set_int(node, "group", groups);
    const tm_constant *y = answer(t, node);
    int64_t o[AXES + 2] = {0};
    for (int64_t i = 0; i < tm_constant_count(y); i++, next_index(g.axes + 2, y->dims, o)) {
        sum s = convolved(&g, x, w, groups, y->dims + 2, o[0], o[1], o + 2, 0, 0);
        const double bias = inputs[2] != NULL ? number(inputs[2], o[1]) : 0;
        assert_near(y, i, s.value + bias, s.size + fabs(bias), s.terms);
    }
}
TRIALS(conv, 300)

/* Many channels and wide rows: the panels of the product are full. */
static void wide_conv_trial(kernel_test *t, int k) {
    geometry g = {.axes = 2,
                  .in = {9, 70},
                  .kernel = {3, 3},
                  .stride = {1, k % 3 + 1},
                  .dilation = {1, 1},
                  .pads = {1, 1, 1, 1},
                  .auto_pad = "NOTSET"};
    const tm_constant *x = with_space(t, TAMIS_TYPE_FLOAT, 1, 33, 2, g.in);
    const tm_constant *w = with_space(t, TAMIS_TYPE_FLOAT, 20, 33, 2, g.kernel), *inputs[] = {x, w};
    tm_node *node = new_node(t, TM_OP_Conv, 1, 2, inputs);
    set_geometry(node, &g);
    const tm_constant *y = answer(t, node);
    int64_t o[4] = {0};
    for (int64_t i = 0; i < tm_constant_count(y); i++, next_index(4, y->dims, o)) {
        sum s = convolved(&g, x, w, 1, y->dims + 2, o[0], o[1], o + 2, 0, 0);
        assert_near(y, i, s.value, s.size, s.terms);
    }
}
TRIALS(wide_conv, 3)

static void transpose_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k % FLOAT_TYPES];
    geometry g = random_geometry(t, false);
    g.auto_pad = "NOTSET";
    const int64_t groups = random_int(t, 1, 2), channels = random_int(t, 1, 3), filters = random_int(t, 1, 3);
    int64_t more[AXES], small[AXES];
    for (int i = 0; i < g.axes; i++) {
        more[i] = random_int(t, 0, g.stride[i] - 1);
        small[i] = random_int(t, 1, 6);
        const int64_t out = (small[i] - 1) * g.stride[i] + (g.kernel[i] - 1) * g.dilation[i] + 1 + more[i];
        if (out <= g.pads[i] + g.pads[g.axes + i])
            g.pads[i] = g.pads[g.axes + i] = 0;
        g.in[i] = out - g.pads[i] -
                  g.pads[g.axes + i]; /* the convolution that is undone reads what this one writes */
    }
    const tm_constant *x = with_space(t, type, random_int(t, 0, 2), channels * groups, g.axes, small);
    const tm_constant *w = with_space(t, type, channels * groups, filters, g.axes, g.kernel);
    const int64_t outputs = filters * groups;
    const tm_constant *inputs[] = {x, w, random_int(t, 0, 1) ? random_numbers(t, type, 1, &outputs) : NULL};
    tm_node *node = new_node(t, TM_OP_ConvTranspose, 1, 3, inputs);
    set_geometry(node, &g);
    tm_node_set_int(node, "group", groups);
    tm_node_set_ints(node, "output_padding", more, g.axes);
    const tm_constant *y = answer(t, node);
    const int64_t count = tm_constant_count(y), space = product_of(g.in, 0, g.axes),
                  kernel = product_of(g.kernel, 0, g.axes);
    const int64_t small_space = product_of(small, 0, g.axes);
    for (int i = 0; i < g.axes; i++)
        assert_int_equal(y->dims[i + 2], g.in[i]);
    sum *s = TM_NEW_ARRAY(&t->arena, sum, count + 1);
    for (int64_t i = 0; i < tm_constant_count(x); i++) {
        int64_t o[AXES] = {0}, rest = i % small_space;
        for (int d = g.axes - 1; d >= 0; d--) {
            o[d] = rest % small[d];
            rest /= small[d];
        }
        const int64_t channel = i / small_space % (channels * groups),
                      sample = i / small_space / (channels * groups);
        for (int64_t f = 0; f < filters; f++) {
            int64_t at[AXES] = {0};
            for (int64_t j = 0; j < kernel; j++, next_index(g.axes, g.kernel, at)) {
                const int64_t to = seen(&g, small, o, at);
                if (to < 0)
                    continue;
                const double term = number(x, i) * number(w, (channel * filters + f) * kernel + j);
                sum *into = &s[((sample * groups + channel / channels) * filters + f) * space + to];
                *into = (sum){into->value + term, into->size + fabs(term), into->terms + 1};
            }
        }
    }
    for (int64_t i = 0; i < count; i++) {
        const double bias = inputs[2] != NULL ? number(inputs[2], i / space % outputs) : 0;
        assert_near(y, i, s[i].value + bias, s[i].size + fabs(bias), s[i].terms);
    }
}
TRIALS(transpose, 200)

static void integer_trial(kernel_test *t, int k) {
    const geometry g = random_geometry(t, false);
    const bool sx = k & 1, sw = k & 2, sy = k & 4, scaled = k & 8;
    const int64_t groups = random_int(t, 1, 2), channels = random_int(t, 1, 3),
                  filters = groups * random_int(t, 1, 5), one = 1;
    const tamis_type tx = sx ? TAMIS_TYPE_INT8 : TAMIS_TYPE_UINT8,
                     tw = sw ? TAMIS_TYPE_INT8 : TAMIS_TYPE_UINT8;
    const tm_constant *x = with_space(t, tx, 2, channels * groups, g.axes, g.in);
    const tm_constant *w = with_space(t, tw, filters, channels, g.axes, g.kernel);
    const tm_constant *zx = random_numbers(t, tx, 0, &one),
                      *zw = random_numbers(t, tw, 1, k & 16 ? &one : &filters);
    const tm_constant *zy = random_numbers(t, sy ? TAMIS_TYPE_INT8 : TAMIS_TYPE_UINT8, 0, &one);
    const tm_constant *bias = random_numbers(t, TAMIS_TYPE_INT32, 1, &filters);
    const float scales[] = {0.25f, 0.3f, 1.5f};
    const tm_constant *s[3];
    for (int i = 0; i < 3; i++)
        s[i] = tm_constant_create(&t->arena, TAMIS_TYPE_FLOAT, 0, &one,
                                  tm_arena_copy(&t->arena, &scales[i], sizeof scales[i]));
    const tm_constant *plain_inputs[] = {x, w, zx, zw},
                      *scaled_inputs[] = {x, s[0], zx, w, s[1], zw, s[2], zy, bias};
    tm_node *node = scaled ? new_node(t, TM_OP_QLinearConv, 1, 9, scaled_inputs)
                           : new_node(t, TM_OP_ConvInteger, 1, 4, plain_inputs);
    set_geometry(node, &g);
    tm_node_set_int(node, "group", groups);
    const tm_constant *y = answer(t, node);
    int64_t o[AXES + 2] = {0};
    for (int64_t i = 0; i < tm_constant_count(y); i++, next_index(g.axes + 2, y->dims, o)) {
        const double shift = number(zw, tm_constant_count(zw) == 1 ? 0 : o[1]);
        double want = convolved(&g, x, w, groups, y->dims + 2, o[0], o[1], o + 2, number(zx, 0), shift).value;
        if (scaled) {
            const float scale = scales[0] * scales[1] / scales[2];
            want = (double)rintf((float)(want + number(bias, o[1])) * scale) + number(zy, 0);
            want = fmin(fmax(want, sy ? -128 : 0), sy ? 127 : 255);
        }
        assert_int_equal((int64_t)number(y, i), (int64_t)want);
    }
}
TRIALS(integer, 160)

static void pool_trial(kernel_test *t, int k) {
    static const tm_op ops[] = {TM_OP_MaxPool, TM_OP_AveragePool, TM_OP_LpPool};
    const tm_op op = ops[k % 3];
    const tamis_type type =
        op == TM_OP_MaxPool && k % 4 == 0 ? TAMIS_TYPE_INT8 : float_types[k / 3 % FLOAT_TYPES];
    const geometry g = random_geometry(t, true);
    const bool padding_counts = random_int(t, 0, 1), with_indices = random_int(t, 0, 1);
    const tm_constant *x = with_space(t, type, random_int(t, 0, 2), 3, g.axes, g.in), *out[2] = {NULL, NULL};
    tm_node *node = new_node(t, op, op == TM_OP_MaxPool && with_indices ? 2 : 1, 1, &x);
    set_geometry(node, &g);
    tm_node_set_int(node, "ceil_mode", g.ceil_mode);
    if (op == TM_OP_AveragePool)
        tm_node_set_int(node, "count_include_pad", padding_counts);
    assert_int_equal(run_node(t, node, out), TM_OK);
    const tm_constant *y = out[0];
    const int64_t space = product_of(g.in, 0, g.axes), kernel = product_of(g.kernel, 0, g.axes);
    int64_t o[AXES + 2] = {0};
    for (int64_t i = 0; i < tm_constant_count(y); i++, next_index(g.axes + 2, y->dims, o)) {
        int64_t at[AXES] = {0}, best = -1;
        double plain = 0, square = 0, size = 0, count = 0, largest = -INFINITY;
        for (int64_t j = 0; j < kernel; j++, next_index(g.axes, g.kernel, at)) {
            const int64_t from = seen(&g, y->dims + 2, o + 2, at);
            bool inside = true; /* of data and padding, not of what ceil_mode adds */
            for (int d = 0; d < g.axes; d++)
                inside = inside &&
                         (g.auto_pad[0] == 'S' || o[d + 2] * g.stride[d] + at[d] * g.dilation[d] - g.pads[d] <
                                                      g.in[d] + g.pads[g.axes + d]);
            count += padding_counts ? inside : from >= 0;
            if (from < 0)
                continue;
            const double v = number(x, (o[0] * 3 + o[1]) * space + from);
            plain += v;
            square += v * v;
            size += fabs(v);
            if (v > largest) {
                largest = v;
                best = (o[0] * 3 + o[1]) * space + from;
            }
        }
        const double want = op == TM_OP_MaxPool ? largest : op == TM_OP_LpPool ? sqrt(square) : plain / count;
        assert_near(y, i, want, size, (double)kernel);
        if (out[1] != NULL)
            assert_int_equal(((const int64_t *)out[1]->data)[i], best);
    }
}
TRIALS(pool, 400)

/* A window is walked where there are data, not where it could reach: this one has 2^62 positions. */
static void huge_windows(void **state) {
    (void)state;
    static const int64_t dims[] = {1, 1, 2, 2}, kernel[] = {INT32_MAX, INT32_MAX};
    static const float values[] = {1, 2, 3, 6};
    for (int with_indices = 0; with_indices < 2; with_indices++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        const tm_constant *x = tm_constant_create(&t.arena, TAMIS_TYPE_FLOAT, 4, dims, values),
                          *out[2] = {NULL, NULL};
        tm_node *node =
            new_node(&t, with_indices ? TM_OP_MaxPool : TM_OP_AveragePool, with_indices ? 2 : 1, 1, &x);
        tm_node_set_ints(node, "kernel_shape", kernel, 2);
        tm_node_set_ints(node, "strides", kernel, 2);
        tm_node_set_int(node, "ceil_mode", 1);
        assert_int_equal(run_node(&t, node, out), TM_OK);
        assert_true(*(const float *)out[0]->data == (with_indices ? 6 : 3));
        if (with_indices)
            assert_int_equal(*(const int64_t *)out[1]->data, 3);
        kernel_test_deinit(&t);
    }
}

static void global_pool_trial(kernel_test *t, int k) {
    static const tm_op ops[] = {TM_OP_GlobalMaxPool, TM_OP_GlobalAveragePool, TM_OP_GlobalLpPool};
    const tm_op op = ops[k % 3];
    const tamis_type type = float_types[k / 3 % FLOAT_TYPES];
    const int64_t dims[] = {random_int(t, 0, 2), random_int(t, 1, 3), random_int(t, 1, 9),
                            random_int(t, 1, 20)};
    const tm_constant *x = random_numbers(t, type, 4, dims);
    const tm_constant *y = answer(t, new_node(t, op, 1, 1, &x));
    for (int64_t i = 0; i < dims[0] * dims[1]; i++) {
        double plain = 0, square = 0, size = 0, largest = -INFINITY;
        for (int64_t j = 0; j < dims[2] * dims[3]; j++) {
            const double v = number(x, i * dims[2] * dims[3] + j);
            plain += v;
            square += v * v;
            size += fabs(v);
            largest = fmax(largest, v);
        }
        const double count = (double)(dims[2] * dims[3]);
        assert_near(y, i,
                    op == TM_OP_GlobalMaxPool  ? largest
                    : op == TM_OP_GlobalLpPool ? sqrt(square)
                                               : plain / count,
                    size, count);
    }
}
TRIALS(global_pool, 48)

/* Running a sequence in two pieces, with the state handed on, gives the bits of one run. */
static void causal_pieces_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k % FLOAT_TYPES];
    if (type == TAMIS_TYPE_DOUBLE)
        return;
    const int64_t channels = random_int(t, 1, 3), kernel = random_int(t, 1, 4),
                  length = random_int(t, 1, 300);
    const int64_t cut = random_int(t, 0, length), width = tm_type_bits(type) / 8;
    const tm_constant *x = random_numbers(t, type, 3, (int64_t[]){1, channels, length});
    const tm_constant *w = random_numbers(t, type, 3, (int64_t[]){channels, 1, kernel});
    const tm_constant *bias = random_numbers(t, type, 1, &channels), *whole[2], *parts[2][2] = {{NULL}};
    const tm_constant *inputs[] = {x, w, bias, NULL};
    tm_node *node = new_node(t, TM_OP_CausalConvWithState, 2, 4, inputs);
    tm_node_set_string(node, "activation", k % 2 ? "silu" : "none");
    assert_int_equal(run_node(t, node, whole), TM_OK);
    for (int p = 0; p < 2; p++) {
        const int64_t start = p == 0 ? 0 : cut, count = p == 0 ? cut : length - cut;
        char *data = tm_arena_alloc(&t->arena, (size_t)(channels * count * width) + 1);
        for (int64_t c = 0; c < channels; c++)
            memcpy(data + c * count * width, (const char *)x->data + (c * length + start) * width,
                   (size_t)(count * width));
        const int64_t dims[] = {1, channels, count};
        const tm_constant *piece[] = {
            tm_constant_create(&t->arena, type, 3, tm_arena_copy(&t->arena, dims, sizeof dims), data), w,
            bias, p == 0 ? NULL : parts[0][1]};
        node = new_node(t, TM_OP_CausalConvWithState, 2, 4, piece);
        tm_node_set_string(node, "activation", k % 2 ? "silu" : "none");
        assert_int_equal(run_node(t, node, parts[p]), TM_OK);
        for (int64_t c = 0; c < channels; c++)
            assert_memory_equal((const char *)parts[p][0]->data + c * count * width,
                                (const char *)whole[0]->data + (c * length + start) * width,
                                (size_t)(count * width));
    }
    assert_memory_equal(parts[1][1]->data, whole[1]->data, (size_t)whole[1]->bytes);
}
TRIALS(causal_pieces, 60)

/* Kernels without elements add nothing: what is left is the bias, here 0. */
static void empty_kernels_give_zero(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    for (int k = 0; k < 6; k++) {
        const tamis_type type = k % 3 == 2 ? TAMIS_TYPE_FLOAT : TAMIS_TYPE_UINT8;
        const int64_t in[] = {1, 1, 3, 3}, kernel[] = {1, 1, k < 3 ? 0 : 2, k < 3 ? 2 : 0}, one = 1;
        const float unit = 1;
        const uint8_t none = 0;
        const tm_constant *x = random_numbers(&t, type, 4, in), *w = random_numbers(&t, type, 4, kernel);
        const tm_constant *s = tm_constant_create(&t.arena, TAMIS_TYPE_FLOAT, 0, &one, &unit);
        const tm_constant *z = tm_constant_create(&t.arena, TAMIS_TYPE_UINT8, 0, &one, &none), *y = NULL;
        const tm_constant *plain[] = {x, w}, *scaled[] = {x, s, z, w, s, z, s, z};
        tm_node *node = k % 3 == 1 ? new_node(&t, TM_OP_QLinearConv, 1, 8, scaled)
                                   : new_node(&t, k % 3 == 2 ? TM_OP_Conv : TM_OP_ConvInteger, 1, 2, plain);
        assert_int_equal(run_node(&t, node, &y), TM_OK);
        assert_int_equal(tm_constant_count(y), 8);
        for (int64_t i = 0; i < 8; i++)
            assert_true(number(y, i) == 0);
    }
    kernel_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv),          cmocka_unit_test(wide_conv),
        cmocka_unit_test(transpose),     cmocka_unit_test(integer),
        cmocka_unit_test(pool),          cmocka_unit_test(global_pool),
        cmocka_unit_test(huge_windows),
        cmocka_unit_test(causal_pieces), cmocka_unit_test(empty_kernels_give_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
