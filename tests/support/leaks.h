/* For unit tests that free all they make: the group's tear-down, or the last of its tests. */
#ifndef COHORT_TESTS_LEAKS_H
#define COHORT_TESTS_LEAKS_H

/* Fails when memory of base/mem.h is left behind. */
int no_leaks(void **state);
/* A test: the same, after this process's directory (testdir.h) was removed, if there is one. */
void nothing_is_left(void **state);

#endif
