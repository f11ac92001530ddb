/* What a segment by channels becomes on each board; see channels.h. */
#include "planner/channels.h"

#include "base/mem.h"
#include "graph/op.h"

#include <string.h>

/* ---- who has which channels ------------------------------------------------------------------ */

int channels_maker(const struct plan *p, const struct graph *g, int id) {
    const int node = graph_value(g, id)->producer;
    for (int i = 0; i < p->segment_count && node >= 0; i++) {
        const struct plan_segment *s = &p->segments[i];
        if (node < plan_segment_end(p, g, i))
            return (s->mode == PLAN_OUT_CHANNEL || s->mode == PLAN_CHANNELWISE) &&
                           s->output == PLAN_STAY && p->boards > 1
                       ? i
                       : -1;
    }
    return -1;
}

/* The value that the split is of. */
static int split_value(const struct plan_part *part) {
    return plan_adds_up(part->mode) ? part->graph->nodes[part->first].in[0] : part->until;
}

static bool has_share(const struct plan_part *part, int b) {
    const int64_t *split = part->plan->segments[part->segment].split;
    return split[b + 1] > split[b];
}

enum cohort_code channels_share(const struct plan_part *part, int id, int b, struct channels *c,
                                struct cohort_error *err) {
    const struct graph *g = part->graph;
    const int64_t *split = part->plan->segments[part->segment].split;
    const int64_t of = shard_channels(g, split_value(part)), count = shard_channels(g, id);
    *c = (struct channels){0, 0};
    if (!has_share(part, b))
        return COHORT_OK;
    if (part->mode == PLAN_ROWS_GEMM) {
        *c = (struct channels){split[b], split[b + 1]};
        return COHORT_OK;
    }
    if (of == 0 || split[b] * count % of != 0 || split[b + 1] * count % of != 0 || count == 0)
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d: '%s' with %lld channels cannot be divided as '%s' with %lld",
                         part->segment, graph_value(g, id)->name, (long long)count,
                         graph_value(g, split_value(part))->name, (long long)of);
    *c = (struct channels){split[b] * count / of, split[b + 1] * count / of};
    return COHORT_OK;
}

bool channels_gets_result(const struct plan_part *part, int b) {
    return part->to_all || (part->to_root && b == 0);
}

/* Is it read, when the addends were added up, by all who get the sum? */
static bool is_residual(const struct plan_part *part, int id) {
    const struct node *n = &part->graph->nodes[part->first];
    return plan_adds_up(part->mode) && n->epilogue.residual >= 0 &&
           n->in[n->epilogue.residual] == id;
}

/* … and before that? */
static bool is_summed(const struct plan_part *part, int id) {
    const struct node *n = &part->graph->nodes[part->first];
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] == id && i != n->epilogue.residual)
            return true;
    return !plan_adds_up(part->mode);
}

void channels_rows(const struct plan_part *part, int b, struct rows *need) {
    const int64_t *split = part->plan->segments[part->segment].split;
    for (int i = 0; i < part->input_count; i++) {
        const int id = part->inputs[i];
        const bool sums = has_share(part, b) && is_summed(part, id);
        const bool reads = sums || (channels_gets_result(part, b) && is_residual(part, id));
        if (sums && part->mode == PLAN_ROWS_GEMM)
            need[id] = (struct rows){split[b], split[b + 1]};
        else if (reads && channels_maker(part->plan, part->graph, id) < 0)
            need[id] = plan_all_rows(part->graph, id);
    }
    for (int i = 0; i < part->output_count; i++)
        if (channels_gets_result(part, b))
            need[part->outputs[i]] = plan_all_rows(part->graph, part->outputs[i]);
}

/* ---- dividing a segment ---------------------------------------------------------------------- */

struct divider {
    struct shard *s;
    const struct plan_part *part;
    int board;
    bool *taken; /* of each value: its slice was taken from the whole */
    struct channel_work *w;
};

