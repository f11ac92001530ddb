/* What a profile predicts for the steps of a session, to stand beside what they took.
 *
 * Rank 0 alone knows the profile; it replays the session's plan with the planner's simulator, whose
 * zero is the beginning of an inference.  Local, all of it. */
#ifndef COHORT_RUNTIME_FORECAST_H
#define COHORT_RUNTIME_FORECAST_H

#include "planner/simulate.h"
#include "runtime/session.h"

/* Keeps the simulation of the session's plan by this profile, instead of an earlier one, and writes
 * its times into the plan.  Errors:
 * plan (the profile is of another network, or of fewer boards), memory. */
enum cohort_code session_forecast(struct cohort_session *s, const struct profile *p,
                                  struct cohort_error *err);

/* The model that the session's plan is simulated by.  The profile is borrowed.  Errors: plan,
 * memory. */
enum cohort_code session_cost(struct cost_model **m, const struct cohort_session *s,
                              const struct profile *p, struct cohort_error *err);

/* Milliseconds that the board computes for a segment, and that it waits for a transition.  Where it
 * waits for several at once, they have shares of that by their rows' bytes.  < 0: not known. */
double forecast_compute_ms(const struct cohort_session *s, int segment, int board);
double forecast_wait_ms(const struct cohort_session *s, int transition, int board);
/* Of a board, in all segments. */
double forecast_board_ms(const struct cohort_session *s, int board);
/* The most memory that it needs.  < 0: not known. */
double forecast_memory_bytes(const struct cohort_session *s, int board);

#endif
