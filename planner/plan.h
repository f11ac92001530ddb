/* A plan: how one network is divided among boards.  Pure data; reading, writing, checking.
 *
 * A plan lists segments in topological order.  Each covers the nodes up to and including the one
 * that makes a named tensor, in one mode.  See docs/plan-format.md for the JSON. */
#ifndef COHORT_PLANNER_PLAN_H
#define COHORT_PLANNER_PLAN_H

#include "base/error.h"
#include "graph/graph.h"

#include <stdbool.h>

#define PLAN_FORMAT "cohort-plan"
/* 1 knew neither output nor wire, 2 no channels.  All are read; a plan without channels is written
 * as version 2, which readers before them understand. */
#define PLAN_VERSION 3

enum plan_mode {
    PLAN_TILE,  /* each board computes its rows of the segment's outputs, halo rows recomputed */
    PLAN_LOCAL, /* one board (`board`) computes everything */
    PLAN_REPLICATE, /* every board computes everything */
    /* By channels (planner/channels.h). */
    PLAN_OUT_CHANNEL, /* each board computes its channels of the outputs, from all of the inputs */
    PLAN_CHANNELWISE, /* the same, from the same channels of the inputs */
    PLAN_IN_CHANNEL,  /* each board computes what its channels of the input add to the output */
    PLAN_ROWS_GEMM,   /* … what its rows of the input add to it: a fully connected layer */
};
/* Boards have parts of operators. */
static inline bool plan_by_channels(enum plan_mode mode) {
    return mode == PLAN_OUT_CHANNEL || mode == PLAN_CHANNELWISE || mode == PLAN_IN_CHANNEL ||
           mode == PLAN_ROWS_GEMM;
}
/* They make addends, and there is one operator. */
static inline bool plan_adds_up(enum plan_mode mode) {
    return mode == PLAN_IN_CHANNEL || mode == PLAN_ROWS_GEMM;
}

/* As a plan file has it: "out-channel". */
const char *plan_mode_name(enum plan_mode mode);

/* Where the segment's outputs are when it has ended. */
enum plan_output {
    PLAN_TO_ROOT, /* AT(0): gathered, or sent, to board 0 */
    PLAN_STAY,    /* where they were made: ROWS(split), AT(board), REPLICATED; whoever needs rows of
                     them later gets just those, straight from the boards that have them.
                     CHANNELS(split): later segments by the same channels read them */
    PLAN_TO_ALL,  /* REPLICATED: on every board; of segments by channels */
};

const char *plan_output_name(enum plan_output output);

/* How what segments by channels made is put together or added up. */
enum plan_route {
    PLAN_ROUTE_LINEAR, /* straight from each board that has something to each that wants it */
    PLAN_ROUTE_RING,   /* round the boards, each talking to two neighbours only */
    /* Recursive halving (of a sum) and doubling, in as many stages as the boards have doublings. */
    PLAN_ROUTE_HALVING,
    PLAN_ROUTES /* how many there are */
};

const char *plan_route_name(enum plan_route route);

/* What values that travel between boards are on the way. */
enum plan_wire {
    PLAN_WIRE_F32,
    PLAN_WIRE_F16,
    PLAN_WIRE_I8, /* with a scale for every row block */
};

struct plan_segment {
    char *until; /* name of the tensor that ends it: the output of its last node */
    enum plan_mode mode;
    enum plan_output output;
    int board;             /* PLAN_LOCAL: which board */
    enum plan_route route; /* by channels: of what goes to the root or to all */
    /* boards+1 numbers, rising from 0.  PLAN_TILE: rows of the `until` tensor.  OUT_CHANNEL,
     * CHANNELWISE: its channels.  IN_CHANNEL: channels of the operator's input.  ROWS_GEMM: rows of
     * it. */
    int64_t *split;
    double predicted_ms;      /* computing, of the slowest board; < 0: not predicted */
    double predicted_wait_ms; /* before and after it, for what travels; < 0: not predicted */
};

struct plan {
    char *network;      /* graph name, for people */
    char signature[33]; /* graph_signature() of the network it is for */
    char *strategy;     /* "manual", "default", … */
    int boards;
    enum plan_wire wire;
    struct plan_segment *segments;
    int segment_count;
    double predicted_ms; /* of all; < 0: not predicted */
};

void plan_destroy(struct plan **p);
/* Errors: io, format (naming the file and the key). */
enum cohort_code plan_load(struct plan **p, const char *path, struct cohort_error *err);
enum cohort_code plan_parse(struct plan **p, const char *text, size_t bytes, const char *what,
                            struct cohort_error *err);
/* JSON text (mem_free), the same for the same plan, byte for byte. */
enum cohort_code plan_print(const struct plan *p, char **text, struct cohort_error *err);
enum cohort_code plan_save(const struct plan *p, const char *path, struct cohort_error *err);

/* Does it fit this network and this number of boards?  Errors: plan, saying what differs. */
enum cohort_code plan_check(const struct plan *p, const struct graph *g, int boards,
                            struct cohort_error *err);

/* The node number one past segment i's last node (the plan was checked). */
int plan_segment_end(const struct plan *p, const struct graph *g, int i);

/* Has it segments by channels? */
bool plan_has_channels(const struct plan *p);

/* How many boards compute anything at all. */
int plan_busy_boards(const struct plan *p);

/* The rows of value `id`, an output of the segment, that board b computes when the segment's split
 * is in rows of `until`: each boundary is scaled to the value's height per image. */
int64_t plan_scaled_row(const struct plan_segment *s, const struct graph *g, int until, int id,
                        int boundary);

/* ---- making plans ---------------------------------------------------------------------------- */

struct plan_request {
    int boards;
    const char
        *groups; /* "0-4,5-9,10-", or tensor names "pool1,pool2" that end groups; NULL: default */
    const char *ratio;        /* "3:3:2" or "pc=0,pi1=3,pi2=2"; NULL: equal */
    const char *const *names; /* boards' host names, for ratio by name; may be NULL */
    bool root_feeds;          /* board 0 only feeds the others */
    const char *tail; /* "local" (default): what follows the last tiled group runs on board 0 */
};
/* Manual and default plans: equal (or given) shares, groups at the pools, the tail from the first
 * operator that needs all rows on local(0).  Errors: usage (naming the part of the text that is
 * wrong), plan. */
enum cohort_code plan_make(struct plan **p, const struct graph *g, const struct plan_request *r,
                           struct cohort_error *err);

#endif
