/* In which order a tile's rows are computed; see phases.h. */
#include "runtime/phases.h"

#include "base/mem.h"
#include "graph/op.h"

/* The first and the last operators go on until one of them is worth waiting with: one that does at
 * least this share of the work of the segment's largest. */
#define HEAVY 0.2
/* Where most rows are for others there is nothing to compute meanwhile. */
#define EDGES_MOST 0.7

struct maker {
    struct phases *p;
    const struct transitions *transitions;
    const struct plan_part *part;
    int rank;
    const struct rows *need;
    struct rows *ready;    /* of every value: one range of it that is there before waiting */
    struct rowset *wanted; /* of every value: what is to be computed first, for others */
    double heavy;          /* flops of an operator worth waiting with */
};

bool phases_starts_behind(const struct transition *t) {
    if (t->kind != TRANSITION_EXCHANGE)
        return false;
    return t->after || (!t->from_root && t->made >= 0 && t->made == t->before - 1);
}

static bool waited_for(const struct transition *t, const struct plan_part *part) {
    return t->kind == TRANSITION_EXCHANGE && !t->after && t->before == part->segment;
}

static bool sent_behind(const struct transition *t, const struct plan_part *part) {
    return phases_starts_behind(t) && t->made == part->segment;
}

bool phases_wait(const struct transitions *t, const struct plan_part *part) {
    for (int i = 0; i < t->count; i++)
        if (waited_for(&t->list[i], part))
            return true;
    return false;
}

bool phases_send(const struct transitions *t, const struct plan_part *part) {
    for (int i = 0; i < t->count; i++)
        if (sent_behind(&t->list[i], part))
            return true;
    return false;
}

