/* Groups for a network that nothing is known of: no profile, no wish of the user's. */
#include "planner/plan_parts.h"

#include "base/mem.h"
#include "graph/op.h"

#include <string.h>

#define TINY      0.02 /* a group with less of the work than this joins another */
#define TAIL_WORK 0.1  /* not worth going on with tiles for less of the work than this */
#define LIVE_MAX  2    /* tensors that may go on beyond a pool that ends a group */

/* What the choice looks at, per node. */
struct survey {
    const struct graph *g;
    const bool *wide;
    double *work; /* FLOP of wide nodes, 0 of others */
    int *live;    /* tensors that cross the border behind the node */
    int *only;    /* the one tensor that does, or -1 */
};

/* ---- where the tail begins ------------------------------------------------------------------- */

/* needed[value]: does a wide node depend on it, through whatever? */
static void mark_needed(const struct graph *g, const bool *wide, bool *needed) {
    for (int k = g->node_count - 1; k >= 0; k--) {
        const struct node *n = &g->nodes[k];
        bool mark = wide[k];
        for (int i = 0; i < n->out_count; i++)
            mark = mark || (n->out[i] >= 0 && needed[n->out[i]]);
        for (int i = 0; mark && i < n->in_count; i++)
            if (n->in[i] >= 0)
                needed[n->in[i]] = true;
    }
}

static bool feeds_wide(const struct node *n, const bool *needed) {
    for (int i = 0; i < n->out_count; i++)
        if (n->out[i] >= 0 && needed[n->out[i]])
            return true;
    return false;
}

/* The first node, behind the first wide one, that cannot be divided and that wide ones wait for (a
 * side branch of a detector's heads does not count), or behind which little is left to divide. */
static int find_tail(const struct survey *s, const bool *needed) {
    const struct graph *g = s->g;
    double total = 0, left;
    int first = 0;
    while (first < g->node_count && !s->wide[first])
        first++;
    for (int k = first; k < g->node_count; k++)
        total += s->work[k];
    left = total;
    for (int k = first; k < g->node_count; k++) {
        left -= s->work[k];
        if (!s->wide[k] && (feeds_wide(&g->nodes[k], needed) || left < TAIL_WORK * total))
            return k;
    }
    return g->node_count;
}

/* ---- where groups end ------------------------------------------------------------------------ */

static bool is_constant(const struct graph *g, int id) {
    return graph_value(g, id)->is_constant;
}

/* last_use[value]: the last node that reads it, or -1. */
static void find_last_uses(const struct graph *g, int *last_use) {
    for (int i = 0; i < g->value_count; i++)
        last_use[i] = -1;
    for (int k = 0; k < g->node_count; k++)
        for (int i = 0; i < g->nodes[k].in_count; i++)
            if (g->nodes[k].in[i] >= 0)
                last_use[g->nodes[k].in[i]] = k;
}

static void find_live(struct survey *s, const int *last_use) {
    const struct graph *g = s->g;
    int live = 0;
    int64_t sum = 0; /* of the live tensors' numbers: with one, its number */
    for (int i = 0; i < g->input_count; i++)
        if (!is_constant(g, g->inputs[i]) && last_use[g->inputs[i]] >= 0) {
            live++;
            sum += g->inputs[i];
        }
    for (int k = 0; k < g->node_count; k++) {
        const struct node *n = &g->nodes[k];
        for (int i = 0; i < n->out_count; i++)
            if (n->out[i] >= 0 && last_use[n->out[i]] > k) {
                live++;
                sum += n->out[i];
            }
        for (int i = 0; i < n->in_count; i++) {
            bool again = false; /* read twice by this node: ends once */
            for (int j = 0; j < i; j++)
                again = again || n->in[j] == n->in[i];
            if (!again && n->in[i] >= 0 && !is_constant(g, n->in[i]) && last_use[n->in[i]] == k) {
                live--;
                sum -= n->in[i];
            }
        }
        s->live[k] = live;
        s->only[k] = live == 1 ? (int)sum : -1;
    }
}

static bool is_pool(const struct node *n) {
    return (strcmp(n->op->name, "MaxPool") == 0 || strcmp(n->op->name, "AveragePool") == 0) &&
           n->window.stride[0] > 1;
}

/* Rows of one image of the first map that goes into node k; 0 when none does. */
static int64_t entry_height(const struct graph *g, int k) {
    for (int i = 0; i < g->nodes[k].in_count; i++) {
        const struct value *v = node_in(g, &g->nodes[k], i);
        if (v != NULL && !v->is_constant && shape_known(&v->shape))
            return value_geometry(v).height;
    }
    return 0;
}

static int64_t height_behind(const struct survey *s, int k) {
    const struct value *v = node_out(s->g, &s->g->nodes[k], 0);
    return v != NULL && s->wide[k] ? value_geometry(v).height : 0;
}

