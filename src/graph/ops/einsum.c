/* Einsum (opset 12): sums of products along labelled axes, "ij,jk->ik".
 *
 * Any number of operands; an ellipsis stands for axes that are broadcast; a label twice in one
 * operand is its diagonal; without "->", the output has the labels that occur once, in the order of
 * the alphabet, behind the ellipsis' axes. */
#include "base/mem.h"
#include "graph/ops/ops_common.h"

#include <ctype.h>
#include <string.h>

#define LETTERS       52
#define LABELS        (LETTERS + RANK_MAX) /* the ellipsis' axes, the last one LABELS - 1 */
#define OPERANDS      16
#define PRODUCTS_MOST 1e11 /* some minutes; a small file can ask for any number */

struct equation {
    int operands;
    int rank[OPERANDS];
    int label[OPERANDS][RANK_MAX]; /* of each axis */
    int64_t dim[LABELS];           /* -1: not known, -2: no such label */
    int uses[LABELS];
    int ellipsis; /* axes that it stands for */
    int out_rank, out[RANK_MAX];
    bool known; /* all operands' ranks are */
};

static int letter_of(char c) {
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}

/* One term's labels from *at on; an ellipsis takes `axes` axes (-1: what is left of rank). */
static enum cohort_code parse_term(const char **at, int rank, int axes, int *labels, int *count,
                                   struct cohort_error *err) {
    const char *p = *at;
    int letters = 0;
    bool dots = false;
    for (; *p != '\0' && *p != ',' && *p != '-'; p++)
        letters += letter_of(*p) >= 0;
    *count = 0;
    for (p = *at; *p != '\0' && *p != ',' && *p != '-'; p++) {
        int letter = letter_of(*p);
        if (*p == ' ')
            continue;
        if (letter >= 0) {
            if (*count == RANK_MAX)
                return error_set(err, COHORT_ERR_SHAPE, "more than %d labels in one term",
                                 RANK_MAX);
            labels[(*count)++] = letter;
        } else if (strncmp(p, "...", 3) == 0 && !dots) {
            int here = axes >= 0 ? axes : rank - letters;
            if (here < 0 || *count + here > RANK_MAX)
                return error_set(err, COHORT_ERR_SHAPE, "%d labels for an operand of rank %d",
                                 letters, rank);
            for (int i = 0; i < here; i++)
                labels[(*count)++] = LABELS - here + i;
            dots = true;
            p += 2;
        } else {
            return error_set(err, COHORT_ERR_SHAPE, "'%c' in the equation at '%.20s'",
                             isprint((unsigned char)*p) ? *p : '?', p);
        }
    }
    *at = p;
    return COHORT_OK;
}

/* An operand's axes give their labels' sizes. */
static enum cohort_code enter_operand(struct equation *e, int i, const struct shape *s,
                                      struct cohort_error *err) {
    if (e->rank[i] != s->rank)
        return error_set(err, COHORT_ERR_SHAPE, "%d labels for operand %d of rank %d", e->rank[i],
                         i, s->rank);
    for (int k = 0; k < s->rank; k++) {
        int label = e->label[i][k];
        int64_t *dim = &e->dim[label];
        e->uses[label]++;
        if (label >= LETTERS && LABELS - label > e->ellipsis)
            e->ellipsis = LABELS - label;
        if (*dim == -2 || *dim == 1 || (*dim < 0 && s->dim[k] != 1))
            *dim = s->dim[k];
        else if (s->dim[k] != 1 && s->dim[k] >= 0 && s->dim[k] != *dim)
            return error_set(err, COHORT_ERR_SHAPE, "axis %d of operand %d has size %lld, not %lld",
                             k, i, (long long)s->dim[k], (long long)*dim);
    }
    return COHORT_OK;
}

