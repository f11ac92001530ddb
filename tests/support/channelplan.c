/* Random plans by channels: drawn freely, and repaired where plan_check() finds fault. */
#include "tests/support/channelplan.h"

#include "base/mem.h"
#include "graph/shard.h"
#include "tests/support/testmap.h"

#include <stdio.h>
#include <string.h>

#define BOARDS_MOST 16

struct draft {
    const struct graph *g;
    struct plan *p;
    struct random r;
    double shares[BOARDS_MOST + 1]; /* rising from 0 to 1; the same for all segments */
};

/* Whole blocks, no share of less than one. */
static void split_channels(const struct draft *d, int64_t count, int64_t *split) {
    const int64_t units = count / MAP_BLOCK;
    for (int b = 0; b <= d->p->boards; b++) {
        const int64_t unit = (int64_t)(d->shares[b] * (double)units + 0.5);
        split[b] = unit >= units ? count : unit * MAP_BLOCK;
    }
    split[d->p->boards] = count;
}

static void split_rows(const struct draft *d, int64_t rows, int64_t *split) {
    for (int b = 0; b <= d->p->boards; b++)
        split[b] = (int64_t)(d->shares[b] * (double)rows + 0.5);
    split[d->p->boards] = rows;
}

static bool local(struct plan_segment *s) {
    s->mode = PLAN_LOCAL;
    s->output = PLAN_TO_ROOT;
    s->board = 0;
    mem_free(s->split);
    s->split = NULL;
    return true;
}

static bool sums_channels(const struct graph *g, const struct node *n) {
    struct channels in;
    struct cohort_error ignored;
    return shard_input(g, n, SHARD_OUT, (struct channels){0, MAP_BLOCK}, &in, &ignored) ==
           COHORT_OK;
}

/* Is it a fully connected layer that can be divided by the rows of a map? */
static bool sums_rows(const struct graph *g, const struct node *n) {
    struct channels in;
    struct cohort_error ignored;
    return shard_input(g, n, SHARD_ROWS, (struct channels){0, 1}, &in, &ignored) == COHORT_OK;
}

/* Does the segment before leave something divided? */
static bool follows_divided(const struct draft *d, const struct plan_segment *s) {
    return s > d->p->segments && plan_by_channels(s[-1].mode) && s[-1].output == PLAN_STAY;
}

/* Nodes [first, last]. */
static bool fill_segment(struct draft *d, struct plan_segment *s, int first, int last) {
    static const enum plan_mode modes[] = {PLAN_OUT_CHANNEL, PLAN_OUT_CHANNEL, PLAN_OUT_CHANNEL,
                                           PLAN_IN_CHANNEL,  PLAN_IN_CHANNEL,  PLAN_CHANNELWISE,
                                           PLAN_CHANNELWISE, PLAN_LOCAL,       PLAN_REPLICATE};
    const struct node *n = &d->g->nodes[last];
    const int until = n->out[0], from = d->g->nodes[first].in[0];
    *s = (struct plan_segment){.until = mem_strdup(graph_value(d->g, until)->name),
                               .mode = modes[random_int(&d->r, 0, 8)],
                               .predicted_ms = -1,
                               .predicted_wait_ms = -1};
    if (follows_divided(d, s) && first == last)
        s->mode = sums_channels(d->g, n) ? PLAN_IN_CHANNEL : PLAN_CHANNELWISE;
    else if (first == last && sums_rows(d->g, n) && random_int(&d->r, 0, 2) > 0)
        s->mode = PLAN_ROWS_GEMM;
    const bool rows = s->mode == PLAN_ROWS_GEMM;
    const int of = s->mode == PLAN_IN_CHANNEL ? from : until;
    const int64_t count = of >= 0 ? shard_channels(d->g, of) : 0;
    if (s->until == NULL)
        return false;
    if (!plan_by_channels(s->mode) || (!rows && count < MAP_BLOCK)) {
        const bool everywhere = s->mode == PLAN_REPLICATE;
        local(s);
        if (everywhere) {
            s->mode = PLAN_REPLICATE;
            s->output = PLAN_STAY;
        }
        return true;
    }
    static const enum plan_output outputs[] = {PLAN_STAY,   PLAN_STAY,   PLAN_STAY,
                                               PLAN_TO_ALL, PLAN_TO_ALL, PLAN_TO_ROOT};
    s->output = outputs[random_int(&d->r, plan_adds_up(s->mode) ? 3 : 0, 5)];
    s->route = (enum plan_route)random_int(&d->r, 0, PLAN_ROUTES - 1);
    s->split = mem_alloc(((size_t)d->p->boards + 1) * sizeof *s->split);
    if (s->split != NULL && rows)
        split_rows(d, shard_rows(d->g, from), s->split);
    else if (s->split != NULL)
        split_channels(d, count, s->split);
    return s->split != NULL;
}

