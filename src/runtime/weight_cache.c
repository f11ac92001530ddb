/* Weights that boards keep in files.
 *
 * A file of a whole constant is called by the hash of its contents.  A slice's is called by a hash
 * of that and of the range, and ends with the hash of its own contents, which only who wrote it can
 * know.  Either is used only when its contents have the hash. */
#include "runtime/weights.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_CACHE_BYTES (UINT64_C(4) << 30)
#define HASH_DIGITS         (HASH_TEXT_BYTES - 1)

bool weight_cache_used(const struct cohort_session *s) {
    return s->options.weights == COHORT_WEIGHTS_CACHE && s->options.cache_directory != NULL;
}

static char *cache_path(const struct cohort_session *s, const struct weight_part *p) {
    const char *whole = graph_value(s->graph, p->source)->content_hash;
    char text[HASH_TEXT_BYTES + 128], name[HASH_TEXT_BYTES];
    if (p->axis < 0)
        return mem_printf("%s/weights/%s", s->options.cache_directory, whole);
    /* The same bytes may be a tensor of another shape elsewhere, of which these are other ones. */
    const int length =
        snprintf(text, sizeof text, "%s %d %lld %lld %zu %zu", whole, p->axis, (long long)p->begin,
                 (long long)p->end, (size_t)p->blob.run_bytes, (size_t)p->blob.run_pitch);
    hash_bytes(text, (size_t)length, name);
    return mem_printf("%s/weights/%s", s->options.cache_directory, name);
}

/* Once for each board: what holds for one file holds for the next. */
void weight_cache_warn(struct cohort_session *s, const struct cohort_error *why) {
    if (!s->cache_warned)
        session_log(s, 0, "%s: weights are not cached: %s", comm_board_text(s->comm, s->rank),
                    why->message);
    s->cache_warned = true;
}

void weight_cache_open(struct cohort_session *s) {
    struct cohort_error why = {0};
    char *directory = file_join(s->options.cache_directory, "weights");
    if (directory == NULL || file_make_directories(directory, &why) != COHORT_OK)
        weight_cache_warn(s, &why);
    mem_free(directory);
}

/* ---- mapped files ---------------------------------------------------------------------------- */

/* Numbers beyond the network's are of the shard at hand; another plan's shard has its own. */
static const struct shard *owner(const struct cohort_session *s, int id) {
    return id < s->graph->value_count ? NULL : s->shard;
}

/* Lets a constant borrow from a mapped file that the session keeps. */
static enum cohort_code attach_map(struct cohort_session *s, int id, struct file_map *map,
                                   struct cohort_error *err) {
    int at = 0; /* a place that was left */
    while (at < s->weight_map_count && s->weight_maps[at].map.data != NULL)
        at++;
    if (at == s->weight_map_count &&
        !MEM_GROW(s->weight_maps, s->weight_map_capacity, (size_t)s->weight_map_count))
        return error_memory(err, sizeof *s->weight_maps, "weights");
    s->weight_map_count += at == s->weight_map_count;
    s->weight_maps[at] = (struct weight_map){.map = *map, .value = id, .of = owner(s, id)};
    struct tensor *t = session_constant(s, id);
    t->data = (void *)(uintptr_t)map->data;
    t->owned = false;
    *map = (struct file_map){0};
    return COHORT_OK;
}

void weight_cache_unmap(struct cohort_session *s, int id) {
    for (int i = 0; i < s->weight_map_count; i++) {
        struct weight_map *m = &s->weight_maps[i];
        if (m->value != id || m->of != owner(s, id) ||
            m->map.data == NULL) /* unmapped before: what is there is another's */
            continue;
        struct tensor *t = session_constant(s, id);
        if (t != NULL)
            t->data = NULL;
        file_unmap(&m->map);
    }
}

void weight_cache_forget(struct cohort_session *s, const struct shard *shard) {
    for (int i = 0; i < s->weight_map_count; i++)
        if (s->weight_maps[i].of == shard)
            file_unmap(&s->weight_maps[i].map);
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Does the file hold what its name, or its end, says? */
static bool holds(const struct file_map *map, const struct weight_part *p, const char *whole) {
    const size_t tail = p->axis < 0 ? 0 : HASH_DIGITS;
    char hex[HASH_TEXT_BYTES];
    if (map->bytes != p->blob.bytes + tail)
        return false;
    hash_bytes(map->data, p->blob.bytes, hex);
    return memcmp(hex, tail > 0 ? (const char *)map->data + p->blob.bytes : whole, HASH_DIGITS) ==
           0;
}

static enum cohort_code find_file(struct cohort_session *s, const struct weight_part *p, int id,
                                  struct cohort_error *err) {
    struct file_map map = {0};
    struct cohort_error ignored;
    enum cohort_code code = COHORT_OK;
    char *path = cache_path(s, p);
    if (path == NULL)
        return error_memory(err, 64, "a file name");
    if (file_exists(path) && file_map(&map, path, &ignored) == COHORT_OK) {
        if (holds(&map, p, graph_value(s->graph, p->source)->content_hash)) {
            utimensat(AT_FDCWD, path, NULL, 0); /* used now: evicted last */
            code = attach_map(s, id, &map, err);
        }
        if (map.data != NULL)
            session_log(s, 1, "%s does not hold what its name says: fetched again", path);
        file_unmap(&map);
    }
    mem_free(path);
    return code;
}

enum cohort_code weight_cache_find(struct cohort_session *s, const struct weight_part *p,
                                   struct cohort_error *err) {
    const struct tensor *source = session_constant(s, p->source);
    enum cohort_code code = find_file(s, p, p->id, err);
    if (code != COHORT_OK || p->axis < 0 || session_constant(s, p->id)->data != NULL ||
        source->data != NULL)
        return code;
    struct weight_part whole = *p;
    whole.axis = -1;
    whole.blob.bytes = tensor_bytes(source);
    return find_file(s, &whole, p->source, err);
}

/* ---- writing --------------------------------------------------------------------------------- */

bool weight_cache_begin(struct file_writer *w, struct cohort_session *s,
                        const struct weight_part *p) {
    struct cohort_error why = {0};
    char *path = cache_path(s, p);
    const bool begun = path != NULL && file_writer_begin(w, path, &why) == COHORT_OK;
    if (!begun)
        weight_cache_warn(s, &why);
    mem_free(path);
    return begun;
}

enum cohort_code weight_cache_end(struct file_writer *w, struct cohort_session *s,
                                  const struct weight_part *p, struct cohort_error *err) {
    struct file_map map = {0};
    struct cohort_error why;
    char hex[HASH_TEXT_BYTES];
    enum cohort_code code = COHORT_OK;
    TRY(file_map(&map, w->temporary, err));
    hash_bytes(map.data, map.bytes, hex);
    const bool kept = (p->axis < 0 || file_writer_append(w, hex, HASH_DIGITS, &why) == COHORT_OK) &&
                      file_writer_commit(w, &why) == COHORT_OK;
    if (!kept)
        weight_cache_warn(s, &why);
    TRY(attach_map(s, p->id, &map, err));
out:
    file_writer_abandon(w);
    file_unmap(&map);
    return code;
}

/* ---- keeping it small ------------------------------------------------------------------------ */

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

void weight_cache_trim(const struct cohort_session *s) {
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
