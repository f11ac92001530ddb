/* From a plan to steps: which rows of which tensor this board holds, computes, sends and receives.
 *
 * Every rank compiles the same steps in the same order; only slots and rows differ.  Between
 * segments every live tensor is whole on rank 0 (layout AT(0)); a tiled segment scatters the rows
 * (with halo) that each board needs of its inputs, and gathers each board's share of its outputs.
 */
#include "runtime/session.h"

#include "base/mem.h"
#include "graph/op.h"
#include "graph/rows.h"

#include <string.h>

/* What compiling keeps track of; arrays have one entry per value of the graph. */
struct compiler {
    struct cohort_session *s;
    int *root_slot;      /* rank 0: the slot with the whole tensor, or -1 */
    int *last_use;       /* the last segment that reads it; segment_count: a network output */
    int *slot;           /* within one segment: this board's slot, or -1 */
    struct rows *need;   /* rows wanted inside the segment, on this rank … */
    struct rows *others; /* … and, one at a time, on another */
    int clock;           /* lifetimes are in this board's own steps */
};

/* The segment that is being compiled. */
struct part {
    int segment;
    int first, last; /* nodes */
    int until;       /* the value that ends it */
    int *inputs, *outputs;
    int input_count, output_count;
    bool tiled;
};

static enum cohort_code add_step(struct cohort_session *s, enum step_kind kind, int segment,
                                 struct step **step, struct cohort_error *err) {
    if (!MEM_GROW(s->steps, s->step_capacity, (size_t)s->step_count))
        return error_memory(err, sizeof *s->steps, "a plan's steps");
    *step = &s->steps[s->step_count++];
    **step =
        (struct step){.kind = kind, .segment = segment, .value = -1, .slot = -1, .root_slot = -1};
    return COHORT_OK;
}

static enum cohort_code add_move(struct cohort_session *s, enum step_kind kind, int segment,
                                 int value, struct step **step, struct cohort_error *err) {
    enum cohort_code code = add_step(s, kind, segment, step, err);
    if (code != COHORT_OK)
        return code;
    (*step)->value = value;
    (*step)->begin = mem_zalloc((size_t)s->size, sizeof(int64_t));
    (*step)->end = mem_zalloc((size_t)s->size, sizeof(int64_t));
    if ((*step)->begin == NULL || (*step)->end == NULL)
        return error_memory(err, (size_t)s->size * 16, "a plan's steps");
    return COHORT_OK;
}

void session_release_steps(struct cohort_session *s) {
    for (int i = 0; i < s->step_count; i++) {
        comm_transfer_destroy(&s->steps[i].transfer);
        mem_free(s->steps[i].begin);
        mem_free(s->steps[i].end);
    }
    mem_free(s->steps);
    s->steps = NULL;
    s->step_count = 0;
}

/* A tensor whose shape depends on data counts as one row: it only ever moves as a whole. */
static struct rows all_rows(const struct graph *g, int id) {
    const struct value *v = graph_value(g, id);
    return (struct rows){0, shape_known(&v->shape) ? value_rows(v) : 1};
}

/* ---- rows of a tiled segment ------------------------------------------------------------- */

/* The rows of value `id` that board b owns, in proportion to the segment's split. */
static struct rows share_of(const struct cohort_session *s, const struct part *part, int id,
                            int b) {
    const struct plan_segment *seg = &s->plan->segments[part->segment];
    return (struct rows){plan_scaled_row(seg, s->graph, part->until, id, b),
                         plan_scaled_row(seg, s->graph, part->until, id, b + 1)};
}

/* All rows that board b touches to make its share of the outputs. */
static void rows_of_board(const struct cohort_session *s, const struct part *part, int b,
                          struct rows *need) {
    memset(need, 0, (size_t)s->graph->value_count * sizeof *need);
    for (int i = 0; i < part->output_count; i++)
        need[part->outputs[i]] = share_of(s, part, part->outputs[i], b);
    rows_of_segment(s->graph, part->first, part->last, need);
}

/* ---- slots ----------------------------------------------------------------------------------- */

