/* Float16 arithmetic: micro-kernels against the contract written down in double, bit for bit; what
 * happens to numbers beyond float16's range.  (test_kernels_conv and test_kernels_gemm hold whole
 * kernels to their bound, on any machine.) */
#include "base/mem.h"
#include "kernels/micro.h"
#include "tests/support/fp16plain.h"
#include "tests/support/testmap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* This CPU's micro-kernel; NULL: it has none. */
static const struct fp16_micro *own_micro(void) {
#if defined(__aarch64__)
    if (kernel_isa_available() & 1u << ISA_NEON64HP)
        return &micro_neon64hp;
#endif
    return NULL;
}

/* ---- micro-kernels, bit for bit -------------------------------------------------------------- */

enum { PIXELS_MOST = 17, RUN_MOST = 150, TAPS_MOST = 5, OUTS = PIXELS_MOST * 20 };
enum { INS = 40000, WEIGHTS = TAPS_MOST * TAPS_MOST * RUN_MOST * BLOCK + 64 };

struct numbers {
    uint16_t in[INS], w[WEIGHTS];
    float init[BLOCK], scale[BLOCK], residual[OUTS], before[OUTS], want[OUTS], got[OUTS];
};

static void fill(float *to, int n, struct random *r) {
    for (int i = 0; i < n; i++)
        to[i] = random_float(r);
}

static void fill_half(uint16_t *to, int n, struct random *r, float size) {
    for (int i = 0; i < n; i++) {
        float x = random_float(r) * size;
        test_fp16_micro.narrow(&x, 0, to + i, 0, 1, 1);
    }
}

static void compare(const struct fp16_micro *m, struct numbers *n, struct random *r) {
    int pixels = random_int(r, 1, PIXELS_MOST), run = random_int(r, 1, RUN_MOST);
    bool parts = random_int(r, 0, 1);
    struct fp16_args a = {.in = n->in,
                          .w = n->w,
                          .scale = n->scale,
                          .taps_y = random_int(r, 0, TAPS_MOST),
                          .taps_x = random_int(r, 1, TAPS_MOST),
                          .run = run,
                          .piece = parts ? FP16_LANES * random_int(r, 1, 8) : run,
                          .in_pixel = random_int(r, 0, 200),
                          .in_y = random_int(r, 0, 3000),
                          .in_x = random_int(r, 0, 1000),
                          .out = n->got,
                          .out_pixel = random_int(r, 16, 20),
                          .init = random_int(r, 0, 1) ? n->init : NULL,
                          .lanes = random_int(r, 0, 1) ? BLOCK : random_int(r, 1, BLOCK),
                          .act = (enum kernel_act)random_int(r, KACT_NONE, KACT_CLIP),
                          .act_a = random_float(r),
                          .act_b = 1,
                          .residual = random_int(r, 0, 1) ? n->residual : NULL,
                          .residual_pixel = random_int(r, 16, 20),
                          .residual_last = random_int(r, 0, 1)};
    a.together = a.piece == run ? random_int(r, 1, 4) : 1;
    for (int j = 0; j < BLOCK; j++)
        n->scale[j] = ldexpf(1, random_int(r, -8, 8));
    memcpy(n->want, n->before, sizeof n->want);
    memcpy(n->got, n->before, sizeof n->got);
    m->run(&a, pixels);
    a.out = n->want;
    test_fp16_micro.run(&a, pixels);
    for (int i = 0; i < OUTS; i++)
        if (memcmp(&n->want[i], &n->got[i], sizeof(float)) != 0)
            fail_msg(
                "%d pixels, taps %dx%d, run %d by %d (%d together), act %d: number %d is %.9g, "
                "should be %.9g",
                pixels, a.taps_y, a.taps_x, run, a.piece, a.together, (int)a.act, i,
                (double)n->got[i], (double)n->want[i]);
}

