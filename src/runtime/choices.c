/* Kernels chosen by measuring: from rank 0's tuning file to what each board takes. */
#include "runtime/session.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum cohort_code session_read_tuning(struct cohort_session *s, struct cohort_error *err) {
    const char *path = s->options.tuning;
    struct cohort_error local = {0};
    if (path == NULL || kernel_isas_named(s->options.kernel) == 0 ||
        (s->options.tuning_optional && !file_exists(path)))
        return COHORT_OK;
    enum cohort_code code = tuning_load(&s->tuning, path, &local);
    s->tuned = code == COHORT_OK;
    if (code == COHORT_OK)
        return code;
    if (code == COHORT_ERR_MEMORY || !s->options.tuning_optional)
        return error_set(err, code, "%s", local.message);
    session_log(s, 0, "%s; no kernel is chosen from it", local.message);
    return COHORT_OK;
}

void session_release_choices(struct cohort_session *s) {
    tuning_release(&s->tuning);
    mem_free((void *)s->choices.items);
    mem_free(s->choice_text);
    s->choices = (struct kernel_choices){0};
    s->choice_text = NULL;
}

struct tuning_key session_tuning_key(const struct cohort_session *s) {
    struct tuning_key key = {.threads = pool_threads(s->pool)};
    snprintf(key.cpu, sizeof key.cpu, "%s",
             s->board.cpu_model[0] != '\0' ? s->board.cpu_model : s->board.isa);
    tuning_key_here(&key, s->options.kernel);
    return key;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Winograd's weights take two to three times their layer's.  A board whose memory is this many
 * times the limit can afford that for the few layers of a network that come near it. */
#define WINOGRAD_SHARE 16

uint64_t session_memory(const struct cohort_session *s, uint64_t boards) {
    const uint64_t limits[] = {mem_limit_bytes(), s->options.memory_limit_bytes};
    if (s->comm != NULL && comm_local_size(s->comm) > 1)
        boards /= (uint64_t)comm_local_size(s->comm);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i] != 0 && (boards == 0 || limits[i] < boards))
            boards = limits[i];
    return boards;
}

static uint64_t winograd_bytes_here(const struct cohort_session *s) {
    const uint64_t memory = session_memory(s, s->board.memory_bytes);
    uint64_t most = KERNEL_WINOGRAD_BYTES;
    if (memory != 0 && memory / WINOGRAD_SHARE < most)
        most = memory / WINOGRAD_SHARE + 1; /* never 0: that would mean unknown */
    return most;
}

enum cohort_code session_share_limits(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    uint64_t mine = winograd_bytes_here(s), least = mine, *all = NULL;
    struct buf b = {0};
    s->kernel_board.l2_bytes = s->board.l2_bytes;
    if (s->comm == NULL)
        goto out;
    if (s->rank == 0) {
        all = mem_zalloc((size_t)s->size, sizeof *all);
        code = all != NULL ? COHORT_OK : error_memory(err, sizeof *all, "the boards' limits");
    }
    TRY(session_agree(s, code, err));
    TRY(comm_gather_bytes(s->comm, &mine, sizeof mine, all, err));
    for (int r = 0; s->rank == 0 && r < s->size; r++)
        least = all[r] < least ? all[r] : least;
    if (s->rank == 0)
        buf_u64(&b, least);
    TRY(session_agree(
        s, b.failed ? error_memory(err, sizeof least, "the boards' limits") : COHORT_OK, err));
    TRY(comm_broadcast(s->comm, &b, err));
    struct reader in = reader_of(b.data, b.size);
    least = read_u64(&in);
out:
    s->kernel_board.winograd_bytes = (size_t)least;
    buf_release(&b);
    mem_free(all);
    return code;
}

/* ---- rank 0 decides -------------------------------------------------------------------------- */

/* Can boards a and b run the same kernels, so that they must take the same ones? */
static bool same_kernels(const struct tuning_key *a, const struct tuning_key *b) {
    return strcmp(a->isa, b->isa) == 0 && strcmp(a->kernels, b->kernels) == 0;
}

/* The part of the file for rank r: that of the lowest rank with the same kernels that has one. */
static const struct tuning_board *part_for(const struct cohort_session *s,
                                           const struct tuning_key *keys, int r) {
    const struct tuning_board *part = NULL;
    for (int i = 0; i < s->size && part == NULL; i++)
        if (same_kernels(&keys[i], &keys[r]))
            part = tuning_find(&s->tuning, &keys[i]);
    return part;
}

/* For each set of kernels in the job: u8 1, isa, sources, u32 count, count times signature and
 * kernel; then u8 0. */
static void write_decisions(const struct cohort_session *s, const struct tuning_key *keys,
                            struct buf *b) {
    char text[SIGNATURE_TEXT_BYTES];
    for (int r = 0; r < s->size; r++) {
        const struct tuning_board *part = part_for(s, keys, r);
        bool first = true;
        for (int i = 0; i < r; i++)
            first = first && !same_kernels(&keys[i], &keys[r]);
        if (!first || part == NULL)
            continue;
        buf_u8(b, 1);
        buf_string(b, keys[r].isa);
        buf_string(b, keys[r].kernels);
        buf_u32(b, (uint32_t)part->count);
        for (int i = 0; i < part->count; i++) {
            const struct tuning_choice *c = &part->choices[i];
            buf_string(b, signature_text(&c->signature, text));
            buf_string(b, c->times[c->chosen].kernel);
        }
    }
    buf_u8(b, 0);
}

