/* The transforms of one-dimensional Winograd, written once over an instruction set's vectors.
 *
 * Each of conv_ISA_winograd*.c defines `wv` (a vector of W_LANES floats) and w_load, w_store,
 * w_set, w_add, w_sub, w_fma (a*b + c) and w_fnma (c - a*b) before it includes this, and so gets
 * winograd_input4(), winograd_output4(), winograd_input6(), winograd_output6().  kernels/winograd.h
 * says what they compute; points come in pairs +-p, so even and odd powers are shared. */
#ifndef COHORT_KERNELS_WINOGRAD_LINES_H
#define COHORT_KERNELS_WINOGRAD_LINES_H

#include "kernels/winograd.h"

#define W_EACH(v) for (int v = 0; v < BLOCK; v += W_LANES)
#define W_INLINE  static inline __attribute__((unused))

/* ---- F(4,3) ---------------------------------------------------------------------------------- */

W_INLINE void winograd_input4(const float *in, ptrdiff_t in_pixel, float *out, ptrdiff_t out_point,
                              int tiles) {
    const float aa = (float)(WINOGRAD4_A * WINOGRAD4_A), bb = (float)(WINOGRAD4_B * WINOGRAD4_B);
    const wv a = w_set((float)WINOGRAD4_A), b = w_set((float)WINOGRAD4_B);
    const wv a2 = w_set(aa), b2 = w_set(bb), sum = w_set(aa + bb), product = w_set(aa * bb);
    for (int t = 0; t < tiles; t++, in += 4 * in_pixel, out += BLOCK)
        W_EACH(v) {
            const float *d = in + v;
            float *to = out + v;
            const wv d1 = w_load(d + in_pixel), d2 = w_load(d + 2 * in_pixel);
            const wv d3 = w_load(d + 3 * in_pixel), d4 = w_load(d + 4 * in_pixel);
            const wv even_a = w_fnma(b2, d2, d4), odd_a = w_fnma(b2, d1, d3);
            const wv even_b = w_fnma(a2, d2, d4), odd_b = w_fnma(a2, d1, d3);
            w_store(to, w_fma(product, w_load(d), w_fnma(sum, d2, d4)));
            w_store(to + out_point, w_fma(a, odd_a, even_a));
            w_store(to + 2 * out_point, w_fnma(a, odd_a, even_a));
            w_store(to + 3 * out_point, w_fma(b, odd_b, even_b));
            w_store(to + 4 * out_point, w_fnma(b, odd_b, even_b));
            w_store(to + 5 * out_point,
                    w_fma(product, d1, w_fnma(sum, d3, w_load(d + 5 * in_pixel))));
        }
}

W_INLINE void winograd_output4(const float *in, ptrdiff_t in_point, const float *bias, float *out,
                               ptrdiff_t out_pixel, int tiles) {
    const float aa = (float)(WINOGRAD4_A * WINOGRAD4_A), bb = (float)(WINOGRAD4_B * WINOGRAD4_B);
    const wv a = w_set((float)WINOGRAD4_A), b = w_set((float)WINOGRAD4_B);
    const wv a2 = w_set(aa), b2 = w_set(bb);
    const wv a3 = w_set(aa * (float)WINOGRAD4_A), b3 = w_set(bb * (float)WINOGRAD4_B);
    for (int t = 0; t < tiles; t++, in += BLOCK, out += 4 * out_pixel)
        W_EACH(v) {
            const float *m = in + v;
            float *to = out + v;
            const wv a_plus = w_load(m + in_point), a_minus = w_load(m + 2 * in_point);
            const wv b_plus = w_load(m + 3 * in_point), b_minus = w_load(m + 4 * in_point);
            const wv even_a = w_add(a_plus, a_minus), odd_a = w_sub(a_plus, a_minus);
            const wv even_b = w_add(b_plus, b_minus), odd_b = w_sub(b_plus, b_minus);
            const wv start = w_load(bias + v);
            w_store(to, w_add(start, w_add(w_load(m), w_add(even_a, even_b))));
            w_store(to + out_pixel, w_fma(a, odd_a, w_fma(b, odd_b, start)));
            w_store(to + 2 * out_pixel, w_fma(a2, even_a, w_fma(b2, even_b, start)));
            w_store(to + 3 * out_pixel,
                    w_fma(a3, odd_a, w_fma(b3, odd_b, w_add(start, w_load(m + 5 * in_point)))));
        }
}

