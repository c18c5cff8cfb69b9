// Sums, means, products, extremes, variances and norms of lines.
#include "lines.cuh"

namespace openmined {

// How many numbers, their mean, and the sum of the squared distances from it.
template <typename T>
struct Spread {
    T count, mean, squares;
};

template <typename T>
__device__ static __forceinline__ Spread<T> lane_xor(Spread<T> value, int step) {
    return {lane_xor(value.count, step), lane_xor(value.mean, step), lane_xor(value.squares, step)};
}

namespace {

template <typename T>
__device__ T least_of_all() {
    return -static_cast<T>(INFINITY);
}
template <>
__device__ int64_t least_of_all<int64_t>() {
    return INT64_MIN;
}

template <typename T>
struct SumOf {
    typedef T State;
    __device__ T none() const { return T(0); }
    __device__ T of(T x) const { return x; }
    __device__ T operator()(T a, T b) const { return a + b; }
    __device__ T result(T sum, int64_t) const { return sum; }
};

template <typename T>
struct MeanOf : SumOf<T> {
    __device__ T result(T sum, int64_t size) const { return sum / static_cast<T>(size); }
};

template <typename T>
struct ProductOf {
    typedef T State;
    __device__ T none() const { return T(1); }
    __device__ T of(T x) const { return x; }
    __device__ T operator()(T a, T b) const { return a * b; }
    __device__ T result(T product, int64_t) const { return product; }
};

template <typename T, bool GREATEST>
struct ExtremeOf {
    typedef T State;
    // For whole numbers ~least is the greatest one.
    __device__ T none() const { return GREATEST ? least_of_all<T>() : greatest_of_all(); }
    __device__ static T greatest_of_all() {
        if constexpr (T(0.5) == T(0))
            return ~least_of_all<T>();
        else
            return -least_of_all<T>();
    }
    __device__ T of(T x) const { return x; }
    __device__ T operator()(T a, T b) const { return (GREATEST ? b > a : b < a) || b != b ? b : a; }
    __device__ T result(T extreme, int64_t) const { return extreme; }
};

// Two parts are put together as by Chan, Golub and LeVeque (1979).
template <typename T>
struct VarianceOf {
    typedef Spread<T> State;
    T correction;
    bool root;
    __device__ State none() const { return {T(0), T(0), T(0)}; }
    __device__ State of(T x) const { return {T(1), x, T(0)}; }
    __device__ State operator()(State a, State b) const {
        const T count = a.count + b.count, share = count > T(0) ? b.count / count : T(0), apart = b.mean - a.mean;
        return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
    }
    __device__ T result(State all, int64_t size) const {
        const T left = static_cast<T>(size) - correction;
        const T variance = all.squares / (left > T(0) ? left : T(0));
        return root ? square_root(variance) : variance;
    }
};

template <typename T>
struct NormOf {
    typedef T State;
    T p;
    __device__ T none() const { return T(0); }
    __device__ T of(T x) const {
        const T size = absolute(x);
        if (p == T(2)) return x * x;
        if (p == T(0)) return x != T(0) ? T(1) : T(0);
        return p == T(1) || isinf(p) ? size : power(size, p);
    }
    __device__ T operator()(T a, T b) const { return isinf(p) ? Greatest()(a, b) : a + b; }
    __device__ T result(T sum, int64_t) const {
        if (p == T(2)) return square_root(sum);
        return p == T(0) || p == T(1) || isinf(p) ? sum : power(sum, T(1) / p);
    }
};

// Lines that lie side by side (inner 1). With `states` each line is shared by gridDim.y blocks, which leave theirs there.
template <int WIDTH, typename T, typename Operation>
__global__ void reduce_lines_kernel(Operation operation, Shape shape, const T* __restrict__ x,
                                    typename Operation::State* __restrict__ states, T* __restrict__ result) {
    const int64_t first = blockIdx.y * static_cast<int64_t>(WIDTH) + Team<WIDTH>::lane(), step = gridDim.y * WIDTH;
    for (int64_t line = Team<WIDTH>::first_line(); line < shape.lines(); line += Team<WIDTH>::line_step()) {
        typename Operation::State state = operation.none();
        for (int64_t at = first; at < shape.size; at += step) state = operation(state, operation.of(x[line * shape.size + at]));
        state = Team<WIDTH>::together(state, operation.none(), operation);
        if (Team<WIDTH>::lane() != 0) continue;
        if (states == nullptr)
            result[line] = operation.result(state, shape.size);
        else
            states[line * gridDim.y + blockIdx.y] = state;
    }
}

// What the blocks of each line have left.
template <typename T, typename Operation>
__global__ void reduce_states_kernel(Operation operation, Shape shape, int64_t splits,
                                     const typename Operation::State* __restrict__ states, T* __restrict__ result) {
    for (int64_t line = blockIdx.x; line < shape.lines(); line += gridDim.x) {
        typename Operation::State state = operation.none();
        for (int64_t at = threadIdx.x; at < splits; at += BLOCK) state = operation(state, states[line * splits + at]);
        state = Team<BLOCK>::together(state, operation.none(), operation);
        if (threadIdx.x == 0) result[line] = operation.result(state, shape.size);
    }
}

constexpr int ROWS = 8;

// WARP neighbouring lines to a block, so that its threads read neighbouring numbers.
template <typename T, typename Operation>
__global__ void reduce_columns_kernel(Operation operation, Shape shape, const T* __restrict__ x, T* __restrict__ result) {
    __shared__ typename Operation::State rows[ROWS][WARP + 1];
    const int64_t step = static_cast<int64_t>(gridDim.x) * WARP, lines = (shape.lines() + WARP - 1) / WARP * WARP;
    for (int64_t line = static_cast<int64_t>(blockIdx.x) * WARP + threadIdx.x; line < lines; line += step) {
        typename Operation::State state = operation.none();
        if (line < shape.lines()) {
            const T* from = x + shape.begin(line);
            for (int64_t at = threadIdx.y; at < shape.size; at += ROWS)
                state = operation(state, operation.of(from[at * shape.inner]));
        }
        rows[threadIdx.y][threadIdx.x] = state;
        __syncthreads();
        if (threadIdx.y == 0 && line < shape.lines()) {
            for (int row = 1; row < ROWS; row++) state = operation(state, rows[row][threadIdx.x]);
            result[line] = operation.result(state, shape.size);
        }
        __syncthreads();
    }
}

template <typename T, typename Operation>
int32_t reduce(Operation operation, const Shape& given, int64_t splits, const void* from, void* workspace, void* to,
               void* stream) {
    typedef typename Operation::State State;
    const Shape shape = given;
    const T* const x = static_cast<const T*>(from);
    T* const result = static_cast<T*>(to);
    State* const states = splits > 1 ? static_cast<State*>(workspace) : nullptr;
    if (shape.lines() <= 0) return 0;
    if (shape.inner > 1) {
        const auto kernel = reduce_columns_kernel<T, Operation>;
        OPENMINED_LAUNCH(kernel, blocks_for(shape.lines() * ROWS), dim3(WARP, ROWS), 0, stream, operation, shape, x,
                         result);
    } else if (shape.size <= SHORT && splits <= 1) {
        const auto kernel = reduce_lines_kernel<WARP, T, Operation>;
        OPENMINED_LAUNCH(kernel, line_blocks(shape, WARP), BLOCK, 0, stream, operation, shape, x, states, result);
    } else {
        const auto kernel = reduce_lines_kernel<BLOCK, T, Operation>;
        const dim3 grid(line_blocks(shape, BLOCK).x, static_cast<unsigned>(splits > 1 ? splits : 1));
        OPENMINED_LAUNCH(kernel, grid, BLOCK, 0, stream, operation, shape, x, states, result);
    }
    const int32_t code = launched();
    if (code != 0 || states == nullptr) return code;
    const auto kernel = reduce_states_kernel<T, Operation>;
    OPENMINED_LAUNCH(kernel, line_blocks(shape, BLOCK), BLOCK, 0, stream, operation, shape, splits, states, result);
    return launched();
}

template <typename T>
int32_t reduce_any(int32_t reduction, const Shape& shape, int64_t splits, const void* x, void* workspace, void* result,
                   void* stream) {
    switch (reduction) {
        case OM_CUDA_SUM: return reduce<T>(SumOf<T>(), shape, splits, x, workspace, result, stream);
        case OM_CUDA_PROD: return reduce<T>(ProductOf<T>(), shape, splits, x, workspace, result, stream);
        case OM_CUDA_MIN: return reduce<T>(ExtremeOf<T, false>(), shape, splits, x, workspace, result, stream);
        case OM_CUDA_MAX: return reduce<T>(ExtremeOf<T, true>(), shape, splits, x, workspace, result, stream);
        default: return static_cast<int32_t>(cudaErrorInvalidValue);
    }
}

template <typename T>
int32_t reduce_fraction(int32_t reduction, const Shape& shape, int64_t splits, double number, const void* x,
                        void* workspace, void* result, void* stream) {
    const T setting = static_cast<T>(number);
    const VarianceOf<T> variance = {setting, reduction == OM_CUDA_STD};
    switch (reduction) {
        case OM_CUDA_MEAN: return reduce<T>(MeanOf<T>(), shape, splits, x, workspace, result, stream);
        case OM_CUDA_VAR:
        case OM_CUDA_STD: return reduce<T>(variance, shape, splits, x, workspace, result, stream);
        case OM_CUDA_NORM: return reduce<T>(NormOf<T>{setting}, shape, splits, x, workspace, result, stream);
        default: return reduce_any<T>(reduction, shape, splits, x, workspace, result, stream);
    }
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_reduce(int32_t reduction, int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t splits,
                       double number, const void* x, void* workspace, void* result, void* stream) {
    const Shape shape = {outer, size, inner};
    switch (type) {
        case OM_CUDA_FLOAT32: return reduce_fraction<float>(reduction, shape, splits, number, x, workspace, result, stream);
        case OM_CUDA_FLOAT64: return reduce_fraction<double>(reduction, shape, splits, number, x, workspace, result, stream);
        case OM_CUDA_INT64: return reduce_any<int64_t>(reduction, shape, splits, x, workspace, result, stream);
        default: return static_cast<int32_t>(cudaErrorInvalidValue);
    }
}
