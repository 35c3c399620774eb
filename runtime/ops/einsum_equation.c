/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the equation of Einsum; see einsum.h. Inference has checked it, so only dims can be wrong.
 */
#include "runtime/ops/einsum.h"

static int letter_label(char c) {
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    return c >= 'A' && c <= 'Z' ? c - 'A' : -1; /* upper case first: the order of characters */
}

static const char *equation_text(const tm_call *call, int32_t *out_count) {
    const tm_attrs_Einsum *a = tm_attributes(call);
    *out_count = a->equation.count;
    return tm_chars(a, a->equation);
}

static int32_t add_axis(tm_run *run, const tm_call *call, tm_einsum *equation, tm_einsum_term *term,
                        int label, int64_t dim, int64_t stride) {
    int64_t *size = &equation->size[label];
    if (*size < 0 || *size == 1)
        *size = dim;
    else if (dim != 1 && dim != *size)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, *size, dim);
    if (dim != 1)
        term->stride[label] += stride;
    term->has[label] = true;
    term->labels[term->rank++] = (uint8_t)label;
    return 0;
}

int32_t tm_einsum_input(tm_run *run, const tm_call *call, tm_einsum *equation, int input,
                        tm_einsum_term *out) {
    int32_t count, letters = 0, end = equation->position;
    const char *text = equation_text(call, &count);
    const tamis_tensor *x = tm_in(run, call, input);
    for (; end < count && text[end] != ',' && text[end] != '-'; end++)
        letters += letter_label(text[end]) >= 0;
    int32_t more = x->rank - letters;
    out->data = x->data;
    out->rank = 0;
    for (int i = 0; i < TM_LABELS; i++) {
        out->stride[i] = 0;
        out->has[i] = false;
    }
    for (int32_t i = equation->position; i < end; i++) {
        int label = letter_label(text[i]);
        int32_t repeat = 1;
        if (text[i] == '.') {
            equation->dots = true;
            equation->dots_count = more > equation->dots_count ? more : equation->dots_count;
            repeat = more;
            i += 2;
        } else if (label < 0) {
            continue;
        } else {
            equation->uses[label]++;
        }
        for (int32_t d = 0; d < repeat; d++) {
            int32_t axis = out->rank;
            int32_t code = add_axis(run, call, equation, out, label >= 0 ? label : 52 + more - 1 - d,
                                    x->dims[axis], tm_product(x->dims, axis + 1, x->rank));
            if (code != 0)
                return code;
        }
    }
    equation->position = end < count && text[end] == ',' ? end + 1 : end;
    return 0;
}

void tm_einsum_output(const tm_call *call, tm_einsum *equation) {
    int32_t count;
    const char *text = equation_text(call, &count);
    equation->output_rank = 0;
    bool given = equation->position < count;
    for (int32_t i = equation->position + 2; i < count; i++) {
        if (text[i] == '.') {
            for (int32_t d = equation->dots_count; d > 0; d--)
                equation->output[equation->output_rank++] = (uint8_t)(52 + d - 1);
            i += 2;
        } else if (letter_label(text[i]) >= 0) {
            equation->output[equation->output_rank++] = (uint8_t)letter_label(text[i]);
        }
    }
    if (given)
        return;
    for (int32_t d = equation->dots_count; d > 0; d--)
        equation->output[equation->output_rank++] = (uint8_t)(52 + d - 1);
    for (int label = 0; label < 52; label++)
        if (equation->uses[label] == 1)
            equation->output[equation->output_rank++] = (uint8_t)label;
}

bool tm_einsum_needs(const tm_call *call, const tm_einsum *equation, int next, int label) {
    for (int32_t i = 0; i < equation->output_rank; i++)
        if (equation->output[i] == label)
            return true;
    int32_t count, input = 0;
    const char *text = equation_text(call, &count);
    for (int32_t i = 0; i < count && text[i] != '-'; i++) {
        if (text[i] == ',')
            input++;
        else if (input >= next && (letter_label(text[i]) == label || (text[i] == '.' && label >= 52)))
            return true;
    }
    return false;
}

void tm_label_add(tm_label_list *list, const tm_einsum *equation, int label) {
    list->labels[list->count++] = (uint8_t)label;
    list->total *= equation->size[label];
}
