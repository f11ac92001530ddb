/* Manual and default plans: groups into segments.
 *
 * Within a group, operators that can be divided by rows become tiles, and those that cannot (they
 * need all rows, or give fewer than two) run on board 0; neighbouring local segments are one. */
#include "planner/plan_parts.h"

#include "base/mem.h"

#include <string.h>

struct maker {
    struct plan *plan;
    const struct graph *g;
    const bool *wide;
    const double *shares;
    size_t capacity;
};

/* The name of the first output of node k. */
static const char *output_name(const struct graph *g, int k, int *id) {
    const struct node *n = &g->nodes[k];
    for (int i = 0; i < n->out_count; i++)
        if (n->out[i] >= 0) {
            *id = n->out[i];
            return graph_value(g, n->out[i])->name;
        }
    BUG("a node without outputs");
}

/* Appends nodes [.., end) as one segment. */
static enum cohort_code add_segment(struct maker *m, enum plan_mode mode, int end,
                                    struct cohort_error *err) {
    struct plan *p = m->plan;
    int id = -1;
    char *until = mem_strdup(output_name(m->g, end - 1, &id));
    struct plan_segment *before = p->segment_count > 0 ? &p->segments[p->segment_count - 1] : NULL;
    if (until != NULL && mode == PLAN_LOCAL && before != NULL && before->mode == PLAN_LOCAL) {
        mem_free(before->until);
        before->until = until;
        return COHORT_OK;
    }
    int64_t *split = NULL;
    if (mode == PLAN_TILE)
        split = mem_zalloc((size_t)p->boards + 1, sizeof *split);
    if (until == NULL || (mode == PLAN_TILE && split == NULL) ||
        !MEM_GROW(p->segments, m->capacity, (size_t)p->segment_count)) {
        mem_free(until);
        mem_free(split);
        return error_memory(err, ((size_t)p->boards + 1) * sizeof *split, "a plan");
    }
    if (mode == PLAN_TILE)
        plan_split_rows(value_rows(graph_value(m->g, id)), m->shares, p->boards, split);
    p->segments[p->segment_count++] = (struct plan_segment){
        .until = until, .mode = mode, .split = split, .predicted_ms = -1, .predicted_wait_ms = -1};
    return COHORT_OK;
}

/* Group [first, end): runs of wide nodes and of others. */
static enum cohort_code add_group(struct maker *m, int first, int end, struct cohort_error *err) {
    while (first < end) {
        int stop = first + 1;
        while (stop < end && m->wide[stop] == m->wide[first])
            stop++;
        enum cohort_code code = add_segment(m, m->wide[first] ? PLAN_TILE : PLAN_LOCAL, stop, err);
        if (code != COHORT_OK)
            return code;
        first = stop;
    }
    return COHORT_OK;
}

static enum cohort_code check_request(const struct plan_request *r, struct cohort_error *err) {
    if (r->boards < 1)
        return error_set(err, COHORT_ERR_USAGE, "a plan for %d boards", r->boards);
    if (r->tail != NULL && strcmp(r->tail, "local") != 0)
        return error_set(err, COHORT_ERR_USAGE, "the tail can be 'local', not '%.60s'", r->tail);
    return COHORT_OK;
}

static enum cohort_code plan_begin(struct plan **p, const struct graph *g,
                                   const struct plan_request *r, struct cohort_error *err) {
    const bool manual = r->groups != NULL || r->ratio != NULL || r->root_feeds;
    *p = mem_zalloc(1, sizeof **p);
    if (*p == NULL)
        return error_memory(err, sizeof **p, "a plan");
    (*p)->boards = r->boards;
    (*p)->predicted_ms = -1;
    (*p)->network = mem_strdup(g->name);
    (*p)->strategy = mem_strdup(manual ? "manual" : "default");
    if ((*p)->network == NULL || (*p)->strategy == NULL)
        return error_memory(err, strlen(g->name) + 1, "a plan");
    return graph_signature(g, (*p)->signature, err);
}

enum cohort_code plan_make(struct plan **p, const struct graph *g, const struct plan_request *r,
                           struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct plan *plan = NULL;
    bool *wide = NULL;
    double *shares = NULL;
    int *ends = NULL, count = 0, first = 0;
    TRY(check_request(r, err));
    TRY(plan_begin(&plan, g, r, err));
    wide = mem_zalloc((size_t)g->node_count, sizeof *wide);
    shares = mem_zalloc((size_t)r->boards, sizeof *shares);
    if (wide == NULL || shares == NULL) {
        code =
            error_memory(err, (size_t)g->node_count + (size_t)r->boards * sizeof *shares, "a plan");
        goto out;
    }
    TRY(plan_parse_ratio(r, shares, err));
    plan_find_wide(g, wide);
    if (r->groups == NULL && r->boards == 1) /* nobody to share with: no borders */
        memset(wide, 0, (size_t)g->node_count * sizeof *wide);
    if (r->groups != NULL)
        TRY(plan_parse_groups(r->groups, g, &ends, &count, err));
    else
        TRY(plan_default_groups(g, wide, &ends, &count, err));
    struct maker m = {.plan = plan, .g = g, .wide = wide, .shares = shares};
    for (int i = 0; i < count; i++) {
        TRY(add_group(&m, first, ends[i], err));
        first = ends[i];
    }
    *p = plan;
    plan = NULL;
out:
    mem_free(ends);
    mem_free(shares);
    mem_free(wide);
    plan_destroy(&plan);
    return code;
}
