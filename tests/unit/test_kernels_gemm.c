/* Every matrix product kernel of the registry: sizes around the panel of 16 and the slice of k,
 * row and feature ranges, bias, epilogues; against sums in double with the derived tolerance. */
#include "base/mem.h"
#include "graph/tensor.h"
#include "kernels/kernel.h"
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

struct gemm_case {
    struct gemm_shape s;
    float *weights; /* [n][k] */
    float *bias;    /* [n] or NULL */
    struct test_map in, residual;
    struct kernel_epilogue e;
};

static void *must(void *p) {
    if (!p) {
        fprintf(stderr, "out of memory in a test\n");
        abort();
    }
    return p;
}

static void case_make(struct gemm_case *t, struct gemm_shape s, struct random *r) {
    size_t weights = (size_t)s.n * (size_t)s.k;
    *t = (struct gemm_case){.s = s};
    t->weights = must(mem_alloc(weights * sizeof(float)));
    for (size_t i = 0; i < weights; i++)
        t->weights[i] = random_float(r);
    if (random_int(r, 0, 2)) {
        t->bias = must(mem_alloc((size_t)s.n * sizeof(float)));
        for (int i = 0; i < s.n; i++)
            t->bias[i] = random_float(r);
    }
    t->in = test_map_tokens(0, s.rows, s.k, random_int(r, 0, 3));
    test_map_fill(&t->in, r, 0, s.rows);
    t->residual = test_map_tokens(0, s.rows, s.n, random_int(r, 0, 3));
    test_map_fill(&t->residual, r, 0, s.rows);
    t->e.act = (enum kernel_act)random_int(r, KACT_NONE, KACT_COUNT - 1);
    t->e.a = t->e.act == KACT_CLIP ? -0.5f : 0.2f;
    t->e.b = t->e.act == KACT_CLIP ? 6.0f : 0.5f;
    if (random_int(r, 0, 1))
        t->e.residual = &t->residual.view;
    t->e.residual_last = random_int(r, 0, 1);
}

static void case_free(struct gemm_case *t) {
    mem_free(t->weights);
    mem_free(t->bias);
    test_map_free(&t->in);
    test_map_free(&t->residual);
}

static void run_kernel(const struct gemm_kernel *k, const struct gemm_case *t, const void *packed,
                       const struct test_map *in, struct test_map *out, int64_t y0, int64_t y1,
                       int n0, int n1) {
    size_t bytes = k->workspace_bytes ? k->workspace_bytes(&t->s) : 0;
    void *workspace = must(mem_alloc(bytes + 1));
    struct gemm_args a = {.shape = &t->s,
                          .weights = packed,
                          .bias = t->bias,
                          .in = in->view.data,
                          .out = out->view.data,
                          .in_row0 = in->view.row0,
                          .out_row0 = out->view.row0,
                          .in_pitch = in->view.row_pitch,
                          .out_pitch = out->view.row_pitch,
                          .epilogue = t->e,
                          .y0 = y0,
                          .y1 = y1,
                          .n0 = n0,
                          .n1 = n1,
                          .workspace = workspace};
    k->run(&a);
    mem_free(workspace);
}

static bool close_to_reference(const struct gemm_kernel *k, const struct gemm_case *t,
                               const struct test_map *out, int64_t y0, int64_t y1, int n0, int n1) {
    for (int64_t y = y0; y < y1; y++)
        for (int n = n0; n < n1; n++) {
            double sum = t->bias ? (double)t->bias[n] : 0, magnitude = fabs(sum);
            for (int i = 0; i < t->s.k; i++) {
                double p = (double)test_map_at(&t->in, y, i, 0) *
                           t->weights[(size_t)n * (size_t)t->s.k + (size_t)i];
                sum += p;
                magnitude += fabs(p);
            }
            double residual = t->e.residual ? (double)test_map_at(&t->residual, y, n, 0) : 0;
            double want = test_epilogue(&t->e, sum, residual);
            double error = k->fp16 ? test_fp16_bound(magnitude, t->s.k, 1, 1)
                                   : (t->s.k + 3) * (double)FLT_EPSILON * magnitude;
            double allowed = test_epilogue_tolerance(&t->e, error, sum, residual);
            double got = test_map_at(out, y, n, 0);
            if (!(fabs(got - want) <= allowed)) {
                fprintf(stderr, "%s, %d rows k %d n %d: (%d, %d) is %.9g, should be %.9g +- %.2g\n",
                        k->name, (int)t->s.rows, t->s.k, t->s.n, (int)y, n, got, want, allowed);
                return false;
            }
        }
    return true;
}

/* Features [n0, n1) of rows [y0, y1) of `out` are what `from` has there; all else is as before. */
static bool only_changed(const struct test_map *out, const struct test_map *before, int64_t y0,
                         int64_t y1, int n0, int n1) {
    struct test_map expected = test_map_copy(before);
    for (int64_t y = y0; y < y1; y++)
        for (int n = n0; n < n1; n++)
            *view_at(&expected.view, y, n, 0) = test_map_at(out, y, n, 0);
    bool same = memcmp(expected.memory, out->memory, out->floats * sizeof(float)) == 0;
    test_map_free(&expected);
    return same;
}

