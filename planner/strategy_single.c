/* single: the whole network on the board that has the answer back on the root first. */
#include "planner/strategy.h"

static double transfer_ms(const struct cost_model *m, int from, int to, int value) {
    const struct cost_value *v = &m->values[value];
    if (from == to || v->constant)
        return 0;
    return m->options.setup_ms + m->links[from * m->boards + to].latency +
           cost_transfer_ms(m, from, to, (double)v->rows * v->wire_bytes);
}

enum cohort_code strategy_single(struct strategy_run *run, struct cohort_error *err) {
    const struct cost_model *m = run->m;
    int best = -1;
    double least = 0;
    for (int i = 0; i < m->usable_count; i++) {
        const int b = m->order[i];
        double ms = cost_whole_ms(m, b, 0, m->g->node_count);
        for (int k = 0; k < m->g->input_count; k++)
            ms += transfer_ms(m, 0, b, m->g->inputs[k]);
        for (int k = 0; k < m->g->output_count; k++)
            ms += transfer_ms(m, b, 0, m->g->outputs[k]);
        if (best < 0 || ms < least || (b == 0 && ms <= least)) {
            best = b;
            least = ms;
        }
    }
    return strategy_add(run, m->g->node_count, PLAN_LOCAL, PLAN_TO_ROOT, best, NULL, err);
}
