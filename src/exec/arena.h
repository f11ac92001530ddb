/* Assigning offsets to buffers whose lifetimes are known: what overlaps in time does not overlap in
 * memory.  Pure arithmetic; the planner uses it too, to know peak bytes without running. */
#ifndef COHORT_EXEC_ARENA_H
#define COHORT_EXEC_ARENA_H

#include "base/error.h"

#include <stddef.h>

struct arena_item {
    size_t bytes;    /* 0: gets no memory */
    int first, last; /* steps, inclusive, in which it is alive */
    size_t offset;   /* result, a multiple of 64 */
};

/* Largest first, each at the lowest offset that is free during its life. */
enum cohort_code arena_assign(struct arena_item *items, int count, size_t *total,
                              struct cohort_error *err);

#endif
