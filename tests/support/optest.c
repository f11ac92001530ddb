#include "optest.h"

#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

void optest_begin(struct optest *t, const char *op, int opset) {
    uint64_t seed = t->seed;
    *t = (struct optest){.seed = seed == 0 ? 0x9e3779b97f4a7c15u : seed};
    t->node.op = op_find("", op, opset);
    if (t->node.op == NULL)
        fail_msg("no operator %s at opset %d", op, opset);
    t->node.name = (char *)(uintptr_t)op;
    t->node.opset = opset;
    t->node.attrs = t->attrs;
    t->node.in = t->in_ids;
    t->node.out = t->out_ids;
    t->node.group = 1;
    t->node.weight_scale = -1;
    t->node.epilogue.residual = -1;
}

void optest_end(struct optest *t) {
    uint64_t seed = t->seed;
    for (int i = 0; i < OPTEST_MAX; i++) {
        tensor_release(&t->in[i]);
        tensor_release(&t->out[i]);
        tensor_release(&t->attrs[i].tensor);
    }
    *t = (struct optest){.seed = seed};
}

static struct attr *new_attr(struct optest *t, const char *name, enum attr_kind kind) {
    assert_true(t->node.attr_count < OPTEST_MAX);
    struct attr *a = &t->attrs[t->node.attr_count++];
    *a = (struct attr){.name = (char *)(uintptr_t)name, .kind = kind};
    return a;
}

void optest_int(struct optest *t, const char *name, int64_t i) {
    new_attr(t, name, ATTR_INT)->i = i;
}

void optest_float(struct optest *t, const char *name, float f) {
    new_attr(t, name, ATTR_FLOAT)->f = f;
}

void optest_string(struct optest *t, const char *name, const char *s) {
    new_attr(t, name, ATTR_STRING)->s = (char *)(uintptr_t)s;
}

void optest_ints(struct optest *t, const char *name, const int64_t *ints, int count) {
    struct attr *a = new_attr(t, name, ATTR_INTS);
    a->ints = (int64_t *)(uintptr_t)ints;
    a->count = (size_t)count;
}

void optest_strings(struct optest *t, const char *name, const char *const *strings, int count) {
    struct attr *a = new_attr(t, name, ATTR_STRINGS);
    a->strings = (char **)(uintptr_t)strings;
    a->count = (size_t)count;
}

static void fill(struct tensor *t, enum dtype type, const struct shape *shape,
                 const double *values) {
    assert_int_equal(tensor_init(t, type, shape, NULL), COHORT_OK);
    for (int64_t i = 0; values != NULL && i < shape_count(shape); i++)
        tensor_set_f64(t, i, values[i]);
}

void optest_attr_tensor(struct optest *t, const char *name, enum dtype type, struct shape shape,
                        const double *values) {
    fill(&new_attr(t, name, ATTR_TENSOR)->tensor, type, &shape, values);
}

double optest_random(struct optest *t) {
    t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(t->seed >> 40) / (double)(1 << 22) - 2;
}

void optest_input(struct optest *t, enum dtype type, struct shape shape, const double *values) {
    assert_true(t->node.in_count < OPTEST_MAX);
    struct tensor *in = &t->in[t->node.in_count++];
    if (type == DT_STRING) { /* recognised, but without data */
        *in = (struct tensor){.type = type, .shape = shape};
        return;
    }
    fill(in, type, &shape, values);
    for (int64_t i = 0; values == NULL && i < shape_count(&shape); i++) {
        double v = optest_random(t);
        tensor_set_f64(in, i, dtype_is_float(type) ? v : type == DT_BOOL ? v > 0 : floor(v * 5));
    }
}

void optest_list(struct optest *t, const int64_t *ints, int count) {
    double values[64];
    assert_true(count <= 64);
    for (int i = 0; i < count; i++)
        values[i] = (double)ints[i];
    optest_input(t, DT_I64, shape_of(1, (int64_t[]){count}), values);
}

