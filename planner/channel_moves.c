/* What travels before and behind segments by channels: stage by stage as src/comm/layouts.c has it,
 * which tests/unit/test_channel_cost.c holds it against. */
#include "planner/channel_cost.h"

#include "planner/channels.h"

#define LINE_BYTES 64 /* shares of a sum are whole lines of the cache */

/* ---- before ---------------------------------------------------------------------------------- */

/* The rows of input i of node k that board b needs. */
static struct rows needs(const struct cost_model *m, const struct channel_run *r, int k, int i,
                         int b) {
    const struct node *n = &m->g->nodes[k];
    const bool behind = plan_adds_up(r->mode) && i == n->epilogue.residual;
    if (behind ? b != 0 && r->output != PLAN_TO_ALL : r->split[b + 1] <= r->split[b])
        return (struct rows){0, 0};
    if (r->mode == PLAN_ROWS_GEMM && !behind)
        return (struct rows){r->split[b], r->split[b + 1]};
    return (struct rows){0, m->values[n->in[i]].rows};
}

struct rows channel_needs(const struct cost_model *m, const struct channel_run *r, int id, int b) {
    struct rows rows = {0, 0}; /* the same for all that read it, or none */
    for (int k = r->first; k < r->end && rows_empty(rows); k++)
        for (int i = 0; i < m->g->nodes[k].in_count && rows_empty(rows); i++)
            if (m->g->nodes[k].in[i] == id)
                rows = needs(m, r, k, i, b);
    return rows;
}

/* Is input i of node k the first place that reads an input of the segment? */
static bool is_first(const struct cost_model *m, const struct channel_run *r, int k, int i) {
    const int id = m->g->nodes[k].in[i];
    if (id < 0 || m->values[id].constant || m->values[id].producer >= r->first)
        return false;
    for (int j = r->first; j <= k; j++)
        for (int h = 0; h < (j < k ? m->g->nodes[j].in_count : i); h++)
            if (m->g->nodes[j].in[h] == id)
                return false;
    return true;
}

void channel_traffic_in(struct traffic *t, const struct channel_run *r,
                        const struct layout *where) {
    const struct cost_model *m = t->m;
    for (int k = r->first; k < r->end; k++)
        for (int i = 0; i < m->g->nodes[k].in_count; i++) {
            const int id = m->g->nodes[k].in[i];
            for (int b = 0; is_first(m, r, k, i) && b < m->boards; b++) {
                const struct rows rows = channel_needs(m, r, id, b);
                if (!rows_empty(rows))
                    traffic_add(t, id, &where[id], b, rows);
            }
        }
}

/* ---- behind: bytes --------------------------------------------------------------------------- */

static double whole_bytes(const struct cost_model *m, int id) {
    return (double)m->values[id].rows * m->values[id].row_bytes;
}

double channel_bytes(const struct cost_model *m, int id, struct channels c) {
    const int64_t count = m->values[id].channels, block = MAP_BLOCK;
    if (c.begin >= c.end || count == 0)
        return 0;
    const bool blocked = graph_value(m->g, id)->form == FORM_MAP && count >= block;
    const int64_t lanes = blocked ? (count + block - 1) / block * block : count;
    const int64_t end = blocked ? (c.end + block - 1) / block * block : c.end;
    return whole_bytes(m, id) * (double)(end - c.begin) / (double)lanes;
}

double channel_run_bytes(const struct cost_model *m, const struct channel_run *r, int id, int b) {
    const int64_t of = m->values[channel_value(m, r->first, r->end, r->mode)].channels;
    const int64_t count = m->values[id].channels;
    const struct channels c = {r->split[b] * count / of, r->split[b + 1] * count / of};
    return channel_bytes(m, id, c);
}

double channel_copy_bytes(const struct cost_model *m, const struct channel_run *r, int b) {
    const int64_t rows = r->split[b + 1] - r->split[b];
    if (r->mode != PLAN_ROWS_GEMM || rows == r->split[m->boards])
        return 0;
    return (double)rows * m->values[channel_value(m, r->first, r->end, r->mode)].row_bytes;
}

static bool has_share(const struct channel_move *v, int b) {
    return v->split[b + 1] > v->split[b];
}

static double own_bytes(const struct cost_model *m, const struct channel_move *v, int b) {
    return channel_bytes(m, v->value, (struct channels){v->split[b], v->split[b + 1]});
}

/* Even shares of a sum. */
static double sum_share(const struct cost_model *m, const struct channel_move *v, int b) {
    const int64_t bytes = (int64_t)whole_bytes(m, v->value), lines = bytes / LINE_BYTES;
    const int64_t begin = lines * b / m->boards * LINE_BYTES;
    const int64_t end = b == m->boards - 1 ? bytes : lines * (b + 1) / m->boards * LINE_BYTES;
    return (double)(end - begin);
}

/* Has any of `count` boards from `first` on an addend? */
static bool any_gives(const struct cost_model *m, const struct channel_move *v, int first,
                      int count) {
    for (int i = 0; i < count; i++)
        if (has_share(v, (first + i) % m->boards))
            return true;
    return false;
}

