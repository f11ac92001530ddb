/* Bringing weights to the boards that need them, once, and to where they stay.
 *
 * Rank 0's graph has all constants; the others got large ones as content hashes only.  Each rank
 * looks for the parts that its operators need in its cache or in a model file of its own; what is
 * still missing travels as a pipelined chain.  What arrives is packed at once and dropped: weights
 * of convolutions and products some channels at a time, everything else when it is there. */
#include "runtime/weights.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"

#include <string.h>

#define PIECE_BYTES ((size_t)2 << 20) /* of weights that are packed piece by piece */

/* A part that is on its way to this rank. */
struct arrival {
    struct file_writer writer;
    bool writing; /* into the cache */
    char *piece;  /* rows that are not packed yet; NULL: it is not packed piece by piece */
    size_t piece_bytes, filled;
    int64_t row;         /* that the piece begins with */
    struct tensor whole; /* what comes otherwise: only when all of it is there it is the constant's,
                            because operators are bound whose constants have data */
};

struct arrivals {
    struct cohort_session *s;
    struct weight_parts parts;
    struct arrival *of; /* one for each part */
};

/* ---- what is there --------------------------------------------------------------------------- */

static int shard_value_count(const struct cohort_session *s) {
    return s->shard != NULL ? shard_graph(s->shard)->value_count : 0;
}

/* Slices that are not parts, but made from all of constant `source` (-1: of any that is there), or
 * vectors: small. */
static enum cohort_code make_small(struct cohort_session *s, int source, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int id = s->graph->value_count; id < shard_value_count(s) && code == COHORT_OK; id++) {
        const struct value *v = graph_value(shard_graph(s->shard), id);
        struct shard_part x;
        const bool part = shard_constant_part(s->shard, id, &x);
        if (v->is_constant && (source < 0 ? !part || v->shape.rank == 1
                                          : !part && shard_constant_source(s->shard, id) == source))
            code = shard_fetch_constant(s->shard, id, err);
    }
    return code;
}

/* Constant `id` has data: whoever waits for it is bound, and the data go when all of these are. */
static enum cohort_code settle(struct cohort_session *s, int id, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (s->shard != NULL) {
        shard_refresh(s->shard);
        TRY(make_small(s, id, err));
    }
    TRY(exec_bind(s->program, err));
    session_note_memory(s);
    if (!exec_done_with(s->program, id) || session_uses_constant(s, id))
        goto out;
    weight_cache_unmap(s, id);
    struct tensor *t = session_constant(s, id);
    if (t->owned)
        mem_free(t->data);
    t->data = NULL;
    t->owned = false;
    if (s->shard != NULL)
        shard_refresh(s->shard);
out:
    return code;
}

/* ---- packing piece by piece ------------------------------------------------------------------ */

static size_t row_bytes_of(const struct tensor *t) {
    return tensor_bytes(t) / (size_t)t->shape.dim[0];
}

/* Memory for some rows of constant `id`, when it can be packed so. */
static enum cohort_code begin_pieces(struct arrival *a, struct cohort_session *s, int id,
                                     struct cohort_error *err) {
    const struct tensor *t = session_constant(s, id);
    if (!exec_takes_pieces(s->program, id) || tensor_bytes(t) <= PIECE_BYTES)
        return COHORT_OK;
    const size_t blocks = PIECE_BYTES / EXEC_PIECE_ROWS / row_bytes_of(t);
    a->piece_bytes = (blocks > 1 ? blocks : 1) * EXEC_PIECE_ROWS * row_bytes_of(t);
    a->filled = 0;
    a->row = 0;
    a->piece = mem_alloc(a->piece_bytes);
    return a->piece != NULL ? COHORT_OK : error_memory(err, a->piece_bytes, "weights");
}

static enum cohort_code pack_piece(struct arrival *a, struct cohort_session *s, int id,
                                   struct cohort_error *err) {
    const struct tensor *t = session_constant(s, id);
    struct tensor part = {.type = t->type, .shape = t->shape, .data = a->piece};
    part.shape.dim[0] = (int64_t)(a->filled / row_bytes_of(t));
    const enum cohort_code code = exec_take_piece(s->program, id, a->row, &part, err);
    a->row += part.shape.dim[0];
    a->filled = 0;
    if (code != COHORT_OK || a->row == t->shape.dim[0]) {
        mem_free(a->piece);
        a->piece = NULL;
    }
    return code;
}

static enum cohort_code add_to_piece(struct arrival *a, struct cohort_session *s, int id,
                                     const char *data, size_t bytes, struct cohort_error *err) {
    const struct tensor *t = session_constant(s, id);
    enum cohort_code code = COHORT_OK;
    while (bytes > 0 && code == COHORT_OK) {
        const size_t room = a->piece_bytes - a->filled, take = bytes < room ? bytes : room;
        memcpy(a->piece + a->filled, data, take);
        a->filled += take;
        data += take;
        bytes -= take;
        const size_t before = (size_t)a->row * row_bytes_of(t);
        if (a->filled == a->piece_bytes || before + a->filled == tensor_bytes(t))
            code = pack_piece(a, s, id, err);
    }
    return code;
}

