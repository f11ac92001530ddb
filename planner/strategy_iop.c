/* iop (Interleaved Operator Partitioning, arXiv 2409.07693): pairs of operators that sum over
 * channels, the first divided by its output's channels, the second by the same channels of its
 * input, with pools and activations between them divided likewise.  Nothing travels inside a pair;
 * behind it one sum is made.
 *
 * Greedy from front to back: a pair is taken where the delay that it saves against running its
 * operators unpaired is positive and, where the second operator might begin a pair of its own, no
 * less than what that one would save.  Unpaired operators run as coedge's rows, or
 * (planner_options.unpaired) out-channel, each joined on every board.  Delays are sums of steps, so
 * set-ups count for each transfer.  What planner/channels.h cannot divide stays in rows. */
#include "planner/channel_cost.h"
#include "planner/groups.h"
#include "planner/replay.h"
#include "planner/strategy.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

/* Operators [first, end), in a pair or not. */
struct piece {
    int first, end;
    int middle; /* a pair's second operator is node `middle` = end - 1; -1: no pair */
    enum plan_mode mode;
    enum plan_output output; /* of what ends it */
    double ms;               /* until it has ended, from where its inputs lie */
    int64_t *split;          /* of channels; borrowed */
};

struct interleaving {
    struct strategy_run *run;
    const struct cost_model *m;
    struct plan *rows;    /* coedge's plan */
    int *segment;         /* per node: of that plan */
    double *rows_ms;      /* per node: what it adds to coedge's sum of steps, … */
    double *arrival_ms;   /* … of that waiting for its inputs */
    int *until;           /* per node: the last one of the pair that begins here, else -1 */
    struct layout *where; /* per value: when unpaired operators made it, and for those of pairs that
                             were taken as these leave it */
    int64_t *splits;      /* coedge's of every value, [value * (boards + 1) + …] */
    struct traffic t;
    bool *who;
    int *sizes;
    int64_t
        *split[4]; /* of the pair at hand, of its rival, of what it would be unpaired, scratch */
};

/* ---- coedge's rows --------------------------------------------------------------------------- */

static enum cohort_code plan_rows(struct interleaving *x, struct cohort_error *err) {
    struct strategy_run run = {.m = x->m, .options = x->run->options};
    enum cohort_code code = plan_create(&run.plan, x->m, "coedge", err);
    if (code == COHORT_OK)
        code = strategy_coedge(&run, err);
    x->rows = run.plan;
    mem_free(run.notes);
    return code;
}

/* Where a node's outputs lie when coedge has made them. */
static void place_rows(struct interleaving *x, int node, const struct plan_segment *s) {
    const struct cost_model *m = x->m;
    for (int i = 0; i < m->g->nodes[node].out_count; i++) {
        const int id = m->g->nodes[node].out[i];
        if (id < 0)
            continue;
        if (s->mode != PLAN_TILE) {
            x->where[id] = (struct layout){.kind = LAYOUT_AT, .board = s->board};
            continue;
        }
        int64_t *split = x->splits + (size_t)id * ((size_t)m->boards + 1);
        cost_scale_split(m, m->outputs[node], s->split, id, split);
        x->where[id] = (struct layout){.kind = LAYOUT_ROWS, .split = split};
    }
}

/* What every node adds to the sum of steps: its segment's wait, and its own computing. */
static enum cohort_code cost_rows(struct interleaving *x, struct cohort_error *err) {
    const struct cost_model *m = x->m;
    struct replay r;
    enum cohort_code code = replay_begin(&r, m, x->rows, true, err);
    if (code != COHORT_OK)
        return code;
    for (enum replay_kind k = replay_next(&r); k != REPLAY_END; k = replay_next(&r)) {
        if (k != REPLAY_IN)
            continue;
        const struct plan_segment *s = &x->rows->segments[r.segment];
        x->arrival_ms[r.first] = transition_wait_ms(&r.t, r.where, replay_window(&r, k), r.w.need);
        for (int node = r.first; node < r.end; node++) {
            double ms = 0;
            for (int b = 0; s->mode == PLAN_TILE && b < m->boards; b++)
                ms = fmax(ms, r.w.ms[b]);
            x->segment[node] = r.segment;
            x->rows_ms[node] =
                x->arrival_ms[node] +
                (s->mode == PLAN_TILE ? ms : cost_node_ms(m, s->board, node, m->nodes[node].rows));
            place_rows(x, node, s);
        }
    }
    code = replay_code(&r, err);
    replay_release(&r);
    return code;
}

