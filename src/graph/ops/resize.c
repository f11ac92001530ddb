/* Resize and Upsample: resampling along any axes, by nearest neighbour, linearly or cubically.
 *
 * Upsample 7 (attribute scales) and 9 (input scales); Resize 10 (inputs X, scales; Upsample's
 * coordinates), 11 and 13 (inputs X, roi, scales, sizes; coordinate modes), 18 (axes, antialias,
 * keep_aspect_ratio_policy), 19 (half_pixel_symmetric).  All the arithmetic is in resize_table.c.
 */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"
#include "graph/ops/params.h"

#include <math.h>
#include <string.h>

#define RESIZE_LIMIT ((int64_t)1 << 30)

struct resize {
    int rank;
    struct resize_rule rule;
    float extrapolation;
    bool known;             /* sizes and scales are known: axis[] is filled in */
    bool touched[RANK_MAX]; /* may change */
    struct resize_axis axis[RANK_MAX];
};

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_upsample(const struct node *n) {
    return strcmp(n->op->name, "Upsample") == 0;
}
static bool is_old(const struct node *n) { /* before Resize 11: one set of coordinates */
    return is_upsample(n) || n->opset < 11;
}

static enum cohort_code read_choice(const struct node *n, const char *name, const char *otherwise,
                                    const char *const *choices, int count, int *choice,
                                    struct cohort_error *err) {
    const char *text = node_attr_string(n, name, otherwise);
    for (int i = 0; i < count; i++)
        if (choices[i] != NULL && strcmp(text, choices[i]) == 0) {
            *choice = i;
            return COHORT_OK;
        }
    return error_set(err, COHORT_ERR_UNSUPPORTED, "%s is \"%s\", which opset %d does not have",
                     name, text, n->opset);
}

static enum cohort_code read_rule(const struct node *n, struct resize *r,
                                  struct cohort_error *err) {
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coordinates[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
        "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"};
    static const char *const nearests[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                           "ceil"};
    enum cohort_code code = COHORT_OK;
    int mode = 0, coordinate = RESIZE_ASYMMETRIC, nearest = RESIZE_SIMPLE;
    if (strcmp(node_attr_string(n, "mode", "nearest"), "bilinear") != 0) {
        TRY(read_choice(n, "mode", "nearest", modes, is_old(n) ? 2 : 3, &mode, err));
    } else { /* Upsample 1's word for linear, still found in files */
        mode = RESIZE_LINEAR;
    }
    if (!is_old(n)) {
        TRY(read_choice(n, "coordinate_transformation_mode", "half_pixel", coordinates, 7,
                        &coordinate, err));
        TRY(read_choice(n, "nearest_mode", "round_prefer_floor", nearests, 4, &nearest, err));
    }
    r->rule = (struct resize_rule){
        .mode = (enum resize_mode)mode,
        .coordinate = (enum resize_coordinate)coordinate,
        .nearest = (enum resize_nearest)nearest,
        .cubic_a = node_attr_float(n, "cubic_coeff_a", -0.75f),
        .exclude_outside = node_attr_int(n, "exclude_outside", 0) != 0,
        .antialias = node_attr_int(n, "antialias", 0) != 0,
    };
    r->extrapolation = node_attr_float(n, "extrapolation_value", 0);
out:
    return code;
}

/* A list that may be there; an empty one counts as left out. */
static const struct tensor *list_input(const struct node *n, const struct tensor *const in[],
                                       int i) {
    const struct tensor *t = op_in(n, in, i);
    return t != NULL && op_list_length(t) != 0 ? t : NULL;
}

/* `count` numbers of a float list. */
static enum cohort_code read_floats(const struct tensor *t, const char *name, float *values,
                                    int count, struct cohort_error *err) {
    if (!dtype_is_float(t->type) || op_list_length(t) != count)
        return error_set(err, COHORT_ERR_SHAPE, "%s is not a list of %d floats", name, count);
    for (int i = 0; i < count; i++)
        values[i] = (float)tensor_get_f64(t, i);
    return COHORT_OK;
}

