/* What shard.c and shard_nodes.c share.  For src/graph only. */
#ifndef COHORT_GRAPH_SHARD_PARTS_H
#define COHORT_GRAPH_SHARD_PARTS_H

#include "graph/shard.h"

enum slice_kind {
    SLICE_VALUE,   /* of a computed tensor */
    SLICE_WEIGHT,  /* of a constant */
    SLICE_BIAS,    /* a constant vector of its own, from a constant, or zeros */
    SLICE_PARTIAL, /* an addend of the output of node `source` */
};

/* Elements [begin, end) of `source` along an axis; of a weight, of every `period` of them. */
struct shard_slice {
    enum slice_kind kind;
    int id;     /* the value that it is */
    int source; /* -1: a bias of zeros */
    int axis;
    int64_t begin, end;
    int64_t period; /* SLICE_WEIGHT */
    float scale;    /* SLICE_BIAS */
};

struct shard {
    struct graph graph; /* arrays of values and nodes are its own, not what the network's own hold
                         */
    const struct graph *network;
    struct shard_slice *slices;
    int slice_count;
    size_t slice_capacity;
};

/* The axis that channels are. */
int shard_axis(const struct value *v);
/* Adds a value like `shaped` (a copy; it may be in the array) for this slice: slice.id of the last
 * of s->slices. */
enum cohort_code shard_add_slice(struct shard *s, struct shard_slice slice,
                                 const struct value *shaped, struct cohort_error *err);
/* Of a constant; itself when it is all of it. */
enum cohort_code shard_weight(struct shard *s, int id, int axis, int64_t begin, int64_t end,
                              int *slice, struct cohort_error *err);
/* Of every `period` elements along the axis, which are a whole number of periods. */
enum cohort_code shard_periodic_weight(struct shard *s, int id, int axis, int64_t period,
                                       struct channels of, int *slice, struct cohort_error *err);

#endif
