/* The epilogue of operators that do not do it in registers: residual and activation, in place.
 *
 * One row of one channel block at a time, right after the sums were stored, so it works in the
 * first-level cache. */
#include "kernels/generic/activate.h"
#include "kernels/generic/mathfun.h"

#define EACH(expression)                                                                           \
    for (ptrdiff_t i = 0; i < n; i++) {                                                            \
        float x = v[i];                                                                            \
        v[i] = (expression);                                                                       \
    }

void activate_run(enum kernel_act act, float a, float b, float *v, ptrdiff_t n) {
    switch (act) {
    case KACT_RELU:
        EACH(x < 0 ? 0 : x)
        break;
    case KACT_LEAKY_RELU:
        EACH(x < 0 ? a * x : x)
        break;
    case KACT_CLIP:
        for (ptrdiff_t i = 0; i < n; i++) {
            float x = v[i] < a ? a : v[i];
            v[i] = x > b ? b : x;
        }
        break;
    case KACT_SIGMOID:
        EACH(math_sigmoid(x))
        break;
    case KACT_TANH:
        EACH(math_tanh(x))
        break;
    case KACT_HARD_SIGMOID:
        for (ptrdiff_t i = 0; i < n; i++) {
            float t = a * v[i] + b;
            t = t < 0 ? 0 : t;
            v[i] = t > 1 ? 1 : t;
        }
        break;
    case KACT_HARD_SWISH:
        for (ptrdiff_t i = 0; i < n; i++) {
            float t = v[i] * (1.0f / 6.0f) + 0.5f;
            t = t < 0 ? 0 : t;
            v[i] = v[i] * (t > 1 ? 1 : t);
        }
        break;
    case KACT_SILU:
        EACH(x * math_sigmoid(x))
        break;
    case KACT_NONE:
    case KACT_COUNT:
        break;
    }
}

void zero_lanes_beyond(const struct view *out, int64_t y, int block, int x0, int x1) {
    int lanes = view_lanes(out, block);
    if (!out->blocked || lanes >= BLOCK)
        return;
    for (int x = x0; x < x1; x++) {
        float *pixel = view_at(out, y, block * BLOCK, x);
        for (int j = lanes; j < BLOCK; j++)
            pixel[j] = 0;
    }
}

static void add_residual(const struct view *residual, const struct view *out, int64_t y, int block,
                         int x0, int x1) {
    struct runs o = runs_of(out, block, x0, x1), r = runs_of(residual, block, x0, x1);
    float *to = view_at(out, y, block * BLOCK, x0);
    const float *from = view_at(residual, y, block * BLOCK, x0);
    if (o.pixels == 1 && r.pixels == 1 && o.length == r.length) {
        for (ptrdiff_t i = 0; i < o.length; i++)
            to[i] += from[i];
        return;
    }
    int lanes = view_lanes(out, block);
    for (int x = x0; x < x1; x++, to += out->pixel_pitch, from += residual->pixel_pitch)
        for (int j = 0; j < lanes; j++)
            to[j] += from[j];
}

void epilogue_apply(const struct kernel_epilogue *e, const struct view *out, int64_t y, int block,
                    int x0, int x1) {
    static const struct kernel_epilogue none = {.act = KACT_NONE};
    if (!e)
        e = &none;
    if (e->residual && !e->residual_last)
        add_residual(e->residual, out, y, block, x0, x1);
    if (e->act != KACT_NONE) {
        struct runs o = runs_of(out, block, x0, x1);
        float *to = view_at(out, y, block * BLOCK, x0);
        for (int p = 0; p < o.pixels; p++)
            activate_run(e->act, e->a, e->b, to + p * o.pitch, o.length);
    }
    if (e->residual && e->residual_last)
        add_residual(e->residual, out, y, block, x0, x1);
    zero_lanes_beyond(out, y, block, x0, x1);
}