static enum cohort_code finish_output(struct equation *e, const char *p, struct cohort_error *err) {
    bool taken[LABELS] = {false};
    if (*p == '-') {
        if (p[1] != '>')
            return error_set(err, COHORT_ERR_SHAPE, "'-' without '>' in the equation");
        p += 2;
        enum cohort_code code = parse_term(&p, 0, e->ellipsis, e->out, &e->out_rank, err);
        if (code != COHORT_OK)
            return code;
        if (*p != '\0')
            return error_set(err, COHORT_ERR_SHAPE, "several outputs in the equation");
    } else {
        int count = 0, labels[LABELS];
        for (int i = 0; i < e->ellipsis; i++)
            labels[count++] = LABELS - e->ellipsis + i;
        for (int i = 0; i < LETTERS; i++)
            if (e->uses[i] == 1)
                labels[count++] = i;
        if (count > RANK_MAX)
            return error_set(err, COHORT_ERR_UNSUPPORTED, "an output of rank %d", count);
        memcpy(e->out, labels, (size_t)count * sizeof *labels);
        e->out_rank = count;
    }
    for (int i = 0; i < e->out_rank; i++) {
        if (e->dim[e->out[i]] == -2 || taken[e->out[i]])
            return error_set(err, COHORT_ERR_SHAPE, "output label %d %s", i,
                             taken[e->out[i]] ? "occurs twice" : "is in no operand");
        taken[e->out[i]] = true;
    }
    return COHORT_OK;
}

static enum cohort_code parse(const struct node *n, const struct tensor *const in[],
                              struct equation *e, struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    const char *p = node_attr_string(n, "equation", "");
    *e = (struct equation){.known = true};
    for (int i = 0; i < LABELS; i++)
        e->dim[i] = -2;
    if (n->in_count > OPERANDS)
        return error_set(err, COHORT_ERR_UNSUPPORTED, "%d operands; at most %d are possible",
                         n->in_count, OPERANDS);
    for (int i = 0; i < n->in_count; i++)
        e->known = e->known && in[i]->shape.rank >= 0;
    if (!e->known)
        return COHORT_OK;
    for (;; p++) {
        int i = e->operands;
        if (i == n->in_count)
            return error_set(err, COHORT_ERR_SHAPE, "more terms than the %d operands", i);
        TRY(parse_term(&p, in[i]->shape.rank, -1, e->label[i], &e->rank[i], err));
        TRY(enter_operand(e, i, &in[i]->shape, err));
        e->operands++;
        if (*p != ',')
            break;
    }
    if (e->operands != n->in_count)
        return error_set(err, COHORT_ERR_SHAPE, "%d terms for %d operands", e->operands,
                         n->in_count);
    TRY(finish_output(e, p, err));
out:
    return code;
}

static enum cohort_code einsum_infer(struct node *n, const struct tensor *const in[],
                                     struct tensor out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct equation e;
    struct shape shape = shape_unknown(-1);
    TRY(op_need_all(n, in, TYPES_NUMBER, err));
    for (int i = 0; i < n->in_count; i++)
        if (in[i] == NULL)
            return error_set(err, COHORT_ERR_SHAPE, "input %d is missing", i);
    TRY(parse(n, in, &e, err));
    if (e.known) {
        shape.rank = e.out_rank;
        for (int i = 0; i < e.out_rank; i++)
            shape.dim[i] = e.dim[e.out[i]];
    }
    op_out(n, out, 0, in[0]->type, &shape);
out:
    return code;
}

/* ---- computing ------------------------------------------------------------------------------- */

struct axis {
    int64_t dim, stride[OPERANDS];
};

/* The axes of the output or (summed) all others, with every operand's stride along each. */
static int collect_axes(const struct equation *e, const struct tensor *const in[], bool summed,
                        struct axis *axes) {
    int count = 0;
    bool in_output[LABELS] = {false};
    for (int i = 0; i < e->out_rank; i++)
        in_output[e->out[i]] = true;
    for (int at = 0; at < (summed ? LABELS : e->out_rank); at++) {
        int label = summed ? at : e->out[at];
        if (e->dim[label] < 0 || (summed && in_output[label]))
            continue;
        struct axis *a = &axes[count++];
        *a = (struct axis){.dim = e->dim[label]};
        for (int i = 0; i < e->operands; i++) {
            int64_t own[RANK_MAX];
            op_strides(&in[i]->shape, own);
            for (int k = 0; k < e->rank[i]; k++)
                if (e->label[i][k] == label && in[i]->shape.dim[k] != 1)
                    a->stride[i] += own[k];
        }
    }
    return count;
}

union number {
    double f;
    uint64_t u;
};

