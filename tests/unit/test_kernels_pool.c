/* Every pooling kernel of the registry: windows, pads, dilation, ceil-mode cells, ranges.
 *
 * The reference walks each output's window cell by cell.  Maxima must be equal, averages within
 * (k + 2) * FLT_EPSILON * sum |a| / divisor. */
#include "base/mem.h"
#include "kernels/kernel.h"
#include "tests/support/testmap.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static double reference(const struct pool_args *a, const struct test_map *in, int y, int x, int c,
                        double *allowed) {
    double greatest = -INFINITY, sum = 0, magnitude = 0, powers = 0;
    int inside = 0, padded = 0;
    for (int ky = 0; ky < a->kernel_h; ky++)
        for (int kx = 0; kx < a->kernel_w; kx++) {
            int iy = y * a->stride_h - a->pad_top + ky * a->dilation_h;
            int ix = x * a->stride_w - a->pad_left + kx * a->dilation_w;
            padded += iy < a->in_h + a->pad_bottom && ix < a->in_w + a->pad_right;
            if (iy < 0 || ix < 0 || iy >= a->in_h || ix >= a->in_w)
                continue;
            double v = test_map_at(in, iy, c, ix);
            greatest = fmax(greatest, v);
            sum += v;
            magnitude += fabs(v);
            powers += pow(fabs(v), a->order);
            inside++;
        }
    int divisor = a->count_pad ? padded : inside;
    *allowed = 0;
    if (a->kind == POOL_MAX)
        return greatest;
    if (a->kind == POOL_NORM) {
        *allowed = (a->kernel_h * a->kernel_w + 4) * (double)FLT_EPSILON * (powers + 1);
        return pow(powers, 1.0 / a->order);
    }
    if (divisor == 0)
        return 0;
    *allowed = (a->kernel_h * a->kernel_w + 2) * (double)FLT_EPSILON * magnitude / divisor;
    return sum / divisor;
}

static void check_range(const struct pool_kernel *k, const struct pool_args *shape,
                        const struct test_map *in, int channels, int y0, int y1, int b0, int b1) {
    struct test_map out = test_map_make(-1, shape->out_h + 2, channels, shape->out_w, 16);
    struct test_map before = test_map_copy(&out);
    struct pool_args a = *shape;
    a.in = in->view;
    a.out = out.view;
    a.y0 = y0;
    a.y1 = y1;
    a.block0 = b0;
    a.block1 = b1;
    k->run(&a);
    assert_true(test_map_only(&out, &before, y0, y1, b0, b1));
    for (int y = y0; y < y1; y++)
        for (int x = 0; x < a.out_w; x++)
            for (int c = b0 * BLOCK; c < b1 * BLOCK && c < channels; c++) {
                double allowed, want = reference(&a, in, y, x, c, &allowed);
                double got = test_map_at(&out, y, c, x);
                if (got == want || fabs(got - want) <= allowed)
                    continue;
                fail_msg("%s kind %d %dx%d C %d kernel %dx%d stride %d,%d pad %d,%d,%d,%d dilation "
                         "%d,%d count_pad %d: (y %d, x %d, c %d) is %.9g, should be %.9g",
                         k->name, (int)a.kind, a.in_h, a.in_w, channels, a.kernel_h, a.kernel_w,
                         a.stride_h, a.stride_w, a.pad_top, a.pad_left, a.pad_bottom, a.pad_right,
                         a.dilation_h, a.dilation_w, a.count_pad, y, x, c, got, want);
            }
    test_map_free(&out);
    test_map_free(&before);
}

static int out_size(int in, int kernel, int stride, int pads, int dilation, bool ceil_mode) {
    int span = in + pads - (kernel - 1) * dilation - 1;
    return span < 0 ? 0 : (span + (ceil_mode ? stride - 1 : 0)) / stride + 1;
}

static void test_pool(void **state) {
    (void)state;
    static const int channels[] = {1, 3, 8, 15, 16, 17, 24, 32, 48};
    struct random r = {9};
    int count, runs[64] = {0}, skipped = 0, beyond = 0;
    const struct pool_kernel *const *list = kernels_pool(&count);
    assert_in_range(count, 1, 64);
    for (int i = 0; i < 3000; i++) {
        int c = channels[random_int(&r, 0, 8)];
        bool ceil_mode = random_int(&r, 0, 1);
        struct pool_args a = {.kind = (enum pool_kind)random_int(&r, POOL_MAX, POOL_NORM),
                              .order = random_int(&r, 1, 3),
                              .in_h = random_int(&r, 1, 9),
                              .in_w = random_int(&r, 1, i % 4 ? 11 : 40),
                              .kernel_h = random_int(&r, 1, 4),
                              .kernel_w = random_int(&r, 1, 4),
                              .stride_h = random_int(&r, 1, 4),
                              .stride_w = random_int(&r, 1, 4),
                              .dilation_h = random_int(&r, 1, 3),
                              .dilation_w = random_int(&r, 1, 2),
                              .count_pad = random_int(&r, 0, 1)};
        a.pad_top = random_int(&r, 0, a.kernel_h - 1);
        a.pad_left = random_int(&r, 0, a.kernel_w - 1);
        a.pad_bottom = random_int(&r, 0, a.kernel_h - 1);
        a.pad_right = random_int(&r, 0, a.kernel_w - 1);
        a.out_h = out_size(a.in_h, a.kernel_h, a.stride_h, a.pad_top + a.pad_bottom, a.dilation_h,
                           ceil_mode);
        a.out_w = out_size(a.in_w, a.kernel_w, a.stride_w, a.pad_left + a.pad_right, a.dilation_w,
                           ceil_mode);
        if (a.out_h < 1 || a.out_w < 1)
            continue;
        beyond += (a.out_h - 1) * a.stride_h - a.pad_top >= a.in_h;
        /* the rows around the image are another's: guards */
        struct test_map in = test_map_make(-2, a.in_h + 5, c, a.in_w, 0);
        test_map_fill(&in, &r, 0, a.in_h);
        int blocks = view_blocks(&in.view);
        for (int k = 0; k < count; k++) {
            if (!(kernel_isa_available() & 1u << list[k]->isa) || list[k]->rate(&a) <= 0)
                continue;
            int y0 = random_int(&r, 0, a.out_h - 1), b0 = random_int(&r, 0, blocks - 1);
            check_range(list[k], &a, &in, c, 0, a.out_h, 0, blocks);
            check_range(list[k], &a, &in, c, y0, random_int(&r, y0, a.out_h), b0,
                        random_int(&r, b0, blocks));
            runs[k]++;
        }
        test_map_free(&in);
    }
    assert_true(beyond > 0); /* ceil-mode rows wholly beyond the image were met */
    for (int k = 0; k < count; k++) {
        if (!(kernel_isa_available() & 1u << list[k]->isa)) {
            skipped++;
            continue;
        }
        print_message("# %s: %d shapes\n", list[k]->name, runs[k]);
        assert_true(runs[k] > 0);
    }
    print_message("# %d of %d kernels skipped for want of the instruction set\n", skipped, count);
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
