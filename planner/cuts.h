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
    int dropped; /* cuts left out because too many tensors go over them */
    int merged;  /* … because another one does as well (cuts_thin) */
};

enum cohort_code cuts_create(struct cuts **c, const struct cost_model *m, int most,
                             struct cohort_error *err);
/* Where operators follow one another that read only the row that they make, a boundary between two
 * segments may be moved past them without any row being computed twice or not at all.  Of such cuts
 * two stay: the one with the smallest tensor made last, which neighbours exchange, and the one with
 * the fewest bytes in all, which a gather moves.  Cuts beside operators that cannot be divided stay
 * too. */
enum cohort_code cuts_thin(struct cuts *c, const struct cost_model *m, struct cohort_error *err);
void cuts_destroy(struct cuts **c);

#endif
