/* Conv and ConvTranspose: cases computed by hand, and random ones (groups, strides, dilations,
 * pads, auto_pad, one to three spatial axes) against the definition written out as one sum per
 * output element. */
#include "base/mem.h"
#include "tests/support/leaks.h"
#include "tests/support/optest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct optest t;

static void adds_up_by_hand(void **state) {
    (void)state;
    optest_begin(&t, "Conv", 11);
    optest_ints(&t, "pads", INTS(0, 1, 1, 0));
    optest_input(&t, DT_F32, DIMS(1, 1, 2, 3), VALUES(1, 2, 3, 4, 5, 6));
    optest_input(&t, DT_F32, DIMS(2, 1, 2, 2), VALUES(1, 10, 100, 1000, 0, 1, 0, 0));
    optest_input(&t, DT_F32, DIMS(2), VALUES(0, 0.5));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 2, 2, 3),
                  VALUES(4010, 5421, 6532, 40, 54, 65, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5), 0);
    assert_int_equal(t.node.window.kernel[0], 2);
    assert_int_equal(t.node.window.pad_begin[1], 1);
    assert_int_equal(t.node.window.pad_end[0], 1);
    optest_end(&t);

    optest_begin(&t, "ConvTranspose", 11);
    optest_ints(&t, "strides", INTS(2));
    optest_input(&t, DT_F32, DIMS(1, 1, 3), VALUES(1, 2, 3));
    optest_input(&t, DT_F32, DIMS(1, 2, 3), VALUES(1, 10, 100, 0, 1, 0));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(1, 2, 7),
                  VALUES(1, 10, 102, 20, 203, 30, 300, 0, 1, 0, 2, 0, 3, 0), 0);
    assert_int_equal(t.node.window.stride[0], 2);
    assert_int_equal(t.node.window.stride[1], 1);
    assert_int_equal(t.node.window.kernel[1], 1);
    optest_end(&t);
}

/* ---- the definition -------------------------------------------------------------------------- */

struct geometry3 { /* spatial axes are depth, height, width; unused ones have size 1 */
    int64_t batch, in_c, out_c, group;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
};

static double at(const struct tensor *x, int64_t n, int64_t c, int64_t channels,
                 const int64_t *size, const int64_t *p) {
    return tensor_get_f64(x, (((n * channels + c) * size[0] + p[0]) * size[1] + p[1]) * size[2] +
                                 p[2]);
}

static double naive_conv(const struct geometry3 *g, const struct tensor *x, const struct tensor *w,
                         int64_t n, int64_t oc, const int64_t *o) {
    int64_t per_group = g->in_c / g->group, first = oc / (g->out_c / g->group) * per_group;
    double sum = 0;
    for (int64_t c = 0; c < per_group; c++)
        for (int64_t a = 0; a < g->kernel[0]; a++)
            for (int64_t b = 0; b < g->kernel[1]; b++)
                for (int64_t d = 0; d < g->kernel[2]; d++) {
                    const int64_t k[3] = {a, b, d};
                    int64_t i[3];
                    bool inside = true;
                    for (int s = 0; s < 3; s++) {
                        i[s] = o[s] * g->stride[s] + k[s] * g->dilation[s] - g->pad[s];
                        inside = inside && i[s] >= 0 && i[s] < g->in[s];
                    }
                    if (inside)
                        sum += at(x, n, first + c, g->in_c, g->in, i) *
                               at(w, oc, c, per_group, g->kernel, k);
                }
    return sum;
}

