/* Computing: who measures what, and what becomes of it.
 *
 * Boards of a type share the shape of the curves, never the scale: last, all of them time one short
 * pass at the same time.  What one board measured is divided by its scale before it is compared
 * with what another did. */
#include "profile/measuring.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_MOST  12   /* passes of a round in which boards are compared … */
#define SHORT_MS    50.0 /* … or as many as take so long */
#define PATIENCE    10 /* inferences of the slowest board, or the usual limit where that is longer */
#define BOARDS_MOST 8  /* that share the passes of a type */
#define WHOLE_MS    50.0  /* smaller networks are measured more often … */
#define TIMES_MAX   20    /* … but not more than so often */
#define WARM_MS     200.0 /* larger ones are warm after one pass */
/* Weights come from memory, as in a network that is larger than all caches, but there is no need to
 * fill all of them; so much of them, and at least two third-level caches. */
#define WEIGHTS_LEAST ((size_t)32 << 20)
#define WEIGHTS_SHARE 4     /* of the memory that there is; the maps need some, too */
#define CHAINED_LEAST 0.125 /* of the time, in chains: then passes are fewer */
#define STEPS         1000  /* progress */

void profile_say(const struct profile_job *job, int level, const char *fmt, ...) {
    char line[512];
    va_list args;
    if (job->log == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    job->log(job->context, level, line);
}

/* What was done since the last lap. */
static void lap(struct measuring *m, int which) {
    const double now = clock_ms();
    m->lap_ms[which] += now - m->since_ms;
    m->since_ms = now;
}

/* Rank 0. */
static void say_laps(const struct measuring *m, const struct profile *p) {
    const double *ms = m->lap_ms;
    double sum = 0, slowest = 1e-3;
    for (int i = 0; i < LAPS; i++)
        sum += ms[i];
    for (int b = 0; b < p->board_count; b++)
        slowest = fmax(slowest, profile_inference_ms(p, b));
    profile_say(
        m->job, 1,
        "boards took %.0f ms, as %.1f inferences of the slowest: getting ready %.0f, warming up "
        "%.0f, passes %.0f, waiting for others' %.0f, comparing %.0f, measuring alone %.0f",
        sum, sum / slowest, ms[LAP_READY], ms[LAP_WARM], ms[LAP_PASSES], ms[LAP_OTHERS],
        ms[LAP_COMPARE], ms[LAP_APART]);
}

/* Rank 0's `count` numbers on all ranks. */
enum cohort_code profile_share_ints(const struct profile_job *job, int *numbers, size_t count,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct buf b = {0};
    if (job->comm == NULL)
        return code;
    for (size_t i = 0; job->rank == 0 && i < count; i++)
        buf_u32(&b, (uint32_t)numbers[i]);
    TRY(comm_broadcast(job->comm, &b, err));
    struct reader in = reader_of(b.data, b.size);
    for (size_t i = 0; i < count; i++)
        numbers[i] = (int)read_u32(&in);
out:
    buf_release(&b);
    return code;
}

/* ---- who measures what ----------------------------------------------------------------------- */

/* How many times each pass is run by all boards of a type together: about 2.4 inferences a board
 * for two of them, 1 for six; one board alone takes 3.3.  With chains, whose operators take their
 * time twice, every pass is run as often as it must be. */
static int turns_of(int level, int boards, bool chained) {
    static const int alone[COMPUTE_LEVELS] = {2, 1, 2, 2, 2};
    if (chained)
        return boards == 1 ? 1 : 2;
    if (boards == 1)
        return alone[level];
    return level == 0 ? 2 : 3;
}

/* Those turns of a pass in which operators of chains run one by one, too.  Of a half of all rows
 * the line between a quarter and all says enough. */
static int single_turns(int level, int boards, bool chained) {
    return chained && level == 1 ? 0 : boards == 1 ? 1 : 2;
}

/* The longest first, each to whoever has least to do; but two boards do each of them, because one
 * may turn out to be slow. */
struct profile_schedule profile_schedule(int index, int count, bool chained) {
    struct profile_schedule s = {{0}, {0}};
    double load[BOARDS_MOST] = {0};
    int boards = count < BOARDS_MOST ? count : BOARDS_MOST; /* more do what the first ones do */
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        int first = -1;
        for (int turn = 0; turn < turns_of(level, boards, chained); turn++) {
            const bool singly = turn < single_turns(level, boards, chained);
            int not_again = turn == 1 && boards > 1 ? first : -1, least = -1;
            for (int b = 0; b < boards; b++)
                if (b != not_again && (least < 0 || load[b] < load[least]))
                    least = b;
            first = turn == 0 ? least : first;
            load[least] += compute_share(level) * (chained && singly ? 2 : 1);
            s.passes[level] += least == index % boards;
            s.one_by_one[level] += singly && least == index % boards;
        }
    }
    return s;
}

