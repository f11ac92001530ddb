/* Taps and runs along one axis; see axis.h. */
#include "kernels/axis.h"

static int greatest_common_divisor(int a, int b) {
    while (b) {
        int r = a % b;
        a = b;
        b = r;
    }
    return a;
}

static int64_t ceil_div(int64_t a, int64_t b) { /* b > 0 */
    return a >= 0 ? (a + b - 1) / b : -(-a / b);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

struct axis axis_make(bool transposed, int in, int kernel, int stride, int pad, int dilation) {
    struct axis a = {.transposed = transposed,
                     .in = in,
                     .kernel = kernel,
                     .stride = stride,
                     .pad = pad,
                     .dilation = dilation};
    if (transposed) {
        int g = greatest_common_divisor(dilation, stride);
        a.step = stride;
        a.advance = 1;
        a.dk = stride / g;
        a.di = -(dilation / g);
    } else {
        a.step = 1;
        a.advance = stride;
        a.dk = 1;
        a.di = dilation;
    }
    return a;
}

/* Taps of one output.  *full: none of them was lost at a border. */
static struct axis_run taps_at(const struct axis *a, int64_t o, bool *full) {
    struct axis_run r = {.count = 1};
    int64_t first, last; /* of the progression, half-open */
    int64_t i, all;
    *full = true;
    if (a->transposed) {
        int64_t t = o + a->pad;
        int k = 0;
        while (k < a->dk && (t - (int64_t)k * a->dilation) % a->stride != 0)
            k++;
        if (k == a->dk || k >= a->kernel)
            return r; /* no tap ever, in this phase */
        all = (a->kernel - k + a->dk - 1) / a->dk;
        i = (t - (int64_t)k * a->dilation) / a->stride;
        r.k0 = k;
        first = i >= a->in ? ceil_div(i - a->in + 1, -a->di) : 0;
        last = i < 0 ? 0 : least(all, i / -a->di + 1);
    } else {
        all = a->kernel;
        i = o * a->stride - a->pad;
        first = i < 0 ? ceil_div(-i, a->di) : 0;
        last = i >= a->in ? 0 : least(all, ceil_div(a->in - i, a->di));
    }
    *full = first == 0 && last == all;
    if (first >= last)
        return (struct axis_run){.count = 1};
    r.taps = (int)(last - first);
    r.k0 += (int)first * a->dk;
    r.i0 = i + first * a->di;
    return r;
}

struct axis_run axis_run_at(const struct axis *a, int64_t o, int64_t end) {
    bool full;
    struct axis_run r = taps_at(a, o, &full);
    int64_t most = ceil_div(end - o, a->step);
    if (full && r.taps == 0) {
        r.count = (int)most;
    } else if (full) {
        int64_t highest = r.i0 + (a->di > 0 ? (int64_t)(r.taps - 1) * a->di : 0);
        r.count = (int)least(most, (a->in - 1 - highest) / a->advance + 1);
    } else {
        for (; r.count < most; r.count++) {
            struct axis_run next = taps_at(a, o + (int64_t)r.count * a->step, &full);
            if (full || next.taps != r.taps || next.k0 != r.k0)
                break;
        }
    }
    return r;
}
