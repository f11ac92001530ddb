/* Operators whose output's size depends on the data: NonZero (opset 9), Compress (9), Unique (11).
 * infer() counts when the data is known, and leaves the size open otherwise. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"

#include <stdlib.h>
#include <string.h>

/* Is element i other than zero?  A NaN is. */
static bool is_set(const struct tensor *t, int64_t i) {
    union op_chunk x;
    if (!dtype_is_float(t->type))
        return tensor_get_i64(t, i) != 0;
    x.f[0] = tensor_get_f64(t, i);
    return x.f[0] < 0 || x.f[0] > 0 || x.f[0] != x.f[0];
}

static int64_t count_set(const struct tensor *t) {
    int64_t total = shape_count(&t->shape), count = 0;
    for (int64_t i = 0; i < total; i++)
        count += is_set(t, i);
    return count;
}

/* ---- NonZero --------------------------------------------------------------------------------- */

static enum cohort_code nonzero_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = op_need(n, in, 0, TYPES_ANY, err);
    struct shape shape = shape_of(2, (const int64_t[]){in[0]->shape.rank, -1});
    if (code != COHORT_OK)
        return code;
    if (in[0]->data != NULL)
        shape.dim[1] = count_set(in[0]);
    op_out(n, out, 0, DT_I64, &shape);
    return COHORT_OK;
}

/* Column k has the coordinates of the k-th element that is not zero. */
static enum cohort_code nonzero_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    (void)n;
    (void)err;
    const struct shape *s = &in[0]->shape;
    int64_t index[RANK_MAX] = {0}, i = 0, column = 0, columns = out[0]->shape.dim[1];
    if (shape_count(s) == 0)
        return COHORT_OK;
    do {
        if (!is_set(in[0], i++))
            continue;
        BUG_UNLESS(column < columns);
        for (int k = 0; k < s->rank; k++)
            tensor_i64(out[0])[k * columns + column] = index[k];
        column++;
    } while (op_step(s, index));
    return COHORT_OK;
}

const struct op_desc op_non_zero = {
    .name = "NonZero",
    .domain = "",
    .since = 9,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .infer = nonzero_infer,
    .eval = nonzero_eval,
};

/* ---- Compress -------------------------------------------------------------------------------- */

