/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_moe.c: MoE and QMoE: each token goes through the k experts that the router prefers.
 *
 *     y[t] = sum over the chosen e of weight[t, e] * (fc2[e](act(fc1[e](x[t]))) + bias2[e])
 *
 * A pair of token and expert is a route. Routes are ordered by expert, so that an expert is two (or three)
 * matrix products over all its tokens, and experts that no token wants cost nothing:
 *
 *     chosen   token 0: e2, e0    token 1: e2, e1        routes in order   0->e0 | 1->e1 | 0->e2, 1->e2
 *
 * Packed weights are turned into floats while a panel of the product is filled, or for few tokens a row at a
 * time; they are never whole in memory as floats. Products, activations and sums are in float. A token's
 * results are added in the order of its routes.
 */
#include "runtime/attributes_microsoft.h"
#include "runtime/math/math.h"
#include "runtime/ops/fold.h"
#include "runtime/ops/product.h"
#include "runtime/ops/real.h"

#define FEW 4      /* tokens of an expert that are not worth a packed product */
#define PIECE 1024 /* weights of a row that are floats at once */

typedef enum activation { RELU, GELU, SILU, IDENTITY, RELU2, SWIGLU, GEGLU } activation;

/* Weights [experts, rows, columns] of one layer, plain or packed. */
typedef struct layer {
    const tamis_tensor *weights, *scales, *zeros, *bias; /* NULL: none */
    int64_t rows, columns, bits, block;                  /* bits 0: plain */
    int64_t expert;                                      /* at which the products are */
} layer;

typedef struct mixture {
    const tamis_tensor *x, *router, *mixing, *y; /* mixing may be NULL */
    layer fc1, fc2, fc3;                         /* fc3.weights may be NULL */
    int64_t tokens, experts, k, routes, hidden, inner;
    activation activation;
    int64_t fusion;
    float alpha, beta, limit;
    bool normalise, limit_after;
    /* [tokens, k]: expert, weight, place in the order by expert */
    int64_t *expert, *place, *start; /* start[experts + 1]: first place of each expert */
    float *weight;
    float *in, *first, *third, *between, *out; /* rows in the order by expert */
} mixture;

/* ---- weights ---- */

static int32_t packed_at(const uint8_t *bytes, int64_t i, int64_t bits) {
    return bytes[i * bits / 8] >> (i * bits % 8) & ((1 << bits) - 1);
}

/* Zero point of a row, or of one of its blocks; without a tensor the middle of the range. */
static int32_t zero_of(const layer *l, int64_t row, int64_t blocks, int64_t block) {
    if (l->zeros == NULL)
        return 1 << (l->bits - 1);
    const uint8_t *zeros = l->zeros->data;
    if (l->block > 0)
        return packed_at(zeros + (l->expert * l->rows + row) * ((blocks * l->bits + 7) / 8), block, l->bits);
    return packed_at(zeros + l->expert * ((l->rows * l->bits + 7) / 8), row, l->bits);
}

/* Elements at, at + 1, ... of one scale as floats. */
static void widen(const uint8_t *bytes, int64_t at, int64_t count, int64_t bits, int32_t zero, float scale,
                  float *restrict to) {
    int64_t i = 0;
    if (bits == 8) {
        for (; i < count; i++)
            to[i] = (float)((int32_t)bytes[at + i] - zero) * scale;
    } else if (bits == 4 && at % 2 == 0) {
        const uint8_t *restrict pairs = bytes + at / 2;
        for (int64_t j = 0; j < count / 2; j++) {
            to[2 * j] = (float)((int32_t)(pairs[j] & 15) - zero) * scale;
            to[2 * j + 1] = (float)((int32_t)(pairs[j] >> 4) - zero) * scale;
        }
        i = count / 2 * 2;
    }
    for (; i < count; i++)
        to[i] = (float)(packed_at(bytes, at + i, bits) - zero) * scale;
}

