// Runs every function of openmined_operators.h on sizes that leave remainders, and on wrong arguments; built and run as
// driver.cpp in the folder above is. Every array is exactly as long as the header says. With the argument "show" it
// prints sums of the results of the portable kernels.
#include "openmined_operators.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace {

uint32_t state = 1;
bool showing = false;

double number() {  // in 0.1 ... 1
    state = state * 1664525u + 1013904223u;
    return 0.1 + 0.9 * static_cast<double>(state >> 8) / 16777216.0;
}

int64_t bytes_of(int32_t type) { return type == OM_FLOAT32 || type == OM_INT32 ? 4 : 8; }

// On the heap and of exactly this length; numbers of a type.
struct Array {
    std::unique_ptr<unsigned char[]> bytes;
    int64_t count;
    int32_t type;

    Array(int32_t of, int64_t length)
        : bytes(new unsigned char[static_cast<size_t>(length * bytes_of(of))]()), count(length), type(of) {
        for (int64_t index = 0; index < count; index++) set(index, fractions() ? number() : std::floor(number() * 20) - 9);
    }
    bool fractions() const { return type == OM_FLOAT32 || type == OM_FLOAT64; }
    template <typename T>
    T& at(int64_t index) {
        return reinterpret_cast<T*>(bytes.get())[index];
    }
    void set(int64_t index, double value) {
        if (type == OM_FLOAT32) at<float>(index) = static_cast<float>(value);
        if (type == OM_FLOAT64) at<double>(index) = value;
        if (type == OM_INT32) at<int32_t>(index) = static_cast<int32_t>(value);
        if (type == OM_INT64) at<int64_t>(index) = static_cast<int64_t>(value);
    }
    double get(int64_t index) {
        if (type == OM_FLOAT32) return static_cast<double>(at<float>(index));
        if (type == OM_FLOAT64) return at<double>(index);
        return type == OM_INT32 ? at<int32_t>(index) : static_cast<double>(at<int64_t>(index));
    }
    operator void*() { return bytes.get(); }
    operator float*() { return reinterpret_cast<float*>(bytes.get()); }
    operator int64_t*() { return reinterpret_cast<int64_t*>(bytes.get()); }
};

void expect(bool true_here, const char* what, int line) {
    if (!true_here) {
        std::printf("line %d: not true: %s\n", line, what);
        std::exit(1);
    }
}
#define EXPECT(condition) expect((condition), #condition, __LINE__)

void show(const char* what, Array& values) {
    for (int64_t index = 0; index < values.count; index++) EXPECT(!std::isnan(values.get(index)));
    if (!showing) return;
    double sum = 0.0, size = 0.0;
    for (int64_t index = 0; index < values.count; index++) {
        sum += values.get(index) * static_cast<double>(index % 7 + 1);
        size += std::fabs(values.get(index)) * static_cast<double>(index % 7 + 1);
    }
    std::printf("%s %lld %.9g %.9g\n", what, static_cast<long long>(values.count), sum, size);
}

const int32_t TYPES[] = {OM_FLOAT32, OM_FLOAT64, OM_INT32, OM_INT64};

