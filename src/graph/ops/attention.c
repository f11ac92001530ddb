/* Attention (opset 23): softmax(Q K' * scale, masked) V, head by head; and RotaryEmbedding.
 *
 * Q [B, H, L, D], K [B, G, S, D], V [B, G, S, E], or 3-D [B, L, H*D] … with q_num_heads and
 * kv_num_heads; H is a multiple of G.  mask: bool or to add, broadcast to [B, H, L, T] from the
 * right (what a last axis lacks is masked); past_key, past_value [B, G, P, …] come before K and V
 * (T = P + S); nonpad_kv_seqlen [B] (opset 24): how many keys of a batch count.
 * Out: Y like Q with E for D, present_key, present_value [B, G, T, …], and Q K' [B, H, L, T] as it
 * is at the stage that qk_matmul_output_mode names. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"
#include "graph/ops/ops_window.h"

#include <math.h>
#include <string.h>

enum { Q, K, V, MASK, PAST_KEY, PAST_VALUE, NONPAD };

/* A tensor seen as [batch, head, row, depth]. */
struct heads {
    int64_t batch, heads, rows, depth;
    int64_t batch_pitch, head_pitch, row_pitch;
};

static enum cohort_code see_heads(const struct tensor *t, const char *what, int64_t heads,
                                  struct heads *h, struct cohort_error *err) {
    const struct shape *s = &t->shape;
    char text[SHAPE_TEXT_BYTES];
    if (s->rank == 4) {
        *h = (struct heads){s->dim[0], s->dim[1], s->dim[2], s->dim[3], 0, 0, s->dim[3]};
        h->head_pitch = h->rows * h->depth;
        h->batch_pitch = h->heads * h->head_pitch;
        return COHORT_OK;
    }
    if (s->rank != 3 || heads < 1 || s->dim[2] % heads != 0)
        return error_set(err, COHORT_ERR_SHAPE, "%s has shape %s, with %lld heads", what,
                         shape_text(s, text, sizeof text), (long long)heads);
    int64_t depth = s->dim[2] / heads;
    *h =
        (struct heads){s->dim[0], heads, s->dim[1], depth, s->dim[1] * s->dim[2], depth, s->dim[2]};
    return COHORT_OK;
}

struct attention {
    struct heads q, k, v, past_k, past_v;
    int64_t past, total; /* keys before, and altogether */
    const struct tensor *mask, *nonpad;
    bool causal;
    int64_t mode; /* of the fourth output */
    double scale, softcap;
};

static bool past_fits(const struct heads *p, const struct heads *now) {
    return p->batch == now->batch && p->heads == now->heads && p->depth == now->depth;
}

/* The mask's last three axes and its batch are 1 or what they are for; the last may be shorter. */
static bool mask_fits(const struct attention *a) {
    const int64_t full[4] = {a->q.batch, a->q.heads, a->q.rows, a->total};
    const struct shape *s = &a->mask->shape;
    bool fits = s->rank >= 1 && s->rank <= 4;
    for (int i = 0; fits && i < s->rank; i++) {
        int64_t want = full[4 - s->rank + i];
        fits = s->dim[i] == 1 || s->dim[i] == want || (i == s->rank - 1 && s->dim[i] < want);
    }
    return fits;
}

