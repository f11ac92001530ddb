/* Groups: every run of operators that could be a segment, run as one, for the strategy that
 * searches all configurations.
 *
 * Rank 0 lists them with the rows that the slowest board of each type would have; boards of a type
 * share them out.  Each board makes programs of some groups at a time, runs every group as a run
 * does (halo rows included, strips as they come, weights from memory), and the least time counts.
 */
#include "profile/measuring.h"

#include "base/clock.h"
#include "base/mem.h"
#include "planner/groups.h"
#include "planner/part.h"

#include <math.h>
#include <string.h>

#define TIMES_LEAST 2 /* that a group is run; the least counts … */
#define TIMES_MOST  8
#define SHORT_MS    5000.0 /* … more than twice only where all takes no longer than this, about … */
#define LONG_MS     10000.0 /* … and once where a single time takes longer than this */
#define STAGES      20      /* at least; after each of them boards agree, and progress is told */
#define OPS_MOST    2000    /* of a program, about: where there are more, there are several */
#define PATIENCE    10      /* a stage may take so much longer than expected */
#define USUAL_S     300.0   /* and so long in any case */

/* Nodes [first, last) on a board that computes rows [split[0], split[1]) of value `until`. */
struct group {
    int first, last, until;
    int like, type, rank; /* that board is of that type; this rank measures it */
    int64_t split[2];
    double expected_ms;
};

struct grouped {
    const struct profile_job *job;
    struct group *list; /* on every rank the same */
    size_t capacity;
    int count;
    int times, programs, stages, patience_s; /* stages: of a program */
    double *shares;                          /* rank 0: of the rows, each board's */
    double *ms, *all;                        /* all: rank 0 */
    /* Scratch. */
    struct rows *need; /* of the graph's values */
    int *slots, *ops, *first_op;
    double *took;
};

/* ---- which groups, and who measures them: rank 0 --------------------------------------------- */

struct listing {
    struct grouped *to;
    const struct cost_model *m;
    const struct cuts *cuts;
    struct demand d;
    int64_t *split;
    int longest;
};

/* Of the boards of a type, the one with the most to compute for the group that l->d has come to;
 * -1: none of them has any rows. */
static int slowest_of(const struct listing *l, int type) {
    int slowest = -1;
    for (int b = 0; b < l->m->boards; b++)
        if (l->m->p->boards[b].type == type && l->split[b + 1] > l->split[b] &&
            (slowest < 0 || l->d.ms[b] > l->d.ms[slowest]))
            slowest = b;
    return slowest;
}

static enum cohort_code add_group(struct listing *l, int i, int j, struct cohort_error *err) {
    struct grouped *to = l->to;
    for (int type = 0; type < l->m->p->type_count; type++) {
        const int b = slowest_of(l, type), end = l->cuts->at[j + 1];
        if (b < 0)
            continue;
        if (!MEM_GROW(to->list, to->capacity, (size_t)to->count))
            return error_memory(err, (size_t)to->count * sizeof *to->list, "a list of groups");
        to->list[to->count++] = (struct group){.first = l->cuts->at[i],
                                               .last = end,
                                               .until = l->m->outputs[end - 1],
                                               .like = b,
                                               .type = type,
                                               .split = {l->split[b], l->split[b + 1]},
                                               .expected_ms = l->d.ms[b]};
    }
    return COHORT_OK;
}

/* All groups that end with unit j. */
static enum cohort_code list_ending(struct listing *l, int j, const bool *who,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int end = l->cuts->at[j + 1], until = l->m->outputs[end - 1];
    TRY(cost_proportional(l->m, until, who, l->split, err));
    demand_begin(&l->d, end, until, l->split);
    for (int i = j; i >= 0 && l->cuts->wide[i] && (l->longest <= 0 || j - i < l->longest); i--) {
        while (l->d.at > l->cuts->at[i])
            demand_step(&l->d);
        TRY(add_group(l, i, j, err));
    }
out:
    return code;
}

