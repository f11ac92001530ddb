/* See ops_common.h.  No operator is defined here. */
#include "graph/ops/ops_common.h"
#include "base/mem.h"

#include <string.h>

/* ---- inputs and types ------------------------------------------------------------------------ */

const struct tensor *op_in(const struct node *n, const struct tensor *const in[], int i) {
    if (i < 0 || i >= n->in_count || i == n->epilogue.residual)
        return NULL;
    return in[i];
}

enum cohort_code op_need(const struct node *n, const struct tensor *const in[], int i,
                         unsigned types, struct cohort_error *err) {
    const struct tensor *t = op_in(n, in, i);
    if (t == NULL)
        return error_set(err, COHORT_ERR_SHAPE, "input %d is missing", i);
    if ((unsigned)t->type > 31 || (types & TYPE_BIT(t->type)) == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "input %d has type %s, which %s does not take", i, dtype_name(t->type),
                         n->op != NULL ? n->op->name : "the operator");
    return COHORT_OK;
}

enum cohort_code op_need_same(const struct node *n, const struct tensor *const in[], int i,
                              struct cohort_error *err) {
    const struct tensor *t = op_in(n, in, i);
    if (t == NULL)
        return error_set(err, COHORT_ERR_SHAPE, "input %d is missing", i);
    if (t->type != in[0]->type)
        return error_set(err, COHORT_ERR_SHAPE, "input %d has type %s, but input 0 has %s", i,
                         dtype_name(t->type), dtype_name(in[0]->type));
    return COHORT_OK;
}

enum cohort_code op_need_all(const struct node *n, const struct tensor *const in[], unsigned types,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(op_need(n, in, 0, types, err));
    for (int i = 1; i < n->in_count; i++)
        if (op_in(n, in, i) != NULL)
            TRY(op_need_same(n, in, i, err));
out:
    return code;
}

/* ---- outputs --------------------------------------------------------------------------------- */

void op_out(const struct node *n, struct tensor out[], int i, enum dtype type,
            const struct shape *shape) {
    if (i >= n->out_count)
        return;
    out[i].type = type;
    out[i].shape = *shape;
}

struct shape shape_unknown(int rank) {
    struct shape s = {.rank = rank};
    for (int i = 0; i < RANK_MAX; i++)
        s.dim[i] = i < rank ? -1 : 0;
    return s;
}

enum cohort_code op_broadcast(const struct node *n, const struct tensor *const in[], int count,
                              struct shape *shape, struct cohort_error *err) {
    struct shape sum = {.rank = 0};
    for (int i = 0; i < count; i++) {
        const struct tensor *t = op_in(n, in, i);
        if (t == NULL)
            return error_set(err, COHORT_ERR_SHAPE, "input %d is missing", i);
        if (t->shape.rank < 0 || sum.rank < 0) {
            sum = shape_unknown(-1);
            continue;
        }
        struct shape both;
        if (!shape_broadcast(&sum, &t->shape, &both)) {
            char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
            return error_set(err, COHORT_ERR_SHAPE, "shapes %s and %s do not fit together",
                             shape_text(&sum, a, sizeof a), shape_text(&t->shape, b, sizeof b));
        }
        sum = both;
    }
    *shape = sum;
    return COHORT_OK;
}

/* ---- axes and integer lists ------------------------------------------------------------------ */

enum cohort_code op_axis(int64_t axis, int rank, int *out, struct cohort_error *err) {
    if (!shape_axis(axis, rank, out))
        return error_set(err, COHORT_ERR_SHAPE, "axis %lld is not within [%d, %d] (rank %d)",
                         (long long)axis, -rank, rank - 1, rank);
    return COHORT_OK;
}

int64_t op_list_length(const struct tensor *t) {
    if (t == NULL || t->shape.rank > 1)
        return -1;
    return shape_count(&t->shape);
}

