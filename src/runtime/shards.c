/* The part of the network that this board computes where the plan divides it by channels. */
#include "runtime/weights.h"

#include "base/mem.h"

/* Board b's parts of every segment by channels; work: one each, or NULL. */
static enum cohort_code divide_all(struct shard *shard, const struct cohort_session *s, int b,
                                   struct channel_work *work, struct cohort_error *err) {
    const struct plan *p = s->plan;
    enum cohort_code code = COHORT_OK;
    for (int i = 0, first = 0; i < p->segment_count; i++) {
        struct plan_part part;
        struct channel_work unused = {0};
        TRY(plan_part_init(&part, p, s->graph, i, first, err));
        if (plan_by_channels(part.mode))
            code = channels_divide(shard, &part, b, work != NULL ? &work[i] : &unused, err);
        mem_free(unused.nodes);
        first = part.last;
        plan_part_release(&part);
        TRY(code);
    }
out:
    return code;
}

enum cohort_code session_make_shard(struct cohort_session *s, struct cohort_error *err) {
    const struct plan *p = s->plan;
    enum cohort_code code = COHORT_OK;
    if (s->size == 1 || !plan_has_channels(p))
        return COHORT_OK;
    s->work = mem_zalloc((size_t)p->segment_count, sizeof *s->work);
    if (s->work == NULL)
        return error_memory(err, (size_t)p->segment_count * sizeof *s->work, "a plan's segments");
    TRY(shard_create(&s->shard, s->graph, err));
    TRY(divide_all(s->shard, s, s->rank, s->work, err));
out:
    return code;
}

enum cohort_code session_shard_of_all(struct shard **shard, const struct cohort_session *s,
                                      struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    if (s->shard == NULL)
        return COHORT_OK;
    TRY(shard_create(shard, s->graph, err));
    for (int b = 0; b < s->size; b++)
        TRY(divide_all(*shard, s, b, NULL, err));
out:
    return code;
}

void session_release_shard(struct cohort_session *s) {
    for (int i = 0; s->work != NULL && i < s->plan->segment_count; i++)
        mem_free(s->work[i].nodes);
    mem_free(s->work);
    s->work = NULL;
    if (s->shard != NULL)
        weight_cache_forget(s, s->shard);
    shard_destroy(&s->shard);
}

int session_constant_source(const struct cohort_session *s, int id) {
    if (s->shard != NULL)
        id = shard_constant_source(s->shard, id);
    return id < s->graph->value_count ? id : -1;
}

bool session_uses_constant(const struct cohort_session *s, int id) {
    if (exec_uses_constant(s->program, id))
        return true;
    const int count = s->shard != NULL ? shard_graph(s->shard)->value_count : 0;
    for (int i = s->graph->value_count; i < count; i++)
        if (session_constant_source(s, i) == id && exec_uses_constant(s->program, i))
            return true; /* it may be borrowed */
    return false;
}

void session_drop_slices(struct cohort_session *s) {
    const int count = s->shard != NULL ? shard_graph(s->shard)->value_count : 0;
    for (int i = s->graph->value_count; i < count; i++)
        if (graph_value(shard_graph(s->shard), i)->is_constant &&
            !exec_uses_constant(s->program, i))
            shard_drop_constant(s->shard, i);
}
