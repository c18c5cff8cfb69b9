// The functions that elementwise_table.h is written in, for float and double, and for int32_t and int64_t.
//
// Plain C++ has its own exp, log, tanh and logistic in float: without a branch or a call a compiler turns a loop over
// them into vectors. They cover every float32, denormal numbers, infinities and NaN too, to about 2 units in the last
// place. All other functions are those of the C library, or CUDA's.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__) && !defined(OPENMINED_EMULATION)
#include <math.h>
#define OPENMINED_MATH(name) ::name
#define OPENMINED_ON_CUDA 1
#else
#define OPENMINED_MATH(name) __builtin_##name
#endif

#include "../exact_math.h"

// One function of the C library for float and double.
#define OPENMINED_FROM_C(ours, single, twice)                                    \
    OPENMINED_FUNCTION float ours(float x) { return OPENMINED_MATH(single)(x); } \
    OPENMINED_FUNCTION double ours(double x) { return OPENMINED_MATH(twice)(x); }

OPENMINED_FROM_C(absolute, fabsf, fabs)
OPENMINED_FROM_C(square_root, sqrtf, sqrt)
OPENMINED_FROM_C(sine, sinf, sin)
OPENMINED_FROM_C(cosine, cosf, cos)
OPENMINED_FROM_C(tangent, tanf, tan)
OPENMINED_FROM_C(arc_sine, asinf, asin)
OPENMINED_FROM_C(arc_cosine, acosf, acos)
OPENMINED_FROM_C(arc_tangent, atanf, atan)
OPENMINED_FROM_C(hyperbolic_sine, sinhf, sinh)
OPENMINED_FROM_C(hyperbolic_cosine, coshf, cosh)
OPENMINED_FROM_C(logarithm_1p, log1pf, log1p)
OPENMINED_FROM_C(round_up, ceilf, ceil)
OPENMINED_FROM_C(round_down, floorf, floor)
OPENMINED_FROM_C(round_even, rintf, rint)
OPENMINED_FROM_C(truncate, truncf, trunc)

// -1, 0 or 1; 0 for NaN, as in torch.
#define OPENMINED_COMMON(T)                                                                                   \
    OPENMINED_FUNCTION T sign(T x) { return static_cast<T>((x > T(0)) - (x < T(0))); }                         \
    /* The limit where it is passed; NaN where either one is. */                                              \
    OPENMINED_FUNCTION T larger(T x, T limit) { return x < limit || limit != limit ? limit : x; }             \
    OPENMINED_FUNCTION T smaller(T x, T limit) { return x > limit || limit != limit ? limit : x; }
OPENMINED_COMMON(float)
OPENMINED_COMMON(double)

OPENMINED_FUNCTION float power(float x, float z) { return z == 2.0f ? x * x : OPENMINED_MATH(powf)(x, z); }
OPENMINED_FUNCTION double power(double x, double z) { return z == 2.0 ? x * x : OPENMINED_MATH(pow)(x, z); }

// x - z * floor(x / z) without its rounding: takes the sign of z.
OPENMINED_FUNCTION float floor_remainder(float x, float z) {
    const float rest = OPENMINED_MATH(fmodf)(x, z);
    return rest != 0.0f && (z < 0.0f) != (rest < 0.0f) ? rest + z : rest;
}
OPENMINED_FUNCTION double floor_remainder(double x, double z) {
    const double rest = OPENMINED_MATH(fmod)(x, z);
    return rest != 0.0 && (z < 0.0) != (rest < 0.0) ? rest + z : rest;
}

OPENMINED_FUNCTION double exponential(double x) { return OPENMINED_MATH(exp)(x); }
OPENMINED_FUNCTION double logarithm(double x) { return OPENMINED_MATH(log)(x); }
OPENMINED_FUNCTION double hyperbolic_tangent(double x) { return OPENMINED_MATH(tanh)(x); }

