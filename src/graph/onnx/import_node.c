/* Reading the nodes: first all their outputs, then their inputs, then in topological order the
 * nodes themselves with their attributes.
 *
 * Files may hold nodes in any order.  The sort goes depth-first from the first node on, so a file
 * that is in order already keeps its order. */
#include "base/mem.h"
#include "graph/onnx/import.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

#define ATTRIBUTES_MAX 256 /* of one node; the specification's largest operators have about 10 */

/* Puts "node 'x' (Conv): " before the message; a node without a name goes by name_node()'s. */
static enum cohort_code wrap_node(const struct pending_node *n, struct cohort_error *err) {
    char name[WIRE_SHOW_BYTES], type[WIRE_SHOW_BYTES];
    wire_show(n->op_type, type);
    if (n->name.bytes > 0)
        return error_wrap(err, "node '%s' (%s)", wire_show(n->name, name), type);
    return error_wrap(err, "node '%s#%zu'", type, n->index);
}

static bool is_constant(const struct pending_node *n) {
    return n->domain.bytes == 0 && wire_text_is(n->op_type, "Constant");
}

/* ---- Constant nodes -------------------------------------------------------------------------- */

/* The value of a Constant's attribute as a tensor, moved out of it. */
static enum cohort_code attr_as_tensor(struct attr *a, struct tensor *t, struct cohort_error *err) {
    static const struct {
        const char *name;
        enum attr_kind kind;
        enum dtype type;
        int rank;
    } forms[] = {{"value", ATTR_TENSOR, DT_NONE, 0},
                 {"value_float", ATTR_FLOAT, DT_F32, 0},
                 {"value_int", ATTR_INT, DT_I64, 0},
                 {"value_floats", ATTR_FLOATS, DT_F32, 1},
                 {"value_ints", ATTR_INTS, DT_I64, 1}};
    size_t i = 0, count = sizeof forms / sizeof forms[0];
    while (i < count && (strcmp(a->name, forms[i].name) != 0 || a->kind != forms[i].kind))
        i++;
    if (i == count)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "a constant given by this attribute is not supported: '%.100s'", a->name);
    if (a->kind == ATTR_TENSOR) {
        *t = a->tensor;
        a->tensor = (struct tensor){0};
        return COHORT_OK;
    }
    struct shape shape = {.rank = forms[i].rank, .dim = {(int64_t)a->count}};
    enum cohort_code code = tensor_init(t, forms[i].type, &shape, err);
    if (code != COHORT_OK)
        return code;
    if (a->kind == ATTR_FLOAT)
        tensor_f32(t)[0] = a->f;
    else if (a->kind == ATTR_INT)
        tensor_i64(t)[0] = a->i;
    else if (a->count > 0)
        memcpy(t->data, a->kind == ATTR_INTS ? (const void *)a->ints : (const void *)a->floats,
               tensor_bytes(t));
    return COHORT_OK;
}

static enum cohort_code read_constant(struct import *im, const struct pending_node *n,
                                      struct wire_text output, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire w = n->message, message;
    struct wire_field f;
    struct attr a = {0};
    struct tensor t = {0};
    bool found = false, present;
    for (;;) {
        TRY(wire_next(&w, &f, err));
        if (f.number == 0)
            break;
        if (f.number != NODE_ATTRIBUTE)
            continue;
        TRY(wire_nested(&w, &f, "AttributeProto", &message, err));
        TRY(import_attribute(im, message, &a, &present, err));
        if (present && found) {
            code = error_set(err, COHORT_ERR_FORMAT, "a constant with two values");
            goto out;
        }
        if (present)
            TRY(attr_as_tensor(&a, &t, err));
        found |= present;
        attr_release(&a);
    }
    if (!found) {
        code = error_set(err, COHORT_ERR_FORMAT, "a constant without a value");
        goto out;
    }
    TRY(import_constant(im, output, "output", &t, err));
out:
    attr_release(&a);
    tensor_release(&t);
    return code;
}

/* ---- the operator ---------------------------------------------------------------------------- */

static int opset_of(const struct import *im, struct wire_text domain) {
    if (domain.bytes == 0)
        return im->g->opset;
    int opset = 1; /* nothing imported: what the domain began with */
    for (size_t i = 0; i < im->opset_count; i++)
        if (im->opsets[i].domain.bytes == domain.bytes &&
            memcmp(im->opsets[i].domain.at, domain.at, domain.bytes) == 0)
            opset = im->opsets[i].version;
    return opset;
}

