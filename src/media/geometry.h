/* A little plane geometry for text regions.  For src/media only. */
#ifndef COHORT_MEDIA_GEOMETRY_H
#define COHORT_MEDIA_GEOMETRY_H

#include <stddef.h>

struct point {
    double x, y;
};

/* A rectangle in any direction: centre, unit vector along `width`, both lengths. */
struct rectangle {
    struct point centre, along;
    double width, height;
};

/* Sorts n points and leaves their convex hull, counterclockwise for y up, without points on its
 * edges, at the front; returns how many.  `hull` has room for n + 1. */
size_t convex_hull(struct point *points, size_t n, struct point *hull);
/* The rectangle of least area around a convex hull of n points (n may be 1 or 2). */
struct rectangle smallest_rectangle(const struct point *hull, size_t n);
/* x, y pairs, clockwise on a screen (y down), the top left first. */
void rectangle_corners(const struct rectangle *r, float corners[8]);

#endif
