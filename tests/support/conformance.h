/* ONNX's own operator tests: finding them, loading each, comparing the outputs, adding up.
 *
 * They are looked for in $COHORT_ONNX_TESTS (folders separated by ':'), else in Debian's
 * libonnx-testdata and in conformance/node under $COHORT_SHARED or ../shared.  The test program
 * says how a network is run; each case becomes one TAP line.  A case is left out, with its reason,
 * only when the importer or an operator says "unsupported". */
#ifndef COHORT_TESTS_CONFORMANCE_H
#define COHORT_TESTS_CONFORMANCE_H

#include "graph/graph.h"

struct conformance_case {
    struct graph *graph;    /* as imported; the runner may change it */
    struct tensor *inputs;  /* one per graph input, in order */
    struct tensor *outputs; /* one per graph output, all zero: for the runner to make */
};

typedef enum cohort_code (*conformance_run_fn)(struct conformance_case *c, void *context,
                                               struct cohort_error *err);

/* Runs every case, prints TAP, checks for memory left behind; returns main()'s status. */
int conformance_main(conformance_run_fn run, void *context);

#endif