static bool made_here(const struct plan_part *part, int id) {
    const int node = graph_value(part->graph, id)->producer;
    return node >= part->first && node < part->last;
}

/* Channels c of an input of the segment are at hand, or made so. */
static enum cohort_code have_slice(struct divider *d, int id, struct channels c,
                                   struct cohort_error *err) {
    const struct plan_part *part = d->part;
    const struct graph *g = part->graph;
    const int maker = channels_maker(part->plan, g, id);
    struct plan_part before = {.plan = part->plan, .graph = g, .segment = maker};
    struct channels there;
    enum cohort_code code = COHORT_OK;
    if (made_here(part, id) || shard_channels(g, id) == 0)
        return COHORT_OK;
    if (maker < 0) {
        if (d->taken[id] || (c.begin == 0 && c.end == shard_channels(g, id)))
            return COHORT_OK;
        d->taken[id] = true;
        return shard_take(d->s, id, c, &d->w->nodes[d->w->count++], err);
    }
    before.mode = part->plan->segments[maker].mode;
    before.until = graph_find_value(g, part->plan->segments[maker].until);
    TRY(channels_share(&before, id, d->board, &there, err));
    if (there.begin != c.begin || there.end != c.end)
        code =
            error_set(err, COHORT_ERR_PLAN,
                      "segment %d reads channels %lld to %lld of '%s' on board %d, which has %lld "
                      "to %lld of segment %d: give both the same split, or make segment %d's "
                      "output \"all\"",
                      part->segment, (long long)c.begin, (long long)c.end, graph_value(g, id)->name,
                      d->board, (long long)there.begin, (long long)there.end, maker, maker);
out:
    return code;
}

/* All channels of an input are at hand. */
static enum cohort_code have_whole(const struct divider *d, const struct node *n, int id,
                                   struct cohort_error *err) {
    const struct graph *g = d->part->graph;
    const int maker = channels_maker(d->part->plan, g, id);
    if (maker < 0 && !made_here(d->part, id))
        return COHORT_OK;
    return error_set(err, COHORT_ERR_PLAN,
                     "segment %d: '%s' needs all channels of '%s', of which each board has some: "
                     "end a segment there with output \"all\", or run the operator in-channel",
                     d->part->segment, n->name, graph_value(g, id)->name);
}

static bool sums_channels(const struct graph *g, const struct node *n) {
    struct channels in;
    struct cohort_error ignored;
    return shard_input(g, n, SHARD_OUT, (struct channels){0, MAP_BLOCK}, &in, &ignored) ==
           COHORT_OK;
}

static bool sums_rows(const struct graph *g, const struct node *n) {
    struct channels in;
    struct cohort_error ignored;
    return shard_input(g, n, SHARD_ROWS, (struct channels){0, 1}, &in, &ignored) == COHORT_OK;
}

/* A node of an out-channel or channelwise segment. */
static enum cohort_code divide_node(struct divider *d, int node, struct cohort_error *err) {
    const struct graph *g = d->part->graph;
    const struct node *n = &g->nodes[node];
    const bool dense = d->part->mode == PLAN_OUT_CHANNEL && sums_channels(g, n);
    const enum shard_mode mode = dense ? SHARD_OUT : SHARD_CHANNELWISE;
    enum cohort_code code = COHORT_OK;
    struct channels out, in;
    TRY(channels_share(d->part, n->out[0], d->board, &out, err));
    TRY(shard_input(g, n, mode, out, &in, err));
    for (int i = 0; i < n->in_count; i++) {
        const int id = n->in[i];
        if (id < 0 || graph_value(g, id)->is_constant)
            continue;
        if (dense && i != n->epilogue.residual)
            TRY(have_whole(d, n, id, err));
        else if (!dense && shard_channels(g, id) == 1)
            TRY(have_whole(d, n, id, err)); /* one channel for all */
        else
            TRY(have_slice(d, id, i == 0 ? in : out, err));
    }
    code = shard_divide(d->s, node, mode, out, &d->w->nodes[d->w->count], err);
    d->w->count += code == COHORT_OK;
out:
    return code;
}