/* A slice of a constant that is there: packed from it without a copy of all of it. */
static enum cohort_code feed(struct cohort_session *s, int id, const struct comm_blob *from,
                             struct cohort_error *err) {
    struct arrival a = {0};
    enum cohort_code code = begin_pieces(&a, s, id, err);
    if (code != COHORT_OK || a.piece == NULL)
        return code;
    for (size_t at = 0, next; at < from->bytes && code == COHORT_OK; at = next) {
        next = from->bytes - at < a.piece_bytes ? from->bytes : at + a.piece_bytes;
        a.filled = next - at;
        comm_blob_read(from, at, a.filled, a.piece);
        code = pack_piece(&a, s, id, err);
    }
    mem_free(a.piece);
    return code;
}

/* Slices of what this rank has by itself. */
static enum cohort_code make_slices(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    for (int id = s->graph->value_count; id < shard_value_count(s); id++) {
        struct shard_part x;
        if (!shard_constant_part(s->shard, id, &x) || session_constant(s, id)->data != NULL ||
            session_constant(s, x.source)->data == NULL || exec_done_with(s->program, id))
            continue;
        const struct weight_part part = weight_part_of(&x);
        const struct comm_blob from = weight_blob(session_constant(s, x.source), &part);
        if (from.run_bytes < from.bytes)
            TRY(feed(s, id, &from, err));
        if (exec_done_with(s->program, id))
            continue;
        TRY(shard_fetch_constant(s->shard, id, err));
        TRY(settle(s, id, err));
    }
out:
    return code;
}

/* ---- a model file on this board -------------------------------------------------------------- */

/* Lets missing constants borrow from initializers of the file with the same name and contents. */
static enum cohort_code look_in_model(struct cohort_session *s, const struct weight_parts *p,
                                      struct cohort_error *err) {
    char hex[HASH_TEXT_BYTES];
    enum cohort_code code = COHORT_OK;
    if (s->options.weights_path == NULL)
        return error_set(err, COHORT_ERR_USAGE, "weights from a local file, but no file was named");
    if (s->local_model == NULL)
        TRY(onnx_load(&s->local_model, s->options.weights_path, err));
    for (int i = 0; i < p->count; i++) {
        struct value *v = graph_value(s->graph, p->list[i].source);
        int at = graph_find_value(s->local_model, v->name);
        const struct tensor *t = at >= 0 ? &s->local_model->values[at].constant : NULL;
        if (p->list[i].id < 0 || v->constant.data != NULL || t == NULL || t->data == NULL ||
            t->type != v->constant.type || tensor_bytes(t) != tensor_bytes(&v->constant))
            continue;
        hash_bytes(t->data, tensor_bytes(t), hex);
        if (strcmp(hex, v->content_hash) == 0)
            v->constant.data = t->data; /* not owned */
    }
out:
    return code;
}

/* ---- the chain ------------------------------------------------------------------------------- */

/* Begins storing a part: in the cache, or piece by piece, or whole in memory. */
static enum cohort_code begin_part(struct arrivals *a, int part, struct cohort_error *err) {
    const struct weight_part *p = &a->parts.list[part];
    struct arrival *r = &a->of[part];
    if (weight_cache_used(a->s) && weight_cache_begin(&r->writer, a->s, p)) {
        r->writing = true;
        return COHORT_OK;
    }
    const enum cohort_code code = begin_pieces(r, a->s, p->id, err);
    if (code != COHORT_OK || r->piece != NULL)
        return code;
    const struct tensor *t = session_constant(a->s, p->id);
    return tensor_init(&r->whole, t->type, &t->shape, err);
}

/* The disk is full, or the like: on with this part in memory, with the `at` bytes that are written.
 */
static enum cohort_code leave_cache(struct arrivals *a, int part, size_t at,
                                    struct cohort_error *err) {
    struct arrival *r = &a->of[part];
    const struct tensor *t = session_constant(a->s, a->parts.list[part].id);
    struct file_map map = {0};
    enum cohort_code code = COHORT_OK;
    if (at > 0)
        TRY(file_map(&map, r->writer.temporary, err));
    TRY(tensor_init(&r->whole, t->type, &t->shape, err));
    if (at > 0 && map.bytes >= at)
        memcpy(r->whole.data, map.data, at);
    else if (at > 0)
        code = error_set(err, COHORT_ERR_IO, "%s: cannot be read back", r->writer.temporary);
out:
    r->writing = false;
    file_writer_abandon(&r->writer);
    file_unmap(&map);
    return code;
}

static enum cohort_code end_part(struct arrivals *a, int part, struct cohort_error *err) {
    const struct weight_part *p = &a->parts.list[part];
    struct arrival *r = &a->of[part];
    enum cohort_code code = COHORT_OK;
    if (r->writing) {
        r->writing = false;
        TRY(weight_cache_end(&r->writer, a->s, p, err));
    }
    if (r->whole.data != NULL) {
        *session_constant(a->s, p->id) = r->whole;
        r->whole = (struct tensor){0};
    }
    TRY(settle(a->s, p->id, err));
out:
    return code;
}

