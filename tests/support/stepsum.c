/* The sum of steps, plainly; see stepsum.h. */
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

int64_t *stepsum_split_of(const struct stepsum *s, int id) {
    return &s->divided[(size_t)id * ((size_t)s->boards + 1)];
}

bool stepsum_is_divided(const struct stepsum *s, int id) {
    return stepsum_split_of(s, id)[s->boards] > 0;
}

int64_t stepsum_rows_of(const struct stepsum *s, int id) {
    return value_rows(graph_value(s->g, id));
}

struct rows *stepsum_own_of(const struct stepsum *s, int id, int b) {
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
        *stepsum_own_of(s, g->inputs[i], 0) = (struct rows){0, stepsum_rows_of(s, g->inputs[i])};
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

static bool holds(struct rows r, int64_t y) {
    return y >= r.begin && y < r.end;
}

/* Board b wants rows of a value. */
void stepsum_want(const struct stepsum *s, struct stepsum_move *m, int id, int b,
                  struct rows rows) {
    const double row = (double)value_geometry(graph_value(s->g, id)).row_bytes;
    for (int64_t y = rows.begin; y < rows.end && !s->everywhere[id]; y++) {
        if (holds(*stepsum_own_of(s, id, b), y))
            continue;
        for (int p = 0; p < s->boards; p++)
            if (holds(*stepsum_own_of(s, id, p), y)) {
                m->bytes[p * s->boards + b] += row;
                m->sent[p] += id == s->last;
            }
    }
}

static double latency(const struct profile_curve *c) {
    const double slope = (c->points[1].ms - c->points[0].ms) / (c->points[1].x - c->points[0].x);
    return fmin(c->points[0].ms, fmax(0, c->points[0].ms - slope * c->points[0].x));
}

double stepsum_port_ms(const struct stepsum *s, const struct stepsum_move *m) {
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
                longest = fmax(longest, begin + s->p->wake_ms);
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
    return flops(s, node) * (double)rows / (double)stepsum_rows_of(s, n->out[0]) >= 500 * bytes;
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
static double tail_ms(const struct stepsum *s, const struct stepsum_move *m, int b) {
    double ms = 0;
    if (s->last < 0 || !s->tiled)
        return 0;
    const int64_t own = rows_count(*stepsum_own_of(s, s->last, b)),
                  all = stepsum_rows_of(s, s->last);
    if (own == 0 || (double)m->sent[b] > 0.7 * (double)own)
        return 0;
    const int last = graph_value(s->g, s->last)->producer;
    for (int k = last; k >= s->first && k > last - 4; k--) {
        const int64_t rows =
            k == last ? own : stepsum_rows_of(s, s->g->nodes[k].out[0]) * own / all;
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
                    there =
                        there && (inner ? holds(done[id], x)
                                        : s->everywhere[id] || holds(*stepsum_own_of(s, id, b), x));
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
double stepsum_exposed_ms(const struct stepsum *s, const struct stepsum_move *m, int end,
                          struct rows *const *need) {
    const double ms = stepsum_port_ms(s, m);
    double tail = INFINITY, head = INFINITY;
    for (int a = 0; a < s->boards; a++)
        for (int b = 0; b < s->boards; b++)
            if (m->bytes[a * s->boards + b] > 0) {
                tail = fmin(tail, tail_ms(s, m, a));
                head = fmin(head, need == NULL ? 0 : head_ms(s, end, b, need[b]));
            }
    return ms > 0 ? fmax(0, ms - tail - head) : 0;
}

void stepsum_move_begin(const struct stepsum *s, struct stepsum_move *m) {
    m->bytes = mem_zalloc((size_t)s->boards * (size_t)s->boards, sizeof *m->bytes);
    m->sent = mem_zalloc((size_t)s->boards, sizeof *m->sent);
    assert_true(m->bytes != NULL && m->sent != NULL);
}

void stepsum_move_end(struct stepsum_move *m) {
    mem_free(m->bytes);
    mem_free(m->sent);
}

/* ---- a segment ------------------------------------------------------------------------------ */

bool stepsum_is_output(const struct graph *g, int id) {
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
    return g->mode == PLAN_REPLICATE || g->board == b ? (struct rows){0, stepsum_rows_of(s, id)}
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
                need[n->in[i]] = (struct rows){0, stepsum_rows_of(s, n->in[i])};
            for (int i = 0; i < n->out_count; i++)
                need[n->out[i]] = (struct rows){0, stepsum_rows_of(s, n->out[i])};
        }
    }
}

/* To the root: everything in outs (all), or what the network gives of it. */
static void to_root(struct stepsum *s, const int *outs, int count, bool all) {
    struct stepsum_move m;
    stepsum_move_begin(s, &m);
    for (int i = 0; i < count; i++)
        if (all || stepsum_is_output(s->g, outs[i]))
            stepsum_want(s, &m, outs[i], 0, (struct rows){0, stepsum_rows_of(s, outs[i])});
    s->ms += stepsum_exposed_ms(s, &m, 0, NULL);
    stepsum_move_end(&m);
    for (int i = 0; all && i < count; i++) {
        if (s->everywhere[outs[i]])
            continue;
        for (int b = 0; b < s->boards; b++)
            *stepsum_own_of(s, outs[i], b) =
                b == 0 ? (struct rows){0, stepsum_rows_of(s, outs[i])} : (struct rows){0, 0};
    }
    if (all)
        s->last = -1;
}

/* ---- memory ---------------------------------------------------------------------------------- */

bool stepsum_is_input(const struct graph *g, int id) {
    for (int i = 0; i < g->input_count; i++)
        if (g->inputs[i] == id)
            return true;
    return false;
}

/* Is this value computed in strips with its only reader, in a segment that ends with `end`? */
bool stepsum_in_strips(const struct stepsum *s, int end, int id, int last, int b) {
    const struct profile_type *type = &s->p->types[s->p->boards[b].type];
    const int maker = graph_value(s->g, id)->producer;
    return maker >= s->node && last == maker + 1 && last < end && !stepsum_is_output(s->g, id) &&
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
    const bool leaves = last >= end || (inside && stepsum_is_output(s->g, id));
    if (stepsum_in_strips(s, end, id, last, b))
        return (struct rows){0, 0};
    if (v->is_constant || v->producer > k || (b == 0 && stepsum_is_input(s->g, id)) ||
        (!leaves && k > last))
        return (struct rows){0, 0};
    if (inside)
        return leaves && to_root && b == 0 ? (struct rows){0, stepsum_rows_of(s, id)} : need[id];
    if (stepsum_is_divided(s, id)) /* counted by its bytes */
        return (struct rows){0, 0};
    const struct rows all = {0, stepsum_rows_of(s, id)};
    return rows_hull(s->everywhere[id] ? all : *stepsum_own_of(s, id, b), need[id]);
}

double stepsum_row_bytes(const struct stepsum *s, int id) {
    return (double)value_geometry(graph_value(s->g, id)).row_bytes;
}

double stepsum_all_bytes(const struct stepsum *s, int id) {
    return (double)stepsum_rows_of(s, id) * stepsum_row_bytes(s, id);
}

/* The last node that reads a value; -1: none. */
int stepsum_last_reader(const struct graph *g, int id) {
    int last = -1;
    for (int k = 0; k < g->node_count; k++)
        for (int i = 0; i < g->nodes[k].in_count; i++)
            last = g->nodes[k].in[i] == id ? k : last;
    return last;
}

/* What a board has of values that lie divided, while node k of the segment [s->node, end) runs. */
double stepsum_divided_bytes(const struct stepsum *s, int end, int b, int k) {
    double bytes = 0;
    for (int id = 0; id < s->g->value_count; id++) {
        const int64_t *split = stepsum_split_of(s, id);
        const int last = stepsum_last_reader(s->g, id);
        if (stepsum_is_divided(s, id) && graph_value(s->g, id)->producer < s->node &&
            (last >= end || k <= last))
            bytes += stepsum_all_bytes(s, id) * (double)(split[b + 1] - split[b]) /
                     (double)split[s->boards];
    }
    return bytes;
}

static void count_memory(struct stepsum *s, int end, bool to_root, int b, const struct rows *need) {
    for (int k = s->node; k < end; k++) {
        const struct node *n = &s->g->nodes[k];
        double bytes = stepsum_divided_bytes(s, end, b, k);
        for (int id = 0; id < s->g->value_count; id++)
            bytes += graph_value(s->g, id)->is_constant
                         ? 0
                         : (double)rows_count(alive_rows(s, end, to_root, id, b, k, need)) *
                               stepsum_row_bytes(s, id);
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
            bytes +=
                (double)stepsum_rows_of(s, s->g->inputs[i]) * stepsum_row_bytes(s, s->g->inputs[i]);
        for (int i = 0; b == 0 && i < s->g->output_count; i++)
            bytes += (double)stepsum_rows_of(s, s->g->outputs[i]) *
                     stepsum_row_bytes(s, s->g->outputs[i]);
        most = fmax(most, bytes);
    }
    return most;
}

void stepsum_segment(struct stepsum *s, int end, const struct plan_segment *g) {
    int *ins = NULL, *outs = NULL, in_count = 0, out_count = 0;
    struct rows *need[64];
    struct stepsum_move m;
    double slowest = 0;
    const int until = s->g->nodes[end - 1].out[0];
    assert_true(s->boards <= 64);
    if (plan_by_channels(g->mode) && s->boards > 1) {
        stepsum_channels(s, end, g);
        return;
    }
    assert_int_equal(segment_inputs(s->g, s->node, end, &ins, &in_count, NULL), COHORT_OK);
    assert_int_equal(segment_outputs(s->g, s->node, end, &outs, &out_count, NULL), COHORT_OK);
    for (int i = 0; i < in_count; i++)
        s->broken = s->broken || stepsum_is_divided(s, ins[i]);
    stepsum_move_begin(s, &m);
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
            stepsum_want(s, &m, ins[i], b, need[b][ins[i]]);
    }
    s->ms += stepsum_exposed_ms(s, &m, end, g->mode == PLAN_TILE ? need : NULL) + slowest;
    stepsum_move_end(&m);
    for (int b = 0; b < s->boards; b++)
        count_memory(s, end, g->output == PLAN_TO_ROOT && g->mode != PLAN_REPLICATE, b, need[b]);
    for (int i = 0; i < out_count; i++) {
        s->everywhere[outs[i]] = g->mode == PLAN_REPLICATE;
        for (int b = 0; b < s->boards; b++)
            *stepsum_own_of(s, outs[i], b) = share(s, g, until, outs[i], b);
    }
    for (int b = 0; b < s->boards; b++) {
        *stepsum_own_of(s, until, b) = share(s, g, until, until, b);
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
