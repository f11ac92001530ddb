/* Pooling in windows, over the whole image, and over each row of it. */
#include "exec/lower.h"

#include <math.h>
#include <string.h>

struct pool_state {
    struct pool_args args; /* views and ranges are filled in per call */
    const struct pool_kernel *kernel;
};

static bool pool_accepts(const struct graph *g, const struct node *n) {
    return lower_is_map(g, n) && n->out_count == 1;
}

static enum pool_kind kind_of(const struct node *n) {
    if (strcmp(n->op->name, "MaxPool") == 0)
        return POOL_MAX;
    return strcmp(n->op->name, "LpPool") == 0 ? POOL_NORM : POOL_AVERAGE;
}

static enum cohort_code bind_pool(struct program *p, struct bound *b, struct cohort_error *err) {
    const struct node *n = b->node;
    struct geometry in = value_geometry(node_in(p->graph, n, 0));
    struct geometry out = value_geometry(node_out(p->graph, n, 0));
    const struct window *w = &n->window;
    enum cohort_code code = bound_state(b, sizeof(struct pool_state), err);
    if (code != COHORT_OK)
        return code;
    struct pool_state *s = b->state;
    s->args = (struct pool_args){
        .kind = kind_of(n),
        .in_h = (int)in.height,
        .in_w = (int)in.width,
        .out_h = (int)out.height,
        .out_w = (int)out.width,
        .kernel_h = (int)w->kernel[0],
        .kernel_w = (int)w->kernel[1],
        .stride_h = (int)w->stride[0],
        .stride_w = (int)w->stride[1],
        .pad_top = (int)w->pad_begin[0],
        .pad_left = (int)w->pad_begin[1],
        .pad_bottom = (int)w->pad_end[0],
        .pad_right = (int)w->pad_end[1],
        .dilation_h = (int)w->dilation[0],
        .dilation_w = (int)w->dilation[1],
        .order = (int)node_attr_int(n, "p", 2),
        .count_pad = node_attr_int(n, "count_include_pad", 0) != 0,
    };
    s->kernel = kernel_choose_pool(&s->args, p->isa_mask, p->options.kernel);
    if (s->kernel == NULL) /* --kernel may name one of another family */
        s->kernel = kernel_choose_pool(&s->args, p->isa_mask, NULL);
    if (s->kernel == NULL)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "no kernel for pooling %dx%d",
                         s->args.kernel_h, s->args.kernel_w);
    b->kernel = s->kernel->name;
    return COHORT_OK;
}

static void pool_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)thread;
    const struct part_work *w = context;
    const struct pool_state *s = w->state;
    struct pool_args a = s->args;
    a.in = w->in;
    a.out = w->out;
    a.y0 = y0;
    a.y1 = y1;
    a.block0 = block0;
    a.block1 = block1;
    s->kernel->run(&a);
}

/* ---- over the whole image -------------------------------------------------------------------- */

static enum reduce_op reduction_of(const char *name) {
    if (strcmp(name, "GlobalMaxPool") == 0 || strcmp(name, "ReduceMax") == 0)
        return REDUCE_MAX;
    return strcmp(name, "ReduceSum") == 0 ? REDUCE_SUM : REDUCE_MEAN;
}

/* The one output row of an image, from all its input rows. */
static void reduce_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)y1;
    (void)thread;
    const struct part_work *w = context;
    int64_t in_h = value_geometry(op_value(w->program, w->op->in_slots[0])).height;
    w->program->plain->global_reduce(reduction_of(w->op->bound->node->op->name), &w->in, in_h,
                                     &w->out, y0, block0, block1);
}

/* One output row from each input row; see src/graph/pass_row_reduce.c. */
static bool reduces_rows(const struct graph *g, const struct node *n) {
    return lower_is_map(g, n) &&
           value_geometry(node_in(g, n, 0)).height == value_geometry(node_out(g, n, 0)).height;
}

static void row_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)thread;
    const struct part_work *w = context;
    const enum reduce_op how = reduction_of(w->op->bound->node->op->name);
    struct view row = w->in;
    row.row0 = 0;
    for (int64_t y = y0; y < y1; y++) {
        row.data = view_at(&w->in, y, 0, 0);
        w->program->plain->global_reduce(how, &row, 1, &w->out, y, block0, block1);
    }
}

/* The p-norm of an image's channels; sums in double, as the reference has them. */
static void norm_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)y1;
    (void)thread;
    const struct part_work *w = context;
    const int64_t in_h = value_geometry(op_value(w->program, w->op->in_slots[0])).height;
    const int64_t p = node_attr_int(w->op->bound->node, "p", 2);
    for (int b = block0; b < block1; b++) {
        double sum[BLOCK] = {0};
        const int lanes = view_lanes(&w->in, b);
        float *out = view_at(&w->out, y0, b * BLOCK, 0);
        for (int64_t y = y0 * in_h; y < (y0 + 1) * in_h; y++)
            for (int x = 0; x < w->in.width; x++) {
                const float *in = view_at(&w->in, y, b * BLOCK, x);
                for (int l = 0; l < lanes; l++) {
                    const double v = fabs((double)in[l]);
                    sum[l] += p == 1 ? v : p == 2 ? v * v : pow(v, (double)p);
                }
            }
        for (int l = 0; l < (w->out.blocked ? BLOCK : lanes); l++)
            out[l] = (float)(p == 1 ? sum[l] : p == 2 ? sqrt(sum[l]) : pow(sum[l], 1 / (double)p));
    }
}

const struct lowering lowerings_pool[] = {
    {"MaxPool", pool_accepts, bind_pool, NULL, IN_STRIPS(WALK_IMAGES_BLOCKS, pool_part)},
    {"AveragePool", pool_accepts, bind_pool, NULL, IN_STRIPS(WALK_IMAGES_BLOCKS, pool_part)},
    {"LpPool", pool_accepts, bind_pool, NULL, IN_STRIPS(WALK_IMAGES_BLOCKS, pool_part)},
    {"GlobalAveragePool", lower_is_map, NULL, NULL, BY_PART(WALK_IMAGES_BLOCKS, reduce_part)},
    {"GlobalMaxPool", lower_is_map, NULL, NULL, BY_PART(WALK_IMAGES_BLOCKS, reduce_part)},
    {"GlobalLpPool", lower_is_map, NULL, NULL, BY_PART(WALK_IMAGES_BLOCKS, norm_part)},
    {"ReduceMean", reduces_rows, NULL, NULL, IN_STRIPS(WALK_ROWS_BLOCKS, row_part)},
    {"ReduceMax", reduces_rows, NULL, NULL, IN_STRIPS(WALK_ROWS_BLOCKS, row_part)},
    {"ReduceMean", lower_is_map, NULL, NULL, BY_PART(WALK_IMAGES_BLOCKS, reduce_part)},
    {"ReduceMax", lower_is_map, NULL, NULL, BY_PART(WALK_IMAGES_BLOCKS, reduce_part)},
    {"ReduceSum", lower_is_map, NULL, NULL, BY_PART(WALK_IMAGES_BLOCKS, reduce_part)},
    {0},
};
