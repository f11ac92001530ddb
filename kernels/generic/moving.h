/* Moving channels and pixels between views: concatenation, splits, shuffles, gathers, depth to
 * space.  Values are copied, never computed with.
 *
 * A blocked view's lanes beyond its last channel are made zero by whoever writes that block. */
#include "kernels/generic/epilogue.h"
#include "kernels/plainops.h"

#include <string.h>

static int least_of(int a, int b) {
    return a < b ? a : b;
}

#if defined(__AVX512F__)
/* 1 to 15 lanes of every pixel: masked lanes are neither read nor written. */
static void copy_some_lanes(const float *from, ptrdiff_t from_pitch, float *to, ptrdiff_t to_pitch,
                            int n, int width) {
    const __mmask16 lanes = (__mmask16)((1u << n) - 1u);
    for (int x = 0; x < width; x++, from += from_pitch, to += to_pitch)
        _mm512_mask_storeu_ps(to, lanes, _mm512_maskz_loadu_ps(lanes, from));
}
#else
#define COPY(n)                                                                                    \
    case n:                                                                                        \
        for (int x = 0; x < width; x++, from += from_pitch, to += to_pitch)                        \
            memcpy(to, from, sizeof(float) * (n));                                                 \
        break;
static void copy_some_lanes(const float *from, ptrdiff_t from_pitch, float *to, ptrdiff_t to_pitch,
                            int n, int width) {
    switch (n) {
        COPY(1)
        COPY(2)
        COPY(3)
        COPY(4)
        COPY(5)
        COPY(6)
        COPY(7)
        COPY(8)
        COPY(9)
        COPY(10)
        COPY(11)
        COPY(12)
        COPY(13)
        COPY(14)
        COPY(15)
    }
}
#undef COPY
#endif

/* `n` floats of every pixel of one row. */
static void copy_lanes(const float *from, ptrdiff_t from_pitch, float *to, ptrdiff_t to_pitch,
                       int n, int width) {
    if (from_pitch == n && to_pitch == n) {
        memcpy(to, from, sizeof(float) * (size_t)n * (size_t)width);
    } else if (n == BLOCK) {
        for (int x = 0; x < width; x++, from += from_pitch, to += to_pitch)
            memcpy(to, from, sizeof(float) * BLOCK);
    } else {
        copy_some_lanes(from, from_pitch, to, to_pitch, n, width);
    }
}

static void copy_channels_rows(const struct view *in, int from_c, const struct view *out, int to_c,
                               int count, int64_t y0, int64_t y1) {
    for (int64_t y = y0; y < y1; y++) {
        for (int c = 0, n; c < count; c += n) {
            int f = from_c + c, t = to_c + c;
            n = least_of(least_of(BLOCK - f % BLOCK, BLOCK - t % BLOCK), count - c);
            copy_lanes(view_at(in, y, f, 0), in->pixel_pitch, view_at(out, y, t, 0),
                       out->pixel_pitch, n, out->width);
        }
        if (count > 0 && (to_c + count - 1) / BLOCK == view_blocks(out) - 1)
            zero_lanes_beyond(out, y, view_blocks(out) - 1, 0, out->width);
    }
}

#if defined(__AVX512F__)
/* One output block whose channels come from at most four input blocks (a channel shuffle's come
 * from that many): two permutations of two registers each.  false: from more. */
static bool shuffle_block(const int *source, const struct view *in, const struct view *out,
                          int block, int64_t y0, int64_t y1) {
    enum { MOST = 4 };
    int from_block[MOST] = {0}, found = 0, lanes = view_lanes(out, block);
    int32_t index[BLOCK] = {0};
    unsigned upper = 0; /* lanes from the second pair of blocks */
    for (int j = 0; j < lanes; j++) {
        int c = source[block * BLOCK + j], i = 0;
        while (i < found && from_block[i] != c / BLOCK)
            i++;
        if (i == MOST)
            return false;
        if (i == found)
            from_block[found++] = c / BLOCK;
        index[j] = i % 2 * BLOCK + c % BLOCK;
        upper |= (unsigned)(i / 2) << j;
    }
    const __mmask16 low = (__mmask16)(((1u << lanes) - 1u) & ~upper), high = (__mmask16)upper;
    const __m512i which = _mm512_loadu_si512(index);
    for (int64_t y = y0; y < y1; y++) {
        const float *from = view_at(in, y, 0, 0);
        const float *a = from + from_block[0] * in->block_pitch;
        const float *b = from + from_block[1] * in->block_pitch;
        const float *c = from + from_block[2] * in->block_pitch;
        const float *d = from + from_block[3] * in->block_pitch;
        float *to = view_at(out, y, block * BLOCK, 0);
        for (int x = 0; x < out->width; x++, to += out->pixel_pitch) {
            ptrdiff_t at = x * in->pixel_pitch;
            __m512 r = _mm512_maskz_permutex2var_ps(low, _mm512_loadu_ps(a + at), which,
                                                    _mm512_loadu_ps(b + at));
            if (high)
                r = _mm512_mask_blend_ps(high, r,
                                         _mm512_permutex2var_ps(_mm512_loadu_ps(c + at), which,
                                                                _mm512_loadu_ps(d + at)));
            _mm512_storeu_ps(to, r); /* lanes beyond the last channel are zero */
        }
    }
    return true;
}
#else
static bool shuffle_block(const int *source, const struct view *in, const struct view *out,
                          int block, int64_t y0, int64_t y1) {
    (void)source, (void)in, (void)out, (void)block, (void)y0, (void)y1;
    return false;
}
#endif

