/* Memory that is counted, checked and, for tests, made to fail.
 *
 * All heap memory of Cohort comes from here, so that a test can ask "is everything freed?" and
 * "what if the n-th allocation fails?", and so that a board can be kept to a part of its memory.
 * The counters and the limit are the one piece of process-wide state the library keeps; they are
 * atomic. */
#ifndef COHORT_BASE_MEM_H
#define COHORT_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#define MEM_ALIGN 64 /* bytes: a cache line, and the widest vector */

/* Each returns NULL when memory is short or count*size overflows.  Zero bytes give a unique
 * pointer.  mem_alloc's and mem_zalloc's results are aligned to MEM_ALIGN. */
void *mem_alloc(size_t bytes);
void *mem_zalloc(size_t count, size_t size);
/* Grows or shrinks, keeping the contents; alignment MEM_ALIGN. On failure the old block stays. */
void *mem_realloc(void *old, size_t bytes);
char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t n);
/* printf into a new string; NULL when memory is short. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mem_free(void *block);
/* A block that can never be freed, because somebody else (MPI, after a lost board) may still write
 * into it: stays, but is no longer counted as live. */
void mem_forget(const void *block);

/* Makes room for one more element in a growing array: returns false when memory is short.
 * `*items` is an array of `size`-byte elements with capacity *capacity, count used. */
bool mem_grow(void **items, size_t *capacity, size_t count, size_t size);
#define MEM_GROW(items, capacity, count)                                                           \
    mem_grow((void **)&(items), &(capacity), (count), sizeof *(items))

/* From now on allocations that would bring the live bytes beyond `bytes` fail; 0: no limit.  Files
 * that are mapped, and what MPI and the system take, do not count. */
void mem_limit(size_t bytes);
size_t mem_limit_bytes(void);

/* Gives pages back to the system, as far as it takes them: those of a part of a block, whose
 * contents are lost; those of all that was freed. */
void mem_discard(void *part, size_t bytes);
void mem_trim(void);

/* For tests. */
long mem_live_blocks(void);
size_t mem_live_bytes(void);
size_t mem_peak_bytes(void);
/* Memory of this process that is nobody's file (all of it, not only what came from here), as the
 * system counts it; 0: it does not say.  Allocates nothing. */
size_t mem_anonymous_bytes(void);
long mem_alloc_calls(void); /* allocations since the process began */
void mem_fail_at(
    long nth); /* the nth allocation from now fails, and all after it; 0 turns it off */

#endif
