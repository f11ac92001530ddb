/* What travels between boards when a plan is run: which rows of which tensor, from whom to whom.
 *
 * A tensor that goes from one segment to another has a layout: whole on one board, rows on each
 * board, or whole on every board.  Before a segment reads it, each board gets just the rows that it
 * lacks, from the board whose own they are.  Only where a plan wants outputs on the root are they
 * gathered there, and dealt out again with their halos, whatever boards hold still.
 *
 * The runtime moves exactly this; a simulator may cost exactly this. */
#ifndef COHORT_PLANNER_TRANSITIONS_H
#define COHORT_PLANNER_TRANSITIONS_H

#include "planner/channels.h"

enum transition_kind {
    TRANSITION_SCATTER,  /* board 0 has all of it, each board gets rows[board] */
    TRANSITION_GATHER,   /* board 0 gets all of it, each board has rows[board] */
    TRANSITION_EXCHANGE, /* the moves */
    /* When a segment by channels has ended; to board 0, or to all boards. */
    TRANSITION_JOIN, /* each board has channels[board] */
    TRANSITION_SUM, /* each board with channels[board], or rows there, has an addend of all of it */
};

struct transition_move {
    int from, to;
    struct rows rows;
};

struct transition {
    enum transition_kind kind;
    int value;
    int made;       /* by this segment; -1: an input of the network */
    bool from_root; /* the tensor was brought to the root first, so that has to be over */
    bool after;     /* it begins when `made` has ended, else one segment before it is needed */
    int before; /* it has to be done when this segment reads it; segment_count: it goes out of the
                   network */
    struct rows *rows;             /* SCATTER, GATHER: one entry a board */
    struct channels *channels;     /* JOIN, SUM: one entry a board; empty where it has none */
    bool to_all;                   /* JOIN, SUM: else to board 0 */
    enum plan_route route;         /* JOIN, SUM */
    struct transition_move *moves; /* EXCHANGE: a board's own rows are not among them */
    int move_count;
    int parts; /* EXCHANGE: of the tensor's channels, each of which leaves when it was made */
};

/* Every piece of an operator's rows reads all its weights.  A core multiplies and adds about ten
 * times while it reads a byte from memory; an operator that does less than this for each byte of
 * weights would lose more by being taken apart, so that rows travel while it computes, than waiting
 * costs.  On six emulated boards VGG-16's layers of 56 x 56 (280 FLOPs a byte, ten rows each) took
 * a quarter longer in three pieces, which was more than the wait. */
#define TRANSITION_FLOPS_PER_BYTE 500

/* Such an operator, where it is a convolution and the last of its segment, makes all of its rows
 * for one part of its output's channels after the other: so each weight is read once, and a part of
 * the rows that others need travels while the next is made. */
#define TRANSITION_PARTS 4
/* Which boards' shares are so small: up to how many rows of its output a board may have (all boards
 * must) for that; 0: this operator is never computed so.  flops: of all rows. */
int64_t transition_part_rows(const struct graph *g, int node, double flops, double weight_bytes);
double transition_weight_bytes(const struct graph *g, int node);

/* By segments, and there first what comes in and then what goes out.  The order of all boards. */
struct transitions {
    struct transition *list;
    int count;
    size_t capacity;
};

/* Errors: memory; plan (a tensor would have to travel whose shape is known only at run time, …). */
enum cohort_code transitions_make(struct transitions *t, const struct plan *p,
                                  const struct graph *g, struct cohort_error *err);
void transitions_release(struct transitions *t);
/* Does what these two move from one board to another leave together?  As the simulator counts it:
 * what is made just before a segment, what is older, and what goes to the root or out of the
 * network, each in one transfer a pair of boards. */
bool transitions_together(const struct transition *a, const struct transition *b);
/* Rows that board b of `boards` sends to (receives from) others in a transition; of JOIN and SUM,
 * which do not move rows: none. */
int64_t transition_rows_sent(const struct transition *t, int b, int boards);
int64_t transition_rows_received(const struct transition *t, int b, int boards);

#endif
