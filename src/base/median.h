/* The median of a few numbers. */
#ifndef COHORT_BASE_MEDIAN_H
#define COHORT_BASE_MEDIAN_H

/* Of an even number of values the mean of the middle two, of none 0.  Sorts the values. */
double median(double *values, int count);

#endif
