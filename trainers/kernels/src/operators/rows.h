// Softmax and the losses over rows of classes, and the steps of the optimizers.
#pragma once

#include "reduce.h"

namespace OM_NAMESPACE {

constexpr int64_t CHUNK = 256;

// Sum of e^(x - greatest) over a dense row.
template <typename T>
static double sum_of_exponentials(const T* x, int64_t size, T greatest) {
    T some[CHUNK];
    double sum = 0.0;
    const double none = 0.0;
    for (int64_t first = 0; first < size; first += CHUNK) {
        const int64_t count = size - first < CHUNK ? size - first : CHUNK;
        for (int64_t i = 0; i < count; i++) some[i] = exponential(x[first + i] - greatest);
        double part;
        fold<Sum>(some, count, 1, 1, &none, &part);
        sum += part;
    }
    return sum;
}

template <typename T>
static T greatest_of(const T* x, int64_t size) {
    const double none = 0.0;
    double greatest;
    fold<Greatest>(x, size, 1, 1, &none, &greatest);
    return static_cast<T>(greatest);
}

// Calls each(place of the first element, columns) for blocks of columns that lie side by side.
template <typename Each>
static void column_blocks(const Along& along, const Each& each) {
    for (int64_t o = along.begin; o < along.end; o++)
        for (int64_t first = 0; first < along.inner; first += ACROSS)
            each(o * along.size * along.inner + first, along.inner - first < ACROSS ? along.inner - first : ACROSS);
}

template <typename T>
static void softmax_row(bool logarithmic, int64_t size, const T* x, T* y) {
    const T greatest = greatest_of(x, size);
    const double sum = sum_of_exponentials(x, size, greatest);
    const T shift = static_cast<T>(logarithm(sum)), factor = static_cast<T>(1.0 / sum);
    if (logarithmic)
        for (int64_t i = 0; i < size; i++) y[i] = x[i] - greatest - shift;
    else
        for (int64_t i = 0; i < size; i++) y[i] = exponential(x[i] - greatest) * factor;
}

template <typename T>
static void softmax_columns(bool logarithmic, int64_t size, int64_t step, int64_t count, const T* x, T* y) {
    const double zeros[ACROSS] = {};
    double found[ACROSS], sums[ACROSS] = {};
    T greatest[ACROSS], last[ACROSS];
    fold<Greatest>(x, size, step, count, zeros, found);
    for (int64_t n = 0; n < count; n++) greatest[n] = static_cast<T>(found[n]);
    for (int64_t at = 0; at < size * step; at += step) {
        T some[ACROSS];
        for (int64_t n = 0; n < count; n++) some[n] = exponential(x[at + n] - greatest[n]);
        for (int64_t n = 0; n < count; n++) sums[n] += static_cast<double>(some[n]);
    }
    for (int64_t n = 0; n < count; n++) last[n] = static_cast<T>(logarithmic ? logarithm(sums[n]) : 1.0 / sums[n]);
    for (int64_t at = 0; at < size * step; at += step)
        if (logarithmic)
            for (int64_t n = 0; n < count; n++) y[at + n] = x[at + n] - greatest[n] - last[n];
        else
            for (int64_t n = 0; n < count; n++) y[at + n] = exponential(x[at + n] - greatest[n]) * last[n];
}

template <typename T>
static void softmax(bool logarithmic, const Along& along, const void* x_of, void* y_of) {
    column_blocks(along, [&](int64_t from, int64_t count) {
        const T* x = static_cast<const T*>(x_of) + from;
        T* y = static_cast<T*>(y_of) + from;
        if (along.inner == 1)
            softmax_row(logarithmic, along.size, x, y);
        else
            softmax_columns(logarithmic, along.size, along.inner, count, x, y);
    });
}

// out = y (g - sum of g y), or with logarithms g - e^y times the sum of g.
template <typename T>
static void softmax_gradient_row(bool logarithmic, int64_t size, const T* g, const T* y, T* out) {
    T some[CHUNK];
    double sum = 0.0;
    const double none = 0.0;
    for (int64_t first = 0; first < size; first += CHUNK) {
        const int64_t count = size - first < CHUNK ? size - first : CHUNK;
        const T* part_of = g + first;
        if (!logarithmic) {
            for (int64_t i = 0; i < count; i++) some[i] = g[first + i] * y[first + i];
            part_of = some;
        }
        double part;
        fold<Sum>(part_of, count, 1, 1, &none, &part);
        sum += part;
    }
    const T total = static_cast<T>(sum);
    if (logarithmic)
        for (int64_t i = 0; i < size; i++) out[i] = g[i] - exponential(y[i]) * total;
    else
        for (int64_t i = 0; i < size; i++) out[i] = y[i] * (g[i] - total);
}

template <typename T>
static void softmax_gradient_columns(bool logarithmic, int64_t size, int64_t step, int64_t count, const T* g,
                                     const T* y, T* out) {
    double sums[ACROSS] = {};
    T totals[ACROSS];
    for (int64_t at = 0; at < size * step; at += step)
        if (logarithmic)
            for (int64_t n = 0; n < count; n++) sums[n] += static_cast<double>(g[at + n]);
        else
            for (int64_t n = 0; n < count; n++) sums[n] += static_cast<double>(g[at + n] * y[at + n]);
    for (int64_t n = 0; n < count; n++) totals[n] = static_cast<T>(sums[n]);
    for (int64_t at = 0; at < size * step; at += step)
        if (logarithmic)
            for (int64_t n = 0; n < count; n++) out[at + n] = g[at + n] - exponential(y[at + n]) * totals[n];
        else
            for (int64_t n = 0; n < count; n++) out[at + n] = y[at + n] * (g[at + n] - totals[n]);
}

template <typename T>
static void softmax_gradient(bool logarithmic, const Along& along, const void* g_of, const void* y_of, void* out_of) {
    column_blocks(along, [&](int64_t from, int64_t count) {
        const T* g = static_cast<const T*>(g_of) + from;
        const T* y = static_cast<const T*>(y_of) + from;
        T* out = static_cast<T*>(out_of) + from;
        if (along.inner == 1)
            softmax_gradient_row(logarithmic, along.size, g, y, out);
        else
            softmax_gradient_columns(logarithmic, along.size, along.inner, count, g, y, out);
    });
}

// ---- losses ----

template <typename T>
static void row_loss(int32_t kind, const Along& along, const void* x_of, const int64_t* index, const void* target_of,
                     void* out_of) {
    for (int64_t row = along.begin; row < along.end; row++) {
        const T* x = static_cast<const T*>(x_of) + row * along.size;
        const T* target = index == nullptr ? static_cast<const T*>(target_of) + row * along.size : nullptr;
        double shift = 0.0, loss = 0.0;
        if (kind == OM_CROSS_ENTROPY) {
            const T greatest = greatest_of(x, along.size);
            shift = static_cast<double>(greatest) + logarithm(sum_of_exponentials(x, along.size, greatest));
        }
        if (index != nullptr) {
            loss = shift - static_cast<double>(x[index[row]]);
        } else {
            for (int64_t i = 0; i < along.size; i++) {
                const double weight = static_cast<double>(target[i]), one = static_cast<double>(x[i]);
                if (kind == OM_CATEGORICAL_CROSS_ENTROPY)
                    loss -= weight == 0.0 && one == one ? 0.0 : weight * logarithm(one);
                else
                    loss += weight * (shift - one);
            }
        }
        static_cast<T*>(out_of)[row] = static_cast<T>(loss);
    }
}

template <typename T>
static void row_loss_gradient(int32_t kind, const Along& along, bool of_target, const void* g_of, const void* x_of,
                              const int64_t* index, const void* target_of, void* out_of) {
    const int64_t size = along.size;
    for (int64_t row = along.begin; row < along.end; row++) {
        const T g = static_cast<const T*>(g_of)[row];
        const T* x = static_cast<const T*>(x_of) + row * size;
        const T* target = index == nullptr ? static_cast<const T*>(target_of) + row * size : nullptr;
        T* out = static_cast<T*>(out_of) + row * size;
        T greatest = T(0);
        double sum = 1.0;
        if (kind == OM_CROSS_ENTROPY) {
            greatest = greatest_of(x, size);
            sum = sum_of_exponentials(x, size, greatest);
        }
        if (of_target) {
            const T shift = greatest + static_cast<T>(logarithm(sum));
            for (int64_t i = 0; i < size; i++)
                out[i] = -g * (kind == OM_CATEGORICAL_CROSS_ENTROPY ? logarithm(x[i]) : x[i] - shift);
        } else if (kind == OM_CATEGORICAL_CROSS_ENTROPY) {
            for (int64_t i = 0; i < size; i++) out[i] = target[i] == T(0) ? T(0) : -g * target[i] / x[i];
        } else {
            double weight = kind == OM_CROSS_ENTROPY ? 1.0 : 0.0;
            if (index == nullptr && kind == OM_CROSS_ENTROPY) {
                const double none = 0.0;
                fold<Sum>(target, size, 1, 1, &none, &weight);
            }
            const T factor = static_cast<T>(weight / sum);
            if (kind == OM_CROSS_ENTROPY)
                for (int64_t i = 0; i < size; i++) out[i] = g * (exponential(x[i] - greatest) * factor);
            else
                for (int64_t i = 0; i < size; i++) out[i] = T(0);
            if (index != nullptr)
                out[index[row]] -= g;
            else
                for (int64_t i = 0; i < size; i++) out[i] -= g * target[i];
        }
    }
}

// ---- optimizers: the formulas of torch.optim ----

template <typename T>
static void step(int32_t kind, const Step& s) {
    T* const param = static_cast<T*>(s.param);
    T* const first = static_cast<T*>(s.first);
    T* const second = static_cast<T*>(s.second);
    const T* const grad = static_cast<const T*>(s.grad);
    const T rate = static_cast<T>(s.rate), decay = static_cast<T>(s.numbers[0]);
    const T a = static_cast<T>(s.numbers[1]), b = static_cast<T>(s.numbers[2]), c = static_cast<T>(s.numbers[3]);
    if (kind == OM_SGD && first == nullptr) {
        OM_INDEPENDENT
        for (int64_t i = s.begin; i < s.end; i++) param[i] -= rate * (grad[i] + decay * param[i]);
    } else if (kind == OM_SGD) {  // a: momentum, b: share of the gradient, c: 1 with Nesterov
        OM_INDEPENDENT
        for (int64_t i = s.begin; i < s.end; i++) {
            const T g = grad[i] + decay * param[i];
            const T buffer = s.numbers[4] != 0.0 ? g : a * first[i] + b * g;
            first[i] = buffer;
            param[i] -= rate * (c != T(0) ? g + a * buffer : buffer);
        }
    } else if (kind == OM_RMSPROP) {  // a: alpha, b: 1 - alpha, c: epsilon
        const T momentum = static_cast<T>(s.numbers[4]);
        OM_INDEPENDENT
        for (int64_t i = s.begin; i < s.end; i++) {
            const T g = grad[i] + decay * param[i];
            const T square = a * first[i] + b * g * g;
            first[i] = square;
            T change = g / (square_root(square) + c);
            if (second != nullptr) {
                change += momentum * second[i];
                second[i] = change;
            }
            param[i] -= rate * change;
        }
    } else {  // a: 1 - beta1, b: beta2, c: epsilon, then 1 - beta2 and the root of 1 - beta2^step
        const T rest = static_cast<T>(s.numbers[4]), root = static_cast<T>(1.0 / s.numbers[5]);
        OM_INDEPENDENT
        for (int64_t i = s.begin; i < s.end; i++) {
            const T g = grad[i] + decay * param[i];
            const T moment = first[i] + a * (g - first[i]);
            const T square = b * second[i] + rest * g * g;
            first[i] = moment;
            second[i] = square;
            param[i] -= rate * (moment / (square_root(square) * root + c));
        }
    }
}

}  // namespace OM_NAMESPACE
