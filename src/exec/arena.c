/* Offsets from lifetimes: greedy by size, first fit. */
#include "exec/arena.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>

/* An item and where it came from, so that sorting is stable and the result can be written back. */
struct ordered {
    struct arena_item *item;
    int index;
};

static int by_size(const void *a, const void *b) {
    const struct ordered *x = a, *y = b;
    if (x->item->bytes != y->item->bytes)
        return x->item->bytes < y->item->bytes ? 1 : -1;
    return x->index - y->index;
}

static int by_offset(const void *a, const void *b) {
    const struct ordered *x = a, *y = b;
    if (x->item->offset != y->item->offset)
        return x->item->offset > y->item->offset ? 1 : -1;
    return x->index - y->index;
}

static int overlaps(const struct arena_item *a, const struct arena_item *b) {
    return a->first <= b->last && b->first <= a->last;
}

static size_t round_up(size_t bytes) {
    return (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
}

enum cohort_code arena_assign(struct arena_item *items, int count, size_t *total,
                              struct cohort_error *err) {
    size_t n = (size_t)count;
    struct ordered *order = mem_alloc((n + 1) * sizeof *order);
    struct ordered *placed =
        mem_alloc((n + 1) * sizeof *placed); /* alive with the present one, by offset */
    if (order == NULL || placed == NULL) {
        mem_free(order);
        mem_free(placed);
        return error_memory(err, 2 * n * sizeof *order, "the arena's plan");
    }
    for (int i = 0; i < count; i++)
        order[i] = (struct ordered){.item = &items[i], .index = i};
    qsort(order, n, sizeof *order, by_size);
    size_t top = 0;
    for (size_t i = 0; i < n && order[i].item->bytes > 0; i++) {
        struct arena_item *item = order[i].item;
        size_t alive = 0;
        for (size_t k = 0; k < i; k++)
            if (overlaps(item, order[k].item))
                placed[alive++] = order[k];
        qsort(placed, alive, sizeof *placed, by_offset);
        size_t at = 0;
        for (size_t k = 0; k < alive; k++) {
            const struct arena_item *other = placed[k].item;
            if (other->offset >= at && other->offset - at >= item->bytes)
                break;
            size_t end = other->offset + round_up(other->bytes);
            if (end > at)
                at = end;
        }
        item->offset = at;
        if (at + round_up(item->bytes) > top)
            top = at + round_up(item->bytes);
    }
    mem_free(order);
    mem_free(placed);
    *total = top;
    return COHORT_OK;
}
