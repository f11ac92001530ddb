/* Concat, Split, Slice, Pad, DepthToSpace, SpaceToDepth: by hand at the edges of their rules, and
 * random cases against an element-by-element definition, in types of 1, 2, 4 and 8 bytes. */
#include "base/mem.h"
#include "graph/ops/params.h"
#include "tests/support/leaks.h"
#include "tests/support/optest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct optest t;
static const enum dtype types[] = {DT_F32, DT_U8, DT_I64, DT_F16, DT_BOOL, DT_I32, DT_F64, DT_BF16};
#define TYPES (int)(sizeof types / sizeof types[0])

static int64_t pick(int64_t low, int64_t high) {
    double unit = (optest_random(&t) + 2) / 4;
    return low + (int64_t)(unit * (double)(high - low + 1));
}

/* Element i of both tensors has the same bytes. */
static void same_element(const struct tensor *a, int64_t i, const struct tensor *b, int64_t j) {
    size_t size = dtype_bytes(a->type);
    assert_int_equal(a->type, b->type);
    assert_memory_equal((const unsigned char *)a->data + (size_t)i * size,
                        (const unsigned char *)b->data + (size_t)j * size, size);
}

static int64_t offset(const struct shape *s, const int64_t *at) {
    int64_t o = 0;
    for (int k = 0; k < s->rank; k++)
        o = o * s->dim[k] + at[k];
    return o;
}

static bool next(const struct shape *s, int64_t *at) {
    for (int k = s->rank - 1; k >= 0; k--) {
        if (++at[k] < s->dim[k])
            return true;
        at[k] = 0;
    }
    return false;
}

static struct shape random_shape(int64_t most) {
    struct shape s = {.rank = (int)pick(1, 4)};
    for (int k = 0; k < s.rank; k++)
        s.dim[k] = pick(1, most);
    return s;
}

/* The parameters' functions look at a graph: input 0 is computed, the others are constants. */
static struct value values[2 * OPTEST_MAX];
static const struct graph *as_graph(void) {
    static struct graph g = {.values = values, .value_count = 2 * OPTEST_MAX};
    memset(values, 0, sizeof values);
    for (int i = 0; i < t.node.in_count; i++) {
        values[i] = (struct value){.type = t.in[i].type, .shape = t.in[i].shape};
        values[i].is_constant = i > 0;
        values[i].constant = t.in[i];
    }
    for (int i = 0; i < t.node.out_count; i++)
        values[OPTEST_MAX + i] = (struct value){.type = t.out[i].type, .shape = t.out[i].shape};
    return &g;
}

/* ---- Concat and Split ------------------------------------------------------------------------ */

static void concat_and_split_are_inverses(void **state) {
    (void)state;
    for (int c = 0; c < 80; c++) {
        struct shape s = random_shape(4), whole;
        int axis = (int)pick(0, s.rank - 1), pieces = (int)pick(1, 5);
        int64_t sizes[5], offsets[6];
        enum dtype type = types[c % TYPES];
        optest_begin(&t, "Concat", 13);
        optest_int(&t, "axis", pick(0, 1) ? axis : axis - s.rank);
        whole = s;
        whole.dim[axis] = 0;
        for (int i = 0; i < pieces; i++) {
            s.dim[axis] = sizes[i] = pick(0, 3);
            whole.dim[axis] += sizes[i];
            optest_input(&t, type, s, NULL);
        }
        optest_run(&t, 1);
        optest_expect_shape(&t, 0, type, whole);
        for (int i = 0; i < pieces; i++)
            assert_int_equal(concat_offset(as_graph(), &t.node, i),
                             i == 0 ? 0 : concat_offset(as_graph(), &t.node, i - 1) + sizes[i - 1]);
        assert_int_equal(concat_axis(as_graph(), &t.node), axis);
        struct tensor joined = t.out[0], parts[OPTEST_MAX];
        memcpy(parts, t.in, sizeof parts);
        memset(t.in, 0, sizeof t.in);
        memset(t.out, 0, sizeof t.out);
        optest_end(&t);

        bool attribute = pick(0, 1);
        optest_begin(&t, "Split", attribute ? 11 : (int)pick(13, 18));
        optest_int(&t, "axis", axis);
        t.in[t.node.in_count++] = joined;
        if (attribute)
            optest_ints(&t, "split", sizes, pieces);
        else
            optest_list(&t, sizes, pieces);
        optest_run(&t, pieces);
        int found = -1;
        assert_int_equal(split_params(as_graph(), &t.node, &found, offsets, &t.err), COHORT_OK);
        assert_int_equal(found, axis);
        assert_int_equal(offsets[pieces], whole.dim[axis]);
        for (int i = 0; i < pieces; i++) {
            optest_expect_shape(&t, i, type, parts[i].shape);
            assert_memory_equal(t.out[i].data, parts[i].data, tensor_bytes(&parts[i]));
            assert_int_equal(offsets[i + 1] - offsets[i], sizes[i]);
            tensor_release(&parts[i]);
        }
        optest_end(&t);
    }
}

