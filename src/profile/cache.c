#include "profile/cache.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "kernels/kernel.h"
#include "planner/profile_json.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define LINKS_FORMAT   "cohort-links"
#define LINKS_VERSION  1
#define NAME_MAX_CHARS 40

/* ---- names ----------------------------------------------------------------------------------- */

static char *path_of(const char *directory, const char *name, struct buf *key) {
    char hash[HASH_TEXT_BYTES] = "", plain[NAME_MAX_CHARS + 1] = "";
    char *path = NULL;
    for (size_t i = 0; name[i] != '\0' && i < NAME_MAX_CHARS; i++)
        plain[i] = isalnum((unsigned char)name[i]) || name[i] == '-' ? name[i] : '_';
    if (!key->failed) {
        hash_bytes(key->data, key->size, hash);
        path = mem_printf("%s/profiles/%s-%.16s.json", directory, plain, hash);
    }
    buf_release(key);
    return path;
}

char *profile_path(const char *directory, const struct profile *p, size_t winograd_bytes) {
    struct buf key = {0};
    if (winograd_bytes > 0 && winograd_bytes < KERNEL_WINOGRAD_BYTES)
        buf_u64(&key, winograd_bytes);
    buf_string(&key, p->signature);
    buf_string(&key, p->version);
    for (int r = 0; r < p->board_count; r++) {
        const struct profile_type *t = &p->types[p->boards[r].type];
        char numbers[96];
        snprintf(numbers, sizeof numbers, "%d %.9g %.9g", t->threads, t->cpu_share, t->clock_mhz);
        buf_string(&key, p->boards[r].host);
        buf_string(&key, t->cpu);
        buf_string(&key, t->isa);
        buf_string(&key, t->kernels);
        buf_string(&key, numbers);
    }
    return path_of(directory, p->network, &key);
}

char *profile_links_path(const char *directory, const struct profile_facts *facts, int boards) {
    struct buf key = {0};
    for (int r = 0; r < boards; r++) {
        buf_string(&key, facts[r].host);
        buf_string(&key, facts[r].network);
    }
    return path_of(directory, "links", &key);
}

/* ---- does it still hold? --------------------------------------------------------------------- */

static bool differ(char *why, const char *host, const char *what, const char *was, const char *is) {
    if (strcmp(was, is) == 0)
        return false;
    snprintf(why, PROFILE_WHY_BYTES, "%s: %s was \"%.70s\", now it is \"%.70s\"", host, what, was,
             is);
    return true;
}

static bool numbers_differ(char *why, const char *host, const char *what, double was, double is) {
    if (was == is)
        return false;
    snprintf(why, PROFILE_WHY_BYTES, "%s: %s was %.9g, now it is %.9g", host, what, was, is);
    return true;
}

static bool types_differ(char *why, const char *host, const struct profile_type *was,
                         const struct profile_type *is) {
    return differ(why, host, "the CPU", was->cpu, is->cpu) ||
           differ(why, host, "what it can run", was->isa, is->isa) ||
           differ(why, host, "the kernels", was->kernels, is->kernels) ||
           numbers_differ(why, host, "the number of threads", was->threads, is->threads) ||
           numbers_differ(why, host, "the CPU share", was->cpu_share, is->cpu_share) ||
           numbers_differ(why, host, "the highest clock in MHz", was->clock_mhz, is->clock_mhz);
}

bool profile_matches(const struct profile *kept, const struct profile *now,
                     char why[PROFILE_WHY_BYTES]) {
    if (strcmp(kept->signature, now->signature) != 0 || kept->node_count != now->node_count) {
        snprintf(why, PROFILE_WHY_BYTES,
                 "it is of another network: of '%.50s' with signature %s, not of '%.50s' with %s",
                 kept->network, kept->signature, now->network, now->signature);
        return false;
    }
    if (strcmp(kept->version, now->version) != 0) {
        snprintf(why, PROFILE_WHY_BYTES, "it was measured by Cohort %.30s, this is %.30s",
                 kept->version, now->version);
        return false;
    }
    if (kept->board_count != now->board_count) {
        snprintf(why, PROFILE_WHY_BYTES, "it is of %d boards, now there are %d", kept->board_count,
                 now->board_count);
        return false;
    }
    for (int r = 0; r < now->board_count; r++) {
        const char *host = now->boards[r].host;
        char rank[32];
        snprintf(rank, sizeof rank, "rank %d", r);
        if (differ(why, rank, "the host", kept->boards[r].host, host) ||
            types_differ(why, host, &kept->types[kept->boards[r].type],
                         &now->types[now->boards[r].type]))
            return false;
    }
    return true;
}

