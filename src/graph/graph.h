/* The network: values (edges) and nodes (operators) in topological order.
 *
 * A graph is read by an importer, refined by passes (graph/pass.h), and from then on only read.
 * It knows shapes, forms and row arithmetic; nothing of boards, plans, kernels or MPI.
 * Value numbers are stable; node numbers change whenever a pass removes or adds nodes, so
 * everything that outlives a pass names values, not nodes. */
#ifndef COHORT_GRAPH_GRAPH_H
#define COHORT_GRAPH_GRAPH_H

#include "base/buf.h"
#include "base/error.h"
#include "base/file.h"
#include "graph/tensor.h"

#include <stdbool.h>

struct graph;
struct op_desc;

/* ---- attributes ---------------------------------------------------------------------------- */

enum attr_kind {
    ATTR_INT,
    ATTR_FLOAT,
    ATTR_STRING,
    ATTR_INTS,
    ATTR_FLOATS,
    ATTR_STRINGS,
    ATTR_TENSOR,
    ATTR_GRAPH
};

struct attr {
    char *name;
    enum attr_kind kind;
    int64_t i;
    float f;
    char *s;
    int64_t *ints;
    float *floats;
    char **strings;
    size_t count;         /* of ints, floats or strings */
    struct tensor tensor; /* ATTR_TENSOR */
    /* ATTR_GRAPH: the body of an If, Loop or Scan.  What it reads of the graph around it are its
     * last `count` inputs; they are the node's inputs from number i on.  Its constants are its
     * own, and aligned. */
    struct graph *graph;
};

void attr_release(struct attr *a);

/* ---- values -------------------------------------------------------------------------------- */

/* How a value lies in memory.
 * PLAIN: dense, row-major, as in ONNX.  Its rows are the product of all dims but the last.
 * MAP: a float32 feature map, rows outermost.  ONNX [N,C,H,W] or [N,C,L] (then H = L, W = 1):
 *   C >= 16: [N*H][ceil(C/16)][W][16], lanes beyond C are zero;   C < 16: [N*H][W][C].
 *   Its rows are (n, y), n outermost: row n*H + y. */
enum form { FORM_PLAIN, FORM_MAP };

#define MAP_BLOCK 16

/* A map whose channels are made part after part, by kernels that compute blocks in pairs: the first
 * block of part `part` of `parts`, of so many blocks. */
static inline int64_t channels_part_begin(int64_t blocks, int part, int parts) {
    const int64_t begin = (blocks + 1) / 2 * part / parts * 2;
    return begin < blocks ? begin : blocks;
}

struct value {
    char *name;
    enum dtype type;
    struct shape shape; /* ONNX's */
    enum form form;
    bool is_constant;
    struct tensor constant; /* when is_constant; may be borrowed from a mapped file, unaligned */
    char *content_hash;     /* of a large constant, once something computed it; else NULL */
    int producer;           /* node number, or -1 for inputs and constants */
    int uses;               /* consuming inputs plus graph outputs */
};

/* ---- nodes --------------------------------------------------------------------------------- */

#define NODE_IN_MAX 4096 /* of one node: Concat may have many */

enum act_kind {
    ACT_NONE,
    ACT_RELU,
    ACT_LEAKY_RELU, /* x < 0 ? a*x : x */
    ACT_CLIP,       /* min(max(x, a), b) */
    ACT_SIGMOID,
    ACT_TANH,
    ACT_HARD_SIGMOID, /* max(0, min(1, a*x + b)) */
    ACT_HARD_SWISH,   /* x * max(0, min(1, x/6 + 1/2)) */
    ACT_SILU,         /* x * sigmoid(x) */
    ACT_COUNT
};

/* What happens to an operator's result before it is stored: result, then activation, with an
 * optional residual added before or after the activation.  Not part of the operator's identity. */
struct epilogue {
    enum act_kind act;
    float a, b;         /* the activation's parameters */
    int residual;       /* index into node->in, or -1: none */
    bool residual_last; /* act(result) + residual instead of act(result + residual) */
};

/* A window in the last two spatial axes, filled in by infer() of windowed operators. 1-D operators
 * use [0] only, with index 1 at kernel 1, stride 1, no pad. */
struct window {
    int64_t kernel[2], stride[2], dilation[2];
    int64_t pad_begin[2], pad_end[2]; /* after auto_pad was resolved */
};

/* Which input rows an output row needs; see graph/rows.h. */
enum rowmap_kind {
    ROWMAP_ALL,    /* all rows of the image (of everything when images == 1) */
    ROWMAP_AFFINE, /* rows floor((y*num + lo)/den) … floor((y*num + hi)/den) of the same image */
};

struct rowmap {
    enum rowmap_kind kind;
    int64_t num, den, lo, hi;      /* ROWMAP_AFFINE: num >= 0, den > 0, lo <= hi */
    int64_t out_height, in_height; /* rows of one image */
    bool one_image;                /* the input has one image for all of the output's (broadcast) */
};

struct node {
    char *name;
    const struct op_desc *op;
    int opset;     /* of the operator's domain */
    int *in, *out; /* value numbers; -1: an optional one left out */
    int in_count, out_count;
    struct attr *attrs;
    int attr_count;
    struct epilogue epilogue;
    struct window window;  /* windowed operators, after inference */
    int64_t group;         /* Conv, ConvTranspose; else 1 */
    int weight_scale;      /* Conv: value number of [out channels] factors applied when the weights
                              are packed (a folded BatchNormalization), or -1 */
    struct rowmap *rowmap; /* one per input, filled in by graph_finish() */
    const struct node *whole; /* it makes some channels of what this node makes, or reads some
                                 (graph/shard.h); NULL: it is no such part */
    /* What computing may still cost (op_spend()), while shapes are inferred and constants folded,
     * and in a body; borrowed; NULL: anything. */
    double *allowance;
};