struct profile_schedule profile_rest(const struct profile_schedule *done, bool chained) {
    struct profile_schedule s = {{0}, {0}};
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        s.one_by_one[level] = single_turns(level, 1, chained) > done->one_by_one[level];
        s.passes[level] = s.one_by_one[level] || done->passes[level] == 0;
    }
    return s;
}

static bool same_type(const struct profile_facts *a, const struct profile_facts *b) {
    return strcmp(a->cpu, b->cpu) == 0 && strcmp(a->isa, b->isa) == 0 &&
           strcmp(a->kernels, b->kernels) == 0 && a->threads == b->threads &&
           a->cpu_share == b->cpu_share && a->clock_mhz == b->clock_mhz;
}

enum cohort_code profile_type_of(struct profile_type *t, const struct profile_facts *f,
                                 struct cohort_error *err) {
    *t = (struct profile_type){.cpu = mem_strdup(f->cpu),
                               .isa = mem_strdup(f->isa),
                               .kernels = mem_strdup(f->kernels),
                               .threads = f->threads,
                               .cpu_share = f->cpu_share,
                               .clock_mhz = f->clock_mhz};
    return t->cpu != NULL && t->isa != NULL && t->kernels != NULL
               ? COHORT_OK
               : error_memory(err, sizeof *f, "a profile");
}

enum cohort_code profile_begin(struct profile **out, const struct profile_job *job,
                               struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t size = (size_t)job->size;
    struct profile *p = mem_zalloc(1, sizeof *p);
    if (p == NULL)
        return error_memory(err, sizeof *p, "a profile");
    p->network = mem_strdup(job->graph->name != NULL ? job->graph->name : "");
    p->version = mem_strdup(job->version);
    p->node_count = job->graph->node_count;
    p->scatter_factor = p->gather_factor = 1;
    p->types = mem_zalloc(size, sizeof *p->types);
    p->boards = mem_zalloc(size, sizeof *p->boards);
    p->link_of = mem_alloc(size * size * sizeof *p->link_of);
    if (p->network == NULL || p->version == NULL || p->types == NULL || p->boards == NULL ||
        p->link_of == NULL)
        TRY(error_memory(err, size * size * sizeof *p->link_of, "a profile"));
    for (size_t i = 0; i < size * size; i++)
        p->link_of[i] = -1;
    TRY(graph_signature(job->graph, p->signature, err));
    for (int r = 0; r < job->size; r++) {
        int first = 0;
        while (!same_type(&job->facts[first], &job->facts[r]))
            first++;
        struct profile_board *b = &p->boards[p->board_count++];
        *b = (struct profile_board){.host = mem_strdup(job->facts[r].host),
                                    .scale = 1,
                                    .memory_bytes = job->facts[r].memory_bytes};
        if (b->host == NULL)
            TRY(error_memory(err, 64, "a profile"));
        b->type = first < r ? p->boards[first].type : p->type_count;
        if (first == r)
            TRY(profile_type_of(&p->types[p->type_count++], &job->facts[r], err));
    }
    *out = p;
    p = NULL;
out:
    profile_destroy(&p);
    return code;
}

/* ---- passes ---------------------------------------------------------------------------------- */

static void count_progress(struct measuring *m, double share) {
    m->done += share;
    if (m->job->progress != NULL && m->total > 0)
        m->job->progress(m->job->context, (uint64_t)(STEPS * fmin(1, m->done / m->total) + 0.5),
                         STEPS);
}

static enum cohort_code run_passes(struct measuring *m, int level, bool one_by_one,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < m->times; i++) {
        TRY(compute_pass(m->compute, level, one_by_one, part_of(m, m->mine, level),
                         part_of(m, m->mine, CHAINED + level), err));
        count_progress(m, compute_share(level) / m->times);
    }
out:
    return code;
}

