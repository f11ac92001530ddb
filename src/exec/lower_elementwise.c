/* Elementwise operators on feature maps and tokens: one input, a vector of parameters, or two
 * inputs with broadcasting. */
#include "exec/lower.h"

#include <math.h>
#include <string.h>

/* ---- one input ------------------------------------------------------------------------------- */

struct unary_state {
    enum unary_op op;
    float a, b;
    struct kernel_epilogue act; /* the operator itself, when it is an activation */
};

static bool map_or_float_rows(const struct graph *g, const struct node *n) {
    const struct value *x = node_in(g, n, 0), *y = node_out(g, n, 0);
    return y->form == FORM_MAP || (x->type == DT_F32 && y->type == DT_F32 && !x->is_constant &&
                                   shape_known(&x->shape) && shape_equal(&x->shape, &y->shape));
}

/* A bound of Clip: attribute (old opsets) or constant input; false when it depends on data. */
static bool clip_bound(const struct graph *g, const struct node *n, int input, const char *attr,
                       float otherwise, float *out) {
    const struct value *v = node_in(g, n, input);
    *out = node_attr_float(n, attr, otherwise);
    if (v == NULL || n->epilogue.residual == input)
        return true;
    if (!v->is_constant || shape_count(&v->shape) != 1)
        return false;
    tensor_load_f32(&v->constant, 0, 1, out);
    return true;
}

static bool clip_accepts(const struct graph *g, const struct node *n) {
    float low, high;
    return map_or_float_rows(g, n) && clip_bound(g, n, 1, "min", -INFINITY, &low) &&
           clip_bound(g, n, 2, "max", INFINITY, &high);
}

static bool pow_accepts(const struct graph *g, const struct node *n) {
    const struct tensor *e = node_const(g, n, 1);
    return map_or_float_rows(g, n) && e != NULL && shape_count(&e->shape) == 1;
}

/* Names and their activation or function. */
static const struct {
    const char *op;
    enum kernel_act act;
    enum unary_op unary;
} unary_names[] = {
    {"Relu", KACT_RELU, UNARY_COPY},
    {"LeakyRelu", KACT_LEAKY_RELU, UNARY_COPY},
    {"Clip", KACT_CLIP, UNARY_COPY},
    {"Sigmoid", KACT_SIGMOID, UNARY_COPY},
    {"Tanh", KACT_TANH, UNARY_COPY},
    {"HardSigmoid", KACT_HARD_SIGMOID, UNARY_COPY},
    {"HardSwish", KACT_HARD_SWISH, UNARY_COPY},
    {"Swish", KACT_SILU, UNARY_COPY},
    {"Identity", KACT_NONE, UNARY_COPY},
    {"Exp", KACT_NONE, UNARY_EXP},
    {"Sqrt", KACT_NONE, UNARY_SQRT},
    {"Erf", KACT_NONE, UNARY_ERF},
    {"Gelu", KACT_NONE, UNARY_GELU},
    {"Pow", KACT_NONE, UNARY_POW},
    {"Abs", KACT_NONE, UNARY_ABS},
    {"Neg", KACT_NONE, UNARY_NEG},
};

static enum cohort_code bind_unary(struct program *p, struct bound *b, struct cohort_error *err) {
    const struct node *n = b->node;
    const char *name = n->op->name;
    enum cohort_code code = bound_state(b, sizeof(struct unary_state), err);
    if (code != COHORT_OK)
        return code;
    struct unary_state *s = b->state;
    for (size_t i = 0; i < sizeof unary_names / sizeof unary_names[0]; i++)
        if (strcmp(unary_names[i].op, name) == 0) {
            s->op = unary_names[i].unary;
            s->act.act = unary_names[i].act;
        }
    if (strcmp(name, "LeakyRelu") == 0)
        s->act.a = node_attr_float(n, "alpha", 0.01f);
    if (strcmp(name, "HardSigmoid") == 0) {
        s->act.a = node_attr_float(n, "alpha", 0.2f);
        s->act.b = node_attr_float(n, "beta", 0.5f);
    }
    if (strcmp(name, "Clip") == 0) {
        clip_bound(p->graph, n, 1, "min", -INFINITY, &s->act.a);
        clip_bound(p->graph, n, 2, "max", INFINITY, &s->act.b);
    }
    if (strcmp(name, "Pow") == 0)
        tensor_load_f32(node_const(p->graph, n, 1), 0, 1, &s->a);
    return COHORT_OK;
}

static void unary_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)thread;
    const struct part_work *w = context;
    const struct unary_state *s = w->state;
    w->program->plain->unary_rows(s->op, s->a, s->b, &w->in, &w->out, &s->act, y0, y1, block0,
                                  block1);
}

/* Erf-GELU only: the tanh form stays with the reference. An operator that is an activation and has
 * another one fused behind it does too. */
static bool unary_accepts(const struct graph *g, const struct node *n) {
    if (n->epilogue.act != ACT_NONE || n->epilogue.residual >= 0)
        return false;
    if (strcmp(n->op->name, "Gelu") == 0 &&
        strcmp(node_attr_string(n, "approximate", "none"), "none") != 0)
        return false;
    return map_or_float_rows(g, n);
}

