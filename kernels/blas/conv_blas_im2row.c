/* Convolution through OpenBLAS: pixels' inputs are copied to rows of a matrix, then sgemm.
 *
 * For comparison and for machines where OpenBLAS beats the portable kernels.  Not row-exact: how
 * OpenBLAS adds depends on the sizes it is given.  Some pixels at a time, so that the matrix stays
 * in the second-level cache.  Order of k: input channel segment, kh, kw, channel (as in window.c).
 * Packed weights: [group][k][channels of the group]. */
#include "kernels/axis.h"
#include "kernels/kernel.h"

#include <cblas.h>
#include <string.h>

#define MATRIX_BYTES (512 * 1024)

static int least(int a, int b) {
    return a < b ? a : b;
}

static size_t depth(const struct conv_shape *s) {
    return (size_t)(s->in_c / s->groups) * (size_t)s->kernel_h * (size_t)s->kernel_w;
}

/* Pixels at a time: between 16 and 256. */
static int pixels_at_once(const struct conv_shape *s) {
    size_t n = MATRIX_BYTES / (depth(s) * sizeof(float));
    return n < 16 ? 16 : n > 256 ? 256 : (int)n;
}

static double rate(const struct conv_shape *s) {
    return s->groups == 1 ? 8.0 : 1.0;
}

static size_t weights_bytes(const struct conv_shape *s) {
    return (size_t)s->out_c * depth(s) * sizeof(float);
}

static size_t workspace_bytes(const struct conv_shape *s) {
    size_t per_pixel = depth(s) + (size_t)(s->out_c / s->groups);
    return (size_t)pixels_at_once(s) * per_pixel * sizeof(float);
}

static void pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed) {
    int per_group = s->out_c / s->groups, channels = s->in_c / s->groups;
    int taps = s->kernel_h * s->kernel_w;
    size_t k_all = depth(s);
    for (int oc = oc0; oc < oc0 + count; oc++, w += k_all) {
        int group = oc / per_group, c0 = group * channels;
        float *to = (float *)packed + (size_t)group * k_all * (size_t)per_group + oc % per_group;
        for (int c = 0, lanes; c < channels; c += lanes) {
            lanes = least(BLOCK - (c0 + c) % BLOCK, channels - c);
            for (int t = 0; t < taps; t++) {
                for (int l = 0; l < lanes; l++) {
                    *to = w[(size_t)(c + l) * (size_t)taps + (size_t)t];
                    to += per_group;
                }
            }
        }
    }
}

/* The inputs of output pixel (y, x) for one group, as one row of the matrix. */
static void gather_pixel(const struct conv_args *a, int group, int64_t y, int x, float *to) {
    const struct conv_shape *s = a->shape;
    int channels = s->in_c / s->groups, c0 = group * channels;
    int64_t iy0 = y * s->stride_h - s->pad_top;
    int ix0 = x * s->stride_w - s->pad_left;
    for (int c = 0, lanes; c < channels; c += lanes) {
        lanes = least(BLOCK - (c0 + c) % BLOCK, channels - c);
        for (int ky = 0; ky < s->kernel_h; ky++) {
            int64_t iy = iy0 + (int64_t)ky * s->dilation_h;
            for (int kx = 0; kx < s->kernel_w; kx++, to += lanes) {
                int ix = ix0 + kx * s->dilation_w;
                if (iy < 0 || iy >= s->in_h || ix < 0 || ix >= s->in_w)
                    memset(to, 0, sizeof(float) * (size_t)lanes);
                else
                    memcpy(to, view_at(&a->in, iy, c0 + c, ix), sizeof(float) * (size_t)lanes);
            }
        }
    }
}

/* Channels [oc0, oc1), all of one group, of `count` pixels from pixel number `first` of the rows.
 */
static void run_pixels(const struct conv_args *a, int group, int oc0, int oc1, int64_t first,
                       int count) {
    const struct conv_shape *s = a->shape;
    int per_group = s->out_c / s->groups, k = (int)depth(s), n = oc1 - oc0;
    float *matrix = a->workspace, *sums = matrix + (size_t)pixels_at_once(s) * (size_t)k;
    const float *w = (const float *)a->weights + (size_t)group * (size_t)k * (size_t)per_group +
                     oc0 - group * per_group;
    for (int p = 0; p < count; p++) {
        int64_t y = a->y0 + (first + p) / s->out_w;
        gather_pixel(a, group, y, (int)((first + p) % s->out_w), matrix + (size_t)p * (size_t)k);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, count, n, k, 1.0f, matrix, k, w,
                per_group, 0.0f, sums, n);
    for (int p = 0; p < count; p++) {
        int64_t y = a->y0 + (first + p) / s->out_w;
        int x = (int)((first + p) % s->out_w);
        for (int j = 0; j < n; j++)
            *view_at(&a->out, y, oc0 + j, x) =
                sums[(size_t)p * (size_t)n + (size_t)j] + a->bias[oc0 + j];
    }
}

static void run(const struct conv_args *a) {
    const struct conv_shape *s = a->shape;
    int per_group = s->out_c / s->groups, at_once = pixels_at_once(s);
    int64_t pixels = (a->y1 - a->y0) * s->out_w;
    int end = least(a->block1 * BLOCK, s->out_c);
    for (int64_t p = 0; p < pixels; p += at_once) {
        int count = pixels - p < at_once ? (int)(pixels - p) : at_once;
        for (int oc = a->block0 * BLOCK, next; oc < end; oc = next) {
            int group = oc / per_group;
            next = least((group + 1) * per_group, end);
            run_pixels(a, group, oc, next, p, count);
        }
    }
    for (int block = a->block0; block < a->block1; block++)
        epilogue_apply(&a->epilogue, &a->out, a->y0, a->y1, block);
}

const struct conv_kernel conv_blas_im2row = {.name = "conv_blas_im2row",
                                             .isa = ISA_BLAS,
                                             .row_exact = false,
                                             .granule_rows = 1,
                                             .rate = rate,
                                             .weights_bytes = weights_bytes,
                                             .pack = pack,
                                             .workspace_bytes = workspace_bytes,
                                             .run = run};
