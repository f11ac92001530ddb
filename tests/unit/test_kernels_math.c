/* The kernels' own exp, tanh, erf, sigmoid, log and pow, against the C library's in double.
 *
 * Errors are measured in units in the last place of the true value (ulp), over a fine sweep of
 * every float's exponent and both signs, and printed. */
#include "base/mem.h"
#include "kernels/generic/epilogue.h"
#include "kernels/generic/mathfun.h"
#include "tests/support/testmap.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* |got - want| in units of the last place that a float near `want` has. */
static double ulps(float got, double want) {
    float near_want = (float)want;
    if (isnan(want))
        return isnan(got) ? 0 : 1e30;
    if (isinf(near_want) || isinf(got))
        return got == near_want                                                    ? 0
               : fabs(want) > FLT_MAX * 0.99999 && fabsf(got) > FLT_MAX * 0.99999f ? 1
                                                                                   : 1e30;
    int e;
    frexp(want, &e);
    double unit = ldexp(1, (want == 0 || e < -125 ? -125 : e) - 24);
    return fabs(got - want) / unit;
}

/* Every float of a coarse grid over all bit patterns, and a fine one where functions bend. */
static double worst(float (*f)(float), double (*true_f)(double), const char *name) {
    double most = 0;
    float at = 0;
    for (uint64_t bits = 0; bits < 0x100000000u; bits += 7919) {
        float x = math_from_bits((uint32_t)bits);
        double u = ulps(f(x), true_f((double)x));
        if (u > most) {
            most = u;
            at = x;
        }
    }
    for (int i = -1100000; i <= 1100000; i++) {
        float x = (float)i * 1e-4f;
        double u = ulps(f(x), true_f((double)x));
        if (u > most) {
            most = u;
            at = x;
        }
    }
    print_message("# %s: at most %.2f ulp, at %g\n", name, most, (double)at);
    return most;
}

/* With its floor, e^-87.3: less would be no normal number. */
static double true_sigmoid(double x) {
    return 1 / (1 + exp(-(x < (double)-87.3f ? (double)-87.3f : x)));
}

static float silu(float x) {
    return math_act(KACT_SILU, 0, 0, x);
}

/* 2^f without fused multiply-adds, and this build's, have the bits of such. */
static void test_fused(void **state) {
    (void)state;
    int compared = 0;
    for (uint32_t sign = 0; sign < 2; sign++)
        for (uint32_t bits = 0; bits <= 0x3f000000u; bits += bits < 0x38000000u ? 10007 : 61) {
            float f = math_from_bits(sign << 31 | bits), g = fmaf(POWER_5, f, POWER_4);
            g = fmaf(g, f, POWER_3);
            g = fmaf(g, f, POWER_2);
            g = fmaf(g, f, POWER_1);
            g = fmaf(g, f, 1);
            const vec all = vmath_power(vec_set(f));
            if (math_bits((float)twin_power(twin_set((double)f))[1]) != math_bits(g) ||
                math_bits(math_power(f)) != math_bits(g) || math_bits(all[VL - 1]) != math_bits(g))
                fail_msg("2^%a is %a, should be %a", (double)f, (double)all[0], (double)g);
            compared++;
        }
    assert_true(compared > 1000000);
}

/* Its argument may be off by 5/4 * 2^-24 of it (a rounding is 2^-24, and log2(e) has an error too),
 * whose effect on the result is |x| times that, relatively: errors are measured beyond it. */
static void test_silu(void **state) {
    (void)state;
    double most = 0;
    for (int i = -870000; i <= 1000000; i++) {
        float x = (float)i * 1e-4f;
        double want = (double)x / (1 + exp(-(double)x));
        double slope = 1 + (double)x / (1 + exp((double)x)); /* x silu'(x) / silu(x) */
        double allowed = fabs(want * slope) * ldexp(1.25, -24);
        double beyond = fabs((double)silu(x) - want) - allowed;
        most = fmax(most, beyond > 0 ? ulps((float)(want + beyond), want) : 0);
    }
    print_message("# silu: at most %.2f ulp more than its argument's error makes\n", most);
    assert_true(most < 4);
    assert_true(silu(0) == 0 && silu(200) == 200 && silu(FLT_MAX) == FLT_MAX);
    assert_true(silu(INFINITY) == INFINITY && isnan(silu(NAN)));
    assert_true(silu(-200) <= 0 && silu(-200) > -1e-35f);
}

