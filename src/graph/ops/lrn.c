/* LRN, local response normalisation across channels:
 * y = x / (bias + alpha/size * sum of x'^2)^beta over channels c - (size-1)/2 … c + size/2.
 *
 * X [N, C, …]; same shape out.  Opset 1 and up. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"
#include "graph/ops/params.h"

#include <math.h>

void lrn_params(const struct node *n, struct lrn_params *p) {
    *p = (struct lrn_params){
        .size = node_attr_int(n, "size", 0),
        .alpha = node_attr_float(n, "alpha", 0.0001f),
        .beta = node_attr_float(n, "beta", 0.75f),
        .bias = node_attr_float(n, "bias", 1.0f),
    };
}

static enum cohort_code lrn_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct lrn_params p;
    lrn_params(n, &p);
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    if (in[0]->shape.rank >= 0 && in[0]->shape.rank < 2)
        return error_set(err, COHORT_ERR_SHAPE,
                         "an input of rank %d; batch and channels are needed", in[0]->shape.rank);
    if (p.size < 1 || p.size > INT32_MAX)
        return error_set(err, COHORT_ERR_SHAPE, "size is %lld; at least 1 is needed",
                         (long long)p.size);
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

/* `squares` holds x^2 of one image, [C][inner]. */
static double sum_around(const double *squares, int64_t channels, int64_t inner, int64_t c,
                         int64_t i, int64_t size) {
    int64_t from = c - (size - 1) / 2, to = c + size / 2;
    double sum = 0;
    from = from < 0 ? 0 : from;
    to = to > channels - 1 ? channels - 1 : to;
    for (int64_t k = from; k <= to; k++)
        sum += squares[k * inner + i];
    return sum;
}

static enum cohort_code lrn_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double *x = NULL, *squares = NULL;
    struct lrn_params p;
    const struct shape *s = &in[0]->shape;
    int64_t channels = s->dim[1], inner = shape_product(s, 2, s->rank), image = channels * inner;
    lrn_params(n, &p);
    TRY(window_doubles(in[0], &x, err));
    TRY(window_doubles(in[0], &squares, err));
    for (int64_t i = 0; i < s->dim[0] * image; i++)
        squares[i] *= squares[i];
    for (int64_t k = 0; k < s->dim[0]; k++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < inner; i++) {
                double sum = sum_around(squares + k * image, channels, inner, c, i, p.size);
                x[k * image + c * inner + i] /=
                    pow((double)p.bias + (double)p.alpha / (double)p.size * sum, (double)p.beta);
            }
    window_put(out[0], 0, s->dim[0] * image, x);
out:
    mem_free(squares);
    mem_free(x);
    return code;
}

static void lrn_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    if (rows_of_maps(g, n, i))
        rows_same(g, n, i, map);
}

static double lrn_flops(const struct graph *g, const struct node *n) {
    const struct value *y = node_out(g, n, 0);
    int64_t count = y != NULL ? shape_count(&y->shape) : -1;
    return count > 0 ? (double)count * (2.0 * (double)node_attr_int(n, "size", 0) + 4) : 0;
}

const struct op_desc op_lrn = {
    .name = "LRN",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = lrn_infer,
    .eval = lrn_eval,
    .map_ok = map_unary_ok,
    .rows = lrn_rows,
    .flops = lrn_flops,
};