/* ---- what may be a pair ---------------------------------------------------------------------- */

static bool divides(const struct cost_model *m, int first, int end, enum plan_mode mode) {
    return channel_unit(m, first, end, mode) > 0;
}

/* Does it sum over channels, and can its output's be divided? */
static bool is_dense(const struct cost_model *m, int node) {
    return divides(m, node, node + 1, PLAN_OUT_CHANNEL) &&
           !divides(m, node, node + 1, PLAN_CHANNELWISE);
}

/* Are the outputs of nodes [first, end) read up to node `last` and no further? */
static bool stays_inside(const struct cost_model *m, int first, int end, int last) {
    for (int k = first; k < end; k++)
        for (int i = 0; i < m->g->nodes[k].out_count; i++)
            if (m->g->nodes[k].out[i] >= 0 && m->values[m->g->nodes[k].out[i]].last_use > last)
                return false;
    return true;
}

/* One past the last operator that can be divided together with the one that sums, which is node
 * `first`; values between them are read by nobody else. */
static int run_end(const struct cost_model *m, int first) {
    int end = first + 1;
    while (end < m->g->node_count && divides(m, end, end + 1, PLAN_CHANNELWISE) &&
           divides(m, first, end + 1, PLAN_OUT_CHANNEL) && stays_inside(m, first, end, end))
        end++;
    return end;
}

/* Does the operator behind the run read of it only what it adds up by channels? */
static bool adds_up(const struct cost_model *m, int first, int node) {
    const struct node *n = &m->g->nodes[node];
    if (!divides(m, node, node + 1, PLAN_IN_CHANNEL) ||
        channel_value(m, node, node + 1, PLAN_IN_CHANNEL) != m->outputs[node - 1])
        return false;
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] >= 0 && m->values[n->in[i]].producer >= first &&
            channel_reads(m, node, node + 1, PLAN_IN_CHANNEL, n->in[i]) != CHANNEL_READS_EITHER)
            return false;
    return true;
}

static void find_pairs(struct interleaving *x) {
    const struct cost_model *m = x->m;
    for (int k = 0; k < m->g->node_count; k++) {
        x->until[k] = -1;
        if (!is_dense(m, k))
            continue;
        const int end = run_end(m, k);
        if (end < m->g->node_count && adds_up(m, k, end) && stays_inside(m, k, end, end))
            x->until[k] = end;
    }
}

/* ---- what a piece costs ---------------------------------------------------------------------- */

/* A segment's slowest board. */
static double computed_ms(const struct interleaving *x, const struct channel_run *r) {
    double most = 0;
    for (int b = 0; b < x->m->boards; b++)
        most = fmax(most, channel_ms(x->m, r, b));
    return most;
}

/* Waiting for its inputs. */
static double arrival_ms(struct interleaving *x, const struct channel_run *r) {
    traffic_clear(&x->t, -1, 0);
    channel_traffic_in(&x->t, r, x->where);
    return transition_wait_ms(&x->t, x->where, NULL, NULL);
}

/* Putting together or adding up what it made. */
static double joined_ms(struct interleaving *x, const struct channel_run *r) {
    struct channel_move v = {.value = x->m->outputs[r->end - 1],
                             .sum = r->mode == PLAN_IN_CHANNEL,
                             .to_all = r->output == PLAN_TO_ALL,
                             .split = r->split};
    double finish = 0;
    for (int b = 0; b < x->m->boards; b++)
        finish = fmax(finish, channel_finish_ms(x->m, r, b));
    return channel_best_ms(&x->t, &v) + finish;
}

