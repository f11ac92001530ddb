/* Activations in double for kernel tests; see testact.h. */
#include "tests/support/testact.h"

#include <float.h>
#include <math.h>

double test_activation(enum kernel_act act, double a, double b, double x) {
    switch (act) {
    case KACT_RELU:
        return fmax(x, 0);
    case KACT_LEAKY_RELU:
        return x < 0 ? a * x : x;
    case KACT_CLIP:
        return fmin(fmax(x, a), b);
    case KACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case KACT_TANH:
        return tanh(x);
    case KACT_HARD_SIGMOID:
        return fmax(0, fmin(1, a * x + b));
    case KACT_HARD_SWISH:
        return x * fmax(0, fmin(1, x / 6 + 0.5));
    case KACT_SILU:
        return x / (1 + exp(-x));
    case KACT_NONE:
    case KACT_COUNT:
        break;
    }
    return x;
}

double test_epilogue(const struct kernel_epilogue *e, double sum, double residual) {
    if (!e->residual)
        return test_activation(e->act, e->a, e->b, sum);
    if (e->residual_last)
        return test_activation(e->act, e->a, e->b, sum) + residual;
    return test_activation(e->act, e->a, e->b, sum + residual);
}

double test_epilogue_tolerance(const struct kernel_epilogue *e, double argument_error, double sum,
                               double residual) {
    /* The steepest slope: hard swish reaches 3/2, SiLU 1.1; LeakyRelu and HardSigmoid |a|. */
    double slope = fmax(1.5, fabs((double)e->a));
    double size = 1 + fabs(sum) + (e->residual ? fabs(residual) : 0);
    return slope * argument_error + 4 * FLT_EPSILON * slope * size;
}