static enum cohort_code scaled_axis(struct resize_axis *a, float scale, struct cohort_error *err) {
    if (!(scale > 0) || isinf(scale))
        return error_set(err, COHORT_ERR_SHAPE, "a scale of %g", (double)scale);
    a->scale = scale;
    a->width = (float)a->in * scale;
    if ((double)a->width > (double)RESIZE_LIMIT)
        return error_set(err, COHORT_ERR_SHAPE, "%lld times %g is too large", (long long)a->in,
                         (double)scale);
    a->out = (int64_t)floorf(a->width);
    return COHORT_OK;
}

static enum cohort_code sized_axis(struct resize_axis *a, int64_t size, struct cohort_error *err) {
    if (size < 0 || size > RESIZE_LIMIT || (a->in == 0 && size > 0))
        return error_set(err, COHORT_ERR_SHAPE, "%lld elements cannot become %lld",
                         (long long)a->in, (long long)size);
    a->out = size;
    a->width = (float)size;
    a->scale = a->in == size ? 1 : (float)size / (float)a->in;
    return COHORT_OK;
}

/* keep_aspect_ratio_policy: one scale for all axes, the least or the greatest that `sizes` means.
 */
static enum cohort_code keep_aspect(struct resize *r, const int *axes, int count,
                                    const int64_t *sizes, bool least, struct cohort_error *err) {
    int64_t up = 1, down = 1; /* the scale; sizes are rounded from it exactly */
    for (int i = 0; i < count; i++) {
        int64_t in = r->axis[axes[i]].in, size = sizes[i];
        if (size < 0 || size > RESIZE_LIMIT || in < 1 || in > RESIZE_LIMIT)
            return error_set(err, COHORT_ERR_SHAPE, "%lld elements cannot become %lld",
                             (long long)in, (long long)size);
        if (i == 0 || (least ? size * down < up * in : size * down > up * in)) {
            up = size;
            down = in;
        }
    }
    for (int i = 0; i < count; i++) {
        struct resize_axis *a = &r->axis[axes[i]];
        a->out = (2 * up * a->in + down) / (2 * down); /* halves are rounded up */
        a->scale = (float)up / (float)down;
        a->width = (float)a->in * a->scale;
        if (a->out > RESIZE_LIMIT)
            return error_set(err, COHORT_ERR_SHAPE, "%lld times %g is too large", (long long)a->in,
                             (double)a->scale);
    }
    return COHORT_OK;
}

static enum cohort_code read_sizes(const struct node *n, const struct tensor *sizes,
                                   struct resize *r, const int *axes, int count,
                                   struct cohort_error *err) {
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller"};
    enum cohort_code code = COHORT_OK;
    int64_t values[RANK_MAX];
    int given = 0, policy = 0;
    TRY(op_ints(sizes, "sizes", values, RANK_MAX, &given, err));
    TRY(read_choice(n, "keep_aspect_ratio_policy", "stretch", policies, 3, &policy, err));
    if (given != count)
        return error_set(err, COHORT_ERR_SHAPE, "sizes has %d elements; %d are needed", given,
                         count);
    if (policy != 0)
        return keep_aspect(r, axes, count, values, policy == 1, err);
    for (int i = 0; i < count; i++)
        TRY(sized_axis(&r->axis[axes[i]], values[i], err));
out:
    return code;
}

static enum cohort_code read_scales(const struct node *n, const struct tensor *scales,
                                    struct resize *r, const int *axes, int count,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    float values[RANK_MAX];
    if (scales != NULL) {
        TRY(read_floats(scales, "scales", values, count, err));
    } else {
        int given = 0;
        const float *floats = node_attr_floats(n, "scales", &given);
        if (floats == NULL || given != count)
            return error_set(err, COHORT_ERR_SHAPE, "scales has %d elements; %d are needed", given,
                             count);
        memcpy(values, floats, (size_t)count * sizeof *values);
    }
    for (int i = 0; i < count; i++)
        TRY(scaled_axis(&r->axis[axes[i]], values[i], err));
out:
    return code;
}

static enum cohort_code read_roi(const struct tensor *roi, struct resize *r, const int *axes,
                                 int count, struct cohort_error *err) {
    float values[2 * RANK_MAX];
    if (roi == NULL)
        return error_set(err, COHORT_ERR_SHAPE, "tf_crop_and_resize needs the input roi");
    enum cohort_code code = read_floats(roi, "roi", values, 2 * count, err);
    if (code != COHORT_OK)
        return code;
    for (int i = 0; i < count; i++) {
        r->axis[axes[i]].start = values[i];
        r->axis[axes[i]].end = values[count + i];
    }
    return COHORT_OK;
}

