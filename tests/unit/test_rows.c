/* Row arithmetic against brute force.
 *
 * Random networks are built of windows (kernel, stride, pads, dilation), transposed windows,
 * rational resampling, joins, broadcasts, global operators and operators with two outputs.  Each
 * network input is written down twice: as a rowmap, and as a function that lists the taps of one
 * output row.  The second is walked row by row and must give the same ranges as graph/rows.c. */
#include "base/mem.h"
#include "graph/op.h"
#include "graph/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct op_desc any_op = {.name = "Any", .domain = "test"};

/* ---- a random network ------------------------------------------------------------------------ */

enum tap_kind { TAP_WINDOW, TAP_TRANSPOSED, TAP_AFFINE, TAP_ALL };

struct taps { /* the taps of one input of one node, in ONNX's own terms */
    enum tap_kind kind;
    int64_t kernel, stride, pad, dilation; /* windows */
    struct rowmap map;                     /* TAP_AFFINE */
    int64_t in_height;
    int64_t out_height;
    bool one_image;
};

#define MAX_NODES  24
#define MAX_INPUTS 3

struct net {
    struct graph *g;
    struct taps taps[MAX_NODES][MAX_INPUTS];
    uint64_t seed;
    bool dilated; /* some window has gaps: taps are a subset of the range */
};

static int64_t pick(struct net *t, int64_t low, int64_t high) { /* inclusive */
    t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((t->seed >> 33) % (uint64_t)(high - low + 1));
}

static int add_value(struct net *t, int64_t images, int64_t height) {
    int id = -1;
    assert_int_equal(graph_add_value(t->g, "", &id, NULL), COHORT_OK);
    struct value *v = graph_value(t->g, id);
    v->type = DT_F32;
    v->form = FORM_MAP;
    v->shape = (struct shape){.rank = 4, .dim = {images, 1, height, 1}};
    return id;
}

static void add_node(struct net *t, const int *in, int in_count, const int *out, int out_count,
                     const struct rowmap *maps, const struct taps *taps) {
    struct node *n = NULL;
    assert_int_equal(
        graph_add_node(t->g, -1, "", &any_op, in, in_count, out, out_count, NULL, 0, &n, NULL),
        COHORT_OK);
    n->rowmap = mem_zalloc((size_t)in_count, sizeof *n->rowmap);
    assert_non_null(n->rowmap);
    for (int i = 0; i < in_count; i++) {
        n->rowmap[i] = maps[i];
        n->rowmap[i].in_height = taps[i].in_height;
        n->rowmap[i].out_height = taps[i].out_height;
        n->rowmap[i].one_image = taps[i].one_image;
        t->taps[t->g->node_count - 1][i] = taps[i];
    }
}

static int64_t images_of(const struct net *t, int id) {
    return graph_value(t->g, id)->shape.dim[0];
}
static int64_t height_of(const struct net *t, int id) {
    return graph_value(t->g, id)->shape.dim[2];
}

static void add_window(struct net *t, int from) {
    int64_t h = height_of(t, from);
    for (int tries = 0; tries < 20; tries++) {
        struct taps p = {.kind = TAP_WINDOW, .in_height = h};
        p.kernel = pick(t, 1, 5);
        p.stride = pick(t, 1, 4);
        p.dilation = pick(t, 0, 3) == 0 ? pick(t, 2, 3) : 1;
        p.pad = pick(t, 0, 6);
        int64_t covered = h + p.pad + pick(t, 0, 6) - ((p.kernel - 1) * p.dilation + 1);
        if (covered < 0)
            continue;
        p.out_height = covered / p.stride + 1;
        t->dilated = t->dilated || (p.dilation > 1 && p.kernel > 1);
        struct rowmap m = {.kind = ROWMAP_AFFINE,
                           .num = p.stride,
                           .den = 1,
                           .lo = -p.pad,
                           .hi = (p.kernel - 1) * p.dilation - p.pad};
        int out = add_value(t, images_of(t, from), p.out_height);
        add_node(t, &from, 1, &out, 1, &m, &p);
        return;
    }
}

static void add_transposed(struct net *t, int from) {
    int64_t h = height_of(t, from);
    struct taps p = {.kind = TAP_TRANSPOSED, .in_height = h, .dilation = 1};
    p.kernel = pick(t, 1, 5);
    p.stride = pick(t, 1, 4);
    int64_t full = (h - 1) * p.stride + p.kernel + pick(t, 0, p.stride - 1);
    p.pad = pick(t, 0, full - 1 < 3 ? full - 1 : 3);
    p.out_height = full - p.pad;
    struct rowmap m = {.kind = ROWMAP_AFFINE,
                       .num = 1,
                       .den = p.stride,
                       .lo = p.pad - (p.kernel - 1) + p.stride - 1,
                       .hi = p.pad};
    int out = add_value(t, images_of(t, from), p.out_height);
    add_node(t, &from, 1, &out, 1, &m, &p);
}

