// The random numbers alone, and what the library says of itself.
#include "random.cuh"

namespace openmined {
namespace {

struct RawWords {
    __device__ uint32_t operator()(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) const {
        return word_at(seed, call, stream, index);
    }
};

struct Normals {
    __device__ float operator()(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) const {
        return normal_at(seed, call, stream, index);
    }
};

struct Uniforms {
    __device__ float operator()(uint64_t seed, uint64_t call, uint32_t stream, int64_t index) const {
        return uniform_at(seed, call, stream, index);
    }
};

template <typename Number, typename T>
__global__ void draw_kernel(Number number, uint64_t seed, uint64_t call, uint32_t random_stream, int64_t count,
                                   T* to) {
    for (int64_t at = first_element(); at < count; at += grid_step()) to[at] = number(seed, call, random_stream, at);
}

template <typename Number, typename T>
int32_t draw(uint64_t seed, uint64_t call, uint32_t random_stream, int64_t count, T* to, void* stream) {
    if (count <= 0) return 0;
    const auto kernel = draw_kernel<Number, T>;
    OPENMINED_LAUNCH(kernel, blocks_for(count), BLOCK, 0, stream, Number(), seed, call, random_stream, count, to);
    return launched();
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_abi_version() { return OM_CUDA_ABI_VERSION; }

const char* om_cuda_error_string(int32_t code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

int32_t om_cuda_random_words(uint64_t seed, uint64_t call, uint32_t random_stream, int64_t count, uint32_t* words,
                             void* stream) {
    return draw<RawWords>(seed, call, random_stream, count, words, stream);
}

int32_t om_cuda_random_normals(uint64_t seed, uint64_t call, uint32_t random_stream, int64_t count, float* normals,
                               void* stream) {
    return draw<Normals>(seed, call, random_stream, count, normals, stream);
}

int32_t om_cuda_random_uniforms(uint64_t seed, uint64_t call, uint32_t random_stream, int64_t count, float* uniforms,
                                void* stream) {
    return draw<Uniforms>(seed, call, random_stream, count, uniforms, stream);
}