/* The whole tensor on rank 0, from now on; end_root_slots() ends its life. */
static enum cohort_code add_root_slot(struct compiler *c, int id, struct cohort_error *err) {
    struct cohort_session *s = c->s;
    if (s->rank != 0 || c->root_slot[id] >= 0)
        return COHORT_OK;
    bool pinned = c->last_use[id] == s->plan->segment_count;
    return exec_add_slot(s->program, id, all_rows(s->graph, id), c->clock, INT32_MAX, pinned,
                         &c->root_slot[id], err);
}

/* Ends the life of whole tensors that no later segment reads. */
static void end_root_slots(struct compiler *c, int segment) {
    for (int id = 0; c->s->rank == 0 && id < c->s->graph->value_count; id++)
        if (c->root_slot[id] >= 0 && c->last_use[id] == segment)
            exec_slot_ends(c->s->program, c->root_slot[id], c->clock);
}

/* The step in which the last node of the part that reads `id` runs, when its first node runs in
 * step `clock`; `otherwise` when none does. */
static int last_reader(const struct graph *g, const struct part *part, int id, int clock,
                       int otherwise) {
    for (int i = part->last - 1; i >= part->first; i--)
        for (int k = 0; k < g->nodes[i].in_count; k++)
            if (g->nodes[i].in[k] == id)
                return clock + (i - part->first);
    return otherwise;
}

/* Slots for all values that this board makes, beside those already set.  Values that later segments
 * read live until step `end`. */
static enum cohort_code add_inner_slots(struct compiler *c, const struct part *part, int end,
                                        struct cohort_error *err) {
    struct cohort_session *s = c->s;
    for (int i = part->first; i < part->last; i++)
        for (int k = 0; k < s->graph->nodes[i].out_count; k++) {
            int id = s->graph->nodes[i].out[k];
            if (id < 0 || c->slot[id] >= 0 || (part->tiled && rows_empty(c->need[id])))
                continue;
            int born = c->clock + (i - part->first);
            int dies = c->last_use[id] > part->segment
                           ? end
                           : last_reader(s->graph, part, id, c->clock, born);
            enum cohort_code code =
                exec_add_slot(s->program, id, c->need[id], born, dies, false, &c->slot[id], err);
            if (code != COHORT_OK)
                return code;
        }
    return COHORT_OK;
}

static void clear_slots(struct compiler *c) {
    for (int id = 0; id < c->s->graph->value_count; id++)
        c->slot[id] = -1;
}

/* ---- operators ------------------------------------------------------------------------------- */

/* Nothing to do where a tile has no rows; a whole tensor without rows (an empty one) still gets its
 * operator, which gives it its shape. */
static enum cohort_code add_op(struct compiler *c, const struct part *part, int node, int *in,
                               int *out, struct cohort_error *err) {
    const struct graph *g = c->s->graph;
    const struct node *n = &g->nodes[node];
    struct rows rows = {0, 0};
    for (int k = 0; k < n->in_count; k++)
        in[k] = n->in[k] >= 0 && !g->values[n->in[k]].is_constant ? c->slot[n->in[k]] : -1;
    for (int k = 0; k < n->out_count; k++) {
        out[k] = n->out[k] >= 0 ? c->slot[n->out[k]] : -1;
        if (n->out[k] >= 0)
            rows = rows_hull(rows, c->need[n->out[k]]);
    }
    if (part->tiled && rows_empty(rows))
        return COHORT_OK;
    return exec_add_op(c->s->program, node, rows, in, out, NULL, err);
}

static enum cohort_code add_ops(struct compiler *c, const struct part *part, struct step *step,
                                struct cohort_error *err) {
    const struct graph *g = c->s->graph;
    enum cohort_code code = COHORT_OK;
    int ports = 1;
    for (int i = part->first; i < part->last; i++) {
        ports = g->nodes[i].in_count > ports ? g->nodes[i].in_count : ports;
        ports = g->nodes[i].out_count > ports ? g->nodes[i].out_count : ports;
    }
    int *in = mem_alloc((size_t)ports * 2 * sizeof *in);
    if (in == NULL)
        return error_memory(err, (size_t)ports * 2 * sizeof *in, "a plan's operators");
    step->first_op = exec_op_count(c->s->program);
    for (int i = part->first; i < part->last; i++)
        TRY(add_op(c, part, i, in, in + ports, err));
    step->last_op = exec_op_count(c->s->program);
out:
    mem_free(in);
    return code;
}

