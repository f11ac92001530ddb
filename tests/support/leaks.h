/* For unit tests that free all they make: the group's tear-down. */
#ifndef COHORT_TESTS_LEAKS_H
#define COHORT_TESTS_LEAKS_H

/* Fails when memory of base/mem.h is left behind. */
int no_leaks(void **state);

#endif
