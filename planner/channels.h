/* Segments by channels: what of them a board computes, and what travels when they have ended.
 *
 * `out-channel`: operators in the network's order; those that sum over channels (convolutions,
 * fully connected layers) read inputs that the board has whole, and make its channels; what follows
 * channel by channel (pools, activations, depthwise convolutions, sums of maps) reads these.
 * `channelwise`: only such operators.  `in-channel`: one operator that sums over channels; each
 * board's channels of its input give an addend, and bias, residual and activation follow when these
 * are added up.  `rows-gemm`: a fully connected layer behind a map of one image; the same of each
 * board's rows of the map, which boards read where a segment in rows left them.
 *
 * Shares are whole blocks of MAP_BLOCK channels, the last one with what is left beside them; an
 * empty share leaves a board out.  A tensor that has k times the channels of the one that the split
 * is of is divided at k times its numbers.  Pure, as all of planner/. */
#ifndef COHORT_PLANNER_CHANNELS_H
#define COHORT_PLANNER_CHANNELS_H

#include "graph/shard.h"
#include "planner/part.h"

/* The segment that leaves value `id` divided by channels; -1: none does. */
int channels_maker(const struct plan *p, const struct graph *g, int id);
/* Board b's channels of a value that the segment makes, or IN_CHANNEL: reads, divided; ROWS_GEMM:
 * its rows of what the operator reads, whatever value is asked for; empty: none.
 * Errors: plan (no whole channels there). */
enum cohort_code channels_share(const struct plan_part *part, int id, int b, struct channels *c,
                                struct cohort_error *err);
/* plan_part_rows() for such a segment. */
void channels_rows(const struct plan_part *part, int b, struct rows *need);
/* Gets the segment's output, whole, when it has ended? */
bool channels_gets_result(const struct plan_part *part, int b);

/* Nodes of a shard that a board runs for a segment, in order. */
struct channel_work {
    int *nodes;
    int count;
    int finish; /* from here on when the addends were added up */
};
/* Adds them to board b's shard; w->nodes is new (mem_free).  Errors: plan (something cannot be
 * divided so; the message says what), memory. */
enum cohort_code channels_divide(struct shard *s, const struct plan_part *part, int b,
                                 struct channel_work *w, struct cohort_error *err);

/* Can all segments by channels be run?  Errors: plan (saying which cannot, and why), memory. */
enum cohort_code channels_check(const struct plan *p, const struct graph *g,
                                struct cohort_error *err);

#endif
