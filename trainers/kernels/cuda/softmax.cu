// Softmax and its logarithm along lines, and the losses made of them.
#include "lines.cuh"

namespace openmined {
namespace {

// The logarithm of the sum of the exponentials of a line; `greatest` the greatest number.
template <int WIDTH, typename T>
__device__ T log_sum(const T* from, int64_t size, int64_t inner, T& greatest) {
    greatest = -static_cast<T>(INFINITY);
    for (int64_t index = Team<WIDTH>::lane(); index < size; index += WIDTH)
        greatest = Greatest()(greatest, from[index * inner]);
    greatest = Team<WIDTH>::together(greatest, -static_cast<T>(INFINITY), Greatest());
    T sum = T(0);
    for (int64_t index = Team<WIDTH>::lane(); index < size; index += WIDTH)
        sum += exponential(from[index * inner] - greatest);
    return Team<WIDTH>::together(sum, T(0), Add());
}

template <int WIDTH, typename T>
__global__ void softmax_kernel(bool logarithmic, Shape shape, const T* __restrict__ x, T* __restrict__ y) {
    for (int64_t line = Team<WIDTH>::first_line(); line < shape.lines(); line += Team<WIDTH>::line_step()) {
        const int64_t begin = shape.begin(line);
        T greatest;
        const T sum = log_sum<WIDTH>(x + begin, shape.size, shape.inner, greatest), shift = logarithm(sum);
        for (int64_t index = Team<WIDTH>::lane(); index < shape.size; index += WIDTH) {
            const int64_t at = begin + index * shape.inner;
            y[at] = logarithmic ? x[at] - greatest - shift : exponential(x[at] - greatest) / sum;
        }
    }
}

template <int WIDTH, typename T>
__global__ void softmax_gradient_kernel(bool logarithmic, Shape shape, const T* __restrict__ g,
                                        const T* __restrict__ y, T* __restrict__ result) {
    for (int64_t line = Team<WIDTH>::first_line(); line < shape.lines(); line += Team<WIDTH>::line_step()) {
        const int64_t begin = shape.begin(line);
        T sum = T(0);
        for (int64_t index = Team<WIDTH>::lane(); index < shape.size; index += WIDTH) {
            const int64_t at = begin + index * shape.inner;
            sum += logarithmic ? g[at] : g[at] * y[at];
        }
        sum = Team<WIDTH>::together(sum, T(0), Add());
        for (int64_t index = Team<WIDTH>::lane(); index < shape.size; index += WIDTH) {
            const int64_t at = begin + index * shape.inner;
            result[at] = logarithmic ? g[at] - exponential(y[at]) * sum : y[at] * (g[at] - sum);
        }
    }
}

// What a row is held against: one class, or a number for each.
template <typename T>
struct Target {
    const int64_t* classes;
    const T* numbers;
    __device__ T at(int64_t row, int64_t size, int64_t index) const {
        if (classes != nullptr) return classes[row] == index ? T(1) : T(0);
        return numbers[row * size + index];
    }
    __device__ bool valid(int64_t row, int64_t size) const {
        return classes == nullptr || (classes[row] >= 0 && classes[row] < size);
    }
};

template <typename T>
__device__ T one_loss(int loss, T target, T x, T shift, bool one_hot) {
    if (one_hot && target == T(0)) return T(0);  // an infinite one that is not asked for does not count
    if (loss == OM_CUDA_CATEGORICAL) return target == T(0) && x == x ? T(0) : target * logarithm(x);
    return target * (x - shift);
}

template <int WIDTH, typename T>
__global__ void row_loss_kernel(int loss, Shape shape, const T* __restrict__ x, Target<T> target,
                                T* __restrict__ result) {
    for (int64_t row = Team<WIDTH>::first_line(); row < shape.outer; row += Team<WIDTH>::line_step()) {
        const T* from = x + row * shape.size;
        T shift = T(0), sum = T(0);
        if (loss == OM_CUDA_CROSS_ENTROPY) {
            const T exponentials = log_sum<WIDTH>(from, shape.size, 1, shift);
            shift += logarithm(exponentials);
        }
        for (int64_t index = Team<WIDTH>::lane(); index < shape.size; index += WIDTH)
            sum -= one_loss(loss, target.at(row, shape.size, index), from[index], shift, target.classes != nullptr);
        sum = Team<WIDTH>::together(sum, T(0), Add());
        if (Team<WIDTH>::lane() == 0) result[row] = target.valid(row, shape.size) ? sum : static_cast<T>(NAN);
    }
}

template <int WIDTH, typename T>
__global__ void row_loss_gradient_kernel(int loss, Shape shape, const T* __restrict__ g, const T* __restrict__ x,
                                         Target<T> target, T* __restrict__ result) {
    for (int64_t row = Team<WIDTH>::first_line(); row < shape.outer; row += Team<WIDTH>::line_step()) {
        const T* from = x + row * shape.size;
        T greatest = T(0), exponentials = T(1), total = T(0);
        if (loss == OM_CUDA_CROSS_ENTROPY) {
            exponentials = log_sum<WIDTH>(from, shape.size, 1, greatest);
            for (int64_t index = Team<WIDTH>::lane(); index < shape.size; index += WIDTH)
                total += target.at(row, shape.size, index);
            total = Team<WIDTH>::together(total, T(0), Add());
        }
        for (int64_t index = Team<WIDTH>::lane(); index < shape.size; index += WIDTH) {
            const T wanted = target.at(row, shape.size, index), of = g[row];
            T& to = result[row * shape.size + index];
            if (loss == OM_CUDA_CROSS_ENTROPY)
                to = of * (exponential(from[index] - greatest) / exponentials * total - wanted);
            else if (loss == OM_CUDA_NLL)
                to = -of * wanted;
            else
                to = wanted == T(0) ? T(0) : -of * wanted / from[index];
        }
    }
}

template <int WIDTH, typename T>
__global__ void row_loss_target_gradient_kernel(int loss, Shape shape, const T* __restrict__ g,
                                                const T* __restrict__ x, T* __restrict__ result) {
    for (int64_t row = Team<WIDTH>::first_line(); row < shape.outer; row += Team<WIDTH>::line_step()) {
        const T* from = x + row * shape.size;
        T shift = T(0);
        if (loss == OM_CUDA_CROSS_ENTROPY) {
            const T exponentials = log_sum<WIDTH>(from, shape.size, 1, shift);
            shift += logarithm(exponentials);
        }
        for (int64_t index = Team<WIDTH>::lane(); index < shape.size; index += WIDTH)
            result[row * shape.size + index] =
                -g[row] * (loss == OM_CUDA_CATEGORICAL ? logarithm(from[index]) : from[index] - shift);
    }
}

// Launches the kernel for short or for long lines, for float or double: KERNEL is a template of width and type.
#define OPENMINED_LINES(KERNEL, T, ...)                                                                      \
    do {                                                                                                     \
        const bool brief = shape.size <= SHORT;                                                              \
        const auto kernel = brief ? KERNEL<WARP, T> : KERNEL<BLOCK, T>;                                      \
        if (shape.lines() <= 0) return 0;                                                                    \
        OPENMINED_LAUNCH(kernel, line_blocks(shape, brief ? WARP : BLOCK), BLOCK, 0, stream, __VA_ARGS__);   \
        return launched();                                                                                   \
    } while (false)

template <typename T>
struct Launch {
    static const T* in(const void* from) { return static_cast<const T*>(from); }
    static T* out(void* to) { return static_cast<T*>(to); }
    static Target<T> target(int64_t classes, const void* from) {
        return {classes != 0 ? static_cast<const int64_t*>(from) : nullptr, classes != 0 ? nullptr : in(from)};
    }

