/* Looking at what inferences took, and changing to a better plan between two of them.
 *
 * Every rank keeps what it computed in the last few inferences.  Now and then rank 0 collects the
 * medians, corrects the profile (planner/adapt.h), and where that has changed looks for another
 * plan.  What it decides it tells all ranks, and all change together (division.c). */
#include "planner/adapt.h"
#include "planner/replay.h"
#include "planner/strategy.h"
#include "profile/measure.h"
#include "runtime/forecast.h"
#include "runtime/session.h"

#include "base/median.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define KEPT      5 /* inferences that the medians are of, at most … */
#define EVERY     4 /* … and from one look to the next: messages take time, too */
#define THRESHOLD 0.05

/* What each rank tells. */
struct look {
    double compute_ms, run_ms;
};

struct adapter {
    double compute_ms[KEPT], run_ms[KEPT]; /* a ring */
    int count;                             /* inferences with this plan */

    /* Rank 0. */
    double threshold;
    char *strategy;
    struct cohort_search_options search;
    uint64_t *limits;     /* of each board, or NULL */
    struct profile *base; /* as measured before */
    struct adapt state;   /* what is known beside it */
    double *profiled_ms;  /* of each board's computing, with this plan, by that */
    double *measured_ms;  /* the same as it was */
    double *link_factor;  /* room for what a look at the links finds */
    struct look *looks;   /* room for what all ranks tell */
    double *bytes;        /* room for what all boards need while they change */
    int changes;
};

enum verdict { STAY, LOOK_AT_LINKS, CHANGE };

void session_end_adapting(struct cohort_session *s) {
    struct adapter *a = s->adapter;
    if (a == NULL)
        return;
    profile_destroy(&a->base);
    adapt_release(&a->state);
    mem_free(a->strategy);
    mem_free(a->profiled_ms);
    mem_free(a->measured_ms);
    mem_free(a->link_factor);
    mem_free(a->looks);
    mem_free(a->bytes);
    mem_free(a->limits);
    mem_free(a);
    s->adapter = NULL;
}

int session_plan_changes(const struct cohort_session *s) {
    return s->adapter != NULL ? s->adapter->changes : -1;
}

/* ---- rank 0: what the profile says of the plan ----------------------------------------------- */

/* By the profile as it was measured. */
static enum cohort_code find_profiled(struct cohort_session *s, struct cohort_error *err) {
    struct adapter *a = s->adapter;
    struct cost_model *m = NULL;
    struct simulation *simulation = NULL;
    enum cohort_code code = COHORT_OK;
    TRY(session_cost(&m, s, a->base, err));
    TRY(simulate(&simulation, m, s->plan, false, false, err));
    for (int b = 0; b < s->size; b++) {
        a->profiled_ms[b] = 0;
        for (int i = 0; i < simulation->segment_count; i++)
            a->profiled_ms[b] += simulation->segments[i].board_compute_ms[b];
    }
out:
    simulation_destroy(&simulation);
    cost_destroy(&m);
    return code;
}

static enum cohort_code begin_on_root(struct cohort_session *s,
                                      const struct cohort_profile *profile,
                                      const struct cohort_adapt_options *o,
                                      struct cohort_error *err) {
    struct adapter *a = s->adapter;
    enum cohort_code code = COHORT_OK;
    const size_t size = (size_t)s->size;
    if (profile == NULL)
        return error_set(err, COHORT_ERR_USAGE, "rank 0 was given no profile to adapt");
    if (!(o->threshold >= 0 && o->threshold < 1))
        return error_set(err, COHORT_ERR_USAGE,
                         "a threshold of %g: expected a share of the time, from 0 to 1",
                         o->threshold);
    if (profile->profile->board_count != s->size)
        return error_set(err, COHORT_ERR_PLAN,
                         "a profile of %d boards cannot be adapted to a job of %d",
                         profile->profile->board_count, s->size);
    a->threshold = o->threshold > 0 ? o->threshold : THRESHOLD;
    a->search = o->search;
    a->search.setup_ms = s->options.setup_ms;
    a->strategy = mem_strdup(o->search.strategy != NULL ? o->search.strategy : "auto");
    a->profiled_ms = mem_zalloc(size, sizeof *a->profiled_ms);
    a->measured_ms = mem_zalloc(size, sizeof *a->measured_ms);
    a->link_factor = mem_zalloc(size * size, sizeof *a->link_factor);
    a->looks = mem_zalloc(size, sizeof *a->looks);
    a->bytes = mem_zalloc(size, sizeof *a->bytes);
    if (a->strategy == NULL || a->profiled_ms == NULL || a->measured_ms == NULL ||
        a->link_factor == NULL || a->looks == NULL || a->bytes == NULL)
        TRY(error_memory(err, size * size * sizeof *a->link_factor, "what is to be adapted"));
    if (o->search.board_limits_bytes != NULL) {
        a->limits = mem_alloc(size * sizeof *a->limits);
        if (a->limits == NULL)
            TRY(error_memory(err, size * sizeof *a->limits, "what is to be adapted"));
        memcpy(a->limits, o->search.board_limits_bytes, size * sizeof *a->limits);
    }
    TRY(adapt_init(&a->state, s->size, err));
    TRY(profile_copy(&a->base, profile->profile, err));
    TRY(session_forecast(s, a->base, err));
    TRY(find_profiled(s, err));
out:
    return code;
}

