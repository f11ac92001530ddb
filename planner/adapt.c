/* Factors on boards and links, and the patience to wait for them; see adapt.h. */
#include "planner/adapt.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A board that is to compute less than that says nothing about its speed. */
#define LEAST_MS    0.05
#define LEAST_SHARE 0.01

void adapt_release(struct adapt *a) {
    mem_free(a->board);
    mem_free(a->link);
    mem_free(a->link_looked);
    *a = (struct adapt){0};
}

enum cohort_code adapt_init(struct adapt *a, int boards, struct cohort_error *err) {
    const size_t n = (size_t)boards;
    *a = (struct adapt){.boards = boards, .odd = 1, .links_forget = ADAPT_FORGET};
    a->board = mem_zalloc(n, sizeof *a->board);
    a->link = mem_zalloc(n * n, sizeof *a->link);
    a->link_looked = mem_zalloc(n * n, sizeof *a->link_looked);
    if (a->board == NULL || a->link == NULL || a->link_looked == NULL) {
        adapt_release(a);
        return error_memory(err, n * n * 2 * sizeof *a->link, "what is measured while running");
    }
    for (size_t b = 0; b < n; b++)
        a->board[b] =
            (struct adapt_board){.factor = 1, .looked = 1, .used = 1, .forget = ADAPT_FORGET};
    for (size_t i = 0; i < n * n; i++)
        a->link[i] = a->link_looked[i] = 1;
    return COHORT_OK;
}

/* By how much b differs from a, either way. */
static double change(double a, double b) {
    return fmax(a / b, b / a) - 1;
}

/* ---- noting ---------------------------------------------------------------------------------- */

/* It was left out, perhaps for being slow, and that may be over: then it is as profiled again, and
 * the next time it takes twice as long. */
static void note_idle(struct adapt_board *b) {
    if (b->factor <= 1 + ADAPT_CHANGED || ++b->idle < b->forget)
        return;
    b->idle = 0;
    b->forget = b->forget < 1 << 20 ? 2 * b->forget : b->forget;
    b->factor = 1;
}

/* Did the last change bring at least half of what it promised?  Else the model is wrong here, and
 * looking again at once would go to and fro. */
static void judge(struct adapt *a, double latency_ms) {
    if (!(a->promised > 0))
        return;
    const double got = 1 - latency_ms / a->before_ms;
    if (got < a->promised / 2) {
        a->tired = a->tired == 0 ? 2 : a->tired < ADAPT_TIRED ? 2 * a->tired : ADAPT_TIRED;
        a->rest = a->tired;
    } else {
        a->tired = 0;
    }
    a->promised = 0;
}

void adapt_note(struct adapt *a, const double *measured_ms, const double *profiled_ms,
                double latency_ms) {
    double all = 0;
    for (int b = 0; b < a->boards; b++)
        all += profiled_ms[b];
    for (int b = 0; b < a->boards; b++) {
        if (profiled_ms[b] < LEAST_MS || profiled_ms[b] < LEAST_SHARE * all ||
            !(measured_ms[b] > 0))
            note_idle(&a->board[b]);
        else
            a->board[b].factor = measured_ms[b] / profiled_ms[b];
    }
    a->rest -= a->rest > 0;
    judge(a, latency_ms);
}

bool adapt_due(const struct adapt *a) {
    double most = 0, most_link = 0;
    for (int b = 0; b < a->boards; b++)
        most = fmax(most, change(a->board[b].factor, a->board[b].looked));
    for (int i = 0; i < a->boards * a->boards; i++)
        most_link = fmax(most_link, change(a->link[i], a->link_looked[i]));
    return most_link > ADAPT_LINKS || most > (a->rest > 0 ? ADAPT_MUCH : ADAPT_CHANGED);
}

/* A plan that avoids slow links does not see them recover. */
static bool links_are_old(struct adapt *a) {
    double most = 1;
    for (int i = 0; i < a->boards * a->boards; i++)
        most = fmax(most, a->link[i]);
    if (most <= 1 + ADAPT_LINKS || ++a->links_idle < a->links_forget)
        return false;
    a->links_idle = 0;
    a->links_forget = a->links_forget < 1 << 20 ? 2 * a->links_forget : a->links_forget;
    return true;
}

