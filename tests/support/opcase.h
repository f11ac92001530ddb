/* Short forms for tests of operators by hand, on one `struct optest t` a file: begin(), inputs, and
 * then gives() or refuses(). */
#ifndef COHORT_TESTS_OPCASE_H
#define COHORT_TESTS_OPCASE_H

#include "tests/support/leaks.h"
#include "tests/support/optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct optest t;

#define F32(shape, ...)             optest_input(&t, DT_F32, shape, VALUES(__VA_ARGS__))
#define EXPECT(i, type, shape, ...) optest_expect(&t, i, type, shape, VALUES(__VA_ARGS__), 1e-6)

static inline void begin(const char *op, int opset) {
    optest_begin(&t, op, opset);
}

/* Runs, looks at output 0 and ends. */
static inline void gives(enum dtype type, struct shape shape, const double *values) {
    optest_run(&t, 1);
    optest_expect(&t, 0, type, shape, values, 1e-6);
    optest_end(&t);
}

/* infer() fails so. */
static inline void refuses(enum cohort_code code, const char *words) {
    optest_fails(&t, code, words);
    optest_end(&t);
}

#endif
