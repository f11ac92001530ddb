#include "tests/support/graphtest.h"

#include "base/mem.h"
#include "graph/rows.h"

#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void must(struct gt *t, enum cohort_code code) {
    if (code != COHORT_OK)
        fail_msg("%s", t->err.message);
}

void gt_begin(struct gt *t, int opset) {
    *t = (struct gt){.seed = 0x9e3779b97f4a7c15u};
    must(t, graph_create(&t->g, "test", &t->err));
    t->g->opset = opset;
}

void gt_end(struct gt *t) {
    graph_destroy(&t->g);
}

static double uniform(struct gt *t) { /* [0, 1) */
    t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(t->seed >> 40) / (double)(1 << 24);
}

int64_t gt_pick(struct gt *t, int64_t low, int64_t high) {
    return low + (int64_t)(uniform(t) * (double)(high - low + 1));
}

/* ---- building -------------------------------------------------------------------------------- */

static void append(int **list, int *count, int id) {
    int *bigger = mem_realloc(*list, (size_t)(*count + 1) * sizeof *bigger);
    assert_non_null(bigger);
    bigger[(*count)++] = id;
    *list = bigger;
}

int gt_input_of(struct gt *t, const char *name, enum dtype type, struct shape shape) {
    int id = -1;
    must(t, graph_add_value(t->g, name, &id, &t->err));
    graph_value(t->g, id)->type = type;
    graph_value(t->g, id)->shape = shape;
    append(&t->g->inputs, &t->g->input_count, id);
    return id;
}

int gt_input(struct gt *t, const char *name, struct shape shape) {
    return gt_input_of(t, name, DT_F32, shape);
}

static int add_constant(struct gt *t, struct tensor *c) {
    int id = -1;
    must(t, graph_add_constant(t->g, "", c, &id, &t->err));
    return id;
}

static int random_constant(struct gt *t, struct shape shape, double low, double high) {
    struct tensor c;
    must(t, tensor_init(&c, DT_F32, &shape, &t->err));
    for (int64_t i = 0; i < shape_count(&shape); i++)
        tensor_set_f64(&c, i, low + (high - low) * uniform(t));
    return add_constant(t, &c);
}

int gt_random(struct gt *t, struct shape shape) {
    return random_constant(t, shape, -1, 1);
}

int gt_positive(struct gt *t, struct shape shape) {
    return random_constant(t, shape, 0.5, 1.5);
}

int gt_values(struct gt *t, struct shape shape, const double *values) {
    struct tensor c;
    must(t, tensor_init(&c, DT_F32, &shape, &t->err));
    for (int64_t i = 0; i < shape_count(&shape); i++)
        tensor_set_f64(&c, i, values[i]);
    return add_constant(t, &c);
}

int gt_scalar(struct gt *t, double value) {
    return gt_values(t, SCALAR, &value);
}

int gt_list(struct gt *t, int count, ...) {
    struct tensor c;
    struct shape shape = {.rank = 1, .dim = {count}};
    va_list args;
    must(t, tensor_init(&c, DT_I64, &shape, &t->err));
    va_start(args, count);
    for (int i = 0; i < count; i++)
        tensor_i64(&c)[i] = va_arg(args, int);
    va_end(args);
    return add_constant(t, &c);
}

/* One "name=value" of length n. */
static void read_attr(const char *text, size_t n, struct attr *a) {
    const char *equal = memchr(text, '=', n);
    assert_non_null(equal);
    const char *value = equal + 1;
    size_t length = n - (size_t)(value - text);
    *a = (struct attr){.name = mem_strndup(text, (size_t)(equal - text))};
    char *copy = mem_strndup(value, length);
    assert_true(a->name != NULL && copy != NULL);
    bool number = isdigit((unsigned char)copy[0]) || copy[0] == '-';
    if (copy[0] == '[' || (number && memchr(copy, ',', length) != NULL)) {
        a->kind = ATTR_INTS;
        a->ints = mem_zalloc(length, sizeof *a->ints);
        assert_non_null(a->ints);
        for (char *at = copy + (copy[0] == '['); *at != '\0' && *at != ']';) {
            a->ints[a->count++] = strtoll(at, &at, 10);
            at += *at == ',';
        }
    } else if (number) {
        a->kind = memchr(copy, '.', length) != NULL ? ATTR_FLOAT : ATTR_INT;
        a->i = a->kind == ATTR_INT ? strtoll(copy, NULL, 10) : 0;
        a->f = a->kind == ATTR_FLOAT ? strtof(copy, NULL) : 0;
    } else {
        a->kind = ATTR_STRING;
        a->s = copy;
        return;
    }
    mem_free(copy);
}

