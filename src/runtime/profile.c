/* cohort_profile_make(): a profile from what was measured before, or measured now. */
#include "profile/cache.h"
#include "runtime/model.h"
#include "runtime/session.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define PROGRESS_LINKS   "measuring links"
#define PROGRESS_COMPUTE "profiling"
#define PROGRESS_GROUPS  "profiling groups"
#define PROGRESS_ENGINES "profiling engines"
#define SYSFS            "/sys"

struct making {
    struct cohort_session *s;
    const struct cohort_profile_options *options;
    struct profile_facts *facts; /* of all ranks; rank 0 */
    struct exec_options exec;
    struct profile_job job;
    struct profile *now;     /* rank 0: what is to be found out */
    char *path, *links_path; /* rank 0: in the cache; NULL: there is none */
    /* The same on all ranks.  fixed: a file that was named; only_kept: nothing is measured. */
    int have_compute, have_links, have_groups, have_engines, fixed, only_kept;
    const char *doing;
};

/* ---- what this board is ---------------------------------------------------------------------- */

/* Which kernels: their sources, and everything that chooses among them. */
static enum cohort_code name_kernels(const struct cohort_session *s,
                                     char text[PROFILE_KERNELS_BYTES], struct cohort_error *err) {
    char chosen[HASH_TEXT_BYTES] = "", signature[SIGNATURE_TEXT_BYTES];
    struct buf b = {0};
    for (int i = 0; i < s->choices.count; i++) {
        buf_string(&b, signature_text(&s->choices.items[i].signature, signature));
        buf_string(&b, s->choices.items[i].kernel);
    }
    bool failed = b.failed;
    if (!failed && s->choices.count > 0)
        hash_bytes(b.data, b.size, chosen);
    buf_release(&b);
    if (failed)
        return error_memory(err, SIGNATURE_TEXT_BYTES, "a profile");
    snprintf(text, PROFILE_KERNELS_BYTES, "%s%s%.60s%s%.16s%s", kernels_build(),
             s->options.kernel != NULL ? " " : "",
             s->options.kernel != NULL ? s->options.kernel : "", chosen[0] != '\0' ? " tuned " : "",
             chosen, s->options.weights_type == COHORT_WEIGHTS_F16 ? " f16" : "");
    return COHORT_OK;
}

enum cohort_code session_facts(const struct cohort_session *s, struct profile_facts *f,
                               struct cohort_error *err) {
    const struct tuning_key key = session_tuning_key(s);
    *f = (struct profile_facts){.cpu_share = pool_share(s->pool),
                                .clock_mhz = board_clock_mhz(&s->board, SYSFS),
                                .memory_bytes = s->board.memory_bytes,
                                .available_bytes = session_memory(s, s->board.available_bytes),
                                .threads = key.threads};
    snprintf(f->host, sizeof f->host, "%s",
             s->comm != NULL ? comm_host(s->comm, s->rank) : s->board.name);
    snprintf(f->cpu, sizeof f->cpu, "%s", key.cpu);
    snprintf(f->isa, sizeof f->isa, "%s", key.isa);
    board_network(f->network);
    return name_kernels(s, f->kernels, err);
}

/* Collective.  All boards' facts on rank 0. */
static enum cohort_code gather_facts(struct making *m, struct cohort_error *err) {
    struct cohort_session *s = m->s;
    struct profile_facts mine;
    enum cohort_code code = session_facts(s, &mine, err);
    m->facts = mem_zalloc(s->rank == 0 ? (size_t)s->size : 1, sizeof *m->facts);
    if (code == COHORT_OK && m->facts == NULL)
        code = error_memory(err, (size_t)s->size * sizeof *m->facts, "a profile");
    TRY(session_agree(s, code, err));
    if (s->comm != NULL)
        TRY(comm_gather_bytes(s->comm, &mine, sizeof mine, m->facts, err));
    else
        m->facts[0] = mine;
out:
    return code;
}

static void show_progress(void *context, uint64_t done, uint64_t total) {
    const struct making *m = context;
    if (m->s->options.progress != NULL)
        m->s->options.progress(m->s->options.context, m->doing, done, total);
}

