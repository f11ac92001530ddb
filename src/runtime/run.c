/* One inference: the steps of the plan, in order, each with its time. */
#include "runtime/session.h"

#include "base/mem.h"

#include <math.h>

static enum cohort_code store_input(struct cohort_session *s, const struct cohort_tensor *in, int k,
                                    struct cohort_error *err) {
    int i = in->name != NULL ? session_find_input(s->graph, in->name) : k;
    if (i < 0)
        return error_set(err, COHORT_ERR_USAGE, "the network has no input called '%s'", in->name);
    if (in->rank < 0 || in->rank > RANK_MAX || in->data == NULL)
        return error_set(err, COHORT_ERR_USAGE, "input %d has no data, or a rank of %d", k,
                         in->rank);
    if (session_pixels_of(s, s->graph->inputs[i]) != NULL)
        return session_give_pixels(s, i, in, err);
    struct tensor t = {
        .type = (enum dtype)in->type, .shape = shape_of(in->rank, in->dims), .data = in->data};
    return exec_slot_store(s->program, s->input_slots[i], &t, err);
}

static enum cohort_code store_inputs(struct cohort_session *s, const struct cohort_tensor *inputs,
                                     int count, struct cohort_error *err) {
    if (count != s->graph->input_count)
        return error_set(err, COHORT_ERR_USAGE, "the network has %d inputs, but %d were given",
                         s->graph->input_count, count);
    for (int i = 0; i < count; i++) {
        enum cohort_code code = store_input(s, &inputs[i], i, err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

static enum cohort_code fetch_outputs(struct cohort_session *s, struct cohort_tensor *outputs,
                                      int count, struct cohort_error *err) {
    if (count > s->graph->output_count)
        return error_set(err, COHORT_ERR_USAGE, "the network has %d outputs, but %d were asked for",
                         s->graph->output_count, count);
    for (int i = 0; i < count; i++) {
        struct tensor *t = &s->outputs[i];
        enum cohort_code code = exec_slot_fetch(s->program, s->output_slots[i], t, err);
        if (code != COHORT_OK)
            return code;
        outputs[i] =
            (struct cohort_tensor){.name = graph_value(s->graph, s->graph->outputs[i])->name,
                                   .type = (enum cohort_type)t->type,
                                   .rank = t->shape.rank,
                                   .data = t->data};
        for (int k = 0; k < t->shape.rank; k++)
            outputs[i].dims[k] = t->shape.dim[k];
    }
    return COHORT_OK;
}

#define LOOK_MS 0.05 /* at what is there already takes no longer */

/* Until what the step needs is there, or (`sent`) the board's own has left as well. */
static enum cohort_code await(struct cohort_session *s, struct comm_transfer *t, bool sent,
                              struct cohort_error *err) {
    const double begin = clock_ms();
    const enum cohort_code code = sent ? comm_transfer_end(t, err) : comm_exchange_arrive(t, err);
    if (clock_ms() - begin > LOOK_MS)
        pool_dilate_waited(s->pool);
    return code;
}

static enum cohort_code run_step(struct cohort_session *s, struct step *step,
                                 struct cohort_error *err) {
    struct comm_transfer *transfer = step->move >= 0 ? s->moves[step->move].transfer : NULL;
    enum cohort_code code = COHORT_OK;
    if (step->idle)
        return COHORT_OK;
    switch (step->kind) {
    case STEP_COMPUTE:
        session_take_pixels(s);
        if (s->comm != NULL && (code = comm_poll(s->comm, err)) != COHORT_OK)
            return code; /* messages that wait for others to leave: it may be long until it looks
                            again */
        return exec_run(s->program, step->first_op, step->last_op, err);
    case STEP_EXPECT:
        return comm_exchange_expect(transfer, err);
    case STEP_BEGIN:
        session_encode_move(s, step->move, 0);
        return comm_transfer_begin(transfer, err);
    case STEP_MORE:
        session_encode_move(s, step->move, step->part);
        return comm_exchange_more(transfer, err);
    case STEP_WAIT:
        code = await(s, transfer, s->transitions.list[step->move].kind != TRANSITION_EXCHANGE, err);
        if (code == COHORT_OK)
            session_decode_move(s, step->move);
        return code;
    case STEP_FINISH:
        return await(s, transfer, true, err);
    }
    return code;
}

/* Other ranks wait for the root's next image as long as the caller says; once its first rows are
 * here, the run has begun and every message is due. */
static void wait_for_root(struct cohort_session *s, bool begun) {
    double idle = s->options.idle_timeout_s > 0 ? s->options.idle_timeout_s : (double)INFINITY;
    if (s->comm != NULL && s->rank != 0)
        comm_set_timeout(s->comm, begun ? s->options.timeout_s : idle);
}

static bool brings_rows(const struct cohort_session *s, const struct step *t) {
    return t->kind == STEP_WAIT && !t->idle &&
           transition_rows_received(&s->transitions.list[t->move], s->rank, s->size) > 0;
}

static enum cohort_code run_steps(struct cohort_session *s, struct cohort_error *err) {
    double then = clock_ms();
    enum cohort_code code = COHORT_OK;
    wait_for_root(s, false);
    for (int i = 0; i < s->step_count; i++) {
        if (i == s->step_count / 2)
            code = session_inject(s, "run", code, err);
        if (code == COHORT_OK)
            code = run_step(s, &s->steps[i], err);
        if (code == COHORT_OK && s->comm != NULL && comm_aborted(s->comm))
            code = comm_poll(s->comm, err); /* noticed while computing */
        if (code != COHORT_OK)
            return code;
        if (brings_rows(s, &s->steps[i]))
            wait_for_root(s, true);
        double now = clock_ms();
        s->steps[i].begin_ms = then;
        s->steps[i].ms = now - then;
        then = now;
    }
    return COHORT_OK;
}

enum cohort_code cohort_run(struct cohort_session *s, const struct cohort_tensor *inputs,
                            int input_count, struct cohort_tensor *outputs, int output_count,
                            struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (s->failed)
        return error_set(err, COHORT_ERR_USAGE, "an earlier run of this session failed: close it");
    if (++s->runs == s->options.inject_share_run && s->options.inject_share > 0)
        pool_slow_down(s->pool, s->options.inject_share);
    if (s->comm != NULL)
        TRY(comm_poll(s->comm, err)); /* another rank failed after it owed this one nothing more */
    double start = clock_ms();
    int64_t cpu_ns = pool_dilation(s->pool).cpu_ns;
    pool_dilate_waited(s->pool);
    if (s->rank == 0) {
        pool_dilate_begin(s->pool);
        TRY(store_inputs(s, inputs, input_count, err));
        pool_dilate_end(s->pool);
    }
    TRY(run_steps(s, err));
    if (s->rank == 0) {
        session_take_pixels(s); /* where nothing was computed here */
        pool_dilate_begin(s->pool);
        TRY(fetch_outputs(s, outputs, output_count, err));
        pool_dilate_end(s->pool);
    }
    s->run_ms = clock_ms() - start;
    session_note_memory(s);
    s->cpu_ms = (double)(pool_dilation(s->pool).cpu_ns - cpu_ns) * 1e-6;
out:
    if (code != COHORT_OK) {
        s->failed = true;
        if (s->comm != NULL && !comm_aborted(s->comm)) {
            comm_abort(s->comm, err);
            comm_poll(s->comm, err); /* as the others see it: with this board's name */
        }
    }
    return code;
}