/* ---- behind: stages -------------------------------------------------------------------------- */

/* In shares, which go on to whoever wants the sum when they were added up. */
static bool in_shares(const struct channel_move *v) {
    return v->to_all || v->route != PLAN_ROUTE_LINEAR;
}

/* Stages of the route, in which everything is gathered, or shares are added up. */
static int route_stages(int boards, enum plan_route route) {
    int doublings = 0;
    for (int d = 1; d < boards; d *= 2)
        doublings++;
    return route == PLAN_ROUTE_RING ? boards - 1 : route == PLAN_ROUTE_HALVING ? doublings : 1;
}

int channel_stages(const struct cost_model *m, const struct channel_move *v) {
    const int stages = route_stages(m->boards, v->route);
    if (m->boards < 2)
        return 0;
    if (!v->sum)
        return v->to_all ? stages : 1;
    if (!in_shares(v))
        return 1;
    return stages + (v->to_all ? stages : 1);
}

/* Everything that boards have of it straight to whoever wants it. */
static void spread(struct traffic *t, const struct channel_move *v) {
    const int n = t->m->boards;
    for (int k = 1; k < n; k++)
        for (int from = 0; from < n; from++) {
            const int to = (from + k) % n;
            if (to == 0 || v->to_all)
                traffic_add_bytes(t, from, to,
                                  v->sum ? sum_share(t->m, v, from) : own_bytes(t->m, v, from));
        }
}

/* Every board passes on what it got in the stage before. */
static void gather_round(struct traffic *t, const struct channel_move *v, int stage) {
    const int n = t->m->boards;
    for (int b = 0; b < n; b++) {
        const int of = (b + n - stage) % n;
        traffic_add_bytes(t, b, (b + 1) % n,
                          v->sum ? sum_share(t->m, v, of) : own_bytes(t->m, v, of));
    }
}

/* The stage with distance d moves so many boards' parts; the longest distance. */
static int parts_moved(int boards, int d) {
    return d < boards - d ? d : boards - d;
}
static int longest_distance(int boards) {
    return boards < 2 ? 0 : 1 << (route_stages(boards, PLAN_ROUTE_HALVING) - 1);
}

/* Every board sends what it has, from its own part on, to the board d before it. */
static void gather_doubling(struct traffic *t, const struct channel_move *v, int stage) {
    const int n = t->m->boards, d = 1 << stage;
    for (int b = 0; b < n; b++) {
        double bytes = 0;
        for (int i = 0; i < parts_moved(n, d); i++) {
            const int of = (b + i) % n;
            bytes += v->sum ? sum_share(t->m, v, of) : own_bytes(t->m, v, of);
        }
        traffic_add_bytes(t, b, (b + n - d) % n, bytes);
    }
}

/* Has board b, before the stage with distance d, an addend of that share, or a sum of some? */
static bool any_sum(const struct cost_model *m, const struct channel_move *v, int b, int share,
                    int d) {
    const int n = m->boards;
    if (has_share(v, b))
        return true;
    for (int before = 2 * d; before <= longest_distance(n); before *= 2)
        if ((share - b + n) % n < parts_moved(n, before) &&
            any_sum(m, v, (b + n - before) % n, share, before))
            return true;
    return false;
}

/* What board b gets of the stage's shares. */
static double halved_bytes(const struct cost_model *m, const struct channel_move *v, int b, int d) {
    const int n = m->boards, from = (b + n - d) % n;
    double bytes = 0;
    for (int i = 0; i < parts_moved(n, d); i++) {
        const int share = (b + i) % n;
        if (any_sum(m, v, from, share, d))
            bytes += sum_share(m, v, share);
    }
    return bytes;
}

/* From the longest distance down every board sends the board d behind it what it has of its shares
 * and of those that that one passes on. */
static void reduce_halving(struct traffic *t, const struct channel_move *v, int stage) {
    const int n = t->m->boards, d = longest_distance(n) >> stage;
    for (int b = 0; b < n; b++)
        traffic_add_bytes(t, (b + n - d) % n, b, halved_bytes(t->m, v, b, d));
}

/* Every board's addends of others' shares straight to them. */
static void reduce(struct traffic *t, const struct channel_move *v) {
    const int n = t->m->boards;
    for (int k = 1; k < n; k++)
        for (int from = 0; from < n; from++) {
            const int to = (from + k) % n;
            if (has_share(v, from) && (in_shares(v) || to == 0))
                traffic_add_bytes(t, from, to,
                                  in_shares(v) ? sum_share(t->m, v, to)
                                               : whole_bytes(t->m, v->value));
        }
}

/* The share that board b sends in this stage: those before it added theirs. */
static int round_share(int boards, int b, int stage) {
    return (b + 2 * boards - stage - 1) % boards;
}

