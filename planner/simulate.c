/* Timelines of a plan; see simulate.h. */
#include "planner/simulate.h"

#include "base/mem.h"
#include "planner/replay.h"
#include "planner/transitions.h"

#include <math.h>
#include <string.h>

struct timelines {
    struct simulation *s;
    struct replay r;
    double *cpu;      /* per board: when it has finished what it was given so far */
    double *before;   /* when it began with the segment before */
    double *out, *in; /* when its port is free */
    double *ready;   /* when its messages of this transition, or the last part of them, can leave */
    double *part_ms; /* the part before that is there so much earlier */
    double *arrival; /* when it has everything of this transition; < 0: waits for nothing */
    double result;   /* when the root has what the network gives */
    int *queue;      /* pairs, sender by sender, of one part after the other */
    int *head, *tail; /* per board: its part of the queue */
    bool traced;
};

#define QUEUED ((size_t)TRANSITION_PARTS) /* a pair's messages, at most */

/* ---- life ----------------------------------------------------------------------------------- */

void simulation_destroy(struct simulation **ss) {
    struct simulation *s = *ss;
    if (s == NULL)
        return;
    mem_free(s->segments);
    mem_free(s->board_ms);
    mem_free(s->peak_bytes);
    mem_free(s->pair_bytes);
    mem_free(s->trace);
    mem_free(s);
    *ss = NULL;
}

static bool allocate(struct timelines *l, const struct cost_model *m, int segments) {
    const size_t boards = (size_t)m->boards;
    struct simulation *s = l->s;
    s->boards = m->boards;
    s->segment_count = segments;
    s->segments = mem_zalloc((size_t)segments + 1, sizeof *s->segments);
    s->board_ms = mem_zalloc(3 * boards * ((size_t)segments + 1), sizeof *s->board_ms);
    s->peak_bytes = mem_zalloc(boards, sizeof *s->peak_bytes);
    s->pair_bytes = mem_zalloc(boards * boards, sizeof *s->pair_bytes);
    l->cpu = mem_zalloc(boards, 7 * sizeof *l->cpu);
    l->queue = mem_zalloc(QUEUED * boards * boards + 2 * boards, sizeof *l->queue);
    if (s->segments == NULL || s->board_ms == NULL || s->peak_bytes == NULL ||
        s->pair_bytes == NULL || l->cpu == NULL || l->queue == NULL)
        return false;
    l->out = l->cpu + boards;
    l->in = l->out + boards;
    l->ready = l->in + boards;
    l->arrival = l->ready + boards;
    l->before = l->arrival + boards;
    l->part_ms = l->before + boards;
    l->head = l->queue + QUEUED * boards * boards;
    l->tail = l->head + boards;
    for (int i = 0; i <= segments; i++) {
        s->segments[i].board_compute_ms = s->board_ms + 3 * boards * (size_t)i;
        s->segments[i].board_wait_ms = s->segments[i].board_compute_ms + boards;
        s->segments[i].board_out_ms = s->segments[i].board_wait_ms + boards;
    }
    return true;
}

static enum cohort_code record(struct timelines *l, struct sim_interval i,
                               struct cohort_error *err) {
    struct simulation *s = l->s;
    if (!l->traced || !(i.end_ms > i.begin_ms))
        return COHORT_OK;
    if (!MEM_GROW(s->trace, s->trace_capacity, s->trace_count))
        return error_memory(err, s->trace_count * sizeof i, "a simulation's trace");
    s->trace[s->trace_count++] = i;
    return COHORT_OK;
}

/* ---- messages ------------------------------------------------------------------------------- */

/* A board sends to the one behind it first, then further round, so that not all begin with the same
 * receiver; the root to boards in their order. */
static int order_of(int boards, int message) {
    const int pair = message % (boards * boards), part = message / (boards * boards);
    const int from = pair / boards, to = pair % boards;
    return part * boards + (to - from + boards) % boards;
}

