/* Norms of order p: LpNormalization (each line along an axis divided by its norm), LpPool and
 * GlobalLpPool (the norm of a window, or of a channel).
 *
 * X [N, C, spatial…] of the pools; p is a whole number (before opset 2 a float, which only
 * GlobalLpPool-1 and LpPool-1 had).  LpPool got dilations and ceil_mode with opset 18. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>
#include <string.h>

static double power(double x, int64_t p) {
    x = fabs(x);
    return p == 1 ? x : p == 2 ? x * x : pow(x, (double)p);
}

static double root(double sum, int64_t p) {
    return p == 1 ? sum : p == 2 ? sqrt(sum) : pow(sum, 1 / (double)p);
}

/* ---- LpNormalization ------------------------------------------------------------------------- */

static enum cohort_code normalize_infer(struct node *n, const struct tensor *const in[],
                                        struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int axis;
    int64_t p = node_attr_int(n, "p", 2);
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    if (p != 1 && p != 2)
        return error_set(err, COHORT_ERR_SHAPE, "p is %lld; 1 and 2 are possible", (long long)p);
    if (in[0]->shape.rank >= 0)
        TRY(op_axis(node_attr_int(n, "axis", -1), in[0]->shape.rank, &axis, err));
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

/* A line whose norm is 0 stays 0. */
static enum cohort_code normalize_eval(const struct node *n, const struct tensor *const in[],
                                       struct tensor *const out[], struct cohort_error *err) {
    const struct shape *s = &in[0]->shape;
    int axis;
    int64_t p = node_attr_int(n, "p", 2);
    enum cohort_code code = op_axis(node_attr_int(n, "axis", -1), s->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    int64_t inner = shape_product(s, axis + 1, s->rank), length = s->dim[axis];
    int64_t lines = length > 0 ? shape_count(s) / length : 0;
    for (int64_t line = 0; line < lines; line++) {
        int64_t first = line / inner * inner * length + line % inner;
        double sum = 0;
        for (int64_t k = 0; k < length; k++)
            sum += power(tensor_get_f64(in[0], first + k * inner), p);
        double norm = root(sum, p);
        for (int64_t k = 0; k < length; k++) {
            double x = tensor_get_f64(in[0], first + k * inner);
            tensor_set_f64(out[0], first + k * inner, norm == 0 ? 0 : x / norm);
        }
    }
    return COHORT_OK;
}

static void normalize_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    int axis, rank = graph_value(g, n->in[0])->shape.rank;
    if (rank > 0 && shape_axis(node_attr_int(n, "axis", -1), rank, &axis) && axis == rank - 1)
        rows_same(g, n, i, map);
}

static double norm_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? 3 * (double)count : 0;
}

const struct op_desc op_lp_normalization = {
    .name = "LpNormalization",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = normalize_infer,
    .eval = normalize_eval,
    .rows = normalize_rows,
    .flops = norm_flops,
};

/* ---- the pools ------------------------------------------------------------------------------- */

static enum cohort_code order_of(const struct node *n, int64_t *p, struct cohort_error *err) {
    *p = node_attr_int(n, "p", 2);
    if (*p < 1)
        return error_set(err, COHORT_ERR_SHAPE, "p is %lld; 1 or more is needed", (long long)*p);
    return COHORT_OK;
}

static enum cohort_code pool_window(struct window_nd *w, const struct node *n,
                                    const struct tensor *x, struct cohort_error *err) {
    enum cohort_code code = window_read(w, n, &x->shape, NULL, err);
    return code == COHORT_OK ? window_slide(w, n, err) : code;
}

static enum cohort_code pool_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd w;
    int64_t p;
    struct shape y = in[0]->shape;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(order_of(n, &p, err));
    if (y.rank >= 0) {
        TRY(pool_window(&w, n, in[0], err));
        for (int i = 0; i < w.rank; i++)
            y.dim[i + 2] = w.out[i];
        window_store(&w, n);
    }
    op_out(n, out, 0, in[0]->type, &y);
out:
    return code;
}

static enum cohort_code pool_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd w;
    struct window_walk k;
    double *x = NULL, *sum = NULL;
    int64_t p;
    const struct shape *xs = &in[0]->shape, *ys = &out[0]->shape;
    int64_t in_count = shape_product(xs, 2, xs->rank), out_count = shape_product(ys, 2, ys->rank);
    TRY(order_of(n, &p, err));
    TRY(pool_window(&w, n, in[0], err));
    TRY(window_doubles(in[0], &x, err));
    sum = mem_alloc((size_t)out_count * sizeof *sum);
    if (sum == NULL) {
        code = error_memory(err, (unsigned long long)out_count * sizeof *sum, "a channel");
        goto out;
    }
    for (int64_t plane = 0; plane < ys->dim[0] * ys->dim[1]; plane++) {
        const double *from = x + plane * in_count;
        int64_t taps = window_taps(&w);
        memset(sum, 0, (size_t)out_count * sizeof *sum);
        for (int64_t t = 0; t < taps; t++)
            for (walk_begin(&k, &w, w.out, w.in, t); k.more; walk_next(&k))
                for (int64_t j = 0; j < k.run; j++)
                    sum[k.near + j] += power(from[k.far + j * k.step], p);
        for (int64_t i = 0; i < out_count; i++)
            sum[i] = root(sum[i], p);
        window_put(out[0], plane * out_count, out_count, sum);
    }
out:
    mem_free(sum);
    mem_free(x);
    return code;
}

/* Kernels take orders that a float holds. */
static bool pool_map_ok(const struct graph *g, const struct node *n) {
    return node_attr_int(n, "p", 2) <= 64 && map_unary_ok(g, n);
}

static double pool_flops(const struct graph *g, const struct node *n) {
    const struct value *y = node_out(g, n, 0);
    int64_t count = y != NULL ? shape_count(&y->shape) : -1;
    int taps = 0;
    double flops = count > 0 ? 2 * (double)count : 0;
    const int64_t *kernel = node_attr_ints(n, "kernel_shape", &taps);
    for (int i = 0; i < taps; i++)
        flops *= (double)kernel[i];
    return flops;
}

static enum cohort_code global_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t p;
    struct shape y = in[0]->shape;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(order_of(n, &p, err));
    if (y.rank >= 0 && y.rank < 2)
        return error_set(err, COHORT_ERR_SHAPE,
                         "an input of rank %d; batch and channels are needed", y.rank);
    for (int i = 2; i < y.rank; i++)
        y.dim[i] = 1;
    op_out(n, out, 0, in[0]->type, &y);
out:
    return code;
}

static enum cohort_code global_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    int64_t p, count = shape_product(&in[0]->shape, 2, in[0]->shape.rank);
    enum cohort_code code = order_of(n, &p, err);
    for (int64_t c = 0; code == COHORT_OK && c < shape_count(&out[0]->shape); c++) {
        double sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += power(tensor_get_f64(in[0], c * count + i), p);
        tensor_set_f64(out[0], c, root(sum, p));
    }
    return code;
}

const struct op_desc op_lp_pool = {
    .name = "LpPool",
    .domain = "",
    .since = 2,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = pool_infer,
    .eval = pool_eval,
    .map_ok = pool_map_ok,
    .rows = window_rows,
    .flops = pool_flops,
};

const struct op_desc op_global_lp_pool = {
    .name = "GlobalLpPool",
    .domain = "",
    .since = 2,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = global_infer,
    .eval = global_eval,
    .map_ok = map_unary_ok,
    .flops = norm_flops,
};
