/* The parts of plan_make(): which nodes end groups, and how rows are shared out.  For planner/
 * only.
 *
 * Texts are the user's --groups and --ratio; every message names the option and the part of the
 * text that is wrong. */
#ifndef COHORT_PLANNER_PLAN_PARTS_H
#define COHORT_PLANNER_PLAN_PARTS_H

#include "planner/plan.h"

/* ---- groups ---------------------------------------------------------------------------------- */

/* Local.  "0-4,5-9,10-" or "pool1,pool2": *ends is new (mem_free) and has, for each group, the
 * number one past its last node; the last is g->node_count.  Errors: usage, memory. */
enum cohort_code plan_parse_groups(const char *text, const struct graph *g, int **ends, int *count,
                                   struct cohort_error *err);

/* Which nodes can be divided by rows: their outputs are feature maps of at least two rows, and no
 * input but a broadcast one is needed whole. wide[] has g->node_count entries. */
void plan_find_wide(const struct graph *g, bool *wide);

/* Local.  Groups that end where the map has become lower (at pools and strided stages) and one
 * tensor, or after a pool two, is all that goes on.  Tiny groups join others.  Also decides where
 * the tail begins, from where on everything runs on one board: wide[] is made false there. */
enum cohort_code plan_default_groups(const struct graph *g, bool *wide, int **ends, int *count,
                                     struct cohort_error *err);

/* ---- shares ---------------------------------------------------------------------------------- */

/* Local.  Each board's share from r->ratio (equal without it) and r->root_feeds; shares[r->boards]
 * are finite, >= 0, and not all 0.  Errors: usage. */
enum cohort_code plan_parse_ratio(const struct plan_request *r, double *shares,
                                  struct cohort_error *err);

/* split[boards + 1]: `rows` rows in proportion to shares, by largest remainder (of equal ones the
 * first); a share of 0 gets none. */
void plan_split_rows(int64_t rows, const double *shares, int boards, int64_t *split);

#endif
