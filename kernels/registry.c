/* The lists of kernels built into this binary, and the choice among them.
 *
 * kernels.def is the only place that names kernels; each family's list is made from it here.  A
 * choice depends on the global signature, the CPU and the options only, never on a tile: that is
 * what makes tiles come out with one board's bits. */
#include "kernels/kernel.h"
#include "kernels/plainops.h"

#include <string.h>

#define NOTHING(symbol)
#define CONV(symbol)   extern const struct conv_kernel symbol;
#define DECONV(symbol) extern const struct conv_kernel symbol;
#define GEMM(symbol)   extern const struct gemm_kernel symbol;
#define POOL(symbol)   extern const struct pool_kernel symbol;
#define PLAIN(symbol)  extern const struct plainops symbol;
#include "kernels/kernels.def"
#undef CONV
#undef DECONV
#undef GEMM
#undef POOL
#undef PLAIN

#define LIST(symbol) &symbol,
#define DECONV       NOTHING
#define GEMM         NOTHING
#define POOL         NOTHING
#define PLAIN        NOTHING
#define CONV         LIST
static const struct conv_kernel *const conv_list[] = {
#include "kernels/kernels.def"
};
#undef CONV
#undef DECONV
#define CONV   NOTHING
#define DECONV LIST
static const struct conv_kernel *const deconv_list[] = {
#include "kernels/kernels.def"
};
#undef DECONV
#undef GEMM
#define DECONV NOTHING
#define GEMM   LIST
static const struct gemm_kernel *const gemm_list[] = {
#include "kernels/kernels.def"
};
#undef GEMM
#undef POOL
#define GEMM NOTHING
#define POOL LIST
static const struct pool_kernel *const pool_list[] = {
#include "kernels/kernels.def"
};
#undef POOL
#undef PLAIN
#define POOL  NOTHING
#define PLAIN LIST
static const struct plainops *const plain_list[] = {
#include "kernels/kernels.def"
};
#undef CONV
#undef DECONV
#undef GEMM
#undef POOL
#undef PLAIN

/* The name of every convolution kernel but Winograd's. */
#define NAME_DIRECT "direct"

#define LENGTH(list) ((int)(sizeof(list) / sizeof *(list)))

const struct conv_kernel *const *kernels_conv(int *count) {
    *count = LENGTH(conv_list);
    return conv_list;
}

const struct conv_kernel *const *kernels_deconv(int *count) {
    *count = LENGTH(deconv_list);
    return deconv_list;
}

const struct gemm_kernel *const *kernels_gemm(int *count) {
    *count = LENGTH(gemm_list);
    return gemm_list;
}

const struct pool_kernel *const *kernels_pool(int *count) {
    *count = LENGTH(pool_list);
    return pool_list;
}

const struct plainops *const *kernels_plain(int *count) {
    *count = LENGTH(plain_list);
    return plain_list;
}

/* Is this kernel a candidate under `allowed` and `only`? */
static bool wanted(const char *name, enum kernel_isa isa, unsigned usable, const char *only) {
    if (!(usable & 1u << isa))
        return false;
    return !only || strcmp(only, name) == 0 || strcmp(only, kernel_isa_name(isa)) == 0;
}

/* A choice among the kernels of a list. */
struct choice {
    const char *only;
    unsigned usable;
    int best; /* its place in the list, or -1 */
    double rate;
    enum kernel_isa isa;
};

static struct choice choice_begin(unsigned allowed, const char *only) {
    return (struct choice){.only = only, .usable = allowed & kernel_isa_available(), .best = -1};
}

/* Kernel i, of this speed, against the best so far.  OpenBLAS, whose bits change with the row
 * range, loses against every kernel of ours; among equals the first in the list wins. */
static void choice_offer(struct choice *c, int i, enum kernel_isa isa, double rate) {
    bool first = c->best < 0;
    bool better = (isa == ISA_BLAS) != (c->isa == ISA_BLAS) ? c->isa == ISA_BLAS : rate > c->rate;
    if (rate <= 0 || (!first && !better))
        return;
    c->best = i;
    c->rate = rate;
    c->isa = isa;
}

