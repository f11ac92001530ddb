/* Activations and residual additions into the epilogue of the operator that makes their input.
 *
 * The value in between must have no other reader.  A residual Add goes to the later of its two
 * operands' makers (the other operand is there by then), so the order of nodes stays topological.
 */
#include "graph/pass_common.h"

#include "base/mem.h"

#include <float.h>
#include <string.h>

/* ---- activations ----------------------------------------------------------------------------- */

/* One bound of a Clip: input i, or the attribute, or what ONNX takes when both are absent. */
static bool clip_bound(const struct graph *g, const struct node *n, int i, const char *name,
                       float otherwise, float *bound) {
    double value = 0;
    *bound = node_attr_float(n, name, otherwise);
    if (node_in(g, n, i) == NULL)
        return true;
    if (!const_scalar(g, n, i, &value))
        return false;
    *bound = (float)value;
    return true;
}

/* Is node n an activation of its input 0?  Then as an epilogue. */
static bool read_activation(const struct graph *g, const struct node *n, struct epilogue *e) {
    *e = (struct epilogue){.residual = -1};
    if (n->op == NULL || n->out_count != 1 || n->epilogue.act != ACT_NONE)
        return false;
    if (node_is(n, "Relu")) {
        e->act = ACT_RELU;
    } else if (node_is(n, "LeakyRelu")) {
        e->act = ACT_LEAKY_RELU;
        e->a = node_attr_float(n, "alpha", 0.01f);
    } else if (node_is(n, "PRelu")) {
        double slope = 0;
        if (!const_scalar(g, n, 1, &slope) || !same_known_shape(g, n->in[0], n->out[0]))
            return false;
        e->act = ACT_LEAKY_RELU;
        e->a = (float)slope;
    } else if (node_is(n, "Clip")) {
        e->act = ACT_CLIP;
        return clip_bound(g, n, 1, "min", -FLT_MAX, &e->a) &&
               clip_bound(g, n, 2, "max", FLT_MAX, &e->b);
    } else if (node_is(n, "Sigmoid")) {
        e->act = ACT_SIGMOID;
    } else if (node_is(n, "Tanh")) {
        e->act = ACT_TANH;
    } else if (node_is(n, "HardSigmoid")) {
        e->act = ACT_HARD_SIGMOID;
        e->a = node_attr_float(n, "alpha", 0.2f);
        e->b = node_attr_float(n, "beta", 0.5f);
    } else if (node_is(n, "HardSwish")) {
        e->act = ACT_HARD_SWISH;
    } else if (node_is(n, "Swish") && node_attr_float(n, "alpha", 1) == 1.0f) {
        e->act = ACT_SILU;
    } else {
        return false;
    }
    return true;
}

/* Operators with an epilogue whose activation is still free. */
static bool takes_activation(const struct graph *g, const struct node *n) {
    static const char *const names[] = {"Conv",
                                        "ConvTranspose",
                                        "Gemm",
                                        "MatMul",
                                        "Add",
                                        "BatchNormalization",
                                        "InstanceNormalization",
                                        "GroupNormalization"};
    if (n == NULL || n->epilogue.act != ACT_NONE || n->epilogue.residual_last ||
        !value_is_f32(g, n->out[0]))
        return false;
    for (int i = 1; i < n->out_count; i++)
        if (n->out[i] >= 0)
            return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (node_is(n, names[i]))
            return true;
    return false;
}

/* n goes: its maker makes its output, with this activation. */
static void fuse(struct graph *g, struct node *maker, struct node *n, const struct epilogue *e) {
    maker->epilogue.act = e->act;
    maker->epilogue.a = e->a;
    maker->epilogue.b = e->b;
    maker->out[0] = n->out[0];
    graph_release_node(n);
    graph_relink(g);
}

static void fuse_activation(struct graph *g, struct node *n) {
    struct epilogue e;
    if (n->in_count < 1 || n->in[0] < 0 || !read_activation(g, n, &e))
        return;
    struct node *maker = producer_named(g, n->in[0], NULL);
    if (takes_activation(g, maker) && only_user(g, n->in[0]) >= 0)
        fuse(g, maker, n, &e);
}

/* ---- residuals ------------------------------------------------------------------------------- */

/* Is the Add's result read only by an activation that could be fused into the Add? */
static bool activation_follows(const struct graph *g, const struct node *add) {
    struct epilogue e;
    int user = only_user(g, add->out[0]);
    if (user >= 0)
        return g->nodes[user].in[0] == add->out[0] && read_activation(g, &g->nodes[user], &e);
    return false;
}

/* Can node `maker` (of operand `mine`) add `other` in its epilogue? */
static bool takes_residual(const struct graph *g, const struct node *maker, const struct node *add,
                           int mine, int other) {
    if (maker == NULL || !node_is(maker, "Conv") || maker->epilogue.residual >= 0 ||
        only_user(g, mine) < 0 || maker->out_count != 1 || graph_value(g, other)->is_constant)
        return false;
    if (maker->epilogue.act != ACT_NONE && activation_follows(g, add))
        return false; /* the Add takes that one; the Conv keeps its own */
    return graph_value(g, other)->producer < graph_value(g, mine)->producer;
}

static enum cohort_code fuse_residual(struct graph *g, struct node *n, struct cohort_error *err) {
    if (!node_is(n, "Add") || n->in_count != 2 || n->in[0] == n->in[1] ||
        n->epilogue.act != ACT_NONE || !value_is_f32(g, n->out[0]) ||
        !same_known_shape(g, n->in[0], n->in[1]))
        return COHORT_OK;
    for (int i = 0; i < 2; i++) {
        int mine = n->in[i], other = n->in[1 - i];
        struct node *maker = producer_named(g, mine, NULL);
        if (!takes_residual(g, maker, n, mine, other))
            continue;
        int at = maker->in_count < 3 ? 3 : maker->in_count; /* behind the bias */
        enum cohort_code code = node_set_in_count(maker, at + 1, err);
        if (code != COHORT_OK)
            return code;
        maker->in[at] = other;
        maker->epilogue.residual = at;
        maker->epilogue.residual_last = maker->epilogue.act != ACT_NONE;
        maker->out[0] = n->out[0];
        graph_release_node(n);
        graph_relink(g);
        break;
    }
    return COHORT_OK;
}

enum cohort_code pass_fuse_epilogue(struct graph *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    graph_relink(g);
    /* Forwards: an Add has gone into its Conv by the time the activation behind it is looked at. */
    for (int i = 0; i < g->node_count && code == COHORT_OK; i++) {
        if (g->nodes[i].op == NULL)
            continue;
        fuse_activation(g, &g->nodes[i]);
        if (g->nodes[i].op != NULL)
            code = fuse_residual(g, &g->nodes[i], err);
    }
    graph_compact(g);
    return code;
}