bool adapt_odd(struct adapt *a, double latency_ms, double predicted_ms) {
    if (!(latency_ms > 0 && predicted_ms > 0))
        return false;
    if (links_are_old(a))
        return true;
    const double odd = latency_ms / predicted_ms;
    if (change(odd, a->odd) <= ADAPT_ODD)
        return false;
    a->odd = odd;
    return true;
}

void adapt_links(struct adapt *a, const double *factor) {
    memcpy(a->link, factor, (size_t)a->boards * (size_t)a->boards * sizeof *a->link);
}

void adapt_looked(struct adapt *a, bool taken, double gain, double latency_ms) {
    for (int b = 0; b < a->boards; b++) {
        a->board[b].looked = a->board[b].factor;
        if (taken)
            a->board[b].used = a->board[b].factor;
    }
    memcpy(a->link_looked, a->link, (size_t)a->boards * (size_t)a->boards * sizeof *a->link);
    if (taken) {
        a->promised = gain;
        a->before_ms = latency_ms;
        return;
    }
    a->tired = a->tired == 0 ? 1 : a->tired < ADAPT_TIRED ? 2 * a->tired : ADAPT_TIRED;
    a->rest = a->tired;
}

/* ---- using ----------------------------------------------------------------------------------- */

/* A pair's own curve, behind those that are there. */
static enum cohort_code scale_link(struct profile *p, size_t pair, double factor,
                                   struct cohort_error *err) {
    const struct profile_curve *from = &p->links[p->link_of[pair]];
    struct profile_curve *to = &p->links[p->link_count];
    to->points = mem_alloc((size_t)from->count * sizeof *to->points);
    if (to->points == NULL)
        return error_memory(err, (size_t)from->count * sizeof *to->points, "a profile");
    for (int i = 0; i < from->count; i++)
        to->points[i] =
            (struct profile_point){.x = from->points[i].x, .ms = from->points[i].ms * factor};
    to->count = from->count;
    p->link_of[pair] = p->link_count++;
    return COHORT_OK;
}

static enum cohort_code scale_links(const struct adapt *a, struct profile *p,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const size_t n = (size_t)a->boards, pairs = n * n;
    struct profile_curve *links = mem_zalloc((size_t)p->link_count + pairs, sizeof *links);
    if (links == NULL)
        return error_memory(err, pairs * sizeof *links, "a profile");
    if (p->link_count > 0)
        memcpy(links, p->links, (size_t)p->link_count * sizeof *links);
    mem_free(p->links);
    p->links = links;
    for (size_t i = 0; i < pairs && code == COHORT_OK; i++) {
        const size_t pair = i / n * (size_t)p->board_count + i % n;
        if (p->link_of[pair] >= 0 && a->link[i] != 1)
            code = scale_link(p, pair, a->link[i], err);
    }
    return code;
}

enum cohort_code adapt_correct(const struct adapt *a, const struct profile *p,
                               struct profile **corrected, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct profile *c = NULL;
    TRY(profile_copy(&c, p, err));
    for (int b = 0; b < a->boards; b++)
        c->boards[b].scale *= a->board[b].factor;
    TRY(scale_links(a, c, err));
    *corrected = c;
    c = NULL;
out:
    profile_destroy(&c);
    return code;
}

int adapt_culprit(const struct adapt *a, bool *link, double *factor) {
    int worst = -1;
    double most = ADAPT_CHANGED;
    *link = false;
    *factor = 1;
    for (int b = 0; b < a->boards; b++)
        if (change(a->board[b].factor, a->board[b].used) > most) {
            most = change(a->board[b].factor, a->board[b].used);
            *factor = a->board[b].factor / a->board[b].used;
            worst = b;
        }
    most = fmax(most, ADAPT_LINKS);
    for (int i = 0; i < a->boards * a->boards; i++)
        if (change(a->link[i], a->link_looked[i]) > most) {
            most = change(a->link[i], a->link_looked[i]);
            *factor = a->link[i] / a->link_looked[i];
            *link = true;
            worst = i;
        }
    return worst;
}
