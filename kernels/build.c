/* Which kernels these are: a hash over kernels/, which the Makefile gives.  A measurement is worth
 * nothing once they have changed. */
#include "kernels/kernel.h"

#ifndef COHORT_KERNELS_BUILD
#define COHORT_KERNELS_BUILD "unknown"
#endif

const char *kernels_build(void) {
    return COHORT_KERNELS_BUILD;
}
