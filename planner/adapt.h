/* Correcting a profile by what was measured while a plan ran, and saying when to look for another.
 *
 * Pure arithmetic; src/runtime/adapt.c brings the numbers, now and then.  Of every board there is a
 * factor: what it takes to compute over what the profile says for the same rows.  Of every link
 * likewise, where links were looked at again.  Who measures gives medians of a few inferences, so
 * that one that was disturbed does not count. */
#ifndef COHORT_PLANNER_ADAPT_H
#define COHORT_PLANNER_ADAPT_H

#include "planner/profile.h"

#define ADAPT_CHANGED 0.05 /* a factor that moved by less changes no plan */
#define ADAPT_MUCH    0.25 /* … and by more is looked at whatever was tried before */
#define ADAPT_LINKS   0.20 /* the same for links, as for a probe at the start */
#define ADAPT_ODD     0.15 /* latency beyond what computing explains: links are to be looked at */
#define ADAPT_TIRED   16   /* looks are left out after one that brought nothing, at most */
#define ADAPT_FORGET  16   /* looks after which a board without work gets another chance */

struct adapt_board {
    double factor; /* as measured last; 1: as profiled */
    double looked; /* the factor when a plan was last looked for */
    double used;   /* … and when the current one was made */
    int idle;      /* looks since it had work */
    int forget;    /* it gets another chance after so many of them */
};

struct adapt {
    int boards;
    struct adapt_board *board;
    double *link, *link_looked;   /* [from * boards + to], as the boards' */
    double odd;                   /* latency over its prediction, when links were last looked at */
    int links_idle, links_forget; /* as a board's, while some link is slower than profiled */
    int rest, tired;              /* looks still to be left out; how many the next time */
    double before_ms, promised; /* latency before the last change, and the gain that was expected */
};

/* Errors: memory. */
enum cohort_code adapt_init(struct adapt *a, int boards, struct cohort_error *err);
void adapt_release(struct adapt *a);

/* A look: what each board computed in an inference, and what the profile, not corrected, predicts
 * for that plan; and the latency.  Boards that are predicted to compute next to nothing keep their
 * factor for a while. */
void adapt_note(struct adapt *a, const double *measured_ms, const double *profiled_ms,
                double latency_ms);
/* Time to look for another plan, because a factor has changed? */
bool adapt_due(const struct adapt *a);
/* Time to look at the links, because the latency is not what the corrected profile predicts (then
 * it is not asked again before that changes), or because they were slow and that may be over? */
bool adapt_odd(struct adapt *a, double latency_ms, double predicted_ms);
/* What the links were found to be: time over the profile's. */
void adapt_links(struct adapt *a, const double *factor);

/* Scales a copy of the profile.  Errors: memory. */
enum cohort_code adapt_correct(const struct adapt *a, const struct profile *p,
                               struct profile **corrected, struct cohort_error *err);
/* A plan was looked for by these factors: and taken, since it promises `gain` of latency_ms; or
 * not. */
void adapt_looked(struct adapt *a, bool taken, double gain, double latency_ms);
/* Before adapt_looked(): whose factor has changed most since the current plan was made: a board's,
 * or that of a pair of boards, from * boards + to (*link), and by what factor; -1: nobody's. */
int adapt_culprit(const struct adapt *a, bool *link, double *factor);

#endif