static enum cohort_code read_attention(const struct node *n, const struct tensor *const in[],
                                       struct attention *a, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t q_heads = node_attr_int(n, "q_num_heads", 0);
    int64_t kv_heads = node_attr_int(n, "kv_num_heads", 0);
    const struct tensor *past_k = op_in(n, in, PAST_KEY), *past_v = op_in(n, in, PAST_VALUE);
    *a = (struct attention){.mask = op_in(n, in, MASK), .nonpad = op_in(n, in, NONPAD)};
    TRY(see_heads(in[Q], "Q", q_heads, &a->q, err));
    TRY(see_heads(in[K], "K", kv_heads, &a->k, err));
    TRY(see_heads(in[V], "V", kv_heads, &a->v, err));
    if (a->q.batch != a->k.batch || a->q.batch != a->v.batch || a->k.heads != a->v.heads ||
        a->k.rows != a->v.rows || a->q.depth != a->k.depth || a->k.heads < 1 ||
        a->q.heads % a->k.heads != 0)
        return error_set(err, COHORT_ERR_SHAPE, "Q, K and V do not fit together");
    if ((past_k != NULL) != (past_v != NULL))
        return error_set(err, COHORT_ERR_SHAPE, "past_key and past_value go together");
    if (past_k != NULL) {
        TRY(see_heads(past_k, "past_key", kv_heads, &a->past_k, err));
        TRY(see_heads(past_v, "past_value", kv_heads, &a->past_v, err));
        a->past = a->past_k.rows;
        if (!past_fits(&a->past_k, &a->k) || !past_fits(&a->past_v, &a->v) ||
            a->past_v.rows != a->past)
            return error_set(err, COHORT_ERR_SHAPE, "the past does not fit K and V");
    }
    a->total = a->past + a->k.rows;
    if (a->mask != NULL && !mask_fits(a)) {
        char text[SHAPE_TEXT_BYTES];
        return error_set(err, COHORT_ERR_SHAPE, "a mask of shape %s for %lld queries and %lld keys",
                         shape_text(&a->mask->shape, text, sizeof text), (long long)a->q.rows,
                         (long long)a->total);
    }
    if (a->nonpad != NULL &&
        (past_k != NULL || a->nonpad->shape.rank != 1 || a->nonpad->shape.dim[0] != a->q.batch))
        return error_set(err, COHORT_ERR_SHAPE,
                         "nonpad_kv_seqlen is one number per batch, without a past");
    a->causal = node_attr_int(n, "is_causal", 0) != 0;
    a->mode = node_attr_int(n, "qk_matmul_output_mode", 0);
    if (a->mode < 0 || a->mode > 3)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "qk_matmul_output_mode is %lld",
                         (long long)a->mode);
    a->softcap = (double)node_attr_float(n, "softcap", 0);
    a->scale = node_attr(n, "scale") != NULL ? (double)node_attr_float(n, "scale", 1)
                                             : 1 / sqrt((double)a->q.depth);
out:
    return code;
}

static enum cohort_code attention_infer(struct node *n, const struct tensor *const in[],
                                        struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct attention a;
    struct shape y = shape_unknown(in[Q]->shape.rank), present = shape_unknown(4);
    struct shape present_v = present, products = present;
    bool known = true;
    for (int i = 0; i < n->in_count; i++) {
        unsigned types = i == MASK     ? TYPES_FLOAT | TYPES_BOOL
                         : i == NONPAD ? TYPE_BIT(DT_I64)
                                       : TYPES_FLOAT;
        if (op_in(n, in, i) == NULL)
            continue;
        TRY(op_need(n, in, i, types, err));
        known = known && shape_known(&in[i]->shape);
    }
    if (known) {
        TRY(read_attention(n, in, &a, err));
        y = in[Q]->shape;
        y.dim[y.rank - 1] = y.rank == 4 ? a.v.depth : a.q.heads * a.v.depth;
        present = shape_of(4, (const int64_t[]){a.k.batch, a.k.heads, a.total, a.k.depth});
        present_v = present;
        present_v.dim[3] = a.v.depth;
        products = shape_of(4, (const int64_t[]){a.q.batch, a.q.heads, a.q.rows, a.total});
    }
    op_out(n, out, 0, in[Q]->type, &y);
    op_out(n, out, 1, in[K]->type, &present);
    op_out(n, out, 2, in[V]->type, &present_v);
    op_out(n, out, 3, in[Q]->type, &products);
out:
    return code;
}

/* ---- computing ------------------------------------------------------------------------------- */

/* The past (or NULL) and the present of K or V as doubles. */
struct rows_of {
    double *past, *now;
    const struct heads *past_heads, *now_heads;
};

static const double *row_at(const struct rows_of *r, int64_t batch, int64_t head, int64_t j) {
    const struct heads *h = r->past != NULL ? r->past_heads : r->now_heads;
    const double *x = r->past != NULL ? r->past : r->now;
    if (r->past != NULL && j >= h->rows) {
        j -= h->rows;
        h = r->now_heads;
        x = r->now;
    }
    return x + batch * h->batch_pitch + head * h->head_pitch + j * h->row_pitch;
}

