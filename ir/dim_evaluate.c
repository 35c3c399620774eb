/* SPDX-License-Identifier: Apache-2.0
 *
 * dim_evaluate.c: the value of a dim under given symbols, and substitution of symbols.
 *
 * Both walk the expression children first, each shared node once. Models decide how deep expressions
 * nest, so the walk does not recurse: a node on the path keeps a link to its parent and the number of
 * its next operand, and a stamp says whether a node's result belongs to this walk. A dim table is used
 * by one thread, and a walk does not start another one.
 *
 *     select(equal(n, 0), 1, floordiv(8, n))   under n = 0   is 1
 *
 * A failure (overflow, division by zero, broadcast of unequal dims) is a result like any other, so that
 * the branch of a select that is not taken may fail.
 */
#include "ir/dim_internal.h"

static int64_t floor_division(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

bool tm_dim_apply(tm_dim_kind kind, int64_t a, int64_t b, int64_t c, int64_t *out_value) {
    switch (kind) {
    case TM_DIM_ADD:
        return tm_add_i64(a, b, out_value);
    case TM_DIM_MUL:
        return tm_mul_i64(a, b, out_value);
    case TM_DIM_FLOORDIV:
    case TM_DIM_TRUNCDIV:
    case TM_DIM_FLOORMOD:
        if (b == 0 || (a == INT64_MIN && b == -1))
            return false;
        if (kind == TM_DIM_TRUNCDIV)
            *out_value = a / b;
        else if (kind == TM_DIM_FLOORDIV)
            *out_value = floor_division(a, b);
        else
            *out_value = a % b != 0 && (a < 0) != (b < 0) ? a % b + b : a % b;
        return true;
    case TM_DIM_MIN:
        *out_value = a < b ? a : b;
        return true;
    case TM_DIM_MAX:
        *out_value = a > b ? a : b;
        return true;
    case TM_DIM_BROADCAST:
        *out_value = a == 1 ? b : a;
        return a == b || a == 1 || b == 1;
    case TM_DIM_EQUAL:
        *out_value = a == b;
        return true;
    case TM_DIM_LESS:
        *out_value = a < b;
        return true;
    case TM_DIM_SELECT:
        *out_value = a != 0 ? b : c;
        return true;
    case TM_DIM_CONST:
    case TM_DIM_SYMBOL:
        break;
    }
    return false;
}

/* Calls visit(entry) for every node of the dim, operands before the nodes that use them. */
static void walk(tm_dim dim, void (*visit)(tm_dim_entry *entry, void *context), void *context) {
    tm_dim_entry *entry = tm_dim_entry_of(dim);
    uint64_t stamp = ++entry->owner->stamp;
    entry->parent = NULL;
    entry->next_child = 0;
    while (entry != NULL) {
        tm_dim operands[3] = {entry->node.a, entry->node.b, entry->node.c};
        tm_dim_entry *child = NULL;
        while (entry->next_child < 3 && child == NULL) {
            tm_dim operand = operands[entry->next_child++];
            if (operand != NULL && tm_dim_entry_of(operand)->stamp != stamp)
                child = tm_dim_entry_of(operand);
        }
        if (child != NULL) {
            child->parent = entry;
            child->next_child = 0;
            entry = child;
            continue;
        }
        entry->stamp = stamp;
        visit(entry, context);
        entry = entry->parent;
    }
}

static void evaluate_node(tm_dim_entry *entry, void *context) {
    const int64_t *symbols = context;
    const tm_dim_node *node = &entry->node;
    entry->failed = false;
    if (node->kind == TM_DIM_CONST) {
        entry->value = node->constant;
        return;
    }
    if (node->kind == TM_DIM_SYMBOL) {
        entry->value = symbols[node->symbol->number];
        return;
    }
    const tm_dim_entry *a = tm_dim_entry_of(node->a), *b = tm_dim_entry_of(node->b);
    if (node->kind == TM_DIM_SELECT && !a->failed) {
        const tm_dim_entry *taken = a->value != 0 ? b : tm_dim_entry_of(node->c);
        entry->failed = taken->failed;
        entry->value = taken->value;
        return;
    }
    entry->failed = a->failed || b->failed || !tm_dim_apply(node->kind, a->value, b->value, 0, &entry->value);
}

bool tm_dim_evaluate(tm_dim dim, const int64_t *symbols, int64_t *out_value) {
    if (dim->kind == TM_DIM_CONST) {
        *out_value = dim->constant;
        return true;
    }
    walk(dim, evaluate_node, (void *)(uintptr_t)symbols);
    const tm_dim_entry *entry = tm_dim_entry_of(dim);
    if (!entry->failed)
        *out_value = entry->value;
    return !entry->failed;
}

typedef struct substitution {
    tm_dims *dims;
    tm_dim (*map)(void *context, tm_symbol *symbol);
    void *context;
} substitution;

static tm_dim rebuild(tm_dims *dims, tm_dim_kind kind, tm_dim a, tm_dim b, tm_dim c) {
    switch (kind) {
    case TM_DIM_ADD:
        return tm_dim_add(dims, a, b);
    case TM_DIM_MUL:
        return tm_dim_mul(dims, a, b);
    case TM_DIM_FLOORDIV:
        return tm_dim_floordiv(dims, a, b);
    case TM_DIM_TRUNCDIV:
        return tm_dim_truncdiv(dims, a, b);
    case TM_DIM_FLOORMOD:
        return tm_dim_floormod(dims, a, b);
    case TM_DIM_MIN:
        return tm_dim_min(dims, a, b);
    case TM_DIM_MAX:
        return tm_dim_max(dims, a, b);
    case TM_DIM_EQUAL:
        return tm_dim_equal(dims, a, b);
    case TM_DIM_LESS:
        return tm_dim_less(dims, a, b);
    case TM_DIM_SELECT:
        return tm_dim_select(dims, a, b, c);
    default:
        break;
    }
    tm_dim result = tm_dim_broadcast(dims, a, b);
    return result != NULL ? result : tm_dim_intern(dims, TM_DIM_BROADCAST, a, b, NULL, false);
}

static void substitute_node(tm_dim_entry *entry, void *context) {
    substitution *s = context;
    const tm_dim_node *node = &entry->node;
    if (node->kind == TM_DIM_CONST) {
        entry->replacement = node;
    } else if (node->kind == TM_DIM_SYMBOL) {
        tm_dim mapped = s->map == NULL ? NULL : s->map(s->context, node->symbol);
        entry->replacement = mapped != NULL ? mapped : tm_dim_settle(node);
    } else {
        entry->replacement = rebuild(s->dims, node->kind, tm_dim_entry_of(node->a)->replacement,
                                     tm_dim_entry_of(node->b)->replacement,
                                     node->c == NULL ? NULL : tm_dim_entry_of(node->c)->replacement);
    }
}

tm_dim tm_dim_substitute(tm_dims *dims, tm_dim dim, tm_dim (*map)(void *context, tm_symbol *symbol),
                         void *context) {
    substitution s = {dims, map, context};
    walk(dim, substitute_node, &s);
    return tm_dim_entry_of(dim)->replacement;
}

static void mark_symbol(tm_dim_entry *entry, void *context) {
    bool *mentioned = context;
    if (entry->node.kind == TM_DIM_SYMBOL)
        mentioned[entry->node.symbol->number] = true;
}

void tm_dim_mark_symbols(tm_dim dim, bool *mentioned) {
    if (dim->kind == TM_DIM_SYMBOL)
        mentioned[dim->symbol->number] = true;
    else if (dim->kind != TM_DIM_CONST)
        walk(dim, mark_symbol, mentioned);
}
