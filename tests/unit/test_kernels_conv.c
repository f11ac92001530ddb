/* Every convolution and transposed convolution kernel of the registry, over many shapes.
 *
 * Against a naive sum in double, with the tolerance that follows from float arithmetic:
 * (k + 2) * FLT_EPSILON * sum |a*b|; Winograd's sums are those of its transform
 * (magnitude_of_tiles), and float16 has its own (tests/support/fp16plain.h). Row and block ranges
 * must have the whole's bits (row-exact kernels), write nothing else, and read nothing outside the
 * rows they are given; and a board's caches must not matter to them. */
#include "base/mem.h"
#include "kernels/kernel.h"
#include "kernels/winograd.h"
#include "tests/support/fp16plain.h"
#include "tests/support/testact.h"
#include "tests/support/testmap.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- one case -------------------------------------------------------------------------------- */

struct conv_case {
    struct conv_shape s;
    bool transposed;
    float *weights, *bias;    /* ONNX order; bias [blocks*16] */
    struct test_map in;       /* all rows */
    struct test_map residual; /* all rows of the output */
    struct kernel_epilogue e;
    double *sum, *magnitude; /* [out_h][out_w][out_c] */
    double *tiled;           /* the same for the Winograd tile at hand */
    const float *factors;    /* of input channels, for kernels that take them; or NULL */
};

static char *describe(const struct conv_shape *s) {
    static char text[256];
    snprintf(text, sizeof text,
             "%dx%dx%d -> %dx%dx%d groups %d kernel %dx%d stride %d,%d pad %d,%d dilation %d,%d",
             s->in_c, s->in_h, s->in_w, s->out_c, s->out_h, s->out_w, s->groups, s->kernel_h,
             s->kernel_w, s->stride_h, s->stride_w, s->pad_top, s->pad_left, s->dilation_h,
             s->dilation_w);
    return text;
}

static int blocks_of(int channels) {
    return (channels + BLOCK - 1) / BLOCK;
}

static size_t out_index(const struct conv_shape *s, int y, int x, int c) {
    return ((size_t)y * (size_t)s->out_w + (size_t)x) * (size_t)s->out_c + (size_t)c;
}

static void add_product(struct conv_case *t, int oy, int ox, int oc, int iy, int ix, int ic,
                        size_t weight) {
    double p = (double)test_map_at(&t->in, iy, ic, ix) * t->weights[weight];
    size_t i = out_index(&t->s, oy, ox, oc);
    t->sum[i] += p;
    t->magnitude[i] += fabs(p);
}

/* Scatters every input times every weight: the same sums for both directions, seen from the tap. */
static void reference(struct conv_case *t) {
    const struct conv_shape *s = &t->s;
    int icg = s->in_c / s->groups, ocg = s->out_c / s->groups;
    for (int oy = 0; oy < s->out_h; oy++)
        for (int ox = 0; ox < s->out_w; ox++)
            for (int oc = 0; oc < s->out_c; oc++) {
                t->sum[out_index(s, oy, ox, oc)] = t->bias[oc];
                t->magnitude[out_index(s, oy, ox, oc)] = fabs((double)t->bias[oc]);
            }
    for (int ky = 0; ky < s->kernel_h; ky++)
        for (int kx = 0; kx < s->kernel_w; kx++)
            for (int ay = 0; ay < (t->transposed ? s->in_h : s->out_h); ay++)
                for (int ax = 0; ax < (t->transposed ? s->in_w : s->out_w); ax++) {
                    int by = ay * s->stride_h - s->pad_top + ky * s->dilation_h;
                    int bx = ax * s->stride_w - s->pad_left + kx * s->dilation_w;
                    if (by < 0 || bx < 0 || by >= (t->transposed ? s->out_h : s->in_h) ||
                        bx >= (t->transposed ? s->out_w : s->in_w))
                        continue;
                    for (int oc = 0; oc < s->out_c; oc++) {
                        int g = oc / ocg;
                        for (int c = 0; c < icg; c++) {
                            size_t tap = (size_t)(ky * s->kernel_w + kx);
                            size_t taps = (size_t)(s->kernel_h * s->kernel_w);
                            size_t w = t->transposed ? (size_t)(g * icg + c) * (size_t)ocg +
                                                           (size_t)(oc % ocg)
                                                     : (size_t)oc * (size_t)icg + (size_t)c;
                            if (t->transposed)
                                add_product(t, by, bx, oc, ay, ax, g * icg + c, w * taps + tap);
                            else
                                add_product(t, ay, ax, oc, by, bx, g * icg + c, w * taps + tap);
                        }
                    }
                }
}