/* ---- segments -------------------------------------------------------------------------------- */

static enum cohort_code compile_local(struct compiler *c, const struct part *part,
                                      struct cohort_error *err) {
    struct cohort_session *s = c->s;
    enum cohort_code code = COHORT_OK;
    struct step *step;
    TRY(add_step(s, STEP_COMPUTE, part->segment, &step, err));
    if (s->rank != 0)
        goto out;
    clear_slots(c);
    for (int i = 0; i < part->input_count; i++)
        c->slot[part->inputs[i]] = c->root_slot[part->inputs[i]];
    for (int i = 0; i < part->output_count; i++) {
        TRY(add_root_slot(c, part->outputs[i], err));
        c->slot[part->outputs[i]] = c->root_slot[part->outputs[i]];
    }
    for (int i = part->first; i < part->last; i++)
        for (int k = 0; k < s->graph->nodes[i].out_count; k++) {
            int id = s->graph->nodes[i].out[k];
            if (id >= 0)
                c->need[id] = all_rows(s->graph, id);
        }
    TRY(add_inner_slots(c, part, c->clock + part->last - part->first, err));
    TRY(add_ops(c, part, step, err));
    step->rows = all_rows(s->graph, part->until).end;
    c->clock += part->last - part->first;
out:
    return code;
}

/* Board b's rows of the tensor that a step moves. */
static void enter_range(struct step *step, int b, struct rows r) {
    step->begin[b] = rows_empty(r) ? 0 : r.begin;
    step->end[b] = rows_empty(r) ? 0 : r.end;
}

/* The scatter of each input, and this board's slots for them. */
static enum cohort_code add_scatters(struct compiler *c, const struct part *part,
                                     struct cohort_error *err) {
    struct cohort_session *s = c->s;
    enum cohort_code code = COHORT_OK;
    struct step *step;
    int first_step = s->step_count;
    for (int i = 0; i < part->input_count; i++)
        TRY(add_move(s, STEP_SCATTER, part->segment, part->inputs[i], &step, err));
    for (int b = 0; b < s->size; b++) {
        struct rows *need = b == s->rank ? c->need : c->others;
        rows_of_board(s, part, b, need);
        for (int i = 0; i < part->input_count; i++)
            enter_range(&s->steps[first_step + i], b, need[part->inputs[i]]);
    }
    for (int i = 0; i < part->input_count; i++) {
        int id = part->inputs[i];
        step = &s->steps[first_step + i];
        if (s->rank == 0)
            c->slot[id] = step->root_slot = c->root_slot[id];
        else if (!rows_empty(c->need[id]))
            TRY(exec_add_slot(s->program, id, c->need[id], c->clock,
                              last_reader(s->graph, part, id, c->clock + 1, c->clock), false,
                              &c->slot[id], err));
        if (s->rank != 0)
            step->slot = c->slot[id];
        if (c->slot[id] >= 0)
            exec_slot_travels(s->program, c->slot[id]);
    }
    c->clock++;
out:
    return code;
}

static enum cohort_code add_gathers(struct compiler *c, const struct part *part,
                                    struct cohort_error *err) {
    struct cohort_session *s = c->s;
    for (int i = 0; i < part->output_count; i++) {
        int id = part->outputs[i];
        struct step *step;
        enum cohort_code code = add_move(s, STEP_GATHER, part->segment, id, &step, err);
        if (code != COHORT_OK)
            return code;
        for (int b = 0; b < s->size; b++)
            enter_range(step, b, share_of(s, part, id, b));
        step->root_slot = c->root_slot[id];
        step->slot = s->rank == 0 ? -1 : c->slot[id];
        if (c->slot[id] >= 0)
            exec_slot_travels(s->program, c->slot[id]);
    }
    c->clock++;
    return COHORT_OK;
}

