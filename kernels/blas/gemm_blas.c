/* Matrix product through OpenBLAS, weights kept as they come: [feature][k].  Not row-exact. */
#include "kernels/kernel.h"

#include <cblas.h>
#include <string.h>

static double rate(const struct gemm_shape *s) {
    return s->k > 0 ? 8.0 : 0.0;
}

static size_t weights_bytes(const struct gemm_shape *s) {
    return (size_t)s->n * (size_t)s->k * sizeof(float);
}

static void pack(const struct gemm_shape *s, const float *w, int n0, int count, void *packed) {
    memcpy((float *)packed + (size_t)n0 * (size_t)s->k, w,
           sizeof(float) * (size_t)count * (size_t)s->k);
}

/* So many rows a call that their number fits an int. */
#define ROWS_AT_ONCE 65536

static void run(const struct gemm_args *a) {
    int k = a->shape->k, n = a->n1 - a->n0;
    const float *w = (const float *)a->weights + (size_t)a->n0 * (size_t)k;
    const struct view out = gemm_out_view(a);
    if (n <= 0)
        return;
    for (int64_t y = a->y0; y < a->y1; y += ROWS_AT_ONCE) {
        int rows = a->y1 - y < ROWS_AT_ONCE ? (int)(a->y1 - y) : ROWS_AT_ONCE;
        const float *in = a->in + (y - a->in_row0) * a->in_pitch;
        float *to = a->out + (y - a->out_row0) * a->out_pitch + a->n0;
        if (rows == 1)
            cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, w, k, in, 1, 0.0f, to, 1);
        else
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, n, k, 1.0f, in,
                        (int)a->in_pitch, w, k, 0.0f, to, (int)a->out_pitch);
    }
    for (int64_t y = a->y0; y < a->y1; y++) {
        float *to = a->out + (y - a->out_row0) * a->out_pitch;
        for (int j = a->n0; a->bias && j < a->n1; j++)
            to[j] += a->bias[j];
        for (int block = a->n0 / BLOCK; block * BLOCK < a->n1; block++)
            epilogue_apply(&a->epilogue, &out, y, y + 1, block);
    }
}

const struct gemm_kernel gemm_blas = {.name = "gemm_blas",
                                      .isa = ISA_BLAS,
                                      .row_exact = false,
                                      .rate = rate,
                                      .weights_bytes = weights_bytes,
                                      .pack = pack,
                                      .run = run};
