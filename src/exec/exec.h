/* Running operators on one board: slots of memory, bound kernels, packed weights.  No MPI.
 *
 * A program is built once, before the first inference: the caller (src/runtime) declares slots
 * (rows of a value, with a lifetime in steps), then adds operators (rows [y0,y1) of a node, from
 * slots into slots); exec_prepare() assigns the arena, chooses kernels and packs weights.  After
 * that, exec_run_op() allocates nothing (except for values whose shape depends on data). */
#ifndef COHORT_EXEC_EXEC_H
#define COHORT_EXEC_EXEC_H

#include "base/error.h"
#include "board/pool.h"
#include "graph/graph.h"
#include "graph/rows.h"

struct program;
struct kernel_choices; /* exec/signature.h */
struct kernel_board;   /* kernels/kernel.h */

struct exec_options {
    unsigned isa_mask;  /* allowed ISAs (1 << kernel_isa); 0: all available */
    const char *kernel; /* --kernel: an ISA's or kernel's name, or NULL */
    bool zero_weights;  /* pack made-up numbers: for memory and timing without weights */
    /* With zero_weights: operators' weights lie one behind the other in so much memory (or as the
     * largest needs), from its begin again where it ends; 0: each has its own. */
    size_t made_up_bytes;
    /* The most that this may be: an operator with more of them computes its channels in turns, all
     * with the same ones; 0: any. */
    size_t made_up_most;
    bool half_weights; /* of products with constant matrices: kept as float16 */
    bool fp16;         /* dense convolutions, and products with constant matrices (unless those
                        * are half_weights), in float16 arithmetic where this CPU has it; also
                        * when `kernel` names such kernels */
    bool own_buffers;  /* no slots share memory: for comparison */
    double test_ns;    /* the pool's poll shall run so often while an operator computes; 0: as it
                          comes */
    /* Second-level cache of a core: where maps between operators do not stay in it, these are
     * computed in strips (exec/chain.h); 0: never. */
    size_t cache_bytes;
    int64_t
        strip_rows; /* for tests: strips of so many rows wherever they can be; 0: where they pay */
    /* Kernels chosen by measuring; `kernel` is for what has none; borrowed; NULL: none. */
    const struct kernel_choices *choices;
    /* For tests: the kernel of this name counts as the fastest for everything that it can compute,
     * where `kernel` and choices leave it a choice; borrowed; NULL: none. */
    const char *misjudged;
    const struct kernel_board *board; /* borrowed; NULL: unknown */
};

/* The graph and the pool are borrowed until exec_destroy(). */
enum cohort_code exec_create(struct program **p, const struct graph *g, struct pool *pool,
                             const struct exec_options *o, struct cohort_error *err);
void exec_destroy(struct program **p);

/* Memory for rows `rows` of value `id`, alive from step `first` to step `last` (inclusive, in the
 * caller's own numbering).  *slot is its number.  Values of unknown shape: rows is ignored, memory
 * is found when it is computed.  pinned slots keep memory of their own for the whole program
 * (network inputs, outputs). */
enum cohort_code exec_add_slot(struct program *p, int id, struct rows rows, int first, int last,
                               bool pinned, int *slot, struct cohort_error *err);

/* Node `node`, output rows `out` of each of its outputs' values; in_slots[i] is the slot of input i
 * (-1: constant or left out), out_slots[i] that of output i (-1: not wanted). Steps must be added
 * in order. */
enum cohort_code exec_add_op(struct program *p, int node, struct rows out, const int *in_slots,
                             const int *out_slots, int *op, struct cohort_error *err);

/* The last operator added computes only one part of its output's channels: the blocks of 16 from
 * channels_part_begin(blocks, part, parts) on, up to where the next part begins.  All parts must be
 * added, in order; operators that cannot be taken apart so do everything in part 0. */
void exec_op_part(struct program *p, int part, int parts);
int exec_op_parts(const struct program *p, int op, int *part); /* 1: it is whole */

int exec_op_count(const struct program *p);
/* exec_run() will be called for ranges of operators that end with the last one added. */
void exec_range_ends(struct program *p);
/* Corrects the last step of a slot's life, before exec_prepare(). */
void exec_slot_ends(struct program *p, int slot, int last);
/* The slot's rows will be sent or received as they lie, so they must be contiguous; before
 * exec_prepare().  Pinned slots are so anyway. */
