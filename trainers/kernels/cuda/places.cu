// Operators that move numbers: by an index, or to one side of a diagonal.
#include "lines.cuh"

namespace openmined {
namespace {

template <typename T>
__global__ void index_select_kernel(Shape shape, int64_t count, const T* __restrict__ x,
                                    const int64_t* __restrict__ index, T* __restrict__ result) {
    for (int64_t at = first_element(); at < shape.outer * count * shape.inner; at += grid_step()) {
        const int64_t inner = at % shape.inner, row = at / shape.inner, place = index[row % count];
        const bool there = place >= 0 && place < shape.size;
        result[at] = there ? x[(row / count * shape.size + place) * shape.inner + inner] : T(0);
    }
}

__device__ void add_to(float* at, float value) { atomicAdd(at, value); }
__device__ void add_to(double* at, double value) { atomicAdd(at, value); }
__device__ void add_to(int32_t* at, int32_t value) { atomicAdd(at, value); }
__device__ void add_to(int64_t* at, int64_t value) {  // two's complement adds up the same without a sign
    atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(value));
}

template <typename T>
__global__ void index_add_kernel(Shape shape, int64_t count, const int64_t* __restrict__ index,
                                 const T* __restrict__ source, T* __restrict__ result) {
    for (int64_t at = first_element(); at < shape.outer * count * shape.inner; at += grid_step()) {
        const int64_t inner = at % shape.inner, row = at / shape.inner, place = index[row % count];
        if (place >= 0 && place < shape.size)
            add_to(result + (row / count * shape.size + place) * shape.inner + inner, source[at]);
    }
}

template <typename T>
__global__ void triu_kernel(int64_t count, int64_t rows, int64_t columns, int64_t diagonal, const T* __restrict__ x,
                            T* __restrict__ result) {
    for (int64_t at = first_element(); at < count; at += grid_step()) {
        const int64_t column = at % columns, row = at / columns % rows;
        result[at] = column - row >= diagonal ? x[at] : T(0);
    }
}

template <typename T>
struct Launch {
    static int32_t select(const Shape& given, int64_t count, const void* x, const int64_t* index, void* result,
                          void* stream) {
        const Shape shape = given;
        const auto kernel = index_select_kernel<T>;
        OPENMINED_LAUNCH(kernel, blocks_for(shape.lines() * count), BLOCK, 0, stream, shape, count,
                         static_cast<const T*>(x), index, static_cast<T*>(result));
        return launched();
    }
    static int32_t add(const Shape& given, int64_t count, const int64_t* index, const void* source, void* result,
                       void* stream) {
        const Shape shape = given;
        const auto kernel = index_add_kernel<T>;
        OPENMINED_LAUNCH(kernel, blocks_for(shape.lines() * count), BLOCK, 0, stream, shape, count, index,
                         static_cast<const T*>(source), static_cast<T*>(result));
        return launched();
    }
    static int32_t triu(int64_t count, int64_t rows, int64_t columns, int64_t diagonal, const void* x, void* result,
                        void* stream) {
        const auto kernel = triu_kernel<T>;
        OPENMINED_LAUNCH(kernel, blocks_for(count), BLOCK, 0, stream, count, rows, columns, diagonal,
                         static_cast<const T*>(x), static_cast<T*>(result));
        return launched();
    }
};

}  // namespace
}  // namespace openmined

using namespace openmined;

// Moving looks at the size of a number only.
int32_t om_cuda_index_select(int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t count, const void* x,
                             const int64_t* index, void* result, void* stream) {
    if (outer * inner * count <= 0) return 0;
    const bool wide = type == OM_CUDA_FLOAT64 || type == OM_CUDA_INT64;
    const auto run = wide ? Launch<int64_t>::select : Launch<int32_t>::select;
    return run({outer, size, inner}, count, x, index, result, stream);
}

int32_t om_cuda_index_add(int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t count,
                          const int64_t* index, const void* source, void* result, void* stream) {
    if (outer * inner * count <= 0) return 0;
    const Shape shape = {outer, size, inner};
    switch (type) {
        case OM_CUDA_FLOAT32: return Launch<float>::add(shape, count, index, source, result, stream);
        case OM_CUDA_FLOAT64: return Launch<double>::add(shape, count, index, source, result, stream);
        case OM_CUDA_INT32: return Launch<int32_t>::add(shape, count, index, source, result, stream);
        case OM_CUDA_INT64: return Launch<int64_t>::add(shape, count, index, source, result, stream);
        default: return static_cast<int32_t>(cudaErrorInvalidValue);
    }
}

int32_t om_cuda_triu(int32_t type, int64_t matrices, int64_t rows, int64_t columns, int64_t diagonal, const void* x,
                     void* result, void* stream) {
    const int64_t count = matrices * rows * columns;
    if (count <= 0) return 0;
    const bool wide = type == OM_CUDA_FLOAT64 || type == OM_CUDA_INT64;
    return (wide ? Launch<int64_t>::triu : Launch<int32_t>::triu)(count, rows, columns, diagonal, x, result, stream);
}
