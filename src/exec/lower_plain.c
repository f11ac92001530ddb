/* Sums, differences, products and quotients of plain float tensors, broadcast as in NumPy.
 *
 * A row of the output is a line of numbers.  Rows come in runs in which each operand either goes
 * along row by row or stays: for [B,H,T,T] + [B,1,1,T] a run is the H*T rows of one B.  Where no
 * operand is broadcast, or only a single number, all rows together are one line. */
#include "exec/lower.h"

#include <string.h>

struct operand {
    float *constant; /* or NULL: computed */
    int64_t *base;   /* [runs]: its row behind a run's first */
    int64_t columns; /* as many as the output, or one for all */
    bool along;      /* it has a row for each row of a run */
};

struct plain_state {
    enum binary_op op;
    struct operand operand[2];
    int64_t run;  /* rows */
    int64_t runs; /* of the whole output */
    bool line;    /* all rows are one line */
};

static const struct {
    const char *op;
    enum binary_op binary;
} names[] = {{"Add", BINARY_ADD}, {"Sub", BINARY_SUB}, {"Mul", BINARY_MUL}, {"Div", BINARY_DIV}};

#define LINE_MOST (INT64_C(1) << 30) /* kernels count in ints */

static bool plain_accepts(const struct graph *g, const struct node *n) {
    const struct value *y = node_out(g, n, 0);
    if (n->in_count != 2 || n->epilogue.residual >= 0 || y->form != FORM_PLAIN ||
        y->type != DT_F32 || !shape_known(&y->shape) || shape_count(&y->shape) <= 0 ||
        shape_count(&y->shape) > LINE_MOST)
        return false;
    for (int i = 0; i < 2; i++) {
        const struct value *x = node_in(g, n, i);
        if (x == NULL || x->form != FORM_PLAIN || x->type != DT_F32 || !shape_known(&x->shape) ||
            x->shape.rank > y->shape.rank)
            return false;
    }
    return true;
}

/* Dim `back` axes before the last; 1 where there is none. */
static int64_t dim_back(const struct shape *s, int back) {
    return back < s->rank ? s->dim[s->rank - 1 - back] : 1;
}

/* As many of the output's innermost row axes as both operands treat alike make a run. */
static int find_run(struct plain_state *s, const struct shape *const in[2], const struct shape *y) {
    bool decided = false;
    int back = 1;
    s->run = 1;
    for (; back < y->rank; back++) {
        int64_t dim = dim_back(y, back);
        if (dim == 1)
            continue;
        bool along[2] = {dim_back(in[0], back) == dim, dim_back(in[1], back) == dim};
        if (decided && (along[0] != s->operand[0].along || along[1] != s->operand[1].along))
            break;
        s->operand[0].along = along[0];
        s->operand[1].along = along[1];
        decided = true;
        s->run *= dim;
    }
    return back;
}

/* The operand's row behind the first row of run t; run axes are those before `back`. */
static int64_t base_row(const struct shape *in, const struct shape *y, int back, int64_t t) {
    int64_t row = 0, step = 1;
    for (int k = 1; k < back; k++)
        step *= dim_back(in, k);
    for (int k = back; k < y->rank; k++) {
        int64_t at = t % dim_back(y, k);
        t /= dim_back(y, k);
        row += dim_back(in, k) > 1 ? at * step : 0;
        step *= dim_back(in, k);
    }
    return row;
}

static enum cohort_code bind_operand(struct operand *o, const struct tensor *t,
                                     struct cohort_error *err) {
    if (t == NULL)
        return COHORT_OK;
    int64_t count = shape_count(&t->shape);
    o->constant = mem_alloc((size_t)count * sizeof *o->constant);
    if (o->constant == NULL)
        return error_memory(err, (size_t)count * sizeof *o->constant, "a constant operand");
    tensor_load_f32(t, 0, count, o->constant);
    return COHORT_OK;
}

static enum cohort_code bind_plain(struct program *p, struct bound *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct graph *g = p->graph;
    const struct shape *y = &node_out(g, b->node, 0)->shape;
    const struct shape *const in[2] = {&node_in(g, b->node, 0)->shape,
                                       &node_in(g, b->node, 1)->shape};
    TRY(bound_state(b, sizeof(struct plain_state), err));
    struct plain_state *s = b->state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].op, b->node->op->name) == 0)
            s->op = names[i].binary;
    int back = find_run(s, in, y);
    s->runs = shape_product(y, 0, y->rank - back > 0 ? y->rank - back : 0);
    s->line = true;
    for (int i = 0; i < 2; i++) {
        struct operand *o = &s->operand[i];
        int64_t count = shape_count(in[i]);
        s->line = s->line && (count == 1 || count == shape_count(y));
        o->columns = dim_back(in[i], 0);
        TRY(bind_operand(o, node_const(g, b->node, i), err));
        o->base = mem_alloc((size_t)s->runs * sizeof *o->base);
        if (o->base == NULL) {
            code = error_memory(err, (size_t)s->runs * sizeof *o->base, "an operator's state");
            goto out;
        }
        for (int64_t t = 0; t < s->runs; t++)
            o->base[t] = base_row(in[i], y, back, t);
    }
