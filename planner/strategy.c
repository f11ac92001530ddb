/* The table of strategies, and what they share. */
#include "planner/strategy.h"

#include "base/mem.h"
#include "base/options.h"
#include "planner/replay.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct strategy strategies[] = {
    {"single", strategy_single, "everything on the best board"},
    {"layerwise", strategy_layerwise,
     "every operator divided by itself, scattered and gathered (MoDNN)"},
    {"early-fused", strategy_early_fused,
     "one group of the first operators, the rest on one board (DeepThings)"},
    {"legion", strategy_legion,
     "groups scattered and gathered, by Legion's matrices and its wild card"},
    {"aofl", strategy_aofl, "groups scattered and gathered, and how many boards each, exactly"},
    {"fss", strategy_fss,
     "groups scattered and gathered, by measured times of every group (or --predicted)"},
    {"coedge", strategy_coedge,
     "every operator divided, halos between neighbours, small shares dropped (CoEdge)"},
    {"iop", strategy_iop,
     "pairs of operators by output and input channels, the others as coedge (IOP)"},
    {"auto", strategy_auto, "the best of all of these and of an exact search over a wider space"},
};

const struct strategy *strategy_table(int *count) {
    *count = (int)(sizeof strategies / sizeof strategies[0]);
    return strategies;
}

enum cohort_code strategy_find(const struct strategy **s, const char *name,
                               struct cohort_error *err) {
    const char *names[sizeof strategies / sizeof strategies[0]];
    const size_t count = sizeof strategies / sizeof strategies[0];
    for (size_t i = 0; i < count; i++) {
        if (strcmp(strategies[i].name, name) == 0) {
            *s = &strategies[i];
            return COHORT_OK;
        }
        names[i] = strategies[i].name;
    }
    const char *closest = closest_name(name, names, count);
    if (closest != NULL)
        return error_set(err, COHORT_ERR_USAGE, "there is no strategy '%.60s': did you mean %s?",
                         name, closest);
    char list[300];
    size_t used = 0;
    for (size_t i = 0; i < count && used < sizeof list; i++)
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", names[i]);
    return error_set(err, COHORT_ERR_USAGE, "there is no strategy '%.60s': there are %s", name,
                     list);
}

/* ---- what strategies share ------------------------------------------------------------------ */

enum cohort_code plan_create(struct plan **out, const struct cost_model *m, const char *strategy,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct plan *p = mem_zalloc(1, sizeof *p);
    if (p == NULL)
        return error_memory(err, sizeof *p, "a plan");
    p->boards = m->boards;
    p->wire = m->options.wire;
    p->predicted_ms = -1;
    p->network = mem_strdup(m->g->name);
    p->strategy = mem_strdup(strategy);
    if (p->network == NULL || p->strategy == NULL) {
        code = error_memory(err, strlen(m->g->name) + 1, "a plan");
        goto out;
    }
    memcpy(p->signature, m->p->signature, sizeof p->signature); /* of this graph: checked */
    *out = p;
    p = NULL;
out:
    plan_destroy(&p);
    return code;
}

static bool joins(const struct plan_segment *before, enum plan_mode mode, enum plan_output output,
                  int board) {
    return before->mode == mode && before->output == output &&
           (mode == PLAN_REPLICATE || (mode == PLAN_LOCAL && before->board == board));
}

enum cohort_code strategy_add(struct strategy_run *run, int end, enum plan_mode mode,
                              enum plan_output output, int board, const int64_t *split,
                              struct cohort_error *err) {
    struct plan *p = run->plan;
    struct plan_segment *before = p->segment_count > 0 ? &p->segments[p->segment_count - 1] : NULL;
    const size_t n = (size_t)p->boards + 1;
    struct plan_segment s = {.mode = mode,
                             .output = output,
                             .board = mode == PLAN_LOCAL ? board : 0,
                             .predicted_ms = -1,
                             .predicted_wait_ms = -1};
    s.until = mem_strdup(graph_value(run->m->g, run->m->outputs[end - 1])->name);
    if (s.until != NULL && before != NULL && joins(before, mode, output, board)) {
        mem_free(before->until);
        before->until = s.until;
        return COHORT_OK;
    }
    const bool divided = mode == PLAN_TILE || plan_by_channels(mode);
    if (divided)
        s.split = mem_alloc(n * sizeof *s.split);
    if (s.until == NULL || (divided && s.split == NULL) ||
        !MEM_GROW(p->segments, run->capacity, (size_t)p->segment_count)) {
        mem_free(s.until);
        mem_free(s.split);
        return error_memory(err, n * sizeof *s.split, "a plan");
    }
    if (divided)
        memcpy(s.split, split, n * sizeof *s.split);
    p->segments[p->segment_count++] = s;
    return COHORT_OK;
}

enum cohort_code strategy_note(struct strategy_run *run, struct cohort_error *err, const char *fmt,
                               ...) {
    char line[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    char *all = mem_printf("%s%s\n", run->notes != NULL ? run->notes : "", line);
    if (all == NULL)
        return error_memory(err, sizeof line, "a plan's notes");
    mem_free(run->notes);
    run->notes = all;
    return COHORT_OK;
}

int strategy_home(const struct cost_model *m) {
    return m->usable[0] ? 0 : m->order[0];
}

/* ---- planning ------------------------------------------------------------------------------- */

void planned_release(struct planned *p) {
    plan_destroy(&p->plan);
    simulation_destroy(&p->simulation);
    mem_free(p->notes);
    *p = (struct planned){0};
}

static enum cohort_code check_memory(const struct cost_model *m, const struct simulation *s,
                                     const char *strategy, struct cohort_error *err) {
    int b = 0;
    const double excess = cost_memory_excess(m, s->peak_bytes, &b);
    if (excess <= 0)
        return COHORT_OK;
    const char *host = m->p->boards[b].host;
    return error_set(err, COHORT_ERR_PLAN,
                     "strategy %s: its plan needs %.1f MB on board %d%s%s%s, %.1f MB more than "
                     "the limit of %.1f MB",
                     strategy, s->peak_bytes[b] / 1e6, b, host != NULL ? " (" : "",
                     host != NULL ? host : "", host != NULL ? ")" : "", excess / 1e6,
                     cost_memory_limit(m, b) / 1e6);
}

enum cohort_code planner_predict(struct planned *out, const struct cost_model *m,
                                 struct plan **plan, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct simulation *simulation = NULL;
    TRY(simulate(&simulation, m, *plan, true, true, err));
    TRY(check_memory(m, simulation, (*plan)->strategy, err));
    simulation_annotate(simulation, *plan);
    *out = (struct planned){.plan = *plan, .simulation = simulation, .own_ms = -1};
    *plan = NULL;
    simulation = NULL;
out:
    simulation_destroy(&simulation);
    return code;
}

enum cohort_code planner_make(struct planned *out, const struct cost_model *m, const char *strategy,
                              const struct planner_options *o, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct strategy *s = NULL;
    struct strategy_run run = {.m = m, .options = o, .own_ms = -1, .exact = true};
    TRY(strategy_find(&s, strategy, err));
    TRY(plan_create(&run.plan, m, s->name, err));
    TRY(s->make(&run, err));
    if (plan_has_channels(run.plan))
        TRY(plan_choose_routes(m, run.plan, err));
    TRY(planner_predict(out, m, &run.plan, err));
    out->own_ms = run.own_ms;
    out->notes = run.notes;
    out->states = run.states;
    out->exact = run.exact;
    run.notes = NULL;
out:
    plan_destroy(&run.plan);
    mem_free(run.notes);
    return code;
}
