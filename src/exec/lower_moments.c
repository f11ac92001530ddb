/* InstanceNormalization and GroupNormalization on maps: mean and variance of each channel, or group
 * of channels, of an image, and then one multiplication and addition for each channel.
 *
 * The sums of each row are made on their own, on all threads, and are put together in the rows'
 * order: so any division into rows gives the same bits.  Output rows of a tile need all rows of the
 * image. */
#include "exec/lower.h"

#include <math.h>
#include <string.h>

struct moments_state {
    float *scale, *bias; /* one a channel */
    int64_t channels, height, width, groups;
    double epsilon;
};

/* What lies in the program's shared memory, all in whole blocks of channels. */
struct moments {
    float *sums; /* [height][channels] */
    float *shift, *factor;
    double *total; /* [channels] */
};

static int64_t padded(int64_t channels) {
    return (channels + BLOCK - 1) / BLOCK * BLOCK;
}

static bool moments_accepts(const struct graph *g, const struct node *n) {
    return lower_is_map(g, n) && n->epilogue.residual < 0;
}

/* One number a group becomes one a channel. */
static enum cohort_code bind_vector(float **out, const struct tensor *t,
                                    const struct moments_state *s, struct cohort_error *err) {
    const int64_t count = shape_count(&t->shape), each = s->channels / (count > 0 ? count : 1);
    float *given = NULL;
    enum cohort_code code = vector_from_constant(&given, t, count, err);
    if (code == COHORT_OK)
        code = vector_from_constant(out, NULL, s->channels, err);
    for (int64_t c = 0; code == COHORT_OK && c < s->channels; c++)
        (*out)[c] = given[c / each];
    mem_free(given);
    return code;
}

static enum cohort_code bind_moments(struct program *p, struct bound *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct node *n = b->node;
    const struct geometry x = value_geometry(node_in(p->graph, n, 0));
    TRY(bound_state(b, sizeof(struct moments_state), err));
    struct moments_state *s = b->state;
    s->channels = x.channels;
    s->height = x.height;
    s->width = x.width;
    s->groups = node_attr_int(n, "num_groups", x.channels);
    s->epsilon = (double)node_attr_float(n, "epsilon", 1e-5f);
    TRY(bind_vector(&s->scale, node_const(p->graph, n, 1), s, err));
    TRY(bind_vector(&s->bias, node_const(p->graph, n, 2), s, err));
    b->shared_bytes =
        (size_t)padded(x.channels) * ((size_t)(x.height + 2) * sizeof(float) + sizeof(double));
out:
    return code;
}

static void unbind_moments(struct bound *b) {
    struct moments_state *s = b->state;
    mem_free(s->scale);
    mem_free(s->bias);
}

static struct moments moments_in(const struct program *p, const struct moments_state *s) {
    struct moments m;
    const int64_t each = padded(s->channels);
    m.total = (double *)(void *)p->shared;
    m.sums = (float *)(void *)(m.total + each);
    m.shift = m.sums + each * s->height;
    m.factor = m.shift + each;
    return m;
}

struct moments_work {
    const struct plainops *plain;
    const struct moments *moments;
    int power;
    struct view in, out;
    struct kernel_epilogue epilogue;
};

static void sums_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)thread;
    const struct moments_work *w = context;
    w->plain->row_sums(w->power, w->moments->shift, &w->in, w->moments->sums, y0, y1, block0,
                       block1);
}

static void affine_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)thread;
    const struct moments_work *w = context;
    w->plain->affine_rows(w->moments->factor, w->moments->shift, &w->in, &w->out, &w->epilogue, y0,
                          y1, block0, block1);
}

/* The sums of a whole channel, and the mean over group g of those. */
static void add_rows(const struct moments_state *s, const struct moments *m) {
    const int64_t each = padded(s->channels);
    for (int64_t c = 0; c < s->channels; c++)
        m->total[c] = 0;
    for (int64_t y = 0; y < s->height; y++)
        for (int64_t c = 0; c < s->channels; c++)
            m->total[c] += (double)m->sums[y * each + c];
}

static double group_mean(const struct moments_state *s, const struct moments *m, int64_t g) {
    const int64_t channels = s->channels / s->groups;
    double sum = 0;
    for (int64_t c = g * channels; c < (g + 1) * channels; c++)
        sum += m->total[c];
    return sum / ((double)channels * (double)s->height * (double)s->width);
}

/* From the sums to what each channel is multiplied by and what is added. */
static void take_means(const struct moments_state *s, const struct moments *m) {
    const int64_t channels = s->channels / s->groups;
    add_rows(s, m);
    for (int64_t g = 0; g < s->groups; g++) {
        const float mean = (float)group_mean(s, m, g);
        for (int64_t c = g * channels; c < (g + 1) * channels; c++)
            m->shift[c] = mean;
    }
}

static void take_factors(const struct moments_state *s, const struct moments *m) {
    const int64_t channels = s->channels / s->groups;
    add_rows(s, m);
    for (int64_t g = 0; g < s->groups; g++) {
        const double one = 1 / sqrt(group_mean(s, m, g) + s->epsilon);
        for (int64_t c = g * channels; c < (g + 1) * channels; c++) {
            const double factor = (double)s->scale[c] * one;
            m->factor[c] = (float)factor;
            m->shift[c] = (float)((double)s->bias[c] - (double)m->shift[c] * factor);
        }
    }
}

static enum cohort_code run_moments(struct program *p, const struct exec_op *op,
                                    struct cohort_error *err) {
    (void)err;
    const struct moments_state *s = op->bound->state;
    const struct moments m = moments_in(p, s);
    const int64_t height = value_geometry(op_value(p, op->out_slots[0])).height;
    struct image_rows part;
    for (int64_t at = op->out.begin; next_image(op->out, height, &at, &part);) {
        struct view residual;
        struct moments_work w = {.plain = p->plain,
                                 .moments = &m,
                                 .power = 1,
                                 .in = slot_image(p, op->in_slots[0], part.image),
                                 .out = slot_image(p, op->out_slots[0], part.image),
                                 .epilogue = op_epilogue(p, op, part.image, &residual)};
        const int blocks = view_blocks(&w.in);
        memset(m.shift, 0, 2 * (size_t)padded(s->channels) * sizeof(float)); /* and factor */
        run_parallel(p, 0, s->height, blocks, sums_part, &w);
        take_means(s, &m);
        w.power = 2;
        run_parallel(p, 0, s->height, blocks, sums_part, &w);
        take_factors(s, &m);
        run_parallel(p, part.y0, part.y1, blocks, affine_part, &w);
    }
    return COHORT_OK;
}

const struct lowering lowerings_moments[] = {
    {"InstanceNormalization", moments_accepts, bind_moments, unbind_moments,
     BY_ITSELF(run_moments)},
    {"GroupNormalization", moments_accepts, bind_moments, unbind_moments, BY_ITSELF(run_moments)},
    {0},
};
