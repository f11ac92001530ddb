/* RNN, GRU and LSTM: a state h (and c) that each step of a sequence changes, in one or both
 * directions.  G gates: 1, 3 (update, reset, hidden), 4 (input, output, forget, cell).
 *
 * X [T, B, I]; W [dirs, G*H, I]; R [dirs, G*H, H]; bias [dirs, 2*G*H], of W and of R;
 * sequence_lens [B]; initial_h and (LSTM) initial_c [dirs, B, H]; peepholes [dirs, 3*H] (input,
 * output, forget).  Y [T, dirs, B, H], and the last states, Y_h and Y_c [dirs, B, H].
 * With layout = 1 (opset 14) the batch comes first everywhere.
 * Formulas: ONNX's operator pages; all sums in double. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>
#include <string.h>

enum { X, W, R, BIAS, LENGTHS, INITIAL_H, INITIAL_C, PEEPHOLES };
#define DIRS_MAX  2
#define FUNCTIONS 3 /* of one direction */

/* ---- activation functions -------------------------------------------------------------------- */

enum activation {
    AFFINE,
    ELU,
    HARD_SIGMOID,
    LEAKY_RELU,
    RELU,
    SCALED_TANH,
    SIGMOID,
    SOFTPLUS,
    SOFTSIGN,
    TANH,
    THRESHOLDED_RELU,
    ACTIVATIONS
};

static const struct {
    const char *name;
    int parameters;
    double alpha, beta; /* by default */
} activations[ACTIVATIONS] = {
    [AFFINE] = {"Affine", 2, 1, 0},
    [ELU] = {"Elu", 1, 1, 0},
    [HARD_SIGMOID] = {"HardSigmoid", 2, 0.2, 0.5},
    [LEAKY_RELU] = {"LeakyRelu", 1, 0.01, 0},
    [RELU] = {"Relu", 0, 0, 0},
    [SCALED_TANH] = {"ScaledTanh", 2, 1, 1},
    [SIGMOID] = {"Sigmoid", 0, 0, 0},
    [SOFTPLUS] = {"Softplus", 0, 0, 0},
    [SOFTSIGN] = {"Softsign", 0, 0, 0},
    [TANH] = {"Tanh", 0, 0, 0},
    [THRESHOLDED_RELU] = {"ThresholdedRelu", 1, 1, 0},
};

struct function {
    enum activation kind;
    double alpha, beta, clip;
};

static double apply(const struct function *f, double x) {
    if (f->clip > 0)
        x = x > f->clip ? f->clip : x < -f->clip ? -f->clip : x;
    switch (f->kind) {
    case AFFINE:
        return f->alpha * x + f->beta;
    case ELU:
        return x < 0 ? f->alpha * expm1(x) : x;
    case HARD_SIGMOID:
        x = f->alpha * x + f->beta;
        return x < 0 ? 0 : x > 1 ? 1 : x;
    case LEAKY_RELU:
        return x < 0 ? f->alpha * x : x;
    case RELU:
        return x < 0 ? 0 : x;
    case SCALED_TANH:
        return f->alpha * tanh(f->beta * x);
    case SIGMOID:
        return 1 / (1 + exp(-x));
    case SOFTPLUS:
        return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    case SOFTSIGN:
        return x / (1 + fabs(x));
    case TANH:
        return tanh(x);
    case THRESHOLDED_RELU:
        return x > f->alpha ? x : 0;
    case ACTIVATIONS:
        break;
    }
    BUG("an unknown activation");
}

/* ---- reading --------------------------------------------------------------------------------- */

struct cell {
    int gates, functions;
    int64_t steps, batches, in, hidden;
    int dirs;
    bool reverse; /* the only direction is backwards */
    bool batch_first, input_forget, linear_before_reset;
    struct function function[DIRS_MAX][FUNCTIONS];
};

static int gates_of(const struct node *n) {
    return n->op->name[0] == 'L' ? 4 : n->op->name[0] == 'G' ? 3 : 1;
}