static const struct conv_kernel *choose_conv(const struct conv_kernel *const *list, int count,
                                             const struct conv_shape *s, unsigned allowed,
                                             const char *only) {
    bool no_winograd = only && strcmp(only, NAME_DIRECT) == 0;
    struct choice c = choice_begin(allowed, no_winograd ? NULL : only);
    for (int i = 0; i < count; i++)
        if (wanted(list[i]->name, list[i]->isa, c.usable, c.only) &&
            !(no_winograd && list[i]->winograd))
            choice_offer(&c, i, list[i]->isa, list[i]->rate(s));
    return c.best < 0 ? NULL : list[c.best];
}

const struct conv_kernel *kernel_choose_conv(const struct conv_shape *s, unsigned allowed,
                                             const char *only) {
    return choose_conv(conv_list, LENGTH(conv_list), s, allowed, only);
}

const struct conv_kernel *kernel_choose_deconv(const struct conv_shape *s, unsigned allowed,
                                               const char *only) {
    return choose_conv(deconv_list, LENGTH(deconv_list), s, allowed, only);
}

const struct gemm_kernel *kernel_choose_gemm(const struct gemm_shape *s, unsigned allowed,
                                             const char *only) {
    struct choice c = choice_begin(allowed, only);
    for (int i = 0; i < LENGTH(gemm_list); i++)
        if (gemm_list[i]->half == s->half &&
            wanted(gemm_list[i]->name, gemm_list[i]->isa, c.usable, only))
            choice_offer(&c, i, gemm_list[i]->isa, gemm_list[i]->rate(s));
    return c.best < 0 ? NULL : gemm_list[c.best];
}

const struct pool_kernel *kernel_choose_pool(const struct pool_args *a, unsigned allowed,
                                             const char *only) {
    struct choice c = choice_begin(allowed, only);
    for (int i = 0; i < LENGTH(pool_list); i++)
        if (wanted(pool_list[i]->name, pool_list[i]->isa, c.usable, only))
            choice_offer(&c, i, pool_list[i]->isa, pool_list[i]->rate(a));
    return c.best < 0 ? NULL : pool_list[c.best];
}

const struct plainops *kernel_choose_plain(unsigned allowed, const char *only) {
    unsigned usable = allowed & kernel_isa_available();
    const struct plainops *best = NULL;
    for (int i = 0; i < LENGTH(plain_list); i++)
        if (wanted(plain_list[i]->name, plain_list[i]->isa, usable, only))
            best = plain_list[i];
    if (!best && only) /* --kernel may name one of another family */
        return kernel_choose_plain(allowed, NULL);
    return best ? best : &plain_generic;
}

bool kernel_name_fp16(const char *name) {
    for (int i = 0; i < ISA_COUNT; i++)
        if ((ISAS_FP16 & 1u << i) && strcmp(kernel_isa_name((enum kernel_isa)i), name) == 0)
            return true;
    for (int i = 0; i < LENGTH(conv_list); i++)
        if (conv_list[i]->fp16 && strcmp(conv_list[i]->name, name) == 0)
            return true;
    for (int i = 0; i < LENGTH(gemm_list); i++)
        if (gemm_list[i]->fp16 && strcmp(gemm_list[i]->name, name) == 0)
            return true;
    return false;
}

int kernel_names(const char **names, int max) {
    int n = 0;
    for (int i = 0; i < ISA_COUNT && n < max; i++)
        names[n++] = kernel_isa_name((enum kernel_isa)i);
    if (n < max)
        names[n++] = NAME_DIRECT;
    for (int i = 0; i < LENGTH(conv_list) && n < max; i++)
        names[n++] = conv_list[i]->name;
    for (int i = 0; i < LENGTH(deconv_list) && n < max; i++)
        names[n++] = deconv_list[i]->name;
    for (int i = 0; i < LENGTH(gemm_list) && n < max; i++)
        names[n++] = gemm_list[i]->name;
    for (int i = 0; i < LENGTH(pool_list) && n < max; i++)
        names[n++] = pool_list[i]->name;
    for (int i = 0; i < LENGTH(plain_list) && n < max; i++)
        names[n++] = plain_list[i]->name;
    return n;
}
