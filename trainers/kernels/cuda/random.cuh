// Random numbers by counting, the same bits as on the CPU (trainers/kernels/src/exact.cpp, philox.py): every step is one
// that IEEE 754 defines, so this has to be compiled without fused multiply-add.
#pragma once

#include "launch.cuh"

namespace openmined {

struct Words {
    uint32_t word[4];
};

// Philox4x32-10 (Salmon et al. 2011): block `index` of a stream.
__device__ static __forceinline__ Words philox(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) {
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

__device__ static __forceinline__ float uniform_of(uint32_t word) {  // the middle of one of 2^23 equal parts of (0, 1)
    return (static_cast<float>(word >> 9) + 0.5f) * 1.1920928955078125e-7f;
}

// ln x of normal x in (0, 1). Cephes' logf.
__device__ static __forceinline__ float exact_logarithm(float x) {
    const uint32_t bits = __float_as_uint(x);
    float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
    float m = __uint_as_float((bits & 0x007fffffu) | 0x3f000000u);
    const bool small = m < 0.70710678f;
    e = small ? e - 1.0f : e;
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
    y = y * m * square;
    y = y + e * -2.12194440e-4f;
    y = y - 0.5f * square;
    return (m + y) + e * 0.693359375f;
}

// One of the two normal numbers of two words (Box and Muller 1958).
__device__ static __forceinline__ float normal_of(uint32_t first, uint32_t second, bool odd) {
    const float radius = sqrtf(-2.0f * exact_logarithm(uniform_of(first)));
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
    const float turned = ((quarter & 1) != 0) == odd ? across : up;
    const bool negative = odd ? quarter >= 2 : quarter == 1 || quarter == 2;
    return radius * (negative ? -turned : turned);
}

// Number `index` of a stream of normals, and of uniform numbers in (0, 1).
__device__ static __forceinline__ float normal_at(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) {
    const Words words = philox(seed, call, stream, index / 4);
    const bool later = index % 4 >= 2;
    return normal_of(later ? words.word[2] : words.word[0], later ? words.word[3] : words.word[1], index % 2 != 0);
}

__device__ static __forceinline__ uint32_t word_at(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) {
    const Words words = philox(seed, call, stream, index / 4);
    const int at = static_cast<int>(index % 4);
    return at == 0 ? words.word[0] : at == 1 ? words.word[1] : at == 2 ? words.word[2] : words.word[3];
}

__device__ static __forceinline__ float uniform_at(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) {
    return uniform_of(word_at(seed, call, stream, index));
}

}  // namespace openmined