/* Messages are numbered part * boards * boards + pair. */
static void fill_queue(struct timelines *l, const struct traffic *t) {
    const int boards = l->s->boards;
    memset(l->tail, 0, (size_t)boards * sizeof *l->tail);
    for (int i = 0; i < t->count; i++)
        l->tail[t->pairs[i] / boards] += t->parts;
    int at = 0;
    for (int b = 0; b < boards; b++) {
        l->head[b] = at;
        at += l->tail[b];
        l->tail[b] = l->head[b];
    }
    for (int i = 0; i < t->count * t->parts; i++) {
        const int pair = t->pairs[i % t->count], message = i / t->count * boards * boards + pair;
        const int from = pair / boards;
        int k = l->tail[from]++;
        for (; k > l->head[from] && order_of(boards, l->queue[k - 1]) > order_of(boards, message);
             k--)
            l->queue[k] = l->queue[k - 1];
        l->queue[k] = message;
    }
}

/* Before a pair's first message. */
static double setup_ms(const struct timelines *l, int message) {
    return message < l->s->boards * l->s->boards ? l->r.m->options.setup_ms : 0;
}

/* The sender whose next message can begin first; -1 when all is sent. */
static int next_sender(const struct timelines *l, const struct traffic *t, double *begin) {
    const int boards = l->s->boards;
    int best = -1;
    for (int b = 0; b < boards; b++) {
        if (l->head[b] == l->tail[b])
            continue;
        const int message = l->queue[l->head[b]], to = message % boards;
        const int later = t->parts - 1 - message / (boards * boards);
        const double ready = l->ready[b] - later * l->part_ms[b];
        const double free = l->in[to] - setup_ms(l, message); /* receives when that is done */
        const double at = fmax(ready, fmax(l->out[b], free));
        if (best < 0 || at < *begin) {
            best = b;
            *begin = at;
        }
    }
    return best;
}

/* When a board's messages can leave; `early`: their rows were there when the segment before began.
 */
static void find_ready(struct timelines *l, const struct traffic *t, bool early, int b) {
    const double tail = early || t->parts > 1 ? 0 : window_tail_ms(t, l->r.where, b);
    l->ready[b] = early ? l->before[b] : fmax(0, l->cpu[b] - tail);
    l->ready[b] += traffic_encode_ms(t, b) / t->parts;
    l->part_ms[b] = t->parts > 1 ? window_part_ms(t, l->r.where, b) : 0;
}

