/* One-dimensional Winograd convolution along W: what an instruction set supplies, and the walk.
 *
 * A tile is F output pixels side by side, computed from F + 2 inputs by F + 2 products instead of
 * 3F: transform the inputs (B^T d), multiply and add in the transform domain over input channels
 * and kernel rows, transform the sums back (A^T m).  Rows are not mixed, so any row range gives the
 * same bits and there is no granule; weights (G g) take (F + 2)/3 of their size.
 *
 * Cook-Toom with points 0, +-p[i], infinity (Winograd, Arithmetic Complexity of Computations, 1980;
 * notation of Lavin and Gray, arXiv:1509.09308):
 *     AT[i][j] = p_j^i                    AT[F-1][inf] = 1
 *     G[j][k]  = p_j^k / prod_{l != j} (p_j - p_l)       G[inf][2] = 1
 *     BT[j]    = coefficients of prod_{l != j} (x - p_l), over the finite points
 * The points decide the rounding error.  Those here are exact in float, as are all constants of BT
 * and AT; +-3/4, +-3/2 leave 1.4 times direct convolution's error (root mean square), where the
 * textbook's +-1, +-2 leave 2.1; +-1/2, +-1, +-2 for F = 6 leave 2.8. */
#ifndef COHORT_KERNELS_WINOGRAD_H
#define COHORT_KERNELS_WINOGRAD_H

#include "kernels/micro.h"

#define WINOGRAD_TAPS        3
#define WINOGRAD_TILE_MOST   6
#define WINOGRAD_POINTS_MOST (WINOGRAD_TILE_MOST + WINOGRAD_TAPS - 1)

/* The points, and what the transforms need of them: squares, sums and products of squares. */
#define WINOGRAD4_A 0.75
#define WINOGRAD4_B 1.5
#define WINOGRAD6_A 0.5
#define WINOGRAD6_B 1.0
#define WINOGRAD6_C 2.0

struct winograd_matrices { /* of F(tile, 3); points = tile + 2 of each are used */
    int tile, points;
    double at[WINOGRAD_TILE_MOST][WINOGRAD_POINTS_MOST];
    double g[WINOGRAD_POINTS_MOST][WINOGRAD_TAPS];
    double bt[WINOGRAD_POINTS_MOST][WINOGRAD_POINTS_MOST];
};
/* tile: 4 or 6. */
struct winograd_matrices winograd_matrices(int tile);

/* What an instruction set supplies (kernels/winograd_lines.h writes the transforms). */
struct winograd {
    int tile; /* 4 or 6 */
    const struct micro *micro;
    /* Transforms `tiles` tiles side by side of one row and block of 16 channels.  Tile t's input i
     * is at in + (t*tile + i)*in_pixel, its value at point j at out + j*out_point + t*16. */
    void (*input)(const float *in, ptrdiff_t in_pixel, float *out, ptrdiff_t out_point, int tiles);
    /* The way back: tile t's sum at point j is at in + j*in_point + t*16; its output i, plus
     * bias[16], goes to out + (t*tile + i)*out_pixel. */
    void (*output)(const float *in, ptrdiff_t in_point, const float *bias, float *out,
                   ptrdiff_t out_pixel, int tiles);
    /* For the estimate: multiply-adds a cycle of the micro-kernel, cycles of one tile and block of
     * either transform with what it reads and writes, bytes of weights that memory gives a cycle.
     */
    double dense, input_cycles, output_cycles, stream_bytes;
};

/* conv_kernel's functions, for F(4,3) and F(6,3). */
double winograd_rate(const struct conv_shape *s, const struct winograd *w);
size_t winograd4_weights_bytes(const struct conv_shape *s);
int winograd4_rows_least(const struct conv_shape *s);
size_t winograd4_workspace_bytes(const struct conv_shape *s);
void winograd4_pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed);
size_t winograd6_weights_bytes(const struct conv_shape *s);
int winograd6_rows_least(const struct conv_shape *s);
size_t winograd6_workspace_bytes(const struct conv_shape *s);
void winograd6_pack(const struct conv_shape *s, const float *w, int oc0, int count, void *packed);
void winograd_run(const struct conv_args *a, const struct winograd *w);

#endif