void elementwise() {
    for (int32_t table = OM_UNARY; table <= OM_INTEGER_BINARY; table++)
        for (int32_t number = 0; om_operator_name(table, number) != nullptr; number++)
            for (int32_t type : TYPES)
                for (int32_t form = 0; form < 3; form++) {
                    const char* name = om_operator_name(table, number);
                    for (int64_t count : {0, 1, 5, 33, 1025}) {
                        Array x(type, count), z(type, count), third(type, count), out(type, count);
                        const int32_t status = om_elementwise_dense(table, number, form, type, count, x, z, third, out,
                                                                    -0.5, 0.5, 1);
                        if (status != OM_OK) {
                            EXPECT(status == OM_NOT_SUPPORTED);
                            break;
                        }
                        if (table != OM_RELATION) show(name, out);
                    }
                    // [3, 7] with x turned, z one number for each column, the third one number; out every other place.
                    Array x(type, 21), z(type, 7), third(type, 1), out(type, 2 * 21 - 1);
                    const int64_t sizes[] = {3, 7};
                    const bool one = table == OM_UNARY || table == OM_INTEGER_UNARY;
                    const int64_t inputs = form > 0 ? 3 : one ? 1 : 2;
                    std::vector<int64_t> strides = {1, 3, 0, 1, 0, 0};
                    strides.resize(static_cast<size_t>(2 * inputs));
                    strides.insert(strides.end(), {14, 2});
                    const void* arrays[] = {x, z, third};
                    const int32_t status = om_elementwise(table, number, form, type, 2, sizes, strides.data(), arrays,
                                                          out, -0.5, 0.5, 1);
                    EXPECT(status == OM_OK || status == OM_NOT_SUPPORTED);
                    if (status == OM_OK && table != OM_RELATION) show(name, out);
                }
    Array x(OM_FLOAT32, 70000), out(OM_FLOAT32, 70000);
    EXPECT(om_elementwise_dense(OM_UNARY, 0, 0, OM_FLOAT32, 70000, x, nullptr, nullptr, out, 0, 0, 2) == OM_OK);
    EXPECT(om_elementwise_dense(OM_UNARY, -1, 0, OM_FLOAT32, 1, x, x, x, out, 0, 0, 1) == OM_NOT_SUPPORTED);
    EXPECT(om_elementwise_dense(OM_UNARY, 0, 0, 9, 1, x, x, x, out, 0, 0, 1) == OM_NOT_SUPPORTED);
    EXPECT(om_elementwise_dense(OM_UNARY, 0, 0, OM_FLOAT32, -1, x, x, x, out, 0, 0, 1) == OM_BAD_SIZE);
    EXPECT(om_elementwise_dense(OM_UNARY, 0, 0, OM_FLOAT32, 1, x, x, x, out, 0, 0, 0) == OM_BAD_SIZE);
    EXPECT(om_elementwise_dense(OM_UNARY, 0, 0, OM_FLOAT32, 1, nullptr, x, x, out, 0, 0, 1) == OM_NULL_POINTER);
    EXPECT(om_elementwise(OM_UNARY, 0, 0, OM_FLOAT32, 2, nullptr, nullptr, nullptr, out, 0, 0, 1) == OM_NULL_POINTER);
    const int64_t least = INT64_MIN, most = INT64_MAX;
    for (int32_t type : {OM_INT32, OM_INT64})
        for (int32_t row = 0; om_operator_name(OM_INTEGER_BINARY, row) != nullptr; row++)
            for (int64_t left : {least, most, int64_t{-1}, int64_t{0}})
                for (int64_t right : {least, most, int64_t{-1}, int64_t{0}}) {
                    Array a(type, 1), b(type, 1), c(type, 1);
                    std::memcpy(a, &left, static_cast<size_t>(bytes_of(type)));
                    std::memcpy(b, &right, static_cast<size_t>(bytes_of(type)));
                    EXPECT(om_elementwise_dense(OM_INTEGER_BINARY, row, 0, type, 1, a, b, nullptr, c, 0, 0, 1) == OM_OK);
                }
}