/* Collective.  Rank 0 alone was told limits. */
static enum cohort_code tell_limits(struct cohort_session *s, struct cohort_error *err) {
    const struct adapter *a = s->adapter;
    struct buf b = {0};
    enum cohort_code code = COHORT_OK;
    if (s->rank == 0)
        buf_u8(&b, a->limits != NULL || a->search.memory_limit_bytes > 0);
    TRY(comm_broadcast(s->comm, &b, err));
    struct reader in = reader_of(b.data, b.size);
    s->lean = read_u8(&in) != 0;
out:
    buf_release(&b);
    return code;
}

enum cohort_code cohort_adapt_begin(struct cohort_session *s, const struct cohort_profile *profile,
                                    const struct cohort_adapt_options *options,
                                    struct cohort_error *err) {
    static const struct cohort_adapt_options none;
    enum cohort_code code = COHORT_OK;
    session_end_adapting(s);
    s->adapter = mem_zalloc(1, sizeof *s->adapter);
    if (s->adapter == NULL)
        code = error_memory(err, sizeof *s->adapter, "what is to be adapted");
    else if (s->rank == 0)
        code = begin_on_root(s, profile, options != NULL ? options : &none, err);
    code = session_agree(s, code, err);
    if (code == COHORT_OK && s->comm != NULL)
        code = tell_limits(s, err);
    if (code != COHORT_OK)
        session_end_adapting(s);
    return code;
}

/* ---- rank 0: deciding ------------------------------------------------------------------------ */

/* What a new plan would be, and what it would gain. */
struct proposal {
    struct profile *corrected;
    struct plan *plan;
    double was_ms, predicted_ms, gain;
    double excess; /* bytes beyond a board's limit while it has both plans; 0: none … */
    int board;     /* … and whose */
};

static void release_proposal(struct proposal *p) {
    profile_destroy(&p->corrected);
    plan_destroy(&p->plan);
}

static enum cohort_code propose(struct proposal *p, struct cohort_session *s,
                                struct cohort_error *err) {
    struct adapter *a = s->adapter;
    const struct planner_options o = {
        .cost = {.boards = s->size,
                 .wire = s->plan->wire,
                 .pixel_inputs = session_pixel_bits(s),
                 .root_feeds = a->search.root_feeds != 0,
                 .memory_limit = a->search.memory_limit_bytes,
                 .memory_limits = a->limits,
                 .setup_ms = a->search.setup_ms},
        .rows_only = a->search.rows_only != 0,
        .predicted = true, /* groups were measured at the speeds that boards had before */
    };
    enum cohort_code code = COHORT_OK;
    struct cost_model *m = NULL;
    struct planned planned = {0};
    TRY(adapt_correct(&a->state, a->base, &p->corrected, err));
    TRY(cost_create(&m, s->graph, p->corrected, &o.cost, err));
    TRY(simulate_ms(&p->was_ms, m, s->plan, err));
    TRY(planner_make(&planned, m, a->strategy, &o, err));
    p->plan = planned.plan;
    planned.plan = NULL;
    p->predicted_ms = planned.simulation->total_ms;
    p->gain = p->was_ms > 0 ? 1 - p->predicted_ms / p->was_ms : 0;
    if (cost_memory_limited(m)) {
        TRY(plan_change_bytes(m, s->plan, p->plan, a->bytes, err));
        p->excess = cost_memory_excess(m, a->bytes, &p->board);
    }
out:
    planned_release(&planned);
    cost_destroy(&m);
    return code;
}