static void add_node(struct gt *t, const char *op_name, const char *attrs, int outputs, int *out,
                     int inputs, va_list args) {
    struct attr list[16];
    int in[16], count = 0;
    const struct op_desc *op = op_find("", op_name, t->g->opset);
    if (op == NULL)
        fail_msg("no operator %s at opset %d", op_name, t->g->opset);
    assert_true(inputs <= 16);
    for (int i = 0; i < inputs; i++)
        in[i] = va_arg(args, int);
    for (const char *at = attrs; *at != '\0';) {
        size_t n = strcspn(at, " ");
        assert_true(count < 16);
        if (n > 0)
            read_attr(at, n, &list[count++]);
        at += n + (at[n] == ' ');
    }
    for (int i = 0; i < outputs; i++)
        must(t, graph_add_value(t->g, "", &out[i], &t->err));
    must(t, graph_add_node(t->g, -1, "", op, in, inputs, out, outputs, list, count, NULL, &t->err));
}

int gt_node(struct gt *t, const char *op, const char *attrs, int inputs, ...) {
    int out = -1;
    va_list args;
    va_start(args, inputs);
    add_node(t, op, attrs, 1, &out, inputs, args);
    va_end(args);
    return out;
}

void gt_node_outputs(struct gt *t, const char *op, const char *attrs, int outputs, int *out,
                     int inputs, ...) {
    va_list args;
    va_start(args, inputs);
    add_node(t, op, attrs, outputs, out, inputs, args);
    va_end(args);
}

void gt_output(struct gt *t, int id) {
    append(&t->g->outputs, &t->g->output_count, id);
    graph_relink(t->g);
}

/* ---- looking --------------------------------------------------------------------------------- */

static bool is_op(const struct node *n, const char *op) {
    const char *colon = strchr(op, ':');
    if (colon == NULL)
        return n->op->domain[0] == '\0' && strcmp(n->op->name, op) == 0;
    return strlen(n->op->domain) == (size_t)(colon - op) &&
           strncmp(n->op->domain, op, (size_t)(colon - op)) == 0 &&
           strcmp(n->op->name, colon + 1) == 0;
}

int gt_count(const struct gt *t, const char *op) {
    int count = 0;
    for (int i = 0; i < t->g->node_count; i++)
        count += is_op(&t->g->nodes[i], op);
    return count;
}

const struct node *gt_find(const struct gt *t, const char *op) {
    for (int i = 0; i < t->g->node_count; i++)
        if (is_op(&t->g->nodes[i], op))
            return &t->g->nodes[i];
    fail_msg("no node %s", op);
    return NULL;
}

void gt_check_links(const struct graph *g) {
    int *uses = mem_zalloc((size_t)g->value_count, sizeof *uses);
    assert_non_null(uses);
    for (int i = 0; i < g->output_count; i++) {
        uses[g->outputs[i]]++;
        const struct value *v = &g->values[g->outputs[i]];
        bool input = false;
        for (int k = 0; k < g->input_count; k++)
            input = input || g->inputs[k] == g->outputs[i];
        assert_true(v->producer >= 0 || v->is_constant || input);
    }
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        assert_non_null(n->op);
        for (int k = 0; k < n->in_count; k++) {
            if (n->in[k] < 0)
                continue;
            const struct value *v = &g->values[n->in[k]];
            uses[n->in[k]]++;
            assert_true(v->producer < i);
            bool input = v->is_constant || v->producer >= 0;
            for (int j = 0; j < g->input_count; j++)
                input = input || g->inputs[j] == n->in[k];
            assert_true(input);
        }
        for (int k = 0; k < n->out_count; k++)
            if (n->out[k] >= 0)
                assert_int_equal(g->values[n->out[k]].producer, i);
        if (n->weight_scale >= 0) {
            uses[n->weight_scale]++;
            assert_true(g->values[n->weight_scale].is_constant);
        }
    }
    for (int i = 0; i < g->value_count; i++)
        assert_int_equal(uses[i], g->values[i].uses);
    mem_free(uses);
}