/* Round by round, so that a moment's disturbance does not meet all passes of a level. */
static enum cohort_code run_schedule(struct measuring *m, const struct profile_schedule *s,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int rounds = 0;
    m->done = m->total = 0;
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        m->total += s->passes[level] * compute_share(level);
        rounds = s->passes[level] > rounds ? s->passes[level] : rounds;
    }
    for (int round = 0; round < rounds; round++)
        for (int level = 0; level < COMPUTE_LEVELS; level++)
            if (round < s->passes[level])
                TRY(run_passes(m, level, round < s->one_by_one[level], err));
out:
    return code;
}

/* Fetches code, weights and pages, and finds out how long the network takes here, about: a large
 * one in one pass, beside which fetching counts little. */
static enum cohort_code warm_up(struct measuring *m, double *whole_ms, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double *scratch = part_of(m, m->mine, ROUND);
    *whole_ms = 0;
    for (int turn = 0; turn < 2 && *whole_ms < WARM_MS; turn++) {
        TRY(compute_pass(m->compute, COMPUTE_SHORT, false, scratch, NULL, err));
        *whole_ms = compute_pass_ms(m->compute) / compute_share(COMPUTE_SHORT);
    }
    for (int i = 0; i < m->nodes; i++)
        scratch[i] = -1;
out:
    return code;
}

/* Small networks run more often, so that their times are more than noise: the same on all ranks. */
static enum cohort_code agree_on_times(struct measuring *m, double whole_ms,
                                       struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct profile_job *job = m->job;
    double *all = mem_zalloc((size_t)job->size, sizeof *all), most = 0;
    TRY(job_agree(job, all != NULL ? COHORT_OK : error_memory(err, sizeof *all, "a profile"), err));
    TRY(job_gather(job, &whole_ms, sizeof whole_ms, all, err));
    for (int r = 0; job->rank == 0 && r < job->size; r++)
        most = fmax(most, all[r]);
    int agreed[] = {
        (int)fmin(TIMES_MAX, fmax(1, WHOLE_MS / fmax(most, 1e-3))), 1 + (int)fmin(1e6, most / 1e3),
        (int)fmin(SHORT_MOST, fmax(1, SHORT_MS / fmax(most * compute_share(COMPUTE_SHORT), 1e-3))),
        compute_chained_share(m->compute) > CHAINED_LEAST};
    TRY(profile_share_ints(job, agreed, sizeof agreed / sizeof *agreed, err));
    m->times = agreed[0];
    m->short_passes = agreed[2];
    m->chained = agreed[3] != 0;
    if (job->comm != NULL) /* a board that is silent for longer is lost */
        comm_set_setup_timeout(job->comm, PATIENCE * agreed[0] * agreed[1]);
out:
    mem_free(all);
    return code;
}

static enum cohort_code measure_mine(struct measuring *m, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double *extras = part_of(m, m->mine, PARTS), *free_nodes = part_of(m, m->mine, FREE);
    int rank = m->job->rank;
    m->schedule = profile_schedule(m->index[rank], m->count[rank], m->chained);
    TRY(run_schedule(m, &m->schedule, err));
    TRY(compute_wire(m->compute, &extras[ENCODE], &extras[DECODE], err));
    extras[WORKSPACE] = (double)compute_workspace(m->compute);
    for (int i = 0; i < m->nodes; i++) {
        free_nodes[i] = compute_is_free(m->compute, i);
        part_of(m, m->mine, WEIGHTS)[i] = (double)compute_weights(m->compute, i);
    }
    for (int level = 0; level < COMPUTE_LEVELS; level++)
        for (int i = 0; i < m->nodes; i++)
            part_of(m, m->mine, LENGTH + level)[i] = compute_chain(m->compute, level, i);
out:
    return code;
}

/* Collective.  Those that are off measure what only their equals did, by themselves. */
static enum cohort_code measure_apart(struct measuring *m, const int *off,
                                      struct cohort_error *err) {
    const struct profile_job *job = m->job;
    const struct profile_schedule rest = profile_rest(&m->schedule, m->chained);
    enum cohort_code code = COHORT_OK;
    bool any = false;
    for (int r = 0; r < job->size; r++)
        any = any || off[r];
    if (!any)
        return COHORT_OK;
    if (off[job->rank])
        code = run_schedule(m, &rest, err);
    TRY(job_agree(job, code, err));
    TRY(job_gather(job, m->mine, m->doubles * sizeof *m->mine, m->all, err));
out:
    return code;
}

