/* Legion's matrices (for a board d, with its share of the rows of every operator):
 *   S[i]     bringing it operator i's inputs from the root, without halo
 *   E[k]     computing operator k, without halo
 *   R[j]     bringing operator j's outputs to the root
 *   A[k][j]  rows of operator k's outputs that a group ending with j needs, over its own share
 * The time of a group from i to j is the largest of any board's
 * S[i] A'[i][j] + sum of E[k] A[k][j] + R[j], where A' is of the inputs. */
#include "cli/profile_show.h"

#include "base/mem.h"
#include "graph/op.h"
#include "graph/rows.h"

#include <string.h>

#define NAME_WIDTH     28
#define MATRIX_COLUMNS 64 /* wider ones are cut: nobody reads them */

/* ---- boards and links ------------------------------------------------------------------------ */

static void show_type(const struct profile_type *t) {
    printf("%s, %s, %d thread%s", t->cpu, t->isa, t->threads, t->threads == 1 ? "" : "s");
    if (t->clock_mhz > 0)
        printf(", %.0f MHz", t->clock_mhz);
    if (t->cpu_share < 1)
        printf(", at %g of its speed", t->cpu_share);
    printf("; kernels %s\n", t->kernels);
}

static void show_engines(const struct profile_type *t) {
    for (int i = 0; i < t->engine_count; i++) {
        const struct profile_engine *e = &t->engines[i];
        printf("    %-10s %14.2f ms on %d thread%s, core%s %s\n", e->name, e->inference_ms,
               e->threads, e->threads == 1 ? "" : "s", e->threads == 1 ? "" : "s", e->cores);
    }
}

static void show_groups(const struct profile_groups *g, int boards) {
    printf("\n%d groups of operators measured in %.1f s", g->count, g->seconds);
    if (g->longest > 0)
        printf(", of up to %d parts", g->longest);
    printf("; shares of the rows:");
    for (int b = 0; b < boards; b++)
        printf(" %.3f", g->shares[b]);
    printf("\n");
}

static void show_matrix(const struct profile *p, const char *title, double bytes) {
    printf("\n%s\n%-16s", title, "from \\ to");
    for (int to = 0; to < p->board_count; to++)
        printf(" %9.9s", p->boards[to].host);
    for (int from = 0; from < p->board_count; from++) {
        printf("\n%-16.16s", p->boards[from].host);
        for (int to = 0; to < p->board_count; to++) {
            double ms = profile_link_ms(p, from, to, bytes);
            if (from == to)
                printf(" %9s", "-");
            else if (bytes > 4096)
                printf(" %9.1f", ms > 0 ? bytes * 8e-3 / ms : 0);
            else
                printf(" %9.3f", ms);
        }
    }
    printf("\n");
}

void profile_show_boards(const struct profile *p) {
    printf("%s, measured by Cohort %s\n\n%4s %-16s %4s %8s %14s\n", p->network, p->version, "rank",
           "board", "type", "scale", "inference, ms");
    for (int r = 0; r < p->board_count; r++) {
        const struct profile_board *b = &p->boards[r];
        printf("%4d %-16s %4d %8.3f %14.2f%s%s\n", r, b->host, b->type, b->scale,
               profile_inference_ms(p, r), b->remark != NULL ? "  " : "",
               b->remark != NULL ? b->remark : "");
    }
    printf("\n");
    for (int t = 0; t < p->type_count; t++) {
        printf("type %d: ", t);
        show_type(&p->types[t]);
        show_engines(&p->types[t]);
    }
    if (p->groups != NULL)
        show_groups(p->groups, p->board_count);
    if (p->board_count < 2)
        return;
    show_matrix(p, "Mbit/s of large messages (192 KB)", 192 * 1024);
    show_matrix(p, "ms of a message of 1 KB", 1024);
    printf("\nall at once, over one after the other: from the root %.2f, to the root %.2f\n",
           p->scatter_factor, p->gather_factor);
    if (p->wake_ms > 0)
        printf("a board that waits notices a message %.2f ms later\n", p->wake_ms);
}

