/* Reading a cluster's companion file, and finding this rank's board in it. */
#include "cli/cluster.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES_MAX  ((size_t)1 << 20)
#define BOARDS_MAX 4096
#define CORES_MAX  1024
#define HOST_BYTES 256

/* ---- reading --------------------------------------------------------------------------------- */

uint64_t cluster_bytes(const char *text) {
    static const char letters[] = "kmgt";
    char *end;
    double v = strtod(text, &end);
    if (end == text || !isfinite(v) || v <= 0)
        return 0;
    if (*end != '\0') {
        const char *letter = strchr(letters, *end | 0x20);
        if (letter == NULL || *letter == '\0' || end[1] != '\0')
            return 0;
        v = ldexp(v, 10 * (int)(letter - letters + 1));
    }
    return v < (double)JSON_EXACT_MAX ? (uint64_t)v : 0;
}

/* A number of bytes, or a text such as "512M". */
static enum cohort_code read_limit(const struct json_at *board, uint64_t *bytes,
                                   struct cohort_error *err) {
    struct json_at at;
    if (!json_find(&at, board, "memory_limit") || cJSON_IsNull(at.value))
        return COHORT_OK;
    if (cJSON_IsString(at.value)) {
        *bytes = cluster_bytes(at.value->valuestring);
        if (*bytes == 0)
            return json_fail(&at, err, COHORT_ERR_FORMAT,
                             "expected bytes, or a text such as \"512M\", not '%.40s'",
                             at.value->valuestring);
        return COHORT_OK;
    }
    int64_t n = 0;
    enum cohort_code code = json_as_i64(&at, 1, JSON_EXACT_MAX, &n, err);
    *bytes = (uint64_t)n;
    return code;
}

static enum cohort_code read_cores(const struct json_at *board, struct cluster_board *b,
                                   struct cohort_error *err) {
    struct json_at at;
    if (json_find(&at, board, "cores") && cJSON_IsString(at.value))
        return json_may_copy(board, "cores", &b->cores, err);
    return json_may_int(board, "cores", 1, CORES_MAX, &b->threads, err);
}

static enum cohort_code read_board(const struct json_at *at, struct cluster *c,
                                   struct cohort_error *err) {
    static const char *const known[] = {"name",         "address", "network", "cpu_share",
                                        "memory_limit", "cores",   "comment"};
    struct cluster_board *b = &c->boards[c->count++];
    enum cohort_code code = COHORT_OK;
    const char *name = NULL;
    b->cpu_share = 1;
    TRY(json_as_object(at, err));
    TRY(json_known_keys(at, known, sizeof known / sizeof known[0], err));
    TRY(json_get_text(at, "name", &name, err));
    if (name[0] == '\0')
        return json_fail(at, err, COHORT_ERR_FORMAT, "a board's name is empty");
    for (int i = 0; i < c->count - 1; i++)
        if (strcmp(c->boards[i].name, name) == 0)
            return json_fail(at, err, COHORT_ERR_FORMAT, "board '%s' is there twice", name);
    TRY(json_may_copy(at, "name", &b->name, err));
    TRY(json_may_copy(at, "address", &b->address, err));
    TRY(json_may_copy(at, "network", &b->network, err));
    TRY(json_may_f64(at, "cpu_share", 0.001, 1, &b->cpu_share, err));
    TRY(read_cores(at, b, err));
    TRY(read_limit(at, &b->memory_limit_bytes, err));
out:
    return code;
}

static enum cohort_code read_root(const struct json_at *root, void *to, struct cohort_error *err) {
    static const struct json_format format = {CLUSTER_FORMAT, "a cluster", CLUSTER_VERSION,
                                              CLUSTER_VERSION};
    static const char *const known[] = {"format",  "version", "program",
                                        "network", "boards",  "comment"};
    enum cohort_code code = COHORT_OK;
    struct cluster *c = to;
    struct json_at boards;
    int count = 0, version;
    TRY(json_get_version(root, &format, &version, err));
    TRY(json_known_keys(root, known, sizeof known / sizeof known[0], err));
    TRY(json_may_copy(root, "program", &c->program, err));
    TRY(json_may_copy(root, "network", &c->network, err));
    TRY(json_need(&boards, root, "boards", err));
    TRY(json_as_array(&boards, &count, err));
    if (count < 1 || count > BOARDS_MAX)
        return json_fail(&boards, err, COHORT_ERR_FORMAT, "%d boards: expected 1 to %d", count,
                         BOARDS_MAX);
    c->boards = mem_zalloc((size_t)count, sizeof *c->boards);
    if (c->boards == NULL)
        return error_memory(err, (size_t)count * sizeof *c->boards, "a cluster");
    for (struct json_at e = {0}; json_next(&e, &boards);)
        TRY(read_board(&e, c, err));
out:
    return code;
}