static void add_affine(struct net *t, int from) {
    struct taps p = {.kind = TAP_AFFINE, .in_height = height_of(t, from)};
    p.out_height = pick(t, 1, 30);
    int64_t lo = pick(t, -20, 20);
    p.map = (struct rowmap){.kind = ROWMAP_AFFINE,
                            .num = pick(t, 0, 5),
                            .den = pick(t, 1, 5),
                            .lo = lo,
                            .hi = lo + pick(t, 0, 15)};
    if (pick(t, 0, 1) == 0) { /* as resampling to out_height has it */
        p.map.num = p.in_height;
        p.map.den = p.out_height;
        p.map.lo = 0;
        p.map.hi = pick(t, 0, 1) * p.out_height;
    }
    int out = add_value(t, images_of(t, from), p.out_height);
    add_node(t, &from, 1, &out, 1, &p.map, &p);
}

static const struct rowmap identity = {.kind = ROWMAP_AFFINE, .num = 1, .den = 1};

static struct taps identity_taps(int64_t height) {
    return (struct taps){
        .kind = TAP_AFFINE, .map = identity, .in_height = height, .out_height = height};
}

/* Adds or concatenates: other values of the same rows, one image for all, or one row for all. */
static void add_join(struct net *t, int from) {
    int64_t images = images_of(t, from), h = height_of(t, from);
    int in[MAX_INPUTS] = {from};
    struct rowmap maps[MAX_INPUTS] = {identity};
    struct taps taps[MAX_INPUTS] = {identity_taps(h)};
    int count = 1;
    for (int id = 0; id < t->g->value_count && count < MAX_INPUTS; id++) {
        if (id == from || pick(t, 0, 2) == 0)
            continue;
        bool same_height = height_of(t, id) == h, row = height_of(t, id) == 1;
        bool same_images = images_of(t, id) == images, one = images_of(t, id) == 1;
        if ((!same_height && !row) || (!same_images && !one))
            continue;
        in[count] = id;
        maps[count] = same_height ? identity : (struct rowmap){.kind = ROWMAP_ALL};
        taps[count] =
            same_height ? identity_taps(h) : (struct taps){.kind = TAP_ALL, .in_height = 1};
        taps[count].out_height = h;
        taps[count++].one_image = !same_images;
    }
    int out = add_value(t, images, h);
    add_node(t, in, count, &out, 1, maps, taps);
}

static void add_global(struct net *t, int from) {
    struct taps p = {.kind = TAP_ALL, .in_height = height_of(t, from), .out_height = 1};
    struct rowmap m = {.kind = ROWMAP_ALL};
    int out = add_value(t, images_of(t, from), 1);
    add_node(t, &from, 1, &out, 1, &m, &p);
}

static void add_split(struct net *t, int from) {
    struct taps p = identity_taps(height_of(t, from));
    struct rowmap m = identity;
    int out[2] = {add_value(t, images_of(t, from), height_of(t, from)), -1};
    out[1] = add_value(t, images_of(t, from), height_of(t, from));
    add_node(t, &from, 1, out, 2, &m, &p);
}

static void make_net(struct net *t, uint64_t seed) {
    *t = (struct net){.seed = seed * 977 + 1};
    assert_int_equal(graph_create(&t->g, "random", NULL), COHORT_OK);
    int64_t images = pick(t, 1, 3);
    int input = add_value(t, images, pick(t, 1, 30));
    add_value(t, pick(t, 0, 1) ? 1 : images, height_of(t, input)); /* a second input */
    int nodes = (int)pick(t, 1, MAX_NODES);
    while (t->g->node_count < nodes) {
        int recent = t->g->value_count > 3 && pick(t, 0, 2) ? t->g->value_count - 3 : 0;
        int from = (int)pick(t, recent, t->g->value_count - 1);
        if (height_of(t, from) > 60)
            from = 0;
        switch (pick(t, 0, 9)) {
        case 0:
        case 1:
        case 2:
            add_window(t, from);
            break;
        case 3:
        case 4:
            add_transposed(t, from);
            break;
        case 5:
            add_affine(t, from);
            break;
        case 6:
        case 7:
            add_join(t, from);
            break;
        case 8:
            add_split(t, from);
            break;
        default:
            if (pick(t, 0, 3) == 0)
                add_global(t, from);
        }
    }
}