/* Looks for the input elements that reach o, where the evaluator starts from the input. */
static double naive_deconv(const struct geometry3 *g, const struct tensor *x,
                           const struct tensor *w, int64_t n, int64_t oc, const int64_t *o) {
    int64_t out_per_group = g->out_c / g->group, per_group = g->in_c / g->group;
    int64_t first = oc / out_per_group * per_group;
    double sum = 0;
    for (int64_t c = first; c < first + per_group; c++)
        for (int64_t a = 0; a < g->in[0]; a++)
            for (int64_t b = 0; b < g->in[1]; b++)
                for (int64_t d = 0; d < g->in[2]; d++) {
                    const int64_t i[3] = {a, b, d};
                    int64_t k[3];
                    bool reaches = true;
                    for (int s = 0; s < 3; s++) {
                        int64_t far = o[s] + g->pad[s] - i[s] * g->stride[s];
                        k[s] = far / g->dilation[s];
                        reaches =
                            reaches && far >= 0 && far % g->dilation[s] == 0 && k[s] < g->kernel[s];
                    }
                    if (reaches)
                        sum += at(x, n, c, g->in_c, g->in, i) *
                               at(w, c, oc % out_per_group, out_per_group, g->kernel, k);
                }
    return sum;
}

static void compare(const struct geometry3 *g, bool transposed, bool bias, double tolerance) {
    int64_t i = 0;
    for (int64_t n = 0; n < g->batch; n++)
        for (int64_t oc = 0; oc < g->out_c; oc++)
            for (int64_t a = 0; a < g->out[0]; a++)
                for (int64_t b = 0; b < g->out[1]; b++)
                    for (int64_t d = 0; d < g->out[2]; d++) {
                        const int64_t o[3] = {a, b, d};
                        double y = transposed ? naive_deconv(g, &t.in[0], &t.in[1], n, oc, o)
                                              : naive_conv(g, &t.in[0], &t.in[1], n, oc, o);
                        y += bias ? tensor_get_f64(&t.in[2], oc) : 0;
                        assert_float_equal(tensor_get_f64(&t.out[0], i), y, tolerance);
                        i++;
                    }
    assert_int_equal(i, shape_count(&t.out[0].shape));
}

/* ---- random cases ---------------------------------------------------------------------------- */

static int64_t pick(int64_t low, int64_t high) { /* inclusive */
    double unit = (optest_random(&t) + 2) / 4;
    return low + (int64_t)(unit * (double)(high - low + 1));
}

struct lists {
    int64_t kernel[3], strides[3], dilations[3], pads[6], output_padding[3];
};

static void random_geometry(struct geometry3 *g, struct lists *l, int rank) {
    *g = (struct geometry3){.batch = pick(1, 2), .group = pick(1, 3)};
    g->in_c = g->group * pick(1, 3);
    g->out_c = g->group * pick(1, 3);
    for (int s = 0; s < 3; s++) {
        bool used = s >= 3 - rank;
        int i = s - (3 - rank);
        g->kernel[s] = used ? pick(1, 3) : 1;
        g->stride[s] = used ? pick(1, 3) : 1;
        g->dilation[s] = used ? pick(1, 2) : 1;
        g->in[s] = used ? pick(5, 8) : 1;
        g->pad[s] = used ? pick(0, 2) : 0;
        if (!used)
            continue;
        l->kernel[i] = g->kernel[s];
        l->strides[i] = g->stride[s];
        l->dilations[i] = g->dilation[s];
        l->pads[i] = g->pad[s];
        l->pads[rank + i] = pick(0, 2);
    }
}

static void random_node(const struct geometry3 *g, struct lists *l, int rank, bool transposed,
                        bool bias, enum dtype type) {
    struct shape x = {.rank = rank + 2, .dim = {g->batch, g->in_c}}, w = x;
    w.dim[0] = transposed ? g->in_c : g->out_c;
    w.dim[1] = (transposed ? g->out_c : g->in_c) / g->group;
    for (int i = 0; i < rank; i++) {
        x.dim[i + 2] = g->in[i + 3 - rank];
        w.dim[i + 2] = g->kernel[i + 3 - rank];
    }
    optest_begin(&t, transposed ? "ConvTranspose" : "Conv", (int)pick(7, 21));
    if (pick(0, 1))
        optest_ints(&t, "kernel_shape", l->kernel, rank);
    optest_ints(&t, "strides", l->strides, rank);
    optest_ints(&t, "dilations", l->dilations, rank);
    optest_int(&t, "group", g->group);
    optest_input(&t, type, x, NULL);
    optest_input(&t, type, w, NULL);
    if (bias)
        optest_input(&t, type, shape_of(1, &g->out_c), NULL);
}

