/* Groups that are scattered and gathered; see groups.h. */
#include "planner/groups.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>

#define EVERY_SIZE 8     /* all numbers of boards up to here */
#define SHARES_OFF 0.001 /* shares that differ by no more than that are the same rows */

int cost_sizes(const struct cost_model *m, int *sizes) {
    int count = 0, next = 1;
    for (int n = 1; n <= m->usable_count; n++) {
        const bool slower =
            n < m->usable_count && m->speed[m->order[n]] < m->speed[m->order[n - 1]] * 0.999;
        if (n <= EVERY_SIZE || n >= next || slower || n == m->usable_count) {
            sizes[count++] = n;
            next = n + n / 2;
        }
    }
    return count;
}

/* ---- life ----------------------------------------------------------------------------------- */

void grouping_destroy(struct grouping **gg) {
    struct grouping *g = *gg;
    if (g == NULL)
        return;
    cuts_destroy(&g->cuts);
    mem_free(g->ms);
    mem_free(g->boards);
    mem_free(g->begin);
    mem_free(g->best);
    mem_free(g);
    *gg = NULL;
}

enum cohort_code grouping_create(struct grouping **out, const struct cost_model *m,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct grouping *g = mem_zalloc(1, sizeof *g);
    if (g == NULL)
        return error_memory(err, sizeof *g, "a search for groups");
    g->m = m;
    TRY(cuts_create(&g->cuts, m, 1, err));
    g->n = g->cuts->count - 1;
    const size_t n = (size_t)g->n + 1;
    g->ms = mem_alloc(n * n * sizeof *g->ms);
    g->boards = mem_zalloc(n * n, sizeof *g->boards);
    g->begin = mem_zalloc(n, sizeof *g->begin);
    g->best = mem_zalloc(n + 1, sizeof *g->best);
    if (g->ms == NULL || g->boards == NULL || g->begin == NULL || g->best == NULL) {
        code = error_memory(err, n * n * sizeof *g->ms, "a search for groups");
        goto out;
    }
    for (size_t i = 0; i < n * n; i++)
        g->ms[i] = INFINITY;
    *out = g;
    g = NULL;
out:
    grouping_destroy(&g);
    return code;
}

/* ---- what a group costs --------------------------------------------------------------------- */

/* Scratch of entering. */
struct entering {
    struct grouping *g;
    struct demand d;
    struct traffic t;
    struct layout *root, *made; /* where the group's inputs lie, and its outputs */
    const int *measured; /* [i * n + j]: the profile's group, -1: none; NULL: by the cost model */
    int64_t *split, *splits; /* splits: of each tensor that goes on */
};

/* Time of gathering what goes over the cut behind unit j; values that are on the root stay. */
static double gather_ms(struct entering *e, int j, int until) {
    const struct cost_model *m = e->g->m;
    const struct cuts *c = e->g->cuts;
    traffic_clear(&e->t, until, 1);
    for (int k = c->first[j + 1]; k < c->first[j + 2]; k++) {
        const int id = c->live[k];
        if (m->values[id].producer < c->at[j]) /* made before: gathered by then */
            continue;
        int64_t *split = e->splits + (size_t)(k - c->first[j + 1]) * ((size_t)m->boards + 1);
        cost_scale_split(m, until, e->split, id, split);
        e->made[id] = (struct layout){.kind = LAYOUT_ROWS, .split = split};
        traffic_add(&e->t, id, &e->made[id], 0, (struct rows){0, m->values[id].rows});
    }
    return transition_wait_ms(&e->t, e->made, NULL, e->d.need);
}

/* The slowest board's computing of units i to j, to which e->d has come; INFINITY: unknown. */
static double compute_ms(const struct entering *e, int i, int j) {
    const struct cost_model *m = e->g->m;
    double most = 0;
    if (e->measured != NULL) {
        const int group = e->measured[i * e->g->n + j];
        return group < 0 ? INFINITY : m->p->groups->list[group].ms;
    }
    for (int b = 0; b < m->boards; b++)
        most = fmax(most, e->d.ms[b]);
    return most;
}

