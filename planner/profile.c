/* A profile as data: its life, whether it fits a network, and the curves' arithmetic. */
#include "planner/profile.h"

#include "base/mem.h"

#include <string.h>

static void curves_free(struct profile_curve *curves, int count) {
    for (int i = 0; curves != NULL && i < count; i++)
        mem_free(curves[i].points);
    mem_free(curves);
}

void profile_destroy(struct profile **pp) {
    struct profile *p = *pp;
    if (p == NULL)
        return;
    for (int t = 0; p->types != NULL && t < p->type_count; t++) {
        mem_free(p->types[t].cpu);
        mem_free(p->types[t].isa);
        mem_free(p->types[t].kernels);
        mem_free(p->types[t].curve_of);
        mem_free(p->types[t].chained_of);
        mem_free(p->types[t].weight_bytes);
        curves_free(p->types[t].curves, p->types[t].curve_count);
        profile_engines_destroy(&p->types[t]);
    }
    for (int b = 0; p->boards != NULL && b < p->board_count; b++) {
        mem_free(p->boards[b].host);
        mem_free(p->boards[b].remark);
    }
    curves_free(p->links, p->link_count);
    mem_free(p->network);
    mem_free(p->version);
    mem_free(p->types);
    mem_free(p->boards);
    mem_free(p->link_of);
    profile_groups_destroy(&p->groups);
    mem_free(p);
    *pp = NULL;
}

void profile_groups_destroy(struct profile_groups **gg) {
    struct profile_groups *g = *gg;
    if (g == NULL)
        return;
    mem_free(g->shares);
    mem_free(g->list);
    mem_free(g);
    *gg = NULL;
}

enum cohort_code profile_groups_create(struct profile *p, int count, struct cohort_error *err) {
    const size_t n = (size_t)count + 1;
    struct profile_groups *g = mem_zalloc(1, sizeof *g);
    if (g != NULL) {
        g->count = count;
        g->shares = mem_zalloc((size_t)p->board_count + 1, sizeof *g->shares);
        g->list = mem_zalloc(n, sizeof *g->list);
    }
    if (g == NULL || g->shares == NULL || g->list == NULL) {
        profile_groups_destroy(&g);
        return error_memory(err, n * sizeof *g->list, "times of groups");
    }
    profile_groups_destroy(&p->groups);
    p->groups = g;
    return COHORT_OK;
}

void profile_engines_destroy(struct profile_type *t) {
    for (int i = 0; t->engines != NULL && i < t->engine_count; i++) {
        mem_free(t->engines[i].name);
        mem_free(t->engines[i].cores);
        mem_free(t->engines[i].ms);
    }
    mem_free(t->engines);
    t->engines = NULL;
    t->engine_count = 0;
}

enum cohort_code profile_engines_create(const struct profile *p, struct profile_type *t, int count,
                                        struct cohort_error *err) {
    const size_t nodes = (size_t)p->node_count + 1;
    bool ok;
    profile_engines_destroy(t);
    t->engines = mem_zalloc((size_t)count + 1, sizeof *t->engines);
    t->engine_count = t->engines != NULL ? count : 0;
    ok = t->engines != NULL;
    for (int i = 0; i < t->engine_count; i++)
        ok = (t->engines[i].ms = mem_zalloc(nodes, sizeof *t->engines[i].ms)) != NULL && ok;
    if (ok)
        return COHORT_OK;
    profile_engines_destroy(t);
    return error_memory(err, (size_t)count * nodes * sizeof(double), "times of engines");
}

bool profile_has_engines(const struct profile *p) {
    for (int t = 0; t < p->type_count; t++)
        if (p->types[t].engine_count > 0)
            return true;
    return false;
}

enum cohort_code profile_copy(struct profile **copy, const struct profile *p,
                              struct cohort_error *err) {
    char *text = NULL;
    enum cohort_code code = profile_print(p, &text, err);
    if (code == COHORT_OK)
        code = profile_parse(copy, text, strlen(text), "a profile", err);
    mem_free(text);
    return code;
}

enum cohort_code profile_check(const struct profile *p, const struct graph *g,
                               struct cohort_error *err) {
    char signature[sizeof p->signature];
    enum cohort_code code = graph_signature(g, signature, err);
    if (code != COHORT_OK)
        return code;
    if (strcmp(signature, p->signature) != 0)
        return error_set(err, COHORT_ERR_PLAN,
                         "the profile is of another network: of '%s' with signature %s, not of "
                         "'%s' with signature %s (sizes of inputs count too); make a new one",
                         p->network, p->signature, g->name, signature);
    if (p->node_count != g->node_count)
        return error_set(err, COHORT_ERR_PLAN,
                         "the profile has %d operators, but '%s' has %d: make a new one",
                         p->node_count, g->name, g->node_count);
    return COHORT_OK;
}

/* ---- curves --------------------------------------------------------------------------------- */

double profile_curve_ms(const struct profile_curve *c, double x) {
    if (!(x > 0) || c->count <= 0)
        return 0;
    const struct profile_point *p = c->points;
    if (c->count == 1) /* one point: in proportion */
        return p[0].ms * x / p[0].x;
    int low = 0, high = c->count - 1; /* the piece [low, low + 1] that holds x, or an end's */
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (p[middle].x <= x)
            low = middle;
        else
            high = middle;
    }
    const double slope = (p[low + 1].ms - p[low].ms) / (p[low + 1].x - p[low].x);
    const double ms = p[low].ms + (x - p[low].x) * slope;
    return ms > 0 ? ms : 0;
}

double profile_node_ms(const struct profile *p, int board, int node, int64_t rows) {
    const struct profile_board *b = &p->boards[board];
    const struct profile_type *t = &p->types[b->type];
    const int curve = t->curve_of[node];
    return curve < 0 ? 0 : b->scale * profile_curve_ms(&t->curves[curve], (double)rows);
}

double profile_chained_ms(const struct profile *p, int board, int node, int64_t rows) {
    const struct profile_board *b = &p->boards[board];
    const struct profile_type *t = &p->types[b->type];
    const int curve = t->chained_of != NULL ? t->chained_of[node] : -1;
    return curve < 0 ? profile_node_ms(p, board, node, rows)
                     : b->scale * profile_curve_ms(&t->curves[curve], (double)rows);
}

double profile_latency_ms(const struct profile_curve *c) {
    if (c->count < 2)
        return 0;
    const struct profile_point *p = c->points;
    const double ms = p[0].ms - p[0].x * (p[1].ms - p[0].ms) / (p[1].x - p[0].x);
    return ms > 0 ? (ms < p[0].ms ? ms : p[0].ms) : 0;
}

double profile_link_ms(const struct profile *p, int from, int to, double bytes) {
    const int curve = p->link_of[(size_t)from * (size_t)p->board_count + (size_t)to];
    return from == to || curve < 0 ? 0 : profile_curve_ms(&p->links[curve], bytes);
}

double profile_inference_ms(const struct profile *p, int board) {
    const struct profile_type *t = &p->types[p->boards[board].type];
    double ms = 0;
    for (int i = 0; i < p->node_count; i++)
        if (t->curve_of[i] >= 0) {
            const bool chained = t->chained_of != NULL && t->chained_of[i] >= 0;
            const struct profile_curve *c = &t->curves[chained ? t->chained_of[i] : t->curve_of[i]];
            ms += p->boards[board].scale * c->points[c->count - 1].ms;
        }
    return ms;
}