static enum cohort_code load_rows(const struct tensor *past, const struct tensor *now,
                                  struct rows_of *r, struct cohort_error *err) {
    enum cohort_code code = window_doubles(now, &r->now, err);
    return code == COHORT_OK && past != NULL ? window_doubles(past, &r->past, err) : code;
}

/* What is added to the product of query i and key j; minus infinity: they have nothing to do with
 * each other. */
static double bias_at(const struct attention *a, int64_t batch, int64_t head, int64_t i,
                      int64_t j) {
    int64_t limit = a->nonpad != NULL ? tensor_get_i64(a->nonpad, batch) : a->total;
    int64_t offset = a->nonpad != NULL ? limit - a->q.rows : a->past;
    if (j >= limit || (a->causal && j > i + offset))
        return (double)-INFINITY;
    if (a->mask == NULL)
        return 0;
    const struct shape *s = &a->mask->shape;
    const int64_t place[4] = {batch, head, i, j};
    int64_t at = 0;
    for (int k = 0; k < s->rank; k++) {
        int64_t index = s->dim[k] == 1 ? 0 : place[4 - s->rank + k];
        if (index >= s->dim[k]) /* a short last axis */
            return (double)-INFINITY;
        at = at * s->dim[k] + index;
    }
    double m = tensor_get_f64(a->mask, at);
    if (a->mask->type == DT_BOOL)
        return m != 0 ? 0 : (double)-INFINITY;
    return m;
}

static void put_stage(const struct attention *a, int64_t stage, struct tensor *t, int64_t first,
                      const double *s) {
    if (t != NULL && a->mode == stage)
        window_put(t, first, a->total, s);
}

/* The weights of all keys for one query, in s. */
static void weigh(const struct attention *a, const double *q, const struct rows_of *keys,
                  int64_t batch, int64_t head, int64_t i, double *s, struct tensor *stages) {
    int64_t group = head / (a->q.heads / a->k.heads);
    int64_t first = ((batch * a->q.heads + head) * a->q.rows + i) * a->total;
    double max = (double)-INFINITY, sum = 0;
    for (int64_t j = 0; j < a->total; j++) {
        const double *k = row_at(keys, batch, group, j);
        s[j] = 0;
        for (int64_t d = 0; d < a->q.depth; d++)
            s[j] += q[d] * k[d];
        s[j] *= a->scale;
    }
    put_stage(a, 0, stages, first, s);
    for (int64_t j = 0; j < a->total && a->softcap > 0; j++)
        s[j] = a->softcap * tanh(s[j] / a->softcap);
    put_stage(a, 1, stages, first, s);
    for (int64_t j = 0; j < a->total; j++) {
        double bias = bias_at(a, batch, head, i, j);
        s[j] = bias == (double)-INFINITY ? bias : s[j] + bias; /* even of a NaN */
        max = s[j] > max || isnan(s[j]) ? s[j] : max;
    }
    put_stage(a, 2, stages, first, s);
    for (int64_t j = 0; j < a->total; j++) {
        s[j] = s[j] == (double)-INFINITY ? 0 : exp(s[j] - max);
        sum += s[j];
    }
    for (int64_t j = 0; j < a->total && sum != 0; j++) /* a query without keys gives zeros */
        s[j] /= sum;
    put_stage(a, 3, stages, first, s);
}

static void attend(const struct attention *a, const double *q, const struct rows_of *keys,
                   const struct rows_of *values, double *s, double *y, struct tensor *const out[],
                   struct tensor *stages) {
    bool flat = out[0]->shape.rank == 3;
    int64_t depth = a->v.depth;
    for (int64_t b = 0; b < a->q.batch; b++)
        for (int64_t h = 0; h < a->q.heads; h++)
            for (int64_t i = 0; i < a->q.rows; i++) {
                int64_t at = flat ? (b * a->q.rows + i) * a->q.heads + h
                                  : (b * a->q.heads + h) * a->q.rows + i;
                weigh(a, q + b * a->q.batch_pitch + h * a->q.head_pitch + i * a->q.row_pitch, keys,
                      b, h, i, s, stages);
                memset(y, 0, (size_t)depth * sizeof *y);
                for (int64_t j = 0; j < a->total; j++) {
                    const double *v = row_at(values, b, h / (a->q.heads / a->k.heads), j);
                    for (int64_t d = 0; s[j] != 0 && d < depth; d++)
                        y[d] += s[j] * v[d];
                }
                window_put(out[0], at * depth, depth, y);
            }
}

