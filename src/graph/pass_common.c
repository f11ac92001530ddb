/* What the passes share; see pass_common.h. */
#include "graph/pass_common.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool node_is(const struct node *n, const char *name) {
    return n->op != NULL && n->op->domain[0] == '\0' && strcmp(n->op->name, name) == 0;
}

struct node *producer_named(const struct graph *g, int id, const char *name) {
    if (id < 0 || graph_value(g, id)->producer < 0)
        return NULL;
    struct node *n = &g->nodes[graph_value(g, id)->producer];
    if (n->op == NULL || n->out_count < 1 || n->out[0] != id)
        return NULL;
    return name == NULL || node_is(n, name) ? n : NULL;
}

int only_user(const struct graph *g, int id) {
    if (graph_value(g, id)->uses != 1 || graph_is_output(g, id))
        return -1;
    int first = graph_value(g, id)->producer + 1;
    for (int i = first; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].in_count; k++)
            if (g->nodes[i].in[k] == id)
                return i;
    return -1; /* a weight_scale */
}

bool value_is_f32(const struct graph *g, int id) {
    return id >= 0 && graph_value(g, id)->type == DT_F32;
}

bool same_known_shape(const struct graph *g, int a, int b) {
    const struct shape *p = &graph_value(g, a)->shape, *q = &graph_value(g, b)->shape;
    return shape_known(p) && shape_equal(p, q);
}

/* ---- constants ------------------------------------------------------------------------------- */

bool const_scalar(const struct graph *g, const struct node *n, int i, double *value) {
    const struct tensor *t = node_const(g, n, i);
    if (t == NULL || t->data == NULL || shape_count(&t->shape) != 1 || dtype_bytes(t->type) == 0)
        return false;
    *value = tensor_get_f64(t, 0);
    return true;
}

int const_operand(const struct graph *g, const struct node *n, double *value) {
    if (n->in_count != 2)
        return -1;
    return const_scalar(g, n, 0, value) ? 0 : const_scalar(g, n, 1, value) ? 1 : -1;
}

bool const_ints(const struct graph *g, const struct node *n, const char *name, int i,
                int64_t values[INTS_MAX], int *count) {
    int listed = 0;
    const int64_t *list = node_attr_ints(n, name, &listed);
    if (list != NULL && listed <= INTS_MAX) {
        memcpy(values, list, (size_t)listed * sizeof *list);
        *count = listed;
        return true;
    }
    const struct tensor *t = i >= 0 ? node_const(g, n, i) : NULL;
    if (t == NULL || t->data == NULL || !dtype_is_integer(t->type) || t->shape.rank > 1)
        return false;
    int64_t elements = shape_count(&t->shape);
    if (elements < 0 || elements > INTS_MAX)
        return false;
    for (int64_t k = 0; k < elements; k++)
        values[k] = tensor_get_i64(t, k);
    *count = (int)elements;
    return true;
}

bool about(double a, double b) {
    return fabs(a - b) <= 2e-6 * fabs(b);
}

char *fresh_name(const struct graph *g, const char *base, const char *suffix) {
    char *name = mem_printf("%s%s", base, suffix);
    for (int i = 2; name != NULL && graph_find_value(g, name) >= 0; i++) {
        mem_free(name);
        name = mem_printf("%s%s.%d", base, suffix, i);
    }
    return name;
}

/* Takes over t. */
static enum cohort_code new_constant(struct graph *g, const char *base, const char *suffix,
                                     struct tensor *t, int *id, struct cohort_error *err) {
    char *name = fresh_name(g, base, suffix);
    enum cohort_code code = name == NULL ? error_memory(err, strlen(base), "a name")
                                         : graph_add_constant(g, name, t, id, err);
    mem_free(name);
    if (code != COHORT_OK)
        tensor_release(t);
    return code;
}

enum cohort_code new_constant_f32(struct graph *g, const char *base, const char *suffix,
                                  const struct shape *shape, int *id, struct cohort_error *err) {
    struct tensor t;
    enum cohort_code code = tensor_init(&t, DT_F32, shape, err);
    return code == COHORT_OK ? new_constant(g, base, suffix, &t, id, err) : code;
}

enum cohort_code new_constant_i64(struct graph *g, const char *base, const char *suffix,
                                  const int64_t *values, int count, int *id,
                                  struct cohort_error *err) {
    struct tensor t;
    struct shape shape = {.rank = 1, .dim = {count}};
    enum cohort_code code = tensor_init(&t, DT_I64, &shape, err);
    if (code != COHORT_OK)
        return code;
    for (int i = 0; i < count; i++)
        tensor_i64(&t)[i] = values[i];
    return new_constant(g, base, suffix, &t, id, err);
}

