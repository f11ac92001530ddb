/* cohort_tune(): all boards measure at once, those of one kind share the work, rank 0 keeps it. */
#include "runtime/tune.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

#define LIMIT_S 60.0
#define SPARE_S 240.0 /* others may wait so much longer than the limit for a board to end */

/* Which signatures a rank measures: every `count`th from `index` on, for the boards like `leader`.
 */
struct tune_share {
    int leader, index, count;
};

static bool same_key(const struct tuning_key *a, const struct tuning_key *b) {
    return strcmp(a->cpu, b->cpu) == 0 && strcmp(a->isa, b->isa) == 0 &&
           strcmp(a->kernels, b->kernels) == 0 && a->threads == b->threads;
}

struct tune {
    struct cohort_session *session;
    struct tune_item *items;
    int item_count;
    struct tune_result *mine, *all; /* all: rank 0, [rank][item] */
    struct tuning_key *keys;        /* rank 0 */
    struct tune_share *shares;      /* of all ranks */
};

/* ---- who does what --------------------------------------------------------------------------- */

static void divide(struct tune *t) {
    for (int r = 0; r < t->session->size; r++) {
        struct tune_share *s = &t->shares[r];
        while (!same_key(&t->keys[s->leader], &t->keys[r]))
            s->leader++;
        for (int i = 0; i < t->session->size; i++)
            if (same_key(&t->keys[i], &t->keys[r])) {
                s->index += i < r;
                s->count++;
            }
    }
}

/* Collective. */
static enum cohort_code agree_on_shares(struct tune *t, struct cohort_error *err) {
    struct cohort_session *s = t->session;
    size_t size = (size_t)s->size;
    const struct tuning_key key = session_tuning_key(s);
    enum cohort_code code = COHORT_OK;
    struct buf b = {0};
    t->keys = mem_zalloc(size, sizeof *t->keys);
    t->shares = mem_zalloc(size, sizeof *t->shares);
    if (t->keys == NULL || t->shares == NULL)
        code = error_memory(err, size * sizeof *t->keys, "the boards' kinds");
    if (code == COHORT_OK)
        code = tune_items(&t->items, &t->item_count, s->graph,
                          s->options.weights_type == COHORT_WEIGHTS_F16,
                          s->options.arithmetic == COHORT_ARITHMETIC_F16, err);
    if (code == COHORT_OK) {
        t->mine = mem_zalloc((size_t)t->item_count + 1, sizeof *t->mine);
        t->all = mem_zalloc(s->rank == 0 ? size * (size_t)t->item_count + 1 : 1, sizeof *t->all);
        if (t->mine == NULL || t->all == NULL)
            code = error_memory(err, size * (size_t)t->item_count * sizeof *t->all, "measurements");
    }
    TRY(session_agree(s, code, err));
    if (s->comm == NULL) {
        t->keys[0] = key;
        divide(t);
        goto out;
    }
    TRY(comm_gather_bytes(s->comm, &key, sizeof key, t->keys, err));
    if (s->rank == 0) {
        divide(t);
        for (size_t r = 0; r < size; r++) {
            buf_u32(&b, (uint32_t)t->shares[r].leader);
            buf_u32(&b, (uint32_t)t->shares[r].index);
            buf_u32(&b, (uint32_t)t->shares[r].count);
        }
        code = b.failed ? error_memory(err, size * sizeof *t->shares, "shares") : COHORT_OK;
    }
    TRY(session_agree(s, code, err));
    TRY(comm_broadcast(s->comm, &b, err));
    struct reader in = reader_of(b.data, b.size);
    for (size_t r = 0; r < size; r++) {
        t->shares[r].leader = (int)read_u32(&in);
        t->shares[r].index = (int)read_u32(&in);
        t->shares[r].count = (int)read_u32(&in);
    }
out:
    buf_release(&b);
    return code;
}

/* ---- keeping --------------------------------------------------------------------------------- */

/* What the boards like rank `leader` found out about item i; NULL: time was up. */
static const struct tune_result *result_of(const struct tune *t, int leader, int i) {
    for (int r = leader; r < t->session->size; r++) {
        const struct tune_result *x = &t->all[(size_t)r * (size_t)t->item_count + (size_t)i];
        if (t->shares[r].leader == leader && x->measured)
            return x;
    }
    return NULL;
}

/* Rank 0: into the file, beside what it holds already. */
static enum cohort_code keep(const struct tune *t, const char *path, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct tuning file = {0};
    char *directory = NULL;
    if (file_exists(path) && (code = tuning_load(&file, path, err)) != COHORT_OK) {
        error_wrap(err, "the tuning file cannot be added to (remove it to begin anew)");
        goto out;
    }
    for (int r = 0; r < t->session->size; r++) {
        if (t->shares[r].leader != r)
            continue;
        for (int i = 0; i < t->item_count; i++) {
            const struct tune_result *x = result_of(t, r, i);
            if (x != NULL)
                TRY(tuning_put(&file, &t->keys[r], &x->choice, err));
        }
    }
    directory = file_directory(path);
    if (directory == NULL) {
        code = error_memory(err, strlen(path), "a file name");
        goto out;
    }
    TRY(file_make_directories(directory, err));
    code = tuning_save(&file, path, err);
out:
    mem_free(directory);
    tuning_release(&file);
    return code;
}