static void test_functions(void **state) {
    (void)state;
    assert_true(worst(math_exp, exp, "exp") < 2);
    assert_true(worst(math_tanh, tanh, "tanh") < 2);
    assert_true(worst(math_erf, erf, "erf") < 2);
    assert_true(worst(math_sigmoid, true_sigmoid, "sigmoid") < 3);
}

static void test_special_values(void **state) {
    (void)state;
    assert_true(math_exp(0) == 1);
    assert_true(math_exp(-INFINITY) == 0);
    assert_true(math_exp(INFINITY) == INFINITY);
    assert_true(math_exp(-200) == 0);
    assert_true(math_exp(100) == INFINITY);
    assert_true(math_tanh(INFINITY) == 1 && math_tanh(-INFINITY) == -1);
    assert_true(math_erf(INFINITY) == 1 && math_erf(-INFINITY) == -1);
    assert_true(math_tanh(0) == 0 && math_erf(0) == 0);
    assert_true(math_sigmoid(0) == 0.5f && math_sigmoid(-INFINITY) < 1.3e-38f);
    assert_true(math_gelu(0) == 0 && fabsf(math_gelu(10) - 10) < 1e-6f);
}

static void test_log(void **state) {
    (void)state;
    double most = 0;
    struct random r = {3};
    for (int i = 0; i < 300000; i++) {
        double x = ldexp(1 + (double)random_next(&r) / 4294967296.0, random_int(&r, -300, 300));
        double want = log(x), error = fabs(math_log(x) - want);
        most = fmax(most, error / fmax(fabs(want), 1e-3));
    }
    print_message("# log: relative error at most %.2g\n", most);
    assert_true(most < 1e-14);
    assert_true(math_log(1) == 0);
    assert_true(fabs(math_log(1e-310) - log(1e-310)) < 1e-11);
}

static void test_pow(void **state) {
    (void)state;
    static const float specials[] = {0.0f,        -0.0f,  1.0f,     -1.0f,     2.0f, -2.0f,
                                     0.5f,        -0.5f,  3.0f,     -3.0f,     4.0f, 1e30f,
                                     -1e30f,      0.75f,  INFINITY, -INFINITY, NAN,  16777216.0f,
                                     16777215.0f, 1e-40f, -7.0f,    0.9999f};
    enum { SPECIALS = sizeof specials / sizeof *specials };
    double most = 0;
    struct random r = {4};
    for (int i = 0; i < SPECIALS; i++)
        for (int j = 0; j < SPECIALS; j++) {
            double want = pow((double)specials[i], (double)specials[j]);
            float got = math_pow(specials[i], specials[j]);
            if (ulps(got, want) > 1 || (!isnan(want) && !signbit(got) != !signbit(want)))
                fail_msg("pow(%g, %g) is %g, should be %g", (double)specials[i],
                         (double)specials[j], (double)got, want);
        }
    for (int i = 0; i < 300000; i++) {
        float x = (float)ldexp(1 + random_float(&r) / 2.0, random_int(&r, -40, 40));
        float y = random_float(&r) * (float)random_int(&r, 1, 6);
        most = fmax(most, ulps(math_pow(x, y), pow((double)x, (double)y)));
    }
    print_message("# pow: at most %.2f ulp\n", most);
    assert_true(most < 1);
}

/* A long run is vectorised, single elements are not: the bits must be the same. */
static void test_same_bits_in_runs(void **state) {
    (void)state;
    enum { N = 4099 };
    static float v[N], w[N];
    struct random r = {6};
    for (int act = KACT_NONE; act < KACT_COUNT; act++) {
        for (int i = 0; i < N; i++)
            v[i] = w[i] = random_float(&r) * (float)(1 << random_int(&r, 0, 7));
        activate_runs((enum kernel_act)act, 0.1f, 0.6f, v, 0, v, 0, N, 1);
        activate_runs((enum kernel_act)act, 0.1f, 0.6f, w, 1, w, 1, 1, N);
        assert_memory_equal(v, w, sizeof v);
    }
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_silu),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_pow),
        cmocka_unit_test(test_same_bits_in_runs),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
