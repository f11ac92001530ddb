/* Links: from measured times to curves, equal links sharing one; and looking whether they still are
 * as a profile says. */
#include "profile/measuring.h"

#include "base/mem.h"
#include "base/rounds.h"
#include "comm/links.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define KB             ((size_t)1024)
#define SAME_MS        0.02 /* by how much clocks and wake-ups disturb a short message */
#define SAME           0.03 /* links that differ by less share a curve */
#define REPEATS        3
#define LONG_S         0.008 /* longer messages are measured twice: little disturbs them */
#define LONGEST_S      0.030 /* a message */
#define STAR_S         0.030 /* all messages of the star, about */
#define STAR_MOST      (256 * KB)
#define STAR_LEAST     (4 * KB)
#define OFF            0.20
#define PROBE_S        0.080 /* of the 100 ms; the rest is for words between rounds */
#define PROBE_MOST     (48 * KB)
#define PROBE_LEAST    (8 * KB) /* less says more about the moment than about the link */
#define PROBE_TURNS    3        /* messages of each size, and their answers' time, about */
#define PROBE_ENOUGH   2 /* times what a pair should take: then it is far off, and that is enough */
#define PROBE_LOOKS    2
#define LOOK_FIRST     (8 * KB)
#define LOOK_LONGEST_S 0.015
#define LATENCY_LEAST_MS                                                                           \
    0.5 /* shorter messages say more about the processor than about the link                       \
         */
#define STEPS 1000

/* ---- curves ---------------------------------------------------------------------------------- */

/* The sizes of a link that were measured: all, or the first few where it is slow. */
static int measured(const struct comm_link_request *r, const double *ms) {
    int count = 0;
    while (count < r->count && ms[count] >= 0)
        count++;
    return count;
}

static bool alike(const double *a, const double *b, int count) {
    for (int k = 0; k < count; k++)
        if (fabs(a[k] - b[k]) > SAME * fmin(a[k], b[k]) + SAME_MS)
            return false;
    return true;
}

/* Groups of links that are like their first: their mean is the curve. */
static enum cohort_code make_curves(struct profile *p, const struct comm_link_request *r,
                                    const double *ms, struct cohort_error *err) {
    int n = p->board_count, links = n * n;
    enum cohort_code code = COHORT_OK;
    p->links = mem_zalloc((size_t)links, sizeof *p->links);
    int *first = mem_zalloc((size_t)links, sizeof *first);
    if (p->links == NULL || first == NULL)
        TRY(error_memory(err, (size_t)links * sizeof *p->links, "a profile"));
    for (int i = 0; i < links; i++) {
        const double *mine = ms + (size_t)i * COMM_LINK_SIZES_MAX;
        int count = measured(r, mine), k = 0;
        p->link_of[i] = -1;
        if (i / n == i % n)
            continue;
        while (k < p->link_count &&
               (measured(r, ms + (size_t)first[k] * COMM_LINK_SIZES_MAX) != count ||
                !alike(ms + (size_t)first[k] * COMM_LINK_SIZES_MAX, mine, count)))
            k++;
        p->link_of[i] = k;
        if (k < p->link_count)
            continue;
        first[k] = i;
        struct profile_curve *c = &p->links[p->link_count++];
        c->points = mem_zalloc((size_t)count + 1, sizeof *c->points);
        if (c->points == NULL)
            TRY(error_memory(err, (size_t)count * sizeof *c->points, "a profile"));
        c->count = count;
    }
    for (int k = 0; k < p->link_count; k++) {
        double most = INFINITY; /* less takes no longer than more: what says so was disturbed */
        for (int at = p->links[k].count - 1; at >= 0; at--) {
            double sum = 0;
            int members = 0;
            for (int i = 0; i < links; i++)
                if (p->link_of[i] == k) {
                    sum += ms[(size_t)i * COMM_LINK_SIZES_MAX + (size_t)at];
                    members++;
                }
            most = fmin(most, sum / members);
            p->links[k].points[at] =
                (struct profile_point){.x = (double)r->bytes[at], .ms = profile_rounded(most)};
        }
    }
out:
    mem_free(first);
    return code;
}

static void drop_links(struct profile *p) {
    for (int i = 0; i < p->link_count; i++)
        mem_free(p->links[i].points);
    mem_free(p->links);
    p->links = NULL;
    p->link_count = 0;
}

/* ---- the star -------------------------------------------------------------------------------- */