static enum cohort_code unknown_operator(const char *domain, const char *type, int opset,
                                         struct cohort_error *err) {
    int count;
    const struct op_desc *const *table = op_table(&count);
    char ranges[120] = "";
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        const struct op_desc *op = table[i];
        if (strcmp(op->name, type) != 0 || strcmp(op->domain, domain) != 0 ||
            op->flags & OP_INTERNAL || used >= sizeof ranges)
            continue;
        int n = op->until == OPSET_LAST
                    ? snprintf(ranges + used, sizeof ranges - used, "%s%d and up",
                               used > 0 ? ", " : "", op->since)
                    : snprintf(ranges + used, sizeof ranges - used, "%s%d to %d",
                               used > 0 ? ", " : "", op->since, op->until);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used > 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "operator %.100s is supported for opset %s, but the model has opset %d",
                         type, ranges, opset);
    const char *closest = op_closest(type);
    return error_set(err, COHORT_ERR_UNSUPPORTED,
                     "operator %.100s%s%.100s (opset %d) is not supported%s%s; `cohort kernels "
                     "--operators` lists those that are",
                     domain, domain[0] != '\0' ? "." : "", type, opset,
                     closest != NULL ? "; closest: " : "", closest != NULL ? closest : "");
}

static enum cohort_code find_operator(struct import *im, struct pending_node *n,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *domain = import_copy(n->domain, err), *type = NULL;
    if (domain != NULL)
        type = import_copy(n->op_type, err);
    if (type == NULL) {
        code = COHORT_ERR_MEMORY;
        goto out;
    }
    n->opset = opset_of(im, n->domain);
    n->op = op_find(domain, type, n->opset);
    if (n->op == NULL || n->op->flags & OP_INTERNAL) {
        char shown_domain[WIRE_SHOW_BYTES], shown_type[WIRE_SHOW_BYTES];
        code = unknown_operator(wire_show(n->domain, shown_domain),
                                wire_show(n->op_type, shown_type), n->opset, err);
    }
out:
    mem_free(type);
    mem_free(domain);
    return code;
}

/* ---- inputs and outputs ---------------------------------------------------------------------- */

enum cohort_code import_pool_add(struct import *im, int id, struct cohort_error *err) {
    if (!MEM_GROW(im->pool, im->pool_capacity, im->pool_count))
        return error_memory(err, im->pool_count * sizeof id, "the nodes' inputs");
    im->pool[im->pool_count++] = id;
    return COHORT_OK;
}

/* Value numbers from there on; NULL while there are none at all. */
static const int *pool_at(const struct import *im, size_t first) {
    return im->pool != NULL ? im->pool + first : NULL;
}

/* Calls for each input or output name of a node, in order. */
typedef enum cohort_code (*name_fn)(struct import *im, struct pending_node *n,
                                    struct wire_text name, int i, struct cohort_error *err);

static enum cohort_code each_name(struct import *im, struct pending_node *n, uint32_t number,
                                  int *count, name_fn visit, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire w = n->message;
    struct wire_field f;
    struct wire_text name;
    int i = 0;
    *count = 0;
    for (;;) {
        TRY(wire_next(&w, &f, err));
        if (f.number == 0)
            break;
        if (f.number != number)
            continue;
        TRY(wire_text(&w, &f, &name, err));
        if (i == NODE_IN_MAX) {
            code = error_set(err, COHORT_ERR_UNSUPPORTED, "more than %d inputs or outputs",
                             NODE_IN_MAX);
            goto out;
        }
        TRY(visit(im, n, name, i, err));
        i++;
        if (name.bytes > 0)
            *count = i;
    }
out:
    return code;
}

static enum cohort_code take_input(struct import *im, struct pending_node *n, struct wire_text name,
                                   int i, struct cohort_error *err) {
    (void)n;
    int id = -1;
    char show[WIRE_SHOW_BYTES];
    enum cohort_code code = name.bytes > 0 ? import_find(im, name, &id, err) : COHORT_OK;
    if (code != COHORT_OK)
        return code;
    if (name.bytes > 0 && id < 0)
        return error_set(
            err, COHORT_ERR_FORMAT,
            "its input %d, '%s', is produced by nothing: no node's output, initializer "
            "or input has that name",
            i, wire_show(name, show));
    return import_pool_add(im, id, err);
}

static enum cohort_code take_output(struct import *im, struct pending_node *n,
                                    struct wire_text name, int i, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int id = -1;
    if (is_constant(n)) {
        if (i > 0)
            return error_set(err, COHORT_ERR_FORMAT, "a constant with several outputs");
        return read_constant(im, n, name, err);
    }
    if (name.bytes > 0)
        TRY(import_value(im, name, "output", &id, err));
    TRY(import_pool_add(im, id, err));
out:
    return code;
}

