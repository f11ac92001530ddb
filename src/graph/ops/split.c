/* Split: an input cut into pieces along an axis.
 *
 * The sizes: attribute "split" (opset 2 to 12), input 1 (13 and up), or equal pieces, one for each
 * output; num_outputs (18 and up) lets the last piece be smaller. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"
#include "graph/ops/params.h"

/* The i-th of `count` equal pieces of `dim`; -1 when it cannot be. */
static int64_t equal_piece(int64_t dim, int count, int i, bool last_smaller) {
    if (dim % count == 0)
        return dim / count;
    int64_t piece = dim / count + 1;
    if (!last_smaller || piece * (count - 1) > dim)
        return -1;
    return i < count - 1 ? piece : dim - piece * (count - 1);
}

static enum cohort_code check_sum(const int64_t *pieces, int count, int64_t dim,
                                  struct cohort_error *err) {
    int64_t left = dim;
    for (int i = 0; i < count; i++) {
        if (pieces[i] < 0)
            return error_set(err, COHORT_ERR_SHAPE, "a piece of size %lld", (long long)pieces[i]);
        if (dim >= 0 && pieces[i] > left)
            return error_set(err, COHORT_ERR_SHAPE, "the pieces are larger than the axis (%lld)",
                             (long long)dim);
        left -= dim >= 0 ? pieces[i] : 0;
    }
    if (dim >= 0 && left != 0)
        return error_set(err, COHORT_ERR_SHAPE, "the pieces leave %lld of the axis (%lld) over",
                         (long long)left, (long long)dim);
    return COHORT_OK;
}

/* Sizes that the file states: *pieces (new) or NULL when it states none; *unknown when they are an
 * input whose contents are not known. */
static enum cohort_code stated_pieces(const struct node *n, const struct tensor *sizes,
                                      int64_t **pieces, bool *unknown, struct cohort_error *err) {
    int count = 0;
    const int64_t *ints = sizes == NULL ? node_attr_ints(n, "split", &count) : NULL;
    *pieces = NULL;
    *unknown = false;
    if (sizes == NULL && (ints == NULL || count == 0))
        return COHORT_OK;
    if (sizes != NULL && sizes->data == NULL) {
        *unknown = true;
        return COHORT_OK;
    }
    int64_t *p = mem_zalloc((size_t)n->out_count, sizeof *p);
    if (p == NULL)
        return error_memory(err, (unsigned long long)n->out_count * sizeof *p, "split sizes");
    enum cohort_code code = COHORT_OK;
    if (sizes != NULL)
        TRY(op_ints(sizes, "split", p, n->out_count, &count, err));
    if (count != n->out_count) {
        code = error_set(err, COHORT_ERR_SHAPE, "split has %d sizes for %d outputs", count,
                         n->out_count);
        goto out;
    }
    for (int i = 0; ints != NULL && i < count; i++)
        p[i] = ints[i];
    *pieces = p;
    return COHORT_OK;
out:
    mem_free(p);
    return code;
}

/* Sizes of all pieces, in new memory; -1 where they depend on what is not known. */
static enum cohort_code split_pieces(const struct node *n, const struct tensor *sizes, int64_t dim,
                                     int64_t **pieces, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool unknown = false;
    int64_t *p = NULL, wanted = node_attr_int(n, "num_outputs", n->out_count);
    if (n->out_count < 1 || wanted != n->out_count)
        return error_set(err, COHORT_ERR_SHAPE, "num_outputs is %lld, but there are %d outputs",
                         (long long)wanted, n->out_count);
    TRY(stated_pieces(n, sizes, &p, &unknown, err));
    if (p != NULL) {
        TRY(check_sum(p, n->out_count, dim, err));
    } else {
        p = mem_zalloc((size_t)n->out_count, sizeof *p);
        if (p == NULL)
            return error_memory(err, (unsigned long long)n->out_count * sizeof *p, "split sizes");
        for (int i = 0; i < n->out_count; i++) {
            p[i] = -1;
            if (unknown || dim < 0)
                continue;
            p[i] = equal_piece(dim, n->out_count, i, n->opset >= 18);
            if (p[i] < 0) {
                code = error_set(err, COHORT_ERR_SHAPE, "%lld cannot be split into %d equal pieces",
                                 (long long)dim, n->out_count);
                goto out;
            }
        }
    }
    *pieces = p;
    return COHORT_OK;
out:
    mem_free(p);
    return code;
}

