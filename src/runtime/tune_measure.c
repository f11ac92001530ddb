/* Timing kernels inside the network that they are for.
 *
 * A kernel in a loop of its own finds its weights and its input in the caches; in a network it does
 * not.  So the whole network runs, by turns with the kernels taken so far (at first the estimate's)
 * and with the next best by estimate for every signature (its rivals), and each operator's time is
 * noted.  A round is two halves of such pairs of runs; the least time of an operator in a half
 * counts, and a rival wins where it is WORTH it in both halves.  After the last round all that
 * changed runs once more against what the estimate takes, and stays only where it wins again; and
 * only if the whole network is faster with it.  So what noise chose does not last. */
#include "runtime/tune.h"

#include "base/mem.h"
#include "graph/op.h"

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

/* ---- the network ----------------------------------------------------------------------------- */

enum side { OWN, RIVAL, SIDES };
enum { HALVES = 2 };

/* One signature in the contest. */
struct entry {
    const char *names[TUNING_CANDIDATES_MAX]; /* best by estimate first */
    double rates[TUNING_CANDIDATES_MAX], us[TUNING_CANDIDATES_MAX];
    int count;
    int now;       /* which one is taken so far */
    int tried;     /* how many were, in this order */
    int rival;     /* in this round; -1: none */
    bool measured; /* against what could be better, as far as time allowed */
};

struct contest {
    struct cohort_session *session;
    const struct tune_item *items;
    struct entry *entries; /* one for each item; count == 0: another part's */
    int count;
    struct program *program;
    int *slots;                   /* of the graph's values */
    int *item_of;                 /* the item of each node, or -1 */
    bool *lost;                   /* operators that cannot run on zeros, and what follows them */
    double *least[HALVES][SIDES]; /* ms of each operator */
    double end_ms;                /* on the clock: no round begins later */
};

static void contest_release(struct contest *c) {
    exec_destroy(&c->program);
    mem_free(c->entries);
    mem_free(c->slots);
    mem_free(c->item_of);
    mem_free(c->lost);
    for (int h = 0; h < HALVES; h++)
        for (int s = 0; s < SIDES; s++)
            mem_free(c->least[h][s]);
}

/* Large constants are with rank 0 alone, and measuring wants none of their contents; what only they
 * have in common with other boards is their size. */
static enum cohort_code stand_ins(const struct cohort_session *s, const struct program *p,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct signature ignored;
    for (int i = 0; s->owns_graph && i < exec_op_count(p); i++) {
        const struct node *n = &s->graph->nodes[exec_op_node(p, i)];
        bool packed = signature_of(s->graph, n, &ignored); /* by a kernel that reads no weights */
        for (int k = 0; k < n->in_count && !packed; k++) {
            struct value *v = n->in[k] >= 0 ? graph_value(s->graph, n->in[k]) : NULL;
            struct tensor zeros = {0};
            if (v == NULL || !v->is_constant || v->constant.data != NULL ||
                shape_count(&v->constant.shape) == 0)
                continue;
            TRY(tensor_init(&zeros, v->constant.type, &v->constant.shape, err));
            memset(zeros.data, 0, tensor_bytes(&zeros));
            v->constant = zeros;
        }
    }
out:
    return code;
}

static enum cohort_code store_inputs(const struct contest *c, struct cohort_error *err) {
    const struct graph *g = c->session->graph;
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < g->input_count && code == COHORT_OK; i++) {
        const struct value *v = graph_value(g, g->inputs[i]);
        struct tensor zeros = {0};
        TRY(tensor_init(&zeros, v->type, &v->shape, err));
        memset(zeros.data, 0, tensor_bytes(&zeros));
        code = exec_slot_store(c->program, c->slots[g->inputs[i]], &zeros, err);
        tensor_release(&zeros);
    }
out:
    return code;
}

