/* Errors as values, for the whole of Cohort.
 *
 * Every function that can fail returns an `enum cohort_code` and takes a `struct cohort_error *`
 * as its last parameter.  The deepest cause wins: a caller passes the error up, at most adding
 * where it happened.  Nothing here knows about MPI, so every part of the project may use it. */
#ifndef COHORT_ERROR_H
#define COHORT_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

enum cohort_code {
    COHORT_OK = 0,
    COHORT_ERR_USAGE,       /* an option or argument is wrong or conflicts with another */
    COHORT_ERR_IO,          /* a file or socket could not be read or written */
    COHORT_ERR_FORMAT,      /* a file is not what it should be: corrupt, truncated, other version */
    COHORT_ERR_UNSUPPORTED, /* well formed, but Cohort cannot do it */
    COHORT_ERR_SHAPE,       /* tensor shapes or types do not fit together */
    COHORT_ERR_MEMORY,      /* out of memory */
    COHORT_ERR_PLAN,        /* a plan does not fit the network or the boards */
    COHORT_ERR_COMM,        /* an MPI call failed */
    COHORT_ERR_TIMEOUT,     /* a board did not answer in time */
    COHORT_ERR_INTERNAL,    /* a bug in Cohort */
    COHORT_CODE_COUNT
};

#define COHORT_MESSAGE_BYTES 768

struct cohort_error {
    enum cohort_code code;
    char message[COHORT_MESSAGE_BYTES]; /* one line, no newline at its end */
};

/* The code's name in lower case, for logs and JSON: "usage", "io", … */
const char *cohort_code_name(enum cohort_code code);

#ifdef __cplusplus
}
#endif
#endif
