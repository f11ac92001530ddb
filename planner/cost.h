/* The cost model: what a piece of a network costs on a cluster, from a profile.
 *
 * Pure arithmetic; docs/planning.md states every formula.  A model is built once from (graph,
 * profile, options) and then only read, apart from scratch memory of its own.  Everything that the
 * strategies, the simulator and `auto` count goes through here, so that they agree:
 *   - demand.c:    which rows a segment needs under a split, and computing time;
 *   - traffic.c: which rows travel between boards, and the time that takes;
 *   - minimax.c: the split whose slowest board is fastest;
 *   - channel_cost.h: all of that for segments by channels. */
#ifndef COHORT_PLANNER_COST_H
#define COHORT_PLANNER_COST_H

#include "graph/graph.h"
#include "graph/rows.h"
#include "planner/plan.h"
#include "planner/profile.h"

struct cost_options {
    int boards; /* of the profile's, the first so many; 0: all */
    enum plan_wire wire;
    bool input_u8;         /* the network's inputs travel as one byte a value … */
    uint64_t pixel_inputs; /* … or those of them whose bit is set: bit 0 for the first, … */
    bool root_feeds;       /* board 0 computes nothing */
    const bool *left_out;  /* per board: computes nothing; NULL: all compute */
    uint64_t memory_limit; /* bytes per board; 0: none */
    const uint64_t *memory_limits; /* the same, of each board, where that is less; NULL: none */
    double setup_ms; /* each transfer between two boards begins with so long a set-up */
};

/* What the model keeps of a value of the graph. */
struct cost_value {
    int64_t rows;      /* 1 where the shape is not known */
    double row_bytes;  /* in memory */
    double wire_bytes; /* of one row on its way between boards */
    int producer;      /* node, or -1 */
    int last_use;      /* node; node_count for outputs of the network; -1: never read */
    bool known;        /* its shape is */
    bool constant;
    bool coded;       /* converted for the wire */
    int64_t channels; /* shard_channels(): 0: it is not divided by them */
};

struct cost_node {
    const double *ms;      /* [type * (rows + 1) + number of rows]; NULL: ask the profile */
    const double *chained; /* likewise, where the next node runs with it; NULL: the same */
    int64_t rows;          /* of its first output */
    bool wide;             /* can be divided by rows */
    bool makes_channels;   /* … by channels of its output, from all of its input, */
    bool keeps_channels;   /* … from the same of its input, */
    bool sums_channels;    /* … by channels of its input, */
    bool sums_rows;        /* … by rows of it, adding up (a fully connected layer behind a map) */
    double weight_bytes, flops;
    int64_t part_rows; /* transition_part_rows() */
    double unit;       /* time of one of its rows on the first board's type: to weigh rows by */
};

struct cost_link { /* a pair of boards */
    double latency;
    const struct profile_curve *curve; /* NULL: none, to itself */
};

struct cost_model {
    const struct graph *g;
    const struct profile *p;
    struct cost_options options;
    int boards;
    bool *usable; /* per board */
    int *order;   /* usable boards, fastest first; ties by number */
    int usable_count;
    double *speed; /* per board: 1 / its time for all wide nodes (for all, without any) */
    struct cost_value *values;
    struct cost_node *nodes;
    struct cost_link *links;   /* [from * boards + to] */
    double *table;             /* the nodes' times */
    double *starts;            /* per type: channel_start_ms() */
    int *outputs;              /* the value that stands for node k, as `until`; -1: none */
    struct splitter *splitter; /* scratch of cost_minimax() */
};

/* The graph and the profile are borrowed.  Errors: plan (the profile is for another network),
 * usage (nobody is left to compute), memory. */
enum cohort_code cost_create(struct cost_model **m, const struct graph *g, const struct profile *p,
                             const struct cost_options *o, struct cohort_error *err);
void cost_destroy(struct cost_model **m);

/* What a node and a value are by channels: of cost_create().  Errors: memory. */
enum cohort_code channel_fill(struct cost_model *m, struct cohort_error *err);

/* Milliseconds of `rows` rows of a node on a board. */
static inline double cost_node_ms(const struct cost_model *m, int board, int node, int64_t rows) {
    const struct cost_node *n = &m->nodes[node];
    const struct profile_board *b = &m->p->boards[board];
    if (n->ms == NULL || rows > n->rows || rows < 0)
        return profile_node_ms(m->p, board, node, rows);
    return b->scale * n->ms[(size_t)b->type * ((size_t)n->rows + 1) + (size_t)rows];
}
/* The same in a segment whose nodes end with `end`: operators that follow each other may be
 * computed together. */
