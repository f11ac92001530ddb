/* DeformConv: by hand, as Conv where nothing is moved, and at random against the definition written
 * out with a tent function instead of four neighbours. */
#include "base/mem.h"
#include "tests/support/opcase.h"

static void test_by_hand(void **state) {
    (void)state;
    begin("DeformConv", 19); /* half a pixel down and right; not; a pixel up; far away */
    F32(DIMS(1, 1, 2, 2), 1, 2, 3, 4);
    F32(DIMS(1, 1, 1, 1), 10);
    F32(DIMS(1, 2, 2, 2), 0.5, 0, -1, 5, 0.5, 0, 0, 0);
    gives(DT_F32, DIMS(1, 1, 2, 2), VALUES(25, 20, 10, 0));
    begin("DeformConv", 22); /* with bias and mask; positions that are no numbers are nowhere */
    F32(DIMS(1, 1, 2, 2), 1, 2, 3, 4);
    F32(DIMS(1, 1, 1, 1), 10);
    F32(DIMS(1, 2, 2, 2), 0, NAN, 0, INFINITY, 0, 0, -INFINITY, 0);
    F32(DIMS(1), 0.5);
    F32(DIMS(1, 1, 2, 2), 0.5, 1, 1, 1);
    gives(DT_F32, DIMS(1, 1, 2, 2), VALUES(5.5, 0.5, 0.5, 0.5));
    begin("DeformConv", 19); /* half a pixel beyond the edge counts half */
    F32(DIMS(1, 1, 1, 2), 4, 8);
    F32(DIMS(1, 1, 1, 1), 1);
    F32(DIMS(1, 2, 1, 2), -0.5, 0, 0, 0.25);
    gives(DT_F32, DIMS(1, 1, 1, 2), VALUES(2, 6));
}

/* ---- the definition -------------------------------------------------------------------------- */

struct deform_case {
    int64_t batch, in_c, out_c, group, moved, size[2], kernel[2], stride[2], dilation[2], pad[2];
    int64_t out[2];
    bool mask;
};

static double at(int input, int64_t a, int64_t b, int64_t y, int64_t x) {
    const struct shape *s = &t.in[input].shape;
    return tensor_get_f64(&t.in[input], ((a * s->dim[1] + b) * s->dim[2] + y) * s->dim[3] + x);
}

static double tent(double d) {
    return fabs(d) < 1 ? 1 - fabs(d) : 0;
}

static double naive(const struct deform_case *g, int64_t n, int64_t oc, int64_t oy, int64_t ox) {
    const int64_t per_group = g->in_c / g->group, taps = g->kernel[0] * g->kernel[1];
    double sum = tensor_get_f64(&t.in[3], oc);
    for (int64_t c = 0; c < per_group; c++)
        for (int64_t k = 0; k < taps; k++) {
            const int64_t ic = oc / (g->out_c / g->group) * per_group + c;
            const int64_t tap = ic / (g->in_c / g->moved) * taps + k;
            const int64_t ky = k / g->kernel[1], kx = k % g->kernel[1];
            double y = (double)(oy * g->stride[0] + ky * g->dilation[0] - g->pad[0]), value = 0;
            double x = (double)(ox * g->stride[1] + kx * g->dilation[1] - g->pad[1]);
            y += at(2, n, 2 * tap, oy, ox);
            x += at(2, n, 2 * tap + 1, oy, ox);
            for (int64_t py = 0; py < g->size[0]; py++)
                for (int64_t px = 0; px < g->size[1]; px++)
                    value += tent(y - (double)py) * tent(x - (double)px) * at(0, n, ic, py, px);
            sum += value * at(1, oc, c, ky, kx) * (g->mask ? at(4, n, tap, oy, ox) : 1);
        }
    return sum;
}

