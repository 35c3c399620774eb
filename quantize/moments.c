/* SPDX-License-Identifier: Apache-2.0
 *
 * moments.c: second moments of the inputs of layers, and GPTQ with them.
 *
 * The moments of an input of k channels are k * k numbers, so not all are kept at once: each walk over the
 * samples collects those of as many inputs as fit into a fixed room, rounds the weights that read them, and
 * forgets them.
 */
#include "quantize/algebra.h"
#include "quantize/gptq.h"

#include <string.h>

#define ROOM ((int64_t)24 << 20) /* bytes of moments at once; a larger input stands alone */

typedef struct collection {
    int first_output;
    float **moments; /* by observed value; NULL: not in this walk */
} collection;

static tm_code collect(tm_quantizer *q, tm_build *build, int64_t sample, void *argument) {
    collection *c = argument;
    (void)sample;
    for (int i = 0; i < q->observed_count; i++) {
        const tamis_tensor *x = tamis_session_output(build->session, c->first_output + i);
        int64_t k = q->observations[i].channels, rows = 1;
        if (c->moments[i] == NULL || x->rank < 1 || x->dims[x->rank - 1] != k)
            continue;
        for (int d = 0; d + 1 < x->rank; d++)
            rows *= x->dims[d];
        tm_algebra_add_moments(c->moments[i], x->data, rows, k);
    }
    return TM_OK;
}

static bool is_rounded(const tm_quantizer *q, const tm_layer *layer, int i) {
    return q->plans[i].weights.values != NULL && layer->observed >= 0 && layer->sum_axis >= 0 &&
           layer->node->op != TM_OP_Conv && q->observations[layer->observed].channels == layer->k;
}

/* In the memory of the weights that were there. */
static void replace(tm_quantized *weights, const tm_quantized *better) {
    tm_quantized old = *weights;
    size_t columns = (size_t)old.n, blocks = (size_t)((old.k + old.block - 1) / old.block);
    memcpy(old.values, better->values, (size_t)old.k * columns);
    memcpy(old.scales, better->scales, blocks * columns * sizeof *old.scales);
    if (old.zeros != NULL)
        memcpy(old.zeros, better->zeros, blocks * columns);
    *weights = *better;
    weights->values = old.values;
    weights->scales = old.scales;
    weights->zeros = old.zeros;
}

static tm_code round_layers(tm_quantizer *q, const tm_loaded *loaded, const collection *c) {
    for (int i = 0; i < q->layer_count; i++) {
        const tm_layer *layer = &loaded->layers.items[i];
        tm_quantized *weights = &q->plans[i].weights, better;
        if (!is_rounded(q, layer, i) || c->moments[layer->observed] == NULL)
            continue;
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(q, &scratch);
        float *matrix = tm_layer_matrix(&scratch, layer);
        if (tm_quantize_gptq(&scratch, &scratch, matrix, c->moments[layer->observed], layer->k, layer->n,
                             weights->bits, weights->block, weights->zeros != NULL, &better))
            replace(weights, &better);
        tm_arena_deinit(&scratch);
    }
    return TM_OK;
}

/* Inputs from *at on that fit into the room. */
static bool next_inputs(const tm_quantizer *q, const tm_loaded *loaded, tm_arena *scratch, int *at,
                        collection *c) {
    int64_t left = ROOM;
    bool any = false;
    for (; *at < q->observed_count; (*at)++) {
        int64_t k = q->observations[*at].channels, bytes = k * k * 4;
        bool wanted = false;
        for (int i = 0; i < q->layer_count; i++)
            wanted = wanted ||
                     (loaded->layers.items[i].observed == *at && is_rounded(q, &loaded->layers.items[i], i));
        if (!wanted)
            continue;
        if (any && bytes > left)
            break;
        left -= bytes;
        any = true;
        c->moments[*at] = TM_NEW_ARRAY(scratch, float, k *k);
    }
    return any;
}

tm_code tm_quantize_weights_gptq(tm_quantizer *q, const tm_loaded *loaded) {
    tm_build build;
    collection c = {0};
    const char *missing = tm_algebra_load();
    if (missing != NULL)
        return tm_report(q->diagnostics, TM_E_USAGE, NULL, "install libopenblas0, or leave gptq out",
                         "gptq: %s", missing);
    TM_TRY(tm_build_observing(q, &build, &c.first_output));
    tm_code code = TM_OK;
    for (int at = 0; code == TM_OK && at < q->observed_count;) {
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(q, &scratch);
        c.moments = TM_NEW_ARRAY(&scratch, float *, q->observed_count);
        if (next_inputs(q, loaded, &scratch, &at, &c)) {
            code = tm_each_sample(q, q->options->most_samples, &build, collect, &c);
            code = code == TM_OK ? round_layers(q, loaded, &c) : code;
        }
        tm_arena_deinit(&scratch);
    }
    tm_build_destroy(&build);
    return code;
}
