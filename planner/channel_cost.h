/* What segments by channels cost (planner/channels.h): computing with slices, their weights, what
 * comes in before and what is put together or added up behind them; and shares of channels.
 *
 * Beside cost.h, by the same model, and as pure.  No plan is needed, so a search may ask as often
 * as it likes; the simulator asks for every plan.  docs/planning.md states the formulas. */
#ifndef COHORT_PLANNER_CHANNEL_COST_H
#define COHORT_PLANNER_CHANNEL_COST_H

#include "graph/shard.h"
#include "planner/cost.h"

/* Nodes [first, end) as one segment: PLAN_OUT_CHANNEL, PLAN_CHANNELWISE or, one node,
 * PLAN_IN_CHANNEL or PLAN_ROWS_GEMM. */
struct channel_run {
    int first, end;
    enum plan_mode mode;
    /* boards+1 channels of channel_value(): whole units (channel_unit) but for the last share,
     * which has what is left, too; an empty share leaves a board out.  ROWS_GEMM: its rows.
     * Borrowed. */
    const int64_t *split;
    enum plan_output output; /* PLAN_STAY (not of addends), PLAN_TO_ROOT, PLAN_TO_ALL */
    enum plan_route route;   /* of the plan; channel_ms() and the like do not look at it */
};

/* ---- what can be divided --------------------------------------------------------------------- */

/* The value that a split is of: what the last node makes; of addends: what the node reads. */
int channel_value(const struct cost_model *m, int first, int end, enum plan_mode mode);
/* How many channels the split is of, or (ROWS_GEMM) rows. */
int64_t channel_count(const struct cost_model *m, int first, int end, enum plan_mode mode);
/* Shares of channel_count() are multiples of this; 0: the nodes cannot be run so, or
 * there are not two units to divide.  What it allows plan_check() allows, as long as inputs lie as
 * channel_reads() says. */
int64_t channel_unit(const struct cost_model *m, int first, int end, enum plan_mode mode);
/* How a segment may find a value that it reads and does not make. */
enum channel_reads {
    CHANNEL_READS_WHOLE, /* whole only: what is summed over, a residual behind a sum */
    CHANNEL_READS_EITHER /* whole, or by the same channels (channel_scale_split) */
};
enum channel_reads channel_reads(const struct cost_model *m, int first, int end,
                                 enum plan_mode mode, int id);
/* scaled[boards+1]: the split of channel_value() in channels of value `id`; false: not whole. */
bool channel_scale_split(const struct cost_model *m, const struct channel_run *r, int id,
                         int64_t *scaled);

/* ---- computing and weights ------------------------------------------------------------------- */

/* Board b's share of the channels. */
double channel_share(const struct cost_model *m, const struct channel_run *r, int b);
/* Milliseconds of board b until the segment's output is there: its channels, or its addend. */
double channel_ms(const struct cost_model *m, const struct channel_run *r, int b);
/* Of addends: what follows when addends were added up, on a board that gets the sum; else 0. */
double channel_finish_ms(const struct cost_model *m, const struct channel_run *r, int b);
/* By a profile alone, for boards that take the time of others: a pass over `bytes` bytes of float32
 * numbers, as adding and copying are; … */
double channel_pass_ms(const struct profile *p, int board, double bytes);
/* … what an operator takes whatever it computes, on boards of this type: at most this, and at the
 * type's scale; … */
double channel_start_ms(const struct profile *p, int type);
/* … and an operator with `share` of its channels, which takes whole_ms with all of them.  bytes: of
 * what it reads (out-channel) or makes (in-channel) all of whatever its share; else 0. */
double channel_part_ms(const struct profile *p, int board, double start_ms, double whole_ms,
                       double share, double bytes);
/* For channel_pass_ms(): bias, residual and activation behind a sum of `bytes` bytes. */
double channel_finish_pass(double bytes, bool residual);
/* What board b's slices of the weights take. */
double channel_weight_bytes(const struct cost_model *m, const struct channel_run *r, int b);
/* split[boards+1]: channels of channel_value() among the boards with who[b], so that the slowest
 * one's time is least; boards keep their order, and may be left out.  extra[b]: milliseconds that a
 * channel on board b takes beside computing; NULL: none.  The unit must not be 0.  Errors: memory.
 */
enum cohort_code channel_minimax(const struct cost_model *m, int first, int end,
                                 enum plan_mode mode, const bool *who, const double *extra,
                                 int64_t *split, struct cohort_error *err);

/* ---- what travels ---------------------------------------------------------------------------- */

/* Adds to t what boards lack of the segment's inputs, which lie as where[value] says; a value in
 * LAYOUT_CHANNELS is read as it lies.  transition_wait_ms(t, where, NULL, NULL) is its time. */
void channel_traffic_in(struct traffic *t, const struct channel_run *r, const struct layout *where);
/* The rows of value `id`, an input of the segment, that board b reads (of all channels, or of its
 * own): all of them, or, ROWS_GEMM, its own of what is added up; empty: none. */
struct rows channel_needs(const struct cost_model *m, const struct channel_run *r, int id, int b);
/* Bytes of some channels of a value, as they lie. */
double channel_bytes(const struct cost_model *m, int id, struct channels c);
/* … of board b's channels of a value that the segment makes. */
double channel_run_bytes(const struct cost_model *m, const struct channel_run *r, int id, int b);

/* A join (sum: false) or sum of addends behind a segment. */
struct channel_move {
    int value;
    bool sum, to_all; /* to_all: else to board 0 */
    enum plan_route route;
    const int64_t *split; /* join: channels of `value`; sum: who has a share gives an addend */
};
/* It goes in stages, and each board begins one when it is done with the one before. */
int channel_stages(const struct cost_model *m, const struct channel_move *v);
/* Clears t and adds the messages of one stage. */
void channel_stage(struct traffic *t, const struct channel_move *v, int stage);
/* What board b adds and copies when it has this stage's messages. */
double channel_stage_ms(const struct cost_model *m, const struct channel_move *v, int stage, int b);
/* All stages: of each its one-port time and the longest adding.  t is scratch. */
double channel_move_ms(struct traffic *t, const struct channel_move *v);
/* ROWS_GEMM: board b's rows of what it reads, which are copied where they are not all; else 0. */
double channel_copy_bytes(const struct cost_model *m, const struct channel_run *r, int b);
/* Memory of a sum's transfer on board b, beside its addend. */
double channel_buffer_bytes(const struct cost_model *m, const struct channel_move *v, int b);
/* Other routes than the straight one have more stages, and boards wait for one another in each,
 * which the model knows nothing of: a ring that should have saved 18 of 637 ms saved nothing.  So
 * one is taken only where it takes less than this share of the straight one's time. */
#define CHANNEL_ROUTE_SHARE 0.9
/* By the best route, which it sets. */
double channel_best_ms(struct traffic *t, struct channel_move *v);
/* By the times that the routes take; where some are alike, the first of them. */
enum plan_route channel_best_route(const double ms[PLAN_ROUTES]);

#endif