static enum cohort_code open_network(struct contest *c, struct cohort_error *err) {
    struct cohort_session *s = c->session;
    const struct graph *g = s->graph;
    const struct exec_options o = {.kernel = s->options.kernel,
                                   .zero_weights = true,
                                   .board = &s->kernel_board,
                                   .half_weights = s->options.weights_type == COHORT_WEIGHTS_F16,
                                   .fp16 = s->options.arithmetic == COHORT_ARITHMETIC_F16};
    enum cohort_code code = COHORT_OK;
    size_t nodes = (size_t)g->node_count + 1;
    c->slots = mem_zalloc((size_t)g->value_count + 1, sizeof *c->slots);
    c->item_of = mem_zalloc(nodes, sizeof *c->item_of);
    if (c->slots == NULL || c->item_of == NULL)
        return error_memory(err, nodes * sizeof *c->item_of, "measurements");
    TRY(exec_create(&c->program, g, s->pool, &o, err));
    TRY(exec_add_graph(c->program, 0, c->slots, err));
    size_t ops = (size_t)exec_op_count(c->program) + 1;
    bool ok = (c->lost = mem_zalloc(ops, sizeof *c->lost)) != NULL;
    for (int h = 0; h < HALVES; h++)
        for (int k = 0; k < SIDES; k++)
            ok = ok && (c->least[h][k] = mem_zalloc(ops, sizeof(double))) != NULL;
    if (!ok) {
        code = error_memory(err, ops * sizeof(double), "measurements");
        goto out;
    }
    for (int i = 0; i < g->node_count; i++) {
        struct signature sig;
        c->item_of[i] = -1;
        if (!signature_of(g, &g->nodes[i], &sig))
            continue;
        signature_set_options(&sig, o.half_weights, o.fp16);
        for (int k = 0; k < c->count && c->item_of[i] < 0; k++)
            if (signature_equal(&c->items[k].signature, &sig))
                c->item_of[i] = k;
    }
    TRY(stand_ins(s, c->program, err));
    TRY(exec_prepare(c->program, err));
    code = store_inputs(c, err);
out:
    return code;
}

/* ---- running it ------------------------------------------------------------------------------ */

/* Does an operator read what one that cannot run should have made? */
static bool follows_lost(const struct contest *c, int op) {
    const struct graph *g = c->session->graph;
    const struct node *n = &g->nodes[exec_op_node(c->program, op)];
    for (int before = 0; before < op; before++) {
        const struct node *m = &g->nodes[exec_op_node(c->program, before)];
        for (int k = 0; c->lost[before] && k < m->out_count; k++)
            for (int i = 0; i < n->in_count; i++)
                if (m->out[k] >= 0 && n->in[i] == m->out[k] &&
                    !shape_known(&graph_value(g, m->out[k])->shape))
                    return true;
    }
    return false;
}

/* The first run: what depends on numbers may not work with zeros, and is left out from then on. */
static enum cohort_code first_run(struct contest *c, struct cohort_error *err) {
    struct cohort_error local;
    for (int i = 0; i < exec_op_count(c->program); i++) {
        enum cohort_code code =
            follows_lost(c, i) ? COHORT_ERR_SHAPE : exec_run(c->program, i, i + 1, &local);
        c->lost[i] = code != COHORT_OK;
        if (code == COHORT_ERR_MEMORY)
            return error_set(err, code, "%s", local.message);
    }
    return COHORT_OK;
}

static enum cohort_code run_once(struct contest *c, enum side side, int half,
                                 struct cohort_error *err) {
    double *least = c->least[half][side], start, before = clock_ms();
    exec_use_rivals(c->program, side == RIVAL);
    for (int i = 0; i < exec_op_count(c->program); i++) {
        if (c->lost[i])
            continue;
        start = before;
        enum cohort_code code = exec_run(c->program, i, i + 1, err);
        if (code != COHORT_OK)
            return code;
        before = clock_ms();
        if (least[i] <= 0 || before - start < least[i])
            least[i] = before - start;
    }
    return COHORT_OK;
}