/* With another alpha it is no kernel's. */
static bool swish_accepts(const struct graph *g, const struct node *n) {
    return node_attr_float(n, "alpha", 1) == 1 && unary_accepts(g, n);
}

/* ---- a vector of parameters ------------------------------------------------------------------ */

struct vector_state {
    float *scale, *shift;
};

static void unbind_vectors(struct bound *b) {
    struct vector_state *s = b->state;
    mem_free(s->scale);
    mem_free(s->shift);
}

static enum cohort_code bind_prelu(struct program *p, struct bound *b, struct cohort_error *err) {
    enum cohort_code code = bound_state(b, sizeof(struct vector_state), err);
    if (code != COHORT_OK)
        return code;
    struct vector_state *s = b->state;
    return vector_from_constant(&s->scale, node_const(p->graph, b->node, 1),
                                value_geometry(node_out(p->graph, b->node, 0)).channels, err);
}

/* BatchNormalization: y = (x - mean) * scale / sqrt(variance + epsilon) + bias. */
static enum cohort_code bind_batchnorm(struct program *p, struct bound *b,
                                       struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    float *mean = NULL, *variance = NULL;
    const struct graph *g = p->graph;
    int64_t c = value_geometry(node_out(g, b->node, 0)).channels;
    float epsilon = node_attr_float(b->node, "epsilon", 1e-5f);
    TRY(bound_state(b, sizeof(struct vector_state), err));
    struct vector_state *s = b->state;
    TRY(vector_from_constant(&s->scale, node_const(g, b->node, 1), c, err));
    TRY(vector_from_constant(&s->shift, node_const(g, b->node, 2), c, err));
    TRY(vector_from_constant(&mean, node_const(g, b->node, 3), c, err));
    TRY(vector_from_constant(&variance, node_const(g, b->node, 4), c, err));
    for (int64_t i = 0; i < c; i++) {
        double factor = (double)s->scale[i] / sqrt((double)variance[i] + (double)epsilon);
        s->shift[i] = (float)((double)s->shift[i] - (double)mean[i] * factor);
        s->scale[i] = (float)factor;
    }
out:
    mem_free(mean);
    mem_free(variance);
    return code;
}

static void vector_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)thread;
    const struct part_work *w = context;
    const struct vector_state *s = w->state;
    struct view residual;
    if (s->shift == NULL) { /* PRelu has slopes only */
        w->program->plain->prelu_rows(s->scale, &w->in, &w->out, y0, y1, block0, block1);
        return;
    }
    struct kernel_epilogue e = op_epilogue(w->program, w->op, 0, &residual);
    w->program->plain->affine_rows(s->scale, s->shift, &w->in, &w->out, &e, y0, y1, block0, block1);
}

/* ---- two inputs ------------------------------------------------------------------------------ */

struct binary_state {
    enum binary_op op;
    float *constant[2];               /* an operand that is constant, as a map of its own … */
    struct binary_operand operand[2]; /* … and how it is read */
};

static const struct {
    const char *op;
    enum binary_op binary;
} binary_names[] = {
    {"Add", BINARY_ADD}, {"Sum", BINARY_ADD}, {"Sub", BINARY_SUB}, {"Mul", BINARY_MUL},
    {"Div", BINARY_DIV}, {"Pow", BINARY_POW}, {"Max", BINARY_MAX}, {"Min", BINARY_MIN},
};

static bool binary_accepts(const struct graph *g, const struct node *n) {
    return lower_is_map(g, n) && (n->in_count == 2 || n->epilogue.residual == 2);
}

/* Takes an operand's view apart where its dims are 1 and the output's are not. */
static void broadcast(struct binary_operand *o, int64_t rows, int64_t width, int64_t channels) {
    if (rows == 1)
        o->view.row_pitch = 0;
    if (width == 1)
        o->view.pixel_pitch = 0;
    if (channels == 1) {
        o->view.block_pitch = 0;
        o->broadcast_lanes = true;
    }
}

/* A constant of any shape that broadcasts into [N,C,H,W] (N 1): a little map [H'][W'][C']. */
static enum cohort_code bind_constant(const struct program *p, struct binary_state *s, int i,
                                      const struct tensor *t, int rank, struct cohort_error *err) {
    int64_t dim[4] = {1, 1, 1, 1}; /* N, C, H, W */
    int missing = rank - t->shape.rank;
    for (int k = 0; k < t->shape.rank; k++)
        dim[k + missing] = t->shape.dim[k];
    if (dim[0] != 1)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "a constant operand with a batch of %lld",
                         (long long)dim[0]);
    struct view v = view_map(NULL, 0, dim[2], (int)dim[1], (int)dim[3]);
    size_t floats = (size_t)(v.row_pitch * dim[2] + BLOCK);
    float *nchw = mem_alloc((size_t)shape_count(&t->shape) * sizeof *nchw);
    s->constant[i] = mem_zalloc(floats, sizeof(float));
    if (nchw == NULL || s->constant[i] == NULL) {
        mem_free(nchw);
        return error_memory(err, floats * sizeof(float), "a constant operand");
    }
    tensor_load_f32(t, 0, shape_count(&t->shape), nchw);
    v.data = s->constant[i];
    p->plain->map_from_nchw(nchw, dim[2], &v, 0, dim[2]);
    mem_free(nchw);
    s->operand[i].view = v;
    broadcast(&s->operand[i], dim[2], dim[3], dim[1]);
    return COHORT_OK;
}

