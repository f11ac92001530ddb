/* Made-up profiles; see synthetic.h. */
#include "planner/synthetic.h"

#include "base/mem.h"
#include "graph/op.h"

#include <string.h>

#define BYTES_PER_FLOP 0.1 /* memory's rate beside arithmetic's: 10 GB/s at 100 GFLOP/s */
#define DIGITS_MAX     9
#define NAME_MAX_BYTES 40

struct group { /* "4xfast:100" */
    int count;
    char name[NAME_MAX_BYTES + 1];
    double gflops;
};

struct request {
    struct group *groups;
    size_t capacity;
    int count, boards;
    double mbit, latency_ms;
    bool link;
};

static enum cohort_code bad(const char *part, size_t length, const char *expected,
                            struct cohort_error *err) {
    return error_set(err, COHORT_ERR_USAGE, "--synthetic: '%.*s' is not %s",
                     (int)(length < 60 ? length : 60), part, expected);
}

/* Digits with a point between; the same in every locale.  Returns what follows, or NULL. */
static const char *read_number(const char *text, const char *end, double *value) {
    double v = 0, unit = 1;
    int digits = 0;
    for (; text < end && *text >= '0' && *text <= '9'; text++, digits++)
        v = v * 10 + (*text - '0');
    if (text < end && *text == '.')
        for (text++; text < end && *text >= '0' && *text <= '9'; text++, digits++) {
            v = v * 10 + (*text - '0');
            unit *= 10;
        }
    *value = v / unit;
    return digits > 0 && digits <= DIGITS_MAX ? text : NULL;
}

struct unit {
    const char *name;
    double factor;
};

/* "100Mbit": a number above 0 with one of the units behind it. */
static bool read_quantity(const char *text, const char *end, const struct unit *units, size_t count,
                          double *value) {
    const char *rest = read_number(text, end, value);
    for (size_t i = 0; rest != NULL && i < count; i++)
        if (strlen(units[i].name) == (size_t)(end - rest) &&
            strncmp(units[i].name, rest, (size_t)(end - rest)) == 0) {
            *value *= units[i].factor;
            return true;
        }
    return false;
}

/* ---- the text ------------------------------------------------------------------------------- */

static enum cohort_code read_link(struct request *r, const char *part, const char *end,
                                  struct cohort_error *err) {
    static const struct unit rates[] = {{"kbit", 1e-3}, {"Mbit", 1}, {"Gbit", 1e3}};
    static const struct unit times[] = {{"us", 1e-3}, {"ms", 1}, {"s", 1e3}};
    const size_t length = (size_t)(end - part);
    const char *rate = part + strlen("link:");
    const char *colon = memchr(rate, ':', (size_t)(end - rate));
    if (r->link)
        return error_set(err, COHORT_ERR_USAGE, "--synthetic: link is given twice");
    if (!read_quantity(rate, colon != NULL ? colon : end, rates, 3, &r->mbit) || !(r->mbit > 0))
        return bad(part, length, "link:RATE:LATENCY, as in link:100Mbit:0.3ms (kbit, Mbit, Gbit)",
                   err);
    r->latency_ms = 0;
    if (colon != NULL && !read_quantity(colon + 1, end, times, 3, &r->latency_ms))
        return bad(part, length, "link:RATE:LATENCY, as in link:100Mbit:0.3ms (us, ms, s)", err);
    r->link = true;
    return COHORT_OK;
}

