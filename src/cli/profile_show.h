/* Showing a profile: boards, their engines, links as matrices, and Legion's matrices. */
#ifndef COHORT_CLI_PROFILE_SHOW_H
#define COHORT_CLI_PROFILE_SHOW_H

#include "cli/cli.h"
#include "planner/profile.h"

/* What a person wants to know first: boards with the time of one inference, links. */
void profile_show_boards(const struct profile *p);
/* What each operator takes on each engine, where that was measured. */
void profile_show_engines(const struct profile *p, const struct graph *g);
/* S, R, E and alpha of each board, when the network is divided by rows in proportion to the boards'
 * speeds.  Errors: memory. */
enum cohort_code profile_show_matrices(const struct profile *p, const struct graph *g,
                                       struct cohort_error *err);

#endif
