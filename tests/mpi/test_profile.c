/* A profile made by several ranks: types, sane curves, links, groups; kept and taken again; refused
 * whole where it is of something else.
 * np: 1 2 3 4 */
#include "tests/support/mpitest.h"

#include "cohort.h"

#include "base/file.h"
#include "base/mem.h"
#include "comm/links.h"
#include "profile/compute.h"
#include "runtime/model.h"
#include "synth/synth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[128], network[160];
static struct cohort_model *model; /* rank 0 */
static int notes;                  /* lines of the log that say "again" */

static bool make_network(void) {
    struct cohort_error err = {0};
    struct synth_options o = {.size = 64, .width = 0.5, .classes = 10, .seed = 3};
    snprintf(folder, sizeof folder, "/tmp/cohort-profile-%ld", (long)getpid());
    snprintf(network, sizeof network, "%s/net.onnx", folder);
    return mt_said(file_make_directories(folder, &err), &err) &&
           mt_said(synth_write("resnet18", &o, network, &err), &err) &&
           mt_said(cohort_open(&model, network, NULL, &err), &err);
}

static void count_lines(void *context, int level, const char *line) {
    (void)context;
    (void)level;
    notes += strstr(line, "again") != NULL;
}

/* The profile on rank 0; NULL after an error, whose code goes to *code. */
static struct cohort_profile *make(const struct cohort_profile_options *o, double share,
                                   enum cohort_code *code, char message[COHORT_MESSAGE_BYTES]) {
    struct cohort_error err = {0};
    struct cohort_profile *p = NULL;
    struct cohort_session_options s = {
        .threads = 1, .no_binding = 1, .cpu_share = share, .log = count_lines};
    *code = cohort_profile_make(&p, mt_rank == 0 ? model : NULL, MPI_COMM_WORLD, o, &s, &err);
    if (message != NULL)
        snprintf(message, COHORT_MESSAGE_BYTES, "%s", err.message);
    else
        mt_said(*code, &err);
    return p;
}

/* ---- what a profile must be ------------------------------------------------------------------ */

static bool curves_are_sane(const struct profile *p, const struct graph *g) {
    for (int t = 0; t < p->type_count; t++) {
        const struct profile_type *type = &p->types[t];
        double sum = 0;
        int many = 0;
        for (int i = 0; i < p->node_count; i++) {
            if (type->curve_of[i] < 0)
                continue;
            const struct profile_curve *c = &type->curves[type->curve_of[i]];
            for (int k = 0; k < c->count; k++)
                if (!(c->points[k].ms >= 0) || (k > 0 && (c->points[k].ms < c->points[k - 1].ms ||
                                                          c->points[k].x <= c->points[k - 1].x)))
                    return false;
            many += c->count == COMPUTE_LEVELS;
            if ((int64_t)c->points[c->count - 1].x != compute_rows(g, i, 0))
                return false;
            sum += c->points[c->count - 1].ms;
        }
        if (!(sum > 0) || many < 3 || type->threads != 1 || !(type->encode_ms_per_mb > 0))
            return false;
    }
    return true;
}