/* The board's channels of what an in-channel segment adds up are at hand, or its rows. */
static enum cohort_code have_summed(struct divider *d, const struct node *n, struct channels in,
                                    struct cohort_error *err) {
    const struct graph *g = d->part->graph;
    enum cohort_code code = COHORT_OK;
    if (d->part->mode == PLAN_ROWS_GEMM) {
        TRY(have_whole(d, n, n->in[0], err));
        if (in.begin > 0 || in.end < shard_rows(g, n->in[0]))
            TRY(shard_take_rows(d->s, n->in[0], in, &d->w->nodes[d->w->count++], err));
        goto out;
    }
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] >= 0 && !graph_value(g, n->in[i])->is_constant && i != n->epilogue.residual)
            TRY(have_slice(d, n->in[i], in, err));
out:
    return code;
}

/* The one node of an in-channel or rows-gemm segment. */
static enum cohort_code divide_sum(struct divider *d, struct cohort_error *err) {
    const struct plan_part *part = d->part;
    const struct graph *g = part->graph;
    const struct node *n = &g->nodes[part->first];
    const enum shard_mode mode = part->mode == PLAN_ROWS_GEMM ? SHARD_ROWS : SHARD_IN;
    enum cohort_code code = COHORT_OK;
    struct channels in, out = {0, shard_channels(g, n->out[0])};
    TRY(channels_share(part, n->in[0], d->board, &in, err));
    if (in.begin < in.end) {
        TRY(have_summed(d, n, in, err));
        TRY(shard_divide(d->s, part->first, mode, in, &d->w->nodes[d->w->count], err));
        d->w->count++;
    }
    d->w->finish = d->w->count;
    if (n->epilogue.residual >= 0)
        TRY(have_whole(d, n, n->in[n->epilogue.residual], err));
    if (channels_gets_result(part, d->board)) {
        TRY(shard_finish(d->s, part->first, out, &d->w->nodes[d->w->count], err));
        d->w->count++;
    }
out:
    return code;
}

/* What a segment that makes addends has to be. */
static enum cohort_code check_sum(const struct plan_part *part, struct cohort_error *err) {
    const struct graph *g = part->graph;
    const struct node *n = &g->nodes[part->first];
    const char *mode = plan_mode_name(part->mode);
    if (part->last - part->first != 1)
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d is %s, so it must have one operator, not %d", part->segment,
                         mode, part->last - part->first);
    if (part->mode == PLAN_IN_CHANNEL && !sums_channels(g, n))
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d is %s, but '%s' (%s) has no sum over channels that can be "
                         "divided",
                         part->segment, mode, n->name, n->op->name);
    if (part->mode == PLAN_ROWS_GEMM && !sums_rows(g, n))
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d is %s, but '%s' (%s) is no fully connected layer behind a map "
                         "of one image",
                         part->segment, mode, n->name, n->op->name);
    if (!part->to_root && !part->to_all)
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d is %s, so its output must be \"root\" or \"all\": an addend "
                         "cannot stay",
                         part->segment, mode);
    return COHORT_OK;
}

/* What a segment has to be, whatever board runs it. */
static enum cohort_code check_part(const struct plan_part *part, struct cohort_error *err) {
    const struct graph *g = part->graph;
    const enum cohort_code code = plan_adds_up(part->mode) ? check_sum(part, err) : COHORT_OK;
    if (code != COHORT_OK)
        return code;
    const int64_t *split = part->plan->segments[part->segment].split;
    const int of = split_value(part);
    const bool rows = part->mode == PLAN_ROWS_GEMM;
    const int64_t count = rows ? shard_rows(g, of) : shard_channels(g, of);
    const int64_t end = split[part->plan->boards];
    if (end != count)
        return error_set(err, COHORT_ERR_PLAN,
                         "segment %d: the split ends at %s %lld, but '%s' has %lld %ss",
                         part->segment, rows ? "row" : "channel", (long long)end,
                         graph_value(g, of)->name, (long long)count, rows ? "row" : "channel");
    return COHORT_OK;
}

