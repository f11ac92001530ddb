/* Another plan while a session lives: the same bits, no weight sent twice, no memory left behind,
 * the old plan after a failure; and the decision for one when a board becomes slower. np: 2 3 4
 *
 * All of it with plans by rows, and again where every other one divides by channels: then answers
 * agree to rounding, because sums are added up in another order. */
#include "tests/support/channelplan.h"
#include "tests/support/mpitest.h"

#include "cohort.h"

#include "base/mem.h"
#include "planner/simulate.h"
#include "planner/synthetic.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "synth/synth.h"
#include "tests/support/randomplan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLANS     12
#define RUNS      40
#define TOLERANCE 1e-4 /* of the largest output: what a whole float32 network may be off */

/* Rank 0's network, its input, and what one board answers. */
static struct cohort_model *model;
static struct cohort_tensor in;
static float *want;
static size_t want_bytes;
static char path[128];
static char phase[16]; /* in which this rank fails; "": in none */
static int warnings;
static int kept_beside;   /* rank 0: … that there is no room for another plan beside this one */
static const char *cache; /* where weights are kept; NULL: nowhere */
static bool channels;     /* plans divide by channels, too */
static int by_channels;   /* rank 0: segments of all such plans */
static double differs;    /* rank 0: the worst */

static const char *right(void) {
    return channels ? "one board's answer" : "one board's bits";
}

static size_t bytes_of(const struct cohort_tensor *t) {
    return cohort_tensor_bytes(t);
}

static bool make_network(void) {
    struct cohort_error err = {0};
    struct cohort_session *alone = NULL;
    struct cohort_tensor out;
    const struct synth_options o = {.size = 64, .width = 0.5, .classes = 10, .seed = 5};
    const struct cohort_session_options s = {.threads = 1, .no_binding = 1};
    snprintf(path, sizeof path, "/tmp/cohort-adapt-%ld.onnx", (long)getpid());
    if (!mt_said(synth_write("resnet18", &o, path, &err), &err) ||
        !mt_said(cohort_open(&model, path, NULL, &err), &err))
        return false;
    in = cohort_input(model, 0);
    float *data = malloc(bytes_of(&in));
    for (size_t i = 0; i < bytes_of(&in) / sizeof *data; i++)
        data[i] = (float)(i * 7919 % 2001) / 1000.0f - 1.0f;
    in.data = data;
    bool ok = mt_said(cohort_prepare(&alone, model, NULL, MPI_COMM_NULL, &s, &err), &err) &&
              mt_said(cohort_run(alone, &in, 1, &out, 1, &err), &err);
    if (ok) {
        want_bytes = bytes_of(&out);
        want = malloc(want_bytes);
        memcpy(want, out.data, want_bytes);
    }
    cohort_close(&alone);
    return ok;
}

static void log_line(void *context, int level, const char *line) {
    (void)context;
    const bool stays = level == 0 && strstr(line, "the plan stays") != NULL;
    const bool beside = stays && strstr(line, "with another beside it") != NULL;
    warnings += stays && !beside;
    kept_beside += beside;
    if (stays)
        mt_note("%s", line);
}

static struct cohort_session *open_session(const struct cohort_plan *plan, double slower, long at) {
    struct cohort_error err = {0};
    struct cohort_session *s = NULL;
    const struct cohort_session_options o = {.threads = 1,
                                             .no_binding = 1,
                                             .weights = cache != NULL ? COHORT_WEIGHTS_CACHE
                                                                      : COHORT_WEIGHTS_SEND,
                                             .cache_directory = cache,
                                             .inject_phase = phase,
                                             .inject_share = slower,
                                             .inject_share_run = at,
                                             .log = log_line};
    return mt_said(cohort_prepare(&s, model, plan, MPI_COMM_WORLD, &o, &err), &err) ? s : NULL;
}

/* What one board answers: the bits, or by channels to rounding. */
static bool is_right(const struct cohort_tensor *out) {
    if (bytes_of(out) != want_bytes)
        return false;
    if (!channels)
        return memcmp(out->data, want, want_bytes) == 0;
    const double off = mt_difference(out->data, want, mt_elements(out));
    differs = fmax(differs, off);
    return off <= TOLERANCE;
}

/* One run; true on all ranks when it gives one board's answer. */
static bool run(struct cohort_session *s) {
    struct cohort_error err = {0};
    struct cohort_tensor out = {0};
    const bool root = mt_rank == 0;
    bool ok = mt_said(cohort_run(s, root ? &in : NULL, root, root ? &out : NULL, root, &err), &err);
    if (root && ok)
        ok = is_right(&out);
    MPI_Bcast(&ok, 1, MPI_C_BOOL, 0, MPI_COMM_WORLD);
    return ok;
}

