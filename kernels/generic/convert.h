/* Conversions between ONNX's dense NCHW, images of bytes, and map rows. */
#include "kernels/generic/epilogue.h"
#include "kernels/plainops.h"

/* Where channel 0 of global row y begins in NCHW data. */
static size_t plane_row(const struct view *v, int64_t height, int64_t y) {
    size_t n = (size_t)(y / height), row = (size_t)(y % height), w = (size_t)v->width;
    return n * (size_t)v->channels * (size_t)height * w + row * w;
}

static void map_from_nchw(const float *nchw, int64_t height, const struct view *out, int64_t y0,
                          int64_t y1) {
    size_t plane = (size_t)height * (size_t)out->width;
    for (int64_t y = y0; y < y1; y++) {
        const float *row = nchw + plane_row(out, height, y);
        for (int b = 0; b < view_blocks(out); b++) {
            int lanes = view_lanes(out, b);
            const float *from = row + (size_t)b * BLOCK * plane;
            float *to = view_at(out, y, b * BLOCK, 0);
            for (int x = 0; x < out->width; x++, to += out->pixel_pitch)
                for (int j = 0; j < lanes; j++)
                    to[j] = from[(size_t)j * plane + (size_t)x];
            zero_lanes_beyond(out, y, b, 0, out->width);
        }
    }
}

static void map_to_nchw(const struct view *in, int64_t height, float *nchw, int64_t y0,
                        int64_t y1) {
    size_t plane = (size_t)height * (size_t)in->width;
    for (int64_t y = y0; y < y1; y++) {
        float *row = nchw + plane_row(in, height, y);
        for (int c = 0; c < in->channels; c++) {
            const float *from = view_at(in, y, c, 0);
            float *to = row + (size_t)c * plane;
            for (int x = 0; x < in->width; x++)
                to[x] = from[x * in->pixel_pitch];
        }
    }
}

/* `count` channels of a row of pixels of `channels` bytes each. */
static inline void look_up(const uint8_t *in, int channels, const float *table, int count,
                           float *to, ptrdiff_t pitch, int width) {
    for (int x = 0; x < width; x++, in += channels, to += pitch)
        for (int c = 0; c < count; c++)
            to[c] = table[c * 256 + in[c]];
}

static void u8_to_map_rows(const uint8_t *in, const float *table, const struct view *out,
                           int64_t y0, int64_t y1) {
    const int channels = out->channels, width = out->width;
    for (int64_t y = y0; y < y1; y++, in += (ptrdiff_t)width * channels) {
        float *to = view_at(out, y, 0, 0);
        if (channels == 3)
            look_up(in, 3, table, 3, to, out->pixel_pitch, width);
        else if (channels == 1)
            look_up(in, 1, table, 1, to, out->pixel_pitch, width);
        for (int b = 0; b < view_blocks(out) && channels != 3 && channels != 1; b++)
            look_up(in + b * BLOCK, channels, table + b * BLOCK * 256, view_lanes(out, b),
                    view_at(out, y, b * BLOCK, 0), out->pixel_pitch, width);
        zero_lanes_beyond(out, y, view_blocks(out) - 1, 0, width);
    }
}
