/* From the public handles to what is behind them, for the command line's tools that look inside
 * (inspect, plan); programs use include/cohort.h. */
#ifndef COHORT_RUNTIME_MODEL_H
#define COHORT_RUNTIME_MODEL_H

#include "cohort.h"

#include "graph/graph.h"
#include "planner/plan.h"
#include "planner/profile.h"

const struct graph *cohort_model_graph(const struct cohort_model *m);
const struct plan *cohort_plan_of(const struct cohort_plan *p);
/* Takes the plan over, also when it fails.  Errors: memory. */
enum cohort_code cohort_plan_wrap(struct cohort_plan **out, struct plan **plan,
                                  struct cohort_error *err);

const struct profile *cohort_profile_of(const struct cohort_profile *p);

/* A bit for each of the first 64 inputs that will be given as pixels, as planners want it.  Errors:
 * usage (no such input). */
enum cohort_code cohort_pixel_bits(uint64_t *bits, const struct cohort_model *m,
                                   const struct cohort_pixels *pixels, int count,
                                   struct cohort_error *err);

#endif
