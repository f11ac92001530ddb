/* Functions of one element that no kernel computes (Mish, Elu, Log, …), on feature maps and rows of
 * floats: the operator's own evaluator on the floats as they lie, row by row on all threads.  So
 * they are divided like everything around them, and nothing is converted. */
#include "exec/lower.h"

#include <string.h>

static bool function_accepts(const struct graph *g, const struct node *n) {
    const struct value *x = node_in(g, n, 0), *y = node_out(g, n, 0);
    if (n->in_count != 1 || n->epilogue.act != ACT_NONE || n->epilogue.residual >= 0)
        return false;
    return y->form == FORM_MAP || (x->type == DT_F32 && y->type == DT_F32 && !x->is_constant &&
                                   shape_known(&x->shape) && shape_equal(&x->shape, &y->shape));
}

static enum cohort_code bind_function(struct program *p, struct bound *b,
                                      struct cohort_error *err) {
    (void)p;
    (void)err;
    b->kernel = "reference";
    return COHORT_OK;
}

/* `count` floats, one behind the other. */
static void apply(const struct node *n, const float *from, float *to, int64_t count) {
    const struct shape shape = {.rank = 1, .dim = {count}};
    struct tensor x = {.type = DT_F32, .shape = shape, .data = (void *)(uintptr_t)from};
    struct tensor y = {.type = DT_F32, .shape = shape, .data = to};
    const struct tensor *const in[1] = {&x};
    struct tensor *const out[1] = {&y};
    if (n->op->eval(n, in, out, NULL) != COHORT_OK)
        BUG("a function of one element failed");
}

/* Row y of one block: whatever f(0) is, lanes beyond the last channel end as zero. */
static void apply_block(const struct node *n, const struct view *in, const struct view *out,
                        int64_t y, int block) {
    int lanes = view_lanes(out, block), c = block * BLOCK;
    bool touch = in->pixel_pitch == BLOCK && out->pixel_pitch == BLOCK;
    for (int x = 0; x < out->width; x += touch ? out->width : 1)
        apply(n, view_at(in, y, c, x), view_at(out, y, c, x),
              touch ? (int64_t)out->width * BLOCK : lanes);
    for (int x = 0; lanes < BLOCK && x < out->width; x++)
        memset(view_at(out, y, c, x) + lanes, 0, (size_t)(BLOCK - lanes) * sizeof(float));
}

static void function_part(void *context, int64_t y0, int64_t y1, int block0, int block1,
                          int thread) {
    (void)thread;
    const struct part_work *w = context;
    const struct node *n = w->op->bound->node;
    const struct view *in = &w->in, *out = &w->out;
    int c0 = block0 * BLOCK, c1 = block1 * BLOCK < out->channels ? block1 * BLOCK : out->channels;
    bool touch = c1 - c0 == out->channels && in->pixel_pitch == out->channels &&
                 out->pixel_pitch == out->channels;
    for (int64_t y = y0; y < y1; y++) {
        for (int block = block0; out->blocked && block < block1; block++)
            apply_block(n, in, out, y, block);
        for (int x = 0; !out->blocked && x < out->width; x += touch ? out->width : 1)
            apply(n, view_at(in, y, c0, x), view_at(out, y, c0, x),
                  (int64_t)(touch ? out->width : 1) * (c1 - c0));
    }
}

#define FUNCTION(name)                                                                             \
    { name, function_accepts, bind_function, NULL, IN_STRIPS(WALK_ROWS_BLOCKS, function_part) }

const struct lowering lowerings_function[] = {
    FUNCTION("Acos"),
    FUNCTION("Acosh"),
    FUNCTION("Asin"),
    FUNCTION("Asinh"),
    FUNCTION("Atan"),
    FUNCTION("Atanh"),
    FUNCTION("Ceil"),
    FUNCTION("Celu"),
    FUNCTION("Cos"),
    FUNCTION("Cosh"),
    FUNCTION("Elu"),
    FUNCTION("Floor"),
    FUNCTION("Gelu"),
    FUNCTION("Log"),
    FUNCTION("Mish"),
    FUNCTION("Reciprocal"),
    FUNCTION("Round"),
    FUNCTION("Selu"),
    FUNCTION("Shrink"),
    FUNCTION("Sign"),
    FUNCTION("Sin"),
    FUNCTION("Sinh"),
    FUNCTION("Softplus"),
    FUNCTION("Softsign"),
    FUNCTION("Swish"),
    FUNCTION("Tan"),
    FUNCTION("ThresholdedRelu"),
    {0},
};
