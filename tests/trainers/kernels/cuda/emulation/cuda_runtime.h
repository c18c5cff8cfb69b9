// Stands in for CUDA's own cuda_runtime.h, so that g++ compiles the .cu files and emulation.cpp runs them on the CPU.
//
// Covered is what those files use: blocks of up to 1024 threads, shared memory (static and dynamic), barriers,
// exchanges within a warp, atomics. Each thread runs until a barrier or an exchange, in an order that emulation_schedule
// chooses, so that code which relies on an order shows it. Shared memory is NaN when a block begins.
#pragma once

#define OPENMINED_EMULATION

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
// In a section of its own, which is filled anew for each block. Needs kernels of internal linkage (static).
#define __shared__ static __attribute__((section("emulated_shared")))

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

typedef int cudaError_t;
typedef void* cudaStream_t;
constexpr cudaError_t cudaSuccess = 0, cudaErrorInvalidValue = 1;
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t code);

namespace emulation {

void launch(const char* name, dim3 grid, dim3 block, size_t shared, void* stream, const std::function<void()>& thread);
void barrier(const char* file, int line);
void* dynamic_shared();

// What an exchange does with the lanes' numbers.
enum class Exchange { shuffle, ballot, nothing };
// Waits for all lanes of `mask`; returns the number of lane `source`, or the lanes whose number is not 0.
uint64_t exchange(Exchange kind, unsigned mask, uint64_t number, int source, const char* file, int line);
int lane();

template <typename T>
T shuffle(unsigned mask, T value, int source, const char* file, int line) {
    static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable<T>::value, "a lane's number has 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = exchange(Exchange::shuffle, mask, bits, source, file, line);
    memcpy(&value, &bits, sizeof value);
    return value;
}

// A lane outside of its part of the warp gives way to the lane itself, as in CUDA.
inline int lane_up(int by) { return lane() - by < 0 ? lane() : lane() - by; }
inline int lane_down(int by) { return lane() + by > warpSize - 1 ? lane() : lane() + by; }

}  // namespace emulation

#define OPENMINED_LAUNCH(kernel, grid, block, shared, stream, ...) \
    emulation::launch(#kernel, (grid), (block), (shared), (stream), [=] { kernel(__VA_ARGS__); })
#define OPENMINED_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(emulation::dynamic_shared())

#define __syncthreads() emulation::barrier(__FILE__, __LINE__)
#define __syncwarp() emulation::exchange(emulation::Exchange::nothing, 0xffffffffu, 0, 0, __FILE__, __LINE__)
#define __shfl_sync(mask, value, source) emulation::shuffle((mask), (value), (source), __FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, by) \
    emulation::shuffle((mask), (value), emulation::lane() ^ (by), __FILE__, __LINE__)
#define __shfl_up_sync(mask, value, by) emulation::shuffle((mask), (value), emulation::lane_up(by), __FILE__, __LINE__)
#define __shfl_down_sync(mask, value, by) \
    emulation::shuffle((mask), (value), emulation::lane_down(by), __FILE__, __LINE__)
#define __ballot_sync(mask, truth) \
    static_cast<unsigned>( \
        emulation::exchange(emulation::Exchange::ballot, (mask), (truth) ? 1 : 0, 0, __FILE__, __LINE__))

template <typename T>
T atomicAdd(T* at, std::common_type_t<T> value) {
    const T old = *at;
    *at = old + value;
    return old;
}

template <typename T>
T __ldg(const T* from) {
    return *from;
}

inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
