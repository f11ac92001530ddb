/* The kernel contract: what a kernel is given, what it promises, and how it is found.
 *
 * A kernel computes rows of one image of a feature map.  It knows nothing of graphs, plans, boards
 * or MPI, allocates nothing, and keeps no state.  To add one: write kernels/ISA/NAME.c with one
 * `const struct conv_kernel` (or gemm_kernel, …), and add its line to kernels/kernels.def; tests
 * and benchmarks sweep the registry.
 *
 * Promises, for every family:
 * - Row y of the output comes out with the same bits whatever other rows are asked for in the call.
 *   So any row tile equals the whole.  (Kernels with `row_exact == false`, such as OpenBLAS's, are
 *   excused: they agree to rounding.)
 * - Nothing but the asked rows and channel blocks of the output is written; lanes beyond the last
 *   channel of a blocked map are written as zero.
 * - Input rows outside [0, in_h) and pixels outside [0, in_w) are never read: they count as zero
 *   (as -inf for max pooling), and are left out of averages unless count_pad.
 * - Coordinates y are those of one image: the caller shifts row0 of the views (row0 may be negative
 *   and the view may hold neighbouring images' rows; the kernel does not touch them). */
#ifndef COHORT_KERNELS_KERNEL_H
#define COHORT_KERNELS_KERNEL_H

#include "kernels/view.h"

/* NEON64HP: float16 arithmetic (FEAT_FP16), taken only when it is asked for, for its rounding. */
enum kernel_isa {
    ISA_GENERIC,
    ISA_BLAS,
    ISA_NEON32,
    ISA_NEON64,
    ISA_NEON64HP,
    ISA_AVX2,
    ISA_AVX512,
    ISA_COUNT
};
#define ISAS_FP16 (1u << ISA_NEON64HP)
const char *kernel_isa_name(enum kernel_isa isa);
/* Bit mask (1 << isa) of what this CPU can run, asked of the CPU once per call. */
unsigned kernel_isa_available(void);
/* What --kernel leaves to choose from among kernels that are row_exact: NULL everything, an
 * instruction set's name that one, any other name nothing. */
unsigned kernel_isas_named(const char *kernel);

/* ---- epilogue ---------------------------------------------------------------------------- */

enum kernel_act {
    KACT_NONE,
    KACT_RELU,
    KACT_LEAKY_RELU,
    KACT_CLIP,
    KACT_SIGMOID,
    KACT_TANH,
    KACT_HARD_SIGMOID,
    KACT_HARD_SWISH,
    KACT_SILU,
    KACT_COUNT
}; /* same order and meaning as act_kind in src/graph/graph.h */

struct kernel_epilogue {
    enum kernel_act act;
    float a, b;
    const struct view *residual; /* same rows, channels and width as the output, or NULL */
    bool residual_last;          /* act(v) + r instead of act(v + r) */
    /* What epilogue_apply() calls: an instruction set's own (plainops.epilogue), or NULL: the
     * portable one.  All give the same bits. */
    void (*apply)(const struct kernel_epilogue *e, const struct view *out, int64_t y0, int64_t y1,
                  int block);
};

/* Applies an epilogue in place to rows [y0, y1) of block `block`, after the sums are in `out`, and
 * zeroes the block's lanes beyond the last channel of a blocked map.  NULL: only that.  For kernels
 * that do not do it in registers.  Rows that fit the first-level cache together had better come
 * together.  (kernels/generic/epilogue.h) */
void epilogue_apply(const struct kernel_epilogue *e, const struct view *out, int64_t y0, int64_t y1,
                    int block);

/* ---- the board ---------------------------------------------------------------------------- */

/* What kernels know of the board that they run on; 0: unknown, something usual is assumed.
 *
 * l2_bytes, a core's share of the second-level cache, decides how many rows or channel blocks a
 * walk takes at once, never the order in which a sum is made: how many input channels go into one
 * sum (micro.chunk) belongs to the kernel, for a first-level cache of 32 KB.  So boards may differ
 * in it and still give the same bits.  winograd_bytes, the most that a layer's transformed weights
 * may take, decides which kernels there are, so it must be the same on all boards of a job. */
struct kernel_board {
    size_t l2_bytes;
    size_t winograd_bytes;
};

#define KERNEL_L2_BYTES       ((size_t)512 << 10) /* assumed */
#define KERNEL_WINOGRAD_BYTES ((size_t)128 << 20) /* the most that is worth its memory */

/* `part` in `of` of the second-level cache; within bounds, because a report of no cache worth
 * mentioning, or of one that is many cores', is no reason to crawl. */
