/* Memory: what boards have while they are opened and when they run is what their plan needs, and
 * what was planned, by every strategy; no rank of a plan by channels has all weights, not even for
 * a moment, whatever their order in the file. np: 1 2 3
 *
 * Measured is anonymous memory, by a thread that looks all the time. */
#include "tests/support/mpitest.h"

#include "cohort.h"

#include "base/json.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "synth/synth.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MB    (1024.0 * 1024.0)
#define SHARE 0.05 /* of what is needed, that may come on top … */
#define LEAST (8 * MB)

/* ---- looking --------------------------------------------------------------------------------- */

struct watch {
    pthread_t thread;
    atomic_bool ends;
    size_t before, most;
};

static void *look(void *context) {
    struct watch *w = context;
    while (!atomic_load(&w->ends)) {
        const size_t now = mem_anonymous_bytes();
        w->most = now > w->most ? now : w->most;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return NULL;
}

static bool watch_begin(struct watch *w) {
    *w = (struct watch){.before = mem_anonymous_bytes()};
    return w->before > 0 && pthread_create(&w->thread, NULL, look, w) == 0;
}

static double watch_end(struct watch *w) {
    atomic_store(&w->ends, true);
    pthread_join(w->thread, NULL);
    return (double)w->most - (double)w->before;
}

static bool alike(double measured, double wanted) {
    const double off = measured > wanted ? measured - wanted : wanted - measured;
    return off <= LEAST || off <= SHARE * wanted;
}

/* ---- the network ----------------------------------------------------------------------------- */

static char path[128];
static struct cohort_model *model; /* of rank 0 */
static struct cohort_tensor input;
static float *answer; /* of rank 0's last run */

static bool open_network(void) {
    struct cohort_error err = {0};
    if (!mt_said(cohort_open(&model, path, NULL, &err), &err))
        return false;
    input = cohort_input(model, 0);
    float *numbers = malloc((size_t)mt_elements(&input) * sizeof *numbers);
    for (int64_t i = 0; numbers != NULL && i < mt_elements(&input); i++)
        numbers[i] = (float)(i * 7919 % 2001) / 1000.0f - 1.0f;
    input.data = numbers;
    return numbers != NULL;
}

static void drop_network(void) {
    cohort_model_free(&model);
    free((void *)input.data);
    free(answer);
    input.data = NULL;
    answer = NULL;
    if (mt_rank == 0)
        unlink(path);
}

/* 135 MB of weights: a third of them in convolutions, the rest in two fully connected layers. */
static bool make_network(void) {
    struct cohort_error err = {0};
    const struct synth_options o = {.size = 64, .width = 1, .classes = 100, .seed = 5};
    snprintf(path, sizeof path, "/tmp/cohort-memory-%ld.onnx", (long)getpid());
    return mt_said(synth_write("vgg11", &o, path, &err), &err) && open_network();
}

static void fill(void *context, int64_t first, int64_t count, float *out) {
    (void)context;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)((first + i) * 7919 % 2003 - 1001) / 1001.0f / 32.0f;
}

static bool add_weights(struct onnx_writer *w, const char *name, struct shape shape) {
    struct cohort_error err = {0};
    return mt_said(onnx_writer_weights(w, name, &shape, fill, NULL, &err), &err);
}

static bool add_node(struct onnx_writer *w, const char *op, const char *in, const char *weights,
                     const char *out, const struct onnx_attr *attrs, int attr_count) {
    struct cohort_error err = {0};
    const char *ins[] = {in, weights};
    return mt_said(onnx_writer_node(w, out, op, ins, weights != NULL ? 2 : 1, &out, 1, attrs,
                                    attr_count, &err),
                   &err);
}

/* 105 MB of weights: 4 MB that two convolutions share, 34 MB of a transposed one, and twice 34 MB
 * of products whose outputs do not lie together in the file. */