void optest_leave_out(struct optest *t) {
    t->left_out[t->node.in_count++] = true;
}

enum cohort_code optest_infer(struct optest *t, int outputs) {
    const struct tensor *in[OPTEST_MAX] = {NULL};
    struct tensor seen[OPTEST_MAX];
    for (int i = 0; i < t->node.in_count; i++) {
        seen[i] = t->in[i];
        if (t->unknown[i])
            seen[i].data = NULL;
        in[i] = t->left_out[i] ? NULL : &seen[i];
        t->in_ids[i] = t->left_out[i] ? -1 : i;
    }
    for (int i = 0; i < outputs; i++)
        t->out_ids[i] = OPTEST_MAX + i;
    t->node.out_count = outputs;
    return op_infer(&t->node, in, t->out, &t->err);
}

void optest_fails(struct optest *t, enum cohort_code code, const char *words) {
    enum cohort_code got = optest_infer(t, 1);
    if (got != code || strstr(t->err.message, words) == NULL)
        fail_msg("%s: code %d, \"%s\"; expected %d, \"%s\"", t->node.op->name, got, t->err.message,
                 code, words);
}

static enum cohort_code evaluate(struct optest *t, int outputs) {
    const struct tensor *in[OPTEST_MAX] = {NULL};
    struct tensor *out[OPTEST_MAX] = {NULL};
    if (optest_infer(t, outputs) != COHORT_OK)
        fail_msg("%s: infer: %s", t->node.op->name, t->err.message);
    for (int i = 0; i < t->node.in_count; i++)
        in[i] = t->left_out[i] ? NULL : &t->in[i];
    for (int i = 0; i < outputs; i++) {
        struct shape shape = t->out[i].shape;
        if (!shape_known(&shape))
            fail_msg("%s: the shape of output %d is not known", t->node.op->name, i);
        assert_int_equal(tensor_init(&t->out[i], t->out[i].type, &shape, &t->err), COHORT_OK);
        /* what eval() leaves alone shows */
        memset(t->out[i].data, 0x5a, tensor_bytes(&t->out[i]));
        out[i] = &t->out[i];
    }
    return op_eval(&t->node, in, out, &t->err);
}

void optest_run(struct optest *t, int outputs) {
    if (evaluate(t, outputs) != COHORT_OK)
        fail_msg("%s: eval: %s", t->node.op->name, t->err.message);
}

void optest_eval_fails(struct optest *t, enum cohort_code code, const char *words) {
    enum cohort_code got = evaluate(t, 1);
    if (got != code || strstr(t->err.message, words) == NULL)
        fail_msg("%s: code %d, \"%s\"; expected %d, \"%s\"", t->node.op->name, got, t->err.message,
                 code, words);
}

void optest_expect_shape(struct optest *t, int i, enum dtype type, struct shape shape) {
    char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
    if (t->out[i].type != type || !shape_equal(&t->out[i].shape, &shape))
        fail_msg("%s: output %d is %s %s; expected %s %s", t->node.op->name, i,
                 dtype_name(t->out[i].type), shape_text(&t->out[i].shape, a, sizeof a),
                 dtype_name(type), shape_text(&shape, b, sizeof b));
}

void optest_expect(struct optest *t, int i, enum dtype type, struct shape shape,
                   const double *values, double tolerance) {
    optest_expect_shape(t, i, type, shape);
    for (int64_t k = 0; k < shape_count(&shape); k++) {
        double a = tensor_get_f64(&t->out[i], k), b = values[k];
        double scale = fabs(b) > 1 ? fabs(b) : 1;
        bool equal = isnan(b) ? isnan(a) : isinf(b) ? a == b : fabs(a - b) <= tolerance * scale;
        if (!equal)
            fail_msg("%s: output %d, element %lld is %.9g; expected %.9g", t->node.op->name, i,
                     (long long)k, a, b);
    }
}