/* All groups that end with unit j. */
static enum cohort_code enter_ending(struct entering *e, int j, int count, const bool *who,
                                     struct cohort_error *err) {
    struct grouping *g = e->g;
    const struct cost_model *m = g->m;
    const struct cuts *c = g->cuts;
    const int end = c->at[j + 1], until = m->outputs[end - 1];
    const enum cohort_code code = cost_proportional(m, until, who, e->split, err);
    if (code != COHORT_OK)
        return code;
    const double gather = gather_ms(e, j, until);
    demand_begin(&e->d, end, until, e->split);
    for (int i = j; i >= 0 && c->wide[i]; i--) {
        while (e->d.at > c->at[i])
            demand_step(&e->d);
        traffic_clear(&e->t, -1, 0);
        traffic_add_all(&e->t, c->live + c->first[i], c->first[i + 1] - c->first[i], e->root,
                        e->d.need);
        const struct overlap w = {c->at[i], end, cost_heavy(m, c->at[i], end)};
        const double ms =
            gather + compute_ms(e, i, j) + transition_wait_ms(&e->t, e->root, &w, e->d.need);
        if (ms < g->ms[i * g->n + j]) {
            g->ms[i * g->n + j] = ms;
            g->boards[i * g->n + j] = count;
        }
    }
    return COHORT_OK;
}

static enum cohort_code enter(struct grouping *g, int count, const int *measured,
                              struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const size_t boards = (size_t)g->m->boards, values = (size_t)g->m->g->value_count + 1;
    struct entering e = {.g = g, .measured = measured};
    size_t widest = 0;
    for (int i = 0; i < g->cuts->count; i++) {
        const size_t live = (size_t)(g->cuts->first[i + 1] - g->cuts->first[i]);
        widest = live > widest ? live : widest;
    }
    bool *who = mem_zalloc(boards, sizeof *who);
    e.root = mem_zalloc(values, sizeof *e.root);
    e.made = mem_zalloc(values, sizeof *e.made);
    e.split = mem_zalloc(boards + 1, sizeof *e.split);
    e.splits = mem_zalloc((widest + 1) * (boards + 1), sizeof *e.splits);
    if (who == NULL || e.root == NULL || e.made == NULL || e.split == NULL || e.splits == NULL) {
        code = error_memory(err, values * sizeof *e.root, "a search for groups");
        goto out;
    }
    TRY(demand_init(&e.d, g->m, err));
    TRY(traffic_init(&e.t, g->m, err));
    cost_fastest(g->m, count, who);
    for (int j = 0; j < g->n; j++)
        if (g->cuts->wide[j])
            TRY(enter_ending(&e, j, count, who, err));
out:
    traffic_release(&e.t);
    demand_release(&e.d);
    mem_free(e.splits);
    mem_free(e.split);
    mem_free(e.made);
    mem_free(e.root);
    mem_free(who);
    return code;
}

enum cohort_code grouping_enter(struct grouping *g, int count, struct cohort_error *err) {
    return enter(g, count, NULL, err);
}

/* ---- what was measured ---------------------------------------------------------------------- */

void cost_shares(const struct cost_model *m, double *shares) {
    double sum = 0;
    for (int b = 0; b < m->boards; b++)
        sum += m->usable[b] ? m->speed[b] : 0;
    for (int b = 0; b < m->boards; b++)
        shares[b] = m->usable[b] && sum > 0 ? m->speed[b] / sum : 0;
}

bool grouping_is_measured(const struct cost_model *m, char why[GROUPING_WHY_BYTES]) {
    const struct profile_groups *g = m->p->groups;
    double sum = 0, off = 0;
    for (int b = 0; b < m->boards; b++)
        sum += m->usable[b] ? m->speed[b] : 0;
    for (int b = 0; g != NULL && b < m->p->board_count; b++) {
        const double share = b < m->boards && m->usable[b] && sum > 0 ? m->speed[b] / sum : 0;
        off = fmax(off, fabs(share - g->shares[b]));
    }
    if (why != NULL && g == NULL)
        snprintf(why, GROUPING_WHY_BYTES, "the profile has no measured groups");
    else if (why != NULL)
        snprintf(why, GROUPING_WHY_BYTES,
                 "the profile's groups were measured with other shares of the rows (other boards, "
                 "speeds, or --root)");
    return g != NULL && off <= SHARES_OFF;
}

