/* For MPI tests: TAP from rank 0, after every rank has said what it saw.
 *
 * A test that asserted on one rank alone would leave the others hanging; mt_ok() is collective, so
 * all ranks go on together.  mt_begin() also sets an alarm: a hang ends as a failure. */
#ifndef COHORT_TESTS_MPITEST_H
#define COHORT_TESTS_MPITEST_H

#include "cohort.h"

#include <mpi.h>
#include <stdbool.h>

extern int mt_rank, mt_size;

void mt_begin(int *argc, char ***argv, unsigned limit_s);
/* Collective over MPI_COMM_WORLD: one TAP line; ok when `mine` holds on every rank.  Returns that.
 */
bool mt_ok(bool mine, const char *name, ...) __attribute__((format(printf, 2, 3)));
/* Prints a diagnostic of this rank to stderr. */
void mt_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Collective.  Checks for leaks, prints the plan, finalizes MPI; the exit status. */
int mt_end(void);
double mt_now(void);

/* Did it go well?  Prints the message where not. */
bool mt_said(enum cohort_code code, const struct cohort_error *err);
int64_t mt_elements(const struct cohort_tensor *t);
/* max|a-b| / max|b| */
double mt_difference(const float *a, const float *b, int64_t count);

#endif
