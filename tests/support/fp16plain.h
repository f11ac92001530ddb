/* Float16 arithmetic in double: kernels/fp16.h's contract written down once more, for any machine.
 */
#ifndef COHORT_TESTS_FP16PLAIN_H
#define COHORT_TESTS_FP16PLAIN_H

#include "kernels/fp16.h"

extern const struct fp16_micro test_fp16_micro;
/* Kernels made of it by kernels/fp16.c, which are in no registry; their ISA is that of portable
 * ones. */
extern const struct conv_kernel conv_generic_test_fp16;
extern const struct gemm_kernel gemm_generic_test_fp16;

/* The bound on a sum's error that follows from the contract: `magnitude` is the sum of |in * w|,
 * of `products` products whose factors are at most `in` and `w`. */
double test_fp16_bound(double magnitude, double products, double in, double w);

#endif
