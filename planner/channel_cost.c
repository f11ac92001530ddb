/* Slices of operators: which can be, what computing with them takes, and their weights; see
 * channel_cost.h.  channel_moves.c has what travels. */
#include "planner/channel_cost.h"

#include "base/mem.h"
#include "graph/op.h"
#include "planner/channels.h"

#include <math.h>
#include <string.h>

/* Of an operator's whole time: what it takes whatever it computes.  Where all operators are large
 * the least time of any says little. */
#define START_MOST 0.125

/* ---- what can be divided --------------------------------------------------------------------- */

static int64_t gcd(int64_t a, int64_t b) {
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The first channels of output 0 that node k could make, or of input 0 that it could add up. */
static struct channels first_part(const struct cost_model *m, int k, enum shard_mode mode) {
    const struct node *n = &m->g->nodes[k];
    if (mode == SHARD_ROWS)
        return (struct channels){0, 1};
    const int64_t count = m->values[mode == SHARD_IN ? n->in[0] : n->out[0]].channels;
    int64_t step = MAP_BLOCK;
    if (mode == SHARD_CHANNELWISE && n->group > 1 && count >= n->group)
        step = MAP_BLOCK / gcd(MAP_BLOCK, count / n->group) * (count / n->group);
    return (struct channels){0, step < count ? step : count};
}

/* *can: node k can be divided so.  Errors: memory. */
static enum cohort_code try_node(struct cost_model *m, struct shard *s, int k, enum shard_mode mode,
                                 bool *can, struct cohort_error *err) {
    const struct node *n = &m->g->nodes[k];
    const struct channels c = first_part(m, k, mode);
    struct cohort_error why = {0};
    int added;
    *can = false;
    if (mode != SHARD_ROWS && c.end < MAP_BLOCK)
        return COHORT_OK;
    enum cohort_code code = shard_divide(s, k, mode, c, &added, &why);
    if (code == COHORT_OK && (mode == SHARD_IN || mode == SHARD_ROWS))
        code =
            shard_finish(s, k, (struct channels){0, m->values[n->out[0]].channels}, &added, &why);
    *can = code == COHORT_OK;
    if (code == COHORT_OK || code == COHORT_ERR_PLAN)
        return COHORT_OK;
    *err = why;
    return code;
}

double channel_start_ms(const struct profile *p, int type) {
    const struct profile_type *t = &p->types[type];
    double least = INFINITY;
    for (int k = 0; k < p->node_count; k++)
        if (t->curve_of[k] >= 0 && t->curves[t->curve_of[k]].count > 0)
            least = fmin(least, t->curves[t->curve_of[k]].points[0].ms);
    return isfinite(least) ? least : 0;
}

enum cohort_code channel_fill(struct cost_model *m, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shard *s = NULL;
    for (int i = 0; i < m->g->value_count; i++)
        m->values[i].channels = shard_channels(m->g, i);
    m->starts = mem_zalloc((size_t)m->p->type_count, sizeof *m->starts);
    if (m->starts == NULL)
        return error_memory(err, (size_t)m->p->type_count * sizeof *m->starts, "a cost model");
    for (int t = 0; t < m->p->type_count; t++)
        m->starts[t] = channel_start_ms(m->p, t);
    TRY(shard_create(&s, m->g, err));
    for (int k = 0; k < m->g->node_count; k++) {
        const struct node *n = &m->g->nodes[k];
        struct cost_node *c = &m->nodes[k];
        if (n->out_count != 1 || n->out[0] < 0 || n->in_count < 1 || n->in[0] < 0 ||
            m->values[n->out[0]].channels == 0 || m->values[n->in[0]].channels == 0)
            continue;
        TRY(try_node(m, s, k, SHARD_OUT, &c->makes_channels, err));
        if (!c->makes_channels)
            TRY(try_node(m, s, k, SHARD_CHANNELWISE, &c->keeps_channels, err));
        TRY(try_node(m, s, k, SHARD_IN, &c->sums_channels, err));
        if (shard_rows(m->g, n->in[0]) > 0)
            TRY(try_node(m, s, k, SHARD_ROWS, &c->sums_rows, err));
    }
out:
    shard_destroy(&s);
    return code;
}

int channel_value(const struct cost_model *m, int first, int end, enum plan_mode mode) {
    return plan_adds_up(mode) ? m->g->nodes[first].in[0] : m->outputs[end - 1];
}

int64_t channel_count(const struct cost_model *m, int first, int end, enum plan_mode mode) {
    const int of = channel_value(m, first, end, mode);
    if (of < 0)
        return 0;
    return mode == PLAN_ROWS_GEMM ? m->values[of].rows : m->values[of].channels;
}

/* Does node k read input i whole, in this mode? */
static bool reads_whole(const struct cost_model *m, enum plan_mode mode, int k, int i) {
    const struct node *n = &m->g->nodes[k];
    if (plan_adds_up(mode))
        return mode == PLAN_ROWS_GEMM || i == n->epilogue.residual;
    if (mode == PLAN_OUT_CHANNEL && m->nodes[k].makes_channels)
        return i != n->epilogue.residual;
    return m->values[n->in[i]].channels == 1; /* for all of the output's */
}

enum channel_reads channel_reads(const struct cost_model *m, int first, int end,
                                 enum plan_mode mode, int id) {
    for (int k = first; k < end; k++)
        for (int i = 0; i < m->g->nodes[k].in_count; i++)
            if (m->g->nodes[k].in[i] == id && reads_whole(m, mode, k, i))
                return CHANNEL_READS_WHOLE;
    return CHANNEL_READS_EITHER;
}

/* Can node k be run in this mode behind nodes [first, k)? */
static bool fits(const struct cost_model *m, int first, enum plan_mode mode, int k) {
    const struct cost_node *c = &m->nodes[k];
    const struct node *n = &m->g->nodes[k];
    if (plan_adds_up(mode))
        return mode == PLAN_ROWS_GEMM ? c->sums_rows : c->sums_channels;
    if (!c->keeps_channels && !(mode == PLAN_OUT_CHANNEL && c->makes_channels))
        return false;
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] >= 0 && m->values[n->in[i]].producer >= first && reads_whole(m, mode, k, i))
            return false;
    return true;
}