static enum cohort_code check_counts(const struct import *im, const struct pending_node *n,
                                     struct cohort_error *err) {
    const struct op_desc *op = n->op;
    const int *in = pool_at(im, n->first_in);
    if (n->in_count < op->min_inputs || n->in_count > op->max_inputs) {
        if (op->max_inputs >= NODE_IN_MAX)
            return error_set(err, COHORT_ERR_FORMAT, "%d inputs, but %s takes %d or more",
                             n->in_count, op->name, op->min_inputs);
        return error_set(err, COHORT_ERR_FORMAT, "%d inputs, but %s takes %d to %d", n->in_count,
                         op->name, op->min_inputs, op->max_inputs);
    }
    if (n->out_count < 1 || n->out_count > op->max_outputs)
        return error_set(err, COHORT_ERR_FORMAT, "%d outputs, but %s gives 1 to %d", n->out_count,
                         op->name, op->max_outputs);
    for (int i = 0; i < n->in_count; i++)
        if (in[i] < 0 && (i < op->min_inputs || op->max_inputs >= NODE_IN_MAX))
            return error_set(err, COHORT_ERR_FORMAT, "its input %d, which %s needs, is left out", i,
                             op->name);
    return COHORT_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

static enum cohort_code parse_node(struct wire message, struct pending_node *n,
                                   struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number == NODE_NAME)
            TRY(wire_text(&message, &f, &n->name, err));
        else if (f.number == NODE_OP_TYPE)
            TRY(wire_text(&message, &f, &n->op_type, err));
        else if (f.number == NODE_DOMAIN)
            TRY(wire_text(&message, &f, &n->domain, err));
    }
    if (wire_text_is(n->domain, "ai.onnx"))
        n->domain.bytes = 0;
    if (n->op_type.bytes == 0)
        code = error_set(err, COHORT_ERR_FORMAT, "a node without an operator");
out:
    return code;
}

/* Pass 1: which operator, and which values it makes. */
static enum cohort_code read_node(struct import *im, struct wire message,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct pending_node n = {.message = message,
                             .name = {.at = ""},
                             .op_type = {.at = ""},
                             .domain = {.at = ""},
                             .index = im->node_index++};
    TRY(parse_node(message, &n, err));
    if (!is_constant(&n))
        TRY(find_operator(im, &n, err));
    n.first_out = im->pool_count;
    TRY(each_name(im, &n, NODE_OUTPUT, &n.out_count, take_output, err));
    if (is_constant(&n)) {
        if (n.out_count == 0)
            code = error_set(err, COHORT_ERR_FORMAT, "a constant without an output");
        goto out;
    }
    if (!MEM_GROW(im->nodes, im->node_capacity, im->node_count)) {
        code = error_memory(err, sizeof n, "the nodes");
        goto out;
    }
    im->nodes[im->node_count++] = n;
out:
    if (code != COHORT_OK)
        wrap_node(&n, err);
    return code;
}

/* Pass 2: what every node consumes; now all names are known. */
static enum cohort_code read_inputs(struct import *im, struct cohort_error *err) {
    for (size_t k = 0; k < im->node_count; k++) {
        struct pending_node *n = &im->nodes[k];
        n->first_in = im->pool_count;
        enum cohort_code code = each_name(im, n, NODE_INPUT, &n->in_count, take_input, err);
        if (code == COHORT_OK)
            code = check_counts(im, n, err);
        if (code == COHORT_OK && n->op->flags & OP_GRAPHS)
            code = import_bodies(im, n, err);
        if (code != COHORT_OK) {
            wrap_node(n, err);
            return code;
        }
    }
    return COHORT_OK;
}

/* ---- the order ------------------------------------------------------------------------------- */

struct sort_frame { /* of the depth-first walk: a node, and its next input to look at */
    size_t node;
    int next;
};

/* Puts into order[] node k and everything it depends on that is not there yet. */
static enum cohort_code sort_from(struct import *im, const size_t *producer,
                                  struct sort_frame *stack, size_t k, size_t *order, size_t *done,
                                  struct cohort_error *err) {
    size_t depth = 0;
    stack[depth++] = (struct sort_frame){.node = k};
    im->nodes[k].state = NODE_OPEN;
    while (depth > 0) {
        struct sort_frame *top = &stack[depth - 1];
        struct pending_node *n = &im->nodes[top->node];
        if (top->next == n->in_count) {
            n->state = NODE_DONE;
            order[(*done)++] = top->node;
            depth--;
            continue;
        }
        int id = im->pool[n->first_in + (size_t)top->next++];
        size_t from = id >= 0 ? producer[id] : SIZE_MAX;
        if (from == SIZE_MAX || im->nodes[from].state == NODE_DONE)
            continue;
        if (im->nodes[from].state == NODE_OPEN) {
            error_set(err, COHORT_ERR_FORMAT,
                      "it depends on its own output: the graph has a cycle");
            wrap_node(&im->nodes[from], err);
            return COHORT_ERR_FORMAT;
        }
        im->nodes[from].state = NODE_OPEN;
        stack[depth++] = (struct sort_frame){.node = from};
    }
    return COHORT_OK;
}

