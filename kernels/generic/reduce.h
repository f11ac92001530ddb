/* Reductions and normalisations: over an image's pixels, and over the channels of each pixel.
 *
 * Sums over channels run in 16 lanes (channel modulo 16) that are added up in a fixed tree, sums
 * over a row's pixels in four chains (pixel modulo 4): so vectors are used on every target, and the
 * bits are the same on all.  (Part of plain.h.) */
#include "kernels/generic/epilogue.h"
#include "kernels/plainops.h"

/* ---- over pixels ----------------------------------------------------------------------------- */

#define CHAINS 4

static ALWAYS_INLINE vec combine(const bool max, vec a, vec b) {
    return max ? vec_greatest(a, b) : a + b;
}

/* One vector of lanes over a row: `max` is constant after inlining. */
static ALWAYS_INLINE vec row_lanes(const bool max, const float *from, ptrdiff_t pitch, int width) {
    vec r[CHAINS];
    int x = CHAINS;
    if (width < CHAINS) {
        r[0] = vec_load(from);
        for (x = 1; x < width; x++)
            r[0] = combine(max, r[0], vec_load(from + x * pitch));
        return r[0];
    }
    VEC_UNROLL
    for (int k = 0; k < CHAINS; k++)
        r[k] = vec_load(from + k * pitch);
    for (; x + CHAINS <= width; x += CHAINS) {
        VEC_UNROLL
        for (int k = 0; k < CHAINS; k++)
            r[k] = combine(max, r[k], vec_load(from + (x + k) * pitch));
    }
    for (; x < width; x++)
        r[0] = combine(max, r[0], vec_load(from + x * pitch));
    return combine(max, combine(max, r[0], r[1]), combine(max, r[2], r[3]));
}

static ALWAYS_INLINE void reduce_blocked(const bool max, const float *from, ptrdiff_t row_pitch,
                                         ptrdiff_t pitch, int64_t in_h, int width, float *to) {
    for (int v = 0; v < BLOCK; v += VL) {
        vec all = row_lanes(max, from + v, pitch, width);
        for (int64_t y = 1; y < in_h; y++)
            all = combine(max, all, row_lanes(max, from + y * row_pitch + v, pitch, width));
        vec_store(to + v, all);
    }
}

/* The same sums for a narrow map, one lane at a time. */
static float row_lane(bool max, const float *from, ptrdiff_t pitch, int width) {
    float r[CHAINS];
    int chains = width < CHAINS ? 1 : CHAINS;
    for (int k = 0; k < chains; k++)
        r[k] = from[k * pitch];
    int x = chains, groups = width / chains * chains;
    for (; x < width; x++) {
        float f = from[x * pitch], *to = &r[x < groups ? x % chains : 0];
        *to = max ? greatest_of(*to, f) : *to + f;
    }
    if (chains == 1)
        return r[0];
    if (max) {
        r[0] = greatest_of(r[0], r[1]);
        r[2] = greatest_of(r[2], r[3]);
        return greatest_of(r[0], r[2]);
    }
    return (r[0] + r[1]) + (r[2] + r[3]);
}

static void global_reduce(enum reduce_op op, const struct view *in, int64_t in_h,
                          const struct view *out, int64_t out_y, int block0, int block1) {
    float pixels = (float)((double)in_h * in->width);
    for (int block = block0; block < block1; block++) {
        int lanes = view_lanes(out, block);
        float all[BLOCK] = {0};
        const float *from = view_at(in, 0, block * BLOCK, 0);
        if (in->blocked && op == REDUCE_MAX)
            reduce_blocked(true, from, in->row_pitch, in->pixel_pitch, in_h, in->width, all);
        else if (in->blocked)
            reduce_blocked(false, from, in->row_pitch, in->pixel_pitch, in_h, in->width, all);
        for (int j = 0; !in->blocked && j < lanes; j++) {
            all[j] = row_lane(op == REDUCE_MAX, from + j, in->pixel_pitch, in->width);
            for (int64_t y = 1; y < in_h; y++) {
                float r = row_lane(op == REDUCE_MAX, from + y * in->row_pitch + j, in->pixel_pitch,
                                   in->width);
                all[j] = op == REDUCE_MAX ? greatest_of(all[j], r) : all[j] + r;
            }
        }
        float *to = view_at(out, out_y, block * BLOCK, 0);
        for (int j = 0; j < lanes; j++)
            to[j] = op == REDUCE_MEAN ? all[j] / pixels : all[j];
        zero_lanes_beyond(out, out_y, block, 0, 1);
    }
}

