/* The sum of steps, plainly; see stepsum.h. */
#include "tests/support/stepsum.h"

#include "base/mem.h"
#include "graph/op.h"
#include "graph/shard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static int64_t *split_of(const struct stepsum *s, int id) {
    return &s->divided[(size_t)id * ((size_t)s->boards + 1)];
}

static bool is_divided(const struct stepsum *s, int id) {
    return split_of(s, id)[s->boards] > 0;
}

static int64_t rows_of(const struct stepsum *s, int id) {
    return value_rows(graph_value(s->g, id));
}

static struct rows *own_of(const struct stepsum *s, int id, int b) {
    return &s->own[(size_t)id * (size_t)s->boards + (size_t)b];
}

void stepsum_begin(struct stepsum *s, const struct graph *g, const struct profile *p, int boards) {
    *s = (struct stepsum){.g = g, .p = p, .boards = boards, .last = -1};
    s->own = mem_zalloc((size_t)g->value_count * (size_t)boards, sizeof *s->own);
    s->everywhere = mem_zalloc((size_t)g->value_count, sizeof *s->everywhere);
    s->divided = mem_zalloc((size_t)g->value_count, ((size_t)boards + 1) * sizeof *s->divided);
    s->weights = mem_zalloc((size_t)boards, sizeof *s->weights);
    s->alive = mem_zalloc((size_t)boards, sizeof *s->alive);
    assert_true(s->own != NULL && s->everywhere != NULL && s->divided != NULL &&
                s->weights != NULL && s->alive != NULL);
    for (int i = 0; i < g->input_count; i++)
        *own_of(s, g->inputs[i], 0) = (struct rows){0, rows_of(s, g->inputs[i])};
}

void stepsum_copy(struct stepsum *to, const struct stepsum *from) {
    const size_t values = (size_t)from->g->value_count, boards = (size_t)from->boards;
    *to = *from;
    to->own = mem_alloc(values * boards * sizeof *to->own);
    to->everywhere = mem_alloc(values * sizeof *to->everywhere);
    to->divided = mem_alloc(values * (boards + 1) * sizeof *to->divided);
    to->weights = mem_alloc(boards * sizeof *to->weights);
    to->alive = mem_alloc(boards * sizeof *to->alive);
    assert_true(to->own != NULL && to->everywhere != NULL && to->divided != NULL &&
                to->weights != NULL && to->alive != NULL);
    memcpy(to->weights, from->weights, boards * sizeof *to->weights);
    memcpy(to->alive, from->alive, boards * sizeof *to->alive);
    memcpy(to->own, from->own, values * boards * sizeof *to->own);
    memcpy(to->everywhere, from->everywhere, values * sizeof *to->everywhere);
    memcpy(to->divided, from->divided, values * (boards + 1) * sizeof *to->divided);
}

void stepsum_end(struct stepsum *s) {
    mem_free(s->own);
    mem_free(s->everywhere);
    mem_free(s->divided);
    mem_free(s->weights);
    mem_free(s->alive);
}

/* ---- what travels --------------------------------------------------------------------------- */

struct move {
    double *bytes; /* [from * boards + to] */
    int64_t *sent; /* rows of s->last, per board */
};

static bool holds(struct rows r, int64_t y) {
    return y >= r.begin && y < r.end;
}

/* Board b wants rows of a value. */
static void want(const struct stepsum *s, struct move *m, int id, int b, struct rows rows) {
    const double row = (double)value_geometry(graph_value(s->g, id)).row_bytes;
    for (int64_t y = rows.begin; y < rows.end && !s->everywhere[id]; y++) {
        if (holds(*own_of(s, id, b), y))
            continue;
        for (int p = 0; p < s->boards; p++)
            if (holds(*own_of(s, id, p), y)) {
                m->bytes[p * s->boards + b] += row;
                m->sent[p] += id == s->last;
            }
    }
}

static double latency(const struct profile_curve *c) {
    const double slope = (c->points[1].ms - c->points[0].ms) / (c->points[1].x - c->points[0].x);
    return fmin(c->points[0].ms, fmax(0, c->points[0].ms - slope * c->points[0].x));
}

