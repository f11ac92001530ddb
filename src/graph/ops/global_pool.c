/* GlobalAveragePool and GlobalMaxPool: all spatial axes of each channel to one element.
 *
 * X [N, C, spatial…]; Y [N, C, 1…].  As maps the output has one row per image, and needs all rows
 * of that image: the row map stays ROWMAP_ALL. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>

static enum cohort_code global_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    struct shape y = in[0]->shape;
    enum cohort_code code = op_need(n, in, 0, TYPES_FLOAT, err);
    if (code != COHORT_OK)
        return code;
    if (y.rank >= 0 && y.rank < 2)
        return error_set(err, COHORT_ERR_SHAPE,
                         "an input of rank %d; batch and channels are needed", y.rank);
    for (int i = 2; i < y.rank; i++)
        y.dim[i] = 1;
    op_out(n, out, 0, in[0]->type, &y);
    return COHORT_OK;
}

static double mean_of(const double *x, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum / (double)count;
}

static double max_of(const double *x, int64_t count) {
    double best = (double)-INFINITY;
    for (int64_t i = 0; i < count; i++)
        if (x[i] > best || isnan(x[i]))
            best = x[i];
    return best;
}

static enum cohort_code global_eval(const struct tensor *from, struct tensor *to,
                                    double (*reduce)(const double *, int64_t),
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double *x = NULL;
    int64_t count = shape_product(&from->shape, 2, from->shape.rank);
    TRY(window_doubles(from, &x, err));
    for (int64_t p = 0; p < shape_product(&from->shape, 0, 2); p++) {
        double y = reduce(x + p * count, count);
        window_put(to, p, 1, &y);
    }
out:
    mem_free(x);
    return code;
}

static enum cohort_code average_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    return global_eval(in[0], out[0], mean_of, err);
}

static enum cohort_code max_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    return global_eval(in[0], out[0], max_of, err);
}

static double global_flops(const struct graph *g, const struct node *n) {
    const struct value *x = node_in(g, n, 0);
    int64_t count = x != NULL ? shape_count(&x->shape) : -1;
    return count > 0 ? (double)count : 0;
}

const struct op_desc op_global_average_pool = {
    .name = "GlobalAveragePool",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = global_infer,
    .eval = average_eval,
    .map_ok = map_unary_ok,
    .flops = global_flops,
};

const struct op_desc op_global_max_pool = {
    .name = "GlobalMaxPool",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = global_infer,
    .eval = max_eval,
    .map_ok = map_unary_ok,
    .flops = global_flops,
};
