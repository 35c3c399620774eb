/* SPDX-License-Identifier: Apache-2.0
 *
 * slices.c: can the batch be run in slices?
 *
 *     x[N, 100, 2] -> ... -> y[N, 14], and no node mixes samples: y of 8 samples, then of the next 8, ...
 *
 * is the same answer, bit for bit, with the workspace of 8 samples, which stays in the second-level cache,
 * and whole slices are what threads share. The batch is a symbol that stands in front of every value that
 * comes from the inputs and nowhere else; then a node that would mix samples mostly cannot keep it there (a
 * sum over them, a concatenation along them). What is left is listed: only operators known to treat a leading
 * dim sample by sample. The runtime chooses the length of a slice (runtime/support_slices.c).
 */
#include "codegen/slices.h"

#include "ir/op.h"

typedef struct slicer {
    const tm_symbol *batch;
} slicer;

static bool mentions(tm_dim dim, const tm_symbol *symbol) {
    if (dim == NULL)
        return false;
    if (dim->kind == TM_DIM_SYMBOL)
        return dim->symbol == symbol;
    return mentions(dim->a, symbol) || mentions(dim->b, symbol) || mentions(dim->c, symbol);
}

static bool is_sliced(const slicer *s, const tm_value *value) {
    return value != NULL && value->rank > 0 && value->dims[0]->kind == TM_DIM_SYMBOL &&
           value->dims[0]->symbol == s->batch;
}

/* The batch leads, or does not occur. */
static bool is_tidy(const slicer *s, const tm_value *value) {
    if (value->kind != TAMIS_KIND_TENSOR || value->rank < 0 || value->type == TAMIS_TYPE_STRING ||
        tm_type_bits(value->type) < 8) /* a sample could start within a byte */
        return false;
    for (int i = is_sliced(s, value) ? 1 : 0; i < value->rank; i++)
        if (mentions(value->dims[i], s->batch))
            return false;
    for (int i = 0; i < value->rank; i++)
        if (value->dims[i]->late)
            return false;
    return true;
}

static int last_sliced(const slicer *s, const tm_node *node) {
    int last = -1;
    for (int i = 0; i < node->input_count; i++)
        if (is_sliced(s, node->inputs[i]))
            last = i;
    return last;
}

/* Operands that broadcast have the batch at the axis where the result has it. */
static bool aligned(const slicer *s, const tm_node *node) {
    for (int i = 0; i < node->input_count; i++)
        if (is_sliced(s, node->inputs[i]) && node->inputs[i]->rank != node->outputs[0]->rank)
            return false;
    return true;
}

static bool axis_is_inner(const tm_node *node) {
    int64_t axis = tm_node_int(node, "axis");
    int rank = node->inputs[0]->rank;
    return axis != TM_NO_DEFAULT && (axis < 0 ? axis + rank : axis) > 0;
}

/* Constant axes of input k that leave the first dim alone. */
static bool axes_are_inner(const tm_node *node, int k) {
    const tm_value *axes = k < node->input_count ? node->inputs[k] : NULL;
    if (axes == NULL || axes->constant == NULL)
        return false;
    for (int64_t i = 0; i < tm_constant_count(axes->constant); i++) {
        double axis = 0;
        if (!tm_constant_double(axes->constant, i, &axis) || axis == 0 || axis == -node->inputs[0]->rank)
            return false;
    }
    return true;
}