static void conv_is_its_definition(void **state) {
    (void)state;
    static const char *const same[] = {"SAME_LOWER", "SAME_UPPER", "VALID"};
    struct geometry3 g;
    struct lists l;
    for (int c = 0; c < 240; c++) {
        int rank = c % 3 + 1, automatic = (int)pick(0, 5);
        bool bias = pick(0, 1) != 0;
        random_geometry(&g, &l, rank);
        random_node(&g, &l, rank, false, bias, c % 16 == 3 ? DT_F64 : DT_F32);
        if (automatic < 3)
            optest_string(&t, "auto_pad", same[automatic]);
        else
            optest_ints(&t, "pads", l.pads, 2 * rank);
        for (int s = 0; s < 3; s++) {
            int64_t extent = (g.kernel[s] - 1) * g.dilation[s] + 1, i = s - (3 - rank);
            int64_t end = i < 0 ? 0 : l.pads[rank + i];
            if (automatic < 2) { /* ceil(in/stride) outputs; the pads are what that takes */
                g.out[s] = (g.in[s] + g.stride[s] - 1) / g.stride[s];
                int64_t total = (g.out[s] - 1) * g.stride[s] + extent - g.in[s];
                total = total < 0 ? 0 : total;
                g.pad[s] = automatic == 1 ? total / 2 : (total + 1) / 2;
            } else {
                g.pad[s] = automatic == 2 ? 0 : g.pad[s];
                end = automatic == 2 ? 0 : end;
                g.out[s] = (g.in[s] + g.pad[s] + end - extent) / g.stride[s] + 1;
            }
        }
        optest_run(&t, 1);
        compare(&g, false, bias, 1e-5);
        for (int k = 0; k < 2 && k < rank; k++) {
            int s = rank == 1 ? 2 : k + 1;
            assert_int_equal(t.node.window.pad_begin[k], g.pad[s]);
            assert_int_equal(t.node.window.kernel[k], g.kernel[s]);
            assert_int_equal(t.node.window.dilation[k], g.dilation[s]);
        }
        assert_int_equal(t.node.group, g.group);
        optest_end(&t);
    }
}

static void conv_transpose_is_its_definition(void **state) {
    (void)state;
    struct geometry3 g;
    struct lists l;
    int64_t sizes[3];
    for (int c = 0; c < 240; c++) {
        int rank = c % 3 + 1, form = (int)pick(0, 5);
        bool bias = pick(0, 1) != 0;
        random_geometry(&g, &l, rank);
        random_node(&g, &l, rank, true, bias, c % 16 == 3 ? DT_F64 : DT_F32);
        for (int s = 0; s < 3; s++) {
            int64_t i = s - (3 - rank), extra = 0;
            if (i >= 0)
                extra = l.output_padding[i] = form >= 4 ? pick(0, g.stride[s] - 1) : 0;
            int64_t full =
                (g.in[s] - 1) * g.stride[s] + (g.kernel[s] - 1) * g.dilation[s] + 1 + extra;
            if (form == 0 || form == 1) { /* SAME: in*stride outputs */
                g.out[s] = g.in[s] * g.stride[s];
            } else if (form == 2) { /* output_shape, sometimes more than the full size */
                g.out[s] = i < 0 ? 1 : full + pick(-3, 1);
            } else {
                g.out[s] = full - (i < 0 ? 0 : g.pad[s] + l.pads[rank + i]);
            }
            if (form <= 2) {
                int64_t total = full > g.out[s] ? full - g.out[s] : 0;
                g.pad[s] = form == 1 ? total / 2 : (total + 1) / 2;
            }
            if (i >= 0)
                sizes[i] = g.out[s];
        }
        if (form <= 1)
            optest_string(&t, "auto_pad", form == 0 ? "SAME_LOWER" : "SAME_UPPER");
        else if (form == 2)
            optest_ints(&t, "output_shape", sizes, rank);
        else
            optest_ints(&t, "pads", l.pads, 2 * rank);
        if (form >= 4)
            optest_ints(&t, "output_padding", l.output_padding, rank);
        if (g.out[0] < 1 || g.out[1] < 1 || g.out[2] < 1) {
            optest_fails(&t, COHORT_ERR_SHAPE, "would have size");
        } else {
            optest_run(&t, 1);
            compare(&g, true, bias, 1e-5);
        }
        optest_end(&t);
    }
}

