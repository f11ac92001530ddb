/* Timing kernels by themselves: every kernel that can do a layer is timed, nothing is left, and the
 * core's peak is there for every instruction set that it has.
 * alone: it measures speeds */
#include "base/mem.h"
#include "kernels/peak.h"
#include "profile/kernel_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

static const char *const small[] = {
    "conv 3x12x12 to 20x6x6 kernel 3x3 stride 2x2 pad 1,1 dilation 1x1 groups 1 maps nb",
    "conv 32x9x9 to 32x9x9 kernel 3x3 stride 1x1 pad 1,1 dilation 1x1 groups 32 maps bb",
    "conv 32x9x9 to 40x9x9 kernel 3x3 stride 1x1 pad 1,1 dilation 1x1 groups 1 maps bb",
    "deconv 16x5x5 to 16x10x10 kernel 2x2 stride 2x2 pad 0,0 dilation 1x1 groups 1 maps bb",
    "gemm 3x40 to 50",
    "gemm 3x40 to 50 f16"};
enum { SMALL = sizeof small / sizeof *small };

static void every_kernel_is_timed(void **state) {
    (void)state;
    for (int i = 0; i < SMALL; i++) {
        struct kernel_speed speeds[KERNEL_BENCH_MAX];
        const char *names[KERNEL_BENCH_MAX];
        struct cohort_error err = {0};
        struct signature s;
        int count, found = 0;
        assert_true(signature_parse(&s, small[i]));
        assert_int_equal(kernel_bench(&s, NULL, NULL, speeds, &count, &err), COHORT_OK);
        int candidates = signature_candidates(&s, ~0u, names, KERNEL_BENCH_MAX);
        assert_true(candidates > 0 && count >= candidates); /* OpenBLAS's are timed, too */
        for (int k = 0; k < count; k++) {
            assert_true(speeds[k].ms > 0 && isfinite(speeds[k].ms));
            assert_true(fabs(speeds[k].gflops * speeds[k].ms - 2e-6 * signature_macs(&s)) < 1e-6);
            assert_true(speeds[k].peak_gflops > 0);
            for (int j = 0; j < candidates; j++)
                found += strcmp(names[j], speeds[k].kernel) == 0;
        }
        assert_int_equal(found, candidates);
    }
}

static bool is_generic(void *context, const char *kernel) {
    return strstr(kernel, context) != NULL;
}

static void kernels_are_chosen_by_name(void **state) {
    (void)state;
    char wanted[] = "generic", none[] = "quantum";
    struct kernel_speed speeds[KERNEL_BENCH_MAX];
    struct cohort_error err = {0};
    struct signature s;
    int count;
    assert_true(signature_parse(&s, small[4]));
    assert_int_equal(kernel_bench(&s, is_generic, wanted, speeds, &count, &err), COHORT_OK);
    assert_int_equal(count, 1);
    assert_string_equal(speeds[0].kernel, "gemm_generic");
    assert_int_equal(kernel_bench(&s, is_generic, none, speeds, &count, &err), COHORT_OK);
    assert_int_equal(count, 0);
}

/* Each peak loop adds what it says: sums that can be foretold. */
static void peaks_are_real(void **state) {
    (void)state;
    int count, runs = 0;
    const struct peak *const *list = kernels_peak(&count);
    for (int i = 0; i < count; i++) {
        if (!(kernel_isa_available() & 1u << list[i]->isa))
            continue;
        float numbers[PEAK_FLOATS];
        for (int k = 0; k < PEAK_FLOATS; k++)
            numbers[k] = (float)(k + 2);
        list[i]->run(1, numbers);
        int done = PEAK_CHAINS * list[i]->lanes;
        for (int k = 0; k < PEAK_FLOATS; k++) {
            float was = (float)(k + 2);
            bool same = numbers[k] == was;
            /* s + 0.5 x, or 0.5 s + x, with x = numbers[0] = 2 */
            bool moved = numbers[k] == was + 1 || numbers[k] == was * 0.5f + 2;
            if (k >= done ? !same : !moved)
                fail_msg("%s: number %d became %g", kernel_isa_name(list[i]->isa), k,
                         (double)numbers[k]);
        }
        assert_true(kernel_peak_gflops(list[i]->isa) > 0);
        runs++;
    }
    assert_true(runs > 0);
    assert_true(kernel_peak_gflops(ISA_BLAS) >= kernel_peak_gflops(ISA_GENERIC) * 0.5);
}

static void layers_are_layers(void **state) {
    (void)state;
    int count;
    const struct bench_layer *layers = kernel_bench_layers(&count);
    assert_true(count > 20);
    for (int i = 0; i < count; i++) {
        char text[SIGNATURE_TEXT_BYTES];
        const char *names[4];
        struct signature s;
        assert_true(signature_parse(&s, signature_text(&layers[i].signature, text)));
        assert_true(signature_macs(&s) > 1e5);
        if (signature_candidates(&s, ~0u, names, 4) == 0)
            fail_msg("%s: no kernel", layers[i].name);
    }
}

static void memory_may_run_out(void **state) {
    (void)state;
    struct signature s;
    enum cohort_code code = COHORT_ERR_MEMORY;
    assert_true(signature_parse(&s, small[4]));
    for (long n = 1; code == COHORT_ERR_MEMORY; n++) {
        struct kernel_speed speeds[KERNEL_BENCH_MAX];
        struct cohort_error err = {0};
        int count;
        mem_fail_at(n);
        code = kernel_bench(&s, NULL, NULL, speeds, &count, &err);
        mem_fail_at(0);
        assert_int_equal(mem_live_blocks(), 0);
        assert_true(n < 1000);
    }
    assert_int_equal(code, COHORT_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_is_timed), cmocka_unit_test(kernels_are_chosen_by_name),
        cmocka_unit_test(peaks_are_real),        cmocka_unit_test(layers_are_layers),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests_name("kernel_bench", tests, NULL, NULL);
}
