/* Reductions and normalisations: over an image's pixels, and over the channels of each pixel.
 *
 * Sums over channels run in 16 lanes (channel modulo 16) that are added up in a fixed tree, so the
 * compiler can use vectors and the bits are the same on every target. */
#include "kernels/generic/activate.h"
#include "kernels/generic/mathfun.h"
#include "kernels/plainops.h"

#include <math.h>
#include <string.h>

/* ---- over pixels ----------------------------------------------------------------------------- */

static void combine(enum reduce_op op, float *to, const float *from, int lanes) {
    if (op == REDUCE_MAX)
        for (int j = 0; j < lanes; j++)
            to[j] = from[j] > to[j] ? from[j] : to[j];
    else
        for (int j = 0; j < lanes; j++)
            to[j] += from[j];
}

void global_reduce(enum reduce_op op, const struct view *in, int64_t in_h, const struct view *out,
                   int64_t out_y, int block0, int block1) {
    float pixels = (float)((double)in_h * in->width);
    for (int block = block0; block < block1; block++) {
        int lanes = view_lanes(out, block);
        float all[BLOCK], row[BLOCK];
        for (int64_t y = 0; y < in_h; y++) {
            float *to = y == 0 ? all : row;
            const float *from = view_at(in, y, block * BLOCK, 0);
            memcpy(to, from, sizeof(float) * (size_t)lanes);
            for (int x = 1; x < in->width; x++) {
                from += in->pixel_pitch;
                if (lanes == BLOCK)
                    combine(op, to, from, BLOCK);
                else
                    combine(op, to, from, lanes);
            }
            if (y > 0)
                combine(op, all, row, lanes);
        }
        float *to = view_at(out, out_y, block * BLOCK, 0);
        for (int j = 0; j < lanes; j++)
            to[j] = op == REDUCE_MEAN ? all[j] / pixels : all[j];
        zero_lanes_beyond(out, out_y, block, 0, 1);
    }
}

/* ---- over channels --------------------------------------------------------------------------- */

static float sum_lanes(float *lane) {
    for (int half = BLOCK / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

static float greatest_channel(const struct view *v, const float *pixel) {
    float greatest = -INFINITY;
    for (int b = 0; b < view_blocks(v); b++, pixel += v->block_pitch) {
        int lanes = view_lanes(v, b);
        for (int j = 0; j < lanes; j++)
            greatest = pixel[j] > greatest ? pixel[j] : greatest;
    }
    return greatest;
}

static void softmax_pixel(bool log, const struct view *in, const float *from,
                          const struct view *out, float *to) {
    float greatest = greatest_channel(in, from), lane[BLOCK] = {0};
    const int blocks = view_blocks(out);
    for (int b = 0; b < blocks; b++) {
        const float *f = from + b * in->block_pitch;
        float *t = to + b * out->block_pitch;
        int lanes = view_lanes(out, b);
        for (int j = 0; j < lanes; j++) {
            float shifted = f[j] - greatest, power = math_exp(shifted);
            lane[j] += power;
            t[j] = log ? shifted : power;
        }
    }
    float sum = sum_lanes(lane), log_sum = log ? (float)math_log((double)sum) : 0;
    for (int b = 0; b < blocks; b++) {
        float *t = to + b * out->block_pitch;
        int lanes = view_lanes(out, b);
        for (int j = 0; j < lanes; j++)
            t[j] = log ? t[j] - log_sum : t[j] / sum;
    }
}

void softmax_channels_rows(bool log, const struct view *in, const struct view *out, int64_t y0,
                           int64_t y1) {
    for (int64_t y = y0; y < y1; y++) {
        for (int x = 0; x < out->width; x++)
            softmax_pixel(log, in, view_at(in, y, 0, x), out, view_at(out, y, 0, x));
        zero_lanes_beyond(out, y, view_blocks(out) - 1, 0, out->width);
    }
}

/* Mean over channels of (v - shift)^power, power 1 or 2. */
static float mean_of(const struct view *v, const float *pixel, float shift, int power) {
    float lane[BLOCK] = {0};
    for (int b = 0; b < view_blocks(v); b++, pixel += v->block_pitch) {
        int lanes = view_lanes(v, b);
        for (int j = 0; j < lanes; j++) {
            float d = pixel[j] - shift;
            lane[j] += power == 2 ? d * d : d;
        }
    }
    return sum_lanes(lane) / (float)v->channels;
}

void layer_norm_rows(const float *scale, const float *bias, float epsilon, const struct view *in,
                     const struct view *out, int64_t y0, int64_t y1) {
    for (int64_t y = y0; y < y1; y++) {
        for (int x = 0; x < out->width; x++) {
            const float *from = view_at(in, y, 0, x);
            float *to = view_at(out, y, 0, x);
            float mean = mean_of(in, from, 0, 1);
            float factor = 1.0f / sqrtf(mean_of(in, from, mean, 2) + epsilon);
            for (int b = 0; b < view_blocks(out); b++) {
                const float *f = from + b * in->block_pitch, *s = scale + b * BLOCK;
                float *t = to + b * out->block_pitch;
                int lanes = view_lanes(out, b);
                if (bias)
                    for (int j = 0; j < lanes; j++)
                        t[j] = (f[j] - mean) * factor * s[j] + bias[b * BLOCK + j];
                else
                    for (int j = 0; j < lanes; j++)
                        t[j] = (f[j] - mean) * factor * s[j];
            }
        }
        zero_lanes_beyond(out, y, view_blocks(out) - 1, 0, out->width);
    }
}

/* x / d^beta for d > 0; square roots where the usual exponents allow. */
static float divide_power(float x, float d, float beta) {
    if (beta == 0.75f) {
        float r = sqrtf(d);
        return x / (r * sqrtf(r));
    }
    if (beta == 0.5f)
        return x / sqrtf(d);
    if (beta == 1.0f)
        return x / d;
    return x / math_pow(d, beta);
}

void lrn_rows(int size, float alpha, float beta, float bias, const struct view *in,
              const struct view *out, int64_t y0, int64_t y1) {
    int below = (size - 1) / 2, above = size - 1 - below; /* ceil((size - 1) / 2) */
    float factor = alpha / (float)size;
    for (int64_t y = y0; y < y1; y++) {
        for (int x = 0; x < out->width; x++) {
            const float *from = view_at(in, y, 0, x);
            float *to = view_at(out, y, 0, x);
            for (int c = 0; c < out->channels; c++) {
                int first = c > below ? c - below : 0;
                int last = c + above < out->channels ? c + above : out->channels - 1;
                float sum = 0;
                for (int i = first; i <= last; i++) {
                    float v = from[i / BLOCK * in->block_pitch + i % BLOCK];
                    sum += v * v;
                }
                float v = from[c / BLOCK * in->block_pitch + c % BLOCK];
                to[c / BLOCK * out->block_pitch + c % BLOCK] =
                    divide_power(v, bias + factor * sum, beta);
            }
        }
        zero_lanes_beyond(out, y, view_blocks(out) - 1, 0, out->width);
    }
}
