// What the kernel files share: how a kernel is launched, and sums over a warp and over a block.
//
// Kernels are static, take raw pointers, and never return before a barrier that other threads of the block wait at.
// `<<<>>>` is no C++, so every launch goes through OPENMINED_LAUNCH: the tests' emulation of CUDA has its own.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#include "openmined_cuda.h"

#ifndef OPENMINED_LAUNCH
#define OPENMINED_LAUNCH(kernel, grid, block, shared, stream, ...) \
    kernel<<<(grid), (block), (shared), static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#endif

#ifndef OPENMINED_MOST_BLOCKS  // the tests have a few only, so that kernels go on from one element to another
#define OPENMINED_MOST_BLOCKS 65536
#endif

namespace openmined {

constexpr int WARP = 32, BLOCK = 256;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Blocks of BLOCK threads for `count` elements; kernels go on from there in steps of the whole grid.
static inline dim3 blocks_for(int64_t count) {
    const int64_t blocks = (count + BLOCK - 1) / BLOCK, most = OPENMINED_MOST_BLOCKS;
    return dim3(static_cast<unsigned>(blocks < most ? blocks : most));
}

static inline int32_t launched() { return static_cast<int32_t>(cudaGetLastError()); }

__device__ static __forceinline__ int64_t first_element() {
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ static __forceinline__ int64_t grid_step() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

struct Add {
    template <typename T>
    __device__ T operator()(T a, T b) const {
        return a + b;
    }
};

template <typename T>
__device__ static __forceinline__ T lane_xor(T value, int step) {
    return __shfl_xor_sync(ALL_LANES, value, step);
}

template <typename T>
__device__ static __forceinline__ T lane_before(T value, int step) {
    return __shfl_up_sync(ALL_LANES, value, step);
}

// `value` of all lanes put together, the same in each of them.
template <typename T, typename Operation>
__device__ static __forceinline__ T across_warp(T value, Operation operation) {
    for (int step = WARP / 2; step > 0; step /= 2) value = operation(value, lane_xor(value, step));
    return value;
}

// The same for a block of whole warps; `none` is what changes nothing. Every thread has to come.
template <typename T, typename Operation>
__device__ static __forceinline__ T across_block(T value, T none, Operation operation) {
    __shared__ T warps[WARP];
    value = across_warp(value, operation);
    const int warp = static_cast<int>(threadIdx.x) / WARP, count = static_cast<int>(blockDim.x) / WARP;
    if (threadIdx.x % WARP == 0) warps[warp] = value;
    __syncthreads();
    const int lane = static_cast<int>(threadIdx.x) % WARP;
    value = across_warp(lane < count ? warps[lane] : none, operation);
    __syncthreads();  // the next call may write over what another warp still has to read
    return value;
}

}  // namespace openmined