/* The least common multiple of unit and what `count` channels for `of` need, so that some units are
 * whole multiples of `step` of them; 0: above `of`. */
static int64_t common_unit(int64_t unit, int64_t of, int64_t count, int64_t step) {
    const int64_t own = of * step / gcd(of * step, count);
    if (unit == 0 || own > of)
        return 0;
    const int64_t both = unit / gcd(unit, own) * own;
    return both <= of ? both : 0;
}

int64_t channel_unit(const struct cost_model *m, int first, int end, enum plan_mode mode) {
    if (plan_adds_up(mode) && end - first != 1)
        return 0;
    const int64_t count = channel_count(m, first, end, mode);
    int64_t unit = mode == PLAN_ROWS_GEMM ? 1 : MAP_BLOCK;
    for (int k = first; k < end && unit > 0; k++) {
        const struct node *n = &m->g->nodes[k];
        if (!fits(m, first, mode, k))
            return 0;
        if (plan_adds_up(mode))
            break;
        const int64_t out = m->values[n->out[0]].channels;
        unit = common_unit(unit, count, out, MAP_BLOCK);
        if (n->group > 1 && m->nodes[k].keeps_channels && out >= n->group) {
            const int64_t in = m->values[n->in[0]].channels;
            unit = common_unit(unit, count, out, out / n->group);
            unit = common_unit(unit, count, in, MAP_BLOCK);
        }
    }
    return unit > 0 && count / unit >= 2 ? unit : 0;
}

bool channel_scale_split(const struct cost_model *m, const struct channel_run *r, int id,
                         int64_t *scaled) {
    const int64_t of = channel_count(m, r->first, r->end, r->mode);
    const int64_t count = m->values[id].channels;
    for (int b = 0; b <= m->boards; b++) {
        if (of == 0 || r->split[b] * count % of != 0)
            return false;
        scaled[b] = r->split[b] * count / of;
    }
    return true;
}

/* ---- computing and weights ------------------------------------------------------------------- */

double channel_share(const struct cost_model *m, const struct channel_run *r, int b) {
    const int64_t of = channel_count(m, r->first, r->end, r->mode);
    return of > 0 ? (double)(r->split[b + 1] - r->split[b]) / (double)of : 0;
}

double channel_pass_ms(const struct profile *p, int board, double bytes) {
    const struct profile_board *b = &p->boards[board];
    return bytes * 1e-6 * p->types[b->type].encode_ms_per_mb * b->scale;
}