static void split_shares_equally(void **state) {
    (void)state;
    optest_begin(&t, "Split", 18); /* 7 in 3: 3, 3, 1 */
    optest_int(&t, "num_outputs", 3);
    optest_input(&t, DT_I32, DIMS(7), VALUES(1, 2, 3, 4, 5, 6, 7));
    optest_run(&t, 3);
    optest_expect(&t, 0, DT_I32, DIMS(3), VALUES(1, 2, 3), 0);
    optest_expect(&t, 2, DT_I32, DIMS(1), VALUES(7), 0);
    optest_end(&t);
    optest_begin(&t, "Split", 13);
    optest_input(&t, DT_I32, DIMS(7), NULL);
    assert_int_equal(optest_infer(&t, 3), COHORT_ERR_SHAPE); /* not before 18 */
    optest_end(&t);
    optest_begin(&t, "Split", 18);
    optest_input(&t, DT_I32, DIMS(5), NULL);
    assert_int_equal(optest_infer(&t, 4), COHORT_ERR_SHAPE); /* 2, 2, 2 and nothing below zero */
    optest_end(&t);
    optest_begin(&t, "Split", 18);
    optest_int(&t, "num_outputs", 2);
    optest_input(&t, DT_I32, DIMS(6), NULL);
    assert_int_equal(optest_infer(&t, 3), COHORT_ERR_SHAPE);
    optest_end(&t);
    optest_begin(&t, "Split", 13);
    optest_input(&t, DT_I32, DIMS(6), NULL);
    optest_list(&t, INTS(1, 2, 4));
    assert_int_equal(optest_infer(&t, 3), COHORT_ERR_SHAPE); /* 7 of 6 */
    assert_int_equal(optest_infer(&t, 2), COHORT_ERR_SHAPE); /* 3 sizes, 2 outputs */
    t.unknown[1] = true;
    assert_int_equal(optest_infer(&t, 3), COHORT_OK);
    optest_expect_shape(&t, 1, DT_I32, DIMS(-1));
    optest_end(&t);
    optest_begin(&t, "Split", 13);
    optest_input(&t, DT_I32, DIMS(6), NULL);
    optest_list(&t, INTS(1, 2, 2));
    assert_int_equal(optest_infer(&t, 3), COHORT_ERR_SHAPE); /* 5 of 6 */
    optest_end(&t);
}

