/* Bands and pieces; see cut.h.
 *
 * Along the axis that bands divide (rows, or pairs of blocks) a band's border may fall within a
 * row: seven rows on two threads are three and a half each.  That row is then divided along the
 * other axis, so a band is a body of whole rows, a head before it and a tail behind it. */
#include "exec/cut.h"

#define PAIR 2 /* channel blocks that kernels compute together */
/* A band of so many rows or more is rounded to whole ones: it is off by 3 % at most. */
#define WHOLE 16

/* The grid as the bands see it. */
struct grid {
    int64_t outer, inner; /* what bands divide first; what a row of that consists of */
    int64_t pieces;       /* of a body … */
    bool across;          /* … along the inner axis */
    bool whole;           /* bands end between rows */
};

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static struct grid grid_of(const struct cut *c) {
    int64_t pairs = (c->blocks + PAIR - 1) / PAIR;
    int64_t pairs_least = most((c->blocks_least + PAIR - 1) / PAIR, 1);
    int64_t rows_least = most(c->rows_least, 1);
    struct grid g = {.outer = c->channels_first ? pairs : c->rows,
                     .inner = c->channels_first ? c->rows : pairs};
    int64_t outer_least = c->channels_first ? pairs_least : rows_least;
    int64_t inner_least = c->channels_first ? rows_least : pairs_least;
    int64_t each = g.outer / c->bands;
    g.whole = g.outer % c->bands == 0 || each >= WHOLE || g.inner == 1;
    g.pieces = least(c->pieces, each / outer_least);
    /* Too few rows for that many pieces of them: the body is cut the other way. */
    if (g.pieces < c->pieces && g.inner / inner_least > g.pieces) {
        g.across = true;
        g.pieces = least(c->pieces, g.inner / inner_least);
    }
    g.pieces = most(g.pieces, 1);
    return g;
}

/* Where band t begins, in cells from the first. */
static int64_t border(const struct grid *g, int bands, int64_t t) {
    int64_t cells = g->outer * g->inner;
    if (t == bands)
        return cells;
    if (g->whole)
        return (g->outer * t + bands / 2) / bands * g->inner;
    return cells * t / bands;
}

/* Where piece j of k begins in n: pieces are as k : k-1 : ... : 1. */
static int64_t piece_begin(int64_t n, int64_t j, int64_t k) {
    int64_t all = k * (k + 1);
    return (n * j * (2 * k - j + 1) + all / 2) / all;
}

int64_t cut_items(const struct cut *c) {
    struct grid g = grid_of(c);
    return c->rows <= 0 || c->blocks <= 0 ? 0 : c->bands * (g.pieces + (g.whole ? 0 : 2));
}

/* A range of the outer and of the inner axis as rows and blocks. */
static struct cut_part part_of(const struct cut *c, int64_t outer0, int64_t outer1, int64_t inner0,
                               int64_t inner1) {
    int64_t y0 = c->channels_first ? inner0 : outer0, y1 = c->channels_first ? inner1 : outer1;
    int64_t pair0 = c->channels_first ? outer0 : inner0;
    int64_t pair1 = c->channels_first ? outer1 : inner1;
    if (y0 >= y1 || pair0 >= pair1)
        return (struct cut_part){0};
    return (struct cut_part){.y0 = y0,
                             .y1 = y1,
                             .block0 = c->block0 + (int)(pair0 * PAIR),
                             .block1 = c->block0 + (int)least(pair1 * PAIR, c->blocks)};
}

struct cut_part cut_part(const struct cut *c, int64_t item) {
    struct grid g = grid_of(c);
    int64_t each = g.pieces + (g.whole ? 0 : 2), band = item / each, piece = item % each;
    int64_t begin = border(&g, c->bands, band), end = border(&g, c->bands, band + 1);
    int64_t first = (begin + g.inner - 1) / g.inner, last = end / g.inner; /* whole rows */
    if (piece == g.pieces) /* head: what the first row has left, or all */
        return first > last ? part_of(c, last, first, begin - last * g.inner, end - last * g.inner)
                            : part_of(c, first - 1, first, begin - (first - 1) * g.inner,
                                      g.inner * (begin % g.inner != 0));
    if (piece > g.pieces) /* tail: what begins the row behind the body */
        return first > last ? (struct cut_part){0} : part_of(c, last, last + 1, 0, end % g.inner);
    if (first >= last)
        return (struct cut_part){0};
    int64_t size = g.across ? g.inner : last - first;
    int64_t from = piece_begin(size, piece, g.pieces), to = piece_begin(size, piece + 1, g.pieces);
    return g.across ? part_of(c, first, last, from, to)
                    : part_of(c, first + from, first + to, 0, g.inner);
}
