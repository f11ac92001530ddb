/* A Pad with zeros before a Conv or a pool, moved into the window's own pads.
 *
 * Exact for Conv: its padding is zeros.  For AveragePool the zeros count as elements, so
 * count_include_pad must be set, and pads that were there before must have counted too.  MaxPool
 * pads with minus infinity, which zeros equal where no element is negative: after a Relu. */
#include "graph/pass_recognise.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct spatial_pads {
    int64_t begin[RANK_MAX], end[RANK_MAX];
    int axes; /* spatial: rank - 2 */
    double value;
};

/* Pads of the last rank-2 axes; false when it is not a constant padding of these alone. */
static bool read_pad(const struct graph *g, const struct node *n, struct spatial_pads *p) {
    int64_t pads[INTS_MAX];
    int count = 0, rank = node_in(g, n, 0)->shape.rank;
    *p = (struct spatial_pads){.axes = rank - 2};
    if (rank < 3 || strcmp(node_attr_string(n, "mode", "constant"), "constant") != 0 ||
        !const_ints(g, n, "pads", 1, pads, &count) || count != 2 * rank || node_in(g, n, 3) != NULL)
        return false;
    if (node_in(g, n, 2) != NULL) {
        if (!const_scalar(g, n, 2, &p->value))
            return false;
    } else {
        p->value = (double)node_attr_float(n, "value", 0);
    }
    for (int i = 0; i < rank; i++) {
        if (pads[i] < 0 || pads[rank + i] < 0 || (i < 2 && (pads[i] != 0 || pads[rank + i] != 0)))
            return false;
        if (i >= 2) {
            p->begin[i - 2] = pads[i];
            p->end[i - 2] = pads[rank + i];
        }
    }
    return true;
}

/* Adds the window's own pads; false when they are not given as numbers, or are not all zero though
 * `none` is asked for. */
static bool add_own_pads(const struct graph *g, const struct node *n, bool none,
                         struct spatial_pads *p) {
    const char *automatic = node_attr_string(n, "auto_pad", "NOTSET");
    int64_t own[INTS_MAX] = {0};
    int count = 0;
    if (strcmp(automatic, "VALID") == 0)
        return true;
    if (strcmp(automatic, "NOTSET") != 0 && automatic[0] != '\0')
        return false;
    if (node_attr(n, "pads") != NULL &&
        (!const_ints(g, n, "pads", -1, own, &count) || count != 2 * p->axes))
        return false;
    for (int i = 0; i < p->axes; i++) {
        if (none && (own[i] != 0 || own[p->axes + i] != 0))
            return false;
        p->begin[i] += own[i];
        p->end[i] += own[p->axes + i];
    }
    return true;
}

/* Pools promise nothing for windows that hold no element, so pads must stay below the kernel. */
static bool pads_within_kernel(const struct node *n, const struct spatial_pads *p) {
    int count = 0, dilations = 0;
    const int64_t *kernel = node_attr_ints(n, "kernel_shape", &count);
    const int64_t *dilation = node_attr_ints(n, "dilations", &dilations);
    if (count != p->axes || node_attr_int(n, "ceil_mode", 0) != 0)
        return false;
    for (int i = 0; i < dilations; i++)
        if (dilation[i] != 1)
            return false;
    for (int i = 0; i < count; i++)
        if (p->begin[i] >= kernel[i] || p->end[i] >= kernel[i])
            return false;
    return true;
}

/* Does the Pad do to the window that follows what the window's pads would do?  Adds the latter. */
static bool absorbs(const struct graph *g, const struct node *pad, const struct node *window,
                    struct spatial_pads *p) {
    if (node_is(window, "Conv"))
        return p->value == 0 && add_own_pads(g, window, false, p);
    if (node_is(window, "AveragePool"))
        return p->value == 0 &&
               add_own_pads(g, window, node_attr_int(window, "count_include_pad", 0) == 0, p) &&
               pads_within_kernel(window, p);
    if (!node_is(window, "MaxPool") || window->out_count != 1)
        return false;
    bool lowest = p->value <= -(double)FLT_MAX;
    bool after_relu = p->value == 0 && producer_named(g, pad->in[0], "Relu") != NULL;
    return (lowest || after_relu) && add_own_pads(g, window, false, p) &&
           pads_within_kernel(window, p);
}

enum cohort_code recognise_pad(struct graph *g, int index, bool *done, struct cohort_error *err) {
    struct node *window = &g->nodes[index];
    struct spatial_pads p;
    if (!node_is(window, "Conv") && !node_is(window, "AveragePool") && !node_is(window, "MaxPool"))
        return COHORT_OK;
    const struct node *pad = producer_named(g, window->in[0], "Pad");
    if (pad == NULL || only_user(g, window->in[0]) < 0 || !value_is_f32(g, pad->in[0]) ||
        !read_pad(g, pad, &p) || !absorbs(g, pad, window, &p))
        return COHORT_OK;
    enum cohort_code code = COHORT_OK;
    struct shape before = graph_value(g, window->out[0])->shape;
    int64_t pads[INTS_MAX];
    for (int i = 0; i < p.axes; i++) {
        pads[i] = p.begin[i];
        pads[p.axes + i] = p.end[i];
    }
    TRY(node_set_ints(window, "pads", pads, 2 * p.axes, err));
    TRY(node_set_string(window, "auto_pad", "NOTSET", err));
    if (node_is(window, "AveragePool"))
        TRY(node_set_int(window, "count_include_pad", 1, err));
    window->in[0] = pad->in[0];
    graph_relink(g);
    TRY(infer_node(g, index, false, err));
    if (!shape_equal(&before, &graph_value(g, window->out[0])->shape))
        code = error_set(err, COHORT_ERR_INTERNAL, "a Pad before %s changed its shape",
                         window->op->name);
    *done = true;
out:
    return code;
}