static inline int64_t kernel_l2_share(const struct kernel_board *b, int part, int of) {
    const int64_t low = 128 << 10, high = 2 << 20;
    int64_t bytes = (int64_t)(b && b->l2_bytes ? b->l2_bytes : KERNEL_L2_BYTES);
    return (bytes < low ? low : bytes > high ? high : bytes) * part / of;
}

/* ---- convolution ------------------------------------------------------------------------- */

struct conv_shape { /* the signature of one convolution; input and output of one image */
    int in_c, in_h, in_w;
    int out_c, out_h, out_w;
    int groups;
    int kernel_h, kernel_w;
    int stride_h, stride_w;
    int pad_top, pad_left; /* the bottom and right pads follow from out_h, out_w */
    int dilation_h, dilation_w;
    bool in_blocked, out_blocked;
    const struct kernel_board *board; /* no part of the signature; NULL: unknown */
};

struct conv_args {
    const struct conv_shape *shape;
    const void *weights; /* packed by this kernel */
    const float *bias;   /* [ceil(out_c/16)*16], zero beyond out_c; never NULL */
    struct view in, out;
    struct kernel_epilogue epilogue;
    int64_t y0, y1;       /* output rows of the image */
    int block0, block1;   /* output channel blocks; [0, ceil(out_c/16)) is all */
    void *workspace;      /* workspace_bytes(), one per thread, aligned to 64 */
    const float *factors; /* for kernels that take them: input channel c counts factors[c] times; or
                           * NULL; one group */
    /* This thread's count of inputs that float16 arithmetic cut short; or NULL. */
    int64_t *saturated;
};

struct conv_kernel {
    const char *name; /* "conv_generic_direct": family, ISA, algorithm */
    enum kernel_isa isa;
    bool row_exact;
    int granule_rows; /* rows computed together: 1, or 2, 4 for two-dimensional Winograd */
    int winograd;     /* output pixels of a Winograd tile along W (kernels/winograd.h), 0: direct;
                       * its rounding error has a bound of its own */
    bool fp16;        /* computes in float16 (kernels/fp16.h); its rounding error has one too */
    bool factors;     /* run() takes conv_args.factors */
    /* Can it do this shape?  Estimate of its speed for ranking among kernels that can: expected
     * useful multiply-adds per cycle and core; 0: cannot. */
    double (*rate)(const struct conv_shape *s);
    /* Output rows that one call should have at least where there are as many, because it does
     * something once for all its rows or all its channel blocks; NULL: 1. */
    int (*rows_least)(const struct conv_shape *s);
    size_t (*weights_bytes)(const struct conv_shape *s);
    /* Packs output channels [oc0, oc0+count): `w` is ONNX order [count][in_c/groups][kh][kw], the
     * first of them at w[0]; oc0 is a multiple of 16 and count is 16 or what is left. Called once
     * for each piece, by several threads at once; the packed memory was zeroed before. */
    void (*pack)(const struct conv_shape *s, const float *w, int oc0, int count, void *packed);
    size_t (*workspace_bytes)(const struct conv_shape *s); /* NULL: none */
    void (*run)(const struct conv_args *a);
    /* Packed weights times factors[c] for each input channel c: those of output channel blocks
     * [block0, block1), into `to`, where they lie as in the whole (aligned to 64, weights_bytes()
     * of room).  One group.  NULL: cannot, unless it has `factors`. */
    void (*scale)(const struct conv_shape *s, const void *packed, const float *factors, int block0,
                  int block1, void *to);
};

/* Transposed convolution: the same structs; shape->pad_* are ONNX's pads of the output, and packing
 * goes by *input* channels: `w` is ONNX order [count][out_c/groups][kh][kw], those of [oc0,
 * oc0+count) of all input channels, any number of them. */

/* ---- matrix product: tokens [rows][k] times constant [k][n] ------------------------------ */

struct gemm_shape {
    int64_t rows; /* of the whole value, for choosing a kernel: never of the tile */
    int k, n;
    bool half;                        /* weights are kept as float16 */
    const struct kernel_board *board; /* as in conv_shape */
};

struct gemm_args {
    const struct gemm_shape *shape;
    const void *weights; /* packed */
    const float *bias;   /* [n] or NULL */
    const float *in;     /* row y at in + (y - in_row0) * in_pitch */
    float *out;
    int64_t in_row0, out_row0;
    ptrdiff_t in_pitch, out_pitch;
    struct kernel_epilogue epilogue; /* residual: a token view with the output's rows */
    int64_t y0, y1;                  /* rows */
    int n0, n1;                      /* output features; n0 is a multiple of 16, n1 too or n */
    void *workspace;
    int64_t *saturated; /* as in conv_args */
};

