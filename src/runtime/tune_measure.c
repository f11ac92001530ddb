/* Timing kernels inside the network that they are for.
 *
 * A kernel in a loop of its own finds its weights and its input in the caches; in a network it does
 * not.  So the whole network runs, by turns with the kernels taken so far (at first the estimate's)
 * and with the next best by estimate for every signature (its rivals), and each operator's time is
 * noted.  Both are programs as `run` has them (contest.h).
 * A round is two halves of such pairs of runs; the least time of an operator in a half counts, and
 * a rival wins where it is WORTH it in both halves.  Where another kernel makes other strips, all
 * operators of these count.  After the last round all that changed runs once more against what the
 * estimate takes, and stays only where it wins again; and only if the whole network is faster with
 * it.  So what noise chose does not last. */
#include "runtime/contest.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define WORTH        0.97                /* of the other's time: less is not worth another choice */
#define HOPELESS     1.5                 /* times the other's: out after the first runs */
#define UNLIKELY     8.0                 /* times slower by estimate than the best: not tried */
#define PAIRS_LEAST  5                   /* of runs in a half … */
#define PAIRS_MOST   24                  /* … */
#define HALF_MS      300                 /* … or as many as begin in this time */
#define CONFIRM      0.25                /* of the limit, kept for the last round */
#define RIVALS_BYTES ((size_t)512 << 20) /* of weights, at once: more take another round */

/* ---- a contest ------------------------------------------------------------------------------- */

/* The rival is out, or its kernel is taken from now on. */
static void end_rival(struct contest *c, int item, bool wins) {
    struct entry *e = &c->entries[item];
    if (wins)
        e->now = e->rival;
    e->rival = -1;
}

static bool wins(const struct contest *c, int item) {
    bool both = true;
    for (int h = 0; h < HALVES; h++)
        both =
            both && contest_reach_ms(c, item, h, RIVAL) < WORTH * contest_reach_ms(c, item, h, OWN);
    return both;
}

/* The least that was seen of either kernel, in microseconds of one operator. */
static void note_times(struct contest *c, int item) {
    struct entry *e = &c->entries[item];
    for (int s = 0; s < SIDES; s++) {
        int k = s == RIVAL ? e->rival : e->now;
        double ms = fmin(contest_item_ms(c, item, 0, (enum side)s),
                         contest_item_ms(c, item, 1, (enum side)s));
        double us = round(ms / c->items[item].count * 1e6) * 1e-3;
        if (k >= 0 && ms > 0 && (e->us[k] <= 0 || us < e->us[k]))
            e->us[k] = us;
    }
}

/* Rivals that are hopeless after a look at each end, and *left: are there others?  Then the program
 * is made again without them, so that they do not disturb the others. */
static enum cohort_code end_hopeless(struct contest *c, bool *left, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool ended = false;
    for (int i = 0; i < HALVES; i++) {
        TRY(contest_run(c, OWN, i, err));
        TRY(contest_run(c, RIVAL, i, err));
    }
    *left = false;
    for (int i = 0; i < c->count; i++) {
        if (c->entries[i].rival < 0)
            continue;
        note_times(c, i);
        bool hopeless = true;
        for (int h = 0; h < HALVES; h++)
            hopeless = hopeless &&
                       contest_reach_ms(c, i, h, RIVAL) > HOPELESS * contest_reach_ms(c, i, h, OWN);
        if (hopeless)
            end_rival(c, i, false);
        ended = ended || hopeless;
        *left = *left || !hopeless;
    }
    if (ended && *left) {
        TRY(contest_make(c, RIVAL, false, err));
        contest_find_reach(c);
        code = contest_run(c, RIVAL, 0, err);
    }
out:
    return code;
}