enum cohort_code op_ints(const struct tensor *t, const char *what, int64_t *values, int max,
                         int *count, struct cohort_error *err) {
    if ((TYPES_INDEX & TYPE_BIT(t->type)) == 0)
        return error_set(err, COHORT_ERR_SHAPE, "%s has type %s; int64 is needed", what,
                         dtype_name(t->type));
    if (t->shape.rank > 1)
        return error_set(err, COHORT_ERR_SHAPE, "%s has rank %d; a list is needed", what,
                         t->shape.rank);
    int64_t length = op_list_length(t);
    if (length > max)
        return error_set(err, COHORT_ERR_SHAPE, "%s has %lld elements; at most %d are possible",
                         what, (long long)length, max);
    if (t->data == NULL || length < 0) {
        *count = -1;
        return COHORT_OK;
    }
    for (int64_t i = 0; i < length; i++)
        values[i] = tensor_get_i64(t, i);
    *count = (int)length;
    return COHORT_OK;
}

enum cohort_code op_one_int(const struct tensor *t, const char *what, int64_t *value, bool *known,
                            struct cohort_error *err) {
    int count;
    enum cohort_code code = op_ints(t, what, value, 1, &count, err);
    if (code == COHORT_OK && count == 0)
        code = error_set(err, COHORT_ERR_SHAPE, "%s is empty; one number is needed", what);
    *known = count == 1;
    return code;
}

enum cohort_code op_index(int64_t index, int64_t length, int64_t *out, struct cohort_error *err) {
    if (index < -length || index >= length)
        return error_set(err, COHORT_ERR_SHAPE, "index %lld is not within [%lld, %lld]",
                         (long long)index, (long long)-length, (long long)length - 1);
    *out = index < 0 ? index + length : index;
    return COHORT_OK;
}

enum cohort_code op_axes(const struct node *n, const struct tensor *const in[], int input, int rank,
                         struct axes *a, struct cohort_error *err) {
    int64_t values[RANK_MAX];
    int count = 0;
    *a = (struct axes){.known = true};
    const struct tensor *t = input >= 0 ? op_in(n, in, input) : NULL;
    if (t != NULL) {
        a->given = true;
        enum cohort_code code = op_ints(t, "axes", values, RANK_MAX, &count, err);
        if (code != COHORT_OK)
            return code;
        a->known = count >= 0;
    } else if (node_attr(n, "axes") != NULL) {
        a->given = true;
        const int64_t *ints = node_attr_ints(n, "axes", &count);
        if (count > RANK_MAX)
            return error_set(err, COHORT_ERR_SHAPE, "axes has %d elements", count);
        for (int i = 0; i < count; i++)
            values[i] = ints[i];
    }
    for (int i = 0; i < count; i++) {
        int axis = 0;
        enum cohort_code code = op_axis(values[i], rank, &axis, err);
        if (code != COHORT_OK)
            return code;
        if (a->has[axis])
            return error_set(err, COHORT_ERR_SHAPE, "axis %d is given twice", axis);
        a->has[axis] = true;
        a->axis[a->count++] = axis;
    }
    return COHORT_OK;
}

/* ---- broadcasting ---------------------------------------------------------------------------- */

void op_strides(const struct shape *s, int64_t stride[RANK_MAX]) {
    int64_t step = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= s->dim[i];
    }
}

/* The stride of each axis of `shape` in an operand that is broadcast to it: 0 where it repeats. */
static void bcast_strides(const struct shape *shape, const struct shape *operand, int64_t *stride) {
    int64_t own[RANK_MAX];
    op_strides(operand, own);
    int missing = shape->rank - operand->rank;
    for (int i = 0; i < shape->rank; i++) {
        int axis = i - missing;
        stride[i] = axis < 0 || operand->dim[axis] == 1 ? 0 : own[axis];
    }
}