static void half_precision_is_rounded_once(void **state) {
    (void)state;
    struct geometry3 g;
    struct lists l;
    random_geometry(&g, &l, 2);
    random_node(&g, &l, 2, false, true, DT_F16);
    for (int s = 0; s < 3; s++) {
        g.pad[s] = 0;
        g.out[s] = (g.in[s] - (g.kernel[s] - 1) * g.dilation[s] - 1) / g.stride[s] + 1;
    }
    optest_run(&t, 1);
    assert_int_equal(t.out[0].type, DT_F16);
    compare(&g, false, true, 0.05); /* |y| < 64: half an ulp is 2^-6 */
    optest_end(&t);
}

/* ---- shapes not known, mistakes -------------------------------------------------------------- */

static void unknown_dims_stay_unknown(void **state) {
    (void)state;
    optest_begin(&t, "Conv", 11);
    optest_ints(&t, "pads", INTS(1, 1, 1, 1));
    optest_input(&t, DT_F32, DIMS(1, 3, 8, 8), NULL);
    optest_input(&t, DT_F32, DIMS(4, 3, 3, 3), NULL);
    t.in[0].shape = DIMS(-1, 3, -1, 8);
    t.unknown[0] = true;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1, 4, -1, 8));
    t.in[0].shape.rank = -1;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    assert_int_equal(t.out[0].shape.rank, -1);
    optest_end(&t);

    optest_begin(&t, "ConvTranspose", 11);
    optest_ints(&t, "output_shape", INTS(9, 9));
    optest_input(&t, DT_F32, DIMS(1, 3, 8, 8), NULL);
    optest_input(&t, DT_F32, DIMS(3, 4, 3, 3), NULL);
    t.in[0].shape = DIMS(-1, -1, -1, -1);
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1, 4, 9, 9));
    optest_end(&t);
}

struct mistake {
    const char *attr;
    int64_t ints[4];
    int count; /* 0: no list, ints[0] is an integer */
    struct shape x, w, b;
    const char *words;
};

