/* The operators of kernels/plainops.h for the compiler's own target (SSE2 on x86-64; NEON on 64-bit
 * Arm, which needs no table of its own), and the epilogue of kernels that were given none. */
#include "kernels/generic/plain.h"

const struct plainops plain_generic = {
    .name = "plain_generic", .isa = ISA_GENERIC, PLAIN_FUNCTIONS};

void epilogue_apply(const struct kernel_epilogue *e, const struct view *out, int64_t y0, int64_t y1,
                    int block) {
    static const struct kernel_epilogue none = {.act = KACT_NONE};
    if (!e)
        e = &none;
    (e->apply ? e->apply : epilogue_rows)(e, out, y0, y1, block);
}
