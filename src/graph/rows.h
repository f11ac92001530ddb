/* Row arithmetic: which rows of each value does a piece of the network need to produce given rows?
 *
 * Ranges are half-open, in global rows (n*H + y for maps).  Exact for windows; a hull (one range)
 * where the rows needed have gaps.  All of it is pure; the planner calls it very often. */
#ifndef COHORT_GRAPH_ROWS_H
#define COHORT_GRAPH_ROWS_H

#include "graph/graph.h"

struct rows {
    int64_t begin, end; /* empty when begin >= end; an empty one is {0, 0} */
};

static inline bool rows_empty(struct rows r) {
    return r.begin >= r.end;
}
static inline int64_t rows_count(struct rows r) {
    return r.begin < r.end ? r.end - r.begin : 0;
}
struct rows rows_hull(struct rows a, struct rows b); /* an empty one adds nothing */
struct rows rows_intersect(struct rows a, struct rows b);

/* Rows of input i that rows `out` of node n's outputs need. */
struct rows rows_needed(const struct node *n, int i, struct rows out);

/* A segment is nodes [first, last) of the graph.  need[] has one entry per value of the graph:
 * on entry, the rows wanted of each value that the segment must deliver (others empty); on return
 * also the rows of every value that must be computed inside, or be there as an input. */
void rows_of_segment(const struct graph *g, int first, int last, struct rows *need);

/* Values that nodes [first, last) read but do not make (constants left out), and values that they
 * make and that later nodes or the graph's outputs read.  Each list is new (mem_free), in order of
 * first appearance. */
enum cohort_code segment_inputs(const struct graph *g, int first, int last, int **ids, int *count,
                                struct cohort_error *err);
enum cohort_code segment_outputs(const struct graph *g, int first, int last, int **ids, int *count,
                                 struct cohort_error *err);

#endif
