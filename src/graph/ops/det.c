/* Det: the determinant of each matrix [.., M, M], by elimination with the largest pivot. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>

static enum cohort_code det_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape s = in[0]->shape;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    if (s.rank >= 0) {
        int64_t m = s.rank >= 2 ? s.dim[s.rank - 2] : 0, k = s.rank >= 2 ? s.dim[s.rank - 1] : 0;
        if (s.rank < 2 || (m >= 0 && k >= 0 && m != k)) {
            char text[SHAPE_TEXT_BYTES];
            return error_set(err, COHORT_ERR_SHAPE, "shape %s; square matrices are needed",
                             shape_text(&s, text, sizeof text));
        }
        s.rank -= 2;
    }
    op_out(n, out, 0, in[0]->type, &s);
out:
    return code;
}

/* Destroys a, m x m. */
static double determinant(double *a, int64_t m) {
    double det = 1;
    for (int64_t k = 0; k < m; k++) {
        int64_t pivot = k;
        for (int64_t i = k + 1; i < m; i++)
            if (fabs(a[i * m + k]) > fabs(a[pivot * m + k]))
                pivot = i;
        if (pivot != k)
            det = -det;
        for (int64_t j = 0; pivot != k && j < m; j++) {
            double swap = a[k * m + j];
            a[k * m + j] = a[pivot * m + j];
            a[pivot * m + j] = swap;
        }
        det *= a[k * m + k];
        if (a[k * m + k] == 0)
            return det;
        for (int64_t i = k + 1; i < m; i++) {
            double factor = a[i * m + k] / a[k * m + k];
            for (int64_t j = k; j < m; j++)
                a[i * m + j] -= factor * a[k * m + j];
        }
    }
    return det;
}

static enum cohort_code det_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    double *a = NULL;
    int64_t m = in[0]->shape.dim[in[0]->shape.rank - 1];
    enum cohort_code code = window_doubles(in[0], &a, err);
    for (int64_t i = 0; code == COHORT_OK && i < shape_count(&out[0]->shape); i++)
        tensor_set_f64(out[0], i, determinant(a + i * m * m, m));
    mem_free(a);
    return code;
}

static double det_flops(const struct graph *g, const struct node *n) {
    const struct shape *s = &graph_value(g, n->in[0])->shape;
    int64_t count = shape_count(s);
    return count > 0 ? (double)count * (double)s->dim[s->rank - 1] * 2 / 3 : 0;
}

const struct op_desc op_det = {
    .name = "Det",
    .domain = "",
    .since = 11,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = det_infer,
    .eval = det_eval,
    .flops = det_flops,
};