static double port_ms(const struct stepsum *s, const struct move *m) {
    const int n = s->boards;
    double port = 0, longest = 0;
    int receivers = 0, senders = 0;
    for (int b = 1; b < n; b++) {
        receivers += m->bytes[b] > 0;
        senders += m->bytes[b * n] > 0;
    }
    for (int a = 0; a < n; a++) {
        double out = 0, in = 0;
        bool receives = false;
        for (int b = 0; b < n; b++) {
            for (int way = 0; way < 2; way++) {
                const int from = way == 0 ? a : b, to = way == 0 ? b : a;
                const double bytes = m->bytes[from * n + to];
                if (!(bytes > 0))
                    continue;
                const double begin = latency(&s->p->links[s->p->link_of[from * n + to]]);
                double ms = fmax(0, profile_link_ms(s->p, from, to, bytes) - begin);
                if (from == 0 && receivers > 1)
                    ms *= s->p->scatter_factor;
                if (to == 0 && senders > 1)
                    ms *= s->p->gather_factor;
                *(way == 0 ? &out : &in) += ms;
                out += way == 0 ? s->setup_ms : 0;
                receives = receives || way == 1;
                longest = fmax(longest, begin);
            }
        }
        port = fmax(port, fmax(out, in + (receives ? s->setup_ms : 0)));
    }
    return port > 0 || longest > 0 ? port + longest : 0;
}

static double flops(const struct stepsum *s, int node) {
    return node_flops(s->g, &s->g->nodes[node]);
}

static double heavy(const struct stepsum *s, int first, int end) {
    double most = 0;
    for (int k = first; k < end; k++)
        most = fmax(most, flops(s, k));
    return 0.2 * most;
}

/* Does a node do 500 FLOPs for each byte of its constants, with so many rows? */
static bool apart(const struct stepsum *s, int node, int64_t rows) {
    const struct node *n = &s->g->nodes[node];
    double bytes = 0;
    for (int i = 0; i < n->in_count; i++) {
        const struct value *v = node_in(s->g, n, i);
        if (v != NULL && v->is_constant)
            bytes += (double)shape_count(&v->shape) * (double)dtype_bytes(v->type);
    }
    return flops(s, node) * (double)rows / (double)rows_of(s, n->out[0]) >= 500 * bytes;
}

/* The first heavy operator from `first` on. */
static int first_heavy(const struct stepsum *s, int first, int end) {
    int k = first;
    while (k < end - 1 && flops(s, k) < heavy(s, first, end))
        k++;
    return k;
}

/* The last operators of the segment before, up to four, back to one that is heavy; unless that
 * waited for others' rows itself, and did the same operators before. */
static double tail_ms(const struct stepsum *s, const struct move *m, int b) {
    double ms = 0;
    if (s->last < 0 || !s->tiled)
        return 0;
    const int64_t own = rows_count(*own_of(s, s->last, b)), all = rows_of(s, s->last);
    if (own == 0 || (double)m->sent[b] > 0.7 * (double)own)
        return 0;
    const int last = graph_value(s->g, s->last)->producer;
    for (int k = last; k >= s->first && k > last - 4; k--) {
        const int64_t rows = k == last ? own : rows_of(s, s->g->nodes[k].out[0]) * own / all;
        if (!apart(s, k, rows) || (s->first > 0 && first_heavy(s, s->first, last + 1) >= k))
            return 0;
        ms += profile_node_ms(s->p, b, k, rows);
        if (flops(s, k) >= heavy(s, s->first, last + 1))
            break;
    }
    return ms * (double)(own - m->sent[b]) / (double)own;
}

static struct rows node_rows(const struct graph *g, int node, const struct rows *need) {
    struct rows r = {0, 0};
    for (int i = 0; i < g->nodes[node].out_count; i++)
        r = rows_hull(r, need[g->nodes[node].out[i]]);
    return r;
}

/* The first operators, on to one that is heavy: rows that read only what is there or was computed
 * so.  done: [value], rows computed so, one by one. */
