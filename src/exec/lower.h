/* Inside src/exec: how operators are lowered to kernels.
 *
 * A node is *bound* once per program (kernel chosen, weights packed); each of its operators (there
 * are several when the rows are tiled) then runs with the bound state.  A lowering is one row of
 * the table in lower.c; what no row accepts runs by the operator's reference evaluator. */
#ifndef COHORT_EXEC_LOWER_H
#define COHORT_EXEC_LOWER_H

#include "base/mem.h"
#include "exec/chain.h"
#include "exec/cut.h"
#include "exec/exec.h"
#include "exec/share.h"
#include "exec/signature.h"
#include "graph/op.h"
#include "kernels/plainops.h"

struct slot {
    int value;
    struct rows rows;
    int first, last;
    bool pinned;
    bool dynamic;  /* shape depends on data: memory is found at run time */
    bool whole;    /* its rows lie one behind the other, with nothing between */
    bool inside;   /* of a chain: it has no memory */
    size_t bytes;  /* of its rows alone */
    int buffer;    /* where it lies … */
    int64_t block; /* … and from which block of 16 channels on (exec/share.h) */
    char *data;
    struct tensor
        tensor; /* for plain values; its data is borrowed from the arena, or owned when dynamic */
};

struct bound {
    const struct node *node;
    const struct lowering *how;
    void *state;            /* the lowering's own; mem_alloc'ed */
    const char *kernel;     /* name for reports */
    double rate;            /* the kernel's estimate: multiply-adds per cycle and core; 0: none */
    double row_ns;          /* estimate of one output row's time on one core */
    size_t weights_bytes;   /* of packed weights in state */
    size_t workspace_bytes; /* per thread */
    size_t shared_bytes;    /* for all threads together */
    int64_t rows_least;     /* that its part should get at once, where there are as many */
    struct exec_half half;  /* of its weights */
    bool fp16;              /* the kernel's arithmetic is float16 */
    int64_t awaited;        /* rows of its weights that are still to come, piece by piece */
    bool in_pieces;         /* its weights come so */
    bool borrowed;          /* its weights are the program's: weights_free() */
    bool folded;            /* it has made-up weights for some of its channels, all use them */
    int *sharers; /* other programs that have this state too (rival.c); NULL: none ever had */
};

struct exec_op {
    int node;
    struct rows out;
    int *in_slots, *out_slots;
    bool free; /* its output is there already: it only put channels together, or took them apart */
    bool ends_range; /* of what exec_run() runs */
    int chain;       /* the number of the chain that begins here, from 1 on; 0: none */
    int part, parts; /* of its output's channels (exec_op_part()); 0 of 1: all */
    double takes_ms; /* on the board that a dilated one stands for; below 0: unknown */
    struct bound *bound;
};

/* Where packed weights go: into this block, as long as there is room; bytes that are still to come
 * (packed.c). */
struct packing {
    struct packed_block *block;
    size_t ahead;
    bool begun;
};

/* Where weights for timing lie (made_up.c): who wants some, and from where on in `data`. */
struct made_up {
    char *data;
    struct made_up_place {
        void **weights;
        size_t bytes, at;
    } * wanted;
    size_t count, capacity;
};

struct program {
    const struct graph *graph;
    struct pool *pool;
    struct exec_options options;
    unsigned isa_mask;
    bool fp16;                    /* isa_mask has float16 arithmetic */
    int64_t *saturated;           /* of each thread, a cache line apart (thread_saturated()) */
    const struct plainops *plain; /* this board's table, or what --kernel says */
    struct slot *slots;
    int slot_count;
    size_t slot_capacity;
    struct buffer *buffers; /* slot_count places, of which slots name some */
    struct exec_op *ops;
    int op_count;
    size_t op_capacity;
    struct bound *bounds; /* one per node of the graph; how == NULL: not used */
    char *arena;
    size_t arena_bytes, pinned_bytes;
    char *workspace; /* threads * workspace_stride */
    size_t workspace_stride;
    char *shared; /* the largest shared_bytes of any operator */
    size_t shared_bytes;
    struct chain *chains;
    int chain_count;
    size_t chain_capacity;
    char *strips; /* threads * strip_stride */
    size_t strip_bytes, strip_stride;
    struct strip_state *strip_states; /* one a thread */
    bool strip_times;                 /* those of a chain's operators are wanted */
    double row_ns;                    /* of the operator that runs */
    struct packing packing;
    struct made_up made_up;
    double encode_ms, decode_ms; /* exec_wire_takes(); below 0: unknown */
    bool prepared;
};