static void *must(void *p) {
    if (!p) {
        fprintf(stderr, "out of memory in a test\n");
        abort();
    }
    return p;
}

static void case_make(struct conv_case *t, const struct conv_shape *s, bool transposed,
                      struct random *r) {
    size_t outs = (size_t)s->out_h * (size_t)s->out_w * (size_t)s->out_c;
    size_t weights = (size_t)s->out_c * (size_t)(s->in_c / s->groups) * (size_t)s->kernel_h *
                     (size_t)s->kernel_w;
    *t = (struct conv_case){.s = *s, .transposed = transposed};
    t->weights = must(mem_alloc(weights * sizeof(float)));
    t->bias = must(mem_zalloc((size_t)blocks_of(s->out_c) * BLOCK, sizeof(float)));
    t->sum = must(mem_alloc(outs * sizeof(double)));
    t->magnitude = must(mem_alloc(outs * sizeof(double)));
    t->tiled = must(mem_alloc(outs * sizeof(double)));
    for (size_t i = 0; i < weights; i++)
        t->weights[i] = random_float(r);
    for (int c = 0; c < s->out_c; c++)
        t->bias[c] = random_float(r);
    t->in = test_map_make(0, s->in_h, s->in_c, s->in_w, random_int(r, 0, 1) * 16);
    test_map_fill(&t->in, r, 0, s->in_h);
    t->residual = test_map_make(0, s->out_h, s->out_c, s->out_w, random_int(r, 0, 1) * 32);
    test_map_fill(&t->residual, r, 0, s->out_h);
    t->e.act = (enum kernel_act)random_int(r, KACT_NONE, KACT_COUNT - 1);
    t->e.a = t->e.act == KACT_CLIP ? -0.5f : 0.2f;
    t->e.b = t->e.act == KACT_CLIP ? 6.0f : 0.5f;
    if (random_int(r, 0, 1))
        t->e.residual = &t->residual.view;
    t->e.residual_last = random_int(r, 0, 1);
    reference(t);
}

static void case_free(struct conv_case *t) {
    mem_free(t->weights);
    mem_free(t->bias);
    mem_free(t->sum);
    mem_free(t->magnitude);
    mem_free(t->tiled);
    test_map_free(&t->in);
    test_map_free(&t->residual);
}

/* ---- Winograd's error ------------------------------------------------------------------------ */

/* |BT| |d| of one tile: input row iy, channel c, from pixel x on; zero outside the image. */
static void tile_inputs(const struct conv_case *t, const struct winograd_matrices *m, int iy, int c,
                        int x, double *v) {
    for (int p = 0; p < m->points; p++) {
        v[p] = 0;
        for (int i = 0; i < m->points; i++)
            if (iy >= 0 && iy < t->s.in_h && x + i >= 0 && x + i < t->s.in_w)
                v[p] += fabs(m->bt[p][i] * test_map_at(&t->in, iy, c, x + i));
    }
}

/* What bounds the error of output i of a tile: the sum over points p, kernel rows and channels of
 * |AT[i][p]| (|BT| |d|)[p] |(G g)[p]|, in which every rounding of the three steps is relative to
 * its term.  Fills t->tiled. */
static void magnitude_of_tiles(struct conv_case *t, int tile) {
    const struct conv_shape *s = &t->s;
    struct winograd_matrices m = winograd_matrices(tile);
    int icg = s->in_c / s->groups, ocg = s->out_c / s->groups;
    for (int y = 0; y < s->out_h; y++)
        for (int x = 0; x < s->out_w; x++)
            for (int oc = 0; oc < s->out_c; oc++)
                t->tiled[out_index(s, y, x, oc)] = fabs((double)t->bias[oc]);
    for (int y = 0; y < s->out_h; y++)
        for (int x = 0; x < s->out_w; x += tile)
            for (int c = 0; c < s->in_c; c++)
                for (int ky = 0; ky < s->kernel_h; ky++) {
                    double v[WINOGRAD_POINTS_MOST];
                    int group = c / icg;
                    tile_inputs(t, &m, y - s->pad_top + ky * s->dilation_h, c, x - s->pad_left, v);
                    for (int oc = group * ocg; oc < (group + 1) * ocg; oc++) {
                        const float *g =
                            t->weights +
                            (((size_t)oc * (size_t)icg + (size_t)(c % icg)) * (size_t)s->kernel_h +
                             (size_t)ky) *
                                WINOGRAD_TAPS;
                        for (int p = 0; p < m.points; p++) {
                            double u = m.g[p][0] * g[0] + m.g[p][1] * g[1] + m.g[p][2] * g[2];
                            for (int i = 0; i < tile && x + i < s->out_w; i++)
                                t->tiled[out_index(s, y, x + i, oc)] += fabs(m.at[i][p] * v[p] * u);
                        }
                    }
                }
}