/* `activations`, and alpha and beta for those that have them, one behind the other. */
static enum cohort_code read_functions(const struct node *n, struct cell *c,
                                       struct cohort_error *err) {
    static const enum activation defaults[5][FUNCTIONS] = {
        [1] = {TANH}, [3] = {SIGMOID, TANH}, [4] = {SIGMOID, TANH, TANH}};
    const struct attr *names = node_attr(n, "activations");
    int alphas, betas, used[2] = {0, 0};
    const float *alpha = node_attr_floats(n, "activation_alpha", &alphas);
    const float *beta = node_attr_floats(n, "activation_beta", &betas);
    int count = c->functions * c->dirs;
    if (names != NULL && (names->kind != ATTR_STRINGS || names->count != (size_t)count))
        return error_set(err, COHORT_ERR_SHAPE, "activations has %zu elements; %d are needed",
                         names->count, count);
    for (int i = 0; i < count; i++) {
        struct function *f = &c->function[i / c->functions][i % c->functions];
        int kind = (int)defaults[c->gates][i % c->functions];
        if (names != NULL)
            for (kind = 0; kind < ACTIVATIONS; kind++)
                if (strcmp(names->strings[i], activations[kind].name) == 0)
                    break;
        if (kind == ACTIVATIONS)
            return error_set(err, COHORT_ERR_UNSUPPORTED, "activation '%.40s'", names->strings[i]);
        *f = (struct function){.kind = (enum activation)kind,
                               .alpha = activations[kind].alpha,
                               .beta = activations[kind].beta,
                               .clip = (double)node_attr_float(n, "clip", 0)};
        if (activations[kind].parameters > 0 && used[0] < alphas)
            f->alpha = (double)alpha[used[0]++];
        if (activations[kind].parameters > 1 && used[1] < betas)
            f->beta = (double)beta[used[1]++];
    }
    return COHORT_OK;
}

static enum cohort_code read_cell(const struct node *n, const struct tensor *const in[],
                                  struct cell *c, struct cohort_error *err) {
    const char *direction = node_attr_string(n, "direction", "forward");
    const struct shape *x = &in[X]->shape, *r = &in[R]->shape;
    bool both = strcmp(direction, "bidirectional") == 0;
    *c = (struct cell){.gates = gates_of(n),
                       .dirs = both ? 2 : 1,
                       .reverse = strcmp(direction, "reverse") == 0,
                       .batch_first = node_attr_int(n, "layout", 0) == 1,
                       .input_forget = node_attr_int(n, "input_forget", 0) != 0,
                       .linear_before_reset = node_attr_int(n, "linear_before_reset", 0) != 0};
    c->functions = c->gates == 1 ? 1 : c->gates - 1;
    if (!both && !c->reverse && strcmp(direction, "forward") != 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "direction is \"%.40s\"", direction);
    if ((x->rank >= 0 && x->rank != 3) || (r->rank >= 0 && r->rank != 3))
        return error_set(err, COHORT_ERR_SHAPE, "X of rank %d and R of rank %d; 3 is needed",
                         x->rank, r->rank);
    c->steps = x->rank == 3 ? x->dim[c->batch_first ? 1 : 0] : -1;
    c->batches = x->rank == 3 ? x->dim[c->batch_first ? 0 : 1] : -1;
    c->in = x->rank == 3 ? x->dim[2] : -1;
    int64_t otherwise = r->rank == 3 ? r->dim[2] : -1;
    c->hidden = node_attr_int(n, "hidden_size", otherwise);
    if (c->hidden < -1 || c->hidden == 0 || c->hidden > INT32_MAX)
        return error_set(err, COHORT_ERR_SHAPE, "hidden_size is %lld", (long long)c->hidden);
    return read_functions(n, c, err);
}

