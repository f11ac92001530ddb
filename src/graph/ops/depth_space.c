/* DepthToSpace and SpaceToDepth: blocks of channels to blocks of pixels, and back.
 *
 * DepthToSpace [N, C*b*b, H, W] to [N, C, H*b, W*b]: mode DCR reads a channel as (by, bx, c), CRD
 * (opset 11) as (c, by, bx).  SpaceToDepth is DCR backwards. */
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"
#include "graph/ops/params.h"

#include <string.h>

void depth_space_params(const struct node *n, struct depth_space_params *p) {
    p->block = node_attr_int(n, "blocksize", 0);
    p->column_first = strcmp(node_attr_string(n, "mode", "DCR"), "CRD") == 0;
}

static enum cohort_code check(const struct node *n, const struct tensor *const in[],
                              struct depth_space_params *p, struct cohort_error *err) {
    enum cohort_code code = op_need(n, in, 0, TYPES_ANY, err);
    const char *mode = node_attr_string(n, "mode", "DCR");
    if (code != COHORT_OK)
        return code;
    depth_space_params(n, p);
    if (p->block < 1 || p->block > (1 << 15))
        return error_set(err, COHORT_ERR_SHAPE, "blocksize is %lld", (long long)p->block);
    if (strcmp(mode, "DCR") != 0 && strcmp(mode, "CRD") != 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "mode is \"%s\", not DCR or CRD", mode);
    if (in[0]->shape.rank >= 0 && in[0]->shape.rank != 4)
        return error_set(err, COHORT_ERR_SHAPE, "an input of rank %d; 4 is needed",
                         in[0]->shape.rank);
    return COHORT_OK;
}

static enum cohort_code divide(int64_t *dim, int64_t by, struct cohort_error *err) {
    if (*dim >= 0 && *dim % by != 0)
        return error_set(err, COHORT_ERR_SHAPE, "%lld is not a multiple of %lld", (long long)*dim,
                         (long long)by);
    *dim = *dim < 0 ? -1 : *dim / by;
    return COHORT_OK;
}

static enum cohort_code multiply(int64_t *dim, int64_t by, struct cohort_error *err) {
    if (*dim > INT64_MAX / by)
        return error_set(err, COHORT_ERR_SHAPE, "%lld times %lld is too large", (long long)*dim,
                         (long long)by);
    *dim = *dim < 0 ? -1 : *dim * by;
    return COHORT_OK;
}

static enum cohort_code depth_to_space_infer(struct node *n, const struct tensor *const in[],
                                             struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct depth_space_params p;
    struct shape y = in[0]->shape;
    TRY(check(n, in, &p, err));
    if (y.rank == 4) {
        TRY(divide(&y.dim[1], p.block * p.block, err));
        TRY(multiply(&y.dim[2], p.block, err));
        TRY(multiply(&y.dim[3], p.block, err));
    }
    op_out(n, out, 0, in[0]->type, &y);
out:
    return code;
}

static enum cohort_code space_to_depth_infer(struct node *n, const struct tensor *const in[],
                                             struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct depth_space_params p;
    struct shape y = in[0]->shape;
    TRY(check(n, in, &p, err));
    if (y.rank == 4) {
        TRY(multiply(&y.dim[1], p.block * p.block, err));
        TRY(divide(&y.dim[2], p.block, err));
        TRY(divide(&y.dim[3], p.block, err));
    }
    op_out(n, out, 0, in[0]->type, &y);
out:
    return code;
}

/* Both are a transposition of axes n, c, h, by, w, bx: `deep` has the channels [by][bx][c] (or
 * [c][by][bx]), `wide` has the pixels; c, h, w are the lesser sizes. */
static void strides_of(const struct depth_space_params *p, int64_t c, int64_t h, int64_t w,
                       int64_t deep[6], int64_t wide[6]) {
    int64_t b = p->block, plane = h * w;
    int64_t c_deep = p->column_first ? b * b * plane : plane;
    int64_t bx_deep = p->column_first ? plane : c * plane;
    const int64_t d[6] = {c * b * b * plane, c_deep, w, bx_deep * b, 1, bx_deep};
    const int64_t s[6] = {c * b * b * plane, b * b * plane, b * w * b, w * b, b, 1};
    memcpy(deep, d, sizeof d);
    memcpy(wide, s, sizeof s);
}

static enum cohort_code depth_to_space_eval(const struct node *n, const struct tensor *const in[],
                                            struct tensor *const out[], struct cohort_error *err) {
    struct depth_space_params p;
    int64_t deep[6], wide[6];
    const int64_t *x = in[0]->shape.dim, *y = out[0]->shape.dim;
    (void)err;
    depth_space_params(n, &p);
    const int64_t dim[6] = {x[0], y[1], x[2], p.block, x[3], p.block};
    strides_of(&p, y[1], x[2], x[3], deep, wide);
    op_copy(out[0]->data, wide, in[0]->data, deep, 6, dim, dtype_bytes(in[0]->type));
    return COHORT_OK;
}

static enum cohort_code space_to_depth_eval(const struct node *n, const struct tensor *const in[],
                                            struct tensor *const out[], struct cohort_error *err) {
    struct depth_space_params p;
    int64_t deep[6], wide[6];
    const int64_t *x = in[0]->shape.dim, *y = out[0]->shape.dim;
    (void)err;
    depth_space_params(n, &p);
    const int64_t dim[6] = {x[0], x[1], y[2], p.block, y[3], p.block};
    strides_of(&p, x[1], y[2], y[3], deep, wide);
    op_copy(out[0]->data, deep, in[0]->data, wide, 6, dim, dtype_bytes(in[0]->type));
    return COHORT_OK;
}

static void depth_to_space_rows(const struct graph *g, const struct node *n, int i,
                                struct rowmap *map) {
    struct depth_space_params p;
    if (!rows_of_maps(g, n, i))
        return;
    depth_space_params(n, &p);
    map->kind = ROWMAP_AFFINE;
    map->num = 1;
    map->den = p.block;
    map->lo = map->hi = 0;
}

static void space_to_depth_rows(const struct graph *g, const struct node *n, int i,
                                struct rowmap *map) {
    struct depth_space_params p;
    if (!rows_of_maps(g, n, i))
        return;
    depth_space_params(n, &p);
    map->kind = ROWMAP_AFFINE;
    map->num = p.block;
    map->den = 1;
    map->lo = 0;
    map->hi = p.block - 1;
}

const struct op_desc op_depth_to_space = {
    .name = "DepthToSpace",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = depth_to_space_infer,
    .eval = depth_to_space_eval,
    .map_ok = map_unary_ok,
    .rows = depth_to_space_rows,
};

const struct op_desc op_space_to_depth = {
    .name = "SpaceToDepth",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = space_to_depth_infer,
    .eval = space_to_depth_eval,
    .map_ok = map_unary_ok,
    .rows = space_to_depth_rows,
};
