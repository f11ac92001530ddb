/* See ops_window.h.  Formulas: ONNX's operator pages of Conv, ConvTranspose, MaxPool, AveragePool;
 * the rule about the last window of ceil_mode is that of opset 22's pages, which clarified it. */
#include "graph/ops/ops_window.h"

#include "base/mem.h"
#include "graph/ops/ops_common.h"

#include <string.h>

/* Sizes, pads, strides and dilations above this are refused, so that no sum or product of two of
 * them can overflow. */
#define WINDOW_LIMIT ((int64_t)1 << 30)

enum padding { PAD_EXPLICIT, PAD_SAME_UPPER, PAD_SAME_LOWER, PAD_VALID };

static enum cohort_code read_auto_pad(const struct node *n, enum padding *p,
                                      struct cohort_error *err) {
    const char *text = node_attr_string(n, "auto_pad", "NOTSET");
    if (strcmp(text, "NOTSET") == 0 || text[0] == '\0')
        *p = PAD_EXPLICIT;
    else if (strcmp(text, "SAME_UPPER") == 0)
        *p = PAD_SAME_UPPER;
    else if (strcmp(text, "SAME_LOWER") == 0)
        *p = PAD_SAME_LOWER;
    else if (strcmp(text, "VALID") == 0)
        *p = PAD_VALID;
    else
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "auto_pad is \"%s\", not NOTSET, SAME_UPPER, SAME_LOWER or VALID", text);
    return COHORT_OK;
}

/* Attribute `name`: `count` integers of at least `least`; each is `otherwise` when it is absent. */
static enum cohort_code read_list(const struct node *n, const char *name, int count, int64_t least,
                                  int64_t otherwise, int64_t *values, struct cohort_error *err) {
    int given = 0;
    const int64_t *ints = node_attr_ints(n, name, &given);
    if (ints != NULL && given > 0 && given != count)
        return error_set(err, COHORT_ERR_SHAPE, "%s has %d elements; %d are needed", name, given,
                         count);
    for (int i = 0; i < count; i++) {
        values[i] = given > 0 ? ints[i] : otherwise;
        if (values[i] < least || values[i] > WINDOW_LIMIT)
            return error_set(err, COHORT_ERR_SHAPE, "%s has %lld; %lld to %lld are possible", name,
                             (long long)values[i], (long long)least, (long long)WINDOW_LIMIT);
    }
    return COHORT_OK;
}

static enum cohort_code read_kernel(struct window_nd *w, const struct node *n,
                                    const int64_t *kernel, struct cohort_error *err) {
    int given = 0;
    int64_t taps = 1;
    node_attr_ints(n, "kernel_shape", &given);
    if (given == 0 && kernel == NULL)
        return error_set(err, COHORT_ERR_SHAPE, "kernel_shape is missing");
    if (given > 0) {
        enum cohort_code code = read_list(n, "kernel_shape", w->rank, 1, 1, w->kernel, err);
        if (code != COHORT_OK)
            return code;
    }
    for (int i = 0; i < w->rank; i++) {
        if (given > 0 && kernel != NULL && kernel[i] >= 0 && kernel[i] != w->kernel[i])
            return error_set(err, COHORT_ERR_SHAPE,
                             "kernel_shape has %lld where the weights have %lld",
                             (long long)w->kernel[i], (long long)kernel[i]);
        if (given == 0)
            w->kernel[i] = kernel[i];
        if (w->kernel[i] == 0 || w->kernel[i] > WINDOW_LIMIT)
            return error_set(err, COHORT_ERR_SHAPE, "a window of size %lld",
                             (long long)w->kernel[i]);
        if (w->kernel[i] > 0)
            taps *= w->kernel[i];
        if (taps > WINDOW_LIMIT)
            return error_set(err, COHORT_ERR_SHAPE, "a window of more than %lld elements",
                             (long long)WINDOW_LIMIT);
    }
    return COHORT_OK;
}

