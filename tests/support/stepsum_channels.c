/* The sum of steps of segments by channels; see stepsum.h. */
#include "tests/support/stepsum_parts.h"

#include "base/mem.h"
#include "graph/op.h"
#include "graph/shard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* ---- computing ------------------------------------------------------------------------------- */

static int64_t lanes(const struct stepsum *s, int id, int64_t channels) {
    const struct value *v = graph_value(s->g, id);
    return v->form == FORM_MAP ? (channels + 15) / 16 * 16 : channels;
}

static double pass_ms(const struct stepsum *s, int b, double bytes) {
    const struct profile_board *board = &s->p->boards[b];
    return bytes / 1e6 * s->p->types[board->type].encode_ms_per_mb * board->scale;
}

/* Do boards make addends? */
static bool sums(const struct plan_segment *g) {
    return g->mode == PLAN_IN_CHANNEL || g->mode == PLAN_ROWS_GEMM;
}

/* The least that any operator takes on a board. */
static double start_ms(const struct stepsum *s, int b) {
    const struct profile_board *board = &s->p->boards[b];
    const struct profile_type *t = &s->p->types[board->type];
    double least = INFINITY;
    for (int k = 0; k < s->g->node_count; k++)
        if (t->curve_of[k] >= 0)
            least = fmin(least, t->curves[t->curve_of[k]].points[0].ms);
    return isfinite(least) ? board->scale * least : 0;
}

/* Is it a convolution of one group or a product, and not grouped, a pool or elementwise? */
static bool is_dense(const struct node *n) {
    return n->group <= 1 &&
           (strstr(n->op->name, "Conv") != NULL || strcmp(n->op->name, "Gemm") == 0 ||
            strcmp(n->op->name, "MatMul") == 0);
}

static double part_ms(const struct stepsum *s, int end, const struct plan_segment *g, int k,
                      double share, int b) {
    const struct node *n = &s->g->nodes[k];
    const double whole = (k + 1 < end ? profile_chained_ms
                                      : profile_node_ms)(s->p, b, k, stepsum_rows_of(s, n->out[0]));
    double full = 0;
    if (share <= 0 || whole <= 0)
        return 0;
    if (sums(g))
        full = stepsum_all_bytes(s, n->out[0]);
    else if (g->mode == PLAN_OUT_CHANNEL && is_dense(n))
        full = stepsum_all_bytes(s, n->in[0]);
    return share * whole + (1 - share) * (pass_ms(s, b, full) + fmin(start_ms(s, b), whole / 8));
}

/* ---- behind it ------------------------------------------------------------------------------- */

/* One stage of a join or sum, and the longest that a board adds and copies (bytes, each board's).
 */
static void end_stage(struct stepsum *s, struct stepsum_move *m, const double *added) {
    double most = 0;
    for (int b = 0; b < s->boards; b++)
        most = fmax(most, pass_ms(s, b, added[b]));
    s->ms += stepsum_port_ms(s, m) + most;
    stepsum_move_end(m);
}

static void send_bytes(const struct stepsum *s, struct stepsum_move *m, int from, int to,
                       double bytes) {
    if (from != to)
        m->bytes[from * s->boards + to] += bytes;
}

/* part[b] of something goes to everybody, or to board 0; added: as above, of the first stage. */
static void hand_out(struct stepsum *s, const double *part, bool all, bool ring,
                     const double *added) {
    const double nothing[64] = {0};
    const int n = s->boards;
    for (int stage = 0; stage < (ring && all ? n - 1 : 1); stage++) {
        struct stepsum_move m;
        stepsum_move_begin(s, &m);
        for (int b = 0; b < n; b++)
            for (int to = 0; to < n; to++) {
                if (ring && all && to == (b + 1) % n)
                    send_bytes(s, &m, b, to, part[(b - stage + n) % n]);
                else if (!(ring && all) && (all || to == 0))
                    send_bytes(s, &m, b, to, part[b]);
            }
        end_stage(s, &m, stage == 0 ? added : nothing);
    }
}

/* From `from`, is `to` d boards away, or up to twice as many? */
static bool is_away(int n, int from, int to, int d) {
    const int away = (to - from + n) % n;
    return away >= d && away < 2 * d;
}

