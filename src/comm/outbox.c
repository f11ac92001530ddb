/* The outbox: messages of all transfers that have begun, in the order in which they are to leave.
 *
 * Messages that are given to MPI together share the link, and all of them arrive late.  So where a
 * link's speed is known each is started when the link should be free of the ones before; somewhat
 * earlier, in fact, for a board looks only now and then: a short while between naps, a longer one
 * between pieces of computing.
 *
 * comm_connect_delay() lets the first message of a transfer to each rank wait, as if a connection
 * had to be made for it.  Nothing leaves meanwhile, and nobody computes for it: whoever waits
 * sleeps until the message is due. */
#include "comm/comm_internal.h"

#include "base/clock.h"

#include <math.h>

#define LEAD_S           0.7e-3
#define COMPUTING_LEAD_S 3e-3

void comm_pace(struct comm *c, int to, double bytes_per_s) {
    c->boards[to].bytes_per_s = bytes_per_s;
}

void comm_connect_delay(struct comm *c, double seconds) {
    c->connect_s = seconds;
}

/* ---- what is in it --------------------------------------------------------------------------- */

void comm_outbox_put(struct comm_transfer *t) {
    struct comm_transfer **end = &t->c->outbox;
    if (t->out.next == t->out.end)
        return;
    while (*end != NULL)
        end = &(*end)->next_out;
    *end = t;
    t->next_out = NULL;
}

void comm_outbox_take(struct comm_transfer *t) {
    struct comm_transfer **at = &t->c->outbox;
    while (*at != NULL && *at != t)
        at = &(*at)->next_out;
    if (*at == t)
        *at = t->next_out;
}

/* ---- what leaves ----------------------------------------------------------------------------- */

/* When may the transfer's next message start?  After its rank's connection, where that is to be
 * made: which begins now, or when what is before it has left. */
static double due(struct comm_transfer *t, double now) {
    struct comm *c = t->c;
    struct comm_board *to = &c->boards[t->out.peer[t->out.next]];
    if (c->connect_s > 0 && (to->connected_group != t->group || to->connected_run != t->runs)) {
        to->connected_group = t->group;
        to->connected_run = t->runs;
        t->out.connecting = true;
        c->out_free_s = fmax(c->out_free_s, now) + c->connect_s;
    }
    if (t->out.connecting)
        return c->out_free_s;
    return to->bytes_per_s > 0 ? c->out_free_s - (c->computing ? COMPUTING_LEAD_S : LEAD_S) : now;
}

static bool may_start(struct comm_transfer *t, double now) {
    const struct comm_outgoing *o = &t->out;
    const bool paced = t->c->boards[o->peer[o->next]].bytes_per_s > 0;
    if (o->one_by_one && !paced && o->next > o->first && !o->ended[o->next - 1])
        return false;
    return now >= due(t, now);
}

static enum cohort_code start_next(struct comm_transfer *t, double now, struct cohort_error *err) {
    struct comm *c = t->c;
    struct comm_outgoing *o = &t->out;
    const double rate = c->boards[o->peer[o->next]].bytes_per_s;
    enum cohort_code code = COMM_MPI(c, MPI_Start, &o->requests[o->next]);
    if (rate > 0)
        c->out_free_s = fmax(c->out_free_s, now) + o->size[o->next] / rate;
    o->connecting = false;
    o->next++;
    return code;
}

enum cohort_code comm_outbox_move(struct comm *c, struct cohort_error *err) {
    while (c->outbox != NULL) {
        struct comm_transfer *t = c->outbox;
        const double now = clock_s();
        while (t->out.next < t->out.end && may_start(t, now)) {
            enum cohort_code code = start_next(t, now, err);
            if (code != COHORT_OK)
                return code;
        }
        if (t->out.next < t->out.end)
            break;
        comm_outbox_take(t);
    }
    return COHORT_OK;
}

double comm_outbox_due(const struct comm *c) {
    return c->outbox != NULL && c->outbox->out.connecting ? c->out_free_s : (double)INFINITY;
}
