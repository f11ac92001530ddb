/* The functions of mathfun.h over one kind of number: a float, or a vector of them.
 *
 * Included by mathfun.h with names for the kind: FN(f) names a function, REAL is the number, UINT
 * and SINT its bits, K(c) a constant of the kind, BITS_OF and FROM_BITS turn numbers into bits and
 * back, IF_LESS(x, y, a, b) is x < y ? a : b, IF_EQUAL likewise, MAX_OF(a, b) is a > b ? a : b (b
 * where one is a NaN), MIN_OF likewise.  NEAREST(t) is the integer nearest to t (of two the even
 * one), BEYOND(t, n) is t minus it, TIMES_2_TO(y, n, t) is y 2^n for y near 1.  All three are for t
 * = EXPONENT(u), which is u within -126 and 128, or u itself where they do without that: 2^t ends
 * at 2^-126 or less, and at infinity.
 * Each operation is one of IEEE's on a lane, in a fixed order, so floats and vectors of any width
 * give the same bits.
 * The polynomials are Chebyshev fits made for this file; which function they fit, and the fit's
 * error, stands at each. */

/* (e^r - 1) for |r| <= ln(2)/2: (e^r - 1 - r) / r^2 to 6.6e-8. */
static INLINE REAL FN(exp_part)(REAL r) {
    REAL g = K(0.00139262508f);
    g = g * r + K(0.00836323288f);
    g = g * r + K(0.0416665542f);
    g = g * r + K(0.166665767f);
    g = g * r + K(0.5f);
    return r + r * r * g;
}

/* e^x.  x = n ln 2 + r, |r| <= ln(2)/2; ln 2 in two parts, the first short enough that n times it
 * is exact (W. J. Cody, W. Waite, Software Manual for the Elementary Functions, 1980). */
