/* Filling in a `struct cohort_error`.
 *
 * Usage: `return error_set(err, COHORT_ERR_FORMAT, "%s: not a PNG", path);`
 * The first cause is kept: error_wrap() only puts the place in front of it. */
#ifndef COHORT_BASE_ERROR_H
#define COHORT_BASE_ERROR_H

#include "cohort_error.h"

#if defined(__GNUC__)
#define COHORT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define COHORT_PRINTF(fmt, args)
#endif

/* Sets code and message (err may be NULL; control characters become "?") and returns the code. */
enum cohort_code error_set(struct cohort_error *err, enum cohort_code code, const char *fmt, ...)
    COHORT_PRINTF(3, 4);

/* Puts "PREFIX: " before the message that err already has; returns err's code. */
enum cohort_code error_wrap(struct cohort_error *err, const char *fmt, ...) COHORT_PRINTF(2, 3);

/* For an allocation of that many bytes that failed, naming what it was for. */
enum cohort_code error_memory(struct cohort_error *err, unsigned long long bytes, const char *what);

void error_clear(struct cohort_error *err);

/* Bugs only: prints file, line and message and aborts.  Never for bad input. */
_Noreturn void bug_at(const char *file, int line, const char *what);
#define BUG(what) bug_at(__FILE__, __LINE__, what)
#define BUG_UNLESS(cond)                                                                           \
    do {                                                                                           \
        if (!(cond))                                                                               \
            BUG(#cond);                                                                            \
    } while (0)

/* Runs `call`; on failure leaves through the label `out` with `code` set.
 * The enclosing function declares `enum cohort_code code = COHORT_OK;`. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        code = (call);                                                                             \
        if (code != COHORT_OK)                                                                     \
            goto out;                                                                              \
    } while (0)

#endif
