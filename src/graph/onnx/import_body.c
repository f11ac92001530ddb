/* Reading graphs within graphs: the branches of an If, the bodies of Loop and Scan.
 *
 * A body may read any value of the graphs around it.  Such a value becomes one more input of the
 * body and of the node, so that an operator still sees all that it depends on as its inputs; from
 * two levels further out it is handed on through the graph between. */
#include "base/mem.h"
#include "graph/onnx/import.h"
#include "graph/op.h"

#include <string.h>

#define BODIES_MAX 8 /* of one node; If has two */

/* ---- names ----------------------------------------------------------------------------------- */

enum cohort_code import_find(struct import *im, struct wire_text name, int *id,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int outside;
    *id = names_find(&im->names, name);
    if (*id >= 0 || im->parent == NULL)
        return COHORT_OK;
    TRY(import_find(im->parent, name, &outside, err));
    if (outside < 0)
        goto out;
    if (!MEM_GROW(im->captured, im->captured_capacity, im->captured_count))
        TRY(error_memory(err, sizeof *im->captured, "a graph's inputs"));
    TRY(import_value(im, name, "input", id, err));
    im->captured[im->captured_count++] = (struct captured){.inside = *id, .outside = outside};
out:
    return code;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

enum cohort_code import_attribute_graph(struct wire message, struct wire_text *name,
                                        struct wire *graph, bool *found, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire_field f;
    *name = (struct wire_text){.at = ""};
    *found = false;
    for (;;) {
        TRY(wire_next(&message, &f, err));
        if (f.number == 0)
            break;
        if (f.number == ATTRIBUTE_NAME) {
            TRY(wire_text(&message, &f, name, err));
        } else if (f.number == ATTRIBUTE_G) {
            TRY(wire_nested(&message, &f, "GraphProto", graph, err));
            *found = true;
        }
    }
out:
    return code;
}

/* The captured values become the body's last inputs. */
static enum cohort_code append_captured(struct import *body, struct cohort_error *err) {
    struct graph *g = body->g;
    size_t count = (size_t)g->input_count + body->captured_count;
    int *inputs = mem_alloc(count * sizeof *inputs);
    if (inputs == NULL)
        return error_memory(err, count * sizeof *inputs, "a graph's inputs");
    if (g->input_count > 0)
        memcpy(inputs, g->inputs, (size_t)g->input_count * sizeof *inputs);
    for (size_t i = 0; i < body->captured_count; i++)
        inputs[(size_t)g->input_count + i] = body->captured[i].inside;
    mem_free(g->inputs);
    g->inputs = inputs;
    g->input_count = (int)count;
    return COHORT_OK;
}

static enum cohort_code read_body(struct import *im, struct pending_node *n, struct wire_text name,
                                  struct wire graph, struct attr *a, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct import body = {.source = {.directory = im->source.directory},
                          .ir_version = im->ir_version,
                          .opsets = im->opsets,
                          .opset_count = im->opset_count,
                          .parent = im,
                          .depth = im->depth + 1};
    if (body.depth > GRAPH_DEPTH_MAX)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "graphs within graphs, more than %d deep",
                         GRAPH_DEPTH_MAX);
    *a = (struct attr){.name = import_copy(name, err), .kind = ATTR_GRAPH, .i = n->in_count};
    if (a->name == NULL)
        return COHORT_ERR_MEMORY;
    TRY(graph_create(&body.g, "", err));
    body.g->opset = im->g->opset;
    TRY(import_graph(&body, graph, err));
    TRY(append_captured(&body, err));
    a->count = body.captured_count;
    if (a->count > (size_t)(NODE_IN_MAX - 1 - n->in_count))
        TRY(error_set(err, COHORT_ERR_UNSUPPORTED, "more than %d inputs", NODE_IN_MAX - 1));
    for (size_t i = 0; i < body.captured_count; i++)
        TRY(import_pool_add(im, body.captured[i].outside, err));
    n->in_count += (int)a->count;
    graph_relink(body.g);
    a->graph = body.g;
    body.g = NULL;
out:
    import_release(&body);
    return code;
}

enum cohort_code import_bodies(struct import *im, struct pending_node *n,
                               struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct wire w = n->message, message, graph = {0};
    struct wire_field f;
    struct wire_text name;
    bool found;
    char show[WIRE_SHOW_BYTES];
    n->graphs = mem_zalloc(BODIES_MAX, sizeof *n->graphs);
    if (n->graphs == NULL)
        return error_memory(err, BODIES_MAX * sizeof *n->graphs, "a node's graphs");
    for (;;) {
        TRY(wire_next(&w, &f, err));
        if (f.number == 0)
            break;
        if (f.number != NODE_ATTRIBUTE)
            continue;
        TRY(wire_nested(&w, &f, "AttributeProto", &message, err));
        TRY(import_attribute_graph(message, &name, &graph, &found, err));
        if (!found)
            continue;
        if (n->graph_count == BODIES_MAX)
            TRY(error_set(err, COHORT_ERR_UNSUPPORTED, "more than %d graphs", BODIES_MAX));
        n->graph_count++;
        code = read_body(im, n, name, graph, &n->graphs[n->graph_count - 1], err);
        if (code != COHORT_OK) {
            error_wrap(err, "attribute '%s'", wire_show(name, show));
            goto out;
        }
    }
out:
    return code;
}