static enum cohort_code load_operand(enum op_class c, const struct tensor *t, union number **values,
                                     struct cohort_error *err) {
    int64_t total = shape_count(&t->shape);
    union number *v = mem_zalloc((size_t)total, sizeof *v);
    union op_chunk chunk;
    if (v == NULL)
        return error_memory(err, (unsigned long long)total * sizeof *v, "an operand");
    for (int64_t i = 0; i < total; i += OP_CHUNK) {
        int64_t count = total - i < OP_CHUNK ? total - i : OP_CHUNK;
        op_load(c, t, i, 1, count, &chunk);
        memcpy(v + i, chunk.u, (size_t)count * sizeof *v);
    }
    *values = v;
    return COHORT_OK;
}

/* Moves to the next place; false behind the last. */
static bool step(const struct axis *axes, int count, int operands, int64_t *index, int64_t *at) {
    for (int i = count - 1; i >= 0; i--) {
        for (int k = 0; k < operands; k++)
            at[k] += axes[i].stride[k];
        if (++index[i] < axes[i].dim)
            return true;
        for (int k = 0; k < operands; k++)
            at[k] -= axes[i].stride[k] * axes[i].dim;
        index[i] = 0;
    }
    return false;
}

/* The sum at one place of the output. */
static union number sum_at(enum op_class c, const struct axis *axes, int count, int operands,
                           union number *const values[], const int64_t *from) {
    int64_t index[LABELS] = {0}, at[OPERANDS];
    union number sum = {.u = 0};
    memcpy(at, from, sizeof at);
    for (int i = 0; i < count; i++)
        if (axes[i].dim == 0)
            return sum;
    do {
        union number product = values[0][at[0]];
        for (int k = 1; k < operands; k++)
            if (c == CLASS_F64)
                product.f *= values[k][at[k]].f;
            else
                product.u *= values[k][at[k]].u;
        if (c == CLASS_F64)
            sum.f += product.f;
        else
            sum.u += product.u;
    } while (step(axes, count, operands, index, at));
    return sum;
}

/* One product for each value of all labels together. */
static double products(const struct equation *e) {
    double count = 1;
    for (int i = 0; i < LABELS; i++)
        count *= e->dim[i] >= 0 ? (double)e->dim[i] : 1;
    return count;
}

static enum cohort_code check_work(const struct equation *e, struct cohort_error *err) {
    if (products(e) <= PRODUCTS_MOST)
        return COHORT_OK;
    return error_set(err, COHORT_ERR_UNSUPPORTED,
                     "%.1e products for these sizes; at most %.0e are possible", products(e),
                     PRODUCTS_MOST);
}

static enum cohort_code einsum_eval(const struct node *n, const struct tensor *const in[],
                                    struct tensor *const out[], struct cohort_error *err) {
    enum cohort_code code = COHORT_OK;
    struct equation e;
    struct axis outer[RANK_MAX], summed[LABELS];
    union number *values[OPERANDS] = {NULL};
    int64_t index[RANK_MAX] = {0}, at[OPERANDS] = {0}, i = 0;
    enum op_class c = op_class_of(in[0]->type);
    TRY(parse(n, in, &e, err));
    TRY(check_work(&e, err));
    for (int k = 0; k < e.operands; k++)
        TRY(load_operand(c, in[k], &values[k], err));
    int outers = collect_axes(&e, in, false, outer);
    int sums = collect_axes(&e, in, true, summed);
    if (shape_count(&out[0]->shape) == 0)
        goto out;
    do {
        union op_chunk sum;
        sum.u[0] = sum_at(c, summed, sums, e.operands, values, at).u;
        op_store(c, out[0], i++, 1, &sum);
    } while (step(outer, outers, e.operands, index, at));
out:
    for (int k = 0; k < OPERANDS; k++)
        mem_free(values[k]);
    return code;
}

static double einsum_flops(const struct graph *g, const struct node *n) {
    struct equation e;
    struct tensor tensors[OPERANDS];
    const struct tensor *in[OPERANDS];
    for (int i = 0; i < n->in_count && i < OPERANDS; i++) {
        tensors[i] = (struct tensor){.shape = graph_value(g, n->in[i])->shape};
        in[i] = &tensors[i];
    }
    if (n->in_count > OPERANDS || parse(n, in, &e, NULL) != COHORT_OK || !e.known)
        return 0;
    return n->in_count * products(&e);
}

const struct op_desc op_einsum = {
    .name = "Einsum",
    .domain = "",
    .since = 12,
    .until = OPSET_LAST,
    .min_inputs = 1,
    .max_inputs = OP_ANY_INPUTS,
    .max_outputs = 1,
    .infer = einsum_infer,
    .eval = einsum_eval,
    .flops = einsum_flops,
};
