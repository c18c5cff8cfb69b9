// Vectors of the width that one instruction set has, and the functions of them that the kernels need.
//
// Included by kernels.cpp only, which is compiled once for each instruction set. Nothing of the C++ standard library
// may come in here: its inline functions would be compiled for AVX-512 as well, and the linker keeps any one copy.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#define OM_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define OM_UNROLL _Pragma("unroll")
#else
#define OM_UNROLL _Pragma("GCC unroll 32")
#endif

#if defined(OPENMINED_AVX512)
#define OM_LANES 16
#define OM_TILE_ROWS 13  // 26 sums and 2 vectors of the right side in 32 registers; 128 rows are 10 tiles
#elif defined(OPENMINED_AVX2)
#define OM_LANES 8
#define OM_TILE_ROWS 6  // 12 sums, 2 vectors and 1 broadcast in 16 registers
#else
#define OM_LANES 4
#if defined(__aarch64__)
#define OM_TILE_ROWS 12
#else
#define OM_TILE_ROWS 6
#endif
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define OM_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define OM_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Integers{__VA_ARGS__})
#endif

namespace OM_NAMESPACE {

constexpr int LANES = OM_LANES;
constexpr int TILE_ROWS = OM_TILE_ROWS;
constexpr int PANEL = 2 * LANES;  // columns of a panel: batch rows that are worked on together

typedef float Vector __attribute__((vector_size(OM_LANES * 4)));
typedef int32_t Integers __attribute__((vector_size(OM_LANES * 4)));
typedef Vector UnalignedVector __attribute__((aligned(4), may_alias));

OM_INLINE Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
OM_INLINE void store(float* to, Vector value) { *reinterpret_cast<UnalignedVector*>(to) = value; }

OM_INLINE Vector broadcast(float value) {
#if OM_LANES == 16
    return Vector{value, value, value, value, value, value, value, value,
                  value, value, value, value, value, value, value, value};
#elif OM_LANES == 8
    return Vector{value, value, value, value, value, value, value, value};
#else
    return Vector{value, value, value, value};
#endif
}

// Sum of all lanes: adds the vector to itself, moved on by half of what is left each time.
OM_INLINE float sum(Vector value) {
#if OM_LANES == 16
    value += OM_SHUFFLE(value, value, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    value += OM_SHUFFLE(value, value, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    value += OM_SHUFFLE(value, value, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    value += OM_SHUFFLE(value, value, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif OM_LANES == 8
    value += OM_SHUFFLE(value, value, 4, 5, 6, 7, 0, 1, 2, 3);
    value += OM_SHUFFLE(value, value, 2, 3, 0, 1, 6, 7, 4, 5);
    value += OM_SHUFFLE(value, value, 1, 0, 3, 2, 5, 4, 7, 6);
#else
    value += OM_SHUFFLE(value, value, 2, 3, 0, 1);
    value += OM_SHUFFLE(value, value, 1, 0, 3, 2);
#endif
    return value[0];
}

OM_INLINE Vector minimum(Vector a, Vector b) { return a < b ? a : b; }
OM_INLINE Vector maximum(Vector a, Vector b) { return a > b ? a : b; }

// e^x to about 1 unit in the last place; x beyond what float32 holds counts as its end. Cephes' expf (S. Moshier).
OM_INLINE Vector exponential(Vector x) {
    x = maximum(minimum(x, broadcast(88.72f)), broadcast(-87.0f));
    const Vector magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    const Vector shifted = x * broadcast(1.44269504088896341f) + magic;
    const Vector whole = shifted - magic;
    Vector rest = x - whole * broadcast(0.693359375f);
    rest = rest - whole * broadcast(-2.12194440e-4f);
    Vector y = broadcast(1.9875691500e-4f);
    y = y * rest + broadcast(1.3981999507e-3f);
    y = y * rest + broadcast(8.3334519073e-3f);
    y = y * rest + broadcast(4.1665795894e-2f);
    y = y * rest + broadcast(1.6666665459e-1f);
    y = y * rest + broadcast(5.0000001201e-1f);
    y = y * rest * rest + rest + broadcast(1.0f);
    const Integers exponent = reinterpret_cast<Integers>(shifted) - reinterpret_cast<Integers>(magic);
    return reinterpret_cast<Vector>(reinterpret_cast<Integers>(y) + (exponent << 23));
}

// ln x of normal x > 0. Cephes' logf.
OM_INLINE Vector logarithm(Vector x) {
    const Integers bits = reinterpret_cast<Integers>(x);
    Integers exponent = (bits >> 23) - 126;
    Vector m = reinterpret_cast<Vector>((bits & 0x007fffff) | 0x3f000000);  // in [0.5, 1)
    const Integers small = m < broadcast(0.707106781186547524f);            // -1 where it is
    exponent += small;
    m = (small ? m + m : m) - broadcast(1.0f);
    const Vector e = __builtin_convertvector(exponent, Vector);
    const Vector square = m * m;
    Vector y = broadcast(7.0376836292e-2f);
    y = y * m + broadcast(-1.1514610310e-1f);
    y = y * m + broadcast(1.1676998740e-1f);
    y = y * m + broadcast(-1.2420140846e-1f);
    y = y * m + broadcast(1.4249322787e-1f);
    y = y * m + broadcast(-1.6668057665e-1f);
    y = y * m + broadcast(2.0000714765e-1f);
    y = y * m + broadcast(-2.4999993993e-1f);
    y = y * m + broadcast(3.3333331174e-1f);
    y = y * m * square + e * broadcast(-2.12194440e-4f) - broadcast(0.5f) * square;
    return m + y + e * broadcast(0.693359375f);
}

// Lanes of two vectors in turn: a0 b0 a1 b1 ..., the lower or the upper half of them.
OM_INLINE Vector interleave_low(Vector a, Vector b) {
#if OM_LANES == 16
    return OM_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif OM_LANES == 8
    return OM_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
    return OM_SHUFFLE(a, b, 0, 4, 1, 5);
#endif
}

OM_INLINE Vector interleave_high(Vector a, Vector b) {
#if OM_LANES == 16
    return OM_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif OM_LANES == 8
    return OM_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
    return OM_SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}

// Turns a block [LANES, LANES] with rows `from_stride` apart into one with rows `to_stride` apart. Each round of
// interleaving rows i and i + LANES / 2 moves one bit of the row number into the lane number.
OM_INLINE void transpose_block(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    Vector rows[LANES];
    OM_UNROLL
    for (int row = 0; row < LANES; row++) rows[row] = load(from + row * from_stride);
    OM_UNROLL
    for (int width = 1; width < LANES; width *= 2) {
        Vector next[LANES];
        OM_UNROLL
        for (int row = 0; row < LANES / 2; row++) {
            next[2 * row] = interleave_low(rows[row], rows[row + LANES / 2]);
            next[2 * row + 1] = interleave_high(rows[row], rows[row + LANES / 2]);
        }
        OM_UNROLL
        for (int row = 0; row < LANES; row++) rows[row] = next[row];
    }
    OM_UNROLL
    for (int row = 0; row < LANES; row++) store(to + row * to_stride, rows[row]);
}

}  // namespace OM_NAMESPACE
