// Gradients of the reductions that do not treat all numbers of a line alike.
#include "lines.cuh"

namespace openmined {
namespace {

template <typename T>
__device__ T norm_gradient(T p, T g, T x, T y, T chosen_count) {
    if (p == T(0)) return T(0);
    if (p == T(1)) return g * sign(x);
    if (isinf(p)) return absolute(x) == y ? g * sign(x) / chosen_count : T(0);
    if (y == T(0) || x == T(0)) return T(0);
    const T share = absolute(x) / y;
    return g * sign(x) * (p == T(2) ? share : power(share, p - T(1)));
}

template <int WIDTH, typename T>
__global__ void reduce_gradient_kernel(int reduction, Shape shape, T number, const T* __restrict__ g,
                                       const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ result) {
    const bool spread = reduction == OM_CUDA_VAR || reduction == OM_CUDA_STD;
    const T size = static_cast<T>(shape.size), left = size > number ? size - number : T(0);
    for (int64_t line = Team<WIDTH>::first_line(); line < shape.lines(); line += Team<WIDTH>::line_step()) {
        const int64_t begin = shape.begin(line);
        const T of = g[line], value = y[line];
        T sum = T(0);  // of the numbers, or how many of them are the extreme one
        for (int64_t index = Team<WIDTH>::lane(); index < shape.size; index += WIDTH) {
            const T here = x[begin + index * shape.inner];
            sum += spread ? here : (reduction == OM_CUDA_NORM ? absolute(here) : here) == value ? T(1) : T(0);
        }
        sum = Team<WIDTH>::together(sum, T(0), Add());
        for (int64_t index = Team<WIDTH>::lane(); index < shape.size; index += WIDTH) {
            const int64_t at = begin + index * shape.inner;
            const T far = x[at] - sum / size;
            if (reduction == OM_CUDA_VAR)
                result[at] = of * far * (T(2) / left);
            else if (reduction == OM_CUDA_STD)
                result[at] = value == T(0) ? T(0) : of * far / (value * left);
            else if (reduction == OM_CUDA_NORM)
                result[at] = norm_gradient(number, of, x[at], value, sum);
            else
                result[at] = x[at] == value ? of / sum : T(0);
        }
    }
}

template <typename T>
int32_t reduce_gradient(int32_t reduction, const Shape& given, double number, const void* g, const void* x,
                        const void* y, void* result, void* stream) {
    const Shape shape = given;
    if (shape.lines() <= 0 || shape.size <= 0) return 0;
    const bool brief = shape.size <= SHORT;
    const auto kernel = brief ? reduce_gradient_kernel<WARP, T> : reduce_gradient_kernel<BLOCK, T>;
    const T setting = static_cast<T>(number);
    OPENMINED_LAUNCH(kernel, line_blocks(shape, brief ? WARP : BLOCK), BLOCK, 0, stream, reduction, shape, setting,
                     static_cast<const T*>(g), static_cast<const T*>(x), static_cast<const T*>(y),
                     static_cast<T*>(result));
    return launched();
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_reduce_gradient(int32_t reduction, int32_t type, int64_t outer, int64_t size, int64_t inner,
                                double number, const void* g, const void* x, const void* y, void* result,
                                void* stream) {
    const Shape shape = {outer, size, inner};
    return type == OM_CUDA_FLOAT64 ? reduce_gradient<double>(reduction, shape, number, g, x, y, result, stream)
                                   : reduce_gradient<float>(reduction, shape, number, g, x, y, result, stream);
}
