/* The sum of steps of a division, by an evaluator that shares nothing with the planner's: row by
 * row, board by board, from docs/planning.md.  For tests of planning; every function fails the
 * running test when memory is short. */
#ifndef COHORT_TESTS_STEPSUM_H
#define COHORT_TESTS_STEPSUM_H

#include "graph/rows.h"
#include "planner/plan.h"
#include "planner/profile.h"

struct stepsum {
    const struct graph *g;
    const struct profile *p;
    int boards, node; /* node: everything before it is done */
    int first;        /* node of the segment before */
    bool tiled;       /* was it in tiles? */
    int last;         /* value made by the operator before; -1: something moved since */
    double ms;        /* so far */
    double setup_ms;  /* of each transfer; 0 when begun */
    struct rows *own; /* [value * boards + board] */
    bool *everywhere; /* per value: on every board */
    int64_t *divided; /* [value * (boards + 1) + …]: by channels; all 0: not */
    bool broken;      /* something was read otherwise than it lies divided */
    /* Per board: weights of all that it runs, and the most that was alive at any operator. */
    double *weights, *alive;
};

void stepsum_begin(struct stepsum *s, const struct graph *g, const struct profile *p, int boards);
void stepsum_copy(struct stepsum *to, const struct stepsum *from);
void stepsum_end(struct stepsum *s);
/* Nodes [s->node, end) as the plan's segment says, which by channels is for several boards. */
void stepsum_segment(struct stepsum *s, int end, const struct plan_segment *segment);
/* Bytes of the board that needs most, the root's inputs and outputs included. */
double stepsum_bytes(const struct stepsum *s);

#endif
