/* Networks divided by channels on several ranks: pairs of an out-channel and an in-channel segment
 * written by hand, fully connected layers by the rows of the map before them, and random plans of
 * these modes among the others, give what one rank gives, to rounding; plans that cannot be run say
 * why. np: 1 2 3 4
 *
 * Rank 0 computes the one-rank answer alone (a session without MPI) and compares. */
#include "tests/support/channelplan.h"
#include "tests/support/mpitest.h"

#include "cohort.h"

#include "base/mem.h"
#include "graph/op.h"
#include "planner/strategy.h"
#include "planner/synthetic.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "synth/synth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLANS     6
#define TOLERANCE 1e-4 /* of the largest output: what a whole float32 network may be off */

static double differs;  /* rank 0: the worst */
static int by_channels; /* rank 0: segments of all random plans */
static int searched;    /* … and of those that strategies made */

struct network {
    char path[128];
    struct cohort_model *model;
    float *input, *want;
    struct cohort_tensor in;
    int64_t count;
    size_t weights_bytes; /* that one rank packs */
};

/* Rank 0 alone: makes the file, the input, and the one-rank answer. */
static bool make_network(struct network *n, const char *name) {
    struct cohort_error err = {0};
    struct cohort_session *alone = NULL;
    struct cohort_tensor out[1];
    struct synth_options o = {.size = 64, .width = 0.5, .classes = 40, .seed = 5};
    struct cohort_session_options options = {.threads = 1, .no_binding = 1};
    snprintf(n->path, sizeof n->path, "/tmp/cohort-channels-%ld.onnx", (long)getpid());
    if (!mt_said(synth_write(name, &o, n->path, &err), &err) ||
        !mt_said(cohort_open(&n->model, n->path, NULL, &err), &err))
        return false;
    n->in = cohort_input(n->model, 0);
    n->input = malloc((size_t)mt_elements(&n->in) * sizeof *n->input);
    for (int64_t i = 0; i < mt_elements(&n->in); i++)
        n->input[i] = (float)(i * 7919 % 2001) / 1000.0f - 1.0f;
    n->in.data = n->input;
    bool ok =
        mt_said(cohort_prepare(&alone, n->model, NULL, MPI_COMM_NULL, &options, &err), &err) &&
        mt_said(cohort_run(alone, &n->in, 1, out, 1, &err), &err);
    if (ok) {
        n->count = mt_elements(&out[0]);
        n->want = malloc((size_t)n->count * sizeof(float));
        memcpy(n->want, out[0].data, (size_t)n->count * sizeof(float));
        n->weights_bytes = exec_memory(alone->program).weights_bytes;
    }
    cohort_close(&alone);
    return ok;
}

static void drop_network(struct network *n) {
    cohort_model_free(&n->model);
    free(n->input);
    free(n->want);
    unlink(n->path);
}

/* Collective: twice by this plan; *packed: the most bytes of weights that a rank has.  cache: where
 * weights are kept, or NULL. */
static bool run_everywhere(const struct network *n, const struct cohort_plan *plan,
                           const char *cache, size_t *packed) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_tensor out = {0};
    const bool root = mt_rank == 0;
    bool same = true;
    struct cohort_session_options o = {.threads = 1,
                                       .no_binding = 1,
                                       .weights = cache != NULL ? COHORT_WEIGHTS_CACHE
                                                                : COHORT_WEIGHTS_SEND,
                                       .cache_directory = cache};
    if (!mt_said(cohort_prepare(&s, n->model, plan, MPI_COMM_WORLD, &o, &err), &err))
        return false;
    for (int i = 0; i < 2 && same; i++) {
        long before = mem_alloc_calls();
        same = mt_said(cohort_run(s, root ? &n->in : NULL, root, root ? &out : NULL, root, &err),
                       &err);
        same = same && (i == 0 || mem_alloc_calls() == before);
        if (root && same) {
            double off =
                mt_elements(&out) == n->count ? mt_difference(out.data, n->want, n->count) : 1;
            differs = fmax(differs, off);
            same = off <= TOLERANCE;
            if (!same)
                mt_note("off by %g", off);
        }
        MPI_Allreduce(MPI_IN_PLACE, &same, 1, MPI_C_BOOL, MPI_LAND, MPI_COMM_WORLD);
    }
    unsigned long bytes = exec_memory(s->program).weights_bytes;
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_UNSIGNED_LONG, MPI_MAX, MPI_COMM_WORLD);
    *packed = bytes;
    cohort_close(&s);
    return same;
}

