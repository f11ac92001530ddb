#include "tests/support/graphtest.h"

#include "base/mem.h"

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

/* ---- building -----------------------------------------------------------------------------------
 */

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
    if (copy[0] == '[' || memchr(copy, ',', length) != NULL) {
        a->kind = ATTR_INTS;
        a->ints = mem_zalloc(length, sizeof *a->ints);
        assert_non_null(a->ints);
        for (char *at = copy + (copy[0] == '['); *at != '\0' && *at != ']';) {
            a->ints[a->count++] = strtoll(at, &at, 10);
            at += *at == ',';
        }
    } else if (isdigit((unsigned char)copy[0]) || copy[0] == '-') {
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

/* ---- looking ------------------------------------------------------------------------------------
 */

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

/* ---- running ------------------------------------------------------------------------------------
 */

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

static void run_node(struct gt *t, struct node *n, struct tensor *values) {
    struct tensor in[IO_MAX], out[IO_MAX];
    const struct tensor *ins[IO_MAX];
    struct tensor *outs[IO_MAX];
    assert_true(n->in_count <= IO_MAX && n->out_count <= IO_MAX);
    for (int i = 0; i < n->in_count; i++) {
        ins[i] = n->in[i] < 0 ? NULL : &in[i];
        if (n->in[i] < 0)
            continue;
        const struct value *v = graph_value(t->g, n->in[i]);
        in[i] = v->is_constant ? v->constant : values[n->in[i]];
        assert_non_null(in[i].data);
        in[i].owned = false;
    }
    if (n->weight_scale >= 0)
        apply_weight_scale(t, n, &in[1]);
    bool matrix = strcmp(n->op->name, "Gemm") == 0 || strcmp(n->op->name, "MatMul") == 0;
    const struct shape *declared = &graph_value(t->g, n->out[0])->shape;
    if (matrix && in[0].shape.rank > 2 && declared->rank == 2) /* its Flatten was absorbed */
        in[0].shape = (struct shape){
            .rank = 2,
            .dim = {in[0].shape.dim[0], shape_product(&in[0].shape, 1, in[0].shape.rank)}};
    struct node bare = *n;
    if (n->epilogue.residual >= 0)
        bare.in_count = n->epilogue.residual;
    must(t, op_infer(&bare, ins, out, &t->err));
    n->window = bare.window; /* which eval() reads */
    n->group = bare.group;
    for (int i = 0; i < n->out_count; i++) {
        if (n->out[i] >= 0 && shape_known(&graph_value(t->g, n->out[i])->shape)) {
            assert_true(shape_equal(&out[i].shape, &graph_value(t->g, n->out[i])->shape));
            assert_int_equal(out[i].type, graph_value(t->g, n->out[i])->type);
        }
        must(t, tensor_init(&out[i], out[i].type, &out[i].shape, &t->err));
        outs[i] = &out[i];
    }
    must(t, op_eval(n, ins, outs, &t->err));
    if (n->weight_scale >= 0)
        tensor_release(&in[1]);
    for (int i = 0; i < n->out_count; i++) {
        if (n->out[i] >= 0)
            values[n->out[i]] = out[i];
        else
            tensor_release(&out[i]);
    }
}

void gt_run(struct gt *t, const struct tensor *inputs, struct tensor *outputs) {
    struct graph *g = t->g;
    struct tensor *values = mem_zalloc((size_t)g->value_count, sizeof *values);
    assert_non_null(values);
    for (int i = 0; i < g->input_count; i++) {
        values[g->inputs[i]] = inputs[i];
        values[g->inputs[i]].owned = false;
    }
    for (int i = 0; i < g->node_count; i++)
        run_node(t, &g->nodes[i], values);
    for (int i = 0; i < g->output_count; i++) {
        const struct value *v = graph_value(g, g->outputs[i]);
        must(t, tensor_copy(&outputs[i], v->is_constant ? &v->constant : &values[g->outputs[i]],
                            &t->err));
    }
    for (int i = 0; i < g->value_count; i++)
        tensor_release(&values[i]);
    mem_free(values);
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
    for (int i = 0; i < g->input_count; i++) {
        const struct value *v = graph_value(g, g->inputs[i]);
        must(t, tensor_init(&inputs[i], v->type, &v->shape, &t->err));
        for (int64_t k = 0; k < shape_count(&v->shape); k++)
            tensor_set_f64(&inputs[i], k,
                           v->type == DT_F32 ? 4 * uniform(t) - 2 : 100 * uniform(t));
    }
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
