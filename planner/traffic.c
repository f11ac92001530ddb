/* What travels between boards in one transition, how long that takes, and what of it computing
 * hides. */
#include "planner/cost.h"
#include "planner/transitions.h"

#include "base/mem.h"

#include <math.h>

/* Unlike fmax() and fmin(), no calls. */
static double larger(double a, double b) {
    return a > b ? a : b;
}

static double smaller(double a, double b) {
    return a < b ? a : b;
}

enum cohort_code traffic_init(struct traffic *t, const struct cost_model *m,
                              struct cohort_error *err) {
    const size_t boards = (size_t)m->boards, values = (size_t)m->g->value_count + 1;
    *t = (struct traffic){.m = m,
                          .bytes = mem_zalloc(boards * boards, sizeof *t->bytes),
                          .pairs = mem_zalloc(boards * boards, sizeof *t->pairs),
                          .main = -1,
                          .sent = mem_zalloc(boards, sizeof *t->sent),
                          .sends = mem_zalloc(boards, sizeof *t->sends),
                          .receives = mem_zalloc(boards, sizeof *t->receives),
                          .coded_out = mem_zalloc(boards, sizeof *t->coded_out),
                          .coded_in = mem_zalloc(boards, sizeof *t->coded_in),
                          .out_ms = mem_zalloc(boards, sizeof *t->out_ms),
                          .in_ms = mem_zalloc(boards, sizeof *t->in_ms),
                          .want = mem_zalloc(boards * values, sizeof *t->want)};
    if (t->bytes != NULL && t->pairs != NULL && t->sent != NULL && t->sends != NULL &&
        t->receives != NULL && t->coded_out != NULL && t->coded_in != NULL && t->out_ms != NULL &&
        t->in_ms != NULL && t->want != NULL)
        return COHORT_OK;
    traffic_release(t);
    return error_memory(err, boards * values * sizeof *t->want, "the planner's tables");
}

void traffic_release(struct traffic *t) {
    mem_free(t->bytes);
    mem_free(t->pairs);
    mem_free(t->sent);
    mem_free(t->sends);
    mem_free(t->receives);
    mem_free(t->coded_out);
    mem_free(t->coded_in);
    mem_free(t->out_ms);
    mem_free(t->in_ms);
    mem_free(t->want);
    *t = (struct traffic){0};
}

void traffic_clear(struct traffic *t, int main, int depth) {
    for (int i = 0; i < t->count; i++)
        t->bytes[t->pairs[i]] = 0;
    t->count = 0;
    t->main = main;
    t->depth = depth;
    t->parts = 1;
    for (int b = 0; b < t->m->boards; b++) {
        t->sent[b] = 0;
        t->sends[b] = t->receives[b] = false;
        t->coded_out[b] = t->coded_in[b] = 0;
    }
}

void traffic_part(struct traffic *t, const struct layout *where) {
    const struct cost_model *m = t->m;
    if (t->main < 0 || m->values[t->main].producer < 0 || where[t->main].kind != LAYOUT_ROWS)
        return;
    const int64_t most = m->nodes[m->values[t->main].producer].part_rows;
    bool any = false;
    for (int b = 0; b < m->boards && most > 0; b++) {
        any = any || t->sent[b] > 0;
        if (rows_count(layout_rows(m, &where[t->main], t->main, b)) > most)
            return;
    }
    if (any)
        t->parts = TRANSITION_PARTS;
}

/* ---- who sends what ------------------------------------------------------------------------- */

static void add_message(struct traffic *t, int value, int from, int to, int64_t rows) {
    const struct cost_value *v = &t->m->values[value];
    traffic_add_bytes(t, from, to, (double)rows * v->wire_bytes);
    t->sends[from] = t->receives[to] = true;
    if (value == t->main)
        t->sent[from] += rows;
    if (v->coded) {
        t->coded_out[from] += (double)rows * v->row_bytes;
        t->coded_in[to] += (double)rows * v->row_bytes;
    }
}

