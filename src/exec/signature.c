/* Signatures as texts, and choices by them. */
#include "exec/signature.h"

#include <stdio.h>
#include <string.h>

#define FP16 " fp16" /* behind the text of a signature with float16 arithmetic */

static const char *const family_names[SIGNATURE_FAMILIES] = {"conv", "deconv", "gemm"};

const char *signature_text(const struct signature *s, char text[SIGNATURE_TEXT_BYTES]) {
    const struct conv_shape *c = &s->conv;
    const char *fp16 = s->fp16 ? FP16 : "";
    if (s->family == SIGNATURE_GEMM)
        snprintf(text, SIGNATURE_TEXT_BYTES, "gemm %lldx%d to %d%s%s", (long long)s->gemm.rows,
                 s->gemm.k, s->gemm.n, s->gemm.half ? " f16" : "", fp16);
    else
        snprintf(text, SIGNATURE_TEXT_BYTES,
                 "%s %dx%dx%d to %dx%dx%d kernel %dx%d stride %dx%d pad %d,%d dilation %dx%d "
                 "groups %d maps %c%c%s",
                 family_names[s->family], c->in_c, c->in_h, c->in_w, c->out_c, c->out_h, c->out_w,
                 c->kernel_h, c->kernel_w, c->stride_h, c->stride_w, c->pad_top, c->pad_left,
                 c->dilation_h, c->dilation_w, c->groups, c->in_blocked ? 'b' : 'n',
                 c->out_blocked ? 'b' : 'n', fp16);
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
    bool half = scan(text, "#x# to # f16", v, 3);
    if ((!half && !scan(text, "#x# to #", v, 3)) || !in_range(v + 1, 2, INT32_MAX))
        return false;
    s->gemm = (struct gemm_shape){.rows = v[0], .k = (int)v[1], .n = (int)v[2], .half = half};
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
        size_t rest = strlen(blank + 1), suffix = strlen(FP16);
        if (rest >= sizeof again)
            return false;
        read.fp16 = rest > suffix && strcmp(blank + 1 + rest - suffix, FP16) == 0;
        memcpy(again, blank + 1, rest + 1);
        if (read.fp16)
            again[rest - suffix] = '\0';
        if (!(f == SIGNATURE_GEMM ? parse_gemm : parse_conv)(&read, again) ||
            strcmp(signature_text(&read, again), text) != 0)
            return false;
        *s = read;
        return true;
    }
    return false;
}

void signature_set_options(struct signature *s, bool half_weights, bool fp16) {
    s->gemm.half = s->family == SIGNATURE_GEMM && half_weights;
    s->fp16 = fp16 && s->family != SIGNATURE_DECONV && !s->gemm.half;
}

bool signature_equal(const struct signature *a, const struct signature *b) {
    const struct conv_shape *x = &a->conv, *y = &b->conv;
    if (a->family != b->family || a->fp16 != b->fp16)
        return false;
    if (a->family == SIGNATURE_GEMM)
        return a->gemm.rows == b->gemm.rows && a->gemm.k == b->gemm.k && a->gemm.n == b->gemm.n &&
               a->gemm.half == b->gemm.half;
    return x->in_c == y->in_c && x->in_h == y->in_h && x->in_w == y->in_w && x->out_c == y->out_c &&
           x->out_h == y->out_h && x->out_w == y->out_w && x->groups == y->groups &&
           x->kernel_h == y->kernel_h && x->kernel_w == y->kernel_w && x->stride_h == y->stride_h &&
           x->stride_w == y->stride_w && x->pad_top == y->pad_top && x->pad_left == y->pad_left &&
           x->dilation_h == y->dilation_h && x->dilation_w == y->dilation_w &&
           x->in_blocked == y->in_blocked && x->out_blocked == y->out_blocked;
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

const char *kernel_chosen(const struct kernel_choices *choices, const struct signature *s) {
    for (int i = 0; choices != NULL && i < choices->count; i++)
        if (signature_equal(&choices->items[i].signature, s))
            return choices->items[i].kernel;
    return NULL;
}