static void concat_merges_what_is_known(void **state) {
    (void)state;
    optest_begin(&t, "Concat", 11);
    optest_int(&t, "axis", 1);
    optest_input(&t, DT_F32, DIMS(2, 3, 4), NULL);
    optest_input(&t, DT_F32, DIMS(2, 5, 4), NULL);
    t.in[0].shape = DIMS(-1, 3, 4);
    t.in[1].shape = DIMS(2, 5, -1);
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(2, 8, 4));
    t.in[1].shape.rank = -1;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1, -1, 4));
    t.in[1].shape = DIMS(2, 5, 3);
    optest_fails(&t, COHORT_ERR_SHAPE, "input 1 of shape 2x5x3 does not fit");
    t.in[1].shape = DIMS(2, 5);
    optest_fails(&t, COHORT_ERR_SHAPE, "rank 2");
    t.in[1].type = DT_F64;
    optest_fails(&t, COHORT_ERR_SHAPE, "float64");
    optest_end(&t);
    optest_begin(&t, "Concat", 11);
    optest_input(&t, DT_F32, DIMS(2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "axis is missing");
    optest_int(&t, "axis", 1);
    optest_fails(&t, COHORT_ERR_SHAPE, "axis 1");
    optest_end(&t);
}

/* ---- Slice ----------------------------------------------------------------------------------- */

static void slice1(int64_t start, int64_t end, int64_t step, const double *expected,
                   int64_t count) {
    optest_begin(&t, "Slice", 13);
    optest_input(&t, DT_F32, DIMS(5), VALUES(0, 1, 2, 3, 4));
    optest_list(&t, &start, 1);
    optest_list(&t, &end, 1);
    optest_leave_out(&t);
    optest_list(&t, &step, 1);
    memcpy(t.in[1].data, &start, sizeof start); /* extremes do not survive a double */
    memcpy(t.in[2].data, &end, sizeof end);
    memcpy(t.in[4].data, &step, sizeof step);
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(count), expected, 0);
    optest_end(&t);
}

static void slice_clamps(void **state) {
    (void)state;
    slice1(1, 4, 1, VALUES(1, 2, 3), 3);
    slice1(-4, -1, 2, VALUES(1, 3), 2);
    slice1(0, INT64_MAX, 3, VALUES(0, 3), 2);
    slice1(-100, 2, 1, VALUES(0, 1), 2);
    slice1(4, 1, 1, NULL, 0);
    slice1(5, 9, 1, NULL, 0);
    slice1(-1, INT64_MIN, -1, VALUES(4, 3, 2, 1, 0), 5);
    slice1(100, 0, -2, VALUES(4, 2), 2);
    slice1(-1, -6, -2, VALUES(4, 2, 0), 3);
    slice1(1, 3, -1, NULL, 0);
    slice1(2, INT64_MAX, INT64_MAX, VALUES(2), 1);
    slice1(2, INT64_MIN, INT64_MIN, VALUES(2), 1);
}

static void slice_is_its_definition(void **state) {
    (void)state;
    for (int c = 0; c < 160; c++) {
        struct shape s = random_shape(6);
        bool attributes = pick(0, 2) == 0, some = pick(0, 1);
        int64_t starts[4], ends[4], axes[4], steps[4], first[4], step[4];
        int n = some ? (int)pick(1, s.rank) : s.rank;
        struct shape y = s;
        for (int k = 0; k < s.rank; k++) {
            first[k] = 0;
            step[k] = 1;
        }
        for (int i = 0; i < n; i++) { /* the last n axes, last first, when only some are sliced */
            int k = some ? s.rank - 1 - i : i;
            axes[i] = pick(0, 1) ? k : k - s.rank;
            step[k] = attributes ? 1 : (pick(0, 1) ? 1 : -1) * pick(1, 3);
            steps[i] = step[k];
            starts[i] = pick(-7, 7);
            ends[i] = pick(-7, 7);
            y.dim[k] = 0;
            int64_t dim = s.dim[k], from = starts[i] < 0 ? starts[i] + dim : starts[i];
            int64_t to = ends[i] < 0 ? ends[i] + dim : ends[i];
            if (step[k] < 0) { /* -1 stands for "before the first" only after clamping */
                to = to < -1 ? -1 : to;
                from = from > dim - 1 ? dim - 1 : from;
            } else {
                from = from < 0 ? 0 : from;
                to = to > dim ? dim : to;
            }
            if (step[k] < 0 && from < 0)
                from = 0;
            for (int64_t p = from; step[k] > 0 ? p < to : p > to; p += step[k])
                y.dim[k] += p >= 0 && p < dim;
            first[k] = from;
        }
        optest_begin(&t, "Slice", attributes ? 9 : (int)pick(10, 21));
        enum dtype type = types[c % TYPES];
        optest_input(&t, type, s, NULL);
        if (attributes) {
            optest_ints(&t, "starts", starts, n);
            optest_ints(&t, "ends", ends, n);
            if (some)
                optest_ints(&t, "axes", axes, n);
        } else {
            optest_list(&t, starts, n);
            optest_list(&t, ends, n);
            if (some)
                optest_list(&t, axes, n);
            else
                optest_leave_out(&t);
            optest_list(&t, steps, n);
        }
        optest_run(&t, 1);
        optest_expect_shape(&t, 0, type, y);
        struct slice_params p;
        assert_int_equal(slice_params(as_graph(), &t.node, &p, &t.err), COHORT_OK);
        int64_t at[4] = {0}, from[4];
        if (shape_count(&y) > 0)
            do {
                for (int k = 0; k < s.rank; k++) {
                    from[k] = first[k] + at[k] * step[k];
                    assert_int_equal(from[k], p.start[k] + at[k] * p.step[k]);
                }
                same_element(&t.out[0], offset(&y, at), &t.in[0], offset(&s, from));
            } while (next(&y, at));
        optest_end(&t);
    }
}

