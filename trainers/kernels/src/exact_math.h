// Arithmetic that gives the same bits wherever it is compiled without fused multiply-add, in C++ as in CUDA: the random
// numbers of philox.py. Every step is one that IEEE 754 defines.
#pragma once

#include <math.h>
#include <stdint.h>

#if !defined(OPENMINED_FUNCTION)
#if defined(__CUDACC__)
#define OPENMINED_FUNCTION __host__ __device__ static inline
#else
#define OPENMINED_FUNCTION static inline __attribute__((unused))
#endif
#endif

OPENMINED_FUNCTION uint32_t bits_of(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}
OPENMINED_FUNCTION float from_bits(uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

// ln(x 2^more) of positive normal x. Cephes' logf.
OPENMINED_FUNCTION float logarithm_of_normal(float x, float more) {
    const uint32_t bits = bits_of(x);
    float exponent = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126) + more;
    float m = from_bits((bits & 0x007fffffu) | 0x3f000000u);  // in [0.5, 1)
    const bool small = m < 0.707106781186547524f;
    exponent = small ? exponent - 1.0f : exponent;
    m = (small ? m + m : m) - 1.0f;
    const float square = m * m;
    float y = 7.0376836292e-2f;
    y = y * m + -1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m + -1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m + -1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m + -2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * square + exponent * -2.12194440e-4f - 0.5f * square;
    return m + y + exponent * 0.693359375f;
}

struct PhiloxWords {
    uint32_t word[4];
};

// Philox4x32-10 (Salmon et al. 2011): block `index` of a stream.
OPENMINED_FUNCTION PhiloxWords philox(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) {
    uint32_t c0 = static_cast<uint32_t>(index), c1 = stream;
    uint32_t c2 = static_cast<uint32_t>(call), c3 = static_cast<uint32_t>(call >> 32);
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t first = uint64_t{0xD2511F53u} * c0, second = uint64_t{0xCD9E8D57u} * c2;
        c0 = static_cast<uint32_t>(second >> 32) ^ c1 ^ k0;
        c1 = static_cast<uint32_t>(second);
        c2 = static_cast<uint32_t>(first >> 32) ^ c3 ^ k1;
        c3 = static_cast<uint32_t>(first);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

OPENMINED_FUNCTION float uniform_of(uint32_t word) {  // the middle of one of 2^23 equal parts of (0, 1)
    return (static_cast<float>(word >> 9) + 0.5f) * 1.1920928955078125e-7f;
}

struct NormalPair {
    float number[2];
};

// Two normal numbers of two words (Box and Muller 1958). The angle is taken as a quarter of the circle and the rest
// from its middle, for which short polynomials do.
OPENMINED_FUNCTION NormalPair normals_of(uint32_t first, uint32_t second) {
    const float radius = sqrtf(-2.0f * logarithm_of_normal(uniform_of(first), 0.0f));
    const float quarters = uniform_of(second) * 4.0f;
    const int quarter = static_cast<int>(quarters);
    const float x = ((quarters - static_cast<float>(quarter)) - 0.5f) * 1.57079637f;
    const float square = x * x;
    float sine = -1.9515295891e-4f;
    sine = sine * square + 8.3321608736e-3f;
    sine = sine * square + -1.6666654611e-1f;
    sine = sine * square * x + x;
    float cosine = 2.443315711809948e-5f;
    cosine = cosine * square + -1.388731625493765e-3f;
    cosine = cosine * square + 4.166664568298827e-2f;
    cosine = cosine * square * square - 0.5f * square + 1.0f;
    const float across = (cosine - sine) * 0.70710678f, up = (cosine + sine) * 0.70710678f;
    // The quarters of the circle: (across, up), (-up, across), (-across, -up), (up, -across).
    const bool turned = (quarter & 1) != 0;
    const float one = turned ? up : across, other = turned ? across : up;
    return {{radius * (quarter == 1 || quarter == 2 ? -one : one), radius * (quarter >= 2 ? -other : other)}};
}