static enum cohort_code read_boards(struct request *r, const char *part, const char *end,
                                    struct cohort_error *err) {
    static const char form[] = "COUNTxNAME:GFLOPS, as in 4xfast:100 (GFLOP/s above 0)";
    const size_t length = (size_t)(end - part);
    struct group g = {.count = 1};
    const char *name = part, *times = part;
    int64_t count = 0;
    for (; times < end && *times >= '0' && *times <= '9'; times++)
        count = count <= SYNTHETIC_BOARDS_MAX ? count * 10 + (*times - '0') : count;
    if (times > part && times < end && *times == 'x') {
        name = times + 1;
        if (count < 1 || count > SYNTHETIC_BOARDS_MAX)
            return error_set(err, COHORT_ERR_USAGE, "--synthetic: '%.*s': 1 to %d boards",
                             (int)(length < 60 ? length : 60), part, SYNTHETIC_BOARDS_MAX);
        g.count = (int)count;
    }
    const char *colon = memchr(name, ':', (size_t)(end - name));
    if (colon == NULL || colon == name || colon - name > NAME_MAX_BYTES)
        return bad(part, length, form, err);
    memcpy(g.name, name, (size_t)(colon - name));
    const char *rest = read_number(colon + 1, end, &g.gflops);
    if (rest != end || !(g.gflops > 0))
        return bad(part, length, form, err);
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->groups[i].name, g.name) == 0)
            return error_set(err, COHORT_ERR_USAGE, "--synthetic: '%s' is given twice", g.name);
    if (r->boards + g.count > SYNTHETIC_BOARDS_MAX)
        return error_set(err, COHORT_ERR_USAGE, "--synthetic: %d boards (at most %d)",
                         r->boards + g.count, SYNTHETIC_BOARDS_MAX);
    if (!MEM_GROW(r->groups, r->capacity, (size_t)r->count))
        return error_memory(err, sizeof g, "a made-up profile");
    r->groups[r->count++] = g;
    r->boards += g.count;
    return COHORT_OK;
}

static enum cohort_code read_request(struct request *r, const char *text,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (const char *part = text + strspn(text, " "); *part != '\0'; part += strspn(part, " ")) {
        const char *end = part + strcspn(part, " ");
        if (strncmp(part, "link:", 5) == 0)
            TRY(read_link(r, part, end, err));
        else
            TRY(read_boards(r, part, end, err));
        part = end;
    }
    if (r->boards == 0)
        return error_set(err, COHORT_ERR_USAGE,
                         "--synthetic: no boards: 4xfast:100 2xslow:40 link:100Mbit:0.3ms is four "
                         "of 100 GFLOP/s and two of 40");
    if (!r->link && r->boards > 1)
        return error_set(err, COHORT_ERR_USAGE,
                         "--synthetic: no link for %d boards: add one, as in link:100Mbit:0.3ms",
                         r->boards);
out:
    return code;
}

/* ---- the profile ---------------------------------------------------------------------------- */

/* Bytes of activations that a node reads and writes, and of its constants. */
static void node_bytes(const struct graph *g, const struct node *n, double *moving,
                       double *constant) {
    *moving = *constant = 0;
    for (int i = 0; i < n->in_count; i++) {
        const struct value *v = node_in(g, n, i);
        if (v == NULL || !shape_known(&v->shape))
            continue;
        const double bytes = (double)shape_count(&v->shape) * (double)dtype_bytes(v->type);
        *(v->is_constant ? constant : moving) += bytes;
    }
    for (int i = 0; i < n->out_count; i++) {
        const struct value *v = node_out(g, n, i);
        if (v != NULL && shape_known(&v->shape))
            *moving += (double)shape_count(&v->shape) * (double)dtype_bytes(v->type);
    }
}

static int64_t rows_of(const struct graph *g, const struct node *n) {
    for (int i = 0; i < n->out_count; i++) {
        const struct value *v = node_out(g, n, i);
        if (v != NULL)
            return shape_known(&v->shape) ? value_rows(v) : 1;
    }
    return 1;
}

static bool fill_curve(struct profile_curve *c, const struct graph *g, int node, double gflops) {
    const struct node *n = &g->nodes[node];
    const int64_t rows = rows_of(g, n);
    double moving, constant;
    node_bytes(g, n, &moving, &constant);
    c->count = rows > 1 ? 2 : 1;
    c->points = mem_zalloc(2, sizeof *c->points);
    if (c->points == NULL)
        return false;
    for (int i = 0; i < c->count; i++) {
        const double x = i == 0 ? 1 : (double)rows;
        const double share = rows > 0 ? x / (double)rows : 1;
        const double arithmetic = node_flops(g, n) * share / gflops;
        const double memory = (moving * share + constant) / (gflops * BYTES_PER_FLOP);
        c->points[i] = (struct profile_point){
            .x = x, .ms = 1e-6 * (arithmetic > memory ? arithmetic : memory)};
    }
    return true;
}