/* ---- running --------------------------------------------------------------------------------- */

/* Conv weights times node->weight_scale: what packing does. */
static void apply_weight_scale(struct gt *t, const struct node *n, struct tensor *weights) {
    const struct tensor *scale = &graph_value(t->g, n->weight_scale)->constant;
    struct tensor scaled;
    int64_t channels = weights->shape.dim[0], each = shape_count(&weights->shape) / channels;
    assert_int_equal(shape_count(&scale->shape), channels);
    must(t, tensor_copy(&scaled, weights, &t->err));
    for (int64_t i = 0; i < channels * each; i++)
        tensor_f32(&scaled)[i] *= tensor_f32(scale)[i / each];
    *weights = scaled;
}

#define IO_MAX 64

/* One node's inputs and outputs, plain. */
struct io {
    struct tensor in[IO_MAX], out[IO_MAX];
    const struct tensor *ins[IO_MAX];
    struct tensor *outs[IO_MAX];
};

/* Inputs are borrowed from values[] (but scaled weights are new: release_inputs()), outputs made.
 */
static void prepare_io(struct gt *t, struct node *n, const struct tensor *values, struct io *io) {
    assert_true(n->in_count <= IO_MAX && n->out_count <= IO_MAX);
    for (int i = 0; i < n->in_count; i++) {
        io->ins[i] = n->in[i] < 0 ? NULL : &io->in[i];
        if (n->in[i] < 0)
            continue;
        const struct value *v = graph_value(t->g, n->in[i]);
        io->in[i] = v->is_constant ? v->constant : values[n->in[i]];
        assert_non_null(io->in[i].data);
        io->in[i].owned = false;
    }
    if (n->weight_scale >= 0)
        apply_weight_scale(t, n, &io->in[1]);
    bool matrix = strcmp(n->op->name, "Gemm") == 0 || strcmp(n->op->name, "MatMul") == 0;
    struct shape *a = &io->in[0].shape;
    if (matrix && a->rank > 2 && graph_value(t->g, n->out[0])->shape.rank == 2)
        *a = (struct shape){.rank = 2, .dim = {a->dim[0], shape_product(a, 1, a->rank)}};
    struct node bare = *n;
    if (n->epilogue.residual >= 0)
        bare.in_count = n->epilogue.residual;
    must(t, op_infer(&bare, io->ins, io->out, &t->err));
    n->window = bare.window; /* which eval() reads */
    n->group = bare.group;
    for (int i = 0; i < n->out_count; i++) {
        struct tensor *o = &io->out[i];
        if (n->out[i] >= 0 && shape_known(&graph_value(t->g, n->out[i])->shape)) {
            assert_true(shape_equal(&o->shape, &graph_value(t->g, n->out[i])->shape));
            assert_int_equal(o->type, graph_value(t->g, n->out[i])->type);
        }
        must(t, tensor_init(o, o->type, &o->shape, &t->err));
        io->outs[i] = o;
    }
}

static void release_inputs(const struct node *n, struct io *io) {
    if (n->weight_scale >= 0)
        tensor_release(&io->in[1]);
}

static void run_node(struct gt *t, struct node *n, struct tensor *values) {
    struct io io;
    prepare_io(t, n, values, &io);
    must(t, op_eval(n, io.ins, io.outs, &t->err));
    release_inputs(n, &io);
    for (int i = 0; i < n->out_count; i++) {
        if (n->out[i] >= 0)
            values[n->out[i]] = io.out[i];
        else
            tensor_release(&io.out[i]);
    }
}

/* Runs every node; values[] (one per value) is released by release_values(). */
static struct tensor *run_all(struct gt *t, const struct tensor *inputs) {
    struct graph *g = t->g;
    struct tensor *values = mem_zalloc((size_t)g->value_count, sizeof *values);
    assert_non_null(values);
    for (int i = 0; i < g->input_count; i++) {
        values[g->inputs[i]] = inputs[i];
        values[g->inputs[i]].owned = false;
    }
    for (int i = 0; i < g->node_count; i++)
        run_node(t, &g->nodes[i], values);
    return values;
}

static void release_values(const struct graph *g, struct tensor *values) {
    for (int i = 0; i < g->value_count; i++)
        tensor_release(&values[i]);
    mem_free(values);
}