/* ---- brute force ----------------------------------------------------------------------------- */

static int64_t floor_of(int64_t a, int64_t b) {
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

/* Grows *r by global input row y of image n when it exists. */
static void touch(const struct taps *p, int64_t image, int64_t y, struct rows *r) {
    if (y < 0 || y >= p->in_height)
        return;
    int64_t row = (p->one_image ? 0 : image) * p->in_height + y;
    *r = rows_hull(*r, (struct rows){row, row + 1});
}

/* Every tap of output row `row`.  filled: the gaps of a dilated window count as read. */
static void touch_taps(const struct taps *p, int64_t row, bool filled, struct rows *r) {
    int64_t image = row / p->out_height, y = row % p->out_height;
    switch (p->kind) {
    case TAP_WINDOW: {
        int64_t step = filled ? 1 : p->dilation;
        for (int64_t k = 0; k <= (p->kernel - 1) * p->dilation; k += step)
            touch(p, image, y * p->stride - p->pad + k, r);
        break;
    }
    case TAP_TRANSPOSED: /* output row y gets input i through tap k when i*stride + k - pad = y */
        for (int64_t i = 0; i < p->in_height; i++)
            for (int64_t k = 0; k < p->kernel; k++)
                if (i * p->stride + k - p->pad == y)
                    touch(p, image, i, r);
        break;
    case TAP_AFFINE:
        for (int64_t i = floor_of(y * p->map.num + p->map.lo, p->map.den);
             i <= floor_of(y * p->map.num + p->map.hi, p->map.den); i++)
            touch(p, image, i, r);
        break;
    case TAP_ALL:
        for (int64_t i = 0; i < p->in_height; i++)
            touch(p, image, i, r);
        break;
    }
}

/* rows_of_segment(), one row and one tap at a time. */
static void brute_segment(const struct net *t, int first, int last, bool filled,
                          struct rows *need) {
    for (int i = last - 1; i >= first; i--) {
        const struct node *n = &t->g->nodes[i];
        struct rows out = {0, 0};
        for (int o = 0; o < n->out_count; o++)
            out = rows_hull(out, need[n->out[o]]);
        for (int o = 0; o < n->out_count; o++)
            if (!rows_empty(need[n->out[o]]))
                need[n->out[o]] = out;
        for (int k = 0; k < n->in_count; k++)
            for (int64_t y = out.begin; y < out.end; y++)
                touch_taps(&t->taps[i][k], y, filled, &need[n->in[k]]);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

#define MAX_VALUES (2 * MAX_NODES + 4)

static void check_segment(struct net *t, uint64_t seed) {
    const struct graph *g = t->g;
    struct rows got[MAX_VALUES] = {{0, 0}}, filled[MAX_VALUES], exact[MAX_VALUES];
    int first = (int)pick(t, 0, g->node_count - 1), last = (int)pick(t, first + 1, g->node_count);
    for (int i = first; i < last; i++)
        for (int o = 0; o < g->nodes[i].out_count; o++)
            if (i == last - 1 || pick(t, 0, 3) == 0) {
                int id = g->nodes[i].out[o];
                int64_t begin = pick(t, 0, value_rows(graph_value(g, id)));
                got[id] = (struct rows){begin, pick(t, begin, value_rows(graph_value(g, id)))};
                if (rows_empty(got[id]))
                    got[id] = (struct rows){0, 0};
            }
    memcpy(filled, got, sizeof got);
    memcpy(exact, got, sizeof got);
    rows_of_segment(g, first, last, got);
    brute_segment(t, first, last, true, filled);
    brute_segment(t, first, last, false, exact);
    for (int id = 0; id < g->value_count; id++) {
        if (got[id].begin != filled[id].begin || got[id].end != filled[id].end)
            fail_msg("seed %llu value %d: [%lld,%lld), brute force [%lld,%lld)",
                     (unsigned long long)seed, id, (long long)got[id].begin, (long long)got[id].end,
                     (long long)filled[id].begin, (long long)filled[id].end);
        if (!rows_empty(exact[id])) {
            assert_true(got[id].begin <= exact[id].begin);
            assert_true(got[id].end >= exact[id].end);
        }
        if (!t->dilated) {
            assert_int_equal(got[id].begin, exact[id].begin);
            assert_int_equal(got[id].end, exact[id].end);
        }
    }
}

static void test_random_networks(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct net t;
        make_net(&t, seed);
        for (int i = 0; i < 4; i++)
            check_segment(&t, seed);
        graph_destroy(&t.g);
    }
}

/* The rows of a segment are the hull over its consumers: wanting two things needs what each needs.
 */
static void test_union_over_consumers(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct net t;
        make_net(&t, seed);
        const struct graph *g = t.g;
        int a = g->nodes[g->node_count - 1].out[0];
        int b = g->nodes[pick(&t, 0, g->node_count - 1)].out[0];
        struct rows wa = {0, pick(&t, 1, value_rows(graph_value(g, a)))};
        struct rows wb = {pick(&t, 0, value_rows(graph_value(g, b)) - 1),
                          value_rows(graph_value(g, b))};
        struct rows na[MAX_VALUES] = {{0, 0}}, nb[MAX_VALUES] = {{0, 0}},
                    both[MAX_VALUES] = {{0, 0}};
        na[a] = wa;
        nb[b] = wb;
        both[a] = wa;
        both[b] = rows_hull(both[b], wb);
        rows_of_segment(g, 0, g->node_count, na);
        rows_of_segment(g, 0, g->node_count, nb);
        rows_of_segment(g, 0, g->node_count, both);
        for (int id = 0; id < g->value_count; id++) {
            struct rows hull = rows_hull(na[id], nb[id]);
            assert_true(rows_empty(hull) ||
                        (both[id].begin <= hull.begin && both[id].end >= hull.end));
        }
        /* Every node alone: input rows are the hull of what single output rows need. */
        for (int i = 0; i < g->node_count; i++) {
            const struct node *n = &g->nodes[i];
            int64_t rows = value_rows(graph_value(g, n->out[0]));
            for (int k = 0; k < n->in_count; k++) {
                struct rows sum = {0, 0};
                for (int64_t y = 0; y < rows; y++) {
                    sum = rows_hull(sum, rows_needed(n, k, (struct rows){y, y + 1}));
                    struct rows upto = rows_needed(n, k, (struct rows){0, y + 1});
                    assert_int_equal(upto.begin, sum.begin);
                    assert_int_equal(upto.end, sum.end);
                }
            }
        }
        graph_destroy(&t.g);
    }
}

static struct node one_input(struct rowmap *m) {
    return (struct node){.op = &any_op, .in_count = 1, .rowmap = m};
}

static void assert_rows(struct rows r, int64_t begin, int64_t end) {
    assert_int_equal(r.begin, begin);
    assert_int_equal(r.end, end);
}

static void test_by_hand(void **state) {
    (void)state;
    /* 3x3, pad 1, two images of 10 rows. */
    struct rowmap m = {ROWMAP_AFFINE, 1, 1, -1, 1, 10, 10, false};
    struct node n = one_input(&m);
    assert_rows(rows_needed(&n, 0, (struct rows){0, 1}), 0, 2);
    assert_rows(rows_needed(&n, 0, (struct rows){4, 6}), 3, 7);
    assert_rows(rows_needed(&n, 0, (struct rows){9, 10}), 8, 10);
    assert_rows(rows_needed(&n, 0, (struct rows){10, 11}), 10, 12);
    assert_rows(rows_needed(&n, 0, (struct rows){9, 11}), 8, 12);
    assert_rows(rows_needed(&n, 0, (struct rows){5, 5}), 0, 0);
    m.one_image = true;
    assert_rows(rows_needed(&n, 0, (struct rows){13, 14}), 2, 5);
    assert_rows(rows_needed(&n, 0, (struct rows){9, 11}), 0, 10);
    /* 1x1 with pad 2: rows 0 and 1 are all padding. */
    struct rowmap p = {ROWMAP_AFFINE, 1, 1, -2, -2, 9, 5, false};
    n.rowmap = &p;
    assert_rows(rows_needed(&n, 0, (struct rows){0, 2}), 0, 0);
    assert_rows(rows_needed(&n, 0, (struct rows){0, 3}), 0, 1);
    assert_rows(rows_needed(&n, 0, (struct rows){7, 9}), 0, 0);
    /* The end of one image and the beginning of the next, both in the padding: nothing is read. */
    assert_rows(rows_needed(&n, 0, (struct rows){7, 11}), 0, 0);
    assert_rows(rows_needed(&n, 0, (struct rows){7, 12}), 5, 6);
    /* Everything. */
    struct rowmap all = {ROWMAP_ALL, 0, 1, 0, 0, 1, 7, false};
    n.rowmap = &all;
    assert_rows(rows_needed(&n, 0, (struct rows){0, 1}), 0, 7);
    assert_rows(rows_needed(&n, 0, (struct rows){1, 3}), 7, 21);
    /* An operand that is left out or constant has no rows. */
    struct rowmap none = {0};
    n.rowmap = &none;
    assert_rows(rows_needed(&n, 0, (struct rows){0, 1}), 0, 0);
    assert_rows(rows_hull((struct rows){3, 3}, (struct rows){5, 2}), 0, 0);
    assert_rows(rows_intersect((struct rows){0, 4}, (struct rows){4, 9}), 0, 0);
    assert_rows(rows_intersect((struct rows){0, 6}, (struct rows){4, 9}), 4, 6);
}

/* Outputs whose rows do not correspond (a Split along the rows) are made as a whole. */
static void test_outputs_that_differ(void **state) {
    (void)state;
    struct net t = {.seed = 1};
    assert_int_equal(graph_create(&t.g, "split", NULL), COHORT_OK);
    int in = add_value(&t, 1, 10), out[2] = {add_value(&t, 1, 4), -1};
    out[1] = add_value(&t, 1, 6);
    struct rowmap m = {.kind = ROWMAP_ALL};
    struct taps p = {.kind = TAP_ALL, .in_height = 10, .out_height = 4};
    add_node(&t, &in, 1, out, 2, &m, &p);
    struct rows need[3] = {{0, 0}};
    need[out[1]] = (struct rows){5, 6};
    rows_of_segment(t.g, 0, 1, need);
    assert_rows(need[in], 0, 10);
    assert_rows(need[out[0]], 0, 0);
    assert_rows(need[out[1]], 0, 6);
    graph_destroy(&t.g);
}

static void test_borders(void **state) {
    (void)state;
    struct net t = {.seed = 1};
    assert_int_equal(graph_create(&t.g, "borders", NULL), COHORT_OK);
    int x = add_value(&t, 1, 8), a = add_value(&t, 1, 8), b = add_value(&t, 1, 8),
        c = add_value(&t, 1, 8), d = add_value(&t, 1, 8), w = add_value(&t, 1, 8);
    graph_value(t.g, w)->is_constant = true;
    struct rowmap maps[2] = {identity, identity};
    struct taps taps[2] = {identity_taps(8), identity_taps(8)};
    add_node(&t, (int[]){x, w}, 2, &a, 1, maps, taps);
    add_node(&t, &a, 1, &b, 1, maps, taps);
    add_node(&t, (int[]){b, x}, 2, &c, 1, maps, taps);
    add_node(&t, (int[]){c, a}, 2, &d, 1, maps, taps);
    t.g->outputs = mem_alloc(2 * sizeof(int));
    assert_non_null(t.g->outputs);
    t.g->outputs[0] = d;
    t.g->outputs[1] = b;
    t.g->output_count = 2;
    graph_relink(t.g);
    static const struct {
        int first, last, in_count, in[3], out_count, out[3];
    } cases[] = {
        {0, 4, 1, {0}, 2, {2, 4}}, {0, 1, 1, {0}, 1, {1}},    {1, 3, 2, {1, 0}, 2, {2, 3}},
        {2, 3, 2, {2, 0}, 1, {3}}, {3, 4, 2, {3, 1}, 1, {4}}, {0, 2, 1, {0}, 2, {1, 2}},
        {2, 2, 0, {0}, 0, {0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int *ids = NULL, count = -1;
        assert_int_equal(segment_inputs(t.g, cases[i].first, cases[i].last, &ids, &count, NULL),
                         COHORT_OK);
        assert_int_equal(count, cases[i].in_count);
        assert_memory_equal(ids, cases[i].in, (size_t)count * sizeof *ids);
        mem_free(ids);
        assert_int_equal(segment_outputs(t.g, cases[i].first, cases[i].last, &ids, &count, NULL),
                         COHORT_OK);
        assert_int_equal(count, cases[i].out_count);
        assert_memory_equal(ids, cases[i].out, (size_t)count * sizeof *ids);
        mem_free(ids);
    }
    for (long nth = 1; nth <= 3; nth++) { /* memory short: an error, nothing leaked */
        int *ids = NULL, count = -1;
        long live = mem_live_blocks();
        mem_fail_at(nth);
        enum cohort_code code = segment_outputs(t.g, 0, 4, &ids, &count, NULL);
        mem_fail_at(0);
        assert_int_equal(code, COHORT_ERR_MEMORY);
        assert_int_equal(mem_live_blocks(), live);
    }
    graph_destroy(&t.g);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_random_networks),
        cmocka_unit_test(test_union_over_consumers),
        cmocka_unit_test(test_outputs_that_differ),
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