/* ---- rewriting ------------------------------------------------------------------------------- */

enum cohort_code node_become(struct graph *g, struct node *n, const char *domain, const char *name,
                             int opset, const int *in, int in_count, bool *done,
                             struct cohort_error *err) {
    const struct op_desc *op = op_find(domain, name, opset);
    *done = false;
    if (op == NULL)
        return COHORT_OK;
    int *copy = mem_alloc((size_t)in_count * sizeof *copy);
    if (copy == NULL)
        return error_memory(err, (size_t)in_count * sizeof *copy, "a node");
    memcpy(copy, in, (size_t)in_count * sizeof *copy);
    mem_free(n->in);
    for (int i = 0; i < n->attr_count; i++)
        attr_release(&n->attrs[i]);
    mem_free(n->attrs);
    n->attrs = NULL;
    n->attr_count = 0;
    n->in = copy;
    n->in_count = in_count;
    n->op = op;
    n->opset = opset;
    n->window = (struct window){.kernel = {0}};
    n->group = 1;
    *done = true;
    graph_relink(g);
    return COHORT_OK;
}

/* An attribute to be filled in: made by way of an integer one, whatever kind it had. */
static enum cohort_code attr_fresh(struct node *n, const char *name, struct attr **a,
                                   struct cohort_error *err) {
    enum cohort_code code = node_set_int(n, name, 0, err);
    for (int i = 0; code == COHORT_OK && i < n->attr_count; i++)
        if (strcmp(n->attrs[i].name, name) == 0)
            *a = &n->attrs[i];
    return code;
}

enum cohort_code node_set_float(struct node *n, const char *name, float f,
                                struct cohort_error *err) {
    struct attr *a = NULL;
    enum cohort_code code = attr_fresh(n, name, &a, err);
    if (code == COHORT_OK) {
        a->kind = ATTR_FLOAT;
        a->f = f;
    }
    return code;
}

enum cohort_code node_set_string(struct node *n, const char *name, const char *s,
                                 struct cohort_error *err) {
    struct attr *a = NULL;
    char *copy = mem_strdup(s);
    if (copy == NULL)
        return error_memory(err, strlen(s), "an attribute");
    enum cohort_code code = attr_fresh(n, name, &a, err);
    if (code != COHORT_OK) {
        mem_free(copy);
        return code;
    }
    a->kind = ATTR_STRING;
    a->s = copy;
    return code;
}

enum cohort_code node_set_in_count(struct node *n, int count, struct cohort_error *err) {
    if (count > n->in_count) {
        int *bigger = mem_realloc(n->in, (size_t)count * sizeof *bigger);
        if (bigger == NULL)
            return error_memory(err, (size_t)count * sizeof *bigger, "a node");
        for (int i = n->in_count; i < count; i++)
            bigger[i] = -1;
        n->in = bigger;
    }
    n->in_count = count;
    return COHORT_OK;
}

static bool is_graph_input(const struct graph *g, int id) {
    for (int i = 0; i < g->input_count; i++)
        if (g->inputs[i] == id)
            return true;
    return false;
}

/* Only the readers among nodes: a graph output keeps its value. */
static void replace_readers(struct graph *g, int from, int to) {
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].in_count; k++)
            if (g->nodes[i].in[k] == from)
                g->nodes[i].in[k] = to;
}

bool forward_value(struct graph *g, int from, int to) {
    if (!graph_is_output(g, from)) {
        replace_readers(g, from, to);
        graph_relink(g);
        return true;
    }
    struct value *v = graph_value(g, to);
    if (v->producer < 0 || v->is_constant || is_graph_input(g, to) || graph_is_output(g, to))
        return false;
    struct node *maker = &g->nodes[v->producer], *old = &g->nodes[graph_value(g, from)->producer];
    for (int k = 0; k < old->out_count; k++)
        if (old->out[k] == from)
            old->out[k] = -1;
    replace_readers(g, to, from);
    for (int k = 0; k < maker->out_count; k++)
        if (maker->out[k] == to)
            maker->out[k] = from;
    graph_value(g, from)->type = v->type;
    graph_value(g, from)->shape = v->shape;
    graph_relink(g);
    return true;
}

struct node node_without_residual(const struct node *n) {
    struct node bare = *n;
    if (n->epilogue.residual >= 0)
        bare.in_count = n->epilogue.residual;
    return bare;
}

bool node_map_ok(const struct graph *g, const struct node *n) {
    if (n->op->map_ok == NULL)
        return false;
    struct node bare = node_without_residual(n);
    return n->op->map_ok(g, &bare);
}