/* A part of an operator: output rows [y0, y1) and channel blocks [block0, block1), half-open. */
typedef void (*work_fn)(void *context, int64_t y0, int64_t y1, int block0, int block1, int thread);

/* How an operator's output is walked over in parts.  With BLOCKS parts are rows and channel blocks,
 * else rows with all channels.  ROWS: output rows are those of the inputs, and the views have
 * global rows.  IMAGES: image by image, rows in the image's numbers. */
enum walk { WALK_OWN, WALK_ROWS, WALK_ROWS_BLOCKS, WALK_IMAGES, WALK_IMAGES_BLOCKS };

/* Packing weights that come some rows at a time, along axis 0 of input 1 (feed.c). */
struct lowering_pieces {
    bool (*can)(const struct program *p, const struct node *n);
    /* part: rows from `begin` on, whole blocks of 16 but for the last.  When all came, b is as if
     * they had come at once. */
    enum cohort_code (*pack)(struct program *p, struct bound *b, const struct tensor *part,
                             int64_t begin, struct cohort_error *err);
};

struct lowering {
    const char *op; /* operator's name */
    /* Takes this node (shapes and forms are final)?  Looked at in table order. */
    bool (*accepts)(const struct graph *g, const struct node *n);
    enum cohort_code (*bind)(struct program *p, struct bound *b,
                             struct cohort_error *err); /* may be NULL */
    void (*unbind)(struct bound *b); /* frees what hangs off state; NULL: nothing does */
    enum walk walk;
    work_fn part; /* with a walk: computes one part; its context is a struct part_work */
    enum cohort_code (*run)(struct program *p, const struct exec_op *op,
                            struct cohort_error *err); /* WALK_OWN */
    /* The part reads and writes input 0 and output 0 by the views it is given and nowhere else, so
     * it can run in strips; with WALK_OWN it serves for nothing else. */
    bool strips;
    const struct lowering_pieces *pieces; /* NULL: weights must be there as a whole */
    bool parts; /* run() computes one part of the channels where the operator is one
                   (exec_op_part()) */
};

/* The last six of a table's row. */
#define BY_PART(walk, part)          walk, part, NULL, false, NULL, false
#define IN_STRIPS(walk, part)        walk, part, NULL, true, NULL, false
#define BY_ITSELF(run)               WALK_OWN, NULL, run, false, NULL, false
#define PACKED(run, pieces)          WALK_OWN, NULL, run, false, pieces, false
#define PACKED_OR(run, part, pieces) WALK_OWN, part, run, true, pieces, true /* and by channels */
#define PACKED_PARTS(run, pieces)    WALK_OWN, NULL, run, false, pieces, true

/* Runs an operator: by its own run(), or its part over the walk. */
enum cohort_code lowering_run(struct program *p, const struct exec_op *op,
                              struct cohort_error *err);

/* The row for a node: never NULL (the reference takes everything). */
const struct lowering *lowering_find(const struct graph *g, const struct node *n);

/* Conditions used by several rows. */
bool lower_is_map(const struct graph *g, const struct node *n); /* output 0 is a feature map */

/* ---- for the lowerings ----------------------------------------------------------------------- */

/* What the kernel of a row of lowerings_conv or lowerings_gemm is chosen by (exec/signature.h). */
void conv_signature(const struct graph *g, const struct node *n, struct signature *s);
bool gemm_signature(const struct graph *g, const struct node *n, struct signature *s);
/* The name to choose this node's kernel by: what tuning chose, else --kernel, else NULL. */
const char *tuned_kernel(const struct program *p, const struct node *n); /* NULL: nothing */
const char *wanted_kernel(const struct program *p, const struct node *n);
/* The kernel for a product: `wanted` where it is one for products, else the best of the instruction
 * sets allowed.  Errors: unsupported. */
enum cohort_code choose_gemm(const struct gemm_kernel **kernel, unsigned isa_mask,
                             const struct gemm_shape *s, const char *wanted,
                             struct cohort_error *err);
/* Allocates zeroed state of `bytes` for b. */
enum cohort_code bound_state(struct bound *b, size_t bytes, struct cohort_error *err);
/* Frees what b has, unless another program has it too; b is all zero then. */
void bound_release(struct bound *b);

static inline const struct value *op_value(const struct program *p, int slot) {
    return graph_value(p->graph, p->slots[slot].value);
}
/* View of a slot in its value's geometry, rows in global numbers. */
struct view slot_view(const struct program *p, int slot);
/* The same with rows in the numbers of image n (row0 shifted by n*height). */
struct view slot_image(const struct program *p, int slot, int64_t image);

