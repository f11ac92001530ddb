/* coedge (Zeng et al., CoEdge, ToN 2021): every operator that can be divided is a segment of its
 * own, rows stay where they are, and boards exchange halos.  Shares are in proportion to speed; a
 * board whose share is less than the halo that its neighbours read is dropped, so that a halo never
 * reaches beyond the next board. */
#include "planner/strategy.h"

#include "base/mem.h"

#include <string.h>

/* Rows beyond its own that an output row reads, at most, of any input. */
static int64_t halo_of(const struct node *n) {
    int64_t halo = 0;
    for (int i = 0; i < n->in_count; i++) {
        const struct rowmap *r = &n->rowmap[i];
        if (n->in[i] < 0 || r->kind != ROWMAP_AFFINE || r->num <= 0)
            continue;
        const int64_t above = (-r->lo + r->den - 1) / r->den;
        const int64_t below = (r->hi - r->num + r->den) / r->den;
        halo = above > halo ? above : halo;
        halo = below > halo ? below : halo;
    }
    return halo;
}

/* The participant with the fewest rows, of equal ones the slowest; -1 when all have enough. */
static int too_small(const struct cost_model *m, const bool *who, const int64_t *split,
                     int64_t least) {
    int worst = -1;
    for (int i = m->usable_count - 1; i >= 0; i--) {
        const int b = m->order[i];
        const int64_t rows = split[b + 1] - split[b];
        if (who[b] && rows < least && (worst < 0 || rows < split[worst + 1] - split[worst]))
            worst = b;
    }
    return worst;
}

/* At least one board stays. */
static enum cohort_code share_out(const struct cost_model *m, int node, bool *who, int64_t *split,
                                  struct cohort_error *err) {
    const int64_t halo = halo_of(&m->g->nodes[node]);
    int left = m->usable_count;
    memcpy(who, m->usable, (size_t)m->boards * sizeof *who);
    for (;;) {
        const enum cohort_code code = cost_proportional(m, m->outputs[node], who, split, err);
        if (code != COHORT_OK)
            return code;
        const int drop = left > 1 ? too_small(m, who, split, halo > 1 ? halo : 1) : -1;
        if (drop < 0)
            return COHORT_OK;
        who[drop] = false;
        left--;
    }
}

enum cohort_code strategy_coedge(struct strategy_run *run, struct cohort_error *err) {
    const struct cost_model *m = run->m;
    enum cohort_code code = COHORT_OK;
    int64_t *split = mem_zalloc((size_t)m->boards + 1, sizeof *split);
    bool *who = mem_zalloc((size_t)m->boards, sizeof *who);
    if (split == NULL || who == NULL) {
        code = error_memory(err, ((size_t)m->boards + 1) * sizeof *split, "a split");
        goto out;
    }
    for (int k = 0; k < m->g->node_count; k++) {
        if (m->nodes[k].wide)
            TRY(share_out(m, k, who, split, err));
        TRY(strategy_add(run, k + 1, m->nodes[k].wide ? PLAN_TILE : PLAN_LOCAL, PLAN_STAY,
                         strategy_home(m), split, err));
    }
out:
    mem_free(who);
    mem_free(split);
    return code;
}
