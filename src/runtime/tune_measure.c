/* Timing the kernels that can compute one operator of a network, each in a program of its own. */
#include "runtime/tune.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_MS    1.0  /* a kernel runs so long in its turn, or once */
#define TRIALS     3    /* turns before a kernel may drop out, unless they are as long as … */
#define TRIAL_MS   50   /* … this */
#define TURNS      20   /* of every kernel that is still in it … */
#define TURNS_MS   300  /* … or as many as begin in this time, */
#define TURNS_MIN  3    /* but at least these */
#define HOPELESS   2.0  /* times the fastest: out */
#define WORTH      0.97 /* of the estimate's time: less is not worth another choice */
#define LIVE_BYTES ((size_t)512 << 20) /* kernels take turns while their weights fit in this */

/* ---- signatures ------------------------------------------------------------------------------ */

static int by_work(const void *a, const void *b) {
    const struct tune_item *x = a, *y = b;
    double u = signature_macs(&x->signature) * x->count;
    double v = signature_macs(&y->signature) * y->count;
    return u != v ? (u < v ? 1 : -1) : (x->node > y->node) - (x->node < y->node);
}

enum cohort_code tune_items(struct tune_item **items, int *count, const struct graph *g, bool half,
                            bool fp16, struct cohort_error *err) {
    struct tune_item *list = mem_zalloc((size_t)g->node_count + 1, sizeof *list);
    int n = 0;
    if (list == NULL)
        return error_memory(err, (size_t)g->node_count * sizeof *list, "signatures");
    for (int i = 0; i < g->node_count; i++) {
        struct signature s;
        int k = 0;
        if (!signature_of(g, &g->nodes[i], &s))
            continue;
        signature_set_options(&s, half, fp16);
        while (k < n && !signature_equal(&list[k].signature, &s))
            k++;
        if (k == n)
            list[n++] = (struct tune_item){.signature = s, .node = i};
        list[k].count++;
    }
    qsort(list, (size_t)n, sizeof *list, by_work);
    *items = list;
    *count = n;
    return COHORT_OK;
}

/* ---- one kernel ------------------------------------------------------------------------------ */

struct contender {
    const char *name;
    struct program *program;
    long times; /* that it runs in a turn */
    double ms;  /* least time of one run */
    bool out;
};

static enum cohort_code add_slot(struct program *p, const struct graph *g, int id, int *slots,
                                 struct cohort_error *err) {
    if (id < 0 || g->values[id].is_constant || slots[id] >= 0)
        return COHORT_OK;
    struct rows all = {0, value_rows(graph_value(g, id))};
    return exec_add_slot(p, id, all, 0, 0, true, &slots[id], err);
}

/* A program that holds this one node, all rows. */
static enum cohort_code make_program(struct cohort_session *s, const struct node *n,
                                     struct contender *c, struct cohort_error *err) {
    const struct graph *g = s->graph;
    const struct exec_options o = {.kernel = c->name,
                                   .zero_weights = true,
                                   .half_weights = s->options.weights_type == COHORT_WEIGHTS_F16,
                                   .fp16 = s->options.arithmetic == COHORT_ARITHMETIC_F16};
    enum cohort_code code = COHORT_OK;
    size_t ports = (size_t)(n->in_count + n->out_count);
    int *slots = mem_alloc(((size_t)g->value_count + ports + 1) * sizeof *slots);
    if (slots == NULL)
        return error_memory(err, (size_t)g->value_count * sizeof *slots, "slots");
    int *in = slots + g->value_count, *out = in + n->in_count;
    for (int i = 0; i < g->value_count; i++)
        slots[i] = -1;
    TRY(exec_create(&c->program, g, s->pool, &o, err));
    for (int k = 0; k < n->in_count; k++) {
        TRY(add_slot(c->program, g, n->in[k], slots, err));
        in[k] = n->in[k] >= 0 ? slots[n->in[k]] : -1;
    }
    for (int k = 0; k < n->out_count; k++) {
        TRY(add_slot(c->program, g, n->out[k], slots, err));
        out[k] = n->out[k] >= 0 ? slots[n->out[k]] : -1;
    }
    struct rows rows = {0, value_rows(node_out(g, n, 0))};
    TRY(exec_add_op(c->program, (int)(n - g->nodes), rows, in, out, NULL, err));
    TRY(exec_prepare(c->program, err));
    if (strcmp(exec_op_kernel(c->program, 0), c->name) != 0)
        c->out = true; /* something else computes it: nothing to be learned */
out:
    mem_free(slots);
    return code;
}

