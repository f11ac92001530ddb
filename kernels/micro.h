/* The micro-kernel contract: a few output pixels of one or two channel blocks, all taps of some
 * channels.
 *
 * Convolution, transposed convolution and matrix product differ only in how a pixel's inputs are
 * found; kernels/window.c and kernels/panel.c reduce all three to calls of one
 * micro-kernel, which an instruction-set folder can supply without writing any of that again.
 *
 * For each pixel p in [0, pixels), each block b in [0, blocks) and each lane j in [lane0, lane1):
 *     sum = 0
 *     for s in [0, segs), ky in [0, taps_y), kx in [0, taps_x), l in [0, lanes):      (this order;
 *             in the last segment l in [0, tail), if tail is not 0)
 *         sum += in[p*in_pixel + s*in_seg + ky*in_y + kx*in_x + l]
 *              * w[b*w_block + s*w_seg + ky*w_y + kx*w_x + l*16 + j]
 *     to = p*out_pixel + b*out_block + j
 *     out[to] = finish((init ? init[b*16 + j] : out[to]) + sum, residual[p*residual_pixel + ...])
 * A sum of its own for each call is more exact than one that goes on from the bias or from the
 * channels before: it halved the rounding error of a whole network (YOLOX-nano).
 * The order of a pixel's additions is the same for every `pixels` and `blocks`, so it does not
 * depend on where tiles begin.  `w` is aligned to 64 bytes and always has 16 lanes; `in`, `out` and
 * `residual` are aligned to a float.  Lanes of `out` outside [lane0, lane1) are neither read nor
 * written.  Fields that are zero ask for what there was before they existed: one block, no finish.
 */
#ifndef COHORT_KERNELS_MICRO_H
#define COHORT_KERNELS_MICRO_H

#include "kernels/kernel.h"

struct micro_args {
    const float *in;
    ptrdiff_t in_pixel, in_seg, in_y, in_x;
    const float *w;
    ptrdiff_t w_seg, w_y, w_x;
    int segs, taps_y, taps_x, lanes, tail;
    float *out;
    ptrdiff_t out_pixel;
    const float *init; /* [blocks * 16] of which [lane0, lane1) are read, or NULL: go on from out */
    int lane0, lane1;
    int blocks; /* 0 or 1: one; at most the micro-kernel's, and more than one with all 16 lanes */
    ptrdiff_t w_block, out_block;
    bool half; /* lanes 8 to 15 of the last block are those of no channel: weights and results are
                * 0; may be overlooked */
    /* finish: v + r, act(v), + r if residual_last; only acts that micro_finishes() */
    enum kernel_act act;
    float act_a, act_b;
    bool residual_last;
    const float *residual; /* or NULL */
    /* not 0: the second `line` of 2 * line pixels lie this far from the first; only micro.line */
    int line;
    ptrdiff_t in_line, out_line, residual_line;
    const char *ahead; /* weights that come next, for micro_fetch(), or NULL */
    ptrdiff_t residual_pixel, residual_block;
};

struct micro {
    int pixels; /* how many it works on at once: longer lines are better than shorter ones */
    int blocks; /* and how many channel blocks at most */
    int line;   /* of lines of this length it takes two at once; 0: it does not */
    int chunk;  /* multiply-adds of a pixel and lane that one call should have at most */
    /* Any number of pixels, at least 1.  in, out, residual and ahead are moved along, in place: a
     * copy, which compilers make with wide loads of what was just stored in pieces, would have to
     * wait until those stores, and the sums before them, are done. */
    void (*run)(struct micro_args *a, int pixels);
};

/* Does a micro-kernel do this in registers?  What it does not is epilogue_apply()'s. */
static inline bool micro_finishes(enum kernel_act act) {
    return act == KACT_NONE || act == KACT_RELU || act == KACT_LEAKY_RELU || act == KACT_CLIP;
}

/* Asks for an epilogue, but for its residual's place. */
static inline void micro_finish_with(struct micro_args *a, const struct kernel_epilogue *e) {
    a->act = e->act;
    a->act_a = e->a;
    a->act_b = e->b;
    a->residual_last = e->residual_last;
}

/* Lanes of segment s. */
static inline int micro_lanes(const struct micro_args *a, int s) {
    return a->tail && s == a->segs - 1 ? a->tail : a->lanes;
}

/* Before a loop over a tile's pixels: gcc has to unroll it before it decides what lives in
 * registers, or it stores every sum in every round. */
#ifdef __clang__
#define MICRO_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MICRO_UNROLL _Pragma("GCC unroll 16")
#endif