void exec_slot_travels(struct program *p, int slot);
struct rows exec_slot_rows(const struct program *p, int slot);

/* Assigns memory, binds kernels, packs weights.  Errors: memory, unsupported. */
enum cohort_code exec_prepare(struct program *p, struct cohort_error *err);

/* Row `rows.begin` of the slot's memory, after exec_prepare(); NULL for an empty slot.  The rows of
 * a feature map that neither travels nor is pinned may be part of wider ones. */
void *exec_slot_data(const struct program *p, int slot);
size_t exec_slot_bytes(const struct program *p, int slot);
/* The value's current tensor as plain data (PLAIN slots; shape as computed for dynamic ones). */
const struct tensor *exec_slot_tensor(const struct program *p, int slot);
/* For graph inputs: copies a plain NCHW tensor into the slot (converting to its form), and back.
 * Fetching into an all-zero tensor allocates it; into one fetched before, its memory is used again.
 */
enum cohort_code exec_slot_store(struct program *p, int slot, const struct tensor *from,
                                 struct cohort_error *err);
enum cohort_code exec_slot_fetch(struct program *p, int slot, struct tensor *to,
                                 struct cohort_error *err);

/* Runs operators [first, last) in order on the pool: all of the program's, or a range between two
 * ends that exec_range_ends() set. */
enum cohort_code exec_run(struct program *p, int first, int last, struct cohort_error *err);

/* For a dilated board: what operator `op` takes on the board that this one stands for; below 0, as
 * at first: its CPU time over the share.  And the same for 10^6 bytes of float32 to the 2-byte wire
 * and back. */
void exec_op_takes(struct program *p, int op, double ms);
void exec_wire_takes(struct program *p, double encode_ms, double decode_ms);

/* Runs the operators ops[0 … count) in that order, each of which may be any of the program's, and
 * finds out how long each takes: as the dilated board takes it, where it is dilated (by CPU time,
 * and with one thread without a sleep before the last of them has ended).  The first of a chain
 * stands for all of them; the others must not be named. */
enum cohort_code exec_run_timed(struct program *p, const int *ops, int count, double *ms,
                                struct cohort_error *err);

/* Constants that the program's operators need packed or read on this board: called for each before
 * exec_prepare(), so that the runtime can fetch them.  Indices are value numbers. */
enum cohort_code exec_constants(const struct program *p, int **ids, int *count,
                                struct cohort_error *err);

/* After exec_prepare(): is the constant's own data still read when running (by an evaluator), or
 * was it packed, so that the caller may drop it? */
bool exec_uses_constant(const struct program *p, int id);

/* ---- constants that come one by one, before exec_prepare() ----------------------------------- */

/* Binds every operator whose constants all have data, packing its weights.  Errors: as
 * exec_prepare(). */
enum cohort_code exec_bind(struct program *p, struct cohort_error *err);
/* Can this constant's weights be packed some of its rows (axis 0) at a time?  One
 * operator alone reads them, and all else that it reads of constants has data. */
bool exec_takes_pieces(const struct program *p, int id);
/* Packs rows [begin, begin + part's) of such a constant, which need have no data itself: one piece
 * after the other, each of whole blocks of EXEC_PIECE_ROWS but the last.  After the first one the
 * rest must follow.  Errors: as exec_prepare(). */
#define EXEC_PIECE_ROWS 16
enum cohort_code exec_take_piece(struct program *p, int id, int64_t begin,
                                 const struct tensor *part, struct cohort_error *err);
/* May the caller drop the constant's data by now? */
bool exec_done_with(const struct program *p, int id);

struct exec_memory {
    size_t arena_bytes, pinned_bytes, weights_bytes, workspace_bytes;
};
struct exec_memory exec_memory(const struct program *p);
/* A node's packed weights; 0: it has none, or is not used. */
size_t exec_node_weights(const struct program *p, int node);
/* What half_weights did: how many weights are float16, how many of them were too large and became
 * +-65504, and the worst rounding error of any, as a share of its operator's largest weight. */
