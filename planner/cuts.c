/* Cuts of a network; see cuts.h. */
#include "planner/cuts.h"

#include "base/mem.h"

void cuts_destroy(struct cuts **cc) {
    struct cuts *c = *cc;
    if (c == NULL)
        return;
    mem_free(c->at);
    mem_free(c->wide);
    mem_free(c->first);
    mem_free(c->live);
    mem_free(c->read);
    mem_free(c);
    *cc = NULL;
}

static bool crosses(const struct cost_value *v, int cut) {
    return !v->constant && v->producer < cut && v->last_use >= cut;
}

/* Keeps a cut with the tensors that cross it. */
static bool keep(struct cuts *c, const struct cost_model *m, int at, size_t *capacity) {
    size_t used = (size_t)c->first[c->count];
    c->at[c->count] = at;
    for (int id = 0; id < m->g->value_count; id++) {
        if (!crosses(&m->values[id], at))
            continue;
        if (!MEM_GROW(c->live, *capacity, used))
            return false;
        c->live[used++] = id;
        c->read[c->count] += m->values[id].last_use < m->g->node_count;
    }
    c->first[++c->count] = (int)used;
    return true;
}

static bool wide_between(const struct cost_model *m, int first, int end) {
    for (int k = first; k < end; k++)
        if (!m->nodes[k].wide)
            return false;
    return true;
}

enum cohort_code cuts_create(struct cuts **out, const struct cost_model *m, int most,
                             struct cohort_error *err) {
    const int nodes = m->g->node_count;
    const size_t n = (size_t)nodes + 2;
    size_t capacity = 0;
    struct cuts *c = mem_zalloc(1, sizeof *c);
    int *crossing = mem_zalloc(n, sizeof *crossing); /* change of the number, then the number */
    int *unknown = mem_zalloc(n, sizeof *unknown);
    bool ok = c != NULL && crossing != NULL && unknown != NULL;
    if (ok) {
        c->at = mem_zalloc(n, sizeof *c->at);
        c->wide = mem_zalloc(n, sizeof *c->wide);
        c->first = mem_zalloc(n, sizeof *c->first);
        c->read = mem_zalloc(n, sizeof *c->read);
        ok = c->at != NULL && c->wide != NULL && c->first != NULL && c->read != NULL;
    }
    for (int id = 0; ok && id < m->g->value_count; id++) {
        const struct cost_value *v = &m->values[id];
        if (v->constant || v->last_use <= v->producer)
            continue;
        /* Over cuts producer + 1 … last_use; what only the caller reads counts until then. */
        const int last = v->last_use == nodes ? nodes : v->last_use;
        int reader = -1;
        for (int k = last == nodes ? v->producer + 1 : nodes; k < nodes; k++)
            for (int i = 0; i < m->g->nodes[k].in_count; i++)
                reader = m->g->nodes[k].in[i] == id ? k : reader;
        const int end = last < nodes ? last : reader;
        if (end > v->producer) {
            crossing[v->producer + 1]++;
            crossing[end + 1]--;
        }
        if (!v->known) {
            unknown[v->producer + 1]++;
            unknown[last + 1]--;
        }
    }
    int live = 0, open = 0;
    for (int at = 0; ok && at <= nodes; at++) {
        live += crossing[at];
        open += unknown[at];
        if (at == 0 || at == nodes || (live <= most && open == 0))
            ok = keep(c, m, at, &capacity);
        else
            c->dropped++;
    }
    for (int i = 0; ok && i + 1 < c->count; i++)
        c->wide[i] = wide_between(m, c->at[i], c->at[i + 1]);
    mem_free(crossing);
    mem_free(unknown);
    if (!ok) {
        cuts_destroy(&c);
        return error_memory(err, n * sizeof *crossing, "a network's cuts");
    }
    *out = c;
    return COHORT_OK;
}

/* ---- fewer cuts ----------------------------------------------------------------------------- */

/* Does every output row come from the same row of the inputs (or from what has only one)? */
static bool pointwise(const struct cost_model *m, int node) {
    const struct node *n = &m->g->nodes[node];
    for (int i = 0; i < n->in_count; i++) {
        const struct rowmap *r = &n->rowmap[i];
        if (n->in[i] < 0 || m->values[n->in[i]].constant || m->values[n->in[i]].rows == 1)
            continue;
        if (r->kind != ROWMAP_AFFINE || r->num != 1 || r->den != 1 || r->lo != 0 || r->hi != 0 ||
            r->one_image)
            return false;
    }
    return m->nodes[node].wide;
}

static double bytes_of(const struct cost_model *m, int value) {
    return (double)m->values[value].rows * m->values[value].wire_bytes;
}

static double live_bytes(const struct cuts *c, const struct cost_model *m, int cut) {
    double bytes = 0;
    for (int k = c->first[cut]; k < c->first[cut + 1]; k++)
        bytes += bytes_of(m, c->live[k]);
    return bytes;
}

/* Of cuts [first, last], between which every operator is pointwise, the two that are kept. */
static void keep_two(const struct cuts *c, const struct cost_model *m, int first, int last,
                     bool *kept) {
    int least = first, lightest = first;
    for (int i = first + 1; i <= last; i++) {
        if (bytes_of(m, m->outputs[c->at[i] - 1]) <= bytes_of(m, m->outputs[c->at[least] - 1]))
            least = i;
        if (live_bytes(c, m, i) <= live_bytes(c, m, lightest))
            lightest = i;
    }
    kept[least] = kept[lightest] = true;
}

static void drop_others(struct cuts *c, const struct cost_model *m, const bool *kept) {
    int count = 0, used = 0;
    for (int i = 0; i < c->count; i++) {
        if (!kept[i]) {
            c->merged++;
            continue;
        }
        const int first = c->first[i], end = c->first[i + 1];
        c->at[count] = c->at[i];
        c->read[count] = c->read[i];
        c->first[count] = used;
        for (int k = first; k < end; k++)
            c->live[used++] = c->live[k];
        if (count > 0)
            c->wide[count - 1] = wide_between(m, c->at[count - 1], c->at[count]);
        count++;
    }
    c->first[count] = used;
    c->count = count;
}

enum cohort_code cuts_thin(struct cuts *c, const struct cost_model *m, struct cohort_error *err) {
    bool *kept = mem_zalloc((size_t)c->count + 1, sizeof *kept);
    if (kept == NULL)
        return error_memory(err, (unsigned)c->count, "a network's cuts");
    kept[0] = kept[c->count - 1] = true;
    for (int i = 1, first = 1; i + 1 < c->count; i++) {
        bool on = i + 2 < c->count && c->wide[i]; /* does the run go on behind cut i? */
        for (int k = c->at[i]; on && k < c->at[i + 1]; k++)
            on = pointwise(m, k);
        if (!c->wide[i - 1] || !c->wide[i])
            kept[i] = true;
        if (on)
            continue;
        keep_two(c, m, first, i, kept);
        first = i + 1;
    }
    drop_others(c, m, kept);
    mem_free(kept);
    return COHORT_OK;
}
