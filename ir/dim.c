/* SPDX-License-Identifier: Apache-2.0
 *
 * dim.c: symbols, hash-consing and ranges of dims.
 *
 * Every node is looked up by kind and operands before it is made, so equal expressions are one node and
 * comparing dims is comparing pointers. Hashes are taken from the operands' numbers, which count nodes
 * in the order of creation: the same run gives the same table, and nothing depends on addresses.
 *
 * A node carries the range of its value. Ranges saturate at the ends of int64: since evaluation checks
 * overflow, a value that exists always fits. A symbol's range may be narrowed later by facts; nodes made
 * before keep their wider range, which is still right.
 *
 *     n in 1..512      ->  floordiv(n, 2) in 0..256,  n + 1 in 2..513
 */
#include "ir/dim_internal.h"

#include <string.h>

int64_t tm_saturating_add(int64_t a, int64_t b) {
    int64_t sum;
    if (tm_add_i64(a, b, &sum))
        return sum;
    return b < 0 ? INT64_MIN : INT64_MAX;
}

int64_t tm_saturating_mul(int64_t a, int64_t b) {
    int64_t product;
    if (tm_mul_i64(a, b, &product))
        return product;
    return (a < 0) != (b < 0) ? INT64_MIN : INT64_MAX;
}

tm_dims *tm_dims_create(tm_arena *arena) {
    tm_dims *dims = TM_NEW(arena, tm_dims);
    dims->arena = arena;
    dims->bucket_count = 256;
    dims->buckets = TM_NEW_ARRAY(arena, tm_dim_entry *, dims->bucket_count);
    tm_map_init(&dims->by_name, arena);
    tm_map_init(&dims->suffixes, arena);
    return dims;
}

/* ---- ranges ---- */

typedef struct range {
    int64_t low, high;
} range;

static range hull(range r, int64_t value) {
    return (range){value < r.low ? value : r.low, value > r.high ? value : r.high};
}

static range range_mul(tm_dim a, tm_dim b) {
    int64_t first = tm_saturating_mul(a->low, b->low);
    range r = {first, first};
    r = hull(r, tm_saturating_mul(a->low, b->high));
    r = hull(r, tm_saturating_mul(a->high, b->low));
    return hull(r, tm_saturating_mul(a->high, b->high));
}

static int64_t divide(tm_dim_kind kind, int64_t a, int64_t b) {
    int64_t quotient;
    return tm_dim_apply(kind, a, b, 0, &quotient) ? quotient : INT64_MAX;
}

/* A quotient is monotonic in each operand as long as the divisor keeps its sign. */
static range range_div(tm_dim_kind kind, tm_dim a, tm_dim b) {
    if (b->low > 0 || b->high < 0) {
        int64_t first = divide(kind, a->low, b->low);
        range r = {first, first};
        r = hull(r, divide(kind, a->low, b->high));
        r = hull(r, divide(kind, a->high, b->low));
        return hull(r, divide(kind, a->high, b->high));
    }
    if (b->low == 0 && a->low >= 0)
        return (range){0, a->high};
    int64_t bound = a->low == INT64_MIN ? INT64_MAX : (a->low < 0 ? -a->low : a->low);
    int64_t above = a->high == INT64_MIN ? INT64_MAX : (a->high < 0 ? -a->high : a->high);
    bound = bound > above ? bound : above;
    return (range){a->low == INT64_MIN ? INT64_MIN : -bound, bound};
}

static range range_mod(tm_dim a, tm_dim b) {
    range r = {0, 0};
    if (b->low < 0)
        r.low = b->low + 1;
    if (b->high > 0)
        r.high = b->high - 1;
    if (a->low >= 0 && b->low >= 0 && a->high < r.high)
        r.high = a->high;
    return r;
}

