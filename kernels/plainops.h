/* The other kernels: row-wise work on views, of which one source serves every instruction set.
 *
 * All of them compute output rows [y0, y1) of views that hold those rows (and the input rows they
 * need), for channel blocks [block0, block1) where a block range is given; all keep the promises of
 * kernels/kernel.h.  The source is kernels/generic/plain.h: a folder per instruction set compiles
 * it into one table of functions, and the registry chooses the table of a program
 * (kernel_choose_plain).  All tables give the same bits.  No epilogue is NULL. */
#ifndef COHORT_KERNELS_PLAINOPS_H
#define COHORT_KERNELS_PLAINOPS_H

#include "kernels/kernel.h"

/* Unary operators beyond kernel_act. */
enum unary_op {
    UNARY_COPY,
    UNARY_EXP,
    UNARY_SQRT,
    UNARY_ERF,
    UNARY_GELU,
    UNARY_POW,
    UNARY_ABS,
    UNARY_NEG,
    UNARY_AFFINE /* a*x + b */
};

enum binary_op {
    BINARY_ADD,
    BINARY_SUB,
    BINARY_MUL,
    BINARY_DIV,
    BINARY_POW,
    BINARY_MAX,
    BINARY_MIN
};
/* An operand that is broadcast is a view with pitch 0 along the axis: row_pitch 0 (one row for
 * all), pixel_pitch 0 (one pixel for all), block_pitch 0 with broadcast_lanes (one channel for
 * all).  Operands' coordinates are the output's. */
struct binary_operand {
    struct view view;
    bool broadcast_lanes; /* lane 0 of block 0 serves every channel */
};

/* Separable resampling: `taps` rows and columns per output row and column.  row_index[taps*(y - y0)
 * + t], row_weight likewise, col_index[taps*x + t] … Indices are already clamped (into the image).
 */
struct resample_table {
    int row_taps, col_taps;
    const int64_t *row_index;
    const float *row_weight;
    const int *col_index;
    const float *col_weight;
};

enum reduce_op { REDUCE_MEAN, REDUCE_MAX, REDUCE_SUM };

struct plainops {
    const char *name; /* "plain_avx2" */
    enum kernel_isa isa;

    /* ---- elementwise ---- */

    /* out = f(in), then the epilogue.  UNARY_POW: x^a. */
    void (*unary_rows)(enum unary_op op, float a, float b, const struct view *in,
                       const struct view *out, const struct kernel_epilogue *e, int64_t y0,
                       int64_t y1, int block0, int block1);
    /* out = in * scale[c] + shift[c], then the epilogue (BatchNormalization left on its own); scale
     * and shift hold a multiple of 16 numbers. */
    void (*affine_rows)(const float *scale, const float *shift, const struct view *in,
                        const struct view *out, const struct kernel_epilogue *e, int64_t y0,
                        int64_t y1, int block0, int block1);
    /* out = in >= 0 ? in : slope[c] * in; slope holds a multiple of 16 numbers. */
    void (*prelu_rows)(const float *slope, const struct view *in, const struct view *out,
                       int64_t y0, int64_t y1, int block0, int block1);
    /* out = a OP b, then the epilogue. */
    void (*binary_rows)(enum binary_op op, const struct binary_operand *a,
                        const struct binary_operand *b, const struct view *out,
                        const struct kernel_epilogue *e, int64_t y0, int64_t y1, int block0,
                        int block1);
    /* kernel_epilogue.apply: see there. */
    void (*epilogue)(const struct kernel_epilogue *e, const struct view *out, int64_t y0,
                     int64_t y1, int block);

    /* ---- moving ---- */

    /* Channels [from_c, from_c+count) of `in` to channels [to_c, …) of `out` (any alignment, either
     * form).  Lanes beyond the last channel of `out` are zeroed when the copy touches the last
     * block. */
    void (*copy_channels_rows)(const struct view *in, int from_c, const struct view *out, int to_c,
                               int count, int64_t y0, int64_t y1);
    /* out channel c = in channel source[c] (a channel shuffle, any gather of channels). */
    void (*shuffle_channels_rows)(const int *source, const struct view *in, const struct view *out,
                                  int64_t y0, int64_t y1);
    /* out[y][x] = in[row_of[y - y0]][col_of[x]], rows and columns given as tables; -1: `fill`. */
    void (*gather_pixels_rows)(const int64_t *row_of, const int *col_of, float fill,
                               const struct view *in, const struct view *out, int64_t y0,
                               int64_t y1);
    /* Depth to space and back; dcr: ONNX's mode DCR, else CRD. For one image. */
    void (*depth_to_space_rows)(int block, bool dcr, const struct view *in, const struct view *out,
                                int64_t y0, int64_t y1);
    void (*space_to_depth_rows)(int block, const struct view *in, const struct view *out,
                                int64_t y0, int64_t y1);

    /* ---- resampling ---- */

    /* out = sum over taps of weight * in. */
    void (*resample_rows)(const struct resample_table *t, const struct view *in,
                          const struct view *out, int64_t y0, int64_t y1, int block0, int block1);

    /* ---- reducing and normalising ---- */

    /* All H rows and W columns of one image to one pixel per channel: out row `out_y`.  Each row is
     * reduced on its own and rows are combined in global order, so a later row-parallel version
     * gives the same bits. */
    void (*global_reduce)(enum reduce_op op, const struct view *in, int64_t in_h,
                          const struct view *out, int64_t out_y, int block0, int block1);
    /* Of rows [y0, y1) of an image: the sums over a row's pixels of (v - shift[c])^power, power 1
     * or 2; row y's go to sums[(y * blocks + block) * 16 …], `blocks` being all of the map's. shift
     * holds a multiple of 16 numbers; what stands for lanes beyond the last channel is no result.
     */
    void (*row_sums)(int power, const float *shift, const struct view *in, float *sums, int64_t y0,
                     int64_t y1, int block0, int block1);
    /* Softmax over channels of each pixel. (`log`: its logarithm) */
    void (*softmax_channels_rows)(bool log, const struct view *in, const struct view *out,
                                  int64_t y0, int64_t y1);
    /* Layer normalisation over the channels of each pixel or token: scale and bias [C], bias may be
     * NULL. */
    void (*layer_norm_rows)(const float *scale, const float *bias, float epsilon,
                            const struct view *in, const struct view *out, int64_t y0, int64_t y1);
    /* Local response normalisation across channels (ONNX LRN). */
    void (*lrn_rows)(int size, float alpha, float beta, float bias, const struct view *in,
                     const struct view *out, int64_t y0, int64_t y1);

    /* ---- conversions ---- */

    /* ONNX's dense [N][C][H][W] (float32) to map rows and back.  Rows are global (n*H + y). */
    void (*map_from_nchw)(const float *nchw, int64_t height, const struct view *out, int64_t y0,
                          int64_t y1);
    void (*map_to_nchw)(const struct view *in, int64_t height, float *nchw, int64_t y0, int64_t y1);
    /* u8 pixels [rows][W][C], from row y0 on, to a map: out = table[c][in], table[C][256]. */
    void (*u8_to_map_rows)(const uint8_t *in, const float *table, const struct view *out,
                           int64_t y0, int64_t y1);
    /* n numbers of float16 to float32 and back, to nearest even; too large becomes infinity. */
    void (*half_to_float)(const uint16_t *in, float *out, ptrdiff_t n);
    void (*float_to_half)(const float *in, uint16_t *out, ptrdiff_t n);
};

#endif