static void forget_times(struct contest *c) {
    for (int h = 0; h < HALVES; h++)
        for (int s = 0; s < SIDES; s++)
            memset(c->least[h][s], 0, (size_t)exec_op_count(c->program) * sizeof(double));
}

/* An item's milliseconds: all its operators, or one of them in the mean. */
static double item_ms(const struct contest *c, int item, int half, enum side side) {
    double ms = 0;
    for (int i = 0; i < exec_op_count(c->program); i++)
        if (c->item_of[exec_op_node(c->program, i)] == item)
            ms += c->least[half][side][i];
    return ms;
}

static void end_rival(struct contest *c, int item, bool wins) {
    struct entry *e = &c->entries[item];
    for (int i = 0; i < c->session->graph->node_count; i++)
        if (c->item_of[i] == item)
            exec_end_rival(c->program, i, wins);
    if (wins)
        e->now = e->rival;
    e->rival = -1;
}

static bool wins(const struct contest *c, int item) {
    bool both = true;
    for (int h = 0; h < HALVES; h++)
        both = both && item_ms(c, item, h, RIVAL) < WORTH * item_ms(c, item, h, OWN);
    return both;
}

/* The least that was seen of either kernel, in microseconds of one operator. */
static void note_times(struct contest *c, int item) {
    struct entry *e = &c->entries[item];
    for (int s = 0; s < SIDES; s++) {
        int k = s == RIVAL ? e->rival : e->now;
        double ms = fmin(item_ms(c, item, 0, (enum side)s), item_ms(c, item, 1, (enum side)s));
        double us = round(ms / c->items[item].count * 1e6) * 1e-3;
        if (k >= 0 && ms > 0 && (e->us[k] <= 0 || us < e->us[k]))
            e->us[k] = us;
    }
}

/* Rivals that are hopeless after a look at each end; *left: are there others? */
static enum cohort_code end_hopeless(struct contest *c, bool *left, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < HALVES; i++) {
        TRY(run_once(c, OWN, i, err));
        TRY(run_once(c, RIVAL, i, err));
    }
    *left = false;
    for (int i = 0; i < c->count; i++) {
        if (c->entries[i].rival < 0)
            continue;
        note_times(c, i);
        bool hopeless = true;
        for (int h = 0; h < HALVES; h++)
            hopeless = hopeless && item_ms(c, i, h, RIVAL) > HOPELESS * item_ms(c, i, h, OWN);
        if (hopeless)
            end_rival(c, i, false);
        *left = *left || !hopeless;
    }
out:
    return code;
}

/* Runs the rivals that are bound against what is taken so far. */
static enum cohort_code play(struct contest *c, bool all, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool left = true;
    TRY(run_once(c, RIVAL, 0, err)); /* pages and caches: does not count */
    forget_times(c);
    if (!all)
        TRY(end_hopeless(c, &left, err));
    forget_times(c);
    for (int h = 0; h < HALVES && left; h++) {
        double start = clock_ms();
        for (int pair = 0;
             pair < PAIRS_LEAST || (pair < PAIRS_MOST && clock_ms() - start < HALF_MS); pair++) {
            enum side first = (pair + h) % 2 ? RIVAL : OWN; /* what drifts is fair to both */
            TRY(run_once(c, first, h, err));
            TRY(run_once(c, first == OWN ? RIVAL : OWN, h, err));
        }
    }
out:
    exec_use_rivals(c->program, false);
    return code;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Binds kernel k for all nodes of an item.  *bytes grows by their weights; entry.rival stays -1
 * when another kernel would compute them. */
static enum cohort_code bind_rival(struct contest *c, int item, int k, size_t *bytes,
                                   struct cohort_error *err) {
    struct entry *e = &c->entries[item];
    enum cohort_code code = COHORT_OK;
    for (int i = 0; i < c->session->graph->node_count; i++) {
        size_t weights = 0;
        if (c->item_of[i] != item)
            continue;
        TRY(exec_bind_rival(c->program, i, e->names[k], &weights, err));
        *bytes += weights;
        if (weights > 0)
            e->rival = k;
    }
out:
    return code;
}

/* The next kernel worth trying for an item; -1: none is left. */
static int next_kernel(struct entry *e) {
    while (e->tried < e->count) {
        int k = e->tried++;
        if (k > 0 && e->rates[k] * UNLIKELY >= e->rates[0])
            return k;
    }
    return -1;
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
        int k = e->tried == least ? next_kernel(e) : -1;
        if (k >= 0)
            TRY(bind_rival(c, i, k, &bytes, err));
        *rivals += e->rival >= 0;
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
        for (int i = 0; i < c->count; i++) {
            if (c->entries[i].rival < 0)
                continue;
            bool better = wins(c, i);
            note_times(c, i);
            end_rival(c, i, better);
        }
    }
out:
    return code;
}