/* The bound on output i (out_index) before the epilogue.  Winograd: kh * channels products of one
 * point, at most 8 roundings of the input transform and the weight, 8 of the output's. */
static double error_bound(const struct conv_kernel *k, const struct conv_case *t, size_t i) {
    const struct conv_shape *s = &t->s;
    double terms = (double)(s->in_c / s->groups) * s->kernel_h;
    if (k->fp16)
        return test_fp16_bound(t->magnitude[i], terms * s->kernel_w, 1, 1);
    if (k->winograd)
        return (terms + 16) * FLT_EPSILON * t->tiled[i];
    return (terms * s->kernel_w + 3) * FLT_EPSILON * t->magnitude[i];
}

/* ---- one kernel on one case ------------------------------------------------------------------ */

static void *packed_weights(const struct conv_kernel *k, const struct conv_case *t) {
    const struct conv_shape *s = &t->s;
    size_t bytes = k->weights_bytes(s);
    size_t per_oc = (size_t)(s->in_c / s->groups) * (size_t)s->kernel_h * (size_t)s->kernel_w;
    unsigned char *packed = must(mem_zalloc(bytes + 64, 1));
    memset(packed + bytes, 0xa5, 64);
    const size_t per_ic =
        (size_t)(s->out_c / s->groups) * (size_t)s->kernel_h * (size_t)s->kernel_w;
    const int some = 1 + s->in_c / 3; /* input channels: any number at a time */
    for (int ic = 0; t->transposed && ic < s->in_c; ic += some)
        k->pack(s, t->weights + (size_t)ic * per_ic, ic, s->in_c - ic < some ? s->in_c - ic : some,
                packed);
    if (!t->transposed)
        for (int oc = 0; oc < s->out_c; oc += BLOCK)
            k->pack(s, t->weights + (size_t)oc * per_oc, oc,
                    s->out_c - oc < BLOCK ? s->out_c - oc : BLOCK, packed);
    for (int i = 0; i < 64; i++)
        assert_int_equal(packed[bytes + (size_t)i], 0xa5);
    return packed;
}

/* The input rows that output rows [y0, y1) can need, in the case's own arithmetic. */
static void rows_needed(const struct conv_case *t, int y0, int y1, int *first, int *last) {
    const struct conv_shape *s = &t->s;
    *first = s->in_h;
    *last = 0;
    for (int i = 0; i < s->in_h; i++)
        for (int o = y0; o < y1; o++)
            for (int k = 0; k < s->kernel_h; k++)
                if (t->transposed ? o == i * s->stride_h - s->pad_top + k * s->dilation_h
                                  : i == o * s->stride_h - s->pad_top + k * s->dilation_h) {
                    *first = i < *first ? i : *first;
                    *last = i + 1 > *last ? i + 1 : *last;
                }
    if (*first > *last)
        *first = *last = 0;
}

static void run_kernel(const struct conv_kernel *k, const struct conv_case *t, const void *packed,
                       const struct test_map *in, struct test_map *out, int y0, int y1, int b0,
                       int b1) {
    size_t bytes = k->workspace_bytes ? k->workspace_bytes(&t->s) : 0;
    unsigned char *workspace = must(mem_alloc(bytes + 64));
    memset(workspace, 0xff, bytes + 64);
    struct conv_args a = {.shape = &t->s,
                          .weights = packed,
                          .bias = t->bias,
                          .in = in->view,
                          .out = out->view,
                          .epilogue = t->e,
                          .y0 = y0,
                          .y1 = y1,
                          .block0 = b0,
                          .block1 = b1,
                          .workspace = bytes ? workspace : NULL,
                          .factors = t->factors};
    k->run(&a);
    for (int i = 0; i < 64; i++)
        assert_int_equal(workspace[bytes + (size_t)i], 0xff);
    mem_free(workspace);
}

static bool close_to_reference(const struct conv_kernel *k, const struct conv_case *t,
                               const struct test_map *out, int y0, int y1, int b0, int b1) {
    const struct conv_shape *s = &t->s;
    for (int y = y0; y < y1; y++)
        for (int x = 0; x < s->out_w; x++)
            for (int c = b0 * BLOCK; c < s->out_c && c < b1 * BLOCK; c++) {
                size_t i = out_index(s, y, x, c);
                double residual = t->e.residual ? (double)test_map_at(&t->residual, y, c, x) : 0;
                double want = test_epilogue(&t->e, t->sum[i], residual);
                double allowed =
                    test_epilogue_tolerance(&t->e, error_bound(k, t, i), t->sum[i], residual);
                double got = test_map_at(out, y, c, x);
                if (!(fabs(got - want) <= allowed)) {
                    fprintf(stderr, "%s, %s: (y %d, x %d, c %d) is %.9g, should be %.9g +- %.2g\n",
                            k->name, describe(s), y, x, c, got, want, allowed);
                    return false;
                }
            }
    return true;
}