static bool make_other_orders(void) {
    struct cohort_error err = {0};
    struct onnx_writer *w = NULL;
    const struct shape in = {.rank = 4, .dim = {1, 1024, 4, 4}},
                       out = {.rank = 2, .dim = {1, 2048}};
    const int64_t four[] = {4, 4}, eight[] = {8, 8};
    const struct onnx_attr strides = {
        .name = "strides", .kind = ATTR_INTS, .ints = four, .count = 2};
    const struct onnx_attr pool[] = {
        {.name = "kernel_shape", .kind = ATTR_INTS, .ints = eight, .count = 2},
        {.name = "strides", .kind = ATTR_INTS, .ints = eight, .count = 2}};
    bool good = mt_said(onnx_writer_create(&w, "orders", 13, &err), &err) &&
                mt_said(onnx_writer_input(w, "x", DT_F32, &in, &err), &err) &&
                add_weights(w, "twice", (struct shape){.rank = 4, .dim = {1024, 1024, 1, 1}}) &&
                add_weights(w, "up", (struct shape){.rank = 4, .dim = {1024, 512, 4, 4}}) &&
                add_weights(w, "wide", (struct shape){.rank = 2, .dim = {2048, 4096}}) &&
                add_weights(w, "narrow", (struct shape){.rank = 2, .dim = {4096, 2048}}) &&
                add_node(w, "Conv", "x", "twice", "first", NULL, 0) &&
                add_node(w, "Conv", "first", "twice", "second", NULL, 0) &&
                add_node(w, "ConvTranspose", "second", "up", "large", &strides, 1) &&
                add_node(w, "MaxPool", "large", NULL, "pool", pool, 2) &&
                add_node(w, "Flatten", "pool", NULL, "flat", NULL, 0) &&
                add_node(w, "Gemm", "flat", "wide", "third", NULL, 0) &&
                add_node(w, "Relu", "third", NULL, "third_relu", NULL, 0) &&
                add_node(w, "MatMul", "third_relu", "narrow", "fourth", NULL, 0) &&
                mt_said(onnx_writer_output(w, "fourth", DT_F32, &out, &err), &err) &&
                mt_said(onnx_writer_save(w, path, &err), &err);
    onnx_writer_destroy(&w);
    return good && open_network();
}

/* "0,32,64": even shares of so many channels, in blocks. */
static void print_split(char *text, size_t bytes, int channels) {
    size_t used = 0;
    for (int b = 0; b <= mt_size; b++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%d", b > 0 ? "," : "",
                                 b == mt_size ? channels : channels / 16 * b / mt_size * 16);
}

/* "0,1,2": even shares of so many rows. */
static void print_rows(char *text, size_t bytes, int rows) {
    size_t used = 0;
    for (int b = 0; b <= mt_size; b++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%d", b > 0 ? "," : "",
                                 rows * b / mt_size);
}

/* A plan with these segments: with ' for ", @N for even shares of N channels and #N of N rows. */
static struct plan *plan_of(const char *segments) {
    struct cohort_error err = {0};
    const struct graph *g = cohort_model_graph(model);
    struct plan *p = NULL;
    char signature[33], split[200], text[4000];
    size_t used = 0;
    if (graph_signature(g, signature, &err) != COHORT_OK)
        return NULL;
    used += (size_t)snprintf(text, sizeof text,
                             "{\"format\":\"cohort-plan\",\"version\":3,\"network\":\"n\","
                             "\"signature\":\"%s\",\"strategy\":\"manual\",\"boards\":%d,"
                             "\"segments\":[",
                             signature, mt_size);
    for (const char *c = segments; *c != '\0' && used + sizeof split < sizeof text; c++) {
        split[0] = *c;
        split[1] = '\0';
        if (*c == '@' || *c == '#') { /* and a number: its split */
            char *end;
            const int count = (int)strtol(c + 1, &end, 10);
            (*c == '@' ? print_split : print_rows)(split, sizeof split, count);
            c = end - 1;
        }
        used += (size_t)snprintf(text + used, sizeof text - used, "%s", *c == '\'' ? "\"" : split);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "]}");
    mt_said(plan_parse(&p, text, used, "plan", &err), &err);
    return p;
}

