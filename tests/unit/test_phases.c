/* The order in which a tile's rows are computed: on random networks and plans every row is computed
 * once, from rows that are there by then, and what others need is there before it is sent. */
#include "base/mem.h"
#include "runtime/phases.h"
#include "tests/support/leaks.h"
#include "tests/support/randomplan.h"
#include "tests/support/toynet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 64

static uint64_t seed = 5;
static int64_t early_rows, late_rows, early_sends, late_sends;

/* One rank's rows of every value. */
struct world {
    const struct transitions *t;
    const struct plan_part *part;
    const struct rows *need;
    int rank;
    bool (*has)[ROWS];
};

static void put(struct world *w, int id, struct rows r) {
    for (int64_t y = r.begin; y < r.end; y++)
        w->has[id][y] = true;
}

static bool all_there(const struct world *w, int id, struct rows r) {
    for (int64_t y = r.begin; y < r.end; y++)
        if (!w->has[id][y])
            return false;
    return true;
}

/* Computes rows of a node: its inputs must be there, and the rows not. */
static void run(struct world *w, int node, struct rows rows) {
    const struct graph *g = w->part->graph;
    const struct node *n = &g->nodes[node];
    for (int k = 0; k < n->in_count; k++)
        if (!graph_value(g, n->in[k])->is_constant)
            assert_true(all_there(w, n->in[k], rows_needed(n, k, rows)));
    for (int k = 0; k < n->out_count; k++) {
        if (rows_empty(w->need[n->out[k]]))
            continue;
        for (int64_t y = rows.begin; y < rows.end; y++)
            assert_false(w->has[n->out[k]][y]);
        put(w, n->out[k], rows);
    }
}

static void run_set(struct world *w, int node, const struct rowset *rows) {
    for (int i = 0; i < rows->count; i++)
        run(w, node, rows->r[i]);
}

static bool comes(const struct world *w, const struct transition *t, int id) {
    return t->kind == TRANSITION_EXCHANGE && !t->after && t->before == w->part->segment &&
           t->value == id;
}

/* Rows of inputs: those that come are there only when they have been waited for. */
static void bring_inputs(struct world *w, bool waited) {
    for (int i = 0; i < w->part->input_count; i++) {
        int id = w->part->inputs[i];
        put(w, id, w->need[id]);
        for (int k = 0; k < w->t->count && !waited; k++)
            for (int m = 0; comes(w, &w->t->list[k], id) && m < w->t->list[k].move_count; m++) {
                const struct transition_move *move = &w->t->list[k].moves[m];
                for (int64_t y = move->rows.begin; move->to == w->rank && y < move->rows.end; y++)
                    w->has[id][y] = false;
            }
    }
}

static void check_sends(const struct world *w, const struct phases *p, bool early) {
    for (int i = 0; i < w->t->count; i++) {
        const struct transition *t = &w->t->list[i];
        if (!phases_starts_behind(t) || t->made != w->part->segment || p->early_sends[i] != early)
            continue;
        for (int m = 0; m < t->move_count; m++)
            if (t->moves[m].from == w->rank) {
                assert_true(all_there(w, t->value, t->moves[m].rows));
                *(early ? &early_sends : &late_sends) += 1;
            }
    }
}

static void follow_part(struct world *w) {
    struct cohort_error err;
    struct phases p;
    const struct plan_part *part = w->part;
    assert_int_equal(phases_make(&p, w->t, part, w->rank, w->need, &err), COHORT_OK);
    bring_inputs(w, false);
    for (int i = part->first; i < part->last; i++) {
        run(w, i, p.nodes[i - part->first].early);
        early_rows += rows_count(p.nodes[i - part->first].early);
    }
    bring_inputs(w, true);
    for (int i = part->first; i < part->last; i++)
        run_set(w, i, &p.nodes[i - part->first].main);
    check_sends(w, &p, true);
    for (int i = part->first; i < part->last; i++) {
        run_set(w, i, &p.nodes[i - part->first].late);
        late_rows += rowset_count(&p.nodes[i - part->first].late);
        for (int k = 0; k < part->graph->nodes[i].out_count; k++)
            assert_true(
                all_there(w, part->graph->nodes[i].out[k], w->need[part->graph->nodes[i].out[k]]));
    }
    check_sends(w, &p, false);
    phases_release(&p);
}

