/* The cost model's tables: what is looked up often, computed once. */
#include "planner/cost.h"

#include "base/mem.h"
#include "graph/op.h"
#include "planner/plan_parts.h"
#include "planner/transitions.h"

#include <math.h>
#include <string.h>

#define TABLE_ROWS 4096 /* operators with more rows than that ask the profile each time */

/* ---- values and nodes ----------------------------------------------------------------------- */

/* Is this an input of the network that is given as pixels? */
static bool is_pixels(const struct cost_model *m, int id) {
    bool is = m->options.input_u8 && graph_value(m->g, id)->producer < 0;
    for (int i = 0; i < m->g->input_count && i < 64; i++)
        is = is || (m->g->inputs[i] == id && (m->options.pixel_inputs >> i & 1) != 0);
    return is;
}

static double wire_row_bytes(const struct cost_model *m, int id, double row_bytes, bool *coded) {
    const struct value *v = graph_value(m->g, id);
    *coded = false;
    if (v->type != DT_F32)
        return row_bytes;
    if (is_pixels(m, id))
        return row_bytes / 4;
    *coded = m->options.wire != PLAN_WIRE_F32;
    const struct geometry geo = value_geometry(v);
    const bool blocked = v->form == FORM_MAP && geo.blocked;
    switch (m->options.wire) {
    case PLAN_WIRE_F16:
        return row_bytes / 2;
    case PLAN_WIRE_I8:
        /* and a scale for every 16 channels of a row, or for a narrow one */
        return row_bytes / 4 + 4 * (blocked ? (double)((geo.channels + 15) / 16) : 1);
    case PLAN_WIRE_F32:
        break;
    }
    return row_bytes;
}

static void fill_values(struct cost_model *m) {
    const struct graph *g = m->g;
    for (int i = 0; i < g->value_count; i++) {
        const struct value *v = graph_value(g, i);
        struct cost_value *c = &m->values[i];
        *c = (struct cost_value){.rows = 1,
                                 .producer = v->producer,
                                 .last_use = -1,
                                 .known = shape_known(&v->shape),
                                 .constant = v->is_constant};
        if (c->known && !v->is_constant) {
            const struct geometry geo = value_geometry(v);
            c->rows = geo.images * geo.height;
            c->row_bytes = (double)geo.row_bytes;
            c->wire_bytes = wire_row_bytes(m, i, c->row_bytes, &c->coded);
        }
    }
    for (int k = 0; k < g->node_count; k++)
        for (int i = 0; i < g->nodes[k].in_count; i++)
            if (g->nodes[k].in[i] >= 0)
                m->values[g->nodes[k].in[i]].last_use = k;
    for (int i = 0; i < g->output_count; i++)
        m->values[g->outputs[i]].last_use = g->node_count;
}

static void fill_nodes(struct cost_model *m, const bool *wide) {
    const struct graph *g = m->g;
    for (int k = 0; k < g->node_count; k++) {
        const struct node *n = &g->nodes[k];
        m->outputs[k] = -1;
        for (int i = n->out_count - 1; i >= 0; i--)
            m->outputs[k] = n->out[i] >= 0 ? n->out[i] : m->outputs[k];
        m->nodes[k].wide = wide[k];
        m->nodes[k].flops = node_flops(g, n);
        m->nodes[k].rows = m->outputs[k] >= 0 ? m->values[m->outputs[k]].rows : 1;
        m->nodes[k].weight_bytes = transition_weight_bytes(g, k);
        m->nodes[k].part_rows =
            transition_part_rows(g, k, m->nodes[k].flops, m->nodes[k].weight_bytes);
    }
}

/* ---- times ---------------------------------------------------------------------------------- */

static bool is_chained(const struct profile *p, int node) {
    for (int t = 0; t < p->type_count; t++)
        if (p->types[t].chained_of != NULL && p->types[t].chained_of[node] >= 0)
            return true;
    return false;
}

