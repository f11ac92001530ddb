/* InstanceNormalization: y = scale*(x - mean)/sqrt(var + epsilon) + B, with mean and variance of
 * each channel of each image.
 *
 * X [N, C, spatial…]; scale, B [C].  Opset 6 and up.  As maps every output row needs all rows of
 * its image: the row map stays ROWMAP_ALL. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>

static enum cohort_code instance_norm_infer(struct node *n, const struct tensor *const in[],
                                            struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *x = &in[0]->shape;
    TRY(op_need_all(n, in, TYPES_FLOAT, err));
    if (x->rank >= 0 && x->rank < 3)
        return error_set(err, COHORT_ERR_SHAPE,
                         "an input of rank %d; batch, channels and a spatial axis are needed",
                         x->rank);
    for (int i = 1; i < 3; i++) {
        const struct shape *s = &in[i]->shape;
        if (s->rank >= 0 && (s->rank != 1 || (x->rank >= 0 && s->dim[0] >= 0 && x->dim[1] >= 0 &&
                                              s->dim[0] != x->dim[1])))
            return error_set(err, COHORT_ERR_SHAPE, "%s is not one number per channel",
                             i == 1 ? "scale" : "B");
    }
    op_out(n, out, 0, in[0]->type, x);
out:
    return code;
}

static void normalise(double *x, int64_t count, double scale, double shift, double epsilon) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    double mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    scale /= sqrt(squares / (double)count + epsilon);
    for (int64_t i = 0; i < count; i++)
        x[i] = (x[i] - mean) * scale + shift;
}

static enum cohort_code instance_norm_eval(const struct node *n, const struct tensor *const in[],
                                           struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double *x = NULL, epsilon = (double)node_attr_float(n, "epsilon", 1e-5f);
    const struct shape *s = &in[0]->shape;
    int64_t count = shape_product(s, 2, s->rank), planes = shape_product(s, 0, 2);
    TRY(window_doubles(in[0], &x, err));
    for (int64_t p = 0; p < planes; p++)
        normalise(x + p * count, count, tensor_get_f64(in[1], p % s->dim[1]),
                  tensor_get_f64(in[2], p % s->dim[1]), epsilon);
    window_put(out[0], 0, planes * count, x);
out:
    mem_free(x);
    return code;
}

static double instance_norm_flops(const struct graph *g, const struct node *n) {
    const struct value *y = node_out(g, n, 0);
    int64_t count = y != NULL ? shape_count(&y->shape) : -1;
    return count > 0 ? 6.0 * (double)count : 0;
}

const struct op_desc op_instance_normalization = {
    .name = "InstanceNormalization",
    .domain = "",
    .since = 6,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = instance_norm_infer,
    .eval = instance_norm_eval,
    .map_ok = map_unary_ok,
    .flops = instance_norm_flops,
};