void bcast_begin(struct bcast *b, const struct shape *shape, const struct tensor *const in[],
                 int operands) {
    BUG_UNLESS(operands <= BCAST_MAX);
    *b = (struct bcast){.more = shape_count(shape) > 0, .operands = operands};
    int64_t full[BCAST_MAX][RANK_MAX] = {{0}};
    for (int k = 0; k < operands; k++)
        bcast_strides(shape, &in[k]->shape, full[k]);
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] == 1)
            continue;
        /* An axis joins the one before it when every operand walks through both in one stride. */
        bool joins = b->rank > 0;
        for (int k = 0; k < operands && joins; k++)
            joins = b->stride[k][b->rank - 1] == full[k][i] * shape->dim[i];
        int at = joins ? b->rank - 1 : b->rank++;
        b->dim[at] = joins ? b->dim[at] * shape->dim[i] : shape->dim[i];
        for (int k = 0; k < operands; k++)
            b->stride[k][at] = full[k][i];
    }
    b->run = 1;
    if (b->rank > 0) {
        b->rank--;
        b->run = b->dim[b->rank];
        for (int k = 0; k < operands; k++)
            b->step[k] = b->stride[k][b->rank];
    }
}

void bcast_next(struct bcast *b) {
    b->out += b->run;
    for (int i = b->rank - 1; i >= 0; i--) {
        for (int k = 0; k < b->operands; k++)
            b->at[k] += b->stride[k][i];
        if (++b->index[i] < b->dim[i])
            return;
        for (int k = 0; k < b->operands; k++)
            b->at[k] -= b->stride[k][i] * b->dim[i];
        b->index[i] = 0;
    }
    b->more = false;
}

/* ---- moving ---------------------------------------------------------------------------------- */

enum cohort_code op_same_eval(const struct node *n, const struct tensor *const in[],
                              struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    size_t bytes = tensor_bytes(in[0]);
    if (bytes > 0)
        memcpy(out[0]->data, in[0]->data, bytes);
    return COHORT_OK;
}

/* One run of `count` elements, `size` bytes each, at byte steps. */
static void copy_run(unsigned char *to, ptrdiff_t to_step, const unsigned char *from,
                     ptrdiff_t from_step, int64_t count, size_t size) {
    if (to_step == (ptrdiff_t)size && from_step == (ptrdiff_t)size) {
        memcpy(to, from, (size_t)count * size);
    } else if (size == 4) {
        for (int64_t j = 0; j < count; j++, to += to_step, from += from_step)
            memcpy(to, from, 4);
    } else if (size == 8) {
        for (int64_t j = 0; j < count; j++, to += to_step, from += from_step)
            memcpy(to, from, 8);
    } else {
        for (int64_t j = 0; j < count; j++, to += to_step, from += from_step)
            memcpy(to, from, size);
    }
}

