/* What the files of the importer share; see import.c for how a model is read. */
#ifndef COHORT_GRAPH_ONNX_IMPORT_H
#define COHORT_GRAPH_ONNX_IMPORT_H

#include "graph/graph.h"
#include "graph/onnx/fields.h"
#include "graph/onnx/import_names.h"
#include "graph/onnx/tensor_proto.h"
#include "graph/onnx/wire.h"

/* A node of the file before it is a node of the graph: inputs may be produced further down. */
struct pending_node {
    struct wire message; /* its NodeProto */
    struct wire_text name, op_type, domain;
    size_t index; /* in the file */
    const struct op_desc *op;
    int opset;
    size_t first_in, first_out; /* in the pool */
    int in_count, out_count;    /* trailing empty names do not count */
    struct attr *graphs;        /* its attributes that are graphs */
    int graph_count;
    enum { NODE_WAITING, NODE_OPEN, NODE_DONE } state; /* of the sort */
};

struct import {
    struct graph *g;
    struct tensor_source source;
    struct name_table names;
    int64_t ir_version; /* 0: not given */
    struct opset_import {
        struct wire_text domain;
        int version;
    } * opsets;
    size_t opset_count, opset_capacity;
    struct pending_node *nodes;
    size_t node_count, node_capacity;
    size_t node_index; /* of the next node in the file */
    int *pool;         /* the nodes' inputs and outputs: value numbers, -1: left out */
    size_t pool_count, pool_capacity;
    /* of a graph in an attribute: */
    struct import *parent; /* the graph around it; NULL: there is none */
    int depth;
    struct captured {
        int inside, outside; /* numbers of one value, in this graph and in the one around it */
    } * captured;            /* what nodes read of the graph around it */
    size_t captured_count, captured_capacity;
};

/* Calls visit() with each field of that number, in order, as a nested message called `name`. */
typedef enum cohort_code (*import_visit_fn)(struct import *im, struct wire message,
                                            struct cohort_error *err);
enum cohort_code import_each(struct import *im, struct wire parent, uint32_t number,
                             const char *name, import_visit_fn visit, struct cohort_error *err);

/* A zero-terminated copy of a text; NULL with err set when memory is short. */
char *import_copy(struct wire_text text, struct cohort_error *err);

/* Adds a value with a name that must be new; `what` says what it is for the message. */
enum cohort_code import_value(struct import *im, struct wire_text name, const char *what, int *id,
                              struct cohort_error *err);
/* Likewise a constant; takes over `t` on success. */
enum cohort_code import_constant(struct import *im, struct wire_text name, const char *what,
                                 struct tensor *t, struct cohort_error *err);

/* Reads all NodeProtos of the graph: Constant nodes become constants, the others nodes in
 * topological order.  Errors name the node. */
enum cohort_code import_nodes(struct import *im, struct wire graph, struct cohort_error *err);

/* The number of the value of that name, here or (then it becomes an input) in the graphs around
 * this one; *id is -1 when there is none.  Errors: memory. */
enum cohort_code import_find(struct import *im, struct wire_text name, int *id,
                             struct cohort_error *err);
/* Reads the GraphProtos among a node's attributes into n->graphs, and appends to its inputs in the
 * pool what they read of im's graph. */
enum cohort_code import_bodies(struct import *im, struct pending_node *n, struct cohort_error *err);
/* The fields of a GraphProto, into im->g. */
enum cohort_code import_graph(struct import *im, struct wire graph, struct cohort_error *err);
void import_release(struct import *im);
/* Is this AttributeProto a graph?  Then *name and *graph are its. */
enum cohort_code import_attribute_graph(struct wire message, struct wire_text *name,
                                        struct wire *graph, bool *found, struct cohort_error *err);
enum cohort_code import_pool_add(struct import *im, int id, struct cohort_error *err);

/* Reads one AttributeProto.  *present is false when it says nothing (untyped and empty). */
enum cohort_code import_attribute(struct import *im, struct wire message, struct attr *a,
                                  bool *present, struct cohort_error *err);

#endif
