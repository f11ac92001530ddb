/* Transposed convolution as a gather: each output pixel sums the inputs that reach it.
 *
 * So no output is written twice and any row range has the same bits.  Outputs a stride apart share
 * their taps: the walk of window.c takes one phase of the stride after the other. */
#include "kernels/micro.h"

WINDOW_KERNEL(deconv_generic_gather, ISA_GENERIC, micro_generic, true, window_rate(s, 4.0))
