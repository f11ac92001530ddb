/* Activations in double for kernel tests: written from their definitions, not from the kernels. */
#ifndef COHORT_TESTS_TESTACT_H
#define COHORT_TESTS_TESTACT_H

#include "kernels/kernel.h"

double test_activation(enum kernel_act act, double a, double b, double x);
/* An epilogue's result for one sum and residual. */
double test_epilogue(const struct kernel_epilogue *e, double sum, double residual);
/* How much the epilogue may magnify an error of its argument, and what it adds itself. */
double test_epilogue_tolerance(const struct kernel_epilogue *e, double argument_error, double sum,
                               double residual);

#endif