/* Each to the board of its type that has least to do. */
static enum cohort_code share_out(struct grouped *g, const struct profile *p,
                                  struct cohort_error *err) {
    double *load = mem_zalloc((size_t)p->board_count, sizeof *load), most = 0, largest = 0;
    int *ops = mem_zalloc((size_t)p->board_count, sizeof *ops), most_ops = 0;
    if (load == NULL || ops == NULL) {
        mem_free(load);
        mem_free(ops);
        return error_memory(err, (size_t)p->board_count * sizeof *load, "a list of groups");
    }
    for (int k = 0; k < g->count; k++) {
        struct group *group = &g->list[k];
        int least = -1;
        for (int b = 0; b < p->board_count; b++)
            if (p->boards[b].type == group->type && (least < 0 || load[b] < load[least]))
                least = b;
        group->rank = least;
        load[least] += group->expected_ms;
        ops[least] += group->last - group->first;
        most = fmax(most, load[least]);
        largest = fmax(largest, group->expected_ms);
        most_ops = ops[least] > most_ops ? ops[least] : most_ops;
    }
    g->times =
        most > LONG_MS ? 1 : (int)fmin(TIMES_MOST, fmax(TIMES_LEAST, SHORT_MS / fmax(most, 1e-3)));
    g->programs = most_ops / OPS_MOST + 1;
    g->stages = (STAGES + g->programs - 1) / g->programs;
    g->patience_s =
        (int)fmin(1e6, USUAL_S + PATIENCE * 1e-3 * g->times * (most / STAGES + largest));
    mem_free(load);
    mem_free(ops);
    return COHORT_OK;
}

static enum cohort_code list_groups(struct grouped *g, const struct profile *p, int longest,
                                    bool root_feeds, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct listing l = {.to = g, .longest = longest};
    const struct cost_options o = {.root_feeds = root_feeds};
    struct cost_model *m = NULL;
    struct cuts *cuts = NULL;
    bool *who = mem_zalloc((size_t)p->board_count, sizeof *who);
    l.split = mem_zalloc((size_t)p->board_count + 1, sizeof *l.split);
    g->shares = mem_zalloc((size_t)p->board_count + 1, sizeof *g->shares);
    if (who == NULL || l.split == NULL || g->shares == NULL)
        TRY(error_memory(err, (size_t)p->board_count * sizeof *l.split, "a list of groups"));
    TRY(cost_create(&m, g->job->graph, p, &o, err));
    TRY(cuts_create(&cuts, m, 1, err));
    l.m = m;
    l.cuts = cuts;
    TRY(demand_init(&l.d, m, err));
    cost_fastest(m, m->usable_count, who);
    cost_shares(m, g->shares);
    for (int j = 0; j < cuts->count - 1; j++)
        if (cuts->wide[j])
            TRY(list_ending(&l, j, who, err));
    TRY(share_out(g, p, err));
out:
    demand_release(&l.d);
    cuts_destroy(&cuts);
    cost_destroy(&m);
    mem_free(l.split);
    mem_free(who);
    return code;
}

/* Collective. */
static enum cohort_code share_list(struct grouped *g, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct buf b = {0};
    if (g->job->comm == NULL)
        return code;
    for (int k = 0; g->job->rank == 0 && k < g->count; k++) {
        const struct group *group = &g->list[k];
        const int numbers[] = {group->first, group->last, group->until, group->rank};
        for (int i = 0; i < 4; i++)
            buf_u32(&b, (uint32_t)numbers[i]);
        buf_u64(&b, (uint64_t)group->split[0]);
        buf_u64(&b, (uint64_t)group->split[1]);
    }
    int plan[] = {g->count, g->times, g->programs, g->stages, g->patience_s};
    TRY(profile_share_ints(g->job, plan, 5, err));
    g->count = plan[0];
    g->times = plan[1];
    g->programs = plan[2];
    g->stages = plan[3];
    comm_set_setup_timeout(g->job->comm, plan[4]); /* a board that is silent for longer is lost */
    TRY(comm_broadcast(g->job->comm, &b, err));
    if (g->job->rank != 0)
        g->list = mem_zalloc((size_t)g->count + 1, sizeof *g->list);
    TRY(job_agree(g->job,
                  g->list != NULL || g->count == 0
                      ? COHORT_OK
                      : error_memory(err, (size_t)g->count * sizeof *g->list, "groups"),
                  err));
    struct reader in = reader_of(b.data, b.size);
    for (int k = 0; g->job->rank != 0 && k < g->count; k++) {
        struct group *group = &g->list[k];
        int *const numbers[] = {&group->first, &group->last, &group->until, &group->rank};
        for (int i = 0; i < 4; i++)
            *numbers[i] = (int)read_u32(&in);
        group->split[0] = (int64_t)read_u64(&in);
        group->split[1] = (int64_t)read_u64(&in);
    }
out:
    buf_release(&b);
    return code;
}

/* ---- running them: every rank ---------------------------------------------------------------- */

/* Adds the group's slots and operators to a program, as the `index`th of it: the rows are those
 * that a plan with this segment has. */
