/* Testing the operators of kernels/plainops.h: every table of the registry that this CPU can run.
 *
 * One helper gives an operator guarded memory, a whole map or some rows and blocks of it, checks
 * the values against the test's own definition, that nothing else was written and that lanes beyond
 * the last channel are zero; and that rows computed on their own, and all tables, have the same
 * bits. */
#ifndef COHORT_TESTS_TESTPLAIN_H
#define COHORT_TESTS_TESTPLAIN_H

#include "kernels/plainops.h"
#include "tests/support/testact.h"
#include "tests/support/testmap.h"

enum { PLAIN_CHANNELS = 10 };
extern const int plain_channels[PLAIN_CHANNELS];

struct plain_job; /* what one operator's test knows */
typedef void run_fn(const struct plain_job *j, const struct view *out, int64_t y0, int64_t y1,
                    int b0, int b1);
typedef double want_fn(const struct plain_job *j, int y, int c, int x, double *allowed);

struct plain_job {
    const char *name;
    run_fn *run;
    want_fn *want;
    bool all_blocks; /* the operator has no block range */
    int height, channels, width;
    bool tokens;
    const struct test_map *a, *b;
    struct kernel_epilogue e;
    const struct plainops *plain; /* filled in by plain_check() */
    int op, i0, i1, i2;
    float f0, f1, f2;
    bool flag, flag2;
    const float *p, *q;
    const int *ints;
    const int64_t *longs;
    const float *nchw;
    const uint8_t *bytes;
    const struct resample_table *table;
};

/* Table i of those that this CPU can run, the portable one first; NULL beyond the last. */
const struct plainops *plain_table(int i);
/* The job on every table: asserts. */
void plain_check(struct plain_job *j, struct random *r);
struct test_map plain_filled(bool tokens, int rows, int c, int w, struct random *r);
void plain_random_epilogue(struct plain_job *j, const struct test_map *residual, struct random *r);
double plain_with_epilogue(const struct plain_job *j, double v, double error, int y, int c, int x,
                           double *allowed);

#endif
