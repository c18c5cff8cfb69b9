// The C interface of reductions, softmax, losses, products and optimizers.
#include <atomic>

#include "common.h"

namespace openmined {

const OperatorKernels* operators_of(int32_t type) {
    if (type == OM_FLOAT64) return &operators_double;
    if (type == OM_INT32) return &operators_int32;
    if (type == OM_INT64) return &operators_int64;
    if (type != OM_FLOAT32) return nullptr;
#if defined(__x86_64__) || defined(_M_X64)
    if (&kernels() == &kernels_avx512) return &operators_avx512;
    if (&kernels() == &kernels_avx2) return &operators_avx2;
#endif
    return &operators_portable;
}

const ProductKernels& products() {
#if defined(__x86_64__) || defined(_M_X64)
    if (&kernels() == &kernels_avx512) return products_avx512;
    if (&kernels() == &kernels_avx2) return products_avx2;
#endif
    return products_portable;
}

namespace {

// Checks what all functions along a dimension share and runs them; `need` are the arrays that must be there.
template <typename Work>
int32_t along(int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t threads,
              std::initializer_list<const void*> need, const Work& work) {
    if (!fractions(type)) return OM_NOT_SUPPORTED;
    if (!sensible({outer, size, inner}) || threads < 1) return OM_BAD_SIZE;
    if (outer * inner == 0) return OM_OK;
    for (const void* pointer : need)
        if (pointer == nullptr) return OM_NULL_POINTER;
    const OperatorKernels& kernels = *operators_of(type);
    try {
        in_parts(outer, size * inner, threads, [&](int64_t begin, int64_t end) {
            work(kernels, Along{size, inner, begin, end});
        });
    } catch (const std::bad_alloc&) {
        return OM_NO_MEMORY;
    }
    return OM_OK;
}

int32_t check_classes(int32_t kind, int32_t type, int64_t rows, int64_t classes, const int64_t* index,
                      const void* target) {
    if (kind < OM_CROSS_ENTROPY || kind > OM_CATEGORICAL_CROSS_ENTROPY || !fractions(type)) return OM_NOT_SUPPORTED;
    if (!sensible({rows, classes})) return OM_BAD_SIZE;
    if (rows > 0 && (index == nullptr) == (target == nullptr) && classes > 0) return OM_NULL_POINTER;
    if (index != nullptr && kind == OM_CATEGORICAL_CROSS_ENTROPY) return OM_NOT_SUPPORTED;
    for (int64_t row = 0; row < rows && index != nullptr; row++)
        if (index[row] < 0 || index[row] >= classes) return OM_BAD_INDEX;
    return OM_OK;
}

int32_t step(int32_t kind, int32_t type, int64_t count, int64_t threads, std::initializer_list<const void*> need,
             const Step& settings) {
    if (!fractions(type)) return OM_NOT_SUPPORTED;
    if (!sensible({count}) || threads < 1) return OM_BAD_SIZE;
    if (!std::isfinite(settings.rate)) return OM_BAD_NUMBER;
    for (double number : settings.numbers)
        if (!std::isfinite(number)) return OM_BAD_NUMBER;
    if (count == 0) return OM_OK;
    for (const void* pointer : need)
        if (pointer == nullptr) return OM_NULL_POINTER;
    try {
        in_parts(count, 1, threads, [&](int64_t begin, int64_t end) {
            Step part = settings;
            part.begin = begin;
            part.end = end;
            operators_of(type)->step(kind, part);
        });
    } catch (const std::bad_alloc&) {
        return OM_NO_MEMORY;
    }
    return OM_OK;
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_reduce(int32_t kind, int32_t type, int64_t outer, int64_t size, int64_t inner, double number, const void* x,
                  void* y, int64_t threads) {
    if (kind < OM_SUM || kind > OM_CUMPROD) return OM_NOT_SUPPORTED;
    if (size < 1 && (kind == OM_MIN || kind == OM_MAX)) return OM_BAD_SIZE;
    if (kind == OM_NORM && !(number >= 0.0)) return OM_BAD_NUMBER;
    if (size == 0 && kind >= OM_CUMSUM) return OM_OK;
    return along(type, outer, size, inner, threads, {size > 0 ? x : y, y},  // nothing is read of an empty one
                 [=](const OperatorKernels& kernels, const Along& part) { kernels.reduce(kind, part, number, x, y); });
}

int32_t om_reduction_gradient(int32_t kind, int32_t type, int64_t outer, int64_t size, int64_t inner, double number,
                              const void* g, const void* x, const void* y, void* out, int64_t threads) {
    if (kind < OM_PROD || kind > OM_CUMPROD) return OM_NOT_SUPPORTED;
    if (kind == OM_NORM && !(number >= 0.0)) return OM_BAD_NUMBER;
    if (size == 0) return OM_OK;
    return along(type, outer, size, inner, threads, {g, x, y, out},
                 [=](const OperatorKernels& kernels, const Along& part) {
                     kernels.reduction_gradient(kind, part, number, g, x, y, out);
                 });
}

int32_t om_softmax(int32_t logarithm, int32_t type, int64_t outer, int64_t size, int64_t inner, const void* x, void* y,
                   int64_t threads) {
    if (size == 0) return OM_OK;
    return along(type, outer, size, inner, threads, {x, y}, [=](const OperatorKernels& kernels, const Along& part) {
        kernels.softmax(logarithm != 0, part, x, y);
    });
}

int32_t om_softmax_gradient(int32_t logarithm, int32_t type, int64_t outer, int64_t size, int64_t inner, const void* g,
                            const void* y, void* out, int64_t threads) {
    if (size == 0) return OM_OK;
    return along(type, outer, size, inner, threads, {g, y, out},
                 [=](const OperatorKernels& kernels, const Along& part) {
                     kernels.softmax_gradient(logarithm != 0, part, g, y, out);
                 });
}

int32_t om_row_loss(int32_t kind, int32_t type, int64_t rows, int64_t classes, const void* x, const int64_t* index,
                    const void* target, void* losses, int64_t threads) {
    const int32_t status = check_classes(kind, type, rows, classes, index, target);
    if (status != OM_OK) return status;
    return along(type, rows, classes, 1, threads, {classes > 0 ? x : losses, losses},
                 [=](const OperatorKernels& kernels, const Along& part) {
                     kernels.row_loss(kind, part, x, index, target, losses);
                 });
}

int32_t om_row_loss_gradient(int32_t kind, int32_t type, int64_t rows, int64_t classes, int32_t of_target,
                             const void* g, const void* x, const int64_t* index, const void* target, void* out,
                             int64_t threads) {
    const int32_t status = check_classes(kind, type, rows, classes, index, target);
    if (status != OM_OK) return status;
    if (of_target != 0 && index != nullptr) return OM_NOT_SUPPORTED;
    if (classes == 0) return OM_OK;
    return along(type, rows, classes, 1, threads, {g, x, out},
                 [=](const OperatorKernels& kernels, const Along& part) {
                     kernels.row_loss_gradient(kind, part, of_target != 0, g, x, index, target, out);
                 });
}

int32_t om_product(int64_t rows, int64_t inner, int64_t columns, const float* left, int64_t left_row,
                   int64_t left_column, const float* right, int64_t right_row, int64_t right_column, const float* bias,
                   int32_t activation, float* out, int64_t threads) {
    if (activation < OM_NONE || activation > OM_SWISH) return OM_NOT_SUPPORTED;
    if (!sensible({rows, columns}) || !sensible({rows, inner}) || !sensible({inner, columns})) return OM_BAD_SIZE;
    if (rows == 0 || columns == 0) return OM_OK;
    if (out == nullptr || (inner > 0 && (left == nullptr || right == nullptr))) return OM_NULL_POINTER;
    if (threads < 1) return OM_BAD_SIZE;
    const ProductKernels& chosen = products();
    std::atomic<bool> enough{true};
    const auto work = [&](int64_t begin, int64_t end) {
        static thread_local Workspace workspace;
        float* block = workspace.reserve(chosen.workspace(inner, 1));
        if (block == nullptr)
            enough = false;
        else
            chosen.multiply({end - begin, inner, columns, left + begin * left_row, left_row, left_column, right,
                             right_row, right_column, bias, activation, out + begin * columns},
                            block);
    };
    // Each thread puts the right side in order for itself, which its rows have to be worth.
    const int64_t worth = rows / 32 < threads ? rows / 32 : threads, parts = inner * columns * rows < 1 << 20 ? 1 : worth;
    try {
        if (parts < 2)
            work(0, rows);
        else
            run_in_threads(parts, threads, [&](int64_t part) { work(rows * part / parts, rows * (part + 1) / parts); });
    } catch (const std::bad_alloc&) {
        return OM_NO_MEMORY;
    }
    return enough ? OM_OK : OM_NO_MEMORY;
}

int32_t om_sgd(int32_t type, int64_t count, void* param, const void* grad, void* momentum_buffer, double lr,
               double momentum, double dampening, double weight_decay, int32_t nesterov, int32_t first,
               int64_t threads) {
    const bool moving = momentum != 0.0;
    return step(OM_SGD, type, count, threads, {param, grad, moving ? momentum_buffer : param},
                {param, moving ? momentum_buffer : nullptr, nullptr, grad, 0, 0, lr,
                 {weight_decay, momentum, 1.0 - dampening, nesterov != 0 ? 1.0 : 0.0, first != 0 ? 1.0 : 0.0, 0.0}});
}

int32_t om_rmsprop(int32_t type, int64_t count, void* param, const void* grad, void* square_avg, void* momentum_buffer,
                   double lr, double alpha, double eps, double weight_decay, double momentum, int64_t threads) {
    const bool moving = momentum != 0.0;
    return step(OM_RMSPROP, type, count, threads, {param, grad, square_avg, moving ? momentum_buffer : param},
                {param, square_avg, moving ? momentum_buffer : nullptr, grad, 0, 0, lr,
                 {weight_decay, alpha, 1.0 - alpha, eps, momentum, 0.0}});
}

int32_t om_adam(int32_t type, int64_t count, void* param, const void* grad, void* exp_avg, void* exp_avg_sq,
                int64_t step_count, double lr, double beta1, double beta2, double eps, double weight_decay,
                int64_t threads) {
    if (step_count < 1) return OM_BAD_SIZE;
    const double taken = static_cast<double>(step_count);
    return step(OM_ADAM, type, count, threads, {param, grad, exp_avg, exp_avg_sq},
                {param, exp_avg, exp_avg_sq, grad, 0, 0, lr / (1.0 - std::pow(beta1, taken)),
                 {weight_decay, 1.0 - beta1, beta2, eps, 1.0 - beta2, std::sqrt(1.0 - std::pow(beta2, taken))}});
}
