// Running sums, products and linear recurrences along lines, forwards and backwards.
#include "lines.cuh"

namespace openmined {

// r -> add + factor * r.
template <typename T>
struct Map {
    T factor, add;
};

template <typename T>
__device__ static __forceinline__ Map<T> lane_before(Map<T> value, int step) {
    return {lane_before(value.factor, step), lane_before(value.add, step)};
}

namespace {

template <typename T>
struct RunningSum {
    typedef T State;
    __device__ T none() const { return T(0); }
    __device__ T of(T x, T) const { return x; }
    __device__ T operator()(T before, T after) const { return before + after; }
    __device__ T value(T state) const { return state; }
};

template <typename T>
struct RunningProduct {
    typedef T State;
    __device__ T none() const { return T(1); }
    __device__ T of(T x, T) const { return x; }
    __device__ T operator()(T before, T after) const { return before * after; }
    __device__ T value(T state) const { return state; }
};

template <typename T>
struct Recurrence {
    typedef Map<T> State;
    __device__ State none() const { return {T(1), T(0)}; }
    __device__ State of(T x, T factor) const { return {factor, x}; }
    __device__ State operator()(State before, State after) const {
        return {before.factor * after.factor, after.add + after.factor * before.add};
    }
    __device__ T value(State state) const { return state.add; }
};

// A block for each line, in tiles: a scan in each warp, then what the warps and the tiles before it have.
template <typename T, typename Operation>
__global__ void scan_kernel(Operation operation, Shape shape, bool backwards, bool exclusive, const T* __restrict__ x,
                            const T* __restrict__ factors, T* __restrict__ result) {
    typedef typename Operation::State State;
    __shared__ State warps[BLOCK / WARP];
    const int lane = static_cast<int>(threadIdx.x) % WARP, warp = static_cast<int>(threadIdx.x) / WARP;
    for (int64_t line = blockIdx.x; line < shape.lines(); line += gridDim.x) {
        State carried = operation.none();
        for (int64_t first = 0; first < shape.size; first += BLOCK) {
            const int64_t index = first + threadIdx.x, place = backwards ? shape.size - 1 - index : index;
            const int64_t at = shape.begin(line) + place * shape.inner;
            const bool there = index < shape.size;
            State state = there ? operation.of(x[at], factors == nullptr ? T(0) : factors[at]) : operation.none();
            for (int step = 1; step < WARP; step *= 2) {
                const State before = lane_before(state, step);
                if (lane >= step) state = operation(before, state);
            }
            if (lane == WARP - 1) warps[warp] = state;
            __syncthreads();
            State before = carried;
            for (int index_of_warp = 0; index_of_warp < BLOCK / WARP; index_of_warp++) {
                if (index_of_warp < warp) before = operation(before, warps[index_of_warp]);
                carried = operation(carried, warps[index_of_warp]);
            }
            __syncthreads();  // the next tile writes there
            const State shifted = lane_before(state, 1);
            if (exclusive) state = lane == 0 ? operation.none() : shifted;
            if (there) result[at] = operation.value(operation(before, state));
        }
    }
}

template <typename T, typename Operation>
int32_t scan(Operation operation, const Shape& given, bool backwards, bool exclusive, const void* x,
             const void* factors, void* result, void* stream) {
    const Shape shape = given;
    if (shape.lines() <= 0 || shape.size <= 0) return 0;
    const auto kernel = scan_kernel<T, Operation>;
    OPENMINED_LAUNCH(kernel, line_blocks(shape, BLOCK), BLOCK, 0, stream, operation, shape, backwards, exclusive,
                     static_cast<const T*>(x), static_cast<const T*>(factors), static_cast<T*>(result));
    return launched();
}

template <typename T>
int32_t scan_any(int32_t kind, const Shape& shape, bool backwards, bool exclusive, const void* x, const void* factors,
                 void* result, void* stream) {
    switch (kind) {
        case OM_CUDA_CUMSUM: return scan<T>(RunningSum<T>(), shape, backwards, exclusive, x, factors, result, stream);
        case OM_CUDA_CUMPROD:
            return scan<T>(RunningProduct<T>(), shape, backwards, exclusive, x, factors, result, stream);
        case OM_CUDA_RECURRENCE: return scan<T>(Recurrence<T>(), shape, backwards, exclusive, x, factors, result, stream);
        default: return static_cast<int32_t>(cudaErrorInvalidValue);
    }
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_scan(int32_t scan, int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t backwards,
                     int64_t exclusive, const void* x, const void* factors, void* result, void* stream) {
    const Shape shape = {outer, size, inner};
    const bool back = backwards != 0, without = exclusive != 0;
    switch (type) {
        case OM_CUDA_FLOAT32: return scan_any<float>(scan, shape, back, without, x, factors, result, stream);
        case OM_CUDA_FLOAT64: return scan_any<double>(scan, shape, back, without, x, factors, result, stream);
        case OM_CUDA_INT64: return scan_any<int64_t>(scan, shape, back, without, x, factors, result, stream);
        default: return static_cast<int32_t>(cudaErrorInvalidValue);
    }
}
