/* What the passes share: asking what a node is, reading small constants, rewriting a node in place.
 *
 * A pass finds the last node of a pattern and turns that one into something else; nodes that
 * nothing reads any more go in pass_remove_dead().  So a pattern whose inner values are also used
 * elsewhere stays right.  Only files src/graph/pass_*.c include this. */
#ifndef COHORT_GRAPH_PASS_COMMON_H
#define COHORT_GRAPH_PASS_COMMON_H

#include "graph/op.h"
#include "graph/pass.h"

/* Is it ONNX's operator of that name (default domain)?  False for a node that was taken out. */
bool node_is(const struct node *n, const char *name);
/* The node that makes value `id`, if it is ONNX's operator `name` (NULL: any) and this its first
 * output; else NULL. */
struct node *producer_named(const struct graph *g, int id, const char *name);
/* The number of the only node input that reads value `id`, or -1: read several times, never, or by
 * a graph output. */
int only_user(const struct graph *g, int id);
bool value_is_f32(const struct graph *g, int id);
/* Both shapes known and equal. */
bool same_known_shape(const struct graph *g, int a, int b);

/* The constant of node input i when it has one element (any number type). */
bool const_scalar(const struct graph *g, const struct node *n, int i, double *value);
/* For a commutative node of two inputs: which one is a one-element constant; -1: none. */
int const_operand(const struct graph *g, const struct node *n, double *value);
/* Integers from attribute `name`, or else from the constant of node input i (-1: never): at most
 * RANK_MAX * 2 of them.  False: absent, not constant, or too many. */
#define INTS_MAX (2 * RANK_MAX)
bool const_ints(const struct graph *g, const struct node *n, const char *name, int i,
                int64_t values[INTS_MAX], int *count);
/* |a - b| within a few roundings of a float. */
bool about(double a, double b);

/* Turns node n into another operator of the default domain (at opset `opset`) with these inputs;
 * name and outputs stay, attributes go.  *done is false, and nothing happens, when the table has no
 * such operator.  `domain` is "" or "cohort". */
enum cohort_code node_become(struct graph *g, struct node *n, const char *domain, const char *name,
                             int opset, const int *in, int in_count, bool *done,
                             struct cohort_error *err);
/* Sets a float attribute, or a string one. */
enum cohort_code node_set_float(struct node *n, const char *name, float f,
                                struct cohort_error *err);
enum cohort_code node_set_string(struct node *n, const char *name, const char *s,
                                 struct cohort_error *err);
/* Grows the list of inputs to `count`, new ones left out (-1). */
enum cohort_code node_set_in_count(struct node *n, int count, struct cohort_error *err);
/* A new float32 constant of that shape, zeroed; its name is `base` and a suffix. */
enum cohort_code new_constant_f32(struct graph *g, const char *base, const char *suffix,
                                  const struct shape *shape, int *id, struct cohort_error *err);
enum cohort_code new_constant_i64(struct graph *g, const char *base, const char *suffix,
                                  const int64_t *values, int count, int *id,
                                  struct cohort_error *err);
/* "BASE" and a suffix as a name that no value has (mem_free); NULL when memory is short. */
char *fresh_name(const struct graph *g, const char *base, const char *suffix);

/* Makes every reader of value `from` read `to`, so that from's producer is no longer needed.  When
 * `from` is a graph output its name must live on: then to's producer makes `from` instead, and
 * readers of `to` read `from`; false, and nothing happens, when that cannot be done. */
bool forward_value(struct graph *g, int from, int to);

/* Types and shapes of one node's outputs from those of its inputs; folds it when `fold`. */
enum cohort_code infer_node(struct graph *g, int index, bool fold, struct cohort_error *err);

/* The node as its operator sees it: without the residual that an epilogue appended. Shares all
 * memory with n. */
struct node node_without_residual(const struct node *n);
/* op->map_ok(), for the node without its residual. */
bool node_map_ok(const struct graph *g, const struct node *n);

#endif
