/* MaxPool and AveragePool over any number of spatial axes.
 *
 * X [N, C, spatial…]; Y [N, C, spatial'…], and for MaxPool optionally Indices of Y's shape.  Opset
 * 7 and up: MaxPool got Indices (8), ceil_mode and dilations (10), 8-bit integers (12); AveragePool
 * got ceil_mode (10) and dilations (19). */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"
#include "graph/ops/params.h"

#include <math.h>
#include <string.h>

static enum cohort_code pool_window(struct window_nd *w, const struct node *n,
                                    const struct tensor *x, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(window_read(w, n, &x->shape, NULL, err));
    TRY(window_slide(w, n, err));
out:
    return code;
}

static enum cohort_code pool_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], unsigned types, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd w;
    struct shape y = shape_unknown(-1);
    TRY(op_need(n, in, 0, types, err));
    if (in[0]->shape.rank >= 0) {
        TRY(pool_window(&w, n, in[0], err));
        y = in[0]->shape;
        for (int i = 0; i < w.rank; i++)
            y.dim[i + 2] = w.out[i];
        window_store(&w, n);
    }
    op_out(n, out, 0, in[0]->type, &y);
    op_out(n, out, 1, DT_I64, &y);
out:
    return code;
}

static enum cohort_code max_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    return pool_infer(n, in, out, TYPES_FLOAT | TYPE_BIT(DT_I8) | TYPE_BIT(DT_U8), err);
}

static enum cohort_code average_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    return pool_infer(n, in, out, TYPES_FLOAT, err);
}

/* ---- maximum --------------------------------------------------------------------------------- */

/* The first of several equal maxima counts; a NaN is the greatest.  A window that lies in the pad
 * altogether gives minus infinity (the least integer). */
static void max_plane(const struct window_nd *w, const double *x, double *best, int64_t *where,
                      int64_t count) {
    int64_t taps = window_taps(w);
    struct window_walk k;
    for (int64_t i = 0; i < count; i++) {
        best[i] = (double)-INFINITY;
        where[i] = -1;
    }
    for (int64_t t = 0; t < taps; t++)
        for (walk_begin(&k, w, w->out, w->in, t); k.more; walk_next(&k))
            for (int64_t j = 0; j < k.run; j++) {
                int64_t o = k.near + j, i = k.far + j * k.step;
                if (where[o] < 0 || x[i] > best[o] || (isnan(x[i]) && !isnan(best[o]))) {
                    best[o] = x[i];
                    where[o] = i;
                }
            }
}

/* ONNX's Indices count over the whole input; storage_order 1 counts each plane column-major. */
static int64_t plane_index(const struct window_nd *w, int64_t at, bool column_major) {
    int64_t pitch = 1, index = 0, coordinate[WINDOW_AXES];
    if (!column_major || at < 0)
        return at < 0 ? 0 : at;
    for (int i = w->rank - 1; i >= 0; i--) {
        coordinate[i] = at % w->in[i];
        at /= w->in[i];
    }
    for (int i = 0; i < w->rank; i++) {
        index += coordinate[i] * pitch;
        pitch *= w->in[i];
    }
    return index;
}

static enum cohort_code max_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd w;
    double *x = NULL, *best = NULL;
    int64_t *where = NULL;
    const struct shape *xs = &in[0]->shape, *ys = &out[0]->shape;
    int64_t in_count = shape_product(xs, 2, xs->rank), out_count = shape_product(ys, 2, ys->rank);
    struct tensor *indices = n->out_count > 1 ? out[1] : NULL;
    bool column_major = node_attr_int(n, "storage_order", 0) == 1;
    TRY(pool_window(&w, n, in[0], err));
    TRY(window_doubles(in[0], &x, err));
    best = mem_alloc((size_t)out_count * sizeof *best);
    where = mem_alloc((size_t)out_count * sizeof *where);
    if (best == NULL || where == NULL) {
        code = error_memory(err, (unsigned long long)out_count * sizeof *best, "a channel");
        goto out;
    }
    for (int64_t p = 0; p < ys->dim[0] * ys->dim[1]; p++) {
        max_plane(&w, x + p * in_count, best, where, out_count);
        window_put(out[0], p * out_count, out_count, best);
        for (int64_t i = 0; indices != NULL && i < out_count; i++)
            tensor_i64(indices)[p * out_count + i] =
                p * in_count + plane_index(&w, where[i], column_major);
    }
