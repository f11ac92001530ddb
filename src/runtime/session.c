/* Preparing: from a network and a plan on rank 0 to boards that are ready to run.
 *
 * Every phase ends in an agreement, so that a failure on one rank is the same error on all. */
#include "runtime/session.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Messages are looked after so often while this rank computes, by estimate (bench/overlap). */
#define TEST_NS       4e6
#define SETUP_MOST_MS 1000.0 /* far below any time limit */

void session_log(const struct cohort_session *s, int level, const char *fmt, ...) {
    if (s->options.log == NULL)
        return;
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    s->options.log(s->options.context, level, line);
}

enum cohort_code session_inject(const struct cohort_session *s, const char *phase,
                                enum cohort_code code, struct cohort_error *err) {
    if (code != COHORT_OK || s->options.inject_phase == NULL ||
        strcmp(s->options.inject_phase, phase) != 0)
        return code;
    return error_set(err, COHORT_ERR_INTERNAL, "phase %s: failure injected by a test", phase);
}

enum cohort_code session_agree(const struct cohort_session *s, enum cohort_code code,
                               struct cohort_error *err) {
    return s->comm == NULL ? code : comm_agree(s->comm, code, err);
}

/* ---- bringing graph and plan to every rank --------------------------------------------------- */

/* Rank 0's own copy of the plan: the caller's, or the default. */
static enum cohort_code root_plan(struct cohort_session *s, const struct cohort_plan *plan,
                                  struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *text = NULL;
    if (plan != NULL) {
        TRY(plan_print(plan->plan, &text, err));
        TRY(plan_parse(&s->plan, text, strlen(text), "plan", err));
    } else {
        struct plan_request r = {.boards = s->size};
        TRY(plan_make(&s->plan, s->graph, &r, err));
    }
    TRY(plan_check(s->plan, s->graph, s->size, err));
out:
    mem_free(text);
    return code;
}

/* What rank 0 tells the others: u32 scatter method, f32 milliseconds of set-up, u8 whether kernels
 * were tuned, u32 type of weights, u32 arithmetic, inputs that are pixels, plan as text, serialised
 * graph. */
static enum cohort_code root_message(struct cohort_session *s, const struct cohort_plan *plan,
                                     struct buf *b, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    char *text = NULL;
    if (!(s->options.setup_ms >= 0 && s->options.setup_ms <= SETUP_MOST_MS))
        TRY(error_set(err, COHORT_ERR_USAGE, "a set-up of %g ms: allowed are 0 to %g",
                      s->options.setup_ms, SETUP_MOST_MS));
    TRY(root_plan(s, plan, err));
    TRY(session_read_tuning(s, err));
    TRY(session_open_pixels(s, err));
    if (s->comm == NULL)
        goto out;
    TRY(plan_print(s->plan, &text, err));
    buf_u32(b, (uint32_t)s->options.scatter);
    buf_f32(b, (float)s->options.setup_ms);
    buf_u8(b, s->tuned);
    buf_u32(b, (uint32_t)s->options.weights_type);
    buf_u32(b, (uint32_t)s->options.arithmetic);
    session_write_pixels(s, b);
    buf_string(b, text);
    TRY(graph_serialize(s->graph, b, err));
    if (b->failed)
        code = error_memory(err, b->size, "the network's description");
out:
    mem_free(text);
    return code;
}

static enum cohort_code take_message(struct cohort_session *s, const struct buf *b,
                                     struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct reader r = reader_of(b->data, b->size);
    s->options.scatter = (enum cohort_scatter)read_u32(&r);
    s->options.setup_ms = (double)read_f32(&r);
    s->tuned = read_u8(&r) != 0;
    s->options.weights_type = (enum cohort_weights_type)read_u32(&r);
    s->options.arithmetic = (enum cohort_arithmetic)read_u32(&r);
    struct reader pixels = session_skip_pixels(&r); /* they can be checked when there is a graph */
    char *text = read_string(&r);
    if (text == NULL) {
        code = error_set(err, r.failed ? COHORT_ERR_INTERNAL : COHORT_ERR_MEMORY,
                         "the network's description did not arrive whole");
        goto out;
    }
    TRY(plan_parse(&s->plan, text, strlen(text), "plan", err));
    TRY(graph_deserialize(&s->graph, r.at, (size_t)(r.end - r.at), err));
    s->owns_graph = true;
    TRY(session_read_pixels(s, &pixels, err));
    TRY(plan_check(s->plan, s->graph, s->size, err));
out:
    mem_free(text);
    return code;
}