/* The text of a plan, from rank 0 (free). */
static char *share_text(char *text) {
    long bytes = text != NULL ? (long)strlen(text) + 1 : 0;
    MPI_Bcast(&bytes, 1, MPI_LONG, 0, MPI_COMM_WORLD);
    char *copy = malloc((size_t)bytes);
    if (mt_rank == 0)
        memcpy(copy, text, (size_t)bytes);
    MPI_Bcast(copy, (int)bytes, MPI_CHAR, 0, MPI_COMM_WORLD);
    return copy;
}

static char *random_text(uint64_t *seed) {
    static int turn;
    struct cohort_error err = {0};
    char *text = NULL;
    if (mt_rank == 0) {
        const struct graph *g = cohort_model_graph(model);
        int segments = 0;
        struct plan *p = channels && turn++ % 3 < 2 ? channel_plan_make(g, mt_size, seed, &segments)
                                                    : random_plan_make(g, mt_size, seed);
        by_channels += segments;
        if (p == NULL || plan_print(p, &text, &err) != COHORT_OK)
            text = NULL;
        plan_destroy(&p);
    }
    char *copy = share_text(text);
    mem_free(text);
    return copy;
}

/* ---- changing -------------------------------------------------------------------------------- */

/* Does this rank have the weights that it would have packed for this plan alone, and no more? */
static bool weights_of(const struct cohort_session *s, const char *text) {
    struct cohort_error err = {0};
    struct cohort_plan plan = {0};
    bool ok =
        mt_rank != 0 || mt_said(plan_parse(&plan.plan, text, strlen(text), "plan", &err), &err);
    struct cohort_session *alone = ok ? open_session(mt_rank == 0 ? &plan : NULL, 0, 0) : NULL;
    ok = alone != NULL &&
         exec_memory(s->program).weights_bytes == exec_memory(alone->program).weights_bytes;
    cohort_close(&alone);
    plan_destroy(&plan.plan);
    return ok;
}

static void check_changes(void) {
    struct cohort_error err = {0};
    struct cohort_session *s = open_session(NULL, 0, 0);
    uint64_t seed = 4, received = 0;
    bool ok = s != NULL && run(s), sent_once = true, lean = true;
    long blocks[4] = {0};
    char *first = NULL;
    for (int i = 0; i < PLANS && ok; i++) {
        char *text = random_text(&seed);
        const bool before = s->shard != NULL;
        ok = mt_said(session_change_plan(s, text, &err), &err) && run(s) && run(s);
        if (ok && (before || s->shard != NULL))
            lean = weights_of(s, text) && lean;
        if (i == 0)
            first = text;
        else
            free(text);
    }
    mt_ok(ok, "%d plans one after the other: %s", PLANS, right());
    mt_ok(lean, "to and from channels, weights are those of a session that begins so");
    for (int i = 0; i < 4 && ok; i++) { /* the second time some weights become shared */
        ok = mt_said(session_change_plan(s, first, &err), &err) && run(s);
        blocks[i] = mem_live_blocks();
        sent_once = sent_once && (i == 0 || s->weights_received_bytes == received);
        received = ok ? s->weights_received_bytes : 0;
    }
    mt_ok(ok && blocks[2] == blocks[1] && blocks[3] == blocks[1],
          "the same plan again takes the same memory");
    mt_ok(ok && sent_once, "and no weights");
    free(first);
    cohort_close(&s);
}

static void check_failures(void) {
    static const char *const phases[] = {"compile", "weights", "prepare", "transfers", "change"};
    struct cohort_error err = {0};
    struct cohort_session *s = open_session(NULL, 0, 0);
    uint64_t seed = 8;
    bool ok = s != NULL && run(s), failed = true, named = true, freed = true;
    for (size_t i = 0; i < sizeof phases / sizeof phases[0] && ok; i++) {
        for (int rank = 0; rank < mt_size && ok; rank++) {
            char *text = random_text(&seed), expected[48];
            long blocks = 0;
            snprintf(expected, sizeof expected, "(rank %d)", rank);
            if (mt_rank == rank)
                snprintf(phase, sizeof phase, "%s", phases[i]);
            for (int k = 0; k < 2; k++) { /* the first time some weights become shared */
                failed = failed && session_change_plan(s, text, &err) == COHORT_ERR_INTERNAL;
                named = named && (mt_rank == 0 || strstr(err.message, expected) != NULL);
                freed = freed && (k == 0 || mem_live_blocks() == blocks);
                blocks = mem_live_blocks();
            }
            phase[0] = '\0';
            ok = run(s);
            ok = ok && mt_said(session_change_plan(s, text, &err), &err) && run(s);
            free(text);
        }
    }
    mt_ok(failed, "one rank fails in any phase: an error on all");
    mt_ok(named, "that names it");
    mt_ok(freed, "nothing of the new plan stays");
    mt_ok(ok, "and the plan before goes on; the next change succeeds");
    cohort_close(&s);
}