static double head_ms(const struct stepsum *s, int end, int b, const struct rows *need) {
    double ms = 0;
    struct rows *done = mem_zalloc((size_t)s->g->value_count, sizeof *done);
    assert_non_null(done);
    for (int k = s->node; k < end; k++) {
        const struct node *n = &s->g->nodes[k];
        const struct rows out = node_rows(s->g, k, need);
        if (!apart(s, k, rows_count(out))) {
            ms = 0;
            break;
        }
        struct rows ready = {0, 0};
        int64_t count = 0;
        for (int64_t y = out.begin; y < out.end; y++) {
            bool there = true;
            for (int i = 0; i < n->in_count; i++) {
                const int id = n->in[i];
                const struct rows r = rows_needed(n, i, (struct rows){y, y + 1});
                const bool inner = graph_value(s->g, id)->producer >= s->node;
                for (int64_t x = r.begin; x < r.end; x++)
                    there = there && (inner ? holds(done[id], x)
                                            : s->everywhere[id] || holds(*own_of(s, id, b), x));
            }
            count += there;
            ready = there ? rows_hull(ready, (struct rows){y, y + 1}) : ready;
        }
        if (count > 0)
            ms += profile_node_ms(s->p, b, k, rows_count(out)) * (double)count /
                  (double)rows_count(out);
        for (int i = 0; i < n->out_count; i++)
            done[n->out[i]] = ready;
        if (flops(s, k) >= heavy(s, s->node, end))
            break;
    }
    mem_free(done);
    return ms;
}

/* need: [board][value], NULL: nothing is computed meanwhile. */
static double exposed_ms(const struct stepsum *s, const struct move *m, int end,
                         struct rows *const *need) {
    const double ms = port_ms(s, m);
    double tail = INFINITY, head = INFINITY;
    for (int a = 0; a < s->boards; a++)
        for (int b = 0; b < s->boards; b++)
            if (m->bytes[a * s->boards + b] > 0) {
                tail = fmin(tail, tail_ms(s, m, a));
                head = fmin(head, need == NULL ? 0 : head_ms(s, end, b, need[b]));
            }
    return ms > 0 ? fmax(0, ms - tail - head) : 0;
}

static void move_begin(const struct stepsum *s, struct move *m) {
    m->bytes = mem_zalloc((size_t)s->boards * (size_t)s->boards, sizeof *m->bytes);
    m->sent = mem_zalloc((size_t)s->boards, sizeof *m->sent);
    assert_true(m->bytes != NULL && m->sent != NULL);
}

static void move_end(struct move *m) {
    mem_free(m->bytes);
    mem_free(m->sent);
}

/* ---- a segment ------------------------------------------------------------------------------ */

static bool is_output(const struct graph *g, int id) {
    for (int i = 0; i < g->output_count; i++)
        if (g->outputs[i] == id)
            return true;
    return false;
}

static struct rows share(const struct stepsum *s, const struct plan_segment *g, int until, int id,
                         int b) {
    if (g->mode == PLAN_TILE)
        return (struct rows){plan_scaled_row(g, s->g, until, id, b),
                             plan_scaled_row(g, s->g, until, id, b + 1)};
    return g->mode == PLAN_REPLICATE || g->board == b ? (struct rows){0, rows_of(s, id)}
                                                      : (struct rows){0, 0};
}

static void find_need(const struct stepsum *s, int end, const struct plan_segment *g, int until,
                      const int *outs, int out_count, int b, struct rows *need) {
    if (g->mode == PLAN_TILE) {
        for (int i = 0; i < out_count; i++)
            need[outs[i]] = share(s, g, until, outs[i], b);
        rows_of_segment(s->g, s->node, end, need);
    } else if (g->mode == PLAN_REPLICATE || g->board == b) {
        for (int k = s->node; k < end; k++) {
            const struct node *n = &s->g->nodes[k];
            for (int i = 0; i < n->in_count; i++)
                need[n->in[i]] = (struct rows){0, rows_of(s, n->in[i])};
            for (int i = 0; i < n->out_count; i++)
                need[n->out[i]] = (struct rows){0, rows_of(s, n->out[i])};
        }
    }
}

