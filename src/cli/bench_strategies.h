/* cohort bench --strategies: one network, divided by several strategies, measured side by side.
 *
 * Collective over the ranks.  The network is profiled (or its profile is taken from a file), every
 * strategy makes a plan, and the plans run in turns: each round prepares one after the other, runs
 * it a few times and closes it, so that drift hits all alike and only one of them takes memory. */
#ifndef COHORT_CLI_BENCH_STRATEGIES_H
#define COHORT_CLI_BENCH_STRATEGIES_H

#include "cli/cli.h"

#include "base/json.h"

struct bench_options {
    struct cli_options common;
    const char *strategies; /* "all", or names with commas; NULL: networks alone */
    const char *profile;    /* FILE; NULL: measure, or what is kept */
    bool again;             /* measure in any case */
    bool predicted;         /* fss: by the cost model, without measuring groups */
    bool rows_only;         /* nothing by channels */
    bool cpu_time;          /* dilated boards take it, whatever was measured */
    const char *save_profile;
    int format;     /* enum bench_format */
    int input_type; /* enum made_up */
    long rounds;
    double cooldown_s; /* rest before each turn */
    double limit_s;    /* of all runs of a plan; 0: none */
};
enum bench_format { BENCH_TABLE, BENCH_CSV, BENCH_MARKDOWN };

/* Collective.  Adds an object per network to `rows` (rank 0), and prints what the options ask for,
 * unless they ask for JSON. */
enum cohort_code bench_strategies(const struct bench_options *o, struct cli_ranks *ranks,
                                  const char *const *networks, int count, cJSON *rows,
                                  struct cohort_error *err);

#endif