#define MICRO_PIXELS 16 /* no micro-kernel's tile has more */
#define MICRO_INLINE static inline __attribute__((always_inline))

/* Splits n pixels into tiles of at most `most`, the last two about equal: 7 = 3 + 2 + 2. */
static inline int micro_tile(int n, int most) {
    if (n <= most)
        return n;
    return n < 2 * most ? (n + 1) / 2 : most;
}

/* Fetches weights that will be wanted after this tile (of a second block w_block further), two
 * lines for 16 lanes: memory brings them while the sums go on.  All at once they would hold up
 * loads. */
#define MICRO_FETCH 128
MICRO_INLINE const char *micro_fetch(const struct micro_args *a, const char *ahead, int lanes) {
    if (ahead)
        for (; lanes > 0; lanes -= BLOCK, ahead += MICRO_FETCH) {
            const char *other = ahead + a->w_block * (ptrdiff_t)sizeof(float);
            for (int i = 0; i < MICRO_FETCH; i += 64)
                __builtin_prefetch(ahead + i, 0, 2);
            for (int i = 0; a->blocks > 1 && i < MICRO_FETCH; i += 64)
                __builtin_prefetch(other + i, 0, 2);
        }
    return ahead;
}
/* How far a tile gets with it. */
static inline ptrdiff_t micro_fetches(const struct micro_args *a) {
    return (ptrdiff_t)a->segs * a->taps_y * a->taps_x * ((a->lanes + BLOCK - 1) / BLOCK) *
           MICRO_FETCH;
}

typedef void (*micro_tile_fn)(const struct micro_args *a);
/* For a list of numbers of pixels: a function for each, whose `pixels` is constant, and its name.
 */
#define MICRO_TILE(n)                                                                              \
    static void tile_##n(const struct micro_args *a) {                                             \
        tile(a, n);                                                                                \
    }
#define MICRO_TILE_NAME(n) tile_##n,

/* A micro-kernel's run(): tile by tile, tiles[n - 1] being the one for n pixels. */
MICRO_INLINE void micro_drive(struct micro_args *a, int pixels, int most,
                              const micro_tile_fn *tiles) {
    for (int n; pixels > 0; pixels -= n) {
        n = micro_tile(pixels, most);
        tiles[n - 1](a);
        a->in += n * a->in_pixel;
        a->out += n * a->out_pixel;
        if (a->residual)
            a->residual += n * a->residual_pixel;
        if (a->ahead)
            a->ahead += micro_fetches(a);
    }
}

MICRO_INLINE void micro_copy_lanes(const struct micro_args *a, int pixels, float *to,
                                   ptrdiff_t to_pixel, const float *from, ptrdiff_t from_pixel) {
    for (int p = 0; p < pixels; p++)
        for (int j = a->lane0; j < a->lane1; j++)
            to[p * to_pixel + j] = from[p * from_pixel + j];
}

/* The same for some of the 16 lanes, by tiles that know only all of them: they see a copy. */
static __attribute__((noinline, unused)) void
micro_drive_part(const struct micro_args *args, int pixels, int most, const micro_tile_fn *tiles) {
    float out[MICRO_PIXELS * BLOCK] = {0}, residual[MICRO_PIXELS * BLOCK] = {0}, init[BLOCK] = {0};
    struct micro_args a = *args;
    a.out = out;
    a.out_pixel = a.residual_pixel = BLOCK;
    a.ahead = NULL;
    if (a.init) {
        micro_copy_lanes(args, 1, init, 0, a.init, 0);
        a.init = init;
    }
    for (int done = 0, n; done < pixels; done += n) {
        float *to = args->out + done * args->out_pixel;
        n = micro_tile(pixels - done, most);
        if (!a.init)
            micro_copy_lanes(args, n, out, BLOCK, to, args->out_pixel);
        if (args->residual) {
            const float *from = args->residual + done * args->residual_pixel;
            micro_copy_lanes(args, n, residual, BLOCK, from, args->residual_pixel);
            a.residual = residual;
        }
        tiles[n - 1](&a);
        a.in += n * a.in_pixel;
        micro_copy_lanes(args, n, to, args->out_pixel, out, BLOCK);
    }
}

/* For tiles that know one block and all 16 lanes only. */
MICRO_INLINE void micro_drive_whole(struct micro_args *a, int pixels, int most,
                                    const micro_tile_fn *tiles) {
    if (a->lane0 == 0 && a->lane1 == BLOCK)
        micro_drive(a, pixels, most, tiles);
    else
        micro_drive_part(a, pixels, most, tiles);
}