void gt_run(struct gt *t, const struct tensor *inputs, struct tensor *outputs) {
    struct graph *g = t->g;
    struct tensor *values = run_all(t, inputs);
    for (int i = 0; i < g->output_count; i++) {
        const struct value *v = graph_value(g, g->outputs[i]);
        must(t, tensor_copy(&outputs[i], v->is_constant ? &v->constant : &values[g->outputs[i]],
                            &t->err));
    }
    release_values(g, values);
}

static void random_inputs(struct gt *t, struct tensor *inputs) {
    for (int i = 0; i < t->g->input_count; i++) {
        const struct value *v = graph_value(t->g, t->g->inputs[i]);
        must(t, tensor_init(&inputs[i], v->type, &v->shape, &t->err));
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            tensor_set_f64(&inputs[i], k,
                           v->type == DT_F32 ? 4 * uniform(t) - 2 : 100 * uniform(t));
    }
}

static void compare(const struct tensor *a, const struct tensor *b, double tolerance) {
    assert_int_equal(a->type, b->type);
    assert_true(shape_equal(&a->shape, &b->shape));
    double most = 0;
    for (int64_t i = 0; i < shape_count(&a->shape); i++) {
        double v = fabs(tensor_get_f64(a, i));
        most = isfinite(v) && v > most ? v : most;
    }
    for (int64_t i = 0; i < shape_count(&a->shape); i++) {
        double x = tensor_get_f64(a, i), y = tensor_get_f64(b, i);
        if (!(fabs(x - y) <= tolerance * most) && !(isnan(x) && isnan(y)) && x != y)
            fail_msg("element %lld: %.9g before, %.9g after (largest %.3g)", (long long)i, x, y,
                     most);
    }
}

static enum cohort_code finish_all(struct graph *g, struct cohort_error *err) {
    return graph_finish(g, NULL, err);
}

void gt_same_after(struct gt *t, gt_pass_fn pass, double tolerance) {
    struct tensor inputs[IO_MAX] = {{0}}, before[IO_MAX] = {{0}}, after[IO_MAX] = {{0}};
    const char *names[IO_MAX];
    struct graph *g = t->g;
    graph_relink(g);
    random_inputs(t, inputs);
    for (int i = 0; i < g->output_count; i++)
        names[i] = graph_value(g, g->outputs[i])->name;
    gt_run(t, inputs, before);
    if (pass != NULL && pass != finish_all)
        must(t, pass_infer(g, &t->err));
    must(t, (pass == NULL ? finish_all : pass)(g, &t->err));
    gt_check_links(g);
    for (int i = 0; i < g->output_count; i++)
        assert_string_equal(names[i], graph_value(g, g->outputs[i])->name);
    gt_run(t, inputs, after);
    for (int i = 0; i < g->output_count; i++) {
        compare(&before[i], &after[i], tolerance);
        tensor_release(&before[i]);
        tensor_release(&after[i]);
    }
    for (int i = 0; i < g->input_count; i++)
        tensor_release(&inputs[i]);
}

void gt_same_after_finish(struct gt *t, double tolerance) {
    gt_same_after(t, NULL, tolerance);
}

void gt_finish_fails(struct gt *t, const struct pass_options *o, enum cohort_code code,
                     const char *words) {
    assert_int_equal(graph_finish(t->g, o, &t->err), code);
    if (strstr(t->err.message, words) == NULL)
        fail_msg("said \"%s\", not \"%s\"", t->err.message, words);
}

/* ---- forms and rows -------------------------------------------------------------------------- */

static bool is_conversion(const struct node *n) {
    return strcmp(n->op->domain, "cohort") == 0 &&
           (strcmp(n->op->name, "ToMap") == 0 || strcmp(n->op->name, "ToPlain") == 0);
}

