/* A plan for the boards of this job, from what is measured of them: for commands that run networks
 * and were not told how to divide. */
#ifndef COHORT_CLI_PROFILED_PLAN_H
#define COHORT_CLI_PROFILED_PLAN_H

#include "cli/cli.h"
#include "cli/limits.h"

struct profile_options {
    const char *strategy, *file; /* NULL: auto; measured, or from the cache */
    bool off;                    /* --no-profile */
    bool rows_only;              /* --rows-only */
    bool adapt;                  /* --adapt, of `run`: the plan is only where it begins … */
    double threshold;            /* … and this is worth another, in percent; 0: the default */
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
        {"rows-only",                                                                              \
         0,                                                                                        \
         OPTION_FLAG,                                                                              \
         &(p).rows_only,                                                                           \
         NULL,                                                                                     \
         "auto: divide nothing by channels; boards that compute alike give one board's bits",      \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        "no-profile", 0, OPTION_FLAG, &(p).off, NULL,                                              \
            "measure nothing: groups end at the pools, all boards get equal rows, and dilated "    \
            "ones take their CPU time",                                                            \
            0, 0                                                                                   \
    }

/* What there is after that. */
struct profiled {
    bool made, adapts; /* there is a profile; it is to be adapted: the same on all ranks */
    /* Rank 0.  Without `made`: what is kept, for the session alone. */
    struct cohort_profile *profile;
    struct memory_limits limits; /* rank 0, where there is a profile to plan by */
};
void profiled_release(struct profiled *p);

/* Collective.  *plan stays NULL, on rank 0 too, where nothing is to be measured: on one rank, and
 * where --plan, --groups, --ratio or --no-profile says how to divide; or where one of these says so
 * and the profile is only for --adapt.  With --wire auto it is the first of CLI_WIRES plans, one
 * for each type on the wire; else it says in a line what the plan is expected to take
 * (cli_tell_plan). Errors: usage (options that conflict), those of cohort_profile_make(). */
enum cohort_code cli_profiled_plan(struct cohort_plan **plan, struct profiled *profiled,
                                   struct cohort_model *model, const struct cli_options *o,
                                   const struct profile_options *p, struct cli_ranks *ranks,
                                   const struct cohort_session_options *session,
                                   struct cohort_error *err);

/* What the options say of the search for plans; it borrows from the limits. */
struct cohort_search_options cli_search_options(const struct cli_options *o,
                                                const struct profile_options *p,
                                                const struct memory_limits *limits);

/* "plan auto: 3 segments on 2 of 3 boards, 12.3 ms predicted" on stderr; nothing of a plan that was
 * not predicted. */
void cli_tell_plan(const struct cohort_plan *plan);

#endif