enum cohort_code channels_divide(struct shard *s, const struct plan_part *part, int b,
                                 struct channel_work *w, struct cohort_error *err) {
    struct divider d = {.s = s, .part = part, .board = b, .w = w};
    const struct graph *g = part->graph;
    enum cohort_code code = COHORT_OK;
    size_t most = 2; /* each node, and each input that a slice is taken of */
    *w = (struct channel_work){0};
    TRY(check_part(part, err));
    for (int i = part->first; i < part->last; i++)
        most += 1 + (size_t)g->nodes[i].in_count;
    w->nodes = mem_alloc(most * sizeof *w->nodes);
    d.taken = mem_zalloc((size_t)g->value_count, sizeof *d.taken);
    if (w->nodes == NULL || d.taken == NULL) {
        code = error_memory(err, most * sizeof *w->nodes, "a segment by channels");
        goto out;
    }
    if (plan_adds_up(part->mode)) {
        TRY(divide_sum(&d, err));
        goto out;
    }
    for (int i = part->first; i < part->last && has_share(part, b); i++)
        TRY(divide_node(&d, i, err));
    w->finish = w->count;
out:
    mem_free(d.taken);
    if (code != COHORT_OK) {
        mem_free(w->nodes);
        w->nodes = NULL;
    }
    if (code == COHORT_ERR_PLAN && err != NULL && strncmp(err->message, "segment ", 8) != 0)
        error_wrap(err, "segment %d", part->segment);
    return code;
}

/* ---- checking -------------------------------------------------------------------------------- */

/* What stays divided is read by channels only, and not given out. */
static enum cohort_code check_readers(const struct plan_part *part, struct cohort_error *err) {
    const struct graph *g = part->graph;
    for (int i = 0; i < part->input_count; i++) {
        const int id = part->inputs[i], maker = channels_maker(part->plan, g, id);
        if (maker >= 0 && !plan_by_channels(part->mode))
            return error_set(err, COHORT_ERR_PLAN,
                             "segment %d reads '%s', of which segment %d leaves some channels on "
                             "each board: make segment %d's output \"all\" or \"root\"",
                             part->segment, graph_value(g, id)->name, maker, maker);
    }
    for (int i = 0; i < part->output_count; i++)
        if (graph_is_output(g, part->outputs[i]) &&
            channels_maker(part->plan, g, part->outputs[i]) >= 0)
            return error_set(err, COHORT_ERR_PLAN,
                             "segment %d makes '%s', which goes out of the network, so its output "
                             "must be \"root\" or \"all\"",
                             part->segment, graph_value(g, part->outputs[i])->name);
    return COHORT_OK;
}

/* Divides it on each board, and forgets what came out. */
static enum cohort_code try_part(const struct plan_part *part, struct cohort_error *err) {
    enum cohort_code code = check_readers(part, err);
    for (int b = 0; b < part->plan->boards && plan_by_channels(part->mode) && code == COHORT_OK;
         b++) {
        struct shard *s = NULL;
        struct channel_work w = {0};
        code = shard_create(&s, part->graph, err);
        if (code == COHORT_OK)
            code = channels_divide(s, part, b, &w, err);
        mem_free(w.nodes);
        shard_destroy(&s);
    }
    return code;
}

enum cohort_code channels_check(const struct plan *p, const struct graph *g,
                                struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0, first = 0; plan_has_channels(p) && i < p->segment_count; i++) {
        struct plan_part part;
        TRY(plan_part_init(&part, p, g, i, first, err));
        code = try_part(&part, err);
        first = part.last;
        plan_part_release(&part);
        TRY(code);
    }
out:
    return code;
}
