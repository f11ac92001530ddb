/* Made-up profiles: for clusters that do not exist (yet), and for tests.
 *
 * "4xfast:100 2xslow:40 link:100Mbit:0.3ms" is four boards of 100 GFLOP/s and two of 40, all joined
 * by links of 100 Mbit/s and 0.3 ms; board 0, the root, is the first one.  docs/planning.md says
 * what times come of it. */
#ifndef COHORT_PLANNER_SYNTHETIC_H
#define COHORT_PLANNER_SYNTHETIC_H

#include "planner/profile.h"

#define SYNTHETIC_BOARDS_MAX 512

/* Errors: usage, naming the part of the text that is wrong; memory. */
enum cohort_code profile_synthetic(struct profile **p, const struct graph *g, const char *text,
                                   struct cohort_error *err);

#endif