/* The unit that begins (ends) at that node; -1 when none does. */
static int unit_at(const struct cuts *c, int node) {
    for (int i = 0; i < c->count; i++)
        if (c->at[i] == node)
            return i;
    return -1;
}

enum cohort_code grouping_enter_measured(struct grouping *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct profile_groups *measured = g->m->p->groups;
    const size_t n = (size_t)g->n + 1;
    int *index = mem_alloc(n * n * sizeof *index);
    if (index == NULL)
        return error_memory(err, n * n * sizeof *index, "a search for groups");
    for (size_t i = 0; i < n * n; i++)
        index[i] = -1;
    for (int k = 0; k < measured->count; k++) {
        const int i = unit_at(g->cuts, measured->list[k].first);
        const int j = unit_at(g->cuts, measured->list[k].last) - 1;
        if (i >= 0 && j >= i) /* else it ends where several tensors go on: not in this space */
            index[i * g->n + j] = k;
    }
    for (int u = 0; u < g->n; u++)
        if (g->cuts->wide[u] && index[u * g->n + u] < 0) {
            code = error_set(err, COHORT_ERR_PLAN,
                             "the profile lacks the time of operators %d to %d as a group",
                             g->cuts->at[u], g->cuts->at[u + 1] - 1);
            goto out;
        }
    TRY(enter(g, g->m->usable_count, index, err));
out:
    mem_free(index);
    return code;
}

void grouping_enter_local(struct grouping *g) {
    const int home = strategy_home(g->m);
    for (int u = 0; u < g->n; u++)
        if (!g->cuts->wide[u]) {
            g->ms[u * g->n + u] = cost_whole_ms(g->m, home, g->cuts->at[u], g->cuts->at[u + 1]);
            g->boards[u * g->n + u] = 0;
        }
}

/* ---- the search ----------------------------------------------------------------------------- */

void grouping_solve(struct grouping *g, long *states) {
    g->best[0] = 0;
    for (int j = 0; j < g->n; j++) {
        g->best[j + 1] = INFINITY;
        g->begin[j] = -1;
        for (int i = j; i >= 0; i--) {
            const double ms = g->best[i] + g->ms[i * g->n + j];
            if (ms < g->best[j + 1]) {
                g->best[j + 1] = ms;
                g->begin[j] = i;
            }
            (*states)++;
        }
    }
}

/* Groups from the one that begins the network to the one that ends with unit j. */
static enum cohort_code plan_to(const struct grouping *g, struct strategy_run *run, int j,
                                int64_t *split, bool *who, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct cost_model *m = g->m;
    const int i = g->begin[j], count = g->boards[i * g->n + j], end = g->cuts->at[j + 1];
    if (i > 0)
        TRY(plan_to(g, run, i - 1, split, who, err));
    if (count > 0) {
        cost_fastest(m, count, who);
        TRY(cost_proportional(m, m->outputs[end - 1], who, split, err));
    }
    TRY(strategy_add(run, end, count > 0 ? PLAN_TILE : PLAN_LOCAL, PLAN_TO_ROOT, strategy_home(m),
                     split, err));
out:
    return code;
}

enum cohort_code grouping_plan(const struct grouping *g, struct strategy_run *run,
                               struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t *split = mem_zalloc((size_t)g->m->boards + 1, sizeof *split);
    bool *who = mem_zalloc((size_t)g->m->boards, sizeof *who);
    if (split == NULL || who == NULL) {
        code = error_memory(err, ((size_t)g->m->boards + 1) * sizeof *split, "a split");
        goto out;
    }
    if (g->n > 0)
        TRY(plan_to(g, run, g->n - 1, split, who, err));
out:
    mem_free(who);
    mem_free(split);
    return code;
}