/* `count` weights of a row of the expert, from column k0 on. */
static void load_row(const layer *l, int64_t row, int64_t k0, int64_t count, float *to) {
    int64_t all = l->expert * l->rows + row, first = all * l->columns + k0;
    if (l->bits == 0) {
        if (l->weights->type == TAMIS_TYPE_FLOAT)
            memcpy(to, (const float *)l->weights->data + first, (size_t)count * sizeof *to);
        else if (l->weights->type == TAMIS_TYPE_FLOAT16)
            for (int64_t i = 0; i < count; i++)
                to[i] = tm_load_f16(((const uint16_t *)l->weights->data)[first + i]);
        else
            for (int64_t i = 0; i < count; i++)
                to[i] = tm_load_bf16(((const uint16_t *)l->weights->data)[first + i]);
        return;
    }
    const int64_t blocks = l->block > 0 ? (l->columns + l->block - 1) / l->block : 1;
    const uint8_t *bytes = (const uint8_t *)l->weights->data + all * (l->columns * l->bits / 8);
    for (int64_t k = 0; k < count;) {
        int64_t block = l->block > 0 ? (k0 + k) / l->block : 0, end = count;
        if (l->block > 0 && (block + 1) * l->block - k0 < end)
            end = (block + 1) * l->block - k0;
        float scale = (float)tm_real_get(l->scales, all * blocks + block);
        widen(bytes, k0 + k, end - k, l->bits, zero_of(l, row, blocks, block), scale, to + k);
        k = end;
    }
}

static void pack_rows(const tm_product_f32 *p, int64_t k0, int64_t depth, int64_t n0, int64_t width,
                      float *panel) {
    const int64_t full = TM_PANEL_BYTES / (int64_t)sizeof(float);
    float row[TM_PANEL_DEPTH];
    for (int64_t j = 0; j < full; j++) {
        if (j < width)
            load_row(p->context, n0 + j, k0, depth, row);
        for (int64_t k = 0; k < depth; k++)
            panel[k * full + j] = j < width ? row[k] : 0;
    }
}

/* Few tokens: each row of the weights is read once and multiplied with all of them. */
typedef struct few {
    const layer *layer;
    int64_t tokens;
    const float *from;
    float *to;
} few;

static int32_t dot_rows(void *arg, int64_t begin, int64_t end) {
    const few *f = arg;
    const int64_t columns = f->layer->columns;
    float row[PIECE];
    for (int64_t r = begin; r < end; r++) {
        float sums[FEW] = {0};
        for (int64_t k0 = 0; k0 < columns; k0 += PIECE) {
            int64_t count = columns - k0 < PIECE ? columns - k0 : PIECE;
            load_row(f->layer, r, k0, count, row);
            for (int64_t t = 0; t < f->tokens; t++) {
                const float *x = f->from + t * columns + k0;
                float part;
                TM_FOLD_SUM(float, part, count, row[i] * x[i]);
                sums[t] += part;
            }
        }
        for (int64_t t = 0; t < f->tokens; t++)
            f->to[t * f->layer->rows + r] = sums[t];
    }
    return 0;
}

/* rows of `to` = rows of `from` times the weights of one expert, for the places that it has. */
static int32_t multiply(tm_run *run, const mixture *m, layer *l, int64_t expert, const float *from,
                        float *to) {
    int64_t first = m->start[expert], tokens = m->start[expert + 1] - first;
    l->expert = expert;
    from += first * l->columns;
    to += first * l->rows;
    if (tokens == 0)
        return 0;
    if (tokens <= FEW)
        return tm_parallel(run, l->rows, 16384 / (l->columns + 1) + 1, dot_rows, &(few){l, tokens, from, to});
    tm_product_f32 p = {.m = tokens,
                        .n = l->rows,
                        .k = l->columns,
                        .a = from,
                        .a_row = l->columns,
                        .a_column = 1,
                        .c = to,
                        .c_row = l->rows,
                        .pack = pack_rows,
                        .context = l};
    return tm_product_run_f32(run, &p, 1, NULL, NULL);
}

/* ---- the router ---- */

/* The k largest of a token's logits, the largest first, of equal ones the first. */
static void choose(const mixture *m, int64_t token) {
    int64_t *expert = m->expert + token * m->k;
    for (int64_t r = 0; r < m->k; r++) {
        int64_t best = -1;
        double best_logit = 0;
        for (int64_t e = 0; e < m->experts; e++) {
            double logit = tm_real_get(m->router, token * m->experts + e);
            bool taken = false;
            for (int64_t i = 0; i < r && !taken; i++)
                taken = expert[i] == e;
            if (!taken && (best < 0 || logit > best_logit)) {
                best = e;
                best_logit = logit;
            }
        }
        expert[r] = best;
    }
}