/* order[i]: the node that comes i-th. */
static enum cohort_code sort_nodes(struct import *im, size_t *order, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t values = (size_t)im->g->value_count, done = 0;
    size_t *producer = mem_zalloc(values, sizeof *producer);
    struct sort_frame *stack = mem_zalloc(im->node_count, sizeof *stack);
    if (producer == NULL || stack == NULL) {
        code = error_memory(err, values * sizeof *producer, "the nodes' order");
        goto out;
    }
    for (size_t i = 0; i < values; i++)
        producer[i] = SIZE_MAX;
    for (size_t k = 0; k < im->node_count; k++)
        for (int i = 0; i < im->nodes[k].out_count; i++) {
            int id = im->pool[im->nodes[k].first_out + (size_t)i];
            if (id >= 0)
                producer[id] = k;
        }
    for (size_t k = 0; k < im->node_count; k++)
        if (im->nodes[k].state == NODE_WAITING)
            TRY(sort_from(im, producer, stack, k, order, &done, err));
out:
    mem_free(stack);
    mem_free(producer);
    return code;
}

/* ---- adding to the graph --------------------------------------------------------------------- */

static bool has_attr(const struct attr *attrs, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(attrs[i].name, name) == 0)
            return true;
    return false;
}

/* Reads a node's attributes into attrs[ATTRIBUTES_MAX]; *count of them are the caller's even when
 * this fails. */
static enum cohort_code read_attrs(struct import *im, const struct pending_node *n,
                                   struct attr *attrs, int *count, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire w = n->message, message;
    struct wire_field f;
    struct attr a = {0};
    struct wire_text name;
    struct wire graph;
    bool present = false, is_graph;
    for (;;) {
        TRY(wire_next(&w, &f, err));
        if (f.number == 0)
            break;
        if (f.number != NODE_ATTRIBUTE)
            continue;
        TRY(wire_nested(&w, &f, "AttributeProto", &message, err));
        if (n->graph_count > 0) {
            TRY(import_attribute_graph(message, &name, &graph, &is_graph, err));
            if (is_graph)
                continue;
        }
        if (*count == ATTRIBUTES_MAX) {
            code =
                error_set(err, COHORT_ERR_UNSUPPORTED, "more than %d attributes", ATTRIBUTES_MAX);
            goto out;
        }
        TRY(import_attribute(im, message, &a, &present, err));
        if (present && has_attr(attrs, *count, a.name)) {
            code = error_set(err, COHORT_ERR_FORMAT, "attribute '%.100s' is given twice", a.name);
            goto out;
        }
        if (present)
            attrs[(*count)++] = a;
        else
            attr_release(&a);
        a = (struct attr){0};
    }
out:
    attr_release(&a);
    return code;
}

/* A node without a name is called after its operator and its place in the file. */
static char *name_node(const struct pending_node *n, struct cohort_error *err) {
    if (n->name.bytes > 0)
        return import_copy(n->name, err);
    char *name = mem_printf("%s#%zu", n->op->name, n->index);
    if (name == NULL)
        error_memory(err, 40, "a name");
    return name;
}

static enum cohort_code add_node(struct import *im, struct pending_node *n,
                                 struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct attr attrs[ATTRIBUTES_MAX];
    int count = 0;
    struct node *node;
    char *name = name_node(n, err);
    if (name == NULL) {
        code = COHORT_ERR_MEMORY;
        goto out;
    }
    for (; count < n->graph_count; count++) { /* read already */
        attrs[count] = n->graphs[count];
        n->graphs[count] = (struct attr){0};
    }
    TRY(read_attrs(im, n, attrs, &count, err));
    TRY(graph_add_node(im->g, -1, name, n->op, pool_at(im, n->first_in), n->in_count,
                       pool_at(im, n->first_out), n->out_count, attrs, count, &node, err));
    node->opset = n->opset;
out:
    for (int i = 0; i < count; i++)
        attr_release(&attrs[i]);
    mem_free(name);
    if (code != COHORT_OK)
        wrap_node(n, err);
    return code;
}

enum cohort_code import_nodes(struct import *im, struct wire graph, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    size_t *order = NULL;
    TRY(import_each(im, graph, GRAPH_NODE, "NodeProto", read_node, err));
    TRY(read_inputs(im, err));
    order = mem_zalloc(im->node_count, sizeof *order);
    if (order == NULL) {
        code = error_memory(err, im->node_count * sizeof *order, "the nodes' order");
        goto out;
    }
    TRY(sort_nodes(im, order, err));
    for (size_t i = 0; i < im->node_count; i++)
        TRY(add_node(im, &im->nodes[order[i]], err));
out:
    mem_free(order);
    return code;
}
