/* Between measure.c, which has boards measure, and curves.c, which makes curves of what they found.
 */
#ifndef COHORT_PROFILE_MEASURING_H
#define COHORT_PROFILE_MEASURING_H

#include "profile/compute.h"
#include "profile/measure.h"

struct measuring {
    const struct profile_job *job;
    struct compute *compute;
    int nodes;
    int *type, *index, *count; /* of each rank: its type, its number among equals, how many */
    int times, short_passes;   /* that every pass is run, and the short one, last */
    size_t doubles;            /* of a rank's results */
    double *mine, *all;        /* all: rank 0 */
    double done, total;        /* progress, in shares of an inference */
};

/* A rank's results: ms[levels][nodes], the short pass's, the free nodes, packed weights, times of
 * chains and how long these are, each [levels][nodes], then … */
enum {
    SHORT = COMPUTE_LEVELS,
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

/* As a file shall have it. */
double profile_rounded(double ms);
/* Local, on rank 0.  Fills in the curves of a type, and what its kernels need of memory. */
enum cohort_code profile_make_curves(const struct measuring *m, struct profile *p, int type,
                                     struct cohort_error *err);

#endif
