/* Bringing weights to the boards that need them, once.
 *
 * Rank 0's graph has all constants; the others got large ones as content hashes only.  Each rank
 * looks for those that its operators need in its cache (files named by hash, checked against it) or
 * in a model file of its own; what is still missing travels as a pipelined chain and is cached. */
#include "runtime/session.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "graph/onnx/onnx.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_CACHE_BYTES (UINT64_C(4) << 30)

/* ---- the cache ------------------------------------------------------------------------------- */

static char *cache_path(const struct cohort_session *s, const struct value *v) {
    return mem_printf("%s/weights/%s", s->options.cache_directory, v->content_hash);
}

static bool uses_cache(const struct cohort_session *s) {
    return s->options.weights == COHORT_WEIGHTS_CACHE && s->options.cache_directory != NULL;
}

/* Lets a constant borrow from a mapped file that the session keeps. */
static enum cohort_code attach_map(struct cohort_session *s, int id, struct file_map *map,
                                   struct cohort_error *err) {
    if (!MEM_GROW(s->weight_maps, s->weight_map_capacity, (size_t)s->weight_map_count))
        return error_memory(err, sizeof *s->weight_maps, "weights");
    s->weight_maps[s->weight_map_count++] = (struct weight_map){.map = *map, .value = id};
    struct tensor *t = &s->graph->values[id].constant;
    t->data = (void *)(uintptr_t)map->data;
    t->owned = false;
    *map = (struct file_map){0};
    return COHORT_OK;
}

/* A cached file is used only when its contents have the hash that its name says. */
static enum cohort_code look_in_cache(struct cohort_session *s, int id, struct cohort_error *err) {
    struct value *v = graph_value(s->graph, id);
    struct file_map map = {0};
    struct cohort_error ignored;
    char hex[HASH_TEXT_BYTES];
    enum cohort_code code = COHORT_OK;
    char *path = cache_path(s, v);
    if (path == NULL)
        return error_memory(err, 64, "a file name");
    if (file_exists(path) && file_map(&map, path, &ignored) == COHORT_OK) {
        if (map.bytes == tensor_bytes(&v->constant)) {
            hash_bytes(map.data, map.bytes, hex);
            if (strcmp(hex, v->content_hash) == 0) {
                utimensat(AT_FDCWD, path, NULL, 0); /* used now: evicted last */
                code = attach_map(s, id, &map, err);
            }
        }
        if (map.data != NULL)
            session_log(s, 1, "%s does not hold what its name says: fetched again", path);
        file_unmap(&map);
    }
    mem_free(path);
    return code;
}

struct cached_file {
    char *path;
    struct timespec used;
    uint64_t bytes;
};

static int by_age(const void *a, const void *b) {
    const struct cached_file *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

/* Removes the files used longest ago until the rest fits the limit.  Best effort. */
static void trim_cache(const struct cohort_session *s) {
    uint64_t limit =
        s->options.cache_limit_bytes != 0 ? s->options.cache_limit_bytes : DEFAULT_CACHE_BYTES;
    uint64_t total = 0;
    struct cached_file *files = NULL;
    size_t capacity = 0, count = 0;
    char *directory = file_join(s->options.cache_directory, "weights");
    DIR *d = directory != NULL ? opendir(directory) : NULL;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        struct stat st;
        char *path =
            strlen(e->d_name) == HASH_TEXT_BYTES - 1 ? file_join(directory, e->d_name) : NULL;
        if (path == NULL || stat(path, &st) != 0 || !MEM_GROW(files, capacity, count)) {
            mem_free(path);
            continue;
        }
        files[count++] =
            (struct cached_file){.path = path, .used = st.st_mtim, .bytes = (uint64_t)st.st_size};
        total += (uint64_t)st.st_size;
    }
    if (d != NULL)
        closedir(d);
    if (count > 0)
        qsort(files, count, sizeof *files, by_age);
    for (size_t i = 0; i < count; i++) {
        if (total > limit && unlink(files[i].path) == 0)
            total -= files[i].bytes; /* a board that has it mapped keeps its pages */
        mem_free(files[i].path);
    }
    mem_free(files);
    mem_free(directory);
}

/* ---- a model file on this board -------------------------------------------------------------- */