/* What has changed plays against the estimate's kernels once more; what does not win again goes
 * back, and everything does when the network as a whole is no faster. */
static enum cohort_code confirm(struct contest *c, struct tune_result *results,
                                struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double estimate[HALVES] = {0}, chosen[HALVES] = {0};
    size_t bytes = 0;
    int changed = 0;
    for (int i = 0; i < c->count; i++) {
        if (c->entries[i].now != 0)
            TRY(bind_rival(c, i, 0, &bytes, err));
        changed += c->entries[i].rival >= 0;
    }
    if (changed == 0)
        goto out;
    TRY(play(c, true, err));
    for (int i = 0; i < c->count; i++) {
        bool again = true;
        for (int h = 0; h < HALVES && c->entries[i].rival >= 0; h++)
            again = again && item_ms(c, i, h, OWN) < WORTH * item_ms(c, i, h, RIVAL);
        if (c->entries[i].rival >= 0)
            note_times(c, i);
        if (!again)
            end_rival(c, i, true);
    }
    for (int i = 0; i < exec_op_count(c->program); i++)
        for (int h = 0; h < HALVES; h++) { /* kernels that went back are the same on both sides */
            int item = c->item_of[exec_op_node(c->program, i)];
            bool back = item >= 0 && c->entries[item].count > 0 && c->entries[item].now == 0;
            estimate[h] += c->least[h][RIVAL][i];
            chosen[h] += c->least[h][back ? RIVAL : OWN][i];
        }
    bool faster = chosen[0] < estimate[0] && chosen[1] < estimate[1];
    for (int i = 0; i < c->count; i++) {
        struct entry *e = &c->entries[i];
        if (e->rival < 0)
            continue;
        double scale = 1e3 / c->items[i].count;
        results[i].estimate_us = scale * fmin(item_ms(c, i, 0, RIVAL), item_ms(c, i, 1, RIVAL));
        results[i].chosen_us = scale * fmin(item_ms(c, i, 0, OWN), item_ms(c, i, 1, OWN));
        end_rival(c, i, !faster);
    }
out:
    return code;
}

/* What the estimate's kernels take, for signatures that have no others. */
static enum cohort_code look_at_own(struct contest *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    forget_times(c);
    for (int i = 0; i < PAIRS_LEAST * HALVES; i++)
        TRY(run_once(c, OWN, i % HALVES, err));
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

enum cohort_code tune_measure(struct cohort_session *s, const struct tune_item *items, int count,
                              const struct tune_part *part, double limit_s,
                              struct tune_result *results, struct cohort_error *err) {
    struct contest c = {.session = s, .items = items, .count = count};
    unsigned usable = kernel_isa_available() & kernel_isas_named(s->options.kernel);
    enum cohort_code code = COHORT_OK;
    double start = clock_ms();
    c.end_ms = start + limit_s * 1e3 * (1 - CONFIRM);
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
    }
    TRY(open_network(&c, err));
    TRY(first_run(&c, err));
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
