/* One matrix product by one kernel, some number of times: for counting instructions.
 *
 *   build/ARCH/bench/product KERNEL ROWS K N TIMES
 *
 * rows x k inputs times a k x n matrix, float32, one thread; bench/instructions runs it under an
 * emulator and takes the difference of two numbers of times. */
#include "base/mem.h"
#include "kernels/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct buffers {
    float *in, *out, *feature;
    void *weights, *workspace;
};

static void release(struct buffers *b) {
    mem_free(b->in);
    mem_free(b->out);
    mem_free(b->feature);
    mem_free(b->weights);
    mem_free(b->workspace);
}

static bool allocate(struct buffers *b, const struct gemm_kernel *g, const struct gemm_shape *s) {
    size_t rows = (size_t)s->rows, k = (size_t)s->k, n = (size_t)s->n;
    b->in = mem_zalloc(rows * k, sizeof *b->in);
    b->out = mem_zalloc(rows * (n + BLOCK), sizeof *b->out);
    b->feature = mem_zalloc(k * BLOCK, sizeof *b->feature);
    b->weights = mem_zalloc(1, g->weights_bytes(s));
    b->workspace = mem_zalloc(1, g->workspace_bytes != NULL ? g->workspace_bytes(s) : 1);
    return b->in && b->out && b->feature && b->weights && b->workspace;
}

static const struct gemm_kernel *find(const char *name) {
    int count;
    const struct gemm_kernel *const *all = kernels_gemm(&count);
    for (int i = 0; i < count; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}

int main(int argc, char **argv) {
    const struct gemm_kernel *g = argc == 6 ? find(argv[1]) : NULL;
    struct gemm_shape s = {0};
    struct buffers b = {0};
    if (g != NULL)
        s = (struct gemm_shape){.rows = atoi(argv[2]), .k = atoi(argv[3]), .n = atoi(argv[4])};
    if (s.rows <= 0 || s.k <= 0 || s.n <= 0) {
        fprintf(stderr, "usage: product KERNEL ROWS K N TIMES\n");
        return 2;
    }
    if (!allocate(&b, g, &s)) {
        fprintf(stderr, "product: out of memory\n");
        release(&b);
        return 1;
    }
    for (int n = 0; n < s.n; n += BLOCK)
        g->pack(&s, b.feature, n, s.n - n < BLOCK ? s.n - n : BLOCK, b.weights);
    struct gemm_args a = {.shape = &s,
                          .weights = b.weights,
                          .in = b.in,
                          .out = b.out,
                          .in_pitch = s.k,
                          .out_pitch = s.n,
                          .y1 = s.rows,
                          .n1 = s.n,
                          .workspace = b.workspace};
    for (int i = atoi(argv[5]); i > 0; i--)
        g->run(&a);
    release(&b);
    return 0;
}