/* Input i is left out or has this shape, as far as both are known. */
static enum cohort_code check_input(const struct node *n, const struct tensor *const in[], int i,
                                    struct shape wanted, const char *what,
                                    struct cohort_error *err) {
    const struct tensor *t = op_in(n, in, i);
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    if (t == NULL || t->shape.rank < 0)
        return COHORT_OK;
    bool fits = t->shape.rank == wanted.rank;
    for (int k = 0; fits && k < wanted.rank; k++)
        fits = t->shape.dim[k] < 0 || wanted.dim[k] < 0 || t->shape.dim[k] == wanted.dim[k];
    if (fits)
        return COHORT_OK;
    return error_set(err, COHORT_ERR_SHAPE, "%s has shape %s; %s is needed", what,
                     shape_text(&t->shape, a, sizeof a), shape_text(&wanted, b, sizeof b));
}

static struct shape shape3(int64_t a, int64_t b, int64_t c) {
    return shape_of(3, (const int64_t[]){a, b, c});
}

static int64_t times(int64_t factor, int64_t dim) {
    return dim < 0 ? -1 : factor * dim;
}

static enum cohort_code check_shapes(const struct node *n, const struct tensor *const in[],
                                     const struct cell *c, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t rows = times(c->gates, c->hidden), d = c->dirs;
    struct shape state =
        c->batch_first ? shape3(c->batches, d, c->hidden) : shape3(d, c->batches, c->hidden);
    TRY(check_input(n, in, W, shape3(d, rows, c->in), "W", err));
    TRY(check_input(n, in, R, shape3(d, rows, c->hidden), "R", err));
    TRY(check_input(n, in, BIAS, shape_of(2, (const int64_t[]){d, times(2, rows)}), "B", err));
    TRY(check_input(n, in, LENGTHS, shape_of(1, &c->batches), "sequence_lens", err));
    TRY(check_input(n, in, INITIAL_H, state, "initial_h", err));
    TRY(check_input(n, in, INITIAL_C, state, "initial_c", err));
    TRY(check_input(n, in, PEEPHOLES, shape_of(2, (const int64_t[]){d, times(3, c->hidden)}), "P",
                    err));
out:
    return code;
}

static enum cohort_code recurrent_infer(struct node *n, const struct tensor *const in[],
                                        struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cell c;
    TRY(op_need(n, in, X, TYPES_FLOAT, err));
    for (int i = W; i < n->in_count; i++)
        if (op_in(n, in, i) != NULL)
            TRY(i == LENGTHS ? op_need(n, in, i, TYPE_BIT(DT_I32), err)
                             : op_need_same(n, in, i, err));
    TRY(read_cell(n, in, &c, err));
    TRY(check_shapes(n, in, &c, err));
    struct shape y = shape_of(4, (const int64_t[]){c.steps, c.dirs, c.batches, c.hidden});
    struct shape last = shape3(c.dirs, c.batches, c.hidden);
    if (c.batch_first) {
        y = shape_of(4, (const int64_t[]){c.batches, c.steps, c.dirs, c.hidden});
        last = shape3(c.batches, c.dirs, c.hidden);
    }
    op_out(n, out, 0, in[X]->type, &y);
    op_out(n, out, 1, in[X]->type, &last);
    op_out(n, out, 2, in[X]->type, &last);
out:
    return code;
}

/* ---- computing ------------------------------------------------------------------------------- */

/* Everything as doubles; of one direction, after direction_of(). */
struct weights {
    double *x, *w, *r, *bias, *h, *c, *p; /* p, bias, h, c: NULL when left out */
    double *state, *cell;                 /* [H] */
    double *from_x, *from_h;              /* [G*H] */
    double *reset;                        /* [H], GRU's h times its reset gate */
};

/* y = m x + bias, m [rows, columns]. */
static void multiply(const double *m, const double *x, const double *bias, int64_t rows,
                     int64_t columns, double *y) {
    for (int64_t i = 0; i < rows; i++) {
        double sum = bias != NULL ? bias[i] : 0;
        for (int64_t k = 0; k < columns; k++)
            sum += m[i * columns + k] * x[k];
        y[i] = sum;
    }
}