out:
    mem_free(where);
    mem_free(best);
    mem_free(x);
    return code;
}

/* ---- average --------------------------------------------------------------------------------- */

/* How many elements each output averages.  With count_include_pad the declared pads count, but not
 * what ceil_mode adds beyond them. */
static void count_taps(const struct window_nd *w, bool count_pad, double *counts, int64_t count) {
    struct window_nd padded = *w;
    struct window_walk k;
    int64_t taps = window_taps(w);
    memset(counts, 0, (size_t)count * sizeof *counts);
    for (int i = 0; count_pad && i < w->rank; i++) {
        padded.in[i] += w->pad_begin[i] + w->pad_end[i];
        padded.pad_begin[i] = padded.pad_end[i] = 0;
    }
    for (int64_t t = 0; t < taps; t++)
        for (walk_begin(&k, &padded, padded.out, padded.in, t); k.more; walk_next(&k))
            for (int64_t j = 0; j < k.run; j++)
                counts[k.near + j]++;
}

static void average_plane(const struct window_nd *w, const double *x, const double *counts,
                          double *sum, int64_t count) {
    int64_t taps = window_taps(w);
    struct window_walk k;
    memset(sum, 0, (size_t)count * sizeof *sum);
    for (int64_t t = 0; t < taps; t++)
        for (walk_begin(&k, w, w->out, w->in, t); k.more; walk_next(&k))
            for (int64_t j = 0; j < k.run; j++)
                sum[k.near + j] += x[k.far + j * k.step];
    for (int64_t i = 0; i < count; i++)
        sum[i] = counts[i] > 0 ? sum[i] / counts[i] : 0;
}

static enum cohort_code average_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd w;
    double *x = NULL, *sum = NULL, *counts = NULL;
    const struct shape *xs = &in[0]->shape, *ys = &out[0]->shape;
    int64_t in_count = shape_product(xs, 2, xs->rank), out_count = shape_product(ys, 2, ys->rank);
    TRY(pool_window(&w, n, in[0], err));
    TRY(window_doubles(in[0], &x, err));
    sum = mem_alloc((size_t)out_count * sizeof *sum);
    counts = mem_alloc((size_t)out_count * sizeof *counts);
    if (sum == NULL || counts == NULL) {
        code = error_memory(err, (unsigned long long)out_count * sizeof *sum, "a channel");
        goto out;
    }
    count_taps(&w, node_attr_int(n, "count_include_pad", 0) != 0, counts, out_count);
    for (int64_t p = 0; p < ys->dim[0] * ys->dim[1]; p++) {
        average_plane(&w, x + p * in_count, counts, sum, out_count);
        window_put(out[0], p * out_count, out_count, sum);
    }
out:
    mem_free(counts);
    mem_free(sum);
    mem_free(x);
    return code;
}

/* ---- both ------------------------------------------------------------------------------------ */

static double pool_flops(const struct graph *g, const struct node *n) {
    const struct value *y = node_out(g, n, 0);
    int64_t count = y != NULL ? shape_count(&y->shape) : -1;
    int taps = 0;
    double flops = count > 0 ? (double)count : 0;
    const int64_t *kernel = node_attr_ints(n, "kernel_shape", &taps);
    for (int i = 0; i < taps; i++)
        flops *= (double)kernel[i];
    return flops;
}

const struct op_desc op_max_pool = {
    .name = "MaxPool",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 2,
    .infer = max_infer,
    .eval = max_eval,
    .map_ok = map_unary_ok,
    .rows = window_rows,
    .flops = pool_flops,
};

const struct op_desc op_average_pool = {
    .name = "AveragePool",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = average_infer,
    .eval = average_eval,
    .map_ok = map_unary_ok,
    .rows = window_rows,
    .flops = pool_flops,
};

void pool_params(const struct node *n, struct pool_params *p) {
    *p = (struct pool_params){
        .max = n->op == &op_max_pool,
        .count_pad = node_attr_int(n, "count_include_pad", 0) != 0,
        .window = n->window,
    };
}
