/* The monotonic clock: for durations, deadlines and naps.  What it says has no meaning between
 * machines, nor after a restart. */
#ifndef COHORT_BASE_CLOCK_H
#define COHORT_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_ns(void);
double clock_ms(void);
double clock_s(void);

#endif
