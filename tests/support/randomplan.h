/* Random plans for any network: segments, modes, boards, outputs, and splits with empty shares.
 *
 * Whatever it makes passes plan_check() and can be run: tensors whose shape is known only at run
 * time stay on board 0. */
#ifndef COHORT_TESTS_RANDOMPLAN_H
#define COHORT_TESTS_RANDOMPLAN_H

#include "graph/graph.h"
#include "planner/plan.h"

/* The same plan for the same seed, which is advanced.  NULL: memory is short. */
struct plan *random_plan_make(const struct graph *g, int boards, uint64_t *seed);

#endif