/* Past and present, one behind the other. */
static void put_present(const struct rows_of *r, struct tensor *t) {
    const int64_t *dim = t->shape.dim;
    int64_t rows = dim[0] * dim[1] * dim[2];
    for (int64_t i = 0; dim[3] > 0 && i < rows; i++)
        window_put(t, i * dim[3], dim[3],
                   row_at(r, i / dim[2] / dim[1], i / dim[2] % dim[1], i % dim[2]));
}

static enum cohort_code attention_eval(const struct node *n, const struct tensor *const in[],
                                       struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct attention a;
    struct rows_of keys = {.past_heads = &a.past_k, .now_heads = &a.k};
    struct rows_of values = {.past_heads = &a.past_v, .now_heads = &a.v};
    double *q = NULL, *s = NULL, *y = NULL;
    TRY(read_attention(n, in, &a, err));
    for (int64_t b = 0; a.nonpad != NULL && b < a.q.batch; b++) {
        int64_t length = tensor_get_i64(a.nonpad, b);
        if (length < 0 || length > a.total)
            TRY(error_set(err, COHORT_ERR_SHAPE, "nonpad_kv_seqlen is %lld with %lld keys",
                          (long long)length, (long long)a.total));
    }
    TRY(window_doubles(in[Q], &q, err));
    TRY(load_rows(op_in(n, in, PAST_KEY), in[K], &keys, err));
    TRY(load_rows(op_in(n, in, PAST_VALUE), in[V], &values, err));
    s = mem_zalloc((size_t)a.total, sizeof *s);
    y = mem_zalloc((size_t)a.v.depth, sizeof *y);
    if (s == NULL || y == NULL)
        TRY(error_memory(err, (unsigned long long)a.total * sizeof *s, "attention weights"));
    attend(&a, q, &keys, &values, s, y, out, n->out_count > 3 ? out[3] : NULL);
    if (n->out_count > 1 && out[1] != NULL)
        put_present(&keys, out[1]);
    if (n->out_count > 2 && out[2] != NULL)
        put_present(&values, out[2]);
out:
    mem_free(y);
    mem_free(s);
    mem_free(values.past);
    mem_free(values.now);
    mem_free(keys.past);
    mem_free(keys.now);
    mem_free(q);
    return code;
}

static double attention_flops(const struct graph *g, const struct node *n) {
    const struct shape *k = &graph_value(g, n->in[K])->shape;
    int64_t count = shape_count(&graph_value(g, n->in[Q])->shape);
    if (count < 0 || !shape_known(k) || k->rank < 3)
        return 0;
    return 4 * (double)count * (double)k->dim[k->rank - 2];
}

const struct op_desc op_attention = {
    .name = "Attention",
    .domain = "",
    .since = 23,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 7,
    .max_outputs = 4,
    .infer = attention_infer,
    .eval = attention_eval,
    .flops = attention_flops,
};

/* ---- RotaryEmbedding ------------------------------------------------------------------------- */

/* X [B, H, L, D] or [B, L, H*D]; cos, sin [positions, R/2] with position_ids [B, L], or
 * [B, L, R/2] without.  Of each row's first R elements (rotary_embedding_dim; 0: all D), pairs are
 * turned by an angle: elements i and i + R/2, or 2i and 2i + 1 when interleaved. */
struct rotary {
    struct heads x;
    int64_t pairs;
    bool interleaved;
    const struct tensor *ids;
};

