/* Chains: operators one behind the other that are computed strip by strip, all of them for a few
 * rows before any of them goes on.
 *
 * A map between two of them is then never whole: each thread keeps the few rows of it that the next
 * operator still needs, in its second-level cache, where the whole map would go through memory and
 * lie in the arena.  The price are rows at the ends of a thread's band, which two threads compute;
 * a row has the same bits wherever it is computed. */
#ifndef COHORT_EXEC_CHAIN_H
#define COHORT_EXEC_CHAIN_H

#include "exec/exec.h"

#define CHAIN_MOST EXEC_CHAIN_MOST /* operators */

struct chain {
    int first, count; /* operators [first, first + count) of the program */
    int64_t strip;    /* rows of the last one's output at once */
    double row_ns;    /* estimate of the time of one of these on one core */
    /* Of the map behind operator first + i: rows that a strip needs at most, and where they begin
     * in a thread's strip memory, in floats. */
    int64_t rows[CHAIN_MOST];
    size_t offset[CHAIN_MOST];
};

/* What a thread has of the maps inside a chain: rows [row0, made) of each, while it goes on from
 * row `next` of the chain's output.  ns: what it spent on each operator in this run, where that is
 * wanted. */
struct strip_state {
    int64_t next;
    int64_t row0[CHAIN_MOST], made[CHAIN_MOST];
    int64_t ns[CHAIN_MOST];
};

/* Finds chains among the bound operators where a map between them would not stay in the cache
 * (options.cache_bytes of each core; 0: nowhere), and takes the maps between them out of the arena:
 * before memory is assigned.  Never needs more of the arena than without.  Errors: memory. */
enum cohort_code chains_find(struct program *p, struct cohort_error *err);
/* Runs all operators of a chain. */
void chain_run(struct program *p, const struct chain *c);
/* The same, and how `ms`, the chain's whole time, is shared out among its operators: by what the
 * threads spent on each.  The caller measures the whole, and calls times after it. */
void chain_run_timed(struct program *p, const struct chain *c);
void chain_times(const struct program *p, const struct chain *c, double ms, double *each);

#endif