static void tell_plan(const struct plan *plan) {
    struct cohort_error err = {0};
    char *json = NULL;
    if (plan != NULL && plan_print(plan, &json, &err) == COHORT_OK)
        mt_note("%s", json);
    mem_free(json);
}

/* ---- random plans ---------------------------------------------------------------------------- */

static void random_plans(const char *name) {
    static uint64_t seed = 17; /* of rank 0 */
    struct network n = {0};
    if (!mt_ok(mt_rank != 0 || make_network(&n, name), "%s: one-rank answer", name)) {
        drop_network(&n);
        return;
    }
    bool all = true;
    for (int i = 0; i < PLANS && all; i++) {
        struct cohort_plan plan = {0};
        size_t packed;
        int segments = 0;
        if (mt_rank == 0)
            plan.plan = channel_plan_make(cohort_model_graph(n.model), mt_size, &seed, &segments);
        by_channels += segments;
        all = mt_rank != 0 || plan.plan != NULL;
        MPI_Bcast(&all, 1, MPI_C_BOOL, 0, MPI_COMM_WORLD);
        all = all && run_everywhere(&n, mt_rank == 0 ? &plan : NULL, NULL, &packed);
        if (!all && mt_rank == 0)
            tell_plan(plan.plan);
        plan_destroy(&plan.plan);
    }
    mt_ok(all, "%s: %d ranks, %d random plans by channels", name, mt_size, PLANS);
    drop_network(&n);
}

/* ---- strategies ------------------------------------------------------------------------------ */

/* Rank 0: a strategy's plan for equal boards on fast links, where dividing by channels pays. */
static bool search(struct cohort_plan *plan, const struct network *n, const char *strategy,
                   enum planner_unpaired unpaired) {
    struct cohort_error err = {0};
    const struct graph *g = cohort_model_graph(n->model);
    const struct planner_options o = {.unpaired = unpaired};
    struct profile *p = NULL;
    struct cost_model *m = NULL;
    struct planned planned = {0};
    char boards[64];
    snprintf(boards, sizeof boards, "%dxpi:1 link:1Gbit:0.05ms", mt_size);
    bool good = mt_said(profile_synthetic(&p, g, boards, &err), &err) &&
                mt_said(cost_create(&m, g, p, &o.cost, &err), &err) &&
                mt_said(planner_make(&planned, m, strategy, &o, &err), &err);
    plan->plan = planned.plan;
    planned.plan = NULL;
    for (int i = 0; good && i < plan->plan->segment_count; i++)
        searched += plan_by_channels(plan->plan->segments[i].mode);
    planned_release(&planned);
    cost_destroy(&m);
    profile_destroy(&p);
    return good;
}

