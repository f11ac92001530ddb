/* One board's shard of a network that is divided by channels, as a graph of its own; and of a fully
 * connected layer that is divided by the rows of the map it reads.
 *
 * A shard has all values and nodes of the network, under their numbers, and behind them slices:
 * some channels of a tensor, some of a weight, and nodes that compute with these.  So whoever runs
 * graphs runs shards, and need not know that channels were divided.  A shard borrows from the
 * network, which outlives it and must not change but for the contents of constants.
 *
 * Channels are ONNX's axis 1 of a map, and the last axis of a plain tensor.  A slice is whole
 * blocks of MAP_BLOCK channels, the last one what is left beside them: never less than a block, so
 * that it lies in memory as those channels lie in the whole.  Of rows it is any. */
#ifndef COHORT_GRAPH_SHARD_H
#define COHORT_GRAPH_SHARD_H

#include "graph/graph.h"

/* Half-open; of SHARD_ROWS rows. */
struct channels {
    int64_t begin, end;
};

/* How a node is divided. */
enum shard_mode {
    /* Some channels of the output, from all of the input: convolutions of one group, products with
     * a constant matrix.  A residual comes in slices. */
    SHARD_OUT,
    /* Some channels of the output, from those channels of every input: pooling, activations,
     * elementwise operators, grouped and depthwise convolutions. */
    SHARD_CHANNELWISE,
    /* What some channels of the input add to all of the output, before bias, residual and
     * activation: convolutions of one group, products with a constant matrix. */
    SHARD_IN,
    /* The same of some rows of the map that a product with a constant matrix reads, of one image:
     * a fully connected layer behind a map in rows. */
    SHARD_ROWS,
};

struct shard;

/* Local.  Errors: memory. */
enum cohort_code shard_create(struct shard **s, const struct graph *network,
                              struct cohort_error *err);
void shard_destroy(struct shard **s);
/* Stays valid; its arrays move when something is added. */
const struct graph *shard_graph(const struct shard *s);

/* How many channels a value has; 0 where it cannot be divided by them. */
int64_t shard_channels(const struct graph *g, int id);
/* May a board have these of `count` channels? */
bool shard_fits(struct channels c, int64_t count);
/* How many rows a map of one image has; 0: it is none. */
int64_t shard_rows(const struct graph *g, int id);
/* Channels of node input 0 (SHARD_OUT: all) behind channels `out` of output 0.  For SHARD_IN `out`
 * are those of the input, for SHARD_ROWS its rows.  Errors: plan (the node cannot be divided so;
 * the message says why). */
enum cohort_code shard_input(const struct graph *g, const struct node *n, enum shard_mode mode,
                             struct channels out, struct channels *in, struct cohort_error *err);

/* The number of a value's slice; the value's own, when it is all of it.  The same slice has one
 * number.  Errors: plan (no whole blocks), memory. */
enum cohort_code shard_slice(struct shard *s, int id, struct channels c, int *slice,
                             struct cohort_error *err);
/* Adds a node that takes a slice out of the whole value.  Whole blocks of a map cost nothing. */
enum cohort_code shard_take(struct shard *s, int id, struct channels c, int *node,
                            struct cohort_error *err);
/* The same of some rows of a map of one image.  Errors: plan (it has no such rows), memory. */
enum cohort_code shard_slice_rows(struct shard *s, int id, struct channels rows, int *slice,
                                  struct cohort_error *err);
enum cohort_code shard_take_rows(struct shard *s, int id, struct channels rows, int *node,
                                 struct cohort_error *err);
/* Adds network node `node`, divided.  c: channels of output 0, for SHARD_IN of input 0, for
 * SHARD_ROWS its rows.  The new node reads slices (shard_slice, shard_slice_rows) and makes one; of
 * SHARD_IN and SHARD_ROWS it makes shard_partial().  Errors: plan (it cannot be divided so),
 * memory. */
enum cohort_code shard_divide(struct shard *s, int node, enum shard_mode mode, struct channels c,
                              int *added, struct cohort_error *err);
/* The value that SHARD_IN and SHARD_ROWS of a node make: an addend of the node's output, before its
 * epilogue. */
enum cohort_code shard_partial(struct shard *s, int node, int *partial, struct cohort_error *err);
/* Adds what follows when the addends were added up: bias, residual and activation, for channels c
 * of the output.  It reads these of shard_partial(), which may be all, and of the residual. */
enum cohort_code shard_finish(struct shard *s, int node, struct channels c, int *added,
                              struct cohort_error *err);

/* The node of `other` that makes the same of the same as node `node` of `s`; -1: none does.  Either
 * may be NULL, which is the network, undivided; shards are of the same network. */
int shard_same_node(const struct graph *network, const struct shard *s, int node,
                    const struct shard *other);

/* Is it a node that shard_finish() added? */
bool shard_finishes(const struct shard *s, const struct node *n);

/* Takes over the network's constants' contents as they are now, and with them those of slices.
 * What lies together is borrowed, the rest is copied.  Errors: memory. */
enum cohort_code shard_fetch(struct shard *s, struct cohort_error *err);
/* The same step by step: takes over the network's own; makes one slice's contents, where it has
 * none and what it is of has. */
void shard_refresh(struct shard *s);
enum cohort_code shard_fetch_constant(struct shard *s, int id, struct cohort_error *err);
/* To be given contents: a constant of the shard's own. */
struct tensor *shard_constant(struct shard *s, int id);
/* The network's constant that constant `id` is a part of; `id` itself where it is none. */
int shard_constant_source(const struct shard *s, int id);
/* Elements [begin, end) of every `period` along an axis of a constant: of a fully connected layer's
 * weights behind a map [C, H, W], some rows of every channel, whose H * W elements are the period;
 * else of all along the axis. */
struct shard_part {
    int source, axis;
    int64_t period, begin, end;
};
/* Is constant `id` such a part, as it lies there? */
bool shard_constant_part(const struct shard *s, int id, struct shard_part *part);
/* Frees the contents of a constant that was copied. */
void shard_drop_constant(struct shard *s, int id);

#endif
