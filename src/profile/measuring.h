/* Between the files that have boards measure, and curves.c, which makes curves of what they found.
 */
#ifndef COHORT_PROFILE_MEASURING_H
#define COHORT_PROFILE_MEASURING_H

#include "profile/compute.h"
#include "profile/measure.h"

#include <string.h>

/* ---- boards together ------------------------------------------------------------------------- */

/* comm_agree(), also alone. */
static inline enum cohort_code job_agree(const struct profile_job *job, enum cohort_code code,
                                         struct cohort_error *err) {
    return job->comm == NULL ? code : comm_agree(job->comm, code, err);
}
/* Likewise comm_gather_bytes(). */
static inline enum cohort_code job_gather(const struct profile_job *job, const void *mine,
                                          size_t bytes, void *all, struct cohort_error *err) {
    if (job->comm != NULL)
        return comm_gather_bytes(job->comm, mine, bytes, all, err);
    memcpy(all, mine, bytes);
    return COHORT_OK;
}
/* Collective.  Rank 0's `count` numbers on all ranks.  Errors: memory. */
enum cohort_code profile_share_ints(const struct profile_job *job, int *numbers, size_t count,
                                    struct cohort_error *err);
/* Local.  What a rank's measurements hold for, as a type that has none yet.  Errors: memory. */
enum cohort_code profile_type_of(struct profile_type *t, const struct profile_facts *f,
                                 struct cohort_error *err);

/* Of a program that is to be timed: made-up weights that come from memory, as in a network that is
 * larger than all caches. */
struct exec_options profile_exec_options(const struct profile_job *job);

/* ---- operators ------------------------------------------------------------------------------- */
/* Where the time goes. */
enum { LAP_READY, LAP_WARM, LAP_PASSES, LAP_OTHERS, LAP_COMPARE, LAP_APART, LAPS };

struct measuring {
    const struct profile_job *job;
    struct compute *compute;
    int nodes;
    int *type, *index, *count; /* of each rank: its type, its number among equals, how many */
    int times, short_passes;   /* that every pass is run, and the short one, last */
    bool chained;              /* do operators in chains take a good part of the time? */
    struct profile_schedule schedule; /* mine */
    size_t doubles;                   /* of a rank's results */
    double *mine, *all;               /* all: rank 0 */
    double done, total;               /* progress, in shares of an inference */
    double since_ms, lap_ms[LAPS];
};

/* A rank's results: ms[levels][nodes], the short passes' (of the last round, and of all), the free
 * nodes, packed weights, times of chains and how long these are, each [levels][nodes], then … */
enum {
    ROUND = COMPUTE_LEVELS,
    SHORT,
    FREE,
    WEIGHTS,
    CHAINED,
    LENGTH = CHAINED + COMPUTE_LEVELS,
    PARTS = LENGTH + COMPUTE_LEVELS
};
enum { ENCODE, DECODE, WORKSPACE, EXTRAS };

static inline double *part_of(const struct measuring *m, double *results, int part) {
    return results + (size_t)part * (size_t)m->nodes;
}
/* Rank 0. */
static inline double *results_of(const struct measuring *m, int rank) {
    return m->all + (size_t)rank * m->doubles;
}

/* Collective.  All boards at once time the short pass, round by round; off[rank]: who differs from
 * its equals, in the profile a type of its own and said why; the others get their scales. */
enum cohort_code profile_compare(struct measuring *m, struct profile *p, int *off,
                                 struct cohort_error *err);

/* A line of the job's log. */
void profile_say(const struct profile_job *job, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As a file shall have it. */
double profile_rounded(double ms);
/* Local, on rank 0.  Fills in the curves of a type, and what its kernels need of memory. */
enum cohort_code profile_make_curves(const struct measuring *m, struct profile *p, int type,
                                     struct cohort_error *err);

#endif
