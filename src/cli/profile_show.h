/* Showing a profile: boards, links as matrices, and Legion's matrices. */
#ifndef COHORT_CLI_PROFILE_SHOW_H
#define COHORT_CLI_PROFILE_SHOW_H

#include "cli/cli.h"
#include "planner/profile.h"

/* What a person wants to know first: boards with the time of one inference, links. */
void profile_show_boards(const struct profile *p);
/* S, R, E and alpha of each board, when the network is divided by rows in proportion to the boards'
 * speeds.  Errors: memory. */
enum cohort_code profile_show_matrices(const struct profile *p, const struct graph *g,
                                       struct cohort_error *err);

#endif
