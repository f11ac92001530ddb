/* Command-line options from a table: parsing, --help, and "did you mean".
 *
 * `--name value`, `--name=value`, `-x value`; "--" ends options.  An option may take its value from
 * the environment as COHORT_NAME (the caller passes a lookup; the library never reads it).  The
 * command line wins.  A flag NAME also answers to --no-NAME and --NAME=yes|no, letters to -oVALUE
 * and -vv.  Options without a help text are not listed by options_print(). */
#ifndef COHORT_BASE_OPTIONS_H
#define COHORT_BASE_OPTIONS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum option_kind {
    OPTION_FLAG,
    OPTION_INT,
    OPTION_DOUBLE,
    OPTION_TEXT,
    OPTION_LIST,
    OPTION_CHOICE
};

struct option_spec {
    const char *name; /* "threads"; NULL ends the table */
    char letter;      /* 'o' or 0 */
    enum option_kind kind;
    void *target; /* bool *, long *, double *, const char **, struct option_list *, int * (choice
                     index) */
    const char *argument; /* "N", "FILE", … in --help; for OPTION_CHOICE "a|b|c" */
    const char *help;
    double min, max; /* numbers: inclusive range when min < max */
};

#define OPTION_LIST_MAX 64
struct option_list { /* an option that may be given several times */
    const char *items[OPTION_LIST_MAX];
    int count;
};

typedef const char *(*option_environment_fn)(const char *name);

/* Parses argv[1..): options into their targets, the rest into positional[] (at most max).
 * Errors: usage, naming the option, with the closest one ("unknown option --thread: did you mean
 * --threads?"). */
enum cohort_code options_parse(const struct option_spec *specs, int argc, char **argv,
                               option_environment_fn environment, const char **positional, int max,
                               int *count, struct cohort_error *err);
/* A line or two per option. */
void options_print(const struct option_spec *specs, FILE *out);
/* Of n candidates (name(i)), the one with the least edit distance to text, or NULL when none is
 * close. */
const char *closest_name(const char *text, const char *const *names, size_t count);

#endif