static range range_of(tm_dim_kind kind, tm_dim a, tm_dim b, tm_dim c) {
    switch (kind) {
    case TM_DIM_ADD:
        return (range){tm_saturating_add(a->low, b->low), tm_saturating_add(a->high, b->high)};
    case TM_DIM_MUL:
        return range_mul(a, b);
    case TM_DIM_FLOORDIV:
    case TM_DIM_TRUNCDIV:
        return range_div(kind, a, b);
    case TM_DIM_FLOORMOD:
        return range_mod(a, b);
    case TM_DIM_MIN:
        return (range){a->low < b->low ? a->low : b->low, a->high < b->high ? a->high : b->high};
    case TM_DIM_MAX:
        return (range){a->low > b->low ? a->low : b->low, a->high > b->high ? a->high : b->high};
    case TM_DIM_BROADCAST:
        return (range){a->low < b->low ? a->low : b->low, a->high > b->high ? a->high : b->high};
    case TM_DIM_SELECT:
        return (range){b->low < c->low ? b->low : c->low, b->high > c->high ? b->high : c->high};
    case TM_DIM_EQUAL:
    case TM_DIM_LESS:
        return (range){0, 1};
    case TM_DIM_CONST:
    case TM_DIM_SYMBOL:
        break;
    }
    return (range){INT64_MIN, INT64_MAX};
}

/* ---- hash-consing ---- */

static void grow_buckets(tm_dims *dims) {
    size_t count = dims->bucket_count * 2;
    tm_dim_entry **buckets = TM_NEW_ARRAY(dims->arena, tm_dim_entry *, count);
    for (size_t i = 0; i < dims->bucket_count; i++)
        for (tm_dim_entry *entry = dims->buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            entry->next = buckets[entry->hash & (count - 1)];
            buckets[entry->hash & (count - 1)] = entry;
        }
    dims->buckets = buckets;
    dims->bucket_count = count;
}

static tm_dim_entry *new_entry(tm_dims *dims, tm_dim_kind kind, uint64_t hash) {
    if ((size_t)dims->count >= dims->bucket_count)
        grow_buckets(dims);
    tm_dim_entry *entry = TM_NEW(dims->arena, tm_dim_entry);
    entry->node.kind = kind;
    entry->node.number = dims->count++;
    entry->owner = dims;
    entry->hash = hash;
    entry->depth = 1;
    entry->size = 1;
    entry->next = dims->buckets[hash & (dims->bucket_count - 1)];
    dims->buckets[hash & (dims->bucket_count - 1)] = entry;
    return entry;
}

static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

tm_dim tm_dim_constant(tm_dims *dims, int64_t value) {
    uint64_t hash = mix(TM_DIM_CONST + 1, (uint64_t)value);
    for (tm_dim_entry *entry = dims->buckets[hash & (dims->bucket_count - 1)]; entry != NULL;
         entry = entry->next)
        if (entry->node.kind == TM_DIM_CONST && entry->node.constant == value)
            return &entry->node;
    tm_dim_entry *entry = new_entry(dims, TM_DIM_CONST, hash);
    entry->node.constant = entry->node.low = entry->node.high = value;
    return &entry->node;
}

static void add_operand(tm_dim_entry *entry, tm_dim operand, bool chain) {
    if (operand == NULL)
        return;
    const tm_dim_entry *below = tm_dim_entry_of(operand);
    int32_t depth = below->depth + (chain ? 0 : 1);
    if (depth > entry->depth)
        entry->depth = depth;
    entry->size = tm_saturating_add(entry->size, below->size);
    entry->node.late = entry->node.late || operand->late;
}

tm_dim tm_dim_intern(tm_dims *dims, tm_dim_kind kind, tm_dim a, tm_dim b, tm_dim c, bool opaque) {
    uint64_t hash = mix((uint64_t)kind + 1, opaque ? 1 : 0);
    hash = mix(hash, (uint64_t)a->number);
    hash = mix(hash, b == NULL ? UINT64_MAX : (uint64_t)b->number);
    hash = mix(hash, c == NULL ? UINT64_MAX : (uint64_t)c->number);
    for (tm_dim_entry *entry = dims->buckets[hash & (dims->bucket_count - 1)]; entry != NULL;
         entry = entry->next) {
        const tm_dim_node *node = &entry->node;
        if (node->kind == kind && node->a == a && node->b == b && node->c == c && entry->opaque == opaque)
            return node;
    }
    tm_dim_entry *entry = new_entry(dims, kind, hash);
    bool chain = (kind == TM_DIM_ADD || kind == TM_DIM_MUL) && !opaque;
    entry->opaque = opaque;
    entry->node.a = a;
    entry->node.b = b;
    entry->node.c = c;
    add_operand(entry, a, chain);
    add_operand(entry, b, chain);
    add_operand(entry, c, false);
    range r = range_of(kind, a, b, c);
    entry->node.low = r.low;
    entry->node.high = r.high;
    return &entry->node;
}

