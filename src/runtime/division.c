/* What a plan makes of a session: the program, transfers and steps of each board.
 *
 * They are made when the session is prepared, and anew, beside the old ones, when it changes to
 * another plan between two inferences.  Only when every rank has all of the new does any let go of
 * the old; when one cannot, all keep it. */
#include "runtime/forecast.h"
#include "runtime/session.h"

#include "base/mem.h"

#include <string.h>

/* ---- making ---------------------------------------------------------------------------------- */

static enum cohort_code open_program(struct cohort_session *s, struct cohort_error *err) {
    const struct exec_options exec = session_exec_options(s);
    enum cohort_code code = session_make_shard(s, err);
    if (code != COHORT_OK)
        return code;
    return exec_create(&s->program, s->shard != NULL ? shard_graph(s->shard) : s->graph, s->pool,
                       &exec, err);
}

/* How much of it is from measuring, for those who ask. */
static void tell_choices(const struct cohort_session *s) {
    int signatures, chosen;
    exec_count_choices(s->program, &signatures, &chosen);
    if (s->tuned)
        session_log(s, 1, "%s: %d of %d convolutions and products have a kernel from %s",
                    s->board.name, chosen, signatures,
                    s->rank == 0 ? s->options.tuning : "the tuning file");
}

/* Constants that are outputs of the network as they stand. */
static enum cohort_code store_constant_outputs(struct cohort_session *s, struct cohort_error *err) {
    for (int i = 0; s->rank == 0 && i < s->graph->output_count; i++) {
        const struct value *v = graph_value(s->graph, s->graph->outputs[i]);
        if (!v->is_constant)
            continue;
        enum cohort_code code = exec_slot_store(s->program, s->output_slots[i], &v->constant, err);
        if (code != COHORT_OK)
            return code;
    }
    return COHORT_OK;
}

/* Local.  What exec_prepare() leaves to do.  Outputs stay the caller's from plan to plan. */
static enum cohort_code make_ready(struct cohort_session *s, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    tell_choices(s);
    TRY(session_make_pixels(s, err));
    TRY(store_constant_outputs(s, err));
    if (s->outputs == NULL)
        s->outputs = mem_zalloc((size_t)s->graph->output_count + 1, sizeof *s->outputs);
    if (s->outputs == NULL)
        code = error_memory(err, 64, "outputs");
out:
    return session_inject(s, "transfers", code, err);
}

/* Local.  Kernels and packed weights of the plan before.  Where memory is limited, or either plan
 * divides by channels, only of what this one computes: other slices, and what was whole before, go
 * with the plan before, so that a board has what its plan needs.  Else all, so that no weight comes
 * twice. */
static enum cohort_code share_kernels(struct cohort_session *s, struct program *before,
                                      const struct shard *before_shard, struct cohort_error *err) {
    if (!s->lean && s->shard == NULL && before_shard == NULL)
        return exec_share_kernels(s->program, before, NULL, err);
    const int nodes = s->shard != NULL ? shard_graph(s->shard)->node_count : s->graph->node_count;
    int *same = mem_alloc(((size_t)nodes + 1) * sizeof *same);
    if (same == NULL)
        return error_memory(err, (size_t)nodes * sizeof *same, "a list of operators");
    for (int i = 0; i < nodes; i++)
        same[i] = -1;
    for (int i = 0; i < exec_op_count(s->program); i++) {
        const int node = exec_op_node(s->program, i);
        same[node] = shard_same_node(s->graph, s->shard, node, before_shard);
    }
    const enum cohort_code code = exec_share_kernels(s->program, before, same, err);
    mem_free(same);
    return code;
}

