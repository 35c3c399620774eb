/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of Attention, RotaryEmbedding and LinearAttention: against formulas in double, and by handing caches
 * and states on, which must give what one long run gives.
 */
#include "tests/unit/ops/float_test.h"

static const tamis_type half_and_float[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_FLOAT16, TAMIS_TYPE_BFLOAT16};

/* One random call; heads lie apart. */
typedef struct call {
    tamis_type type;
    int64_t batch, heads, group, length, past, fresh, size, value_size;
    const tm_constant *q, *k, *v, *mask, *past_k, *past_v;
    bool causal;
    double softcap;
} call;

static double key_at(const call *c, bool value, int64_t batch, int64_t head, int64_t row, int64_t i) {
    const int64_t heads = c->heads / c->group, size = value ? c->value_size : c->size;
    if (row < c->past)
        return number(value ? c->past_v : c->past_k, ((batch * heads + head) * c->past + row) * size + i);
    return number(value ? c->v : c->k, ((batch * heads + head) * c->fresh + row - c->past) * size + i);
}

static void check_row(kernel_test *t, const call *c, const tm_constant *y, int64_t batch, int64_t head,
                      int64_t row) {
    const int64_t total = c->past + c->fresh, key_head = head / c->group;
    double *score = TM_NEW_ARRAY(&t->arena, double, total + 1), sum = 0, largest = -INFINITY;
    for (int64_t j = 0; j < total; j++) {
        for (int64_t i = 0; i < c->size; i++)
            score[j] += number(c->q, ((batch * c->heads + head) * c->length + row) * c->size + i) *
                        key_at(c, false, batch, key_head, j, i) / sqrt((double)c->size);
        if (c->softcap > 0)
            score[j] = c->softcap * tanh(score[j] / c->softcap);
        if (c->mask != NULL && c->mask->type == TAMIS_TYPE_BOOL)
            score[j] = number(c->mask, row * total + j) != 0 ? score[j] : -INFINITY;
        else if (c->mask != NULL)
            score[j] += number(c->mask, row * total + j);
        if (c->causal && j > c->past + row)
            score[j] = -INFINITY;
        largest = fmax(largest, score[j]);
    }
    for (int64_t j = 0; j < total; j++)
        sum += exp(score[j] - largest);
    for (int64_t i = 0; i < c->value_size; i++) {
        double want = 0;
        for (int64_t j = 0; j < total; j++)
            want += exp(score[j] - largest) / sum * key_at(c, true, batch, key_head, j, i);
        assert_near(y, ((batch * c->heads + head) * c->length + row) * c->value_size + i,
                    isinf(largest) ? NAN : want, 8, (double)(total + c->size));
    }
}

static void attention_trial(kernel_test *t, int k) {
    call c = {.type = float_types[k % FLOAT_TYPES],
              .batch = random_int(t, 0, 2),
              .group = random_int(t, 1, 2),
              .length = random_int(t, 1, 40),
              .past = k % 3 == 0 ? random_int(t, 0, 5) : 0,
              .fresh = random_int(t, 1, 20),
              .size = random_int(t, 1, 9),
              .value_size = random_int(t, 1, 9),
              .causal = random_int(t, 0, 1)};
    const int64_t heads = random_int(t, 1, 2), total = c.past + c.fresh;
    c.heads = heads * c.group;
    c.softcap = k % 5 == 0 ? 2 : 0;
    c.q = random_numbers(t, c.type, 4, (int64_t[]){c.batch, c.heads, c.length, c.size});
    c.k = random_numbers(t, c.type, 4, (int64_t[]){c.batch, heads, c.fresh, c.size});
    c.v = random_numbers(t, c.type, 4, (int64_t[]){c.batch, heads, c.fresh, c.value_size});
    if (k % 3 == 0) {
        c.past_k = random_numbers(t, c.type, 4, (int64_t[]){c.batch, heads, c.past, c.size});
        c.past_v = random_numbers(t, c.type, 4, (int64_t[]){c.batch, heads, c.past, c.value_size});
    }
    if (k % 4 == 1)
        c.mask = random_numbers(t, c.type, 2, (int64_t[]){c.length, total});
    if (k % 4 == 2) {
        tm_constant *mask = random_tensor(t, TAMIS_TYPE_BOOL, 2, (int64_t[]){c.length, total});
        uint8_t *bits = tm_arena_copy(&t->arena, mask->data, (size_t)mask->bytes + 1);
        for (int64_t i = 0; i < mask->bytes; i++)
            bits[i] &= 1;
        mask->data = bits;
        c.mask = mask;
    }
    const tm_constant *inputs[] = {c.q, c.k, c.v, c.mask, c.past_k, c.past_v}, *out[3] = {NULL};
    tm_node *node = new_node(t, TM_OP_Attention, 3, 6, inputs);
    tm_node_set_int(node, "is_causal", c.causal);
    tm_node_set_float(node, "softcap", c.softcap);
    assert_int_equal(run_node(t, node, out), TM_OK);
    for (int64_t i = 0; i < c.batch * c.heads * c.length; i++)
        check_row(t, &c, out[0], i / c.length / c.heads, i / c.length % c.heads, i % c.length);
    for (int64_t i = 0; i < tm_constant_count(out[1]); i++) {
        const int64_t row = i / c.size % total, head = i / c.size / total % heads,
                      batch = i / c.size / total / heads;
        assert_true(number(out[1], i) == key_at(&c, false, batch, head, row, i % c.size));
    }
}
TRIALS(attention, 120)