static void slice_with_less_known(void **state) {
    (void)state;
    optest_begin(&t, "Slice", 13);
    optest_input(&t, DT_F32, DIMS(4, 5, 6), NULL);
    optest_list(&t, INTS(1, 0));
    optest_list(&t, INTS(3, 4));
    optest_list(&t, INTS(0, 2));
    optest_list(&t, INTS(1, 1));
    t.unknown[2] = true;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1, 5, -1));
    t.unknown[3] = true;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1, -1, -1));
    t.left_out[3] = true; /* then it is the first two axes */
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1, -1, 6));
    t.unknown[2] = false;
    t.in[0].shape = DIMS(4, -1, 6);
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(2, -1, 6));
    t.in[0].shape.rank = -1;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    assert_int_equal(t.out[0].shape.rank, -1);
    optest_end(&t);
}

static void slice_mistakes(void **state) {
    (void)state;
    optest_begin(&t, "Slice", 13);
    optest_input(&t, DT_F32, DIMS(4, 5), NULL);
    optest_list(&t, INTS(1, 0));
    optest_list(&t, INTS(3, 4));
    optest_list(&t, INTS(0, 0));
    optest_list(&t, INTS(1, 0));
    optest_fails(&t, COHORT_ERR_SHAPE, "axis 0 is given twice");
    t.left_out[3] = true;
    optest_fails(&t, COHORT_ERR_SHAPE, "step of 0");
    t.in[2].shape.dim[0] = 1;
    optest_fails(&t, COHORT_ERR_SHAPE, "differ in length");
    t.in[2].type = DT_F64;
    optest_fails(&t, COHORT_ERR_SHAPE, "ends has type float64");
    t.left_out[2] = true;
    optest_fails(&t, COHORT_ERR_SHAPE, "ends is missing");
    optest_end(&t);
    optest_begin(&t, "Slice", 9);
    optest_input(&t, DT_F32, DIMS(4), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "starts is missing");
    optest_ints(&t, "starts", INTS(0, 0));
    optest_ints(&t, "ends", INTS(0, 0));
    optest_fails(&t, COHORT_ERR_SHAPE, "2 starts for rank 1");
    optest_end(&t);
}

/* ---- Pad ------------------------------------------------------------------------------------- */

static void pad1(const char *mode, int64_t begin, int64_t end, const double *expected,
                 int64_t count) {
    optest_begin(&t, "Pad", 19);
    optest_string(&t, "mode", mode);
    optest_input(&t, DT_F32, DIMS(3), VALUES(1, 2, 3));
    optest_list(&t, INTS(begin, end));
    optest_input(&t, DT_F32, SCALAR, VALUES(9));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F32, DIMS(count), expected, 0);
    optest_end(&t);
}