/* ---- Legion ---------------------------------------------------------------------------------- */

struct legion {
    const struct profile *p;
    const struct graph *g;
    double *share; /* [boards + 1]: where each board's rows begin, of 1 */
    bool *divided; /* of each node */
    struct rows *need;
};

/* The rows of a value of `rows` rows that board d owns. */
static struct rows own_rows(const struct legion *l, int64_t rows, int d) {
    double all = (double)rows;
    return (struct rows){(int64_t)(all * l->share[d] + 0.5),
                         (int64_t)(all * l->share[d + 1] + 0.5)};
}

/* The first output of node i, which must have rows to divide; NULL: it has none. */
static const struct value *main_output(const struct graph *g, int i) {
    const struct value *v = node_out(g, &g->nodes[i], 0);
    return v != NULL && v->form == FORM_MAP && shape_known(&v->shape) && value_rows(v) > 1 ? v
                                                                                           : NULL;
}

static double value_bytes(const struct legion *l, const struct value *v, int d) {
    return (double)rows_count(own_rows(l, value_rows(v), d)) * (double)value_geometry(v).row_bytes;
}

static double sending_ms(const struct legion *l, int i, int d) {
    const struct node *n = &l->g->nodes[i];
    double ms = 0;
    for (int k = 0; k < n->in_count; k++) {
        const struct value *v = node_in(l->g, n, k);
        if (v != NULL && !v->is_constant && shape_known(&v->shape))
            ms += profile_link_ms(l->p, 0, d, value_bytes(l, v, d));
    }
    return ms;
}

static void show_vectors(const struct legion *l, int d) {
    printf("\n%5s %-*s %9s %10s %10s %10s\n", "node", NAME_WIDTH, "output", "own rows", "S, ms",
           "E, ms", "R, ms");
    for (int i = 0; i < l->g->node_count; i++) {
        const struct value *v = main_output(l->g, i);
        if (!l->divided[i] || v == NULL)
            continue;
        int64_t rows = rows_count(own_rows(l, value_rows(v), d));
        printf("%5d %-*.*s %9lld %10.3f %10.3f %10.3f\n", i, NAME_WIDTH, NAME_WIDTH, v->name,
               (long long)rows, sending_ms(l, i, d), profile_node_ms(l->p, d, i, rows),
               profile_link_ms(l->p, d, 0, value_bytes(l, v, d)));
    }
}

/* Column j: what a group that ends with j needs of every operator before it, down to the input. */
static void find_column(struct legion *l, int j, int d) {
    memset(l->need, 0, (size_t)l->g->value_count * sizeof *l->need);
    const struct value *v = main_output(l->g, j);
    l->need[v - l->g->values] = own_rows(l, value_rows(v), d);
    rows_of_segment(l->g, 0, j + 1, l->need);
}

static double alpha(const struct legion *l, int k, int d) {
    const struct value *v = main_output(l->g, k);
    double own = (double)rows_count(own_rows(l, value_rows(v), d));
    return own > 0 ? (double)rows_count(l->need[v - l->g->values]) / own : 0;
}

