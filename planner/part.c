/* A segment of a plan as it is run; see part.h. */
#include "planner/part.h"

#include "base/mem.h"
#include "planner/channels.h"

#include <string.h>

/* The rows of a tile must be known before anything runs; one with an empty tensor inside is not
 * worth dividing. */
static enum cohort_code check_shapes(const struct plan_part *part, bool *empty,
                                     struct cohort_error *err) {
    const struct graph *g = part->graph;
    for (int i = part->first; i < part->last; i++)
        for (int k = 0; k < g->nodes[i].out_count; k++) {
            const struct value *v = node_out(g, &g->nodes[i], k);
            if (v != NULL && !shape_known(&v->shape))
                return error_set(
                    err, COHORT_ERR_PLAN,
                    "segment %d of the plan is tiled, but the shape of '%s' depends on "
                    "data: end the segment before it",
                    part->segment, v->name);
            if (v != NULL && shape_count(&v->shape) == 0)
                *empty = true;
        }
    return COHORT_OK;
}

enum cohort_code plan_part_init(struct plan_part *part, const struct plan *p, const struct graph *g,
                                int segment, int first, struct cohort_error *err) {
    const struct plan_segment *s = &p->segments[segment];
    enum cohort_code code = COHORT_OK;
    bool empty = false;
    *part = (struct plan_part){.plan = p,
                               .graph = g,
                               .segment = segment,
                               .first = first,
                               .last = plan_segment_end(p, g, segment),
                               .until = graph_find_value(g, s->until),
                               .mode = s->mode,
                               .board = s->mode == PLAN_LOCAL ? s->board : 0,
                               .to_root = s->output == PLAN_TO_ROOT && s->mode != PLAN_REPLICATE};
    if (s->mode == PLAN_TILE && p->boards > 1)
        TRY(check_shapes(part, &empty, err));
    if (p->boards == 1 || empty)
        part->mode = PLAN_LOCAL;
    part->to_all = plan_by_channels(part->mode) && s->output == PLAN_TO_ALL;
    TRY(segment_inputs(g, first, part->last, &part->inputs, &part->input_count, err));
    TRY(segment_outputs(g, first, part->last, &part->outputs, &part->output_count, err));
out:
    if (code != COHORT_OK)
        plan_part_release(part);
    return code;
}

void plan_part_release(struct plan_part *part) {
    mem_free(part->inputs);
    mem_free(part->outputs);
    part->inputs = part->outputs = NULL;
}

struct rows plan_all_rows(const struct graph *g, int id) {
    const struct value *v = graph_value(g, id);
    return (struct rows){0, shape_known(&v->shape) ? value_rows(v) : 1};
}

struct rows plan_part_share(const struct plan_part *part, int id, int b) {
    const struct plan_segment *s = &part->plan->segments[part->segment];
    if (part->mode == PLAN_LOCAL && part->board != b)
        return (struct rows){0, 0};
    if (plan_by_channels(part->mode))
        return (struct rows){0, 0};
    if (part->mode != PLAN_TILE)
        return plan_all_rows(part->graph, id);
    return (struct rows){plan_scaled_row(s, part->graph, part->until, id, b),
                         plan_scaled_row(s, part->graph, part->until, id, b + 1)};
}

void plan_part_rows(const struct plan_part *part, int b, struct rows *need) {
    const struct graph *g = part->graph;
    memset(need, 0, (size_t)g->value_count * sizeof *need);
    if (part->mode == PLAN_TILE) {
        for (int i = 0; i < part->output_count; i++)
            need[part->outputs[i]] = plan_part_share(part, part->outputs[i], b);
        rows_of_segment(g, part->first, part->last, need);
        return;
    }
    if (part->mode == PLAN_LOCAL && part->board != b)
        return;
    if (plan_by_channels(part->mode)) {
        channels_rows(part, b, need);
        return;
    }
    for (int i = 0; i < part->input_count; i++)
        need[part->inputs[i]] = plan_all_rows(g, part->inputs[i]);
    for (int i = part->first; i < part->last; i++)
        for (int k = 0; k < g->nodes[i].out_count; k++)
            if (g->nodes[i].out[k] >= 0)
                need[g->nodes[i].out[k]] = plan_all_rows(g, g->nodes[i].out[k]);
}