/* Convolutions on the root; fully connected layers by channels. */
static const char vgg_by_channels[] =
    "{'until':'pool5','mode':'local','board':0},"
    "{'until':'relu6','mode':'out-channel','split':[@4096],'output':'stay'},"
    "{'until':'relu7','mode':'in-channel','split':[@4096],'output':'root'},"
    "{'until':'logits','mode':'local','board':0}";
/* Convolutions in rows, the first fully connected layer by these. */
static const char vgg_by_rows[] =
    "{'until':'pool5','mode':'tile','split':[#2],'output':'stay'},"
    "{'until':'relu6','mode':'rows-gemm','split':[#2],'output':'all'},"
    "{'until':'relu7','mode':'out-channel','split':[@4096],'output':'root'},"
    "{'until':'logits','mode':'local','board':0}";
/* Everything by channels; the constant of two nodes by its rows for one and by columns for the
 * other. */
static const char orders_by_channels[] =
    "{'until':'first','mode':'out-channel','split':[@1024],'output':'stay'},"
    "{'until':'second','mode':'in-channel','split':[@1024],'output':'all'},"
    "{'until':'pool','mode':'out-channel','split':[@512],'output':'all'},"
    "{'until':'third_relu','mode':'out-channel','split':[@4096],'output':'stay'},"
    "{'until':'fourth','mode':'in-channel','split':[@4096],'output':'root'}";

/* ---- one plan -------------------------------------------------------------------------------- */

/* On rank 0: of every board, measured beside planned, as the report says; planned: nothing, where
 * nothing was. */
static bool planned_is_measured(const char *json, bool planned) {
    struct cohort_error err = {0};
    cJSON *root = NULL;
    const cJSON *b;
    bool good = mt_said(json_parse(&root, json, strlen(json), "report", &err), &err);
    cJSON_ArrayForEach(b, cJSON_GetObjectItem(root, "boards")) {
        const cJSON *plan = cJSON_GetObjectItem(b, "planned_bytes");
        const cJSON *had = cJSON_GetObjectItem(b, "memory_bytes");
        good = good && (plan != NULL) == planned && (had != NULL || mem_anonymous_bytes() == 0);
        if (plan == NULL || had == NULL)
            continue;
        if (!alike(had->valuedouble, plan->valuedouble))
            mt_note("%.1f MB planned, %.1f MB measured", plan->valuedouble / MB,
                    had->valuedouble / MB);
        good = good && alike(had->valuedouble, plan->valuedouble);
    }
    json_free(&root);
    return good;
}

static void keep_answer(const struct cohort_tensor *out) {
    const size_t bytes = (size_t)mt_elements(out) * sizeof *answer;
    free(answer);
    answer = malloc(bytes);
    if (answer != NULL)
        memcpy(answer, out->data, bytes);
}