void gt_check_forms(const struct graph *g) {
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        const struct value *out = node_out(g, n, 0);
        if (is_conversion(n)) {
            bool to_map = strcmp(n->op->name, "ToMap") == 0;
            assert_int_equal(node_in(g, n, 0)->form, to_map ? FORM_PLAIN : FORM_MAP);
            assert_int_equal(out->form, to_map ? FORM_MAP : FORM_PLAIN);
            continue;
        }
        bool matrix = strcmp(n->op->name, "Gemm") == 0 || strcmp(n->op->name, "MatMul") == 0;
        for (int k = 0; k < n->in_count; k++) {
            const struct value *v = node_in(g, n, k);
            if (v == NULL || v->is_constant)
                continue;
            bool flattened = matrix && k == 0 && out->shape.rank == 2 && v->shape.rank > 2;
            bool map = flattened || out->form == FORM_MAP;
            if (map && !flattened && k != n->epilogue.residual && n->op->map_input != NULL)
                map = n->op->map_input(g, n, k);
            assert_int_equal(v->form, map ? FORM_MAP : FORM_PLAIN);
            if (map) {
                assert_int_equal(v->type, DT_F32);
                assert_true(v->shape.rank == 3 || v->shape.rank == 4);
            }
        }
    }
}

/* The row that element e of a value lies in. */
static int64_t row_of(const struct value *v, int64_t e) {
    const struct shape *s = &v->shape;
    if (v->form == FORM_PLAIN)
        return s->rank == 0 ? 0 : e / s->dim[s->rank - 1];
    int64_t width = s->rank == 4 ? s->dim[3] : 1;
    return e / (s->dim[1] * s->dim[2] * width) * s->dim[2] + e / width % s->dim[2];
}

static bool outside(struct rows r, int64_t row) {
    return row < r.begin || row >= r.end;
}

/* Node n, input k, output rows `out`: what rows_needed() leaves out must not matter. */
static void check_range(struct gt *t, struct node *n, int k, struct rows out, double poison,
                        const struct tensor *values) {
    struct io io;
    struct tensor poisoned;
    const struct value *v = node_in(t->g, n, k);
    struct rows need = rows_needed(n, k, out);
    prepare_io(t, n, values, &io);
    must(t, tensor_copy(&poisoned, &io.in[k], &t->err));
    for (int64_t e = 0; e < shape_count(&v->shape); e++)
        if (outside(need, row_of(v, e)))
            tensor_set_f64(&poisoned, e, v->type == DT_F32 ? poison : 77);
    io.ins[k] = &poisoned;
    must(t, op_eval(n, io.ins, io.outs, &t->err));
    for (int o = 0; o < n->out_count; o++) {
        const struct value *y = node_out(t->g, n, o);
        for (int64_t e = 0; y != NULL && e < shape_count(&y->shape); e++) {
            double a = tensor_get_f64(&io.out[o], e), b = tensor_get_f64(&values[n->out[o]], e);
            if (!outside(out, row_of(y, e)) && a != b && !(isnan(a) && isnan(b)))
                fail_msg("%s, input %d: output rows [%lld,%lld) need more than [%lld,%lld)",
                         n->op->name, k, (long long)out.begin, (long long)out.end,
                         (long long)need.begin, (long long)need.end);
        }
    }
    for (int o = 0; o < n->out_count; o++)
        tensor_release(&io.out[o]);
    release_inputs(n, &io);
    tensor_release(&poisoned);
}

void gt_check_rows(struct gt *t) {
    struct tensor inputs[IO_MAX] = {{0}};
    random_inputs(t, inputs);
    struct tensor *values = run_all(t, inputs);
    for (int i = 0; i < t->g->node_count; i++) {
        struct node *n = &t->g->nodes[i];
        int64_t rows = value_rows(node_out(t->g, n, 0));
        bool alike = true;
        for (int o = 1; o < n->out_count; o++)
            alike =
                alike && node_out(t->g, n, o) != NULL && value_rows(node_out(t->g, n, o)) == rows;
        for (int k = 0; k < n->in_count && alike && rows > 0; k++) {
            if (n->in[k] < 0 || graph_value(t->g, n->in[k])->is_constant)
                continue;
            for (int round = 0; round < 3; round++) {
                int64_t y = gt_pick(t, 0, rows - 1);
                /* A maximum may pass over a NaN; Resize multiplies rows by 0. */
                bool finite = round == 0 || strcmp(n->op->name, "Resize") == 0;
                double poison = finite ? 1e30 : (double)NAN;
                check_range(t, n, k, (struct rows){y, gt_pick(t, y + 1, rows)}, poison, values);
            }
        }
    }
    release_values(t->g, values);
    for (int i = 0; i < t->g->input_count; i++)
        tensor_release(&inputs[i]);
}
