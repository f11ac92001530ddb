/* Signatures as texts, and what may compute them. */
#include "exec/signature.h"

#include "exec/lower.h"

#include <stdio.h>
#include <string.h>

static const char *const family_names[SIGNATURE_FAMILIES] = {"conv", "deconv", "gemm"};

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

const char *signature_text(const struct signature *s, char text[SIGNATURE_TEXT_BYTES]) {
    const struct conv_shape *c = &s->conv;
    if (s->family == SIGNATURE_GEMM)
        snprintf(text, SIGNATURE_TEXT_BYTES, "gemm %lldx%d to %d", (long long)s->gemm.rows,
                 s->gemm.k, s->gemm.n);
    else
        snprintf(text, SIGNATURE_TEXT_BYTES,
                 "%s %dx%dx%d to %dx%dx%d kernel %dx%d stride %dx%d pad %d,%d dilation %dx%d "
                 "groups %d maps %c%c",
                 family_names[s->family], c->in_c, c->in_h, c->in_w, c->out_c, c->out_h, c->out_w,
                 c->kernel_h, c->kernel_w, c->stride_h, c->stride_w, c->pad_top, c->pad_left,
                 c->dilation_h, c->dilation_w, c->groups, c->in_blocked ? 'b' : 'n',
                 c->out_blocked ? 'b' : 'n');
    return text;
}

/* Whole numbers between the words of `pattern`, in which '#' stands for one (a minus sign is
 * allowed) and '@' for b or n. */
static bool scan(const char *text, const char *pattern, long long *numbers, int max) {
    int n = 0;
    for (; *pattern != '\0'; pattern++) {
        if (*pattern == '@' && (*text == 'b' || *text == 'n') && n < max) {
            numbers[n++] = *text++ == 'b';
        } else if (*pattern == '#' && n < max) {
            bool minus = *text == '-';
            long long v = 0;
            int digits = 0;
            for (text += minus; *text >= '0' && *text <= '9' && digits < 18; digits++)
                v = v * 10 + (*text++ - '0');
            if (digits == 0)
                return false;
            numbers[n++] = minus ? -v : v;
        } else if (*pattern == *text) {
            text++;
        } else {
            return false;
        }
    }
    return *text == '\0';
}

static bool in_range(const long long *numbers, int count, long long max) {
    for (int i = 0; i < count; i++)
        if (numbers[i] < -max || numbers[i] > max)
            return false;
    return true;
}

static bool parse_conv(struct signature *s, const char *text) {
    long long v[18];
    if (!scan(text, "#x#x# to #x#x# kernel #x# stride #x# pad #,# dilation #x# groups # maps @@", v,
              18) ||
        !in_range(v, 17, INT32_MAX))
        return false;
    s->conv = (struct conv_shape){
        .in_c = (int)v[0],
        .in_h = (int)v[1],
        .in_w = (int)v[2],
        .out_c = (int)v[3],
        .out_h = (int)v[4],
        .out_w = (int)v[5],
        .kernel_h = (int)v[6],
        .kernel_w = (int)v[7],
        .stride_h = (int)v[8],
        .stride_w = (int)v[9],
        .pad_top = (int)v[10],
        .pad_left = (int)v[11],
        .dilation_h = (int)v[12],
        .dilation_w = (int)v[13],
        .groups = (int)v[14],
        .in_blocked = v[15] != 0,
        .out_blocked = v[16] != 0,
    };
    return true;
}

static bool parse_gemm(struct signature *s, const char *text) {
    long long v[3];
    if (!scan(text, "#x# to #", v, 3) || !in_range(v + 1, 2, INT32_MAX))
        return false;
    s->gemm = (struct gemm_shape){.rows = v[0], .k = (int)v[1], .n = (int)v[2]};
    return true;
}

bool signature_parse(struct signature *s, const char *text) {
    const char *blank = strchr(text, ' ');
    char again[SIGNATURE_TEXT_BYTES];
    for (int f = 0; blank != NULL && f < SIGNATURE_FAMILIES; f++) {
        size_t length = strlen(family_names[f]);
        if ((size_t)(blank - text) != length || memcmp(text, family_names[f], length) != 0)
            continue;
        struct signature read = {.family = (enum signature_family)f};
        if (!(f == SIGNATURE_GEMM ? parse_gemm : parse_conv)(&read, blank + 1) ||
            strcmp(signature_text(&read, again), text) != 0)
            return false;
        *s = read;
        return true;
    }
    return false;
}

double signature_macs(const struct signature *s) {
    const struct conv_shape *c = &s->conv;
    if (s->family == SIGNATURE_GEMM)
        return (double)s->gemm.rows * s->gemm.k * s->gemm.n;
    double pixels =
        s->family == SIGNATURE_DECONV ? (double)c->in_h * c->in_w : (double)c->out_h * c->out_w;
    return pixels * c->out_c * c->in_c / c->groups * c->kernel_h * c->kernel_w;
}

/* ---- kernels --------------------------------------------------------------------------------- */

static bool same(const struct signature *a, const struct signature *b) {
    char x[SIGNATURE_TEXT_BYTES], y[SIGNATURE_TEXT_BYTES];
    return a->family == b->family && strcmp(signature_text(a, x), signature_text(b, y)) == 0;
}

const char *kernel_chosen(const struct kernel_choices *choices, const struct signature *s) {
    for (int i = 0; choices != NULL && i < choices->count; i++)
        if (same(&choices->items[i].signature, s))
            return choices->items[i].kernel;
    return NULL;
}

int signature_candidates(const struct signature *s, unsigned isa_mask, const char **names,
                         int max) {
    unsigned usable = isa_mask & kernel_isa_available() & ~(1u << ISA_BLAS);
    int count, n = 0;
    if (s->family == SIGNATURE_GEMM) {
        const struct gemm_kernel *const *list = kernels_gemm(&count);
        for (int i = 0; i < count && n < max; i++)
            if ((usable & 1u << list[i]->isa) && list[i]->row_exact && list[i]->rate(&s->gemm) > 0)
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
    if (s->family == SIGNATURE_GEMM) {
        const struct gemm_kernel *k = kernel_choose_gemm(&s->gemm, isa_mask, NULL);
        return k != NULL ? k->name : NULL;
    }
    const struct conv_kernel *k =
        (s->family == SIGNATURE_CONV ? kernel_choose_conv : kernel_choose_deconv)(&s->conv,
                                                                                  isa_mask, NULL);
    return k != NULL ? k->name : NULL;
}