/* A row of one vector of lanes; `power` is constant after inlining. */
static ALWAYS_INLINE vec row_powers(const int power, vec shift, const float *from, ptrdiff_t pitch,
                                    int width) {
    vec r[CHAINS];
    int x = 0;
    VEC_UNROLL
    for (int k = 0; k < CHAINS; k++)
        r[k] = vec_set(0);
    for (; x + CHAINS <= width; x += CHAINS) {
        VEC_UNROLL
        for (int k = 0; k < CHAINS; k++) {
            vec d = vec_load(from + (x + k) * pitch) - shift;
            r[k] += power == 2 ? d * d : d;
        }
    }
    for (; x < width; x++) {
        vec d = vec_load(from + x * pitch) - shift;
        r[0] += power == 2 ? d * d : d;
    }
    return (r[0] + r[1]) + (r[2] + r[3]);
}

/* The same for one lane of a narrow map. */
static float row_power(int power, float shift, const float *from, ptrdiff_t pitch, int width) {
    float r[CHAINS] = {0};
    int whole = width / CHAINS * CHAINS;
    for (int x = 0; x < width; x++) {
        float d = from[x * pitch] - shift;
        r[x < whole ? x % CHAINS : 0] += power == 2 ? d * d : d;
    }
    return (r[0] + r[1]) + (r[2] + r[3]);
}

static void row_sums(int power, const float *shift, const struct view *in, float *sums, int64_t y0,
                     int64_t y1, int block0, int block1) {
    const int blocks = view_blocks(in);
    for (int64_t y = y0; y < y1; y++)
        for (int block = block0; block < block1; block++) {
            const float *from = view_at(in, y, block * BLOCK, 0), *s = shift + block * BLOCK;
            float *to = sums + (y * blocks + block) * BLOCK;
            for (int v = 0; in->blocked && v < BLOCK; v += VL)
                vec_store(to + v, power == 2 ? row_powers(2, vec_load(s + v), from + v,
                                                          in->pixel_pitch, in->width)
                                             : row_powers(1, vec_load(s + v), from + v,
                                                          in->pixel_pitch, in->width));
            for (int j = 0; !in->blocked && j < view_lanes(in, block); j++)
                to[j] = row_power(power, s[j], from + j, in->pixel_pitch, in->width);
        }
}

/* ---- over channels --------------------------------------------------------------------------- */