enum cohort_code session_share_network(struct cohort_session *s, struct cohort_model *model,
                                       const struct cohort_plan *plan, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct buf b = {0};
    if (s->rank == 0) {
        s->graph = model != NULL ? model->graph : NULL;
        code = model == NULL ? error_set(err, COHORT_ERR_USAGE, "rank 0 was given no network")
                             : root_message(s, plan, &b, err);
    }
    TRY(session_agree(s, code, err));
    if (s->comm == NULL) {
        code = session_inject(s, "share", code, err);
        goto out;
    }
    TRY(comm_broadcast(s->comm, &b, err));
    if (s->rank != 0)
        code = take_message(s, &b, err);
    TRY(session_agree(s, session_inject(s, "share", code, err), err));
    comm_connect_delay(s->comm, s->options.setup_ms * 1e-3);
    char signature[33];
    TRY(session_agree(s, graph_signature(s->graph, signature, err), err));
    TRY(comm_prove_equal(s->comm, "Cohort's version", cohort_version(), err));
    TRY(comm_prove_equal(s->comm, "the network's signature", signature, err));
out:
    buf_release(&b);
    return code;
}

/* ---- this board ------------------------------------------------------------------------------ */

/* Between two pieces of computing: moves messages along, notices that another rank gave up. */
static void poll_messages(void *context) {
    struct cohort_error noticed; /* kept by comm; the run asks for it when the step is done */
    comm_poll(context, &noticed);
}

/* Many dilated boards share a machine. */
static bool session_may_bind(const struct cohort_session *s) {
    return !s->options.no_binding && !(s->options.cpu_share > 0 && s->options.cpu_share < 1);
}

bool session_binds(const struct cohort_session *s) {
    return session_may_bind(s) && !s->board.oversubscribed;
}

enum cohort_code session_open_board(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double share = s->options.cpu_share;
    bool dilated = share > 0 && share < 1;
    if (!(share >= 0 && share <= 1))
        return error_set(err, COHORT_ERR_USAGE,
                         "a CPU share of %g: expected more than 0, at most 1", share);
    struct board_options o = {
        .threads = dilated && s->options.threads == 0 ? 1 : s->options.threads,
        .cores = s->options.cores,
        .local_rank = s->comm != NULL ? comm_local_rank(s->comm) : 0,
        .local_size = s->comm != NULL ? comm_local_size(s->comm) : 1,
        .bind = session_may_bind(s),
    };
    TRY(board_detect(&s->board, &o, err));
    if (o.local_rank != 0)
        ; /* one line per board is enough */
    else if (s->board.oversubscribed)
        session_log(s, 0, "%s: %d ranks share %d cores: times will not be those of real boards",
                    s->board.name, o.local_size, s->board.cores_total);
    else if (s->board.shared)
        session_log(s, 0, "%s: %d ranks share its %d cores", s->board.name, o.local_size,
                    s->board.cores_total);
    TRY(pool_create(&s->pool, &s->board, session_binds(s), err));
    if (s->comm != NULL)
        pool_set_poll(s->pool, poll_messages, s->comm);
    pool_set_share(s->pool, share);
out:
    return code;
}

/* What a board says about float16 arithmetic. */
struct arithmetic_row {
    uint32_t has;
    char name[BOARD_NAME_BYTES];
};

/* On rank 0: names the boards that will compute in float32. */
static enum cohort_code check_arithmetic(const struct cohort_session *s,
                                         const struct arithmetic_row *rows,
                                         struct cohort_error *err) {
    int with = 0;
    for (int r = 0; r < s->size; r++)
        with += rows[r].has != 0;
    if (with == 0)
        return error_set(err, COHORT_ERR_UNSUPPORTED,
                         "float16 arithmetic: %s cannot (64-bit Arm with asimdhp among its CPU's "
                         "features can); leave out --arithmetic f16",
                         s->size == 1 ? rows[0].name : "none of the boards");
    for (int r = 0; r < s->size; r++)
        if (rows[r].has == 0)
            session_log(s, 0, "%s (rank %d) has no float16 arithmetic: it computes in float32",
                        rows[r].name, r);
    return COHORT_OK;
}

enum cohort_code session_agree_on_arithmetic(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct arithmetic_row mine = {.has = (kernel_isa_available() & ISAS_FP16) != 0}, *rows = NULL;
    if (s->options.arithmetic != COHORT_ARITHMETIC_F16)
        return COHORT_OK;
    memcpy(mine.name, s->board.name, sizeof mine.name);
    if (s->comm == NULL)
        return check_arithmetic(s, &mine, err);
    if (s->rank == 0 && (rows = mem_zalloc((size_t)s->size, sizeof *rows)) == NULL)
        code = error_memory(err, (size_t)s->size * sizeof *rows, "what boards can do");
    TRY(session_agree(s, code, err));
    TRY(comm_gather_bytes(s->comm, &mine, sizeof mine, rows, err));
    if (s->rank == 0)
        code = check_arithmetic(s, rows, err);
    TRY(session_agree(s, code, err));
out:
    mem_free(rows);
    return code;
}

