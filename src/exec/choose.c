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

void tuning_key_here(struct tuning_key *key) {
    unsigned usable = kernel_isa_available() & ~(1u << ISA_BLAS);
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

int signature_candidates(const struct signature *s, unsigned isa_mask, const char **names,
                         int max) {
    unsigned usable = usable_for(s, isa_mask) & ~(1u << ISA_BLAS);
    int count, n = 0;
    if (s->family == SIGNATURE_GEMM) {
        const struct gemm_kernel *const *list = kernels_gemm(&count);
        for (int i = 0; i < count && n < max; i++)
            if ((usable & 1u << list[i]->isa) && list[i]->row_exact &&
                list[i]->half == s->gemm.half && list[i]->rate(&s->gemm) > 0)
                names[n++] = list[i]->name;
        return n;
    }
    const struct conv_kernel *const *list =
        s->family == SIGNATURE_CONV ? kernels_conv(&count) : kernels_deconv(&count);
    for (int i = 0; i < count && n < max; i++)
        if ((usable & 1u << list[i]->isa) && list[i]->row_exact && list[i]->rate(&s->conv) > 0)
            names[n++] = list[i]->name;
    return n;
}

const char *signature_estimate(const struct signature *s, unsigned isa_mask) {
    isa_mask = usable_for(s, isa_mask);
    if (s->family == SIGNATURE_GEMM) {
        const struct gemm_kernel *k = kernel_choose_gemm(&s->gemm, isa_mask, NULL);
        return k != NULL ? k->name : NULL;
    }
    const struct conv_kernel *k =
        (s->family == SIGNATURE_CONV ? kernel_choose_conv : kernel_choose_deconv)(&s->conv,
                                                                                  isa_mask, NULL);
    return k != NULL ? k->name : NULL;
}
