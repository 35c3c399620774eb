/* SPDX-License-Identifier: Apache-2.0
 *
 * tf_idf.c: TfIdfVectorizer.
 *
 * The pool holds n-grams by length: those of length n from ngram_counts[n - 1] to ngram_counts[n], each n
 * tokens long; the g-th n-gram of the pool counts into column ngram_indexes[g]. An n-gram of a row is n
 * tokens at equal distances 1, 2, ... max_skip_count + 1 (distances mean nothing for n = 1). With "the cat
 * sat" and bigrams, distance 2 finds "the sat".
 */
#include "runtime/ops/element.h"
#include "runtime/ops/text.h"

typedef struct vectorizer {
    const tm_attrs_TfIdfVectorizer *a;
    const tamis_tensor *x;
    const int64_t *counts, *indexes;
    int64_t pool_tokens, columns;
} vectorizer;

static bool same_token(const vectorizer *v, int64_t element, int64_t pool) {
    if (v->x->type == TAMIS_TYPE_STRING) {
        tm_list token = tm_strings(v->a, v->a->pool_strings)[pool];
        return tm_text_same(((const tamis_string *)v->x->data)[element], tm_text_of(v->a, token));
    }
    int64_t value =
        v->x->type == TAMIS_TYPE_INT64 ? tm_get_i64(v->x->data, element) : tm_get_i32(v->x->data, element);
    return value == tm_ints(v->a, v->a->pool_int64s)[pool];
}

/* Adds the pool's n-grams of length n that stand at `first` with tokens `distance` apart. */
static void count_at(const vectorizer *v, int64_t n, int64_t first_gram, int64_t first, int64_t distance,
                     float *row) {
    int64_t begin = v->counts[n - 1];
    int64_t end = n < v->a->ngram_counts.count ? v->counts[n] : v->pool_tokens;
    for (int64_t gram = 0; begin + (gram + 1) * n <= end; gram++) {
        int64_t k = 0;
        while (k < n && same_token(v, first + k * distance, begin + gram * n + k))
            k++;
        if (k == n)
            row[v->indexes[first_gram + gram]] += 1;
    }
}

static void count_row(const vectorizer *v, int64_t start, int64_t length, float *row) {
    int64_t first_gram = 0;
    for (int64_t n = 1; n <= v->a->max_gram_length && n <= v->a->ngram_counts.count; n++) {
        int64_t skips = n == 1 ? 0 : v->a->max_skip_count;
        for (int64_t distance = 1; n >= v->a->min_gram_length && distance <= skips + 1; distance++)
            for (int64_t i = 0; i + (n - 1) * distance < length; i++)
                count_at(v, n, first_gram, start + i, distance, row);
        int64_t end = n < v->a->ngram_counts.count ? v->counts[n] : v->pool_tokens;
        first_gram += (end - v->counts[n - 1]) / n;
    }
}

/* A weight belongs to an n-gram of the pool, whose column ngram_indexes tells. */
static void weigh_row(const vectorizer *v, float *row) {
    bool idf = tm_is(v->a, v->a->mode, "IDF"), both = tm_is(v->a, v->a->mode, "TFIDF");
    for (int64_t gram = 0; (idf || both) && gram < v->a->ngram_indexes.count; gram++) {
        float *cell = &row[v->indexes[gram]];
        float weight = tm_has(v->a->weights) && gram < v->a->weights.count
                           ? (float)tm_floats(v->a, v->a->weights)[gram]
                           : 1.0f;
        if (idf)
            *cell = *cell > 0 ? weight : 0;
        else
            *cell *= weight;
    }
}

/* The offsets must rise and stay inside the pool, and there must be a column for each n-gram. */
static bool is_consistent(const vectorizer *v) {
    int64_t grams = 0;
    for (int64_t n = 1; n <= v->a->ngram_counts.count; n++) {
        int64_t end = n < v->a->ngram_counts.count ? v->counts[n] : v->pool_tokens;
        if (v->counts[n - 1] < 0 || end < v->counts[n - 1] || end > v->pool_tokens)
            return false;
        grams += (end - v->counts[n - 1]) / n;
    }
    for (int64_t g = 0; g < v->a->ngram_indexes.count; g++)
        if (v->indexes[g] < 0 || v->indexes[g] >= v->columns)
            return false;
    return grams <= v->a->ngram_indexes.count;
}

int32_t tm_k_TfIdfVectorizer(tm_run *run, const tm_call *call) {
    const tm_attrs_TfIdfVectorizer *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    bool text = x->type == TAMIS_TYPE_STRING;
    vectorizer v = {a,
                    x,
                    tm_ints(a, a->ngram_counts),
                    tm_ints(a, a->ngram_indexes),
                    text ? a->pool_strings.count : a->pool_int64s.count,
                    y->dims[y->rank - 1]};
    if (!is_consistent(&v))
        return tm_fail(run, call, TM_RUN_LISTS, v.pool_tokens, v.columns);
    int64_t rows = x->rank == 2 ? x->dims[0] : 1, length = x->dims[x->rank - 1];
    for (int64_t row = 0; row < rows; row++) {
        float *to = (float *)y->data + row * v.columns;
        for (int64_t c = 0; c < v.columns; c++)
            to[c] = 0;
        count_row(&v, row * length, length, to);
        weigh_row(&v, to);
    }
    return 0;
}
