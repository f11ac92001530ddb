/* Random cases for planning; see plancase.h. */
#include "tests/support/plancase.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

int case_draw(uint64_t *seed, int n) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((*seed >> 33) % (uint64_t)n);
}

double case_range(uint64_t *seed, double a, double b) {
    return a + (b - a) * case_draw(seed, 1 << 20) / (double)(1 << 20);
}

/* ---- networks ------------------------------------------------------------------------------- */

static int64_t height_of(const struct graph *g, int id) {
    return value_geometry(graph_value(g, id)).height;
}

/* One operator behind `in`; keeps at least three rows. */
static int add_one(struct graph *g, uint64_t *seed, int in, int number) {
    char name[16];
    const int channels = 2 + case_draw(seed, 6);
    snprintf(name, sizeof name, "v%d", number);
    switch (case_draw(seed, 6)) {
    case 0:
        return height_of(g, in) >= 6 ? toy_window(g, "MaxPool", name, in, channels, 2, 2, 0)
                                     : toy_relu(g, name, in);
    case 1:
        return toy_relu(g, name, in);
    case 2:
        return toy_window(g, "Conv", name, in, channels, 1, 1, 0);
    case 3:
        return height_of(g, in) >= 6 ? toy_window(g, "Conv", name, in, channels, 5, 1, 2)
                                     : toy_window(g, "Conv", name, in, channels, 3, 1, 1);
    default:
        return toy_window(g, "Conv", name, in, channels, 3, 1, 1);
    }
}

struct graph *case_chain(uint64_t *seed, int nodes, int height, bool tail) {
    struct graph *g = toy_create("chain");
    int x = toy_input(g, "x", 3, height);
    for (int i = 0; i < nodes; i++)
        x = add_one(g, seed, x, i);
    toy_output(g, tail ? toy_dense(g, "dense", x, 10) : x);
    return g;
}

struct graph *case_skips(uint64_t *seed, int nodes, int height) {
    struct graph *g = toy_create("skips");
    int x = toy_input(g, "x", 3, height), number = 0;
    while (number < nodes) {
        int y = x;
        char name[16];
        for (int n = 1 + case_draw(seed, 3); n > 0; n--)
            y = add_one(g, seed, y, number++);
        if (height_of(g, y) == height_of(g, x) && y != x) {
            snprintf(name, sizeof name, "add%d", number++);
            y = toy_add(g, name, y, x);
        }
        x = y;
    }
    toy_output(g, x);
    return g;
}

struct graph *case_gates(uint64_t *seed, int nodes, int height) {
    struct graph *g = toy_create("gates");
    int x = toy_input(g, "x", 3, height), number = 0;
    while (number < nodes) {
        char name[16];
        int y = add_one(g, seed, x, number++);
        snprintf(name, sizeof name, "rows%d", number++);
        int pixel = toy_rows(g, name, y);
        snprintf(name, sizeof name, "pool%d", number++);
        pixel = toy_global(g, name, pixel);
        snprintf(name, sizeof name, "gate%d", number++);
        y = toy_gate(g, name, y, pixel);
        if (height_of(g, y) == height_of(g, x)) { /* three tensors went on within the block */
            snprintf(name, sizeof name, "add%d", number++);
            y = toy_add(g, name, y, x);
        }
        x = y;
    }
    toy_output(g, x);
    return g;
}

struct graph *case_any(uint64_t *seed, int nodes, int height) {
    struct graph *g = toy_create("any");
    int open[40], count = 0, pixel = -1;
    open[count++] = toy_input(g, "x", 4, height);
    for (int i = 0; i < nodes && count < 38; i++) {
        char name[16];
        const int in = open[case_draw(seed, count)];
        snprintf(name, sizeof name, "n%d", i);
        switch (case_draw(seed, 8)) {
        case 0:
            pixel = in;
            if (i % 2 == 0 && height_of(g, in) > 1) {
                char rows[16];
                snprintf(rows, sizeof rows, "rows%d", i);
                pixel = toy_rows(g, rows, in);
            }
            pixel = toy_global(g, name, pixel);
            snprintf(name, sizeof name, "gate%d", i);
            open[count++] = toy_gate(g, name, in, pixel);
            break;
        case 1:
            for (int k = 0; k < count - 1; k++)
                if (open[k] != in && height_of(g, open[k]) == height_of(g, in)) {
                    open[count++] = toy_add(g, name, in, open[k]);
                    break;
                }
            break;
        case 2: {
            int two[2];
            char other[20];
            snprintf(other, sizeof other, "other%d", i);
            toy_split(g, name, other, in, two);
            open[count++] = two[0];
            open[count++] = two[1];
            break;
        }
        default:
            open[count] = add_one(g, seed, open[count - 1], 100 + i);
            count++;
        }
    }
    for (int k = 1; k < count; k++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", k);
        if (graph_value(g, open[k])->uses == 0)
            toy_output(g, k % 3 == 0 ? toy_dense(g, name, open[k], 5) : open[k]);
    }
    return g;
}