static void pad_modes(void **state) {
    (void)state;
    pad1("constant", 1, 2, VALUES(9, 1, 2, 3, 9, 9), 6);
    pad1("edge", 1, 2, VALUES(1, 1, 2, 3, 3, 3), 6);
    pad1("reflect", 2, 2, VALUES(3, 2, 1, 2, 3, 2, 1), 7);
    pad1("reflect", 0, 6, VALUES(1, 2, 3, 2, 1, 2, 3, 2, 1), 9); /* and back again */
    pad1("wrap", 2, 4, VALUES(2, 3, 1, 2, 3, 1, 2, 3, 1), 9);
    pad1("constant", -1, 1, VALUES(2, 3, 9), 3);
    pad1("constant", -1, -2, NULL, 0);
    pad1("constant", 4, -5, VALUES(9, 9), 2); /* more than the input is taken away */
    pad1("edge", 2, -1, VALUES(1, 1, 1, 2), 4);
    pad1("wrap", -1, 2, VALUES(2, 3, 2, 3), 4); /* what is cut off does not come back */
    pad1("reflect", -2, 0, VALUES(3), 1);
    pad1("reflect", -2, 2, VALUES(3, 3, 3), 3); /* one element reflects into itself */
}

static void pad_is_its_definition(void **state) {
    (void)state;
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    for (int c = 0; c < 200; c++) {
        struct shape s = random_shape(4), y = s;
        int mode = (int)pick(0, 3),
            form = (int)pick(0, 2); /* attributes, inputs, inputs and axes */
        int n = form == 2 ? (int)pick(1, s.rank) : s.rank;
        int64_t pads[8], axes[4], begin[4] = {0};
        for (int i = 0; i < n; i++) {
            int k = form == 2 ? s.rank - 1 - i : i;
            axes[i] = pick(0, 1) ? k : k - s.rank;
            pads[i] = begin[k] = pick(-1, 3);
            pads[n + i] = pick(begin[k] < 0 ? 0 : -1, 3);
            if (s.dim[k] == 1 && mode != 0) { /* do not take the only element away */
                pads[i] = begin[k] = pads[i] < 0 ? 0 : pads[i];
                pads[n + i] = pads[n + i] < 0 ? 0 : pads[n + i];
            }
            y.dim[k] += pads[i] + pads[n + i];
        }
        enum dtype type = types[c % TYPES];
        optest_begin(&t, "Pad", form == 0 ? 10 : form == 1 ? 13 : 19);
        optest_string(&t, "mode", modes[mode]);
        optest_input(&t, type, s, NULL);
        if (form == 0) {
            optest_ints(&t, "pads", pads, 2 * n);
            optest_float(&t, "value", 1);
        } else {
            optest_list(&t, pads, 2 * n);
            optest_input(&t, type, pick(0, 1) ? SCALAR : DIMS(1), VALUES(1));
            if (form == 2)
                optest_list(&t, axes, n);
        }
        optest_run(&t, 1);
        optest_expect_shape(&t, 0, type, y);
        struct pad_params p;
        assert_int_equal(pad_params(as_graph(), &t.node, &p, &t.err), COHORT_OK);
        assert_float_equal(p.value, 1, 0);
        int64_t at[4] = {0}, from[4];
        if (shape_count(&y) > 0)
            do {
                bool outside = false;
                for (int k = 0; k < s.rank; k++) {
                    int64_t i = at[k] - begin[k];
                    assert_int_equal(pad_source(&p, k, at[k]) >= 0,
                                     mode > 0 ||
                                         (i >= 0 && i < s.dim[k] + (p.end[k] < 0 ? p.end[k] : 0)));
                    from[k] = pad_source(&p, k, at[k]);
                    outside = outside || from[k] < 0;
                    if (i >= 0 && i < y.dim[k] - begin[k] - (p.end[k] > 0 ? p.end[k] : 0) &&
                        begin[k] >= 0)
                        assert_int_equal(from[k], i); /* the middle is the input itself */
                }
                if (outside)
                    assert_float_equal(tensor_get_f64(&t.out[0], offset(&y, at)), 1, 0);
                else
                    same_element(&t.out[0], offset(&y, at), &t.in[0], offset(&s, from));
            } while (next(&y, at));
        optest_end(&t);
    }
}