static enum cohort_code add_to_program(struct grouped *g, struct program *p,
                                       const struct group *group, int index,
                                       struct cohort_error *err) {
    const struct graph *graph = g->job->graph;
    enum cohort_code code = COHORT_OK;
    int64_t split[] = {group->split[0], group->split[1]};
    struct plan_segment segment = {.split = split};
    const struct plan plan = {.segments = &segment, .segment_count = 1};
    struct plan_part part = {.plan = &plan,
                             .graph = graph,
                             .first = group->first,
                             .last = group->last,
                             .until = group->until,
                             .mode = PLAN_TILE};
    TRY(segment_inputs(graph, part.first, part.last, &part.inputs, &part.input_count, err));
    TRY(segment_outputs(graph, part.first, part.last, &part.outputs, &part.output_count, err));
    plan_part_rows(&part, 0, g->need);
    TRY(exec_add_slots(p, g->need, index * (graph->node_count + 1), g->slots, err));
    for (int i = 0; i < part.input_count + part.output_count; i++) {
        const int k = i - part.input_count, id = k < 0 ? part.inputs[i] : part.outputs[k];
        if (g->slots[id] >= 0)
            exec_slot_travels(p, g->slots[id]);
    }
    for (int i = part.first; i < part.last; i++) {
        struct rows rows = {0, 0};
        for (int k = 0; k < graph->nodes[i].out_count; k++)
            if (graph->nodes[i].out[k] >= 0)
                rows = rows_hull(rows, g->need[graph->nodes[i].out[k]]);
        if (!rows_empty(rows))
            TRY(exec_add_node(p, i, rows, g->slots, NULL, err));
    }
    exec_range_ends(p);
out:
    plan_part_release(&part);
    return code;
}

/* Operators [first, last) of a program, as one segment. */
static enum cohort_code run_group(struct grouped *g, struct program *p, int first, int last,
                                  double *least, struct cohort_error *err) {
    int count = 0, chain;
    int64_t strip;
    double ms = 0;
    for (int op = first; op < last; op++)
        if (exec_op_chain(p, op, &chain, &strip) == op) /* the first of a chain, or alone */
            g->ops[count++] = op;
    const enum cohort_code code = exec_run_timed(p, g->ops, count, g->took, err);
    for (int i = 0; i < count && code == COHORT_OK; i++)
        ms += g->took[i];
    if (code == COHORT_OK && (*least < 0 || ms < *least))
        *least = ms;
    return code;
}

/* Groups mine[0 … count) in one program, which the caller destroys; first_op[] says where each
 * begins. */
static enum cohort_code make_program(struct grouped *g, const int *mine, int count,
                                     struct program **p, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct exec_options o = profile_exec_options(g->job);
    if (count == 0)
        return code;
    TRY(exec_create(p, g->job->graph, g->job->pool, &o, err));
    for (int i = 0; i < count; i++) {
        g->first_op[i] = exec_op_count(*p);
        TRY(add_to_program(g, *p, &g->list[mine[i]], i, err));
    }
    g->first_op[count] = exec_op_count(*p);
    TRY(exec_prepare(*p, err));
out:
    return code;
}

/* Turns [from, to) of all groups, one round of them after the other. */
static enum cohort_code run_turns(struct grouped *g, struct program *p, const int *mine, int count,
                                  int64_t from, int64_t to, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int64_t turn = from; turn < to && code == COHORT_OK; turn++) {
        const int i = (int)(turn % count);
        code = run_group(g, p, g->first_op[i], g->first_op[i + 1], &g->ms[mine[i]], err);
    }
    return code;
}

/* Collective.  This rank's groups mine[0 … count), in program number `number`. */
static enum cohort_code run_program(struct grouped *g, const int *mine, int count, int number,
                                    struct cohort_error *err) {
    const struct profile_job *job = g->job;
    const int64_t turns = (int64_t)count * g->times;
    enum cohort_code code = COHORT_OK;
    struct program *p = NULL;
    TRY(job_agree(job, make_program(g, mine, count, &p, err), err));
    for (int stage = 0; stage < g->stages; stage++) {
        code = run_turns(g, p, mine, count, turns * stage / g->stages,
                         turns * (stage + 1) / g->stages, err);
        TRY(job_agree(job, code, err));
        if (job->progress != NULL)
            job->progress(job->context, (uint64_t)(number * g->stages + stage + 1),
                          (uint64_t)(g->programs * g->stages));
    }
out:
    exec_destroy(&p);
    return code;
}