static void test_micro(void **state) {
    (void)state;
    const struct fp16_micro *m = own_micro();
    struct random r = {11};
    if (!m) {
        print_message("# no float16 arithmetic here: 1 micro-kernel skipped\n");
        skip();
    }
    struct numbers *n = mem_alloc(sizeof *n);
    assert_non_null(n);
    fill_half(n->in, INS, &r, 4);
    fill_half(n->w, WEIGHTS, &r, 0.1f);
    fill(n->init, BLOCK, &r);
    fill(n->residual, OUTS, &r);
    fill(n->before, OUTS, &r);
    for (int i = 0; i < 400; i++)
        compare(m, n, &r);
    mem_free(n);
}

static void test_narrow(void **state) {
    (void)state;
    static const float special[] = {0.0f,     -0.0f,    1e-8f,       6e-8f,      -5.9e-5f,
                                    65504.0f, 65519.0f, 65520.0f,    -65520.0f,  -1e30f,
                                    INFINITY, 1.0f,     1.00048828f, 1.0004883f, NAN};
    enum { SPECIALS = sizeof special / sizeof *special, MANY = 100 };
    const struct fp16_micro *m = own_micro();
    struct random r = {3};
    float in[MANY];
    uint16_t want[MANY], got[MANY];
    if (!m)
        skip();
    for (int i = 0; i < 500; i++) {
        int lanes = random_int(&r, 1, 20), pixels = random_int(&r, 1, 5);
        int largest = i < 250 ? 8 : SPECIALS - 1; /* half of them without what is infinite */
        for (int k = 0; k < MANY; k++)
            in[k] = random_int(&r, 0, 3) ? random_float(&r) : special[random_int(&r, 0, largest)];
        memset(want, 0, sizeof want);
        memset(got, 0, sizeof got);
        uint16_t a = test_fp16_micro.narrow(in, lanes, want, lanes, lanes, pixels);
        uint16_t b = m->narrow(in, lanes, got, lanes, lanes, pixels);
        assert_int_equal(a, b);
        assert_memory_equal(want, got, sizeof want);
    }
}

/* ---- beyond the range ------------------------------------------------------------------------ */

enum { DEPTH = 200 };

/* One output of a convolution (1x1) and of a product, of these inputs and weights. */
static void one_sum(const struct conv_kernel *conv, const struct gemm_kernel *gemm, float *in,
                    const float *w, float result[2], int64_t saturated[2]) {
    struct conv_shape c = {.in_c = DEPTH,
                           .in_h = 1,
                           .in_w = 1,
                           .out_c = 1,
                           .out_h = 1,
                           .out_w = 1,
                           .groups = 1,
                           .kernel_h = 1,
                           .kernel_w = 1,
                           .stride_h = 1,
                           .stride_w = 1,
                           .dilation_h = 1,
                           .dilation_w = 1,
                           .in_blocked = true};
    struct gemm_shape g = {.rows = 1, .k = DEPTH, .n = 1};
    float blocked[(DEPTH + BLOCK - 1) / BLOCK * BLOCK] = {0}, bias[BLOCK] = {0};
    memcpy(blocked, in, DEPTH * sizeof *in);
    void *packed = mem_zalloc(conv->weights_bytes(&c), 1);
    void *packed_gemm = mem_zalloc(gemm->weights_bytes(&g), 1);
    void *workspace = mem_zalloc(conv->workspace_bytes(&c) + gemm->workspace_bytes(&g), 1);
    assert_true(packed && packed_gemm && workspace);
    conv->pack(&c, w, 0, 1, packed);
    gemm->pack(&g, w, 0, 1, packed_gemm);
    saturated[0] = saturated[1] = 0;
    struct conv_args a = {.shape = &c,
                          .weights = packed,
                          .bias = bias,
                          .in = view_map(blocked, 0, 1, DEPTH, 1),
                          .out = view_map(&result[0], 0, 1, 1, 1),
                          .y1 = 1,
                          .block1 = 1,
                          .workspace = workspace,
                          .saturated = &saturated[0]};
    conv->run(&a);
    struct gemm_args b = {.shape = &g,
                          .weights = packed_gemm,
                          .in = in,
                          .out = &result[1],
                          .in_pitch = DEPTH,
                          .out_pitch = 1,
                          .y1 = 1,
                          .n1 = 1,
                          .workspace = workspace,
                          .saturated = &saturated[1]};
    gemm->run(&b);
    mem_free(packed);
    mem_free(packed_gemm);
    mem_free(workspace);
}