static void mistakes_are_named(void **state) {
    (void)state;
    const struct mistake cases[] = {
        {"strides", {0, 1}, 2, DIMS(1, 2, 5, 5), DIMS(2, 2, 3, 3), SCALAR, "strides has 0"},
        {"strides", {1, 1, 1}, 3, DIMS(1, 2, 5, 5), DIMS(2, 2, 3, 3), SCALAR, "3 elements; 2"},
        {"pads", {0, 0, -1, 0}, 4, DIMS(1, 2, 5, 5), DIMS(2, 2, 3, 3), SCALAR, "pads has -1"},
        {"pads", {0, INT64_MAX, 0, 0}, 4, DIMS(1, 2, 5, 5), DIMS(2, 2, 3, 3), SCALAR, "pads has"},
        {"dilations", {3, 1}, 2, DIMS(1, 2, 5, 5), DIMS(2, 2, 3, 3), SCALAR, "window of 7"},
        {"kernel_shape", {3, 2}, 2, DIMS(1, 2, 5, 5), DIMS(2, 2, 3, 3), SCALAR, "has 2 where"},
        {"group", {3}, 0, DIMS(1, 6, 5, 5), DIMS(4, 2, 3, 3), SCALAR, "3 groups"},
        {"group", {0}, 0, DIMS(1, 6, 5, 5), DIMS(4, 2, 3, 3), SCALAR, "0 groups"},
        {"group", {1}, 0, DIMS(1, 3, 5, 5), DIMS(4, 2, 3, 3), SCALAR, "3 channels, but"},
        {"group", {1}, 0, DIMS(1, 2, 5, 5), DIMS(4, 2, 3, 3), DIMS(3), "bias is not"},
        {"group", {1}, 0, DIMS(1, 2, 5), DIMS(4, 2, 3, 3), SCALAR, "rank 3 with weights"},
        {"group", {1}, 0, DIMS(1, 2), DIMS(4, 2), SCALAR, "rank 2"},
        {"group", {1}, 0, DIMS(1, 2, 0, 5), DIMS(4, 2, 3, 3), SCALAR, "size 0"},
        {"group", {1}, 0, DIMS(1, 2, 5, 5), DIMS(4, 2, 0, 3), SCALAR, "window of size 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct mistake *m = &cases[i];
        optest_begin(&t, "Conv", 11);
        if (m->count > 0)
            optest_ints(&t, m->attr, m->ints, m->count);
        else
            optest_int(&t, m->attr, m->ints[0]);
        optest_input(&t, DT_F32, m->x, NULL);
        optest_input(&t, DT_F32, m->w, NULL);
        if (m->b.rank > 0)
            optest_input(&t, DT_F32, m->b, NULL);
        optest_fails(&t, COHORT_ERR_SHAPE, m->words);
        optest_end(&t);
    }
    optest_begin(&t, "Conv", 11);
    optest_string(&t, "auto_pad", "SAME");
    optest_input(&t, DT_F32, DIMS(1, 1, 5), NULL);
    optest_input(&t, DT_F32, DIMS(1, 1, 3), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "auto_pad is \"SAME\"");
    optest_end(&t);
    optest_begin(&t, "Conv", 11);
    optest_input(&t, DT_I32, DIMS(1, 1, 5), NULL);
    optest_input(&t, DT_I32, DIMS(1, 1, 3), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "int32");
    optest_end(&t);
    optest_begin(&t, "Conv", 11);
    optest_input(&t, DT_F32, DIMS(1, 1, 5), NULL);
    optest_input(&t, DT_F16, DIMS(1, 1, 3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "float16");
    optest_end(&t);
    optest_begin(&t, "ConvTranspose", 11);
    optest_ints(&t, "output_shape", INTS(1, 2, 3, 4, 5));
    optest_input(&t, DT_F32, DIMS(1, 1, 5, 5), NULL);
    optest_input(&t, DT_F32, DIMS(1, 1, 3, 3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "output_shape has 5 elements");
    optest_end(&t);
    optest_begin(&t, "ConvTranspose", 11);
    optest_input(&t, DT_F32, DIMS(1, 2, 5, 5), NULL);
    optest_input(&t, DT_F32, DIMS(1, 1, 3, 3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "2 channels, but the weights are for 1");
    optest_end(&t);
}

/* Every allocation of an evaluation may fail: an error, and nothing is left behind. */
static void memory_may_be_short(void **state) {
    (void)state;
    for (int transposed = 0; transposed < 2; transposed++) {
        optest_begin(&t, transposed ? "ConvTranspose" : "Conv", 11);
        optest_input(&t, DT_F32, DIMS(1, 2, 4), NULL);
        optest_input(&t, DT_F32, DIMS(2, 2, 3), NULL);
        optest_run(&t, 1);
        const struct tensor *in[] = {&t.in[0], &t.in[1]};
        struct tensor *out[] = {&t.out[0]};
        long live = mem_live_blocks(), failures = 0;
        for (long nth = 1;; nth++, failures++) {
            mem_fail_at(nth);
            enum cohort_code code = op_eval(&t.node, in, out, &t.err);
            mem_fail_at(0);
            assert_int_equal(mem_live_blocks(), live);
            if (code == COHORT_OK)
                break;
            assert_int_equal(code, COHORT_ERR_MEMORY);
        }
        assert_int_equal(failures, 3);
        optest_end(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_up_by_hand),
        cmocka_unit_test(conv_is_its_definition),
        cmocka_unit_test(conv_transpose_is_its_definition),
        cmocka_unit_test(half_precision_is_rounded_once),
        cmocka_unit_test(unknown_dims_stay_unknown),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(memory_may_be_short),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