/* Memory is short on one rank, at any allocation: the old plan, or an error on all; no hang. */
static void check_memory(void) {
    struct cohort_error err = {0};
    uint64_t seed = 15;
    char *text = random_text(&seed);
    bool ok = true, ended = false;
    int failures = 0, kept = 0;
    for (long n = 1; ok && !ended; n += n < 40 ? 7 : 61) {
        struct cohort_session *s = open_session(NULL, 0, 0);
        ok = s != NULL && run(s);
        if (ok && mt_rank == mt_size - 1)
            mem_fail_at(n);
        int code = ok ? (int)session_change_plan(s, text, &err) : 0;
        mem_fail_at(0);
        int most = code;
        MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
        ok = ok && (code != 0) == (most != 0);
        ended = most == 0;
        failures += most != 0;
        const bool lost = s != NULL && comm_aborted(s->comm);
        if (s != NULL && lost)
            s->failed = true;
        if (ok && !lost) {
            ok = run(s);
            kept++;
        }
        MPI_Allreduce(MPI_IN_PLACE, &ok, 1, MPI_C_BOOL, MPI_LAND, MPI_COMM_WORLD);
        cohort_close(&s);
    }
    mt_ok(ok && failures > 3, "memory fails anywhere: %d errors, %d times it went on", failures,
          kept);
    free(text);
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* Rank 0: made-up boards, all alike, so slow that messages do not count. */
static struct cohort_profile *made_up(void) {
    struct cohort_error err = {0};
    struct cohort_profile *p = mem_zalloc(1, sizeof *p);
    char text[80];
    snprintf(text, sizeof text, "%dxb:0.5 link:10000Mbit:0.01ms", mt_size);
    if (p != NULL &&
        !mt_said(profile_synthetic(&p->profile, cohort_model_graph(model), text, &err), &err))
        cohort_profile_free(&p);
    return p;
}

/* The part of all rows, and channels, that the last board computes, by the plan. */
static double last_share(const struct cohort_session *s) {
    double mine = 0, all = 0;
    for (int i = 0; i < s->plan->segment_count; i++) {
        const struct plan_segment *g = &s->plan->segments[i];
        if (g->mode != PLAN_TILE && !plan_by_channels(g->mode))
            continue;
        mine += (double)(g->split[mt_size] - g->split[mt_size - 1]);
        all += (double)g->split[mt_size];
    }
    return all > 0 ? mine / all : 0;
}

/* A board becomes 50 times slower in run 6. */
static void check_slower(void) {
    struct cohort_error err = {0};
    struct cohort_profile *profile = mt_rank == 0 ? made_up() : NULL;
    struct cohort_plan *plan = NULL;
    const struct cohort_search_options search = {.rows_only = !channels};
    const struct cohort_adapt_options adapt = {.search = search};
    struct cohort_adaptation what = {0};
    const bool last = mt_rank == mt_size - 1;
    bool ok =
        mt_rank != 0 || (profile != NULL &&
                         mt_said(cohort_plan_search(&plan, model, profile, &search, &err), &err));
    struct cohort_session *s = open_session(plan, last ? 0.02 : 0, 6);
    ok = ok && s != NULL && mt_said(cohort_adapt_begin(s, profile, &adapt, &err), &err);
    cohort_profile_free(&profile);
    const double before = ok ? last_share(s) : 0;
    mt_ok(ok && plan_has_channels(s->plan) == channels, "a plan %s",
          channels ? "by channels" : "by rows");
    int changes = 0, agreed = 0, looks = 0;
    for (int i = 1; i <= RUNS && ok; i++) {
        ok = run(s) && mt_said(cohort_adapt(s, &what, &err), &err);
        if (!ok)
            break;
        looks += what.took_ms > 0;
        changes += what.changed;
        agreed = what.changed;
        MPI_Allreduce(MPI_IN_PLACE, &agreed, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        ok = agreed == 0 || agreed == mt_size;
        if (what.changed && mt_rank == 0)
            mt_note("run %d: %s: %.1f ms instead of %.1f ms, in %.1f ms", i, what.why,
                    what.predicted_ms, what.was_ms, what.took_ms);
    }
    mt_ok(ok, "%d runs, looked after: %s", RUNS, right());
    mt_ok(ok && looks >= RUNS / 8, "every few runs");
    mt_ok(ok && changes >= 1, "another plan when a board becomes slower");
    mt_ok(ok && before > 0 && last_share(s) < before / 2, "which gives it less to do");
    char *json = NULL;
    ok = ok && mt_said(cohort_report(s, &json, &err), &err);
    mt_ok(ok && (mt_rank != 0 || (strstr(json, "\"plan_changes\"") != NULL &&
                                  strstr(json, "\"predicted_compute_ms\"") != NULL)),
          "the report tells both");
    cohort_text_free(json);
    cohort_plan_free(&plan);
    cohort_close(&s);
}

/* The same, but no board may need much more than it does: there is no room for two plans. */
static void check_limit(void) {
    struct cohort_error err = {0};
    struct cohort_profile *profile = mt_rank == 0 ? made_up() : NULL;
    struct cohort_plan *plan = NULL;
    struct cohort_adapt_options adapt = {.threshold = 0.3};
    const int before = warnings; /* there may be no plan within the limit either */
    struct cohort_adaptation what = {0};
    bool ok =
        mt_rank != 0 ||
        (profile != NULL && mt_said(cohort_plan_search(&plan, model, profile, NULL, &err), &err));
    struct cohort_session *s = open_session(plan, mt_rank == mt_size - 1 ? 0.02 : 0, 6);
    ok = ok && s != NULL && mt_said(cohort_adapt_begin(s, profile, NULL, &err), &err);
    for (int b = 0; ok && mt_rank == 0 && b < mt_size; b++) {
        const uint64_t bytes = (uint64_t)(1.3 * s->forecast->peak_bytes[b]);
        if (bytes > adapt.search.memory_limit_bytes)
            adapt.search.memory_limit_bytes = bytes;
    }
    ok = ok && mt_said(cohort_adapt_begin(s, profile, &adapt, &err), &err);
    for (int i = 1; i <= RUNS / 2 && ok; i++)
        ok = run(s) && mt_said(cohort_adapt(s, &what, &err), &err) && !what.changed;
    mt_ok(ok && (mt_rank != 0 || kept_beside > 0), "no room for two plans: the first one stays");
    warnings = before;
    cohort_profile_free(&profile);
    cohort_plan_free(&plan);
    cohort_close(&s);
}

/* What is asked wrongly is an error on all, and nothing is watched then. */
static void check_wrong(void) {
    struct cohort_error err = {0};
    struct cohort_session *s = open_session(NULL, 0, 0);
    struct cohort_profile *profile = mt_rank == 0 ? made_up() : NULL;
    const struct cohort_adapt_options bad = {.threshold = 2};
    struct cohort_adaptation what;
    bool ok = s != NULL && cohort_adapt_begin(s, NULL, NULL, &err) == COHORT_ERR_USAGE &&
              cohort_adapt_begin(s, profile, &bad, &err) == COHORT_ERR_USAGE;
    for (int i = 0; i < 9 && ok; i++)
        ok = run(s) && cohort_adapt(s, &what, &err) == COHORT_OK && !what.changed;
    mt_ok(ok, "no profile, a threshold of 200 %%: errors");
    cohort_profile_free(&profile);
    cohort_close(&s);
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 120);
    char directory[64];
    snprintf(directory, sizeof directory, "/tmp/cohort-adapt-cache-%ld", (long)getpid());
    const bool made = mt_rank != 0 || make_network();
    if (mt_ok(made, "one board's answer")) {
        for (int pass = 0; pass < 2; pass++) {
            channels = pass > 0;
            check_changes();
            check_failures();
            check_memory();
            check_slower();
        }
        check_limit();
        cache = directory;
        check_changes();
        check_failures();
        check_wrong();
        mt_ok(mt_rank != 0 || by_channels > 20, "%d segments by channels, at worst off by %.1e",
              by_channels, differs);
    }
    mt_ok(mt_rank != 0 || warnings == 0, "no other warnings");
    cohort_model_free(&model);
    free(in.data);
    free(want);
    unlink(path);
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0)
        mt_note("%s stays", directory);
    return mt_end();
}
