/* Predictions beside measurements: from the simulator's segments to the runtime's transitions. */
#include "runtime/forecast.h"

enum cohort_code session_cost(struct cost_model **m, const struct cohort_session *s,
                              const struct profile *p, struct cohort_error *err) {
    const struct cost_options o = {.boards = s->size,
                                   .wire = s->plan->wire,
                                   .pixel_inputs = session_pixel_bits(s),
                                   .setup_ms = s->options.setup_ms};
    return cost_create(m, s->graph, p, &o, err);
}

enum cohort_code session_forecast(struct cohort_session *s, const struct profile *p,
                                  struct cohort_error *err) {
    struct cost_model *m = NULL;
    struct simulation *simulation = NULL;
    enum cohort_code code = COHORT_OK;
    TRY(session_cost(&m, s, p, err));
    TRY(simulate(&simulation, m, s->plan, true, true, err));
    simulation_destroy(&s->forecast);
    s->forecast = simulation;
    simulation_annotate(simulation, s->plan);
out:
    cost_destroy(&m);
    return code;
}

double forecast_compute_ms(const struct cohort_session *s, int segment, int board) {
    return s->forecast == NULL ? -1 : s->forecast->segments[segment].board_compute_ms[board];
}

double forecast_board_ms(const struct cohort_session *s, int board) {
    double sum = 0;
    for (int i = 0; s->forecast != NULL && i < s->forecast->segment_count; i++)
        sum += s->forecast->segments[i].board_compute_ms[board];
    return s->forecast == NULL ? -1 : sum;
}

double forecast_memory_bytes(const struct cohort_session *s, int board) {
    return s->forecast == NULL ? -1 : s->forecast->peak_bytes[board];
}

/* Bytes that the board gets in this transition; of a join or sum, which it may take part in without
 * getting anything in the end: of all of it. */
static double bytes_received(const struct cohort_session *s, const struct transition *t,
                             int board) {
    if (t->channels != NULL)
        return (double)rows_count(plan_all_rows(s->graph, t->value)) *
               (double)session_row_bytes(s, t->value);
    return (double)transition_rows_received(t, board, s->size) *
           (double)session_row_bytes(s, t->value);
}

/* The segment that a transition belongs to, and whether it goes out of it: as in the report. */
static bool goes_out(const struct transition *t) {
    return t->after;
}
static int segment_of(const struct transition *t) {
    return goes_out(t) ? t->made : t->before;
}

/* What the simulator lets the board wait on that side of the segment. */
static double side_wait_ms(const struct cohort_session *s, int segment, bool out, int board) {
    const struct simulation *f = s->forecast;
    const struct sim_segment *g = &f->segments[segment];
    if (!out)
        return g->board_wait_ms[board] - g->board_out_ms[board];
    return g->board_out_ms[board] +
           (board == 0 && segment == f->segment_count - 1 ? f->last_wait_ms : 0);
}

double forecast_wait_ms(const struct cohort_session *s, int transition, int board) {
    const struct transition *list = s->transitions.list, *t = &list[transition];
    const int segment = segment_of(t);
    double all = 0;
    if (s->forecast == NULL || segment < 0 || segment >= s->forecast->segment_count)
        return -1;
    for (int i = 0; i < s->transitions.count; i++)
        if (segment_of(&list[i]) == segment && goes_out(&list[i]) == goes_out(t))
            all += bytes_received(s, &list[i], board);
    const double mine = bytes_received(s, t, board);
    return mine > 0 ? side_wait_ms(s, segment, goes_out(t), board) * mine / all : 0;
}