static bool same_bits(const struct conv_kernel *k, const struct conv_case *t,
                      const struct test_map *a, const struct test_map *b, int y0, int y1, int b0,
                      int b1) {
    for (int y = y0; y < y1; y++)
        for (int x = 0; x < t->s.out_w; x++)
            for (int c = b0 * BLOCK; c < t->s.out_c && c < b1 * BLOCK; c++) {
                float p = test_map_at(a, y, c, x), q = test_map_at(b, y, c, x);
                if (memcmp(&p, &q, sizeof p) != 0) {
                    fprintf(stderr,
                            "%s, %s: (y %d, x %d, c %d) is %.9g in rows %d to %d, %.9g in all\n",
                            k->name, describe(&t->s), y, x, c, (double)p, y0, y1, (double)q);
                    return false;
                }
            }
    return true;
}

/* A part of the output, from a view that holds just the rows it needs, within other images' rows.
 */
static void check_part(const struct conv_kernel *k, const struct conv_case *t, const void *packed,
                       const struct test_map *whole, int y0, int y1, int b0, int b1) {
    int first, last;
    rows_needed(t, y0, y1, &first, &last);
    struct test_map in = test_map_make(first - 2, last - first + 4, t->s.in_c, t->s.in_w, 0);
    for (int y = first; y < last; y++)
        for (int x = 0; x < t->s.in_w; x++)
            for (int c = 0; c < t->s.in_c; c++)
                *view_at(&in.view, y, c, x) = test_map_at(&t->in, y, c, x);
    test_map_zero_lanes(&in, first, last);
    struct test_map out = test_map_make(-1, t->s.out_h + 3, t->s.out_c, t->s.out_w, 16);
    struct test_map before = test_map_copy(&out);
    run_kernel(k, t, packed, &in, &out, y0, y1, b0, b1);
    assert_true(test_map_only(&out, &before, y0, y1, b0, b1));
    if (k->row_exact)
        assert_true(same_bits(k, t, &out, whole, y0, y1, b0, b1));
    else
        assert_true(close_to_reference(k, t, &out, y0, y1, b0, b1));
    test_map_free(&in);
    test_map_free(&out);
    test_map_free(&before);
}

/* Scaling packed weights is the same as packing scaled ones, and touches the asked blocks alone. */
static void check_scale(const struct conv_kernel *k, const struct conv_case *t, const void *packed,
                        struct random *r) {
    const struct conv_shape *s = &t->s;
    size_t bytes = k->weights_bytes(s), each = (size_t)(s->in_c * s->kernel_h * s->kernel_w);
    int blocks = blocks_of(s->out_c), taps = s->kernel_h * s->kernel_w;
    struct conv_case scaled = *t;
    float *factors = mem_alloc((size_t)s->in_c * sizeof *factors), *got = mem_zalloc(1, bytes);
    scaled.weights = mem_alloc((size_t)s->out_c * each * sizeof(float));
    assert_true(factors != NULL && got != NULL && scaled.weights != NULL);
    for (int c = 0; c < s->in_c; c++)
        factors[c] = random_float(r);
    for (size_t i = 0; i < (size_t)s->out_c * each; i++)
        scaled.weights[i] = t->weights[i] * factors[i % each / (size_t)taps];
    float *want = packed_weights(k, &scaled);
    int cut = random_int(r, 0, blocks);
    k->scale(s, packed, factors, cut, blocks, got);
    size_t first = bytes / sizeof(float) / (size_t)blocks * (size_t)cut;
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        assert_true(got[i] == (i < first ? 0 : want[i]));
    k->scale(s, packed, factors, 0, cut, got);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        assert_true(got[i] == want[i]); /* of lanes beyond the last channel 0 or -0 */
    mem_free(want);
    mem_free(scaled.weights);
    mem_free(got);
    mem_free(factors);
}

