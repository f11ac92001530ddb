/* Which of the boards that should be equal are: all of them time one short pass at the same time.
 *
 * In rounds, because a moment's disturbance meets one board and not the others: a board differs
 * only if it does so in every round, to the same side.  Two rounds say so of equal boards, mostly;
 * as long as one seems to differ there are more. */
#include "profile/measuring.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

#define ALIKE        0.03 /* closer scales than that are noise */
#define OFF          0.08 /* a board further off is measured alone */
#define ROUNDS_LEAST 2
#define ROUNDS_MOST  4
#define SYSFS        "/sys"

/* How a board did in all rounds so far. */
struct verdict {
    bool slower, faster; /* in each of them … */
    bool far;            /* … and by more than OFF */
};

/* ---- scales ---------------------------------------------------------------------------------- */

static double sum_of(const struct measuring *m, int rank, int part) {
    const double *ms = part_of(m, results_of(m, rank), part);
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
static enum cohort_code find_scales(const struct measuring *m, int part, double *scale,
                                    struct cohort_error *err) {
    int size = m->job->size;
    double *sorted = mem_zalloc((size_t)size, sizeof *sorted);
    if (sorted == NULL)
        return error_memory(err, (size_t)size * sizeof *sorted, "a profile");
    for (int r = 0; r < size; r++) {
        int count = 0;
        for (int i = 0; i < size; i++)
            if (m->type[i] == m->type[r])
                sorted[count++] = sum_of(m, i, part);
        qsort(sorted, (size_t)count, sizeof *sorted, ascending);
        double middle = sorted[(count - 1) / 2];
        scale[r] = middle > 0 ? sum_of(m, r, part) / middle : 1;
    }
    mem_free(sorted);
    return COHORT_OK;
}

static bool differs(double scale, double by) {
    return scale > 1 + by || scale < 1 / (1 + by);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static enum cohort_code run_round(struct measuring *m, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double *round = part_of(m, m->mine, ROUND), *least = part_of(m, m->mine, SHORT);
    for (int i = 0; i < m->nodes; i++)
        round[i] = -1;
    for (int i = 0; m->count[m->job->rank] > 1 && i < m->short_passes; i++)
        TRY(compute_pass(m->compute, COMPUTE_SHORT, false, round, round, err));
    for (int i = 0; i < m->nodes; i++)
        if (round[i] >= 0 && (least[i] < 0 || round[i] < least[i]))
            least[i] = round[i];
out:
    return code;
}

/* Rank 0.  Does any board still seem to be far off? */
static bool judge(const double *scale, int size, struct verdict *v) {
    bool any = false;
    for (int r = 0; r < size; r++) {
        v[r].slower = v[r].slower && scale[r] > 1 + ALIKE;
        v[r].faster = v[r].faster && scale[r] < 1 / (1 + ALIKE);
        v[r].far = v[r].far && differs(scale[r], OFF) && (v[r].slower || v[r].faster);
        any = any || v[r].far;
    }
    return any;
}

static enum cohort_code run_rounds(struct measuring *m, struct verdict *v, double *scale,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct profile_job *job = m->job;
    int again = 1;
    for (int r = 0; r < job->size; r++)
        v[r] = (struct verdict){true, true, true};
    for (int round = 0; round < ROUNDS_MOST && again; round++) {
        TRY(job_agree(job, run_round(m, err), err));
        TRY(job_gather(job, m->mine, m->doubles * sizeof *m->mine, m->all, err));
        if (job->rank == 0)
            code = find_scales(m, ROUND, scale, err);
        if (job->rank == 0 && code == COHORT_OK)
            again = judge(scale, job->size, v) || round + 1 < ROUNDS_LEAST;
        TRY(job_agree(job, code, err));
        TRY(profile_share_ints(job, &again, 1, err));
    }
out:
    return code;
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
    enum cohort_code code = profile_type_of(&p->types[p->type_count++], &job->facts[rank], err);
    if (code != COHORT_OK)
        return code;
    b->type = p->type_count - 1;
    b->scale = 1;
    b->remark = mem_printf("%.0f %% %s than its equals, measured alone: %s",
                           100 * fabs(scale > 1 ? scale - 1 : 1 / scale - 1),
                           scale > 1 ? "slower" : "faster", health);
    if (b->remark == NULL)
        return error_memory(err, BOARD_HEALTH_BYTES, "a profile");
    profile_say(job, 0, "%s: %s", b->host, b->remark);
    return COHORT_OK;
}

/* Rank 0, by the least times of all rounds.  texts: of each board's health. */
static enum cohort_code decide(const struct measuring *m, struct profile *p,
                               const struct verdict *v, double *scale, const char *texts, int *off,
                               struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(find_scales(m, SHORT, scale, err));
    for (int r = 0; r < m->job->size; r++) {
        const bool sure =
            v[r].slower ? scale[r] > 1 + ALIKE : v[r].faster && scale[r] < 1 / (1 + ALIKE);
        off[r] = sure && v[r].far && differs(scale[r], OFF);
        p->boards[r].scale = sure ? profile_rounded(scale[r]) : 1;
        if (off[r])
            TRY(set_apart(p, m->job, r, scale[r], texts + (size_t)r * BOARD_HEALTH_BYTES, err));
    }
out:
    return code;
}

enum cohort_code profile_compare(struct measuring *m, struct profile *p, int *off,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct profile_job *job = m->job;
    size_t size = (size_t)job->size;
    char health[BOARD_HEALTH_BYTES] = "";
    double *scale = mem_zalloc(size, sizeof *scale);
    struct verdict *verdicts = mem_zalloc(size, sizeof *verdicts);
    char *texts = mem_zalloc(size, sizeof health);
    if (scale == NULL || verdicts == NULL || texts == NULL)
        code = error_memory(err, size * sizeof health, "a profile");
    TRY(job_agree(job, code, err));
    TRY(run_rounds(m, verdicts, scale, err));
    board_health(job->board, SYSFS, health);
    TRY(job_gather(job, health, sizeof health, texts, err));
    if (job->rank == 0)
        code = decide(m, p, verdicts, scale, texts, off, err);
    TRY(job_agree(job, code, err));
    TRY(profile_share_ints(job, off, size, err));
out:
    mem_free(scale);
    mem_free(verdicts);
    mem_free(texts);
    return code;
}
