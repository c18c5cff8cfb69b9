// Operators that draw random numbers: the same ones as on the CPU for the same seed and call.
#include "lines.cuh"
#include "random.cuh"

namespace openmined {
namespace {

constexpr uint32_t CHOICES = 1, MASKS = 3, UNIFORMS = 4, WHOLE_NUMBERS = 5;  // streams of random numbers

// A thread for each line: the sums are taken one after the other, so that all machines agree on them.
template <typename T>
__global__ void sample_kernel(Shape shape, uint64_t seed, uint64_t call, const T* __restrict__ probabilities,
                              int64_t* __restrict__ result) {
    for (int64_t line = first_element(); line < shape.lines(); line += grid_step()) {
        const T* from = probabilities + shape.begin(line);
        double total = 0.0, reached = 0.0;
        for (int64_t index = 0; index < shape.size; index++) total += static_cast<double>(from[index * shape.inner]);
        const double wanted = static_cast<double>(uniform_at(seed, call, CHOICES, line)) * total;
        int64_t chosen = shape.size - 1;
        for (int64_t index = 0; index < shape.size; index++) {
            const double share = static_cast<double>(from[index * shape.inner]);
            reached += share;
            if (!(share > 0.0)) continue;
            chosen = index;  // the last possible one, should rounding leave the sum below
            if (wanted < reached) break;
        }
        result[line] = chosen;
    }
}

template <typename T>
__global__ void dropout_mask_kernel(int64_t count, double rate, T kept, uint64_t seed, uint64_t call,
                                    T* __restrict__ result) {
    for (int64_t at = first_element(); at < count; at += grid_step())
        result[at] = static_cast<double>(uniform_at(seed, call, MASKS, at)) >= rate ? kept : T(0);
}

template <typename T>
__global__ void fill_uniform_kernel(int64_t count, double low, double range, uint64_t seed, uint64_t call,
                                    T* __restrict__ result) {
    for (int64_t at = first_element(); at < count; at += grid_step())
        result[at] = static_cast<T>(low + static_cast<double>(uniform_at(seed, call, UNIFORMS, at)) * range);
}

template <typename T>
__global__ void fill_random_kernel(int64_t count, int64_t low, int64_t range, uint64_t seed, uint64_t call,
                                   T* __restrict__ result) {
    for (int64_t at = first_element(); at < count; at += grid_step()) {
        const int64_t word = word_at(seed, call, WHOLE_NUMBERS, at);
        result[at] = static_cast<T>(low + ((word * range) >> 32));
    }
}

template <typename T>
int32_t fill_random(int64_t count, int64_t low, int64_t range, uint64_t seed, uint64_t call, void* result,
                    void* stream) {
    const auto kernel = fill_random_kernel<T>;
    OPENMINED_LAUNCH(kernel, blocks_for(count), BLOCK, 0, stream, count, low, range, seed, call,
                     static_cast<T*>(result));
    return launched();
}

template <typename T>
struct Launch {
    static int32_t sample(const Shape& given, uint64_t seed, uint64_t call, const void* probabilities, int64_t* result,
                          void* stream) {
        const Shape shape = given;
        const auto kernel = sample_kernel<T>;
        OPENMINED_LAUNCH(kernel, blocks_for(shape.lines()), BLOCK, 0, stream, shape, seed, call,
                         static_cast<const T*>(probabilities), result);
        return launched();
    }
    static int32_t dropout_mask(int64_t count, double rate, double kept, uint64_t seed, uint64_t call, void* result,
                                void* stream) {
        const auto kernel = dropout_mask_kernel<T>;
        OPENMINED_LAUNCH(kernel, blocks_for(count), BLOCK, 0, stream, count, rate, static_cast<T>(kept), seed, call,
                         static_cast<T*>(result));
        return launched();
    }
    static int32_t fill_uniform(int64_t count, double low, double range, uint64_t seed, uint64_t call, void* result,
                                void* stream) {
        const auto kernel = fill_uniform_kernel<T>;
        OPENMINED_LAUNCH(kernel, blocks_for(count), BLOCK, 0, stream, count, low, range, seed, call,
                         static_cast<T*>(result));
        return launched();
    }
};

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_sample(int32_t type, int64_t outer, int64_t size, int64_t inner, uint64_t seed, uint64_t call,
                       const void* probabilities, int64_t* result, void* stream) {
    if (outer * inner <= 0) return 0;
    const auto run = type == OM_CUDA_FLOAT64 ? Launch<double>::sample : Launch<float>::sample;
    return run({outer, size, inner}, seed, call, probabilities, result, stream);
}

int32_t om_cuda_dropout_mask(int32_t type, int64_t count, double rate, double kept, uint64_t seed, uint64_t call,
                             void* result, void* stream) {
    if (count <= 0) return 0;
    const auto run = type == OM_CUDA_FLOAT64 ? Launch<double>::dropout_mask : Launch<float>::dropout_mask;
    return run(count, rate, kept, seed, call, result, stream);
}

int32_t om_cuda_fill_uniform(int32_t type, int64_t count, double low, double high, uint64_t seed, uint64_t call,
                             void* result, void* stream) {
    if (count <= 0) return 0;
    const auto run = type == OM_CUDA_FLOAT64 ? Launch<double>::fill_uniform : Launch<float>::fill_uniform;
    return run(count, low, high - low, seed, call, result, stream);
}

int32_t om_cuda_fill_random(int32_t type, int64_t count, int64_t low, int64_t range, uint64_t seed, uint64_t call,
                            void* result, void* stream) {
    if (count <= 0) return 0;
    switch (type) {
        case OM_CUDA_FLOAT32: return fill_random<float>(count, low, range, seed, call, result, stream);
        case OM_CUDA_FLOAT64: return fill_random<double>(count, low, range, seed, call, result, stream);
        case OM_CUDA_INT32: return fill_random<int32_t>(count, low, range, seed, call, result, stream);
        case OM_CUDA_INT64: return fill_random<int64_t>(count, low, range, seed, call, result, stream);
        default: return static_cast<int32_t>(cudaErrorInvalidValue);
    }
}
