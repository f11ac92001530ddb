/* Dilation: one thread's work stretched in time, so that a fast machine stands for a slow board.
 *
 * Work whose time is known beforehand (an operator that was profiled) ends just then, however long
 * this machine's CPU was busy with it: what many emulated boards do to each other's caches is no
 * part of any of them.  Other work ends when c / share seconds have passed, for c seconds of CPU.
 * Targets add up from the beginning, so a sleep that ends a little late shortens the next one and
 * nothing drifts.  The sleep is cut into short naps with a poll between them (messages want
 * tending), never a busy wait.  Work that ends after its target all the same is late: the machine
 * had no CPU for this thread, and times of such a run say little. */
#ifndef COHORT_BOARD_DILATE_H
#define COHORT_BOARD_DILATE_H

#include <stdbool.h>
#include <stdint.h>

/* What a thread's blocks came to since its dilation was set up.  A block is work of which the time
 * was known, or, without that, what was done between two sleeps. */
struct dilation_counts {
    int64_t blocks;
    int64_t late; /* ended after their targets by more than 1 ms and by more than 5 % of a block */
    int64_t cpu_ns; /* CPU time of all blocks, before stretching */
};

struct dilation {
    double share;        /* of a CPU that the emulated core has; 0: off */
    int64_t target_ns;   /* monotonic: when the work up to cpu_ns should have ended */
    int64_t cpu_ns;      /* this thread's CPU clock: accounted for so far */
    int64_t awake_ns;    /* the same clock when it slept last */
    int64_t end_ns;      /* monotonic: when the work at hand should end; 0: by its CPU time */
    int64_t expected_ns; /* how long that takes */
    int64_t over_ns;     /* the last stretch of work ended so long after its target, or LATE_NS */
    struct dilation_counts counts;
};

typedef void (*dilation_poll_fn)(void *context);

/* Nanoseconds that the board stands for since dilation_begin() and before: CPU time, stretched.  By
 * the thread that works. */
int64_t dilation_busy_ns(const struct dilation *d);
/* All by the thread that works.  The stretch of work begins now; or earlier, where the board is
 * just done with another stretch and woke up late: a slow board would not have slept, so a network
 * that is run in many stretches would take longer than one that is run in one. */
void dilation_begin(struct dilation *d);
/* The thread waited for others since the last stretch, which therefore does not matter any more. */
void dilation_waited(struct dilation *d);
/* What this thread did since it last worked (waiting for others) was no work; the target stays
 * where time is known, and is now where it is not. */
void dilation_resume(struct dilation *d);
/* The work that begins now takes `ns` on the board, from the target of what was before on. */
void dilation_expect(struct dilation *d, int64_t ns);
/* Other threads' work is limited by the same end. */
void dilation_share_end(struct dilation *d, const struct dilation *of);
/* A block of work has ended: counts it and sleeps.  Blocks under 50 us of CPU are put to the next
 * one unless `last`.  Within work of which the time is known this is a pause on the way, after 2 ms
 * of CPU or more, because each of them leaves the caches to others; it goes on at twice the board's
 * speed and ends after half of the time, so that more CPU than expected finds room.  poll (may be
 * NULL) is called about every 2 ms of the sleep; its CPU time is not the board's and is not
 * stretched. */
void dilation_step(struct dilation *d, bool last, dilation_poll_fn poll, void *context);
/* The work that dilation_expect() announced has ended; without such, as dilation_step().  The sleep
 * may be left to a later block, but not beyond a dilation_step() that is the last. */
void dilation_done(struct dilation *d, dilation_poll_fn poll, void *context);

#endif