static bool fill(struct draft *d) {
    struct plan *p = d->p;
    for (int first = 0, i = 0; i < d->g->node_count; i++) {
        const bool divided = follows_divided(d, &p->segments[p->segment_count]);
        if (i + 1 < d->g->node_count && !divided && random_int(&d->r, 0, 3) == 0)
            continue; /* the next one belongs to it */
        if (!fill_segment(d, &p->segments[p->segment_count++], first, i))
            return false;
        first = i + 1;
    }
    return true;
}

/* Does what the message says; else the segment that it names becomes local. */
static bool repair(struct plan *p, const char *message) {
    const char *make = strstr(message, "make segment "), *named = strstr(message, "segment ");
    int i;
    if (make != NULL && sscanf(make, "make segment %d", &i) == 1 && i >= 0 &&
        i < p->segment_count && p->segments[i].output == PLAN_STAY) {
        p->segments[i].output = PLAN_TO_ALL;
        return true;
    }
    if (named == NULL || sscanf(named, "segment %d", &i) != 1 || i < 0 || i >= p->segment_count ||
        !plan_by_channels(p->segments[i].mode))
        return false;
    return local(&p->segments[i]);
}

static void draw_shares(struct draft *d) {
    const int boards = d->p->boards;
    double sum = 0, part[BOARDS_MOST];
    for (int b = 0; b < boards; b++) {
        part[b] = random_int(&d->r, 0, 3) == 0 && b > 0 ? 0 : 1 + random_int(&d->r, 0, 3);
        sum += part[b];
    }
    for (int b = 0; b < boards; b++)
        d->shares[b + 1] = d->shares[b] + part[b] / sum;
}

struct plan *channel_plan_make(const struct graph *g, int boards, uint64_t *seed, int *segments) {
    struct draft d = {.g = g, .p = mem_zalloc(1, sizeof *d.p), .r = {*seed}};
    struct cohort_error err = {0};
    bool good = d.p != NULL && boards <= BOARDS_MOST;
    if (!good)
        return NULL;
    d.p->boards = boards;
    d.p->predicted_ms = -1;
    d.p->network = mem_strdup(g->name);
    d.p->strategy = mem_strdup("random");
    d.p->segments = mem_zalloc((size_t)g->node_count, sizeof *d.p->segments);
    good = d.p->network != NULL && d.p->strategy != NULL && d.p->segments != NULL &&
           graph_signature(g, d.p->signature, &err) == COHORT_OK;
    draw_shares(&d);
    good = good && fill(&d);
    for (int tries = 0; good && plan_check(d.p, g, boards, &err) != COHORT_OK; tries++)
        good = tries < 4 * g->node_count && repair(d.p, err.message);
    *segments = 0;
    for (int i = 0; good && i < d.p->segment_count; i++)
        *segments += plan_by_channels(d.p->segments[i].mode);
    *seed = d.r.state;
    if (!good)
        plan_destroy(&d.p);
    return d.p;
}
