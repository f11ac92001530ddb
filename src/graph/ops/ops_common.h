/* What the operators' files share: inputs and types checked, axes and integer lists read, NumPy
 * broadcasting walked, elements of any type converted, and the answers to "can it be a map?".
 *
 * Only files under graph/ops/ include this.  Everything is pure, and allocates nothing unless it
 * says so. */
#ifndef COHORT_GRAPH_OPS_COMMON_H
#define COHORT_GRAPH_OPS_COMMON_H

#include "graph/op.h"

/* ---- inputs and types ------------------------------------------------------------------------ */

#define TYPE_BIT(t)    (1u << (unsigned)(t))
#define TYPES_FLOAT    (TYPE_BIT(DT_F16) | TYPE_BIT(DT_BF16) | TYPE_BIT(DT_F32) | TYPE_BIT(DT_F64))
#define TYPES_SIGNED   (TYPE_BIT(DT_I8) | TYPE_BIT(DT_I16) | TYPE_BIT(DT_I32) | TYPE_BIT(DT_I64))
#define TYPES_UNSIGNED (TYPE_BIT(DT_U8) | TYPE_BIT(DT_U16) | TYPE_BIT(DT_U32) | TYPE_BIT(DT_U64))
#define TYPES_INTEGER  (TYPES_SIGNED | TYPES_UNSIGNED)
#define TYPES_NUMBER   (TYPES_FLOAT | TYPES_INTEGER)
#define TYPES_BOOL     TYPE_BIT(DT_BOOL)
#define TYPES_ANY      (TYPES_NUMBER | TYPES_BOOL)
#define TYPES_INDEX    (TYPE_BIT(DT_I32) | TYPE_BIT(DT_I64))

/* Input i, or NULL when it is left out, beyond in_count, or only the epilogue's residual. */
const struct tensor *op_in(const struct node *n, const struct tensor *const in[], int i);
/* Input i must be there, and of one of these types.  Errors: shape, unsupported. */
enum cohort_code op_need(const struct node *n, const struct tensor *const in[], int i,
                         unsigned types, struct cohort_error *err);
/* The same, and of the type that input 0 has. */
enum cohort_code op_need_same(const struct node *n, const struct tensor *const in[], int i,
                              struct cohort_error *err);
/* Like op_need_same(), for all inputs [0, in_count) that are not left out; input 0 must be there.
 */
enum cohort_code op_need_all(const struct node *n, const struct tensor *const in[], unsigned types,
                             struct cohort_error *err);

/* ---- outputs --------------------------------------------------------------------------------- */

/* Sets type and shape of output i, if the node has it. */
void op_out(const struct node *n, struct tensor out[], int i, enum dtype type,
            const struct shape *shape);
struct shape shape_unknown(int rank); /* rank -1, or that many unknown dims */
/* The broadcast shape of inputs [0, count).  Errors: shape, naming both. */
enum cohort_code op_broadcast(const struct node *n, const struct tensor *const in[], int count,
                              struct shape *shape, struct cohort_error *err);

/* ---- axes and integer lists ------------------------------------------------------------------ */

/* A negative axis made positive.  Errors: shape, naming the axis and the rank. */
enum cohort_code op_axis(int64_t axis, int rank, int *out, struct cohort_error *err);

/* The elements of a one-dimensional (or scalar) int32 or int64 tensor; *count = -1 when its
 * contents are not known.  Errors: shape (more than max elements, other types; `what` names it). */
enum cohort_code op_ints(const struct tensor *t, const char *what, int64_t *values, int max,
                         int *count, struct cohort_error *err);
/* How many elements a one-dimensional list has: -1 when not known (also for t == NULL). */
int64_t op_list_length(const struct tensor *t);
/* The element of an int32 or int64 tensor that has only one; *known is false when its contents are
 * not known.  Errors: shape. */
enum cohort_code op_one_int(const struct tensor *t, const char *what, int64_t *value, bool *known,
                            struct cohort_error *err);
/* A negative index made positive, into *out.  Errors: shape, naming the index and the length. */
enum cohort_code op_index(int64_t index, int64_t length, int64_t *out, struct cohort_error *err);

struct axes {
    bool given; /* the attribute or the input is there */
    bool known; /* false: an input whose contents are not known yet */
    int count;
    int axis[RANK_MAX]; /* made positive, in the order given */
    bool has[RANK_MAX];
};
/* Axes from attribute "axes", or from input number `input` (-1: never).  Errors: shape (out of
 * range, twice the same). */
enum cohort_code op_axes(const struct node *n, const struct tensor *const in[], int input, int rank,
                         struct axes *a, struct cohort_error *err);

/* ---- elements -------------------------------------------------------------------------------- */

/* Elements are computed in one of three types, so that an operator is three short loops at most. */
enum op_class { CLASS_F64, CLASS_I64, CLASS_U64 }; /* floats; bool and integers; uint64 */
enum op_class op_class_of(enum dtype t);
/* Towards zero; NaN becomes 0, what is too large the most or least that there is. */
int64_t op_f64_to_i64(double v);