static int32_t route(void *arg, int64_t begin, int64_t end) {
    const mixture *m = arg;
    for (int64_t t = begin; t < end; t++) {
        choose(m, t);
        const int64_t *expert = m->expert + t * m->k, row = t * m->experts;
        float *weight = m->weight + t * m->k, top = (float)tm_real_get(m->router, row + expert[0]), sum = 0,
              chosen = 0;
        for (int64_t e = 0; e < m->experts; e++)
            sum += tm_exp_f32((float)tm_real_get(m->router, row + e) - top);
        for (int64_t r = 0; r < m->k; r++) {
            float logit = (float)tm_real_get(m->router, row + expert[r]);
            weight[r] = m->mixing != NULL ? (float)tm_real_get(m->mixing, row + expert[r])
                                          : tm_exp_f32(logit - top) / sum;
            chosen += weight[r];
        }
        for (int64_t r = 0; r < m->k && m->normalise && chosen != 0; r++)
            weight[r] /= chosen;
    }
    return 0;
}

/* Counts the routes of each expert and gives them places in its order. */
static void order_routes(mixture *m) {
    for (int64_t e = 0; e <= m->experts; e++)
        m->start[e] = 0;
    for (int64_t i = 0; i < m->routes; i++)
        m->start[m->expert[i] + 1]++;
    for (int64_t e = 0; e < m->experts; e++)
        m->start[e + 1] += m->start[e];
    for (int64_t i = 0; i < m->routes; i++)
        m->place[i] = m->start[m->expert[i]]++;
    for (int64_t e = m->experts; e > 0; e--)
        m->start[e] = m->start[e - 1];
    m->start[0] = 0;
}

/* ---- rows ---- */

static float activate(activation a, float x) {
    switch (a) {
    case RELU:
        return x > 0 ? x : x == x ? 0 : x;
    case RELU2:
        return x > 0 ? x * x : x == x ? 0 : x;
    case GELU:
    case GEGLU:
        return tm_gelu_tanh_f32(x);
    case SILU:
        return x * tm_sigmoid_f32(x);
    default:
        return x;
    }
}

static float clamp(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}

static float gate(const mixture *m, float g, float l) {
    bool limited = m->limit == m->limit;
    if (m->activation == GEGLU)
        return tm_gelu_tanh_f32(g) * l;
    if (limited) {
        l = clamp(l, -m->limit, m->limit);
        if (!m->limit_after)
            g = g > m->limit ? m->limit : g;
    }
    float turned = g * tm_sigmoid_f32(m->alpha * g);
    if (limited && m->limit_after && turned > m->limit)
        turned = m->limit;
    return turned * (l + m->beta);
}

static float with_bias(const layer *l, int64_t expert, const float *row, int64_t i) {
    return l->bias != NULL ? row[i] + (float)tm_real_get(l->bias, expert * l->rows + i) : row[i];
}

/* Rows in the order by route: where they come from and what becomes of the first product. */
static int32_t gather_rows(void *arg, int64_t begin, int64_t end) {
    const mixture *m = arg;
    for (int64_t i = begin; i < end; i++) {
        float *to = m->in + m->place[i] * m->hidden;
        for (int64_t j = 0; j < m->hidden; j++)
            to[j] = (float)tm_real_get(m->x, i / m->k * m->hidden + j);
    }
    return 0;
}

static int32_t activate_rows(void *arg, int64_t begin, int64_t end) {
    const mixture *m = arg;
    for (int64_t i = begin; i < end; i++) {
        int64_t place = m->place[i], expert = m->expert[i], inner = m->inner;
        const float *first = m->first + place * m->fc1.rows, *third = m->third + place * inner;
        float *to = m->between + place * inner;
        for (int64_t j = 0; j < inner; j++) {
            float l = 1;
            if (m->fc3.weights != NULL)
                l = with_bias(&m->fc3, expert, third, j);
            if (m->activation < SWIGLU)
                to[j] = activate(m->activation, with_bias(&m->fc1, expert, first, j)) * l;
            else if (m->fusion == 0)
                to[j] = gate(m, with_bias(&m->fc1, expert, first, j), l);
            else if (m->fusion == 1)
                to[j] = gate(m, with_bias(&m->fc1, expert, first, 2 * j),
                             with_bias(&m->fc1, expert, first, 2 * j + 1));
            else
                to[j] = gate(m, with_bias(&m->fc1, expert, first, j),
                             with_bias(&m->fc1, expert, first, inner + j));
        }
    }
    return 0;
}

