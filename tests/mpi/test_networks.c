/* Whole networks on several ranks: every generated network, small, gives the bits of one rank, with
 * the default plan, with random groups and ratios, with random plans of all modes whose tensors
 * stay where they are, and with both ways of scattering. np: 1 2 3 4 5 6
 *
 * Rank 0 computes the one-rank answer alone (a session without MPI) and compares. */
#include "tests/support/mpitest.h"

#include "cohort.h"

#include "base/mem.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "synth/synth.h"
#include "tests/support/randomplan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS  10 /* plans per network: the default, random groups, random plans of all modes */
#define GROUPS  3  /* of these the ones with groups and ratios */
#define HALF    2  /* of the random ones, how many send float16 … */
#define BYTES   1  /* … and bytes; in the end */
#define OUTPUTS 4

static bool allocated;                        /* by a second inference */
static long in_parts;                         /* exchanges that left in parts of the channels */
static enum cohort_weights_type weights_type; /* of rank 0; the others leave it open */
static unsigned seed = 7;                     /* the same on every rank, and advanced alike */

static unsigned draw(unsigned n) {
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % n;
}

/* One network of the test, and what rank 0 keeps of it. */
struct network {
    char path[128];
    struct cohort_model *model;
    float *input;
    struct cohort_tensor in;
    int outputs;
    float *want[OUTPUTS];
    int64_t count[OUTPUTS];
};

/* Thin, but where channels are put together wide enough that these lie in whole blocks. */
static double width_of(const struct synth_network *which) {
    const char *const joined[] = {"densenet121", "googlenet", "squeezenet1.0", "inceptionv3"};
    for (size_t i = 0; i < sizeof joined / sizeof joined[0]; i++)
        if (strcmp(which->name, joined[i]) == 0)
            return 0.5;
    return 0.25;
}

/* Rank 0 alone: makes the file, the input, and the one-rank answer. */
static bool make_network(struct network *n, const struct synth_network *which) {
    struct cohort_error err = {0};
    struct cohort_session *alone = NULL;
    struct cohort_tensor out[OUTPUTS];
    int size = which->size <= 64 ? which->size : which->size > 250 ? 96 : 64;
    struct synth_options o = {.size = size, .width = width_of(which), .classes = 10, .seed = 5};
    struct cohort_session_options options = {
        .threads = 1, .no_binding = 1, .weights_type = weights_type};
    snprintf(n->path, sizeof n->path, "/tmp/cohort-networks-%ld.onnx", (long)getpid());
    bool ok = mt_said(synth_write(which->name, &o, n->path, &err), &err) &&
              mt_said(cohort_open(&n->model, n->path, NULL, &err), &err);
    if (!ok)
        return false;
    n->outputs = cohort_output_count(n->model);
    n->in = cohort_input(n->model, 0);
    n->input = malloc((size_t)mt_elements(&n->in) * sizeof *n->input);
    for (int64_t i = 0; i < mt_elements(&n->in); i++)
        n->input[i] = (float)draw(2001) / 1000.0f - 1.0f;
    n->in.data = n->input;
    ok = mt_said(cohort_prepare(&alone, n->model, NULL, MPI_COMM_NULL, &options, &err), &err) &&
         mt_said(cohort_run(alone, &n->in, 1, out, n->outputs, &err), &err);
    for (int i = 0; i < n->outputs && ok; i++) {
        n->count[i] = mt_elements(&out[i]);
        n->want[i] = malloc((size_t)n->count[i] * sizeof(float));
        memcpy(n->want[i], out[i].data, (size_t)n->count[i] * sizeof(float));
    }
    cohort_close(&alone);
    return ok;
}

static void drop_network(struct network *n) {
    cohort_model_free(&n->model);
    free(n->input);
    for (int i = 0; i < OUTPUTS; i++)
        free(n->want[i]);
    unlink(n->path);
}

/* Random groups "0-4,5-9,10-" and shares "2:0:1"; the same draws on every rank. */
static bool random_plan(struct cohort_plan **plan, const struct cohort_model *m, int nodes,
                        char text[400]) {
    struct cohort_error err = {0};
    char groups[200] = "", ratio[120] = "";
    int first = 0;
    size_t used = 0;
    while (first < nodes && used < 150) {
        int last = first + (int)draw(8);
        if (last >= nodes - 1)
            break;
        used += (size_t)snprintf(groups + used, sizeof groups - used, "%d-%d,", first, last);
        first = last + 1;
    }
    snprintf(groups + used, sizeof groups - used, "%d-", first);
    used = 0;
    for (int b = 0; b < mt_size; b++)
        used += (size_t)snprintf(ratio + used, sizeof ratio - used, "%s%u", b ? ":" : "",
                                 b == 1 ? 1 + draw(3) : draw(4));
    if (mt_size == 1)
        snprintf(ratio, sizeof ratio, "1");
    snprintf(text, 400, "--groups %s --ratio %s", groups, ratio);
    struct cohort_plan_options o = {.boards = mt_size, .groups = groups, .ratio = ratio};
    return m == NULL || mt_said(cohort_plan_make(plan, m, &o, &err), &err);
}

static uint64_t plan_seed = 99; /* of rank 0 */
static double differs[2];       /* rank 0: difference by float16, and by bytes */
#define F16_TOLERANCE 0.005
#define I8_TOLERANCE  0.1

