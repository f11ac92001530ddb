/* Sets of rows: a few ranges, ascending, with gaps between them.
 *
 * What a board holds of a tensor that it got in several pieces, and what is left to do when some
 * rows were done first.  A set has room for a few ranges only; beyond that it becomes larger
 * (rowset_cover) or stays smaller (rowset_hold) than what was put in, as the caller can bear. */
#ifndef COHORT_GRAPH_ROWSET_H
#define COHORT_GRAPH_ROWSET_H

#include "graph/rows.h"

#define ROWSET_MAX 8

struct rowset { /* all zero: empty */
    struct rows r[ROWSET_MAX];
    int count;
};

/* Adds rows; where there is no room the narrowest gap closes, and the set covers more. */
void rowset_cover(struct rowset *s, struct rows r);
/* Adds rows; where there is no room the smallest range is forgotten, and the set holds less. */
void rowset_hold(struct rowset *s, struct rows r);
/* The rows of `r` that are not in s; at most one range more than s has. */
struct rowset rowset_missing(const struct rowset *s, struct rows r);
bool rowset_has(const struct rowset *s, struct rows r); /* all of r? */
int64_t rowset_count(const struct rowset *s);
struct rows rowset_hull(const struct rowset *s);

#endif