static void test_random(void **state) {
    (void)state;
    for (int round = 0; round < 1500; round++) {
        struct cohort_error err;
        struct graph *g = toy_random(&seed);
        struct plan *p = random_plan_make(g, 2 + round % 5, &seed);
        struct transitions t;
        struct rows *need = mem_zalloc((size_t)g->value_count, sizeof *need);
        struct world w = {.t = &t, .rank = round % p->boards, .need = need};
        w.has = mem_zalloc((size_t)g->value_count, sizeof *w.has);
        assert_true(need != NULL && w.has != NULL);
        assert_int_equal(transitions_make(&t, p, g, &err), COHORT_OK);
        for (int s = 0, first = 0; s < p->segment_count; s++) {
            struct plan_part part;
            assert_int_equal(plan_part_init(&part, p, g, s, first, &err), COHORT_OK);
            plan_part_rows(&part, w.rank, need);
            memset(w.has, 0, (size_t)g->value_count * sizeof *w.has);
            w.part = &part;
            if (part.mode == PLAN_TILE)
                follow_part(&w);
            first = part.last;
            plan_part_release(&part);
        }
        mem_free(need);
        mem_free(w.has);
        transitions_release(&t);
        plan_destroy(&p);
        graph_destroy(&g);
    }
    assert_true(early_rows > 1000 && late_rows > 1000 && early_sends > 100 && late_sends > 100);
}

/* Two segments of two layers each on two boards: the lower board's share in numbers. */
static void test_vgg(void **state) {
    (void)state;
    struct cohort_error err;
    struct graph *g = toy_vgg();
    const struct plan_request r = {.boards = 2};
    struct plan *p = NULL;
    struct transitions t;
    struct phases phases;
    struct plan_part part;
    struct rows need[32];
    assert_int_equal(plan_make(&p, g, &r, &err), COHORT_OK);
    p->segments[0].output = PLAN_STAY;
    assert_int_equal(transitions_make(&t, p, g, &err), COHORT_OK);
    assert_true(g->value_count <= 32);
    assert_int_equal(plan_part_init(&part, p, g, 0, 0, &err), COHORT_OK);
    plan_part_rows(&part, 0, need);
    assert_int_equal(phases_make(&phases, &t, &part, 0, need, &err), COHORT_OK);
    /* pool1 has rows 0 to 8 here, of which the other board needs two: conv2 and pool1 first compute
     * for these. */
    assert_int_equal(phases.tail, 1);
    assert_int_equal(phases.nodes[2].main.count, 1);
    assert_int_equal(phases.nodes[2].main.r[0].begin, 6);
    assert_int_equal(phases.nodes[2].main.r[0].end, 8);
    assert_int_equal(phases.nodes[1].main.r[0].begin, 12);
    assert_int_equal(phases.nodes[1].main.r[0].end, 16);
    assert_int_equal(phases.nodes[1].late.r[0].end, 12);
    assert_int_equal(phases.nodes[0].late.count, 0);
    phases_release(&phases);
    plan_part_release(&part);
    assert_int_equal(plan_part_init(&part, p, g, 1, 3, &err), COHORT_OK);
    plan_part_rows(&part, 0, need);
    assert_int_equal(phases_make(&phases, &t, &part, 0, need, &err), COHORT_OK);
    /* conv3 needs a row on each side: of its nine rows seven need none of the other board's. */
    assert_int_equal(phases.nodes[0].early.begin, 0);
    assert_int_equal(phases.nodes[0].early.end, 7);
    assert_int_equal(phases.nodes[0].main.r[0].begin, 7);
    assert_int_equal(phases.nodes[0].main.r[0].end, 9);
    phases_release(&phases);
    plan_part_release(&part);
    transitions_release(&t);
    plan_destroy(&p);
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_vgg),
    };
    return cmocka_run_group_tests(tests, NULL, no_leaks);
}