void along(int32_t type, int64_t outer, int64_t size, int64_t inner) {
    const int64_t all = outer * size * inner, columns = outer * inner;
    Array x(type, all), y(type, all), g(type, all);
    for (int32_t kind = OM_SUM; kind <= OM_CUMPROD; kind++)
        for (double setting : {0.0, 1.0, 2.0, 3.0, static_cast<double>(INFINITY)}) {
            const bool cumulative = kind >= OM_CUMSUM, spread = kind == OM_VAR || kind == OM_STD;
            if ((spread && setting >= static_cast<double>(size)) || (size == 0 && kind == OM_MEAN)) continue;
            Array result(type, cumulative ? all : columns), h(type, cumulative ? all : columns), back(type, all);
            const int32_t status = om_reduce(kind, type, outer, size, inner, setting, x, result, 2);
            EXPECT(status == (size == 0 && (kind == OM_MIN || kind == OM_MAX) ? OM_BAD_SIZE : OM_OK));
            if (status != OM_OK) continue;
            show("reduce", result);
            if (kind < OM_PROD) continue;
            EXPECT(om_reduction_gradient(kind, type, outer, size, inner, setting, h, x, result, back, 2) == OM_OK);
            show("reduction_gradient", back);
        }
    for (int32_t logarithm : {0, 1}) {
        EXPECT(om_softmax(logarithm, type, outer, size, inner, x, y, 2) == OM_OK);
        show("softmax", y);
        Array back(type, all);
        EXPECT(om_softmax_gradient(logarithm, type, outer, size, inner, g, y, back, 2) == OM_OK);
        show("softmax_gradient", back);
    }
    if (size > 0) {
        Array chosen(OM_INT64, columns);
        EXPECT(om_sample(type, outer, size, inner, 1, 2, x, chosen) == OM_OK);
        for (int64_t index = 0; index < columns; index++) EXPECT(chosen.get(index) >= 0 && chosen.get(index) < size);
        Array index(OM_INT64, 3), picked(type, outer * 3 * inner);
        for (int64_t at = 0; at < 3; at++) index.set(at, static_cast<double>((at * 2) % size));
        EXPECT(om_index_select(type, outer, size, inner, 3, x, index, picked) == OM_OK);
        show("index_select", picked);
        EXPECT(om_index_add(type, outer, size, inner, 3, x, index, picked) == OM_OK);
        show("index_add", x);
        index.set(1, static_cast<double>(size));
        EXPECT(om_index_select(type, outer, size, inner, 3, x, index, picked) == OM_BAD_INDEX);
        EXPECT(om_index_add(type, outer, size, inner, 3, x, index, picked) == OM_BAD_INDEX);
    }
    Array target(type, outer * size), rows(type, outer * size), losses(type, outer), back(type, outer * size);
    Array index(OM_INT64, outer);
    for (int64_t row = 0; row < outer; row++) index.set(row, static_cast<double>(size - 1));
    for (int32_t kind = OM_CROSS_ENTROPY; kind <= OM_CATEGORICAL_CROSS_ENTROPY && size > 0; kind++)
        for (bool classes : {false, true}) {
            const int64_t* which = classes ? static_cast<int64_t*>(index) : nullptr;
            const void* shares = classes ? nullptr : static_cast<void*>(target);
            const int32_t status = om_row_loss(kind, type, outer, size, rows, which, shares, losses, 2);
            EXPECT(status == (classes && kind == OM_CATEGORICAL_CROSS_ENTROPY ? OM_NOT_SUPPORTED : OM_OK));
            if (status != OM_OK) continue;
            show("row_loss", losses);
            for (int32_t of_target = 0; of_target < (classes ? 1 : 2); of_target++) {
                EXPECT(om_row_loss_gradient(kind, type, outer, size, of_target, losses, rows, which, shares, back, 2) ==
                       OM_OK);
                show("row_loss_gradient", back);
            }
        }
    if (outer > 0 && size > 0) {
        index.set(0, -1);
        EXPECT(om_row_loss(OM_NLL, type, outer, size, rows, index, nullptr, losses, 1) == OM_BAD_INDEX);
        EXPECT(om_row_loss(OM_NLL, type, outer, size, rows, nullptr, nullptr, losses, 1) == OM_NULL_POINTER);
    }
    EXPECT(om_reduce(OM_SUM, OM_INT32, 1, 1, 1, 0, x, y, 1) == OM_NOT_SUPPORTED);
    EXPECT(om_reduce(99, type, 1, 1, 1, 0, x, y, 1) == OM_NOT_SUPPORTED);
    EXPECT(om_reduce(OM_NORM, type, 1, 1, 1, -1, x, y, 1) == OM_BAD_NUMBER);
    EXPECT(om_reduce(OM_SUM, type, 1, -1, 1, 0, x, y, 1) == OM_BAD_SIZE);
    EXPECT(om_reduce(OM_SUM, type, 1, INT64_MAX, INT64_MAX, 0, x, y, 1) == OM_BAD_SIZE);
    EXPECT(om_reduce(OM_SUM, type, 1, 1, 1, 0, nullptr, y, 1) == OM_NULL_POINTER);
    EXPECT(om_sample(type, 1, 0, 1, 0, 0, x, index) == OM_BAD_SIZE);
}

void product(int64_t rows, int64_t inner, int64_t columns) {
    Array left(OM_FLOAT32, rows * inner), right(OM_FLOAT32, inner * columns), bias(OM_FLOAT32, columns);
    Array out(OM_FLOAT32, rows * columns);
    for (int32_t activation = OM_NONE; activation <= OM_SWISH; activation++)
        for (int turned = 0; turned < 4; turned++) {
            const bool a = turned % 2 != 0, b = turned / 2 != 0;
            EXPECT(om_product(rows, inner, columns, left, a ? 1 : inner, a ? rows : 1, right, b ? 1 : columns,
                              b ? inner : 1, activation % 2 != 0 ? static_cast<float*>(bias) : nullptr, activation,
                              out, 2) == OM_OK);
            show("product", out);
        }
    EXPECT(om_product(rows, -1, columns, left, 1, 1, right, 1, 1, nullptr, 0, out, 1) == OM_BAD_SIZE);
    EXPECT(om_product(1, 1, 1, nullptr, 1, 1, right, 1, 1, nullptr, 0, out, 1) == OM_NULL_POINTER);
    EXPECT(om_product(1, 1, 1, left, 1, 1, right, 1, 1, nullptr, 9, out, 1) == OM_NOT_SUPPORTED);
}