tm_dim tm_dim_settle(tm_dim dim) {
    if (dim->kind != TM_DIM_CONST && dim->low == dim->high && dim->low != INT64_MIN && dim->high != INT64_MAX)
        return tm_dim_constant(tm_dim_entry_of(dim)->owner, dim->low);
    return dim;
}

/* ---- symbols ---- */

static tm_dim new_symbol(tm_dims *dims, const char *name, tm_symbol_origin origin, struct tm_value *value,
                         int64_t index) {
    tm_symbol_entry *symbol = TM_NEW(dims->arena, tm_symbol_entry);
    symbol->symbol.number = (int32_t)dims->symbols.count;
    symbol->symbol.name = tm_arena_string(dims->arena, name);
    symbol->symbol.origin = origin;
    symbol->symbol.value = value;
    symbol->symbol.index = index;
    symbol->symbol.low = origin == TM_SYMBOL_LOAD ? INT64_MIN : 0;
    symbol->symbol.high = INT64_MAX;
    tm_push(dims->arena, &dims->symbols, symbol);
    tm_map_set(&dims->by_name, symbol->symbol.name, symbol);
    tm_dim_entry *entry =
        new_entry(dims, TM_DIM_SYMBOL, mix(TM_DIM_SYMBOL + 1, (uint64_t)symbol->symbol.number));
    entry->node.symbol = &symbol->symbol;
    entry->node.low = symbol->symbol.low;
    entry->node.high = symbol->symbol.high;
    entry->node.late = origin != TM_SYMBOL_INPUT;
    symbol->node = entry;
    return &entry->node;
}

size_t tm_dims_symbol_count(const tm_dims *dims) {
    return dims->symbols.count;
}

tm_symbol *tm_dims_symbol_at(const tm_dims *dims, size_t number) {
    return &dims->symbols.items[number]->symbol;
}

tm_symbol *tm_dims_find_symbol(const tm_dims *dims, const char *name) {
    return tm_map_get(&dims->by_name, name);
}

tm_dim tm_dim_of_symbol(tm_dims *dims, tm_symbol *symbol) {
    return tm_dim_settle(&dims->symbols.items[symbol->number]->node->node);
}

tm_dim tm_dim_input(tm_dims *dims, const char *name) {
    tm_symbol *symbol = tm_dims_find_symbol(dims, name);
    return symbol != NULL ? tm_dim_of_symbol(dims, symbol) : new_symbol(dims, name, TM_SYMBOL_INPUT, NULL, 0);
}

tm_dim tm_dim_fresh(tm_dims *dims, const char *name, tm_symbol_origin origin, struct tm_value *value,
                    int64_t index) {
    const char *unique = name;
    uintptr_t suffix = (uintptr_t)tm_map_get(&dims->suffixes, name);
    while (tm_map_has(&dims->by_name, unique))
        unique = tm_arena_format(dims->arena, "%s.%zu", name, (size_t)++suffix);
    tm_map_set(&dims->suffixes, name, (void *)suffix);
    return new_symbol(dims, unique, origin, value, index);
}

void tm_symbol_set_range(tm_symbol *symbol, int64_t low, int64_t high) {
    tm_dim_entry *entry = ((tm_symbol_entry *)(void *)symbol)->node;
    symbol->low = entry->node.low = low;
    symbol->high = entry->node.high = high;
}

/* ---- order ---- */

static int order_of_kind(tm_dim dim) {
    return dim->kind == TM_DIM_CONST ? 1000 : (int)dim->kind;
}

/* Walks down one path: different nodes have a first operand in which they differ. */
int tm_dim_compare(tm_dim a, tm_dim b) {
    while (a != b) {
        if (a->kind != b->kind)
            return order_of_kind(a) < order_of_kind(b) ? -1 : 1;
        if (a->kind == TM_DIM_CONST)
            return a->constant < b->constant ? -1 : 1;
        if (a->kind == TM_DIM_SYMBOL)
            return strcmp(a->symbol->name, b->symbol->name) < 0 ? -1 : 1;
        tm_dim first = a, second = b;
        if (first->a != second->a) {
            a = first->a;
            b = second->a;
        } else if (first->b != second->b) {
            a = first->b;
            b = second->b;
        } else if (first->c != second->c) {
            a = first->c;
            b = second->c;
        } else {
            return tm_dim_is_opaque(first) ? 1 : -1;
        }
    }
    return 0;
}