static enum cohort_code compress_infer(struct node *n, const struct tensor *const in[],
                                       struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = in[0]->shape;
    const struct shape *c = &in[1]->shape;
    int axis = 0;
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    TRY(op_need(n, in, 1, TYPES_BOOL, err));
    if (c->rank >= 0 && c->rank != 1)
        return error_set(err, COHORT_ERR_SHAPE, "a condition of rank %d; a list is needed",
                         c->rank);
    if (node_attr(n, "axis") == NULL)
        shape = shape_of(1, (const int64_t[]){shape_count(&shape)});
    else if (shape.rank >= 0)
        TRY(op_axis(node_attr_int(n, "axis", 0), shape.rank, &axis, err));
    if (shape.rank >= 0) {
        if (shape_known(c) && shape.dim[axis] >= 0 && c->dim[0] > shape.dim[axis])
            return error_set(err, COHORT_ERR_SHAPE, "%lld conditions for %lld elements",
                             (long long)c->dim[0], (long long)shape.dim[axis]);
        shape.dim[axis] = in[1]->data != NULL ? count_set(in[1]) : -1;
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

static enum cohort_code compress_eval(const struct node *n, const struct tensor *const in[],
                                      struct tensor *const out[], struct cohort_error *err) {
    const struct shape *s = &in[0]->shape;
    int64_t outer = 1, inner = 1, length = shape_count(s), to = 0;
    if (node_attr(n, "axis") != NULL) {
        int axis;
        enum cohort_code code = op_axis(node_attr_int(n, "axis", 0), s->rank, &axis, err);
        if (code != COHORT_OK)
            return code;
        outer = shape_product(s, 0, axis);
        inner = shape_product(s, axis + 1, s->rank);
        length = s->dim[axis];
    }
    size_t bytes = (size_t)inner * dtype_bytes(in[0]->type);
    for (int64_t o = 0; bytes > 0 && o < outer; o++)
        for (int64_t i = 0; i < shape_count(&in[1]->shape); i++)
            if (is_set(in[1], i))
                memcpy(op_at(out[0], to++ * inner), op_at(in[0], (o * length + i) * inner), bytes);
    return COHORT_OK;
}

const struct op_desc op_compress = {
    .name = "Compress",
    .domain = "",
    .since = 9,
    .until = OPSET_LAST,
    .min_inputs = 2,
    .max_inputs = 2,
    .max_outputs = 1,
    .flags = OP_MOVE,
    .infer = compress_infer,
    .eval = compress_eval,
};

/* ---- Unique ---------------------------------------------------------------------------------- */

/* What is compared: elements, or the slices along an axis. */
struct slice {
    const uint64_t *keys; /* of its first element */
    int64_t at;           /* which slice it is */
    int64_t outer, inner, pitch;
};

static int compare_slices(const struct slice *x, const struct slice *y) {
    for (int64_t o = 0; o < x->outer; o++)
        for (int64_t i = 0; i < x->inner; i++) {
            uint64_t a = x->keys[o * x->pitch + i], b = y->keys[o * y->pitch + i];
            if (a != b)
                return a < b ? -1 : 1;
        }
    return 0;
}

static int by_keys(const void *a, const void *b) {
    const struct slice *x = a, *y = b;
    int order = compare_slices(x, y);
    return order != 0 ? order : (x->at > y->at) - (x->at < y->at);
}

struct group {
    int64_t first, count; /* where it is first, and how often */
    int64_t number;       /* in the order of the keys */
};

static int by_first(const void *a, const void *b) {
    const struct group *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

struct uniques {
    int64_t outer, length, inner; /* of the input */
    int64_t count;
    struct group *groups; /* in the order of the output */
    int64_t *inverse;     /* [length], the group's number in the order of the keys */
};

static void uniques_release(struct uniques *u) {
    mem_free(u->groups);
    mem_free(u->inverse);
}

static enum cohort_code find_uniques(const struct node *n, const struct tensor *t,
                                     struct uniques *u, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    uint64_t *keys = NULL;
    struct slice *slices = NULL;
    const struct shape *s = &t->shape;
    *u = (struct uniques){.outer = 1, .length = shape_count(s), .inner = 1};
    if (node_attr(n, "axis") != NULL) {
        int axis;
        TRY(op_axis(node_attr_int(n, "axis", 0), s->rank, &axis, err));
        u->outer = shape_product(s, 0, axis);
        u->length = s->dim[axis];
        u->inner = shape_product(s, axis + 1, s->rank);
        if (shape_count(s) == 0 && u->length > 0) /* slices of nothing are all the same */
            u->outer = 0;
    }
    TRY(op_orders(t, &keys, err));
    slices = mem_zalloc((size_t)u->length, sizeof *slices);
    u->groups = mem_zalloc((size_t)u->length, sizeof *u->groups);
    u->inverse = mem_zalloc((size_t)u->length, sizeof *u->inverse);
    if (slices == NULL || u->groups == NULL || u->inverse == NULL)
        TRY(error_memory(err, (unsigned long long)u->length * sizeof *slices, "unique elements"));
    for (int64_t i = 0; i < u->length; i++)
        slices[i] = (struct slice){.keys = keys + i * u->inner,
                                   .at = i,
                                   .outer = u->outer,
                                   .inner = u->inner,
                                   .pitch = u->length * u->inner};
    qsort(slices, (size_t)u->length, sizeof *slices, by_keys);
    for (int64_t i = 0; i < u->length; i++) {
        if (i == 0 || compare_slices(&slices[i - 1], &slices[i]) != 0) {
            u->groups[u->count] = (struct group){.first = slices[i].at, .number = u->count};
            u->count++;
        }
        u->groups[u->count - 1].count++;
        u->inverse[slices[i].at] = u->count - 1;
    }
    if (node_attr_int(n, "sorted", 1) == 0)
        qsort(u->groups, (size_t)u->count, sizeof *u->groups, by_first);
out:
    mem_free(slices);
    mem_free(keys);
    return code;
}

/* u->count: -1 where it is not known. */
static enum cohort_code unique_shapes(const struct node *n, const struct tensor *in,
                                      const struct uniques *u, struct tensor out[],
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = shape_unknown(1);
    int axis = 0;
    if (node_attr(n, "axis") != NULL) {
        shape = in->shape;
        if (shape.rank >= 0)
            TRY(op_axis(node_attr_int(n, "axis", 0), shape.rank, &axis, err));
    }
    if (shape.rank >= 0)
        shape.dim[axis] = u->count;
    op_out(n, out, 0, in->type, &shape);
    for (int i = 1; i < 4; i++) {
        struct shape list = shape_of(1, &u->count);
        if (i == 2) /* the inverse: one for each slice */
            list.dim[0] = node_attr(n, "axis") == NULL ? shape_count(&in->shape)
                          : in->shape.rank >= 0        ? in->shape.dim[axis]
                                                       : -1;
        op_out(n, out, i, DT_I64, &list);
    }
out:
    return code;
}

static enum cohort_code unique_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct uniques u = {.count = -1};
    TRY(op_need(n, in, 0, TYPES_ANY, err));
    if (in[0]->data != NULL && tensor_aligned(in[0]))
        TRY(find_uniques(n, in[0], &u, err));
    code = unique_shapes(n, in[0], &u, out, err);
out:
    uniques_release(&u);
    return code;
}

/* number[u->count]: room. */
static void fill_uniques(const struct node *n, const struct tensor *in, const struct uniques *u,
                         int64_t *number, struct tensor out[]) {
    const size_t bytes = (size_t)u->inner * dtype_bytes(in->type);
    for (int64_t i = 0; i < u->count; i++) {
        const struct group *g = &u->groups[i];
        number[g->number] = i;
        for (int64_t o = 0; bytes > 0 && o < u->outer; o++)
            memcpy(op_at(&out[0], (o * u->count + i) * u->inner),
                   op_at(in, (o * u->length + g->first) * u->inner), bytes);
        if (n->out_count > 1)
            tensor_i64(&out[1])[i] = g->first;
        if (n->out_count > 3)
            tensor_i64(&out[3])[i] = g->count;
    }
    for (int64_t i = 0; n->out_count > 2 && i < u->length; i++)
        tensor_i64(&out[2])[i] = number[u->inverse[i]];
}

static enum cohort_code unique_make(const struct node *n, const struct tensor *const in[],
                                    struct tensor out[], struct cohort_error *err) {
    struct uniques u;
    struct tensor shapes[4] = {{0}};
    enum cohort_code code = find_uniques(n, in[0], &u, err);
    int64_t *number = NULL; /* of a group in the output, by its number in the order of the keys */
    int made = 0;
    TRY(code);
    number = mem_zalloc((size_t)u.count, sizeof *number);
    if (number == NULL)
        TRY(error_memory(err, (unsigned long long)u.count * sizeof *number, "numbers"));
    TRY(unique_shapes(n, in[0], &u, shapes, err));
    for (; made < n->out_count; made++)
        TRY(tensor_init(&out[made], shapes[made].type, &shapes[made].shape, err));
    fill_uniques(n, in[0], &u, number, out);
out:
    for (int i = 0; code != COHORT_OK && i < made; i++)
        tensor_release(&out[i]);
    mem_free(number);
    uniques_release(&u);
    return code;
}

const struct op_desc op_unique = {
    .name = "Unique",
    .domain = "",
    .since = 11,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 4,
    .infer = unique_infer,
    .eval = op_eval_made,
    .make = unique_make,
};