double channel_part_ms(const struct profile *p, int board, double start_ms, double whole_ms,
                       double share, double bytes) {
    if (!(whole_ms > 0) || !(share > 0))
        return 0;
    const double start = fmin(start_ms * p->boards[board].scale, START_MOST * whole_ms);
    return share * whole_ms + (1 - share) * (channel_pass_ms(p, board, bytes) + start);
}

/* What node k reads, or makes, all of, whatever its share of the channels. */
static double full_bytes(const struct cost_model *m, enum plan_mode mode, int k) {
    const struct node *n = &m->g->nodes[k];
    const bool made = plan_adds_up(mode);
    const struct cost_value *v = &m->values[made ? n->out[0] : n->in[0]];
    if (!made && (mode != PLAN_OUT_CHANNEL || !m->nodes[k].makes_channels))
        return 0;
    return (double)v->rows * v->row_bytes;
}

double channel_ms(const struct cost_model *m, const struct channel_run *r, int b) {
    const double share = channel_share(m, r, b);
    double ms = 0;
    for (int k = r->first; k < r->end && share > 0; k++)
        ms += channel_part_ms(m->p, b, m->starts[m->p->boards[b].type],
                              cost_op_ms(m, b, k, r->end, m->nodes[k].rows), share,
                              full_bytes(m, r->mode, k));
    return ms;
}

/* The sum is read and written, and the residual read. */
double channel_finish_pass(double bytes, bool residual) {
    return residual ? 1.5 * bytes : bytes;
}

double channel_finish_ms(const struct cost_model *m, const struct channel_run *r, int b) {
    if (!plan_adds_up(r->mode) || (b != 0 && r->output != PLAN_TO_ALL))
        return 0;
    const struct cost_value *v = &m->values[m->outputs[r->end - 1]];
    return channel_pass_ms(m->p, b,
                           channel_finish_pass((double)v->rows * v->row_bytes,
                                               m->g->nodes[r->first].epilogue.residual >= 0));
}

double channel_weight_bytes(const struct cost_model *m, const struct channel_run *r, int b) {
    double bytes = 0;
    for (int k = r->first; k < r->end; k++)
        bytes += cost_weight_bytes(m, b, k);
    return channel_share(m, r, b) * bytes;
}

/* ---- shares ---------------------------------------------------------------------------------- */

/* Board b's time for so many channels more. */
struct rate {
    double fixed, each;
};

static struct rate rate_of(const struct cost_model *m, int first, int end, enum plan_mode mode,
                           int b, double extra) {
    const int64_t of = channel_count(m, first, end, mode);
    struct rate r = {0, extra};
    for (int k = first; k < end; k++) {
        const double all = cost_op_ms(m, b, k, end, m->nodes[k].rows);
        const double fixed = channel_part_ms(m->p, b, m->starts[m->p->boards[b].type], all, 1e-9,
                                             full_bytes(m, mode, k));
        r.fixed += fixed;
        r.each += (all - fixed) / (double)of;
    }
    return r;
}

/* Each unit goes to the board that would have it done first, which makes the slowest one's time the
 * least: times rise with channels. */
enum cohort_code channel_minimax(const struct cost_model *m, int first, int end,
                                 enum plan_mode mode, const bool *who, const double *extra,
                                 int64_t *split, struct cohort_error *err) {
    const int64_t of = channel_count(m, first, end, mode);
    const int64_t unit = channel_unit(m, first, end, mode), units = unit > 0 ? of / unit : 0;
    struct rate *rates = mem_zalloc((size_t)m->boards, sizeof *rates);
    BUG_UNLESS(units > 0);
    if (rates == NULL)
        return error_memory(err, (size_t)m->boards * sizeof *rates, "a split");
    int last = 0;
    for (int b = 0; b < m->boards; b++)
        rates[b] = rate_of(m, first, end, mode, b, extra != NULL ? extra[b] : 0);
    memset(split, 0, ((size_t)m->boards + 1) * sizeof *split);
    for (int64_t i = 0; i < units; i++) {
        double soonest = INFINITY;
        int best = -1;
        for (int b = 0; b < m->boards; b++) {
            const double done =
                rates[b].fixed + rates[b].each * (double)((split[b + 1] + 1) * unit);
            if (who[b] && done < soonest) {
                soonest = done;
                best = b;
            }
        }
        best = best < 0 ? 0 : best;
        split[best + 1]++;
        last = best > last ? best : last;
    }
    for (int b = 0; b < m->boards; b++)
        split[b + 1] = b < last ? split[b] + split[b + 1] * unit : of;
    mem_free(rates);
    return COHORT_OK;
}
