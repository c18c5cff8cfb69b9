// Random numbers by counting, the same bits as on the CPU: exact_math.h, compiled without fused multiply-add.
#pragma once

#include "launch.cuh"

#include "../src/exact_math.h"

namespace openmined {

// Number `index` of a stream of normals, and of uniform numbers in (0, 1).
__device__ static __forceinline__ float normal_at(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) {
    const PhiloxWords words = philox(seed, call, stream, index / 4);
    const bool later = index % 4 >= 2;
    return normals_of(words.word[later ? 2 : 0], words.word[later ? 3 : 1]).number[index % 2];
}

__device__ static __forceinline__ uint32_t word_at(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) {
    const PhiloxWords words = philox(seed, call, stream, index / 4);
    const int at = static_cast<int>(index % 4);
    return at == 0 ? words.word[0] : at == 1 ? words.word[1] : at == 2 ? words.word[2] : words.word[3];
}

__device__ static __forceinline__ float uniform_at(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) {
    return uniform_of(word_at(seed, call, stream, index));
}

}  // namespace openmined