    static int32_t softmax(bool logarithmic, const Shape& given, const void* x, void* y, void* stream) {
        const Shape shape = given;
        OPENMINED_LINES(softmax_kernel, T, logarithmic, shape, in(x), out(y));
    }
    static int32_t softmax_gradient(bool logarithmic, const Shape& given, const void* g, const void* y, void* result,
                                    void* stream) {
        const Shape shape = given;
        OPENMINED_LINES(softmax_gradient_kernel, T, logarithmic, shape, in(g), in(y), out(result));
    }
    static int32_t loss(int32_t which, int64_t classes, const Shape& given, const void* x, const void* held,
                        void* result, void* stream) {
        const Shape shape = given;
        const Target<T> against = target(classes, held);
        OPENMINED_LINES(row_loss_kernel, T, which, shape, in(x), against, out(result));
    }
    static int32_t gradient(int32_t which, int64_t classes, const Shape& given, const void* g, const void* x,
                            const void* held, void* result, void* stream) {
        const Shape shape = given;
        const Target<T> against = target(classes, held);
        OPENMINED_LINES(row_loss_gradient_kernel, T, which, shape, in(g), in(x), against, out(result));
    }
    static int32_t target_gradient(int32_t which, const Shape& given, const void* g, const void* x, void* result,
                                   void* stream) {
        const Shape shape = given;
        OPENMINED_LINES(row_loss_target_gradient_kernel, T, which, shape, in(g), in(x), out(result));
    }
};

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_softmax(int32_t type, int64_t logarithm, int64_t outer, int64_t size, int64_t inner, const void* x,
                        void* y, void* stream) {
    const auto run = type == OM_CUDA_FLOAT64 ? Launch<double>::softmax : Launch<float>::softmax;
    return run(logarithm != 0, {outer, size, inner}, x, y, stream);
}

int32_t om_cuda_softmax_gradient(int32_t type, int64_t logarithm, int64_t outer, int64_t size, int64_t inner,
                                 const void* g, const void* y, void* result, void* stream) {
    const auto run = type == OM_CUDA_FLOAT64 ? Launch<double>::softmax_gradient : Launch<float>::softmax_gradient;
    return run(logarithm != 0, {outer, size, inner}, g, y, result, stream);
}

int32_t om_cuda_row_loss(int32_t loss, int32_t type, int64_t classes, int64_t rows, int64_t size, const void* x,
                         const void* target, void* result, void* stream) {
    const auto run = type == OM_CUDA_FLOAT64 ? Launch<double>::loss : Launch<float>::loss;
    return run(loss, classes, {rows, size, 1}, x, target, result, stream);
}

int32_t om_cuda_row_loss_gradient(int32_t loss, int32_t type, int64_t classes, int64_t rows, int64_t size,
                                  const void* g, const void* x, const void* target, void* result, void* stream) {
    const auto run = type == OM_CUDA_FLOAT64 ? Launch<double>::gradient : Launch<float>::gradient;
    return run(loss, classes, {rows, size, 1}, g, x, target, result, stream);
}

int32_t om_cuda_row_loss_target_gradient(int32_t loss, int32_t type, int64_t rows, int64_t size, const void* g,
                                         const void* x, void* result, void* stream) {
    const auto run = type == OM_CUDA_FLOAT64 ? Launch<double>::target_gradient : Launch<float>::target_gradient;
    return run(loss, {rows, size, 1}, g, x, result, stream);
}