/* By doubling: what a board lacks comes from the board as far behind it as the greatest power of
 * two in its distance from the owner. */
static void hand_out_doubling(struct stepsum *s, const double *part, const double *added) {
    const double nothing[64] = {0};
    const int n = s->boards;
    for (int d = 1; d < n; d *= 2) {
        struct stepsum_move m;
        stepsum_move_begin(s, &m);
        for (int b = 0; b < n; b++)
            for (int i = 0; i < n; i++)
                if (is_away(n, b, i, d))
                    send_bytes(s, &m, (b + d) % n, b, part[i]);
        end_stage(s, &m, d == 1 ? added : nothing);
    }
}

/* The same backwards, sums instead of copies. */
static void add_up_halving(struct stepsum *s, const double *share, const bool *gives) {
    const int n = s->boards;
    bool has[64][64] = {{false}};
    int d = 1;
    for (int b = 0; b < n; b++)
        for (int i = 0; i < n; i++)
            has[b][i] = gives[b];
    while (2 * d < n)
        d *= 2;
    for (; d > 0; d /= 2) {
        struct stepsum_move m;
        double added[64] = {0};
        stepsum_move_begin(s, &m);
        for (int b = 0; b < n; b++)
            for (int i = 0; i < n; i++) {
                const int to = (b + d) % n;
                if (!is_away(n, b, i, d) || !has[b][i])
                    continue;
                send_bytes(s, &m, b, to, share[i]);
                added[to] += share[i];
                has[to][i] = true;
            }
        end_stage(s, &m, added);
    }
}

static void add_up_ring(struct stepsum *s, const double *share, const bool *gives) {
    const int n = s->boards;
    bool has[64][64] = {{false}}; /* board, share: any addend of it is there */
    for (int b = 0; b < n; b++)
        for (int i = 0; i < n; i++)
            has[b][i] = gives[b];
    for (int stage = 0; stage < n - 1; stage++) {
        struct stepsum_move m;
        double added[64] = {0};
        bool came[64] = {false};
        stepsum_move_begin(s, &m);
        for (int b = 0; b < n; b++) {
            const int i = (b - stage - 1 + 2 * n) % n;
            if (has[b][i])
                send_bytes(s, &m, b, (b + 1) % n, share[i]);
            came[(b + 1) % n] = has[b][i];
        }
        for (int b = 0; b < n; b++) {
            const int i = (b - stage - 2 + 2 * n) % n;
            has[b][i] = has[b][i] || came[b];
            added[b] = gives[b] ? share[i] * (stage == n - 2 ? 2 : 1) : 0;
        }
        end_stage(s, &m, added);
    }
    for (int b = 0; b < n; b++)
        assert_true(has[b][b]);
}

static void add_up_straight(struct stepsum *s, const double *share, const bool *gives) {
    struct stepsum_move m;
    double added[64] = {0};
    stepsum_move_begin(s, &m);
    for (int b = 0; b < s->boards; b++)
        for (int to = 0; to < s->boards; to++) {
            send_bytes(s, &m, b, to, gives[b] ? share[to] : 0);
            added[to] += gives[b] ? share[to] : 0;
        }
    for (int b = 0; b < s->boards; b++)
        added[b] += share[b];
    end_stage(s, &m, added);
}