enum cohort_code window_read(struct window_nd *w, const struct node *n, const struct shape *x,
                             const int64_t *kernel, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t pads[2 * WINDOW_AXES];
    *w = (struct window_nd){.rank = x->rank - 2};
    if (w->rank < 1 || w->rank > WINDOW_AXES)
        return error_set(err, COHORT_ERR_SHAPE,
                         "an input of rank %d; batch, channels and at least one spatial axis are "
                         "needed",
                         x->rank);
    TRY(read_kernel(w, n, kernel, err));
    TRY(read_list(n, "strides", w->rank, 1, 1, w->stride, err));
    TRY(read_list(n, "dilations", w->rank, 1, 1, w->dilation, err));
    TRY(read_list(n, "pads", 2 * w->rank, 0, 0, pads, err));
    for (int i = 0; i < w->rank; i++) {
        w->in[i] = x->dim[i + 2];
        w->out[i] = -1;
        w->pad_begin[i] = pads[i];
        w->pad_end[i] = pads[w->rank + i];
        if (w->in[i] == 0 || w->in[i] > WINDOW_LIMIT)
            return error_set(err, COHORT_ERR_SHAPE, "a spatial axis of size %lld",
                             (long long)w->in[i]);
    }
out:
    return code;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t extent(const struct window_nd *w, int i) { /* of the dilated kernel */
    return (w->kernel[i] - 1) * w->dilation[i] + 1;
}

/* An odd pad's extra element goes to the end for SAME_UPPER, to the beginning otherwise. */
static void split_pad(struct window_nd *w, int i, int64_t total, bool extra_at_end) {
    w->pad_begin[i] = extra_at_end ? total / 2 : total - total / 2;
    w->pad_end[i] = total - w->pad_begin[i];
}

static enum cohort_code slide_axis(struct window_nd *w, int i, enum padding padding, bool ceil_mode,
                                   struct cohort_error *err) {
    if (padding == PAD_VALID)
        w->pad_begin[i] = w->pad_end[i] = 0;
    if (w->in[i] < 0 || w->kernel[i] < 0) {
        w->out[i] = -1;
        return COHORT_OK;
    }
    int64_t stride = w->stride[i];
    if (padding == PAD_SAME_UPPER || padding == PAD_SAME_LOWER) {
        w->out[i] = (w->in[i] + stride - 1) / stride;
        int64_t total = (w->out[i] - 1) * stride + extent(w, i) - w->in[i];
        split_pad(w, i, most(total, 0), padding == PAD_SAME_UPPER);
        return COHORT_OK;
    }
    int64_t room = w->in[i] + w->pad_begin[i] + w->pad_end[i] - extent(w, i);
    if (room < 0)
        return error_set(err, COHORT_ERR_SHAPE,
                         "a window of %lld (kernel %lld, dilation %lld) does not fit into %lld "
                         "with pads %lld and %lld",
                         (long long)extent(w, i), (long long)w->kernel[i],
                         (long long)w->dilation[i], (long long)w->in[i], (long long)w->pad_begin[i],
                         (long long)w->pad_end[i]);
    w->out[i] = room / stride + 1;
    /* VALID never rounds up: its formula is ceil((in - extent + 1) / stride) in both modes. */
    if (ceil_mode && padding != PAD_VALID) {
        w->out[i] = (room + stride - 1) / stride + 1;
        /* The last window must begin inside the input or the pad at its beginning. */
        if ((w->out[i] - 1) * stride >= w->in[i] + w->pad_begin[i])
            w->out[i]--;
    }
    return COHORT_OK;
}

enum cohort_code window_slide(struct window_nd *w, const struct node *n, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    enum padding padding;
    bool ceil_mode = node_attr_int(n, "ceil_mode", 0) != 0;
    TRY(read_auto_pad(n, &padding, err));
    for (int i = 0; i < w->rank; i++)
        TRY(slide_axis(w, i, padding, ceil_mode, err));
out:
    return code;
}

/* output_shape: one number per spatial axis; some files give batch and channels before them. */
static enum cohort_code read_output_shape(const struct window_nd *w, const struct node *n,
                                          const int64_t **sizes, struct cohort_error *err) {
    int count = 0;
    const int64_t *given = node_attr_ints(n, "output_shape", &count);
    *sizes = NULL;
    if (given == NULL || count == 0)
        return COHORT_OK;
    if (count != w->rank && count != w->rank + 2)
        return error_set(err, COHORT_ERR_SHAPE, "output_shape has %d elements; %d are needed",
                         count, w->rank);
    *sizes = given + (count - w->rank);
    for (int i = 0; i < w->rank; i++)
        if ((*sizes)[i] < 1 || (*sizes)[i] > WINDOW_LIMIT)
            return error_set(err, COHORT_ERR_SHAPE, "output_shape has %lld",
                             (long long)(*sizes)[i]);
    return COHORT_OK;
}

enum cohort_code window_spread(struct window_nd *w, const struct node *n,
                               struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    enum padding padding;
    const int64_t *sizes = NULL;
    int64_t extra[WINDOW_AXES];
    TRY(read_auto_pad(n, &padding, err));
    TRY(read_output_shape(w, n, &sizes, err));
    TRY(read_list(n, "output_padding", w->rank, 0, 0, extra, err));
    for (int i = 0; i < w->rank; i++) {
        bool same = padding == PAD_SAME_UPPER || padding == PAD_SAME_LOWER;
        if (padding == PAD_VALID)
            w->pad_begin[i] = w->pad_end[i] = 0;
        w->out[i] = sizes != NULL ? sizes[i] : -1;
        if (w->in[i] < 0 || w->kernel[i] < 0)
            continue;
        int64_t full = (w->in[i] - 1) * w->stride[i] + extra[i] + extent(w, i);
        if (sizes != NULL || same) {
            if (sizes == NULL)
                w->out[i] = w->in[i] * w->stride[i];
            /* A wish beyond the full size is granted with positions that no input reaches. */
            split_pad(w, i, most(full - w->out[i], 0), padding == PAD_SAME_UPPER);
        } else {
            w->out[i] = full - w->pad_begin[i] - w->pad_end[i];
        }
        if (w->out[i] < 1 || w->out[i] > WINDOW_LIMIT)
            return error_set(err, COHORT_ERR_SHAPE, "spatial axis %d would have size %lld", i,
                             (long long)w->out[i]);
    }
out:
    return code;
}

void window_store(const struct window_nd *w, struct node *n) {
    int first = w->rank >= 2 ? w->rank - 2 : 0;
    for (int k = 0; k < 2; k++) {
        int i = first + k;
        bool there = i < w->rank;
        n->window.kernel[k] = there ? w->kernel[i] : 1;
        n->window.stride[k] = there ? w->stride[i] : 1;
        n->window.dilation[k] = there ? w->dilation[i] : 1;
        n->window.pad_begin[k] = there ? w->pad_begin[i] : 0;
        n->window.pad_end[k] = there ? w->pad_end[i] : 0;
    }
}

int64_t window_taps(const struct window_nd *w) {
    int64_t taps = 1;
    for (int i = 0; i < w->rank; i++)
        taps *= w->kernel[i];
    return taps;
}

/* ---- walking --------------------------------------------------------------------------------- */

static void walk_place(struct window_walk *k) {
    k->near = k->far = 0;
    for (int i = 0; i < k->rank; i++) {
        k->near += k->at[i] * k->near_pitch[i];
        k->far += k->at[i] * k->far_pitch[i];
    }
}

void walk_begin(struct window_walk *k, const struct window_nd *w, const int64_t *near_size,
                const int64_t *far_size, int64_t tap) {
    int64_t near_pitch = 1, far_pitch = 1, far0 = 0;
    k->rank = w->rank;
    k->more = true;
    for (int i = w->rank - 1; i >= 0; i--) {
        int64_t shift = tap % w->kernel[i] * w->dilation[i] - w->pad_begin[i], s = w->stride[i];
        tap /= w->kernel[i];
        /* Positions p with 0 <= p*s + shift < far_size. */
        k->begin[i] = shift < 0 ? (-shift + s - 1) / s : 0;
        int64_t last = far_size[i] - 1 - shift;
        k->end[i] = last < 0 ? 0 : last / s + 1;
        if (k->end[i] > near_size[i])
            k->end[i] = near_size[i];
        if (k->begin[i] >= k->end[i])
            k->more = false;
        k->at[i] = k->begin[i];
        k->near_pitch[i] = near_pitch;
        k->far_pitch[i] = s * far_pitch;
        far0 += shift * far_pitch;
        near_pitch *= near_size[i];
        far_pitch *= far_size[i];
    }
    int last_axis = w->rank - 1;
    k->run = k->end[last_axis] - k->begin[last_axis];
    k->step = w->stride[last_axis];
    walk_place(k);
    k->far += far0;
}

void walk_next(struct window_walk *k) {
    for (int i = k->rank - 2; i >= 0; i--) {
        k->near += k->near_pitch[i];
        k->far += k->far_pitch[i];
        if (++k->at[i] < k->end[i])
            return;
        int64_t back = k->end[i] - k->begin[i];
        k->near -= back * k->near_pitch[i];
        k->far -= back * k->far_pitch[i];
        k->at[i] = k->begin[i];
    }
    k->more = false;
}

/* ---- rows ------------------------------------------------------------------------------------ */

bool rows_of_maps(const struct graph *g, const struct node *n, int i) {
    const struct value *in = node_in(g, n, i), *out = NULL;
    for (int k = 0; k < n->out_count && out == NULL; k++)
        out = node_out(g, n, k);
    return in != NULL && out != NULL && in->form == FORM_MAP && out->form == FORM_MAP;
}

void window_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    const struct window *w = &n->window;
    if (!rows_of_maps(g, n, i))
        return;
    if (i == n->epilogue.residual) {
        rows_same(g, n, i, map);
        return;
    }
    map->kind = ROWMAP_AFFINE;
    map->num = w->stride[0];
    map->den = 1;
    map->lo = -w->pad_begin[0];
    map->hi = map->lo + (w->kernel[0] - 1) * w->dilation[0];
}

