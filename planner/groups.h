/* Legion's space: consecutive operators in groups, each scattered from the root, computed in tiles,
 * and gathered there.  What legion, aofl and fss have in common: the network's units (what lies
 * between two cuts with a single tensor), a table of what a group from one unit to another costs,
 * and the exact search over that table.  For planner/ only. */
#ifndef COHORT_PLANNER_GROUPS_H
#define COHORT_PLANNER_GROUPS_H

#include "planner/cuts.h"
#include "planner/strategy.h"

struct grouping {
    const struct cost_model *m;
    struct cuts *cuts; /* units are 0 … n-1; unit u is nodes [cuts->at[u], cuts->at[u+1]) */
    int n;
    double *ms;   /* [i * n + j]: units i to j as one group; INFINITY: it cannot be one */
    int *boards;  /* [i * n + j]: how many of the fastest boards take part; 0: run on one board */
    int *begin;   /* result: [j]: the first unit of the group that ends with unit j, -1: none */
    double *best; /* [j + 1]: the least time of units 0 to j */
};

enum cohort_code grouping_create(struct grouping **g, const struct cost_model *m,
                                 struct cohort_error *err);
void grouping_destroy(struct grouping **g);

/* Of the rows, what each board computes: in proportion to speed.  shares[boards], which add up
 * to 1.
 */
void cost_shares(const struct cost_model *m, double *shares);
/* Were the profile's groups measured with just these shares?  false: why[] (may be NULL) says what
 * is to be done. */
#define GROUPING_WHY_BYTES 256
bool grouping_is_measured(const struct cost_model *m, char why[GROUPING_WHY_BYTES]);

/* Enters what groups among the `count` fastest boards cost by the cost model, as a sum of steps,
 * where that is less than what is there; rows in proportion to speed.  Units that cannot be divided
 * are entered as what the one board takes (grouping_enter_local). */
enum cohort_code grouping_enter(struct grouping *g, int count, struct cohort_error *err);
/* Likewise of those groups whose computing was measured, among all boards: its time is the measured
 * one of the slowest board.  What travels costs what the cost model says, by measured links.
 * Errors: plan (a unit was not measured), memory. */
enum cohort_code grouping_enter_measured(struct grouping *g, struct cohort_error *err);
/* Every unit that cannot be divided, on one board. */
void grouping_enter_local(struct grouping *g);
/* The groups with the least sum: fills in begin and best. */
void grouping_solve(struct grouping *g, long *states);
/* Appends the solution to the run's plan. */
enum cohort_code grouping_plan(const struct grouping *g, struct strategy_run *run,
                               struct cohort_error *err);

/* Numbers of boards worth trying: all up to 8, then growing by half, every number at which the next
 * board is slower, and all; sizes[usable_count], rising.  Returns how many. */
int cost_sizes(const struct cost_model *m, int *sizes);

#endif