static inline double cost_op_ms(const struct cost_model *m, int board, int node, int end,
                                int64_t rows) {
    const struct cost_node *n = &m->nodes[node];
    const struct profile_board *b = &m->p->boards[board];
    if (node + 1 >= end || rows < 0)
        return cost_node_ms(m, board, node, rows);
    if (n->ms == NULL || rows > n->rows)
        return profile_chained_ms(m->p, board, node, rows);
    const double *ms = n->chained != NULL ? n->chained : n->ms;
    return b->scale * ms[(size_t)b->type * ((size_t)n->rows + 1) + (size_t)rows];
}
/* All rows of nodes [first, end), run together. */
double cost_whole_ms(const struct cost_model *m, int board, int first, int end);
/* What a node's weights take on a board that runs it. */
static inline double cost_weight_bytes(const struct cost_model *m, int board, int node) {
    const struct profile_type *t = &m->p->types[m->p->boards[board].type];
    return t->weight_bytes != NULL ? t->weight_bytes[node] : m->nodes[node].weight_bytes;
}
/* Does output `id` of a node take no memory on a board, because in a segment that ends with node
 * `end` the next operator, which alone reads it, is computed in strips with it? */
static inline bool cost_is_inside(const struct cost_model *m, int board, int node, int end,
                                  int id) {
    const struct profile_type *t = &m->p->types[m->p->boards[board].type];
    return node + 1 < end && m->values[id].last_use == node + 1 && t->chained_of != NULL &&
           t->chained_of[node] >= 0;
}
/* Bytes that a board may need at most; INFINITY: any number. */
double cost_memory_limit(const struct cost_model *m, int board);
bool cost_memory_limited(const struct cost_model *m); /* is there any such limit? */
/* By how much boards that need so many bytes each exceed their limits, on the board where that is
 * most; 0 or less: all fit.  board: which that is; NULL: does not matter. */
double cost_memory_excess(const struct cost_model *m, const double *bytes, int *board);
/* Milliseconds of a message without its latency, which is m->links[].latency. */
double cost_transfer_ms(const struct cost_model *m, int from, int to, double bytes);

/* ---- layouts -------------------------------------------------------------------------------- */

/* Where a value lies. */
enum layout_kind {
    LAYOUT_AT,
    LAYOUT_ROWS,
    LAYOUT_REPLICATED,
    LAYOUT_CHANNELS, /* who reads it has the channels that it reads */
    LAYOUT_PARTIAL   /* boards have addends, which are on their way to be added up */
};
struct layout {
    enum layout_kind kind;
    int board;            /* LAYOUT_AT */
    const int64_t *split; /* LAYOUT_ROWS, LAYOUT_CHANNELS: boards+1, of the value; borrowed */
};
/* The rows that board b holds whole. */
struct rows layout_rows(const struct cost_model *m, const struct layout *l, int value, int b);

/* split[boards+1], rows of `value`, from a split of `until`. */
void cost_scale_split(const struct cost_model *m, int until, const int64_t *split, int value,
                      int64_t *scaled);

/* ---- rows and computing of a segment -------------------------------------------------------- */

/* Walks a segment backwards from its end, all boards at once: after demand_step() to node `at`,
 * need[b * value_count + v] is what board b needs of v for segment [at, end), and ms[b] its time.
 */
struct demand {
    const struct cost_model *m;
    struct rows *need;
    double *ms;      /* per board */
    double *work;    /* per board: rows computed, weighed by cost_node.unit */
    double *first;   /* per board: time of the node stepped over last */
    int64_t *scaled; /* scratch */
    const int64_t *split;
    const bool *who; /* whole: these boards compute everything */
    int end, at, until;
};
enum cohort_code demand_init(struct demand *w, const struct cost_model *m,
                             struct cohort_error *err);
void demand_release(struct demand *w);
/* Begins at node `end` (one past the last): every board computes its rows, by split[boards+1] of
 * value `until`, of all that is read behind the end; or the boards with who[b] compute everything.
 * Both are borrowed until the next begin. */
void demand_begin(struct demand *w, int end, int until, const int64_t *split);
void demand_begin_whole(struct demand *w, int end, const bool *who);
/* Forgets the last walk; what nodes [first, end) come to is the caller's to fill in. */
void demand_begin_nothing(struct demand *w, int first, int end);
void demand_step(struct demand *w);
static inline const struct rows *demand_need(const struct demand *w, int b) {
    return w->need + (size_t)b * (size_t)w->m->g->value_count;
}

/* ---- what travels --------------------------------------------------------------------------- */

/* Bytes per ordered pair of boards, all values of one transition together. */
struct traffic {
    const struct cost_model *m;
    double *bytes; /* [from * boards + to] */
    int *pairs;    /* that have any, in order of first appearance; count */
    int count;
    int main;               /* value whose sent rows are counted */
    int depth;              /* operators, up to its maker, that compute for others first */
    int parts;              /* of the channels of `main`, each of which leaves when it is there */
    int64_t *sent;          /* per board: rows of `main` */
    bool *sends, *receives; /* per board */
    double *coded_out, *coded_in; /* per board: float32 bytes that it converts */
    double *out_ms, *in_ms;       /* scratch */
    struct rows *want;            /* scratch: [board * value_count + value], all empty */
};
enum cohort_code traffic_init(struct traffic *t, const struct cost_model *m,
                              struct cohort_error *err);