struct exec_half {
    int64_t weights, saturated;
    double error;
};
struct exec_half exec_half(const struct program *p);
/* What options.fp16 did: how many operators have a kernel with float16 arithmetic, how many
 * multiply-adds these are (of an image) and of how many of all convolutions and products, and how
 * often, in all runs, an input of theirs beyond +-65504 was taken for that. */
struct exec_fp16 {
    bool on; /* was asked for, and the CPU has it */
    int operators;
    double macs, all_macs;
    int64_t saturated;
};
struct exec_fp16 exec_fp16(const struct program *p);
/* For reports: the kernel that operator runs with ("reference" for evaluators, "free" for channels
 * that are where they should be already). */
const char *exec_op_kernel(const struct program *p, int op);
/* After exec_prepare(): operators that are computed in strips together with others. */
int exec_chained(const struct program *p);
/* After exec_prepare(): how many operators' kernels are chosen by a signature, and how many of
 * these choices are from measuring. */
void exec_count_choices(const struct program *p, int *signatures, int *chosen);

/* ---- programs with other kernels, for measuring one against the other ------------------------ */

/* Before exec_prepare() of p, a second program of the same graph, pool and options but choices:
 * nodes for which p's choices name the kernel that `from`, which is prepared, has for them, or name
 * none, get that kernel with its packed weights.  These stay until the last of the programs that
 * share them is destroyed; exec_constants() does not ask for theirs.  Not for two threads at once.
 * same: graphs may be two; of each node of p's the node of from's that computes the same, -1: none,
 * or it is not to be shared; NULL: the graph is one.  Errors: memory. */
enum cohort_code exec_share_kernels(struct program *p, struct program *from, const int *same,
                                    struct cohort_error *err);
/* p goes on counting where `from`, of the same pool, is. */
void exec_take_counts(struct program *p, const struct program *from);
/* The kernel's name that a node of a prepared program has; NULL: none of the registry. */
const char *exec_node_kernel(const struct program *p, int node);
/* After exec_prepare(): where operator `op` is computed in strips, the first operator of the chain,
 * how many those are, and the rows of a strip; elsewhere op, 1 and 0. */
int exec_op_chain(const struct program *p, int op, int *count, int64_t *strip);
/* Runs operator `op`, or the whole chain that begins there, and finds out what each took: ms[0 …
 * *count), of which there must be EXEC_CHAIN_MOST.  Within a chain that is the chain's time, shared
 * out by what the threads spent on each operator. */
#define EXEC_CHAIN_MOST 6
enum cohort_code exec_run_each(struct program *p, int op, double *ms, int *count,
                               struct cohort_error *err);
/* Of an operator, in the order in which they were added. */
int exec_op_node(const struct program *p, int op);
struct rows exec_op_rows(const struct program *p, int op);

/* ---- convenience for tests and single-board use ---------------------------------------------- */

/* Adds a slot for every value that is made, which lives as long as its readers (node i in step
 * `step` + i); slots[value] is its number, -1: none.  rows: of each value, none for those that are
 * empty; NULL: all rows, and the network's inputs and outputs are pinned. */
enum cohort_code exec_add_slots(struct program *p, const struct rows *rows, int step, int *slots,
                                struct cohort_error *err);
/* exec_add_op() with the slots of the node's values.  op may be NULL. */
enum cohort_code exec_add_node(struct program *p, int node, struct rows rows, const int *slots,
                               int *op, struct cohort_error *err);
/* Adds slots for all values and operators for all nodes of the program's graph, in tiles of
 * `tile_rows` rows (0: whole).  slots[value] is the slot of each value, -1: none. */
enum cohort_code exec_add_graph(struct program *p, int64_t tile_rows, int *slots,
                                struct cohort_error *err);

/* Runs the whole graph on one thread or pool with the given inputs (in graph order), tiles of
 * `tile_rows` rows (0: whole); fetches outputs, which are all zero before, as plain tensors that
 * the caller releases. */
enum cohort_code exec_run_graph(const struct graph *g, struct pool *pool,
                                const struct exec_options *o, int64_t tile_rows,
                                const struct tensor *inputs, struct tensor *outputs,
                                struct cohort_error *err);

#endif
