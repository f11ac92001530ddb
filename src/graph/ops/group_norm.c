/* GroupNormalization and MeanVarianceNormalization: to mean 0 and variance 1 over a part of the
 * tensor.
 *
 * GroupNormalization: X [N, C, spatial…], normalised over the C/num_groups channels of each group;
 * scale and bias are one number per group with opset 18, per channel from opset 21 on.
 * MeanVarianceNormalization: over `axes` (default 0, 2, 3), with no parameters. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>
#include <string.h>

/* ---- GroupNormalization ---------------------------------------------------------------------- */

static enum cohort_code group_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *x = &in[0]->shape;
    int64_t groups = node_attr_int(n, "num_groups", 0);
    TRY(op_need_all(n, in, TYPES_FLOAT, err));
    if (x->rank >= 0 && x->rank < 2)
        return error_set(err, COHORT_ERR_SHAPE,
                         "an input of rank %d; batch and channels are needed", x->rank);
    int64_t channels = x->rank > 1 ? x->dim[1] : -1;
    if (groups < 1 || (channels >= 0 && channels % groups != 0))
        return error_set(err, COHORT_ERR_SHAPE, "%lld groups do not divide %lld channels",
                         (long long)groups, (long long)channels);
    int64_t wanted = n->opset < 21 ? groups : channels;
    for (int i = 1; i < 3; i++) {
        const struct shape *s = &in[i]->shape;
        if (s->rank >= 0 &&
            (s->rank != 1 || (wanted >= 0 && s->dim[0] >= 0 && s->dim[0] != wanted)))
            return error_set(err, COHORT_ERR_SHAPE, "%s is not one number per %s",
                             i == 1 ? "scale" : "bias", n->opset < 21 ? "group" : "channel");
    }
    op_out(n, out, 0, in[0]->type, x);
out:
    return code;
}

/* Mean of count numbers, and one over the root of their variance plus epsilon. */
static void moments(const double *x, int64_t count, double epsilon, double *mean, double *factor) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    *mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *factor = 1 / sqrt(squares / (double)count + epsilon);
}

static enum cohort_code group_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *s = &in[0]->shape;
    double *x = NULL, epsilon = (double)node_attr_float(n, "epsilon", 1e-5f);
    int64_t groups = node_attr_int(n, "num_groups", 1), pixels = shape_product(s, 2, s->rank);
    int64_t channels = s->dim[1] / groups, count = channels * pixels;
    TRY(window_doubles(in[0], &x, err));
    for (int64_t g = 0; count > 0 && g < s->dim[0] * groups; g++) {
        double mean, factor, *group = x + g * count;
        moments(group, count, epsilon, &mean, &factor);
        for (int64_t i = 0; i < count; i++) {
            int64_t at = g % groups;
            if (n->opset >= 21)
                at = at * channels + i / pixels;
            group[i] =
                (group[i] - mean) * factor * tensor_get_f64(in[1], at) + tensor_get_f64(in[2], at);
        }
    }
    window_put(out[0], 0, shape_count(s), x);
out:
    mem_free(x);
    return code;
}

static double norm_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? 7 * (double)count : 0;
}

const struct op_desc op_group_normalization = {
    .name = "GroupNormalization",
    .domain = "",
    .since = 18,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = group_infer,
    .eval = group_eval,
    .map_ok = map_unary_ok,
    .flops = norm_flops,
};

/* ---- MeanVarianceNormalization --------------------------------------------------------------- */

/* Which axes are normalised over. */
static enum cohort_code mvn_axes(const struct node *n, const struct tensor *const in[], bool *over,
                                 struct cohort_error *err) {
    struct axes axes;
    int rank = in[0]->shape.rank;
    enum cohort_code code = op_axes(n, in, -1, rank, &axes, err);
    if (code != COHORT_OK)
        return code;
    if (!axes.given && rank < 4)
        return error_set(err, COHORT_ERR_SHAPE,
                         "an input of rank %d without the attribute axes; the default is 0, 2, 3",
                         rank);
    for (int i = 0; i < rank; i++)
        over[i] = axes.given ? axes.has[i] : i == 0 || i == 2 || i == 3;
    return COHORT_OK;
}

static enum cohort_code mvn_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool over[RANK_MAX];
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    if (in[0]->shape.rank >= 0)
        TRY(mvn_axes(n, in, over, err));
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

/* Three walks over the tensor, each in its own order: sums, sums of squares, results.  The
 * denominator is the standard deviation plus 1e-9, as in ONNX's definition by other operators. */
static enum cohort_code mvn_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *s = &in[0]->shape;
    struct shape kept = *s;
    bool over[RANK_MAX];
    double *x = NULL, *mean = NULL, *squares = NULL;
    int64_t stride[RANK_MAX], total = shape_count(s);
    TRY(mvn_axes(n, in, over, err));
    for (int i = 0; i < s->rank; i++)
        kept.dim[i] = over[i] ? 1 : s->dim[i];
    int64_t groups = shape_count(&kept);
    double each = groups > 0 ? (double)total / (double)groups : 0;
    op_strides(&kept, stride);
    TRY(window_doubles(in[0], &x, err));
    mean = mem_zalloc((size_t)groups, sizeof *mean);
    squares = mem_zalloc((size_t)groups, sizeof *squares);
    if (mean == NULL || squares == NULL)
        TRY(error_memory(err, (unsigned long long)groups * sizeof *mean, "means"));
    for (int walk = 0; walk < 3 && total > 0; walk++) {
        int64_t index[RANK_MAX] = {0}, i = 0;
        do {
            int64_t at = 0;
            for (int k = 0; k < s->rank; k++)
                at += over[k] ? 0 : index[k] * stride[k];
            if (walk == 0)
                mean[at] += x[i] / each;
            else if (walk == 1)
                squares[at] += (x[i] - mean[at]) * (x[i] - mean[at]) / each;
            else
                x[i] = (x[i] - mean[at]) / (sqrt(squares[at]) + 1e-9);
            i++;
        } while (op_step(s, index));
    }
    window_put(out[0], 0, total, x);
out:
    mem_free(squares);
    mem_free(mean);
    mem_free(x);
    return code;
}

const struct op_desc op_mean_variance_normalization = {
    .name = "MeanVarianceNormalization",
    .domain = "",
    .since = 9,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = mvn_infer,
    .eval = mvn_eval,
    .flops = norm_flops,
};