static void check_range(const struct conv_kernel *conv, const struct gemm_kernel *gemm) {
    float in[DEPTH], w[DEPTH], result[2];
    int64_t saturated[2];
    /* Sums far beyond float16 are right, for weights of any size. */
    for (int e = -100; e <= 60; e += 20) {
        for (int i = 0; i < DEPTH; i++) {
            in[i] = 65504;
            w[i] = ldexpf(1, e);
        }
        one_sum(conv, gemm, in, w, result, saturated);
        double want = ldexp(65504.0 * DEPTH, e);
        for (int k = 0; k < 2; k++) {
            assert_true(fabs((double)result[k] - want) <= 0.03 * want);
            assert_int_equal(saturated[k], 0);
        }
    }
    /* So are small inputs beside large weights, to what float16 keeps of them. */
    for (int i = 0; i < DEPTH; i++) {
        in[i] = 1e-3f;
        w[i] = i % 2 ? 1e4f : -1e4f;
    }
    w[0] = 3e4f;
    one_sum(conv, gemm, in, w, result, saturated);
    for (int k = 0; k < 2; k++)
        assert_true(fabs((double)result[k] - 40) < 0.5);
    /* Inputs beyond the range become its ends, and are counted. */
    for (int i = 0; i < DEPTH; i++) {
        in[i] = i == 7 ? 1e9f : i == 150 ? -INFINITY : 0;
        w[i] = i == 7 ? 2 : i == 150 ? 1 : 0.5f;
    }
    one_sum(conv, gemm, in, w, result, saturated);
    for (int k = 0; k < 2; k++) {
        assert_true(fabs((double)result[k] - 65504) < 65504 * 1e-3);
        assert_int_equal(saturated[k], 2);
    }
    /* What is no number stays none. */
    in[3] = NAN;
    one_sum(conv, gemm, in, w, result, saturated);
    assert_true(isnan(result[0]) && isnan(result[1]));
    /* Weights of zero. */
    memset(w, 0, sizeof w);
    in[3] = 1;
    one_sum(conv, gemm, in, w, result, saturated);
    assert_true(fpclassify(result[0]) == FP_ZERO && fpclassify(result[1]) == FP_ZERO);
}

static void test_range(void **state) {
    (void)state;
    int count, skipped = 0;
    check_range(&conv_generic_test_fp16, &gemm_generic_test_fp16);
    const struct conv_kernel *const *conv = kernels_conv(&count);
    for (int i = 0; i < count; i++) {
        if (!conv[i]->fp16)
            continue;
        if (!(kernel_isa_available() & 1u << conv[i]->isa)) {
            skipped++;
            continue;
        }
        int products;
        const struct gemm_kernel *const *gemm = kernels_gemm(&products);
        for (int k = 0; k < products; k++)
            if (gemm[k]->fp16 && gemm[k]->isa == conv[i]->isa)
                check_range(conv[i], gemm[k]);
    }
    print_message("# %d kernels skipped for want of the instruction set\n", skipped);
}

/* Chosen only where they are allowed, and known by their names. */
static void test_choice(void **state) {
    (void)state;
    struct gemm_shape s = {.rows = 50, .k = 64, .n = 64};
    const struct gemm_kernel *with = kernel_choose_gemm(&s, ~0u, NULL);
    assert_false(kernel_choose_gemm(&s, ~ISAS_FP16, NULL)->fp16);
    assert_int_equal(with->fp16, (kernel_isa_available() & ISAS_FP16) != 0);
    assert_int_equal(kernel_name_fp16(with->name), with->fp16);
    assert_true(kernel_name_fp16("neon64hp"));
    assert_false(kernel_name_fp16("neon64"));
    assert_false(kernel_name_fp16("conv_generic_direct"));
    assert_false(kernel_name_fp16("gemm_generic_f16"));
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_micro),    cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_range),    cmocka_unit_test(test_choice),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
