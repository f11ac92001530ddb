/* Col2Im (opset 18): adds columns [N, C * block, positions] up to images [N, C, image…], as the
 * gradient of a sliding window does; and CenterCropPad (opset 18), which crops or pads with zeros
 * around the middle. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <string.h>

/* ---- Col2Im ---------------------------------------------------------------------------------- */

/* The window that slides over the image; *known is false while its shapes are not. */
static enum cohort_code col_window(const struct node *n, const struct tensor *const in[],
                                   struct window_nd *w, bool *known, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape image = {.dim = {1, 1}};
    int64_t block[WINDOW_AXES];
    int axes, blocks;
    TRY(op_ints(in[1], "image_shape", image.dim + 2, WINDOW_AXES, &axes, err));
    TRY(op_ints(in[2], "block_shape", block, WINDOW_AXES, &blocks, err));
    *known = axes >= 0 && blocks >= 0;
    if (!*known)
        goto out;
    if (axes != blocks)
        return error_set(err, COHORT_ERR_SHAPE, "an image of %d axes with a block of %d", axes,
                         blocks);
    image.rank = axes + 2;
    for (int i = 0; i < axes; i++)
        if (image.dim[i + 2] < 1 || block[i] < 1)
            return error_set(err, COHORT_ERR_SHAPE, "an image of %lld with a block of %lld",
                             (long long)image.dim[i + 2], (long long)block[i]);
    TRY(window_read(w, n, &image, block, err));
    TRY(window_slide(w, n, err));
out:
    return code;
}

static enum cohort_code col2im_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *x = &in[0]->shape;
    struct shape y = shape_unknown(-1);
    struct window_nd w;
    bool known;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(col_window(n, in, &w, &known, err));
    if (x->rank >= 0 && x->rank != 3)
        return error_set(err, COHORT_ERR_SHAPE, "columns of rank %d; 3 is needed", x->rank);
    if (known && shape_known(x)) {
        struct shape taps = shape_of(w.rank, w.kernel), positions = shape_of(w.rank, w.out);
        int64_t block = shape_count(&taps);
        if (block < 1 || x->dim[1] % block != 0 || shape_count(&positions) != x->dim[2]) {
            char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
            return error_set(
                err, COHORT_ERR_SHAPE, "columns of shape %s for a block of %lld at %s positions",
                shape_text(x, a, sizeof a), (long long)block, shape_text(&positions, b, sizeof b));
        }
        y = shape_of(2, (const int64_t[]){x->dim[0], x->dim[1] / block});
        for (int i = 0; i < w.rank; i++)
            y.dim[y.rank++] = w.in[i];
    }
    op_out(n, out, 0, in[0]->type, &y);
out:
    return code;
}

static enum cohort_code col2im_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct window_nd w;
    struct window_walk k;
    const struct shape *y = &out[0]->shape;
    double *x = NULL, *sum = NULL;
    bool known;
    int64_t pixels = shape_product(y, 2, y->rank), positions = in[0]->shape.dim[2];
    TRY(col_window(n, in, &w, &known, err));
    TRY(window_doubles(in[0], &x, err));
    sum = mem_alloc((size_t)pixels * sizeof *sum);
    if (sum == NULL)
        TRY(error_memory(err, (unsigned long long)pixels * sizeof *sum, "an image"));
    int64_t taps = window_taps(&w);
    for (int64_t plane = 0; plane < y->dim[0] * y->dim[1]; plane++) {
        memset(sum, 0, (size_t)pixels * sizeof *sum);
        for (int64_t t = 0; t < taps; t++) {
            const double *column = x + (plane * taps + t) * positions;
            for (walk_begin(&k, &w, w.out, w.in, t); k.more; walk_next(&k))
                for (int64_t j = 0; j < k.run; j++)
                    sum[k.far + j * k.step] += column[k.near + j];
        }
        window_put(out[0], plane * pixels, pixels, sum);
    }
out:
    mem_free(sum);
    mem_free(x);
    return code;
}

static double col2im_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? (double)count : 0;
}

const struct op_desc op_col2im = {
    .name = "Col2Im",
    .domain = "",
    .since = 18,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 3,
    .max_outputs = 1,
    .infer = col2im_infer,
    .eval = col2im_eval,
    .flops = col2im_flops,
};

/* ---- CenterCropPad --------------------------------------------------------------------------- */

static enum cohort_code center_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = in[0]->shape;
    struct axes axes;
    int64_t wanted[RANK_MAX];
    int count;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_ints(in[1], "shape", wanted, RANK_MAX, &count, err));
    if (shape.rank >= 0) {
        TRY(op_axes(n, in, -1, shape.rank, &axes, err));
        int needed = axes.given ? axes.count : shape.rank;
        if (count >= 0 && count != needed)
            return error_set(err, COHORT_ERR_SHAPE, "shape has %d elements; %d are needed", count,
                             needed);
        for (int i = 0; i < needed; i++) {
            if (count >= 0 && wanted[i] < 0)
                return error_set(err, COHORT_ERR_SHAPE, "a size of %lld", (long long)wanted[i]);
            shape.dim[axes.given ? axes.axis[i] : i] = count >= 0 ? wanted[i] : -1;
        }
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* Along each axis the middles coincide; what is left over is at the end. */
static enum cohort_code center_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    const struct shape *x = &in[0]->shape, *y = &out[0]->shape;
    int64_t from_stride[RANK_MAX], to_stride[RANK_MAX], dim[RANK_MAX], from = 0, to = 0;
    op_strides(x, from_stride);
    op_strides(y, to_stride);
    if (tensor_bytes(out[0]) > 0)
        memset(out[0]->data, 0, tensor_bytes(out[0]));
    if (shape_count(x) == 0 || shape_count(y) == 0)
        return COHORT_OK;
    for (int i = 0; i < x->rank; i++) {
        dim[i] = x->dim[i] < y->dim[i] ? x->dim[i] : y->dim[i];
        from += (x->dim[i] - dim[i]) / 2 * from_stride[i];
        to += (y->dim[i] - dim[i]) / 2 * to_stride[i];
    }
    op_copy(op_at(out[0], to), to_stride, op_at(in[0], from), from_stride, x->rank, dim,
            dtype_bytes(in[0]->type));
    return COHORT_OK;
}

const struct op_desc op_center_crop_pad = {
    .name = "CenterCropPad",
    .domain = "",
    .since = 18,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = center_infer,
    .eval = center_eval,
};
