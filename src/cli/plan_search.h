/* cohort plan, when it searches: the wishes of the command line, and showing what came of them. */
#ifndef COHORT_CLI_PLAN_SEARCH_H
#define COHORT_CLI_PLAN_SEARCH_H

#include "cli/cli.h"
#include "planner/strategy.h"

struct search_options {
    const char *profile, *synthetic; /* a file; a text */
    const char *plan;                /* a file: the plan to predict; NULL: search */
    const char *strategy, *exclude;
    const char *output, *memory_limit, *cluster;
    long boards; /* 0: the profile's */
    int wire;    /* < 0: as the plan says, or f32 */
    int objective, unpaired;
    double setup_ms;
    bool rows_only;
    bool root_feeds, image_input, predicted, explain, json;
};

/* Plans, writes the plan where it is wanted, and prints.  Errors: usage, io, format, plan, memory.
 */
enum cohort_code cli_plan_search(const struct graph *g, const struct search_options *o,
                                 struct cohort_error *err);

/* What a planned division looks like. */
struct search_row { /* of --strategy all */
    const char *strategy;
    double predicted_ms, own_ms, planning_ms, bytes, peak_bytes;
    int segments, boards; /* boards that compute */
    const char *error;    /* it could not; NULL */
};
void cli_plan_table(FILE *out, const struct search_row *rows, int count);
enum cohort_code cli_plan_json(FILE *out, const struct cost_model *m, const struct planned *p,
                               double planning_ms, struct cohort_error *err);
enum cohort_code cli_plan_table_json(FILE *out, const struct search_row *rows, int count,
                                     struct cohort_error *err);
/* A few lines: time, boards, memory. */
void cli_plan_summary(FILE *out, const struct cost_model *m, const struct planned *p,
                      double planning_ms);
/* Segment by segment, and why each is not otherwise. */
enum cohort_code cli_plan_explain(FILE *out, const struct cost_model *m, const struct planned *p,
                                  struct cohort_error *err);
/* How many boards compute anything. */
int cli_plan_busy_boards(const struct planned *p);

#endif
