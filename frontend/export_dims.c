/* SPDX-License-Identifier: Apache-2.0
 *
 * export_dims.c: dims of the IR as operands of a Reshape.
 *
 * In the IR a view may be "input 0 under the dims of the result"; an ONNX file needs a tensor that says them.
 * Mostly that is a constant, where 0 copies a dim of the input and -1 is what is left:
 *
 *     %y: f32[batch, seq, 12, 64] = Reshape(%x)    x: [batch, seq, 768]         {0, 0, 12, 64}
 *     %y: f32[batch*seq, 768] = Reshape(%x)                                     {-1, 768}
 *     %y: f32[batch, 4*seq] = Reshape(%x)          x: [batch, seq, 4]
 *         %a = Shape(%x') {start = 0, end = 1}, ..., Concat(%batch, Mul(%four, %seq)) {axis = 0}
 *
 * The last one is not {0, -1}: when the batch is empty, nothing tells what -1 is. There, the formula is
 * written as nodes, each i64[1], once for each graph. A symbol is read where the model binds it: from the
 * shape of a value, or from an element of one.
 */
#include "frontend/exporter.h"

static char *write_dim(tm_exporter *exporter, tm_dim dim);

static char *emit(tm_exporter *exporter, const char *op, size_t count, char *const *inputs) {
    char *output = tm_export_fresh_name(exporter, "dim");
    tm_export_emit(exporter, op, count, inputs, output);
    return output;
}

static char *binary(tm_exporter *exporter, const char *op, char *a, char *b) {
    return emit(exporter, op, 2, (char *[]){a, b});
}

static char *cast(tm_exporter *exporter, char *x, tamis_type type) {
    char *output = tm_export_fresh_name(exporter, "dim");
    tm_export_attribute_int(exporter->scratch, tm_export_emit(exporter, "Cast", 1, &x, output), "to", type);
    return output;
}

static bool is_in_scope(const tm_exporter *exporter, const tm_value *value) {
    return value != NULL && value->kind == TAMIS_KIND_TENSOR && value->graph != NULL &&
           tm_graph_contains(value->graph, exporter->graph->graph);
}

static char *write_symbol(tm_exporter *exporter, const tm_symbol *symbol) {
    if (!is_in_scope(exporter, symbol->value))
        return NULL;
    char *source = tm_export_read(exporter, symbol->value);
    if (symbol->origin == TM_SYMBOL_LOAD) {
        char *flat = binary(exporter, "Reshape", source, tm_export_list(exporter, &(int64_t){-1}, 1));
        char *element = binary(exporter, "Gather", flat, tm_export_list(exporter, &symbol->index, 1));
        bool wide = symbol->value->type == TAMIS_TYPE_INT64;
        return wide ? element : cast(exporter, element, TAMIS_TYPE_INT64);
    }
    char *output = tm_export_fresh_name(exporter, "dim");
    Onnx__NodeProto *shape = tm_export_emit(exporter, "Shape", 1, &source, output);
    tm_export_attribute_int(exporter->scratch, shape, "start", symbol->index);
    tm_export_attribute_int(exporter->scratch, shape, "end", symbol->index + 1);
    return output;
}

/* ONNX's Div rounds towards zero, its Mod takes the sign of the divisor. */
static char *write_floordiv(tm_exporter *exporter, tm_dim dim, char *a, char *b) {
    if (dim->a->low < 0 || dim->b->low < 0)
        a = binary(exporter, "Sub", a, binary(exporter, "Mod", a, b));
    return binary(exporter, "Div", a, b);
}

static char *write_broadcast(tm_exporter *exporter, char *a, char *b) {
    char *one = binary(exporter, "Equal", a, tm_export_list(exporter, &(int64_t){1}, 1));
    return emit(exporter, "Where", 3, (char *[]){one, b, a});
}

