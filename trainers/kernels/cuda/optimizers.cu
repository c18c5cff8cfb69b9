// Steps of optimizers, as torch.optim has them, on parameters that lie side by side.
#include <math.h>

#include "../src/operators/elementwise_math.h"
#include "launch.cuh"

namespace openmined {
namespace {

template <typename T>
__device__ T decayed(T grad, T weight_decay, T param) {
    return weight_decay != T(0) ? grad + weight_decay * param : grad;
}

template <typename T>
struct Sgd {
    T lr, momentum, kept, weight_decay;
    bool nesterov, first;
    T* buffer;
    __device__ void operator()(int64_t at, T* param, T grad) const {
        T step = decayed(grad, weight_decay, param[at]);
        if (buffer != nullptr) {
            const T moving = first ? step : buffer[at] * momentum + kept * step;
            buffer[at] = moving;
            step = nesterov ? step + momentum * moving : moving;
        }
        param[at] -= lr * step;
    }
};

template <typename T>
struct RmsProp {
    T lr, alpha, rest, eps, weight_decay, momentum;
    T* square;
    T* buffer;
    __device__ void operator()(int64_t at, T* param, T grad) const {
        const T here = decayed(grad, weight_decay, param[at]);
        square[at] = square[at] * alpha + rest * here * here;
        T step = here / (square_root(square[at]) + eps);
        if (buffer != nullptr) buffer[at] = step = buffer[at] * momentum + step;
        param[at] -= lr * step;
    }
};

template <typename T>
struct Adam {
    T factor, root_factor, new_moment, old_square, new_square, eps, weight_decay;
    T* moment;
    T* square;
    __device__ void operator()(int64_t at, T* param, T grad) const {
        const T here = decayed(grad, weight_decay, param[at]);
        const T m = moment[at] + new_moment * (here - moment[at]), s = square[at] * old_square + new_square * here * here;
        moment[at] = m;
        square[at] = s;
        param[at] -= factor * m / (square_root(s) * root_factor + eps);
    }
};

template <typename T, typename Step>
__global__ void step_kernel(Step step, int64_t count, T* __restrict__ param, const T* __restrict__ grad) {
    for (int64_t at = first_element(); at < count; at += grid_step()) step(at, param, grad[at]);
}

template <typename T, typename Step>
int32_t run(const Step& given, int64_t count, void* param, const void* grad, void* stream) {
    if (count <= 0) return 0;
    const Step step = given;
    const auto kernel = step_kernel<T, Step>;
    OPENMINED_LAUNCH(kernel, blocks_for(count), BLOCK, 0, stream, step, count, static_cast<T*>(param),
                     static_cast<const T*>(grad));
    return launched();
}

template <typename T>
Sgd<T> sgd(double lr, double momentum, double dampening, double weight_decay, bool nesterov, bool first, void* buffer) {
    return {static_cast<T>(lr),           static_cast<T>(momentum), static_cast<T>(1.0 - dampening),
            static_cast<T>(weight_decay), nesterov,                 first,
            momentum != 0.0 ? static_cast<T*>(buffer) : nullptr};
}

template <typename T>
RmsProp<T> rmsprop(double lr, double alpha, double eps, double weight_decay, double momentum, void* square,
                   void* buffer) {
    return {static_cast<T>(lr),           static_cast<T>(alpha),    static_cast<T>(1.0 - alpha), static_cast<T>(eps),
            static_cast<T>(weight_decay), static_cast<T>(momentum), static_cast<T*>(square),
            momentum != 0.0 ? static_cast<T*>(buffer) : nullptr};
}

template <typename T>
Adam<T> adam(int64_t step, double lr, double beta1, double beta2, double eps, double weight_decay, void* moment,
             void* square) {
    const double steps = static_cast<double>(step);
    return {static_cast<T>(lr / (1.0 - pow(beta1, steps))),
            static_cast<T>(1.0 / sqrt(1.0 - pow(beta2, steps))),
            static_cast<T>(1.0 - beta1),
            static_cast<T>(beta2),
            static_cast<T>(1.0 - beta2),
            static_cast<T>(eps),
            static_cast<T>(weight_decay),
            static_cast<T*>(moment),
            static_cast<T*>(square)};
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_cuda_sgd(int32_t type, int64_t count, double lr, double momentum, double dampening, double weight_decay,
                    int64_t nesterov, int64_t first, void* param, const void* grad, void* momentum_buffer,
                    void* stream) {
    const bool n = nesterov != 0, f = first != 0;
    if (type == OM_CUDA_FLOAT64)
        return run<double>(sgd<double>(lr, momentum, dampening, weight_decay, n, f, momentum_buffer), count, param,
                           grad, stream);
    return run<float>(sgd<float>(lr, momentum, dampening, weight_decay, n, f, momentum_buffer), count, param, grad,
                      stream);
}

int32_t om_cuda_rmsprop(int32_t type, int64_t count, double lr, double alpha, double eps, double weight_decay,
                        double momentum, void* param, const void* grad, void* square_avg, void* momentum_buffer,
                        void* stream) {
    if (type == OM_CUDA_FLOAT64)
        return run<double>(rmsprop<double>(lr, alpha, eps, weight_decay, momentum, square_avg, momentum_buffer), count,
                           param, grad, stream);
    return run<float>(rmsprop<float>(lr, alpha, eps, weight_decay, momentum, square_avg, momentum_buffer), count, param,
                      grad, stream);
}

int32_t om_cuda_adam(int32_t type, int64_t count, int64_t step, double lr, double beta1, double beta2, double eps,
                     double weight_decay, void* param, const void* grad, void* exp_avg, void* exp_avg_sq,
                     void* stream) {
    if (type == OM_CUDA_FLOAT64)
        return run<double>(adam<double>(step, lr, beta1, beta2, eps, weight_decay, exp_avg, exp_avg_sq), count, param,
                           grad, stream);
    return run<float>(adam<float>(step, lr, beta1, beta2, eps, weight_decay, exp_avg, exp_avg_sq), count, param, grad,
                      stream);
}