void traffic_release(struct traffic *t);
/* main: the value that the operator before the transition made, or -1; depth: how many operators up
 * to its maker compute first what others wait for (cost_tail_depth; 0: none). */
void traffic_clear(struct traffic *t, int main, int depth);
/* When all is added, of an exchange between the segment that made `main` and the next: where boards
 * have few rows for main's weights, these leave in parts (TRANSITION_PARTS). */
void traffic_part(struct traffic *t, const struct layout *where);
/* Board b needs rows `need` of `value`, which lies as `l` says: from whoever holds them. */
void traffic_add(struct traffic *t, int value, const struct layout *l, int b, struct rows need);
/* Every board needs need[b * value_count + value] of count values, which lie as where[value]. */
void traffic_add_all(struct traffic *t, const int *values, int count, const struct layout *where,
                     const struct rows *need);
/* Board `to` gets bytes of no tensor's rows from board `from`. */
void traffic_add_bytes(struct traffic *t, int from, int to, double bytes);
/* Time of one message, without latency; measured factors of the root's sending to all at once and
 * receiving from all at once included. */
double traffic_message_ms(const struct traffic *t, int pair);
double traffic_encode_ms(const struct traffic *t, int board);
double traffic_decode_ms(const struct traffic *t, int board);
/* One-port time: every board sends one and receives one message at a time, both at once, and sets
 * each up before it sends; the largest latency and the longest conversions once.  0 when nothing
 * travels. */
double traffic_ms(struct traffic *t);

/* ---- the overlap window --------------------------------------------------------------------- */

/* As src/runtime/phases.h has it, for tiles: from the last operator of a segment back to the first
 * that is worth waiting with, the rows that others wait for are computed first; from the first
 * operator of a segment on to the first that is worth it, the rows that wait for nobody. */

/* FLOPs of an operator of [first, end) that is worth waiting with. */
double cost_heavy(const struct cost_model *m, int first, int end);
/* How many of the last operators of tiled segment [first, end) compute for others first; at most
 * COST_DEPTH_MAX; 0 where these are the first ones, too, and the segment before lay on the boards:
 * then they compute first what needs nobody's rows. */
#define COST_DEPTH_MAX 4
int cost_tail_depth(const struct cost_model *m, int first, int end, double heavy);

/* The segment behind a transition. */
struct overlap {
    int first, end; /* nodes */
    double heavy;
};
/* What is left of the segment before the transition when board b has made the rows that others wait
 * for. */
double window_tail_ms(const struct traffic *t, const struct layout *where, int b);
/* The time of one part of its rows of main's operator: the last part leaves when all is made, the
 * one before it so much earlier, and so on. */
double window_part_ms(const struct traffic *t, const struct layout *where, int b);
/* What board b computes of the segment behind it before it needs anything still on its way.  need:
 * of board b, per value. */
double window_head_ms(const struct cost_model *m, const struct overlap *w, int b,
                      const struct rows *need, const struct layout *where);
/* The part of a transition's time that nothing hides: its one-port time less the shortest tail of
 * those that send (in parts: all but the last part's, or what computing hides of these) and the
 * shortest head of those that receive, at least 0.  w: NULL: there is no head, as before segments
 * that are not in tiles. */
double transition_wait_ms(struct traffic *t, const struct layout *where, const struct overlap *w,
                          const struct rows *need);

/* ---- splits --------------------------------------------------------------------------------- */

/* split[boards+1]: rows of `until` among the boards with who[b], so that the slowest one's time for
 * nodes [first, end) is least, by bisection on that time.  Boards keep their order (rank).
 * extra[b]: milliseconds that a row of board b takes beside computing; NULL: none. */
enum cohort_code cost_minimax(const struct cost_model *m, int first, int end, int until,
                              const bool *who, const double *extra, int64_t *split,
                              struct cohort_error *err);
/* Its scratch, which knows what the last call found of nodes [first, end).  Errors: memory. */
enum cohort_code splitter_create(struct splitter **s, const struct cost_model *m,
                                 struct cohort_error *err);
void splitter_destroy(struct splitter **s);
/* In proportion to the boards' speeds. */
enum cohort_code cost_proportional(const struct cost_model *m, int until, const bool *who,
                                   int64_t *split, struct cohort_error *err);
/* who[boards]: the `count` fastest usable boards. */
void cost_fastest(const struct cost_model *m, int count, bool *who);

#endif