static void check(const struct deform_case *g, uint64_t seed) {
    const int64_t taps = g->kernel[0] * g->kernel[1] * g->moved;
    begin("DeformConv", 22);
    t.seed = seed;
    optest_int(&t, "group", g->group);
    optest_int(&t, "offset_group", g->moved);
    optest_ints(&t, "strides", g->stride, 2);
    optest_ints(&t, "dilations", g->dilation, 2);
    const int64_t pads[4] = {g->pad[0], g->pad[1], g->pad[0], g->pad[1]};
    optest_ints(&t, "pads", pads, 4);
    optest_input(&t, DT_F32, DIMS(g->batch, g->in_c, g->size[0], g->size[1]), NULL);
    optest_input(&t, DT_F32, DIMS(g->out_c, g->in_c / g->group, g->kernel[0], g->kernel[1]), NULL);
    optest_input(&t, DT_F32, DIMS(g->batch, 2 * taps, g->out[0], g->out[1]), NULL);
    optest_input(&t, DT_F32, DIMS(g->out_c), NULL);
    if (g->mask)
        optest_input(&t, DT_F32, DIMS(g->batch, taps, g->out[0], g->out[1]), NULL);
    optest_run(&t, 1);
    for (int64_t i = 0; i < shape_count(&t.out[0].shape); i++) {
        const int64_t plane = g->out[0] * g->out[1], p = i / plane;
        double want = naive(g, p / g->out_c, p % g->out_c, i % plane / g->out[1], i % g->out[1]);
        double got = tensor_get_f64(&t.out[0], i);
        if (!(fabs(got - want) <= 1e-5 * fmax(1, fabs(want))))
            fail_msg("element %d is %g, not %g", (int)i, got, want);
    }
    optest_end(&t);
}

static int64_t draw(uint64_t *state, int64_t low, int64_t high) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)(*state >> 33) % (high - low + 1);
}

static void test_random(void **state) {
    (void)state;
    uint64_t r = 3;
    int checked = 0;
    for (int i = 0; i < 300; i++) {
        struct deform_case g = {.batch = draw(&r, 1, 2),
                                .group = draw(&r, 1, 2),
                                .moved = draw(&r, 1, 3),
                                .mask = draw(&r, 0, 1)};
        g.in_c = g.group * g.moved * draw(&r, 1, 2);
        g.out_c = g.group * draw(&r, 1, 3);
        for (int a = 0; a < 2; a++) {
            g.size[a] = draw(&r, 1, 6);
            g.kernel[a] = draw(&r, 1, 3);
            g.stride[a] = draw(&r, 1, 2);
            g.dilation[a] = draw(&r, 1, 2);
            g.pad[a] = draw(&r, 0, 1);
            int64_t room = g.size[a] + 2 * g.pad[a] - (g.kernel[a] - 1) * g.dilation[a] - 1;
            g.out[a] = room < 0 ? 0 : room / g.stride[a] + 1;
        }
        if (g.out[0] > 0 && g.out[1] > 0) {
            check(&g, (uint64_t)i + 1);
            checked++;
        }
    }
    assert_true(checked > 150);
}

static void test_refuses(void **state) {
    (void)state;
    begin("DeformConv", 19);
    F32(DIMS(1, 1, 2, 2), 1, 2, 3, 4);
    F32(DIMS(1, 1, 1, 1), 1);
    F32(DIMS(1, 2, 2, 1), 0, 0, 0, 0);
    refuses(COHORT_ERR_SHAPE, "the offset is 1x2x2x1; 1x2x2x2 is needed");
    begin("DeformConv", 19);
    optest_int(&t, "offset_group", 2);
    F32(DIMS(1, 1, 1, 1), 1);
    F32(DIMS(1, 1, 1, 1), 1);
    F32(DIMS(1, 4, 1, 1), 0, 0, 0, 0);
    refuses(COHORT_ERR_SHAPE, "2 offset groups do not divide 1 channels");
    begin("DeformConv", 19);
    F32(DIMS(1, 1, 1), 1);
    F32(DIMS(1, 1, 1), 1);
    F32(DIMS(1, 1, 1), 0);
    refuses(COHORT_ERR_UNSUPPORTED, "an input of rank 3");
    begin("DeformConv", 19);
    F32(DIMS(1, 2, 1, 1), 1, 1);
    F32(DIMS(1, 1, 1, 1), 1);
    F32(DIMS(1, 2, 1, 1), 0, 0);
    refuses(COHORT_ERR_SHAPE, "the input has 2 channels");
}

static void test_no_leaks(void **state) {
    (void)state;
    assert_int_equal(mem_live_blocks(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
