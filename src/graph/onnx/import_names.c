/* Open addressing with linear probing; see import_names.h. */
#include "graph/onnx/import_names.h"

#include "base/mem.h"

#include <string.h>

void names_release(struct name_table *t) {
    mem_free(t->slots);
    *t = (struct name_table){0};
}

/* FNV-1a (Fowler, Noll, Vo), its high bits folded in because the table uses the low ones. */
static size_t hash_text(struct wire_text name) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < name.bytes; i++)
        h = (h ^ (unsigned char)name.at[i]) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32);
}

/* The slot that holds the name, or the free one where it belongs. */
static struct name_slot *probe(const struct name_table *t, struct wire_text name) {
    size_t i = hash_text(name);
    for (;; i++) {
        struct name_slot *slot = &t->slots[i & (t->capacity - 1)];
        if (slot->name.at == NULL ||
            (slot->name.bytes == name.bytes && memcmp(slot->name.at, name.at, name.bytes) == 0))
            return slot;
    }
}

static bool grow(struct name_table *t) {
    struct name_table bigger = {.capacity = t->capacity == 0 ? 64 : t->capacity * 2,
                                .count = t->count};
    bigger.slots = mem_zalloc(bigger.capacity, sizeof *bigger.slots);
    if (bigger.slots == NULL)
        return false;
    for (size_t i = 0; i < t->capacity; i++)
        if (t->slots[i].name.at != NULL)
            *probe(&bigger, t->slots[i].name) = t->slots[i];
    mem_free(t->slots);
    *t = bigger;
    return true;
}

bool names_put(struct name_table *t, struct wire_text name, int id) {
    if (t->count >= t->capacity / 2 && !grow(t))
        return false;
    *probe(t, name) = (struct name_slot){.name = name, .id = id};
    t->count++;
    return true;
}

int names_find(const struct name_table *t, struct wire_text name) {
    if (t->capacity == 0)
        return -1;
    const struct name_slot *slot = probe(t, name);
    return slot->name.at != NULL ? slot->id : -1;
}