static int32_t mix_rows(void *arg, int64_t begin, int64_t end) {
    const mixture *m = arg;
    for (int64_t t = begin; t < end; t++)
        for (int64_t j = 0; j < m->hidden; j++) {
            float sum = 0;
            for (int64_t r = 0; r < m->k; r++) {
                int64_t i = t * m->k + r;
                sum += m->weight[i] * with_bias(&m->fc2, m->expert[i], m->out + m->place[i] * m->hidden, j);
            }
            tm_real_set(m->y, t * m->hidden + j, (double)sum);
        }
    return 0;
}

/* ---- the op ---- */

static bool layer_fits(const layer *l, int64_t experts, int64_t rows, int64_t columns) {
    if (l->weights == NULL)
        return true;
    int64_t blocks = l->block > 0 ? (columns + l->block - 1) / l->block : 1;
    int64_t zeros =
        l->block > 0 ? experts * rows * ((blocks * l->bits + 7) / 8) : experts * ((rows * l->bits + 7) / 8);
    return l->rows == rows && l->columns == columns && l->weights->dims[0] == experts &&
           (l->scales == NULL || tm_count(l->scales) == experts * rows * blocks) &&
           (l->zeros == NULL || tm_count(l->zeros) == zeros) &&
           (l->bias == NULL || tm_count(l->bias) == experts * rows);
}

static int32_t run_experts(tm_run *run, mixture *m) {
    int64_t grain = 4096 / (m->hidden + 1) + 1;
    int32_t code = tm_parallel(run, m->tokens, 16, route, m);
    if (code != 0)
        return code;
    order_routes(m);
    code = tm_parallel(run, m->routes, grain, gather_rows, m);
    for (int64_t e = 0; e < m->experts && code == 0; e++) {
        code = multiply(run, m, &m->fc1, e, m->in, m->first);
        if (code == 0 && m->fc3.weights != NULL)
            code = multiply(run, m, &m->fc3, e, m->in, m->third);
    }
    if (code == 0)
        code = tm_parallel(run, m->routes, 1024 / (m->inner + 1) + 1, activate_rows, m);
    for (int64_t e = 0; e < m->experts && code == 0; e++)
        code = multiply(run, m, &m->fc2, e, m->between, m->out);
    return code != 0 ? code : tm_parallel(run, m->tokens, grain, mix_rows, m);
}

static int32_t mixture_run(tm_run *run, const tm_call *call, mixture *m) {
    m->x = tm_in(run, call, 0);
    m->router = tm_in(run, call, 1);
    m->y = tm_out(run, call, 0);
    m->hidden = m->x->dims[m->x->rank - 1];
    m->tokens = tm_product(m->x->dims, 0, m->x->rank - 1);
    m->experts = m->router->dims[1];
    m->inner = m->fc2.columns;
    m->routes = m->tokens * m->k;
    bool fused = m->activation >= SWIGLU && m->fusion != 0;
    if (m->k < 1 || m->k > m->experts)
        return tm_fail(run, call, TM_RUN_VALUE, m->k, m->experts);
    if (m->router->dims[0] != m->tokens || (m->mixing != NULL && tm_count(m->mixing) != tm_count(m->router)))
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, m->router->dims[0], m->tokens);
    if (!layer_fits(&m->fc1, m->experts, fused ? 2 * m->inner : m->inner, m->hidden) ||
        !layer_fits(&m->fc2, m->experts, m->hidden, m->inner) ||
        !layer_fits(&m->fc3, m->experts, m->inner, m->hidden))
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, m->fc1.rows, m->inner);
    int64_t floats = m->routes * (2 * m->hidden + m->fc1.rows + m->fc3.rows + m->inner + 1);
    int64_t bytes =
        (2 * m->routes + m->experts + 1) * (int64_t)sizeof(int64_t) + floats * (int64_t)sizeof(float);
    char *memory = tm_scratch(run, call, bytes);
    if (memory == NULL)
        return run->code;
    m->expert = (int64_t *)(void *)memory;
    m->place = m->expert + m->routes;
    m->start = m->place + m->routes;
    m->weight = (float *)(void *)(m->start + m->experts + 1);
    m->in = m->weight + m->routes;
    m->out = m->in + m->routes * m->hidden;
    m->first = m->out + m->routes * m->hidden;
    m->third = m->first + m->routes * m->fc1.rows;
    m->between = m->third + m->routes * m->fc3.rows;
    int32_t code = run_experts(run, m);
    tm_unscratch(run, memory, bytes);
    return code;
}