static void reduce_round(struct traffic *t, const struct channel_move *v, int stage) {
    const int n = t->m->boards;
    for (int b = 0; b < n; b++) {
        const int share = round_share(n, b, stage);
        if (any_gives(t->m, v, share + 1, stage + 1))
            traffic_add_bytes(t, b, (b + 1) % n, sum_share(t->m, v, share));
    }
}

void channel_stage(struct traffic *t, const struct channel_move *v, int stage) {
    const int n = t->m->boards;
    const int reducing = !v->sum ? 0 : in_shares(v) ? route_stages(n, v->route) : 1;
    traffic_clear(t, -1, 0);
    if (stage < reducing && v->route == PLAN_ROUTE_RING)
        reduce_round(t, v, stage);
    else if (stage < reducing && v->route == PLAN_ROUTE_HALVING)
        reduce_halving(t, v, stage);
    else if (stage < reducing)
        reduce(t, v);
    else if (v->route == PLAN_ROUTE_RING && v->to_all)
        gather_round(t, v, stage - reducing);
    else if (v->route == PLAN_ROUTE_HALVING && v->to_all)
        gather_doubling(t, v, stage - reducing);
    else
        spread(t, v);
}

/* ---- behind: adding and copying -------------------------------------------------------------- */

/* Linear: what came of `bytes` bytes is added in the boards' order, in memory of its own. */
static double add_all(const struct cost_model *m, const struct channel_move *v, double bytes) {
    int addends = 0;
    for (int b = 0; b < m->boards; b++)
        addends += has_share(v, b);
    return bytes * (addends + 1); /* copied from the first board's, and to where the sum goes */
}

double channel_stage_ms(const struct cost_model *m, const struct channel_move *v, int stage,
                        int b) {
    const int n = m->boards;
    const bool ring = v->route == PLAN_ROUTE_RING;
    double bytes = 0;
    if (!v->sum) /* its own share, to the others */
        bytes = stage == 0 && (b == 0 || v->to_all) ? own_bytes(m, v, b) : 0;
    else if (!in_shares(v))
        bytes = b == 0 ? add_all(m, v, whole_bytes(m, v->value)) : 0;
    else if (v->route == PLAN_ROUTE_HALVING)
        bytes = longest_distance(n) >> stage > 0
                    ? halved_bytes(m, v, b, longest_distance(n) >> stage)
                    : 0;
    else if (!ring && stage == 0)
        bytes = add_all(m, v, sum_share(m, v, b));
    else if (ring && stage < n - 1 && has_share(v, b))
        bytes = sum_share(m, v, round_share(n, b, stage + 1)) * (stage == n - 2 ? 2 : 1);
    return channel_pass_ms(m->p, b, bytes);
}

double channel_buffer_bytes(const struct cost_model *m, const struct channel_move *v, int b) {
    const int n = m->boards;
    const double own = sum_share(m, v, b);
    double bytes = 0;
    if (!v->sum || n < 2)
        return 0;
    if (v->route ==
        PLAN_ROUTE_LINEAR) { /* each addend of what it adds up; its own is one of them */
        for (int k = 0; k < n; k++)
            bytes += !has_share(v, k) ? 0 : v->to_all ? own : b == 0 ? whole_bytes(m, v->value) : 0;
        return bytes;
    }
    if (v->route == PLAN_ROUTE_HALVING) /* what comes; sums, on a board that has no addend */
        return whole_bytes(m, v->value) * (v->to_all || b == 0 || has_share(v, b) ? 1 : 2);
    for (int stage = 1; stage < n; stage++) /* what comes */
        bytes += sum_share(m, v, round_share(n, b, stage));
    return bytes + (v->to_all || b == 0 ? 0 : own); /* and the sum, where only the root wants it */
}

double channel_move_ms(struct traffic *t, const struct channel_move *v) {
    const int stages = channel_stages(t->m, v);
    double ms = 0;
    for (int stage = 0; stage < stages; stage++) {
        double adding = 0;
        channel_stage(t, v, stage);
        for (int b = 0; b < t->m->boards; b++) {
            const double own = channel_stage_ms(t->m, v, stage, b);
            adding = own > adding ? own : adding;
        }
        ms += traffic_ms(t) + adding;
    }
    return ms;
}

double channel_best_ms(struct traffic *t, struct channel_move *v) {
    double ms[PLAN_ROUTES];
    for (int route = PLAN_ROUTE_LINEAR; route < PLAN_ROUTES; route++) {
        v->route = (enum plan_route)route;
        ms[route] = channel_move_ms(t, v);
    }
    v->route = channel_best_route(ms);
    return ms[v->route];
}

enum plan_route channel_best_route(const double ms[PLAN_ROUTES]) {
    enum plan_route best = PLAN_ROUTE_LINEAR;
    for (int route = PLAN_ROUTE_LINEAR + 1; route < PLAN_ROUTES; route++)
        if (ms[route] < CHANNEL_ROUTE_SHARE * ms[PLAN_ROUTE_LINEAR] && ms[route] < ms[best])
            best = (enum plan_route)route;
    return best;
}
