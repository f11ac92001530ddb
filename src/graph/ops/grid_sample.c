/* GridSample (opset 16): reads X [N, C, spatial…] at the places of grid [N, spatial'…, rank - 2],
 * between -1 and 1 from edge to edge, the last axis' coordinate first; and AffineGrid (opset 20),
 * which makes such places from an affine map theta [N, 2, 3] or [N, 3, 4].
 *
 * Modes linear, nearest, cubic (opset 16 called them bilinear, nearest, bicubic), in any number of
 * axes; beyond the edge there are zeros, the edge's elements, or a reflection. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>
#include <string.h>

#define AXES WINDOW_AXES
#define TAPS 4 /* of a cubic along one axis */

enum mode { NEAREST, LINEAR, CUBIC };
enum padding { ZEROS, BORDER, REFLECTION };

struct sampling {
    enum mode mode;
    enum padding padding;
    bool align_corners;
    int axes;
    int64_t size[AXES];
};

static enum cohort_code read_sampling(const struct node *n, const struct shape *x,
                                      struct sampling *s, struct cohort_error *err) {
    static const char *const modes[] = {"nearest", "linear", "cubic", "bilinear", "bicubic"};
    static const char *const paddings[] = {"zeros", "border", "reflection"};
    const char *mode = node_attr_string(n, "mode", "linear");
    const char *padding = node_attr_string(n, "padding_mode", "zeros");
    int m = 0, p = 0;
    while (m < 5 && strcmp(mode, modes[m]) != 0)
        m++;
    while (p < 3 && strcmp(padding, paddings[p]) != 0)
        p++;
    if (m == 5 || p == 3)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "mode \"%.40s\", padding_mode \"%.40s\"",
                         mode, padding);
    *s = (struct sampling){.mode = (enum mode)(m < 3 ? m : m - 2),
                           .padding = (enum padding)p,
                           .align_corners = node_attr_int(n, "align_corners", 0) != 0,
                           .axes = x->rank - 2};
    for (int i = 0; i < s->axes; i++)
        s->size[i] = x->dim[i + 2];
    return COHORT_OK;
}

static enum cohort_code sample_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *x = &in[0]->shape, *grid = &in[1]->shape;
    struct shape y = shape_unknown(-1);
    struct sampling s;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(op_need(n, in, 1, TYPES_FLOAT, err));
    TRY(read_sampling(n, x, &s, err));
    if (x->rank >= 0 && grid->rank >= 0) {
        char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
        int64_t pair = grid->rank > 0 ? grid->dim[grid->rank - 1] : 0;
        if (x->rank < 3 || grid->rank != x->rank || (pair >= 0 && pair != x->rank - 2) ||
            (x->dim[0] >= 0 && grid->dim[0] >= 0 && x->dim[0] != grid->dim[0]))
            return error_set(err, COHORT_ERR_SHAPE, "a grid of shape %s for input %s",
                             shape_text(grid, a, sizeof a), shape_text(x, b, sizeof b));
        y = *x;
        for (int i = 2; i < x->rank; i++)
            y.dim[i] = grid->dim[i - 1];
    }
    op_out(n, out, 0, in[0]->type, &y);
out:
    return code;
}

/* Mirrors x at low and high until it lies between. */
static double reflect(double x, double low, double high) {
    double range = high - low;
    if (!(range > 0) || !isfinite(x))
        return low;
    double beyond = x < low ? low - x : x > high ? x - high : -1;
    if (beyond < 0)
        return x;
    double times = floor(beyond / range), rest = beyond - times * range;
    bool other_side = (x < low) == (fmod(times, 2) == 1);
    return other_side ? high - rest : low + rest;
}

/* The edges at which coordinates are reflected. */
static double low_edge(const struct sampling *s) {
    return s->align_corners ? 0 : -0.5;
}

static double high_edge(const struct sampling *s, int axis) {
    return (double)s->size[axis] - (s->align_corners ? 1 : 0.5);
}

/* A place between -1 and 1 in elements, brought inside as the padding says. */
static double place_of(const struct sampling *s, int axis, double at) {
    double size = (double)s->size[axis];
    double x = s->align_corners ? (at + 1) / 2 * (size - 1) : ((at + 1) * size - 1) / 2;
    double low = low_edge(s), high = high_edge(s, axis);
    if (s->mode == NEAREST)
        x = nearbyint(x);
    if (s->padding == ZEROS || (x >= low && x <= high))
        return x;
    if (s->padding == REFLECTION)
        return reflect(x, low, high);
    return x > size - 1 ? size - 1 : x > 0 ? x : 0; /* a NaN too */
}

