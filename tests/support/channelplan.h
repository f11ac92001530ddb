/* Random plans with segments by channels, for any network: the modes that its operators allow, with
 * unequal and empty shares, between segments of the other modes. */
#ifndef COHORT_TESTS_CHANNELPLAN_H
#define COHORT_TESTS_CHANNELPLAN_H

#include "graph/graph.h"
#include "planner/plan.h"

/* The same plan for the same seed, which is advanced; it passes plan_check(), whose messages led
 * there.  *segments: how many of its segments are by channels.  NULL: memory is short, or no plan
 * passes. */
struct plan *channel_plan_make(const struct graph *g, int boards, uint64_t *seed, int *segments);

#endif