static void by_strategies(const char *name) {
    static const struct {
        const char *name;
        enum planner_unpaired unpaired;
    } all[] = {{"iop", PLANNER_UNPAIRED_ROWS},
               {"iop", PLANNER_UNPAIRED_OUT_CHANNEL},
               {"auto", PLANNER_UNPAIRED_ROWS}};
    struct network n = {0};
    bool good = mt_rank != 0 || make_network(&n, name);
    MPI_Bcast(&good, 1, MPI_C_BOOL, 0, MPI_COMM_WORLD);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct cohort_plan plan = {0};
        size_t packed;
        bool here = good && (mt_rank != 0 || search(&plan, &n, all[i].name, all[i].unpaired));
        MPI_Bcast(&here, 1, MPI_C_BOOL, 0, MPI_COMM_WORLD);
        here = here && run_everywhere(&n, mt_rank == 0 ? &plan : NULL, NULL, &packed);
        if (!here && mt_rank == 0)
            tell_plan(plan.plan);
        mt_ok(here, "%s: %d ranks, by %s%s", name, mt_size, all[i].name,
              all[i].unpaired == PLANNER_UNPAIRED_ROWS ? "" : ", unpaired out-channel");
        plan_destroy(&plan.plan);
    }
    drop_network(&n);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* "0,32,64": even shares of so many channels, in blocks. */
static void print_split(char *text, size_t bytes, int64_t channels) {
    size_t used = 0;
    for (int b = 0; b <= mt_size; b++)
        used += (size_t)snprintf(
            text + used, bytes - used, "%s%d", b > 0 ? "," : "",
            b == mt_size ? (int)channels : (int)(channels / MAP_BLOCK * b / mt_size * MAP_BLOCK));
}

/* What comes before nodes `first` and `second` on the root, these as a pair, the rest on the root;
 * both end in what makes their outputs, the first with all that follows it channel by channel. */
static bool pair_plan(struct plan **p, const struct graph *g, int first, int second) {
    struct cohort_error err = {0};
    char signature[33], split[2][200], text[4000];
    size_t used;
    const struct node *a = &g->nodes[first], *b = &g->nodes[second];
    if (graph_signature(g, signature, &err) != COHORT_OK)
        return false;
    print_split(split[0], sizeof split[0], shard_channels(g, b->in[0]));
    print_split(split[1], sizeof split[1], shard_channels(g, b->in[0]));
    used = (size_t)snprintf(text, sizeof text,
                            "{\"format\":\"cohort-plan\",\"version\":3,\"network\":\"n\","
                            "\"signature\":\"%s\",\"strategy\":\"pair\",\"boards\":%d,"
                            "\"segments\":[",
                            signature, mt_size);
    if (first > 0)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"until\":\"%s\",\"mode\":\"local\",\"board\":0},",
                                 graph_value(g, g->nodes[first - 1].out[0])->name);
    (void)a;
    used += (size_t)snprintf(text + used, sizeof text - used,
                             "{\"until\":\"%s\",\"mode\":\"out-channel\",\"split\":[%s],"
                             "\"output\":\"stay\"},{\"until\":\"%s\",\"mode\":\"in-channel\","
                             "\"split\":[%s],\"output\":\"root\"}",
                             graph_value(g, b->in[0])->name, split[0],
                             graph_value(g, b->out[0])->name, split[1]);
    if (second + 1 < g->node_count)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 ",{\"until\":\"%s\",\"mode\":\"local\",\"board\":0}",
                                 graph_value(g, g->nodes[g->node_count - 1].out[0])->name);
    snprintf(text + used, sizeof text - used, "]}");
    return mt_said(plan_parse(p, text, strlen(text), "pair", &err), &err);
}

/* The n-th node of that operator, from 0 on. */
static int find_op(const struct graph *g, const char *op, int n) {
    for (int i = 0; i < g->node_count; i++)
        if (strcmp(g->nodes[i].op->name, op) == 0 && n-- == 0)
            return i;
    return -1;
}

