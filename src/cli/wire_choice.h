/* --wire auto: the type with the fewest bytes whose answer is near enough to float32's.
 *
 * Every type has a plan of its own, since with fewer bytes more boards may pay.  The network runs
 * once by the plan for float32, then by the others', fewest bytes first, until an answer differs by
 * no more than the tolerance: max |a-b| / max |b| of the worst output. */
#ifndef COHORT_CLI_WIRE_CHOICE_H
#define COHORT_CLI_WIRE_CHOICE_H

#include "cli/cli.h"

#define CLI_WIRES     3 /* as enum cohort_wire has them */
#define CLI_WIRE_AUTO CLI_WIRES
#define CLI_TOLERANCE 1e-3

struct wire_choice {
    int wire; /* enum cohort_wire */
    double tolerance;
    double error[CLI_WIRES]; /* < 0: not measured */
    double ms;               /* that measuring took */
};

struct wire_trial {
    struct cli_ranks *ranks;
    struct cohort_model *model;        /* rank 0 */
    struct cohort_plan **plans;        /* rank 0: one for each type */
    const struct cohort_tensor *input; /* rank 0 */
    int input_count;
    const struct cohort_session_options *session;
    double tolerance;
};

/* Collective.  Says on stderr what was chosen.  *session: prepared by the plan chosen, or NULL
 * where that is left to do.  Errors: those of preparing and running. */
enum cohort_code wire_choose(struct wire_choice *c, struct cohort_session **session,
                             const struct wire_trial *t, struct cohort_error *err);
/* Puts the choice into a report; *json is replaced. */
enum cohort_code wire_choice_report(char **json, const struct wire_choice *c,
                                    struct cohort_error *err);
const char *wire_name(int wire);

/* Collective.  Makes the plans that are not there yet, by rule or as the options say: one, or one
 * for each type with --wire auto, which then chooses; keeps the plan where --save-plan says so, and
 * prepares by it.  names: boards' host names or NULL. */
enum cohort_code wire_prepare(struct wire_choice *c, struct cohort_session **session,
                              const struct wire_trial *t, const struct cli_options *o, char **names,
                              struct cohort_error *err);

/* --tolerance belongs to --wire auto.  Errors: usage. */
enum cohort_code wire_check_options(const struct cli_options *o, struct cohort_error *err);

#endif