/* Takes initializers of the file that have the name and the contents of missing constants. */
static enum cohort_code look_in_model(struct cohort_session *s, const int *ids, int count,
                                      struct cohort_error *err) {
    struct graph *file = NULL;
    char hex[HASH_TEXT_BYTES];
    enum cohort_code code = COHORT_OK;
    if (s->options.weights_path == NULL) {
        code = error_set(err, COHORT_ERR_USAGE, "weights from a local file, but no file was named");
        goto out;
    }
    TRY(onnx_load(&file, s->options.weights_path, err));
    for (int i = 0; i < count; i++) {
        struct value *v = graph_value(s->graph, ids[i]);
        int at = graph_find_value(file, v->name);
        const struct tensor *t = at >= 0 ? &file->values[at].constant : NULL;
        if (v->constant.data != NULL || v->content_hash == NULL || t == NULL || t->data == NULL ||
            tensor_bytes(t) != tensor_bytes(&v->constant))
            continue;
        hash_bytes(t->data, tensor_bytes(t), hex);
        if (strcmp(hex, v->content_hash) == 0)
            TRY(tensor_copy(&v->constant, t, err));
    }
out:
    graph_destroy(&file);
    return code;
}

/* ---- the chain ------------------------------------------------------------------------------- */

/* The constants that travel, the same list on every rank, and where this rank puts them. */
struct arrivals {
    struct cohort_session *s;
    int *ids;
    struct comm_blob *blobs;
    int count;
    struct file_writer writer; /* of the blob that is arriving, when it is cached */
    bool writing;
};

static enum cohort_code list_blobs(struct arrivals *a, struct cohort_error *err) {
    const struct graph *g = a->s->graph;
    a->ids = mem_zalloc((size_t)g->value_count + 1, sizeof *a->ids);
    a->blobs = mem_zalloc((size_t)g->value_count + 1, sizeof *a->blobs);
    if (a->ids == NULL || a->blobs == NULL)
        return error_memory(err, (size_t)g->value_count * 32, "a list of weights");
    for (int id = 0; id < g->value_count; id++) {
        const struct value *v = &g->values[id];
        if (!v->is_constant || v->content_hash == NULL)
            continue;
        a->ids[a->count] = id;
        a->blobs[a->count++] = (struct comm_blob){.data = a->s->rank == 0 ? v->constant.data : NULL,
                                                  .bytes = tensor_bytes(&v->constant)};
    }
    return COHORT_OK;
}

/* Once for each board: what holds for one file holds for the next. */
static void warn_cache(struct cohort_session *s, const struct cohort_error *why) {
    if (!s->cache_warned)
        session_log(s, 0, "%s: weights are not cached: %s", comm_board_text(s->comm, s->rank),
                    why->message);
    s->cache_warned = true;
}

/* Begins storing a blob: in the cache, or, when that cannot be written, in memory. */
static enum cohort_code begin_blob(struct arrivals *a, struct value *v, struct cohort_error *err) {
    if (uses_cache(a->s)) {
        struct cohort_error why = {0};
        char *path = cache_path(a->s, v);
        if (path == NULL)
            return error_memory(err, 64, "a file name");
        a->writing = file_writer_begin(&a->writer, path, &why) == COHORT_OK;
        mem_free(path);
        if (a->writing)
            return COHORT_OK;
        warn_cache(a->s, &why);
    }
    return tensor_init(&v->constant, v->type, &v->shape, err);
}

/* All of a blob is written.  It is used even where its file cannot get its name: the mapping stays.
 */
static enum cohort_code end_blob(struct arrivals *a, int id, struct cohort_error *err) {
    struct file_map map = {0};
    struct cohort_error why;
    enum cohort_code code = COHORT_OK;
    a->writing = false;
    TRY(file_map(&map, a->writer.temporary, err));
    if (file_writer_commit(&a->writer, &why) != COHORT_OK)
        warn_cache(a->s, &why);
    TRY(attach_map(a->s, id, &map, err));
out:
    file_writer_abandon(&a->writer);
    file_unmap(&map);
    return code;
}

/* The disk is full, or the like: on with this blob in memory, with the `at` bytes that are written.
 */
