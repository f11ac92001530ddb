/* What one board measures of a network: the time of every operator over the rows that it computes.
 *
 * The whole network runs operator by operator, with made-up weights and inputs, so that each finds
 * the caches as its predecessors left them; what a board computes in strips (exec/chain.h) runs so,
 * too, and once more one by one.  A *level* is the share of its rows that every operator computes
 * in a pass: all of them, a half, …, a few.  No MPI. */
#ifndef COHORT_PROFILE_COMPUTE_H
#define COHORT_PROFILE_COMPUTE_H

#include "exec/exec.h"

#define COMPUTE_LEVELS 5 /* 1, 1/2, 1/4, 1/8, 1/32 */
#define COMPUTE_SHORT  3 /* the level of the pass that boards are compared by */

/* Local.  The rows of its first output that node i computes at a level; 0 where nothing is to be
 * measured: the same number as at a level before, or an operator that cannot be divided. */
int64_t compute_rows(const struct graph *g, int node, int level);
/* The share of a whole inference that a pass takes, about. */
double compute_share(int level);

/* Local.  Makes up constants that did not come with the graph and that are read as they are, not
 * only packed.  Errors: memory. */
enum cohort_code compute_make_up(struct graph *g, struct cohort_error *err);

struct compute;

/* Local.  Makes up constants whose data is not here, binds kernels, fills the inputs.  `options`
 * is of the real program; its weights are made up in any case.  Graph and pool are borrowed.
 * Errors: unsupported (an input whose shape is not known), memory. */
enum cohort_code compute_create(struct compute **c, struct graph *g, struct pool *pool,
                                const struct exec_options *options, struct cohort_error *err);
void compute_destroy(struct compute **c);

/* Local.  One pass, as the network runs, and with one_by_one the operators of its chains once more
 * by themselves.  ms[node_count] keeps the least time of each operator by itself that the level
 * measures, chained_ms[node_count] (may be NULL, or ms) that of the chain which begins with it
 * (below 0: none yet).  Without one_by_one ms of a chain's operators stays as it is. */
enum cohort_code compute_pass(struct compute *c, int level, bool one_by_one, double *ms,
                              double *chained_ms, struct cohort_error *err);
/* Of the last pass, as the network runs: how long it took, and how much of that operators did that
 * are in chains where all rows are computed (0 to 1). */
double compute_pass_ms(const struct compute *c);
double compute_chained_share(const struct compute *c);
/* How many operators are computed in strips together from this one on, at a level; 1: it runs by
 * itself; 0: it is inside such a chain, or does not run. */
int compute_chain(const struct compute *c, int level, int node);
/* Rows that nodes [first, first + count), a chain, compute at a level; rows[count]. */
void compute_chain_rows(const struct graph *g, int first, int count, int level, struct rows *rows);
/* Takes operator i no time, because its output is in place already? */
bool compute_is_free(const struct compute *c, int node);

/* What operator i's weights take, packed by the kernel that runs it; and what kernels need beside
 * weights and maps. */
size_t compute_weights(const struct compute *c, int node);
size_t compute_workspace(const struct compute *c);

/* Local.  Least times of converting 10^6 bytes of float32 to the 2-byte wire and back. */
enum cohort_code compute_wire(struct compute *c, double *encode_ms, double *decode_ms,
                              struct cohort_error *err);

#endif
