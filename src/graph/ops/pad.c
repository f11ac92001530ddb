/* Pad: elements added around an input (or, for negative amounts, taken away).
 *
 * Attributes pads and value (opset 2 to 10), inputs pads and constant_value (11 and up), input axes
 * (18), mode "wrap" (19).  What is taken away is gone before anything is reflected or repeated. */
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"
#include "graph/ops/params.h"

#include <string.h>

enum { IN_X, IN_PADS, IN_VALUE, IN_AXES, IN_COUNT };

#define PAD_LIMIT ((int64_t)1 << 40)

static enum cohort_code read_mode(const struct node *n, enum pad_mode *mode,
                                  struct cohort_error *err) {
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *text = node_attr_string(n, "mode", "constant");
    for (int i = 0; i < 4; i++)
        if (strcmp(text, names[i]) == 0) {
            *mode = (enum pad_mode)i;
            return COHORT_OK;
        }
    return error_set(err, COHORT_ERR_UNSUPPORTED,
                     "mode is \"%s\", not constant, reflect, edge or wrap", text);
}

/* The amounts as written; *count = -1: not known. */
static enum cohort_code read_pads(const struct node *n, const struct tensor *const in[],
                                  int64_t *pads, int *count, struct cohort_error *err) {
    if (n->opset >= 11) {
        const struct tensor *t = op_in(n, in, IN_PADS);
        if (t == NULL)
            return error_set(err, COHORT_ERR_SHAPE, "input pads is missing");
        return op_ints(t, "pads", pads, 2 * RANK_MAX, count, err);
    }
    const int64_t *ints = node_attr_ints(n, n->opset < 2 ? "paddings" : "pads", count);
    if (ints == NULL || *count > 2 * RANK_MAX)
        return error_set(err, COHORT_ERR_SHAPE, "pads is missing or has more than %d elements",
                         2 * RANK_MAX);
    memcpy(pads, ints, (size_t)*count * sizeof *pads);
    return COHORT_OK;
}

static enum cohort_code check_axis(const struct pad_params *p, int k, struct cohort_error *err) {
    int64_t begin = p->begin[k], end = p->end[k], dim = p->in[k];
    if (begin < -PAD_LIMIT || begin > PAD_LIMIT || end < -PAD_LIMIT || end > PAD_LIMIT)
        return error_set(err, COHORT_ERR_SHAPE, "pads of %lld and %lld are too large",
                         (long long)begin, (long long)end);
    if (dim < 0)
        return COHORT_OK;
    if (dim > INT64_MAX - 2 * PAD_LIMIT)
        return error_set(err, COHORT_ERR_SHAPE, "axis %d of size %lld is too large", k,
                         (long long)dim);
    int64_t kept = dim + (begin < 0 ? begin : 0) + (end < 0 ? end : 0);
    if (kept < 0 && dim + begin + end >= 0 && p->mode == PAD_CONSTANT)
        return COHORT_OK; /* nothing of the input is left */
    if (kept < 0 || (kept == 0 && p->mode != PAD_CONSTANT && (begin > 0 || end > 0)))
        return error_set(err, COHORT_ERR_SHAPE,
                         "axis %d of size %lld cannot be padded by %lld and %lld", k,
                         (long long)dim, (long long)begin, (long long)end);
    return COHORT_OK;
}

/* *known is false when the amounts are not known yet: then p has zeros, and `touched` says which
 * axes may change. */
static enum cohort_code pad_read(const struct node *n, const struct tensor *const in[],
                                 struct pad_params *p, bool *known, bool touched[RANK_MAX],
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t pads[2 * RANK_MAX];
    int count = 0, rank = in[IN_X]->shape.rank;
    struct axes axes;
    *p = (struct pad_params){.rank = rank};
    TRY(read_mode(n, &p->mode, err));
    TRY(read_pads(n, in, pads, &count, err));
    TRY(op_axes(n, in, n->opset >= 18 ? IN_AXES : -1, rank, &axes, err));
    bool some = axes.given && axes.known; /* only some axes, and which */
    *known = count >= 0 && (!axes.given || axes.known);
    for (int k = 0; k < rank; k++) {
        p->in[k] = in[IN_X]->shape.dim[k];
        touched[k] = some ? axes.has[k] : true;
    }
    if (!*known)
        return COHORT_OK;
    int padded = some ? axes.count : rank;
    if (count != 2 * padded)
        return error_set(err, COHORT_ERR_SHAPE, "pads has %d elements; %d are needed", count,
                         2 * padded);
    for (int i = 0; i < padded; i++) {
        int k = some ? axes.axis[i] : i;
        p->begin[k] = pads[i];
        p->end[k] = pads[padded + i];
        TRY(check_axis(p, k, err));
    }
out:
    return code;
}

