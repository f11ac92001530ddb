/* The plans of `auto`'s search, from its states. */
#include "planner/auto_step.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

struct detour {
    int state;
    double loss;
};

static int by_loss(const void *a, const void *b) {
    const struct detour *x = a, *y = b;
    if (x->loss < y->loss || x->loss > y->loss)
        return x->loss < y->loss ? -1 : 1;
    return x->state - y->state;
}

/* The segments that lead to state `last`, with the second way into state `detour` (-1: none). */
static enum cohort_code write_plan(const struct search *x, int last, int detour,
                                   struct auto_plan *p, struct cohort_error *err) {
    int count = 0;
    *p = (struct auto_plan){.ms = x->states.list[last].best.ms};
    for (int pass = 0; pass < 2; pass++) {
        int at = pass == 0 ? 0 : count;
        for (int i = last; i > 0;) {
            const struct state *s = &x->states.list[i];
            const struct way *w = i == detour ? &s->second : &s->best;
            if (pass == 0)
                at++;
            else
                p->segments[--at] = w->segment;
            i = w->from;
        }
        if (pass == 0) {
            count = at;
            p->segments = mem_zalloc((size_t)count + 1, sizeof *p->segments);
            if (p->segments == NULL)
                return error_memory(err, (size_t)count * sizeof *p->segments, "a plan");
            p->count = count;
        }
    }
    if (detour >= 0)
        p->ms += x->states.list[detour].second.ms - x->states.list[detour].best.ms;
    return COHORT_OK;
}

/* With memory: the cheapest ways to the end, and the one that needs least. */
static enum cohort_code write_labels(const struct search *x, int most, struct auto_found *f,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const int *order = x->states.order + x->states.kept_first[x->cuts->count - 1];
    const int count = x->states.kept[x->cuts->count - 1], boards = x->m->boards;
    int least = -1;
    f->plans = mem_zalloc((size_t)most + 1, sizeof *f->plans);
    if (f->plans == NULL)
        return error_memory(err, (size_t)most * sizeof *f->plans, "plans");
    for (int i = 0; i < count; i++) {
        const double *memory = x->states.memory + (size_t)order[i] * (size_t)x->states.numbers;
        double bytes = 0;
        for (int b = 0; b < boards; b++)
            bytes = fmax(bytes, x->memory.fixed[b] + memory[b] + memory[boards + b]);
        if (least < 0 || bytes < f->least_bytes) {
            least = i;
            f->least_bytes = bytes;
        }
    }
    for (int i = 0; i < count && i < most; i++) {
        const int label = i == most - 1 && least > i ? least : i;
        TRY(write_plan(x, order[label], -1, &f->plans[i], err));
        f->count++;
    }
out:
    return code;
}

enum cohort_code auto_write_plans(const struct search *x, int most, struct auto_found *f,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (x->limited)
        return write_labels(x, most, f, err);
    const int cuts = x->cuts->count;
    if (x->states.kept[cuts - 1] == 0) /* what was left out had the only ways on */
        return COHORT_OK;
    const int last = x->states.order[x->states.kept_first[cuts - 1]];
    struct detour *detours = mem_zalloc((size_t)cuts + 1, sizeof *detours);
    int count = 0;
    f->plans = mem_zalloc((size_t)most + 1, sizeof *f->plans);
    if (detours == NULL || f->plans == NULL) {
        code = error_memory(err, (size_t)most * sizeof *f->plans, "plans");
        goto out;
    }
    for (int i = last; i > 0; i = x->states.list[i].best.from)
        if (x->states.list[i].second.from >= 0)
            detours[count++] =
                (struct detour){i, x->states.list[i].second.ms - x->states.list[i].best.ms};
    qsort(detours, (size_t)count, sizeof *detours, by_loss);
    for (int i = 0; i <= count && i < most; i++) {
        TRY(write_plan(x, last, i == 0 ? -1 : detours[i - 1].state, &f->plans[i], err));
        f->count++;
    }
out:
    mem_free(detours);
    return code;
}