enum cohort_code session_divide(struct cohort_session *s, struct program *before,
                                const struct shard *before_shard, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    TRY(session_agree(s, open_program(s, err), err));
    TRY(session_agree(s, session_inject(s, "compile", session_compile(s, err), err), err));
    if (before != NULL)
        TRY(session_agree(s, share_kernels(s, before, before_shard, err), err));
    const double start = clock_ms();
    TRY(session_fetch_weights(s, err));
    if (before == NULL)
        s->weights_ms = clock_ms() - start;
    TRY(session_agree(s, session_inject(s, "prepare", exec_prepare(s->program, err), err), err));
    if (before == NULL)
        session_drop_weights(s);
    TRY(session_agree(s, make_ready(s, err), err));
    TRY(session_agree(s, session_take_times(s, err), err));
    if (s->comm != NULL)
        TRY(session_make_transfers(s, err));
    mem_trim();
out:
    return code;
}

/* ---- changing -------------------------------------------------------------------------------- */

/* The parts of a session that follow from its plan. */
struct division {
    struct plan *plan;
    struct simulation *forecast;
    struct shard *shard;
    struct channel_work *work;
    struct program *program;
    struct transitions transitions;
    struct move *moves;
    enum wire wire;
    size_t wire_bytes;
    struct segment_rows *segments;
    struct step *steps;
    int step_count;
    size_t step_capacity;
    int *input_slots, *output_slots;
    struct rows *input_rows;
};

/* Puts these parts into the session, and what it had into `d`. */
static void exchange_division(struct cohort_session *s, struct division *d) {
    const struct division had = {.plan = s->plan,
                                 .forecast = s->forecast,
                                 .shard = s->shard,
                                 .work = s->work,
                                 .program = s->program,
                                 .transitions = s->transitions,
                                 .moves = s->moves,
                                 .wire = s->wire,
                                 .wire_bytes = s->wire_bytes,
                                 .segments = s->segments,
                                 .steps = s->steps,
                                 .step_count = s->step_count,
                                 .step_capacity = s->step_capacity,
                                 .input_slots = s->input_slots,
                                 .output_slots = s->output_slots,
                                 .input_rows = s->input_rows};
    s->plan = d->plan;
    s->forecast = d->forecast;
    s->shard = d->shard;
    s->work = d->work;
    s->program = d->program;
    s->transitions = d->transitions;
    s->moves = d->moves;
    s->wire = d->wire;
    s->wire_bytes = d->wire_bytes;
    s->segments = d->segments;
    s->steps = d->steps;
    s->step_count = d->step_count;
    s->step_capacity = d->step_capacity;
    s->input_slots = d->input_slots;
    s->output_slots = d->output_slots;
    s->input_rows = d->input_rows;
    *d = had;
}

void session_release_division(struct cohort_session *s) {
    session_release_steps(s);
    exec_destroy(&s->program);
    session_release_shard(s);
    mem_free(s->input_slots);
    mem_free(s->output_slots);
    mem_free(s->input_rows);
    s->input_slots = s->output_slots = NULL;
    s->input_rows = NULL;
    plan_destroy(&s->plan);
    simulation_destroy(&s->forecast);
    s->wire_bytes = 0;
    s->step_capacity = 0;
}

static enum cohort_code read_plan(struct plan **p, const struct cohort_session *s, const char *text,
                                  struct cohort_error *err) {
    enum cohort_code code = plan_parse(p, text, strlen(text), "plan", err);
    if (code == COHORT_OK)
        code = plan_check(*p, s->graph, s->size, err);
    return code;
}

enum cohort_code session_change_plan(struct cohort_session *s, const char *plan,
                                     struct cohort_error *err) {
    struct division other = {0};
    enum cohort_code code = session_agree(s, read_plan(&other.plan, s, plan, err), err);
    if (code != COHORT_OK) {
        plan_destroy(&other.plan);
        return code;
    }
    exchange_division(s, &other); /* the session is the new one now, `other` the old one */
    code = session_divide(s, other.program, other.shard, err);
    code = session_agree(s, session_inject(s, "change", code, err), err);
    if (code == COHORT_OK) {
        exec_take_counts(s->program, other.program);
        exchange_division(s, &other);
    }
    session_release_division(s); /* of the two, the one that is not wanted */
    exchange_division(s, &other);
    session_drop_weights(s);
    mem_trim();
    return code;
}