static enum cohort_code resize_read(const struct node *n, const struct tensor *const in[],
                                    struct resize *r, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct axes axes;
    int rank = in[0]->shape.rank, list[RANK_MAX], count = rank;
    bool attribute = is_upsample(n) && n->opset < 9;
    const struct tensor *scales = attribute ? NULL : list_input(n, in, is_old(n) ? 1 : 2);
    const struct tensor *sizes = is_old(n) ? NULL : list_input(n, in, 3);
    const struct tensor *roi = is_old(n) ? NULL : list_input(n, in, 1);
    *r = (struct resize){.rank = rank, .known = true};
    TRY(read_rule(n, r, err));
    TRY(op_axes(n, in, -1, rank, &axes, err));
    for (int k = 0; k < rank; k++) {
        int64_t dim = in[0]->shape.dim[k];
        r->touched[k] = axes.given ? axes.has[k] : true;
        r->known = r->known && dim >= 0;
        r->axis[k] = (struct resize_axis){
            .in = dim, .out = dim, .scale = 1, .width = (float)dim, .start = 0, .end = 1};
        list[k] = axes.given && k < axes.count ? axes.axis[k] : k;
    }
    if (axes.given)
        count = axes.count;
    if (!attribute && (scales == NULL) == (sizes == NULL))
        return error_set(err, COHORT_ERR_SHAPE, "%s",
                         scales == NULL ? "neither scales nor sizes are given"
                                        : "both scales and sizes are given");
    bool crops = r->rule.coordinate == RESIZE_TF_CROP_AND_RESIZE;
    if ((scales != NULL && scales->data == NULL) || (sizes != NULL && sizes->data == NULL) ||
        (crops && roi != NULL && roi->data == NULL))
        r->known = false;
    if (!r->known)
        return COHORT_OK;
    if (sizes != NULL)
        TRY(read_sizes(n, sizes, r, list, count, err));
    else
        TRY(read_scales(n, scales, r, list, count, err));
    if (crops)
        TRY(read_roi(roi, r, list, count, err));
out:
    return code;
}

static enum cohort_code resize_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct resize r;
    struct shape y = in[0]->shape;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    if (y.rank >= 0) {
        TRY(resize_read(n, in, &r, err));
        for (int k = 0; k < y.rank; k++)
            y.dim[k] = r.known ? r.axis[k].out : r.touched[k] ? -1 : y.dim[k];
    }
    op_out(n, out, 0, in[0]->type, &y);
out:
    return code;
}

/* ---- evaluating ------------------------------------------------------------------------------ */

/* Moves to the next row (all axes but the last); false after the last one. */
static bool next_row(const struct shape *s, int64_t *at) {
    for (int k = s->rank - 2; k >= 0; k--) {
        if (++at[k] < s->dim[k])
            return true;
        at[k] = 0;
    }
    return false;
}

/* The input position for output position `at` of an axis resized by nearest neighbour; -1: none. */
static int64_t source_at(const struct resize_table *t, int64_t at) {
    return t->taps == 0 ? at : t->index[at * t->taps];
}

static void eval_nearest(const struct tensor *x, struct tensor *y, const struct resize_table *t,
                         float extrapolation) {
    _Alignas(8) unsigned char outside[8] = {0};
    struct tensor one = {.type = y->type, .shape = {.rank = 0}, .data = outside};
    int64_t stride[RANK_MAX], at[RANK_MAX] = {0}, out = 0;
    int rank = y->shape.rank, last = rank - 1;
    size_t size = dtype_bytes(y->type);
    tensor_set_f64(&one, 0, (double)extrapolation);
    op_strides(&x->shape, stride);
    do {
        int64_t row = 0;
        for (int k = 0; k < last; k++) {
            int64_t i = source_at(&t[k], at[k]);
            row = i < 0 || row < 0 ? -1 : row + i * stride[k];
        }
        for (int64_t j = 0; j < y->shape.dim[last]; j++, out++) {
            int64_t i = source_at(&t[last], j);
            const unsigned char *from = outside;
            if (row >= 0 && i >= 0)
                from = (const unsigned char *)x->data + (size_t)(row + i) * size;
            memcpy((unsigned char *)y->data + (size_t)out * size, from, size);
        }
    } while (next_row(&y->shape, at));
}