static enum cohort_code pad_infer(struct node *n, const struct tensor *const in[],
                                  struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct pad_params p;
    struct shape y = shape_unknown(-1);
    bool known = false, touched[RANK_MAX];
    const struct tensor *value = n->opset >= 11 ? op_in(n, in, IN_VALUE) : NULL;
    TRY(op_need(n, in, IN_X, TYPES_ANY, err));
    if (value != NULL) {
        TRY(op_need_same(n, in, IN_VALUE, err));
        int64_t count = shape_count(&value->shape);
        if (shape_known(&value->shape) && count != 1)
            return error_set(err, COHORT_ERR_SHAPE, "constant_value has %lld elements, not 1",
                             (long long)count);
    }
    if (in[IN_X]->shape.rank >= 0) {
        TRY(pad_read(n, in, &p, &known, touched, err));
        y = in[IN_X]->shape;
        for (int k = 0; k < y.rank; k++) {
            if (known && y.dim[k] >= 0)
                y.dim[k] += p.begin[k] + p.end[k];
            else if (!known && touched[k])
                y.dim[k] = -1;
            if (known && y.dim[k] < 0 && p.in[k] >= 0)
                return error_set(err, COHORT_ERR_SHAPE, "axis %d would have size %lld", k,
                                 (long long)y.dim[k]);
        }
    }
    op_out(n, out, 0, in[IN_X]->type, &y);
out:
    return code;
}

int64_t pad_source(const struct pad_params *p, int axis, int64_t at) {
    int64_t begin = p->begin[axis], end = p->end[axis];
    int64_t cut = begin < 0 ? -begin : 0;
    int64_t size = p->in[axis] - cut + (end < 0 ? end : 0);
    int64_t i = at - (begin > 0 ? begin : 0);
    if (size <= 0)
        return -1;
    if (i >= 0 && i < size)
        return i + cut;
    switch (p->mode) {
    case PAD_CONSTANT:
        return -1;
    case PAD_EDGE:
        return (i < 0 ? 0 : size - 1) + cut;
    case PAD_WRAP:
        return (i % size + size) % size + cut;
    case PAD_REFLECT: {
        int64_t period = size > 1 ? 2 * (size - 1) : 1;
        i = (i % period + period) % period;
        return (i < size ? i : period - i) + cut;
    }
    }
    return -1;
}

/* Copies along `axis` what lies around the part that is there already: positions without a source
 * inside [0, done) of the earlier axes are filled by the caller. */
static void pad_axis(const struct pad_params *p, int axis, const struct shape *y,
                     const int64_t *stride, struct tensor *out, size_t size) {
    int64_t outer = shape_product(y, 0, axis), inner = stride[axis];
    unsigned char *data = out->data;
    int64_t shift = p->begin[axis]; /* output position of input position i is i + shift */
    for (int64_t o = 0; o < outer; o++)
        for (int64_t at = 0; at < y->dim[axis]; at++) {
            int64_t from = pad_source(p, axis, at) + shift;
            if (from != at)
                memcpy(data + (size_t)((o * y->dim[axis] + at) * inner) * size,
                       data + (size_t)((o * y->dim[axis] + from) * inner) * size,
                       (size_t)inner * size);
        }
}

static void fill_value(const struct node *n, const struct tensor *value, struct tensor *out) {
    int64_t count = shape_count(&out->shape);
    size_t size = dtype_bytes(out->type);
    if (count == 0)
        return;
    memset(out->data, 0, size);
    if (n->opset < 11)
        tensor_set_f64(out, 0, (double)node_attr_float(n, "value", 0));
    else if (value != NULL)
        memcpy(out->data, value->data, size);
    op_fill((unsigned char *)out->data + size, out->data, size, count - 1);
}

