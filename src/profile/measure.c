/* Computing: who measures what, and what becomes of it.
 *
 * Boards of a type share the shape of the curves, never the scale: last, all of them time one short
 * pass at the same time.  What one board measured is divided by its scale before it is compared
 * with what another did. */
#include "profile/measuring.h"

#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIKE       0.03 /* closer scales than that are noise */
#define OFF         0.08 /* a board further off is measured alone */
#define SHORT_LEAST 2    /* passes that boards are compared by … */
#define SHORT_MOST  24
#define SHORT_MS    100.0 /* … or as many as take so long */
#define PATIENCE    10 /* inferences of the slowest board, or the usual limit where that is longer */
#define COMPARISONS 3  /* of a board that seems to differ */
#define BOARDS_MOST 8  /* that share the passes of a type */
#define WHOLE_MS    50.0 /* smaller networks are measured more often … */
#define TIMES_MAX   20   /* … but not more than so often */
#define SYSFS       "/sys"
/* Weights come from memory, as in a network that is larger than all caches, but there is no need to
 * fill all of them; so much of them, and at least two third-level caches. */
#define WEIGHTS_LEAST ((size_t)32 << 20)
#define STEPS         1000 /* progress */

static void say(const struct profile_job *job, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void say(const struct profile_job *job, int level, const char *fmt, ...) {
    char line[512];
    va_list args;
    if (job->log == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    job->log(job->context, level, line);
}

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

/* How many times each pass is run by all boards of a type together: about 2 inferences a board for
 * two of them, 1 for six; one board alone takes 3.3. */
static int turns_of(int level, int boards) {
    static const int alone[COMPUTE_LEVELS] = {2, 1, 2, 2, 2};
    if (boards == 1)
        return alone[level];
    return level == 0 ? 2 : 3;
}

/* The longest first, each to whoever has least to do; but two boards do each of them, because one
 * may turn out to be slow. */
void profile_schedule(int index, int count, int *passes) {
    double load[BOARDS_MOST] = {0};
    int boards = count < BOARDS_MOST ? count : BOARDS_MOST; /* more do what the first ones do */
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        int first = -1;
        passes[level] = 0;
        for (int turn = 0; turn < turns_of(level, boards); turn++) {
            int not_again = turn == 1 && boards > 1 ? first : -1, least = -1;
            for (int b = 0; b < boards; b++)
                if (b != not_again && (least < 0 || load[b] < load[least]))
                    least = b;
            first = turn == 0 ? least : first;
            load[least] += compute_share(level);
            passes[level] += least == index % boards;
        }
    }
}

static bool same_type(const struct profile_facts *a, const struct profile_facts *b) {
    return strcmp(a->cpu, b->cpu) == 0 && strcmp(a->isa, b->isa) == 0 &&
           strcmp(a->kernels, b->kernels) == 0 && a->threads == b->threads &&
           a->cpu_share == b->cpu_share && a->clock_mhz == b->clock_mhz;
}

static enum cohort_code copy_type(struct profile_type *t, const struct profile_facts *f,
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
            TRY(copy_type(&p->types[p->type_count++], &job->facts[r], err));
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

static enum cohort_code run_passes(struct measuring *m, int level, int passes,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < passes * m->times; i++) {
        TRY(compute_pass(m->compute, level, part_of(m, m->mine, level),
                         part_of(m, m->mine, CHAINED + level), NULL, err));
        count_progress(m, compute_share(level) / m->times);
    }
out:
    return code;
}

/* Round by round, so that a moment's disturbance does not meet all passes of a level. */
static enum cohort_code run_schedule(struct measuring *m, int index, int count,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int passes[COMPUTE_LEVELS], rounds = 0;
    profile_schedule(index, count, passes);
    m->done = m->total = 0;
    for (int level = 0; level < COMPUTE_LEVELS; level++) {
        m->total += passes[level] * compute_share(level);
        rounds = passes[level] > rounds ? passes[level] : rounds;
    }
    for (int round = 0; round < rounds; round++)
        for (int level = 0; level < COMPUTE_LEVELS; level++)
            if (round < passes[level])
                TRY(run_passes(m, level, 1, err));
out:
    return code;
}

/* Fetches code, weights and pages, and finds out how long the network takes here, about. */
static enum cohort_code warm_up(struct measuring *m, double *whole_ms, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double *scratch = part_of(m, m->mine, SHORT), total;
    TRY(compute_pass(m->compute, COMPUTE_LEVELS - 1, scratch, NULL, NULL, err));
    TRY(compute_pass(m->compute, COMPUTE_SHORT, scratch, NULL, &total, err));
    *whole_ms = total / compute_share(COMPUTE_SHORT);
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
        (int)fmin(SHORT_MOST,
                  fmax(SHORT_LEAST, SHORT_MS / fmax(most * compute_share(COMPUTE_SHORT), 1e-3)))};
    TRY(profile_share_ints(job, agreed, 3, err));
    m->times = agreed[0];
    m->short_passes = agreed[2];
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
    TRY(run_schedule(m, m->index[rank], m->count[rank], err));
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

/* ---- scales ---------------------------------------------------------------------------------- */

static double short_ms(const struct measuring *m, int rank) {
    const double *ms = part_of(m, results_of(m, rank), SHORT);
    double sum = 0;
    for (int i = 0; i < m->nodes; i++)
        sum += ms[i] > 0 ? ms[i] : 0;
    return sum;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rank 0.  scale[] against the lower median of each type: of two boards, the faster one. */
static enum cohort_code find_scales(const struct measuring *m, double *scale,
                                    struct cohort_error *err) {
    int size = m->job->size;
    double *sorted = mem_zalloc((size_t)size, sizeof *sorted);
    if (sorted == NULL)
        return error_memory(err, (size_t)size * sizeof *sorted, "a profile");
    for (int r = 0; r < size; r++) {
        int count = 0;
        for (int i = 0; i < size; i++)
            if (m->type[i] == m->type[r])
                sorted[count++] = short_ms(m, i);
        qsort(sorted, (size_t)count, sizeof *sorted, ascending);
        double middle = sorted[(count - 1) / 2];
        scale[r] = middle > 0 ? short_ms(m, r) / middle : 1;
    }
    mem_free(sorted);
    return COHORT_OK;
}

static bool is_off(double scale) {
    return scale > 1 + OFF || scale < 1 / (1 + OFF);
}

/* ---- boards that differ from their equals ---------------------------------------------------- */

/* Rank 0.  A board that was measured alone is a type of its own, and why is said. */
static enum cohort_code set_apart(struct profile *p, const struct profile_job *job, int rank,
                                  double scale, const char *health, struct cohort_error *err) {
    struct profile_board *b = &p->boards[rank];
    struct profile_type *types =
        mem_realloc(p->types, ((size_t)p->type_count + 1) * sizeof *p->types);
    if (types == NULL)
        return error_memory(err, sizeof *types, "a profile");
    p->types = types;
    p->types[p->type_count] = (struct profile_type){0};
    enum cohort_code code = copy_type(&p->types[p->type_count++], &job->facts[rank], err);
    if (code != COHORT_OK)
        return code;
    b->type = p->type_count - 1;
    b->scale = 1;
    b->remark = mem_printf("%.0f %% %s than its equals, measured alone: %s",
                           100 * fabs(scale > 1 ? scale - 1 : 1 / scale - 1),
                           scale > 1 ? "slower" : "faster", health);
    if (b->remark == NULL)
        return error_memory(err, BOARD_HEALTH_BYTES, "a profile");
    say(job, 0, "%s: %s", b->host, b->remark);
    return COHORT_OK;
}

/* Collective.  All boards at once time the short pass.  What one of them was disturbed by is over
 * when they do so again: before a board counts as different, it is asked three times. */
static enum cohort_code compare(struct measuring *m, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct profile_job *job = m->job;
    double *scale = mem_zalloc((size_t)job->size, sizeof *scale);
    int again = 1;
    if (scale == NULL)
        code = error_memory(err, (size_t)job->size * sizeof *scale, "a profile");
    TRY(job_agree(job, code, err));
    for (int time = 0; time < COMPARISONS && again; time++) {
        for (int i = 0; m->count[job->rank] > 1 && i < m->short_passes && code == COHORT_OK; i++)
            code = compute_pass(m->compute, COMPUTE_SHORT, part_of(m, m->mine, SHORT), NULL, NULL,
                                err);
        TRY(job_agree(job, code, err));
        TRY(job_gather(job, m->mine, m->doubles * sizeof *m->mine, m->all, err));
        again = 0;
        if (job->rank == 0)
            code = find_scales(m, scale, err);
        for (int r = 0; job->rank == 0 && r < job->size; r++)
            again = again || is_off(scale[r]);
        TRY(job_agree(job, code, err));
        TRY(profile_share_ints(job, &again, 1, err));
    }
out:
    mem_free(scale);
    return code;
}

/* Collective.  off[rank]: who is measured alone. */
static enum cohort_code decide(struct measuring *m, struct profile *p, int *off,
                               struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct profile_job *job = m->job;
    size_t size = (size_t)job->size;
    char health[BOARD_HEALTH_BYTES] = "";
    double *scale = mem_zalloc(size, sizeof *scale);
    char *texts = mem_zalloc(size, sizeof health);
    if (scale == NULL || texts == NULL)
        code = error_memory(err, size * sizeof health, "a profile");
    TRY(job_agree(job, code, err));
    board_health(job->board, SYSFS, health);
    TRY(job_gather(job, health, sizeof health, texts, err));
    if (job->rank == 0)
        code = find_scales(m, scale, err);
    for (int r = 0; job->rank == 0 && r < job->size && code == COHORT_OK; r++) {
        off[r] = is_off(scale[r]);
        p->boards[r].scale = fabs(scale[r] - 1) > ALIKE ? profile_rounded(scale[r]) : 1;
        if (off[r])
            code = set_apart(p, job, r, scale[r], texts + (size_t)r * sizeof health, err);
    }
    TRY(job_agree(job, code, err));
    TRY(profile_share_ints(job, off, size, err));
out:
    mem_free(scale);
    mem_free(texts);
    return code;
}

/* Collective.  Those that are off measure everything once more, by themselves. */
static enum cohort_code measure_apart(struct measuring *m, const int *off,
                                      struct cohort_error *err) {
    const struct profile_job *job = m->job;
    enum cohort_code code = COHORT_OK;
    bool any = false;
    for (int r = 0; r < job->size; r++)
        any = any || off[r];
    if (!any)
        return COHORT_OK;
    if (off[job->rank])
        code = run_schedule(m, 0, 1, err);
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
    TRY(job_agree(job, measure_mine(m, err), err)); /* all have ended: now they are compared */
    TRY(compare(m, err));
    TRY(decide(m, p, off, err));
    TRY(measure_apart(m, off, err));
    for (int t = 0; job->rank == 0 && t < p->type_count && code == COHORT_OK; t++)
        code = profile_make_curves(m, p, t, err);
    code = job_agree(job, code, err);
out:
    return code;
}

enum cohort_code profile_measure_compute(struct profile *p, const struct profile_job *job,
                                         struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct measuring m = {.job = job};
    int *off = mem_zalloc((size_t)job->size, sizeof *off);
    code = prepare(&m, err);
    if (code == COHORT_OK && off == NULL)
        code = error_memory(err, (size_t)job->size * sizeof *off, "a profile");
    TRY(job_agree(job, code, err));
    TRY(divide(&m, p, err));
    TRY(measure(&m, p, off, err));
out:
    compute_destroy(&m.compute);
    mem_free(m.mine);
    mem_free(m.all);
    mem_free(m.type);
    mem_free(off);
    return code;
}
