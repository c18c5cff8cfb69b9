// The C interface of operators over several tensors.
#include "openmined_combined.h"

#include <algorithm>

#include "common.h"
#include "elementwise_table.h"

namespace openmined {
namespace {

#define OPENMINED_NUMBER(name, ...) ROW_##name,
enum UnaryRow { OPENMINED_UNARY(OPENMINED_NUMBER) };
#undef OPENMINED_NUMBER

// By om_activation.
constexpr int ROW_OF_ACTIVATION[] = {-1, ROW_relu, ROW_sigmoid, ROW_tanh, ROW_swish};

int32_t check(int64_t rows, int64_t inputs, const float* x, int64_t layer_count, const om_layer* layers) {
    if (layer_count < 1 || !sensible({rows, inputs})) return OM_BAD_SIZE;
    if (layers == nullptr || (rows > 0 && inputs > 0 && x == nullptr)) return OM_NULL_POINTER;
    int64_t width = inputs;
    for (int64_t index = 0; index < layer_count; index++) {
        const om_layer& layer = layers[index];
        if (!sensible({rows, layer.outputs}) || !sensible({width, layer.outputs})) return OM_BAD_SIZE;
        if (layer.activation < OM_NONE || layer.activation > OM_SWISH) return OM_NOT_SUPPORTED;
        if (layer.outputs > 0 && width > 0 && layer.weight == nullptr) return OM_NULL_POINTER;
        if (rows > 0 && layer.outputs > 0 && layer.output == nullptr) return OM_NULL_POINTER;
        width = layer.outputs;
    }
    return OM_OK;
}

int32_t multiply(const float* left, int64_t left_row, int64_t left_column, int64_t rows, int64_t inner,
                 const float* right, int64_t right_row, int64_t right_column, int64_t columns, const float* bias,
                 int64_t activation, float* out) {
    return om_product(rows, inner, columns, left, left_row, left_column, right, right_row, right_column, bias,
                      static_cast<int32_t>(activation), out, 1);
}

int32_t forward(int64_t rows, int64_t inputs, const float* x, const om_layer& layer, int64_t activation, float* out) {
    return multiply(x, inputs, 1, rows, inputs, layer.weight, 1, inputs, layer.outputs, layer.bias, activation, out);
}

template <typename Step>
int32_t each(int64_t tensors, const om_stepped* of, const Step& step) {
    if (tensors < 0) return OM_BAD_SIZE;
    if (tensors > 0 && of == nullptr) return OM_NULL_POINTER;
    for (int64_t index = 0; index < tensors; index++)
        if (const int32_t status = step(of[index])) return status;
    return OM_OK;
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_mlp(int64_t rows, int64_t inputs, const float* x, int64_t layer_count, const om_layer* layers) {
    if (const int32_t status = check(rows, inputs, x, layer_count, layers)) return status;
    for (int64_t index = 0; index < layer_count; index++) {
        const om_layer& layer = layers[index];
        if (const int32_t status = forward(rows, inputs, x, layer, layer.activation, layer.output)) return status;
        x = layer.output;
        inputs = layer.outputs;
    }
    return OM_OK;
}

int32_t om_mlp_gradient(int64_t rows, int64_t inputs, const float* x, int64_t layer_count, const om_layer* layers,
                        const float* g, float* x_gradient) {
    if (const int32_t status = check(rows, inputs, x, layer_count, layers)) return status;
    if (g == nullptr && rows * layers[layer_count - 1].outputs > 0) return OM_NULL_POINTER;
    int64_t widest = 0, first_wanted = x_gradient != nullptr ? -1 : layer_count;
    for (int64_t index = layer_count - 1; index >= 0; index--) {
        widest = std::max(widest, layers[index].outputs);
        if (first_wanted >= 0 && (layers[index].weight_gradient != nullptr || layers[index].bias_gradient != nullptr))
            first_wanted = index;
    }
    static thread_local Workspace workspace;
    const int64_t size = (rows * widest + 15) / 16 * 16;
    float* const block = workspace.reserve(3 * size);
    if (block == nullptr) return OM_NO_MEMORY;
    float *next = block, *other = block + size, *const before = block + 2 * size;
    const OperatorKernels& kernels = *operators_of(OM_FLOAT32);
    int32_t status = OM_OK;
    for (int64_t index = layer_count - 1; index >= std::max(first_wanted, int64_t{0}) && status == OM_OK; index--) {
        const om_layer& layer = layers[index];
        const float* const input = index > 0 ? layers[index - 1].output : x;
        const int64_t width = index > 0 ? layers[index - 1].outputs : inputs;
        if (layer.activation != OM_NONE) {
            const float* argument = layer.output;
            if (layer.activation == OM_SWISH) {  // its gradient is one of what was before it
                status = forward(rows, width, input, layer, OM_NONE, before);
                argument = before;
            }
            const void* const of[] = {g, argument, layer.output};
            kernels.unary[ROW_OF_ACTIVATION[layer.activation]][1](of, next, rows * layer.outputs, 0.0, 0.0);
            g = next;
            std::swap(next, other);
        }
        if (layer.bias_gradient != nullptr)
            kernels.reduce(OM_SUM, Along{rows, layer.outputs, 0, 1}, 0.0, g, layer.bias_gradient);
        if (layer.weight_gradient != nullptr && status == OM_OK)
            status = multiply(g, 1, layer.outputs, layer.outputs, rows, input, width, 1, width, nullptr, OM_NONE,
                              layer.weight_gradient);
        if (index > first_wanted && status == OM_OK) {
            float* const to = index > 0 ? next : x_gradient;
            status = multiply(g, layer.outputs, 1, rows, layer.outputs, layer.weight, width, 1, width, nullptr, OM_NONE,
                              to);
            g = to;
            std::swap(next, other);
        }
    }
    return status;
}

int32_t om_sgd_all(int32_t type, int64_t tensors, const om_stepped* of, double lr, double momentum, double dampening,
                   double weight_decay, int32_t nesterov, int32_t first, int64_t threads) {
    return each(tensors, of, [=](const om_stepped& one) {
        return om_sgd(type, one.count, one.param, one.grad, one.first, lr, momentum, dampening, weight_decay, nesterov,
                      first, threads);
    });
}

int32_t om_rmsprop_all(int32_t type, int64_t tensors, const om_stepped* of, double lr, double alpha, double eps,
                       double weight_decay, double momentum, int64_t threads) {
    return each(tensors, of, [=](const om_stepped& one) {
        return om_rmsprop(type, one.count, one.param, one.grad, one.first, one.second, lr, alpha, eps, weight_decay,
                          momentum, threads);
    });
}

int32_t om_adam_all(int32_t type, int64_t tensors, const om_stepped* of, int64_t step, double lr, double beta1,
                    double beta2, double eps, double weight_decay, int64_t threads) {
    return each(tensors, of, [=](const om_stepped& one) {
        return om_adam(type, one.count, one.param, one.grad, one.first, one.second, step, lr, beta1, beta2, eps,
                       weight_decay, threads);
    });
}
