/* The operator table: looking operators up, inferring and evaluating through it. */
#include "graph/op.h"

#include "base/options.h"

#include <math.h>
#include <string.h>

#define OP(symbol) extern const struct op_desc op_##symbol;
#include "graph/ops.def"
#undef OP

static const struct op_desc *const table[] = {
#define OP(symbol) &op_##symbol,
#include "graph/ops.def"
#undef OP
    NULL, /* so that an empty table is still an array */
};
#define TABLE_COUNT ((int)(sizeof table / sizeof table[0]) - 1)

const struct op_desc *const *op_table(int *count) {
    *count = TABLE_COUNT;
    return table;
}

const struct op_desc *op_find(const char *domain, const char *name, int opset) {
    if (strcmp(domain, "ai.onnx") == 0)
        domain = "";
    for (int i = 0; i < TABLE_COUNT; i++) {
        const struct op_desc *op = table[i];
        if (strcmp(op->name, name) == 0 && strcmp(op->domain, domain) == 0 && opset >= op->since &&
            opset <= op->until)
            return op;
    }
    return NULL;
}

const char *op_closest(const char *name) {
    const char *names[sizeof table / sizeof table[0]] = {NULL};
    size_t count = 0;
    for (int i = 0; i < TABLE_COUNT; i++)
        if (!(table[i]->flags & OP_INTERNAL))
            names[count++] = table[i]->name;
    return closest_name(name, names, count);
}

static enum cohort_code check_ports(const struct node *n, const struct tensor *const in[],
                                    struct cohort_error *err) {
    const struct op_desc *op = n->op;
    if (n->in_count < op->min_inputs || n->in_count > op->max_inputs + (n->epilogue.residual >= 0))
        return error_set(err, COHORT_ERR_SHAPE, "%d inputs, but %s takes %d to %d", n->in_count,
                         op->name, op->min_inputs, op->max_inputs);
    if (n->out_count > op->max_outputs)
        return error_set(err, COHORT_ERR_SHAPE, "%d outputs, but %s gives at most %d", n->out_count,
                         op->name, op->max_outputs);
    for (int i = 0; i < op->min_inputs; i++)
        if (in[i] == NULL)
            return error_set(err, COHORT_ERR_SHAPE, "input %d, which %s needs, is left out", i,
                             op->name);
    return COHORT_OK;
}

enum cohort_code op_infer(struct node *n, const struct tensor *const in[], struct tensor out[],
                          struct cohort_error *err) {
    const struct op_desc *op = n->op;
    enum cohort_code code = check_ports(n, in, err);
    if (code != COHORT_OK)
        return code;
    for (int i = 0; i < n->out_count; i++)
        out[i] = (struct tensor){.shape = {.rank = -1}};
    code = op->infer(n, in, out, err);
    if (code != COHORT_OK)
        return code;
    for (int i = 0; i < n->out_count; i++) {
        if (out[i].type == DT_NONE || out[i].shape.rank > RANK_MAX)
            BUG(op->name);
        if (shape_known(&out[i].shape) && shape_count(&out[i].shape) < 0)
            return error_set(err, COHORT_ERR_SHAPE, "output %d is too large", i);
    }
    return COHORT_OK;
}

double act_reference(const struct epilogue *e, double x) {
    double a = (double)e->a, b = (double)e->b;
    switch (e->act) {
    case ACT_NONE:
        return x;
    case ACT_RELU:
        return x < 0 ? 0 : x;
    case ACT_LEAKY_RELU:
        return x < 0 ? a * x : x;
    case ACT_CLIP:
        x = x < a ? a : x;
        return x > b ? b : x;
    case ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case ACT_TANH:
        return tanh(x);
    case ACT_HARD_SIGMOID:
        x = a * x + b;
        return x < 0 ? 0 : x > 1 ? 1 : x;
    case ACT_HARD_SWISH: {
        double gate = x / 6 + 0.5;
        return x * (gate < 0 ? 0 : gate > 1 ? 1 : gate);
    }
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_COUNT:
        break;
    }
    BUG("an unknown activation");
}

enum cohort_code op_eval(const struct node *n, const struct tensor *const in[],
                         struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = n->op->eval(n, in, out, err);
    const struct epilogue *e = &n->epilogue;
    if (code != COHORT_OK || (e->act == ACT_NONE && e->residual < 0))
        return code;
    float *y = tensor_f32(out[0]);
    const float *r = e->residual >= 0 ? tensor_f32(in[e->residual]) : NULL;
    int64_t count = shape_count(&out[0]->shape);
    for (int64_t i = 0; i < count; i++) {
        double x = (double)y[i];
        if (r != NULL && !e->residual_last)
            x += (double)r[i];
        x = act_reference(e, x);
        if (r != NULL && e->residual_last)
            x += (double)r[i];
        y[i] = (float)x;
    }
    return COHORT_OK;
}

bool op_makes(const struct node *n) {
    return n->op->make != NULL && n->epilogue.act == ACT_NONE && n->epilogue.residual < 0;
}

enum cohort_code op_make(const struct node *n, const struct tensor *const in[], struct tensor out[],
                         struct cohort_error *err) {
    const enum cohort_code code = check_ports(n, in, err);
    return code != COHORT_OK ? code : n->op->make(n, in, out, err);
}

/* Beyond so many inputs and outputs operators only move elements. */
#define PORTS 16
#define CALL  20000

double op_work(const struct node *n, const struct tensor *const in[], const struct tensor out[]) {
    struct value values[PORTS] = {{0}};
    int ids[PORTS], count = 0;
    double work = CALL;
    for (int i = 0; i < n->in_count + n->out_count; i++) {
        const struct tensor *t = i < n->in_count ? in[i] : &out[i - n->in_count];
        const int64_t elements = t != NULL ? shape_count(&t->shape) : 0;
        work += elements > 0 ? (double)elements : 0;
        if (i >= PORTS)
            continue;
        ids[i] = t != NULL ? count : -1;
        if (t != NULL) /* as a graph has it, for flops() */
            values[count++] = (struct value){
                .type = t->type, .shape = t->shape, .is_constant = t->data != NULL, .constant = *t};
    }
    if (n->op->flops == NULL || n->in_count + n->out_count > PORTS)
        return work;
    struct graph g = {.opset = n->opset, .values = values, .value_count = count};
    struct node alone = *n;
    alone.in = ids;
    alone.out = ids + n->in_count;
    return fmax(work, n->op->flops(&g, &alone));
}

bool op_spend(const struct node *n, double work) {
    if (n->allowance == NULL)
        return true;
    *n->allowance -= work;
    return *n->allowance >= 0;
}

double node_flops(const struct graph *g, const struct node *n) {
    if (n->op->flops != NULL)
        return n->op->flops(g, n);
    if (n->op->flags & (OP_UNARY | OP_BINARY)) {
        const struct value *v = node_out(g, n, 0);
        int64_t count = v != NULL ? shape_count(&v->shape) : 0;
        return count > 0 ? (double)count : 0;
    }
    return 0;
}
