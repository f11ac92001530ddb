/* Random plans; see randomplan.h. */
#include "tests/support/randomplan.h"

#include "base/mem.h"
#include "graph/rows.h"

#include <stdlib.h>

static int64_t draw(uint64_t *seed, int64_t n) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((*seed >> 33) % (uint64_t)n);
}

static int first_output(const struct graph *g, int node) {
    for (int k = 0; k < g->nodes[node].out_count; k++)
        if (g->nodes[node].out[k] >= 0)
            return g->nodes[node].out[k];
    return -1;
}

/* Does anything here have a shape that is known only at run time? */
static bool any_unknown(const struct graph *g, int first, int last) {
    for (int i = first; i < last; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->in_count + n->out_count; k++) {
            const struct value *v =
                k < n->in_count ? node_in(g, n, k) : node_out(g, n, k - n->in_count);
            if (v != NULL && !shape_known(&v->shape))
                return true;
        }
    }
    return false;
}

static int compare(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Mostly fair shares, sometimes wild ones, where some boards have nothing. */
static int64_t *random_split(int64_t rows, int boards, uint64_t *seed) {
    int64_t *split = mem_zalloc((size_t)boards + 1, sizeof *split);
    if (split == NULL)
        return NULL;
    bool wild = draw(seed, 3) == 0;
    for (int b = 1; b < boards; b++) {
        int64_t fair = rows * b / boards, by = rows / boards / 2;
        split[b] = wild ? draw(seed, rows + 1) : fair + draw(seed, 2 * by + 1) - by;
    }
    split[boards] = rows;
    qsort(split, (size_t)boards + 1, sizeof *split, compare);
    return split;
}

static void choose_mode(struct plan_segment *s, const struct graph *g, int first, int last,
                        int boards, uint64_t *seed) {
    static const enum plan_mode modes[] = {PLAN_TILE, PLAN_TILE, PLAN_TILE, PLAN_LOCAL,
                                           PLAN_REPLICATE};
    const struct value *until = graph_value(g, first_output(g, last - 1));
    s->output = draw(seed, 4) == 0 ? PLAN_TO_ROOT : PLAN_STAY;
    s->mode = modes[draw(seed, 5)];
    s->board = (int)draw(seed, boards);
    if (any_unknown(g, first, last)) {
        s->mode = PLAN_LOCAL;
        s->board = 0;
    }
    if (s->mode == PLAN_TILE && shape_count(&until->shape) == 0)
        s->mode = PLAN_LOCAL;
    if (s->mode == PLAN_REPLICATE)
        s->output = PLAN_STAY;
    if (s->mode != PLAN_LOCAL)
        s->board = 0;
}

static bool add_segment(struct plan *p, const struct graph *g, int first, int last,
                        uint64_t *seed) {
    struct plan_segment *s = &p->segments[p->segment_count++];
    const struct value *until = graph_value(g, first_output(g, last - 1));
    *s = (struct plan_segment){.predicted_ms = -1, .predicted_wait_ms = -1};
    choose_mode(s, g, first, last, p->boards, seed);
    s->until = mem_strdup(until->name);
    if (s->mode == PLAN_TILE)
        s->split = random_split(value_rows(until), p->boards, seed);
    return s->until != NULL && (s->mode != PLAN_TILE || s->split != NULL);
}

struct plan *random_plan_make(const struct graph *g, int boards, uint64_t *seed) {
    struct plan *p = mem_zalloc(1, sizeof *p);
    struct cohort_error err;
    if (p == NULL)
        return NULL;
    int longest = 1 + (int)draw(seed, g->node_count < 12 ? g->node_count : 12);
    p->boards = boards;
    p->predicted_ms = -1;
    p->network = mem_strdup(g->name);
    p->strategy = mem_strdup("random");
    p->segments = mem_zalloc((size_t)g->node_count, sizeof *p->segments);
    bool ok = p->network != NULL && p->strategy != NULL && p->segments != NULL &&
              graph_signature(g, p->signature, &err) == COHORT_OK;
    for (int first = 0; ok && first < g->node_count;) {
        int last = first + 1 + (int)draw(seed, longest);
        last = last > g->node_count ? g->node_count : last;
        ok = add_segment(p, g, first, last, seed);
        first = last;
    }
    if (!ok)
        plan_destroy(&p);
    return p;
}
