/* Legion's matrices; see legion.h. */
#include "planner/legion.h"

#include "base/mem.h"

#include <math.h>

void legion_destroy(struct legion **ll) {
    struct legion *l = *ll;
    if (l == NULL)
        return;
    mem_free(l->s);
    mem_free(l->r);
    mem_free(l->e);
    mem_free(l->a);
    mem_free(l);
    *ll = NULL;
}

double legion_group_ms(const struct legion *l, int i, int j) {
    double most = 0;
    for (int d = 0; d < l->boards; d++) {
        const double *a = l->a + (size_t)d * (size_t)l->n * (size_t)l->n;
        double ms = l->s[d * l->n + i] * a[i * l->n + j] + l->r[d * l->n + j];
        for (int k = i; k <= j; k++)
            ms += l->e[d * l->n + k] * a[k * l->n + j];
        most = fmax(most, ms);
    }
    return most;
}

/* What filling the matrices works with. */
struct filling {
    struct legion *l;
    const struct cost_model *m;
    const struct cuts *c;
    struct demand d;
    int64_t *splits; /* [unit * (boards + 1)]: each unit's output, shared out */
};

static int until_of(const struct filling *f, int u) {
    return f->m->outputs[f->c->at[u + 1] - 1];
}

static int64_t *split_of(const struct filling *f, int u) {
    return f->splits + (size_t)u * ((size_t)f->m->boards + 1);
}

/* Unit u by itself: what each board gets, computes and gives. */
static void fill_single(struct filling *f, int u, int64_t *scaled) {
    const struct cost_model *m = f->m;
    const struct cuts *c = f->c;
    for (int b = 0; b < m->boards; b++) {
        double in = 0, out = 0;
        for (int k = c->first[u]; k < c->first[u + 1]; k++) {
            const int id = c->live[k];
            in += (double)rows_count(demand_need(&f->d, b)[id]) * m->values[id].wire_bytes;
        }
        for (int k = c->first[u + 1]; k < c->first[u + 2]; k++) {
            const int id = c->live[k];
            if (m->values[id].producer < c->at[u])
                continue;
            cost_scale_split(m, until_of(f, u), split_of(f, u), id, scaled);
            out += (double)(scaled[b + 1] - scaled[b]) * m->values[id].wire_bytes;
        }
        f->l->s[b * f->l->n + u] = profile_link_ms(m->p, 0, b, in);
        f->l->r[b * f->l->n + u] = profile_link_ms(m->p, b, 0, out);
        f->l->e[b * f->l->n + u] = f->d.ms[b];
    }
}

/* Column j: how the tiles of all units grow when they are fused through to unit j. */
static void fill_column(struct filling *f, int j, int64_t *scaled) {
    struct legion *l = f->l;
    const struct cuts *c = f->c;
    demand_begin(&f->d, c->at[j + 1], until_of(f, j), split_of(f, j));
    for (int k = j; k >= 0 && c->wide[k]; k--) {
        while (f->d.at > c->at[k])
            demand_step(&f->d);
        if (k == j)
            fill_single(f, j, scaled);
        const int64_t *own = split_of(f, k);
        for (int b = 0; b < l->boards; b++) {
            const int64_t rows = own[b + 1] - own[b];
            const int64_t fused = rows_count(demand_need(&f->d, b)[until_of(f, k)]);
            l->a[((size_t)b * (size_t)l->n + (size_t)k) * (size_t)l->n + (size_t)j] =
                k == j     ? 1
                : rows > 0 ? (double)fused / (double)rows
                           : 0;
        }
    }
}

static enum cohort_code fill(struct filling *f, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    int64_t *scaled = mem_zalloc((size_t)f->m->boards + 1, sizeof *scaled);
    f->splits = mem_zalloc((size_t)f->l->n + 1, ((size_t)f->m->boards + 1) * sizeof *f->splits);
    if (scaled == NULL || f->splits == NULL) {
        code = error_memory(err, (size_t)f->l->n * (size_t)f->m->boards * 8, "Legion's matrices");
        goto out;
    }
    TRY(demand_init(&f->d, f->m, err));
    for (int u = 0; u < f->l->n; u++)
        if (f->c->wide[u])
            TRY(cost_proportional(f->m, until_of(f, u), f->m->usable, split_of(f, u), err));
    for (int j = 0; j < f->l->n; j++)
        if (f->c->wide[j])
            fill_column(f, j, scaled);
out:
    demand_release(&f->d);
    mem_free(f->splits);
    mem_free(scaled);
    return code;
}

enum cohort_code legion_create(struct legion **out, const struct cost_model *m,
                               const struct cuts *cuts, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const size_t n = (size_t)(cuts->count - 1), boards = (size_t)m->boards;
    struct legion *l = mem_zalloc(1, sizeof *l);
    if (l == NULL)
        return error_memory(err, sizeof *l, "Legion's matrices");
    *l = (struct legion){.boards = m->boards,
                         .n = (int)n,
                         .s = mem_zalloc(boards * n + 1, sizeof *l->s),
                         .r = mem_zalloc(boards * n + 1, sizeof *l->r),
                         .e = mem_zalloc(boards * n + 1, sizeof *l->e),
                         .a = mem_zalloc(boards * n * n + 1, sizeof *l->a)};
    if (l->s == NULL || l->r == NULL || l->e == NULL || l->a == NULL) {
        code = error_memory(err, boards * n * n * sizeof *l->a, "Legion's matrices");
        goto out;
    }
    struct filling f = {.l = l, .m = m, .c = cuts};
    TRY(fill(&f, err));
    *out = l;
    l = NULL;
out:
    legion_destroy(&l);
    return code;
}