/* One axis: [outer][in][inner] to [outer][out][inner]. */
static void mix_axis(const struct resize_table *t, const double *x, int64_t outer, int64_t inner,
                     double *y) {
    for (int64_t o = 0; o < outer; o++)
        for (int64_t p = 0; p < t->out; p++, y += inner)
            for (int k = 0; k < t->taps; k++) {
                int64_t i = t->index[p * t->taps + k];
                double w = (double)t->weight[p * t->taps + k];
                for (int64_t j = 0; i >= 0 && j < inner; j++)
                    y[j] += w * x[(o * t->in + i) * inner + j];
            }
}

/* Writes the extrapolation value wherever some axis has no source. */
static void put_outside(const struct resize_table *t, struct tensor *y, float extrapolation) {
    int64_t at[RANK_MAX] = {0}, out = 0;
    int last = y->shape.rank - 1;
    do {
        bool outside = false;
        for (int k = 0; k < last; k++)
            outside = outside || source_at(&t[k], at[k]) < 0;
        for (int64_t j = 0; j < y->shape.dim[last]; j++, out++)
            if (outside || source_at(&t[last], j) < 0)
                tensor_set_f64(y, out, (double)extrapolation);
    } while (next_row(&y->shape, at));
}

static enum cohort_code eval_mixed(const struct tensor *x, struct tensor *y,
                                   const struct resize_table *t, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape s = x->shape;
    double *from = NULL;
    TRY(window_doubles(x, &from, err));
    for (int k = 0; k < s.rank; k++) {
        if (t[k].taps == 0)
            continue;
        int64_t outer = shape_product(&s, 0, k), inner = shape_product(&s, k + 1, s.rank);
        s.dim[k] = t[k].out;
        int64_t count = shape_count(&s);
        double *to = count < 0 ? NULL : mem_zalloc((size_t)count, sizeof *to);
        if (to == NULL) {
            code = error_memory(err, (unsigned long long)count * sizeof *to, "Resize");
            goto out;
        }
        mix_axis(&t[k], from, outer, inner, to);
        mem_free(from);
        from = to;
    }
    window_put(y, 0, shape_count(&y->shape), from);
out:
    mem_free(from);
    return code;
}

static enum cohort_code resize_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct resize r;
    struct resize_table t[RANK_MAX] = {{0}};
    TRY(resize_read(n, in, &r, err));
    if (shape_count(&out[0]->shape) == 0)
        goto out;
    if (r.rank == 0) {
        memcpy(out[0]->data, in[0]->data, dtype_bytes(out[0]->type));
        goto out;
    }
    for (int k = 0; k < r.rank; k++)
        TRY(resize_table_create(&t[k], &r.rule, &r.axis[k], err));
    if (r.rule.mode == RESIZE_NEAREST) {
        eval_nearest(in[0], out[0], t, r.extrapolation);
    } else {
        TRY(eval_mixed(in[0], out[0], t, err));
        if (r.rule.coordinate == RESIZE_TF_CROP_AND_RESIZE)
            put_outside(t, out[0], r.extrapolation);
    }
out:
    for (int k = 0; k < RANK_MAX; k++)
        resize_table_release(&t[k]);
    return code;
}

/* ---- maps and rows --------------------------------------------------------------------------- */

#define IN_COUNT 4

static enum cohort_code read_from_graph(const struct graph *g, const struct node *n,
                                        struct resize *r, struct cohort_error *err) {
    struct tensor held[IN_COUNT];
    const struct tensor *in[IN_COUNT];
    params_inputs(g, n, held, in, IN_COUNT);
    enum cohort_code code = resize_read(n, in, r, err);
    if (code == COHORT_OK && !r->known)
        code = error_set(err, COHORT_ERR_INTERNAL, "the sizes of Resize are not constant");
    return code;
}