/* The same on all ranks. */
static int parts_behind(const struct transitions *t, const struct plan_part *part) {
    int parts = 1;
    for (int i = 0; i < t->count; i++)
        if (sent_behind(&t->list[i], part) && t->list[i].parts > parts)
            parts = t->list[i].parts;
    return parts;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static struct rows rows_of_node(const struct maker *m, int node) {
    const struct node *n = &m->part->graph->nodes[node];
    struct rows rows = {0, 0};
    for (int k = 0; k < n->out_count; k++)
        if (n->out[k] >= 0)
            rows = rows_hull(rows, m->need[n->out[k]]);
    return rows;
}

/* Can its rows be computed apart from each other?  Only feature maps of one height are. */
static bool is_divisible(const struct maker *m, int node) {
    const struct graph *g = m->part->graph;
    const struct node *n = &g->nodes[node];
    const struct value *first = NULL;
    for (int k = 0; k < n->out_count; k++) {
        const struct value *v = node_out(g, n, k);
        if (v == NULL)
            continue;
        if (v->form != FORM_MAP)
            return false;
        if (first != NULL && (value_geometry(v).height != value_geometry(first).height ||
                              value_geometry(v).images != value_geometry(first).images))
            return false;
        first = v;
    }
    return first != NULL && n->rowmap != NULL;
}

static bool reads_value(const struct graph *g, int id) {
    return id >= 0 && !graph_value(g, id)->is_constant;
}

/* ---- before waiting -------------------------------------------------------------------------- */

/* The largest range of an input that is there, of what this rank needs of it. */
static struct rows range_there(const struct maker *m, int id) {
    struct rowset comes = {0}, there;
    struct rows largest = {0, 0};
    for (int i = 0; i < m->transitions->count; i++) {
        const struct transition *t = &m->transitions->list[i];
        for (int k = 0; t->value == id && waited_for(t, m->part) && k < t->move_count; k++)
            if (t->moves[k].to == m->rank)
                rowset_cover(&comes, t->moves[k].rows);
    }
    there = rowset_missing(&comes, m->need[id]);
    for (int i = 0; i < there.count; i++)
        if (rows_count(there.r[i]) > rows_count(largest))
            largest = there.r[i];
    return largest;
}

static bool row_is_ready(const struct maker *m, const struct node *n, int64_t y) {
    for (int k = 0; k < n->in_count; k++) {
        if (!reads_value(m->part->graph, n->in[k]))
            continue;
        struct rows r = rows_needed(n, k, (struct rows){y, y + 1});
        struct rows there = m->ready[n->in[k]];
        if (!rows_empty(r) && (r.begin < there.begin || r.end > there.end))
            return false;
    }
    return true;
}

/* The longest run of rows that need nothing from others. */
static struct rows early_rows(const struct maker *m, int node) {
    const struct node *n = &m->part->graph->nodes[node];
    struct rows all = rows_of_node(m, node), longest = {0, 0};
    int64_t begin = all.begin;
    for (int64_t y = all.begin; y < all.end; y++) {
        if (!row_is_ready(m, n, y))
            begin = y + 1;
        else if (y + 1 - begin > rows_count(longest))
            longest = (struct rows){begin, y + 1};
    }
    return longest;
}

static double flops_of(const struct maker *m, int node) {
    return node_flops(m->part->graph, &m->part->graph->nodes[node]);
}

/* Is it large enough to hide something behind, and are its rows many enough for its weights? */
static bool is_heavy(const struct maker *m, int node) {
    return flops_of(m, node) >= m->heavy;
}

static bool can_be_taken_apart(const struct maker *m, int node) {
    const struct graph *g = m->part->graph;
    const struct node *n = &g->nodes[node];
    const double bytes = transition_weight_bytes(g, node);
    double rows = 0;
    for (int k = 0; k < n->out_count && rows == 0; k++)
        if (n->out[k] >= 0)
            rows = (double)rows_count(plan_all_rows(g, n->out[k]));
    return rows > 0 && flops_of(m, node) * (double)rows_count(rows_of_node(m, node)) / rows >=
                           bytes * TRANSITION_FLOPS_PER_BYTE;
}

/* The first (or last) heavy operator of the part, if everything up to it can be taken apart; -1. */
static int find_heavy(const struct maker *m, bool from_last) {
    const struct plan_part *part = m->part;
    for (int i = 0; i < part->last - part->first; i++) {
        int node = from_last ? part->last - 1 - i : part->first + i;
        if (!can_be_taken_apart(m, node))
            return -1;
        if (is_heavy(m, node))
            return node;
    }
    return -1;
}

static void find_early(struct maker *m) {
    const int heavy = find_heavy(m, false);
    const struct plan_part *part = m->part;
    for (int i = 0; i < part->input_count; i++)
        m->ready[part->inputs[i]] = range_there(m, part->inputs[i]);
    for (int i = part->first; i <= heavy; i++) {
        const struct node *n = &part->graph->nodes[i];
        struct rows early = is_divisible(m, i) ? early_rows(m, i) : (struct rows){0, 0};
        m->p->nodes[i - part->first].early = early;
        for (int k = 0; k < n->out_count; k++)
            if (n->out[k] >= 0)
                m->ready[n->out[k]] = early;
    }
}

/* ---- before sending -------------------------------------------------------------------------- */

/* What others need, of every output, unless it is most of it.  false: nothing. */
static bool find_wanted(struct maker *m) {
    bool any = false;
    for (int i = 0; i < m->transitions->count; i++) {
        const struct transition *t = &m->transitions->list[i];
        int64_t rows =
            sent_behind(t, m->part) ? transition_rows_sent(t, m->rank, m->part->plan->boards) : 0;
        m->p->early_sends[i] = (double)rows <= EDGES_MOST * (double)rows_count(m->need[t->value]);
        for (int k = 0; rows > 0 && m->p->early_sends[i] && k < t->move_count; k++)
            if (t->moves[k].from == m->rank)
                rowset_cover(&m->wanted[t->value], t->moves[k].rows);
        any = any || (rows > 0 && m->p->early_sends[i]);
    }
    return any;
}

/* Rows of a node that make what is wanted, and from that what is wanted of its inputs. */
static struct rowset wanted_of_node(struct maker *m, int node) {
    const struct graph *g = m->part->graph;
    const struct node *n = &g->nodes[node];
    struct rowset rows = {0};
    for (int k = 0; k < n->out_count; k++)
        for (int i = 0; n->out[k] >= 0 && i < m->wanted[n->out[k]].count; i++)
            rowset_cover(&rows, m->wanted[n->out[k]].r[i]);
    if (rows.count > 0 && !is_divisible(m, node))
        rowset_cover(&rows, rows_of_node(m, node));
    for (int k = 0; k < n->in_count; k++)
        for (int i = 0; reads_value(g, n->in[k]) && i < rows.count; i++)
            rowset_cover(&m->wanted[n->in[k]],
                         rows_intersect(rows_needed(n, k, rows.r[i]), m->need[n->in[k]]));
    return rows;
}

/* From the last operator back to the first that is worth it; earlier ones do all before. */
static void find_edges(struct maker *m) {
    const struct plan_part *part = m->part;
    const int heavy = find_heavy(m, true);
    m->p->tail = part->last;
    if (!find_wanted(m) || heavy < 0)
        return;
    for (int i = part->last - 1; i >= heavy; i--)
        m->p->nodes[i - part->first].main = wanted_of_node(m, i);
    m->p->tail = heavy;
}

/* ---- all ------------------------------------------------------------------------------------- */

/* What is left of `rows` when `done` was computed. */
static struct rowset without(const struct rowset *rows, struct rows done) {
    struct rowset out = {0}, set = {0};
    rowset_cover(&set, done);
    for (int i = 0; i < rows->count; i++) {
        struct rowset left = rowset_missing(&set, rows->r[i]);
        for (int k = 0; k < left.count; k++)
            rowset_cover(&out, left.r[k]);
    }
    return out;
}

/* Every row in just one phase, as long as sets have room; what they cover beyond is computed
 * twice, with the same result. */
static void divide(struct maker *m) {
    const struct plan_part *part = m->part;
    for (int i = part->first; i < part->last; i++) {
        struct node_phases *n = &m->p->nodes[i - part->first];
        struct rows all = rows_of_node(m, i);
        if (i < m->p->tail)
            rowset_cover(&n->main, all);
        struct rowset done = n->main;
        rowset_cover(&done, n->early);
        n->main = without(&n->main, n->early);
        n->late = rowset_missing(&done, all);
    }
}

enum cohort_code phases_make(struct phases *p, const struct transitions *t,
                             const struct plan_part *part, int rank, const struct rows *need,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const size_t values = (size_t)part->graph->value_count + 1;
    struct maker m = {.p = p, .transitions = t, .part = part, .rank = rank, .need = need};
    *p = (struct phases){.tail = part->last, .parts = parts_behind(t, part)};
    p->nodes = mem_zalloc((size_t)(part->last - part->first), sizeof *p->nodes);
    p->early_sends = mem_zalloc((size_t)t->count + 1, sizeof *p->early_sends);
    m.ready = mem_zalloc(values, sizeof *m.ready);
    m.wanted = mem_zalloc(values, sizeof *m.wanted);
    if (p->nodes == NULL || p->early_sends == NULL || m.ready == NULL || m.wanted == NULL) {
        code = error_memory(err, values * sizeof *m.wanted, "a plan's phases");
        goto out;
    }
    for (int i = part->first; i < part->last; i++)
        m.heavy = flops_of(&m, i) * HEAVY > m.heavy ? flops_of(&m, i) * HEAVY : m.heavy;
    if (part->mode == PLAN_TILE && phases_wait(t, part))
        find_early(&m);
    if (part->mode == PLAN_TILE && phases_send(t, part) && p->parts == 1)
        find_edges(&m);
    divide(&m);
out:
    mem_free(m.ready);
    mem_free(m.wanted);
    if (code != COHORT_OK)
        phases_release(p);
    return code;
}

void phases_release(struct phases *p) {
    mem_free(p->nodes);
    mem_free(p->early_sends);
    *p = (struct phases){0};
}