/* One signature of one kind of board. */
static void add_item(cJSON *list, const struct tune_item *item, const struct tune_result *x,
                     bool *ok) {
    char text[SIGNATURE_TEXT_BYTES];
    cJSON *o = json_add_object(list, NULL, ok);
    json_add_text(o, "signature", signature_text(&item->signature, text), ok);
    json_add_i64(o, "nodes", item->count, ok);
    json_add_f64(o, "mflop", 2e-6 * signature_macs(&item->signature), ok);
    if (x == NULL)
        return;
    json_add_text(o, "estimate", x->estimate, ok);
    json_add_text(o, "kernel", x->choice.times[x->choice.chosen].kernel, ok);
    cJSON *us = json_add_object(o, "us", ok);
    for (int i = 0; i < x->choice.count; i++)
        json_add_f64(us, x->choice.times[i].kernel, x->choice.times[i].us, ok);
}

/* Sums over the network's nodes: with the estimate's kernels, and with the chosen ones. */
static void add_totals(cJSON *board, const struct tune *t, int leader, bool *ok) {
    double estimate = 0, tuned = 0;
    int measured = 0;
    for (int i = 0; i < t->item_count; i++) {
        const struct tune_result *x = result_of(t, leader, i);
        if (x == NULL)
            continue;
        estimate += x->estimate_us * t->items[i].count;
        tuned += x->chosen_us * t->items[i].count;
        measured++;
    }
    json_add_i64(board, "measured", measured, ok);
    json_add_f64(board, "estimate_ms", estimate * 1e-3, ok);
    json_add_f64(board, "tuned_ms", tuned * 1e-3, ok);
}

static enum cohort_code tell(const struct tune *t, const char *path, char **json,
                             struct cohort_error *err) {
    bool ok = true;
    cJSON *root = cJSON_CreateObject();
    json_add_text(root, "format", "cohort-tune", &ok);
    json_add_i64(root, "version", 1, &ok);
    json_add_text(root, "network", t->session->graph->name, &ok);
    json_add_text(root, "file", path, &ok);
    cJSON *boards = json_add_array(root, "boards", &ok);
    for (int r = 0; r < t->session->size; r++) {
        if (t->shares[r].leader != r)
            continue;
        cJSON *o = json_add_object(boards, NULL, &ok);
        json_add_text(o, "cpu", t->keys[r].cpu, &ok);
        json_add_text(o, "isa", t->keys[r].isa, &ok);
        json_add_text(o, "kernels", t->keys[r].kernels, &ok);
        json_add_i64(o, "threads", t->keys[r].threads, &ok);
        json_add_i64(o, "ranks", t->shares[r].count, &ok);
        add_totals(o, t, r, &ok);
        cJSON *list = json_add_array(o, "choices", &ok);
        for (int i = 0; i < t->item_count; i++)
            add_item(list, &t->items[i], result_of(t, r, i), &ok);
    }
    enum cohort_code code = root == NULL || !ok ? error_memory(err, 4096, "a document")
                                                : json_print(json, NULL, root, err);
    json_free(&root);
    return code;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum cohort_code tune(struct tune *t, struct cohort_model *model, const char *path,
                             double limit_s, char **json, struct cohort_error *err) {
    struct cohort_session *s = t->session;
    enum cohort_code code = COHORT_OK;
    double limit = limit_s > 0 ? limit_s : LIMIT_S;
    if (s->rank == 0 && path == NULL)
        code = error_set(err, COHORT_ERR_USAGE, "no tuning file was named");
    else if (kernel_isas_named(s->options.kernel) == 0)
        code = error_set(err, COHORT_ERR_USAGE,
                         "--kernel %s leaves nothing to choose: tune without it, or with an "
                         "instruction set's name",
                         s->options.kernel);
    TRY(session_agree(s, code, err));
    s->options.tuning = NULL;
    TRY(session_share_network(s, model, NULL, err));
    TRY(session_agree(s, session_open_board(s, err), err));
    TRY(session_agree_on_arithmetic(s, err));
    TRY(session_share_limits(s, err));
    TRY(agree_on_shares(t, err));
    for (int i = 0; i < t->item_count; i++)
        t->items[i].signature.conv.board = &s->kernel_board;
    const struct tune_share *share = &t->shares[s->rank];
    const struct tune_part part = {.index = share->index, .count = share->count};
    code = tune_measure(s, t->items, t->item_count, &part, limit, t->mine, err);
    TRY(session_agree(s, code, err));
    size_t bytes = (size_t)t->item_count * sizeof *t->mine;
    if (s->comm != NULL && bytes > 0)
        TRY(comm_gather_bytes(s->comm, t->mine, bytes, t->all, err));
    else if (bytes > 0)
        memcpy(t->all, t->mine, bytes);
    if (s->rank == 0)
        code = keep(t, path, err);
    if (s->rank == 0 && code == COHORT_OK)
        code = tell(t, path, json, err);
    code = session_agree(s, code, err);
out:
    return code;
}

enum cohort_code cohort_tune(struct cohort_model *model, MPI_Comm comm, const char *path,
                             double limit_s, const struct cohort_session_options *options,
                             char **json, struct cohort_error *err) {
    struct tune t = {0};
    struct cohort_session_options o = {0};
    if (options != NULL)
        o = *options;
    *json = NULL;
    if (limit_s > 0 && o.timeout_s < limit_s + SPARE_S) /* a board waits for the slowest */
        o.timeout_s = limit_s + SPARE_S;
    enum cohort_code code = session_new(&t.session, comm, &o, err);
    if (code == COHORT_OK)
        code = tune(&t, model, path, limit_s, json, err);
    mem_free(t.items);
    mem_free(t.mine);
    mem_free(t.all);
    mem_free(t.keys);
    mem_free(t.shares);
    if (code != COHORT_OK) {
        cohort_text_free(*json);
        *json = NULL;
        if (t.session != NULL)
            t.session->failed = true;
    }
    cohort_close(&t.session);
    return code;
}