/* Whole on every board for those that divide rows, else on the root: who runs what cannot be
 * divided is there. */
static enum plan_output output_of(const struct interleaving *x, int end) {
    const struct cost_model *m = x->m;
    const bool out = x->run->options->unpaired == PLANNER_UNPAIRED_OUT_CHANNEL;
    if (end == m->g->node_count)
        return PLAN_TO_ROOT;
    return m->nodes[end].wide || (out && divides(m, end, end + 1, PLAN_OUT_CHANNEL)) ? PLAN_TO_ALL
                                                                                     : PLAN_TO_ROOT;
}

static struct layout placed(enum plan_output output) {
    return (struct layout){.kind = output == PLAN_TO_ALL ? LAYOUT_REPLICATED : LAYOUT_AT};
}

static bool in_units(const struct cost_model *m, const int64_t *split, int64_t unit) {
    for (int b = 0; b < m->boards; b++)
        if (split[b] % unit != 0 && split[b] != split[m->boards])
            return false;
    return true;
}

/* Among several boards? */
static bool is_divided(const struct cost_model *m, const int64_t *split) {
    int shares = 0;
    for (int b = 0; b < m->boards; b++)
        shares += split[b + 1] > split[b];
    return shares > 1;
}

/* The piece by this split: the slowest boards' computing, and what is waited for. */
static void cost_piece(struct interleaving *x, const struct piece *p, const int64_t *split,
                       double *compute_ms, double *moved_ms) {
    struct channel_run r = {.first = p->first,
                            .end = p->middle >= 0 ? p->middle : p->end,
                            .mode = PLAN_OUT_CHANNEL,
                            .split = split,
                            .output = p->middle >= 0 ? PLAN_STAY : p->output};
    *compute_ms = computed_ms(x, &r);
    *moved_ms = arrival_ms(x, &r);
    if (p->middle < 0) {
        *moved_ms += joined_ms(x, &r);
        return;
    }
    const int id = x->m->outputs[p->middle - 1];
    const struct layout before = x->where[id];
    x->where[id] = (struct layout){.kind = LAYOUT_CHANNELS, .split = split};
    r.first = p->middle;
    r.end = p->end;
    r.mode = PLAN_IN_CHANNEL;
    r.output = p->output;
    *compute_ms += computed_ms(x, &r);
    *moved_ms += arrival_ms(x, &r) + joined_ms(x, &r);
    x->where[id] = before;
}

/* What all boards would take together, if anything could be divided anyhow. */
static double ideal_ms(const struct cost_model *m, const struct piece *p) {
    double speed = 0;
    for (int i = 0; i < m->usable_count; i++)
        speed += 1 / fmax(1e-9, cost_whole_ms(m, m->order[i], p->first, p->end));
    return 1 / speed;
}

/* The best split of a piece among several boards, for which shares are found by the measured speed
 * of one of its operators and of so many boards; into p.  The more boards, the more travels, so
 * more are left out when that alone is too much; without a split that takes less than `limit`, ms
 * is INFINITY. */
static enum cohort_code divide(struct interleaving *x, struct piece *p, double limit,
                               struct cohort_error *err) {
    const struct cost_model *m = x->m;
    enum cohort_code code = COHORT_OK;
    const size_t bytes = ((size_t)m->boards + 1) * sizeof *p->split;
    const int sizes = cost_sizes(m, x->sizes), end = p->middle >= 0 ? p->middle : p->end;
    const int64_t unit = p->middle >= 0 ? channel_unit(m, p->middle, p->end, PLAN_IN_CHANNEL) : 1;
    const double ideal = ideal_ms(m, p);
    double moved = 0;
    p->ms = INFINITY;
    for (int i = 0; i < sizes && ideal + moved < fmin(limit, p->ms); i++)
        for (int second = 0; second < (p->middle >= 0 ? 2 : 1) && x->sizes[i] > 1; second++) {
            double ms;
            cost_fastest(m, x->sizes[i], x->who);
            if (second)
                TRY(channel_minimax(m, p->middle, p->end, PLAN_IN_CHANNEL, x->who, NULL,
                                    x->split[3], err));
            else
                TRY(channel_minimax(m, p->first, end, PLAN_OUT_CHANNEL, x->who, NULL, x->split[3],
                                    err));
            if (!is_divided(m, x->split[3]) || !in_units(m, x->split[3], unit) ||
                !in_units(m, x->split[3], channel_unit(m, p->first, end, PLAN_OUT_CHANNEL)))
                continue;
            cost_piece(x, p, x->split[3], &ms, &moved);
            if (ms + moved < fmin(limit, p->ms)) {
                p->ms = ms + moved;
                memcpy(p->split, x->split[3], bytes);
            }
        }
out:
    return code;
}

