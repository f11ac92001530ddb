/* The contest of `auto`: plans enter, are simulated, and one is the best.
 *
 * With the objective latency that is the fastest that keeps to the limits.  With the objective
 * memory entered plans are kept until rivals_settle(): the fastest of those that need hardly more
 * than the least (RIVALS_BAND) is then the best, and what enters later has to stay within that.
 * For strategy_auto.c only. */
#ifndef COHORT_PLANNER_AUTO_RIVALS_H
#define COHORT_PLANNER_AUTO_RIVALS_H

#include "planner/strategy.h"

#define RIVALS_ALIKE 1e-9 /* times that differ by less are the same, but for rounding */
#define RIVALS_BAND  1.05 /* of the least memory: within it the fastest plan wins */
#define RIVALS_MAX   16

struct rival {
    const char *name;
    struct plan *plan;
    double ms, peak; /* bytes of the board that needs most */
    double excess;   /* bytes beyond a board's limit, where that is most */
};

struct rivals {
    struct strategy_run *run;
    struct rival others[RIVALS_MAX];
    int other_count;
    struct rival best;   /* its plan is its own */
    struct rival *front; /* objective memory, until settled: no other is better in everything */
    size_t front_capacity;
    int front_count;
    bool settled;
    double band;      /* then: bytes that the best may need */
    double least;     /* bytes of plans that entered since this was set, and keep to the limits */
    double search_ms; /* the search's own best, simulated */
    int budget;       /* simulations that polishing may take */
};
/* May boards need only so much?  auto within auto looks for what is best without that. */
bool rivals_limited(const struct strategy_run *run);
/* Memory is looked at only where it matters. */
bool rivals_minds_memory(const struct strategy_run *run);
/* Fills in time and memory of a rival's plan. */
enum cohort_code rivals_judge(const struct strategy_run *run, const struct plan *p, struct rival *r,
                              struct cohort_error *err);
/* Not before rivals_settle(), with the objective memory. */
bool rivals_better(const struct rivals *c, const struct rival *a, const struct rival *b);
/* A plan enters; it is taken over (and gone) whatever comes of it. */
enum cohort_code rivals_enter(struct rivals *c, const char *name, struct plan **p,
                              struct cohort_error *err);
/* Bytes of the plan that needs least. */
double rivals_least(const struct rivals *c);
void rivals_settle(struct rivals *c);
void rivals_release(struct rivals *c);

#endif