bool profile_type_fits(const struct profile_type *t, const struct profile_facts *f,
                       char why[PROFILE_WHY_BYTES]) {
    const struct profile_type now = {.cpu = (char *)(uintptr_t)f->cpu,
                                     .isa = (char *)(uintptr_t)f->isa,
                                     .kernels = (char *)(uintptr_t)f->kernels,
                                     .threads = f->threads,
                                     .cpu_share = f->cpu_share,
                                     .clock_mhz = f->clock_mhz};
    return !types_differ(why, f->host, t, &now);
}

static void free_links(struct profile *p) {
    for (int i = 0; i < p->link_count; i++)
        mem_free(p->links[i].points);
    mem_free(p->links);
    p->links = NULL;
    p->link_count = 0;
}

/* ---- one board of many ----------------------------------------------------------------------- */

/* What board b takes for the rows to which type `like` was measured, operator by operator. */
static double whole_ms(const struct profile *p, int b, const struct profile_type *like) {
    const struct profile_board *board = &p->boards[b];
    const struct profile_type *t = &p->types[board->type];
    double ms = 0;
    for (int i = 0; i < p->node_count; i++) {
        if (t->curve_of[i] < 0 || like->curve_of[i] < 0)
            continue;
        const struct profile_curve *c = &like->curves[like->curve_of[i]];
        ms += profile_curve_ms(&t->curves[t->curve_of[i]], c->points[c->count - 1].x);
    }
    return ms * board->scale;
}

/* The fastest board like this one: whatever slowed the others down while they were measured is not
 * what a board alone should be held to. */
static int find_board(const struct profile *p, const struct profile_facts *f,
                      char why[PROFILE_WHY_BYTES]) {
    int best = -1;
    double least = 0;
    const struct profile_type *like = NULL;
    for (int b = 0; b < p->board_count; b++) {
        const struct profile_board *board = &p->boards[b];
        if (!profile_type_fits(&p->types[board->type], f, why))
            continue;
        like = like != NULL ? like : &p->types[board->type];
        double ms = whole_ms(p, b, like);
        if (best < 0 || ms < least) {
            best = b;
            least = ms;
        }
    }
    return best;
}

enum cohort_code profile_narrow(struct profile *p, const struct profile_facts *f,
                                struct cohort_error *err) {
    char why[PROFILE_WHY_BYTES] = "";
    const int b = find_board(p, f, why);
    if (b < 0)
        return error_set(err, COHORT_ERR_PLAN, "the profile has no board like this one: %s", why);
    char *host = mem_strdup(f->host);
    if (host == NULL)
        return error_memory(err, strlen(f->host) + 1, "a profile");
    const struct profile_board board = p->boards[b];
    p->boards[b] = p->boards[0];
    p->boards[0] = board;
    for (int i = 1; i < p->board_count; i++) {
        mem_free(p->boards[i].host);
        mem_free(p->boards[i].remark);
    }
    mem_free(p->boards[0].host);
    p->boards[0].host = host;
    p->board_count = 1;
    free_links(p);
    p->link_of[0] = -1;
    profile_groups_destroy(&p->groups); /* of them all */
    p->scatter_factor = p->gather_factor = 1;
    p->wake_ms = 0;
    return COHORT_OK;
}

/* ---- links ----------------------------------------------------------------------------------- */

static enum cohort_code make_directory(const char *path, struct cohort_error *err) {
    char *directory = file_directory(path);
    enum cohort_code code = directory != NULL ? file_make_directories(directory, err)
                                              : error_memory(err, strlen(path), "a file name");
    mem_free(directory);
    return code;
}

