/* The micro-kernel contract: a few output pixels of one channel block, all taps of some channels.
 *
 * Convolution, transposed convolution and matrix product differ only in how a pixel's inputs are
 * found; kernels/window.c and kernels/panel.c reduce all three to calls of one
 * micro-kernel, which an instruction-set folder can supply without writing any of that again.
 *
 * For each pixel p in [0, pixels) and each lane j in [lane0, lane1):
 *     sum = 0
 *     for s in [0, segs), ky in [0, taps_y), kx in [0, taps_x), l in [0, lanes):      (this order)
 *         sum += in[p*in_pixel + s*in_seg + ky*in_y + kx*in_x + l]
 *              * w[s*w_seg + ky*w_y + kx*w_x + l*16 + j]
 *     out[p*out_pixel + j] = (init ? init[j] : out[p*out_pixel + j]) + sum
 * A sum of its own for each call is more exact than one that goes on from the bias or from the
 * channels before: it halved the rounding error of a whole network (YOLOX-nano).
 * The order of a pixel's additions is the same for every `pixels`, so it does not depend on where
 * tiles begin.  `w` is aligned to 64 bytes and always has 16 lanes; `in` and `out` are aligned to a
 * float.  Lanes of `out` outside [lane0, lane1) are neither read nor written. */
#ifndef COHORT_KERNELS_MICRO_H
#define COHORT_KERNELS_MICRO_H

#include "kernels/kernel.h"

struct micro_args {
    const float *in;
    ptrdiff_t in_pixel, in_seg, in_y, in_x;
    const float *w;
    ptrdiff_t w_seg, w_y, w_x;
    int segs, taps_y, taps_x, lanes;
    float *out;
    ptrdiff_t out_pixel;
    const float *init; /* [16] of which [lane0, lane1) are read, or NULL: go on from out */
    int lane0, lane1;
};

struct micro {
    int pixels; /* how many it works on at once: longer lines are better than shorter ones */
    void (*run)(const struct micro_args *a, int pixels); /* any number of pixels, at least 1 */
};

/* Before a loop over a tile's pixels: gcc has to unroll it before it decides what lives in
 * registers, or it stores every sum in every round.  clang does so unasked. */
#ifdef __clang__
#define MICRO_UNROLL
#else
#define MICRO_UNROLL _Pragma("GCC unroll 16")
#endif

/* Splits n pixels into tiles of at most `most`, the last two about equal: 7 = 3 + 2 + 2. */
static inline int micro_tile(int n, int most) {
    if (n <= most)
        return n;
    return n < 2 * most ? (n + 1) / 2 : most;
}

/* Multiply-adds of one pixel and lane between two visits of `out`: their weights (64 bytes each)
 * stay in a 32 KB first-level cache while a row's pixels pass by. */
#define MICRO_CHUNK 256
/* Input that should stay in the second-level cache while all channel blocks pass over it. */
#define MICRO_INPUT_BYTES (256 * 1024)

extern const struct micro micro_generic;
/* In their folders, where the target has them. */
extern const struct micro micro_avx2, micro_avx512, micro_neon32, micro_neon64;

/* Convolution (transposed: its adjoint) by a micro-kernel: conv_kernel.run with a->weights packed
 * by window_pack(). */
void window_run(const struct conv_args *a, bool transposed, const struct micro *m);
size_t window_weights_bytes(const struct conv_shape *s);
void window_pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed);
void window_pack_transposed(const struct conv_shape *s, const float *w, int oc0, int count,
                            void *packed);

/* conv_kernel.rate of a window kernel that does `dense` multiply-adds a cycle: a block shared by
 * several groups computes all 16 lanes for each of them. */
static inline double window_rate(const struct conv_shape *s, double dense) {
    int per_group = s->out_c / s->groups;
    return per_group >= BLOCK ? dense : dense * per_group / BLOCK;
}

/* Matrix product by a micro-kernel: gemm_kernel.run with weights packed by panel_pack(). */
void panel_run(const struct gemm_args *a, const struct micro *m);
size_t panel_weights_bytes(const struct gemm_shape *s);
void panel_pack(const struct gemm_shape *s, const float *w, int n0, int count, void *packed);
void panel_pack_matrix(const struct gemm_shape *s, const float *w, ptrdiff_t pitch, int n0,
                       int count, void *packed);

#endif