/* ---- F(6,3) ---------------------------------------------------------------------------------- */

/* x^4 - (q2 + r2) x^2 + q2 r2, the factor of the two pairs that a pair +-p leaves, on inputs two
 * apart. */
#define W_REST(sum, product, low, middle, high) w_fma(product, low, w_fnma(sum, middle, high))

W_INLINE void winograd_input6(const float *in, ptrdiff_t in_pixel, float *out, ptrdiff_t out_point,
                              int tiles) {
    const float aa = (float)(WINOGRAD6_A * WINOGRAD6_A), bb = (float)(WINOGRAD6_B * WINOGRAD6_B);
    const float cc = (float)(WINOGRAD6_C * WINOGRAD6_C);
    const wv a = w_set((float)WINOGRAD6_A), b = w_set((float)WINOGRAD6_B);
    const wv c = w_set((float)WINOGRAD6_C);
    const wv sum_bc = w_set(bb + cc), product_bc = w_set(bb * cc);
    const wv sum_ac = w_set(aa + cc), product_ac = w_set(aa * cc);
    const wv sum_ab = w_set(aa + bb), product_ab = w_set(aa * bb);
    const wv sum1 = w_set(aa + bb + cc), sum2 = w_set(aa * bb + aa * cc + bb * cc);
    const wv sum3 = w_set(aa * bb * cc);
    for (int t = 0; t < tiles; t++, in += 6 * in_pixel, out += BLOCK)
        W_EACH(v) {
            const float *d = in + v;
            float *to = out + v;
            const wv d0 = w_load(d), d1 = w_load(d + in_pixel), d2 = w_load(d + 2 * in_pixel);
            const wv d3 = w_load(d + 3 * in_pixel), d4 = w_load(d + 4 * in_pixel);
            const wv d5 = w_load(d + 5 * in_pixel), d6 = w_load(d + 6 * in_pixel);
            const wv d7 = w_load(d + 7 * in_pixel);
            const wv even_a = W_REST(sum_bc, product_bc, d2, d4, d6);
            const wv odd_a = W_REST(sum_bc, product_bc, d1, d3, d5);
            const wv even_b = W_REST(sum_ac, product_ac, d2, d4, d6);
            const wv odd_b = W_REST(sum_ac, product_ac, d1, d3, d5);
            const wv even_c = W_REST(sum_ab, product_ab, d2, d4, d6);
            const wv odd_c = W_REST(sum_ab, product_ab, d1, d3, d5);
            w_store(to, w_fnma(sum3, d0, w_fma(sum2, d2, w_fnma(sum1, d4, d6))));
            w_store(to + out_point, w_fma(a, odd_a, even_a));
            w_store(to + 2 * out_point, w_fnma(a, odd_a, even_a));
            w_store(to + 3 * out_point, w_fma(b, odd_b, even_b));
            w_store(to + 4 * out_point, w_fnma(b, odd_b, even_b));
            w_store(to + 5 * out_point, w_fma(c, odd_c, even_c));
            w_store(to + 6 * out_point, w_fnma(c, odd_c, even_c));
            w_store(to + 7 * out_point, w_fnma(sum3, d1, w_fma(sum2, d3, w_fnma(sum1, d5, d7))));
        }
}

