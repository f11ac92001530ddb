/* BatchNormalization, inference only: y = scale*(x - mean)/sqrt(var + epsilon) + B per channel.
 *
 * X [N, C, …] (or [N]: then C is 1); scale, B, mean, var [C].  Opset 7 and up: `spatial` went away
 * (9), training_mode replaced the extra outputs (14), types may differ (15). */
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"
#include "graph/ops/params.h"

#include <math.h>

enum { IN_X, IN_SCALE, IN_SHIFT, IN_MEAN, IN_VAR };

static const char *const input_name[] = {"X", "scale", "B", "mean", "var"};

static int64_t channels_of(const struct shape *x) {
    return x->rank == 1 ? 1 : x->rank >= 2 ? x->dim[1] : -1;
}

static enum cohort_code batch_norm_infer(struct node *n, const struct tensor *const in[],
                                         struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool training = node_attr_int(n, "training_mode", 0) != 0;
    for (int i = 1; i < n->out_count; i++)
        training = training || n->out[i] >= 0;
    if (training)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "training mode (new statistics are asked for); export the network for "
                         "inference");
    if (node_attr_int(n, "spatial", 1) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "spatial=0 (statistics for each element)");
    int64_t channels = channels_of(&in[IN_X]->shape);
    if (in[IN_X]->shape.rank == 0)
        return error_set(err, COHORT_ERR_SHAPE, "a scalar has no channels");
    for (int i = 0; i <= IN_VAR; i++)
        TRY(op_need(n, in, i, TYPES_FLOAT, err));
    for (int i = IN_SCALE; i <= IN_VAR; i++) {
        const struct shape *s = &in[i]->shape;
        if (s->rank >= 0 &&
            (s->rank != 1 || (s->dim[0] >= 0 && channels >= 0 && s->dim[0] != channels)))
            return error_set(err, COHORT_ERR_SHAPE, "%s is not a list of %lld", input_name[i],
                             (long long)channels);
    }
    for (int i = 0; i < n->out_count; i++)
        op_out(n, out, i, in[IN_X]->type, &in[i == 0 ? IN_X : IN_MEAN]->shape);
out:
    return code;
}

static enum cohort_code batch_norm_eval(const struct node *n, const struct tensor *const in[],
                                        struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    const struct shape *s = &in[IN_X]->shape;
    union op_chunk chunk;
    double epsilon = (double)node_attr_float(n, "epsilon", 1e-5f);
    int64_t channels = channels_of(s), inner = s->rank >= 2 ? shape_product(s, 2, s->rank) : 1;
    int64_t planes = s->rank >= 2 ? shape_product(s, 0, 2) : s->dim[0];
    for (int64_t p = 0; p < planes; p++) {
        int64_t c = p % channels;
        double scale =
            tensor_get_f64(in[IN_SCALE], c) / sqrt(tensor_get_f64(in[IN_VAR], c) + epsilon);
        double shift = tensor_get_f64(in[IN_SHIFT], c), mean = tensor_get_f64(in[IN_MEAN], c);
        for (int64_t i = 0; i < inner; i += OP_CHUNK) {
            int64_t some = inner - i < OP_CHUNK ? inner - i : OP_CHUNK;
            op_load(CLASS_F64, in[IN_X], p * inner + i, 1, some, &chunk);
            for (int64_t j = 0; j < some; j++)
                chunk.f[j] = (chunk.f[j] - mean) * scale + shift;
            op_store(CLASS_F64, out[0], p * inner + i, some, &chunk);
        }
    }
    return COHORT_OK;
}

enum cohort_code batch_norm_affine(const struct graph *g, const struct node *n, float *scale,
                                   float *shift, struct cohort_error *err) {
    double epsilon = (double)node_attr_float(n, "epsilon", 1e-5f);
    const struct tensor *t[IN_VAR + 1] = {NULL};
    for (int i = IN_SCALE; i <= IN_VAR; i++) {
        t[i] = node_const(g, n, i);
        if (t[i] == NULL || t[i]->data == NULL)
            return error_set(err, COHORT_ERR_INTERNAL, "%s of BatchNormalization is not here",
                             input_name[i]);
    }
    for (int64_t c = 0; c < shape_count(&t[IN_SCALE]->shape); c++) {
        double a = tensor_get_f64(t[IN_SCALE], c) / sqrt(tensor_get_f64(t[IN_VAR], c) + epsilon);
        scale[c] = (float)a;
        shift[c] = (float)(tensor_get_f64(t[IN_SHIFT], c) - a * tensor_get_f64(t[IN_MEAN], c));
    }
    return COHORT_OK;
}

static void batch_norm_rows(const struct graph *g, const struct node *n, int i,
                            struct rowmap *map) {
    if (rows_of_maps(g, n, i))
        rows_same(g, n, i, map);
}

static double batch_norm_flops(const struct graph *g, const struct node *n) {
    const struct value *y = node_out(g, n, 0);
    int64_t count = y != NULL ? shape_count(&y->shape) : -1;
    return count > 0 ? 2.0 * (double)count : 0;
}

const struct op_desc op_batch_normalization = {
    .name = "BatchNormalization",
    .domain = "",
    .since = 7,
    .until = OPSET_LAST,
    .min_inputs = 5,
    .max_inputs = 5,
    .max_outputs = 5,
    .infer = batch_norm_infer,
    .eval = batch_norm_eval,
    .map_ok = map_unary_ok,
    .rows = batch_norm_rows,
    .flops = batch_norm_flops,
};