/* The n-th operator of that kind and the next one. */
static void pair(const char *name, const char *op, int nth, const char *cache) {
    struct network n = {0};
    struct cohort_plan plan = {0};
    size_t packed = 0;
    bool good = mt_rank != 0 || make_network(&n, name);
    if (mt_rank == 0 && good) {
        const struct graph *g = cohort_model_graph(n.model);
        const int first = find_op(g, op, nth), second = find_op(g, op, nth + 1);
        good = first >= 0 && second > first && pair_plan(&plan.plan, g, first, second);
    }
    MPI_Bcast(&good, 1, MPI_C_BOOL, 0, MPI_COMM_WORLD);
    good = good && run_everywhere(&n, mt_rank == 0 ? &plan : NULL, cache, &packed);
    if (!good && mt_rank == 0)
        tell_plan(plan.plan);
    mt_ok(good, "%s: %s %d out-channel, %d in-channel%s", name, op, nth + 1, nth + 2,
          cache != NULL ? ", weights from a cache" : "");
    if (strcmp(op, "Gemm") == 0 && mt_size > 1) { /* most of the weights are these */
        bool less = mt_rank != 0 || packed < n.weights_bytes;
        mt_ok(less, "%s: no rank has all weights", name);
    }
    plan_destroy(&plan.plan);
    drop_network(&n);
}

/* ---- by rows --------------------------------------------------------------------------------- */

enum before { BY_SAME_ROWS, BY_OTHER_ROWS, ON_ROOT, ON_ALL };

/* Even shares of so many rows; other: the first row and no more for rank 0, the rest shared out, so
 * that somebody may get none. */
static void print_rows(char *text, size_t bytes, int64_t rows, bool other) {
    size_t used = 0;
    for (int b = 0; b <= mt_size; b++) {
        const int64_t at = !other         ? rows * b / mt_size
                           : b == 0       ? 0
                           : b == mt_size ? rows
                                          : 1 + (rows - 1) * (b - 1) / mt_size;
        used += (size_t)snprintf(text + used, bytes - used, "%s%d", b > 0 ? "," : "", (int)at);
    }
}

/* Everything up to the map that the first fully connected layer reads in rows, or whole on the
 * root, or on all; that layer by rows; the rest on the root. */
static bool rows_plan(struct plan **p, const struct graph *g, int node, enum before before,
                      const char *output, const char *route) {
    struct cohort_error err = {0};
    char signature[33], tile[200], rows[200], first[400], text[4000];
    const struct node *n = &g->nodes[node];
    const int64_t count = shard_rows(g, n->in[0]);
    if (graph_signature(g, signature, &err) != COHORT_OK || count < 2)
        return false;
    print_rows(tile, sizeof tile, count, before == BY_OTHER_ROWS);
    print_rows(rows, sizeof rows, count, false);
    if (before == BY_SAME_ROWS || before == BY_OTHER_ROWS)
        snprintf(first, sizeof first, "\"mode\":\"tile\",\"split\":[%s],\"output\":\"stay\"", tile);
    else
        snprintf(first, sizeof first, "%s",
                 before == ON_ROOT ? "\"mode\":\"local\",\"board\":0" : "\"mode\":\"replicate\"");
    const int used = snprintf(
        text, sizeof text,
        "{\"format\":\"cohort-plan\",\"version\":3,\"network\":\"n\",\"signature\":\"%s\","
        "\"strategy\":\"rows\",\"boards\":%d,\"segments\":[{\"until\":\"%s\",%s},"
        "{\"until\":\"%s\",\"mode\":\"rows-gemm\",\"split\":[%s],\"output\":\"%s\","
        "\"route\":\"%s\"},{\"until\":\"%s\",\"mode\":\"local\",\"board\":0}]}",
        signature, mt_size, graph_value(g, n->in[0])->name, first, graph_value(g, n->out[0])->name,
        rows, output, route, graph_value(g, g->nodes[g->node_count - 1].out[0])->name);
    return mt_said(plan_parse(p, text, (size_t)used, "rows", &err), &err);
}

