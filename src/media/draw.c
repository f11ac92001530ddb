/* Drawing on images: lines, rectangles, text.  Everything is clipped; no coordinate is too wild. */
#include "media/media.h"

#include "media/font.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PAD 2 /* font pixels of background around a text */

/* Fills [x0, x1) x [y0, y1). */
static void fill(struct image *im, int64_t x0, int64_t y0, int64_t x1, int64_t y1,
                 const uint8_t rgb[3]) {
    if (x0 < 0)
        x0 = 0;
    if (y0 < 0)
        y0 = 0;
    if (x1 > im->width)
        x1 = im->width;
    if (y1 > im->height)
        y1 = im->height;
    for (int64_t y = y0; y < y1; y++) {
        uint8_t *p = im->pixels + ((size_t)y * (size_t)im->width + (size_t)x0) * 3;
        for (int64_t x = x0; x < x1; x++, p += 3)
            memcpy(p, rgb, 3);
    }
}

/* A square of `thickness` pixels about (x, y). */
static void dot(struct image *im, int64_t x, int64_t y, int thickness, const uint8_t rgb[3]) {
    int64_t half = (thickness - 1) / 2;
    fill(im, x - half, y - half, x - half + thickness, y - half + thickness, rgb);
}

/* Clips the line to a frame around the image (Liang and Barsky 1984); false when none is inside. */
static bool clip_line(const struct image *im, int margin, double p[4]) {
    double from = 0, to = 1, dx = p[2] - p[0], dy = p[3] - p[1];
    const double step[4] = {-dx, dx, -dy, dy};
    const double room[4] = {p[0] + margin, im->width - 1 + margin - p[0], p[1] + margin,
                            im->height - 1 + margin - p[1]};
    for (int i = 0; i < 4; i++) {
        if (step[i] == 0 && room[i] < 0)
            return false;
        if (step[i] < 0 && room[i] / step[i] > from)
            from = room[i] / step[i];
        if (step[i] > 0 && room[i] / step[i] < to)
            to = room[i] / step[i];
    }
    if (from > to)
        return false;
    const double x = p[0], y = p[1];
    p[0] = x + from * dx;
    p[1] = y + from * dy;
    p[2] = x + to * dx;
    p[3] = y + to * dy;
    return true;
}

void image_draw_line(struct image *im, int x0, int y0, int x1, int y1, int thickness,
                     const uint8_t rgb[3]) {
    double p[4] = {x0, y0, x1, y1};
    if (thickness < 1)
        thickness = 1;
    if (!clip_line(im, thickness, p))
        return;
    double dx = p[2] - p[0], dy = p[3] - p[1];
    double longer = dx * dx > dy * dy ? (dx < 0 ? -dx : dx) : (dy < 0 ? -dy : dy);
    int steps = (int)longer + 1;
    for (int i = 0; i <= steps; i++) {
        double x = p[0] + dx * i / steps, y = p[1] + dy * i / steps;
        dot(im, (int64_t)(x + thickness + 0.5) - thickness,
            (int64_t)(y + thickness + 0.5) - thickness, thickness, rgb);
    }
}

void image_draw_rectangle(struct image *im, int x0, int y0, int x1, int y1, int thickness,
                          const uint8_t rgb[3]) {
    int64_t left = x0 < x1 ? x0 : x1, right = x0 < x1 ? x1 : x0;
    int64_t top = y0 < y1 ? y0 : y1, bottom = y0 < y1 ? y1 : y0;
    int64_t t = thickness < 1 ? 1 : thickness, before = (t - 1) / 2, after = t - before;
    fill(im, left - before, top - before, right + after, top + after, rgb);
    fill(im, left - before, bottom - before, right + after, bottom + after, rgb);
    fill(im, left - before, top - before, left + after, bottom + after, rgb);
    fill(im, right - before, top - before, right + after, bottom + after, rgb);
}

void image_draw_text(struct image *im, int x, int y, int scale, const char *text,
                     const uint8_t rgb[3], const uint8_t background[3]) {
    int64_t s = scale < 1 ? 1 : scale, left = x + PAD * s, top = y + PAD * s;
    size_t n = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        n += (*c & 0xc0) != 0x80; /* one '?' for each character of more than a byte */
    fill(im, x, y, left + (int64_t)n * (FONT_WIDTH + 1) * s - s + PAD * s,
         top + (FONT_HEIGHT + PAD) * s, background);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if ((*c & 0xc0) == 0x80)
            continue;
        for (int i = 0; i < FONT_WIDTH * FONT_HEIGHT; i++) {
            int64_t px = left + i % FONT_WIDTH * s, py = top + i / FONT_WIDTH * s;
            if (font_pixel(*c, i % FONT_WIDTH, i / FONT_WIDTH))
                fill(im, px, py, px + s, py + s, rgb);
        }
        left += (FONT_WIDTH + 1) * s;
    }
}