/* The output of the segment, on its way to board 0 or to all. */
static void bring_together(struct stepsum *s, const struct plan_segment *g, int of, int id) {
    const bool ring = g->route == PLAN_ROUTE_RING, all = g->output == PLAN_TO_ALL;
    const bool halving = g->route == PLAN_ROUTE_HALVING;
    const int64_t channels = shard_channels(s->g, of), count = shard_channels(s->g, id);
    const int n = s->boards;
    const double whole = stepsum_all_bytes(s, id);
    double part[64] = {0}, none[64] = {0}, own[64] = {0};
    bool gives[64];
    for (int b = 0; b < n; b++) {
        const int64_t lines = (int64_t)whole / 64;
        gives[b] = g->split[b + 1] > g->split[b];
        if (sums(g) && (all || ring || halving)) /* even shares */
            part[b] = b == n - 1 ? whole - (double)(lines * b / n * 64)
                                 : (double)((lines * (b + 1) / n - lines * b / n) * 64);
        else if (sums(g))
            part[b] = b == 0 ? whole : 0;
        else
            part[b] = whole *
                      (double)(lanes(s, id, g->split[b + 1] * count / channels) -
                               lanes(s, id, g->split[b] * count / channels)) /
                      (double)lanes(s, id, count);
        own[b] = all || b == 0 ? part[b] : 0;
    }
    if (!sums(g)) {
        if (halving && all)
            hand_out_doubling(s, part, own);
        else
            hand_out(s, part, all, ring, own);
        return;
    }
    if (halving)
        add_up_halving(s, part, gives);
    else
        (ring ? add_up_ring : add_up_straight)(s, part, gives);
    if (halving && all)
        hand_out_doubling(s, part, none);
    else if (all || ring || halving)
        hand_out(s, part, all, ring, none);
    const struct node *node = &s->g->nodes[s->node];
    double longest = 0;
    for (int b = 0; b < (all ? n : 1); b++)
        longest = fmax(longest, pass_ms(s, b, whole * (node->epilogue.residual >= 0 ? 1.5 : 1)));
    s->ms += longest;
}

/* ---- a segment ------------------------------------------------------------------------------- */

/* Boards with a share need everything that is not divided, or their rows of it, but for a residual
 * behind a sum, which those need who get the sum. */
static struct rows needs(const struct stepsum *s, int end, const struct plan_segment *g, int id,
                         int b) {
    const struct rows all = {0, stepsum_rows_of(s, id)};
    for (int k = s->node; k < end; k++)
        for (int i = 0; i < s->g->nodes[k].in_count; i++) {
            const bool behind = sums(g) && i == s->g->nodes[k].epilogue.residual;
            if (s->g->nodes[k].in[i] != id ||
                !(behind ? b == 0 || g->output == PLAN_TO_ALL : g->split[b + 1] > g->split[b]))
                continue;
            return g->mode == PLAN_ROWS_GEMM && !behind
                       ? (struct rows){g->split[b], g->split[b + 1]}
                       : all;
        }
    return (struct rows){0, 0};
}

/* The split in channels of another value than the one that it is of; false: not whole. */
static bool scaled(const struct stepsum *s, const struct plan_segment *g, int of, int id,
                   int64_t *split) {
    const int64_t from = shard_channels(s->g, of), to = shard_channels(s->g, id);
    for (int b = 0; b <= s->boards; b++) {
        if (from == 0 || g->split[b] * to % from != 0)
            return false;
        split[b] = g->split[b] * to / from;
    }
    return true;
}

/* What lies divided has to be read so: by no operator that needs all of it. */
static void check_divided(struct stepsum *s, int end, const struct plan_segment *g, int of,
                          const int *ins, int count) {
    int64_t split[65];
    for (int i = 0; i < count; i++) {
        if (!stepsum_is_divided(s, ins[i]))
            continue;
        s->broken = s->broken || !scaled(s, g, of, ins[i], split) ||
                    memcmp(split, stepsum_split_of(s, ins[i]),
                           ((size_t)s->boards + 1) * sizeof *split) != 0;
        s->broken = s->broken || g->mode == PLAN_ROWS_GEMM;
        for (int k = s->node; k < end && g->mode == PLAN_OUT_CHANNEL; k++)
            for (int j = 0; j < s->g->nodes[k].in_count; j++)
                s->broken =
                    s->broken || (s->g->nodes[k].in[j] == ins[i] && is_dense(&s->g->nodes[k]));
    }
}