/* Collective. */
static enum cohort_code run_all(struct grouped *g, struct cohort_error *err) {
    const struct profile_job *job = g->job;
    enum cohort_code code = COHORT_OK;
    int count = 0;
    int *mine = mem_zalloc((size_t)g->count + 1, sizeof *mine);
    if (mine == NULL)
        code = error_memory(err, (size_t)g->count * sizeof *mine, "groups");
    TRY(job_agree(job, code, err));
    for (int k = 0; k < g->count; k++)
        if (g->list[k].rank == job->rank)
            mine[count++] = k;
    for (int i = 0; i < g->programs; i++) {
        const int from = (int)((int64_t)count * i / g->programs);
        const int to = (int)((int64_t)count * (i + 1) / g->programs);
        TRY(run_program(g, mine + from, to - from, i, err));
    }
out:
    mem_free(mine);
    return code;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum cohort_code prepare(struct grouped *g, struct cohort_error *err) {
    const struct graph *graph = g->job->graph;
    const size_t nodes = (size_t)graph->node_count + 1, count = (size_t)g->count + 1;
    const size_t ranks = g->job->rank == 0 ? (size_t)g->job->size : 0;
    g->need = mem_zalloc((size_t)graph->value_count + 1, sizeof *g->need);
    g->slots = mem_zalloc((size_t)graph->value_count + 1, sizeof *g->slots);
    g->ops = mem_zalloc(nodes, sizeof *g->ops);
    g->took = mem_zalloc(nodes, sizeof *g->took);
    g->first_op = mem_zalloc(count, sizeof *g->first_op);
    g->ms = mem_alloc(count * sizeof *g->ms);
    g->all = mem_zalloc(ranks * count + 1, sizeof *g->all);
    if (g->need == NULL || g->slots == NULL || g->ops == NULL || g->took == NULL ||
        g->first_op == NULL || g->ms == NULL || g->all == NULL)
        return error_memory(err, ranks * count * sizeof *g->all, "times of groups");
    for (int k = 0; k < g->count; k++)
        g->ms[k] = -1;
    return compute_make_up(g->job->graph, err);
}

/* Is group k the same operators as the one before, on another type of boards? */
static bool goes_on(const struct grouped *g, int k) {
    return k > 0 && g->list[k].first == g->list[k - 1].first &&
           g->list[k].last == g->list[k - 1].last;
}

/* Rank 0.  The slowest type's time counts, at the scale of its slowest board. */
static enum cohort_code put_together(struct grouped *g, struct profile *p, int longest,
                                     double begin_ms, struct cohort_error *err) {
    int different = 0;
    for (int k = 0; k < g->count; k++)
        different += !goes_on(g, k);
    const enum cohort_code code = profile_groups_create(p, different, err);
    if (code != COHORT_OK)
        return code;
    struct profile_group *to = p->groups->list - 1;
    for (int k = 0; k < g->count; k++) {
        const struct group *group = &g->list[k];
        const double ms = g->all[(size_t)group->rank * (size_t)g->count + (size_t)k] *
                          p->boards[group->like].scale / p->boards[group->rank].scale;
        if (!goes_on(g, k))
            *++to = (struct profile_group){.first = group->first, .last = group->last};
        to->ms = profile_rounded(fmax(to->ms, ms));
    }
    for (int b = 0; b < p->board_count; b++)
        p->groups->shares[b] = profile_rounded(g->shares[b]);
    p->groups->longest = longest > 0 ? longest : 0;
    p->groups->seconds = profile_rounded((clock_ms() - begin_ms) * 1e-3);
    return code;
}

enum cohort_code profile_measure_groups(struct profile *p, const struct profile_job *job,
                                        int longest, bool root_feeds, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct grouped g = {.job = job, .times = TIMES_LEAST, .programs = 1, .stages = 1};
    const double begin = clock_ms();
    if (job->rank == 0)
        code = list_groups(&g, p, longest, root_feeds, err);
    TRY(job_agree(job, code, err));
    TRY(share_list(&g, err));
    TRY(job_agree(job, prepare(&g, err), err));
    TRY(run_all(&g, err));
    TRY(job_gather(job, g.ms, (size_t)g.count * sizeof *g.ms, g.all, err));
    if (job->rank == 0)
        code = put_together(&g, p, longest, begin, err);
    code = job_agree(job, code, err);
out:
    mem_free(g.list);
    mem_free(g.shares);
    mem_free(g.need);
    mem_free(g.slots);
    mem_free(g.ops);
    mem_free(g.took);
    mem_free(g.first_op);
    mem_free(g.ms);
    mem_free(g.all);
    return code;
}
