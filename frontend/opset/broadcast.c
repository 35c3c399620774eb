/* SPDX-License-Identifier: Apache-2.0
 *
 * broadcast.c: elementwise ops before opset 7.
 *
 * They laid B over A only where `broadcast` was set, and then along consecutive dims of A from `axis`
 * on. Two-sided broadcasting aligns at the right, so B gets the missing axes there:
 *
 *     Add-6(A[2,3,4,5], B[3,4]) {broadcast: 1, axis: 1}   ->   Add(A, Unsqueeze(B, [2]))     B[3,4,1]
 *
 * Without an axis B was aligned at the right already. PRelu's slope of one dim belongs to the channels.
 */
#include "frontend/opset/opset.h"

tm_code tm_opset_broadcast(tm_draft *draft) {
    bool along_axis = tm_draft_int(draft, "broadcast", 0) != 0 && tm_draft_has(draft, "axis");
    int64_t axis = tm_draft_int(draft, "axis", 0);
    tm_draft_remove(draft, "broadcast");
    tm_draft_remove(draft, "axis");
    tm_value *b = tm_draft_input(draft, 1);
    if (!along_axis || b == NULL)
        return TM_OK;
    int rank_a, rank_b;
    TM_TRY(tm_draft_rank(draft, draft->inputs.items[0], &rank_a));
    TM_TRY(tm_draft_rank(draft, b, &rank_b));
    if (axis < 0)
        axis += rank_a;
    if (axis < 0 || axis + rank_b > rank_a)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "axis %lld does not fit ranks %d and %d", (long long)axis,
                             rank_a, rank_b);
    int missing = rank_a - (int)axis - rank_b;
    if (missing > 0)
        tm_draft_set_input(draft, 1, tm_opset_unsqueeze_after(draft, b, rank_b, missing));
    return TM_OK;
}

tm_code tm_opset_prelu(tm_draft *draft) {
    tm_value *slope = tm_draft_input(draft, 1);
    int rank, slope_rank;
    if (slope == NULL)
        return TM_OK;
    TM_TRY(tm_draft_rank(draft, draft->inputs.items[0], &rank));
    TM_TRY(tm_draft_rank(draft, slope, &slope_rank));
    if (slope_rank == 1 && rank > 2)
        tm_draft_set_input(draft, 1, tm_opset_unsqueeze_after(draft, slope, 1, rank - 2));
    return TM_OK;
}

tm_code tm_opset_gemm(tm_draft *draft) {
    tm_draft_remove(draft, "broadcast");
    return TM_OK;
}
