/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of Einsum. The equation is read from left to right:
 *
 *     "...ij,...jk->...ik"   terms of letters, one for each input; `...` stands for any further dims
 *     "ij,jk"                without an output term: the letters that occur once, in alphabetic order,
 *                            after the dims of `...`
 *
 * A letter has one dim everywhere (dims of 1 broadcast); `...` broadcasts from the right.
 */
#include "ir/infer.h"

#include <string.h>

static const tamis_type einsum_types[] = {TAMIS_TYPE_FLOAT,
                                          TAMIS_TYPE_DOUBLE,
                                          TAMIS_TYPE_FLOAT16,
                                          TAMIS_TYPE_BFLOAT16,
                                          TAMIS_TYPE_INT8,
                                          TAMIS_TYPE_INT16,
                                          TAMIS_TYPE_INT32,
                                          TAMIS_TYPE_INT64,
                                          TAMIS_TYPE_UINT8,
                                          TAMIS_TYPE_UINT16,
                                          TAMIS_TYPE_UINT32,
                                          TAMIS_TYPE_UINT64,
                                          0};

typedef struct equation {
    tm_dim dims[256]; /* of a letter; NULL: not seen */
    int uses[256];
    tm_dim more[TAMIS_MAX_RANK]; /* dims of `...`, from the right */
    int more_count;
    bool dots;
} equation;

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Length of the term at `text`, and what it holds. Fails on a character that has no place in it. */
static tm_code scan_term(tm_node *node, const char *text, int *out_length, int *out_letters, bool *out_dots) {
    int i = 0;
    *out_letters = 0;
    *out_dots = false;
    for (; text[i] != 0 && text[i] != ',' && !(text[i] == '-' && text[i + 1] == '>'); i++) {
        if (is_letter(text[i])) {
            ++*out_letters;
        } else if (text[i] == '.' && text[i + 1] == '.' && text[i + 2] == '.' && !*out_dots) {
            *out_dots = true;
            i += 2;
        } else if (text[i] != ' ') {
            return tm_infer_fail(node, TM_E_ATTRIBUTE,
                                 "the equation has an odd character at a term's place %d", i);
        }
    }
    *out_length = i;
    return TM_OK;
}

static tm_code broadcast_into(tm_infer_context *context, tm_node *node, tm_dim *known, tm_dim dim) {
    *known = *known == NULL ? dim : tm_dim_broadcast(context->dims, *known, dim);
    if (*known == NULL)
        return tm_infer_fail(node, TM_E_SHAPE, "two dims under one letter of the equation differ");
    return TM_OK;
}

static tm_code add_term(tm_infer_context *context, tm_node *node, equation *all, const char *text, int input,
                        int *out_length) {
    int letters;
    bool dots;
    TM_TRY(scan_term(node, text, out_length, &letters, &dots));
    TM_TRY(tm_infer_need(node, input, -1));
    tm_value *value = tm_infer_input(node, input);
    int more = value->rank - letters;
    if (more < 0 || (more > 0 && !dots))
        return tm_infer_fail(node, TM_E_SHAPE, "input %d has %d dims, its term %d letters", input,
                             value->rank, letters);
    all->dots = all->dots || dots;
    int axis = 0;
    for (int i = 0; i < *out_length; i++) {
        if (text[i] == '.') {
            for (int d = 0; d < more; d++)
                TM_TRY(broadcast_into(context, node, &all->more[more - 1 - d], value->dims[axis++]));
            all->more_count = more > all->more_count ? more : all->more_count;
            i += 2;
        } else if (is_letter(text[i])) {
            unsigned char letter = (unsigned char)text[i];
            all->uses[letter]++;
            TM_TRY(broadcast_into(context, node, &all->dims[letter], value->dims[axis++]));
        }
    }
    return TM_OK;
}

static tm_code output_dims(tm_node *node, const equation *all, const char *text, int *out_rank, tm_dim *out) {
    int rank = 0;
    bool taken[256] = {false};
    if (text == NULL) {
        for (int d = all->more_count; d > 0; d--)
            out[rank++] = all->more[d - 1];
        for (int c = 0; c < 256; c++) {
            if (all->uses[c] != 1)
                continue;
            if (rank == TAMIS_MAX_RANK)
                return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM, "the answer has more than %d dims",
                                     TAMIS_MAX_RANK);
            out[rank++] = all->dims[c];
        }
        *out_rank = rank;
        return TM_OK;
    }
    int length, letters;
    bool dots;
    TM_TRY(scan_term(node, text, &length, &letters, &dots));
    if (text[length] != 0 || letters + (dots ? all->more_count : 0) > TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "the equation's output term is not valid");
    for (int i = 0; i < length; i++) {
        if (text[i] == '.') {
            for (int d = all->more_count; d > 0; d--)
                out[rank++] = all->more[d - 1];
            i += 2;
        } else if (is_letter(text[i])) {
            if (all->dims[(unsigned char)text[i]] == NULL)
                return tm_infer_fail(node, TM_E_ATTRIBUTE, "letter %c of the output is in no input", text[i]);
            if (taken[(unsigned char)text[i]])
                return tm_infer_fail(node, TM_E_ATTRIBUTE, "letter %c is twice in the output", text[i]);
            taken[(unsigned char)text[i]] = true;
            out[rank++] = all->dims[(unsigned char)text[i]];
        }
    }
    *out_rank = rank;
    return TM_OK;
}

tm_code tm_infer_einsum(tm_infer_context *context, tm_node *node) {
    const char *text = tm_node_string(node, "equation");
    if (text == NULL)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "the equation is missing");
    equation *all = TM_NEW(context->arena, equation);
    int input = 0;
    while (true) {
        if (input == node->input_count)
            return tm_infer_fail(node, TM_E_ARITY, "the equation has more terms than the node has inputs");
        TM_TRY(tm_infer_need(node, input, -1));
        TM_TRY(tm_infer_need_type(node, input, einsum_types));
        TM_TRY(tm_infer_same_type(node, 0, input));
        int length;
        TM_TRY(add_term(context, node, all, text, input++, &length));
        text += length;
        if (*text != ',')
            break;
        text++;
    }
    if (input != node->input_count)
        return tm_infer_fail(node, TM_E_ARITY, "the equation has %d terms for %d inputs", input,
                             node->input_count);
    int rank;
    tm_dim dims[TAMIS_MAX_RANK];
    TM_TRY(output_dims(node, all, *text == '-' ? text + 2 : NULL, &rank, dims));
    tm_infer_set(node, 0, tm_infer_input(node, 0)->type, rank, dims);
    return TM_OK;
}