static void step_rnn(const struct cell *c, const struct function *f, struct weights *w) {
    for (int64_t i = 0; i < c->hidden; i++)
        w->state[i] = apply(&f[0], w->from_x[i] + w->from_h[i]);
}

static void step_gru(const struct cell *c, const struct function *f, const double *r,
                     const double *r_bias, struct weights *w) {
    int64_t n = c->hidden;
    for (int64_t i = 0; i < n; i++)
        w->reset[i] = apply(&f[0], w->from_x[n + i] + w->from_h[n + i]);
    if (!c->linear_before_reset) {
        for (int64_t i = 0; i < n; i++)
            w->reset[i] *= w->state[i];
        multiply(r + 2 * n * n, w->reset, r_bias != NULL ? r_bias + 2 * n : NULL, n, n,
                 w->from_h + 2 * n);
    }
    for (int64_t i = 0; i < n; i++) {
        double update = apply(&f[0], w->from_x[i] + w->from_h[i]);
        double factor = c->linear_before_reset ? w->reset[i] : 1;
        double hidden = apply(&f[1], w->from_x[2 * n + i] + factor * w->from_h[2 * n + i]);
        w->state[i] = (1 - update) * hidden + update * w->state[i];
    }
}

static void step_lstm(const struct cell *c, const struct function *f, const double *p,
                      struct weights *w) {
    int64_t n = c->hidden;
    for (int64_t i = 0; i < n; i++) {
        double old = w->cell[i], gate[4];
        for (int g = 0; g < 4; g++)
            gate[g] = w->from_x[g * n + i] + w->from_h[g * n + i];
        double in = apply(&f[0], gate[0] + (p != NULL ? p[i] * old : 0));
        double forget =
            c->input_forget ? 1 - in : apply(&f[0], gate[2] + (p != NULL ? p[2 * n + i] * old : 0));
        w->cell[i] = forget * old + in * apply(&f[1], gate[3]);
        double out = apply(&f[0], gate[1] + (p != NULL ? p[n + i] * w->cell[i] : 0));
        /* what h of the cell is clipped by is the gates' affair only */
        struct function last = f[2];
        last.clip = 0;
        w->state[i] = out * apply(&last, w->cell[i]);
    }
}

/* Where the states of direction d and batch b lie. */
static int64_t state_at(const struct cell *c, int d, int64_t b) {
    return (c->batch_first ? b * c->dirs + d : d * c->batches + b) * c->hidden;
}

/* One sequence: direction d of batch b, `length` steps. */
static void run_sequence(const struct cell *c, struct weights *w, int d, int64_t b, int64_t length,
                         struct tensor *const y) {
    int64_t n = c->hidden, rows = c->gates * n;
    const double *bias = w->bias != NULL ? w->bias + d * 2 * rows : NULL;
    const double *r_bias = bias != NULL ? bias + rows : NULL, *r = w->r + d * rows * n;
    const double *p = w->p != NULL ? w->p + d * 3 * n : NULL;
    for (int64_t k = 0; k < length; k++) {
        int64_t t = c->reverse || d == 1 ? length - 1 - k : k;
        int64_t at = c->batch_first ? b * c->steps + t : t * c->batches + b;
        multiply(w->w + d * rows * c->in, w->x + at * c->in, bias, rows, c->in, w->from_x);
        multiply(r, w->state, r_bias, rows, n, w->from_h);
        if (c->gates == 1)
            step_rnn(c, c->function[d], w);
        else if (c->gates == 3)
            step_gru(c, c->function[d], r, r_bias, w);
        else
            step_lstm(c, c->function[d], p, w);
        int64_t to =
            c->batch_first ? (b * c->steps + t) * c->dirs + d : (t * c->dirs + d) * c->batches + b;
        if (y != NULL)
            window_put(y, to * n, n, w->state);
    }
}

