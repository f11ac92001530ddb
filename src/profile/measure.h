/* Making a profile: all boards measure at once, boards of one type share the work, rank 0 puts
 * together what they found.
 *
 * Every function is collective over job->comm; the profile is rank 0's, others pass NULL for it.
 * What rank 0 decides by a clock, it decides for all. */
#ifndef COHORT_PROFILE_MEASURE_H
#define COHORT_PROFILE_MEASURE_H

#include "board/board.h"
#include "board/health.h"
#include "board/pool.h"
#include "comm/comm.h"
#include "exec/exec.h"
#include "planner/profile.h"
#include "profile/compute.h"

#define PROFILE_KERNELS_BYTES 160
#define PROFILE_WHY_BYTES     256

/* What a rank's measurements hold for; travels between boards: fixed widths only. */
struct profile_facts {
    char host[BOARD_NAME_BYTES + 12];
    char cpu[128];
    char isa[64];
    char kernels[PROFILE_KERNELS_BYTES];
    char network[BOARD_NETWORK_BYTES];
    double cpu_share, clock_mhz;
    uint64_t memory_bytes, available_bytes; /* this rank's; 0: unknown */
    int32_t threads, reserved;
};

struct profile_job {
    struct comm *comm; /* NULL: alone */
    int rank, size;
    struct graph *graph; /* constants whose data is not there are made up */
    struct pool *pool;
    const struct board *board;
    uint64_t memory_bytes; /* that this rank may use; 0: unknown */
    bool bind;             /* are threads bound to cores? */
    const struct exec_options *exec;
    const struct profile_facts *facts; /* rank 0: of all ranks */
    const char *version;
    /* May be NULL.  progress: in thousandths. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void (*log)(void *context, int level, const char *line);
    void *context;
};

/* Local, on rank 0.  A profile of these boards in which nothing was measured yet: types and boards
 * from the facts.  Errors: memory. */
enum cohort_code profile_begin(struct profile **p, const struct profile_job *job,
                               struct cohort_error *err);

/* Fills in the curves of all types, and the boards' scales and remarks. */
enum cohort_code profile_measure_compute(struct profile *p, const struct profile_job *job,
                                         struct cohort_error *err);
/* Fills in the groups, instead of what was there, by the computing that was measured before: runs
 * of at most `longest` units (planner/groups.h; 0: any number), divided among all boards, or all
 * but the root where that only feeds. */
enum cohort_code profile_measure_groups(struct profile *p, const struct profile_job *job,
                                        int longest, bool root_feeds, struct cohort_error *err);
/* Fills in the engines of all types, instead of what was there: the first board of each runs the
 * network on every engine that it has, once, or more often where it is small. */
enum cohort_code profile_measure_engines(struct profile *p, const struct profile_job *job,
                                         struct cohort_error *err);
/* Fills in the links, instead of what was there. */
enum cohort_code profile_measure_links(struct profile *p, const struct profile_job *job,
                                       struct cohort_error *err);
/* In less than 100 ms: are the links as the profile says?  On rank 0, *off says whether one is more
 * than 20 % off, and why[] which. */
enum cohort_code profile_probe_links(const struct profile *p, const struct profile_job *job,
                                     bool *off, char why[PROFILE_WHY_BYTES],
                                     struct cohort_error *err);

/* The same look, while a network runs.  On rank 0, factor[from * board_count + to]: time of a
 * message over the profile's; 1 where there was no time to look, or nothing to be seen. */
enum cohort_code profile_probe_factors(const struct profile *p, const struct profile_job *job,
                                       double *factor, struct cohort_error *err);

/* ---- for tests ------------------------------------------------------------------------------- */

/* How often board `index` of `count` equal ones runs each level's pass, and in how many of these
 * the operators of chains once more one by one.  `chained`: these take a good part of the time. */
struct profile_schedule {
    int passes[COMPUTE_LEVELS], one_by_one[COMPUTE_LEVELS];
};
struct profile_schedule profile_schedule(int index, int count, bool chained);
/* What a board that did `done` has not done yet, to have each level once. */
struct profile_schedule profile_rest(const struct profile_schedule *done, bool chained);

#endif