static void shuffle_channels_rows(const int *source, const struct view *in, const struct view *out,
                                  int64_t y0, int64_t y1) {
    for (int block = 0; block < view_blocks(out); block++) {
        int lanes = view_lanes(out, block);
        ptrdiff_t offset[BLOCK];
        if (in->blocked && out->blocked && shuffle_block(source, in, out, block, y0, y1))
            continue;
        for (int j = 0; j < lanes; j++) {
            int c = source[block * BLOCK + j];
            offset[j] = c / BLOCK * in->block_pitch + c % BLOCK;
        }
        for (int64_t y = y0; y < y1; y++) {
            const float *from = view_at(in, y, 0, 0);
            float *to = view_at(out, y, block * BLOCK, 0);
            for (int x = 0; x < out->width; x++, from += in->pixel_pitch, to += out->pixel_pitch)
                for (int j = 0; j < lanes; j++)
                    to[j] = from[offset[j]];
            zero_lanes_beyond(out, y, block, 0, out->width);
        }
    }
}

static void fill_lanes(float fill, float *to, ptrdiff_t pitch, int lanes, int width) {
    for (int x = 0; x < width; x++, to += pitch)
        for (int j = 0; j < lanes; j++)
            to[j] = fill;
}

/* Pixels of one row: those whose sources follow one another are copied together. */
static void gather_row(const int *col_of, float fill, const float *from, ptrdiff_t from_pitch,
                       float *to, ptrdiff_t to_pitch, int lanes, int width) {
    for (int x = 0, n; x < width; x += n) {
        n = 1;
        if (col_of[x] < 0) {
            while (x + n < width && col_of[x + n] < 0)
                n++;
            fill_lanes(fill, to + x * to_pitch, to_pitch, lanes, n);
        } else {
            while (x + n < width && col_of[x + n] == col_of[x] + n)
                n++;
            copy_lanes(from + col_of[x] * from_pitch, from_pitch, to + x * to_pitch, to_pitch,
                       lanes, n);
        }
    }
}

static void gather_pixels_rows(const int64_t *row_of, const int *col_of, float fill,
                               const struct view *in, const struct view *out, int64_t y0,
                               int64_t y1) {
    for (int64_t y = y0; y < y1; y++) {
        int64_t source = row_of[y - y0];
        for (int block = 0; block < view_blocks(out); block++) {
            int lanes = view_lanes(out, block);
            float *to = view_at(out, y, block * BLOCK, 0);
            if (source < 0)
                fill_lanes(fill, to, out->pixel_pitch, lanes, out->width);
            else
                gather_row(col_of, fill, view_at(in, source, block * BLOCK, 0), in->pixel_pitch, to,
                           out->pixel_pitch, lanes, out->width);
            zero_lanes_beyond(out, y, block, 0, out->width);
        }
    }
}

static void depth_to_space_rows(int block, bool dcr, const struct view *in, const struct view *out,
                                int64_t y0, int64_t y1) {
    for (int64_t y = y0; y < y1; y++) {
        int64_t from_y = y / block;
        int by = (int)(y % block);
        for (int b = 0; b < view_blocks(out); b++) {
            int lanes = view_lanes(out, b);
            for (int bx = 0; bx < block && bx < out->width; bx++) {
                ptrdiff_t offset[BLOCK];
                for (int j = 0; j < lanes; j++) {
                    int c = b * BLOCK + j;
                    int s =
                        dcr ? (by * block + bx) * out->channels + c : (c * block + by) * block + bx;
                    offset[j] = s / BLOCK * in->block_pitch + s % BLOCK;
                }
                const float *from = view_at(in, from_y, 0, 0);
                for (int x = bx; x < out->width; x += block, from += in->pixel_pitch) {
                    float *to = view_at(out, y, b * BLOCK, x);
                    for (int j = 0; j < lanes; j++)
                        to[j] = from[offset[j]];
                }
            }
            zero_lanes_beyond(out, y, b, 0, out->width);
        }
    }
}

static void space_to_depth_rows(int block, const struct view *in, const struct view *out,
                                int64_t y0, int64_t y1) {
    for (int64_t y = y0; y < y1; y++) {
        for (int by = 0; by < block; by++) {
            for (int bx = 0; bx < block; bx++) {
                int to_c = (by * block + bx) * in->channels;
                struct view from = *in;
                /* the pixels bx, bx + block, … of row y*block + by, seen as one row */
                from.data = view_at(in, y * block + by, 0, bx);
                from.row0 = y;
                from.pixel_pitch *= block;
                from.width = out->width;
                copy_channels_rows(&from, 0, out, to_c, in->channels, y, y + 1);
            }
        }
    }
}