static bool fill_type(struct profile_type *t, const struct graph *g, const struct group *from) {
    t->cpu = mem_printf("made up: %s, %g GFLOP/s", from->name, from->gflops);
    t->isa = mem_strdup("synthetic");
    t->kernels = mem_strdup("synthetic");
    t->threads = 1;
    t->cpu_share = 1;
    t->encode_ms_per_mb = t->decode_ms_per_mb = 1 / (from->gflops * BYTES_PER_FLOP);
    t->curves = mem_zalloc((size_t)g->node_count + 1, sizeof *t->curves);
    t->curve_of = mem_zalloc((size_t)g->node_count + 1, sizeof *t->curve_of);
    if (t->cpu == NULL || t->isa == NULL || t->kernels == NULL || t->curves == NULL ||
        t->curve_of == NULL)
        return false;
    t->curve_count = g->node_count;
    for (int k = 0; k < g->node_count; k++) {
        t->curve_of[k] = k;
        if (!fill_curve(&t->curves[k], g, k, from->gflops))
            return false;
    }
    return true;
}

static bool fill_links(struct profile *p, const struct request *r) {
    const size_t boards = (size_t)r->boards;
    p->link_of = mem_zalloc(boards * boards, sizeof *p->link_of);
    p->links = mem_zalloc(1, sizeof *p->links);
    if (p->link_of == NULL || p->links == NULL)
        return false;
    for (size_t b = 0; b < boards; b++)
        p->link_of[b * boards + b] = -1;
    p->link_count = r->link;
    if (!r->link)
        return true;
    p->links->points = mem_zalloc(2, sizeof *p->links->points);
    if (p->links->points == NULL)
        return false;
    p->links->count = 2;
    for (int i = 0; i < 2; i++) {
        const double bytes = i == 0 ? 1 : 1e6;
        p->links->points[i] = (struct profile_point){bytes, r->latency_ms + bytes * 8e-3 / r->mbit};
    }
    return true;
}

static bool fill_boards(struct profile *p, const struct request *r) {
    p->types = mem_zalloc((size_t)r->count, sizeof *p->types);
    p->boards = mem_zalloc((size_t)r->boards, sizeof *p->boards);
    if (p->types == NULL || p->boards == NULL)
        return false;
    p->type_count = r->count;
    for (int t = 0; t < r->count; t++)
        for (int i = 0; i < r->groups[t].count; i++) {
            struct profile_board *b = &p->boards[p->board_count++];
            *b = (struct profile_board){.type = t, .scale = 1};
            b->host = r->groups[t].count > 1 ? mem_printf("%s%d", r->groups[t].name, i + 1)
                                             : mem_strdup(r->groups[t].name);
            if (b->host == NULL)
                return false;
        }
    return true;
}

enum cohort_code profile_synthetic(struct profile **out, const struct graph *g, const char *text,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct request r = {0};
    struct profile *p = NULL;
    TRY(read_request(&r, text, err));
    p = mem_zalloc(1, sizeof *p);
    if (p == NULL) {
        code = error_memory(err, sizeof *p, "a made-up profile");
        goto out;
    }
    p->scatter_factor = p->gather_factor = 1;
    p->node_count = g->node_count;
    p->network = mem_strdup(g->name);
    p->version = mem_strdup("synthetic");
    bool ok = p->network != NULL && p->version != NULL && fill_boards(p, &r) && fill_links(p, &r);
    for (int t = 0; ok && t < r.count; t++)
        ok = fill_type(&p->types[t], g, &r.groups[t]);
    if (!ok) {
        code = error_memory(err, (size_t)r.boards * (size_t)r.boards * sizeof(int),
                            "a made-up profile");
        goto out;
    }
    TRY(graph_signature(g, p->signature, err));
    *out = p;
    p = NULL;
out:
    mem_free(r.groups);
    profile_destroy(&p);
    return code;
}