/* The output as a view, for epilogue_apply(). */
static inline struct view gemm_out_view(const struct gemm_args *a) {
    return (struct view){.data = a->out,
                         .row0 = a->out_row0,
                         .rows = a->y1 - a->out_row0,
                         .channels = a->n1,
                         .width = 1,
                         .pixel_pitch = a->out_pitch,
                         .block_pitch = BLOCK,
                         .row_pitch = a->out_pitch};
}

struct gemm_kernel {
    const char *name; /* "gemm_generic" */
    enum kernel_isa isa;
    bool row_exact;
    bool half; /* packs weights as float16; computes in float32 */
    bool fp16; /* computes in float16 */
    double (*rate)(const struct gemm_shape *s);
    size_t (*weights_bytes)(const struct gemm_shape *s);
    /* Packs output features [n0, n0+count) (n0 multiple of 16, count 16 or what is left): element
     * (k, n0+j) is w[j * k_count + k], i.e. one feature's weights are contiguous. */
    void (*pack)(const struct gemm_shape *s, const float *w, int n0, int count, void *packed);
    size_t (*workspace_bytes)(const struct gemm_shape *s);
    void (*run)(const struct gemm_args *a);
    /* The same from some rows of a matrix as it lies, [k0, k1) of all k: element (k, n0+j) is
     * w[(k - k0) * pitch + j].  For products of two computed matrices the memory need not have been
     * zeroed before: what lies in lanes beyond n is nobody's.  NULL: there is only pack(). */
    void (*pack_matrix)(const struct gemm_shape *s, const float *w, ptrdiff_t pitch, int k0, int k1,
                        int n0, int count, void *packed);
};

/* ---- pooling ----------------------------------------------------------------------------- */

enum pool_kind { POOL_MAX, POOL_AVERAGE, POOL_NORM };
struct pool_args {
    enum pool_kind kind;
    int in_h, in_w, out_h, out_w;
    int kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
    int order;                 /* norm: (sum |x|^order)^(1/order), 1 or more */
    bool count_pad;            /* average: divide by the kernel's size including padding … */
    int pad_bottom, pad_right; /* … that ONNX declares (ceil_mode adds cells that do not count) */
    struct view in, out;
    int64_t y0, y1;
    int block0, block1;
};
struct pool_kernel {
    const char *name;
    enum kernel_isa isa;
    double (*rate)(const struct pool_args *a); /* views need not be filled in */
    void (*run)(const struct pool_args *a);
};

/* ---- registry ---------------------------------------------------------------------------- */

/* Every kernel built into this binary, in the order of kernels.def. */
const struct conv_kernel *const *kernels_conv(int *count);
const struct conv_kernel *const *kernels_deconv(int *count);
const struct gemm_kernel *const *kernels_gemm(int *count);
const struct pool_kernel *const *kernels_pool(int *count);
const struct plainops *const *kernels_plain(int *count); /* tables of kernels/plainops.h */

/* The best available kernel for a signature.  `allowed` is a mask of ISAs (without ISAS_FP16 unless
 * float16 arithmetic was asked for; ISA_BLAS is only taken when it is allowed and nothing else is,
 * or when `only` names it); `only` (may be NULL) is an ISA name or a kernel name as given with
 * --kernel, or "direct": any convolution but Winograd's.  NULL when none can do it. */
const struct conv_kernel *kernel_choose_conv(const struct conv_shape *s, unsigned allowed,
                                             const char *only);
const struct conv_kernel *kernel_choose_deconv(const struct conv_shape *s, unsigned allowed,
                                               const char *only);
const struct gemm_kernel *kernel_choose_gemm(const struct gemm_shape *s, unsigned allowed,
                                             const char *only);
const struct pool_kernel *kernel_choose_pool(const struct pool_args *a, unsigned allowed,
                                             const char *only);
/* The table of the widest instruction set; never NULL, since the portable one runs everywhere. */
const struct plainops *kernel_choose_plain(unsigned allowed, const char *only);

/* Does this name, as given with --kernel, ask for float16 arithmetic? */
bool kernel_name_fp16(const char *name);

/* Sixteen digits over the kernels' sources: what was measured of other sources says nothing. */
const char *kernels_build(void);

/* Names that --kernel may give: instruction sets and kernels, usable here or not.  Fills names[]
 * (at most `max`) and returns how many there are. */
int kernel_names(const char **names, int max);

#endif