void places(int32_t type) {
    Array x(type, 30), out(type, 30);
    for (int64_t diagonal : {INT64_MIN, int64_t{-2}, int64_t{0}, int64_t{3}, INT64_MAX}) {
        EXPECT(om_triu(type, 2, 3, 5, diagonal, x, out) == OM_OK);
        show("triu", out);
    }
    const bool fractions = type == OM_FLOAT32 || type == OM_FLOAT64;
    Array sum(fractions ? type : static_cast<int32_t>(OM_INT64), 1);
    EXPECT(om_trace(type, 5, 7, x, sum) == OM_OK);
    EXPECT(om_trace(type, 0, 1, nullptr, sum) == OM_OK && sum.get(0) == 0.0);
    for (int64_t count : {0, 1, 7, 30}) {
        Array filled(type, count);
        EXPECT(om_fill(type, count, 2.0, 2, filled) == OM_OK);
        EXPECT(om_whole_numbers(type, count, -3, 4, 1, 2, filled) == OM_OK);
        for (int64_t index = 0; index < count; index++) EXPECT(std::fabs(filled.get(index)) <= 3.0);
        EXPECT(om_uniform(type, count, -1, 2, 1, 2, filled) == (fractions ? OM_OK : OM_NOT_SUPPORTED));
        EXPECT(om_dropout_mask(type, count, 0.5, 2.0, 1, 2, filled) == (fractions ? OM_OK : OM_NOT_SUPPORTED));
    }
    EXPECT(om_whole_numbers(type, 1, 4, 4, 1, 2, x) == OM_BAD_NUMBER);
    EXPECT(om_whole_numbers(type, 1, INT64_MIN, INT64_MAX, 1, 2, x) == OM_BAD_NUMBER);
    EXPECT(om_triu(9, 1, 1, 1, 0, x, out) == OM_NOT_SUPPORTED && om_fill(9, 1, 0, 0, x) == OM_NOT_SUPPORTED);
}

void steps(int32_t type, int64_t count) {
    Array param(type, count), grad(type, count), first(type, count), second(type, count);
    for (int32_t bit : {0, 1}) {
        EXPECT(om_sgd(type, count, param, grad, nullptr, 0.1, 0.0, 0.0, 0.1, 0, 0, 2) == OM_OK);
        EXPECT(om_sgd(type, count, param, grad, first, 0.1, 0.9, 0.1, 0.1, bit, 1 - bit, 2) == OM_OK);
        EXPECT(om_rmsprop(type, count, param, grad, first, nullptr, 0.1, 0.9, 1e-8, 0.1, 0.0, 2) == OM_OK);
        EXPECT(om_rmsprop(type, count, param, grad, first, second, 0.1, 0.9, 1e-8, 0.1, 0.5, 2) == OM_OK);
        for (int64_t index = 0; index < count; index++) second.set(index, std::fabs(second.get(index)));
        EXPECT(om_adam(type, count, param, grad, first, second, 1 + bit, 0.1, 0.9, 0.999, 1e-8, 0.1, 2) == OM_OK);
        show("steps", param);
    }
    EXPECT(om_adam(type, count, param, grad, first, second, 0, 0.1, 0.9, 0.999, 1e-8, 0.1, 1) == OM_BAD_SIZE);
    EXPECT(om_sgd(type, count, param, grad, first, NAN, 0.9, 0, 0, 0, 0, 1) == OM_BAD_NUMBER);
    EXPECT(om_sgd(type, 1, param, grad, nullptr, 0.1, 0.9, 0, 0, 0, 0, 1) == OM_NULL_POINTER);
    EXPECT(om_sgd(OM_INT32, count, param, grad, first, 0.1, 0.9, 0, 0, 0, 0, 1) == OM_NOT_SUPPORTED);
}

}  // namespace

int main(int count, char** arguments) {
    showing = count > 1 && std::strcmp(arguments[1], "show") == 0;
    for (const char* name : {"avx512", "avx2", "portable"}) {
        if (om_has_instruction_set(name) == 0 || (showing && std::strcmp(name, "portable") != 0)) continue;
        EXPECT(om_set_instruction_set(name) == OM_OK);
        elementwise();
        for (int32_t type : {OM_FLOAT32, OM_FLOAT64}) {
            for (int64_t size : {0, 1, 3, 17, 300}) {
                along(type, 3, size, 1);
                along(type, 2, size, 5);
            }
            along(type, 0, 3, 2);
            along(type, 2, 3, 70);
            for (int64_t length : {0, 1, 17, 70000}) steps(type, length);
        }
        for (int64_t rows : {0, 1, 7, 40})
            for (int64_t inner : {0, 1, 8, 33})
                for (int64_t columns : {0, 1, 16, 33, 64}) product(rows, inner, columns);
        product(129, 100, 100);
        for (int32_t type : TYPES) places(type);
    }
    std::printf("ok\n");
    return 0;
}