static void check_part(const struct gemm_kernel *k, const struct gemm_case *t, const void *packed,
                       const struct test_map *whole, int64_t y0, int64_t y1, int n0, int n1) {
    struct test_map in = test_map_tokens(y0 - 1, y1 - y0 + 2, t->s.k, 5);
    for (int64_t y = y0; y < y1; y++)
        for (int i = 0; i < t->s.k; i++)
            *view_at(&in.view, y, i, 0) = test_map_at(&t->in, y, i, 0);
    struct test_map out = test_map_tokens(-2, t->s.rows + 3, t->s.n, 7);
    struct test_map before = test_map_copy(&out);
    run_kernel(k, t, packed, &in, &out, y0, y1, n0, n1);
    assert_true(only_changed(&out, &before, y0, y1, n0, n1));
    for (int64_t y = y0; k->row_exact && y < y1; y++)
        for (int n = n0; n < n1; n++) {
            float p = test_map_at(&out, y, n, 0), q = test_map_at(whole, y, n, 0);
            assert_memory_equal(&p, &q, sizeof p);
        }
    if (!k->row_exact)
        assert_true(close_to_reference(k, t, &out, y0, y1, n0, n1));
    test_map_free(&in);
    test_map_free(&out);
    test_map_free(&before);
}

/* On boards with other caches other slices and rows are at hand at once, and the bits are the same.
 */
static void check_caches(const struct gemm_kernel *k, const struct gemm_case *t, const void *packed,
                         const struct test_map *whole) {
    static const size_t l2[] = {1, 64 << 20};
    for (int i = 0; i < 2 && k->row_exact; i++) {
        const struct kernel_board board = {.l2_bytes = l2[i]};
        struct gemm_case here = *t;
        here.s.board = &board;
        struct test_map out = test_map_tokens(0, t->s.rows, t->s.n, 3);
        run_kernel(k, &here, packed, &t->in, &out, 0, t->s.rows, 0, t->s.n);
        bool same = true;
        for (int64_t y = 0; y < t->s.rows; y++)
            for (int n = 0; n < t->s.n; n++) {
                float p = test_map_at(&out, y, n, 0), q = test_map_at(whole, y, n, 0);
                same = same && memcmp(&p, &q, sizeof p) == 0;
            }
        assert_true(same);
        test_map_free(&out);
    }
}

/* What kernels with float16 weights are given, and must compute exactly: such numbers. */
static void round_weights(struct gemm_case *t) {
    for (size_t i = 0; i < (size_t)t->s.n * (size_t)t->s.k; i++)
        t->weights[i] = half_to_float(float_to_half(t->weights[i]));
}

/* From some rows of the matrix at a time the packed weights are the same. */
static void check_rows(const struct gemm_kernel *k, const struct gemm_case *t, const void *want) {
    const size_t bytes = k->weights_bytes(&t->s);
    const int some = 1 + t->s.k / 3;
    unsigned char *packed = must(mem_zalloc(bytes, 1));
    float *rows = must(mem_alloc((size_t)some * (size_t)t->s.n * sizeof *rows));
    for (int k0 = 0; k0 < t->s.k; k0 += some) {
        const int k1 = t->s.k - k0 < some ? t->s.k : k0 + some;
        for (int i = k0; i < k1; i++)
            for (int n = 0; n < t->s.n; n++)
                rows[(i - k0) * t->s.n + n] = t->weights[(ptrdiff_t)n * t->s.k + i];
        for (int n = 0; n < t->s.n; n += BLOCK)
            k->pack_matrix(&t->s, rows + n, t->s.n, k0, k1, n,
                           t->s.n - n < BLOCK ? t->s.n - n : BLOCK, packed);
    }
    assert_memory_equal(packed, want, bytes);
    mem_free(rows);
    mem_free(packed);
}