static void pad_mistakes(void **state) {
    (void)state;
    optest_begin(&t, "Pad", 13);
    optest_input(&t, DT_F32, DIMS(4, 5), NULL);
    optest_list(&t, INTS(1, 1, 1));
    optest_fails(&t, COHORT_ERR_SHAPE, "pads has 3 elements; 4");
    optest_end(&t);
    optest_begin(&t, "Pad", 13);
    optest_string(&t, "mode", "mirror");
    optest_input(&t, DT_F32, DIMS(4, 5), NULL);
    optest_list(&t, INTS(1, 1, 1, 1));
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "mode is \"mirror\"");
    optest_end(&t);
    optest_begin(&t, "Pad", 13);
    optest_input(&t, DT_F32, DIMS(4), NULL);
    optest_list(&t, INTS(-3, -2));
    optest_fails(&t, COHORT_ERR_SHAPE, "cannot be padded");
    tensor_i64(&t.in[1])[0] = INT64_MIN;
    optest_fails(&t, COHORT_ERR_SHAPE, "too large");
    optest_end(&t);
    optest_begin(&t, "Pad", 13);
    optest_string(&t, "mode", "edge");
    optest_input(&t, DT_F32, DIMS(0), NULL);
    optest_list(&t, INTS(1, 0));
    optest_fails(&t, COHORT_ERR_SHAPE, "size 0 cannot be padded");
    t.unknown[1] = true;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(-1));
    optest_end(&t);
    optest_begin(&t, "Pad", 13);
    optest_input(&t, DT_F32, DIMS(4), NULL);
    optest_list(&t, INTS(1, 0));
    optest_input(&t, DT_F64, DIMS(1), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "float64");
    optest_end(&t);
    optest_begin(&t, "Pad", 18);
    optest_input(&t, DT_F32, DIMS(4, 5), NULL);
    optest_list(&t, INTS(1, 0));
    optest_leave_out(&t);
    optest_list(&t, INTS(1));
    t.unknown[1] = true;
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(4, -1));
    optest_end(&t);
}

/* ---- DepthToSpace, SpaceToDepth -------------------------------------------------------------- */

static void depth_and_space(void **state) {
    (void)state;
    for (int c = 0; c < 40; c++) {
        int64_t b = pick(1, 3), n = pick(1, 2), channels = pick(1, 3), h = pick(1, 3),
                w = pick(1, 3);
        bool crd = pick(0, 1);
        enum dtype type = types[c % TYPES];
        struct shape deep = DIMS(n, channels * b * b, h, w), wide = DIMS(n, channels, h * b, w * b);
        optest_begin(&t, "DepthToSpace", crd ? 13 : (int)pick(7, 13));
        optest_int(&t, "blocksize", b);
        if (crd)
            optest_string(&t, "mode", "CRD");
        optest_input(&t, type, deep, NULL);
        optest_run(&t, 1);
        optest_expect_shape(&t, 0, type, wide);
        int64_t at[4] = {0};
        do {
            int64_t by = at[2] % b, bx = at[3] % b;
            int64_t channel = crd ? (at[1] * b + by) * b + bx : (by * b + bx) * channels + at[1];
            const int64_t from[] = {at[0], channel, at[2] / b, at[3] / b};
            same_element(&t.out[0], offset(&wide, at), &t.in[0], offset(&deep, from));
        } while (next(&wide, at));
        struct depth_space_params p;
        depth_space_params(&t.node, &p);
        assert_int_equal(p.block, b);
        assert_int_equal(p.column_first, crd);
        struct tensor x = t.in[0], y = t.out[0];
        memset(t.in, 0, sizeof t.in);
        memset(t.out, 0, sizeof t.out);
        optest_end(&t);
        if (!crd) { /* SpaceToDepth undoes it */
            optest_begin(&t, "SpaceToDepth", 13);
            optest_int(&t, "blocksize", b);
            t.in[t.node.in_count++] = y;
            optest_run(&t, 1);
            optest_expect_shape(&t, 0, type, deep);
            assert_memory_equal(t.out[0].data, x.data, tensor_bytes(&x));
            optest_end(&t);
        } else {
            tensor_release(&y);
        }
        tensor_release(&x);
    }
}

