/* Operators that no generated network has, on several ranks: small networks around normalisations
 * over whole images, norms of windows and functions of one element, by the default plan and by
 * random ones of all modes, have the bits of one rank.  np: 1 3 */
#include "tests/support/graphtest.h"
#include "tests/support/mpitest.h"
#include "tests/support/randomplan.h"

#include "cohort.h"

#include "base/mem.h"
#include "runtime/session.h"

#include <stdlib.h>
#include <string.h>

#define PLANS 6 /* of each network: the default, then random ones */

static uint64_t plan_seed = 815; /* of rank 0 */

/* ---- networks -------------------------------------------------------------------------------- */

static int conv(struct gt *t, int x, int in_c, int out_c) {
    return gt_node(t, "Conv", "pads=1,1,1,1", 2, x, gt_random(t, DIMS(out_c, in_c, 3, 3)));
}

static int norm(struct gt *t, const char *op, const char *attrs, int x, int channels) {
    return gt_node(t, op, attrs, 3, x, gt_positive(t, DIMS(channels)),
                   gt_random(t, DIMS(channels)));
}

/* Style transfer's beginning: normalised images, a batch of two. */
static void build_instance(struct gt *t) {
    int x = conv(t, gt_input(t, "x", DIMS(2, 3, 19, 13)), 3, 20);
    x = gt_node(t, "Relu", "", 1, norm(t, "InstanceNormalization", "", x, 20));
    x = conv(t, x, 20, 7);
    gt_output(t, norm(t, "InstanceNormalization", "epsilon=0.001", x, 7));
}

static void build_group(struct gt *t) {
    int x = conv(t, gt_input(t, "x", DIMS(1, 3, 21, 16)), 3, 32);
    int y = gt_node(t, "Swish", "", 1, norm(t, "GroupNormalization", "num_groups=8", x, 32));
    x = gt_node(t, "Add", "", 2, conv(t, y, 32, 32), x);
    gt_output(t, norm(t, "GroupNormalization", "num_groups=1", x, 32));
}

static void build_norm(struct gt *t) {
    int x = conv(t, gt_input(t, "x", DIMS(1, 3, 23, 17)), 3, 24);
    x = gt_node(t, "LpPool", "kernel_shape=3,3 strides=2,2 pads=1,1,1,1", 1, x);
    x = gt_node(t, "Mish", "", 1, conv(t, x, 24, 5));
    gt_output(t, gt_node(t, "LpPool", "kernel_shape=2,2 p=3", 1, x));
}

static const struct {
    const char *name;
    void (*build)(struct gt *t);
} networks[] = {
    {"InstanceNormalization", build_instance},
    {"GroupNormalization", build_group},
    {"LpPool", build_norm},
};
#define NETWORKS (sizeof networks / sizeof networks[0])

/* ---- runs ------------------------------------------------------------------------------------ */

/* A network, and what rank 0 keeps of it. */
struct network {
    struct gt t;
    struct cohort_model model;
    struct cohort_tensor in;
    float *input, *want;
    size_t bytes; /* of the answer */
};

static size_t bytes_of(const struct cohort_tensor *t) {
    size_t bytes = sizeof(float);
    for (int i = 0; i < t->rank; i++)
        bytes *= (size_t)t->dims[i];
    return bytes;
}

/* Does any node run by its evaluator? */
static bool all_lowered(const struct network *n) {
    for (int i = 0; i < n->t.g->node_count; i++)
        if (node_out(n->t.g, &n->t.g->nodes[i], 0)->form != FORM_MAP &&
            strcmp(n->t.g->nodes[i].op->name, "ToPlain") != 0)
            return false;
    return true;
}

static bool open_network(struct network *n, size_t which) {
    struct cohort_error err = {0};
    struct cohort_session *alone = NULL;
    struct cohort_tensor out;
    const struct cohort_session_options o = {.threads = 1, .no_binding = 1};
    *n = (struct network){0};
    if (mt_rank != 0)
        return true;
    gt_begin(&n->t, 24);
    networks[which].build(&n->t);
    n->model.graph = n->t.g;
    if (!mt_said(graph_finish(n->t.g, NULL, &n->t.err), &n->t.err) || !all_lowered(n))
        return false;
    n->in = cohort_input(&n->model, 0);
    n->in.data = n->input = malloc(bytes_of(&n->in));
    for (size_t i = 0; i < bytes_of(&n->in) / sizeof(float); i++)
        n->input[i] = (float)gt_pick(&n->t, -1000, 1000) / 500;
    bool ok = mt_said(cohort_prepare(&alone, &n->model, NULL, MPI_COMM_NULL, &o, &err), &err) &&
              mt_said(cohort_run(alone, &n->in, 1, &out, 1, &err), &err);
    if (ok) {
        n->bytes = bytes_of(&out);
        n->want = malloc(n->bytes);
        memcpy(n->want, out.data, n->bytes);
    }
    cohort_close(&alone);
    return ok;
}

/* Collective: by this plan (NULL: the default), the same bits. */
static bool run_everywhere(struct network *n, const struct cohort_plan *plan) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_tensor out = {0};
    const bool root = mt_rank == 0;
    const struct cohort_session_options o = {
        .threads = 1, .no_binding = 1, .weights = COHORT_WEIGHTS_SEND};
    if (!mt_said(cohort_prepare(&s, root ? &n->model : NULL, plan, MPI_COMM_WORLD, &o, &err), &err))
        return false;
    bool same = mt_said(
        cohort_run(s, root ? &n->in : NULL, root, root ? &out : NULL, root ? 1 : 0, &err), &err);
    if (root && same)
        same = bytes_of(&out) == n->bytes && memcmp(out.data, n->want, n->bytes) == 0;
    MPI_Allreduce(MPI_IN_PLACE, &same, 1, MPI_C_BOOL, MPI_LAND, MPI_COMM_WORLD);
    cohort_close(&s);
    return same;
}

static void check_network(size_t which) {
    struct network n;
    bool all = mt_ok(open_network(&n, which), "%s: one rank's answer, all of it on maps",
                     networks[which].name);
    for (int round = 0; round < PLANS && all; round++) {
        struct cohort_plan plan = {0};
        const bool random = mt_rank == 0 && round > 0;
        if (random)
            plan.plan = random_plan_make(n.t.g, mt_size, &plan_seed);
        all = run_everywhere(&n, random ? &plan : NULL);
        plan_destroy(&plan.plan);
    }
    mt_ok(all, "%s: %d plans give its bits", networks[which].name, PLANS);
    free(n.input);
    free(n.want);
    if (mt_rank == 0)
        gt_end(&n.t);
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 60);
    for (size_t i = 0; i < NETWORKS; i++)
        check_network(i);
    return mt_end();
}
