/* Random small networks and clusters for tests of planning.  Everything is drawn from a seed, which
 * is advanced; every function fails the running test when memory is short. */
#ifndef COHORT_TESTS_PLANCASE_H
#define COHORT_TESTS_PLANCASE_H

#include "planner/profile.h"
#include "planner/strategy.h"
#include "tests/support/toynet.h"

int case_draw(uint64_t *seed, int n); /* 0 … n-1 */
double case_range(uint64_t *seed, double a, double b);

/* A chain of windows and elementwise operators on maps of `height` rows; `tail`: a dense end. */
struct graph *case_chain(uint64_t *seed, int nodes, int height, bool tail);
/* A chain of such, with skips over one to three operators. */
struct graph *case_skips(uint64_t *seed, int nodes, int height);
/* Blocks of squeeze-and-excite: a gate from the rows' own pixels, and a skip where that fits. */
struct graph *case_gates(uint64_t *seed, int nodes, int height);
/* Anything: heads, gates, dense ends. */
struct graph *case_any(uint64_t *seed, int nodes, int height);

/* A chain with weights, of 16 to 64 channels: convolutions, elementwise operators, pools, now and
 * then a skip, and `tail` products. */
struct graph *case_weighted(uint64_t *seed, int nodes, int height, int tail);

/* Boards of one to three kinds, curves with a bend, links of their own (link_ms: about what a map
 * takes on a link, beside about 1 for an operator on a board). */
struct profile *case_profile(const struct graph *g, int boards, double link_ms, uint64_t *seed);
struct cost_model *case_model(const struct graph *g, const struct profile *p,
                              struct cost_options o);

/* Plans by a strategy while each allocation fails in turn (all of the first `each`, then fewer and
 * fewer): it says so and leaves nothing behind. */
void case_short_memory(const struct graph *g, const struct profile *p, const char *strategy,
                       const struct planner_options *o, long each);

#endif
