/* Convex hull (A. M. Andrew 1979, "monotone chain") and the smallest rectangle around it, one of
 * whose sides lies on a side of the hull (H. Freeman, R. Shapira 1975), found with rotating
 * calipers (G. Toussaint 1983). */
#include "media/geometry.h"

#include <math.h>
#include <stdlib.h>

static int compare_points(const void *pa, const void *pb) {
    const struct point *a = pa, *b = pb;
    if (a->x != b->x)
        return a->x < b->x ? -1 : 1;
    return a->y < b->y ? -1 : a->y > b->y;
}

/* > 0 when a, b, c turn left (y up). */
static double turn(struct point a, struct point b, struct point c) {
    return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
}

size_t convex_hull(struct point *points, size_t n, struct point *hull) {
    size_t count = 0;
    if (n == 0)
        return 0;
    qsort(points, n, sizeof *points, compare_points);
    for (size_t i = 0; i < n; i++) {
        while (count >= 2 && turn(hull[count - 2], hull[count - 1], points[i]) <= 0)
            count--;
        hull[count++] = points[i];
    }
    size_t lower = count + 1;
    for (size_t i = n - 1; i-- > 0;) {
        while (count >= lower && turn(hull[count - 2], hull[count - 1], points[i]) <= 0)
            count--;
        hull[count++] = points[i];
    }
    if (count > 1) /* the first point came again */
        count--;
    if (count == 2 && hull[0].x == hull[1].x && hull[0].y == hull[1].y)
        count = 1;
    return count;
}

static double dot(struct point a, struct point b) {
    return a.x * b.x + a.y * b.y;
}

/* Moves `at` on while the next point of the hull lies further in a direction. */
static size_t furthest(const struct point *hull, size_t n, size_t at, struct point direction) {
    for (size_t steps = 0;
         steps < n && dot(hull[(at + 1) % n], direction) > dot(hull[at], direction); steps++)
        at = (at + 1) % n;
    return at;
}

static struct rectangle rectangle_of(const struct point *hull, size_t right, size_t far,
                                     size_t left, size_t base, struct point u) {
    struct point v = {-u.y, u.x};
    double u0 = dot(hull[left], u), u1 = dot(hull[right], u), v0 = dot(hull[base], v),
           v1 = dot(hull[far], v);
    double cu = (u0 + u1) / 2, cv = (v0 + v1) / 2;
    return (struct rectangle){.centre = {cu * u.x + cv * v.x, cu * u.y + cv * v.y},
                              .along = u,
                              .width = u1 - u0,
                              .height = v1 - v0};
}

struct rectangle smallest_rectangle(const struct point *hull, size_t n) {
    struct rectangle best = {.along = {1, 0}};
    size_t right = 0, far = 0, left = 0;
    if (n > 0)
        best.centre = hull[0];
    for (size_t i = 0; i < n && n > 1; i++) {
        struct point a = hull[i], b = hull[(i + 1) % n];
        double length = hypot(b.x - a.x, b.y - a.y);
        struct point u = {(b.x - a.x) / length, (b.y - a.y) / length}, v = {-u.y, u.x},
                     back = {-u.x, -u.y};
        right = furthest(hull, n, i == 0 ? (i + 1) % n : right, u);
        far = furthest(hull, n, i == 0 ? right : far, v);
        left = furthest(hull, n, i == 0 ? far : left, back);
        struct rectangle r = rectangle_of(hull, right, far, left, i, u);
        if (i == 0 || r.width * r.height < best.width * best.height)
            best = r;
    }
    return best;
}

void rectangle_corners(const struct rectangle *r, float corners[8]) {
    struct point u = r->along, c[4];
    double w = r->width / 2, h = r->height / 2;
    for (int i = 0; i < 4; i++) { /* clockwise on a screen: v is u turned by 90 degrees that way */
        double a = i == 0 || i == 3 ? -w : w, b = i < 2 ? -h : h;
        c[i] = (struct point){r->centre.x + a * u.x - b * u.y, r->centre.y + a * u.y + b * u.x};
    }
    /* Begin with the side that runs most to the right; at 45 degrees, with the longer one. */
    int first = 0;
    double most = -INFINITY, longest = 0;
    for (int i = 0; i < 4; i++) {
        double dx = c[(i + 1) % 4].x - c[i].x, dy = c[(i + 1) % 4].y - c[i].y,
               length = hypot(dx, dy);
        double rightness = length > 0 ? dx / length : 0;
        if (rightness > most + 1e-6 || (rightness > most - 1e-6 && length > longest)) {
            most = rightness;
            longest = length;
            first = i;
        }
    }
    for (int i = 0; i < 4; i++) {
        corners[2 * i] = (float)c[(first + i) % 4].x;
        corners[2 * i + 1] = (float)c[(first + i) % 4].y;
    }
}