/* Packed heads give the bits of heads apart, in another order. */
static void packed_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k % FLOAT_TYPES];
    const int64_t heads = 3, length = 5, size = 4, width = tm_type_bits(type) / 8 * size;
    const tm_constant *apart[3], *packed[3], *y, *z;
    for (int i = 0; i < 3; i++) {
        apart[i] = random_numbers(t, type, 4, (int64_t[]){1, heads, length, size});
        char *data = tm_arena_alloc(&t->arena, (size_t)apart[i]->bytes);
        for (int64_t j = 0; j < heads * length; j++)
            memcpy(data + j * width, (const char *)apart[i]->data + (j % heads * length + j / heads) * width,
                   (size_t)width);
        const int64_t dims[] = {1, length, heads * size};
        packed[i] = tm_constant_create(&t->arena, type, 3, tm_arena_copy(&t->arena, dims, sizeof dims), data);
    }
    y = answer(t, new_node(t, TM_OP_Attention, 1, 3, apart));
    tm_node *node = new_node(t, TM_OP_Attention, 1, 3, packed);
    tm_node_set_int(node, "q_num_heads", heads);
    tm_node_set_int(node, "kv_num_heads", heads);
    z = answer(t, node);
    for (int64_t j = 0; j < heads * length; j++)
        assert_memory_equal((const char *)z->data + j * width,
                            (const char *)y->data + (j % heads * length + j / heads) * width, (size_t)width);
}
TRIALS(packed, 4)

static void rotary_trial(kernel_test *t, int k) {
    const tamis_type type = half_and_float[k % 3];
    const int64_t heads = 2, length = random_int(t, 1, 5), size = 8, rotated = k % 2 ? 4 : 8,
                  half = rotated / 2, table = 9;
    const bool interleaved = random_int(t, 0, 1);
    const tm_constant *x = random_numbers(t, type, 4, (int64_t[]){1, heads, length, size});
    const tm_constant *cosines = random_numbers(t, type, 2, (int64_t[]){table, half});
    const tm_constant *sines = random_numbers(t, type, 2, (int64_t[]){table, half});
    int64_t ids[5], dims[] = {1, length};
    for (int i = 0; i < 5; i++)
        ids[i] = random_int(t, 0, table - 1);
    const tm_constant *inputs[] = {x, cosines, sines, tm_constant_create_i64(&t->arena, 2, dims, ids)};
    tm_node *node = new_node(t, TM_OP_RotaryEmbedding, 1, 4, inputs);
    tm_node_set_int(node, "interleaved", interleaved);
    tm_node_set_int(node, "rotary_embedding_dim", rotated);
    const tm_constant *y = answer(t, node);
    for (int64_t i = 0; i < heads * length * size; i++) {
        const int64_t at = i % size, row = i / size % length, base = i - at;
        double want = number(x, i);
        if (at < rotated) {
            const int64_t pair = interleaved ? at / 2 : at % half;
            const bool second = interleaved ? at % 2 : at >= half;
            const double x1 = number(x, base + (interleaved ? 2 * pair : pair));
            const double x2 = number(x, base + (interleaved ? 2 * pair + 1 : pair + half));
            const double c = number(cosines, ids[row] * half + pair),
                         s = number(sines, ids[row] * half + pair);
            want = second ? s * x1 + c * x2 : c * x1 - s * x2;
        }
        assert_near(y, i, want, 2, 2);
    }
}
TRIALS(rotary, 24)