/* Factors of a call are the same as inputs multiplied by them. */
static void check_factors(const struct conv_kernel *k, const struct conv_case *t,
                          const void *packed, struct random *r) {
    const struct conv_shape *s = &t->s;
    int blocks = blocks_of(s->out_c);
    struct conv_case with = *t;
    float *factors = mem_alloc((size_t)s->in_c * sizeof *factors);
    assert_non_null(factors);
    for (int c = 0; c < s->in_c; c++)
        factors[c] = random_float(r);
    with.factors = factors;
    struct test_map in = test_map_copy(&t->in),
                    want = test_map_make(0, s->out_h, s->out_c, s->out_w, 0);
    struct test_map got = test_map_copy(&want);
    for (int y = 0; y < s->in_h; y++)
        for (int x = 0; x < s->in_w; x++)
            for (int c = 0; c < s->in_c; c++)
                *view_at(&in.view, y, c, x) *= factors[c];
    run_kernel(k, t, packed, &in, &want, 0, s->out_h, 0, blocks);
    run_kernel(k, &with, packed, &t->in, &got, 0, s->out_h, 0, blocks);
    assert_true(same_bits(k, t, &got, &want, 0, s->out_h, 0, blocks));
    test_map_free(&in);
    test_map_free(&want);
    test_map_free(&got);
    mem_free(factors);
}

/* On boards with other caches the walk is another and the bits are the same. */
static void check_caches(const struct conv_kernel *k, const struct conv_case *t, const void *packed,
                         const struct test_map *whole) {
    const struct conv_shape *s = &t->s;
    static const size_t l2[] = {1, 64 << 20};
    for (int i = 0; i < 2 && k->row_exact; i++) {
        const struct kernel_board board = {.l2_bytes = l2[i]};
        struct conv_case here = *t;
        here.s.board = &board;
        struct test_map out = test_map_make(0, s->out_h, s->out_c, s->out_w, 0);
        run_kernel(k, &here, packed, &t->in, &out, 0, s->out_h, 0, blocks_of(s->out_c));
        assert_true(same_bits(k, t, &out, whole, 0, s->out_h, 0, blocks_of(s->out_c)));
        test_map_free(&out);
    }
}

static void check_kernel(const struct conv_kernel *k, const struct conv_case *t, struct random *r) {
    const struct conv_shape *s = &t->s;
    int blocks = blocks_of(s->out_c);
    void *packed = packed_weights(k, t);
    struct test_map out = test_map_make(0, s->out_h, s->out_c, s->out_w, 0);
    struct test_map before = test_map_copy(&out);
    run_kernel(k, t, packed, &t->in, &out, 0, s->out_h, 0, blocks);
    assert_true(test_map_only(&out, &before, 0, s->out_h, 0, blocks));
    assert_true(close_to_reference(k, t, &out, 0, s->out_h, 0, blocks));
    if (s->in_c >= 64 || random_int(r, 0, 5) == 0)
        check_caches(k, t, packed, &out);
    if (k->scale != NULL && s->groups == 1)
        check_scale(k, t, packed, r);
    if (k->factors && s->groups == 1)
        check_factors(k, t, packed, r);
    for (int i = 0; i < 3; i++) {
        int y0 = random_int(r, 0, s->out_h - 1), b0 = random_int(r, 0, blocks - 1);
        int y1 = i == 0 ? y0 + 1 : random_int(r, y0 + 1, s->out_h);
        check_part(k, t, packed, &out, y0, y1, i == 2 ? 0 : b0,
                   i == 2 ? blocks : random_int(r, b0 + 1, blocks));
    }
    check_part(k, t, packed, &out, s->out_h / 2, s->out_h / 2, 0, blocks); /* no rows at all */
    test_map_free(&out);
    test_map_free(&before);
    mem_free(packed);
}

/* ---- the sweep ------------------------------------------------------------------------------- */

enum { KERNELS_MAX = 64 };

struct tally {
    bool transposed;
    int runs[KERNELS_MAX], cases;
    int every, seen; /* of the shapes seen, one in `every` is tried */
    struct random r;
};

/* The registry's, and at the end one in float16 arithmetic that any machine can run. */
static const struct conv_kernel *kernel_number(bool transposed, int i) {
    int count;
    const struct conv_kernel *const *list =
        transposed ? kernels_deconv(&count) : kernels_conv(&count);
    return i < count ? list[i] : i == count && !transposed ? &conv_generic_test_fp16 : NULL;
}

static void try_shape(struct tally *n, struct conv_shape s) {
    struct conv_case t;
    int tile = 0;
    const struct conv_kernel *k;
    unsigned available = kernel_isa_available();
    if (s.out_h < 1 || s.out_w < 1)
        return;
    if (n->seen++ % n->every != 0)
        return;
    s.in_blocked = s.in_c >= BLOCK;
    s.out_blocked = s.out_c >= BLOCK;
    case_make(&t, &s, n->transposed, &n->r);
    for (int i = 0; (k = kernel_number(n->transposed, i)) != NULL; i++) {
        assert_true(i < KERNELS_MAX);
        if (!(available & 1u << k->isa) || k->rate(&s) <= 0)
            continue;
        if (k->winograd && k->winograd != tile) {
            tile = k->winograd;
            magnitude_of_tiles(&t, tile);
        }
        check_kernel(k, &t, &n->r);
        n->runs[i]++;
    }
    n->cases++;
    case_free(&t);
}