void traffic_add_bytes(struct traffic *t, int from, int to, double bytes) {
    const int pair = from * t->m->boards + to;
    if (!(bytes > 0) || from == to)
        return;
    if (t->bytes[pair] <= 0)
        t->pairs[t->count++] = pair;
    t->bytes[pair] += bytes;
    t->sends[from] = t->receives[to] = true;
}

/* The first board whose rows end behind row y. */
static int owner(const int64_t *split, int boards, int64_t y) {
    int low = 0, high = boards - 1;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (split[middle + 1] > y)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void traffic_add(struct traffic *t, int value, const struct layout *l, int b, struct rows need) {
    if (rows_empty(need) || (l->kind != LAYOUT_AT && l->kind != LAYOUT_ROWS))
        return;
    if (l->kind == LAYOUT_AT) {
        if (l->board != b)
            add_message(t, value, l->board, b, rows_count(need));
        return;
    }
    if (need.begin >= l->split[b] && need.end <= l->split[b + 1])
        return;
    const int boards = t->m->boards;
    int p = b; /* mostly near by */
    if (l->split[b] <= need.begin && need.begin < l->split[b + 1])
        p = b + 1;
    else if (b > 0 && l->split[b - 1] <= need.begin && need.begin < l->split[b])
        p = b - 1;
    else
        p = owner(l->split, boards, need.begin);
    for (; p < boards && l->split[p] < need.end; p++) {
        const struct rows part = rows_intersect(need, (struct rows){l->split[p], l->split[p + 1]});
        if (p != b && !rows_empty(part))
            add_message(t, value, p, b, rows_count(part));
    }
}

void traffic_add_all(struct traffic *t, const int *values, int count, const struct layout *where,
                     const struct rows *need) {
    const size_t stride = (size_t)t->m->g->value_count;
    for (int i = 0; i < count; i++) {
        const struct layout *l = &where[values[i]];
        for (int b = 0; b < t->m->boards; b++) {
            const struct rows r = need[(size_t)b * stride + (size_t)values[i]];
            if (r.begin < r.end)
                traffic_add(t, values[i], l, b, r);
        }
    }
}

/* ---- how long it takes ---------------------------------------------------------------------- */

/* How many boards the root sends to (or receives from): with more than one, at its measured rate
 * for that. */
static double root_factor(const struct traffic *t, int from, int to) {
    const int boards = t->m->boards;
    const double factor = from == 0 ? t->m->p->scatter_factor : t->m->p->gather_factor;
    int partners = 0;
    if ((from != 0 && to != 0) || !(factor > 0))
        return 1;
    for (int b = 1; b < boards && partners < 2; b++)
        partners += t->bytes[from == 0 ? b : b * boards] > 0;
    return partners > 1 ? factor : 1;
}

double traffic_message_ms(const struct traffic *t, int pair) {
    const int from = pair / t->m->boards, to = pair % t->m->boards;
    return root_factor(t, from, to) * cost_transfer_ms(t->m, from, to, t->bytes[pair]);
}

double traffic_encode_ms(const struct traffic *t, int board) {
    if (!(t->coded_out[board] > 0))
        return 0;
    const struct profile_board *b = &t->m->p->boards[board];
    return t->coded_out[board] * 1e-6 * t->m->p->types[b->type].encode_ms_per_mb * b->scale;
}

double traffic_decode_ms(const struct traffic *t, int board) {
    if (!(t->coded_in[board] > 0))
        return 0;
    const struct profile_board *b = &t->m->p->boards[board];
    return t->coded_in[board] * 1e-6 * t->m->p->types[b->type].decode_ms_per_mb * b->scale;
}

double traffic_ms(struct traffic *t) {
    const double setup = t->m->options.setup_ms;
    double port = 0, latency = 0, encode = 0, decode = 0;
    if (t->count == 0)
        return 0;
    for (int b = 0; b < t->m->boards; b++)
        t->out_ms[b] = t->in_ms[b] = 0;
    for (int i = 0; i < t->count; i++) {
        const int from = t->pairs[i] / t->m->boards, to = t->pairs[i] % t->m->boards;
        const double ms = traffic_message_ms(t, t->pairs[i]);
        t->out_ms[from] += setup + ms;
        t->in_ms[to] += ms;
        latency = larger(latency, t->m->links[t->pairs[i]].latency);
    }
    for (int b = 0; b < t->m->boards; b++) {
        const double in_ms = t->in_ms[b] + (t->receives[b] ? setup : 0); /* the first one's */
        port = larger(port, larger(t->out_ms[b], in_ms));
        encode = larger(encode, traffic_encode_ms(t, b));
        decode = larger(decode, traffic_decode_ms(t, b));
    }
    return port + latency + encode + decode;
}

/* ---- what computing hides ------------------------------------------------------------------- */

#define HEAVY 0.2 /* of the largest operator's FLOPs: as in src/runtime/phases.c */
#define EDGES_MOST                                                                                 \
    0.7 /* of a board's rows: where others need more, all is computed before sending */

double cost_heavy(const struct cost_model *m, int first, int end) {
    double most = 0;
    for (int k = first; k < end; k++)
        most = larger(most, m->nodes[k].flops);
    return HEAVY * most;
}

int cost_tail_depth(const struct cost_model *m, int first, int end, double heavy) {
    int depth = 1, head = first;
    while (depth < COST_DEPTH_MAX && end - depth > first && m->nodes[end - depth].flops < heavy)
        depth++;
    while (first > 0 && head < end - 1 && m->nodes[head].flops < heavy)
        head++;
    /* Most of it was computed before the board waited for its own rows: those of others come last.
     */
    return first > 0 && head >= end - depth ? 0 : depth;
}

/* As src/runtime/phases.c has it: has a board rows enough of a node for its weights? */
static bool taken_apart(const struct cost_model *m, int node, int64_t rows) {
    const struct cost_node *n = &m->nodes[node];
    return n->rows > 0 &&
           n->flops * (double)rows / (double)n->rows >= n->weight_bytes * TRANSITION_FLOPS_PER_BYTE;
}

double window_tail_ms(const struct traffic *t, const struct layout *where, int b) {
    const struct cost_model *m = t->m;
    if (t->main < 0 || t->depth == 0 || where[t->main].kind != LAYOUT_ROWS)
        return 0;
    const int64_t own = rows_count(layout_rows(m, &where[t->main], t->main, b));
    if (own == 0 || (double)t->sent[b] > EDGES_MOST * (double)own)
        return 0;
    const double stays = (double)(own - t->sent[b]) / (double)own;
    const int last = m->values[t->main].producer;
    double ms = 0;
    for (int k = last; k > last - t->depth; k--) { /* their rows, in proportion */
        const int64_t rows = k == last ? own : m->nodes[k].rows * own / m->values[t->main].rows;
        if (!taken_apart(m, k, rows))
            return 0;
        ms += cost_node_ms(m, b, k, rows);
    }
    return ms * stays;
}

/* Rounds up; b > 0. */
static int64_t ceil_div(int64_t a, int64_t b) {
    return a > 0 ? (a + b - 1) / b : -(-a / b);
}

/* Of output rows `out`, those for which every row of input i that they read is in `have`; `need`
 * is what all of `out` reads. */
static struct rows rows_ready(const struct node *n, int i, struct rows out, struct rows need,
                              struct rows have) {
    const struct rowmap *m = &n->rowmap[i];
    if (rows_empty(need) || (need.begin >= have.begin && need.end <= have.end))
        return out;
    if (m->kind != ROWMAP_AFFINE || m->num <= 0 || m->out_height <= 0 || m->one_image ||
        rows_empty(have) || out.begin / m->out_height != (out.end - 1) / m->out_height)
        return (struct rows){0, 0};
    const int64_t image = out.begin / m->out_height, shift = image * m->in_height;
    if (need.begin < have.begin) { /* floor((y*num + lo)/den) >= begin */
        const int64_t y = ceil_div((have.begin - shift) * m->den - m->lo, m->num);
        out.begin = y + image * m->out_height > out.begin ? y + image * m->out_height : out.begin;
    }
    if (need.end > have.end) { /* floor((y*num + hi)/den) < end */
        const int64_t y = ceil_div((have.end - shift) * m->den - m->hi, m->num);
        out.end = y + image * m->out_height < out.end ? y + image * m->out_height : out.end;
    }
    return rows_empty(out) ? (struct rows){0, 0} : out;
}

#define HEAD_VALUES 16

/* Rows that are there, or were computed before waiting. */
struct early {
    int ids[HEAD_VALUES], count;
    struct rows rows[HEAD_VALUES];
};

static struct rows early_rows(const struct cost_model *m, const struct early *e, int first, int id,
                              int b, const struct layout *where) {
    for (int i = e->count - 1; i >= 0; i--)
        if (e->ids[i] == id)
            return e->rows[i];
    return m->values[id].producer >= first ? (struct rows){0, 0}
                                           : layout_rows(m, &where[id], id, b);
}

double window_head_ms(const struct cost_model *m, const struct overlap *w, int b,
                      const struct rows *need, const struct layout *where) {
    struct early e = {.count = 0};
    double ms = 0;
    for (int k = w->first; k < w->end; k++) {
        const struct node *n = &m->g->nodes[k];
        struct rows out = {0, 0};
        for (int i = 0; i < n->out_count; i++)
            if (n->out[i] >= 0)
                out = rows_hull(out, need[n->out[i]]);
        if (!taken_apart(m, k, rows_count(out)))
            return 0;
        struct rows ready = out;
        for (int i = 0; i < n->in_count && !rows_empty(ready); i++) {
            const int id = n->in[i];
            if (id < 0 || m->values[id].constant)
                continue;
            const struct rows r = rows_ready(n, i, out, rows_needed(n, i, out),
                                             early_rows(m, &e, w->first, id, b, where));
            ready = rows_intersect(ready, r);
        }
        if (!rows_empty(ready))
            ms += cost_node_ms(m, b, k, rows_count(out)) * (double)rows_count(ready) /
                  (double)rows_count(out);
        if (m->nodes[k].flops >= w->heavy || e.count + n->out_count > HEAD_VALUES)
            break;
        for (int i = 0; i < n->out_count; i++)
            if (n->out[i] >= 0) {
                e.ids[e.count] = n->out[i];
                e.rows[e.count++] = ready;
            }
    }
    return ms;
}

double window_part_ms(const struct traffic *t, const struct layout *where, int b) {
    const struct cost_model *m = t->m;
    const int64_t own = rows_count(layout_rows(m, &where[t->main], t->main, b));
    return cost_node_ms(m, b, m->values[t->main].producer, own) / t->parts;
}

/* What is computed while a transition of so many milliseconds is under way, before all of it can
 * be. */
static double tail_ms(const struct traffic *t, const struct layout *where, int b, double ms) {
    if (t->parts == 1)
        return window_tail_ms(t, where, b);
    return (t->parts - 1) * smaller(window_part_ms(t, where, b), ms / t->parts);
}

double transition_wait_ms(struct traffic *t, const struct layout *where, const struct overlap *w,
                          const struct rows *need) {
    const size_t stride = (size_t)t->m->g->value_count;
    const double ms = traffic_ms(t);
    if (!(ms > 0))
        return 0;
    double tail = INFINITY, head = INFINITY;
    for (int b = 0; b < t->m->boards && tail > 0; b++)
        if (t->sends[b])
            tail = smaller(tail, tail_ms(t, where, b, ms));
    if (w == NULL || ms <= tail)
        return larger(0, ms - tail);
    for (int b = 0; b < t->m->boards && head > 0; b++)
        if (t->receives[b])
            head = smaller(head, window_head_ms(t->m, w, b, need + (size_t)b * stride, where));
    return larger(0, ms - tail - head);
}
