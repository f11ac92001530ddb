/* A pool of two threads for unit tests of the executor: group set-up and tear-down for cmocka;
 * and others. */
#ifndef COHORT_TESTS_TESTPOOL_H
#define COHORT_TESTS_TESTPOOL_H

#include "base/error.h"
#include "board/pool.h"

extern struct pool *test_pool; /* between the two */

int test_pool_start(void **state);
int test_pool_stop(void **state); /* fails when memory is left behind */

/* Another one, of so many threads; the caller's (pool_destroy). */
struct pool *test_pool_of(int threads);

/* Fails the test with the error's message unless the code is COHORT_OK. */
void test_must(enum cohort_code code, const struct cohort_error *err);

#endif