/* Times of node k over all numbers of rows, of every type; returns the end of what it wrote. */
static double *fill_times(const struct cost_model *m, int k, bool chained, double *at) {
    for (int i = 0; i < m->p->type_count; i++) {
        const struct profile_type *t = &m->p->types[i];
        int curve = t->curve_of[k];
        if (chained && t->chained_of != NULL && t->chained_of[k] >= 0)
            curve = t->chained_of[k];
        for (int64_t y = 0; y <= m->nodes[k].rows; y++)
            *at++ = curve < 0 ? 0 : profile_curve_ms(&t->curves[curve], (double)y);
    }
    return at;
}

static enum cohort_code fill_table(struct cost_model *m, struct cohort_error *err) {
    const struct profile *p = m->p;
    size_t count = 0;
    for (int k = 0; k < m->g->node_count; k++)
        if (m->nodes[k].rows <= TABLE_ROWS)
            count +=
                (size_t)p->type_count * ((size_t)m->nodes[k].rows + 1) * (is_chained(p, k) ? 2 : 1);
    m->table = mem_alloc((count + 1) * sizeof *m->table);
    if (m->table == NULL)
        return error_memory(err, count * sizeof *m->table, "the planner's tables");
    double *at = m->table;
    for (int k = 0; k < m->g->node_count; k++) {
        if (m->nodes[k].rows > TABLE_ROWS)
            continue;
        m->nodes[k].ms = at;
        at = fill_times(m, k, false, at);
        if (is_chained(p, k)) {
            m->nodes[k].chained = at;
            at = fill_times(m, k, true, at);
        }
    }
    for (int k = 0; k < m->g->node_count; k++)
        if (m->nodes[k].rows > 0)
            m->nodes[k].unit = cost_node_ms(m, 0, k, m->nodes[k].rows) / (double)m->nodes[k].rows;
    return COHORT_OK;
}

double cost_whole_ms(const struct cost_model *m, int board, int first, int end) {
    double ms = 0;
    for (int k = first; k < end; k++)
        ms += cost_op_ms(m, board, k, end, m->nodes[k].rows);
    return ms;
}

static void fill_links(struct cost_model *m) {
    for (int from = 0; from < m->boards; from++)
        for (int to = 0; to < m->boards; to++) {
            struct cost_link *l = &m->links[(size_t)from * (size_t)m->boards + (size_t)to];
            const int curve = m->p->link_of[(size_t)from * (size_t)m->p->board_count + (size_t)to];
            if (from == to || curve < 0)
                continue;
            l->curve = &m->p->links[curve];
            l->latency = profile_latency_ms(l->curve) + m->p->wake_ms;
        }
}

double cost_transfer_ms(const struct cost_model *m, int from, int to, double bytes) {
    const struct cost_link *l = &m->links[(size_t)from * (size_t)m->boards + (size_t)to];
    if (l->curve == NULL || !(bytes > 0))
        return 0;
    const double ms = profile_curve_ms(l->curve, bytes) - (l->latency - m->p->wake_ms);
    return ms > 0 ? ms : 0;
}

/* ---- who computes --------------------------------------------------------------------------- */

static void order_boards(struct cost_model *m) {
    bool any_wide = false;
    for (int k = 0; k < m->g->node_count; k++)
        any_wide = any_wide || m->nodes[k].wide;
    for (int b = 0; b < m->boards; b++) {
        double ms = 0;
        for (int k = 0; k < m->g->node_count; k++)
            if (m->nodes[k].wide || !any_wide)
                ms += cost_node_ms(m, b, k, m->nodes[k].rows);
        m->speed[b] = ms > 0 ? 1 / ms : 1;
        m->usable[b] = !(m->options.root_feeds && b == 0) &&
                       !(m->options.left_out != NULL && m->options.left_out[b]);
        if (!m->usable[b])
            continue;
        int at = m->usable_count++; /* insertion keeps equal boards in their order */
        for (; at > 0 && m->speed[m->order[at - 1]] < m->speed[b]; at--)
            m->order[at] = m->order[at - 1];
        m->order[at] = b;
    }
}

void cost_fastest(const struct cost_model *m, int count, bool *who) {
    memset(who, 0, (size_t)m->boards * sizeof *who);
    for (int i = 0; i < count && i < m->usable_count; i++)
        who[m->order[i]] = true;
}