static void depth_and_space_mistakes(void **state) {
    (void)state;
    optest_begin(&t, "DepthToSpace", 13);
    optest_int(&t, "blocksize", 2);
    optest_input(&t, DT_F32, DIMS(1, 6, 2, 2), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "6 is not a multiple of 4");
    t.in[0].shape = DIMS(1, 8, 2);
    optest_fails(&t, COHORT_ERR_SHAPE, "rank 3");
    t.in[0].shape = DIMS(1, 8, -1, 2);
    assert_int_equal(optest_infer(&t, 1), COHORT_OK);
    optest_expect_shape(&t, 0, DT_F32, DIMS(1, 2, -1, 4));
    optest_end(&t);
    optest_begin(&t, "DepthToSpace", 13);
    optest_int(&t, "blocksize", 2);
    optest_string(&t, "mode", "RDC");
    optest_input(&t, DT_F32, DIMS(1, 4, 2, 2), NULL);
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "mode is \"RDC\"");
    optest_end(&t);
    optest_begin(&t, "SpaceToDepth", 13);
    optest_input(&t, DT_F32, DIMS(1, 4, 2, 3), NULL);
    optest_fails(&t, COHORT_ERR_SHAPE, "blocksize is 0");
    optest_int(&t, "blocksize", 2);
    optest_fails(&t, COHORT_ERR_SHAPE, "3 is not a multiple of 2");
    optest_end(&t);
}

static void bits_as_another_type(void **state) {
    (void)state;
    optest_begin(&t, "BitCast", 26);
    optest_int(&t, "to", DT_I32);
    optest_input(&t, DT_F32, DIMS(3), VALUES(1, -2, 0));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_I32, DIMS(3), VALUES(0x3f800000, -0x40000000, 0), 0);
    optest_end(&t);
    optest_begin(&t, "BitCast", 26);
    optest_int(&t, "to", DT_F16);
    optest_input(&t, DT_U16, DIMS(1, 2), VALUES(0x3c00, 0xc000));
    optest_run(&t, 1);
    optest_expect(&t, 0, DT_F16, DIMS(1, 2), VALUES(1, -2), 0);
    optest_end(&t);
    optest_begin(&t, "BitCast", 26);
    optest_int(&t, "to", DT_F64);
    optest_input(&t, DT_F32, DIMS(2), VALUES(1, 2));
    optest_fails(&t, COHORT_ERR_SHAPE, "the bits of float32 as float64, which has another size");
    optest_end(&t);
    optest_begin(&t, "BitCast", 26);
    optest_input(&t, DT_F32, DIMS(2), VALUES(1, 2));
    optest_fails(&t, COHORT_ERR_UNSUPPORTED, "the bits as type 0");
    optest_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(concat_and_split_are_inverses),
        cmocka_unit_test(split_shares_equally),
        cmocka_unit_test(concat_merges_what_is_known),
        cmocka_unit_test(slice_clamps),
        cmocka_unit_test(slice_is_its_definition),
        cmocka_unit_test(slice_with_less_known),
        cmocka_unit_test(slice_mistakes),
        cmocka_unit_test(pad_modes),
        cmocka_unit_test(pad_is_its_definition),
        cmocka_unit_test(pad_mistakes),
        cmocka_unit_test(depth_and_space),
        cmocka_unit_test(depth_and_space_mistakes),
        cmocka_unit_test(bits_as_another_type),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