static bool links_are_sane(const struct profile *p) {
    for (int from = 0; from < p->board_count; from++)
        for (int to = 0; to < p->board_count; to++) {
            double few = profile_link_ms(p, from, to, 1024);
            double many = profile_link_ms(p, from, to, 128 * 1024);
            if (from == to ? few != 0 : !(few > 0 && many >= few && many < 1e4))
                return false;
        }
    return p->scatter_factor > 0 && p->gather_factor > 0 && p->wake_ms >= 0 && p->wake_ms < 1e3;
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void a_profile_is_sane(void) {
    enum cohort_code code;
    struct cohort_profile *c = make(NULL, 0, &code, NULL);
    bool ok = code == COHORT_OK && (c != NULL) == (mt_rank == 0);
    if (ok && mt_rank == 0) {
        const struct profile *p = cohort_profile_of(c);
        const struct graph *g = cohort_model_graph(model);
        struct cohort_error err = {0};
        bool curves = curves_are_sane(p, g), links = links_are_sane(p);
        ok = p->board_count == mt_size && mt_said(profile_check(p, g, &err), &err) && curves &&
             links;
        if (!ok)
            mt_note("curves %s, links %s", curves ? "right" : "wrong", links ? "right" : "wrong");
        for (int r = 0; r < mt_size && ok; r++)
            ok = p->boards[r].scale > 0 && p->boards[r].memory_bytes > 0;
    }
    mt_ok(ok, "a profile has rising curves, links between all, and nothing missing");
    cohort_profile_free(&c);
}

static void shares_make_types(void) {
    enum cohort_code code;
    double share = mt_rank == 0 ? 0 : mt_rank == 1 ? 0.5 : 0.4;
    struct cohort_profile *c = make(NULL, share, &code, NULL);
    bool ok = code == COHORT_OK;
    if (ok && mt_rank == 0) {
        const struct profile *p = cohort_profile_of(c);
        for (int r = 0; r < mt_size; r++) {
            const struct profile_type *t = &p->types[p->boards[r].type];
            ok = ok && t->cpu_share == (r == 0 ? 1 : r == 1 ? 0.5 : 0.4);
        }
        ok = ok && p->type_count >= (mt_size < 3 ? mt_size : 3) &&
             curves_are_sane(p, cohort_model_graph(model));
    }
    mt_ok(ok, "boards with different CPU shares are different types");
    cohort_profile_free(&c);
}

/* On two threads: one of them alone, and both, which is what the curves say. */
static void engines_are_measured(void) {
    struct cohort_error err = {0};
    struct cohort_profile *c = NULL;
    const struct cohort_profile_options o = {.engines = 1};
    struct cohort_session_options s = {.threads = 2, .no_binding = 1};
    enum cohort_code code =
        cohort_profile_make(&c, mt_rank == 0 ? model : NULL, MPI_COMM_WORLD, &o, &s, &err);
    bool ok = mt_said(code, &err);
    for (int t = 0; ok && mt_rank == 0 && t < cohort_profile_of(c)->type_count; t++) {
        const struct profile *p = cohort_profile_of(c);
        const struct profile_type *type = &p->types[t];
        const struct profile_engine *e = type->engines;
        ok = type->engine_count == 2 && strcmp(e[0].name, "serial") == 0 && e[0].threads == 1 &&
             strcmp(e[1].name, "parallel") == 0 && e[1].threads == 2 && e[0].inference_ms > 0;
        for (int i = 0; ok && i < p->node_count; i++) {
            const int k = type->curve_of[i];
            const struct profile_curve *curve = k >= 0 ? &type->curves[k] : NULL;
            ok = (e[0].ms[i] > 0) <= (k >= 0) &&
                 e[1].ms[i] == (k >= 0 ? curve->points[curve->count - 1].ms : 0);
        }
    }
    mt_ok(ok, "on two threads a profile has the engines serial and parallel");
    cohort_profile_free(&c);
}

static void it_is_kept(void) {
    const struct cohort_profile_options o = {.directory = folder},
                                        more = {.directory = folder, .again = 1};
    enum cohort_code code, later, anew;
    struct cohort_profile *a = make(&o, 0, &code, NULL), *b, *c;
    b = make(&o, 0, &later, NULL);
    c = make(&more, 0, &anew, NULL);
    bool ok = code == COHORT_OK && later == COHORT_OK && anew == COHORT_OK;
    if (ok && mt_rank == 0) {
        struct cohort_error err = {0};
        char *first = NULL, *second = NULL, *third = NULL;
        struct profile *x = (struct profile *)(uintptr_t)cohort_profile_of(b);
        const struct profile *y = cohort_profile_of(a);
        /* links may have been measured again, on a busy machine */
        ok = x->types[0].curve_count == y->types[0].curve_count;
        for (int i = 0; i < x->types[0].curve_count && ok; i++)
            ok = x->types[0].curves[i].points[0].ms == y->types[0].curves[i].points[0].ms;
        ok = ok &&
             (mt_said(profile_print(y, &first, &err), &err) &&
              mt_said(profile_print(x, &second, &err), &err) &&
              mt_said(profile_print(cohort_profile_of(c), &third, &err), &err)) &&
             (notes > 0 || strcmp(first, second) == 0) && strcmp(first, third) != 0;
        mem_free(first);
        mem_free(second);
        mem_free(third);
    }
    mt_ok(ok, "what was measured is taken again, unless it must not be");
    cohort_profile_free(&a);
    cohort_profile_free(&b);
    cohort_profile_free(&c);
}

static void a_file_must_fit(void) {
    char path[192], bad[192], message[COHORT_MESSAGE_BYTES];
    struct cohort_error err = {0};
    enum cohort_code code;
    struct cohort_profile *c = make(NULL, 0.5, &code, NULL);
    snprintf(path, sizeof path, "%s/named.json", folder);
    snprintf(bad, sizeof bad, "%s/bad.json", folder);
    bool ok = code == COHORT_OK;
    if (mt_rank == 0 && ok)
        ok = mt_said(cohort_profile_save(c, path, &err), &err) &&
             mt_said(file_replace(bad, "{\"format\": 1}", 13, &err), &err);
    cohort_profile_free(&c);
    c = make(&(struct cohort_profile_options){.file = path}, 0.5, &code, NULL);
    ok = ok && code == COHORT_OK && (c != NULL) == (mt_rank == 0);
    mt_ok(ok, "a profile that is named is taken");
    cohort_profile_free(&c);
    c = make(&(struct cohort_profile_options){.file = path}, 0.25, &code, message);
    mt_ok(code == COHORT_ERR_PLAN && c == NULL && strstr(message, "named.json") != NULL &&
              strstr(message, "the CPU share was 0.5, now it is 0.25") != NULL,
          "… but not for other boards, which is the same error on all ranks");
    c = make(&(struct cohort_profile_options){.file = bad}, 0, &code, message);
    mt_ok(code == COHORT_ERR_FORMAT && c == NULL && strstr(message, "bad.json") != NULL,
          "… nor when it is none");
    c = make(&(struct cohort_profile_options){.file = "/none/x.json"}, 0, &code, message);
    mt_ok(code == COHORT_ERR_IO && c == NULL, "… nor when it is not there");
}

static void a_bad_cache_is_left_alone(void) {
    const struct cohort_profile_options o = {.directory = folder};
    enum cohort_code code;
    bool ok = true;
    notes = 0;
    if (mt_rank == 0) { /* whatever its name is */
        char command[256];
        snprintf(command, sizeof command, "for f in %s/profiles/*.json; do echo 7 >\"$f\"; done",
                 folder);
        ok = system(command) == 0;
    }
    struct cohort_profile *c = make(&o, 0, &code, NULL);
    mt_ok(ok && code == COHORT_OK && (mt_rank != 0 || (c != NULL && notes > 0)),
          "a kept profile that is broken is measured again, and that is said");
    cohort_profile_free(&c);
}

static int count_of(const char *text, const char *what) {
    int count = 0;
    for (; (text = strstr(text, what)) != NULL; text++)
        count++;
    return count;
}

/* One run with the profile that rank 0 has; *by: how many boards went by it. */
static enum cohort_code run_by(const struct cohort_profile *c, double share, int *by,
                               struct cohort_error *err) {
    const struct cohort_session_options o = {
        .threads = 1, .no_binding = 1, .cpu_share = share, .profile = c};
    struct cohort_tensor in = mt_rank == 0 ? cohort_input(model, 0) : (struct cohort_tensor){0};
    struct cohort_tensor out;
    struct cohort_session *s = NULL;
    char *json = NULL;
    enum cohort_code code =
        cohort_prepare(&s, mt_rank == 0 ? model : NULL, NULL, MPI_COMM_WORLD, &o, err);
    if (mt_rank == 0)
        in.data = calloc(1, cohort_tensor_bytes(&in));
    if (code == COHORT_OK)
        code = cohort_run(s, &in, mt_rank == 0, &out, mt_rank == 0, err);
    if (code == COHORT_OK)
        code = cohort_report(s, &json, err);
    *by = json != NULL ? count_of(json, "\"dilated_by\": \"profile\"") : 0;
    cohort_text_free(json);
    cohort_close(&s);
    free(in.data);
    return code;
}

static void dilated_boards_go_by_it(void) {
    enum cohort_code code;
    struct cohort_error err = {0};
    const double share = mt_rank == 0 && mt_size > 1 ? 0 : 0.3;
    const int dilated = mt_size > 1 ? mt_size - 1 : 1;
    int by = -1;
    struct cohort_profile *c = make(NULL, share, &code, NULL);
    bool ok = code == COHORT_OK && mt_said(run_by(c, share, &by, &err), &err);
    mt_ok(ok && by == (mt_rank == 0 ? dilated : 0), "every dilated board takes what was profiled");
    ok = mt_said(run_by(NULL, share, &by, &err), &err);
    mt_ok(ok && by == 0, "… but without a profile its CPU time");
    code = run_by(c, share > 0 ? 0.4 : 0, &by, &err);
    mt_ok(code == COHORT_ERR_PLAN &&
              strstr(err.message, "the CPU share was 0.3, now it is 0.4") != NULL,
          "… and with another board's profile nothing");
    cohort_profile_free(&c);
}

/* The last board computes at a third of its speed, and its system does not know. */
static bool a_slow_board_is_found(bool last) {
    struct cohort_error err = {0};
    struct cohort_profile *c = NULL;
    struct cohort_session_options s = {
        .threads = 1, .no_binding = 1, .inject_share = mt_rank == mt_size - 1 ? 0.33 : 0};
    enum cohort_code code =
        cohort_profile_make(&c, mt_rank == 0 ? model : NULL, MPI_COMM_WORLD, NULL, &s, &err);
    bool ok = mt_said(code, &err), apart = true;
    if (ok && mt_rank == 0 && mt_size > 1) {
        const int b = mt_size - 1;
        const struct profile *p = cohort_profile_of(c);
        const double factor = profile_inference_ms(p, b) / profile_inference_ms(p, 0);
        const struct profile_board *slow = &p->boards[b];
        mt_note("%.2f times as slow: %s", factor,
                slow->remark != NULL ? slow->remark : "no remark");
        apart = slow->remark != NULL && strstr(slow->remark, " % slower than its equals") != NULL &&
                strstr(slow->remark, "measured alone") != NULL && slow->scale == 1 &&
                p->boards[0].type != slow->type && factor > 1.8 && factor < 6 &&
                curves_are_sane(p, cohort_model_graph(model));
    }
    int found = ok && apart;
    MPI_Allreduce(MPI_IN_PLACE, &found, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (found || last)
        mt_ok(found, "a board that is slower than its equals is measured alone and named");
    cohort_profile_free(&c);
    return found;
}

/* A table of groups: every run of units once, none of them nothing, all of them together no more
 * than this board's operators would take if they were slow. */
static bool groups_are_sane(const struct profile *p, bool feeds) {
    const struct profile_groups *g = p->groups;
    double sum = 0, whole = 0;
    int units = 0;
    if (g == NULL || g->longest != 0 || !(g->seconds > 0))
        return false;
    for (int b = 0; b < p->board_count; b++)
        sum += g->shares[b];
    for (int k = 0; k < g->count; k++) {
        bool begins = false; /* where another one ends, or at the network's begin */
        for (int i = 0; i < g->count; i++)
            begins = begins || g->list[k].first == 0 || g->list[i].last == g->list[k].first;
        units += g->list[k].first == 0;
        whole = g->list[k].first == 0 && g->list[k].ms > whole ? g->list[k].ms : whole;
        if (!begins || !(g->list[k].ms > 0) || g->list[k].last <= g->list[k].first ||
            g->list[k].last > p->node_count)
            return false;
    }
    return units > 5 && g->count == units * (units + 1) / 2 && whole > 0 && sum > 0.999 &&
           sum < 1.001 && (feeds ? g->shares[0] == 0 : g->shares[0] > 0);
}

/* How `fss` divides by that profile. */
static enum cohort_code plan_fss(const struct cohort_profile *c, bool feeds,
                                 char message[COHORT_MESSAGE_BYTES]) {
    const struct cohort_search_options o = {.strategy = "fss", .root_feeds = feeds};
    struct cohort_error err = {0};
    struct cohort_plan *plan = NULL;
    enum cohort_code code = cohort_plan_search(&plan, model, c, &o, &err);
    snprintf(message, COHORT_MESSAGE_BYTES, "%s", err.message);
    cohort_plan_free(&plan);
    return code;
}

static void groups_are_measured(void) {
    const struct cohort_profile_options none = {.directory = folder},
                                        all = {.directory = folder, .groups = -1},
                                        feed = {.directory = folder, .groups = -1, .root_feeds = 1};
    enum cohort_code code, later, fed;
    char text[COHORT_MESSAGE_BYTES];
    struct cohort_profile *a = make(&none, 0, &code, NULL), *b = make(&all, 0, &later, NULL);
    bool ok = code == COHORT_OK && later == COHORT_OK;
    if (ok && mt_rank == 0)
        ok = cohort_profile_of(a)->groups == NULL && plan_fss(a, false, text) == COHORT_ERR_PLAN &&
             strstr(text, "cohort profile MODEL --groups all") != NULL;
    mt_ok(ok, "without measured groups fss says what makes them");
    if (ok && mt_rank == 0)
        ok = groups_are_sane(cohort_profile_of(b), false) &&
             plan_fss(b, false, text) == COHORT_OK &&
             cohort_profile_of(b)->types[0].curves[0].points[0].ms ==
                 cohort_profile_of(a)->types[0].curves[0].points[0].ms;
    mt_ok(ok, "groups are measured beside what was kept, and fss plans by them");
    cohort_profile_free(&a);
    a = make(&none, 0, &code, NULL);
    if (mt_rank == 0)
        ok = code == COHORT_OK && cohort_profile_of(a)->groups != NULL &&
             cohort_profile_of(a)->groups->seconds == cohort_profile_of(b)->groups->seconds;
    mt_ok(ok, "… and kept");
    cohort_profile_free(&b);
    b = make(&feed, 0, &fed, NULL);
    if (fed == COHORT_OK && mt_rank == 0 && mt_size > 1)
        ok = groups_are_sane(cohort_profile_of(b), true) && plan_fss(b, true, text) == COHORT_OK &&
             plan_fss(b, false, text) == COHORT_ERR_PLAN && strstr(text, "other shares") != NULL;
    mt_ok(fed == COHORT_OK && ok,
          "… but not for a root that only feeds: then its own are measured");
    cohort_profile_free(&a);
    cohort_profile_free(&b);
}

int main(int argc, char **argv) {
    mt_begin(&argc, &argv, 120);
    bool ok = mt_rank != 0 || make_network();
    MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    if (mt_ok(ok, "a network is there")) {
        a_profile_is_sane();
        shares_make_types();
        engines_are_measured();
        it_is_kept();
        a_file_must_fit();
        a_bad_cache_is_left_alone();
        /* Another process on this machine makes boards slow as well: it has three tries. */
        for (int tries = 0; tries < 3 && !a_slow_board_is_found(tries == 2);)
            tries++;
        dilated_boards_go_by_it();
        groups_are_measured();
    }
    cohort_model_free(&model);
    if (mt_rank == 0) {
        char command[256];
        snprintf(command, sizeof command, "rm -rf '%s'", folder);
        if (system(command) != 0)
            mt_note("%s stays", folder);
    }
    return mt_end();
}