static INLINE REAL FN(exp)(REAL x) {
    const REAL magic = K(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    REAL c = MIN_OF(K(89.0f), MAX_OF(K(-104.0f), x));
    REAL shifted = c * K(1.44269504f) + magic;
    REAL n = shifted - magic;
    REAL r = c - n * K(0.693359375f);
    REAL y = K(1.0f) + FN(exp_part)(r - n * K(-2.12194440e-4f));
    /* times 2^n in two steps, each a normal number, so that results below the normal range round
     * once and those above it overflow */
    SINT k = (SINT)(BITS_OF(shifted) - 0x4b400000u);
    SINT k1 = k >> 1, k2 = k - k1;
    y = y * FROM_BITS((UINT)(k1 + 127) << 23);
    return y * FROM_BITS((UINT)(k2 + 127) << 23);
}

/* 1 / (1 + e^-x), never below 1.2e-38; anything for a NaN.  With e^-|x|, which is a normal number
 * from -87.3 on: n goes straight into its exponent (magic's bits leave at the top). */
static INLINE REAL FN(sigmoid_number)(REAL x) {
    const REAL magic = K(12582912.0f);
    REAL c = MAX_OF(K(-87.3f), FROM_BITS(BITS_OF(x) | 0x80000000u));
    REAL shifted = c * K(1.44269504f) + magic;
    REAL n = shifted - magic;
    REAL r = c - n * K(0.693359375f);
    REAL y = K(1.0f) + FN(exp_part)(r - n * K(-2.12194440e-4f));
    REAL e = FROM_BITS(BITS_OF(y) + (BITS_OF(shifted) << 23));
    return IF_LESS(x, K(0), e, K(1.0f)) / (K(1.0f) + e);
}

static INLINE REAL FN(sigmoid)(REAL x) {
    return IF_EQUAL(x, x, FN(sigmoid_number)(x), x);
}

/* x / (1 + e^-x) with e^-x = 2^t, t = n + f.  Rounding t, and log2(e), does what changing x by 5/4
 * 2^-24 of it would do; nothing else adds as much as 4 ulp.  2^t ends at 2^-126, beside which 1 is
 * 1, and at infinity: from -88.8 down the result is -0. */
static INLINE REAL FN(silu)(REAL x) {
    REAL t = EXPONENT(x * K(-1.44269504f));
    REAL n = NEAREST(t), f = BEYOND(t, n);
    return x / (K(1.0f) + TIMES_2_TO(FN(power)(f), n, t));
}

static INLINE REAL FN(tanh)(REAL x) {
    REAL t = x * x;
    /* (tanh(x) / x - 1) / x^2 for |x| < 0.6, to 1.0e-9 */
    REAL g = K(0.00237050555f);
    g = g * t + K(-0.0084098593f);
    g = g * t + K(0.0217882625f);
    g = g * t + K(-0.053961545f);
    g = g * t + K(0.133333128f);
    g = g * t + K(-0.333333332f);
    REAL small = x + x * t * g;
    REAL a = IF_LESS(x, K(0), -x, x);
    REAL large = K(1.0f) - K(2.0f) / (FN(exp)(a + a) + K(1.0f));
    large = IF_LESS(x, K(0), -large, large);
    return IF_LESS(a, K(0.6f), small, large);
}

static INLINE REAL FN(erf)(REAL x) {
    REAL a = IF_LESS(x, K(0), -x, x);
    REAL t = x * x;
    /* erf(x) / x - 1 for |x| < 1, to 3.4e-11 */
    REAL p = K(-9.66704457e-6f);
    p = p * t + K(0.00011265959f);
    p = p * t + K(-0.000848408041f);
    p = p * t + K(0.00522103181f);
    p = p * t + K(-0.0268654307f);
    p = p * t + K(0.112837825f);
    p = p * t + K(-0.376126385f);
    p = p * t + K(0.128379167f);
    REAL small = x + x * p;
    /* -ln(1 - erf(x)) for 1 <= x <= 4, in z = x - 2.5, to 8.0e-9 */
    REAL z = MIN_OF(K(4.0f), a) - K(2.5f);
    REAL q = K(7.58268197e-8f);
    q = q * z + K(-1.61558115e-6f);
    q = q * z + K(1.29256959e-5f);
    q = q * z + K(-7.73876036e-5f);
    q = q * z + K(0.000420791651f);
    q = q * z + K(-0.00216516987f);
    q = q * z + K(0.0108581129f);
    q = q * z + K(0.943893645f);
    q = q * z + K(5.35268075f);
    q = q * z + K(7.80681528f);
    REAL large = K(1.0f) - FN(exp)(-q);
    large = IF_LESS(x, K(0), -large, large);
    return IF_LESS(a, K(1.0f), small, IF_EQUAL(a, a, large, x)); /* the last for a NaN */
}

static INLINE REAL FN(gelu)(REAL x) {
    return K(0.5f) * x * (K(1.0f) + FN(erf)(x * K(0.707106781f)));
}

/* The epilogue's activations (kernel_act); a NaN stays one. */
static INLINE REAL FN(act)(const enum kernel_act act, REAL a, REAL b, REAL x) {
    switch (act) {
    case KACT_RELU:
        return MAX_OF(K(0), x);
    case KACT_LEAKY_RELU:
        return IF_LESS(x, K(0), a * x, x);
    case KACT_CLIP:
        return MIN_OF(b, MAX_OF(a, x));
    case KACT_SIGMOID:
        return FN(sigmoid)(x);
    case KACT_TANH:
        return FN(tanh)(x);
    case KACT_HARD_SIGMOID:
        return MIN_OF(K(1.0f), MAX_OF(K(0), a * x + b));
    case KACT_HARD_SWISH:
        return x * MIN_OF(K(1.0f), MAX_OF(K(0), x * K(1.0f / 6.0f) + K(0.5f)));
    case KACT_SILU:
        return FN(silu)(x);
    case KACT_NONE:
    case KACT_COUNT:
        break;
    }
    return x;
}
