/* Memory: what boards have while they are opened and when they run is what their plan needs, and
 * what was planned; no rank of a plan by channels has all weights, not even for a moment.
 * np: 1 2 3
 *
 * Measured is anonymous memory, by a thread that looks all the time. */
#include "tests/support/mpitest.h"

#include "cohort.h"

#include "base/json.h"
#include "base/mem.h"
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

/* 135 MB of weights: a third of them in convolutions, the rest in two fully connected layers. */
static bool make_network(void) {
    struct cohort_error err = {0};
    const struct synth_options o = {.size = 64, .width = 1, .classes = 100, .seed = 5};
    snprintf(path, sizeof path, "/tmp/cohort-memory-%ld.onnx", (long)getpid());
    if (!mt_said(synth_write("vgg11", &o, path, &err), &err) ||
        !mt_said(cohort_open(&model, path, NULL, &err), &err))
        return false;
    input = cohort_input(model, 0);
    input.data = calloc((size_t)mt_elements(&input), sizeof(float));
    return input.data != NULL;
}

/* "0,32,64": even shares of so many channels, in blocks. */
static void print_split(char *text, size_t bytes, int channels) {
    size_t used = 0;
    for (int b = 0; b <= mt_size; b++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%d", b > 0 ? "," : "",
                                 b == mt_size ? channels : channels / 16 * b / mt_size * 16);
}

/* Convolutions by rows, or on the root; fully connected layers by channels. */
static struct plan *by_channels(void) {
    struct cohort_error err = {0};
    const struct graph *g = cohort_model_graph(model);
    struct plan *p = NULL;
    char signature[33], split[200], text[4000];
    if (graph_signature(g, signature, &err) != COHORT_OK)
        return NULL;
    print_split(split, sizeof split, 4096);
    snprintf(text, sizeof text,
             "{\"format\":\"cohort-plan\",\"version\":3,\"network\":\"n\",\"signature\":\"%s\","
             "\"strategy\":\"manual\",\"boards\":%d,\"segments\":["
             "{\"until\":\"pool5\",\"mode\":\"local\",\"board\":0},"
             "{\"until\":\"relu6\",\"mode\":\"out-channel\",\"split\":[%s],\"output\":\"stay\"},"
             "{\"until\":\"relu7\",\"mode\":\"in-channel\",\"split\":[%s],\"output\":\"root\"},"
             "{\"until\":\"logits\",\"mode\":\"local\",\"board\":0}]}",
             signature, mt_size, split, split);
    mt_said(plan_parse(&p, text, strlen(text), "plan", &err), &err);
    return p;
}

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

/* Collective.  profile: rank 0's, or NULL. */
static void run(const char *name, struct plan *plan, const struct cohort_profile *profile,
                bool needs_all) {
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
    mt_ok(needs_all || needed < 100 * MB, "%s: no board has all weights", name);
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

int main(int argc, char **argv) {
    struct cohort_error err = {0};
    struct cohort_profile *profile = NULL;
    struct cohort_plan *rows = NULL;
    struct plan *channels = NULL;
    mt_begin(&argc, &argv, 120);
    mt_ok(mt_rank != 0 || make_network(), "a network");
    const struct cohort_session_options o = {.threads = 1, .no_binding = 1};
    const struct cohort_profile_options how = {0};
    bool good = mt_said(cohort_profile_make(&profile, model, MPI_COMM_WORLD, &how, &o, &err), &err);
    const struct cohort_search_options search = {.strategy = "coedge"};
    if (mt_rank == 0 && good)
        good = mt_said(cohort_plan_search(&rows, model, profile, &search, &err), &err);
    mt_ok(good, "a plan by rows");
    run("by rows", mt_rank == 0 ? rows->plan : NULL, profile, true);
    if (mt_rank == 0)
        channels = by_channels();
    run("by channels", channels, profile, mt_size < 3);
    plan_destroy(&channels);
    cohort_plan_free(&rows);
    cohort_profile_free(&profile);
    cohort_model_free(&model);
    free((void *)input.data);
    if (mt_rank == 0)
        unlink(path);
    return mt_end();
}