enum cohort_code profile_save_links(const struct profile *p, const struct profile_facts *facts,
                                    const char *path, struct cohort_error *err) {
    bool ok = true;
    enum cohort_code code = make_directory(path, err);
    if (code != COHORT_OK)
        return code;
    cJSON *root = cJSON_CreateObject();
    json_add_text(root, "format", LINKS_FORMAT, &ok);
    json_add_i64(root, "version", LINKS_VERSION, &ok);
    cJSON *boards = json_add_array(root, "boards", &ok);
    for (int r = 0; r < p->board_count; r++) {
        cJSON *o = json_add_object(boards, NULL, &ok);
        json_add_text(o, "host", facts[r].host, &ok);
        json_add_text(o, "network", facts[r].network, &ok);
    }
    profile_write_links(root, p, &ok);
    code = root != NULL && ok ? json_save(root, path, err) : error_memory(err, 4096, "a document");
    json_free(&root);
    return code;
}

/* One board's entry: is it this one? */
static enum cohort_code check_board(const struct json_at *at, const struct profile_facts *f,
                                    struct cohort_error *err) {
    static const char *const keys[] = {"host", "network"};
    enum cohort_code code = COHORT_OK;
    const char *host, *network;
    TRY(json_as_object(at, err));
    TRY(json_known_keys(at, keys, 2, err));
    TRY(json_get_text(at, "host", &host, err));
    TRY(json_get_text(at, "network", &network, err));
    if (strcmp(host, f->host) != 0 || strcmp(network, f->network) != 0)
        return json_fail(at, err, COHORT_ERR_FORMAT,
                         "is of '%.60s' (%.90s), but this board is '%.60s' (%.90s)", host, network,
                         f->host, f->network);
out:
    return code;
}

/* What a file of links is read into, and the boards that it must be of. */
struct links_reading {
    struct profile *profile;
    const struct profile_facts *facts;
};

static enum cohort_code read_links_file(const struct json_at *root, void *to,
                                        struct cohort_error *err) {
    static const struct json_format format = {LINKS_FORMAT, "links", LINKS_VERSION, LINKS_VERSION};
    static const char *const keys[] = {"format", "version", "boards", "links"};
    enum cohort_code code = COHORT_OK;
    const struct links_reading *into = to;
    struct profile *p = into->profile;
    struct json_at boards, links;
    int version, count, r = 0;
    TRY(json_get_version(root, &format, &version, err));
    TRY(json_known_keys(root, keys, 4, err));
    TRY(json_need(&boards, root, "boards", err));
    TRY(json_as_array(&boards, &count, err));
    if (count != p->board_count)
        return json_fail(&boards, err, COHORT_ERR_FORMAT, "are %d, but there are %d", count,
                         p->board_count);
    for (struct json_at e = {0}; json_next(&e, &boards);)
        TRY(check_board(&e, &into->facts[r++], err));
    TRY(json_need(&links, root, "links", err));
    TRY(profile_read_links(&links, p, err));
out:
    return code;
}

void profile_move_links(struct profile *p, struct profile *from) {
    free_links(p);
    mem_free(p->link_of);
    p->links = from->links;
    p->link_of = from->link_of;
    p->link_count = from->link_count;
    p->scatter_factor = from->scatter_factor;
    p->gather_factor = from->gather_factor;
    p->wake_ms = from->wake_ms;
    from->links = NULL;
    from->link_of = NULL;
    from->link_count = 0;
}

enum cohort_code profile_load_links(struct profile *p, const struct profile_facts *facts,
                                    const char *path, struct cohort_error *err) {
    struct profile *read = mem_zalloc(1, sizeof *read); /* p stays as it is after an error */
    if (read == NULL)
        return error_memory(err, sizeof *read, "a profile");
    read->board_count = p->board_count;
    struct links_reading into = {read, facts};
    enum cohort_code code = json_read_file(path, JSON_BYTES_MAX, read_links_file, &into, err);
    if (code == COHORT_OK)
        profile_move_links(p, read);
    profile_destroy(&read);
    return code;
}
