/* A plan as data: its life, whether it fits a network, and where its rows lie. */
#include "planner/plan.h"

#include "base/mem.h"
#include "graph/rows.h"
#include "planner/channels.h"

#include <string.h>

void plan_destroy(struct plan **pp) {
    struct plan *p = *pp;
    if (p == NULL)
        return;
    for (int i = 0; i < p->segment_count; i++) {
        mem_free(p->segments[i].until);
        mem_free(p->segments[i].split);
    }
    mem_free(p->segments);
    mem_free(p->network);
    mem_free(p->strategy);
    mem_free(p);
    *pp = NULL;
}

/* ---- checking -------------------------------------------------------------------------------- */

static enum cohort_code check_network(const struct plan *p, const struct graph *g,
                                      struct cohort_error *err) {
    char signature[sizeof p->signature];
    enum cohort_code code = graph_signature(g, signature, err);
    if (code != COHORT_OK)
        return code;
    if (strcmp(signature, p->signature) == 0)
        return COHORT_OK;
    return error_set(err, COHORT_ERR_PLAN,
                     "the plan is for another network: for '%s' with signature %s, not for '%s' "
                     "with signature %s (sizes of inputs count too); make a new one",
                     p->network, p->signature, g->name, signature);
}

/* Whatever leaves the segment must have a shape that is known beforehand. */
static enum cohort_code check_outputs(const struct plan *p, const struct graph *g, int i, int first,
                                      int end, struct cohort_error *err) {
    const struct plan_segment *s = &p->segments[i];
    int *ids = NULL, count = 0;
    enum cohort_code code = segment_outputs(g, first, end, &ids, &count, err);
    for (int k = 0; k < count && code == COHORT_OK; k++)
        if (!shape_known(&graph_value(g, ids[k])->shape))
            code = error_set(err, COHORT_ERR_PLAN,
                             "segment %d cannot %s: the shape of '%s' is known only at run time "
                             "(--shape fixes the inputs')",
                             i,
                             s->mode == PLAN_TILE        ? "be divided by rows"
                             : plan_by_channels(s->mode) ? "be divided by channels"
                                                         : "run on every board",
                             graph_value(g, ids[k])->name);
    mem_free(ids);
    return code;
}

static enum cohort_code check_split(const struct plan *p, const struct graph *g, int i,
                                    struct cohort_error *err) {
    const struct plan_segment *s = &p->segments[i];
    const struct value *until = graph_value(g, graph_find_value(g, s->until));
    if (!shape_known(&until->shape))
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d: '%s' cannot be divided by rows: its shape is known only at "
                         "run time (--shape fixes the inputs')",
                         i, s->until);
    if (s->split[p->boards] != value_rows(until))
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d: the split ends at row %lld, but '%s' has %lld rows", i,
                         (long long)s->split[p->boards], s->until, (long long)value_rows(until));
    return COHORT_OK;
}

/* *end: one past the segment's last node. */
static enum cohort_code check_segment(const struct plan *p, const struct graph *g, int i, int first,
                                      int *end, struct cohort_error *err) {
    const struct plan_segment *s = &p->segments[i];
    const int id = graph_find_value(g, s->until);
    if (id < 0)
        return error_set(err, COHORT_ERR_PLAN, "segment %d: the network has no tensor '%s'", i,
                         s->until);
    const int last = graph_value(g, id)->producer;
    if (last < 0)
        return error_set(err, COHORT_ERR_PLAN, "segment %d: no operator makes '%s'", i, s->until);
    if (last < first)
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d: '%s' belongs to a segment before (segments go in the "
                         "network's order)",
                         i, s->until);
    if (s->mode == PLAN_LOCAL && (s->board < 0 || s->board >= p->boards))
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d: there is no board %d to run it: boards are 0 to %d", i,
                         s->board, p->boards - 1);
    *end = last + 1;
    if (s->mode == PLAN_LOCAL)
        return COHORT_OK;
    enum cohort_code code = s->mode == PLAN_TILE ? check_split(p, g, i, err) : COHORT_OK;
    return code == COHORT_OK ? check_outputs(p, g, i, first, *end, err) : code;
}

enum cohort_code plan_check(const struct plan *p, const struct graph *g, int boards,
                            struct cohort_error *err) {
    enum cohort_code code = check_network(p, g, err);
    if (code != COHORT_OK)
        return code;
    if (p->boards != boards)
        return error_set(err, COHORT_ERR_PLAN,
                         "the plan is for %d boards, but there are %d: make a new one, or start "
                         "%d ranks",
                         p->boards, boards, p->boards);
    int end = 0;
    for (int i = 0; i < p->segment_count && code == COHORT_OK; i++)
        code = check_segment(p, g, i, end, &end, err);
    if (code == COHORT_OK && end == g->node_count)
        code = channels_check(p, g, err);
    if (code == COHORT_OK && end != g->node_count)
        code = error_set(err, COHORT_ERR_PLAN,
                         "the segments cover %d of the network's %d operators: the last one must "
                         "end with the last operator",
                         end, g->node_count);
    return code;
}

static bool computes(const struct plan_segment *s, int board) {
    switch (s->mode) {
    case PLAN_TILE:
    case PLAN_OUT_CHANNEL:
    case PLAN_CHANNELWISE:
    case PLAN_IN_CHANNEL:
    case PLAN_ROWS_GEMM:
        return s->split[board + 1] > s->split[board];
    case PLAN_LOCAL:
        return s->board == board;
    case PLAN_REPLICATE:
        return true;
    }
    return false;
}

bool plan_has_channels(const struct plan *p) {
    for (int i = 0; i < p->segment_count; i++)
        if (plan_by_channels(p->segments[i].mode))
            return true;
    return false;
}

int plan_busy_boards(const struct plan *p) {
    int busy = 0;
    for (int b = 0; b < p->boards; b++) {
        bool any = false;
        for (int i = 0; i < p->segment_count && !any; i++)
            any = computes(&p->segments[i], b);
        busy += any;
    }
    return busy;
}

/* ---- where things lie ------------------------------------------------------------------------ */

int plan_segment_end(const struct plan *p, const struct graph *g, int i) {
    const int id = graph_find_value(g, p->segments[i].until);
    BUG_UNLESS(id >= 0 && graph_value(g, id)->producer >= 0);
    return graph_value(g, id)->producer + 1;
}

/* y * to / from, to the nearest whole number, without leaving 64 bits. */
static int64_t scale(int64_t y, int64_t from, int64_t to) {
    return y * (to / from) + (y * (to % from) + from / 2) / from;
}

int64_t plan_scaled_row(const struct plan_segment *s, const struct graph *g, int until, int id,
                        int boundary) {
    const struct geometry from = value_geometry(graph_value(g, until));
    const struct geometry to = value_geometry(graph_value(g, id));
    const int64_t row = s->split[boundary];
    const int64_t from_rows = from.images * from.height, to_rows = to.images * to.height;
    if (from_rows <= 0) /* nothing to go by: the first board has it all */
        return boundary == 0 ? 0 : to_rows;
    if (from.images != to.images)
        return scale(row, from_rows, to_rows);
    return row / from.height * to.height + scale(row % from.height, from.height, to.height);
}