static void by_rows(const char *name, enum before before, const char *output, const char *route,
                    const char *cache) {
    struct network n = {0};
    struct cohort_plan plan = {0};
    size_t packed = 0;
    bool good = mt_rank != 0 || make_network(&n, name);
    if (mt_rank == 0 && good) {
        const struct graph *g = cohort_model_graph(n.model);
        good = rows_plan(&plan.plan, g, find_op(g, "Gemm", 0), before, output, route);
    }
    MPI_Bcast(&good, 1, MPI_C_BOOL, 0, MPI_COMM_WORLD);
    good = good && run_everywhere(&n, mt_rank == 0 ? &plan : NULL, cache, &packed);
    if (!good && mt_rank == 0)
        tell_plan(plan.plan);
    mt_ok(good, "%s: %d ranks, the first Gemm by rows, before %d, to %s, %s%s", name, mt_size,
          (int)before, output, route, cache != NULL ? ", weights from a cache" : "");
    plan_destroy(&plan.plan);
    drop_network(&n);
}

/* ---- what cannot be run ---------------------------------------------------------------------- */

static void refused(void) {
    struct network n = {0};
    struct cohort_plan plan = {0};
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_session_options o = {.threads = 1, .no_binding = 1};
    bool good = mt_rank != 0 || make_network(&n, "alexnet");
    if (mt_rank == 0 && good) {
        const struct graph *g = cohort_model_graph(n.model);
        good = pair_plan(&plan.plan, g, find_op(g, "Gemm", 0), find_op(g, "Gemm", 1));
        const int last = plan.plan->segment_count - 1; /* what stays divided is read whole */
        plan.plan->segments[last - 1].mode = PLAN_LOCAL;
    }
    good = good && cohort_prepare(&s, n.model, mt_rank == 0 ? &plan : NULL, MPI_COMM_WORLD, &o,
                                  &err) == COHORT_ERR_PLAN;
    good = good && strstr(err.message, "leaves some channels on each board") != NULL;
    if (!good)
        mt_note("%s", err.message);
    mt_ok(good, "what stays divided cannot be read whole");
    cohort_close(&s);
    plan_destroy(&plan.plan);
    drop_network(&n);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"alexnet",     "vgg11",       "resnet18",
                                        "mobilenetv2", "mobilenetv3", "squeezenet1.0"};
    static const char *const others[] = {"lenet5",      "alexnet",       "vgg11",    "vgg16",
                                         "mobilenetv2", "squeezenet1.1", "resnet18", "googlenet"};
    char cache[128];
    mt_begin(&argc, &argv, 170);
    snprintf(cache, sizeof cache, "/tmp/cohort-channels-cache-%ld", (long)getpid());
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        random_plans(names[i]);
    pair("alexnet", "Gemm", 0, NULL);
    pair("alexnet", "Gemm", 1, NULL);
    pair("vgg11", "Gemm", 0, cache);
    pair("vgg11", "Gemm", 0, cache); /* now they are there */
    pair("alexnet", "Conv", 2, NULL);
    pair("vgg11", "Conv", 0, NULL); /* with a pool between */
    by_rows("vgg11", BY_SAME_ROWS, "root", "linear", NULL);
    by_rows("vgg11", BY_OTHER_ROWS, "all", "ring", NULL);
    by_rows("lenet5", BY_OTHER_ROWS, "root", "halving", NULL); /* few channels, many rows */
    by_rows("lenet5", ON_ROOT, "all", "halving", NULL);
    by_rows("vgg11", ON_ALL, "all", "linear", cache);
    by_rows("vgg11", BY_SAME_ROWS, "all", "linear", cache); /* now they are there */
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        by_strategies(others[i]);
    if (mt_size > 1)
        refused();
    if (mt_rank == 0)
        mt_note("%d segments by channels; worst difference %.2g", by_channels, differs);
    if (mt_rank == 0)
        mt_note("%d segments by channels in plans that strategies made", searched);
    mt_ok(mt_rank != 0 || mt_size == 1 || searched > 30, "strategies divide by channels");
    mt_ok(mt_rank != 0 || by_channels > 4 * PLANS, "many segments are by channels");
    return mt_end();
}