/* ---- life ----------------------------------------------------------------------------------- */

void cost_destroy(struct cost_model **mm) {
    struct cost_model *m = *mm;
    if (m == NULL)
        return;
    mem_free(m->usable);
    mem_free(m->order);
    mem_free(m->speed);
    mem_free(m->values);
    mem_free(m->nodes);
    mem_free(m->links);
    mem_free(m->table);
    mem_free(m->starts);
    mem_free(m->outputs);
    splitter_destroy(&m->splitter);
    mem_free(m);
    *mm = NULL;
}

static bool allocate(struct cost_model *m) {
    const size_t boards = (size_t)m->boards, nodes = (size_t)m->g->node_count;
    m->usable = mem_zalloc(boards, sizeof *m->usable);
    m->order = mem_zalloc(boards, sizeof *m->order);
    m->speed = mem_zalloc(boards, sizeof *m->speed);
    m->values = mem_zalloc((size_t)m->g->value_count + 1, sizeof *m->values);
    m->nodes = mem_zalloc(nodes + 1, sizeof *m->nodes);
    m->outputs = mem_zalloc(nodes + 1, sizeof *m->outputs);
    m->links = mem_zalloc(boards * boards, sizeof *m->links);
    return m->usable != NULL && m->order != NULL && m->speed != NULL && m->values != NULL &&
           m->nodes != NULL && m->outputs != NULL && m->links != NULL;
}

enum cohort_code cost_create(struct cost_model **out, const struct graph *g,
                             const struct profile *p, const struct cost_options *o,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool *wide = NULL;
    struct cost_model *m = NULL;
    TRY(profile_check(p, g, err));
    if (o->boards < 0 || o->boards > p->board_count)
        return error_set(err, COHORT_ERR_PLAN, "a plan for %d boards, but the profile has only %d",
                         o->boards, p->board_count);
    m = mem_zalloc(1, sizeof *m);
    wide = mem_zalloc((size_t)g->node_count + 1, sizeof *wide);
    if (m != NULL)
        *m = (struct cost_model){
            .g = g, .p = p, .options = *o, .boards = o->boards > 0 ? o->boards : p->board_count};
    if (m == NULL || wide == NULL || !allocate(m)) {
        code = error_memory(err, (size_t)p->board_count * (size_t)p->board_count * 16,
                            "the planner's tables");
        goto out;
    }
    TRY(splitter_create(&m->splitter, m, err));
    plan_find_wide(g, wide);
    fill_values(m);
    fill_nodes(m, wide);
    TRY(channel_fill(m, err));
    TRY(fill_table(m, err));
    fill_links(m);
    order_boards(m);
    if (m->usable_count == 0) {
        code = error_set(err, COHORT_ERR_USAGE,
                         "no board is left to compute: all %d are excluded (--root feed excludes "
                         "board 0)",
                         m->boards);
        goto out;
    }
    *out = m;
    m = NULL;
out:
    mem_free(wide);
    cost_destroy(&m);
    return code;
}

/* ---- limits ---------------------------------------------------------------------------------- */

double cost_memory_limit(const struct cost_model *m, int board) {
    const struct cost_options *o = &m->options;
    const uint64_t own = o->memory_limits != NULL ? o->memory_limits[board] : 0;
    const double all = o->memory_limit > 0 ? (double)o->memory_limit : INFINITY;
    return own > 0 ? fmin((double)own, all) : all;
}

bool cost_memory_limited(const struct cost_model *m) {
    for (int b = 0; b < m->boards; b++)
        if (cost_memory_limit(m, b) < INFINITY)
            return true;
    return false;
}

double cost_memory_excess(const struct cost_model *m, const double *bytes, int *board) {
    double most = -INFINITY;
    for (int b = 0; b < m->boards; b++) {
        const double excess = bytes[b] - cost_memory_limit(m, b);
        if (excess > most && board != NULL)
            *board = b;
        most = fmax(most, excess);
    }
    return most;
}
