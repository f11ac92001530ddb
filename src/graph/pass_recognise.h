/* The families of patterns of pass_recognise(), one file each.  Each looks at one node, the last of
 * its pattern, and says in *done whether it rewrote it. */
#ifndef COHORT_GRAPH_PASS_RECOGNISE_H
#define COHORT_GRAPH_PASS_RECOGNISE_H

#include "graph/pass_common.h"

/* GELU (with erf and with tanh), HardSwish, SiLU: products written out.  pass_products.c */
enum cohort_code recognise_product(struct graph *g, struct node *n, bool *done,
                                   struct cohort_error *err);
/* Mean, variance, division.  pass_layer_norm.c */
enum cohort_code recognise_layer_norm(struct graph *g, struct node *n, bool *done,
                                      struct cohort_error *err);
/* Chains of Reshape and Transpose that are a channel shuffle, SpaceToDepth or DepthToSpace.
 * pass_moves.c */
enum cohort_code recognise_moves(struct graph *g, int index, bool *done, struct cohort_error *err);
/* A zero Pad before a window.  pass_pads.c */
enum cohort_code recognise_pad(struct graph *g, int index, bool *done, struct cohort_error *err);
/* A mean over all pixels that drops their axes, as GlobalAveragePool and a view.  pass_recognise.c
 */
enum cohort_code recognise_mean(struct graph *g, int index, bool *done, struct cohort_error *err);

#endif