/* Is the first output of wide node k all that goes on behind it? */
static bool alone(const struct survey *s, int k) {
    return s->wide[k] && s->only[k] >= 0 && s->only[k] == s->g->nodes[k].out[0];
}

/* Does a group that was entered at this height end behind node k? */
static bool ends_group(const struct survey *s, int k, int64_t height) {
    if (!s->wide[k])
        return false;
    return (alone(s, k) && height_behind(s, k) < height) ||
           (is_pool(&s->g->nodes[k]) && s->live[k] <= LIVE_MAX);
}

static int64_t width_behind(const struct survey *s, int k) {
    return value_geometry(node_out(s->g, &s->g->nodes[k], 0)).width;
}

static double bytes_behind(const struct survey *s, int k) {
    const struct geometry geo = value_geometry(node_out(s->g, &s->g->nodes[k], 0));
    return (double)(geo.images * geo.height) * (double)geo.row_bytes;
}

/* A better place for the end of a group than node k, which is one: further on at the same height,
 * where one tensor goes on that is at most half as large (behind an expanded block's projection, a
 * squeezing convolution); not the few numbers of a global pool's rows. */
static int smaller_end(const struct survey *s, int k, int tail) {
    const int64_t height = height_behind(s, k);
    int best = k;
    if (!alone(s, k))
        return k;
    for (int i = k + 1; i < tail && !ends_group(s, i, height); i++)
        if (alone(s, i) && height_behind(s, i) == height &&
            width_behind(s, i) == width_behind(s, k) &&
            2 * bytes_behind(s, i) <= bytes_behind(s, best))
            best = i;
    return best;
}

static double work_of(const struct survey *s, int first, int end) {
    double sum = 0;
    for (int k = first; k < end; k++)
        sum += s->work[k];
    return sum;
}

/* Ends of groups in [0, tail), the last of them tail itself; returns how many. */
static int choose_ends(const struct survey *s, int tail, int *ends) {
    const double tiny = TINY * work_of(s, 0, tail);
    int count = 0, begin = 0, k = 0;
    while (k < tail && !s->wide[k])
        k++;
    int64_t height = k < tail ? entry_height(s->g, k) : 0;
    for (; k < tail; k++) {
        if (ends_group(s, k, height)) {
            height = height_behind(s, k);
            k = smaller_end(s, k, tail);
        } else if (k + 1 < tail) {
            continue;
        }
        const bool small = work_of(s, begin, k + 1) < tiny;
        if (small && count > 0)
            ends[count - 1] = k + 1; /* joins the group before: what goes on then is less, too */
        else if (!small || k + 1 == tail)
            ends[count++] = k + 1;
        else
            continue; /* a small first group goes on */
        begin = k + 1;
    }
    return count;
}

/* ---- together -------------------------------------------------------------------------------- */

static void survey_release(struct survey *s) {
    mem_free(s->work);
    mem_free(s->live);
    mem_free(s->only);
}

static bool survey_init(struct survey *s, const struct graph *g, const bool *wide) {
    const size_t nodes = (size_t)g->node_count;
    *s = (struct survey){.g = g,
                         .wide = wide,
                         .work = mem_zalloc(nodes, sizeof *s->work),
                         .live = mem_zalloc(nodes, sizeof *s->live),
                         .only = mem_zalloc(nodes, sizeof *s->only)};
    if (s->work == NULL || s->live == NULL || s->only == NULL) {
        survey_release(s);
        return false;
    }
    for (int k = 0; k < g->node_count; k++)
        s->work[k] = wide[k] ? node_flops(g, &g->nodes[k]) : 0;
    return true;
}

enum cohort_code plan_default_groups(const struct graph *g, bool *wide, int **ends, int *count,
                                     struct cohort_error *err) {
    struct survey s;
    bool *needed = mem_zalloc((size_t)g->value_count, sizeof *needed);
    int *last_use = mem_zalloc((size_t)g->value_count, sizeof *last_use);
    int *list = mem_zalloc((size_t)g->node_count + 1, sizeof *list);
    if (needed == NULL || last_use == NULL || list == NULL || !survey_init(&s, g, wide)) {
        mem_free(needed);
        mem_free(last_use);
        mem_free(list);
        return error_memory(err, (unsigned long long)g->value_count, "a plan");
    }
    mark_needed(g, wide, needed);
    find_last_uses(g, last_use);
    find_live(&s, last_use);
    const int tail = find_tail(&s, needed);
    *count = choose_ends(&s, tail, list);
    if (*count == 0 || list[*count - 1] != g->node_count)
        list[(*count)++] = g->node_count;
    *ends = list;
    for (int k = tail; k < g->node_count; k++)
        wide[k] = false;
    survey_release(&s);
    mem_free(needed);
    mem_free(last_use);
    return COHORT_OK;
}