/* Rank 0: a plan of any modes. */
static bool wild_plan(struct cohort_plan **plan, const struct cohort_model *m, char text[400]) {
    snprintf(text, 400, "random plan with seed %llu", (unsigned long long)plan_seed);
    if (m == NULL)
        return true;
    *plan = mem_zalloc(1, sizeof **plan);
    (*plan)->plan = random_plan_make(cohort_model_graph(m), mt_size, &plan_seed);
    return (*plan)->plan != NULL;
}

/* Collective: the network on all ranks by this plan (NULL: the default), twice; as exact as it has
 * to be. */
static bool run_everywhere(const struct network *n, const struct cohort_plan *plan,
                           enum cohort_scatter how, double tolerance) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_tensor out[OUTPUTS] = {{0}};
    bool root = mt_rank == 0, same = true;
    int outputs = root ? n->outputs : 0;
    struct cohort_session_options o = {
        .threads = 1, .no_binding = 1, .scatter = how, .weights = COHORT_WEIGHTS_SEND};
    if (root)
        o.weights_type = weights_type;
    if (!mt_said(cohort_prepare(&s, n->model, plan, MPI_COMM_WORLD, &o, &err), &err))
        return false;
    for (int i = 0; i < s->transitions.count; i++)
        in_parts += s->transitions.list[i].parts > 1;
    for (int i = 0; i < 2 && same; i++) {
        long before = mem_alloc_calls();
        same = mt_said(cohort_run(s, root ? &n->in : NULL, root, root ? out : NULL, outputs, &err),
                       &err);
        if (i == 1 && mem_alloc_calls() != before)
            allocated = true;
        for (int k = 0; k < outputs && same; k++)
            same = mt_elements(&out[k]) == n->count[k] &&
                   (tolerance > 0 ? mt_difference(out[k].data, n->want[k], n->count[k]) <= tolerance
                                  : memcmp(out[k].data, n->want[k],
                                           (size_t)n->count[k] * sizeof(float)) == 0);
        for (int k = 0; k < outputs && tolerance > 0; k++)
            differs[tolerance > F16_TOLERANCE] =
                fmax(differs[tolerance > F16_TOLERANCE],
                     mt_difference(out[k].data, n->want[k], n->count[k]));
        MPI_Bcast(&same, 1, MPI_C_BOOL, 0, MPI_COMM_WORLD);
    }
    cohort_close(&s);
    return same;
}

static void tell_plan(const struct cohort_plan *plan, const char *text) {
    struct cohort_error err = {0};
    char *json = NULL;
    if (plan != NULL && plan_print(plan->plan, &json, &err) == COHORT_OK)
        mt_note("%s: %s", text, json);
    mem_free(json);
}

static void check_network(const struct synth_network *which) {
    struct network n = {0};
    bool made = mt_rank != 0 || make_network(&n, which);
    int nodes = made && mt_rank == 0 ? cohort_model_graph(n.model)->node_count : 0;
    MPI_Bcast(&nodes, 1, MPI_INT, 0, MPI_COMM_WORLD);
    MPI_Bcast(&seed, 1, MPI_UNSIGNED, 0, MPI_COMM_WORLD);
    if (mt_ok(made, "%s: one-rank answer", which->name)) {
        bool all = true;
        char text[400] = "default plan";
        for (int round = 0; round < ROUNDS && all; round++) {
            struct cohort_plan *plan = NULL;
            bool planned = round == 0 || (round <= GROUPS ? random_plan(&plan, n.model, nodes, text)
                                                          : wild_plan(&plan, n.model, text));
            MPI_Bcast(&planned, 1, MPI_C_BOOL, 0, MPI_COMM_WORLD);
            bool bytes = round >= ROUNDS - BYTES, half = !bytes && round >= ROUNDS - BYTES - HALF;
            if (plan != NULL && (bytes || half))
                cohort_plan_set_wire(plan, bytes ? COHORT_WIRE_I8 : COHORT_WIRE_F16);
            all = planned &&
                  run_everywhere(&n, plan, round % 2 ? COHORT_SCATTER_ORDERED : COHORT_SCATTERV,
                                 bytes  ? I8_TOLERANCE
                                 : half ? F16_TOLERANCE
                                        : 0);
            if (!all && mt_rank == 0)
                tell_plan(plan, text);
            cohort_plan_free(&plan);
        }
        mt_ok(all, "%s: %d ranks, %d plans, the same bits%s", which->name, mt_size, ROUNDS,
              weights_type == COHORT_WEIGHTS_F16 ? " (float16 weights)" : "");
    }
    drop_network(&n);
}

int main(int argc, char **argv) {
    int count;
    const struct synth_network *nets = synth_networks(&count);
    mt_begin(&argc, &argv, 170);
    for (int i = 0; i < count; i++)
        if (argc < 2 || strcmp(argv[1], nets[i].name) == 0)
            check_network(&nets[i]);
    weights_type = COHORT_WEIGHTS_F16;
    for (int i = 0; i < count; i++)
        if (strcmp("lenet5", nets[i].name) == 0 || strcmp("vgg11", nets[i].name) == 0)
            check_network(&nets[i]);
    MPI_Allreduce(MPI_IN_PLACE, &allocated, 1, MPI_C_BOOL, MPI_LOR, MPI_COMM_WORLD);
    if (mt_rank == 0)
        mt_note("worst difference by values on the wire: f16 %.2g, i8 %.2g", differs[0],
                differs[1]);
    if (mt_rank == 0)
        mt_note("%ld exchanges left in parts", in_parts);
    mt_ok(in_parts > 0 || mt_size == 1 || argc > 1, "some exchanges left in parts");
    mt_ok(!allocated, "no second inference allocated anything");
    return mt_end();
}