/* Output sizes from pads at the end. */
static int conv_out(int in, int kernel, int stride, int pads, int dilation) {
    int span = in + pads - (kernel - 1) * dilation - 1;
    return span < 0 ? 0 : span / stride + 1;
}

static int deconv_out(int in, int kernel, int stride, int pads, int dilation, int extra) {
    return (in - 1) * stride + (kernel - 1) * dilation + 1 - pads + extra;
}

static struct conv_shape square(const struct tally *n, int in_c, int out_c, int groups, int h,
                                int w, int kernel, int stride, int pad, int dilation) {
    struct conv_shape s = {.in_c = in_c,
                           .in_h = h,
                           .in_w = w,
                           .out_c = out_c,
                           .groups = groups,
                           .kernel_h = kernel,
                           .kernel_w = kernel,
                           .stride_h = stride,
                           .stride_w = stride,
                           .pad_top = pad,
                           .pad_left = pad,
                           .dilation_h = dilation,
                           .dilation_w = dilation};
    if (n->transposed) {
        s.out_h = deconv_out(h, kernel, stride, 2 * pad, dilation, stride > 1);
        s.out_w = deconv_out(w, kernel, stride, 2 * pad, dilation, stride > 1);
    } else {
        s.out_h = conv_out(h, kernel, stride, 2 * pad, dilation);
        s.out_w = conv_out(w, kernel, stride, 2 * pad, dilation);
    }
    return s;
}

static const int channels[] = {1, 3, 8, 15, 16, 17, 24, 32, 40, 48};
enum { CHANNELS = sizeof channels / sizeof *channels };

/* Every pair of channel counts. */
static void sweep_channels(struct tally *n) {
    for (int i = 0; i < CHANNELS; i++)
        for (int o = 0; o < CHANNELS; o++) {
            try_shape(n, square(n, channels[i], channels[o], 1, 4, 5, 3, 1, 1, 1));
            try_shape(n, square(n, channels[i], channels[o], 1, 3, 7, 1, 1, 0, 1));
        }
}

/* One pixel: a vector times a matrix, of few and of many channels. */
static void sweep_points(struct tally *n) {
    static const int c[][2] = {{10, 40},  {20, 480}, {48, 24},  {63, 65},
                               {64, 100}, {65, 8},   {129, 31}, {600, 17}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        try_shape(n, square(n, c[i][0], c[i][1], 1, 1, 1, 1, 1, 0, 1));
        try_shape(n, square(n, c[i][1], c[i][0], 1, 1, 1, 1, 2, 0, 1));
    }
}

/* Every small width, with every kernel, stride and dilation that meets its borders. */
static void sweep_widths(struct tally *n) {
    for (int w = 1; w <= 14; w++)
        for (int kernel = 1; kernel <= 5; kernel++)
            for (int stride = 1; stride <= 3; stride++) {
                try_shape(n, square(n, 16, 16, 1, 3, w, kernel, stride, kernel / 2, 1));
                try_shape(n, square(n, 3, 8, 1, w, 4, kernel, stride, kernel - 1, 1));
                try_shape(n, square(n, 17, 17, 17, 4, w, kernel, stride, kernel / 2, 1));
                if (w % 3 == 0)
                    try_shape(n, square(n, 16, 24, 1, 5, w, kernel, stride, kernel / 2, 2));
            }
}

/* Groups: depthwise, with a multiplier, blocks that span groups, groups that span blocks. */
static void sweep_groups(struct tally *n) {
    static const int g[][3] = {{2, 2, 2},    {3, 3, 3},    {8, 8, 8},   {15, 15, 15}, {16, 16, 16},
                               {24, 24, 24}, {48, 48, 48}, {4, 8, 4},   {8, 16, 8},   {16, 32, 16},
                               {17, 51, 17}, {24, 24, 3},  {24, 48, 3}, {48, 24, 3},  {32, 32, 2},
                               {48, 48, 2},  {64, 64, 4},  {64, 32, 2}, {32, 64, 2},  {40, 40, 5},
                               {6, 9, 3},    {36, 60, 6},  {32, 32, 8}, {18, 18, 9},  {34, 50, 2},
                               {16, 1, 1},   {30, 46, 2},  {96, 48, 3}};
    for (size_t i = 0; i < sizeof g / sizeof *g; i++)
        for (int kernel = 1; kernel <= 3; kernel++) {
            try_shape(n, square(n, g[i][0], g[i][1], g[i][2], 5, 6, kernel, 1, kernel / 2, 1));
            try_shape(n, square(n, g[i][0], g[i][1], g[i][2], 6, 5, kernel, 2, 1, 1));
        }
}