/* Multiply-adds of one pixel and lane between two visits of `out` (micro.chunk): their weights (64
 * bytes each) stay in a 32 KB first-level cache while a row's pixels pass by.  Where the
 * second-level cache is fast more are better, but also less exact. */
#define MICRO_CHUNK 256
/* Input that should stay in the second-level cache while all channel blocks pass over it: a quarter
 * of it, because weights and output pass through it too. */
static inline int64_t micro_input_bytes(const struct kernel_board *b) {
    return kernel_l2_share(b, 1, 4);
}
/* Weights that stay there all the time, so that few rows at once are best: they are written in the
 * order in which they lie. */
static inline int64_t micro_weights_bytes(const struct kernel_board *b) {
    return kernel_l2_share(b, 1, 4);
}

extern const struct micro micro_generic;
/* In their folders, where the target has them. */
extern const struct micro micro_avx2, micro_avx512, micro_neon32, micro_neon64;

/* Convolution (transposed: its adjoint) by a micro-kernel: conv_kernel.run with a->weights packed
 * by window_pack(). */
void window_run(const struct conv_args *a, bool transposed, const struct micro *m);
size_t window_weights_bytes(const struct conv_shape *s);
void window_pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed);
void window_pack_transposed(const struct conv_shape *s, const float *w, int ic0, int count,
                            void *packed);
void window_scale(const struct conv_shape *s, const void *packed, const float *factors, int block0,
                  int block1, void *to);

/* conv_kernel.rate of a window kernel that does `dense` multiply-adds a cycle: a block shared by
 * several groups computes all 16 lanes for each of them. */
static inline double window_rate(const struct conv_shape *s, double dense) {
    int per_group = s->out_c / s->groups;
    return per_group >= BLOCK ? dense : dense * per_group / BLOCK;
}
/* Where depthwise convolution has a kernel of its own. */
static inline double window_rate_dense(const struct conv_shape *s, double dense) {
    bool depthwise = s->groups > 1 && s->groups == s->out_c;
    return depthwise ? 0.5 : window_rate(s, dense);
}

/* An instruction set's conv_kernel, of either kind; RATE: an expression in the shape `s`. */
#define WINDOW_KERNEL(SYMBOL, ISA, MICRO, TRANSPOSED, RATE)                                        \
    static double rate(const struct conv_shape *s) {                                               \
        return RATE;                                                                               \
    }                                                                                              \
    static void run(const struct conv_args *a) {                                                   \
        window_run(a, TRANSPOSED, &MICRO);                                                         \
    }                                                                                              \
    const struct conv_kernel SYMBOL = {.name = #SYMBOL,                                            \
                                       .isa = ISA,                                                 \
                                       .row_exact = true,                                          \
                                       .granule_rows = 1,                                          \
                                       .rate = rate,                                               \
                                       .weights_bytes = window_weights_bytes,                      \
                                       .pack = TRANSPOSED ? window_pack_transposed : window_pack,  \
                                       .run = run,                                                 \
                                       .scale = TRANSPOSED ? NULL : window_scale};

/* Matrix product by a micro-kernel: gemm_kernel.run with weights packed by panel_pack(). */
void panel_run(const struct gemm_args *a, const struct micro *m);
size_t panel_weights_bytes(const struct gemm_shape *s);
void panel_pack(const struct gemm_shape *s, const float *w, int n0, int count, void *packed);
void panel_pack_matrix(const struct gemm_shape *s, const float *w, ptrdiff_t pitch, int k0, int k1,
                       int n0, int count, void *packed);

/* An instruction set's gemm_kernel.  Multiply-adds a cycle of MANY rows, and of ONE, which is bound
 * by memory. */
#define PANEL_KERNEL(SYMBOL, ISA, MICRO, MANY, ONE)                                                \
    static double rate(const struct gemm_shape *s) {                                               \
        return s->rows > 1 ? MANY : ONE;                                                           \
    }                                                                                              \
    static void run(const struct gemm_args *a) {                                                   \
        panel_run(a, &MICRO);                                                                      \
    }                                                                                              \
    const struct gemm_kernel SYMBOL = {.name = #SYMBOL,                                            \
                                       .isa = ISA,                                                 \
                                       .row_exact = true,                                          \
                                       .rate = rate,                                               \
                                       .weights_bytes = panel_weights_bytes,                       \
                                       .pack = panel_pack,                                         \
                                       .pack_matrix = panel_pack_matrix,                           \
                                       .run = run};

#endif