static void log_line(void *context, int level, const char *line) {
    const struct making *m = context;
    session_log(m->s, level, "%s", line);
}

static void describe_job(struct making *m) {
    const struct cohort_session *s = m->s;
    m->exec = session_exec_options(s);
    m->job = (struct profile_job){.comm = s->comm,
                                  .rank = s->rank,
                                  .size = s->size,
                                  .graph = s->graph,
                                  .pool = s->pool,
                                  .board = &s->board,
                                  .memory_bytes = session_memory(s, s->board.available_bytes),
                                  .bind = session_binds(s),
                                  .exec = &m->exec,
                                  .facts = m->facts,
                                  .version = cohort_version(),
                                  .progress = show_progress,
                                  .log = log_line,
                                  .context = m};
}

/* ---- what is there already ------------------------------------------------------------------- */

/* Rank 0.  A file that was named must fit; its links count, too.  One board alone is found among
 * those of a larger cluster. */
static enum cohort_code take_named(struct making *m, const char *path, struct cohort_error *err) {
    char why[PROFILE_WHY_BYTES];
    struct profile *kept = NULL;
    enum cohort_code code = profile_load(&kept, path, err);
    if (code == COHORT_OK && m->s->size == 1 && kept->board_count > 1)
        code = profile_narrow(kept, &m->facts[0], err);
    if (code == COHORT_OK && !profile_matches(kept, m->now, why))
        code = error_set(err, COHORT_ERR_PLAN, "%s: %s; leave --profile out to measure", path, why);
    if (code == COHORT_OK) {
        profile_destroy(&m->now);
        m->now = kept;
        kept = NULL;
        m->have_compute = m->have_links = m->fixed = 1;
    }
    profile_destroy(&kept);
    return code;
}

/* Rank 0.  From the cache, where it is there and fits; what is wrong with it is said. */
static enum cohort_code take_kept(struct making *m, struct cohort_error *err) {
    char why[PROFILE_WHY_BYTES];
    struct cohort_error local = {0};
    struct profile *kept = NULL;
    enum cohort_code code = COHORT_OK;
    m->path = profile_path(m->options->directory, m->now, m->s->kernel_board.winograd_bytes);
    m->links_path = profile_links_path(m->options->directory, m->facts, m->s->size);
    if (m->path == NULL || m->links_path == NULL)
        return error_memory(err, 256, "a file name");
    if (m->options->again)
        return COHORT_OK;
    if (file_exists(m->path)) {
        code = profile_load(&kept, m->path, &local);
        if (code == COHORT_OK && !profile_matches(kept, m->now, why))
            code = error_set(&local, COHORT_ERR_FORMAT, "%s: %s", m->path, why);
        if (code == COHORT_OK) {
            session_log(m->s, 1, "the profile is %s", m->path);
            profile_destroy(&m->now);
            m->now = kept;
            kept = NULL;
            m->have_compute = 1;
        }
    }
    if (code == COHORT_OK && m->s->size > 1 && file_exists(m->links_path)) {
        code = profile_load_links(m->now, m->facts, m->links_path, &local);
        m->have_links = code == COHORT_OK;
    }
    profile_destroy(&kept);
    if (code == COHORT_ERR_MEMORY)
        return error_set(err, code, "%s", local.message);
    if (code != COHORT_OK)
        session_log(m->s, 0, "%s; %s", local.message,
                    m->options->kept != 0 ? "left alone" : "measured again");
    return COHORT_OK;
}

/* Rank 0.  Are those groups there that are asked for, if any are? */
static bool has_groups(const struct making *m) {
    const struct profile_groups *g = m->now->groups;
    const int asked = m->options->groups;
    const bool enough = g != NULL && (g->longest == 0 || (asked > 0 && asked <= g->longest));
    const bool feeds = g != NULL && m->s->size > 1 && !(g->shares[0] > 0);
    return asked == 0 || (enough && feeds == (m->options->root_feeds != 0 && m->s->size > 1));
}

