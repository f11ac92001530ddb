/* Transfers between layouts of a map that boards hold in parts, by rows or by channels: all-gather,
 * gather, scatter, and any other change of parts; reduce, all-reduce and reduce-scatter of addends.
 *
 * A map is rows, one behind the other; channels of a row lie together (in blocks of 16, in a map),
 * so some channels are some bytes of every row.  A part is such a rectangle.  On each rank a part
 * lies in memory of its own, its rows one behind the other with nothing between.  As for all
 * transfers: prepared once, nothing is allocated while they run. */
#ifndef COHORT_COMM_LAYOUTS_H
#define COHORT_COMM_LAYOUTS_H

#include "comm/comm.h"

struct comm_map {
    int64_t rows;
    size_t row_bytes;
};

/* Rows [y0, y1), and of each its bytes [b0, b1); empty where either range is. */
struct comm_part {
    int64_t y0, y1;
    size_t b0, b1;
};

enum comm_route {
    COMM_LINEAR, /* straight from each rank that has something to each that wants it */
    COMM_RING,   /* round the ranks, each talking to two neighbours only */
    /* In as few stages as the ranks' number has doublings: in each a rank passes on to another
     * all it has so far of what that one wants. */
    COMM_HALVING,
};

/* Rank r has part has[r] and gets part wants[r] (size entries each, the same on all ranks).  The
 * has[] do not overlap, and what is wanted is had.  `mine` is has[rank]'s memory, `result`
 * wants[rank]'s; they may be the same memory where both are the same part.  COMM_RING and
 * COMM_HALVING (recursive doubling): where all ranks want everything (all-gather); elsewhere the
 * way is COMM_LINEAR's.
 *
 * Collective.  Errors: internal (parts that are none, overlap, or leave out what is wanted),
 * unsupported (numbers above INT_MAX), memory; on all ranks. */
enum cohort_code comm_spread_create(struct comm_transfer **t, struct comm *c, enum comm_route route,
                                    const struct comm_map *map, const struct comm_part *has,
                                    const struct comm_part *wants, const void *mine, void *result,
                                    struct cohort_error *err);

/* Every rank with gives[r] has a full-size addend of float32 numbers (`mine`, a whole map); rank r
 * gets part wants[r] of their sum.  Either parts that do not overlap (reduce to one rank,
 * reduce-scatter), or all ranks want everything (all-reduce).  Who wants everything may have
 * `result` where `mine` is.  All ranks get the same bits.  COMM_LINEAR adds in the order of the
 * ranks; COMM_RING in the order of the ring, from another rank on for each part; COMM_HALVING in a
 * tree, another one for each part, where all ranks or only rank 0 want everything, elsewhere as
 * COMM_LINEAR; there the addend of a rank that wants nothing is lost where `result` is `mine`, and
 * is copied where it is not.
 *
 * Collective.  Errors: as above; internal also where nobody gives anything. */
enum cohort_code comm_reduce_create(struct comm_transfer **t, struct comm *c, enum comm_route route,
                                    const struct comm_map *map, const bool *gives,
                                    const struct comm_part *wants, const void *mine, void *result,
                                    struct cohort_error *err);

#endif
