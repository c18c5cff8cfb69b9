// Kernels with mistakes that the emulation has to find, and their counterparts without.
#include <stdint.h>

#include <cuda_runtime.h>

#define FAULT_API extern "C" __attribute__((visibility("default")))

namespace {

__global__ void reverse_kernel(float* values) {
    __shared__ float tile[64];
    tile[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    values[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

__global__ void unsynchronised_kernel(float* values) {
    __shared__ float tile[64];
    tile[threadIdx.x] = values[threadIdx.x];
    values[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

__global__ void divergent_barrier_kernel(float* values) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    values[threadIdx.x] = 1.0f;
}

__global__ void early_end_kernel(float* values) {
    if (threadIdx.x == 63) return;
    __syncthreads();
    values[threadIdx.x] = 1.0f;
}

__global__ void half_a_warp_kernel(float* values) {
    if (threadIdx.x % 32 < 16) values[threadIdx.x] = __shfl_xor_sync(0xffffffffu, values[threadIdx.x], 1);
}

__global__ void absent_lane_kernel(float* values) {
    if (threadIdx.x % 32 < 16) values[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, values[threadIdx.x], 16);
}

__global__ void never_written_kernel(float* values) {
    __shared__ float tile[64];
    values[threadIdx.x] = tile[threadIdx.x];
}

__global__ void without_syncwarp_kernel(float* values) {
    __shared__ float tile[64];
    tile[threadIdx.x] = values[threadIdx.x];
    values[threadIdx.x] = tile[threadIdx.x ^ 1];
}

__global__ void with_syncwarp_kernel(float* values) {
    __shared__ float tile[64];
    tile[threadIdx.x] = values[threadIdx.x];
    __syncwarp();
    values[threadIdx.x] = tile[threadIdx.x ^ 1];
}

__global__ void dynamic_kernel(float* values) {
    OPENMINED_DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    values[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

__global__ void beyond_static_kernel(float* values) {
    __shared__ float tile[63];
    tile[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    values[threadIdx.x] = tile[0];
}

__global__ void warp_kernel(float* values) {  // each lane: how many lanes have a number above 3, and lane 5's number
    const unsigned above = __ballot_sync(0xffffffffu, values[threadIdx.x] > 3.0f);
    const float fifth = __shfl_sync(0xffffffffu, values[threadIdx.x], 5);
    const float before = __shfl_up_sync(0xffffffffu, values[threadIdx.x], 1);
    const float after = __shfl_down_sync(0xffffffffu, values[threadIdx.x], 1);
    values[threadIdx.x] = static_cast<float>(__builtin_popcount(above)) * 1e6f + fifth * 1e4f + before * 100.0f + after;
}

__global__ void count_kernel(float* values) { atomicAdd(values, 1.0f); }

}  // namespace

#define FAULT(name, shared)                                                          \
    FAULT_API int32_t fault_##name(float* values) {                                  \
        OPENMINED_LAUNCH(name##_kernel, dim3(1), dim3(64), shared, nullptr, values); \
        return cudaGetLastError();                                                   \
    }

FAULT(reverse, 0)
FAULT(unsynchronised, 0)
FAULT(divergent_barrier, 0)
FAULT(early_end, 0)
FAULT(half_a_warp, 0)
FAULT(absent_lane, 0)
FAULT(never_written, 0)
FAULT(without_syncwarp, 0)
FAULT(with_syncwarp, 0)
FAULT(dynamic, 64 * sizeof(float))
FAULT(beyond_static, 0)
FAULT(warp, 0)

FAULT_API int32_t fault_beyond_dynamic(float* values) {
    OPENMINED_LAUNCH(dynamic_kernel, dim3(1), dim3(64), 63 * sizeof(float), nullptr, values);
    return cudaGetLastError();
}

FAULT_API int32_t fault_count(float* values) {
    OPENMINED_LAUNCH(count_kernel, dim3(7, 3), dim3(64), 0, nullptr, values);
    return cudaGetLastError();
}

FAULT_API int32_t fault_too_many_threads(float* values) {
    OPENMINED_LAUNCH(count_kernel, dim3(1), dim3(1025), 0, nullptr, values);
    return cudaGetLastError();
}

FAULT_API const char* fault_text(int32_t code) { return cudaGetErrorString(code); }