/* Collective. */
static enum cohort_code look(struct making *m, struct cohort_error *err) {
    struct cohort_session *s = m->s;
    enum cohort_code code = COHORT_OK;
    struct buf b = {0};
    if (s->rank == 0) {
        code = profile_begin(&m->now, &m->job, err);
        if (code == COHORT_OK && m->options->file != NULL)
            code = take_named(m, m->options->file, err);
        else if (code == COHORT_OK && m->options->directory != NULL)
            code = take_kept(m, err);
        buf_u8(&b, (uint8_t)m->have_compute);
        buf_u8(&b, (uint8_t)m->have_links);
        if (code == COHORT_OK)
            m->have_groups = has_groups(m);
        buf_u8(&b, (uint8_t)m->have_groups);
        if (code == COHORT_OK)
            m->have_engines = m->options->engines == 0 || profile_has_engines(m->now);
        buf_u8(&b, (uint8_t)m->have_engines);
        buf_u8(&b, (uint8_t)m->fixed);
        m->only_kept = m->options->kept != 0;
        buf_u8(&b, (uint8_t)m->only_kept);
    }
    TRY(session_agree(s, code, err));
    if (s->comm == NULL)
        goto out;
    TRY(comm_broadcast(s->comm, &b, err));
    struct reader in = reader_of(b.data, b.size);
    m->have_compute = read_u8(&in);
    m->have_links = read_u8(&in);
    m->have_groups = read_u8(&in);
    m->have_engines = read_u8(&in);
    m->fixed = read_u8(&in);
    m->only_kept = read_u8(&in);
out:
    buf_release(&b);
    return code;
}

/* ---- what is not ----------------------------------------------------------------------------- */

/* Collective.  Links change more easily than boards: they are looked at every time. */
static enum cohort_code probe(struct making *m, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char why[PROFILE_WHY_BYTES];
    bool off = false;
    struct buf b = {0};
    TRY(profile_probe_links(m->now, &m->job, &off, why, err));
    if (m->s->rank == 0 && off && m->fixed)
        session_log(m->s, 0, "%s: %s; the profile is taken as it is", m->options->file, why);
    else if (m->s->rank == 0 && off)
        session_log(m->s, 0, "%s; links are measured again", why);
    if (m->s->rank == 0)
        buf_u8(&b, off && !m->fixed);
    TRY(comm_broadcast(m->s->comm, &b, err));
    struct reader in = reader_of(b.data, b.size);
    m->have_links = read_u8(&in) == 0;
out:
    buf_release(&b);
    return code;
}

/* Rank 0.  A cache that cannot be written is no reason to fail. */
static void keep(struct making *m, bool links, bool compute) {
    struct cohort_error local = {0};
    enum cohort_code code = COHORT_OK;
    if (m->path == NULL)
        return;
    char *directory = file_directory(m->path);
    if (directory != NULL && (links || compute))
        code = file_make_directories(directory, &local);
    if (code == COHORT_OK && links)
        code = profile_save_links(m->now, m->facts, m->links_path, &local);
    if (code == COHORT_OK && (compute || links))
        code = profile_save(m->now, m->path, &local);
    if (code != COHORT_OK)
        session_log(m->s, 0, "the profile is not kept: %s", local.message);
    mem_free(directory);
}

static enum cohort_code measure(struct making *m, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    bool several = m->s->comm != NULL && m->s->size > 1;
    double start = clock_ms();
    if (several && m->have_links)
        TRY(probe(m, err));
    double probed = clock_ms();
    bool links = several && !m->have_links, compute = !m->have_compute;
    m->doing = PROGRESS_LINKS;
    if (links && m->s->rank == 0)
        session_log(m->s, 1, "measuring the links between %d boards", m->s->size);
    if (links)
        TRY(profile_measure_links(m->now, &m->job, err));
    double linked = clock_ms();
    m->doing = PROGRESS_COMPUTE;
    if (compute && m->s->rank == 0)
        session_log(m->s, 1, "timing %d operators on %d boards", m->s->graph->node_count,
                    m->s->size);
    if (compute)
        TRY(profile_measure_compute(m->now, &m->job, err));
    double profiled = clock_ms();
    m->doing = PROGRESS_GROUPS;
    if (!m->have_groups)
        TRY(profile_measure_groups(m->now, &m->job, m->options->groups,
                                   m->options->root_feeds != 0 && several, err));
    m->doing = PROGRESS_ENGINES;
    const double grouped = clock_ms();
    if (!m->have_engines)
        TRY(profile_measure_engines(m->now, &m->job, err));
    if (m->s->rank == 0) {
        session_log(m->s, 1, "links probed in %.0f ms, measured in %.0f ms; profiled in %.0f ms",
                    probed - start, linked - probed, profiled - linked);
        if (!m->have_groups)
            session_log(m->s, 1, "%d groups of operators measured in %.1f s", m->now->groups->count,
                        m->now->groups->seconds);
        if (!m->have_engines)
            session_log(m->s, 1, "engines measured in %.0f ms", clock_ms() - grouped);
        keep(m, links, compute || !m->have_groups || !m->have_engines);
    }
out:
    return code;
}