static enum cohort_code show_alpha(struct legion *l, int d, struct cohort_error *err) {
    int *nodes = mem_zalloc((size_t)l->g->node_count + 1, sizeof *nodes), count = 0;
    float *a = NULL;
    for (int i = 0; nodes != NULL && i < l->g->node_count && count < MATRIX_COLUMNS; i++)
        if (l->divided[i] && main_output(l->g, i) != NULL)
            nodes[count++] = i;
    a = mem_zalloc((size_t)count * (size_t)count + 1, sizeof *a);
    if (nodes == NULL || a == NULL) {
        mem_free(nodes);
        mem_free(a);
        return error_memory(err, (size_t)count * (size_t)count * sizeof *a, "a matrix");
    }
    for (int j = 0; j < count; j++) {
        find_column(l, nodes[j], d);
        for (int k = 0; k <= j; k++)
            a[k * count + j] = (float)alpha(l, nodes[k], d);
    }
    printf("\nalpha[k][j]: rows of node k for a group that ends with node j, over the own share\n");
    printf("%5s", "k \\ j");
    for (int j = 0; j < count; j++)
        printf(" %5d", nodes[j]);
    for (int k = 0; k < count; k++) {
        printf("\n%5d", nodes[k]);
        for (int j = 0; j < count; j++)
            if (j < k || a[k * count + j] == 0)
                printf(" %5s", j < k ? "" : "-");
            else
                printf(" %5.2f", (double)a[k * count + j]);
    }
    printf("\n");
    mem_free(nodes);
    mem_free(a);
    return COHORT_OK;
}

/* In proportion to the boards' speeds on the whole network. */
static void find_shares(struct legion *l) {
    double sum = 0;
    for (int d = 0; d < l->p->board_count; d++) {
        double ms = profile_inference_ms(l->p, d);
        l->share[d + 1] = sum += ms > 0 ? 1 / ms : 1;
    }
    for (int d = 0; d < l->p->board_count; d++)
        l->share[d + 1] /= sum;
}

/* Until the first operator whose inputs are needed whole. */
static void find_divided(struct legion *l) {
    for (int i = 0; i < l->g->node_count; i++) {
        const struct node *n = &l->g->nodes[i];
        bool whole = main_output(l->g, i) == NULL;
        for (int k = 0; k < n->in_count; k++) {
            const struct value *v = node_in(l->g, n, k);
            if (v != NULL && !v->is_constant && n->rowmap != NULL &&
                n->rowmap[k].kind == ROWMAP_ALL)
                whole = true;
        }
        l->divided[i] = !whole;
    }
}

void profile_show_engines(const struct profile *p, const struct graph *g) {
    for (int t = 0; t < p->type_count; t++) {
        const struct profile_type *type = &p->types[t];
        if (type->engine_count == 0)
            continue;
        printf("\ntype %d: ms of all rows of each operator by itself\n%5s %-*s", t, "node",
               NAME_WIDTH, "output");
        for (int e = 0; e < type->engine_count; e++)
            printf(" %10s", type->engines[e].name);
        printf("\n");
        for (int i = 0; i < g->node_count; i++) {
            const struct value *v = node_out(g, &g->nodes[i], 0);
            if (type->curve_of[i] < 0 || v == NULL)
                continue;
            printf("%5d %-*.*s", i, NAME_WIDTH, NAME_WIDTH, v->name);
            for (int e = 0; e < type->engine_count; e++)
                printf(" %10.3f", type->engines[e].ms[i]);
            printf("\n");
        }
    }
}

enum cohort_code profile_show_matrices(const struct profile *p, const struct graph *g,
                                       struct cohort_error *err) {
    struct legion l = {.p = p, .g = g};
    enum cohort_code code = COHORT_OK;
    l.share = mem_zalloc((size_t)p->board_count + 1, sizeof *l.share);
    l.divided = mem_zalloc((size_t)g->node_count + 1, sizeof *l.divided);
    l.need = mem_zalloc((size_t)g->value_count + 1, sizeof *l.need);
    if (l.share == NULL || l.divided == NULL || l.need == NULL) {
        code = error_memory(err, (size_t)g->value_count * sizeof *l.need, "matrices");
        goto out;
    }
    find_shares(&l);
    find_divided(&l);
    for (int d = 0; d < p->board_count; d++) {
        printf("\n%s (rank %d), with %.1f %% of the rows\n", p->boards[d].host, d,
               100 * (l.share[d + 1] - l.share[d]));
        show_vectors(&l, d);
        TRY(show_alpha(&l, d, err));
    }
out:
    mem_free(l.share);
    mem_free(l.divided);
    mem_free(l.need);
    return code;
}
