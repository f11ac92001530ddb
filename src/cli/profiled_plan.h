/* A plan for the boards of this job, from what is measured of them: for commands that run networks
 * and were not told how to divide. */
#ifndef COHORT_CLI_PROFILED_PLAN_H
#define COHORT_CLI_PROFILED_PLAN_H

#include "cli/cli.h"

struct profile_options {
    const char *strategy, *file; /* NULL: auto; measured, or from the cache */
    bool off;                    /* --no-profile */
};
#define PROFILE_OPTIONS(p)                                                                         \
    {"strategy",  's',                                                                             \
     OPTION_TEXT, &(p).strategy,                                                                   \
     "NAME",      "how to divide by measurements (auto); 'cohort plan' knows them",                \
     0,           0},                                                                              \
        {"profile",                                                                                \
         0,                                                                                        \
         OPTION_TEXT,                                                                              \
         &(p).file,                                                                                \
         "FILE",                                                                                   \
         "measurements of these boards, from 'cohort profile -o' (measured now, or kept)",         \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        "no-profile", 0, OPTION_FLAG, &(p).off, NULL,                                              \
            "measure nothing: groups end at the pools, all boards get equal rows", 0, 0            \
    }

/* Collective.  *plan stays NULL, on rank 0 too, where nothing is to be measured: on one rank, and
 * where --plan, --groups, --ratio or --no-profile says how to divide.  Says in a line what the plan
 * is expected to take.  Errors: usage (options that conflict), those of cohort_profile_make(). */
enum cohort_code cli_profiled_plan(struct cohort_plan **plan, struct cohort_model *model,
                                   const struct cli_options *o, const struct profile_options *p,
                                   struct cli_ranks *ranks,
                                   const struct cohort_session_options *session,
                                   struct cohort_error *err);

#endif