static const int group_choices[] = {1, 1, 1, 2, 3, 4, 8};

/* Anything: different sizes each way, uneven pads, strides, dilations. */
static void sweep_random(struct tally *n, int count) {
    struct random *r = &n->r;
    for (int i = 0; i < count; i++) {
        int g = group_choices[random_int(r, 0, 6)];
        struct conv_shape s = {.in_c = random_int(r, 1, 60 / g) * g,
                               .out_c = random_int(r, 1, 60 / g) * g,
                               .groups = g,
                               .in_h = random_int(r, 1, 9),
                               .in_w = random_int(r, 1, 20),
                               .kernel_h = random_int(r, 1, 5),
                               .kernel_w = random_int(r, 1, 7),
                               .stride_h = random_int(r, 1, 3),
                               .stride_w = random_int(r, 1, 4),
                               .pad_top = random_int(r, 0, 4),
                               .pad_left = random_int(r, 0, 6),
                               .dilation_h = random_int(r, 1, 3),
                               .dilation_w = random_int(r, 1, 3)};
        int pads_h = s.pad_top + random_int(r, 0, 4), pads_w = s.pad_left + random_int(r, 0, 6);
        if (random_int(r, 0, 7) == 0)
            s.out_c = s.in_c = s.groups = random_int(r, 1, 40);
        if (random_int(r, 0, 9) == 0) { /* one-dimensional */
            s.in_w = s.kernel_w = s.stride_w = 1;
            s.pad_left = pads_w = 0;
        }
        if (n->transposed) {
            s.out_h = deconv_out(s.in_h, s.kernel_h, s.stride_h, pads_h, s.dilation_h,
                                 random_int(r, 0, s.stride_h - 1));
            s.out_w = deconv_out(s.in_w, s.kernel_w, s.stride_w, pads_w, s.dilation_w,
                                 random_int(r, 0, s.stride_w - 1));
        } else {
            s.out_h = conv_out(s.in_h, s.kernel_h, s.stride_h, pads_h, s.dilation_h);
            s.out_w = conv_out(s.in_w, s.kernel_w, s.stride_w, pads_w, s.dilation_w);
        }
        try_shape(n, s);
    }
}

/* Three columns, stride 1: where Winograd's tiles end, begin outside and are narrower than the map;
 * kernels of 1 to 4 rows, channels that do not fill a block, groups of whole blocks. */
static void sweep_three_wide(struct tally *n) {
    struct random *r = &n->r;
    if (n->transposed)
        return;
    for (int w = 1; w <= 26; w++)
        for (int pad = 0; pad <= 3; pad++) {
            int groups = random_int(r, 1, 3);
            struct conv_shape s = {.in_c = groups * 16,
                                   .in_h = random_int(r, 1, 9),
                                   .in_w = w,
                                   .out_c = groups * 16 * random_int(r, 1, 2),
                                   .groups = groups,
                                   .kernel_h = random_int(r, 1, 4),
                                   .kernel_w = 3,
                                   .stride_h = 1,
                                   .stride_w = 1,
                                   .pad_left = pad,
                                   .dilation_h = random_int(r, 1, 2),
                                   .dilation_w = 1};
            s.pad_top = random_int(r, 0, s.kernel_h);
            if (groups == 1) {
                s.in_c = random_int(r, 16, 50);
                s.out_c = random_int(r, 16, 50);
            }
            s.out_h =
                conv_out(s.in_h, s.kernel_h, 1, s.pad_top + random_int(r, 0, 3), s.dilation_h);
            s.out_w = conv_out(w, 3, 1, pad + random_int(r, 0, 3), 1);
            try_shape(n, s);
        }
}

/* Depthwise: every width around the tiles of the sliding window, windows that reach beyond both
 * sides at once, rows and columns of different kinds. */
static void sweep_depthwise(struct tally *n) {
    static const int counts[] = {16, 24, 40};
    struct random *r = &n->r;
    if (n->transposed)
        return;
    for (int w = 1; w <= 34; w++)
        for (int kernel = 3; kernel <= 7; kernel += 2)
            for (int stride = 1; stride <= 2; stride++) {
                int c = counts[random_int(r, 0, 2)], h = random_int(r, 1, 9);
                struct conv_shape s =
                    square(n, c, c, c, h, w, kernel, stride, random_int(r, 0, kernel / 2 + 1), 1);
                s.kernel_h = random_int(r, 1, 7);
                s.stride_h = random_int(r, 1, 2);
                s.pad_top = random_int(r, 0, s.kernel_h);
                s.dilation_h = random_int(r, 1, 2);
                s.out_h = conv_out(h, s.kernel_h, s.stride_h, s.pad_top + random_int(r, 0, 3),
                                   s.dilation_h);
                s.out_w = conv_out(w, kernel, stride, s.pad_left + random_int(r, 0, kernel), 1);
                try_shape(n, s);
            }
}

