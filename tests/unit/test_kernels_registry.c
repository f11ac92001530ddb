/* The registry, the choice of a kernel, and the arithmetic of runs of outputs (axis.h). */
#include "base/mem.h"
#include "kernels/axis.h"
#include "kernels/plainops.h"
#include "tests/support/testmap.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ALL 0xffffffffu

static const struct conv_shape dense = {.in_c = 32,
                                        .in_h = 8,
                                        .in_w = 8,
                                        .out_c = 32,
                                        .out_h = 8,
                                        .out_w = 8,
                                        .groups = 1,
                                        .kernel_h = 3,
                                        .kernel_w = 3,
                                        .stride_h = 1,
                                        .stride_w = 1,
                                        .pad_top = 1,
                                        .pad_left = 1,
                                        .dilation_h = 1,
                                        .dilation_w = 1,
                                        .in_blocked = true,
                                        .out_blocked = true};

/* The name begins with the family and the instruction set, and is unique. */
static void check_name(const char *name, const char *family, enum kernel_isa isa) {
    size_t n = strlen(family);
    const char *isa_name = kernel_isa_name(isa);
    assert_memory_equal(name, family, n);
    assert_int_equal(name[n], '_');
    assert_memory_equal(name + n + 1, isa_name, strlen(isa_name));
}

static void test_names(void **state) {
    (void)state;
    int n;
    const struct conv_kernel *const *conv = kernels_conv(&n);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        check_name(conv[i]->name, "conv", conv[i]->isa);
        assert_true(conv[i]->granule_rows >= 1);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(conv[i]->name, conv[j]->name);
    }
    const struct conv_kernel *const *deconv = kernels_deconv(&n);
    for (int i = 0; i < n; i++)
        check_name(deconv[i]->name, "deconv", deconv[i]->isa);
    const struct gemm_kernel *const *gemm = kernels_gemm(&n);
    for (int i = 0; i < n; i++)
        check_name(gemm[i]->name, "gemm", gemm[i]->isa);
    const struct pool_kernel *const *pool = kernels_pool(&n);
    for (int i = 0; i < n; i++)
        check_name(pool[i]->name, "pool", pool[i]->isa);
    const struct plainops *const *plain = kernels_plain(&n);
    for (int i = 0; i < n; i++)
        check_name(plain[i]->name, "plain", plain[i]->isa);
    assert_string_equal(kernel_isa_name((enum kernel_isa)99), "unknown");
}

static void test_available(void **state) {
    (void)state;
    unsigned mask = kernel_isa_available();
    assert_true(mask & 1u << ISA_GENERIC);
    assert_true(mask & 1u << ISA_BLAS);
    assert_true(mask < 1u << ISA_COUNT);
#if defined(__x86_64__)
    assert_false(mask & (1u << ISA_NEON32 | 1u << ISA_NEON64));
#endif
}