static enum cohort_code read_rotary(const struct node *n, const struct tensor *const in[],
                                    struct rotary *r, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    *r = (struct rotary){.interleaved = node_attr_int(n, "interleaved", 0) != 0,
                         .ids = op_in(n, in, 3)};
    TRY(see_heads(in[0], "X", node_attr_int(n, "num_heads", 0), &r->x, err));
    int64_t turned = node_attr_int(n, "rotary_embedding_dim", 0);
    turned = turned == 0 ? r->x.depth : turned;
    if (turned < 0 || turned > r->x.depth || turned % 2 != 0)
        return error_set(err, COHORT_ERR_SHAPE, "%lld of %lld elements cannot be turned in pairs",
                         (long long)turned, (long long)r->x.depth);
    r->pairs = turned / 2;
    struct shape places = shape_of(2, (const int64_t[]){r->x.batch, r->x.rows});
    if (r->ids != NULL && !shape_equal(&r->ids->shape, &places))
        return error_set(err, COHORT_ERR_SHAPE, "position_ids is not one number per row");
    for (int i = 1; i < 3; i++) {
        struct shape s = in[i]->shape, wanted = places;
        wanted.dim[wanted.rank++] = r->pairs;
        if (r->ids != NULL)
            wanted = shape_of(2, (const int64_t[]){in[1]->shape.dim[0], r->pairs});
        char a[SHAPE_TEXT_BYTES], b[SHAPE_TEXT_BYTES];
        if (!shape_equal(&s, &wanted))
            return error_set(err, COHORT_ERR_SHAPE, "%s has shape %s; %s is needed",
                             i == 1 ? "cos_cache" : "sin_cache", shape_text(&s, a, sizeof a),
                             shape_text(&wanted, b, sizeof b));
    }
out:
    return code;
}

static enum cohort_code rotary_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct rotary r;
    bool known = true;
    TRY(op_need(n, in, 0, TYPES_FLOAT, err));
    TRY(op_need_same(n, in, 1, err));
    TRY(op_need_same(n, in, 2, err));
    if (op_in(n, in, 3) != NULL)
        TRY(op_need(n, in, 3, TYPE_BIT(DT_I64), err));
    for (int i = 0; i < n->in_count; i++)
        known = known && (op_in(n, in, i) == NULL || shape_known(&in[i]->shape));
    if (known)
        TRY(read_rotary(n, in, &r, err));
    op_out(n, out, 0, in[0]->type, &in[0]->shape);
out:
    return code;
}

static enum cohort_code rotary_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct rotary r;
    TRY(read_rotary(n, in, &r, err));
    if (tensor_bytes(in[0]) > 0)
        memcpy(out[0]->data, in[0]->data, tensor_bytes(in[0]));
    for (int64_t place = 0; place < r.x.batch * r.x.rows; place++) {
        int64_t id = place, batch = place / r.x.rows, row = place % r.x.rows;
        if (r.ids != NULL)
            TRY(op_index(tensor_get_i64(r.ids, place), in[1]->shape.dim[0], &id, err));
        for (int64_t h = 0; h < r.x.heads; h++)
            for (int64_t i = 0; i < r.pairs; i++) {
                int64_t at = batch * r.x.batch_pitch + h * r.x.head_pitch + row * r.x.row_pitch;
                int64_t first = at + (r.interleaved ? 2 * i : i);
                int64_t second = first + (r.interleaved ? 1 : r.pairs);
                double x = tensor_get_f64(in[0], first), y = tensor_get_f64(in[0], second);
                double c = tensor_get_f64(in[1], id * r.pairs + i);
                double s = tensor_get_f64(in[2], id * r.pairs + i);
                tensor_set_f64(out[0], first, c * x - s * y);
                tensor_set_f64(out[0], second, s * x + c * y);
            }
    }
out:
    return code;
}

static double rotary_flops(const struct graph *g, const struct node *n) {
    int64_t count = shape_count(&graph_value(g, n->in[0])->shape);
    return count > 0 ? 3 * (double)count : 0;
}

const struct op_desc op_rotary_embedding = {
    .name = "RotaryEmbedding",
    .domain = "",
    .since = 23,
    .until = OPSET_LAST,
    .min_inputs = 3,
    .max_inputs = 4,
    .max_outputs = 1,
    .infer = rotary_infer,
    .eval = rotary_eval,
    .flops = rotary_flops,
};