static enum cohort_code bind_binary(struct program *p, struct bound *b, struct cohort_error *err) {
    enum cohort_code code = bound_state(b, sizeof(struct binary_state), err);
    if (code != COHORT_OK)
        return code;
    struct binary_state *s = b->state;
    for (size_t i = 0; i < sizeof binary_names / sizeof binary_names[0]; i++)
        if (strcmp(binary_names[i].op, b->node->op->name) == 0)
            s->op = binary_names[i].binary;
    for (int i = 0; i < 2 && code == COHORT_OK; i++) {
        const struct tensor *t = node_const(p->graph, b->node, i);
        if (t != NULL)
            code = bind_constant(p, s, i, t, node_out(p->graph, b->node, 0)->shape.rank, err);
    }
    return code;
}

static void unbind_binary(struct bound *b) {
    struct binary_state *s = b->state;
    mem_free(s->constant[0]);
    mem_free(s->constant[1]);
}

struct binary_work {
    const struct plainops *plain;
    enum binary_op op;
    struct binary_operand operand[2];
    struct view out;
    struct kernel_epilogue epilogue;
};

static void binary_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)thread;
    const struct binary_work *w = context;
    w->plain->binary_rows(w->op, &w->operand[0], &w->operand[1], &w->out, &w->epilogue, y0, y1,
                          block0, block1);
}

static struct binary_operand map_operand(const struct program *p, int slot, int64_t image) {
    struct geometry geo = value_geometry(op_value(p, slot));
    struct binary_operand o = {.view = slot_image(p, slot, geo.images == 1 ? 0 : image)};
    if (geo.height == 1) { /* the one row of this image serves every row */
        o.view.data = view_at(&o.view, 0, 0, 0);
        o.view.row0 = 0;
    }
    broadcast(&o, geo.height, geo.width, geo.channels);
    return o;
}

static enum cohort_code run_binary(struct program *p, const struct exec_op *op,
                                   struct cohort_error *err) {
    (void)err;
    const struct binary_state *s = op->bound->state;
    int64_t height = value_geometry(op_value(p, op->out_slots[0])).height;
    struct image_rows part;
    for (int64_t at = op->out.begin; next_image(op->out, height, &at, &part);) {
        struct view residual;
        struct binary_work w = {.plain = p->plain,
                                .op = s->op,
                                .out = slot_image(p, op->out_slots[0], part.image),
                                .epilogue = op_epilogue(p, op, part.image, &residual)};
        for (int i = 0; i < 2; i++)
            w.operand[i] = s->constant[i] != NULL ? s->operand[i]
                                                  : map_operand(p, op->in_slots[i], part.image);
        run_parallel(p, part.y0, part.y1, view_blocks(&w.out), binary_part, &w);
    }
    return COHORT_OK;
}

#define UNARY(name)                                                                                \
    { name, unary_accepts, bind_unary, NULL, IN_STRIPS(WALK_ROWS_BLOCKS, unary_part) }
#define BINARY(name)                                                                               \
    { name, binary_accepts, bind_binary, unbind_binary, BY_ITSELF(run_binary) }

const struct lowering lowerings_elementwise[] = {
    UNARY("Identity"),
    UNARY("Relu"),
    UNARY("LeakyRelu"),
    UNARY("Sigmoid"),
    UNARY("Tanh"),
    UNARY("HardSigmoid"),
    UNARY("HardSwish"),
    {"Swish", swish_accepts, bind_unary, NULL, IN_STRIPS(WALK_ROWS_BLOCKS, unary_part)},
    UNARY("Exp"),
    UNARY("Sqrt"),
    UNARY("Erf"),
    UNARY("Gelu"),
    UNARY("Abs"),
    UNARY("Neg"),
    {"Clip", clip_accepts, bind_unary, NULL, IN_STRIPS(WALK_ROWS_BLOCKS, unary_part)},
    {"Pow", pow_accepts, bind_unary, NULL, IN_STRIPS(WALK_ROWS_BLOCKS, unary_part)},
    {"PRelu", lower_is_map, bind_prelu, unbind_vectors, IN_STRIPS(WALK_ROWS_BLOCKS, vector_part)},
    {"BatchNormalization", lower_is_map, bind_batchnorm, unbind_vectors,
     IN_STRIPS(WALK_ROWS_BLOCKS, vector_part)},
    BINARY("Add"),
    BINARY("Sum"),
    BINARY("Sub"),
    BINARY("Mul"),
    BINARY("Div"),
    BINARY("Pow"),
    BINARY("Max"),
    BINARY("Min"),
    {0},
};
