/* The thread pool of one rank: items dealt out in bands, stealing, a short spin, then sleep.
 *
 * Thread 0 is the caller.  It may be given a `poll` that runs between its items (the executor tests
 * its messages there).  A pool of one thread starts none. */
#ifndef COHORT_BOARD_POOL_H
#define COHORT_BOARD_POOL_H

#include "base/error.h"
#include "board/board.h"
#include "board/dilate.h"

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
 * all are done.  Thread t begins with item items*t/threads, rounded up, and takes others' from
 * their ends when it has none left.  No allocation.  Not reentrant. */
void pool_run(struct pool *p, int64_t items, pool_item_fn fn, void *context);
/* Called by thread 0 between items of every pool_run from now on, and while it waits there for the
 * other threads' last items; NULL: nothing. */
void pool_set_poll(struct pool *p, pool_poll_fn poll, void *context);
/* ---- dilation (board/dilate.h) --------------------------------------------------------------- */

/* Every thread of the pool works at `share` (0 < share < 1) of its speed from now on, between
 * pool_dilate_begin() and pool_dilate_end(); 0 or 1: at its own.  While the caller sleeps the poll
 * runs. */
void pool_set_share(struct pool *p, double share);
double pool_share(const struct pool *p); /* 1: not dilated */
/* For tests: from now on the board, dilated or not, gets so much of what it would have, 0 < part <=
 * 1; pool_share() stays what it is. */
void pool_slow_down(struct pool *p, double part);
/* The caller's work between begin and end counts, inside pool_run() and outside; pool_dilate() ends
 * a block of what it did outside.  Nothing happens when not dilated. */
void pool_dilate_begin(struct pool *p);
void pool_dilate(struct pool *p);
void pool_dilate_end(struct pool *p);
/* The caller waited for others since it last worked: its work does not just go on. */
void pool_dilate_waited(struct pool *p);
/* Between begin and end: what is done from here to the next pool_dilate() takes so long on the
 * board, whatever CPU it needs here. */
void pool_dilate_expect(struct pool *p, double ms);
/* pool_dilate_begin() for measuring: one thread sleeps at the end only, so that it finds its caches
 * as it left them. */
void pool_dilate_begin_whole(struct pool *p);
/* Does the caller sleep between its items? */
bool pool_naps(const struct pool *p);
/* A clock for timing parts of the caller's work between begin and end: the monotonic one, or where
 * one thread is dilated the time that the board stands for, without the naps' jitter. */
double pool_work_ms(const struct pool *p);
/* Of all threads, since pool_create(). */
struct dilation_counts pool_dilation(const struct pool *p);

/* Flush-to-zero for the calling thread, as on every thread of a pool (needed for equal bits: Arm's
 * 32-bit vector unit knows nothing else, so all boards do it).  Not set back. */
void pool_set_float_mode(void);

#endif