out:
    return code;
}

static void unbind_plain(struct bound *b) {
    struct plain_state *s = b->state;
    for (int i = 0; i < 2; i++) {
        mem_free(s->operand[i].constant);
        mem_free(s->operand[i].base);
    }
}

struct plain_work {
    const struct program *program;
    const struct plain_state *state;
    const float *in[2]; /* row 0 of each operand, in its own numbers */
    struct view out;
    struct kernel_epilogue epilogue;
};

/* Rows [y0, y1) of `width` numbers as one channel's pixels. */
static struct view as_line(float *data, int64_t row0, int64_t rows, int64_t width,
                           ptrdiff_t row_pitch, ptrdiff_t pixel_pitch) {
    return (struct view){.data = data,
                         .row0 = row0,
                         .rows = rows,
                         .channels = 1,
                         .width = (int)width,
                         .pixel_pitch = pixel_pitch,
                         .block_pitch = BLOCK,
                         .row_pitch = row_pitch};
}

static void line_part(const struct plain_work *w, int64_t y0, int64_t y1) {
    const struct plain_state *s = w->state;
    int64_t columns = w->out.channels, count = (y1 - y0) * columns;
    struct view out = as_line(view_at(&w->out, y0, 0, 0), 0, 1, count, 0, 1);
    struct binary_operand o[2];
    for (int i = 0; i < 2; i++) {
        bool each = s->operand[i].along || s->operand[i].columns > 1;
        const float *from = w->in[i] + (each ? y0 * columns : 0);
        o[i] = (struct binary_operand){
            .view = as_line((float *)(uintptr_t)from, 0, 1, count, 0, each ? 1 : 0),
            .broadcast_lanes = !each};
    }
    w->program->plain->binary_rows(s->op, &o[0], &o[1], &out, &w->epilogue, 0, 1, 0, 1);
}

static void plain_part(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread) {
    (void)block0;
    (void)block1;
    (void)thread;
    const struct plain_work *w = context;
    const struct plain_state *s = w->state;
    int64_t columns = w->out.channels;
    struct view out = as_line(w->out.data, w->out.row0, w->out.rows, columns, w->out.row_pitch, 1);
    if (s->line) {
        line_part(w, y0, y1);
        return;
    }
    for (int64_t y = y0, end; y < y1; y = end) {
        int64_t t = y / s->run;
        struct binary_operand o[2];
        end = (t + 1) * s->run < y1 ? (t + 1) * s->run : y1;
        for (int i = 0; i < 2; i++) {
            const struct operand *x = &s->operand[i];
            const float *from = w->in[i] + x->base[t] * x->columns;
            bool each = x->columns == columns;
            o[i] = (struct binary_operand){
                .view = as_line((float *)(uintptr_t)from, t * s->run, s->run, columns,
                                x->along ? (ptrdiff_t)x->columns : 0, each ? 1 : 0),
                .broadcast_lanes = !each};
        }
        w->program->plain->binary_rows(s->op, &o[0], &o[1], &out, &w->epilogue, y, end, 0, 1);
    }
}

static enum cohort_code run_plain(struct program *p, const struct exec_op *op,
                                  struct cohort_error *err) {
    (void)err;
    const struct plain_state *s = op->bound->state;
    struct view residual;
    struct plain_work w = {.program = p,
                           .state = s,
                           .out = slot_view(p, op->out_slots[0]),
                           .epilogue = op_epilogue(p, op, 0, &residual)};
    for (int i = 0; i < 2; i++) {
        w.in[i] = s->operand[i].constant;
        if (w.in[i] == NULL) {
            struct view v = slot_view(p, op->in_slots[i]);
            w.in[i] = v.data - v.row0 * v.row_pitch;
        }
    }
    run_parallel(p, op->out.begin, op->out.end, 1, plain_part, &w);
    return COHORT_OK;
}

#define PLAIN(name)                                                                                \
    { name, plain_accepts, bind_plain, unbind_plain, BY_ITSELF(run_plain) }

const struct lowering lowerings_plain[] = {
    PLAIN("Add"), PLAIN("Sub"), PLAIN("Mul"), PLAIN("Div"), {0},
};
