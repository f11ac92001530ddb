/* TopK: the k largest (or smallest) elements along an axis, best first, and where they are.
 *
 * X [.., a, ..]; Values, Indices [.., k, ..].  k is an attribute before opset 10, an input since;
 * opset 11 added `largest` and `sorted` (the result is always sorted here, as it may be).  Of
 * equals the first counts more; a NaN is the largest. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"

#include <stdlib.h>

static enum cohort_code topk_count(const struct node *n, const struct tensor *const in[],
                                   int64_t *k, bool *known, struct cohort_error *err) {
    if (n->opset >= 10)
        return op_one_int(in[1], "k", k, known, err);
    if (node_attr(n, "k") == NULL)
        return error_set(err, COHORT_ERR_SHAPE, "the attribute k is missing");
    *k = node_attr_int(n, "k", 0);
    *known = true;
    return COHORT_OK;
}

static enum cohort_code topk_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct shape shape = in[0]->shape;
    int64_t k = 0;
    bool known = false;
    int axis;
    TRY(op_need(n, in, 0, TYPES_NUMBER, err));
    if (n->opset >= 10)
        TRY(op_need(n, in, 1, TYPES_INDEX, err));
    TRY(topk_count(n, in, &k, &known, err));
    if (known && k < 0)
        return error_set(err, COHORT_ERR_SHAPE, "k is %lld", (long long)k);
    if (shape.rank >= 0) {
        TRY(op_axis(node_attr_int(n, "axis", -1), shape.rank, &axis, err));
        if (known && shape.dim[axis] >= 0 && k > shape.dim[axis])
            return error_set(err, COHORT_ERR_SHAPE, "the %lld best of %lld elements", (long long)k,
                             (long long)shape.dim[axis]);
        shape.dim[axis] = known ? k : -1;
    }
    op_out(n, out, 0, in[0]->type, &shape);
    op_out(n, out, 1, DT_I64, &shape);
out:
    return code;
}

struct item {
    uint64_t key; /* least first */
    int64_t at;
};

static int by_key(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* The heap's root, item 0, is the worst of count items. */
static void sift(struct item *items, int64_t count, int64_t i) {
    for (;;) {
        int64_t worst = i;
        for (int64_t child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++)
            if (by_key(&items[child], &items[worst]) > 0)
                worst = child;
        if (worst == i)
            return;
        struct item swap = items[i];
        items[i] = items[worst];
        items[worst] = swap;
        i = worst;
    }
}

/* The k best of a line into items, in order. */
static void select_best(const uint64_t *orders, int64_t step, int64_t length, bool largest,
                        struct item *items, int64_t k) {
    for (int64_t i = 0; i < length; i++) {
        struct item item = {.key = largest ? ~orders[i * step] : orders[i * step], .at = i};
        if (i < k) {
            items[i] = item;
            for (int64_t j = k / 2 - 1; i == k - 1 && j >= 0; j--)
                sift(items, k, j);
        } else if (by_key(&item, &items[0]) < 0) {
            items[0] = item;
            sift(items, k, 0);
        }
    }
    qsort(items, (size_t)k, sizeof *items, by_key);
}

static enum cohort_code topk_eval(const struct node *n, const struct tensor *const in[],
                                  struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const struct shape *s = &in[0]->shape;
    bool largest = node_attr_int(n, "largest", 1) != 0;
    size_t size = dtype_bytes(in[0]->type);
    uint64_t *orders = NULL;
    struct item *items = NULL;
    int axis;
    TRY(op_axis(node_attr_int(n, "axis", -1), s->rank, &axis, err));
    int64_t inner = shape_product(s, axis + 1, s->rank), length = s->dim[axis];
    int64_t k = out[0]->shape.dim[axis];
    int64_t lines = k > 0 ? shape_count(&out[0]->shape) / k : 0;
    TRY(op_orders(in[0], &orders, err));
    items = mem_zalloc((size_t)k, sizeof *items);
    if (items == NULL)
        TRY(error_memory(err, (unsigned long long)k * sizeof *items, "the best elements"));
    for (int64_t line = 0; line < lines; line++) {
        int64_t from = line / inner * inner * length + line % inner;
        int64_t to = line / inner * inner * k + line % inner;
        select_best(orders + from, inner, length, largest, items, k);
        for (int64_t i = 0; i < k; i++) {
            op_fill(op_at(out[0], to + i * inner), op_at(in[0], from + items[i].at * inner), size,
                    1);
            if (n->out_count > 1)
                tensor_i64(out[1])[to + i * inner] = items[i].at;
        }
    }
out:
    mem_free(items);
    mem_free(orders);
    return code;
}

static double topk_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? (double)count : 0;
}

#define ROW(first, last, inputs)                                                                   \
    {                                                                                              \
        .name = "TopK", .domain = "", .since = first, .until = last, .min_inputs = inputs,         \
        .max_inputs = inputs, .max_outputs = 2, .infer = topk_infer, .eval = topk_eval,            \
        .flops = topk_flops                                                                        \
    }

const struct op_desc op_topk_1 = ROW(1, 9, 1);
const struct op_desc op_topk = ROW(10, OPSET_LAST, 2);
