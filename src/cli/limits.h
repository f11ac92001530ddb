/* How much memory each board may need, for commands that plan: --memory-limit, for all, and what
 * the cluster's companion file says of each. */
#ifndef COHORT_CLI_LIMITS_H
#define COHORT_CLI_LIMITS_H

#include "cli/cli.h"
#include "planner/profile.h"

struct memory_limits {
    uint64_t all;   /* 0: none */
    uint64_t *each; /* one for each of the profile's boards, 0: none; NULL: for no board */
};
#define MEMORY_LIMIT_OPTION(text)                                                                  \
    {                                                                                              \
        "memory-limit", 0, OPTION_TEXT, &(text), "BYTES",                                          \
            "plan so that no board needs more, e.g. 512M; --cluster's memory_limit counts too", 0, \
            0                                                                                      \
    }

/* *bytes of --memory-limit; 0: text is NULL.  Errors: usage (no number of bytes). */
enum cohort_code memory_limit_bytes(uint64_t *bytes, const char *text, struct cohort_error *err);
/* Local.  text: --memory-limit, or NULL; cluster: the companion file, or NULL.  Boards are found in
 * that by host name.  Errors: usage (no number of bytes), io, format, memory. */
enum cohort_code memory_limits_read(struct memory_limits *l, const char *text, const char *cluster,
                                    const struct profile *p, struct cohort_error *err);
void memory_limits_release(struct memory_limits *l);

#endif