/* Input rows that this board needs beyond its share of them. */
static int64_t halo_rows(const struct compiler *c, const struct part *part) {
    int64_t halo = 0;
    for (int i = 0; i < part->input_count; i++) {
        int id = part->inputs[i];
        int64_t more = rows_count(c->need[id]) - rows_count(share_of(c->s, part, id, c->s->rank));
        halo += more > 0 ? more : 0;
    }
    return halo;
}

static enum cohort_code compile_tile(struct compiler *c, const struct part *part,
                                     struct cohort_error *err) {
    struct cohort_session *s = c->s;
    enum cohort_code code = COHORT_OK;
    struct step *step;
    clear_slots(c);
    TRY(add_scatters(c, part, err));
    TRY(add_step(s, STEP_COMPUTE, part->segment, &step, err));
    for (int i = 0; i < part->output_count; i++) {
        TRY(add_root_slot(c, part->outputs[i], err));
        if (s->rank == 0)
            c->slot[part->outputs[i]] = c->root_slot[part->outputs[i]];
    }
    TRY(add_inner_slots(c, part, c->clock + part->last - part->first, err));
    TRY(add_ops(c, part, step, err));
    step->rows = rows_count(share_of(s, part, part->until, s->rank));
    step->halo_rows = halo_rows(c, part);
    c->clock += part->last - part->first;
    TRY(add_gathers(c, part, err));
out:
    return code;
}

/* The rows of a tiled segment must be known before anything runs; one with an empty tensor inside
 * is not worth dividing, and runs locally. */
