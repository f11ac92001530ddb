/* How long messages take between every pair of ranks, and from the root to all at once and back.
 *
 * For src/profile.  The pairs of a round are disjoint and measured at the same time; the rounds are
 * those of a tournament, so that everybody meets everybody once.  Of repeated measurements the
 * shortest counts: what makes a message late (another process, a sleeping core) is no property of
 * the link.  Waiting looks often, unlike in an inference, because here nobody computes; what an
 * inference's waiting costs is measured with the star. */
#ifndef COHORT_COMM_LINKS_H
#define COHORT_COMM_LINKS_H

#include "comm/comm.h"

#define COMM_LINK_SIZES_MAX 8

struct comm_link_request {
    size_t bytes[COMM_LINK_SIZES_MAX]; /* rising */
    int count;
    int repeats;      /* of each message; the first of a size warms the connection up */
    double long_s;    /* messages that take longer are repeated once less; 0: none is */
    double longest_s; /* sizes that would take longer by the last one's rate are left out */
    double
        enough_s; /* of a pair: what it has not measured then is left out; 0: it takes its time */
    int rounds;   /* at most so many of the tournament's rounds; 0: all */
};

/* Collective.  On rank 0: ms[(from * size + to) * COMM_LINK_SIZES_MAX + k] is the time of a message
 * of bytes[k] from the begin of its sending until its last byte was there; -1 where there is none.
 * Elsewhere ms may be NULL.  The request is rank 0's.  One way of a round trip counts as half.
 * Errors: timeout (naming the board), comm, memory. */
enum cohort_code comm_measure_links(struct comm *c, const struct comm_link_request *request,
                                    double *ms, comm_progress_fn progress, void *context,
                                    struct cohort_error *err);

/* Collective.  On rank 0: the time in which `bytes` bytes reach every other rank when all are sent
 * at once, and that in which as many come back; and, of 1 KB, half the usual time there and back
 * when all have waited for a while as they do in an inference, and so sleep. */
struct comm_star {
    double scatter_ms, gather_ms, sleeping_ms;
};
enum cohort_code comm_measure_star(struct comm *c, size_t bytes, int repeats,
                                   struct comm_star *star, struct cohort_error *err);

#endif
