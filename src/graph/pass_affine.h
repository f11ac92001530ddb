/* Nodes that compute y = x * factor[c] + addend[c] with constants, c the channel (axis 1):
 * BatchNormalization at inference, and Mul, Div, Add, Sub with a constant of one number or one per
 * channel.  For the passes that fold them into their neighbours. */
#ifndef COHORT_GRAPH_PASS_AFFINE_H
#define COHORT_GRAPH_PASS_AFFINE_H

#include "graph/pass_common.h"

struct affine {
    int64_t channels;
    double *factor, *addend;
    bool scales; /* some factor may not be 1 */
    bool adds;   /* some addend may not be 0 */
};

/* Which input of node n is x; -1: it is not such a node, or its shapes are not known. */
int affine_data_input(const struct graph *g, const struct node *n);
/* The numbers of a node that is one. */
enum cohort_code affine_read(const struct graph *g, const struct node *n, struct affine *a,
                             struct cohort_error *err);
void affine_release(struct affine *a);

/* Folds such nodes into the Convs that read them, or two in a row into one (pass_affine.c). */
enum cohort_code fold_affine_forward(struct graph *g, int index, struct cohort_error *err);

#endif