enum cohort_code resize_params(const struct graph *g, const struct node *n, int axis,
                               struct resize_table *t, struct cohort_error *err) {
    struct resize r;
    enum cohort_code code = read_from_graph(g, n, &r, err);
    return code != COHORT_OK ? code : resize_table_create(t, &r.rule, &r.axis[axis], err);
}

/* Rows and columns only, and no extrapolation. */
static bool resize_map_ok(const struct graph *g, const struct node *n) {
    struct resize r;
    if (!map_unary_ok(g, n) || read_from_graph(g, n, &r, NULL) != COHORT_OK ||
        r.rule.coordinate == RESIZE_TF_CROP_AND_RESIZE)
        return false;
    for (int k = 0; k < 2; k++)
        if (r.axis[k].in != r.axis[k].out || r.axis[k].scale != 1)
            return false;
    return true;
}

static int64_t gcd(int64_t a, int64_t b) {
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* A fraction near a slope: in/out where it is that, else to within 2^-21. */
static void fraction(const struct resize_table *t, struct rowmap *map) {
    map->den = (int64_t)1 << 20;
    map->num = llround(t->slope * (double)map->den);
    if (fabs(t->slope * (double)t->out - (double)t->in) < 1e-6 * (double)t->in) {
        map->num = t->in;
        map->den = t->out;
    }
    int64_t divisor = gcd(map->num, map->den);
    map->num /= divisor;
    map->den /= divisor;
}

/* The rows that output row y mixes with a weight. */
static void rows_of(const struct resize_table *t, int64_t y, int64_t *first, int64_t *last) {
    const int64_t *index = t->index + y * t->taps;
    const float *weight = t->weight + y * t->taps;
    int from = 0, to = t->taps - 1;
    while (from < to && weight[from] == 0)
        from++;
    while (to > from && weight[to] == 0)
        to--;
    *first = index[from];
    *last = index[to];
}

/* The narrowest affine map of the table's slope that holds every row the table names. */
static void fit_rows(const struct resize_table *t, struct rowmap *map) {
    fraction(t, map);
    map->lo = INT64_MAX;
    map->hi = INT64_MIN;
    for (int64_t y = 0; y < t->out; y++) {
        int64_t first, last, at = y * map->num;
        rows_of(t, y, &first, &last);
        int64_t lo = first * map->den + map->den - 1 - at, hi = last * map->den - at;
        map->lo = lo < map->lo ? lo : map->lo;
        map->hi = hi > map->hi ? hi : map->hi;
    }
    if (map->lo > map->hi)
        map->lo = map->hi;
    map->kind = ROWMAP_AFFINE;
}

static void resize_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    struct resize_table t;
    if (i != 0 || !rows_of_maps(g, n, i) || resize_params(g, n, 2, &t, NULL) != COHORT_OK)
        return;
    if (t.taps == 0)
        rows_same(g, n, i, map);
    else if (t.slope >= 0 && t.slope <= (double)t.in && t.out < ((int64_t)1 << 20))
        fit_rows(&t, map);
    resize_table_release(&t);
}

static double resize_flops(const struct graph *g, const struct node *n) {
    const struct value *y = node_out(g, n, 0);
    int64_t count = y != NULL ? shape_count(&y->shape) : -1;
    double flops = count > 0 ? 2.0 * (double)count : 0;
    struct resize r;
    if (read_from_graph(g, n, &r, NULL) != COHORT_OK || r.rule.mode == RESIZE_NEAREST)
        return 0;
    for (int k = 0; k < r.rank; k++)
        if (r.axis[k].in != r.axis[k].out)
            flops *= r.rule.mode == RESIZE_LINEAR ? 2 : 4;
    return flops;
}

const struct op_desc op_resize = {
    .name = "Resize",
    .domain = "",
    .since = 10,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = IN_COUNT,
    .max_outputs = 1,
    .infer = resize_infer,
    .eval = resize_eval,
    .map_ok = resize_map_ok,
    .rows = resize_rows,
    .flops = resize_flops,
};

const struct op_desc op_upsample = {
    .name = "Upsample",
    .domain = "",
    .since = 7,
    .until = 9,
    .min_inputs = 1,
    .max_inputs = 2,
    .max_outputs = 1,
    .infer = resize_infer,
    .eval = resize_eval,
    .map_ok = resize_map_ok,
    .rows = resize_rows,
    .flops = resize_flops,
};
