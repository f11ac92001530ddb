/* Activations written out as products: GELU with erf or tanh, HardSwish with Clip or HardSigmoid,
 * SiLU (Swish).
 *
 * Exporters put the factors in any order and the constants anywhere (x*0.5 first, or last; a
 * division by 6, or a product with 1/6).  So a product is flattened into its factors and one
 * coefficient, stopping at x, and then compared as a whole. */
#include "graph/pass_recognise.h"

#include <math.h>
#include <string.h>

#define FACTORS_MAX 4
#define DEPTH_MAX   4

struct product {
    double coefficient;
    int factors[FACTORS_MAX]; /* value numbers */
    int count;
    bool failed; /* too many factors */
};

/* Multiplies the product by value `id`, taking it apart when it is itself a product; `stop` (x) and
 * anything below it stays whole. */
static void flatten(const struct graph *g, int id, int stop, int depth, struct product *p) {
    const struct node *n = id == stop ? NULL : producer_named(g, id, NULL);
    double c = 0;
    if (n != NULL && depth < DEPTH_MAX && node_is(n, "Mul") && n->in_count == 2) {
        int k = const_operand(g, n, &c);
        if (k >= 0)
            p->coefficient *= c;
        for (int i = 0; i < 2; i++)
            if (i != k)
                flatten(g, n->in[i], stop, depth + 1, p);
        return;
    }
    if (n != NULL && depth < DEPTH_MAX && node_is(n, "Div") && const_scalar(g, n, 1, &c) &&
        c != 0) {
        p->coefficient /= c;
        flatten(g, n->in[0], stop, depth + 1, p);
        return;
    }
    if (p->count == FACTORS_MAX) {
        p->failed = true;
        return;
    }
    p->factors[p->count++] = id;
}

static struct product product_of(const struct graph *g, int id, int stop) {
    struct product p = {.coefficient = 1};
    flatten(g, id, stop, 0, &p);
    return p;
}

/* How many of the factors are x; the last that is not goes to *other (-1: none). */
static int count_of(const struct product *p, int x, int *other) {
    int times = 0;
    *other = -1;
    for (int i = 0; i < p->count; i++) {
        if (p->factors[i] == x)
            times++;
        else
            *other = p->factors[i];
    }
    return times;
}

/* Is value `id` an Add of a constant c? Then the other operand. */
static int added_to(const struct graph *g, int id, double c) {
    const struct node *n = producer_named(g, id, "Add");
    double value = 0;
    int k = n == NULL ? -1 : const_operand(g, n, &value);
    return k >= 0 && about(value, c) ? n->in[1 - k] : -1;
}

/* Is value `id` coefficient * x^power? */
static bool is_power(const struct graph *g, int id, int x, double coefficient, int power) {
    struct product p = product_of(g, id, x);
    int other = -1;
    int times = count_of(&p, x, &other);
    if (p.failed || !about(p.coefficient, coefficient))
        return false;
    if (times == power && p.count == times)
        return true;
    const struct node *n = times == 0 && p.count == 1 ? producer_named(g, other, "Pow") : NULL;
    double exponent = 0;
    return n != NULL && n->in[0] == x && const_scalar(g, n, 1, &exponent) && exponent == power;
}

/* Is `id`, the argument of tanh, sqrt(2/pi) * (x + 0.044715 x^3), perhaps with x taken out? */
static bool is_tanh_argument(const struct graph *g, int id, int x) {
    struct product p = product_of(g, id, x);
    int other = -1;
    int times = count_of(&p, x, &other);
    if (p.failed || other < 0 || !about(p.coefficient, 0.79788456080286536))
        return false;
    if (times == 1 && p.count == 2) { /* x * (1 + 0.044715 x^2) */
        int square = added_to(g, other, 1);
        return square >= 0 && is_power(g, square, x, 0.044715, 2);
    }
    const struct node *sum = times == 0 && p.count == 1 ? producer_named(g, other, "Add") : NULL;
    if (sum == NULL || sum->in_count != 2)
        return false;
    for (int i = 0; i < 2; i++)
        if (sum->in[i] == x && is_power(g, sum->in[1 - i], x, 0.044715, 3))
            return true;
    return false;
}

/* The x of which u is x / sqrt(2), or -1. */
static int erf_argument(const struct graph *g, int u) {
    const struct node *n = producer_named(g, u, NULL);
    double c = 0;
    if (n == NULL || n->in_count != 2)
        return -1;
    int k = const_operand(g, n, &c);
    if (node_is(n, "Mul") && k >= 0 && about(c, 0.70710678118654752))
        return n->in[1 - k];
    return node_is(n, "Div") && k == 1 && about(c, 1.4142135623730951) ? n->in[0] : -1;
}

/* The candidates for x, given that some factor is (1 + tanh(..)): the other factors. */
static bool is_tanh_gelu(const struct graph *g, const struct node *n, int gate, int argument,
                         int *x) {
    /* The tree over the gate: try every value that could be x, which is a factor beside the gate.
     */
    struct product all = product_of(g, n->out[0], -1);
    for (int i = 0; i < all.count; i++)
        if (all.factors[i] != gate && is_tanh_argument(g, argument, all.factors[i])) {
            *x = all.factors[i];
            return true;
        }
    /* x may itself be a product: then it is an operand of one of the products above. */
    for (int depth = 0, id = n->out[0]; depth < DEPTH_MAX; depth++) {
        const struct node *m = producer_named(g, id, "Mul");
        if (m == NULL || m->in_count != 2)
            return false;
        for (int i = 0; i < 2; i++)
            if (m->in[i] != gate && is_tanh_argument(g, argument, m->in[i])) {
                *x = m->in[i];
                return true;
            }
        id = producer_named(g, m->in[0], "Mul") != NULL && m->in[0] != gate ? m->in[0] : m->in[1];
    }
    return false;
}

