/* One operator at a time, for unit tests: put in attributes and inputs, run, look at the outputs.
 *
 *     struct optest t;
 *     optest_begin(&t, "Softmax", 13);
 *     optest_int(&t, "axis", -1);
 *     optest_input(&t, DT_F32, DIMS(2, 3), VALUES(1, 2, 3, 4, 5, 6));
 *     optest_run(&t, 1);
 *     optest_expect(&t, 0, DT_F32, DIMS(2, 3), VALUES(…), 1e-6);
 *     optest_end(&t);
 *
 * Everything asserts with cmocka; names and attribute arrays are borrowed until optest_end(). */
#ifndef COHORT_TESTS_OPTEST_H
#define COHORT_TESTS_OPTEST_H

#include "graph/op.h"

#define OPTEST_MAX 12

struct optest {
    struct node node;
    struct attr attrs[OPTEST_MAX];
    struct tensor in[OPTEST_MAX], out[OPTEST_MAX];
    bool left_out[OPTEST_MAX]; /* inputs */
    bool unknown[OPTEST_MAX];  /* inputs whose contents infer() must not see */
    int in_ids[OPTEST_MAX], out_ids[OPTEST_MAX];
    uint64_t seed;
    struct cohort_error err;
};

/* Lists as arguments: a count and an array. SCALAR: rank 0; EMPTY: no values. */
#define DIMS(...)                                                                                  \
    shape_of((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
#define SCALAR      ((struct shape){.rank = 0})
#define VALUES(...) ((double[]){__VA_ARGS__})
#define INTS(...)                                                                                  \
    ((int64_t[]){__VA_ARGS__}), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

void optest_begin(struct optest *t, const char *op, int opset);
void optest_end(struct optest *t);
void optest_int(struct optest *t, const char *name, int64_t i);
void optest_float(struct optest *t, const char *name, float f);
void optest_string(struct optest *t, const char *name, const char *s);
void optest_ints(struct optest *t, const char *name, const int64_t *ints, int count);
void optest_strings(struct optest *t, const char *name, const char *const *strings, int count);
void optest_attr_tensor(struct optest *t, const char *name, enum dtype type, struct shape shape,
                        const double *values);
/* The next input; values are converted (NULL: random ones, see optest_random). */
void optest_input(struct optest *t, enum dtype type, struct shape shape, const double *values);
/* A one-dimensional int64 input. */
void optest_list(struct optest *t, const int64_t *ints, int count);
void optest_leave_out(struct optest *t);
/* Uniform in [-2, 2) for floats, small integers else; a new seed for every case makes new ones. */
double optest_random(struct optest *t);

/* infer() only: returns its code; t->err has the message, t->out the shapes. */
enum cohort_code optest_infer(struct optest *t, int outputs);
/* infer() must fail with this code and a message that contains `words`. */
void optest_fails(struct optest *t, enum cohort_code code, const char *words);
/* infer() and eval(), both of which must succeed. */
void optest_run(struct optest *t, int outputs);
/* infer() must succeed and eval() fail. */
void optest_eval_fails(struct optest *t, enum cohort_code code, const char *words);

/* Output i has this type, shape and contents; |a - b| <= tolerance * max(1, |b|); NaN equals NaN.
 */
void optest_expect(struct optest *t, int i, enum dtype type, struct shape shape,
                   const double *values, double tolerance);
void optest_expect_shape(struct optest *t, int i, enum dtype type, struct shape shape);

#endif
