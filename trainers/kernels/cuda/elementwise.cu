// Elementwise operators over tensors of any strides.
#include <type_traits>

#include "elementwise.cuh"

namespace openmined {
namespace {

// Where element `index` lies in each of the operands.
struct Places {
    int64_t at[OM_CUDA_OPERANDS];
    __device__ Places(const om_cuda_layout& layout, int64_t index) : at{} {
        for (int64_t dimension = layout.dimensions - 1; dimension >= 0; dimension--) {
            const int64_t size = layout.sizes[dimension];
            const int64_t here = dimension == 0 ? index : index % size;
            for (int operand = 0; operand < OM_CUDA_OPERANDS; operand++)
                at[operand] += here * layout.strides[operand][dimension];
            index /= size;
        }
    }
};

// What an operator is given: up to three tensors; where the second one of a binary operator is NULL, a number.
struct Given {
    const void *first, *second, *third;
    double a, b;
    int64_t whole;
    template <typename T>
    __device__ T number() const {
        return std::is_floating_point<T>::value ? static_cast<T>(a) : static_cast<T>(whole);
    }
};

template <typename T>
struct Unary {
    __device__ T operator()(int row, const Given& given, const Places& place) const {
        const T x = static_cast<const T*>(given.first)[place.at[1]];
        return unary_value(row, x, static_cast<T>(given.a), static_cast<T>(given.b));
    }
};

template <typename T>
struct UnaryGradient {
    __device__ T operator()(int row, const Given& given, const Places& place) const {
        const T g = static_cast<const T*>(given.first)[place.at[1]], x = static_cast<const T*>(given.second)[place.at[2]];
        const T y = static_cast<const T*>(given.third)[place.at[3]];
        return unary_gradient(row, g, x, y, static_cast<T>(given.a), static_cast<T>(given.b));
    }
};

template <typename T>
__device__ T second_of(const Given& given, int64_t at) {
    return given.second == nullptr ? given.number<T>() : static_cast<const T*>(given.second)[at];
}

template <typename T>
struct Binary {
    __device__ T operator()(int row, const Given& given, const Places& place) const {
        return binary_value(row, static_cast<const T*>(given.first)[place.at[1]], second_of<T>(given, place.at[2]));
    }
};

template <typename T, int OF>
struct BinaryGradient {
    __device__ T operator()(int row, const Given& given, const Places& place) const {
        const T g = static_cast<const T*>(given.first)[place.at[1]], x = static_cast<const T*>(given.second)[place.at[2]];
        return binary_gradient(row, OF, g, x, static_cast<const T*>(given.third)[place.at[3]]);
    }
};

template <typename T>
struct Relation {
    __device__ uint8_t operator()(int row, const Given& given, const Places& place) const {
        return relation(row, static_cast<const T*>(given.first)[place.at[1]], second_of<T>(given, place.at[2]));
    }
};

template <typename T>
struct IntegerUnary {
    __device__ T operator()(int row, const Given& given, const Places& place) const {
        return integer_unary_value(row, static_cast<const T*>(given.first)[place.at[1]]);
    }
};

template <typename T>
struct IntegerBinary {
    __device__ T operator()(int row, const Given& given, const Places& place) const {
        return integer_binary_value(row, static_cast<const T*>(given.first)[place.at[1]],
                                    second_of<T>(given, place.at[2]));
    }
};

template <typename Operator, typename Result>
__global__ void elementwise_kernel(Operator operation, int row, om_cuda_layout layout, int64_t count, Result* result,
                                   Given given) {
    for (int64_t index = first_element(); index < count; index += grid_step()) {
        const Places place(layout, index);
        result[place.at[0]] = operation(row, given, place);
    }
}

template <typename Operator, typename Result>
int32_t run(Operator operation, int row, const om_cuda_layout& layout, void* result, const Given& given, void* stream) {
    int64_t count = 1;
    for (int64_t dimension = 0; dimension < layout.dimensions; dimension++) count *= layout.sizes[dimension];
    if (count <= 0) return 0;
    const auto kernel = elementwise_kernel<Operator, Result>;
    const om_cuda_layout by_value = layout;
    OPENMINED_LAUNCH(kernel, blocks_for(count), BLOCK, 0, stream, operation, row, by_value, count,
                     static_cast<Result*>(result), given);
    return launched();
}

template <typename T>
int32_t run_fraction(int32_t kind, int32_t row, const om_cuda_layout& layout, void* result, const Given& given,
                     void* stream) {
    switch (kind) {
        case OM_CUDA_UNARY: return run<Unary<T>, T>({}, row, layout, result, given, stream);
        case OM_CUDA_UNARY_GRADIENT: return run<UnaryGradient<T>, T>({}, row, layout, result, given, stream);
        case OM_CUDA_BINARY: return run<Binary<T>, T>({}, row, layout, result, given, stream);
        case OM_CUDA_GRADIENT_OF_X: return run<BinaryGradient<T, 0>, T>({}, row, layout, result, given, stream);
        case OM_CUDA_GRADIENT_OF_Z: return run<BinaryGradient<T, 1>, T>({}, row, layout, result, given, stream);
        case OM_CUDA_RELATION: return run<Relation<T>, uint8_t>({}, row, layout, result, given, stream);
        default: return static_cast<int32_t>(cudaErrorInvalidValue);
    }
}

template <typename T>
int32_t run_whole(int32_t kind, int32_t row, const om_cuda_layout& layout, void* result, const Given& given,
                  void* stream) {
    switch (kind) {
        case OM_CUDA_UNARY: return run<IntegerUnary<T>, T>({}, row, layout, result, given, stream);
        case OM_CUDA_BINARY: return run<IntegerBinary<T>, T>({}, row, layout, result, given, stream);
        case OM_CUDA_RELATION: return run<Relation<T>, uint8_t>({}, row, layout, result, given, stream);
        default: return static_cast<int32_t>(cudaErrorInvalidValue);
    }
}

template <typename T>
__global__ void bias_activation_kernel(int64_t count, int64_t columns, int row, const T* __restrict__ bias,
                                       T* __restrict__ values) {
    for (int64_t at = first_element(); at < count; at += grid_step()) {
        const T x = bias == nullptr ? values[at] : values[at] + bias[at % columns];
        values[at] = unary_value(row, x, T(0), T(0));
    }
}

template <typename T>
int32_t bias_activation(int64_t count, int64_t columns, int32_t row, const void* bias, void* values, void* stream) {
    const auto kernel = bias_activation_kernel<T>;
    OPENMINED_LAUNCH(kernel, blocks_for(count), BLOCK, 0, stream, count, columns, row, static_cast<const T*>(bias),
                     static_cast<T*>(values));
    return launched();
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_elementwise(int32_t kind, int32_t row, int32_t type, const om_cuda_layout* layout, void* result,
                            const void* first, const void* second, const void* third, double a, double b,
                            int64_t whole, void* stream) {
    const Given given = {first, second, third, a, b, whole};
    switch (type) {
        case OM_CUDA_FLOAT32: return run_fraction<float>(kind, row, *layout, result, given, stream);
        case OM_CUDA_FLOAT64: return run_fraction<double>(kind, row, *layout, result, given, stream);
        case OM_CUDA_INT32: return run_whole<int32_t>(kind, row, *layout, result, given, stream);
        case OM_CUDA_INT64: return run_whole<int64_t>(kind, row, *layout, result, given, stream);
        default: return static_cast<int32_t>(cudaErrorInvalidValue);
    }
}

int32_t om_cuda_bias_activation(int32_t type, int64_t rows, int64_t columns, int32_t row, const void* bias,
                                void* values, void* stream) {
    if (rows <= 0 || columns <= 0) return 0;
    return type == OM_CUDA_FLOAT64 ? bias_activation<double>(rows * columns, columns, row, bias, values, stream)
                                   : bias_activation<float>(rows * columns, columns, row, bias, values, stream);
}