/* A factor (1 + erf(x/sqrt 2)) or (1 + tanh(…)) in the product that node n ends; its x. */
static bool find_gelu(const struct graph *g, const struct node *n, int *gate, int *x, bool *tanh) {
    struct product p = product_of(g, n->out[0], -1);
    for (int i = 0; i < p.count; i++) {
        int inner = added_to(g, p.factors[i], 1);
        const struct node *f = producer_named(g, inner, NULL);
        *gate = p.factors[i];
        if (f != NULL && node_is(f, "Erf")) {
            *x = erf_argument(g, f->in[0]);
            *tanh = false;
            if (*x >= 0)
                return true;
        } else if (f != NULL && node_is(f, "Tanh") && is_tanh_gelu(g, n, *gate, f->in[0], x)) {
            *tanh = true;
            return true;
        }
    }
    return false;
}

static enum cohort_code recognise_gelu(struct graph *g, struct node *n, bool *done,
                                       struct cohort_error *err) {
    int gate = -1, x = -1, other = -1;
    bool tanh = false;
    if (!find_gelu(g, n, &gate, &x, &tanh))
        return COHORT_OK;
    struct product p = product_of(g, n->out[0], x);
    if (p.failed || p.count != 2 || count_of(&p, x, &other) != 1 || other != gate ||
        p.coefficient != 0.5 || !same_known_shape(g, x, n->out[0]))
        return COHORT_OK;
    enum cohort_code code = node_become(g, n, "", "Gelu", 20, &x, 1, done, err);
    if (code == COHORT_OK && *done && tanh)
        code = node_set_string(n, "approximate", "tanh", err);
    return code;
}

/* ---- HardSwish ------------------------------------------------------------------------------- */

/* The bound of a Clip: an input (opset 11 and up) or an attribute. */
static bool clip_bound(const struct graph *g, const struct node *n, int i, const char *name,
                       double *value) {
    if (node_in(g, n, i) != NULL)
        return const_scalar(g, n, i, value);
    const struct attr *a = node_attr(n, name);
    if (a == NULL || a->kind != ATTR_FLOAT)
        return false;
    *value = (double)a->f;
    return true;
}

/* Is value `id` clip(x + 3, 0, 6)?  Then x, else -1. */
static int relu6_of_x_plus_3(const struct graph *g, int id) {
    const struct node *n = producer_named(g, id, "Clip");
    double low = 1, high = 0;
    if (n == NULL || !clip_bound(g, n, 1, "min", &low) || !clip_bound(g, n, 2, "max", &high) ||
        low != 0 || high != 6)
        return -1;
    return added_to(g, n->in[0], 3);
}

static enum cohort_code recognise_hard_swish(struct graph *g, struct node *n, bool *done,
                                             struct cohort_error *err) {
    struct product p = product_of(g, n->out[0], -1);
    for (int i = 0; i < p.count; i++) {
        double coefficient = 1.0 / 6.0;
        int gate = p.factors[i], other = -1, x = relu6_of_x_plus_3(g, gate);
        const struct node *h = producer_named(g, gate, "HardSigmoid");
        if (x < 0 && h != NULL && about((double)node_attr_float(h, "alpha", 0.2f), 1.0 / 6.0) &&
            node_attr_float(h, "beta", 0.5f) == 0.5f) {
            x = h->in[0];
            coefficient = 1;
        }
        if (x < 0)
            continue;
        struct product whole = product_of(g, n->out[0], x);
        if (!whole.failed && whole.count == 2 && count_of(&whole, x, &other) == 1 &&
            other == gate && about(whole.coefficient, coefficient) &&
            same_known_shape(g, x, n->out[0]))
            return node_become(g, n, "", "HardSwish", 14, &x, 1, done, err);
    }
    return COHORT_OK;
}

/* x * Sigmoid(x): ONNX has a name for it since opset 24. */
static enum cohort_code recognise_silu(struct graph *g, struct node *n, bool *done,
                                       struct cohort_error *err) {
    for (int i = 0; node_is(n, "Mul") && n->in_count == 2 && i < 2; i++) {
        const struct node *gate = producer_named(g, n->in[1 - i], "Sigmoid");
        int x = n->in[i];
        if (gate != NULL && gate->in[0] == x)
            return node_become(g, n, "", "Swish", 24, &x, 1, done, err);
    }
    return COHORT_OK;
}

enum cohort_code recognise_product(struct graph *g, struct node *n, bool *done,
                                   struct cohort_error *err) {
    if ((!node_is(n, "Mul") && !node_is(n, "Div")) || !value_is_f32(g, n->out[0]))
        return COHORT_OK;
    enum cohort_code code = recognise_gelu(g, n, done, err);
    if (code == COHORT_OK && !*done)
        code = recognise_hard_swish(g, n, done, err);
    if (code == COHORT_OK && !*done)
        code = recognise_silu(g, n, done, err);
    return code;
}