struct graph *case_weighted(uint64_t *seed, int nodes, int height, int tail) {
    struct graph *g = toy_create("weighted");
    int x = toy_input(g, "x", 16, height), before = x;
    for (int i = 0; i < nodes; i++) {
        char name[16];
        const int channels = 16 + 16 * case_draw(seed, 4), kind = case_draw(seed, 8);
        const int have = (int)graph_value(g, x)->shape.dim[1];
        snprintf(name, sizeof name, "v%d", i);
        const int next = kind == 0 ? toy_relu(g, name, x)
                         : kind == 1 && height_of(g, x) >= 6
                             ? toy_window(g, "MaxPool", name, x, have, 2, 2, 0)
                         : kind == 2 && height_of(g, before) == height_of(g, x) &&
                                 graph_value(g, before)->shape.dim[1] == have && before != x
                             ? toy_add(g, name, x, before)
                             : toy_conv(g, name, x, channels, 1 + 2 * case_draw(seed, 2));
        before = x;
        x = next;
    }
    for (int i = 0; i < tail; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        x = toy_product(g, name, x, 16 + 16 * case_draw(seed, 4));
    }
    toy_output(g, x);
    return g;
}

/* ---- clusters ------------------------------------------------------------------------------- */

/* Rising, with a bend in the middle. */
static void fill_curve(struct profile_curve *c, double whole_x, double whole_ms, uint64_t *seed) {
    c->count = whole_x > 2 ? 3 : 2;
    c->points = mem_zalloc(3, sizeof *c->points);
    assert_non_null(c->points);
    const double base = whole_ms * case_range(seed, 0, 0.1);
    const double bend = case_range(seed, 0.8, 1.2);
    c->points[0] = (struct profile_point){1, base + (whole_ms - base) / whole_x * bend};
    if (c->count == 3)
        c->points[1] = (struct profile_point){whole_x / 2, base + (whole_ms - base) / 2 * bend};
    c->points[c->count - 1] = (struct profile_point){whole_x, whole_ms * (bend > 1 ? bend : 1)};
}

static void fill_types(struct profile *p, const struct graph *g, uint64_t *seed) {
    p->type_count = 1 + case_draw(seed, 3);
    p->types = mem_zalloc((size_t)p->type_count, sizeof *p->types);
    assert_non_null(p->types);
    for (int t = 0; t < p->type_count; t++) {
        struct profile_type *type = &p->types[t];
        const double slow = t == 0 ? 1 : case_range(seed, 0.4, 4);
        type->threads = 1;
        type->cpu_share = 1;
        type->encode_ms_per_mb = type->decode_ms_per_mb = slow;
        type->curve_count = 2 * g->node_count;
        type->curves = mem_zalloc(2 * (size_t)g->node_count, sizeof *type->curves);
        type->curve_of = mem_zalloc((size_t)g->node_count, sizeof *type->curve_of);
        type->chained_of = mem_zalloc((size_t)g->node_count, sizeof *type->chained_of);
        assert_true(type->curves != NULL && type->curve_of != NULL && type->chained_of != NULL);
        type->cpu = mem_strdup("made up");
        type->isa = mem_strdup("generic");
        type->kernels = mem_strdup("none");
        assert_true(type->cpu != NULL && type->isa != NULL && type->kernels != NULL);
        for (int k = 0; k < g->node_count; k++) {
            const int id = g->nodes[k].out[0];
            type->curve_of[k] = case_draw(seed, 20) == 0 ? -1 : k;
            const double ms = slow * case_range(seed, 0.3, 2);
            const double rows = (double)value_rows(graph_value(g, id));
            fill_curve(&type->curves[k], rows, ms, seed);
            type->chained_of[k] = case_draw(seed, 3) > 0 ? -1 : g->node_count + k;
            fill_curve(&type->curves[g->node_count + k], rows, ms * case_range(seed, 0.4, 1.1),
                       seed);
        }
    }
}