/* Runs the two programs against each other. */
static enum cohort_code play(struct contest *c, bool all, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool left = true;
    contest_find_reach(c);
    TRY(contest_run(c, OWN, 0, err)); /* pages and caches: does not count */
    TRY(contest_run(c, RIVAL, 0, err));
    contest_forget_times(c);
    if (!all)
        TRY(end_hopeless(c, &left, err));
    contest_forget_times(c);
    for (int h = 0; h < HALVES && left; h++) {
        double start = clock_ms();
        for (int pair = 0;
             pair < PAIRS_LEAST || (pair < PAIRS_MOST && clock_ms() - start < HALF_MS); pair++) {
            enum side first = (pair + h) % 2 ? RIVAL : OWN; /* what drifts is fair to both */
            TRY(contest_run(c, first, h, err));
            TRY(contest_run(c, first == OWN ? RIVAL : OWN, h, err));
        }
    }
out:
    return code;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* The next kernel worth trying for an item; -1: none is left. */
static int next_kernel(struct entry *e) {
    while (e->tried < e->count) {
        int k = e->tried++;
        if (k > 0 && e->rates[k] * UNLIKELY >= e->rates[0])
            return k;
    }
    return -1;
}

/* Does no node of the item run by its rival's kernel?  (Of ScaledConv not all can.) */
static bool rival_is_unused(const struct contest *c, int item) {
    const struct entry *e = &c->entries[item];
    for (int i = 0; i < c->session->graph->node_count; i++) {
        const char *kernel = c->item_of[i] == item ? exec_node_kernel(c->programs[RIVAL], i) : NULL;
        if (kernel != NULL && strcmp(kernel, e->names[e->rival]) == 0)
            return false;
    }
    return true;
}

/* Rivals for all items, as long as they fit into memory.  Returns how many through *rivals. */
static enum cohort_code next_round(struct contest *c, int *rivals, struct cohort_error *err) {
    size_t bytes = 0;
    enum cohort_code code = COHORT_OK;
    *rivals = 0;
    int least = TUNING_CANDIDATES_MAX; /* those that were tried least come first */
    for (int i = 0; i < c->count; i++)
        if (c->entries[i].tried < c->entries[i].count && c->entries[i].tried < least)
            least = c->entries[i].tried;
    for (int i = 0; i < c->count && bytes < RIVALS_BYTES; i++) {
        struct entry *e = &c->entries[i];
        e->rival = e->tried == least ? next_kernel(e) : -1;
        if (e->rival >= 0)
            bytes += (size_t)c->items[i].count *
                     signature_weights_bytes(&c->items[i].signature, e->names[e->rival]);
        *rivals += e->rival >= 0;
    }
    if (*rivals == 0)
        goto out;
    TRY(contest_make(c, RIVAL, false, err));
    for (int i = 0; i < c->count; i++)
        if (c->entries[i].rival >= 0 && rival_is_unused(c, i)) {
            c->entries[i].rival = -1; /* nothing to be learned */
            --*rivals;
        }
out:
    return code;
}

static bool tries_left(const struct contest *c) {
    for (int i = 0; i < c->count; i++)
        if (c->entries[i].tried < c->entries[i].count)
            return true;
    return false;
}

/* Kernels tried, and all that there are to try. */
static void tell_progress(const struct contest *c, bool end) {
    const struct cohort_session_options *o = &c->session->options;
    uint64_t done = 0, total = 0;
    for (int i = 0; i < c->count; i++) {
        const struct entry *e = &c->entries[i];
        done += (uint64_t)(e->tried < e->count ? e->tried : e->count);
        total += (uint64_t)e->count;
    }
    if (o->progress != NULL)
        o->progress(o->context, "tuning", end ? total : done, total);
}

static enum cohort_code play_rounds(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    while (tries_left(c) && clock_ms() < c->end_ms) {
        int rivals;
        tell_progress(c, false);
        TRY(next_round(c, &rivals, err));
        if (rivals == 0)
            continue;
        TRY(play(c, false, err));
        bool changed = false;
        for (int i = 0; i < c->count; i++) {
            if (c->entries[i].rival < 0)
                continue;
            bool better = wins(c, i);
            note_times(c, i);
            end_rival(c, i, better);
            changed = changed || better;
        }
        if (changed)
            TRY(contest_make(c, OWN, false, err));
    }
out:
    return code;
}

/* All that changed, by turns with the estimate's kernels; what does not win again goes back.
 * Returns how many did through *back, and whether the rest is faster as a whole. */
static enum cohort_code play_estimate(struct contest *c, int *back, bool *faster,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(contest_make(c, OWN, false, err));
    TRY(contest_make(c, RIVAL, true, err));
    for (int i = 0; i < c->count; i++) /* for note_times() */
        c->entries[i].rival = c->entries[i].now != 0 ? 0 : -1;
    TRY(play(c, true, err));
    *back = 0;
    for (int i = 0; i < c->count; i++) {
        bool again = true;
        if (c->entries[i].rival < 0)
            continue;
        note_times(c, i);
        for (int h = 0; h < HALVES; h++)
            again =
                again && contest_reach_ms(c, i, h, OWN) < WORTH * contest_reach_ms(c, i, h, RIVAL);
        *back += !again;
        end_rival(c, i, !again);
    }
    *faster = true;
    for (int h = 0; h < HALVES; h++) {
        double estimate = 0, chosen = 0;
        for (int i = 0; i < c->ops; i++) { /* kernels that went back are the same on both sides */
            int item = c->item_of[contest_node(c, i)];
            bool same = item >= 0 && c->entries[item].count > 0 && c->entries[item].now == 0;
            estimate += c->least[h][RIVAL][i];
            chosen += c->least[h][same ? RIVAL : OWN][i];
        }
        *faster = *faster && chosen < estimate;
    }
out:
    return code;
}

static int changed_items(const struct contest *c) {
    int changed = 0;
    for (int i = 0; i < c->count; i++)
        changed += c->entries[i].now > 0;
    return changed;
}

/* Until nothing goes back any more, as far as there is time: other strips of those that went back
 * can make a difference to the rest.  Everything goes back when the network as a whole is no faster
 * than with the estimate's kernels. */
static enum cohort_code confirm(struct contest *c, struct tune_result *results,
                                struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool faster = false;
    int back = 1;
    while (changed_items(c) > 0 && back > 0) {
        TRY(play_estimate(c, &back, &faster, err));
        if (clock_ms() > c->last_ms)
            break;
    }
    for (int i = 0; i < c->count; i++) {
        struct entry *e = &c->entries[i];
        if (e->now <= 0)
            continue;
        double scale = 1e3 / c->items[i].count;
        results[i].estimate_us =
            scale * fmin(contest_item_ms(c, i, 0, RIVAL), contest_item_ms(c, i, 1, RIVAL));
        results[i].chosen_us =
            scale * fmin(contest_item_ms(c, i, 0, OWN), contest_item_ms(c, i, 1, OWN));
        if (!faster)
            e->now = 0;
    }
out:
    return code;
}

/* What the estimate's kernels take, for signatures that have no others. */
static enum cohort_code look_at_own(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    contest_forget_times(c);
    for (int i = 0; i < PAIRS_LEAST * HALVES; i++)
        TRY(contest_run(c, OWN, i % HALVES, err));
    for (int i = 0; i < c->count; i++)
        if (c->entries[i].count > 0)
            note_times(c, i);
out:
    return code;
}

static void fill_result(const struct contest *c, int item, struct tune_result *r) {
    const struct entry *e = &c->entries[item];
    struct tuning_choice *choice = &r->choice;
    if (e->count == 0 || e->us[e->now] <= 0 || (e->count > 1 && e->tried < 2))
        return;
    r->measured = 1;
    choice->signature = c->items[item].signature;
    choice->signature.conv.board = NULL; /* it travels */
    snprintf(r->estimate, sizeof r->estimate, "%s", e->names[0]);
    if (e->now == 0)
        r->estimate_us = r->chosen_us = e->us[0];
    for (int k = 0; k < e->count; k++) {
        if (e->us[k] <= 0)
            continue;
        if (k == e->now)
            choice->chosen = choice->count;
        struct tuning_time *t = &choice->times[choice->count++];
        snprintf(t->kernel, sizeof t->kernel, "%s", e->names[k]);
        t->us = e->us[k];
    }
}

/* For tests: the kernel of this name counts as the fastest. */
static void misjudge(struct entry *e, const char *kernel) {
    for (int i = 1; i < e->count && kernel != NULL; i++) {
        if (strcmp(e->names[i], kernel) != 0)
            continue;
        const char *name = e->names[i];
        memmove(e->names + 1, e->names, (size_t)i * sizeof *e->names);
        memmove(e->rates + 1, e->rates, (size_t)i * sizeof *e->rates);
        e->names[0] = name;
        e->rates[0] = e->rates[1];
        return;
    }
}

enum cohort_code tune_measure(struct cohort_session *s, const struct tune_item *items, int count,
                              const struct tune_part *part, double limit_s,
                              struct tune_result *results, struct cohort_error *err) {
    struct contest c = {.session = s, .items = items, .count = count};
    unsigned usable = kernel_isa_available() & kernel_isas_named(s->options.kernel);
    enum cohort_code code = COHORT_OK;
    double start = clock_ms();
    c.end_ms = start + limit_s * 1e3 * (1 - CONFIRM);
    c.last_ms = start + limit_s * 1e3;
    c.entries = mem_zalloc((size_t)count + 1, sizeof *c.entries);
    if (c.entries == NULL)
        return error_memory(err, (size_t)count * sizeof *c.entries, "measurements");
    for (int i = 0; i < count; i++) {
        struct entry *e = &c.entries[i];
        e->rival = -1;
        e->tried = 1;
        if (i % part->count == part->index)
            e->count = signature_ranked(&items[i].signature, usable, e->names, e->rates,
                                        TUNING_CANDIDATES_MAX);
        misjudge(e, s->options.inject_estimate);
    }
    TRY(contest_open(&c, err));
    if (clock_ms() < c.end_ms)
        TRY(look_at_own(&c, err));
    TRY(play_rounds(&c, err));
    TRY(confirm(&c, results, err));
    for (int i = 0; i < count; i++)
        fill_result(&c, i, &results[i]);
    tell_progress(&c, true);
out:
    contest_release(&c);
    return code;
}