static enum cohort_code leave_cache(struct arrivals *a, struct value *v, size_t at,
                                    struct cohort_error *err) {
    struct file_map map = {0};
    enum cohort_code code = COHORT_OK;
    if (at > 0)
        TRY(file_map(&map, a->writer.temporary, err));
    TRY(tensor_init(&v->constant, v->type, &v->shape, err));
    if (at > 0 && map.bytes >= at)
        memcpy(v->constant.data, map.data, at);
    else if (at > 0)
        code = error_set(err, COHORT_ERR_IO, "%s: cannot be read back", a->writer.temporary);
out:
    a->writing = false;
    file_writer_abandon(&a->writer);
    file_unmap(&map);
    return code;
}

static enum cohort_code take_piece(void *context, int index, size_t at, const void *data,
                                   size_t bytes, struct cohort_error *err) {
    struct arrivals *a = context;
    struct value *v = graph_value(a->s->graph, a->ids[index]);
    struct cohort_error why;
    enum cohort_code code = COHORT_OK;
    if (at == 0)
        TRY(begin_blob(a, v, err));
    a->s->weights_received_bytes += bytes;
    if (a->writing && file_writer_append(&a->writer, data, bytes, &why) != COHORT_OK) {
        warn_cache(a->s, &why);
        TRY(leave_cache(a, v, at, err));
    }
    if (!a->writing)
        memcpy((char *)v->constant.data + at, data, bytes);
    else if (at + bytes == a->blobs[index].bytes)
        TRY(end_blob(a, a->ids[index], err));
out:
    return code;
}

static void chain_progress(void *context, uint64_t done, uint64_t total) {
    const struct cohort_session *s = context;
    if (s->options.progress != NULL && s->rank == 0)
        s->options.progress(s->options.context, "weights", done, total);
}

/* Of slices, the constants that they are of. */
static void take_sources(const struct cohort_session *s, int *ids, int *count) {
    int kept = 0;
    for (int i = 0; i < *count; i++) {
        const int id = session_constant_source(s, ids[i]);
        if (id >= 0)
            ids[kept++] = id;
    }
    *count = kept;
}

/* Local: what this rank can find by itself; marks the rest as wanted. */
static enum cohort_code look_around(struct cohort_session *s, struct arrivals *a,
                                    struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int *ids = NULL, count = 0;
    TRY(list_blobs(a, err));
    if (s->rank == 0)
        goto out;
    TRY(exec_constants(s->program, &ids, &count, err));
    take_sources(s, ids, &count);
    if (uses_cache(s)) {
        char *directory = file_join(s->options.cache_directory, "weights");
        struct cohort_error why = {0};
        if (directory == NULL || file_make_directories(directory, &why) != COHORT_OK)
            warn_cache(s, &why);
        mem_free(directory);
    }
    if (s->options.weights == COHORT_WEIGHTS_LOCAL)
        TRY(look_in_model(s, ids, count, err));
    for (int i = 0; i < count; i++) {
        struct value *v = graph_value(s->graph, ids[i]);
        if (v->constant.data != NULL || v->content_hash == NULL)
            continue;
        if (uses_cache(s))
            TRY(look_in_cache(s, ids[i], err));
        for (int k = 0; v->constant.data == NULL && k < a->count; k++)
            if (a->ids[k] == ids[i])
                a->blobs[k].wanted = true;
    }
out:
    mem_free(ids);
    return code;
}

enum cohort_code session_fetch_weights(struct cohort_session *s, struct cohort_error *err) {
    if (s->comm == NULL)
        return session_inject(s, "weights", COHORT_OK, err);
    struct arrivals a = {.s = s, .writer = {.fd = -1}};
    enum cohort_code code = session_inject(s, "weights", look_around(s, &a, err), err);
    TRY(comm_agree(s->comm, code, err));
    code = comm_chain(s->comm, a.blobs, a.count, take_piece, &a, chain_progress, s, err);
    TRY(comm_agree(s->comm, code, err));
    if (uses_cache(s) && s->weights_received_bytes > 0)
        trim_cache(s);
out:
    if (a.writing)
        file_writer_abandon(&a.writer);
    mem_free(a.ids);
    mem_free(a.blobs);
    return code;
}

void session_drop_weights(struct cohort_session *s) {
    session_drop_slices(s);
    if (s->rank == 0)
        return;
    for (int i = 0; i < s->weight_map_count; i++) {
        struct weight_map *m = &s->weight_maps[i];
        if (m->map.data == NULL) /* dropped before: what is there now is another one's */
            continue;
        if (session_uses_constant(s, m->value))
            continue;
        s->graph->values[m->value].constant.data = NULL;
        file_unmap(&m->map);
    }
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
