/* Cutting an operator's output into items of the thread pool.  Pure arithmetic.
 *
 * The output is a grid of rows and channel blocks.  It is divided evenly into one band a thread,
 * and each band into a few pieces, the first of them the largest.  The pool gives band t to thread
 * t, so thread t has the same share of the rows in one operator after the other: what it reads is
 * mostly what it wrote, in its own cache.  What a thread has not begun others may take, small
 * pieces first; so unequal or disturbed cores finish at nearly the same time. */
#ifndef COHORT_EXEC_CUT_H
#define COHORT_EXEC_CUT_H

#include <stdbool.h>
#include <stdint.h>

struct cut {
    int64_t rows;
    int block0, blocks;  /* the grid's first block (even), and how many it has */
    int bands, pieces;   /* threads; pieces of a band that are wanted */
    bool channels_first; /* bands are ranges of channels with all rows */
    /* Of a piece, where there are as many: rows, and channel blocks. */
    int64_t rows_least;
    int blocks_least;
};

/* Rows [y0, y1) from 0 and channel blocks [block0, block1), of the whole map; empty where y0 == y1.
 */
struct cut_part {
    int64_t y0, y1;
    int block0, block1;
};

/* Items of the pool: every band has as many, some of them empty. */
int64_t cut_items(const struct cut *c);
/* All parts together are the whole grid, each cell once.  A part begins at an even block and ends
 * at one, or at the last: kernels compute pairs of blocks together. */
struct cut_part cut_part(const struct cut *c, int64_t item);

#endif