static enum cohort_code split_infer(struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t *pieces = NULL;
    int axis = 0;
    struct shape y = in[0]->shape;
    const struct tensor *sizes = op_in(n, in, 1);
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    if (y.rank >= 0) {
        TRY(op_axis(node_attr_int(n, "axis", 0), y.rank, &axis, err));
        TRY(split_pieces(n, sizes, y.dim[axis], &pieces, err));
    }
    for (int i = 0; i < n->out_count; i++) {
        if (y.rank >= 0)
            y.dim[axis] = pieces[i];
        op_out(n, out, i, in[0]->type, &y);
    }
out:
    mem_free(pieces);
    return code;
}

static enum cohort_code split_eval(const struct node *n, const struct tensor *const in[],
                                   struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t from[RANK_MAX], to[RANK_MAX], at = 0, *pieces = NULL;
    int axis = 0;
    const struct shape *x = &in[0]->shape;
    size_t size = dtype_bytes(in[0]->type);
    TRY(op_axis(node_attr_int(n, "axis", 0), x->rank, &axis, err));
    TRY(split_pieces(n, op_in(n, in, 1), x->dim[axis], &pieces, err));
    op_strides(x, from);
    for (int i = 0; i < n->out_count; at += pieces[i++]) {
        if (out[i] == NULL || out[i]->data == NULL)
            continue;
        op_strides(&out[i]->shape, to);
        op_copy(out[i]->data, to,
                (const unsigned char *)in[0]->data + (size_t)(at * from[axis]) * size, from,
                x->rank, out[i]->shape.dim, size);
    }
out:
    mem_free(pieces);
    return code;
}

enum cohort_code split_params(const struct graph *g, const struct node *n, int *axis,
                              int64_t *offsets, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t *pieces = NULL;
    const struct shape *x = &node_in(g, n, 0)->shape;
    TRY(op_axis(node_attr_int(n, "axis", 0), x->rank, axis, err));
    TRY(split_pieces(n, node_const(g, n, 1), x->dim[*axis], &pieces, err));
    offsets[0] = 0;
    for (int i = 0; i < n->out_count; i++)
        offsets[i + 1] = offsets[i] + pieces[i];
out:
    mem_free(pieces);
    return code;
}

/* Along channels, sizes constant.  Pieces without a channel have no map form. */
static bool split_map_ok(const struct graph *g, const struct node *n) {
    int axis = 0;
    if (!map_value(g, n->in[0]) || graph_value(g, n->in[0])->is_constant ||
        !shape_axis(node_attr_int(n, "axis", 0), graph_value(g, n->in[0])->shape.rank, &axis) ||
        axis != 1)
        return false;
    if (node_in(g, n, 1) != NULL && (node_const(g, n, 1) == NULL || !node_const(g, n, 1)->data))
        return false;
    for (int i = 0; i < n->out_count; i++)
        if (n->out[i] >= 0 && !map_value(g, n->out[i]))
            return false;
    return true;
}

static void split_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    if (rows_of_maps(g, n, i))
        rows_same(g, n, i, map);
}

const struct op_desc op_split = {
    .name = "Split",
    .domain = "",
    .since = 2,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 2,
    .max_outputs = OP_ANY_INPUTS,
    .flags = OP_MOVE,
    .infer = split_infer,
    .eval = split_eval,
    .map_ok = split_map_ok,
    .rows = split_rows,
};
