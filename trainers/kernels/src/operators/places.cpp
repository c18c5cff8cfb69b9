// The C interface of indexing, filling, triangles and random numbers: no arithmetic to speak of.
#include "common.h"

namespace openmined {
namespace {

constexpr uint32_t CHOICES = 1, MASKS = 3, UNIFORMS = 4, WHOLE_NUMBERS = 5;  // streams

// Calls work(T()) with an element of the type.
template <typename Work>
int32_t for_type(int32_t type, const Work& work) {
    switch (type) {
        case OM_FLOAT32: return work(float());
        case OM_FLOAT64: return work(double());
        case OM_INT32: return work(int32_t());
        case OM_INT64: return work(int64_t());
        default: return OM_NOT_SUPPORTED;
    }
}

int32_t check_index(int64_t outer, int64_t size, int64_t inner, int64_t count, const int64_t* index) {
    if (!sensible({outer, size, inner}) || !sensible({outer, count, inner})) return OM_BAD_SIZE;
    if (count > 0 && index == nullptr) return OM_NULL_POINTER;
    for (int64_t at = 0; at < count; at++)
        if (index[at] < 0 || index[at] >= size) return OM_BAD_INDEX;
    return OM_OK;
}

template <typename T>
T sum_of(T one, T other) {
    return one + other;
}
template <>
int32_t sum_of(int32_t one, int32_t other) {  // wraps around
    return static_cast<int32_t>(static_cast<uint32_t>(one) + static_cast<uint32_t>(other));
}
template <>
int64_t sum_of(int64_t one, int64_t other) {
    return static_cast<int64_t>(static_cast<uint64_t>(one) + static_cast<uint64_t>(other));
}

// One row, elements `step` apart. Returns -1 where no choice can be made.
template <typename T>
int64_t choose(const T* shares, int64_t size, int64_t step, float drawn) {
    double total = 0.0;
    for (int64_t i = 0; i < size; i++) {
        const double share = static_cast<double>(shares[i * step]);
        if (!(share >= 0.0)) return -1;
        total += share;
    }
    if (!(total > 0.0) || !std::isfinite(total)) return -1;
    const double wanted = static_cast<double>(drawn) * total;
    double sum = 0.0;
    int64_t last = 0;
    for (int64_t i = 0; i < size; i++) {
        const double share = static_cast<double>(shares[i * step]);
        sum += share;
        if (share > 0.0) last = i;
        if (share > 0.0 && wanted < sum) return i;
    }
    return last;
}

// Calls each(index, uniform number) for numbers 0 ... count of a stream.
template <typename Each>
int32_t draw(uint64_t seed, uint64_t call, uint32_t stream, int64_t count, const Each& each) {
    Workspace drawn;
    float* numbers = drawn.reserve(count + 1);
    if (numbers == nullptr) return OM_NO_MEMORY;
    random_uniforms(seed, call, stream, count, numbers);
    for (int64_t index = 0; index < count; index++) each(index, numbers[index]);
    return OM_OK;
}

}  // namespace
}  // namespace openmined

using namespace openmined;

int32_t om_index_select(int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t count, const void* x,
                        const int64_t* index, void* out) {
    if (!known(type)) return OM_NOT_SUPPORTED;
    const int32_t status = check_index(outer, size, inner, count, index);
    if (status != OM_OK) return status;
    if (outer * count * inner == 0) return OM_OK;
    if (x == nullptr || out == nullptr) return OM_NULL_POINTER;
    const int64_t length = inner * bytes_of(type);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t at = 0; at < count; at++)
            std::memcpy(static_cast<unsigned char*>(out) + (o * count + at) * length,
                        static_cast<const unsigned char*>(x) + (o * size + index[at]) * length,
                        static_cast<size_t>(length));
    return OM_OK;
}

int32_t om_index_add(int32_t type, int64_t outer, int64_t size, int64_t inner, int64_t count, void* x,
                     const int64_t* index, const void* source) {
    const int32_t status = check_index(outer, size, inner, count, index);
    if (status != OM_OK || outer * count * inner == 0) return status;
    if (x == nullptr || source == nullptr) return OM_NULL_POINTER;
    return for_type(type, [=](auto element) {
        using T = decltype(element);
        for (int64_t o = 0; o < outer; o++)
            for (int64_t at = 0; at < count; at++) {
                T* to = static_cast<T*>(x) + (o * size + index[at]) * inner;
                const T* from = static_cast<const T*>(source) + (o * count + at) * inner;
                for (int64_t n = 0; n < inner; n++) to[n] = sum_of(to[n], from[n]);
            }
        return static_cast<int32_t>(OM_OK);
    });
}

int32_t om_triu(int32_t type, int64_t batches, int64_t rows, int64_t columns, int64_t diagonal, const void* x,
                void* out) {
    if (!sensible({batches, rows, columns})) return OM_BAD_SIZE;
    if (batches * rows * columns == 0) return known(type) ? OM_OK : OM_NOT_SUPPORTED;
    if (x == nullptr || out == nullptr) return OM_NULL_POINTER;
    if (diagonal > columns) diagonal = columns;
    if (diagonal < -rows) diagonal = -rows;
    return for_type(type, [=](auto element) {
        using T = decltype(element);
        for (int64_t row = 0; row < batches * rows; row++) {
            const int64_t first = row % rows + diagonal;
            for (int64_t column = 0; column < columns; column++) {
                const int64_t at = row * columns + column;
                static_cast<T*>(out)[at] = column >= first ? static_cast<const T*>(x)[at] : T(0);
            }
        }
        return static_cast<int32_t>(OM_OK);
    });
}