W_INLINE void winograd_output6(const float *in, ptrdiff_t in_point, const float *bias, float *out,
                               ptrdiff_t out_pixel, int tiles) {
    const float a = (float)WINOGRAD6_A, b = (float)WINOGRAD6_B, c = (float)WINOGRAD6_C;
    const wv a1 = w_set(a), a2 = w_set(a * a), a3 = w_set(a * a * a), a4 = w_set(a * a * a * a);
    const wv b1 = w_set(b), b2 = w_set(b * b), b3 = w_set(b * b * b), b4 = w_set(b * b * b * b);
    const wv c1 = w_set(c), c2 = w_set(c * c), c3 = w_set(c * c * c), c4 = w_set(c * c * c * c);
    const wv a5 = w_set(a * a * a * a * a), b5 = w_set(b * b * b * b * b);
    const wv c5 = w_set(c * c * c * c * c);
    for (int t = 0; t < tiles; t++, in += BLOCK, out += 6 * out_pixel)
        W_EACH(v) {
            const float *m = in + v;
            float *to = out + v;
            const wv a_plus = w_load(m + in_point), a_minus = w_load(m + 2 * in_point);
            const wv b_plus = w_load(m + 3 * in_point), b_minus = w_load(m + 4 * in_point);
            const wv c_plus = w_load(m + 5 * in_point), c_minus = w_load(m + 6 * in_point);
            const wv even_a = w_add(a_plus, a_minus), odd_a = w_sub(a_plus, a_minus);
            const wv even_b = w_add(b_plus, b_minus), odd_b = w_sub(b_plus, b_minus);
            const wv even_c = w_add(c_plus, c_minus), odd_c = w_sub(c_plus, c_minus);
            const wv start = w_load(bias + v);
            w_store(to, w_add(w_add(start, w_load(m)), w_add(even_a, w_add(even_b, even_c))));
            w_store(to + out_pixel, w_fma(c1, odd_c, w_fma(b1, odd_b, w_fma(a1, odd_a, start))));
            w_store(to + 2 * out_pixel,
                    w_fma(c2, even_c, w_fma(b2, even_b, w_fma(a2, even_a, start))));
            w_store(to + 3 * out_pixel,
                    w_fma(c3, odd_c, w_fma(b3, odd_b, w_fma(a3, odd_a, start))));
            w_store(to + 4 * out_pixel,
                    w_fma(c4, even_c, w_fma(b4, even_b, w_fma(a4, even_a, start))));
            const wv last = w_add(start, w_load(m + 7 * in_point));
            w_store(to + 5 * out_pixel, w_fma(c5, odd_c, w_fma(b5, odd_b, w_fma(a5, odd_a, last))));
        }
}

/* An instruction set's conv_kernel for tiles of 4 or 6: its micro-kernel, the transforms above, and
 * what the estimate needs (the last fields of struct winograd). */
#define WINOGRAD_KERNEL(SYMBOL, ISA, MICRO, TILE, ...)                                             \
    static const struct winograd winograd##TILE = {.tile = TILE,                                   \
                                                   .micro = &MICRO,                                \
                                                   .input = winograd_input##TILE,                  \
                                                   .output = winograd_output##TILE,                \
                                                   __VA_ARGS__};                                   \
    static double rate(const struct conv_shape *s) {                                               \
        return winograd_rate(s, &winograd##TILE);                                                  \
    }                                                                                              \
    static void run(const struct conv_args *a) {                                                   \
        winograd_run(a, &winograd##TILE);                                                          \
    }                                                                                              \
    const struct conv_kernel SYMBOL = {.name = #SYMBOL,                                            \
                                       .isa = ISA,                                                 \
                                       .row_exact = true,                                          \
                                       .granule_rows = 1,                                          \
                                       .winograd = TILE,                                           \
                                       .rate = rate,                                               \
                                       .rows_least = winograd##TILE##_rows_least,                  \
                                       .weights_bytes = winograd##TILE##_weights_bytes,            \
                                       .pack = winograd##TILE##_pack,                              \
                                       .workspace_bytes = winograd##TILE##_workspace_bytes,        \
                                       .run = run};

#endif
