/* Strategies: ways of dividing a network, each a restriction of one search space, one file each.
 *
 * Pure functions from (network, profile, wishes) to a plan; the simulator says what a plan takes,
 * the same for all.  A strategy is one row of the table in strategy.c. */
#ifndef COHORT_PLANNER_STRATEGY_H
#define COHORT_PLANNER_STRATEGY_H

#include "planner/cost.h"
#include "planner/simulate.h"

/* iop: what operators in no pair run as: coedge's rows, or out-channel, each joined everywhere. */
enum planner_unpaired { PLANNER_UNPAIRED_ROWS, PLANNER_UNPAIRED_OUT_CHANNEL };
enum planner_objective { PLANNER_LATENCY, PLANNER_MEMORY };

struct planner_options {
    struct cost_options cost;
    enum planner_objective objective;
    bool predicted; /* fss: from the cost model instead of measured groups */
    enum planner_unpaired unpaired;
    bool rows_only; /* auto: nothing is divided by channels */
    int inner;      /* auto: how deep it is within itself; 0 for callers */
};

/* What a strategy works with, and what it leaves. */
struct strategy_run {
    const struct cost_model *m;
    const struct planner_options *options;
    struct plan *plan; /* begun by the caller: without segments */
    size_t capacity;   /* of plan->segments */
    double own_ms;     /* its own estimate of the time, where it makes one; < 0 */
    char *notes;       /* lines for people; NULL: none */
    long states;       /* that a search looked at */
    bool exact;        /* a search left nothing out */
};

struct strategy {
    const char *name;
    enum cohort_code (*make)(struct strategy_run *run, struct cohort_error *err);
    const char *help; /* one line */
};
const struct strategy *strategy_table(int *count);
/* Errors: usage, with the closest name. */
enum cohort_code strategy_find(const struct strategy **s, const char *name,
                               struct cohort_error *err);

/* ---- planning ------------------------------------------------------------------------------- */

struct planned {
    struct plan *plan; /* predictions filled in */
    struct simulation *simulation;
    double own_ms; /* the strategy's own estimate; < 0: it makes none */
    char *notes;
    long states;
    bool exact;
};
/* Makes a plan by one strategy and simulates it.  Errors: usage, plan, memory. */
enum cohort_code planner_make(struct planned *out, const struct cost_model *m, const char *strategy,
                              const struct planner_options *o, struct cohort_error *err);
/* Simulates a plan that is there, which was checked and is taken over.  Errors: plan (it breaks the
 * memory limit), memory. */
enum cohort_code planner_predict(struct planned *out, const struct cost_model *m,
                                 struct plan **plan, struct cohort_error *err);
void planned_release(struct planned *p);

/* ---- for strategies ------------------------------------------------------------------------- */

enum cohort_code plan_create(struct plan **p, const struct cost_model *m, const char *strategy,
                             struct cohort_error *err);
/* Appends nodes [.., end).  split (tiles, by channels) is copied; neighbouring local segments of
 * one board become one, and so do replicated ones. */
enum cohort_code strategy_add(struct strategy_run *run, int end, enum plan_mode mode,
                              enum plan_output output, int board, const int64_t *split,
                              struct cohort_error *err);
/* Adds a line to the notes. */
enum cohort_code strategy_note(struct strategy_run *run, struct cohort_error *err, const char *fmt,
                               ...) COHORT_PRINTF(3, 4);
/* The board that runs what cannot be divided: the root, or the fastest where that only feeds. */
int strategy_home(const struct cost_model *m);

enum cohort_code strategy_single(struct strategy_run *run, struct cohort_error *err);
enum cohort_code strategy_layerwise(struct strategy_run *run, struct cohort_error *err);
enum cohort_code strategy_early_fused(struct strategy_run *run, struct cohort_error *err);
enum cohort_code strategy_legion(struct strategy_run *run, struct cohort_error *err);
enum cohort_code strategy_fss(struct strategy_run *run, struct cohort_error *err);
enum cohort_code strategy_aofl(struct strategy_run *run, struct cohort_error *err);
enum cohort_code strategy_coedge(struct strategy_run *run, struct cohort_error *err);
enum cohort_code strategy_iop(struct strategy_run *run, struct cohort_error *err);
enum cohort_code strategy_auto(struct strategy_run *run, struct cohort_error *err);

#endif