static enum cohort_code pad_eval(const struct node *n, const struct tensor *const in[],
                                 struct tensor *const out[], struct cohort_error *err) {
    struct pad_params p;
    bool known = false, touched[RANK_MAX];
    int64_t from[RANK_MAX], to[RANK_MAX], dim[RANK_MAX], source = 0, target = 0;
    size_t size = dtype_bytes(out[0]->type);
    enum cohort_code code = pad_read(n, in, &p, &known, touched, err);
    if (code != COHORT_OK)
        return code;
    fill_value(n, op_in(n, in, IN_VALUE), out[0]);
    op_strides(&in[IN_X]->shape, from);
    op_strides(&out[0]->shape, to);
    for (int k = 0; k < p.rank; k++) {
        int64_t cut_begin = p.begin[k] < 0 ? -p.begin[k] : 0,
                cut_end = p.end[k] < 0 ? -p.end[k] : 0;
        dim[k] = p.in[k] - cut_begin - cut_end;
        if (dim[k] <= 0)
            return COHORT_OK;
        source += cut_begin * from[k];
        target += (p.begin[k] > 0 ? p.begin[k] : 0) * to[k];
    }
    op_copy((unsigned char *)out[0]->data + (size_t)target * size, to,
            (const unsigned char *)in[IN_X]->data + (size_t)source * size, from, p.rank, dim, size);
    for (int k = p.rank - 1; p.mode != PAD_CONSTANT && k >= 0; k--)
        pad_axis(&p, k, &out[0]->shape, to, out[0], size);
    return COHORT_OK;
}

enum cohort_code pad_params(const struct graph *g, const struct node *n, struct pad_params *p,
                            struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct tensor held[IN_COUNT];
    const struct tensor *in[IN_COUNT];
    bool known = false, touched[RANK_MAX];
    params_inputs(g, n, held, in, IN_COUNT);
    TRY(pad_read(n, in, p, &known, touched, err));
    const struct tensor *value = n->opset >= 11 ? in[IN_VALUE] : NULL;
    if (!known || (value != NULL && value->data == NULL))
        return error_set(err, COHORT_ERR_INTERNAL, "Pad's amounts are not constant");
    p->value = n->opset < 11   ? node_attr_float(n, "value", 0)
               : value != NULL ? (float)tensor_get_f64(value, 0)
                               : 0.0f;
out:
    return code;
}

/* Rows and columns only. */
static bool pad_map_ok(const struct graph *g, const struct node *n) {
    struct pad_params p;
    if (!map_unary_ok(g, n) || pad_params(g, n, &p, NULL) != COHORT_OK)
        return false;
    for (int k = 0; k < p.rank; k++)
        if (k < 2 && (p.begin[k] != 0 || p.end[k] != 0))
            return false;
    return true;
}

/* Row y comes from row y - begin; a reflected or repeated edge reaches back by as much as the pads
 * (pad_source()), so for those modes the rows asked for are that much wider. */
static void pad_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    struct pad_params p;
    if (i != IN_X || !rows_of_maps(g, n, i) || pad_params(g, n, &p, NULL) != COHORT_OK)
        return;
    int64_t begin = p.begin[2], above = begin > 0 ? begin : 0, below = p.end[2] > 0 ? p.end[2] : 0;
    if (p.mode == PAD_WRAP && (above > 0 || below > 0))
        return;
    int64_t kept = p.in[2] + (begin < 0 ? begin : 0) + (p.end[2] < 0 ? p.end[2] : 0);
    if (p.mode == PAD_REFLECT && (above >= kept || below >= kept)) /* reflected more than once */
        return;
    map->num = map->den = 1;
    map->lo = map->hi = -begin;
    if (p.mode == PAD_EDGE) {
        map->hi += above;
        map->lo -= below;
    } else if (p.mode == PAD_REFLECT) {
        map->hi += 2 * above;
        map->lo -= 2 * below;
    }
    map->kind = ROWMAP_AFFINE;
}

const struct op_desc op_pad = {
    .name = "Pad",
    .domain = "",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = IN_COUNT,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = pad_infer,
    .eval = pad_eval,
    .map_ok = pad_map_ok,
    .rows = pad_rows,
};