/* The first `count` or the other tokens of [1, length, width]. */
static const tm_constant *tokens(kernel_test *t, const tm_constant *x, int64_t from, int64_t count) {
    const int64_t dims[] = {1, count, x->dims[2]}, bytes = x->dims[2] * tm_type_bits(x->type) / 8;
    return tm_constant_create(&t->arena, x->type, 3, tm_arena_copy(&t->arena, dims, sizeof dims),
                              (const char *)x->data + from * bytes);
}

static void linear_trial(kernel_test *t, int k) {
    static const char *const rules[] = {"linear", "gated", "delta", "gated_delta"};
    const bool gated = k & 1, delta = k & 2;
    const int64_t heads = 2, group = random_int(t, 1, 2), length = random_int(t, 1, 6), size = 3,
                  value_size = k % 5 ? 4 : 70;
    const int64_t cut = random_int(t, 0, length), gates = random_int(t, 0, 1) ? heads : heads * size;
    const tm_constant *all[6] = {
        random_numbers(t, TAMIS_TYPE_FLOAT, 3, (int64_t[]){1, length, heads * group * size}),
        random_numbers(t, TAMIS_TYPE_FLOAT, 3, (int64_t[]){1, length, heads * size}),
        random_numbers(t, TAMIS_TYPE_FLOAT, 3, (int64_t[]){1, length, heads * value_size}),
        NULL,
        gated ? random_numbers(t, TAMIS_TYPE_FLOAT, 3, (int64_t[]){1, length, gates}) : NULL,
        delta ? random_numbers(t, TAMIS_TYPE_FLOAT, 3, (int64_t[]){1, length, heads}) : NULL};
    const tm_constant *whole[2], *part[2] = {NULL, NULL};
    for (int run = 0; run < 3; run++) {
        const int64_t from = run == 2 ? cut : 0, count = run == 0 ? length : run == 1 ? cut : length - cut;
        const tm_constant *inputs[6];
        for (int i = 0; i < 6; i++)
            inputs[i] = i == 3           ? (run == 2 ? part[1] : NULL)
                        : all[i] != NULL ? tokens(t, all[i], from, count)
                                         : NULL;
        tm_node *node = new_node(t, TM_OP_LinearAttention, 2, 6, inputs);
        tm_node_set_string(node, "update_rule", rules[k % 4]);
        tm_node_set_int(node, "q_num_heads", heads * group);
        tm_node_set_int(node, "kv_num_heads", heads);
        assert_int_equal(run_node(t, node, run == 0 ? whole : part), TM_OK);
        if (run == 2)
            assert_memory_equal(part[0]->data,
                                (const char *)whole[0]->data + from * heads * group * value_size * 4,
                                (size_t)part[0]->bytes);
    }
    assert_memory_equal(part[1]->data, whole[1]->data, (size_t)whole[1]->bytes);
    for (int64_t h = 0; h < heads; h++) /* one column of the state, token after token */
        for (int64_t m = 0; m < value_size; m++) {
            double s[3] = {0, 0, 0}, seen = 0;
            for (int64_t n = 0; n < length; n++) {
                double write = number(all[2], (n * heads + h) * value_size + m);
                for (int64_t d = 0; d < size && gated; d++)
                    s[d] *= exp(number(all[4], n * gates + (gates == heads ? h : h * size + d)));
                for (int64_t d = 0; d < size && delta; d++)
                    write -= s[d] * number(all[1], (n * heads + h) * size + d);
                write *= delta ? number(all[5], n * heads + h) : 1;
                double read = 0;
                for (int64_t d = 0; d < size; d++) {
                    s[d] += number(all[1], (n * heads + h) * size + d) * write;
                    read += number(all[0], (n * heads + h) * group * size + d) * s[d] / sqrt((double)size);
                    seen = fmax(seen, fabs(s[d]));
                }
                assert_near(whole[0], (n * heads + h) * group * value_size + m, read, 8 * (1 + seen), 64);
            }
        }
}
TRIALS(linear, 60)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention),
        cmocka_unit_test(packed),
        cmocka_unit_test(rotary),
        cmocka_unit_test(linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