/* Rank 0: as many bytes to each as take about STAR_S in all, by the links' own times. */
static size_t star_bytes(const struct profile *p) {
    double ms = 0;
    for (int r = 1; r < p->board_count; r++)
        ms += profile_link_ms(p, 0, r, (double)STAR_MOST);
    double share = ms > 0 ? 1e3 * STAR_S / ms : 1;
    double bytes = fmax((double)STAR_LEAST, fmin(1, share) * (double)STAR_MOST);
    return (size_t)bytes / KB * KB;
}

/* What a KB to everybody takes, or back, by the links. */
static double few_ms(const struct profile *p) {
    double ms = 0, latency = 0;
    for (int i = 0; i < 2 * (p->board_count - 1); i++) {
        const int other = 1 + i / 2, from = i % 2 == 0 ? 0 : other, to = other - from;
        const double begin = profile_latency_ms(&p->links[p->link_of[from * p->board_count + to]]);
        ms += 0.5 * (profile_link_ms(p, from, to, (double)KB) - begin);
        latency = fmax(latency, begin);
    }
    return ms + latency;
}

static enum cohort_code measure_star(struct profile *p, const struct profile_job *job,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct buf b = {0};
    struct comm_star star;
    if (job->rank == 0)
        buf_u64(&b, star_bytes(p));
    TRY(comm_broadcast(job->comm, &b, err));
    struct reader in = reader_of(b.data, b.size);
    size_t bytes = (size_t)read_u64(&in);
    TRY(comm_measure_star(job->comm, bytes, REPEATS, &star, err));
    if (job->rank != 0)
        goto out;
    double there = 0, back = 0;
    for (int r = 1; r < p->board_count; r++) {
        there += profile_link_ms(p, 0, r, (double)bytes);
        back += profile_link_ms(p, r, 0, (double)bytes);
    }
    p->scatter_factor =
        there > 0 ? profile_rounded(fmin(1e3, fmax(1e-3, star.scatter_ms / there))) : 1;
    p->wake_ms = profile_rounded(fmax(0, star.sleeping_ms - few_ms(p)));
    p->gather_factor = back > 0 ? profile_rounded(fmin(1e3, fmax(1e-3, star.gather_ms / back))) : 1;
out:
    buf_release(&b);
    return code;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static void count_rounds(void *context, uint64_t done, uint64_t total) {
    const struct profile_job *job = context;
    if (job->progress != NULL && total > 0)
        job->progress(job->context, STEPS * done / total, STEPS);
}

enum cohort_code profile_measure_links(struct profile *p, const struct profile_job *job,
                                       struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct comm_link_request r = {.bytes = {KB, 16 * KB, 48 * KB, 192 * KB, 1024 * KB},
                                        .count = 5,
                                        .repeats = REPEATS,
                                        .long_s = LONG_S,
                                        .longest_s = LONGEST_S};
    size_t times = (size_t)job->size * (size_t)job->size * COMM_LINK_SIZES_MAX;
    if (job->comm == NULL || job->size == 1)
        return COHORT_OK;
    double *ms = mem_alloc((job->rank == 0 ? times : 1) * sizeof *ms);
    code = ms != NULL ? COHORT_OK : error_memory(err, times * sizeof *ms, "a profile");
    TRY(job_agree(job, code, err));
    TRY(comm_measure_links(job->comm, &r, ms, count_rounds, (void *)(uintptr_t)job, err));
    if (job->rank == 0) {
        drop_links(p);
        code = make_curves(p, &r, ms, err);
    }
    TRY(job_agree(job, code, err));
    TRY(measure_star(p, job, err));
out:
    mem_free(ms);
    return code;
}

/* ---- probing --------------------------------------------------------------------------------- */

/* Rank 0: as large a message, and as many rounds, as the time allows; the slowest pair of a round
 * counts, and each of its messages goes both ways. */
static void plan_probe(const struct profile *p, struct comm_link_request *r) {
    double slowest = 0;
    int n = p->board_count, rounds = rounds_count(n);
    size_t bytes = PROBE_MOST;
    for (;; bytes /= 2) {
        slowest = 0;
        for (int i = 0; i < n * n; i++)
            slowest = fmax(slowest, profile_link_ms(p, i / n, i % n, (double)bytes));
        if (bytes / 2 < PROBE_LEAST || 2 * PROBE_TURNS * rounds * slowest < 1e3 * PROBE_S)
            break;
    }
    const double fit = 1e3 * PROBE_S / fmax(1e-3, 2 * PROBE_TURNS * slowest);
    const int run = (int)fmax(1, fmin(fit, rounds));
    *r = (struct comm_link_request){.bytes = {bytes},
                                    .count = 1,
                                    .repeats = PROBE_TURNS - 1,
                                    .longest_s = 1,
                                    .enough_s = PROBE_ENOUGH * PROBE_S / run,
                                    .rounds = run};
}

/* A link's time now over the profile's, by the largest message that was measured; 0: none was, or
 * it was too short to say. */
static double factor_of(const struct profile *p, const struct comm_link_request *r,
                        const double *ms, int i, double *now, double *was) {
    const int n = p->board_count, count = measured(r, ms + (size_t)i * COMM_LINK_SIZES_MAX);
    const int last = count > 0 ? count - 1 : 0;
    *now = ms[(size_t)i * COMM_LINK_SIZES_MAX + (size_t)last];
    *was = profile_link_ms(p, i / n, i % n, (double)r->bytes[last]);
    return i / n == i % n || *now <= 0 || *was <= 0 || fmax(*now, *was) < LATENCY_LEAST_MS
               ? 0
               : *now / *was;
}

/* Rank 0: the link that is furthest off, if any is. */
static bool find_off(const struct profile *p, const struct comm_link_request *r, const double *ms,
                     char why[PROFILE_WHY_BYTES]) {
    int n = p->board_count;
    double worst = 0, now, was;
    for (int i = 0; i < n * n; i++) {
        double factor = factor_of(p, r, ms, i, &now, &was);
        double off = factor > 0 ? fmax(factor, 1 / factor) - 1 : 0;
        if (off <= OFF || off <= worst)
            continue;
        worst = off;
        snprintf(why, PROFILE_WHY_BYTES, "from %s to %s %zu KB now take %.3g ms, not %.3g ms",
                 p->boards[i / n].host, p->boards[i % n].host, r->bytes[0] / KB, now, was);
    }
    return worst > 0;
}

/* Collective.  ms: room for all pairs' times on rank 0. */
static enum cohort_code probe(const struct profile_job *job, const struct comm_link_request *r,
                              double **ms, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t times = (size_t)job->size * (size_t)job->size * COMM_LINK_SIZES_MAX;
    *ms = mem_alloc((job->rank == 0 ? times : 1) * sizeof **ms);
    code = *ms != NULL ? COHORT_OK : error_memory(err, times * sizeof **ms, "a profile");
    TRY(job_agree(job, code, err));
    TRY(comm_measure_links(job->comm, r, *ms, NULL, NULL, err));
out:
    return code;
}

enum cohort_code profile_probe_links(const struct profile *p, const struct profile_job *job,
                                     bool *off, char why[PROFILE_WHY_BYTES],
                                     struct cohort_error *err) {
    struct comm_link_request r = {.count = 0};
    double *ms = NULL;
    *off = false;
    why[0] = '\0';
    if (job->comm == NULL || job->size == 1)
        return COHORT_OK;
    if (job->rank == 0)
        plan_probe(p, &r);
    enum cohort_code code = COHORT_OK;
    int again = 1; /* what disturbed a message is over the second time */
    for (int look = 0; look < PROBE_LOOKS && again; look++) {
        TRY(probe(job, &r, &ms, err));
        *off = job->rank == 0 && find_off(p, &r, ms, why);
        again = *off;
        TRY(profile_share_ints(job, &again, 1, err));
        mem_free(ms);
        ms = NULL;
    }
out:
    mem_free(ms);
    return code;
}

/* Rank 0: connections are warm, and somebody waits for the next inference.  A link that has become
 * much slower must not take much longer: the large message is left out then. */
static void plan_look(const struct profile *p, struct comm_link_request *r) {
    plan_probe(p, r);
    r->repeats = 1;
    r->longest_s = LOOK_LONGEST_S;
    if (r->bytes[0] <= LOOK_FIRST)
        return;
    r->bytes[1] = r->bytes[0];
    r->bytes[0] = LOOK_FIRST;
    r->count = 2;
}

enum cohort_code profile_probe_factors(const struct profile *p, const struct profile_job *job,
                                       double *factor, struct cohort_error *err) {
    struct comm_link_request r = {.count = 0};
    double *ms = NULL, now, was;
    if (job->rank == 0)
        plan_look(p, &r);
    enum cohort_code code = probe(job, &r, &ms, err);
    for (int i = 0; code == COHORT_OK && job->rank == 0 && i < job->size * job->size; i++) {
        factor[i] = factor_of(p, &r, ms, i, &now, &was);
        if (!(factor[i] > 0) || fmax(factor[i], 1 / factor[i]) - 1 <= OFF / 2)
            factor[i] = 1;
    }
    mem_free(ms);
    return code;
}