/* Keys, 1981, with a = -0.75, as Resize has it by default. */
static void cubic_weights(double t, double w[TAPS]) {
    const double a = -0.75;
    double x = t + 1, y = 2 - t, u = 1 - t;
    w[0] = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    w[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
    w[2] = ((a + 2) * u - (a + 3)) * u * u + 1;
    w[3] = ((a * y - 5 * a) * y + 8 * a) * y - 4 * a;
}

/* What counts along one axis: elements (-1: a zero beyond the edge) and their weights. */
struct taps {
    int count;
    int64_t at[TAPS];
    double weight[TAPS];
};

static int64_t element_of(const struct sampling *s, int axis, double x) {
    double size = (double)s->size[axis];
    if (x >= 0 && x < size)
        return (int64_t)x;
    if (s->padding == ZEROS || !isfinite(x))
        return -1;
    if (s->padding == REFLECTION)
        x = reflect(x, low_edge(s), high_edge(s, axis));
    return x > size - 1 ? s->size[axis] - 1 : x > 0 ? (int64_t)x : 0;
}

static void find_taps(const struct sampling *s, int axis, double at, struct taps *t) {
    double x = place_of(s, axis, at), base = floor(x), part = x - base;
    *t = (struct taps){.count = s->mode == NEAREST ? 1 : s->mode == LINEAR ? 2 : TAPS};
    if (s->mode == NEAREST) {
        base = nearbyint(x);
        t->weight[0] = 1;
    } else if (s->mode == LINEAR) {
        t->weight[0] = 1 - part;
        t->weight[1] = part;
    } else {
        base -= 1;
        cubic_weights(part, t->weight);
    }
    for (int k = 0; k < t->count; k++)
        t->at[k] = isfinite(x) ? element_of(s, axis, base + k) : -1;
}

/* The sum over all combinations of taps; x: one channel. */
static double sum_taps(const struct sampling *s, const struct taps *taps, const double *x) {
    int index[AXES] = {0};
    double sum = 0;
    for (;;) {
        double weight = 1;
        int64_t at = 0;
        for (int i = 0; i < s->axes; i++) {
            weight *= taps[i].weight[index[i]];
            at = at < 0 || taps[i].at[index[i]] < 0 ? -1 : at * s->size[i] + taps[i].at[index[i]];
        }
        if (at >= 0 && weight != 0)
            sum += weight * x[at];
        int i = s->axes - 1;
        while (i >= 0 && ++index[i] == taps[i].count)
            index[i--] = 0;
        if (i < 0)
            return sum;
    }
}

static enum cohort_code sample_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *xs = &in[0]->shape, *ys = &out[0]->shape;
    struct sampling s;
    double *x = NULL;
    int64_t plane = shape_product(xs, 2, xs->rank), places = shape_product(ys, 2, ys->rank);
    TRY(read_sampling(n, xs, &s, err));
    if (shape_count(ys) > 0 && plane == 0)
        return error_set(err, COHORT_ERR_SHAPE, "samples of an empty input");
    TRY(window_doubles(in[0], &x, err));
    for (int64_t p = 0; p < xs->dim[0] * places; p++) {
        struct taps taps[AXES];
        for (int i = 0; i < s.axes; i++)
            find_taps(&s, i, tensor_get_f64(in[1], p * s.axes + s.axes - 1 - i), &taps[i]);
        for (int64_t c = 0; c < xs->dim[1]; c++) {
            int64_t at = p / places * xs->dim[1] + c;
            tensor_set_f64(out[0], at * places + p % places, sum_taps(&s, taps, x + at * plane));
        }
    }
out:
    mem_free(x);
    return code;
}

static double sample_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->out[0])->shape);
    return count > 0 ? 10 * (double)count : 0;
}

const struct op_desc op_grid_sample = {
    .name = "GridSample",
    .domain = "",
    .since = 16,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .infer = sample_infer,
    .eval = sample_eval,
    .flops = sample_flops,
};

/* ---- AffineGrid ------------------------------------------------------------------------------ */

static enum cohort_code affine_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *theta = &in[0]->shape;
    struct shape shape = shape_unknown(-1);
    int64_t size[5];
    int count;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(op_ints(in[1], "size", size, 5, &count, err));
    if (count >= 0 && count != 4 && count != 5)
        return error_set(err, COHORT_ERR_SHAPE, "size has %d elements; 4 or 5 are needed", count);
    if (count > 0) {
        int64_t axes = count - 2;
        shape.rank = count;
        shape.dim[0] = size[0];
        for (int i = 2; i < count; i++)
            shape.dim[i - 1] = size[i];
        shape.dim[count - 1] = axes;
        for (int i = 0; i < count; i++)
            if (size[i] < 0)
                return error_set(err, COHORT_ERR_SHAPE, "a size of %lld", (long long)size[i]);
        struct shape wanted = shape_of(3, (const int64_t[]){size[0], axes, axes + 1});
        char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
        if (shape_known(theta) && !shape_equal(theta, &wanted))
            return error_set(err, COHORT_ERR_SHAPE, "theta has shape %s; %s is needed",
                             shape_text(theta, a, sizeof a), shape_text(&wanted, b, sizeof b));
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

static enum cohort_code affine_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    bool align = node_attr_int(n, "align_corners", 0) != 0;
    const struct shape *s = &out[0]->shape;
    struct shape places = *s;
    int axes = (int)s->dim[s->rank - 1];
    int64_t index[RANK_MAX] = {0}, to = 0;
    if (shape_count(s) == 0)
        return COHORT_OK;
    places.rank--;
    do {
        double at[4] = {0};
        for (int i = 0; i < axes; i++) { /* the last axis first */
            double size = (double)s->dim[axes - i], k = (double)index[axes - i];
            at[i] = align ? size > 1 ? 2 * k / (size - 1) - 1 : 0 : (2 * k + 1) / size - 1;
        }
        at[axes] = 1;
        for (int row = 0; row < axes; row++) {
            double sum = 0;
            for (int k = 0; k <= axes; k++)
                sum += tensor_get_f64(in[0], (index[0] * axes + row) * (axes + 1) + k) * at[k];
            tensor_set_f64(out[0], to++, sum);
        }
    } while (op_step(&places, index));
    return COHORT_OK;
}

const struct op_desc op_affine_grid = {
    .name = "AffineGrid",
    .domain = "",
    .since = 20,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .infer = affine_infer,
    .eval = affine_eval,
    .flops = sample_flops,
};
