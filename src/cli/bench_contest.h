/* Inside cohort bench --strategies: what bench_strategies.c measures and bench_show.c prints. */
#ifndef COHORT_CLI_BENCH_CONTEST_H
#define COHORT_CLI_BENCH_CONTEST_H

#include "cli/bench_strategies.h"
#include "cli/inputs.h"
#include "cli/limits.h"

#include "board/board.h"
#include "board/health.h"
#include "planner/cost.h"
#include "planner/strategy.h"

#define STRATEGIES_MAX 32

/* One strategy's plan for the network at hand.  All but the name is rank 0's. */
struct candidate {
    char name[32];
    const struct strategy *strategy;
    enum planner_objective objective;
    enum planner_unpaired unpaired; /* iop's */
    struct cohort_plan *plan;
    char why_not[COHORT_MESSAGE_BYTES]; /* it made none */
    double predicted_ms, own_ms, planning_ms;
    double *ms;
    int count;
    struct cli_stats time;
    double bytes;              /* that travel in an inference */
    double peak_bytes;         /* of the board that needs most */
    double planned_peak_bytes; /* the same as planned */
    double *board_peak_bytes, *board_planned_bytes;
    bool throttled;    /* a board slowed itself down while this one had its turn */
    double compute_ms; /* of the board that computes longest, in the last run */
    double redundant;  /* work done more than once, as a share of the work */
    double late;       /* share of dilated blocks that came too late */
    int boards;        /* that compute anything */
    int segments;
};

struct contest {
    const struct bench_options *o;
    struct cli_ranks *ranks;
    const char *network;
    struct cohort_model *model;     /* rank 0 */
    struct cohort_profile *profile; /* rank 0 */
    struct cost_model *costs;       /* rank 0 */
    struct memory_limits limits;    /* rank 0 */
    double profiling_ms;            /* without groups */
    struct candidate list[STRATEGIES_MAX];
    int count;
    struct input_set *sets; /* rank 0 */
    int set_count;
    struct cohort_tensor output;
    int wire;           /* enum cohort_wire */
    struct board board; /* this rank's, for its health */
    char *health;       /* rank 0: a text a rank, before all, after all, and the last two looks */
};
enum { BEFORE, AFTER, LATELY, NOW, LOOKS };

/* Rank 0.  A board's health at one of the looks. */
static inline char *health_of(const struct contest *c, int look, int board) {
    return c->health + (size_t)(look * c->ranks->size + board) * BOARD_HEALTH_BYTES;
}

/* Rank 0.  What measuring groups took, now or when they were kept; 0: there are none. */
double bench_groups_ms(const struct contest *c);
/* Rank 0.  Adds an object to `rows`, and prints what the options ask for, unless they ask for JSON;
 * first: of several networks. */
void bench_show(const struct contest *c, bool first, cJSON *rows);

#endif