static activation activation_of(const void *attributes, tm_list name) {
    static const char names[][9] = {"relu", "gelu", "silu", "identity", "relu2", "swiglu", "geglu"};
    int i = 0;
    while (i < GEGLU && !tm_is(attributes, name, names[i]))
        i++;
    return (activation)i;
}

static void layer_init(tm_run *run, const tm_call *call, layer *out, int weights, int scales, int bias,
                       int zeros) {
    out->weights = tm_in(run, call, weights);
    out->scales = scales >= 0 ? tm_in(run, call, scales) : NULL;
    out->zeros = zeros >= 0 ? tm_in(run, call, zeros) : NULL;
    out->bias = tm_in(run, call, bias);
    out->rows = out->weights != NULL ? out->weights->dims[1] : 0;
    out->columns = out->weights != NULL ? out->weights->dims[2] : 0;
    if (out->bits != 0)
        out->columns = out->columns * 8 / out->bits;
}

#define MIXTURE(a)                                           \
    {.k = (a)->k,                                            \
     .normalise = (a)->normalize_routing_weights != 0,       \
     .fusion = (a)->swiglu_fusion,                           \
     .activation = activation_of((a), (a)->activation_type), \
     .alpha = (float)(a)->activation_alpha,                  \
     .beta = (float)(a)->activation_beta,                    \
     .limit = (float)(a)->swiglu_limit,                      \
     .limit_after = (a)->swiglu_limit_after_activation != 0}

static int32_t plain(tm_run *run, const tm_call *call) {
    const tm_attrs_MoE *a = tm_attributes(call);
    mixture m = MIXTURE(a);
    layer_init(run, call, &m.fc1, 2, -1, 3, -1);
    layer_init(run, call, &m.fc2, 4, -1, 5, -1);
    layer_init(run, call, &m.fc3, 6, -1, 7, -1);
    return mixture_run(run, call, &m);
}

static int32_t quantized(tm_run *run, const tm_call *call) {
    const tm_attrs_QMoE *a = tm_attributes(call);
    mixture m = MIXTURE(a);
    m.fc1.bits = a->fc1_expert_weight_bits > 0 ? a->fc1_expert_weight_bits : a->expert_weight_bits;
    m.fc2.bits = a->fc2_expert_weight_bits > 0 ? a->fc2_expert_weight_bits : a->expert_weight_bits;
    m.fc3.bits = a->fc3_expert_weight_bits > 0 ? a->fc3_expert_weight_bits : a->expert_weight_bits;
    m.fc1.block = m.fc2.block = m.fc3.block = a->block_size;
    m.mixing = tm_in(run, call, 14);
    layer_init(run, call, &m.fc1, 2, 3, 4, 11);
    layer_init(run, call, &m.fc2, 5, 6, 7, 12);
    layer_init(run, call, &m.fc3, 8, 9, 10, 13);
    return mixture_run(run, call, &m);
}

#define X(s)                                                     \
    int32_t tm_k_ms_MoE_##s(tm_run *run, const tm_call *call) {  \
        return plain(run, call);                                 \
    }                                                            \
    int32_t tm_k_ms_QMoE_##s(tm_run *run, const tm_call *call) { \
        return quantized(run, call);                             \
    }
X(f32)
X(f16)
X(bf16)
#undef X
