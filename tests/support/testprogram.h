/* A whole graph as a program on the test's pool, in two halves, so that tests may prepare it in
 * their own way between them and ask it what they like behind them.  Asserts with cmocka. */
#ifndef COHORT_TESTS_TESTPROGRAM_H
#define COHORT_TESTS_TESTPROGRAM_H

#include "exec/exec.h"
#include "tests/support/graphtest.h"

/* All of t->g, in tiles of so many rows (0: whole), not prepared; *slots of each value (mem_free).
 */
struct program *test_program(struct gt *t, const struct exec_options *o, int64_t tile, int **slots);
/* Runs a prepared one on an input of numbers in [-size, size], without allocating anything; *out is
 * its first output (tensor_release). */
void test_program_run(struct gt *t, struct program *p, const int *slots, float size,
                      struct tensor *out);

#endif
