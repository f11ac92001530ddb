/* Which parts of constants boards need: all of them, and the slices that segments by channels leave
 * to each board.
 *
 * Every rank makes the same list from network and plan.  Parts come in the order of the operators
 * that read them first, of each its large weights last: then all else is there when these come, and
 * they can be packed while they come. */
#include "runtime/weights.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Slices of one constant for several boards come by turns, so many bytes at a time: then all boards
 * pack at once, and none is silent for long. */
#define TURN_BYTES ((size_t)1 << 20)

struct comm_blob weight_blob(const struct tensor *source, const struct weight_part *p) {
    const struct shape *shape = &source->shape;
    struct comm_blob b = {.data = source->data, .bytes = tensor_bytes(source)};
    if (p->axis < 0)
        return b;
    const size_t inner =
        (size_t)shape_product(shape, p->axis + 1, shape->rank) * dtype_bytes(source->type);
    const int64_t periods = shape->dim[p->axis] / p->period;
    b.run_bytes = (size_t)(p->end - p->begin) * inner;
    b.run_pitch = (size_t)p->period * inner;
    b.bytes = (size_t)(shape_product(shape, 0, p->axis) * periods) * b.run_bytes;
    if (b.data != NULL)
        b.data = (const char *)b.data + (size_t)p->begin * inner;
    return b;
}

struct tensor *session_constant(struct cohort_session *s, int id) {
    if (id < s->graph->value_count)
        return &graph_value(s->graph, id)->constant;
    return s->shard != NULL ? shard_constant(s->shard, id) : NULL;
}

/* ---- listing --------------------------------------------------------------------------------- */

static bool same_part(const struct weight_part *a, const struct weight_part *b) {
    return a->source == b->source && a->axis == b->axis && a->period == b->period &&
           a->begin == b->begin && a->end == b->end;
}

static int find_part(const struct weight_parts *p, const struct weight_part *like) {
    for (int i = 0; i < p->count; i++)
        if (same_part(&p->list[i], like))
            return i;
    return -1;
}

static enum cohort_code add_part(struct weight_parts *p, size_t *capacity, const struct graph *g,
                                 struct weight_part part, struct cohort_error *err) {
    if (find_part(p, &part) >= 0)
        return COHORT_OK;
    if (!MEM_GROW(p->list, *capacity, (size_t)p->count))
        return error_memory(err, (size_t)p->count * sizeof *p->list, "a list of weights");
    part.blob = weight_blob(&graph_value(g, part.source)->constant, &part);
    part.id = -1;
    p->list[p->count++] = part;
    return COHORT_OK;
}

static bool travels(const struct graph *g, int id) {
    return graph_value(g, id)->is_constant && graph_value(g, id)->content_hash != NULL;
}

/* The slices of any board. */
static enum cohort_code add_slices(struct weight_parts *p, size_t *capacity,
                                   const struct cohort_session *s, struct cohort_error *err) {
    struct shard *all = NULL;
    enum cohort_code code = session_shard_of_all(&all, s, err);
    const int first = s->graph->value_count;
    for (int id = first; all != NULL && code == COHORT_OK && id < shard_graph(all)->value_count;
         id++) {
        struct shard_part x;
        if (shard_constant_part(all, id, &x) && travels(s->graph, x.source))
            code = add_part(p, capacity, s->graph, weight_part_of(&x), err);
    }
    shard_destroy(&all);
    return code;
}

/* ---- the order ------------------------------------------------------------------------------- */

/* Of each value, where it comes: by the first node that reads it, large weights behind its others.
 */
static void find_order(const struct graph *g, int *order) {
    for (int i = 0; i < g->value_count; i++)
        order[i] = 2 * g->node_count;
    for (int i = g->node_count - 1; i >= 0; i--) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->in_count; k++)
            if (n->in[k] >= 0)
                order[n->in[k]] =
                    2 * i + (k == 1 && graph_value(g, n->in[k])->shape.rank > 1 ? 1 : 0);
        if (n->weight_scale >= 0)
            order[n->weight_scale] = 2 * i;
    }
}

static int by_order(const void *a, const void *b) {
    const struct weight_part *x = a, *y = b;
    const int64_t u[] = {x->order, x->source, x->axis, x->period, x->begin, x->end};
    const int64_t v[] = {y->order, y->source, y->axis, y->period, y->begin, y->end};
    for (int i = 0; i < 6; i++)
        if (u[i] != v[i])
            return u[i] < v[i] ? -1 : 1;
    return 0;
}

/* Bytes of a part that come at a time: whole runs. */
static size_t turn_of(const struct weight_part *p) {
    const size_t run = p->blob.run_bytes;
    if (p->axis < 0 || p->blob.bytes <= TURN_BYTES)
        return p->blob.bytes;
    if (run == p->blob.bytes) /* it lies together */
        return TURN_BYTES;
    return run < TURN_BYTES ? TURN_BYTES / run * run : run;
}