/* Maps of 7 and 14 pixels, whose lines micro-kernels take by twos: an odd and an even number of
 * them, whole blocks, parts of blocks, several groups in one. */
static void sweep_lines(struct tally *n) {
    static const int c[][3] = {{16, 32, 1}, {40, 24, 1}, {16, 8, 1}, {24, 24, 3}, {100, 16, 1}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        for (int w = 7; w <= 14; w += 7)
            for (int h = 4; h <= 5; h++)
                for (int kernel = 1; kernel <= 3; kernel += 2)
                    try_shape(n, square(n, c[i][0], c[i][1], c[i][2], h, w + kernel - 1, kernel, 1,
                                        0, 1));
}

/* Deep and wide enough for several visits of the output, and for several row groups. */
static void sweep_large(struct tally *n) {
    try_shape(n, square(n, 300, 40, 1, 4, 5, 3, 1, 1, 1));
    try_shape(n, square(n, 600, 20, 1, 3, 3, 1, 1, 0, 1));
    try_shape(n, square(n, 32, 16, 1, 40, 96, 3, 1, 1, 1));
    try_shape(n, square(n, 16, 80, 1, 66, 34, 3, 1, 1, 1));
    try_shape(n, square(n, 64, 32, 1, 12, 60, 3, 1, 1, 1)); /* few rows fit a small cache */
    try_shape(n, square(n, 3, 16, 1, 30, 30, 7, 2, 3, 1));
    try_shape(n, square(n, 1, 1, 1, 9, 200, 3, 1, 1, 1));
}

static void every_kernel_ran(const struct tally *n) {
    int count = 0, skipped = 0;
    const struct conv_kernel *k;
    assert_true(n->cases > 0);
    for (; (k = kernel_number(n->transposed, count)) != NULL; count++) {
        int i = count;
        if (!(kernel_isa_available() & 1u << k->isa)) {
            skipped++;
            continue;
        }
        print_message("# %s: %d shapes\n", k->name, n->runs[i]);
        assert_true(n->runs[i] > 0);
    }
    print_message("# %d shapes, %d of %d kernels skipped for want of the instruction set\n",
                  n->cases, skipped, count);
    assert_true(skipped < count);
}

static void sweep(bool transposed) {
    /* An emulated processor is a hundred times slower (scripts/cross-check). */
    struct tally n = {.transposed = transposed,
                      .every = getenv("COHORT_EMULATOR") ? 3 : 1,
                      .r = {transposed ? 77u : 42u}};
    sweep_channels(&n);
    sweep_points(&n);
    sweep_widths(&n);
    sweep_groups(&n);
    sweep_random(&n, getenv("COHORT_SHORT") != NULL ? 80 : 400);
    sweep_three_wide(&n);
    sweep_depthwise(&n);
    sweep_lines(&n);
    sweep_large(&n);
    every_kernel_ran(&n);
}

static void test_convolution(void **state) {
    (void)state;
    sweep(false);
}

static void test_transposed_convolution(void **state) {
    (void)state;
    sweep(true);
}

/* The matrices are exact: sum over p of AT[i][p] G[p][k] BT[p][j] is 1 where j = i + k, else 0. */
static void test_winograd_identity(void **state) {
    (void)state;
    for (int tile = 4; tile <= 6; tile += 2) {
        struct winograd_matrices m = winograd_matrices(tile);
        assert_int_equal(m.points, tile + 2);
        for (int i = 0; i < tile; i++)
            for (int k = 0; k < WINOGRAD_TAPS; k++)
                for (int j = 0; j < m.points; j++) {
                    double sum = 0;
                    for (int p = 0; p < m.points; p++)
                        sum += m.at[i][p] * m.g[p][k] * m.bt[p][j];
                    assert_true(fabs(sum - (j == i + k)) < 1e-13);
                }
        /* What the transforms multiply by loses nothing in float. */
        for (int p = 0; p < m.points; p++)
            for (int j = 0; j < m.points; j++) {
                assert_true((double)(float)m.bt[p][j] == m.bt[p][j]);
                assert_true(j >= tile || (double)(float)m.at[j][p] == m.at[j][p]);
            }
    }
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolution),
        cmocka_unit_test(test_transposed_convolution),
        cmocka_unit_test(test_winograd_identity),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