enum cohort_code cluster_parse(struct cluster *c, const char *text, size_t bytes, const char *name,
                               struct cohort_error *err) {
    *c = (struct cluster){0};
    enum cohort_code code = json_read_text(text, bytes, name, read_root, c, err);
    if (code != COHORT_OK)
        cluster_release(c);
    return code;
}

enum cohort_code cluster_load(struct cluster *c, const char *path, struct cohort_error *err) {
    char *text = NULL;
    size_t bytes = 0;
    enum cohort_code code = file_read(path, BYTES_MAX, &text, &bytes, err);
    if (code == COHORT_OK)
        code = cluster_parse(c, text, bytes, path, err);
    mem_free(text);
    return code;
}

void cluster_board_release(struct cluster_board *b) {
    mem_free(b->name);
    mem_free(b->address);
    mem_free(b->network);
    mem_free(b->cores);
    *b = (struct cluster_board){0};
}

void cluster_release(struct cluster *c) {
    for (int i = 0; i < c->count; i++)
        cluster_board_release(&c->boards[i]);
    mem_free(c->boards);
    mem_free(c->network);
    mem_free(c->program);
    *c = (struct cluster){0};
}

static bool same_host(const char *a, const char *b) {
    size_t na = strcspn(a, "."), nb = strcspn(b, ".");
    if (a[na] == '.' && b[nb] == '.')
        return strcmp(a, b) == 0;
    return na == nb && memcmp(a, b, na) == 0;
}

const struct cluster_board *cluster_find(const struct cluster *c, const char *host) {
    for (int i = 0; i < c->count; i++)
        if (same_host(c->boards[i].name, host))
            return &c->boards[i];
    if (strcmp(host, "localhost") != 0)
        return cluster_find(c, "localhost");
    return NULL;
}

/* ---- this rank's board ----------------------------------------------------------------------- */

/* Collective.  Rank 0's file, on every rank. */
static enum cohort_code share_file(char **text, size_t *bytes, const char *path,
                                   struct cli_ranks *r, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (r->rank == 0)
        code = file_read(path, BYTES_MAX, text, bytes, err);
    TRY(cli_agree(r, code, err));
    long size = (long)*bytes;
    TRY(cli_broadcast(r, &size, err));
    *bytes = (size_t)size;
    if (r->rank != 0) {
        *text = mem_alloc(*bytes + 1);
        code = *text != NULL ? COHORT_OK : error_memory(err, *bytes + 1, "a cluster");
    }
    TRY(cli_agree(r, code, err));
    TRY(cli_broadcast_bytes(r, *text, *bytes, err));
out:
    return code;
}

/* Moves this host's entry out of c. */
static enum cohort_code own_entry(struct cluster_board *board, struct cluster *c, const char *path,
                                  struct cohort_error *err) {
    char host[HOST_BYTES] = "";
    const char **names = NULL;
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    const struct cluster_board *found = cluster_find(c, host);
    if (found != NULL) {
        *board = *found;
        c->boards[found - c->boards] = (struct cluster_board){0};
        return COHORT_OK;
    }
    names = mem_alloc((size_t)c->count * sizeof *names);
    for (int i = 0; names != NULL && i < c->count; i++)
        names[i] = c->boards[i].name;
    const char *close = names != NULL ? closest_name(host, names, (size_t)c->count) : NULL;
    mem_free(names);
    return error_set(err, COHORT_ERR_USAGE, "--cluster %s: has no board called '%s'%s%s%s", path,
                     host, close != NULL ? "; the closest is '" : "", close != NULL ? close : "",
                     close != NULL ? "'" : "");
}

enum cohort_code cluster_lookup(struct cluster_board *board, const char *path, struct cli_ranks *r,
                                struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cluster c = {0};
    char *text = NULL;
    size_t bytes = 0;
    long named = path != NULL;
    TRY(cli_broadcast(r, &named, err)); /* rank 0 decides: others' environments may differ */
    if (!named)
        goto out;
    if (path == NULL)
        path = "(rank 0's)";
    TRY(share_file(&text, &bytes, path, r, err));
    code = cluster_parse(&c, text, bytes, path, err);
    if (code == COHORT_OK)
        code = own_entry(board, &c, path, err);
    TRY(cli_agree(r, code, err));
out:
    cluster_release(&c);
    mem_free(text);
    return code;
}