/* For a node with samples among its inputs. Longer than most functions: it is a list. */
static bool keeps_samples(const slicer *s, const tm_node *node) {
    if (tm_op_has(node->op, TM_ELEMENTWISE))
        return aligned(s, node);
    switch (node->op) {
    case TM_OP_Copy:
    case TM_OP_Reshape: /* samples stay where they are if their number does */
    case TM_OP_Squeeze:
    case TM_OP_Unsqueeze:
    case TM_OP_Flatten:
    case TM_OP_Identity:
    case TM_OP_Transpose:
    case TM_OP_Expand:
    case TM_OP_Concat:
    case TM_OP_Split:
    case TM_OP_ReduceSum:
    case TM_OP_ReduceMean:
    case TM_OP_ReduceMax:
    case TM_OP_ReduceMin:
    case TM_OP_ReduceL2:
    case TM_OP_ReduceSumSquare:
    case TM_OP_ArgMax:
    case TM_OP_ArgMin:
        return true;
    case TM_OP_Conv:
    case TM_OP_ConvTranspose:
    case TM_OP_MaxPool:
    case TM_OP_AveragePool:
    case TM_OP_GlobalAveragePool:
    case TM_OP_GlobalMaxPool:
    case TM_OP_InstanceNormalization:
    case TM_OP_GroupNormalization:
    case TM_OP_DepthToSpace:
    case TM_OP_SpaceToDepth:
        return last_sliced(s, node) <= 0;
    case TM_OP_Softmax:
    case TM_OP_LogSoftmax:
    case TM_OP_LayerNormalization:
    case TM_OP_RMSNormalization:
    case TM_OP_LpNormalization:
        return last_sliced(s, node) <= 0 && axis_is_inner(node);
    case TM_OP_Gather:
        return is_sliced(s, node->inputs[0]) ? axis_is_inner(node) && last_sliced(s, node) == 0 : true;
    case TM_OP_CumSum:
        return axes_are_inner(node, 1);
    case TM_OP_Slice:
        return axes_are_inner(node, 3);
    case TM_OP_MatMul: {
        const tm_value *a = node->inputs[0], *b = node->inputs[1];
        return a->rank >= 2 && (!is_sliced(s, b) || (b->rank >= 3 && b->rank >= a->rank)) &&
               (!is_sliced(s, a) || a->rank >= b->rank);
    }
    case TM_OP_MatMulNBits:
        return node->inputs[0]->rank >= 2 && last_sliced(s, node) == 0;
    case TM_OP_Digits: /* of each row by itself */
        return node->inputs[0]->rank >= 2;
    case TM_OP_DequantizeLinear: /* scales along other axes, or of each sample */
        return axis_is_inner(node);
    case TM_OP_Attention:
        for (int i = 0; i < 3; i++)
            if (!is_sliced(s, node->inputs[i]))
                return false;
        /* a mask of another rank has its batch elsewhere */
        return node->input_count < 4 || node->inputs[3] == NULL || !is_sliced(s, node->inputs[3]) ||
               node->inputs[3]->rank == 4;
    default:
        return false;
    }
}

static bool check_graph(const slicer *s, const tm_graph *graph);

static bool check_node(const slicer *s, const tm_node *node) {
    /* Bodies may capture anything; a slice would draw its own random numbers. */
    if ((node->op != TM_OP_Region && tm_node_subgraph_count(node) > 0) || tm_op_has(node->op, TM_RANDOM))
        return false;
    /* Expand alone may make samples of what all of them share. */
    bool any = last_sliced(s, node) >= 0, may = any || node->op == TM_OP_Expand;
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL && (!is_tidy(s, node->outputs[i]) ||
                                         (is_sliced(s, node->outputs[i]) ? !may : any)))
            return false;
    if (node->op == TM_OP_Region)
        return check_graph(s, tm_node_graph(node, "body"));
    return !any || keeps_samples(s, node);
}

static bool check_graph(const slicer *s, const tm_graph *graph) {
    for (size_t i = 0; i < graph->inputs.count; i++)
        if (!is_tidy(s, graph->inputs.items[i]))
            return false;
    for (const tm_node *node = graph->first; node != NULL; node = node->next)
        if (!check_node(s, node))
            return false;
    return true;
}

const tm_symbol *tm_find_slices(const tm_model *model) {
    const tm_graph *graph = model->main;
    slicer s = {0};
    for (size_t i = 0; i < graph->inputs.count && s.batch == NULL; i++) {
        const tm_value *input = graph->inputs.items[i];
        if (input->kind == TAMIS_KIND_TENSOR && input->rank > 0 && input->dims[0]->kind == TM_DIM_SYMBOL)
            s.batch = input->dims[0]->symbol;
    }
    if (s.batch == NULL || s.batch->low > 1 || graph->outputs.count == 0 || !check_graph(&s, graph))
        return NULL;
    for (size_t i = 0; i < graph->outputs.count; i++)
        if (!is_sliced(&s, graph->outputs.items[i]))
            return NULL;
    return s.batch;
}
