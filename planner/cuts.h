/* Where a network can be cut between two segments, and which tensors go over each cut.
 *
 * A cut at c separates nodes [0, c) from [c, n).  One is a candidate when at most `most` tensors
 * that later nodes read go over it, all of known shape; the others are dropped, and counted.  For
 * planner/ only. */
#ifndef COHORT_PLANNER_CUTS_H
#define COHORT_PLANNER_CUTS_H

#include "planner/cost.h"

struct cuts {
    int count;   /* of cuts: 0 and the network's end are always among them */
    int *at;     /* [count] node numbers, rising */
    bool *wide;  /* [count - 1]: can every node between cut i and cut i+1 be divided by rows? */
    int *first;  /* [count + 1]: where each cut's tensors begin in live[] */
    int *live;   /* values, rising; outputs of the network that nothing else reads any more too */
    int *read;   /* [count]: how many of a cut's tensors later nodes read */
    int dropped; /* candidates left out */
};

enum cohort_code cuts_create(struct cuts **c, const struct cost_model *m, int most,
                             struct cohort_error *err);
void cuts_destroy(struct cuts **c);

#endif