/* Sends everything of one transition. */
static enum cohort_code send_all(struct timelines *l, const struct traffic *t, bool early,
                                 int segment, struct cohort_error *err) {
    const int boards = l->s->boards;
    if (t->count == 0)
        return COHORT_OK;
    for (int b = 0; b < boards; b++)
        if (t->sends[b])
            find_ready(l, t, early, b);
    fill_queue(l, t);
    double begin = 0;
    for (int from = next_sender(l, t, &begin); from >= 0; from = next_sender(l, t, &begin)) {
        const int message = l->queue[l->head[from]++];
        const int pair = message % (boards * boards), to = pair % boards;
        const double end = begin + setup_ms(l, message) + traffic_message_ms(t, pair) / t->parts;
        const double bytes = t->bytes[pair] / t->parts;
        l->out[from] = l->in[to] = end;
        l->arrival[to] =
            fmax(l->arrival[to], end + l->r.m->links[pair].latency + traffic_decode_ms(t, to));
        l->s->pair_bytes[pair] += bytes;
        l->s->bytes += bytes;
        const enum cohort_code code = record(l,
                                             (struct sim_interval){.kind = SIM_SEND,
                                                                   .segment = segment,
                                                                   .board = from,
                                                                   .to = to,
                                                                   .bytes = bytes,
                                                                   .begin_ms = begin,
                                                                   .end_ms = end},
                                             err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

static void expect_nothing(struct timelines *l) {
    for (int b = 0; b < l->s->boards; b++)
        l->arrival[b] = -1;
}

static double sum_bytes(const struct traffic *t) {
    double sum = 0;
    for (int i = 0; i < t->count; i++)
        sum += t->bytes[t->pairs[i]];
    return sum;
}

/* ---- computing ------------------------------------------------------------------------------ */

static enum cohort_code wait_for(struct timelines *l, int segment, int b, double from, double until,
                                 struct cohort_error *err) {
    if (until <= from)
        return COHORT_OK;
    l->s->segments[segment].board_wait_ms[b] += until - from;
    return record(
        l,
        (struct sim_interval){
            .kind = SIM_WAIT, .segment = segment, .board = b, .begin_ms = from, .end_ms = until},
        err);
}

static enum cohort_code compute(struct timelines *l, int segment, int b, struct cohort_error *err) {
    const struct replay *r = &l->r;
    struct sim_segment *s = &l->s->segments[segment];
    const double ms = r->w.ms[b], begin = l->cpu[b];
    double head = 0, resume = begin;
    enum cohort_code code = COHORT_OK;
    if (l->arrival[b] >= 0) {
        const struct overlap *w = replay_window(r, REPLAY_IN);
        head =
            w == NULL ? 0 : fmin(ms, window_head_ms(r->m, w, b, demand_need(&r->w, b), r->where));
        resume = fmax(begin + head, l->arrival[b]);
        TRY(wait_for(l, segment, b, begin + head, resume, err));
    }
    struct sim_interval i = {.kind = SIM_COMPUTE,
                             .segment = segment,
                             .board = b,
                             .begin_ms = begin,
                             .end_ms = begin + head};
    TRY(record(l, i, err));
    i.begin_ms = resume;
    i.end_ms = l->arrival[b] >= 0 ? resume + ms - head : begin + ms;
    TRY(record(l, i, err));
    l->cpu[b] = i.end_ms;
    s->board_compute_ms[b] = ms;
    if (s->begin_ms < 0 || begin < s->begin_ms)
        s->begin_ms = begin;
    s->end_ms = fmax(s->end_ms, l->cpu[b]);
out:
    return code;
}

/* A segment: what it gets, and computing.  Both at once, because the overlap needs to know where
 * tensors lay before it. */
static enum cohort_code take_in(struct timelines *l, struct cohort_error *err) {
    struct replay *r = &l->r;
    const int segment = r->segment;
    struct sim_segment *s = &l->s->segments[segment];
    enum cohort_code code = COHORT_OK;
    s->first = r->first;
    s->end = r->end;
    s->begin_ms = -1;
    s->bytes_in = sum_bytes(&r->early) + sum_bytes(&r->t);
    expect_nothing(l);
    TRY(send_all(l, &r->early, true, segment, err));
    TRY(send_all(l, &r->t, false, segment, err));
    memcpy(l->before, l->cpu, (size_t)l->s->boards * sizeof *l->cpu);
    double whole = 0, done = 0;
    for (int b = 0; b < l->s->boards; b++) {
        if (r->w.ms[b] > 0 || l->arrival[b] >= 0)
            TRY(compute(l, segment, b, err));
        s->compute_ms = fmax(s->compute_ms, r->w.ms[b]);
        s->wait_ms = fmax(s->wait_ms, s->board_wait_ms[b]);
        done += r->w.work[b];
    }
    for (int k = r->first; k < r->end; k++)
        whole += (double)r->m->nodes[k].rows * r->m->nodes[k].unit;
    s->redundant = r->mode == PLAN_TILE && whole > 0 ? fmax(0, done / whole - 1) : 0;
out:
    return code;
}

static double longest(const double *ms, int count) {
    double most = 0;
    for (int i = 0; i < count; i++)
        most = fmax(most, ms[i]);
    return most;
}

/* Board b waits for what the segment's outputs bring it. */
static enum cohort_code wait_out(struct timelines *l, int b, double until,
                                 struct cohort_error *err) {
    struct sim_segment *s = &l->s->segments[l->r.segment];
    const double waited = fmax(0, until - l->cpu[b]), most = longest(s->board_out_ms, l->s->boards);
    enum cohort_code code = wait_for(l, l->r.segment, b, l->cpu[b], until, err);
    s->board_out_ms[b] += waited;
    s->wait_ms += longest(s->board_out_ms, l->s->boards) - most;
    l->cpu[b] += waited;
    return code;
}

/* What follows a sum, on board b. */
static enum cohort_code finish(struct timelines *l, int b, struct cohort_error *err) {
    struct sim_segment *s = &l->s->segments[l->r.segment];
    const double ms = channel_finish_ms(l->r.m, &l->r.run, b);
    const struct sim_interval i = {.kind = SIM_COMPUTE,
                                   .segment = l->r.segment,
                                   .board = b,
                                   .begin_ms = l->cpu[b],
                                   .end_ms = l->cpu[b] + ms};
    l->cpu[b] += ms;
    s->board_compute_ms[b] += ms;
    s->compute_ms = fmax(s->compute_ms, s->board_compute_ms[b]);
    s->end_ms = fmax(s->end_ms, l->cpu[b]);
    return record(l, i, err);
}

/* What a segment by channels made is put together or added up: in each stage boards send, wait for
 * what comes, and add it. */
static enum cohort_code take_together(struct timelines *l, struct cohort_error *err) {
    struct replay *r = &l->r;
    struct sim_segment *s = &l->s->segments[r->segment];
    enum cohort_code code = COHORT_OK;
    const int stages = channel_stages(r->m, &r->move);
    for (int stage = 0; stage < stages; stage++) {
        channel_stage(&r->t, &r->move, stage);
        expect_nothing(l);
        TRY(send_all(l, &r->t, false, r->segment, err));
        for (int b = 0; b < l->s->boards; b++)
            TRY(wait_out(
                l, b, fmax(l->cpu[b], l->arrival[b]) + channel_stage_ms(r->m, &r->move, stage, b),
                err));
        s->bytes_out += sum_bytes(&r->t);
    }
    for (int b = 0; b < l->s->boards; b++)
        TRY(finish(l, b, err));
out:
    return code;
}

/* To the root, which waits for it. */
static enum cohort_code take_out(struct timelines *l, struct cohort_error *err) {
    struct sim_segment *s = &l->s->segments[l->r.segment];
    enum cohort_code code = COHORT_OK;
    expect_nothing(l);
    TRY(send_all(l, &l->r.t, false, l->r.segment, err));
    if (l->arrival[0] >= 0)
        TRY(wait_out(l, 0, l->arrival[0], err));
    s->bytes_out += sum_bytes(&l->r.t);
    s->end_ms = fmax(s->end_ms, l->cpu[0]);
out:
    return code;
}

/* To the root, which needs it at the very end. */
static enum cohort_code take_result(struct timelines *l, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    expect_nothing(l);
    TRY(send_all(l, &l->r.t, false, l->r.segment, err));
    l->result = fmax(l->result, l->arrival[0]);
    l->s->segments[l->r.segment].bytes_out += sum_bytes(&l->r.t);
out:
    return code;
}

/* ---- together ------------------------------------------------------------------------------- */

enum cohort_code simulate(struct simulation **out, const struct cost_model *m,
                          const struct plan *plan, bool trace, bool peak,
                          struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct timelines l = {.traced = trace, .s = mem_zalloc(1, sizeof *l.s)};
    if (l.s == NULL || !allocate(&l, m, plan->segment_count)) {
        code = error_memory(err, (size_t)m->boards * (size_t)m->boards * sizeof(double),
                            "the simulator");
        goto out;
    }
    TRY(replay_begin(&l.r, m, plan, false, err));
    for (enum replay_kind k = replay_next(&l.r); k != REPLAY_END; k = replay_next(&l.r)) {
        if (k == REPLAY_IN)
            TRY(take_in(&l, err));
        else if (k == REPLAY_JOIN)
            TRY(take_together(&l, err));
        else if (k == REPLAY_ROOT)
            TRY(take_out(&l, err));
        else if (k == REPLAY_RESULT)
            TRY(take_result(&l, err));
    }
    TRY(replay_code(&l.r, err));
    l.s->total_ms = fmax(l.cpu[0], l.result);
    l.s->last_wait_ms = l.s->total_ms - l.cpu[0];
    if (peak)
        TRY(plan_peak_bytes(m, plan, l.s->peak_bytes, err));
    *out = l.s;
    l.s = NULL;
out:
    replay_release(&l.r);
    mem_free(l.queue);
    mem_free(l.cpu);
    simulation_destroy(&l.s);
    return code;
}

enum cohort_code simulate_ms(double *ms, const struct cost_model *m, const struct plan *plan,
                             struct cohort_error *err) {
    struct simulation *s = NULL;
    enum cohort_code code = simulate(&s, m, plan, false, false, err);
    if (code == COHORT_OK)
        *ms = s->total_ms;
    simulation_destroy(&s);
    return code;
}

void simulation_annotate(const struct simulation *s, struct plan *plan) {
    plan->predicted_ms = s->total_ms;
    for (int i = 0; i < plan->segment_count; i++) {
        plan->segments[i].predicted_ms = s->segments[i].compute_ms;
        plan->segments[i].predicted_wait_ms = s->segments[i].wait_ms;
    }
    if (plan->segment_count > 0)
        plan->segments[plan->segment_count - 1].predicted_wait_ms += s->last_wait_ms;
}