/* What unpaired operators leave divided by rows or, out-channel, joined. */
static void place_joined(struct interleaving *x) {
    const struct cost_model *m = x->m;
    for (int k = 0; k < m->g->node_count; k++)
        if (is_dense(m, k)) {
            const int end = run_end(m, k);
            x->where[m->outputs[end - 1]] = placed(output_of(x, end));
        }
}

/* ---- the greedy walk ------------------------------------------------------------------------- */

/* The unpaired piece that begins with a node. */
static enum cohort_code unpaired(struct interleaving *x, int first, int64_t *split, struct piece *p,
                                 struct cohort_error *err) {
    const struct cost_model *m = x->m;
    *p = (struct piece){.first = first,
                        .end = first + 1,
                        .middle = -1,
                        .mode = PLAN_TILE,
                        .ms = x->rows_ms[first],
                        .split = split};
    if (x->run->options->unpaired != PLANNER_UNPAIRED_OUT_CHANNEL || !is_dense(m, first))
        return COHORT_OK;
    struct piece whole = {.first = first,
                          .end = run_end(m, first),
                          .middle = -1,
                          .mode = PLAN_OUT_CHANNEL,
                          .split = split};
    whole.output = output_of(x, whole.end);
    const enum cohort_code code = divide(x, &whole, INFINITY, err);
    if (code == COHORT_OK && whole.ms < INFINITY)
        *p = whole;
    return code;
}

/* What nodes [first, end) take unpaired. */
static enum cohort_code unpaired_ms(struct interleaving *x, int first, int end, double *ms,
                                    struct cohort_error *err) {
    *ms = 0;
    for (int k = first; k < end;) {
        struct piece p;
        const enum cohort_code code = unpaired(x, k, x->split[2], &p, err);
        if (code != COHORT_OK)
            return code;
        *ms += p.ms;
        k = p.end;
    }
    return COHORT_OK;
}

/* The pair that begins with a node, and what it saves; 0: there is none, or none that does. */
static enum cohort_code paired(struct interleaving *x, int first, int64_t *split, struct piece *p,
                               double *saves, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct cost_model *m = x->m;
    double alone;
    *saves = 0;
    if (first >= m->g->node_count || x->until[first] < 0)
        return COHORT_OK;
    *p = (struct piece){.first = first,
                        .end = x->until[first] + 1,
                        .middle = x->until[first],
                        .mode = PLAN_IN_CHANNEL,
                        .output = output_of(x, x->until[first] + 1),
                        .split = split};
    TRY(unpaired_ms(x, first, p->end, &alone, err));
    if (p->output == PLAN_TO_ALL && p->end < m->g->node_count)
        alone += x->arrival_ms[p->end]; /* what coedge would wait for then is on every board */
    TRY(divide(x, p, alone, err));
    *saves = fmax(0, alone - p->ms);
out:
    return code;
}

static enum cohort_code add_rows(struct interleaving *x, int node, struct cohort_error *err) {
    const struct plan_segment *s = &x->rows->segments[x->segment[node]];
    return strategy_add(x->run, node + 1, s->mode, PLAN_STAY, s->board, s->split, err);
}