/* Collective.  profile: rank 0's, or NULL; no board may need so many MB (0: any may). */
static void run(const char *name, struct plan *plan, const struct cohort_profile *profile,
                double below) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_tensor out = {0};
    struct watch w;
    char *json = NULL;
    const bool root = mt_rank == 0;
    const bool planned = profile != NULL;
    const struct cohort_plan wrapped = {plan};
    const struct cohort_session_options o = {
        .threads = 1, .no_binding = 1, .weights = COHORT_WEIGHTS_SEND};
    const bool watched = watch_begin(&w);
    bool good =
        mt_said(cohort_prepare(&s, model, root && plan != NULL ? &wrapped : NULL, MPI_COMM_WORLD,
                               &o, &err),
                &err) &&
        mt_said(cohort_run(s, root ? &input : NULL, root, root ? &out : NULL, root, &err), &err);
    const double most = watched ? watch_end(&w) : 0;
    if (!mt_ok(good, "%s: runs", name))
        goto out;
    if (root)
        keep_answer(&out);
    const struct exec_memory m = exec_memory(s->program);
    const double needed = (double)(m.arena_bytes + m.pinned_bytes + m.weights_bytes +
                                   m.workspace_bytes + s->wire_bytes);
    const double said = (double)s->memory_most - (double)s->memory_before;
    good = watched && (most <= needed + LEAST || most <= (1 + SHARE) * needed);
    if (!good)
        mt_note("%.1f MB needed, %.1f MB at most", needed / MB, most / MB);
    mt_ok(good, "%s: opening takes no more than running", name);
    good = alike(said, needed);
    if (!good)
        mt_note("%.1f MB needed, %.1f MB measured", needed / MB, said / MB);
    mt_ok(good, "%s: what is measured is what is needed", name);
    if (below > 0)
        mt_ok(needed < below * MB, "%s: no board has all weights", name);
    if (root && profile != NULL)
        good = mt_said(cohort_predict(s, profile, &err), &err);
    good = mt_said(cohort_report(s, &json, &err), &err) && good;
    good = good && (!root || planned_is_measured(json, planned));
    mt_ok(good, "%s: what is measured is what was planned%s", name,
          planned ? "" : " (nothing was)");
out:
    cohort_text_free(json);
    cohort_close(&s);
}

/* Rank 0 alone gives the last run's answer. */
static void check_answer(const char *name) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    struct cohort_tensor out = {0};
    const struct cohort_session_options o = {.threads = 1, .no_binding = 1};
    bool good =
        mt_rank != 0 || (mt_said(cohort_prepare(&s, model, NULL, MPI_COMM_NULL, &o, &err), &err) &&
                         mt_said(cohort_run(s, &input, 1, &out, 1, &err), &err) && answer != NULL);
    if (mt_rank == 0 && good) {
        const double off = mt_difference(answer, out.data, mt_elements(&out));
        good = off <= 1e-4;
        if (!good)
            mt_note("off by %g", off);
    }
    mt_ok(good, "%s: one board's answer", name);
    cohort_close(&s);
}

/* Those that hold weights in different ways. */
static void by_strategies(const struct cohort_profile *profile) {
    static const char *const all[] = {"single", "coedge", "iop", "auto"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct cohort_error err = {0};
        struct cohort_plan *plan = NULL;
        const struct cohort_search_options search = {.strategy = all[i]};
        if (mt_ok(mt_rank != 0 ||
                      mt_said(cohort_plan_search(&plan, model, profile, &search, &err), &err),
                  "a plan by %s", all[i]))
            run(all[i], mt_rank == 0 ? plan->plan : NULL, profile, 0);
        cohort_plan_free(&plan);
    }
}

int main(int argc, char **argv) {
    struct cohort_error err = {0};
    struct cohort_profile *profile = NULL;
    struct plan *channels = NULL;
    mt_begin(&argc, &argv, 120);
    mt_ok(mt_rank != 0 || make_network(), "a network");
    const struct cohort_session_options o = {.threads = 1, .no_binding = 1};
    const struct cohort_profile_options how = {0};
    mt_ok(mt_said(cohort_profile_make(&profile, model, MPI_COMM_WORLD, &how, &o, &err), &err),
          "a profile");
    by_strategies(profile);
    if (mt_rank == 0)
        channels = plan_of(vgg_by_channels);
    run("by channels", channels, profile, mt_size < 3 ? 0 : 100);
    plan_destroy(&channels);
    if (mt_rank == 0)
        channels = plan_of(vgg_by_rows);
    run("by rows", channels, profile, mt_size == 1 ? 0 : 120);
    check_answer("by rows");
    plan_destroy(&channels);
    cohort_profile_free(&profile);
    drop_network();
    mt_ok(mt_rank != 0 || make_other_orders(), "weights in other orders");
    if (mt_rank == 0)
        channels = plan_of(orders_by_channels);
    run("other orders", channels, NULL, mt_size == 1 ? 0 : 130.0 / mt_size);
    check_answer("other orders");
    plan_destroy(&channels);
    drop_network();
    return mt_end();
}
