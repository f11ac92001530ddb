/* LayerNormalization (opset 17): over all axes from `axis` on,
 *     y = (x - mean) / sqrt(variance + epsilon) * scale + bias,
 * and optionally the mean and 1/sqrt(variance + epsilon) of each group.
 * RMSNormalization (opset 23): y = x / sqrt(mean of x^2 + epsilon) * scale, in scale's type. */
#include "graph/ops/ops_common.h"

#include <math.h>

static enum cohort_code norm_axis(const struct node *n, int rank, int *axis,
                                  struct cohort_error *err) {
    return op_axis(node_attr_int(n, "axis", -1), rank, axis, err);
}

/* The shape that is normalised together: dims [axis, rank). */
static struct shape normalised(const struct shape *s, int axis) {
    return shape_of(s->rank - axis, s->dim + axis);
}

/* Scale and bias are broadcast to what is normalised together. */
static enum cohort_code check_parameter(const struct tensor *t, int i, const struct shape *x,
                                        int axis, struct cohort_error *err) {
    struct shape inner = normalised(x, axis), both;
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    if (t == NULL || !shape_known(&t->shape) || !shape_known(&inner))
        return COHORT_OK;
    if (!shape_broadcast(&inner, &t->shape, &both) || !shape_equal(&inner, &both))
        return error_set(err, COHORT_ERR_SHAPE, "input %d has shape %s; %s is normalised", i,
                         shape_text(&t->shape, a, sizeof a), shape_text(&inner, b, sizeof b));
    return COHORT_OK;
}

static enum cohort_code norm_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int axis = 0;
    int64_t stash = node_attr_int(n, "stash_type", DT_F32);
    struct shape statistics = in[0]->shape;
    TRY(op_need_all(n, in, TYPES_FLOAT, err));
    if (stash < 0 || stash > 31 || (TYPES_FLOAT & TYPE_BIT(stash)) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "stash_type is %lld", (long long)stash);
    if (in[0]->shape.rank >= 0) {
        TRY(norm_axis(n, in[0]->shape.rank, &axis, err));
        for (int i = 1; i < 3; i++)
            TRY(check_parameter(op_in(n, in, i), i, &in[0]->shape, axis, err));
        for (int i = axis; i < statistics.rank; i++)
            statistics.dim[i] = 1;
    }
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
    op_out(n, out, 1, (enum dtype)stash, &statistics);
    op_out(n, out, 2, (enum dtype)stash, &statistics);
out:
    return code;
}

/* Mean, and mean of the squared differences, of `length` elements. */
static void moments(const struct tensor *t, int64_t first, int64_t length, double *mean,
                    double *variance) {
    union op_chunk x;
    *mean = *variance = 0;
    for (int pass = 0; pass < 2; pass++) {
        double sum = 0;
        for (int64_t k = 0; k < length; k += OP_CHUNK) {
            int64_t count = length - k < OP_CHUNK ? length - k : OP_CHUNK;
            op_load(CLASS_F64, t, first + k, 1, count, &x);
            for (int64_t j = 0; j < count; j++)
                sum += pass == 0 ? x.f[j] : (x.f[j] - *mean) * (x.f[j] - *mean);
        }
        *(pass == 0 ? mean : variance) = sum / (double)length;
    }
}

/* One group: y = (x - mean) * factor * scale + bias. */
static void scale_and_shift(const struct tensor *const in[], int operands, struct tensor *out,
                            const struct shape *inner, int64_t first, double mean, double factor) {
    struct bcast b;
    for (bcast_begin(&b, inner, in + 1, operands); b.more; bcast_next(&b))
        for (int64_t j = 0; j < b.run; j += OP_CHUNK) {
            union op_chunk x, scale, bias = {{0}};
            int64_t count = b.run - j < OP_CHUNK ? b.run - j : OP_CHUNK;
            op_load(CLASS_F64, in[0], first + b.out + j, 1, count, &x);
            op_load(CLASS_F64, in[1], b.at[0] + j * b.step[0], b.step[0], count, &scale);
            if (operands > 1)
                op_load(CLASS_F64, in[2], b.at[1] + j * b.step[1], b.step[1], count, &bias);
            for (int64_t k = 0; k < count; k++)
                x.f[k] = (x.f[k] - mean) * factor * scale.f[k] + bias.f[k];
            op_store(CLASS_F64, out, first + b.out + j, count, &x);
        }
}

static enum cohort_code norm_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    int axis;
    const struct shape *shape = &in[0]->shape;
    enum cohort_code code = norm_axis(n, shape->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    struct shape inner = normalised(shape, axis);
    int64_t groups = shape_product(shape, 0, axis), length = shape_count(&inner);
    double epsilon = (double)node_attr_float(n, "epsilon", 1e-5f);
    for (int64_t i = 0; i < groups && length > 0; i++) {
        double mean, variance;
        moments(in[0], i * length, length, &mean, &variance);
        double factor = 1 / sqrt(variance + epsilon);
        scale_and_shift(in, op_in(n, in, 2) != NULL ? 2 : 1, out[0], &inner, i * length, mean,
                        factor);
        if (n->out_count > 1 && out[1] != NULL)
            tensor_set_f64(out[1], i, mean);
        if (n->out_count > 2 && out[2] != NULL)
            tensor_set_f64(out[2], i, factor);
    }
    return COHORT_OK;
}

/* ---- RMSNormalization ------------------------------------------------------------------------ */

static enum cohort_code rms_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int axis = 0;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(op_need(n, in, 1, TYPES_FLOAT, err));
    if (in[0]->shape.rank >= 0) {
        TRY(norm_axis(n, in[0]->shape.rank, &axis, err));
        TRY(check_parameter(in[1], 1, &in[0]->shape, axis, err));
    }
    op_out(n, out, 0, in[1]->type, &in[0]->shape);
out:
    return code;
}

static enum cohort_code rms_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    int axis;
    const struct shape *shape = &in[0]->shape;
    enum cohort_code code = norm_axis(n, shape->rank, &axis, err);
    if (code != COHORT_OK)
        return code;
    struct shape inner = normalised(shape, axis);
    int64_t groups = shape_product(shape, 0, axis), length = shape_count(&inner);
    double epsilon = (double)node_attr_float(n, "epsilon", 1e-5f);
    for (int64_t i = 0; i < groups && length > 0; i++) {
        double mean, variance;
        moments(in[0], i * length, length, &mean, &variance);
        scale_and_shift(in, 1, out[0], &inner, i * length, 0,
                        1 / sqrt(variance + mean * mean + epsilon));
    }
    return COHORT_OK;
}

/* ---- both ------------------------------------------------------------------------------------ */

static void norm_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    int axis, rank = graph_value(g, n->in[0])->shape.rank;
    if (i == 0 && rank > 0 && norm_axis(n, rank, &axis, NULL) == COHORT_OK && axis == rank - 1)
        rows_same(g, n, i, map);
}

/* Two sums, a difference, a square, a product and a sum with the parameters, and a little. */
static double norm_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? 7 * (double)count : 0;
}

const struct op_desc op_layer_normalization = {
    .name = "LayerNormalization",
    .domain = "",
    .since = 17,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 3,
    .max_outputs = 3,
    .infer = norm_infer,
    .eval = norm_eval,
    .rows = norm_rows,
    .flops = norm_flops,
};

const struct op_desc op_rms_normalization = {
    .name = "RMSNormalization",
    .domain = "",
    .since = 23,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .infer = rms_infer,
    .eval = rms_eval,
    .rows = norm_rows,
    .flops = norm_flops,
};