struct exec_options session_exec_options(const struct cohort_session *s) {
    return (struct exec_options){.kernel = s->options.kernel,
                                 .choices = &s->choices,
                                 .misjudged = s->options.inject_estimate,
                                 .board = &s->kernel_board,
                                 .cache_bytes = s->board.l2_bytes,
                                 .test_ns = s->size > 1 ? TEST_NS : 0,
                                 .half_weights = s->options.weights_type == COHORT_WEIGHTS_F16,
                                 .fp16 = s->options.arithmetic == COHORT_ARITHMETIC_F16};
}

static enum cohort_code prepare(struct cohort_session *s, struct cohort_model *model,
                                const struct cohort_plan *plan, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    double start = clock_ms();
    TRY(session_share_network(s, model, plan, err));
    TRY(session_agree(s, session_inject(s, "board", session_open_board(s, err), err), err));
    TRY(session_agree_on_arithmetic(s, err));
    TRY(session_share_limits(s, err));
    TRY(session_share_choices(s, err));
    TRY(session_share_times(s, err));
    TRY(session_divide(s, NULL, NULL, err));
    session_note_memory(s);
    s->prepare_ms = clock_ms() - start;
out:
    return code;
}

/* The communicator comes first: a rank that has no memory for a session must be able to say so. */
enum cohort_code session_new(struct cohort_session **session, MPI_Comm comm,
                             const struct cohort_session_options *options,
                             struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct cohort_session *s = NULL;
    struct comm *c = NULL;
    struct comm_options o = {.timeout_s = options != NULL ? options->timeout_s : 0,
                             .inject_call = options != NULL ? options->inject_mpi_call : 0};
    if (comm != MPI_COMM_NULL)
        TRY(comm_create(&c, comm, &o, err));
    s = mem_zalloc(1, sizeof *s);
    if (s == NULL)
        code = error_memory(err, sizeof *s, "a session");
    if (c != NULL)
        TRY(comm_agree(c, code, err));
    if (code != COHORT_OK)
        goto out;
    if (options != NULL)
        s->options = *options;
    mem_trim(); /* what former sessions gave back is not this one's to take unseen */
    s->memory_before = mem_anonymous_bytes();
    s->comm = c;
    s->rank = c != NULL ? comm_rank(c) : 0;
    s->size = c != NULL ? comm_size(c) : 1;
    *session = s;
    return COHORT_OK;
out:
    mem_free(s);
    comm_destroy(&c);
    return code;
}

enum cohort_code cohort_prepare(struct cohort_session **session, struct cohort_model *model,
                                const struct cohort_plan *plan, MPI_Comm comm,
                                const struct cohort_session_options *options,
                                struct cohort_error *err) {
    struct cohort_session *s = NULL;
    enum cohort_code code = session_new(&s, comm, options, err);
    if (code == COHORT_OK)
        code = prepare(s, model, plan, err);
    /* Once more, on a communicator of its own: a rank that is ready could fail in its first run,
     * and its notice reach another one that still prepares.  After a time limit nobody may be
     * there. */
    if (comm != MPI_COMM_NULL && code != COHORT_ERR_TIMEOUT)
        code = cohort_agree(comm, code, err);
    if (code == COHORT_OK) {
        *session = s;
        return code;
    }
    if (s != NULL)
        s->failed = true;
    cohort_close(&s);
    return code;
}

void cohort_close(struct cohort_session **session) {
    struct cohort_session *s = *session;
    if (s == NULL)
        return;
    session_end_adapting(s);
    session_release_division(s);
    pool_destroy(&s->pool);
    for (int i = 0; s->outputs != NULL && i < s->graph->output_count; i++)
        tensor_release(&s->outputs[i]);
    mem_free(s->outputs);
    session_release_pixels(s);
    if (s->owns_graph)
        graph_destroy(&s->graph);
    graph_destroy(&s->local_model);
    for (int i = 0; i < s->weight_map_count; i++)
        file_unmap(&s->weight_maps[i].map);
    mem_free(s->weight_maps);
    session_release_choices(s);
    profile_destroy(&s->times);
    comm_destroy(&s->comm);
    mem_free(s);
    *session = NULL;
}