static void test_choose(void **state) {
    (void)state;
    unsigned generic = 1u << ISA_GENERIC, blas = 1u << ISA_BLAS;
    struct conv_shape depthwise = dense;
    depthwise.groups = 32;
    struct gemm_shape gemm = {.rows = 4, .k = 8, .n = 8};
    struct pool_args pool = {.kernel_h = 2, .kernel_w = 2};

    assert_string_equal(kernel_choose_conv(&dense, generic, "direct")->name, "conv_generic_direct");
    assert_int_equal(kernel_choose_conv(&dense, ALL, "direct")->winograd, 0);
    assert_int_not_equal(kernel_choose_conv(&dense, ALL, "direct")->isa, ISA_BLAS);
    assert_string_equal(kernel_choose_conv(&depthwise, generic, NULL)->name,
                        "conv_generic_depthwise");
    /* OpenBLAS: only when nothing else is allowed, or when it is named */
    assert_int_not_equal(kernel_choose_conv(&dense, ALL, NULL)->isa, ISA_BLAS);
    assert_int_not_equal(kernel_choose_gemm(&gemm, ALL, NULL)->isa, ISA_BLAS);
    assert_int_equal(kernel_choose_conv(&dense, generic | blas, NULL)->isa, ISA_GENERIC);
    assert_string_equal(kernel_choose_gemm(&gemm, generic | blas, NULL)->name, "gemm_generic");
    assert_int_equal(kernel_choose_conv(&dense, blas, NULL)->isa, ISA_BLAS);
    assert_int_equal(kernel_choose_conv(&dense, ALL, "blas")->isa, ISA_BLAS);
    assert_int_equal(kernel_choose_gemm(&gemm, ALL, "blas")->isa, ISA_BLAS);
    assert_string_equal(kernel_choose_gemm(&gemm, ALL, "gemm_blas")->name, "gemm_blas");
    assert_string_equal(kernel_choose_conv(&dense, ALL, "conv_generic_direct")->name,
                        "conv_generic_direct");
    assert_string_equal(kernel_choose_deconv(&dense, ALL, "generic")->name,
                        "deconv_generic_gather");
    assert_string_equal(kernel_choose_pool(&pool, generic, NULL)->name, "pool_generic");
    assert_string_equal(kernel_choose_pool(&pool, ALL, "generic")->name, "pool_generic");
    assert_string_equal(kernel_choose_plain(generic, NULL)->name, "plain_generic");
    assert_string_equal(kernel_choose_plain(ALL, "plain_generic")->name, "plain_generic");
    /* a name of another family leaves the choice, which is the widest */
    assert_ptr_equal(kernel_choose_plain(ALL, "conv_blas_im2row"), kernel_choose_plain(ALL, NULL));
    assert_string_equal(kernel_choose_plain(0, NULL)->name, "plain_generic");
    if (kernel_isa_available() & 1u << ISA_AVX2) {
        unsigned avx2 = generic | 1u << ISA_AVX2;
        assert_string_equal(kernel_choose_plain(avx2, NULL)->name, "plain_avx2");
        assert_string_equal(kernel_choose_pool(&pool, avx2, NULL)->name, "pool_avx2");
        assert_string_equal(kernel_choose_conv(&depthwise, avx2, NULL)->name,
                            "conv_avx2_depthwise");
    }
    /* nothing */
    assert_null(kernel_choose_conv(&dense, 0, NULL));
    assert_null(kernel_choose_conv(&dense, ALL, "no_such_kernel"));
    assert_null(kernel_choose_conv(&dense, generic, "blas"));
    assert_null(kernel_choose_conv(&dense, ALL, "conv_generic_depthwise"));
    assert_null(kernel_choose_deconv(&dense, ALL, "blas"));
    assert_null(kernel_choose_pool(&pool, blas, NULL));
}

/* Every run's taps against a search over all of them. */
static void check_axis(bool transposed, int in, int kernel, int stride, int pad, int dilation,
                       int out) {
    struct axis a = axis_make(transposed, in, kernel, stride, pad, dilation);
    bool seen[64] = {false};
    for (int phase = 0; phase < a.step && phase < out; phase++) {
        struct axis_run r;
        for (int o = phase; o < out; o += r.count * a.step) {
            r = axis_run_at(&a, o, out);
            assert_true(r.count >= 1);
            for (int i = 0; i < r.count; i++) {
                int at = o + i * a.step, found = 0;
                assert_true(at < out);
                assert_false(seen[at]);
                seen[at] = true;
                for (int k = 0; k < kernel; k++)
                    for (int x = 0; x < in; x++) {
                        if (transposed ? at != x * stride + k * dilation - pad
                                       : x != at * stride + k * dilation - pad)
                            continue;
                        assert_true(found < r.taps);
                        assert_int_equal(k, r.k0 + found * a.dk);
                        assert_int_equal(x, (int)r.i0 + i * a.advance + found * a.di);
                        found++;
                    }
                assert_int_equal(found, r.taps);
            }
        }
    }
    for (int o = 0; o < out; o++)
        assert_true(seen[o]);
}

static void test_axis(void **state) {
    (void)state;
    int cases = 0;
    for (int in = 1; in <= 7; in++)
        for (int kernel = 1; kernel <= 5; kernel++)
            for (int stride = 1; stride <= 4; stride++)
                for (int pad = 0; pad <= 5; pad++)
                    for (int dilation = 1; dilation <= 4; dilation++) {
                        check_axis(false, in, kernel, stride, pad, dilation, 9);
                        check_axis(true, in, kernel, stride, pad, dilation, 31);
                        cases += 2;
                    }
    assert_true(cases > 6000);
}

/* The interior comes in one run: that is what makes it fast. */
static void test_axis_interior(void **state) {
    (void)state;
    struct axis a = axis_make(false, 56, 3, 1, 1, 1);
    assert_int_equal(axis_run_at(&a, 0, 56).count, 1);
    assert_int_equal(axis_run_at(&a, 1, 56).count, 54);
    assert_int_equal(axis_run_at(&a, 55, 56).count, 1);
    a = axis_make(true, 56, 4, 2, 1, 1);
    assert_int_equal(axis_run_at(&a, 1, 112).count, 55);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),         cmocka_unit_test(test_available),
        cmocka_unit_test(test_choose),        cmocka_unit_test(test_axis),
        cmocka_unit_test(test_axis_interior), cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