/* One image's part of an operator's output rows. */
struct image_rows {
    int64_t image;
    int64_t y0, y1; /* in the image */
};
/* Walks the images that [begin, end) touches: start with *at = begin; false at the end. */
bool next_image(struct rows out, int64_t height, int64_t *at, struct image_rows *part);

/* The channel blocks that an operator computes, of so many. */
struct blocks {
    int begin, end;
};
static inline struct blocks op_blocks(const struct exec_op *op, int blocks) {
    return (struct blocks){(int)channels_part_begin(blocks, op->part, op->parts),
                           (int)channels_part_begin(blocks, op->part + 1, op->parts)};
}

/* Work split over the pool: each thread has a band of the rows [y0, y1), in a few items (cut.h);
 * what is too small for that is done by the caller.  Of `how`, rows, bands and pieces are found
 * here. */
void run_cut(struct program *p, int64_t y0, int64_t y1, const struct cut *how, work_fn fn,
             void *context);
void run_parallel(struct program *p, int64_t y0, int64_t y1, int channel_blocks, work_fn fn,
                  void *context);
/* The same with bands of channels: for weights much larger than the map, which are then streamed by
 * one thread each, not by all. */
void run_parallel_channels(struct program *p, int64_t y0, int64_t y1, int channel_blocks,
                           work_fn fn, void *context);
/* Time of an output row of a bound operator on one core, roughly: what is worth dividing. */
double estimate_row_ns(const struct graph *g, const struct bound *b);
/* What a part of an operator gets as its context: the operator, its state, and the views of input 0
 * and output 0. */
struct part_work {
    const struct program *program;
    const struct exec_op *op;
    const void *state;
    struct view in, out;
};
static inline void *thread_workspace(const struct program *p, int thread) {
    return p->workspace + (size_t)thread * p->workspace_stride;
}

#define SATURATED_APART (MEM_ALIGN / sizeof(int64_t))
/* For kernels with float16 arithmetic: this thread's count of inputs that were too large. */
static inline int64_t *thread_saturated(const struct program *p, int thread) {
    return p->saturated + (size_t)thread * SATURATED_APART;
}

/* Memory for packed weights, all zero; NULL: memory is short.  Those of one program lie beside each
 * other, in huge pages where the system has them: of a small network's layers none would fill one.
 * They may be freed one by one, in any order and by any program. */
void *packed_alloc(struct program *p, size_t bytes);
void packed_free(void *weights);
/* Before (it may have been called before) and after a program's operators are bound. */
enum cohort_code packing_begins(struct program *p, struct cohort_error *err);
void packing_ends(struct program *p);
/* Binds operator `op`, unless it is bound. */
enum cohort_code op_bind(struct program *p, int op, struct cohort_error *err);

/* Memory for `bytes` of packed weights, b->weights_bytes unless it is folded.  For timing
 * (options.zero_weights) it is filled; with options.made_up_bytes it is the program's, shared with
 * other operators, and comes only with made_up_weights(), so that *weights must stay where it is
 * until then, and no other program may have it.  Errors: memory. */
enum cohort_code weights_alloc(struct program *p, struct bound *b, size_t bytes, void **weights,
                               struct cohort_error *err);
/* For how many of an operator's channels, whole blocks, there may be made-up weights, by what
 * `bytes_of` says of so many: all, unless options.made_up_most is less. */
int made_up_channels(const struct program *p, int channels,
                     size_t (*bytes_of)(const void *context, int channels), const void *context);
void weights_free(const struct bound *b, void *weights);
/* When all operators are bound: gives those their weights that have none yet.  Errors: memory. */
enum cohort_code made_up_weights(struct program *p, struct cohort_error *err);
void made_up_release(struct program *p);

/* The node's epilogue for kernels, its residual bound to `residual` (filled in when there is one).
 */
struct kernel_epilogue op_epilogue(const struct program *p, const struct exec_op *op, int64_t image,
                                   struct view *residual);

/* A constant vector of `count` values as floats in padded new memory (multiple of 16, zeros
 * beyond); a single value is repeated. t NULL: zeros. */
enum cohort_code vector_from_constant(float **out, const struct tensor *t, int64_t count,
                                      struct cohort_error *err);

/* Elements [first, first+count) of a constant were packed: their pages of the model file may go, so
 * that a board's memory holds the weights once. */
void constant_done(const struct program *p, const struct tensor *t, int64_t first, int64_t count);

/* Rows of lowering tables, one array per file, each ended by op == NULL. */
extern const struct lowering lowerings_conv[], lowerings_gemm[], lowerings_product[],
    lowerings_pool[], lowerings_elementwise[], lowerings_function[], lowerings_plain[],
    lowerings_move[], lowerings_normalise[], lowerings_moments[], lowerings_volume[],
    lowering_reference[];

#endif
