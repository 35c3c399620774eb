/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_symbol.c: which C kernel a node needs.
 *
 * The row's kernel key names the types that the symbol carries, two characters each:
 *
 *     T0, T1   type of input 0, 1        tm_k_Add_f32
 *     W0, W1   width of its elements     tm_k_Transpose_w4 (bytes), _b4 (bits, packed)
 *     O0       type of output 0          "T0O0": tm_k_Cast_f32_i64
 *
 * so an op that only moves bytes needs six kernels and not 26. Whether a symbol exists is asked of the
 * table that the build makes from the kernels themselves: there is no second list of what is supported.
 */
#include "ir/evaluate.h"

static const char *width_text(tamis_type type) {
    switch (tm_type_bits(type)) {
    case 2:
        return "b2";
    case 4:
        return "b4";
    case 8:
        return "w1";
    case 16:
        return "w2";
    case 32:
        return "w4";
    case 64:
        return "w8";
    default:
        return "w16";
    }
}

const char *tm_kernel_symbol(const tm_node *node) {
    const tm_op_info *info = tm_op_get(node->op);
    static const char *const prefixes[] = {[TM_DOMAIN_ML] = "ml_", [TM_DOMAIN_MS] = "ms_"};
    size_t domain = (size_t)info->domain;
    const char *prefix =
        domain < sizeof prefixes / sizeof prefixes[0] && prefixes[domain] != NULL ? prefixes[domain] : "";
    tm_text text;
    tm_text_init(&text, node->graph->model->arena);
    tm_text_add(&text, "tm_k_%s%s", prefix, info->name);
    for (const char *key = info->kernel_key; key[0] != 0 && key[1] != 0; key += 2) {
        int index = key[1] - '0';
        const tm_value *value = NULL;
        if (key[0] == 'O')
            value = index < node->output_count ? node->outputs[index] : NULL;
        else
            value = index < node->input_count ? node->inputs[index] : NULL;
        tamis_type type = value != NULL ? value->type : TAMIS_TYPE_UNDEFINED;
        tm_text_add(&text, "_%s", key[0] == 'W' ? width_text(type) : tm_type_suffix(type));
    }
    return tm_text_get(&text);
}

bool tm_kernel_exists(const tm_node *node) {
    return tm_op_has(node->op, TM_VIEW | TM_CONTROL) || tm_kernel_find(tm_kernel_symbol(node)) != NULL;
}
