/* Drawing results on the picture that they were found in. */
#include "media/media.h"

#include <math.h>
#include <stdio.h>

static const uint8_t black[3] = {0, 0, 0}, white[3] = {255, 255, 255};

/* Colours a golden angle apart, so that neighbouring labels differ. */
static void label_colour(int label, uint8_t rgb[3]) {
    double hue = fmod(label * 0.61803398875 + 0.58, 1) * 6;
    for (int c = 0; c < 3; c++) { /* red, green, blue lie at hues 0, 2, 4 of 6 */
        double distance = fabs(fmod(hue - 2 * c + 9, 6) - 3);
        double v = distance <= 1 ? 1 : distance >= 2 ? 0 : 2 - distance;
        rgb[c] = (uint8_t)(40 + 215 * v);
    }
}

/* So that lines and letters are seen on a picture of any size. */
static int line_width(const struct image *im) {
    int shorter = im->width < im->height ? im->width : im->height;
    return shorter < 400 ? 1 : shorter / 400 + 1;
}

/* What is not written on: light letters on a dark ground or the other way round. */
static const uint8_t *readable_on(const uint8_t rgb[3]) {
    return 299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] > 140 * 1000 ? black : white;
}

/* Rounds into the picture, and a little beyond it. */
static int pixel(float v, int size) {
    return v < -10 ? -10 : v > (float)size + 10 ? size + 10 : (int)lroundf(v);
}

void boxes_draw(struct image *im, const struct box *boxes, int count, const struct labels *labels) {
    int width = line_width(im);
    for (int i = count - 1; i >= 0; i--) { /* the best on top */
        const struct box *b = &boxes[i];
        uint8_t colour[3];
        char text[120];
        int x0 = pixel(b->x0, im->width), y0 = pixel(b->y0, im->height);
        label_colour(b->label, colour);
        image_draw_rectangle(im, x0, y0, pixel(b->x1, im->width) - 1, pixel(b->y1, im->height) - 1,
                             width + 1, colour);
        if (labels && b->label >= 0 && b->label < labels->count)
            snprintf(text, sizeof text, "%.100s %.2f", labels->names[b->label], (double)b->score);
        else
            snprintf(text, sizeof text, "class %d %.2f", b->label, (double)b->score);
        int above = y0 - 11 * width;
        image_draw_text(im, x0 < 0 ? 0 : x0, above < 0 ? (y0 < 0 ? 0 : y0) : above, width, text,
                        readable_on(colour), colour);
    }
}

void text_regions_draw(struct image *im, const struct text_region *regions, int count) {
    static const uint8_t colour[3] = {230, 40, 60};
    int width = line_width(im);
    for (int i = 0; i < count; i++) {
        const float *c = regions[i].corners;
        for (int k = 0; k < 4; k++)
            image_draw_line(im, pixel(c[2 * k], im->width), pixel(c[2 * k + 1], im->height),
                            pixel(c[(2 * k + 2) % 8], im->width),
                            pixel(c[(2 * k + 3) % 8], im->height), width, colour);
    }
}