static enum cohort_code add_piece(struct interleaving *x, const struct piece *p,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (p->mode == PLAN_TILE)
        return add_rows(x, p->first, err);
    if (p->middle >= 0)
        TRY(strategy_add(x->run, p->middle, PLAN_OUT_CHANNEL, PLAN_STAY, 0, p->split, err));
    TRY(strategy_add(x->run, p->end, p->mode, p->output, 0, p->split, err));
    x->where[x->m->outputs[p->end - 1]] = placed(p->output);
out:
    return code;
}

static enum cohort_code walk(struct interleaving *x, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int pairs = 0, possible = 0;
    double saved = 0;
    for (int k = 0; k < x->m->g->node_count;) {
        struct piece p, rival;
        double saves, lost;
        possible += x->until[k] >= 0;
        TRY(paired(x, k, x->split[0], &p, &saves, err));
        TRY(paired(x, saves > 0 ? x->until[k] : x->m->g->node_count, x->split[1], &rival, &lost,
                   err));
        if (saves > 0 && saves >= lost) {
            pairs++;
            saved += saves;
        } else {
            TRY(unpaired(x, k, x->split[0], &p, err));
        }
        TRY(add_piece(x, &p, err));
        for (k++; k < p.end; k++)
            possible += x->until[k] >= 0;
    }
    TRY(strategy_note(x->run, err,
                      "%d of %d pairs of operators taken, which save %.3f ms by the "
                      "sum of steps",
                      pairs, possible, saved));
out:
    return code;
}

/* ---- together -------------------------------------------------------------------------------- */

static void release(struct interleaving *x) {
    plan_destroy(&x->rows);
    traffic_release(&x->t);
    mem_free(x->segment);
    mem_free(x->rows_ms);
    mem_free(x->arrival_ms);
    mem_free(x->until);
    mem_free(x->where);
    mem_free(x->splits);
    mem_free(x->who);
    mem_free(x->sizes);
    for (int i = 0; i < 4; i++)
        mem_free(x->split[i]);
}

static enum cohort_code prepare(struct interleaving *x, struct cohort_error *err) {
    const struct cost_model *m = x->m;
    const size_t nodes = (size_t)m->g->node_count + 1, values = (size_t)m->g->value_count + 1;
    const size_t boards = (size_t)m->boards;
    enum cohort_code code = COHORT_OK;
    x->segment = mem_zalloc(nodes, sizeof *x->segment);
    x->rows_ms = mem_zalloc(nodes, sizeof *x->rows_ms);
    x->arrival_ms = mem_zalloc(nodes, sizeof *x->arrival_ms);
    x->until = mem_zalloc(nodes, sizeof *x->until);
    x->where = mem_zalloc(values, sizeof *x->where); /* AT(0) */
    x->splits = mem_zalloc(values * (boards + 1), sizeof *x->splits);
    x->who = mem_zalloc(boards, sizeof *x->who);
    x->sizes = mem_zalloc(boards, sizeof *x->sizes);
    bool ok = true;
    for (int i = 0; i < 4; i++) {
        x->split[i] = mem_zalloc(boards + 1, sizeof *x->split[i]);
        ok = ok && x->split[i] != NULL;
    }
    if (!ok || x->segment == NULL || x->rows_ms == NULL || x->arrival_ms == NULL ||
        x->until == NULL || x->where == NULL || x->splits == NULL || x->who == NULL ||
        x->sizes == NULL)
        code = error_memory(err, values * boards * sizeof *x->splits, "pairs of operators");
    return code == COHORT_OK ? traffic_init(&x->t, m, err) : code;
}

enum cohort_code strategy_iop(struct strategy_run *run, struct cohort_error *err) {
    struct interleaving x = {.run = run, .m = run->m};
    enum cohort_code code = COHORT_OK;
    if (run->m->boards == 1) /* nothing to interleave */
        return strategy_coedge(run, err);
    TRY(prepare(&x, err));
    TRY(plan_rows(&x, err));
    TRY(cost_rows(&x, err));
    if (run->options->unpaired == PLANNER_UNPAIRED_OUT_CHANNEL)
        place_joined(&x);
    find_pairs(&x);
    TRY(walk(&x, err));
out:
    release(&x);
    return code;
}
