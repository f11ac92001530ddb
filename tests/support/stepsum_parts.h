/* What the two halves of the evaluator share: stepsum.c, by rows, and stepsum_channels.c.  For
 * these only. */
#ifndef COHORT_TESTS_STEPSUM_PARTS_H
#define COHORT_TESTS_STEPSUM_PARTS_H

#include "tests/support/stepsum.h"

struct stepsum_move {
    double *bytes; /* [from * boards + to] */
    int64_t *sent; /* rows of s->last, per board */
};

/* Where a value lies: by channels (all 0: not so), and which rows of it a board has. */
int64_t *stepsum_split_of(const struct stepsum *s, int id);
bool stepsum_is_divided(const struct stepsum *s, int id);
int64_t stepsum_rows_of(const struct stepsum *s, int id);
struct rows *stepsum_own_of(const struct stepsum *s, int id, int b);
/* Board b wants rows of a value. */
void stepsum_want(const struct stepsum *s, struct stepsum_move *m, int id, int b, struct rows rows);
/* How long what travels takes; beyond what can be computed meanwhile, before the segment that ends
 * with node `end`. */
double stepsum_port_ms(const struct stepsum *s, const struct stepsum_move *m);
double stepsum_exposed_ms(const struct stepsum *s, const struct stepsum_move *m, int end,
                          struct rows *const *need);
/* Nothing travels yet; frees it. */
void stepsum_move_begin(const struct stepsum *s, struct stepsum_move *m);
void stepsum_move_end(struct stepsum_move *m);
/* Of the network. */
bool stepsum_is_output(const struct graph *g, int id);
bool stepsum_is_input(const struct graph *g, int id);
/* Is this value computed in strips with its only reader, in a segment that ends with `end`? */
bool stepsum_in_strips(const struct stepsum *s, int end, int id, int last, int b);
double stepsum_row_bytes(const struct stepsum *s, int id);
double stepsum_all_bytes(const struct stepsum *s, int id);
int stepsum_last_reader(const struct graph *g, int id);
/* What board b has of values that lie divided, while node k of the segment runs. */
double stepsum_divided_bytes(const struct stepsum *s, int end, int b, int k);

/* stepsum_segment() by channels, with the plan's several boards. */
void stepsum_channels(struct stepsum *s, int end, const struct plan_segment *g);

#endif
