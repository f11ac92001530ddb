/* In which order a tile's rows are computed, so that rows travel meanwhile.
 *
 * Before a board waits for its neighbours' rows it computes what needs none of them, with the first
 * operators of the segment.  Of the last operators it computes first the rows that others need,
 * starts sending them, and then computes the rest.  A row is computed once, in the same way as
 * ever, whatever the order.
 *
 * Where a board has few rows for the weights of the last operator, it makes all of them, for one
 * part of the channels after the other, and each part leaves when it is there. */
#ifndef COHORT_RUNTIME_PHASES_H
#define COHORT_RUNTIME_PHASES_H

#include "graph/rowset.h"
#include "planner/transitions.h"

/* Rows of one node's outputs, by when they are computed. */
struct node_phases {
    struct rows early;  /* before waiting */
    struct rowset main; /* after waiting, and before sending */
    struct rowset late; /* while what was sent is under way */
};

struct phases {
    struct node_phases *nodes; /* of the part's nodes, from its first on */
    int tail;                  /* nodes from here on compute rows for others in `main` */
    int parts; /* of the channels of the last operator (of MAIN); 1: it is not taken apart so */
    bool *early_sends; /* of each transition that starts behind the part: all that this rank
                          sends is there when `main` was computed */
};

/* Does rank's part wait for exchanges at all, or send any when it has ended?  The same on all
 * ranks. */
bool phases_wait(const struct transitions *t, const struct plan_part *part);
bool phases_send(const struct transitions *t, const struct plan_part *part);
/* Does this transition begin as soon as the segment that makes its tensor ends? */
bool phases_starts_behind(const struct transition *t);

/* need: this rank's rows of every value in the part (plan_part_rows).  Errors: memory. */
enum cohort_code phases_make(struct phases *p, const struct transitions *t,
                             const struct plan_part *part, int rank, const struct rows *need,
                             struct cohort_error *err);
void phases_release(struct phases *p);

#endif
