/* What signatures have to do with this program: the nodes that have one, and the kernels that can
 * compute them here. */
#include "exec/lower.h"
#include "exec/tuning.h"

#include <stdio.h>
#include <string.h>

static bool is_row_of(const struct lowering *table, const struct lowering *row) {
    while (table->op != NULL && table != row)
        table++;
    return table->op != NULL;
}

bool signature_of(const struct graph *g, const struct node *n, struct signature *s) {
    const struct lowering *how = lowering_find(g, n);
    if (is_row_of(lowerings_gemm, how))
        return gemm_signature(g, n, s);
    if (!is_row_of(lowerings_conv, how))
        return false;
    conv_signature(g, n, s);
    return true;
}

void tuning_key_here(struct tuning_key *key, const char *kernel) {
    unsigned usable = kernel_isa_available() & kernel_isas_named(kernel) & ~(1u << ISA_BLAS);
    size_t at = 0;
    key->isa[0] = '\0';
    for (int i = 0; i < ISA_COUNT; i++)
        if (usable & 1u << i)
            at += (size_t)snprintf(key->isa + at, sizeof key->isa - at, "%s%s", at > 0 ? " " : "",
                                   kernel_isa_name((enum kernel_isa)i));
    snprintf(key->kernels, sizeof key->kernels, "%s", kernels_build());
}

/* What may be chosen of these instruction sets: float16 arithmetic only where it was asked for. */
static unsigned usable_for(const struct signature *s, unsigned isa_mask) {
    return isa_mask & kernel_isa_available() & (s->fp16 ? ~0u : ~ISAS_FP16);
}

/* The speed that the registry's kernel `i` of the family is expected to have; its name; 0: it is
 * not to be chosen. */
static double candidate(const struct signature *s, unsigned usable, int i, const char **name) {
    int count;
    if (s->family == SIGNATURE_GEMM) {
        const struct gemm_kernel *k = kernels_gemm(&count)[i];
        *name = k->name;
        return (usable & 1u << k->isa) && k->row_exact && k->half == s->gemm.half
                   ? k->rate(&s->gemm)
                   : 0;
    }
    const struct conv_kernel *k =
        (s->family == SIGNATURE_CONV ? kernels_conv(&count) : kernels_deconv(&count))[i];
    *name = k->name;
    return (usable & 1u << k->isa) && k->row_exact ? k->rate(&s->conv) : 0;
}

static int family_size(const struct signature *s) {
    int count;
    if (s->family == SIGNATURE_GEMM)
        kernels_gemm(&count);
    else
        (s->family == SIGNATURE_CONV ? kernels_conv : kernels_deconv)(&count);
    return count;
}

int signature_candidates(const struct signature *s, unsigned isa_mask, const char **names,
                         int max) {
    unsigned usable = usable_for(s, isa_mask) & ~(1u << ISA_BLAS);
    int n = 0;
    for (int i = 0; i < family_size(s) && n < max; i++)
        n += candidate(s, usable, i, &names[n]) > 0;
    return n;
}

int signature_ranked(const struct signature *s, unsigned isa_mask, const char **names,
                     double *rates, int max) {
    unsigned usable = usable_for(s, isa_mask) & ~(1u << ISA_BLAS);
    int n = 0;
    for (int i = 0; i < family_size(s) && n < max; i++) {
        const char *name;
        double rate = candidate(s, usable, i, &name);
        if (rate <= 0)
            continue;
        int at = n++;
        for (; at > 0 && rates[at - 1] < rate; at--) { /* equal ones stay as they are */
            names[at] = names[at - 1];
            rates[at] = rates[at - 1];
        }
        names[at] = name;
        rates[at] = rate;
    }
    return n;
}

size_t signature_weights_bytes(const struct signature *s, const char *kernel) {
    int count;
    for (int i = 0; i < family_size(s); i++) {
        if (s->family == SIGNATURE_GEMM) {
            const struct gemm_kernel *k = kernels_gemm(&count)[i];
            if (strcmp(k->name, kernel) == 0)
                return k->weights_bytes(&s->gemm);
            continue;
        }
        const struct conv_kernel *k =
            (s->family == SIGNATURE_CONV ? kernels_conv(&count) : kernels_deconv(&count))[i];
        if (strcmp(k->name, kernel) == 0)
            return k->weights_bytes(&s->conv);
    }
    return 0;
}