static struct comm_blob stretch_blob(const struct comm_blob *b, size_t at, size_t bytes) {
    struct comm_blob s = *b;
    s.bytes = bytes;
    if (b->run_bytes == b->bytes) {
        s.run_bytes = s.run_pitch = 0;
        s.data = b->data != NULL ? (const char *)b->data + at : NULL;
    } else if (b->run_bytes > 0) {
        s.data = b->data != NULL ? (const char *)b->data + at / b->run_bytes * b->run_pitch : NULL;
    }
    return s;
}

/* The stretches of parts [first, last), which are of one constant, by turns. */
static void add_stretches(struct weight_parts *p, int first, int last) {
    for (bool more = true; more;) {
        more = false;
        for (int i = first; i < last; i++) {
            const struct weight_part *x = &p->list[i];
            const size_t turn = turn_of(x);
            size_t at = 0;
            for (int k = p->stretch_count - 1; k >= 0 && p->stretches[k].part >= first; k--)
                if (p->stretches[k].part == i) {
                    at = p->stretches[k].at + turn;
                    break;
                }
            if (at >= x->blob.bytes)
                continue;
            const size_t rest = x->blob.bytes - at, bytes = rest < turn ? rest : turn;
            p->stretches[p->stretch_count] = (struct weight_stretch){.part = i, .at = at};
            p->blobs[p->stretch_count] = stretch_blob(&x->blob, at, bytes);
            p->blobs[p->stretch_count++].wanted = false;
            more = true;
        }
    }
}

static enum cohort_code make_stretches(struct weight_parts *p, struct cohort_error *err) {
    size_t count = 0;
    for (int i = 0; i < p->count; i++) {
        const size_t turn = turn_of(&p->list[i]);
        count += turn > 0 ? (p->list[i].blob.bytes + turn - 1) / turn : 0;
    }
    p->stretches = mem_zalloc(count + 1, sizeof *p->stretches);
    p->blobs = mem_zalloc(count + 1, sizeof *p->blobs);
    if (p->stretches == NULL || p->blobs == NULL)
        return error_memory(err, count * sizeof *p->blobs, "a list of weights");
    for (int first = 0, last; first < p->count; first = last) {
        for (last = first + 1; last < p->count && p->list[last].source == p->list[first].source;)
            last++;
        add_stretches(p, first, last);
    }
    return COHORT_OK;
}

/* ---- what this rank needs -------------------------------------------------------------------- */

/* The part that constant `id` of the program is, or comes from; -1: neither, it is there. */
static int part_behind(const struct weight_parts *p, const struct cohort_session *s, int id,
                       bool *itself) {
    struct weight_part like = {.source = id, .axis = -1};
    struct shard_part x;
    *itself = true;
    if (id >= s->graph->value_count && shard_constant_part(s->shard, id, &x)) {
        like = weight_part_of(&x);
    } else if (id >= s->graph->value_count) { /* made from the whole */
        like.source = shard_constant_source(s->shard, id);
        *itself = false;
    }
    return find_part(p, &like);
}

static enum cohort_code find_wanted(struct weight_parts *p, const struct cohort_session *s,
                                    struct cohort_error *err) {
    int *ids = NULL, count = 0;
    enum cohort_code code = exec_constants(s->program, &ids, &count, err);
    for (int i = 0; code == COHORT_OK && i < count; i++) {
        bool itself;
        const int part = part_behind(p, s, ids[i], &itself);
        if (part >= 0)
            p->list[part].id = itself ? ids[i] : p->list[part].source;
    }
    mem_free(ids);
    return code;
}

enum cohort_code weight_parts_list(struct weight_parts *p, struct cohort_session *s,
                                   struct cohort_error *err) {
    const struct graph *g = s->graph;
    enum cohort_code code = COHORT_OK;
    size_t capacity = 0;
    int *order = mem_alloc(((size_t)g->value_count + 1) * sizeof *order);
    if (order == NULL)
        return error_memory(err, (size_t)g->value_count * sizeof *order, "a list of weights");
    find_order(g, order);
    for (int id = 0; id < g->value_count; id++)
        if (travels(g, id))
            TRY(add_part(p, &capacity, g, (struct weight_part){.source = id, .axis = -1}, err));
    TRY(add_slices(p, &capacity, s, err));
    for (int i = 0; i < p->count; i++)
        p->list[i].order = order[p->list[i].source];
    if (p->count > 0)
        qsort(p->list, (size_t)p->count, sizeof *p->list, by_order);
    TRY(make_stretches(p, err));
    if (s->rank > 0)
        TRY(find_wanted(p, s, err));
out:
    mem_free(order);
    return code;
}

void weight_parts_release(struct weight_parts *p) {
    mem_free(p->list);
    mem_free(p->stretches);
    mem_free(p->blobs);
    *p = (struct weight_parts){0};
}