/* To the root: everything in outs (all), or what the network gives of it. */
static void to_root(struct stepsum *s, const int *outs, int count, bool all) {
    struct move m;
    move_begin(s, &m);
    for (int i = 0; i < count; i++)
        if (all || is_output(s->g, outs[i]))
            want(s, &m, outs[i], 0, (struct rows){0, rows_of(s, outs[i])});
    s->ms += exposed_ms(s, &m, 0, NULL);
    move_end(&m);
    for (int i = 0; all && i < count; i++) {
        if (s->everywhere[outs[i]])
            continue;
        for (int b = 0; b < s->boards; b++)
            *own_of(s, outs[i], b) =
                b == 0 ? (struct rows){0, rows_of(s, outs[i])} : (struct rows){0, 0};
    }
    if (all)
        s->last = -1;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static bool is_input(const struct graph *g, int id) {
    for (int i = 0; i < g->input_count; i++)
        if (g->inputs[i] == id)
            return true;
    return false;
}

/* Is this value computed in strips with its only reader, in a segment that ends with `end`? */
static bool in_strips(const struct stepsum *s, int end, int id, int last, int b) {
    const struct profile_type *type = &s->p->types[s->p->boards[b].type];
    const int maker = graph_value(s->g, id)->producer;
    return maker >= s->node && last == maker + 1 && last < end && !is_output(s->g, id) &&
           type->chained_of[maker] >= 0;
}

/* The rows of a value that board b has while node k of the segment [s->node, end) runs. */
static struct rows alive_rows(const struct stepsum *s, int end, bool to_root, int id, int b, int k,
                              const struct rows *need) {
    const struct value *v = graph_value(s->g, id);
    const bool inside = v->producer >= s->node;
    int last = inside ? v->producer : -1;
    for (int i = s->node; i < s->g->node_count; i++)
        for (int j = 0; j < s->g->nodes[i].in_count; j++)
            last = s->g->nodes[i].in[j] == id ? i : last;
    const bool leaves = last >= end || (inside && is_output(s->g, id));
    if (in_strips(s, end, id, last, b))
        return (struct rows){0, 0};
    if (v->is_constant || v->producer > k || (b == 0 && is_input(s->g, id)) ||
        (!leaves && k > last))
        return (struct rows){0, 0};
    if (inside)
        return leaves && to_root && b == 0 ? (struct rows){0, rows_of(s, id)} : need[id];
    if (is_divided(s, id)) /* counted by its bytes */
        return (struct rows){0, 0};
    const struct rows all = {0, rows_of(s, id)};
    return rows_hull(s->everywhere[id] ? all : *own_of(s, id, b), need[id]);
}

static double row_bytes(const struct stepsum *s, int id) {
    return (double)value_geometry(graph_value(s->g, id)).row_bytes;
}

static double all_bytes(const struct stepsum *s, int id) {
    return (double)rows_of(s, id) * row_bytes(s, id);
}

/* The last node that reads a value; -1: none. */
static int last_reader(const struct graph *g, int id) {
    int last = -1;
    for (int k = 0; k < g->node_count; k++)
        for (int i = 0; i < g->nodes[k].in_count; i++)
            last = g->nodes[k].in[i] == id ? k : last;
    return last;
}

/* What a board has of values that lie divided, while node k of the segment [s->node, end) runs. */
static double divided_bytes(const struct stepsum *s, int end, int b, int k) {
    double bytes = 0;
    for (int id = 0; id < s->g->value_count; id++) {
        const int64_t *split = split_of(s, id);
        const int last = last_reader(s->g, id);
        if (is_divided(s, id) && graph_value(s->g, id)->producer < s->node &&
            (last >= end || k <= last))
            bytes +=
                all_bytes(s, id) * (double)(split[b + 1] - split[b]) / (double)split[s->boards];
    }
    return bytes;
}

static void count_memory(struct stepsum *s, int end, bool to_root, int b, const struct rows *need) {
    for (int k = s->node; k < end; k++) {
        const struct node *n = &s->g->nodes[k];
        double bytes = divided_bytes(s, end, b, k);
        for (int id = 0; id < s->g->value_count; id++)
            bytes += graph_value(s->g, id)->is_constant
                         ? 0
                         : (double)rows_count(alive_rows(s, end, to_root, id, b, k, need)) *
                               row_bytes(s, id);
        s->alive[b] = fmax(s->alive[b], bytes);
        for (int i = 0; i < n->in_count && !rows_empty(node_rows(s->g, k, need)); i++)
            if (n->in[i] >= 0 && graph_value(s->g, n->in[i])->is_constant)
                s->weights[b] += 4 * (double)shape_count(&graph_value(s->g, n->in[i])->shape);
    }
}

double stepsum_bytes(const struct stepsum *s) {
    double most = 0;
    for (int b = 0; b < s->boards; b++) {
        double bytes = s->weights[b] + s->alive[b];
        for (int i = 0; b == 0 && i < s->g->input_count; i++)
            bytes += (double)rows_of(s, s->g->inputs[i]) * row_bytes(s, s->g->inputs[i]);
        for (int i = 0; b == 0 && i < s->g->output_count; i++)
            bytes += (double)rows_of(s, s->g->outputs[i]) * row_bytes(s, s->g->outputs[i]);
        most = fmax(most, bytes);
    }
    return most;
}

/* ---- by channels ----------------------------------------------------------------------------- */

static int64_t lanes(const struct stepsum *s, int id, int64_t channels) {
    const struct value *v = graph_value(s->g, id);
    return v->form == FORM_MAP ? (channels + 15) / 16 * 16 : channels;
}

static double pass_ms(const struct stepsum *s, int b, double bytes) {
    const struct profile_board *board = &s->p->boards[b];
    return bytes / 1e6 * s->p->types[board->type].encode_ms_per_mb * board->scale;
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
    const double whole =
        (k + 1 < end ? profile_chained_ms : profile_node_ms)(s->p, b, k, rows_of(s, n->out[0]));
    double full = 0;
    if (share <= 0 || whole <= 0)
        return 0;
    if (g->mode == PLAN_IN_CHANNEL)
        full = all_bytes(s, n->out[0]);
    else if (g->mode == PLAN_OUT_CHANNEL && is_dense(n))
        full = all_bytes(s, n->in[0]);
    return share * whole + (1 - share) * (pass_ms(s, b, full) + fmin(start_ms(s, b), whole / 8));
}

/* One stage of a join or sum, and the longest that a board adds and copies (bytes, each board's).
 */
static void end_stage(struct stepsum *s, struct move *m, const double *added) {
    double most = 0;
    for (int b = 0; b < s->boards; b++)
        most = fmax(most, pass_ms(s, b, added[b]));
    s->ms += port_ms(s, m) + most;
    move_end(m);
}

static void send_bytes(const struct stepsum *s, struct move *m, int from, int to, double bytes) {
    if (from != to)
        m->bytes[from * s->boards + to] += bytes;
}

/* part[b] of something goes to everybody, or to board 0; added: as above, of the first stage. */
static void hand_out(struct stepsum *s, const double *part, bool all, bool ring,
                     const double *added) {
    const double nothing[64] = {0};
    const int n = s->boards;
    for (int stage = 0; stage < (ring && all ? n - 1 : 1); stage++) {
        struct move m;
        move_begin(s, &m);
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
        struct move m;
        move_begin(s, &m);
        for (int b = 0; b < n; b++)
            for (int i = 0; i < n; i++)
                if (is_away(n, b, i, d))
                    send_bytes(s, &m, (b + d) % n, b, part[i]);
        end_stage(s, &m, d == 1 ? added : nothing);
    }
}

/* The same backwards, sums instead of copies. */
static void add_up_halving(struct stepsum *s, const double *share, const bool *gives, bool all) {
    const int n = s->boards;
    bool has[64][64] = {{false}};
    int d = 1, longest;
    for (int b = 0; b < n; b++)
        for (int i = 0; i < n; i++)
            has[b][i] = gives[b];
    while (2 * d < n)
        d *= 2;
    for (longest = d; d > 0; d /= 2) {
        struct move m;
        double added[64] = {0};
        move_begin(s, &m);
        for (int b = 0; b < n; b++)
            for (int i = 0; i < n; i++) {
                const int to = (b + d) % n;
                if (d == longest && b > 0 && !all && gives[b] && (i - b + n) % n < d)
                    added[b] += share[i]; /* to where it may be added to */
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
        struct move m;
        double added[64] = {0};
        bool came[64] = {false};
        move_begin(s, &m);
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
    struct move m;
    double added[64] = {0};
    move_begin(s, &m);
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
    const double whole = all_bytes(s, id);
    double part[64] = {0}, none[64] = {0}, own[64] = {0};
    bool gives[64];
    for (int b = 0; b < n; b++) {
        const int64_t lines = (int64_t)whole / 64;
        gives[b] = g->split[b + 1] > g->split[b];
        if (g->mode == PLAN_IN_CHANNEL && (all || ring || halving)) /* even shares */
            part[b] = b == n - 1 ? whole - (double)(lines * b / n * 64)
                                 : (double)((lines * (b + 1) / n - lines * b / n) * 64);
        else if (g->mode == PLAN_IN_CHANNEL)
            part[b] = b == 0 ? whole : 0;
        else
            part[b] = whole *
                      (double)(lanes(s, id, g->split[b + 1] * count / channels) -
                               lanes(s, id, g->split[b] * count / channels)) /
                      (double)lanes(s, id, count);
        own[b] = all || b == 0 ? part[b] : 0;
    }
    if (g->mode != PLAN_IN_CHANNEL) {
        if (halving && all)
            hand_out_doubling(s, part, own);
        else
            hand_out(s, part, all, ring, own);
        return;
    }
    if (halving)
        add_up_halving(s, part, gives, all);
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

/* Boards with a share need everything that is not divided, but for a residual behind a sum, which
 * those need who get the sum. */
static bool needs(const struct stepsum *s, int end, const struct plan_segment *g, int id, int b) {
    for (int k = s->node; k < end; k++)
        for (int i = 0; i < s->g->nodes[k].in_count; i++) {
            const bool behind = g->mode == PLAN_IN_CHANNEL && i == s->g->nodes[k].epilogue.residual;
            if (s->g->nodes[k].in[i] == id &&
                (behind ? b == 0 || g->output == PLAN_TO_ALL : g->split[b + 1] > g->split[b]))
                return true;
        }
    return false;
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
        if (!is_divided(s, ins[i]))
            continue;
        s->broken =
            s->broken || !scaled(s, g, of, ins[i], split) ||
            memcmp(split, split_of(s, ins[i]), ((size_t)s->boards + 1) * sizeof *split) != 0;
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
    double bytes = divided_bytes(s, end, b, k);
    for (int id = 0; id < s->g->value_count; id++) {
        const struct value *v = graph_value(s->g, id);
        const bool inside = v->producer >= s->node;
        const int last = inside && last_reader(s->g, id) < 0 ? v->producer : last_reader(s->g, id);
        const bool leaves = last >= end || (inside && is_output(s->g, id));
        if (v->is_constant || v->producer > k || is_divided(s, id) || (!leaves && k > last) ||
            (b == 0 && is_input(s->g, id)))
            continue;
        if (!inside) {
            bytes += needs(s, end, g, id, b) || s->everywhere[id]
                         ? all_bytes(s, id)
                         : (double)rows_count(*own_of(s, id, b)) * row_bytes(s, id);
            continue;
        }
        const bool sum = g->mode == PLAN_IN_CHANNEL;
        if (share > 0 && (sum || !in_strips(s, end, id, last, b)))
            bytes += all_bytes(s, id) * (sum ? 1 : share);
        if (leaves && gets && k == end - 1 && !(b == 0 && is_output(s->g, id))) /* in its place */
            bytes += all_bytes(s, id);
    }
    return bytes;
}

static void count_channels(struct stepsum *s, int end, const struct plan_segment *g, int of) {
    for (int b = 0; b < s->boards; b++) {
        const double share =
            (double)(g->split[b + 1] - g->split[b]) / (double)shard_channels(s->g, of);
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

static void channel_segment(struct stepsum *s, int end, const struct plan_segment *g) {
    int *ins = NULL, *outs = NULL, in_count = 0, out_count = 0;
    struct move m;
    double slowest = 0;
    const int of =
        g->mode == PLAN_IN_CHANNEL ? s->g->nodes[s->node].in[0] : s->g->nodes[end - 1].out[0];
    assert_true(s->boards <= 64);
    assert_int_equal(segment_inputs(s->g, s->node, end, &ins, &in_count, NULL), COHORT_OK);
    assert_int_equal(segment_outputs(s->g, s->node, end, &outs, &out_count, NULL), COHORT_OK);
    check_divided(s, end, g, of, ins, in_count);
    count_channels(s, end, g, of);
    move_begin(s, &m);
    for (int b = 0; b < s->boards; b++) {
        const double share =
            (double)(g->split[b + 1] - g->split[b]) / (double)shard_channels(s->g, of);
        double ms = 0;
        for (int k = s->node; k < end; k++)
            ms += part_ms(s, end, g, k, share, b);
        slowest = fmax(slowest, ms);
        for (int i = 0; i < in_count; i++)
            if (needs(s, end, g, ins[i], b)) /* nobody has all rows of what is divided */
                want(s, &m, ins[i], b, (struct rows){0, rows_of(s, ins[i])});
    }
    s->ms += exposed_ms(s, &m, end, NULL) + slowest;
    move_end(&m);
    for (int i = 0; i < out_count; i++) {
        s->everywhere[outs[i]] = g->output == PLAN_TO_ALL;
        for (int b = 0; b < s->boards; b++)
            *own_of(s, outs[i], b) =
                (struct rows){0, g->output == PLAN_TO_ROOT && b == 0 ? rows_of(s, outs[i]) : 0};
        if (g->output != PLAN_STAY)
            bring_together(s, g, of, outs[i]);
        else
            s->broken = s->broken || is_output(s->g, outs[i]) ||
                        !scaled(s, g, of, outs[i], split_of(s, outs[i]));
    }
    s->last = -1;
    s->first = s->node;
    s->tiled = false;
    s->node = end;
    mem_free(ins);
    mem_free(outs);
}

void stepsum_segment(struct stepsum *s, int end, const struct plan_segment *g) {
    int *ins = NULL, *outs = NULL, in_count = 0, out_count = 0;
    struct rows *need[64];
    struct move m;
    double slowest = 0;
    const int until = s->g->nodes[end - 1].out[0];
    assert_true(s->boards <= 64);
    if (plan_by_channels(g->mode) && s->boards > 1) {
        channel_segment(s, end, g);
        return;
    }
    assert_int_equal(segment_inputs(s->g, s->node, end, &ins, &in_count, NULL), COHORT_OK);
    assert_int_equal(segment_outputs(s->g, s->node, end, &outs, &out_count, NULL), COHORT_OK);
    for (int i = 0; i < in_count; i++)
        s->broken = s->broken || is_divided(s, ins[i]);
    move_begin(s, &m);
    for (int b = 0; b < s->boards; b++) {
        double ms = 0;
        need[b] = mem_zalloc((size_t)s->g->value_count, sizeof *need[b]);
        assert_non_null(need[b]);
        find_need(s, end, g, until, outs, out_count, b, need[b]);
        for (int k = s->node; k < end; k++)
            ms += (k + 1 < end ? profile_chained_ms : profile_node_ms)(
                s->p, b, k, rows_count(node_rows(s->g, k, need[b])));
        slowest = fmax(slowest, ms);
        for (int i = 0; i < in_count; i++)
            want(s, &m, ins[i], b, need[b][ins[i]]);
    }
    s->ms += exposed_ms(s, &m, end, g->mode == PLAN_TILE ? need : NULL) + slowest;
    move_end(&m);
    for (int b = 0; b < s->boards; b++)
        count_memory(s, end, g->output == PLAN_TO_ROOT && g->mode != PLAN_REPLICATE, b, need[b]);
    for (int i = 0; i < out_count; i++) {
        s->everywhere[outs[i]] = g->mode == PLAN_REPLICATE;
        for (int b = 0; b < s->boards; b++)
            *own_of(s, outs[i], b) = share(s, g, until, outs[i], b);
    }
    for (int b = 0; b < s->boards; b++) {
        *own_of(s, until, b) = share(s, g, until, until, b);
        mem_free(need[b]);
    }
    s->everywhere[until] = g->mode == PLAN_REPLICATE;
    s->last = until;
    s->first = s->node;
    s->tiled = g->mode == PLAN_TILE;
    if (g->output == PLAN_TO_ROOT && g->mode != PLAN_REPLICATE)
        to_root(s, outs, out_count, true);
    else
        to_root(s, outs, out_count, false);
    s->node = end;
    mem_free(ins);
    mem_free(outs);
}