static enum cohort_code take_turn(struct contender *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double start = clock_ms();
    for (long i = 0; i < c->times; i++)
        TRY(exec_run(c->program, 0, 1, err));
    double ms = (clock_ms() - start) / (double)c->times;
    if (ms < c->ms || c->ms <= 0)
        c->ms = ms;
out:
    return code;
}

/* Once for warming up, then twice as often until a turn is long enough. */
static enum cohort_code warm_up(struct contender *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    c->times = 1;
    c->ms = 0;
    TRY(take_turn(c, err));
    if (c->ms < 20 * TURN_MS)
        c->ms = 0; /* cold caches and pages count only where they count for little */
    for (;; c->times *= 2) {
        double start = clock_ms();
        TRY(take_turn(c, err));
        if (clock_ms() - start >= TURN_MS || c->times > 1000000)
            break;
    }
    for (int i = 1; i < TRIALS && c->ms * (double)c->times < TRIAL_MS; i++)
        TRY(take_turn(c, err));
out:
    return code;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static double fastest(const struct contender *list, int count) {
    double least = 0;
    for (int i = 0; i < count; i++)
        if (list[i].ms > 0 && (least <= 0 || list[i].ms < least))
            least = list[i].ms;
    return least;
}

/* Makes programs from list[first] on while they fit, lets them take turns, and ends them.  Returns
 * through *next where to go on. */
static enum cohort_code run_batch(struct cohort_session *s, const struct node *n,
                                  struct contender *list, int count, int first, int *next,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t bytes = 0;
    int last = first;
    for (; last < count && (last == first || bytes < LIVE_BYTES); last++) {
        struct contender *c = &list[last];
        TRY(make_program(s, n, c, err));
        struct exec_memory m = exec_memory(c->program);
        bytes += m.weights_bytes + m.pinned_bytes + m.arena_bytes;
        if (!c->out)
            TRY(warm_up(c, err));
        c->out = c->out || c->ms > HOPELESS * fastest(list, last + 1);
        if (c->out)
            exec_destroy(&c->program);
    }
    double start = clock_ms();
    for (int turn = 0; turn < TURNS && (turn < TURNS_MIN || clock_ms() - start < TURNS_MS); turn++)
        for (int i = first; i < last; i++) {
            list[i].out = list[i].out || list[i].ms > HOPELESS * fastest(list, last);
            if (!list[i].out)
                TRY(take_turn(&list[i], err));
        }
out:
    for (int i = first; i < last || (i == last && i < count); i++)
        exec_destroy(&list[i].program);
    *next = last;
    return code;
}

enum cohort_code tune_measure(struct cohort_session *s, const struct tune_item *item,
                              struct tuning_choice *choice, const char **estimate,
                              struct cohort_error *err) {
    const char *names[TUNING_CANDIDATES_MAX];
    struct contender list[TUNING_CANDIDATES_MAX] = {{0}};
    unsigned usable = kernel_isa_available();
    enum cohort_code code = COHORT_OK;
    int count = signature_candidates(&item->signature, usable, names, TUNING_CANDIDATES_MAX);
    *estimate = signature_estimate(&item->signature, usable);
    *choice = (struct tuning_choice){.signature = item->signature};
    for (int i = 0; i < count; i++)
        list[i].name = names[i];
    for (int next = 0; next < count;)
        TRY(run_batch(s, &s->graph->nodes[item->node], list, count, next, &next, err));
    int best = -1, expected = -1;
    for (int i = 0; i < count; i++) {
        if (list[i].ms <= 0)
            continue;
        struct tuning_time *t = &choice->times[choice->count];
        snprintf(t->kernel, sizeof t->kernel, "%s", list[i].name);
        t->us = round(list[i].ms * 1e6) * 1e-3;
        if (best < 0 || t->us < choice->times[best].us)
            best = choice->count;
        if (*estimate != NULL && strcmp(list[i].name, *estimate) == 0)
            expected = choice->count;
        choice->count++;
    }
    bool stay = expected >= 0 && choice->times[best].us > WORTH * choice->times[expected].us;
    choice->chosen = stay ? expected : best < 0 ? 0 : best;
out:
    return code;
}
