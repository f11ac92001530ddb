/* Engines: the network on one core of a board, on all of them, and on each cluster of its cores.
 *
 * The first board of each type runs whole passes, one engine after the other, with a pool of their
 * cores each; boards of different types at the same time.  What the board's own threads do was
 * measured before, so one core alone has nothing to measure. */
#include "profile/measuring.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PASSES_MS   500.0 /* passes on an engine: as many as take so long … */
#define PASSES_MOST 20    /* … but not more */
#define PATIENCE    10    /* a pass may take so much longer than expected */
#define USUAL_S     300.0 /* and so long in any case */

/* What a rank's engines are; travels between boards: fixed widths only. */
struct engine_facts {
    int32_t count, reserved;
    struct {
        char name[sizeof((struct board_engine *)0)->name];
        char cores[sizeof((struct board_engine *)0)->cores];
        int32_t threads, own; /* own: it is what the board computes with as ever */
    } list[BOARD_ENGINES_MAX];
};

struct engines {
    const struct profile_job *job;
    struct board_engine list[BOARD_ENGINES_MAX];
    struct engine_facts facts, *all_facts; /* all: rank 0 */
    size_t doubles;                        /* of a rank: [BOARD_ENGINES_MAX][1 + nodes] */
    double *mine, *all;
};

/* Of engine i: the inference, then each operator. */
static double *times_of(double *of, const struct engines *e, int i) {
    return of + (size_t)i * ((size_t)e->job->graph->node_count + 1);
}

static void list_engines(struct engines *e) {
    const struct board *b = e->job->board;
    int count = board_engines_of(e->list, b);
    if (!e->job->bind && count > 2)
        count = 2; /* nothing keeps threads in a cluster */
    e->facts.count = count;
    for (int i = 0; i < count; i++) {
        snprintf(e->facts.list[i].name, sizeof e->facts.list[i].name, "%s", e->list[i].name);
        snprintf(e->facts.list[i].cores, sizeof e->facts.list[i].cores, "%s", e->list[i].cores);
        e->facts.list[i].threads = e->list[i].threads;
        e->facts.list[i].own = e->list[i].threads == b->threads;
    }
}

/* ---- passes ---------------------------------------------------------------------------------- */

static enum cohort_code run_passes(struct compute *c, double *times, int nodes,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double spent = 0, *ms = times + 1;
    TRY(compute_pass(c, COMPUTE_SHORT, false, ms, NULL, err)); /* warms up */
    for (int i = 0; i <= nodes; i++)
        times[i] = -1;
    for (int i = 0; i < PASSES_MOST && (i == 0 || spent < PASSES_MS); i++) {
        const double begin = clock_ms();
        TRY(compute_pass(c, 0, true, ms, NULL, err));
        if (times[0] < 0 || compute_pass_ms(c) < times[0])
            times[0] = compute_pass_ms(c);
        spent += clock_ms() - begin;
    }
out:
    return code;
}

static enum cohort_code run_engine(struct engines *e, int i, struct cohort_error *err) {
    const struct profile_job *job = e->job;
    enum cohort_code code = COHORT_OK;
    struct pool *pool = NULL;
    struct compute *c = NULL;
    const struct exec_options exec = profile_exec_options(job);
    struct board *b = mem_zalloc(1, sizeof *b);
    if (b == NULL)
        return error_memory(err, sizeof *b, "a board");
    TRY(board_of_engine(b, job->board, &e->list[i], err));
    TRY(pool_create(&pool, b, job->bind, err));
    pool_set_share(pool, pool_share(job->pool));
    TRY(compute_create(&c, job->graph, pool, &exec, err));
    TRY(run_passes(c, times_of(e->mine, e, i), job->graph->node_count, err));
out:
    compute_destroy(&c);
    pool_destroy(&pool);
    mem_free(b);
    return code;
}

