/* The thread pool of one rank: items handed out dynamically, a short spin, then sleep.
 *
 * Thread 0 is the caller.  It may be given a `poll` that runs between its items (the executor tests
 * its messages there).  A pool of one thread starts none. */
#ifndef COHORT_BOARD_POOL_H
#define COHORT_BOARD_POOL_H

#include "base/error.h"
#include "board/board.h"

#include <stdbool.h>
#include <stdint.h>

struct pool;

/* Starts threads-1 threads; each, the caller included, is bound to its core when `bind` (and the
 * board is not oversubscribed) and gets the float mode.  `board` is not kept.  pool_destroy() gives
 * the caller its former binding back and must be called by the same thread.  Errors: memory. */
enum cohort_code pool_create(struct pool **p, const struct board *board, bool bind,
                             struct cohort_error *err);
void pool_destroy(struct pool **p);
int pool_threads(const struct pool *p);

typedef void (*pool_item_fn)(void *context, int64_t item, int thread);
typedef void (*pool_poll_fn)(void *context);

/* Calls fn(context, i, thread) once for each i in [0, items), each on some thread, and returns when
 * all are done.  No allocation.  Not reentrant. */
void pool_run(struct pool *p, int64_t items, pool_item_fn fn, void *context);
/* Called by thread 0 between items of every pool_run from now on, and while it waits there for the
 * other threads' last items; NULL: nothing. */
void pool_set_poll(struct pool *p, pool_poll_fn poll, void *context);
/* Flush-to-zero for the calling thread, as on every thread of a pool (needed for equal bits: Arm's
 * 32-bit vector unit knows nothing else, so all boards do it).  Not set back. */
void pool_set_float_mode(void);

#endif