static void fill_links(struct profile *p, const struct graph *g, double link_ms, uint64_t *seed) {
    const int n = p->board_count;
    const struct geometry in = value_geometry(graph_value(g, g->inputs[0]));
    const double bytes = (double)in.height * (double)in.row_bytes;
    p->link_count = 3;
    p->links = mem_zalloc(3, sizeof *p->links);
    p->link_of = mem_zalloc((size_t)n * (size_t)n, sizeof *p->link_of);
    assert_true(p->links != NULL && p->link_of != NULL);
    for (int i = 0; i < 3; i++) {
        const double ms = link_ms * case_range(seed, 0.5, 2),
                     latency = ms * case_range(seed, 0, 0.1);
        p->links[i].count = 2;
        p->links[i].points = mem_zalloc(2, sizeof(struct profile_point));
        assert_non_null(p->links[i].points);
        p->links[i].points[0] = (struct profile_point){bytes / 16, latency + ms / 16};
        p->links[i].points[1] = (struct profile_point){bytes, latency + ms};
    }
    for (int i = 0; i < n * n; i++)
        p->link_of[i] = i % (n + 1) == 0 ? -1 : case_draw(seed, 3);
}

struct profile *case_profile(const struct graph *g, int boards, double link_ms, uint64_t *seed) {
    struct profile *p = mem_zalloc(1, sizeof *p);
    assert_non_null(p);
    p->network = mem_strdup(g->name);
    p->version = mem_strdup("0");
    p->node_count = g->node_count;
    assert_int_equal(graph_signature(g, p->signature, NULL), COHORT_OK);
    fill_types(p, g, seed);
    p->board_count = boards;
    p->boards = mem_zalloc((size_t)boards, sizeof *p->boards);
    assert_true(p->boards != NULL && p->network != NULL && p->version != NULL);
    for (int b = 0; b < boards; b++) {
        p->boards[b].type = case_draw(seed, p->type_count);
        p->boards[b].scale = case_draw(seed, 4) == 0 ? case_range(seed, 0.9, 1.3) : 1;
        p->boards[b].host = mem_printf("board%d", b);
        assert_non_null(p->boards[b].host);
    }
    fill_links(p, g, link_ms, seed);
    p->scatter_factor = case_range(seed, 1, 1.2);
    p->gather_factor = case_range(seed, 1, 1.2);
    p->wake_ms = case_draw(seed, 2) == 0 ? 0 : link_ms * case_range(seed, 0, 0.1);
    return p;
}

struct cost_model *case_model(const struct graph *g, const struct profile *p,
                              struct cost_options o) {
    struct cohort_error err = {0};
    struct cost_model *m = NULL;
    if (cost_create(&m, g, p, &o, &err) != COHORT_OK)
        fail_msg("%s", err.message);
    return m;
}

void case_short_memory(const struct graph *g, const struct profile *p, const char *strategy,
                       const struct planner_options *o, long each) {
    enum cohort_code code = COHORT_ERR_MEMORY;
    for (long n = 1; code != COHORT_OK; n += n < each ? 1 : 1 + n / 100) {
        struct cost_model *m = NULL;
        struct planned planned = {0};
        struct cohort_error err = {0};
        const long before = mem_live_blocks();
        mem_fail_at(n);
        code = cost_create(&m, g, p, &o->cost, &err);
        if (code == COHORT_OK)
            code = planner_make(&planned, m, strategy, o, &err);
        mem_fail_at(0);
        planned_release(&planned);
        cost_destroy(&m);
        assert_int_equal(mem_live_blocks(), before);
        if (code != COHORT_OK)
            assert_int_equal(code, COHORT_ERR_MEMORY);
    }
}
