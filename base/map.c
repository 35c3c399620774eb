/* SPDX-License-Identifier: Apache-2.0
 *
 * map.c: strings to pointers, in the order they were put in.
 *
 * Entries lie in an array in insertion order; a second array of slots, a power of two and at most
 * half full, finds them by open addressing:
 *
 *     slots    0 2 0 0 1 0 3 0          0: free, else number of the entry + 1
 *     entries  ["x" .] ["y" .] ["z" .]
 *
 * Whoever walks a map walks `entries`, so no output can depend on the hash, its seed, or
 * addresses; the hostile build changes the seed (TM_HASH_SEED) to prove that. Removing empties the
 * entry but leaves its slot, so that later probes still pass over it; the slot goes when the
 * table grows.
 */
#include "base/base.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#ifndef TM_HASH_SEED
#define TM_HASH_SEED 0x7461u
#endif

enum {
#ifdef TM_HOSTILE
    FIRST_SLOTS = 2
#else
    FIRST_SLOTS = 16
#endif
};

uint64_t tm_hash_bytes(const void *data, size_t bytes, uint64_t seed) {
    return XXH3_64bits_withSeed(bytes != 0 ? data : "", bytes, seed);
}

static uint64_t hash_key(const char *key) {
    return tm_hash_bytes(key, strlen(key), TM_HASH_SEED);
}

void tm_map_init(tm_map *map, tm_arena *arena) {
    *map = (tm_map){.arena = arena};
}

static tm_map_entry *find(const tm_map *map, const char *key, uint64_t hash) {
    if (map->slot_count == 0)
        return NULL;
    size_t mask = map->slot_count - 1;
    for (size_t i = (size_t)hash & mask; map->slots[i] != 0; i = (i + 1) & mask) {
        tm_map_entry *entry = &map->entries[map->slots[i] - 1];
        if (entry->key != NULL && entry->hash == hash && strcmp(entry->key, key) == 0)
            return entry;
    }
    return NULL;
}

static void insert_slot(tm_map *map, uint64_t hash, uint32_t number) {
    size_t mask = map->slot_count - 1;
    size_t i = (size_t)hash & mask;
    while (map->slots[i] != 0)
        i = (i + 1) & mask;
    map->slots[i] = number;
}

/* Slots are 32-bit numbers: a count beyond that ends as if memory were out. */
static void grow_slots(tm_map *map) {
    size_t slot_count = map->slot_count == 0 ? FIRST_SLOTS : map->slot_count * 2;
    size_t wanted = slot_count > (size_t)1 << 32 ? SIZE_MAX : slot_count;
    map->slots = tm_arena_alloc_array(map->arena, wanted, sizeof *map->slots);
    map->slot_count = slot_count;
    for (size_t i = 0; i < map->count; i++)
        if (map->entries[i].key != NULL)
            insert_slot(map, map->entries[i].hash, (uint32_t)(i + 1));
}

void *tm_map_get(const tm_map *map, const char *key) {
    const tm_map_entry *entry = find(map, key, hash_key(key));
    return entry != NULL ? entry->value : NULL;
}

bool tm_map_has(const tm_map *map, const char *key) {
    return find(map, key, hash_key(key)) != NULL;
}

void tm_map_set(tm_map *map, const char *key, void *value) {
    uint64_t hash = hash_key(key);
    tm_map_entry *entry = find(map, key, hash);
    if (entry != NULL) {
        entry->value = value;
        return;
    }
    if ((map->count + 1) * 2 > map->slot_count)
        grow_slots(map);
    if (map->count == map->capacity)
        map->entries =
            tm_vector_grow(map->arena, map->entries, map->count, &map->capacity, sizeof *map->entries);
    const char *copy = tm_arena_string(map->arena, key);
    map->entries[map->count++] = (tm_map_entry){copy, value, hash};
    insert_slot(map, hash, (uint32_t)map->count);
}

void tm_map_remove(tm_map *map, const char *key) {
    tm_map_entry *entry = find(map, key, hash_key(key));
    if (entry != NULL) {
        entry->key = NULL;
        entry->value = NULL;
    }
}