static enum cohort_code check_shapes(const struct graph *g, const struct part *part, bool *empty,
                                     struct cohort_error *err) {
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

/* What plans can say and this cannot run yet. */
static enum cohort_code check_segment(const struct cohort_session *s, int segment,
                                      struct cohort_error *err) {
    const struct plan_segment *seg = &s->plan->segments[segment];
    const char *what = NULL;
    if (s->size == 1)
        return COHORT_OK;
    if (s->plan->wire != PLAN_WIRE_F32)
        what = "values of other types than f32 between boards";
    else if (seg->mode == PLAN_REPLICATE)
        what = "segments on every board";
    else if (seg->mode == PLAN_LOCAL && seg->board != 0)
        what = "local segments on other boards than board 0";
    else if (seg->mode == PLAN_TILE && seg->output == PLAN_STAY)
        what = "outputs that stay on their boards";
    if (what == NULL)
        return COHORT_OK;
    return error_set(err, COHORT_ERR_UNSUPPORTED, "segment %d of the plan: %s cannot be run yet",
                     segment, what);
}

static enum cohort_code compile_segment(struct compiler *c, int segment, int first, int last,
                                        struct cohort_error *err) {
    struct cohort_session *s = c->s;
    enum cohort_code code = COHORT_OK;
    struct part part = {.segment = segment, .first = first, .last = last};
    part.until = graph_find_value(s->graph, s->plan->segments[segment].until);
    TRY(check_segment(s, segment, err));
    TRY(segment_inputs(s->graph, first, last, &part.inputs, &part.input_count, err));
    TRY(segment_outputs(s->graph, first, last, &part.outputs, &part.output_count, err));
    if (s->plan->segments[segment].mode == PLAN_TILE && s->size > 1) {
        bool empty = false;
        TRY(check_shapes(s->graph, &part, &empty, err));
        part.tiled = !empty;
    }
    TRY((part.tiled ? compile_tile : compile_local)(c, &part, err));
    end_root_slots(c, segment);
out:
    mem_free(part.inputs);
    mem_free(part.outputs);
    return code;
}

/* Which segment reads each value last.  What comes in and goes out of the network stays. */
static void find_last_uses(struct compiler *c) {
    const struct graph *g = c->s->graph;
    const struct plan *p = c->s->plan;
    for (int id = 0; id < g->value_count; id++)
        c->last_use[id] = -1;
    int first = 0;
    for (int i = 0; i < p->segment_count; i++) {
        int last = plan_segment_end(p, g, i);
        for (int n = first; n < last; n++)
            for (int k = 0; k < g->nodes[n].in_count; k++)
                if (g->nodes[n].in[k] >= 0)
                    c->last_use[g->nodes[n].in[k]] = i;
        first = last;
    }
    for (int i = 0; i < g->input_count; i++)
        c->last_use[g->inputs[i]] = p->segment_count;
    for (int i = 0; i < g->output_count; i++)
        c->last_use[g->outputs[i]] = p->segment_count;
}

static enum cohort_code compile_all(struct compiler *c, struct cohort_error *err) {
    struct cohort_session *s = c->s;
    const struct graph *g = s->graph;
    enum cohort_code code = COHORT_OK;
    for (int id = 0; id < g->value_count; id++)
        c->root_slot[id] = -1;
    find_last_uses(c);
    for (int i = 0; i < g->input_count; i++)
        TRY(add_root_slot(c, g->inputs[i], err));
    for (int i = 0; i < g->output_count; i++) /* an output that is an input or a constant */
        if (g->values[g->outputs[i]].producer < 0)
            TRY(add_root_slot(c, g->outputs[i], err));
    int first = 0;
    for (int i = 0; i < s->plan->segment_count; i++) {
        int last = plan_segment_end(s->plan, g, i);
        TRY(compile_segment(c, i, first, last, err));
        first = last;
    }
    for (int i = 0; s->rank == 0 && i < g->input_count; i++)
        s->input_slots[i] = c->root_slot[g->inputs[i]];
    for (int i = 0; s->rank == 0 && i < g->output_count; i++)
        s->output_slots[i] = c->root_slot[g->outputs[i]];
out:
    return code;
}

enum cohort_code session_compile(struct cohort_session *s, struct cohort_error *err) {
    const struct graph *g = s->graph;
    size_t values = (size_t)g->value_count + 1;
    struct compiler c = {.s = s};
    enum cohort_code code;
    c.root_slot = mem_zalloc(values, sizeof *c.root_slot);
    c.last_use = mem_zalloc(values, sizeof *c.last_use);
    c.slot = mem_zalloc(values, sizeof *c.slot);
    c.need = mem_zalloc(values, sizeof *c.need);
    c.others = mem_zalloc(values, sizeof *c.others);
    s->input_slots = mem_zalloc((size_t)g->input_count + 1, sizeof(int));
    s->output_slots = mem_zalloc((size_t)g->output_count + 1, sizeof(int));
    if (c.root_slot == NULL || c.last_use == NULL || c.slot == NULL || c.need == NULL ||
        c.others == NULL || s->input_slots == NULL || s->output_slots == NULL)
        code = error_memory(err, values * 64, "compiling the plan");
    else
        code = compile_all(&c, err);
    mem_free(c.root_slot);
    mem_free(c.last_use);
    mem_free(c.slot);
    mem_free(c.need);
    mem_free(c.others);
    return code;
}

/* ---- transfers ------------------------------------------------------------------------------- */

enum cohort_code session_make_transfers(struct cohort_session *s, struct cohort_error *err) {
    for (int i = 0; i < s->step_count && s->comm != NULL; i++) {
        struct step *t = &s->steps[i];
        if (t->kind == STEP_COMPUTE)
            continue;
        size_t row_bytes = value_geometry(graph_value(s->graph, t->value)).row_bytes;
        struct comm_ranges ranges = {.begin = t->begin, .end = t->end};
        char *mine = t->slot >= 0 ? exec_slot_data(s->program, t->slot) : NULL;
        void *whole = s->rank == 0 ? exec_slot_data(s->program, t->root_slot) : NULL;
        if (mine != NULL) /* the slot may begin before the rows that travel */
            mine +=
                (size_t)(t->begin[s->rank] - exec_slot_rows(s->program, t->slot).begin) * row_bytes;
        enum comm_scatter how =
            s->options.scatter == COHORT_SCATTER_ORDERED ? COMM_ORDERED : COMM_SCATTERV;
        enum cohort_code code =
            t->kind == STEP_SCATTER
                ? comm_scatter_create(&t->transfer, s->comm, how, row_bytes, &ranges, whole, mine,
                                      err)
                : comm_gather_create(&t->transfer, s->comm, row_bytes, &ranges, whole, mine, err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}
