/* Softmax, layer normalisation and local response normalisation, row by row. */
#include "exec/lower.h"

#include <string.h>

struct normalise_state {
    float *scale, *bias; /* LayerNormalization; bias may be NULL */
};

/* Plain float rows whose last axis is normalised. */
static bool last_axis(const struct graph *g, const struct node *n, int64_t otherwise) {
    const struct value *x = node_in(g, n, 0), *y = node_out(g, n, 0);
    int axis;
    return x->type == DT_F32 && x->form == FORM_PLAIN && y->form == FORM_PLAIN && !x->is_constant &&
           shape_known(&x->shape) && x->shape.rank >= 1 && shape_count(&x->shape) > 0 &&
           shape_axis(node_attr_int(n, "axis", otherwise), x->shape.rank, &axis) &&
           axis == x->shape.rank - 1;
}

static bool softmax_accepts(const struct graph *g, const struct node *n) {
    return lower_is_map(g, n) || last_axis(g, n, n->opset < 13 ? 1 : -1);
}

static bool layer_norm_accepts(const struct graph *g, const struct node *n) {
    return n->out_count == 1 && n->epilogue.act == ACT_NONE && last_axis(g, n, -1) &&
           node_const(g, n, 1) != NULL && (node_in(g, n, 2) == NULL || node_const(g, n, 2) != NULL);
}

static enum cohort_code bind_layer_norm(struct program *p, struct bound *b,
                                        struct cohort_error *err) {
    const struct graph *g = p->graph;
    int64_t c = value_geometry(node_in(g, b->node, 0)).channels;
    enum cohort_code code = COHORT_OK;
    TRY(bound_state(b, sizeof(struct normalise_state), err));
    struct normalise_state *s = b->state;
    TRY(vector_from_constant(&s->scale, node_const(g, b->node, 1), c, err));
    if (node_const(g, b->node, 2) != NULL)
        TRY(vector_from_constant(&s->bias, node_const(g, b->node, 2), c, err));
out:
    return code;
}

static void unbind_layer_norm(struct bound *b) {
    struct normalise_state *s = b->state;
    mem_free(s->scale);
    mem_free(s->bias);
}

static void softmax_part(void *context, int64_t y0, int64_t y1, int block0, int block1,
                         int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    w->program->plain->softmax_channels_rows(
        strcmp(w->op->bound->node->op->name, "LogSoftmax") == 0, &w->in, &w->out, y0, y1);
}

static void layer_norm_part(void *context, int64_t y0, int64_t y1, int block0, int block1,
                            int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    const struct normalise_state *s = w->state;
    w->program->plain->layer_norm_rows(s->scale, s->bias,
                                       node_attr_float(w->op->bound->node, "epsilon", 1e-5f),
                                       &w->in, &w->out, y0, y1);
}

static void lrn_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct part_work *w = context;
    const struct node *n = w->op->bound->node;
    w->program->plain->lrn_rows((int)node_attr_int(n, "size", 1),
                                node_attr_float(n, "alpha", 1e-4f),
                                node_attr_float(n, "beta", 0.75f), node_attr_float(n, "bias", 1.0f),
                                &w->in, &w->out, y0, y1);
}

const struct lowering lowerings_normalise[] = {
    {"Softmax", softmax_accepts, NULL, NULL, BY_PART(WALK_ROWS, softmax_part)},
    {"LogSoftmax", softmax_accepts, NULL, NULL, BY_PART(WALK_ROWS, softmax_part)},
    {"LayerNormalization", layer_norm_accepts, bind_layer_norm, unbind_layer_norm,
     BY_PART(WALK_ROWS, layer_norm_part)},
    {"LRN", lower_is_map, NULL, NULL, BY_PART(WALK_ROWS, lrn_part)},
    {0},
};