/* Sums lanes j and j + 8, then j + 4 …; leaves lane[] changed. */
static float sum_lanes(float *lane) {
    for (int half = BLOCK / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

static float greatest_channel(const struct view *v, const float *pixel) {
    float greatest = -INFINITY, lane[BLOCK];
    int whole = v->channels / BLOCK, rest = v->channels % BLOCK;
    if (whole > 0) {
        vec m[NV];
        for (int i = 0; i < NV; i++)
            m[i] = vec_set(-INFINITY);
        for (int b = 0; b < whole; b++, pixel += v->block_pitch)
            for (int i = 0; i < NV; i++)
                m[i] = vec_max(vec_load(pixel + i * VL), m[i]);
        for (int i = 0; i < NV; i++)
            vec_store(lane + i * VL, m[i]);
        for (int j = 0; j < BLOCK; j++)
            greatest = lane[j] > greatest ? lane[j] : greatest;
    }
    for (int j = 0; j < rest; j++)
        greatest = pixel[j] > greatest ? pixel[j] : greatest;
    return greatest;
}

static void softmax_pixel(bool log, const struct view *in, const float *from,
                          const struct view *out, float *to) {
    float greatest = greatest_channel(in, from), lane[BLOCK] = {0};
    const int whole = out->channels / BLOCK, rest = out->channels % BLOCK;
    vec sums[NV];
    for (int i = 0; i < NV; i++)
        sums[i] = vec_set(0);
    for (int b = 0; b < whole; b++) {
        const float *f = from + b * in->block_pitch;
        float *t = to + b * out->block_pitch;
        for (int i = 0; i < NV; i++) {
            vec shifted = vec_load(f + i * VL) - vec_set(greatest), power = vmath_exp(shifted);
            sums[i] += power;
            vec_store(t + i * VL, log ? shifted : power);
        }
    }
    for (int i = 0; i < NV; i++)
        vec_store(lane + i * VL, sums[i]);
    const float *f = from + whole * in->block_pitch;
    float *t = to + whole * out->block_pitch;
    for (int j = 0; j < rest; j++) {
        float shifted = f[j] - greatest, power = math_exp(shifted);
        lane[j] += power;
        t[j] = log ? shifted : power;
    }
    float sum = sum_lanes(lane), log_sum = sum; /* of a NaN a NaN */
    if (log && sum == sum)
        log_sum = (float)math_log((double)sum);
    for (int b = 0; b < whole; b++)
        for (int i = 0; i < BLOCK; i += VL) {
            float *v = to + b * out->block_pitch + i;
            vec_store(v, log ? vec_load(v) - vec_set(log_sum) : vec_load(v) / vec_set(sum));
        }
    for (int j = 0; j < rest; j++)
        t[j] = log ? t[j] - log_sum : t[j] / sum;
}

static void softmax_channels_rows(bool log, const struct view *in, const struct view *out,
                                  int64_t y0, int64_t y1) {
    for (int64_t y = y0; y < y1; y++) {
        for (int x = 0; x < out->width; x++)
            softmax_pixel(log, in, view_at(in, y, 0, x), out, view_at(out, y, 0, x));
        zero_lanes_beyond(out, y, view_blocks(out) - 1, 0, out->width);
    }
}

/* Mean over channels of (v - shift)^power, power 1 or 2; `power` is constant after inlining. */
static ALWAYS_INLINE float mean_of(const struct view *v, const float *pixel, float shift,
                                   const int power) {
    float lane[BLOCK];
    const int whole = v->channels / BLOCK, rest = v->channels % BLOCK;
    vec sums[NV];
    for (int i = 0; i < NV; i++)
        sums[i] = vec_set(0);
    for (int b = 0; b < whole; b++, pixel += v->block_pitch)
        for (int i = 0; i < NV; i++) {
            vec d = vec_load(pixel + i * VL) - vec_set(shift);
            sums[i] += power == 2 ? d * d : d;
        }
    for (int i = 0; i < NV; i++)
        vec_store(lane + i * VL, sums[i]);
    for (int j = 0; j < rest; j++) {
        float d = pixel[j] - shift;
        lane[j] += power == 2 ? d * d : d;
    }
    return sum_lanes(lane) / (float)v->channels;
}

static void layer_norm_pixel(const float *scale, const float *bias, float epsilon,
                             const struct view *in, const float *from, const struct view *out,
                             float *to) {
    float mean = mean_of(in, from, 0, 1);
    float factor = 1.0f / sqrtf(mean_of(in, from, mean, 2) + epsilon);
    const int whole = out->channels / BLOCK, rest = out->channels % BLOCK;
    for (int b = 0; b < whole; b++)
        for (int i = 0; i < BLOCK; i += VL) {
            vec x = vec_load(from + b * in->block_pitch + i) - vec_set(mean);
            x = x * vec_set(factor) * vec_load(scale + b * BLOCK + i);
            if (bias)
                x += vec_load(bias + b * BLOCK + i);
            vec_store(to + b * out->block_pitch + i, x);
        }
    const float *f = from + whole * in->block_pitch, *s = scale + whole * BLOCK;
    float *t = to + whole * out->block_pitch;
    for (int j = 0; j < rest; j++) {
        float x = (f[j] - mean) * factor * s[j];
        t[j] = bias ? x + bias[whole * BLOCK + j] : x;
    }
}

static void layer_norm_rows(const float *scale, const float *bias, float epsilon,
                            const struct view *in, const struct view *out, int64_t y0, int64_t y1) {
    for (int64_t y = y0; y < y1; y++) {
        for (int x = 0; x < out->width; x++)
            layer_norm_pixel(scale, bias, epsilon, in, view_at(in, y, 0, x), out,
                             view_at(out, y, 0, x));
        zero_lanes_beyond(out, y, view_blocks(out) - 1, 0, out->width);
    }
}

/* x / d^beta for d > 0; square roots where the usual exponents allow. */
static ALWAYS_INLINE float divide_power(float x, float d, float beta) {
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

/* The squares of channels [c - below, c + 16 + above) of a pixel, zero beyond its ends. */
#define LRN_SPAN 32 /* the most channels in a sum; wider sums go one by one */

static void lrn_squares(const struct view *in, const float *pixel, int c, int below, int count,
                        float *square) {
    for (int i = 0; i < count; i++) {
        int at = c - below + i;
        bool inside = at >= 0 && at < in->channels;
        float v = inside ? pixel[at / BLOCK * in->block_pitch + at % BLOCK] : 0;
        square[i] = v * v;
    }
}

static ALWAYS_INLINE void lrn_block(int size, float factor, const float beta, float bias,
                                    const float *square, const float *from, float *to, int lanes) {
    float sum[BLOCK] = {0};
    for (int i = 0; i < size; i++)
        for (int j = 0; j < BLOCK; j++)
            sum[j] += square[i + j];
    if (lanes == BLOCK)
        for (int j = 0; j < BLOCK; j++)
            to[j] = divide_power(from[j], bias + factor * sum[j], beta);
    else
        for (int j = 0; j < lanes; j++)
            to[j] = divide_power(from[j], bias + factor * sum[j], beta);
}

static void lrn_pixel(int size, float factor, float beta, float bias, const struct view *in,
                      const float *pixel, const struct view *out, float *to_pixel) {
    int below = (size - 1) / 2, above = size - 1 - below; /* ceil((size - 1) / 2) */
    for (int b = 0; b < view_blocks(out); b++) {
        const float *from = pixel + b * in->block_pitch;
        float *to = to_pixel + b * out->block_pitch, square[BLOCK + LRN_SPAN];
        int lanes = view_lanes(out, b);
        if (size <= LRN_SPAN) {
            lrn_squares(in, pixel, b * BLOCK, below, BLOCK + size - 1, square);
            if (beta == 0.75f)
                lrn_block(size, factor, 0.75f, bias, square, from, to, lanes);
            else
                lrn_block(size, factor, beta, bias, square, from, to, lanes);
            continue;
        }
        for (int j = 0; j < lanes; j++) {
            int c = b * BLOCK + j, first = c > below ? c - below : 0;
            int last = c + above < out->channels ? c + above : out->channels - 1;
            float sum = 0;
            for (int i = first; i <= last; i++) {
                float v = pixel[i / BLOCK * in->block_pitch + i % BLOCK];
                sum += v * v;
            }
            to[j] = divide_power(from[j], bias + factor * sum, beta);
        }
    }
}

static void lrn_rows(int size, float alpha, float beta, float bias, const struct view *in,
                     const struct view *out, int64_t y0, int64_t y1) {
    float factor = alpha / (float)size;
    for (int64_t y = y0; y < y1; y++) {
        for (int x = 0; x < out->width; x++)
            lrn_pixel(size, factor, beta, bias, in, view_at(in, y, 0, x), out,
                      view_at(out, y, 0, x));
        zero_lanes_beyond(out, y, view_blocks(out) - 1, 0, out->width);
    }
}

#undef CHAINS
