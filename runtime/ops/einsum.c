/* SPDX-License-Identifier: Apache-2.0
 *
 * Einsum, from left to right: the first two terms contract into one, that with the third, and so on.
 *
 *     "bij,bjk,k->bi"     bij x bjk -> b i k,   bik x k -> b i
 *
 * A contraction of two terms is a batched matrix product. A label is
 *
 *     batch   in both, needed later        m, n   in the left (right) one only, needed later
 *     k       in both, not needed          else   in one only, not needed: summed first
 *
 * Both operands are copied into the orders batch-m-k and batch-k-n, which also resolves repeated labels
 * (diagonals: their strides add) and dims of 1 (stride 0). The last step copies into the output's order.
 * Narrow types are widened: floats to float, integers to 32 bits, whose products wrap around alike.
 */
#include "runtime/ops/einsum.h"
#include "runtime/ops/element.h"
#include "runtime/ops/product.h"

/* A place in a term while labels count up. */
typedef struct walk {
    int32_t count;
    int64_t offset;
    int64_t size[TM_LABELS], stride[TM_LABELS], at[TM_LABELS];
} walk;

/* Over the first `count` labels of the list. */
static walk walk_start(const tm_einsum *equation, const tm_einsum_term *term, const tm_label_list *list,
                       int32_t count) {
    walk w;
    w.count = count;
    w.offset = 0;
    for (int32_t i = 0; i < count; i++) {
        w.size[i] = equation->size[list->labels[i]];
        w.stride[i] = term->stride[list->labels[i]];
        w.at[i] = 0;
    }
    return w;
}

static void walk_step(walk *w) {
    for (int32_t i = w->count - 1; i >= 0; i--) {
        w->offset += w->stride[i];
        if (++w->at[i] < w->size[i])
            return;
        w->offset -= w->stride[i] * w->size[i];
        w->at[i] = 0;
    }
}

/* Reads all terms once for the sizes and the output; then reading starts again. */
static int32_t read_equation(tm_run *run, const tm_call *call, tm_einsum *out) {
    tm_einsum_term term;
    out->position = out->dots_count = 0;
    out->dots = false;
    for (int i = 0; i < TM_LABELS; i++) {
        out->size[i] = -1;
        out->uses[i] = 0;
    }
    for (int i = 0; i < call->n_in; i++) {
        int32_t code = tm_einsum_input(run, call, out, i, &term);
        if (code != 0)
            return code;
    }
    tm_einsum_output(call, out);
    out->position = 0;
    return 0;
}

/* How the labels of two terms take part in their product. */
typedef struct split {
    tm_label_list left, right, result, left_only, right_only;
    int64_t batches, m, n, k;
} split;

static void split_labels(const tm_call *call, const tm_einsum *equation, int next, const tm_einsum_term *left,
                         const tm_einsum_term *right, split *out) {
    tm_label_list batch = {.total = 1}, m = {.total = 1}, n = {.total = 1}, k = {.total = 1};
    tm_label_list *const all[] = {&out->left, &out->right, &out->result, &out->left_only, &out->right_only};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        *all[i] = (tm_label_list){.total = 1};
    for (int label = 0; label < TM_LABELS; label++) {
        bool in_left = left->has[label], in_right = right->has[label];
        if (!in_left && !in_right)
            continue;
        bool needed = tm_einsum_needs(call, equation, next, label);
        if (in_left && in_right)
            tm_label_add(needed ? &batch : &k, equation, label);
        else if (in_left)
            tm_label_add(needed ? &m : &out->left_only, equation, label);
        else
            tm_label_add(needed ? &n : &out->right_only, equation, label);
    }
    const tm_label_list *const orders[3][3] = {{&batch, &m, &k}, {&batch, &k, &n}, {&batch, &m, &n}};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            for (int32_t l = 0; l < orders[i][j]->count; l++)
                tm_label_add(all[i], equation, orders[i][j]->labels[l]);
    out->batches = batch.total;
    out->m = m.total;
    out->n = n.total;
    out->k = k.total;
}

/* A dense term of these labels. */
static void term_of(const tm_einsum *equation, const tm_label_list *labels, const void *data,
                    tm_einsum_term *out) {
    *out = (tm_einsum_term){.data = data};
    int64_t stride = 1;
    for (int32_t i = labels->count - 1; i >= 0; i--) {
        out->has[labels->labels[i]] = true;
        out->stride[labels->labels[i]] = stride;
        stride *= equation->size[labels->labels[i]];
    }
}

/* The output's labels in order, and those of the last term that it has not. */
static void output_labels(const tm_einsum *equation, const tm_einsum_term *term, tm_label_list *keep,
                          tm_label_list *sum) {
    bool kept[TM_LABELS] = {false};
    for (int32_t i = 0; i < equation->output_rank; i++) {
        tm_label_add(keep, equation, equation->output[i]);
        kept[equation->output[i]] = true;
    }
    for (int label = 0; label < TM_LABELS; label++)
        if (term->has[label] && !kept[label])
            tm_label_add(sum, equation, label);
}

#define T float
#define N f32
#include "runtime/ops/einsum.inc"

#define T double
#define N f64
#include "runtime/ops/einsum.inc"

#define T uint32_t
#define N u32
#include "runtime/ops/einsum.inc"

#define T uint64_t
#define N u64
#include "runtime/ops/einsum.inc"

#define X(s, N)                                                           \
    TM_KERNEL(Einsum, s) {                                                \
        return evaluate_##N(run, call, NULL, tm_out(run, call, 0)->data); \
    }
X(f32, f32)
X(f64, f64)
X(i32, u32)
X(u32, u32)
X(i64, u64)
X(u64, u64)
#undef X

/* Inputs and output by way of T. */
#define X(s, S, T, N)                                                             \
    TM_KERNEL(Einsum, s) {                                                        \
        tamis_tensor *y = tm_out(run, call, 0);                                   \
        int64_t count = 0, outputs = tm_count(y);                                 \
        for (int i = 0; i < call->n_in; i++)                                      \
            count += tm_count(tm_in(run, call, i));                               \
        int64_t bytes = (count + outputs) * (int64_t)sizeof(T) + TAMIS_ALIGNMENT; \
        T *memory = tm_scratch(run, call, bytes), *next = memory;                 \
        if (memory == NULL)                                                       \
            return run->code;                                                     \
        for (int i = 0; i < call->n_in; i++) {                                    \
            const tamis_tensor *x = tm_in(run, call, i);                          \
            for (int64_t j = 0; j < tm_count(x); j++)                             \
                *next++ = (T)tm_load_##s(((const S *)x->data)[j]);                \
        }                                                                         \
        int32_t code = evaluate_##N(run, call, memory, next);                     \
        for (int64_t j = 0; j < outputs && code == 0; j++)                        \
            ((S *)y->data)[j] = tm_store_##s((tm_computed_##s)next[j]);           \
        tm_unscratch(run, memory, bytes);                                         \
        return code;                                                              \
    }
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
X(i8, int8_t, uint32_t, u32)
X(u8, uint8_t, uint32_t, u32)
X(i16, int16_t, uint32_t, u32)
X(u16, uint16_t, uint32_t, u32)
#undef X