int32_t om_trace(int32_t type, int64_t count, int64_t stride, const void* x, void* sum) {
    if (!sensible({count})) return OM_BAD_SIZE;
    if (sum == nullptr || (count > 0 && x == nullptr)) return OM_NULL_POINTER;
    if (!fractions(type))
        return for_type(type, [=](auto element) {
            using T = decltype(element);
            int64_t total = 0;
            for (int64_t i = 0; i < count; i++)
                total = sum_of(total, static_cast<int64_t>(static_cast<const T*>(x)[i * stride]));
            *static_cast<int64_t*>(sum) = total;
            return static_cast<int32_t>(OM_OK);
        });
    double total = 0.0;
    for (int64_t i = 0; i < count; i++)
        total += type == OM_FLOAT32 ? static_cast<double>(static_cast<const float*>(x)[i * stride])
                                    : static_cast<const double*>(x)[i * stride];
    if (type == OM_FLOAT32)
        *static_cast<float*>(sum) = static_cast<float>(total);
    else
        *static_cast<double*>(sum) = total;
    return OM_OK;
}

int32_t om_fill(int32_t type, int64_t count, double value, int64_t whole, void* out) {
    if (!sensible({count})) return OM_BAD_SIZE;
    if (count > 0 && out == nullptr) return OM_NULL_POINTER;
    return for_type(type, [=](auto element) {
        using T = decltype(element);
        const T one = fractions(type) ? static_cast<T>(fractions(type) ? value : 0.0) : static_cast<T>(whole);
        for (int64_t i = 0; i < count; i++) static_cast<T*>(out)[i] = one;
        return static_cast<int32_t>(OM_OK);
    });
}

int32_t om_sample(int32_t type, int64_t outer, int64_t size, int64_t inner, uint64_t seed, uint64_t call,
                  const void* probabilities, int64_t* chosen) {
    if (!fractions(type)) return OM_NOT_SUPPORTED;
    if (!sensible({outer, size, inner}) || size < 1) return OM_BAD_SIZE;
    if (outer * inner == 0) return OM_OK;
    if (probabilities == nullptr || chosen == nullptr) return OM_NULL_POINTER;
    bool possible = true;
    const int32_t status = draw(seed, call, CHOICES, outer * inner, [&](int64_t column, float drawn) {
        const int64_t from = column / inner * size * inner + column % inner;
        const int64_t found =
            type == OM_FLOAT32 ? choose(static_cast<const float*>(probabilities) + from, size, inner, drawn)
                               : choose(static_cast<const double*>(probabilities) + from, size, inner, drawn);
        possible = possible && found >= 0;
        chosen[column] = found < 0 ? 0 : found;
    });
    return status != OM_OK ? status : possible ? OM_OK : OM_BAD_NUMBER;
}

int32_t om_dropout_mask(int32_t type, int64_t count, double rate, double kept, uint64_t seed, uint64_t call,
                        void* out) {
    if (!fractions(type)) return OM_NOT_SUPPORTED;
    if (!sensible({count})) return OM_BAD_SIZE;
    if (!(rate >= 0.0 && rate <= 1.0)) return OM_BAD_NUMBER;
    if (count > 0 && out == nullptr) return OM_NULL_POINTER;
    return draw(seed, call, MASKS, count, [=](int64_t index, float drawn) {
        const double value = static_cast<double>(drawn) >= rate ? kept : 0.0;
        if (type == OM_FLOAT32)
            static_cast<float*>(out)[index] = static_cast<float>(value);
        else
            static_cast<double*>(out)[index] = value;
    });
}

int32_t om_uniform(int32_t type, int64_t count, double low, double high, uint64_t seed, uint64_t call, void* out) {
    if (!fractions(type)) return OM_NOT_SUPPORTED;
    if (!sensible({count})) return OM_BAD_SIZE;
    if (!(low <= high)) return OM_BAD_NUMBER;
    if (count > 0 && out == nullptr) return OM_NULL_POINTER;
    return draw(seed, call, UNIFORMS, count, [=](int64_t index, float drawn) {
        const double value = low + static_cast<double>(drawn) * (high - low);
        if (type == OM_FLOAT32)
            static_cast<float*>(out)[index] = static_cast<float>(value);
        else
            static_cast<double*>(out)[index] = value;
    });
}

int32_t om_whole_numbers(int32_t type, int64_t count, int64_t low, int64_t high, uint64_t seed, uint64_t call,
                         void* out) {
    if (!sensible({count})) return OM_BAD_SIZE;
    if (low >= high || low < -MOST || high > MOST || high - low > (int64_t{1} << 31)) return OM_BAD_NUMBER;
    if (count > 0 && out == nullptr) return OM_NULL_POINTER;
    Workspace drawn;
    uint32_t* words = reinterpret_cast<uint32_t*>(drawn.reserve(count + 1));
    if (words == nullptr) return OM_NO_MEMORY;
    const int32_t status = om_random_words(seed, call, WHOLE_NUMBERS, count, words);
    if (status != OM_OK) return status;
    return for_type(type, [=](auto element) {
        using T = decltype(element);
        for (int64_t index = 0; index < count; index++) {
            const uint64_t place = static_cast<uint64_t>(words[index]) * static_cast<uint64_t>(high - low) >> 32;
            static_cast<T*>(out)[index] = static_cast<T>(low + static_cast<int64_t>(place));
        }
        return static_cast<int32_t>(OM_OK);
    });
}