#define OP_CHUNK 256 /* elements converted at a time; the buffers live on the stack */
union op_chunk {
    double f[OP_CHUNK];
    int64_t i[OP_CHUNK];
    uint64_t u[OP_CHUNK];
};
/* Reads elements first, first+step, … of an aligned tensor as class c (count <= OP_CHUNK; step 0
 * repeats one element). */
void op_load(enum op_class c, const struct tensor *t, int64_t first, int64_t step, int64_t count,
             union op_chunk *chunk);
/* Writes elements [first, first+count): floats rounded, integers wrapped around as in C and NumPy,
 * floats into integers truncated and saturated (NaN: 0), bool as 0 or 1. */
void op_store(enum op_class c, struct tensor *t, int64_t first, int64_t count,
              const union op_chunk *chunk);

/* A number by which elements are ordered as by their values: a NaN after everything else, both
 * zeros alike. */
uint64_t op_order(enum op_class c, const union op_chunk *chunk, int64_t j);
/* The same for elements [0, count) of a tensor, in new memory (mem_free).  Errors: memory. */
enum cohort_code op_orders(const struct tensor *t, uint64_t **orders, struct cohort_error *err);

/* Where element i lies, for moving elements of any type. */
static inline unsigned char *op_at(const struct tensor *t, int64_t i) {
    return (unsigned char *)t->data + (size_t)i * dtype_bytes(t->type);
}
/* The coordinates of the next element in row-major order; false behind the last (all zero again).
 * The shape must have elements. */
bool op_step(const struct shape *s, int64_t index[RANK_MAX]);

/* One element into several: `to` is filled with count copies of an element of `size` bytes. */
void op_fill(void *to, const void *element, size_t size, int64_t count);

/* ---- broadcasting ---------------------------------------------------------------------------- */

/* Walks the output in order, in runs along which each operand moves by 0 or 1 elements:
 *     for (bcast_begin(&b, &out->shape, in, 2); b.more; bcast_next(&b))
 *         … out[b.out + j], in0[b.at[0] + j * b.step[0]] … for j < b.run */
#define BCAST_MAX 4
struct bcast {
    bool more;
    int64_t run;             /* elements of one run */
    int64_t out;             /* where the output's run begins */
    int64_t at[BCAST_MAX];   /* where each operand's begins */
    int64_t step[BCAST_MAX]; /* 0 or 1 */
    int operands;
    int rank; /* outer axes, equal neighbours merged */
    int64_t dim[RANK_MAX], index[RANK_MAX];
    int64_t stride[BCAST_MAX][RANK_MAX];
};
/* `shape` is the broadcast shape; operands may be of lower rank. */
void bcast_begin(struct bcast *b, const struct shape *shape, const struct tensor *const in[],
                 int operands);
void bcast_next(struct bcast *b);

/* ---- moving ---------------------------------------------------------------------------------- */

/* The eval of an operator whose output 0 has the data of its input 0, whatever its shape. */
enum cohort_code op_same_eval(const struct node *n, const struct tensor *const in[],
                              struct tensor *const out[], struct cohort_error *err);

/* The eval of an operator that has make(): copies what that gives. */
enum cohort_code op_eval_made(const struct node *n, const struct tensor *const in[],
                              struct tensor *const out[], struct cohort_error *err);

/* Row-major element strides of a dense tensor. */
void op_strides(const struct shape *s, int64_t stride[RANK_MAX]);
/* to[sum i_k*to_stride_k] = from[sum i_k*from_stride_k] for all i < dim; strides in elements of
 * `size` bytes, negative or zero allowed. */
void op_copy(void *to, const int64_t *to_stride, const void *from, const int64_t *from_stride,
             int rank, const int64_t *dim, size_t size);

/* ---- maps and rows --------------------------------------------------------------------------- */

/* Could this value be a feature map: float32, rank 3 or 4, shape known and nothing empty? */
bool map_value(const struct graph *g, int id);
/* Input 0 and output 0 could be maps, all other inputs are constant, there are no other outputs. */
bool map_unary_ok(const struct graph *g, const struct node *n);
/* Two operands, each a map whose every dim is the output's or 1, or a map_channel_constant(); not
 * both constant. */
bool map_binary_ok(const struct graph *g, const struct node *n);
/* A float32 constant that is one number, or one per channel of a map of that shape (right-aligned
 * as in broadcasting: [C,1,1], [1,C,1,1]; for rank 3 [C,1], [1,C,1]). */
bool map_channel_constant(const struct tensor *t, const struct shape *map);
/* Output row y needs row y. */
void rows_same(const struct graph *g, const struct node *n, int i, struct rowmap *map);
/* Output row n (a map's image or a plain row) needs all rows of image n. */
void rows_image(struct rowmap *map);

#endif
