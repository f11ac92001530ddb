/* The bitmap font behind image_draw_text().  For src/media only. */
#ifndef COHORT_MEDIA_FONT_H
#define COHORT_MEDIA_FONT_H

#include <stdbool.h>

#define FONT_WIDTH  5
#define FONT_HEIGHT 7

/* Whether pixel (x, y) of a character is ink; characters outside of 32 to 126 look like '?'. */
bool font_pixel(unsigned char character, int x, int y);

#endif