/* "pi3 (rank 2) takes 2.0 times as long". */
static void say_why(const struct cohort_session *s, struct cohort_adaptation *what) {
    bool link;
    double factor;
    const int culprit = adapt_culprit(&s->adapter->state, &link, &factor);
    if (culprit < 0)
        snprintf(what->why, sizeof what->why, "boards' speeds moved");
    else if (link)
        snprintf(what->why, sizeof what->why, "messages from %s to %s take %.3g times as long",
                 comm_board_text(s->comm, culprit / s->size),
                 comm_board_text(s->comm, culprit % s->size), factor);
    else
        snprintf(what->why, sizeof what->why, "%s takes %.3g times as long",
                 comm_board_text(s->comm, culprit), factor);
}

/* Looks for a better plan; its text goes into `b` when it is worth it.  Without memory for that,
 * the plan stays. */
static enum verdict look_for_plan(struct cohort_session *s, double latency_ms,
                                  struct cohort_adaptation *what, struct buf *b) {
    struct adapter *a = s->adapter;
    struct cohort_error local = {0};
    struct proposal p = {0};
    char *text = NULL;
    enum cohort_code code = COHORT_OK;
    bool better = false;
    TRY(propose(&p, s, &local));
    better = p.gain > a->threshold && !(p.excess > 0);
    if (p.gain > a->threshold && !better)
        session_log(s, 0,
                    "the plan stays as it is: with another beside it %s would need %.1f MB, "
                    "%.1f MB more than its limit",
                    comm_board_text(s->comm, p.board), a->bytes[p.board] * 1e-6, p.excess * 1e-6);
    if (better) {
        TRY(plan_print(p.plan, &text, &local));
        *what = (struct cohort_adaptation){.was_ms = p.was_ms, .predicted_ms = p.predicted_ms};
        say_why(s, what);
        buf_string(b, text);
        if (b->failed)
            TRY(error_memory(&local, strlen(text), "another plan"));
    } else {
        TRY(session_forecast(s, p.corrected, &local));
    }
    adapt_looked(&a->state, better, p.gain, latency_ms);
out:
    if (code != COHORT_OK) {
        session_log(s, 0, "the plan stays as it is: %s", local.message);
        adapt_looked(&a->state, false, 0, latency_ms);
    }
    mem_free(text);
    release_proposal(&p);
    return better && code == COHORT_OK ? CHANGE : STAY;
}

/* What all ranks tell becomes what rank 0 decides. */
static enum verdict decide(struct cohort_session *s, struct cohort_adaptation *what,
                           struct buf *b) {
    struct adapter *a = s->adapter;
    const double latency_ms = a->looks[0].run_ms;
    for (int r = 0; r < s->size; r++)
        a->measured_ms[r] = a->looks[r].compute_ms;
    adapt_note(&a->state, a->measured_ms, a->profiled_ms, latency_ms);
    if (adapt_due(&a->state))
        return look_for_plan(s, latency_ms, what, b);
    return adapt_odd(&a->state, latency_ms, s->forecast->total_ms) ? LOOK_AT_LINKS : STAY;
}

/* ---- all ranks ------------------------------------------------------------------------------- */

/* Adds the last inference to what is kept. */
static void keep(struct cohort_session *s) {
    struct adapter *a = s->adapter;
    double sum = 0;
    for (int i = 0; i < s->step_count; i++)
        if (s->steps[i].kind == STEP_COMPUTE && !s->steps[i].idle)
            sum += s->steps[i].ms;
    a->compute_ms[a->count % KEPT] = sum;
    a->run_ms[a->count % KEPT] = s->run_ms;
    a->count++;
}

static double median_of(const double *ring, int count) {
    double sorted[KEPT];
    const int n = count < KEPT ? count : KEPT;
    memcpy(sorted, ring, (size_t)n * sizeof *ring);
    return median(sorted, n);
}

/* Collective.  Rank 0's verdict, and with CHANGE the plan's text, reach all. */
static enum cohort_code tell(struct cohort_session *s, enum verdict *verdict, struct buf *plan,
                             struct cohort_error *err) {
    struct buf b = {0};
    enum cohort_code code = COHORT_OK;
    if (s->rank == 0) {
        buf_u8(&b, (uint8_t)*verdict);
        if (*verdict == CHANGE)
            buf_bytes(&b, plan->data, plan->size);
    }
    TRY(comm_broadcast(s->comm, &b, err));
    struct reader in = reader_of(b.data, b.size);
    *verdict = (enum verdict)read_u8(&in);
    if (s->rank != 0 && in.at < in.end)
        buf_bytes(plan, in.at, (size_t)(in.end - in.at));
out:
    buf_release(&b);
    return code;
}