/* ---- the graph ------------------------------------------------------------------------------ */

struct graph {
    char *name;
    int opset; /* of the default domain */
    struct value *values;
    int value_count;
    size_t value_capacity;
    struct node *nodes; /* topological order */
    int node_count;
    size_t node_capacity;
    int *inputs, *outputs; /* value numbers */
    int input_count, output_count;
    struct file_map *maps; /* files that constants borrow from */
    int map_count;
    size_t map_capacity;
    double allowance; /* of pass_infer(), for all nodes together */
};

enum cohort_code graph_create(struct graph **g, const char *name, struct cohort_error *err);
void graph_destroy(struct graph **g);

/* Adds a value; *id is its number.  The name is copied and must be new ("" makes one up). */
enum cohort_code graph_add_value(struct graph *g, const char *name, int *id,
                                 struct cohort_error *err);
/* Adds a constant, taking over `t` (its ownership too) on success. */
enum cohort_code graph_add_constant(struct graph *g, const char *name, struct tensor *t, int *id,
                                    struct cohort_error *err);
/* Adds a node at position `at` (0 … node_count; -1: at the end).  Inputs and outputs are copied;
 * attributes are moved in (the caller's array is freed by the caller).  Producers are updated. */
enum cohort_code graph_add_node(struct graph *g, int at, const char *name, const struct op_desc *op,
                                const int *in, int in_count, const int *out, int out_count,
                                struct attr *attrs, int attr_count, struct node **node,
                                struct cohort_error *err);
/* Takes node number i out (its values stay).  O(nodes); passes that drop many mark and call
 * graph_compact() once: a node with op == NULL is removed there. */
void graph_release_node(struct node *n);
void graph_compact(struct graph *g);
/* Every use of value `from` (inputs of nodes, graph outputs) becomes `to`. */
void graph_replace_uses(struct graph *g, int from, int to);
/* Recomputes producer and uses of every value. */
void graph_relink(struct graph *g);
int graph_find_value(const struct graph *g, const char *name); /* -1 when there is none */
bool graph_is_output(const struct graph *g, int id);           /* of the network? */

static inline struct value *graph_value(const struct graph *g, int id) {
    return &g->values[id];
}
/* The value of node input i, or NULL when it is left out. */
const struct value *node_in(const struct graph *g, const struct node *n, int i);
const struct value *node_out(const struct graph *g, const struct node *n, int i);
/* The constant of node input i, or NULL when it is left out or not constant. */
const struct tensor *node_const(const struct graph *g, const struct node *n, int i);

/* Attributes by name, with ONNX's default when absent. */
const struct attr *node_attr(const struct node *n, const char *name);
int64_t node_attr_int(const struct node *n, const char *name, int64_t otherwise);
float node_attr_float(const struct node *n, const char *name, float otherwise);
const char *node_attr_string(const struct node *n, const char *name, const char *otherwise);
/* Points into the attribute; *count = 0 and NULL when absent. */
const int64_t *node_attr_ints(const struct node *n, const char *name, int *count);
const float *node_attr_floats(const struct node *n, const char *name, int *count);
const struct attr *node_attr_graph(const struct node *n, const char *name); /* NULL when absent */
/* Sets (adds or replaces) an integer attribute. */
enum cohort_code node_set_int(struct node *n, const char *name, int64_t i,
                              struct cohort_error *err);
enum cohort_code node_set_ints(struct node *n, const char *name, const int64_t *ints, int count,
                               struct cohort_error *err);

/* ---- geometry of a value --------------------------------------------------------------------- */

/* How a value's rows lie, for FORM_MAP and FORM_PLAIN alike (its shape must be known). */
struct geometry {
    int64_t images;   /* N of a map; 1 for plain */
    int64_t height;   /* rows of one image; for plain: product of all dims but the last */
    int64_t width;    /* W of a map; 1 for plain */
    int64_t channels; /* C of a map; last dim for plain (1 for a scalar) */
    bool blocked;     /* map with C >= MAP_BLOCK */
    size_t row_bytes; /* one row, contiguous with the next */
};
struct geometry value_geometry(const struct value *v);
static inline int64_t value_rows(const struct value *v) {
    struct geometry g = value_geometry(v);
    return g.images * g.height;
}

/* ---- identity and transport ------------------------------------------------------------------ */

/* 32 hex digits over structure: operators, attributes, names, shapes, forms; not the weights.
 * Two boards may exchange rows, and a plan may be used, only when these are equal. */
enum cohort_code graph_signature(const struct graph *g, char hex[33], struct cohort_error *err);

/* Constants of at most this many bytes travel inside the serialised graph; larger ones by hash. */
#define GRAPH_INLINE_BYTES 2048
/* Graphs within graphs within … */
#define GRAPH_DEPTH_MAX 8
/* Appends the whole graph to b, large constants as content hashes (computed here if missing). */
enum cohort_code graph_serialize(struct graph *g, struct buf *b, struct cohort_error *err);
/* The reverse; large constants come out with data == NULL and content_hash set. */
enum cohort_code graph_deserialize(struct graph **g, const void *data, size_t bytes,
                                   struct cohort_error *err);

#endif