/* A file that was named and says nothing about a board deserves a word. */
static void tell_unknown(const struct cohort_session *s, const struct tuning_key *keys) {
    for (int r = 0; r < s->size; r++)
        if (part_for(s, keys, r) == NULL)
            session_log(s, s->options.tuning_optional ? 1 : 0,
                        "%s holds nothing for rank %d (%s, %s, %d threads, kernels %s): kernels "
                        "are chosen by estimate there",
                        s->options.tuning, r, keys[r].cpu, keys[r].isa, keys[r].threads,
                        keys[r].kernels);
}

/* ---- every rank takes its part --------------------------------------------------------------- */

/* Is this a kernel that tuning could have chosen here? */
static bool is_candidate(const struct signature *s, const char *kernel) {
    const char *names[TUNING_CANDIDATES_MAX];
    int n = signature_candidates(s, kernel_isa_available(), names, TUNING_CANDIDATES_MAX);
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], kernel) == 0)
            return true;
    return false;
}

/* Reads `count` choices; when `mine`, they become the session's. */
static enum cohort_code read_choices(struct cohort_session *s, struct reader *r, size_t count,
                                     bool mine, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct kernel_choice *items = mem_zalloc(count + 1, sizeof *items);
    char *names = mem_zalloc(count + 1, TUNING_KERNEL_BYTES), *text = NULL, *kernel = NULL;
    if (items == NULL || names == NULL)
        code = error_memory(err, count * sizeof *items, "choices of kernels");
    for (size_t i = 0; i < count && code == COHORT_OK; i++) {
        char *name = names + i * TUNING_KERNEL_BYTES;
        text = read_string(r);
        kernel = read_string(r);
        if (text == NULL || kernel == NULL)
            code = r->failed ? error_set(err, COHORT_ERR_INTERNAL, "choices did not arrive whole")
                             : error_memory(err, SIGNATURE_TEXT_BYTES, "choices of kernels");
        else if (mine && (!signature_parse(&items[i].signature, text) ||
                          !is_candidate(&items[i].signature, kernel)))
            code = error_set(err, COHORT_ERR_FORMAT,
                             "the tuning file chooses %.*s for %s: no kernel that can do that here",
                             TUNING_KERNEL_BYTES, kernel, text);
        else
            snprintf(name, TUNING_KERNEL_BYTES, "%s", kernel);
        items[i].kernel = name;
        mem_free(text);
        mem_free(kernel);
    }
    if (code == COHORT_OK && mine) {
        s->choices = (struct kernel_choices){.items = items, .count = (int)count};
        s->choice_text = names;
        return code;
    }
    mem_free(items);
    mem_free(names);
    return code;
}

static enum cohort_code take_decisions(struct cohort_session *s, const struct buf *b,
                                       struct cohort_error *err) {
    const struct tuning_key key = session_tuning_key(s);
    struct reader r = reader_of(b->data, b->size);
    enum cohort_code code = COHORT_OK;
    while (code == COHORT_OK && read_u8(&r) == 1) {
        char *isa = read_string(&r), *kernels = read_string(&r);
        size_t count = read_count(&r, 8);
        if (isa == NULL || kernels == NULL)
            code = error_memory(err, sizeof key, "choices of kernels");
        else
            code = read_choices(
                s, &r, count, strcmp(isa, key.isa) == 0 && strcmp(kernels, key.kernels) == 0, err);
        mem_free(isa);
        mem_free(kernels);
    }
    return code;
}

/* A default file that names a kernel which is none is refused like one that cannot be read; all
 * boards with the same kernels see the same, so they still agree. */
static enum cohort_code refuse(struct cohort_session *s, enum cohort_code code,
                               const struct cohort_error *local, struct cohort_error *err) {
    if (code == COHORT_ERR_FORMAT && s->options.tuning_optional) {
        session_log(s, 0, "%s; no kernel is chosen from it", local->message);
        return COHORT_OK;
    }
    return code == COHORT_OK ? code : error_set(err, code, "%s", local->message);
}

enum cohort_code session_share_choices(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_error local = {0};
    struct tuning_key key = session_tuning_key(s), *keys = NULL;
    struct buf b = {0};
    if (!s->tuned)
        return COHORT_OK;
    if (s->rank == 0) {
        keys = mem_zalloc((size_t)s->size, sizeof *keys);
        code = keys != NULL ? COHORT_OK : error_memory(err, sizeof *keys, "the boards' kinds");
    }
    TRY(session_agree(s, code, err));
    if (s->comm != NULL)
        TRY(comm_gather_bytes(s->comm, &key, sizeof key, keys, err));
    else
        keys[0] = key;
    if (s->rank == 0) {
        write_decisions(s, keys, &b);
        tell_unknown(s, keys);
        tuning_release(&s->tuning);
        code = b.failed ? error_memory(err, b.size, "choices of kernels") : COHORT_OK;
    }
    TRY(session_agree(s, code, err));
    if (s->comm != NULL)
        TRY(comm_broadcast(s->comm, &b, err));
    code = refuse(s, take_decisions(s, &b, &local), &local, err);
    code = session_agree(s, code, err);
out:
    mem_free(keys);
    buf_release(&b);
    return code;
}