/* Of the first board of a type; others have nothing to do. */
static enum cohort_code run_mine(struct engines *e, bool first, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (!first)
        return code;
    for (int i = 0; i < e->facts.count && code == COHORT_OK; i++) {
        if (!e->facts.list[i].own)
            code = run_engine(e, i, err);
        if (e->job->progress != NULL)
            e->job->progress(e->job->context, (uint64_t)i + 1, (uint64_t)e->facts.count);
    }
    return code;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum cohort_code prepare(struct engines *e, struct cohort_error *err) {
    const struct profile_job *job = e->job;
    const size_t ranks = job->rank == 0 ? (size_t)job->size : 1;
    e->doubles = BOARD_ENGINES_MAX * ((size_t)job->graph->node_count + 1);
    e->mine = mem_alloc(e->doubles * sizeof *e->mine);
    e->all = mem_alloc(ranks * e->doubles * sizeof *e->all);
    e->all_facts = mem_zalloc(ranks, sizeof *e->all_facts);
    if (e->mine == NULL || e->all == NULL || e->all_facts == NULL)
        return error_memory(err, ranks * e->doubles * sizeof *e->all, "times of engines");
    for (size_t i = 0; i < e->doubles; i++)
        e->mine[i] = -1;
    list_engines(e);
    return COHORT_OK;
}

/* Which board of each type is its first; first[size], the same on all ranks.  And how long they may
 * be silent. */
static enum cohort_code choose(struct engines *e, const struct profile *p, int *first,
                               struct cohort_error *err) {
    const struct profile_job *job = e->job;
    int patience_s[] = {0};
    if (job->rank == 0)
        for (int r = 0; r < job->size; r++) {
            const double whole_s = 1e-3 * profile_inference_ms(p, r);
            first[r] = 1;
            for (int i = 0; i < r; i++)
                first[r] = first[r] && p->boards[i].type != p->boards[r].type;
            patience_s[0] = (int)fmin(
                1e6, fmax(patience_s[0], USUAL_S + PATIENCE * whole_s * job->facts[r].threads *
                                                       BOARD_ENGINES_MAX));
        }
    enum cohort_code code = profile_share_ints(job, first, (size_t)job->size, err);
    if (code == COHORT_OK)
        code = profile_share_ints(job, patience_s, 1, err);
    if (code == COHORT_OK && job->comm != NULL)
        comm_set_setup_timeout(job->comm, patience_s[0]);
    return code;
}

/* What the board computes with as ever: from the curves. */
static void take_own(const struct profile *p, const struct profile_type *t,
                     struct profile_engine *to) {
    to->inference_ms = 0;
    for (int i = 0; i < p->node_count; i++) {
        const int alone = t->curve_of[i];
        const int chained =
            t->chained_of != NULL && t->chained_of[i] >= 0 ? t->chained_of[i] : alone;
        to->ms[i] = alone >= 0 ? t->curves[alone].points[t->curves[alone].count - 1].ms : 0;
        if (alone >= 0)
            to->inference_ms += t->curves[chained].points[t->curves[chained].count - 1].ms;
    }
    to->inference_ms = profile_rounded(to->inference_ms);
}

/* Rank 0. */
static enum cohort_code put_together(struct engines *e, struct profile *p, const int *first,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int r = 0; r < p->board_count; r++) {
        const struct engine_facts *f = &e->all_facts[r];
        struct profile_type *t = &p->types[p->boards[r].type];
        if (!first[r])
            continue;
        TRY(profile_engines_create(p, t, f->count, err));
        for (int i = 0; i < f->count; i++) {
            struct profile_engine *to = &t->engines[i];
            const double *times = times_of(e->all + (size_t)r * e->doubles, e, i);
            to->name = mem_strdup(f->list[i].name);
            to->cores = mem_strdup(f->list[i].cores);
            to->threads = f->list[i].threads;
            if (to->name == NULL || to->cores == NULL)
                TRY(error_memory(err, sizeof f->list[i], "a profile"));
            if (f->list[i].own) {
                take_own(p, t, to);
                continue;
            }
            to->inference_ms = profile_rounded(fmax(0, times[0]) / p->boards[r].scale);
            for (int n = 0; n < p->node_count; n++)
                to->ms[n] = t->curve_of[n] < 0
                                ? 0
                                : profile_rounded(fmax(0, times[1 + n]) / p->boards[r].scale);
        }
    }
out:
    return code;
}

enum cohort_code profile_measure_engines(struct profile *p, const struct profile_job *job,
                                         struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct engines e = {.job = job};
    int *first = mem_zalloc((size_t)job->size, sizeof *first);
    code = prepare(&e, err);
    if (code == COHORT_OK && first == NULL)
        code = error_memory(err, (size_t)job->size * sizeof *first, "a profile");
    TRY(job_agree(job, code, err));
    TRY(choose(&e, p, first, err));
    TRY(job_agree(job, run_mine(&e, first[job->rank], err), err));
    TRY(job_gather(job, &e.facts, sizeof e.facts, e.all_facts, err));
    TRY(job_gather(job, e.mine, e.doubles * sizeof *e.mine, e.all, err));
    if (job->rank == 0)
        code = put_together(&e, p, first, err);
    code = job_agree(job, code, err);
out:
    mem_free(e.mine);
    mem_free(e.all);
    mem_free(e.all_facts);
    mem_free(first);
    return code;
}