static enum cohort_code take_piece(void *context, int index, size_t at, const void *data,
                                   size_t bytes, struct cohort_error *err) {
    struct arrivals *a = context;
    const int part = a->parts.stretches[index].part;
    const struct weight_part *p = &a->parts.list[part];
    struct arrival *r = &a->of[part];
    struct cohort_error why;
    enum cohort_code code = COHORT_OK;
    at += a->parts.stretches[index].at;
    if (at == 0)
        TRY(begin_part(a, part, err));
    a->s->weights_received_bytes += bytes;
    if (r->writing && file_writer_append(&r->writer, data, bytes, &why) != COHORT_OK) {
        weight_cache_warn(a->s, &why);
        TRY(leave_cache(a, part, at, err));
    }
    if (r->piece != NULL)
        TRY(add_to_piece(r, a->s, p->id, data, bytes, err));
    else if (!r->writing)
        memcpy((char *)r->whole.data + at, data, bytes);
    if (at + bytes == p->blob.bytes)
        TRY(end_part(a, part, err));
out:
    return code;
}

static void chain_progress(void *context, uint64_t done, uint64_t total) {
    const struct cohort_session *s = context;
    if (s->options.progress != NULL && s->rank == 0)
        s->options.progress(s->options.context, "weights", done, total);
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Local: what this rank can find by itself; marks the rest as wanted. */
static enum cohort_code look_around(struct arrivals *a, struct cohort_error *err) {
    struct cohort_session *s = a->s;
    struct weight_parts *p = &a->parts;
    enum cohort_code code = COHORT_OK;
    TRY(weight_parts_list(p, s, err));
    a->of = mem_zalloc((size_t)p->count + 1, sizeof *a->of);
    if (a->of == NULL)
        TRY(error_memory(err, (size_t)p->count * sizeof *a->of, "a list of weights"));
    for (int i = 0; i < p->count; i++)
        a->of[i].writer.fd = -1;
    if (s->rank > 0 && weight_cache_used(s))
        weight_cache_open(s);
    if (s->rank > 0 && s->options.weights == COHORT_WEIGHTS_LOCAL)
        TRY(look_in_model(s, p, err));
    for (int i = 0; i < p->count; i++) {
        struct weight_part *x = &p->list[i];
        if (x->id < 0)
            continue;
        const struct tensor *t = session_constant(s, x->id), *source;
        source = session_constant(s, x->source);
        if (t->data == NULL && source->data == NULL && weight_cache_used(s))
            TRY(weight_cache_find(s, x, err));
        if (t->data != NULL || source->data != NULL)
            x->id = -1;
    }
    for (int i = 0; i < p->stretch_count; i++)
        p->blobs[i].wanted = p->list[p->stretches[i].part].id >= 0;
    if (s->shard != NULL) {
        shard_refresh(s->shard);
        TRY(make_small(s, -1, err));
    }
out:
    return code;
}

static void release_arrivals(struct arrivals *a) {
    for (int i = 0; a->of != NULL && i < a->parts.count; i++) {
        if (a->of[i].writing)
            file_writer_abandon(&a->of[i].writer);
        mem_free(a->of[i].piece);
        tensor_release(&a->of[i].whole);
    }
    mem_free(a->of);
    weight_parts_release(&a->parts);
}

enum cohort_code session_fetch_weights(struct cohort_session *s, struct cohort_error *err) {
    if (s->comm == NULL)
        return session_inject(s, "weights", COHORT_OK, err);
    struct arrivals a = {.s = s};
    enum cohort_code code = session_inject(s, "weights", look_around(&a, err), err);
    TRY(comm_agree(s->comm, code, err));
    code = comm_chain(s->comm, a.parts.blobs, a.parts.stretch_count, take_piece, &a, chain_progress,
                      s, err);
    TRY(comm_agree(s->comm, code, err));
    if (weight_cache_used(s) && s->weights_received_bytes > 0)
        weight_cache_trim(s);
    TRY(comm_agree(s->comm, make_slices(s, err), err));
out:
    release_arrivals(&a);
    return code;
}

void session_drop_weights(struct cohort_session *s) {
    session_drop_slices(s);
    if (s->rank == 0)
        return;
    for (int i = 0; i < s->weight_map_count; i++)
        if (s->weight_maps[i].map.data != NULL &&
            !session_uses_constant(s, s->weight_maps[i].value))
            weight_cache_unmap(s, s->weight_maps[i].value);
    for (int id = 0; id < s->graph->value_count; id++) {
        struct value *v = graph_value(s->graph, id);
        if (v->is_constant && v->content_hash != NULL && v->constant.owned &&
            !session_uses_constant(s, id)) {
            mem_free(v->constant.data);
            v->constant.data = NULL;
            v->constant.owned = false;
        }
    }
}