/* Memory of board b while node k of a segment by channels runs. */
static double channel_bytes_at(const struct stepsum *s, int end, const struct plan_segment *g,
                               double share, int b, int k) {
    const bool gets = g->output == PLAN_TO_ALL || (g->output == PLAN_TO_ROOT && b == 0);
    double bytes = stepsum_divided_bytes(s, end, b, k);
    for (int id = 0; id < s->g->value_count; id++) {
        const struct value *v = graph_value(s->g, id);
        const bool inside = v->producer >= s->node;
        const int last = inside && stepsum_last_reader(s->g, id) < 0
                             ? v->producer
                             : stepsum_last_reader(s->g, id);
        const bool leaves = last >= end || (inside && stepsum_is_output(s->g, id));
        if (v->is_constant || v->producer > k || stepsum_is_divided(s, id) ||
            (!leaves && k > last) || (b == 0 && stepsum_is_input(s->g, id)))
            continue;
        if (!inside) {
            const struct rows need = needs(s, end, g, id, b);
            const struct rows has = rows_hull(need, *stepsum_own_of(s, id, b));
            bytes += s->everywhere[id] ? stepsum_all_bytes(s, id)
                                       : (double)rows_count(has) * stepsum_row_bytes(s, id);
            if (g->mode == PLAN_ROWS_GEMM && id == s->g->nodes[k].in[0] && share < 1)
                bytes += (double)rows_count(need) * stepsum_row_bytes(s, id); /* copied */
            continue;
        }
        const bool sum = sums(g);
        if (share > 0 && (sum || !stepsum_in_strips(s, end, id, last, b)))
            bytes += stepsum_all_bytes(s, id) * (sum ? 1 : share);
        if (leaves && gets && k == end - 1 &&
            !(b == 0 && stepsum_is_output(s->g, id))) /* in its place */
            bytes += stepsum_all_bytes(s, id);
    }
    return bytes;
}

static double share_of(const struct stepsum *s, const struct plan_segment *g, int of, int b) {
    const int64_t all =
        g->mode == PLAN_ROWS_GEMM ? stepsum_rows_of(s, of) : shard_channels(s->g, of);
    return (double)(g->split[b + 1] - g->split[b]) / (double)all;
}

static void count_channels(struct stepsum *s, int end, const struct plan_segment *g, int of) {
    for (int b = 0; b < s->boards; b++) {
        const double share = share_of(s, g, of, b);
        double weights = 0;
        for (int k = s->node; k < end; k++) {
            const struct node *n = &s->g->nodes[k];
            s->alive[b] = fmax(s->alive[b], channel_bytes_at(s, end, g, share, b, k));
            for (int i = 0; i < n->in_count; i++)
                if (n->in[i] >= 0 && graph_value(s->g, n->in[i])->is_constant)
                    weights += 4 * (double)shape_count(&graph_value(s->g, n->in[i])->shape);
        }
        s->weights[b] += share * weights;
    }
}

void stepsum_channels(struct stepsum *s, int end, const struct plan_segment *g) {
    int *ins = NULL, *outs = NULL, in_count = 0, out_count = 0;
    struct stepsum_move m;
    double slowest = 0;
    const int of = sums(g) ? s->g->nodes[s->node].in[0] : s->g->nodes[end - 1].out[0];
    assert_true(s->boards <= 64);
    assert_int_equal(segment_inputs(s->g, s->node, end, &ins, &in_count, NULL), COHORT_OK);
    assert_int_equal(segment_outputs(s->g, s->node, end, &outs, &out_count, NULL), COHORT_OK);
    check_divided(s, end, g, of, ins, in_count);
    count_channels(s, end, g, of);
    stepsum_move_begin(s, &m);
    for (int b = 0; b < s->boards; b++) {
        const double share = share_of(s, g, of, b);
        double ms = 0;
        for (int k = s->node; k < end; k++)
            ms += part_ms(s, end, g, k, share, b);
        slowest = fmax(slowest, ms);
        for (int i = 0; i < in_count; i++) /* nobody has all rows of what is divided */
            stepsum_want(s, &m, ins[i], b, needs(s, end, g, ins[i], b));
    }
    s->ms += stepsum_exposed_ms(s, &m, end, NULL) + slowest;
    stepsum_move_end(&m);
    for (int i = 0; i < out_count; i++) {
        s->everywhere[outs[i]] = g->output == PLAN_TO_ALL;
        for (int b = 0; b < s->boards; b++)
            *stepsum_own_of(s, outs[i], b) = (struct rows){
                0, g->output == PLAN_TO_ROOT && b == 0 ? stepsum_rows_of(s, outs[i]) : 0};
        if (g->output != PLAN_STAY)
            bring_together(s, g, of, outs[i]);
        else
            s->broken = s->broken || stepsum_is_output(s->g, outs[i]) ||
                        !scaled(s, g, of, outs[i], stepsum_split_of(s, outs[i]));
    }
    s->last = -1;
    s->first = s->node;
    s->tiled = false;
    s->node = end;
    mem_free(ins);
    mem_free(outs);
}
