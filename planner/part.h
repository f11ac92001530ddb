/* A segment of a plan as it is run: its nodes, what goes in and out, and each board's rows.
 *
 * What the runtime executes and what a simulator costs has to be the same, so both ask here.  Pure;
 * the plan was checked (plan_check) and outlives the part, as does the graph. */
#ifndef COHORT_PLANNER_PART_H
#define COHORT_PLANNER_PART_H

#include "graph/rows.h"
#include "planner/plan.h"

struct plan_part {
    const struct plan *plan;
    const struct graph *graph;
    int segment;
    int first, last; /* nodes [first, last) */
    int until;       /* the value that ends it */
    /* As it is run: one board alone, and a tile with an empty tensor inside, are LOCAL on board 0.
     */
    enum plan_mode mode;
    int board;    /* LOCAL: which */
    bool to_root; /* its outputs end up on board 0, whole */
    bool to_all;  /* … on every board */
    int *inputs;  /* values that it reads and does not make, without constants */
    int *outputs; /* values that it makes and that are read later, or go out of the network */
    int input_count, output_count;
};

/* Segment `segment`, whose first node is `first`: 0, or the segment before's last.  Errors: memory;
 * plan (a tile with a tensor inside whose shape is known only at run time). */
enum cohort_code plan_part_init(struct plan_part *part, const struct plan *p, const struct graph *g,
                                int segment, int first, struct cohort_error *err);
void plan_part_release(struct plan_part *part);

/* All rows of a value.  A tensor whose shape depends on data counts as one row: it only ever moves
 * as a whole. */
struct rows plan_all_rows(const struct graph *g, int id);
/* The rows of output `id` that board b has when the segment has ended, before anything moves: its
 * own.  Of a TILE they are disjoint.  Of a segment by channels: what board b has of it whole, which
 * is none before anything moved. */
struct rows plan_part_share(const struct plan_part *part, int id, int b);
/* The rows of every value (one entry each) that board b computes or reads in this segment; empty
 * where it has nothing to do with it.  By channels: of values that the board reads, or is brought,
 * whole. */
void plan_part_rows(const struct plan_part *part, int b, struct rows *need);

#endif
