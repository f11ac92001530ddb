/* How long planning takes: CPU time of one core, the least of some runs.
 *
 *   build/bench/planner MODEL.onnx "8xpi:15 link:100Mbit:0.3ms" [STRATEGY [RUNS]]
 *
 * `cohort synth resnet152 -o resnet152.onnx` makes a network of 515 operators. */
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "graph/pass.h"
#include "planner/strategy.h"
#include "planner/synthetic.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Model and plan, from an opened network and profile. */
static enum cohort_code run(const struct graph *g, const struct profile *p, const char *strategy,
                            double *ms, struct planned *planned, struct cohort_error *err) {
    const struct planner_options o = {.predicted = true};
    struct cost_model *m = NULL;
    const double begin = cpu_ms();
    enum cohort_code code = cost_create(&m, g, p, &o.cost, err);
    if (code == COHORT_OK)
        code = planner_make(planned, m, strategy, &o, err);
    *ms = cpu_ms() - begin;
    cost_destroy(&m);
    return code;
}

int main(int argc, char **argv) {
    struct graph *g = NULL;
    struct profile *p = NULL;
    struct cohort_error err = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: planner MODEL.onnx BOARDS [STRATEGY [RUNS]]\n");
        return 2;
    }
    const char *strategy = argc > 3 ? argv[3] : "auto";
    const int runs = argc > 4 ? atoi(argv[4]) : 5;
    enum cohort_code code = onnx_load(&g, argv[1], &err);
    int before = 0;
    if (code == COHORT_OK) {
        before = g->node_count;
        code = graph_finish(g, &(struct pass_options){0}, &err);
    }
    if (code == COHORT_OK)
        code = profile_synthetic(&p, g, argv[2], &err);
    double least = -1;
    for (int i = 0; code == COHORT_OK && i < runs; i++) {
        struct planned planned = {0};
        double ms;
        code = run(g, p, strategy, &ms, &planned, &err);
        if (code == COHORT_OK && (least < 0 || ms < least))
            least = ms;
        if (code == COHORT_OK && i + 1 == runs)
            printf("%d operators (%d after passes), %d boards, %s: %.3f ms predicted, %ld states; "
                   "planned in %.1f ms, the least of %d runs\n%s",
                   before, g->node_count, p->board_count, strategy, planned.simulation->total_ms,
                   planned.states, least, runs, planned.notes != NULL ? planned.notes : "");
        planned_release(&planned);
    }
    profile_destroy(&p);
    graph_destroy(&g);
    if (code != COHORT_OK) {
        fprintf(stderr, "planner: %s\n", err.message);
        return 1;
    }
    return 0;
}
