/* Arithmetic in float16 (IEEE binary16): what an instruction set supplies, and what it gets.
 *
 * Maps stay float32; rows of the input are rounded to float16 on their way into the thread's
 * workspace, and weights when they are packed.  A sum is kept in float16 over at most FP16_PRODUCTS
 * products (a *piece*) and then joins the others in float32, so the rounding error does not grow
 * with the depth of a layer: each addition in a piece rounds by at most 2^-11 of what is there.
 *
 * Nothing overflows: an output channel's weights are multiplied by the power of two at which the
 * magnitudes of a piece add up to between 1/4 and 1/2, so that a sum stays below the largest input,
 * and the float32 sum is multiplied by the inverse.  That costs no precision, and weights too small
 * (or large) for float16 are none any more.  Inputs beyond +-65504 become that, and are counted.
 *
 * For each pixel p in [0, pixels) and each lane j in [0, lanes):
 *     total = 0, sum = 0
 *     for ky in [0, taps_y), kx in [0, taps_x), each piece [k0, k1) of [0, run), in this order:
 *         for k in [k0, k1):
 *             sum += in[p*in_pixel + ky*in_y + kx*in_x + k]              (fused, in float16)
 *                  * w[((ky*taps_x + kx)*run + k)*16 + j]
 *         after `together` pieces, and where a line of taps ends (if taps_x is 1: all taps):
 *             total += sum, sum = 0                                      (in float32)
 *     out[p*out_pixel + j] = finish((init ? init[j] : out[...]) + scale[j]*total, residual[...])
 * Pieces have `piece` products, the last one what is left; `together` is 1 unless piece == run.
 * The order of a pixel's additions is the same for every `pixels`. */
#ifndef COHORT_KERNELS_FP16_H
#define COHORT_KERNELS_FP16_H

#include "kernels/kernel.h"

#define FP16_MOST  65504.0f /* the largest finite float16 */
#define FP16_LANES 8        /* pieces begin at multiples of it */
#ifndef FP16_PRODUCTS
#define FP16_PRODUCTS 64 /* that one float16 sum takes */
#endif
/* Products of a pixel and lane between two visits of `out`, whose weights (32 bytes each) should
 * stay in the first-level cache while the pixels pass by. */
#define FP16_CHUNK 512

struct fp16_args {
    const uint16_t *in; /* of the first pixel; 16 bytes beyond a run may be read */
    ptrdiff_t in_pixel, in_y, in_x;
    const uint16_t *w; /* aligned to 16 bytes; 32 bytes beyond may be read */
    int taps_y, taps_x, run, piece, together;
    const float *scale; /* [16], powers of two */
    float *out;
    ptrdiff_t out_pixel;
    const float *init; /* [16], or NULL: go on from out */
    int lanes;         /* of the 16 that there are in out and residual */
    /* finish: v + r, act(v), + r if residual_last; only acts that micro_finishes() */
    enum kernel_act act;
    float act_a, act_b;
    bool residual_last;
    const float *residual; /* or NULL */
    ptrdiff_t residual_pixel;
};

struct fp16_micro {
    int pixels;                                         /* how many it works on at once */
    void (*run)(const struct fp16_args *a, int pixels); /* any number of pixels, at least 1 */
    /* Rounds `lanes` floats of each of some pixels; steps in elements.  Returns the largest
     * magnitude's bits: from 0x7c00 on there is one that is infinite or no number. */
    uint16_t (*narrow)(const float *in, ptrdiff_t in_step, uint16_t *out, ptrdiff_t out_step,
                       int lanes, int pixels);
};

/* ---- what kernels are made of ---------------------------------------------------------------- */

/* Dense convolution, groups of whole blocks included. */
bool fp16_conv_possible(const struct conv_shape *s);
/* `dense` multiply-adds a cycle of the micro-kernel, `narrow` conversions. */
double fp16_conv_rate(const struct conv_shape *s, double dense, double narrow);
int fp16_conv_rows_least(const struct conv_shape *s);
size_t fp16_conv_weights_bytes(const struct conv_shape *s);
size_t fp16_conv_workspace_bytes(const struct conv_shape *s);
void fp16_conv_pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed,
                    const struct fp16_micro *m);
void fp16_conv_run(const struct conv_args *a, const struct fp16_micro *m);

size_t fp16_gemm_weights_bytes(const struct gemm_shape *s);
size_t fp16_gemm_workspace_bytes(const struct gemm_shape *s);
void fp16_gemm_pack(const struct gemm_shape *s, const float *w, int n0, int count, void *packed,
                    const struct fp16_micro *m);
void fp16_gemm_run(const struct gemm_args *a, const struct fp16_micro *m);

#define FP16_CONV_KERNEL(SYMBOL, ISA, MICRO, DENSE, NARROW)                                        \
    static double SYMBOL##_rate(const struct conv_shape *s) {                                      \
        return fp16_conv_rate(s, DENSE, NARROW);                                                   \
    }                                                                                              \
    static void SYMBOL##_pack(const struct conv_shape *s, const float *w, int oc0, int count,      \
                              void *packed) {                                                      \
        fp16_conv_pack(s, w, oc0, count, packed, &MICRO);                                          \
    }                                                                                              \
    static void SYMBOL##_run(const struct conv_args *a) {                                          \
        fp16_conv_run(a, &MICRO);                                                                  \
    }                                                                                              \
    const struct conv_kernel SYMBOL = {.name = #SYMBOL,                                            \
                                       .isa = ISA,                                                 \
                                       .row_exact = true,                                          \
                                       .granule_rows = 1,                                          \
                                       .fp16 = true,                                               \
                                       .factors = true,                                            \
                                       .rate = SYMBOL##_rate,                                      \
                                       .rows_least = fp16_conv_rows_least,                         \
                                       .weights_bytes = fp16_conv_weights_bytes,                   \
                                       .pack = SYMBOL##_pack,                                      \
                                       .workspace_bytes = fp16_conv_workspace_bytes,               \
                                       .run = SYMBOL##_run};

/* Multiply-adds a cycle of MANY rows, and of ONE, which is bound by memory. */
#define FP16_GEMM_KERNEL(SYMBOL, ISA, MICRO, MANY, ONE)                                            \
    static double SYMBOL##_rate(const struct gemm_shape *s) {                                      \
        return s->rows > 1 ? MANY : ONE;                                                           \
    }                                                                                              \
    static void SYMBOL##_pack(const struct gemm_shape *s, const float *w, int n0, int count,       \
                              void *packed) {                                                      \
        fp16_gemm_pack(s, w, n0, count, packed, &MICRO);                                           \
    }                                                                                              \
    static void SYMBOL##_run(const struct gemm_args *a) {                                          \
        fp16_gemm_run(a, &MICRO);                                                                  \
    }                                                                                              \
    const struct gemm_kernel SYMBOL = {.name = #SYMBOL,                                            \
                                       .isa = ISA,                                                 \
                                       .row_exact = true,                                          \
                                       .fp16 = true,                                               \
                                       .rate = SYMBOL##_rate,                                      \
                                       .weights_bytes = fp16_gemm_weights_bytes,                   \
                                       .pack = SYMBOL##_pack,                                      \
                                       .workspace_bytes = fp16_gemm_workspace_bytes,               \
                                       .run = SYMBOL##_run};

extern const struct fp16_micro micro_neon64hp;

#endif
