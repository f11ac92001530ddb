/* Dilation: one thread's work stretched in time, so that a fast machine stands for a slow board.
 *
 * A thread that has used c seconds of CPU since dilation_begin() may not go on before c / share
 * seconds have passed: after each block of work it sleeps for what is missing.  Targets add up from
 * the beginning, so a sleep that ends a little late shortens the next one and nothing drifts.  The
 * sleep is cut into short naps with a poll between them (messages want tending), never a busy wait.
 * A block that ends after its target all the same is late: the machine had no CPU for this thread,
 * and times of such a run say little. */
#ifndef COHORT_BOARD_DILATE_H
#define COHORT_BOARD_DILATE_H

#include <stdbool.h>
#include <stdint.h>

/* What a thread's blocks came to since its dilation was set up. */
struct dilation_counts {
    int64_t blocks;
    int64_t late; /* ended after their targets by more than 1 ms and by more than 5 % of a block */
    int64_t cpu_ns; /* CPU time of all blocks, before stretching */
};

struct dilation {
    double share;      /* of a CPU that the emulated core has; 0: off */
    int64_t target_ns; /* monotonic: when the work up to cpu_ns should have ended */
    int64_t cpu_ns;    /* this thread's CPU clock: accounted for so far */
    struct dilation_counts counts;
};

typedef void (*dilation_poll_fn)(void *context);

/* Nanoseconds that the board stands for since dilation_begin() and before: CPU time, stretched.  By
 * the thread that works. */
int64_t dilation_busy_ns(const struct dilation *d);
/* All by the thread that works.  The stretch of work begins now; any earlier one is forgotten. */
void dilation_begin(struct dilation *d);
/* A block of work has ended: counts it and sleeps.  Blocks under 50 us of CPU are put to the next
 * one unless `last`.  poll (may be NULL) is called about every millisecond of the sleep; its CPU
 * time is not the board's and is not stretched. */
void dilation_step(struct dilation *d, bool last, dilation_poll_fn poll, void *context);

#endif
