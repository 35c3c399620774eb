/* SPDX-License-Identifier: Apache-2.0
 *
 * lp_pool.c: LpPool-1 and GlobalLpPool-1, whose p was any positive number. Today's is whole.
 *
 * For others the root of the sum is written out. A sum over windows is their average, padding counted,
 * times the window's size:
 *
 *     LpPool-1(x) {p: 1.5, kernel_shape: [3, 3]}
 *       ->   Pow(Mul(AveragePool(Pow(Abs(x), 1.5)) {count_include_pad: 1, kernel_shape: [3, 3]}, 9), 1 / 1.5)
 */
#include "frontend/opset/opset.h"

#include <string.h>

static tm_code binary_with(tm_draft *draft, tm_op op, tm_value *x, double number, tm_value **out_value) {
    tm_value *operand;
    TM_TRY(tm_draft_constant_like(draft, number, draft->inputs.items[0], &operand));
    *out_value = tm_draft_emit(draft, op, 2, (tm_value *[]){x, operand});
    return TM_OK;
}

static tm_code window_sums(tm_draft *draft, tm_value *x, tm_value **out_value) {
    static const char *const lists[] = {"kernel_shape", "pads", "strides"};
    tm_node *pool = tm_draft_emit_node(draft, TM_OP_AveragePool, 1, &x);
    double size = 1;
    const int64_t *values;
    int64_t count;
    for (size_t i = 0; i < 3; i++) {
        bool given = tm_draft_ints(draft, lists[i], &values, &count);
        if (given)
            tm_node_set_ints(pool, lists[i], values, count);
        else if (i == 0)
            return tm_draft_fail(draft, TM_E_ATTRIBUTE, "kernel_shape is missing");
        for (int64_t k = 0; i == 0 && k < count; k++)
            size *= (double)values[k];
    }
    tm_node_set_string(pool, "auto_pad", tm_draft_string(draft, "auto_pad", "NOTSET"));
    tm_node_set_int(pool, "count_include_pad", 1);
    return binary_with(draft, TM_OP_Mul, tm_draft_add_output(draft, pool), size, out_value);
}

static tm_code all_sums(tm_draft *draft, tm_value *x, tm_value **out_value) {
    int rank;
    int64_t axes[TAMIS_MAX_RANK];
    TM_TRY(tm_draft_rank(draft, draft->inputs.items[0], &rank));
    for (int i = 2; i < rank; i++)
        axes[i - 2] = i;
    tm_value *list = tm_draft_constant_ints(draft, axes, rank > 2 ? rank - 2 : 0);
    tm_node *sum = tm_draft_emit_node(draft, TM_OP_ReduceSum, 2, (tm_value *[]){x, list});
    tm_node_set_int(sum, "noop_with_empty_axes", 1);
    *out_value = tm_draft_add_output(draft, sum);
    return TM_OK;
}

tm_code tm_opset_lp_pool(tm_draft *draft) {
    double p = tm_draft_float(draft, "p", 2.0);
    if (!(p > 0.0))
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "p must be positive");
    if (p > 1024.0)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "p is %g; 1024 is the most", p);
    if (p >= 1.0 && p == (double)(int64_t)p) {
        tm_draft_set_int(draft, "p", (int64_t)p);
        return TM_OK;
    }
    tm_value *x = tm_draft_emit(draft, TM_OP_Abs, 1, draft->inputs.items), *root;
    TM_TRY(binary_with(draft, TM_OP_Pow, x, p, &x));
    TM_TRY(strcmp(draft->op, "LpPool") == 0 ? window_sums(draft, x, &x) : all_sums(draft, x, &x));
    TM_TRY(tm_draft_constant_like(draft, 1 / p, draft->inputs.items[0], &root));
    tm_draft_clear_attributes(draft);
    tm_draft_set_inputs(draft, 2, (tm_value *[]){x, root});
    draft->op = "Pow";
    return TM_OK;
}
