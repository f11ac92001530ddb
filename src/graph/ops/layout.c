/* Operators that only passes make (domain "cohort"): the conversions between a plain tensor and a
 * feature map, and the channel shuffle.
 *
 * On plain tensors, as evaluators see them, a conversion is a copy. */
#include "graph/ops/ops_common.h"

#include <string.h>

static enum cohort_code same_infer(struct node *n, const struct tensor *const in[],
                                   struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = op_need(n, in, 0, TYPES_ANY, err);
    if (code == COHORT_OK)
        op_out(n, out, 0, in[0]->type, &in[0]->shape);
    return code;
}

/* The plain tensor's rows of one image, where a map's image has height rows. */
static int64_t plain_height(const struct graph *g, const struct node *n) {
    const struct shape *s = &graph_value(g, n->out[0])->shape;
    return shape_product(s, 1, s->rank - 1);
}

/* A map's row holds all channels, which lie far apart in [N,C,H,W]: all rows of the image. */
static void to_map_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    (void)i;
    map->kind = ROWMAP_ALL;
    map->in_height = plain_height(g, n);
}

static void to_plain_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    (void)i;
    map->kind = ROWMAP_ALL;
    map->out_height = plain_height(g, n);
}

const struct op_desc op_to_map = {
    .name = "ToMap",
    .domain = "cohort",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .flags = OP_INTERNAL,
    .infer = same_infer,
    .eval = op_same_eval,
    .rows = to_map_rows,
};

const struct op_desc op_to_plain = {
    .name = "ToPlain",
    .domain = "cohort",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .flags = OP_INTERNAL,
    .infer = same_infer,
    .eval = op_same_eval,
    .rows = to_plain_rows,
};

/* ---- ChannelShuffle -------------------------------------------------------------------------- */

static enum cohort_code shuffle_infer(struct node *n, const struct tensor *const in[],
                                      struct tensor out[], struct cohort_error *err) {
    int64_t groups = node_attr_int(n, "group", 1);
    enum cohort_code code = same_infer(n, in, out, err);
    if (code != COHORT_OK || in[0]->shape.rank < 0)
        return code;
    const struct shape *s = &in[0]->shape;
    if (s->rank < 2 || groups < 1 || (s->dim[1] >= 0 && s->dim[1] % groups != 0))
        return error_set(err, COHORT_ERR_SHAPE, "channels that do not fall into %lld groups",
                         (long long)groups);
    return COHORT_OK;
}

/* Channels as a matrix [group][C/group], transposed: out[k*group + j] = in[j*(C/group) + k]. */
static enum cohort_code shuffle_eval(const struct node *n, const struct tensor *const in[],
                                     struct tensor *const out[], struct cohort_error *err) {
    (void)err;
    const struct shape *s = &in[0]->shape;
    int64_t groups = node_attr_int(n, "group", 1), each = s->dim[1] / groups;
    size_t bytes = (size_t)shape_product(s, 2, s->rank) * dtype_bytes(in[0]->type);
    const char *from = in[0]->data;
    char *to = out[0]->data;
    for (int64_t image = 0; bytes > 0 && image < s->dim[0]; image++)
        for (int64_t c = 0; c < s->dim[1]; c++) {
            int64_t source = c % groups * each + c / groups;
            memcpy(to + (size_t)(image * s->dim[1] + c) * bytes,
                   from + (size_t)(image * s->dim[1] + source) * bytes, bytes);
        }
    return COHORT_OK;
}

/* Plain, channels are rows, and they change places. */
static void shuffle_rows(const struct graph *g, const struct node *n, int i, struct rowmap *map) {
    if (node_in(g, n, i)->form == FORM_MAP)
        rows_same(g, n, i, map);
}

const struct op_desc op_channel_shuffle = {
    .name = "ChannelShuffle",
    .domain = "cohort",
    .since = 1,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = 1,
    .max_outputs = 1,
    .flags = OP_MOVE | OP_INTERNAL,
    .infer = shuffle_infer,
    .eval = shuffle_eval,
    .map_ok = map_unary_ok,
    .rows = shuffle_rows,
};
