/* Signatures: what a convolution or product is, as far as the choice of its kernel goes.
 *
 * A signature is global: it does not know which rows a board computes.  A kernel chosen by it alone
 * therefore gives every division into rows the same bits.  The estimate (rate() of the kernels) and
 * tuning (src/runtime/tune.c) both choose by it; its text is the key in tuning files. */
#ifndef COHORT_EXEC_SIGNATURE_H
#define COHORT_EXEC_SIGNATURE_H

#include "graph/graph.h"
#include "kernels/kernel.h"

enum signature_family { SIGNATURE_CONV, SIGNATURE_DECONV, SIGNATURE_GEMM, SIGNATURE_FAMILIES };

struct signature {
    enum signature_family family;
    struct conv_shape conv; /* CONV, DECONV */
    struct gemm_shape gemm; /* GEMM */
    bool fp16;              /* kernels with float16 arithmetic may be chosen too */
};

/* Local.  The signature of a node that a kernel of these families computes; false for any other.
 * Shapes and forms must be final.  gemm.half and fp16 are left false: they are options of the
 * program. */
bool signature_of(const struct graph *g, const struct node *n, struct signature *s);
/* Sets these: weights of products kept as float16, which are computed with in float32; arithmetic
 * in float16, where there are kernels with it. */
void signature_set_options(struct signature *s, bool half_weights, bool fp16);

/* "conv 64x56x56 to 128x28x28 kernel 3x3 stride 2x2 pad 1,1 dilation 1x1 groups 1 maps bb" (b: a
 * blocked map, n: a narrow one), "gemm 1x4096 to 1000", and " f16" behind that where weights are
 * kept as float16, " fp16" behind either where arithmetic may be float16.  Equal texts, equal
 * signatures. */
#define SIGNATURE_TEXT_BYTES 192
const char *signature_text(const struct signature *s, char text[SIGNATURE_TEXT_BYTES]);
/* Reads such a text; false when it is not exactly what signature_text() would have written. */
bool signature_parse(struct signature *s, const char *text);

bool signature_equal(const struct signature *a, const struct signature *b);

/* Multiply-adds of the whole operator (of one image, for a convolution). */
double signature_macs(const struct signature *s);

/* ---- kernels that were chosen by measuring --------------------------------------------------- */

struct kernel_choice {
    struct signature signature;
    const char *kernel;
};
struct kernel_choices {
    const struct kernel_choice *items;
    int count;
};
/* The kernel chosen for a signature; NULL: none (the estimate decides). choices may be NULL. */
const char *kernel_chosen(const struct kernel_choices *choices, const struct signature *s);

/* The kernels that a choice may name: usable here, giving the same bits for any rows, and able to
 * do this shape; those that the registry's own choice might take.  Fills names[] (at most max) in
 * the registry's order. */
int signature_candidates(const struct signature *s, unsigned isa_mask, const char **names, int max);
/* The same with the best by estimate first (which is the one that is taken untuned), and their
 * estimates. */
int signature_ranked(const struct signature *s, unsigned isa_mask, const char **names,
                     double *rates, int max);
/* What a kernel's packed weights for it take; 0 when it is no kernel of the family. */
size_t signature_weights_bytes(const struct signature *s, const char *kernel);

#endif