void op_copy(void *to, const int64_t *to_stride, const void *from, const int64_t *from_stride,
             int rank, const int64_t *dim, size_t size) {
    int64_t dims[RANK_MAX], ts[RANK_MAX], fs[RANK_MAX], index[RANK_MAX] = {0};
    int axes = 0;
    for (int i = 0; i < rank; i++) {
        if (dim[i] == 0)
            return;
        if (dim[i] == 1)
            continue;
        bool joins = axes > 0 && ts[axes - 1] == to_stride[i] * dim[i] &&
                     fs[axes - 1] == from_stride[i] * dim[i];
        int at = joins ? axes - 1 : axes++;
        dims[at] = joins ? dims[at] * dim[i] : dim[i];
        ts[at] = to_stride[i];
        fs[at] = from_stride[i];
    }
    if (axes == 0) {
        memcpy(to, from, size);
        return;
    }
    int outer = axes - 1;
    ptrdiff_t bytes = (ptrdiff_t)size;
    unsigned char *t = to;
    const unsigned char *f = from;
    for (;;) {
        copy_run(t, (ptrdiff_t)ts[outer] * bytes, f, (ptrdiff_t)fs[outer] * bytes, dims[outer],
                 size);
        int i = outer - 1;
        for (; i >= 0; i--) {
            t += ts[i] * bytes;
            f += fs[i] * bytes;
            if (++index[i] < dims[i])
                break;
            t -= ts[i] * dims[i] * bytes;
            f -= fs[i] * dims[i] * bytes;
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

/* ---- maps and rows --------------------------------------------------------------------------- */

bool map_value(const struct graph *g, int id) {
    if (id < 0)
        return false;
    const struct value *v = graph_value(g, id);
    return v->type == DT_F32 && (v->shape.rank == 3 || v->shape.rank == 4) &&
           shape_count(&v->shape) > 0;
}

bool map_unary_ok(const struct graph *g, const struct node *n) {
    if (n->in_count < 1 || !map_value(g, n->in[0]) || graph_value(g, n->in[0])->is_constant ||
        !map_value(g, n->out[0]))
        return false;
    for (int i = 1; i < n->in_count; i++)
        if (i != n->epilogue.residual && n->in[i] >= 0 && !graph_value(g, n->in[i])->is_constant)
            return false;
    for (int i = 1; i < n->out_count; i++)
        if (n->out[i] >= 0 && graph_value(g, n->out[i])->uses > 0)
            return false;
    return true;
}

bool map_channel_constant(const struct tensor *t, const struct shape *map) {
    if (t == NULL || t->type != DT_F32 || t->shape.rank > map->rank)
        return false;
    int channel_axis = 1 - (map->rank - t->shape.rank); /* within t */
    for (int i = 0; i < t->shape.rank; i++)
        if (t->shape.dim[i] != 1 && (i != channel_axis || t->shape.dim[i] != map->dim[1]))
            return false;
    return true;
}

/* Operand i of a map: a constant number per channel, or a map of the output's rank each of whose
 * dims is the output's or 1. */
static bool map_operand_ok(const struct graph *g, const struct node *n, int i) {
    const struct shape *o = &graph_value(g, n->out[0])->shape;
    const struct value *v = graph_value(g, n->in[i]);
    if (v->is_constant)
        return map_channel_constant(&v->constant, o);
    if (!map_value(g, n->in[i]) || v->shape.rank != o->rank)
        return false;
    for (int k = 0; k < o->rank; k++)
        if (v->shape.dim[k] != o->dim[k] && v->shape.dim[k] != 1)
            return false;
    return true;
}

bool map_binary_ok(const struct graph *g, const struct node *n) {
    int operands = n->in_count - (n->epilogue.residual >= 2);
    if (operands != 2 || n->in[0] < 0 || n->in[1] < 0 || !map_value(g, n->out[0]))
        return false;
    if (graph_value(g, n->in[0])->is_constant && graph_value(g, n->in[1])->is_constant)
        return false;
    return map_operand_ok(g, n, 0) && map_operand_ok(g, n, 1);
}

void rows_same(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    (void)g;
    (void)n;
    (void)i;
    map->kind = ROWMAP_AFFINE;
    map->num = map->den = 1;
    map->lo = map->hi = 0;
}

void rows_image(struct rowmap *map) {
    map->kind = ROWMAP_ALL;
    map->out_height = 1;
}

enum cohort_code op_eval_made(const struct node *n, const struct tensor *const in[],
                              struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct tensor *results = mem_zalloc((size_t)n->out_count, sizeof *results);
    if (results == NULL)
        return error_memory(err, (size_t)n->out_count * sizeof *results, "an operator's results");
    TRY(op_make(n, in, results, err));
    for (int i = 0; i < n->out_count; i++) {
        if (out[i] == NULL)
            continue;
        if (results[i].type != out[i]->type || !shape_equal(&results[i].shape, &out[i]->shape))
            TRY(error_set(err, COHORT_ERR_INTERNAL, "output %d changed its shape", i));
        if (tensor_bytes(out[i]) > 0)
            memcpy(out[i]->data, results[i].data, tensor_bytes(out[i]));
    }
out:
    for (int i = 0; i < n->out_count; i++)
        tensor_release(&results[i]);
    mem_free(results);
    return code;
}
