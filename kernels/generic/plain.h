/* Everything of kernels/plainops.h, for the instruction set of the file that includes this: that
 * file then defines its table,
 *     const struct plainops plain_avx2 = {.name = "plain_avx2", .isa = ISA_AVX2, PLAIN_FUNCTIONS};
 */
#ifndef COHORT_KERNELS_GENERIC_PLAIN_H
#define COHORT_KERNELS_GENERIC_PLAIN_H

#include "kernels/generic/convert.h"
#include "kernels/generic/elementwise.h"
#include "kernels/generic/epilogue.h"
#include "kernels/generic/half.h"
#include "kernels/generic/moving.h"
#include "kernels/generic/reduce.h"
#include "kernels/generic/resample.h"

#define PLAIN_FUNCTIONS                                                                            \
    .unary_rows = unary_rows, .affine_rows = affine_rows, .prelu_rows = prelu_rows,                \
    .binary_rows = binary_rows, .epilogue = epilogue_rows,                                         \
    .copy_channels_rows = copy_channels_rows, .shuffle_channels_rows = shuffle_channels_rows,      \
    .gather_pixels_rows = gather_pixels_rows, .depth_to_space_rows = depth_to_space_rows,          \
    .space_to_depth_rows = space_to_depth_rows, .resample_rows = resample_rows,                    \
    .global_reduce = global_reduce, .row_sums = row_sums,                                          \
    .softmax_channels_rows = softmax_channels_rows, .layer_norm_rows = layer_norm_rows,            \
    .lrn_rows = lrn_rows, .map_from_nchw = map_from_nchw, .map_to_nchw = map_to_nchw,              \
    .u8_to_map_rows = u8_to_map_rows, .half_to_float = half_to_float,                              \
    .float_to_half = float_to_half

#endif
