// Reductions, cumulative ones and their gradients along one dimension. Sums and products are kept in double.
#pragma once

#include "../../include/openmined_operators.h"
#include "elementwise.h"

namespace OM_NAMESPACE {

constexpr int64_t ACROSS = 64;  // columns that are reduced side by side, or parts of one long row

struct Sum {
    static constexpr double START = 0.0;
    static double step(double sum, double x, double) { return sum + x; }
    static double join(double one, double other) { return one + other; }
};
struct Product {
    static constexpr double START = 1.0;
    static double step(double product, double x, double) { return product * x; }
    static double join(double one, double other) { return one * other; }
};
struct Least {  // the first NaN stays
    static constexpr double START = __builtin_inf();
    static double step(double least, double x, double) { return x < least || x != x ? x : least; }
    static double join(double one, double other) { return step(one, other, 0.0); }
};
struct Greatest {
    static constexpr double START = -__builtin_inf();
    static double step(double greatest, double x, double) { return x > greatest || x != x ? x : greatest; }
    static double join(double one, double other) { return step(one, other, 0.0); }
};
struct Squares : Sum {  // of distances from a middle
    static double step(double sum, double x, double middle) { return sum + (x - middle) * (x - middle); }
};
struct Sizes : Sum {
    static double step(double sum, double x, double) { return sum + absolute(x); }
};
struct GreatestSize : Greatest {
    static constexpr double START = 0.0;
    static double step(double greatest, double x, double) { return Greatest::step(greatest, absolute(x), 0.0); }
};
struct NotZero : Sum {
    static double step(double sum, double x, double) { return sum + (x != 0.0 ? 1.0 : 0.0); }
};
struct Powers : Sum {
    static double step(double sum, double x, double p) { return sum + power(absolute(x), p); }
};

// results[n] of `count` columns from x on; `given` [count] goes into each step.
template <typename Fold, typename T>
static void fold(const T* x, int64_t size, int64_t inner, int64_t count, const double* given, double* results) {
    if (inner > 1) {
        for (int64_t n = 0; n < count; n++) results[n] = Fold::START;
        for (int64_t i = 0; i < size; i++)
            for (int64_t n = 0; n < count; n++)
                results[n] = Fold::step(results[n], static_cast<double>(x[i * inner + n]), given[n]);
        return;
    }
    constexpr int PARTS = 16;
    double parts[PARTS];
    for (double& part : parts) part = Fold::START;
    const double one = given[0];
    int64_t i = 0;
    for (; i + PARTS <= size; i += PARTS)
        for (int part = 0; part < PARTS; part++)
            parts[part] = Fold::step(parts[part], static_cast<double>(x[i + part]), one);
    for (; i < size; i++) parts[0] = Fold::step(parts[0], static_cast<double>(x[i]), one);
    for (int width = PARTS / 2; width > 0; width /= 2)
        for (int part = 0; part < width; part++) parts[part] = Fold::join(parts[part], parts[part + width]);
    results[0] = parts[0];
}

template <typename T>
static void deviations(const T* x, const Along& along, int64_t count, double* means, double* squares) {
    const double zeros[ACROSS] = {};
    fold<Sum>(x, along.size, along.inner, count, zeros, means);
    for (int64_t n = 0; n < count; n++) means[n] /= static_cast<double>(along.size);
    fold<Squares>(x, along.size, along.inner, count, means, squares);
}

OPENMINED_FUNCTION double variance_of(double squares, int64_t size, double correction) {
    const double divisor = static_cast<double>(size) - correction;
    return squares / (divisor > 0.0 ? divisor : 0.0);
}

template <typename T>
static void reduce_columns(int32_t kind, const Along& along, int64_t count, double number, const T* x, double* to) {
    double given[ACROSS] = {}, means[ACROSS];
    const int64_t size = along.size, inner = along.inner;
    switch (kind) {
        case OM_SUM:
        case OM_MEAN: fold<Sum>(x, size, inner, count, given, to); break;
        case OM_PROD: fold<Product>(x, size, inner, count, given, to); break;
        case OM_MIN: fold<Least>(x, size, inner, count, given, to); break;
        case OM_MAX: fold<Greatest>(x, size, inner, count, given, to); break;
        case OM_VAR:
        case OM_STD: deviations(x, along, count, means, to); break;
        default:
            if (number == 2.0) {
                fold<Squares>(x, size, inner, count, given, to);
            } else if (number == 1.0) {
                fold<Sizes>(x, size, inner, count, given, to);
            } else if (number == 0.0) {
                fold<NotZero>(x, size, inner, count, given, to);
            } else if (number == __builtin_inf()) {
                fold<GreatestSize>(x, size, inner, count, given, to);
            } else {
                for (double& p : given) p = number;
                fold<Powers>(x, size, inner, count, given, to);
            }
    }
    for (int64_t n = 0; n < count; n++) {
        if (kind == OM_MEAN) to[n] /= static_cast<double>(size);
        if (kind == OM_VAR || kind == OM_STD) to[n] = variance_of(to[n], size, number);
        if (kind == OM_STD || (kind == OM_NORM && number == 2.0)) to[n] = square_root(to[n]);
        if (kind == OM_NORM && number != 0.0 && number != 1.0 && number != 2.0 && number != __builtin_inf())
            to[n] = power(to[n], 1.0 / number);
    }
}

template <typename T>
static void reduce(int32_t kind, const Along& along, double number, const void* x_of, void* y_of) {
    const T* x = static_cast<const T*>(x_of);
    T* y = static_cast<T*>(y_of);
    for (int64_t o = along.begin; o < along.end; o++) {
        for (int64_t first = 0; first < along.inner; first += ACROSS) {
            const int64_t count = along.inner - first < ACROSS ? along.inner - first : ACROSS;
            const int64_t from = o * along.size * along.inner + first;
            double results[ACROSS];
            if (kind == OM_CUMSUM || kind == OM_CUMPROD) {
                for (int64_t n = 0; n < count; n++) results[n] = kind == OM_CUMPROD ? 1.0 : 0.0;
                for (int64_t i = 0; i < along.size; i++)
                    for (int64_t n = 0; n < count; n++) {
                        const int64_t at = from + i * along.inner + n;
                        const double next = static_cast<double>(x[at]);
                        results[n] = kind == OM_CUMPROD ? results[n] * next : results[n] + next;
                        y[at] = static_cast<T>(results[n]);
                    }
                continue;
            }
            reduce_columns(kind, along, count, number, x + from, results);
            for (int64_t n = 0; n < count; n++) y[o * along.inner + first + n] = static_cast<T>(results[n]);
        }
    }
}

// ---- gradients: of one column, with elements `step` apart ----

template <typename T>
static void product_gradient(int64_t size, int64_t step, double g, const T* x, T* out) {
    int64_t zeros = 0;
    double others = 1.0;
    for (int64_t i = 0; i < size; i++) {
        const double one = static_cast<double>(x[i * step]);
        if (one == 0.0)
            zeros++;
        else
            others *= one;
    }
    for (int64_t i = 0; i < size; i++) {
        const double one = static_cast<double>(x[i * step]);
        const double rest = zeros == 0 ? others / one : (zeros == 1 && one == 0.0 ? others : 0.0);
        out[i * step] = static_cast<T>(g * rest);
    }
}

// Products of all up to j but k: y_j / x_k, and behind the first zero only what leaves that zero out.
template <typename T>
static void cumulative_product_gradient(int64_t size, int64_t step, const T* g, const T* x, T* out) {
    int64_t first = 0, second = 0;
    while (first < size && x[first * step] != T(0)) first++;
    for (second = first + 1; second < size && x[second * step] != T(0);) second++;
    for (int64_t k = size - 1; k > first; k--) out[k * step] = T(0);
    double product = 1.0;
    for (int64_t i = 0; i < first; i++) product *= static_cast<double>(x[i * step]);
    double sum = 0.0, behind = product;
    for (int64_t j = first; j < size && j < second; j++) {
        if (j > first) behind *= static_cast<double>(x[j * step]);
        sum += static_cast<double>(g[j * step]) * behind;
    }
    if (first < size) out[first * step] = static_cast<T>(sum);
    sum = 0.0;
    for (int64_t k = first - 1; k >= 0; k--) {
        const double one = static_cast<double>(x[k * step]);
        sum += static_cast<double>(g[k * step]) * product;
        out[k * step] = static_cast<T>(sum / one);
        product /= one;
    }
}

template <typename T>
static void extreme_gradient(int64_t size, int64_t step, double g, double y, bool of_sizes, const T* x, T* out) {
    int64_t equal = 0;
    for (int64_t i = 0; i < size; i++)
        equal += (of_sizes ? static_cast<double>(absolute(x[i * step])) : static_cast<double>(x[i * step])) == y;
    for (int64_t i = 0; i < size; i++) {
        const double one = static_cast<double>(x[i * step]);
        const double share = (of_sizes ? absolute(one) : one) == y ? 1.0 : 0.0;
        out[i * step] = static_cast<T>(g * share / static_cast<double>(equal) * (of_sizes ? sign(one) : 1.0));
    }
}

template <typename T>
static void deviation_gradient(int64_t size, int64_t step, double g, double correction, bool root, const T* x, T* out) {
    double mean = 0.0, squares = 0.0;
    for (int64_t i = 0; i < size; i++) mean += static_cast<double>(x[i * step]);
    mean /= static_cast<double>(size);
    for (int64_t i = 0; i < size; i++)
        squares += (static_cast<double>(x[i * step]) - mean) * (static_cast<double>(x[i * step]) - mean);
    const double degrees = static_cast<double>(size) - correction;
    const double divisor = degrees > 0.0 ? degrees : 0.0;
    const double y = square_root(variance_of(squares, size, correction));
    const double factor = root ? g / (divisor * y) : (divisor > 0.0 ? 2.0 * g / divisor : __builtin_nan(""));
    for (int64_t i = 0; i < size; i++)
        out[i * step] = root && y == 0.0 ? T(0) : static_cast<T>(factor * (static_cast<double>(x[i * step]) - mean));
}

template <typename T>
static void norm_gradient(int64_t size, int64_t step, double g, double y, double p, const T* x, T* out) {
    for (int64_t i = 0; i < size; i++) {
        const double one = static_cast<double>(x[i * step]);
        double factor = sign(one);
        if (p == 0.0)
            factor = 0.0;
        else if (p == 2.0)
            factor = one / y;
        else if (p != 1.0)
            factor *= power(absolute(one) / y, p - 1.0);
        out[i * step] = p != 1.0 && (y == 0.0 || one == 0.0) ? T(0) : static_cast<T>(g * factor);
    }
}

template <typename T>
static void reduction_gradient(int32_t kind, const Along& along, double number, const void* g_of, const void* x_of,
                               const void* y_of, void* out_of) {
    const int64_t step = along.inner, size = along.size;
    const bool cumulative = kind == OM_CUMSUM || kind == OM_CUMPROD;
    for (int64_t column = along.begin * along.inner; column < along.end * along.inner; column++) {
        const int64_t from = column / step * size * step + column % step;
        const T* x = static_cast<const T*>(x_of) + from;
        T* out = static_cast<T*>(out_of) + from;
        const T* g_at = static_cast<const T*>(g_of) + (cumulative ? from : column);
        const double g = cumulative ? 0.0 : static_cast<double>(*g_at);
        const double y = cumulative ? 0.0 : static_cast<double>(static_cast<const T*>(y_of)[column]);
        double sum = 0.0;
        switch (kind) {
            case OM_PROD: product_gradient(size, step, g, x, out); break;
            case OM_MIN:
            case OM_MAX: extreme_gradient(size, step, g, y, false, x, out); break;
            case OM_VAR:
            case OM_STD: deviation_gradient(size, step, g, number, kind == OM_STD, x, out); break;
            case OM_CUMPROD: cumulative_product_gradient(size, step, g_at, x, out); break;
            case OM_CUMSUM:
                for (int64_t i = size - 1; i >= 0; i--) {
                    sum += static_cast<double>(g_at[i * step]);
                    out[i * step] = static_cast<T>(sum);
                }
                break;
            default:
                if (number == __builtin_inf())
                    extreme_gradient(size, step, g, y, true, x, out);
                else
                    norm_gradient(size, step, g, y, number, x, out);
        }
    }
}

}  // namespace OM_NAMESPACE
