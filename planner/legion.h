/* Legion's cost matrices (Lee et al., ICCD 2021), as its public account has them: every board's own
 * times of single, unfused layers with its own share of the rows.  A layer here is a unit: what
 * lies between two cuts with a single tensor (one operator, in a chain). */
#ifndef COHORT_PLANNER_LEGION_H
#define COHORT_PLANNER_LEGION_H

#include "planner/cuts.h"

struct legion {
    int boards, n; /* n units */
    double *s;     /* S_d[i], [d * n + i]: ms to send unit i's input tile to board d */
    double *r;     /* R_d[j]: ms to fetch unit j's output tile from board d */
    double *e;     /* E_d[k]: ms of unit k's tile on board d */
    double *a;     /* A_d[k,j], [(d * n + k) * n + j], k <= j: by which unit k's tile grows when it
                      is fused through to unit j */
};

/* Shares of all usable boards, in proportion to their speeds. */
enum cohort_code legion_create(struct legion **l, const struct cost_model *m,
                               const struct cuts *cuts, struct cohort_error *err);
void legion_destroy(struct legion **l);
/* T[i,j] = max over d of (S_d[i] A_d[i,j] + sum over k from i to j of E_d[k] A_d[k,j] + R_d[j]). */
double legion_group_ms(const struct legion *l, int i, int j);

#endif