static void check_kernel(const struct gemm_kernel *k, const struct gemm_case *t, struct random *r) {
    size_t bytes = k->weights_bytes(&t->s);
    int blocks = (t->s.n + BLOCK - 1) / BLOCK;
    unsigned char *packed = must(mem_zalloc(bytes + 64, 1));
    memset(packed + bytes, 0xa5, 64);
    for (int n = 0; n < t->s.n; n += BLOCK)
        k->pack(&t->s, t->weights + (size_t)n * (size_t)t->s.k, n,
                t->s.n - n < BLOCK ? t->s.n - n : BLOCK, packed);
    for (int i = 0; i < 64; i++)
        assert_int_equal(packed[bytes + (size_t)i], 0xa5);
    if (k->pack_matrix != NULL)
        check_rows(k, t, packed);
    struct test_map out = test_map_tokens(0, t->s.rows, t->s.n, 3);
    struct test_map before = test_map_copy(&out);
    run_kernel(k, t, packed, &t->in, &out, 0, t->s.rows, 0, t->s.n);
    assert_true(only_changed(&out, &before, 0, t->s.rows, 0, t->s.n));
    assert_true(close_to_reference(k, t, &out, 0, t->s.rows, 0, t->s.n));
    if (random_int(r, 0, 5) == 0)
        check_caches(k, t, packed, &out);
    for (int i = 0; i < 3; i++) {
        int y0 = random_int(r, 0, (int)t->s.rows - 1), b0 = random_int(r, 0, blocks - 1);
        int y1 = i == 0 ? y0 + 1 : random_int(r, y0 + 1, (int)t->s.rows);
        int n1 = random_int(r, b0 + 1, blocks) * BLOCK;
        check_part(k, t, packed, &out, y0, y1, b0 * BLOCK, n1 < t->s.n ? n1 : t->s.n);
    }
    check_part(k, t, packed, &out, 0, 0, 0, t->s.n);
    test_map_free(&out);
    test_map_free(&before);
    mem_free(packed);
}

/* The registry's, and one in float16 arithmetic that any machine can run. */
static const struct gemm_kernel *kernel_number(int i) {
    int count;
    const struct gemm_kernel *const *list = kernels_gemm(&count);
    return i < count ? list[i] : &gemm_generic_test_fp16;
}

static void test_gemm(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 3, 7, 15, 16, 17, 31, 33, 64};
    static const int depths[] = {1, 2, 15, 16, 100, 255, 256, 257, 600};
    enum { SIZES = sizeof sizes / sizeof *sizes, DEPTHS = sizeof depths / sizeof *depths };
    struct random r = {5};
    int count, runs[64] = {0}, skipped = 0;
    kernels_gemm(&count);
    count++;
    assert_in_range(count, 1, 64);
    const int step = getenv("COHORT_SHORT") != NULL ? 7 : 1; /* coprime to the numbers of sizes */
    for (int i = 0; i < SIZES * DEPTHS * SIZES; i += step) {
        struct gemm_shape s = {.rows = sizes[i % SIZES],
                               .k = depths[i / SIZES % DEPTHS],
                               .n = sizes[i / SIZES / DEPTHS]};
        struct gemm_case t;
        case_make(&t, s, &r);
        for (int k = 0; k < 2 * count; k++) {
            const struct gemm_kernel *kernel = kernel_number(k % count);
            if (k == count)
                round_weights(&t);
            if (!(kernel_isa_available() & 1u << kernel->isa) || kernel->rate(&s) <= 0 ||
                kernel->half != (k >= count))
                continue;
            check_kernel(kernel, &t, &r);
            runs[k % count]++;
        }
        case_free(&t);
    }
    for (int k = 0; k < count; k++) {
        if (!(kernel_isa_available() & 1u << kernel_number(k)->isa)) {
            skipped++;
            continue;
        }
        print_message("# %s: %d shapes\n", kernel_number(k)->name, runs[k]);
        assert_true(runs[k] > 0);
    }
    print_message("# %d of %d kernels skipped for want of the instruction set\n", skipped, count);
}

/* Weights beyond float16's range saturate; float32 and float16 kernels are chosen apart. */
static void test_half(void **state) {
    (void)state;
    int count;
    const struct gemm_kernel *const *list = kernels_gemm(&count);
    float weights[2] = {1e6f, -1e6f}, in = 1, out[2];
    for (int k = 0; k < count; k++) {
        struct gemm_shape s = {.rows = 1, .k = 1, .n = 2, .half = list[k]->half};
        unsigned isa = 1u << list[k]->isa;
        if (!(kernel_isa_available() & isa))
            continue;
        assert_int_equal(kernel_choose_gemm(&s, isa, list[k]->name) == list[k], 1);
        s.half = !s.half;
        assert_null(kernel_choose_gemm(&s, isa, list[k]->name));
        if (!list[k]->half)
            continue;
        assert_int_equal(2 * list[k]->weights_bytes(&s),
                         kernel_choose_gemm(&s, 1u << ISA_GENERIC, NULL)->weights_bytes(&s));
        void *packed = must(mem_zalloc(list[k]->weights_bytes(&s), 1));
        void *workspace = must(mem_zalloc(list[k]->workspace_bytes(&s), 1));
        list[k]->pack(&s, weights, 0, 2, packed);
        struct gemm_args a = {.shape = &s,
                              .weights = packed,
                              .in = &in,
                              .out = out,
                              .in_pitch = 1,
                              .out_pitch = 2,
                              .y1 = 1,
                              .n1 = 2,
                              .workspace = workspace};
        list[k]->run(&a);
        assert_true(out[0] == 65504.0f && out[1] == -65504.0f);
        mem_free(packed);
        mem_free(workspace);
    }
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