/* ---- convolutions ---------------------------------------------------------------------------- */

const struct tensor *window_bias(const struct node *n, const struct tensor *const in[]) {
    return n->epilogue.residual == 2 ? NULL : op_in(n, in, 2);
}

bool window_map_input(const struct graph *g, const struct node *n, int i) {
    (void)g;
    return i == 0 || i == n->epilogue.residual;
}

bool window_map_ok(const struct graph *g, const struct node *n) {
    if (!map_value(g, n->in[0]) || graph_value(g, n->in[0])->is_constant ||
        !map_value(g, n->out[0]))
        return false;
    for (int i = 1; i < n->in_count; i++)
        if (n->in[i] >= 0 && graph_value(g, n->in[i])->is_constant == window_map_input(g, n, i))
            return false;
    return true;
}

/* ---- elements -------------------------------------------------------------------------------- */

enum cohort_code window_doubles(const struct tensor *t, double **values, struct cohort_error *err) {
    int64_t count = shape_count(&t->shape);
    union op_chunk chunk;
    BUG_UNLESS(count >= 0);
    double *v = mem_zalloc((size_t)count, sizeof *v);
    if (v == NULL)
        return error_memory(err, (unsigned long long)count * sizeof *v, "an operator's input");
    for (int64_t i = 0; i < count; i += OP_CHUNK) {
        int64_t some = count - i < OP_CHUNK ? count - i : OP_CHUNK;
        op_load(CLASS_F64, t, i, 1, some, &chunk);
        memcpy(v + i, chunk.f, (size_t)some * sizeof *v);
    }
    *values = v;
    return COHORT_OK;
}

void window_put(struct tensor *t, int64_t first, int64_t count, const double *values) {
    union op_chunk chunk;
    for (int64_t i = 0; i < count; i += OP_CHUNK) {
        int64_t some = count - i < OP_CHUNK ? count - i : OP_CHUNK;
        memcpy(chunk.f, values + i, (size_t)some * sizeof *values);
        op_store(CLASS_F64, t, first + i, some, &chunk);
    }
}