static enum cohort_code load_weights(const struct node *n, const struct tensor *const in[],
                                     const struct cell *c, struct weights *w,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t hidden = (size_t)c->hidden;
    double **const to[] = {
        [X] = &w->x,         [W] = &w->w,         [R] = &w->r,        [BIAS] = &w->bias,
        [INITIAL_H] = &w->h, [INITIAL_C] = &w->c, [PEEPHOLES] = &w->p};
    for (int i = X; i <= PEEPHOLES; i++)
        if (i != LENGTHS && op_in(n, in, i) != NULL)
            TRY(window_doubles(in[i], to[i], err));
    w->state = mem_zalloc(hidden, sizeof *w->state);
    w->cell = mem_zalloc(hidden, sizeof *w->cell);
    w->reset = mem_zalloc(hidden, sizeof *w->reset);
    w->from_x = mem_zalloc(hidden * (size_t)c->gates, sizeof *w->from_x);
    w->from_h = mem_zalloc(hidden * (size_t)c->gates, sizeof *w->from_h);
    if (w->state == NULL || w->cell == NULL || w->reset == NULL || w->from_x == NULL ||
        w->from_h == NULL)
        TRY(error_memory(err, hidden * sizeof *w->state, "a recurrent state"));
out:
    return code;
}

static void weights_release(struct weights *w) {
    double *const all[] = {w->x, w->w,     w->r,    w->bias,   w->h,      w->c,
                           w->p, w->state, w->cell, w->from_x, w->from_h, w->reset};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        mem_free(all[i]);
}

static enum cohort_code recurrent_eval(const struct node *n, const struct tensor *const in[],
                                       struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cell c;
    struct weights w = {0};
    const struct tensor *lengths = op_in(n, in, LENGTHS);
    TRY(read_cell(n, in, &c, err));
    TRY(load_weights(n, in, &c, &w, err));
    if (out[0] != NULL && tensor_bytes(out[0]) > 0)
        memset(out[0]->data, 0, tensor_bytes(out[0])); /* steps behind a sequence's end */
    for (int d = 0; d < c.dirs; d++)
        for (int64_t b = 0; b < c.batches; b++) {
            int64_t length = lengths != NULL ? tensor_get_i64(lengths, b) : c.steps;
            size_t bytes = (size_t)c.hidden * sizeof *w.state;
            int64_t at = state_at(&c, d, b);
            if (length < 0 || length > c.steps)
                TRY(error_set(err, COHORT_ERR_SHAPE, "a sequence of %lld in %lld steps",
                              (long long)length, (long long)c.steps));
            memset(w.state, 0, bytes);
            memset(w.cell, 0, bytes);
            if (w.h != NULL)
                memcpy(w.state, w.h + at, bytes);
            if (w.c != NULL)
                memcpy(w.cell, w.c + at, bytes);
            run_sequence(&c, &w, d, b, length, out[0]);
            if (n->out_count > 1 && out[1] != NULL)
                window_put(out[1], at, c.hidden, w.state);
            if (n->out_count > 2 && out[2] != NULL)
                window_put(out[2], at, c.hidden, w.cell);
        }
out:
    weights_release(&w);
    return code;
}

static double recurrent_flops(const struct graph *g, const struct node *n) {
    const struct shape *x = &graph_value(g, n->in[X])->shape;
    int64_t w = shape_count(&graph_value(g, n->in[W])->shape);
    int64_t r = shape_count(&graph_value(g, n->in[R])->shape);
    if (!shape_known(x) || x->rank != 3 || w < 0 || r < 0)
        return 0;
    return 2 * (double)x->dim[0] * (double)x->dim[1] * (double)(w + r);
}

#define ROW(onnx, inputs, outputs)                                                                 \
    {                                                                                              \
        .name = onnx, .domain = "", .since = 7, .until = OPSET_LAST, .min_inputs = 3,              \
        .max_inputs = inputs, .max_outputs = outputs, .infer = recurrent_infer,                    \
        .eval = recurrent_eval, .flops = recurrent_flops                                           \
    }

const struct op_desc op_gru = ROW("GRU", 6, 2);
const struct op_desc op_lstm = ROW("LSTM", 8, 3);
const struct op_desc op_rnn = ROW("RNN", 6, 2);