static char *write_operation(tm_exporter *exporter, tm_dim dim) {
    char *a = write_dim(exporter, dim->a), *b = write_dim(exporter, dim->b);
    if (a == NULL || b == NULL)
        return NULL;
    switch (dim->kind) {
    case TM_DIM_ADD:
        return binary(exporter, "Add", a, b);
    case TM_DIM_MUL:
        return binary(exporter, "Mul", a, b);
    case TM_DIM_FLOORDIV:
        return write_floordiv(exporter, dim, a, b);
    case TM_DIM_TRUNCDIV:
        return binary(exporter, "Div", a, b);
    case TM_DIM_FLOORMOD:
        return binary(exporter, "Mod", a, b);
    case TM_DIM_MIN:
        return binary(exporter, "Min", a, b);
    case TM_DIM_MAX:
        return binary(exporter, "Max", a, b);
    case TM_DIM_BROADCAST:
        return write_broadcast(exporter, a, b);
    case TM_DIM_EQUAL:
        return cast(exporter, binary(exporter, "Equal", a, b), TAMIS_TYPE_INT64);
    case TM_DIM_LESS:
        return cast(exporter, binary(exporter, "Less", a, b), TAMIS_TYPE_INT64);
    default: { /* SELECT */
        char *c = write_dim(exporter, dim->c);
        char *condition = cast(exporter, a, TAMIS_TYPE_BOOL);
        return c != NULL ? emit(exporter, "Where", 3, (char *[]){condition, b, c}) : NULL;
    }
    }
}

/* The name of the dim as i64[1]; NULL: a symbol of it is not in scope. */
static char *write_dim(tm_exporter *exporter, tm_dim dim) {
    char *key = tm_arena_format(exporter->scratch, "%d", (int)dim->number);
    for (tm_export_graph *graph = exporter->graph; graph != NULL; graph = graph->outer)
        if (tm_map_has(&graph->dims, key))
            return tm_map_get(&graph->dims, key);
    char *name = dim->kind == TM_DIM_CONST    ? tm_export_list(exporter, &dim->constant, 1)
                 : dim->kind == TM_DIM_SYMBOL ? write_symbol(exporter, dim->symbol)
                                              : write_operation(exporter, dim);
    if (name != NULL)
        tm_map_set(&exporter->graph->dims, key, name);
    return name;
}

static char *write_parts(tm_exporter *exporter, const tm_value *result) {
    char *parts[TAMIS_MAX_RANK];
    for (int i = 0; i < result->rank; i++) {
        parts[i] = write_dim(exporter, result->dims[i]);
        if (parts[i] == NULL)
            return NULL;
    }
    char *output = tm_export_fresh_name(exporter, "shape");
    Onnx__NodeProto *concat = tm_export_emit(exporter, "Concat", (size_t)result->rank, parts, output);
    tm_export_attribute_int(exporter->scratch, concat, "axis", 0);
    return output;
}

char *tm_export_target(tm_exporter *exporter, const tm_value *source, const tm_value *result,
                       bool *out_zero) {
    int64_t target[TAMIS_MAX_RANK];
    int open = 0, copied = 0, empty = 0; /* dims that are formulas; that may be copied and be 0; that are 0 */
    for (int i = 0; i < result->rank; i++) {
        tm_dim dim = result->dims[i];
        if (tm_dim_is_constant(dim)) {
            target[i] = dim->constant;
            empty += dim->constant == 0;
        } else if (i < source->rank && source->dims[i] == dim) {
            target[i] = 0;
            copied += dim->low < 1;
        } else {
            target[i] = -1;
            open++;
        }
    }
    bool copies = false;
    for (int i = 0; i < result->rank; i++)
        copies = copies || (target[i] == 0 && !tm_dim_is_constant(result->dims[i]));
    *out_zero = empty > 0;
    if ((empty > 0 && (copies || open > 0)) || open > 1 || (open == 1 && copied > 0)) {
        *out_zero = true;
        return write_parts(exporter, result);
    }
    return tm_export_list(exporter, target, result->rank);
}
