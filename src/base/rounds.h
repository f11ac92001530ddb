/* Who meets whom when n meet each other in pairs, as many pairs at a time as there can be. */
#ifndef COHORT_BASE_ROUNDS_H
#define COHORT_BASE_ROUNDS_H

/* The number of rounds; 0 when there are fewer than two. */
int rounds_count(int n);
/* Who meets `one`, from 0 to n-1, in that round; `one` itself: nobody, which happens to each once
 * when n is odd. */
int rounds_partner(int one, int n, int round);

#endif
