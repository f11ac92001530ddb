/* Files for tests: a directory of one's own that vanishes, and the folder of shared material. */
#ifndef COHORT_TESTS_TESTDIR_H
#define COHORT_TESTS_TESTDIR_H

#include <stdbool.h>
#include <stddef.h>

/* A path in this process's own directory (made on first use under $TMPDIR or /tmp).  Valid for the
 * next seven calls.  Aborts when the directory cannot be made. */
const char *test_path(const char *name);
/* Writes a file there and returns its path. */
const char *test_write(const char *name, const void *data, size_t bytes);
/* Removes the directory and all files in it. */
void test_directory_remove(void);

/* A path in $COHORT_SHARED, or in ../shared beside the repository (tests run in its root); as
 * above. NULL when that folder or the file is not there: skip loudly. */
const char *test_shared(const char *name);

#endif
