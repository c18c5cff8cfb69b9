// Lines of a tensor [outer, size, inner], each worked on by one warp if it is short, else by one block.
#pragma once

#include <math.h>
#include <stdint.h>

#include "../src/operators/elementwise_math.h"
#include "launch.cuh"

namespace openmined {

constexpr int64_t SHORT = 1024;  // numbers of a line for one warp

struct Shape {
    int64_t outer, size, inner;
    __host__ __device__ int64_t lines() const { return outer * inner; }
    __device__ int64_t begin(int64_t line) const { return line / inner * size * inner + line % inner; }
};

// The threads of a line: WIDTH is WARP or BLOCK.
template <int WIDTH>
struct Team {
    static __device__ int64_t first_line() {
        return static_cast<int64_t>(blockIdx.x) * (BLOCK / WIDTH) + threadIdx.x / WIDTH;
    }
    static __device__ int64_t line_step() { return static_cast<int64_t>(gridDim.x) * (BLOCK / WIDTH); }
    static __device__ int64_t lane() { return threadIdx.x % WIDTH; }
    template <typename T, typename Operation>
    static __device__ T together(T value, T none, Operation operation) {
        if constexpr (WIDTH == WARP)
            return across_warp(value, operation);
        else
            return across_block(value, none, operation);
    }
};

static inline dim3 line_blocks(const Shape& shape, int width) {
    const int64_t lines = shape.lines() * width;
    return blocks_for(lines);
}

// The greater one, NaN if one of them is.
struct Greatest {
    template <typename T>
    __device__ T operator()(T a, T b) const {
        return b > a || b != b ? b : a;
    }
};

}  // namespace openmined