/* Collective.  Rank 0's factors on the links. */
static enum cohort_code look_at_links(struct cohort_session *s, struct cohort_error *err) {
    const struct profile_job job = {
        .comm = s->comm, .rank = s->rank, .size = s->size, .graph = s->graph, .pool = s->pool};
    struct adapter *a = s->adapter;
    enum cohort_code code = profile_probe_factors(a->base, &job, a->link_factor, err);
    if (code == COHORT_OK && s->rank == 0)
        adapt_links(&a->state, a->link_factor);
    return code;
}

/* Collective.  All change, or all stay, and rank 0 says why not. */
static enum cohort_code change(struct cohort_session *s, struct buf *plan,
                               struct cohort_adaptation *what, struct cohort_error *err) {
    struct adapter *a = s->adapter;
    struct cohort_error local = {0};
    struct reader in = reader_of(plan->data, plan->size);
    enum cohort_code code = COHORT_OK;
    char *text = plan->failed ? NULL : read_string(&in);
    if (text == NULL)
        code = error_memory(&local, plan->size, "another plan");
    code = session_agree(s, code, &local);
    if (code == COHORT_OK)
        code = session_change_plan(s, text, &local);
    mem_free(text);
    if (code != COHORT_OK) {
        if (s->comm != NULL && comm_aborted(s->comm)) {
            *err = local;
            return code;
        }
        if (s->rank == 0)
            session_log(s, 0, "the plan stays as it is: %s", local.message);
        return COHORT_OK;
    }
    a->count = 0;
    a->changes++;
    what->changed = 1;
    what->changes = a->changes;
    return COHORT_OK;
}

/* Rank 0, after a change: what is predicted of the new plan. */
static enum cohort_code predict(struct cohort_session *s, struct cohort_error *err) {
    struct profile *corrected = NULL;
    enum cohort_code code = COHORT_OK;
    TRY(adapt_correct(&s->adapter->state, s->adapter->base, &corrected, err));
    TRY(session_forecast(s, corrected, err));
    TRY(find_profiled(s, err));
out:
    profile_destroy(&corrected);
    return code;
}

static enum cohort_code look(struct cohort_session *s, struct cohort_adaptation *what,
                             struct cohort_error *err) {
    struct adapter *a = s->adapter;
    const double start = clock_ms();
    const struct look mine = {.compute_ms = median_of(a->compute_ms, a->count),
                              .run_ms = median_of(a->run_ms, a->count)};
    enum cohort_code code = COHORT_OK;
    enum verdict verdict = STAY;
    struct buf plan = {0};
    TRY(comm_gather_bytes(s->comm, &mine, sizeof mine, a->looks, err));
    if (s->rank == 0)
        verdict = decide(s, what, &plan);
    TRY(tell(s, &verdict, &plan, err));
    if (verdict == LOOK_AT_LINKS) {
        TRY(look_at_links(s, err));
        if (s->rank == 0)
            verdict = adapt_due(&a->state) ? look_for_plan(s, mine.run_ms, what, &plan) : STAY;
        TRY(tell(s, &verdict, &plan, err));
    }
    if (verdict == CHANGE) {
        TRY(change(s, &plan, what, err));
        if (s->rank == 0 && what->changed)
            code = predict(s, err);
        TRY(session_agree(s, code, err));
    }
    what->took_ms = clock_ms() - start;
    if (s->rank == 0)
        session_log(s, 1, "what all boards took was looked at in %.1f ms", what->took_ms);
out:
    buf_release(&plan);
    return code;
}

enum cohort_code cohort_adapt(struct cohort_session *s, struct cohort_adaptation *what,
                              struct cohort_error *err) {
    struct cohort_adaptation ignored;
    enum cohort_code code = COHORT_OK;
    what = what != NULL ? what : &ignored;
    *what = (struct cohort_adaptation){0};
    if (s->failed)
        return error_set(err, COHORT_ERR_USAGE, "an earlier run of this session failed: close it");
    if (s->adapter == NULL || s->comm == NULL || s->size == 1)
        return COHORT_OK;
    keep(s);
    if (s->adapter->count % EVERY != 0)
        return COHORT_OK;
    code = look(s, what, err);
    s->failed = code != COHORT_OK;
    return code;
}