/* ---- the whole ------------------------------------------------------------------------------- */

struct exec_options profile_exec_options(const struct profile_job *job) {
    struct exec_options exec = *job->exec;
    exec.zero_weights = true;
    exec.made_up_bytes = 2 * job->board->l3_bytes;
    if (exec.made_up_bytes < WEIGHTS_LEAST)
        exec.made_up_bytes = WEIGHTS_LEAST;
    if (job->memory_bytes > 0 && job->memory_bytes < SIZE_MAX) {
        exec.made_up_most = (size_t)(job->memory_bytes / WEIGHTS_SHARE);
        if (exec.made_up_bytes > exec.made_up_most)
            exec.made_up_bytes = exec.made_up_most;
    }
    return exec;
}

static enum cohort_code prepare(struct measuring *m, struct cohort_error *err) {
    const struct profile_job *job = m->job;
    size_t size = (size_t)job->size;
    m->nodes = job->graph->node_count;
    m->doubles = (size_t)PARTS * (size_t)m->nodes + EXTRAS;
    m->times = 1;
    m->mine = mem_alloc(m->doubles * sizeof *m->mine);
    m->all = mem_alloc((job->rank == 0 ? size : 1) * m->doubles * sizeof *m->all);
    m->type = mem_zalloc(3 * size, sizeof *m->type);
    if (m->mine == NULL || m->all == NULL || m->type == NULL)
        return error_memory(err, size * m->doubles * sizeof *m->all, "a profile");
    for (size_t i = 0; i < m->doubles; i++)
        m->mine[i] = -1;
    m->index = m->type + size;
    m->count = m->index + size;
    const struct exec_options exec = profile_exec_options(job);
    return compute_create(&m->compute, job->graph, job->pool, &exec, err);
}

/* Collective.  Who is equal to whom, as rank 0's profile has it. */
static enum cohort_code divide(struct measuring *m, const struct profile *p,
                               struct cohort_error *err) {
    int size = m->job->size;
    for (int r = 0; m->job->rank == 0 && r < size; r++)
        m->type[r] = p->boards[r].type;
    enum cohort_code code = profile_share_ints(m->job, m->type, (size_t)size, err);
    for (int r = 0; r < size; r++)
        for (int i = 0; i < size; i++) {
            m->index[r] += i < r && m->type[i] == m->type[r];
            m->count[r] += m->type[i] == m->type[r];
        }
    return code;
}

static enum cohort_code measure(struct measuring *m, struct profile *p, int *off,
                                struct cohort_error *err) {
    const struct profile_job *job = m->job;
    enum cohort_code code = COHORT_OK;
    double whole_ms = 0;
    TRY(job_agree(job, warm_up(m, &whole_ms, err), err));
    TRY(agree_on_times(m, whole_ms, err));
    lap(m, LAP_WARM);
    code = measure_mine(m, err);
    lap(m, LAP_PASSES);
    TRY(job_agree(job, code, err)); /* all have ended: now they are compared */
    lap(m, LAP_OTHERS);
    TRY(profile_compare(m, p, off, err));
    lap(m, LAP_COMPARE);
    TRY(measure_apart(m, off, err));
    lap(m, LAP_APART);
    for (int t = 0; job->rank == 0 && t < p->type_count && code == COHORT_OK; t++)
        code = profile_make_curves(m, p, t, err);
    code = job_agree(job, code, err);
    if (job->rank == 0 && code == COHORT_OK)
        say_laps(m, p);
out:
    return code;
}

enum cohort_code profile_measure_compute(struct profile *p, const struct profile_job *job,
                                         struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct measuring m = {.job = job, .since_ms = clock_ms()};
    int *off = mem_zalloc((size_t)job->size, sizeof *off);
    code = prepare(&m, err);
    if (code == COHORT_OK && off == NULL)
        code = error_memory(err, (size_t)job->size * sizeof *off, "a profile");
    TRY(job_agree(job, code, err));
    TRY(divide(&m, p, err));
    lap(&m, LAP_READY);
    TRY(measure(&m, p, off, err));
out:
    compute_destroy(&m.compute);
    mem_free(m.mine);
    mem_free(m.all);
    mem_free(m.type);
    mem_free(off);
    return code;
}
