/* Inside src/runtime: one network with two choices of kernels, which run by turns (tune_measure.c).
 *
 * Each side is a program as `run` has it with these kernels: with the same strips, arena and pieces
 * of work; only packed weights are shared (exec/rival.c). */
#ifndef COHORT_RUNTIME_CONTEST_H
#define COHORT_RUNTIME_CONTEST_H

#include "runtime/tune.h"

enum side { OWN, RIVAL, SIDES };
enum { HALVES = 2 };

/* One signature in the contest. */
struct entry {
    const char *names[TUNING_CANDIDATES_MAX]; /* best by estimate first */
    double rates[TUNING_CANDIDATES_MAX], us[TUNING_CANDIDATES_MAX];
    int count;
    int now;   /* which one is taken so far */
    int tried; /* how many were, in this order */
    int rival; /* in this round; -1: none */
};

/* Operators whose times count for a kernel of one of them: itself, or where the two sides compute
 * it in different strips all that are in these. */
struct reach {
    int first, end;
};

struct contest {
    struct cohort_session *session;
    const struct tune_item *items;
    struct entry *entries; /* one for each item; count == 0: another part's */
    int count;
    struct program *programs[SIDES];
    struct kernel_choice *named[SIDES]; /* what they are made with: at most one an item */
    struct kernel_choices choices[SIDES];
    int ops;      /* the same of both programs */
    int *slots;   /* of the graph's values */
    int *item_of; /* the item of each node, or -1 */
    bool *lost;   /* operators that cannot run on zeros, and what follows them */
    struct reach *reach;
    double *least[HALVES][SIDES]; /* ms of each operator */
    double end_ms, last_ms;       /* on the clock: no round begins later; nothing does */
};

/* Fills in all but session, items, entries and count, and makes OWN with the estimate's kernels.
 * Errors: memory, unsupported; contest_release() in any case. */
enum cohort_code contest_open(struct contest *c, struct cohort_error *err);
void contest_release(struct contest *c); /* frees entries, too */

/* Makes a side's program anew: OWN with the kernels taken so far, RIVAL with the rivals where there
 * are any, either with those of the estimate when `estimate`.  What it has in common with the two
 * former ones is not packed again.  Errors: memory, unsupported. */
enum cohort_code contest_make(struct contest *c, enum side side, bool estimate,
                              struct cohort_error *err);
/* Which operators count for which, once both programs are made. */
void contest_find_reach(struct contest *c);

/* Runs a side once, and keeps each operator's least time of this half.  Errors: those of a run. */
enum cohort_code contest_run(struct contest *c, enum side side, int half, struct cohort_error *err);
void contest_forget_times(struct contest *c);
/* An item's milliseconds: of its operators alone; and of all in whose strips its kernel has a say.
 */
double contest_item_ms(const struct contest *c, int item, int half, enum side side);
double contest_reach_ms(const struct contest *c, int item, int half, enum side side);
/* The operator's node. */
int contest_node(const struct contest *c, int op);

#endif