static enum cohort_code make(struct making *m, struct cohort_model *model,
                             struct cohort_error *err) {
    struct cohort_session *s = m->s;
    enum cohort_code code = COHORT_OK;
    TRY(session_share_network(s, model, NULL, err));
    TRY(session_agree(s, session_open_board(s, err), err));
    if (s->options.inject_share > 0 && s->options.inject_share_run == 0)
        pool_slow_down(s->pool, s->options.inject_share);
    TRY(session_share_limits(s, err));
    TRY(session_share_choices(s, err));
    TRY(gather_facts(m, err));
    describe_job(m);
    TRY(look(m, err));
    if (!m->only_kept)
        TRY(measure(m, err));
out:
    return code;
}

enum cohort_code cohort_profile_make(struct cohort_profile **profile, struct cohort_model *model,
                                     MPI_Comm comm, const struct cohort_profile_options *options,
                                     const struct cohort_session_options *session,
                                     struct cohort_error *err) {
    static const struct cohort_profile_options none;
    struct making m = {.options = options != NULL ? options : &none};
    struct cohort_profile *c = mem_zalloc(1, sizeof *c);
    enum cohort_code code = session_new(&m.s, comm, session, err);
    if (code == COHORT_OK) {
        code = c != NULL ? COHORT_OK : error_memory(err, sizeof *c, "a profile");
        code = session_agree(m.s, code, err);
        if (code == COHORT_OK)
            code = make(&m, model, err);
        if (code != COHORT_OK)
            m.s->failed = true;
    }
    if (code == COHORT_OK && m.s->rank == 0 && (m.have_compute || !m.only_kept)) {
        c->available_bytes = mem_zalloc((size_t)m.s->size, sizeof *c->available_bytes);
        for (int r = 0; c->available_bytes != NULL && r < m.s->size; r++)
            c->available_bytes[r] = m.facts[r].available_bytes;
        c->profile = m.now;
        m.now = NULL;
        *profile = c;
        c = NULL;
    }
    cohort_close(&m.s);
    profile_destroy(&m.now);
    mem_free(m.facts);
    mem_free(m.path);
    mem_free(m.links_path);
    mem_free(c);
    return code;
}

/* ---- files ----------------------------------------------------------------------------------- */

enum cohort_code cohort_profile_load(struct cohort_profile **profile, const char *path,
                                     struct cohort_error *err) {
    struct cohort_profile *c = mem_zalloc(1, sizeof *c);
    if (c == NULL)
        return error_memory(err, sizeof *c, "a profile");
    enum cohort_code code = profile_load(&c->profile, path, err);
    if (code == COHORT_OK) {
        *profile = c;
        return code;
    }
    mem_free(c);
    return code;
}

enum cohort_code cohort_profile_save(const struct cohort_profile *profile, const char *path,
                                     struct cohort_error *err) {
    return profile_save(profile->profile, path, err);
}

void cohort_profile_free(struct cohort_profile **profile) {
    if (*profile == NULL)
        return;
    profile_destroy(&(*profile)->profile);
    mem_free((*profile)->available_bytes);
    mem_free(*profile);
    *profile = NULL;
}

const struct profile *cohort_profile_of(const struct cohort_profile *p) {
    return p->profile;
}