#if defined(OPENMINED_ON_CUDA)
OPENMINED_FUNCTION float exponential(float x) { return ::expf(x); }
OPENMINED_FUNCTION float logarithm(float x) { return ::logf(x); }
OPENMINED_FUNCTION float hyperbolic_tangent(float x) { return ::tanhf(x); }
#else
// e^x. Cephes' expf (S. Moshier); the power of two is applied in two halves, so that denormal results come out.
OPENMINED_FUNCTION float exponential(float x) {
    float within = x > 89.0f ? 89.0f : x;  // e^89 is infinite, e^-104 is 0
    within = within < -104.0f ? -104.0f : within;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    const float shifted = within * 1.44269504088896341f + magic;
    const float whole = shifted - magic;
    const float rest = (within - whole * 0.693359375f) - whole * -2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * rest + 1.3981999507e-3f;
    y = y * rest + 8.3334519073e-3f;
    y = y * rest + 4.1665795894e-2f;
    y = y * rest + 1.6666665459e-1f;
    y = y * rest + 5.0000001201e-1f;
    y = y * rest * rest + rest + 1.0f;
    const int32_t exponent = static_cast<int32_t>(bits_of(shifted) - bits_of(magic));
    const int32_t half = exponent >> 1;
    const float first = from_bits(static_cast<uint32_t>(half + 127) << 23);
    const float second = from_bits((static_cast<uint32_t>(exponent) - static_cast<uint32_t>(half) + 127u) << 23);
    return y * first * second;
}

// ln x; denormal numbers are made normal first.
OPENMINED_FUNCTION float logarithm(float x) {
    const bool tiny = x < 1.17549435e-38f;
    const float y = logarithm_of_normal(tiny ? x * 33554432.0f : x, tiny ? -25.0f : 0.0f);  // 2^25
    const float infinite = __builtin_inff();
    const float special = x == 0.0f ? -infinite : (x == infinite ? x : __builtin_nanf(""));
    return x > 0.0f && x < infinite ? y : special;
}

// tanh x = 1 - 2 / (e^2x + 1), and near 0, where that cancels, Cephes' tanhf.
OPENMINED_FUNCTION float hyperbolic_tangent(float x) {
    const float size = absolute(x), square = x * x;
    const float far = 1.0f - 2.0f / (exponential(size + size) + 1.0f);
    float near = -5.70498872745e-3f;
    near = near * square + 2.06390887954e-2f;
    near = near * square + -5.37397155531e-2f;
    near = near * square + 1.33314422036e-1f;
    near = near * square + -3.33332819422e-1f;
    near = near * square * x + x;
    return size < 0.625f ? near : (x < 0.0f ? -far : far);
}
#endif

OPENMINED_FUNCTION float logistic(float x) { return 1.0f / (1.0f + exponential(-x)); }
OPENMINED_FUNCTION double logistic(double x) { return 1.0 / (1.0 + exponential(-x)); }

// Whole numbers wrap around as they do in torch, and no argument stops the program.
#define OPENMINED_INTEGERS(T, U)                                                                                 \
    OPENMINED_FUNCTION T sign(T x) { return static_cast<T>((x > 0) - (x < 0)); }                                  \
    OPENMINED_FUNCTION T wrapping_add(T x, T z) { return static_cast<T>(static_cast<U>(x) + static_cast<U>(z)); } \
    OPENMINED_FUNCTION T wrapping_sub(T x, T z) { return static_cast<T>(static_cast<U>(x) - static_cast<U>(z)); } \
    OPENMINED_FUNCTION T wrapping_mul(T x, T z) { return static_cast<T>(static_cast<U>(x) * static_cast<U>(z)); } \
    OPENMINED_FUNCTION T absolute(T x) { return x < 0 ? wrapping_sub(T(0), x) : x; }                             \
    /* With the sign of z; 0 for z = 0, which callers refuse. */                                                 \
    OPENMINED_FUNCTION T floor_remainder(T x, T z) {                                                             \
        const T rest = z == 0 || z == T(-1) ? T(0) : static_cast<T>(x % z);                                      \
        return rest != 0 && (z < 0) != (rest < 0) ? static_cast<T>(rest + z) : rest;                             \
    }                                                                                                            \
    /* x^-n is 1 or -1 for x = 1 and -1, and else rounds to 0. */                                                \
    OPENMINED_FUNCTION T power(T x, T z) {                                                                       \
        if (z < 0) return x == 1 ? T(1) : (x == T(-1) ? static_cast<T>(z % 2 == 0 ? 1 : -1) : T(0));             \
        T result = 1;                                                                                            \
        for (; z > 0; z = static_cast<T>(z / 2)) {                                                               \
            if (z % 2 == 1) result = wrapping_mul(result, x);                                                    \
            x = wrapping_mul(x, x);                                                                              \
        }                                                                                                        \
        return result;                                                                                           \
    }
OPENMINED_INTEGERS(int32_t, uint32_t)
OPENMINED_INTEGERS(int64_t, uint64_t)
